"""The preview of a worker page: against lines and pictures on disk, without a server and without AWS."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from browser import DESKTOP, flaws, until
from emulator_parts import run
from playwright.sync_api import Browser, expect
from portal_parts import png
from visitor_parts import TEMPLATE, Visitor, address_in

PREVIEW = [sys.executable, "-m", "gtlabel", "jobs", "preview"]
RECORDS = [
    {"source-ref": "pictures/0.png"},
    {"source-ref": "s3://bucket/of/somebody/1.png"},
    {"source-ref": "s3://bucket/gone.png"},
    {"source-ref": "../outside.png"},
]


@dataclass
class Shown:
    """A preview that runs."""

    url: str
    path: str
    folder: Path

    @property
    def visitor(self) -> Visitor:
        return Visitor(self.url)

    def line(self, number: int) -> dict[str, Any]:
        return self.visitor.get(f"{self.path}line/{number}").json

    def frame(self, number: int) -> str:
        return self.visitor.get(str(self.line(number)["frame"])).text


@contextmanager
def previewing(folder: Path, *options: str) -> Iterator[Shown]:
    command = [*PREVIEW, "page.liquid", "in.manifest", "--no-browser", *options]
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "GTLABEL_"))}
    process = subprocess.Popen(
        command,
        cwd=folder,
        env={**clean, "AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": os.devnull},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        address = process.stdout.readline().strip()
        assert address, process.communicate(timeout=120)
        origin, _, token = address.rstrip("/").rpartition("/")
        yield Shown(origin, f"/{token}/", folder)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.communicate(timeout=120)


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    folder = tmp_path_factory.mktemp("preview")
    for place in ("pictures", "others"):
        (folder / place).mkdir()
    (folder / "pictures/0.png").write_bytes(png(10))
    (folder / "others/1.png").write_bytes(png(90))
    (folder / "page.liquid").write_text(TEMPLATE)
    (folder / "in.manifest").write_text("".join(json.dumps(record) + "\n" for record in RECORDS))
    (folder / "classes.json").write_text('{"labels": [{"label": "Compost"}, {"label": "Landfill"}]}')
    with previewing(folder, "--class-list", "classes.json", "--images", "others") as preview:
        yield preview


def test_only_whoever_has_the_address_may_look(shown: Shown) -> None:
    assert shown.visitor.get(shown.path).status == 200
    assert len(shown.path) > 24
    for path in ("/", "/line/1", "/guessed/", "/guessed/line/1", "/frame/guessed/1"):
        assert shown.visitor.get(path).status == 404, path
    assert shown.visitor.get(shown.path, Host="evil.example").status == 421
    # The page of the task, which anybody may have written, does not learn it.
    assert shown.path.strip("/") not in shown.frame(1)


def test_pictures_on_disk_are_shown_and_nothing_else_of_it(shown: Shown) -> None:
    assert shown.visitor.get(address_in(shown.frame(1))).body == png(10)
    assert shown.visitor.get(address_in(shown.frame(2))).body == png(90)
    # There is nobody to ask for what is neither here nor in a folder that was given.
    assert shown.visitor.get(address_in(shown.frame(3))).status in (404, 502)
    assert "is neither an S3 address nor a URL" in shown.frame(4)
    address = address_in(shown.frame(1))
    assert shown.visitor.get(address.replace("0.png", "../page.liquid")).status == 403


def test_a_line_that_is_not_there_or_no_record_is_one_sentence(shown: Shown) -> None:
    assert shown.line(1)["record"] == RECORDS[0]
    assert shown.line(5)["error"] == "in.manifest, line 5: there are 4 lines"


def test_the_template_is_linted_and_read_anew(shown: Shown) -> None:
    assert shown.line(1)["problems"] == []
    page = shown.folder / "page.liquid"
    try:
        page.write_text(TEMPLATE + "{{ task.input.nothing }}<crowd-magic></crowd-magic>")
        first, second = shown.line(1)["problems"]
        assert (first["severity"], first["code"]) == ("error", "element")
        assert (second["severity"], second["code"]) == ("warning", "variable")
        page.write_text(TEMPLATE + "{% nonsense %}")
        assert "This task cannot be shown" in shown.frame(1)
    finally:
        page.write_text(TEMPLATE)


def test_the_answer_that_would_be_stored_is_shown_and_sent_nowhere(shown: Shown, browser: Browser) -> None:
    page = browser.new_page(viewport=DESKTOP)
    page.goto(f"{shown.url}{shown.path}")
    frame = page.frames[1]
    until(lambda: frame.get_by_text("Landfill").count(), "the options")
    until(lambda: page.locator("#line").input_value() == "1", "the first line")
    assert flaws(page) == []
    until(lambda: page.evaluate("document.activeElement.id") == "page", "the page in front")
    page.keyboard.press("2")
    page.keyboard.press("Enter")
    until(lambda: page.locator("#answer").is_visible(), "the answer")
    expect(page.locator("#answer")).to_contain_text('"label": "Landfill"')
    until(lambda: page.locator("#verdict").inner_text() == "This would be stored:", "the verdict")
    page.get_by_role("button", name="Next").click()
    until(lambda: "somebody/1.png" in page.locator("#record").inner_text(), "the second line")
    expect(page.locator("#answer")).to_be_hidden()
    page.get_by_role("button", name="Phone").click()
    until(lambda: page.evaluate("document.getElementById('page').clientWidth") == 390, "a phone's width")
    page.close()


def test_an_answer_that_a_job_would_refuse_is_told(shown: Shown) -> None:
    check = f"{shown.path}check"
    assert shown.visitor.post(check, {"crowd-image-classifier": {"label": "Compost"}}).json == {
        "refused": None
    }
    refused = shown.visitor.post(check, {"crowd-image-classifier": {"label": "Glass"}}).json["refused"]
    assert refused == "'Glass' is no class of this job; its classes are Compost, Landfill"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nothing.liquid", "in.manifest"], "there is no file nothing.liquid"),
        (["in.manifest", "in.manifest", "--classes", "a", "--class-list", "b"], "and not both"),
    ],
)
def test_what_cannot_be_opened_is_one_sentence(tmp_path: Path, arguments: list[str], said: str) -> None:
    (tmp_path / "in.manifest").write_text('{"source-ref": "s3://b/k"}\n')
    done = run([sys.executable, "-c", f"import os; os.chdir({str(tmp_path)!r})\n{START}", *arguments])
    assert done.returncode == 2
    assert said in " ".join(done.stderr.replace("│", " ").split())


START = """import sys
from gtlabel.__main__ import main
sys.argv[1:1] = ["jobs", "preview"]
main()"""
