"""From bytes as they arrive to lines: unpacked if they are packed, and never more than one line in memory."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from itertools import chain

from gtlabel.errors import ManifestError, ManifestLineError

# Four bytes for each of the 100,000 characters that Ground Truth reads at most (contract/ground-truth.md
# §4.1), and a few more, so that what is cut here is too long in characters too.
LINE_BYTES = 400_016

CHUNK_BYTES = 1 << 16

# https://www.rfc-editor.org/rfc/rfc1952#page-5
_GZIP = b"\x1f\x8b\x08"


def read_chunks(chunks: Iterable[bytes], where: str, *, cut: bool = False) -> Iterator[bytes]:
    """Yield the lines of a file without their ends, whether it is packed with gzip or not.

    Whether it is packed its first bytes say, not its name. A line ends with a newline, with or without a
    carriage return before it; the last one may go without.

    Args:
        chunks: the bytes of the file, in pieces of any size.
        where: what to call it in an error.
        cut: hand on the beginning of a line that is too long in place of the error. It is longer than a
            record may be, so whoever reads records will refuse it, and can go on with the next line.

    Raises:
        ManifestLineError: at a line that does not end within `LINE_BYTES`.
        ManifestError: if what is packed is damaged or cut off.
    """
    return _lines(_unpacked(chunks, where), where, cut)


def _lines(chunks: Iterable[bytes], where: str, cut: bool) -> Iterator[bytes]:
    number = 1
    rest = b""
    lost = False
    for chunk in chunks:
        joined = rest + chunk
        lines = joined.split(b"\n")
        rest = lines.pop()
        if lines:
            if lost:
                del lines[0]
                lost = False
            elif len(lines[0]) > LINE_BYTES:
                yield _shortened(lines[0], where, number, cut)
                del lines[0]
                number += 1
            number += len(lines)
            yield from (line.removesuffix(b"\r") for line in lines) if b"\r" in joined else lines
        if lost:
            rest = b""
        elif len(rest) > LINE_BYTES:
            yield _shortened(rest, where, number, cut)
            number += 1
            rest, lost = b"", True
    if rest:
        yield rest.removesuffix(b"\r")


def _shortened(line: bytes, where: str, number: int, cut: bool) -> bytes:
    if not cut:
        raise ManifestLineError(
            where,
            number,
            f"it does not end within {LINE_BYTES:,} bytes; check that this is a manifest, with a line for "
            "each image",
        )
    # Not in the middle of a character.
    return line[:LINE_BYTES].decode(errors="ignore").encode()


def _unpacked(chunks: Iterable[bytes], where: str) -> Iterator[bytes]:
    arriving = iter(chunks)
    start = b""
    while len(start) < len(_GZIP) and (chunk := next(arriving, None)) is not None:
        start += chunk
    whole = chain((start,), arriving)
    return _gunzipped(whole, where) if start.startswith(_GZIP) else whole


def _gunzipped(chunks: Iterable[bytes], where: str) -> Iterator[bytes]:
    """Unpack member after member: logs that were appended to, or packed in parts, have several."""
    member = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    begun = False
    for chunk in chunks:
        packed = chunk
        while packed:
            if member.eof:
                # Tapes, and some tools, fill up with zeros.
                packed = packed.lstrip(b"\0")
                if not packed:
                    break
                member, begun = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16), False
            try:
                # A little that unpacks to very much does so piece by piece.
                unpacked = member.decompress(packed, CHUNK_BYTES)
            except zlib.error as error:
                raise ManifestError(
                    f"{where} begins as a gzip file and is damaged further on ({error}); fetch it again"
                ) from error
            begun = True
            yield unpacked
            packed = member.unused_data if member.eof else member.unconsumed_tail
    if begun and not member.eof:
        raise ManifestError(f"{where} is a gzip file whose end is missing; fetch it again")
