"""From the pictures of a prefix to labeling jobs: what would be launched, and launching it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gtlabel.errors import JobNotFoundError, SettingsError
from gtlabel.images.listing import Usable, known_images
from gtlabel.images.selection import Selection, bucket_of, select_images
from gtlabel.labeling.gold import check_gold, with_gold
from gtlabel.labeling.groups import GROUP_TAG, names_in_group
from gtlabel.labeling.inputs import MAX_IMAGES, write_inputs
from gtlabel.labeling.jobs import create_labeling_job, describe_labeling_job
from gtlabel.labeling.ledger import Launch, claim, digest_of, ensure_job, inputs_of, launches, look_up
from gtlabel.labeling.preflight import Subject
from gtlabel.labeling.request import MAX_JOB_NAME, LabelingJobRequest
from gtlabel.labeling.tasks import GOLD_TAG, TASKS, Task, role_arn, team_arn
from gtlabel.manifests.classes import check_classes
from gtlabel.templates import read_template
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from gtlabel.aws import Aws

_DIGITS_IN_NAME = 8


@dataclass(frozen=True, slots=True)
class LabelingPlan:
    """What could be launched under one name, and the pictures it would show.

    Attributes:
        request: the job; of several, what they have in common.
        usable: the pictures.
        classes: what a picture can be.
        template: the worker template's text.
        launch: what goes into the ledger.
        started: those of its jobs that are there already, from an earlier run of the same.
    """

    request: LabelingJobRequest
    usable: Usable
    classes: tuple[str, ...]
    template: str
    launch: Launch
    started: tuple[str, ...] = ()

    @property
    def subject(self) -> Subject:
        """What the doctor should look at before it is started."""
        buckets = {image.uri.bucket: image.uri for image in self.usable.images}
        return subject_of(self.request, tuple(buckets.values()), self.classes, self.template)

    @property
    def requests(self) -> tuple[LabelingJobRequest, ...]:
        """One request for each job."""
        return tuple(_request_of(self.request, self.launch, name) for name in self.launch.jobs)


def plan_labeling(
    aws: Aws,
    images: S3Uri | Path,
    classes: Sequence[str],
    *,
    team: str,
    role: str,
    selection: Selection | None = None,
    only_new: bool = False,
    name: str | None = None,
    again: bool = False,
    into: S3Uri | None = None,
    workers_per_image: int = 3,
    template: str | None = None,
    max_concurrent: int = 1_000,
    max_images_per_job: int = MAX_IMAGES,
    gold: S3Uri | None = None,
    on_progress: Callable[[int], None] | None = None,
    **settings: Any,
) -> LabelingPlan:
    """Look at the pictures of a prefix and make the requests of the labeling jobs for them.

    Nothing is written. Pictures that cannot be read are left out and named in `usable.refused`. The same
    pictures, classes, template and settings always make the same plan, with the same name.

    Args:
        aws: the clients.
        images: the prefix under which the pictures lie, or a list of them; see `select_images`.
        classes: what a picture can be, in the order that workers see.
        team: a private work team's name, or the ARN of any.
        role: the name or ARN of the role that the job reads and writes with.
        selection: which of the pictures are wanted; by default all, and none twice.
        only_new: pass over the pictures that an earlier launch has, if it writes to the same place.
        name: the job's name; by default made of the prefix and of a digest of all that the job is made of.
        again: whether to label once more what was launched already; the name then gets a number.
        into: where the job writes; by default `gtlabel/` in the pictures' bucket.
        workers_per_image: how many people look at each picture.
        template: the worker template's text; by default the shipped one for the task.
        max_concurrent: how many pictures are out with workers at once.
        max_images_per_job: more than that become several jobs, called `NAME-1`, `NAME-2`, ...
        gold: a manifest of pictures whose class is known; they are mixed among the others, and an engine
            that reads the job's tags measures its workers by them.
        on_progress: called with the number of pictures looked at so far.
        settings: other fields of a `LabelingJobRequest`.

    Raises:
        JobNameTakenError: if the account ever had a job of that name that is made of something else.
        NoImagesError: if there is no picture that can be used.
        NothingNewError: if there is none that no earlier launch has.
        BucketNotFoundError: if the bucket does not exist.
        ClassListError: if the classes cannot be labeled with.
        RequestError: if the service would refuse the job.
    """
    if not 1 <= max_images_per_job <= MAX_IMAGES:
        raise SettingsError(
            f"a labeling job has 1 to {MAX_IMAGES:,} images, and max_images_per_job is {max_images_per_job:,}"
        )
    names = tuple(check_classes(classes))
    output = into or S3Uri.of(bucket_of(aws.s3, images), "gtlabel/")
    account = "" if role.startswith("arn:") and team.startswith("arn:") else aws.account
    fields = {
        **settings,
        "output": output,
        "role": role_arn(role, account),
        "team": team_arn(team, aws.region, account),
        "region": aws.region,
        "workers_per_image": workers_per_image,
        "max_concurrent": max_concurrent,
        "class_names": names,
    }
    if gold is not None:
        fields["tags"] = {**settings.get("tags", {}), GOLD_TAG: str(gold)}
    draft = _request(name or "draft", output, fields)
    # Before all the pictures are looked at, which takes its time.
    draft.to_boto()
    page = template or _page(draft.task)
    known = _known(aws, output) if only_new else set[S3Uri]()
    usable = select_images(aws.s3, images, selection, known=known, on_progress=on_progress)
    if gold is not None:
        usable = with_gold(aws.s3, usable, gold)
    digest = digest_of(
        {**_made_of(draft), "template": page},
        (f"{image.uri} {image.etag}" for image in usable.images),
    )
    base = name or f"{stem_of(images)}-{digest[:_DIGITS_IN_NAME]}"
    run = 1
    while True:
        called = base if run == 1 else f"{base}-r{run}"
        count = ceil(len(usable.images) / max_images_per_job)
        launch = Launch(
            name=called,
            digest=digest,
            jobs=names_in_group(called, count),
            images=len(usable.images),
            images_per_job=max_images_per_job,
        )
        plan = LabelingPlan(_request(called, output, fields), usable, names, page, launch)
        if gold is not None:
            check_gold(
                aws.s3,
                gold,
                usable,
                classes=names,
                attribute=plan.request.label_attribute,
                several=plan.request.task is Task.MULTI,
                images_per_job=max_images_per_job,
            )
        for request in plan.requests:
            request.to_boto()
        held, started = look_up(aws.sagemaker, aws.s3, output, launch)
        plan = replace(plan, launch=held, started=started)
        if not again or plan.started != plan.launch.jobs:
            return plan
        run += 1


def start_labeling(aws: Aws, plan: LabelingPlan) -> str:
    """Write what the jobs read, start those that are not there yet, and return the (first one's) ARN.

    Workers see the pictures as soon as this returns. Interrupted, or run by two at once, the same plan
    started again completes what is missing and starts nothing twice.

    Raises:
        JobNameTakenError: if somebody took the name since the plan was made.
    """
    # Whoever was first has decided how to split them.
    plan = replace(plan, launch=claim(aws.sagemaker, aws.s3, plan.request.output, plan.launch))
    arns = []
    for number, request in enumerate(plan.requests):

        def create(number: int = number, request: LabelingJobRequest = request) -> str:
            _write(aws, plan, number, request)
            return create_labeling_job(aws.sagemaker, request)

        arns.append(ensure_job(aws.sagemaker, request.name, request.manifest, create))
    return arns[0]


def prepare_labeling(aws: Aws, plan: LabelingPlan) -> tuple[LabelingJobRequest, ...]:
    """Write what the jobs read, start none, and return the requests of those that are not there yet.

    For whoever starts them by other means, such as the `.sync` integration of Step Functions.

    Raises:
        JobNameTakenError: if somebody took the name since the plan was made.
    """
    plan = replace(plan, launch=claim(aws.sagemaker, aws.s3, plan.request.output, plan.launch))
    waiting = [
        (number, request) for number, request in enumerate(plan.requests) if request.name not in plan.started
    ]
    for number, request in waiting:
        _write(aws, plan, number, request)
    return tuple(request for _, request in waiting)


def _write(aws: Aws, plan: LabelingPlan, number: int, request: LabelingJobRequest) -> None:
    """Write the manifest, the class list and the template of one of the jobs."""
    first = number * plan.launch.images_per_job
    images = islice(plan.usable.images, first, first + plan.launch.images_per_job)
    into = _inputs(plan.request.output, plan.launch, request.name)
    write_inputs(aws.s3, (image.uri for image in images), plan.classes, plan.template, into)


def _request(name: str, output: S3Uri, fields: dict[str, Any]) -> LabelingJobRequest:
    return LabelingJobRequest(name=name, **_files(inputs_of(output, name)), **fields)


def _made_of(request: LabelingJobRequest) -> dict[str, Any]:
    """What makes a job another one; where its files lie follows from its name, which may follow from this."""
    aside = {"name", "manifest", "classes", "template", "images", "force"}
    made_of: dict[str, Any] = request.model_dump(mode="json", exclude=aside, exclude_defaults=True)
    return made_of


def _request_of(request: LabelingJobRequest, launch: Launch, name: str) -> LabelingJobRequest:
    """What one of the jobs is asked for: the label attribute is the same in all of them."""
    if launch.jobs == (launch.name,):
        return request.model_copy(update={"images": launch.images})
    first = launch.jobs.index(name) * launch.images_per_job
    part = {
        "images": min(launch.images_per_job, launch.images - first),
        "name": name,
        "attribute": request.label_attribute,
        "tags": {**request.tags, GROUP_TAG: launch.name},
        **_files(_inputs(request.output, launch, name)),
    }
    return request.model_copy(update=part)


def _inputs(output: S3Uri, launch: Launch, name: str) -> S3Uri:
    """Where the files of one of the jobs of a launch lie."""
    inputs = inputs_of(output, launch.name)
    return inputs if launch.jobs == (launch.name,) else inputs / f"{launch.jobs.index(name) + 1}/"


def _files(inputs: S3Uri) -> dict[str, S3Uri]:
    return {
        "manifest": inputs / "input.manifest",
        "classes": inputs / "classes.json",
        "template": inputs / "template.liquid",
    }


def _known(aws: Aws, output: S3Uri) -> set[S3Uri]:
    """The images of every launch that was completed; one that was not is to be completed, not passed over."""
    manifests: list[S3Uri] = []
    for launch in launches(aws.s3, output):
        try:
            jobs = [describe_labeling_job(aws.sagemaker, name) for name in launch.jobs]
        except JobNotFoundError:
            continue
        manifests.extend(job.manifest for job in jobs if job.manifest is not None)
    return known_images(aws.s3, manifests)


def _page(task: Task) -> str:
    """The worker template that is shipped for a task.

    Raises:
        SettingsError: if there is none.
    """
    template = TASKS[task].template
    if TASKS[task].audits:
        raise SettingsError(f"{task} looks at the labels of an earlier job; see `gtlabel jobs verify --help`")
    if template is None:
        raise SettingsError(f"a {task} task shows a page of its own; give its template")
    return read_template(template)


def subject_of(
    request: LabelingJobRequest,
    images: tuple[S3Uri, ...],
    classes: Sequence[str] | S3Uri | None,
    template: str | S3Uri,
) -> Subject:
    """What the doctor should look at before a job is started; its name was looked up with the plan."""
    return Subject(
        images=images,
        output=request.output,
        team=request.team,
        role=request.role,
        classes=classes,
        template=template,
        task=request.task,
        functions=tuple(arn for arn in (request.pre_function, request.consolidation_function) if arn),
        kms_keys=tuple(key for key in (request.output_key, request.volume_key) if key),
        topics=tuple(topic for topic in (request.input_topic, request.output_topic) if topic),
        automated=request.automated,
    )


def stem_of(source: S3Uri | Path) -> str:
    """The last part of an address in letters, digits and hyphens, short enough to begin a job's name."""
    if isinstance(source, Path):
        stem = source.stem
    else:
        stem = source.key.rstrip("/").rpartition("/")[2] or source.bucket
    # Behind it come the digest's digits, the number of the run and that of the job.
    longest = MAX_JOB_NAME - _DIGITS_IN_NAME - len("--r99-9999")
    return re.sub(r"[^a-zA-Z0-9]+", "-", stem).strip("-")[:longest].rstrip("-") or "images"
