"""A small convolutional network in PyTorch, trained on whatever channels it is given.

    gtlabel local pipe pictures/ --set epochs=5 -- python samples/pytorch/train.py

The same file is the script of a job in SageMaker's PyTorch image (README.md beside it). It needs torch,
pillow and gtlabel's base install; no GPU, no torchvision. What it leaves: `model.pt` (the weights),
`classes.json` (what its answers mean), and `model.onnx` where the package onnx is installed.

Hyperparameters: epochs, batch_size, learning_rate, side (of the pictures, in pixels), seed.
"""

from __future__ import annotations

import io
import json
import random
import sys
import warnings
from collections.abc import Iterator
from importlib.util import find_spec

import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from gtlabel.training import reader


class Channel(IterableDataset):  # type: ignore[misc]
    """One epoch of a channel as a dataset of torch; in Pipe mode it wants one process, num_workers=0."""

    def __init__(self, name: str, epoch: int, side: int) -> None:
        self.name, self.epoch, self.side = name, epoch, side

    def __iter__(self) -> Iterator[tuple[Tensor, reader.Label]]:
        for picture, label in reader.read_channel(self.name, self.epoch, shuffle=1):
            yield to_tensor(picture, self.side), label


def to_tensor(picture: bytes, side: int) -> Tensor:
    """A picture as the network takes it: the whole of it, squeezed into a square, colors from 0 to 255."""
    with Image.open(io.BytesIO(picture)) as image:
        # A JPEG is decoded at a fraction of its size, which is all that is needed.
        image.draft("RGB", (side, side))
        small = image.convert("RGB").resize((side, side), Image.Resampling.BILINEAR)
    pixels = torch.frombuffer(bytearray(small.tobytes()), dtype=torch.uint8)
    return pixels.reshape(side, side, 3).permute(2, 0, 1).float()


def network(classes: int) -> nn.Sequential:
    """Four convolutions, each on a quarter of the pixels that the one before had."""
    # Brings raw colors to one scale, as the built-in's first layer does; devices need not know of it.
    layers: list[nn.Module] = [nn.BatchNorm2d(3, affine=False)]
    width = 3
    for wider in (16, 32, 64, 64):
        layers += [nn.Conv2d(width, wider, 3, stride=2, padding=1), nn.BatchNorm2d(wider), nn.ReLU()]
        width = wider
    return nn.Sequential(
        *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(width, classes)
    )


def main() -> None:
    """Train for some epochs, or until the platform wants an end, and leave the best model."""
    settings = reader.hyperparameters()
    side = settings.integer("side", 64)
    batch = settings.integer("batch_size", 16)
    torch.manual_seed(settings.integer("seed", 7))
    random.seed(settings.integer("seed", 7))
    names = reader.class_names()
    model = network(len(names))
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.number("learning_rate", 0.003))
    stop = reader.stop_requested()
    best, kept = -1.0, model.state_dict()
    for epoch in range(settings.integer("epochs", 10)):
        model.train()
        right = seen = 0
        for pictures, labels in DataLoader(Channel("train", epoch, side), batch_size=batch):
            # Trash has no left and no right side.
            pictures = pictures.flip(3) if random.random() < 0.5 else pictures
            scores = model(pictures)
            loss = nn.functional.cross_entropy(scores, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            right += int((scores.argmax(1) == labels).sum())
            seen += len(labels)
        # As the built-in algorithm says it, so that gtlabel and the console draw the same curve.
        print(f"Epoch[{epoch}] Train-accuracy={right / seen:.6f}", flush=True)
        accuracy = judge(model, epoch, side, batch)
        print(f"Epoch[{epoch}] Validation-accuracy={accuracy:.6f}", flush=True)
        if accuracy >= best:
            best, kept = accuracy, {name: value.clone() for name, value in model.state_dict().items()}
        if stop.is_set():
            print("asked to end: the best model so far is saved", flush=True)
            break
    model.load_state_dict(kept)
    save(model.eval(), names, side)


def judge(model: nn.Module, epoch: int, side: int, batch: int) -> float:
    """The accuracy on the validation channel."""
    model.eval()
    right = seen = 0
    with torch.no_grad():
        for pictures, labels in DataLoader(Channel("validation", epoch, side), batch_size=batch):
            right += int((model(pictures).argmax(1) == labels).sum())
            seen += len(labels)
    return right / seen


def save(model: nn.Module, names: tuple[str, ...], side: int) -> None:
    """Leave what a device or an endpoint needs."""
    folder = reader.model_directory()
    torch.save(model.state_dict(), folder / "model.pt")
    (folder / "classes.json").write_text(json.dumps(names), encoding="utf-8")
    if find_spec("onnx") is not None:
        # The exporter without this warning wants one package more.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            nn.Sequential(model, nn.Softmax(1)),
            (torch.zeros(1, 3, side, side),),
            str(folder / "model.onnx"),
            input_names=["data"],
            output_names=["softmax_output"],
            dynamic_axes={"data": {0: "pictures"}, "softmax_output": {0: "pictures"}},
            dynamo=False,
        )


if __name__ == "__main__":
    try:
        main()
    except Exception as error:
        # The job's FailureReason, in place of the last line of a traceback.
        reader.report_failure(error)
        print(f"failed: {error}", file=sys.stderr)
        raise
