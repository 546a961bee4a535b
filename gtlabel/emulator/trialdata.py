"""What a program is tried on: a dataset in S3 or in a folder, class folders, or manifests and their pictures.

All of them end up as manifests, because that is what channels are fed from. Files of this machine are used
where they are, and no S3 is asked for them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from pydantic import ValidationError

from gtlabel import storage
from gtlabel.datasets.channels import LABEL_ATTRIBUTE, Dataset, read_dataset
from gtlabel.datasets.collect.layout import Place, find_layout
from gtlabel.emulator.pictures import Bucket, Copies, Folder, Pictures
from gtlabel.errors import DatasetError, ManifestLineError, SettingsError
from gtlabel.images.checks import EXTENSIONS
from gtlabel.manifests.split import Shares, channel_of, loans
from gtlabel.training.labels import as_label
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

SHARE = 0.2
TRAIN, VALIDATION = "train", "validation"

_MANIFESTS = (".manifest", ".jsonl")
_CLASS = "class"
_METADATA = "-metadata"

# Why wishes have no effect on a finished dataset.
_SETTLED = {
    "attribute": "a dataset has one label attribute",
    "validation": "a dataset is divided already",
}

_Record = dict[str, msgspec.Raw]


@dataclass(frozen=True, slots=True)
class TrialChannel:
    """One channel: its manifest, which of its attributes are fed, and how many images it has."""

    name: str
    manifest: str
    attributes: tuple[str, ...]
    images: int


@dataclass(frozen=True, slots=True)
class TrialData:
    """What a program is given.

    Attributes:
        channels: train first.
        classes: the names in the order of their labels; of a manifest without names, the numbers.
        pictures: makes what finds the pictures of a channel.
        folders: the pictures by class, where the data are class folders: File mode shows them as such.
    """

    channels: tuple[TrialChannel, ...]
    classes: tuple[str, ...]
    pictures: Callable[[str], Pictures]
    folders: Mapping[str, Mapping[str, list[Path]]] | None = None


@dataclass(frozen=True, slots=True)
class Wishes:
    """How data is to be taken.

    Attributes:
        attribute: the label attribute, where a manifest has several.
        pictures: a folder with the pictures that manifests name.
        validation: the share of the images, or where those for validation are; None for what is usual.
    """

    attribute: str | None = None
    pictures: Path | None = None
    validation: float | Path | None = None

    def refuse(self, data: str, **reasons: str) -> None:
        """Refuse what would have no effect.

        Args:
            data: what the program is tried on.
            reasons: why a wish has none there, by its name.

        Raises:
            SettingsError: if one of them is there.
        """
        for name, reason in reasons.items():
            if getattr(self, name) is not None:
                raise SettingsError(f"{reason}, so --{name} has no effect on {data}; leave it out")


def open_data(text: str, wishes: Wishes, scratch: Path, connect: Callable[[], S3Client]) -> TrialData:
    """Find out what a dataset is, and make manifests where it has none.

    Args:
        text: an address in S3, a folder, or a manifest.
        wishes: how it is to be taken.
        scratch: a folder for what is made.
        connect: gives the client; it is only asked for an address in S3.

    Raises:
        GtlabelError: if there is nothing to train on.
    """
    if text.startswith("s3://"):
        wishes.refuse(text, **_SETTLED, pictures="a dataset in S3 names its images itself")
        s3 = connect()
        return _of_dataset(read_dataset(s3, S3Uri(text)), lambda name: Bucket(s3, name), None)
    path = Path(text)
    if (path / "dataset.json").is_file():
        wishes.refuse(text, **_SETTLED)
        try:
            dataset = Dataset.model_validate_json((path / "dataset.json").read_bytes())
        except ValidationError as error:
            raise DatasetError(
                f"{path / 'dataset.json'} is of no finished dataset; consolidate again"
            ) from error
        root = "" if wishes.pictures else dataset.uri.rstrip("/") + "/"
        folder = wishes.pictures or path
        return _of_dataset(dataset, lambda _: Folder(path, Copies(folder, root)), path)
    if path.is_file():
        return _of_manifests(path, wishes.validation, wishes, scratch)
    if not path.is_dir():
        raise DatasetError(f"there is no {path}; give s3://BUCKET/DATASET/, a folder or a manifest")
    for ending in _MANIFESTS:
        if (path / f"{TRAIN}{ending}").is_file():
            beside = path / f"{VALIDATION}{ending}"
            return _of_manifests(
                path / f"{TRAIN}{ending}",
                beside if wishes.validation is None and beside.is_file() else wishes.validation,
                wishes,
                scratch,
            )
    return _of_folders(path, wishes, scratch)


def _of_dataset(dataset: Dataset, pictures: Callable[[str], Pictures], folder: Path | None) -> TrialData:
    channels = []
    for name in (TRAIN, VALIDATION):
        channel = dataset.channels.get(name)  # type: ignore[call-overload]
        if channel is not None and channel.images:
            manifest = str(folder / channel.manifest.name) if folder else channel.manifest
            attributes = ("source-ref", dataset.attribute)
            channels.append(TrialChannel(name, manifest, attributes, channel.images))
    return TrialData(tuple(channels), tuple(dataset.names), pictures)


def _of_manifests(train: Path, validation: float | Path | None, wishes: Wishes, scratch: Path) -> TrialData:
    """A manifest for each channel, or one that is divided."""
    files = {TRAIN: train}
    if isinstance(validation, Path):
        files[VALIDATION] = validation
    labels = _Labels(wishes.attribute)
    references = {name: [labels.note(*line) for line in _lines(path)] for name, path in files.items()}
    for name, path in files.items():
        if not references[name]:
            raise DatasetError(f"{path} has no line, and a channel without images cannot be trained on")
    folder = wishes.pictures or train.parent
    homes = None if isinstance(validation, Path) else _divided(references[TRAIN], validation)
    if homes is None and not labels.by_name:
        channels = [
            TrialChannel(name, str(path), ("source-ref", labels.attribute), len(references[name]))
            for name, path in files.items()
        ]
    else:
        examples = [
            (homes[reference] if homes else name, reference, labels.number(record))
            for name, path in files.items()
            for reference, (_, _, record) in zip(references[name], _lines(path), strict=True)
        ]
        channels = _written(examples, scratch)
    return TrialData(tuple(channels), labels.names, lambda _: Folder(train.parent, Copies(folder)))


def _of_folders(path: Path, wishes: Wishes, scratch: Path) -> TrialData:
    """Class folders: below train/ and validation/, or to be divided."""
    found = _sorted_pictures(path)
    wishes.refuse(
        str(path),
        attribute="the labels of folders are their names",
        pictures="only manifests name images that are elsewhere",
    )
    validation = wishes.validation
    if isinstance(validation, Path):
        found = [(file, place, TRAIN) for file, place, _ in found]
        found += [(file, place, VALIDATION) for file, place, _ in _sorted_pictures(validation)]
    elif not any(split == VALIDATION for _, _, split in found):
        homes = _divided([str(file.relative_to(path)) for file, _, _ in found], validation)
        found = [(file, place, homes[str(file.relative_to(path))]) for file, place, _ in found]
    else:
        wishes.refuse(str(path), validation="its folders divide the images already")
    names = sorted({name for _, name, _ in found})
    folders: dict[str, dict[str, list[Path]]] = {TRAIN: {}, VALIDATION: {}}
    for file, name, split in found:
        folders[split or TRAIN].setdefault(name, []).append(file.absolute())
    examples = [
        (channel, str(file), names.index(name))
        for channel, classes in folders.items()
        for name, files in classes.items()
        for file in files
    ]
    channels = tuple(_written(examples, scratch))
    return TrialData(channels, tuple(names), lambda _: Folder(path, Copies(path)), folders)


def _sorted_pictures(path: Path) -> list[tuple[Path, str, str | None]]:
    files = [file for file in sorted(path.rglob("*")) if file.suffix.lower() in EXTENSIONS and file.is_file()]
    placed = {file: file.relative_to(path).parts[:-1] for file in files}
    layout = find_layout(set(placed.values()))
    found: list[tuple[Path, str, str | None]] = []
    for file, folders in placed.items():
        place = layout.place(folders)
        if isinstance(place, Place) and place.split != "test":
            found.append((file, place.folder, place.split))
    if not found:
        raise DatasetError(
            f"{path} is no dataset: it has neither dataset.json, nor {TRAIN}.manifest, nor class folders "
            f"with pictures ({', '.join(EXTENSIONS)})"
        )
    return found


def _divided(groups: Sequence[str], share: float | None) -> dict[str, str]:
    """The channel of each group: by its name alone, so that more pictures do not move the others."""
    shares = Shares(validation=SHARE if share is None else share)
    lent = loans(groups, shares)
    return {group: lent.get(group) or channel_of(group, shares) for group in groups}


def _written(examples: Iterable[tuple[str, str, object]], scratch: Path) -> list[TrialChannel]:
    """Manifests of examples, each a channel, an address and a label."""
    lines: dict[str, list[str]] = {TRAIN: [], VALIDATION: []}
    for channel, reference, label in examples:
        lines[channel].append(json.dumps({"source-ref": reference, LABEL_ATTRIBUTE: label}))
    channels = []
    for name, members in lines.items():
        if members:
            path = scratch / f"{name}.made.manifest"
            path.write_text("\n".join(members) + "\n", encoding="utf-8")
            channels.append(TrialChannel(name, str(path), ("source-ref", LABEL_ATTRIBUTE), len(members)))
    return channels


def _lines(path: Path) -> Iterator[tuple[str, int, _Record]]:
    decode = msgspec.json.Decoder(_Record).decode
    try:
        for number, line in enumerate(storage.read_file_lines(path), start=1):
            if line.strip():
                yield str(path), number, decode(line)
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        raise ManifestLineError(str(path), number, f"it is not a record ({error})") from error


class _Labels:
    """The label attribute of manifests, and the names of their classes."""

    def __init__(self, attribute: str | None) -> None:
        self._wanted = attribute
        self._found = ""
        self._said: set[str] = set()
        self._named: dict[int, str] = {}
        self._largest = -1

    @property
    def attribute(self) -> str:
        """The attribute that counts."""
        return self._found

    @property
    def by_name(self) -> bool:
        """Whether labels are names of classes, and need numbers."""
        return bool(self._said)

    @property
    def names(self) -> tuple[str, ...]:
        """The classes by their labels."""
        if self._said:
            return tuple(sorted(self._said))
        return tuple(self._named.get(number, str(number)) for number in range(self._largest + 1))

    def note(self, manifest: str, line: int, record: _Record) -> str:
        """Look at a line; return what it calls its picture.

        Raises:
            ManifestLineError: if it has no picture, or no label that one could be sure of.
        """
        if not self._found:
            self._found = self._wanted or self._guess(manifest, line, record)
        for name in ("source-ref", self._found):
            if name not in record:
                known = ", ".join(record) or "none"
                raise ManifestLineError(
                    manifest, line, f"it has no attribute {name!r}; those it has: {known}"
                )
        label = _label(record[self._found])
        if isinstance(label, str):
            self._said.add(label)
        for number in label if isinstance(label, list) else [label]:
            if isinstance(number, int):
                self._largest = max(self._largest, number)
        self._note_names(label, record)
        return str(msgspec.json.decode(record["source-ref"]))

    def number(self, record: _Record) -> object:
        """The label of a line as a program takes it."""
        label = _label(record[self._found])
        return self._numbers[label] if isinstance(label, str) else label

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.names)}

    def _note_names(self, label: object, record: _Record) -> None:
        metadata = record.get(f"{self._found}{_METADATA}")
        said = msgspec.json.decode(metadata) if metadata is not None else None
        if not isinstance(said, dict):
            return
        if isinstance(label, int) and isinstance(said.get("class-name"), str):
            self._named[label] = said["class-name"]
        several = said.get("class-map")
        for number, name in several.items() if isinstance(several, dict) else ():
            if number.isdecimal() and isinstance(name, str):
                self._named[int(number)] = name

    def _guess(self, manifest: str, line: int, record: _Record) -> str:
        with_metadata = [name for name in record if f"{name}{_METADATA}" in record]
        for candidates in (with_metadata, [LABEL_ATTRIBUTE], [_CLASS]):
            present = [name for name in candidates if name in record]
            if len(present) == 1:
                return present[0]
        known = ", ".join(record) or "none"
        raise ManifestLineError(
            manifest, line, f"which attribute is the label? name it with --attribute; those it has: {known}"
        )


def _label(raw: msgspec.Raw) -> object:
    """A label as a program gets it. AWS's pages show numbers and lists, and both as texts, too."""
    label = msgspec.json.decode(raw)
    if not isinstance(label, str):
        return label
    try:
        inner = msgspec.json.decode(label)
    except msgspec.DecodeError:
        return label
    return label if isinstance(inner, str) or as_label(inner) is None else inner
