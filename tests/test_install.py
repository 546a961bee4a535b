"""Installing a bundle on a device: nothing is switched before the new version has proved itself there."""

from __future__ import annotations

import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
import venv
import zipfile
from hashlib import sha256
from importlib.metadata import files, version
from pathlib import Path
from typing import Any

import pytest
from edge_parts import color_bundle
from programs import need

from gtlabel.edge.requirements import read_lock

# What a virtual environment of its own takes from this one, where everything is installed.
ENVIRONMENT = {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1"}


def install(bundle: Path, *arguments: str | Path, **popen: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(bundle / "install.py"), *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, env=ENVIRONMENT, **popen
    )


def installed(bundle: Path, *arguments: str | Path) -> dict[str, Any]:
    done = install(bundle, *arguments)
    assert done.returncode == 0, done.stderr
    line: dict[str, Any] = json.loads(done.stdout)
    return line


def answer(folder: Path) -> str:
    """What the program of an installed version says about a red picture."""
    command: list[str | Path] = [folder / "venv/bin/python", folder / "run.py", "--image"]
    command.append(folder / "selftest/red.jpg")
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True, env=ENVIRONMENT)
    return str(json.loads(done.stdout)["label"])


def made(folder: Path, name: str, **changes: Any) -> Path:
    """A bundle, unpacked as its README says, with Python alone."""
    bundle = color_bundle(folder / f"{name}.zip", name="bins", **changes)
    with zipfile.ZipFile(bundle.path) as archive:
        archive.extractall(folder / name)
    return folder / name


def resealed(bundle: Path, **files: str) -> Path:
    """A copy of a bundle with other files in it, which its checksums agree with."""
    copy = bundle.with_name(f"{bundle.name}-resealed")
    shutil.copytree(bundle, copy)
    sums = (copy / "SHA256SUMS").read_text()
    for name, text in files.items():
        old = sha256((copy / name).read_bytes()).hexdigest()
        (copy / name).write_text(text)
        sums = sums.replace(old, sha256(text.encode()).hexdigest())
    (copy / "SHA256SUMS").write_text(sums)
    return copy


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three versions."""
    folder = tmp_path_factory.mktemp("bundles")
    return [made(folder, f"v{number}", threshold=number / 10) for number in (5, 6, 7)]


@pytest.fixture(scope="module")
def wrong(bundles: list[Path]) -> Path:
    """A bundle whose pictures this machine sees otherwise than it says."""
    manifest = json.loads((bundles[0] / "manifest.json").read_text())
    manifest["self_test"]["cases"][0]["probabilities"]["fp32"] = [0.5, 0.5]
    return resealed(bundles[0], **{"manifest.json": json.dumps(manifest)})


@pytest.fixture(scope="module")
def device(bundles: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the first version in it; tests leave that running."""
    to = tmp_path_factory.mktemp("device") / "bins"
    line = installed(bundles[0], "--to", to)
    assert line["selftest"] == {"selftest": "passed", "images": 2, "models": ["fp32"]}
    assert (line["packages"], line["previous"], line["removed"]) == ("interpreter", None, [])
    return to


def test_versions_lie_beside_each_other_and_one_is_current(
    bundles: list[Path], device: Path, tmp_path: Path
) -> None:
    to = tmp_path / "bins"
    shutil.copytree(device, to, symlinks=True)
    names = [str((to / "current").readlink()), installed(bundles[1], "--to", to)["version"]]
    assert len(set(names)) == 2
    assert (str((to / "current").readlink()), str((to / "previous").readlink())) == (names[1], names[0])
    third = installed(bundles[2], "--to", to)
    # The disk of a camera is small: what runs and what ran are kept.
    assert (third["previous"], third["removed"]) == (names[1], [names[0]])
    # Whoever installs it again changes nothing.
    again = installed(bundles[2], "--to", to)
    assert (again["packages"], again["version"], again["previous"]) == ("kept", third["version"], names[1])

    # What goes back is on the device; no copy of the bundle is needed for it.
    back = installed(to / "current", "--to", to, "--rollback")
    assert (back["version"], back["previous"]) == (names[1], third["version"])
    assert answer(to / "current") == "Red"


def test_a_version_that_fails_its_self_test_is_not_switched_to(wrong: Path, device: Path) -> None:
    before = sorted(path.name for path in device.iterdir())
    done = install(wrong, "--to", device)
    assert done.returncode == 4
    (sentence,) = done.stderr.splitlines()
    assert "nothing was switched: self-test of fp32: selftest/green.jpg is off by" in sentence
    assert sorted(path.name for path in device.iterdir()) == before
    assert answer(device / "current") == "Red"


def test_an_installation_that_is_killed_leaves_what_ran_and_is_swept_up_by_the_next(
    bundles: list[Path], device: Path
) -> None:
    running = (device / "current").readlink()
    # The self-test of this one never ends.
    endless = resealed(bundles[1], **{"run.py": "import time\ntime.sleep(600)\n"})
    process = subprocess.Popen(
        [sys.executable, endless / "install.py", "--to", device],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=ENVIRONMENT,
        start_new_session=True,
    )
    try:
        while not list(device.glob(".bins-*.partial/venv/lib/python3*/site-packages/*.pth")):
            assert process.poll() is None
            time.sleep(0.01)
        # Nobody else may come in between meanwhile.
        second = install(bundles[2], "--to", device)
        assert (second.returncode, "another installation is going on" in second.stderr) == (8, True)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    assert list(device.glob(".bins-*.partial"))
    assert (device / "current").readlink() == running
    assert answer(device / "current") == "Red"
    assert installed(bundles[0], "--to", device)["packages"] == "kept"
    assert not list(device.glob(".bins-*.partial"))


def test_a_version_that_broke_on_the_disk_is_made_again(bundles: list[Path], device: Path) -> None:
    (device / "current/model.onnx").write_bytes(b"")
    assert installed(bundles[0], "--to", device)["packages"] == "interpreter"
    assert answer(device / "current") == "Red"
    assert not list(device.glob(".*partial"))


def test_a_damaged_bundle_is_told_before_anything_is_made(bundles: list[Path], tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(bundles[0], damaged)
    (damaged / "model.onnx").write_bytes(b"")
    done = install(damaged, "--to", tmp_path / "device")
    assert (done.returncode, done.stdout) == (3, "")
    assert "model.onnx is not what the bundle was built with; copy it again" in done.stderr
    assert not (tmp_path / "device").exists()


_PIP = """
import pathlib, sysconfig
pathlib.Path({trace!r}).touch()
pathlib.Path(sysconfig.get_path("purelib"), "all.pth").write_text({site!r})
"""


@pytest.fixture
def with_pip(bundles: list[Path], tmp_path: Path) -> Path:
    """A bundle with a wheel for this machine: a pip that leaves a trace, and links what is here already."""
    copy = tmp_path / "bins"
    shutil.copytree(bundles[0], copy)
    manifest = json.loads((copy / "manifest.json").read_text())
    system = "macos" if sys.platform == "darwin" else "linux"
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    manifest["runtime"]["wheels"] = [f"{system}-{platform.machine()}:{python}"]
    (copy / "manifest.json").write_text(json.dumps(manifest))
    (copy / "wheels").mkdir()
    site = str(Path(pytest.__file__).parents[1])
    with zipfile.ZipFile(copy / "wheels/pip-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("pip/__main__.py", _PIP.format(trace=f"{tmp_path}/trace", site=site))
    seal(copy)
    return copy


def seal(bundle: Path) -> None:
    """Let the checksums of a bundle agree with what is in it."""
    (bundle / "SHA256SUMS").unlink()
    inside = sorted(path for path in bundle.rglob("*") if path.is_file() and path.suffix != ".pyc")
    lines = (f"{sha256(path.read_bytes()).hexdigest()}  {path.relative_to(bundle)}\n" for path in inside)
    (bundle / "SHA256SUMS").write_text("".join(lines))


def test_no_wheel_is_run_that_is_not_the_one_of_the_bundle(with_pip: Path, tmp_path: Path) -> None:
    (wheel,) = (with_pip / "wheels").iterdir()
    data = wheel.read_bytes()

    def refused() -> str:
        done = install(with_pip, "--to", tmp_path / "device")
        assert (done.returncode, done.stdout) == (3, "")
        assert not (tmp_path / "trace").exists()
        (sentence,) = done.stderr.splitlines()
        return sentence

    assert installed(with_pip, "--to", tmp_path / "good")["packages"] == "wheels"
    (tmp_path / "trace").unlink()
    # They have done what they were there for, and are large.
    assert not (tmp_path / "good/current/wheels").exists()
    wheel.write_bytes(data + b"!")
    assert f"wheels/{wheel.name} is not what the bundle was built with; copy it again" in refused()
    # One that was put beside it counts as little.
    wheel.rename(wheel.with_name("pip-2-py3-none-any.whl"))
    assert f"the bundle lacks wheels/{wheel.name}; copy it to the device again" in refused()
    (with_pip / "wheels/pip-2-py3-none-any.whl").rename(tmp_path / "pip.whl")
    seal(with_pip)
    shutil.move(tmp_path / "pip.whl", with_pip / "wheels/pip-2-py3-none-any.whl")
    assert "SHA256SUMS does not list a wheel of pip; build the bundle again" in refused()


@pytest.fixture(scope="module")
def poor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python that has packages to run a network with, but none to speak to a broker, and no pip."""
    folder = tmp_path_factory.mktemp("poor")
    venv.create(folder, symlinks=True)
    (library,) = folder.glob("lib/python3*/site-packages")
    for package in ("numpy", "onnxruntime", "pillow"):
        found = files(package) or []
        for top in {file.parts[0] for file in found} - {".."}:
            target = Path(str(found[0].locate())).parents[len(found[0].parts) - 1] / top
            (library / top).symlink_to(target)
    return folder / "bin/python"


def test_the_packages_of_a_python_are_told_where_they_are_others_and_refused_where_one_is_needed(
    bundles: list[Path], poor: Path, tmp_path: Path
) -> None:
    def run(bundle: Path) -> subprocess.CompletedProcess[str]:
        command = [str(poor), str(bundle / "install.py"), "--venv", str(tmp_path / "venv")]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, env=ENVIRONMENT)

    publishing = run(made(tmp_path, "publishing", settings={"mqtt": "mqtt://broker"}))
    assert publishing.returncode == 5
    assert "install.py: this Python lacks paho-mqtt; the bundle has no wheels for" in publishing.stderr
    looking = run(bundles[0])
    assert looking.returncode == 0, looking.stderr
    line = json.loads(looking.stdout)
    assert (line["packages"], line["missing"]) == ("interpreter", ["paho-mqtt"])
    locked = read_lock().versions
    here = {name: version(name) for name in ("numpy", "onnxruntime", "pillow")}
    assert line["other_versions"] == {
        name: f"{found}, not {locked[name]}" for name, found in here.items() if found != locked[name]
    }
    # What was made for a bundle that does not publish does not do for one that does.
    assert run(tmp_path / "publishing").returncode == 5


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        ((), 2, "one of the arguments --venv --to is required"),
        (("--rollback", "--venv", "v"), 2, "--rollback needs --to"),
        (("--rollback", "--to", "empty"), 1, "has no version before the one that runs"),
        (("--to", "taken"), 2, "taken/current is in the way; name another folder with --to"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(
    bundles: list[Path], tmp_path: Path, arguments: tuple[str, ...], code: int, sentence: str
) -> None:
    (tmp_path / "taken/current").mkdir(parents=True)
    done = install(bundles[0], *arguments, cwd=tmp_path)
    assert done.returncode == code
    assert sentence in done.stderr.splitlines()[-1]


def test_an_environment_is_made_once_and_again_when_its_packages_change(
    bundles: list[Path], tmp_path: Path
) -> None:
    venv = tmp_path / "venv"
    first = installed(bundles[0], "--venv", venv)
    assert (first["packages"], first["venv"]) == ("interpreter", str(venv))
    (venv / "kept").touch()
    # A core device installs the component again whenever its configuration changes.
    assert installed(bundles[1], "--venv", venv)["packages"] == "kept"
    assert (venv / "kept").exists()
    other = resealed(bundles[2], **{"requirements.txt": "numpy==1\n"})
    assert installed(other, "--venv", venv)["packages"] == "interpreter"
    assert not (venv / "kept").exists()


def test_an_environment_whose_program_does_not_pass_is_not_kept(wrong: Path, tmp_path: Path) -> None:
    done = install(wrong, "--venv", tmp_path / "venv")
    assert done.returncode == 4
    assert not (tmp_path / "venv").exists()
    assert not list(tmp_path.glob(".*partial"))


@pytest.fixture
def small_disk(tmp_path: Path) -> list[str]:
    """A command before which others see a disk of 4 MB at `tmp_path`, which is gone with them."""
    mounted = f'mount -t tmpfs -o size=4m none "{tmp_path}" && exec "$@"'
    command = ["unshare", "--mount", "sh", "-c", mounted, "sh"]
    need(shutil.which("unshare"), "a disk that is full comes from unshare; install util-linux")
    if subprocess.run([*command, "true"], capture_output=True, check=False).returncode:
        pytest.skip("only root may make a disk")
    return command


def test_a_full_disk_is_said_and_what_ran_goes_on(
    bundles: list[Path], small_disk: list[str], tmp_path: Path
) -> None:
    steps = f"""
        {sys.executable} {bundles[0]}/install.py --to {tmp_path}/bins >&2 || exit 1
        head -c 8M /dev/zero > {tmp_path}/photos
        {sys.executable} {bundles[1]}/install.py --to {tmp_path}/bins
        echo "ended with $?"
        rm {tmp_path}/photos
        cd {tmp_path}/bins && ls -A | grep partial
        current/venv/bin/python current/run.py --selftest
    """
    done = subprocess.run(
        [*small_disk, "sh", "-c", steps], capture_output=True, text=True, timeout=120, env=ENVIRONMENT
    )
    assert done.stdout.splitlines() == [
        "ended with 7",
        '{"selftest": "passed", "images": 2, "models": ["fp32"]}',
    ], done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("install.py")]
    assert f"the disk with {tmp_path}/bins is full (0 MB are free); what ran before goes on running" in line
