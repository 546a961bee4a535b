"""What an emulator with a folder knows again after a kill: people, roles, topics, queues, rules, stacks."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import signal
import sqlite3
import sys
from pathlib import Path
from typing import Any

import boto3
import pytest
from emulator_parts import create_job, post, put_inputs, run

from gtlabel.aws import Aws
from gtlabel.emulator.child import Address, running
from gtlabel.emulator.environment import role_policy, role_trust, session
from gtlabel.emulator.state import running_emulators
from gtlabel.labeling.members import list_members
from gtlabel.labeling.workforce import TeamRequest, create_team, describe_team, plan_team

ACCOUNT = "123456789012"
TEMPLATE = {
    "Resources": {
        "Topic": {"Type": "AWS::SNS::Topic", "Properties": {"TopicName": "of-a-stack"}},
        "Role": {
            "Type": "AWS::IAM::Role",
            "Properties": {"RoleName": "of-a-stack", "AssumeRolePolicyDocument": {"Statement": []}},
        },
    }
}


class Account:
    """The clients of an emulator by service."""

    def __init__(self, address: Address) -> None:
        self._session = session("us-east-1")
        self._url = address.url
        self.aws = Aws(self._session, address.url)

    def __getattr__(self, service: str) -> Any:
        name: Any = service.replace("_", "-")
        client = self._session.client(name, endpoint_url=self._url)
        setattr(self, service, client)
        return client


def kill(address: Address) -> None:
    pid = next(one.pid for one in running_emulators() if one.url == address.url)
    os.kill(pid, signal.SIGKILL)


def fill(account: Account) -> str:
    """Make something of everything; the last is a user, and nothing is asked after it."""
    aws = account.aws
    request = TeamRequest(name="sorters", members=("ann@example.com",))
    asked = plan_team(aws.sagemaker, aws.cognito_idp, request, account=ACCOUNT, region="us-east-1")
    pool = create_team(aws.sagemaker, aws.cognito_idp, asked, poll=0.01).pool or ""
    account.iam.create_role(RoleName="labeler", AssumeRolePolicyDocument=role_trust())
    account.iam.put_role_policy(RoleName="labeler", PolicyName="p", PolicyDocument=role_policy())
    policy = account.iam.create_policy(PolicyName="own", PolicyDocument=role_policy())["Policy"]["Arn"]
    account.iam.attach_role_policy(RoleName="labeler", PolicyArn=policy)
    account.iam.create_role(RoleName="gone", AssumeRolePolicyDocument="{}")
    account.iam.delete_role(RoleName="gone")
    topic = account.sns.create_topic(Name="ended", Tags=[{"Key": "a", "Value": "b"}])["TopicArn"]
    account.sqs.create_queue(QueueName="ended", Attributes={"VisibilityTimeout": "7"})
    queue = f"arn:aws:sqs:us-east-1:{ACCOUNT}:ended"
    account.sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue)
    pattern = json.dumps({"source": ["aws.sagemaker"]})
    account.events.put_rule(Name="ended", EventPattern=pattern)
    account.events.put_targets(Rule="ended", Targets=[{"Id": "1", "Arn": topic}])
    account.logs.create_log_group(logGroupName="/own")
    account.logs.create_log_stream(logGroupName="/own", logStreamName="s")
    camera = account.iot.create_thing(thingName="camera")["thingArn"]
    account.greengrassv2.create_deployment(targetArn=camera, components={})
    account.kms.create_key(Description="own")
    account.cloudformation.create_stack(StackName="own", TemplateBody=json.dumps(TEMPLATE))
    # Elsewhere, so that accounts are told apart by region, too.
    eu = account._session.client("sns", endpoint_url=account._url, region_name="eu-west-1")
    eu.create_topic(Name="there")
    account.cognito_idp.admin_create_user(UserPoolId=pool, Username="last", MessageAction="SUPPRESS")
    return pool


def seen(account: Account, pool: str) -> dict[str, Any]:
    """All that a client can tell about it."""
    aws, cognito = account.aws, account.cognito_idp
    team = describe_team(aws.sagemaker, "sorters")
    client = cognito.describe_user_pool_client(UserPoolId=pool, ClientId=team.client)["UserPoolClient"]
    queue = account.sqs.get_queue_url(QueueName="ended")["QueueUrl"]
    attributes = account.sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])["Attributes"]
    role = account.iam.get_role(RoleName="labeler")["Role"]
    eu = account._session.client("sns", endpoint_url=account._url, region_name="eu-west-1")
    return {
        "first": aws.sagemaker.describe_workforce(WorkforceName="default")["Workforce"]["CognitoConfig"],
        "team": team,
        "members": [(one.email, one.sub) for one in list_members(cognito, pool, team.groups)],
        "users": sorted(one["Username"] for one in cognito.list_users(UserPoolId=pool)["Users"]),
        "secret": client["ClientSecret"],
        "roles": sorted(one["RoleName"] for one in account.iam.list_roles()["Roles"]),
        "role": (role["RoleId"], role["CreateDate"], role["Arn"]),
        "rights": (
            account.iam.list_role_policies(RoleName="labeler")["PolicyNames"],
            account.iam.list_attached_role_policies(RoleName="labeler")["AttachedPolicies"],
        ),
        "topics": sorted(one["TopicArn"] for one in account.sns.list_topics()["Topics"]),
        "there": [one["TopicArn"] for one in eu.list_topics()["Topics"]],
        "subscriptions": account.sns.list_subscriptions()["Subscriptions"],
        "queue": {key: value for key, value in attributes.items() if not key.startswith("Approximate")},
        "rules": account.events.list_rules()["Rules"],
        "targets": account.events.list_targets_by_rule(Rule="ended")["Targets"],
        "logs": [
            one["logStreamName"]
            for one in account.logs.describe_log_streams(logGroupName="/own")["logStreams"]
        ],
        "things": account.iot.list_things()["things"],
        "deployments": account.greengrassv2.list_deployments()["deployments"],
        "jobs": [(one["jobId"], one["status"]) for one in account.iot.list_jobs()["jobs"]],
        "keys": account.kms.list_keys()["Keys"],
        "stack": account.cloudformation.describe_stack_resources(StackName="own")["StackResources"],
    }


@pytest.mark.slow
def test_all_that_was_acknowledged_is_there_after_a_kill(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with running(state) as address:
        account = Account(address)
        pool = fill(account)
        kill(address)
    with running(state) as address:
        account = Account(address)
        before = seen(account, pool)
        assert before["users"] == ["ann@example.com", "last"] or len(before["users"]) == 3
        assert "last" in before["users"]
        assert {"labeler", "gtlabel", "of-a-stack"} == set(before["roles"])
        assert [status for _, status in before["jobs"]] == ["IN_PROGRESS"]
        assert [one["deploymentStatus"] for one in before["deployments"]] == ["ACTIVE"]
        assert len(before["topics"]) == 2
        assert len(before["there"]) == len(before["subscriptions"]) == len(before["targets"]) == 1
        # What hung together still does: an event of a job reaches the queue through rule and topic.
        put_inputs(account.aws.s3)
        create_job(account.aws, "stopped")
        account.sagemaker.stop_labeling_job(LabelingJobName="stopped")
        url = account.sqs.get_queue_url(QueueName="ended")["QueueUrl"]
        messages = account.sqs.receive_message(QueueUrl=url, WaitTimeSeconds=10, VisibilityTimeout=0)
        assert "Labeling Job State Change" in messages["Messages"][0]["Body"]
        shown = run(["aws", "iam", "get-role", "--role-name", "labeler"], address.environ)
        assert json.loads(shown.stdout)["Role"]["RoleId"] == before["role"][0]
    # Messages are written down at a stop, and each second.
    with running(state) as address:
        account = Account(address)
        url = account.sqs.get_queue_url(QueueName="ended")["QueueUrl"]
        assert account.sqs.receive_message(QueueUrl=url)["Messages"]
        assert seen(account, pool) == before
        account.cloudformation.delete_stack(StackName="own")
        assert seen_topics(account) == [f"arn:aws:sns:us-east-1:{ACCOUNT}:ended"]
        post(f"{address.url}/moto-api/reset")
    with running(state) as address:
        account = Account(address)
        assert [one["RoleName"] for one in account.iam.list_roles()["Roles"]] == ["gtlabel"]
        assert seen_topics(account) == []


def seen_topics(account: Account) -> list[str]:
    return [one["TopicArn"] for one in account.sns.list_topics()["Topics"]]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an emulator that knew a topic and a role of somebody's."""
    state = tmp_path_factory.mktemp("kept") / "state"
    with running(state) as address:
        account = Account(address)
        account.sns.create_topic(Name="kept")
        account.iam.create_role(RoleName="kept", AssumeRolePolicyDocument="{}")
    return state


class Nasty:
    """What a pickle of somebody else's could do."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("RAN",)


def changed(path: Path, statement: str, *values: Any) -> None:
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(statement, values)
    connection.close()


def damage(how: str, file: Path) -> None:
    if how == "no file of ours":
        file.write_bytes(b"not a database" * 1000)
    elif how == "another moto":
        changed(file, "update about set value = '5.1.0' where name = 'moto'")
    elif how == "half a pickle":
        changed(file, "update backends set content = substr(content, 1, 200) where service = 'iam'")
    elif how == "a program":
        changed(file, "update backends set content = ? where service = 'iam'", pickle.dumps({"x": Nasty()}))
    elif how == "no state":
        changed(file, "update backends set content = ? where service = 'iam'", pickle.dumps([1]))
    elif how == "others may write":
        file.chmod(0o666)
    elif how == "a link":
        elsewhere = file.with_name("elsewhere")
        file.rename(elsewhere)
        file.symlink_to(elsewhere)


@pytest.mark.parametrize(
    ("how", "left", "why"),
    [
        ("no file of ours", 0, "file is not a database"),
        ("another moto", 0, "it was written with moto 5.1.0, and this is"),
        ("half a pickle", 1, "iam: "),
        ("a program", 1, "it asks for posix.mkdir, which is nothing that moto keeps"),
        ("no state", 1, "it holds something else than what moto keeps"),
        ("others may write", 0, "others than this user can write to"),
        ("a link", 0, "others than this user can write to"),
    ],
)
def test_what_cannot_be_read_is_set_aside_with_a_warning(
    kept: Path, tmp_path: Path, how: str, left: int, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    from gtlabel.emulator.memory import Memory

    state = tmp_path / "state"
    shutil.copytree(kept, state)
    state.chmod(0o700)
    damage(how, state / "moto.sqlite")
    with mocked():
        memory = Memory(state / "moto.sqlite")
        memory.load()
        topics = len(boto3.client("sns", region_name="us-east-1").list_topics()["Topics"])
        memory.close()
        assert topics == left
    (warning,) = caplog.records
    assert why in warning.getMessage()
    assert [file for file in state.iterdir() if file.name.endswith(".aside")]
    assert not Path("RAN").exists()
    caplog.clear()
    with mocked():
        again = Memory(state / "moto.sqlite")
        again.load()
        assert len(boto3.client("sns", region_name="us-east-1").list_topics()["Topics"]) == left
        again.close()
    assert not caplog.records


def mocked() -> Any:
    import moto

    return moto.mock_aws()


def test_an_emulator_with_a_damaged_file_starts_and_goes_on(kept: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    shutil.copytree(kept, state)
    damage("no file of ours", state / "moto.sqlite")
    with running(state) as address:
        account = Account(address)
        assert seen_topics(account) == []
        assert account.aws.sagemaker.describe_workteam(WorkteamName="gtlabel")["Workteam"]
        account.sns.create_topic(Name="new")
        kill(address)
    with running(state) as address:
        assert seen_topics(Account(address)) == [f"arn:aws:sns:us-east-1:{ACCOUNT}:new"]


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "gtlabel")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "gtlabel")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)


def test_an_emulator_whose_bucket_is_refused_does_not_stay(tmp_path: Path) -> None:
    words = ["--port", "0", "--detach", "--state", str(tmp_path / "state"), "--bucket", "A"]
    ended = run([sys.executable, "-m", "gtlabel", "local", "up", *words])
    assert ended.returncode == 1
    assert "InvalidBucketName" in ended.stderr
    assert [one for one in running_emulators() if one.state == str(tmp_path / "state")] == []
