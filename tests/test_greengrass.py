"""Greengrass V2's control plane, as boto3 sees it, and deploying through it."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from edge_parts import BUCKET, Account, account, color_bundle, other_recipe, to_json

from gtlabel.edge.bundle import Bundle
from gtlabel.edge.component import component_recipe
from gtlabel.edge.deploy import (
    create_deployment,
    deploy_model,
    find_target,
    plan_deployment,
    wait_for_device,
)
from gtlabel.edge.publish import (
    Published,
    create_component_version,
    find_version,
    publish,
    upload_bundle,
    wait_deployable,
)
from gtlabel.emulator.recipes import update_configuration
from gtlabel.errors import (
    BundleError,
    ComponentVersionFailedError,
    ComponentVersionTakenError,
    DeploymentEndedError,
    DeviceNotFoundError,
    EdgeError,
    PolicyError,
)
from gtlabel.policies import policy_for
from gtlabel.uris import S3Uri

NAME = "deeplens-colors"
FOLDER = S3Uri.of(BUCKET, "components")
ARN = "arn:aws:greengrass:us-east-1:123456789012:components:"


@pytest.fixture
def greengrass() -> Iterator[Account]:
    with account() as empty:
        yield empty


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return color_bundle(tmp_path_factory.mktemp("bundle") / "bundle.zip")


def published(greengrass: Account, bundle: Bundle) -> Published:
    aws, clock = greengrass.aws, greengrass.clock
    return publish(
        aws.greengrass, aws.s3, bundle, folder=FOLDER, name=NAME, sleep=clock.sleep, clock=clock.seconds
    )


def deployed(greengrass: Account, target: str, **versions: str) -> str:
    components = {name.replace("_", "-"): {"componentVersion": value} for name, value in versions.items()}
    response = greengrass.aws.greengrass.create_deployment(targetArn=target, components=components)  # type: ignore[arg-type]
    return response["deploymentId"]


def test_a_component_becomes_deployable_and_its_artifact_is_pinned(
    greengrass: Account, bundle: Bundle
) -> None:
    component = published(greengrass, bundle)
    assert component.version == "1.0.0"
    assert component.artifact == f"s3://{BUCKET}/components/{NAME}/1.0.0/{bundle.sha256[:12]}/bundle.zip"
    described = greengrass.aws.greengrass.describe_component(arn=component.arn)
    assert described["status"]["componentState"] == "DEPLOYABLE"
    assert {platform["attributes"]["os"] for platform in described["platforms"]} == {"linux", "darwin"}
    recipe = json.loads(greengrass.aws.greengrass.get_component(arn=component.arn)["recipe"])
    digest = base64.b64encode(hashlib.sha256(bundle.path.read_bytes()).digest()).decode()
    artifact = recipe["Manifests"][0]["Artifacts"][0]
    assert (artifact["Digest"], artifact["Algorithm"]) == (digest, "SHA-256")


def test_a_component_takes_a_moment(greengrass: Account) -> None:
    client = greengrass.aws.greengrass
    response = client.create_component_version(inlineRecipe=to_json(other_recipe("somebody.app")))
    arn = response["arn"]
    assert arn == f"{ARN}somebody.app:versions:1.0.0"
    assert client.describe_component(arn=arn)["status"]["componentState"] == "REQUESTED"
    target = greengrass.register("camera")
    with pytest.raises(client.exceptions.ValidationException, match="REQUESTED"):
        deployed(greengrass, target, **{"somebody.app": "1.0.0"})
    wait_deployable(client, arn, sleep=greengrass.clock.sleep, clock=greengrass.clock.seconds)
    assert client.describe_component(arn=arn)["status"]["componentState"] == "DEPLOYABLE"


def test_a_component_without_its_artifact_fails_with_the_reason(greengrass: Account, bundle: Bundle) -> None:
    recipe = component_recipe(bundle, FOLDER / "bundle.zip", name=NAME, version="1.0.0")
    client, clock = greengrass.aws.greengrass, greengrass.clock
    arn = create_component_version(client, recipe)
    with pytest.raises(EdgeError, match=r"FAILED: .*components/bundle\.zip"):
        wait_deployable(client, arn, sleep=clock.sleep, clock=clock.seconds)
    # A failed version is no reason to give up: the next one is made.
    assert published(greengrass, bundle).version == "1.0.1"
    # Whoever names it hears what was wrong with it.
    with pytest.raises(ComponentVersionFailedError, match=r"could not make version 1\.0\.0 .*bundle\.zip"):
        find_version(client, bundle, folder=FOLDER, name=NAME, version="1.0.0")


def test_a_recipe_may_be_yaml(greengrass: Account) -> None:
    recipe = b"""
RecipeFormatVersion: 2020-01-25
ComponentName: somebody.app
ComponentVersion: 1.2.3
Manifests:
  - Platform: {os: linux, runtime: "*"}
    Lifecycle: {run: "echo {iot:thingName}"}
"""
    client = greengrass.aws.greengrass
    arn = client.create_component_version(inlineRecipe=recipe)["arn"]
    answer = client.get_component(arn=arn, recipeOutputFormat="YAML")
    assert answer["recipeOutputFormat"] == "YAML"
    assert b"ComponentVersion: 1.2.3" in answer["recipe"]
    as_json = json.loads(client.get_component(arn=arn)["recipe"])
    assert as_json["RecipeFormatVersion"] == "2020-01-25"


@pytest.mark.parametrize(
    ("recipe", "reason", "complaint"),
    [
        (b"{", "CANNOT_PARSE", "neither JSON nor YAML"),
        (b"\xff\xfe", "CANNOT_PARSE", "not UTF-8"),
        (b"[]", "CANNOT_PARSE", "not an object"),
        (to_json(other_recipe("app", "1.0")), "FIELD_VALIDATION_FAILED", "ComponentVersion"),
        (to_json(other_recipe("app", rnu="true")), "FIELD_VALIDATION_FAILED", "Lifecycle.rnu"),
    ],
)
def test_a_wrong_recipe_is_refused(greengrass: Account, recipe: bytes, reason: str, complaint: str) -> None:
    client = greengrass.aws.greengrass
    with pytest.raises(client.exceptions.ValidationException, match=complaint) as refused:
        client.create_component_version(inlineRecipe=recipe)
    response: dict[str, Any] = dict(refused.value.response)
    assert response["reason"] == reason


def test_a_version_is_taken_once(greengrass: Account) -> None:
    client = greengrass.aws.greengrass
    recipe = to_json(other_recipe("app"))
    first = client.create_component_version(inlineRecipe=recipe, clientToken="once")
    again = client.create_component_version(inlineRecipe=recipe, clientToken="once")
    assert again["arn"] == first["arn"]
    with pytest.raises(client.exceptions.ConflictException) as refused:
        client.create_component_version(inlineRecipe=recipe)
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 409
    with pytest.raises(ComponentVersionTakenError, match="use a higher --version"):
        create_component_version(client, other_recipe("app", run="something else"))


def test_the_same_bundle_keeps_its_version_and_another_gets_the_next(
    greengrass: Account, bundle: Bundle, tmp_path: Path
) -> None:
    first = published(greengrass, bundle)
    assert published(greengrass, bundle) == first
    other = color_bundle(tmp_path / "bundle.zip", threshold=0.7)
    assert published(greengrass, other).version == "1.0.1"
    assert published(greengrass, bundle) == first
    recipe = component_recipe(bundle, first.artifact, name=NAME, version="1.0.0")
    assert create_component_version(greengrass.aws.greengrass, recipe) == first.arn


def test_an_artifact_is_never_overwritten(greengrass: Account, bundle: Bundle, tmp_path: Path) -> None:
    s3 = greengrass.aws.s3
    artifact = upload_bundle(s3, bundle, FOLDER)
    assert upload_bundle(s3, bundle, FOLDER) == artifact
    other = color_bundle(tmp_path / "bundle.zip", threshold=0.7)
    with pytest.raises(BundleError, match="holds something else"):
        upload_bundle(s3, other, FOLDER)
    stored = s3.get_object(Bucket=BUCKET, Key=artifact.key)["Body"].read()
    assert stored == bundle.path.read_bytes()


def test_components_are_listed_in_pages_with_their_newest_version(greengrass: Account) -> None:
    for name in ("alpha", "beta", "gamma"):
        greengrass.component(name)
    for version in ("1.0.9", "1.0.10", "1.0.10-rc.1"):
        greengrass.component("alpha", version)
    client = greengrass.aws.greengrass
    pages = list(client.get_paginator("list_components").paginate(PaginationConfig={"PageSize": 2}))
    assert [[item["componentName"] for item in page["components"]] for page in pages] == [
        ["alpha", "beta"],
        ["gamma"],
    ]
    assert pages[0]["components"][0]["latestVersion"]["componentVersion"] == "1.0.10"
    versions = client.list_component_versions(arn=f"{ARN}alpha")["componentVersions"]
    assert [item["componentVersion"] for item in versions] == ["1.0.10", "1.0.10-rc.1", "1.0.9", "1.0.0"]
    assert client.list_components(scope="PUBLIC")["components"] == []
    with pytest.raises(client.exceptions.ValidationException, match="nextToken"):
        client.list_components(nextToken="?")


def test_what_does_not_exist_is_not_found(greengrass: Account) -> None:
    client = greengrass.aws.greengrass
    missing = f"{ARN}app:versions:1.0.0"
    calls: list[Callable[[], Any]] = [
        lambda: client.describe_component(arn=missing),
        lambda: client.get_component(arn=missing),
        lambda: client.delete_component(arn=missing),
        lambda: client.list_component_versions(arn=f"{ARN}app"),
        lambda: client.get_deployment(deploymentId="none"),
        lambda: client.cancel_deployment(deploymentId="none"),
        lambda: client.delete_deployment(deploymentId="none"),
        lambda: client.get_core_device(coreDeviceThingName="none"),
        lambda: client.list_installed_components(coreDeviceThingName="none"),
        lambda: client.list_effective_deployments(coreDeviceThingName="none"),
        lambda: client.list_tags_for_resource(resourceArn=missing),
    ]
    for call in calls:
        with pytest.raises(client.exceptions.ResourceNotFoundException):
            call()


def test_resources_carry_tags(greengrass: Account) -> None:
    client = greengrass.aws.greengrass
    arn = greengrass.component("app")
    client.tag_resource(resourceArn=arn, tags={"team": "vision", "stage": "test"})
    client.untag_resource(resourceArn=arn, tagKeys=["stage"])
    assert client.list_tags_for_resource(resourceArn=arn)["tags"] == {"team": "vision"}
    assert client.describe_component(arn=arn)["tags"] == {"team": "vision"}


def test_a_deployment_needs_a_device_and_components_that_exist(greengrass: Account) -> None:
    client = greengrass.aws.greengrass
    greengrass.component("app")
    nowhere = "arn:aws:iot:us-east-1:123456789012:thing/nowhere"
    with pytest.raises(client.exceptions.ResourceNotFoundException, match="nowhere does not exist"):
        deployed(greengrass, nowhere, app="1.0.0")
    target = greengrass.register("camera")
    with pytest.raises(client.exceptions.ResourceNotFoundException, match="app:versions:9.9.9"):
        deployed(greengrass, target, app="9.9.9")


@pytest.mark.parametrize(
    ("update", "complaint"),
    [
        ({"merge": "{"}, "merge is not JSON"),
        ({"merge": "[1]"}, "merge must hold a JSON object"),
        ({"reset": ["folder"]}, "no JSON pointer"),
    ],
)
def test_a_configuration_update_must_be_one(
    greengrass: Account, update: dict[str, Any], complaint: str
) -> None:
    greengrass.component("app")
    client, target = greengrass.aws.greengrass, greengrass.register("camera")
    components: Any = {"app": {"componentVersion": "1.0.0", "configurationUpdate": update}}
    with pytest.raises(client.exceptions.ValidationException, match=complaint):
        client.create_deployment(targetArn=target, components=components)


def test_a_deployment_takes_the_place_of_the_one_before(greengrass: Account) -> None:
    client, target = greengrass.aws.greengrass, greengrass.register("camera")
    greengrass.component("one")
    greengrass.component("two")
    first = deployed(greengrass, target, one="1.0.0")
    greengrass.clock.sleep(1)
    second = deployed(greengrass, target, two="1.0.0")
    assert client.get_deployment(deploymentId=first)["deploymentStatus"] == "INACTIVE"
    latest = client.get_deployment(deploymentId=second)
    assert (latest["isLatestForTarget"], latest["revisionId"]) == (True, "2")
    assert set(latest["components"]) == {"two"}
    assert [item["deploymentId"] for item in client.list_deployments()["deployments"]] == [second]
    every = client.list_deployments(targetArn=target, historyFilter="ALL")["deployments"]
    assert [item["deploymentId"] for item in every] == [second, first]
    taken = greengrass.take("camera")
    assert taken["id"] == second
    effective = client.list_effective_deployments(coreDeviceThingName="camera")["effectiveDeployments"]
    assert {item["deploymentId"]: item["coreDeviceExecutionStatus"] for item in effective} == {
        first: "CANCELED",
        second: "COMPLETED",
    }
    assert client.get_deployment(deploymentId=second)["deploymentStatus"] == "COMPLETED"


def test_the_same_token_gives_the_same_deployment(greengrass: Account) -> None:
    client, target = greengrass.aws.greengrass, greengrass.register("camera")
    greengrass.component("app")
    components: Any = {"app": {"componentVersion": "1.0.0"}}
    first = client.create_deployment(targetArn=target, components=components, clientToken="once")
    again = client.create_deployment(targetArn=target, components=components, clientToken="once")
    assert again["deploymentId"] == first["deploymentId"]
    with pytest.raises(client.exceptions.ConflictException, match="clientToken"):
        client.create_deployment(targetArn=target, components={}, clientToken="once")


def test_a_canceled_deployment_never_reaches_the_device(greengrass: Account) -> None:
    client, target = greengrass.aws.greengrass, greengrass.register("camera")
    greengrass.component("app")
    identifier = deployed(greengrass, target, app="1.0.0")
    with pytest.raises(client.exceptions.ConflictException, match="cancel it first"):
        client.delete_deployment(deploymentId=identifier)
    client.cancel_deployment(deploymentId=identifier)
    assert greengrass.device("next", {"thing": "camera"})["deployment"] is None
    with pytest.raises(client.exceptions.ConflictException, match="CANCELED"):
        client.cancel_deployment(deploymentId=identifier)
    client.delete_deployment(deploymentId=identifier)
    assert client.list_deployments(historyFilter="ALL")["deployments"] == []


def test_core_devices_are_known_by_what_they_last_said(greengrass: Account) -> None:
    client, target = greengrass.aws.greengrass, greengrass.register("camera")
    greengrass.register("shelf")
    greengrass.component("app")
    deployed(greengrass, target, app="1.0.0")
    greengrass.take("camera", "BROKEN", status="FAILED", reason="it would not start")
    core = client.get_core_device(coreDeviceThingName="camera")
    assert (core["status"], core["architecture"]) == ("UNHEALTHY", "amd64")
    healthy = client.list_core_devices(status="HEALTHY")["coreDevices"]
    assert [item["coreDeviceThingName"] for item in healthy] == ["shelf"]
    (installed,) = client.list_installed_components(coreDeviceThingName="camera")["installedComponents"]
    assert (installed["componentVersion"], installed["lifecycleState"]) == ("1.0.0", "BROKEN")


def test_other_peoples_components_and_settings_stay(greengrass: Account, bundle: Bundle) -> None:
    client, target = greengrass.aws.greengrass, greengrass.register("camera")
    greengrass.component("their.logger", "2.0.0")
    theirs: Any = {
        "componentVersion": "2.0.0",
        "configurationUpdate": {"merge": '{"level": "INFO"}'},
        "runWith": {"posixUser": "logger"},
    }
    client.create_deployment(
        targetArn=target,
        deploymentName="kitchen",
        components={"their.logger": theirs},
        deploymentPolicies={"failureHandlingPolicy": "DO_NOTHING"},
    )
    component = published(greengrass, bundle)
    plan = plan_deployment(client, target, component, {"folder": "in"})
    assert plan.kept == {"their.logger": "2.0.0"}
    assert plan.changed == (NAME, None, "1.0.0")
    assert str(plan) == f"{NAME} 1.0.0 is new; their.logger 2.0.0 stays"
    made = client.get_deployment(deploymentId=create_deployment(client, plan))
    assert made["components"]["their.logger"] == theirs
    assert made["deploymentName"] == "kitchen"
    assert made["deploymentPolicies"] == {"failureHandlingPolicy": "DO_NOTHING"}
    assert made["components"][NAME]["configurationUpdate"] == {"reset": [""], "merge": '{"folder": "in"}'}
    again = plan_deployment(client, target, component, {})
    assert again.changed == (NAME, "1.0.0", "1.0.0")


def test_a_canceled_deployment_is_not_what_the_next_one_builds_on(
    greengrass: Account, bundle: Bundle
) -> None:
    client, target = greengrass.aws.greengrass, greengrass.register("camera")
    greengrass.component("wanted")
    greengrass.component("regretted")
    deployed(greengrass, target, wanted="1.0.0")
    greengrass.clock.sleep(1)
    client.cancel_deployment(deploymentId=deployed(greengrass, target, wanted="1.0.0", regretted="1.0.0"))
    plan = plan_deployment(client, target, published(greengrass, bundle), {})
    assert plan.kept == {"wanted": "1.0.0"}


def waiting(greengrass: Account, status: dict[str, Any], state: str = "RUNNING") -> str:
    """Wait for a device that gave one report."""
    target = greengrass.register("camera")
    greengrass.component("app")
    identifier = deployed(greengrass, target, app="1.0.0")
    if status:
        greengrass.take("camera", state, **status)
    component = Published(f"{ARN}app:versions:1.0.0", "app", "1.0.0", FOLDER)
    clock = greengrass.clock
    return wait_for_device(
        greengrass.aws.greengrass,
        "camera",
        identifier,
        component,
        timeout=30,
        sleep=clock.sleep,
        clock=clock.seconds,
    )


@pytest.mark.parametrize("state", ["RUNNING", "FINISHED"])
def test_waiting_ends_when_the_component_does_its_work(greengrass: Account, state: str) -> None:
    assert waiting(greengrass, {"status": "SUCCEEDED"}, state) == state


def test_waiting_ends_with_the_reason_the_device_gave(greengrass: Account) -> None:
    with pytest.raises(DeploymentEndedError, match="FAILED on camera: no space left") as ended:
        waiting(greengrass, {"status": "FAILED", "reason": "no space left"})
    assert not ended.value.timed_out


def test_a_broken_component_is_no_success(greengrass: Account) -> None:
    with pytest.raises(DeploymentEndedError, match="app is BROKEN"):
        waiting(greengrass, {"status": "SUCCEEDED"}, "BROKEN")


def test_a_device_that_is_off_is_not_waited_for_forever(greengrass: Account) -> None:
    with pytest.raises(DeploymentEndedError, match="still QUEUED on camera: not done after 30 s") as ended:
        waiting(greengrass, {})
    assert ended.value.timed_out


def test_a_target_must_exist(greengrass: Account) -> None:
    aws = greengrass.aws
    with pytest.raises(DeviceNotFoundError, match="'nobody'"):
        find_target(aws.greengrass, aws.iot, "nobody")
    with pytest.raises(DeviceNotFoundError, match="thinggroup/nobody"):
        find_target(aws.greengrass, aws.iot, "thinggroup/nobody")
    greengrass.register("camera")
    arn = "arn:aws:iot:us-east-1:123456789012:thing/camera"
    assert find_target(aws.greengrass, aws.iot, arn) == find_target(aws.greengrass, aws.iot, "camera")
    # A thing that was provisioned and has not come up yet.
    aws.iot.create_thing(thingName="new-camera")
    assert find_target(aws.greengrass, aws.iot, "new-camera").things == ("new-camera",)
    aws.iot.create_thing_group(thingGroupName="kitchen")
    with pytest.raises(EdgeError, match="'kitchen' is empty"):
        find_target(aws.greengrass, aws.iot, "thinggroup/kitchen")
    aws.iot.add_thing_to_thing_group(thingGroupName="kitchen", thingName="new-camera")
    assert find_target(aws.greengrass, aws.iot, "thinggroup/kitchen").things == ("new-camera",)


VALUES = {
    "account": "123456789012",
    "region": "eu-west-1",
    "bucket": BUCKET,
    "dataset": "",
    "component": NAME,
    "role_alias": "cameras",
}


@pytest.mark.parametrize("name", ["deploy", "device", "device-role", "device-role-trust"])
def test_a_shipped_policy_names_its_resources_wherever_aws_lets_it(name: str) -> None:
    document = policy_for(name, VALUES)
    assert "${account}" not in json.dumps(document)
    for statement in document["Statement"]:
        actions, resources = statement["Action"], statement.get("Resource", [])
        if resources == "*":
            # Listings, deployments and the data plane of Greengrass; nothing in S3, IoT or logs.
            assert all(each.startswith("greengrass:") for each in _listed(actions))
        assert "*" not in [each.rpartition(":")[2] for each in _listed(actions)]


def _listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def test_devices_may_fetch_our_artifacts_and_no_others() -> None:
    (fetch, _) = policy_for("device-role", VALUES)["Statement"]
    assert fetch["Action"] == "s3:GetObject"
    assert fetch["Resource"] == f"arn:aws:s3:::{BUCKET}/components/{NAME}/*"


def test_a_policy_with_a_gap_is_not_written() -> None:
    with pytest.raises(PolicyError, match="needs a value for"):
        policy_for("device", {"account": "123456789012"})


def test_nothing_is_uploaded_for_a_device_that_does_not_exist(greengrass: Account, bundle: Bundle) -> None:
    aws = greengrass.aws
    with pytest.raises(DeviceNotFoundError):
        deploy_model(aws.greengrass, aws.s3, aws.iot, bundle, to="nobody", folder=FOLDER, name=NAME)
    assert "Contents" not in aws.s3.list_objects_v2(Bucket=BUCKET)
    assert aws.greengrass.list_components()["components"] == []


@pytest.mark.parametrize(
    ("overlay", "reset", "merge", "expected"),
    [
        ({}, [], {"a": {"b": 1}}, {"a": {"b": 1}}),
        ({"a": {"b": 1, "c": 2}}, [], {"a": {"b": 3}}, {"a": {"b": 3, "c": 2}}),
        ({"a": {"b": 1, "c": 2}}, ["/a/b"], {}, {"a": {"c": 2}}),
        ({"a": 1}, [""], {"b": 2}, {"b": 2}),
        ({"a": 1}, ["/a"], {"a": 2}, {"a": 2}),
        ({"a/b": 1, "c~d": 2}, ["/a~1b", "/c~0d", "/none/there"], {}, {}),
        ({"a": [1, 2]}, [], {"a": [3]}, {"a": [3]}),
    ],
)
def test_resets_come_before_merges(
    overlay: dict[str, Any], reset: list[str], merge: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert update_configuration(overlay, reset, merge) == expected
