"""The shell around tasks when something is in the way: what was answered waits there until it is stored."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from browser import DESKTOP, until
from playwright.sync_api import Browser, Page, expect
from portal_parts import join, png
from visitor_parts import Premises

from gtlabel.engine.store import Store


@contextmanager
def at_work(browser: Browser, store: Store | None = None) -> Iterator[tuple[Premises, Page]]:
    """Somebody with a task in front of them."""
    premises = Premises(store, picture=png(90), workers_per_object=1)
    premises.add("ana")
    context = browser.new_context(viewport=DESKTOP, reduced_motion="reduce")
    page = join(context, premises.url, premises.crew.invite("ana"))
    page.get_by_role("link", name="Start working").click()
    until(lambda: is_ready(page), "a task")
    yield premises, page
    context.close()
    premises.close()


def is_ready(page: Page) -> bool:
    """Whether the task in front can be answered."""
    front = page.locator("iframe.front")
    return bool(front.count()) and bool(front.content_frame.get_by_text("Landfill").count())


def answer(page: Page, digit: str) -> None:
    """Answer by keyboard, as soon as the picture is there: before that, no digit is heard."""
    frame = page.locator("iframe.front").content_frame

    def chosen() -> bool:
        if page.evaluate("document.activeElement.localName") == "iframe":
            page.keyboard.press(digit)
        return bool(frame.get_by_role("radio", checked=True).count())

    until(chosen, "the task in front")
    page.keyboard.press("Enter")


def test_an_answer_waits_until_its_worker_is_signed_in_again(browser: Browser) -> None:
    with at_work(browser) as (premises, page):
        premises.crew.sign_out("ana")
        # A session is believed for half a second.
        page.wait_for_timeout(600)
        answer(page, "2")
        until(lambda: "You are signed out. 1 answer is not stored yet" in banner(page), "the banner")
        assert page.url == f"{premises.url}/work/{premises.number}"
        assert premises.answers() == {}
        other = join(page.context, premises.url, premises.crew.invite("ana"))
        until(lambda: len(premises.answers()) == 1, "the answer")
        other.close()
        until(lambda: not page.locator("#banner").is_visible(), "no banner")
        until(lambda: is_ready(page), "the next task")
        answer(page, "1")
        until(lambda: len(premises.answers()) == 2, "the next answer")


def banner(page: Page) -> str:
    return page.locator("#banner").inner_text()


def test_an_answer_waits_until_the_database_is_there_again(browser: Browser, tmp_path: Path) -> None:
    with at_work(browser, Store(f"sqlite:///{tmp_path / 'engine.sqlite'}")) as (premises, page):
        moved = [(file, file.with_name(f"moved-{file.name}")) for file in tmp_path.glob("engine.sqlite*")]
        for file, aside in moved:
            file.rename(aside)
        answer(page, "2")
        until(lambda: "The database is away or cannot be written" in banner(page), "the banner")
        for file, aside in moved:
            aside.rename(file)
        until(lambda: len(premises.answers()) == 1, "the answer")
        until(lambda: not page.locator("#banner").is_visible(), "no banner")


def test_a_job_that_is_not_for_somebody_any_more_says_so(browser: Browser) -> None:
    with at_work(browser) as (premises, page):
        premises.crew.change("ana", groups=["others"])
        page.wait_for_timeout(1100)
        page.reload()
        until(lambda: "This is not allowed" in page.locator("h1").inner_text(), "the notice")
        expect(page.locator("main")).to_contain_text("the job is for gtlabel, and ana is not in there")
