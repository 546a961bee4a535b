"""Whether the buckets are there, in the job's region, and can be read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gtlabel.labeling.preflight.findings import Finding, UncheckedError, asking, error, ok, unchecked
from gtlabel.labeling.preflight.subject import Subject, command

if TYPE_CHECKING:
    from gtlabel.aws import Aws
    from gtlabel.uris import S3Uri


def check_buckets(aws: Aws, subject: Subject) -> Iterator[Finding]:
    """Whether each bucket exists, in the region that the job would run in.

    Job, manifest, pictures, output and team share one region:
    https://docs.aws.amazon.com/sagemaker/latest/dg/sms-input-data-input-manifest.html
    """
    for bucket in subject.buckets:
        try:
            region = _region_of(aws, bucket)
        except UncheckedError as why:
            yield unchecked("bucket", f"the bucket {bucket!r} could not be checked because {why}")
            continue
        if region is None:
            yield error(
                "bucket",
                f"the bucket {bucket!r} does not exist",
                command(aws, "aws", "s3", "mb", f"s3://{bucket}"),
            )
        elif region != aws.region:
            yield error(
                "bucket",
                f"the bucket {bucket!r} is in {region} and the job would run in {aws.region}; "
                "a job reads and writes only in its own region",
                command(aws, "gtlabel", "doctor", f"s3://{bucket}/", region=region),
            )
        else:
            yield ok("bucket", f"the bucket {bucket!r} is in {region}, where the job would run")


def check_images(aws: Aws, subject: Subject) -> Iterator[Finding]:
    """Whether there is something to label, and whether it can be read."""
    for place in subject.images:
        try:
            yield _readable(aws, place)
        except UncheckedError as why:
            yield unchecked("images", f"the pictures of {place} could not be checked because {why}")
        except aws.s3.exceptions.NoSuchBucket:
            # The check of the buckets says that.
            continue


def _region_of(aws: Aws, bucket: str) -> str | None:
    """The region of a bucket, or None when there is no such bucket.

    HeadBucket says it in every answer, even to somebody who may not look into the bucket:
    https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadBucket.html
    """
    from botocore.exceptions import ClientError

    try:
        with asking("s3:ListBucket", f"arn:aws:s3:::{bucket}"):
            answer = aws.s3.head_bucket(Bucket=bucket)
    except ClientError as refusal:
        if refusal.response["Error"].get("Code") in ("404", "NoSuchBucket"):
            return None
        headers = refusal.response["ResponseMetadata"].get("HTTPHeaders", {})
        region: str | None = headers.get("x-amz-bucket-region")
        if region is None:
            raise
        return region
    if answer.get("BucketRegion"):
        return answer["BucketRegion"]
    with asking("s3:GetBucketLocation", f"arn:aws:s3:::{bucket}"):
        location = aws.s3.get_bucket_location(Bucket=bucket)["LocationConstraint"]
    # The two oldest regions have names of their own here:
    # https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketLocation.html
    named: dict[str | None, str] = {None: "us-east-1", "EU": "eu-west-1"}
    return named.get(location) or str(location)


def _readable(aws: Aws, place: S3Uri) -> Finding:
    with asking("s3:ListBucket", f"arn:aws:s3:::{place.bucket}"):
        found = aws.s3.list_objects_v2(Bucket=place.bucket, Prefix=place.key, MaxKeys=10)
    # A folder made in the console is an object without a byte.
    key = next((item["Key"] for item in found.get("Contents", ()) if item["Size"]), None)
    if key is None:
        return error("images", f"there is nothing to label at {place}")
    with asking("s3:GetObject", f"arn:aws:s3:::{place.bucket}/{key}"):
        aws.s3.get_object(Bucket=place.bucket, Key=key, Range="bytes=0-0")["Body"].read()
    return ok("images", f"the pictures of {place} can be listed and read")
