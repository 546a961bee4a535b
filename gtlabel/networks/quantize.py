"""A network in 8 bits: a quarter of the size, two to four times as fast, and almost as right.

Static quantization of onnxruntime
(https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html): pairs of QuantizeLinear and
DequantizeLinear around convolutions, sums and maxima, each with the range that its values had over pictures
of the real kind. What leads from the last features to the probabilities stays in 32 bits.

- Activations are unsigned, weights signed with a scale for each channel. onnxruntime's default, both signed,
  took nearly twice as long on x86 (tests/benchmarks/conversion.py).
- Weights use 7 of the 8 bits. Without VNNI, which no such camera has, a processor adds two products in 16
  bits and cuts off what does not fit; 2 * 255 * 64 does. So a network is as right there as where it was
  judged.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gtlabel.errors import MissingExtraError, QuantizationError
from gtlabel.networks.folding import folded
from gtlabel.networks.runtime import Network, load_quantization

Floats = NDArray[np.float32]

MOST_DROP = 0.01
# Ranges hardly change any more from some dozens on; each picture costs one answer in 32 bits.
CALIBRATE = 128

_QUANTIZED = ["Conv", "Add", "MaxPool", "Relu"]
# An error of half a step in what goes in becomes one of many steps in what comes out.
_MAGNIFYING = ("Exp", "Log", "Pow", "Reciprocal", "Sqrt")
_THRESHOLD = 0.5
_BATCH = 32


@dataclass(frozen=True, slots=True)
class Choice:
    """Whether a network is used in 8 bits, and why.

    Attributes:
        kept: whether it is.
        decision: why, in a sentence.
        pictures: how many both were judged by.
        calibrated: how many of them gave the ranges; 0 where 8 bits were not tried.
        fp32: the share of the pictures that the network has right.
        int8: the share that it has right in 8 bits; None where they were not tried.
        same: the share that it answers alike in both; None where 8 bits were not tried.
        most_drop: what the share may lose.
        fp32_bytes: the size of the file.
        int8_bytes: its size in 8 bits; None where they were not tried.
        network: the file in 8 bits; None unless it is kept.
    """

    kept: bool
    decision: str
    pictures: int
    calibrated: int
    fp32: float
    int8: float | None
    same: float | None
    most_drop: float
    fp32_bytes: int
    int8_bytes: int | None
    network: bytes | None = field(default=None, repr=False)

    @property
    def drop(self) -> float | None:
        """What the share of right answers loses; below 0 where it gains."""
        return None if self.int8 is None else self.fp32 - self.int8

    def to_json(self) -> dict[str, Any]:
        """All but the network itself."""
        facts = {name: value for name, value in asdict(self).items() if name != "network"}
        return {**facts, "drop": self.drop}


def choose_int8(
    model: bytes,
    pictures: Sequence[Floats],
    labels: Sequence[int | Sequence[int]],
    *,
    most_drop: float = MOST_DROP,
    calibrate: int = CALIBRATE,
) -> Choice:
    """Quantize a network and keep that only if it is about as often right as before.

    A drop within `most_drop` is one of pictures counted, so of 50 pictures none may be lost at 0.01.

    Args:
        model: the network as ONNX.
        pictures: those of the validation channel as the network takes them, each (channels, height, width)
            with raw values; a sequence that decodes them when they are asked for costs no memory.
        labels: the class of each by its index, or the indices of all its classes for a multi-label network,
            which has a picture right if it says exactly those.
        most_drop: the share of the pictures that may be lost, 0 to 1.
        calibrate: how many of the pictures give the ranges, taken at even distances.

    Raises:
        QuantizationError: if there are no pictures, or they do not fit the network or the labels.
        ArtifactError: if this is not a network of ours.
        MissingExtraError: if onnx or onnxruntime is not installed.
    """
    if not len(pictures) or len(pictures) != len(labels):
        raise QuantizationError(
            f"choosing between 32 and 8 bits takes pictures whose class is known; there are {len(pictures)} "
            f"pictures and {len(labels)} labels"
        )
    network = Network(model)
    before = _answers(network, pictures)
    truth = _truth(labels, before.shape[1])
    right = _share(before, truth)

    def choice(decision: str, **facts: Any) -> Choice:
        known = {"kept": False, "calibrated": 0, "int8": None, "same": None, "int8_bytes": None} | facts
        return Choice(
            decision=decision,
            pictures=len(pictures),
            fp32=right,
            most_drop=most_drop,
            fp32_bytes=len(model),
            **known,
        )

    if reason := unsuited(model):
        return choice(f"fp32 is used: {reason}")
    chosen = _evenly(len(pictures), calibrate)
    quantized = quantize(model, [pictures[index] for index in chosen])
    after = _answers(Network(quantized), pictures)
    share = _share(after, truth)
    facts = {
        "calibrated": len(chosen),
        "int8": share,
        "same": float((before == after).all(axis=1).mean()),
        "int8_bytes": len(quantized),
    }
    by_fp32, by_int8 = (round(each * len(pictures)) for each in (right, share))
    told = f"int8 has {by_int8:,} of {len(pictures):,} pictures right, fp32 {by_fp32:,}"
    # What is 0.29 of 100 pictures is 28.999... in the arithmetic of a computer.
    allowed = math.floor(most_drop * len(pictures) + 1e-9)
    if by_fp32 - by_int8 > allowed:
        limit = f"at most {most_drop:.1%} may be lost, which is {allowed or 'none'}"
        return choice(f"fp32 is used: {told}, and {limit}", **facts)
    if len(quantized) >= len(model):
        return choice(f"fp32 is used: int8 would be no smaller ({len(quantized):,} bytes)", **facts)
    return choice(f"int8 is used: {told}", **facts, kept=True, network=quantized)


def unsuited(model: bytes) -> str:
    """Why a network gains nothing from 8 bits; empty if it may.

    The networks of the embedded trainer compare colors by exponentials of differences between large sums: in
    8 bits one on real photographs fell from 82 % to 29 % right, and took twice as long, since it changes
    between 8 and 32 bits at every step (tests/benchmarks/conversion.py).
    """
    operators = {node.op_type for node in _parsed(model).graph.node}
    if odd := sorted(operators.intersection(_MAGNIFYING)):
        return f"its operators {', '.join(odd)} magnify what rounding to 8 bits leaves"
    if "Conv" not in operators:
        return "it has no convolutions, which is what 8 bits speed up"
    return ""


def quantize(model: bytes, pictures: Sequence[Floats]) -> bytes:
    """A network in 8 bits; the same one and the same pictures give the same bytes on one kind of machine.

    The file says of itself what the one in 32 bits does, and more: `precision` is `int8`, `quantized-from`
    the SHA-256 of the file it was made from, `calibrated-on` the number of pictures.

    Args:
        model: the network as ONNX.
        pictures: some dozens as the network takes them, each (channels, height, width) with raw values.

    Raises:
        QuantizationError: if there is no picture, one does not fit, the network is one of 8 bits already, or
            onnxruntime cannot do it.
        MissingExtraError: if onnx or onnxruntime is not installed.
    """
    quantization = load_quantization()
    import onnx

    before = _parsed(model)
    if any(node.op_type == "QuantizeLinear" for node in before.graph.node):
        raise QuantizationError("this network computes in 8 bits already; quantize the one it was made from")
    name, shape = _input(before)
    if not len(pictures):
        raise QuantizationError("quantizing takes pictures to see which values occur; give it some dozens")
    prepared = folded(before)
    # Else onnxruntime advises its own preparation, on stderr, and changes the program's logging for it.
    prepared.metadata_props.add(key="onnx.quant.pre_process", value="onnxruntime.quant")
    with tempfile.TemporaryDirectory(prefix="gtlabel-") as folder:
        source, target = Path(folder) / "fp32.onnx", Path(folder) / "int8.onnx"
        source.write_bytes(prepared.SerializeToString())
        try:
            quantization.quantize_static(
                str(source),
                str(target),
                _Calibration(name, _checked(pictures, shape)),
                quant_format=quantization.QuantFormat.QDQ,
                op_types_to_quantize=_QUANTIZED,
                per_channel=True,
                reduce_range=True,
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
                calibrate_method=quantization.CalibrationMethod.MinMax,
            )
        except QuantizationError:
            raise
        # What it raises is whatever it stumbles over, in itself and in the onnx that it works with.
        except Exception as error:
            versions = f"onnxruntime {version('onnxruntime')} with onnx {version('onnx')}"
            reason = " ".join(str(error).split())
            raise QuantizationError(f"{versions} cannot make 8 bits of this network: {reason}") from error
        after = onnx.load(str(target))
    facts = {each.key: each.value for each in before.metadata_props} | {
        "precision": "int8",
        "quantized-from": sha256(model).hexdigest(),
        "calibrated-on": str(len(pictures)),
    }
    onnx.helper.set_model_props(after, dict(sorted(facts.items())))
    after.producer_name, after.producer_version = "gtlabel", version("gtlabel")
    tensors = sorted(after.graph.initializer, key=lambda tensor: tensor.name)
    del after.graph.initializer[:], after.graph.value_info[:]
    after.graph.initializer.extend(tensors)
    data: bytes = after.SerializeToString(deterministic=True)
    return data


class _Calibration:
    """Hands out the pictures one at a time, as onnxruntime's `CalibrationDataReader` does."""

    def __init__(self, name: str, pictures: Iterator[Floats]) -> None:
        self._name = name
        self._left = pictures

    def get_next(self) -> dict[str, Floats] | None:
        """The network's input for the next picture; None after the last."""
        picture = next(self._left, None)
        return None if picture is None else {self._name: picture[None]}


def _parsed(model: bytes) -> Any:
    try:
        import onnx
        from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingExtraError("quantizing a network", "edge") from error
    try:
        return onnx.load_from_string(model)
    except DecodeError as error:
        raise QuantizationError("this is not an ONNX network, so it cannot be quantized") from error


def _input(model: Any) -> tuple[str, tuple[int, ...]]:
    """The name of a network's input, and the shape of one picture."""
    first = model.graph.input[0]
    return first.name, tuple(int(each.dim_value) for each in first.type.tensor_type.shape.dim[1:])


def _checked(pictures: Sequence[Floats], shape: tuple[int, ...]) -> Iterator[Floats]:
    for number, picture in enumerate(pictures):
        if picture.shape != shape:
            raise QuantizationError(
                f"picture {number} has the shape {picture.shape}, and the network takes {shape}; "
                "make it an input with Network.load"
            )
        yield np.ascontiguousarray(picture, dtype=np.float32)


def _answers(network: Network, pictures: Sequence[Floats]) -> NDArray[np.bool_]:
    """Which classes a network gives each picture, one row for each."""
    shape = (network.channels, network.height, network.width)
    rows = []
    for start in range(0, len(pictures), _BATCH):
        part = [pictures[index] for index in range(start, min(start + _BATCH, len(pictures)))]
        probabilities = network.probabilities(np.stack(list(_checked(part, shape))))
        if network.multi_label:
            rows.append(probabilities >= _THRESHOLD)
        else:
            rows.append(np.eye(probabilities.shape[1], dtype=bool)[probabilities.argmax(axis=1)])
    return np.concatenate(rows)


def _truth(labels: Sequence[int | Sequence[int]], classes: int) -> NDArray[np.bool_]:
    truth = np.zeros((len(labels), classes), dtype=bool)
    for row, label in enumerate(labels):
        for index in label if isinstance(label, Sequence) else [label]:
            if not 0 <= index < classes:
                raise QuantizationError(
                    f"picture {row} is of the class {index}, and the network knows 0 to {classes - 1}"
                )
            truth[row, index] = True
    return truth


def _share(answers: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    return float((answers == truth).all(axis=1).mean())


def _evenly(count: int, wanted: int) -> list[int]:
    """Indices at even distances; all of them if there are no more than wanted."""
    return sorted({round(index) for index in np.linspace(0, count - 1, min(count, max(wanted, 1)))})
