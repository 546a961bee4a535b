"""What each field of a labeling job may hold, taken by itself: lengths, ranges, letters.

The figures are those of the service model and of its manual (contract/ground-truth.md 2.1 and 2.5); a test
holds them against the model. What fields demand of each other is in `gtlabel.labeling.rules`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gtlabel.labeling.inputs import MAX_IMAGES

if TYPE_CHECKING:
    from gtlabel.labeling.request import LabelingJobRequest

MAX_JOB_NAME = 63
MAX_AVAILABILITY = 2_592_000
# A string of these ends a line in the service's regular expressions, which are Java's.
_LINE_ENDS = re.compile("[\n\r\u0085\u2028\u2029]")
_CONTROL = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd]")


@dataclass(frozen=True, slots=True)
class _Number:
    field: str
    member: str
    low: int
    high: int | None
    why: str


@dataclass(frozen=True, slots=True)
class _Text:
    field: str
    member: str
    longest: int
    pattern: re.Pattern[str]
    rule: str
    example: str = ""


_NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9])*")
_NAME_RULE = "must be letters, digits and hyphens, with a letter or digit first and last"
_TOPIC = re.compile(r"arn:aws[a-z\-]*:sns:[a-z0-9\-]*:[0-9]{12}:[a-zA-Z0-9_.-]+")
_TOPIC_RULE = "is not the ARN of an SNS topic"
_FUNCTION = re.compile(r"arn:aws[a-z\-]*:lambda:[a-z0-9\-]*:[0-9]{12}:function:[^\n\r\u0085\u2028\u2029]*")
_KEY = re.compile(r"[a-zA-Z0-9:/_-]*")
_KEY_RULE = "is not the id, alias or ARN of a KMS key"

_NUMBERS = (
    _Number(
        "workers_per_image", "NumberOfHumanWorkersPerDataObject", 1, 9, "the people who look at one image"
    ),
    _Number(
        "task_time_limit", "TaskTimeLimitInSeconds", 30, 28_800, "the seconds a worker has for one image"
    ),
    _Number(
        "availability",
        "TaskAvailabilityLifetimeInSeconds",
        60,
        MAX_AVAILABILITY,
        "the seconds an image is offered to workers",
    ),
    _Number(
        "max_concurrent", "MaxConcurrentTaskCount", 1, 5_000, "the images that are out with workers at once"
    ),
    _Number("max_labeled", "MaxHumanLabeledObjectCount", 1, None, "the labeled images that stop the job"),
    _Number(
        "max_percentage",
        "MaxPercentageOfInputDatasetLabeled",
        1,
        100,
        "the percent of labeled images that stop the job",
    ),
    _Number("images", "ManifestS3Uri", 1, MAX_IMAGES, "the images in the manifest of one job"),
)

_TEXTS = (
    _Text("name", "LabelingJobName", MAX_JOB_NAME, _NAME, _NAME_RULE),
    _Text("attribute", "LabelAttributeName", 127, _NAME, _NAME_RULE),
    _Text(
        "audited",
        "LabelAttributeName",
        127,
        re.compile(r'[^$"{}%\s][^"{}%\s]*'),
        "cannot be the name of an attribute in a worker page",
    ),
    _Text(
        "role",
        "RoleArn",
        2048,
        re.compile(r"arn:aws[a-z\-]*:iam::\d{12}:role/?[a-zA-Z_0-9+=,.@\-_/]+", re.ASCII),
        "is not the ARN of a role",
        "arn:aws:iam::123456789012:role/NAME",
    ),
    _Text(
        "team",
        "WorkteamArn",
        256,
        re.compile(r"arn:aws[a-z\-]*:sagemaker:[a-z0-9\-]*:[0-9]{12}:workteam/[^\n\r\u0085\u2028\u2029]*"),
        "is not the ARN of a work team",
        "arn:aws:sagemaker:REGION:123456789012:workteam/private-crowd/NAME",
    ),
    _Text("pre_function", "PreHumanTaskLambdaArn", 2048, _FUNCTION, "is not the ARN of a Lambda function"),
    _Text(
        "consolidation_function",
        "AnnotationConsolidationLambdaArn",
        2048,
        _FUNCTION,
        "is not the ARN of a Lambda function",
    ),
    _Text("input_topic", "InputConfig.DataSource.SnsDataSource.SnsTopicArn", 2048, _TOPIC, _TOPIC_RULE),
    _Text("output_topic", "OutputConfig.SnsTopicArn", 2048, _TOPIC, _TOPIC_RULE),
    _Text("output_key", "OutputConfig.KmsKeyId", 2048, _KEY, _KEY_RULE),
    _Text("volume_key", "VolumeKmsKeyId", 2048, _KEY, _KEY_RULE),
    _Text(
        "algorithm",
        "LabelingJobAlgorithmSpecificationArn",
        2048,
        re.compile(r"arn:[^\n\r\u0085\u2028\u2029]*"),
        "is not an ARN",
    ),
    _Text(
        "initial_model",
        "InitialActiveLearningModelArn",
        2048,
        re.compile(r"arn:aws[a-z\-]*:sagemaker:[a-z0-9\-]*:[0-9]{12}:model/[^\n\r\u0085\u2028\u2029]*"),
        "is not the ARN of a model",
        "arn:aws:sagemaker:REGION:123456789012:model/NAME",
    ),
)


def problems(request: LabelingJobRequest) -> Iterator[str]:
    """Every field that holds what the service would refuse, whatever the other fields say."""
    for text in _TEXTS:
        yield from _text_problems(text, getattr(request, text.field))
    for number in _NUMBERS:
        yield from _number_problems(number, getattr(request, number.field))
    yield from _wording_problems(request)
    yield from _keyword_problems(request.keywords)
    yield from _tag_problems(request.tags)
    yield from _address_problems(request)
    yield from _vpc_problems("subnets", "Subnets", request.subnets, 16)
    yield from _vpc_problems("security_groups", "SecurityGroupIds", request.security_groups, 5)


def say(field: str, member: str, sentence: str) -> str:
    """One problem: the field as we spell it, as AWS does, and what is wrong with it."""
    return f"{field} ({member}): {sentence}"


def _text_problems(limit: _Text, value: str | None) -> Iterator[str]:
    # Empty or missing means that the job does without, or that a default takes its place.
    if value is None or (value == "" and limit.field not in ("name", "role", "team")):
        return
    if limit.pattern.fullmatch(value) is None:
        like = f", such as {limit.example}" if limit.example else ""
        yield say(limit.field, limit.member, f"{_cut(value)} {limit.rule}{like}")
    elif len(value) > limit.longest:
        yield say(limit.field, limit.member, _too_long(value, limit.longest))


def _number_problems(limit: _Number, value: int | None) -> Iterator[str]:
    if value is None:
        return
    if value < limit.low or (limit.high is not None and value > limit.high):
        allowed = f"{limit.low:,} to {limit.high:,}" if limit.high is not None else f"{limit.low:,} or more"
        yield say(limit.field, limit.member, f"{value:,} is not within {allowed}, {limit.why}")


def _wording_problems(request: LabelingJobRequest) -> Iterator[str]:
    title, description = request.title, request.description
    if not 1 <= len(title) <= 128:
        yield say("title", "TaskTitle", _too_long(title, 128) if title else "workers need one, it is empty")
    found = _CONTROL.search(title)
    if found:
        yield say(
            "title",
            "TaskTitle",
            f"{found[0]!r} cannot be in it; emoji and control characters are not allowed",
        )
    if not 1 <= len(description) <= 255:
        sentence = _too_long(description, 255) if description else "workers need one, it is empty"
        yield say("description", "TaskDescription", sentence)
    if _LINE_ENDS.search(description):
        yield say("description", "TaskDescription", "it must be one line; put instructions in the template")


def _keyword_problems(keywords: Sequence[str]) -> Iterator[str]:
    if len(keywords) > 5:
        yield say("keywords", "TaskKeywords", f"{len(keywords)} are given, at most 5 are allowed")
    for word in keywords:
        if not 1 <= len(word) <= 30 or not re.fullmatch(r"[A-Za-z0-9]+( [A-Za-z0-9]+)*", word):
            yield say(
                "keywords",
                "TaskKeywords",
                f"{_cut(word)} must be 1 to 30 letters and digits, words parted by one space",
            )


def _tag_problems(tags: dict[str, str]) -> Iterator[str]:
    if len(tags) > 50:
        yield say("tags", "Tags", f"{len(tags)} are given, at most 50 are allowed")
    for key, value in tags.items():
        if not 1 <= len(key) <= 128 or not _fits_tag(key):
            yield say(
                "tags",
                "Tags.Key",
                f"{_cut(key)} must be 1 to 128 letters, digits, spaces and any of _ . : / = + - @",
            )
        # https://docs.aws.amazon.com/tag-editor/latest/userguide/best-practices-and-strats.html
        elif key.lower().startswith("aws:"):
            yield say("tags", "Tags.Key", f"{_cut(key)} starts with 'aws:', which AWS keeps for itself")
        if len(value) > 256 or not _fits_tag(value):
            yield say(
                "tags",
                "Tags.Value",
                f"{_cut(value)} must be up to 256 letters, digits, spaces and any of _ . : / = + - @",
            )


def _fits_tag(text: str) -> bool:
    return all(letter in "_.:/=+-@" or unicodedata.category(letter)[0] in "LZN" for letter in text)


def _address_problems(request: LabelingJobRequest) -> Iterator[str]:
    for field, member, names_object in (
        ("manifest", "ManifestS3Uri", True),
        ("classes", "LabelCategoryConfigS3Uri", True),
        ("template", "UiTemplateS3Uri", True),
        ("output", "S3OutputPath", False),
    ):
        uri = getattr(request, field)
        if uri is None:
            continue
        if len(uri) > 1024:
            yield say(field, member, _too_long(uri, 1024))
        if _LINE_ENDS.search(uri):
            yield say(field, member, f"{_cut(uri)} has a line break in it")
        if names_object and (not uri.key or uri.key.endswith("/")):
            yield say(field, member, f"{uri} is a folder; the job reads one object")


def _vpc_problems(field: str, member: str, ids: Sequence[str], most: int) -> Iterator[str]:
    if len(ids) > most:
        yield say(field, member, f"{len(ids)} are given, at most {most} are allowed")
    for each in ids:
        if not 1 <= len(each) <= 32 or not re.fullmatch(r"[-0-9a-zA-Z]+", each):
            yield say(field, member, f"{_cut(each)} is no id; it has 1 to 32 letters, digits and hyphens")


def _too_long(value: str, longest: int) -> str:
    return f"it has {len(value):,} characters, at most {longest:,} are allowed"


def _cut(value: str) -> str:
    return repr(value if len(value) <= 100 else f"{value[:97]}...")
