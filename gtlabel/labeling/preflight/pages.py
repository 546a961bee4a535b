"""Whether the worker template and the class list can be read, and would work."""

from __future__ import annotations

from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING

from gtlabel.errors import ClassListError, StorageDeniedError, StorageError
from gtlabel.labeling.preflight.findings import Finding, error, ok, unchecked, warning
from gtlabel.labeling.preflight.subject import Subject
from gtlabel.labeling.tasks import ANSWER_KEY, ANSWER_KEY_MULTI, TASKS, Task
from gtlabel.manifests.classes import ClassList, check_classes
from gtlabel.storage import read
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from gtlabel.aws import Aws

# https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_UiTemplate.html
MAX_TEMPLATE_CHARACTERS = 128_000
# https://docs.aws.amazon.com/sagemaker/latest/dg/sms-ui-template-crowd-form.html and its siblings
_SCRIPT = "crowd-html-elements.js"
_ELEMENTS = {Task.SINGLE: ANSWER_KEY, Task.MULTI: ANSWER_KEY_MULTI}
_FIELDS = frozenset({"input", "select", "textarea", "button"})


def check_template(aws: Aws, subject: Subject) -> Iterator[Finding]:
    """Whether the worker template can be read, shows the picture and gives an answer that fits the task."""
    if subject.template is None:
        return
    try:
        text = _text(aws, subject.template)
    except (OSError, UnicodeDecodeError, StorageError) as why:
        yield _unreadable("template", "the worker template", why)
        return
    findings = [*_faults(text, subject.task), *_doubts(text)]
    yield from findings or [ok("template", f"the worker template fits the task {subject.task.value!r}")]


def check_class_list(aws: Aws, subject: Subject) -> Iterator[Finding]:
    """Whether the class list can be read and labeled with."""
    if subject.classes is None:
        return
    try:
        if isinstance(subject.classes, (S3Uri, Path)):
            text = _text(aws, subject.classes)
            names = ClassList.from_json(text.encode(), str(subject.classes))
        else:
            names = check_classes(subject.classes)
    except ClassListError as why:
        yield error("classes", str(why))
        return
    except (OSError, UnicodeDecodeError, StorageError) as why:
        yield _unreadable("classes", "the class list", why)
        return
    most = TASKS[subject.task].max_classes
    if most is not None and len(names) > most:
        yield error("classes", f"the class list has {len(names)} classes, and the task takes {most} at most")
    else:
        yield ok("classes", f"workers choose among {len(names)} classes: {', '.join(names[:5])}")


class _Page(HTMLParser):
    """The elements of a page, and which of them stand in its crowd-form."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.forms = 0
        self.scripts: list[str] = []
        self.inside: list[tuple[str, dict[str, str]]] = []
        self._depth = 0
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        if tag == "crowd-form":
            self.forms += 1
            self._depth += 1
        elif self._depth:
            self.inside.append((tag, attributes))
        if tag == "script":
            self.scripts.append(attributes.get("src", ""))

    def handle_endtag(self, tag: str) -> None:
        if tag == "crowd-form" and self._depth:
            self._depth -= 1


def _faults(text: str, task: Task) -> Iterator[Finding]:
    """What would keep workers from answering, or their answers from becoming labels."""
    if len(text) > MAX_TEMPLATE_CHARACTERS:
        yield error(
            "template",
            f"the worker template has {len(text):,} characters; {MAX_TEMPLATE_CHARACTERS:,} are the most",
        )
    page = _Page(text)
    if page.forms != 1:
        count = "no crowd-form" if not page.forms else f"{page.forms} crowd-form elements"
        yield error("template", f"the worker template has {count}; answers are sent by exactly one")
        return
    wanted = _ELEMENTS.get(task)
    if wanted is None:
        yield from _custom_faults(page, TASKS[task].answer_key)
        return
    found = [attributes.get("name", "") for tag, attributes in page.inside if tag == wanted]
    if len(found) != 1:
        count = "no" if not found else str(len(found))
        yield error("template", f"the crowd-form of the worker template has {count} {wanted} element")
    elif found[0] != wanted:
        # The built-in consolidation function reads the answer of that name (contract/ground-truth.md 2.7).
        yield error(
            "template",
            f"the element {wanted} of the worker template is named {found[0]!r}; "
            f"its answers become labels only under the name {wanted!r}",
        )


def _custom_faults(page: _Page, key: str | None) -> Iterator[Finding]:
    """The same for a page whose answers no function of AWS's reads; ours read them under a key."""
    fields = [given for tag, given in page.inside if tag.startswith("crowd-") or tag in _FIELDS]
    if not fields:
        yield error("template", "the crowd-form of the worker template has nothing to answer with")
    elif key is not None and not any(given.get("name") == key for given in fields):
        yield error("template", f"nothing in the crowd-form of the worker template is named {key!r}")


def _doubts(text: str) -> Iterator[Finding]:
    """What is hardly ever meant."""
    if not any(_SCRIPT in source for source in _Page(text).scripts):
        yield warning("template", f"the worker template does not load {_SCRIPT}, so nothing would show")
    if "task.input" not in text:
        yield warning("template", "the worker template never mentions task.input, so every task looks alike")
    elif "grant_read_access" not in text:
        yield warning(
            "template",
            "the worker template never uses the filter grant_read_access, "
            "so workers see only pictures that anybody may see",
        )


def _text(aws: Aws, source: str | S3Uri | Path) -> str:
    if isinstance(source, S3Uri):
        return read(aws.s3, source).decode("utf-8")
    return source.read_text(encoding="utf-8") if isinstance(source, Path) else source


def _unreadable(check: str, what: str, why: Exception) -> Finding:
    if isinstance(why, StorageDeniedError):
        return unchecked(check, f"{what} could not be checked because {why}")
    reason = f"{why.filename}: {why.strerror}" if isinstance(why, OSError) else str(why)
    return error(check, f"{what} cannot be read: {reason}")
