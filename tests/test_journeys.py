"""People label jobs of real pictures in the browser, and the output manifest says what they said."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from browser import until
from people_parts import Owner, Person, Phoner, Typist, label_all, option, picture_of
from playwright.sync_api import Browser, Frame, expect
from work_parts import CLASSES, Work, labels_of

Come = Callable[..., Person]

# Whether the clock ever said more than before: a second later it says less again.
_NOTE_CLOCK = """() => {
  const left = document.getElementById('left');
  const seconds = () => left.textContent.split(':').reduce((sum, part) => 60 * sum + Number(part), 0);
  const before = seconds();
  new MutationObserver(() => { window.hasMore ||= seconds() > before; }).observe(left, {childList: true});
}"""


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Work]:
    made = Work(tmp_path_factory.mktemp("state"), pictures=9)
    yield made
    made.close()


@pytest.fixture(scope="module")
def owner(work: Work, browser: Browser) -> Owner:
    olga = Owner(browser, work.truth, CLASSES)
    olga.join(work.owner_link())
    return olga


@pytest.fixture
def come(work: Work, owner: Owner, browser: Browser) -> Iterator[Come]:
    """Lets people in, and out again."""
    came: list[Person] = []

    def let_in(name: str, kind: type[Person] = Person, **more: Any) -> Person:
        person = kind(browser, work.truth, CLASSES, **more)
        came.append(person)
        person.join(owner.invite(name))
        return person

    yield let_in
    for person in came:
        person.context.close()
        assert person.errors == []


def test_three_people_label_by_keyboard_mouse_and_thumb_through_a_kill_of_the_server(
    work: Work, come: Come
) -> None:
    people = [
        come("ana", Typist),
        come("ben", scheme="dark"),
        come("cleo", Phoner, mistaken=sorted(work.truth)[::3]),
    ]
    with work.customer("bins") as customer:
        for person in people:
            person.start("Which bin does this belong in?")
        label_all(people, lambda turn: work.restart() if turn == 4 else None)
        labels = labels_of(customer)

    assert labels == {picture: classes[0] for picture, classes in work.truth.items()}
    for person in people:
        # A kill costs nobody more than one picture of rework.
        assert len(work.truth) <= len(person.answered) <= len(work.truth) + 1
        assert set(person.answered) == set(work.truth)


def test_a_picture_is_of_several_classes_or_of_none(work: Work, come: Come) -> None:
    first, second, third = list(work.truth)[:3]
    work.create("things", [first, second, third], several=True)
    truth = {first: ["Compost", "Recycle"], second: [], third: ["Landfill"]}
    dora = come("dora", Typist)
    dora.truth = truth
    dora.start("things")
    dora.step_until(len(truth))

    for record in work.ended("things"):
        names = record["things-metadata"]["class-map"].values()
        assert sorted(names) == truth[record["source-ref"]]
    assert work.answers("things")[second][0]["answerContent"] == {
        "crowd-image-classifier-multi-select": {"labels": []}
    }


def test_an_answer_of_fast_mode_can_be_taken_back(work: Work, come: Come) -> None:
    work.create("fast")
    eva = come("eva", Typist)
    eva.start("fast")
    with settings_of(eva):
        eva.page.get_by_label("Fast mode").check()
    frame, first = eva.on_show()
    press_digit(eva, frame, "1")
    frame, second = eva.on_show()
    eva.ready(frame)
    eva.page.keyboard.press("u")
    frame, again = eva.on_show()
    assert again == first
    expect(option(frame, "Compost").locator("input")).to_be_checked()
    press_digit(eva, frame, "3")
    _, same = eva.on_show()
    assert same == second
    # Nobody has to wait half a minute: a job that is stopped takes what was said last.
    work.sagemaker().stop_labeling_job(LabelingJobName="fast")
    records = {record["source-ref"]: record for record in work.ended("fast", "Stopped")}
    assert records[first]["fast-metadata"]["class-name"] == "Recycle"
    assert "fast" not in records[second]


def test_a_task_is_declined_released_or_kept_for_later(work: Work, come: Come) -> None:
    pictures = list(work.truth)[:4]
    work.create("later", pictures, several=True)
    finn = come("finn")
    finn.start("later")
    _, declined = finn.on_show()
    give_back(finn, "Decline")
    _, released = finn.on_show()
    assert released != declined
    # What is released goes back to everybody, and to somebody with nothing else at hand it may come at once.
    until(lambda: finn.behind() not in (None, declined, released), "a task behind the one on show")
    give_back(finn, "Release")
    _, stopped = finn.on_show()
    give_back(finn, "Stop and resume later", "Stop")
    finn.page.wait_for_url("**/")
    finn.last = ""
    finn.start("later", "Resume (1 stopped)")
    finn.truth = {picture: ["Landfill"] for picture in pictures}
    finn.step()
    assert finn.answered == [stopped]
    finn.step_until(3)
    # What was released came back, and what was declined did not.
    assert set(finn.answered) == set(pictures) - {declined}
    # The one person who was asked would not say, so there is nobody left to ask.
    failed = [record for record in work.ended("later") if "later" not in record]
    assert [record["source-ref"] for record in failed] == [declined]


def test_time_that_runs_out_can_be_prolonged(work: Work, come: Come) -> None:
    work.create("short", list(work.truth)[:1], TaskTimeLimitInSeconds=30)
    hal = come("hal")
    hal.start("short")
    frame, _ = hal.on_show()
    # Whoever has half a minute is asked at once, and what gives more time has the focus, also where the page
    # of the task comes later than the question.
    hal.page.wait_for_selector("#warning[open]")
    frame.evaluate("() => document.querySelector('crowd-image-classifier').focusFirst()")
    expect(hal.page.locator("#extend")).to_be_focused()
    until(lambda: seconds_left(hal) < 29, "some time")
    hal.page.evaluate(_NOTE_CLOCK)
    with hal.page.expect_response("**/api/heartbeat"):
        hal.page.keyboard.press("Enter")
    expect(hal.page.locator("#warning")).to_be_hidden()
    until(lambda: hal.page.evaluate("() => window.hasMore"), "more time")


def test_the_owner_sees_how_work_goes_on_and_stops_it(work: Work, owner: Owner, come: Come) -> None:
    work.create("watched")
    iris = come("iris")
    iris.start("watched")
    owner.page.bring_to_front()
    owner.page.goto(f"{owner.home}/owner")
    card = owner.page.locator(".card").filter(has_text="watched")
    expect(card).to_contain_text("0 of 9 labeled")
    # This page is not loaded again; the server tells it.
    iris.step()
    expect(card).to_contain_text("1 of 9 labeled")
    card.get_by_role("link").click()
    owner.page.get_by_role("button", name="Stop the job").click()
    owner.page.locator("#confirm").get_by_role("button", name="Stop the job").click()
    records = work.ended("watched", "Stopped")
    assert [record["source-ref"] for record in records if "watched" in record] == iris.answered
    expect(owner.page.locator("#status")).to_have_text("Stopped")
    # Whoever is at a task of it is told so with the next answer.
    iris.step()
    expect(iris.page.locator("#notice-title")).to_have_text("This job is done")


def test_whoever_is_ahead_of_the_others_is_told_to_wait(work: Work, come: Come) -> None:
    work.create("ahead", list(work.truth)[:3], NumberOfHumanWorkersPerDataObject=2)
    lou, mia = come("lou"), come("mia")
    lou.start("ahead")
    lou.step_until(3)
    notice = lou.page.locator("#notice-title")
    expect(notice).to_have_text("Nothing to do now")
    # The page looks again by itself, and says the same.
    with lou.page.expect_response("**/api/lease", timeout=60_000):
        pass
    expect(notice).to_have_text("Nothing to do now")
    mia.start("ahead")
    mia.step_until(3)
    work.ended("ahead")
    expect(notice).to_have_text("This job is done")


def test_single_keys_do_nothing_where_somebody_turned_them_off(work: Work, come: Come) -> None:
    work.create("quiet")
    jo = come("jo")
    jo.start("quiet")
    frame, _ = jo.on_show()
    with settings_of(jo):
        jo.page.get_by_label("Single keys work").uncheck()
    jo.ready(frame)
    for key in "12u?":
        jo.page.keyboard.press(key)
    expect(frame.locator(".option input:checked")).to_have_count(0)
    expect(jo.page.locator("dialog[open]")).to_have_count(0)
    # Whoever uses no single keys still needs no mouse: the arrows choose, and Enter submits.
    jo.page.keyboard.press("ArrowDown")
    expect(frame.locator(".option input:checked")).to_have_count(1)


def test_a_grid_submits_all_that_it_shows_at_once(work: Work, come: Come) -> None:
    work.create("grid")
    kim = come("kim")
    kim.start("grid", "Grid")
    tiles = kim.page.locator(".tile")
    expect(tiles).to_have_count(len(work.truth))
    expect(kim.page.locator("#count")).to_have_text(str(len(work.truth)))
    pictures = [
        picture_of(src) for src in tiles.locator("img").evaluate_all("(all) => all.map((one) => one.src)")
    ]
    for place, picture in enumerate(pictures):
        kim.page.keyboard.press(str(CLASSES.index(work.truth[picture][0]) + 1))
        if place < len(pictures) - 1:
            kim.page.keyboard.press("ArrowRight")
    kim.page.keyboard.press("Enter")
    records = work.ended("grid")
    assert {each["source-ref"]: [each["grid-metadata"]["class-name"]] for each in records} == work.truth
    assert kim.notice() in ("Nothing to do now", "This job is done")


def test_somebody_who_was_shut_out_is_told_so(work: Work, owner: Owner, come: Come) -> None:
    work.create("shut")
    lee = come("lee")
    lee.start("shut")
    lee.step()
    lee.on_show()
    owner.desk().get_by_role("button", name="Deactivate lee").click()
    expect(owner.desk().get_by_role("button", name="Activate lee")).to_be_visible()
    until(lambda: lee.context.request.get(f"{lee.home}/api/me").status == 401, "word that lee is out")
    lee.last = ""
    lee.step()
    banner = lee.page.locator("#banner")
    expect(banner).to_contain_text("You are signed out. 1 answer is not stored yet")
    expect(banner).to_contain_text("Ask the owner for an invite")
    lee.page.goto(lee.home)
    expect(lee.page.get_by_role("heading")).to_have_text("You are not signed in")


@contextmanager
def settings_of(person: Person) -> Iterator[None]:
    """Open somebody's settings, and close them again."""
    person.page.get_by_role("button", name="Settings").click()
    yield
    person.page.locator("#options").get_by_role("button", name="Close").click()


def give_back(person: Person, action: str, word: str = "") -> None:
    """Give the task on show back, by the dialog that asks whether that is meant."""
    person.page.get_by_role("button", name=action, exact=True).click()
    person.page.locator("#confirm").get_by_role("button", name=word or action, exact=True).click()


def press_digit(person: Person, frame: Frame, digit: str) -> None:
    """Answer in fast mode, once the page believes that a key is meant."""
    person.ready(frame)
    person.page.keyboard.press(digit)


def seconds_left(person: Person) -> int:
    """What somebody's clock says."""
    minutes, seconds = person.page.locator("#left").inner_text().split(":")
    return 60 * int(minutes) + int(seconds)
