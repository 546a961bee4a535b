"""Augmented manifests, as Ground Truth would have written them for one job over the copies.

https://docs.aws.amazon.com/sagemaker/latest/dg/augmented-manifest.html; contract/training.md §1.5
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from gtlabel.datasets.channels import LABEL_ATTRIBUTE, ORIGINAL_REF, Example
from gtlabel.datasets.formats.target import Target, Written, channels_of
from gtlabel.manifests.classes import ClassList
from gtlabel.manifests.provenance import LICENCE, SOURCE


def write(examples: Iterable[Example], classes: ClassList, target: Target) -> list[Written]:
    """Write `<channel>.manifest` for each channel."""
    return [
        target.write(f"{channel}.manifest", _lines(members, classes), "application/jsonlines")
        for channel, members in channels_of(examples)
    ]


def _lines(examples: Iterable[Example], classes: ClassList) -> Iterator[bytes]:
    labels = {name: position for position, name in enumerate(classes)}
    for example in examples:
        line: dict[str, Any] = {
            "source-ref": example.image,
            LABEL_ATTRIBUTE: labels[example.class_name],
            f"{LABEL_ATTRIBUTE}-metadata": {**example.label.to_json(), "class-name": example.class_name},
            ORIGINAL_REF: example.original,
        }
        if example.source is not None:
            line[SOURCE] = example.source
        if example.licence is not None:
            line[LICENCE] = example.licence
        yield json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
