"""Lists of pictures as im2rec and the built-in algorithm in File mode read them.

A line is the running number, the label and the path below the class folders, with tabs between:
https://docs.aws.amazon.com/sagemaker/latest/dg/image-classification.html; contract/training.md §1.4. The
channels `train` and `validation` then name the folder `classes/`, `train_lst` and `validation_lst` these.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from gtlabel.datasets.channels import Example
from gtlabel.datasets.formats.target import Target, Written, channels_of, path_of
from gtlabel.manifests.classes import ClassList


def write(examples: Iterable[Example], classes: ClassList, target: Target) -> list[Written]:
    """Write `<channel>.lst` for each channel."""
    return [
        target.write(f"{channel}.lst", _lines(members, classes, target), "text/tab-separated-values")
        for channel, members in channels_of(examples)
    ]


def _lines(examples: Iterable[Example], classes: ClassList, target: Target) -> Iterator[bytes]:
    labels = {name: position for position, name in enumerate(classes)}
    for number, example in enumerate(examples):
        # Tabs and line ends cannot be in a path: the names of copies have none (`folders.file_of`).
        yield f"{number}\t{labels[example.class_name]}\t{path_of(example.image, target)}\n".encode()
