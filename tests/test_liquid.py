"""Worker templates: rendered as Ground Truth does, looked at before they are shown, and never dangerous."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gtlabel.errors import StorageError, TemplateError
from gtlabel.portal.elements import ELEMENTS
from gtlabel.portal.lint import lint
from gtlabel.portal.liquid import Templates
from gtlabel.portal.problems import Problem, Rendered
from gtlabel.portal.renderer import Renderer
from gtlabel.templates import list_templates, read_template

PICTURE = "s3://trash/images/1.jpg"
TASK = {
    "taskObject": PICTURE,
    "source-ref": PICTURE,
    "labels": ["Paper & card", 'the "rest"'],
    "bin-metadata": {"class-map": {"0": "Paper"}},
}


def grant(uri: str) -> str:
    return f"https://signed/?of={uri}&for=1h"


def render(template: str, task_input: Any = None) -> str:
    done = Templates().render(template, TASK if task_input is None else task_input, grant)
    assert done.errors == []
    return done.content


def page(inside: str) -> str:
    return f"<crowd-form>\n{inside}\n</crowd-form>"


@pytest.fixture(scope="module")
def renderer() -> Iterator[Renderer]:
    made = Renderer()
    yield made
    made.close()


@pytest.fixture(scope="module")
def impatient() -> Iterator[Renderer]:
    made = Renderer(seconds=0.5)
    yield made
    made.close()


# ---- rendering ---------------------------------------------------------------------------------------------


# The first four are the example of AWS's developer guide:
# https://docs.aws.amazon.com/sagemaker/latest/dg/sms-custom-templates-step2-automate.html
@pytest.mark.parametrize(
    ("template", "content"),
    [
        ("{{ \"James & the 'Giant'\" }}", "James &amp; the &#39;Giant&#39;"),
        ("{{ \"James & the 'Giant'\" | escape }}", "James &amp; the &#39;Giant&#39;"),
        ("{{ \"James &amp; the 'Giant'\" | escape_once }}", "James &amp; the &#39;Giant&#39;"),
        ("{{ \"James & the 'Giant'\" | skip_autoescape }}", "James & the 'Giant'"),
        ("{{ task.input.taskObject | grant_read_access }}", grant(PICTURE).replace("&", "&amp;")),
        ("{{ task.input.taskObject | s3_presign | size }}", str(len(grant(PICTURE)))),
        ("{{ 'https://here/1.jpg' | grant_read_access }}", "https://here/1.jpg"),
        ("[{{ task.input.nothing | grant_read_access }}]", "[]"),
        ("{{ task.input.source-ref }}", "s3://trash/images/1.jpg"),
        ("{{ task.input.bin-metadata.class-map['0'] }}", "Paper"),
        ("[{{ task.nothing.at.all }}{{ nothing }}]", "[]"),
        ("{{ task.input.nothing | to_json }}", "null"),
        ("{{ true }} {{ 1.5 }} {{ nil }} {{ (1..3) }} {{ (1..3) | to_json }}", "true 1.5  1..3 [1,2,3]"),
        ("{% echo '<' %}{% liquid echo '<' %}{% cycle '<', '>' %}", "&lt;&lt;&lt;"),
        ("{{ '<' | escape | append: '>' }}", "&amp;lt;&gt;"),
        ("{% raw %}{{ as it is }}{% endraw %}", "{{ as it is }}"),
        ("{% for l in task.input.labels %}{{ forloop.index }}{{ l | size }} {% endfor %}", "112 210 "),
    ],
)
def test_templates_are_filled_as_aws_fills_them(template: str, content: str) -> None:
    assert render(template) == content


@pytest.mark.parametrize(
    "filters", ["", "| to_json", "| escape", "| to_json | escape", "| to_json | escape_once"]
)
def test_arrays_and_objects_are_json_that_is_escaped_once(filters: str) -> None:
    expected = "[&quot;Paper &amp; card&quot;,&quot;the \\&quot;rest\\&quot;&quot;]"
    assert render(f"{{{{ task.input.labels {filters} }}}}") == expected


def test_json_that_goes_into_a_script_cannot_end_it() -> None:
    script = render("{{ task.input | to_json | skip_autoescape }}", ["</script><script>evil()</script>"])
    assert script == '["\\u003c/script>\\u003cscript>evil()\\u003c/script>"]'


def test_what_was_captured_is_html_and_its_data_is_escaped_once() -> None:
    captured = "{% capture said %}<b>{{ task.input }}</b>{% endcapture %}"
    assert render(captured + "{{ said }}", "<i>") == "<b>&lt;i&gt;</b>"
    assert render(captured + "{{ said | escape }}", "<i>") == "&lt;b&gt;&lt;i&gt;&lt;/b&gt;"
    assert "<" not in render(captured + "{{ said | append: '!' }}", "<i>")


@pytest.mark.parametrize(
    ("template", "problems"),
    [
        (
            "\n{{ a | sparkle }}\n{% if false %}{{ b | glitter }}{% endif %}",
            ["line 2: there is no Liquid filter 'sparkle'", "line 3: there is no Liquid filter 'glitter'"],
        ),
        ("{{ a | safe }}", ["line 1: there is no Liquid filter 'safe'"]),
        ("\n{% include 'x' %}{% render 'y' %}", ["line 2: there is no Liquid tag 'include'"]),
        ("\n\n{% if a %}", ["line 3: the tag 'if' is never closed"]),
        ("\n{{ a b | }}", ["line 2: expected end of expression, found word"]),
        ("\n{{ 1 | divided_by: 0 }}", ["line 2: divided_by: can't divide by 0"]),
        ("\n{{ 'ftp://x' | grant_read_access }}", ["line 2: 'ftp://x' is neither an S3 address nor a URL"]),
    ],
)
def test_a_template_that_cannot_be_rendered_says_where_and_why(template: str, problems: list[str]) -> None:
    done = Templates().render(template, {}, grant)
    assert done.content == ""
    assert [str(problem) for problem in done.errors][: len(problems)] == problems
    assert {problem.severity for problem in done.errors} == {"error"}


HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</crowd-form></title></textarea><b>",
    "{{ task.input }}{% raw %}",
    "&lt;b&gt;&quot;&#39;",
    "\u202egnp.exe\u200b",
    "x" * 300,
    "<!--",
    "`${alert(1)}`\\",
]
CONTEXTS = [
    "{{ task.input.name }}",
    "{{ task.input.name | escape }}",
    "{{ task.input.name | escape_once }}",
    "{{ task.input.names | to_json | escape }}",
    "{{ task.input }}",
    "{{ task.input.names | join: ', ' | upcase }}",
    "{{ task.input.name | escape | url_decode | replace: 'lt;', '<' | strip_html }}",
    "{% capture c %}{{ task.input.name }}{% endcapture %}{{ c }}{{ c | escape }}{{ c | append: c }}",
    "{% for n in task.input.names %}{% cycle n, n %}{% echo n %}{% endfor %}",
    "{% assign n = task.input.name | escape | downcase | url_decode %}{{ n }}",
]


class Tags(HTMLParser):
    """What a browser would take for tags and attributes."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, list[str]]] = []
        self.other = 0
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, [name for name, _ in attrs]))

    def handle_endtag(self, tag: str) -> None:
        self.tags.append(("/" + tag, []))

    def handle_comment(self, _: str) -> None:
        self.other += 1

    def handle_decl(self, _: str) -> None:
        self.other += 1

    def unknown_decl(self, _: str) -> None:
        self.other += 1

    def handle_pi(self, _: str) -> None:
        self.other += 1


PAGES = Templates()


@given(
    name=st.one_of(
        st.sampled_from(HOSTILE), st.text(alphabet="<>\"'&;{%}/=! abclt#3-[]()", max_size=60), st.text()
    )
)
@example(name="%3Cscript%3E%22 onload=x")
@example(name="&LT;b&GT;")
def test_no_name_of_a_class_becomes_a_tag_or_an_attribute(name: str) -> None:
    inner = "".join(f"<p title=\"{one}\" class='{one}'>{one}</p>" for one in CONTEXTS)
    done = PAGES.render(inner, {"name": name, "names": [name, "b"]}, grant)
    assert done.errors == []
    seen = Tags(done.content)
    assert seen.tags == [("p", ["title", "class"]), ("/p", [])] * len(CONTEXTS)
    assert seen.other == 0


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda one: st.lists(one) | st.dictionaries(st.text(), one),
        max_leaves=8,
    )
)
def test_whatever_a_task_holds_arrives_in_an_attribute_as_json(value: Any) -> None:
    import html
    import json

    done = PAGES.render("{{ task.input | to_json | escape }}", value, grant)
    assert json.loads(html.unescape(done.content)) == value


# ---- the guarded process -----------------------------------------------------------------------------------


def test_a_page_is_rendered_in_a_process_that_knows_nothing(renderer: Renderer) -> None:
    asked: list[str] = []

    def sign(uri: str) -> str:
        asked.append(uri)
        return grant(uri)

    granted = "{{ task.input.taskObject | grant_read_access }}"
    twice = f"{granted}|{granted.replace(' }}', ' | size }}')}"
    done = renderer.render(twice, TASK, grant=sign)
    signed = grant(PICTURE)
    assert (done.content, done.errors) == (f"{signed.replace('&', '&amp;')}|{len(signed)}", [])
    assert asked == [PICTURE]
    assert asyncio.run(renderer.render_async("{{ task.input }}", "<", grant=grant)).content == "&lt;"

    (child, *_) = _children()
    assert Path(f"/proc/{child}/environ").read_bytes() in (b"", b"LC_CTYPE=C.UTF-8\0")
    assert list(Path(f"/proc/{child}/cwd").iterdir()) == []


def test_who_refuses_access_is_quoted_and_the_process_goes_on(renderer: Renderer) -> None:
    def refuse(uri: str) -> str:
        raise StorageError(f"{uri} is nobody's business")

    done = renderer.render("{{ task.input.taskObject | grant_read_access }}", TASK, grant=refuse)
    assert done.errors == [Problem("error", "grant", None, "s3://trash/images/1.jpg is nobody's business")]
    flood = "{% for i in (1..2000) %}{{ 's3://b/' | append: i | grant_read_access }}{% endfor %}"
    (problem,) = renderer.render(flood, {}, grant=grant).errors
    assert problem.sentence == "the template asks for access to more than 1000 objects"
    assert renderer.render("{{ task.input }}", 1, grant=grant).content == "1"


DOUBLING = "{% assign s = 'xxxxxxxx' %}" + "{% assign s = s | append: s %}" * 60 + "{{ s }}"
BOMBS = {
    "nested loops": "{% for a in (1..999) %}" * 9 + "x" + "{% endfor %}" * 9,
    "huge range": "{{ (1..99999999) | join }}",
    "range as json": "{{ (1..99999999) | to_json }}",
    "doubling": DOUBLING,
    "squaring": "{% assign n = 9 %}" + "{% assign n = n | times: n %}" * 60 + "{{ n | minus: n }}",
    "giant capture": "{% capture c %}"
    + "x" * 9999
    + "{% endcapture %}{% for i in (1..99999) %}{{ c }}{% endfor %}",
    "capture of captures": "{% capture c %}{{ c }}{{ c }}xxxxxxxx{% endcapture %}" * 60 + "{{ c }}",
    "deep blocks": "{% if true %}" * 3000 + "{% endif %}" * 3000,
    "deep brackets": "{{ " + "a[" * 20_000 + "1" + "]" * 20_000 + " }}",
    "replacing": "{% assign s = 'a' %}"
    + "{% assign s = s | replace: 'a', 'aaaaaaaaaaaaaaaa' %}" * 30
    + "{{ s }}",
    "unclosed output": "{{" * 60_000,
    "unclosed raw": "{% raw %}" * 14_000,
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_is_stopped_in_time(impatient: Renderer, bomb: str) -> None:
    began = time.monotonic()
    (problem, *_) = impatient.render(BOMBS[bomb], TASK, grant=grant).errors
    # Without a limit most of them go on for hours, and half a second is what they get.
    assert time.monotonic() - began < 30
    assert problem.severity == "error"
    assert problem.code in ("limit", "time", "memory", "parse-error")


def test_two_seconds_are_what_a_page_gets(renderer: Renderer) -> None:
    began = time.monotonic()
    (problem,) = renderer.render(BOMBS["squaring"], TASK, grant=grant).errors
    assert 2.0 <= time.monotonic() - began < 30
    assert problem == Problem("error", "time", None, "the template was stopped after 2 s")


def test_memory_is_limited_whatever_the_time() -> None:
    patient = Renderer(seconds=60, memory=160 * 2**20)
    (problem,) = patient.render(BOMBS["huge range"], TASK, grant=grant).errors
    assert problem == Problem("error", "memory", None, "the template took more than 160 MB")
    assert patient.render("{{ task.input }}", 1, grant=grant).content == "1"
    patient.close()


def test_a_page_that_takes_too_long_to_look_at_is_stopped_too(impatient: Renderer) -> None:
    assert [problem.code for problem in impatient.lint("{{" * 60_000)] == ["time"]


def test_bombs_do_not_keep_others_from_their_pages() -> None:
    shared = Renderer(seconds=3)
    bomb = BOMBS["squaring"]

    def render_one() -> Rendered:
        return shared.render("{{ task.input }}", "here", grant=grant)

    with ThreadPoolExecutor(12) as people:
        # All processes are there before the bomb comes: one that starts takes its time on a busy machine.
        assert [one.content for one in people.map(lambda _: render_one(), range(12))] == ["here"] * 12
        first = people.submit(shared.render, bomb, {}, grant=grant)
        assert [people.submit(render_one).result(timeout=120).content for _ in range(20)] == ["here"] * 20
        assert not first.done(), "the others were to be served while the bomb was at work"
        assert first.result(timeout=120).errors[0].sentence == "the template was stopped after 3 s"
        # Known now: however many of its tasks are asked for, it has one process, and the others have theirs.
        again = [people.submit(shared.render, bomb, {}, grant=grant) for _ in range(6)]
        time.sleep(0.1)
        assert [render_one().content for _ in range(20)] == ["here"] * 20
        # Side by side they would have been stopped all together before anybody else was served.
        assert sum(one.done() for one in again) <= 1
        shared.close()
        ends = [one.exception(timeout=120) for one in again]
        assert sum("the renderer was closed" in str(end) for end in ends) >= 3
    with pytest.raises(TemplateError, match="the renderer was closed"):
        render_one()


def test_threads_share_a_renderer(renderer: Renderer) -> None:
    def one(number: int) -> str:
        return renderer.render(
            "{{ task.input.n }}{{ 's3://b/k' | grant_read_access }}", {"n": number}, grant=str
        ).content

    with ThreadPoolExecutor(8) as people:
        assert list(people.map(one, range(200))) == [f"{number}s3://b/k" for number in range(200)]


def test_children_end_with_who_started_them() -> None:
    program = (
        "import os, signal\n"
        "from pathlib import Path\n"
        "from gtlabel.portal.renderer import Renderer\n"
        "Renderer().render('{{ 1 }}', {}, grant=str)\n"
        "print(*(one.read_text() for one in Path('/proc/self/task').glob('*/children')), flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert run.stderr == ""
    (child,) = run.stdout.split()
    deadline = time.monotonic() + 60
    while _is_child(int(child)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _is_child(int(child))


def _children() -> list[int]:
    """The guarded processes of this one."""
    below = Path(f"/proc/{os.getpid()}/task").glob("*/children")
    return [int(pid) for one in below for pid in one.read_text().split() if _is_child(int(pid))]


def _is_child(pid: int) -> bool:
    try:
        return b"renderchild" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False


# ---- lint --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [one.name for one in list_templates() if one.name.startswith("tasks/")])
def test_shipped_pages_are_clean_and_can_be_rendered(renderer: Renderer, name: str) -> None:
    text = read_template(name)
    assert renderer.lint(text) == []
    assert renderer.render(text, TASK, grant=grant).errors == []


NAMED = '<crowd-image-classifier name="crowd-image-classifier"></crowd-image-classifier>'


@pytest.mark.parametrize(
    ("template", "found"),
    [
        (page('<crowd-input name="a"></crowd-input>'), []),
        (page("<p>{{ 'x' }}"), []),
        ("", ["size: the template has 0 characters; 1 to 128,000 are allowed", "form: *"]),
        (page("x" * 128_000), ["size: the template has 128,027 characters; 1 to 128,000 are allowed"]),
        ("<p></p>", ["form: the template has no <crowd-form>; answers are sent by exactly one"]),
        (page("") * 2, ["form: the template has 2 <crowd-form> elements; *"]),
        (page("{% if a %}"), ["parse-error: line 2: the tag 'if' is never closed"]),
        (page("{{ 1 | b }}"), ["unknown-filter: line 2: there is no Liquid filter 'b'"]),
        (page("{% c %}"), ["unknown-tag: line 2: there is no Liquid tag 'c'"]),
        (page("\n<crowd-line name='a'>"), ["element: line 3: there is no element <crowd-line> here; *"]),
        (page("<Crowd-Polyline/>"), ["element: line 2: there is no element <crowd-polyline> here; *"]),
        (page("<crowd-entity-annotation/>"), ["element: line 2: *"]),
        (
            page("<crowd-{{ a }} x>"),
            ["element: line 2: Liquid makes the name of an element; *", "variable: *"],
        ),
        (page("<!-- <crowd-line> -->{% comment %}<crowd-line>\n{% endcomment %}<b {{ 1 }}>"), []),
        (page("{% comment %}\n\n{% endcomment %}<crowd-line>"), ["element: line 4: *"]),
        (page("{% raw %}<crowd-line>{% endraw %}"), ["element: line 2: *"]),
        (page("<crowd-input>"), ["nameless: line 2: <crowd-input> has no name, so its answer is lost"]),
        (
            page('<crowd-input name="a" lable="b" id="c" data-d="e" onchange="f()">'),
            ["attribute: line 2: <crowd-input> does not know the attribute 'lable'"],
        ),
        (
            page('<crowd-classifier name="a" initial-value="b">'),
            ["attribute: line 2: only gtlabel's <crowd-classifier> knows the attribute 'initial-value'; *"],
        ),
        (page("<worker-comment link-txt='a'>"), ["attribute: line 2: <worker-comment> does not know *"]),
        (
            page("{{ tsk.input }}{{ task.id }}"),
            ["variable: line 2: nothing is known as 'tsk.input' here; *", "variable: line 2: *"],
        ),
        (page("{% for a in task.input.labels %}{{ a }}{{ forloop.index }}{% endfor %}"), []),
        (
            page("<script src='//cdn.example/a.js'></script>\n<img src='https://a.example/b.png'>"),
            ["external: line 2: //cdn.example/a.js is not *", "external: line 3: https://a.example/b.png *"],
        ),
        (
            page("<style>\n@import 'https://a.example/b';\n</style>"),
            ["external: line 3: https://a.example/b *"],
        ),
        (page('<script src="https://assets.crowd.aws/crowd-html-elements.js"></script>'), []),
        (page("<a href='https://a.example/'>a</a><img src='{{ task.input.a | grant_read_access }}'>"), []),
        (page("a\u202eb"), ["invisible: line 2: an invisible character, U+202E right-to-left override"]),
        (page("\u200b"), ["invisible: line 2: an invisible character, U+200B zero width space"]),
    ],
)
def test_what_is_wrong_with_a_page_is_found(template: str, found: list[str]) -> None:
    problems = [f"{problem.code}: {problem}" for problem in lint(template)]
    assert len(problems) == len(found), problems
    for problem, expected in zip(problems, found, strict=True):
        assert problem == expected if expected[-1] != "*" else problem.startswith(expected[:-1])


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ('name="crowd-image-classifier"', None),
        ('name="bin"', "<crowd-image-classifier> is named 'bin'; its answers become labels only under *"),
        ("", "<crowd-image-classifier> is named ''; *"),
    ],
)
def test_a_built_in_job_wants_its_element_under_its_own_name(name: str, sentence: str | None) -> None:
    found = lint(page(f"<crowd-image-classifier {name}>"), element="crowd-image-classifier")
    assert [problem.code for problem in found] == (["name"] if sentence else [])
    assert sentence is None or found[0].sentence.startswith(sentence.rstrip("*"))
    (missing,) = lint(page("<p>"), element="crowd-image-classifier")
    assert missing.sentence == "the template has no <crowd-image-classifier>, whose answer the job reads"


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ("task.input.labels", None),
        ("task.input.labels.size", None),
        ("task.input.labels[1]", None),
        ("task.input.labels.first", None),
        ("task.input[key].deep", None),
        ("task.input", None),
        ("task.input.label", "task.input.label is empty: task.input has no 'label', only 'taskObject', *"),
        ("task.input.labels[2]", "task.input.labels[2] is empty: task.input.labels has no 2"),
        (
            "task.input.bin-metadata.clas",
            "task.input.bin-metadata.clas is empty: task.input.bin-metadata has no *",
        ),
        (
            "task.input.taskObject.url",
            "task.input.taskObject.url is empty: task.input.taskObject has no 'url'",
        ),
    ],
)
def test_what_a_page_asks_in_vain_of_a_task_is_named(asked: str, sentence: str | None) -> None:
    found = lint(page(f"{{% assign key = 'a' %}}{{{{ {asked} }}}}"), sample=TASK)
    assert [problem.code for problem in found] == (["variable"] if sentence else [])
    assert sentence is None or found[0].sentence.startswith(sentence.rstrip("*"))


def test_every_element_exists_under_its_own_name() -> None:
    for name in ELEMENTS:
        text = page(f'<{name} name="a"></{name}>') if name != "crowd-form" else page("")
        assert {problem.code for problem in lint(text)} <= {"attribute"}, name


def test_looking_at_a_page_in_many_threads_is_safe(renderer: Renderer) -> None:
    barrier = threading.Barrier(4)

    def one(_: int) -> list[Problem]:
        barrier.wait()
        return renderer.lint(page(NAMED), element="crowd-image-classifier")

    with ThreadPoolExecutor(4) as people:
        assert list(people.map(one, range(4))) == [[]] * 4
