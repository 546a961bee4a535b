"""The targets of `gtlabel deploy` that need no service: a bundle to copy, for any device or for a DeepLens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from gtlabel.cli.output import Format

if TYPE_CHECKING:
    from gtlabel.aws import Aws

# What the network of 8 bits may lose: one picture of a hundred.
MOST_DROP = 0.01


def write_bundle(
    model: str,
    target: Literal["bundle", "deeplens"],
    connect: Callable[[], Aws],
    *,
    out: Path | None = None,
    name: str | None = None,
    wheels: str | None = None,
    int8: float | None = MOST_DROP,
    pictures: str | None = None,
    classes: str | None = None,
    settings: Mapping[str, str] | None = None,
    dry_run: bool = False,
    output: Format = Format.TEXT,
) -> None:
    """Write a bundle and print what is in it and what to do with it.

    Args:
        model: a training job, or the s3:// address or path of a `model.tar.gz` or an `.onnx` file.
        target: which device it is for.
        connect: gives the clients; not asked for where files are enough.
        out: the ZIP to write, or the folder to unpack it to where it does not end in `.zip`; by default
            `NAME.zip` here.
        name: what unit and folders are called; by default made of the model's name.
        wheels: platforms whose wheels come along, such as `linux-x86_64:3.11,linux-aarch64`.
        int8: what the network of 8 bits may lose of the accuracy to be used; None makes none.
        pictures: pictures whose class is known (a dataset, a manifest, or class folders), for the self-test
            and for int8; by default those that the training job kept from its network.
        classes: the names of the classes, where nothing else tells them.
        settings: arguments of the program for the unit, by the names of the component's configuration.
        dry_run: whether to print what would be written, and write nothing.
        output: how to print.
    """
    raise NotImplementedError(model, target)


def check_core(connect: Callable[[], Aws], thing: str) -> None:
    """Make sure that a Greengrass core device of that name has reported, as a DeepLens that was reflashed may.

    Raises:
        DeviceNotFoundError: if there is none.
    """
    raise NotImplementedError(thing)
