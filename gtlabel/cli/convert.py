"""`gtlabel convert`: make an ONNX file of a trained network, and one of 8 bits."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gtlabel.cli.options import EndpointUrl, Output, Profile, Region, connect
from gtlabel.cli.output import Format, put_fields, put_json, say
from gtlabel.cli.predict import CLASSES, MODEL

if TYPE_CHECKING:
    from gtlabel.aws import Aws


def convert(
    model: MODEL,
    out: Annotated[Path, typer.Argument(metavar="OUT.onnx", dir_okay=False, help="The file to write.")],
    int8: Annotated[
        Path | None,
        typer.Option(
            "--int8",
            metavar="OUT8.onnx",
            dir_okay=False,
            help="Write one of 8 bits too, if it is about as often right.",
        ),
    ] = None,
    pictures: Annotated[
        str | None,
        typer.Option(
            "--pictures",
            metavar="DATASET",
            help="For --int8: a dataset, a manifest, or class folders, in S3 or on disk; "
            "by default what the training job read.",
        ),
    ] = None,
    most_drop: Annotated[
        float, typer.Option("--most-drop", min=0, max=1, help="The share of the pictures that int8 may lose.")
    ] = 0.01,
    classes: CLASSES = None,
    image_shape: Annotated[
        str | None,
        typer.Option(
            "--image-shape",
            metavar="C,H,W",
            help="Of an artifact without model-shapes.json: channels, height and width of its pictures.",
        ),
    ] = None,
    output: Output = Format.TEXT,
    profile: Profile = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Convert what a training left to ONNX, which every device runs, without MXNet.

    The file tells its classes, how a picture becomes its input, and what it was made from.

    --int8 writes its file only where pictures say so; both accuracies are printed either way.

    Example: gtlabel convert model.tar.gz bins.onnx --int8 bins.int8.onnx --pictures s3://my-bucket/dataset/
    """
    from gtlabel.training.model import open_model, read_classes

    @cache
    def aws() -> Aws:
        return connect(profile, region, endpoint_url)[1]

    shape = _shape(image_shape)
    opened = open_model(model, aws, classes=read_classes(classes) if classes else None, image_shape=shape)
    for warning in opened.warnings:
        say(warning)
    _write(out, opened.onnx)
    network = opened.network
    told: dict[str, Any] = {
        "model": opened.address,
        "file": str(out),
        "bytes": len(opened.onnx),
        "classes": list(opened.classes),
        "input": [network.channels, network.height, network.width],
        "multi_label": network.multi_label,
        "properties": network.metadata,
    }
    choice = None
    if int8 is not None:
        from gtlabel.judging import known_pictures
        from gtlabel.training.precision import choose_precision

        truth = known_pictures(opened, pictures, aws)
        choice = choose_precision(opened, truth.images, most_drop=most_drop)
        if choice.network is not None:
            _write(int8, choice.network)
        told["int8"] = {"file": str(int8) if choice.kept else None, **choice.to_json()}
    if output is Format.JSON:
        put_json(told)
        return
    lines = {
        "file": f"{out}, {len(opened.onnx) / 1e6:.1f} MB",
        "classes": ", ".join(opened.classes),
        "input": f"{network.channels} x {network.height} x {network.width}",
    }
    if choice is not None:
        size = f"{choice.int8_bytes / 1e6:.1f} MB" if choice.int8_bytes else "not made"
        lines["int8"] = f"{int8}, {size}" if choice.kept else f"not written ({size})"
        lines["decision"] = choice.decision
    put_fields(lines)


def _shape(text: str | None) -> tuple[int, int, int] | None:
    if text is None:
        return None
    match text.split(","):
        case [("1" | "3") as channels, height, width] if height.isdecimal() and width.isdecimal():
            return int(channels), int(height), int(width)
    raise typer.BadParameter(
        f"{text!r} is not channels (1 or 3), height and width, such as 3,224,224", param_hint="--image-shape"
    )


def _write(path: Path, data: bytes) -> None:
    """Write a file that appears when it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_bytes(data)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
