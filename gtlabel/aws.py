"""The clients of one AWS account, or of anything that speaks its protocol at another address."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import boto3
    from types_boto3_cognito_idp import CognitoIdentityProviderClient
    from types_boto3_greengrassv2 import GreengrassV2Client
    from types_boto3_iam import IAMClient
    from types_boto3_iot import IoTClient
    from types_boto3_logs import CloudWatchLogsClient
    from types_boto3_s3 import S3Client
    from types_boto3_sagemaker import SageMakerClient
    from types_boto3_sns import SNSClient
    from types_boto3_sqs import SQSClient
    from types_boto3_sts import STSClient


class Aws:
    """Clients made on first use, all from one session and for one address.

    Args:
        session: a boto3 session; by default a new one, from the environment and the usual files.
        endpoint_url: the address that answers instead of AWS. When it is not given, boto3 looks at
            `AWS_ENDPOINT_URL` and its kin by itself.
        region: overrides the session's region.
        profile: the profile of a session made here.
    """

    def __init__(
        self,
        session: boto3.Session | None = None,
        endpoint_url: str | None = None,
        *,
        region: str | None = None,
        profile: str | None = None,
    ) -> None:
        if session is None:
            import boto3

            session = boto3.Session(profile_name=profile, region_name=region)
        self.session = session
        self.endpoint_url = endpoint_url
        self._region = region

    @property
    def region(self) -> str:
        """The region that requests go to; `us-east-1` when nothing names one."""
        return self._region or self.session.region_name or "us-east-1"

    @cached_property
    def s3(self) -> S3Client:
        """Amazon S3. Buckets stand in the path when the address is not AWS's own."""
        from botocore.config import Config

        # A custom address has no wildcard DNS; botocore then uses path style by itself ("auto").
        config = Config(retries={"mode": "standard", "max_attempts": 5}, max_pool_connections=64)
        return self.session.client(
            "s3", region_name=self.region, endpoint_url=self.endpoint_url, config=config
        )

    @cached_property
    def unsigned_s3(self) -> S3Client:
        """Amazon S3 without credentials, for buckets that anybody may read."""
        from botocore import UNSIGNED
        from botocore.config import Config

        config = Config(
            retries={"mode": "standard", "max_attempts": 5},
            max_pool_connections=32,
            signature_version=UNSIGNED,
        )
        return self.session.client(
            "s3", region_name=self.region, endpoint_url=self.endpoint_url, config=config
        )

    @cached_property
    def sagemaker(self) -> SageMakerClient:
        """Ground Truth and training jobs."""
        return self.session.client("sagemaker", region_name=self.region, endpoint_url=self.endpoint_url)

    @cached_property
    def greengrass(self) -> GreengrassV2Client:
        """Greengrass V2."""
        return self.session.client("greengrassv2", region_name=self.region, endpoint_url=self.endpoint_url)

    @cached_property
    def iot(self) -> IoTClient:
        """Things and thing groups."""
        return self.session.client("iot", region_name=self.region, endpoint_url=self.endpoint_url)

    @cached_property
    def iam(self) -> IAMClient:
        """Roles and policies."""
        return self.session.client("iam", region_name=self.region, endpoint_url=self.endpoint_url)

    @cached_property
    def logs(self) -> CloudWatchLogsClient:
        """CloudWatch Logs."""
        return self.session.client("logs", region_name=self.region, endpoint_url=self.endpoint_url)

    @cached_property
    def cloudformation(self) -> Any:
        """The stacks that buckets, roles and teams are made by."""
        return self.session.client("cloudformation", region_name=self.region, endpoint_url=self.endpoint_url)

    @cached_property
    def events(self) -> Any:
        """The rules that tell of a job's end."""
        return self.session.client("events", region_name=self.region, endpoint_url=self.endpoint_url)

    @cached_property
    def sns(self) -> SNSClient:
        """The topics that streaming jobs are sent to and answer on."""
        return self.session.client("sns", region_name=self.region, endpoint_url=self.endpoint_url)

    @cached_property
    def sqs(self) -> SQSClient:
        """The queues that their messages wait in."""
        return self.session.client("sqs", region_name=self.region, endpoint_url=self.endpoint_url)

    @cached_property
    def cognito_idp(self) -> CognitoIdentityProviderClient:
        """The user pools that workers sign in to."""
        return self.session.client("cognito-idp", region_name=self.region, endpoint_url=self.endpoint_url)

    @cached_property
    def sts(self) -> STSClient:
        """Who we are."""
        return self.session.client("sts", region_name=self.region, endpoint_url=self.endpoint_url)

    @cached_property
    def account(self) -> str:
        """The twelve digits of the account, from `GetCallerIdentity` (one call, kept)."""
        return self.sts.get_caller_identity()["Account"]
