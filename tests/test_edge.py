"""The recipe of a bundle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from edge_parts import color_bundle, other_recipe
from hypothesis import given
from hypothesis import strategies as st

from gtlabel.edge.bundle import Bundle
from gtlabel.edge.component import check_recipe, component_recipe, next_version
from gtlabel.errors import RecipeError
from gtlabel.uris import S3Uri

ARTIFACT = S3Uri("s3://deeplens-models/colors/1.0.0/bundle.zip")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return color_bundle(tmp_path_factory.mktemp("bundle") / "bundle.zip")


def test_our_recipe_suits_both_nuclei(bundle: Bundle) -> None:
    recipe = component_recipe(bundle, ARTIFACT, name="deeplens-colors", version="1.0.0")
    assert check_recipe(recipe) == []
    for manifest in recipe["Manifests"]:
        assert manifest["Platform"]["runtime"] == "*"
        assert [artifact["Uri"] for artifact in manifest["Artifacts"]] == [ARTIFACT]
        assert "{artifacts:decompressedPath}/bundle/run.py" in manifest["Lifecycle"]["run"]["Script"]
    defaults = recipe["ComponentConfiguration"]["DefaultConfiguration"]
    assert all(isinstance(value, str) for key, value in defaults.items() if key != "accessControl")
    assert "$aws" not in json.dumps(recipe)


def test_what_a_version_holds_can_be_told_without_its_number(bundle: Bundle, tmp_path: Path) -> None:
    def content(**changes: Any) -> str:
        values = {"bundle": bundle, "artifact": ARTIFACT, "name": "c", "version": "1.0.0", **changes}
        recipe = component_recipe(values.pop("bundle"), values.pop("artifact"), **values)
        return str(recipe["ComponentConfiguration"]["DefaultConfiguration"]["content"])

    elsewhere = S3Uri("s3://deeplens-models/colors/1.0.7/bundle.zip")
    assert content() == content(version="1.0.7", artifact=elsewhere)
    other = color_bundle(tmp_path / "bundle.zip", threshold=0.8)
    assert len({content(), content(bundle=other), content(configuration={"folder": "in"})}) == 3


def changed(**parts: Any) -> dict[str, Any]:
    return {**other_recipe("deeplens-x"), **parts}


def in_manifest(**parts: Any) -> dict[str, Any]:
    recipe = other_recipe("deeplens-x")
    recipe["Manifests"][0].update(parts)
    return recipe


WRONG = [
    ([], "the recipe is not an object"),
    (changed(RecipeFormatVersion="2021-01-01"), "RecipeFormatVersion must be 2020-01-25"),
    (changed(ComponentName="deeplens x"), "ComponentName must be"),
    (changed(ComponentName=".."), "ComponentName must be"),
    (changed(ComponentVersion="1.0"), "ComponentVersion must be three numbers"),
    (changed(ComponentVersion="1.0.1000000"), "ComponentVersion must be three numbers"),
    (changed(ComponentVersion="newest"), "ComponentVersion must be three numbers"),
    (changed(Manifest=[]), "Manifest is unknown in the recipe"),
    (changed(Manifests=[]), "Manifests must be a list of at least one"),
    (changed(Manifests=["linux"]), "Manifests[0] is not an object"),
    (in_manifest(Lifecycle={"rnu": "true"}), "Lifecycle.rnu is no lifecycle step"),
    (in_manifest(Lifecycle={"run": 7}), "Lifecycle.run needs a script"),
    (in_manifest(Lifecycle={"run": {"Skript": "true"}}), "Skript is unknown"),
    (in_manifest(Lifecycle={"run": "a", "startup": "b"}), "both run and startup"),
    (in_manifest(Lifecycle={"run": {"Script": "a", "Timeout": "soon"}}), "Timeout must be a number"),
    (in_manifest(Lifecycle={"run": "a", "Setenv": ["A=b"]}), "Setenv must hold texts"),
    (changed(ComponentConfiguration={"DefaultConfiguration": "x"}), "DefaultConfiguration is not an object"),
    (in_manifest(Artifacts=[{"Uri": "https://example.com/a.zip"}]), "needs the address of an object"),
    (in_manifest(Artifacts=[{"Uri": "s3://bucket/folder/"}]), "names a folder"),
    (in_manifest(Artifacts=[{"Uri": "s3://bucket/a/.."}]), "names a folder"),
    (in_manifest(Artifacts=[{"Uri": "s3://one/a.zip"}, {"Uri": "s3://two/a.zip"}]), "of another artifact"),
    (in_manifest(Artifacts=[{"Uri": "s3://bucket/a.zip", "Unarchive": "TAR"}]), "must be NONE or ZIP"),
    (in_manifest(Artifacts=[{"Uri": "s3://bucket/a", "Permission": {"Read": "ME"}}]), "Permission.Read must"),
    (in_manifest(Artifacts=[{"URI": "s3://bucket/a.zip"}]), "must spell Uri so"),
    (in_manifest(Platform={"os": "linux"}), 'needs "runtime": "*"'),
    (in_manifest(Platform={"os": "/linux|darwin/", "runtime": "*"}), "os is a regular expression"),
    (in_manifest(Lifecycle={"Run": "true"}), "Run must be spelled run"),
    (in_manifest(Lifecycle={"run": "a", "shutdown": "b"}), "shutdown is unknown to nucleus lite"),
    (in_manifest(Lifecycle={"run": {"Script": "a", "Skipif": "onpath b"}}), "Skipif is unknown"),
]


@pytest.mark.parametrize(("recipe", "complaint"), WRONG)
def test_a_wrong_recipe_is_told_what_is_wrong_with_it(recipe: Any, complaint: str) -> None:
    assert complaint in check_recipe(recipe)[0]


WORDS = (
    *("Uri", "URI", "Unarchive", "ZIP", "Permission", "Read", "s3://bucket/a.zip", "run", "Run", "install"),
    *("Script", "Setenv", "Skipif", "Timeout", "os", "runtime", "Platform", "Lifecycle", "Artifacts"),
    "DefaultConfiguration",
)
words = st.sampled_from(WORDS)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(["ComponentConfiguration", "Manifests", "Lifecycle", "ComponentVersion"]), json_values)
def test_checking_never_stumbles_over_a_recipe(key: str, value: Any) -> None:
    assert all(isinstance(problem, str) for problem in check_recipe(changed(**{key: value})))


@given(st.sampled_from(["Platform", "Lifecycle", "Artifacts"]), json_values)
def test_checking_never_stumbles_over_a_manifest(key: str, value: Any) -> None:
    assert all(isinstance(problem, str) for problem in check_recipe(in_manifest(**{key: value})))


def test_a_name_that_greengrass_refuses_makes_no_recipe(bundle: Bundle) -> None:
    with pytest.raises(RecipeError, match="ComponentName must be"):
        component_recipe(bundle, ARTIFACT, name="my classifier", version="1.0.0")


@pytest.mark.parametrize(
    ("versions", "expected"),
    [
        ([], "1.0.0"),
        (["1.0.0"], "1.0.1"),
        (["1.0.9", "1.0.10", "1.0.2"], "1.0.11"),
        (["2.1.0", "1.9.9", "nightly"], "2.1.1"),
        (["1.0.3-beta"], "1.0.4"),
    ],
)
def test_the_next_version_follows_the_highest(versions: list[str], expected: str) -> None:
    assert next_version(versions) == expected
