"""A dataset as other programs read it, one module for each of their formats.

Each has one function, `write(examples, classes, target)`: it takes the examples channel by channel, holds one
at a time, writes each file whole or not at all, and the same bytes for the same examples. Which labels and
channels an example has was decided before; here it is only spelled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from importlib import import_module

from gtlabel.datasets.channels import Dataset, Example, read_channel
from gtlabel.datasets.formats.target import Folder, Prefix, Target, Written
from gtlabel.errors import DatasetError
from gtlabel.manifests.classes import ClassList

__all__ = [
    "FORMATS",
    "Folder",
    "Prefix",
    "Target",
    "Writer",
    "Written",
    "check_formats",
    "export_dataset",
    "files_of",
    "write_format",
]

Writer = Callable[[Iterable[Example], ClassList, Target], list[Written]]

# What each is for, as help and errors tell it.
FORMATS: Mapping[str, str] = {
    "augmented": "augmented manifests, for SageMaker in Pipe mode",
    "lst": "lists of index, label and path, for SageMaker in File mode and MXNet",
    "recordio": "pictures and labels in one file with its index, as im2rec packs them",
    "imagefolder": "class folders by channel with their metadata, for Hugging Face and torchvision",
    "csv": "a table for each channel",
    "coco": "images, annotations and categories, as COCO has them",
    "croissant": "tables and their description in JSON-LD, for catalogs and ML libraries",
}


_FILES: Mapping[str, tuple[str, ...]] = {
    "augmented": ("{}.manifest",),
    "lst": ("{}.lst",),
    "recordio": ("{}.rec", "{}.idx"),
    "imagefolder": ("imagefolder/{}/metadata.jsonl",),
    "csv": ("{}.csv",),
    "coco": ("{}.coco.json",),
    "croissant": ("{}.csv", "croissant.json"),
}


def files_of(formats: Iterable[str], channels: Iterable[str]) -> frozenset[str]:
    """The names of the files that formats have for these channels, below the target."""
    listed = tuple(channels)
    return frozenset(
        name.format(channel) for format_ in formats for name in _FILES[format_] for channel in listed
    )


def check_formats(names: Iterable[str]) -> tuple[str, ...]:
    """The names, each once, in the order of `FORMATS`.

    Raises:
        DatasetError: if there is no format of that name.
    """
    wanted = set(names)
    for name in sorted(wanted - FORMATS.keys()):
        raise DatasetError(f"there is no format {name!r}; choose among {', '.join(FORMATS)}")
    return tuple(name for name in FORMATS if name in wanted)


def write_format(name: str, examples: Iterable[Example], classes: ClassList, target: Target) -> list[Written]:
    """Write a dataset in one format, and return the files in the order they were written.

    Args:
        name: one of `FORMATS`.
        examples: one channel after the other.
        classes: the position of a name is its label.
        target: where to, and where the pictures are.

    Raises:
        DatasetError: if there is no such format, or the examples cannot be told in it.
    """
    (checked,) = check_formats([name])
    module = import_module(f"gtlabel.datasets.formats.{checked}")
    write: Writer = module.write
    return write(examples, classes, target)


def export_dataset(dataset: Dataset, name: str, target: Target) -> list[Written]:
    """Write a dataset that is finished in one format; see `write_format`."""
    examples = (
        example for channel in dataset.channels for example in read_channel(target.s3, dataset, channel)
    )
    return write_format(name, examples, dataset.names, target)
