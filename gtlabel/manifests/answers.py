"""What workers said, as a job leaves it beside its manifest: one file for each image, and one for each batch.

Three kinds of file lie under `annotations/` (contract/ground-truth.md §5.1, §5.3, §6.3):

- `worker-response/iteration-N/OBJECT/TIME.json`: all answers about one image;
- `consolidated-annotation/consolidation-request/iteration-N/TIME.json`: a batch of images with their
  answers, as the function that settles on a label gets it;
- `consolidated-annotation/consolidation-response/iteration-N/TIME.json`: what it returned.

An object's number is the number of its line in the output manifest, counted from 0.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

import msgspec

from gtlabel.errors import AnswerFileError

T = TypeVar("T")

_PLACE = re.compile(r"/worker-response/iteration-(?P<iteration>\d+)/(?P<number>\d+)/[^/]+\.json$")
_KINDS = {
    "str": "a text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "null": "null",
    "array": "a list",
    "object": "an object",
    "datetime": "a moment such as 2026-11-22T10:00:58.321Z",
}


class _Camel(msgspec.Struct, frozen=True, rename="camel"):
    """Keys as AWS spells them here; what is not known is passed over, since nobody writes them again."""


class Answer(_Camel, frozen=True):
    """What one worker said about one image.

    Attributes:
        worker_id: the worker, such as `private.us-west-2.ef7294f850a3d9d1`.
        answer_content: what the page sent, by the names of its elements.
        submission_time: when, in UTC.
        acceptance_time: when the worker took the task; jobs before December 2020 do not say.
        time_spent_in_seconds: how long it took without pauses; those jobs do not say either.
        worker_metadata: who a private worker is to the identity provider.
    """

    worker_id: str
    answer_content: dict[str, Any]
    submission_time: datetime
    acceptance_time: datetime | None = None
    time_spent_in_seconds: float | None = None
    worker_metadata: dict[str, Any] | None = None

    @property
    def choice(self) -> tuple[str, ...] | None:
        """The classes that were chosen, in alphabetical order; None if the page asks something else."""
        return choice(self.answer_content)


class Annotation(NamedTuple):
    """What one worker said about one image of a batch.

    Attributes:
        worker: the worker.
        content: what the page sent; None where `place` says in which object it is.
        place: the S3 address of what is too large to stand here.
    """

    worker: str
    content: dict[str, Any] | None
    place: str | None = None

    @property
    def choice(self) -> tuple[str, ...] | None:
        """The classes that were chosen, in alphabetical order; None if the page asks something else."""
        return None if self.content is None else choice(self.content)


class AnsweredObject(NamedTuple):
    """One object of a batch.

    Attributes:
        number: the number of its line in the output manifest, counted from 0.
        image: the address of the image; None where it is a text.
        annotations: what its workers said.
    """

    number: int
    image: str | None
    annotations: tuple[Annotation, ...]


class ConsolidatedObject(NamedTuple):
    """What was settled on for one object of a batch.

    Attributes:
        number: the number of its line in the output manifest, counted from 0.
        content: the keys that go into its line.
    """

    number: int
    content: Mapping[str, Any]


def read_response(document: bytes, where: str) -> tuple[Answer, ...]:
    """The answers about one image, in the order they were given.

    Raises:
        AnswerFileError: if the file holds none.
    """
    return _decoded(_RESPONSE, document, where).answers


def read_withdrawn(document: bytes, where: str) -> frozenset[str]:
    """The ids of the workers whose answers in a job count no more, `{"workers": [...]}`.

    Raises:
        AnswerFileError: if the file holds no such list.
    """
    return frozenset(_decoded(_WITHDRAWN, document, where).workers)


def response_place(key: str) -> tuple[int, int] | None:
    """The iteration and the object's number that the key of a worker response says; None for another key."""
    found = _PLACE.search(key)
    return None if found is None else (int(found["iteration"]), int(found["number"]))


def read_request(document: bytes, where: str) -> tuple[AnsweredObject, ...]:
    """A batch of images with their answers.

    Raises:
        AnswerFileError: if the file holds none.
    """
    objects = []
    asked: tuple[_Asked, ...] = _decoded(_REQUEST, document, where)
    for place, item in enumerate(asked):
        said = []
        for number, annotation in enumerate(item.annotations):
            data, field = annotation.annotation_data, f"[{place}].annotations[{number}].annotationData"
            if data.content is None and data.s3_uri is None:
                raise AnswerFileError(where, f"{field!r} has neither 'content' nor 's3Uri'")
            content = None if data.content is None else _content(data.content, where, f"{field}.content")
            said.append(Annotation(annotation.worker_id, content, data.s3_uri))
        number = _number(item.dataset_object_id, where, place)
        objects.append(AnsweredObject(number, item.data_object.s3_uri, tuple(said)))
    return tuple(objects)


def read_consolidated(document: bytes, where: str) -> tuple[ConsolidatedObject, ...]:
    """What was settled on for a batch of images.

    Raises:
        AnswerFileError: if the file does not say.
    """
    settled: tuple[_Settled, ...] = _decoded(_CONSOLIDATED, document, where)
    return tuple(
        ConsolidatedObject(
            _number(item.dataset_object_id, where, place), item.consolidated_annotation.content
        )
        for place, item in enumerate(settled)
    )


def choice(content: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The classes that a page of a classification task sent, in alphabetical order; None of another page."""
    for element in content.values():
        if isinstance(element, Mapping):
            label, labels = element.get("label"), element.get("labels")
            if isinstance(label, str):
                return (label,)
            if isinstance(labels, list) and all(isinstance(name, str) for name in labels):
                return tuple(sorted(labels))
    return None


class _Response(_Camel, frozen=True):
    answers: tuple[Answer, ...]


class _Withdrawn(_Camel, frozen=True):
    workers: tuple[str, ...]


class _DataObject(_Camel, frozen=True):
    s3_uri: str | None = None
    content: Any = None


class _AnnotationData(_Camel, frozen=True):
    content: str | None = None
    s3_uri: str | None = None


class _Annotation(_Camel, frozen=True):
    worker_id: str
    annotation_data: _AnnotationData


class _Asked(_Camel, frozen=True):
    dataset_object_id: str | int
    data_object: _DataObject
    annotations: tuple[_Annotation, ...]


class _Content(_Camel, frozen=True):
    content: dict[str, Any]


class _Settled(_Camel, frozen=True):
    dataset_object_id: str | int
    consolidated_annotation: _Content


_WITHDRAWN = msgspec.json.Decoder(_Withdrawn)
_RESPONSE = msgspec.json.Decoder(_Response)
_REQUEST: msgspec.json.Decoder[tuple[_Asked, ...]] = msgspec.json.Decoder(tuple[_Asked, ...])
_CONSOLIDATED: msgspec.json.Decoder[tuple[_Settled, ...]] = msgspec.json.Decoder(tuple[_Settled, ...])
_CONTENT = msgspec.json.Decoder(dict[str, Any])


def _decoded(decoder: msgspec.json.Decoder[T], document: bytes, where: str) -> T:
    try:
        return decoder.decode(document)
    except RecursionError:
        raise AnswerFileError(where, "it is nested too deep to be read") from None
    except UnicodeDecodeError as error:
        raise AnswerFileError(where, f"it is not UTF-8 from byte {error.start + 1} on") from error
    except msgspec.ValidationError as error:
        raise AnswerFileError(where, _sentence(str(error))) from error
    except msgspec.DecodeError as error:
        raise AnswerFileError(where, f"not JSON: {_lowered(str(error))}") from error


def _sentence(message: str) -> str:
    """What msgspec says, such as "Expected `str`, got `int` - at `$.answers[0].workerId`", for people."""
    message, _, place = message.partition(" - at `$")
    field = place.rstrip("`").lstrip(".")
    wanted = re.fullmatch(r"Expected `(.+)`, got `(.+)`", message)
    missing = re.fullmatch(r"Object missing required field `(.+)`", message)
    if missing:
        return f"{field!r} lacks {missing[1]!r}" if field else f"it lacks {missing[1]!r}"
    said = _lowered(message)
    if wanted:
        kinds = [_KINDS.get(kind, kind) for kind in wanted[1].split(" | ") if kind != "null"]
        said = f"input should be {' or '.join(kinds)}, not {_KINDS.get(wanted[2], wanted[2])}"
    elif "datetime" in message:
        said = f"input should be {_KINDS['datetime']}"
    return f"{field!r}: {said}" if field else said


def _lowered(message: str) -> str:
    return message[:1].lower() + message[1:] if message[1:2].islower() else message


def _content(text: str, where: str, field: str) -> dict[str, Any]:
    try:
        return _CONTENT.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise AnswerFileError(where, f"{field!r} is a text that holds no JSON object ({error})") from error


def _number(object_id: str | int, where: str, place: int) -> int:
    text = str(object_id)
    if not (text.isascii() and text.isdecimal()):
        raise AnswerFileError(
            where, f"'[{place}].datasetObjectId' is {object_id!r}, not the number of a line"
        )
    return int(text)
