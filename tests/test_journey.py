"""The journey as a script and as a program: both run as printed, and end in the same objects in S3."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gtlabel.aws import Aws
from gtlabel.emulator.child import Address
from gtlabel.labeling.preflight import let_browsers_in

SAMPLES = Path(__file__).parent.parent / "samples"
BIN = Path(sys.executable).parent

pytestmark = pytest.mark.slow

# What is never twice the same: when something happened, and ids that were drawn.
_TIMES = re.compile(r"\d{4}-\d\d-\d\d[T_]\d\d:\d\d:\d\d(\.\d+)?Z?")


def environment(**more: str) -> dict[str, str]:
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "GTLABEL_"))
    }
    return {**inherited, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", **more}


@pytest.fixture(scope="module")
def scripted(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[dict[str, bytes], list[dict[str, object]]]]:
    """What journey.sh left in S3, read after a restart of the emulator, and what its camera saw."""
    from gtlabel.emulator.child import running

    folder = tmp_path_factory.mktemp("scripted")
    run = subprocess.run(
        ["sh", str(SAMPLES / "journey.sh"), str(folder)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    seen = [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]
    with running(folder / "state") as address:
        yield objects(address), seen


@pytest.fixture(scope="module")
def programmed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[dict[str, bytes], str]]:
    """What journey.py left in S3, and what it printed."""
    from gtlabel.emulator.child import running

    with running() as address:
        s3 = clients(address).s3
        s3.create_bucket(Bucket="trash-sorter")
        let_browsers_in(s3, "trash-sorter")
        run = subprocess.run(
            [sys.executable, str(SAMPLES / "journey.py")],
            env=environment(**address.environ),
            cwd=tmp_path_factory.mktemp("programmed"),
            capture_output=True,
            text=True,
            timeout=280,
        )
        assert run.returncode == 0, run.stdout + run.stderr
        yield objects(address), run.stdout


def clients(address: Address) -> Aws:
    import boto3

    return Aws(boto3.Session("gtlabel", "gtlabel", region_name="us-east-1"), address.url)


def objects(address: Address) -> dict[str, bytes]:
    """Every object of the bucket, times in keys taken out."""
    s3 = clients(address).s3
    found = {}
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket="trash-sorter"):
        for item in page["Contents"]:
            body = s3.get_object(Bucket="trash-sorter", Key=item["Key"])["Body"].read()
            found[_TIMES.sub("TIME", item["Key"])] = body
    return found


def labels(manifest: bytes) -> dict[str, tuple[int, str, float]]:
    """Class and confidence by image, of an output manifest or a channel."""
    found = {}
    for line in map(json.loads, manifest.splitlines()):
        attribute = next(key.removesuffix("-metadata") for key in line if key.endswith("-metadata"))
        metadata = line[f"{attribute}-metadata"]
        found[line["source-ref"]] = (line[attribute], metadata["class-name"], metadata["confidence"])
    return found


def test_the_script_and_the_program_leave_the_same_objects(
    scripted: tuple[dict[str, bytes], list[dict[str, object]]], programmed: tuple[dict[str, bytes], str]
) -> None:
    # Which three of the five people see a picture is a matter of who is free, and so, now and then, is its
    # class; all else has one place.
    def places(found: dict[str, bytes]) -> set[str]:
        kept = (key for key in found if "/consolidation-" not in key and "/worker-response/" not in key)
        # A component's artifact lies under the digest of what is in it, other labels give another network.
        unnamed = (re.sub("/[0-9a-f]{12}/bundle.zip$", "/DIGEST/bundle.zip", key) for key in kept)
        return {re.sub("/classes/[^/]+/", "/classes/CLASS/", key) for key in unnamed}

    assert places(scripted[0]) == places(programmed[0])
    for key in (
        "bins/classes.json",
        "gtlabel/trash-bins/input/input.manifest",
        "gtlabel/trash-bins/input/classes.json",
    ):
        assert scripted[0][key] == programmed[0][key], key
    output = "gtlabel/trash-bins/manifests/output/output.manifest"
    first, second = labels(scripted[0][output]), labels(programmed[0][output])
    assert first.keys() == second.keys()
    same = sum(first[uri][:2] == second[uri][:2] for uri in first)
    assert same >= 0.8 * len(first)


def test_the_camera_of_the_script_classified_every_picture_that_was_held_out(
    scripted: tuple[dict[str, bytes], list[dict[str, object]]],
) -> None:
    held_out = {path.name for path in (SAMPLES / "trash" / "held-out").iterdir()}
    assert {Path(str(line["image"])).name for line in scripted[1] if "image" in line} == held_out


def test_the_program_tells_what_it_does(programmed: tuple[dict[str, bytes], str]) -> None:
    _, printed = programmed
    pictures = len(list((SAMPLES / "trash" / "images").iterdir()))
    held_out = len(list((SAMPLES / "trash" / "held-out").iterdir()))
    assert f"{pictures} pictures labeled, 0 failed" in printed
    assert f"{held_out} pictures classified by deeplens-bins" in printed


def test_every_channel_holds_each_class_under_the_integer_of_the_class_list(
    scripted: tuple[dict[str, bytes], list[dict[str, object]]],
) -> None:
    found, _ = scripted
    names = json.loads(found["bins/classes.json"])
    train, validation = labels(found["bins/train.manifest"]), labels(found["bins/validation.manifest"])
    assert train.keys().isdisjoint(validation)
    assert {label for label, _, _ in train.values()} == set(range(len(names)))
    for uri, (label, name, _) in {**train, **validation}.items():
        assert names[label] == name
        assert uri.startswith(f"s3://trash-sorter/bins/classes/{name}/")
        assert found[uri.removeprefix("s3://trash-sorter/")].startswith(b"\xff\xd8")
