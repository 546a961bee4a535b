"""A small JSON posted to an address when a labeling job has ended.

A webhook only tells: that it cannot be reached is said, and changes nothing else.
"""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from gtlabel.errors import NotificationError

if TYPE_CHECKING:
    from gtlabel.labeling.jobs import LabelingJob

_ATTEMPTS = 4
_FIRST_PAUSE = 1.0
_TIMEOUT = 10.0
_BUSY = 429


def check_webhook(url: str) -> None:
    """Refuse an address before a long wait that nothing can be posted to safely.

    Raises:
        NotificationError: if it is not https; http is for this machine alone.
    """
    parts = urlsplit(url)
    if not parts.hostname or parts.scheme not in ("http", "https"):
        raise NotificationError("the webhook is not an address; write it as https://host/path")
    if parts.scheme == "http" and not _is_this_machine(parts.hostname):
        raise NotificationError(
            f"the webhook at {parts.hostname} is not encrypted; use https, or http on this machine alone"
        )


def message(job: LabelingJob) -> dict[str, Any]:
    """What is posted; `text` is what chat programs show."""
    counters = job.counters
    text = f"labeling job {job.name}: {job.status}, {counters.labeled} labeled, {counters.failed} failed"
    return {
        "text": f"{text}: {job.failure_reason}" if job.failure_reason else text,
        "job": job.name,
        "arn": job.arn,
        "status": job.status,
        "labeled": counters.labeled,
        "failed": counters.failed,
        "unlabeled": counters.unlabeled,
        "output_manifest": job.output_manifest,
        "failure_reason": job.failure_reason,
    }


def post_webhook(
    url: str,
    job: LabelingJob,
    *,
    attempts: int = _ATTEMPTS,
    timeout: float = _TIMEOUT,
    sleep: Callable[[float], None] = time.sleep,
) -> str | None:
    """Post what became of a job; return a sentence when it did not arrive, and None when it did.

    A server that is busy, broken or away is asked again, after pauses that double; one that refuses is not.

    Args:
        url: where to.
        job: the job as it ended.
        attempts: how often to try.
        timeout: seconds that one attempt may take.
        sleep: waits that many seconds.

    Raises:
        NotificationError: if nothing may be posted there; `check_webhook` says so beforehand.
    """
    check_webhook(url)
    # Such addresses are often secrets: the sentence names the host alone.
    host = urlsplit(url).hostname or ""
    body = json.dumps(message(job)).encode()
    problem = ""
    for attempt in range(attempts):
        if attempt:
            sleep(_FIRST_PAUSE * 2 ** (attempt - 1))
        status, problem = _post(url, host, body, timeout)
        if status is not None and 200 <= status < 300:
            return None
        if status is not None and status < 500 and status != _BUSY:
            return f"the webhook at {host} refused: {problem}"
    return f"the webhook at {host} could not be reached in {attempts} attempts: {problem}"


def _post(url: str, host: str, body: bytes, timeout: float) -> tuple[int | None, str]:
    """The status, or None when there was no answer, and what went wrong."""
    handlers: list[urllib.request.BaseHandler] = [_NoRedirect()]
    if _is_this_machine(host):
        handlers.append(urllib.request.ProxyHandler({}))
    headers = {"Content-Type": "application/json", "User-Agent": "gtlabel"}
    request = urllib.request.Request(url, body, headers, method="POST")  # noqa: S310 - checked before
    try:
        with urllib.request.build_opener(*handlers).open(request, timeout=timeout) as answer:
            return answer.status, ""
    except urllib.error.HTTPError as error:
        with error:
            return error.code, f"{error.code} {error.reason}"
    except urllib.error.URLError as error:
        return None, str(error.reason)
    except (OSError, http.client.HTTPException) as error:
        return None, str(error) or type(error).__name__


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirected POST would arrive as a GET without a body, perhaps unencrypted."""

    def redirect_request(self, *_: Any) -> None:
        """Follow none."""


def _is_this_machine(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
