"""A device on this machine: from a model to answers about pictures, and everything that may go wrong."""

from __future__ import annotations

import os
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from device_parts import THING, deployed, device, eventually, execution, log, printed_pid, states, take
from edge_parts import BUCKET, Account, account, color_bundle, other_recipe, picture

from gtlabel.aws import Aws
from gtlabel.edge.bundle import Bundle
from gtlabel.edge.deploy import Deployed, deploy_model
from gtlabel.emulator.child import Address
from gtlabel.emulator.devices import device_process, handle, read_results, run_device
from gtlabel.emulator.recipes import choose_manifest, fill
from gtlabel.emulator.shelf import Shelf
from gtlabel.errors import DeploymentEndedError, EdgeError, EmulatorNotReadyError, RecipeError
from gtlabel.uris import S3Uri

NAME = "deeplens-colors"
HAPPY = {"name": "app", "version": "1.0.0", "state": "HAPPY"}


@pytest.fixture
def cloud() -> Iterator[Account]:
    with account() as empty:
        yield empty


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "apple.jpg").write_bytes(picture("red"))
    (folder / "leaf.jpg").write_bytes(picture("lime"))
    return folder


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return color_bundle(tmp_path_factory.mktemp("bundle") / "bundle.zip")


def configured(**values: str) -> dict[str, str]:
    return {"python": sys.executable, "watch": "no", **values}


def deploy(cloud: Account, bundle: Bundle, **values: str) -> Deployed:
    def sleep(_seconds: float) -> None:
        time.sleep(0.02)
        cloud.clock.sleep(0.02)

    aws = cloud.aws
    return deploy_model(
        aws.greengrass,
        aws.s3,
        aws.iot,
        bundle,
        to=THING,
        folder=S3Uri.of(BUCKET, "components"),
        name=NAME,
        configuration=configured(**values),
        timeout=120,
        sleep=sleep,
    )


def test_a_model_goes_all_the_way_to_answers_about_pictures(
    cloud: Account, bundle: Bundle, images: Path, tmp_path: Path
) -> None:
    root = tmp_path / "device"
    with device(cloud, root):
        result = deploy(cloud, bundle, folder=str(images))
        eventually(lambda: states(cloud) == {NAME: "FINISHED"})
    assert result.component.version == "1.0.0"
    assert result.states[THING] in ("RUNNING", "FINISHED")
    answers = {Path(line["image"]).name: line for line in read_results(root, NAME) if "image" in line}
    assert {name: line["label"] for name, line in answers.items()} == {
        "apple.jpg": "Red",
        "leaf.jpg": "Green",
    }
    assert answers["leaf.jpg"]["thing"] == THING
    assert answers["leaf.jpg"]["model"] == bundle.manifest.models["fp32"].sha256
    unpacked = root / "packages" / "artifacts-unarchived" / NAME / "1.0.0" / "bundle"
    assert (unpacked / "SHA256SUMS").exists()


def test_a_device_whose_emulator_is_away_says_so(tmp_path: Path) -> None:
    address = Address("http://127.0.0.1:9", {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"})
    with (
        pytest.raises(EdgeError, match="no emulator answers at"),
        device_process(address, THING, tmp_path / "device", patience=0.2),
    ):
        pass


def test_the_next_version_takes_over_and_others_keep_running(
    cloud: Account, bundle: Bundle, tmp_path: Path
) -> None:
    root = tmp_path / "device"
    with device(cloud, root):
        deployed(cloud, other_recipe("their.app", run="echo started; sleep 600"))
        eventually(lambda: states(cloud) == {"their.app": "RUNNING"})
        deploy(cloud, bundle, folder=str(tmp_path / "in"), watch="yes")
        eventually(lambda: states(cloud) == {"their.app": "RUNNING", NAME: "RUNNING"})
        newer = color_bundle(tmp_path / "bundle.zip", threshold=0.9)
        assert deploy(cloud, newer, folder=str(tmp_path / "in"), watch="yes").component.version == "1.0.1"
        assert log(root, "their.app") == "started\n"
    installed = cloud.aws.greengrass.list_installed_components(coreDeviceThingName=THING)
    assert {item["componentName"]: item["componentVersion"] for item in installed["installedComponents"]} == {
        "their.app": "1.0.0",
        NAME: "1.0.1",
    }


def test_a_device_without_the_packages_says_so(cloud: Account, bundle: Bundle, tmp_path: Path) -> None:
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S -I "$@"\n')
    bare.chmod(0o755)
    with (
        device(cloud, tmp_path / "device"),
        pytest.raises(DeploymentEndedError, match=r"install of .* exit code 5: .*has no wheels"),
    ):
        deploy(cloud, bundle, python=str(bare))


def test_a_changed_artifact_is_not_installed(cloud: Account, tmp_path: Path) -> None:
    cloud.aws.s3.put_object(Bucket=BUCKET, Key="app/tool.sh", Body=b"echo good")
    recipe = other_recipe("app", run="sh {artifacts:path}/tool.sh")
    recipe["Manifests"][0]["Artifacts"] = [{"Uri": f"s3://{BUCKET}/app/tool.sh"}]
    deployed(cloud, recipe)
    cloud.aws.s3.put_object(Bucket=BUCKET, Key="app/tool.sh", Body=b"echo evil")
    outcome = take(cloud, tmp_path / "device")
    assert outcome.status == "FAILED"
    assert "its SHA-256 differs" in execution(cloud)["reason"]
    assert not (tmp_path / "device" / "work").exists()
    assert list((tmp_path / "device").rglob("tool.sh*")) == []


def test_an_archive_that_leads_outside_fails_the_deployment(cloud: Account, tmp_path: Path) -> None:
    archive = tmp_path / "app.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("../../../escaped", "gotcha")
    cloud.aws.s3.put_object(Bucket=BUCKET, Key="app.zip", Body=archive.read_bytes())
    recipe = other_recipe("app")
    recipe["Manifests"][0]["Artifacts"] = [{"Uri": f"s3://{BUCKET}/app.zip", "Unarchive": "ZIP"}]
    deployed(cloud, recipe)
    assert take(cloud, tmp_path / "device").status == "FAILED"
    assert "would be written outside" in execution(cloud)["reason"]
    assert list(tmp_path.rglob("escaped")) == []


def test_a_program_that_keeps_crashing_is_broken_after_three_times(cloud: Account, tmp_path: Path) -> None:
    deployed(cloud, other_recipe("app", run="echo try; echo 'the camera is gone' >&2; exit 7"))
    outcome = take(cloud, tmp_path / "device")
    assert (outcome.status, outcome.states) == ("FAILED", {"app": "BROKEN"})
    assert execution(cloud)["coreDeviceExecutionStatus"] == "FAILED"
    assert execution(cloud)["reason"].endswith(
        "app 1.0.0 is BROKEN: run ended with exit code 7: the camera is gone"
    )
    assert log(tmp_path / "device", "app") == "try\n" * 3
    assert states(cloud) == {"app": "BROKEN"}


def test_a_failing_install_keeps_the_program_from_starting(cloud: Account, tmp_path: Path) -> None:
    deployed(cloud, other_recipe("app", install="echo no wheels >&2; exit 2", run="echo never"))
    assert take(cloud, tmp_path / "device").status == "FAILED"
    assert execution(cloud)["reason"].endswith("install of app 1.0.0 ended with exit code 2: no wheels")
    assert "never" not in log(tmp_path / "device", "app")


def test_an_install_that_hangs_is_ended(cloud: Account, tmp_path: Path) -> None:
    deployed(cloud, other_recipe("app", install={"Script": "sleep 600", "Timeout": "0.3"}, run="true"))
    before = time.monotonic()
    take(cloud, tmp_path / "device")
    assert execution(cloud)["reason"].endswith("was not done after 0.3 s: it said nothing")
    # Before it ended by itself.
    assert time.monotonic() - before < 600


@pytest.mark.parametrize(
    ("platform", "complaint"),
    [
        ({"os": "*"}, 'needs "runtime"'),
        ({"os": "toaster", "runtime": "*"}, "No Manifest was found in app"),
        ({"os": "/.*/", "runtime": "*"}, "No Manifest was found in app"),
    ],
)
def test_a_recipe_for_another_nucleus_fails_as_it_would_on_lite(
    cloud: Account, tmp_path: Path, platform: dict[str, str], complaint: str
) -> None:
    recipe = other_recipe("app")
    recipe["Manifests"][0]["Platform"] = platform
    deployed(cloud, recipe)
    assert take(cloud, tmp_path / "device").status == "FAILED"
    assert complaint in execution(cloud)["reason"]


def test_the_script_sees_its_variables_and_configuration_and_no_credentials(
    cloud: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    script = (
        'echo "{iot:thingName}|{configuration:/a/b}|{configuration:/list}|$GREETING|${AWS_IOT_THING_NAME}|'
        '$AWS_SECRET_ACCESS_KEY|{work:path}|{artifacts:path}|{kernel:rootPath}"; pwd'
    )
    recipe = other_recipe("app", run={"Script": script, "Setenv": {"GREETING": "hello {configuration:/a/b}"}})
    recipe["ComponentConfiguration"] = {"DefaultConfiguration": {"a": {"b": "default"}, "list": [1, 2]}}
    deployed(cloud, recipe, merge='{"a": {"b": "merged"}}')
    root = (tmp_path / "device").resolve()
    take(cloud, root)
    said, where = log(root, "app").splitlines()
    assert said.split("|") == [
        THING,
        "merged",
        "[1.0, 2.0]",  # as numbers may come back on a core
        "hello merged",
        THING,
        "",
        str(root / "work" / "app"),
        str(root / "packages" / "artifacts" / "app" / "1.0.0"),
        str(root),
    ]
    assert where == str(root / "work" / "app")


def test_merged_values_outlive_an_upgrade_until_they_are_reset(cloud: Account, tmp_path: Path) -> None:
    def version(number: str, **update: Any) -> str:
        recipe = other_recipe("app", number, run='echo "{configuration:/a} {configuration:/b}"')
        recipe["ComponentConfiguration"] = {"DefaultConfiguration": {"a": f"a{number}", "b": f"b{number}"}}
        deployed(cloud, recipe, **update)
        take(cloud, tmp_path / "device")
        return log(tmp_path / "device", "app").strip()

    assert version("1.0.0", merge='{"a": "mine"}') == "mine b1.0.0"
    assert version("1.0.1") == "mine b1.0.1"
    assert version("1.0.2", reset=[""]) == "a1.0.2 b1.0.2"


def test_a_component_that_is_no_longer_deployed_is_stopped(cloud: Account, tmp_path: Path) -> None:
    root = tmp_path / "device"
    with device(cloud, root):
        deployed(cloud, other_recipe("old", run="echo $$; exec sleep 600"))
        eventually(lambda: states(cloud) == {"old": "RUNNING"})
        process = printed_pid(root, "old")
        deployed(cloud, other_recipe("new", run="sleep 600"))
        eventually(lambda: states(cloud) == {"new": "RUNNING"})
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)


def test_a_device_runs_again_what_it_ran_before(cloud: Account, tmp_path: Path) -> None:
    root = tmp_path / "device"
    with device(cloud, root):
        deployed(cloud, other_recipe("app", install="echo installed", run="echo $$; exec sleep 600"))
        eventually(lambda: states(cloud) == {"app": "RUNNING"})
        eventually(lambda: len(log(root, "app").splitlines()) == 2)
    with device(cloud, root):
        eventually(lambda: len(log(root, "app").splitlines()) == 3)
    installed, first, second = log(root, "app").splitlines()
    assert (installed, first != second) == ("installed", True)
    for process in (first, second):
        with pytest.raises(ProcessLookupError):
            os.kill(int(process), 0)


def test_a_deployment_that_was_interrupted_is_taken_up_again(cloud: Account, tmp_path: Path) -> None:
    root = tmp_path / "device"
    flag = tmp_path / "flag"
    script = f"if [ -e {flag} ]; then exit 0; fi; touch {flag}; sleep 600"
    with device(cloud, root):
        deployed(cloud, other_recipe("app", install=script, run="true"))
        eventually(flag.exists)
    assert execution(cloud)["coreDeviceExecutionStatus"] == "IN_PROGRESS"
    assert take(cloud, root).status == "SUCCEEDED"
    assert execution(cloud)["coreDeviceExecutionStatus"] == "COMPLETED"


def test_a_component_that_was_deleted_meanwhile_fails_its_deployment(cloud: Account, tmp_path: Path) -> None:
    deployed(cloud, other_recipe("app"))
    arn = cloud.aws.greengrass.list_component_versions(
        arn="arn:aws:greengrass:us-east-1:123456789012:components:app"
    )["componentVersions"][0]["arn"]
    cloud.aws.greengrass.delete_component(arn=arn)
    take(cloud, tmp_path / "device")
    assert execution(cloud)["reason"].endswith("the component app 1.0.0 does not exist any more")


def test_startup_without_run_leaves_the_component_running(cloud: Account, tmp_path: Path) -> None:
    deployed(cloud, other_recipe("service", startup="echo up"), other_recipe("files", install="echo in"))
    outcome = take(cloud, tmp_path / "device")
    assert (outcome.status, outcome.states) == ("SUCCEEDED", {"service": "RUNNING", "files": "FINISHED"})


def test_a_restarting_emulator_does_not_end_the_device(cloud: Account, tmp_path: Path) -> None:
    deployed(cloud, other_recipe("app", run="true"))
    calls = iter(range(1000))

    def flaky(path: str, body: dict[str, Any]) -> dict[str, Any]:
        if next(calls) % 2:
            raise EmulatorNotReadyError("it is being restarted")
        return cloud.device(path, body)

    outcome = run_device(cloud.aws, THING, tmp_path / "d", once=True, poll=0.01, settle=0.1, api=flaky)
    assert outcome is not None
    assert outcome.status == "SUCCEEDED"


def test_a_device_registers_again_with_an_emulator_that_was_reset(cloud: Account, tmp_path: Path) -> None:
    with device(cloud, tmp_path / "device"):
        deployed(cloud, other_recipe("app", run="sleep 600"))
        eventually(lambda: states(cloud) == {"app": "RUNNING"})
        cloud.shelf.clear()
        eventually(lambda: bool(cloud.aws.greengrass.list_core_devices()["coreDevices"]))
        eventually(lambda: states(cloud) == {"app": "RUNNING"})


def test_an_emulated_device_does_not_bother_aws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    aws = Aws(boto3.Session("key", "secret", region_name="us-east-1"))
    with pytest.raises(EmulatorNotReadyError, match="gtlabel local up"):
        run_device(aws, THING, tmp_path)


@pytest.mark.parametrize(
    ("path", "body", "status", "complaint"),
    [
        ("next", {}, 400, "is no name of a thing"),
        ("sing", {"thing": "stranger"}, 404, "has no 'sing'"),
        ("register", {"thing": "stranger", "platform": {"os": "linux"}}, 400, "platform must tell"),
        ("report", {"thing": THING, "deployment": "none", "status": "FAILED"}, 404, "no deployment none"),
        ("report", {"thing": THING, "components": [HAPPY]}, 400, "no lifecycle state"),
    ],
)
def test_the_device_api_refuses_in_one_sentence(
    path: str, body: dict[str, Any], status: int, complaint: str
) -> None:
    shelf = Shelf()
    platform = {"os": "linux", "architecture": "amd64", "runtime": "aws_nucleus_lite"}
    assert handle(shelf, "/gtlabel/device/register", {"thing": THING, "platform": platform})[0] == 200
    refused, answer = handle(shelf, path, body)
    assert refused == status
    assert complaint in answer["message"]
    shelf.close()


def test_the_end_of_a_deployment_is_final(cloud: Account) -> None:
    deployed(cloud, other_recipe("app"))
    taken = cloud.take(THING, status="FAILED", reason="broken")
    late = {"thing": THING, "deployment": taken["id"], "status": "SUCCEEDED"}
    cloud.device("report", late)
    assert execution(cloud)["coreDeviceExecutionStatus"] == "FAILED"


def test_the_first_manifest_that_fits_is_taken() -> None:
    platform = {"os": "linux", "architecture": "aarch64", "runtime": "aws_nucleus_lite"}
    recipe = {
        "ComponentName": "app",
        "Manifests": [
            {"Name": "no runtime", "Platform": {"os": "linux"}},
            {"Name": "another", "Platform": {"os": "linux", "architecture": "amd64", "runtime": "*"}},
            {"Name": "fits", "Platform": {"os": "linux", "runtime": "*"}},
            {"Name": "fits, too late", "Platform": {"runtime": "*"}},
        ],
    }
    assert choose_manifest(recipe, platform)["Name"] == "fits"


@pytest.mark.parametrize(
    ("script", "complaint"),
    [
        ("{configuration:/none}", "the configuration has no /none"),
        ("{configuration:none}", "no JSON pointer"),
        ("{work:place}", "uses {work:place}, which this nucleus does not know"),
    ],
)
def test_a_variable_without_a_value_is_named(script: str, complaint: str) -> None:
    with pytest.raises(RecipeError, match=complaint):
        fill(script, {}, {})


def test_braces_of_the_shell_stay() -> None:
    script = 'for f in {a,b}; do echo "${f}" "$(jq .x{})" {iot:thingName}; done'
    assert fill(script, {"iot:thingName": "cam"}, {}) == script.replace("{iot:thingName}", "cam")
