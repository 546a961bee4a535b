"""People label a job of real pictures in the browser, and the output manifest says what they said."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from people_parts import Person, Phoner, Typist
from playwright.sync_api import Browser
from work_parts import CLASSES, Work, labels_of

# Where a person can look: GTLABEL_SCREENSHOTS=folder python -m pytest tests/test_journeys.py
SCREENSHOTS = Path(os.environ["GTLABEL_SCREENSHOTS"]) if os.environ.get("GTLABEL_SCREENSHOTS") else None


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Work]:
    made = Work(tmp_path_factory.mktemp("state"), pictures=9)
    yield made
    made.close()


def test_three_people_label_by_keyboard_mouse_and_thumb_through_a_kill_of_the_server(
    work: Work, browser: Browser
) -> None:
    truth = {picture: list(classes) for picture, classes in work.truth.items()}
    wrong = sorted(truth)[::3]
    people: list[Person] = [
        Typist(browser, truth, CLASSES),
        Person(browser, truth, CLASSES, scheme="dark"),
        Phoner(browser, truth, CLASSES, mistaken=wrong),
    ]
    with work.customer("bins") as customer:
        for person, name in zip(people, ("ana", "ben", "cleo"), strict=True):
            person.join(work.invite(name))
            person.page.wait_for_selector(".card", timeout=20_000)
            person.screenshot(SCREENSHOTS, f"jobs-{name}")
            person.start()
        at_work = list(people)
        for turn in range(3 * len(truth)):
            for person in list(at_work):
                if not person.step():
                    at_work.remove(person)
            if turn == 3:
                work.restart()
            if not at_work:
                break

        labels = labels_of(customer)

    assert labels == {picture: classes[0] for picture, classes in truth.items()}
    for person in people:
        assert person.errors == []
        # A kill costs nobody more than one picture of rework.
        assert len(truth) <= len(person.answered) <= len(truth) + 1
        assert set(person.answered) == set(truth)
        person.context.close()
