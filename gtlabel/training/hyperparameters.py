"""The hyperparameters of the built-in image classification.

Names, ranges and defaults: https://docs.aws.amazon.com/sagemaker/latest/dg/IC-Hyperparameter.html
(contract/training.md §1.6). The algorithm checks them only after a GPU was rented, so they are checked
here, together with the rules between them.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

# The networks for pictures up to 28 pixels high, and those for larger ones.
SMALL_LAYERS = (20, 32, 44, 56, 110)
LARGE_LAYERS = (18, 34, 50, 101, 152, 200)
_SMALL_HEIGHT = 28
_PRETRAINED_SHAPE = (3, 224, 224)

_Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
_Positive = Annotated[int, Field(ge=1)]


class Hyperparameters(BaseModel):
    """What the algorithm is told. What is None is not sent, and AWS's own default holds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    num_classes: Annotated[int, Field(ge=2)]
    num_training_samples: _Positive
    num_layers: int | None = None
    use_pretrained_model: bool | None = None
    image_shape: tuple[_Positive, _Positive, _Positive] | None = None
    resize: _Positive | None = None
    epochs: _Positive | None = None
    mini_batch_size: _Positive | None = None
    learning_rate: _Share | None = None
    lr_scheduler_factor: _Share | None = None
    lr_scheduler_step: tuple[_Positive, ...] | None = None
    optimizer: Literal["sgd", "adam", "rmsprop", "nag"] | None = None
    momentum: _Share | None = None
    weight_decay: _Share | None = None
    beta_1: _Share | None = None
    beta_2: _Share | None = None
    eps: _Share | None = None
    gamma: _Share | None = None
    augmentation_type: Literal["crop", "crop_color", "crop_color_transform"] | None = None
    multi_label: bool | None = None
    use_weighted_loss: bool | None = None
    top_k: Annotated[int, Field(ge=2)] | None = None
    precision_dtype: Literal["float32", "float16"] | None = None
    checkpoint_frequency: _Positive | None = None
    early_stopping: bool | None = None
    early_stopping_min_epochs: _Positive | None = None
    early_stopping_patience: _Positive | None = None
    early_stopping_tolerance: _Share | None = None
    kv_store: Literal["dist_sync", "dist_async"] | None = None

    @field_validator("image_shape", "lr_scheduler_step", mode="before")
    @classmethod
    def _taken_apart(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _rules_between_them(self) -> Self:
        problems = [*self._shape_problems(), *self._schedule_problems(), *self._choice_problems()]
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _shape_problems(self) -> list[str]:
        colors, height, width = self.image_shape or _PRETRAINED_SHAPE
        layers = 152 if self.num_layers is None else self.num_layers
        problems = []
        if colors not in (1, 3):
            problems.append(f"image_shape begins with the color channels, 1 or 3, not {colors}")
        fitting = SMALL_LAYERS if height <= _SMALL_HEIGHT else LARGE_LAYERS
        if self.use_pretrained_model:
            fitting = LARGE_LAYERS
            if self.image_shape not in (None, _PRETRAINED_SHAPE):
                problems.append("use_pretrained_model needs image_shape 3,224,224")
        if layers not in fitting:
            known = ", ".join(str(number) for number in fitting)
            problems.append(
                f"num_layers {layers} does not fit a height of {height} pixels; take one of {known}"
            )
        if self.resize is not None and self.resize < max(height, width):
            problems.append(
                f"resize {self.resize} is smaller than image_shape; take at least {max(height, width)}"
            )
        return problems

    def _schedule_problems(self) -> list[str]:
        epochs = 30 if self.epochs is None else self.epochs
        batch = 32 if self.mini_batch_size is None else self.mini_batch_size
        problems = []
        if batch > self.num_training_samples:
            problems.append(
                f"mini_batch_size {batch} is larger than the {self.num_training_samples} training samples"
            )
        if self.checkpoint_frequency is not None and self.checkpoint_frequency > epochs:
            problems.append(
                f"checkpoint_frequency {self.checkpoint_frequency} is larger than the {epochs} epochs"
            )
        steps = self.lr_scheduler_step or ()
        if list(steps) != sorted(set(steps)):
            problems.append("lr_scheduler_step must rise from epoch to epoch")
        return problems

    def _choice_problems(self) -> list[str]:
        problems = []
        if self.use_weighted_loss and not self.multi_label:
            problems.append("use_weighted_loss needs multi_label")
        if self.top_k is not None and self.top_k > self.num_classes:
            problems.append(f"top_k {self.top_k} is larger than the {self.num_classes} classes")
        return problems

    def to_boto(self) -> dict[str, str]:
        """The same as the strings that travel."""
        return {name: _spelled(name, value) for name, value in self if value is not None}


def _spelled(name: str, value: object) -> str:
    if isinstance(value, bool):
        # Python's spelling for the one, digits for the others: the algorithm takes nothing else.
        return str(value) if name == "early_stopping" else str(int(value))
    if isinstance(value, tuple):
        return ",".join(str(part) for part in value)
    return repr(value) if isinstance(value, float) else str(value)
