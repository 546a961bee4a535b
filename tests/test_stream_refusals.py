"""What streaming jobs do not take, what of others they leave alone, and what survives an interruption."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from botocore.stub import Stubber
from streaming_parts import ACCOUNT, IMAGES, TRUTH, eventually, open_stream, plan, work

from gtlabel.aws import Aws
from gtlabel.emulator.child import Address
from gtlabel.errors import JobEndedError, ManifestError, RequestError, StreamError
from gtlabel.labeling.jobs import describe_labeling_job
from gtlabel.labeling.receiving import find_results, receive
from gtlabel.labeling.sending import identified, send
from gtlabel.labeling.streaming import (
    clean_up,
    find_stream,
    start_streaming,
    stop_streaming,
    wait_until_open,
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
    image = ManifestRecord.from_values({"source-ref": IMAGES[0], **record})
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
