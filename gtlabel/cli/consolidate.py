"""`gtlabel consolidate`: make a dataset of what labeling jobs left."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gtlabel.cli.options import EndpointUrl, Output, Profile, Region, connect
from gtlabel.cli.output import Format, progress, put, put_json, put_table, say

if TYPE_CHECKING:
    from gtlabel.datasets.channels import Dataset

_LABELS = "Which labels count"
_SPLIT = "Which channel an image is in"
_WRITING = "What is written"
_SCALE = "With millions of images"
_DATES = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]
# As many as can be read; the files have them all.
_SHOWN = 10


class Conflicts(StrEnum):
    """Which label holds where jobs disagree."""

    NEWEST = "newest"
    HUMAN = "human"
    CONFIDENCE = "confidence"
    ADJUSTMENT = "adjustment"
    VOTES = "votes"
    REFUSE = "refuse"


class SameImage(StrEnum):
    """What makes two images one."""

    ADDRESS = "address"
    CONTENT = "content"


class Engine(StrEnum):
    """Where the work is done."""

    PROCESS = "process"
    RAY = "ray"


class Images(StrEnum):
    """What becomes of the images."""

    COPY = "copy"
    MOVE = "move"
    NONE = "none"


def consolidate(
    jobs: Annotated[
        list[str], typer.Argument(metavar="JOB...", help="Labeling jobs that have ended, or manifests.")
    ],
    into: Annotated[str, typer.Option("--into", help="Where the dataset goes: s3://bucket/prefix/.")],
    policy: Annotated[
        Conflicts,
        typer.Option(
            "--policy",
            help="Which label holds where jobs disagree: the newest, people's before machines', the highest "
            "confidence, that of a job that looked again at another's (adjustment), the class with most "
            "answers of all jobs together (votes), or none (refuse).",
            rich_help_panel=_LABELS,
        ),
    ] = Conflicts.NEWEST,
    same_image: Annotated[
        SameImage,
        typer.Option(
            "--same-image",
            help="What makes two images one: their address, or that they hold the same bytes (content).",
            rich_help_panel=_LABELS,
        ),
    ] = SameImage.ADDRESS,
    attribute: Annotated[
        str | None,
        typer.Option(
            "--attribute",
            help="The label attribute of manifests that hold several jobs' labels.",
            rich_help_panel=_LABELS,
        ),
    ] = None,
    vocabulary: Annotated[
        Path | None,
        typer.Option(
            "--vocabulary",
            exists=True,
            dir_okay=False,
            help="Renames, merges and removed classes, as TOML.",
            rich_help_panel=_LABELS,
        ),
    ] = None,
    min_confidence: Annotated[
        float | None,
        typer.Option(
            "--min-confidence",
            min=0,
            max=1,
            help="Only labels at least so sure; those that state no confidence stay.",
            rich_help_panel=_LABELS,
        ),
    ] = None,
    human_only: Annotated[
        bool, typer.Option("--human-only", help="Only labels that people gave.", rich_help_panel=_LABELS)
    ] = False,
    job_only: Annotated[
        list[str] | None,
        typer.Option(
            "--job-only",
            metavar="JOB",
            help="Only labels of this job, of all that stand in the manifests; may be given again.",
            rich_help_panel=_LABELS,
        ),
    ] = None,
    class_only: Annotated[
        list[str] | None,
        typer.Option(
            "--class-only",
            metavar="CLASS",
            help="Only this class, by its new name; may be given again.",
            rich_help_panel=_LABELS,
        ),
    ] = None,
    after: Annotated[
        datetime | None,
        typer.Option(
            "--after", formats=_DATES, help="Only labels made then or later, UTC.", rich_help_panel=_LABELS
        ),
    ] = None,
    before: Annotated[
        datetime | None,
        typer.Option(
            "--before", formats=_DATES, help="Only labels made earlier, UTC.", rich_help_panel=_LABELS
        ),
    ] = None,
    cap: Annotated[
        int | None,
        typer.Option("--cap", min=1, help="At most so many images of each class.", rich_help_panel=_LABELS),
    ] = None,
    train: Annotated[
        float | None,
        typer.Option(
            "--train",
            help="The share of images to train with. (default: what the others leave)",
            rich_help_panel=_SPLIT,
        ),
    ] = None,
    validation: Annotated[
        float,
        typer.Option("--validation", help="The share of images kept for validation.", rich_help_panel=_SPLIT),
    ] = 0.2,
    test: Annotated[
        float,
        typer.Option("--test", help="The share of images kept for a last test.", rich_help_panel=_SPLIT),
    ] = 0.0,
    group_by: Annotated[
        str | None,
        typer.Option(
            "--group-by",
            metavar="near-duplicates|REGEX",
            help="What keeps images in one channel: looking alike, for which each is fetched, or having the "
            "same text in the key, such as '(cam[0-9]+)/([0-9-]+)/'.",
            rich_help_panel=_SPLIT,
        ),
    ] = None,
    mode: Annotated[
        Images,
        typer.Option(
            "--mode",
            help="Copy images into class folders, move them (`gtlabel policy consolidate-move` tells what "
            "that needs), or leave them where they are (none).",
            rich_help_panel=_WRITING,
        ),
    ] = Images.COPY,
    formats: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            help="Also as lst, recordio, imagefolder, csv, coco or croissant; may be given again.",
            rich_help_panel=_WRITING,
        ),
    ] = None,
    resize: Annotated[
        str | None,
        typer.Option(
            "--resize",
            metavar="HEIGHTxWIDTH",
            help="Bring images to the network's shape on their way, such as 224.",
            rich_help_panel=_WRITING,
        ),
    ] = None,
    skip_bad: Annotated[
        Path | None,
        typer.Option(
            "--skip-bad",
            metavar="FILE",
            dir_okay=False,
            help="Set lines that cannot be used aside into this file, and go on.",
            rich_help_panel=_WRITING,
        ),
    ] = None,
    engine: Annotated[
        Engine,
        typer.Option(
            "--engine",
            help="ray: read and copy images on the Ray cluster at RAY_ADDRESS, or in two processes here.",
            rich_help_panel=_SCALE,
        ),
    ] = Engine.PROCESS,
    batch_operations: Annotated[
        str | None,
        typer.Option(
            "--batch-operations",
            metavar="ROLE",
            help="Copy nothing; write the lists and requests for S3 Batch Operations to copy, as this role. "
            "When its jobs have ended, the same command finishes the dataset.",
            rich_help_panel=_SCALE,
        ),
    ] = None,
    break_lock: Annotated[
        bool,
        typer.Option(
            "--break-lock", help="Write although another run seems to be at it.", rich_help_panel=_WRITING
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Say what would come of it, and write nothing.", rich_help_panel=_WRITING
        ),
    ] = False,
    output: Output = Format.TEXT,
    profile: Profile = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Make class folders and training channels of labeling jobs, and print where they are.

    Images are copied inside S3. Interrupted, the same command goes on where it was. An image never
    changes its channel, however many are added later. Where jobs disagree, the line of the image tells
    what was decided, and disputed.manifest lists the images for: gtlabel label.

    Example: gtlabel consolidate trash-1 trash-2 --into s3://my-bucket/dataset/ --policy human
    """
    from gtlabel.datasets.batchoperations import Principal
    from gtlabel.datasets.resize import parse_shape
    from gtlabel.journey import consolidate_jobs
    from gtlabel.labeling.tasks import role_arn
    from gtlabel.manifests.aside import SetAside
    from gtlabel.manifests.choose import Choice
    from gtlabel.manifests.split import Shares
    from gtlabel.manifests.vocabulary import Vocabulary
    from gtlabel.uris import S3Uri

    choice = Choice(
        min_confidence=min_confidence,
        human_only=human_only,
        jobs=frozenset(job_only or ()),
        classes=frozenset(class_only or ()),
        after=after,
        before=before,
        cap_per_class=cap,
    )
    shares = Shares(validation=validation, test=test) if train is None else Shares(train, validation, test)
    words = Vocabulary.read(vocabulary) if vocabulary else Vocabulary()
    _, aws = connect(profile, region, endpoint_url)
    with SetAside(skip_bad) if skip_bad else nullcontext() as aside, progress("images") as show:
        dataset = consolidate_jobs(
            aws,
            jobs,
            S3Uri(into),
            attribute=attribute,
            policy=policy.value,
            identity=same_image.value,
            choice=choice,
            vocabulary=words,
            shares=shares,
            groups=group_by,
            mode=mode.value,
            formats=formats or (),
            resize=parse_shape(resize) if resize else None,
            on_bad=aside,
            engine=engine.value,
            batch=Principal(aws.account, role_arn(batch_operations, aws.account))
            if batch_operations
            else None,
            break_lock=break_lock,
            dry_run=dry_run,
            on_progress=show,
        )
    if skip_bad and aside and aside.count:
        say(f"{aside.count} lines cannot be used and are in {skip_bad}; first line {_place(aside.first)}")
    _tell(dataset)
    if output is Format.JSON:
        waiting = {"requests": dataset.requests} if dataset.requests else {}
        put_json({**dataset.model_dump(mode="json"), **waiting})
        return
    if dataset.requests:
        _tell_requests(dataset)
        return
    channels = tuple(dataset.channels)
    put_table(
        ("class", *channels, "folder"),
        [(item.name, *(getattr(item, name) for name in channels), item.folder) for item in dataset.classes],
        right=channels,
    )
    put(f"would be at {dataset.uri}" if dry_run else str(dataset.uri))


def _tell_requests(dataset: Dataset) -> None:
    """Say what S3 Batch Operations has to be told before the dataset can be finished."""
    from gtlabel.datasets.batchoperations import command, cost

    pictures, jobs = dataset.images, len(dataset.requests)
    say(
        f"{jobs} jobs of S3 Batch Operations copy up to {pictures} images, for ${cost(pictures, jobs):,.2f} "
        "at the prices of us-east-1; start them with these commands, wait until they have ended, and give "
        "this command again"
    )
    for uri in dataset.requests:
        put(command(uri))


def _place(first: tuple[int, str] | None) -> str:
    return f"{first[0]}: {first[1]}" if first else ""


def _tell(dataset: Dataset) -> None:
    """Say what a person should know about the dataset, beside where it is."""
    for source in dataset.sources:
        left = (
            (source.failed, "images failed"),
            (source.unlabeled, "lack a label"),
            (source.left_out, "labels do not meet the conditions"),
            (source.removed, "labels are of removed classes"),
            (source.bad, "lines cannot be used"),
        )
        told = ", ".join(f"{count} {what}" for count, what in left if count)
        if told:
            say(f"{source.manifest}: {told}; left out")
    for uri in dataset.missing[:_SHOWN]:
        say(f"left out: {uri} was labeled and is not there any more")
    if len(dataset.missing) > _SHOWN:
        say(f"left out: {len(dataset.missing) - _SHOWN} more that are not there any more")
    for disagreement in dataset.disagreements[:_SHOWN]:
        dropped = ", ".join(disagreement.dropped)
        why = "being newer than" if dataset.policy == "newest" else f"by the policy {dataset.policy}, over"
        say(f"{disagreement.image}: {disagreement.kept} holds, {why} {dropped}")
    if dataset.disputed:
        say(
            f"jobs disagree on {dataset.disputed} images; label them again with: "
            f"gtlabel label {dataset.uri}disputed.manifest"
        )
    if dataset.moved:
        say(f"{dataset.moved} images were moved here by an earlier run already, and stay where they are")
    if dataset.united:
        say(f"{dataset.united} images hold the same bytes as another and are one with it")
    if dataset.capped:
        say(f"{dataset.capped} images of large classes are left out to keep the classes in balance")
    for warning in dataset.warnings:
        say(f"note: {warning}")
