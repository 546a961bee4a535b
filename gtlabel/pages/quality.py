"""The page of a crowd's answers: how far people agree, who they are, and how sure the labels are."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from gtlabel.crowd.calibration import Reliability
from gtlabel.crowd.intervals import Estimate
from gtlabel.crowd.report import AS_WRITTEN, ClassRow, CrowdReport
from gtlabel.errors import StorageError
from gtlabel.networks.measures import Bin
from gtlabel.pages import charts
from gtlabel.pages.page import embedded, policy, rendered, style, write_whole

PICTURES_SHOWN = 24
_DIFFERENCES_SHOWN = 200
_WORKERS_SHOWN = 20
_WORKERS_UNFOLDED = 500
# The last bin holds what is as good as certain, which most labels are.
_ENDS = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)


@dataclass(frozen=True, slots=True)
class AnsweredPicture:
    """One picture.

    Attributes:
        source: its address.
        label: what it is now.
        sure: how sure that is.
        before: what the job wrote; empty for nothing.
        said: how many workers named each class.
        why: why it is another than before; empty where it is not.
        sure_before: how sure the job said it is; nan or None where it did not.
        data: the picture's file; None where it is not at hand.
    """

    source: str
    label: str
    sure: float | None
    before: str
    said: Sequence[tuple[str, int]]
    why: str = ""
    sure_before: float | None = None
    data: bytes | None = None

    @property
    def name(self) -> str:
        """The last part of its address."""
        return self.source.rpartition("/")[2] or self.source


@dataclass(frozen=True, slots=True)
class QualityPage:
    """What the page shows.

    Attributes:
        title: what the jobs are called.
        places: where they lie.
        notes: what a reader should know.
        pictures: how many there are.
        answers: how many answers.
        several: whether a picture may have several classes; the report is about yes and no then.
        report: what there is to say.
        names: what the classes of the report are called.
        classes: the classes of the job.
        workers: what the workers are called, by their numbers.
        differences: the pictures whose label is another than before.
        doubtful: pictures, the least sure first.
        numbers: the figures as plain JSON values.
    """

    title: str
    places: Sequence[str]
    notes: Sequence[str]
    pictures: int
    answers: int
    several: bool
    report: CrowdReport
    names: Sequence[str]
    classes: Sequence[ClassRow]
    workers: Sequence[str]
    differences: Sequence[AnsweredPicture]
    doubtful: Sequence[AnsweredPicture]
    numbers: Mapping[str, Any]


def render_quality(page: QualityPage, picture: Callable[[str], bytes] | None = None) -> str:
    """The page.

    Args:
        page: what it shows.
        picture: fetches the file of a picture by its address, for those in doubt; what it cannot fetch is
            said to be missing.

    Raises:
        MissingExtraError: if jinja2 or Pillow is not installed.
    """
    report = page.report
    sheet = style()
    ranked = sorted(report.workers, key=lambda each: (not each.flags, -each.answers, each.worker))
    values = {
        "page": page,
        "report": report,
        "agreed": report.agreement,
        "ranked": ranked,
        "shown_first": _WORKERS_SHOWN,
        "shown_last": _WORKERS_UNFOLDED,
        "flagged": sum(bool(each.flags) for each in ranked),
        "histogram": _histogram(report),
        "as_written": AS_WRITTEN,
        "reliability": _chart(report.reliability),
        "written": _chart(report.written),
        "confusion": report.confusion.tolist(),
        "differences": page.differences[:_DIFFERENCES_SHOWN],
        "doubtful": [_with_picture(each, picture) for each in page.doubtful[:PICTURES_SHOWN]],
        "numbers": embedded(page.numbers),
        "style": sheet,
        "policy": policy(sheet),
        "known": lambda value: value is not None and not math.isnan(value.value),
        "ends": lambda value: (max(value.low, 0.0), min(value.high, 1.0)),
        "short": short_worker,
    }
    return rendered("quality.html", values)


def write_quality(page: QualityPage, path: Path, picture: Callable[[str], bytes] | None = None) -> Path:
    """Write the page to a file, whole or not at all.

    Raises:
        MissingExtraError: if jinja2 or Pillow is not installed.
    """
    return write_whole(path, [render_quality(page, picture)])


def short_worker(name: str) -> str:
    """The end of a worker's id, such as `ef7294f850a3d9d1` of `private.us-west-2.ef7294f850a3d9d1`.

    Names that are no ids of AWS's stay as they are.
    """
    kind, _, rest = name.partition(".")
    return rest.rpartition(".")[2] if kind in ("private", "public", "vendor") and "." in rest else name


def _histogram(report: CrowdReport) -> list[tuple[str, int, float]]:
    """How many labels are how sure: a range, their number, and its share of the largest."""
    sure = report.consensus.confidence[report.answers > 0]
    counts, _ = np.histogram(sure, bins=np.array(_ENDS))
    most = max(int(counts.max()), 1)
    named = zip(_ENDS, _ENDS[1:], counts.tolist(), strict=False)
    return [
        (f"{low:.0%} \u2013 {high:.0%}" if low else f"below {high:.0%}", count, count / most)
        for low, high, count in named
    ]


def _chart(found: Reliability | None) -> str:
    if found is None:
        return ""
    return charts.calibration(
        [
            Bin(each.low, each.high, each.count, each.confidence, each.accuracy.value, _pair(each.accuracy))
            for each in found.bins
        ]
    )


def _pair(value: Estimate) -> tuple[float, float]:
    return value.low, value.high


def _with_picture(image: AnsweredPicture, picture: Callable[[str], bytes] | None) -> AnsweredPicture:
    if picture is None or image.data is not None:
        return image
    try:
        return replace(image, data=picture(image.source))
    except (OSError, StorageError):
        return image
