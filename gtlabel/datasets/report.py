"""The report: one HTML page that shows the labels, the pictures, and how well a model does on them.

The page needs no network and no server, and lets nothing run but its own script. It carries its numbers as
JSON in the element `gtlabel-data`, so that everything it claims can be computed again from them.

Twenty thousand pictures open as fast as twenty: their thumbnails stand after everything else, in pieces
that the browser reads as text while the page is already there, and only those in view become images.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gtlabel.datasets.survey import Survey, Surveyed
from gtlabel.datasets.suspicion import WEIGHTS
from gtlabel.pages import charts
from gtlabel.pages.page import embedded, policy, rendered, style, write_whole

if TYPE_CHECKING:
    from gtlabel.networks.evaluation import Evaluation

_MISTAKES_SHOWN = 12
_DISPUTES_SHOWN = 12
# Thumbnails in one element: enough that there are few of them, few enough to be taken apart at once.
_PIECE = 256
_SUSPICIOUS_TOLD = 1_000
_HERE = "<!--thumbnails-->"


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the journey and how long it took."""

    name: str
    seconds: float
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """What the page shows; parts that are not there are left out."""

    title: str
    survey: Survey
    evaluation: Evaluation | None = None
    steps: Sequence[Step] = ()


def render(report: Report) -> str:
    """The page.

    Raises:
        MissingExtraError: if jinja2 or Pillow is not installed.
    """
    return "".join(_parts(report))


def write_report(report: Report, path: Path) -> Path:
    """Write the page to a file, whole or not at all.

    Raises:
        MissingExtraError: if jinja2 or Pillow is not installed.
    """
    return write_whole(path, _parts(report))


def numbers(report: Report) -> dict[str, Any]:
    """The numbers of the page as JSON, with what is needed to compute them again."""
    result: dict[str, Any] = {
        "title": report.title,
        "dataset": report.survey.dataset.model_dump(mode="json"),
        "survey": report.survey.to_json(_SUSPICIOUS_TOLD),
        "steps": [{"name": step.name, "seconds": round(step.seconds, 3)} for step in report.steps],
    }
    if report.evaluation:
        result["evaluation"] = report.evaluation.to_json()
    return result


def _parts(report: Report) -> Iterator[str]:
    """The page from its beginning to its end, in pieces."""
    # Whatever names hold, `<` is escaped in all of them.
    before, _, after = _rendered(report).rpartition(_HERE)
    yield before
    images = report.survey.images
    for first in range(0, len(images), _PIECE):
        piece = "\n".join(_encoded(image) for image in images[first : first + _PIECE])
        yield f'<script type="text/plain" id="piece-{first // _PIECE}">{piece}</script>\n'
    yield after


def _rendered(report: Report) -> str:
    survey, package = report.survey, "gtlabel.datasets"
    sheet = style(package, "report.css")
    script = (files(package) / "pages" / "gallery.js").read_text(encoding="utf-8")
    values = {
        "report": report,
        "dataset": survey.dataset,
        "labels": survey.labels,
        "pictures": survey.pictures,
        "images": survey.images,
        "suspicious": survey.suspicious,
        "evaluation": report.evaluation,
        "charts": charts,
        "described": _described(report.evaluation),
        "largest": max((size for _, _, size in survey.labels.rows), default=0) or 1,
        "longest": max((step.seconds for step in report.steps), default=0.0),
        "left_out": sum(source.failed + source.unlabeled for source in survey.dataset.sources),
        "mistakes_shown": _MISTAKES_SHOWN,
        "disputes_shown": _DISPUTES_SHOWN,
        "numbers": embedded(numbers(report)),
        "columns": embedded(_columns(survey)),
        "style": sheet,
        "script": script,
        "policy": policy(sheet, script),
    }
    return rendered("report.html", values, package=package)


def _described(evaluation: Evaluation | None) -> Callable[..., tuple[str, str, str]] | None:
    if evaluation is None:
        return None
    # It needs numpy, which the labels of a dataset can do without.
    from gtlabel.pages.evaluation import described

    return described(evaluation)


def _columns(survey: Survey) -> dict[str, Any]:
    """What the gallery knows of each image, column by column: a third of what a list of objects takes."""
    images = survey.images
    addresses: list[str] = [image.original for image in images]
    prefix = _shared(addresses)
    classes = list(survey.labels.classes)
    place = {name: position for position, name in enumerate(classes)}
    channels = list(survey.labels.channels)
    positions = {image.image: position for position, image in enumerate(images)}
    return {
        "prefix": prefix,
        "names": [address.removeprefix(prefix) for address in addresses],
        "classes": classes,
        "class": [place.get(image.class_name, -1) for image in images],
        "channels": channels,
        "channel": [channels.index(image.channel) for image in images],
        "confidence": [image.confidence for image in images],
        "width": [image.sight.width if image.sight else 0 for image in images],
        "height": [image.sight.height if image.sight else 0 for image in images],
        "bytes": [image.sight.size if image.sight else 0 for image in images],
        "kinds": list(WEIGHTS),
        "reasons": {
            position: [
                [reason.kind, reason.sentence, -1 if reason.other is None else positions[reason.other]]
                for reason in image.reasons
            ]
            for position, image in enumerate(images)
            if image.reasons
        },
        "piece": _PIECE,
    }


def _shared(addresses: Sequence[str]) -> str:
    """What all addresses begin with, up to a slash."""
    first, last = min(addresses, default=""), max(addresses, default="")
    same = next((n for n, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    return first[: first.rfind("/", 0, same) + 1]


def _encoded(image: Surveyed) -> str:
    data = image.sight and image.sight.thumbnail
    return b64encode(data).decode() if data else ""
