"""The grid: many pictures of a job on one page, where all but a few are of the same class.

It takes the place of the worker page, so it is only for jobs whose page asks for nothing but one class.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from typing import Any

from gtlabel.engine.jobs import Job, Kind
from gtlabel.portal.elements import ELEMENTS

_SUFFIX = "-metadata"
_AWS_SCRIPT = re.compile(r"^(https?:)?//assets\.crowd\.aws/crowd-html-elements[\w.-]*\.js$", re.IGNORECASE)
# What asks for more than the classifier does, or could.
_ASKING = frozenset({"input", "select", "textarea", "form", "iframe", "object", "embed", "audio", "video"})


def is_for_grid(job: Job, template: str) -> bool:
    """Whether a job asks for one class of each picture and nothing else."""
    if job.spec.kind is not Kind.SINGLE or job.spec.pre is not None:
        return False
    return _Page(template).plain


def suggestion(line: str, classes: Sequence[str]) -> dict[str, Any] | None:
    """The class that an earlier job or a model gave a record, where it is one of these; the latest counts.

    Returns:
        The class, how sure whoever gave it was, and the attribute it stands under; None without one.
    """
    record = json.loads(line)
    found: list[tuple[str, int, dict[str, Any]]] = []
    for place, (name, said) in enumerate(record.items()):
        if not name.endswith(_SUFFIX) or not isinstance(said, dict) or said.get("class-name") not in classes:
            continue
        confidence = said.get("confidence")
        given = {
            "class": said["class-name"],
            "confidence": confidence if isinstance(confidence, int | float) else None,
            "attribute": name.removesuffix(_SUFFIX),
        }
        found.append((str(said.get("creation-date", "")), place, given))
    return max(found, key=lambda each: each[:2])[2] if found else None


class _Page(HTMLParser):
    """Looks whether a template is one classifier and its instructions."""

    def __init__(self, template: str) -> None:
        super().__init__()
        self._classifiers = 0
        self._more = False
        self._in_script = False
        self.feed(template)
        self.close()
        self.plain = self._classifiers == 1 and not self._more

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = ELEMENTS.get(tag)
        if tag == Kind.SINGLE.value:
            self._classifiers += 1
            self._more |= "overlay" in dict(attrs)
        elif tag == "script":
            self._in_script = True
            self._more |= not _AWS_SCRIPT.match((dict(attrs).get("src") or "").strip())
        elif tag in _ASKING or (known is not None and known.answers):
            self._more = True

    def handle_endtag(self, tag: str) -> None:
        if tag == "script":
            self._in_script = False

    def handle_data(self, data: str) -> None:
        self._more |= self._in_script and bool(data.strip())
