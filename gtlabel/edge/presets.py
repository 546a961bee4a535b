"""The kinds of devices that a bundle can be made for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from gtlabel.errors import BundleError

TargetName = Literal["bundle", "deeplens"]

# The settings that become an argument of the program; what they are called in a component's configuration.
SETTINGS = (
    "camera", "cameraLogin", "cameraCommand", "folder", "watch", "poll", "every", "threshold", "top",
    "debounce", "announce", "model", "thing", "mqtt", "mqttPasswordFile", "ca", "cert", "key", "topic",
    "queue", "unsure", "unsureBelow", "unsureBudget",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Preset:
    """What one kind of device needs.

    Attributes:
        name: the target.
        lock: the set of packages.
        camera: what the program looks at unless a person says otherwise; see its option `--camera`.
        platform: the one whose wheels come along unless a person says otherwise; empty for none.
        note: what has to be said to whoever deploys there.
        prefix: what the name of a model begins with by default.
    """

    name: TargetName
    lock: str
    camera: str
    platform: str = ""
    note: str = ""
    prefix: str = ""


PRESETS: dict[TargetName, Preset] = {
    "bundle": Preset("bundle", "default", "/dev/video0"),
    "deeplens": Preset(
        "deeplens",
        "deeplens",
        # What the maker's software writes while it runs, else the camera as any Linux has it.
        "/opt/awscam/out/ch2_out.mjpeg,/dev/video0",
        platform="linux-x86_64:3.11",
        note=(
            "the AWS DeepLens service ended on 2024-01-31, and nothing can be sent to a camera through it; "
            "this puts a model on the hardware, and was not verified on a physical unit"
        ),
        # The service took no names without it; now it is a habit.
        prefix="deeplens-",
    ),
}


def with_prefix(name: str, preset: Preset) -> str:
    """A name that begins as the preset wants it, and not twice."""
    return name if name.startswith(preset.prefix) else preset.prefix + name


def unit_settings(preset: Preset, settings: Mapping[str, str]) -> dict[str, str]:
    """What the unit tells the program: what a person set, and the preset's camera where that leaves room.

    A camera goes before a folder, so that nobody would look into one that is named.
    """
    return dict(settings) if settings.get("folder") else {"camera": preset.camera, **settings}


def arguments(settings: Mapping[str, str]) -> list[str]:
    """The arguments of the program that settings stand for, in the order of `SETTINGS`.

    Raises:
        BundleError: if there is no such setting, or a value is more than a line.
    """
    unknown = sorted(settings.keys() - set(SETTINGS))
    if unknown:
        raise BundleError(f"{unknown[0]!r} is no setting of the program; it knows {', '.join(SETTINGS)}")
    for name, value in settings.items():
        if not value.isprintable():
            raise BundleError(f"the setting {name} is {value!r}, which is not one line of text")
    given = [(name, settings[name]) for name in SETTINGS if settings.get(name)]
    return [part for name, value in given for part in (option(name), value)]


def option(setting: str) -> str:
    """The option of the program that a setting stands for: `--camera-command` for `cameraCommand`."""
    return "--" + re.sub("([A-Z])", r"-\1", setting).lower()


def needs_network(settings: Mapping[str, str]) -> bool:
    """Whether the program has anything to do outside of the device."""
    far = ("http://", "https://")
    sources = settings.get("camera", "").split(",")
    return bool(settings.get("mqtt") or settings.get("cameraCommand")) or any(
        source.strip().startswith(far) for source in sources
    )
