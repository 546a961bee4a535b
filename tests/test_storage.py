"""The emulator's S3: what was acknowledged is on disk, and what jobs write is as if it had been asked for."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import unquote_plus

import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from emulator_parts import BUCKET, IMAGES, TRUTH, clients, create_job, post, put_inputs

from gtlabel.aws import Aws
from gtlabel.emulator.bodies import Bodies
from gtlabel.emulator.child import Address, running
from gtlabel.emulator.index import Index
from gtlabel.emulator.simulate import Habits, answer
from gtlabel.labeling.jobs import wait_for_labeling_job

LARGE = 1 << 17
RESPONSES = "out/Bins/annotations/worker-response/"


def label(aws: Aws, server: Address) -> list[str]:
    """Run a job to its end; return the keys of its workers' responses."""
    create_job(aws, "Bins")
    answer(server.url, "Bins", 1, 1.0, TRUTH, habits=Habits(declines=0, releases=0))
    wait_for_labeling_job(aws.sagemaker, "Bins", poll=0.05, timeout=120)
    found = aws.s3.list_objects_v2(Bucket=BUCKET, Prefix=RESPONSES)
    return [item["Key"] for item in found.get("Contents", ())]


def everything(aws: Aws, key: str) -> dict[str, Any]:
    """All that S3 says about an object, without when it was written and in which answer."""
    about: dict[str, Any] = {**aws.s3.get_object(Bucket=BUCKET, Key=key, ChecksumMode="ENABLED")}
    tags = aws.s3.get_object_tagging(Bucket=BUCKET, Key=key)["TagSet"]
    grants = aws.s3.get_object_acl(Bucket=BUCKET, Key=key)["Grants"]
    body = about.pop("Body").read()
    for name in ("ResponseMetadata", "LastModified"):
        about.pop(name)
    return {**about, "body": body, "tags": tags, "grants": grants}


def test_what_a_job_writes_is_as_if_it_had_been_put_by_request(
    gtlabel_aws: Aws, gtlabel_server: Address
) -> None:
    put_inputs(gtlabel_aws.s3)
    keys = label(gtlabel_aws, gtlabel_server)
    assert len(keys) == len(IMAGES)
    written = everything(gtlabel_aws, keys[0])
    assert json.loads(written["body"])["answers"]
    gtlabel_aws.s3.put_object(
        Bucket=BUCKET, Key=keys[0], Body=written["body"], ContentType="application/json"
    )
    assert everything(gtlabel_aws, keys[0]) == written


def test_a_bucket_that_keeps_versions_keeps_those_of_a_job(gtlabel_aws: Aws, gtlabel_server: Address) -> None:
    put_inputs(gtlabel_aws.s3)
    gtlabel_aws.s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    keys = label(gtlabel_aws, gtlabel_server)
    versions = gtlabel_aws.s3.list_object_versions(Bucket=BUCKET, Prefix=RESPONSES)["Versions"]
    assert len({version["VersionId"] for version in versions}) == len(keys) == len(IMAGES)
    assert "null" not in {version["VersionId"] for version in versions}


def test_who_asked_to_be_told_of_new_objects_is_told_of_those_of_a_job(
    gtlabel_aws: Aws, gtlabel_server: Address
) -> None:
    put_inputs(gtlabel_aws.s3)
    url = gtlabel_aws.sqs.create_queue(QueueName="new")["QueueUrl"]
    queue = gtlabel_aws.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
    rule = {"QueueArn": queue["Attributes"]["QueueArn"], "Events": ["s3:ObjectCreated:*"]}
    gtlabel_aws.s3.put_bucket_notification_configuration(
        Bucket=BUCKET,
        NotificationConfiguration={"QueueConfigurations": [rule]},  # type: ignore[list-item]
    )
    keys = label(gtlabel_aws, gtlabel_server)
    told: set[str] = set()
    while messages := gtlabel_aws.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
        for message in messages:
            records = json.loads(message["Body"]).get("Records", ())
            told.update(unquote_plus(record["s3"]["object"]["key"]) for record in records)
    assert set(keys) <= told


def test_a_bucket_that_denies_writing_denies_it_to_jobs(gtlabel_aws: Aws, gtlabel_server: Address) -> None:
    put_inputs(gtlabel_aws.s3)
    statement = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:PutObject",
        "Resource": f"arn:aws:s3:::{BUCKET}/out/*",
    }
    policy = {"Version": "2012-10-17", "Statement": [statement]}
    gtlabel_aws.s3.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps(policy))
    create_job(gtlabel_aws, "Bins")
    answer(gtlabel_server.url, "Bins", 1, 1.0, TRUTH, habits=Habits(declines=0, releases=0))
    told = gtlabel_aws.sagemaker.describe_labeling_job(LabelingJobName="Bins")
    assert told["LabelingJobStatus"] == "Failed"
    assert "s3:PutObject" in told["FailureReason"]


def test_every_object_that_was_acknowledged_is_whole_after_a_kill(tmp_path: Path) -> None:
    acknowledged: dict[str, bytes] = {}
    enough = threading.Event()

    def write(s3: Any, number: int) -> None:
        dice = Random(number)
        for turn in range(10_000):
            # Each key is written again and again, now small, now large.
            key, body = f"{number}/{turn % 7}", dice.randbytes(dice.choice((0, 10, 5_000, LARGE)))
            try:
                s3.put_object(Bucket="durable", Key=key, Body=body)
            except (BotoCoreError, ClientError):
                # What was under way may be there or not.
                acknowledged.pop(key, None)
                return
            acknowledged[key] = body
            if turn == 25:
                enough.set()

    state = tmp_path / "state"
    with running(state) as server:
        once = Config(retries={"total_max_attempts": 1})
        s3 = clients(server).session.client("s3", endpoint_url=server.url, config=once)
        s3.create_bucket(Bucket="durable")
        pid = post(f"{server.url}/gtlabel/health")["pid"]
        with ThreadPoolExecutor(4) as pool:
            writers = [pool.submit(write, s3, number) for number in range(4)]
            assert enough.wait(60)
            os.kill(pid, signal.SIGKILL)
            for writer in writers:
                writer.result()
    assert len(acknowledged) > 20
    with running(state) as server:
        s3 = clients(server).s3
        for key, body in acknowledged.items():
            assert s3.get_object(Bucket="durable", Key=key)["Body"].read() == body
        held = [item["Size"] for item in s3.list_objects_v2(Bucket="durable")["Contents"]]
    # Of what was overwritten nothing is left.
    files = [path.stat().st_size for path in (state / "objects").iterdir()]
    assert sorted(files) == sorted(size for size in held if size == LARGE)
    with sqlite3.connect(state / "objects.sqlite") as database:
        small = [size for (size,) in database.execute("select length(content) from bodies")]
    assert sorted(small) == sorted(size for size in held if size < LARGE)


@pytest.mark.parametrize("size", [100, LARGE])
def test_a_body_can_be_read_for_a_while_after_its_object_went(tmp_path: Path, size: int) -> None:
    index = Index(tmp_path / "index.sqlite")
    bodies = Bodies(tmp_path / "bodies", index)
    kept, lost = bodies.write(b"a" * size), bodies.write(b"b" * size)
    bodies.entered(index.write(lambda entries: bodies.enter([kept, lost], entries)))
    bodies.retire(lost)
    bodies.sweep()
    assert bodies.read(lost) == b"b" * size
    bodies.sweep(now=1e18)
    assert bodies.read(kept) == b"a" * size
    with pytest.raises((LookupError, FileNotFoundError)):
        bodies.read(lost)
    index.close()


def test_writes_that_wait_for_each_other_all_take_place_and_fail_alone(tmp_path: Path) -> None:
    index = Index(tmp_path / "index.sqlite")

    def write(number: int) -> str:
        def work(entries: Any) -> int:
            entries.put("bucket", f"{number:04}", [{"number": number}])
            if number % 10 == 3:
                raise LookupError(str(number))
            return number

        try:
            return f"done {index.write(work)}"
        except LookupError as error:
            return f"failed {error}"

    with ThreadPoolExecutor(16) as pool:
        said = list(pool.map(write, range(500)))
    assert said == [f"failed {n}" if n % 10 == 3 else f"done {n}" for n in range(500)]
    index.close()
    again = Index(tmp_path / "index.sqlite")
    assert [document["number"] for _, document in again.objects("bucket")] == [
        n for n in range(500) if n % 10 != 3
    ]
    again.close()
