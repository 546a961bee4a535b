"""Labeling jobs that follow from earlier ones, whatever for: their plan, and launching it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from math import ceil
from typing import TYPE_CHECKING, Any

from gtlabel.errors import LabelingJobError
from gtlabel.labeling.groups import GROUP_TAG, JobGroup, names_in_group
from gtlabel.labeling.inputs import MAX_IMAGES
from gtlabel.labeling.jobs import ENDED, create_labeling_job
from gtlabel.labeling.ledger import Launch, claim, digest_of, ensure_job, inputs_of, look_up
from gtlabel.labeling.plan import subject_of
from gtlabel.labeling.preflight import Subject
from gtlabel.labeling.request import LabelingJobRequest
from gtlabel.manifests.classes import check_classes
from gtlabel.manifests.lines import read_records, write_record
from gtlabel.manifests.records import ManifestRecord
from gtlabel.storage import read_lines, write, write_lines
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


def start_successor(aws: Aws, plan: SuccessorPlan) -> str:
    """Write what the jobs read, start those that are not there yet, and return the (first one's) ARN.

    Workers see the images as soon as this returns. Interrupted, or run by two at once, the same plan
    started again completes what is missing and starts nothing twice.

    Raises:
        JobNameTakenError: if somebody took the name since the plan was made.
    """
    plan = replace(plan, launch=claim(aws.sagemaker, aws.s3, plan.request.output, plan.launch))
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


def planned(
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
    max_images_per_job: int = MAX_IMAGES,
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
        jobs=names_in_group(request.name, len(manifests) or ceil(images / max_images_per_job)),
        images=images,
        images_per_job=max_images_per_job,
    )
    plan = SuccessorPlan(request, launch, manifests, select, classes, template, image=image)
    for each in plan.requests:
        each.to_boto()
    held, started = look_up(aws.sagemaker, aws.s3, request.output, launch)
    return replace(plan, launch=held, started=started)


def _read(aws: Aws, manifests: Sequence[S3Uri]) -> Iterator[ManifestRecord]:
    for manifest in manifests:
        yield from read_records(read_lines(aws.s3, manifest), manifest)


def request_behind(aws: Aws, group: JobGroup, name: str, changes: dict[str, Any]) -> LabelingJobRequest:
    """What the (first) earlier job was asked for, under another name."""
    earlier = dict(aws.sagemaker.describe_labeling_job(LabelingJobName=group.jobs[0].name))
    earlier["LabelingJobName"] = name
    request = LabelingJobRequest.from_boto(earlier, aws.region, **changes)
    tags = {key: value for key, value in request.tags.items() if not key.startswith(_OWN_TAGS)}
    return request.model_copy(update={"tags": tags})


def ended(group: JobGroup) -> JobGroup:
    """The jobs themselves, if all of them have ended.

    Raises:
        LabelingJobError: if one of them goes on.
    """
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
