"""Whether the execution role is there, whether SageMaker may take it on, and what it may do then.

https://docs.aws.amazon.com/sagemaker/latest/dg/sms-security-permission-execution-role.html
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from gtlabel.labeling.preflight.findings import (
    Finding,
    UncheckedError,
    asking,
    error,
    ok,
    unchecked,
    warning,
)
from gtlabel.labeling.preflight.needs import role_needs
from gtlabel.labeling.preflight.simulate import Need, divided, lacking, listed, statement_of
from gtlabel.labeling.preflight.subject import Subject, command
from gtlabel.policies import policy_for

if TYPE_CHECKING:
    from gtlabel.aws import Aws

_SERVICE = "sagemaker.amazonaws.com"
_VERSION = "2012-10-17"

# Both read and write S3 only at addresses that hold one of these words, and that is easily overlooked:
# https://docs.aws.amazon.com/sagemaker/latest/dg/security-iam-awsmanpol-ground-truth.html
_MANAGED = {
    "AmazonSageMakerGroundTruthExecution": (
        "GroundTruth",
        "Groundtruth",
        "groundtruth",
        "SageMaker",
        "Sagemaker",
        "sagemaker",
    ),
    "AmazonSageMakerFullAccess": ("SageMaker", "Sagemaker", "sagemaker", "aws-glue"),
}
# The job does its work without these, and says less about it.
_MINOR = ("cloudwatch:", "logs:")


def check_role(aws: Aws, subject: Subject) -> Iterator[Finding]:
    """Whether the role exists and trusts SageMaker."""
    if subject.role is None:
        return
    arn = subject.role_arn(aws)
    account, name = arn.split(":")[4], _name(arn)
    if account != aws.account:
        yield error(
            "role", f"the role {arn} belongs to another account; a job takes a role of its own, {aws.account}"
        )
        return
    try:
        with asking("iam:GetRole", arn):
            role = aws.iam.get_role(RoleName=name)["Role"]
    except aws.iam.exceptions.NoSuchEntityException:
        trust = _document(_trusting(account))
        words = ["aws", "iam", "create-role", "--role-name", name, "--assume-role-policy-document", trust]
        yield error("role", f"there is no role {name!r} in account {account}", command(aws, *words))
        return
    if role["Arn"] != arn:
        yield error("role", f"the role {name!r} has a path; name it with --role {role['Arn']}")
    else:
        yield ok("role", f"the role {name!r} exists")
    yield from _trust(aws, name, account, role["AssumeRolePolicyDocument"])


def check_role_permissions(aws: Aws, subject: Subject) -> Iterator[Finding]:
    """Whether the role may do what the job will do with it."""
    if subject.role is None or not subject.buckets or subject.role_arn(aws).split(":")[4] != aws.account:
        return
    arn = subject.role_arn(aws)
    needs = role_needs(aws, subject)
    check = "role-permissions"
    try:
        lacks = list(lacking(aws.iam, arn, needs))
    except aws.iam.exceptions.NoSuchEntityException:
        # The check of the role says that.
        return
    except UncheckedError as why:
        yield unchecked(check, f"what the role {_name(arn)!r} may do could not be checked because {why}")
        # Whoever may not simulate may seldom list either; one action to name is enough.
        with suppress(aws.iam.exceptions.NoSuchEntityException, UncheckedError):
            yield from _by_name(aws, subject, arn)
        return
    minor = [lack for lack in lacks if lack.action.startswith(_MINOR)]
    unsure, fatal = divided(aws.s3, (lack for lack in lacks if lack not in minor))
    role, fix = f"the role {_name(arn)!r}", _grant(aws, subject, arn, needs)
    if fatal:
        reason = _managed_reason(aws, subject, arn)
        yield error(check, f"{role} lacks {listed(fatal)}{reason}", fix)
    for unless, some in unsure.items():
        yield warning(check, f"{role} lacks {listed(some)}, {unless}", fix)
    if minor:
        yield warning(check, f"{role} lacks {listed(minor)}, so the job leaves no log", fix)
    if not lacks:
        yield ok(check, f"the role {_name(arn)!r} may read the pictures and write the output")


def _trust(aws: Aws, name: str, account: str, document: Any) -> Iterator[Finding]:
    # boto3 decodes the document; other senders leave it as they got it.
    policy: Mapping[str, Any] = document if isinstance(document, Mapping) else json.loads(unquote(document))
    statements = policy.get("Statement", [])
    statements = [statements] if isinstance(statements, Mapping) else list(statements)
    about = [statement for statement in statements if _speaks_of_sagemaker(statement)]
    if any(statement["Effect"] == "Deny" for statement in about):
        yield error("trust", f"the trust policy of the role {name!r} denies {_SERVICE} to take it on")
    elif not about:
        words = ["aws", "iam", "update-assume-role-policy", "--role-name", name, "--policy-document"]
        yield error(
            "trust",
            f"the trust policy of the role {name!r} does not let {_SERVICE} take it on",
            command(aws, *words, _document([*statements, *_trusting(account)])),
        )
    elif all(not _holds(statement.get("Condition", {}), account) for statement in about):
        yield warning(
            "trust",
            f"the trust policy of the role {name!r} lets {_SERVICE} take it on under conditions that "
            f"gtlabel cannot judge: {json.dumps(about[0]['Condition'])}",
        )
    else:
        yield ok("trust", f"{_SERVICE} may take on the role {name!r}")


def _trusting(account: str) -> list[object]:
    return list(policy_for("sagemaker-trust", {"account": account})["Statement"])


def _speaks_of_sagemaker(statement: Mapping[str, Any]) -> bool:
    actions = _texts(statement.get("Action", ()))
    if not any(action.lower() in ("sts:assumerole", "sts:*", "*") for action in actions):
        return False
    principal = statement.get("Principal", {})
    if principal == "*":
        return True
    return _SERVICE in _texts(principal.get("Service", ()))


def _holds(condition: Mapping[str, Any], account: str) -> bool:
    """Whether a condition is none, or the usual one against a confused deputy."""
    keys = {(operator, key): value for operator, part in condition.items() for key, value in part.items()}
    return all(
        operator in ("StringEquals", "StringLike")
        and key.lower() == "aws:sourceaccount"
        and account in _texts(value)
        for (operator, key), value in keys.items()
    )


def _by_name(aws: Aws, subject: Subject, arn: str) -> Iterator[Finding]:
    """What can be told from the policies' names alone."""
    managed, others = _attached(aws, arn)
    outside = _outside(subject, managed)
    if not outside:
        return
    with asking("iam:ListRolePolicies", arn):
        others += len(aws.iam.list_role_policies(RoleName=_name(arn))["PolicyNames"])
    sentence = (
        f"the role {_name(arn)!r} has {' and '.join(managed)}, which reaches only addresses that hold "
        f"{_words(managed)}; {' and '.join(outside)} is none of them"
    )
    fix = _grant(aws, subject, arn, role_needs(aws, subject))
    if others:
        yield warning("role-permissions", f"{sentence}, unless another of its policies reaches it", fix)
    else:
        yield error("role-permissions", sentence, fix)


def _managed_reason(aws: Aws, subject: Subject, arn: str) -> str:
    """Why a role that looks right is not, when it is that."""
    try:
        managed, _ = _attached(aws, arn)
    except UncheckedError as why:
        return f"; which policies it has could not be seen because {why}"
    if not _outside(subject, managed):
        return ""
    return f"; {' and '.join(managed)} reaches only addresses that hold {_words(managed)}"


def _attached(aws: Aws, arn: str) -> tuple[list[str], int]:
    """Which of AWS's own policies for SageMaker a role has, and how many others are attached to it."""
    with asking("iam:ListAttachedRolePolicies", arn):
        pages = aws.iam.get_paginator("list_attached_role_policies").paginate(RoleName=_name(arn))
        attached = [policy["PolicyArn"] for page in pages for policy in page["AttachedPolicies"]]
    managed = [own for own in _MANAGED if f"arn:aws:iam::aws:policy/{own}" in attached]
    return managed, len(attached) - len(managed)


def _outside(subject: Subject, managed: Sequence[str]) -> list[str]:
    """The places that none of AWS's own policies reaches; empty when the role has none of them."""
    if not managed:
        return []
    words = [word for own in managed for word in _MANAGED[own]]
    places = (*subject.images, *((subject.output,) if subject.output else ()))
    return [str(place) for place in places if not any(word in place for word in words)]


def _words(managed: Sequence[str]) -> str:
    return " or ".join(dict.fromkeys(word for own in managed for word in _MANAGED[own] if word[0].isupper()))


def _grant(aws: Aws, subject: Subject, arn: str, needs: Sequence[Need]) -> str:
    """The command that adds a policy with all that the job needs; run twice, it changes nothing."""
    # One policy for each set of buckets, so that another job's is not written over.
    policy = "-".join(("gtlabel", *subject.buckets))[:128]
    words = ["aws", "iam", "put-role-policy", "--role-name", _name(arn), "--policy-name", policy]
    return command(aws, *words, "--policy-document", _document(statement_of(needs)))


def _document(statements: Sequence[object]) -> str:
    return json.dumps({"Version": _VERSION, "Statement": list(statements)}, separators=(",", ":"))


def _name(arn: str) -> str:
    return arn.rpartition("/")[2]


def _texts(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value)
