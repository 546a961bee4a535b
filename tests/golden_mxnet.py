"""What real MXNet 1.9.1 makes of the built-in's networks: the recipe of `tests/recorded/mxnet-resnets`.

The graphs are built here with MXNet's own functions after the public definition (apache/mxnet,
example/image-classification/symbols/resnet.py), so that nothing of gtlabel takes part. Weights and pictures
are no files: both come from whole numbers, the same on every machine.

Run:
    python3.11 -m venv /opt/mx && /opt/mx/bin/pip install mxnet==1.9.1 numpy==1.23.5
    OMP_NUM_THREADS=1 /opt/mx/bin/python tests/golden_mxnet.py record
    OMP_NUM_THREADS=1 /opt/mx/bin/python tests/golden_mxnet.py answers FOLDER...

The second writes `mxnet.npz` into folders that hold what a trainer left: MXNet's answers to the pictures in
`x.npy`, and these.
"""

from __future__ import annotations

import gzip
import importlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

RECORDED = Path(__file__).parent / "recorded" / "mxnet-resnets"
PICTURES = 3
CLASSES = 4

Floats = NDArray[np.float32]

STEPS = 4
# How networks learn: the hyperparameters, and what MXNet calls them.
RULES: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {
    "sgd": (
        {"learning_rate": 0.005, "momentum": 0.8, "weight_decay": 0.01},
        {"learning_rate": 0.005, "momentum": 0.8, "wd": 0.01},
    ),
    # MXNet 1.9.1 takes the decay from weights that it has already changed here; without, the rule is plain.
    "nag": (
        {"learning_rate": 0.005, "momentum": 0.8, "weight_decay": 0},
        {"learning_rate": 0.005, "momentum": 0.8, "wd": 0},
    ),
    "adam": (
        {"learning_rate": 0.0001, "beta_1": 0.8, "beta_2": 0.99, "eps": 1e-3},
        {"learning_rate": 0.0001, "beta1": 0.8, "beta2": 0.99, "epsilon": 1e-3},
    ),
    "rmsprop": (
        {"learning_rate": 0.0001, "gamma": 0.8, "eps": 1e-3},
        {"learning_rate": 0.0001, "gamma1": 0.8, "epsilon": 1e-3},
    ),
}


@dataclass(frozen=True)
class Case:
    """One network: its depth, its input, and how it ends."""

    layers: int
    shape: tuple[int, int, int]
    multi_label: bool = False
    half: bool = False

    @property
    def name(self) -> str:
        ends = ("-multi" if self.multi_label else "") + ("-half" if self.half else "")
        return f"resnet{self.layers}-{'x'.join(map(str, self.shape))}{ends}"


CASES = (
    Case(20, (3, 28, 28)),
    Case(20, (1, 24, 28)),
    Case(32, (3, 28, 28), multi_label=True),
    Case(20, (3, 28, 28), half=True),
    Case(18, (3, 32, 32)),
    Case(18, (3, 64, 48), multi_label=True),
    Case(50, (3, 64, 64)),
    Case(18, (3, 224, 224)),
    Case(50, (3, 224, 224)),
    Case(152, (3, 224, 224)),
)


def numbers(name: str, shape: Sequence[int]) -> NDArray[np.float64]:
    """Numbers from -1 to 1 that look random: the same for the same name, by whole-number arithmetic alone."""
    start = 0
    for letter in name.encode():
        start = (start * 131 + letter) % (1 << 32)
    value = np.arange(int(np.prod(shape)), dtype=np.uint64) + np.uint64(start)
    for factor in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9):
        value = (value ^ (value >> np.uint64(29))) * np.uint64(factor)
    return ((value >> np.uint64(40)).astype(np.float64) / (1 << 23) - 1).reshape(shape)


def pictures(shape: Sequence[int]) -> Floats:
    """A batch of raw values, whole numbers from 0 to 255 as pictures have them."""
    return np.floor((numbers("data", (PICTURES, *shape)) + 1) * 127.999).astype(np.float32)


def weights(shapes: Mapping[str, Sequence[int]], classifier: float) -> dict[str, Floats]:
    """Weights by their full names, such that no layer dies and none overflows.

    Args:
        shapes: by full name.
        classifier: what the last layer's weights are multiplied with, for answers that are not all 0 and 1.
    """
    made = {}
    for name, shape in shapes.items():
        spread = numbers(name, shape)
        if name.endswith("_moving_mean"):
            values = 127.5 + 5 * spread if "bn_data" in name else spread / 4
        elif name.endswith("_moving_var"):
            values = 5400 + 500 * spread if "bn_data" in name else 1 + spread / 2
        elif name.endswith("_gamma"):
            # The gamma of bn_data is fixed at one, whatever the file says: this says something else.
            values = 1 + spread / 4
        elif name.endswith("_weight"):
            values = spread * np.sqrt(2 / np.prod(shape[1:]))
            values = values * classifier if name == "arg:fc_weight" else values
        else:
            values = spread / 8
        made[name] = values.astype(np.float32)
    return made


def build(mx: Any, case: Case) -> Any:
    """The network, with MXNet's own functions."""
    bottleneck = case.layers >= 50
    large = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3), 152: (3, 8, 36, 3)}
    units: Sequence[int] = large.get(case.layers) or ((case.layers - 2) // 6,) * 3
    widths: Sequence[int] = (64, 256, 512, 1024, 2048) if bottleneck else (64, 64, 128, 256, 512)
    if case.layers not in large:
        widths = (16, 16, 32, 64)

    def norm(data: Any, name: str, fixed: bool = False) -> Any:
        return mx.sym.BatchNorm(data=data, fix_gamma=fixed, eps=2e-5, momentum=0.9, name=name)

    def relu(data: Any, name: str) -> Any:
        return mx.sym.Activation(data=data, act_type="relu", name=name)

    def convolve(data: Any, filters: int, size: int, stride: int, name: str) -> Any:
        return mx.sym.Convolution(
            data=data, num_filter=filters, kernel=(size, size), stride=(stride, stride),
            pad=(size // 2, size // 2), no_bias=True, workspace=256, name=name,
        )  # fmt: skip

    with mx.name.NameManager():
        body = mx.sym.Variable(name="data")
        cast = mx.sym.Cast(data=body, dtype="float16") if case.half else None
        body = mx.sym.identity(data=body, name="id") if cast is None else cast
        body = norm(body, "bn_data", fixed=True)
        if case.shape[1] <= 32:
            body = convolve(body, widths[0], 3, 1, "conv0")
        else:
            body = relu(norm(convolve(body, widths[0], 7, 2, "conv0"), "bn0"), "relu0")
            body = mx.sym.Pooling(data=body, kernel=(3, 3), stride=(2, 2), pad=(1, 1), pool_type="max")
        for stage, (count, width) in enumerate(zip(units, widths[1:], strict=True), 1):
            for unit in range(1, count + 1):
                name, stride = f"stage{stage}_unit{unit}", 2 if stage > 1 and unit == 1 else 1
                steps = [(width, 3, stride), (width, 3, 1)]
                if bottleneck:
                    steps = [(width // 4, 1, 1), (width // 4, 3, stride), (width, 1, 1)]
                source, activated = body, None
                for step, (filters, size, pace) in enumerate(steps, 1):
                    body = relu(norm(body, f"{name}_bn{step}"), f"{name}_relu{step}")
                    activated = body if activated is None else activated
                    body = convolve(body, filters, size, pace, f"{name}_conv{step}")
                body = body + (source if unit > 1 else convolve(activated, width, 1, stride, f"{name}_sc"))
        body = relu(norm(body, "bn1"), "relu1")
        body = mx.sym.Pooling(data=body, global_pool=True, kernel=(7, 7), pool_type="avg", name="pool1")
        body = mx.sym.FullyConnected(data=mx.sym.Flatten(data=body), num_hidden=CLASSES, name="fc")
        if case.half:
            body = mx.sym.Cast(data=body, dtype="float32")
        end = mx.sym.LogisticRegressionOutput if case.multi_label else mx.sym.SoftmaxOutput
        return end(data=body, name="softmax")


def answer(mx: Any, symbol: Any, params: Mapping[str, Any], batch: Floats) -> Floats:
    """What a network says of a batch."""
    module = mx.mod.Module(symbol, label_names=["softmax_label"])
    module.bind([("data", batch.shape)], for_training=False)
    arrays = {name: mx.nd.array(value, dtype=value.dtype) for name, value in params.items()}
    module.set_params(
        {name[4:]: array for name, array in arrays.items() if name.startswith("arg:")},
        {name[4:]: array for name, array in arrays.items() if name.startswith("aux:")},
    )
    module.forward(mx.io.DataBatch([mx.nd.array(batch)]), is_train=False)
    found: Floats = module.get_outputs()[0].asnumpy()
    return found


def truth(case: Case) -> Floats:
    """What the pictures are: their class, or with several labels a row with a one for each."""
    rows = np.eye(PICTURES, CLASSES, dtype=np.float32)
    return rows + rows[:, ::-1] if case.multi_label else rows.argmax(axis=1).astype(np.float32)


def learn(mx: Any, case: Case, optimizer: str, params: Mapping[str, Any]) -> list[Any]:
    """What a network says of the pictures before each of a few steps, while it learns them."""
    batch, labels = pictures(case.shape), truth(case)
    module = mx.mod.Module(build(mx, case), label_names=["softmax_label"])
    module.bind([("data", batch.shape)], [("softmax_label", labels.shape)])
    arrays = {name: mx.nd.array(value) for name, value in params.items()}
    module.set_params(
        {name[4:]: array for name, array in arrays.items() if name.startswith("arg:")},
        {name[4:]: array for name, array in arrays.items() if name.startswith("aux:")},
    )
    module.init_optimizer(optimizer=optimizer, optimizer_params=dict(RULES[optimizer][1]))
    said = []
    for _ in range(STEPS):
        module.forward(mx.io.DataBatch([mx.nd.array(batch)], [mx.nd.array(labels)]), is_train=True)
        said.append(module.get_outputs()[0].asnumpy().tolist())
        module.backward()
        module.update()
    return said


def record(mx: Any) -> None:
    """Write graphs, shapes, types and answers of all cases, and how the first and the third learn."""
    RECORDED.mkdir(parents=True, exist_ok=True)
    facts: dict[str, dict[str, Any]] = {}
    for case in CASES:
        symbol = build(mx, case)
        with gzip.GzipFile(RECORDED / f"{case.name}-symbol.json.gz", "wb", mtime=0) as stream:
            stream.write(json.dumps(json.loads(symbol.tojson()), separators=(",", ":")).encode())
        of_args, _, of_aux = symbol.infer_shape(data=(PICTURES, *case.shape))
        types_of_args, _, types_of_aux = symbol.infer_type(data="float32")
        args = [f"arg:{name}" for name in symbol.list_arguments()]
        aux = [f"aux:{name}" for name in symbol.list_auxiliary_states()]
        shapes = dict(zip([*args, *aux], [*of_args, *of_aux], strict=True))
        types = dict(zip([*args, *aux], [*types_of_args, *types_of_aux], strict=True))
        for name in ("arg:data", "arg:softmax_label"):
            del shapes[name], types[name]
        facts[case.name] = {
            "shapes": shapes,
            "half": [name for name, kind in types.items() if np.dtype(kind) == np.float16],
        }
        # MXNet says of 16 bits: "FP16 gemm on cpu not implemented!"
        if not case.half:
            facts[case.name] |= _spread_answers(mx, case, symbol, shapes)
        if case in (CASES[0], CASES[2]):
            params = weights(shapes, facts[case.name]["classifier"])
            facts[case.name]["learned"] = {rule: learn(mx, case, rule, params) for rule in RULES}
            print(facts[case.name]["learned"])
        print(case.name, facts[case.name].get("answers", "(no answers)"))
    with gzip.GzipFile(RECORDED / "facts.json.gz", "wb", mtime=0) as stream:
        stream.write(json.dumps(facts).encode())


def _spread_answers(mx: Any, case: Case, symbol: Any, shapes: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    """The answers, with the largest classifier in powers of two that leaves room for doubt."""
    scale = 4.0
    while True:
        answers = answer(mx, symbol, weights(shapes, scale), pictures(case.shape))
        if answers.min() > 0.02 and answers.max() < 0.98:
            return {"classifier": scale, "answers": answers.tolist()}
        scale /= 2


def answers_for(mx: Any, folder: Path) -> None:
    """Ask MXNet about what a trainer left."""
    prefix = str(next(folder.glob("*-symbol.json"))).removesuffix("-symbol.json")
    epoch = int(next(folder.glob("*.params")).stem.rpartition("-")[2])
    symbol, args, aux = mx.model.load_checkpoint(prefix, epoch)
    params = {f"arg:{name}": array.asnumpy() for name, array in args.items()}
    params |= {f"aux:{name}": array.asnumpy() for name, array in aux.items()}
    batch = np.load(folder / "x.npy")
    answers = answer(mx, symbol, params, batch.astype(np.float32))
    np.savez_compressed(folder / "mxnet.npz", x=batch, y=answers)
    print(folder, answers.tolist())


def main(arguments: list[str]) -> None:
    """Record, or answer."""
    mx = importlib.import_module("mxnet")
    if arguments[:1] == ["record"]:
        record(mx)
    for folder in arguments[1:]:
        answers_for(mx, Path(folder))


if __name__ == "__main__":
    main(sys.argv[1:])
