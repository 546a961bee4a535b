"""Copies of pictures inside S3, many at once, such that a run that broke off is simply started again.

The bytes never pass through this machine; what takes time is the way to S3 and back, so many copies are under
way at once, and fewer as soon as S3 asks for that. A copy is taken for right when its size and ETag are those
of the picture as it was listed. Where S3 gives a copy another ETag than its source (objects that were sent in
parts, buckets that encrypt with a KMS key), the copy bears the ETag of its source in its metadata.
https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from gtlabel.datasets.flow import Flow, at_once, connections
from gtlabel.datasets.folders import Placement
from gtlabel.errors import DatasetError, ObjectChangedError, ObjectNotFoundError, PictureChangedError
from gtlabel.storage import StoredObject, explained, list_objects
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

Progress = Callable[[int, int], None]

WORKERS = 64
# What a copy that cannot be told by its ETag bears in its metadata; the shape, where it was given one.
SOURCE_ETAG = "gtlabel-source-etag"
SHAPE = "gtlabel-shape"

# What one request can copy; larger objects are copied part by part.
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/copy-object.html
LARGEST = 5 * 1024**3
_PART = 512 * 1024**2
# Deleted by one request.
_BATCH = 1000


def present_copies(s3: S3Client, into: S3Uri, expected: Iterable[Placement]) -> Mapping[S3Uri, StoredObject]:
    """The copies that an earlier run left.

    Raises:
        DatasetError: if there are objects among them that are not of this dataset: whoever trains on
            the folders would train on them.
    """
    targets = {placement.target for placement in expected}
    folders = into / "classes/"
    present: dict[S3Uri, StoredObject] = {}
    for item in list_objects(s3, folders):
        if item.uri not in targets:
            raise DatasetError(
                f"{item.uri} is not of this dataset, perhaps because its label has changed since an earlier "
                f"run; consolidate into an empty place, or empty {folders} first"
            )
        present[item.uri] = item
    return present


def copy_missing(
    s3: S3Client,
    placements: Sequence[Placement],
    present: Mapping[S3Uri, StoredObject],
    workers: int = WORKERS,
    on_progress: Progress | None = None,
    *,
    largest: int = LARGEST,
) -> int:
    """Copy, inside S3, what is not there yet as it was listed; return how many that were.

    S3 shows a copy whole or not at all, so an interrupted run is continued by running it again, and nothing
    that was right is copied twice. A picture that changes or disappears after it was listed is refused by
    S3 itself (`CopySourceIfMatch`). After the first failure nobody begins another copy.

    The one call that consolidation needs, between `withdraw` and `publish`:

        copy_missing(s3, placements, present_copies(s3, into, placements), workers, on_progress)

    Args:
        s3: the client; it is used from all threads.
        placements: what goes where.
        present: what is there.
        workers: how many copies may be under way at once; never more than the client has connections for
            (`max_pool_connections`, 10 unless it was made otherwise).
        on_progress: called with done and total after each image, by one thread at a time.
        largest: what one request may copy, in bytes; larger objects go part by part.

    Raises:
        PictureChangedError: if a picture was changed or deleted after it was listed.
        StorageError: if S3 refuses.
    """
    workers = min(workers, connections(s3))
    flow = Flow(workers)
    copier = Copier(s3, flow, largest)
    missing = [item for item in placements if not _is_copy(present.get(item.target), item.source)]
    total, done, copied = len(placements), len(placements) - len(missing), 0

    def bring(item: Placement) -> bool:
        return copier.bring(item, present.get(item.target))

    if on_progress:
        on_progress(done, total)
    with flow:
        for was_copied in at_once(bring, missing, workers):
            done += 1
            copied += was_copied
            if on_progress:
                on_progress(done, total)
    return copied


def delete_sources(s3: S3Client, placements: Sequence[Placement]) -> int:
    """Delete the pictures whose copies hold now, a thousand by a request; return how many.

    The second half of moving: only after the dataset was published, because whoever starts again after an
    interruption needs the pictures where they were. S3 is asked to delete what was listed and nothing
    newer; in a versioned bucket the old version stays.

    Raises:
        DatasetError: naming the first that could not be deleted.
    """
    for start in range(0, len(placements), _BATCH):
        by_bucket: dict[str, list[StoredObject]] = {}
        for item in placements[start : start + _BATCH]:
            by_bucket.setdefault(item.source.uri.bucket, []).append(item.source)
        for bucket, sources in by_bucket.items():
            with explained("s3:DeleteObject", sources[0].uri):
                answer = s3.delete_objects(
                    Bucket=bucket,
                    Delete={
                        "Objects": [
                            {"Key": source.uri.key, "ETag": _quoted(source.etag)} for source in sources
                        ],
                        "Quiet": True,
                    },
                )
            # Somebody else deleted them, which is as well.
            errors = [item for item in answer.get("Errors", ()) if item.get("Code") != "NoSuchKey"]
            if errors:
                told = errors[0]
                denied = told.get("Code") == "AccessDenied"
                why = "these credentials lack s3:DeleteObject" if denied else told.get("Message")
                raise DatasetError(
                    f"s3://{bucket}/{told.get('Key')} was copied but could not be deleted: "
                    f"{why} ({told.get('Code')}); {len(errors)} stay; the dataset is whole, and the same "
                    "command deletes the rest"
                )
    return len(placements)


class Copier:
    """Copies single pictures, and knows by which mark a copy can be told to be right."""

    def __init__(self, s3: S3Client, flow: Flow, largest: int = LARGEST) -> None:
        self._s3 = s3
        self._flow = flow
        self._largest = largest
        # Copies get other ETags than their sources here: the bucket encrypts them.
        self._always_noted = False

    def bring(self, item: Placement, there: StoredObject | None) -> bool:
        """Copy a picture unless what is there bears the mark of its copy; say whether it was copied."""
        source = item.source
        if there is not None and there.size == source.size and self._noted(item.target) == source.etag:
            return False
        with as_listed(source.uri):
            if source.size > self._largest:
                self._in_parts(item)
            elif "-" in source.etag or self._always_noted:
                self._with_note(item)
            elif self._plainly(item) != source.etag:
                self._always_noted = True
                self._with_note(item)
        return True

    def _noted(self, target: S3Uri) -> str | None:
        try:
            with explained("s3:GetObject", target):
                found = self._flow.run(lambda: self._s3.head_object(Bucket=target.bucket, Key=target.key))
        except ObjectNotFoundError:
            # Deleted since it was listed; then it is made again.
            return None
        said = found["Metadata"]
        return None if SHAPE in said else said.get(SOURCE_ETAG)

    def _plainly(self, item: Placement) -> str:
        return self._copy(item)

    def _with_note(self, item: Placement) -> None:
        self._copy(item, MetadataDirective="REPLACE", **self._headers(item.source))

    def _copy(self, item: Placement, **more: Any) -> str:
        source, target = item.source, item.target
        with explained(f"s3:PutObject on {target}, or s3:GetObject", source.uri):
            answer = self._flow.run(
                lambda: self._s3.copy_object(
                    CopySource={"Bucket": source.uri.bucket, "Key": source.uri.key},
                    CopySourceIfMatch=_quoted(source.etag),
                    Bucket=target.bucket,
                    Key=target.key,
                    **more,
                )
            )
        return answer["CopyObjectResult"]["ETag"].strip('"')

    def _headers(self, source: StoredObject) -> dict[str, Any]:
        """What replaces a source's headers: the same once more, and its ETag as metadata."""
        with explained("s3:GetObject", source.uri):
            found: Mapping[str, Any] = self._flow.run(
                lambda: self._s3.head_object(
                    Bucket=source.uri.bucket, Key=source.uri.key, IfMatch=_quoted(source.etag)
                )
            )
        kept = ("CacheControl", "ContentDisposition", "ContentEncoding", "ContentLanguage", "ContentType")
        headers = {name: found[name] for name in kept if found.get(name)}
        return {**headers, "Metadata": {**found["Metadata"], SOURCE_ETAG: source.etag}}

    def _in_parts(self, item: Placement) -> None:
        """Copy what is too large for one request; nothing is to be seen of it before it is whole."""
        from botocore.exceptions import ClientError

        source, target = item.source, item.target
        where: Any = {"Bucket": target.bucket, "Key": target.key}
        headers = self._headers(source)
        with explained(f"s3:PutObject on {target}, or s3:GetObject", source.uri):
            upload = self._flow.run(lambda: self._s3.create_multipart_upload(**where, **headers))["UploadId"]
            try:
                parts = [
                    {"PartNumber": number, "ETag": self._part(item, upload, number, start)}
                    for number, start in enumerate(range(0, source.size, self._part_size), start=1)
                ]
                whole: Any = {"Parts": parts}
                self._flow.run(
                    lambda: self._s3.complete_multipart_upload(
                        **where, UploadId=upload, MultipartUpload=whole
                    )
                )
            except BaseException:
                # Parts that nobody takes back cost storage and are to be seen nowhere; what went wrong
                # before is what a person should hear of.
                with suppress(ClientError):
                    self._s3.abort_multipart_upload(**where, UploadId=upload)
                raise

    @property
    def _part_size(self) -> int:
        return min(_PART, self._largest)

    def _part(self, item: Placement, upload: str, number: int, start: int) -> str:
        source, target = item.source, item.target
        last = min(start + self._part_size, source.size) - 1
        answer = self._flow.run(
            lambda: self._s3.upload_part_copy(
                Bucket=target.bucket,
                Key=target.key,
                UploadId=upload,
                PartNumber=number,
                CopySource={"Bucket": source.uri.bucket, "Key": source.uri.key},
                CopySourceIfMatch=_quoted(source.etag),
                CopySourceRange=f"bytes={start}-{last}",
            )
        )
        return answer["CopyPartResult"]["ETag"]


@contextmanager
def as_listed(uri: S3Uri) -> Iterator[None]:
    """Say of a picture that it changed or went after it was listed."""
    try:
        yield
    except ObjectNotFoundError as error:
        raise PictureChangedError(uri, "deleted") from error
    except ObjectChangedError as error:
        raise PictureChangedError(uri) from error


def _is_copy(there: StoredObject | None, source: StoredObject) -> bool:
    return there is not None and (there.size, there.etag) == (source.size, source.etag)


def _quoted(etag: str) -> str:
    return f'"{etag}"'
