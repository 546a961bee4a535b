"""The grid in a browser: many pictures at once, by keyboard and by thumb, and none that nobody saw."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

from browser import DESKTOP, PHONE, colors, flaws, until
from engine_parts import CLASSES
from playwright.sync_api import Browser, Page, expect
from portal_parts import join, png
from sqlalchemy import select
from visitor_parts import Premises

from gtlabel.engine.schema import answers, leases

PLAIN = [json.dumps({"source-ref": f"s3://trash/images/{number}.jpg"}) for number in range(6)]


def guessed(number: int) -> str:
    """A line that a model has seen."""
    name = CLASSES[number % 2]
    line = {"source-ref": f"s3://trash/images/{number}.jpg", "model-metadata": {"class-name": name}}
    return json.dumps(line)


@contextmanager
def grid(premises: Premises, browser: Browser, *, phone: bool = False) -> Iterator[Page]:
    """The grid of somebody who came in just now."""
    premises.add("ana")
    context = browser.new_context(
        viewport=PHONE if phone else DESKTOP, has_touch=phone, reduced_motion="reduce"
    )
    page = join(context, premises.url, premises.crew.invite("ana"))
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.get_by_role("link", name="Grid").click()
    until(lambda: page.locator("#count").inner_text() == str(len(premises.answers()) or 6), "all pictures")
    yield page
    context.close()
    assert errors == []
    premises.close()


def given(premises: Premises) -> dict[int, str]:
    return {number: said["crowd-image-classifier"]["label"] for number, said in premises.answers().items()}


def test_the_exceptions_are_marked_by_keyboard_and_all_are_submitted(browser: Browser) -> None:
    premises = Premises(lines=PLAIN, picture=png(90), workers_per_object=1)
    with grid(premises, browser) as page:
        premises.shop.clock.pass_seconds(60)
        page.keyboard.press("ArrowRight")
        page.keyboard.press("3")
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Space")
        page.keyboard.press("z")
        expect(page.locator("#large")).to_be_visible()
        page.keyboard.press("Escape")
        expect(page.locator(".pick").nth(2)).to_be_focused()
        page.keyboard.press("Enter")
        # The third was marked and is of no class yet: it stays.
        until(lambda: len(given(premises)) == 5, "five answers")
        assert sorted(given(premises).values()) == ["Compost"] * 4 + ["Recycle"]
        until(lambda: page.locator(".tile").count() == 1, "the one that stays")
        expect(page.locator("#hint")).to_have_text("1 marked picture without a class stays here.")
        page.wait_for_timeout(450)
        page.keyboard.press("2")
        page.keyboard.press("Enter")
        until(lambda: len(given(premises)) == 6, "the last answer")
        assert sorted(given(premises).values()) == ["Compost"] * 4 + ["Landfill", "Recycle"]
        with premises.shop.store.read() as connection:
            seconds = [row.active_seconds for row in connection.execute(select(answers))]
        # What they took for the first five is shared among these.
        assert len(set(seconds)) == 2
        assert 0 < min(seconds) < 12


def test_what_a_model_said_is_preselected_and_grouped(browser: Browser) -> None:
    lines = [guessed(number) for number in range(6)]
    premises = Premises(lines=lines, picture=png(90), workers_per_object=1)
    with grid(premises, browser) as page:
        heads = page.locator("#groups h2")
        until(lambda: sorted(heads.all_inner_texts()) == ["Compost (3)", "Landfill (3)"], "the groups")
        expect(page.locator("#usual-label")).to_be_hidden()
        page.keyboard.press("Enter")
        until(lambda: len(given(premises)) == 6, "six answers")
        assert given(premises) == {number: CLASSES[number % 2] for number in range(6)}


def test_nothing_is_said_about_a_picture_that_cannot_be_seen(browser: Browser) -> None:
    premises = Premises(lines=PLAIN, picture=png(90), workers_per_object=1)
    premises.add("ana")
    premises.shop.bucket.files["images/4.jpg"] = b"no picture"
    context = browser.new_context(viewport=DESKTOP)
    page = join(context, premises.url, premises.crew.invite("ana"))
    page.goto(f"{premises.url}/work/{premises.number}?view=grid")
    until(lambda: page.locator("#count").inner_text() == "5", "five pictures")
    # The pictures come after their number.
    until(lambda: page.get_by_text("This picture cannot be shown.").count() == 1, "a word about the fourth")
    page.keyboard.press("Enter")
    until(lambda: len(given(premises)) == 5, "five answers")
    assert 4 not in given(premises)
    # Whoever leaves gives it back.
    page.goto(f"{premises.url}/")

    def released() -> bool:
        with premises.shop.store.read() as connection:
            states = [row.state for row in connection.execute(select(leases).where(leases.c.object == 4))]
        return states == ["released"]

    until(released, "the picture given back")
    context.close()
    premises.close()


def test_the_grid_is_for_everybody_and_for_a_thumb(browser: Browser) -> None:
    premises = Premises(lines=PLAIN, picture=png(90), workers_per_object=1)
    with grid(premises, browser, phone=True) as page:
        page.emulate_media(**colors("light"))
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        page.locator(".pick").nth(1).tap()
        page.locator(".tile select").nth(1).select_option("Recycle")
        expect(page.locator(".tile.marked")).to_have_count(1)
        assert flaws(page) == []
        page.emulate_media(**colors("dark"))
        assert flaws(page, "color-contrast") == []
        page.locator("#help").tap()
        assert flaws(page) == []
        page.keyboard.press("Escape")
        page.locator("#usual").select_option("Landfill")
        page.locator("#commit").tap()
        until(lambda: len(given(premises)) == 6, "six answers")
        assert sorted(given(premises).values()) == ["Landfill"] * 5 + ["Recycle"]
