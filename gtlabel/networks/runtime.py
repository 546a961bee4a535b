"""Running a converted network. The only door to onnxruntime."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gtlabel.errors import ArtifactError, MissingExtraError
from gtlabel.networks.preprocess import load_image

# Activations of more pictures at once need memory and save no time.
_MOST_AT_ONCE = 32


class Network:
    """A network that turns pictures into probabilities.

    Attributes:
        channels: of the pictures it takes: 3 for RGB, 1 for gray.
        height: of the pictures it takes.
        width: of the pictures it takes.
        outputs: how many classes it tells apart; 0 if the file does not say.
        classes: their names in the order of the probabilities, if the file tells them.
        multi_label: whether a picture may have several classes: each probability then stands for itself.
        warnings: what was odd about what it was converted from, in sentences.
        metadata: everything the file tells about itself.
    """

    def __init__(self, model: bytes | Path, *, threads: int = 1) -> None:
        """Load an ONNX file.

        Args:
            model: the file, or where it is.
            threads: how many cores a prediction may use.

        Raises:
            ArtifactError: if it is not a network of ours.
            MissingExtraError: if onnxruntime is not installed.
        """
        runtime = load_onnxruntime()
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        content = model.read_bytes() if isinstance(model, Path) else model
        try:
            self._session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        # onnxruntime's errors share no base class but this one.
        except Exception as error:
            raise ArtifactError(f"this is not an ONNX network that can run here: {error}") from error
        inputs = self._session.get_inputs()
        match inputs[0].shape if len(inputs) == 1 else None:
            case [_, (1 | 3) as channels, int(height), int(width)]:
                self.channels: Literal[1, 3] = channels
                self.height, self.width = height, width
            case _:
                raise ArtifactError(
                    "this network does not take one batch of RGB or gray pictures of a fixed size"
                )
        self._input = inputs[0].name
        match self._session.get_outputs()[0].shape:
            case [_, int(outputs)]:
                self.outputs = outputs
            case _:
                self.outputs = 0
        self.metadata: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)
        self.classes: tuple[str, ...] = _listed(self.metadata, "classes")
        self.warnings: tuple[str, ...] = _listed(self.metadata, "warnings")
        self.multi_label = self.metadata.get("multi-label") == "true"

    def load(self, picture: bytes) -> NDArray[np.float32]:
        """A picture file as this network takes it: (channels, height, width).

        Raises:
            UnreadablePictureError: if the bytes are not a picture, or not all of it.
        """
        return load_image(picture, self.height, self.width, self.channels)

    def probabilities(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """One row of class probabilities for each picture of a batch (n, channels, height, width)."""
        rows = [
            self._session.run(None, {self._input: batch[start : start + _MOST_AT_ONCE]})[0]
            for start in range(0, len(batch), _MOST_AT_ONCE)
        ]
        return np.concatenate(rows) if rows else np.empty((0, len(self.classes)), dtype=np.float32)


def _listed(metadata: dict[str, str], name: str) -> tuple[str, ...]:
    """The texts of a property that is a list in JSON; none if there is no such property."""
    try:
        texts = json.loads(metadata.get(name, "[]"))
    except ValueError:
        texts = None
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ArtifactError(
            f"this network's property {name!r} is not a list of texts in JSON; remove it there"
        )
    return tuple(texts)


def load_onnxruntime() -> Any:
    """Import onnxruntime with its telemetry off.

    Raises:
        MissingExtraError: if it is not installed.
    """
    # From 1.29 on the official Linux wheels report to Microsoft unless this is set before the import
    # (contract/deployment.md §4.4).
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError("running a network", "edge") from error
    return onnxruntime


def load_quantization() -> Any:
    """Import the part of onnxruntime that makes networks of 8 bits, which needs onnx.

    Raises:
        MissingExtraError: if one of them is not installed.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    try:
        from onnxruntime import quantization
    except ImportError as error:
        raise MissingExtraError("quantizing a network", "edge") from error
    return quantization
