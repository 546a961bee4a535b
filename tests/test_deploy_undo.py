"""Going back: of itself when a version fails, and when somebody asks for it; and taking a model off."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from deploy_parts import ARN, NAME, House, house

from gtlabel.edge.deploy import DeploymentPlan, find_target
from gtlabel.edge.follow import not_good
from gtlabel.edge.history import history, latest
from gtlabel.edge.plan import plan_removal, plan_return
from gtlabel.edge.rollout import parse_rollout
from gtlabel.edge.status import CoreStatus, DeploymentStatus, Verdict, read_status, worst
from gtlabel.edge.undo import carry_out, find_revision
from gtlabel.errors import DeploymentEndedError, EdgeError, RevisionNotFoundError

THING = f"{ARN}thing/camera"


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bundles")


@pytest.fixture
def home(bundles: Path) -> Iterator[House]:
    with house(bundles) as opened:
        opened.add("camera")
        yield opened


def versions(home: House, to: str = "camera") -> list[str | None]:
    """Our version in each deployment of a target, the oldest first."""
    return [item.get("components", {}).get(NAME, {}).get("componentVersion") for item in home.deployments(to)]


def status(home: House, to: str | None = None, **options: Any) -> list[DeploymentStatus]:
    aws = home.cloud.aws
    target = find_target(aws.greengrass, aws.iot, to) if to else None
    return read_status(aws.greengrass, aws.iot, target, now=home.cloud.clock.now(), **options)


def core(home: House, **options: Any) -> CoreStatus:
    ((only,),) = [each.cores for each in status(home, "camera", **options)]
    return only


# By itself.


def test_a_version_that_fails_is_followed_by_the_last_good_one_with_its_settings(home: House) -> None:
    home.deploy("camera", configuration={"top": "2"})
    home.cloud.component("their.logger")
    home.deploy_theirs("camera", **{"their.logger": "1.0.0", NAME: "1.0.0"})
    home.sleep(1)
    home.deploy("camera", configuration={"top": "2"})
    home.bad = {"1.0.1": "the program ended with exit code 1"}
    undone: list[DeploymentPlan] = []
    with pytest.raises(DeploymentEndedError) as ended:
        home.deploy("camera", 0.7, configuration={"top": "1"}, on_undo=undone.append)
    assert "ended as FAILED on camera: " in str(ended.value)
    assert "exit code 1; rolled back to 1.0.0 (deployment " in str(ended.value)
    assert str(undone[0]) == f"{NAME} 1.0.1 -> 1.0.0; their.logger 1.0.0 stays"
    assert versions(home)[-2:] == ["1.0.1", "1.0.0"]
    assert home.spec()["configurationUpdate"] == {"reset": [""], "merge": '{"top": "2"}'}
    assert home.deployments()[-1]["components"]["their.logger"] == {"componentVersion": "1.0.0"}
    assert (core(home).version, core(home).verdict) == ("1.0.0", Verdict.GOOD)


def test_what_others_deployed_meanwhile_stays_when_a_version_is_taken_back(home: House) -> None:
    home.deploy("camera")
    home.cloud.component("their.logger")
    home.bad = {"1.0.1": "it failed"}

    def meanwhile(_devices: object) -> None:
        if len(home.deployments()) == 2:
            home.deploy_theirs("camera", **{"their.logger": "1.0.0", NAME: "1.0.1"})

    with pytest.raises(DeploymentEndedError) as ended:
        home.deploy("camera", 0.7, on_progress=meanwhile)
    assert "nothing was rolled back, since somebody deployed there" in str(ended.value)
    assert "their.logger" in home.deployments()[-1]["components"]


def test_a_first_version_that_fails_is_taken_off_again(home: House) -> None:
    home.cloud.component("their.logger")
    home.deploy_theirs("camera", **{"their.logger": "1.0.0"})
    home.bad = {"1.0.0": "it does not start"}
    with pytest.raises(
        DeploymentEndedError, match="no deployment to thing/camera had .* run well before, so"
    ):
        home.deploy("camera")
    assert set(home.deployments()[-1]["components"]) == {"their.logger"}


def test_a_version_that_breaks_after_it_was_deployed_is_taken_back(home: House) -> None:
    home.deploy("camera")
    home.broken = {"1.0.1"}
    with pytest.raises(DeploymentEndedError, match=rf"{NAME} is BROKEN; rolled back to 1\.0\.0"):
        home.deploy("camera", 0.7)
    assert versions(home) == ["1.0.0", "1.0.1", "1.0.0"]


def test_a_version_that_failed_before_is_none_to_go_back_to(home: House) -> None:
    home.deploy("camera")
    home.bad = {"1.0.1": "bad", "1.0.2": "worse"}
    with pytest.raises(DeploymentEndedError) as left:
        home.deploy("camera", 0.7, roll_back=False)
    assert "rolled back" not in str(left.value)
    assert versions(home) == ["1.0.0", "1.0.1"]
    with pytest.raises(DeploymentEndedError, match=r"worse; rolled back to 1\.0\.0"):
        home.deploy("camera", 0.8)


def test_a_version_that_most_devices_failed_is_gone_back_to_only_where_there_is_no_other(home: House) -> None:
    to = home.add("camera", "shelf", "door", group="kitchen")
    fails = {"only_on": {"camera", "shelf"}, "bad": {"1.0.0": "bad", "1.0.1": "bad", "1.0.2": "worse"}}
    vars(home).update(fails)
    with pytest.raises(DeploymentEndedError):
        home.deploy(to, roll_back=False)
    with pytest.raises(DeploymentEndedError, match=r"rolled back to 1\.0\.0"):
        home.deploy(to, 0.7)
    vars(home).update(fails, bad={})
    home.deploy(to, 0.8)
    vars(home).update(fails)
    with pytest.raises(DeploymentEndedError):
        home.deploy(to, 0.7, roll_back=False)
    home.bad["1.0.3"] = "the worst"
    with pytest.raises(DeploymentEndedError, match=r"rolled back to 1\.0\.2"):
        home.deploy(to, 0.9)


def test_a_rollback_that_fails_as_well_is_told(home: House) -> None:
    home.deploy("camera")
    home.bad = {"1.0.0": "the card is full", "1.0.1": "the card is full"}
    with pytest.raises(
        DeploymentEndedError, match=r"rolled back to 1\.0\.0 .*, which failed on camera as well"
    ):
        home.deploy("camera", 0.7)


def test_one_device_of_a_group_that_fails_takes_the_whole_group_back(home: House) -> None:
    to = home.add("camera", "shelf", "door", group="kitchen")
    home.deploy(to)
    home.bad, home.only_on = {"1.0.1": "no room"}, {"shelf"}
    with pytest.raises(DeploymentEndedError, match=r"FAILED on shelf, as on 1 of 3 devices: .*rolled back"):
        home.deploy(to, 0.7, rollout=parse_rollout("100/min"))
    assert versions(home, to) == ["1.0.0", "1.0.1", "1.0.0"]
    # What is undone is undone at once.
    assert (
        "iotJobConfiguration" not in home.deployments(to)[-1]
        or not home.deployments(to)[-1]["iotJobConfiguration"]
    )
    assert {each.version for each in status(home, to)[0].cores} == {"1.0.0"}


def test_a_share_of_failures_can_be_borne(home: House) -> None:
    to = home.add("camera", "shelf", "door", group="kitchen")
    home.deploy(to)
    home.bad, home.only_on = {"1.0.1": "no room"}, {"shelf"}
    with pytest.raises(DeploymentEndedError) as ended:
        home.deploy(to, 0.7, rollout=parse_rollout(abort_after=60))
    assert "rolled back" not in str(ended.value)
    assert [(each.thing, each.version, each.verdict.word) for each in status(home, to)[0].cores] == [
        ("camera", "1.0.1", "good"),
        ("door", "1.0.1", "good"),
        ("shelf", "1.0.1", "failed"),
    ]
    assert worst(each.verdict for each in status(home, to)) is Verdict.FAILED


# On demand.


def go_back(home: House, version: str | None = None) -> dict[str, Any]:
    client = home.cloud.aws.greengrass
    target = find_target(client, home.cloud.aws.iot, "camera")
    chosen = find_revision(client, target, THING, NAME, version)
    plan = plan_return(client, THING, NAME, chosen.revision)
    _, devices = carry_out(client, target, plan, timeout=30, sleep=home.sleep, clock=home.cloud.clock.seconds)
    assert all(device.good for device in devices)
    return home.spec()


def test_going_back_goes_to_the_last_good_version_or_the_one_that_is_named(home: House) -> None:
    for threshold in (0.5, 0.7, 0.8):
        home.deploy("camera", threshold, configuration={"top": f"{threshold * 10:g}"})
    before = go_back(home)
    assert (before["componentVersion"], before["configurationUpdate"]["merge"]) == ("1.0.1", '{"top": "7"}')
    assert go_back(home, "1.0.0")["componentVersion"] == "1.0.0"
    assert core(home).version == "1.0.0"
    with pytest.raises(RevisionNotFoundError, match=r"never had version 9\.9\.9 .*it had 1\.0\.0, 1\.0\.1"):
        go_back(home, "9.9.9")


def test_of_the_revisions_with_a_version_the_one_that_went_well_comes_back(home: House) -> None:
    client = home.cloud.aws.greengrass
    target = find_target(client, home.cloud.aws.iot, "camera")
    home.deploy("camera", configuration={"top": "2"})
    home.bad = {"1.0.0": "no such setting", "1.0.1": "no room"}
    for threshold in (0.5, 0.7):
        with pytest.raises(DeploymentEndedError):
            home.deploy("camera", threshold, configuration={"top": "9"}, roll_back=False)
    chosen = find_revision(client, target, THING, NAME, "1.0.0")
    assert chosen.revision.merge_of(NAME) == {"top": "2"}
    assert str(chosen) == "which went well on 1 device"
    # Who names a version that never went well gets it, and is told.
    assert str(find_revision(client, target, THING, NAME, "1.0.1")) == "which failed on 1 device"


def test_there_may_be_nothing_to_go_back_to(home: House) -> None:
    home.deploy("camera")
    with pytest.raises(RevisionNotFoundError, match=r"no earlier version .* that went well to go back to"):
        go_back(home)


def test_ours_can_be_taken_off_and_others_stay(home: House) -> None:
    client = home.cloud.aws.greengrass
    home.cloud.component("their.logger")
    home.deploy_theirs("camera", **{"their.logger": "1.0.0"})
    home.deploy("camera")
    target = find_target(client, home.cloud.aws.iot, "camera")
    plan = plan_removal(client, THING, NAME)
    assert str(plan) == f"{NAME} 1.0.0 goes; their.logger 1.0.0 stays"
    _, (device,) = carry_out(
        client, target, plan, timeout=30, sleep=home.sleep, clock=home.cloud.clock.seconds
    )
    assert (device.good, device.version) == (True, "")
    with pytest.raises(EdgeError, match=rf"{NAME} is not deployed to thing/camera; what is: their\.logger"):
        plan_removal(client, THING, NAME)
    assert client.list_components()["components"]  # versions are never deleted
    assert status(home) == []


# How it stands.


def test_a_device_that_has_what_it_should_is_good_until_it_falls_silent(home: House) -> None:
    home.deploy("camera", configuration={"top": "2"})
    (found,) = status(home)
    assert (found.component, found.version, found.component_state) == (NAME, "1.0.0", "DEPLOYABLE")
    assert (found.revision, found.settings, found.verdict) == ("1", {"top": "2"}, Verdict.GOOD)
    assert (core(home).runtime, core(home).health) == ("aws_nucleus_lite", "HEALTHY")
    home.cloud.clock.sleep(timedelta(hours=24).total_seconds())
    assert core(home).verdict is Verdict.GOOD
    assert core(home, stale=timedelta(hours=1)).verdict is Verdict.STALE
    home.cloud.clock.sleep(timedelta(hours=2).total_seconds())
    assert core(home).verdict is Verdict.STALE


def test_a_device_that_has_not_taken_it_yet_is_in_progress(home: House) -> None:
    home.off.add("camera")
    home.cloud.aws.iot.create_thing(thingName="new-camera")
    for thing in ("camera", "new-camera"):
        with pytest.raises(DeploymentEndedError):
            home.deploy(thing, timeout=2)
    found = {each.cores[0].thing: each.cores[0] for each in status(home)}
    assert (found["camera"].execution, found["camera"].verdict) == ("QUEUED", Verdict.IN_PROGRESS)
    assert found["new-camera"].verdict is Verdict.IN_PROGRESS
    assert found["new-camera"].reported is None
    assert "never reported" in found["new-camera"].reason


def test_a_device_that_failed_says_why(home: House) -> None:
    home.bad = {"1.0.0": "no space left on the card"}
    with pytest.raises(DeploymentEndedError):
        home.deploy("camera", roll_back=False)
    assert core(home).verdict is Verdict.FAILED
    assert "no space left on the card" in core(home).reason
    assert core(home).state == "BROKEN"


def test_a_version_that_was_deleted_is_a_failure_to_come(home: House) -> None:
    deployed = home.deploy("camera")
    home.cloud.aws.greengrass.delete_component(arn=deployed.component.arn)
    (found,) = status(home, "camera", component=NAME)
    assert (found.component_state, found.verdict) == ("", Verdict.FAILED)
    assert "deleted" in found.component_reason


def test_a_device_tells_also_of_what_its_group_was_given(home: House) -> None:
    to = home.add("camera", "shelf", group="kitchen")
    home.deploy(to)
    (found,) = status(home, "camera")
    assert found.target == f"{ARN}{to}"
    assert [each.thing for each in found.cores] == ["camera"]
    assert [each.thing for each in status(home, to)[0].cores] == ["camera", "shelf"]


def test_the_worst_of_several_is_told() -> None:
    assert worst([Verdict.GOOD, Verdict.STALE, Verdict.IN_PROGRESS, Verdict.FAILED]) is Verdict.FAILED
    assert worst([Verdict.GOOD, Verdict.STALE, Verdict.IN_PROGRESS]) is Verdict.IN_PROGRESS
    assert worst([Verdict.GOOD, Verdict.STALE]) is Verdict.STALE
    assert worst([]) is Verdict.GOOD
    assert [int(verdict) for verdict in Verdict] == [0, 1, 2, 3]


def test_the_revisions_of_a_target_are_listed_with_how_they_went(home: House) -> None:
    home.deploy("camera", configuration={"top": "2"})
    home.bad = {"1.0.1": "bad"}
    with pytest.raises(DeploymentEndedError):
        home.deploy("camera", 0.7)
    client = home.cloud.aws.greengrass
    target = find_target(client, home.cloud.aws.iot, "camera")
    found = history(client, target, THING, NAME, 20)
    assert [(each.revision, each.version, each.devices) for each in found] == [
        ("3", "1.0.0", {"COMPLETED": 1}),
        ("2", "1.0.1", {"FAILED": 1}),
        ("1", "1.0.0", {"COMPLETED": 1}),
    ]
    assert found[0].settings == {"top": "2"}
    (now,) = latest(client)
    assert (now.target, now.version) == ("thing/camera", "1.0.0")


def test_many_devices_are_told_of_in_one_sentence() -> None:
    from gtlabel.edge.follow import Progress

    failed = [Progress(f"c{n}", "FAILED", reason="no room", bad=True) for n in range(6)]
    sentence = str(not_good("d", [*failed, Progress("ok", good=True)], 60))
    assert sentence == (
        "the deployment d ended as FAILED on c0, as on 6 of 7 devices: no room; FAILED on c1: no room; "
        "FAILED on c2: no room; and on 3 more"
    )
    waiting = [Progress(f"c{n}", "QUEUED") for n in range(5)]
    assert "QUEUED on c0, c1, c2 and 2 more: not done after 60 s" in str(not_good("d", waiting, 60))
    assert json.dumps(not_good("d", waiting, 60).timed_out) == "true"
