"""Whatever is deployed, joined and left, in the end each device runs what its targets want, and only that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from edge_parts import Clock, other_recipe, to_json
from hypothesis import given, settings
from hypothesis import strategies as st

from gtlabel.emulator.api import Context, Operations
from gtlabel.emulator.devices import handle
from gtlabel.emulator.greengrass import operations
from gtlabel.emulator.shelf import Shelf

HERE = Context()
THINGS = ("one", "two")
GROUPS = ("shelves", "kitchens")
TARGETS = (*(f"thing/{thing}" for thing in THINGS), *(f"thinggroup/{group}" for group in GROUPS))
PLATFORM = {"os": "linux", "architecture": "amd64", "runtime": "aws_nucleus_lite"}


@dataclass
class House:
    """Things and groups that a test moves about."""

    inside: dict[str, set[str]] = field(default_factory=lambda: {group: set() for group in GROUPS})

    def has_thing(self, _context: Context, thing: str) -> bool:
        return thing in THINGS

    def has_group(self, _context: Context, group: str) -> bool:
        return group in self.inside

    def members(self, _context: Context, group: str) -> list[str]:
        return sorted(self.inside[group])

    def groups_of(self, _context: Context, thing: str) -> list[str]:
        return [group for group, members in self.inside.items() if thing in members]

    def note_job(self, _context: Context, deployment: Mapping[str, Any]) -> None:
        assert deployment["status"] in ("ACTIVE", "COMPLETED", "FAILED", "CANCELED", "INACTIVE")

    def note_execution(
        self, _context: Context, deployment: Mapping[str, Any], execution: Mapping[str, Any]
    ) -> None:
        assert execution["deployment"] == deployment["id"]


@dataclass
class World:
    """An account, its devices, and what was deployed last to each target."""

    shelf: Shelf = field(default_factory=Shelf)
    clock: Clock = field(default_factory=Clock)
    house: House = field(default_factory=House)
    latest: dict[str, dict[str, str]] = field(default_factory=dict)
    running: dict[str, dict[str, str]] = field(default_factory=lambda: {thing: {} for thing in THINGS})

    def __post_init__(self) -> None:
        nobody: Any = None
        self.api: Operations = operations(
            self.shelf, lambda _context: nobody, clock=self.clock.now, things=self.house
        )
        for target in TARGETS:
            for version in ("1.0.0", "2.0.0"):
                recipe = to_json(other_recipe(_name(target), version))
                self.api["CreateComponentVersion"](HERE, {"inlineRecipe": recipe})
        self.clock.sleep(1)
        for thing in THINGS:
            self.ask("register", thing, platform=PLATFORM)

    def ask(self, path: str, thing: str, **body: Any) -> dict[str, Any]:
        asked = {"thing": thing, **body}
        status, answer = handle(self.shelf, path, asked, clock=self.clock.now, things=self.house)
        assert status == 200, answer
        return answer

    def deploy(self, target: str, version: str, per_minute: int) -> None:
        """Deploy a component of the target's own, or none, at some pace."""
        components = {_name(target): {"componentVersion": version}} if version else {}
        rollout = {"jobExecutionsRolloutConfig": {"maximumPerMinute": per_minute}} if per_minute else {}
        request = {"targetArn": HERE.arn("iot", target), "components": components}
        self.api["CreateDeployment"](HERE, {**request, "iotJobConfiguration": rollout})
        self.latest[target] = {name: spec["componentVersion"] for name, spec in components.items()}

    def move(self, thing: str, group: str) -> None:
        """Have a device join a group, or leave it."""
        self.house.inside[group] ^= {thing}

    def begin(self, thing: str) -> None:
        """Have a device begin with what waits for it, and get no further."""
        waiting = self.ask("next", thing)["deployment"]
        if waiting:
            self.ask("report", thing, deployment=waiting["id"], status="IN_PROGRESS")

    def take(self, thing: str) -> bool:
        """Have a device take what waits for it; say whether something did."""
        waiting = self.ask("next", thing)["deployment"]
        if waiting is None:
            return False
        self.running[thing] = {name: spec["version"] for name, spec in waiting["components"].items()}
        self.ask("report", thing, deployment=waiting["id"], status="SUCCEEDED")
        return True

    def wait(self, seconds: int) -> None:
        self.clock.sleep(seconds)

    def wanted(self, thing: str) -> dict[str, str]:
        targets = [f"thing/{thing}", *(f"thinggroup/{g}" for g in self.house.groups_of(HERE, thing))]
        return {name: version for t in targets for name, version in self.latest.get(t, {}).items()}


def _name(target: str) -> str:
    return target.replace("/", "-")


things, groups = st.sampled_from(THINGS), st.sampled_from(GROUPS)
acts: st.SearchStrategy[Callable[[World], object]] = st.one_of(
    st.builds(
        lambda *what: lambda world: world.deploy(*what),
        st.sampled_from(TARGETS),
        st.sampled_from(["1.0.0", "2.0.0", ""]),
        st.sampled_from([0, 0, 1, 2]),
    ),
    st.builds(lambda *what: lambda world: world.move(*what), things, groups),
    st.builds(lambda thing: lambda world: world.begin(thing), things),
    st.just(lambda world: [world.take(thing) for thing in THINGS]),
    st.builds(lambda seconds: lambda world: world.wait(seconds), st.sampled_from([0, 1, 59, 60, 600])),
)


@settings(max_examples=15, deadline=None)
@given(st.lists(acts, min_size=12, max_size=25))
def test_in_the_end_each_device_runs_what_its_targets_want(story: list[Callable[[World], object]]) -> None:
    world = World()
    for act in story:
        act(world)
        listed = world.api["ListDeployments"](HERE, {"historyFilter": "ALL", "maxResults": 100})[
            "deployments"
        ]
        active = Counter(row["targetArn"] for row in listed if row["deploymentStatus"] == "ACTIVE")
        assert all(count == 1 for count in active.values())
    # A device has three targets, and groups that it left; the slowest pace takes a minute for each device.
    for _ in range(8):
        world.wait(60)
        for thing in THINGS:
            world.take(thing)
    assert world.running == {thing: world.wanted(thing) for thing in THINGS}
    world.shelf.close()
