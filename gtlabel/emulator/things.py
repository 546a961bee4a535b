"""What IoT knows of an account: its things, its thing groups, who is in which, and jobs.

IoT is moto's. It is asked without a request, for every device asks several times a second for work. A
deployment is an IoT job, and there are clients that look at it as one.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Protocol

from gtlabel.emulator.api import Context
from gtlabel.emulator.jobdocument import document_of

# The states of a deployment as its job has them:
# https://docs.aws.amazon.com/greengrass/v2/developerguide/check-deployment-status.html
_JOB_STATES = {
    "ACTIVE": "IN_PROGRESS",
    "COMPLETED": "COMPLETED",
    "FAILED": "COMPLETED",
    "CANCELED": "CANCELED",
    "INACTIVE": "CANCELED",
}
_NOT_SAID: dict[str, Any] = {
    "document_source": "",
    "description": "",
    "presigned_url_config": {},
    "document_parameters": {},
    "job_execution_retry_config": {},
    "scheduling_config": {},
}


class Things(Protocol):
    """Things and thing groups of an account."""

    def has_thing(self, context: Context, thing: str) -> bool:
        """Whether there is a thing of that name."""

    def has_group(self, context: Context, group: str) -> bool:
        """Whether there is a thing group of that name."""

    def members(self, context: Context, group: str) -> list[str]:
        """The things in a group and in the groups below it; none if there is no such group."""

    def groups_of(self, context: Context, thing: str) -> list[str]:
        """The groups that a thing is in, and the groups above those."""

    def note_job(self, context: Context, deployment: Mapping[str, Any]) -> None:
        """Take down that a deployment's job is there, and how it stands."""

    def note_execution(
        self, context: Context, deployment: Mapping[str, Any], execution: Mapping[str, Any]
    ) -> None:
        """Take down how a deployment's job goes on one thing."""


class IotThings:
    """The things that moto's IoT has."""

    def has_thing(self, context: Context, thing: str) -> bool:
        """Whether there is a thing of that name."""
        return context.arn("iot", f"thing/{thing}") in _iot(context).things

    def has_group(self, context: Context, group: str) -> bool:
        """Whether there is a thing group of that name."""
        return context.arn("iot", f"thinggroup/{group}") in _iot(context).thing_groups

    def members(self, context: Context, group: str) -> list[str]:
        """The things in a group and in the groups below it; none if there is no such group."""
        inside = (found for found in _groups(context) if group in _up_from(found))
        # Whoever joins meanwhile changes what is looked at, for IoT answers in other threads.
        things = (thing for found in inside for thing in list(found.things.values()))
        return list(dict.fromkeys(thing.thing_name for thing in things))

    def groups_of(self, context: Context, thing: str) -> list[str]:
        """The groups that a thing is in, and the groups above those."""
        arn = context.arn("iot", f"thing/{thing}")
        inside = (found for found in _groups(context) if arn in found.things)
        return list(dict.fromkeys(name for found in inside for name in _up_from(found)))

    def note_job(self, context: Context, deployment: Mapping[str, Any]) -> None:
        """Take down that a deployment's job is there, and how it stands."""
        _job(context, deployment).status = _JOB_STATES[deployment["status"]]

    def note_execution(
        self, context: Context, deployment: Mapping[str, Any], execution: Mapping[str, Any]
    ) -> None:
        """Take down how a deployment's job goes on one thing."""
        iot, job, thing = _iot(context), deployment["job"], execution["thing"]
        made = _job(context, deployment)
        if (job, thing) not in iot.job_executions:
            # moto makes executions with a job, and for its targets alone.
            _make(context, deployment, [context.arn("iot", f"thing/{thing}")])
            iot.jobs[job] = made
        row = iot.job_executions[job, thing]
        row.status, row.execution_number = execution["status"], 1
        row.queued_at = datetime.fromisoformat(execution["created"])
        row.last_updated_at = datetime.fromisoformat(execution["modified"])
        row.started_at = datetime.fromisoformat(execution.get("started", execution["modified"]))
        row.status_details_map = _details(execution)


def assumptions() -> Iterator[tuple[str, bool]]:
    """What this leans on in moto, and whether it is so."""
    iot = _iot(Context())
    yield (
        "IoTBackend has things and thing_groups by ARN, jobs by id, job_executions by job and thing",
        {"things", "thing_groups", "jobs", "job_executions"} <= set(vars(iot)),
    )
    names = ("job_id", "targets", "document", "target_selection", *_NOT_SAID)
    yield (
        "IoTBackend.create_job(job_id, targets, document, ...) makes an execution for each target",
        set(names) <= set(inspect.signature(iot.create_job).parameters),
    )


def _job(context: Context, deployment: Mapping[str, Any]) -> Any:
    iot = _iot(context)
    if deployment["job"] not in iot.jobs:
        _make(context, deployment, [])
        iot.jobs[deployment["job"]].targets = [deployment["request"]["targetArn"]]
    return iot.jobs[deployment["job"]]


def _make(context: Context, deployment: Mapping[str, Any], targets: list[str]) -> None:
    request = deployment["request"]
    settings = request.get("iotJobConfiguration", {})
    group = ":thinggroup/" in request["targetArn"]
    _iot(context).create_job(
        job_id=deployment["job"],
        targets=targets,
        document=json.dumps(document_of(context, deployment)),
        target_selection="CONTINUOUS" if group else "SNAPSHOT",
        job_executions_rollout_config=settings.get("jobExecutionsRolloutConfig", {}),
        abort_config=settings.get("abortConfig", {}),
        timeout_config=settings.get("timeoutConfig", {}),
        **_NOT_SAID,
    )


def _details(execution: Mapping[str, Any]) -> dict[str, str]:
    """What a nucleus adds to the status of its job."""
    found = {
        "detailed-deployment-status": execution.get("detailed"),
        "deployment-failure-cause": execution.get("reason"),
        "deployment-error-stack": ",".join(execution.get("errors", [])),
        "deployment-error-types": ",".join(execution.get("errorTypes", [])),
    }
    return {name: text for name, text in found.items() if text}


def _iot(context: Context) -> Any:
    from gtlabel.emulator.moto import backend

    return backend("iot", context.account, context.region)


def _groups(context: Context) -> list[Any]:
    return list(_iot(context).thing_groups.values())


def _up_from(group: Any) -> list[str]:
    """The names of a group and of those above it."""
    above = group.metadata.get("rootToParentThingGroups", [])
    return [group.thing_group_name, *(parent["groupName"] for parent in above)]
