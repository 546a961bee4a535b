"""What is wrong with a worker template, found without rendering it.

    size            longer than AWS takes, or empty                                         error
    parse-error     it is no Liquid                                                         error
    unknown-tag     a Liquid tag that does not exist                                        error
    unknown-filter  a Liquid filter that does not exist                                     error
    element         a crowd element that does not exist here, or whose name Liquid makes    error
    form            not exactly one crowd-form                                              error
    name            the answer would not have the name that a built-in job reads            error
    nameless        an element that answers under no name                                   warning
    variable        a name that the task's input does not have                              warning
    attribute       an attribute that the element does not know                             warning
    external        something that is loaded from elsewhere                                 warning
    invisible       a character that shows nothing, or turns the text around                warning

Anything that a script or `skip_autoescape` puts on the page is not seen here.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlsplit

from gtlabel.portal.elements import ELEMENTS, REGIONS, Element
from gtlabel.portal.liquid import Templates, line_of
from gtlabel.portal.problems import Problem

MAX_CHARACTERS = 128_000

_CROWD_SCRIPT = re.compile(r"^(https?:)?//assets\.crowd\.aws/crowd-html-elements\.js$", re.IGNORECASE)
_ELSEWHERE = re.compile(r"^\s*(https?:)?//", re.IGNORECASE)
_STYLE_URL = re.compile(r"(?:url\(|@import)\s*['\"]?\s*((?:https?:)?//[^'\")\s]+)", re.IGNORECASE)
_LOADED = {
    "audio": "src",
    "embed": "src",
    "iframe": "src",
    "img": "src",
    "link": "href",
    "object": "data",
    "script": "src",
    "source": "src",
    "video": "src",
}
_EVERYWHERE = frozenset(
    {"class", "dir", "hidden", "id", "lang", "part", "role", "slot", "style", "tabindex", "title"}
)
_EVERYWHERE_PREFIXES = ("aria-", "data-", "on")
# Where Liquid stands, to the HTML parser: a letter that no template means.
_MARK = "\ue000"
_OPENING = re.compile(r"\{[{%]")
_SKIPPED = re.compile(r"\{%-?\s*(comment|doc)\b")
# Marks of direction and characters of no width; a variation selector or a soft hyphen does no harm.
_INVISIBLE = re.compile("[\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]")


def lint(
    template: str, *, element: str = "", sample: Any = None, templates: Templates | None = None
) -> list[Problem]:
    """Everything that is wrong with a template, by line.

    Args:
        template: the template's text.
        element: the element whose answer a built-in job reads, under the element's own name.
        sample: the input of one task, to look up what the template asks of `task.input`.
        templates: what parses it; whoever lints many need not make one for each.
    """
    found = [*_of_size(template), *_of_letters(template)]
    analysis, unparsed = (templates or Templates()).analyze(template)
    found += unparsed
    if analysis is not None:
        found += _of_variables(template, analysis.globals, sample)
    found += _Page(template, element).problems
    return sorted(found, key=lambda problem: (problem.line or 0, problem.severity))


def _of_size(template: str) -> Iterator[Problem]:
    if not 1 <= len(template) <= MAX_CHARACTERS:
        sentence = f"the template has {len(template):,} characters; 1 to {MAX_CHARACTERS:,} are allowed"
        yield Problem("error", "size", None, sentence)


def _of_letters(template: str) -> Iterator[Problem]:
    for found in _INVISIBLE.finditer(template):
        # A mark of the byte order at the very start is what some editors write.
        if found.start() or found[0] != "\ufeff":
            name = unicodedata.name(found[0], "?").lower()
            sentence = f"an invisible character, U+{ord(found[0]):04X} {name}"
            yield Problem("warning", "invisible", line_of(template, found.start()), sentence)


def _of_variables(template: str, used: Mapping[str, Any], sample: Any) -> Iterator[Problem]:
    for variable in [variable for variables in used.values() for variable in variables]:
        line = line_of(template, variable.span.index)
        segments = variable.segments
        if segments[:2] != ["task", "input"]:
            if segments != ["task"]:
                sentence = f"nothing is known as {str(variable)!r} here; a template is given task.input"
                yield Problem("warning", "variable", line, sentence)
        elif sample is not None:
            missing = _missing(segments[2:], sample)
            if missing:
                yield Problem("warning", "variable", line, f"{variable} is empty: {missing}")


def _missing(segments: list[Any], value: Any) -> str:
    """Why a path leads nowhere in the sample, or nothing; what is looked up while rendering is not known."""
    for number, segment in enumerate(segments):
        if isinstance(segment, list):
            return ""
        if isinstance(value, Mapping):
            if segment in value:
                value = value[segment]
                continue
            if segment == "size":
                return ""
            where = ".".join(["task.input", *map(str, segments[:number])])
            return f"{where} has no {segment!r}, only {', '.join(map(repr, value)) or 'nothing'}"
        if isinstance(value, list) and isinstance(segment, int) and -len(value) <= segment < len(value):
            value = value[segment]
            continue
        if isinstance(value, (list, str)) and segment in ("size", "first", "last"):
            return ""
        return f"{'.'.join(['task.input', *map(str, segments[:number])])} has no {segment!r}"
    return ""


class _Page(HTMLParser):
    """The elements of a template, with what is wrong with them."""

    def __init__(self, template: str, element: str) -> None:
        super().__init__()
        self.problems: list[Problem] = []
        self._element = element
        self._forms = 0
        self._names: list[tuple[int, str]] = []
        self._inside = ""
        self.feed(_masked(template))
        self.close()
        self._judge()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self._inside = tag if tag in ("style", "script") else ""
        if tag == "crowd-form":
            self._forms += 1
        if tag == self._element:
            self._names.append((self.getpos()[0], given.get("name", "")))
        known = ELEMENTS.get(tag) or REGIONS.get(tag)
        if known is not None:
            self._look_at(known, given)
        elif tag.startswith("crowd-") and _MARK not in tag:
            self._add("error", "element", f"there is no element <{tag}> here; nobody could answer with it")
        elif _MARK in tag:
            self._add("error", "element", "Liquid makes the name of an element; write it out")
        self._look_for_others(tag, given)

    def handle_endtag(self, tag: str) -> None:
        if tag == self._inside:
            self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "style":
            first = self.getpos()[0]
            for found in _STYLE_URL.finditer(data):
                is_style = found[0].lower().startswith("@import")
                self._add_external(
                    found[1], first + data.count("\n", 0, found.start()), can_be_allowed=is_style
                )

    def _look_at(self, known: Element, given: Mapping[str, str]) -> None:
        for name in given:
            if name in known.own:
                sentence = f"only gtlabel's <{known.name}> knows the attribute {name!r}; AWS's ignores it"
                self._add("warning", "attribute", sentence)
            elif not (
                name in known.attributes
                or name in _EVERYWHERE
                or name.startswith(_EVERYWHERE_PREFIXES)
                or _MARK in name
            ):
                self._add("warning", "attribute", f"<{known.name}> does not know the attribute {name!r}")
        if known.answers and not given.get("name") and known.name != self._element:
            self._add("warning", "nameless", f"<{known.name}> has no name, so its answer is lost")

    def _look_for_others(self, tag: str, given: Mapping[str, str]) -> None:
        address = given.get(_LOADED.get(tag, ""), "")
        if _ELSEWHERE.match(address) and not (tag == "script" and _CROWD_SCRIPT.match(address.strip())):
            self._add_external(address.strip(), self.getpos()[0], can_be_allowed=tag in ("script", "link"))

    def _judge(self) -> None:
        if self._forms != 1:
            count = "no <crowd-form>" if not self._forms else f"{self._forms} <crowd-form> elements"
            self._add("error", "form", f"the template has {count}; answers are sent by exactly one", None)
        if self._element and not self._names:
            sentence = f"the template has no <{self._element}>, whose answer the job reads"
            self._add("error", "name", sentence, None)
        for line, name in self._names:
            if name != self._element:
                sentence = (
                    f"<{self._element}> is named {name!r}; "
                    f"its answers become labels only under the name {self._element!r}"
                )
                self._add("error", "name", sentence, line)

    def _add_external(self, address: str, line: int, *, can_be_allowed: bool) -> None:
        sentence = f"{address} is not on this server, and workers' pages load nothing from elsewhere"
        host = urlsplit(address).netloc
        if can_be_allowed and host:
            sentence += f" unless it is started with --allow-asset-host {host}"
        self._add("warning", "external", sentence, line)

    def _add(self, severity: Any, code: str, sentence: str, line: int | None = -1) -> None:
        self.problems.append(Problem(severity, code, self.getpos()[0] if line == -1 else line, sentence))


def _masked(template: str) -> str:
    """A template without its Liquid: as many lines as before, and nothing that HTML would take for its own.

    It looks at every place once; a regular expression for the whole would look again and again for an end
    that a broken template lacks.
    """
    parts, place = [], 0
    while opening := _OPENING.search(template, place):
        start = opening.start()
        end = template.find("}}" if opening[0] == "{{" else "%}", start)
        skipped = _SKIPPED.match(template, start)
        if skipped and end >= 0:
            last = re.compile(rf"\{{%-?\s*end{skipped[1]}\s*-?%\}}").search(template, end)
            end = last.end() - 2 if last else -1
        if end < 0:
            break
        parts += [template[place:start], _MARK, "\n" * template.count("\n", start, end)]
        place = end + 2
    return "".join([*parts, template[place:]])
