"""CloudWatch Logs, where moto does not look at what it is asked: streams by the beginning of their names.

`aws logs tail` and `aws logs filter-log-events` ask so for the lines of one training job, and would get those
of all.
"""

from __future__ import annotations

from typing import Any

from gtlabel.emulator.api import Context, Operations
from gtlabel.emulator.protocol import PassOn

# What an ARN of a log group has before its name.
_NAME = "log-group:"


def operations() -> Operations:
    """The operations that are ours; all others are moto's."""
    return {"FilterLogEvents": filter_log_events}


def filter_log_events(context: Context, params: dict[str, Any]) -> dict[str, Any]:
    """The lines of the streams whose names begin with `logStreamNamePrefix`, page by page.

    Raises:
        PassOn: without such a beginning, or without such a group.
    """
    from gtlabel.emulator.moto import backend

    prefix = params.get("logStreamNamePrefix")
    found = backend("logs", context.account, context.region)
    identifier = params.get("logGroupName") or params.get("logGroupIdentifier", "")
    group = identifier.rpartition(_NAME)[2].removesuffix(":*")
    if prefix is None or group not in found.groups:
        raise PassOn
    names = sorted(name for name in found.groups[group].streams if name.startswith(prefix))
    if not names:
        return {"events": [], "searchedLogStreams": []}
    events, token, searched = found.filter_log_events(
        log_group_name=group,
        log_stream_names=names,
        start_time=params.get("startTime"),
        end_time=params.get("endTime"),
        limit=params.get("limit"),
        next_token=params.get("nextToken"),
        filter_pattern=params.get("filterPattern"),
        interleaved=True,
    )
    return {"events": events, "searchedLogStreams": searched, **({"nextToken": token} if token else {})}
