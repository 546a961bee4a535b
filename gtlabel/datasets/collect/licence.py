"""The licence of a data set, from the files that come with it.

Nothing is guessed: a licence is known when a file names one that everybody knows, in its own words or by
its address. The identifiers are those of SPDX, https://spdx.org/licenses/.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

# What a person says who knows that nobody knows.
UNKNOWN = "unknown"
# Longer files are no licence, and no README that names one early.
MAX_LICENCE_BYTES = 1 << 20

_NAMED = re.compile(r"(licen[sc]e|copying|unlicense|readme|copyright|terms)([-_.].*)?", re.IGNORECASE)
# https://specs.frictionlessdata.io/data-package/, https://github.com/Kaggle/kaggle-api, https://mlcommons.org/croissant
_DESCRIPTIONS = ("datapackage.json", "dataset-metadata.json", "croissant.json", "metadata.json")
# A data set's own folders lie deeper than its README.
_DEEPEST = 2

_PHRASES = (
    ("CC0-1.0", r"cc0[- ]1\.0|cc0\b|creativecommons\.org/publicdomain/zero|creative commons zero"),
    ("PDDL-1.0", r"pddl-1\.0|public domain dedication (and|&) licen[sc]e|opendatacommons\.org/licenses/pddl"),
    ("ODbL-1.0", r"odbl-1\.0|open database licen[sc]e|opendatacommons\.org/licenses/odbl|\bodbl\b"),
    ("ODC-By-1.0", r"odc-by-1\.0|open data commons attribution|opendatacommons\.org/licenses/by"),
    (
        "CDLA-Permissive-2.0",
        r"cdla-permissive-2\.0|community data licen[sc]e agreement.{0,5}permissive.{0,20}2\.0",
    ),
    ("CDLA-Permissive-1.0", r"cdla-permissive-1\.0|community data licen[sc]e agreement.{0,5}permissive"),
    ("CDLA-Sharing-1.0", r"cdla-sharing-1\.0|community data licen[sc]e agreement.{0,5}sharing"),
    ("Apache-2.0", r"apache-2\.0|apache licen[sc]e,?\s+(version )?2\.0|apache\.org/licenses/license-2\.0"),
    ("AGPL-3.0-only", r"agpl-3\.0|gnu affero general public licen[sc]e"),
    ("GPL-3.0-only", r"gpl-3\.0|gnu general public licen[sc]e\W+version 3"),
    ("GPL-2.0-only", r"gpl-2\.0|gnu general public licen[sc]e\W+version 2"),
    ("MIT", r"\bmit licen[sc]e|licen[sc]ed? (under|:) (the )?mit\b|opensource\.org/licenses?/mit\b"),
    ("BSD-3-Clause", r"bsd[- ]3[- ]clause|neither the name of .{0,200}endorse or promote"),
    ("BSD-2-Clause", r"bsd[- ]2[- ]clause"),
    ("Unlicense", r"this is free and unencumbered software released into the public domain|unlicense\.org"),
    (
        "LicenseRef-US-Government-Work",
        r"u\.?s\.? government works?\b|usa\.gov/government-works|17 u\.?s\.?c\.? .{0,4}105",
    ),
)
_CC_ADDRESS = re.compile(r"creativecommons\.org/licenses/(by(?:-nc)?(?:-sa|-nd)?)/(\d\.\d)")
_CC_SHORT = re.compile(r"\bcc[- ]?(by(?:[- ]nc)?(?:[- ](?:sa|nd))?)[- ]?v?(\d\.\d)?\b")
_CC_WORDS = re.compile(
    r"creative commons attribution"
    r"((?:[- ]+(?:non-?commercial|share-?alike|no-?deriv(?:ative)?s?(?: works)?))*)\W+(\d\.\d)?"
)


_IDENTIFIERS = {name for name, _ in _PHRASES if not name.startswith("LicenseRef-")}
_CC_IDENTIFIER = re.compile(r"CC-BY(-NC)?(-SA|-ND)?-([1-4]\.0|2\.5)")


@dataclass(frozen=True, slots=True)
class Licence:
    """What a file says.

    Attributes:
        name: an SPDX identifier, or `see LICENSE` for a text of its own.
        file: the path of the file.
        text: what is in it.
    """

    name: str
    file: str
    text: bytes


def may_tell(path: str) -> bool:
    """Whether a file of this path may name the licence of the whole."""
    folders, _, name = path.rpartition("/")
    if folders.count("/") + bool(folders) > _DEEPEST:
        return False
    return name.lower() in _DESCRIPTIONS or bool(_NAMED.fullmatch(name))


def find_licence(files: Iterable[tuple[str, bytes]]) -> Licence | None:
    """The licence that the files of a data set name, the file that speaks most plainly first.

    A licence file says what holds even when nobody knows its text; a README or a description only when it
    names a licence that is known. The nearest to the top wins.
    """
    candidates = []
    for path, body in files:
        name = path.rpartition("/")[2].lower()
        text = body.decode("utf-8", "replace")
        own = not name.startswith(("readme", "copyright", "terms")) and name not in _DESCRIPTIONS
        known = _described(text) if name in _DESCRIPTIONS else recognize(text)
        if known is not None or own:
            candidates.append((not own, path.count("/"), path, known or f"see {path}", body))
    if not candidates:
        return None
    _, _, path, known, body = min(candidates)
    return Licence(known, path, body)


def recognize(text: str) -> str | None:
    """The identifier of the licence that a text names or is; None when it names none that is known."""
    plain = " ".join(text.lower().split())
    for pattern in (_CC_ADDRESS, _CC_SHORT):
        if found := pattern.search(plain):
            return _creative_commons(found[1].replace(" ", "-"), found[2])
    if found := _CC_WORDS.search(plain):
        words = re.sub(r"[^a-z]", "", found[1])
        terms = "".join(
            short
            for word, short in (("noncommercial", "-nc"), ("sharealike", "-sa"), ("noderiv", "-nd"))
            if word in words
        )
        return _creative_commons(f"by{terms}", found[2])
    for name, pattern_text in _PHRASES:
        if re.search(pattern_text, plain):
            return name
    return None


def address_of(name: str) -> str | None:
    """SPDX's page about a licence of this name; None if it is none that is known here."""
    known = name in _IDENTIFIERS or _CC_IDENTIFIER.fullmatch(name)
    return f"https://spdx.org/licenses/{name}.html" if known else None


def _creative_commons(terms: str, version: str | None) -> str:
    # Without a number nobody knows which; the terms are what matters to those who train.
    return f"CC-{terms.upper()}-{version}" if version else f"LicenseRef-CC-{terms.upper()}"


def _described(text: str) -> str | None:
    """The licence in a description of a data set: its name, or the one its address belongs to."""
    try:
        document: Any = json.loads(text)
    except ValueError:
        return None
    if not isinstance(document, dict):
        return None
    stated = document.get("licenses") or document.get("license")
    first = stated[0] if isinstance(stated, list) and stated else stated
    values = [first] if isinstance(first, str) else []
    if isinstance(first, dict):
        values = [first[key] for key in ("name", "path", "title", "url") if isinstance(first.get(key), str)]
    return next((known for value in values if (known := recognize(_spelled(value)))), None)


def _spelled(value: str) -> str:
    # An identifier alone is no sentence: `MIT`.
    return f"licensed under {value}"
