"""What a nucleus does with a recipe: choose a manifest, keep a configuration, fill in variables.

The rules are those of `contract/deployment.md` section 3; where the classic nucleus and nucleus lite
differ, the platform's `runtime` tells which of them applies.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from gtlabel.errors import RecipeError

_VARIABLE = re.compile(r"\{(artifacts|work|kernel|iot|configuration):([^{}\s]*)\}")


def parse_recipe(content: bytes) -> dict[str, Any]:
    """A recipe written as JSON or YAML, in UTF-8.

    Raises:
        RecipeError: if it is neither, or not an object.
    """
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise RecipeError(f"the recipe is not UTF-8: {error}") from None
    try:
        recipe = json.loads(text)
    except ValueError:
        try:
            # Through JSON, so that a date or a number that YAML made of a key is a text again.
            recipe = json.loads(json.dumps(yaml.safe_load(text), default=str))
        except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
            first = str(error).splitlines()[0]
            raise RecipeError(f"the recipe is neither JSON nor YAML: {first}") from None
    if not isinstance(recipe, dict):
        raise RecipeError("the recipe is not an object")
    return recipe


def write_recipe(recipe: Mapping[str, Any], form: str) -> bytes:
    """A recipe as `JSON` or `YAML`."""
    if form == "YAML":
        return bytes(yaml.safe_dump(dict(recipe), sort_keys=False, allow_unicode=True, encoding="utf-8"))
    return json.dumps(recipe, indent=2, ensure_ascii=False).encode()


def choose_manifest(recipe: Mapping[str, Any], platform: Mapping[str, str]) -> dict[str, Any]:
    """The first manifest that is meant for a platform.

    Raises:
        RecipeError: if there is none; nucleus lite passes over manifests that do not name a runtime.
    """
    lite = platform.get("runtime") == "aws_nucleus_lite"
    for manifest in recipe.get("Manifests", []):
        wanted = manifest.get("Platform") or {}
        if ("runtime" in wanted or not lite) and all(
            _fits(str(value), platform.get(key), lite) for key, value in wanted.items()
        ):
            return dict(manifest)
    has = ", ".join(f"{key} {value}" for key, value in sorted(platform.items()))
    hint = '; each Platform needs "runtime": "*" for nucleus lite' if lite else ""
    raise RecipeError(f"No Manifest was found in {recipe.get('ComponentName')} for this device ({has}){hint}")


def update_configuration(
    overlay: Mapping[str, Any], reset: Sequence[str], merge: Mapping[str, Any]
) -> dict[str, Any]:
    """What deployments changed so far, after one more: first its resets, then its merge.

    The overlay lies over a recipe's defaults, so merged values outlive an upgrade, and new defaults
    reach only what was never merged.
    """
    result: dict[str, Any] = json.loads(json.dumps(overlay))
    for pointer in reset:
        if pointer == "":
            result = {}
            continue
        *path, last = _steps(pointer)
        place: Any = result
        for step in path:
            place = place.get(step) if isinstance(place, dict) else None
        if isinstance(place, dict):
            place.pop(last, None)
    return merged(result, merge)


def merged(base: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """One object over another: objects are merged, everything else is replaced."""
    result = dict(base)
    for key, value in change.items():
        below = result.get(key)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            result[key] = merged(below, value)
        else:
            result[key] = value
    return result


def fill(text: str, variables: Mapping[str, str], configuration: Mapping[str, Any]) -> str:
    """A script with its variables filled in; braces that are no variable of Greengrass stay.

    Args:
        text: the script.
        variables: values by name, such as `artifacts:path`.
        configuration: what `{configuration:/json/pointer}` looks into.

    Raises:
        RecipeError: if a variable has no value.
    """

    def value(match: re.Match[str]) -> str:
        kind, name = match[1], match[2]
        if kind == "configuration":
            return _shown(_look_up(configuration, name))
        try:
            return variables[f"{kind}:{name}"]
        except KeyError:
            raise RecipeError(f"the recipe uses {match[0]}, which this nucleus does not know") from None

    return _VARIABLE.sub(value, text)


@dataclass(frozen=True, slots=True)
class Step:
    """One script of a lifecycle.

    Attributes:
        timeout: in seconds; None when the recipe does not say.
        environ: what it adds to its environment.
        skip_if: when it is not run: `onpath PROGRAM` or `exists FILE`.
    """

    script: str
    timeout: float | None
    environ: dict[str, Any]
    skip_if: str


def steps_of(manifest: Mapping[str, Any], recipe: Mapping[str, Any]) -> Mapping[str, Any]:
    """The lifecycle of a manifest, or the recipe's own when the manifest has none."""
    return manifest.get("Lifecycle") or recipe.get("Lifecycle") or {}


def step_of(lifecycle: Mapping[str, Any], name: str) -> Step | None:
    """A step of a lifecycle; None when there is no such step."""
    # The classic nucleus takes any spelling; what lite does not take was refused before.
    step = {key.lower(): value for key, value in lifecycle.items()}.get(name)
    if step is None:
        return None
    common = lifecycle.get("Setenv") or {}
    if isinstance(step, str):
        return Step(step, None, dict(common), "")
    timeout = step.get("Timeout")
    seconds = float(timeout) if timeout is not None else None
    return Step(
        step["Script"], seconds, {**common, **(step.get("Setenv") or {})}, str(step.get("Skipif") or "")
    )


def skipped(condition: str, path: str) -> bool:
    """Whether a step is not run, because what it would bring is there.

    Args:
        condition: `onpath PROGRAM`, `exists FILE`, or nothing.
        path: where programs are looked for.
    """
    kind, _, what = condition.strip().partition(" ")
    if kind == "onpath":
        return shutil.which(what.strip(), path=path) is not None
    return kind == "exists" and Path(what.strip()).exists()


def as_floats(value: Any) -> Any:
    """A configuration as a component gets it back: whole numbers may be floats on a core, and are here."""
    if isinstance(value, Mapping):
        return {key: as_floats(item) for key, item in value.items()}
    if isinstance(value, list):
        return [as_floats(item) for item in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _fits(wanted: str, value: str | None, lite: bool) -> bool:
    if wanted == "*" or wanted == value:
        return True
    pattern = not lite and len(wanted) > 1 and wanted[0] == wanted[-1] == "/"
    return pattern and value is not None and re.fullmatch(wanted[1:-1], value) is not None


def _look_up(configuration: Mapping[str, Any], pointer: str) -> Any:
    value: Any = configuration
    for step in _steps(pointer):
        if not isinstance(value, Mapping) or step not in value:
            raise RecipeError(f"the configuration has no {pointer}, which the recipe uses")
        value = value[step]
    return value


def _steps(pointer: str) -> list[str]:
    """A JSON pointer taken apart, https://www.rfc-editor.org/rfc/rfc6901."""
    if not pointer.startswith("/"):
        raise RecipeError(f"{pointer!r} is no JSON pointer; it must begin with a slash")
    return [step.replace("~1", "/").replace("~0", "~") for step in pointer[1:].split("/")]


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
