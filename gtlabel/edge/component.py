"""A bundle as a Greengrass V2 component: its recipe, and what any recipe must obey.

Recipe format 2020-01-25, https://docs.aws.amazon.com/greengrass/v2/developerguide/component-recipe-reference.html;
what the two nuclei make of it: `contract/deployment.md` section 3.2.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from gtlabel.edge.bundle import Bundle
from gtlabel.edge.device.arguments import without_logins
from gtlabel.edge.presets import option
from gtlabel.edge.recipes import (
    FORMAT_VERSION,
    VERSION,
    artifact_uri,
    check_recipe,
    format_problems,
    portability_problems,
)
from gtlabel.edge.settings import problem_in
from gtlabel.errors import RecipeError
from gtlabel.uris import S3Uri

__all__ = [
    "artifact_uri",
    "check_recipe",
    "checked_configuration",
    "component_recipe",
    "configured",
    "content_digest",
    "default_configuration",
    "format_problems",
    "known_content",
    "next_version",
    "portability_problems",
    "printable",
    "settings_in",
]

# The prefix was the DeepLens service's rule; it is only a habit now (contract/deployment.md 1.3).
DEFAULT_NAME = "deeplens-classifier"
# macOS is no Greengrass platform of the lite nucleus; developers run the emulated device on it.
_SYSTEMS = ("linux", "darwin")
PUBLISHER = "gtlabel"

# What the program is called with; the names are those of the configuration.
_ARGUMENTS = (
    *("folder", "watch", "poll", "camera", "cameraLogin", "cameraCommand", "every", "threshold", "top"),
    *("debounce", "announce", "model", "mqtt", "mqttPasswordFile", "ca", "cert", "key", "topic", "ipc"),
    *("queue", "unsure", "unsureBelow", "unsureBudget"),
)
# What lies in the configuration for us and for the nucleus, and is nobody's setting.
_OWN = ("accessControl", "content")
_TOPIC = "gtlabel/{iot:thingName}/infer"
# Packages are unpacked onto slow cards; the nucleus's own 120 seconds are not enough for that.
_INSTALL_SECONDS = 900
# An environment is a quarter of a gigabyte: the three that were used last are kept, to go back to.
_TIDY = 'ls -dt venv-* | tail -n +4 | while read -r old; do rm -rf "$old"; done'


def component_recipe(
    bundle: Bundle,
    artifact: S3Uri,
    *,
    name: str,
    version: str,
    configuration: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The recipe of a bundle that lies at `artifact`, fit for the classic and the lite nucleus.

    Installing makes a virtual environment and runs the self-test in it, so a device that computes something
    else never starts the program.

    Args:
        bundle: what the component runs.
        artifact: where its ZIP lies; the file name there decides the folder it unpacks to.
        name: the component's name.
        version: the component's version.
        configuration: defaults that replace those of `default_configuration`.

    Raises:
        RecipeError: if a name or version is none that Greengrass takes.
    """
    unpacked = "{artifacts:decompressedPath}/" + artifact.name.removesuffix(".zip")
    # Named after what it is made of: a version that changes nothing else finds it again.
    environment = f"venv-{bundle.sha256[:12]}"
    given = " ".join(f'{option(key)} "{{configuration:/{key}}}"' for key in _ARGUMENTS)
    install = f'"{{configuration:/python}}" "{unpacked}/install.py" --venv "{{work:path}}/{environment}"'
    lifecycle = {
        "Setenv": {"ORT_DISABLE_TELEMETRY": "1"},
        "install": {
            "Script": f'cd "{{work:path}}"\n{install} || exit\ntouch {environment}\n{_TIDY}',
            "Timeout": _INSTALL_SECONDS,
        },
        "run": {
            "Script": f'exec "{{work:path}}/{environment}/bin/python" -u "{unpacked}/run.py" {given} '
            '--thing "{iot:thingName}"'
        },
    }
    recipe: dict[str, Any] = {
        "RecipeFormatVersion": FORMAT_VERSION,
        "ComponentName": name,
        "ComponentVersion": version,
        "ComponentDescription": f"Tells apart {', '.join(bundle.manifest.labels)}"[:200],
        "ComponentPublisher": PUBLISHER,
        "ComponentConfiguration": {
            "DefaultConfiguration": {**default_configuration(bundle, name), **(configuration or {})}
        },
        "Manifests": [
            {
                "Name": system,
                "Platform": {"os": system, "runtime": "*"},
                "Lifecycle": lifecycle,
                "Artifacts": [{"Uri": str(artifact), "Unarchive": "ZIP", "Permission": {"Read": "OWNER"}}],
            }
            for system in _SYSTEMS
        ],
    }
    recipe["ComponentConfiguration"]["DefaultConfiguration"]["content"] = content_digest(bundle, recipe)
    problems = check_recipe(recipe)
    if problems:
        raise RecipeError(f"the recipe of {name} {version} would be refused: " + "; ".join(problems))
    return recipe


def default_configuration(bundle: Bundle, name: str) -> dict[str, Any]:
    """What a deployment may change; values are texts because numbers come back as floats.

    An empty text is "not given" to the program, which then has its own default.
    """
    return {
        "python": "python3",
        "folder": "images",
        "watch": "yes",
        "poll": "",
        "camera": "",
        # Where on the device user:password of the camera lies.
        "cameraLogin": "",
        "cameraCommand": "",
        "every": "",
        "threshold": f"{bundle.manifest.threshold:g}",
        "top": "3",
        "debounce": "",
        "announce": "every",
        "model": "auto",
        "mqtt": "",
        # These four are files on the device.
        "mqttPasswordFile": "",
        "ca": "",
        "cert": "",
        "key": "",
        "topic": "",
        "ipc": "auto",
        "queue": "",
        "unsure": "",
        "unsureBelow": "",
        "unsureBudget": "",
        "accessControl": _access(name, _TOPIC),
    }


def checked_configuration(
    recipe: Mapping[str, Any],
    configuration: Mapping[str, Any],
    models: Collection[str] | None = None,
) -> dict[str, Any]:
    """What a deployment sets of a recipe's configuration, in the form in which it reaches the program.

    Numbers become texts, and a topic of one's own comes with the right to publish to it.

    Args:
        recipe: one that `component_recipe` wrote.
        configuration: values by name.
        models: the precisions of the networks in its bundle; None where nobody knows.

    Raises:
        RecipeError: if a name is none of the recipe's, or a value cannot work.
    """
    known = [key for key in _defaults(recipe) if key not in _OWN]
    values: dict[str, Any] = {}
    for key, value in configuration.items():
        if key not in known:
            raise RecipeError(f"the component has no setting {key!r}; it has {', '.join(known)}")
        if isinstance(value, bool):
            values[key] = "yes" if value else "no"
        elif isinstance(value, str | int | float):
            values[key] = str(value)
        else:
            raise RecipeError(f"the setting {key!r} must be a text, not {value!r}")
        if key == "topic" and values[key].startswith("$"):
            raise RecipeError(f"the topic {value!r} is reserved by AWS IoT; take one that begins otherwise")
        # It is put into a shell's script between double quotes.
        if found := re.search(r'["\\$`\0\n]', values[key]):
            raise RecipeError(
                f"the setting {key!r} cannot hold {found[0]!r}, which the device's shell would obey"
            )
    resulting = {**_defaults(recipe), **values}
    if problem := problem_in({key: str(resulting[key]) for key in _ARGUMENTS}, models):
        raise RecipeError(problem)
    if topic := values.get("topic"):
        values["accessControl"] = _access(recipe["ComponentName"], topic)
    return values


def printable(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as they may be printed: an earlier release took addresses with a password in them."""
    return {
        key: without_logins(value) if isinstance(value, str) else value for key, value in settings.items()
    }


def configured(recipe: Mapping[str, Any], merge: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of a component whose deployment merges something, as people may want to read it."""
    return settings_in({**_defaults(recipe), **merge})


def settings_in(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """What people set of a configuration, without what follows from it."""
    return {key: value for key, value in configuration.items() if key not in _OWN}


def _access(name: str, topic: str) -> dict[str, Any]:
    """The right to publish to one topic through the nucleus."""
    return {
        "aws.greengrass.ipc.mqttproxy": {
            f"{name}:mqttproxy:1": {
                "policyDescription": "publish results",
                "operations": ["aws.greengrass#PublishToIoTCore"],
                "resources": [topic],
            }
        }
    }


def _defaults(recipe: Mapping[str, Any]) -> dict[str, Any]:
    configuration = recipe.get("ComponentConfiguration") or {}
    return dict(configuration.get("DefaultConfiguration") or {})


def content_digest(bundle: Bundle, recipe: Mapping[str, Any]) -> str:
    """What two component versions share exactly when they are the same but for their version.

    It lies in the recipe's own configuration, where any reader of the recipe finds it again.
    """
    plain = json.loads(json.dumps(recipe))
    plain["ComponentVersion"] = ""
    plain["ComponentConfiguration"]["DefaultConfiguration"].pop("content", None)
    for manifest in plain["Manifests"]:
        for artifact in manifest["Artifacts"]:
            artifact["Uri"] = S3Uri(artifact["Uri"]).name
    text = json.dumps(plain, sort_keys=True) + bundle.sha256
    return hashlib.sha256(text.encode()).hexdigest()


def known_content(recipe: Mapping[str, Any]) -> str | None:
    """The content digest that a recipe carries, if gtlabel wrote it."""
    configuration = recipe.get("ComponentConfiguration") or {}
    value = (configuration.get("DefaultConfiguration") or {}).get("content")
    return value if isinstance(value, str) else None


def next_version(versions: Sequence[str]) -> str:
    """The version after the highest one: its patch number plus one, or 1.0.0 when there is none."""
    released = [_numbers(version) for version in versions if VERSION.fullmatch(version)]
    if not released:
        return "1.0.0"
    major, minor, patch = max(released)
    return f"{major}.{minor}.{patch + 1}"


def newest_first(versions: Iterable[str]) -> list[str]:
    """Versions from the highest to the lowest; what is no version comes last."""
    return sorted(
        versions, key=lambda each: _numbers(each) if VERSION.fullmatch(each) else (-1, 0, 0), reverse=True
    )


def _numbers(version: str) -> tuple[int, int, int]:
    major, minor, patch = re.split(r"[-+]", version)[0].split(".")
    return int(major), int(minor), int(patch)
