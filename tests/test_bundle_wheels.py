"""The packages of a bundle: which are locked, and that they are all a device needs."""

from __future__ import annotations

import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from device_parts import THING, device, eventually, states
from edge_parts import BUCKET, account, color_bundle
from packaging.tags import Tag, cpython_tags
from packaging.utils import parse_wheel_filename
from programs import need

from gtlabel.edge.archive import extract
from gtlabel.edge.bundle import read_bundle
from gtlabel.edge.deploy import deploy_model
from gtlabel.edge.requirements import GREENGRASS, INSTALLER, RUN, read_lock
from gtlabel.emulator.devices import read_results
from gtlabel.uris import S3Uri

HERE = f"linux-{platform.machine()}:{sys.version_info.major}.{sys.version_info.minor}"
NO_NETWORK = ["unshare", "--net"]
# Nothing of this environment: not its packages, and not its package index.
BARE = {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1"}


def run(*command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    words = [*NO_NETWORK, *map(str, command)]
    return subprocess.run(
        words, capture_output=True, text=True, timeout=120, check=False, env={**BARE, **environment}
    )


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with the packages for this machine, unpacked."""
    need(HERE in read_lock().platforms, f"no wheels are locked for {HERE}; run the tests on one that has")
    possible = subprocess.run([*NO_NETWORK, "true"], capture_output=True, check=False).returncode == 0
    need(possible, "a machine without network is made by unshare, as root; install util-linux")
    folder = tmp_path_factory.mktemp("wheels")
    extract(color_bundle(folder / "bins.zip", name="bins", wheels=[HERE]).path, folder / "bins")
    return folder / "bins"


def test_a_device_without_a_network_runs_a_bundle_with_wheels(bundle: Path, tmp_path: Path) -> None:
    name, root = "deeplens-bins", tmp_path / "device"
    # Debian's Python has no ensurepip without another package.
    (tmp_path / "ensurepip.py").write_text("raise ImportError('No module named ensurepip')")
    bare = [*NO_NETWORK, "env", "-i", *(f"{key}={value}" for key, value in BARE.items())]
    python = tmp_path / "python"
    words = shlex.join([*bare, f"PYTHONPATH={tmp_path}", sys.executable])
    python.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
    python.chmod(0o755)
    with account() as cloud, device(cloud, root):

        def sleep(_seconds: float) -> None:
            time.sleep(0.02)
            cloud.clock.sleep(0.02)

        deploy_model(
            cloud.aws.greengrass,
            cloud.aws.s3,
            cloud.aws.iot,
            read_bundle(bundle.with_suffix(".zip")),
            to=THING,
            folder=S3Uri.of(BUCKET, "components"),
            name=name,
            configuration={"python": str(python), "watch": "no", "folder": str(bundle / "selftest")},
            timeout=300,
            sleep=sleep,
        )
        eventually(lambda: states(cloud) == {name: "FINISHED"})
    assert [line["label"] for line in read_results(root, name) if "image" in line] == ["Green", "Red"]
    (environment,) = (root / "work" / name).glob("venv-*")
    listing = "import importlib.metadata as m\n"
    listing += "print(*(f'{d.name}=={d.version}' for d in m.distributions()))"
    found = sorted(run(environment / "bin/python", "-c", listing).stdout.lower().replace("_", "-").split())
    lock = read_lock()
    assert found == sorted(f"{name}=={lock.versions[name]}" for name in lock.groups[RUN])


def test_a_wheel_that_was_changed_is_not_installed(bundle: Path, tmp_path: Path) -> None:
    copy = tmp_path / "bins"
    shutil.copytree(bundle, copy, copy_function=os.link)
    (wheel,) = (copy / "wheels").glob("paho_mqtt-*.whl")
    data = wheel.read_bytes()
    wheel.unlink()
    wheel.write_bytes(data + b"!")
    done = run(sys.executable, copy / "install.py", "--venv", tmp_path / "venv")
    assert done.returncode == 3
    assert f"{wheel.name} is not what the bundle was built with; copy it again" in done.stderr
    # Whoever makes the checksums agree is found out by the digests of the requirements.
    sums = (copy / "SHA256SUMS").read_text()
    (copy / "SHA256SUMS").unlink()
    changed = sums.replace(sha256(data).hexdigest(), sha256(data + b"!").hexdigest())
    (copy / "SHA256SUMS").write_text(changed)
    done = run(sys.executable, copy / "install.py", "--venv", tmp_path / "venv")
    assert done.returncode == 5
    assert "one of the wheels in the bundle is not the file that was locked; copy" in done.stderr
    assert not (tmp_path / "venv").exists()


def usable(python: str, *tags: str) -> set[Tag]:
    """What a Python on a machine can load, with what is written for every Python."""
    major, minor = map(int, python.split("."))
    return {*cpython_tags((major, minor), platforms=tags), Tag("py3", "none", "any")}


def glibc(newest: int, machine: str) -> list[str]:
    """The tags of Linux whose glibc is 2.`newest` (PEP 600), with the older spellings of some."""
    old = [f"{name}_{machine}" for name in ("manylinux2014", "manylinux2010", "manylinux1")]
    return [*(f"manylinux_2_{minor}_{machine}" for minor in range(newest, 4, -1)), *old]


@pytest.mark.parametrize(("name", "newest"), [("default", 28), ("deeplens", 17)])
def test_every_locked_wheel_can_be_loaded_where_it_is_meant_for(name: str, newest: int) -> None:
    lock = read_lock(name)
    macos = [f"macosx_{version}_arm64" for version in ("14_0", "13_0", "12_0", "11_0")]
    macos += [f"macosx_10_{minor}_universal2" for minor in range(9, 17)]
    for key, files in lock.platforms.items():
        system, _, python = key.partition(":")
        machine = system.partition("-")[2]
        tags = usable(python, *(macos if system.startswith("macos") else glibc(newest, machine)))
        packages = {}
        for file in files:
            package, version, _, wheel_tags = parse_wheel_filename(file)
            assert wheel_tags & tags, f"{file} cannot be loaded on {key} with glibc 2.{newest}"
            packages[package] = str(version)
        assert packages == lock.versions
    assert set(lock.wheels) == {file for files in lock.platforms.values() for file in files}


def test_an_aws_deeplens_has_a_newer_glibc_than_its_wheels_want() -> None:
    # Ubuntu 16.04 has 2.23 (contract/deployment.md §2); these tags are a promise of the wheels' makers.
    lock = read_lock("deeplens")
    tags = {tag.platform for file in lock.wheels for tag in parse_wheel_filename(file)[3]}
    wanted = {int(match[1]) for tag in tags if (match := re.match(r"manylinux_2_(\d+)_x86_64", tag))}
    assert wanted == {17}
    assert set(lock.platforms) == {"linux-x86_64:3.11"}


def test_the_runtime_on_a_device_is_one_that_tells_nobody() -> None:
    # 1.29 is the first whose wheels report to their maker (contract/deployment.md §4.4).
    for name in ("default", "deeplens"):
        major, minor, _ = map(int, read_lock(name).versions["onnxruntime"].split("."))
        assert (major, minor) < (1, 29)


def test_requirements_name_every_wheel_by_its_digest() -> None:
    lock = read_lock()
    text = lock.requirements(RUN, GREENGRASS)
    assert re.findall(r"^([a-z-]+)==", text, re.MULTILINE) == [
        "awscrt", "awsiotsdk", "numpy", "onnxruntime", "paho-mqtt", "pillow",
    ]  # fmt: skip
    installer = set(lock.wheels_for("linux-x86_64:3.11", INSTALLER).values())
    assert set(re.findall(r"--hash=sha256:([0-9a-f]{64})", text)) == set(lock.wheels.values()) - installer


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("linux-x86_64", ("linux-x86_64:3.11",)),
        (" linux-aarch64:3.13 , linux-x86_64:3.12,", ("linux-aarch64:3.13", "linux-x86_64:3.12")),
        ("linux-x86_64,linux-x86_64:3.11", ("linux-x86_64:3.11",)),
    ],
)
def test_platforms_are_named_with_or_without_a_python(text: str, expected: Any) -> None:
    assert read_lock().chosen(text) == expected
