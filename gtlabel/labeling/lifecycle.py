"""New labeling jobs from earlier ones: the same again, the next in a chain, the rest, another look.

Each is planned first, and its name follows from the earlier job's and from what it is for, so that a
command that is run twice finds what it started the first time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from gtlabel.errors import LabelingJobError
from gtlabel.labeling.audits import audit_page
from gtlabel.labeling.groups import describe_labeling
from gtlabel.labeling.inputs import MAX_IMAGES
from gtlabel.labeling.outcome import doubtful, last_manifest, records, unlabeled
from gtlabel.labeling.successors import SuccessorPlan, ended, planned, request_behind, start_successor
from gtlabel.labeling.tasks import Task
from gtlabel.manifests.classes import ClassList, check_classes
from gtlabel.manifests.records import ManifestRecord
from gtlabel.storage import read

if TYPE_CHECKING:
    from gtlabel.aws import Aws

__all__ = [
    "SuccessorPlan",
    "plan_chain",
    "plan_clone",
    "plan_relabel",
    "plan_resume",
    "plan_verify",
    "start_successor",
]


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
    request = request_behind(aws, group, to or f"{name}-copy", changes)
    return planned(aws, "clone", group, request, manifests=manifests)


def plan_chain(
    aws: Aws,
    name: str,
    *,
    to: str | None = None,
    attribute: str | None = None,
    classes: Sequence[str] | None = None,
    template: str | None = None,
    max_images_per_job: int = MAX_IMAGES,
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
        max_images_per_job: more become several jobs.
        changes: other fields of a `LabelingJobRequest` that are to be otherwise.

    Raises:
        As `plan_clone`, and LabelingJobError if the earlier job has not ended.
    """
    group = ended(describe_labeling(aws.sagemaker, aws.s3, name))
    called = to or f"{name}-next"
    request = request_behind(aws, group, called, {"attribute": attribute or called, **changes})
    names = tuple(check_classes(classes)) if classes else None
    former = group.jobs[0].attribute
    if request.label_attribute != former:
        manifests = tuple(last_manifest(aws.s3, job) for job in group.jobs)
        return planned(aws, "chain", group, request, manifests=manifests, classes=names, template=template)

    def select() -> Iterator[ManifestRecord]:
        # What a failed attempt left would be in the way of the next under the same attribute.
        for job in group.jobs:
            for record in records(aws.s3, job):
                failed = record.state(former) == "failed"
                yield record.without(f"{former}-metadata") if failed else record

    return planned(
        aws,
        "chain",
        group,
        request,
        select=select,
        classes=names,
        template=template,
        max_images_per_job=max_images_per_job,
    )


def plan_resume(
    aws: Aws,
    name: str,
    *,
    to: str | None = None,
    max_images_per_job: int = MAX_IMAGES,
    **changes: Any,
) -> SuccessorPlan:
    """Plan a job for only what an earlier one has not labeled: it expired, failed or was stopped.

    It labels under the same attribute, so both are consolidated together: `gtlabel consolidate A B`.

    Args:
        aws: the clients.
        name: the earlier job, or group of them; it has ended.
        to: the new name; by default the old one and `-rest`.
        max_images_per_job: more become several jobs.
        changes: fields of a `LabelingJobRequest` that are to be otherwise.

    Raises:
        As `plan_clone`, and LabelingJobError if the earlier job has not ended or left nothing to do.
    """
    group = ended(describe_labeling(aws.sagemaker, aws.s3, name))
    request = request_behind(aws, group, to or f"{name}-rest", changes)
    nothing = f"every image of {name!r} has its label; there is nothing to resume"
    return planned(
        aws,
        "resume",
        group,
        request,
        select=lambda: unlabeled(aws.s3, group.jobs),
        nothing=nothing,
        max_images_per_job=max_images_per_job,
    )


def plan_relabel(
    aws: Aws,
    name: str,
    *,
    below: float | None = None,
    disputed: bool = False,
    to: str | None = None,
    attribute: str | None = None,
    max_images_per_job: int = MAX_IMAGES,
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
        max_images_per_job: more become several jobs.
        changes: other fields of a `LabelingJobRequest` that are to be otherwise.

    Raises:
        As `plan_clone`, and LabelingJobError if the earlier job has not ended, if there is no such label,
        or if only one worker looked at each image: their confidence is always 0.
    """
    if below is None and not disputed:
        raise LabelingJobError("say what to label again: labels --below a confidence, or --disputed ones")
    group = ended(describe_labeling(aws.sagemaker, aws.s3, name))
    called = to or f"{name}-relabel"
    former = group.jobs[0].attribute
    request = request_behind(aws, group, called, {"attribute": attribute or called, **changes})
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

    return planned(
        aws,
        f"relabel {what}",
        group,
        request,
        select=select,
        nothing=f"no label of {name!r} is {what}; there is nothing to label again",
        max_images_per_job=max_images_per_job,
    )


def plan_verify(
    aws: Aws,
    name: str,
    *,
    adjust: bool = False,
    to: str | None = None,
    attribute: str | None = None,
    max_images_per_job: int = MAX_IMAGES,
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
        max_images_per_job: more become several jobs.
        changes: other fields of a `LabelingJobRequest` that are to be otherwise.

    Raises:
        As `plan_clone`, and LabelingJobError if the earlier job has not ended or labeled nothing.
    """
    group = ended(describe_labeling(aws.sagemaker, aws.s3, name))
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
    request = request_behind(aws, group, called, {**fields, **changes})
    names = ClassList.from_json(read(aws.s3, first.classes), first.classes)

    def select() -> Iterator[ManifestRecord]:
        for job in group.jobs:
            for record in records(aws.s3, job):
                if record.state(job.attribute) == "labeled":
                    yield record

    return planned(
        aws,
        task,
        group,
        request,
        select=select,
        template=audit_page(task, first.attribute, names),
        nothing=f"{name!r} has labeled nothing that could be verified",
        max_images_per_job=max_images_per_job,
    )
