"""Class folders of public data sets become labeled manifests that merge with one's own."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from hashlib import md5, sha256
from typing import TYPE_CHECKING

from gtlabel.datasets.collect.archives import Found, Source
from gtlabel.datasets.collect.choosing import Labeled
from gtlabel.datasets.collect.collection import (
    Collection,
    digest_of_lines,
    lines_of,
    publish,
    read_collection,
)
from gtlabel.datasets.collect.examine import ROOM_BYTES, Held, Room
from gtlabel.datasets.collect.planning import CollectionPlan
from gtlabel.datasets.copying import copy_missing
from gtlabel.datasets.folders import Placement
from gtlabel.datasets.lock import locked
from gtlabel.errors import DatasetError
from gtlabel.images.parallel import in_parallel
from gtlabel.images.upload import content_type_of, holds
from gtlabel.storage import StoredObject, list_objects, write_checked
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

Progress = Callable[[int, int], None]

# As many as the clients of `gtlabel.Aws` hold connections for.
SENDERS = 32
_MAX_KEY_BYTES = 1024
# What still leaves room in a key for the folders of a source.
_MAX_INTO_BYTES = 600
# https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateLabelingJob.html: 63, with a digest.
_MAX_STEM = 40


def collect(
    s3: S3Client,
    plan: CollectionPlan,
    into: S3Uri,
    *,
    in_place: bool = False,
    name: str | None = None,
    break_lock: bool = False,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    workers: int = SENDERS,
    on_progress: Progress | None = None,
) -> Collection:
    """Bring the pictures of a plan to S3, and write their manifest; the same once more changes nothing.

    Pictures that are there already with the same content are not sent again, so a run that broke off is
    simply started once more. From S3 they are copied inside S3.

    Args:
        s3: the client; it is used from several threads.
        plan: what `plan_collection` returns.
        into: the prefix of the collection.
        in_place: leave pictures that are in S3 where they are.
        name: what stands for the name of a labeling job; by default made of the source and the prefix.
        break_lock: collect although another run is said to be at it.
        now: tells the time.
        workers: how many pictures are sent at once.
        on_progress: called with the number of pictures that are there and in all.

    Raises:
        DatasetError: if `into` holds something else, or the source changed since it was looked at.
        DatasetInUseError: if another run writes there.
        BucketNotFoundError: if the bucket does not exist.
    """
    if in_place and plan.source is not None:
        raise DatasetError(
            f"the pictures of {plan.source.name} are no objects in S3 yet and cannot stay in place; "
            "leave --in-place out"
        )
    if len(into.key.encode()) > _MAX_INTO_BYTES:
        raise DatasetError(f"{into} is too long an address to put pictures below it")
    into = S3Uri(into.rstrip("/") + "/")
    if plan.prefix is not None and not in_place and (into / "images/").startswith(plan.prefix):
        raise DatasetError(f"{into} lies within {plan.prefix}, and would be collected again the next time")
    with locked(s3, into, break_lock=break_lock):
        earlier = read_collection(s3, into)
        if earlier is not None and not plan.origin.is_same(earlier.origin):
            raise DatasetError(
                f"{into} holds what was collected from {earlier.origin.address}; collect into another place"
            )
        if in_place:
            addresses = {item.picture.path: _stored(item).uri for item in plan.chosen.labeled}
        else:
            addresses = _addresses(plan, into)
            _bring(s3, plan, into, addresses, workers, on_progress)
        job = name or _job_name(plan.origin.address, into)
        collection = _describe(plan, into, addresses, earlier, in_place, job, now())
        file = plan.licence_file
        publish(
            s3,
            collection,
            _lines(plan, addresses, job, collection.created),
            plan.chosen.classes,
            plan.chosen.aside,
            (file.file.rpartition("/")[2], file.text) if file else None,
        )
    return collection


def _describe(
    plan: CollectionPlan,
    into: S3Uri,
    addresses: Mapping[str, S3Uri],
    earlier: Collection | None,
    in_place: bool,
    job: str,
    created: datetime,
) -> Collection:
    """What is said of a collection whose pictures are all there."""
    if earlier is not None:
        again = digest_of_lines(_lines(plan, addresses, job, earlier.created))
        # Where nothing is new, nothing gets a new date, and the bytes stay.
        created = earlier.created if again == earlier.manifest_sha256 else created
    labeled = plan.chosen.labeled
    counts = Counter(item.class_name for item in labeled)
    return Collection(
        uri=into,
        manifest=into / "output.manifest",
        manifest_sha256=digest_of_lines(_lines(plan, addresses, job, created)),
        job=job,
        created=created,
        origin=plan.origin,
        licence=plan.licence,
        in_place=in_place,
        classes={class_name: counts[class_name] for class_name in plan.chosen.classes},
        splits=dict(sorted(Counter(item.split for item in labeled if item.split).items())),
        set_aside=len(plan.chosen.aside),
        repeated=plan.chosen.repeated,
        left_out=dict(sorted(plan.chosen.left_out.items())),
    )


def _lines(
    plan: CollectionPlan, addresses: Mapping[str, S3Uri], job: str, created: datetime
) -> Iterator[bytes]:
    return lines_of(
        plan.chosen.labeled,
        addresses,
        plan.chosen.classes,
        origin=plan.origin,
        licence=plan.licence,
        job=job,
        created=created,
    )


def _bring(
    s3: S3Client,
    plan: CollectionPlan,
    into: S3Uri,
    addresses: Mapping[str, S3Uri],
    workers: int,
    on_progress: Progress | None,
) -> None:
    """Upload or copy what is not there yet."""
    images = into / "images/"
    known = set(addresses.values()) | {_address(images, item.path) for item in plan.chosen.aside}
    there: dict[S3Uri, StoredObject] = {}
    for stored in list_objects(s3, images):
        if stored.uri not in known:
            raise DatasetError(
                f"{stored.uri} is not of {plan.origin.address}; collect into an empty place, or delete "
                "it first"
            )
        there[stored.uri] = stored
    labeled = plan.chosen.labeled
    if plan.source is None:
        placements = [Placement(_stored(item), addresses[item.picture.path]) for item in labeled]
        copy_missing(s3, placements, there, on_progress=on_progress)
        return
    missing = {
        item.picture.path: item
        for item, is_there in in_parallel(
            lambda item: _is_there(s3, item, there.get(addresses[item.picture.path])), labeled, workers
        )
        if not is_there
    }
    done = len(labeled) - len(missing)
    if on_progress is not None:
        on_progress(done, len(labeled))
    for _ in _upload(s3, plan.source, missing, addresses, workers):
        done += 1
        if on_progress is not None:
            on_progress(done, len(labeled))
    if done < len(labeled):
        raise DatasetError(_changed(plan.source.name, "has fewer pictures"))


def _upload(
    s3: S3Client,
    source: Source,
    missing: Mapping[str, Labeled],
    addresses: Mapping[str, S3Uri],
    workers: int,
) -> Iterator[None]:
    """Read the source once more, and send what is missing as it passes by."""
    if not missing:
        return

    def send(held: Held) -> None:
        with held as body:
            picture = missing[held.path].picture
            if md5(body, usedforsecurity=False).hexdigest() != picture.digest:
                raise DatasetError(_changed(source.name, f"has another {held.path}"))
            write_checked(s3, addresses[held.path], body, content_type_of(held.path))

    def found() -> Iterator[Found]:
        for item in source.scan(lambda path, _size: path in missing):
            if item.path in missing and item.problem is None:
                yield item

    room = Room(ROOM_BYTES)
    for _ in in_parallel(send, (Held(item, room) for item in found()), workers):
        yield


def _changed(name: str, how: str) -> str:
    return f"{name} {how} than when it was looked at; run the same command again when nobody writes there"


def _is_there(s3: S3Client, item: Labeled, stored: StoredObject | None) -> bool:
    picture = item.picture
    return stored is not None and holds(
        s3, stored, size=picture.size, md5=picture.digest, sha256=picture.sha256 or ""
    )


def _stored(item: Labeled) -> StoredObject:
    stored = item.picture.stored
    if stored is None:
        raise DatasetError(f"{item.picture.path} is not in S3")
    return stored


def _addresses(plan: CollectionPlan, into: S3Uri) -> dict[str, S3Uri]:
    images = into / "images/"
    return {item.picture.path: _address(images, item.picture.path) for item in plan.chosen.labeled}


def _address(images: S3Uri, path: str) -> S3Uri:
    """Where a picture goes: its path stays, so that a pattern of one's own still finds camera and session."""
    uri = images.at(images.key + path)
    if len(uri.key.encode()) <= _MAX_KEY_BYTES:
        return uri
    folders, _, name = path.rpartition("/")
    suffix = name[name.rfind(".") :]
    return images.at(f"{images.key}{_digest(folders)}/{_digest(path)}{suffix}")


def _job_name(address: str, into: S3Uri) -> str:
    """A name such as `collect-flowers-1f0c9a2b`: two collections must not have one, their labels differ."""
    stem = re.split(r"[/?#]", address.rstrip("/"))[-1].lower()
    stem = re.sub(r"\.(zip|tar|tgz|tbz2|txz|gz|bz2|xz)$", "", re.sub(r"\.(gz|bz2|xz)$", "", stem))
    stem = re.sub(r"[^a-z0-9]+", "-", stem)[:_MAX_STEM].strip("-") or "pictures"
    return f"collect-{stem}-{_digest(f'{address} {into}')[:8]}"


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:16]
