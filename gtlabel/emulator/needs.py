"""Which rights a request takes: the action, the resource it is for, and what it takes besides.

Resources and further actions are those of the Service Authorization Reference; what is not written down here
asks for its action alone, on whatever resource:
https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonsagemaker.html and
https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsiotgreengrassv2.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from gtlabel.emulator.api import Context
from gtlabel.emulator.permissions import Need
from gtlabel.errors import RecipeError

# What follows `arn:aws:<service>:<region>:<account>:`, or a whole ARN, or `*`.
_RESOURCES: dict[str, dict[str, str]] = {
    "sagemaker": {
        "labeling-job/{LabelingJobName}": "CreateLabelingJob DescribeLabelingJob StopLabelingJob",
        "training-job/{TrainingJobName}": "CreateTrainingJob DescribeTrainingJob StopTrainingJob",
        "workteam/private-crowd/{WorkteamName}": "CreateWorkteam DescribeWorkteam UpdateWorkteam "
        "DeleteWorkteam",
        "{WorkteamArn}": "ListLabelingJobsForWorkteam DescribeSubscribedWorkteam",
        "workforce/{WorkforceName}": "CreateWorkforce DescribeWorkforce UpdateWorkforce DeleteWorkforce",
        "{ResourceArn}": "AddTags ListTags DeleteTags",
        "*": "ListLabelingJobs ListTrainingJobs ListWorkteams ListWorkforces ListSubscribedWorkteams "
        "RenderUiTemplate",
    },
    "greengrass": {
        "{arn}": "DescribeComponent GetComponent ListComponentVersions DeleteComponent "
        "GetComponentVersionArtifact",
        "deployments:{deploymentId}": "GetDeployment CancelDeployment DeleteDeployment",
        "coreDevices:{coreDeviceThingName}": "GetCoreDevice ListEffectiveDeployments "
        "ListInstalledComponents DeleteCoreDevice BatchAssociateClientDeviceWithCoreDevice "
        "BatchDisassociateClientDeviceFromCoreDevice ListClientDevicesAssociatedWithCoreDevice",
        "{resourceArn}": "TagResource UntagResource ListTagsForResource",
        "/greengrass/things/{thingName}/connectivityInfo": "GetConnectivityInfo UpdateConnectivityInfo",
        "*": "ListComponents ListCoreDevices ListDeployments CreateDeployment "
        "AssociateServiceRoleToAccount GetServiceRoleForAccount DisassociateServiceRoleFromAccount",
    },
    "iot": {
        "thing/{thingName}": "DescribeThing GetThingShadow UpdateThingShadow DeleteThingShadow",
        "thinggroup/{thingGroupName}": "DescribeThingGroup ListThingsInThingGroup",
    },
    "sns": {
        "{TopicArn}": "Publish PublishBatch Subscribe GetTopicAttributes SetTopicAttributes DeleteTopic "
        "ListSubscriptionsByTopic",
        "{Name}": "CreateTopic",
        "*": "ListTopics Unsubscribe ListSubscriptions",
    },
    "sqs": {
        "{QueueName}": "CreateQueue GetQueueUrl GetQueueAttributes SetQueueAttributes ReceiveMessage "
        "DeleteMessage DeleteMessageBatch SendMessage SendMessageBatch DeleteQueue PurgeQueue "
        "ChangeMessageVisibility",
        "*": "ListQueues",
    },
    "cognito-idp": {
        "userpool/{UserPoolId}": "CreateUserPoolClient DescribeUserPoolClient UpdateUserPoolClient "
        "DeleteUserPoolClient ListUserPoolClients CreateUserPoolDomain DeleteUserPoolDomain CreateGroup "
        "GetGroup ListGroups DeleteGroup AdminCreateUser AdminGetUser AdminDisableUser AdminEnableUser "
        "AdminDeleteUser AdminAddUserToGroup AdminRemoveUserFromGroup AdminListGroupsForUser "
        "AdminUserGlobalSignOut AdminSetUserPassword "
        "ListUsersInGroup ListUsers DescribeUserPool UpdateUserPool DeleteUserPool",
        "*": "CreateUserPool ListUserPools DescribeUserPoolDomain",
    },
    "iam": {
        "arn:aws:iam::{account}:role/{RoleName}": "GetRole GetRolePolicy ListRolePolicies "
        "ListAttachedRolePolicies CreateRole PutRolePolicy DeleteRole DeleteRolePolicy AttachRolePolicy "
        "DetachRolePolicy UpdateAssumeRolePolicy",
        "{PolicySourceArn}": "SimulatePrincipalPolicy",
        "{PolicyArn}": "GetPolicy GetPolicyVersion",
        "*": "ListRoles ListPolicies SimulateCustomPolicy",
    },
    "events": {
        "rule/{Name}": "PutRule DeleteRule DescribeRule",
        "rule/{Rule}": "PutTargets ListTargetsByRule RemoveTargets",
    },
    "cloudformation": {"stack/{StackName}/*": "DescribeStacks"},
    "kms": {"{KeyId}": "DescribeKey"},
    "sts": {"{RoleArn}": "AssumeRole"},
}
_TEMPLATES = {
    (service, operation): template
    for service, rows in _RESOURCES.items()
    for template, operations in rows.items()
    for operation in operations.split()
}
# Operations that a service authorizes under another name.
_RENAMED = {
    "sns:PublishBatch": "sns:Publish",
    "sqs:SendMessageBatch": "sqs:SendMessage",
    "sqs:DeleteMessageBatch": "sqs:DeleteMessage",
    "lambda:Invoke": "lambda:InvokeFunction",
}
# These answer whoever is asking, or whoever knows a secret that only they were told.
_FREE = frozenset({"sts:GetCallerIdentity", "cognito-idp:InitiateAuth", "cognito-idp:RespondToAuthChallenge"})

# A deployment is an IoT job, which the caller's own rights are used for.
_SEEN = ("DescribeThing", "GetThingShadow")
_CHANGED = ("DescribeThing", "GetThingShadow", "UpdateThingShadow", "DeleteThingShadow")
_JOBS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "CreateDeployment": (("CreateJob", "DescribeJob", "UpdateJob", "CancelJob"), _CHANGED),
    "CancelDeployment": (("DescribeJob", "UpdateJob", "CancelJob"), _CHANGED),
    "GetDeployment": (("DescribeJob",), _SEEN),
    "ListDeployments": (("DescribeJob",), _SEEN),
    "ListEffectiveDeployments": (("DescribeJob", "DescribeJobExecution"), _SEEN),
}


def needs_of(service: str, operation: str, params: Mapping[str, Any], context: Context) -> list[Need]:
    """The rights that an operation takes, in the order in which they are looked at.

    Args:
        service: the prefix of its actions, such as `greengrass`.
        operation: its name in the service model.
        params: its parameters, spelled as boto3 spells them.
        context: the account and region.
    """
    action = f"{service}:{operation}"
    action = _RENAMED.get(action, action)
    if action in _FREE:
        return []
    found = Need(action, _resource(service, operation, params, context), _keys(service, params))
    return [found, *_besides(service, operation, params, context, found)]


def s3_needs(method: str, url: str, headers: Mapping[str, str], body: bytes = b"") -> list[Need]:
    """The rights that a request to S3 takes, with the bucket in the path.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html
    """
    parts = urlsplit(url)
    bucket, _, key = unquote(parts.path).lstrip("/").partition("/")
    query = parse_qs(parts.query, keep_blank_values=True)
    if not bucket:
        return [Need("s3:ListAllMyBuckets")]
    where = f"arn:aws:s3:::{bucket}"
    if not key:
        if method == "POST" and "delete" in query:
            return [Need("s3:DeleteObject", f"{where}/{name}") for name in _deleted(body)]
        named = [query_name for query_name in query if query_name in _BUCKET_SETTINGS]
        if named:
            verb = "Get" if method in ("GET", "HEAD") else "Put"
            setting = _BUCKET_SETTINGS[named[0]]
            return [Need(setting if ":" in setting else f"s3:{verb}{setting}", where)]
        action = {"PUT": "CreateBucket", "DELETE": "DeleteBucket"}.get(method, "ListBucket")
        keys = {f"s3:{name}": query[name] for name in ("prefix", "delimiter", "max-keys") if name in query}
        return [Need(f"s3:{action}", where, keys)]
    return list(_object_needs(method, f"{where}/{key}", query, headers))


# Parameters of a bucket's address that name one of its settings.
_BUCKET_SETTINGS = {
    "cors": "BucketCORS",
    "location": "BucketLocation",
    "policy": "BucketPolicy",
    "policyStatus": "BucketPolicyStatus",
    "encryption": "EncryptionConfiguration",
    "versioning": "BucketVersioning",
    "lifecycle": "LifecycleConfiguration",
    "notification": "BucketNotification",
    "publicAccessBlock": "BucketPublicAccessBlock",
    "ownershipControls": "BucketOwnershipControls",
    "tagging": "BucketTagging",
    "acl": "BucketAcl",
    "logging": "BucketLogging",
    "uploads": "s3:ListBucketMultipartUploads",
    "versions": "s3:ListBucketVersions",
}


def _object_needs(
    method: str, arn: str, query: Mapping[str, list[str]], headers: Mapping[str, str]
) -> Iterator[Need]:
    setting = {"tagging": "ObjectTagging", "acl": "ObjectAcl"}
    named = next((setting[name] for name in query if name in setting), None)
    version = "Version" if query.get("versionId") else ""
    if method in ("GET", "HEAD"):
        if "uploadId" in query:
            yield Need("s3:ListMultipartUploadParts", arn)
        else:
            yield Need(f"s3:Get{named or f'Object{version}'}", arn)
    elif method == "DELETE":
        action = "AbortMultipartUpload" if "uploadId" in query else f"DeleteObject{version}"
        yield Need(f"s3:{action}", arn)
    else:
        yield Need(f"s3:Put{named or 'Object'}", arn)
        source = unquote(headers.get("x-amz-copy-source", "")).lstrip("/").partition("?")[0]
        if source:
            yield Need("s3:GetObject", f"arn:aws:s3:::{source}")
        if headers.get("x-amz-tagging"):
            yield Need("s3:PutObjectTagging", arn)


def _deleted(body: bytes) -> list[str]:
    import xmltodict

    listed = xmltodict.parse(body, force_list=("Object",))["Delete"].get("Object", [])
    return [item["Key"] for item in listed]


def _resource(service: str, operation: str, params: Mapping[str, Any], context: Context) -> str | None:
    if (service, operation) == ("greengrass", "CreateComponentVersion"):
        name = _component(params)
        return context.arn(service, f"components:{name}") if name else None
    template = _TEMPLATES.get((service, operation))
    if template is None or template == "*":
        return template
    known = {"account": context.account, **params}
    if service == "sqs" and "QueueUrl" in params:
        known["QueueName"] = str(params["QueueUrl"]).rpartition("/")[2]
    try:
        text = template.format_map(known)
    except KeyError:
        # The service will say which parameter is missing.
        return "*"
    return text if text.startswith("arn:") else context.arn(service, text)


def _keys(service: str, params: Mapping[str, Any]) -> dict[str, list[str]]:
    """The condition keys of a service that a request carries."""
    if service != "sagemaker":
        return {}
    team = params.get("HumanTaskConfig", {}).get("WorkteamArn")
    if not team:
        return {}
    kinds = {"private-crowd": "private-crowd", "public-crowd": "public-crowd", "vendor-crowd": "vendor-crowd"}
    kind = kinds.get(str(team).partition(":workteam/")[2].partition("/")[0])
    return {"sagemaker:workteamarn": [team], **({"sagemaker:workteamtype": [kind]} if kind else {})}


def _besides(
    service: str, operation: str, params: Mapping[str, Any], context: Context, own: Need
) -> Iterator[Need]:
    """What a service asks for beside the operation's own action."""
    if service == "sagemaker" and params.get("Tags") and operation.startswith("Create"):
        yield Need("sagemaker:AddTags", own.resource)
    if service == "sagemaker" and params.get("RoleArn"):
        yield Need("iam:PassRole", params["RoleArn"], {"iam:passedtoservice": ["sagemaker.amazonaws.com"]})
    if (service, operation) == ("greengrass", "AssociateServiceRoleToAccount"):
        yield Need(
            "iam:PassRole", params.get("roleArn"), {"iam:passedtoservice": ["greengrass.amazonaws.com"]}
        )
    if (service, operation) == ("greengrass", "CreateComponentVersion"):
        # Who makes a component has to be able to read what is in it.
        yield from (Need("s3:GetObject", arn) for arn in _artifacts(params))
    if service == "greengrass" and operation in _JOBS:
        yield from _deployment_needs(operation, params, context)


def _deployment_needs(operation: str, params: Mapping[str, Any], context: Context) -> Iterator[Need]:
    jobs, things = _JOBS[operation]
    target = params.get("targetArn")
    if "coreDeviceThingName" in params:
        target = context.arn("iot", f"thing/{params['coreDeviceThingName']}")
    for name in jobs:
        yield Need(f"iot:{name}", context.arn("iot", "job/*"))
    if operation == "CreateDeployment":
        yield Need("iot:CreateJob", target)
    if operation == "ListEffectiveDeployments":
        yield Need("iot:DescribeJobExecution", target)
    if target is not None and ":thinggroup/" in target:
        yield Need("iot:DescribeThingGroup", target)
        return
    for name in things:
        # Which target a deployment has, its id alone does not tell.
        yield Need(f"iot:{name}", target)


def _component(params: Mapping[str, Any]) -> str | None:
    """The name of the component that a recipe describes."""
    name = _recipe(params).get("ComponentName")
    return name if isinstance(name, str) else None


def _artifacts(params: Mapping[str, Any]) -> list[str]:
    """The ARNs of the objects that a recipe names, each once."""
    manifests = _listed(_recipe(params).get("Manifests"))
    artifacts = [part for manifest in manifests for part in _listed(manifest.get("Artifacts"))]
    addresses = [str(part.get("Uri") or part.get("URI") or "") for part in artifacts]
    found = (address.removeprefix("s3://") for address in addresses if address.startswith("s3://"))
    return list(dict.fromkeys(f"arn:aws:s3:::{place}" for place in found))


def _listed(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def _recipe(params: Mapping[str, Any]) -> Mapping[str, Any]:
    """The recipe of a component; empty when it cannot be read, which the service will say."""
    from gtlabel.emulator.recipes import parse_recipe

    try:
        return parse_recipe(params.get("inlineRecipe") or b"{}")
    except RecipeError:
        return {}
