"""Deploying: what is asked before anything changes, what is sent, and what becomes of it on the devices."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from deploy_parts import ARN, FOLDER, NAME, House, calls, house
from edge_parts import color_bundle

from gtlabel.edge.component import checked_configuration, component_recipe, printable
from gtlabel.edge.deploy import DeploymentPlan, create_deployment
from gtlabel.edge.follow import Progress
from gtlabel.edge.plan import configuration_changes, plan_removal
from gtlabel.edge.publish import create_component_version, find_version
from gtlabel.edge.rollout import Rollout, parse_rollout
from gtlabel.errors import (
    ComponentVersionTakenError,
    DeploymentChangedError,
    DeploymentEndedError,
    DeviceNotFoundError,
    EdgeError,
    RecipeError,
)
from gtlabel.uris import S3Uri


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bundles")


@pytest.fixture
def home(bundles: Path) -> Iterator[House]:
    with house(bundles) as opened:
        opened.add("camera")
        yield opened


class Never(Exception):  # noqa: N818 - it is an answer
    """What somebody says who does not want it."""

    def __init__(self, plan: DeploymentPlan) -> None:
        super().__init__(plan)
        self.plan = plan


def refuse(plan: DeploymentPlan) -> None:
    raise Never(plan)


def test_nothing_is_uploaded_before_somebody_has_seen_what_it_changes(home: House) -> None:
    home.cloud.component("their.logger")
    home.deploy_theirs("camera", **{"their.logger": "1.0.0"})
    with pytest.raises(Never) as refused:
        home.deploy("camera", configuration={"top": "2"}, on_plan=refuse)
    plan = refused.value.plan
    assert [(each.name, each.before, each.after, each.kind) for each in plan.changes] == [
        (NAME, None, "1.0.0", "new"),
        ("their.logger", "1.0.0", "1.0.0", "stays"),
    ]
    assert [(each.name, each.before, each.after) for each in plan.configuration] == [("top", "3", "2")]
    assert home.uploaded() == []
    assert len(home.deployments()) == 1


def test_a_plan_tells_the_settings_that_change_with_the_version(home: House) -> None:
    home.deploy("camera", configuration={"folder": "in", "top": "2"})
    plans: list[DeploymentPlan] = []
    home.deploy("camera", 0.7, configuration={"top": "2"}, on_plan=plans.append)
    assert plans[0].changed == (NAME, "1.0.0", "1.0.1")
    assert [(each.name, each.before, each.after) for each in plans[0].configuration] == [
        ("folder", "in", "images"),
        ("threshold", "0.5", "0.7"),
    ]
    # All that was ever merged is reset, and everything that is wanted is merged.
    assert home.spec()["configurationUpdate"] == {"reset": [""], "merge": '{"top": "2"}'}


def test_settings_can_be_kept(home: House) -> None:
    home.deploy("camera", configuration={"folder": "in", "top": "2"})
    home.deploy("camera", 0.7, configuration={"top": "1"}, keep_settings=True)
    assert json.loads(home.spec()["configurationUpdate"]["merge"]) == {"folder": "in", "top": "1"}


def test_who_is_interrupted_finds_the_same_deployment_again(home: House) -> None:
    home.off.add("camera")

    def interrupt() -> None:
        # Once it waits for the device, and not for the component.
        if home.deployments():
            raise KeyboardInterrupt

    home.while_waiting = interrupt
    with pytest.raises(KeyboardInterrupt):
        home.deploy("camera")
    home.while_waiting = lambda: None
    home.off.clear()
    deployed = home.deploy("camera")
    assert deployed.unchanged
    assert [item["deploymentId"] for item in home.deployments()] == [deployed.deployment]
    assert deployed.states == {"camera": "RUNNING"}
    assert len(home.uploaded()) == 1


def test_an_answer_that_got_lost_makes_no_second_deployment(home: House) -> None:
    home.deploy("camera")
    client = home.cloud.aws.greengrass
    plan = plan_removal(client, f"{ARN}thing/camera", NAME)
    assert create_deployment(client, plan) == create_deployment(client, plan)
    assert len(home.deployments()) == 2


def test_what_was_canceled_can_be_deployed_again(home: House) -> None:
    home.deploy("camera")
    home.off.add("camera")
    with pytest.raises(DeploymentEndedError):
        home.deploy("camera", 0.7, timeout=3)
    client = home.cloud.aws.greengrass
    client.cancel_deployment(deploymentId=home.deployments()[-1]["deploymentId"])
    home.off.clear()
    deployed = home.deploy("camera", 0.7)
    assert len(home.deployments()) == 3
    assert home.deployments()[-1]["deploymentId"] == deployed.deployment


def test_what_failed_can_be_deployed_again(home: House) -> None:
    home.bad = {"1.0.0": "the card is full"}
    with pytest.raises(DeploymentEndedError, match="the card is full"):
        home.deploy("camera", roll_back=False)
    home.bad = {}
    assert not home.deploy("camera").unchanged
    assert len(home.deployments()) == 2


def test_what_somebody_deploys_between_the_look_and_the_deployment_is_not_lost(home: House) -> None:
    home.cloud.component("their.logger")

    def meanwhile(_plan: DeploymentPlan) -> None:
        home.deploy_theirs("camera", **{"their.logger": "1.0.0"})

    with pytest.raises(DeploymentChangedError, match="somebody deployed to thing/camera in the meantime"):
        home.deploy("camera", on_plan=meanwhile)
    assert [set(item["components"]) for item in home.deployments()] == [{"their.logger"}]
    home.deploy("camera")
    assert set(home.deployments()[-1]["components"]) == {"their.logger", NAME}


def test_a_version_that_holds_something_else_is_not_taken(home: House) -> None:
    home.deploy("camera", version="2.0.0")
    with pytest.raises(ComponentVersionTakenError, match=r"version 2\.0\.0 of .* exists with other content"):
        home.deploy("camera", 0.7, version="2.0.0")
    assert home.deploy("camera", version="2.0.0").unchanged
    assert home.deploy("camera", 0.7).component.version == "2.0.1"
    with pytest.raises(RecipeError, match="ComponentVersion must be three numbers"):
        home.deploy("camera", 0.8, version="newest")


def test_not_every_version_ever_made_is_read_to_find_one(home: House) -> None:
    client, bundle = home.cloud.aws.greengrass, home.bundle()
    for number in range(24):
        recipe = component_recipe(bundle, FOLDER / "bundle.zip", name=NAME, version=f"1.0.{number}")
        recipe["ComponentConfiguration"]["DefaultConfiguration"]["content"] = f"{number}"
        create_component_version(client, recipe)
    with calls(client, "GetComponent") as made:
        assert find_version(client, bundle, folder=FOLDER, name=NAME).version == "1.0.24"
    assert len(made) < 24
    assert made[0].endswith("1.0.23")


def test_what_an_interrupted_upload_left_is_in_nobodys_way(home: House) -> None:
    home.cloud.aws.s3.put_object(
        Bucket="deeplens-models", Key=f"components/{NAME}/1.0.0/bundle.zip", Body=b"half of another one"
    )
    assert home.deploy("camera").component.version == "1.0.0"


def test_a_device_that_is_off_is_named_and_its_deployment_waits_for_it(home: House) -> None:
    to = home.add("camera", "shelf", group="kitchen")
    home.off.add("shelf")
    with pytest.raises(DeploymentEndedError) as ended:
        home.deploy(to, timeout=10)
    assert ended.value.timed_out
    assert ended.value.thing == "shelf"
    sentence = str(ended.value)
    assert "is still QUEUED on shelf: not done after 10 s" in sentence
    assert "gtlabel deploy status --to thinggroup/kitchen" in sentence
    # Nothing was taken back, so that the device finds it when it comes.
    assert len(home.deployments(to)) == 1
    home.off.clear()
    assert home.deploy(to).states == {"camera": "RUNNING", "shelf": "RUNNING"}
    assert len(home.deployments(to)) == 1


def test_a_large_group_is_looked_at_in_turn(home: House) -> None:
    things = [f"shelf-{number:02}" for number in range(24)]
    to = home.add(*things, group="warehouse")
    home.off = set(things)
    client = home.cloud.aws.greengrass
    with calls(client, "ListEffectiveDeployments", "GetCoreDevice", "ListInstalledComponents") as made:
        looks = [0]

        def look(_devices: Sequence[Progress]) -> None:
            looks.append(len(made))
            # The last of them comes on while the others stay off.
            home.off -= {"shelf-23"}

        with pytest.raises(DeploymentEndedError) as ended:
            home.deploy(to, timeout=5, on_progress=look)
    told = [device for device in ended.value.devices if isinstance(device, Progress)]
    assert [device.thing for device in told if device.good] == ["shelf-23"]
    assert [device.thing for device in told] == things
    each = [after - before for before, after in pairwise(looks)]
    # At first every device is asked, and when it last reported; then no more than twenty, and that not
    # again; when the time is up, all that have not ended.
    assert each[0] == 48
    assert len(each) > 3
    assert max(each[1:-1]) <= 21
    assert each[-1] == 23


@pytest.mark.parametrize("target", ["nobody", "thinggroup/nobody", "thingtype/camera", "thinggroup/"])
def test_a_target_that_does_not_exist_is_refused_before_anything_else(home: House, target: str) -> None:
    with pytest.raises(DeviceNotFoundError, match=target):
        home.deploy(target)
    assert home.uploaded() == []


def test_a_target_may_be_an_arn(home: House) -> None:
    assert home.deploy(f"{ARN}thing/camera").states == {"camera": "RUNNING"}


# Settings.


@pytest.fixture(scope="module")
def recipe(bundles: Path) -> dict[str, Any]:
    bundle = color_bundle(bundles / "settings" / "bundle.zip")
    return component_recipe(bundle, S3Uri("s3://bucket/bundle.zip"), name=NAME, version="1.0.0")


def test_values_reach_the_device_as_texts(home: House) -> None:
    home.deploy("camera", configuration={"threshold": 0.8, "top": 3, "watch": False, "camera": ""})
    merged = {"threshold": "0.8", "top": "3", "watch": "no", "camera": ""}
    assert json.loads(home.spec()["configurationUpdate"]["merge"]) == merged


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"treshold": "0.8"}, "no setting 'treshold'; it has python, folder"),
        ({"content": "x"}, "no setting 'content'"),
        ({"accessControl": {}}, "no setting 'accessControl'"),
        ({"top": ["1"]}, "must be a text"),
        ({"folder": 'in"; reboot; "'}, "cannot hold '\"'"),
        ({"folder": "$(reboot)"}, "which the device's shell would obey"),
        ({"topic": "$aws/things/camera/infer"}, "reserved by AWS IoT"),
        ({"threshold": 1.5}, "--threshold: 1.5 is not between 0 and 1"),
        ({"debounce": "5/3"}, "--debounce: 5/3 asks for 5 of 3"),
        ({"mqtt": "broker"}, "looks like mqtt://host:1883"),
        ({"camera": "http://admin:s3cret@camera/video"}, "is seen by everybody on the device; give user"),
        (
            {"cameraCommand": "ffmpeg -i rtsp://admin:s3cret@camera/1 -f mjpeg -"},
            "put it into a script there",
        ),
        ({"cert": "camera.pem", "key": "camera.key"}, "--cert needs a broker with TLS"),
        ({"mqttPasswordFile": "/etc/secret", "mqtt": "mqtt://broker"}, "needs the user whose password it is"),
        ({"model": "int8"}, "there is no int8 network in the bundle, only fp32"),
        ({"folder": ""}, "one of --selftest, --image, --folder and --camera is needed"),
    ],
)
def test_settings_that_cannot_work_are_refused(recipe: dict[str, Any], given: Any, complaint: str) -> None:
    with pytest.raises(RecipeError, match=complaint) as refused:
        checked_configuration(recipe, given, ("fp32",))
    assert "s3cret" not in str(refused.value)


def test_whom_to_trust_and_where_logins_lie_can_be_set_and_are_looked_for_on_the_device_only(
    recipe: dict[str, Any],
) -> None:
    given = {
        "camera": "https://camera/video",
        "cameraLogin": "/etc/gtlabel/camera",
        "mqtt": "mqtts://kitchen@broker",
        "mqttPasswordFile": "/etc/gtlabel/mqtt",
        "ca": "/etc/gtlabel/ca.pem",
        "cert": "/etc/gtlabel/camera.pem",
        "key": "/etc/gtlabel/camera.key",
        "queue": "9000",
        "poll": "2",
    }
    assert checked_configuration(recipe, given) == given
    script = recipe["Manifests"][0]["Lifecycle"]["run"]["Script"]
    for name, word in (("mqttPasswordFile", "--mqtt-password-file"), ("cameraLogin", "--camera-login")):
        assert f'{word} "{{configuration:/{name}}}"' in script


def test_a_password_that_an_earlier_release_let_through_is_not_printed() -> None:
    before = {
        "camera": "http://admin:s3cret@camera/video",
        "cameraCommand": "see rtsp://a:s3cret@b/1",
        "top": 3,
    }
    assert printable(before) == {"camera": "http://camera/video", "cameraCommand": "see rtsp://b/1", "top": 3}
    (change, _, top) = configuration_changes(
        before, {**before, "camera": None, "cameraCommand": "", "top": 5}
    )
    assert (change.before, top.before) == ("http://camera/video", "3")


def test_nothing_is_uploaded_with_settings_that_cannot_work(home: House) -> None:
    with pytest.raises(RecipeError, match="no setting 'treshold'"):
        home.deploy("camera", configuration={"treshold": "0.8"})
    assert home.uploaded() == []


def test_a_topic_of_ones_own_comes_with_the_right_to_publish_to_it(recipe: dict[str, Any]) -> None:
    (policy,) = checked_configuration(recipe, {"topic": "deeplens/trash/infer"})["accessControl"][
        "aws.greengrass.ipc.mqttproxy"
    ].values()
    assert policy["resources"] == ["deeplens/trash/infer"]
    assert "accessControl" not in checked_configuration(recipe, {"top": "1"})


# The pace.


@pytest.mark.parametrize(
    ("pace", "devices", "request_"),
    [
        (parse_rollout(), 5, {}),
        (parse_rollout("10/min"), 5, {"jobExecutionsRolloutConfig": {"maximumPerMinute": 10}}),
        (
            parse_rollout("5x2/min"),
            50,
            {
                "jobExecutionsRolloutConfig": {
                    "exponentialRate": {
                        "baseRatePerMinute": 5,
                        "incrementFactor": 2.0,
                        "rateIncreaseCriteria": {"numberOfSucceededThings": 5},
                    },
                    "maximumPerMinute": 1000,
                }
            },
        ),
        (
            parse_rollout(abort_after=20, device_timeout=15),
            50,
            {
                "abortConfig": {
                    "criteriaList": [
                        {
                            "failureType": "ALL",
                            "action": "CANCEL",
                            "thresholdPercentage": 20,
                            "minNumberOfExecutedThings": 5,
                        }
                    ]
                },
                "timeoutConfig": {"inProgressTimeoutInMinutes": 15},
            },
        ),
    ],
)
def test_a_pace_is_what_an_iot_job_takes(pace: Rollout, devices: int, request_: Any) -> None:
    assert pace.to_boto(devices) == request_


@pytest.mark.parametrize(
    "pace", ["fast", "10", "0/min", "1001/min", "5x6/min", "5x1/min", "5..10/min", "-5/min", "5x2..2000/min"]
)
def test_a_pace_that_is_none_is_refused(pace: str) -> None:
    with pytest.raises(EdgeError, match="rollout"):
        parse_rollout(pace)


def test_a_pace_is_sent_and_goes_on_until_another_is_asked_for(home: House) -> None:
    to = home.add("camera", "shelf", group="kitchen")
    home.deploy(to, rollout=parse_rollout("100x2..500/min", abort_after=50))
    first = home.deployments(to)[-1]["iotJobConfiguration"]
    home.deploy(to, 0.7)
    assert home.deployments(to)[-1]["iotJobConfiguration"] == first
    home.deploy(to, 0.8, rollout=parse_rollout("7/min"))
    last = home.deployments(to)[-1]["iotJobConfiguration"]
    assert last["jobExecutionsRolloutConfig"] == {"maximumPerMinute": 7}
    assert last["abortConfig"] == first["abortConfig"]
