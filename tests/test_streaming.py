"""Streaming jobs: images sent through SNS, labels received through SQS, and what AWS leaves behind."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from botocore.stub import Stubber
from emulator_parts import TEMPLATE, clients, gtlabel, post
from engine_parts import KEY, Shop

from gtlabel.aws import Aws
from gtlabel.emulator.child import Address, running
from gtlabel.emulator.simulate import answer as simulate
from gtlabel.engine.jobs import Status
from gtlabel.engine.stream import Arrival, Outbox
from gtlabel.errors import JobEndedError, ManifestError, RequestError, StreamError
from gtlabel.labeling.jobs import describe_labeling_job
from gtlabel.labeling.receiving import Results, find_results, receive, subscribe
from gtlabel.labeling.request import LabelingJobRequest
from gtlabel.labeling.sending import identified, send
from gtlabel.labeling.streaming import (
    StreamPlan,
    clean_up,
    find_stream,
    plan_streaming,
    queue_url,
    start_streaming,
    stop_streaming,
    wait_until_open,
    waiting,
)
from gtlabel.manifests.records import ManifestRecord
from gtlabel.templates import read_template
from gtlabel.uris import S3Uri

NAMES = ("Compost", "Landfill", "Recycle")
IMAGES = [S3Uri(f"s3://trash/images/{number}.jpg") for number in range(12)]
TRUTH = {str(image): NAMES[number % 3] for number, image in enumerate(IMAGES)}
ACCOUNT = "123456789012"


def plan(aws: Aws, name: str = "Belt-1", **changes: Any) -> StreamPlan:
    folder = S3Uri(f"s3://trash/out/{name}/input")
    usual: dict[str, Any] = {
        "attribute": "bin",
        "classes": folder / "classes.json",
        "template": folder / "template.liquid",
        "output": S3Uri("s3://trash/out/"),
        "role": f"arn:aws:iam::{ACCOUNT}:role/gtlabel",
        "team": f"arn:aws:sagemaker:us-east-1:{ACCOUNT}:workteam/private-crowd/gtlabel",
        "region": "us-east-1",
        "workers_per_image": 1,
    }
    request = LabelingJobRequest(name=name, **{**usual, **changes})
    return plan_streaming(aws.sagemaker, request, NAMES, read_template(TEMPLATE), account=ACCOUNT)


def open_stream(aws: Aws, name: str = "Belt-1", **changes: Any) -> Results:
    """Start a streaming job and have its labels collected."""
    start_streaming(aws.sagemaker, aws.sns, aws.s3, plan(aws, name, **changes))
    stream = wait_until_open(aws.sagemaker, name, poll=0.05, timeout=20)
    return subscribe(aws.sns, aws.sqs, stream)


def lease(url: str, worker: str = "ann", job: str = "Belt-1") -> dict[str, Any]:
    return post(f"{url}/gtlabel/worker/lease", {"job": job, "worker": worker})


def work(url: str, count: int, job: str = "Belt-1") -> None:
    """Answer truly as tasks come, until `count` answers are in."""
    until = time.monotonic() + 20
    while count:
        assert time.monotonic() < until, f"{count} tasks never came"
        task = lease(url, job=job)
        if task["lease"] is None:
            time.sleep(0.02)
            continue
        said = {"crowd-image-classifier": {"label": TRUTH[task["source_ref"]]}}
        post(f"{url}/gtlabel/worker/submit", {"lease": task["lease"], "answer": said})
        count -= 1


def eventually(found: Callable[[], Any]) -> Any:
    """What a look gives once it gives something true."""
    until = time.monotonic() + 20
    while not (value := found()):
        assert time.monotonic() < until, "it never came to be"
        time.sleep(0.05)
    return value


def labels(records: list[ManifestRecord], attribute: str = "bin") -> dict[str, str | None]:
    return {str(record.source_ref): record.label(attribute).class_name for record in records}


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


def test_nothing_is_sent_to_a_job_that_is_not_in_progress(aws: Aws) -> None:
    open_stream(aws)
    stop_streaming(aws.sagemaker, "Belt-1")
    with pytest.raises(StreamError, match="is Stopp(ing|ed) and takes no more images"):
        send(aws.sagemaker, aws.sns, "Belt-1", IMAGES)
    eventually(lambda: find_stream(aws.sagemaker, "Belt-1").status == "Stopped")
    with pytest.raises(StreamError, match="has already ended as Stopped"):
        stop_streaming(aws.sagemaker, "Belt-1")
    with pytest.raises(JobEndedError, match="ended as Stopped"):
        wait_until_open(aws.sagemaker, "Belt-1")


def test_nothing_is_sent_or_stopped_while_a_job_is_initializing(aws: Aws) -> None:
    open_stream(aws)
    described = aws.sagemaker.describe_labeling_job(LabelingJobName="Belt-1")
    described["LabelingJobStatus"] = "Initializing"
    with Stubber(aws.sagemaker) as service:
        for _ in range(8):
            answer = {name: value for name, value in described.items() if name != "ResponseMetadata"}
            service.add_response("describe_labeling_job", answer)
        with pytest.raises(StreamError, match="what is sent now would be lost"):
            send(aws.sagemaker, aws.sns, "Belt-1", IMAGES)
        with pytest.raises(StreamError, match="cannot be stopped yet"):
            stop_streaming(aws.sagemaker, "Belt-1")
        with pytest.raises(JobEndedError, match="still Initializing when the time was up"):
            wait_until_open(aws.sagemaker, "Belt-1", timeout=0)
    assert waiting(aws.sqs, find_stream(aws.sagemaker, "Belt-1")) == 0


def test_a_stopped_job_leaves_its_queue_unsubscribed_until_it_is_cleaned_up(
    aws: Aws, gtlabel_server: Address
) -> None:
    open_stream(aws, max_concurrent=1)
    stream = find_stream(aws.sagemaker, "Belt-1")
    send(aws.sagemaker, aws.sns, "Belt-1", IMAGES[:5])
    work(gtlabel_server.url, 1)
    eventually(lambda: waiting(aws.sqs, stream) == 3)
    with pytest.raises(StreamError, match="stop it first with: gtlabel stream stop Belt-1"):
        clean_up(aws.sagemaker, aws.sns, aws.sqs, "Belt-1")
    stop_streaming(aws.sagemaker, "Belt-1")
    eventually(lambda: find_stream(aws.sagemaker, "Belt-1").status == "Stopped")
    queue = "GroundTruth-belt-1"
    assert queue in aws.sqs.get_queue_url(QueueName=queue)["QueueUrl"]
    given = {"TopicArn": stream.input_topic}
    eventually(lambda: not aws.sns.list_subscriptions_by_topic(**given)["Subscriptions"])
    with pytest.raises(StreamError, match="still holds 3 images that were sent and never shown"):
        clean_up(aws.sagemaker, aws.sns, aws.sqs, "Belt-1")
    assert aws.sqs.get_queue_url(QueueName=queue)
    removed = clean_up(aws.sagemaker, aws.sns, aws.sqs, "Belt-1", force=True)
    assert removed == [
        queue,
        "gtlabel-results-belt-1",
        "GroundTruth-belt-1-input",
        "GroundTruth-belt-1-output",
    ]
    assert aws.sqs.list_queues().get("QueueUrls", []) == []
    assert aws.sns.list_topics()["Topics"] == aws.sns.list_subscriptions()["Subscriptions"] == []
    assert clean_up(aws.sagemaker, aws.sns, aws.sqs, "Belt-1") == []


def test_topics_of_others_are_left_alone(aws: Aws) -> None:
    topics = [aws.sns.create_topic(Name=name)["TopicArn"] for name in ("in", "out")]
    open_stream(aws, input_topic=topics[0], output_topic=topics[1])
    stop_streaming(aws.sagemaker, "Belt-1")
    eventually(lambda: find_stream(aws.sagemaker, "Belt-1").status == "Stopped")
    assert clean_up(aws.sagemaker, aws.sns, aws.sqs, "Belt-1") == [
        "GroundTruth-belt-1",
        "gtlabel-results-belt-1",
    ]
    assert sorted(topic["TopicArn"] for topic in aws.sns.list_topics()["Topics"]) == sorted(topics)


def test_whoever_is_interrupted_goes_on_with_the_record_they_worked_on(
    aws: Aws, gtlabel_server: Address
) -> None:
    results = open_stream(aws)
    send(aws.sagemaker, aws.sns, "Belt-1", IMAGES)
    work(gtlabel_server.url, 12)
    records = receive(aws.sqs, results)
    done = [str(next(records).source_ref) for _ in range(4)]
    working_on = str(next(records).source_ref)
    records.close()
    rest = [str(record.source_ref) for record in receive(aws.sqs, find_results(aws.sqs, "Belt-1"), limit=8)]
    assert working_on in rest
    assert sorted(done + rest) == sorted(TRUTH)


def test_a_message_that_is_no_record_is_not_lost_unseen(aws: Aws) -> None:
    results = open_stream(aws)
    topic = find_stream(aws.sagemaker, "Belt-1").output_topic or ""
    good = json.dumps({"source-ref": IMAGES[0], "bin": 0})
    aws.sns.publish(TopicArn=topic, Message="hello")
    with pytest.raises(StreamError, match="is no record: not JSON"):
        list(receive(aws.sqs, results, idle=0))
    aws.sns.publish(TopicArn=topic, Message=good)
    refused: list[str] = []
    records = receive(aws.sqs, results, limit=1, on_refused=lambda text, _: refused.append(text))
    assert [record.source_ref for record in records] == [IMAGES[0]]
    if not refused:
        list(receive(aws.sqs, results, idle=0, on_refused=lambda text, _: refused.append(text)))
    assert refused == ["hello"]


def test_a_label_that_comes_twice_is_received_once(aws: Aws) -> None:
    results = open_stream(aws)
    topic = find_stream(aws.sagemaker, "Belt-1").output_topic or ""
    for image in (IMAGES[0], IMAGES[0], IMAGES[1]):
        aws.sns.publish(TopicArn=topic, Message=json.dumps({"source-ref": image, "bin": 0}))
    assert sorted(record.source_ref for record in receive(aws.sqs, results, idle=0)) == IMAGES[:2]


@pytest.mark.parametrize(
    ("record", "sentence"),
    [
        ({"dataset-objectid-attribute-name": "a_b", "a_b": "1"}, "'a_b' cannot be the key of an id"),
        ({"dataset-objectid-attribute-name": "k" * 141, "k" * 141: "1"}, "it has up to 140 letters"),
        ({"dataset-objectid-attribute-name": "look"}, "its id, 'look', is null"),
        ({"dataset-objectid-attribute-name": "look", "look": 7}, "is 7; an id is a text of 1 to 1024"),
        ({"dataset-objectid-attribute-name": "look", "look": "x" * 1025}, "an id is a text of 1 to 1024"),
        ({"bin": 1, "bin-metadata": {}}, "has a 'bin' label already"),
        ({"note": "x" * 100_000}, "Ground Truth reads at most 100,000 a line"),
        ({"note": "\U0001f5d1" * 70_000}, "bytes; SNS takes at most 262,144 in a message"),
    ],
)
def test_what_cannot_be_sent_is_refused_with_a_sentence(
    gtlabel_aws: Aws, stream: str, record: dict[str, Any], sentence: str
) -> None:
    image = ManifestRecord.from_line(json.dumps({"source-ref": IMAGES[0], **record}))
    before = describe_labeling_job(gtlabel_aws.sagemaker, stream).counters
    with pytest.raises((StreamError, ManifestError), match=re.escape(sentence)):
        send(gtlabel_aws.sagemaker, gtlabel_aws.sns, stream, [image])
    assert describe_labeling_job(gtlabel_aws.sagemaker, stream).counters == before


def test_what_came_before_a_record_that_cannot_be_sent_was_sent(aws: Aws, stream: str) -> None:
    bad = ManifestRecord.from_line(json.dumps({"source-ref": IMAGES[3], "bin": 1}))
    with pytest.raises(StreamError, match="images/3.jpg has a 'bin' label already"):
        send(aws.sagemaker, aws.sns, stream, [*IMAGES[:3], bad])
    eventually(lambda: describe_labeling_job(aws.sagemaker, stream).counters.unlabeled == 3)


def test_an_id_of_the_record_itself_is_kept() -> None:
    record = ManifestRecord.from_line(
        json.dumps({"source-ref": IMAGES[0], "dataset-objectid-attribute-name": "look", "look": "1"})
    )
    assert [found.to_json() for found in identified([record])] == [record.to_json()]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"name": "a_b"}, "LabelingJobName"),
        ({"max_labeled": 3}, "a streaming job ignores stopping conditions"),
        ({"automated": True}, "a streaming job cannot label automatically"),
        ({"input_topic": "arn:aws:sns:eu-west-1:123456789012:in"}, "it is in eu-west-1 and the job in us-e"),
        ({"output_topic": "arn:aws:sns:us-east-1:123456789012:out.fifo"}, "a FIFO topic cannot be used"),
        (
            dict.fromkeys(("input_topic", "output_topic"), "arn:aws:sns:us-east-1:123456789012:one"),
            "it is the input topic; labels would come back as images",
        ),
    ],
)
def test_a_job_that_the_service_would_refuse_is_not_started(
    aws: Aws, changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(RequestError, match=re.escape(sentence)):
        plan(aws, **changes)
    assert aws.sns.list_topics()["Topics"] == []


def test_a_topic_that_does_not_exist_is_named_before_anything_is_written(aws: Aws) -> None:
    asked = plan(aws, output_topic=f"arn:aws:sns:us-east-1:{ACCOUNT}:nowhere")
    with pytest.raises(StreamError, match=f"there is no topic arn:aws:sns:us-east-1:{ACCOUNT}:nowhere"):
        start_streaming(aws.sagemaker, aws.sns, aws.s3, asked)
    assert aws.s3.list_objects_v2(Bucket="trash")["KeyCount"] == 0
    # Whoever asks all the same gets a job that fails and says why.
    ready = plan(aws)
    start_streaming(aws.sagemaker, aws.sns, aws.s3, ready)
    wait_until_open(aws.sagemaker, "Belt-1", poll=0.05)
    request = asked.request.model_copy(update={"name": "Belt-2", "input_topic": ready.request.input_topic})
    aws.sagemaker.create_labeling_job(**request.to_boto())
    with pytest.raises(JobEndedError, match="the output topic .*:nowhere does not exist"):
        wait_until_open(aws.sagemaker, "Belt-2", poll=0.05)


def test_a_topic_with_a_key_of_aws_is_refused(aws: Aws) -> None:
    topic = aws.sns.create_topic(Name="in", Attributes={"KmsMasterKeyId": "alias/aws/sns"})["TopicArn"]
    with pytest.raises(StreamError, match="give the topic a key of your own"):
        start_streaming(aws.sagemaker, aws.sns, aws.s3, plan(aws, input_topic=topic))
    assert aws.s3.list_objects_v2(Bucket="trash")["KeyCount"] == 0


def test_a_job_that_reads_a_manifest_is_no_stream(aws: Aws) -> None:
    aws.s3.put_object(Bucket="trash", Key="in.manifest", Body=json.dumps({"source-ref": IMAGES[0]}).encode())
    request = plan(aws).request.model_copy(
        update={"manifest": S3Uri("s3://trash/in.manifest"), "input_topic": None, "output_topic": None}
    )
    aws.sagemaker.create_labeling_job(**request.to_boto())
    with pytest.raises(StreamError, match="reads a manifest and takes nothing more"):
        send(aws.sagemaker, aws.sns, "Belt-1", IMAGES)
    with pytest.raises(StreamError, match="nothing collected the labels"):
        find_results(aws.sqs, "Belt-1")


def test_streaming_in_process_needs_no_server(gtlabel_mock: Aws) -> None:
    gtlabel_mock.s3.create_bucket(Bucket="trash")
    open_stream(gtlabel_mock)
    send(gtlabel_mock.sagemaker, gtlabel_mock.sns, "Belt-1", IMAGES[:2])
    assert describe_labeling_job(gtlabel_mock.sagemaker, "Belt-1").counters.unlabeled == 2


class Belt(Shop):
    """A streaming job on an engine that knows no topics."""

    def __init__(self, **spec: Any) -> None:
        super().__init__(1, manifest=None, streaming=True, announced=True, workers_per_object=1, **spec)
        self.outbox = Outbox(self.store, self.clock)
        self.start()

    def arrive(self, *lines: str) -> list[str]:
        refused = self.board.add_objects(KEY, [Arrival(line, line) for line in lines])
        self.turn()
        return refused


def record(number: int) -> str:
    return json.dumps({"source-ref": f"s3://trash/images/{number}.jpg"})


def test_a_job_that_is_idle_for_ten_days_is_stopped() -> None:
    belt = Belt()
    belt.arrive(record(1))
    belt.say(belt.lease())
    belt.turn().clock.pass_seconds(10 * 24 * 3600 - 1)
    assert belt.turn().job.status is Status.IN_PROGRESS
    belt.arrive(record(1))
    belt.clock.pass_seconds(10 * 24 * 3600 - 1)
    assert belt.turn().job.status is Status.IN_PROGRESS
    belt.clock.pass_seconds(1)
    assert belt.turn().job.status is Status.STOPPED
    assert [line["bin-metadata"]["class-name"] for line in belt.records()] == ["Compost"]
    with pytest.raises(StreamError, match="is Stopped and takes no images"):
        belt.arrive(record(2))


def test_a_job_that_somebody_still_looks_at_is_not_idle() -> None:
    belt = Belt(task_seconds=28_800)
    belt.arrive(record(1))
    belt.clock.pass_seconds(11 * 24 * 3600)
    assert belt.turn().job.status is Status.IN_PROGRESS


def test_a_label_stays_to_be_told_until_somebody_was() -> None:
    belt = Belt()
    belt.arrive(record(1), record(2))
    for _ in range(2):
        belt.say(belt.lease())
    belt.turn()
    told = belt.outbox.pending(10)
    assert [each.object for each in told] == [0, 1]
    assert told == Outbox(belt.store, belt.clock).pending(10)
    assert [each.line for each in told] == belt.output()
    belt.outbox.told(told[:1])
    assert belt.outbox.pending(10) == told[1:]


def test_what_no_manifest_could_hold_is_left_out_with_a_reason() -> None:
    belt = Belt()
    refused = belt.arrive("hello", "[1]", '{"source-ref":NaN}', "[" * 100_000, record(1), '{"Event":"test"}')
    assert [sentence.partition(": ")[2] for sentence in refused] == [
        "Expecting value: line 1 column 1 (char 0)",
        "it is not a JSON object",
        "it is not JSON: NaN is no number there",
        "it is nested too deeply",
    ]
    counters = belt.board.counters(KEY)
    assert (counters.unlabeled, counters.failed) == (1, 1)


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
    more.write_text(record(1) + "\n" + record(2) + "\n")
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
