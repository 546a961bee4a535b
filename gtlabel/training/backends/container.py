"""A container of one's own, or a script of one's own in one of AWS's PyTorch images.

In Pipe mode it reads what the built-in reads: both manifests as streams of pictures and labels in turn.
FastFile shows objects as files that are fetched when they are opened, and takes no augmented manifests
(https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_S3DataSource.html), so there the pictures are
a channel `images` of their own, and the manifests are small File channels that tell which picture is what.
`gtlabel.training.reader` reads both.

What the dataset is goes into variables of the container and not into hyperparameters: AWS's images hand those
to the script as options, which one that does not know them would refuse.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from gtlabel.manifests.channel import manifest_channel
from gtlabel.training.backends import InputMode
from gtlabel.training.channels import folder_channel, model_channel
from gtlabel.training.instances import unknown_type
from gtlabel.training.terms import TrainingRequest, is_object
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_sagemaker.type_defs import (
        AlgorithmSpecificationTypeDef,
        ChannelTypeDef,
        MetricDefinitionTypeDef,
    )

# The prefix of the pictures, the label attribute and how many classes there are, as the container is told.
IMAGES_VARIABLE = "GTLABEL_IMAGES"
ATTRIBUTE_VARIABLE = "GTLABEL_LABEL_ATTRIBUTE"
CLASSES_VARIABLE = "GTLABEL_NUM_CLASSES"
SAMPLES_VARIABLE = "GTLABEL_NUM_TRAINING_SAMPLES"
# Their names as a JSON array, which no channel in Pipe mode tells.
NAMES_VARIABLE = "GTLABEL_CLASS_NAMES"

# https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateTrainingJob.html
_LONGEST_VARIABLE = 512
_JSON_LINES = "application/jsonlines"
# The lines of the built-in algorithm (contract/training.md §1.7); who logs alike is followed alike.
METRICS = {
    "train:accuracy": r"Train-accuracy=([0-9.]+)",
    "validation:accuracy": r"Validation-accuracy=([0-9.]+)",
}


def told_names(names: Sequence[str]) -> dict[str, str]:
    """The variable with the names of the classes; nothing where they are too long for one."""
    text = json.dumps(list(names))
    return {NAMES_VARIABLE: text} if len(text) <= _LONGEST_VARIABLE else {}


class ContainerRequest(TrainingRequest):
    """One training job of a container that nobody here knows.

    Attributes:
        train: the manifest to learn from.
        validation: the manifest to choose the best epoch with.
        label_attribute: the key of the label in both manifests.
        input_mode: how the container gets them: `Pipe`, or pictures as files with `FastFile` or `File`.
        images: with files, the prefix that all pictures lie below.
        shuffle_seed: with `Pipe`, shuffles the lines of `train` anew for every epoch.
        hyperparameters: what the program is told, as texts.
        source: a script packed as `sourcedir.tar.gz`, for AWS's own images.
        program: its file.
        metrics: what is read from the log: a regular expression with one group by the metric's name.
        model: the artifact of an earlier job, to go on from; the channel `model`.
    """

    train: S3Uri
    validation: S3Uri
    label_attribute: str
    input_mode: InputMode = "Pipe"
    images: S3Uri | None = None
    shuffle_seed: int | None = None
    hyperparameters: dict[str, str] = Field(default_factory=dict)
    source: S3Uri | None = None
    program: str | None = None
    metrics: dict[str, str] = METRICS
    model: S3Uri | None = None

    def _problems(self) -> Iterator[str]:
        unknown = unknown_type(self.instance_type)
        if unknown:
            yield unknown
        yield from super()._problems()
        for channel in (self.train, self.validation):
            if not is_object(channel):
                yield f"{channel} is not a manifest; a channel reads one object, not a prefix"
        if bool(self.source) != bool(self.program):
            lacking = "program, the script's file" if self.source else "source, its sourcedir.tar.gz in S3"
            yield f"a script is told by source and program; give {lacking}"
        if self.input_mode == "Pipe":
            if self.images is not None:
                yield "in Pipe mode pictures come with their lines; leave images out, or ask for FastFile"
            return
        if self.images is None:
            yield f"in {self.input_mode} mode pictures are files; give images, the prefix they lie below"
        if self.shuffle_seed is not None:
            yield "only Pipe mode shuffles; leave shuffle_seed out, and shuffle in the program"

    def _algorithm(self) -> AlgorithmSpecificationTypeDef:
        metrics: list[MetricDefinitionTypeDef] = [
            {"Name": name, "Regex": pattern} for name, pattern in self.metrics.items()
        ]
        algorithm: AlgorithmSpecificationTypeDef = {
            "TrainingImage": self.image,
            "TrainingInputMode": self.input_mode,
        }
        if metrics:
            algorithm["MetricDefinitions"] = metrics
        return algorithm

    def _spelled_hyperparameters(self) -> dict[str, str]:
        if not self.source:
            return self.hyperparameters
        return {
            **self.hyperparameters,
            # AWS's images read each value as JSON where it is some.
            "sagemaker_program": json.dumps(self.program),
            "sagemaker_submit_directory": json.dumps(self.source),
        }

    def _channels(self) -> list[ChannelTypeDef]:
        if self.images is None:
            channels = [
                manifest_channel("train", self.train, self.label_attribute, shuffle_seed=self.shuffle_seed),
                manifest_channel("validation", self.validation, self.label_attribute),
            ]
        else:
            mode: Literal["File", "FastFile"] = "FastFile" if self.input_mode == "FastFile" else "File"
            channels = [
                folder_channel("train", self.train, content_type=_JSON_LINES),
                folder_channel("validation", self.validation, content_type=_JSON_LINES),
                folder_channel("images", self.images, mode=mode),
            ]
        return channels if self.model is None else [*channels, model_channel(self.model)]
