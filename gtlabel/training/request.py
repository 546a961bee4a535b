"""A training job of the built-in image classification as it is asked for: checked before a GPU is rented.

The job is the one the algorithm reads augmented manifests with: Pipe mode, two channels, RecordIO around a
picture and its label in turn (contract/training.md §1.4 and §1.5), and a third channel with an earlier model
where training goes on from one
(https://docs.aws.amazon.com/sagemaker/latest/dg/incremental-training.html).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from gtlabel.errors import RequestError
from gtlabel.manifests.channel import CONTENT_TYPE, manifest_channel
from gtlabel.training.channels import model_channel
from gtlabel.training.hyperparameters import DEFAULT_BATCH, Hyperparameters
from gtlabel.training.instances import DEFAULT_INSTANCE_TYPE, gpus, unfit_for_builtin
from gtlabel.training.terms import OPERATION, TrainingRequest, is_object, parsed
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_sagemaker.type_defs import AlgorithmSpecificationTypeDef, ChannelTypeDef

__all__ = ["DEFAULT_INSTANCE_TYPE", "TrainingJobRequest", "request_for_dataset"]

# Labels as arrays of class numbers, which is what Ground Truth writes; without it they would be read as one
# 0 or 1 for each class (contract/training.md §1.5).
_MULTI_LABEL = f"{CONTENT_TYPE}; label-format=class-id"


class TrainingJobRequest(TrainingRequest):
    """One training job of the built-in image classification.

    Attributes:
        train: the manifest to learn from.
        validation: the manifest to choose the best epoch with.
        label_attribute: the key of the label in both manifests: an integer, or an array with `multi_label`.
        hyperparameters: what the algorithm is told.
        shuffle_seed: shuffles the lines of `train` anew for every epoch; without it they keep their order.
        model: the `model.tar.gz` of an earlier job of the same algorithm, to go on from.
    """

    train: S3Uri
    validation: S3Uri
    label_attribute: str
    hyperparameters: Hyperparameters
    shuffle_seed: int | None = None
    model: S3Uri | None = None

    def _problems(self) -> Iterator[str]:
        unfit = unfit_for_builtin(self.instance_type)
        if unfit:
            yield unfit
        yield from super()._problems()
        if not self.label_attribute or self.label_attribute.endswith(("-ref", "-metadata")):
            yield (
                f"{self.label_attribute!r} is not a label attribute; "
                "name the one that holds the number of the class"
            )
        for channel in (self.train, self.validation):
            if not is_object(channel):
                yield f"{channel} is not a manifest; a channel reads one object, not a prefix"
        yield from self._machine_problems()
        yield from self._model_problems()

    def _machine_problems(self) -> Iterator[str]:
        asked = self.hyperparameters
        if self.instance_count > 1 and asked.kv_store is None:
            yield f"{self.instance_count} machines have to agree on the weights; set kv_store=dist_sync"
        if self.instance_count == 1 and asked.kv_store is not None:
            yield f"kv_store {asked.kv_store} is about several machines and there is one; leave it out"
        workers = gpus(self.instance_type) or 1
        if asked.batch < workers:
            yield (
                f"mini_batch_size {asked.batch} leaves some of the {workers} GPUs of {self.instance_type} "
                "without a picture; take a machine with one GPU"
            )

    def _model_problems(self) -> Iterator[str]:
        if self.model is None:
            return
        if not self.model.key.endswith(".tar.gz"):
            yield f"{self.model} is no model.tar.gz; give the artifact that an earlier training job left"
        if self.hyperparameters.use_pretrained_model:
            yield "a job begins with one network; leave out model (--from), or set use_pretrained_model=0"

    def _algorithm(self) -> AlgorithmSpecificationTypeDef:
        return {"TrainingImage": self.image, "TrainingInputMode": "Pipe"}

    def _spelled_hyperparameters(self) -> dict[str, str]:
        return self.hyperparameters.to_boto()

    def _channels(self) -> list[ChannelTypeDef]:
        kind = _MULTI_LABEL if self.hyperparameters.multi_label else CONTENT_TYPE
        attribute = self.label_attribute
        channels = [
            manifest_channel(
                "train", self.train, attribute, shuffle_seed=self.shuffle_seed, content_type=kind
            ),
            manifest_channel("validation", self.validation, attribute, content_type=kind),
        ]
        return channels if self.model is None else [*channels, model_channel(self.model)]


def request_for_dataset(
    *,
    classes: int,
    train_lines: int,
    validation_lines: int,
    hyperparameters: Mapping[str, Any] | None = None,
    **fields: Any,
) -> TrainingJobRequest:
    """The request of a job that trains on a dataset, with what the data itself settles filled in.

    Settled are `num_classes`, `num_training_samples` (the algorithm's schedule needs the exact number of
    lines), a `mini_batch_size` that both channels can fill, and `kv_store` where there are several machines.

    Args:
        classes: how many classes the dataset has, those without pictures included.
        train_lines: the lines of the train manifest.
        validation_lines: the lines of the validation manifest.
        hyperparameters: further ones, and others than the derived ones.
        fields: the other fields of `TrainingJobRequest`.

    Raises:
        RequestError: with one sentence for each field that the service or the algorithm would refuse.
    """
    smallest = min(train_lines, validation_lines)
    if smallest < 1:
        empty = "train" if train_lines < 1 else "validation"
        raise RequestError(
            OPERATION,
            [
                f"the {empty} channel is empty; it needs at least one image, so label more, or consolidate "
                "with a larger share for it"
            ],
        )
    derived: dict[str, Any] = {
        "num_classes": classes,
        "num_training_samples": train_lines,
        "mini_batch_size": min(DEFAULT_BATCH, smallest),
    }
    if fields.get("instance_count", 1) != 1:
        derived["kv_store"] = "dist_sync"
    values = {**fields, "hyperparameters": {**derived, **(hyperparameters or {})}}
    request = parsed(TrainingJobRequest, values)
    told = request.hyperparameters
    problems = [
        f"{name} {value} is not the {fact} {what} of the dataset; leave it out, it is derived"
        for name, value, fact, what in (
            ("num_classes", told.num_classes, classes, "classes"),
            ("num_training_samples", told.num_training_samples, train_lines, "training lines"),
        )
        if value != fact
    ]
    if told.batch > smallest:
        problems.append(
            f"mini_batch_size {told.batch} is larger than the smallest channel, which has {smallest} images; "
            f"take at most {smallest}"
        )
    if problems:
        raise RequestError(OPERATION, problems)
    return request
