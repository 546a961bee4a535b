"""Where a model comes from, as tags of its training job.

A tag's value has at most 256 characters, and few signs besides letters and digits
(https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_Tag.html). So lists are told by their digest,
which tells two apart for certain, and by as many of their members as there is room for, for people to read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from importlib.metadata import version
from typing import TYPE_CHECKING

from gtlabel.errors import ArtifactError, ObjectNotFoundError
from gtlabel.manifests.classes import class_names
from gtlabel.storage import read
from gtlabel.training.data import TrainingData
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

    from gtlabel.training.jobs import TrainingJob

CLASS_LIST = "classes.json"
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


def trained_classes(
    s3: S3Client,
    job: TrainingJob,
    tags: Mapping[str, str],
    *,
    likely: Sequence[str] = (),
    instead: str = "give the names of then with --classes",
) -> tuple[str, ...]:
    """The class names that a job was trained with; none if nothing says.

    The dataset may have been made anew since, with other classes or in another order: the job's own tags
    tell, where gtlabel started it.

    Args:
        s3: the client.
        job: the job.
        tags: its tags.
        likely: names that may be those, and are if the tags agree.
        instead: what a person can do where names are found, and are not those.

    Raises:
        ArtifactError: if the names that are found are not those.
        ClassListError: if a list of classes is damaged.
    """
    digest = tags.get(CLASSES_DIGEST)
    if likely and digest == classes_digest(likely):
        return tuple(likely)
    folders = [S3Uri(tags[DATASET])] if tags.get(DATASET, "").startswith("s3://") else []
    folders += [job.channels["train"].folder] if "train" in job.channels else []
    other = ""
    for folder in dict.fromkeys(folders):
        names = class_list(s3, folder)
        if names and digest in (None, classes_digest(names)):
            return names
        other = folder / CLASS_LIST if names else other
    # `0=Compost 1=Landfill`; names that a tag cannot hold are changed in it, which the digest shows.
    spelled = re.split(r" (?=\d+=)", tags.get(CLASSES, ""))
    names = tuple(each.partition("=")[2] for each in spelled)
    if digest == classes_digest(names):
        return names
    if other:
        raise ArtifactError(
            f"{other} is not the class list that {job.name!r} was trained with; the dataset was made anew "
            f"since: {instead}"
        )
    return ()


def class_list(s3: S3Client, folder: S3Uri) -> tuple[str, ...]:
    """The names in the `classes.json` of a folder; none if there is no such file."""
    where = folder / CLASS_LIST
    try:
        return class_names(read(s3, where), where)
    except ObjectNotFoundError:
        return ()


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
