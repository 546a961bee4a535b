"""The artifacts on a device's disk: fetched, compared with their digests, and unpacked."""

from __future__ import annotations

import base64
import hashlib
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gtlabel.edge.archive import extract
from gtlabel.edge.recipes import artifact_uri
from gtlabel.errors import EdgeError
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client


# Below `packages`, what is being fetched or unpacked; whole files are moved from there to their place.
HALF = "half"
_FOLDERS = ("", ".", "..")


class NetworkAway(Exception):  # noqa: N818 - it is no fault of anybody's, and passes
    """The S3 that artifacts come from does not answer."""


def fetch_artifacts(
    s3: S3Client, artifacts: Sequence[Mapping[str, Any]], packages: Path, name: str, version: str
) -> None:
    """Put the artifacts of a component version where its scripts look for them.

    Raises:
        EdgeError: if one is not there any more, or is not what it was when the component was created.
        BundleError: if an archive is damaged or would write outside its folder.
        NetworkAway: if S3 does not answer; what was fetched before is not fetched again.
        OSError: if there is no room for them. What lies at its final place is always whole.
    """
    half = packages / HALF
    for artifact in artifacts:
        uri = S3Uri(artifact_uri(artifact))
        unarchive, stem = artifact.get("Unarchive", "NONE") == "ZIP", uri.name.removesuffix(".zip")
        if uri.name in _FOLDERS or (unarchive and stem in _FOLDERS):
            raise EdgeError(f"the artifact {uri} has no name of its own that it could have on a device")
        file = packages / "artifacts" / name / version / uri.name
        # What is there already may be in use, and versions never change: it is left alone.
        fetched = not _holds(file, artifact.get("Digest"))
        if fetched:
            _fetch(s3, uri, str(artifact.get("Digest", "")), file, half)
        _permit(file, artifact)
        if unarchive:
            unpacked = packages / "artifacts-unarchived" / name / version / stem
            if fetched and unpacked.exists():
                # The version was deleted and made anew: what lies there is another's.
                shutil.rmtree(unpacked)
            if not unpacked.exists():
                extract(file, half / stem)
                unpacked.parent.mkdir(parents=True, exist_ok=True)
                (half / stem).replace(unpacked)


def _permit(file: Path, artifact: Mapping[str, Any]) -> None:
    """Let a file be run that the recipe says may be: `Permission.Execute` of OWNER or ALL."""
    who = (artifact.get("Permission") or {}).get("Execute", "NONE")
    file.chmod(0o755 if who in ("OWNER", "ALL") else 0o644)


def _holds(file: Path, digest: object) -> bool:
    """Whether a file is there and has a digest."""
    if not file.exists():
        return False
    with file.open("rb") as content:
        return _text(hashlib.file_digest(content, "sha256").digest()) == digest


def _text(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


def _fetch(s3: S3Client, uri: S3Uri, digest: str, file: Path, half: Path) -> None:
    from botocore.exceptions import BotoCoreError, ClientError

    file.parent.mkdir(parents=True, exist_ok=True)
    half.mkdir(parents=True, exist_ok=True)
    temporary = half / file.name
    actual = hashlib.sha256()
    try:
        body = s3.get_object(Bucket=uri.bucket, Key=uri.key)["Body"]
        with temporary.open("wb") as sink:
            for block in body.iter_chunks(1 << 20):
                actual.update(block)
                sink.write(block)
        if _text(actual.digest()) != digest:
            raise EdgeError(
                f"the artifact {uri} is not the one the component was created with (its SHA-256 differs); "
                "objects of components must never be overwritten"
            )
        temporary.replace(file)
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) >= 500:
            raise NetworkAway(f"the artifact {uri} cannot be fetched: {code}") from error
        raise EdgeError(f"the artifact {uri} cannot be fetched: {code}") from error
    except BotoCoreError as error:
        raise NetworkAway(f"the artifact {uri} cannot be fetched: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)
