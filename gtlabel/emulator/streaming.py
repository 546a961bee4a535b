"""Streaming jobs between SNS, SQS and the engine: what Ground Truth does in the customer's account.

A job gets a queue `GroundTruth-<name in lower case>`, subscribed to its input topic. What arrives there
becomes objects of the job, as many as may be out at once; the rest waits in the queue. Each label is
published on the output topic. When the job ends, the queue stays behind, unsubscribed
(contract/ground-truth.md 8).
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus

from gtlabel.emulator.api import Context
from gtlabel.engine.board import Board, Job, JobKey, Status
from gtlabel.engine.stream import Announcement, Arrival, Outbox
from gtlabel.errors import EmulatorError

if TYPE_CHECKING:
    from types_boto3_sqs.type_defs import MessageTypeDef

    from gtlabel.aws import Aws

_log = logging.getLogger(__name__)

_ID_ATTRIBUTE = "dataset-objectid-attribute-name"
# Longer than that, an object that nobody was shown expires: the longest that SQS keeps anything.
_KEEP_SECONDS = str(14 * 24 * 3600)
_MESSAGES = 10
_ANNOUNCED = 100


class Streams:
    """The messages of all streaming jobs, carried when `turn` is called.

    Args:
        board: where the jobs are.
        clients: gives the clients of an account and region.
        pause: how many seconds an empty queue is left alone for.
        forgetful: whether topics may be gone after a restart without anybody having deleted them, as moto's.
    """

    def __init__(
        self,
        board: Board,
        clients: Callable[[Context], Aws],
        pause: float = 0,
        *,
        forgetful: bool = True,
    ) -> None:
        self._board = board
        self._clients = clients
        self._outbox = Outbox(board.store, board.clock)
        # The queue's URL and the subscription's ARN of each job that is listened to.
        self._open: dict[JobKey, tuple[str, str]] = {}
        self._said: dict[JobKey, str] = {}
        self._pause = pause
        self._quiet_until: dict[JobKey, float] = {}
        self._restored = not forgetful

    def prepare(self, job: Job) -> None:
        """Make a job's queue and subscribe it to its topic; the second time changes nothing.

        Raises:
            EmulatorError: if one of its topics does not exist.
        """
        aws = self._aws(job.key)
        source, answered = _topics(job)
        if answered and not _exists(aws, answered):
            raise EmulatorError(f"the output topic {answered} does not exist")
        if not _exists(aws, source):
            raise EmulatorError(f"the input topic {source} does not exist")
        name = f"GroundTruth-{job.key.name.lower()}"
        url = aws.sqs.create_queue(QueueName=name, Attributes={"MessageRetentionPeriod": _KEEP_SECONDS})[
            "QueueUrl"
        ]
        queue = Context(job.key.account, job.key.region).arn("sqs", name)
        subscription = aws.sns.subscribe(
            TopicArn=source, Protocol="sqs", Endpoint=queue, ReturnSubscriptionArn=True
        )
        self._open[job.key] = url, subscription["SubscriptionArn"]

    def turn(self) -> bool:
        """Carry what is there to be carried; say whether there was anything."""
        running = {job.key: job for job in self._outbox.streams() if job.status is Status.IN_PROGRESS}
        busy = False
        if not self._restored:
            self._restored = True
            for job in running.values():
                self._guarded(job, self._restore)
        for key in [key for key in self._open if key not in running]:
            self._close(key)
        for job in running.values():
            busy = self._guarded(job, self._take_in) or busy
        for announcement in self._outbox.pending(_ANNOUNCED):
            busy = self._tell(announcement) or busy
        return busy

    def reset(self) -> None:
        """Forget every job."""
        self._open.clear()
        self._said.clear()

    def _restore(self, job: Job) -> bool:
        """Make the topics of a job again that ran before this process did: moto remembers none."""
        aws = self._aws(job.key)
        for topic in _topics(job):
            if topic and not _exists(aws, topic):
                aws.sns.create_topic(Name=topic.rpartition(":")[2])
        return False

    def _take_in(self, job: Job) -> bool:
        if job.key not in self._open:
            self.prepare(job)
        url, _ = self._open[job.key]
        if time.monotonic() < self._quiet_until.get(job.key, 0):
            return False
        sqs, busy = self._aws(job.key).sqs, False
        while (room := job.spec.max_concurrent - self._board.counters(job.key).unlabeled) > 0:
            answer = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=min(_MESSAGES, room))
            messages = answer.get("Messages", [])
            if not messages:
                self._quiet_until[job.key] = time.monotonic() + self._pause
                break
            arrived = [arrival for message in messages for arrival in arrivals(job.spec.attribute, message)]
            for sentence in self._board.add_objects(job.key, arrived):
                _log.warning(sentence)
            # Only now: what is on the board cannot be lost any more, and comes twice at most.
            handles: list[Any] = [
                {"Id": str(place), "ReceiptHandle": message["ReceiptHandle"]}
                for place, message in enumerate(messages)
            ]
            sqs.delete_message_batch(QueueUrl=url, Entries=handles)
            busy = True
        return busy

    def _tell(self, announcement: Announcement) -> bool:
        def publish(job: Job) -> bool:
            _, topic = _topics(job)
            self._aws(job.key).sns.publish(TopicArn=topic, Message=announcement.line.decode())
            self._outbox.told([announcement])
            return True

        return self._guarded(announcement.job, publish)

    def _close(self, key: JobKey) -> None:
        from botocore.exceptions import BotoCoreError, ClientError

        _, subscription = self._open.pop(key)
        try:
            self._aws(key).sns.unsubscribe(SubscriptionArn=subscription)
        except (BotoCoreError, ClientError) as error:
            _log.warning("the queue of %s was not unsubscribed: %s", key.name, error)

    def _guarded(self, job: Job, work: Callable[[Job], bool]) -> bool:
        """Do something for a job; what goes wrong is tried again at the next turn, and stops no other job."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return work(job)
        except (BotoCoreError, ClientError, EmulatorError) as error:
            self._open.pop(job.key, None)
            if self._said.get(job.key) != str(error):
                _log.warning("the streaming job %s cannot be carried on now: %s", job.key.name, error)
            self._said[job.key] = str(error)
            return False

    def _aws(self, key: JobKey) -> Aws:
        return self._clients(Context(key.account, key.region))


def arrivals(attribute: str, message: MessageTypeDef) -> Iterator[Arrival]:
    """The objects that one message of a job's queue stands for.

    Args:
        attribute: the attribute that the job writes; the keys that it adds are named after it.
        message: as SQS gives it, with the envelope of SNS.
    """
    text, number = message["Body"], message["MessageId"]
    envelope = _object(text)
    if envelope.get("Type") == "Notification":
        text, number = str(envelope.get("Message")), str(envelope.get("MessageId"))
    content = _object(text)
    events = content.get("Records")
    if isinstance(events, list) and events and all(_is_creation(event) for event in events):
        for place, event in enumerate(events):
            yield _of_event(attribute, event, f"{number}-{place}")
        return
    named = content.get(_ID_ATTRIBUTE)
    if isinstance(named, str) and isinstance(content.get(named), str):
        yield Arrival(f"{named}={content[named]}", text)
    else:
        key = f"${attribute}-object-id"
        yield Arrival(f"{key}={number}", text, {_ID_ATTRIBUTE: key, key: number})


def _of_event(attribute: str, event: dict[str, Any], number: str) -> Arrival:
    """The object that an event of a bucket tells of; S3 writes the key as a form would."""
    bucket, found = event["s3"]["bucket"]["name"], event["s3"]["object"]
    uri = f"s3://{bucket}/{unquote_plus(found['key'])}"
    # moto gives no sequencer, so each of its events is one of its own.
    sequencer = str(found.get("sequencer", number))
    key = f"${attribute}-object-id"
    added = {_ID_ATTRIBUTE: key, key: f"{uri}-{sequencer}", "$sequencer": sequencer}
    return Arrival(f"{key}={added[key]}", json.dumps({"source-ref": uri}, ensure_ascii=False), added)


def _is_creation(event: Any) -> bool:
    if not isinstance(event, dict) or not str(event.get("eventName", "")).startswith("ObjectCreated:"):
        return False
    place = event.get("s3", {})
    return bool(place.get("bucket", {}).get("name") and place.get("object", {}).get("key"))


def _object(text: str) -> dict[str, Any]:
    """The JSON object that a text is; empty when it is none."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _topics(job: Job) -> tuple[str, str]:
    request = job.spec.request
    source = request["InputConfig"]["DataSource"]["SnsDataSource"]["SnsTopicArn"]
    return source, request["OutputConfig"].get("SnsTopicArn", "")


def _exists(aws: Aws, topic: str) -> bool:
    try:
        aws.sns.get_topic_attributes(TopicArn=topic)
    except aws.sns.exceptions.NotFoundException:
        return False
    return True
