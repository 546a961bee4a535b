"""Rights: the policies that gtlabel ships, held against every command with IAM enforced."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from permission_deployments import allow_devices
from permission_matrix import (
    ACTS,
    BINS,
    BUCKET,
    ELSEWHERE,
    PHOTOS,
    USER,
    VALUES,
    Cell,
    Stage,
    cells,
    enforce,
    stage,
    statement,
    without,
)

from gtlabel.aws import Aws
from gtlabel.cli.failures import explain
from gtlabel.datasets.certificate import verify
from gtlabel.datasets.lock import LOCK
from gtlabel.edge.grants import artifact_statement, missing_grants
from gtlabel.emulator.child import Address
from gtlabel.errors import EdgeError, StorageDeniedError
from gtlabel.journey import consolidate_jobs
from gtlabel.policies import COMMANDS, actions, policy_for
from gtlabel.storage import copy, exists, read, write
from gtlabel.uris import S3Uri

ALL = [(command, action) for command in COMMANDS for action in actions(policy_for(command, VALUES))]
Document = dict[str, Any]


@pytest.fixture(scope="module")
def account() -> Iterator[Stage]:
    with stage() as found:
        yield found


@pytest.fixture(scope="module")
def matrix(account: Stage) -> dict[str, dict[str, Cell]]:
    """What became of each command, by the action that was taken out of its policy; by none for all of it."""
    return {command: {cell.action: cell for cell in cells(account, command)} for command in COMMANDS}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_can_do_all_it_does_with_nothing_but_its_policy(
    matrix: dict[str, dict[str, Cell]], command: str
) -> None:
    assert matrix[command][""].sentence == ""


@pytest.mark.parametrize(("command", "action"), ALL)
def test_without_one_action_a_command_fails_with_a_sentence_that_names_it(
    matrix: dict[str, dict[str, Cell]], command: str, action: str
) -> None:
    if (command, action) in ELSEWHERE:
        pytest.skip(ELSEWHERE[command, action])
    sentence = matrix[command][action].sentence
    assert action in sentence, sentence or "it did not fail"
    assert "\n" not in sentence


def test_every_command_that_has_a_policy_is_in_the_matrix() -> None:
    assert set(ACTS) == set(COMMANDS)


@pytest.mark.parametrize(("lacking", "left"), [("", None), ("s3:DeleteObject", b"{}\n")])
def test_the_lock_of_a_dataset_is_taken_away_or_else_emptied(
    account: Stage, lacking: str, left: bytes | None
) -> None:
    account.allow(without(policy_for("consolidate", VALUES), lacking))
    into = BINS / f"lock-{lacking[3:]}/"
    consolidate_jobs(account.user, ["labeled"], into)
    lock, s3 = into / LOCK, account.admin.s3
    assert (read(s3, lock) if exists(s3, lock) else None) == left


def test_who_may_not_move_pictures_may_not_delete_them_either(account: Stage) -> None:
    account.allow(policy_for("consolidate", VALUES))
    into = BINS / "moved/"
    with pytest.raises(StorageDeniedError, match="s3:DeleteObject"):
        consolidate_jobs(account.user, ["labeled"], into, mode="move")
    # It is a whole dataset all the same, and who may delete ends what was begun.
    assert verify(account.user.s3, into) == []
    assert exists(account.admin.s3, PHOTOS / "0.jpg")


# The role of the devices.


def test_devices_fetch_our_artifacts_with_their_role_and_nothing_else(account: Stage) -> None:
    ours, theirs = BINS / "components/deeplens-bins/1.0.0/b.zip", BINS / "components/their.logger/1.0.0/b.zip"
    for uri in (ours, theirs):
        write(account.admin.s3, uri, b"a bundle")
    account.allow(policy_for("device-role", {**VALUES, "component": "deeplens-bins"}))
    assert read(account.user.s3, ours) == b"a bundle"
    for uri in (theirs, PHOTOS / "0.jpg", BINS / "dataset.json"):
        with pytest.raises(StorageDeniedError, match="s3:GetObject"):
            read(account.user.s3, uri)
    with pytest.raises(StorageDeniedError, match="s3:PutObject"):
        write(account.user.s3, ours, b"another")


def test_it_is_said_what_the_role_of_the_devices_lacks(account: Stage) -> None:
    artifact = BINS / "components/deeplens-bins/1.0.0/1234/bundle.zip"
    statement = artifact_statement(BINS / "components/deeplens-bins/")
    iam = account.admin.iam

    def said() -> list[str]:
        return missing_grants(iam, "cameras", artifact, statement)

    allow_devices(account, {"Statement": []})
    assert said() == [f"cameras lacks s3:GetObject on {artifact.folder}; add the statement to it"]
    # What is printed is enough, and so is the policy that is shipped.
    allow_devices(account, {"Version": "2012-10-17", "Statement": [statement]})
    assert said() == []
    allow_devices(account, policy_for("device-role", VALUES))
    assert said() == []
    deny = {**statement, "Effect": "Deny", "Sid": "No"}
    allow_devices(account, {"Version": "2012-10-17", "Statement": [statement, deny]})
    assert "denies s3:GetObject" in said()[0]
    trust = policy_for("sagemaker-trust", VALUES)
    iam.update_assume_role_policy(RoleName="cameras", PolicyDocument=json.dumps(trust))
    assert "does not trust credentials.iot.amazonaws.com" in said()[0]
    with pytest.raises(EdgeError, match="there is no role 'nobodys'"):
        missing_grants(iam, "nobodys", artifact, statement)


# The command line, as the user.


@pytest.fixture
def as_user(account: Stage) -> Callable[..., subprocess.CompletedProcess[str]]:
    credentials = account.user.session.get_credentials()
    assert credentials is not None

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        mine = {
            "AWS_ENDPOINT_URL": account.address.url,
            "AWS_ACCESS_KEY_ID": credentials.access_key,
            "AWS_SECRET_ACCESS_KEY": credentials.secret_key,
            "AWS_DEFAULT_REGION": "us-east-1",
            "GTLABEL_TEAM": "gtlabel",
            "GTLABEL_ROLE": "gtlabel",
        }
        return subprocess.run(
            [sys.executable, "-m", "gtlabel", *arguments],
            env={**os.environ, **mine},
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run


def test_a_person_is_told_which_action_is_lacking_and_how_to_get_the_policy(
    account: Stage, as_user: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    document = policy_for("label", VALUES)
    account.allow(without(document, "iam:PassRole"))
    started = ("label", str(PHOTOS), "--classes", "Compost,Landfill", "--name", account.name("cli"))
    run = as_user(*started)
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr.splitlines()[-1] == (
        "gtlabel: arn:aws:iam::123456789012:user/ann lacks iam:PassRole on "
        "arn:aws:iam::123456789012:role/gtlabel; "
        "`gtlabel policy label` prints the policy that a command needs"
    )
    account.allow(document)
    run = as_user(*started)
    assert run.returncode == 0, run.stderr


def test_a_command_of_a_group_is_told_its_own_policy_where_it_has_one(
    account: Stage, as_user: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    account.allow({"Version": "2012-10-17", "Statement": [statement()]})
    for words, policy in ((("quality", "more"), "quality-more"), (("quality", "report"), "quality")):
        run = as_user(*words, "labeled")
        assert run.stderr.splitlines()[-1].endswith(
            f"`gtlabel policy {policy}` prints the policy that a command needs"
        )


def test_the_policy_is_printed_with_the_names_of_the_project(
    account: Stage, as_user: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    run = as_user("policy", "label", "--bucket", BUCKET, "--prefix", "trash/", "--output", "json")
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout) == policy_for("label", VALUES)


# What the emulator lets through.


@pytest.fixture
def user(account: Stage) -> Aws:
    account.allow({"Version": "2012-10-17", "Statement": [statement(Resource=f"arn:aws:s3:::{BUCKET}/*")]})
    return account.user


def denied(ask: Callable[[], object]) -> str:
    """The name of the refusal and what it says."""
    with pytest.raises(ClientError) as caught:
        ask()
    answer = caught.value.response["Error"]
    return f"{answer['Code']}: {answer.get('Message', '')}"


def test_each_service_refuses_in_its_own_way(account: Stage, user: Aws) -> None:
    who = "User: arn:aws:iam::123456789012:user/ann is not authorized to perform:"
    account.allow({"Version": "2012-10-17", "Statement": [statement()]})
    assert denied(lambda: user.s3.list_objects_v2(Bucket=BUCKET)) == (
        f'AccessDenied: {who} s3:ListBucket on resource: "arn:aws:s3:::{BUCKET}" '
        "because no identity-based policy allows the s3:ListBucket action"
    )
    for ask, action, code in (
        (lambda: user.sagemaker.list_labeling_jobs(), "sagemaker:ListLabelingJobs", "AccessDeniedException"),
        (lambda: user.sagemaker.list_models(), "sagemaker:ListModels", "AccessDeniedException"),
        (lambda: user.greengrass.list_components(), "greengrass:ListComponents", "AccessDeniedException"),
        (lambda: user.iot.describe_thing(thingName="x"), "iot:DescribeThing", "AccessDeniedException"),
        (lambda: user.logs.describe_log_groups(), "logs:DescribeLogGroups", "AccessDeniedException"),
        (lambda: user.iam.get_role(RoleName="gtlabel"), "iam:GetRole", "AccessDenied"),
    ):
        assert denied(ask).startswith(f"{code}: {who} {action} on resource: "), action
    assert user.sts.get_caller_identity()["Arn"].endswith(":user/ann")


def test_a_right_on_one_resource_is_none_on_another(account: Stage) -> None:
    thing = "arn:aws:iot:us-east-1:123456789012:thing/"
    allowed = {"Effect": "Allow", "Action": "iot:DescribeThing", "Resource": f"{thing}kitchen-camera"}
    account.allow({"Version": "2012-10-17", "Statement": [allowed]})
    assert account.user.iot.describe_thing(thingName="kitchen-camera")["thingName"] == "kitchen-camera"
    assert f"iot:DescribeThing on resource: {thing}other" in denied(
        lambda: account.user.iot.describe_thing(thingName="other")
    )


def test_who_makes_a_component_has_to_be_able_to_read_what_is_in_it(account: Stage) -> None:
    account.admin.s3.put_object(Bucket=BUCKET, Key="parts/app.zip", Body=b"app")
    lifecycle = {"Platform": {"os": "*", "runtime": "*"}, "Lifecycle": {"run": "true"}}
    recipe = {
        "RecipeFormatVersion": "2020-01-25",
        "ComponentName": account.name("app"),
        "ComponentVersion": "1.0.0",
        "Manifests": [{**lifecycle, "Artifacts": [{"Uri": f"s3://{BUCKET}/parts/app.zip"}]}],
    }
    make = {"Effect": "Allow", "Action": "greengrass:CreateComponentVersion", "Resource": "*"}
    read = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{BUCKET}/parts/*"}

    def ask() -> str:
        made = account.user.greengrass.create_component_version(inlineRecipe=json.dumps(recipe).encode())
        return made["componentName"]

    account.allow({"Version": "2012-10-17", "Statement": [make]})
    assert f'perform: s3:GetObject on resource: "arn:aws:s3:::{BUCKET}/parts/app.zip"' in denied(ask)
    account.allow({"Version": "2012-10-17", "Statement": [make, read]})
    assert ask() == recipe["ComponentName"]


def test_jobs_start_for_the_team_of_the_policy_and_with_its_role_alone(account: Stage) -> None:
    account.admin.iam.create_role(RoleName="admin", AssumeRolePolicyDocument="{}")
    request = account.admin.sagemaker.describe_labeling_job(LabelingJobName="labeled")
    wanted = ("LabelAttributeName", "InputConfig", "OutputConfig", "HumanTaskConfig", "RoleArn")
    request = {name: request[name] for name in (*wanted, "LabelCategoryConfigS3Uri")}  # type: ignore[literal-required,assignment]
    account.allow(policy_for("label", VALUES))

    def start(**changes: Any) -> None:
        name = account.name("direct")
        account.user.sagemaker.create_labeling_job(**{**request, "LabelingJobName": name, **changes})

    other = "arn:aws:iam::123456789012:role/admin"
    assert f"iam:PassRole on resource: {other}" in denied(lambda: start(RoleArn=other))
    team = {"WorkteamArn": "arn:aws:sagemaker:us-east-1:123456789012:workteam/private-crowd/others"}
    assert "sagemaker:CreateLabelingJob on resource: " in denied(
        lambda: start(HumanTaskConfig={**request["HumanTaskConfig"], **team})
    )
    account.allow(without(policy_for("label", VALUES), "sagemaker:AddTags"))
    assert "sagemaker:AddTags" in denied(lambda: start(Tags=[{"Key": "a", "Value": "b"}]))
    start()


def test_who_may_not_list_a_bucket_is_not_told_what_is_missing_from_it(account: Stage, user: Aws) -> None:
    nowhere = S3Uri.of(BUCKET, "trash/nowhere.jpg")
    assert read(user.s3, PHOTOS / "0.jpg")
    with pytest.raises(StorageDeniedError, match=f"s3:ListBucket on s3://{BUCKET};"):
        read(user.s3, nowhere)
    with pytest.raises(StorageDeniedError, match="lack s3:GetObject, or s3:ListBucket, on s3://"):
        exists(user.s3, nowhere)


def test_a_copy_takes_the_right_to_read_as_well(account: Stage) -> None:
    there = f"arn:aws:s3:::{BUCKET}/copies/*"
    account.allow({"Version": "2012-10-17", "Statement": [statement(Action="s3:PutObject", Resource=there)]})
    with pytest.raises(StorageDeniedError, match=f"s3:GetObject on s3://{BUCKET}/trash/0.jpg"):
        copy(account.user.s3, PHOTOS / "0.jpg", S3Uri.of(BUCKET, "copies/0.jpg"))


def test_an_address_that_was_signed_for_somebody_has_the_rights_of_its_signer(
    account: Stage, user: Aws
) -> None:
    def get(bucket: str, key: str) -> int:
        url = user.s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": key})
        try:
            with urllib.request.urlopen(url, timeout=120) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    assert get(BUCKET, "trash/0.jpg") == 200
    account.allow({"Version": "2012-10-17", "Statement": [statement(Resource="arn:aws:s3:::other/*")]})
    assert get(BUCKET, "trash/0.jpg") == 403


def test_wrong_signatures_unknown_keys_and_no_signature_are_refused(account: Stage, user: Aws) -> None:
    credentials = user.session.get_credentials()
    assert credentials is not None
    forger = Aws(
        boto3.Session(credentials.access_key, "guessed", region_name="us-east-1"), account.address.url
    )
    nobody = Aws(boto3.Session("AKIANOBODY", "x", region_name="us-east-1"), account.address.url)
    assert denied(lambda: forger.s3.get_object(Bucket=BUCKET, Key="trash/0.jpg")).startswith("Signature")
    assert denied(lambda: forger.sagemaker.list_labeling_jobs()).startswith("InvalidSignatureException")
    assert denied(lambda: nobody.s3.get_object(Bucket=BUCKET, Key="x")).startswith("InvalidAccessKeyId")
    assert denied(lambda: nobody.sagemaker.list_labeling_jobs()).startswith("UnrecognizedClientException")
    assert denied(lambda: nobody.sts.get_caller_identity()).startswith("InvalidClientTokenId")
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(f"{account.address.url}/{BUCKET}/trash/0.jpg", timeout=120)


def test_rights_of_groups_and_of_attached_policies_count(account: Stage) -> None:
    iam = account.admin.iam
    account.allow({"Version": "2012-10-17", "Statement": [statement(Action="s3:ListAllMyBuckets")]})
    document = {
        "Version": "2012-10-17",
        "Statement": [statement(Action="sagemaker:ListLabelingJobs", Resource="*")],
    }
    iam.create_group(GroupName="labelers")
    iam.add_user_to_group(GroupName="labelers", UserName=USER)
    try:
        iam.put_group_policy(GroupName="labelers", PolicyName="list", PolicyDocument=json.dumps(document))
        account.user.sagemaker.list_labeling_jobs()
        iam.delete_group_policy(GroupName="labelers", PolicyName="list")
        arn = iam.create_policy(PolicyName="list", PolicyDocument=json.dumps(document))["Policy"]["Arn"]
        iam.attach_user_policy(UserName=USER, PolicyArn=arn)
        account.user.sagemaker.list_labeling_jobs()
        iam.detach_user_policy(UserName=USER, PolicyArn=arn)
        assert "sagemaker:ListLabelingJobs" in denied(lambda: account.user.sagemaker.list_labeling_jobs())
    finally:
        iam.remove_user_from_group(GroupName="labelers", UserName=USER)


def test_a_role_that_was_taken_on_has_the_rights_of_the_role(account: Stage) -> None:
    trust = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}],
    }
    role = account.admin.iam.create_role(RoleName="reader", AssumeRolePolicyDocument=json.dumps(trust))[
        "Role"
    ]
    document = {"Version": "2012-10-17", "Statement": [statement(Resource=f"arn:aws:s3:::{BUCKET}/*")]}
    account.admin.iam.put_role_policy(
        RoleName="reader", PolicyName="read", PolicyDocument=json.dumps(document)
    )
    taken = account.admin.sts.assume_role(RoleArn=role["Arn"], RoleSessionName="me")["Credentials"]
    session = boto3.Session(
        taken["AccessKeyId"], taken["SecretAccessKey"], taken["SessionToken"], region_name="us-east-1"
    )
    reader = Aws(session, account.address.url)
    assert read(reader.s3, PHOTOS / "0.jpg")
    assert "assumed-role/reader/me is not authorized to perform: sagemaker:ListLabelingJobs" in denied(
        lambda: reader.sagemaker.list_labeling_jobs()
    )


# IAM's simulator.


def test_the_simulator_says_what_would_happen(account: Stage) -> None:
    document = policy_for("label", VALUES)
    document["Statement"].append(
        {"Effect": "Deny", "Action": "s3:PutObject", "Resource": f"arn:aws:s3:::{BUCKET}/gtlabel/*"}
    )
    account.allow(document)
    arn = f"arn:aws:iam::123456789012:user/{USER}"

    def simulate(action: str, resource: str, **context: str) -> str:
        answer = account.admin.iam.simulate_principal_policy(
            PolicySourceArn=arn,
            ActionNames=[action],
            ResourceArns=[resource],
            ContextEntries=[
                {
                    "ContextKeyName": name.replace("_", ":"),
                    "ContextKeyValues": [value],
                    "ContextKeyType": "string",
                }
                for name, value in context.items()
            ],
        )
        (result,) = answer["EvaluationResults"]
        assert (result["EvalActionName"], result["EvalResourceName"]) == (action, resource)
        return result["EvalDecision"]

    role = "arn:aws:iam::123456789012:role/gtlabel"
    assert simulate("iam:PassRole", role, iam_PassedToService="sagemaker.amazonaws.com") == "allowed"
    assert simulate("iam:PassRole", role, iam_PassedToService="ec2.amazonaws.com") == "implicitDeny"
    assert simulate("s3:PutObject", f"arn:aws:s3:::{BUCKET}/gtlabel/x") == "explicitDeny"
    assert simulate("s3:PutObject", f"arn:aws:s3:::{BUCKET}/trash/x") == "allowed"
    assert denied(
        lambda: account.admin.iam.simulate_principal_policy(
            PolicySourceArn=f"{arn}x", ActionNames=["s3:GetObject"]
        )
    ).startswith("NoSuchEntity")


def test_a_policy_can_be_simulated_before_anybody_has_it(account: Stage) -> None:
    answer = account.admin.iam.simulate_custom_policy(
        PolicyInputList=[json.dumps(policy_for("jobs", VALUES))],
        ActionNames=["sagemaker:ListLabelingJobs", "sagemaker:CreateLabelingJob"],
    )
    decisions = {item["EvalActionName"]: item["EvalDecision"] for item in answer["EvaluationResults"]}
    assert decisions == {
        "sagemaker:ListLabelingJobs": "allowed",
        "sagemaker:CreateLabelingJob": "implicitDeny",
    }


def test_rights_count_from_when_they_are_asked_for_until_the_account_is_emptied(
    gtlabel_aws: Aws, gtlabel_server: Address, tmp_path: Path
) -> None:
    stranger = Aws(boto3.Session("AKIANOBODY", "x", region_name="us-east-1"), gtlabel_server.url)
    stranger.sagemaker.list_labeling_jobs()
    enforce(gtlabel_server)
    try:
        assert "Unrecognized" in denied(lambda: stranger.sagemaker.list_labeling_jobs())
        gtlabel_aws.s3.create_bucket(Bucket="mine")
        gtlabel_aws.sagemaker.list_labeling_jobs()
    finally:
        reset = urllib.request.Request(f"{gtlabel_server.url}/moto-api/reset", method="POST")
        urllib.request.urlopen(reset, timeout=120).close()
    stranger.sagemaker.list_labeling_jobs()
    assert gtlabel_aws.iam.list_users()["Users"] == []
    assert [role["RoleName"] for role in gtlabel_aws.iam.list_roles()["Roles"]] == ["gtlabel"]


def test_a_refusal_without_words_is_a_sentence_all_the_same() -> None:
    answer: Any = {"Error": {"Code": "AccessDenied", "Message": "Access Denied"}, "ResponseMetadata": {}}
    explained = explain(ClientError(answer, "GetBucketCors"), "doctor")
    assert explained is not None
    assert explained[0] == (
        "GetBucketCors is not allowed: Access Denied; `gtlabel policy doctor` prints the policy "
        "that a command needs"
    )
