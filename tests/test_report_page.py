"""The page of a report in a browser: what is in view is drawn, what is asked for is found."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from browser import DESKTOP, PHONE, flaws, until
from looking_parts import BINS, Row, make_dataset, original, photos
from playwright.sync_api import Browser, Page, ViewportSize, expect

from gtlabel.datasets.report import Report, Step, write_report
from gtlabel.datasets.survey import survey

MANY = 600
EVIL = "<img src=x onerror=\"document.title='owned'\">.jpg"
BENCHMARK = Path(__file__).parent / "benchmarks" / "report_page.py"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a dataset of many images, a few of them suspicious."""
    folder = tmp_path_factory.mktemp("report")
    picture, _, shared = photos(3)
    rows = [
        Row(f"photo {n:03d}.jpg", BINS[n % 3], "validation" if n % 5 == 0 else "train", data=b"")
        for n in range(MANY - 5)
    ]
    rows += [
        Row(EVIL.replace("/", ""), "Compost", dropped=("</script><script>document.title='owned'</script>",)),
        Row("doubtful.jpg", "Landfill", confidence=0.4),
        Row("cut.jpg", "Recycle", data=picture[:300]),
        Row("one.jpg", "Recycle", data=shared),
        Row("other.jpg", "Compost", data=shared),
    ]
    found = survey(make_dataset(folder / "dataset", rows), thumbnails=True)
    # Most have no picture, and that is nothing to look at here.
    return write_report(Report("Trash", found, None, [Step("label", 2.0)]), folder / "report.html")


@pytest.fixture
def page(browser: Browser, path: Path) -> Iterator[Page]:
    """The report in a window that says nothing of errors, nor of broken policies."""
    context = browser.new_context(viewport=DESKTOP)
    opened = context.new_page()
    said: list[str] = []
    opened.on("console", lambda message: said.append(message.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.goto(path.as_uri())
    opened.evaluate("document.getElementById('gallery').scrollIntoView()")
    yield opened
    assert said == []
    assert opened.title() == "Trash"
    context.close()


def names(page: Page) -> list[str]:
    return page.locator(".cell .file").all_inner_texts()


def choose(page: Page, kind: str) -> None:
    page.locator(f"#gallery-kinds button[value={kind}]").click()


def test_only_what_is_in_view_is_drawn(page: Page) -> None:
    until(lambda: page.locator(".cell").count() > 20, "the grid")
    assert page.locator(".cell").count() < 100
    expect(page.locator("#gallery-count")).to_have_text(f"{MANY} pictures")
    expect(page.locator(".cell").first).to_have_attribute("aria-setsize", str(MANY))
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    until(lambda: page.locator(f"[aria-posinset='{MANY}']").count(), "the last picture")
    assert page.locator(".cell").count() < 100


def test_a_name_is_text_wherever_it_stands(page: Page) -> None:
    choose(page, "disputed")
    until(lambda: names(page) == [EVIL], "the disputed picture")
    picture = page.locator(".cell img")
    until(lambda: picture.evaluate("image => image.naturalWidth") > 0, "its thumbnail")
    page.locator(".cell button").click()
    expect(page.locator("#one-title")).to_have_text(EVIL)
    expect(page.locator("#one-reasons")).to_contain_text("owned")
    assert page.locator("#gallery-one img[src='x']").count() == 0


def test_two_pictures_that_are_one_stand_side_by_side(page: Page) -> None:
    choose(page, "twin")
    until(lambda: names(page) == ["other.jpg", "one.jpg"], "both of them")
    page.locator(".cell button").first.click()
    expect(page.locator("#one-reasons")).to_contain_text(f"the same picture as {original('one.jpg')}")
    sources = {
        page.locator(f"{place} img").get_attribute("src") for place in ("#one-picture", "#one-reasons")
    }
    assert len(sources) == 1


def test_pictures_are_found_by_reason_class_channel_name_and_order(page: Page) -> None:
    choose(page, "unsure")
    until(lambda: names(page) == ["doubtful.jpg"], "the least certain")
    choose(page, "all")
    page.locator("#gallery-class").select_option(label="Landfill")
    page.locator("#gallery-channel").select_option(label="validation")
    page.locator("#gallery-order").select_option("name")
    page.locator("#gallery-find").fill("PHOTO 0")
    expected = [f"photo {n:03d}.jpg" for n in range(100) if n % 3 == 1 and n % 5 == 0]
    until(lambda: names(page) == expected, "all of them, in order")


def test_the_chosen_pictures_become_a_manifest(page: Page) -> None:
    page.locator("#gallery-find").fill("photo 00")
    page.locator("#gallery-order").select_option("name")
    with page.expect_download() as download:
        page.locator("#gallery-save").click()
    assert download.value.suggested_filename == "chosen.manifest"
    lines = [json.loads(line) for line in Path(download.value.path()).read_text().splitlines()]
    assert lines == [{"source-ref": original(f"photo {n:03d}.jpg")} for n in range(10)]


def test_arrow_keys_go_through_the_pictures(page: Page) -> None:
    page.locator("#gallery-order").select_option("name")
    page.locator("#gallery-find").fill("photo")
    page.locator(".cell button").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    position = page.evaluate("Number(document.activeElement.dataset.position)")
    assert position > 2
    page.keyboard.press("Enter")
    expect(page.locator("#one-title")).to_have_text(f"photo {position:03d}.jpg")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#one-title")).to_have_text(f"photo {position + 1:03d}.jpg")
    page.keyboard.press("Escape")
    until(
        lambda: page.evaluate("Number(document.activeElement.dataset.position)") == position + 1, "the focus"
    )


@pytest.mark.parametrize(("scheme", "viewport"), [("light", DESKTOP), ("dark", PHONE)])
def test_the_page_has_no_flaws(
    browser: Browser, path: Path, scheme: Literal["light", "dark"], viewport: ViewportSize
) -> None:
    context = browser.new_context(viewport=viewport, color_scheme=scheme)
    page = context.new_page()
    page.goto(path.as_uri())
    page.evaluate("document.getElementById('gallery').scrollIntoView()")
    until(lambda: page.locator(".cell").count() > 4, "the grid")
    assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    assert flaws(page) == []
    page.locator(".cell button").first.click()
    assert flaws(page) == []
    context.close()


def test_the_benchmark_runs() -> None:
    command = [sys.executable, str(BENCHMARK), "--images", "60", "--runs", "1"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert "longest task, opening" in run.stdout, run.stderr
