"""What would be collected: every picture of a source looked at and decided about, and nothing sent."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from gtlabel.datasets.collect.archives import LIMITS, Limits, Source
from gtlabel.datasets.collect.choosing import Chosen, choose
from gtlabel.datasets.collect.collection import Origin
from gtlabel.datasets.collect.examine import Decode, examine, examine_objects
from gtlabel.datasets.collect.files import ArchiveFile
from gtlabel.datasets.collect.licence import UNKNOWN, Licence, find_licence
from gtlabel.datasets.collect.sources import FolderSource, open_archive
from gtlabel.errors import DatasetError
from gtlabel.images.listing import WORKERS
from gtlabel.manifests.vocabulary import Vocabulary
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

# What an address in S3 that is no prefix ends in.
_ARCHIVES = (".zip", ".tar", ".tgz", ".tbz2", ".txz", ".tar.gz", ".tar.bz2", ".tar.xz")


@dataclass(frozen=True, slots=True)
class CollectionWishes:
    """How a source is to be understood; everything has a default that suits most.

    Attributes:
        depth: which folder is the class, 1 being the first below the source; by default it is found.
        within: only pictures below this folder of the source.
        classes: the classes wanted, in the order of their labels; by default all, by the alphabet.
        vocabulary: what classes are called.
        licence: under which terms the pictures are; by default what their files say.
        address: where the source was downloaded, for the lines of the manifest.
        decode: finds the damage that headers do not show; by default nothing is decoded.
        encoding: how an archive writes names, where it does not say.
        follow_links: take what links in a folder point to.
        limits: what an archive may hold.
    """

    depth: int | None = None
    within: str = ""
    classes: Sequence[str] | None = None
    vocabulary: Vocabulary | None = None
    licence: str | None = None
    address: str | None = None
    decode: Decode | None = None
    encoding: str | None = None
    follow_links: bool = False
    limits: Limits = LIMITS


@dataclass(frozen=True, slots=True)
class CollectionPlan:
    """What would be collected; nothing was sent so far.

    Attributes:
        source: what to read the pictures from; None when they are objects in S3.
        prefix: where those are; None when they are not.
        origin: what the lines of the manifest say of it.
        chosen: the pictures, and those set aside.
        licence: an SPDX identifier, or what the person said.
        licence_file: the file that came with the data.
        others: how many files of each kind are no pictures.
        notes: what a person should know, in sentences.
    """

    source: Source | None
    prefix: S3Uri | None
    origin: Origin
    chosen: Chosen
    licence: str
    licence_file: Licence | None = None
    others: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def plan_collection(
    source: Path | S3Uri,
    wishes: CollectionWishes | None = None,
    *,
    s3: S3Client | None = None,
    workers: int = WORKERS,
    on_progress: Callable[[int], None] | None = None,
) -> CollectionPlan:
    """Look at every picture of a source, and decide what is collected. Nothing is written anywhere.

    Args:
        source: a folder; a zip or tar archive, here or in S3; or a prefix in S3.
        wishes: how it is to be understood.
        s3: reads what is in S3; for public buckets a client without credentials will do.
        workers: how many pictures are looked at at once.
        on_progress: called with the number of pictures looked at so far.

    Raises:
        ArchiveError: if an archive is hostile, damaged or of a kind that is not read.
        DatasetError: if nothing can be collected, or nobody says under which licence.
        ClassListError: if the classes cannot be told apart.
    """
    wishes = wishes or CollectionWishes()
    within = wishes.within.strip("/")
    reader: Source | None = None
    prefix: S3Uri | None = None
    if isinstance(source, S3Uri) and not source.key.lower().endswith(_ARCHIVES):
        prefix, digest = S3Uri(source.rstrip("/") + "/"), None
        name = str(prefix)
        contents = examine_objects(_client(s3, source), prefix, within, wishes.decode, workers, on_progress)
    else:
        reader, digest = _opened(source, wishes, s3)
        name = reader.name
        contents = examine(reader, within, wishes.decode, workers, on_progress)
    origin = Origin(address=wishes.address or name, sha256=digest)
    where = f"{name} below {within!r}" if within else name
    chosen = choose(contents, where, depth=wishes.depth, classes=wishes.classes, vocabulary=wishes.vocabulary)
    found = find_licence(contents.licences)
    licence = wishes.licence or (found.name if found else None)
    if licence is None:
        raise DatasetError(
            f"nothing in {name} says under which licence its pictures are; look where it was downloaded, and "
            f"give --licence CC-BY-4.0 or whatever it is, or --licence {UNKNOWN} if nobody knows"
        )
    notes = list(chosen.notes)
    if found and wishes.licence and wishes.licence != found.name:
        notes.append(
            f"{found.file} names the licence {found.name}; recorded is {wishes.licence}, as was said"
        )
    return CollectionPlan(reader, prefix, origin, chosen, licence, found, contents.others, tuple(notes))


def _opened(source: Path | S3Uri, wishes: CollectionWishes, s3: S3Client | None) -> tuple[Source, str | None]:
    """A folder or an archive, and the digest of the latter."""
    if isinstance(source, S3Uri):
        file = ArchiveFile.in_s3(_client(s3, source), source)
    elif source.is_dir():
        return FolderSource(source, wishes.follow_links), None
    elif source.is_file():
        file = ArchiveFile.on_disk(source)
    else:
        raise DatasetError(f"there is no folder and no archive at {source}; check the path")
    opened = open_archive(file, limits=wishes.limits, encoding=wishes.encoding)
    return opened, file.sha256()


def _client(s3: S3Client | None, source: S3Uri) -> S3Client:
    if s3 is None:
        raise DatasetError(f"{source} is in S3; give a client that may read it")
    return s3
