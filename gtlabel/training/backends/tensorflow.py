"""AWS's image classification of TensorFlow: transfer learning from the networks of TensorFlow Hub.

It reads folders named after classes in File mode, and no manifests
(https://docs.aws.amazon.com/sagemaker/latest/dg/IC-TF-inputoutput.html), so a dataset needs the format
`imagefolder`. Its classes are the folders' names in alphabetical order, whatever order the dataset has; the
artifact says which is which.

It is not one image, but three things: a TensorFlow container, a script (`source`) and a network to begin
with (`pretrained`). AWS lists their places in a bucket of each region that only its SDK looks into, and that
could not be read when this was written, so they are to be given; `ASK` tells how the SDK is asked for them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from gtlabel.training.channels import folder_channel, model_channel
from gtlabel.training.instances import unknown_type
from gtlabel.training.terms import TrainingRequest, is_object
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_sagemaker.type_defs import AlgorithmSpecificationTypeDef, ChannelTypeDef

# How the SageMaker SDK says where the three things are; with another model_id for another network.
ASK = (
    "image_uris.retrieve, script_uris.retrieve and model_uris.retrieve of the SageMaker SDK, with "
    "model_id='tensorflow-ic-imagenet-mobilenet-v2-100-224-classification-4' and scope 'training'"
)
PROGRAM = "transfer_learning.py"
# What Keras prints at the end of an epoch.
METRICS = {
    "train:accuracy": r"- accuracy: ([0-9.]+)",
    "validation:accuracy": r"val_accuracy: ([0-9.]+)",
}

_Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
_Turn = Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False)]
_Positive = Annotated[int, Field(ge=1)]
# What each optimizer reads; the others pass over it.
_OF_OPTIMIZERS = {
    "beta_1": ("adam",),
    "beta_2": ("adam",),
    "epsilon": ("adam", "rmsprop", "adadelta", "adagrad"),
    "initial_accumulator_value": ("adagrad",),
    "momentum": ("sgd", "nesterov", "rmsprop"),
    "rho": ("adadelta", "rmsprop"),
}


class TensorFlowHyperparameters(BaseModel):
    """What the script is told. What is None is not sent, and the script's own default holds.

    The script passes over names that it does not know, without a word; here they are refused. Names, ranges
    and defaults: https://docs.aws.amazon.com/sagemaker/latest/dg/IC-TF-Hyperparameter.html
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    augmentation: bool | None = None
    augmentation_random_flip: Literal["horizontal_and_vertical", "vertical", "None"] | None = None
    augmentation_random_rotation: _Turn | None = None
    augmentation_random_zoom: _Turn | None = None
    batch_size: _Positive | None = None
    beta_1: _Share | None = None
    beta_2: _Share | None = None
    binary_mode: bool | None = None
    dropout_rate: _Share | None = None
    early_stopping: bool | None = None
    early_stopping_min_delta: _Share | None = None
    early_stopping_patience: _Positive | None = None
    epochs: _Positive | None = None
    epsilon: _Share | None = None
    eval_metric: Literal["accuracy", "precision", "recall", "auc", "prc"] | None = None
    image_resize_interpolation: (
        Literal["bilinear", "nearest", "bicubic", "area", "lanczos3", "lanczos5", "gaussian", "mitchellcubic"]
        | None
    ) = None
    initial_accumulator_value: _Share | None = None
    label_smoothing: _Share | None = None
    learning_rate: _Share | None = None
    momentum: _Share | None = None
    optimizer: Literal["adam", "sgd", "nesterov", "rmsprop", "adagrad", "adadelta"] | None = None
    regularizers_l2: _Share | None = None
    reinitialize_top_layer: Literal["Auto", "True", "False"] | None = None
    rho: _Share | None = None
    # Some of AWS's pages call it train_only_on_top_layer, which the script does not know.
    train_only_top_layer: bool | None = None

    def problems(self) -> Iterator[str]:
        """What the script would take and pass over."""
        optimizer = self.optimizer or "adam"
        for name, optimizers in _OF_OPTIMIZERS.items():
            if getattr(self, name) is not None and optimizer not in optimizers:
                yield (
                    f"{name} has no effect with the optimizer {optimizer}; leave it out, or set "
                    f"optimizer={' or '.join(optimizers)}"
                )
        for switch, prefix in (("augmentation", "augmentation_"), ("early_stopping", "early_stopping_")):
            idle = [
                name
                for name, value in self
                if name.startswith(prefix) and value is not None and not getattr(self, switch)
            ]
            if idle:
                yield f"{idle[0]} has no effect without {switch}; set {switch}=True"

    def to_boto(self) -> dict[str, str]:
        """The same as the strings that travel; Python's spelling for what is true or false."""
        return {
            name: repr(value) if isinstance(value, float) else str(value)
            for name, value in self
            if value is not None
        }


class TensorFlowRequest(TrainingRequest):
    """One training job of the image classification of TensorFlow.

    Attributes:
        training: the prefix with a folder for each class to learn from.
        validation: the same to choose the best epoch with.
        source: the script, packed as `sourcedir.tar.gz`.
        pretrained: the network to begin with, packed as a `.tar.gz`; an earlier artifact to go on from one.
        program: the script's file.
        classes: how many there are.
        hyperparameters: what the script is told.
    """

    training: S3Uri
    validation: S3Uri
    source: S3Uri
    pretrained: S3Uri
    program: str = PROGRAM
    classes: int
    hyperparameters: TensorFlowHyperparameters = TensorFlowHyperparameters()

    def _problems(self) -> Iterator[str]:
        unknown = unknown_type(self.instance_type)
        if unknown:
            yield unknown
        yield from super()._problems()
        yield from self.hyperparameters.problems()
        for channel in (self.training, self.validation):
            if is_object(channel):
                yield f"{channel} does not end in a slash; give the prefix that holds the class folders"
        for name, place in (("source", self.source), ("pretrained", self.pretrained)):
            if not place.key.endswith(".tar.gz"):
                yield f"{name} {place} is no .tar.gz; ask for it with {ASK}"
        if self.hyperparameters.binary_mode and self.classes != 2:
            yield f"binary_mode is about two classes and there are {self.classes}; leave it out"
        if self.instance_count > 1:
            yield "the script trains on one machine, with as many GPUs as it has; set instance_count=1"

    def _algorithm(self) -> AlgorithmSpecificationTypeDef:
        return {
            "TrainingImage": self.image,
            "TrainingInputMode": "File",
            "MetricDefinitions": [{"Name": name, "Regex": pattern} for name, pattern in METRICS.items()],
        }

    def _spelled_hyperparameters(self) -> dict[str, str]:
        return {
            **self.hyperparameters.to_boto(),
            "sagemaker_program": self.program,
            "sagemaker_submit_directory": self.source,
        }

    def _channels(self) -> list[ChannelTypeDef]:
        return [
            folder_channel("training", self.training),
            folder_channel("validation", self.validation),
            model_channel(self.pretrained),
        ]
