"""What comes out of a streaming job: a record for each labeled image, from a queue of ours.

A record is deleted from the queue when the next one is asked for, so whoever is interrupted goes on with the
one that was being worked on. https://docs.aws.amazon.com/sagemaker/latest/dg/sms-create-sns-input-topic.html
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from gtlabel.errors import StreamError
from gtlabel.labeling.streaming import Stream, no_topic, queue_url, results_queue
from gtlabel.manifests.records import ManifestRecord

if TYPE_CHECKING:
    from types_boto3_sns import SNSClient
    from types_boto3_sqs import SQSClient
    from types_boto3_sqs.type_defs import MessageTypeDef

# The longest that SQS keeps a message.
_KEEP_SECONDS = 14 * 24 * 3600
# How long a record may be worked on before the queue hands it to somebody else.
_WORK_SECONDS = 300
_BATCH = 10
_LONGEST_POLL = 20


@dataclass(frozen=True, slots=True)
class Results:
    """The queue in which a job's labels wait for us."""

    job: str
    url: str


def subscribe(sns: SNSClient, sqs: SQSClient, stream: Stream) -> Results:
    """Have a job's labels collected in a queue of ours from now on; the second time changes nothing.

    Labels that came out before are in the job's output manifest only, so do this before the first image is
    sent.

    Raises:
        StreamError: if the job answers on no topic, or the topic is gone.
    """
    if stream.output_topic is None:
        raise StreamError(
            f"the streaming job {stream.job!r} has no output topic; its labels are in its output manifest"
        )
    name = results_queue(stream.job)
    parts = stream.output_topic.split(":")
    arn = f"arn:{parts[1]}:sqs:{parts[3]}:{parts[4]}:{name}"
    # Not CreateQueue's own check of attributes: a queue of somebody who set others is as good.
    url = queue_url(sqs, name) or sqs.create_queue(QueueName=name)["QueueUrl"]
    sqs.set_queue_attributes(
        QueueUrl=url,
        Attributes={
            "MessageRetentionPeriod": str(_KEEP_SECONDS),
            "VisibilityTimeout": str(_WORK_SECONDS),
            "Policy": json.dumps(_policy(arn, stream.output_topic)),
        },
    )
    try:
        sns.subscribe(
            TopicArn=stream.output_topic,
            Protocol="sqs",
            Endpoint=arn,
            Attributes={"RawMessageDelivery": "true"},
        )
    except sns.exceptions.NotFoundException as error:
        raise StreamError(no_topic(stream.output_topic)) from error
    return Results(stream.job, url)


def find_results(sqs: SQSClient, job: str) -> Results:
    """The queue that `subscribe` made.

    Raises:
        StreamError: if there is none.
    """
    url = queue_url(sqs, results_queue(job))
    if url is None:
        raise StreamError(
            f"nothing collected the labels of {job!r} as they came; "
            "they are in its output manifest, where gtlabel consolidate finds them"
        )
    return Results(job, url)


def receive(
    sqs: SQSClient,
    results: Results,
    *,
    limit: int | None = None,
    idle: float | None = 20.0,
    poll: float = 20.0,
    over: Callable[[], bool] = lambda: False,
    on_refused: Callable[[str, str], None] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Generator[ManifestRecord, None, None]:
    """Yield the records of a job as its images are labeled; each once, in no particular order.

    A record is deleted from the queue when the next one is asked for. Those that were fetched and not
    handed out go back at once when the iterator is closed.

    Args:
        sqs: the client.
        results: the queue.
        limit: end after so many records.
        idle: end when nothing came for so many seconds; None waits for ever, or until `over`.
        poll: the seconds that one look into the queue waits, at most 20.
        over: asked when nothing came: whether nothing will any more.
        on_refused: told the text and the reason of a message that is no record, which is then deleted.
        clock: tells the seconds passed.

    Raises:
        StreamError: at a message that is no record, unless `on_refused` is given; it stays in the queue.
    """
    seen: set[bytes] = set()
    count, last, ending = 0, clock(), False
    while limit is None or count < limit:
        patience = 0.0 if ending else min(poll, math.inf if idle is None else last + idle - clock())
        most = _BATCH if limit is None else min(_BATCH, limit - count)
        batch = _fetch(sqs, results, most, patience)
        if not batch:
            if ending or (idle is not None and clock() - last >= idle):
                return
            # What came between the last look and the job's end is still to be fetched.
            ending = over()
            continue
        held = {message["MessageId"]: message["ReceiptHandle"] for message in batch}
        try:
            for message in batch:
                record = _record(results, message, on_refused)
                mark = sha256(json.dumps(record.to_json()).encode()).digest() if record else b""
                # SQS may deliver a message twice, and the job may announce a label twice.
                if record is not None and mark not in seen:
                    seen.add(mark)
                    count += 1
                    yield record
                sqs.delete_message(QueueUrl=results.url, ReceiptHandle=held.pop(message["MessageId"]))
        finally:
            _put_back(sqs, results, list(held.values()))
        last = clock()


def _fetch(sqs: SQSClient, results: Results, most: int, patience: float) -> list[MessageTypeDef]:
    seconds = min(_LONGEST_POLL, math.ceil(max(0.0, patience)))
    answer = sqs.receive_message(QueueUrl=results.url, MaxNumberOfMessages=most, WaitTimeSeconds=seconds)
    return answer.get("Messages", [])


def _record(
    results: Results, message: MessageTypeDef, on_refused: Callable[[str, str], None] | None
) -> ManifestRecord | None:
    text = _unwrapped(message["Body"])
    try:
        return ManifestRecord.from_line(text)
    except ValueError as error:
        if on_refused is None:
            raise StreamError(
                f"a message in {results.url} is no record: {error}; "
                "it stays there until it is received with on_refused or deleted"
            ) from error
        on_refused(text, str(error))
        return None


def _unwrapped(body: str) -> str:
    """What was published, be it delivered raw or in the envelope of SNS."""
    try:
        envelope: Any = json.loads(body)
    except ValueError:
        return body
    if isinstance(envelope, dict) and envelope.get("Type") == "Notification":
        return str(envelope.get("Message", body))
    return body


def _put_back(sqs: SQSClient, results: Results, handles: Sequence[str]) -> None:
    for handle in handles:
        sqs.change_message_visibility(QueueUrl=results.url, ReceiptHandle=handle, VisibilityTimeout=0)


def _policy(queue: str, topic: str) -> dict[str, Any]:
    """Let a topic, and nothing else, put messages into a queue."""
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "sns.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": queue,
        "Condition": {"ArnEquals": {"aws:SourceArn": topic}},
    }
    return {"Version": "2012-10-17", "Statement": [statement]}
