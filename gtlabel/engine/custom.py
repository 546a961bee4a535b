"""What passes between a job and the functions of its custom workflow, and what every worker page gets.

The events and the answers are those of the developer guide (contract/ground-truth.md 6.2 and 6.3,
https://docs.aws.amazon.com/sagemaker/latest/dg/sms-custom-templates-step3-lambda-requirements.html).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gtlabel.engine.jobs import Job, JobKey, Kind, Task
from gtlabel.engine.output import is_text
from gtlabel.errors import FunctionError
from gtlabel.uris import S3Uri

_VERSION = "2018-10-16"
# The two spellings of AWS's own samples.
_FLAGS = ("isHumanAnnotationRequired", "humanAnnotationRequired")


@dataclass(frozen=True, slots=True)
class TaskInput:
    """What a function made of an object before workers see it.

    Attributes:
        input: what the worker page gets, as JSON.
        asked: whether people are to look at it at all.
    """

    input: str
    asked: bool


@dataclass(frozen=True, slots=True)
class Consolidated:
    """What a function made of the answers about one object: a label, or the reason why there is none."""

    label: Any = None
    metadata: Mapping[str, Any] | None = None
    reason: str = ""


def task_input(task: Task) -> dict[str, Any]:
    """What the worker page of a task finds as `task.input`.

    Where no function made it, the keys of the built-in tasks are there, and a custom page finds the
    record's own beside them (contract/worker-ui.md 2.1).
    """
    if task.input is not None:
        made: dict[str, Any] = json.loads(task.input)
        return made
    return page_input(json.loads(task.line), task.classes, task.kind)


def page_input(record: Mapping[str, Any], classes: Sequence[str], kind: Kind) -> dict[str, Any]:
    """The same for any record, where no function made it."""
    built_in = {
        "taskObject": record.get("source-ref", record.get("source")),
        "labels": list(classes),
        "manifestLine": record,
    }
    return {**built_in, **record} if kind is Kind.CUSTOM else built_in


def function_arn(key: JobKey, name: str) -> str:
    """What a job calls a function."""
    return f"arn:aws:lambda:{key.region}:{key.account}:function:{name}"


def pre_event(job: Job, line: str) -> dict[str, Any]:
    """What the function before a task gets."""
    return {"version": _VERSION, "labelingJobArn": _job_arn(job.key), "dataObject": json.loads(line)}


def read_task_input(name: str, value: Any) -> TaskInput:
    """What that function gave.

    Raises:
        FunctionError: if it is not what the contract asks for.
    """
    if not isinstance(value, Mapping):
        raise FunctionError(name, 'it must return an object with "taskInput"')
    asked = next((value[flag] for flag in _FLAGS if flag in value), True)
    if isinstance(asked, str) and asked.lower() in ("true", "false"):
        asked = asked.lower() == "true"
    if not isinstance(asked, bool):
        raise FunctionError(name, f'"isHumanAnnotationRequired" is {asked!r}; it must be true or false')
    made = value.get("taskInput", None if asked else {})
    if not isinstance(made, Mapping):
        raise FunctionError(name, 'its "taskInput" must be a JSON object')
    text = json.dumps(made, ensure_ascii=False, separators=(",", ":"))
    if not is_text(text):
        raise FunctionError(name, 'its "taskInput" holds half a character, which no file can')
    return TaskInput(text, asked)


def post_event(job: Job, payload: S3Uri) -> dict[str, Any]:
    """What the function after a batch gets: the documented keys, and those that AWS sends besides."""
    request = job.spec.request
    kms_key = request.get("OutputConfig", {}).get("KmsKeyId")
    return {
        "version": _VERSION,
        "labelingJobArn": _job_arn(job.key),
        "labelAttributeName": job.spec.attribute,
        "labelCategories": list(job.classes) or None,
        "roleArn": request.get("RoleArn", ""),
        "outputConfig": str(job.spec.root / "annotations"),
        "maxHumanWorkersPerDataObject": job.spec.workers_per_object,
        "payload": {"s3Uri": str(payload)},
        **({"kmsKeyId": kms_key} if kms_key else {}),
    }


def read_consolidated(job: Job, name: str, value: Any, wanted: Collection[int]) -> dict[int, Consolidated]:
    """What that function gave, by object; an entry that is missing or wrong fails its object alone.

    Raises:
        FunctionError: if it is no list, so that nothing can be made of any of it.
    """
    if not isinstance(value, list):
        raise FunctionError(name, "it must return a list with one entry for each object")
    by_id: dict[Any, list[Any]] = {}
    for entry in value:
        number = entry.get("datasetObjectId") if isinstance(entry, Mapping) else None
        if isinstance(number, str | int):
            by_id.setdefault(str(number), []).append(entry)
    return {number: _consolidated(job.spec.attribute, by_id.get(str(number), [])) for number in wanted}


def unhandled(job: Job, name: str, error: FunctionError) -> str:
    """The words of AWS for a function that failed (contract 11.1, text 2), and what it was."""
    return (
        f"Exception invoking the Lambda function {function_arn(job.key, name)}. LambdaErrorCode: Unhandled. "
        f"Ensure the Lambda function exists, that the role {job.spec.request.get('RoleArn', '')} has "
        f"permissions to invoke it and try your request again. {error}"
    )


def _consolidated(attribute: str, entries: list[Any]) -> Consolidated:
    if len(entries) != 1:
        found = f"{len(entries)} entries" if entries else "no entry"
        return Consolidated(reason=f"the post-annotation function returned {found} for this object")
    annotation = entries[0].get("consolidatedAnnotation")
    content = annotation.get("content") if isinstance(annotation, Mapping) else None
    if not isinstance(content, Mapping) or attribute not in content:
        return Consolidated(
            reason=f"the post-annotation function returned no consolidatedAnnotation.content.{attribute}"
        )
    metadata = content.get(f"{attribute}-metadata")
    if metadata is not None and not isinstance(metadata, Mapping):
        return Consolidated(
            reason=f"the post-annotation function returned {attribute}-metadata that is no object"
        )
    if not is_text(json.dumps([content[attribute], metadata], ensure_ascii=False)):
        return Consolidated(
            reason="the post-annotation function returned half a character, which no file can hold"
        )
    return Consolidated(content[attribute], metadata)


def _job_arn(key: JobKey) -> str:
    # The service writes the name in lower case here (contract 3.1).
    return f"arn:aws:sagemaker:{key.region}:{key.account}:labeling-job/{key.name.lower()}"
