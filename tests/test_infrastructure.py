"""The files for AWS: the stack deploys and is what it says, and the state machine makes the whole journey."""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml
from botocore.exceptions import ClientError
from emulator_parts import gtlabel
from programs import need
from state_machine import Execution, ExecutionError

from gtlabel.aws import Aws
from gtlabel.emulator.child import Address
from gtlabel.emulator.simulate import answer
from gtlabel.errors import SettingsError, TemplateError
from gtlabel.labeling.preflight import CORS_RULE
from gtlabel.labeling.stack import stack_settings, to_toml
from gtlabel.policies import policy_for
from gtlabel.settings import Project
from gtlabel.templates import list_templates, read_template

ACCOUNT = "123456789012"
STACK = read_template("cloudformation/gtlabel.yaml")
MACHINE_STACK = read_template("cloudformation/journey.yaml")
JOURNEY = json.loads(read_template("stepfunctions/journey.asl.json"))
SAMPLES = Path(__file__).parent.parent / "samples" / "trash"


def deploy(aws: Aws, name: str = "gtlabel", **parameters: str) -> dict[str, str]:
    """Create the stack, and return its outputs."""
    need(
        find_spec("openapi_spec_validator"),
        "deploys a stack in moto, which needs another package; get it with: pip install 'gtlabel[local]'",
    )
    given = [{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()]
    request = {"StackName": name, "Parameters": given, "Capabilities": ["CAPABILITY_IAM"]}
    aws.cloudformation.create_stack(TemplateBody=STACK, **request)
    aws.cloudformation.get_waiter("stack_create_complete").wait(StackName=name)
    (stack,) = aws.cloudformation.describe_stacks(StackName=name)["Stacks"]
    return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}


@pytest.fixture(scope="module")
def lint(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What cfn-lint says, its suggestions included, of the stack, the state machine and a broken one."""
    places = [os.environ.get("GTLABEL_SDK_PYTHON"), sys.executable]
    beside = [path for place in places if place and (path := Path(place).with_name("cfn-lint")).exists()]
    program = beside[0] if beside else shutil.which("cfn-lint")
    need(program, "checks the stack as AWS's own linter does; get it with: pip install cfn-lint")
    folder = tmp_path_factory.mktemp("lint")
    (folder / "stack").write_text(STACK)
    (folder / "machine-stack").write_text(MACHINE_STACK)
    broken = copy.deepcopy(JOURNEY)
    del broken["States"]["Train"]["Resource"]
    for name, definition in (("machine", JOURNEY), ("broken", broken)):
        properties = {"RoleArn": f"arn:aws:iam::{ACCOUNT}:role/states", "Definition": definition}
        machine = {"Type": "AWS::StepFunctions::StateMachine", "Properties": properties}
        (folder / name).write_text(json.dumps({"Resources": {"Journey": machine}}))
    run = subprocess.run(
        [str(program), "--include-checks", "I", "--format", "json", "--", *map(str, folder.iterdir())],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.stderr == ""
    said: dict[str, list[str]] = {path.name: [] for path in folder.iterdir()}
    for finding in json.loads(run.stdout):
        said[Path(finding["Filename"]).name].append(finding["Message"])
    return said


def test_cfn_lint_is_quiet_even_about_what_it_only_suggests(lint: dict[str, list[str]]) -> None:
    assert lint["stack"] == []
    assert lint["machine-stack"] == []


def test_cfn_lint_finds_the_state_machine_valid_and_a_broken_one_not(lint: dict[str, list[str]]) -> None:
    assert lint["machine"] == []
    assert lint["broken"] == ["'Resource' is a required property"]


def test_the_stack_makes_a_bucket_that_workers_can_read_and_nobody_unencrypted(gtlabel_aws: Aws) -> None:
    outputs = deploy(gtlabel_aws, BucketName="trash-photos")
    bucket = {"Bucket": "trash-photos"}
    assert outputs["Bucket"] == "trash-photos"
    s3 = gtlabel_aws.s3
    (rule,) = s3.get_bucket_cors(**bucket)["CORSRules"]
    assert rule["AllowedMethods"] == CORS_RULE["AllowedMethods"] == ["GET"]
    assert rule["AllowedOrigins"] == CORS_RULE["AllowedOrigins"] == ["*"]
    assert rule["ExposeHeaders"] == ["Access-Control-Allow-Origin"]
    (encryption,) = s3.get_bucket_encryption(**bucket)["ServerSideEncryptionConfiguration"]["Rules"]
    assert encryption["ApplyServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}
    (statement,) = json.loads(s3.get_bucket_policy(**bucket)["Policy"])["Statement"]
    assert statement["Effect"] == "Deny"
    assert statement["Resource"] == ["arn:aws:s3:::trash-photos", "arn:aws:s3:::trash-photos/*"]
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert set(s3.get_public_access_block(**bucket)["PublicAccessBlockConfiguration"].values()) == {True}
    assert s3.get_bucket_versioning(**bucket)["Status"] == "Enabled"
    lifecycle = s3.get_bucket_lifecycle_configuration(**bucket)["Rules"]
    assert lifecycle[0]["NoncurrentVersionExpiration"] == {"NoncurrentDays": 30}


def test_the_roles_of_the_stack_hold_what_gtlabel_policy_prints_and_no_more(gtlabel_aws: Aws) -> None:
    outputs = deploy(gtlabel_aws, PicturesPrefix="trash/")
    values = {"bucket": outputs["Bucket"], "account": ACCOUNT, "region": "us-east-1", "prefix": "trash/"}
    for output, name in (("Role", "labeling-role"), ("TrainingRole", "training-role")):
        role = outputs[output].rpartition("/")[2]
        assert gtlabel_aws.iam.list_role_policies(RoleName=role)["PolicyNames"] == [name]
        held: Any = gtlabel_aws.iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
        assert held == policy_for(name, values)
        trust = gtlabel_aws.iam.get_role(RoleName=role)["Role"]["AssumeRolePolicyDocument"]
        assert trust == policy_for("sagemaker-trust", {"account": ACCOUNT, "region": "us-east-1"})


def test_a_key_of_ones_own_encrypts_the_bucket_and_both_roles_may_use_it(gtlabel_aws: Aws) -> None:
    key = f"arn:aws:kms:us-east-1:{ACCOUNT}:key/1234abcd-12ab-34cd-56ef-1234567890ab"
    outputs = deploy(gtlabel_aws, KmsKeyArn=key, Versioning="Suspended", CreateTeam="false")
    found = gtlabel_aws.s3.get_bucket_encryption(Bucket=outputs["Bucket"])
    (rule,) = found["ServerSideEncryptionConfiguration"]["Rules"]
    assert rule["ApplyServerSideEncryptionByDefault"] == {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key}
    assert rule["BucketKeyEnabled"]
    for output in ("Role", "TrainingRole"):
        role = outputs[output].rpartition("/")[2]
        held: Any = gtlabel_aws.iam.get_role_policy(RoleName=role, PolicyName="use-the-key")["PolicyDocument"]
        (statement,) = held["Statement"]
        assert statement["Resource"] == key
    assert "Team" not in outputs
    assert [team["WorkteamName"] for team in gtlabel_aws.sagemaker.list_workteams()["Workteams"]] == [
        "gtlabel"
    ]


def test_the_team_of_the_stack_is_a_group_of_users_that_can_be_given_jobs(gtlabel_aws: Aws) -> None:
    outputs = deploy(gtlabel_aws, TeamName="night-shift")
    assert outputs["Team"].endswith(":workteam/private-crowd/night-shift")
    team = gtlabel_aws.sagemaker.describe_workteam(WorkteamName="night-shift")["Workteam"]
    (member,) = team["MemberDefinitions"]
    cognito = member["CognitoMemberDefinition"]
    group = gtlabel_aws.cognito_idp.get_group(UserPoolId=cognito["UserPool"], GroupName="night-shift")[
        "Group"
    ]
    assert group["GroupName"] == cognito["UserGroup"]
    client = gtlabel_aws.cognito_idp.describe_user_pool_client(
        UserPoolId=cognito["UserPool"], ClientId=cognito["ClientId"]
    )["UserPoolClient"]
    assert client["ClientSecret"]
    domain = gtlabel_aws.cognito_idp.describe_user_pool_domain(Domain=f"night-shift-{ACCOUNT}")
    assert domain["DomainDescription"]["UserPoolId"] == cognito["UserPool"]


def test_where_there_is_a_workforce_the_team_joins_its_user_pool(gtlabel_aws: Aws) -> None:
    pool = gtlabel_aws.cognito_idp.create_user_pool(PoolName="ours")["UserPool"]["Id"]
    made = gtlabel_aws.cognito_idp.create_user_pool_client(
        UserPoolId=pool, ClientName="portal", GenerateSecret=True
    )
    client = made["UserPoolClient"]["ClientId"]
    deploy(gtlabel_aws, TeamName="night-shift", UserPoolId=pool, UserPoolClientId=client)
    team = gtlabel_aws.sagemaker.describe_workteam(WorkteamName="night-shift")["Workteam"]
    (member,) = team["MemberDefinitions"]
    assert member["CognitoMemberDefinition"] == {
        "UserPool": pool,
        "ClientId": client,
        "UserGroup": "night-shift",
    }
    pools = gtlabel_aws.cognito_idp.list_user_pools(MaxResults=10)["UserPools"]
    assert "night-shift-workers" not in [found["Name"] for found in pools]


def test_a_stack_that_is_deleted_leaves_the_bucket_and_its_labels(gtlabel_aws: Aws) -> None:
    outputs = deploy(gtlabel_aws, TeamName="night-shift")
    gtlabel_aws.s3.put_object(Bucket=outputs["Bucket"], Key="gtlabel/labels", Body=b"paid for")
    gtlabel_aws.cloudformation.delete_stack(StackName="gtlabel")
    gtlabel_aws.cloudformation.get_waiter("stack_delete_complete").wait(StackName="gtlabel")
    assert (
        gtlabel_aws.s3.get_object(Bucket=outputs["Bucket"], Key="gtlabel/labels")["Body"].read()
        == b"paid for"
    )
    roles = [role["RoleName"] for role in gtlabel_aws.iam.list_roles()["Roles"]]
    assert roles == ["gtlabel"]
    teams = gtlabel_aws.sagemaker.list_workteams()["Workteams"]
    assert [team["WorkteamName"] for team in teams] == ["gtlabel"]


def test_a_policy_that_denies_unencrypted_connections_denies_no_connection_to_this_machine(
    gtlabel_aws: Aws,
) -> None:
    s3, body = gtlabel_aws.s3, b"picture"
    s3.create_bucket(Bucket="photos")
    s3.put_object(Bucket="photos", Key="a.jpg", Body=body)
    everything = {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": "arn:aws:s3:::photos/*"}
    for condition, denied in (({"Bool": {"aws:SecureTransport": "false"}}, False), ({}, True)):
        statement = {**everything, "Condition": condition} if condition else everything
        s3.put_bucket_policy(Bucket="photos", Policy=json.dumps({"Statement": [statement]}))
        if denied:
            with pytest.raises(ClientError, match="Forbidden"):
                s3.get_object(Bucket="photos", Key="a.jpg")
        else:
            assert s3.get_object(Bucket="photos", Key="a.jpg")["Body"].read() == body


def test_the_outputs_of_the_stack_are_a_gtlabel_toml(gtlabel_aws: Aws, tmp_path: Path) -> None:
    outputs = deploy(gtlabel_aws, "trash-stack")
    run = gtlabel("stack", "trash-stack")
    assert run.returncode == 0, run.stderr
    (tmp_path / "gtlabel.toml").write_text(run.stdout)
    project = Project.load(tmp_path / "gtlabel.toml", {})
    assert project.bucket == outputs["Bucket"]
    assert project.team == outputs["Team"]
    assert project.role == outputs["Role"]
    assert project.training_role == outputs["TrainingRole"]
    assert project.region == "us-east-1"
    assert to_toml(stack_settings(gtlabel_aws, "trash-stack")) == run.stdout


def test_a_stack_made_as_aws_cloudformation_deploy_makes_it_has_its_outputs_too(gtlabel_aws: Aws) -> None:
    need(
        find_spec("openapi_spec_validator"), "asks moto for stacks; get it with: pip install 'gtlabel[local]'"
    )
    cloudformation, names = gtlabel_aws.cloudformation, {"StackName": "changed", "ChangeSetName": "first"}
    cloudformation.create_change_set(
        **names, TemplateBody=STACK, ChangeSetType="CREATE", Capabilities=["CAPABILITY_IAM"], Parameters=[]
    )
    cloudformation.execute_change_set(**names)
    settings = stack_settings(gtlabel_aws, "changed")
    gtlabel_aws.s3.head_bucket(Bucket=settings["bucket"])
    assert settings["team"].endswith("/labelers")
    # A parameter that changes changes the bucket, and not its name.
    given = [{"ParameterKey": "Versioning", "ParameterValue": "Suspended"}]
    cloudformation.update_stack(
        StackName="changed", TemplateBody=STACK, Capabilities=["CAPABILITY_IAM"], Parameters=given
    )
    assert stack_settings(gtlabel_aws, "changed") == settings
    assert gtlabel_aws.s3.get_bucket_versioning(Bucket=settings["bucket"])["Status"] == "Suspended"


def test_a_stack_that_is_not_there_or_not_ours_is_said(gtlabel_aws: Aws) -> None:
    need(
        find_spec("openapi_spec_validator"), "asks moto for stacks; get it with: pip install 'gtlabel[local]'"
    )
    with pytest.raises(SettingsError, match="there is no stack named 'nothing' in us-east-1; deploy one"):
        stack_settings(gtlabel_aws, "nothing")
    template = {"Resources": {"Topic": {"Type": "AWS::SNS::Topic"}}}
    gtlabel_aws.cloudformation.create_stack(StackName="other", TemplateBody=json.dumps(template))
    with pytest.raises(SettingsError, match="the stack 'other' is not one of gtlabel"):
        stack_settings(gtlabel_aws, "other")


def test_every_shipped_template_can_be_listed_and_printed() -> None:
    listed = json.loads(gtlabel("template", "--output", "json").stdout)
    assert [item["name"] for item in listed] == [template.name for template in list_templates()]
    assert {"cloudformation/gtlabel.yaml", "stepfunctions/journey.asl.json"} <= {
        item["name"] for item in listed
    }
    printed = gtlabel("template", "cloudformation/gtlabel.yaml")
    assert printed.stdout == STACK
    refused = gtlabel("template", "nothing")
    assert refused.returncode == 1
    assert refused.stderr == "gtlabel: gtlabel ships no template named 'nothing'; see `gtlabel template`\n"


def test_a_template_is_none_that_lies_elsewhere() -> None:
    with pytest.raises(TemplateError, match="ships no template named"):
        read_template("../pyproject.toml")


@pytest.mark.slow
def test_the_state_machine_makes_the_whole_journey_with_requests_that_gtlabel_checked(
    gtlabel_aws: Aws, gtlabel_server: Address, tmp_path: Path
) -> None:
    pictures = sorted((SAMPLES / "images").glob("*.jpg"))[:24]
    gtlabel_aws.s3.create_bucket(Bucket="bins")
    gtlabel_aws.s3.put_bucket_cors(Bucket="bins", CORSConfiguration={"CORSRules": [CORS_RULE]})
    classes = ("Compost", "Landfill", "Recycle")
    truth = {}
    for number, picture in enumerate(pictures):
        gtlabel_aws.s3.put_object(Bucket="bins", Key=f"trash/{picture.name}", Body=picture.read_bytes())
        truth[f"s3://bins/trash/{picture.name}"] = classes[number % 3]

    def people(job: str) -> None:
        answer(gtlabel_server.url, job, workers=3, accuracy=1.0, truth=truth, seed=7)

    environ = {**gtlabel_server.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    execution = Execution(gtlabel_aws, tmp_path, environ, people)
    output = execution.run(
        JOURNEY,
        {
            "bucket": "bins",
            "project": "gtlabel",
            "name": "trash-1",
            "images": "s3://bins/trash/",
            "classes": ",".join(classes),
            "dataset": "s3://bins/dataset/",
            "training": "--set epochs=1 --set image_shape=3,32,32",
        },
    )
    assert execution.visited == [
        *("Prepare", "ReadRequests", "Label", "IsAnythingLeftOut", "LabelOne", "Consolidate"),
        *("ReadTrainingRequest", "Train", "IsThereADevice", "Done"),
    ]
    assert output["labeled"] == [{"name": "trash-1", "failed": 0}]
    artifact = output["trained"]["artifact"].removeprefix("s3://bins/")
    assert gtlabel_aws.s3.head_object(Bucket="bins", Key=artifact)["ContentLength"] > 0
    dataset = json.loads(gtlabel_aws.s3.get_object(Bucket="bins", Key="dataset/dataset.json")["Body"].read())
    assert {item["name"]: item["train"] + item["validation"] for item in dataset["classes"]} == dict.fromkeys(
        classes, 8
    )


def test_a_request_that_the_state_machine_would_cut_short_is_refused(
    gtlabel_aws: Aws, tmp_path: Path
) -> None:
    execution = Execution(gtlabel_aws, tmp_path, {}, lambda _: None)
    request = {"LabelingJobName": "x", "StoppingConditions": {"MaxHumanLabeledObjectCount": 1}}
    with pytest.raises(ExecutionError, match="NotPassedOn: The request has stopping conditions"):
        execution.run(JOURNEY["States"]["Label"]["ItemProcessor"], request)
    assert gtlabel_aws.sagemaker.list_labeling_jobs()["LabelingJobSummaryList"] == []


def test_the_role_of_the_state_machine_may_do_what_its_states_do() -> None:
    def about(loader: Any, _: str, node: Any) -> Any:
        if isinstance(node, yaml.SequenceNode):
            return loader.construct_sequence(node)
        return loader.construct_scalar(node)

    # CloudFormation's short functions are read as what they are about.
    Loader: Any = type("Loader", (yaml.SafeLoader,), {})  # noqa: N806
    Loader.add_multi_constructor("!", about)
    resources = yaml.load(MACHINE_STACK, Loader)["Resources"]
    (policy,) = resources["MachineRole"]["Properties"]["Policies"]
    allowed: set[str] = set()
    for statement in policy["PolicyDocument"]["Statement"]:
        listed = statement["Action"]
        allowed.update([listed] if isinstance(listed, str) else listed)
    # https://docs.aws.amazon.com/step-functions/latest/dg/service-integration-iam-templates.html
    needed = {
        "arn:aws:states:::codebuild:startBuild.sync": {"StartBuild", "StopBuild", "BatchGetBuilds"},
        "arn:aws:states:::aws-sdk:s3:getObject": {"GetObject"},
        "arn:aws:states:::sagemaker:createLabelingJob.sync": {
            *("CreateLabelingJob", "DescribeLabelingJob", "StopLabelingJob", "AddTags")
        },
        "arn:aws:states:::sagemaker:createTrainingJob.sync": {
            *("CreateTrainingJob", "DescribeTrainingJob", "StopTrainingJob", "AddTags")
        },
    }
    found = set(re.findall(r'"Resource": "([^"]+)"', json.dumps(JOURNEY)))
    assert found == set(needed)
    for resource, operations in needed.items():
        service = resource.split(":")[-2]
        assert {f"{service}:{operation}" for operation in operations} <= allowed
    assert {"iam:PassRole", "events:PutRule", "events:PutTargets", "events:DescribeRule"} <= allowed
    variables = resources["Build"]["Properties"]["Environment"]["EnvironmentVariables"]
    settings = {item["Name"].removeprefix("GTLABEL_").lower() for item in variables} - {"package"}
    assert settings <= set(Project.model_fields)


def test_every_state_can_be_reached_and_leads_to_an_end() -> None:
    def states(machine: dict[str, Any]) -> None:
        seen, waiting = set(), [machine["StartAt"]]
        while waiting:
            name = waiting.pop()
            if name in seen:
                continue
            seen.add(name)
            state = machine["States"][name]
            following = [
                state.get("Next"),
                state.get("Default"),
                *(c["Next"] for c in state.get("Choices", ())),
            ]
            waiting.extend(found for found in following if found)
            assert any(following) or state.get("End") or state["Type"] in ("Succeed", "Fail"), name
            if state["Type"] == "Map":
                states(state["ItemProcessor"])
        assert seen == set(machine["States"])

    states(JOURNEY)


def test_a_machine_deploys_without_being_asked() -> None:
    commands = re.findall(r"gtlabel deploy (.*?)\\n", json.dumps(JOURNEY))
    assert [command.endswith(" --yes") for command in commands] == [True]
