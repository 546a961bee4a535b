"""Install a bundle on a device: packages into a virtual environment, the self-test, and only then the switch.

    python3 install.py --venv DIR     make the environment DIR for the bundle where it lies
    python3 install.py --to DIR       copy the bundle to DIR/VERSION, and point DIR/current at it
    python3 install.py --to DIR --rollback    point DIR/current at the version before

What is being made has a name of its own until it has passed the self-test, so an interrupted installation
leaves what ran before as it was; the next one sweeps the pieces up. Needs the standard library alone.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import fcntl
import hashlib
import importlib.machinery
import importlib.metadata
import json
import os
import platform
import re
import shutil
import site
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from gtlabel.edge.device.classifier import verify
from gtlabel.edge.device.ending import DAMAGED, MISSING_PACKAGE, SELF_TEST, WRONG_ARGUMENTS, RunError

FAILED, NO_ROOM, BUSY = 1, 7, 8
_CODES = """\
What runs now goes on running until the new one has passed its self-test.

Exit codes: 0 done, 1 it cannot be installed there, 2 wrong arguments, 3 the bundle is damaged,
4 the self-test failed, 5 a package cannot be had, 7 the disk is full, 8 another installation is going on.
"""
# The modules of packages that are called otherwise.
_MODULES = {"pillow": "PIL", "paho-mqtt": "paho", "awsiotsdk": "awsiot"}
_CURRENT, _PREVIOUS = "current", "previous"
_PARTIAL = ".partial"
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


def main(folder: Path, argv: Sequence[str] | None = None) -> int:
    """Install, and print one line of JSON about it.

    Args:
        folder: the unpacked bundle.
        argv: the arguments; by default those of the command line.

    Returns:
        The exit code.
    """
    options = _arguments(argv)
    started = time.monotonic()
    try:
        done = _run(folder, options)
    except RunError as error:
        return _told(str(error), error.code)
    except OSError as error:
        if error.errno in _NO_ROOM:
            return _told(_full(options.to or options.venv), NO_ROOM)
        return _told(f"{error.filename or folder}: {error.strerror}", FAILED)
    sys.stdout.write(json.dumps({**done, "seconds": round(time.monotonic() - started, 2)}) + "\n")
    return 0


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="install.py",
        description="Install this bundle: its packages, the self-test, and then the switch.",
        epilog=_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument(
        "--venv", type=Path, metavar="DIR", help="make this virtual environment for the bundle here"
    )
    where.add_argument(
        "--to", type=Path, metavar="DIR", help="copy the bundle into DIR and point DIR/current at it"
    )
    parser.add_argument("--rollback", action="store_true", help="with --to: go back to the version before")
    options = parser.parse_args(argv)
    if options.rollback and not options.to:
        parser.error("--rollback needs --to")
    return options


def _run(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    if options.rollback:
        with _alone(options.to):
            return _roll_back(options.to.absolute())
    # pip runs from one of the wheels, and perhaps as root.
    verify(folder, wheels=True)
    if options.venv:
        venv = options.venv.absolute()
        with _alone(venv.parent, f".{venv.name}"):
            return _make_venv(folder, venv)
    with _alone(options.to):
        return _install(folder, options.to.absolute())


def _install(folder: Path, to: Path) -> dict[str, Any]:
    """Copy the bundle, make its environment, and switch to it."""
    for name in (_CURRENT, _PREVIOUS):
        if (to / name).exists() and not (to / name).is_symlink():
            raise RunError(f"{to / name} is in the way; name another folder with --to", WRONG_ARGUMENTS)
    version = _version(folder)
    target = to / version
    partial = to / f".{version}{_PARTIAL}"
    _sweep(to)
    done = _kept(target)
    if done is None:
        try:
            _copy(folder, partial)
            packages = _packages(folder, partial / "venv")
            done = {**packages, "selftest": _self_test(partial, partial / "venv")}
            # What is renamed before it is on the disk may be empty after a power cut.
            os.sync()
            if target.is_dir():
                target.rename(to / f".{version}.broken{_PARTIAL}")
            partial.rename(target)
        finally:
            _sweep(to)
    before = _pointed(to / _CURRENT)
    if before not in (None, version):
        _point(to / _PREVIOUS, str(before))
    _point(to / _CURRENT, version)
    return {**_named(target), **done, "previous": _pointed(to / _PREVIOUS), "removed": _prune(to)}


def _kept(target: Path) -> dict[str, Any] | None:
    """What to tell of a version that is there already; None where there is none, or it broke since."""
    if not target.is_dir():
        return None
    try:
        return {"packages": "kept", "selftest": _self_test(target, target / "venv")}
    except (RunError, FileNotFoundError):
        return None


def _roll_back(to: Path) -> dict[str, Any]:
    """Point back at the version before, once it has proved itself again."""
    now, before = _pointed(to / _CURRENT), _pointed(to / _PREVIOUS)
    if before is None or before == now:
        raise RunError(f"{to} has no version before the one that runs", FAILED)
    target = to / before
    selftest = _self_test(target, target / "venv")
    _point(to / _CURRENT, before)
    if now is not None:
        _point(to / _PREVIOUS, now)
    return {**_named(target), "packages": "kept", "selftest": selftest, "previous": now, "removed": []}


def _make_venv(folder: Path, venv: Path) -> dict[str, Any]:
    """Make the environment; where it is there already, only the self-test runs again."""
    partial = venv.with_name(f".{venv.name}{_PARTIAL}")
    shutil.rmtree(partial, ignore_errors=True)
    mark = venv / "bundle"
    # A bundle with other packages wants another environment, even under the same name.
    needed = " ".join(_manifest(folder)["runtime"]["needed"])
    wanted = hashlib.sha256((folder / "requirements.txt").read_bytes() + needed.encode()).hexdigest()
    packages: dict[str, Any] = {"packages": "kept"}
    if not mark.is_file() or mark.read_text() != wanted:
        try:
            packages = _packages(folder, partial)
            selftest = _self_test(folder, partial)
            (partial / mark.name).write_text(wanted)
            os.sync()
            shutil.rmtree(venv, ignore_errors=True)
            partial.rename(venv)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    else:
        selftest = _self_test(folder, venv)
    return {**_named(folder), "venv": str(venv), **packages, "selftest": selftest}


def _packages(folder: Path, venv: Path) -> dict[str, Any]:
    """Make an environment with what the program needs; say where that came from.

    The interpreter's own packages are taken where it has all that the program cannot do without. Nobody
    compares them with a digest, so what differs from the versions that were locked is told: the self-test
    decides whether they will do.
    """
    try:
        import venv as environments
    except ImportError:
        raise RunError("this Python has no venv module; install python3-venv", MISSING_PACKAGE) from None
    environments.EnvBuilder(symlinks=True, with_pip=False).create(venv)
    here = f"{_system()}:{sys.version_info.major}.{sys.version_info.minor}"
    runtime = _manifest(folder)["runtime"]
    if here in runtime["wheels"]:
        _pip(folder, venv)
        return {"packages": "wheels"}
    places = [path for path in site.getsitepackages() if Path(path).is_dir()]
    locked = _locked(folder)
    lacking = [
        name
        for name in locked
        if not importlib.machinery.PathFinder.find_spec(_MODULES.get(name, name), places)
    ]
    needed = [name for name in lacking if name in runtime["needed"]]
    if needed:
        try:
            _pip(folder, venv, here)
        except RunError as error:
            raise RunError(f"this Python lacks {', '.join(needed)}; {error}", error.code) from None
        return {"packages": "index"}
    # The environment of a virtual environment's Python would see those of the system, and not its own.
    (library,) = (venv / "lib").glob("python3*/site-packages")
    (library / "interpreter.pth").write_text("".join(f"{path}\n" for path in places))
    others = {
        name: f"{version}, not {locked[name]}"
        for name in locked
        if name not in lacking and (version := _present(name, places)) != locked[name]
    }
    return {"packages": "interpreter", "other_versions": others, "missing": lacking}


def _locked(folder: Path) -> dict[str, str]:
    """The version of each package that the requirements name."""
    text = (folder / "requirements.txt").read_text(encoding="utf-8")
    return dict(re.findall(r"^([\w-]+)==([\w.]+)", text, re.MULTILINE))


def _present(name: str, places: Sequence[str]) -> str:
    """The version of a package; a module may also come from a package of another name."""
    found = next(iter(importlib.metadata.distributions(name=name, path=list(places))), None)
    return found.version if found else "unknown"


def _pip(folder: Path, venv: Path, here: str = "") -> None:
    """Install the requirements, each compared with its digest.

    Args:
        folder: the bundle.
        venv: the environment.
        here: this machine, where they are to come from the index; empty for the bundle's wheels.
    """
    python = str(venv / "bin" / "python")
    if not here:
        # pip runs from within its own wheel, so a Python without ensurepip will do. It is one of those that
        # were compared with their digests, whatever else lies beside them.
        installer = next(
            (name for name in _files(folder) if re.fullmatch(r"wheels/pip-[^/]+\.whl", name)), ""
        )
        if not installer:
            raise RunError("SHA256SUMS does not list a wheel of pip; build the bundle again", DAMAGED)
        command = [python, f"{folder / installer}/pip", "--isolated", "install", "--no-index"]
        command += ["--find-links", str(folder / "wheels")]
    else:
        if importlib.machinery.PathFinder.find_spec("pip") is None:
            raise RunError(
                f"the bundle has no wheels for {here}, and this Python has no pip to fetch them; install "
                f"python3-pip, or build the bundle again with --wheels {here}",
                MISSING_PACKAGE,
            )
        command = [sys.executable, "-m", "pip", "--python", python, "install", "--only-binary=:all:"]
        command += ["--retries", "2"]
    command += ["--quiet", "--no-input", "--no-deps", "--require-hashes", "--no-cache-dir"]
    # The self-test compiles the modules that are used, a tenth of all that there are.
    command += ["--no-compile", "--disable-pip-version-check", "--no-warn-script-location"]
    command += ["--requirement", str(folder / "requirements.txt")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        if "No space left" in done.stderr:
            raise OSError(errno.ENOSPC, "No space left on device")
        raise RunError(_reason(done.stderr, here), MISSING_PACKAGE)


def _reason(said: str, here: str) -> str:
    """The one thing in what pip said that matters.

    Args:
        said: what it said.
        here: this machine, where the packages were to come from the index; empty where from wheels.
    """
    source = "the package index" if here else "the wheels in the bundle"
    if "DO NOT MATCH" in said:
        return f"one of {source} is not the file that was locked; copy the bundle again"
    if here and ("onnection" in said or "name resolution" in said):
        return (
            f"{source} does not answer, and the bundle has no wheels for {here}; "
            f"go online, or build it again with --wheels {here}"
        )
    if "No matching distribution" in said:
        return f"{source} has nothing for this machine; README says which systems the packages are made for"
    errors = [line for line in said.splitlines() if line.startswith("ERROR:")]
    reason = (errors or said.splitlines() or ["pip said nothing"])[0].removeprefix("ERROR: ")
    return f"the packages cannot be installed from {source}: {reason}"


def _self_test(folder: Path, venv: Path) -> dict[str, Any]:
    """Let the program prove itself in its environment."""
    command = [str(venv / "bin" / "python"), str(folder / "run.py"), "--selftest"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        if "No space left" in done.stderr:
            raise OSError(errno.ENOSPC, "No space left on device")
        said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1].removeprefix("run.py: ")
        code = done.returncode if done.returncode in (DAMAGED, MISSING_PACKAGE) else SELF_TEST
        raise RunError(f"nothing was switched: {said} (exit code {done.returncode})", code)
    passed: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return passed


def _copy(folder: Path, target: Path) -> None:
    """Copy the files of the bundle, but for the wheels, which are of no use any more."""
    target.mkdir(mode=0o755)
    for name in [*_files(folder), "SHA256SUMS"]:
        if not name.startswith("wheels/"):
            (target / name).parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            shutil.copyfile(folder / name, target / name)


def _files(folder: Path) -> list[str]:
    """The names of what is in the bundle."""
    lines = (folder / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    return [line.partition("  ")[2] for line in lines]


def _version(folder: Path) -> str:
    """The name of the bundle's content."""
    return f"{_manifest(folder)['name']}-{_digest(folder / 'SHA256SUMS')}"


def _manifest(folder: Path) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    return manifest


def _digest(sums: Path) -> str:
    return hashlib.sha256(sums.read_bytes()).hexdigest()[:12]


def _named(folder: Path) -> dict[str, Any]:
    return {"version": _version(folder), "folder": str(folder)}


def _pointed(link: Path) -> str | None:
    """The version that a link names, if that is there."""
    return str(link.readlink()) if link.is_symlink() and link.is_dir() else None


def _point(link: Path, version: str) -> None:
    """Let a link name a version; whoever follows it finds the old one or the new one, and always one."""
    new = link.with_name(f".{link.name}{_PARTIAL}")
    new.unlink(missing_ok=True)
    new.symlink_to(version)
    new.replace(link)


def _prune(to: Path) -> list[str]:
    """Remove the versions that no link names."""
    kept = {_pointed(to / _CURRENT), _pointed(to / _PREVIOUS)}
    removed = []
    for path in sorted(to.iterdir()):
        if path.is_dir() and not path.is_symlink() and path.name not in kept and _is_version(path):
            shutil.rmtree(path)
            removed.append(path.name)
    return removed


def _is_version(path: Path) -> bool:
    # The folder is the owner's: only what was put there by this program is taken away.
    sums = path / "SHA256SUMS"
    return sums.is_file() and path.name.endswith(f"-{_digest(sums)}")


def _sweep(to: Path) -> None:
    """Remove what an interrupted installation left."""
    for path in to.glob(f".*{_PARTIAL}"):
        if path.is_symlink():
            path.unlink()
        else:
            shutil.rmtree(path)


@contextlib.contextmanager
def _alone(folder: Path, name: str = "") -> Iterator[None]:
    """Let one installation at a time work in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(f"another installation is going on in {folder}; wait for its end", BUSY) from None
        yield


def _system() -> str:
    """This machine, as wheels for it are called in the manifest."""
    machine = platform.machine().lower()
    if sys.platform == "darwin":
        return f"macos-{machine}"
    return f"linux-{'x86_64' if machine == 'amd64' else machine}"


def _full(where: Path) -> str:
    place = where if where.is_dir() else where.absolute().parent
    free = shutil.disk_usage(place).free >> 20
    return (
        f"the disk with {place} is full ({free} MB are free); what ran before goes on running; "
        "make room and run this again"
    )


def _told(sentence: str, code: int) -> int:
    sys.stderr.write(f"install.py: {sentence}\n")
    return code
