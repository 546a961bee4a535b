"""What simulated people think, and when they work."""

from __future__ import annotations

import json
import statistics
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gtlabel.emulator.opinions import Character, Minds, read_confusion, read_truth, truth_of
from gtlabel.emulator.shifts import Hours, Shift
from gtlabel.emulator.workerclient import read_tokens
from gtlabel.errors import EmulatorError, ManifestLineError

CLASSES = ("Compost", "Landfill", "Recycle")
IMAGES = [f"s3://trash/{number}.jpg" for number in range(1500)]
HONEST = Character.HONEST
# A Monday.
MORNING = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)


def right(image: str) -> str:
    return CLASSES[IMAGES.index(image) % 3]


def said(minds: Minds, worker: str = "worker-1", tiredness: float = 0.0) -> list[str]:
    character = minds.character(int(worker.rpartition("-")[2]) - 1)
    return [minds.opinion(worker, character, image, CLASSES, right(image), tiredness) for image in IMAGES]


def share(answers: list[str]) -> float:
    return sum(answer == right(image) for answer, image in zip(answers, IMAGES, strict=True)) / len(IMAGES)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.floats(0, 1))
def test_each_person_is_as_good_as_their_skill_and_their_skills_lie_around_what_was_asked(
    seed: int, accuracy: float
) -> None:
    minds = Minds(seed=seed, accuracy=accuracy)
    skills = [minds.skill(f"worker-{number}") for number in range(1, 300)]
    assert all(0 <= skill <= 1 and abs(skill - accuracy) <= 0.15 for skill in skills)
    # Four standard errors of the mean of so many people.
    assert abs(statistics.mean(skills) - accuracy) <= 4 * 0.15 / 3**0.5 / 300**0.5
    # And of the share of so many images.
    assert abs(share(said(minds)) - minds.skill("worker-1")) <= 4 * 0.5 / len(IMAGES) ** 0.5


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(),
    accuracy=st.floats(0, 1),
    spammers=st.integers(0, 3),
    number=st.integers(0, 4),
    image=st.text(min_size=1),
    classes=st.lists(st.text(min_size=1), min_size=1, max_size=8, unique=True),
    tiredness=st.floats(0, 1),
    fatigue=st.floats(0, 1),
)
def test_an_opinion_is_always_a_class_of_the_job_and_always_the_same(number: int, **about: Any) -> None:
    classes, image, tiredness = about["classes"], about["image"], about["tiredness"]
    minds = Minds(about["seed"], about["accuracy"], about["fatigue"], about["spammers"])
    character, worker = minds.character(number), f"worker-{number + 1}"
    first = minds.opinion(worker, character, image, classes, classes[0], tiredness)
    assert first in classes
    assert minds.opinion(worker, character, image, classes, classes[0], tiredness) == first
    several = minds.opinions(worker, character, image, classes, classes[:2], tiredness)
    assert several
    assert several == [name for name in classes if name in several]
    assert minds.opinions(worker, character, image, classes, classes[:2], tiredness) == several


def test_other_seeds_are_other_people() -> None:
    assert said(Minds(seed=1)) == said(Minds(seed=1))
    assert said(Minds(seed=1)) != said(Minds(seed=2))
    assert said(Minds(seed=1)) != said(Minds(seed=1), "worker-2")


def test_whoever_is_tired_errs_where_the_rested_err_and_elsewhere_too() -> None:
    minds = Minds(seed=3, accuracy=0.85, fatigue=0.8)
    rested, weary, exhausted = (said(minds, tiredness=tiredness) for tiredness in (0.0, 0.5, 1.0))
    assert share(rested) > share(weary) + 0.1 > share(exhausted) + 0.2
    assert share(exhausted) > 1 / 3
    for image, first, last in zip(IMAGES, rested, exhausted, strict=True):
        assert last == first or first == right(image)
    assert said(Minds(seed=3, accuracy=0.85), tiredness=1.0) == rested


def test_spammers_can_be_told_from_people_and_from_each_other() -> None:
    prior = {"Compost": 8.0, "Landfill": 1.0, "Recycle": 1.0}
    minds = Minds(seed=5, accuracy=0.85, spammers=3, prior=prior)
    assert [minds.character(number) is HONEST for number in range(5)] == [False, False, False, True, True]
    answers = {minds.character(n).value: said(minds, f"worker-{n + 1}") for n in range(4)}
    assert share(answers.pop("honest")) > 0.65
    counts = {name: Counter(given) for name, given in answers.items()}
    assert all(share(given) < 0.45 for given in answers.values())
    assert len(counts["constant spammer"]) == 1
    assert all(0.28 < counts["uniform spammer"][name] / len(IMAGES) < 0.39 for name in CLASSES)
    assert 0.76 < counts["prior spammer"]["Compost"] / len(IMAGES) < 0.84


def test_the_seed_decides_which_kind_of_spammer_comes_first() -> None:
    assert {Minds(seed=seed, spammers=1).character(0) for seed in range(20)} == set(Character) - {HONEST}


def test_classes_are_confused_as_the_matrix_says() -> None:
    confusion = {"Compost": {"Landfill": 3.0, "Recycle": 1.0}, "Landfill": {"Landfill": 0.5, "Recycle": 0.5}}
    minds = Minds(seed=1, accuracy=0.7, confusion=confusion)
    pairs: Counter[tuple[str, str]] = Counter()
    for number in range(1, 9):
        answers = said(minds, f"worker-{number}")
        pairs.update((right(image), answer) for image, answer in zip(IMAGES, answers, strict=True))
    assert 2.3 < pairs["Compost", "Landfill"] / pairs["Compost", "Recycle"] < 3.9
    assert pairs["Landfill", "Compost"] == 0
    assert (
        0.4
        < pairs["Landfill", "Landfill"] / (pairs["Landfill", "Landfill"] + pairs["Landfill", "Recycle"])
        < 0.6
    )
    # What the matrix does not speak of is as it was asked for.
    assert 0.6 < pairs["Recycle", "Recycle"] / (8 * len(IMAGES) / 3) < 0.8


def test_of_several_classes_one_thing_is_wrong_when_anything_is() -> None:
    minds = Minds(seed=2, accuracy=0.8)
    truth = ["Compost", "Recycle"]
    kinds: Counter[int] = Counter()
    for image in IMAGES:
        chosen = set(minds.opinions("worker-1", HONEST, image, (*CLASSES, "Glass"), truth))
        kinds[len(chosen ^ set(truth))] += 1
        assert len(chosen - set(truth)) <= 1
        assert len(set(truth) - chosen) <= 1
    assert kinds[0] / len(IMAGES) == pytest.approx(minds.skill("worker-1"), abs=0.05)
    assert min(kinds[1], kinds[2]) > 30


@pytest.mark.parametrize(
    ("hours", "now", "hours_to_wait"),
    [
        ("9-17", MORNING, 0),
        ("9-17", MORNING - timedelta(hours=2), 2),
        ("9-17", MORNING + timedelta(hours=8), 16),
        ("9-17", MORNING + timedelta(days=4, hours=8), 64),
        ("8:30-12:15", MORNING, 0),
        ("22-6", MORNING, 13),
        ("22-6", MORNING + timedelta(hours=20), 0),
        ("0-24", MORNING, 0),
        ("0-24", MORNING + timedelta(days=5), 39),
    ],
)
def test_office_hours(hours: str, now: datetime, hours_to_wait: float) -> None:
    assert Hours.parse(hours).wait(now) == hours_to_wait * 3600


def test_office_hours_are_those_of_the_clock_on_the_wall() -> None:
    assert Hours.parse("9-17", "America/New_York").wait(MORNING) == 5 * 3600
    assert Hours.parse("9-17", "Asia/Tokyo").wait(MORNING) == 15 * 3600
    # In the night to Sunday the 28th of March 2027 Rome loses an hour.
    friday = datetime(2027, 3, 26, 16, 0, tzinfo=UTC)
    assert Hours.parse("9-17", "Europe/Rome").wait(friday) == (3 * 24 - 8 - 1) * 3600


@given(st.datetimes(datetime(2026, 1, 1), datetime(2028, 1, 1)), st.integers(0, 23), st.integers(0, 24))
def test_after_the_wait_people_are_at_work(moment: datetime, opens: int, closes: int) -> None:
    if opens == closes:
        with pytest.raises(EmulatorError, match="are no hours"):
            Hours.parse(f"{opens}-{closes}")
        return
    hours = Hours.parse(f"{opens}-{closes}", "Europe/Rome")
    now = moment.replace(tzinfo=UTC)
    assert hours.wait(now + timedelta(seconds=hours.wait(now))) == 0


@pytest.mark.parametrize("text", ["9", "9-9", "25-26", "9-17-18", "nine to five", "9:60-17", ""])
def test_hours_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(EmulatorError, match="are no hours; write them as 9-17 or 8:30-12:15"):
        Hours.parse(text)
    with pytest.raises(EmulatorError, match="there is no time zone 'Mars/Base'"):
        Hours.parse("9-17", "Mars/Base")


def day(shift: Shift) -> list[tuple[datetime, float, float]]:
    """When a worker looked at each image of a day, for how long, and how tired they were."""
    looked = []
    for image in IMAGES:
        seconds = shift.pause()
        if seconds:
            shift.rest(seconds)
        looked.append((shift.now, shift.decision(image), shift.tiredness))
        shift.work(looked[-1][1])
    return looked


def test_people_tire_slow_down_take_breaks_and_recover() -> None:
    looked = day(Shift(seed=1, worker="worker-1", now=MORNING, pace=10.0, fatigue=1.0))
    tiredness = [tired for _, _, tired in looked]
    breaks = [n for n in range(1, len(looked)) if looked[n][0] - looked[n - 1][0] > timedelta(minutes=10)]
    assert len(breaks) >= 3
    assert all(tiredness[n] < 0.6 * tiredness[n - 1] for n in breaks)
    assert tiredness[: breaks[0]] == sorted(set(tiredness[: breaks[0]]))
    assert max(tiredness) < 1
    first, last = looked[: breaks[0] // 3], looked[2 * breaks[0] // 3 : breaks[0]]
    assert statistics.mean(s for _, s, _ in last) > 1.1 * statistics.mean(s for _, s, _ in first)


def test_people_keep_their_pace_and_their_hours() -> None:
    hours = Hours.parse("9-17")
    looked = [moment for n in range(40) for moment in day(Shift(n, "worker-1", MORNING, 30.0, hours=hours))]
    assert all(9 <= moment.hour < 17 for moment, _, _ in looked)
    assert statistics.mean(seconds for _, seconds, _ in looked) == pytest.approx(30, rel=0.2)
    again = day(Shift(3, "worker-1", MORNING, 30.0, hours=hours))
    assert again == day(Shift(3, "worker-1", MORNING, 30.0, hours=hours))


def test_the_truth_may_name_several_classes(tmp_path: Path) -> None:
    file = tmp_path / "truth.jsonl"
    file.write_text(
        '{"image": "1.jpg", "class": "Compost"}\n{"image": "2.jpg", "classes": ["Compost", "Recycle"]}\n'
    )
    truth = read_truth(file)
    assert truth_of(truth, "s3://trash/1.jpg", CLASSES, several=True) == ["Compost"]
    assert truth_of(truth, "s3://trash/2.jpg", CLASSES, several=True) == ["Compost", "Recycle"]
    with pytest.raises(EmulatorError, match="gives s3://trash/2.jpg 2 classes; in this job an image has one"):
        truth_of(truth, "s3://trash/2.jpg", CLASSES, several=False)
    file.write_text('{"image": "2.jpg", "classes": "Compost"}\n')
    with pytest.raises(ManifestLineError, match='line 1: it needs "source-ref" and "class"'):
        read_truth(file)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[]", "holds no JSON object such as"),
        ("{", "is not JSON"),
        ('{"Compost": {}}', "'Compost': it needs an object of classes and weights"),
        ('{"Compost": {"Landfill": -1}}', "'Compost', 'Landfill': -1 is no weight of zero or more"),
        ('{"Compost": {"Landfill": true}}', "'Compost', 'Landfill': True is no weight"),
        ('{"Compost": {"Landfill": Infinity}}', "'Compost', 'Landfill': inf is no weight"),
        ('{"Compost": {"Landfill": 0}}', "'Compost': all weights are zero"),
    ],
)
def test_a_confusion_that_is_none_is_refused(tmp_path: Path, text: str, sentence: str) -> None:
    file = tmp_path / "confusion.json"
    file.write_text(text)
    with pytest.raises(EmulatorError, match=sentence):
        read_confusion(file)


def test_a_confusion_is_read_as_it_stands(tmp_path: Path) -> None:
    file = tmp_path / "confusion.json"
    confusion = {"Compost": {"Landfill": 3, "Recycle": 1.5}}
    file.write_text(json.dumps(confusion))
    assert read_confusion(file) == confusion


def test_tokens_stand_behind_the_names_of_their_workers(tmp_path: Path) -> None:
    file, alone = tmp_path / "crew", tmp_path / "ana.token"
    file.write_text("eva gtl_1\n\nBob the Second gtl_2\n")
    alone.write_text("gtl_3\n")
    assert read_tokens([file, alone]) == {"eva": "gtl_1", "Bob the Second": "gtl_2", "ana": "gtl_3"}
    for text, sentence in (
        ("eva gtl_1\ngtl_2\n", "line 2: it needs a name, a space and a token"),
        ("ana 1\neva 2\n", "crew, line 1: 'ana' is there twice"),
        ("\n", "names nobody"),
    ):
        file.write_text(text)
        with pytest.raises(EmulatorError, match=sentence):
            read_tokens([alone, file])
