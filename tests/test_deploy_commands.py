"""`gtlabel deploy` as people run it: a process against an emulator, and a device at the other end."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest
from device_parts import beside
from edge_parts import picture, tiny_network
from programs import ending

from gtlabel.aws import Aws
from gtlabel.emulator.child import Address

THING, NAME, BUCKET = "kitchen-camera", "deeplens-colors", "trash-photos"
MODEL = f"s3://{BUCKET}/models/colors.onnx"


@dataclass
class Camera:
    """A device that takes what is deployed, but for settings that it cannot bear.

    Attributes:
        off: it does nothing while this is set.
        intolerable: it fails of a deployment whose settings hold this.
    """

    url: str
    off: bool = False
    intolerable: str = '"top": "9"'
    running: dict[str, str] = field(default_factory=dict)

    def say(self, what: str, **more: Any) -> dict[str, Any]:
        body = json.dumps({"thing": THING, **more}).encode()
        request = urllib.request.Request(f"{self.url}/gtlabel/device/{what}", body, method="POST")
        with urllib.request.urlopen(request, timeout=120) as reply:
            said: dict[str, Any] = json.load(reply)
            return said

    def look(self) -> None:
        deployment = None if self.off else self.say("next")["deployment"]
        if deployment is None:
            return
        specs = deployment["components"]
        bad = self.intolerable in json.dumps(
            [each["configurationUpdate"] for each in specs.values()]
        ).replace("\\", "")
        state = "BROKEN" if bad else "RUNNING"
        components = [{"name": name, "version": specs[name]["version"], "state": state} for name in specs]
        outcome = {"status": "FAILED", "reason": "S3: Access Denied"} if bad else {"status": "SUCCEEDED"}
        self.say("report", deployment=deployment["id"], components=components, **outcome)


@contextmanager
def looking(camera: Camera) -> Iterator[None]:
    """The device looks for work while this is entered."""

    def look(stop: threading.Event, on_ready: Callable[[], None]) -> None:
        on_ready()
        while not stop.wait(0.02):
            camera.look()

    with beside(look):
        yield


@dataclass(frozen=True)
class Place:
    """Where the commands run: an account with a model, a device, and pictures on disk."""

    address: Address
    aws: Aws
    camera: Camera
    pictures: Path

    @property
    def environ(self) -> dict[str, str]:
        return {**os.environ, **self.address.environ}

    def gtlabel(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "gtlabel", "deploy", *words],
            env=self.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def model(self, *words: str) -> list[str]:
        """The words that deploy the model, and these."""
        named = ["--to", THING, "--pictures", str(self.pictures), "--classes", "Red,Green", "--no-int8"]
        return [MODEL, *named, "--poll", "0.05", "--yes", *words]

    def uploaded(self) -> list[str]:
        return [item["Key"] for item in self.aws.s3.list_objects_v2(Bucket=BUCKET)["Contents"]]

    def deployments(self) -> list[dict[str, Any]]:
        client = self.aws.greengrass
        listed = client.list_deployments(historyFilter="ALL")["deployments"]
        found = [dict(client.get_deployment(deploymentId=item["deploymentId"])) for item in listed]
        return [{key: item[key] for key in item if key != "ResponseMetadata"} for item in found]


@pytest.fixture(scope="module")
def place(gtlabel_server: Address, tmp_path_factory: pytest.TempPathFactory) -> Place:
    with urllib.request.urlopen(
        urllib.request.Request(f"{gtlabel_server.url}/moto-api/reset", method="POST"), timeout=120
    ):
        pass
    aws = Aws(boto3.Session("gtlabel", "gtlabel", region_name="us-east-1"), gtlabel_server.url)
    aws.s3.create_bucket(Bucket=BUCKET)
    aws.s3.put_object(Bucket=BUCKET, Key="models/colors.onnx", Body=tiny_network())
    pictures = tmp_path_factory.mktemp("pictures")
    for label, color in (("Red", "red"), ("Green", "lime")):
        (pictures / label).mkdir()
        (pictures / label / f"{color}.jpg").write_bytes(picture(color))
    camera = Camera(gtlabel_server.url)
    platform = {"os": "linux", "architecture": "amd64", "runtime": "aws_nucleus_lite"}
    aws.iot.create_thing(thingName=THING)
    camera.say("register", platform=platform)
    return Place(gtlabel_server, aws, camera, pictures)


def test_a_model_goes_to_a_device_and_back_from_a_setting_that_it_cannot_bear(place: Place) -> None:
    """The road of a newcomer, each step as the one before left things."""
    # What it would do, first: nothing is uploaded.
    run = place.gtlabel(*place.model("--dry-run", "--output", "json"))
    assert run.returncode == 0, run.stderr
    told = json.loads(run.stdout)
    assert (told["component"], told["version"], told["new"]) == (NAME, "1.0.0", True)
    assert told["deployment"]["components"] == [{"name": NAME, "now": None, "then": "1.0.0", "change": "new"}]
    assert told["device role statement"]["Resource"] == f"arn:aws:s3:::{BUCKET}/models/components/{NAME}/*"
    assert place.aws.s3.list_objects_v2(Bucket=BUCKET)["KeyCount"] == 1
    assert place.deployments() == []
    with looking(place.camera):
        run = place.gtlabel(*place.model("--set", "top=2"))
        assert run.returncode == 0, run.stderr
        assert re.search(rf"^{NAME} +- +1\.0\.0 +new", run.stderr, re.MULTILINE)
        assert "the devices' role needs this statement" in run.stderr
        assert f"thing {THING}  RUNNING" in run.stdout
        # A setting of which it fails: the last good one comes back.
        run = place.gtlabel(*place.model("--set", "top=9"))
    assert run.returncode == 3, run.stderr
    last = run.stderr.splitlines()[-1]
    assert f"ended as FAILED on {THING}" in last
    assert "S3: Access Denied; rolled back to 1.0.0 (deployment " in last
    # It sounds as if the role of the devices were to blame.
    assert '"Action": "s3:GetObject"' in run.stderr
    merges = [
        json.loads(each["components"][NAME]["configurationUpdate"]["merge"])["top"]
        for each in place.deployments()
    ]
    assert merges == ["2", "9", "2"]
    run = place.gtlabel("status", "--to", THING, "--output", "json")
    assert run.returncode == 0, run.stderr
    (found,) = json.loads(run.stdout)["deployments"]
    assert (found["verdict"], found["cores"][0]["version"]) == ("good", "1.0.0")
    assert found["cores"][0]["age"] < 120


def test_nobody_deploys_who_says_no(place: Place) -> None:
    before = place.deployments()
    words = place.model("--set", "threshold=0.9")
    words.remove("--yes")
    command = [sys.executable, "-m", "gtlabel", "deploy", *words]
    code, printed = answered(command, place.environ, "Deploy this to kitchen-camera? [y/N]:", "n\n")
    assert code == 1
    assert re.search(r"threshold +0\.5 +0\.9 +changes", printed)
    # Where nobody is, nobody is asked, and that is no yes.
    kept = place.uploaded()
    for command in (words, ["remove", "--to", THING]):
        run = place.gtlabel(*command)
        assert run.returncode == 1, run.stderr
        assert run.stderr.splitlines()[-1] == (
            "gtlabel: nobody is here to ask; give --yes, or --dry-run to see what would change"
        )
    assert (place.deployments(), place.uploaded()) == (before, kept)


def answered(command: list[str], environ: dict[str, str], question: str, answer: str) -> tuple[int, str]:
    """Run a program at a terminal, answer its question, and return its exit code and what it printed."""
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        command, env=environ, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    with os.fdopen(ours, "rb", 0), ending(process):
        printed = b""
        while question.encode() not in printed and (piece := read(ours)):
            printed += piece
        os.write(ours, answer.encode())
        while piece := read(ours):
            printed += piece
        return process.wait(60), printed.decode()


def read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:
        # A terminal whose program has ended.
        return b""


def test_a_device_that_is_off_costs_nothing_but_patience(place: Place) -> None:
    place.camera.off = True
    run = place.gtlabel(
        "remove", "--to", THING, "--name", NAME, "--timeout", "0.3", "--poll", "0.05", "--yes"
    )
    assert run.returncode == 5, run.stderr
    assert "Nothing is lost, the deployment waits" in run.stderr
    assert place.deployments()[0].get("components", {}) == {}
    place.camera.off = False
    place.camera.look()
    installed = place.aws.greengrass.list_installed_components(coreDeviceThingName=THING)
    assert installed["installedComponents"] == []


def test_what_does_not_go_together_is_refused(place: Place) -> None:
    run = place.gtlabel("x.onnx", "--target", "greengrass")
    assert run.returncode == 2
    assert "name the thing" in run.stderr
