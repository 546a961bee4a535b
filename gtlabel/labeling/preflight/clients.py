"""Clients that only a few checks need, made by whichever thread comes first."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gtlabel.aws import Aws

# A session may not make two clients at once:
# https://docs.aws.amazon.com/boto3/latest/guide/session.html#multithreading-or-multiprocessing-with-sessions
_one_at_a_time = threading.Lock()


def client(aws: Aws, service: str) -> Any:
    """The client of a service that `Aws` has no name for."""
    with _one_at_a_time:
        return aws.session.client(service, region_name=aws.region, endpoint_url=aws.endpoint_url)  # type: ignore[call-overload]
