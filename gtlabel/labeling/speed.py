"""How fast a labeling job goes, and when it will be done."""

from __future__ import annotations

from dataclasses import dataclass

from gtlabel.labeling.jobs import Counters

# What was measured over less says more about when the service counts than about people.
_SHORTEST_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast images get done, since somebody began to look.

    Attributes:
        start: when the first look was, in seconds of the same clock.
        done_at_start: how many images were done by then.
    """

    start: float
    done_at_start: int

    def images_per_hour(self, now: float, counters: Counters) -> float | None:
        """The rate, or None as long as nothing can be said."""
        seconds, done = now - self.start, counters.done - self.done_at_start
        return 3600 * done / seconds if seconds >= _SHORTEST_SECONDS and done > 0 else None

    def seconds_left(self, now: float, counters: Counters) -> float | None:
        """How long it will take at this rate, or None as long as nothing can be said."""
        rate = self.images_per_hour(now, counters)
        return None if rate is None else 3600 * counters.unlabeled / rate
