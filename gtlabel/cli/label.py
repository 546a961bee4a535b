"""`gtlabel label`: start a labeling job on the pictures of a prefix."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gtlabel.cli.options import (
    DryRun,
    EndpointUrl,
    Force,
    Output,
    Profile,
    Region,
    RequestFields,
    connect,
    request_fields,
)
from gtlabel.cli.output import Format, progress, put, put_json, say
from gtlabel.cli.precautions import look_before

if TYPE_CHECKING:
    from gtlabel.aws import Aws
    from gtlabel.labeling.plan import LabelingPlan
    from gtlabel.uris import S3Uri

_SAMPLE = "Which pictures"
_QUALITY = "How good the labels are (read by gtlabel's own engine)"


class By(StrEnum):
    """How a sample is drawn."""

    RANDOM = "random"
    STRATIFIED = "stratified"
    DIVERSE = "diverse"


class Shares(StrEnum):
    """How much of a sample each stratum gets."""

    PROPORTIONAL = "proportional"
    EQUAL = "equal"


class Duplicates(StrEnum):
    """Which of the pictures that are there twice are left out."""

    KEEP = "keep"
    EXACT = "exact"
    NEAR = "near"


def label(
    images: Annotated[
        str,
        typer.Argument(
            metavar="S3_PREFIX", help="Where the pictures are; or a list of them, a file or in S3."
        ),
    ],
    classes: Annotated[
        str | None,
        typer.Option("--classes", help="What a picture can be: names separated by commas, or their file."),
    ] = None,
    team: Annotated[str | None, typer.Option("--team", help="The work team, by name or ARN.")] = None,
    role: Annotated[
        str | None, typer.Option("--role", help="The role the job reads and writes with, by name or ARN.")
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            "--name", help="The job's name. (default: the prefix and a digest of all it is made of)"
        ),
    ] = None,
    into: Annotated[
        str | None,
        typer.Option("--into", help="Where the job writes. (default: gtlabel/ in the pictures' bucket)"),
    ] = None,
    upload: Annotated[
        Path | None,
        typer.Option("--upload", exists=True, file_okay=False, help="Upload this folder to S3_PREFIX first."),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option("--workers", min=1, max=9, help="How many people look at each picture. (default: 3)"),
    ] = None,
    automated: Annotated[
        float | None,
        typer.Option(
            "--automated",
            metavar="PRECISION",
            min=0.5,
            max=0.999,
            help="Have a machine label what it can at this precision, such as 0.95; people label the rest.",
        ),
    ] = None,
    consensus: Annotated[
        str | None,
        typer.Option(
            "--consensus",
            metavar="METHOD",
            help="How answers become labels: auto, or aws as AWS does it, or another. (default: auto)",
            rich_help_panel=_QUALITY,
        ),
    ] = None,
    redundancy: Annotated[
        str | None,
        typer.Option(
            "--redundancy",
            metavar="RULE",
            help="Ask few people at first and more where they leave doubt, as in 'first=2 error=0.02'; "
            "--workers is the most.",
            rich_help_panel=_QUALITY,
        ),
    ] = None,
    gold: Annotated[
        str | None,
        typer.Option(
            "--gold",
            metavar="S3_MANIFEST",
            help="Mix in these pictures, whose class is known, to measure people by.",
            rich_help_panel=_QUALITY,
        ),
    ] = None,
    template: Annotated[
        Path | None,
        typer.Option("--template", exists=True, dir_okay=False, help="A worker template of your own."),
    ] = None,
    settings: RequestFields = None,
    max_images_per_job: Annotated[
        int | None, typer.Option("--max-images-per-job", help="More become several jobs. (default: 100000)")
    ] = None,
    only_new: Annotated[
        bool,
        typer.Option("--new", help="Only pictures that were not labeled before.", rich_help_panel=_SAMPLE),
    ] = False,
    since: Annotated[
        datetime | None,
        typer.Option("--since", help="Only pictures written since (UTC).", rich_help_panel=_SAMPLE),
    ] = None,
    sample: Annotated[
        int | None, typer.Option("--sample", min=1, help="Only so many of them.", rich_help_panel=_SAMPLE)
    ] = None,
    by: Annotated[By, typer.Option("--by", help="How these are drawn.", rich_help_panel=_SAMPLE)] = By.RANDOM,
    stratify_by: Annotated[
        str,
        typer.Option(
            "--stratify-by",
            metavar="PATTERN",
            help="What makes a stratum: folder, or what this regular expression finds in the key.",
            rich_help_panel=_SAMPLE,
        ),
    ] = "folder",
    shares: Annotated[
        Shares,
        typer.Option("--shares", help="How much each stratum gives.", rich_help_panel=_SAMPLE),
    ] = Shares.PROPORTIONAL,
    seed: Annotated[
        int, typer.Option("--seed", help="Another number draws others.", rich_help_panel=_SAMPLE)
    ] = 0,
    duplicates: Annotated[
        Duplicates,
        typer.Option("--duplicates", help="Which copies are left out.", rich_help_panel=_SAMPLE),
    ] = Duplicates.EXACT,
    strict: Annotated[
        bool, typer.Option("--strict", help="Decode every picture to find damage.", rich_help_panel=_SAMPLE)
    ] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Label once more, and pay once more, what was labeled before.")
    ] = False,
    force: Force = False,
    dry_run: DryRun = False,
    inputs_only: Annotated[
        bool,
        typer.Option("--inputs-only", help="Write what the jobs read, start none, and print their requests."),
    ] = False,
    output: Output = Format.TEXT,
    profile: Profile = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Start a labeling job and print its name.

    Workers see the pictures as soon as this returns. Pictures that cannot be read are left out and named.
    The same command run again, interrupted or on another machine, completes what is missing and starts
    nothing twice.

    Example: gtlabel label s3://my-bucket/trash/ --classes Compost,Landfill,Recycle --team me --role labeler
    """
    from gtlabel.errors import NothingNewError, SettingsError
    from gtlabel.images.selection import Selection
    from gtlabel.journey import plan_labeling, prepare_labeling
    from gtlabel.uris import S3Uri

    fields = _automated(request_fields(settings), automated)
    project, aws = connect(
        profile,
        region,
        endpoint_url,
        classes=_classes(classes),
        team=team,
        role=role,
        template=template,
        workers=workers,
        max_images_per_job=max_images_per_job,
    )
    fields = _quality(fields, consensus, redundancy, project.workers)
    source = _source(images, project.bucket)
    if not project.classes:
        raise SettingsError("no classes are named; give --classes or write classes = [...] in gtlabel.toml")
    if upload is not None:
        _upload(aws, upload, source, dry_run)
    try:
        with progress("looking at the pictures") as show:
            plan = plan_labeling(
                aws,
                source,
                project.classes,
                team=project.need("team", "--team"),
                role=project.need("role", "--role"),
                selection=Selection(
                    sample=sample,
                    by=by.value,
                    stratify_by=stratify_by,
                    shares=shares.value,
                    seed=seed,
                    duplicates=duplicates.value,
                    strict=strict,
                    automated=fields.get("automated") is True,
                    since=since.replace(tzinfo=UTC) if since else None,
                ),
                only_new=only_new,
                name=name,
                again=again,
                into=S3Uri(into) if into else None,
                workers_per_image=project.workers,
                template=project.template.read_text(encoding="utf-8") if project.template else None,
                max_images_per_job=project.max_images_per_job,
                gold=S3Uri(gold) if gold else None,
                on_progress=lambda done: show(done, 0),
                force=force,
                **fields,
            )
    except NothingNewError as nothing:
        # What --new asks for is done: every picture is with a job.
        say(str(nothing))
        return
    _tell(plan)
    if plan.started != plan.launch.jobs:
        look_before(aws, plan.subject, force=force or dry_run)
        _tell_cost(plan, project.prices)
    if dry_run:
        requests = [request.to_boto() for request in plan.requests]
        put_json(requests[0] if len(requests) == 1 else requests)
        return
    if inputs_only:
        look_before(aws, plan.subject, force=force)
        put_json([request.to_boto() for request in prepare_labeling(aws, plan)])
        return
    _start(aws, plan, output)


def _automated(fields: dict[str, Any], precision: float | None) -> dict[str, Any]:
    """The fields of a request, with what has a machine label at that precision."""
    from gtlabel.labeling.tasks import AUTOMATED_TAG

    if precision is None:
        return fields
    tags = {**fields.get("tags", {}), AUTOMATED_TAG: f"precision={precision:g}"}
    return {**fields, "automated": True, "tags": tags}


def _quality(
    fields: dict[str, Any], consensus: str | None, redundancy: str | None, workers: int
) -> dict[str, Any]:
    """The fields of a request, with what its tags say of consensus and redundancy."""
    from gtlabel.errors import SettingsError
    from gtlabel.labeling.tasks import CONSENSUS_TAG, REDUNDANCY_TAG

    tags = {**fields.get("tags", {})}
    if consensus is not None:
        from gtlabel.crowd.methods import METHODS

        if consensus.replace("-", "_") not in METHODS:
            raise SettingsError(f"--consensus {consensus}: take one of {', '.join(METHODS)}")
        tags[CONSENSUS_TAG] = consensus.replace("-", "_")
    if redundancy is not None:
        from gtlabel.crowd.redundancy import Redundancy

        if fields.get("automated"):
            raise SettingsError(
                "a machine learns from labels that stay, and --redundancy asks about them again; leave out "
                "this or automated labeling"
            )
        tags[REDUNDANCY_TAG] = str(Redundancy.parse(redundancy, workers))
    return {**fields, "tags": tags} if tags else fields


def _start(aws: Aws, plan: LabelingPlan, output: Format) -> None:
    from gtlabel.journey import start_labeling

    launch = plan.launch
    arn = start_labeling(aws, plan)
    if output is Format.JSON:
        put_json(
            {
                "name": launch.name,
                "arn": arn,
                "jobs": launch.jobs,
                "images": launch.images,
                "refused": [{"uri": each.uri, "reason": each.reason} for each in plan.usable.refused],
                "turned": plan.usable.turned,
                "known": plan.usable.known,
                "notes": plan.usable.notes,
                "started_before": plan.started,
            }
        )
        return
    if plan.started == launch.jobs:
        say("these pictures were sent to workers before, with the same settings; nothing was started now")
        say("to label and pay for them once more, run it with --again")
    else:
        jobs = "" if len(launch.jobs) == 1 else f" in {len(launch.jobs)} jobs"
        people = plan.request.workers_per_image
        each = "1 person" if people == 1 else f"{people} people"
        say(f"{launch.images} pictures{jobs}, {each} for each; follow it with:")
        say(f"  gtlabel jobs wait {launch.name}")
    put(launch.name)


def _tell(plan: LabelingPlan) -> None:
    """Say which pictures are left out, and what else there is to know."""
    for refusal in plan.usable.refused:
        say(f"left out: {refusal.uri} {refusal.reason}")
    if plan.usable.known:
        say(f"{plan.usable.known} pictures are with earlier jobs and were passed over")
    for note in (*plan.usable.notes, *plan.request.warnings()):
        say(note)


def _tell_cost(plan: LabelingPlan, prices: Path | None) -> None:
    """Say what it will cost, where that is known: the prices of vendors stand in the Marketplace alone."""
    from gtlabel.labeling.cost import Prices, estimate
    from gtlabel.labeling.rules import MIN_IMAGES_AUTOMATED
    from gtlabel.labeling.tasks import TeamKind

    request = plan.request
    if request.team_kind is not TeamKind.PRIVATE and request.price is None:
        return
    found = estimate(
        plan.launch.images,
        workers=request.workers_per_image,
        team=request.team_kind or TeamKind.PRIVATE,
        price_per_answer=request.price,
        # Below, AWS has no price for it; so this says what it costs if people label everything.
        automated=request.automated and plan.launch.images >= MIN_IMAGES_AUTOMATED,
        prices=Prices.load(prices),
    )
    money, hours = found.dollars, found.person_hours
    paid = f"${money.low:,.2f}" + (f" to ${money.high:,.2f}" if money.high > money.low else "")
    time = f"{hours.low:,.1f} to {hours.high:,.1f} hours of people's time"
    say(f"at AWS's list prices {paid}, and {time}; what that rests on: gtlabel estimate")


def _upload(aws: Aws, folder: Path, source: S3Uri | Path, dry_run: bool) -> None:
    from gtlabel.images.upload import upload_folder

    if isinstance(source, Path):
        raise typer.BadParameter("a list of pictures is no place to upload to", param_hint="--upload")
    if dry_run:
        say(f"would upload the pictures of {folder} to {source}")
        return
    with progress("uploading") as show:
        upload_folder(aws.s3, folder, source, on_progress=show)


def _source(images: str, bucket: str | None) -> S3Uri | Path:
    """Where the pictures are: a list in a file, or an address; one without a bucket is in the project's."""
    from gtlabel.uris import S3Uri

    if not images.startswith("s3://"):
        if Path(images).is_file():
            return Path(images)
        if bucket:
            return S3Uri.of(bucket, images)
    return S3Uri(images)


def _classes(classes: str | None) -> tuple[str, ...] | None:
    """The names that --classes gives, or the file that it names."""
    if classes is None:
        return None
    if Path(classes).is_file():
        from gtlabel.labeling.inputs import read_classes

        return read_classes(Path(classes)).names
    return tuple(part.strip() for part in classes.split(","))
