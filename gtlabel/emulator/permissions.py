"""Whether policies allow what somebody asks for, decided as IAM decides it.

moto decides too, but leaves out conditions and knows the resource of few requests; what it would let pass
here is held against the same policies in full. Only identity-based policies are known: no boundaries, no
service control policies, no session policies.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic_policy-eval-denyallow.html
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

ALLOWED, IMPLICIT, EXPLICIT = "allowed", "implicitDeny", "explicitDeny"

Keys = Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class Need:
    """A right that a request takes.

    Attributes:
        action: such as `s3:GetObject`.
        resource: an ARN; `*` where AWS knows none for the action; None where we do not know it, and any
            statement on the action will do.
        keys: the condition keys that the request brings along, by lower-case name.
    """

    action: str
    resource: str | None = "*"
    keys: Keys = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who asks.

    Attributes:
        arn: of the user, or of the role that was taken on.
        policies: the documents attached to it and to its groups.
        keys: the condition keys that tell about it, by lower-case name.
    """

    arn: str
    policies: tuple[Mapping[str, Any], ...]
    keys: Keys = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Decision:
    """What the policies say to a need, and the statement that decided, if one did."""

    outcome: str
    statement: Mapping[str, Any] | None = None


def decide(policies: Iterable[Mapping[str, Any]], need: Need, more: Keys | None = None) -> Decision:
    """What policies say to one need: a denial wins over any allowance, and silence is a denial.

    Args:
        policies: policy documents.
        need: what is asked for.
        more: further condition keys, by lower-case name.
    """
    keys = {**(more or {}), **need.keys}
    allowing = None
    for policy in policies:
        for statement in _listed(policy.get("Statement")):
            denies = statement.get("Effect") == "Deny"
            if not _is_about(statement, need, keys) or not _holds(statement, keys, unknown=denies):
                continue
            if denies:
                return Decision(EXPLICIT, statement)
            allowing = allowing or statement
    return Decision(ALLOWED, allowing) if allowing is not None else Decision(IMPLICIT)


def refusal(identity: Identity, needs: Iterable[Need]) -> str | None:
    """AWS's sentence about the first need that an identity's policies do not allow; None if all are.

    The wording is the service's: `contract/ground-truth.md` section 11.1, number 16.
    """
    for need in needs:
        decision = decide(identity.policies, need, identity.keys)
        if decision.outcome == ALLOWED:
            continue
        resource = need.resource or "*"
        # S3 alone quotes it:
        # https://docs.aws.amazon.com/AmazonS3/latest/userguide/troubleshoot-403-errors.html
        place = f'"{resource}"' if need.action.startswith("s3:") else resource
        reason = (
            "with an explicit deny in an identity-based policy"
            if decision.outcome == EXPLICIT
            else f"because no identity-based policy allows the {need.action} action"
        )
        return (
            f"User: {identity.arn} is not authorized to perform: {need.action} on resource: {place} {reason}"
        )
    return None


def _is_about(statement: Mapping[str, Any], need: Need, keys: Keys) -> bool:
    if "NotAction" in statement:
        action = not any(_like(item, need.action, fold=True) for item in _listed(statement["NotAction"]))
    else:
        action = any(_like(item, need.action, fold=True) for item in _listed(statement.get("Action")))
    if not action or need.resource is None:
        return action
    if "NotResource" in statement:
        return not any(_like(_told(item, keys), need.resource) for item in _listed(statement["NotResource"]))
    return any(_like(_told(item, keys), need.resource) for item in _listed(statement.get("Resource")))


def _holds(statement: Mapping[str, Any], keys: Keys, *, unknown: bool) -> bool:
    """Whether all conditions of a statement are met; `unknown` is the answer to one that we do not know."""
    return all(
        _met(operator, [_told(item, keys) for item in _listed(wanted)], keys.get(key.lower()), unknown)
        for operator, wishes in statement.get("Condition", {}).items()
        for key, wanted in wishes.items()
    )


def _met(operator: str, wanted: list[str], found: Sequence[str] | None, unknown: bool) -> bool:
    name = operator
    every = name.startswith("ForAllValues:")
    name = name.removeprefix("ForAllValues:").removeprefix("ForAnyValue:")
    if name == "Null":
        return (found is None) == (wanted == ["true"])
    optional = name.endswith("IfExists")
    name = name.removesuffix("IfExists")
    # A negated operator is met by a key that is not there; the others are not.
    negated = "Not" in name
    compare = _COMPARISONS.get(name.replace("Not", ""))
    if compare is None:
        return unknown
    if found is None:
        return optional or negated or every
    hits = [any(compare(item, value) for item in wanted) for value in found]
    if negated:
        return not any(hits)
    return all(hits) if every else any(hits)


def _like(pattern: str, text: str, *, fold: bool = False) -> bool:
    return _pattern(pattern, fold).fullmatch(text) is not None


@lru_cache(maxsize=4096)
def _pattern(pattern: str, fold: bool) -> re.Pattern[str]:
    parts = {"*": ".*", "?": "."}
    text = "".join(parts.get(letter) or re.escape(letter) for letter in pattern)
    return re.compile(text, re.DOTALL | (re.IGNORECASE if fold else 0))


def _told(text: str, keys: Keys) -> str:
    """A value with its policy variables, such as `${aws:username}`, put in."""
    return re.sub(r"\$\{([^}]+)\}", lambda found: (keys.get(found[1].lower()) or [found[0]])[0], str(text))


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]


_COMPARISONS: dict[str, Callable[[str, str], bool]] = {
    "StringEquals": lambda wanted, value: wanted == value,
    "StringEqualsIgnoreCase": lambda wanted, value: wanted.lower() == value.lower(),
    "StringLike": lambda wanted, value: _like(wanted, value),
    "ArnEquals": lambda wanted, value: _like(wanted, value),
    "ArnLike": lambda wanted, value: _like(wanted, value),
    "Bool": lambda wanted, value: wanted.lower() == value.lower(),
    "NumericEquals": lambda wanted, value: float(wanted) == float(value),
    "NumericLessThanEquals": lambda wanted, value: float(value) <= float(wanted),
    "NumericGreaterThanEquals": lambda wanted, value: float(value) >= float(wanted),
}
