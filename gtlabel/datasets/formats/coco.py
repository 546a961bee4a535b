"""Images, annotations and categories, as COCO has them (https://cocodataset.org/#format-data).

An annotation here is of a whole image: it has a category and neither box nor outline. Widths and heights are
left out, for they are in the pictures, and nobody needs them to classify. Images that were collected name
their licence.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterable, Iterator
from typing import Any

from gtlabel.datasets.channels import Example
from gtlabel.datasets.collect.licence import address_of
from gtlabel.datasets.formats.target import Target, Written, channels_of, licence_of, path_of
from gtlabel.manifests.classes import ClassList


def write(examples: Iterable[Example], classes: ClassList, target: Target) -> list[Written]:
    """Write `<channel>.coco.json` for each channel.

    The id of a category is its label plus one, as COCO's own begin with one.
    """
    return [
        target.write(f"{channel}.coco.json", _document(channel, members, classes, target), "application/json")
        for channel, members in channels_of(examples)
    ]


def _document(
    channel: str, examples: Iterable[Example], classes: ClassList, target: Target
) -> Iterator[bytes]:
    labels = {name: position for position, name in enumerate(classes)}
    categories = [{"id": label + 1, "name": name, "supercategory": ""} for name, label in labels.items()]
    yield b'{"info":' + _json({"description": f"images to classify: {channel}", "version": "1.0"})
    yield b',\n"categories":' + _json(categories) + b',\n"images":['
    # Annotations follow all images; of each only its category is kept until then.
    given = array("I")
    licences: dict[str, int] = {}
    comma = b"\n"
    for example in examples:
        image: dict[str, Any] = {
            "id": len(given) + 1,
            "file_name": path_of(example.image, target),
            "coco_url": example.image,
            "original": example.original,
        }
        licence = licence_of(example)
        if licence:
            image["license"] = licences.setdefault(licence, len(licences) + 1)
        if example.source is not None:
            image["source"] = example.source
        given.append(labels[example.class_name] + 1)
        yield comma + _json(image)
        comma = b",\n"
    yield b'],\n"annotations":['
    comma = b"\n"
    for number, category in enumerate(given, start=1):
        yield comma + _json({"id": number, "image_id": number, "category_id": category})
        comma = b",\n"
    # All of them are known only now; JSON leaves the order of keys to those who write.
    listed = [
        {"id": number, "name": name, "url": address_of(name) or ""} for name, number in licences.items()
    ]
    yield b'],\n"licenses":' + _json(listed) + b"}\n"


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
