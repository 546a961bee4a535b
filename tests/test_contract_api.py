"""Every labeling operation of botocore's model, over HTTP: what it answers, and how it refuses."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from botocore.model import OperationModel
from emulator_parts import BUCKET, TEAM, TRUTH, clients, create_job, gtlabel, put_inputs

from gtlabel.aws import Aws
from gtlabel.awsmodel import check_result, service_model
from gtlabel.emulator.actors import Hands, Workers
from gtlabel.emulator.api import Context
from gtlabel.emulator.child import Address
from gtlabel.emulator.environment import environ
from gtlabel.emulator.groundtruth import operations
from gtlabel.emulator.shelf import Shelf
from gtlabel.engine.board import Board
from gtlabel.engine.store import Store

ACCOUNT = "123456789012"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/gtlabel"
# The nouns of labeling in the service model; everything that is done to one of them belongs to labeling.
NOUNS = re.compile(r"LabelingJob|Workteam|Workforce|HumanTaskUi|UiTemplate|Tags")
LABELING = sorted(name for name in service_model("sagemaker").operation_names if NOUNS.search(name))
OIDC = {
    "ClientId": "gtlabel",
    "ClientSecret": "secret",
    "Issuer": "https://login.example.com",
    "AuthorizationEndpoint": "https://login.example.com/authorize",
    "TokenEndpoint": "https://login.example.com/token",
    "UserInfoEndpoint": "https://login.example.com/userinfo",
    "LogoutEndpoint": "https://login.example.com/logout",
    "JwksUri": "https://login.example.com/jwks",
}
PAGE = "<crowd-form><p>{{ task.input.taskObject }}</p><crowd-input name='n'></crowd-input></crowd-form>"


def test_every_labeling_operation_of_the_model_is_here() -> None:
    here = operations(Board(Store()), Shelf())
    assert len(LABELING) == 25
    assert [name for name in LABELING if name not in here] == []


def missing(shape: Any, value: Any, path: str) -> Iterator[str]:
    """The members of a result that its model requires and that are not there."""
    if shape.type_name == "structure":
        for name in shape.required_members:
            if value.get(name) is None:
                yield f"{path}.{name}"
        for name, member in value.items():
            if name in shape.members:
                yield from missing(shape.members[name], member, f"{path}.{name}")
    elif shape.type_name == "list":
        for place, item in enumerate(value):
            yield from missing(shape.member, item, f"{path}.{place}")
    elif shape.type_name == "map":
        for key, item in value.items():
            yield from missing(shape.value, item, f"{path}.{key}")


@pytest.fixture
def seen(gtlabel_aws: Aws) -> Iterator[list[str]]:
    """The operations that were answered; each answer is held against its model as boto3 parsed it."""
    answered: list[str] = []

    def look(model: OperationModel, parsed: dict[str, Any], **_: Any) -> None:
        if "Error" in parsed:
            return
        result = {name: value for name, value in parsed.items() if name != "ResponseMetadata"}
        assert check_result("sagemaker", model.name, result) == []
        if model.output_shape is not None:
            assert list(missing(model.output_shape, result, model.name)) == []
        answered.append(model.name)

    gtlabel_aws.sagemaker.meta.events.register("after-call.sagemaker", look)
    yield answered
    gtlabel_aws.sagemaker.meta.events.unregister("after-call.sagemaker", look)


def look_at(aws: Aws, job: str) -> dict[str, Any]:
    """Everything that tells of a job, in the state that it is in."""
    sagemaker: Any = aws.sagemaker
    described: dict[str, Any] = sagemaker.describe_labeling_job(LabelingJobName=job)
    listed = sagemaker.list_labeling_jobs(NameContains=job)["LabelingJobSummaryList"]
    team = described["HumanTaskConfig"]["WorkteamArn"]
    for_team = sagemaker.list_labeling_jobs_for_workteam(WorkteamArn=team)["LabelingJobSummaryList"]
    assert [one["LabelingJobStatus"] for one in listed] == [described["LabelingJobStatus"]]
    assert job in [one["LabelingJobName"] for one in for_team]
    sagemaker.list_tags(ResourceArn=described["LabelingJobArn"])
    return described


def test_answers_fit_their_model_in_every_state(
    gtlabel_aws: Aws, seen: list[str], gtlabel_workers: Workers, gtlabel_clock: Hands
) -> None:
    aws, sagemaker = gtlabel_aws, gtlabel_aws.sagemaker
    put_inputs(aws.s3)
    vendor = gtlabel_workers.subscribe("acme", title="Labels", seller="Acme", description="They label.")
    assert sagemaker.describe_subscribed_workteam(WorkteamArn=vendor)["SubscribedWorkteam"] == {
        "WorkteamArn": vendor,
        "MarketplaceTitle": "Labels",
        "SellerName": "Acme",
        "MarketplaceDescription": "They label.",
        "ListingId": sagemaker.list_subscribed_workteams()["SubscribedWorkteams"][0]["ListingId"],
    }
    create_job(aws, "of-vendor", team=vendor)
    gtlabel_workers.answer("of-vendor", TRUTH, workers=1)
    assert look_at(aws, "of-vendor")["LabelingJobStatus"] == "Completed"
    jobs(aws, gtlabel_workers)
    stream(aws)
    pages(aws)
    people(aws)
    assert sorted(set(seen)) == LABELING


def jobs(aws: Aws, workers: Workers) -> None:
    sagemaker = aws.sagemaker
    arn = create_job(aws, "done")
    look_at(aws, "done")
    workers.answer("done", TRUTH, workers=1, answers=2)
    assert look_at(aws, "done")["LabelingJobStatus"] == "InProgress"
    workers.answer("done", TRUTH, workers=1)
    assert look_at(aws, "done")["LabelingJobStatus"] == "Completed"
    sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": "a", "Value": "b"}])
    sagemaker.delete_tags(ResourceArn=arn, TagKeys=["a", "c"])
    create_job(aws, "halted")
    sagemaker.stop_labeling_job(LabelingJobName="halted")
    while sagemaker.describe_labeling_job(LabelingJobName="halted")["LabelingJobStatus"] == "Stopping":
        pass
    assert look_at(aws, "halted")["LabelingJobStatus"] == "Stopped"
    aws.s3.put_object(Bucket=BUCKET, Key="in.manifest", Body=b"no json\n")
    create_job(aws, "broken")
    # It may end between two looks, so it is looked at in one way only until it has.
    while (
        aws.sagemaker.describe_labeling_job(LabelingJobName="broken")["LabelingJobStatus"] == "Initializing"
    ):
        pass
    assert "in.manifest" in look_at(aws, "broken")["FailureReason"]


def stream(aws: Aws) -> None:
    topic = aws.sns.create_topic(Name="in")["TopicArn"]
    asked: Any = {**aws.sagemaker.describe_labeling_job(LabelingJobName="done")}
    known = service_model("sagemaker").operation_model("CreateLabelingJob").input_shape
    assert known is not None
    asked = {name: value for name, value in asked.items() if name in known.members and name != "Tags"}
    asked.pop("StoppingConditions")
    asked["InputConfig"] = {"DataSource": {"SnsDataSource": {"SnsTopicArn": topic}}}
    aws.sagemaker.create_labeling_job(
        **{**asked, "LabelingJobName": "stream", "Tags": [{"Key": "k", "Value": "v"}]}
    )
    assert look_at(aws, "stream")["Tags"] == [{"Key": "k", "Value": "v"}]


def pages(aws: Aws) -> None:
    sagemaker: Any = aws.sagemaker
    sagemaker.create_human_task_ui(HumanTaskUiName="page", UiTemplate={"Content": PAGE})
    sagemaker.describe_human_task_ui(HumanTaskUiName="page")
    sagemaker.list_human_task_uis()
    task = {"Input": '{"taskObject": "one"}'}
    rendered = sagemaker.render_ui_template(UiTemplate={"Content": PAGE}, Task=task, RoleArn=ROLE)
    assert "<p>one</p>" in rendered["RenderedContent"]
    assert rendered["Errors"] == []
    broken = sagemaker.render_ui_template(UiTemplate={"Content": "{% if %}" + PAGE}, Task=task, RoleArn=ROLE)
    assert broken["Errors"]
    sagemaker.delete_human_task_ui(HumanTaskUiName="page")
    sagemaker.list_human_task_uis()


def people(aws: Aws) -> None:
    sagemaker: Any = aws.sagemaker
    sagemaker.describe_workforce(WorkforceName="default")
    sagemaker.list_workforces()
    team = sagemaker.describe_workteam(WorkteamName="gtlabel")["Workteam"]
    sagemaker.create_workteam(
        WorkteamName="second",
        Description="d",
        MemberDefinitions=team["MemberDefinitions"],
        NotificationConfiguration={"NotificationTopicArn": f"arn:aws:sns:us-east-1:{ACCOUNT}:in"},
        WorkerAccessConfiguration={"S3Presign": {"IamPolicyConstraints": {"SourceIp": "Enabled"}}},
        Tags=[{"Key": "a", "Value": "b"}],
    )
    changed = sagemaker.update_workteam(WorkteamName="second", Description="other")["Workteam"]
    assert (changed["Description"], changed["MemberDefinitions"]) == ("other", team["MemberDefinitions"])
    assert sagemaker.describe_workteam(WorkteamName="second")["Workteam"] == changed
    assert sagemaker.list_tags(ResourceArn=changed["WorkteamArn"])["Tags"] == [{"Key": "a", "Value": "b"}]
    sagemaker.list_workteams()
    for name in ("gtlabel", "second"):
        assert sagemaker.delete_workteam(WorkteamName=name)["Success"] is True
    network = {"VpcId": "vpc-1a2b3c4d", "SecurityGroupIds": ["sg-1a2b3c4d"], "Subnets": ["subnet-1a2b3c4d"]}
    moved = sagemaker.update_workforce(WorkforceName="default", WorkforceVpcConfig=network)["Workforce"]
    assert moved["WorkforceVpcConfig"] == network
    left = sagemaker.update_workforce(WorkforceName="default", WorkforceVpcConfig={})["Workforce"]
    assert "WorkforceVpcConfig" not in left
    sagemaker.delete_workforce(WorkforceName="default")
    assert sagemaker.list_workforces()["Workforces"] == []
    sagemaker.create_workforce(WorkforceName="own", OidcConfig=OIDC, IpAddressType="dualstack")
    sagemaker.update_workforce(
        WorkforceName="own", OidcConfig={**OIDC, "Issuer": "https://other.example.com"}
    )
    described = sagemaker.describe_workforce(WorkforceName="own")["Workforce"]
    assert described["OidcConfig"]["Issuer"] == "https://other.example.com"
    assert "ClientSecret" not in described["OidcConfig"]
    members = [{"OidcMemberDefinition": {"Groups": ["sorters"]}}]
    sagemaker.create_workteam(WorkteamName="third", Description="d", MemberDefinitions=members)
    sagemaker.describe_workteam(WorkteamName="third")


JOB_ARN = f"arn:aws:sagemaker:us-east-1:{ACCOUNT}:labeling-job/done"
NO_TEAM = f"arn:aws:sagemaker:us-east-1:{ACCOUNT}:workteam/private-crowd/nobody"
NO_VENDOR = "arn:aws:sagemaker:us-east-1:111122223333:workteam/vendor-crowd/acme"
OTHER_POOL = {"CognitoMemberDefinition": {"UserPool": "us-east-1_none", "UserGroup": "g", "ClientId": "c"}}
OIDC_MEMBER = {"OidcMemberDefinition": {"Groups": ["sorters"]}}
TAG = {"Key": "a", "Value": "b"}
MISSING_WORKFORCE = "No workforce named 'none' exists"
MISSING_TEAM = "The work team 'nobody' does not exist"

# What is asked, and the code and message of the refusal; the texts that are known verbatim are those of
# contract/ground-truth.md 11.1.
REFUSALS: list[tuple[str, dict[str, Any], str, str]] = [
    ("DescribeLabelingJob", {"LabelingJobName": "none"}, "ResourceNotFound", "no labeling job named 'none'"),
    ("StopLabelingJob", {"LabelingJobName": "none"}, "ResourceNotFound", "no labeling job named 'none'"),
    (
        "StopLabelingJob",
        {"LabelingJobName": "done"},
        "ValidationException",
        "is Completed and cannot be stopped",
    ),
    ("CreateLabelingJob", {"LabelingJobName": "DONE"}, "ResourceInUse", "A labeling job named 'DONE' exists"),
    (
        "CreateLabelingJob",
        {"LabelingJobName": "new", "team": NO_TEAM},
        "ValidationException",
        f"The specified Workteam '{NO_TEAM}' does not exist or you do not have access to it.",
    ),
    (
        "CreateLabelingJob",
        {"LabelingJobName": "new", "team": NO_VENDOR},
        "ValidationException",
        f"The specified Workteam '{NO_VENDOR}' does not exist or you do not have access to it.",
    ),
    (
        "CreateLabelingJob",
        {
            "LabelingJobName": "new",
            "team": "arn:aws:sagemaker:us-east-1:394669845002:workteam/public-crowd/default",
        },
        "ValidationException",
        "the public workforce closed",
    ),
    (
        "CreateLabelingJob",
        {"LabelingJobName": "a_b"},
        "ValidationException",
        "1 validation error detected: Value 'a_b' at 'labelingJobName' failed to satisfy constraint: "
        "Member must satisfy regular expression pattern",
    ),
    (
        "CreateLabelingJob",
        {"LabelingJobName": "new", "Tags": [TAG, TAG]},
        "ValidationException",
        "more than once",
    ),
    (
        "ListLabelingJobs",
        {"MaxResults": 101},
        "ValidationException",
        "'maxResults' failed to satisfy constraint",
    ),
    ("ListLabelingJobs", {"NextToken": "x"}, "ValidationException", "NextToken was not given out"),
    ("ListLabelingJobs", {"StatusEquals": "Done"}, "ValidationException", "enum value set: [Initializing, "),
    (
        "ListLabelingJobs",
        {"SortBy": "Age"},
        "ValidationException",
        "enum value set: [Name, CreationTime, Status]",
    ),
    ("ListLabelingJobsForWorkteam", {"WorkteamArn": NO_TEAM}, "ResourceNotFound", "The work team"),
    ("ListLabelingJobsForWorkteam", {"WorkteamArn": "x"}, "ValidationException", "workteamArn"),
    ("DescribeWorkteam", {"WorkteamName": "nobody"}, "ValidationException", MISSING_TEAM),
    ("DeleteWorkteam", {"WorkteamName": "nobody"}, "ValidationException", MISSING_TEAM),
    ("UpdateWorkteam", {"WorkteamName": "nobody", "Description": "d"}, "ValidationException", MISSING_TEAM),
    (
        "UpdateWorkteam",
        {"WorkteamName": "gtlabel", "MemberDefinitions": [OIDC_MEMBER]},
        "ValidationException",
        "The workforce 'default' signs in with Cognito, and so must its teams.",
    ),
    (
        "UpdateWorkteam",
        {"WorkteamName": "gtlabel", "MemberDefinitions": [OTHER_POOL]},
        "ValidationException",
        "The user pool 'us-east-1_none' does not exist.",
    ),
    (
        "CreateWorkteam",
        {"WorkteamName": "gtlabel", "Description": "d", "MemberDefinitions": "own"},
        "ResourceInUse",
        "A work team named 'gtlabel' exists",
    ),
    (
        "CreateWorkteam",
        {"WorkteamName": "new", "Description": "d", "MemberDefinitions": [OTHER_POOL, OIDC_MEMBER]},
        "ValidationException",
        "a team has only one of the two kinds",
    ),
    (
        "CreateWorkteam",
        {
            "WorkteamName": "new",
            "Description": "d",
            "MemberDefinitions": [OIDC_MEMBER],
            "WorkforceName": "none",
        },
        "ValidationException",
        MISSING_WORKFORCE,
    ),
    ("DescribeWorkforce", {"WorkforceName": "none"}, "ValidationException", MISSING_WORKFORCE),
    ("DeleteWorkforce", {"WorkforceName": "none"}, "ValidationException", MISSING_WORKFORCE),
    ("UpdateWorkforce", {"WorkforceName": "none"}, "ValidationException", MISSING_WORKFORCE),
    (
        "DeleteWorkforce",
        {"WorkforceName": "default"},
        "ResourceInUse",
        "still has work teams; delete them first",
    ),
    (
        "UpdateWorkforce",
        {"WorkforceName": "default", "OidcConfig": OIDC},
        "ValidationException",
        "The workforce signs in with Cognito, not OIDC.",
    ),
    (
        "UpdateWorkforce",
        {"WorkforceName": "default", "WorkforceVpcConfig": {"VpcId": "vpc-1a2b3c4d"}},
        "ValidationException",
        "give VpcId, SecurityGroupIds and Subnets",
    ),
    (
        "CreateWorkforce",
        {"WorkforceName": "new"},
        "ValidationException",
        "exactly one of CognitoConfig and OidcConfig",
    ),
    (
        "CreateWorkforce",
        {"WorkforceName": "new", "OidcConfig": OIDC},
        "ValidationException",
        f"Cannot create more than one workforce for account {ACCOUNT}. If you are trying to update existing "
        "workforce, please use UpdateWorkforce API",
    ),
    ("DescribeSubscribedWorkteam", {"WorkteamArn": NO_VENDOR}, "ResourceNotFound", "is not subscribed to"),
    ("DescribeSubscribedWorkteam", {"WorkteamArn": TEAM}, "ResourceNotFound", "is not subscribed to"),
    ("ListSubscribedWorkteams", {"NextToken": "x"}, "ValidationException", "NextToken was not given out"),
    ("ListWorkteams", {"NextToken": "x"}, "ValidationException", "NextToken was not given out"),
    ("ListWorkforces", {"NextToken": "x"}, "ValidationException", "NextToken was not given out"),
    ("DescribeHumanTaskUi", {"HumanTaskUiName": "none"}, "ResourceNotFound", "none"),
    ("DeleteHumanTaskUi", {"HumanTaskUiName": "none"}, "ResourceNotFound", "none"),
    (
        "CreateHumanTaskUi",
        {"HumanTaskUiName": "Page", "UiTemplate": {"Content": PAGE}},
        "ValidationException",
        "humanTaskUiName",
    ),
    (
        "RenderUiTemplate",
        {
            "HumanTaskUiArn": f"arn:aws:sagemaker:us-east-1:{ACCOUNT}:human-task-ui/none",
            "Task": {"Input": "{}"},
            "RoleArn": ROLE,
        },
        "ResourceNotFound",
        "none",
    ),
    ("AddTags", {"ResourceArn": JOB_ARN, "Tags": [TAG, TAG]}, "ValidationException", "more than once"),
    (
        "AddTags",
        {"ResourceArn": JOB_ARN, "Tags": [{"Key": str(n), "Value": ""} for n in range(50)] + [TAG]},
        "ValidationException",
        "less than or equal to 50",
    ),
    ("ListTags", {"ResourceArn": JOB_ARN + "x"}, "ValidationException", "does not exist"),
    (
        "ListTags",
        {"ResourceArn": f"arn:aws:sagemaker:us-east-1:{ACCOUNT}:workforce/default"},
        "ValidationException",
        "Invalid resource type: workforce",
    ),
    ("DeleteTags", {"ResourceArn": NO_TEAM, "TagKeys": ["a"]}, "ValidationException", "does not exist"),
]


def test_every_refusal_has_the_code_and_the_words_of_the_contract(
    gtlabel_aws: Aws, gtlabel_workers: Workers
) -> None:
    put_inputs(gtlabel_aws.s3)
    create_job(gtlabel_aws, "done")
    gtlabel_workers.answer("done", TRUTH, workers=1)
    sagemaker: Any = gtlabel_aws.sagemaker
    # So that what botocore would refuse by itself reaches the service, as it does from other languages.
    sagemaker.meta.config.parameter_validation = False
    found = [refused(sagemaker, name, params) for name, params, _, _ in REFUSALS]
    wrong = [
        (name, params, answer)
        for (name, params, code, words), answer in zip(REFUSALS, found, strict=True)
        if answer[0] != code or words not in answer[1]
    ]
    assert wrong == []
    assert {code for code, _ in found} == {"ResourceNotFound", "ResourceInUse", "ValidationException"}


def refused(sagemaker: Any, name: str, params: dict[str, Any]) -> tuple[str, str]:
    """The code and the message of a refusal, when it is one in the form of its protocol."""
    if params.get("MemberDefinitions") == "own":
        team = sagemaker.describe_workteam(WorkteamName="gtlabel")["Workteam"]
        params = {**params, "MemberDefinitions": team["MemberDefinitions"]}
    if name == "CreateLabelingJob":
        given = dict(params)
        asked = sagemaker.describe_labeling_job(LabelingJobName="done")
        shape = service_model("sagemaker").operation_model(name).input_shape
        assert shape is not None
        params = {key: value for key, value in asked.items() if key in shape.members and key != "Tags"}
        if "team" in given:
            human = {**params["HumanTaskConfig"], "WorkteamArn": given.pop("team")}
            params = {**params, "HumanTaskConfig": human}
        params = {**params, **given}
    method = re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
    with pytest.raises(ClientError) as error:
        getattr(sagemaker, method)(**params)
    response = error.value.response
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 400
    said = response["Error"]
    assert response["ResponseMetadata"]["HTTPHeaders"]["x-amzn-errortype"] == said["Code"]
    if said["Code"] != "ValidationException":
        assert type(error.value) is getattr(sagemaker.exceptions, said["Code"])
    return said["Code"], said["Message"]


def test_a_provider_cannot_be_changed_while_there_are_teams(gtlabel_aws: Aws) -> None:
    sagemaker: Any = gtlabel_aws.sagemaker
    sagemaker.delete_workteam(WorkteamName="gtlabel")
    sagemaker.delete_workforce(WorkforceName="default")
    sagemaker.create_workforce(WorkforceName="own", OidcConfig=OIDC)
    sagemaker.create_workteam(WorkteamName="t", Description="d", MemberDefinitions=[OIDC_MEMBER])
    with pytest.raises(sagemaker.exceptions.ConflictException, match="delete them first"):
        sagemaker.update_workforce(WorkforceName="own", OidcConfig=OIDC)
    sagemaker.delete_workteam(WorkteamName="t")
    sagemaker.update_workforce(WorkforceName="own", OidcConfig=OIDC)


def test_the_teams_of_vendors_are_there_once_one_is_subscribed_to(
    gtlabel_aws: Aws, gtlabel_workers: Workers
) -> None:
    sagemaker = gtlabel_aws.sagemaker
    assert sagemaker.list_subscribed_workteams()["SubscribedWorkteams"] == []
    arns = [gtlabel_workers.subscribe(name) for name in ("zoe", "acme", "Gtlabel", "gtlabel")]
    assert arns[1] == NO_VENDOR
    pages = sagemaker.get_paginator("list_subscribed_workteams").paginate(PaginationConfig={"PageSize": 3})
    found = [team["WorkteamArn"].rpartition("/")[2] for each in pages for team in each["SubscribedWorkteams"]]
    assert found == ["Gtlabel", "acme", "gtlabel", "zoe"]
    part = sagemaker.list_subscribed_workteams(NameContains="LABEL")["SubscribedWorkteams"]
    assert len(part) == 2
    # A vendor's team is not the account's own of that name, nor are its jobs the own team's.
    put_inputs(gtlabel_aws.s3)
    create_job(gtlabel_aws, "theirs", team=arns[3])
    assert sagemaker.list_labeling_jobs_for_workteam(WorkteamArn=TEAM)["LabelingJobSummaryList"] == []
    gtlabel_workers.answer("theirs", TRUTH, workers=1)
    assert sagemaker.describe_labeling_job(LabelingJobName="theirs")["LabelingJobStatus"] == "Completed"


def test_an_emulator_is_subscribed_to_teams_as_it_comes_up(tmp_path: Path) -> None:
    state = ("--state", str(tmp_path / "state"))
    started = gtlabel("local", "up", "--port", "0", *state, "--vendor-team", "acme", "--detach")
    try:
        assert NO_VENDOR in started.stderr
        sagemaker = clients(Address(started.stdout.strip(), environ("", Context()))).sagemaker
        found = sagemaker.describe_subscribed_workteam(WorkteamArn=NO_VENDOR)["SubscribedWorkteam"]
        assert found["SellerName"] == "acme"
    finally:
        gtlabel("local", "down", *state)
    wrong = gtlabel("local", "up", "--port", "0", "--vendor-team", "a_b")
    assert wrong.returncode == 1
    assert "'a_b' is no name of a team" in wrong.stderr
