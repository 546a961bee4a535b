"""Devices from the command line: left running in a thing group, read, stopped, ended with their emulator."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from device_parts import deploy_to, eventually, gone
from edge_parts import other_recipe
from programs import ending

from gtlabel.aws import Aws
from gtlabel.emulator.api import Context
from gtlabel.emulator.child import Address
from gtlabel.emulator.child import stop as end
from gtlabel.emulator.detached import runs, stop
from gtlabel.emulator.environment import environ, session
from gtlabel.emulator.state import running_emulators
from gtlabel.errors import EdgeError

GTLABEL = [sys.executable, "-m", "gtlabel"]
DEVICES = ("front", "back")


def command(where: Address, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `gtlabel local …` at an emulator."""
    run = subprocess.run(
        [*GTLABEL, "local", *arguments],
        env={**os.environ, **where.environ},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    return run


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Address]:
    """An emulator that may be ended."""
    state = tmp_path / "state"
    up = [*GTLABEL, "local", "up", "--port", "0", "--no-portal", "--detach", "--state", str(state)]
    url = subprocess.run(up, capture_output=True, text=True, check=True, timeout=120).stdout.strip()
    yield Address(url, environ(url, Context()))
    for emulator in running_emulators():
        if emulator.url == url:
            end(emulator)


def printed(root: Path) -> str:
    with suppress(FileNotFoundError):
        return (root / "work" / "app" / "stdout.log").read_text()
    return ""


def test_a_device_ends_at_ctrl_c(gtlabel_server: Address, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*GTLABEL, "local", "device", "hand", "--root", str(tmp_path / "hand")],
        env={**os.environ, **gtlabel_server.environ},
        stderr=subprocess.PIPE,
        text=True,
    )
    with ending(process):
        assert process.stderr is not None
        assert process.stderr.readline() == "the device hand waits for deployments; it stops at Ctrl-C\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
        assert process.stderr.read() == ""
    assert not runs(tmp_path / "hand")


def test_two_devices_of_a_group_are_left_running_read_and_ended(own_server: Address, tmp_path: Path) -> None:
    roots = {name: tmp_path / name for name in DEVICES}
    try:
        pids = {}
        for name, root in roots.items():
            started = command(
                own_server, "device", name, "--group", "cameras", "--root", str(root), "--detach"
            ).stderr
            pids[name] = int(re.findall(r"runs as process (\d+);", started)[0])
            assert f"gtlabel local device {name} --root {root} --stop" in " ".join(started.split())
        aws = Aws(session("us-east-1"), own_server.url)
        members = aws.iot.list_things_in_thing_group(thingGroupName="cameras")["things"]
        assert sorted(members) == sorted(DEVICES)

        deploy_to(
            aws,
            "thinggroup/cameras",
            other_recipe("app", run='echo "{iot:thingName} $$"; echo lens >&2; exec sleep 600'),
        )
        eventually(lambda: all(re.fullmatch(rf"{name} \d+\n", printed(root)) for name, root in roots.items()))
        programs = {name: int(printed(root).split()[1]) for name, root in roots.items()}

        front = ("--root", str(roots["front"]))
        assert command(own_server, "logs", *front).stdout.splitlines() == [
            f"app stdout | front {programs['front']}",
            "app stderr | lens",
        ]
        command(own_server, "device", "front", *front, "--stop")
        assert gone(pids["front"])
        assert gone(programs["front"])
        with pytest.raises(EdgeError, match="no device runs on"):
            stop(roots["front"])
        assert not gone(programs["back"])

        command(own_server, "down")
        assert gone(pids["back"])
        assert gone(programs["back"])
    finally:
        for root in roots.values():
            with suppress(EdgeError):
                stop(root)
