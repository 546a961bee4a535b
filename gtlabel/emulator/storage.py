"""moto's S3 with its bytes on disk, and a directory of them that outlives the process.

moto keeps every object in memory. Here `moto.s3.models.FakeKey` gives way to a key whose bytes are one of the
`Bodies`, and S3's requests are followed: after each one that changed something, what moto then holds of the
bucket or key is written to an `Index`, before the client hears of its success (contract/moto.md 3, iii-a).

Uploads in parts that were not completed are lost with the process, as is who reads which part of an object
that was uploaded in parts. Both are for clients that are still at work, and those start again.
"""

from __future__ import annotations

import base64
import logging
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

import moto.s3.models as models
import xmltodict
from moto.s3.responses import S3Response
from moto.s3.utils import bucket_name_from_url

from gtlabel.emulator.bodies import Bodies, Body
from gtlabel.emulator.index import BucketRow, Entries, Index

_log = logging.getLogger(__name__)

_QUIET = ("GET", "HEAD", "OPTIONS")


class FileKey(models.FakeKey):
    """An object whose bytes are on disk, so that it costs little memory and survives its process."""

    bodies: Bodies

    def __new__(cls, *_args: Any, **_named: Any) -> FileKey:
        """A key that moto does not track."""
        # moto would keep every key ever made in a list, for its reset; ours are found through their buckets.
        return object.__new__(cls)

    @property
    def value(self) -> bytes:
        """The bytes, read anew."""
        return self.bodies.read(self._body)

    @value.setter
    def value(self, data: bytes | str | Body) -> None:
        buffer = self.__dict__.pop("_value_buffer", None)
        if buffer is not None:
            buffer.close()
        former = self.__dict__.get("_body")
        if isinstance(data, str):
            data = data.encode()
        self._body = data if isinstance(data, Body) else self.bodies.write(data)
        self.contentsize = self._body.size
        if former is not None:
            self.bodies.retire(former)

    @property
    def etag(self) -> str:
        """What identifies the bytes: their MD5, or for an upload in parts what S3 makes of the parts'."""
        return f'"{self._etag or self._body.md5}"'

    def dispose(self, garbage: bool = False) -> None:
        """Let go of the bytes."""
        if garbage or self.disposed:
            return
        self.disposed = True
        self.bodies.retire(self._body)
        if self.multipart:
            self.multipart.dispose()

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        state.pop("lock", None)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.lock = threading.Lock()


class Storage:
    """S3 on disk.

    Args:
        root: where bodies and index lie.
        durable: whether what lies there is for longer than this process.
    """

    def __init__(self, root: Path, *, durable: bool) -> None:
        self.index = Index(root / "objects.sqlite") if durable else None
        self.bodies = Bodies(root / "objects", self.index)
        self._loading = False

    def install(self) -> None:
        """Take the place of moto's bytes in memory; before the first request, and once in a process."""
        FileKey.bodies = self.bodies
        models.FakeKey = FileKey  # type: ignore[misc]

    def note(self, request: Any, status: int) -> None:
        """Bring the index to what moto holds now of what a request was about.

        Call it after each request to S3 and before its answer is sent.

        Args:
            request: moto's request, which is flask's.
            status: that of the answer.
        """
        if self.index is None or self._loading or request.method in _QUIET or status >= 400:
            return
        part = "uploadId" in request.args and request.method == "PUT"
        if not part and "uploads" not in request.args:
            self._note(request, request.raw_url)

    def load(self, replay: Callable[[str, str, dict[str, str], bytes], int]) -> int:
        """Give moto back what the index knows; return the number of objects.

        Args:
            replay: sends a request (method, path with query, headers, body) to moto and returns the status.
        """
        if self.index is None:
            return 0
        self._loading = True
        try:
            for row in self.index.buckets():
                for query, request in self.index.settings(row.name):
                    target = f"/{row.name}?{query}" if query else f"/{row.name}"
                    status = replay("PUT", target, request["headers"], base64.b64decode(request["body"]))
                    if status >= 400:
                        _log.error("the bucket %s lost its setting %r", row.name, query)
            bodies = [body for row in self.index.buckets() for body in self._load_objects(row)]
        finally:
            self._loading = False
        self.bodies.keep_only(set(bodies))
        return len(bodies)

    def _load_objects(self, row: BucketRow) -> Iterator[str]:
        """Put the objects of a bucket back; yield the names of their bodies."""
        if self.index is None:
            return
        backend, bucket = _bucket(row.name)
        if bucket is None:
            _log.error("the bucket %s did not come back; its objects stay on disk", row.name)
        else:
            bucket.creation_date = datetime.fromisoformat(row.created)
        for key, document in self.index.objects(row.name):
            if "body" in document:
                yield document["body"]
            if bucket is None:
                continue
            version = _version_of(document, key, bucket, backend.region_name)
            bucket.keys[key] = version
            if document.get("tags"):
                tags = [{"Key": name, "Value": value} for name, value in document["tags"].items()]
                backend.tagger.tag_resource(version.arn, tags)

    def put(self, account: str, bucket: str, key: str, body: bytes, content_type: str) -> str | None:
        """Do what moto does at the plainest PutObject, without a request; return the ETag.

        None, and nothing done, for a bucket that has to be asked or told: only a request does all of that.
        """
        owner = models.s3_backends.bucket_accounts.get(bucket)
        if owner is None or owner[1] != account:
            return None
        backend: Any = models.s3_backends[account][owner[0]]
        held = backend.buckets.get(bucket)
        asks = ("policy", "notification_configuration", "logging", "object_lock_enabled")
        if held is None or any(getattr(held, name) for name in asks):
            return None
        checksum = base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()
        version = backend.put_object(bucket, key, body, storage="STANDARD", checksum_value=checksum)
        # Clients send this checksum unless they are told otherwise.
        version.checksum_algorithm = "CRC32"
        version.set_metadata({"Content-Type": content_type})
        version.set_acl(held.acl)
        backend.put_object_tagging(version, {})
        self._write_keys(bucket, [key])
        etag: str = version.etag
        return etag

    def clear(self) -> None:
        """Forget everything; moto itself is reset by others."""
        if self.index is not None:
            self.index.write(lambda entries: entries.clear())

    def close(self) -> None:
        """Let go of the index."""
        if self.index is not None:
            self.index.close()

    def _note(self, request: Any, url: str) -> None:
        name, key = _address(request, url)
        if not name:
            return
        if key:
            self._write_keys(name, [key])
        elif request.method == "POST":
            self._write_keys(name, _posted_keys(request))
        elif self.index is not None:
            self.index.write(lambda entries: _write_setting(entries, name, request, url))

    def _write_keys(self, name: str, keys: Sequence[str]) -> None:
        """Bring the index to what moto holds of some keys."""
        if self.index is None:
            return

        # moto is looked at within the transaction: an older look could overwrite a newer one otherwise.
        def write(entries: Entries) -> list[Body]:
            backend, bucket = _bucket(name)
            entered: list[Body] = []
            for key in keys if bucket else ():
                versions = bucket.keys.getlist(key, [])
                bodies = [version._body for version in versions if isinstance(version, FileKey)]
                entered += self.bodies.enter(bodies, entries)
                entries.put(name, key, [_document(version, backend) for version in versions])
            return entered

        self.bodies.entered(self.index.write(write))


def _bucket(name: str) -> tuple[Any, Any]:
    """The backend of a bucket's owner and the bucket; both None when there is none of that name."""
    owner = models.s3_backends.bucket_accounts.get(name)
    if owner is None:
        return None, None
    backend = models.s3_backends[owner[1]][owner[0]]
    return backend, backend.buckets.get(name)


def _write_setting(entries: Entries, name: str, request: Any, url: str) -> None:
    """Note what a request settled about a bucket."""
    _, bucket = _bucket(name)
    if bucket is None:
        entries.drop_bucket(name)
        return
    pairs = sorted(pair for pair in parse_qsl(urlsplit(url).query, True) if pair[0] != "x-id")
    query = urlencode(pairs)
    if request.method == "DELETE":
        entries.unset(name, query)
        return
    if not query:
        created = bucket.creation_date.isoformat()
        entries.add_bucket(BucketRow(name, bucket.account_id, bucket.region_name, created))
    kept = {
        header: value
        for header, value in request.headers.items()
        if header.lower().startswith(("x-amz-", "content-type", "content-encoding"))
        and header.lower() != "x-amz-security-token"
    }
    scope = f"Credential=gtlabel/20200101/{bucket.region_name}/s3/aws4_request"
    kept["Authorization"] = f"AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=0"
    body = base64.b64encode(request.data).decode()
    entries.set(name, query, {"headers": kept, "body": body})


def _address(request: Any, url: str) -> tuple[str, str]:
    """The bucket and the key that a request is about; either may be empty."""
    path = unquote(urlsplit(url).path).removeprefix("/")
    if S3Response.subdomain_based_buckets(request):
        return bucket_name_from_url(url) or "", path
    bucket, _, key = path.partition("/")
    return bucket, key


def _posted_keys(request: Any) -> list[str]:
    """The keys of a request to delete many, or of an upload from a web form."""
    if "delete" in request.args:
        found = xmltodict.parse(request.data, strip_whitespace=False, force_list=("Object",))
        return [item["Key"] for item in found["Delete"].get("Object", ())]
    return [request.form["key"]] if "key" in request.form else []


# What of a key is not a plain value stands in `_documents` and `_version_of` by itself.
_PLAIN = (
    "encryption",
    "kms_key_id",
    "bucket_key_enabled",
    "lock_mode",
    "lock_legal_status",
    "lock_until",
    "checksum_value",
    "checksum_algorithm",
    "checksum_type",
    "checksum_parts",
    "website_redirect_location",
)


def _document(version: Any, backend: Any) -> dict[str, Any]:
    when = version.last_modified.isoformat()
    if not isinstance(version, FileKey):
        return {"version": version.version_id, "modified": when}
    document = {
        "version": version._version_id,
        "modified": when,
        "body": version._body.name,
        "small": version._body.small or None,
        "size": version._body.size,
        "md5": version._body.md5,
        "etag": version._etag,
        "versioned": version._is_versioned,
        "storage_class": version.storage_class,
        "metadata": dict(version.metadata.items()),
        "tags": backend.tagger.get_tag_dict_for_resource(version.arn),
        "grants": _grants(version.acl),
        "expiry": version._expiry.isoformat() if version._expiry else None,
    }
    document.update({name: getattr(version, name) for name in _PLAIN})
    return {name: value for name, value in document.items() if value is not None}


def _version_of(document: dict[str, Any], key: str, bucket: Any, region: str) -> Any:
    if "body" not in document:
        # What was deleted may be gone for good by now; of it the marker takes the name only.
        deleted: Any = bucket.keys.get(key) or SimpleNamespace(name=key)
        marker = models.FakeDeleteMarker(key=deleted)
        marker._version_id = document["version"]
        marker.last_modified = datetime.fromisoformat(document["modified"])
        return marker
    version = FileKey(
        name=key,
        value=Body(document["body"], document["size"], document["md5"], document.get("small", False)),
        account_id=bucket.account_id,
        region_name=region,
        storage=document["storage_class"],
        etag=document.get("etag"),
        is_versioned=document["versioned"],
        version_id=document.get("version"),
        bucket_name=bucket.name,
    )
    version._metadata.clear()
    version._metadata.update(document["metadata"])
    version.last_modified = datetime.fromisoformat(document["modified"])
    version.acl = _acl(document.get("grants"))
    if "expiry" in document:
        version.set_expiry(datetime.fromisoformat(document["expiry"]))
    for name in _PLAIN:
        if name in document:
            setattr(version, name, document[name])
    return version


def _grants(acl: Any) -> list[dict[str, Any]] | None:
    if acl is None:
        return None
    return [
        {
            "permissions": list(grant.permissions),
            "grantees": [[grantee.id, grantee.uri, grantee.display_name] for grantee in grant.grantees],
        }
        for grant in acl.grants
    ]


def _acl(grants: list[dict[str, Any]] | None) -> Any:
    if grants is None:
        return None
    return models.FakeAcl(
        [
            models.FakeGrant(
                [models.FakeGrantee(*grantee) for grantee in grant["grantees"]], grant["permissions"]
            )
            for grant in grants
        ]
    )
