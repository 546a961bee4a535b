"""The machines that training jobs can be run on, and what is known of them.

Which types exist is in the service model that botocore carries. It keeps types long after they are gone
from EC2, so what the built-in algorithm is known to run on stands here (contract/training.md §1.3). GPUs:
https://docs.aws.amazon.com/ec2/latest/instancetypes/ac.html
"""

from __future__ import annotations

import re
from functools import lru_cache

from gtlabel.awsmodel import service_model

DEFAULT_INSTANCE_TYPE = "ml.g4dn.xlarge"

# Families that the built-in algorithm is known to run on, and the sizes with more than one GPU.
_BUILTIN = {"g4dn": {"12xlarge": 4}, "g5": {"12xlarge": 4, "24xlarge": 4, "48xlarge": 8}}
_BUILTIN_WORDS = " and ".join(f"ml.{family}" for family in _BUILTIN)
# https://github.com/aws/deep-learning-containers/pull/3950
_GONE = {"p2": "P2 machines left EC2 in 2024"}
# Letters that AWS gives to machines with an accelerator.
_ACCELERATED = ("p", "g", "trn")
# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instance-store-volumes.html, of what can train.
_LOCAL_DISK = re.compile(r"ml\.(g4dn|g[567]e?|p[3-6][a-z0-9-]+|p5|trn\d[a-z]?|[cmr]5d)\.")


@lru_cache
def instance_types() -> tuple[str, ...]:
    """All types that the service takes for training, whether EC2 still has them or not."""
    return tuple(service_model("sagemaker").shape_for("TrainingInstanceType").metadata["enum"])


def sizes(family: str) -> tuple[str, ...]:
    """The sizes that a family such as `g5` comes in, as the service lists them; none of an unknown family."""
    start = f"ml.{family}."
    return tuple(name.removeprefix(start) for name in instance_types() if name.startswith(start))


def gpus(instance_type: str) -> int | None:
    """How many GPUs a machine has; None where that is not known here."""
    family, _, size = instance_type.removeprefix("ml.").partition(".")
    return None if family not in _BUILTIN else _BUILTIN[family].get(size, 1)


def has_local_disk(instance_type: str) -> bool:
    """Whether a job's data lies on a disk inside the machine, which encrypts itself with its own key."""
    return _LOCAL_DISK.match(instance_type) is not None


def unknown_type(instance_type: str) -> str | None:
    """Why there is no such type, as a sentence; None if there is."""
    if instance_type in instance_types():
        return None
    family = instance_type.removeprefix("ml.").partition(".")[0]
    known = sizes(family)
    if known:
        return f"there is no {instance_type!r}; ml.{family} comes as {', '.join(known)}"
    return f"there is no machine {instance_type!r}; take {DEFAULT_INSTANCE_TYPE}, or see `aws sagemaker help`"


def unfit_for_builtin(instance_type: str) -> str | None:
    """Why the built-in image classification is not to be run on a machine, as a sentence; None if it is."""
    family = instance_type.removeprefix("ml.").partition(".")[0]
    remedy = f"take {DEFAULT_INSTANCE_TYPE} or another of the GPU families {_BUILTIN_WORDS}"
    if family in _BUILTIN:
        return unknown_type(instance_type)
    if family in _GONE:
        return f"{_GONE[family]} and {instance_type!r} with them; {remedy}"
    if family == "p3":
        return f"nobody knows whether AWS still rents P3 machines such as {instance_type!r}; {remedy}"
    if not family.startswith(_ACCELERATED):
        return f"the built-in image classification needs a GPU, and {instance_type!r} has none; {remedy}"
    return (
        f"nobody knows whether the built-in image classification, whose CUDA is of 2019, still runs on "
        f"{instance_type!r}; {remedy}"
    )
