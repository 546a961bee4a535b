"""What a CloudFormation stack may hold here that moto's may not, or holds only in part.

moto makes a stack's resources through classes that it finds by their type. Those of this module make theirs
by asking this account's own services, as anybody would: a bucket of a stack has its CORS rules, its policy
and its encryption, and a work team of a stack can be given jobs. Types: those in `templates/cloudformation`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from moto.core.common_models import CloudFormationModel

from gtlabel.emulator.api import Context

if TYPE_CHECKING:
    from gtlabel.aws import Aws

Properties = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Made:
    """A resource of a stack: what `Ref` gives, and what `Fn::GetAtt` gives."""

    id: str
    attributes: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Type:
    """How resources of one type are made, changed and deleted.

    Attributes:
        name: the type.
        named_by: the property that holds the resource's name, if it has one.
        attributes: what `Fn::GetAtt` knows.
        put: makes the resource of that name, or brings one that is there to its properties.
        delete: deletes the resource by its `Ref`.
    """

    name: str
    named_by: str
    attributes: tuple[str, ...]
    put: Callable[[Aws, str, Properties, Made | None], Made]
    delete: Callable[[Aws, str, Properties], object]


class _Account:
    """Whose services are asked; nobody's before `install`."""

    aws_of: Callable[[Context], Aws] | None = None


def install(aws_of: Callable[[Context], Aws]) -> None:
    """Let stacks make these resources with the clients of an account and region.

    It is called before the first request for a stack: moto lists its types once.
    """
    if not _models:
        # Of two classes for one type, the later one counts.
        import moto.iam.models
        import moto.s3.models  # noqa: F401

        _models.extend(_model(kind) for kind in _TYPES)
    _Account.aws_of = aws_of


def complete_change_sets() -> None:
    """Let a stack that a change set made have its outputs, which moto forgets then.

    `aws cloudformation deploy` makes stacks like that. Call it with the first request for a stack and no
    earlier: moto loads most of itself for them.
    """
    import moto.cloudformation.models as models
    from moto.cloudformation.parsing import OutputMap

    class CompleteChangeSet(models.ChangeSet):
        def apply(self) -> None:
            super().apply()
            stack = self.stack
            stack.template_dict = self.template_dict
            stack.output_map = OutputMap(stack.resource_map, self.template_dict, stack.stack_id)

    models.ChangeSet = CompleteChangeSet  # type: ignore[misc]


# moto finds the classes by asking Python for those that exist; a class that nobody holds is soon gone.
_models: list[type[CloudFormationModel]] = []


def models() -> dict[str, type[CloudFormationModel]]:
    """The classes that `install` made for moto, by the type of resource."""
    return {model.cloudformation_type(): model for model in _models}


def _model(kind: _Type) -> type[CloudFormationModel]:
    """The class by which moto knows a type."""

    class Resource(CloudFormationModel):
        def __init__(self, name: str, properties: Properties, made: Made) -> None:
            self.name = name
            self.properties = properties
            self.made = made

        @property
        def physical_resource_id(self) -> str:
            return self.made.id

        @staticmethod
        def cloudformation_name_type() -> str:
            return kind.named_by

        @staticmethod
        def cloudformation_type() -> str:
            return kind.name

        @classmethod
        def has_cfn_attr(cls, attr: str) -> bool:
            return attr in kind.attributes

        def get_cfn_attribute(self, name: str) -> str:
            return self.made.attributes[name]

        def is_created(self) -> bool:
            return True

        @classmethod
        def create_from_cloudformation_json(
            cls,
            resource_name: str,
            cloudformation_json: Properties,
            account_id: str,
            region_name: str,
            **_: Any,
        ) -> Resource:
            properties = _properties(cloudformation_json)
            made = _put(kind, resource_name, properties, Context(account_id, region_name), None)
            return cls(resource_name, properties, made)

        @classmethod
        def update_from_cloudformation_json(
            cls,
            original_resource: Resource,
            new_resource_name: str,
            cloudformation_json: Properties,
            account_id: str,
            region_name: str,
        ) -> Resource:
            # What the template does not name would have another name each time.
            properties = _properties(cloudformation_json)
            name = new_resource_name if kind.named_by in properties else original_resource.name
            here = Context(account_id, region_name)
            made = _put(kind, name, properties, here, original_resource.made)
            return cls(name, properties, made)

        def delete(self, account_id: str, region_name: str) -> None:
            kind.delete(_aws(Context(account_id, region_name)), self.made.id, self.properties)

    return Resource


def _put(kind: _Type, name: str, properties: Properties, here: Context, before: Made | None) -> Made:
    from botocore.exceptions import ClientError
    from moto.cloudformation.exceptions import ValidationError

    try:
        return kind.put(_aws(here), name, properties, before)
    except ClientError as error:
        raise ValidationError(message=f"{kind.name} {name}: {error}") from error


def _aws(context: Context) -> Aws:
    assert _Account.aws_of is not None
    return _Account.aws_of(context)


def _properties(document: Properties) -> dict[str, Any]:
    """The properties that are set; what was `AWS::NoValue` is None here."""
    found = _without_none(document.get("Properties", {}))
    return dict(found)


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_none(item) for name, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_none(item) for item in value if item is not None]
    return value


def _put_bucket(aws: Aws, name: str, properties: Properties, before: Made | None) -> Made:
    s3: Any = aws.s3
    if before is None:
        place = (
            {}
            if aws.region == "us-east-1"
            else {"CreateBucketConfiguration": {"LocationConstraint": aws.region}}
        )
        s3.create_bucket(Bucket=name, **place)
    given = {"Bucket": name}
    if cors := properties.get("CorsConfiguration"):
        rules = [
            _renamed(rule, {"ExposedHeaders": "ExposeHeaders", "Id": "ID", "MaxAge": "MaxAgeSeconds"})
            for rule in cors["CorsRules"]
        ]
        s3.put_bucket_cors(**given, CORSConfiguration={"CORSRules": rules})
    if encryption := properties.get("BucketEncryption"):
        rules = [
            _renamed(rule, {"ServerSideEncryptionByDefault": "ApplyServerSideEncryptionByDefault"})
            for rule in encryption["ServerSideEncryptionConfiguration"]
        ]
        s3.put_bucket_encryption(**given, ServerSideEncryptionConfiguration={"Rules": rules})
    if block := properties.get("PublicAccessBlockConfiguration"):
        s3.put_public_access_block(**given, PublicAccessBlockConfiguration=block)
    if ownership := properties.get("OwnershipControls"):
        s3.put_bucket_ownership_controls(**given, OwnershipControls=ownership)
    if versioning := properties.get("VersioningConfiguration"):
        s3.put_bucket_versioning(**given, VersioningConfiguration=versioning)
    if lifecycle := properties.get("LifecycleConfiguration"):
        rules = [{"Filter": {"Prefix": ""}, **_renamed(rule, {"Id": "ID"})} for rule in lifecycle["Rules"]]
        s3.put_bucket_lifecycle_configuration(**given, LifecycleConfiguration={"Rules": rules})
    if tags := properties.get("Tags"):
        s3.put_bucket_tagging(**given, Tagging={"TagSet": tags})
    address = f"{name}.s3.amazonaws.com"
    return Made(name, {"Arn": f"arn:aws:s3:::{name}", "DomainName": address, "RegionalDomainName": address})


def _put_bucket_policy(aws: Aws, _: str, properties: Properties, __: Made | None) -> Made:
    bucket = properties["Bucket"]
    aws.s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(properties["PolicyDocument"]))
    return Made(bucket, {})


def _put_role(aws: Aws, name: str, properties: Properties, before: Made | None) -> Made:
    iam: Any = aws.iam
    trust = json.dumps(properties["AssumeRolePolicyDocument"])
    if before is None:
        more = {
            key: properties[key]
            for key in ("Path", "Description", "MaxSessionDuration", "Tags")
            if key in properties
        }
        iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust, **more)
    else:
        iam.update_assume_role_policy(RoleName=name, PolicyDocument=trust)
        for policy in iam.list_role_policies(RoleName=name)["PolicyNames"]:
            iam.delete_role_policy(RoleName=name, PolicyName=policy)
    for policy in properties.get("Policies", ()):
        document = json.dumps(policy["PolicyDocument"])
        iam.put_role_policy(RoleName=name, PolicyName=policy["PolicyName"], PolicyDocument=document)
    for arn in properties.get("ManagedPolicyArns", ()):
        iam.attach_role_policy(RoleName=name, PolicyArn=arn)
    role = iam.get_role(RoleName=name)["Role"]
    return Made(name, {"Arn": role["Arn"], "RoleId": role["RoleId"]})


def _put_user_pool(aws: Aws, name: str, properties: Properties, before: Made | None) -> Made:
    known = {key: value for key, value in properties.items() if key not in ("UserPoolName", "UserPoolTags")}
    if before is not None:
        return before
    cognito: Any = aws.cognito_idp
    pool = cognito.create_user_pool(PoolName=name, **known)["UserPool"]
    return Made(pool["Id"], {"Arn": pool["Arn"], "UserPoolId": pool["Id"]})


def _put_client(aws: Aws, name: str, properties: Properties, before: Made | None) -> Made:
    if before is not None:
        return before
    cognito: Any = aws.cognito_idp
    client = cognito.create_user_pool_client(**{"ClientName": name, **properties})["UserPoolClient"]
    return Made(client["ClientId"], {"ClientId": client["ClientId"], "Name": client["ClientName"]})


def _put_domain(aws: Aws, _: str, properties: Properties, before: Made | None) -> Made:
    if before is None:
        aws.cognito_idp.create_user_pool_domain(
            Domain=properties["Domain"], UserPoolId=properties["UserPoolId"]
        )
    return Made(properties["Domain"], {})


def _put_group(aws: Aws, name: str, properties: Properties, before: Made | None) -> Made:
    if before is None:
        cognito: Any = aws.cognito_idp
        cognito.create_group(**{"GroupName": name, **properties})
    return Made(name, {})


def _put_team(aws: Aws, name: str, properties: Properties, before: Made | None) -> Made:
    spelled = {"CognitoUserPool": "UserPool", "CognitoClientId": "ClientId", "CognitoUserGroup": "UserGroup"}
    members = [
        {kind: _renamed(member, spelled) for kind, member in definition.items()}
        for definition in properties["MemberDefinitions"]
    ]
    request = {**properties, "WorkteamName": name, "MemberDefinitions": members}
    sagemaker: Any = aws.sagemaker
    if before is None:
        arn = sagemaker.create_workteam(**request)["WorkteamArn"]
    else:
        kept = {key: value for key, value in request.items() if key not in ("Tags", "WorkforceName")}
        arn = sagemaker.update_workteam(**kept)["Workteam"]["WorkteamArn"]
    return Made(arn, {"WorkteamName": name})


def _renamed(document: Properties, names: Mapping[str, str]) -> dict[str, Any]:
    """A document with CloudFormation's names of members in the spelling of the service's API."""
    return {names.get(key, key): value for key, value in document.items()}


def _delete_role(aws: Aws, name: str, _: Properties) -> None:
    for policy in aws.iam.list_role_policies(RoleName=name)["PolicyNames"]:
        aws.iam.delete_role_policy(RoleName=name, PolicyName=policy)
    for attached in aws.iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]:
        aws.iam.detach_role_policy(RoleName=name, PolicyArn=attached["PolicyArn"])
    aws.iam.delete_role(RoleName=name)


def _delete_domain(aws: Aws, domain: str, properties: Properties) -> None:
    aws.cognito_idp.delete_user_pool_domain(Domain=domain, UserPoolId=properties["UserPoolId"])


def _delete_client(aws: Aws, client: str, properties: Properties) -> None:
    aws.cognito_idp.delete_user_pool_client(ClientId=client, UserPoolId=properties["UserPoolId"])


def _delete_group(aws: Aws, group: str, properties: Properties) -> None:
    aws.cognito_idp.delete_group(GroupName=group, UserPoolId=properties["UserPoolId"])


_TYPES = (
    _Type(
        "AWS::S3::Bucket",
        "BucketName",
        ("Arn", "DomainName", "RegionalDomainName"),
        _put_bucket,
        lambda aws, name, _: aws.s3.delete_bucket(Bucket=name),
    ),
    _Type(
        "AWS::S3::BucketPolicy",
        "",
        (),
        _put_bucket_policy,
        lambda aws, bucket, _: aws.s3.delete_bucket_policy(Bucket=bucket),
    ),
    _Type("AWS::IAM::Role", "RoleName", ("Arn", "RoleId"), _put_role, _delete_role),
    _Type(
        "AWS::Cognito::UserPool",
        "UserPoolName",
        ("Arn", "UserPoolId"),
        _put_user_pool,
        lambda aws, pool, _: aws.cognito_idp.delete_user_pool(UserPoolId=pool),
    ),
    _Type("AWS::Cognito::UserPoolClient", "ClientName", ("ClientId", "Name"), _put_client, _delete_client),
    _Type("AWS::Cognito::UserPoolDomain", "", (), _put_domain, _delete_domain),
    _Type("AWS::Cognito::UserPoolGroup", "GroupName", (), _put_group, _delete_group),
    _Type(
        "AWS::SageMaker::Workteam",
        "WorkteamName",
        ("WorkteamName",),
        _put_team,
        lambda aws, arn, _: aws.sagemaker.delete_workteam(WorkteamName=arn.rpartition("/")[2]),
    ),
)
