"""Which pictures go to workers: found, new, sound, unlike each other, and as many as are wanted.

Each step looks at what the cheaper ones before it left. Names, sizes and exact copies come with the
listing; headers cost a kilobyte for each picture; decoding, near copies and a diverse sample need the
whole picture, once for all three. Where a sample is wanted, only as many pictures are looked into as it
takes to fill it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from gtlabel.errors import MissingExtraError, NoImagesError, NothingNewError
from gtlabel.images.checks import AUTOMATED, PEOPLE, Facts, UnsoundPictureError, examine
from gtlabel.images.decoding import Decoder, strict_decoder
from gtlabel.images.duplicates import exact_copies, near_copies
from gtlabel.images.listing import (
    WORKERS,
    Refusal,
    Usable,
    find_images,
    list_images,
    look_into,
    none_usable,
    read_list,
)
from gtlabel.images.parallel import in_parallel
from gtlabel.images.sampling import FOLDER, Shares, allocate, drawn, group, most_diverse, stratum_of
from gtlabel.storage import StoredObject, read
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

    from gtlabel.images.fingerprints import Fingerprint

# A file in S3 that is named so is a list of pictures, and no prefix.
LISTS = (".txt", ".jsonl", ".manifest")

# A diverse sample is chosen among this many times as many pictures, drawn at random, each read whole.
_POOL = 20
_SMALLEST_POOL = 1_000


class Selection(BaseModel):
    """What is wanted of the pictures under a prefix or on a list.

    Attributes:
        sample: how many pictures; all of them by default.
        by: how they are drawn: at `random`; `stratified`, so that every stratum has its share; `diverse`,
            so that they are as unlike each other as can be. A diverse sample reads the whole pictures of
            a random pool twenty times its size (at least 1,000), and so costs that many downloads.
        stratify_by: `folder`, or a regular expression for the key; see `sampling.stratum_of`.
        shares: whether strata are drawn `proportional` to their size or `equal`.
        seed: another number draws other pictures.
        duplicates: `exact` leaves out all but one of the pictures with the same bytes; `near` also those
            that show the same picture, which reads all of them whole; `keep` leaves out none.
        strict: decode each picture to find damage amid its pixels; reads all of them whole.
        automated: hold pictures to the limits of automated labeling.
        since: only pictures written at that moment or later.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    sample: int | None = Field(default=None, ge=1)
    by: Literal["random", "stratified", "diverse"] = "random"
    stratify_by: str = FOLDER
    shares: Shares = "proportional"
    seed: int = Field(default=0, ge=-(2**63), lt=2**63)
    duplicates: Literal["keep", "exact", "near"] = "exact"
    strict: bool = False
    automated: bool = False
    since: AwareDatetime | None = None

    @property
    def compares_pictures(self) -> bool:
        """Whether it matters what pictures show."""
        return self.duplicates == "near" or (self.sample is not None and self.by == "diverse")

    @property
    def reads_whole_pictures(self) -> bool:
        """Whether more than a kilobyte of each picture is needed."""
        return self.strict or self.compares_pictures


def select_images(
    s3: S3Client,
    source: S3Uri | Path,
    selection: Selection | None = None,
    *,
    known: Collection[S3Uri] = (),
    on_progress: Callable[[int], None] | None = None,
) -> Usable:
    """Choose pictures, and say of each one that was left out why.

    The same pictures and the same selection give the same choice.

    Args:
        s3: the client.
        source: a prefix; or a list, as a file here or, named `.txt`, `.jsonl` or `.manifest`, in S3.
        selection: what is wanted; by default everything that is sound, and nothing twice.
        known: images that an earlier job has; they are passed over, and so are exact copies of them.
        on_progress: called with the number of pictures looked into so far.

    Raises:
        NoImagesError: if there is no picture, or none that can be used.
        NothingNewError: if there are pictures, and all of them are known.
        BucketNotFoundError: if the bucket does not exist.
        ManifestLineError: if a line of the list names no picture.
        MissingExtraError: if what is wanted needs Pillow and numpy, and they are not installed.
        SettingsError: if the pattern to stratify by is no regular expression.
    """
    wanted = selection or Selection()
    stratum = stratum_of(wanted.stratify_by)
    sieve = _Sieve(s3, wanted, on_progress)
    found, refused = _find(s3, source, wanted.since)
    earlier = [image for image in found if image.uri in known]
    new = [image for image in found if image.uri not in known] if earlier else found
    if earlier and not new:
        raise NothingNewError(len(earlier), str(source))
    if wanted.duplicates != "keep":
        new, copies = exact_copies(new, earlier=earlier, read=lambda uri: read(s3, uri))
        refused += [Refusal(copy.image.uri, copy.reason) for copy in copies]
        if earlier and not new:
            raise NothingNewError(len(earlier) + len(copies), str(source))
    if wanted.sample is None:
        images = sieve.sift(new)
    elif wanted.by == "diverse":
        images = _diverse(sieve, new, wanted.sample, wanted.seed)
    else:
        strata = group(drawn(new, wanted.seed), stratum if wanted.by == "stratified" else lambda _uri: "")
        images = _drawn_from(strata, wanted.sample, wanted.shares, sieve)
    refused = sorted(refused + sieve.refused, key=lambda refusal: refusal.uri)
    if not images:
        raise none_usable(refused)
    images.sort(key=lambda image: image.uri)
    turned = tuple(image.uri for image in images if image.uri in sieve.turned)
    notes = [sieve.decoder.note] if sieve.decoder and sieve.decoder.note else []
    if turned:
        notes.append(
            f"{len(turned)} of the {len(images)} pictures have an Exif orientation: browsers turn them for "
            "the workers, and a trainer that reads the bare pixels does not"
        )
    return Usable(tuple(images), tuple(refused), turned, len(earlier), tuple(notes))


def bucket_of(s3: S3Client, source: S3Uri | Path) -> str:
    """The bucket of the pictures: of the prefix, or of the first one on a list.

    Raises:
        NoImagesError: if the list is empty.
    """
    if isinstance(source, S3Uri) and not is_list(source):
        return source.bucket
    first = next(read_list(s3, source), None)
    if first is None:
        raise NoImagesError(f"{source} names no pictures")
    return first.bucket


def is_list(source: S3Uri | Path) -> bool:
    """Whether this is a list of pictures and no prefix."""
    return isinstance(source, Path) or source.key.lower().endswith(LISTS)


def _find(
    s3: S3Client, source: S3Uri | Path, since: datetime | None
) -> tuple[list[StoredObject], list[Refusal]]:
    if isinstance(source, S3Uri) and not is_list(source):
        return list(list_images(s3, source, since=since)), []
    there, missing = find_images(s3, read_list(s3, source))
    if not there and not missing:
        raise NoImagesError(f"{source} names no pictures")
    if since is not None:
        there = [image for image in there if image.modified is None or image.modified >= since]
        if not there:
            raise NoImagesError(f"none of the pictures that {source} names was written since {since}")
    if not there:
        raise none_usable(missing)
    return there, missing


class _Sieve:
    """Lets through the pictures that can be used, and remembers what it saw of them."""

    def __init__(self, s3: S3Client, wanted: Selection, on_progress: Callable[[int], None] | None) -> None:
        self._s3 = s3
        self._wanted = wanted
        self._limits = AUTOMATED if wanted.automated else PEOPLE
        self._on_progress = on_progress
        self._seen = 0
        self._kept: list[tuple[StoredObject, Fingerprint]] = []
        self.decoder: Decoder | None = strict_decoder() if wanted.strict else None
        self._fingerprint = _fingerprints() if wanted.compares_pictures else None
        self.prints: dict[S3Uri, Fingerprint] = {}
        self.refused: list[Refusal] = []
        self.turned: set[S3Uri] = set()

    def sift(self, images: list[StoredObject]) -> list[StoredObject]:
        """Those of the images that can be used, beside the ones let through before."""
        sound: list[StoredObject] = []
        look = self._look_whole if self._wanted.reads_whole_pictures else self._look
        for image, found in in_parallel(look, images, WORKERS):
            self._seen += 1
            if isinstance(found, str):
                self.refused.append(Refusal(image.uri, found))
            else:
                sound.append(image)
                facts, print_ = found
                if facts.is_turned:
                    self.turned.add(image.uri)
                if print_ is not None:
                    self.prints[image.uri] = print_
            if self._on_progress is not None:
                self._on_progress(self._seen)
        return self._without_near_copies(sound) if self._wanted.duplicates == "near" else sound

    def _without_near_copies(self, sound: list[StoredObject]) -> list[StoredObject]:
        kept, copies = near_copies([(image, self.prints[image.uri]) for image in sound], earlier=self._kept)
        self.refused += [Refusal(copy.image.uri, copy.reason) for copy in copies]
        self._kept += [(image, self.prints[image.uri]) for image in kept]
        return kept

    def _look(self, image: StoredObject) -> tuple[Facts, None] | str:
        found = look_into(self._s3, image, self._limits)
        return found if isinstance(found, str) else (found, None)

    def _look_whole(self, image: StoredObject) -> tuple[Facts, Fingerprint | None] | str:
        if not 0 < image.size <= self._limits.max_bytes:
            found = look_into(self._s3, image, self._limits)
            return found if isinstance(found, str) else (found, None)
        data = read(self._s3, image.uri)
        try:
            facts = examine(len(data), lambda start, length: data[start : start + length], self._limits)
        except UnsoundPictureError as problem:
            return str(problem)
        damage = self.decoder.find_damage(data) if self.decoder else None
        if damage is not None:
            return damage
        print_ = self._fingerprint(data) if self._fingerprint else None
        return print_ if isinstance(print_, str) else (facts, print_)


def _fingerprints() -> Callable[[bytes], Fingerprint | str]:
    try:
        from gtlabel.images.fingerprints import fingerprint
    except ImportError as error:
        raise MissingExtraError("comparing what pictures show", "train") from error
    return fingerprint


def _drawn_from(
    strata: dict[str, list[StoredObject]], n: int, shares: Shares, sieve: _Sieve
) -> list[StoredObject]:
    """A sample of usable images; an unusable one is replaced from its own stratum while that lasts."""
    waiting = {name: list(reversed(images)) for name, images in strata.items()}
    target = allocate({name: len(images) for name, images in waiting.items()}, n, shares)
    drawn_of = dict.fromkeys(strata, 0)
    kept: list[StoredObject] = []
    while True:
        want = {name: min(target[name] - drawn_of[name], len(waiting[name])) for name in strata}
        missing = n - len(kept) - sum(want.values())
        left = {name: len(waiting[name]) - want[name] for name in strata}
        for name, more in allocate(left, missing, shares).items():
            want[name] += more
        batch = [(name, waiting[name].pop()) for name in strata for _ in range(want[name])]
        if not batch:
            return kept
        passed = {image.uri for image in sieve.sift([image for _, image in batch])}
        for name, image in batch:
            if image.uri in passed:
                kept.append(image)
                drawn_of[name] += 1
        target = {name: max(target[name], drawn_of[name]) for name in strata}


def _diverse(sieve: _Sieve, images: list[StoredObject], n: int, seed: int) -> list[StoredObject]:
    from gtlabel.images.fingerprints import features

    waiting = drawn(images, seed)
    pool: list[StoredObject] = []
    while waiting and len(pool) < n:
        size = max(_POOL * n, _SMALLEST_POOL)
        pool += sieve.sift(waiting[:size])
        waiting = waiting[size:]
    if not pool:
        return []
    pool = drawn(pool, seed)
    points = features([sieve.prints[image.uri] for image in pool])
    return [pool[position] for position in most_diverse(points, n)]
