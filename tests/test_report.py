"""The report: one page that shows what is claimed, and can be checked."""

from __future__ import annotations

import base64
import io
import json
import math
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from moto import mock_aws
from PIL import Image

from gtlabel.aws import Aws
from gtlabel.datasets.channels import Dataset
from gtlabel.datasets.consolidate import JobOutput, consolidate
from gtlabel.datasets.report import (
    Picture,
    Report,
    Step,
    doubtful_pictures,
    render,
    write_report,
)
from gtlabel.errors import EvaluationError
from gtlabel.networks.evaluation import Evaluation, ScoredImage
from gtlabel.storage import write, write_lines
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

TRASH = Path(__file__).parent.parent / "samples" / "trash" / "images"
BINS = ("Compost", "Landfill", "Recycle")
HOSTILE = "<script>alert('class')</script>\"&amp;"
VOID = {"meta", "img", "br", "link", "input", "hr"}


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Client]:
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    with mock_aws():
        client = Aws(region="us-east-1").s3
        client.create_bucket(Bucket="trash-photos")
        yield client


def photos(count: int) -> list[bytes]:
    """Real photographs, made small."""
    small = []
    for path in sorted(TRASH.glob("*.jpg"))[:count]:
        body = io.BytesIO()
        with Image.open(path) as image:
            image.thumbnail((64, 64))
            image.save(body, "JPEG")
        small.append(body.getvalue())
    assert len(small) == count
    return small


def labeled(s3: S3Client, confidences: list[float | None], classes: tuple[str, ...] = BINS) -> Dataset:
    """A dataset of as many images as confidences, the classes in turn."""
    lines = []
    for number, (photo, confidence) in enumerate(zip(photos(len(confidences)), confidences, strict=True)):
        index = number % len(classes)
        uri = S3Uri(f"s3://trash-photos/images/photo {number}.jpg")
        write(s3, uri, photo)
        metadata = {"confidence": confidence, "class-name": classes[index], "human-annotated": "yes"}
        lines.append(json.dumps({"source-ref": uri, "bin": index, "bin-metadata": metadata}).encode())
    manifest = S3Uri("s3://trash-photos/jobs/output.manifest")
    write_lines(s3, manifest, lines)
    return consolidate(s3, [JobOutput(manifest, "bin", classes)], S3Uri("s3://trash-photos/dataset/"))


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
        self.data = ""
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "script" in self._open:
            self.data += data
        elif "style" not in self._open:
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def numbers(self) -> dict[str, Any]:
        numbers: dict[str, Any] = json.loads(self.data)
        return numbers


def test_the_page_needs_no_network(s3: S3Client) -> None:
    dataset = labeled(s3, [0.95] * 9)
    page = Page(render(Report("Trash", dataset, doubtful_pictures(s3, dataset), scored())))
    assert {tag for tag, _ in page.elements}.isdisjoint({"link", "iframe", "a"})
    assert [element.get("type") for element in page.all("script")] == ["application/json"]
    sources = [image["src"] or "" for image in page.all("img")]
    assert len(sources) == 9 + 2
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources)
    assert "default-src 'none'" in str(page.all("meta"))


def test_every_picture_is_described_and_every_table_has_headings(s3: S3Client) -> None:
    dataset = labeled(s3, [0.95] * 9)
    pictures = doubtful_pictures(s3, dataset)
    page = Page(render(Report("Trash", dataset, pictures, scored(), [Step("label", 1.5)])))
    assert all(image["alt"] for image in page.all("img"))
    assert all(heading.get("scope") in ("row", "col") for heading in page.all("th"))
    assert len(page.all("caption")) == len(page.all("table"))
    assert len(page.all("h1")) == 1
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(set(ids)) == len(ids)
    assert {section["aria-labelledby"] for section in page.all("section")} <= set(ids)


def test_the_most_doubtful_labels_come_first_and_one_answer_is_no_doubt(s3: S3Client) -> None:
    dataset = labeled(s3, [0.95, 0.9, 0.95, 0.0, 0.95, 0.95, 0.6, 0.5, None, 0.7, 0.4, 0.3])
    pictures = doubtful_pictures(s3, dataset, per_class=3)
    assert [(item.class_name, item.confidence, item.certainty) for item in pictures] == [
        ("Compost", 0.6, "0.60"),
        ("Compost", 0.7, "0.70"),
        ("Compost", 0.95, "0.95"),
        ("Landfill", 0.4, "0.40"),
        ("Landfill", 0.5, "0.50"),
        ("Landfill", 0.9, "0.90"),
        ("Recycle", 0.3, "0.30"),
        ("Recycle", 0.95, "0.95"),
        ("Recycle", 0.95, "0.95"),
    ]
    assert Picture("1.jpg", "a", "train", 0.0, None).certainty == "one answer"


def test_the_numbers_can_be_computed_again_from_the_page(s3: S3Client) -> None:
    evaluation = scored(wrong=3)
    page = Page(render(Report("Trash", labeled(s3, [0.95] * 9), (), evaluation, [Step("label", 2.0)])))
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


def test_the_surest_mistake_comes_first(s3: S3Client) -> None:
    evaluation = scored(wrong=3)
    assert [image.name for image in evaluation.mistakes] == [
        "held-out 2.jpg",
        "held-out 1.jpg",
        "held-out 0.jpg",
    ]
    text = Page(render(Report("Trash", labeled(s3, [0.95] * 9), (), evaluation))).text
    assert text.index("held-out 2.jpg") < text.index("held-out 0.jpg")


def test_a_score_that_does_not_fit_is_refused() -> None:
    with pytest.raises(EvaluationError, match=r"1\.jpg is of the class 'c', which is not among a, b"):
        Evaluation(("a", "b"), [ScoredImage("1.jpg", "c", (0.5, 0.5))])
    with pytest.raises(EvaluationError, match=r"1\.jpg has 1 probabilities for 2 classes"):
        Evaluation(("a", "b"), [ScoredImage("1.jpg", "a", (1.0,))])
    with pytest.raises(EvaluationError, match="no picture to evaluate with"):
        Evaluation(("a", "b"), [])


def test_hostile_names_are_shown_as_text(s3: S3Client) -> None:
    classes = (HOSTILE, "</style><img src=x onerror=alert(1)>")
    dataset = labeled(s3, [0.5] * 6, classes)
    pictures = [Picture("</script><script>alert(2)</script>", HOSTILE, "train", 0.5, photos(1)[0])]
    page = Page(render(Report("<h1>Trash</h1>", dataset, pictures, scored(classes))))
    assert len(page.all("script")) == 1
    assert all("onerror" not in image for image in page.all("img"))
    assert f"Labeled {HOSTILE}" in page.text
    assert classes[1] in page.text
    assert "<h1>Trash</h1>" in page.text
    assert page.numbers["evaluation"]["classes"] == list(classes)


@settings(max_examples=20, deadline=None)
@given(name=st.text(min_size=1, max_size=40))
def test_any_name_survives_the_page(name: str) -> None:
    evaluation = Evaluation((name, "x" + name), [ScoredImage(name, name, (0.9, 0.1))])
    page = Page(render(Report("t", _small_dataset(), (), evaluation)))
    assert page.numbers["evaluation"]["images"][0]["name"] == name
    assert len(page.all("script")) == 1


def _small_dataset() -> Dataset:
    channel = {"manifest": "s3://trash-photos/d/m", "images": 1, "sha256": ""}
    folders = [
        {"name": name, "folder": "s3://trash-photos/d/c/", "train": 1, "validation": 0} for name in BINS
    ]
    return Dataset.model_validate(
        {
            "uri": "s3://trash-photos/d/",
            "attribute": "label",
            "classes": folders,
            "channels": {"train": channel, "validation": channel},
            "sources": [],
            "validation": 0.2,
        }
    )


@pytest.mark.parametrize("data", [None, b"", b"no picture", b"\xff\xd8\xff\xe0 cut"])
def test_a_picture_that_cannot_be_shown_says_so(data: bytes | None) -> None:
    page = Page(render(Report("t", _small_dataset(), [Picture("1.jpg", "Compost", "train", 0.5, data)])))
    assert page.all("img") == []
    assert "cannot be shown" in page.text


def test_thumbnails_stand_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # Orientation: the camera was turned by a quarter
    body = io.BytesIO()
    Image.new("RGB", (400, 200), "teal").save(body, "JPEG", exif=exif)
    thumbnail = Picture("1.jpg", "Compost", "train", 0.5, body.getvalue()).thumbnail or ""
    with Image.open(io.BytesIO(base64.b64decode(thumbnail.partition(",")[2]))) as image:
        assert image.height == 192
        assert image.width == 96


def test_the_file_is_written_whole(s3: S3Client, tmp_path: Path) -> None:
    path = tmp_path / "new" / "report.html"
    write_report(Report("Trash", labeled(s3, [0.95] * 9)), path)
    assert path.read_text(encoding="utf-8").rstrip().endswith("</html>")
    assert [item.name for item in path.parent.iterdir()] == ["report.html"]


def test_a_browser_shows_the_numbers_and_the_pictures(s3: S3Client, tmp_path: Path) -> None:
    dataset = labeled(s3, [0.95] * 9, ("Compost", "Landfill", HOSTILE))
    report = Report(
        "Trash", dataset, doubtful_pictures(s3, dataset), scored(("Compost", "Landfill", HOSTILE))
    )
    dom = _in_a_browser(write_report(report, tmp_path / "report.html"), tmp_path, "--dump-dom")
    accuracy = re.search(r'id="accuracy-value">([^<]*)<', dom)
    baseline = re.search(r'id="baseline-value">([^<]*)<', dom)
    assert accuracy is not None
    assert baseline is not None
    assert (accuracy[1], baseline[1]) == ("83.3%", "33.3%")
    assert dom.count("<img ") == 9 + 2
    assert dom.count("<script") == 1


def test_a_browser_draws_the_pictures(tmp_path: Path) -> None:
    body = io.BytesIO()
    Image.new("RGB", (160, 120), (255, 0, 255)).save(body, "PNG")
    pictures = [Picture(f"{n}.png", "Compost", "train", 0.5, body.getvalue()) for n in range(4)]
    page = write_report(Report("Trash", _small_dataset(), pictures), tmp_path / "report.html")
    drawing = tmp_path / "report.png"
    _in_a_browser(page, tmp_path, f"--screenshot={drawing}", "--window-size=1200,1600")
    with Image.open(drawing) as image:
        colors = image.convert("RGB").getcolors(maxcolors=1 << 24) or []
    magenta = sum(count for count, (r, g, b) in colors if r > 240 and g < 15 and b > 240)  # type: ignore[misc]
    assert magenta > 4 * 100 * 75


def _in_a_browser(page: Path, scratch: Path, *options: str) -> str:
    """What the browser says of the page; the test is skipped where there is no browser."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        sentence = "looks at the report in a browser; get one with: apt-get install chromium"
        if os.environ.get("GTLABEL_REQUIRE_PROGRAMS") == "1":
            pytest.fail(sentence)
        pytest.skip(sentence)
    quiet = (
        "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync "
        "--disable-background-networking --disable-component-update"
    )
    done = subprocess.run(
        [browser, *quiet.split(), f"--user-data-dir={scratch / 'browser'}", *options, page.as_uri()],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout
