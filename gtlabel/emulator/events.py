"""What the account is told when a labeling job has ended, as EventBridge tells it.

The event is AWS's own (contract/ground-truth.md 3.6). moto keeps the rules and finds the ones that match, but
it delivers no event to a topic, so the last step, to topics and queues, is done here.
"""

from __future__ import annotations

import json
import logging
import threading
import uuid
from datetime import UTC
from typing import Any

from gtlabel.emulator.api import Context
from gtlabel.engine.jobs import Job
from gtlabel.errors import EmulatorError

_DETAIL_TYPE = "SageMaker Ground Truth Labeling Job State Change"


def state_change(job: Job) -> dict[str, Any]:
    """The event for a job that has ended."""
    context = Context(job.key.account, job.key.region)
    return {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": _DETAIL_TYPE,
        "source": "aws.sagemaker",
        "account": context.account,
        "time": job.modified.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "region": context.region,
        "resources": [context.arn("sagemaker", f"labeling-job/{job.key.name.lower()}")],
        "detail": {"LabelingJobStatus": job.status.value},
    }


def announce(job: Job, *, aside: bool) -> None:
    """Tell the account's rules that a job has ended.

    Args:
        job: as it is now.
        aside: whether a thread of its own does it, so that a subscriber that is slow to answer keeps no other
            job waiting. In process there must be none: it could outlive the mock.
    """
    from moto.events.models import events_backends

    bus: Any = events_backends[job.key.account][job.key.region].event_buses["default"]
    event = state_change(job)
    rules = [
        rule
        for rule in list(bus.rules.values())
        if rule.state != "DISABLED" and rule.event_pattern.matches_event(event)
    ]
    if rules and aside:
        name = f"event-{job.key.name}"
        threading.Thread(target=_deliver, args=(event, rules), name=name, daemon=True).start()
    elif rules:
        _deliver(event, rules)


def _deliver(event: dict[str, Any], rules: list[Any]) -> None:
    for rule in rules:
        for target in list(rule.targets):
            try:
                _send(target, event)
            except Exception:
                # As on AWS: what one target does with an event is no matter of the job, nor of other targets.
                logging.exception("the rule %s could not reach %s", rule.name, target["Arn"])


def _send(target: dict[str, Any], event: dict[str, Any]) -> None:
    from moto.sns.models import sns_backends
    from moto.sqs.models import sqs_backends

    _, _, service, region, account, resource = target["Arn"].split(":", 5)
    if "InputTransformer" in target or "InputPath" in target:
        raise EmulatorError("the emulator delivers events as they are, or the rule's own Input")
    message = target.get("Input") or json.dumps(event)
    if service == "sqs":
        group = target.get("SqsParameters", {}).get("MessageGroupId")
        sqs_backends[account][region].send_message(resource, message, group_id=group)
    elif service == "sns":
        sns_backends[account][region].publish(message, target["Arn"])
    else:
        raise EmulatorError(f"the emulator delivers events to topics and queues, not to {service}")
