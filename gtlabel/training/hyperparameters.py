"""The hyperparameters of the built-in image classification.

Names, ranges and defaults: https://docs.aws.amazon.com/sagemaker/latest/dg/IC-Hyperparameter.html
(contract/training.md §1.6). The algorithm checks them only after a GPU was rented, so they are checked
here, together with the rules between them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

# What holds where nothing is sent.
DEFAULT_LAYERS = 152
DEFAULT_SHAPE = (3, 224, 224)
DEFAULT_EPOCHS = 30
DEFAULT_BATCH = 32
# The networks for pictures up to 28 pixels high, and those for larger ones.
SMALL_LAYERS = (20, 32, 44, 56, 110)
LARGE_LAYERS = (18, 34, 50, 101, 152, 200)
_SMALL_HEIGHT = 28
# With one, the container ends with: Do not need to setup parameter 'num_class' (contract/training.md §1.8).
_FEWEST_CLASSES = 2
# The only shape that there are pretrained networks for.
_PRETRAINED_SHAPE = DEFAULT_SHAPE
# What each optimizer reads of its own; the others pass over it without a word.
_OF_OPTIMIZERS = {
    "momentum": ("sgd", "nag"),
    "weight_decay": ("sgd", "nag"),
    "beta_1": ("adam",),
    "beta_2": ("adam",),
    "eps": ("adam", "rmsprop"),
    "gamma": ("rmsprop",),
}

_Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
_Positive = Annotated[int, Field(ge=1)]


class Hyperparameters(BaseModel):
    """What the algorithm is told. What is None is not sent, and AWS's own default holds.

    Attributes:
        num_classes: how many outputs the network has; labels are 0 to one less.
        num_training_samples: the lines of the training channel, on which the schedule is built.
        num_layers: the depth of the ResNet; 152 where it is not given.
        use_pretrained_model: whether to begin with a network that has learned ImageNet.
        image_shape: color channels, height and width in pixels; 3,224,224 where it is not given.
        resize: the pixels that the shorter side of a picture is brought to before its middle is cut out.
        epochs: how often all pictures are looked at; 30 where it is not given.
        mini_batch_size: how many pictures are learned from at once, by all GPUs of a machine; 32 where it is
            not given.
        learning_rate: the size of a step; 0.1 where it is not given.
        lr_scheduler_factor: what the learning rate is multiplied with at each of `lr_scheduler_step`; 0.1.
        lr_scheduler_step: the epochs at which that happens.
        optimizer: the rule of a step; `sgd` where it is not given.
        momentum: of `sgd` and `nag`; 0.9.
        weight_decay: of `sgd` and `nag`; 0.0001.
        beta_1: of `adam`; 0.9.
        beta_2: of `adam`; 0.999.
        eps: of `adam` and `rmsprop`; 1e-8.
        gamma: of `rmsprop`; 0.9.
        augmentation_type: how pictures are varied while learning; not at all where it is not given.
        multi_label: whether a picture can be of several classes.
        use_weighted_loss: with `multi_label`, whether rare classes weigh more.
        top_k: also tell how often the class is among the best k.
        precision_dtype: of the weights; `float32` where it is not given.
        checkpoint_frequency: keep the network of every so many epochs; the best one where it is not given.
        early_stopping: whether to stop when validation gets no better.
        early_stopping_min_epochs: not before so many epochs; 10.
        early_stopping_patience: after so many epochs without gain; 5.
        early_stopping_tolerance: what counts as a gain; 0.0.
        kv_store: how several machines agree on the weights.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    num_classes: int
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
        problems = [
            *self._shape_problems(),
            *self._schedule_problems(),
            *self._choice_problems(),
            *self._idle_problems(),
        ]
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @property
    def shape(self) -> tuple[int, int, int]:
        """Color channels, height and width in pixels that the network takes."""
        return self.image_shape or DEFAULT_SHAPE

    @property
    def layers(self) -> int:
        """How many layers the network has."""
        return DEFAULT_LAYERS if self.num_layers is None else self.num_layers

    @property
    def batch(self) -> int:
        """How many pictures are learned from at once, on one machine."""
        return DEFAULT_BATCH if self.mini_batch_size is None else self.mini_batch_size

    def _shape_problems(self) -> Iterator[str]:
        colors, height, width = self.shape
        if colors not in (1, 3):
            yield f"image_shape begins with the color channels, 1 or 3, not {colors}"
        small = height <= _SMALL_HEIGHT and not self.use_pretrained_model
        fitting = SMALL_LAYERS if small else LARGE_LAYERS
        if self.use_pretrained_model and self.shape != _PRETRAINED_SHAPE:
            yield (
                "use_pretrained_model needs image_shape 3,224,224; leave image_shape out, or set "
                "use_pretrained_model=0"
            )
        if self.layers not in fitting:
            default = ", the default," if self.num_layers is None else ""
            known = ", ".join(str(number) for number in fitting)
            yield (
                f"num_layers {self.layers}{default} does not fit a height of {height} pixels; "
                f"take one of {known}"
            )
        if self.resize is not None and self.resize < max(height, width):
            yield f"resize {self.resize} is smaller than image_shape; take at least {max(height, width)}"

    def _schedule_problems(self) -> Iterator[str]:
        epochs = DEFAULT_EPOCHS if self.epochs is None else self.epochs
        if self.batch > self.num_training_samples:
            yield (
                f"mini_batch_size {self.batch} is larger than the {self.num_training_samples} training "
                f"samples; take at most {self.num_training_samples}"
            )
        if self.checkpoint_frequency is not None and self.checkpoint_frequency > epochs:
            yield (
                f"checkpoint_frequency {self.checkpoint_frequency} is larger than the {epochs} epochs; take "
                f"at most {epochs}, or leave it out to keep the best epoch"
            )
        steps = self.lr_scheduler_step or ()
        if list(steps) != sorted(set(steps)):
            yield "lr_scheduler_step must rise from epoch to epoch, as 10,20 does"
        if self.early_stopping and (self.early_stopping_min_epochs or 0) > epochs:
            yield (
                f"early_stopping_min_epochs {self.early_stopping_min_epochs} is larger than the {epochs} "
                "epochs, so nothing would stop early; take less"
            )

    def _choice_problems(self) -> Iterator[str]:
        if self.num_classes < _FEWEST_CLASSES:
            yield f"num_classes is {self.num_classes}; a classifier needs two classes, so label another one"
        if self.top_k is not None and self.top_k > self.num_classes:
            yield (
                f"top_k {self.top_k} is larger than the {self.num_classes} classes; take at most "
                f"{self.num_classes}"
            )

    def _idle_problems(self) -> Iterator[str]:
        """What the algorithm would take and pass over, which whoever wrote it did not mean."""
        if self.use_weighted_loss and not self.multi_label:
            yield "use_weighted_loss needs multi_label; set multi_label=1, or leave it out"
        optimizer = self.optimizer or "sgd"
        for name, optimizers in _OF_OPTIMIZERS.items():
            if getattr(self, name) is not None and optimizer not in optimizers:
                yield (
                    f"{name} has no effect with the optimizer {optimizer}; leave it out, or set "
                    f"optimizer={' or '.join(optimizers)}"
                )
        if self.lr_scheduler_factor is not None and self.lr_scheduler_step is None:
            yield "lr_scheduler_factor has no effect without lr_scheduler_step; set it, to 10,20 for example"
        if not self.early_stopping:
            for name in ("early_stopping_min_epochs", "early_stopping_patience", "early_stopping_tolerance"):
                if getattr(self, name) is not None:
                    yield f"{name} has no effect without early_stopping; set early_stopping=True"

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
