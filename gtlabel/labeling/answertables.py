"""Answers in a table, as most programs but Ground Truth keep them: one answer in each line, below a header.

The header says which column is what. Its names are read without case, blanks, dots and underscores, so that
`WorkerId`, `worker_id` and `worker` are the same; a table of Mechanical Turk's results can be read as it is.
"""

from __future__ import annotations

import csv
import gzip
import io
import math
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NoReturn

from gtlabel.errors import AnswerFileError

_TABLE = re.compile(r"\.(?:csv|tsv)(?:\.gz)?$", re.IGNORECASE)
_DIGITS = re.compile(r"\d+(?:\.\d*)?")
# What a column may be called, the usual first.
_IMAGE = ("image", "picture", "object", "item", "task", "question", "example", "source", "sourceref", "unit")
_WORKER = ("worker", "annotator", "labeler", "labeller", "rater", "user", "coder", "assessor", "person")
_LABEL = ("label", "answer", "class", "response", "judgment", "judgement", "category", "vote", "annotation")
_GOLD = ("gold", "truth", "goldlabel", "truelabel", "groundtruth", "trueclass", "goldclass")
_SECONDS = ("seconds", "timespent", "timespentinseconds", "worktimeinseconds", "duration")
_MOMENT = ("time", "timestamp", "submissiontime", "submittedat", "moment")
_MEANINGS = {
    "picture": _IMAGE,
    "worker": _WORKER,
    "label": _LABEL,
    "gold label": _GOLD,
    "seconds": _SECONDS,
    "time": _MOMENT,
}


@dataclass(frozen=True, slots=True)
class TableAnswer:
    """One line of a table.

    Attributes:
        image: the picture.
        worker: who answered.
        label: the class; empty where none was named.
        seconds: how long it took; NaN where the table does not say.
        moment: when, in seconds since 1970 UTC; NaN where the table does not say.
    """

    image: str
    worker: str
    label: str
    seconds: float = math.nan
    moment: float = math.nan


@dataclass(slots=True)
class AnswerTable:
    """What a table holds.

    Attributes:
        answers: its lines.
        gold: the true class of pictures, where a column tells it.
    """

    answers: list[TableAnswer] = field(default_factory=list)
    gold: dict[str, str] = field(default_factory=dict)


def is_table(place: str) -> bool:
    """Whether a place is a table by its name: .csv or .tsv, also compressed."""
    return _TABLE.search(place) is not None


def read_table(body: bytes, name: str) -> AnswerTable:
    """The answers in a table, and the gold labels if it has a column of them.

    Raises:
        AnswerFileError: if it is no table, lacks a column, or a line cannot be understood.
    """
    found = AnswerTable()
    for line, cells in _lines(body, name, ("picture", "worker", "label")):
        image, worker = cells["picture"], cells["worker"]
        if not image or not worker:
            _refuse(name, line, f"there is no {'worker' if image else 'picture'}")
        found.answers.append(
            TableAnswer(
                image, worker, cells["label"], _seconds(cells, name, line), _moment(cells, name, line)
            )
        )
        _learn(found.gold, image, cells.get("gold label", ""), name, line)
    if not found.answers:
        raise AnswerFileError(name, "there is no answer below the header")
    return found


def read_gold(body: bytes, name: str) -> dict[str, str]:
    """The true class of pictures: of the column `gold` where there is one, else of that of labels.

    Raises:
        AnswerFileError: if it is no table, lacks a column, or names two classes for one picture.
    """
    gold: dict[str, str] = {}
    for line, cells in _lines(body, name, ("picture", "gold label")):
        _learn(gold, cells["picture"], cells["gold label"], name, line)
    return gold


def written_table(rows: Iterable[tuple[str, str, float | None]]) -> Iterator[bytes]:
    """The lines of a table of labels: each picture, its class, and how sure that is.

    Texts are as they are, as in `gtlabel.datasets.formats.csv`: names that look like formulas, too.
    """
    # What may end a line is put in quotes where it stands in a cell.
    writer = csv.writer(line := _Line(), lineterminator="\r\n")
    for row in (("image", "label", "confidence"), *rows):
        writer.writerow(["" if cell is None else cell for cell in row])
        yield line.text.removesuffix("\r\n").encode()


class _Line:
    """What was written last."""

    text = ""

    def write(self, text: str) -> None:
        self.text = text


def _lines(body: bytes, name: str, wanted: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """The lines below the header, by number, with the cells of the columns that are known."""
    text = _text(body, name)
    delimiter = max(",\t;", key=text.partition("\n")[0].count)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        header = next(rows, [])
        columns = _columns(header, name, wanted)
        for row in rows:
            if not any(cell.strip() for cell in row):
                continue
            if len(row) < len(header):
                _refuse(name, rows.line_num, f"there are {len(row)} cells, and {len(header)} in the header")
            yield rows.line_num, {meaning: row[column].strip() for meaning, column in columns.items()}
    except csv.Error as error:
        raise AnswerFileError(f"{name}, line {rows.line_num}", str(error)) from None


def _text(body: bytes, name: str) -> str:
    try:
        if name.lower().endswith(".gz"):
            body = gzip.decompress(body)
        # Spreadsheets put a mark before the text, which would become a part of the first column's name.
        return body.decode("utf-8-sig")
    except (OSError, EOFError, zlib.error):
        raise AnswerFileError(name, "it is not compressed as its name says, or was cut short") from None
    except UnicodeDecodeError as error:
        line = body[: error.start].count(b"\n") + 1
        raise AnswerFileError(f"{name}, line {line}", "this is not UTF-8; save the table as UTF-8") from None


def _columns(header: Sequence[str], name: str, wanted: Sequence[str]) -> dict[str, int]:
    """Which column has what."""
    plain = [_plain(cell) for cell in header]
    found: dict[str, int] = {}
    for meaning, words in _MEANINGS.items():
        columns = [column for column, cell in enumerate(plain) if cell in words]
        if len(columns) > 1:
            first, second = (header[column].strip() for column in columns[:2])
            raise AnswerFileError(
                name,
                f"two columns may be the {meaning}, {first!r} and {second!r}; rename the one that is not",
            )
        if columns:
            found[meaning] = columns[0]
    if "gold label" in wanted and "gold label" not in found and "label" in found:
        found["gold label"] = found["label"]
    for meaning in wanted:
        if meaning not in found:
            known = ", ".join(cell.strip() or "(no name)" for cell in header[:12]) or "nothing"
            names = " or ".join(repr(word) for word in _MEANINGS[meaning][:4])
            raise AnswerFileError(
                name, f"no column tells the {meaning}; call it {names} in the header, which has {known}"
            )
    return found


def _plain(cell: str) -> str:
    """A column's name without what differs from program to program, such as `image` of `Input.image_url`."""
    name = cell.strip().lower()
    # Mechanical Turk puts what was asked and what was said behind these.
    name = re.sub(r"^(?:input|answer)\..*?([^.]+)$", r"\1", name)
    name = re.sub(r"[^a-z]", "", name)
    for ending in ("id", "name", "uri", "url", "key"):
        if name.removesuffix(ending) in (*_IMAGE, *_WORKER):
            return name.removesuffix(ending)
    return name


def _seconds(cells: Mapping[str, str], name: str, line: int) -> float:
    text = cells.get("seconds", "")
    try:
        seconds = float(text) if text else math.nan
    except ValueError:
        seconds = -1.0
    if seconds < 0 or math.isinf(seconds):
        _refuse(name, line, f"{text!r} is no number of seconds that an answer takes")
    return seconds


def _moment(cells: Mapping[str, str], name: str, line: int) -> float:
    text = cells.get("time", "")
    if not text:
        return math.nan
    try:
        moment = (
            datetime.fromtimestamp(float(text), UTC)
            if _DIGITS.fullmatch(text)
            else (datetime.fromisoformat(text))
        )
    except (ValueError, OverflowError, OSError):
        _refuse(name, line, f"{text!r} is no time; write it as 2026-11-23T09:00:00Z")
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _learn(gold: dict[str, str], image: str, label: str, name: str, line: int) -> None:
    if label and gold.setdefault(image, label) != label:
        _refuse(name, line, f"{image} is {label!r} here, and {gold[image]!r} in a line before")


def _refuse(name: str, line: int, why: str) -> NoReturn:
    raise AnswerFileError(f"{name}, line {line}", why)
