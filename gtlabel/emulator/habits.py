"""What simulated people are like, besides how well they judge."""

from __future__ import annotations

from dataclasses import dataclass, field

from gtlabel.emulator.opinions import Confusion
from gtlabel.emulator.shifts import Hours
from gtlabel.errors import EmulatorError


@dataclass(frozen=True, slots=True)
class Habits:
    """What else people are like; by default as quick as the machine, and never tired.

    Attributes:
        fatigue: how much they lose over a day at work, of accuracy and of pace, from 0 to 1.
        spammers: how many of them answer without looking.
        confusion: which classes are taken for which; see `gtlabel.emulator.opinions.Minds`.
        declines: the share of images that somebody gives back for good.
        releases: the share that somebody gives back and comes to later.
        abandons: the share that somebody forgets until the time limit is over; by default a few where that
            is within seconds, and none elsewhere.
        pace: seconds for a decision.
        speedup: how many times faster than the clock on the wall their time passes.
        hours: when they work.
        patience: seconds that they wait for a server that has gone.
    """

    fatigue: float = 0.0
    spammers: int = 0
    confusion: Confusion = field(default_factory=dict)
    declines: float = 0.05
    releases: float = 0.03
    abandons: float | None = None
    pace: float | None = None
    speedup: float | None = None
    hours: Hours | None = None
    patience: float = 60.0

    @property
    def waits(self) -> bool:
        """Whether anything takes them time: without a pace, a speed or hours nobody waits."""
        return not (self.pace is None and self.speedup is None and self.hours is None)

    def check(self, workers: int) -> None:
        """Look whether there can be so many people of this kind.

        Raises:
            EmulatorError: if not, with the reason.
        """
        for name in ("fatigue", "declines", "releases", "abandons"):
            share = getattr(self, name)
            if share is not None and not 0 <= share <= 1:
                raise EmulatorError(f"{name} of {share} cannot be; give a share from 0 to 1")
        for name in ("pace", "speedup"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise EmulatorError(f"a {name} of {value} cannot be; give a number above 0")
        if not 0 <= self.spammers <= workers:
            raise EmulatorError(f"{self.spammers} of {workers} workers cannot be spammers")
