"""Who is told when a labeling job has ended: an EventBridge rule that sends to a topic or a queue.

Ground Truth emits the event by itself, once per job; a rule, a target and the target's permission are all
that is missing. Event: https://docs.aws.amazon.com/sagemaker/latest/dg/sms-monitor-cloud-watch.html
Permissions: https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-use-resource-based.html
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from gtlabel.errors import NotificationError

if TYPE_CHECKING:
    from gtlabel.aws import Aws

DETAIL_TYPE = "SageMaker Ground Truth Labeling Job State Change"
STATUSES = ("Completed", "Failed", "Stopped")

_TARGET = re.compile(
    r"arn:[a-z-]+:(?P<service>sns|sqs):(?P<region>[a-z0-9-]+):(?P<account>\d{12}):(?P<name>[\w.-]+)"
)
_LONGEST_RULE_NAME = 64
# https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-quota.html
_LONGEST_PATTERN = 2048
_ALL_JOBS = "gtlabel-all-jobs"


@dataclass(frozen=True, slots=True)
class Notification:
    """A rule for labeling jobs of one name, or for all of an account and region, and where it sends events.

    Attributes:
        rule: the rule's name.
        rule_arn: its ARN.
        target: the ARN of a topic or a queue.
        job_arns: the jobs that are meant, each of which is told of; none for all.
        statuses: how a job must have ended to be told of.
    """

    rule: str
    rule_arn: str
    target: str
    job_arns: tuple[str, ...]
    statuses: tuple[str, ...]

    @property
    def pattern(self) -> dict[str, Any]:
        """What an event must look like."""
        pattern: dict[str, Any] = {
            "source": ["aws.sagemaker"],
            "detail-type": [DETAIL_TYPE],
            "detail": {"LabelingJobStatus": list(self.statuses)},
        }
        if self.job_arns:
            pattern["resources"] = list(self.job_arns)
        return pattern

    @property
    def statement(self) -> dict[str, Any]:
        """What the target's own policy must say, so that the rule may send to it."""
        topic = ":sns:" in self.target
        statement: dict[str, Any] = {
            "Sid": f"gtlabel{sha256(self.rule_arn.encode()).hexdigest()[:16]}",
            "Effect": "Allow",
            "Principal": {"Service": "events.amazonaws.com"},
            "Action": "sns:Publish" if topic else "sqs:SendMessage",
            "Resource": self.target,
        }
        # EventBridge fills in no condition keys when it publishes to a topic: a condition would never hold.
        if not topic:
            statement["Condition"] = {"ArnEquals": {"aws:SourceArn": self.rule_arn}}
        return statement

    def to_boto(self) -> dict[str, Any]:
        """The parameters of `put_rule` and `put_targets`, and the statement, as they would be sent."""
        target: dict[str, Any] = {"Id": _target_id(self.target), "Arn": self.target}
        if self.target.endswith(".fifo"):
            target["SqsParameters"] = {"MessageGroupId": self.rule}
        return {
            "rule": {
                "Name": self.rule,
                "EventPattern": json.dumps(self.pattern),
                "State": "ENABLED",
                "Description": "Tells when a labeling job has ended; made by gtlabel notify",
            },
            "targets": {"Rule": self.rule, "Targets": [target]},
            "statement": self.statement,
        }


def plan_notification(
    aws: Aws,
    target: str,
    *,
    job: str | None = None,
    parts: Sequence[str] = (),
    statuses: Sequence[str] = STATUSES,
) -> Notification:
    """What `notify` would set up; nothing is changed.

    Args:
        aws: the account.
        target: the ARN of an SNS topic or an SQS queue.
        job: the name of a labeling job; all jobs of the account and region when None.
        parts: the names of the jobs that were launched under that name, where there are several.
        statuses: how a job must have ended.

    Raises:
        NotificationError: if events cannot be sent to the target, or never have such a status.
    """
    found = _TARGET.fullmatch(target)
    if found is None:
        raise NotificationError(
            f"{target!r} is not the ARN of an SNS topic or an SQS queue; give one with --to"
        )
    if found["region"] != aws.region:
        raise NotificationError(
            f"{target} is in {found['region']} and the jobs are in {aws.region}; "
            "a rule reaches topics and queues of its own region only"
        )
    if found["service"] == "sns" and found["name"].endswith(".fifo"):
        raise NotificationError(f"EventBridge sends to no FIFO topic such as {target}; give a standard topic")
    unknown = [status for status in statuses if status not in STATUSES]
    if unknown or not statuses:
        raise NotificationError(
            f"{', '.join(unknown) or 'nothing'} is no end of a labeling job; it ends as {', '.join(STATUSES)}"
        )
    partition = target.split(":")[1]
    here = f"{aws.region}:{aws.account}"
    rule = _rule_name(job)
    names = () if job is None else tuple(parts) or (job,)
    notification = Notification(
        rule=rule,
        rule_arn=f"arn:{partition}:events:{here}:rule/{rule}",
        target=target,
        # Events and ARNs carry a job's name in lower case (contract/ground-truth.md 3.1).
        job_arns=tuple(f"arn:{partition}:sagemaker:{here}:labeling-job/{name.lower()}" for name in names),
        statuses=tuple(status for status in STATUSES if status in statuses),
    )
    if len(json.dumps(notification.pattern)) > _LONGEST_PATTERN:
        raise NotificationError(
            f"{job!r} is {len(names)} jobs, more than one rule can name; leave the name out to be told of all"
        )
    return notification


def notify(aws: Aws, notification: Notification) -> str:
    """Set a notification up and return the rule's ARN. Doing it again changes nothing.

    The target's policy gains one statement, beside those it has. A second target for the same job joins the
    first; the statuses of the later call hold for both.

    Raises:
        NotificationError: if the target does not exist, cannot be sent to, or was not accepted.
    """
    request = notification.to_boto()
    policy = _Topic(aws, notification) if ":sns:" in notification.target else _Queue(aws, notification)
    policy.allow(request["statement"])
    arn: str = aws.events.put_rule(**request["rule"])["RuleArn"]
    answer = aws.events.put_targets(**request["targets"])
    for entry in answer.get("FailedEntries", ()):
        raise NotificationError(
            f"the rule {notification.rule} cannot send to {notification.target}: {entry['ErrorMessage']}"
        )
    return arn


def remove_notification(aws: Aws, notification: Notification) -> bool:
    """Take a notification away, with the statement in its target's policy; False if there was none.

    The rule goes with its last target.
    """
    missing = aws.events.exceptions.ResourceNotFoundException
    try:
        targets = aws.events.list_targets_by_rule(Rule=notification.rule)["Targets"]
    except missing:
        return False
    here = [target["Id"] for target in targets if target["Arn"] == notification.target]
    if here:
        aws.events.remove_targets(Rule=notification.rule, Ids=here)
        policy = _Topic(aws, notification) if ":sns:" in notification.target else _Queue(aws, notification)
        policy.withdraw(notification.statement["Sid"])
    if len(here) == len(targets):
        aws.events.delete_rule(Name=notification.rule)
    return bool(here)


class _Topic:
    """The policy of a topic."""

    def __init__(self, aws: Aws, notification: Notification) -> None:
        self._sns = aws.sns
        self._arn = notification.target

    def allow(self, statement: Mapping[str, Any]) -> None:
        """Add a statement, in place of one of the same id."""
        attributes = self._attributes()
        key = attributes.get("KmsMasterKeyId", "")
        if key.endswith("alias/aws/sns"):
            raise NotificationError(
                f"{self._arn} is encrypted with AWS's own key, which EventBridge may not use; "
                "take a key of yours whose policy lets events.amazonaws.com use it"
            )
        self._put(_with(attributes.get("Policy"), statement))

    def withdraw(self, sid: str) -> None:
        """Take the statement of that id away."""
        self._put(_without(self._attributes().get("Policy"), sid))

    def _attributes(self) -> Mapping[str, str]:
        try:
            return self._sns.get_topic_attributes(TopicArn=self._arn)["Attributes"]
        except self._sns.exceptions.NotFoundException:
            raise NotificationError(f"there is no topic {self._arn}") from None

    def _put(self, policy: str) -> None:
        self._sns.set_topic_attributes(TopicArn=self._arn, AttributeName="Policy", AttributeValue=policy)


class _Queue:
    """The policy of a queue."""

    def __init__(self, aws: Aws, notification: Notification) -> None:
        self._sqs = aws.sqs
        self._arn = notification.target

    def allow(self, statement: Mapping[str, Any]) -> None:
        """Add a statement, in place of one of the same id."""
        url = self._url()
        self._put(url, _with(self._policy(url), statement))

    def withdraw(self, sid: str) -> None:
        """Take the statement of that id away."""
        url = self._url()
        self._put(url, _without(self._policy(url), sid))

    def _url(self) -> str:
        *_, account, name = self._arn.split(":")
        try:
            return self._sqs.get_queue_url(QueueName=name, QueueOwnerAWSAccountId=account)["QueueUrl"]
        except self._sqs.exceptions.QueueDoesNotExist:
            raise NotificationError(f"there is no queue {self._arn}") from None

    def _policy(self, url: str) -> str | None:
        found = self._sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["Policy"])
        return found.get("Attributes", {}).get("Policy")

    def _put(self, url: str, policy: str) -> None:
        self._sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})


def _with(policy: str | None, statement: Mapping[str, Any]) -> str:
    document = json.loads(policy) if policy else {"Version": "2012-10-17", "Statement": []}
    others = [other for other in _statements(document) if other.get("Sid") != statement["Sid"]]
    return json.dumps({**document, "Statement": [*others, dict(statement)]})


def _without(policy: str | None, sid: str) -> str:
    document = json.loads(policy) if policy else {}
    others = [other for other in _statements(document) if other.get("Sid") != sid]
    # A queue takes an empty text as no policy; a policy without a statement is refused.
    return json.dumps({**document, "Statement": others}) if others else ""


def _statements(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    statements = document.get("Statement", [])
    return statements if isinstance(statements, list) else [statements]


def _rule_name(job: str | None) -> str:
    if job is None:
        return _ALL_JOBS
    name = f"gtlabel-job-{job.lower()}"
    if len(name) <= _LONGEST_RULE_NAME:
        return name
    return f"{name[:47]}-{sha256(name.encode()).hexdigest()[:16]}"


def _target_id(target: str) -> str:
    return f"gtlabel-{sha256(target.encode()).hexdigest()[:16]}"
