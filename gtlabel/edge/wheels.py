"""Fetching the wheels that go into a bundle, with pip, which knows the user's index, proxy and cache."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

from gtlabel.edge.requirements import Lock
from gtlabel.errors import BundleError

# A connection that is not there costs as long as pip tries.
_PATIENCE = ("--retries", "2")


def fetch_wheels(lock: Lock, platforms: Iterable[str], groups: Iterable[str], folder: Path) -> list[Path]:
    """Download the wheels of some platforms, each compared with its digest in the lock.

    Args:
        lock: the set.
        platforms: such as `linux-x86_64:3.11`.
        groups: of packages.
        folder: where the files go.

    Returns:
        The files, by name; the same ones every time.

    Raises:
        BundleError: if pip is not there, the index does not answer, or it has other files than are locked.
    """
    wanted: dict[str, str] = {}
    for platform in platforms:
        names = lock.wheels_for(platform, *groups)
        _download(names, platform, folder)
        wanted |= names
    for name, digest in wanted.items():
        with (folder / name).open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                raise BundleError(
                    f"{name} from the package index is not the file that gtlabel was tested with"
                )
    return [folder / name for name in sorted(wanted)]


def _download(names: dict[str, str], platform: str, folder: Path) -> None:
    # pip decides by these alone: it may run on another kind of machine.
    tags = dict.fromkeys(
        tag for name in names for tag in name.removesuffix(".whl").rpartition("-")[2].split(".")
    )
    tags.pop("any", None)
    requirements = "".join(
        f"{name.split('-')[0]}=={name.split('-')[1]} --hash=sha256:{digest}\n"
        for name, digest in names.items()
    )
    (folder / "requirements.txt").write_text(requirements, encoding="utf-8")
    command = [*_pip(), "download", "--quiet", "--no-input", *_PATIENCE]
    command += ["--disable-pip-version-check", "--no-deps", "--only-binary=:all:", "--require-hashes"]
    command += ["--implementation", "cp", "--python-version", platform.partition(":")[2]]
    command += [argument for tag in tags for argument in ("--platform", tag)]
    command += ["--dest", str(folder), "--requirement", str(folder / "requirements.txt")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BundleError(f"the wheels for {platform} cannot be fetched: {_reason(done.stderr)}")


def _pip() -> list[str]:
    """How to call pip: that beside gtlabel, or, in an environment made without one, another of this machine.

    It needs no place here: what it downloads is decided by the platform it is told, not by who runs it.
    """
    if find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    # Only CPython tells from which interpreter an environment was made.
    base = getattr(sys, "_base_executable", "") or sys.executable
    has_pip = subprocess.run([base, "-c", "import pip"], capture_output=True, check=False)
    if not has_pip.returncode:
        return [base, "-m", "pip"]
    program = shutil.which("pip") or shutil.which("pip3")
    if program is None:
        raise BundleError(
            f"the wheels cannot be fetched: pip is not installed in {sys.prefix}; install it,"
            " or leave --wheels out"
        )
    return [program]


def _reason(said: str) -> str:
    """The one sentence in what pip said that tells what is wrong."""
    if "DO NOT MATCH" in said:
        return "the package index has other files than gtlabel was tested with; use another index"
    if "No space left" in said:
        return "the disk is full"
    if "Connection" in said or "connect" in said.lower() or "resolution" in said:
        return "the package index does not answer; go online and run this again"
    errors = [line for line in said.splitlines() if line.startswith("ERROR:")]
    return (errors or said.splitlines() or ["pip said nothing"])[0].removeprefix("ERROR: ")
