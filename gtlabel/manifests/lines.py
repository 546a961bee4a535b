"""Reading and writing the lines of a manifest; the only door to jsonlines."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from json.encoder import encode_basestring
from typing import Any

import jsonlines

from gtlabel.errors import ManifestError, ManifestLineError
from gtlabel.manifests.records import ManifestRecord
from gtlabel.uris import S3Uri

# https://docs.aws.amazon.com/sagemaker/latest/dg/input-data-limits.html, contract/ground-truth.md §4.1
MAX_LINE_CHARACTERS = 100_000

# Legal in JSON, but some readers take them for the end of a line.
_LINE_ENDS = re.compile("[\x85\u2028\u2029]")


def read_records(
    lines: Iterable[bytes], manifest: str, *, on_bad: Callable[[int, bytes, str], object] | None = None
) -> Iterator[ManifestRecord]:
    """Yield the records of a manifest, holding one line at a time; empty lines are passed over.

    Args:
        lines: an open file, or the lines of an S3 object, with or without their ends.
        manifest: what to call it in an error.
        on_bad: called with the number of a line that is not a record, its bytes without their end, and the
            reason, in place of the error; reading goes on. `SetAside` is one.

    Raises:
        ManifestLineError: at the first line that is not a record, unless there is `on_bad`.
    """
    # What `loads` refuses with a ValueError, jsonlines reports with its line number.
    with jsonlines.Reader(lines, loads=_parse) as reader:
        while True:
            # An error ends the iterator and not the reader.
            records: Iterator[Any] = reader.iter(skip_empty=True)
            try:
                yield from records
                return
            except jsonlines.InvalidLineError as error:
                if on_bad is None:
                    raise ManifestLineError(manifest, error.lineno, _reason(error)) from error
                on_bad(error.lineno, _bytes(error.line), _reason(error))


def write_record(record: ManifestRecord) -> bytes:
    """The line of a record without its end: compact UTF-8 JSON, its keys in the order they were read.

    Raises:
        ManifestError: if the record holds a number that JSON cannot spell, or is longer than AWS reads.
    """
    try:
        text = json.dumps(record.to_json(), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except ValueError as error:
        raise ManifestError(f"the record of {record.source_ref} cannot be written: {error}") from error
    return _encoded(text, record.source_ref)


def write_image(image: S3Uri) -> bytes:
    """The line of an image that nothing has been said about yet, without its end.

    The same bytes as `write_record(ManifestRecord(source_ref=image))`, made several times as fast, which
    is what the manifest of a new job consists of.

    Raises:
        ManifestError: if the address names no object, or is longer than AWS reads.
    """
    if not image.key:
        raise ManifestError(f"the record of {image} cannot be written: it names a bucket and no image in it")
    return _encoded(f'{{"source-ref":{encode_basestring(image)}}}', image)


def _encoded(text: str, image: S3Uri) -> bytes:
    if len(text) > MAX_LINE_CHARACTERS:
        raise ManifestError(f"the record of {image} cannot be written: {_too_long(len(text))}")
    if not text.isascii():
        text = _LINE_ENDS.sub(lambda end: f"\\u{ord(end[0]):04x}", text)
    return text.encode()


def _parse(line: str | bytes) -> ManifestRecord:
    # jsonlines declares bytes too, but has decoded them by now.
    text = (line if isinstance(line, str) else line.decode()).rstrip("\r\n")
    if len(text) > MAX_LINE_CHARACTERS:
        raise ValueError(_too_long(len(text)))
    return ManifestRecord.from_line(text)


def _too_long(characters: int) -> str:
    return f"it has {characters:,} characters; Ground Truth reads at most {MAX_LINE_CHARACTERS:,} a line"


def _bytes(line: str | bytes) -> bytes:
    return (line if isinstance(line, bytes) else line.encode()).rstrip(b"\r\n")


def _reason(error: jsonlines.InvalidLineError) -> str:
    cause = error.__cause__
    if isinstance(cause, UnicodeDecodeError):
        return f"not UTF-8: byte {cause.start + 1} is 0x{cause.object[cause.start]:02x}"
    return str(cause)
