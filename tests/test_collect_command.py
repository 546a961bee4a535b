"""Collecting as a person does it, and a public data set beside a labeling job of one's own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.append(str(Path(__file__).parent / "benchmarks"))

from archive_parts import HONEST, JPEG, MIT, folders, picture, put_zip
from distant import Distant
from typer.testing import CliRunner

from gtlabel.aws import Aws
from gtlabel.cli.main import app
from gtlabel.datasets.channels import read_channel
from gtlabel.datasets.collect.collect import collect
from gtlabel.datasets.collect.planning import plan_collection
from gtlabel.datasets.folders import folder_of
from gtlabel.journey import consolidate_jobs, plan_labeling, start_labeling
from gtlabel.storage import list_objects, read, write
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from gtlabel.emulator.actors import Workers

KEYS = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "none", "AWS_REGION": "us-east-1"}
SAMPLES = Path(__file__).parent.parent / "samples" / "trash"


def until(happened: Callable[[], bool], seconds: float = 60) -> None:
    """Wait for something."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.005)


class TestTogether:
    """A public data set beside a labeling job: one dataset whose every label is right by name."""

    JOB_CLASSES = ("Recycle", "Compost", "Landfill")

    def truth(self) -> list[dict[str, str]]:
        return [json.loads(line) for line in (SAMPLES / "truth.jsonl").read_text().splitlines()][:20]

    def put_archive(self, tmp_path: Path) -> dict[str, str]:
        """The second half of the sample as somebody else's data set, and the right class of each picture."""
        members = {"trash-main/LICENSE": b"Creative Commons Attribution 4.0 International"}
        right = {}
        for number, item in enumerate(self.truth()[10:]):
            split = "test" if number % 6 == 5 else "train"
            member = f"trash-main/{split}/{folder_of(item['class'])}/{Path(item['image']).name}"
            members[member] = (SAMPLES / item["image"]).read_bytes()
            right[member] = item["class"]
        put_zip(tmp_path, members, "trash.zip")
        return right

    def test_a_collection_and_a_labeling_job_become_one_dataset(
        self, gtlabel_aws: Aws, gtlabel_workers: Workers, tmp_path: Path
    ) -> None:
        gtlabel_aws.s3.create_bucket(Bucket="trash-photos")
        member_classes = self.put_archive(tmp_path)
        right: dict[str, str] = {}
        for item in self.truth()[:10]:
            uri = S3Uri(f"s3://trash-photos/mine/{Path(item['image']).name}")
            write(gtlabel_aws.s3, uri, (SAMPLES / item["image"]).read_bytes())
            right[uri] = item["class"]
        plan = plan_labeling(
            gtlabel_aws, S3Uri("s3://trash-photos/mine/"), self.JOB_CLASSES, team="gtlabel", role="gtlabel"
        )
        start_labeling(gtlabel_aws, plan)
        names = {uri.rpartition("/")[2]: name for uri, name in right.items()}
        gtlabel_workers.answer(plan.request.name, truth=names)

        run = subprocess.run(
            [sys.executable, "-m", "gtlabel", "collect", "trash.zip", "--into", "s3://trash-photos/public/"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert run.returncode == 0, run.stderr
        manifest = run.stdout.splitlines()[-1]
        assert manifest == "s3://trash-photos/public/output.manifest"
        for member, name in member_classes.items():
            right[f"s3://trash-photos/public/images/{member}"] = name

        dataset = consolidate_jobs(
            gtlabel_aws, [plan.request.name, manifest], S3Uri("s3://trash-photos/dataset/")
        )
        assert list(dataset.names) == list(self.JOB_CLASSES)
        examples = [
            example
            for channel in dataset.channels
            for example in read_channel(gtlabel_aws.s3, dataset, channel)
        ]
        assert {str(example.original): example.class_name for example in examples} == right
        for example in examples:
            assert example.image.startswith(
                f"s3://trash-photos/dataset/classes/{folder_of(right[example.original])}/"
            )
            collected = example.original.startswith("s3://trash-photos/public/")
            assert (example.licence is not None) == (example.source is not None) == collected


class TestCommand:
    def run(self, *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "gtlabel", "collect", *words], cwd=cwd, capture_output=True, text=True
        )

    def test_anybody_may_read_open_data_without_credentials(self, gtlabel_aws: Aws, tmp_path: Path) -> None:
        for bucket in ("open-data", "mine"):
            gtlabel_aws.s3.create_bucket(Bucket=bucket)
        for name, body in {**HONEST, "cat/broken.jpg": JPEG[:2000]}.items():
            gtlabel_aws.s3.put_object(Bucket="open-data", Key=f"flowers/{name}", Body=body, ACL="public-read")
        words = ["s3://open-data/flowers/", "--into", "s3://mine/flowers/", "--no-sign-request"]
        done = self.run(*words, "--in-place", "--output", "json", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "set aside: cat/broken.jpg is a JPEG that is cut off" in done.stderr
        told = json.loads(done.stdout)
        assert (told["licence"], told["classes"], told["set_aside"]) == ("MIT", {"cat": 3, "dog": 3}, 1)
        manifest = read(gtlabel_aws.s3, S3Uri(told["manifest"])).splitlines()
        assert {json.loads(line)["source-ref"] for line in manifest} == {
            f"s3://open-data/flowers/{name}" for name in HONEST if name.endswith(".png")
        }

    def test_open_data_is_copied_by_whom_it_is_not(self, gtlabel_aws: Aws) -> None:
        for bucket in ("open-data", "mine"):
            gtlabel_aws.s3.create_bucket(Bucket=bucket)
        for name, body in HONEST.items():
            gtlabel_aws.s3.put_object(Bucket="open-data", Key=name, Body=body, ACL="public-read")
        plan = plan_collection(S3Uri("s3://open-data"), s3=gtlabel_aws.unsigned_s3)
        collect(gtlabel_aws.s3, plan, S3Uri("s3://mine/flowers/"))
        for name in HONEST:
            if name.endswith(".png"):
                assert read(gtlabel_aws.s3, S3Uri("s3://mine/flowers/images/") / name) == HONEST[name]

    def test_a_name_cannot_move_the_cursor(self, tmp_path: Path) -> None:
        put_zip(tmp_path, {**HONEST, "cat/\x1b[2J\u202e.png": b""})
        words = ["collect", str(tmp_path / "flowers.zip"), "--into", "s3://mine/flowers/", "--dry-run"]
        done = CliRunner().invoke(app, words)
        assert done.stderr == "set aside: cat/\\x1b[2J\\u202e.png is empty\n"

    def test_a_dry_run_shows_the_classes_and_writes_nothing(self, gtlabel_aws: Aws, tmp_path: Path) -> None:
        gtlabel_aws.s3.create_bucket(Bucket="mine")
        members = {**MIT, **folders("cat", above="train/"), **folders("cat", above="test/", first=20)}
        put_zip(tmp_path, {**members, **folders("dog", above="test/", first=40)})
        words = ["flowers.zip", "--into", "s3://mine/flowers/", "--dry-run"]
        shown = self.run(*words, cwd=tmp_path)
        assert [line.split() for line in shown.stdout.splitlines()] == [
            ["class", "test", "train"],
            ["cat", "3", "3"],
            ["dog", "3", "0"],
            ["licence", "MIT"],
        ]
        assert list(list_objects(gtlabel_aws.s3, S3Uri("s3://mine/"))) == []

    def test_a_hostile_archive_ends_in_one_sentence(self, gtlabel_aws: Aws, tmp_path: Path) -> None:
        gtlabel_aws.s3.create_bucket(Bucket="mine")
        put_zip(tmp_path, {**HONEST, "../evil.png": picture(1)})
        done = self.run("flowers.zip", "--into", "s3://mine/flowers/", cwd=tmp_path)
        assert done.returncode == 1
        assert done.stderr == "gtlabel: flowers.zip: the member '../evil.png' has a name that leads outside\n"
        assert list(list_objects(gtlabel_aws.s3, S3Uri("s3://mine/"))) == []
        assert {path.name for path in tmp_path.rglob("*")} == {"flowers.zip"}

    def test_an_address_on_the_web_is_told_what_to_do_first(self) -> None:
        done = CliRunner().invoke(
            app, ["collect", "https://example.com/a.zip", "--into", "s3://mine/flowers/"]
        )
        assert "fetch it with `curl -LO`, then collect the file with --from https://" in str(done.exception)

    def test_interrupted_it_goes_on_where_it_was(self, tmp_path: Path) -> None:
        # So slow that nobody has sent all of them before the signal comes, however busy this machine is.
        s3 = Distant(latency=0.4)
        members = {**MIT, **folders("cat", "dog", each=100)}
        put_zip(tmp_path, members)
        command = [sys.executable, "-m", "gtlabel", "collect", "flowers.zip", "--into", "s3://mine/flowers/"]
        environ = {**os.environ, **KEYS, "AWS_ENDPOINT_URL": s3.url}
        first = subprocess.Popen(command, cwd=tmp_path, env=environ, stderr=subprocess.PIPE, text=True)
        until(lambda: len(s3.tree("mine/flowers/images/")) > 5)
        first.send_signal(signal.SIGINT)
        _, told = first.communicate(timeout=120)
        assert first.returncode == 130
        assert told.splitlines()[-1].startswith("gtlabel: interrupted; what was finished stays")
        sent = len(s3.tree("mine/flowers/images/"))
        assert 5 < sent < 200
        assert "mine/flowers/collection.json" not in s3.objects
        s3.latency = 0.0
        done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert s3.tree("mine/flowers/images/") == {
            name: body for name, body in members.items() if name.endswith(".png")
        }
        assert {s3.written[f"mine/flowers/images/{name}"] for name in members if name.endswith(".png")} == {1}
        assert json.loads(s3.objects["mine/flowers/collection.json"].body)["classes"] == {
            "cat": 100,
            "dog": 100,
        }
        s3.close()


def test_the_benchmark_runs() -> None:
    program = [sys.executable, str(Path(__file__).parent / "benchmarks" / "collect.py")]
    small = ["--pictures", "30", "--rounds", "0", "--kills", "0", "--latency", "5"]
    run = subprocess.run([*program, *small], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "missed or wrong: 0" in run.stdout
