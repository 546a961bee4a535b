"""What a person sees of a deployment: what it would change, a line for each device, and how it ended."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import typer

from gtlabel.cli.output import (
    Format,
    footer,
    height,
    put,
    put_fields,
    put_json,
    put_table,
    say,
    width,
)

if TYPE_CHECKING:
    from gtlabel.edge.deploy import DeploymentPlan
    from gtlabel.edge.follow import Progress
    from gtlabel.edge.history import Past
    from gtlabel.edge.plan import Change
    from gtlabel.edge.status import DeploymentStatus

_NONE = "-"
_STATUS_COLUMNS = (
    *("device", "verdict", "nucleus", "health", "last heard of", "deployment", "version", "component"),
    "reason",
)


class Screen:
    """Shows how far devices are: lines that stay at the bottom of a terminal, and one for each change."""

    def __init__(self) -> None:
        self._devices: Sequence[Progress] = ()
        self._said: dict[str, tuple[str, ...]] = {}
        self._tell: Callable[[str], None] = say
        self._lines: ExitStack | None = None

    @contextmanager
    def shown(self) -> Iterator[None]:
        """While this is entered, the lines are there; from the first look on, since questions come before."""
        with ExitStack() as lines:
            self._lines = lines
            try:
                yield
            finally:
                self._tell, self._devices, self._lines = say, (), None

    def take(self, devices: Sequence[Progress]) -> None:
        """Take in how far the devices are now."""
        self._devices = devices
        if self._lines is not None and self._tell is say:
            self._tell = self._lines.enter_context(footer(self._draw))
        for device in devices:
            now = (device.status, device.version, device.state, device.reason)
            if self._said.get(device.thing) != now:
                self._said[device.thing] = now
                self._tell(in_words(device))

    def begin_again(self, plan: DeploymentPlan) -> None:
        """Say that the last good version comes back; what follows is about another deployment."""
        self._said.clear()
        self._tell(f"that failed; going back: {plan}")

    def tell_overtaken(self, plan: DeploymentPlan) -> None:
        """Say that a deployment is made once more, on top of one that it replaced unseen."""
        self._said.clear()
        self._tell(f"somebody deployed at the same moment; once more, on top of that: {plan}")

    def _draw(self) -> list[str]:
        going = [device for device in self._devices if not device.ended]
        shown = going[: max(1, height() // 3)]
        lines = [in_words(device)[: width() - 1] for device in shown]
        if len(going) > len(shown):
            lines.append(f"… and {len(going) - len(shown)} more")
        ended = len(self._devices) - len(going)
        return [*lines, f"{ended} of {len(self._devices)} done"] if len(self._devices) > 1 else lines


def in_words(device: Progress) -> str:
    """How far a device is, in one line."""
    words = [f"{device.thing}: {device.status}"]
    if device.version:
        words.append(f"{device.version} is {device.state}")
    if device.status in ("unseen", "QUEUED"):
        words.append(f"last heard of {age(device.reported)}")
    if device.reason and device.reason != device.state:
        words.append(device.reason)
    return ", ".join(words)


def age(when: datetime | None, now: datetime | None = None) -> str:
    """How long ago something was, in one word for the size."""
    if when is None:
        return "never"
    seconds = max(0, int(((now or datetime.now(UTC)) - when).total_seconds()))
    for size, word in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {word} ago"
    return f"{seconds} s ago"


def show_plan(plan: DeploymentPlan, *, to_stderr: bool) -> None:
    """Print what a deployment changes: components, then values of ours."""
    put_table(
        ("component", "now", "then", ""),
        [_cells(change) for change in plan.changes],
        to_stderr=to_stderr,
    )
    if plan.configuration:
        rows = [_cells(change) for change in plan.configuration]
        put_table(("setting", "now", "then", ""), rows, to_stderr=to_stderr)
    for name, where in plan.beside.items():
        say(
            f"note: {name}, another classifier of gtlabel, stays on {where}; both look at the same camera "
            "and publish to the same topic unless their settings differ"
        )


def described(plan: DeploymentPlan) -> dict[str, Any]:
    """What a deployment changes, as plain JSON values."""
    return {
        "target": plan.target or None,
        "replaces": plan.newest or None,
        "unchanged": plan.unchanged,
        "components": [_json(change) for change in plan.changes],
        "settings": [_json(change) for change in plan.configuration],
        "rollout": plan.settings.get("iotJobConfiguration", {}),
    }


def ask(question: str, *, yes: bool) -> None:
    """Ask before devices change, unless yes was said beforehand.

    Raises:
        typer.Abort: if the answer is no.
        EdgeError: if nobody is there to answer.
    """
    from gtlabel.errors import EdgeError

    if yes:
        return
    if not somebody_is_there():
        raise EdgeError("nobody is here to ask; give --yes, or --dry-run to see what would change")
    typer.confirm(question, abort=True, err=True)


def somebody_is_there() -> bool:
    """Whether a question would be read, and could be answered."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def put_statement(statement: dict[str, Any]) -> None:
    """Say which statement the devices' role needs."""
    say("the devices' role needs this statement; whoever may edit it adds it (gtlabel edits no roles):")
    say(json.dumps(statement, indent=2))


def _cells(change: Change) -> tuple[str, str, str, str]:
    before, after = (_NONE if value is None else value or '""' for value in (change.before, change.after))
    return change.name, before, after, change.kind


def _json(change: Change) -> dict[str, Any]:
    return {"name": change.name, "now": change.before, "then": change.after, "change": change.kind}


def put_status(found: Sequence[DeploymentStatus], now: datetime) -> None:
    """Print how it stands with each deployment and its devices."""
    for number, each in enumerate(found):
        if number:
            put("")
        state = each.component_state or "gone"
        put_fields(
            {
                "component": f"{each.component} {each.version}, {state}"
                + (f": {each.component_reason}" if each.component_reason else ""),
                "target": each.target.split(":", 5)[5],
                "deployment": f"{each.deployment}, revision {each.revision}, {each.status}, "
                f"made {age(each.created, now)}",
                "settings": json.dumps(each.settings, sort_keys=True),
                "verdict": each.verdict.word,
            }
        )
        rows = [
            (
                core.thing,
                core.verdict.word,
                core.runtime.removeprefix("aws_nucleus_") or _NONE,
                core.health or _NONE,
                age(core.reported, now),
                core.execution,
                core.version or _NONE,
                core.state or _NONE,
                core.reason,
            )
            for core in each.cores
        ]
        put_table(_STATUS_COLUMNS, rows)


def status_json(found: DeploymentStatus, now: datetime) -> dict[str, Any]:
    """How it stands with a deployment, as plain JSON values; ages in seconds."""
    from dataclasses import asdict

    cores = [
        {
            **asdict(core),
            "verdict": core.verdict.word,
            "age": None if core.reported is None else round((now - core.reported).total_seconds()),
        }
        for core in found.cores
    ]
    return {**asdict(found), "verdict": found.verdict.word, "cores": cores}


def put_revisions(found: Sequence[Past], output: Format) -> None:
    """Print what was deployed."""
    from dataclasses import asdict

    if output is Format.JSON:
        put_json([asdict(each) for each in found])
        return
    now = datetime.now(UTC)
    rows = [
        (
            each.target,
            each.revision,
            age(each.created, now),
            f"{each.component} {each.version or '(without)'}",
            each.status,
            ", ".join(f"{count} {status}" for status, count in each.devices.items()) or _NONE,
            ", ".join(f"{name} {version}" for name, version in each.others.items()) or _NONE,
            each.deployment,
        )
        for each in found
    ]
    put_table(("target", "revision", "made", "component", "status", "devices", "others", "deployment"), rows)
