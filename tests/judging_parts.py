"""What the tests of evaluation and prediction share: networks whose answers can be foretold, and pictures."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from typer.main import get_command

from gtlabel.aws import Aws
from gtlabel.cli.failures import explain
from gtlabel.errors import GtlabelError
from gtlabel.networks.artifact import Artifact, write_artifact
from gtlabel.networks.symbol import SymbolWriter

COLORS = {"Red": "red", "Green": "lime", "Blue": "blue"}
CLASSES = tuple(COLORS)
GTLABEL = [sys.executable, "-m", "gtlabel"]


def nobody() -> NoReturn:
    raise AssertionError("everything is on disk, and AWS was asked")


def no_aws() -> Aws:
    nobody()


def color_network(
    classes: Sequence[str] = CLASSES, *, several: bool = False, channels: int = 3, sharp: float = 0.03
) -> bytes:
    """A network that says how much there is of each of the first colors; with `several`, each for itself.

    Without names it tells its three outputs apart and does not say what they are called.
    """
    count = len(classes) or 3
    weights = np.zeros((count, channels), np.float32)
    for place in range(min(count, channels)):
        weights[place, place] = sharp
    ending = "Sigmoid" if several else "Softmax"
    nodes = [
        helper.make_node("GlobalAveragePool", ["data"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weights", "bias"], ["scores"], transB=1),
        helper.make_node(ending, ["scores"], ["softmax_output"]),
    ]
    bias = np.full(count, -128 * sharp, np.float32)
    arrays = [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(bias, "bias")]
    facts = {"classes": json.dumps(list(classes))} if classes else {}
    if several:
        facts["multi-label"] = "true"
    return _model(nodes, arrays, (channels, 8, 8), count, facts)


def pixel_network(channels: int, height: int, width: int) -> bytes:
    """A network whose probabilities are the values it was given, so that they can be looked at."""
    outputs = channels * height * width
    nodes = [helper.make_node("Flatten", ["data"], ["softmax_output"])]
    facts = {"classes": json.dumps([f"{number:04d}" for number in range(outputs)])}
    return _model(nodes, [], (channels, height, width), outputs, facts)


def _model(
    nodes: list[Any],
    arrays: list[Any],
    shape: tuple[int, int, int],
    outputs: int,
    facts: dict[str, str],
) -> bytes:
    graph = helper.make_graph(
        nodes,
        "colors",
        [helper.make_tensor_value_info("data", TensorProto.FLOAT, ["n", *shape])],
        [helper.make_tensor_value_info("softmax_output", TensorProto.FLOAT, ["n", outputs])],
        arrays,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, facts)
    return bytes(model.SerializeToString())


def color_artifact(folder: Path, *, several: bool = False, channels: int = 3) -> Path:
    """The same network as the built-in would leave it, unpacked."""
    writer = SymbolWriter()
    data = writer.variable("data")
    pooled = writer.operator("Pooling", "pool", [data], global_pool=True, kernel="(1, 1)", pool_type="avg")
    flat = writer.operator("Flatten", "flat", [pooled])
    scores = writer.operator("FullyConnected", "fc", [flat], ["weight", "bias"], num_hidden=channels)
    ending = "LogisticRegressionOutput" if several else "SoftmaxOutput"
    head = writer.operator(ending, "softmax", [scores], ["label"])
    params = {
        "arg:fc_weight": np.eye(channels, dtype=np.float32) * np.float32(0.03),
        "arg:fc_bias": np.full(channels, -128 * 0.03, np.float32),
    }
    write_artifact(folder, Artifact(writer.finish(head), params, (4, channels, 8, 8)))
    return folder


def picture(color: str, kind: str = "PNG", size: tuple[int, int] = (12, 9)) -> bytes:
    """A picture of one color, or of two, `top/bottom`."""
    top, _, bottom = color.partition("/")
    image = Image.new("RGB", size, top)
    if bottom:
        image.paste(bottom, (0, size[1] // 2, size[0], size[1]))
    body = io.BytesIO()
    image.save(body, kind)
    return body.getvalue()


def class_folders(folder: Path, each: int = 4) -> Path:
    """Pictures of each class in a folder named like it, every one of them right, and one that is cut off."""
    for name, color in COLORS.items():
        (folder / name).mkdir(parents=True)
        for number in range(each):
            (folder / name / f"{number}.png").write_bytes(picture(color))
    (folder / "Blue" / "cut.png").write_bytes(picture("blue")[:40])
    (folder / "Blue" / "notes.txt").write_text("no picture")
    return folder


def gtlabel(
    *arguments: str | Path, stdin: str = "", cache: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """The command as a process."""
    environ = {**os.environ, **({"XDG_CACHE_HOME": str(cache)} if cache else {})}
    return subprocess.run(
        [*GTLABEL, *map(str, arguments)],
        capture_output=True,
        text=True,
        input=stdin,
        env=environ,
        timeout=120,
    )


def here(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    """The command in this process, which starts faster: its exit code and what it printed."""
    from gtlabel.cli.main import app

    try:
        get_command(app).main([str(each) for each in arguments], "gtlabel")
    except SystemExit as end:
        code = int(end.code or 0)
    except GtlabelError as error:
        sentence, code = explain(error) or ("", -1)
        print(f"gtlabel: {sentence}", file=sys.stderr)
    captured = capsys.readouterr()
    return code, captured.out, captured.err
