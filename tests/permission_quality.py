"""What the commands about the quality of labels do in the matrix of permissions."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from permission_acts import OUTPUT

from gtlabel.aws import Aws
from gtlabel.datasets.places import Place
from gtlabel.datasets.suspects import suspicious_labels
from gtlabel.errors import DatasetError
from gtlabel.labeling.answered import read_answered
from gtlabel.labeling.doubtful import find_doubts, plan_again, plan_more
from gtlabel.labeling.quality import judge
from gtlabel.labeling.reconsolidation import reconsolidate
from gtlabel.labeling.relabeled import relabeled
from gtlabel.labeling.successors import start_successor
from gtlabel.labeling.throughput import people
from gtlabel.manifests.lines import write_record
from gtlabel.storage import write_lines
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from permission_matrix import Stage

DATASET = S3Uri("s3://trash-photos/bins/")
NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)


def judged(_stage: Stage, aws: Aws) -> None:
    """`gtlabel quality report`, `reconsolidate --into` and `suspects`."""
    answered = read_answered(lambda: aws, ["labeled"])
    assert judge(answered).report.workers
    person_of = people(aws.cognito_idp)
    assert len([person_of(sub, issuer) for sub, issuer in answered.people]) == len(answered.workers)
    lines = [write_record(record) for record in relabeled(reconsolidate(answered), NOW)]
    write_lines(aws.s3, OUTPUT / "better.manifest", lines)
    _doubt_labels(aws)


def asked_again(stage: Stage, aws: Aws) -> None:
    """`gtlabel quality more` and `suspects --relabel`."""
    answered = read_answered(lambda: aws, ["labeled"])
    doubts = find_doubts(answered, answers=1)
    wanted = replace(doubts, images=answered.sources[:2], why="going on")
    plan = plan_more(aws, "labeled", wanted, to=stage.name("more"), tags={"project": "trash"})
    start_successor(aws, plan)
    _doubt_labels(aws)
    start_successor(aws, plan_again(aws, "labeled", answered.sources[:1], to=stage.name("suspects")))


def planned_from(_stage: Stage, aws: Aws) -> None:
    """`gtlabel plan --from`."""
    assert len(read_answered(lambda: aws, ["labeled"]).objects)


def _doubt_labels(aws: Aws) -> None:
    with suppress(DatasetError):
        # There are too few pictures, which is known to somebody who may look at them.
        suspicious_labels(Place.of(str(DATASET), lambda: aws.s3))
