"""Known pictures that are mixed into a job: checked before anything is sent."""

from __future__ import annotations

import json
from typing import Any

import pytest
from lifecycle_parts import PHOTOS, USUAL, fill

from gtlabel.aws import Aws
from gtlabel.errors import GoldError
from gtlabel.labeling.plan import LabelingPlan, plan_labeling
from gtlabel.labeling.tasks import GOLD_TAG
from gtlabel.uris import S3Uri

GOLD = S3Uri(f"s3://{PHOTOS.bucket}/known.manifest")


def planned(aws: Aws, known: dict[str, str], **more: Any) -> LabelingPlan:
    """A plan for nine pictures, some of which are known."""
    lines = [json.dumps({"source-ref": image, "class": name}) for image, name in known.items()]
    aws.s3.put_object(Bucket=GOLD.bucket, Key=GOLD.key, Body="\n".join(lines).encode())
    return plan_labeling(aws, PHOTOS, **USUAL, gold=GOLD, **more)


def test_they_are_in_the_job_and_named_by_its_tag(gtlabel_aws: Aws) -> None:
    truth = fill(gtlabel_aws, 9)
    plan = planned(gtlabel_aws, truth)
    assert plan.request.tags[GOLD_TAG] == str(GOLD)
    assert {str(image.uri) for image in plan.usable.images} == set(truth)


@pytest.mark.parametrize(
    ("name", "reason"),
    [("Glass", "'Glass', which is no class of this job"), ("", "'', which is no class of this job")],
)
def test_a_class_that_the_job_does_not_have_is_refused(gtlabel_aws: Aws, name: str, reason: str) -> None:
    truth = fill(gtlabel_aws, 9)
    with pytest.raises(GoldError, match=reason):
        planned(gtlabel_aws, {next(iter(truth)): name})


def test_each_of_several_jobs_needs_one(gtlabel_aws: Aws) -> None:
    truth = fill(gtlabel_aws, 9)
    image, name = min(truth.items())
    assert len(planned(gtlabel_aws, {image: name}, max_images_per_job=9).launch.jobs) == 1
    with pytest.raises(GoldError, match="none of the 1 pictures in .* comes to job 2 of 3"):
        planned(gtlabel_aws, {image: name}, max_images_per_job=3)
