"""One run at a time writes a dataset, and the lock of a dead run keeps nobody out."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from datetime import timedelta

import pytest

from gtlabel.aws import Aws
from gtlabel.datasets.consolidate import consolidate
from gtlabel.datasets.lock import LOCK, Lock, locked
from gtlabel.errors import DatasetInUseError, ObjectNotFoundError
from gtlabel.storage import exists, list_objects, read, write
from gtlabel.uris import S3Uri

INTO = S3Uri("s3://trash-photos/dataset/")

HOLDER = """
import sys, time
from gtlabel.aws import Aws
from gtlabel.datasets.consolidate import consolidate
from gtlabel.datasets.lock import locked
from gtlabel.uris import S3Uri
with locked(Aws(region="us-east-1").s3, S3Uri(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def aws(gtlabel_aws: Aws) -> Aws:
    gtlabel_aws.s3.create_bucket(Bucket="trash-photos")
    return gtlabel_aws


def facts(aws: Aws) -> dict[str, object]:
    found: dict[str, object] = json.loads(read(aws.s3, INTO / LOCK))
    return found


def pretend(aws: Aws, **changed: object) -> None:
    """Leave a lock that looks as if another run had it."""
    with locked(aws.s3, INTO):
        other = facts(aws) | {"token": "other", "owner": "eve on another machine"} | changed
    write(aws.s3, INTO / LOCK, json.dumps(other).encode())


def test_two_runs_refuse_each_other_and_the_second_says_who_is_there(aws: Aws) -> None:
    with locked(aws.s3, INTO):
        with pytest.raises(
            DatasetInUseError, match=r"dataset/ is being written by .*\(process \d+\), since 20"
        ):
            locked(aws.s3, INTO).__enter__()
        with locked(aws.s3, S3Uri("s3://trash-photos/other/")):
            pass
    with locked(aws.s3, INTO):
        pass
    assert not exists(aws.s3, INTO / LOCK)


def test_of_many_at_the_same_moment_one_gets_in(aws: Aws) -> None:
    inside, refused, start = [], [], threading.Barrier(8)

    def enter() -> None:
        lock = Lock(aws.s3, INTO / LOCK, timedelta(minutes=1))
        start.wait()
        try:
            lock.take()
            inside.append(lock)
        except DatasetInUseError:
            refused.append(lock)

    threads = [threading.Thread(target=enter) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(inside), len(refused)) == (1, 7)


def test_a_run_that_was_killed_keeps_nobody_out(aws: Aws) -> None:
    child = subprocess.Popen([sys.executable, "-c", HOLDER, INTO], stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == b"held\n"
        with pytest.raises(DatasetInUseError):
            locked(aws.s3, INTO).__enter__()
        child.send_signal(signal.SIGKILL)
        child.wait()
        with locked(aws.s3, INTO) as lock:
            lock.check()
    finally:
        child.kill()
        child.communicate()


def test_a_number_that_another_process_has_by_now_is_not_taken_for_the_dead_one(aws: Aws) -> None:
    pretend(aws, started="1")
    with locked(aws.s3, INTO):
        pass


def test_a_run_elsewhere_is_believed_to_live_until_its_lease_is_over(aws: Aws) -> None:
    pretend(aws, place="another machine", pid=1)
    with pytest.raises(DatasetInUseError, match="eve on another machine"):
        Lock(aws.s3, INTO / LOCK, timedelta(minutes=5)).take()
    # S3 tells times by the second, so that the lock is no second old.
    lock = Lock(aws.s3, INTO / LOCK, timedelta(seconds=-1))
    lock.take()
    lock.check()
    lock.release()


def test_a_person_who_knows_better_breaks_the_lock(aws: Aws) -> None:
    pretend(aws, place="another machine", pid=1)
    with locked(aws.s3, INTO, break_lock=True) as lock:
        lock.check()


def test_who_was_silent_too_long_learns_that_another_took_over(aws: Aws) -> None:
    with locked(aws.s3, INTO) as silent:
        with locked(aws.s3, INTO, break_lock=True), pytest.raises(DatasetInUseError):
            silent.check()
        with pytest.raises(DatasetInUseError, match="the lock was deleted"):
            silent.check()


def test_a_lock_is_renewed_while_it_is_held(aws: Aws) -> None:
    with locked(aws.s3, INTO, lease=timedelta(seconds=0.3)):
        seen = {facts(aws)["renewed"]}
        end = time.monotonic() + 60
        while len(seen) <= 2 and time.monotonic() < end:
            seen.add(facts(aws)["renewed"])
            threading.Event().wait(0.02)
    assert len(seen) > 2


def test_an_empty_lock_is_free_and_rubbish_in_its_place_is_nobodys_to_take(aws: Aws) -> None:
    write(aws.s3, INTO / LOCK, b"{}\n")
    with locked(aws.s3, INTO):
        pass
    write(aws.s3, INTO / LOCK, b"what?")
    with pytest.raises(DatasetInUseError, match="no lock of ours"):
        locked(aws.s3, INTO).__enter__()


def test_what_goes_wrong_inside_is_told_and_the_lock_given_back(aws: Aws) -> None:
    with pytest.raises(ObjectNotFoundError), locked(aws.s3, INTO):
        read(aws.s3, INTO / "nothing")
    assert not exists(aws.s3, INTO / LOCK)


def test_a_consolidation_into_a_place_that_is_being_written_is_refused_before_it_writes(aws: Aws) -> None:
    for number in range(4):
        write(aws.s3, S3Uri(f"s3://trash-photos/images/{number}.jpg"), b"picture %d" % number)
    lines = [
        {
            "source-ref": f"s3://trash-photos/images/{number}.jpg",
            "bin": number % 2,
            "bin-metadata": {"class-name": ("Compost", "Recycle")[number % 2], "human-annotated": "yes"},
        }
        for number in range(4)
    ]
    manifest = S3Uri("s3://trash-photos/output.manifest")
    write(aws.s3, manifest, "\n".join(map(json.dumps, lines)).encode())
    with locked(aws.s3, INTO), pytest.raises(DatasetInUseError, match="is being written by"):
        consolidate(aws.s3, [manifest], INTO)
    assert list(list_objects(aws.s3, INTO)) == []
    assert consolidate(aws.s3, [manifest], INTO).images == 4
    assert not exists(aws.s3, INTO / LOCK)
