"""How fast a deployment reaches the devices of a group, and when it stops by itself.

Greengrass hands this to the IoT job that a deployment is,
https://docs.aws.amazon.com/greengrass/v2/developerguide/create-deployments.html
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gtlabel.errors import EdgeError

# `N/min`, `NxF/min` and `NxF..M/min`.
_PACE = re.compile(r"(\d+)(?:x(\d+(?:\.\d)?))?(?:\.\.(\d+))?/min")
_FASTEST = 1000


@dataclass(frozen=True, slots=True)
class Rollout:
    """The pace of a deployment to many devices.

    Attributes:
        per_minute: how many devices are told in a minute; in the first, where it grows.
        factor: what that is multiplied by whenever as many have succeeded; None leaves it as it is.
        most: how many are told in a minute at most, where it grows.
        abort_after: the share, in percent, of those done that must fail for the rest to be spared.
        device_timeout: minutes that a device may take from when it began.
    """

    per_minute: int | None = None
    factor: float | None = None
    most: int | None = None
    abort_after: float | None = None
    device_timeout: int | None = None

    def too_many(self, failed: int, devices: int) -> bool:
        """Whether so many failures are a reason to stop: by default one is."""
        if self.abort_after is None:
            return failed > 0
        return failed * 100 >= self.abort_after * devices

    def to_boto(self, devices: int) -> dict[str, Any]:
        """The `iotJobConfiguration` of a deployment to so many devices."""
        request: dict[str, Any] = {}
        if self.per_minute is not None and self.factor is None:
            request["jobExecutionsRolloutConfig"] = {"maximumPerMinute": self.per_minute}
        elif self.per_minute is not None:
            request["jobExecutionsRolloutConfig"] = {
                "exponentialRate": {
                    "baseRatePerMinute": self.per_minute,
                    "incrementFactor": self.factor,
                    "rateIncreaseCriteria": {"numberOfSucceededThings": self.per_minute},
                },
                "maximumPerMinute": self.most or _FASTEST,
            }
        if self.abort_after is not None:
            # Of one device, one failure is all of them: so many must have ended that a share means something.
            enough = min(max(1, devices), math.ceil(100 / self.abort_after))
            request["abortConfig"] = {
                "criteriaList": [
                    {
                        "failureType": "ALL",
                        "action": "CANCEL",
                        "thresholdPercentage": self.abort_after,
                        "minNumberOfExecutedThings": enough,
                    }
                ]
            }
        if self.device_timeout is not None:
            request["timeoutConfig"] = {"inProgressTimeoutInMinutes": self.device_timeout}
        return request


def parse_rollout(
    pace: str | None = None, *, abort_after: float | None = None, device_timeout: int | None = None
) -> Rollout:
    """A rollout in the words of the command line.

    Args:
        pace: `10/min`; or `5x2/min`, which begins with 5 a minute and doubles that each time 5 more have
            succeeded; or `5x2..100/min`, which does not go beyond 100 a minute.
        abort_after: as `Rollout` has it.
        device_timeout: as `Rollout` has it.

    Raises:
        EdgeError: if it is none of these, or beyond what AWS takes.
    """
    if pace is None:
        return Rollout(abort_after=abort_after, device_timeout=device_timeout)
    found = _PACE.fullmatch(pace.replace(" ", ""))
    if found is None:
        raise EdgeError(f"{pace!r} is no pace of a rollout; write 10/min, or 5x2..100/min for one that grows")
    base, factor, most = found.groups()
    if factor is None and most is not None:
        raise EdgeError(f"the rollout {pace!r} does not say how it grows; write {base}x2..{most}/min")
    for rate in filter(None, (base, most)):
        if not 1 <= int(rate) <= _FASTEST:
            raise EdgeError(f"a rollout reaches 1 to {_FASTEST} devices in a minute, not {rate}")
    if factor is not None and not 1.1 <= float(factor) <= 5:
        raise EdgeError(f"the pace of a rollout grows by a factor of 1.1 to 5, not {factor}")
    return Rollout(
        int(base), float(factor) if factor else None, int(most) if most else None, abort_after, device_timeout
    )


def merged_settings(settings: Mapping[str, Any], rollout: Rollout | None, devices: int) -> dict[str, Any]:
    """The settings of a deployment before with the parts of a rollout that were asked for in their place."""
    asked = rollout.to_boto(devices) if rollout else {}
    if not asked:
        return dict(settings)
    return {**settings, "iotJobConfiguration": {**settings.get("iotJobConfiguration", {}), **asked}}
