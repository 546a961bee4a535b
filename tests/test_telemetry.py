"""Nothing of ours lets onnxruntime report to its maker: where it is imported, and what the kernel sees."""

from __future__ import annotations

import ast
import os
import re
import sys
import zipfile
from collections.abc import Iterator
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from edge_parts import color_bundle, picture
from watching_parts import CAUGHT, left_in, watched

import gtlabel
from gtlabel.networks.artifact import read_artifact
from gtlabel.networks.onnx import to_onnx
from gtlabel.networks.quantize import quantize

PACKAGE = Path(gtlabel.__file__).parent
OURS = (PACKAGE, PACKAGE.parent / "samples", PACKAGE.parent / "templates")
DOORS = {"gtlabel/networks/runtime.py", "gtlabel/edge/device/classifier.py"}
SWITCH = "os.environ['ORT_DISABLE_TELEMETRY'] = '1'"
# The first that reports (contract/deployment.md §4.4).
REPORTING = (1, 29)
RESNET = Path(__file__).parent / "recorded" / "mxnet-resnet20"


def programs() -> Iterator[tuple[str, str]]:
    """Those of ours that speak of it, by their name."""
    for root in OURS:
        for path in sorted(root.rglob("*.py")):
            if "onnxruntime" in (text := path.read_text(encoding="utf-8")):
                yield path.relative_to(PACKAGE.parent).as_posix(), text


def imported(tree: ast.AST) -> list[int]:
    """The lines in which onnxruntime or a part of it is imported."""
    lines = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = (
                [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            )
            lines += [node.lineno for name in names if name.split(".")[0] == "onnxruntime"]
    return lines


def test_onnxruntime_is_imported_at_two_doors_only() -> None:
    assert {name for name, text in programs() if imported(ast.parse(text))} == DOORS


def test_nobody_imports_it_by_its_name_in_a_text() -> None:
    by_name = re.compile(r"""(import_module|__import__|run_module)\(\s*["']onnxruntime""")
    assert [name for name, text in programs() if by_name.search(text)] == []


@pytest.mark.parametrize("door", sorted(DOORS))
def test_each_door_switches_telemetry_off_before_it_imports(door: str) -> None:
    tree = ast.parse((PACKAGE.parent / door).read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and imported(node)]
    # All of them are inside of functions: none runs when the module is imported.
    assert sorted(imported(tree)) == sorted(line for function in functions for line in imported(function))
    for function in functions:
        switches = [each.lineno for each in function.body if ast.unparse(each) == SWITCH]
        assert min(switches, default=sys.maxsize) < min(imported(function)), function.name


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    """That of a person at a terminal, in which nothing is said about telemetry yet.

    It is built up, not thinned out: a machine that builds and tests calls itself so by one of many names, and
    onnxruntime, which looks for them, tells nobody anything there.
    """
    return {name: os.environ[name] for name in ("PATH", "LANG", "LD_LIBRARY_PATH") if name in os.environ}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("network") / "model.onnx"
    path.write_bytes(to_onnx(read_artifact(RESNET), "abc"))
    return path


OUR_DOOR = """
import pathlib
from hashlib import sha256
import numpy as np
from gtlabel.networks.quantize import quantize
from gtlabel.networks.runtime import Network

model = pathlib.Path({model!r}).read_bytes()
pictures = [np.full((3, 28, 28), value, np.float32) for value in range(0, 256, 51)]
quantized = quantize(model, pictures)
for network in (Network(model), Network(quantized)):
    assert network.probabilities(np.stack(pictures)).shape == (6, 3)
print(sha256(quantized).hexdigest())
"""


def test_a_network_that_runs_through_our_door_tells_nobody(
    model: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    # Another order of sets and dictionaries, for which the file must be the same.
    program = OUR_DOOR.format(model=str(model))
    run = watched(program, tmp_path, environment | {"PYTHONHASHSEED": "7"})
    assert run.returncode == 0, run.stderr
    assert left_in(tmp_path) == []
    pictures = [np.full((3, 28, 28), value, np.float32) for value in range(0, 256, 51)]
    assert run.stdout.strip() == sha256(quantize(model.read_bytes(), pictures)).hexdigest()


def test_a_bundle_that_runs_on_a_device_tells_nobody(environment: dict[str, str], tmp_path: Path) -> None:
    color_bundle(tmp_path / "bundle.zip")
    folder, home = tmp_path / "bundle", tmp_path / "home"
    with zipfile.ZipFile(tmp_path / "bundle.zip") as bundle:
        bundle.extractall(folder)
    (tmp_path / "red.jpg").write_bytes(picture("red"))
    program = f"""
import runpy
sys.argv = ["run.py", "--image", {str(tmp_path / "red.jpg")!r}]
runpy.run_path({str(folder / "run.py")!r}, run_name="__main__")
"""
    home.mkdir()
    run = watched(program, home, environment)
    assert run.returncode == 0, run.stderr
    assert '"label": "Red"' in run.stdout
    assert left_in(home) == []


def test_the_watch_sees_native_code_that_would_reach_out(environment: dict[str, str], tmp_path: Path) -> None:
    program = "import ctypes; libc = ctypes.CDLL(None); libc.socket(1, 1, 0); print('within', flush=True)\n"
    for family in ("2", "10"):
        run = watched(f"{program}libc.socket({family}, 1, 0); print('out')", tmp_path, environment)
        assert (run.returncode, run.stdout) == (CAUGHT, "within\n"), run.stderr


def test_the_watch_sees_what_onnxruntime_leaves_where_it_is_not_switched_off(
    model: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    program = f"import onnxruntime; onnxruntime.InferenceSession({str(model)!r})"
    run = watched(program, tmp_path, environment)
    reporting = tuple(map(int, version("onnxruntime").split(".")[:2])) >= REPORTING
    # Whether it already reached out, or only made the database it reports from, is its own affair.
    assert run.returncode in (0, CAUGHT), run.stderr
    assert (run.returncode == CAUGHT or bool(left_in(tmp_path))) == reporting
