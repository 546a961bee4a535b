"""Frames that devices kept become pictures for people to label.

Those that the models are least sure of come first; what looks like a frame that was taken already, or like
a picture of the dataset, is passed over, whichever camera saw it. In S3 a frame is named after its bytes,
so the same command run again changes nothing, and one that broke off is simply run again.

INTO/<name>.jpg, .png       the pictures, as the cameras took them
INTO/frames.manifest        one line per picture: which device, which model, what it said, when

The devices' folders stay as they are unless the frames are to be moved.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from gtlabel.edge.device.looks import Look
from gtlabel.edge.kept import Frame, Place, Unusable, read_frames, read_picture
from gtlabel.errors import (
    EdgeError,
    FramesNotFoundError,
    ManifestLineError,
    NoImagesError,
    ObjectNotFoundError,
)
from gtlabel.images.checks import EXTENSIONS, find_problem
from gtlabel.images.listing import known_images
from gtlabel.images.parallel import in_parallel
from gtlabel.images.upload import content_type_of
from gtlabel.manifests.lines import read_records, write_record
from gtlabel.manifests.records import ManifestRecord
from gtlabel.storage import exists, list_objects, read, read_lines, stat, write_checked, write_new, write_over
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

MANIFEST = "frames.manifest"
COLUMN = "gtlabel-frame"

By = Literal["margin", "entropy"]

_WORKERS = 16


@dataclass(frozen=True, slots=True)
class NearCopy:
    """A frame that shows what another picture shows: `{frame.picture} looks like {of}`."""

    frame: Frame
    of: str


@dataclass(frozen=True, slots=True)
class FramesPlan:
    """What a collection would bring; the least sure frames first.

    Attributes:
        into: the prefix they go to.
        chosen: the frames to bring.
        there: frames that an earlier run brought.
        copies: frames that show what another picture shows.
        over: frames that the models are surer of than of those that were asked for.
        unusable: what cannot be used, and why.
    """

    into: S3Uri
    chosen: tuple[Frame, ...]
    there: tuple[Frame, ...] = ()
    copies: tuple[NearCopy, ...] = ()
    over: tuple[Frame, ...] = ()
    unusable: tuple[Unusable, ...] = ()

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes of the model that took most of the frames."""
        named = [frame.said.labels for frame in (*self.chosen, *self.there)]
        return max(named, key=lambda labels: (named.count(labels), labels), default=())

    def address(self, frame: Frame) -> S3Uri:
        """Where a frame goes."""
        return self.into / frame.said.image


@dataclass(frozen=True, slots=True)
class Brought:
    """What a collection brought.

    Attributes:
        manifest: the list of all frames under the prefix, and what the devices said of them.
        frames: those that came now, with their addresses.
        unusable: what could not be used, and why.
        removed: how many frames are no longer on the devices.
    """

    manifest: S3Uri
    frames: tuple[tuple[S3Uri, Frame], ...]
    unusable: tuple[Unusable, ...]
    removed: int


@dataclass
class _Looks:
    """The pictures that are taken, to tell what looks like one of them."""

    taken: list[tuple[Look, str]] = field(default_factory=list)

    def add(self, look: Look, name: str) -> None:
        self.taken.append((look, name))

    def like(self, look: Look) -> str | None:
        return next((name for other, name in self.taken if look.resembles(other)), None)


def plan_frames(
    s3: S3Client,
    sources: Sequence[Place],
    into: S3Uri,
    *,
    known: Sequence[S3Uri] = (),
    most: int | None = None,
    by: By = "margin",
    on_progress: Callable[[int], None] | None = None,
) -> FramesPlan:
    """Choose among the frames of devices those that are worth labeling; nothing is written.

    Frames of all devices compete; of equally unsure ones the name decides, so that the same sources always
    give the same choice. Those that an earlier run brought count as chosen.

    Args:
        s3: the client.
        sources: folders of devices, or prefixes that such folders were copied to.
        into: where the pictures go.
        known: datasets, manifests or prefixes with pictures that need no labeling again. Each of their
            pictures is fetched, to see what it looks like.
        most: how many frames of these sources to have in S3, those of earlier runs included.
        by: how unsure a model is: by how small the lead of its first class is, or by entropy.
        on_progress: called with the number of pictures looked at.

    Raises:
        FramesNotFoundError: if a folder is not there, or no source has frames and no earlier run found any.
        BucketNotFoundError: if a bucket does not exist.
        EdgeError: if a source lies inside `into`, or the other way round.
    """
    for source in sources:
        if isinstance(source, S3Uri) and _overlap(source, into):
            raise EdgeError(f"{source} and {into} overlap; collect into a prefix of its own")
    frames: list[Frame] = []
    unusable: list[Unusable] = []
    for found in chain.from_iterable(read_frames(source, s3) for source in sources):
        if isinstance(found, Unusable):
            unusable.append(found)
        else:
            frames.append(found)
    earlier = _brought_before(s3, into)
    if not (frames or unusable or earlier):
        raise FramesNotFoundError(
            f"no device kept a frame below {', '.join(map(str, sources))}; a device keeps none unless it is "
            "given a folder for them: gtlabel deploy ... --set unsure=FOLDER"
        )
    looks = _Looks()
    for name, look in earlier.items():
        looks.add(look, into / name)
    for look, uri in _known_looks(s3, known, on_progress):
        looks.add(look, uri)
    frames.sort(key=lambda frame: (-_doubt(frame, by), frame.said.image))
    there = [frame for frame in frames if frame.said.image in earlier]
    room = None if most is None else most - len({frame.said.image for frame in there})
    chosen: list[Frame] = []
    copies: list[NearCopy] = []
    over: list[Frame] = []
    for frame in frames:
        if frame.said.image in earlier:
            continue
        like = looks.like(frame.look)
        if like is not None:
            copies.append(NearCopy(frame, like))
        elif room is not None and len(chosen) >= room:
            over.append(frame)
        else:
            chosen.append(frame)
            looks.add(frame.look, str(frame.picture))
    return FramesPlan(into, tuple(chosen), tuple(there), tuple(copies), tuple(over), tuple(unusable))


def bring_frames(
    s3: S3Client,
    plan: FramesPlan,
    *,
    move: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> Brought:
    """Bring the chosen frames to S3.

    Args:
        s3: the client.
        plan: what `plan_frames` returned.
        move: remove from the devices' folders what is in S3 now, and near copies of it.
        on_progress: called with the number done and the number in all.

    Raises:
        EdgeError: if frames in S3 are to be moved.
        StorageDeniedError: if the prefix may not be written to.
    """
    if move and any(isinstance(frame.picture, S3Uri) for frame in _settled(plan)):
        raise EdgeError("frames in S3 are not moved; leave out --move, and let a lifecycle rule expire them")

    def bring(frame: Frame) -> str | None:
        uri = plan.address(frame)
        try:
            picture = read_picture(frame.picture, s3)
        except (OSError, ObjectNotFoundError) as error:
            return f"cannot be read: {error}"
        if sha256(picture).hexdigest() != frame.said.sha256:
            return "is not the picture that the device kept; its disk may be damaged"
        problem = find_problem(picture)
        if problem is None:
            write_checked(s3, uri, picture, content_type_of(uri.name))
        return problem

    came: list[tuple[S3Uri, Frame]] = []
    unusable = list(plan.unusable)
    for done, (frame, problem) in enumerate(in_parallel(bring, plan.chosen, _WORKERS), start=1):
        if problem is None:
            came.append((plan.address(frame), frame))
        else:
            unusable.append(Unusable(str(frame.picture), problem))
        if on_progress is not None:
            on_progress(done, len(plan.chosen))
    manifest = plan.into / MANIFEST
    _list(s3, manifest, came)
    removed = 0
    if move:
        lost = {each.place for each in unusable}
        leaving = [frame for frame in (*plan.chosen, *plan.there) if str(frame.picture) not in lost]
        # What looks like a picture that did not come through is the only one of its kind.
        leaving += [copy.frame for copy in plan.copies if copy.of not in lost]
        for frame in leaving:
            _remove(frame)
        removed = len(leaving)
    return Brought(manifest, tuple(came), tuple(unusable), removed)


def next_command(plan: FramesPlan) -> str:
    """The command that has people label what was brought."""
    words = ["gtlabel", "label", str(plan.into)]
    if plan.classes:
        words += ["--classes", ",".join(plan.classes)]
    return shlex.join([*words, "--new"])


def _overlap(source: S3Uri, into: S3Uri) -> bool:
    if source.bucket != into.bucket:
        return False
    one, other = f"{source.key.rstrip('/')}/", f"{into.key.rstrip('/')}/"
    return one.startswith(other) or other.startswith(one)


def _doubt(frame: Frame, by: By) -> float:
    # Rounded, so that machines that compute another last digit choose the same frames.
    return round(frame.margin if by == "margin" else frame.entropy, 9)


def _settled(plan: FramesPlan) -> list[Frame]:
    """The frames that need not stay on the devices."""
    return [*plan.chosen, *plan.there, *(copy.frame for copy in plan.copies)]


def _known_looks(
    s3: S3Client, known: Sequence[S3Uri], on_progress: Callable[[int], None] | None
) -> Iterator[tuple[Look, str]]:
    """What the pictures of datasets look like; all of them are fetched, but for frames of ours."""
    pictures: dict[S3Uri, None] = {}
    listed: dict[S3Uri, Look] = {}
    for address in known:
        found = len(pictures) + len(listed)
        for uri in (stored.uri for stored in list_objects(s3, address)):
            if uri.name == MANIFEST:
                listed.update(
                    (uri.folder / name, look) for name, look in _brought_before(s3, uri.folder).items()
                )
            # A dataset has other lists of lines beside its manifests.
            elif uri.key.endswith(".manifest") or uri == address:
                pictures.update(dict.fromkeys(sorted(known_images(s3, [uri]))))
            elif uri.key.lower().endswith(EXTENSIONS):
                pictures[uri] = None
        if len(pictures) + len(listed) == found:
            raise NoImagesError(f"there are no pictures and no manifest under {address}; check --known")
    yield from ((look, uri) for uri, look in listed.items())

    def look_at(uri: S3Uri) -> Look | None:
        try:
            return Look.of(read(s3, uri))
        except ObjectNotFoundError:
            # A dataset may outlive some of the pictures that it was made of.
            return None

    wanted = (uri for uri in pictures if uri not in listed)
    for done, (uri, look) in enumerate(in_parallel(look_at, wanted, _WORKERS), start=1):
        if look is not None:
            yield look, uri
        if on_progress is not None:
            on_progress(done)


def _brought_before(s3: S3Client, into: S3Uri) -> dict[str, Look]:
    """The frames that earlier runs brought to a prefix, by name."""
    manifest = into / MANIFEST
    try:
        records = list(read_records(read_lines(s3, manifest), manifest))
    except ObjectNotFoundError:
        return {}
    looks = {}
    for number, record in enumerate(records, start=1):
        try:
            looks[record.source_ref.name] = Look.read(record.get(COLUMN)["look"])
        except (TypeError, KeyError, ValueError) as error:
            reason = f"{COLUMN!r} is not what `gtlabel edge collect` writes"
            raise ManifestLineError(manifest, number, reason) from error
    return looks


def _list(s3: S3Client, manifest: S3Uri, came: Sequence[tuple[S3Uri, Frame]]) -> None:
    """Add frames to the manifest; of several runs at once none loses the lines of another."""
    coming = {uri: _line(uri, frame) for uri, frame in came}
    while coming:
        before = stat(s3, manifest) if exists(s3, manifest) else None
        lines = {}
        if before is not None:
            for record in read_records(read_lines(s3, manifest), manifest):
                lines[record.source_ref] = write_record(record)
        merged = {**coming, **lines}
        if len(merged) == len(lines):
            return
        body = b"".join(merged[uri] + b"\n" for uri in sorted(merged))
        if before is None:
            written = write_new(s3, manifest, body, "application/jsonlines")
        else:
            written = write_over(s3, before, body, "application/jsonlines")
        if written:
            return


def _line(uri: S3Uri, frame: Frame) -> bytes:
    said = frame.said.model_dump(mode="json", by_alias=True, exclude={"schema_", "image"})
    return write_record(ManifestRecord.from_values({"source-ref": uri, COLUMN: said}))


def _remove(frame: Frame) -> None:
    """Remove a frame from a device's folder, its sidecar first: a picture without one counts as none."""
    for file in (frame.sidecar, frame.picture):
        if isinstance(file, Path):
            file.unlink(missing_ok=True)
