"""Ground Truth's operations: labeling jobs, teams, workforces and tags."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from groundtruth_parts import FUNCTION, JOB_ARN, PUBLIC_TEAM, TEAM, TOPIC, Account, finish, request

from gtlabel.emulator.api import ApiError
from gtlabel.emulator.groundtruth import TAGGED_RESOURCES, owns
from gtlabel.emulator.protocol import PassOn
from gtlabel.portal import workers


@pytest.fixture
def account() -> Account:
    return Account()


@pytest.fixture
def finished(account: Account) -> Account:
    """An account with one job that is completed."""
    return finish(account)


# ---- labeling jobs -----------------------------------------------------------------------------------------


def test_a_job_is_described_as_it_was_asked_for_with_defaults_filled_in(account: Account) -> None:
    assert account.create(Tags=[{"Key": "team", "Value": "bins"}]) == JOB_ARN
    job = account.describe()
    assert job["LabelingJobStatus"] == "Initializing"
    assert set(job["LabelCounters"].values()) == {0}
    assert job["LabelingJobArn"] == JOB_ARN
    assert re.fullmatch(r"123456789012[0-9A-Za-z]{16}", job["JobReferenceCode"])
    asked = request(Tags=[{"Key": "team", "Value": "bins"}])
    defaults = {"TaskAvailabilityLifetimeInSeconds": 2_592_000, "MaxConcurrentTaskCount": 1000}
    assert job["HumanTaskConfig"] == {**asked.pop("HumanTaskConfig"), **defaults}
    assert job["OutputConfig"] == {**asked.pop("OutputConfig"), "KmsKeyId": ""}
    assert job["StoppingConditions"] == {"MaxPercentageOfInputDatasetLabeled": 100}
    assert {name: job[name] for name in asked} == asked
    assert "FailureReason" not in job
    assert "LabelingJobOutput" not in job


def test_counters_move_and_add_up(account: Account) -> None:
    account.create(human={"NumberOfHumanWorkersPerDataObject": 1})
    account.turn()
    for worker in ("ann", "ann", "bob"):
        _, task = workers.handle(account.board, "lease", {"job": "Bins-1", "worker": worker})
        if worker == "ann":
            said = {"crowd-image-classifier": {"label": "Compost"}}
            workers.handle(account.board, "submit", {"lease": task["lease"], "answer": said})
        else:
            workers.handle(account.board, "decline", {"lease": task["lease"]})
    assert account.describe()["LabelingJobStatus"] == "InProgress"
    assert account.describe()["LabelCounters"] == {
        "TotalLabeled": 2,
        "HumanLabeled": 2,
        "MachineLabeled": 0,
        "FailedNonRetryableError": 1,
        "Unlabeled": 21,
    }


def test_a_completed_job_says_where_its_labels_are(finished: Account) -> None:
    job = finished.describe()
    assert job["LabelingJobStatus"] == "Completed"
    uri = "s3://trash/out/Bins-1/manifests/output/output.manifest"
    assert job["LabelingJobOutput"] == {"OutputDatasetS3Uri": uri}


def test_a_job_that_cannot_start_says_why(account: Account) -> None:
    account.put("in.manifest", '{"source-ref":"s3://trash/1.jpg"}\nhello\n')
    account.create()
    account.turn()
    job = account.describe()
    assert job["LabelingJobStatus"] == "Failed"
    assert job["FailureReason"].startswith("ClientError: s3://trash/in.manifest, line 2: it is not JSON")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"LabelAttributeName": "source-ref"}, "LabelAttributeName: 'source-ref' is reserved."),
        ({"LabelAttributeName": "bin-metadata"}, "must not end in '-metadata'."),
        ({"LabelAttributeName": "bin-ref"}, "must not end in '-ref'."),
        ({"LabelCategoryConfigS3Uri": None}, "image classification needs its classes."),
        ({"OutputConfig": {"S3OutputPath": "https://trash/out"}}, "OutputConfig.S3OutputPath: 'https://"),
        ({"human": {"WorkteamArn": TEAM + "s"}}, f"The specified Workteam '{TEAM}s' does not exist or"),
        ({"human": {"WorkteamArn": TEAM.replace("us-east-1", "eu-west-1")}}, "the team is in eu-west-1"),
        (
            {"human": {"WorkteamArn": PUBLIC_TEAM}},
            "the public workforce closed with Mechanical Turk on 2026-09-30",
        ),
        ({"human": {"TaskTimeLimitInSeconds": 28_801}}, "at most 28800 seconds"),
        ({"human": {"TaskAvailabilityLifetimeInSeconds": 2_592_001}}, "at most 2592000 seconds"),
        ({"human": {"PreHumanTaskLambdaArn": None}}, "a built-in task needs both of its functions"),
        (
            {"human": {"PreHumanTaskLambdaArn": FUNCTION.format("PRE") + "MultiLabel"}},
            "the PRE and the ACS function are of different task types.",
        ),
        (
            {"human": {"PreHumanTaskLambdaArn": FUNCTION.format("PRE").replace("us-east-1", "us-east-2")}},
            "is not the function of us-east-1, which account 432418664414 owns.",
        ),
        ({"human": {"UiConfig": {}}}, "image classification needs UiTemplateS3Uri and nothing else."),
        ({"InputConfig": {"DataSource": {}}}, "one of S3DataSource and SnsDataSource is needed."),
        (
            {"InputConfig": {"DataSource": {"SnsDataSource": {"SnsTopicArn": f"{TOPIC}.fifo"}}}},
            "must be a standard topic in us-east-1.",
        ),
        ({"Tags": [{"Key": "a", "Value": "1"}, {"Key": "a", "Value": "2"}]}, "The tag key 'a' is given more"),
    ],
)  # fmt: skip
def test_what_the_model_lets_pass_and_the_service_would_not_is_refused(
    account: Account, changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ApiError, match=re.escape(sentence)) as refused:
        account.create(**changes)
    assert refused.value.code == "ValidationException"
    assert account.call("ListLabelingJobs")["LabelingJobSummaryList"] == []


def test_a_job_name_is_never_free_again_in_any_letter_case(finished: Account) -> None:
    with pytest.raises(ApiError, match="'BINS-1' exists") as refused:
        finished.create("BINS-1")
    assert refused.value.code == "ResourceInUse"


@pytest.mark.parametrize("operation", ["DescribeLabelingJob", "StopLabelingJob"])
def test_a_job_that_does_not_exist_is_not_found(account: Account, operation: str) -> None:
    account.create()
    with pytest.raises(ApiError, match="no labeling job named 'Other' in us-east-1") as refused:
        account.call(operation, LabelingJobName="Other")
    assert refused.value.code == "ResourceNotFound"
    with pytest.raises(ApiError, match="in eu-west-1"):
        account.call(operation, "eu-west-1", LabelingJobName="Bins-1")


def test_a_job_stops_for_good(account: Account) -> None:
    account.create()
    account.turn()
    account.call("StopLabelingJob", LabelingJobName="Bins-1")
    assert account.describe()["LabelingJobStatus"] == "Stopping"
    account.turn()
    assert account.describe()["LabelingJobStatus"] == "Stopped"
    assert account.call("StopLabelingJob", LabelingJobName="Bins-1") == {}


def test_a_completed_job_cannot_be_stopped(finished: Account) -> None:
    with pytest.raises(ApiError, match="'Bins-1' is Completed and cannot be stopped any more"):
        finished.call("StopLabelingJob", LabelingJobName="Bins-1")


@pytest.fixture
def five(account: Account) -> Account:
    """An account with five jobs, a minute apart; the third is stopped."""
    for name in ("delta", "Alpha", "echo-1", "bravo", "charlie"):
        account.create(name)
        account.clock.pass_seconds(60)
    account.call("StopLabelingJob", LabelingJobName="echo-1")
    return account


def test_jobs_are_listed_by_creation_name_or_status(five: Account) -> None:
    assert _names(five) == ["delta", "Alpha", "echo-1", "bravo", "charlie"]
    assert _names(five, SortOrder="Descending") == ["charlie", "bravo", "echo-1", "Alpha", "delta"]
    assert _names(five, SortBy="Name") == ["Alpha", "bravo", "charlie", "delta", "echo-1"]
    assert _names(five, SortBy="Status", SortOrder="Descending")[0] == "echo-1"


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        (lambda _: {"NameContains": "a"}, {"delta", "Alpha", "bravo", "charlie"}),
        (lambda _: {"StatusEquals": "Stopping"}, {"echo-1"}),
        (lambda start: {"CreationTimeAfter": start + timedelta(minutes=3)}, {"bravo", "charlie"}),
        (lambda start: {"CreationTimeBefore": start + timedelta(minutes=1)}, {"delta", "Alpha"}),
        (lambda start: {"LastModifiedTimeAfter": start + timedelta(minutes=5)}, {"echo-1"}),
        (lambda start: {"LastModifiedTimeBefore": start}, {"delta"}),
    ],
)
def test_filters_leave_the_jobs_they_name(
    five: Account, filters: Callable[[Any], dict[str, Any]], names: set[str]
) -> None:
    start = five.describe("delta")["CreationTime"]
    assert set(_names(five, **filters(start))) == names


@pytest.mark.parametrize("order", ["Ascending", "Descending"])
@pytest.mark.parametrize("by", ["Name", "CreationTime", "Status"])
def test_pages_show_every_job_once_in_the_same_order(five: Account, by: str, order: str) -> None:
    params: dict[str, Any] = {"SortBy": by, "SortOrder": order}
    token: dict[str, Any] = {}
    seen = []
    for _ in range(3):
        page = five.call("ListLabelingJobs", MaxResults=2, **params, **token)
        seen += [job["LabelingJobName"] for job in page["LabelingJobSummaryList"]]
        token = {"NextToken": page.get("NextToken", "")}
    assert token == {"NextToken": ""}
    assert seen == _names(five, **params)


@pytest.mark.parametrize("token", ["hello", "e30=", "W10="])
def test_a_token_that_no_list_gave_out_is_refused(five: Account, token: str) -> None:
    with pytest.raises(ApiError, match="NextToken was not given out by this list"):
        five.call("ListLabelingJobs", NextToken=token)
    made_for_names = five.call("ListLabelingJobs", SortBy="Name", MaxResults=1)["NextToken"]
    with pytest.raises(ApiError, match="NextToken was not given out by this list"):
        five.call("ListLabelingJobs", NextToken=made_for_names)


def test_a_team_sees_its_jobs(finished: Account) -> None:
    (job,) = finished.call("ListLabelingJobsForWorkteam", WorkteamArn=TEAM)["LabelingJobSummaryList"]
    assert job["LabelCounters"] == {"HumanLabeled": 24, "PendingHuman": 0, "Total": 24}
    assert job["JobReferenceCode"] == finished.describe()["JobReferenceCode"]
    assert job["NumberOfHumanWorkersPerDataObject"] == 3
    with pytest.raises(ApiError) as refused:
        finished.call("ListLabelingJobsForWorkteam", WorkteamArn=TEAM + "s")
    assert refused.value.code == "ResourceNotFound"


def _names(account: Account, **params: Any) -> list[str]:
    jobs = account.call("ListLabelingJobs", **params)["LabelingJobSummaryList"]
    return [job["LabelingJobName"] for job in jobs]


# ---- teams, workforces, tags -------------------------------------------------------------------------------

MEMBER = {"UserPool": "us-east-1_gtlabel01", "UserGroup": "sorters", "ClientId": "gtlabel"}
TEAM_REQUEST: dict[str, Any] = {
    "WorkteamName": "sorters",
    "Description": "People who sort",
    "MemberDefinitions": [{"CognitoMemberDefinition": MEMBER}],
}


def test_every_region_starts_with_a_workforce_and_a_team(account: Account) -> None:
    for region in ("us-east-1", "eu-west-1"):
        workforce = account.call("DescribeWorkforce", region, WorkforceName="default")["Workforce"]
        team = account.call("DescribeWorkteam", region, WorkteamName="gtlabel")["Workteam"]
        assert workforce["Status"] == "Active"
        assert team["WorkteamArn"] == TEAM.replace("us-east-1", region)
        assert team["WorkforceArn"] == workforce["WorkforceArn"]


def test_a_team_is_made_changed_and_deleted(account: Account) -> None:
    arn = account.call("CreateWorkteam", **TEAM_REQUEST)["WorkteamArn"]
    assert arn == TEAM.replace("gtlabel", "sorters")
    account.clock.pass_seconds(60)
    account.call("UpdateWorkteam", WorkteamName="sorters", Description="Sorters")
    team = account.call("DescribeWorkteam", WorkteamName="sorters")["Workteam"]
    assert team["Description"] == "Sorters"
    assert team["MemberDefinitions"] == TEAM_REQUEST["MemberDefinitions"]
    assert team["LastUpdatedDate"] - team["CreateDate"] == timedelta(seconds=60)
    names = [team["WorkteamName"] for team in account.call("ListWorkteams", SortBy="Name")["Workteams"]]
    assert names == ["gtlabel", "sorters"]
    with pytest.raises(ApiError, match="'sorters' exists") as refused:
        account.call("CreateWorkteam", **TEAM_REQUEST)
    assert refused.value.code == "ResourceInUse"
    assert account.call("DeleteWorkteam", WorkteamName="sorters") == {"Success": True}
    with pytest.raises(ApiError, match="^The work team"):
        account.call("DescribeWorkteam", WorkteamName="sorters")


def test_a_deleted_team_stays_away_and_can_be_given_no_job(account: Account) -> None:
    account.call("DeleteWorkteam", WorkteamName="gtlabel")
    assert account.call("ListWorkteams")["Workteams"] == []
    with pytest.raises(ApiError, match="does not exist or you do not have access to it"):
        account.create()


def test_a_team_has_members_of_one_kind(account: Account) -> None:
    mixed = [{"CognitoMemberDefinition": MEMBER}, {"OidcMemberDefinition": {"Groups": ["sorters"]}}]
    pools = [{"CognitoMemberDefinition": MEMBER}, {"CognitoMemberDefinition": {**MEMBER, "ClientId": "x"}}]
    for members in (mixed, pools):
        with pytest.raises(ApiError, match="Cognito"):
            account.call("CreateWorkteam", **{**TEAM_REQUEST, "MemberDefinitions": members})


def test_an_account_has_one_workforce_per_region(account: Account) -> None:
    asked: dict[str, Any] = {
        "WorkforceName": "other",
        "CognitoConfig": {"UserPool": "us-east-1_x", "ClientId": "x"},
    }
    with pytest.raises(ApiError, match="^Cannot create more than one workforce for account 123456789012"):
        account.call("CreateWorkforce", **asked)
    with pytest.raises(ApiError, match="delete them first") as refused:
        account.call("DeleteWorkforce", WorkforceName="default")
    assert refused.value.code == "ResourceInUse"
    account.call("DeleteWorkteam", WorkteamName="gtlabel")
    account.call("DeleteWorkforce", WorkforceName="default")
    account.call("CreateWorkforce", **asked)
    names = [force["WorkforceName"] for force in account.call("ListWorkforces")["Workforces"]]
    assert names == ["other"]
    with pytest.raises(ApiError, match="^No workforce"):
        account.call("DescribeWorkforce", WorkforceName="default")


@pytest.mark.parametrize("arn", [JOB_ARN, TEAM])
def test_tags_are_added_replaced_and_deleted(account: Account, arn: str) -> None:
    account.create()
    for tags in ([("a", "1"), ("b", "2")], [("a", "3")]):
        pairs = [{"Key": key, "Value": value} for key, value in tags]
        account.call("AddTags", ResourceArn=arn, Tags=pairs)
    account.call("DeleteTags", ResourceArn=arn, TagKeys=["b", "c"])
    tags = account.call("ListTags", ResourceArn=arn)["Tags"]
    assert tags == [{"Key": "a", "Value": "3"}]
    assert account.describe()["Tags"] == (tags if arn == JOB_ARN else [])


def test_tags_of_other_resources_are_left_to_others(account: Account) -> None:
    model = JOB_ARN.replace("labeling-job", "model")
    assert not owns(model)
    with pytest.raises(PassOn):
        account.call("ListTags", ResourceArn=model)
    assert owns(JOB_ARN)
    with pytest.raises(ApiError, match="does not exist"):
        account.call("ListTags", ResourceArn=JOB_ARN)
    assert "workforce" in TAGGED_RESOURCES
    with pytest.raises(ApiError, match="^Invalid resource type: workforce$"):
        account.call("ListTags", ResourceArn=JOB_ARN.replace("labeling-job", "workforce"))
