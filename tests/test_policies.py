"""The policies that gtlabel ships, what goes into them, and how policies are decided."""

from __future__ import annotations

import json
from typing import Any

import pytest
from permission_matrix import BUCKET, VALUES, statement

from gtlabel.emulator.permissions import Need, decide
from gtlabel.errors import PolicyError
from gtlabel.policies import COMMANDS, ROLES, actions, denial_in, policy_for

# The policies themselves.


@pytest.mark.parametrize("name", [*COMMANDS, *ROLES])
def test_every_statement_says_why_it_is_there_and_none_allows_a_whole_service(name: str) -> None:
    document = policy_for(name, {**VALUES, "role_alias": "cameras", "key": KEY})
    reasons = [statement.get("Sid") for statement in document["Statement"]]
    # AWS IoT's policies have no place for a reason.
    if name != "device":
        assert all(reason and reason.isalnum() for reason in reasons)
        assert len(set(reasons)) == len(reasons)
    for action in actions(document):
        assert "*" not in action
    for each in document["Statement"]:
        assert each["Effect"] == "Allow"
        if each.get("Resource") == "*":
            # Only what AWS cannot tie to a resource.
            listed = each["Action"] if isinstance(each["Action"], list) else [each["Action"]]
            assert set(listed) <= _ON_EVERYTHING


KEY = "arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
_ON_EVERYTHING = {
    # https://docs.aws.amazon.com/sagemaker/latest/dg/sagemaker-roles.html, of jobs in a VPC
    "ec2:CreateNetworkInterface",
    "ec2:CreateNetworkInterfacePermission",
    "ec2:DeleteNetworkInterface",
    "ec2:DeleteNetworkInterfacePermission",
    "ec2:DescribeDhcpOptions",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSecurityGroups",
    "ec2:DescribeSubnets",
    "ec2:DescribeVpcs",
    "sagemaker:ListLabelingJobs",
    "sagemaker:ListTrainingJobs",
    "sagemaker:ListWorkforces",
    "sagemaker:ListWorkteams",
    "cognito-idp:ListUserPools",
    "cognito-idp:CreateUserPool",
    "servicequotas:ListServiceQuotas",
    "sns:Unsubscribe",
    "greengrass:ListComponents",
    "greengrass:ListDeployments",
    "greengrass:CreateDeployment",
    "greengrass:ResolveComponentCandidates",
    "greengrass:ListThingGroupsForCoreDevice",
    "greengrass:GetDeploymentConfiguration",
    "greengrass:GetComponentVersionArtifact",
    "cloudwatch:PutMetricData",
    "ecr:GetAuthorizationToken",
}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("bucket", "*"),
        ("bucket", 'b"],"Resource":"*'),
        ("bucket", "my-bucket/*"),
        ("prefix", "*"),
        ("prefix", "trash/?"),
        ("prefix", "${aws:username}/"),
        ("prefix", "trash/\n"),
        ("account", "1234"),
        ("account", "١٢٣٤٥٦٧٨٩٠١٢"),
        ("region", "us-east-1:*"),
        ("team", "team*"),
        ("team", "arn:aws:sagemaker:*:123456789012:workteam/private-crowd/me"),
        ("role", "*"),
        ("role", "service-role/*"),
        ("thing", "kitchen-*"),
        ("component", "deeplens/../other"),
        ("key", "arn:aws:kms:us-east-1:123456789012:key/*"),
        ("key", "alias/mine"),
        ("colour", "red"),
    ],
)
def test_no_value_can_widen_a_policy_or_break_out_of_it(name: str, value: str) -> None:
    with pytest.raises(PolicyError, match=name):
        policy_for("deploy", {**VALUES, name: value})


@pytest.mark.parametrize(
    ("command", "missing", "sentence"),
    [
        ("label", "bucket", "the policy for label needs a value for bucket; give --bucket"),
        ("label", "role", "needs a value for role; give --role"),
        ("label", "account", "needs its account and region"),
        ("bake", "bucket", "there is no policy for 'bake'; there is one for doctor, label, jobs"),
    ],
)
def test_a_policy_with_a_gap_is_not_written(command: str, missing: str, sentence: str) -> None:
    values = {name: value for name, value in VALUES.items() if name != missing}
    with pytest.raises(PolicyError, match=sentence):
        policy_for(command, values)


def test_a_policy_speaks_of_the_partition_that_its_region_is_in() -> None:
    document = policy_for("label", {**VALUES, "region": "us-gov-west-1"})
    assert document["Statement"][0]["Resource"] == f"arn:aws-us-gov:s3:::{BUCKET}"
    assert "arn:aws:" not in json.dumps(document)


@pytest.mark.parametrize(
    ("message", "action", "resource", "explicit"),
    [
        # contract/ground-truth.md section 11.1, number 16
        (
            "User: arn:aws:sts::1:assumed-role/a/b is not authorized to perform: "
            "cognito-idp:CreateUserPool on resource: * because no identity-based policy allows the "
            "cognito-idp:CreateUserPool action",
            "cognito-idp:CreateUserPool",
            "*",
            False,
        ),
        (
            "User: arn:aws:iam::1:user/a is not authorized to perform: s3:GetObject on resource: "
            '"arn:aws:s3:::b/a b.jpg" with an explicit deny in an identity-based policy',
            "s3:GetObject",
            "arn:aws:s3:::b/a b.jpg",
            True,
        ),
        ("User: arn:aws:iam::1:user/a is not authorized to perform: iam:GetRole", "iam:GetRole", "", False),
    ],
)
def test_a_denial_is_found_in_what_aws_says(message: str, action: str, resource: str, explicit: bool) -> None:
    denial = denial_in(message)
    assert denial is not None
    assert (denial.action, denial.resource, denial.explicit) == (action, resource, explicit)
    assert denial_in("Access Denied") is None


# How policies are decided.


NEED = Need("s3:GetObject", "arn:aws:s3:::b/a.jpg", {"s3:prefix": ["in/"]})


@pytest.mark.parametrize(
    ("statements", "outcome"),
    [
        ([], "implicitDeny"),
        ([statement()], "allowed"),
        ([statement(), statement("Deny")], "explicitDeny"),
        ([statement("Deny"), statement()], "explicitDeny"),
        ([statement(), statement("Deny", Resource="arn:aws:s3:::other/*")], "allowed"),
        ([statement(Action=["s3:Put*", "S3:get*"])], "allowed"),
        ([statement(Action="s3:GetObjec?")], "allowed"),
        ([statement(Action="s3:GetObjectX")], "implicitDeny"),
        ([statement(Resource="arn:aws:s3:::b/a.jp?")], "allowed"),
        ([statement(Resource="arn:aws:s3:::b/aXjpg")], "implicitDeny"),
        ([statement(Resource="arn:aws:s3:::B/*")], "implicitDeny"),
        ([statement(Resource=["arn:aws:s3:::x", "*"])], "allowed"),
        ([{"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"}], "allowed"),
        ([{"Effect": "Allow", "NotAction": "s3:*", "Resource": "*"}], "implicitDeny"),
        ([{"Effect": "Deny", "Action": "*", "NotResource": "arn:aws:s3:::b/*"}, statement()], "allowed"),
        ([statement(Condition={"StringLike": {"s3:prefix": "i*"}})], "allowed"),
        ([statement(Condition={"StringLike": {"s3:prefix": "o*"}})], "implicitDeny"),
        ([statement(Condition={"StringEquals": {"S3:Prefix": ["a", "in/"]}})], "allowed"),
        ([statement(Condition={"StringEquals": {"aws:PrincipalTag/x": "y"}})], "implicitDeny"),
        ([statement(Condition={"StringEqualsIfExists": {"aws:PrincipalTag/x": "y"}})], "allowed"),
        ([statement(Condition={"StringNotEquals": {"aws:PrincipalTag/x": "y"}})], "allowed"),
        ([statement(Condition={"Null": {"s3:prefix": "false"}})], "allowed"),
        ([statement(Condition={"Null": {"s3:prefix": "true"}})], "implicitDeny"),
        ([statement(), statement("Deny", Condition={"StringEquals": {"s3:prefix": "x"}})], "allowed"),
        # A condition that is not understood never gives a right and always takes one.
        ([statement(Condition={"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}})], "implicitDeny"),
        ([statement(), statement("Deny", Condition={"Odd": {"aws:SourceIp": "x"}})], "explicitDeny"),
        ([statement(Resource="arn:aws:s3:::b/${aws:username}.jpg")], "allowed"),
        ([statement(Resource="arn:aws:s3:::b/${aws:userid}.jpg")], "implicitDeny"),
    ],
)
def test_policies_are_decided_as_iam_decides_them(statements: list[dict[str, Any]], outcome: str) -> None:
    policies = [{"Version": "2012-10-17", "Statement": statements}]
    assert decide(policies, NEED, {"aws:username": ["a"]}).outcome == outcome


def test_a_policy_may_have_one_statement_that_stands_in_no_list() -> None:
    assert decide([{"Statement": statement()}], NEED).outcome == "allowed"
