"""Worker templates in Liquid, as Ground Truth renders them: AWS's filters and AWS's escaping.

Everything that is printed is escaped for HTML, string literals included, unless `skip_autoescape` came last.
What `escape`, `escape_once` and `{% capture %}` give is HTML already and is not escaped twice; any further
filter makes it text again, so no chain of filters can smuggle a tag in. Arrays and objects are printed as
JSON, undefined names as nothing.
https://docs.aws.amazon.com/sagemaker/latest/dg/sms-custom-templates-step2-automate.html and
contract/worker-ui.md 2.

A template can still cost any amount of time and memory: whoever did not write it lets it run in the guarded
process of `gtlabel.portal.renderer`, never here.
"""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from io import StringIO
from typing import Any, TextIO

from liquid import BoundTemplate, Environment, RenderContext
from liquid.builtin.output import Output, OutputNode
from liquid.builtin.tags.capture_tag import CaptureNode, CaptureTag
from liquid.builtin.tags.cycle_tag import CycleNode, CycleTag
from liquid.builtin.tags.echo_tag import EchoNode, EchoTag
from liquid.exceptions import FilterArgumentError, LiquidError, ResourceLimitError
from liquid.span import Span
from liquid.static_analysis import TemplateAnalysis
from liquid.undefined import is_undefined

from gtlabel.portal.problems import Problem, Rendered

Grant = Callable[[str], str]

_REMEMBERED = 16
# Tags that would read other files, and filters that are python-liquid's own and not AWS's.
_FOREIGN_TAGS = ("include", "render")
_FOREIGN_FILTERS = ("safe", "escapejs")
_S3_URI = re.compile(r"s3://[^/\s]+/.+", re.DOTALL)
_URL = re.compile(r"https?://", re.IGNORECASE)
_LITERAL = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;"}
_ESCAPES = str.maketrans(_LITERAL)
_UNESCAPED = re.compile(r"""[<>"']|&(?!(?:[a-zA-Z][a-zA-Z0-9]*|#\d+|#[xX][0-9a-fA-F]+);)""")

# Filters that see text; AWS's engine is JavaScript's, where an array or an object becomes text as JSON.
_TEXT_FILTERS = (
    *("append", "capitalize", "downcase", "lstrip", "newline_to_br", "prepend", "remove", "remove_first"),
    *("remove_last", "replace", "replace_first", "replace_last", "rstrip", "split", "squish", "strip"),
    *("strip_html", "strip_newlines", "truncate", "truncatewords", "upcase", "url_decode", "url_encode"),
    *("base64_decode", "base64_encode", "base64_url_safe_decode", "base64_url_safe_encode"),
)


class GrantRefusedError(Exception):
    """Whoever grants access to pictures would not; the message says why."""


class Templates:
    """Parses, analyzes and renders templates, and remembers the last few that it parsed.

    One thread at a time may use it.
    """

    def __init__(self) -> None:
        self._environment = _Environment()
        self._parsed: OrderedDict[str, BoundTemplate | list[Problem]] = OrderedDict()
        self._grant: Grant = _grant_nothing
        for name in ("grant_read_access", "s3_presign"):
            self._environment.add_filter(name, self._granted)

    def render(self, template: str, task_input: Any, grant: Grant) -> Rendered:
        """A template with `task.input` in it.

        Args:
            template: the template's text.
            task_input: what the template knows as `task.input`; anything that JSON has a word for.
            grant: gives the URL under which a worker's browser may read an object; it is given S3 URIs only.
        """
        bound = self._bound(template)
        if isinstance(bound, list):
            return Rendered("", bound)
        self._grant = grant
        try:
            return Rendered(bound.render(task={"input": task_input}), [])
        except LiquidError as error:
            code = "limit" if isinstance(error, ResourceLimitError) else "render-error"
            return Rendered("", [_problem(code, error)])
        except GrantRefusedError as error:
            return Rendered("", [Problem("error", "grant", None, str(error))])
        except RecursionError:
            return Rendered("", [Problem("error", "limit", None, "the template is nested too deeply")])
        except (ArithmeticError, ValueError, TypeError, LookupError, AttributeError) as error:
            # What a filter of python-liquid lets through, such as the square root of a word.
            sentence = f"a filter cannot work with what it was given: {error}"
            return Rendered("", [Problem("error", "render-error", None, sentence)])
        finally:
            self._grant = _grant_nothing

    def analyze(self, template: str) -> tuple[TemplateAnalysis | None, list[Problem]]:
        """What a template uses, and what keeps it from being parsed."""
        bound = self._bound(template)
        if isinstance(bound, list):
            return None, bound
        return bound.analyze(include_partials=False), []

    def _bound(self, template: str) -> BoundTemplate | list[Problem]:
        found = self._parsed.pop(template, None)
        if found is None:
            found = self._environment.parsed(template)
        self._parsed[template] = found
        if len(self._parsed) > _REMEMBERED:
            self._parsed.popitem(last=False)
        return found

    def _granted(self, value: object) -> str:
        text = printed(value)
        # A template that is tried out without the variable shows an empty place, as AWS's preview does.
        if not text or _URL.match(text):
            return str(text)
        if not _S3_URI.fullmatch(text):
            raise FilterArgumentError(f"{text!r} is neither an S3 address nor a URL", token=None)
        return self._grant(str(text))


def printed(value: object) -> str:
    """A value as Liquid prints it, before it is escaped."""
    if isinstance(value, str):
        return value
    if value is None or is_undefined(value):
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, range):
        return f"{value.start}..{value.stop - 1}"
    if isinstance(value, (list, tuple, dict)):
        return to_json(value)
    return str(value)


def to_json(value: object) -> _Json:
    """A value as JSON; undefined names are null."""
    return _Json(json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=_plain))


def escape(value: object) -> _Html:
    """Text for HTML; what is HTML already keeps its entities, and its tags become text."""
    text = printed(value)
    if isinstance(text, _Html):
        return escape_once(text)
    return _Html(text.translate(_ESCAPES))


def escape_once(value: object) -> _Html:
    """Text for HTML in which entities stay what they are."""
    return _Html(_UNESCAPED.sub(lambda found: _LITERAL[found[0]], printed(value)))


def skip_autoescape(value: object) -> _Html:
    """Whatever it is, as it is.

    JSON spells `<` in its own way then, which means the same: it mostly goes into a script, where nothing
    that the data holds may end the script.
    """
    text = printed(value)
    return _Html(text.replace("<", "\\u003c") if isinstance(text, _Json) else text)


def line_of(template: str, index: int) -> int:
    """The line that a place in a template lies in, counted from 1."""
    return template.count("\n", 0, index) + 1


class _Html(str):
    """Text that is HTML already. Whatever a filter makes of it is plain text again."""

    __slots__ = ()


class _Json(str):
    """Text that is JSON."""

    __slots__ = ()


class _Environment(Environment):
    """Liquid with AWS's filters; escaping is done where things are printed, not by python-liquid."""

    block_nesting_limit = 30
    context_depth_limit = 30
    loop_iteration_limit = 100_000
    local_namespace_limit = 16_000_000
    output_stream_limit = 4_000_000

    def __init__(self) -> None:
        super().__init__(autoescape=False)

    def setup_tags_and_filters(self, *, extra: bool = False) -> None:
        super().setup_tags_and_filters(extra=extra)
        for tag in _FOREIGN_TAGS:
            del self.tags[tag]
        for name in _FOREIGN_FILTERS:
            self.filters.pop(name, None)
        for printing in (_Output, _Echo, _Cycle, _Capture):
            self.add_tag(printing)
        for name in _TEXT_FILTERS:
            if name in self.filters:
                self.add_filter(name, _of_text(self.filters[name]))
        for filter_ in (to_json, escape, escape_once, skip_autoescape):
            self.add_filter(filter_.__name__, filter_)

    def parsed(self, template: str) -> BoundTemplate | list[Problem]:
        """A template, or why it is none."""
        try:
            tags = self.analyze_tags_from_string(template)
            if tags.unknown_tags:
                return _each(template, tags.unknown_tags, "unknown-tag", "there is no Liquid tag {!r}")
            if tags.unclosed_tags:
                return _each(template, tags.unclosed_tags, "parse-error", "the tag {!r} is never closed")
            bound = self.from_string(template)
            used = bound.analyze(include_partials=False).filters
        except LiquidError as error:
            return [_problem("parse-error", error)]
        except RecursionError:
            return [Problem("error", "parse-error", None, "the template is nested too deeply")]
        unknown = {name: places for name, places in used.items() if name not in self.filters}
        return _each(template, unknown, "unknown-filter", "there is no Liquid filter {!r}") or bound


class _OutputNode(OutputNode):
    def render_to_output(self, context: RenderContext, buffer: TextIO) -> int:
        return buffer.write(_autoescaped(self.expression.evaluate(context)))


class _Output(Output):
    node_class = _OutputNode


class _EchoNode(EchoNode):
    def render_to_output(self, context: RenderContext, buffer: TextIO) -> int:
        return buffer.write(_autoescaped(self.expression.evaluate(context)))


class _Echo(EchoTag):
    node_class = _EchoNode


class _CycleNode(CycleNode):
    def render_to_output(self, context: RenderContext, buffer: TextIO) -> int:
        inner = StringIO()
        super().render_to_output(context, inner)
        return buffer.write(_autoescaped(inner.getvalue()))


class _Cycle(CycleTag):
    node_class = _CycleNode


class _CaptureNode(CaptureNode):
    def _assign(self, context: RenderContext, buf: StringIO) -> None:
        context.assign(self.name, _Html(buf.getvalue()))


class _Capture(CaptureTag):
    node_class = _CaptureNode


def _autoescaped(value: object) -> str:
    text = printed(value)
    return text if isinstance(text, _Html) else escape(text)


def _of_text(function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter that gets what is no text as it would be printed."""

    @wraps(function)
    def wrapper(value: object, *arguments: object, **named: object) -> object:
        texts = [printed(one) if isinstance(one, (list, dict, bool)) else one for one in arguments]
        return function(printed(value), *texts, **named)

    return wrapper


def _plain(value: object) -> object:
    """What JSON has no word for."""
    if is_undefined(value):
        return None
    if isinstance(value, range):
        return list(value)
    return dict(value) if isinstance(value, Mapping) else str(value)


def _each(template: str, places: Mapping[str, Sequence[Span]], code: str, sentence: str) -> list[Problem]:
    """The same problem with several names, each where it stands first."""
    return [
        Problem("error", code, line_of(template, found[0].index), sentence.format(name))
        for name, found in places.items()
    ]


def _problem(code: str, error: LiquidError) -> Problem:
    line = None
    if error.token is not None and error.token.start_index >= 0:
        line = line_of(error.token.source, error.token.start_index)
    return Problem("error", code, line, str(error.message or "Liquid cannot read it"))


def _grant_nothing(uri: str) -> str:
    raise GrantRefusedError(f"nobody grants access to {uri} here")
