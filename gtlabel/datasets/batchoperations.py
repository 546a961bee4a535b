"""Class folders of tens of millions of pictures: S3 copies them by itself, from lists that are written here.

S3 Batch Operations takes a list of objects and does one thing with each. Its copy cannot rename: the key
of a copy is a prefix, a slash, and the whole key of its source (https://github.com/boto/boto3/issues/3420),
and all sources of a job lie in one bucket. So there is a job for each class and bucket, and copies lie at
`classes/<class>/<key of the source>`. The alternative, a Lambda function that is called for every picture,
would keep names short, and cost more, and be one more thing to own.

Consolidation is then called twice with the same words. The first time it writes lists and requests and
leaves the dataset unfinished; when the jobs have ended, the second time finds every copy, checks it, and
finishes. What failed on the way is simply asked for again.

Facts: https://docs.aws.amazon.com/AmazonS3/latest/userguide/batch-ops-copy-object.html and
https://docs.aws.amazon.com/AmazonS3/latest/userguide/batch-ops-create-job.html
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from gtlabel.awsmodel import check_request
from gtlabel.datasets.copying import LARGEST
from gtlabel.datasets.folders import Placement, folder_of
from gtlabel.errors import DatasetError
from gtlabel.storage import StoredObject, stat, write, write_lines
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

_FOLDER = "batch-operations/"
_MAX_KEY_BYTES = 1024
_PRIORITY = 10
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
# US dollars for S3 Standard in us-east-1, from copies made of https://aws.amazon.com/s3/pricing/ in 2026.
_A_JOB = 0.25
_A_MILLION_OBJECTS = 1.0
_A_THOUSAND_COPIES = 0.005


@dataclass(frozen=True, slots=True)
class Principal:
    """Who the copies are made for.

    Attributes:
        account: the number of the account that the jobs belong to.
        role: the ARN of the role that S3 takes on; it trusts `batchoperations.s3.amazonaws.com`, may read
            the pictures and the lists, and write copies and reports.
    """

    account: str
    role: str


def command(request: S3Uri) -> str:
    """The command that starts the job of a request."""
    return f"aws s3 cp {request} {request.name} && aws s3control create-job --cli-input-json file://{request.name}"


def cost(pictures: int, jobs: int) -> float:
    """What copying pictures by jobs costs in us-east-1, in US dollars; the copies themselves are in it."""
    return jobs * _A_JOB + pictures * (_A_MILLION_OBJECTS / 1e6 + _A_THOUSAND_COPIES / 1e3)


def place_by_key(images: Iterable[tuple[StoredObject, str]], into: S3Uri) -> dict[S3Uri, Placement]:
    """Decide where S3 puts the copy of each image, keyed by the image's address.

    What S3 cannot put there by itself (longer than a key may be, larger than one copy may be, or named as
    an image of another bucket is) gets a digest for a name, and is left for this process to copy.

    Args:
        images: each image with its class, in any order.
        into: the dataset.
    """
    home = into.at(into.key.rstrip("/") + "/classes/" if into.key else "classes/")
    taken: set[S3Uri] = set()
    placements: dict[S3Uri, Placement] = {}
    for image, class_name in sorted(images, key=lambda pair: pair[0].uri):
        folder = f"{home.key}{folder_of(class_name)}/"
        target = home.at(folder + image.uri.key)
        if target in taken or len(target.key.encode()) > _MAX_KEY_BYTES or image.size > LARGEST:
            target = home.at(f"{folder}~{sha256(image.uri.encode()).hexdigest()[:32]}{_suffix(image.uri)}")
        taken.add(target)
        placements[image.uri] = Placement(image, target)
    return placements


def outstanding(placements: Iterable[Placement], present: Mapping[S3Uri, StoredObject]) -> list[Placement]:
    """What has still to be copied.

    A copy that S3 made by itself bears no note of its source. Where it gave it another ETag (objects sent
    in parts, buckets that encrypt with a key), a copy of the same size that is newer than its source is
    taken for right: the jobs refuse sources that were changed after they were listed.
    """
    return [item for item in placements if not _is_there(present.get(item.target), item.source)]


def by_jobs(
    placements: Iterable[Placement],
) -> tuple[dict[tuple[S3Uri, str], list[Placement]], list[Placement]]:
    """Take placements apart into jobs, by the folder and the bucket of the source, and what no job can do."""
    jobs: dict[tuple[S3Uri, str], list[Placement]] = {}
    rest: list[Placement] = []
    for item in placements:
        key = item.source.uri.key
        if item.target.key.endswith(f"/{key}"):
            folder = item.target.at(item.target.key.removesuffix(f"/{key}"))
            jobs.setdefault((folder, item.source.uri.bucket), []).append(item)
        else:
            rest.append(item)
    return jobs, rest


def manifest_lines(placements: Iterable[Placement]) -> Iterator[bytes]:
    """The list of a job: bucket and key of each source, the key in URL encoding, without a header.

    Encoded, a key holds no comma, quote or newline, so nothing in it needs quoting.
    """
    for item in placements:
        yield f"{item.source.uri.bucket},{quote(item.source.uri.key, safe='/')}".encode()


def job_request(
    principal: Principal,
    folder: S3Uri,
    manifest: StoredObject,
    reports: S3Uri,
    *,
    newest: datetime,
    partition: str = "aws",
) -> dict[str, Any]:
    """The `CreateJob` request that copies what a list names below a folder.

    The same list gives the same token, so sending the request twice starts one job.

    Args:
        principal: for whom.
        folder: where copies go: each to this, a slash, and the key of its source.
        manifest: the list as it was stored; S3 refuses it when it was changed since.
        reports: where S3 tells what failed.
        newest: when the newest source was written; S3 copies none that was changed later.
        partition: `aws`, `aws-cn` or `aws-us-gov`.

    Raises:
        DatasetError: if the service would refuse the request, in its own words.
    """
    moment = newest.astimezone(UTC)
    token = sha256(f"{manifest.uri} {manifest.etag} {moment.isoformat()}".encode()).hexdigest()
    request: dict[str, Any] = {
        "AccountId": principal.account,
        "ConfirmationRequired": False,
        "Operation": {
            "S3PutObjectCopy": {
                "TargetResource": f"arn:{partition}:s3:::{folder.bucket}",
                "TargetKeyPrefix": folder.key,
                "MetadataDirective": "COPY",
                "UnModifiedSinceConstraint": moment,
            }
        },
        "Manifest": {
            "Spec": {"Format": "S3BatchOperations_CSV_20180820", "Fields": ["Bucket", "Key"]},
            "Location": {
                "ObjectArn": f"arn:{partition}:s3:::{manifest.uri.bucket}/{manifest.uri.key}",
                "ETag": manifest.etag,
            },
        },
        "Report": {
            "Bucket": f"arn:{partition}:s3:::{reports.bucket}",
            "Prefix": reports.key.rstrip("/"),
            "Format": "Report_CSV_20180820",
            "Enabled": True,
            "ReportScope": "FailedTasksOnly",
        },
        "ClientRequestToken": token,
        "Description": f"gtlabel: copies below {folder}"[:256],
        "Priority": _PRIORITY,
        "RoleArn": principal.role,
    }
    problems = check_request("s3control", "CreateJob", request)
    if problems:
        raise DatasetError(f"S3 Batch Operations would refuse the job for {folder}: {'; '.join(problems)}")
    return request


def ask(
    s3: S3Client, into: S3Uri, placements: Sequence[Placement], principal: Principal
) -> tuple[tuple[S3Uri, ...], list[Placement]]:
    """Write the lists and requests for what has to be copied; nothing is started and nothing is paid.

    Args:
        s3: the client.
        into: the dataset; all of it is written below `batch-operations/`.
        placements: what is outstanding.
        principal: for whom.

    Returns:
        A file for each job, as `aws s3control create-job --cli-input-json` takes it, and the placements that
        this process has to copy by itself.

    Raises:
        DatasetError: if the service would refuse a request.
    """
    jobs, rest = by_jobs(placements)
    requests = []
    for number, ((folder, bucket), members) in enumerate(sorted(jobs.items()), start=1):
        name = into / f"{_FOLDER}{number:04}"
        listing = S3Uri(f"{name}.csv")
        write_lines(s3, listing, manifest_lines(members))
        request = job_request(
            principal,
            folder,
            stat(s3, listing),
            into / f"{_FOLDER}reports/{number:04}",
            newest=max(item.source.modified or _LONG_AGO for item in members),
            partition=s3.meta.partition,
        )
        request["Description"] = f"gtlabel: {len(members)} pictures of {bucket} to {folder}"[:256]
        where = S3Uri(f"{name}.json")
        write(s3, where, json.dumps(request, indent=2, default=_as_text).encode() + b"\n", "application/json")
        requests.append(where)
    return tuple(requests), rest


def _is_there(there: StoredObject | None, source: StoredObject) -> bool:
    if there is None or there.size != source.size:
        return False
    if there.etag == source.etag:
        return True
    return there.modified is not None and source.modified is not None and there.modified > source.modified


def _suffix(image: S3Uri) -> str:
    _, dot, suffix = image.name.rpartition(".")
    return f".{suffix}" if dot and suffix.isascii() and suffix.isalnum() and len(suffix) <= 5 else ""


def _as_text(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
