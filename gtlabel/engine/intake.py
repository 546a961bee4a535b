"""What a job is given to read: manifest, class list and worker page, checked to the last line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import Any

from gtlabel.engine.jobs import Kind
from gtlabel.engine.output import is_text, members
from gtlabel.errors import AnswerError, ClassListError, ManifestError, ManifestLineError, TemplateError
from gtlabel.uris import S3Uri

# Limits: contract/ground-truth.md 4.1 and 10.
_LINE_CHARACTERS = 100_000
_ATTRIBUTE_CHARACTERS = 20_000
_OBJECTS = 100_000
_CLASS_CHARACTERS = 256
_CLASSES_MULTI = 50
_TEMPLATE_CHARACTERS = 128_000
_ANSWER_CHARACTERS = 1_000_000

# The keys with a dollar that streaming jobs write themselves (contract 8); all others are refused.
_SERVICE_KEY = re.compile(r"\$(sequencer|.+-object-id)")


def read_tasks(
    lines: Iterable[bytes], manifest: S3Uri, job: str, attribute: str, kind: Kind
) -> Iterator[dict[str, Any]]:
    """Yield the rows of a job's tasks, one for each line that is not blank.

    A line that has the job's attribute already is passed through and not labeled again.

    Raises:
        ManifestLineError: at the first line that is not a record of an image, or of a text where the kind
            allows that.
        ManifestError: if there are no lines, or too many.
    """
    count = 0
    for number, raw in enumerate(lines, start=1):
        if not raw.strip():
            continue
        if count == _OBJECTS:
            raise ManifestError(f"{manifest} has more than {_OBJECTS} lines; split it into several jobs")
        try:
            line = raw.decode()
            record, source_ref = record_of(line, kind)
        except ValueError as error:
            raise ManifestLineError(manifest, number, str(error)) from error
        digest = sha256(f"{job}/{count}/{source_ref}".encode()).digest()
        yield {
            "object": count,
            "line": line,
            "source_ref": source_ref,
            "rank": int.from_bytes(digest[:7]),
            "state": "passed" if attribute in record else "waiting",
        }
        count += 1
    if count == 0:
        raise ManifestError(f"{manifest} has no lines; there is nothing to label")


def read_classes(body: bytes, class_list: S3Uri, kind: Kind) -> tuple[str, ...]:
    """The classes of a label category configuration; their place is their index (contract 2.3).

    Raises:
        ClassListError: if it is not such a list, or not one that images can be sorted by.
    """
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ClassListError(f"{class_list} is not JSON: {error}") from error
    labels = document.get("labels") if isinstance(document, dict) else None
    if not isinstance(labels, list):
        raise ClassListError(f'{class_list} holds no list "labels"; see LabelCategoryConfigS3Uri')
    names = []
    for place, entry in enumerate(labels):
        name = entry.get("label") if isinstance(entry, dict) else None
        if not isinstance(name, str) or not name or len(name) > _CLASS_CHARACTERS or not is_text(name):
            raise ClassListError(
                f'{class_list}, labels[{place}]: "label" is no name of 1 to {_CLASS_CHARACTERS} characters'
            )
        if name in names:
            raise ClassListError(
                f"{class_list}, labels[{place}]: {name!r} is there twice; classes are unique"
            )
        names.append(name)
    if len(names) < 2 and kind is not Kind.CUSTOM:
        raise ClassListError(f"{class_list} has {len(names)} of the 2 classes that a choice needs at least")
    if kind is Kind.MULTI and len(names) > _CLASSES_MULTI:
        raise ClassListError(f"{class_list} has {len(names)} classes; several per image are limited to 50")
    return tuple(names)


def check_template(body: bytes, template: S3Uri, kind: Kind) -> None:
    """Look whether a worker page asks this kind of question.

    Raises:
        TemplateError: if it is too long, or lacks the element whose answers the job understands.
    """
    text = body.decode(errors="replace")
    if len(text) > _TEMPLATE_CHARACTERS:
        raise TemplateError(
            f"{template} has {len(text)} characters; at most {_TEMPLATE_CHARACTERS} are allowed"
        )
    if kind is not Kind.CUSTOM and re.search(rf"<{kind}[\s/>]", text) is None:
        raise TemplateError(f"{template} holds no <{kind}>; this kind of job needs that element in its page")


def record_of(line: str, kind: Kind) -> tuple[dict[str, Any], str]:
    """A line as a record, and the address of its image; empty for the text that a custom job may show.

    Raises:
        ValueError: with the reason if it is none.
    """
    if len(line) > _LINE_CHARACTERS:
        raise ValueError(f"it has {len(line)} characters; at most {_LINE_CHARACTERS} are allowed")
    try:
        record = json.loads(line, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON: {error.msg} at column {error.colno}") from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(record, dict):
        raise ValueError("it is not a JSON object")
    for name in record:
        if name.startswith("$") and not _SERVICE_KEY.fullmatch(name):
            raise ValueError(f"the attribute {name!r} starts with '$', which is reserved")
    if len(line) > _ATTRIBUTE_CHARACTERS:
        for name, text in members(line):
            if len(text) > _ATTRIBUTE_CHARACTERS:
                raise ValueError(f"the attribute {name!r} has more than {_ATTRIBUTE_CHARACTERS} characters")
    if _has_text(record, "source-ref"):
        return record, str(S3Uri(record["source-ref"]))
    if kind is not Kind.CUSTOM:
        raise ValueError('it has no "source-ref" with the address of an image')
    if "source-ref" in record or not _has_text(record, "source"):
        raise ValueError('it has no "source-ref" with the address of an image and no "source" with a text')
    return record, ""


def check_content(text: str) -> None:
    """Look whether an answer, as JSON, is of a size that people make.

    AWS names no limit. This one lets the pixels of a segmentation pass, keeps a batch of 50 objects by nine
    workers in memory, and stops a page that runs wild.

    Raises:
        AnswerError: if it is too long.
    """
    if len(text) > _ANSWER_CHARACTERS:
        raise AnswerError(
            f"the answer has {len(text)} characters as JSON; at most {_ANSWER_CHARACTERS} are taken"
        )


def _has_text(record: dict[str, Any], name: str) -> bool:
    return isinstance(record.get(name), str) and is_text(record[name])


def _refuse_constant(name: str) -> None:
    raise ValueError(f"it is not JSON: {name} is no number there")
