"""The document of a deployment's IoT job: what a real core reads, where our devices ask for `next`.

Its keys are a nucleus's own and differ from the API's: `version` instead of `componentVersion`, a `merge`
that is an object and no text, `timeout` instead of `timeoutInSeconds`. `contract/deployment.md` section 5c,
and the documents under `src/integrationtests/resources` of
https://github.com/aws-greengrass/aws-greengrass-nucleus.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from gtlabel.emulator.api import Context

# https://docs.aws.amazon.com/greengrass/v2/developerguide/create-deployments.html
_POLICIES: dict[str, Any] = {
    "failureHandlingPolicy": "ROLLBACK",
    "componentUpdatePolicy": {"timeoutInSeconds": 60, "action": "NOTIFY_COMPONENTS"},
    "configurationValidationPolicy": {"timeoutInSeconds": 30},
}
_NAMES = {"timeoutInSeconds": "timeout"}


def policies_of(deployment: Mapping[str, Any]) -> dict[str, Any]:
    """The `deploymentPolicies` of a deployment; what was not said is as it is by default."""
    said = deployment["request"].get("deploymentPolicies", {})
    return {
        name: {**usual, **said.get(name, {})} if isinstance(usual, dict) else said.get(name, usual)
        for name, usual in _POLICIES.items()
    }


def document_of(context: Context, deployment: Mapping[str, Any]) -> dict[str, Any]:
    """The job document of a deployment.

    Args:
        context: the account and region.
        deployment: as the fleet keeps it.

    Returns:
        What a nucleus finds under `jobDocument`. It names what the deployment names; what else a device
        has to run, it resolves by itself.
    """
    request = deployment["request"]
    target = request["targetArn"].split(":", 5)[5]
    components = request.get("components", {})
    created = datetime.fromisoformat(deployment["created"])
    return {
        "deploymentId": deployment["id"],
        "deploymentName": deployment["name"],
        # A nucleus takes the name of the target from it, and leaves off the revision.
        "configurationArn": context.arn("greengrass", f"configuration:{target}:{deployment['revision']}"),
        "creationTimestamp": int(created.timestamp() * 1000),
        "components": {name: _component(spec) for name, spec in components.items()},
        **{name: _renamed(value) for name, value in policies_of(deployment).items()},
    }


def _component(spec: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"version": spec["componentVersion"]}
    if spec.get("runWith"):
        found["runWith"] = spec["runWith"]
    update = dict(spec.get("configurationUpdate", {}))
    if "merge" in update:
        update["merge"] = json.loads(update["merge"])
    if update:
        found["configurationUpdate"] = update
    return found


def _renamed(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {_NAMES.get(name, name): inside for name, inside in value.items()}
