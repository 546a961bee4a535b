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
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

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

_DAY = 24 * 60
_SATURDAY = 5
_HOURS = re.compile(r"(\d{1,2})(?::(\d\d))?-(\d{1,2})(?::(\d\d))?")


@dataclass(frozen=True, slots=True)
class Hours:
    """Office hours, the same on every weekday, none on Saturday and Sunday.

    Attributes:
        opens: when work begins, in minutes after midnight.
        closes: when it ends; at or before `opens` it is the next day, for those who work at night.
        zone: whose clock on the wall it is.
    """

    opens: int
    closes: int
    zone: tzinfo = UTC

    @classmethod
    def parse(cls, text: str, timezone: str = "UTC") -> Hours:
        """Read `9-17` or `8:30-12:15`.

        Raises:
            EmulatorError: if it is no such text, or there is no such time zone.
        """
        try:
            zone = ZoneInfo(timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise EmulatorError(f"there is no time zone {timezone!r}; name one as Europe/Rome") from None
        found = _HOURS.fullmatch(text.strip())
        numbers = [int(number or 0) for number in found.groups()] if found else []
        opens, closes = (numbers[0] * 60 + numbers[1], numbers[2] * 60 + numbers[3]) if numbers else (0, 0)
        if (
            opens == closes
            or opens >= _DAY
            or closes > _DAY
            or any(minutes > 59 for minutes in numbers[1::2])
        ):
            raise EmulatorError(f"{text!r} are no hours; write them as 9-17 or 8:30-12:15")
        return cls(opens, closes, zone)

    def wait(self, now: datetime) -> float:
        """Seconds from `now` until people are at work; 0 when they are."""
        here = now.astimezone(self.zone)
        length = (self.closes - self.opens) % _DAY or _DAY
        # From yesterday, whose night may not be over, to the next weekday that is sure to lie ahead.
        for days in range(-1, 5):
            day = datetime.combine(here.date() + timedelta(days=days), time.min, self.zone)
            # What is added to a moment of a zone is what its clocks show; what passes is counted in UTC.
            opens = (day + timedelta(minutes=self.opens)).astimezone(UTC)
            closes = (day + timedelta(minutes=self.opens + length)).astimezone(UTC)
            if day.weekday() < _SATURDAY and now < closes:
                return max(0.0, (opens - now).total_seconds())
        raise AssertionError("a weekend has two days")  # pragma: no cover


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
