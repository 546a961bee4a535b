"""A look at a dataset: what its lines say, what its pictures show, and which labels to look at first.

The lines are read once, one in memory at a time, and counted. Of the images, the `limit` most suspicious
by their lines are kept, filled up with others drawn by their address, and these are fetched.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

from pydantic import ValidationError

from gtlabel.datasets import suspicion
from gtlabel.datasets.channels import LABEL_ATTRIBUTE, LINEAGE, ORIGINAL_REF, Dataset, Example
from gtlabel.datasets.leaks import Leak, leaks
from gtlabel.datasets.places import Place
from gtlabel.datasets.statistics import LabelStatistics, PictureStatistics
from gtlabel.datasets.suspicion import WEIGHTS, Doubt, Reason, Usual
from gtlabel.datasets.thumbnails import Sight, look, side_for
from gtlabel.errors import DatasetError, ObjectArchivedError, ObjectNotFoundError
from gtlabel.images.duplicates import Copy
from gtlabel.images.parallel import in_parallel
from gtlabel.manifests.lines import read_records
from gtlabel.manifests.records import LabelMetadata, ManifestRecord, first_problem
from gtlabel.manifests.split import Channel
from gtlabel.storage import StoredObject
from gtlabel.uris import S3Uri

# As many as the page shows at once without a thought.
LIMIT = 20_000

_NOTHING_SAID = LabelMetadata()


@dataclass(frozen=True, slots=True)
class Surveyed:
    """One image of a dataset, and what is to be said about it.

    Attributes:
        image: its address in the dataset.
        original: the address of the image that people looked at.
        channel: where it is.
        class_name: its label.
        confidence: as its job gave it; 0.0 and None say nothing about doubt.
        by_human: whether people gave the label.
        job: the job that did; empty where the line does not say.
        others: the classes that other jobs gave it.
        labels: how many labels it had, of as many jobs.
        sight: what its bytes say; None where nobody looked.
        reasons: why its label is suspicious, the weightiest first.
    """

    image: S3Uri
    original: S3Uri
    channel: Channel
    class_name: str
    confidence: float | None = None
    by_human: bool = True
    job: str = ""
    others: tuple[str, ...] = ()
    labels: int = 1
    sight: Sight | None = None
    reasons: tuple[Reason, ...] = ()

    @property
    def suspicion(self) -> float:
        """How suspicious its label is; 0 if it is not at all."""
        return sum(reason.weight for reason in self.reasons)

    @property
    def certainty(self) -> str:
        """The confidence for people. One worker's label always has 0.0, which is no doubt."""
        if self.confidence is None:
            return "unknown"
        return f"{self.confidence:.2f}" if self.confidence else "one answer"

    def to_json(self) -> dict[str, Any]:
        """What a program wants to know of it; without the thumbnail."""
        told: dict[str, Any] = {
            "image": self.image,
            "original": self.original,
            "channel": self.channel,
            "class": self.class_name,
            "confidence": self.confidence,
            "reasons": [{"kind": reason.kind, "sentence": reason.sentence} for reason in self.reasons],
        }
        if self.sight is not None:
            told.update(width=self.sight.width, height=self.sight.height, bytes=self.sight.size)
        return told


@dataclass(frozen=True, slots=True)
class Survey:
    """What a look at a dataset found.

    Attributes:
        dataset: as its `dataset.json` has it.
        labels: what all its lines say.
        pictures: what the pictures say that were fetched; None if none was to be.
        images: those that were kept, the most suspicious first.
    """

    dataset: Dataset
    labels: LabelStatistics
    pictures: PictureStatistics | None = None
    images: tuple[Surveyed, ...] = ()

    @property
    def suspicious(self) -> tuple[Surveyed, ...]:
        """The images with a reason to look at them."""
        return tuple(image for image in self.images if image.reasons)

    def to_json(self, most: int | None = None) -> dict[str, Any]:
        """All of it, with at most so many suspicious images."""
        suspicious = self.suspicious
        return {
            "dataset": self.dataset.uri,
            "labels": self.labels.to_json(),
            "pictures": None if self.pictures is None else self.pictures.to_json(),
            "suspicious_images": len(suspicious),
            "suspicious": [image.to_json() for image in suspicious[:most]],
        }


def open_dataset(place: Place) -> Dataset:
    """The dataset in a folder or below an address.

    Raises:
        DatasetError: if there is none, or its consolidation did not come to an end.
    """
    where = place.at("dataset.json")
    try:
        document = where.read()
    except ObjectNotFoundError:
        raise DatasetError(
            f"there is no dataset at {place}: it has no dataset.json; gtlabel consolidate makes one"
        ) from None
    try:
        return Dataset.model_validate_json(document)
    except ValidationError as error:
        raise DatasetError(f"{where} cannot be used: {first_problem(error)}; consolidate again") from error


def survey(
    place: Place,
    *,
    pictures: bool = False,
    thumbnails: bool = False,
    limit: int = LIMIT,
    workers: int = 16,
    on_progress: Callable[[int, int], None] | None = None,
) -> Survey:
    """Look at a dataset.

    Args:
        place: where it is.
        pictures: whether to fetch the pictures too, to know sizes, shapes, duplicates and leaks.
        thumbnails: whether to keep small copies of them.
        limit: how many images to keep, and to fetch.
        workers: how many pictures are fetched at once.
        on_progress: called with pictures fetched and in all.

    Raises:
        DatasetError: if there is none.
        ManifestLineError: at the first line that is not a record.
        MissingExtraError: if pictures are asked for, and Pillow or numpy is not installed.
    """
    dataset = open_dataset(place)
    statistics = LabelStatistics(tuple(dataset.names), tuple(dataset.channels))
    sieve = _Sieve(limit)
    for image in labeled_images(place, dataset):
        statistics.add(
            image.class_name,
            image.channel,
            confidence=image.confidence,
            by_human=image.by_human,
            job=image.job,
            others=image.others,
            labels=image.labels,
        )
        sieve.add(image)
    doubts = suspicion.doubts(statistics)
    kept = [_with_reasons(image, doubts[image.job]) for image in sieve.images]
    found = None
    if pictures or thumbnails:
        side = side_for(len(kept)) if thumbnails else None
        kept = list(_seen(place, dataset, kept, side, workers, on_progress))
        kept, found = _compared(kept)
    kept.sort(key=lambda image: (-image.suspicion, image.class_name, image.original))
    return Survey(dataset, statistics, found, tuple(kept))


def labeled_images(place: Place, dataset: Dataset) -> Iterator[Surveyed]:
    """Yield what the channels say of each image, holding one line at a time.

    Raises:
        ManifestLineError: at the first line that is not a record.
    """
    disputes = {dispute.image: dispute.dropped for dispute in dataset.disagreements}
    for channel, file in dataset.channels.items():
        manifest = place.at(file.manifest.name)
        for record in read_records(manifest.lines(), str(manifest), attribute=dataset.attribute):
            yield _labeled(record, channel, dataset, disputes)


def _labeled(
    record: ManifestRecord, channel: Channel, dataset: Dataset, disputes: Mapping[S3Uri, tuple[str, ...]]
) -> Surveyed:
    attribute = dataset.attribute or LABEL_ATTRIBUTE
    label = record.label(attribute)
    original = S3Uri(record.get(ORIGINAL_REF, record.source_ref))
    lineage = record.get(LINEAGE) or {}
    dropped = [said["class-name"] for said in lineage.get("dropped", ())]
    return Surveyed(
        record.source_ref,
        original,
        channel,
        label.class_name or dataset.names[record.class_index(attribute)],
        label.confidence,
        label.by_human,
        label.job or "",
        tuple(dict.fromkeys(dropped)) or disputes.get(original, ()),
        labels=1 + len(dropped) + len(lineage.get("agreed", ())),
    )


@dataclass(slots=True)
class _Sieve:
    """Keeps so many images: the most suspicious by their lines, and others as their addresses fall."""

    limit: int
    _heap: list[tuple[float, bytes, int, Surveyed]] = field(default_factory=list)
    _seen: int = 0

    def add(self, image: Surveyed) -> None:
        doubt = 2.0 * bool(image.others) + (1 - image.confidence if image.confidence else 0.0)
        self._seen += 1
        # The digest is the same on every run, and knows nothing of classes or dates.
        entry = (doubt, sha256(image.original.encode()).digest()[:8], -self._seen, image)
        if len(self._heap) < self.limit:
            heapq.heappush(self._heap, entry)
        elif self._heap and entry[:3] > self._heap[0][:3]:
            heapq.heapreplace(self._heap, entry)

    @property
    def images(self) -> list[Surveyed]:
        return [image for *_, image in sorted(self._heap, key=lambda entry: -entry[2])]


def _with_reasons(image: Surveyed, doubt: Doubt) -> Surveyed:
    return _because(
        image,
        suspicion.disputed(image.class_name, image.others),
        suspicion.unsure(image.confidence, doubt),
    )


def _because(image: Surveyed, *reasons: Reason | None) -> Surveyed:
    added = [reason for reason in reasons if reason is not None]
    if not added:
        return image
    ordered = sorted((*image.reasons, *added), key=lambda reason: -reason.weight)
    return replace(image, reasons=tuple(ordered))


def _seen(
    place: Place,
    dataset: Dataset,
    images: Sequence[Surveyed],
    side: int | None,
    workers: int,
    on_progress: Callable[[int, int], None] | None,
) -> Iterator[Surveyed]:
    """Yield the images with what their bytes say."""

    def fetch(image: Surveyed) -> Sight:
        try:
            data = place.image(image.image, dataset.uri)
        except (ObjectNotFoundError, ObjectArchivedError):
            data = None
        return look(data, side)

    for done, (image, sight) in enumerate(in_parallel(fetch, images, workers), start=1):
        if on_progress:
            on_progress(done, len(images))
        yield replace(image, sight=sight)


def _compared(images: Sequence[Surveyed]) -> tuple[list[Surveyed], PictureStatistics]:
    """The images with what comes out when their pictures are compared with each other."""
    from gtlabel.images.duplicates import near_copies
    from gtlabel.images.groups import groups

    statistics = PictureStatistics(looked_at=len(images))
    prints = [(image, image.sight.print_) for image in images if image.sight and image.sight.print_]
    usual = Usual([image.sight for image in images if image.sight])
    copies = near_copies([(_stored(image), print_) for image, print_ in prints])[1]
    leaking = leaks((_example(image) for image in images), groups((image.image, p) for image, p in prints))
    by_address = {image.image: image for image in images}
    twins = _twins(by_address, copies)
    elsewhere = _elsewhere(by_address, leaking)
    compared = []
    for image in images:
        sight = image.sight or Sight(0)
        reasons = [usual.odd(sight), twins.get(image.image), elsewhere.get(image.image)]
        if sight.problem is not None:
            statistics.unreadable += 1
            reasons.append(Reason("unreadable", sight.problem, WEIGHTS["unreadable"]))
        if sight.width:
            statistics.add(sight.width, sight.height, sight.size, sight.kind)
        compared.append(_because(image, *reasons))
    statistics.duplicates = len(copies)
    statistics.twins = len(twins)
    statistics.leaks = len(leaking)
    return compared, statistics


def _twins(by_address: Mapping[S3Uri, Surveyed], copies: Iterable[Copy]) -> dict[S3Uri, Reason]:
    """The images that show the very picture, by its pixels, of an image of another class."""
    alike: dict[S3Uri, list[Surveyed]] = {}
    for copy in copies:
        alike.setdefault(copy.of, [by_address[copy.of]]).append(by_address[copy.image.uri])
    reasons = {}
    for members in alike.values():
        for image in members:
            other = next((twin for twin in members if twin.class_name != image.class_name), None)
            if other is not None:
                sentence = f"shows the same picture as {other.original}, which is {other.class_name!r}"
                reasons[image.image] = Reason("twin", sentence, WEIGHTS["twin"], other.image)
    return reasons


def _elsewhere(by_address: Mapping[S3Uri, Surveyed], leaking: Iterable[Leak]) -> dict[S3Uri, Reason]:
    """The images that have their like in another channel."""
    reasons: dict[S3Uri, Reason] = {}
    for leak in leaking:
        for channel, members in leak.images.items():
            other = next(by_address[found[0]] for c, found in leak.images.items() if c != channel)
            sentence = f"is in {channel}, and nearly the same picture is in {other.channel}: {other.original}"
            reason = Reason("leak", sentence, WEIGHTS["leak"], other.image)
            reasons.update(dict.fromkeys(members, reason))
    return reasons


def _stored(image: Surveyed) -> StoredObject:
    sight = image.sight or Sight(0)
    return StoredObject(image.image, sight.size, sight.digest)


def _example(image: Surveyed) -> Example:
    return Example(image.image, image.original, image.channel, image.class_name, _NOTHING_SAID)
