"""How fast the report of a large dataset opens, and how large it is.

A dataset of real photographs, cropped, turned and recolored at random, is surveyed and written as a page;
then Chromium opens it from a file. What counts is when something is painted and how long anything kept the
page from answering: while it opened, and while somebody scrolled, sorted and searched.

Run: python tests/benchmarks/report_page.py
Example: python tests/benchmarks/report_page.py --images 20000 --shots /tmp/shots
"""

from __future__ import annotations

import argparse
import io
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from browser import DESKTOP, PHONE, chromium, until
from looking_parts import BINS, TRASH, Row, make_dataset
from PIL import Image, ImageEnhance
from playwright.sync_api import Browser, Page

from gtlabel.datasets.report import Report, write_report
from gtlabel.datasets.survey import survey

MOST_PAINT = 2.0
MOST_TASK = 0.2
_WATCH = """
window.tasks = [];
new PerformanceObserver((list) => window.tasks.push(...list.getEntries().map((task) => task.duration)))
  .observe({type: 'longtask', buffered: true});
"""
_OPENED = """() => {
  const [page] = performance.getEntriesByType('navigation');
  const [paint] = performance.getEntriesByName('first-contentful-paint');
  return {paint: paint ? paint.startTime : 0, loaded: page.loadEventEnd, tasks: window.tasks.splice(0)};
}"""
# As somebody who pulls the scroll bar, and then wheels on.
_SCROLLED = """async () => {
  const grid = document.getElementById('gallery-grid');
  const top = grid.getBoundingClientRect().top + scrollY;
  const most = Math.max(1, grid.offsetHeight - innerHeight);
  let blank = 0;
  for (let step = 0; step < 40; step += 1) {
    scrollTo(0, top + (Math.floor(step / 8) * 7919 * 97 + (step % 8) * 120) % most);
    await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
    blank += document.querySelectorAll('.cell').length === 0;
  }
  return {blank, cells: document.querySelectorAll('.cell').length, tasks: window.tasks.splice(0)};
}"""
_ASKED = """async (name) => {
  const took = async (id, value, event) => {
    const control = document.getElementById(id);
    const start = performance.now();
    control.value = value;
    control.dispatchEvent(new Event(event));
    const end = performance.now();
    await new Promise((done) => requestAnimationFrame(done));
    return end - start;
  };
  const sort = await took('gallery-order', 'name', 'change');
  const find = await took('gallery-find', name, 'input');
  return {sort, find, count: document.getElementById('gallery-count').textContent};
}"""


def main() -> int:
    """Make a dataset, write its page, open it; 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--shots", type=Path, help="where pictures of the page go")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        page = _page(Path(folder), given.images, given.seed)
        opened = [_open(browser, page) for _ in range(given.runs)]
        if given.shots:
            _shots(browser, page, given.shots)
        return _table(given.images, page.stat().st_size, opened)


def _page(folder: Path, images: int, seed: int) -> Path:
    """The report of a dataset of so many pictures."""
    chance = random.Random(seed)
    base = [Image.open(path).convert("RGB") for path in sorted(TRASH.glob("*.jpg"))]
    rows: list[Row] = []
    for number in range(images):
        name, class_name = f"photo {number:06d}.jpg", BINS[chance.randrange(3)]
        data = _varied(base[number % len(base)], chance)
        if number % 500 == 499:
            data = data[:800]
        elif number % 300 == 299:
            data = rows[-1].data or data
        dropped = (BINS[(BINS.index(class_name) + 1) % 3],) if number % 150 == 149 else ()
        confidence = 0.95 if chance.random() < 0.9 else round(chance.uniform(0.5, 0.95), 2)
        channel = "validation" if number % 5 == 0 else "train"
        rows.append(Row(name, class_name, channel, confidence, dropped=dropped, data=data))
    place = make_dataset(folder / "dataset", rows)
    rows.clear()
    start = time.process_time()
    found = survey(place, thumbnails=True, limit=images)
    middle = time.process_time()
    page = write_report(Report("Trash sorter", found), folder / "report.html")
    wrote = time.process_time() - middle
    print(f"survey {middle - start:.1f} CPU seconds, {len(found.suspicious)} suspicious; page {wrote:.1f}")
    return page


def _varied(image: Image.Image, chance: random.Random) -> bytes:
    width, height = image.size
    left, top = chance.randrange(width // 3), chance.randrange(height // 3)
    part = image.crop((left, top, left + width * 2 // 3, top + height * 2 // 3))
    part = part.rotate(chance.choice((0, 90, 180, 270)), expand=True)
    part = ImageEnhance.Color(part).enhance(chance.uniform(0.3, 1.7))
    body = io.BytesIO()
    ImageEnhance.Brightness(part).enhance(chance.uniform(0.6, 1.4)).save(body, "JPEG", quality=85)
    return body.getvalue()


def _open(browser: Browser, path: Path) -> dict[str, Any]:
    """Open the page anew and do what people do."""
    context = browser.new_context(viewport=DESKTOP)
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.add_init_script(_WATCH)
    page.goto(path.as_uri())
    until(lambda: page.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd > 0"), "the end")
    opened: dict[str, Any] = page.evaluate(_OPENED)
    scrolled = page.evaluate(_SCROLLED)
    asked = page.evaluate(_ASKED, "photo 00001")
    assert not said, said
    result = {
        "painted": opened["paint"] / 1000,
        "loaded": opened["loaded"] / 1000,
        "longest task, opening": max(opened["tasks"], default=0) / 1000,
        "longest task, scrolling": max(scrolled["tasks"], default=0) / 1000,
        "sorted": asked["sort"] / 1000,
        "searched": asked["find"] / 1000,
        "blank views": scrolled["blank"],
        "cells": scrolled["cells"],
    }
    context.close()
    return result


def _shots(browser: Browser, path: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for size, viewport in (("desktop", DESKTOP), ("phone", PHONE)):
        for scheme in ("light", "dark"):
            context = browser.new_context(viewport=viewport, color_scheme=scheme, has_touch=size == "phone")
            page = context.new_page()
            page.goto(path.as_uri())
            _shot(page, folder / f"report-{size}-{scheme}-top.png")
            page.evaluate("document.getElementById('gallery').scrollIntoView()")
            _shot(page, folder / f"report-{size}-{scheme}-gallery.png")
            page.locator(".cell button").first.click()
            _shot(page, folder / f"report-{size}-{scheme}-one.png")
            context.close()


def _shot(page: Page, path: Path) -> None:
    page.wait_for_timeout(400)
    page.screenshot(path=path)


def _table(images: int, size: int, opened: list[dict[str, Any]]) -> int:
    print(f"{images:,} pictures, {size:,} bytes, {size / images:,.0f} a picture; medians of {len(opened)}")
    bars = {"painted": MOST_PAINT, "longest task, opening": MOST_TASK, "blank views": 0}
    missed = False
    for name in opened[0]:
        value = statistics.median(one[name] for one in opened)
        bar = bars.get(name)
        missed = missed or (bar is not None and value > bar)
        told = f"{value:>8.3f}" if isinstance(value, float) else f"{value:>8}"
        print(f"{name:<24} {told}{'' if bar is None else f'   at most {bar}'}")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
