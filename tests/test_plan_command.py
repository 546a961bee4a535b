"""`gtlabel plan`: what to buy, before anybody is paid."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from html import unescape
from pathlib import Path
from xml.etree import ElementTree

import pytest
from answers_parts import BIRDS, job
from browser import PHONE, colors, flaws
from emulator_parts import gtlabel
from playwright.sync_api import Browser
from programs import ending

from gtlabel.cli.plan import plan
from gtlabel.errors import SettingsError

FEW = ("--images", "200", "--seeds", "2")
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def stated(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, object], Path]:
    """A plan of stated assumptions as JSON, and its page."""
    page = tmp_path_factory.mktemp("plan") / "plots" / "plan.html"
    run = gtlabel(
        *("plan", *FEW, "--classes", "2", "--accuracy", "0.9", "--hard", "0", "--price-per-answer", "0.05"),
        *("--target", "0.9", "--output", "json", "--plot", str(page)),
    )
    assert run.returncode == 0, run.stderr
    assert run.stderr == f"plot: {page}\n"
    return json.loads(run.stdout), page


def test_the_cheapest_way_that_is_good_enough_is_named(stated: tuple[dict[str, object], Path]) -> None:
    found, page = stated
    offers = found["offers"]
    assert isinstance(offers, list)
    assert {(each["votes"], each["adaptive"], each["automated"]) for each in offers} == {
        *((votes, False, automated) for votes in (1, 3, 5) for automated in (False, True)),
        *((votes, True, False) for votes in (3, 5)),
    }
    good = [each for each in offers if each["accuracy"]["low"] >= 0.9]
    best = min(good, key=lambda each: each["answers_per_image"]["mean"])
    assert found["best"] == best["way"]
    for each in offers:
        assert each["dollars"]["mean"] == pytest.approx(
            0.05 * 200 * each["answers_per_image"]["mean"], abs=0.02
        )
        assert each["accuracy"]["low"] <= each["accuracy"]["mean"] <= each["accuracy"]["high"]
    fixed = next(each for each in offers if each["way"] == "5 people, majority")
    assert fixed["dollars_by_aws"]["mean"] == pytest.approx(50 + 16)
    # Ten people, three to ten seconds for each of 200 answers.
    assert '<td class="number">1.0 to 3.3 minutes</td>' in page.read_text()


def test_the_page_holds_the_same_figures_and_suits_a_phone(
    stated: tuple[dict[str, object], Path], browser: Browser
) -> None:
    found, path = stated
    page = browser.new_context(viewport=PHONE).new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    for scheme in ("light", "dark"):
        page.emulate_media(**colors(scheme))
        page.goto(path.as_uri())
        page.set_viewport_size({"width": PHONE["width"], "height": 6000})
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        assert flaws(page) == []
    assert said == []
    assert json.loads(page.locator("#gtlabel-data").inner_text()) == found
    offers = found["offers"]
    assert isinstance(offers, list)
    assert page.locator("svg.chart g").count() == len(offers)
    assert page.locator("tbody th").count() == len(offers)
    assert page.locator("tr.plan-best th").inner_text().startswith(str(found["best"]))
    page.context.close()


def test_people_are_taken_from_an_old_job_and_the_chart_stands_alone(tmp_path: Path) -> None:
    chart = tmp_path / "plan.svg"
    run = gtlabel(
        *("plan", *FEW, "--from", str(BIRDS), "--no-automated", "--votes", "1,2,3", "--target", "0.999"),
        *("--plot", str(chart)),
    )
    assert run.returncode == 0, run.stderr
    rows = run.stdout.splitlines()
    assert sum("people" in row for row in rows) == 7
    assert "like the 40 of ground-truth-job, who gave 60 answers about 12 pictures" in run.stderr
    assert "3 to 10 seconds each" in run.stderr
    assert "no way has 99.9% right labels in 19 of 20 draws" in run.stderr
    drawn = ElementTree.parse(chart).getroot()
    assert drawn.tag == f"{SVG}svg"
    names = [unescape(each.text or "") for each in drawn.iter(f"{SVG}title")]
    assert len(names) == len(rows) - 1
    assert all(re.search(r"\d+\.\d% right .*answers a picture", name) for name in names)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ((), "nothing says how many classes there are; give --classes, or --from a job"),
        (("--classes", "2", "--from", "x"), "--from and --classes both tell what people are asked"),
        (("--classes", "2", "--accuracy", "0.4"), "an accuracy lies between 0.50 and 1"),
        (("--classes", "2", "--answers-per-hour", "inf"), "inf to inf answers an hour is no pace"),
    ],
)
def test_what_cannot_be_planned_gets_one_sentence(options: tuple[str, ...], sentence: str) -> None:
    run = gtlabel("plan", *FEW, *options)
    assert run.returncode == 1
    assert sentence in run.stderr
    assert run.stderr.count("\n") == 1


def test_people_who_chose_several_classes_tell_nothing_of_those_who_choose_one(tmp_path: Path) -> None:
    folder = job(tmp_path / "bins", {0: [("ann", ["Compost", "Recycle"]), ("bob", ["Compost"])]})
    with pytest.raises(SettingsError, match="plans are of pictures that have one; say with --classes"):
        plan(100, places=[str(folder)])


def test_ctrl_c_leaves_nothing_behind(tmp_path: Path) -> None:
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "gtlabel", "plan", "--images", "200", "--classes", "2"),
            *("--seeds", "100000", "--plot", str(tmp_path / "plan.html")),
        ],
        stdout=subprocess.PIPE,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    with ending(process), os.fdopen(ours, "rb", 0) as terminal:
        said = b""
        # The bar appears when the first draw is under way.
        while b"trying ways out" not in said and (piece := _read(terminal.fileno())):
            said += piece
        process.send_signal(signal.SIGINT)
        while piece := _read(terminal.fileno()):
            said += piece
        assert process.wait(60) == 130
        assert process.stdout is not None
        assert process.stdout.read() == b""
    assert b"interrupted" in said
    assert b"Traceback" not in said
    assert list(tmp_path.iterdir()) == []


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:
        # A terminal whose program has ended.
        return b""
