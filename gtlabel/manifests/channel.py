"""A manifest as a channel of a training job, with all that Pipe mode needs to be told.

A channel that lacks its wrapper or its attributes starts all the same, and fails on a rented GPU
(contract/training.md §1.5, and §1.8 numbers 1 to 3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_sagemaker.type_defs import ChannelTypeDef

CONTENT_TYPE = "application/x-recordio"


def manifest_channel(
    name: str,
    manifest: S3Uri,
    attribute: str,
    *,
    shuffle_seed: int | None = None,
    content_type: str = CONTENT_TYPE,
) -> ChannelTypeDef:
    """The channel that streams pictures and labels of an augmented manifest in turn, one record each.

    Args:
        name: what the algorithm calls the channel.
        manifest: the one object with the lines.
        attribute: the label attribute; case matters.
        shuffle_seed: shuffles the lines anew for every epoch; without it they keep their order.
        content_type: says how the records are to be read.
    """
    channel: ChannelTypeDef = {
        "ChannelName": name,
        "DataSource": {
            "S3DataSource": {
                "S3DataType": "AugmentedManifestFile",
                "S3Uri": manifest,
                "S3DataDistributionType": "FullyReplicated",
                "AttributeNames": ["source-ref", attribute],
            }
        },
        "ContentType": content_type,
        "CompressionType": "None",
        "RecordWrapperType": "RecordIO",
        "InputMode": "Pipe",
    }
    if shuffle_seed is not None:
        channel["ShuffleConfig"] = {"Seed": shuffle_seed}
    return channel
