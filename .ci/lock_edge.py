"""Write which wheels a device gets: gtlabel/edge/locks/*.json, from what the package index has now.

Run:
    python .ci/lock_edge.py            # asks PyPI, through pip; nothing is downloaded
    python .ci/lock_edge.py --check    # says whether the index still has what is locked; exit 1 if not

Each file has one version of each package, the SHA-256 of the wheel for every platform and Python, and which
of them a platform gets. Run it after changing a version below, then run tests/test_bundle_wheels.py.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

LOCKS = Path(__file__).resolve().parent.parent / "gtlabel" / "edge" / "locks"
# In the order of preference; pip takes what it is told and knows nothing of the device.
_GLIBC = {
    "2.28": ("manylinux_2_28", "manylinux_2_27", "manylinux_2_26", "manylinux_2_24"),
    "2.17": (
        "manylinux_2_17",
        "manylinux2014",
        "manylinux_2_12",
        "manylinux2010",
        "manylinux_2_5",
        "manylinux1",
    ),
}
_MACOS = [f"macosx_{release}_0_{kind}" for release in range(14, 10, -1) for kind in ("arm64", "universal2")]
_MACOS += [f"macosx_10_{release}_universal2" for release in range(16, 8, -1)]
PLATFORMS = {
    "linux-x86_64": [f"{tag}_x86_64" for tags in _GLIBC.values() for tag in tags],
    "linux-aarch64": [f"{tag}_aarch64" for tags in _GLIBC.values() for tag in tags],
    "macos-arm64": _MACOS,
}
OLD_LINUX = {"linux-x86_64": [f"{tag}_x86_64" for tag in _GLIBC["2.17"]]}
GROUPS = {
    "run": ["onnxruntime", "numpy", "pillow", "paho-mqtt"],
    "greengrass": ["awsiotsdk", "awscrt"],
    "installer": ["pip"],
}
# The SDK wants exactly this release of its C library.
_GREENGRASS = ["awsiotsdk==1.31.0", "awscrt==0.36.1"]
SETS: dict[str, dict[str, Any]] = {
    "default": {
        "about": "Linux with glibc 2.28 (Debian 10, Ubuntu 20.04, Raspberry Pi OS 11) or newer, macOS 14",
        "pythons": ["3.11", "3.12", "3.13"],
        "platforms": PLATFORMS,
        # 1.28 is the last release whose wheels have nothing in them that reports to the maker.
        "wanted": ["onnxruntime<1.29", "numpy<2.5", "pillow<14", "paho-mqtt<3", *_GREENGRASS, "pip"],
    },
    "deeplens": {
        "about": "Linux with glibc 2.17 or newer on x86-64, which Ubuntu 16.04 on an AWS DeepLens (2.23) is",
        # The newest runtime that was built for so old a system has no wheel for a newer Python.
        "pythons": ["3.11"],
        "platforms": OLD_LINUX,
        "wanted": ["onnxruntime<1.17", "numpy<2", "pillow<13", "paho-mqtt<3", *_GREENGRASS, "pip"],
    },
}


def resolve(wanted: list[str], python: str, tags: list[str]) -> dict[str, tuple[str, str, str]]:
    """By package: version, file name and SHA-256 of the wheel that pip would take."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--ignore-installed"]
        command += ["--no-deps", "--only-binary=:all:", "--target", folder, "--report", str(report)]
        command += ["--implementation", "cp", "--python-version", python]
        command += [argument for tag in tags for argument in ("--platform", tag)]
        # What else this machine takes packages from is nothing that a device can be told.
        elsewhere = ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "PIP_INDEX_URL")
        environ = {name: value for name, value in os.environ.items() if name not in elsewhere}
        command += ["--index-url", "https://pypi.org/simple"]
        subprocess.run([*command, *wanted], check=True, env={**environ, "PIP_CONFIG_FILE": os.devnull})
        found = json.loads(report.read_bytes())["install"]
    return {
        each["metadata"]["name"].lower().replace("_", "-"): (
            each["metadata"]["version"],
            each["download_info"]["url"].rpartition("/")[2],
            each["download_info"]["archive_info"]["hashes"]["sha256"],
        )
        for each in found
    }


def lock(wishes: dict[str, Any]) -> dict[str, Any]:
    """One lock file's content."""
    wanted: list[str] = wishes["wanted"]
    versions: dict[str, str] = {}
    wheels: dict[str, str] = {}
    platforms: dict[str, list[str]] = {}
    for python in wishes["pythons"]:
        for platform, tags in wishes["platforms"].items():
            found = resolve(wanted, python, tags)
            if not versions:
                versions = {name: version for name, (version, _, _) in sorted(found.items())}
                # From here on everybody gets the same versions, or there is no lock.
                wanted = [f"{name}=={version}" for name, version in versions.items()]
            wheels |= {file: digest for _, file, digest in found.values()}
            platforms[f"{platform}:{python}"] = sorted(file for _, file, _ in found.values())
    return {
        "about": wishes["about"],
        "groups": GROUPS,
        "versions": versions,
        "platforms": dict(sorted(platforms.items())),
        "wheels": dict(sorted(wheels.items())),
    }


def main() -> int:
    """Write the files, or compare them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing, compare")
    options = parser.parse_args()
    outdated = 0
    for name, wishes in SETS.items():
        path = LOCKS / f"{name}.json"
        if options.check:
            kept = json.loads(path.read_bytes())
            pinned = [f"{package}=={version}" for package, version in kept["versions"].items()]
            same = lock({**wishes, "wanted": pinned})["wheels"] == kept["wheels"]
            print(f"{path.name}: {'the index has all of it' if same else 'differs from the index'}")
            outdated += not same
            continue
        content = lock(wishes)
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        print(
            f"{path.name}: " + ", ".join(f"{each} {version}" for each, version in content["versions"].items())
        )
    return 1 if outdated else 0


if __name__ == "__main__":
    sys.exit(main())
