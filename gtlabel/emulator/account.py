"""What Greengrass V2 keeps beside deployments: client devices, where cores are reached, the service role.

Shapes from botocore's model; no device here acts on any of it, which on AWS takes the classic nucleus and its
plugins (`contract/deployment.md` section 6).
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from gtlabel.emulator.api import ApiError, Context, Operations
from gtlabel.emulator.deployments import paged, unknown
from gtlabel.emulator.fleet import CORE, Fleet, time_of

_CLIENTS, _CONNECTIVITY, _ROLE = "core-clients", "core-connectivity", "greengrass-role"


@dataclass(frozen=True, slots=True)
class Bookkeeping:
    """The operations on client devices, connectivity information and the service role.

    Args:
        fleet: the core devices.
    """

    fleet: Fleet

    def operations(self) -> Operations:
        """By their names in the service model."""
        return {
            "BatchAssociateClientDeviceWithCoreDevice": self.associate,
            "BatchDisassociateClientDeviceFromCoreDevice": self.disassociate,
            "ListClientDevicesAssociatedWithCoreDevice": self.list_clients,
            "GetConnectivityInfo": self.get_connectivity,
            "UpdateConnectivityInfo": self.update_connectivity,
            "AssociateServiceRoleToAccount": self.associate_role,
            "GetServiceRoleForAccount": self.get_role,
            "DisassociateServiceRoleFromAccount": self.disassociate_role,
        }

    def associate(self, context: Context, params: dict[str, Any]) -> dict[str, Any]:
        """BatchAssociateClientDeviceWithCoreDevice: things that IoT knows; errors for the others."""
        return self._changed(context, params, add=True)

    def disassociate(self, context: Context, params: dict[str, Any]) -> dict[str, Any]:
        """BatchDisassociateClientDeviceFromCoreDevice."""
        return self._changed(context, params, add=False)

    def list_clients(self, context: Context, params: dict[str, Any]) -> dict[str, Any]:
        """ListClientDevicesAssociatedWithCoreDevice."""
        clients = self._clients(context, params["coreDeviceThingName"])
        rows = [
            {"thingName": thing, "associationTimestamp": time_of(since)}
            for thing, since in sorted(clients.items())
        ]
        return paged(rows, params, "associatedClientDevices")

    def get_connectivity(self, context: Context, params: dict[str, Any]) -> dict[str, Any]:
        """GetConnectivityInfo; empty for a thing about which nothing was said."""
        self._check_thing(context, params["thingName"])
        document = self.fleet.shelf.get(context, _CONNECTIVITY, params["thingName"]) or {}
        return {"connectivityInfo": document.get("info", [])}

    def update_connectivity(self, context: Context, params: dict[str, Any]) -> dict[str, Any]:
        """UpdateConnectivityInfo: takes the place of what was said before."""
        self._check_thing(context, params["thingName"])
        version = str(uuid.uuid4())
        document = {"info": params["connectivityInfo"], "version": version}
        self.fleet.shelf.put(context, _CONNECTIVITY, params["thingName"], document)
        return {"version": version}

    def associate_role(self, context: Context, params: dict[str, Any]) -> dict[str, Any]:
        """AssociateServiceRoleToAccount."""
        time = self.fleet.clock().isoformat()
        self.fleet.shelf.put(context, _ROLE, "role", {"role": params["roleArn"], "time": time})
        return {"associatedAt": time}

    def get_role(self, context: Context, _params: dict[str, Any]) -> dict[str, Any]:
        """GetServiceRoleForAccount."""
        document = self.fleet.shelf.get(context, _ROLE, "role")
        if document is None:
            raise unknown("serviceRole", f"of Greengrass in the account {context.account}, {context.region}")
        return {"roleArn": document["role"], "associatedAt": document["time"]}

    def disassociate_role(self, context: Context, _params: dict[str, Any]) -> dict[str, Any]:
        """DisassociateServiceRoleFromAccount."""
        self.fleet.shelf.delete(context, _ROLE, "role")
        return {"disassociatedAt": self.fleet.clock().isoformat()}

    def _changed(self, context: Context, params: dict[str, Any], *, add: bool) -> dict[str, Any]:
        core = params["coreDeviceThingName"]
        things = [entry["thingName"] for entry in params.get("entries", [])]
        errors = []
        with self.fleet.shelf.transaction():
            clients = self._clients(context, core)
            for thing in things:
                there = self.fleet.things.has_thing(context, thing) if add else thing in clients
                if not there:
                    what = "there is no such thing" if add else f"it is no client device of {core}"
                    errors.append(
                        {
                            "thingName": thing,
                            "code": "ResourceNotFoundException",
                            "message": f"{thing}: {what}",
                        }
                    )
                elif add:
                    clients.setdefault(thing, self.fleet.clock().isoformat())
                else:
                    del clients[thing]
            self.fleet.shelf.put(context, _CLIENTS, core, clients)
        return {"errorEntries": errors}

    def _clients(self, context: Context, core: str) -> dict[str, Any]:
        """The client devices of a core device, and since when each is one."""
        if self.fleet.shelf.get(context, CORE, core) is None:
            raise unknown("coreDevice", core)
        return self.fleet.shelf.get(context, _CLIENTS, core) or {}

    def _check_thing(self, context: Context, thing: str) -> None:
        known = self.fleet.shelf.get(context, CORE, thing) is not None
        if not known and not self.fleet.things.has_thing(context, thing):
            raise ApiError(
                "ValidationException", f"there is no thing {thing}", reason="FIELD_VALIDATION_FAILED"
            )
