"""When the devices of a deployment hear of it, and when it is given up: an IoT job's rules.

Pure decisions. https://docs.aws.amazon.com/iot/latest/developerguide/job-rollout-abort-scheduling.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

_MINUTE = timedelta(minutes=1)
# What a job has that names no maximum, and the most that one may name.
_MOST_PER_MINUTE = 1000
_FAILURES = ("FAILED", "REJECTED", "TIMED_OUT")


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a deployment is rolled out.

    Attributes:
        start: when the deployment was made; its minutes begin there.
        maximum: the most devices in a minute; None when nothing was said about it.
        base: devices in the first minute, for a pace that grows; None for one that does not.
        factor: by how much it grows.
        each_notified: it grows whenever so many devices more have heard of it.
        each_succeeded: it grows whenever so many devices more have succeeded.
    """

    start: datetime
    maximum: int | None = None
    base: int | None = None
    factor: float = 1.0
    each_notified: int | None = None
    each_succeeded: int | None = None

    @classmethod
    def of(cls, start: datetime, configuration: Mapping[str, Any]) -> Pace:
        """The pace that an `iotJobConfiguration` asks for."""
        rollout = configuration.get("jobExecutionsRolloutConfig", {})
        growing = rollout.get("exponentialRate")
        if growing is None:
            return cls(start, rollout.get("maximumPerMinute"))
        criteria = growing["rateIncreaseCriteria"]
        return cls(
            start,
            rollout.get("maximumPerMinute", _MOST_PER_MINUTE),
            growing["baseRatePerMinute"],
            growing["incrementFactor"],
            criteria.get("numberOfNotifiedThings"),
            criteria.get("numberOfSucceededThings"),
        )

    def per_minute(self, notified: int, succeeded: int) -> int | None:
        """Devices that may hear of it in a minute before which so many had; None when all may."""
        if self.base is None:
            return self.maximum
        steps = max(
            notified // self.each_notified if self.each_notified else 0,
            succeeded // self.each_succeeded if self.each_succeeded else 0,
        )
        rate, most = float(self.base), self.maximum or _MOST_PER_MINUTE
        for _ in range(steps):
            if rate >= most or self.factor <= 1:
                break
            rate *= self.factor
        return min(int(rate), most)


def release(
    pace: Pace,
    waiting: Sequence[tuple[str, datetime]],
    notified: Sequence[datetime],
    succeeded: Sequence[datetime],
    now: datetime,
) -> list[tuple[str, datetime]]:
    """Which of the waiting devices have heard of the deployment by now, and when each did.

    Time is counted in minutes since the deployment began; in each of them the pace lets a number of
    devices through at once, those first that have waited longest. What would have happened while nobody
    looked has happened.

    Args:
        pace: how fast it goes.
        waiting: devices, and since when each waits.
        notified: when others have heard of it.
        succeeded: when others have succeeded.
        now: the time.
    """
    queue = sorted(waiting, key=lambda item: item[1])
    if pace.per_minute(0, 0) is None:
        return queue
    heard = list(notified)
    released: list[tuple[str, datetime]] = []
    begin = pace.start
    while queue and begin <= now:
        # Nothing happens in the minutes before the next device begins to wait.
        idle = (queue[0][1] - begin) // _MINUTE
        if idle > 0:
            begin += idle * _MINUTE
            continue
        end = begin + _MINUTE
        rate = pace.per_minute(sum(t < begin for t in heard), sum(t < begin for t in succeeded))
        room = (rate or 0) - sum(begin <= t < end for t in heard)
        through = [item for item in queue[: max(room, 0)] if item[1] < end and item[1] <= now]
        for thing, since in through:
            time = max(begin, since)
            heard.append(time)
            released.append((thing, time))
        queue = queue[len(through) :]
        begin = end
    return released


def gives_up(configuration: Mapping[str, Any], statuses: Sequence[str]) -> Mapping[str, Any] | None:
    """The criterion by which a deployment is given up; None when it goes on.

    Args:
        configuration: the `iotJobConfiguration`.
        statuses: how each device's deployment stands.
    """
    ended = [status for status in statuses if status in (*_FAILURES, "SUCCEEDED")]
    for criterion in configuration.get("abortConfig", {}).get("criteriaList", []):
        kind = criterion["failureType"]
        failed = [status for status in ended if status in (_FAILURES if kind == "ALL" else (kind,))]
        enough = len(ended) >= criterion["minNumberOfExecutedThings"]
        if failed and enough and 100 * len(failed) >= criterion["thresholdPercentage"] * len(ended):
            found: Mapping[str, Any] = criterion
            return found
    return None


def deadline(configuration: Mapping[str, Any], started: datetime) -> datetime | None:
    """When a device that began then has taken too long; None when it may take any time."""
    minutes = configuration.get("timeoutConfig", {}).get("inProgressTimeoutInMinutes")
    return None if minutes is None else started + timedelta(minutes=minutes)
