"""Deployments to thing groups: who gets them and when, and what a device runs that is in several."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from edge_parts import Account, account

GROUP = "arn:aws:iot:us-east-1:123456789012:thinggroup/"


@pytest.fixture
def cloud() -> Iterator[Account]:
    with account() as empty:
        yield empty


def group(cloud: Account, name: str, *things: str, register: bool = True, parent: str = "") -> str:
    """A thing group with things in it, whose devices are there; returns its ARN as a target."""
    iot = cloud.aws.iot
    above: Any = {"parentGroupName": parent} if parent else {}
    iot.create_thing_group(thingGroupName=name, **above)
    for thing in things:
        join(cloud, name, thing, register=register)
    return f"{GROUP}{name}"


def join(cloud: Account, name: str, thing: str, *, register: bool = True) -> None:
    cloud.aws.iot.create_thing(thingName=thing)
    cloud.aws.iot.add_thing_to_thing_group(thingGroupName=name, thingName=thing)
    if register:
        cloud.register(thing)


def deploy(cloud: Account, target: str, *, settings: Any = None, **versions: str) -> str:
    components: Any = {name: {"componentVersion": version} for name, version in versions.items()}
    client = cloud.aws.greengrass
    cloud.clock.sleep(1)
    return client.create_deployment(targetArn=target, components=components, **(settings or {}))[
        "deploymentId"
    ]


def waiting(cloud: Account, thing: str) -> dict[str, str] | None:
    """The components of the deployment that waits for a device, or None."""
    deployment = cloud.device("next", {"thing": thing})["deployment"]
    return deployment and {name: spec["version"] for name, spec in deployment["components"].items()}


def status(cloud: Account, thing: str, deployment: str) -> str:
    pages = cloud.aws.greengrass.list_effective_deployments(coreDeviceThingName=thing)
    found = {item["deploymentId"]: item for item in pages["effectiveDeployments"]}
    return str(found[deployment]["coreDeviceExecutionStatus"]) if deployment in found else "unseen"


def test_a_deployment_to_a_group_reaches_every_device_in_it_and_stays_active(cloud: Account) -> None:
    cloud.component("app")
    identifier = deploy(cloud, group(cloud, "shelves", "one", "two"), app="1.0.0")
    for thing in ("one", "two"):
        assert status(cloud, thing, identifier) == "QUEUED"
        assert cloud.take(thing)["id"] == identifier
        assert status(cloud, thing, identifier) == "SUCCEEDED"
    made = cloud.aws.greengrass.get_deployment(deploymentId=identifier)
    assert (made["deploymentStatus"], made["targetArn"]) == ("ACTIVE", f"{GROUP}shelves")


def test_a_group_that_does_not_exist_is_no_target(cloud: Account) -> None:
    client = cloud.aws.greengrass
    with pytest.raises(client.exceptions.ResourceNotFoundException, match="no thing group of that name"):
        deploy(cloud, f"{GROUP}shelves")


def test_who_joins_a_group_gets_what_it_has(cloud: Account) -> None:
    cloud.component("app")
    target = group(cloud, "shelves", "one")
    deploy(cloud, target, app="1.0.0")
    cloud.take("one")
    join(cloud, "shelves", "two")
    assert waiting(cloud, "two") == {"app": "1.0.0"}
    assert waiting(cloud, "one") is None


def test_who_leaves_a_group_loses_what_came_from_it(cloud: Account) -> None:
    cloud.component("app")
    cloud.component("own")
    target = group(cloud, "shelves", "one")
    deploy(cloud, target, app="1.0.0")
    cloud.take("one")
    deploy(cloud, cloud.register("one"), own="1.0.0")
    assert waiting(cloud, "one") == {"app": "1.0.0", "own": "1.0.0"}
    cloud.take("one")
    cloud.aws.iot.remove_thing_from_thing_group(thingGroupName="shelves", thingName="one")
    assert waiting(cloud, "one") == {"own": "1.0.0"}
    cloud.take("one")
    assert waiting(cloud, "one") is None
    cloud.aws.iot.add_thing_to_thing_group(thingGroupName="shelves", thingName="one")
    assert waiting(cloud, "one") == {"app": "1.0.0", "own": "1.0.0"}


def test_a_device_runs_one_version_of_a_component_only(cloud: Account) -> None:
    cloud.component("app")
    cloud.component("app", "2.0.0")
    deploy(cloud, group(cloud, "shelves", "one"), app="1.0.0")
    cloud.take("one")
    identifier = deploy(cloud, group(cloud, "kitchens", "one"), app="2.0.0")
    assert waiting(cloud, "one") is None
    listed = cloud.aws.greengrass.list_effective_deployments(coreDeviceThingName="one")
    found = listed["effectiveDeployments"][0]
    assert (found["deploymentId"], found["coreDeviceExecutionStatus"]) == (identifier, "FAILED")
    assert "thinggroup/kitchens wants app 2.0.0 and thinggroup/shelves wants app 1.0.0" in found["reason"]
    assert "NO_AVAILABLE_COMPONENT_VERSION" in found["statusDetails"]["errorStack"]


def test_a_device_hears_of_the_policies_and_tells_how_it_ended(cloud: Account) -> None:
    cloud.component("app")
    policies: Any = {
        "failureHandlingPolicy": "DO_NOTHING",
        "componentUpdatePolicy": {"action": "SKIP_NOTIFY_COMPONENTS"},
    }
    target = cloud.register("one")
    deploy(cloud, target, settings={"deploymentPolicies": policies}, app="1.0.0")
    heard = cloud.device("next", {"thing": "one"})["deployment"]["policies"]
    assert heard["failureHandlingPolicy"] == "DO_NOTHING"
    assert heard["componentUpdatePolicy"] == {"action": "SKIP_NOTIFY_COMPONENTS", "timeoutInSeconds": 60}
    cloud.take("one", status="FAILED", detailed="FAILED_ROLLBACK_COMPLETE", reason="it crashed")
    listed = cloud.aws.greengrass.list_effective_deployments(coreDeviceThingName="one")
    assert listed["effectiveDeployments"][0]["reason"] == "FAILED_ROLLBACK_COMPLETE: it crashed"
    deploy(cloud, target, app="1.0.0")
    assert cloud.take("one")["policies"]["failureHandlingPolicy"] == "ROLLBACK"
