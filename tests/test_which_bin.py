"""The sample that turns a camera's results into colors, as a process beside a real broker."""

from __future__ import annotations

import json
import os
import pty
import re
import runpy
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pytest
from broker_parts import Broker, mosquitto

README = (Path(__file__).parents[1] / "samples" / "which_bin" / "README.md").read_text()
PROGRAM = Path(__file__).parents[1] / "samples" / "which_bin" / "which_bin.py"

# What stands in for the library of a Sense HAT: it writes down what the lamps would show.
HAT = """
import os
import time


class SenseHat:
    def __init__(self):
        if "NO_HAT" in os.environ:
            raise OSError("Cannot detect RPi-Sense FB device")

    def clear(self, color=()):
        print("lamps", *color, flush=True)
        while os.path.exists(os.environ.get("HELD", "")):
            time.sleep(0.01)

    def show_letter(self, letter, text_colour):
        print("letter", letter, *text_colour, flush=True)
"""


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with mosquitto(tmp_path_factory.mktemp("broker"), extra=["log_type all"]) as running:
        yield running


@dataclass
class Light:
    """The program, and what it said."""

    process: subprocess.Popen[str]
    out: IO[str]
    listening = "listening to gtlabel/+/infer at 127.0.0.1\n"

    def line(self) -> str:
        return self.out.readline().rstrip()

    def listens(self) -> None:
        assert self.process.stderr is not None
        assert self.process.stderr.readline() == self.listening

    def end(self) -> str:
        """End it as systemd does; the rest of what it said on stderr."""
        self.process.send_signal(signal.SIGTERM)
        _, said = self.process.communicate(timeout=120)
        assert self.process.returncode == 0
        return said


@contextmanager
def light(broker: Broker, *options: str, screen: bool = False, **environ: str) -> Iterator[Light]:
    """The program, listening."""
    command = [sys.executable, str(PROGRAM), "--seconds", "0.01", "--broker", broker.url, *options]
    ours, theirs = pty.openpty() if screen else os.pipe()
    process = subprocess.Popen(
        command, stdout=theirs, stderr=subprocess.PIPE, text=True, env={**os.environ, **environ}
    )
    os.close(theirs)
    # Who waits for a line that never comes gets the end of the file.
    overdue = threading.Timer(240, process.kill)
    overdue.start()
    try:
        with os.fdopen(ours) as out:
            running = Light(process, out)
            running.listens()
            yield running
    finally:
        overdue.cancel()
        process.kill()
        process.communicate()


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def result(label: str | None, confidence: Any = 0.934, thing: str = "camera-1") -> str:
    """A result as the bundle's program publishes it."""
    top = [{"label": "Compost", "confidence": 0.934}, {"label": "Landfill", "confidence": 0.066}]
    model, ts = "0f" * 32, "2026-11-22T12:00:00.000+00:00"
    return json.dumps(
        {"label": label, "confidence": confidence, "top": top, "model": model, "thing": thing, "ts": ts}
    )


def test_each_bin_has_its_color_on_a_screen(broker: Broker) -> None:
    with light(broker, screen=True) as running:
        for label, color in (
            ("Compost", 42),
            ("Recycle", 44),
            ("Recycling", 44),
            ("Landfill", 41),
            ("Cup", 100),
        ):
            broker.publish("gtlabel/camera-1/infer", result(label))
            assert running.line() == f"\033[1;97;{color}m {label:^10} \033[0m  93%  camera-1"


def test_what_goes_to_a_file_is_plain(broker: Broker) -> None:
    with light(broker) as running:
        broker.publish("gtlabel/kitchen/infer", result("Compost", 1.0, "kitchen"))
        assert running.line() == "Compost    100%  kitchen"


def test_unsure_results_and_strange_messages_are_passed_over(broker: Broker) -> None:
    with light(broker) as running:
        for message in ("no JSON", "[]", "7", b"\xff", "{}", '{"label": 3}', result(None)):
            broker.publish("gtlabel/camera-1/infer", message)
        broker.publish("another/topic", result("Compost"))
        broker.publish("gtlabel/camera-1/infer", result("Landfill", "very"))
        assert running.line() == "Landfill         camera-1"
        assert running.end() == ""


def test_a_sense_hat_shows_the_color_and_then_a_question_mark(broker: Broker, tmp_path: Path) -> None:
    (tmp_path / "sense_hat.py").write_text(HAT)
    with light(broker, PYTHONPATH=str(tmp_path)) as running:
        assert running.line() == "letter ? 255 110 0"
        broker.publish("gtlabel/camera-1/infer", result("Recycle"))
        assert [running.line(), running.line()] == ["lamps 0 0 255", "letter ? 255 110 0"]
        running.end()
        assert running.line() == "lamps"
    with light(broker, PYTHONPATH=str(tmp_path), NO_HAT="1") as running:
        broker.publish("gtlabel/camera-1/infer", result("Recycle"))
        assert running.line() == "Recycle     93%  camera-1"


def test_of_the_results_that_came_while_lamps_showed_one_only_the_newest_follows(
    broker: Broker, tmp_path: Path
) -> None:
    (tmp_path / "sense_hat.py").write_text(HAT)
    held = tmp_path / "held"
    held.touch()
    with light(broker, "--name", "busy", PYTHONPATH=str(tmp_path), HELD=str(held)) as running:
        assert running.line().startswith("letter")
        broker.publish("gtlabel/camera-1/infer", result("Compost"))
        assert running.line() == "lamps 0 255 0"
        for label in ("Landfill", "Compost", "Recycle"):
            broker.publish("gtlabel/camera-1/infer", result(label))
        # The program confirms a message when it has taken it.
        wait_until(lambda: broker.log.count("Received PUBACK from busy") == 4)
        held.unlink()
        assert [running.line(), running.line()] == ["letter ? 255 110 0", "lamps 0 0 255"]
        assert running.line().startswith("letter")


def test_words_are_written_for_every_result(broker: Broker) -> None:
    with light(broker, "--seconds", "60") as running:
        for number in range(20):
            broker.publish("gtlabel/camera-1/infer", result(f"Class {number}"))
        assert [running.line().split("  ")[0] for _ in range(20)] == [
            f"Class {number}" for number in range(20)
        ]


def test_it_comes_back_after_an_outage_of_the_broker(broker: Broker) -> None:
    with light(broker) as running:
        broker.stop()
        assert running.process.stderr is not None
        assert running.process.stderr.readline() == "no connection to 127.0.0.1; trying again\n"
        broker.start()
        # It may have tried while the broker was away.
        while (said := running.process.stderr.readline()) != running.listening:
            assert said == "127.0.0.1 cannot be reached; trying again\n"
        broker.publish("gtlabel/camera-1/infer", result("Compost"))
        assert running.line() == "Compost     93%  camera-1"


def test_a_broker_with_tls_gets_the_certificate(tmp_path: Path) -> None:
    with mosquitto(tmp_path, tls=True) as broker:
        ours = broker.certificates
        assert ours is not None
        files = ["--ca", str(ours.ca), "--cert", str(ours.cert), "--key", str(ours.key)]
        with light(broker, *files, "--name", "bin-1") as running:
            broker.publish("gtlabel/camera-1/infer", result("Landfill"))
            assert running.line() == "Landfill    93%  camera-1"
        assert "as bin-1 (p2, c1, k60, u'camera')" in broker.log


def test_a_broker_with_passwords_gets_one_that_no_list_of_processes_shows(tmp_path: Path) -> None:
    subprocess.run(["mosquitto_passwd", "-b", "-c", str(tmp_path / "users"), "bin", "secret"], check=True)
    with mosquitto(tmp_path, extra=[f"password_file {tmp_path / 'users'}"]) as broker:
        url = broker.url.replace("//", "//bin@")
        with light(broker, "--broker", url, "--name", "bin-1", WHICH_BIN_PASSWORD="secret") as running:
            assert running.end() == ""
        assert "as bin-1 (p2, c1, k60, u'bin')" in broker.log
        refused = pytest.raises(AssertionError, match="127.0.0.1 refuses us: Not authorized")
        with refused, light(broker, "--broker", url, WHICH_BIN_PASSWORD="guessed"):
            pass


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("--broker 192.168.1.5", "--broker: 192.168.1.5 is no broker; name one such as mqtt://192.168.1.5"),
        ("--broker mqtt://h:abc", "--broker: mqtt://h:abc is no broker"),
        ("--broker mqtt://bin:s3cret@h:abc", "--broker: h:abc is no broker"),
        ("--broker mqtt://bin:s3cret@h", "give it in WHICH_BIN_PASSWORD"),
        ("--broker mqtt://h --ca ca.pem", "--ca: only a broker with TLS looks at it"),
        ("--broker mqtts://h --cert no.pem", "--cert and --key need each other"),
        ("--seconds -1", "--seconds: -1 is not a time from 0 to 3600 seconds"),
        ("--seconds nan", "--seconds: nan is not a time"),
    ],
)
def test_a_mistake_is_told_before_anything_else(options: str, sentence: str) -> None:
    which_bin = runpy.run_path(str(PROGRAM))
    mistake = which_bin["mistake_in"](which_bin["parser"]().parse_args(options.split()))
    assert sentence in mistake
    assert "s3cret" not in mistake


def test_a_mistake_gets_one_sentence() -> None:
    for options, code, sentence in (
        (["--seconds", "-1"], 2, "which_bin.py: error: argument --seconds: -1 is not a time"),
        (["--broker", "mqtts://h", "--ca", "no.pem"], 1, "--ca, --cert or --key cannot be used: [Errno 2]"),
    ):
        ended = subprocess.run([sys.executable, str(PROGRAM), *options], capture_output=True, text=True)
        assert ended.stderr.splitlines()[-1].startswith(sentence)
        assert "Traceback" not in ended.stderr
        assert ended.returncode == code


def test_what_its_readme_has_one_try_is_shown(broker: Broker) -> None:
    (line,) = re.findall(r"^mosquitto_pub (.*)$", README, re.MULTILINE)
    arguments = shlex.split(line)
    message = dict(zip(arguments[::2], arguments[1::2], strict=True))
    with light(broker) as running:
        broker.publish(message["-t"], message["-m"])
        shown = running.line()
    assert shown == "Compost     93%  kitchen"
    assert shown in README


def test_the_policy_in_its_readme_lets_a_bin_listen_and_nothing_else() -> None:
    policy = json.loads(README.split("bin-policy.json <<END\n")[1].split("END\n")[0])
    rights = {
        statement["Action"]: statement["Resource"].split(":", 5)[5] for statement in policy["Statement"]
    }
    assert rights == {
        "iot:Connect": "client/bin-1",
        "iot:Subscribe": "topicfilter/gtlabel/+/infer",
        "iot:Receive": "topic/gtlabel/*/infer",
    }


def test_the_options_in_its_readme_are_those_of_the_program() -> None:
    calls = re.findall(r"which_bin\.py (.*)", README)
    helped = subprocess.run(
        [sys.executable, str(PROGRAM), "--help"], capture_output=True, text=True, check=True
    )
    assert set(re.findall(r"--[a-z]+", " ".join(calls))) <= set(re.findall(r"--[a-z]+", helped.stdout))
