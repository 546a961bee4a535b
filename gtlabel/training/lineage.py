"""Where a model comes from, as tags of its training job.

A tag's value has at most 256 characters, and few signs besides letters and digits
(https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_Tag.html). So lists are told by their digest,
which tells two apart for certain, and by as many of their members as there is room for, for people to read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from hashlib import sha256
from importlib.metadata import version

from gtlabel.training.data import TrainingData

DATASET = "gtlabel:dataset"
DATASET_DIGEST = "gtlabel:dataset-sha256"
CLASSES = "gtlabel:classes"
CLASSES_DIGEST = "gtlabel:classes-sha256"
JOBS = "gtlabel:labeling-jobs"
VERSION = "gtlabel:version"

_LONGEST = 256
# What a tag cannot hold; `\w` is what AWS calls letters and numbers, and a little more.
_UNFIT = re.compile(r"[^\w\s.:/=+\-@]")


def lineage_tags(data: TrainingData) -> dict[str, str]:
    """The tags of a job that trains on a dataset."""
    tags = {
        DATASET: _fit(data.uri),
        DATASET_DIGEST: data.digest,
        CLASSES: _listed(f"{label}={name}" for label, name in enumerate(data.classes)),
        CLASSES_DIGEST: classes_digest(data.classes),
        JOBS: _listed(data.jobs),
        VERSION: version("gtlabel"),
    }
    return {key: value for key, value in tags.items() if value}


def classes_digest(names: Sequence[str]) -> str:
    """The SHA-256 of the names in their order, in hexadecimal."""
    return sha256(json.dumps(list(names), ensure_ascii=False).encode("utf-8", "surrogatepass")).hexdigest()


def _listed(members: Iterable[str]) -> str:
    """As many members as there is room for, and how many more there are."""
    fitting = [_UNFIT.sub("_", member) for member in members]
    whole = " ".join(fitting)
    if len(whole) <= _LONGEST:
        return whole
    for kept in range(len(fitting) - 1, 0, -1):
        text = f"{' '.join(fitting[:kept])} +{len(fitting) - kept}"
        if len(text) <= _LONGEST:
            return text
    return _fit(whole)


def _fit(text: str) -> str:
    return _UNFIT.sub("_", text)[:_LONGEST]
