"""Which failures of a service pass by themselves, and how long they are waited for."""

from __future__ import annotations

from collections.abc import Callable

# What services whose protocols differ call the same: too much was asked, or something broke there.
_PASSING = frozenset(
    {
        "InternalError",
        "InternalFailure",
        "InternalServerError",
        "LimitExceededException",
        "RequestLimitExceeded",
        "ServiceUnavailable",
        "ServiceUnavailableException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)
LONGEST_PAUSE = 60.0  # seconds
_GIVE_UP = 300.0  # seconds


def passes(error: Exception) -> bool:
    """Whether the same call may well succeed in a while: a throttled one, or one that the network lost."""
    from botocore import exceptions

    if isinstance(error, exceptions.ClientError):
        return error.response["Error"].get("Code") in _PASSING
    return isinstance(error, (exceptions.ConnectionError, exceptions.HTTPClientError))


class Patience:
    """How long to pause before the next look: longer after each failure, as before after a success.

    Args:
        pause: seconds between two looks while all is well.
        clock: tells the seconds passed.
    """

    def __init__(self, pause: float, clock: Callable[[], float]) -> None:
        self.pause = pause
        self._usual = pause
        self._clock = clock
        self._since: float | None = None

    def succeeded(self) -> None:
        """Note that a call went well."""
        self.pause, self._since = self._usual, None

    def failed(self) -> bool:
        """Note that one did not; return whether it is worth to go on."""
        now = self._clock()
        self._since = now if self._since is None else self._since
        self.pause = min(max(self.pause * 2, 0.1), max(LONGEST_PAUSE, self._usual))
        return now - self._since < _GIVE_UP
