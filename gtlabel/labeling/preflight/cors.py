"""Whether workers' browsers may read a bucket's pictures, and how to let them."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from gtlabel.errors import BucketNotFoundError, StorageDeniedError, StorageError
from gtlabel.labeling.preflight.findings import Finding, asking, error, ok, warning
from gtlabel.labeling.preflight.subject import Subject, command
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client
    from types_boto3_s3.type_defs import CORSRuleOutputTypeDef, CORSRuleTypeDef, CORSRuleUnionTypeDef

    from gtlabel.aws import Aws

_EXPOSED = "Access-Control-Allow-Origin"

# Workers' browsers turn pictures upright only when the bucket lets them read its headers:
# https://docs.aws.amazon.com/sagemaker/latest/dg/sms-cors-update.html
CORS_RULE: CORSRuleTypeDef = {
    "AllowedHeaders": [],
    "AllowedMethods": ["GET"],
    "AllowedOrigins": ["*"],
    "ExposeHeaders": [_EXPOSED],
}

# https://docs.aws.amazon.com/AmazonS3/latest/userguide/ManageCorsUsing.html
_MOST_RULES = 100


def let_browsers_in(s3: S3Client, bucket: str) -> bool:
    """Give a bucket the CORS rule that workers' browsers need, beside the rules it has.

    Without it `CreateLabelingJob` succeeds and every task fails.

    Returns:
        Whether anything had to be changed.

    Raises:
        BucketNotFoundError: if there is no such bucket.
        StorageDeniedError: if the credentials may not read or write the bucket's CORS rules.
        StorageError: if the bucket has as many rules as it can have.
    """
    from botocore.exceptions import ClientError

    action = "s3:GetBucketCORS"
    try:
        present = rules_of(s3, bucket)
        needed = needed_rules(present)
        if needed == present:
            return False
        if len(needed) > _MOST_RULES:
            raise StorageError(
                f"the bucket {bucket!r} has {len(present)} CORS rules, the most it can have; remove one first"
            )
        action = "s3:PutBucketCORS"
        s3.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": needed})
    except ClientError as refusal:
        code = refusal.response["Error"].get("Code", "")
        if code == "NoSuchBucket":
            raise BucketNotFoundError(bucket) from refusal
        if code in ("AccessDenied", "403"):
            raise StorageDeniedError(action, f"s3://{bucket}") from refusal
        raise
    return True


def check_cors(aws: Aws, subject: Subject) -> Iterator[Finding]:
    """Whether each bucket with pictures lets workers' browsers in."""
    for bucket in subject.image_buckets:
        try:
            with asking("s3:GetBucketCORS", f"arn:aws:s3:::{bucket}"):
                present = rules_of(aws.s3, bucket)
        except aws.s3.exceptions.NoSuchBucket:
            # The check of the buckets says that.
            continue
        needed = needed_rules(present)
        if needed == present:
            yield ok("cors", f"the bucket {bucket!r} lets workers' browsers read its pictures")
            continue
        fix = command(aws, "gtlabel", "doctor", str(S3Uri.of(bucket, "")), "--fix")
        change = difference(present, needed)
        if len(needed) > len(present):
            lack = "no CORS rule" if not present else "no CORS rule for GET from every origin"
            yield error(
                "cors",
                f"the bucket {bucket!r} has {lack}, so workers would see no pictures and tasks would fail",
                fix,
                change,
            )
        else:
            yield warning(
                "cors",
                f"the CORS rule of the bucket {bucket!r} does not expose {_EXPOSED}, "
                "so pictures may be shown lying on their side",
                fix,
                change,
            )


def rules_of(s3: S3Client, bucket: str) -> list[CORSRuleOutputTypeDef]:
    """The CORS rules of a bucket; a bucket without a configuration has none."""
    from botocore.exceptions import ClientError

    try:
        return s3.get_bucket_cors(Bucket=bucket)["CORSRules"]
    except ClientError as refusal:
        if refusal.response["Error"].get("Code") == "NoSuchCORSConfiguration":
            return []
        raise


def needed_rules(present: Sequence[CORSRuleUnionTypeDef]) -> list[CORSRuleUnionTypeDef]:
    """The rules that a bucket should have: those it has, and what workers' browsers lack of them.

    S3 answers by the first rule that fits, so a rule that lets everybody in is completed where it stands;
    one of ours behind it would never be read.
    """
    for position, rule in enumerate(present):
        if "GET" in rule["AllowedMethods"] and {"*", "https://*"} & set(rule["AllowedOrigins"]):
            exposed = list(rule.get("ExposeHeaders", ()))
            if _EXPOSED.lower() in (header.lower() for header in exposed):
                return list(present)
            completed: CORSRuleTypeDef = {**rule, "ExposeHeaders": [*exposed, _EXPOSED]}
            return [*present[:position], completed, *present[position + 1 :]]
    return [*present, CORS_RULE]


def difference(present: Sequence[CORSRuleUnionTypeDef], needed: Sequence[CORSRuleUnionTypeDef]) -> str:
    """What changes from one configuration to the other, as lines that begin with + and -."""
    before, after = (
        json.dumps({"CORSRules": list(rules)}, indent=2).splitlines() for rules in (present, needed)
    )
    lines = difflib.unified_diff(before, after, "present", "needed", lineterm="")
    return "\n".join(lines)
