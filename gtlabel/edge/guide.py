"""What a bundle says to whoever copies it: the README, and a service for systemd."""

from __future__ import annotations

import re
import textwrap

from gtlabel.edge.manifest import BundleManifest
from gtlabel.edge.presets import Preset, arguments, needs_network
from gtlabel.edge.requirements import read_lock
from gtlabel.templates import fill_template

_HOME = "/opt/gtlabel"


def service_name(name: str) -> str:
    """The file name of a bundle's unit."""
    return f"gtlabel-{name}.service"


def unit(manifest: BundleManifest, preset: Preset, settings: dict[str, str]) -> str:
    """The systemd unit, which gives the program a camera, one folder and, unless it publishes, no network.

    https://www.freedesktop.org/software/systemd/man/latest/systemd.exec.html
    """
    network = needs_network(settings)
    # Who goes through a program of the maker's may need devices that nobody here knows of.
    narrow = not settings.get("cameraCommand")
    families = "AF_UNIX AF_INET AF_INET6" if network else "AF_UNIX"
    words = [_quoted(word) for word in arguments(settings)]
    if not settings.get("thing"):
        # systemd puts the host's name there.
        words += ["--thing", "%H"]
    return fill_template(
        f"edge/{preset.name}.service",
        {
            "name": manifest.name,
            "labels": _line(", ".join(manifest.labels)),
            "folder": f"{_HOME}/{manifest.name}",
            "arguments": " ".join(words),
            "ordering": "Wants=network-online.target\nAfter=network-online.target" if network else "",
            "devices": "DevicePolicy=closed\nDeviceAllow=char-video4linux rw" if narrow else "",
            "network": ("" if network else "PrivateNetwork=yes\n") + f"RestrictAddressFamilies={families}",
        },
    )


def readme(manifest: BundleManifest, preset: Preset, settings: dict[str, str]) -> str:
    """The README."""
    title = f"{manifest.name}: a picture classifier"
    folder = f"{_HOME}/{manifest.name}"
    wheels = ", ".join(manifest.runtime.wheels)
    pythons = sorted({each.partition(":")[2] for each in manifest.runtime.wheels})
    lock = read_lock(manifest.runtime.requirements)
    pythons = pythons or sorted({each.partition(":")[2] for each in lock.platforms})
    return fill_template(
        f"edge/{preset.name}.readme",
        {
            "title": title,
            "line": "=" * len(title),
            "name": manifest.name,
            "labels": _wrapped(f"A program that tells apart: {', '.join(manifest.labels)}"),
            "accuracy": _accuracy(manifest),
            "machine": f"Python {' or '.join(pythons)} on {lock.about}",
            "folder": folder,
            "unit": service_name(manifest.name),
            "service": service_name(manifest.name).removesuffix(".service"),
            "packages": _wrapped(_packages(wheels)),
            "int8": "; model.int8.onnx computes with 8 bits" if "int8" in manifest.models else "",
            "wheels": f"\nwheels/            the packages, for {wheels}" if wheels else "",
            "network": _network(manifest.name, settings),
        },
    )


def _packages(wheels: str) -> str:
    """Where install.py takes the packages from."""
    brought = f"come from wheels/ on {wheels}; elsewhere they are" if wheels else "are"
    return (
        f"The packages {brought} those that Python has already, if none is missing that is needed: "
        "install.py tells the versions that are others than in requirements.txt, and what is missing that "
        "only some settings want. Else they come from the package index, compared with the digests in "
        "requirements.txt."
    )


def _accuracy(manifest: BundleManifest) -> str:
    """What is known of how good it is, in a line."""
    found = manifest.accuracy
    if found.fp32 is None:
        return ""
    told = f"Right on {found.fp32:.1%} of {found.pictures} pictures that it did not learn from"
    if found.int8 is not None:
        told += f", with 8 bits on {found.int8:.1%}"
    return _wrapped(f"{told}; {found.decision or 'fp32 is used'}.") + "\n"


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 110, break_long_words=False, break_on_hyphens=False)


def _network(name: str, settings: dict[str, str]) -> str:
    if needs_network(settings):
        return ""
    return (
        "The service has no network, whatever that file says. One that publishes to a broker is built with\n"
        "--set mqtt=mqtt://HOST, and one that looks at a camera of the network with --set camera=http://...;\n"
        f"or let `sudo systemctl edit gtlabel-{name}` say so:\n"
        "    [Service]\n    PrivateNetwork=no\n    RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6\n"
    )


def _line(text: str) -> str:
    """A text as the end of a line of a unit, where a backslash would join the next one to it."""
    return "".join(c if c.isprintable() else " " for c in text).rstrip("\\").replace("%", "%%")


def _quoted(word: str) -> str:
    """One argument for ExecStart=.

    https://www.freedesktop.org/software/systemd/man/latest/systemd.syntax.html#Quoting
    """
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$").replace("%", "%%")
    return word if re.fullmatch(r"[a-zA-Z0-9_./,:=-]+", word) else f'"{escaped}"'
