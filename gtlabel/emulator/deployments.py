"""Deployments as the API shows them: made, looked at, canceled.

A deployment replaces everything that its target, a thing or a thing group, had by the one before;
`contract/deployment.md` section 3.1.
"""

from __future__ import annotations

import base64
import json
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gtlabel.emulator.api import ApiError, Context
from gtlabel.emulator.fleet import DEPLOYMENT, Fleet, age, is_group, name_of, time_of

# The API's default is not documented; its maximum is 100.
_PAGE = 50
_LEAST_FACTOR, _WHOLE, _MOST_MINUTES = 1.1, 100, 7 * 24 * 60


def paged(rows: Sequence[Any], params: Mapping[str, Any], key: str) -> dict[str, Any]:
    """The page that was asked for, and the token of the next one if there is more.

    Raises:
        ApiError: if the token is not one that this list gave out.
    """
    start = 0
    if token := params.get("nextToken"):
        try:
            of, _, text = base64.b64decode(token, validate=True).decode("ascii").partition(" ")
        except ValueError:
            of, text = "", ""
        if of != key or not re.fullmatch("[0-9]{1,9}", text):
            raise ApiError(
                "ValidationException", f"the nextToken is none of the list of {key}", reason="OTHER"
            )
        start = int(text)
    end = start + params.get("maxResults", _PAGE)
    page: dict[str, Any] = {key: list(rows[start:end])}
    if end < len(rows):
        page["nextToken"] = base64.b64encode(f"{key} {end}".encode()).decode()
    return page


@dataclass(frozen=True, slots=True)
class Deployments:
    """The operations on deployments.

    Args:
        fleet: the devices that deployments are for.
        check_component: raises an `ApiError` for a component version that cannot be deployed.
        ids: makes identifiers.
    """

    fleet: Fleet
    check_component: Callable[[Context, str, str], None]
    ids: Callable[[], str] = field(default=lambda: str(uuid.uuid4()))

    def create(self, context: Context, params: dict[str, Any]) -> dict[str, Any]:
        """CreateDeployment: takes the place of the target's deployment before."""
        target = params["targetArn"]
        with self.fleet.shelf.transaction():
            token = params.get("clientToken")
            for document in self.fleet.shelf.all(context, DEPLOYMENT):
                # A retry is answered before it is checked: what was there the first time may have gone.
                if token and document["token"] == token:
                    return _started(context, document, params)
            for name, spec in params.get("components", {}).items():
                _check_configuration(name, spec.get("configurationUpdate", {}))
                self.check_component(context, name, spec["componentVersion"])
            _check_job(params.get("iotJobConfiguration", {}))
            self._check_target(context, target)
            if "parentTargetArn" in params:
                self._check_target(context, params["parentTargetArn"])
            document = self._new(params, self.fleet.next_revision(context, target))
            self.fleet.begin(context, document)
        return _started(context, document, params)

    def get(self, context: Context, params: dict[str, Any]) -> dict[str, Any]:
        """GetDeployment."""
        self.fleet.turn(context)
        document = self._document(context, params["deploymentId"])
        request = document["request"]
        newest = self.fleet.of_target(context, request["targetArn"])[-1]["id"]
        kept = ("components", "deploymentPolicies", "iotJobConfiguration", "parentTargetArn")
        return {
            **_row(document, newest),
            **{key: request[key] for key in kept if key in request},
            "iotJobId": document["job"],
            "iotJobArn": context.arn("iot", f"job/{document['job']}"),
            "tags": document["tags"],
        }

    def list_deployments(self, context: Context, params: dict[str, Any]) -> dict[str, Any]:
        """ListDeployments, the newest first; without `historyFilter` only the latest of each target."""
        self.fleet.turn(context)
        newest: dict[str, str] = {}
        found = sorted(self.fleet.shelf.all(context, DEPLOYMENT), key=age)
        for document in found:
            newest[document["request"]["targetArn"]] = document["id"]
        rows = [
            _row(document, newest[document["request"]["targetArn"]])
            for document in reversed(found)
            if params.get("targetArn") in (None, document["request"]["targetArn"])
            and params.get("parentTargetArn") in (None, document["request"].get("parentTargetArn"))
        ]
        if params.get("historyFilter", "LATEST_ONLY") == "LATEST_ONLY":
            rows = [row for row in rows if row["isLatestForTarget"]]
        return paged(rows, params, "deployments")

    def cancel(self, context: Context, params: dict[str, Any]) -> dict[str, Any]:
        """CancelDeployment: devices that have begun finish it, the others never hear of it."""
        with self.fleet.shelf.transaction():
            self.fleet.turn(context)
            document = self._document(context, params["deploymentId"])
            if document["status"] != "ACTIVE":
                raise _conflict(document, f"the deployment is {document['status']} and cannot be canceled")
            document["status"] = "CANCELED"
            self.fleet.keep(context, document)
            self.fleet.cancel_open(context, document["id"], "canceled")
        return {"message": f"the deployment {document['id']} was canceled"}

    def delete(self, context: Context, params: dict[str, Any]) -> dict[str, Any]:
        """DeleteDeployment; an active one must be canceled first."""
        with self.fleet.shelf.transaction():
            self.fleet.turn(context)
            document = self._document(context, params["deploymentId"])
            if document["status"] == "ACTIVE":
                raise _conflict(document, "the deployment is ACTIVE; cancel it first")
            self.fleet.forget(context, document["id"])
        return {}

    def _new(self, params: Mapping[str, Any], revision: int) -> dict[str, Any]:
        return {
            "id": self.ids(),
            "name": params.get("deploymentName", f"Deployment for {name_of(params['targetArn'])}"),
            "job": self.ids(),
            "token": params.get("clientToken"),
            "tags": params.get("tags", {}),
            "request": _request(params),
            "status": "ACTIVE",
            "created": self.fleet.clock().isoformat(),
            "revision": revision,
        }

    def _check_target(self, context: Context, target: str) -> None:
        resource = target.split(":", 5)[5]
        if target != context.arn("iot", resource):
            why = f"it is not of the account {context.account} in {context.region}"
        elif self.fleet.knows(context, target):
            return
        elif is_group(target):
            why = "there is no thing group of that name; create it in IoT and add things to it"
        else:
            why = "there is no thing of that name; create it in IoT, or start its device"
        raise ApiError(
            "ResourceNotFoundException",
            f"the target {target} does not exist: {why}",
            404,
            resourceId=target,
            resourceType=resource.partition("/")[0],
        )

    def _document(self, context: Context, identifier: str) -> dict[str, Any]:
        document = self.fleet.shelf.get(context, DEPLOYMENT, identifier)
        if document is None:
            raise unknown("deployment", identifier)
        return document


def unknown(kind: str, name: str) -> ApiError:
    """The error about something that is not there.

    Args:
        kind: as the API writes it, such as `coreDevice`.
        name: which.
    """
    hint = "; a device is one once it has registered" if kind == "coreDevice" else ""
    words = re.sub("([A-Z])", lambda letter: f" {letter[0].lower()}", kind)
    message = f"there is no {words} {name}{hint}"
    return ApiError("ResourceNotFoundException", message, 404, resourceId=name, resourceType=kind)


def _request(params: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in params.items() if key not in ("clientToken", "tags")}


def _started(context: Context, document: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, Any]:
    if _request(params) != document["request"]:
        raise _conflict(document, "the clientToken was used before for another deployment")
    job = document["job"]
    return {
        "deploymentId": document["id"],
        "iotJobId": job,
        "iotJobArn": context.arn("iot", f"job/{job}"),
    }


def _check_configuration(name: str, update: Mapping[str, Any]) -> None:
    """The merge is a text that holds a JSON object, and resets are JSON pointers."""
    problem = ""
    if "merge" in update:
        try:
            if not isinstance(json.loads(update["merge"]), dict):
                problem = "merge must hold a JSON object"
        except ValueError as error:
            problem = f"merge is not JSON: {error}"
    for pointer in update.get("reset", []):
        if pointer and not pointer.startswith("/"):
            problem = f"reset holds {pointer!r}, which is no JSON pointer"
    if problem:
        raise invalid(f"components.{name}.configurationUpdate", problem)


def _check_job(configuration: Mapping[str, Any]) -> None:
    """What botocore's model lets through of an IoT job's settings, and IoT does not.

    https://docs.aws.amazon.com/iot/latest/apireference/API_ExponentialRolloutRate.html and its neighbors.
    """
    rate = configuration.get("jobExecutionsRolloutConfig", {}).get("exponentialRate")
    if rate is not None:
        where = "iotJobConfiguration.jobExecutionsRolloutConfig.exponentialRate"
        factor = rate["incrementFactor"]
        if factor < _LEAST_FACTOR or round(factor, 1) != factor:
            raise invalid(f"{where}.incrementFactor", f"it is 1.1 to 5 with one decimal, not {factor:g}")
        if len(rate["rateIncreaseCriteria"]) != 1:
            message = "it is either numberOfNotifiedThings or numberOfSucceededThings"
            raise invalid(f"{where}.rateIncreaseCriteria", message)
    for criterion in configuration.get("abortConfig", {}).get("criteriaList", []):
        share = criterion["thresholdPercentage"]
        if not 0 < share <= _WHOLE:
            where = "iotJobConfiguration.abortConfig.criteriaList.thresholdPercentage"
            raise invalid(where, f"it is above 0 and at most 100, not {share:g}")
    minutes = configuration.get("timeoutConfig", {}).get("inProgressTimeoutInMinutes", 1)
    if not 1 <= minutes <= _MOST_MINUTES:
        where = "iotJobConfiguration.timeoutConfig.inProgressTimeoutInMinutes"
        raise invalid(where, f"it is 1 to {_MOST_MINUTES}, which are seven days, not {minutes}")


def invalid(field: str, problem: str) -> ApiError:
    """The error about a parameter that cannot be so."""
    return ApiError(
        "ValidationException",
        f"{field}: {problem}",
        reason="FIELD_VALIDATION_FAILED",
        fields=[{"name": field, "message": problem}],
    )


def _row(document: Mapping[str, Any], newest: str) -> dict[str, Any]:
    request = document["request"]
    row = {
        "targetArn": request["targetArn"],
        "revisionId": str(document["revision"]),
        "deploymentId": document["id"],
        "deploymentName": document["name"],
        "creationTimestamp": time_of(document["created"]),
        "deploymentStatus": document["status"],
        "isLatestForTarget": document["id"] == newest,
    }
    if "parentTargetArn" in request:
        row["parentTargetArn"] = request["parentTargetArn"]
    return row


def _conflict(document: Mapping[str, Any], message: str) -> ApiError:
    return ApiError("ConflictException", message, 409, resourceId=document["id"], resourceType="deployment")
