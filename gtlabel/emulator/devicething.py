"""A device as a thing of IoT: made, and put into its thing groups, by the calls that anybody would make."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types_boto3_iot import IoTClient


def join_groups(iot: IoTClient, thing: str, groups: Sequence[str]) -> None:
    """Put a thing into thing groups; both are made unless they are there.

    All three calls may be made again with the same names.
    """
    iot.create_thing(thingName=thing)
    for group in groups:
        # Told also of a group that somebody made with properties of their own.
        with suppress(iot.exceptions.ResourceAlreadyExistsException):
            iot.create_thing_group(thingGroupName=group)
        iot.add_thing_to_thing_group(thingName=thing, thingGroupName=group)
