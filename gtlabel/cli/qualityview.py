"""How the quality of labels is told in a terminal, and what its page is made of."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

from gtlabel.cli.output import put, put_fields, put_table, say

if TYPE_CHECKING:
    from gtlabel.aws import Aws
    from gtlabel.crowd.intervals import Estimate
    from gtlabel.crowd.workers import Profile
    from gtlabel.labeling.quality import Quality
    from gtlabel.labeling.reconsolidation import Difference, Reconsolidation
    from gtlabel.pages.quality import AnsweredPicture, QualityPage

_DIFFERENCES = 40
_WORKERS = 20
_DOUBTFUL = 5
_NARROW = 0.02


def put_quality(quality: Quality, names: Sequence[str]) -> None:
    """Print all figures, those to look at first."""
    from gtlabel.crowd.report import AS_WRITTEN

    answered, report = quality.answered, quality.report
    agreed = report.agreement
    fields: dict[str, Any] = _about(quality.made)
    fields["agreement"] = (
        f"Krippendorff's alpha {_degree(agreed.alpha)}, Fleiss' kappa {_degree(agreed.kappa)}; "
        f"two answers say the same {_rate(agreed.observed)}"
        if not math.isnan(agreed.observed.value)
        else "unknown: no two people answered about the same picture"
    )
    fields["expected right"] = f"{1 - report.expected_wrong:.1%} of the labels, as {report.method} sees it"
    if report.accuracy is not None:
        fields["right by gold"] = f"{_rate(report.accuracy)} of {report.gold:,}"
    if report.reliability is not None:
        found = report.reliability
        fields["calibration"] = f"error {_rate(found.error)}; by chance alone {found.noise:.1%}"
    if report.methods[0].tied:
        fields["tied"] = f"{report.methods[0].tied:,}; the first class in the list won"
    if agreed.single:
        fields["single answers"] = f"{agreed.single:,}; their confidence is what is thought of the worker"
    compared = any(row.name == AS_WRITTEN for row in report.methods)
    if compared:
        fields["other labels"] = f"{len(quality.made.differences):,} of {len(answered.sources):,}"
    put_fields(fields)
    put("")
    put_table(
        ("class", "answers", *(("was",) if compared else ()), "is now", "alpha", "95% interval"),
        [
            (
                row.name,
                f"{row.answers:,}",
                *((f"{row.before:,}",) if compared else ()),
                f"{row.now:,}",
                "-" if math.isnan(row.alpha.value) else f"{row.alpha.value:.2f}",
                "" if math.isnan(row.alpha.value) else f"{row.alpha.low:.2f} to {row.alpha.high:.2f}",
            )
            for row in quality.classes
        ],
        right=("answers", "was", "is now", "alpha"),
    )
    put("")
    gold = bool(report.gold)
    put_table(
        (
            "method",
            *(("other than the job",) if compared else ()),
            f"other than {report.method}",
            "wrong, as it says",
            *(("right by gold", "calibration error") if gold else ()),
        ),
        [
            (
                "(the job itself)" if row.name == AS_WRITTEN else row.name,
                *((_count(row.changes if row.name != AS_WRITTEN else None),) if compared else ()),
                f"{row.apart:,}",
                _percent(row.expected_wrong),
                *((_rate(row.accuracy), _percent(row.calibration_error)) if gold else ()),
            )
            for row in report.methods
        ],
        right=("other than the job", f"other than {report.method}", "wrong, as it says", "calibration error"),
    )
    put("")
    _put_workers(report.workers, names, gold=gold)
    _put_doubtful(quality.made)
    _put_rows(quality.made.differences)


def put_differences(made: Reconsolidation) -> None:
    """Print what became other than it was."""
    differences = made.differences
    fields = _about(made)
    compared = any(folder.manifests for folder in made.answered.folders)
    if compared:
        fields["other labels"] = f"{len(differences):,} of {len(made.answered.sources):,}"
    sure = [each for each in made.sure.tolist() if not math.isnan(each)]
    stated = [each for each in made.answered.confidence.tolist() if not math.isnan(each)]
    before = f"; the job stated {mean(stated):.1%}" if stated else ""
    fields["confidence"] = (f"{mean(sure):.1%}" if sure else "none") + f" on average{before}"
    put_fields(fields)
    _put_rows(differences)
    _put_doubtful(made)


def write_page(path: Path, quality: Quality, names: Sequence[str], aws: Callable[[], Aws]) -> Path:
    """Write the page; pictures in doubt are fetched from where they lie, if they can be had."""
    from gtlabel.pages.quality import write_quality

    return write_quality(page_of(quality, names), path, _fetcher(aws))


def page_of(quality: Quality, names: Sequence[str]) -> QualityPage:
    """What the page shows, without the pictures themselves."""
    from gtlabel.pages.quality import QualityPage

    answered = quality.answered
    return QualityPage(
        title=", ".join(folder.name for folder in answered.folders),
        places=[folder.place for folder in answered.folders],
        notes=answered.notes,
        pictures=len(answered.sources),
        answers=len(answered.objects),
        several=answered.several,
        report=quality.report,
        names=quality.names,
        classes=quality.classes,
        workers=names,
        differences=[_changed(each) for each in quality.made.differences],
        doubtful=_doubtful(quality.made),
        numbers=quality.to_json(),
    )


def _fetcher(aws: Callable[[], Aws]) -> Callable[[str], bytes]:
    """What fetches pictures, and gives up for good where there is no way to their account."""
    from botocore.exceptions import BotoCoreError

    from gtlabel.errors import GtlabelError, StorageError
    from gtlabel.storage import read
    from gtlabel.uris import S3Uri

    unreachable: list[str] = []

    def fetch(image: str) -> bytes:
        if unreachable or not image.startswith("s3://"):
            raise StorageError(f"{image} is out of reach")
        try:
            return read(aws().s3, S3Uri(image))
        except StorageError:
            raise
        except (BotoCoreError, GtlabelError) as error:
            # No credentials, or no network: the next one would wait as long and fail as well.
            unreachable.append(image)
            say(f"the page shows no pictures: {error}")
            raise StorageError(f"{image} is out of reach") from error

    return fetch


def _about(made: Reconsolidation) -> dict[str, Any]:
    answered = made.answered
    return {
        "jobs": ", ".join(folder.name for folder in answered.folders),
        "answers": f"{len(answered.objects):,} of {_number(len(answered.workers), 'worker')} about "
        f"{_number(len(answered.sources), 'image')}",
        "method": made.method,
    }


def _put_workers(workers: Sequence[Profile], names: Sequence[str], *, gold: bool) -> None:
    from gtlabel.pages.quality import short_worker

    ranked = sorted(workers, key=lambda each: (not each.flags, -each.answers, each.worker))
    timed = any(each.seconds is not None for each in ranked)
    put_table(
        (
            "worker",
            "answers",
            "right",
            *(("on gold",) if gold else ()),
            *(("seconds",) if timed else ()),
            "look at",
        ),
        [
            (
                short_worker(names[each.worker]),
                f"{each.answers:,}",
                _rate(each.accuracy) if each.backed else "-",
                *((_rate(each.gold),) if gold else ()),
                *(("-" if each.seconds is None else f"{each.seconds:.1f}",) if timed else ()),
                "; ".join(f"{flag.kind}: {flag.why}" for flag in each.flags),
            )
            for each in ranked[:_WORKERS]
        ],
        right=("answers", "seconds"),
    )
    if len(ranked) > _WORKERS:
        put(f"and {len(ranked) - _WORKERS:,} more workers; --output json and --report name them all")


def _put_doubtful(made: Reconsolidation) -> None:
    rows = [
        (
            each.name,
            each.label,
            _percent(each.sure),
            _percent(each.sure_before),
            _said(each.said),
        )
        for each in _doubtful(made)[:_DOUBTFUL]
    ]
    if not rows:
        return
    stated = any(row[3] != "-" for row in rows)
    put("")
    put_table(
        ("least sure", "label", "sure", *(("job stated",) if stated else ()), "answers"),
        rows if stated else [(*row[:3], row[4]) for row in rows],
        right=("sure", "job stated"),
    )


def _put_rows(differences: Sequence[Difference]) -> None:
    if not differences:
        return
    put("")
    put_table(
        ("image", "was", "is now", "sure", "answers", "because"),
        [
            (
                each.source.rpartition("/")[2] or each.source,
                ", ".join(each.before) or "-",
                ", ".join(each.after) or "-",
                _percent(each.sure),
                _said(each.said),
                each.why,
            )
            for each in differences[:_DIFFERENCES]
        ],
        right=("sure",),
    )
    if len(differences) > _DIFFERENCES:
        put(f"and {len(differences) - _DIFFERENCES:,} more; --output json names them all")


def _changed(each: Difference) -> AnsweredPicture:
    from gtlabel.pages.quality import AnsweredPicture

    label, before = ", ".join(each.after), ", ".join(each.before)
    return AnsweredPicture(each.source, label, each.sure, before, each.said, each.why)


def _doubtful(made: Reconsolidation) -> list[AnsweredPicture]:
    """The pictures whose labels are the least sure, those first."""
    from gtlabel.pages.quality import PICTURES_SHOWN, AnsweredPicture

    answered = made.answered
    names, stated = answered.classes, answered.confidence.tolist()
    order = sorted((number for number in range(len(made.sure)) if made.answers[number]), key=made.sure.item)
    return [
        AnsweredPicture(
            answered.sources[number],
            ", ".join(names[index] for index in made.chosen[number].nonzero()[0]),
            float(made.sure[number]),
            ", ".join(names[index] for index in answered.given[number].nonzero()[0]),
            made.said(number),
            sure_before=stated[number],
        )
        for number in order[:PICTURES_SHOWN]
    ]


def _said(said: Sequence[tuple[str, int]]) -> str:
    # `7 0` says nothing where classes are called by numbers.
    times = " x" if any(name[:1].isdigit() for name, _ in said) else ""
    return ", ".join(f"{count}{times} {name}" for name, count in said)


def _rate(value: Estimate | None) -> str:
    if value is None or math.isnan(value.value):
        return "-"
    # Of many answers an interval is narrower than a percent.
    digits = 0 if value.high - value.low >= _NARROW else 1
    return f"{value.value:.1%} ({value.low:.{digits}%} to {value.high:.{digits}%})"


def _degree(value: Estimate) -> str:
    if math.isnan(value.value):
        return "unknown (all say one class)"
    return f"{value.value:.2f} ({value.low:.2f} to {value.high:.2f})"


def _number(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' if count != 1 else ''}"


def _count(number: int | None) -> str:
    return "-" if number is None else f"{number:,}"


def _percent(share: float | None) -> str:
    return "-" if share is None or math.isnan(share) else f"{share:.1%}"
