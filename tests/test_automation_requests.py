"""What the API takes and says about automated labeling, in AWS's shapes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from automation_parts import picture
from engine_parts import KEY
from groundtruth_parts import Account, request
from request_parts import FIELDS

from gtlabel.emulator.api import ApiError
from gtlabel.engine.automation import told
from gtlabel.engine.jobs import JobSpec
from gtlabel.labeling.promised import sentences
from gtlabel.labeling.request import LabelingJobRequest
from gtlabel.labeling.tasks import AUTOMATED_TAG, algorithm_arn

ALGORITHM = {"LabelingJobAlgorithmSpecificationArn": algorithm_arn("us-east-1")}
MULTI = "arn:aws:lambda:us-east-1:432418664414:function:{}-ImageMultiClassMultiLabel"


def tagged(value: str) -> dict[str, Any]:
    return {
        "LabelingJobAlgorithmsConfig": ALGORITHM,
        "Tags": [{"Key": AUTOMATED_TAG, "Value": value}],
    }


def failure(account: Account) -> str:
    """Why a job failed, once it has."""
    while True:
        account.turn()
        found = account.describe()
        if found["LabelingJobStatus"] == "Failed":
            return str(found["FailureReason"])
        assert account.board.news.wait(60), found
        account.board.news.clear()


def settings(account: Account, name: str = "Bins-1") -> dict[str, Any] | None:
    found = account.board.job(type(KEY)(KEY.account, KEY.region, name)).spec.automation
    return None if found is None else dict(found)


def test_a_job_means_the_precision_of_aws_unless_it_says_another() -> None:
    account = Account()
    account.create("plain")
    account.create("as-aws", LabelingJobAlgorithmsConfig=ALGORITHM)
    account.create("own", **tagged("precision=0.9 risk=0.1 seed=7 network=s3://trash/eye.onnx"))
    assert settings(account, "plain") is None
    assert settings(account, "as-aws") == {"target": 0.95, "risk": 0.05, "seed": 0}
    assert settings(account, "own") == {
        "target": 0.9,
        "risk": 0.1,
        "seed": 7,
        "network": "s3://trash/eye.onnx",
    }


def test_a_model_of_an_earlier_job_is_told_and_has_no_say() -> None:
    account = Account()
    model = "arn:aws:sagemaker:us-east-1:123456789012:model/earlier"
    account.create(LabelingJobAlgorithmsConfig={**ALGORITHM, "InitialActiveLearningModelArn": model})
    said = told(account.board.store, account.board.job(KEY))
    assert said is not None
    assert next(sentences(said)) == said["notes"][0]
    assert model in said["notes"][0]


@pytest.mark.parametrize(
    ("images", "tags", "problems"),
    [
        (60, {AUTOMATED_TAG: "precision=0.9"}, ""),
        (49, {AUTOMATED_TAG: "precision=0.9"}, "49 images are fewer than the 50 it takes to learn from"),
        (60, {}, "60 images are fewer than the 1,250 it takes to learn from"),
    ],
)
def test_our_own_engine_learns_from_fewer_images_than_aws(
    images: int, tags: dict[str, str], problems: str
) -> None:
    asked = LabelingJobRequest(**{**FIELDS, "automated": True, "images": images, "tags": tags})
    assert [problem for problem in asked.problems() if "learn from" not in problem] == []
    assert problems in "".join(asked.problems())
    assert bool(asked.problems()) == bool(problems)
    warned = "AWS does not, takes 1,250 images and more" in "".join(asked.warnings())
    assert warned == bool(tags)


def test_a_description_repeats_what_was_asked() -> None:
    account = Account()
    account.create(**tagged("precision=0.9"))
    found = account.describe()
    assert found["LabelingJobAlgorithmsConfig"] == ALGORITHM
    assert found["Tags"] == [{"Key": AUTOMATED_TAG, "Value": "precision=0.9"}]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {
                "LabelingJobAlgorithmsConfig": {
                    "LabelingJobAlgorithmSpecificationArn": algorithm_arn("eu-west-1")
                }
            },
            "does not fit this task in us-east-1; give arn:aws:sagemaker:us-east-1:027400017018:",
        ),
        (
            {
                "LabelingJobAlgorithmsConfig": {
                    "LabelingJobAlgorithmSpecificationArn": algorithm_arn("us-east-1", "text-classification")
                }
            },
            "text-classification' does not fit this task",
        ),
        (
            {
                "LabelingJobAlgorithmsConfig": ALGORITHM,
                "human": {
                    "PreHumanTaskLambdaArn": MULTI.format("PRE"),
                    "AnnotationConsolidationConfig": {
                        "AnnotationConsolidationLambdaArn": MULTI.format("ACS")
                    },
                },
            },
            "only images of one class each are labeled automatically",
        ),
        (
            {
                "LabelingJobAlgorithmsConfig": ALGORITHM,
                "InputConfig": {
                    "DataSource": {
                        "SnsDataSource": {"SnsTopicArn": "arn:aws:sns:us-east-1:123456789012:images"}
                    }
                },
            },
            "a streaming job cannot label automatically",
        ),
        (
            {"Tags": [{"Key": AUTOMATED_TAG, "Value": "precision=0.9"}]},
            "it belongs to LabelingJobAlgorithmsConfig; give both or neither",
        ),
        (tagged("precise=0.9"), "'precise=0.9' is none of precision=…, risk=…, seed=…, network=…"),
        (tagged("precision"), "'precision' is none of"),
        (tagged("precision=1.5"), "'precision=1.5' cannot be: give a share between 0 and 1"),
        (tagged("precision=high"), "'precision=high' cannot be: give a share between 0 and 1"),
        (tagged("risk=nan"), "'risk=nan' cannot be: give a share between 0 and 1"),
        (tagged("seed=one"), "'seed=one' cannot be: give a number from 0 to"),
        (tagged("seed=-1"), "'seed=-1' cannot be: give a number from 0 to"),
        (tagged("network=eye.onnx"), "'network=eye.onnx' cannot be:"),
    ],
)
def test_what_cannot_be_done_is_refused_with_a_sentence(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ApiError) as refused:
        Account().create(**changes)
    assert refused.value.code == "ValidationException"
    assert sentence in refused.value.message


def test_a_job_that_none_of_whose_pictures_can_be_looked_at_fails_and_says_so() -> None:
    account = Account()
    account.create(LabelingJobAlgorithmsConfig=ALGORITHM)
    reason = failure(account)
    assert "none of the 24 images can be looked at for automated labeling" in reason


def test_a_network_that_is_none_fails_the_job_with_the_file_s_name() -> None:
    account = Account()
    for number in range(24):
        account.bucket.files[f"images/{number}.jpg"] = picture(number)
    account.put("eye.onnx", "no network")
    account.create(**tagged("network=s3://trash/eye.onnx"))
    reason = failure(account)
    assert "s3://trash/eye.onnx" in reason
    assert "not an ONNX network" in reason


def test_a_job_of_before_there_was_any_still_opens() -> None:
    old = JobSpec.from_json(KEY, _without(JobSpec.to_json(_spec())))
    assert old.automation is None


def _spec() -> JobSpec:
    account = Account()
    account.call("CreateLabelingJob", **request())
    return account.board.job(KEY).spec


def _without(text: str) -> str:
    values = json.loads(text)
    del values["automation"]
    return json.dumps(values)


PROMISE = {"precision": 0.95, "risk": 0.05, "sample": 81, "wrong": 1}
AUDIT = {"sample": 21, "wrong": 0, "why": "of 21 machine labels that people looked at 0 were wrong"}


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ({"promise": None, "why": "not enough: no"}, ["no label was given by a machine; not enough: no"]),
        (
            {
                "promise": PROMISE,
                "baseline": {"people": 90, "promised": 150, "instead_of": 210},
                "audit": AUDIT,
            },
            [
                "at least 95.0% are right, except with a risk of 5.0%; of 81 like them",
                "from the 90 images chosen at random alone, a machine would have labeled 150, and not 210",
                "audit: of 21 machine labels",
            ],
        ),
        ({"promise": PROMISE, "audit": None}, ["at least 95.0%", "nobody has looked"]),
        (
            {"promise": PROMISE, "audit": AUDIT, "withdrawn": True},
            ["at least 95.0%", "the promise does not hold, so people label these images too"],
        ),
    ],
)
def test_promise_baseline_and_audit_are_told_in_sentences(known: dict[str, Any], expected: list[str]) -> None:
    said = list(sentences(known))
    assert len(said) == len(expected)
    for sentence, part in zip(said, expected, strict=True):
        assert part in sentence
