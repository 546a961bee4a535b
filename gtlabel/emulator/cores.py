"""Core devices as the API shows them: what they last said of themselves, and of their deployments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gtlabel.emulator.api import Context
from gtlabel.emulator.components import KIND
from gtlabel.emulator.dependencies import requirements_of
from gtlabel.emulator.deployments import paged, unknown
from gtlabel.emulator.fleet import CORE, DEPLOYMENT, TAKEN, Fleet, is_group, name_of, time_of


@dataclass(frozen=True, slots=True)
class Cores:
    """The operations on core devices.

    Args:
        fleet: the devices.
    """

    fleet: Fleet

    def list_cores(self, context: Context, params: dict[str, Any]) -> dict[str, Any]:
        """ListCoreDevices: all, or those in a thing group, with a status, with a runtime."""
        cores = self.fleet.shelf.all(context, CORE)
        if "thingGroupArn" in params:
            members = self._members(context, params["thingGroupArn"])
            cores = [core for core in cores if core["thing"] in members]
        rows = [
            row
            for row in map(_core_row, cores)
            if params.get("status") in (None, row["status"])
            and params.get("runtime") in (None, row["runtime"])
        ]
        return paged(rows, params, "coreDevices")

    def get_core(self, context: Context, params: dict[str, Any]) -> dict[str, Any]:
        """GetCoreDevice."""
        core = self._core(context, params["coreDeviceThingName"])
        return {**_core_row(core), "coreVersion": core["version"], "tags": core.get("tags", {})}

    def delete_core(self, context: Context, params: dict[str, Any]) -> dict[str, Any]:
        """DeleteCoreDevice; the device registers again when it comes back, with what it runs."""
        thing = self._core(context, params["coreDeviceThingName"])["thing"]
        self.fleet.shelf.delete(context, CORE, thing)
        return {}

    def list_effective(self, context: Context, params: dict[str, Any]) -> dict[str, Any]:
        """ListEffectiveDeployments: what one device was asked for, the latest word first."""
        thing = params["coreDeviceThingName"]
        self._core(context, thing)
        rows = []
        for execution in self.fleet.of_thing(context, thing):
            document = self.fleet.shelf.get(context, DEPLOYMENT, execution["deployment"])
            if document is not None:
                rows.append(_effective_row(context, document, execution))
        rows.sort(key=lambda row: row["modifiedTimestamp"], reverse=True)
        return paged(rows, params, "effectiveDeployments")

    def list_installed(self, context: Context, params: dict[str, Any]) -> dict[str, Any]:
        """ListInstalledComponents, as the device last reported them; without a filter only the roots."""
        core = self._core(context, params["coreDeviceThingName"])
        sources, needed = self._sources(context, core), self._needed(context, core)
        rows = [
            {
                **_installed_row(core, item, sources.get(item["name"])),
                # What no deployment names came because another component needs it.
                "isRoot": item["name"] in sources or item["name"] not in needed,
            }
            for item in core["components"]
        ]
        if params.get("topologyFilter", "ROOT") == "ROOT":
            rows = [row for row in rows if row["isRoot"]]
        return paged(rows, params, "installedComponents")

    def _sources(self, context: Context, core: Mapping[str, Any]) -> dict[str, str]:
        """The latest deployment that named each component, by the component's name."""
        found: dict[str, str] = {}
        # Deployments that were deleted since are remembered by what the device took of them.
        for record in (self.fleet.shelf.get(context, TAKEN, core["thing"]) or {}).values():
            found |= dict.fromkeys(record["components"], record["deployment"])
        heard = self.fleet.of_thing(context, core["thing"])
        begun = [item for item in heard if "started" in item or item["status"] == "SUCCEEDED"]
        for execution in sorted(begun, key=lambda item: str(item["modified"])):
            document = self.fleet.shelf.get(context, DEPLOYMENT, execution["deployment"])
            components = document["request"].get("components", {}) if document else {}
            found |= dict.fromkeys(components, execution["deployment"])
        return found

    def _needed(self, context: Context, core: Mapping[str, Any]) -> set[str]:
        """The components that others on the device need."""
        found: set[str] = set()
        for item in core["components"]:
            document = self.fleet.shelf.get(context, KIND, f"{item['name']}:{item['version']}")
            found.update(requirements_of(document["recipe"]) if document else ())
        return found

    def _members(self, context: Context, group: str) -> list[str]:
        if group != context.arn("iot", group.split(":", 5)[5]):
            return []
        return self.fleet.things.members(context, name_of(group))

    def _core(self, context: Context, thing: str) -> dict[str, Any]:
        core = self.fleet.shelf.get(context, CORE, thing)
        if core is None:
            raise unknown("coreDevice", thing)
        return core


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


def _effective_row(
    context: Context, document: Mapping[str, Any], execution: Mapping[str, Any]
) -> dict[str, Any]:
    target, status = document["request"]["targetArn"], execution["status"]
    row = {
        "deploymentId": document["id"],
        "deploymentName": document["name"],
        "iotJobId": document["job"],
        "iotJobArn": context.arn("iot", f"job/{document['job']}"),
        "targetArn": target,
        # The same good end has two names:
        # https://docs.aws.amazon.com/greengrass/v2/APIReference/API_EffectiveDeployment.html
        "coreDeviceExecutionStatus": "COMPLETED"
        if status == "SUCCEEDED" and not is_group(target)
        else status,
        "creationTimestamp": time_of(execution["created"]),
        "modifiedTimestamp": time_of(execution["modified"]),
    }
    # A nucleus writes its own word before the reason; after a good end there is nothing but that word.
    words = [word for word in (execution.get("detailed"), execution.get("reason")) if word]
    if words:
        row["reason"] = ": ".join(words)
    errors, types = execution.get("errors", []), execution.get("errorTypes", [])
    if status in ("FAILED", "REJECTED") or errors or types:
        row["statusDetails"] = {"errorStack": errors, "errorTypes": types}
    return row


def _installed_row(core: Mapping[str, Any], item: Mapping[str, Any], source: str | None) -> dict[str, Any]:
    return {
        "componentName": item["name"],
        "componentVersion": item["version"],
        "lifecycleState": item["state"],
        "lifecycleStateDetails": item.get("details") or item["state"],
        "lastStatusChangeTimestamp": time_of(item["changed"]),
        "lastReportedTimestamp": time_of(core["modified"]),
        **({"lastInstallationSource": source} if source else {}),
        "lifecycleStatusCodes": [],
    }
