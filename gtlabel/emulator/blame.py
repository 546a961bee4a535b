"""Which line of a manifest a program means that complains of a record.

A program sees records and no manifest. Those of gtlabel number them from 0, as they come in an epoch, and
name the epoch; what a person needs is the line to mend.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

from gtlabel import storage
from gtlabel.emulator.container import pipe_channel
from gtlabel.emulator.pipe import PipeChannel
from gtlabel.emulator.shuffle import order
from gtlabel.errors import GtlabelError
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

_COMPLAINT = re.compile(
    r"\brecord (?P<number>\d{1,12})(?: of epoch (?P<epoch>\d{1,9}))?"
    r" of the (?P<channel>[A-Za-z0-9.\-_]+) channel\b"
)


def line_meant(s3: S3Client, channels: Iterable[Mapping[str, Any]], text: str) -> str:
    """The manifest, the line and the object behind the record that a failure names; empty without one.

    A channel that is shuffled has another order in each epoch, so without an epoch nothing is known.

    Args:
        s3: reads the manifest again.
        channels: the job's channels in Pipe mode.
        text: what the program said.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    complaint = _COMPLAINT.search(text)
    if complaint is None:
        return ""
    for channel in channels:
        manifest = channel["DataSource"]["S3DataSource"]["S3DataType"] == "AugmentedManifestFile"
        if manifest and channel["ChannelName"] == complaint["channel"]:
            try:
                return _line(s3, pipe_channel(channel), int(complaint["number"]), complaint["epoch"])
            except (GtlabelError, LookupError, ValueError, BotoCoreError, ClientError):
                # Either the program numbers something else, or the manifest is not to be had any more; what
                # the program said stands either way.
                return ""
    return ""


def _line(s3: S3Client, channel: PipeChannel, record: int, epoch: str | None) -> str:
    lines = (
        (number, line)
        for number, line in enumerate(storage.read_lines(s3, S3Uri(channel.manifest)), 1)
        if line.strip()
    )
    place = record // len(channel.attributes)
    if channel.seed is not None:
        if epoch is None:
            return ""
        kept = list(lines)
        number, line = kept[order(len(kept), channel.seed, int(epoch))[place]]
    else:
        number, line = next(islice(lines, place, None), (0, b""))
    values = json.loads(line)
    objects = [values[name] for name in channel.attributes if name.endswith("-ref")]
    return f"{channel.manifest}, line {number}: {', '.join(map(str, objects))}"
