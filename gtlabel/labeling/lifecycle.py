"""New labeling jobs from earlier ones: the same again, the next in a chain, the rest, another look.

Each is planned first, and its name follows from the earlier job's and from what it is for, so that a
command that is run twice finds what it started the first time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from math import ceil
from typing import TYPE_CHECKING, Any

from gtlabel.errors import LabelingJobError
from gtlabel.labeling.audits import audit_page
from gtlabel.labeling.groups import GROUP_TAG, JobGroup, describe_labeling, names_in_group
from gtlabel.labeling.inputs import MAX_IMAGES
from gtlabel.labeling.jobs import ENDED, create_labeling_job
from gtlabel.labeling.ledger import Launch, claim, digest_of, ensure_job, inputs_of, look_up
from gtlabel.labeling.outcome import doubtful, last_manifest, records, unlabeled
from gtlabel.labeling.plan import subject_of
from gtlabel.labeling.preflight import Subject
from gtlabel.labeling.request import LabelingJobRequest
from gtlabel.labeling.tasks import Task
from gtlabel.manifests.classes import ClassList, check_classes
from gtlabel.manifests.lines import read_records, write_record
from gtlabel.manifests.records import ManifestRecord
from gtlabel.storage import read, read_lines, write, write_lines
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from gtlabel.aws import Aws

_OWN_TAGS = ("aws:", "gtlabel:")


@dataclass(frozen=True, slots=True)
class SuccessorPlan:
    """Labeling jobs that follow from earlier ones, and could be launched.

    Attributes:
        request: what the jobs have in common.
        launch: what goes into the ledger.
        manifests: the manifests that they read as they are, one for each job; empty when one is written.
        select: yields the records of the manifest that is written for them.
        classes: a class list to write; None when they read the earlier job's.
        template: the text of a worker template to write; None when they show the earlier job's.
        started: those of the jobs that are there already, from an earlier run of the same.
        image: one of the images.
    """

    request: LabelingJobRequest
    launch: Launch
    manifests: tuple[S3Uri, ...] = ()
    select: Callable[[], Iterator[ManifestRecord]] = lambda: iter(())
    classes: tuple[str, ...] | None = None
    template: str | None = None
    started: tuple[str, ...] = ()
    image: S3Uri | None = None

    @property
    def subject(self) -> Subject:
        """What the doctor should look at before it is started."""
        return subject_of(
            self.request,
            () if self.image is None else (self.image,),
            self.classes or self.request.classes,
            self.template or self.request.template,
        )

    @property
    def requests(self) -> tuple[LabelingJobRequest, ...]:
        """One request for each job."""
        inputs = inputs_of(self.request.output, self.launch.name)
        several = len(self.launch.jobs) > 1
        tags = {**self.request.tags, **({GROUP_TAG: self.launch.name} if several else {})}
        return tuple(
            self.request.model_copy(
                update={
                    "name": name,
                    "attribute": self.request.label_attribute,
                    "manifest": (
                        self.manifests[number]
                        if self.manifests
                        else inputs / (f"{number + 1}/" if several else "") / "input.manifest"
                    ),
                    "tags": tags,
                }
            )
            for number, name in enumerate(self.launch.jobs)
        )


def plan_clone(aws: Aws, name: str, *, to: str | None = None, **changes: Any) -> SuccessorPlan:
    """Plan the same once more: the same input manifest, under a new name.

    Args:
        aws: the clients.
        name: the earlier job, or group of them.
        to: the new name; by default the old one and `-copy`.
        changes: fields of a `LabelingJobRequest` that are to be otherwise.

    Raises:
        JobNotFoundError: if there is no such job.
        JobNameTakenError: if the new name belongs to something else.
        LabelingJobError: if it was a streaming job without a manifest.
        RequestError: if the service would refuse the new job.
    """
    group = describe_labeling(aws.sagemaker, aws.s3, name)
    manifests = tuple(job.manifest for job in group.jobs if job.manifest is not None)
    if len(manifests) < len(group.jobs):
        raise LabelingJobError(f"the labeling job {name!r} was given no manifest that a clone could read")
    request = _request_behind(aws, group, to or f"{name}-copy", changes)
    return _planned(aws, "clone", group, request, manifests=manifests)


def plan_chain(
    aws: Aws,
    name: str,
    *,
    to: str | None = None,
    attribute: str | None = None,
    classes: Sequence[str] | None = None,
    template: str | None = None,
    **changes: Any,
) -> SuccessorPlan:
    """Plan the next job of a chain, whose input is what an earlier job put out.

    Args:
        aws: the clients.
        name: the earlier job, or group of them; it has ended.
        to: the new name; by default the old one and `-next`.
        attribute: the earlier job's, to label only what it has not labeled, or a new one, to ask about
            all images; by default the new name.
        classes: what a picture can be; by default as before.
        template: the worker template's text; by default as before.
        changes: other fields of a `LabelingJobRequest` that are to be otherwise.

    Raises:
        As `plan_clone`, and LabelingJobError if the earlier job has not ended.
    """
    group = _ended(describe_labeling(aws.sagemaker, aws.s3, name))
    called = to or f"{name}-next"
    request = _request_behind(aws, group, called, {"attribute": attribute or called, **changes})
    names = tuple(check_classes(classes)) if classes else None
    former = group.jobs[0].attribute
    if request.label_attribute != former:
        manifests = tuple(last_manifest(aws.s3, job) for job in group.jobs)
        return _planned(aws, "chain", group, request, manifests=manifests, classes=names, template=template)

    def select() -> Iterator[ManifestRecord]:
        # What a failed attempt left would be in the way of the next under the same attribute.
        for job in group.jobs:
            for record in records(aws.s3, job):
                failed = record.state(former) == "failed"
                yield record.without(f"{former}-metadata") if failed else record

    return _planned(aws, "chain", group, request, select=select, classes=names, template=template)


def plan_resume(aws: Aws, name: str, *, to: str | None = None, **changes: Any) -> SuccessorPlan:
    """Plan a job for only what an earlier one has not labeled: it expired, failed or was stopped.

    It labels under the same attribute, so both are consolidated together: `gtlabel consolidate A B`.

    Args:
        aws: the clients.
        name: the earlier job, or group of them; it has ended.
        to: the new name; by default the old one and `-rest`.
        changes: fields of a `LabelingJobRequest` that are to be otherwise.

    Raises:
        As `plan_clone`, and LabelingJobError if the earlier job has not ended or left nothing to do.
    """
    group = _ended(describe_labeling(aws.sagemaker, aws.s3, name))
    request = _request_behind(aws, group, to or f"{name}-rest", changes)
    nothing = f"every image of {name!r} has its label; there is nothing to resume"
    return _planned(
        aws, "resume", group, request, select=lambda: unlabeled(aws.s3, group.jobs), nothing=nothing
    )


def plan_relabel(
    aws: Aws,
    name: str,
    *,
    below: float | None = None,
    disputed: bool = False,
    to: str | None = None,
    attribute: str | None = None,
    **changes: Any,
) -> SuccessorPlan:
    """Plan another look at the labels of an earlier job that may be wrong.

    The new labels go under an attribute of their own; consolidated together the newer ones hold.

    Args:
        aws: the clients.
        name: the earlier job, or group of them; it has ended.
        below: look again at labels whose confidence is less. It tells only the labels of one job apart,
            and saturates at 0.95.
        disputed: look again at images about which the workers did not all say the same.
        to: the new name; by default the old one and `-relabel`.
        attribute: by default the new name.
        changes: other fields of a `LabelingJobRequest` that are to be otherwise.

    Raises:
        As `plan_clone`, and LabelingJobError if the earlier job has not ended, if there is no such label,
        or if only one worker looked at each image: their confidence is always 0.
    """
    if below is None and not disputed:
        raise LabelingJobError("say what to label again: labels --below a confidence, or --disputed ones")
    group = _ended(describe_labeling(aws.sagemaker, aws.s3, name))
    called = to or f"{name}-relabel"
    former = group.jobs[0].attribute
    request = _request_behind(aws, group, called, {"attribute": attribute or called, **changes})
    if request.label_attribute == former:
        raise LabelingJobError(f"{name!r} labels under {former!r} too; give new labels another attribute")
    if group.jobs[0].workers_per_image == 1:
        # https://docs.aws.amazon.com/sagemaker/latest/dg/sms-data-output.html (contract section 5.4)
        raise LabelingJobError(
            f"only one worker looked at each image of {name!r}, so none is disputed and every confidence "
            "is 0; label all of them again with: gtlabel jobs clone"
        )
    what = " or ".join(
        [*([f"below a confidence of {below}"] if below is not None else []), *(["disputed"] * disputed)]
    )

    def select() -> Iterator[ManifestRecord]:
        return doubtful(aws.s3, group.jobs, below=below, disputed=disputed)

    return _planned(
        aws,
        f"relabel {what}",
        group,
        request,
        select=select,
        nothing=f"no label of {name!r} is {what}; there is nothing to label again",
    )


def plan_verify(
    aws: Aws,
    name: str,
    *,
    adjust: bool = False,
    to: str | None = None,
    attribute: str | None = None,
    **changes: Any,
) -> SuccessorPlan:
    """Plan a job in which people see each label of an earlier job and say whether it is right.

    AWS has this built in for boxes and masks only, so it is a custom task with a page of ours; what the
    people said is read with `gtlabel.labeling.audits.read_audit`.

    Args:
        aws: the clients.
        name: the earlier job, or group of them; it has ended, and gave each image one class.
        adjust: let people choose the right class, in place of judging the one there is.
        to: the new name; by default the old one and `-verify`, or `-adjust`.
        attribute: by default the new name.
        changes: other fields of a `LabelingJobRequest` that are to be otherwise.

    Raises:
        As `plan_clone`, and LabelingJobError if the earlier job has not ended or labeled nothing.
    """
    group = _ended(describe_labeling(aws.sagemaker, aws.s3, name))
    task = Task.ADJUSTMENT if adjust else Task.VERIFICATION
    called = to or f"{name}-{'adjust' if adjust else 'verify'}"
    first = group.jobs[0]
    if first.classes is None:
        raise LabelingJobError(f"the labeling job {first.name!r} has no list of classes to verify against")
    fields = {
        "task": task,
        "audited": first.attribute,
        "attribute": attribute or called,
        "pre_function": "",
        "consolidation_function": "",
        "title": "Say whether the class fits the picture" if not adjust else "Choose the class that fits",
        "description": "Look at one picture at a time and at the class that somebody gave it.",
    }
    request = _request_behind(aws, group, called, {**fields, **changes})
    names = ClassList.from_json(read(aws.s3, first.classes), first.classes)

    def select() -> Iterator[ManifestRecord]:
        for job in group.jobs:
            for record in records(aws.s3, job):
                if record.state(job.attribute) == "labeled":
                    yield record

    return _planned(
        aws,
        task,
        group,
        request,
        select=select,
        template=audit_page(task, first.attribute, names),
        nothing=f"{name!r} has labeled nothing that could be verified",
    )


def start_successor(aws: Aws, plan: SuccessorPlan) -> str:
    """Write what the jobs read, start those that are not there yet, and return the (first one's) ARN.

    Workers see the images as soon as this returns. Interrupted, or run by two at once, the same plan
    started again completes what is missing and starts nothing twice.

    Raises:
        JobNameTakenError: if somebody took the name since the plan was made.
    """
    plan = replace(plan, launch=claim(aws.s3, plan.request.output, plan.launch))
    left = plan.select()
    arns = []
    for request in plan.requests:
        # Taken from the whole even when this job is there already: the next one's images come after.
        images = islice(left, plan.launch.images_per_job)

        def create(request: LabelingJobRequest = request, images: Iterator[ManifestRecord] = images) -> str:
            _write_files(aws, plan)
            if not plan.manifests and request.manifest is not None:
                write_lines(aws.s3, request.manifest, (write_record(record) for record in images))
            return create_labeling_job(aws.sagemaker, request)

        arns.append(ensure_job(aws.sagemaker, request.name, request.manifest, create))
        for _ in images:
            pass
    return arns[0]


def _planned(
    aws: Aws,
    kind: str,
    group: JobGroup,
    request: LabelingJobRequest,
    *,
    manifests: tuple[S3Uri, ...] = (),
    select: Callable[[], Iterator[ManifestRecord]] = lambda: iter(()),
    classes: tuple[str, ...] | None = None,
    template: str | None = None,
    nothing: str = "",
) -> SuccessorPlan:
    """The plan, with what an earlier run of the same has left.

    Raises:
        LabelingJobError: if there is no image for it; `nothing` says so.
        JobNameTakenError: if the name belongs to something else.
        RequestError: if the service would refuse a job.
    """
    inputs = inputs_of(request.output, request.name)
    if classes is not None:
        request = request.model_copy(update={"classes": inputs / "classes.json"})
    if template is not None:
        request = request.model_copy(update={"template": inputs / "template.liquid"})
    image, images = None, 0
    for record in _read(aws, manifests) if manifests else select():
        image, images = record.source_ref, images + 1
    if images == 0:
        raise LabelingJobError(nothing or f"what {group.name!r} left names no images")
    made_of = request.model_dump(mode="json", exclude={"name", "manifest"}, exclude_defaults=True)
    of = [job.name for job in group.jobs]
    launch = Launch(
        name=request.name,
        digest=digest_of({**made_of, "kind": kind, "new classes": classes, "new template": template}, of),
        jobs=names_in_group(request.name, len(manifests) or ceil(images / MAX_IMAGES)),
        images=images,
        images_per_job=MAX_IMAGES,
    )
    plan = SuccessorPlan(request, launch, manifests, select, classes, template, image=image)
    for each in plan.requests:
        each.to_boto()
    held, started = look_up(aws.sagemaker, aws.s3, request.output, launch)
    return replace(plan, launch=held, started=started)


def _read(aws: Aws, manifests: Sequence[S3Uri]) -> Iterator[ManifestRecord]:
    for manifest in manifests:
        yield from read_records(read_lines(aws.s3, manifest), manifest)


def _request_behind(aws: Aws, group: JobGroup, name: str, changes: dict[str, Any]) -> LabelingJobRequest:
    """What the (first) earlier job was asked for, under another name."""
    earlier = dict(aws.sagemaker.describe_labeling_job(LabelingJobName=group.jobs[0].name))
    earlier["LabelingJobName"] = name
    request = LabelingJobRequest.from_boto(earlier, aws.region, **changes)
    tags = {key: value for key, value in request.tags.items() if not key.startswith(_OWN_TAGS)}
    return request.model_copy(update={"tags": tags})


def _ended(group: JobGroup) -> JobGroup:
    if group.status not in ENDED:
        raise LabelingJobError(
            f"the labeling job {group.name!r} is {group.status}; wait for it with gtlabel jobs wait "
            f"{group.name}, or end it with gtlabel jobs stop {group.name}"
        )
    return group


def _write_files(aws: Aws, plan: SuccessorPlan) -> None:
    if plan.classes is not None and plan.request.classes is not None:
        write(aws.s3, plan.request.classes, check_classes(plan.classes).to_json(), "application/json")
    if plan.template is not None:
        write(aws.s3, plan.request.template, plan.template.encode(), "text/html; charset=utf-8")
