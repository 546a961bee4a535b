"""The packages that a device needs, with their versions and digests: `locks/*.json`.

The files are written by `.ci/lock_edge.py`. Of the runtime's own dependencies none is among them: running a
network imports only numpy. Packages are installed with `--no-deps` for that reason.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from gtlabel.errors import BundleError

# What the program cannot do without; `greengrass` speaks to a nucleus, `installer` installs the others.
RUN, GREENGRASS, INSTALLER = "run", "greengrass", "installer"
# The one of the first that only who publishes to a broker needs.
MQTT = "paho-mqtt"
# Debian 12 and Raspberry Pi OS 12 have it, and every set has wheels for it.
DEFAULT_PYTHON = "3.11"
_PLATFORM = re.compile(r"(?P<system>[a-z]+-[a-z0-9_]+)(?::(?P<python>3\.\d+))?")


@dataclass(frozen=True, slots=True)
class Lock:
    """One set of packages.

    Attributes:
        name: of the set.
        about: which machines it is for.
        groups: the packages by what they are for.
        versions: the version of each package.
        platforms: the file names of the wheels for each platform, such as `linux-x86_64:3.11`.
        wheels: the SHA-256 of each wheel, in hexadecimal.
    """

    name: str
    about: str
    groups: Mapping[str, tuple[str, ...]]
    versions: Mapping[str, str]
    platforms: Mapping[str, tuple[str, ...]]
    wheels: Mapping[str, str]

    def requirements(self, *groups: str) -> str:
        """A requirements file with the digests of the wheels for every platform.

        https://pip.pypa.io/en/stable/topics/secure-installs/#hash-checking-mode
        """
        lines = []
        for package in sorted(self._members(groups)):
            digests = sorted({self.wheels[file] for file in self.wheels if _package(file) == package})
            hashes = "".join(f" \\\n    --hash=sha256:{digest}" for digest in digests)
            lines.append(f"{package}=={self.versions[package]}{hashes}\n")
        return "".join(lines)

    def wheels_for(self, platform: str, *groups: str) -> dict[str, str]:
        """The wheels of one platform by file name, with their digests."""
        members = self._members(groups)
        names = (name for name in self.platforms[platform] if _package(name) in members)
        return {name: self.wheels[name] for name in names}

    def chosen(self, text: str) -> tuple[str, ...]:
        """The platforms that a person means by `linux-x86_64:3.12,linux-aarch64`.

        Raises:
            BundleError: if one of them is none that has wheels here.
        """
        found = []
        for part in filter(None, (part.strip() for part in text.split(","))):
            match = _PLATFORM.fullmatch(part)
            platform = f"{match['system']}:{match['python'] or DEFAULT_PYTHON}" if match else part
            if platform not in self.platforms:
                raise BundleError(
                    f"there are no wheels for {part!r} in the {self.name} set; it has "
                    f"{', '.join(sorted(self.platforms))} (without a Python, {DEFAULT_PYTHON} is meant)"
                )
            found.append(platform)
        if not found:
            raise BundleError(f"name platforms such as linux-x86_64:{DEFAULT_PYTHON}, separated by commas")
        return tuple(dict.fromkeys(found))

    def _members(self, groups: Collection[str]) -> frozenset[str]:
        return frozenset(package for group in groups for package in self.groups[group])


@cache
def read_lock(name: str = "default") -> Lock:
    """The set of that name: `default`, or `deeplens` for systems as old as 2012."""
    document = json.loads((files("gtlabel.edge") / "locks" / f"{name}.json").read_bytes())
    return Lock(
        name=name,
        about=document["about"],
        groups={group: tuple(members) for group, members in document["groups"].items()},
        versions=document["versions"],
        platforms={platform: tuple(names) for platform, names in document["platforms"].items()},
        wheels=document["wheels"],
    )


def _package(file: str) -> str:
    """The package that a wheel is of."""
    return file.partition("-")[0].replace("_", "-").lower()
