"""What the control plane of Greengrass remembers of devices and deployments, and what it costs to ask it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from edge_parts import Account, account
from test_greengrass_groups import deploy, group, status, waiting

from gtlabel.emulator.api import Context
from gtlabel.emulator.devices import handle
from gtlabel.emulator.shelf import Shelf
from gtlabel.emulator.things import IotThings


@pytest.fixture
def cloud() -> Iterator[Account]:
    with account() as empty:
        yield empty


def test_a_conflict_that_is_found_too_late_does_not_undo_a_cancellation(cloud: Account) -> None:
    cloud.component("app")
    cloud.component("app", "2.0.0")
    deploy(cloud, group(cloud, "shelves", "one"), app="1.0.0")
    cloud.take("one")
    identifier = deploy(cloud, group(cloud, "kitchens", "one"), app="2.0.0")

    class Slow(IotThings):
        """An IoT in which somebody cancels the deployment while the device's groups are looked up."""

        def groups_of(self, context: Context, thing: str) -> list[str]:
            if status(cloud, "one", identifier) == "QUEUED":
                cloud.aws.greengrass.cancel_deployment(deploymentId=identifier)
            return super().groups_of(context, thing)

    asked = handle(cloud.shelf, "next", {"thing": "one"}, clock=cloud.clock.now, things=Slow())
    assert asked == (200, {"registered": True, "deployment": None})
    assert status(cloud, "one", identifier) == "CANCELED"


def test_what_groups_put_on_a_device_stays_when_the_core_device_is_deleted(cloud: Account) -> None:
    cloud.component("app")
    cloud.component("own")
    deploy(cloud, group(cloud, "shelves", "one"), app="1.0.0")
    cloud.take("one")
    cloud.aws.greengrass.delete_core_device(coreDeviceThingName="one")
    deploy(cloud, cloud.register("one"), own="1.0.0")
    assert waiting(cloud, "one") == {"app": "1.0.0", "own": "1.0.0"}


def test_a_deployment_that_is_deleted_leaves_nothing_behind_and_its_number_to_nobody(cloud: Account) -> None:
    cloud.component("app")
    client, target = cloud.aws.greengrass, cloud.register("one")
    first, second = (deploy(cloud, target, app="1.0.0") for _ in range(2))
    cloud.take("one")
    client.delete_deployment(deploymentId=second)
    assert [item["deployment"] for item in cloud.shelf.all(Context(), "deployment-execution")] == [first]
    third = client.get_deployment(deploymentId=deploy(cloud, target, app="1.0.0"))
    assert third["revisionId"] == "3"


def test_a_device_that_asks_again_while_nothing_happens_is_answered_without_reading_all_there_is(
    cloud: Account,
) -> None:
    cloud.component("app")
    target = group(cloud, "shelves", "one", "two")
    for _ in range(3):
        deploy(cloud, target, app="1.0.0")
    cloud.take("one")
    kinds: list[str] = []

    class Counted(Shelf):
        """The same shelf, which tells what is read as a whole."""

        def all(self, context: Context, kind: str, prefix: str = "") -> list[dict[str, Any]]:
            kinds.append(f"{kind} {prefix}")
            return cloud.shelf.all(context, kind, prefix)

        def get(self, context: Context, kind: str, name: str) -> dict[str, Any] | None:
            return cloud.shelf.get(context, kind, name)

    counted = Counted()
    answers = []
    for _ in range(2):
        kinds.clear()
        answers.append(handle(counted, "next", {"thing": "one"}, clock=cloud.clock.now))
    assert answers == [(200, {"registered": True, "deployment": None})] * 2
    assert kinds == ["deployment-execution one/"]
    counted.close()
