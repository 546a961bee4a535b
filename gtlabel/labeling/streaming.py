"""Streaming labeling jobs: images go in one by one, labels come out one by one, until somebody stops the job.

https://docs.aws.amazon.com/sagemaker/latest/dg/sms-streaming-labeling-job.html, contract/ground-truth.md 8.
What goes in is in `gtlabel.labeling.sending`, what comes out in `gtlabel.labeling.receiving`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gtlabel.errors import JobEndedError, JobNameTakenError, StreamError
from gtlabel.labeling.jobs import ENDED, create_labeling_job, describe_labeling_job, job_exists
from gtlabel.labeling.request import LabelingJobRequest
from gtlabel.manifests.classes import check_classes
from gtlabel.storage import write

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client
    from types_boto3_sagemaker import SageMakerClient
    from types_boto3_sns import SNSClient
    from types_boto3_sqs import SQSClient


@dataclass(frozen=True, slots=True)
class Stream:
    """A streaming job: where images go in, and where labels come out.

    Attributes:
        attribute: the key that labels are written under.
        input_topic: the ARN of the topic that images are sent to.
        output_topic: the ARN of the topic that labels come from; None when the job has none.
    """

    job: str
    status: str
    attribute: str
    input_topic: str
    output_topic: str | None

    @property
    def queue(self) -> str:
        """The queue that Ground Truth makes for the job, and leaves behind."""
        return f"GroundTruth-{self.job.lower()}"


@dataclass(frozen=True, slots=True)
class StreamPlan:
    """A streaming job that could be started: its request, and what is written before it is sent."""

    request: LabelingJobRequest
    classes: tuple[str, ...]
    template: str


def topic_arns(job: str, region: str, account: str) -> tuple[str, str]:
    """The topics that gtlabel makes for a job, the input and the output.

    AWS's managed policy lets a role at topics that have GroundTruth in their name (contract 4.3).
    """
    stem = f"arn:aws:sns:{region}:{account}:GroundTruth-{job.lower()}"
    return f"{stem}-input", f"{stem}-output"


def plan_streaming(
    sagemaker: SageMakerClient,
    request: LabelingJobRequest,
    classes: Sequence[str],
    template: str,
    *,
    account: str,
) -> StreamPlan:
    """Check everything about a streaming job; nothing is written.

    Args:
        sagemaker: the client.
        request: the job; topics that it does not name are made for it. Images in its manifest, if it has
            one, are the first.
        classes: what an image can be, in the order that workers see.
        template: the worker template's text.
        account: the account that topics are made in.

    Raises:
        JobNameTakenError: if the account ever had a job of that name.
        ClassListError: if the classes cannot be labeled with.
        RequestError: if the service would refuse the job.
    """
    names = tuple(check_classes(classes))
    own_input, own_output = topic_arns(request.name, request.region, account)
    topics = {
        "input_topic": request.input_topic or own_input,
        "output_topic": request.output_topic or own_output,
        "class_names": names,
    }
    request = request.model_copy(update=topics)
    request.to_boto()
    if job_exists(sagemaker, request.name):
        raise JobNameTakenError(request.name)
    return StreamPlan(request, names, template)


def start_streaming(sagemaker: SageMakerClient, sns: SNSClient, s3: S3Client, plan: StreamPlan) -> str:
    """Make the topics that are missing, write the job's files, start it, and return its ARN.

    The job can be sent to once it is `InProgress`: see `wait_until_open`.

    Raises:
        JobNameTakenError: if somebody took the name since the plan was made.
        StreamError: if a topic that was given does not exist, or the request is not a plan's.
    """
    request = plan.request
    topics = [topic for topic in (request.input_topic, request.output_topic) if topic]
    if request.input_topic is None or request.classes is None:
        raise StreamError(f"the request of {request.name!r} is not streaming; make it with plan_streaming")
    own = topic_arns(request.name, *_place(request.input_topic))
    for topic in topics:
        if topic in own:
            # Making a topic that exists gives its ARN.
            sns.create_topic(Name=topic.rpartition(":")[2])
        else:
            _check_topic(sns, topic)
    write(s3, request.classes, check_classes(plan.classes).to_json(), "application/json")
    write(s3, request.template, plan.template.encode(), "text/html; charset=utf-8")
    return create_labeling_job(sagemaker, request)


def find_stream(sagemaker: SageMakerClient, job: str) -> Stream:
    """Look a streaming job up.

    Raises:
        JobNotFoundError: if the account has no job of that name.
        StreamError: if the job reads a manifest and nothing else.
    """
    found = describe_labeling_job(sagemaker, job)
    answer = sagemaker.describe_labeling_job(LabelingJobName=job)
    topic = answer["InputConfig"]["DataSource"].get("SnsDataSource", {}).get("SnsTopicArn")
    if not topic:
        raise StreamError(
            f"the labeling job {job!r} reads a manifest and takes nothing more; "
            "start one that does with: gtlabel stream start"
        )
    output = answer["OutputConfig"].get("SnsTopicArn") or None
    return Stream(found.name, found.status, found.attribute, topic, output)


def wait_until_open(
    sagemaker: SageMakerClient,
    job: str,
    *,
    timeout: float | None = 600.0,
    poll: float = 5.0,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Stream:
    """Wait until a streaming job can be sent to, and return it.

    Raises:
        StreamError: if it is no streaming job.
        JobEndedError: if it ended, or was not ready in time.
    """
    start = clock()
    while True:
        stream = find_stream(sagemaker, job)
        if stream.status == "InProgress":
            return stream
        if stream.status in ENDED or stream.status == "Stopping":
            reason = describe_labeling_job(sagemaker, job).failure_reason
            raise JobEndedError(job, stream.status, reason)
        if timeout is not None and clock() - start + poll > timeout:
            raise JobEndedError(job, stream.status, timed_out=True)
        sleep(poll)


def waiting(sqs: SQSClient, stream: Stream) -> int:
    """How many objects wait in the job's queue to be shown to workers; 0 when there is no queue any more.

    SQS gives an approximate number.
    """
    url = queue_url(sqs, stream.queue)
    return 0 if url is None else messages_in(sqs, url)


def stop_streaming(sagemaker: SageMakerClient, job: str) -> Stream:
    """Stop a streaming job for good. What was labeled is kept; what waits in its queue is not labeled.

    Raises:
        StreamError: if it is still being prepared, or has ended.
    """
    stream = find_stream(sagemaker, job)
    if stream.status == "Initializing":
        raise StreamError(
            f"the streaming job {job!r} is still Initializing and cannot be stopped yet; try again soon"
        )
    if stream.status in ENDED:
        raise StreamError(f"the streaming job {job!r} has already ended as {stream.status}")
    sagemaker.stop_labeling_job(LabelingJobName=job)
    return replace(stream, status="Stopping")


def clean_up(
    sagemaker: SageMakerClient, sns: SNSClient, sqs: SQSClient, job: str, *, force: bool = False
) -> list[str]:
    """Remove what an ended streaming job left: its queue, our queue of results, and the topics we made.

    Args:
        sagemaker: the client that looks at the job.
        sns: the client for topics.
        sqs: the client for queues.
        job: the job's name.
        force: whether messages that nobody read go with their queues.

    Returns:
        What was removed, by name; nothing at the second time.

    Raises:
        StreamError: if the job has not ended, or a queue still holds messages; nothing was removed then.
    """
    stream = find_stream(sagemaker, job)
    if stream.status not in ENDED:
        raise StreamError(
            f"the streaming job {job!r} is {stream.status}; stop it first with: gtlabel stream stop {job}"
        )
    queues = {name: queue_url(sqs, name) for name in (stream.queue, results_queue(job))}
    meanings = {
        stream.queue: "images that were sent and never shown",
        results_queue(job): "results that nobody received",
    }
    for name, url in queues.items():
        left = messages_in(sqs, url) if url and not force else 0
        if left:
            raise StreamError(
                f"the queue {name} still holds {left} {meanings[name]}; "
                "receive them first, or drop them with --force"
            )
    removed = []
    topics = [topic for topic in (stream.input_topic, stream.output_topic) if topic]
    for topic in topics:
        _unsubscribe(sns, topic, set(queues))
    for name, url in queues.items():
        if url:
            sqs.delete_queue(QueueUrl=url)
            removed.append(name)
    own = topic_arns(job, *_place(stream.input_topic))
    for topic in topics:
        if topic in own and _topic_exists(sns, topic):
            sns.delete_topic(TopicArn=topic)
            removed.append(topic.rpartition(":")[2])
    return removed


def results_queue(job: str) -> str:
    """The queue that gtlabel collects a job's labels in."""
    return f"gtlabel-results-{job.lower()}"


def queue_url(sqs: SQSClient, name: str) -> str | None:
    """The URL of a queue, or None."""
    try:
        return sqs.get_queue_url(QueueName=name)["QueueUrl"]
    except sqs.exceptions.QueueDoesNotExist:
        return None


def messages_in(sqs: SQSClient, url: str) -> int:
    """About how many messages a queue holds, those in somebody's hands included."""
    attributes = sqs.get_queue_attributes(
        QueueUrl=url,
        AttributeNames=["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"],
    )["Attributes"]
    return sum(int(number) for number in attributes.values())


def _check_topic(sns: SNSClient, topic: str) -> None:
    """Look whether a topic can be used.

    Raises:
        StreamError: if it is not there, or encrypted with a key that Ground Truth cannot be allowed to use.
    """
    try:
        attributes = sns.get_topic_attributes(TopicArn=topic)["Attributes"]
    except sns.exceptions.NotFoundException as error:
        raise StreamError(no_topic(topic)) from error
    # https://docs.aws.amazon.com/sagemaker/latest/dg/sms-streaming-create-job.html
    if attributes.get("KmsMasterKeyId", "").endswith("alias/aws/sns"):
        raise StreamError(
            f"the topic {topic} is encrypted with alias/aws/sns, whose policy nobody can change for Ground "
            "Truth; give the topic a key of your own"
        )


def _topic_exists(sns: SNSClient, topic: str) -> bool:
    try:
        sns.get_topic_attributes(TopicArn=topic)
    except sns.exceptions.NotFoundException:
        return False
    return True


def _unsubscribe(sns: SNSClient, topic: str, queues: set[str]) -> None:
    """Take queues off a topic."""
    if not _topic_exists(sns, topic):
        return
    for page in sns.get_paginator("list_subscriptions_by_topic").paginate(TopicArn=topic):
        for subscription in page["Subscriptions"]:
            if subscription["Endpoint"].rpartition(":")[2] in queues:
                sns.unsubscribe(SubscriptionArn=subscription["SubscriptionArn"])


def no_topic(topic: str) -> str:
    """The sentence about a topic that does not exist."""
    return f"there is no topic {topic}; make it, or leave it out and gtlabel makes one"


def _place(topic: str) -> tuple[str, str]:
    """The region and account that an ARN names."""
    parts = topic.split(":")
    return parts[3], parts[4]
