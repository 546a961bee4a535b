"""The only place that prints. Data goes to stdout, talk to stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import Any, Protocol, TextIO


class Format(StrEnum):
    """How a command prints its result."""

    TEXT = "text"
    JSON = "json"


def visible(text: str) -> str:
    """A line without characters that a terminal would obey; a key in S3, or a trainer, may hold any."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def say(sentence: str) -> None:
    """Tell the person at the terminal something; programs do not read it."""
    # What a service or a trainer said is part of many a sentence.
    print(*map(visible, sentence.split("\n")), sep="\n", file=sys.stderr, flush=True)


def put(text: str) -> None:
    """Print a result that is a text."""
    print(text, flush=True)


def echo(piece: bytes, *, to_stderr: bool) -> None:
    """Print what another program printed, as it is."""
    stream = (sys.stderr if to_stderr else sys.stdout).buffer
    stream.write(piece)
    stream.flush()


def put_json(value: Any) -> None:
    """Print a result as JSON. What JSON has no word for is printed as its text."""
    print(json.dumps(value, indent=2, ensure_ascii=False, default=str), flush=True)


def put_fields(fields: dict[str, Any]) -> None:
    """Print a result as lines of a name and a value."""
    width = max(len(name) for name in fields)
    for name, value in fields.items():
        print(visible(f"{name.replace('_', ' '):<{width}}  {value}"), flush=True)


def put_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    right: Sequence[str] = (),
    to_stderr: bool = False,
) -> None:
    """Print a table; the columns named in `right` are numbers.

    Args:
        columns: their headings.
        rows: as many cells each.
        right: the columns to align right.
        to_stderr: whether it is talk, and no result.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        number = column in right
        # Text, not markup: a job or a class may well be named "[red]".
        table.add_column(Text(visible(column)), justify="right" if number else "left", no_wrap=number)
    for row in rows:
        table.add_row(*(Text(visible(str(cell))) for cell in row))
    # A pipe has no width of its own: nothing is cut or wrapped there.
    terminal = (sys.stderr if to_stderr else sys.stdout).isatty()
    console = Console(width=None if terminal else 10_000, stderr=to_stderr)
    console.print(table, soft_wrap=not terminal)


class Show(Protocol):
    """Shows how far something is."""

    def __call__(self, done: int, total: int, note: str = "", /) -> None:
        """Show the number done and the number in all, 0 when that is not known yet, and a word beside it."""


@contextmanager
def progress(description: str, *, remaining: bool = True) -> Iterator[Show]:
    """A progress bar on stderr, shown only on a terminal.

    Args:
        description: what is going on.
        remaining: whether to guess the time that is left.
    """
    if not sys.stderr.isatty():
        yield lambda _done, _total, _note="": None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = [
        TextColumn("{task.description:<24}"),
        BarColumn(),
        MofNCompleteColumn(),
        *([TimeRemainingColumn(compact=True)] if remaining else []),
        TextColumn("{task.fields[note]}"),
    ]
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(description, total=None, note="")
        yield lambda done, total, note="": bar.update(task, completed=done, total=total or None, note=note)


def is_fine(stream: TextIO | None = None) -> bool:
    """Whether a stream, by default stderr, is a terminal that shows more than ASCII."""
    stream = stream or sys.stderr
    return stream.isatty() and (stream.encoding or "").lower().replace("-", "") == "utf8"


def width() -> int:
    """How many columns the terminal has; 80 where there is none."""
    from shutil import get_terminal_size

    return get_terminal_size().columns


def height() -> int:
    """How many rows the terminal has; 24 where there is none."""
    from shutil import get_terminal_size

    return get_terminal_size().lines


@contextmanager
def footer(draw: Callable[[], Sequence[str]]) -> Iterator[Callable[[str], None]]:
    """Yield what says a line on stderr; on a terminal, some lines stay below all that are said.

    Args:
        draw: makes the lines that stay, again and again; none of them may be wider than the terminal.
    """
    if not sys.stderr.isatty():
        yield say
        return
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console(stderr=True)
    with Live(
        get_renderable=lambda: Text("\n".join(map(visible, draw())), no_wrap=True),
        console=console,
        refresh_per_second=2,
        transient=True,
        # What goes into a file or a pipe is no business of the terminal's.
        redirect_stdout=sys.stdout.isatty(),
    ):
        # Text, not markup: a program may well print "[red]".
        yield lambda sentence: console.print(Text(visible(sentence)), soft_wrap=True)
