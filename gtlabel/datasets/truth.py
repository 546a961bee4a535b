"""Pictures whose class is known: a channel of a dataset, any augmented manifest, or class folders.

Classes are known by their names. An integer says something only beside the class list that it comes from:
the name in its metadata, else the `classes.json` beside the manifest.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from gtlabel.datasets.folders import class_of
from gtlabel.datasets.places import Place
from gtlabel.datasets.survey import open_dataset
from gtlabel.errors import DatasetError, ManifestError, ObjectNotFoundError
from gtlabel.images.decoding import ENDINGS
from gtlabel.manifests.classes import class_names
from gtlabel.manifests.lines import read_records
from gtlabel.manifests.records import SOURCE_REF, ManifestRecord
from gtlabel.manifests.split import Channel
from gtlabel.storage import list_objects, read
from gtlabel.uris import S3Uri


@dataclass(frozen=True, slots=True)
class Known:
    """A picture whose classes are known.

    Attributes:
        name: its address or path.
        classes: what it is; several, or none, where the labels are multi-label ones.
        read: fetches its file.
    """

    name: str
    classes: tuple[str, ...]
    read: Callable[[], bytes]


@dataclass(slots=True)
class Truth:
    """Pictures whose classes are known, to be read once.

    Attributes:
        name: where they are listed.
        images: the pictures, in their order, a line in memory at a time.
        total: how many there are; 0 where that shows only at the end.
        far: whether they are fetched from S3.
        unlabeled: how many lines without a label were passed over, so far.
    """

    name: str
    images: Iterator[Known] = field(default_factory=lambda: iter(()))
    total: int = 0
    far: bool = True
    unlabeled: int = 0


def open_truth(
    place: Place, *, channel: Channel = "validation", attribute: str | None = None, names: Sequence[str] = ()
) -> Truth:
    """Find the pictures of a place whose classes are known.

    Args:
        place: a dataset, a manifest, or a folder that has a folder for each class.
        channel: of a dataset.
        attribute: the attribute with the labels, where a manifest has several.
        names: the classes that are expected: what folders are called that hold only a part of a name, and
            what integers mean that nothing else explains.

    Raises:
        DatasetError: if there is nothing of the kind, or the dataset has no such channel.
    """
    if place.is_manifest:
        folder = place.root.folder if isinstance(place.root, S3Uri) else place.root.parent
        listed = _classes_beside(Place(folder, place.connect)) or tuple(names)
        truth = Truth(str(place))
        fetch = partial(_from_s3, place)
        truth.images = _labeled(truth, place, attribute, listed, fetch)
        return truth
    try:
        dataset = open_dataset(place)
    except DatasetError:
        if isinstance(place.root, Path) and not place.root.is_dir():
            raise
        if _has(place, "dataset.json"):
            raise
        return _folders(place, names)
    if channel not in dataset.channels:
        raise DatasetError(f"{place} has no {channel} channel; it has {', '.join(dataset.channels)}")
    file = dataset.channels[channel]
    manifest = place.at(file.manifest.name)
    truth = Truth(str(manifest), total=file.images, far=isinstance(place.root, S3Uri))
    truth.images = _labeled(
        truth,
        manifest,
        attribute or dataset.attribute,
        tuple(dataset.names),
        lambda image: place.image(image, dataset.uri),
    )
    return truth


def _labeled(
    truth: Truth,
    manifest: Place,
    attribute: str | None,
    names: Sequence[str],
    fetch: Callable[[S3Uri], bytes],
) -> Iterator[Known]:
    records = read_records(manifest.lines(), str(manifest), attribute=attribute)
    if attribute is None:
        attribute, records = _attribute(truth, records)
    for record in records:
        if attribute is None or record.state(attribute) != "labeled":
            truth.unlabeled += 1
            continue
        image = record.source_ref
        yield Known(image, _classes(record, attribute, names), partial(fetch, image))


def _attribute(
    truth: Truth, records: Iterator[ManifestRecord]
) -> tuple[str | None, Iterator[ManifestRecord]]:
    """The one attribute with labels, by the first record that has any, and the records from there on."""
    for record in records:
        found = list(record.attributes) or [
            key for key in record.to_json() if key != SOURCE_REF and isinstance(record.get(key), (int, list))
        ]
        if len(found) > 1:
            raise DatasetError(
                f"{truth.name} has the labels of {', '.join(found)}; pick one with --attribute"
            )
        if found:
            return found[0], chain((record,), records)
        truth.unlabeled += 1
    return None, records


def _classes(record: ManifestRecord, attribute: str, names: Sequence[str]) -> tuple[str, ...]:
    """What a record says its picture is."""
    metadata = record.label(attribute) if f"{attribute}-metadata" in record else None
    if metadata is not None and metadata.class_name is not None:
        return (metadata.class_name,)
    value = record.get(attribute)
    if isinstance(value, str) and value.startswith("["):
        # AWS's manual shows the list in a text.
        value = _parsed(value)
    if isinstance(value, list):
        spelled = (metadata.class_map if metadata else None) or {}
        return tuple(spelled.get(str(each)) or _named(record, attribute, each, names) for each in value)
    return (_named(record, attribute, record.class_index(attribute), names),)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _named(record: ManifestRecord, attribute: str, index: object, names: Sequence[str]) -> str:
    if isinstance(index, int) and not isinstance(index, bool) and 0 <= index < len(names):
        return names[index]
    known = f"there are {len(names)} classes" if names else "no classes.json lies beside the manifest"
    raise ManifestError(f"{record.source_ref}: {attribute!r} is {index!r} without a class name, and {known}")


def _classes_beside(folder: Place) -> tuple[str, ...]:
    """The class list beside a manifest; nothing where there is none."""
    where = folder.at("classes.json")
    try:
        return class_names(where.read(), str(where))
    except ObjectNotFoundError:
        return ()


def _folders(place: Place, names: Sequence[str]) -> Truth:
    """The pictures of class folders, the folder's name being their class."""
    truth = Truth(str(place), far=isinstance(place.root, S3Uri))
    found = _in_folders(place, names)
    first = next(found, None)
    if first is None:
        raise DatasetError(
            f"{place} is no dataset, and holds no folders of classes with pictures in them; "
            "name a manifest, a dataset, or a folder such as photos/ with photos/Compost/1.jpg in it"
        )
    truth.images = chain((first,), found)
    return truth


def _in_folders(place: Place, names: Sequence[str]) -> Iterator[Known]:
    for path, name, fetch in _files(place):
        folder, _, rest = path.partition("/")
        if rest and path.lower().endswith(ENDINGS):
            known = folder if folder in names else class_of(folder, names)
            yield Known(name, (known or folder,), fetch)


def _files(place: Place) -> Iterable[tuple[str, str, Callable[[], bytes]]]:
    """Each file below a place: its path there, its name, and how to read it."""
    root = place.root
    if isinstance(root, Path):
        for path in sorted(root.rglob("*")):
            if path.is_file():
                yield path.relative_to(root).as_posix(), str(path), path.read_bytes
        return
    top = root if not root.key or root.key.endswith("/") else root.at(root.key + "/")
    for item in list_objects(place.connect(), top):
        yield item.uri.key.removeprefix(top.key), item.uri, partial(_from_s3, place, item.uri)


def _from_s3(place: Place, image: S3Uri) -> bytes:
    return read(place.connect(), image)


def _has(place: Place, name: str) -> bool:
    try:
        place.at(name).read()
    except ObjectNotFoundError:
        return False
    return True
