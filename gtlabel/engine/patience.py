"""Which troubles pass by themselves, and how long to wait before trying again."""

from __future__ import annotations

from dataclasses import dataclass

from gtlabel.errors import FunctionNotFoundError, StoreError

_FIRST_SECONDS = 1.0
_LONGEST_SECONDS = 60.0
_TOO_MANY_REQUESTS = 429
_SERVER_ERROR = 500

# Credentials belong to the server and not to the job: whoever runs it can renew them, and paid work is not
# given up meanwhile. https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
_PASSING = frozenset(
    {
        "AuthorizationError",
        "ConditionalRequestConflict",
        "ExpiredToken",
        "ExpiredTokenException",
        "InternalError",
        "InternalFailure",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidToken",
        "OperationAborted",
        "RequestExpired",
        "RequestLimitExceeded",
        "RequestTimeTooSkewed",
        "RequestTimeout",
        "ServiceUnavailable",
        "SignatureDoesNotMatch",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TokenRefreshRequired",
        "TooManyRequestsException",
    }
)


@dataclass(slots=True)
class Patience:
    """When something that failed may be tried again: after ever longer pauses, up to a minute.

    Attributes:
        until: the moment, on the caller's own timer.
    """

    until: float = 0.0
    _pause: float = 0.0

    def lose(self, now: float) -> float:
        """Note that it failed; return the seconds to wait."""
        self._pause = min(max(_FIRST_SECONDS, 2 * self._pause), _LONGEST_SECONDS)
        self.until = now + self._pause
        return self._pause

    def regain(self) -> None:
        """Note that it went well."""
        self._pause = self.until = 0.0


def passes(error: BaseException | None) -> bool:
    """Whether an error is of a kind that goes away.

    That is throttling, a server in trouble, a lost connection, credentials that ran out, a function that this
    server was not given, and a database that is full or gone: no job is to blame for that, and its answers
    are paid for. Our own errors are judged by what caused them.
    """
    from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError

    if isinstance(error, (FunctionNotFoundError, StoreError)):
        return True
    if isinstance(error, ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        code = str(error.response.get("Error", {}).get("Code", ""))
        return code in _PASSING or status == _TOO_MANY_REQUESTS or status >= _SERVER_ERROR
    if isinstance(error, BotoCoreError):
        # A name that cannot be a bucket's will not become one.
        return not isinstance(error, ParamValidationError)
    return error is not None and error.__cause__ is not None and passes(error.__cause__)
