"""The channels of a trial as files: class folders, or manifests beside a folder of pictures.

What is on this machine is linked and not copied; what is in S3 is fetched.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import msgspec

from gtlabel.emulator.pictures import Folder, Pending, Pictures
from gtlabel.emulator.trialdata import TrialChannel, TrialData
from gtlabel.errors import GtlabelError, ManifestLineError, StorageError

IMAGES = "images"


def lay_out(data: TrialData, folder: Path) -> str | None:
    """Fill the directory of the channels.

    Returns:
        What the addresses in the manifests begin with, below which the channel `images` has the pictures;
        None where the channels are class folders.

    Raises:
        ManifestLineError: at a picture that is not there.
    """
    if data.folders is not None:
        for place, classes in data.folders.items():
            for name, files in classes.items():
                for file in files:
                    _link(folder / place / name / file.name, file)
        return None
    references = {channel.name: list(_references(channel, data)) for channel in data.channels}
    prefix = _common_folder(reference for _, reference in chain.from_iterable(references.values()))
    images = folder / IMAGES
    for channel in data.channels:
        (folder / channel.name).mkdir()
        pictures = data.pictures(channel.name)
        try:
            manifest = folder / channel.name / f"{channel.name}.manifest"
            with manifest.open("wb") as lines:
                lines.writelines(line + b"\n" for line in pictures.lines(channel.manifest))
            _place(channel, pictures, references[channel.name], images, prefix)
        finally:
            pictures.close()
    return prefix


def _place(
    channel: TrialChannel, pictures: Pictures, references: list[tuple[int, str]], images: Path, prefix: str
) -> None:
    ahead: deque[tuple[int, Path, Pending]] = deque()

    def take() -> None:
        line, path, pending = ahead.popleft()
        try:
            path.write_bytes(pending.result())
        except (GtlabelError, OSError) as error:
            raise ManifestLineError(channel.manifest, line, str(error)) from error

    for line, reference in references:
        try:
            path = _below(images, prefix, reference)
            if path.exists():
                continue
            if isinstance(pictures, Folder):
                _link(path, _there(pictures.path(reference)))
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            ahead.append((line, path, pictures.begin(reference)))
        except (GtlabelError, OSError) as error:
            raise ManifestLineError(channel.manifest, line, str(error)) from error
        if len(ahead) >= pictures.widest:
            take()
    while ahead:
        take()


def _below(images: Path, prefix: str, reference: str) -> Path:
    """Where a picture belongs; programs pass over the slashes after the prefix, too."""
    path = images / reference.removeprefix(prefix).lstrip("/")
    # A key may hold "..", which is a name in S3 and a way out of a folder.
    if ".." in path.relative_to(images).parts:
        raise StorageError(
            f"{reference} leads out of the folder of the pictures; use Pipe mode, or give it another address"
        )
    return path


def _there(picture: Path) -> Path:
    # A folder that is linked would be filled with what other lines name below it.
    if not picture.is_file():
        raise StorageError(f"there is no file {picture}")
    return picture.absolute()


def _references(channel: TrialChannel, data: TrialData) -> Iterator[tuple[int, str]]:
    """What the lines of a channel call their pictures, each with its number in the manifest."""
    decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
    pictures = data.pictures(channel.name)
    try:
        for number, line in enumerate(pictures.lines(channel.manifest), start=1):
            if not line.strip():
                continue
            try:
                yield number, str(json.loads(bytes(decode(line)[channel.attributes[0]])))
            except (msgspec.MsgspecError, KeyError) as error:
                raise ManifestLineError(
                    channel.manifest, number, f"it has no {channel.attributes[0]!r} ({error})"
                ) from error
    finally:
        pictures.close()


def _common_folder(references: Iterator[str]) -> str:
    """The longest beginning, up to a slash, that all addresses share."""
    common: list[str] | None = None
    for reference in references:
        parts = reference.split("/")[:-1]
        if common is None:
            common = parts
        kept = 0
        while kept < min(len(common), len(parts)) and common[kept] == parts[kept]:
            kept += 1
        common = common[:kept]
    return "/".join(common) + "/" if common else ""


def _link(path: Path, target: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    number = 1
    place = path
    # Two pictures of a class may come from folders of their own and have one name.
    while place.is_symlink():
        number += 1
        place = path.with_stem(f"{path.stem}-{number}")
    place.symlink_to(target)
