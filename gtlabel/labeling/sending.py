"""What goes into a streaming job: images one by one, each with an id that keeps it from being labeled twice.

https://docs.aws.amazon.com/sagemaker/latest/dg/sms-streaming-impotency.html, contract/ground-truth.md 8.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gtlabel.errors import StreamError
from gtlabel.labeling.streaming import Stream, find_stream, no_topic
from gtlabel.manifests.lines import write_record
from gtlabel.manifests.records import ManifestRecord
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_sagemaker import SageMakerClient
    from types_boto3_sns import SNSClient

# The key whose value names the key that an object's id stands under.
ID_ATTRIBUTE = "dataset-objectid-attribute-name"
_ID_KEY = re.compile(r"[$a-zA-Z0-9](-*[a-zA-Z0-9])*")
_ID_KEY_CHARACTERS = 140
_ID_CHARACTERS = 1024

# https://docs.aws.amazon.com/sns/latest/api/API_PublishBatch.html: for one message and for a batch together.
_MESSAGE_BYTES = 262_144
_BATCH = 10
_ATTEMPTS = 4


def identified(
    images: Iterable[S3Uri | ManifestRecord],
    key: str = "source-ref",
    ids: Callable[[ManifestRecord], str] | None = None,
) -> Iterator[ManifestRecord]:
    """Yield the records of images, each with the id that keeps it from being labeled twice.

    A job labels one object of each id, however often it is sent. By default the id is the image's address,
    so an image is labeled once in the life of a job; to have it labeled again, give it another id.

    Args:
        images: addresses, or records whose other keys come along; a record that names its id keeps it.
        key: the key that the id stands under.
        ids: makes the id of a record that has no such key.

    Raises:
        StreamError: at the first record without a usable id.
    """
    for image in images:
        record = image if isinstance(image, ManifestRecord) else ManifestRecord.of(image)
        added: dict[str, str] = {} if ID_ATTRIBUTE in record else {ID_ATTRIBUTE: key}
        named = record.get(ID_ATTRIBUTE, key)
        if not isinstance(named, str) or len(named) > _ID_KEY_CHARACTERS or not _ID_KEY.fullmatch(named):
            raise StreamError(
                f"{record.source_ref}: {named!r} cannot be the key of an id; "
                f"it has up to {_ID_KEY_CHARACTERS} letters, digits and single or inner hyphens"
            )
        if named not in record and ids is not None:
            added[named] = ids(record)
        value = added.get(named, record.get(named))
        if not isinstance(value, str) or not 0 < len(value) <= _ID_CHARACTERS:
            raise StreamError(
                f"{record.source_ref}: its id, {named!r}, is {_short(value)}; "
                f"an id is a text of 1 to {_ID_CHARACTERS} characters"
            )
        yield record.having(added) if added else record


def send(
    sagemaker: SageMakerClient,
    sns: SNSClient,
    job: str,
    images: Iterable[S3Uri | ManifestRecord],
    *,
    key: str = "source-ref",
    ids: Callable[[ManifestRecord], str] | None = None,
    on_progress: Callable[[int], None] | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Send images to a streaming job, and return how many were sent.

    Workers see them at once. Sending again what was sent before does no harm: see `identified`.

    Args:
        sagemaker: the client that looks at the job.
        sns: the client that sends.
        job: the job's name.
        images: addresses or records, read as they are sent.
        key: the key of the ids.
        ids: makes ids.
        on_progress: called with the number sent so far.
        sleep: waits between two attempts at what a busy topic refused.

    Raises:
        StreamError: if the job is not `InProgress`, at the first record that cannot be sent (those before
            it were), or if the topic refuses.
        ManifestError: at a record that is longer than a line may be.
    """
    stream = find_stream(sagemaker, job)
    if stream.status != "InProgress":
        raise StreamError(_why_closed(stream))
    count = 0
    for batch in _batches(_messages(stream, identified(images, key, ids))):
        _publish(sns, stream.input_topic, batch, sleep)
        count += len(batch)
        if on_progress is not None:
            on_progress(count)
    return count


def _why_closed(stream: Stream) -> str:
    if stream.status == "Initializing":
        return (
            f"the streaming job {stream.job!r} is still Initializing, and what is sent now would be lost; "
            f"see when it is InProgress: gtlabel jobs show {stream.job}"
        )
    return f"the streaming job {stream.job!r} is {stream.status} and takes no more images; start another"


def _messages(stream: Stream, records: Iterable[ManifestRecord]) -> Iterator[str]:
    for record in records:
        if record.state(stream.attribute) == "labeled":
            raise StreamError(
                f"{record.source_ref} has a {stream.attribute!r} label already, which this job writes; "
                "leave it out, or strip the label"
            )
        message = write_record(record)
        if len(message) > _MESSAGE_BYTES:
            raise StreamError(
                f"the record of {record.source_ref} has {len(message):,} bytes; "
                f"SNS takes at most {_MESSAGE_BYTES:,} in a message"
            )
        yield message.decode()


def _batches(messages: Iterable[str]) -> Iterator[list[str]]:
    """Put messages together, so many and so large as one call may carry.

    When a message cannot be made, those before it are handed out before the error goes on.
    """
    batch: list[str] = []
    size = 0
    try:
        for message in messages:
            length = len(message.encode())
            if batch and (len(batch) == _BATCH or size + length > _MESSAGE_BYTES):
                yield batch
                batch, size = [], 0
            batch.append(message)
            size += length
    except Exception:
        if batch:
            yield batch
        raise
    if batch:
        yield batch


def _publish(sns: SNSClient, topic: str, batch: Sequence[str], sleep: Callable[[float], None]) -> None:
    """Send a batch; what a busy topic refused is sent again, which the ids make harmless."""
    pending: Mapping[str, str] = {str(place): message for place, message in enumerate(batch)}
    for attempt in range(_ATTEMPTS):
        entries: list[Any] = [{"Id": place, "Message": message} for place, message in pending.items()]
        try:
            answer = sns.publish_batch(TopicArn=topic, PublishBatchRequestEntries=entries)
        except sns.exceptions.NotFoundException as error:
            raise StreamError(no_topic(topic)) from error
        failed = answer.get("Failed", [])
        if not failed:
            return
        hopeless = next((entry for entry in failed if entry["SenderFault"]), None)
        if hopeless is not None or attempt == _ATTEMPTS - 1:
            refused = hopeless or failed[0]
            raise StreamError(
                f"{topic} refused {len(failed)} of {len(batch)} messages: {refused['Code']}, "
                f"{refused.get('Message', 'no reason given')}; send them again, none is labeled twice"
            )
        pending = {entry["Id"]: pending[entry["Id"]] for entry in failed}
        sleep(2.0**attempt)


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 40 else f"{text[:37]}..."
