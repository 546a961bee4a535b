"""Reading and writing the lines of a manifest; the only door to jsonlines."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from json.encoder import encode_basestring
from typing import Any

import jsonlines

from gtlabel.errors import ManifestError, ManifestLineError
from gtlabel.manifests.records import ManifestRecord, parser, too_long
from gtlabel.uris import S3Uri

# https://docs.aws.amazon.com/sagemaker/latest/dg/input-data-limits.html, contract/ground-truth.md §4.1
MAX_LINE_CHARACTERS = 100_000

# Legal in JSON, but some readers take them for the end of a line.
_LINE_ENDS = re.compile("[\x85\u2028\u2029]")


def read_records(
    lines: Iterable[bytes],
    manifest: str,
    *,
    attribute: str | None = None,
    on_bad: Callable[[int, bytes, str], object] | None = None,
) -> Iterator[ManifestRecord]:
    """Yield the records of a manifest, holding one line at a time; empty lines are passed over.

    Args:
        lines: an open file, or the lines of an S3 object, with or without their ends.
        manifest: what to call it in an error.
        attribute: the attribute whose labels will be asked for; they are then read along with the rest of
            the line, in half the time. A label that cannot be read is an error when it is asked for.
        on_bad: called with the number of a line that is not a record, its bytes without their end, and the
            reason, in place of the error; reading goes on. `SetAside` is one.

    Raises:
        ManifestLineError: at the first line that is not a record, unless there is `on_bad`.
    """
    # What `loads` refuses with a ValueError, jsonlines reports with its line number. It declares that
    # `loads` gets bytes too, but has decoded them by then.
    loads: Callable[[Any], ManifestRecord] = parser(attribute, MAX_LINE_CHARACTERS)
    with jsonlines.Reader(lines, loads=loads) as reader:
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
    """The line of a record without its end, as it was read; a new record is compact UTF-8 JSON.

    Only characters that some readers take for the end of a line are escaped.

    Raises:
        ManifestError: if the record is longer than AWS reads.
    """
    text = record.line
    if "\r" in text or "\n" in text:
        # Between two keys JSON allows it; in a text it would be an escape.
        text = text.replace("\r", " ").replace("\n", " ")
    return encode_line(text, record.source_ref)


def write_image(image: S3Uri) -> bytes:
    """The line of an image that nothing has been said about yet, without its end.

    The same bytes as `write_record(ManifestRecord.of(image))`, made several times as fast, which
    is what the manifest of a new job consists of.

    Raises:
        ManifestError: if the address names no object, or is longer than AWS reads.
    """
    if not image.key:
        raise ManifestError(f"the record of {image} cannot be written: it names a bucket and no image in it")
    return encode_line(f'{{"source-ref":{encode_basestring(image)}}}', image)


def encode_line(text: str, image: str) -> bytes:
    """The bytes of a line that is JSON already, such that no reader takes a part of it for its end.

    Raises:
        ManifestError: if it is longer than AWS reads.
    """
    if len(text) > MAX_LINE_CHARACTERS:
        raise ManifestError(
            f"the record of {image} cannot be written: {too_long(len(text), MAX_LINE_CHARACTERS)}"
        )
    if not text.isascii():
        text = _LINE_ENDS.sub(lambda end: f"\\u{ord(end[0]):04x}", text)
    return text.encode()


def _bytes(line: str | bytes) -> bytes:
    return (line if isinstance(line, bytes) else line.encode()).rstrip(b"\r\n")


def _reason(error: jsonlines.InvalidLineError) -> str:
    cause = error.__cause__
    if isinstance(cause, UnicodeDecodeError):
        return f"not UTF-8: byte {cause.start + 1} is 0x{cause.object[cause.start]:02x}"
    return str(cause)
