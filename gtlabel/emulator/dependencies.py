"""The components that others need: which there have to be, in which version, and in which order.

Pure decisions, https://docs.aws.amazon.com/greengrass/v2/developerguide/component-recipe-reference.html,
`ComponentDependencies`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any

from gtlabel.emulator.versions import Version, satisfies
from gtlabel.errors import RecipeError

# All versions of a component that can be deployed, with their recipes.
Catalog = Callable[[str], Mapping[str, Mapping[str, Any]]]


class Unresolved(Exception):  # noqa: N818 - it is the outcome of a deployment
    """Components cannot be on one device together."""


def requirements_of(recipe: Mapping[str, Any]) -> dict[str, str]:
    """What a component needs: a requirement on the version of each other one, by name.

    A dependency that says nothing of versions takes any.
    """
    needs = recipe.get("ComponentDependencies") or {}
    return {name: str(need.get("VersionRequirement", "*")) for name, need in needs.items()}


def hard_needs_of(recipe: Mapping[str, Any]) -> set[str]:
    """The components that a component is started again with: its dependencies that are not `SOFT`."""
    needs = recipe.get("ComponentDependencies") or {}
    return {name for name, need in needs.items() if need.get("DependencyType", "HARD") == "HARD"}


def dependency_problems(recipe: Mapping[str, Any]) -> Iterator[str]:
    """The requirements of a well-formed recipe that no version can be held against, one sentence each."""
    for name, wish in requirements_of(recipe).items():
        try:
            satisfies("1.0.0", wish)
        except RecipeError as error:
            yield f"ComponentDependencies.{name}.VersionRequirement: {error}"


def resolve(roots: Mapping[str, str], catalog: Catalog) -> dict[str, str]:
    """The version of each component that a device runs, what is needed before who needs it.

    Of those that meet all requirements, the highest version is taken.

    Args:
        roots: the versions that deployments name.
        catalog: all that can be deployed.

    Raises:
        Unresolved: if requirements contradict each other or a version that was named, if nothing meets them,
            or if components need each other in a circle.
    """
    chosen = dict(roots)
    # Each round can change what the next one needs; a component that has no stable choice has none.
    for _ in range(100):
        needs = _needs(chosen, catalog)
        found = {**roots, **{name: _pick(name, roots, needs[name], catalog) for name in needs}}
        if found == chosen:
            return _ordered(chosen, catalog)
        chosen = found
    raise Unresolved("the requirements of the components contradict each other in a circle")


def in_order(recipes: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The names of components, what is needed before who needs it.

    Args:
        recipes: by the components' names.

    Raises:
        Unresolved: if components need each other in a circle.
    """
    graph = {
        name: [other for other in requirements_of(recipe) if other in recipes]
        for name, recipe in recipes.items()
    }
    try:
        return list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        raise Unresolved(f"components need each other in a circle: {' -> '.join(error.args[1])}") from error


def pick(name: str, requirements: Mapping[str, str], catalog: Catalog) -> str | None:
    """The highest version of a component that meets all requirements; None when none does.

    Args:
        name: the component.
        requirements: by who makes them.
        catalog: all that can be deployed.
    """
    fit = [version for version in catalog(name) if all(satisfies(version, r) for r in requirements.values())]
    return max(fit, key=Version.of, default=None)


def _needs(chosen: Mapping[str, str], catalog: Catalog) -> dict[str, dict[str, str]]:
    """All requirements on each component, by who makes them."""
    needs: dict[str, dict[str, str]] = {}
    for name, version in chosen.items():
        for other, requirement in requirements_of(catalog(name).get(version, {})).items():
            needs.setdefault(other, {})[f"{name} {version}"] = requirement
    return needs


def _pick(name: str, roots: Mapping[str, str], requirements: Mapping[str, str], catalog: Catalog) -> str:
    wishes = ", ".join(f"{who} needs {name} {wish}" for who, wish in sorted(requirements.items()))
    if name in roots:
        if all(satisfies(roots[name], wish) for wish in requirements.values()):
            return roots[name]
        raise Unresolved(f"the deployment names {name} {roots[name]}, but {wishes}")
    version = pick(name, requirements, catalog)
    if version is None:
        there = ", ".join(sorted(catalog(name), key=Version.of)) or "none, and here are none of AWS's own"
        raise Unresolved(f"{wishes}, but of {name} there is {there}")
    return version


def _ordered(chosen: Mapping[str, str], catalog: Catalog) -> dict[str, str]:
    order = in_order({name: catalog(name).get(version, {}) for name, version in chosen.items()})
    return {name: chosen[name] for name in order}
