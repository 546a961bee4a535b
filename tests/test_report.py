"""The report: one page that shows what is claimed, and can be checked."""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Iterable
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from looking_parts import BINS, Row, make_dataset, photos
from PIL import Image

from gtlabel.datasets.channels import Dataset
from gtlabel.datasets.report import Report, Step, render, write_report
from gtlabel.datasets.statistics import LabelStatistics, PictureStatistics
from gtlabel.datasets.survey import Survey, Surveyed, open_dataset, survey
from gtlabel.datasets.thumbnails import look
from gtlabel.errors import EvaluationError
from gtlabel.networks.evaluation import Evaluation, ScoredImage
from gtlabel.uris import S3Uri

HOSTILE = "<script>alert('class')</script>\"&amp;"
VOID = {"meta", "img", "br", "link", "input", "hr"}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return open_dataset(make_dataset(tmp_path_factory.mktemp("small"), [Row("1.jpg", "Compost")]))


def nine(folder: Path, classes: tuple[str, ...] = BINS) -> Survey:
    """A look at a dataset of nine images, the classes in turn."""
    rows = [
        Row(f"photo {n}.jpg", classes[n % len(classes)], "validation" if n > 6 else "train") for n in range(9)
    ]
    return survey(make_dataset(folder, rows, classes), thumbnails=True)


def scored(classes: tuple[str, ...] = BINS, wrong: int = 2) -> Evaluation:
    """Twelve held-out images, the first `wrong` of them taken for the next class."""
    images = []
    for number, photo in enumerate(photos(12)):
        truth = number % len(classes)
        said = (truth + 1) % len(classes) if number < wrong else truth
        probabilities = [0.2 / (len(classes) - 1)] * len(classes)
        probabilities[said] = 0.8 + number / 1000
        images.append(ScoredImage(f"held-out {number}.jpg", classes[truth], probabilities, photo))
    return Evaluation(classes, images)


class Page(HTMLParser):
    """What a browser would make of the page: its elements, its texts and its data."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.scripts: dict[str, str] = {}
        self.style = ""
        self._script = ""
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "script":
            self._script = dict(attrs).get("id") or ""
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "script" in self._open:
            self.scripts[self._script] = self.scripts.get(self._script, "") + data
        elif "style" in self._open:
            self.style += data
        else:
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def numbers(self) -> dict[str, Any]:
        numbers: dict[str, Any] = json.loads(self.scripts["gtlabel-data"])
        return numbers

    @property
    def images(self) -> dict[str, Any]:
        images: dict[str, Any] = json.loads(self.scripts["gtlabel-images"])
        return images


def digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(sha256(text.encode()).digest()).decode()}'"


def test_the_page_needs_no_network_and_lets_only_its_own_script_run(tmp_path: Path) -> None:
    page = Page(render(Report("Trash", nine(tmp_path), scored())))
    assert {tag for tag, _ in page.elements}.isdisjoint({"link", "iframe"})
    assert [link["href"] for link in page.all("a")] == ["#gallery"]
    kinds = [element.get("type") for element in page.all("script")]
    assert kinds == ["application/json", "application/json", None, "text/plain"]
    assert all((image["src"] or "").startswith("data:image/webp;base64,") for image in page.all("img"))
    (policy,) = [m["content"] or "" for m in page.all("meta") if "http-equiv" in m]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == digest(page.scripts[""])
    assert rules["style-src"] == digest(page.style)
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)


def test_every_picture_is_described_and_every_table_has_headings(tmp_path: Path) -> None:
    found = nine(tmp_path)
    page = Page(render(Report("Trash", found, scored(), [Step("label", 1.5)])))
    assert len(page.all("img")) == 2
    assert all(image["alt"] for image in page.all("img"))
    assert all(heading.get("scope") in ("row", "col") for heading in page.all("th"))
    assert len(page.all("caption")) == len(page.all("table"))
    assert len(page.all("h1")) == 1
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(set(ids)) == len(ids)
    assert {section["aria-labelledby"] for section in page.all("section") if section} <= set(ids)


def test_the_numbers_can_be_computed_again_from_the_page(tmp_path: Path) -> None:
    evaluation = scored(wrong=3)
    page = Page(render(Report("Trash", nine(tmp_path), evaluation, [Step("label", 2.0)])))
    told = page.numbers["evaluation"]
    again = [
        told["classes"][image["probabilities"].index(max(image["probabilities"]))] for image in told["images"]
    ]
    right = [said == image["truth"] for said, image in zip(again, told["images"], strict=True)]
    assert sum(right) == told["correct"] == 9
    assert told["accuracy"] == sum(right) / len(right) == 0.75
    assert told["baseline"] == pytest.approx(1 / 3)
    assert told["confusion"] == [[3, 1, 0], [0, 3, 1], [1, 0, 3]]
    assert "75.0%" in page.text
    assert "33.3%" in page.text
    assert "9 of 12 images right" in page.text
    assert page.numbers["dataset"]["channels"]["train"]["images"] > 0


@pytest.mark.parametrize(("correct", "total"), [(8, 10), (60, 60), (0, 5), (51, 60), (1, 1)])
def test_the_interval_is_wilsons(correct: int, total: int) -> None:
    images = [ScoredImage(f"{n}", "a", (0.9, 0.1) if n < correct else (0.1, 0.9)) for n in range(total)]
    evaluation = Evaluation(("a", "b"), images)
    low, high = evaluation.interval
    assert 0 <= low <= evaluation.accuracy <= high <= 1
    # Its definition: at both ends the accuracy is 1.96 standard errors of that end away.
    for end in (low, high):
        error = math.sqrt(end * (1 - end) / total)
        assert abs(evaluation.accuracy - end) == pytest.approx(1.959964 * error, abs=1e-6)


def test_the_surest_mistake_comes_first(tmp_path: Path) -> None:
    evaluation = scored(wrong=3)
    assert [image.name for image in evaluation.mistakes] == [
        "held-out 2.jpg",
        "held-out 1.jpg",
        "held-out 0.jpg",
    ]
    text = Page(render(Report("Trash", nine(tmp_path), evaluation))).text
    assert text.index("held-out 2.jpg") < text.index("held-out 0.jpg")


def test_a_score_that_does_not_fit_is_refused() -> None:
    with pytest.raises(EvaluationError, match=r"1\.jpg is of the class 'c', which is not among a, b"):
        Evaluation(("a", "b"), [ScoredImage("1.jpg", "c", (0.5, 0.5))])
    with pytest.raises(EvaluationError, match=r"1\.jpg has 1 probabilities for 2 classes"):
        Evaluation(("a", "b"), [ScoredImage("1.jpg", "a", (1.0,))])
    with pytest.raises(EvaluationError, match="no picture to evaluate with"):
        Evaluation(("a", "b"), [])


def test_hostile_names_are_shown_as_text(tmp_path: Path) -> None:
    classes = (HOSTILE, "</style><img src=x onerror=alert(1)>")
    dataset = nine(tmp_path, classes).dataset
    name = "</script><script>alert(2)</script><!--thumbnails-->"
    found = Survey(dataset, counted(dataset, [seen(name, HOSTILE)]), None, (seen(name, HOSTILE),))
    page = Page(render(Report("<h1>Trash</h1><!--thumbnails-->", found, scored(classes))))
    assert len(page.all("script")) == 4
    assert all("onerror" not in image for image in page.all("img"))
    assert HOSTILE in page.text
    assert classes[1] in page.text
    assert "<h1>Trash</h1>" in page.text
    assert page.numbers["evaluation"]["classes"] == list(classes)
    assert page.images["prefix"] + page.images["names"][0] == f"s3://trash-photos/{name}"


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.text(min_size=1, max_size=40))
def test_any_name_survives_the_page(small: Dataset, name: str) -> None:
    evaluation = Evaluation((name, "x" + name), [ScoredImage(name, name, (0.9, 0.1))])
    images = (seen(name, "Compost"), seen(name + "/" + name, "Recycle"), seen("a/" + name, "Compost"))
    page = Page(render(Report("t", Survey(small, counted(small, images), None, images), evaluation)))
    assert page.numbers["evaluation"]["images"][0]["name"] == name
    told = [page.images["prefix"] + rest for rest in page.images["names"]]
    assert told == [str(image.original) for image in images]
    assert len(page.all("script")) == 4


def counted(dataset: Dataset, images: Iterable[Surveyed]) -> LabelStatistics:
    statistics = LabelStatistics(tuple(dataset.names), tuple(dataset.channels))
    for image in images:
        statistics.add(image.class_name, image.channel, confidence=0.5, by_human=True, job="bins")
    return statistics


def seen(name: str, class_name: str, data: bytes | None = None) -> Surveyed:
    uri = S3Uri("s3://trash-photos").at(name)
    return Surveyed(uri, uri, "train", class_name, 0.5, sight=look(data, 192))


@pytest.mark.parametrize("data", [None, b"", b"no picture", b"\xff\xd8\xff\xe0 cut"])
def test_a_picture_that_cannot_be_shown_leaves_its_line_empty(small: Dataset, data: bytes | None) -> None:
    images = (seen("1.jpg", "Compost", data), seen("2.jpg", "Compost", photos(1)[0]))
    found = Survey(small, counted(small, images), PictureStatistics(2), images)
    page = Page(render(Report("t", found)))
    first, second = page.scripts["piece-0"].split("\n")
    assert first == ""
    assert base64.b64decode(second)[8:12] == b"WEBP"
    assert page.images["width"][0] == 0


def test_thumbnails_and_their_sizes_stand_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # Orientation: the camera was turned by a quarter
    body = io.BytesIO()
    Image.new("RGB", (400, 200), "teal").save(body, "JPEG", exif=exif)
    sight = look(body.getvalue(), 192)
    assert (sight.width, sight.height) == (200, 400)
    with Image.open(io.BytesIO(sight.thumbnail or b"")) as image:
        assert image.size == (96, 192)


def test_the_file_is_written_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "report.html"
    write_report(Report("Trash", nine(tmp_path / "dataset")), path)
    assert path.read_text(encoding="utf-8").rstrip().endswith("</html>")
    assert [item.name for item in path.parent.iterdir()] == ["report.html"]
