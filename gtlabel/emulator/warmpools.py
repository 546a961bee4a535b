"""Warm pools: a job that says how long its machine is kept, and the next one like it that takes it over.

Nothing is kept warm here, but whoever counts on it finds what the service would say:
https://docs.aws.amazon.com/sagemaker/latest/dg/train-warm-pools.html
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

# What has to be the same for a job to take over the machine of another.
_RESOURCES = ("InstanceCount", "InstanceType", "VolumeKmsKeyId", "VolumeSizeInGB")
_MEMBERS = ("EnableInterContainerTrafficEncryption", "EnableNetworkIsolation", "RoleArn", "VpcConfig")


def status(document: Mapping[str, Any], now: datetime) -> dict[str, Any] | None:
    """The `WarmPoolStatus` of a job; None for one whose machine is not kept.

    Args:
        document: the job's, as `JobRecord` keeps it.
        now: the time.
    """
    kept = document["request"].get("ResourceConfig", {}).get("KeepAlivePeriodInSeconds")
    if not kept:
        return None
    if document["ended"] is None:
        return {"Status": "InUse"}
    reuse = document.get("reuse")
    if reuse:
        taken = datetime.fromisoformat(reuse["time"])
        return {
            "Status": "Reused",
            "ReusedByJob": reuse["job"],
            "ResourceRetainedBillableTimeInSeconds": _seconds(document, taken),
        }
    over = datetime.fromisoformat(document["ended"]) + timedelta(seconds=kept)
    return {
        "Status": "Available" if now < over else "Terminated",
        "ResourceRetainedBillableTimeInSeconds": _seconds(document, min(now, over)),
    }


def available(
    documents: Iterable[Mapping[str, Any]], request: Mapping[str, Any], now: datetime
) -> str | None:
    """The name of the job whose machine a new one takes over: of those that fit, the one that ended last.

    Args:
        documents: the jobs of the account and region.
        request: the new job's.
        now: the time.
    """
    fitting = [
        document
        for document in documents
        if (status(document, now) or {}).get("Status") == "Available"
        and _wants(document["request"]) == _wants(request)
    ]
    latest = max(fitting, key=lambda document: str(document["ended"]), default=None)
    return None if latest is None else str(latest["request"]["TrainingJobName"])


def _wants(request: Mapping[str, Any]) -> list[Any]:
    resources = request["ResourceConfig"]
    return [*(resources.get(name) for name in _RESOURCES), *(request.get(name) or None for name in _MEMBERS)]


def _seconds(document: Mapping[str, Any], until: datetime) -> int:
    return max(0, math.ceil((until - datetime.fromisoformat(document["ended"])).total_seconds()))
