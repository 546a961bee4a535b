"""What a job's role, and whoever starts the job, must be allowed: the shipped policies taken apart."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from gtlabel.labeling.preflight.simulate import Need
from gtlabel.labeling.preflight.subject import Subject
from gtlabel.labeling.tasks import team_kind
from gtlabel.policies import policy_for
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from gtlabel.aws import Aws

# contract/ground-truth.md 4.3 and 2.5
_KMS = ("kms:Encrypt", "kms:Decrypt", "kms:GenerateDataKey", "kms:DescribeKey")
_QUEUE = tuple(
    f"sqs:{operation}"
    for operation in (
        "CreateQueue",
        "DeleteMessage",
        "GetQueueAttributes",
        "GetQueueUrl",
        "ReceiveMessage",
        "SendMessage",
        "SetQueueAttributes",
    )
)
_PASSED = ("iam:PassedToService", "sagemaker.amazonaws.com")


def role_needs(aws: Aws, subject: Subject) -> list[Need]:
    """What the job does with its role.

    Raises:
        PolicyError: if an address cannot stand in a policy.
    """
    found = list(_needs(aws, subject, "labeling-role", {}))
    found.extend(
        Need(("s3:ListBucket", "s3:GetBucketLocation"), f"arn:aws:s3:::{bucket}")
        for bucket in subject.buckets
    )
    if subject.automated:
        found.append(Need(("iam:PassRole",), subject.role_arn(aws), (_PASSED,)))
    found.extend(_streaming_needs(aws, subject))
    found.extend(Need(("lambda:InvokeFunction",), function) for function in subject.functions)
    found.extend(Need(_KMS, key) for key in subject.kms_keys if key.startswith("arn:"))
    return list(dict.fromkeys(found))


def caller_needs(aws: Aws, subject: Subject) -> list[Need]:
    """What `gtlabel label` is about to do.

    Raises:
        PolicyError: if an address cannot stand in a policy, or the team or the role is not known.
    """
    names = {}
    context = dict([_PASSED])
    if subject.team is not None:
        names["team"] = subject.team_arn(aws)
        context["sagemaker:WorkteamArn"] = names["team"]
        context["sagemaker:WorkteamType"] = team_kind(names["team"]) or ""
    if subject.role is not None:
        names["role"] = subject.role_arn(aws)
    found = _needs(aws, subject, "label", names, tuple(context.items()))
    # The pictures are written with --upload only.
    uploads = {_objects(place) for place in subject.prefixes} - {_objects(_output(subject))}
    kept = (need for need in found if not (need.actions == ("s3:PutObject",) and need.resource in uploads))
    return list(dict.fromkeys(kept))


def _needs(
    aws: Aws,
    subject: Subject,
    policy: str,
    names: dict[str, str],
    context: tuple[tuple[str, str], ...] = (),
) -> Iterator[Need]:
    """The statements of a policy for every place with pictures, one need for each resource."""
    output = _output(subject)
    # Nobody knows yet where the images of a streaming job will lie.
    for place in subject.prefixes or (output,):
        values = {"account": aws.account, "region": aws.region, "bucket": place.bucket, **names}
        document = policy_for(policy, {**values, "prefix": place.key, "output": output.key})
        # The policies know one bucket; the job's output may lie in another.
        moved = {_objects(output.of(place.bucket, output.key)): _objects(output)}
        if place.key == output.key:
            moved = {}
        for statement in document["Statement"]:
            for resource in _texts(statement["Resource"]):
                yield Need(tuple(_texts(statement["Action"])), moved.get(resource, resource), context)


def _streaming_needs(aws: Aws, subject: Subject) -> Iterator[Need]:
    """What a streaming job does besides: its queue listens to one topic, the other gets the labels."""
    if not subject.topics:
        return
    name = subject.name.lower() if subject.name else "any"
    queue = f"arn:aws:sqs:{aws.region}:{aws.account}:GroundTruth-{name}"
    context = (("sns:Protocol", "sqs"), ("sns:Endpoint", queue))
    yield Need(_QUEUE, queue)
    yield Need(("sns:Subscribe",), subject.topics[0], context)
    for topic in subject.topics[1:]:
        yield Need(("sns:Publish",), topic)


def _output(subject: Subject) -> S3Uri:
    return subject.output or S3Uri.of(subject.images[0].bucket, "gtlabel/")


def _objects(place: S3Uri) -> str:
    return f"arn:aws:s3:::{place.bucket}/{place.key}*"


def _texts(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value)
