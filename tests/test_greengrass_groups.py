"""Deployments to thing groups: who gets them and when, and what a device runs that is in several."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from edge_parts import Account, account, other_recipe, to_json

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


def test_what_a_failed_deployment_left_on_a_device_goes_when_it_leaves_the_group(cloud: Account) -> None:
    cloud.component("app")
    deploy(cloud, group(cloud, "shelves", "one"), app="1.0.0")
    cloud.take("one", "BROKEN", status="FAILED", detailed="FAILED_ROLLBACK_NOT_REQUESTED")
    assert waiting(cloud, "one") is None
    cloud.aws.iot.remove_thing_from_thing_group(thingGroupName="shelves", thingName="one")
    assert waiting(cloud, "one") == {}


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


def rollout(**settings: Any) -> dict[str, Any]:
    return {"iotJobConfiguration": {"jobExecutionsRolloutConfig": settings}}


def reached(cloud: Account, things: list[str], deployment: str) -> list[str]:
    return [thing for thing in things if status(cloud, thing, deployment) != "unseen"]


THINGS = [f"camera-{number}" for number in range(8)]


def test_a_rollout_reaches_so_many_devices_in_a_minute(cloud: Account) -> None:
    cloud.component("app")
    target = group(cloud, "shelves", *THINGS)
    identifier = deploy(cloud, target, settings=rollout(maximumPerMinute=3), app="1.0.0")
    assert reached(cloud, THINGS, identifier) == THINGS[:3]
    assert waiting(cloud, THINGS[3]) is None
    cloud.clock.sleep(59)
    assert reached(cloud, THINGS, identifier) == THINGS[:3]
    cloud.clock.sleep(1)
    assert reached(cloud, THINGS, identifier) == THINGS[:6]
    assert waiting(cloud, THINGS[3]) == {"app": "1.0.0"}
    cloud.clock.sleep(60)
    assert reached(cloud, THINGS, identifier) == THINGS


def test_a_rollout_may_grow_with_the_devices_that_were_reached(cloud: Account) -> None:
    cloud.component("app")
    growing = {
        "baseRatePerMinute": 1,
        "incrementFactor": 2.0,
        "rateIncreaseCriteria": {"numberOfNotifiedThings": 1},
    }
    target = group(cloud, "shelves", *THINGS)
    identifier = deploy(cloud, target, settings=rollout(exponentialRate=growing), app="1.0.0")
    counts = []
    for _ in range(3):
        counts.append(len(reached(cloud, THINGS, identifier)))
        cloud.clock.sleep(60)
    assert counts == [1, 3, 8]


def test_a_rollout_may_grow_with_the_devices_that_succeeded(cloud: Account) -> None:
    cloud.component("app")
    growing = {
        "baseRatePerMinute": 1,
        "incrementFactor": 3.0,
        "rateIncreaseCriteria": {"numberOfSucceededThings": 2},
    }
    target = group(cloud, "shelves", *THINGS)
    settings = rollout(exponentialRate=growing, maximumPerMinute=4)
    identifier = deploy(cloud, target, settings=settings, app="1.0.0")
    cloud.clock.sleep(60)
    assert len(reached(cloud, THINGS, identifier)) == 2
    for thing in THINGS[:2]:
        cloud.take(thing)
    cloud.clock.sleep(60)
    assert len(reached(cloud, THINGS, identifier)) == 5


def test_a_rollout_is_given_up_when_too_many_devices_fail(cloud: Account) -> None:
    cloud.component("app")
    criterion = {
        "failureType": "FAILED",
        "action": "CANCEL",
        "thresholdPercentage": 50.0,
        "minNumberOfExecutedThings": 2,
    }
    settings = rollout(maximumPerMinute=4)
    settings["iotJobConfiguration"]["abortConfig"] = {"criteriaList": [criterion]}
    client, target = cloud.aws.greengrass, group(cloud, "shelves", *THINGS)
    identifier = deploy(cloud, target, settings=settings, app="1.0.0")
    cloud.take(THINGS[0], status="FAILED", reason="it crashed")
    assert client.get_deployment(deploymentId=identifier)["deploymentStatus"] == "ACTIVE"
    cloud.take(THINGS[1])
    assert client.get_deployment(deploymentId=identifier)["deploymentStatus"] == "CANCELED"
    cloud.clock.sleep(600)
    assert reached(cloud, THINGS, identifier) == THINGS[:4]
    assert [status(cloud, thing, identifier) for thing in THINGS[:4]] == [
        "FAILED",
        "SUCCEEDED",
        "CANCELED",
        "CANCELED",
    ]
    last = client.list_effective_deployments(coreDeviceThingName=THINGS[3])["effectiveDeployments"][0]
    assert (
        last["reason"] == "the rollout was given up: 50 % or more of the devices that were done ended FAILED"
    )


def test_a_device_that_takes_too_long_is_timed_out_at_the_minute(cloud: Account) -> None:
    cloud.component("app")
    client, target = cloud.aws.greengrass, cloud.register("one")
    settings = {"iotJobConfiguration": {"timeoutConfig": {"inProgressTimeoutInMinutes": 2}}}
    identifier = deploy(cloud, target, settings=settings, app="1.0.0")
    cloud.clock.sleep(3600)
    begun = {"thing": "one", "deployment": identifier}
    cloud.device("report", {**begun, "status": "IN_PROGRESS"})
    started = cloud.clock.now()
    cloud.clock.sleep(119)
    assert status(cloud, "one", identifier) == "IN_PROGRESS"
    cloud.clock.sleep(300)
    found = client.list_effective_deployments(coreDeviceThingName="one")["effectiveDeployments"][0]
    assert found["coreDeviceExecutionStatus"] == "TIMED_OUT"
    assert (found["modifiedTimestamp"] - started).total_seconds() == 120
    assert client.get_deployment(deploymentId=identifier)["deploymentStatus"] == "FAILED"
    cloud.device("report", {**begun, "status": "SUCCEEDED"})
    assert status(cloud, "one", identifier) == "TIMED_OUT"


def test_a_thing_whose_device_was_never_on_is_a_target_and_its_job_waits(cloud: Account) -> None:
    cloud.component("app")
    iot = cloud.aws.iot
    arn = iot.create_thing(thingName="attic")["thingArn"]
    identifier = deploy(cloud, arn, app="1.0.0")
    job = cloud.aws.greengrass.get_deployment(deploymentId=identifier)["iotJobId"]
    assert iot.describe_job(jobId=job)["job"]["status"] == "IN_PROGRESS"
    assert iot.describe_job_execution(jobId=job, thingName="attic")["execution"]["status"] == "QUEUED"
    cloud.register("attic")
    assert waiting(cloud, "attic") == {"app": "1.0.0"}
    cloud.take(
        "attic",
        status="FAILED",
        detailed="FAILED_NO_STATE_CHANGE",
        reason="no space",
        errors=["DEPLOYMENT_FAILURE", "DISK_SPACE_CRITICAL"],
        errorTypes=["DEVICE_ERROR"],
    )
    execution = iot.describe_job_execution(jobId=job, thingName="attic")["execution"]
    assert execution["status"] == "FAILED"
    assert execution["statusDetails"]["detailsMap"] == {
        "detailed-deployment-status": "FAILED_NO_STATE_CHANGE",
        "deployment-failure-cause": "no space",
        "deployment-error-stack": "DEPLOYMENT_FAILURE,DISK_SPACE_CRITICAL",
        "deployment-error-types": "DEVICE_ERROR",
    }
    listed = cloud.aws.greengrass.list_effective_deployments(coreDeviceThingName="attic")
    assert listed["effectiveDeployments"][0]["statusDetails"] == {
        "errorStack": ["DEPLOYMENT_FAILURE", "DISK_SPACE_CRITICAL"],
        "errorTypes": ["DEVICE_ERROR"],
    }
    assert iot.describe_job(jobId=job)["job"]["status"] == "COMPLETED"


def test_a_job_of_a_group_shows_every_device_that_was_reached(cloud: Account) -> None:
    cloud.component("app")
    identifier = deploy(cloud, group(cloud, "shelves", "one", "two"), app="1.0.0")
    job = cloud.aws.greengrass.get_deployment(deploymentId=identifier)["iotJobId"]
    cloud.take("one")
    listed = cloud.aws.iot.list_job_executions_for_job(jobId=job)["executionSummaries"]
    found = {item["thingArn"].rpartition("/")[2]: item["jobExecutionSummary"]["status"] for item in listed}
    assert found == {"one": "SUCCEEDED", "two": "QUEUED"}
    described = cloud.aws.iot.describe_job(jobId=job)["job"]
    assert (described["targets"], described["targetSelection"]) == ([f"{GROUP}shelves"], "CONTINUOUS")


def test_a_group_reaches_the_groups_below_it(cloud: Account) -> None:
    cloud.component("app")
    target = group(cloud, "house")
    group(cloud, "kitchen", "one", parent="house")
    deploy(cloud, target, app="1.0.0")
    assert waiting(cloud, "one") == {"app": "1.0.0"}
    listed = cloud.aws.greengrass.list_core_devices(thingGroupArn=target)["coreDevices"]
    assert [item["coreDeviceThingName"] for item in listed] == ["one"]
    assert cloud.aws.greengrass.list_core_devices(thingGroupArn=f"{GROUP}none")["coreDevices"] == []


def test_core_devices_are_found_by_their_runtime(cloud: Account) -> None:
    cloud.register("one")
    found = [
        [
            item["coreDeviceThingName"]
            for item in cloud.aws.greengrass.list_core_devices(runtime=name)["coreDevices"]
        ]
        for name in ("aws_nucleus_lite", "aws_nucleus_classic")
    ]
    assert found == [["one"], []]


def test_a_revision_for_a_group_takes_the_place_of_the_one_before(cloud: Account) -> None:
    cloud.component("app")
    cloud.component("extra")
    client, target = cloud.aws.greengrass, group(cloud, "shelves", "one", "two")
    first = deploy(cloud, target, app="1.0.0", extra="1.0.0")
    cloud.take("one")
    second = deploy(cloud, target, app="1.0.0")
    assert waiting(cloud, "one") == waiting(cloud, "two") == {"app": "1.0.0"}
    assert [status(cloud, thing, first) for thing in ("one", "two")] == ["SUCCEEDED", "CANCELED"]
    statuses = {
        item["deploymentId"]: (item["deploymentStatus"], item["revisionId"])
        for item in client.list_deployments(targetArn=target, historyFilter="ALL")["deployments"]
    }
    assert statuses == {first: ("INACTIVE", "1"), second: ("ACTIVE", "2")}


def test_a_canceled_deployment_to_a_group_stays_where_it_is_and_goes_nowhere_else(cloud: Account) -> None:
    cloud.component("app")
    cloud.component("own")
    identifier = deploy(cloud, group(cloud, "shelves", "one", "two"), app="1.0.0")
    cloud.take("one")
    cloud.aws.greengrass.cancel_deployment(deploymentId=identifier)
    join(cloud, "shelves", "three")
    assert waiting(cloud, "two") is waiting(cloud, "three") is None
    cloud.aws.greengrass.delete_deployment(deploymentId=identifier)
    deploy(cloud, cloud.register("one"), own="1.0.0")
    assert waiting(cloud, "one") == {"app": "1.0.0", "own": "1.0.0"}


def test_a_deployment_that_is_deleted_while_a_device_is_at_it_ends_quietly(cloud: Account) -> None:
    cloud.component("app")
    identifier = deploy(cloud, cloud.register("one"), app="1.0.0")
    begun = {"thing": "one", "deployment": identifier}
    cloud.device("report", {**begun, "status": "IN_PROGRESS"})
    cloud.aws.greengrass.cancel_deployment(deploymentId=identifier)
    assert status(cloud, "one", identifier) == "IN_PROGRESS"
    cloud.aws.greengrass.delete_deployment(deploymentId=identifier)
    assert cloud.device("report", {**begun, "status": "SUCCEEDED"}) == {"registered": True}
    assert waiting(cloud, "one") is None


def needing(name: str, version: str = "1.0.0", **requirements: str) -> bytes:
    recipe = other_recipe(name, version)
    needs = {other: {"VersionRequirement": wish} for other, wish in requirements.items()}
    return to_json({**recipe, "ComponentDependencies": needs})


def test_a_device_gets_what_its_components_need_and_gets_it_first(cloud: Account) -> None:
    client = cloud.aws.greengrass
    for version in ("1.0.0", "1.4.2", "2.0.0"):
        cloud.component("lib", version)
    client.create_component_version(inlineRecipe=needing("app", lib="^1.0.0"))
    cloud.clock.sleep(1)
    identifier = deploy(cloud, cloud.register("one"), app="1.0.0")
    taken = cloud.take("one")
    assert [(name, spec["version"], spec["root"]) for name, spec in taken["components"].items()] == [
        ("lib", "1.4.2", False),
        ("app", "1.0.0", True),
    ]
    (root,) = client.list_installed_components(coreDeviceThingName="one")["installedComponents"]
    assert (root["componentName"], root["isRoot"], root["lastInstallationSource"]) == (
        "app",
        True,
        identifier,
    )
    every = client.list_installed_components(coreDeviceThingName="one", topologyFilter="ALL")
    assert {item["componentName"]: item["isRoot"] for item in every["installedComponents"]} == {
        "lib": False,
        "app": True,
    }


@pytest.mark.parametrize(
    ("recipes", "versions", "complaint"),
    [
        (
            [needing("app", lib="^3.0.0")],
            {"app": "1.0.0"},
            "app 1.0.0 needs lib ^3.0.0, but of lib there is 1.0.0",
        ),
        (
            [needing("app", other="*")],
            {"app": "1.0.0"},
            "app 1.0.0 needs other *, but of other there is none, and here are none of AWS's own",
        ),
        (
            [needing("app", lib="^2.0.0")],
            {"app": "1.0.0", "lib": "1.0.0"},
            "the deployment names lib 1.0.0, but app 1.0.0 needs lib ^2.0.0",
        ),
        (
            [needing("app", egg="*"), needing("egg", app="*")],
            {"app": "1.0.0"},
            "components need each other in a circle: ",
        ),
    ],
)
def test_what_cannot_be_on_one_device_fails_there_with_the_reason(
    cloud: Account, recipes: list[bytes], versions: dict[str, str], complaint: str
) -> None:
    cloud.component("lib")
    for recipe in recipes:
        cloud.aws.greengrass.create_component_version(inlineRecipe=recipe)
    cloud.clock.sleep(1)
    deploy(cloud, cloud.register("one"), **versions)
    assert waiting(cloud, "one") is None
    listed = cloud.aws.greengrass.list_effective_deployments(coreDeviceThingName="one")
    found = listed["effectiveDeployments"][0]
    assert found["coreDeviceExecutionStatus"] == "FAILED"
    assert complaint in found["reason"]


@pytest.mark.parametrize(
    ("job", "complaint"),
    [
        (
            rollout(exponentialRate={"incrementFactor": 1.05}),
            "incrementFactor: it is 1.1 to 5 with one decimal",
        ),
        (
            rollout(exponentialRate={"rateIncreaseCriteria": {}}),
            "either numberOfNotifiedThings or numberOfSucceededThings",
        ),
        (
            {"iotJobConfiguration": {"timeoutConfig": {"inProgressTimeoutInMinutes": 10081}}},
            "inProgressTimeoutInMinutes: it is 1 to 10080, which are seven days, not 10081",
        ),
    ],
)
def test_what_a_job_cannot_do_is_refused_with_the_deployment(
    cloud: Account, job: dict[str, Any], complaint: str
) -> None:
    growing = job["iotJobConfiguration"].get("jobExecutionsRolloutConfig", {}).get("exponentialRate", {})
    usual = {
        "baseRatePerMinute": 1,
        "incrementFactor": 2.0,
        "rateIncreaseCriteria": {"numberOfNotifiedThings": 1},
    }
    growing.update({name: value for name, value in usual.items() if name not in growing})
    client = cloud.aws.greengrass
    with pytest.raises(client.exceptions.ValidationException, match=complaint):
        deploy(cloud, cloud.register("one"), settings=job)
