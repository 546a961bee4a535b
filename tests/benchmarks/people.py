"""Three people label real pictures in a browser, and the server is killed in the middle.

Run: python tests/benchmarks/people.py [--pictures 60] [--screenshots FOLDER] [--no-job]

Example: python tests/benchmarks/people.py --screenshots /tmp/portal

A customer's own boto3 script (samples/customer.py) starts a job of three answers for each picture. Ana works
by keyboard alone, Ben by mouse on a dark screen, Cleo by thumb on a phone; she takes every fourth picture for
something else. In the middle of it the server gets SIGKILL and is started again. Then the output manifest is
compared with the expected one, line by line, and what is stored of each answer with what each of them said.
`seconds each` is what a picture takes: its page, a decision of 0.16 seconds, and Playwright between them.

Then every page is opened on a desktop and on a phone, light and dark, and axe looks for what WCAG 2.2 AA
forbids; `--screenshots` keeps what people saw.

Ends with 1 if a line or an answer is not as expected, if the kill cost somebody more than one picture, or if
axe found anything.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# The suite runs this with tests/ on its path; by itself it finds that here.
sys.path.append(str(Path(__file__).resolve().parents[1]))

from browser import chromium
from gallery import Gallery
from people_parts import Owner, Person, Phoner, Typist, label_all
from playwright.sync_api import Browser
from work_parts import CLASSES, Work, labels_of

_JOB = "bins"
_TITLE = "Which bin does this belong in?"
_MISTAKEN_EVERY = 4
# Nobody is surer than that, and three of one mind are at least this sure.
_CEILING, _SURE = 0.95, 0.8


def main() -> None:
    """Label, compare, look, and tell."""
    parser = argparse.ArgumentParser(description="Three people label pictures in a browser.")
    parser.add_argument("--pictures", type=int, default=60)
    parser.add_argument("--screenshots", type=Path, help="a folder for what people saw")
    parser.add_argument("--no-job", action="store_true", help="only look at the pages")
    options = parser.parse_args()
    if options.screenshots is not None:
        options.screenshots.mkdir(parents=True, exist_ok=True)
    wrong: list[str] = []
    with tempfile.TemporaryDirectory() as state, chromium() as browser:
        work = Work(Path(state), options.pictures)
        try:
            owner = Owner(browser, work.truth, CLASSES)
            owner.join(work.owner_link())
            if not options.no_job:
                wrong += label(work, browser, owner)
            wrong += Gallery(work, browser, owner, _JOB, options.screenshots).show()
        finally:
            work.close()
    for sentence in wrong:
        print(f"not as expected: {sentence}")
    sys.exit(1 if wrong else 0)


def label(work: Work, browser: Browser, owner: Owner) -> list[str]:
    """Have the job done; print how it went, and return what is not as expected."""
    mistaken = sorted(work.truth)[::_MISTAKEN_EVERY]
    people = {
        "ana": Typist(browser, work.truth, CLASSES),
        "ben": Person(browser, work.truth, CLASSES, scheme="dark"),
        "cleo": Phoner(browser, work.truth, CLASSES, mistaken=mistaken),
    }
    for name, person in people.items():
        person.join(owner.invite(name))
    away: list[float] = []
    middle = max(1, len(work.truth) // 2)

    def kill(turn: int) -> None:
        if turn == middle:
            began = time.monotonic()
            work.restart()
            away.append(time.monotonic() - began)

    with work.customer(_JOB) as customer:
        for person in people.values():
            person.start(_TITLE)
        began = time.monotonic()
        label_all(list(people.values()), kill)
        took = time.monotonic() - began
        printed = labels_of(customer)
    print(f"{len(work.truth)} pictures, three answers each, in {took:.0f} s", end="; ")
    print(f"server killed after {middle} answers of each, back after {sum(away):.1f} s\n")
    print(f"{'who':<6} {'how':<18} {'pictures':>8} {'answers':>8} {'rework':>7} {'seconds each':>13}")
    hows = ("keyboard alone", "mouse, dark", "thumb on a phone")
    for (name, person), how in zip(people.items(), hows, strict=True):
        answers, pictures = len(person.answered), len(set(person.answered))
        each = person.seconds / max(1, answers)
        print(f"{name:<6} {how:<18} {pictures:>8} {answers:>8} {answers - pictures:>7} {each:>13.2f}")
    return list(_differences(work, people, printed))


def _differences(work: Work, people: dict[str, Person], printed: dict[str, str]) -> Iterator[str]:
    for name, person in people.items():
        yield from (f"{name}'s page: {error}" for error in person.errors)
        rework = len(person.answered) - len(work.truth)
        if set(person.answered) != set(work.truth) or rework > 1:
            yield f"{name} answered {len(person.answered)} times about {len(set(person.answered))} pictures"
    records = work.ended(_JOB)
    if printed != {picture: classes[0] for picture, classes in work.truth.items()}:
        yield "the customer's script printed other classes"
    if [record["source-ref"] for record in records] != list(work.truth):
        yield "the output manifest has other pictures, or in another order"
    answers = work.answers(_JOB)
    agreed = 0
    sure: list[float] = []
    unsure: list[float] = []
    for record in records:
        picture = record["source-ref"]
        metadata = dict(record["bin-metadata"])
        confidence, _ = metadata.pop("confidence"), metadata.pop("creation-date")
        right = work.truth[picture][0]
        expected: dict[str, Any] = {
            "source-ref": picture,
            "bin": CLASSES.index(right),
            "bin-metadata": {
                "class-name": right,
                "human-annotated": "yes",
                "job-name": f"labeling-job/{_JOB}",
                "type": "groundtruth/image-classification",
            },
        }
        if {**record, "bin-metadata": metadata} != expected:
            yield f"{picture}: {json.dumps(record)}, expected {json.dumps(expected)}"
        said = sorted(each["answerContent"]["crowd-image-classifier"]["label"] for each in answers[picture])
        meant = sorted(person.opinion(picture)[0] for person in people.values())
        if said != meant:
            yield f"{picture}: stored answers are {said}, people said {meant}"
        agreed += said == meant
        (sure if len(set(meant)) == 1 else unsure).append(confidence)
    if sure and not _SURE <= min(sure) <= max(sure) <= _CEILING:
        yield f"where all say the same, confidence is {min(sure)} to {max(sure)}"
    if unsure and sum(unsure) / len(unsure) >= sum(sure) / len(sure):
        yield "confidence is no lower where one says something else"
    print(f"\n{'output manifest':<38} {'records':>8} {'as expected':>12} {'confidence':>14}")
    for title, given in (("all three say the same", sure), ("one says something else", unsure)):
        if given:
            print(f"{title:<38} {len(given):>8} {'':>12} {min(given):>7.2f}-{max(given):.2f}")
    same = sum(printed.get(picture) == classes[0] for picture, classes in work.truth.items())
    print(f"{'class, as expected':<38} {len(records):>8} {same:>12}")
    print(f"{'three stored answers, as they were said':<38} {len(records):>8} {agreed:>12}")


if __name__ == "__main__":
    main()
