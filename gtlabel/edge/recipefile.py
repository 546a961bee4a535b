"""A recipe in a file, as JSON or YAML."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gtlabel.errors import MissingExtraError, RecipeError


def read_recipe(path: Path) -> Any:
    """What a file says, whatever that is.

    Raises:
        RecipeError: if it is neither JSON nor YAML, or says something twice.
        MissingExtraError: if it is YAML and nothing here reads that.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path} is not UTF-8: {error.reason} at byte {error.start}") from None
    if path.suffix.lower() not in (".yaml", ".yml"):
        try:
            return json.loads(text, object_pairs_hook=lambda pairs: _once(path, pairs))
        except RecipeError:
            raise
        except (ValueError, RecursionError) as error:
            if path.suffix.lower() == ".json" or text.lstrip().startswith("{"):
                raise RecipeError(f"{path} is not JSON: {error}") from None
    return _from_yaml(path, text)


def _from_yaml(path: Path, text: str) -> Any:
    try:
        import yaml
    except ModuleNotFoundError:
        raise MissingExtraError("reading a recipe in YAML", "all") from None

    class Loader(yaml.SafeLoader):  # type: ignore[misc]  # yaml has no types
        """Takes no key twice, of which the last would win in silence."""

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            pairs = [(self.construct_object(key, deep=True), value) for key, value in node.value]
            _once(path, pairs)
            made: dict[Any, Any] = super().construct_mapping(node, deep)
            return made

    try:
        # Through JSON, so that a date or a number that YAML made of a key is a text again.
        return json.loads(json.dumps(yaml.load(text, Loader), default=str))  # noqa: S506 - it is a safe one
    except RecipeError:
        raise
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise RecipeError(f"{path}{line} is not YAML: {error.problem}") from None
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise RecipeError(f"{path} is not YAML: {str(error).splitlines()[0]}") from None


def _once(path: Path, pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    seen: dict[Any, Any] = {}
    for key, value in pairs:
        try:
            twice = key in seen
        except TypeError:
            raise RecipeError(f"{path} has a key that is no text: {key!r}") from None
        if twice:
            raise RecipeError(f"{path} says {key!r} twice in one place; only one of them would count")
        seen[key] = value
    return seen
