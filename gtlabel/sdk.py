"""The SageMaker Python SDK, version 3: the only door to it.

It is an extra of its own because it weighs a gigabyte and takes two seconds to import (contract/training.md
§5.1); gtlabel itself trains with boto3 alone. Who writes `ModelTrainer` programs gets the SDK's own classes
here, made of what boto3 takes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gtlabel.errors import MissingExtraError

if TYPE_CHECKING:
    from sagemaker.core.shapes import Channel as Channel

# Between a small letter or digit and a capital; the SDK spells S3DataSource s3_data_source.
_BOUNDARY = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def channel(document: Mapping[str, Any]) -> Channel:
    """A channel of the SDK's own class, which `ModelTrainer.train` and `TrainingJob.create` take.

    Args:
        document: a member of `InputDataConfig`, as boto3 takes it. `InputData`, which `ModelTrainer` takes
            as well, would lose the mode, the record wrapper and the shuffling (contract/training.md §5.4).

    Raises:
        MissingExtraError: if the SDK is not installed, or is version 2.
    """
    try:
        from sagemaker.core.shapes import Channel
    except ImportError as error:
        raise MissingExtraError("a channel of the SageMaker SDK", "sagemaker") from error
    return Channel.model_validate(_spelled(document))


def _spelled(value: Any) -> Any:
    """The same with the names of members as the SDK spells them."""
    if isinstance(value, Mapping):
        return {_BOUNDARY.sub("_", name).lower(): _spelled(member) for name, member in value.items()}
    return value
