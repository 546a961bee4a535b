"""How deployments come to devices: who is to have one, when each hears of it, and how it ended there.

One execution, an IoT job's word, is one deployment on one device. What is due by the clock (a rollout's next
minute, a device that took too long, somebody who joined or left a group) is done whenever somebody looks.
`contract/deployment.md` section 3.1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

from gtlabel.emulator.api import Context
from gtlabel.emulator.rollout import Pace, deadline, gives_up, release
from gtlabel.emulator.shelf import Shelf
from gtlabel.emulator.things import IotThings, Things

Clock = Callable[[], datetime]
Document = dict[str, Any]

DEPLOYMENT, CORE, EXECUTION = "deployment", "core-device", "deployment-execution"
# What the last good deployment of each target put on a device: it stays there when the core is forgotten.
TAKEN = "core-taken"
_REVISION = "deployment-revision"
ENDED = ("SUCCEEDED", "FAILED", "TIMED_OUT", "CANCELED", "REJECTED", "COMPLETED")
# Of a device that the rollout has not reached: as yet, it has heard nothing, and the API shows nothing.
WAITING = "WAITING"


def now() -> datetime:
    """The time, with its zone."""
    return datetime.now(UTC)


def time_of(text: str) -> datetime:
    """A time from the shelf."""
    return datetime.fromisoformat(text)


def age(document: Mapping[str, Any]) -> tuple[str, int]:
    """Sorts deployments, the oldest first."""
    return document["created"], document["revision"]


def is_group(target: str) -> bool:
    """Whether a target is a thing group."""
    return target.split(":", 5)[5].startswith("thinggroup/")


def name_of(target: str) -> str:
    """The name of the thing or the thing group that a target is."""
    return target.split(":", 5)[5].partition("/")[2]


@dataclass(slots=True)
class _Look:
    """What somebody saw who looked for what is due.

    Attributes:
        changes: of the shelf, when the look began.
        members: the things of each group that has a deployment.
        timed: whether something waits for its time.
    """

    changes: int | None
    members: dict[str, list[str]] = field(default_factory=dict)
    timed: bool = False


# The last looks that found nothing due, of each shelf and account.
_looks: WeakKeyDictionary[Shelf, dict[Context, _Look]] = WeakKeyDictionary()


@dataclass(frozen=True, slots=True)
class Fleet:
    """The devices of all accounts, and their deployments.

    Args:
        shelf: where they are kept.
        clock: tells the time.
        things: knows things and thing groups.
    """

    shelf: Shelf
    clock: Clock = now
    things: Things = field(default_factory=IotThings)

    def knows(self, context: Context, target: str) -> bool:
        """Whether a target is there: a thing group, or a thing that IoT has or whose device registered."""
        name = name_of(target)
        if is_group(target):
            return self.things.has_group(context, name)
        return self.shelf.get(context, CORE, name) is not None or self.things.has_thing(context, name)

    def targets_of(self, context: Context, thing: str) -> list[str]:
        """All targets that a device belongs to: itself, and its groups."""
        groups = self.things.groups_of(context, thing)
        names = [f"thing/{thing}", *(f"thinggroup/{group}" for group in groups)]
        return [context.arn("iot", name) for name in names]

    def of_target(self, context: Context, target: str) -> list[Document]:
        """The deployments of a target, the oldest first."""
        found = self.shelf.all(context, DEPLOYMENT)
        return sorted((item for item in found if item["request"]["targetArn"] == target), key=age)

    def execution(self, context: Context, thing: str, deployment: str) -> Document | None:
        """How a deployment goes on a device; None if that was never to have it."""
        return self.shelf.get(context, EXECUTION, f"{thing}/{deployment}")

    def of_thing(self, context: Context, thing: str) -> list[Document]:
        """The executions that a device has heard of, the oldest first."""
        self.turn(context)
        found = self.shelf.all(context, EXECUTION, f"{thing}/")
        return sorted(
            (item for item in found if item["status"] != WAITING),
            key=lambda item: (item["created"], item["deployment"]),
        )

    def begin(self, context: Context, document: Document) -> None:
        """Let a deployment take the place of the one that its target has."""
        for earlier in self.of_target(context, document["request"]["targetArn"]):
            if earlier["status"] == "ACTIVE":
                self.keep(context, {**earlier, "status": "INACTIVE"})
            self.cancel_open(context, earlier["id"], "superseded", begun=True)
        self.keep(context, document)
        self.turn(context)

    def next_revision(self, context: Context, target: str) -> int:
        """The number of a target's next deployment, which no deleted one had either."""
        counted = self.shelf.get(context, _REVISION, target) or {"revision": 0}
        revision = int(counted["revision"]) + 1
        self.shelf.put(context, _REVISION, target, {"revision": revision})
        return revision

    def forget(self, context: Context, deployment: str) -> None:
        """Delete a deployment, and how it went; a device that is at it may still say how it ends."""
        self.shelf.delete(context, DEPLOYMENT, deployment)
        for execution in self.shelf.all(context, EXECUTION):
            if execution["deployment"] == deployment and execution["status"] != "IN_PROGRESS":
                self.shelf.delete(context, EXECUTION, _key(execution))

    def keep(self, context: Context, document: Document) -> None:
        """Write a deployment down, and how its job stands."""
        self.shelf.put(context, DEPLOYMENT, document["id"], document)
        self.things.note_job(context, document)

    def cancel_open(self, context: Context, deployment: str, reason: str, *, begun: bool = False) -> None:
        """Cancel a deployment on devices that have not begun it; if `begun`, on those that have, too."""
        for execution in self.shelf.all(context, EXECUTION):
            if execution["deployment"] != deployment:
                continue
            if execution["status"] == WAITING:
                self.shelf.delete(context, EXECUTION, _key(execution))
            elif execution["status"] == "QUEUED" or (begun and execution["status"] == "IN_PROGRESS"):
                self._move(context, execution, "CANCELED", reason=reason)

    def end(self, context: Context, execution: Document, status: str, **told: Any) -> None:
        """Take down how a deployment goes on a device."""
        self._move(context, execution, status, **told)
        deployment = self.shelf.get(context, DEPLOYMENT, execution["deployment"])
        if deployment is None and status in ENDED:
            self.shelf.delete(context, EXECUTION, _key(execution))
        if deployment is None or deployment["status"] != "ACTIVE" or status not in ENDED:
            return
        # That of a group never ends, for others may join it.
        if not is_group(deployment["request"]["targetArn"]):
            deployment["status"] = "COMPLETED" if status == "SUCCEEDED" else "FAILED"
            self.keep(context, deployment)

    def turn(self, context: Context) -> None:
        """Do all that is due."""
        look = _Look(self.shelf.changes)
        before = _looks.get(self.shelf, {}).get(context)
        if before is not None and before.changes == look.changes and self._as_before(context, before):
            return
        # Who only looks should not keep others from writing.
        if any(True for _ in self._due(context, look)):
            with self.shelf.transaction():
                # One thing leads to another: who joined is reached by the rollout.
                while changes := list(self._due(context, look)):
                    for change in changes:
                        change()
        elif look.changes is not None and not look.timed:
            _looks.setdefault(self.shelf, {})[context] = look

    def _as_before(self, context: Context, look: _Look) -> bool:
        """Whether the same things are in the groups; devices ask several times a second."""
        return all(self.things.members(context, group) == found for group, found in look.members.items())

    def _due(self, context: Context, look: _Look) -> Iterator[Callable[[], None]]:
        executions: dict[str, list[Document]] = {}
        for execution in self.shelf.all(context, EXECUTION):
            executions.setdefault(execution["deployment"], []).append(execution)
        time = self.clock()
        for deployment in self.shelf.all(context, DEPLOYMENT):
            mine = executions.get(deployment["id"], [])
            yield from self._late(context, deployment, mine, time, look)
            if deployment["status"] != "ACTIVE":
                continue
            criterion = gives_up(_configuration(deployment), [item["status"] for item in mine])
            if criterion is not None:
                yield partial(self._give_up, context, deployment, criterion)
                continue
            yield from self._joined_and_left(context, deployment, mine, time, look)
            yield from self._released(context, deployment, mine, time, look)

    def _late(
        self, context: Context, deployment: Document, mine: list[Document], time: datetime, look: _Look
    ) -> Iterator[Callable[[], None]]:
        for execution in mine:
            if execution["status"] == "IN_PROGRESS":
                until = deadline(
                    _configuration(deployment), time_of(execution.get("started") or execution["modified"])
                )
                look.timed = look.timed or until is not None
                if until is not None and until <= time:
                    reason = "the device took too long"
                    yield partial(self.end, context, execution, "TIMED_OUT", reason=reason, time=until)

    def _joined_and_left(
        self, context: Context, deployment: Document, mine: list[Document], time: datetime, look: _Look
    ) -> Iterator[Callable[[], None]]:
        target = deployment["request"]["targetArn"]
        name = name_of(target)
        members = [name]
        if is_group(target):
            look.members[name] = members = self.things.members(context, name)
        here = {execution["thing"]: execution for execution in mine}
        for thing in members:
            if thing not in here or here[thing].get("left"):
                yield partial(self._add, context, deployment, thing, time)
        for thing in set(here) - set(members):
            if not here[thing].get("left"):
                yield partial(self._leave, context, here[thing])

    def _add(self, context: Context, deployment: Document, thing: str, time: datetime) -> None:
        since = time.isoformat()
        free = Pace.of(time, _configuration(deployment)).per_minute(0, 0) is None
        execution = {
            "deployment": deployment["id"],
            "thing": thing,
            "status": "QUEUED" if free else WAITING,
            "created": since,
            "modified": since,
        }
        self._keep_execution(context, execution)

    def _leave(self, context: Context, execution: Document) -> None:
        if execution["status"] == WAITING:
            self.shelf.delete(context, EXECUTION, _key(execution))
            return
        execution["left"] = True
        if execution["status"] == "QUEUED":
            self._move(context, execution, "CANCELED", reason="the device left the thing group")
        else:
            self.shelf.put(context, EXECUTION, _key(execution), execution)

    def _released(
        self, context: Context, deployment: Document, mine: list[Document], time: datetime, look: _Look
    ) -> Iterator[Callable[[], None]]:
        waiting = {item["thing"]: item for item in mine if item["status"] == WAITING}
        if not waiting:
            return
        look.timed = True
        heard = [item for item in mine if item["status"] != WAITING]
        for thing, at in release(
            Pace.of(time_of(deployment["created"]), _configuration(deployment)),
            [(item["thing"], time_of(item["created"])) for item in waiting.values()],
            [time_of(item["created"]) for item in heard],
            [time_of(item["modified"]) for item in heard if item["status"] == "SUCCEEDED"],
            time,
        ):
            yield partial(self._notify, context, waiting[thing], at)

    def _notify(self, context: Context, execution: Document, at: datetime) -> None:
        execution["created"] = at.isoformat()
        self._move(context, execution, "QUEUED", time=at)

    def _give_up(self, context: Context, deployment: Document, criterion: Mapping[str, Any]) -> None:
        share = f"{criterion['thresholdPercentage']:g} %"
        kind = "failed" if criterion["failureType"] == "ALL" else f"ended {criterion['failureType']}"
        reason = f"the rollout was given up: {share} or more of the devices that were done {kind}"
        self.keep(context, {**deployment, "status": "CANCELED"})
        self.cancel_open(context, deployment["id"], reason)

    def _move(
        self, context: Context, execution: Document, status: str, *, time: datetime | None = None, **told: Any
    ) -> None:
        moment = (time or self.clock()).isoformat()
        if status == "IN_PROGRESS":
            execution.setdefault("started", moment)
        execution.update(status=status, modified=moment, **told)
        self._keep_execution(context, execution)

    def _keep_execution(self, context: Context, execution: Document) -> None:
        self.shelf.put(context, EXECUTION, _key(execution), execution)
        deployment = self.shelf.get(context, DEPLOYMENT, execution["deployment"])
        if deployment is not None and execution["status"] != WAITING:
            self.things.note_execution(context, deployment, execution)


def _configuration(deployment: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = deployment["request"].get("iotJobConfiguration", {})
    return found


def _key(execution: Mapping[str, Any]) -> str:
    return f"{execution['thing']}/{execution['deployment']}"
