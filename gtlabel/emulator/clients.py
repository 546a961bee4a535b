"""The AWS that `gtlabel serve` itself talks to: its S3, and the keys that requests to it may have."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from gtlabel.emulator.hosts import is_everywhere
from gtlabel.emulator.sigv4 import Key
from gtlabel.errors import EmulatorError

if TYPE_CHECKING:
    import boto3

    from gtlabel.aws import Aws


class Clients:
    """boto3's clients, with whatever credentials and endpoints it finds; made when they are first needed.

    Args:
        profile: the profile to use.
        region: the region; by default that of the profile.
    """

    def __init__(self, profile: str | None, region: str | None) -> None:
        from gtlabel.aws import Aws

        self._lock = threading.Lock()
        self._session = _session(profile)
        self._aws = Aws(self._session, region=region)

    @property
    def region(self) -> str:
        """The region that is talked to."""
        return self._aws.region

    def aws(self, *needed: str) -> Aws:
        """The clients.

        Args:
            needed: which are asked for, besides that for S3.
        """
        # A session may not make two clients at once.
        with self._lock:
            for name in ("s3", *needed):
                getattr(self._aws, name)
            return self._aws

    def must_not_lead_to(self, url: str, hostnames: Sequence[str]) -> None:
        """Look that S3 is not the server that asks for it.

        Args:
            url: where the server answers.
            hostnames: what else it is called.

        Raises:
            EmulatorError: if it is, as `AWS_ENDPOINT_URL` makes it.
        """
        # With made-up keys: the real ones may take seconds to find.
        made_up: Any = {"aws_access_key_id": "-", "aws_secret_access_key": "-"}
        client = self._session.client("s3", region_name=self.region, **made_up)
        endpoint = client.meta.endpoint_url
        if _same_place(endpoint, url) or urlsplit(endpoint).hostname in hostnames:
            raise EmulatorError(
                f"S3 would be asked for at {endpoint}, which is this server itself; it is for SageMaker "
                "only: unset AWS_ENDPOINT_URL (AWS_ENDPOINT_URL_SAGEMAKER is the one to set), or name "
                "your S3 with AWS_ENDPOINT_URL_S3"
            )

    def keys(self, profiles: Sequence[str]) -> Callable[[], list[Key]]:
        """What gives the keys that are good now: the server's own, and those of some profiles.

        Raises:
            EmulatorError: if there are none, so that nobody could ever be let in.
        """
        sessions = [self._session, *(_session(profile) for profile in profiles)]
        lock = threading.Lock()

        def found() -> list[Key]:
            with lock:
                return [key for session in sessions if (key := _key_of(session)) is not None]

        if not found():
            raise EmulatorError(
                "requests from other machines must be signed by a key that this server knows, and it found "
                "none; set up a profile with `aws configure` and name it with --profile or --client-profile"
            )
        return found


def _session(profile: str | None) -> boto3.Session:
    import boto3
    from botocore.exceptions import ProfileNotFound

    try:
        return boto3.Session(profile_name=profile)
    except ProfileNotFound as error:
        raise EmulatorError(f"{error}; see `aws configure list-profiles`") from error


def _key_of(session: boto3.Session) -> Key | None:
    credentials = session.get_credentials()
    if credentials is None:
        return None
    frozen = credentials.get_frozen_credentials()
    if frozen.access_key is None or frozen.secret_key is None:
        return None
    return Key(frozen.access_key, frozen.secret_key, frozen.token or "")


def _same_place(one: str, other: str) -> bool:
    """Whether two addresses are one server's."""
    mine, theirs = urlsplit(other), urlsplit(one)
    ports = {"http": 80, "https": 443}
    if (mine.port or ports.get(mine.scheme)) != (theirs.port or ports.get(theirs.scheme)):
        return False
    reached, listening = _addresses(theirs.hostname or ""), _addresses(mine.hostname or "")
    if any(is_everywhere(address) for address in listening):
        listening |= _addresses("localhost") | _addresses(socket.gethostname())
    return bool(reached & listening)


def _addresses(host: str) -> set[str]:
    try:
        return {str(found[4][0]) for found in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except OSError:
        # A name that leads nowhere leads not to us.
        return set()
