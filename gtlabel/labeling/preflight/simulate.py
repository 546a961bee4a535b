"""Asking IAM what somebody may do, before they try.

https://docs.aws.amazon.com/IAM/latest/APIReference/API_SimulatePrincipalPolicy.html
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gtlabel.labeling.preflight.findings import UncheckedError, asking

if TYPE_CHECKING:
    from types_boto3_iam import IAMClient
    from types_boto3_s3 import S3Client


@dataclass(frozen=True, slots=True)
class Need:
    """Actions that somebody must be allowed on a resource.

    Attributes:
        actions: such as `s3:GetObject`.
        resource: an ARN, or `*` for actions that know no resource.
        context: the condition keys that AWS will see, such as `iam:PassedToService`, and their values.
    """

    actions: tuple[str, ...]
    resource: str
    context: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Lack:
    """One action that is not allowed.

    Attributes:
        explicit: whether a policy denies it, rather than none allowing it.
    """

    action: str
    resource: str
    explicit: bool


def lacking(iam: IAMClient, principal: str, needs: Iterable[Need]) -> Iterator[Lack]:
    """Yield what a user or a role may not do.

    The policies of the resources themselves, such as a bucket's, are not looked at.

    Raises:
        UncheckedError: if these credentials may not simulate.
    """
    pages = iam.get_paginator("simulate_principal_policy")
    for need in needs:
        # One resource in each call: the answer for several has two forms.
        with asking("iam:SimulatePrincipalPolicy", principal):
            for page in pages.paginate(
                PolicySourceArn=principal,
                ActionNames=list(need.actions),
                ResourceArns=[need.resource],
                ContextEntries=[
                    {"ContextKeyName": key, "ContextKeyValues": [value], "ContextKeyType": "string"}
                    for key, value in need.context
                ],
            ):
                for result in page["EvaluationResults"]:
                    if result["EvalDecision"] != "allowed":
                        explicit = result["EvalDecision"] == "explicitDeny"
                        yield Lack(result["EvalActionName"], need.resource, explicit)


def divided(s3: S3Client, lacks: Iterable[Lack]) -> tuple[dict[str, list[Lack]], list[Lack]]:
    """What a resource's own policy might allow all the same, by the reason; and what nothing allows."""
    unsure: dict[str, list[Lack]] = {}
    fatal = []
    for lack in lacks:
        unless = _own_policy(s3, lack)
        if unless:
            unsure.setdefault(unless, []).append(lack)
        else:
            fatal.append(lack)
    return unsure, fatal


def statement_of(needs: Iterable[Need]) -> list[dict[str, object]]:
    """The statements of a policy that allows it all."""
    return [{"Effect": "Allow", "Action": list(need.actions), "Resource": need.resource} for need in needs]


def listed(lacks: Iterable[Lack]) -> str:
    """What is not allowed, by resource, in the words of a policy."""
    by_resource: dict[str, list[str]] = {}
    for lack in lacks:
        action = f"{lack.action} (denied)" if lack.explicit else lack.action
        by_resource.setdefault(lack.resource, []).append(action)
    return " and ".join(f"{', '.join(actions)} on {resource}" for resource, actions in by_resource.items())


def _own_policy(s3: S3Client, lack: Lack) -> str:
    """Why the resource might allow what the policies of the user or role do not; empty if it cannot.

    The policy of a key always has a say, and that of a bucket where there is one.
    """
    if lack.explicit or not lack.resource.startswith("arn:"):
        return ""
    service, resource = lack.resource.split(":")[2], lack.resource.split(":", 5)[5]
    if service == "kms":
        return "unless the key's own policy allows it"
    return _bucket_policy(s3, resource.partition("/")[0]) if service == "s3" else ""


def _bucket_policy(s3: S3Client, bucket: str) -> str:
    from botocore.exceptions import ClientError

    reason = "unless the bucket's own policy allows it"
    try:
        with asking("s3:GetBucketPolicy", f"arn:aws:s3:::{bucket}"):
            s3.get_bucket_policy(Bucket=bucket)
    except UncheckedError as why:
        return f"{reason}, which could not be seen because {why}"
    except ClientError as refusal:
        if refusal.response["Error"].get("Code") in ("NoSuchBucketPolicy", "NoSuchBucket"):
            return ""
        raise
    return reason
