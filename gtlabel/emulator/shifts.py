"""When simulated people work: their pace, their office hours, their breaks, and how tired they get.

All of it goes by the people's own time, which begins when they do and is as long as what they do in it.
Whether anybody waits for it to pass is the business of whoever asks.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta, tzinfo
from random import Random

from gtlabel.errors import EmulatorError

# A break after so much work, and for so long, as rules for work at screens recommend.
_WORK_SECONDS = 50 * 60.0
_BREAK_SECONDS = 10 * 60.0
# After so many seconds of work, or of rest, about two thirds of the way to exhaustion, or back, are gone.
_TIRING_SECONDS = 45 * 60.0
_RESTING_SECONDS = 12 * 60.0
# How much times of decisions vary around the pace of a worker, and that around the pace asked for.
_SPREAD_OF_DECISIONS = 0.4
_SPREAD_OF_PEOPLE = 0.2
# How much slower somebody exhausted is.
_SLOWER = 0.5

_HOURS = re.compile(r"(\d{1,2})(?::(\d\d))?-(\d{1,2})(?::(\d\d))?")


@dataclass(frozen=True, slots=True)
class Hours:
    """Office hours, the same on every weekday, none on Saturday and Sunday.

    Attributes:
        opens: when work begins.
        closes: when it ends; at or before `opens` it is the next day, for those who work at night.
        zone: whose clock on the wall it is.
    """

    opens: time
    closes: time
    zone: tzinfo = UTC

    @classmethod
    def parse(cls, text: str, zone: tzinfo = UTC) -> Hours:
        """Read `9-17` or `8:30-12:15`.

        Raises:
            EmulatorError: if it is no such text.
        """
        found = _HOURS.fullmatch(text.strip())
        try:
            if not found:
                raise ValueError
            opens, closes = (
                time(int(found[n]) % 24 if found[n] == "24" else int(found[n]), int(found[n + 1] or 0))
                for n in (1, 3)
            )
            if opens == closes:
                raise ValueError
        except ValueError:
            raise EmulatorError(f"{text!r} are no hours; write them as 9-17 or 8:30-12:15") from None
        return cls(opens, closes, zone)

    def wait(self, now: datetime) -> float:
        """Seconds from `now` until people are at work; 0 when they are."""
        here = now.astimezone(self.zone)
        for days in range(-1, 8):
            day = here.date() + timedelta(days=days)
            if day.weekday() >= 5:
                continue
            opens = datetime.combine(day, self.opens, self.zone)
            ends = day if self.closes > self.opens else day + timedelta(days=1)
            if now < datetime.combine(ends, self.closes, self.zone).astimezone(UTC):
                # Between moments of one zone Python counts what its clocks show, and skips when they change.
                return max(0.0, (opens.astimezone(UTC) - now.astimezone(UTC)).total_seconds())
        raise AssertionError("a week has weekdays")  # pragma: no cover


@dataclass(slots=True)
class Shift:
    """The time of one worker.

    Args:
        seed: decides how fast they are.
        worker: their name.
        now: the moment their time begins.
        pace: seconds the average worker takes for a decision.
        fatigue: how much of their pace tiredness costs them, from 0 to 1.
        hours: when they work; always, without.

    Attributes:
        now: the moment it is for them.
        tiredness: from 0, rested, to 1.
    """

    seed: int
    worker: str
    now: datetime
    pace: float = 4.0
    fatigue: float = 0.0
    hours: Hours | None = None
    tiredness: float = 0.0
    _speed: float = field(init=False)
    _at_work: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        self._speed = math.exp(self._dice("pace").gauss(0, _SPREAD_OF_PEOPLE))

    def decision(self, image: str) -> float:
        """Seconds the worker looks at an image before saying what it is."""
        luck = math.exp(self._dice("pace", image).gauss(0, _SPREAD_OF_DECISIONS))
        return self.pace * self._speed * luck * (1 + _SLOWER * self.fatigue * self.tiredness)

    def work(self, seconds: float) -> None:
        """Let time pass in which the worker works."""
        self.now += timedelta(seconds=seconds)
        self._at_work += seconds
        self.tiredness = 1 - (1 - self.tiredness) * math.exp(-seconds / _TIRING_SECONDS)

    def rest(self, seconds: float) -> None:
        """Let time pass in which the worker does not."""
        self.now += timedelta(seconds=seconds)
        self.tiredness *= math.exp(-seconds / _RESTING_SECONDS)
        if seconds >= _BREAK_SECONDS:
            self._at_work = 0.0

    def pause(self) -> float:
        """Seconds until the worker takes the next task: a break that is due, or the night; mostly 0."""
        due = _BREAK_SECONDS if self._at_work >= _WORK_SECONDS else 0.0
        closed = self.hours.wait(self.now + timedelta(seconds=due)) if self.hours else 0.0
        return due + closed

    def _dice(self, *about: str) -> Random:
        return Random("/".join((str(self.seed), self.worker, *about)))  # noqa: S311 - people, not secrets
