"""The rights that a deployment needs, and no others (`contract/deployment.md` section 7).

gtlabel never edits a role or a policy; it writes down what somebody who may should add.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from string import Template
from typing import Any

from gtlabel.errors import EdgeError
from gtlabel.templates import read_template

NAMES = ("deployer-policy", "token-exchange-policy", "token-exchange-trust", "thing-policy")


def policy(name: str, values: Mapping[str, str]) -> dict[str, Any]:
    """A shipped policy for one account, bucket and component.

    Args:
        name: `deployer-policy` for who runs `gtlabel deploy`; `token-exchange-policy` and
            `token-exchange-trust` for the role that devices take on; `thing-policy` for their certificate.
        values: `account`, `region`, `bucket`, `prefix` (empty, or a folder with its slash), `component`
            and `role_alias`, as far as the policy uses them.

    Raises:
        EdgeError: if a value is missing.
    """
    text = Template(read_template(f"greengrass/{name}.json"))
    try:
        document: dict[str, Any] = json.loads(text.substitute(values))
    except KeyError as error:
        raise EdgeError(f"the policy {name} needs a value for {error.args[0]}") from None
    return document
