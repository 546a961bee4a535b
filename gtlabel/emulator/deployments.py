"""Deployments, and what the devices said about them.

A deployment replaces everything on its target. Targets here are things that registered as core devices;
`contract/deployment.md` section 3.1.
"""

from __future__ import annotations

import base64
import binascii
import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from gtlabel.emulator.api import ApiError, Context
from gtlabel.emulator.shelf import Shelf

Clock = Callable[[], datetime]

DEPLOYMENT, CORE, EXECUTION = "deployment", "core-device", "deployment-execution"
ENDED = ("SUCCEEDED", "FAILED", "TIMED_OUT", "CANCELED", "REJECTED", "COMPLETED")
# The API's default is not documented; its maximum is 100.
_PAGE = 50


def now() -> datetime:
    """The time, with its zone."""
    return datetime.now(UTC)


def time_of(text: str) -> datetime:
    """A time from the shelf."""
    return datetime.fromisoformat(text)


def paged(rows: Sequence[Any], params: Mapping[str, Any], key: str) -> dict[str, Any]:
    """The page that was asked for, and the token of the next one if there is more.

    Raises:
        ApiError: if the token is not one of ours.
    """
    start = 0
    if token := params.get("nextToken"):
        try:
            start = int(base64.urlsafe_b64decode(token))
        except (ValueError, binascii.Error):
            raise ApiError("ValidationException", "the nextToken is not valid", reason="OTHER") from None
    end = start + params.get("maxResults", _PAGE)
    page: dict[str, Any] = {key: list(rows[start:end])}
    if end < len(rows):
        page["nextToken"] = base64.urlsafe_b64encode(str(end).encode()).decode()
    return page


@dataclass(frozen=True, slots=True)
class Deployments:
    """Deployments and core devices.

    Args:
        shelf: where they are kept.
        clock: tells the time.
        check_component: raises an `ApiError` for a component version that cannot be deployed.
        ids: makes identifiers.
    """

    shelf: Shelf
    clock: Clock
    check_component: Callable[[Context, str, str], None]
    ids: Callable[[], str] = field(default=lambda: str(uuid.uuid4()))

    def create(self, context: Context, params: dict[str, Any]) -> dict[str, Any]:
        """CreateDeployment: takes the place of the target's deployment before."""
        target = params["targetArn"]
        for name, spec in params.get("components", {}).items():
            _check_configuration(name, spec.get("configurationUpdate", {}))
            self.check_component(context, name, spec["componentVersion"])
        with self.shelf.transaction():
            earlier = self._of_target(context, target)
            token = params.get("clientToken")
            for document in earlier:
                if token and document["token"] == token:
                    return self._started(context, document, params)
            thing = self._thing(context, target)
            for document in earlier:
                self._supersede(context, document, thing)
            document = self._new(params, earlier)
            self.shelf.put(context, DEPLOYMENT, document["id"], document)
            execution = {"deployment": document["id"], "thing": thing, "status": "QUEUED"}
            execution["created"] = execution["modified"] = document["created"]
            self.shelf.put(context, EXECUTION, f"{thing}/{document['id']}", execution)
        return self._started(context, document, params)

    def get(self, context: Context, params: dict[str, Any]) -> dict[str, Any]:
        """GetDeployment."""
        document = self._document(context, params["deploymentId"])
        newest = self._of_target(context, document["request"]["targetArn"])[-1]["id"]
        request = document["request"]
        kept = (
            "components",
            "deploymentPolicies",
            "iotJobConfiguration",
            "parentTargetArn",
        )
        return {
            **_row(document, newest),
            **{key: request[key] for key in kept if key in request},
            "iotJobId": document["job"],
            "iotJobArn": context.arn("iot", f"job/{document['job']}"),
            "tags": document["tags"],
        }

    def list_deployments(self, context: Context, params: dict[str, Any]) -> dict[str, Any]:
        """ListDeployments, the newest first; without `historyFilter` only the latest of each target."""
        newest: dict[str, str] = {}
        found = sorted(self.shelf.all(context, DEPLOYMENT), key=_age)
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
        with self.shelf.transaction():
            document = self._document(context, params["deploymentId"])
            if document["status"] != "ACTIVE":
                raise _conflict(document, f"the deployment is {document['status']} and cannot be canceled")
            document["status"] = "CANCELED"
            self.shelf.put(context, DEPLOYMENT, document["id"], document)
            self._cancel_queued(context, document["id"])
        return {"message": f"the deployment {document['id']} was canceled"}

    def delete(self, context: Context, params: dict[str, Any]) -> dict[str, Any]:
        """DeleteDeployment; an active one must be canceled first."""
        with self.shelf.transaction():
            document = self._document(context, params["deploymentId"])
            if document["status"] == "ACTIVE":
                raise _conflict(document, "the deployment is ACTIVE; cancel it first")
            self.shelf.delete(context, DEPLOYMENT, document["id"])
        return {}

    def list_effective(self, context: Context, params: dict[str, Any]) -> dict[str, Any]:
        """ListEffectiveDeployments: what one device was asked for, the latest word first."""
        thing = self._core(context, params["coreDeviceThingName"])["thing"]
        rows = []
        for execution in self.shelf.all(context, EXECUTION):
            document = self.shelf.get(context, DEPLOYMENT, execution["deployment"])
            if execution["thing"] != thing or document is None:
                continue
            row = {
                "deploymentId": document["id"],
                "deploymentName": document["name"],
                "iotJobId": document["job"],
                "iotJobArn": context.arn("iot", f"job/{document['job']}"),
                "targetArn": document["request"]["targetArn"],
                "coreDeviceExecutionStatus": execution["status"],
                "creationTimestamp": time_of(execution["created"]),
                "modifiedTimestamp": time_of(execution["modified"]),
            }
            if execution.get("reason"):
                row["reason"] = execution["reason"]
                row["statusDetails"] = {
                    "errorStack": execution.get("errors", []),
                    "errorTypes": execution.get("errorTypes", []),
                }
            rows.append(row)
        rows.sort(key=lambda row: row["modifiedTimestamp"], reverse=True)
        return paged(rows, params, "effectiveDeployments")

    def list_cores(self, context: Context, params: dict[str, Any]) -> dict[str, Any]:
        """ListCoreDevices; no thing groups here, so asking for one finds nothing."""
        rows = [
            row
            for row in map(_core_row, self.shelf.all(context, CORE))
            if params.get("status") in (None, row["status"])
            and params.get("runtime") in (None, row["runtime"])
            and "thingGroupArn" not in params
        ]
        return paged(rows, params, "coreDevices")

    def get_core(self, context: Context, params: dict[str, Any]) -> dict[str, Any]:
        """GetCoreDevice."""
        core = self._core(context, params["coreDeviceThingName"])
        return {**_core_row(core), "coreVersion": core["version"], "tags": core.get("tags", {})}

    def delete_core(self, context: Context, params: dict[str, Any]) -> dict[str, Any]:
        """DeleteCoreDevice; the device registers again when it comes back."""
        thing = self._core(context, params["coreDeviceThingName"])["thing"]
        self.shelf.delete(context, CORE, thing)
        return {}

    def list_installed(self, context: Context, params: dict[str, Any]) -> dict[str, Any]:
        """ListInstalledComponents, as the device last reported them; all are roots here."""
        core = self._core(context, params["coreDeviceThingName"])
        rows = [
            {
                "componentName": item["name"],
                "componentVersion": item["version"],
                "lifecycleState": item["state"],
                "lifecycleStateDetails": item.get("details") or item["state"],
                "isRoot": True,
                "lastStatusChangeTimestamp": time_of(item["changed"]),
                "lastReportedTimestamp": time_of(core["modified"]),
                "lastInstallationSource": core["thing"],
                "lifecycleStatusCodes": [],
            }
            for item in core["components"]
        ]
        return paged(rows, params, "installedComponents")

    def _new(self, params: Mapping[str, Any], earlier: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        identifier = self.ids()
        return {
            "id": identifier,
            "name": params.get("deploymentName", f"Deployment for {params['targetArn'].rpartition('/')[2]}"),
            "job": self.ids(),
            "token": params.get("clientToken"),
            "tags": params.get("tags", {}),
            "request": {key: value for key, value in params.items() if key not in ("clientToken", "tags")},
            "status": "ACTIVE",
            "created": self.clock().isoformat(),
            "revision": earlier[-1]["revision"] + 1 if earlier else 1,
        }

    def _started(
        self, context: Context, document: Mapping[str, Any], params: Mapping[str, Any]
    ) -> dict[str, Any]:
        request = {key: value for key, value in params.items() if key not in ("clientToken", "tags")}
        if request != document["request"]:
            raise _conflict(document, "the clientToken was used before for another deployment")
        job = document["job"]
        return {
            "deploymentId": document["id"],
            "iotJobId": job,
            "iotJobArn": context.arn("iot", f"job/{job}"),
        }

    def _of_target(self, context: Context, target: str) -> list[dict[str, Any]]:
        """The deployments of a target, the oldest first."""
        found = [
            item for item in self.shelf.all(context, DEPLOYMENT) if item["request"]["targetArn"] == target
        ]
        return sorted(found, key=_age)

    def _thing(self, context: Context, target: str) -> str:
        resource = target.split(":", 5)[5]
        kind, _, name = resource.partition("/")
        if target != context.arn("iot", resource) or kind != "thing" or not self._known(context, name):
            raise ApiError(
                "ResourceNotFoundException",
                f"the target {target} does not exist; here, targets are things whose device has registered",
                404,
                resourceId=target,
                resourceType=kind,
            )
        return name

    def _known(self, context: Context, thing: str) -> bool:
        return self.shelf.get(context, CORE, thing) is not None

    def _supersede(self, context: Context, document: dict[str, Any], thing: str) -> None:
        if document["status"] == "ACTIVE":
            document["status"] = "INACTIVE"
            self.shelf.put(context, DEPLOYMENT, document["id"], document)
        name = f"{thing}/{document['id']}"
        execution = self.shelf.get(context, EXECUTION, name)
        if execution and execution["status"] not in ENDED:
            execution.update(status="CANCELED", modified=self.clock().isoformat(), reason="superseded")
            self.shelf.put(context, EXECUTION, name, execution)

    def _cancel_queued(self, context: Context, deployment: str) -> None:
        for execution in self.shelf.all(context, EXECUTION):
            if execution["deployment"] == deployment and execution["status"] == "QUEUED":
                execution.update(status="CANCELED", modified=self.clock().isoformat(), reason="canceled")
                self.shelf.put(context, EXECUTION, f"{execution['thing']}/{deployment}", execution)

    def _document(self, context: Context, identifier: str) -> dict[str, Any]:
        document = self.shelf.get(context, DEPLOYMENT, identifier)
        if document is None:
            raise _unknown("deployment", identifier)
        return document

    def _core(self, context: Context, thing: str) -> dict[str, Any]:
        core = self.shelf.get(context, CORE, thing)
        if core is None:
            raise _unknown("coreDevice", thing)
        return core


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
        place = f"components.{name}.configurationUpdate"
        fields = [{"name": place, "message": problem}]
        raise ApiError(
            "ValidationException", f"{place}: {problem}", reason="FIELD_VALIDATION_FAILED", fields=fields
        )


def _age(document: Mapping[str, Any]) -> tuple[str, int]:
    return document["created"], document["revision"]


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


def _core_row(core: Mapping[str, Any]) -> dict[str, Any]:
    broken = any(item["state"] == "BROKEN" for item in core["components"])
    return {
        "coreDeviceThingName": core["thing"],
        "status": "UNHEALTHY" if broken else "HEALTHY",
        "lastStatusUpdateTimestamp": time_of(core["modified"]),
        "platform": core["platform"]["os"],
        "architecture": core["platform"]["architecture"],
        "runtime": core["platform"]["runtime"],
    }


def _unknown(kind: str, name: str) -> ApiError:
    message = f"there is no {kind} {name}"
    return ApiError("ResourceNotFoundException", message, 404, resourceId=name, resourceType=kind)


def _conflict(document: Mapping[str, Any], message: str) -> ApiError:
    return ApiError("ConflictException", message, 409, resourceId=document["id"], resourceType="deployment")
