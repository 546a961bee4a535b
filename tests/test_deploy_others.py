"""Deploying beside others: their components and deployments, and another classifier of ours."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from deploy_parts import ARN, NAME, House, house
from edge_parts import other_recipe, to_json

from gtlabel.edge.deploy import DeploymentPlan, find_target
from gtlabel.edge.plan import plan_removal, plan_return
from gtlabel.edge.undo import carry_out, find_revision
from gtlabel.errors import (
    DeploymentConflictError,
    DeploymentEndedError,
    ForeignComponentError,
    RecipeError,
    SecondClassifierError,
)

THING, DOOR = f"{ARN}thing/camera", "com.acme.door"


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bundles")


@pytest.fixture
def home(bundles: Path) -> Iterator[House]:
    with house(bundles) as opened:
        opened.add("camera")
        yield opened


def publish_theirs(home: House, publisher: str, name: str = DOOR) -> None:
    recipe = {**other_recipe(name, "2.3.4"), "ComponentPublisher": publisher}
    home.cloud.aws.greengrass.create_component_version(inlineRecipe=to_json(recipe))
    home.cloud.clock.sleep(1)


# Components.


@pytest.mark.parametrize(
    ("publisher", "named"), [("Acme", "Acme"), ("", "somebody else"), ("gtlabel", "somebody else")]
)
def test_somebody_elses_component_is_not_taken_over(home: House, publisher: str, named: str) -> None:
    publish_theirs(home, publisher)
    with pytest.raises(ForeignComponentError, match=rf"{DOOR} was published by {named}, .* another --name"):
        home.deploy("camera", name=DOOR)
    assert home.uploaded() == []
    assert home.deployments() == []


def test_a_name_of_awss_is_taken_by_nobody_else(home: House) -> None:
    with pytest.raises(ForeignComponentError, match=r"aws\.greengrass\.Cli was published by AWS"):
        home.deploy("camera", name="aws.greengrass.Cli")


def test_somebody_elses_component_is_not_taken_off_and_not_taken_back(home: House) -> None:
    client = home.cloud.aws.greengrass
    publish_theirs(home, "Acme")
    home.deploy_theirs("camera", **{DOOR: "2.3.4"})
    home.deploy_theirs("camera", **{DOOR: "2.3.4"})
    target = find_target(client, home.cloud.aws.iot, "camera")
    for deleted in (False, True):
        if deleted:
            client.delete_component(arn=f"{ARN.replace('iot', 'greengrass')}components:{DOOR}:versions:2.3.4")
        whose = "somebody else" if deleted else "Acme"
        with pytest.raises(ForeignComponentError, match=f"published by {whose}"):
            plan_removal(client, THING, DOOR)
        revision = find_revision(client, target, THING, DOOR, "2.3.4").revision
        with pytest.raises(ForeignComponentError, match=f"published by {whose}"):
            plan_return(client, THING, DOOR, revision)


def test_ours_can_be_taken_off_when_it_was_deleted_in_the_cloud(home: House) -> None:
    client = home.cloud.aws.greengrass
    client.delete_component(arn=home.deploy("camera").component.arn)
    assert plan_removal(client, THING, NAME).components == {}


# Another classifier of ours.


def test_a_second_classifier_is_not_put_on_a_camera_without_a_word(home: House) -> None:
    home.deploy("camera")
    with pytest.raises(SecondClassifierError) as refused:
        home.deploy("camera", name="deeplens-pets")
    sentence = str(refused.value)
    assert sentence.startswith(
        f"thing/camera has another classifier of gtlabel already, {NAME}, and deeplens-pets"
    )
    assert sentence.endswith(f"; replace it with --name {NAME}, or keep both with --beside")
    assert len(home.deployments()) == 1
    plans: list[DeploymentPlan] = []
    home.deploy("camera", name="deeplens-pets", beside=True, on_plan=plans.append)
    assert [(each.name, each.kind) for each in plans[0].changes] == [
        ("deeplens-pets", "new"),
        (NAME, "stays beside it"),
    ]
    # Who is there is there, and goes on to be kept up to date.
    home.deploy("camera", 0.7, name="deeplens-pets", on_plan=plans.append)
    assert plans[1].beside == {NAME: "thing/camera"}
    assert set(home.deployments()[-1]["components"]) == {NAME, "deeplens-pets"}


def test_a_second_classifier_is_seen_where_a_group_has_the_first(home: House) -> None:
    home.deploy(home.add("camera", group="kitchen"))
    again = rf"replace it with --to thinggroup/kitchen --name {NAME}"
    with pytest.raises(SecondClassifierError, match=again):
        home.deploy("camera", name="deeplens-pets")
    home.deploy("camera", name="deeplens-pets", beside=True)


# Other targets of the same device.


def test_two_versions_for_one_device_are_refused_before_anything_is_uploaded(home: House) -> None:
    to = home.add("camera", "shelf", group="kitchen")
    home.deploy(to)
    before = home.uploaded()
    with pytest.raises(
        DeploymentConflictError, match=rf"^thinggroup/kitchen has {NAME} 1\.0\.0 run .* so 1\.0\.1"
    ):
        home.deploy("camera", 0.7)
    assert home.uploaded() == before
    # The same version with settings of its own is no conflict.
    home.deploy("camera", configuration={"top": "2"})
    with pytest.raises(DeploymentConflictError, match=r"deploy remove --to thing/camera --name"):
        home.deploy(to, 0.7)
    # Out of the group, it is free.
    home.cloud.aws.iot.remove_thing_from_thing_group(thingGroupName="kitchen", thingName="camera")
    home.deploy("camera", 0.7)


def test_taking_a_version_out_does_not_say_that_it_never_ran_on_the_device(home: House) -> None:
    home.deploy(home.add("camera", group="kitchen"))
    home.bad = {"1.0.0": "no room"}
    with pytest.raises(DeploymentEndedError) as ended:
        home.deploy("camera", configuration={"top": "2"})
    assert f"no deployment to thing/camera had {NAME} run well before, so it was taken out" in str(
        ended.value
    )


# Deployments at the same moment.


def test_what_is_deployed_at_the_very_same_moment_is_not_lost(home: House) -> None:
    home.deploy("camera")
    home.cloud.component("their.logger")
    client = home.cloud.aws.greengrass
    done: list[bool] = []
    event = "before-call.greengrassv2.CreateDeployment"

    def meanwhile(**_: Any) -> None:
        # Theirs arrives after the last look and before ours.
        if not done:
            done.append(True)
            home.deploy_theirs("camera", **{"their.logger": "1.0.0", NAME: "1.0.0"})
            home.cloud.clock.sleep(1)

    again: list[DeploymentPlan] = []
    client.meta.events.register(event, meanwhile, unique_id="meanwhile")
    try:
        deployed = home.deploy("camera", 0.7, on_overtaken=again.append)
        assert [str(plan) for plan in again] == [f"{NAME} 1.0.0 -> 1.0.1; their.logger 1.0.0 stays"]
        done.clear()
        target = find_target(client, home.cloud.aws.iot, "camera")
        carry_out(
            client,
            target,
            plan_removal(client, THING, NAME),
            sleep=home.sleep,
            clock=home.cloud.clock.seconds,
            on_overtaken=again.append,
        )
    finally:
        client.meta.events.unregister(event, unique_id="meanwhile")
    last, before = home.deployments()[-1], home.deployments()[3]
    assert deployed.deployment == before["deploymentId"]
    assert before["components"].keys() == {NAME, "their.logger"}
    assert last["components"].keys() == {"their.logger"}


# Settings that are kept.


def test_kept_settings_are_tried_out_and_bring_the_right_that_they_need(home: House) -> None:
    def access() -> Any:
        merged = json.loads(home.spec()["configurationUpdate"]["merge"])
        return merged.get("accessControl"), merged.get("topic")

    home.deploy("camera", configuration={"topic": "old/topic", "top": "2"})
    old, _ = access()
    home.deploy("camera", 0.7, keep_settings=True)
    assert access() == (old, "old/topic")
    # Back to the topic by default, which the recipe has the right for.
    home.deploy("camera", 0.8, configuration={"topic": ""}, keep_settings=True)
    assert access() == (None, "")
    # Nothing is left to look at once the kept folder is empty as well.
    home.deploy("camera", configuration={"camera": "/dev/video0", "folder": ""})
    with pytest.raises(RecipeError, match="is needed"):
        home.deploy("camera", configuration={"camera": ""}, keep_settings=True)
