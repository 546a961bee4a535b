"""What a check says, and how it says that it could not look."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Literal

Level = Literal["ok", "warning", "error"]

# S3 and IAM say AccessDenied, the JSON services AccessDeniedException, SNS AuthorizationError, and an
# answer without a body, such as that to HeadBucket, is known by its status alone.
_DENIED = frozenset(
    {
        "403",
        "AccessDenied",
        "AccessDeniedException",
        "AuthorizationError",
        "Forbidden",
        "NotAuthorizedException",
        "UnauthorizedOperation",
    }
)
_NOT_OFFERED = frozenset(
    {"501", "InvalidAction", "NotImplemented", "NotImplementedException", "UnknownOperationException"}
)


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found.

    Attributes:
        check: the check's name, the same in every release.
        level: `ok`, `warning`, or `error` for what would make the job fail.
        sentence: what was found, where, and what follows from it.
        fix: a shell command that puts it right, where there is one.
        detail: more lines for a person, such as the difference that the fix makes.
        checked: whether the check could look at all.
    """

    check: str
    level: Level
    sentence: str
    fix: str | None = None
    detail: str | None = None
    checked: bool = True

    def to_json(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        return asdict(self)


def ok(check: str, sentence: str) -> Finding:
    """All is well."""
    return Finding(check, "ok", sentence)


def warning(check: str, sentence: str, fix: str | None = None, detail: str | None = None) -> Finding:
    """Something that a person should know; the job can do without."""
    return Finding(check, "warning", sentence, fix, detail)


def error(check: str, sentence: str, fix: str | None = None, detail: str | None = None) -> Finding:
    """Something that the job would fail for."""
    return Finding(check, "error", sentence, fix, detail)


def unchecked(check: str, sentence: str) -> Finding:
    """Nobody knows, and why."""
    return Finding(check, "warning", sentence, checked=False)


class UncheckedError(Exception):
    """A check could not look; the message continues "could not be checked because"."""


@contextmanager
def asking(action: str, resource: str) -> Iterator[None]:
    """Do one call to AWS that the credentials may not be allowed to make.

    Args:
        action: the IAM action that the call needs, which is not always the operation's name.
        resource: what it is needed on.

    Raises:
        UncheckedError: if the call was denied, or whoever answers does not know it.
    """
    from botocore.exceptions import ClientError

    try:
        yield
    except ClientError as refusal:
        code = refusal.response["Error"].get("Code", "")
        if code in _DENIED:
            raise UncheckedError(f"these credentials lack {action} on {resource}") from refusal
        if code in _NOT_OFFERED:
            raise UncheckedError(f"this address does not offer {action}") from refusal
        raise
