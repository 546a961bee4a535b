"""The two nuclei that a device on this machine may behave as, and what it grants the components it runs."""

from __future__ import annotations

import json
import os
import pwd
import shlex
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from broker_parts import mosquitto
from device_parts import THING, deployed, device, eventually, execution, gone, log, printed_pid, states, take
from edge_parts import BUCKET, Account, account, other_recipe, to_json
from programs import need

from gtlabel.emulator.devices import read_results
from gtlabel.emulator.printed import Log, last_words
from gtlabel.emulator.process import Launch, Program

ROOT_ON_LINUX = os.geteuid() == 0 and Path("/proc/self/statm").exists()


@pytest.fixture
def cloud() -> Iterator[Account]:
    with account() as empty:
        yield empty


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users of this machine can walk into."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def version(number: str, run: str, **configuration: Any) -> dict[str, Any]:
    recipe = other_recipe("app", number, run=run)
    recipe["ComponentConfiguration"] = {"DefaultConfiguration": configuration}
    return recipe


GOOD = 'echo "good {configuration:/color}"; exec sleep 600'
BAD = "echo bad; echo 'no camera' >&2; exit 3"


def good_then_bad(cloud: Account, root: Path, runtime: str, **second: Any) -> Any:
    """Deploy a version that runs, then one that crashes; returns how that ended."""
    with device(cloud, root, runtime=runtime):
        deployed(cloud, version("1.0.0", GOOD, color="blue"), merge='{"color": "red"}')
        eventually(lambda: states(cloud) == {"app": "RUNNING"})
        deployed(cloud, version("1.0.1", BAD), reset=[""], **second)
        eventually(lambda: execution(cloud)["coreDeviceExecutionStatus"] == "FAILED")
        listed = cloud.aws.greengrass.list_installed_components(coreDeviceThingName=THING)
        (installed,) = listed["installedComponents"]
        eventually(lambda: log(root, "app") != "")
        printed = log(root, "app")
    return installed["componentVersion"], installed["lifecycleState"], printed, execution(cloud)["reason"]


def test_classic_brings_back_what_ran_before_with_its_configuration(cloud: Account, tmp_path: Path) -> None:
    root = tmp_path / "device"
    number, state, printed, reason = good_then_bad(cloud, root, "classic")
    assert (number, state, printed) == ("1.0.0", "RUNNING", "good red\n")
    assert reason == ("FAILED_ROLLBACK_COMPLETE: app 1.0.1 is BROKEN: run ended with exit code 3: no camera")
    # What the version said that went is still there to be read.
    assert (root / "work" / "app" / "stdout.log.earlier").read_text() == "bad\n" * 3
    with device(cloud, root, runtime="classic"):
        eventually(lambda: log(root, "app") == "good red\n" * 2)


def test_classic_leaves_a_bad_version_where_the_deployment_says_so(cloud: Account, tmp_path: Path) -> None:
    policies = {"failureHandlingPolicy": "DO_NOTHING"}
    number, state, _, reason = good_then_bad(cloud, tmp_path / "device", "classic", policies=policies)
    assert (number, state) == ("1.0.1", "BROKEN")
    assert reason.startswith("FAILED_ROLLBACK_NOT_REQUESTED: ")


def test_lite_stays_on_a_bad_version(cloud: Account, tmp_path: Path) -> None:
    number, state, printed, reason = good_then_bad(cloud, tmp_path / "device", "lite")
    assert (number, state, printed) == ("1.0.1", "BROKEN", "bad\n" * 3)
    assert reason.startswith("FAILED_ROLLBACK_NOT_REQUESTED: ")


def test_classic_says_when_it_cannot_go_back(cloud: Account, tmp_path: Path) -> None:
    root = tmp_path / "device"
    with device(cloud, root, runtime="classic"):
        once = "if [ -e done ]; then echo 'only once' >&2; exit 1; fi; touch done"
        deployed(cloud, other_recipe("app", install=once, run="sleep 600"))
        eventually(lambda: states(cloud) == {"app": "RUNNING"})
        deployed(cloud, other_recipe("app", "1.0.1", install="exit 2", run="true"))
        eventually(lambda: execution(cloud)["coreDeviceExecutionStatus"] == "FAILED")
    assert execution(cloud)["reason"] == (
        "FAILED_UNABLE_TO_ROLLBACK: install of app 1.0.1 ended with exit code 2: it said nothing; "
        "bringing back what ran before: install of app 1.0.0 ended with exit code 1: only once"
    )


def test_what_a_failed_deployment_took_away_comes_back(cloud: Account, tmp_path: Path) -> None:
    with device(cloud, tmp_path / "device", runtime="classic"):
        deployed(cloud, other_recipe("theirs"))
        eventually(lambda: states(cloud) == {"theirs": "RUNNING"})
        deployed(cloud, other_recipe("app", run=BAD))
        eventually(lambda: execution(cloud)["coreDeviceExecutionStatus"] == "FAILED")
        eventually(lambda: states(cloud) == {"theirs": "RUNNING"})


def test_classic_takes_what_lite_refuses(cloud: Account, tmp_path: Path) -> None:
    cloud.aws.s3.put_object(Bucket=BUCKET, Key="tool.sh", Body=b"#!/bin/sh\necho tool")
    recipe = other_recipe("app")
    steps = {
        "Install": {"Script": "echo never", "Skipif": "onpath sh"},
        "Run": '"{artifacts:path}/tool.sh"; exec sleep 600',
        "Shutdown": "echo going",
    }
    artifact = {"URI": f"s3://{BUCKET}/tool.sh", "Permission": {"Execute": "OWNER"}}
    recipe["Manifests"] = [
        {"Platform": {"os": "/linux|darwin/"}, "Lifecycle": steps, "Artifacts": [artifact]}
    ]
    deployed(cloud, recipe)
    root = tmp_path / "device"
    with device(cloud, root, runtime="classic"):
        eventually(lambda: log(root, "app") == "tool\n")
        eventually(lambda: states(cloud) == {"app": "RUNNING"})
    assert log(root, "app") == "tool\ngoing\n"


def test_classic_recovers_before_it_starts_again(cloud: Account, tmp_path: Path) -> None:
    run = "echo run; test -e repaired && exec sleep 600; exit 1"
    recipe = other_recipe("app", run=run, recover="echo recover; touch repaired")
    root = tmp_path / "device"
    with device(cloud, root, runtime="classic"):
        deployed(cloud, recipe)
        eventually(lambda: execution(cloud)["coreDeviceExecutionStatus"] == "COMPLETED")
        eventually(lambda: log(root, "app") == "run\nrecover\nrun\n")


def test_a_program_that_crashes_later_is_started_again(cloud: Account, tmp_path: Path) -> None:
    root = tmp_path / "device"
    with device(cloud, root):
        deployed(cloud, other_recipe("app", run="echo $$; exec sleep 600"))
        eventually(lambda: execution(cloud)["coreDeviceExecutionStatus"] == "COMPLETED")
        first = printed_pid(root)
        os.kill(first, 9)
        eventually(lambda: len(log(root, "app").splitlines()) == 2)
        eventually(lambda: states(cloud) == {"app": "RUNNING"})
    assert execution(cloud)["coreDeviceExecutionStatus"] == "COMPLETED"


def test_a_program_s_helpers_end_with_it(cloud: Account, tmp_path: Path) -> None:
    root = tmp_path / "device"
    with device(cloud, root):
        deployed(cloud, other_recipe("app", run="sleep 600 & echo $!; exit 0"))
        eventually(lambda: states(cloud) == {"app": "FINISHED"})
        helper = printed_pid(root)
        eventually(lambda: gone(helper))


def test_helpers_end_with_a_program_that_has_just_ended(tmp_path: Path) -> None:
    program = Program(Launch("sleep 600 & echo $$ $!", tmp_path, os.environ))
    eventually(lambda: len((tmp_path / "stdout.log").read_text().split()) == 2)
    script, helper = map(int, (tmp_path / "stdout.log").read_text().split())
    eventually(lambda: gone(script))
    assert not gone(helper)
    program.stop()
    eventually(lambda: gone(helper))


def test_a_device_writes_and_reads_no_file_that_a_component_leads_it_to(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret\n")
    for kind in ("symbolic link", "hard link", "fifo"):
        path = tmp_path / kind / "stderr.log"
        path.parent.mkdir()
        if kind == "fifo":
            os.mkfifo(path)
        elif kind == "hard link":
            path.hardlink_to(secret)
        else:
            path.symlink_to(secret)
        # A device would wait for ever for somebody to read what it writes into a FIFO.
        log = Log(path)
        log.write(b"a line\n")
        log.close()
        assert last_words(path.parent) == "it said nothing"
    assert secret.read_text() == "secret\n"


def test_what_a_startup_leaves_running_ends_with_the_component(cloud: Account, tmp_path: Path) -> None:
    root = tmp_path / "device"
    with device(cloud, root):
        away = "setsid sleep 600 >&- 2>&- & echo $! > away"
        deployed(cloud, other_recipe("app", startup=f"sleep 600 & echo $!; {away}"))
        eventually(lambda: states(cloud) == {"app": "RUNNING"})
        left, escaped = printed_pid(root), int((root / "work" / "app" / "away").read_text())
        assert not gone(left)
        assert not gone(escaped)
    assert gone(left)
    if sys.platform == "linux":
        eventually(lambda: gone(escaped))
    else:
        os.kill(escaped, 9)


def test_components_start_again_with_what_they_need_and_stop_before_it(
    cloud: Account, tmp_path: Path
) -> None:
    root, told = tmp_path / "device", tmp_path / "told"

    def part(name: str, number: str = "1.0.0", **needs: str) -> dict[str, Any]:
        run = f"trap 'echo {name} >> {told}; exit 0' TERM; echo up; sleep 600 & wait"
        asked = {other: {"VersionRequirement": "*", "DependencyType": kind} for other, kind in needs.items()}
        return {**other_recipe(name, number, run=run), "ComponentDependencies": asked}

    def ups() -> dict[str, int]:
        return {name: log(root, name).count("up") for name in ("base", "app", "easy")}

    client = cloud.aws.greengrass
    with device(cloud, root):
        deployed(cloud, part("base"), part("app", base="HARD"), part("easy", base="SOFT"))
        eventually(lambda: ups() == {"base": 1, "app": 1, "easy": 1})
        eventually(lambda: execution(cloud)["coreDeviceExecutionStatus"] == "COMPLETED")
        client.create_component_version(inlineRecipe=to_json(part("base", "1.0.1")))
        cloud.clock.sleep(1)
        versions: Any = {"base": "1.0.1", "app": "1.0.0", "easy": "1.0.0"}
        components = {name: {"componentVersion": version} for name, version in versions.items()}
        target = cloud.register(THING)
        client.create_deployment(targetArn=target, components=components)  # type: ignore[arg-type]
        # What one says before belongs to its version; who is only started again keeps it.
        eventually(lambda: ups() == {"base": 1, "app": 2, "easy": 1})
        eventually(lambda: execution(cloud)["coreDeviceExecutionStatus"] == "COMPLETED")
        assert told.read_text().split() == ["base", "app"]
        cloud.clock.sleep(1)
        client.create_deployment(targetArn=target, components={})
        eventually(lambda: execution(cloud)["coreDeviceExecutionStatus"] == "COMPLETED")
        eventually(lambda: states(cloud) == {})
    stopped = told.read_text().split()[2:]
    assert sorted(stopped[:2]) == ["app", "easy"]
    assert stopped[2:] == ["base"]


def test_all_components_of_a_device_that_ends_are_ended_at_once(cloud: Account, tmp_path: Path) -> None:
    root = tmp_path / "device"

    def part(name: str, other: str) -> dict[str, Any]:
        meet = f"touch {root}/{name}; while [ ! -e {root}/{other} ]; do sleep 0.02; done; echo met"
        recipe = other_recipe(name)
        steps = {"run": "sleep 600", "shutdown": {"Script": meet, "Timeout": 60}}
        recipe["Manifests"] = [{"Platform": {"os": "*"}, "Lifecycle": steps}]
        return recipe

    with device(cloud, root, runtime="classic"):
        deployed(cloud, part("one", "two"), part("two", "one"))
        eventually(lambda: states(cloud) == {"one": "RUNNING", "two": "RUNNING"})
    assert log(root, "one") == log(root, "two") == "met\n"


def test_a_program_may_print_for_ever(cloud: Account, tmp_path: Path) -> None:
    run = """awk 'BEGIN { for (n = 0; n < 300000; n++) print "{\\"n\\": " n "}" }'"""
    deployed(cloud, other_recipe("app", run=run))
    root = tmp_path / "device"
    assert take(cloud, root).status == "SUCCEEDED"
    numbers = [line["n"] for line in read_results(root, "app")]
    assert numbers == list(range(numbers[0], 300000))
    assert 50000 < len(numbers) < 200000
    assert sum(file.stat().st_size for file in (root / "work" / "app").iterdir()) < 3 << 20


def test_a_component_finds_the_ipc_of_its_nucleus(cloud: Account, tmp_path: Path) -> None:
    run = 'test -S "$AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT" && test -n "$SVCUID"'
    deployed(cloud, other_recipe("app", run=run))
    assert take(cloud, tmp_path / "device").status == "SUCCEEDED"


def test_a_component_is_heard_by_the_broker_and_by_its_nucleus(cloud: Account, tmp_path: Path) -> None:
    told = [
        ["publish_to_iot_core", {"topic_name": f"gtlabel/{THING}/infer", "qos": "1", "payload": "glass"}],
        ["publish_to_iot_core", {"topic_name": "gtlabel/other/infer", "qos": "1", "payload": "paper"}],
        ["update_state", {"state": "ERRORED"}],
    ]
    speaker = Path(__file__).with_name("ipc_component.py")
    tell = f"python3 {speaker} {shlex.quote(json.dumps(told))}"
    recipe = other_recipe("app", run=f"test -e heard && exec sleep 600; touch heard; {tell}; sleep 600")
    allowed = {
        "operations": ["aws.greengrass#PublishToIoTCore"],
        "resources": ["gtlabel/{iot:thingName}/infer"],
    }
    control = {"aws.greengrass.ipc.mqttproxy": {"app:mqttproxy:1": allowed}}
    recipe["ComponentConfiguration"] = {"DefaultConfiguration": {"accessControl": control}}
    root = tmp_path / "device"
    with mosquitto(tmp_path) as broker, broker.listen() as heard, device(cloud, root, broker=broker.url):
        deployed(cloud, recipe)
        (message,) = heard.wait_for()
        assert (message.topic, message.payload) == (f"gtlabel/{THING}/infer", b"glass")
        eventually(lambda: '"error": "UnauthorizedError"' in log(root, "app"))
        # It said so of itself, and is started again.
        eventually(lambda: details(cloud) == ["it reported ERRORED"])
        eventually(lambda: states(cloud) == {"app": "RUNNING"})
    assert len(heard.messages) == 1


def details(cloud: Account) -> list[str]:
    """What the control plane tells of the components beside their states."""
    listed = cloud.aws.greengrass.list_installed_components(coreDeviceThingName=THING)
    return [item["lifecycleStateDetails"] for item in listed["installedComponents"]]


def test_a_component_runs_as_the_user_it_is_deployed_with(cloud: Account, open_folder: Path) -> None:
    need(ROOT_ON_LINUX, "runs a program as somebody else; run as root on Linux")
    nobody = pwd.getpwnam("nobody")
    socket = '"$AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT"'
    run = f'id -u; id -G; echo "$HOME"; touch mine; test -w {socket}'
    deployed(cloud, other_recipe("app", run=run), run_with={"posixUser": "nobody"})
    assert take(cloud, open_folder / "device").reason == ""
    assert log(open_folder / "device", "app").split() == [
        str(nobody.pw_uid),
        str(nobody.pw_gid),
        nobody.pw_dir,
    ]
    assert (open_folder / "device" / "work" / "app" / "mine").stat().st_uid == nobody.pw_uid


def test_a_program_that_holds_too_much_memory_is_ended(cloud: Account, tmp_path: Path) -> None:
    need(Path("/proc/self/statm").exists(), "looks at the memory of a program; run on Linux")
    # A shell and a sleep hold some 4 MB, and what is read here 40 MB.
    hungry = "x=$(head -c 40000000 /dev/zero | tr '\\0' x); sleep 600"
    limits = {"systemResourceLimits": {"memory": 20_000}}
    deployed(cloud, other_recipe("app", run=hungry), run_with=limits)
    assert take(cloud, tmp_path / "device", settle=20).states == {"app": "BROKEN"}
    assert "KB of memory, and its systemResourceLimits allow 20000 KB" in execution(cloud)["reason"]


@pytest.mark.parametrize(
    ("run_with", "complaint"),
    [
        ({"posixUser": "nobody-of-that-name"}, "no user or group for the posixUser 'nobody-of-that-name'"),
        ({"systemResourceLimits": {"cpus": 1.5}}, "cannot limit the CPUs"),
    ],
)
def test_what_a_device_cannot_grant_it_refuses_before_it_stops_anything(
    cloud: Account, tmp_path: Path, run_with: dict[str, Any], complaint: str
) -> None:
    deployed(cloud, other_recipe("app"), run_with=run_with)
    outcome = take(cloud, tmp_path / "device")
    assert (outcome.detailed, outcome.states) == ("FAILED_NO_STATE_CHANGE", {})
    assert complaint in execution(cloud)["reason"]
