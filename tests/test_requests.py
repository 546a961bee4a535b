"""Labeling jobs as they are asked for: every wrong one is refused in a sentence before it is sent."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from emulator_parts import clients
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from request_parts import (
    ACCOUNT,
    AUTOMATED,
    FORCED,
    KEY,
    LAMBDA,
    MODEL,
    OUT_TOPIC,
    PUBLIC,
    REGION,
    ROLE,
    STREAMING,
    TEAM,
    TOPIC,
    VENDOR,
    VERIFICATION,
    VPC,
    request,
)

from gtlabel.aws import Aws
from gtlabel.awsmodel import check_request
from gtlabel.emulator.child import Address
from gtlabel.errors import RequestError
from gtlabel.labeling import rules
from gtlabel.labeling.jobs import create_labeling_job
from gtlabel.labeling.request import LabelingJobRequest
from gtlabel.labeling.tasks import Task, algorithm_arn, consolidation_function, pre_function

# What else the request holds, the field that is wrong, its value, and the sentence it is refused with.
WRONG: list[tuple[dict[str, Any], str, Any, str]] = [
    ({}, "name", "", "name (LabelingJobName): '' must be letters, digits and hyphens"),
    ({}, "name", "bad name!!", "name (LabelingJobName): 'bad name!!' must be letters"),
    ({}, "name", "no_underscores", "name (LabelingJobName): 'no_underscores' must be letters"),
    ({}, "name", "ends-", "with a letter or digit first and last"),
    ({}, "name", "x" * 64, "name (LabelingJobName): it has 64 characters, at most 63 are allowed"),
    ({}, "attribute", "trash_1", "attribute (LabelAttributeName): 'trash_1' must be letters"),
    ({}, "attribute", "x" * 128, "attribute (LabelAttributeName): it has 128 characters, at most 127"),
    (
        {},
        "attribute",
        "trash-metadata",
        "attribute (LabelAttributeName): 'trash-metadata' must not end in -m",
    ),
    ({}, "attribute", "trash-ref", "attribute (LabelAttributeName): 'trash-ref' must not end in -ref"),
    ({}, "attribute", "source-ref", "attribute (LabelAttributeName): 'source-ref' is reserved"),
    ({}, "attribute", "source", "attribute (LabelAttributeName): 'source' is reserved"),
    ({}, "name", "source", "attribute (LabelAttributeName): 'source' is reserved"),
    ({}, "manifest", "photos/in.manifest", "is not an S3 address"),
    ({}, "manifest", None, "manifest (InputConfig.DataSource): a job needs a manifest, an input_topic, or"),
    ({}, "manifest", "s3://trash/in/", "manifest (ManifestS3Uri): s3://trash/in/ is a folder"),
    ({}, "manifest", "s3://trash/" + "x" * 1020, "manifest (ManifestS3Uri): it has 1,031 characters"),
    ({}, "manifest", "s3://trash/a\nb", "manifest (ManifestS3Uri): 's3://trash/a\\nb' has a line break"),
    ({}, "classes", "s3://trash/in.manifest", "classes (LabelCategoryConfigS3Uri): it is the same object as"),
    ({}, "template", "s3://trash/classes.json", "template (UiTemplateS3Uri): it is the same object as the"),
    ({}, "template", "s3://trash", "template (UiTemplateS3Uri): s3://trash is a folder"),
    ({}, "classes", None, "classes (LabelCategoryConfigS3Uri): single needs the list of its classes"),
    ({}, "output", "trash/out", "is not an S3 address"),
    ({}, "role", "gtlabel", "role (RoleArn): 'gtlabel' is not the ARN of a role, such as arn:aws:iam::"),
    ({}, "role", "arn:aws:iam::1:role/x", "role (RoleArn): 'arn:aws:iam::1:role/x' is not the ARN of a role"),
    ({}, "role", "arn:aws:iam::999999999999:role/x", "team (WorkteamArn): a private team works for its own"),
    ({}, "team", "my-team", "team (WorkteamArn): 'my-team' is not the ARN of a work team"),
    ({}, "team", TEAM.replace("private-crowd", "other-crowd"), "is none of workteam/private-crowd, workteam"),
    ({}, "team", TEAM.removesuffix("gtlabel"), "names no team"),
    (
        {},
        "team",
        TEAM.replace(REGION, "eu-west-1"),
        "team (WorkteamArn): it is in eu-west-1 and the job in us-",
    ),
    ({}, "team", f"{TEAM}{'x' * 256}", "team (WorkteamArn): it has 327 characters, at most 256 are allowed"),
    ({}, "team", PUBLIC, "team (WorkteamArn): the public team closed with Mechanical Turk on 2026-09-30"),
    (
        FORCED,
        "team",
        PUBLIC.replace("394669845002", ACCOUNT),
        "the public team of the region is arn:aws:sage",
    ),
    (FORCED, "price", None, "price (PublicWorkforceTaskPrice): the public team works for a price"),
    (
        FORCED,
        "price",
        Decimal("0.013"),
        "price (PublicWorkforceTaskPrice): 0.013 is none of the allowed 0.012",
    ),
    (FORCED, "availability", 43_201, "the public team is offered an image for at most 43,200 seconds"),
    (FORCED, "content_classifiers", ("FreeOfAdultContent",), "declared FreeOfPersonallyIdentifiableInforma"),
    ({}, "price", Decimal("0.012"), "price (PublicWorkforceTaskPrice): only the public team is paid by the"),
    ({"team": VENDOR}, "price", Decimal("0.012"), "a vendor names its price in the Marketplace"),
    (
        {},
        "workers_per_image",
        10,
        "workers_per_image (NumberOfHumanWorkersPerDataObject): 10 is not within 1",
    ),
    ({}, "workers_per_image", 0, "0 is not within 1 to 9, the people who look at one image"),
    ({}, "task_time_limit", 29, "task_time_limit (TaskTimeLimitInSeconds): 29 is not within 30 to 28,800"),
    ({}, "task_time_limit", 28_801, "task_time_limit (TaskTimeLimitInSeconds): 28,801 is not within"),
    (
        {},
        "availability",
        59,
        "availability (TaskAvailabilityLifetimeInSeconds): 59 is not within 60 to 2,592",
    ),
    (
        {},
        "availability",
        2_592_001,
        "2,592,001 is not within 60 to 2,592,000, the seconds an image is offered",
    ),
    ({}, "max_concurrent", 5_001, "max_concurrent (MaxConcurrentTaskCount): 5,001 is not within 1 to 5,000"),
    ({}, "max_concurrent", 0, "max_concurrent (MaxConcurrentTaskCount): 0 is not within"),
    ({}, "title", "", "title (TaskTitle): workers need one, it is empty"),
    ({}, "title", "x" * 129, "title (TaskTitle): it has 129 characters, at most 128 are allowed"),
    (
        {},
        "title",
        "Sort it \N{WASTEBASKET}",
        "title (TaskTitle): '\N{WASTEBASKET}' cannot be in it",
    ),
    ({}, "description", "x" * 256, "description (TaskDescription): it has 256 characters, at most 255"),
    ({}, "description", "two\nlines", "description (TaskDescription): it must be one line"),
    ({}, "keywords", ("!!!",), "keywords (TaskKeywords): '!!!' must be 1 to 30 letters and digits"),
    ({}, "keywords", ("x" * 31,), "must be 1 to 30 letters and digits"),
    ({}, "keywords", ("a", "b", "c", "d", "e", "f"), "keywords (TaskKeywords): 6 are given, at most 5"),
    ({}, "pre_function", "mine", "pre_function (PreHumanTaskLambdaArn): 'mine' is not the ARN of a Lambda"),
    ({}, "pre_function", LAMBDA, "functions of your own make it a custom task"),
    ({}, "pre_function", None, "pre_function (PreHumanTaskLambdaArn): single cannot do without"),
    ({}, "pre_function", pre_function("eu-west-1"), "single goes with arn:aws:lambda:us-east-1:432418664414"),
    (
        {},
        "pre_function",
        consolidation_function(REGION),
        "single goes with arn:aws:lambda:us-east-1:43241866",
    ),
    ({"task": "multi"}, "consolidation_function", consolidation_function(REGION), "multi goes with arn:aws:"),
    (
        {"task": "custom", "pre_function": LAMBDA},
        "consolidation_function",
        LAMBDA.replace(REGION, "eu-west-1"),
        "consolidation_function (AnnotationConsolidationLambdaArn): it is in eu-west-1 and the job in",
    ),
    (
        {},
        "region",
        "eu-west-3",
        "region (PreHumanTaskLambdaArn): Ground Truth has no built-in functions in eu-",
    ),
    ({}, "output_key", "my key", "output_key (OutputConfig.KmsKeyId): 'my key' is not the id, alias or ARN"),
    (
        {},
        "output_key",
        KEY.replace(REGION, "eu-west-1"),
        "output_key (OutputConfig.KmsKeyId): it is in eu-we",
    ),
    ({}, "max_labeled", 0, "max_labeled (MaxHumanLabeledObjectCount): 0 is not within 1 or more"),
    (
        {},
        "max_percentage",
        101,
        "max_percentage (MaxPercentageOfInputDatasetLabeled): 101 is not within 1 to",
    ),
    ({}, "images", 100_001, "images (ManifestS3Uri): 100,001 is not within 1 to 100,000"),
    ({}, "images", 0, "images (ManifestS3Uri): 0 is not within 1 to 100,000"),
    (
        {},
        "class_names",
        ("Compost",),
        "class_names (LabelCategoryConfigS3Uri): the class list cannot be used",
    ),
    ({}, "class_names", ("Compost", "Compost"), "'Compost' stands in it 2 times"),
    (
        {},
        "class_names",
        ("Compost", "x" * 257),
        "class_names (LabelCategoryConfigS3Uri): the class list cannot",
    ),
    ({"task": "multi"}, "class_names", tuple(f"c{n}" for n in range(51)), "51 classes; multi-label jobs may"),
    ({}, "content_classifiers", ("FreeOfCats",), "'FreeOfCats' is none of FreeOfPersonally"),
    (
        {},
        "content_classifiers",
        ("FreeOfAdultContent",) * 2,
        "content_classifiers (ContentClassifiers): each",
    ),
    ({}, "tags", {str(n): "" for n in range(51)}, "tags (Tags): 51 are given, at most 50 are allowed"),
    ({}, "tags", {"x" * 129: ""}, "tags (Tags.Key): 'xxx"),
    ({}, "tags", {"aws:mine": ""}, "tags (Tags.Key): 'aws:mine' starts with 'aws:'"),
    ({}, "tags", {"team": "a;b"}, "tags (Tags.Value): 'a;b' must be up to 256 letters"),
    ({"automated": True}, "images", 1_249, "automated (LabelingJobAlgorithmsConfig): 1,249 images are fewer"),
    ({"task": "multi"}, "automated", True, "AWS labels single-label images automatically, not multi ones"),
    ({"task": "custom"}, "automated", True, "AWS labels single-label images automatically, not custom ones"),
    (
        AUTOMATED,
        "algorithm",
        algorithm_arn(REGION, "text-classification"),
        "this task goes with arn:aws:sage",
    ),
    ({}, "algorithm", algorithm_arn(REGION), "it belongs to automated labeling, which is off"),
    ({}, "initial_model", MODEL, "initial_model (InitialActiveLearningModelArn): it belongs to automated"),
    (AUTOMATED, "initial_model", "earlier", "'earlier' is not the ARN of a model, such as arn:aws:sagemaker"),
    (
        AUTOMATED,
        "volume_key",
        "k!",
        "volume_key (VolumeKmsKeyId): 'k!' is not the id, alias or ARN of a KMS key",
    ),
    ({}, "volume_key", KEY, "volume_key (VolumeKmsKeyId): it belongs to automated labeling"),
    (VPC, "security_groups", (), "security_groups (VpcConfig): a VPC takes both subnets and"),
    (VPC, "subnets", (), "subnets (VpcConfig): a VPC takes both"),
    (VPC, "subnets", tuple(f"subnet-{n}" for n in range(17)), "subnets (Subnets): 17 are given, at most 16"),
    (VPC, "security_groups", ("sg_1",), "security_groups (SecurityGroupIds): 'sg_1' is no id"),
    (STREAMING, "input_topic", "topic", "'topic' is not the ARN of an SNS topic"),
    (STREAMING, "input_topic", f"{TOPIC}.fifo", "a FIFO topic cannot be used"),
    (STREAMING, "output_topic", TOPIC, "output_topic (OutputConfig.SnsTopicArn): it is the input topic"),
    (
        STREAMING,
        "output_topic",
        OUT_TOPIC.replace(REGION, "eu-west-1"),
        "it is in eu-west-1 and the job in us-",
    ),
    (STREAMING, "max_labeled", 10, "a streaming job ignores stopping conditions"),
    (STREAMING, "max_percentage", 10, "max_percentage (MaxPercentageOfInputDatasetLabeled): a streaming job"),
    (STREAMING, "automated", True, "automated (LabelingJobAlgorithmsConfig): a streaming job cannot label"),
    (VERIFICATION, "audited", "", "verification needs the attribute whose labels are looked at"),
    (VERIFICATION, "attribute", "bin", "'bin' is what is being audited; choose"),
    ({}, "audited", "bin", "audited (LabelAttributeName): only verification and adjustment look at earlier"),
    ({}, "wokers", 3, "Extra inputs are not permitted"),
    ({}, "task", "segmentation", "'single', 'multi', 'custom', 'verification' or 'adjustment'"),
]


class Counted:
    """Clients of an account, and every request that left them."""

    def __init__(self, aws: Aws) -> None:
        self.aws = aws
        self.sent: list[str] = []
        for client in (aws.sagemaker, aws.s3):
            client.meta.events.register("before-send", self._count)

    def _count(self, event_name: str, **_: Any) -> None:
        self.sent.append(event_name)


@pytest.fixture(scope="module")
def counted(gtlabel_server: Address) -> Counted:
    return Counted(clients(gtlabel_server))


@pytest.mark.parametrize(
    ("others", "field", "value", "sentence"),
    WRONG,
    ids=[f"{number}-{row[1]}" for number, row in enumerate(WRONG, start=1)],
)
def test_a_wrong_request_is_refused_in_a_sentence_and_nothing_is_sent(
    counted: Counted, others: dict[str, Any], field: str, value: Any, sentence: str
) -> None:
    with pytest.raises((RequestError, ValidationError)) as refusal:
        create_labeling_job(counted.aws.sagemaker, request(**{**others, field: value}))
    assert sentence in str(refusal.value)
    if isinstance(refusal.value, RequestError):
        assert all("\n" not in problem for problem in refusal.value.problems)
    assert counted.sent == []


def test_each_is_refused_for_that_field_alone() -> None:
    assert len(WRONG) >= 40
    for others, *_ in WRONG:
        assert request(**others).problems() == []


def test_refused_requests_leave_no_job_behind(gtlabel_aws: Aws) -> None:
    for others, field, value, _ in WRONG:
        with pytest.raises((RequestError, ValidationError)):
            create_labeling_job(gtlabel_aws.sagemaker, request(**{**others, field: value}))
    assert gtlabel_aws.sagemaker.list_labeling_jobs()["LabelingJobSummaryList"] == []


def test_all_that_is_wrong_is_said_at_once() -> None:
    wrong = request(name="a_b", workers_per_image=12, keywords=("!",), tags={"aws:x": ""}, max_labeled=0)
    with pytest.raises(RequestError) as refusal:
        wrong.to_boto()
    assert refusal.value.operation == "CreateLabelingJob"
    fields = [problem.partition(" ")[0] for problem in refusal.value.problems]
    assert fields == ["name", "workers_per_image", "max_labeled", "keywords", "tags"]


# --- our rules and the service model


_text = st.text(max_size=40) | st.sampled_from(["", "a", "a-b", "x" * 130, "a\u2028b", "ü", "source-ref"])
_arn = st.sampled_from([ROLE, TEAM, VENDOR, PUBLIC, TOPIC, OUT_TOPIC, MODEL, KEY, LAMBDA, "arn:x", ""])
_uri = st.sampled_from(["s3://trash/a", "s3://trash/b.liquid", "s3://trash/", "s3://trash/" + "x" * 1014])
_number = st.integers(-1, 30) | st.sampled_from([59, 60, 100, 101, 1_000, 5_000, 5_001, 28_800, 2_592_001])
_ids = st.lists(st.sampled_from(["sg-1", "subnet-1", "x_y", "x" * 33]), max_size=18).map(tuple)
_anything = st.fixed_dictionaries(
    {},
    optional={
        "name": _text,
        "attribute": _text,
        "task": st.sampled_from(list(Task)),
        "manifest": st.none() | _uri,
        "classes": st.none() | _uri,
        "template": _uri,
        "output": _uri,
        "role": _arn | _text,
        "team": _arn | _text.map(lambda text: TEAM + text),
        "region": st.sampled_from([REGION, "eu-west-3", ""]),
        "title": _text,
        "description": _text,
        "keywords": st.lists(_text, max_size=6).map(tuple),
        "workers_per_image": _number,
        "task_time_limit": _number,
        "availability": _number,
        "max_concurrent": _number,
        "pre_function": st.none() | _arn,
        "consolidation_function": st.none() | _arn | _text.map(lambda text: LAMBDA + text),
        "price": st.none() | st.sampled_from([Decimal("0.012"), Decimal("1.2"), Decimal("0.5")]),
        "max_labeled": st.none() | _number,
        "max_percentage": st.none() | _number,
        "output_key": _arn | _text,
        "input_topic": st.none() | _arn,
        "output_topic": st.none() | _arn,
        "automated": st.booleans(),
        "algorithm": _arn,
        "initial_model": _arn | _text.map(lambda text: MODEL + text),
        "volume_key": _arn | _text,
        "subnets": _ids,
        "security_groups": _ids,
        "content_classifiers": st.lists(
            st.sampled_from([*rules.CONTENT_CLASSIFIERS, "FreeOfCats"]), max_size=3
        ).map(tuple),
        "tags": st.dictionaries(_text, _text, max_size=3),
        "audited": _text,
        "force": st.booleans(),
    },
)


def likely(anything: dict[str, Any]) -> Iterator[LabelingJobRequest]:
    """A request with all of it, and one for each field of it alone, most of which are right otherwise."""
    for fields in (anything, *({name: value} for name, value in anything.items())):
        yield request(**fields)


@settings(max_examples=150, deadline=None)
@given(_anything)
def test_what_our_rules_pass_the_service_model_passes(anything: dict[str, Any]) -> None:
    for asked in likely(anything):
        if not rules.problems(asked):
            assert check_request("sagemaker", "CreateLabelingJob", dict(asked.to_boto())) == []


@settings(max_examples=100, deadline=None)
@given(_anything)
def test_what_was_compiled_can_be_read_back(anything: dict[str, Any]) -> None:
    for asked in likely(anything):
        if not asked.problems():
            sent = asked.to_boto()
            again = LabelingJobRequest.from_boto(sent, asked.region, force=asked.force)
            assert again.to_boto() == sent
