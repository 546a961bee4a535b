"""Requests and results on the wire, judged by botocore's own serializer and parser."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.awsrequest import prepare_request_dict
from botocore.parsers import create_parser
from botocore.serialize import create_serializer
from hypothesis import given, settings
from hypothesis import strategies as st

from gtlabel.awsmodel import check_request, operation_model, refusal
from gtlabel.emulator.api import ApiError, Context
from gtlabel.emulator.protocol import PassOn, Request, ResultError, Wire, context_of

JOB: dict[str, Any] = {
    "LabelingJobName": "trash-bins",
    "LabelAttributeName": "bin",
    "InputConfig": {"DataSource": {"S3DataSource": {"ManifestS3Uri": "s3://trash/in.manifest"}}},
    "OutputConfig": {"S3OutputPath": "s3://trash/out/"},
    "RoleArn": "arn:aws:iam::123456789012:role/gtlabel",
    "HumanTaskConfig": {
        "WorkteamArn": "arn:aws:sagemaker:us-east-1:123456789012:workteam/private-crowd/gtlabel",
        "UiConfig": {"UiTemplateS3Uri": "s3://trash/template.liquid"},
        "TaskTitle": "Which bin?",
        "TaskDescription": "Pick one.",
        "NumberOfHumanWorkersPerDataObject": 3,
        "TaskTimeLimitInSeconds": 300,
    },
}


def job(**changes: Any) -> dict[str, Any]:
    return {**JOB, **changes}


def sent(service: str, operation: str, params: dict[str, Any]) -> Request:
    """The request that botocore would send."""
    model = operation_model(service, operation)
    serializer = create_serializer(model.service_model.metadata["protocol"], include_validation=False)
    parts = serializer.serialize_to_request(params, model)
    prepare_request_dict(parts, f"https://{service}.us-east-1.amazonaws.com")
    body = parts["body"] if isinstance(parts["body"], bytes) else str(parts["body"] or "").encode()
    return Request.of(parts["method"], parts["url"], parts["headers"], body)


def received(service: str, operation: str, status: int, headers: dict[str, str], body: bytes) -> Any:
    """What botocore would hand to its caller."""
    model = operation_model(service, operation)
    parser = create_parser(model.service_model.metadata["protocol"])
    lowered = {name.lower(): value for name, value in headers.items()}
    shape: Any = model.output_shape
    parsed = parser.parse({"status_code": status, "headers": lowered, "body": body}, shape)
    parsed.pop("ResponseMetadata")
    return parsed


def test_a_request_that_aws_would_take_has_no_problems() -> None:
    assert check_request("sagemaker", "CreateLabelingJob", JOB) == []


def test_a_problem_is_told_in_the_words_of_aws() -> None:
    assert check_request("sagemaker", "CreateLabelingJob", job(LabelingJobName="bad name!!")) == [
        "Value 'bad name!!' at 'labelingJobName' failed to satisfy constraint: "
        "Member must satisfy regular expression pattern: [a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}"
    ]


def test_problems_are_counted_and_each_is_named_by_its_path() -> None:
    human = {**JOB["HumanTaskConfig"], "NumberOfHumanWorkersPerDataObject": 10, "TaskTitle": None}
    message = refusal(check_request("sagemaker", "CreateLabelingJob", job(HumanTaskConfig=human)))
    assert message.startswith("2 validation errors detected: ")
    assert (
        "Value null at 'humanTaskConfig.taskTitle' failed to satisfy constraint: Member must not be null"
    ) in message
    assert (
        "Value '10' at 'humanTaskConfig.numberOfHumanWorkersPerDataObject' failed to satisfy constraint: "
        "Member must have value less than or equal to 9"
    ) in message


@pytest.mark.parametrize(
    ("operation", "params", "words"),
    [
        ("CreateLabelingJob", job(Tags=[{"Key": "", "Value": "x"}]), "at 'tags.1.member.key'"),
        ("CreateLabelingJob", job(LabelingJobName="x" * 64), "length less than or equal to 63"),
        ("CreateLabelingJob", job(Wish=1), "Unknown member 'Wish' at 'CreateLabelingJobRequest'"),
        ("CreateLabelingJob", job(LabelingJobName=7), "Member must be of type string"),
        ("ListLabelingJobs", {"SortBy": "Beauty"}, "enum value set: [Name, CreationTime, Status]"),
        ("ListLabelingJobs", {"MaxResults": 101}, "value less than or equal to 100"),
        ("ListLabelingJobs", {"MaxResults": True}, "Member must be of type integer"),
        ("DeleteTags", {"ResourceArn": "arn:aws:x", "TagKeys": ["a" * 129]}, "Value '[aaaa"),
        ("DeleteTags", {"ResourceArn": "arn:aws:x", "TagKeys": []}, "length greater than or equal to 1"),
    ],
)
def test_what_aws_would_refuse_is_refused(operation: str, params: dict[str, Any], words: str) -> None:
    assert words in refusal(check_request("sagemaker", operation, params))


def test_a_value_too_long_in_a_map_is_told_with_all_that_its_values_must_be() -> None:
    problems = check_request("sagemaker", "CreateTrainingJob", {"HyperParameters": {"epochs": "1" * 2501}})
    assert any("Map value must satisfy constraint: [Member must have length" in text for text in problems)


@pytest.mark.parametrize("value", ["Küche", "キッチン", "a b_1.:/=+-@", ""])
def test_letters_of_any_script_may_stand_in_a_tag(value: str) -> None:
    assert check_request("sagemaker", "CreateLabelingJob", job(Tags=[{"Key": "k", "Value": value}])) == []


@pytest.mark.parametrize("value", ["a\nb", "ü\x00", "100%", "<b>"])
def test_what_is_no_letter_may_not_stand_in_a_tag(value: str) -> None:
    assert check_request("sagemaker", "CreateLabelingJob", job(Tags=[{"Key": "k", "Value": value}]))


def values(shape: Any, depth: int = 0) -> st.SearchStrategy[Any]:
    """Values of a shape's type; whether the service would like them is another matter."""
    kind = shape.type_name
    if kind == "structure":
        if depth > 3:
            return st.just({})
        # An empty path segment has no place in a URL, nor has a dot that a client would fold.
        members = {
            name: st.text("abz.:-_ü+% ", max_size=8).map(lambda text: f"a{text}z")
            if member.serialization.get("location") == "uri"
            else values(member, depth + 1)
            for name, member in shape.members.items()
        }
        labels = {name for name in members if shape.members[name].serialization.get("location") == "uri"}
        return st.fixed_dictionaries(
            {name: members[name] for name in labels},
            optional={name: member for name, member in members.items() if name not in labels},
        )
    if kind == "list":
        return st.lists(values(shape.member, depth + 1), min_size=1, max_size=2)
    if kind == "map":
        return st.dictionaries(st.text(max_size=5), values(shape.value, depth + 1), max_size=2)
    if kind == "timestamp":
        return st.integers(0, 4_000_000_000).map(lambda second: datetime.fromtimestamp(second, UTC))
    scalars: dict[str, st.SearchStrategy[Any]] = {
        "string": st.text(st.characters(exclude_categories=["C"]), max_size=8),
        "boolean": st.booleans(),
        "integer": st.integers(-(2**31), 2**31 - 1),
        "long": st.integers(-(2**63), 2**63 - 1),
        "float": st.floats(allow_nan=False, allow_infinity=False, width=32),
        "double": st.floats(allow_nan=False, allow_infinity=False),
        "blob": st.binary(max_size=8),
    }
    return scalars[kind]


REQUESTS = [
    ("sagemaker", "CreateLabelingJob"),
    ("sagemaker", "CreateTrainingJob"),
    ("sagemaker", "ListLabelingJobs"),
    ("greengrassv2", "CreateComponentVersion"),
    ("greengrassv2", "CreateDeployment"),
    ("greengrassv2", "ListComponents"),
    ("greengrassv2", "GetComponent"),
    ("greengrassv2", "TagResource"),
]


@pytest.mark.parametrize(("service", "operation"), REQUESTS)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_what_botocore_sends_is_what_an_operation_gets(service: str, operation: str, data: Any) -> None:
    params = data.draw(values(operation_model(service, operation).input_shape))
    wire = Wire(service)
    request = sent(service, operation, params)
    assert wire.operation(request) == operation
    assert wire.params(operation, request) == params


RESULTS = [
    ("sagemaker", "DescribeLabelingJob"),
    ("sagemaker", "DescribeTrainingJob"),
    ("sagemaker", "ListWorkteams"),
    ("greengrassv2", "GetDeployment"),
    ("greengrassv2", "GetComponent"),
    ("greengrassv2", "GetServiceRoleForAccount"),
]


@pytest.mark.parametrize(("service", "operation"), RESULTS)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_what_an_operation_returns_is_what_botocore_hands_out(
    service: str, operation: str, data: Any
) -> None:
    result = data.draw(values(operation_model(service, operation).output_shape))
    reply = Wire(service).reply(operation, result)
    assert received(service, operation, reply.status, reply.headers, reply.body) == result


def test_an_operation_is_told_region_and_account_and_gets_a_checked_request() -> None:
    seen: list[Any] = []

    def create(context: Context, params: dict[str, Any]) -> dict[str, Any]:
        seen.extend((context, params))
        return {"LabelingJobArn": context.arn("sagemaker", "labeling-job/trash-bins")}

    plain = sent("sagemaker", "CreateLabelingJob", JOB)
    scope = "AWS4-HMAC-SHA256 Credential=me/20261122/eu-west-1/sagemaker/aws4_request, Signature=0"
    request = Request(plain.method, plain.url, {**plain.headers, "authorization": scope}, plain.body)
    reply = Wire("sagemaker").answer(request, {"CreateLabelingJob": create})
    assert reply is not None
    assert reply.status == 200
    assert seen == [Context(region="eu-west-1"), JOB]
    assert context_of(plain) == Context(region="us-east-1")


def test_a_request_that_breaks_the_model_never_reaches_the_operation() -> None:
    def create(_context: Context, _params: dict[str, Any]) -> dict[str, Any]:
        pytest.fail("the operation was called")

    request = sent("sagemaker", "CreateLabelingJob", job(LabelingJobName="-"))
    reply = Wire("sagemaker").answer(request, {"CreateLabelingJob": create})
    assert reply is not None
    error = received("sagemaker", "CreateLabelingJob", reply.status, reply.headers, reply.body)["Error"]
    assert error["Code"] == "ValidationException"
    assert error["Message"].startswith("1 validation error detected: Value '-' at 'labelingJobName'")


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b"\xff", b'{"LabelingJobName": 7}', b'{"Tags": {}}', b'{"Tags": [3]}']
)
def test_a_body_that_is_not_the_right_json_is_an_error_of_the_client(body: bytes) -> None:
    headers = {"X-Amz-Target": "SageMaker.CreateLabelingJob"}
    request = Request.of("POST", "https://api.sagemaker.us-east-1.amazonaws.com/", headers, body)
    reply = Wire("sagemaker").answer(request, {"CreateLabelingJob": lambda _context, _params: {}})
    assert reply is not None
    assert reply.status == 400
    assert reply.headers["x-amzn-ErrorType"] == "SerializationException"


@pytest.mark.parametrize("query", ["maxResults=many", "maxResults=1.5"])
def test_a_query_of_the_wrong_kind_is_an_error_of_the_client(query: str) -> None:
    request = Request.of("GET", f"https://greengrass.aws/greengrass/v2/components?{query}", {}, b"")
    reply = Wire("greengrassv2").answer(request, {"ListComponents": lambda _context, _params: {}})
    assert reply is not None
    assert reply.status == 400


def test_a_modelled_error_has_the_status_and_the_members_of_its_model() -> None:
    def refuse(_context: Context, _params: dict[str, Any]) -> dict[str, Any]:
        raise ApiError("ConflictException", "taken", resourceId="a", resourceType="component")

    request = sent("greengrassv2", "CreateComponentVersion", {"inlineRecipe": b"{}"})
    reply = Wire("greengrassv2").answer(request, {"CreateComponentVersion": refuse})
    assert reply is not None
    assert reply.status == 409
    assert reply.headers["x-amzn-ErrorType"] == "ConflictException"
    parsed = received("greengrassv2", "CreateComponentVersion", reply.status, reply.headers, reply.body)
    assert parsed["Error"] == {"Code": "ConflictException", "Message": "taken"}
    assert b'"resourceId": "a"' in reply.body


def test_an_operation_may_pass_a_request_on() -> None:
    def pass_on(_context: Context, _params: dict[str, Any]) -> dict[str, Any]:
        raise PassOn

    request = sent(
        "sagemaker", "ListTags", {"ResourceArn": "arn:aws:sagemaker:us-east-1:123456789012:model/m"}
    )
    assert Wire("sagemaker").answer(request, {"ListTags": pass_on}) is None
    assert Wire("sagemaker").answer(request, {}) is None


@pytest.mark.parametrize(
    "result",
    [
        {"LabelingJobArn": "arn", "Mood": "good"},
        {"LabelingJobArn": 7},
        ["LabelingJobArn"],
    ],
)
def test_a_result_that_the_model_does_not_know_cannot_pass_a_test(result: Any) -> None:
    with pytest.raises(ResultError, match="CreateLabelingJob does not fit its model"):
        Wire("sagemaker").reply("CreateLabelingJob", result)


def test_a_server_logs_what_the_model_does_not_know_and_sends_the_rest(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.ERROR):
        reply = Wire("sagemaker", strict=False).reply(
            "CreateLabelingJob", {"LabelingJobArn": "arn", "Mood": "good"}
        )
    assert reply.body == b'{"LabelingJobArn": "arn"}'
    assert "has no member 'Mood'" in caplog.text


def test_a_time_without_a_zone_cannot_pass_a_test() -> None:
    with pytest.raises(ResultError, match="no time zone"):
        Wire("sagemaker").reply("DescribeLabelingJob", {"CreationTime": datetime(2026, 1, 1)})
