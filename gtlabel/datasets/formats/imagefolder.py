"""Class folders by channel with their metadata, for Hugging Face's `imagefolder` and torchvision.

    imagefolder/<channel>/<class folder>/<picture>
    imagefolder/<channel>/metadata.jsonl            file_name, label, label_index, original, license, source

https://huggingface.co/docs/datasets/image_dataset. torchvision takes the folders for the classes, in
alphabetical order; Hugging Face takes what the metadata says, in which `label` is the name of the class and
`label_index` its number in this dataset.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from gtlabel.datasets.channels import Example
from gtlabel.datasets.formats.target import (
    Target,
    Written,
    channels_of,
    licence_of,
    path_of,
    source_of,
)
from gtlabel.manifests.classes import ClassList
from gtlabel.uris import S3Uri

_BRANCH = "imagefolder"


def write(examples: Iterable[Example], classes: ClassList, target: Target) -> list[Written]:
    """Bring the pictures into `imagefolder/`, and write a table of them for each channel."""
    labels = {name: position for position, name in enumerate(classes)}
    written = []
    for channel, members in channels_of(examples):
        lines: list[bytes] = []
        target.bring(f"{_BRANCH}/{channel}", _pictures(members, labels, target, lines))
        written.append(target.write(f"{_BRANCH}/{channel}/metadata.jsonl", lines, "application/jsonlines"))
    return written


def _pictures(
    examples: Iterable[Example], labels: dict[str, int], target: Target, lines: list[bytes]
) -> Iterator[tuple[S3Uri, str]]:
    """Yield what goes where, and leave a line for each."""
    for example in examples:
        path = path_of(example.image, target)
        line = {
            "file_name": path,
            "label": example.class_name,
            "label_index": labels[example.class_name],
            "original": example.original,
            # Texts in every line: libraries take a column of nothing for another type than one of texts.
            "license": licence_of(example),
            "source": source_of(example),
        }
        lines.append(json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")
        yield example.image, path
