"""What is wrong with a component recipe, whoever wrote it: refused, not for every nucleus, or a trap.

What the two nuclei make of recipes: `contract/deployment.md` section 3.2.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from gtlabel.edge.recipeformat import (
    FORMAT_VERSION,
    STEPS,
    VERSION,
    artifact_uri,
    as_mapping,
    format_problems,
    is_section,
)

__all__ = [
    "FORMAT_VERSION",
    "VERSION",
    "Finding",
    "artifact_uri",
    "check_recipe",
    "format_problems",
    "inspect_recipe",
    "portability_problems",
    "traps",
]

# What nucleus lite does not have; classic takes all of it.
_CLASSIC_ONLY = {"shutdown", "recover"}
_KNOWN = {
    "os": ("linux", "darwin", "windows", "all", "*"),
    "architecture": ("amd64", "aarch64", "arm", "x86", "all", "*"),
}
_VARIABLE = re.compile(r"\{(?:([a-zA-Z0-9_.-]+):)?(artifacts|work|kernel|iot|configuration):([^{}\s]*)\}")
_VARIABLES = {
    "artifacts": ("path", "decompressedPath"),
    "work": ("path",),
    "kernel": ("rootPath",),
    "iot": ("thingName",),
}
# The operations of the services that components usually ask for,
# https://docs.aws.amazon.com/greengrass/v2/developerguide/interprocess-communication.html
_OPERATIONS = {
    "aws.greengrass.ipc.mqttproxy": ("aws.greengrass#PublishToIoTCore", "aws.greengrass#SubscribeToIoTCore"),
    "aws.greengrass.ipc.pubsub": ("aws.greengrass#PublishToTopic", "aws.greengrass#SubscribeToTopic"),
}
# What takes longer than the two minutes that a step has by default.
_SLOW = re.compile(r"\b(pip3?|apt-get|apt|yum|dnf|npm|conda)\b[^\n]*\binstall\b|-m venv\b")


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong with a recipe.

    Attributes:
        kind: `refused` when the cloud does not take it or it can never work, `lite` when nucleus lite does
            not run it, `trap` when it runs and not as one would think.
        sentence: what, where, and what to write instead.
    """

    kind: Literal["refused", "lite", "trap"]
    sentence: str

    def to_json(self) -> dict[str, str]:
        """As plain JSON values."""
        return asdict(self)


def inspect_recipe(recipe: object) -> list[Finding]:
    """All that is wrong with a recipe, the worst first; a refused one is not looked at any further."""
    refused = format_problems(recipe)
    if refused:
        return [Finding("refused", sentence) for sentence in refused]
    return [
        *(Finding("lite", sentence) for sentence in portability_problems(recipe)),
        *(Finding("trap", sentence) for sentence in traps(recipe)),
    ]


def check_recipe(recipe: object) -> list[str]:
    """Everything in a recipe that Greengrass or one of its nuclei would refuse, one sentence each."""
    return format_problems(recipe) or portability_problems(recipe)


def portability_problems(recipe: object) -> list[str]:
    """What the classic nucleus takes and nucleus lite does not, in a recipe of the right format."""
    if not isinstance(recipe, Mapping):
        return ["the recipe is not an object"]
    return list(_portability_problems(recipe))


def traps(recipe: object) -> list[str]:
    """What works otherwise than one would think, in a recipe of the right format."""
    if not isinstance(recipe, Mapping):
        return []
    configuration = as_mapping(as_mapping(recipe.get("ComponentConfiguration")).get("DefaultConfiguration"))
    return [
        *_number_traps(configuration, "DefaultConfiguration"),
        *_access_traps(as_mapping(configuration.get("accessControl"))),
        *_platform_traps(recipe.get("Manifests", [])),
        *_step_traps(recipe, configuration),
    ]


def _portability_problems(recipe: Mapping[str, Any]) -> Iterator[str]:
    for index, manifest in enumerate(recipe.get("Manifests", [])):
        where = f"Manifests[{index}]"
        platform = as_mapping(manifest.get("Platform"))
        if "runtime" not in platform:
            yield f'{where}.Platform needs "runtime": "*"; nucleus lite finds no manifest without it'
        for key, value in platform.items():
            if isinstance(value, str) and len(value) > 1 and value.startswith("/") and value.endswith("/"):
                yield f"{where}.Platform.{key} is a regular expression, which nucleus lite does not know"
        for number, artifact in enumerate(manifest.get("Artifacts", [])):
            if "Uri" not in artifact:
                yield f"{where}.Artifacts[{number}] must spell Uri so; nucleus lite does not take URI"
    for where, lifecycle in _lifecycles(recipe):
        for key, step in lifecycle.items():
            if key.lower() in STEPS and key != key.lower():
                yield f"{where}.{key} must be spelled {key.lower()} for nucleus lite"
            if key.lower() in _CLASSIC_ONLY:
                yield f"{where}.{key} is unknown to nucleus lite; the program must end on SIGTERM by itself"
            if isinstance(step, Mapping) and "Skipif" in step:
                yield f"{where}.{key}.Skipif is unknown to nucleus lite"
            for found in _VARIABLE.finditer(_script(step)):
                if found[1]:
                    yield f"{where}.{key} uses {found[0]} of another component, unknown to nucleus lite"


def _number_traps(value: Any, where: str) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _number_traps(inner, f"{where}.{key}")
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield f'{where} is a number, which a nucleus may turn into {float(value)!r}; write "{value}"'


def _access_traps(control: Mapping[str, Any]) -> Iterator[str]:
    for service, policies in control.items():
        for name, policy in as_mapping(policies).items():
            where = f"accessControl.{service}.{name}"
            operations, resources = (
                _texts(as_mapping(policy).get(key)) for key in ("operations", "resources")
            )
            if not operations or not resources:
                yield f"{where} needs operations and resources, or it allows nothing"
            known = _OPERATIONS.get(service, ())
            for operation in operations:
                if known and operation not in (*known, "*"):
                    yield f"{where} allows {operation}, which {service} has not; it has {', '.join(known)}"
            for resource in resources:
                if resource.startswith("$") and service.endswith("mqttproxy"):
                    yield (
                        f"{where} is for {resource}, which is reserved: AWS IoT may cut the connection of "
                        "who publishes there; take a topic that begins otherwise"
                    )


def _platform_traps(manifests: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    everywhere = None
    for index, manifest in enumerate(manifests):
        platform = as_mapping(manifest.get("Platform"))
        where = f"Manifests[{index}]"
        if everywhere is not None:
            yield f"{where} is never reached: {everywhere} suits every device, and the first that does counts"
        elif all(value in ("*", "all") for value in platform.values()):
            everywhere = where
        for key, known in _KNOWN.items():
            value = platform.get(key)
            if isinstance(value, str) and not value.startswith("/") and value not in known:
                yield f"{where}.Platform.{key} is {value!r}, which no device is; known are {', '.join(known)}"
        archives = [
            artifact_uri(artifact).rpartition("/")[2]
            for artifact in manifest.get("Artifacts", [])
            if artifact.get("Unarchive") == "ZIP"
        ]
        for name in archives:
            if not name.endswith(".zip"):
                yield f"{where} unpacks {name!r} as a ZIP; it needs a name that ends in .zip"
        for number, artifact in enumerate(manifest.get("Artifacts", [])):
            for key in sorted({"Digest", "Algorithm"} & set(artifact)):
                yield f"{where}.Artifacts[{number}].{key} is written by the cloud; leave it out"
        for key, step in as_mapping(manifest.get("Lifecycle")).items():
            for place in re.findall(r"\{artifacts:decompressedPath\}/([^/\s\"']+)", _script(step)):
                if f"{place}.zip" not in archives:
                    yield (
                        f"{where}.Lifecycle.{key} looks for {place!r} below the unpacked artifacts; "
                        "a ZIP unpacks into a folder of its own name without .zip"
                    )


def _step_traps(recipe: Mapping[str, Any], configuration: Mapping[str, Any]) -> Iterator[str]:
    for where, lifecycle in _lifecycles(recipe):
        for key, step in lifecycle.items():
            if key.lower() not in STEPS:
                continue
            here, script = f"{where}.{key}", _script(step)
            timeout = as_mapping(step).get("Timeout")
            if timeout is None and key.lower() in ("install", "bootstrap") and _SLOW.search(script):
                yield f"{here} installs packages within the default 120 seconds; give it a longer Timeout"
            if timeout is not None and key.lower() == "run":
                yield f"{here} is ended after its Timeout of {timeout} seconds, however well it goes"
            if timeout is not None and not re.fullmatch(r"\d+", str(timeout)):
                yield f"{here}.Timeout is {timeout}; both nuclei count whole seconds"
            if key.lower() == "run" and re.search(r"(?<!&)&\s*$", script):
                yield f"{here} ends at once, since its program goes into the background; leave the & out"
            for found in _VARIABLE.finditer(script):
                kind, name = found[2], found[3]
                if found[1]:
                    continue
                if kind != "configuration" and name not in _VARIABLES[kind]:
                    yield f"{here} uses {found[0]}, which no nucleus knows; it knows {_known(kind)}"
                if kind == "configuration" and not _is_there(configuration, name):
                    yield f"{here} uses {found[0]}, which DefaultConfiguration does not have"


def _known(kind: str) -> str:
    return ", ".join(f"{{{kind}:{name}}}" for name in _VARIABLES[kind])


def _is_there(configuration: Mapping[str, Any], pointer: str) -> bool:
    value: Any = configuration
    for step in pointer.split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        if not isinstance(value, Mapping) or name not in value:
            return False
        value = value[name]
    return pointer.startswith("/")


def _lifecycles(recipe: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every lifecycle of a recipe with its place, those for selected platforms as well."""
    found = [("Lifecycle", as_mapping(recipe.get("Lifecycle")))]
    for index, manifest in enumerate(recipe.get("Manifests", [])):
        found.append((f"Manifests[{index}].Lifecycle", as_mapping(manifest.get("Lifecycle"))))
    for where, lifecycle in found:
        yield where, lifecycle
        for key, section in lifecycle.items():
            if key.lower() not in STEPS and key != "Setenv" and is_section(section):
                yield f"{where}.{key}", section


def _script(step: Any) -> str:
    script = step.get("Script") if isinstance(step, Mapping) else step
    return script if isinstance(script, str) else ""


def _texts(value: object) -> list[str]:
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []
