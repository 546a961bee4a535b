"""Objects that a process of its own writes to S3."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

sys.path.append(str(Path(__file__).parent / "benchmarks"))

from bucket import Bucket

from gtlabel.emulator.uploads import Uploads


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    made = Bucket()
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", made.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "gtlabel")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "gtlabel")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    yield made
    made.close()


@pytest.fixture
def uploads(bucket: Bucket) -> Iterator[Uploads]:
    client = boto3.client("s3", region_name="us-east-1")
    made = Uploads(lambda: client, None, "us-east-1")
    yield made
    made.close()


def put(uploads: Uploads, name: str, body: bytes = b"{}") -> Any:
    return uploads.put_object(Bucket="trash", Key=name, Body=body, ContentType="application/json")


def child_of(uploads: Uploads) -> int:
    """The process id of the one child of this process that writes."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    found = [int(pid) for pid in children if b"uploads" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    assert len(found) == 1
    return found[0]


def test_an_object_is_whole_there_when_it_was_put(bucket: Bucket, uploads: Uploads) -> None:
    bodies = {f"{number}.json": os.urandom(number * 100) for number in range(200)}
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda item: put(uploads, *item), bodies.items()))
    assert bucket.tree("trash/") == bodies
    assert len(bucket.writes) == len(bodies)


def test_what_else_a_client_can_do_it_does_itself(bucket: Bucket, uploads: Uploads) -> None:
    put(uploads, "a.json", b"[1]")
    assert uploads.get_object(Bucket="trash", Key="a.json")["Body"].read() == b"[1]"
    uploads.put_object(Bucket="trash", Key="b.bin", Body=b"x")
    assert bucket.files["trash/b.bin"] == b"x"


def test_an_error_of_s3_is_raised_as_boto3_raises_it(bucket: Bucket, uploads: Uploads) -> None:
    bucket.refusing = True
    with pytest.raises(ClientError, match="SlowDown"):
        put(uploads, "a.json")
    bucket.refusing = False
    put(uploads, "a.json")
    assert bucket.files["trash/a.json"] == b"{}"


@pytest.mark.skipif(sys.platform != "linux", reason="looks for the child in /proc")
def test_a_child_that_is_killed_costs_no_object(bucket: Bucket, uploads: Uploads) -> None:
    put(uploads, "first.json")
    os.kill(child_of(uploads), signal.SIGKILL)
    names = [f"{number}.json" for number in range(50)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: put(uploads, name), names))
    assert bucket.tree("trash/").keys() == {"first.json", *names}


@pytest.mark.skipif(sys.platform != "linux", reason="looks for the child in /proc")
def test_the_child_ends_when_the_pipe_to_it_does(bucket: Bucket, uploads: Uploads) -> None:
    put(uploads, "a.json")
    child = child_of(uploads)
    uploads.close()
    deadline = time.monotonic() + 60
    while Path(f"/proc/{child}").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not Path(f"/proc/{child}").exists()
    put(uploads, "later.json")
    assert bucket.files["trash/later.json"] == b"{}"
