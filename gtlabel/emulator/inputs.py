"""Channels of whole objects: those of a prefix, or those that a manifest names, as files or as a stream.

What a channel in File or FastFile mode holds is on disk before the program starts; at AWS, FastFile fetches
each file when it is opened, which a program cannot tell. In Pipe mode the objects of an epoch follow each
other in one FIFO, in the order of their keys or in the manifest's, shuffled anew where there is a seed:
https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_S3DataSource.html
"""

from __future__ import annotations

import json
import shutil
import stat
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gtlabel import storage
from gtlabel.emulator.container import input_mode, place_below
from gtlabel.emulator.pipe import PipeChannel
from gtlabel.emulator.shuffle import order
from gtlabel.errors import GtlabelError, ManifestError, ObjectNotFoundError, StorageError
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

_PREFETCHED = 8  # objects that are on their way while another is being read
_CHUNK = 1 << 20
_READ_ONLY = stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH


class ChannelObject(NamedTuple):
    """One object of a channel.

    Attributes:
        base: the prefix that the channel's directory stands for.
    """

    base: S3Uri
    uri: S3Uri


def objects_of(s3: S3Client, source: Mapping[str, Any]) -> Iterator[ChannelObject]:
    """Yield the objects that an `S3Prefix` or a `ManifestFile` stands for, in order.

    Args:
        s3: the client.
        source: the `S3DataSource` of a channel.

    Raises:
        GtlabelError: if they cannot be listed, or the manifest is none.
    """
    uri = S3Uri(source["S3Uri"])
    if source["S3DataType"] == "ManifestFile":
        yield from _named_in(s3, uri)
        return
    for item in storage.list_objects(s3, uri):
        yield ChannelObject(uri, item.uri)


def download(
    s3: S3Client, request: Mapping[str, Any], channel: Mapping[str, Any], data: Path, over: Callable[[], Any]
) -> None:
    """Put the objects of a channel below its directory.

    Args:
        s3: the client.
        request: the job, which says the mode unless the channel does.
        channel: the channel.
        data: the directory of all channels.
        over: asked before each object; once it says something, the rest is not fetched.

    Raises:
        StorageError: naming the channel, if there is no object, or one does not belong there.
        OSError: if it cannot be written.
    """
    name = channel["ChannelName"]
    source = channel["DataSource"]["S3DataSource"]
    target = data / name
    target.mkdir()
    fast = input_mode(request, channel) == "FastFile"
    count = 0
    try:
        for base, uri in objects_of(s3, source):
            if over():
                return
            path = place_below(target, base, uri)
            if path is not None:
                fetch(s3, uri, path)
                count += 1
                if fast:
                    path.chmod(_READ_ONLY)
        if not count:
            raise ObjectNotFoundError(S3Uri(source["S3Uri"]))
    except GtlabelError as error:
        raise StorageError(f"the channel {name}: {error}") from error


def fetch(s3: S3Client, uri: S3Uri, path: Path) -> None:
    """Write an object into a file, a piece in memory at a time.

    Raises:
        GtlabelError: if it cannot be read.
        OSError: if it cannot be written.
    """
    with storage.explained("s3:GetObject", uri):
        body = s3.get_object(Bucket=uri.bucket, Key=uri.key)["Body"]
        with body, path.open("wb") as file:
            shutil.copyfileobj(body, file, _CHUNK)


class Objects:
    """The objects of a channel as what a `Feeder` feeds.

    Args:
        s3: reads them.
        channel: the channel, for its name and its seed.
        source: its `S3DataSource`.
    """

    def __init__(self, s3: S3Client, channel: PipeChannel, source: Mapping[str, Any]) -> None:
        self._s3 = s3
        self._channel = channel
        self._source = source
        self._uris: list[S3Uri] = []
        self._pool = ThreadPoolExecutor(_PREFETCHED, thread_name_prefix=f"fetch {channel.name}")

    def __enter__(self) -> Objects:
        """List the objects, once.

        Raises:
            GtlabelError: if there is none, or they cannot be listed.
        """
        found = objects_of(self._s3, self._source)
        self._uris = [uri for _, uri in found if uri.key and not uri.key.endswith("/")]
        if not self._uris:
            raise ObjectNotFoundError(S3Uri(self._source["S3Uri"]))
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def values(self, epoch: int) -> Generator[bytes | None]:
        """Yield the objects of an epoch, while those ahead are being fetched; None before a wait.

        Raises:
            GtlabelError: when the turn comes of one that cannot be read.
        """
        ahead: deque[Future[bytes]] = deque()
        try:
            for place in order(len(self._uris), self._channel.seed, epoch):
                ahead.append(self._pool.submit(storage.read, self._s3, self._uris[place]))
                if len(ahead) < _PREFETCHED:
                    continue
                if not ahead[0].done():
                    yield None
                yield ahead.popleft().result()
            while ahead:
                if not ahead[0].done():
                    yield None
                yield ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()


def _named_in(s3: S3Client, manifest: S3Uri) -> Iterator[ChannelObject]:
    """The objects of a manifest: `[{"prefix": "s3://bucket/folder/"}, "1.jpg", "2.jpg"]`."""
    try:
        entries = json.loads(storage.read(s3, manifest))
    except ValueError as error:
        raise ManifestError(f"{manifest} is not JSON: {error}") from error
    form = '[{"prefix": "s3://BUCKET/FOLDER/"}, "KEY", ...]'
    if not isinstance(entries, list) or not entries or not isinstance(entries[0], dict):
        raise ManifestError(f"{manifest} is no manifest of objects; it must be like {form}")
    base = S3Uri(str(entries[0].get("prefix")))
    for position, entry in enumerate(entries[1:], start=1):
        if not isinstance(entry, str):
            raise ManifestError(f"{manifest}, entry {position}: {json.dumps(entry)} is no key, as in {form}")
        yield ChannelObject(base, base.at(base.key + entry))
