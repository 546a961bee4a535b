"""A channel of files: class folders, or a manifest beside a channel of pictures.

File and FastFile look alike to a program. A manifest names its pictures by their addresses in S3; where they
lie in the channel `images`, its prefix tells (`GTLABEL_IMAGES`), and without that the end of their keys.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from random import Random

from gtlabel.errors import ChannelError
from gtlabel.training.labels import Label, as_label

IMAGES = "images"

_MANIFESTS = (".manifest", ".jsonl")
_METADATA = "-metadata"


def read_files(
    data: Path, channel: str, epoch: int = 0, shuffle: int | None = None
) -> Iterator[tuple[bytes, Label]]:
    """Yield the pictures of a channel, each with its label.

    Args:
        data: the directory of all channels.
        channel: its name.
        epoch: counted from 0; with a seed each has an order of its own.
        shuffle: the seed; without it the order is that of the manifest, or of the paths.

    Raises:
        ChannelError: if it holds neither, and at the first picture that cannot be read.
    """
    manifest = _manifest(data, channel)
    found = _in_folders(data, channel) if manifest is None else _in_manifest(data, channel, manifest)
    pairs = list(found)
    if not pairs:
        raise ChannelError(channel, f"there is not one picture in {data / channel}")
    if shuffle is not None:
        Random(f"{shuffle}:{epoch}").shuffle(pairs)  # noqa: S311 - an order, not a secret
    for path, label in pairs:
        try:
            yield path.read_bytes(), label
        except OSError as error:
            raise ChannelError(channel, f"{path} cannot be read: {error.strerror}") from error


def class_names_of(data: Path, channel: str) -> dict[int, str]:
    """The names of the classes that a channel tells of, by label."""
    manifest = _manifest(data, channel)
    if manifest is None:
        return dict(enumerate(_classes(data)))
    names: dict[int, str] = {}
    for _, record in _lines(channel, manifest):
        attribute = _attribute(record)
        said = record.get(f"{attribute}{_METADATA}")
        label = record.get(attribute or "")
        if isinstance(said, dict):
            if isinstance(label, int) and isinstance(said.get("class-name"), str):
                names[label] = said["class-name"]
            names.update({int(number): name for number, name in dict(said.get("class-map", {})).items()})
    return names


def _manifest(data: Path, channel: str) -> Path | None:
    """The manifest of a channel, if it has one; it is alone there, or with other files of lines."""
    folder = data / channel
    try:
        files = [path for path in folder.iterdir() if path.name.endswith(_MANIFESTS)]
    except OSError as error:
        raise ChannelError(channel, f"{folder} cannot be read: {error.strerror}") from error
    if len(files) > 1:
        listed = ", ".join(sorted(path.name for path in files))
        raise ChannelError(channel, f"it has several manifests, and nobody knows which counts: {listed}")
    return files[0] if files else None


def _classes(data: Path) -> list[str]:
    """The class folders of all channels: a class that one of them lacks must not move the others' labels."""
    return sorted(
        {
            folder.name
            for channel in data.iterdir()
            if channel.is_dir() and channel.name != IMAGES and _manifest(data, channel.name) is None
            for folder in channel.iterdir()
            if folder.is_dir() and folder.name[0] != "."
        }
    )


def _in_folders(data: Path, channel: str) -> Iterator[tuple[Path, Label]]:
    if not any(path.is_dir() for path in (data / channel).iterdir()):
        raise ChannelError(
            channel, f"{data / channel} has neither class folders nor a manifest ({' or '.join(_MANIFESTS)})"
        )
    for label, name in enumerate(_classes(data)):
        for path in sorted((data / channel / name).rglob("*")):
            if path.is_file() and path.name[0] != ".":
                yield path, label


def _lines(channel: str, manifest: Path) -> Iterator[tuple[int, dict[str, object]]]:
    with manifest.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except ValueError as error:
                raise ChannelError(
                    channel, f"{manifest.name}, line {number}: it is not JSON ({error})"
                ) from error
            if not isinstance(record, dict):
                raise ChannelError(channel, f"{manifest.name}, line {number}: it is not a JSON object")
            yield number, record


def _in_manifest(data: Path, channel: str, manifest: Path) -> Iterator[tuple[Path, Label]]:
    find = _Finder(data / IMAGES)
    for number, record in _lines(channel, manifest):
        attribute = _attribute(record)
        reference = record.get("source-ref")
        if attribute is None or not isinstance(reference, str):
            raise ChannelError(
                channel,
                f"{manifest.name}, line {number}: it lacks "
                f"{'source-ref' if attribute else 'a label, or has several'}; "
                "GTLABEL_LABEL_ATTRIBUTE names the attribute that counts",
            )
        label = as_label(record.get(attribute))
        if label is None:
            raise ChannelError(
                channel,
                f"{manifest.name}, line {number}: {attribute!r} is no class but {record.get(attribute)!r}",
            )
        path = find(reference)
        if path is None:
            raise ChannelError(
                channel,
                f"{manifest.name}, line {number}: {reference} is not in the channel {IMAGES}; "
                "that should be the prefix which all pictures lie below",
            )
        yield path, label


def _attribute(record: dict[str, object]) -> str | None:
    """The label attribute of a line: the one that was told, or the only one with metadata."""
    told = os.environ.get("GTLABEL_LABEL_ATTRIBUTE")
    if told:
        return told if told in record else None
    named = [
        name for name in record if f"{name}{_METADATA}" in record or (name == "label" and len(record) == 2)
    ]
    return named[0] if len(named) == 1 else None


class _Finder:
    """Finds pictures in a folder by their addresses."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._prefix = os.environ.get("GTLABEL_IMAGES", "")
        self._cut = 0

    def __call__(self, reference: str) -> Path | None:
        if self._prefix and reference.startswith(self._prefix):
            return self._at(reference.removeprefix(self._prefix).lstrip("/"))
        parts = reference.removeprefix("s3://").split("/")
        # What was cut off for the last picture mostly fits this one.
        for cut in (self._cut, *range(len(parts))):
            path = self._at("/".join(parts[cut:]))
            if path is not None:
                self._cut = cut
                return path
        return None

    def _at(self, name: str) -> Path | None:
        path = self._folder / name
        return path if ".." not in path.parts and path.is_file() else None
