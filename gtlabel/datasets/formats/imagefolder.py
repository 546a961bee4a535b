"""Class folders by channel with their metadata, for Hugging Face's `imagefolder` and torchvision.

    <channel>/<class folder>/<picture>
    <channel>/metadata.jsonl            file_name, label and where the picture came from
    README.md                           the names of the classes in the order of their labels

https://huggingface.co/docs/datasets/image_dataset. torchvision takes the folders for the classes, in
alphabetical order; Hugging Face takes the labels from the metadata.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from gtlabel.datasets.channels import Example
from gtlabel.datasets.formats.target import Target, Written, channels_of, path_of
from gtlabel.manifests.classes import ClassList
from gtlabel.uris import S3Uri

_BRANCH = "imagefolder"


def write(examples: Iterable[Example], classes: ClassList, target: Target) -> list[Written]:
    """Bring the pictures into `imagefolder/`, and write a table of them for each channel and the names."""
    written = []
    for channel, members in channels_of(examples):
        lines: list[bytes] = []
        target.bring(_pictures(channel, members, target, lines))
        written.append(target.write(f"{_BRANCH}/{channel}/metadata.jsonl", lines, "application/jsonlines"))
    written.append(target.write(f"{_BRANCH}/README.md", [_card(classes)], "text/markdown; charset=utf-8"))
    return written


def _pictures(
    channel: str, examples: Iterable[Example], target: Target, lines: list[bytes]
) -> Iterator[tuple[S3Uri, str]]:
    for example in examples:
        path = path_of(example.image, target)
        line = {"file_name": path, "label": example.class_name, "original": example.original}
        lines.append(json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")
        yield example.image, f"{_BRANCH}/{channel}/{path}"


def _card(classes: ClassList) -> bytes:
    names = "".join(f"        '{number}': {json.dumps(name)}\n" for number, name in enumerate(classes))
    return (
        "---\n"
        "task_categories:\n"
        "- image-classification\n"
        "dataset_info:\n"
        "  features:\n"
        "  - name: image\n"
        "    dtype: image\n"
        "  - name: label\n"
        "    dtype:\n"
        "      class_label:\n"
        "        names:\n" + names.replace("        '", "          '") + "  - name: original\n"
        "    dtype: string\n"
        "---\n\n"
        'Pictures by class. Load them with `load_dataset("imagefolder", data_dir=...)`.\n'
    ).encode()
