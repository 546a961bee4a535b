"""What each command may do on AWS, and nothing else: IAM policies with a user's own names in them.

gtlabel never edits a role or a policy; it writes down what somebody who may should add. Which action takes
which kind of resource is from the Service Authorization Reference:
https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from string import Template
from typing import Any

from gtlabel.errors import PolicyError
from gtlabel.templates import read_template

# A policy of each name lies in templates/iam/.
COMMANDS = (
    "doctor",
    "label",
    "jobs",
    "relabel",  # and clone, chain, resume and verify: all of `gtlabel jobs` that starts a job
    "quality",  # report, reconsolidate and suspects
    "quality-more",  # and suspects --relabel: what asks people again
    "plan",  # with --from; without it nothing is asked of AWS
    "stream",
    "team",
    "estimate",
    "notify",
    "stack",
    "collect",
    "consolidate",
    "consolidate-move",  # with --mode move, which deletes pictures
    "dataset",
    "train",
    "evaluate",  # and predict
    "deploy",
    "deploy-status",  # and list
    "deploy-rollback",  # and remove
    "deploy-role",  # besides, with --device-role; its role is that of the devices
    "edge",  # prefix is where frames come to, and where they are if cameras were copied to S3
)
ROLES = {
    "labeling-role": "what the role of labeling jobs may do",
    "streaming-role": "what the role of streaming jobs may do besides",
    "training-role": "what the role of training jobs may do",
    "training-network-role": "what it may do besides, for jobs in a network of one's own",
    "training-key-role": "what it may do besides, for jobs with a KMS key of one's own",
    "sagemaker-trust": "who may take on the roles of labeling and of training jobs",
    "device-role": "what devices may do on AWS",
    "device-role-trust": "who may take on the devices' role",
    "device": "the AWS IoT policy of a device's certificate",
}

# What a value is unless it is given. `*` stands only here: nobody widens a policy with a value.
_DEFAULTS = {
    "prefix": "",
    "output": "gtlabel/",
    "dataset": "dataset/",
    "component": "deeplens-*",
    "thing": "*",
    "group": "*",
    "stack": "gtlabel",
}
_KEY = r"[A-Za-z0-9!_.'() /=+@:,&;-]*"
_NAME = r"[A-Za-z0-9+=,.@_-]+"
_ARN = r"arn:[a-z-]+:[a-z0-9-]+:[a-z0-9-]*:\d{12}:[A-Za-z0-9+=,.@_/-]+"
_SHAPES = {
    "bucket": r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]",
    "prefix": _KEY,
    "output": _KEY,
    "dataset": _KEY,
    "account": r"\d{12}",
    "region": r"[a-z]{2}(-[a-z]+)+-\d",
    "team": f"{_ARN}|[a-zA-Z0-9](-*[a-zA-Z0-9])*",
    "role": f"{_ARN}|(?:[A-Za-z0-9+=,.@_-]+/)*{_NAME}",
    "component": r"[a-zA-Z0-9._-]+",
    "thing": r"[a-zA-Z0-9:_-]+",
    "group": r"[a-zA-Z0-9:_-]+",
    "stack": r"[a-zA-Z][a-zA-Z0-9-]*",
    "role_alias": r"[\w=,@-]+",
    "key": r"arn:[a-z-]+:kms:[a-z0-9-]+:\d{12}:key/[A-Za-z0-9-]+",
}


def policy_for(command: str, values: Mapping[str, str]) -> dict[str, Any]:
    """The least that a command, or a role, needs to be allowed: a policy document.

    Args:
        command: one of `COMMANDS`, or of `ROLES`.
        values: `account`, `region`, `bucket`, `team` and `role` (names or ARNs), `role_alias` and `key` (an
            ARN), as far as the policy uses them; `prefix` (where the pictures lie), `output` (where labeling
            jobs write), `dataset`, `component`, `thing`, `group` and `stack` have defaults.

    Raises:
        PolicyError: if there is no such command, a value is missing, or one could mean more than one name.
    """
    if command not in COMMANDS and command not in ROLES:
        raise PolicyError(
            f"there is no policy for {command!r}; there is one for {', '.join((*COMMANDS, *ROLES))}"
        )
    known = _checked(values)
    try:
        document: dict[str, Any] = _filled(json.loads(read_template(f"iam/{command}.json")), known)
    except KeyError as error:
        missing = str(error.args[0])
        raise PolicyError(
            f"the policy for {command} needs a value for {missing}; give --{missing.replace('_', '-')}"
        ) from None
    return document


def actions(document: Mapping[str, Any]) -> list[str]:
    """The actions that a policy document allows, each once, in its order."""
    found = (_listed(statement["Action"]) for statement in document["Statement"])
    return list(dict.fromkeys(action for listed in found for action in listed))


@dataclass(frozen=True, slots=True)
class Denial:
    """What AWS says somebody may not do.

    Attributes:
        who: the ARN of the user or of the role that was taken on.
        action: such as `iam:PassRole`.
        resource: an ARN or `*`; empty when AWS does not tell.
        explicit: whether a policy forbids it, so that no other policy can allow it.
    """

    who: str
    action: str
    resource: str
    explicit: bool

    def __str__(self) -> str:
        where = "" if self.resource in ("", "*") else f" on {self.resource}"
        if self.explicit:
            return f"{self.who} is denied {self.action}{where} by a policy; see which, for none can allow it"
        return f"{self.who} lacks {self.action}{where}"


def denial_in(message: str) -> Denial | None:
    """What a message of AWS says is not allowed, if it says that.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html
    """
    found = re.search(
        r"User: (?P<who>\S+) is not authorized to perform: (?P<action>[\w-]+:\w+)"
        r"(?: on resource: (?:\"(?P<quoted>[^\"]*)\"|(?P<plain>\S+)))?(?P<why>.*)",
        message,
        re.DOTALL,
    )
    if found is None:
        return None
    resource = found["quoted"] or found["plain"] or ""
    return Denial(found["who"], found["action"], resource, "explicit deny" in found["why"])


def _checked(values: Mapping[str, str]) -> dict[str, str]:
    """All values, in the form in which policies name them."""
    for name, value in values.items():
        if name not in _SHAPES:
            raise PolicyError(f"no policy has a place for {name!r}; known are {', '.join(_SHAPES)}")
        if not re.fullmatch(_SHAPES[name], value, re.ASCII):
            raise PolicyError(
                f"{value!r} cannot stand in a policy as the {name}; give one plain name, without wildcards"
            )
    known = {**_DEFAULTS, **values}
    region = known.get("region", "")
    known["partition"] = _partition(region)
    own = f":{region}:{known['account']}:" if "account" in known and region else None
    for name, start in (
        ("team", f"arn:{known['partition']}:sagemaker{own}workteam/private-crowd/"),
        ("role", f"arn:{known['partition']}:iam::{known.get('account')}:role/"),
    ):
        if name in values and not values[name].startswith("arn:"):
            if own is None:
                raise PolicyError(f"the {name} {values[name]!r} needs its account and region; give its ARN")
            known[name] = start + values[name]
    return known


def _partition(region: str) -> str:
    return {"cn": "aws-cn", "us-gov": "aws-us-gov"}.get(region.rpartition("-")[0].rpartition("-")[0], "aws")


def _filled(value: Any, known: Mapping[str, str]) -> Any:
    """A template with its values put in, string by string, so that none can end the string it stands in."""
    if isinstance(value, str):
        return Template(value).substitute(known)
    if isinstance(value, list):
        return [_filled(item, known) for item in value]
    if isinstance(value, dict):
        return {name: _filled(item, known) for name, item in value.items()}
    return value


def _listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value
