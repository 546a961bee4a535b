"""From the output manifests of labeling jobs to class folders and channels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING

from gtlabel.datasets.batchoperations import Principal, ask, outstanding, place_by_key
from gtlabel.datasets.certificate import NEAR_DUPLICATES, Batch, Witness, read_certificate, write_certificate
from gtlabel.datasets.channels import (
    LABEL_ATTRIBUTE,
    ChannelFile,
    ClassFolder,
    Dataset,
    Disagreement,
    Identity,
    LineMaker,
    Mode,
    publish,
    read_channel,
    withdraw,
)
from gtlabel.datasets.contents import same_images
from gtlabel.datasets.copying import WORKERS, Progress, copy_missing, delete_sources, present_copies
from gtlabel.datasets.folders import Placement, find, folder_of, place
from gtlabel.datasets.formats import Prefix, Written, check_formats, write_format
from gtlabel.datasets.gather import JobOutput, OnBad, gather
from gtlabel.datasets.grouping import group_images
from gtlabel.datasets.leftovers import refuse_leftovers
from gtlabel.datasets.lock import locked
from gtlabel.datasets.moved import Moved, find_moved, looking_at_copies, refuse_to_lose
from gtlabel.datasets.options import Engine, Options
from gtlabel.datasets.plan import cap, make_plan, refuse_what_cannot_train
from gtlabel.datasets.pooling import pooled_votes
from gtlabel.datasets.resize import Shape, resize_missing
from gtlabel.errors import DatasetError
from gtlabel.manifests.choose import Choice
from gtlabel.manifests.classes import ClassList, reconcile
from gtlabel.manifests.lines import write_image
from gtlabel.manifests.merge import Policy
from gtlabel.manifests.provenance import contradictions
from gtlabel.manifests.split import Channel, KeyPattern, Shares
from gtlabel.manifests.vocabulary import Vocabulary, suggestions
from gtlabel.storage import StoredObject, exists, list_objects, write, write_chunks, write_lines
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

    from gtlabel.datasets.scale import Cluster
    from gtlabel.images.groups import Looks

__all__ = ["JobOutput", "Options", "consolidate"]

# What still leaves room in a key of 1,024 bytes for a class and a file name.
_MAX_INTO_BYTES = 600
# `dataset.json` is read whole; what it names of many is the beginning.
_NAMED = 1000
# Lines that are made at once.
_BATCH = 512


def consolidate(
    s3: S3Client,
    outputs: Sequence[JobOutput | S3Uri],
    into: S3Uri,
    *,
    policy: Policy = "newest",
    identity: Identity = "address",
    choice: Choice | None = None,
    vocabulary: Vocabulary | None = None,
    shares: Shares | None = None,
    groups: str | None = None,
    mode: Mode = "copy",
    formats: Sequence[str] = (),
    resize: Shape | None = None,
    on_bad: OnBad | None = None,
    workers: int = WORKERS,
    engine: Engine | Cluster = "process",
    batch: Principal | None = None,
    break_lock: bool = False,
    dry_run: bool = False,
    on_progress: Progress | None = None,
) -> Dataset:
    """Make one dataset of what labeling jobs left, with one integer label that means the same everywhere.

    Images are copied inside S3. Running it again continues where an interrupted run ended, copies
    nothing twice and ends in the same bytes. Images without a label are counted and left out. An image
    never changes its channel, however the data grows.

    Args:
        s3: the client; copies use it from several threads.
        outputs: the jobs; their order is the order of the classes.
        into: where the dataset goes.
        policy: which label holds where jobs disagree; see `gtlabel.manifests.merge.decide`.
        identity: whether images at several addresses that hold the same bytes are one (`content`): each label
            counts, the line names the other addresses, and of those nothing is copied, moved or deleted.
            Images are listed for it; those of one size take a request each, unless their ETags are equal.
        choice: which labels count, and how many images of a class at most.
        vocabulary: renamed, merged and removed classes.
        shares: of the channels; 0.8 for training and 0.2 for validation by default.
        groups: what keeps images in one channel: `near-duplicates`, for which every image is read, or a
            regular expression for keys, see `gtlabel.manifests.split.KeyPattern`.
        mode: `copy` images into class folders, `move` them there, or leave them where they are (`none`):
            then the channels name the images themselves, and whether they are still there is not looked at.
        formats: what else to write beside the channels, of `gtlabel.datasets.formats.FORMATS`.
        resize: the height and width to bring images to on their way, through this machine; only with `copy`.
        on_bad: takes the number, bytes and reason of a line that cannot be used, in place of an error.
        workers: how many copies run at once; with `ray`, in each of its processes.
        engine: `ray`, or a cluster, reads manifests and images and copies them with many processes, and the
            same result.
        batch: let S3 copy by itself, for this account and role; see `gtlabel.datasets.batchoperations`. The
            dataset that is returned tells in `requests` what has to be done before it is finished by
            calling this again.
        break_lock: write although another run seems to be at it.
        dry_run: return what would come of it, and write nothing.
        on_progress: called with images done and in all, from one thread at a time.

    Raises:
        DatasetError: if there is nothing to train with, jobs disagree and the policy is `refuse`, or
            `into` holds something else.
        ClassListError: if the jobs' classes contradict each other.
        ManifestLineError: at the first line that is not a record, unless there is `on_bad`.
        DatasetInUseError: if another run writes to `into`.
        MissingExtraError: if near-duplicates or Ray are asked for, and what they need is not installed.
    """
    if not outputs:
        raise DatasetError("no job is given; name at least one labeling job")
    if len(into.key.encode()) > _MAX_INTO_BYTES:
        raise DatasetError(f"{into} is too long an address to put class folders below it")
    if groups is not None and groups != NEAR_DUPLICATES:
        KeyPattern(groups)
    extra = [name for name in check_formats(formats) if name != "augmented"]
    if extra and mode == "none":
        raise DatasetError(f"the format {extra[0]!r} tells of copies in class folders; leave out mode 'none'")
    if resize is not None and mode != "copy":
        raise DatasetError(f"images are resized while they are copied; leave out mode {mode!r}")
    if batch is not None and (mode == "none" or resize is not None):
        raise DatasetError("S3 can copy images by itself, but not resize them, nor leave them where they are")
    into = S3Uri(into.rstrip("/") + "/")
    with _cluster(s3, engine) as cluster:
        job = _Consolidation(s3, into, policy, choice or Choice(), vocabulary or Vocabulary(), cluster)
        job.gather(outputs, on_bad)
        job.unite(identity, mode, workers)
        job.settle(outputs)
        job.choose(mode, shares or Shares(), groups, on_progress)
        if dry_run:
            return job.dataset()
        with locked(s3, job.into, break_lock=break_lock) as lock:
            refuse_leftovers(s3, job.into, extra, job.channels)
            job.place(by_key=batch is not None)
            job.tell_disputes()
            withdraw(s3, job.into)
            requests = job.ask(batch) if batch else ()
            job.copy(resize, workers, on_progress)
            if requests:
                return job.dataset(requests=requests)
            lock.check()
            dataset = job.publish(extra)
    job.delete_moved()
    return dataset


def _cluster(s3: S3Client, engine: Engine | Cluster) -> Cluster | nullcontext[None]:
    if engine == "process":
        return nullcontext()
    if engine != "ray":
        return engine
    from gtlabel.datasets.scale import Cluster

    return Cluster(s3)


class _Consolidation:
    """One consolidation, step by step; each needs those before it."""

    def __init__(
        self,
        s3: S3Client,
        into: S3Uri,
        policy: Policy,
        choice: Choice,
        vocabulary: Vocabulary,
        cluster: Cluster | None,
    ) -> None:
        self.into = into
        self._s3 = s3
        self._policy = policy
        self._choice = choice
        self._vocabulary = vocabulary
        self._cluster = cluster
        self._moved: Moved = {}

    def gather(self, outputs: Sequence[JobOutput | S3Uri], on_bad: OnBad | None) -> None:
        """Read the labels."""
        gathered = self._gathered = gather(
            self._s3,
            outputs,
            vocabulary=self._vocabulary,
            choice=self._choice,
            chains=self._policy == "adjustment",
            on_bad=on_bad,
            parts=self._cluster.parts if self._cluster else None,
        )
        if not len(gathered.table):
            raise DatasetError("there is no labeled image: " + "; ".join(gathered.accounts))

    def unite(self, identity: Identity, mode: Mode, workers: int) -> None:
        """Find the images that hold the same bytes, if that makes them one."""
        self._identity = identity
        self._same: Mapping[str, str] = {}
        self._listed: dict[S3Uri, StoredObject] | None = None
        if identity == "content":
            table = self._gathered.table
            self._listed = find(self._s3, map(S3Uri, table.images()))
            # What an earlier run moved has the bytes of its copy.
            moved = find_moved(self._s3, self.into, mode)
            bytes_of = {**{image: copy for image, copy in moved.items() if image in table}, **self._listed}
            self._same = same_images(self._s3, self.into, bytes_of, workers)
            table.unite(self._same)

    def settle(self, outputs: Sequence[JobOutput | S3Uri]) -> None:
        """Settle on one label for each image."""
        gathered, votes = self._gathered, None
        if self._policy == "votes" and gathered.table.several:
            several = gathered.table.several
            votes = pooled_votes(self._s3, outputs, several, self._vocabulary, self._same)
        self._settled = gathered.table.settle(self._policy, adjustments=gathered.adjustments, votes=votes)

    def choose(self, mode: Mode, shares: Shares, groups: str | None, on_progress: Progress | None) -> None:
        """Decide which images the dataset has, under which classes, and in which channel each is."""
        table = self._gathered.table
        self._mode = mode
        images: Sequence[str] = table.images()
        self._objects: Mapping[S3Uri, StoredObject] = {}
        self._missing: tuple[S3Uri, ...] = ()
        moved = find_moved(self._s3, self.into, mode)
        if mode != "none":
            there = find(self._s3, map(S3Uri, images)) if self._listed is None else self._listed
            # Images that are gone from where they were, and are taken for what their copies are.
            self._moved = {image: copy for image, copy in moved.items() if image not in there}
            there.update((image, copy._replace(uri=image)) for image, copy in self._moved.items())
            self._objects = there
            self._missing = tuple(S3Uri(image) for image in images if image not in self._objects)
            images = [image for image in images if image in self._objects]
        whole = len(images)
        images = cap(table, images, self._choice.cap_per_class)
        self._capped = whole - len(images)
        rows = table.rows_of(images)
        sizes = table.classes_of(rows)
        refuse_what_cannot_train(sizes, self._missing)
        self._names = self._class_names(sizes)
        self._groups = groups
        certificate = read_certificate(self._s3, self.into)
        same = certificate is not None and (certificate.shares, certificate.groups) == (shares, groups)
        earlier = certificate.lent if certificate is not None and same else {}
        look: Looks | None = self._cluster.fingerprints if self._cluster else None
        if self._moved:
            look = looking_at_copies(self._s3, self._moved, look)
        group_of, told = group_images(
            self._s3, self.into, images, groups, known=same, look=look, on_progress=on_progress
        )
        self._plan = make_plan(table, images, group_of, shares, earlier, rows)
        self._plan.warnings.extend(told)
        self._plan.warnings.extend(contradictions(table.contradicted))
        self._plan.warnings.extend(str(item) for item in suggestions(self._names))

    def _class_names(self, found: Iterable[str]) -> ClassList:
        lists: list[Sequence[str]] = self._gathered.lists
        chosen = self._choice.classes
        if chosen:
            lists = [[name for name in names if name in chosen] for names in lists]
        return reconcile(lists, found)

    def tell_disputes(self) -> None:
        """Write down the images on which jobs disagreed.

        Raises:
            DatasetError: if that is not to be settled by a policy.
        """
        where = self.into / "disputed.manifest"
        if self._settled.disputed:
            write_lines(self._s3, where, (write_image(S3Uri(image)) for image in self._settled.disputed))
        elif exists(self._s3, where):
            # An earlier run's; whoever labels it would pay for nothing.
            write(self._s3, where, b"", "application/jsonlines")
        if self._policy == "refuse" and self._settled.disputed:
            raise DatasetError(
                f"jobs disagree on {len(self._settled.disputed)} images, first on "
                f"{self._settled.disputed[0]}; label them again with: gtlabel label {where}, "
                "or choose a policy that settles it"
            )

    def place(self, *, by_key: bool) -> None:
        """Find out where copies go, and what an earlier run left there.

        Args:
            by_key: whether S3 is to put them there by itself.

        Raises:
            DatasetError: if something of another dataset lies there.
        """
        self._placements: Mapping[S3Uri, Placement] = {}
        self._copies: Mapping[S3Uri, StoredObject] = {}
        self._present: Mapping[S3Uri, StoredObject] = {}
        if self._mode == "none":
            return
        table = self._gathered.table
        images = ((self._objects[S3Uri(image)], table.class_of(image)) for image in self._plan.images)
        self._placements = place_by_key(images, self.into) if by_key else place(images, self.into)
        refuse_to_lose(self.into, self._moved, self._placements)
        self._present = present_copies(self._s3, self.into, self._placements.values())
        self._to_copy = list(self._placements.values())

    def ask(self, principal: Principal) -> tuple[S3Uri, ...]:
        """Write down what S3 has to copy by itself, and leave the rest to `copy`."""
        missing = outstanding(self._to_copy, self._present)
        requests, self._to_copy = ask(self._s3, self.into, missing, principal)
        return requests

    def copy(self, resize: Shape | None, workers: int, on_progress: Progress | None) -> None:
        """Bring the images into their class folders."""
        if self._mode == "none":
            return
        placements = self._to_copy
        if resize:
            resize_missing(self._s3, placements, self._present, resize, workers, on_progress)
        elif self._cluster:
            self._cluster.copy_missing(placements, self._present, on_progress, workers=workers)
        else:
            copy_missing(self._s3, placements, self._present, workers, on_progress)
        self._copies = {item.uri: item for item in list_objects(self._s3, self.into / "classes/")}

    def publish(self, formats: Sequence[str]) -> Dataset:
        """Write the channels, the formats, the certificate, and last `dataset.json`."""
        witness = Witness()
        for channel in self._plan.shares.channels:
            bodies = witness.bodies(channel, self._lines(channel))
            write_chunks(self._s3, self._manifest(channel), bodies, "application/jsonlines")
        certificate = write_certificate(
            self._s3,
            self.into,
            witness,
            {channel: self._objects_of(channel) for channel in self._plan.shares.channels},
            shares=self._plan.shares,
            groups=self._groups,
            lent=self._plan.lent,
            names=self._names,
            files={file.name: file.sha256 for name in formats for file in self._write(name)},
        )
        dataset = self.dataset(witness, certificate)
        publish(self._s3, dataset)
        return dataset

    def _write(self, name: str) -> Sequence[Written]:
        dataset = self.dataset()
        examples = (
            example for channel in dataset.channels for example in read_channel(self._s3, dataset, channel)
        )
        target = Prefix(self._s3, self.into, self.into / "classes/")
        return write_format(name, examples, dataset.names, target)

    def delete_moved(self) -> None:
        """Delete the images that were moved; the dataset is whole by now."""
        if self._mode == "move":
            left = [item for image, item in self._placements.items() if image not in self._moved]
            delete_sources(self._s3, left)

    def dataset(
        self, witness: Witness | None = None, certificate: str = "", requests: tuple[S3Uri, ...] = ()
    ) -> Dataset:
        """The dataset as `dataset.json` has it; without digests as long as nothing is written."""
        plan, table = self._plan, self._gathered.table
        counts = plan.counts
        return Dataset(
            uri=self.into,
            attribute=LABEL_ATTRIBUTE,
            classes=tuple(
                ClassFolder(
                    name=name,
                    folder=self.into / "classes" / f"{folder_of(name)}/",
                    **{channel: counts[channel][name] for channel in plan.shares.channels},
                )
                for name in self._names
            ),
            channels={
                channel: ChannelFile(
                    manifest=self._manifest(channel),
                    images=counts[channel].total(),
                    sha256=witness.sha256[channel] if witness else "",
                )
                for channel in plan.shares.channels
            },
            sources=self._gathered.sources,
            validation=plan.shares.validation,
            test=plan.shares.test,
            groups=self._groups,
            policy=self._policy,
            mode=self._mode,
            identity=self._identity,
            united=len(self._same),
            repeated=self._settled.repeated,
            disputed=len(self._settled.disputed),
            disagreements=tuple(
                Disagreement(
                    image=S3Uri(image),
                    kept=table.class_of(image),
                    dropped=tuple(label.class_name for label in table.decision(image).dropped),
                )
                for image in self._settled.disputed[:_NAMED]
            ),
            capped=self._capped,
            missing=self._missing,
            warnings=tuple(plan.warnings),
            certificate=certificate,
            moved=len(self._moved),
            requests=requests,
        )

    @property
    def channels(self) -> Sequence[Channel]:
        """Those that the images are split into."""
        return self._plan.shares.channels

    def _manifest(self, channel: Channel) -> S3Uri:
        return self.into / f"{channel}.manifest"

    def _lines(self, channel: Channel) -> Iterator[Batch]:
        maker = LineMaker(self._gathered.table, self._names)
        for images, rows in self._plan.batches(channel, _BATCH):
            groups = list(map(self._plan.group_of, images))
            yield images, groups, maker.lines(images, rows, self._targets(images), groups)

    def _targets(self, images: Sequence[str]) -> Sequence[str]:
        placed = self._placements
        return [placed[S3Uri(image)].target for image in images] if placed else images

    def _objects_of(self, channel: Channel) -> Iterator[StoredObject] | None:
        if not self._copies:
            return None
        members = self._plan.batches(channel, _BATCH)
        return (self._copies[S3Uri(target)] for images, _ in members for target in self._targets(images))
