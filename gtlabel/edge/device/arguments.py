"""What the program is told to do on its command line.

A recipe fills the command line from texts in its configuration, so that every option takes an empty text as
"not given" and a whole number may be written as 3.0.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

# Greengrass tells a component where its nucleus listens.
IPC_SOCKET = "AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT"
PASSWORD = "GTLABEL_MQTT_PASSWORD"  # noqa: S105  # where it lies, not what it is
CAMERA_LOGIN = "GTLABEL_CAMERA_LOGIN"
_PASSWORD_IN_ADDRESS = re.compile(r"://[^/\s@:]*:[^/\s@]*@")
_EPILOG = f"""\
One of --selftest, --image, --folder and --camera (or --camera-command) is needed; a camera goes before a
folder. The password of an MQTT user is read from the variable {PASSWORD}, and user:password of
cameras of the web from {CAMERA_LOGIN}, where no file with it is named.

Exit codes: 0 done, 1 a picture or the camera could not be read, 2 wrong arguments, 3 the bundle is damaged,
4 the self-test failed, 5 a package is missing or too old, 6 results could not be delivered.
"""


@dataclass(frozen=True, slots=True)
class Broker:
    """Where an MQTT broker is, and as whom to speak to it.

    Attributes:
        tls: whether the connection is encrypted.
        password: never printed.
    """

    host: str
    port: int
    tls: bool
    user: str | None = None
    password: str | None = None

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    def __repr__(self) -> str:
        return f"Broker({self})"


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for.

    Attributes:
        cameras: the first of them that gives pictures is read.
        camera_login: a file with user:password of those of the web.
        camera_command: a program that writes MJPEG; it goes before the cameras.
        every: seconds between two pictures of a camera; 0 takes them as fast as the model is.
        threshold: the confidence under which no label is told; None leaves it to the bundle.
        debounce: N and M: a label is told when it was seen in N of the last M pictures.
        model: which of the bundle's models runs; auto is the one the bundle was built to run.
        topic: where results are published.
        ipc: whether to publish through Greengrass; auto does where a nucleus started the program.
        keep: so many results wait for a broker that is away: by default those of a minute of the fastest
            camera.
        unsure: the folder for pictures that the model is unsure of, if they are to be kept at all.
        unsure_budget: so many of them are kept per day.
    """

    selftest: bool = False
    images: tuple[Path, ...] = ()
    folder: Path | None = None
    watch: bool = False
    poll: float = 0.5
    cameras: tuple[str, ...] = ()
    camera_login: Path | None = None
    camera_command: tuple[str, ...] = ()
    every: float = 0.0
    threshold: float | None = None
    top: int = 3
    debounce: tuple[int, int] = (1, 1)
    announce: Literal["every", "changes"] = "every"
    model: Literal["auto", "fp32", "int8"] = "auto"
    thing: str | None = None
    mqtt: Broker | None = None
    mqtt_password_file: Path | None = None
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    topic: str = ""
    ipc: Literal["auto", "on", "off"] = "auto"
    keep: int = 3600
    unsure: Path | None = None
    unsure_below: float = 0.6
    unsure_budget: int = 50

    @property
    def camera(self) -> bool:
        """Whether a camera is asked for."""
        return bool(self.cameras or self.camera_command)


def parse(argv: Sequence[str] | None = None) -> Options:
    """Read the command line; what is wrong with it ends the program with exit code 2.

    No file that it names is looked for: who deploys tries the arguments out on another machine.
    """
    parser = _parser()
    given = {name: value for name, value in vars(parser.parse_args(argv)).items() if value is not None}
    given["images"] = tuple(path for path in given.pop("image", ()) if path)
    camera = bool(given.get("cameras") or given.get("camera_command"))
    kinds = {
        "--selftest": given.get("selftest"),
        "--image": given["images"],
        "--camera" if camera else "--folder": camera or given.get("folder"),
    }
    chosen = [kind for kind, there in kinds.items() if there]
    if not chosen:
        parser.error("one of --selftest, --image, --folder and --camera is needed")
    if len(chosen) > 1:
        parser.error(f"{' and '.join(chosen)} exclude each other")
    _check_company(parser, given)
    given.setdefault("thing", os.environ.get("AWS_IOT_THING_NAME") or None)
    given.setdefault("topic", f"gtlabel/{given['thing'] or platform.node()}/infer")
    if re.search(r"[+#\0]", given["topic"]):
        parser.error(f"argument --topic: {given['topic']!r} has a wildcard; results need one topic")
    return Options(**given)


def _check_company(parser: argparse.ArgumentParser, given: Mapping[str, Any]) -> None:
    """Refuse options that would do nothing without others."""
    broker: Broker | None = given.get("mqtt")
    if bool(given.get("cert")) != bool(given.get("key")):
        parser.error("--cert and --key need each other")
    for name in ("ca", "cert"):
        if given.get(name) and not (broker and broker.tls):
            parser.error(f"--{name} needs a broker with TLS, --mqtt mqtts://HOST")
    if given.get("mqtt_password_file") and not (broker and broker.user):
        parser.error("--mqtt-password-file needs the user whose password it is, --mqtt mqtt://USER@HOST")
    if given.get("camera_login") and not any(map(is_web, given.get("cameras", ()))):
        parser.error("--camera-login needs a camera of the web, --camera http://HOST/PATH")


def is_web(address: str) -> bool:
    """Whether it is an address of the web."""
    return address.lower().startswith(("http://", "https://"))


def without_logins(text: str) -> str:
    """A text as it may be printed: without who logs in at the addresses in it."""
    return re.sub(r"//[^/\s]*@", "//", text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="run.py",
        description="Classify pictures with the model in this bundle; each answer is one line of JSON.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )

    def option(name: str, kind: Callable[[str], Any], help_: str, **more: Any) -> None:
        parser.add_argument(name, type=_or_nothing(kind), help=help_, **more)

    parser.add_argument(
        "--selftest", action="store_true", default=None, help="check the model on the bundled pictures"
    )
    option("--image", Path, "classify these pictures", nargs="+", metavar="FILE")
    option("--folder", Path, "classify the pictures of a folder", metavar="DIR")
    option(
        "--watch",
        _yes,
        "with --folder: stay, and classify what is added",
        nargs="?",
        const=True,
        metavar="yes|no",
    )
    option("--poll", _seconds, "with --watch: between two looks (0.5)", metavar="SECONDS")
    option(
        "--camera",
        _cameras,
        "classify what a camera sees: an MJPEG file or FIFO, an http address of an MJPEG stream or of the "
        "newest JPEG, /dev/videoN (read by ffmpeg), - for stdin; of several after commas the first that "
        "gives pictures",
        metavar="SOURCE",
        dest="cameras",
    )
    option("--camera-login", Path, f"user:password of http cameras (${CAMERA_LOGIN})", metavar="FILE")
    option("--camera-command", _command, "a program that writes MJPEG to its stdout", metavar="COMMAND")
    option("--every", _seconds, "with a camera: between two answers (as fast as it goes)", metavar="SECONDS")
    option("--threshold", _share, "no label below this confidence (the bundle's)", metavar="P")
    option("--top", _positive, "how many labels to list (3)", metavar="K")
    option("--debounce", _n_of_m, "tell a label when N of the last M pictures had it (1/1)", metavar="N/M")
    option(
        "--announce",
        _one_of("every", "changes"),
        "tell every answer (default) or only changes",
        metavar="WHICH",
    )
    option(
        "--model", _one_of("auto", "fp32", "int8"), "which model of the bundle runs (auto)", metavar="WHICH"
    )
    option("--thing", str, "the device's name ($AWS_IOT_THING_NAME)", metavar="NAME")
    option("--mqtt", _broker, "publish to this broker, mqtt://[USER@]HOST[:PORT] or mqtts://…", metavar="URL")
    option("--mqtt-password-file", Path, f"that user's password (${PASSWORD})", metavar="FILE")
    option("--ca", Path, "with mqtts: who vouches for the broker (the system's)", metavar="FILE")
    option("--cert", Path, "with mqtts: this device's certificate", metavar="FILE")
    option("--key", Path, "with mqtts: the key of this device's certificate", metavar="FILE")
    option("--topic", str, "where to publish (gtlabel/THING/infer)", metavar="TOPIC")
    option(
        "--ipc", _one_of("auto", "on", "off"), "publish through Greengrass (auto: on a core)", metavar="WHEN"
    )
    option(
        "--queue",
        _positive,
        "so many results wait for a broker that is away (3600)",
        metavar="N",
        dest="keep",
    )
    option("--unsure", Path, "keep pictures that the model is unsure of in this folder", metavar="DIR")
    option("--unsure-below", _share, "unsure means a confidence below this (0.6)", metavar="P")
    option("--unsure-budget", _positive, "keep so many of them per day (50)", metavar="N")
    return parser


def _or_nothing(kind: Callable[[str], Any]) -> Callable[[str], Any]:
    def convert(text: str) -> Any:
        return kind(text.strip()) if text.strip() else None

    return convert


def _share(text: str) -> float:
    value = _number(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return value


def _positive(text: str) -> int:
    # Configuration on a device may turn 3 into 3.0.
    value = _number(text)
    if not 1 <= value < 2**53 or value != int(value):
        raise argparse.ArgumentTypeError(f"{text} is not a whole number above 0")
    return int(value)


def _seconds(text: str) -> float:
    value = _number(text)
    if not 0 <= value <= 86_400:
        raise argparse.ArgumentTypeError(f"{text} is not a time from 0 to 86400 seconds")
    return value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is not a number") from None


def _n_of_m(text: str) -> tuple[int, int]:
    first, slash, second = text.partition("/")
    if not slash:
        raise argparse.ArgumentTypeError(f"{text} is not of the form N/M, such as 3/5")
    n, m = _positive(first), _positive(second)
    if n > m or m > 1000:
        raise argparse.ArgumentTypeError(f"{text} asks for {n} of {m}; M is at most 1000 and N at most M")
    return n, m


def _one_of(*words: str) -> Callable[[str], str]:
    def convert(text: str) -> str:
        if text not in words:
            raise argparse.ArgumentTypeError(f"{text} is none of {', '.join(words)}")
        return text

    return convert


def _yes(text: str) -> bool:
    return _one_of("yes", "no")(text) == "yes"


def _cameras(text: str) -> tuple[str, ...]:
    cameras = tuple(part.strip() for part in text.split(",") if part.strip())
    for camera in cameras:
        scheme, found, _ = camera.partition("://")
        # Neither is repeated: it may hold a password.
        if found and not is_web(camera):
            raise argparse.ArgumentTypeError(
                f"{scheme}:// is not read; have a program read it that writes MJPEG, with --camera-command"
            )
        if found and "@" in re.split("[/?#]", camera.split("://")[1])[0]:
            raise argparse.ArgumentTypeError(
                "an address with a login is seen by everybody on the device; give user:password in "
                f"{CAMERA_LOGIN} or in a file there, with --camera-login FILE (in a deployment cameraLogin)"
            )
    return cameras


def _command(text: str) -> tuple[str, ...]:
    try:
        words = tuple(shlex.split(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"this is no command ({error})") from None
    if any(_PASSWORD_IN_ADDRESS.search(word) for word in words):
        raise argparse.ArgumentTypeError(
            "a command with a password is seen by everybody on the device; put it into a script there, which "
            "holds the password, and name the script"
        )
    return words


def _broker(text: str) -> Broker:
    # What is wrong with it is told without repeating it: it may hold a password.
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        raise argparse.ArgumentTypeError("this is no address of a broker") from None
    if url.scheme not in ("mqtt", "mqtts") or not url.hostname:
        raise argparse.ArgumentTypeError(
            "an address of a broker looks like mqtt://host:1883 or mqtts://host:8883"
        )
    if url.password is not None:
        raise argparse.ArgumentTypeError(
            f"an address with a password is seen by everybody on the device; give the password in {PASSWORD} "
            "or in a file there, with --mqtt-password-file FILE (in a deployment mqttPasswordFile)"
        )
    tls = url.scheme == "mqtts"
    user = unquote(url.username) if url.username else None
    password = os.environ.get(PASSWORD) or None
    return Broker(url.hostname, port or (8883 if tls else 1883), tls, user, password)
