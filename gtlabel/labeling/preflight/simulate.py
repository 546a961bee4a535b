"""Asking IAM what somebody may do, before they try.

https://docs.aws.amazon.com/IAM/latest/APIReference/API_SimulatePrincipalPolicy.html
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gtlabel.labeling.preflight.findings import asking

if TYPE_CHECKING:
    from types_boto3_iam import IAMClient


@dataclass(frozen=True, slots=True)
class Need:
    """Actions that somebody must be allowed on a resource.

    Attributes:
        actions: such as `s3:GetObject`.
        resource: an ARN, or `*` for actions that know no resource.
        context: the condition keys that AWS will see, such as `iam:PassedToService`.
    """

    actions: tuple[str, ...]
    resource: str
    context: Mapping[str, str] = field(default_factory=dict)


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
                    for key, value in need.context.items()
                ],
            ):
                for result in page["EvaluationResults"]:
                    if result["EvalDecision"] != "allowed":
                        explicit = result["EvalDecision"] == "explicitDeny"
                        yield Lack(result["EvalActionName"], need.resource, explicit)


def statement_of(needs: Iterable[Need]) -> list[dict[str, object]]:
    """The statements of a policy that allows it all."""
    return [{"Effect": "Allow", "Action": list(need.actions), "Resource": need.resource} for need in needs]
