"""Component versions as Greengrass V2's control plane has them, what it keeps besides, and both over HTTP."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from edge_parts import BUCKET, Account, Clock, account, other_recipe, to_json

from gtlabel.aws import Aws
from gtlabel.emulator.actors import Hands
from gtlabel.emulator.api import ApiError, Context
from gtlabel.emulator.child import Address
from gtlabel.emulator.greengrass import operations
from gtlabel.emulator.shelf import Shelf

ARN = "arn:aws:greengrass:us-east-1:123456789012:components:"
BIN = Path(sys.executable).parent
PLATFORM = {"os": "linux", "architecture": "amd64", "runtime": "aws_nucleus_lite"}


@pytest.fixture
def cloud() -> Iterator[Account]:
    with account() as empty:
        yield empty


def test_a_component_version_is_requested_then_initiated_then_deployable(cloud: Account) -> None:
    client = cloud.aws.greengrass
    made = client.create_component_version(inlineRecipe=to_json(other_recipe("app")))
    seen = [made["status"]["componentState"]]
    for _ in range(2):
        cloud.clock.sleep(0.1)
        seen.append(client.describe_component(arn=made["arn"])["status"]["componentState"])
    assert seen == ["REQUESTED", "INITIATED", "DEPLOYABLE"]


def test_a_component_version_is_deleted_when_it_is_done_and_not_before(cloud: Account) -> None:
    client = cloud.aws.greengrass
    arn = client.create_component_version(inlineRecipe=to_json(other_recipe("app")))["arn"]
    with pytest.raises(client.exceptions.ConflictException, match="is REQUESTED; it can be deleted when"):
        client.delete_component(arn=arn)
    cloud.clock.sleep(1)
    client.delete_component(arn=arn)
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.describe_component(arn=arn)


def test_a_deployment_of_a_version_that_was_deleted_reaches_the_device_without_a_recipe(
    cloud: Account,
) -> None:
    arn = cloud.component("app")
    client, target = cloud.aws.greengrass, cloud.register("camera")
    client.create_deployment(targetArn=target, components={"app": {"componentVersion": "1.0.0"}})
    client.delete_component(arn=arn)
    assert cloud.device("next", {"thing": "camera"})["deployment"]["components"]["app"]["recipe"] is None
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.create_deployment(targetArn=target, components={"app": {"componentVersion": "1.0.0"}})


def test_no_tag_is_lost_that_is_set_at_the_same_time_as_others(tmp_path: Path) -> None:
    shelf, clock = Shelf(tmp_path / "shelf.sqlite"), Clock()
    known = operations(shelf, lambda _context: None, clock=clock.now)  # type: ignore[arg-type,return-value]
    recipe = {"inlineRecipe": to_json(other_recipe("app"))}
    arn = known["CreateComponentVersion"](Context(), recipe)["arn"]

    def tag(name: int) -> None:
        for number in range(5):
            known["TagResource"](Context(), {"resourceArn": arn, "tags": {f"{name}-{number}": "set"}})

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(tag, range(4)))
    found = known["ListTagsForResource"](Context(), {"resourceArn": arn})["tags"]
    assert found == {f"{name}-{number}": "set" for name in range(4) for number in range(5)}
    for other in (Context(account="210987654321"), Context(region="eu-west-1")):
        elsewhere = other.arn("greengrass", arn.split(":", 5)[5])
        with pytest.raises(ApiError) as error:
            known["ListTagsForResource"](Context(), {"resourceArn": elsewhere})
        assert error.value.code == "ResourceNotFoundException"
    shelf.close()


def test_two_requests_with_one_token_are_not_worked_on_at_once() -> None:
    shelf = Shelf()
    refused: list[str] = []
    recipe = other_recipe("app")
    recipe["Manifests"][0]["Artifacts"] = [{"Uri": f"s3://{BUCKET}/app.zip"}]
    request = {"inlineRecipe": to_json(recipe), "clientToken": "once"}

    class Slow:
        """An S3 in which somebody repeats the request while the artifact is read."""

        def get_object(self, **_place: str) -> dict[str, Any]:
            with pytest.raises(ApiError) as error:
                create(Context(), dict(request))
            refused.append(error.value.code)
            raise ClientError({"Error": {"Code": "NoSuchKey", "Message": "it is not there"}}, "GetObject")

    create = operations(shelf, lambda _context: Slow(), clock=Clock().now)["CreateComponentVersion"]  # type: ignore[arg-type,return-value]
    made = create(Context(), dict(request))
    assert refused == ["RequestAlreadyInProgressException"]
    assert create(Context(), dict(request)) == made
    shelf.close()


@pytest.mark.parametrize("wish", ["newest", "1.x.3", ">=1.0.0 and <2.0.0"])
def test_a_requirement_that_cannot_be_read_is_refused_with_the_recipe(cloud: Account, wish: str) -> None:
    client = cloud.aws.greengrass
    recipe = {**other_recipe("app"), "ComponentDependencies": {"lib": {"VersionRequirement": wish}}}
    with pytest.raises(client.exceptions.ValidationException, match=r"lib\.VersionRequirement"):
        client.create_component_version(inlineRecipe=to_json(recipe))


def test_candidates_are_resolved_to_the_highest_version_that_fits(cloud: Account) -> None:
    client = cloud.aws.greengrass
    for version in ("1.0.0", "1.5.0", "2.0.0"):
        cloud.component("app", version)
    arm = other_recipe("app", "1.6.0")
    arm["Manifests"][0]["Platform"]["architecture"] = "aarch64"
    client.create_component_version(inlineRecipe=to_json(arm))
    cloud.clock.sleep(1)

    def resolved(**candidate: Any) -> str:
        asked: Any = {"componentName": "app", **candidate}
        found = client.resolve_component_candidates(
            platform={"attributes": PLATFORM}, componentCandidates=[asked]
        )["resolvedComponentVersions"]
        (row,) = found
        assert json.loads(row["recipe"])["ComponentVersion"] == row["componentVersion"]
        return row["componentVersion"]

    assert resolved() == "2.0.0"
    assert resolved(versionRequirements={"thing/camera": "^1.0.0"}) == "1.5.0"
    assert resolved(componentVersion="1.0.0", versionRequirements={"thing/camera": "^1.0.0"}) == "1.0.0"
    with pytest.raises(client.exceptions.ResourceNotFoundException, match="thing/camera needs >2.0.0"):
        resolved(versionRequirements={"thing/camera": ">2.0.0"})
    with pytest.raises(client.exceptions.ValidationException, match="'newest' is no requirement"):
        resolved(versionRequirements={"thing/camera": "newest"})


def test_client_devices_are_associated_with_a_core_device(cloud: Account) -> None:
    client = cloud.aws.greengrass
    cloud.register("core")
    for name in ("light", "horn"):
        cloud.aws.iot.create_thing(thingName=name)
    core: Any = {"coreDeviceThingName": "core"}
    names: list[Any] = [{"thingName": name} for name in ("light", "horn", "ghost")]
    (error,) = client.batch_associate_client_device_with_core_device(**core, entries=names)["errorEntries"]
    assert (error["thingName"], error["code"]) == ("ghost", "ResourceNotFoundException")
    (error,) = client.batch_disassociate_client_device_from_core_device(**core, entries=names[1:])[
        "errorEntries"
    ]
    assert error["message"] == "ghost: it is no client device of core"
    listed = client.list_client_devices_associated_with_core_device(**core)["associatedClientDevices"]
    assert [item["thingName"] for item in listed] == ["light"]
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.list_client_devices_associated_with_core_device(coreDeviceThingName="ghost")


def test_connectivity_and_the_service_role_are_kept(cloud: Account) -> None:
    client = cloud.aws.greengrass
    cloud.register("core")
    place: Any = {"id": "1", "hostAddress": "10.0.0.7", "portNumber": 8883, "metadata": ""}
    assert client.get_connectivity_info(thingName="core")["connectivityInfo"] == []
    assert client.update_connectivity_info(thingName="core", connectivityInfo=[place])["version"]
    assert client.get_connectivity_info(thingName="core")["connectivityInfo"] == [place]
    with pytest.raises(client.exceptions.ValidationException, match="there is no thing ghost"):
        client.get_connectivity_info(thingName="ghost")
    role = "arn:aws:iam::123456789012:role/Greengrass_ServiceRole"
    client.associate_service_role_to_account(roleArn=role)
    assert client.get_service_role_for_account()["roleArn"] == role
    client.disassociate_service_role_from_account()
    with pytest.raises(ClientError, match="there is no service role of Greengrass"):
        client.get_service_role_for_account()


def test_the_aws_command_line_rolls_a_deployment_out_over_a_group_by_the_clock_of_the_account(
    gtlabel_aws: Aws, gtlabel_server: Address, gtlabel_clock: Hands, tmp_path: Path
) -> None:
    def device(path: str, **body: Any) -> dict[str, Any]:
        request = urllib.request.Request(f"{gtlabel_server.url}/gtlabel/device/{path}", to_json(body))
        with urllib.request.urlopen(request, timeout=120) as answer:
            return dict(json.load(answer))

    def cli(*words: str) -> dict[str, Any]:
        command = [str(BIN / "aws"), "greengrassv2", *words, "--output", "json"]
        run = subprocess.run(command, env=gtlabel_server.environ, capture_output=True, text=True, timeout=120)
        assert run.returncode == 0, run.stderr
        return dict(json.loads(run.stdout))

    gtlabel_clock.freeze("2026-11-22T09:00:00+00:00")
    iot = gtlabel_aws.iot
    target = iot.create_thing_group(thingGroupName="shelves")["thingGroupArn"]
    for thing in ("one", "two"):
        iot.create_thing(thingName=thing)
        iot.add_thing_to_thing_group(thingGroupName="shelves", thingName=thing)
        device("register", thing=thing, platform=PLATFORM, version="2.6.0")
    recipe = tmp_path / "recipe.json"
    recipe.write_bytes(to_json(other_recipe("app")))
    made = cli("create-component-version", "--inline-recipe", f"fileb://{recipe}")
    assert (made["arn"], made["status"]["componentState"]) == (f"{ARN}app:versions:1.0.0", "REQUESTED")
    gtlabel_clock.advance(seconds=1)
    started = cli(
        "create-deployment",
        *("--target-arn", target, "--components", '{"app": {"componentVersion": "1.0.0"}}'),
        *("--iot-job-configuration", '{"jobExecutionsRolloutConfig": {"maximumPerMinute": 1}}'),
    )
    waiting = {thing: device("next", thing=thing)["deployment"] for thing in ("one", "two")}
    assert waiting["one"]["id"] == started["deploymentId"]
    assert waiting["two"] is None
    gtlabel_clock.advance(seconds=60)
    listed = gtlabel_aws.greengrass.list_effective_deployments(coreDeviceThingName="two")
    (found,) = listed["effectiveDeployments"]
    assert (found["deploymentId"], found["coreDeviceExecutionStatus"]) == (started["deploymentId"], "QUEUED")
