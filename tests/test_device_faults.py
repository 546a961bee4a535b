"""What becomes of a device when its power, its disk, its network or its owner lets it down."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import socket
import threading
import zipfile
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from device_parts import (
    THING,
    beside,
    deploy_to,
    deployed,
    device,
    eventually,
    execution,
    gone,
    log,
    name_only,
    printed_pid,
    states,
    take,
)
from edge_parts import BUCKET, Account, account, other_recipe, to_json
from programs import mounted

from gtlabel.aws import Aws
from gtlabel.emulator.child import Address
from gtlabel.emulator.detached import stop as stop_device
from gtlabel.emulator.deviceprocess import DeviceOptions, detach
from gtlabel.emulator.devices import run_device
from gtlabel.emulator.packages import fetch_artifacts
from gtlabel.errors import EdgeError

TARGET = f"thing/{THING}"
STAYS = "echo $$; exec sleep 600"


@pytest.fixture
def cloud() -> Iterator[Account]:
    with account() as empty:
        yield empty


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of four megabytes."""
    with mounted(tmp_path / "disk", 4) as place:
        yield place


def with_archive(cloud: Account, recipe: dict[str, Any], size: int, folder: Path) -> dict[str, Any]:
    """The recipe with an archive of one file of so many bytes, which no disk can shrink."""
    archive = folder / "app.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("data", random.Random(7).randbytes(size))
    key = f"{recipe['ComponentName']}/{recipe['ComponentVersion']}/app.zip"
    cloud.aws.s3.put_object(Bucket=BUCKET, Key=key, Body=archive.read_bytes())
    recipe["Manifests"][0]["Artifacts"] = [{"Uri": f"s3://{BUCKET}/{key}", "Unarchive": "ZIP"}]
    return recipe


def files(root: Path) -> set[str]:
    """What lies on a device's disk of components."""
    # Folders may be swept away while they are walked through.
    return {str(Path(folder, name)) for folder, _, names in os.walk(root / "packages") for name in names}


def failed(cloud: Account) -> bool:
    return bool(execution(cloud)["coreDeviceExecutionStatus"] == "FAILED")


@pytest.mark.parametrize("size", [3 << 20, 5 << 20], ids=["when it is unpacked", "when it is fetched"])
def test_a_full_disk_leaves_the_version_before_running_and_nothing_half_written(
    cloud: Account, small_disk: Path, tmp_path: Path, size: int
) -> None:
    root = small_disk / "device"
    with device(cloud, root):
        deployed(cloud, with_archive(cloud, other_recipe("app", run=STAYS), 1000, tmp_path))
        eventually(lambda: states(cloud) == {"app": "RUNNING"})
        process, before = printed_pid(root), files(root)
        deployed(cloud, with_archive(cloud, other_recipe("app", "1.0.1"), size, tmp_path))
        eventually(lambda: failed(cloud))
        assert "the disk of the device is full" in execution(cloud)["reason"]
        assert execution(cloud)["reason"].startswith("FAILED_NO_STATE_CHANGE")
        assert (files(root), states(cloud)) == (before, {"app": "RUNNING"})
        assert not gone(process)
        used = os.statvfs(small_disk)
        assert (used.f_blocks - used.f_bfree) * used.f_frsize < 1 << 18


def test_a_full_disk_loses_lines_and_does_not_hold_a_program_up(
    cloud: Account, small_disk: Path, tmp_path: Path
) -> None:
    root, told = small_disk / "device", tmp_path / "told"
    count = f"n=$((n+1)); echo line $n; echo $n > {told}.new; mv {told}.new {told}"
    run = f"n=0; while :; do {count}; sleep 0.02; done"

    def told_more() -> None:
        eventually(told.exists)
        before = int(told.read_text())
        eventually(lambda: int(told.read_text()) > before + 5)

    with device(cloud, root):
        deployed(cloud, other_recipe("app", run=run))
        eventually(lambda: states(cloud) == {"app": "RUNNING"})
        filler = small_disk / "filler"
        with suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(1 << 12))
        told_more()
        assert states(cloud) == {"app": "RUNNING"}
        filler.unlink()
        now = int(told.read_text())
        # A line of which the disk took a part is no whole line.
        whole = re.compile(r"^line (\d+)$", re.MULTILINE)
        eventually(lambda: any(int(number) > now for number in whole.findall(log(root, "app"))))
    filler.write_bytes(bytes(small_disk_room(small_disk)))
    with device(cloud, root):
        told_more()


def small_disk_room(disk: Path) -> int:
    """The bytes that are free."""
    found = os.statvfs(disk)
    return found.f_bavail * found.f_frsize


def test_an_artifact_that_is_gone_fails_the_deployment_before_anything_stops(
    cloud: Account, tmp_path: Path
) -> None:
    root = tmp_path / "device"
    with device(cloud, root):
        deployed(cloud, other_recipe("app", run=STAYS))
        eventually(lambda: states(cloud) == {"app": "RUNNING"})
        process = printed_pid(root)
        newer = with_archive(cloud, other_recipe("app", "1.0.1"), 1000, tmp_path)
        stop_before_next(cloud, newer)
        eventually(lambda: failed(cloud))
        assert execution(cloud)["reason"] == (
            "FAILED_NO_STATE_CHANGE: the artifact s3://deeplens-models/app/1.0.1/app.zip cannot be fetched: "
            "NoSuchKey"
        )
        assert not gone(process)


def stop_before_next(cloud: Account, recipe: dict[str, Any]) -> None:
    """Deploy a component whose artifact is gone by the time that any device hears of it."""
    cloud.aws.greengrass.create_component_version(inlineRecipe=to_json(recipe))
    cloud.clock.sleep(1)
    for item in cloud.aws.s3.list_objects_v2(Bucket=BUCKET)["Contents"]:
        cloud.aws.s3.delete_object(Bucket=BUCKET, Key=item["Key"])
    name_only(cloud.aws, TARGET, recipe)


def test_a_device_that_was_off_takes_up_the_deployment_when_it_comes_back(
    cloud: Account, tmp_path: Path
) -> None:
    root = tmp_path / "device"
    with device(cloud, root):
        deployed(cloud, other_recipe("app", run=STAYS))
        eventually(lambda: states(cloud) == {"app": "RUNNING"})
    deployed(cloud, other_recipe("app", "1.0.1", run="true"))
    assert execution(cloud)["coreDeviceExecutionStatus"] == "QUEUED"
    assert take(cloud, root).states == {"app": "FINISHED"}
    assert execution(cloud)["coreDeviceExecutionStatus"] == "COMPLETED"


def test_what_was_half_written_when_the_power_went_is_swept_away(cloud: Account, tmp_path: Path) -> None:
    root = tmp_path / "device"
    recipe = with_archive(cloud, other_recipe("app", run="true"), 1000, tmp_path)
    # What looks half written may be what a component needs.
    for name in ("weights.part", ".settings"):
        cloud.aws.s3.put_object(Bucket=BUCKET, Key=name, Body=b"whole")
        recipe["Manifests"][0]["Artifacts"].append({"Uri": f"s3://{BUCKET}/{name}"})
    deployed(cloud, recipe)
    assert take(cloud, root).status == "SUCCEEDED"
    whole = files(root)
    assert {"app.zip", "data", "weights.part", ".settings"} == {Path(file).name for file in whole}
    packages = root / "packages"
    for rest in ("half/app.zip", "half/.app.x1y2/data", "artifacts-unarchived/app/1.0.1/app/data"):
        (packages / rest).parent.mkdir(parents=True, exist_ok=True)
        (packages / rest).write_bytes(b"half")
    (root / "device.json.new").write_bytes(b"half")
    with device(cloud, root):
        eventually(lambda: files(root) == whole)


@pytest.mark.parametrize("key", ["a/...zip", "a/..zip", "a/.zip"])
def test_an_archive_without_a_name_of_its_own_leaves_other_versions_alone(
    cloud: Account, tmp_path: Path, key: str
) -> None:
    cloud.aws.s3.put_object(Bucket=BUCKET, Key=key, Body=b"")
    other = tmp_path / "artifacts-unarchived" / "app" / "1.0.0" / "app" / "data"
    other.parent.mkdir(parents=True)
    other.touch()
    artifact = {"Uri": f"s3://{BUCKET}/{key}", "Unarchive": "ZIP"}
    with pytest.raises(EdgeError, match="no name of its own"):
        fetch_artifacts(cloud.aws.s3, [artifact], tmp_path, "app", "1.0.1")
    assert other.exists()


def test_a_device_s_own_note_that_is_damaged_is_named(cloud: Account, tmp_path: Path) -> None:
    (tmp_path / "device.json").write_text("{")
    with pytest.raises(EdgeError, match=r"device\.json is not what a device wrote .* remove"):
        take(cloud, tmp_path)


def test_two_devices_do_not_share_a_disk(cloud: Account, tmp_path: Path) -> None:
    with (
        device(cloud, tmp_path / "device"),
        pytest.raises(
            EdgeError, match=rf"another device \(process {os.getpid()}\) runs on .* another --root"
        ),
    ):
        take(cloud, tmp_path / "device")


def test_a_device_whose_disk_is_thrown_away_ends(cloud: Account, tmp_path: Path) -> None:
    root = tmp_path / "device"
    with pytest.raises(EdgeError, match="is gone, and the device ends"):
        take(cloud, root, once=False, on_ready=lambda: shutil.rmtree(root))


def test_a_deployment_that_is_deleted_while_it_is_carried_out_does_not_end_the_device(
    cloud: Account, tmp_path: Path
) -> None:
    flag = tmp_path / "flag"
    with device(cloud, tmp_path / "device"):
        deployed(
            cloud, other_recipe("app", install=f"while [ ! -e {flag} ]; do sleep 0.02; done", run="true")
        )
        eventually(lambda: execution(cloud)["coreDeviceExecutionStatus"] == "IN_PROGRESS")
        greengrass = cloud.aws.greengrass
        (listed,) = greengrass.list_deployments()["deployments"]
        greengrass.cancel_deployment(deploymentId=listed["deploymentId"])
        greengrass.delete_deployment(deploymentId=listed["deploymentId"])
        flag.touch()
        eventually(lambda: states(cloud) == {"app": "FINISHED"})
        deployed(cloud, other_recipe("app", "1.0.1", run="true"))
        eventually(lambda: execution(cloud)["coreDeviceExecutionStatus"] == "COMPLETED")


def test_a_device_that_is_killed_leaves_nothing_running_and_comes_back(
    gtlabel_server: Address, gtlabel_aws: Aws, tmp_path: Path
) -> None:
    root = tmp_path / "device"
    killed = detach(gtlabel_server.environ, THING, root, DeviceOptions())
    try:
        # A signal at the death of its parent would not reach it: its parent is the shell.
        deploy_to(gtlabel_aws, TARGET, other_recipe("app", run="sh -c 'echo $$; exec sleep 600'; true"))
        program = printed_pid(root)
        os.killpg(killed, signal.SIGKILL)
        eventually(lambda: gone(killed))
        # It waits until the programs of the one before are gone.
        again = detach(gtlabel_server.environ, THING, root, DeviceOptions(once=True))
        assert gone(program)
        assert again != killed
    finally:
        with suppress(EdgeError):
            stop_device(root)


class Wire:
    """A network between a device and a server, which can be taken away and brought back."""

    def __init__(self, url: str) -> None:
        self._to = urlsplit(url)
        self._door = socket.create_server(("127.0.0.1", 0))
        self._up = threading.Event()
        self._up.set()
        self._ends: list[socket.socket] = []
        self.url = f"http://127.0.0.1:{self._door.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def cut(self) -> None:
        """Let nothing through, and end what is under way."""
        self._up.clear()
        for end in self._ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        """Let everything through again."""
        self._up.set()

    def close(self) -> None:
        """Be gone."""
        self.cut()
        self._door.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._door.accept()
                if not self._up.is_set():
                    near.close()
                    continue
                far = socket.create_connection((self._to.hostname or "", self._to.port or 80))
                self._ends += [near, far]
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=self._carry, args=pair, daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while block := source.recv(1 << 16):
                sink.sendall(block)
            sink.shutdown(socket.SHUT_WR)


def test_a_device_runs_on_without_its_network_and_is_deployed_to_when_it_is_back(
    gtlabel_server: Address, gtlabel_aws: Aws, tmp_path: Path
) -> None:
    root = tmp_path / "device"
    with closing(Wire(gtlabel_server.url)) as wire:
        away = Aws(gtlabel_aws.session, wire.url)
        options: dict[str, Any] = {"poll": 0.02, "settle": 0.1, "patience": 0.2}
        with beside(lambda **signals: run_device(away, THING, root, **options, **signals)):
            deploy_to(gtlabel_aws, TARGET, other_recipe("app", run=STAYS))
            first = printed_pid(root)
            wire.cut()
            # A program that crashes meanwhile is started again, and nobody gives up.
            os.kill(first, signal.SIGKILL)
            eventually(lambda: len(log(root, "app").splitlines()) == 2)
            deploy_to(gtlabel_aws, TARGET, other_recipe("app", "1.0.1", run="echo newer; exec sleep 600"))
            wire.mend()
            eventually(lambda: log(root, "app") == "newer\n")
