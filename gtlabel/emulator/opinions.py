"""How simulated people judge: what each of them says about each image.

An opinion depends on the seed, the worker and the image alone, never on who was faster. With fatigue it also
depends on how long the worker has been at it, but only in one direction: the same dice fall, and whoever is
tired is wrong on every image that they would be wrong on when rested, in the same way, and on some more.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from random import Random

from gtlabel.errors import EmulatorError, ManifestError, ManifestLineError

# The class of each image, or the classes where an image can have several, by its address or the end of it.
Truth = Mapping[str, str | Sequence[str]]
# What images of one class are taken for: weights, by the class that is right and the class that is said.
Confusion = Mapping[str, Mapping[str, float]]

# How far workers differ from the mean, at most.
_SPREAD = 0.15


class Character(StrEnum):
    """What kind of worker somebody is."""

    HONEST = "honest"
    # Those who are paid by the answer and look at nothing.
    UNIFORM = "uniform spammer"
    CONSTANT = "constant spammer"
    PRIOR = "prior spammer"


_SPAMMERS = (Character.UNIFORM, Character.CONSTANT, Character.PRIOR)


@dataclass(frozen=True, slots=True)
class Minds:
    """How well people judge.

    Attributes:
        seed: decides who they are, and every opinion of theirs.
        accuracy: how often the average honest one is right, from 0 to 1; each is a little better or worse.
        fatigue: the share of what a rested worker knows better than chance that an exhausted one has lost.
        spammers: how many of the people, the first ones, never look: the kinds take turns, from a kind that
            the seed decides. One says anything, one always the same class, one each class as often as it
            occurs.
        prior: how often each class occurs, as weights, for those spammers.
        confusion: which classes are taken for which; by default the seed decides that some pairs are
            likelier than others. Where a class is given a weight for itself, its weights are how often it is
            taken for each class, and `accuracy` does not count.
    """

    seed: int = 0
    accuracy: float = 0.85
    fatigue: float = 0.0
    spammers: int = 0
    prior: Mapping[str, float] = field(default_factory=dict)
    confusion: Confusion = field(default_factory=dict)

    def character(self, number: int) -> Character:
        """What kind of worker number `number` is, counted from 0."""
        if number >= self.spammers:
            return Character.HONEST
        first = _dice(self.seed, "spammers").randrange(len(_SPAMMERS))
        return _SPAMMERS[(first + number) % len(_SPAMMERS)]

    def skill(self, worker: str) -> float:
        """How often a worker is right when rested, if honest."""
        margin = min(_SPREAD, self.accuracy, 1 - self.accuracy)
        return self.accuracy + _dice(self.seed, worker).uniform(-margin, margin)

    def opinion(
        self,
        worker: str,
        character: Character,
        image: str,
        classes: Sequence[str],
        right: str,
        tiredness: float = 0.0,
    ) -> str:
        """What a worker takes an image of one class for.

        Args:
            worker: the worker's name.
            character: see `character`.
            image: the image's address.
            classes: what they may choose from.
            right: its class.
            tiredness: from 0, rested, to 1.
        """
        mind = _dice(self.seed, worker, image)
        if character is not Character.HONEST:
            return self._spam(worker, character, classes, mind)
        others = [name for name in classes if name != right]
        if mind.random() < self._chance(worker, right, len(classes), tiredness) or not others:
            return right
        return mind.choices(others, self._likeness(right, others))[0]

    def opinions(
        self,
        worker: str,
        character: Character,
        image: str,
        classes: Sequence[str],
        right: Sequence[str],
        tiredness: float = 0.0,
    ) -> list[str]:
        """What a worker sees in an image that may have several classes: all of them, or one thing is wrong.

        Then one is overlooked, one is imagined, or one is taken for another.
        """
        mind = _dice(self.seed, worker, image)
        if character is not Character.HONEST:
            return [self._spam(worker, character, classes, mind)]
        chosen = set(right)
        usual = right[0] if right else classes[0]
        if mind.random() >= self._chance(worker, usual, len(classes), tiredness):
            absent = [name for name in classes if name not in chosen]
            present = [name for name in classes if name in chosen]
            # An image with one class is not left without any: that would be seen at once.
            slips = ["overlook"] * (len(present) > 1) + ["imagine"] * bool(absent)
            slips += ["mistake"] * bool(present and absent)
            slip = mind.choice(slips) if slips else ""
            if slip in ("overlook", "mistake"):
                usual = mind.choice(present)
                chosen.remove(usual)
            if slip in ("imagine", "mistake"):
                chosen.add(mind.choices(absent, self._likeness(usual, absent))[0])
        return [name for name in classes if name in chosen]

    def _chance(self, worker: str, right: str, classes: int, tiredness: float) -> float:
        """How often a worker recognizes a class."""
        skill, seen = self.skill(worker), self.confusion.get(right, {})
        if right in seen:
            own = seen[right] / sum(seen.values())
            margin = min(_SPREAD, own, 1 - own)
            # Whoever is better than others is so at every class.
            skill = own + margin * (skill - self.accuracy) / (_SPREAD or 1)
        return skill - self.fatigue * tiredness * max(0.0, skill - 1 / classes)

    def _likeness(self, right: str, others: Sequence[str]) -> list[float]:
        """How often a class is taken for each of the others, as weights."""
        given = self.confusion.get(right)
        if given is not None:
            weights = [float(given.get(name, 0)) for name in others]
            if any(weights):
                return weights
        # Some classes are taken for each other more often than others, by everybody.
        return [_dice(self.seed, right, name).random() ** 2 + 0.05 for name in others]

    def _spam(self, worker: str, character: Character, classes: Sequence[str], mind: Random) -> str:
        if character is Character.UNIFORM:
            return mind.choice(classes)
        habit = _dice(self.seed, worker, "habit")
        if character is Character.CONSTANT:
            return habit.choice(classes)
        weights = [float(self.prior.get(name, 0)) for name in classes]
        return mind.choices(classes, weights)[0] if any(weights) else mind.choice(classes)


def truth_of(truth: Truth, image: str, classes: Sequence[str], *, several: bool) -> str | list[str]:
    """What is right about an image, which the truth may name by the end of its address.

    Args:
        truth: the class or classes of every image.
        image: its address.
        classes: those of the job.
        several: whether an image of the job can have several.

    Raises:
        EmulatorError: if the truth does not know it, or knows it by a class that the job has not.
    """
    parts = image.removeprefix("s3://").split("/")
    ends = ("/".join(parts[start:]) for start in range(len(parts)))
    right = next((truth[name] for name in (image, *ends) if name in truth), None)
    if right is None:
        raise EmulatorError(f"the truth says nothing about {image}; add a line for it")
    names = [right] if isinstance(right, str) else list(right)
    for name in names:
        if name not in classes:
            raise EmulatorError(
                f"the truth calls {image} {name!r}; the classes of the job are {', '.join(classes)}"
            )
    if several:
        return names
    if len(names) != 1:
        raise EmulatorError(f"the truth gives {image} {len(names)} classes; in this job an image has one")
    return names[0]


def read_truth(path: Path) -> dict[str, str | list[str]]:
    """Read the classes of images: JSON Lines with `class`, or `classes` where there can be several.

    `source-ref` or `image` says of which image.

    Raises:
        ManifestError: if the file cannot be read, or is empty.
        ManifestLineError: at the first line that is not of that form, or contradicts an earlier one.
    """
    truth: dict[str, str | list[str]] = {}
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise ManifestError(f"{path} cannot be read: {error.strerror}") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError as error:
            raise ManifestLineError(str(path), number, f"it is not JSON: {error}") from error
        values = record if isinstance(record, dict) else {}
        image, right = values.get("source-ref", values.get("image")), values.get("class")
        if "classes" in values:
            names = values["classes"]
            right = (
                names if isinstance(names, list) and all(isinstance(name, str) for name in names) else None
            )
        if not isinstance(image, str) or not isinstance(right, str | list):
            raise ManifestLineError(
                str(path), number, 'it needs "source-ref" and "class", both texts, or a list "classes"'
            )
        if truth.setdefault(image, right) != right:
            raise ManifestLineError(
                str(path), number, f"{image} was {truth[image]!r} before and is {right!r}"
            )
    if not truth:
        raise ManifestError(f"{path} holds no line with the class of an image")
    return truth


def read_confusion(path: Path) -> dict[str, dict[str, float]]:
    """Read which classes are taken for which: a JSON object of objects, {right: {said: weight}}.

    Raises:
        EmulatorError: if the file cannot be read or is not of that form.
    """
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise EmulatorError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise EmulatorError(f"{path} is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise EmulatorError(f"{path} holds no JSON object such as {_EXAMPLE}")
    for right, said in document.items():
        if not isinstance(said, dict) or not said:
            raise EmulatorError(
                f"{path}, {right!r}: it needs an object of classes and weights, as in {_EXAMPLE}"
            )
        for name, weight in said.items():
            if (
                isinstance(weight, bool)
                or not isinstance(weight, int | float)
                or not 0 <= weight < float("inf")
            ):
                raise EmulatorError(f"{path}, {right!r}, {name!r}: {weight!r} is no weight of zero or more")
        if not any(said.values()):
            raise EmulatorError(f"{path}, {right!r}: all weights are zero; give the likeliest class one")
    return document


_EXAMPLE = '{"Compost": {"Landfill": 3, "Recycle": 1}}'


def _dice(seed: int, *about: str) -> Random:
    """Dice that always fall the same way for the same seed and matter."""
    return Random("/".join((str(seed), *about)))  # noqa: S311 - people, not secrets
