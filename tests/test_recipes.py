"""The recipe of a bundle, and what is wrong with recipes."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from edge_parts import color_bundle, other_recipe
from hypothesis import given
from hypothesis import strategies as st

from gtlabel.edge.bundle import Bundle
from gtlabel.edge.component import check_recipe, component_recipe, next_version
from gtlabel.edge.device.arguments import Options, parse
from gtlabel.edge.recipefile import read_recipe
from gtlabel.edge.recipes import inspect_recipe
from gtlabel.emulator.recipes import fill
from gtlabel.errors import RecipeError
from gtlabel.uris import S3Uri

ARTIFACT = S3Uri("s3://deeplens-models/colors/1.0.0/bundle.zip")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return color_bundle(tmp_path_factory.mktemp("bundle") / "bundle.zip")


def test_our_recipe_suits_both_nuclei(bundle: Bundle) -> None:
    recipe = component_recipe(bundle, ARTIFACT, name="deeplens-colors", version="1.0.0")
    assert inspect_recipe(recipe) == []
    for manifest in recipe["Manifests"]:
        assert manifest["Platform"]["runtime"] == "*"
        assert [artifact["Uri"] for artifact in manifest["Artifacts"]] == [ARTIFACT]
        assert "{artifacts:decompressedPath}/bundle/run.py" in manifest["Lifecycle"]["run"]["Script"]
    defaults = recipe["ComponentConfiguration"]["DefaultConfiguration"]
    assert all(isinstance(value, str) for key, value in defaults.items() if key != "accessControl")
    assert "$aws" not in json.dumps(recipe)


def test_the_program_takes_what_the_recipe_calls_it_with(bundle: Bundle) -> None:
    recipe = component_recipe(bundle, ARTIFACT, name="deeplens-colors", version="1.0.0")
    settings = recipe["ComponentConfiguration"]["DefaultConfiguration"]
    script = recipe["Manifests"][0]["Lifecycle"]["run"]["Script"]
    places = {"artifacts:decompressedPath": "/a b", "work:path": "/w", "iot:thingName": "porch"}

    def called(**values: str) -> Options:
        # A nucleus puts the values in, a shell takes the line apart.
        words = shlex.split(fill(script, places, {**settings, **values}))
        assert words[3] == "/a b/bundle/run.py"
        return parse(words[4:])

    plain = called()
    assert (plain.folder, plain.watch, plain.top, plain.thing) == (Path("images"), True, 3, "porch")
    assert (plain.topic, plain.unsure, plain.model) == ("gtlabel/porch/infer", None, "auto")
    set_ = called(
        camera="/dev/video0", every="0.5", debounce="3/5", mqtt="mqtt://b", unsure="keep", top="2.0"
    )
    assert (set_.cameras, set_.every, set_.debounce, set_.top) == (("/dev/video0",), 0.5, (3, 5), 2)
    assert (str(set_.mqtt), set_.unsure) == ("b:1883", Path("keep"))


def test_installing_keeps_the_environments_that_were_used_last(bundle: Bundle, tmp_path: Path) -> None:
    recipe = component_recipe(bundle, ARTIFACT, name="deeplens-colors", version="1.0.0")
    script = recipe["Manifests"][0]["Lifecycle"]["install"]["Script"]
    settings = recipe["ComponentConfiguration"]["DefaultConfiguration"]
    places = {"artifacts:decompressedPath": "/a", "work:path": str(tmp_path)}
    mine = f"venv-{bundle.sha256[:12]}"
    for age, name in enumerate(["venv-new", mine, "venv-older", "venv-oldest", "images"]):
        (tmp_path / name / "bin").mkdir(parents=True)
        os.utime(tmp_path / name, (1e9 - age, 1e9 - age))

    def install(program: str) -> tuple[int, set[str]]:
        run = subprocess.run(["sh", "-c", fill(script, places, {**settings, "python": program})], check=False)
        return run.returncode, {path.name for path in tmp_path.iterdir()}

    everything = {"venv-new", mine, "venv-older", "venv-oldest", "images"}
    assert install("false") == (1, everything)
    assert install("true") == (0, everything - {"venv-oldest"})
    (tmp_path / "venv-newest").mkdir()
    assert install("true") == (0, {"images", mine, "venv-newest", "venv-new"})


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


def depends(**more: Any) -> dict[str, Any]:
    return {"VersionRequirement": "^1.0.0", **more}


def step(**more: Any) -> dict[str, Any]:
    return {"Script": "true", **more}


def defaults(**values: Any) -> dict[str, Any]:
    return changed(ComponentConfiguration={"DefaultConfiguration": values})


def allows(resource: str, operation: str = "PublishToIoTCore") -> dict[str, Any]:
    policy = {"operations": [f"aws.greengrass#{operation}"], "resources": [resource]}
    return defaults(accessControl={"aws.greengrass.ipc.mqttproxy": {"x:mqttproxy:1": policy}})


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
    (in_manifest(Artifacts=[{"Uri": "s3://bucket/a/...zip", "Unarchive": "ZIP"}]), "no folder of its own"),
    (in_manifest(Artifacts=[{"Uri": "s3://one/a.zip"}, {"Uri": "s3://two/a.zip"}]), "of another artifact"),
    (in_manifest(Artifacts=[{"Uri": "s3://bucket/a.zip", "Unarchive": "TAR"}]), "must be NONE or ZIP"),
    (in_manifest(Artifacts=[{"Uri": "s3://bucket/a", "Permission": {"Read": "ME"}}]), "Permission.Read must"),
    (in_manifest(Artifacts=[{"URI": "s3://bucket/a.zip"}]), "must spell Uri so"),
    (in_manifest(Platform={"os": "linux"}), 'needs "runtime": "*"'),
    (in_manifest(Platform={"os": "/linux|darwin/", "runtime": "*"}), "os is a regular expression"),
    (in_manifest(Lifecycle={"Run": "true"}), "Run must be spelled run"),
    (in_manifest(Lifecycle={"run": "a", "shutdown": "b"}), "shutdown is unknown to nucleus lite"),
    (in_manifest(Lifecycle={"run": {"Script": "a", "Skipif": "onpath b"}}), "Skipif is unknown"),
    (changed(ComponentPublisher=7), "ComponentPublisher must be a text"),
    (changed(ComponentType="aws.greengrass.generik"), "ComponentType must be one of"),
    (changed(ComponentDependencies=["a"]), "ComponentDependencies is not an object"),
    (changed(ComponentDependencies={"a": {}}), "a.VersionRequirement must be a range such as ^1.1.0"),
    (changed(ComponentDependencies={"a": {"VersionRequirement": "newest"}}), "must be a range"),
    (changed(ComponentDependencies={"a": depends(DependencyType="FIRM")}), "must be HARD or SOFT"),
    (changed(ComponentDependencies={"deeplens-x": depends()}), "deeplens-x is the component itself"),
    (in_manifest(Selections="all"), "Selections must be a list of texts"),
    (in_manifest(Lifecycle={"linux": {"run": ""}}), "Lifecycle.linux.run needs a script"),
    (in_manifest(Lifecycle={"run": step(RequiresPrivilege="maybe")}), "RequiresPrivilege must be true"),
    (in_manifest(Lifecycle={"run": step(Skipif="python3")}), "Skipif must be `onpath PROGRAM`"),
    (in_manifest(Lifecycle={"run": "echo {dep:configuration:/a}"}), "of another component, unknown"),
]


@pytest.mark.parametrize(("recipe", "complaint"), WRONG)
def test_a_wrong_recipe_is_told_what_is_wrong_with_it(recipe: Any, complaint: str) -> None:
    assert complaint in check_recipe(recipe)[0]


ANYWHERE = {"Platform": {"os": "*", "runtime": "*"}, "Lifecycle": {"run": "true"}}
ZIPPED = {"Uri": "s3://bucket/app.zip", "Unarchive": "ZIP"}
UNPACKED = "{artifacts:decompressedPath}"
TRAPS = [
    (defaults(top=3), 'DefaultConfiguration.top is a number, which a nucleus may turn into 3.0; write "3"'),
    (defaults(deep={"share": 0.5}), "DefaultConfiguration.deep.share is a number"),
    (allows("$aws/things/x/infer"), "is reserved: AWS IoT may cut the connection"),
    (allows("x/infer", "PublishToIotCore"), "which aws.greengrass.ipc.mqttproxy has not; it has"),
    (
        defaults(accessControl={"aws.greengrass.ipc.pubsub": {"x:pubsub:1": {"operations": ["*"]}}}),
        "needs operations and resources, or it allows nothing",
    ),
    (changed(Manifests=[ANYWHERE, ANYWHERE]), "Manifests[1] is never reached: Manifests[0]"),
    (in_manifest(Platform={"architecture": "x86_64", "runtime": "*"}), "which no device is; known are amd64"),
    (in_manifest(Artifacts=[{**ZIPPED, "Uri": "s3://bucket/app.tgz"}]), "needs a name that ends in .zip"),
    (in_manifest(Artifacts=[{**ZIPPED, "Digest": "x"}]), "Digest is written by the cloud; leave it out"),
    (
        in_manifest(Artifacts=[ZIPPED], Lifecycle={"run": f"python3 {UNPACKED}/app.zip/run.py"}),
        "looks for 'app.zip' below the unpacked artifacts",
    ),
    (in_manifest(Lifecycle={"install": "pip install numpy", "run": "a"}), "give it a longer Timeout"),
    (in_manifest(Lifecycle={"run": step(Timeout=60)}), "is ended after its Timeout of 60 seconds"),
    (in_manifest(Lifecycle={"install": step(Timeout="0.5")}), "both nuclei count whole seconds"),
    (in_manifest(Lifecycle={"run": "python3 x.py &"}), "ends at once, since its program goes"),
    (in_manifest(Lifecycle={"run": "ls {artifacts:decompressPath}"}), "which no nucleus knows; it knows"),
    (in_manifest(Lifecycle={"run": "echo {configuration:/a/b}"}), "which DefaultConfiguration does not have"),
]


@pytest.mark.parametrize(("recipe", "sentence"), TRAPS)
def test_what_works_otherwise_than_one_thinks_is_told(recipe: Any, sentence: str) -> None:
    assert check_recipe(recipe) == []
    (found,) = inspect_recipe(recipe)
    assert found.kind == "trap"
    assert sentence in found.sentence


def test_a_recipe_of_many_parts_may_have_nothing_wrong_with_it() -> None:
    recipe = defaults(a={"b": "1", "on": True})
    recipe["ComponentDependencies"] = {"aws.greengrass.Nucleus": depends(VersionRequirement=">=2.6.0 <3.0.0")}
    recipe["Manifests"][0] |= {
        "Artifacts": [ZIPPED],
        "Selections": ["all"],
        "Lifecycle": {
            "Setenv": {"A": "1", "B": 2},
            "install": step(Script="python3 -m venv v", Timeout=600, RequiresPrivilege="false"),
            "run": f"{UNPACKED}/app/run.sh '{{configuration:/a/b}}' && echo {{iot:thingName}}",
        },
    }
    assert inspect_recipe(recipe) == []


def test_what_is_refused_is_told_before_anything_else() -> None:
    recipe = in_manifest(Platform={"os": "linux"}, Lifecycle={"rnu": "true &"})
    assert [found.kind for found in inspect_recipe(recipe)] == ["refused"]


# In files.


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("r.json", "{", "r.json is not JSON: "),
        ("r.json", '{"ComponentName": "a", "ComponentName": "b"}', "says 'ComponentName' twice"),
        ("r.yaml", "a: [", "r.yaml, line 1 is not YAML: "),
        ("r.yaml", "a: 1\nb: 2\na: 3\n", "says 'a' twice in one place"),
        ("r.yaml", "? [a]\n: b\n", "a key that is no text"),
        ("r.json", b"\xff\xfe{", "is not UTF-8"),
    ],
)
def test_a_file_that_is_no_recipe_is_told_so(tmp_path: Path, name: str, text: Any, complaint: str) -> None:
    file = tmp_path / name
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(RecipeError, match=re.escape(complaint)):
        read_recipe(file)


def test_a_recipe_may_be_json_or_yaml_whatever_the_file_is_called(tmp_path: Path) -> None:
    recipe = other_recipe("deeplens-x")
    for name, text in (
        ("r.json", json.dumps(recipe)),
        ("recipe", json.dumps(recipe)),
        ("r.yml", yaml.safe_dump(recipe)),
        # A date and a number, to YAML, unless they are put in quotes.
        ("r.yaml", yaml.safe_dump(recipe).replace("'2020-01-25'", "2020-01-25")),
    ):
        (tmp_path / name).write_text(text, encoding="utf-8")
        assert read_recipe(tmp_path / name) == recipe


def test_the_command_prints_what_is_wrong_as_a_table(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"

    def check(recipe: Any) -> tuple[int, list[str]]:
        file.write_text(yaml.safe_dump(recipe), encoding="utf-8")
        command = [sys.executable, "-m", "gtlabel", "deploy", "check", str(file)]
        run = subprocess.run(command, capture_output=True, text=True, timeout=120)
        return run.returncode, [" ".join(line.split()) for line in run.stdout.splitlines()]

    assert check(in_manifest(Platform={"os": "linux"}, Lifecycle={"run": "true &"})) == (
        1,
        [
            "kind problem",
            'lite Manifests[0].Platform needs "runtime": "*"; nucleus lite finds no manifest without it',
            "trap Manifests[0].Lifecycle.run ends at once, since its program goes into the background; "
            "leave the & out",
        ],
    )
    assert check(defaults(top=3))[0] == 0


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
