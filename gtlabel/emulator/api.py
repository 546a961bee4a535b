"""What an operation of the emulator is: a plain function from parameters to a result or an error."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Context:
    """Who asks, and where: the account and the region a request was signed for."""

    account: str = "123456789012"
    region: str = "us-east-1"

    def arn(self, service: str, resource: str) -> str:
        """`arn:aws:<service>:<region>:<account>:<resource>`."""
        return f"arn:aws:{service}:{self.region}:{self.account}:{resource}"


class ApiError(Exception):
    """An error of AWS's protocol, as a client sees it.

    Args:
        code: the name of the exception in the service model, or `ValidationException`.
        message: what AWS would say, or our own sentence where its wording is not known.
        status: the HTTP status.
        details: further members of a modelled error (`reason`, `fields`, `resourceId`, ...).
    """

    def __init__(self, code: str, message: str, status: int = 400, **details: Any) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
        self.details = details


# Parameters and results are spelled as boto3 spells them; times are aware datetimes, blobs are bytes.
Operation = Callable[[Context, dict[str, Any]], dict[str, Any]]
Operations = Mapping[str, Operation]  # by the operation's name in the service model
