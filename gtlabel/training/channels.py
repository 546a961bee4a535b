"""Channels of files: what lies below a prefix, or one object.

Manifests as streams are `gtlabel.manifests.channel`'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_sagemaker.type_defs import ChannelTypeDef

_MODEL = "application/x-sagemaker-model"


def folder_channel(
    name: str, prefix: S3Uri, *, mode: Literal["File", "FastFile"] = "File", content_type: str = ""
) -> ChannelTypeDef:
    """The channel with all objects below a prefix as files; copied before the job starts, or when opened."""
    channel: ChannelTypeDef = {
        "ChannelName": name,
        "DataSource": {
            "S3DataSource": {
                "S3DataType": "S3Prefix",
                "S3Uri": prefix,
                "S3DataDistributionType": "FullyReplicated",
            }
        },
        "CompressionType": "None",
        "InputMode": mode,
    }
    if content_type:
        channel["ContentType"] = content_type
    return channel


def model_channel(artifact: S3Uri) -> ChannelTypeDef:
    """The channel with a network to begin with; it is copied to the machine whatever the others do.

    https://docs.aws.amazon.com/sagemaker/latest/dg/incremental-training.html
    """
    return folder_channel("model", artifact, content_type=_MODEL)
