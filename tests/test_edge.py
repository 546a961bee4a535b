"""The bundle, its program and its recipe."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
from edge_parts import color_bundle, other_recipe, picture
from hypothesis import given
from hypothesis import strategies as st

from gtlabel.edge.archive import extract
from gtlabel.edge.bundle import Bundle
from gtlabel.edge.component import check_recipe, component_recipe, next_version
from gtlabel.errors import RecipeError
from gtlabel.networks.preprocess import load_image
from gtlabel.networks.runtime import Network
from gtlabel.uris import S3Uri

ARTIFACT = S3Uri("s3://deeplens-models/colors/1.0.0/bundle.zip")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return color_bundle(tmp_path_factory.mktemp("bundle") / "bundle.zip")


@pytest.fixture
def unpacked(bundle: Bundle, tmp_path: Path) -> Path:
    extract(bundle.path, tmp_path / "bundle")
    return tmp_path / "bundle"


def run(folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(folder / "run.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_onnxruntime_is_told_to_keep_quiet_before_anything_else_happens(unpacked: Path) -> None:
    program = (unpacked / "run.py").read_text(encoding="utf-8")
    code = program.split('"""', 2)[2].strip().splitlines()
    assert [line for line in code if line and not line.startswith("#")][:2] == [
        "import os",
        'os.environ["ORT_DISABLE_TELEMETRY"] = "1"',
    ]


def rewritten(source: Path, target: Path, **changes: bytes | None) -> Path:
    """A copy of a ZIP with some files changed, added, or (None) left out."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        contents: dict[str, bytes | None] = {name: old.read(name) for name in old.namelist()}
        for name, data in {**contents, **changes}.items():
            if data is not None:
                new.writestr(name, data)
    return target


def test_a_device_computes_what_the_builder_computed(unpacked: Path) -> None:
    passed = run(unpacked, "--selftest")
    assert (passed.returncode, lines(passed.stdout)) == (
        0,
        [{"selftest": "passed", "images": 2, "models": ["fp32"]}],
    )
    image = unpacked / "selftest" / "red.jpg"
    (answer,) = lines(run(unpacked, "--image", image, "--thing", "camera").stdout)
    network = Network(unpacked / "model.onnx")
    expected = network.probabilities(load_image(image.read_bytes(), 8, 8)[None])[0]
    assert answer["label"] == "Red"
    assert answer["confidence"] == pytest.approx(float(expected[0]), abs=1e-5)
    assert [item["label"] for item in answer["top"]] == ["Red", "Green"]
    assert (answer["thing"], answer["image"]) == ("camera", str(image))
    assert set(answer) == {"label", "confidence", "top", "model", "thing", "image", "ts"}


def test_a_doubtful_picture_gets_no_label(unpacked: Path, tmp_path: Path) -> None:
    (tmp_path / "gray.jpg").write_bytes(picture("gray"))
    (answer,) = lines(run(unpacked, "--image", tmp_path / "gray.jpg", "--threshold", "0.9").stdout)
    assert answer["label"] is None
    assert answer["top"][0]["confidence"] == pytest.approx(0.5, abs=0.05)


def test_a_folder_with_a_broken_picture_is_classified_all_the_same(unpacked: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    (folder / "deeper").mkdir(parents=True)
    (folder / "a.jpg").write_bytes(picture("red"))
    (folder / "b.jpg").write_bytes(b"not a picture")
    (folder / "deeper" / "c.JPG").write_bytes(picture("lime"))
    (folder / "notes.txt").write_text("no picture either")
    done = run(unpacked, "--folder", folder, "--top", "1.0")
    assert [line["label"] for line in lines(done.stdout)] == ["Red", "Green"]
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert str(folder / "b.jpg") in done.stderr


def test_a_watched_folder_is_classified_as_it_fills_until_sigterm(unpacked: Path, tmp_path: Path) -> None:
    folder = tmp_path / "camera"
    command = [sys.executable, str(unpacked / "run.py"), "--folder", str(folder), "--watch", "--poll", "0.05"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        for color, label in (("red", "Red"), ("lime", "Green")):
            deadline = time.monotonic() + 20
            while not folder.is_dir():
                assert time.monotonic() < deadline
                time.sleep(0.02)
            (folder / f"{color}.jpg").write_bytes(picture(color))
            assert json.loads(program.stdout.readline())["label"] == label
        program.send_signal(signal.SIGTERM)
        assert program.wait(10) == 0


@pytest.mark.parametrize(
    ("damage", "code", "sentence"),
    [
        ("model.onnx", 3, "model.onnx is not what the bundle was built with"),
        ("SHA256SUMS", 3, "does not list manifest.json"),
        (None, 1, "there is no folder nowhere"),
    ],
)
def test_the_program_says_in_one_sentence_what_is_wrong(
    unpacked: Path, damage: str | None, code: int, sentence: str
) -> None:
    if damage:
        (unpacked / damage).write_bytes(b"")
    done = run(unpacked, "--folder", "nowhere")
    assert done.returncode == code
    assert sentence in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_device_that_computes_something_else_fails_its_self_test(bundle: Bundle, tmp_path: Path) -> None:
    import hashlib

    manifest = json.loads(zipfile.ZipFile(bundle.path).read("manifest.json"))
    manifest["self_test"]["cases"][0]["probabilities"] = {"fp32": [0.5, 0.5]}
    changed = json.dumps(manifest).encode()
    old = hashlib.sha256(zipfile.ZipFile(bundle.path).read("manifest.json")).hexdigest()
    sums = (
        zipfile.ZipFile(bundle.path)
        .read("SHA256SUMS")
        .replace(old.encode(), hashlib.sha256(changed).hexdigest().encode())
    )
    archive = rewritten(bundle.path, tmp_path / "b.zip", **{"manifest.json": changed, "SHA256SUMS": sums})
    extract(archive, tmp_path / "bundle")
    done = run(tmp_path / "bundle", "--selftest")
    assert done.returncode == 4
    assert "is off by" in done.stderr


def test_a_missing_package_is_named_with_the_way_to_get_it(unpacked: Path, tmp_path: Path) -> None:
    hidden = tmp_path / "hidden" / "onnxruntime"
    hidden.mkdir(parents=True)
    (hidden / "__init__.py").write_text("raise ImportError(\"No module named 'onnxruntime'\")")
    done = subprocess.run(
        [sys.executable, str(unpacked / "run.py"), "--selftest"],
        env={**os.environ, "PYTHONPATH": str(hidden.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 5
    assert "pip install -r requirements.txt" in done.stderr


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
