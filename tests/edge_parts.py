"""What the tests of the last step share: a tiny network, pictures, and an account with Greengrass in it."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import boto3
import moto
import numpy as np
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from gtlabel.aws import Aws
from gtlabel.edge.bundle import Bundle, build_bundle
from gtlabel.emulator import devices, greengrass
from gtlabel.emulator import moto as seam
from gtlabel.emulator.shelf import Shelf

CLASSES = ["Red", "Green"]
BUCKET = "deeplens-models"


def tiny_network(outputs: int = 2) -> bytes:
    """A network that tells red pictures from green ones by their mean color."""
    weights = np.zeros((outputs, 3), np.float32)
    weights[0], weights[1] = (1 / 64, -1 / 64, 0), (-1 / 64, 1 / 64, 0)
    nodes = [
        helper.make_node("GlobalAveragePool", ["data"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weights"], ["scores"], transB=1),
        helper.make_node("Softmax", ["scores"], ["softmax_output"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "colors",
        [helper.make_tensor_value_info("data", TensorProto.FLOAT, ["n", 3, 8, 8])],
        [helper.make_tensor_value_info("softmax_output", TensorProto.FLOAT, ["n", outputs])],
        [numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


def picture(color: str, size: tuple[int, int] = (32, 24)) -> bytes:
    """A JPEG of one color."""
    buffer = io.BytesIO()
    Image.new("RGB", size, color).save(buffer, "JPEG")
    return buffer.getvalue()


def color_bundle(path: Path, **changes: Any) -> Bundle:
    """A bundle of the tiny network."""
    self_test = {"red.jpg": picture("red"), "green.jpg": picture("lime")}
    return build_bundle(tiny_network(), CLASSES, path, **{"self_test": self_test, **changes})


class Clock:
    """A clock that tests move by hand, and that sleeping moves."""

    def __init__(self) -> None:
        self.time = datetime(2026, 11, 22, 12, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time

    def seconds(self) -> float:
        return self.time.timestamp()

    def sleep(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


@dataclass(frozen=True)
class Account:
    """The real clients; Greengrass is the emulator's, S3 and IoT are moto's."""

    aws: Aws
    shelf: Shelf
    clock: Clock

    def device(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """The device API."""
        status, answer = devices.handle(self.shelf, path, body, clock=self.clock.now)
        assert status == 200, answer
        return answer

    def register(self, thing: str) -> str:
        """A device that is there and does nothing by itself; returns its ARN as a target."""
        platform = {"os": "linux", "architecture": "amd64", "runtime": "aws_nucleus_lite"}
        self.device("register", {"thing": thing, "platform": platform})
        return f"arn:aws:iot:us-east-1:123456789012:thing/{thing}"

    def take(self, thing: str, state: str = "RUNNING", **progress: Any) -> dict[str, Any]:
        """Have a device take the deployment that waits for it, and say how it went."""
        deployment = self.device("next", {"thing": thing})["deployment"]
        components = [
            {"name": name, "version": spec["version"], "state": state}
            for name, spec in deployment["components"].items()
        ]
        body = {"thing": thing, "deployment": deployment["id"], "status": "SUCCEEDED", **progress}
        self.device("report", {"components": components, **body})
        return dict(deployment)

    def component(self, name: str, version: str = "1.0.0", **script: Any) -> str:
        """Somebody's component without artifacts, ready to be deployed; returns its ARN."""
        recipe = other_recipe(name, version, **script)
        response = self.aws.greengrass.create_component_version(inlineRecipe=to_json(recipe))
        self.clock.sleep(1)
        return response["arn"]


@contextmanager
def account() -> Iterator[Account]:
    """An empty account with one bucket."""
    shelf, clock, aws = Shelf(), Clock(), _clients()
    operations = greengrass.operations(shelf, lambda _context: aws.s3, clock=clock.now)
    with moto.mock_aws():
        seam.install(lambda service: operations if service == "greengrassv2" else {}, lambda: None)
        try:
            aws.s3.create_bucket(Bucket=BUCKET)
            yield Account(aws, shelf, clock)
        finally:
            seam.uninstall()
    shelf.close()


@cache
def _clients() -> Aws:
    # Making clients takes longer than all that a test does with them.
    return Aws(boto3.Session("key", "secret", region_name="us-east-1"), region="us-east-1")


def other_recipe(name: str, version: str = "1.0.0", **steps: Any) -> dict[str, Any]:
    """The recipe of a component that somebody else wrote."""
    return {
        "RecipeFormatVersion": "2020-01-25",
        "ComponentName": name,
        "ComponentVersion": version,
        "Manifests": [{"Platform": {"os": "*", "runtime": "*"}, "Lifecycle": steps or {"run": "sleep 600"}}],
    }


def to_json(value: Any) -> bytes:
    """A value as JSON bytes."""
    return json.dumps(value).encode()
