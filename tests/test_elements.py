"""Our crowd elements: pages of every kind, answered in a real browser through the portal's own frames."""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from browser import DESKTOP, PHONE, colors, flaws
from hypothesis import given, settings
from hypothesis import strategies as st
from playwright.sync_api import Browser, Error
from template_acts import ACTS, TASK
from template_parts import TEMPLATES, Desk, desk, template

import gtlabel.portal
from gtlabel.portal.documents import frame_document
from gtlabel.portal.elements import ELEMENTS, REGIONS
from gtlabel.portal.lint import lint

NAMES = sorted(path.stem for path in TEMPLATES.glob("*.liquid"))
FULLY = {("desktop", "light"), ("phone", "dark")}
KNOWN = {**ELEMENTS, **REGIONS}
# What all elements of HTML have.
EVERYWHERE = {"aria-label", "class", "id", "onsubmit", "slot", "style", "title"}
NOT_READ = {
    ("crowd-form", "answer-format"): "Mechanical Turk's; Ground Truth's form does not look at it either",
    ("crowd-slider", "required"): "a slider always has a value",
}

# Writes down which attributes our elements ask for; axe asks for all of them and is not listened to.
_LISTEN = """(() => {
  const asked = window.asked = {};
  const note = (element, name) => (asked[element] ??= []).push(name);
  for (const method of ['getAttribute', 'hasAttribute']) {
    const plain = Element.prototype[method];
    Element.prototype[method] = function (name) {
      if (!window.deaf && this.localName.includes('-')) note(this.localName, name);
      return plain.call(this, name);
    };
  }
  const define = customElements.define;
  customElements.define = function (name, type) {
    asked[name] = [...(type.observedAttributes ?? [])];
    define.call(customElements, name, type);
  };
})();"""
# What a page has in too small a size, in our elements' shadows; a label is a target as well.
_SMALL = """() => {
  const inside = (root) => [...root.querySelectorAll('*')].flatMap(
    (node) => [node, ...(node.shadowRoot ? inside(node.shadowRoot) : [])]);
  return inside(document).filter((node) => node.getRootNode() !== document)
    .filter((node) => node.matches('button, a, input, textarea, [tabindex="0"]'))
    .map((node) => [node, (node.closest('label') ?? node).getBoundingClientRect()])
    .filter(([, {width, height}]) => width && height && (width < 24 || height < 24))
    .map(([node]) => node.outerHTML);
}"""
_WIDE = "() => document.scrollingElement.scrollWidth - window.innerWidth"

_GROUND = (Path(gtlabel.portal.__file__).parent / "static" / "crowd" / "01-ground.js").read_text()
# The reader by itself: what it makes of texts, with JSON's own before it and without.
_READ = f"""(texts) => {{
  {_GROUND}
  const tried = (read) => {{
    try {{ return read(); }} catch (error) {{ return error.name; }}
  }};
  return JSON.stringify(texts.map((text) =>
    [tried(() => readValue(text)), tried(() => new RelaxedReader(text).read())]));
}}"""

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)


def relaxed(value: Any, chance: random.Random) -> str:
    """A value as people write it into attributes."""
    space = chance.choice(["", " ", "\n  "])
    if isinstance(value, str):
        return quoted(value, chance)
    if isinstance(value, list):
        end = chance.choice(["", ","]) if value else ""
        return "[" + space + ("," + space).join(relaxed(one, chance) for one in value) + end + space + "]"
    if isinstance(value, dict):
        end = chance.choice(["", ","]) if value else ""
        members = [
            (key if re.fullmatch(r"[A-Za-z_$][\w$-]*", key, re.ASCII) else quoted(key, chance))
            + space
            + ":"
            + relaxed(one, chance)
            for key, one in value.items()
        ]
        return "{" + space + ("," + space).join(members) + end + "}"
    return json.dumps(value)


def quoted(text: str, chance: random.Random) -> str:
    mark = chance.choice("'\"")
    plain = text.replace("\\", "\\\\").replace(mark, "\\" + mark)
    return mark + chance.choice([plain, plain.replace("\n", "\\n").replace("é", "\\u00e9")]) + mark


@dataclass
class Shift:
    """What came of a template."""

    answer: str = ""
    again: str = ""
    trouble: str = ""
    complaints: list[str] = field(default_factory=list)
    flaws: dict[str, list[str]] = field(default_factory=dict)
    small: list[str] = field(default_factory=list)
    wide: int = 0


@dataclass
class Shifts:
    """What came of all templates, and what our elements asked for on the way."""

    by_template: dict[str, Shift] = field(default_factory=dict)
    asked: dict[str, set[str]] = field(default_factory=dict)


@pytest.fixture(scope="module")
def at_desk(browser: Browser) -> Iterator[Desk]:
    with desk(browser, scripts=[_LISTEN]) as made:
        yield made


@pytest.fixture(scope="module")
def shifts(at_desk: Desk) -> Shifts:
    """Each template, looked over and answered once: a page is not loaded again for every question."""
    done = Shifts()
    for name in NAMES:
        shift = done.by_template[name] = Shift()
        try:
            at_desk.open(template(name), TASK)
            look_over(at_desk, shift)
            ACTS[name](at_desk)
            shift.answer = at_desk.answer()
            shift.again = at_desk.answer_again(json.loads(shift.answer))
        except (AssertionError, Error, KeyError) as error:
            shift.trouble = f"{type(error).__name__}: {error}"
        shift.complaints = list(at_desk.complaints)
        for element, attributes in at_desk.frame.evaluate("() => asked").items():
            done.asked.setdefault(element, set()).update(attributes)
    return done


def look_over(at_desk: Desk, shift: Shift) -> None:
    """By both colors, on both sizes; what depends on neither is asked once for each."""
    at_desk.frame.evaluate("() => { window.deaf = true; }")
    for size, viewport in (("desktop", DESKTOP), ("phone", PHONE)):
        at_desk.page.set_viewport_size(viewport)
        for scheme in ("light", "dark"):
            at_desk.page.emulate_media(**colors(scheme))
            rules = [] if (size, scheme) in FULLY else ["color-contrast"]
            shift.flaws[f"{size}, {scheme}"] = flaws(at_desk.frame, *rules)
    shift.small = at_desk.frame.evaluate(_SMALL)
    shift.wide = at_desk.frame.evaluate(_WIDE)
    at_desk.page.emulate_media(**colors("light"))
    at_desk.page.set_viewport_size(DESKTOP)
    at_desk.settle()
    at_desk.frame.evaluate("() => { window.deaf = false; }")


@pytest.mark.parametrize("name", NAMES)
def test_a_template_gives_its_golden_answer(shifts: Shifts, name: str) -> None:
    shift = shifts.by_template[name]
    assert shift.trouble == ""
    assert shift.complaints == []
    assert shift.answer + "\n" == (TEMPLATES / f"{name}.json").read_text()


@pytest.mark.parametrize("name", NAMES)
def test_an_answer_that_is_shown_again_is_the_same_answer(shifts: Shifts, name: str) -> None:
    shift = shifts.by_template[name]
    assert shift.again == shift.answer


@pytest.mark.parametrize("name", NAMES)
def test_a_template_is_accessible_in_both_colors_and_sizes(shifts: Shifts, name: str) -> None:
    shift = shifts.by_template[name]
    assert [flaw for found in shift.flaws.values() for flaw in found] == []
    assert len(shift.flaws) == 4
    assert shift.small == []
    assert shift.wide <= 0


def test_every_element_and_attribute_is_used_by_a_template() -> None:
    used = _Used()
    for name in NAMES:
        used.feed(template(name))
    missing = {
        (element.name, attribute)
        for element in KNOWN.values()
        for attribute in ("", *element.attributes)
        if (element.name, attribute) not in used.pairs
    }
    assert missing == set()
    assert len(NAMES) >= 25


def test_the_lint_knows_exactly_the_elements_and_attributes_that_there_are(shifts: Shifts) -> None:
    elements = {name for name in shifts.asked if name.startswith("crowd-")}
    assert elements == set(ELEMENTS)
    listed = {(one.name, attribute) for one in KNOWN.values() for attribute in one.attributes}
    read = {(name, attribute) for name in KNOWN for attribute in shifts.asked.get(name, ())}
    assert sorted(listed - read) == sorted(NOT_READ)
    assert sorted(pair for pair in read - listed if pair[1] not in EVERYWHERE) == []


@pytest.mark.parametrize("name", NAMES)
def test_the_lint_has_nothing_against_the_templates_but_what_is_ours_alone(name: str) -> None:
    found = [problem for problem in lint(template(name)) if problem.code != "nameless"]
    ours = [problem for problem in found if "only gtlabel's" in problem.sentence]
    assert found == ours


def test_values_are_read_as_their_writers_meant_them(at_desk: Desk) -> None:
    cases: list[tuple[str, Any]] = []

    @settings(max_examples=150, deadline=None, database=None, derandomize=True)
    @given(VALUES, st.randoms(use_true_random=False))
    def collect(value: Any, chance: random.Random) -> None:
        cases.extend([(json.dumps(value), value), (relaxed(value, chance), value)])

    collect()
    # JavaScript has one kind of number.
    read = json.loads(at_desk.page.evaluate(_READ, [text for text, _ in cases]), parse_int=float)
    wrong = [(text, value) for (text, value), both in zip(cases, read, strict=True) if both != [value, value]]
    assert wrong == []


def test_what_is_no_value_is_refused_and_never_run(at_desk: Desk) -> None:
    broken = [
        "",
        "[",
        "{a}",
        "[1 2]",
        "alert(1)",
        "{a: alert(1)}",
        "['x'",
        "{'a' 1}",
        "[,]",
        "1 2",
        "'\\u12'",
    ]
    broken += [
        "[" * 70 + "]" * 70,
        "(() => 1)()",
        "`x`",
        "{__proto__: [}",
        "[undefined]",
        "01",
        "-",
        "'\\u12'",
    ]
    read = json.loads(at_desk.page.evaluate(_READ, broken))
    assert [relaxed_read for _, relaxed_read in read] == ["SyntaxError"] * len(broken)
    strange = {"__proto__": {"bad": 1}, "constructor": 2}
    assert json.loads(at_desk.page.evaluate(_READ, [json.dumps(strange)])) == [[strange, strange]]


def test_a_page_of_any_length_is_framed_in_no_time() -> None:
    for part in (
        "<script ",
        "<script src=//assets.crowd.aws/crowd-html-elements.js",
        "<crowd-x ",
        '<crowd-x a="',
    ):
        began = time.monotonic()
        frame_document(part * (1_000_000 // len(part)), nonce="n", origin="o", title="t")
        # Looking at every place again and again would take hours.
        assert time.monotonic() - began < 60


@pytest.mark.parametrize(
    "script",
    [
        '<script src="https://assets.crowd.aws/crowd-html-elements.js"></script>',
        "<SCRIPT async src='//assets.crowd.aws/crowd-html-elements.js' >\n</SCRIPT>",
        "<script src=https://assets.crowd.aws/crowd-html-elements-v2.js/>",
    ],
)
def test_our_elements_stand_in_for_the_script_of_aws(script: str) -> None:
    page = frame_document(f"{script}<p>", nonce="n", origin="o", title="</title>")
    assert "assets.crowd.aws" not in page
    assert page.count('<script src="/static/crowd.js?v=') == 1
    assert page.index("crowd.js") < page.index("<p>")
    assert "<title>&lt;/title>" in page


class _Used(HTMLParser):
    """Which elements with which attributes there are."""

    def __init__(self) -> None:
        super().__init__()
        self.pairs: set[tuple[str, str]] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.pairs |= {(tag, ""), *((tag, name) for name, _ in attrs)}
