"""What a bucket's own policy denies or grants, its conditions included.

moto reads such a policy without its conditions, so one that denies unencrypted connections would deny all. A
connection to the emulator counts as encrypted: it does not leave this machine.
"""

from __future__ import annotations

import json
from typing import Any

import moto.s3.models as models
from moto.iam.access_control import PermissionResult

from gtlabel.emulator.permissions import ALLOWED, EXPLICIT, Need, decide

_KEYS = {"aws:securetransport": ["true"]}
_EVERYBODY: tuple[Any, ...] = ("*", {"AWS": "*"}, {"AWS": ["*"]})


class PolicedBucket(models.FakeBucket):
    """A bucket whose policy is read in full."""

    def get_permission(self, action: str, resource: str) -> PermissionResult:
        """Whether the policy denies this to everybody, permits it to everybody, or says neither.

        moto asks without saying who wants it, so that statements about somebody in particular do not count.
        """
        if self.policy is None:
            return PermissionResult.NEUTRAL
        document = json.loads(self.policy)
        statements = document.get("Statement", [])
        statements = statements if isinstance(statements, list) else [statements]
        about_all = [statement for statement in statements if statement.get("Principal") in _EVERYBODY]
        outcome = decide([{**document, "Statement": about_all}], Need(action, resource, _KEYS)).outcome
        if outcome == EXPLICIT:
            return PermissionResult.DENIED
        return PermissionResult.PERMITTED if outcome == ALLOWED else PermissionResult.NEUTRAL


def install() -> None:
    """Let every bucket that is made from now on have its policy read in full."""
    models.FakeBucket = PolicedBucket  # type: ignore[misc]
