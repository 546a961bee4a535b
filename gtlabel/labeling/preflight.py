"""What must be true before workers are shown pictures, and how to make it so."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client
    from types_boto3_s3.type_defs import CORSRuleTypeDef

# Workers' browsers turn pictures upright only when the bucket lets them read its headers:
# https://docs.aws.amazon.com/sagemaker/latest/dg/sms-cors-update.html
CORS_RULE: CORSRuleTypeDef = {
    "AllowedHeaders": [],
    "AllowedMethods": ["GET"],
    "AllowedOrigins": ["*"],
    "ExposeHeaders": ["Access-Control-Allow-Origin"],
}


def let_browsers_in(s3: S3Client, bucket: str) -> None:
    """Give a bucket the CORS rule that workers' browsers need, in place of what it has.

    Without it `CreateLabelingJob` succeeds and every task fails.
    """
    s3.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": [CORS_RULE]})
