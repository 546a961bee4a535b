"""Streaming jobs: images sent through SNS, labels received through SQS, and what AWS leaves behind."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from emulator_parts import clients, gtlabel
from streaming_parts import (
    ACCOUNT,
    IMAGES,
    NAMES,
    TRUTH,
    eventually,
    labels,
    lease,
    line_of,
    open_stream,
    work,
)

from gtlabel.aws import Aws
from gtlabel.emulator.child import Address, running
from gtlabel.emulator.simulate import answer as simulate
from gtlabel.labeling.jobs import describe_labeling_job
from gtlabel.labeling.receiving import receive, subscribe
from gtlabel.labeling.sending import send
from gtlabel.labeling.streaming import (
    find_stream,
    queue_url,
    stop_streaming,
    waiting,
)
from gtlabel.manifests.records import ManifestRecord
from gtlabel.uris import S3Uri


@pytest.fixture
def aws(gtlabel_aws: Aws) -> Aws:
    gtlabel_aws.s3.create_bucket(Bucket="trash")
    return gtlabel_aws


@pytest.fixture
def stream(aws: Aws) -> str:
    """The name of a streaming job."""
    open_stream(aws)
    return "Belt-1"


def test_images_that_are_sent_come_back_labeled(aws: Aws, gtlabel_server: Address) -> None:
    results = open_stream(aws)
    assert send(aws.sagemaker, aws.sns, "Belt-1", IMAGES) == 12
    work(gtlabel_server.url, 12)
    records = list(receive(aws.sqs, results, limit=12))
    assert labels(records) == TRUTH
    assert list(receive(aws.sqs, results, idle=0)) == []
    job = describe_labeling_job(aws.sagemaker, "Belt-1")
    assert (job.status, job.counters.labeled) == ("InProgress", 12)


def test_the_output_manifest_is_kept_up_to_date_and_says_the_same(aws: Aws, gtlabel_server: Address) -> None:
    results = open_stream(aws)
    send(aws.sagemaker, aws.sns, "Belt-1", IMAGES[:4])
    work(gtlabel_server.url, 3)
    received = {record.source_ref: record for record in receive(aws.sqs, results, limit=3)}

    def lines() -> list[ManifestRecord]:
        key = "out/Belt-1/manifests/output/output.manifest"
        found = aws.s3.list_objects_v2(Bucket="trash", Prefix=key)["KeyCount"]
        body = aws.s3.get_object(Bucket="trash", Key=key)["Body"].read().decode() if found else ""
        return [ManifestRecord.from_line(line) for line in body.splitlines()]

    written = eventually(lambda: [r for r in lines() if r.state("bin") == "labeled"][:3] and lines())
    labeled = {record.source_ref: record for record in written if record.state("bin") == "labeled"}
    assert (len(written), len(labeled)) == (4, 3)
    assert {uri: record.to_json() for uri, record in labeled.items()} == {
        uri: record.to_json() for uri, record in received.items()
    }


def test_an_image_that_is_sent_again_is_labeled_once(aws: Aws, gtlabel_server: Address) -> None:
    results = open_stream(aws)
    for _ in range(3):
        send(aws.sagemaker, aws.sns, "Belt-1", IMAGES[:2])
    send(aws.sagemaker, aws.sns, "Belt-1", IMAGES[2:3])
    work(gtlabel_server.url, 3)
    records = list(receive(aws.sqs, results, limit=3))
    assert labels(records) == {image: TRUTH[image] for image in IMAGES[:3]}
    assert lease(gtlabel_server.url, "bob")["lease"] is None
    job = describe_labeling_job(aws.sagemaker, "Belt-1")
    assert (job.counters.labeled, job.counters.unlabeled) == (3, 0)
    assert records[0].to_json()["dataset-objectid-attribute-name"] == "source-ref"


def test_an_image_with_another_id_is_labeled_again(aws: Aws, gtlabel_server: Address) -> None:
    results = open_stream(aws)
    for look in ("first", "second"):
        again = [
            ManifestRecord.from_line(json.dumps({"source-ref": image, "look": look})) for image in IMAGES[:1]
        ]
        send(aws.sagemaker, aws.sns, "Belt-1", again, key="look")
    work(gtlabel_server.url, 2)
    records = [record.to_json() for record in receive(aws.sqs, results, limit=2)]
    assert {record["source-ref"] for record in records} == {IMAGES[0]}
    assert sorted(record[record["dataset-objectid-attribute-name"]] for record in records) == [
        "first",
        "second",
    ]


def test_a_message_without_an_id_gets_the_one_of_its_message(aws: Aws, gtlabel_server: Address) -> None:
    results = open_stream(aws)
    topic = find_stream(aws.sagemaker, "Belt-1").input_topic
    message = json.dumps({"source-ref": IMAGES[0], "belt": 3})
    number = aws.sns.publish(TopicArn=topic, Message=message)["MessageId"]
    work(gtlabel_server.url, 1)
    (record,) = (record.to_json() for record in receive(aws.sqs, results, limit=1))
    assert (record["bin"], record["belt"]) == (0, 3)
    assert record["dataset-objectid-attribute-name"] == "$bin-object-id"
    assert record["$bin-object-id"] == number


def test_an_image_that_is_put_into_a_bucket_is_labeled(aws: Aws, gtlabel_server: Address) -> None:
    topic = aws.sns.create_topic(Name="new-images")["TopicArn"]
    aws.s3.put_bucket_notification_configuration(
        Bucket="trash",
        NotificationConfiguration={
            "TopicConfigurations": [
                {
                    "TopicArn": topic,
                    "Events": ["s3:ObjectCreated:*"],
                    "Filter": {"Key": {"FilterRules": [{"Name": "prefix", "Value": "images/"}]}},
                }
            ]
        },
    )
    results = open_stream(aws, input_topic=topic)
    aws.s3.put_object(Bucket="trash", Key="images/0.jpg", Body=b"a picture")
    work(gtlabel_server.url, 1)
    (record,) = (record.to_json() for record in receive(aws.sqs, results, limit=1))
    assert (record["source-ref"], record["bin"]) == ("s3://trash/images/0.jpg", 0)
    assert record["$bin-object-id"] == f"s3://trash/images/0.jpg-{record['$sequencer']}"


def test_the_test_event_of_a_bucket_becomes_an_object_that_fails(aws: Aws) -> None:
    open_stream(aws)
    stream = find_stream(aws.sagemaker, "Belt-1")
    for message in ('{"Service":"Amazon S3","Event":"s3:TestEvent","Bucket":"trash"}', "not even JSON"):
        aws.sns.publish(TopicArn=stream.input_topic, Message=message)
    job = eventually(
        lambda: (
            waiting(aws.sqs, stream) == 0
            and describe_labeling_job(aws.sagemaker, "Belt-1").counters.failed
            and describe_labeling_job(aws.sagemaker, "Belt-1")
        )
    )
    assert (job.status, job.counters.failed, job.counters.total) == ("InProgress", 1, 1)


def test_what_is_more_than_workers_may_have_waits_in_the_queue(aws: Aws, gtlabel_server: Address) -> None:
    results = open_stream(aws, max_concurrent=2)
    send(aws.sagemaker, aws.sns, "Belt-1", IMAGES)
    stream = find_stream(aws.sagemaker, "Belt-1")
    assert eventually(lambda: describe_labeling_job(aws.sagemaker, "Belt-1").counters.unlabeled) <= 2
    eventually(lambda: waiting(aws.sqs, stream) == 10)
    # Each label makes room for one more, and comes out without waiting for the others.
    work(gtlabel_server.url, 1)
    assert len(list(receive(aws.sqs, results, limit=1))) == 1
    eventually(lambda: waiting(aws.sqs, stream) == 9)
    work(gtlabel_server.url, 11)
    assert len(list(receive(aws.sqs, results, limit=11))) == 11
    assert waiting(aws.sqs, stream) == 0


def test_a_manifest_goes_first_and_a_crowd_agrees_on_each_image(aws: Aws, gtlabel_server: Address) -> None:
    lines = "".join(json.dumps({"source-ref": image}) + "\n" for image in IMAGES[:6])
    aws.s3.put_object(Bucket="trash", Key="in.manifest", Body=lines.encode())
    results = open_stream(aws, manifest=S3Uri("s3://trash/in.manifest"), workers_per_image=3)
    send(aws.sagemaker, aws.sns, "Belt-1", IMAGES[6:])
    queue = find_stream(aws.sagemaker, "Belt-1")
    eventually(lambda: describe_labeling_job(aws.sagemaker, "Belt-1").counters.unlabeled == 12)
    assert waiting(aws.sqs, queue) == 0

    def stop_when_done() -> None:
        records = list(receive(aws.sqs, results, limit=12))
        assert labels(records) == TRUTH
        stop_streaming(aws.sagemaker, "Belt-1")

    with ThreadPoolExecutor(1) as pool:
        stopped = pool.submit(stop_when_done)
        assert simulate(gtlabel_server.url, "Belt-1", 4, 1.0, TRUTH, seed=3).answers >= 36
        stopped.result()


def test_the_labels_of_one_job_can_be_the_images_of_the_next(aws: Aws, gtlabel_server: Address) -> None:
    open_stream(aws)
    first = find_stream(aws.sagemaker, "Belt-1")
    results = open_stream(aws, "Belt-2", attribute="again", input_topic=first.output_topic)
    send(aws.sagemaker, aws.sns, "Belt-1", IMAGES[:2])
    work(gtlabel_server.url, 2)
    work(gtlabel_server.url, 2, "Belt-2")
    for record in receive(aws.sqs, results, limit=2):
        assert record.label("again").class_name == record.label("bin").class_name == TRUTH[record.source_ref]
        assert record.label("again").job == "belt-2"


def test_streaming_in_process_needs_no_server(gtlabel_mock: Aws) -> None:
    gtlabel_mock.s3.create_bucket(Bucket="trash")
    open_stream(gtlabel_mock)
    send(gtlabel_mock.sagemaker, gtlabel_mock.sns, "Belt-1", IMAGES[:2])
    assert describe_labeling_job(gtlabel_mock.sagemaker, "Belt-1").counters.unlabeled == 2


def test_a_job_goes_on_after_a_restart(tmp_path: Path) -> None:
    with running(tmp_path / "state") as address:
        aws = clients(address)
        aws.s3.create_bucket(Bucket="trash")
        open_stream(aws)
        send(aws.sagemaker, aws.sns, "Belt-1", IMAGES[:2])
        work(address.url, 1)
        eventually(lambda: describe_labeling_job(aws.sagemaker, "Belt-1").counters.labeled == 1)
    with running(tmp_path / "state") as address:
        aws = clients(address)
        stream = find_stream(aws.sagemaker, "Belt-1")
        # Topic, queue and subscription were lost with the process, and are made again.
        eventually(
            lambda: (
                queue_url(aws.sqs, stream.queue)
                and aws.sns.list_subscriptions_by_topic(TopicArn=stream.input_topic)["Subscriptions"]
            )
        )
        results = subscribe(aws.sns, aws.sqs, stream)
        assert send(aws.sagemaker, aws.sns, "Belt-1", IMAGES[:3]) == 3
        work(address.url, 2)
        assert len(list(receive(aws.sqs, results, limit=2))) == 2
        assert describe_labeling_job(aws.sagemaker, "Belt-1").counters.total == 3


def test_a_stream_from_the_command_line(aws: Aws, gtlabel_server: Address, tmp_path: Path) -> None:
    where = ["--into", "s3://trash/out/", "--classes", ",".join(NAMES), "--workers", "1"]
    planned = gtlabel("stream", "start", "Belt-1", *where, "--dry-run")
    request = json.loads(planned.stdout)
    own = f"arn:aws:sns:us-east-1:{ACCOUNT}:GroundTruth-belt-1"
    assert request["InputConfig"]["DataSource"] == {"SnsDataSource": {"SnsTopicArn": f"{own}-input"}}
    assert aws.sagemaker.list_labeling_jobs()["LabelingJobSummaryList"] == []
    assert aws.sns.list_topics()["Topics"] == []

    started = gtlabel("stream", "start", "Belt-1", *where, "--poll", "0.1")
    assert (started.returncode, started.stdout) == (0, "Belt-1\n"), started.stderr
    more = tmp_path / "more.manifest"
    more.write_text(line_of(1) + "\n" + line_of(2) + "\n")
    sent = gtlabel("stream", "send", "Belt-1", IMAGES[0], "--manifest", str(more))
    assert sent.stderr == "sent 3 pictures to Belt-1\n"
    work(gtlabel_server.url, 3)
    received = gtlabel("stream", "receive", "Belt-1", "--limit", "3")
    found = [ManifestRecord.from_line(line) for line in received.stdout.splitlines()]
    assert labels(found, "Belt-1") == {image: TRUTH[image] for image in IMAGES[:3]}
    shown = json.loads(gtlabel("stream", "show", "Belt-1", "--output", "json").stdout)
    assert (shown["waiting_to_be_shown"], shown["waiting_to_be_received"]) == (0, 0)
    stopped = gtlabel("stream", "stop", "Belt-1", "--clean", "--poll", "0.1", "--output", "json")
    assert json.loads(stopped.stdout)["removed"][:2] == ["GroundTruth-belt-1", "gtlabel-results-belt-1"]
    late = gtlabel("stream", "send", "Belt-1", IMAGES[0])
    assert late.returncode == 1
    assert late.stderr.startswith("gtlabel: the streaming job 'Belt-1' is Stopped and takes no more images")
