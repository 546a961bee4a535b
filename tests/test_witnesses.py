"""Programs that know nothing of gtlabel drive its Ground Truth: AWS's command line and its Python SDK."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from emulator_parts import TRUTH, labels, put_inputs
from programs import need

from gtlabel.aws import Aws
from gtlabel.emulator.child import Address
from gtlabel.emulator.simulate import answer

HERE = Path(__file__).parent
ARN = "arn:aws:sagemaker:us-east-1:123456789012"
LAMBDA = "arn:aws:lambda:us-east-1:432418664414:function"
JOB = {
    "LabelingJobName": "cli-bins",
    "LabelAttributeName": "bin",
    "InputConfig": {"DataSource": {"S3DataSource": {"ManifestS3Uri": "s3://trash/in.manifest"}}},
    "OutputConfig": {"S3OutputPath": "s3://trash/out/"},
    "RoleArn": "arn:aws:iam::123456789012:role/gtlabel",
    "LabelCategoryConfigS3Uri": "s3://trash/classes.json",
    "HumanTaskConfig": {
        "WorkteamArn": f"{ARN}:workteam/private-crowd/night-shift",
        "UiConfig": {"UiTemplateS3Uri": "s3://trash/template.liquid"},
        "PreHumanTaskLambdaArn": f"{LAMBDA}:PRE-ImageMultiClass",
        "AnnotationConsolidationConfig": {
            "AnnotationConsolidationLambdaArn": f"{LAMBDA}:ACS-ImageMultiClass"
        },
        "TaskTitle": "Sort the trash",
        "TaskDescription": "Choose the bin.",
        "NumberOfHumanWorkersPerDataObject": 1,
        "TaskTimeLimitInSeconds": 300,
    },
}


def aws(address: Address, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`aws sagemaker ...` as a person would type it, and its transcript."""
    program = str(Path(sys.executable).with_name("aws"))
    run = subprocess.run(
        [program, "sagemaker", *arguments],
        env={**os.environ, **address.environ},
        capture_output=True,
        text=True,
        timeout=120,
    )
    print(f"$ aws sagemaker {' '.join(arguments)}\n{run.stdout}{run.stderr}", end="")
    return run


def user_group(aws: Aws) -> dict[str, str]:
    """A group of users for a team, as a member definition names it."""
    pool = aws.cognito_idp.create_user_pool(PoolName="people")["UserPool"]["Id"]
    client = aws.cognito_idp.create_user_pool_client(UserPoolId=pool, ClientName="c", GenerateSecret=True)
    aws.cognito_idp.create_group(UserPoolId=pool, GroupName="nights")
    identity = client["UserPoolClient"]["ClientId"]
    return {"UserPool": pool, "UserGroup": "nights", "ClientId": identity}


@pytest.mark.slow
def test_the_aws_command_line_makes_a_team_and_creates_lists_describes_and_stops_a_job(
    gtlabel_aws: Aws, gtlabel_server: Address
) -> None:
    put_inputs(gtlabel_aws.s3)

    def said(*arguments: str) -> Any:
        run = aws(gtlabel_server, *arguments)
        assert run.returncode == 0, run.stderr
        return json.loads(run.stdout) if run.stdout.strip() else None

    member = {"CognitoMemberDefinition": user_group(gtlabel_aws)}
    members = json.dumps([member])
    team = ("--workteam-name", "night-shift")
    assert said("create-workteam", *team, "--description", "People", "--member-definitions", members) == {
        "WorkteamArn": f"{ARN}:workteam/private-crowd/night-shift"
    }
    assert said("create-labeling-job", "--cli-input-json", json.dumps(JOB)) == {
        "LabelingJobArn": f"{ARN}:labeling-job/cli-bins"
    }
    name = ("--labeling-job-name", "cli-bins")
    with ThreadPoolExecutor() as pool:
        taken = pool.submit(aws, gtlabel_server, "create-labeling-job", "--cli-input-json", json.dumps(JOB))
        teams = pool.submit(said, "list-workteams", "--query", "Workteams[].WorkteamName")
        people = pool.submit(said, "describe-workteam", *team, "--query", "Workteam.MemberDefinitions")
        described = pool.submit(said, "describe-labeling-job", *name)
        listed = pool.submit(
            *(said, "list-labeling-jobs", "--name-contains", "cli"),
            *("--query", "LabelingJobSummaryList[].[LabelingJobName,LabelingJobStatus]"),
        )
        of_team = pool.submit(
            *(said, "list-labeling-jobs-for-workteam", "--workteam-arn"),
            *(
                f"{ARN}:workteam/private-crowd/night-shift",
                "--query",
                "LabelingJobSummaryList[].LabelingJobName",
            ),
        )
    assert taken.result().returncode != 0
    assert "ResourceInUse" in taken.result().stderr
    assert sorted(teams.result()) == ["gtlabel", "night-shift"]
    assert people.result() == [member]
    found = described.result()
    assert found["LabelingJobStatus"] in ("Initializing", "InProgress")
    assert found["HumanTaskConfig"]["MaxConcurrentTaskCount"] == 1000
    assert {key: found[key] for key in JOB if key != "HumanTaskConfig"} == {
        **{key: value for key, value in JOB.items() if key != "HumanTaskConfig"},
        "OutputConfig": {"KmsKeyId": "", "S3OutputPath": "s3://trash/out/"},
    }
    assert [row[0] for row in listed.result()] == ["cli-bins"]
    assert of_team.result() == ["cli-bins"]

    assert said("stop-labeling-job", *name) is None
    # The command line has no waiter for labeling jobs either: one asks again.
    status = ""
    for _ in range(20):
        status = said("describe-labeling-job", *name, "--query", "LabelingJobStatus")
        if status == "Stopped":
            break
    assert status == "Stopped"
    assert said("delete-workteam", *team) == {"Success": True}


@pytest.mark.slow
def test_sagemaker_core_creates_gets_waits_for_lists_and_stops_jobs(
    gtlabel_aws: Aws, gtlabel_server: Address
) -> None:
    python = os.environ.get("GTLABEL_SDK_PYTHON") or (sys.executable if find_spec("sagemaker") else "")
    need(
        python,
        "drives the emulator with AWS's SDK, which is 420 MB; get it in an environment of its own and name "
        "its Python: python3 -m venv sdk && sdk/bin/pip install 'sagemaker-core>=2.27,<3' && "
        "export GTLABEL_SDK_PYTHON=$PWD/sdk/bin/python",
    )
    put_inputs(gtlabel_aws.s3)
    team, role = gtlabel_server.environ["GTLABEL_TEAM"], gtlabel_server.environ["GTLABEL_ROLE"]
    session = subprocess.Popen(
        [str(python), str(HERE / "sdk_session.py"), team, role],
        env={**os.environ, **gtlabel_server.environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert session.stdout is not None
    with session:
        first = session.stdout.readline()
        if first:
            answer(gtlabel_server.url, "sdk-bins", workers=2, accuracy=1.0, truth=TRUTH, seed=7)
        rest, stderr = session.communicate(timeout=120)
    assert session.returncode == 0, stderr
    # Between the lines stands what the SDK prints for people: a panel that it draws while it waits.
    told = [json.loads(line) for line in (first + rest).splitlines() if line.startswith('["')]
    print("\n".join(f">>> {call}\n{json.dumps(result)}" for call, result in told))
    assert told[:-1] == [
        ["LabelingJob.create('sdk-bins')", f"{ARN}:labeling-job/sdk-bins"],
        ["job.wait()", ["Completed", 4]],
        ["LabelingJob.get('sdk-bins')", "s3://trash/out/sdk-bins/manifests/output/output.manifest"],
        ["second.stop(); second.wait()", "Stopped"],
        ["LabelingJob.get_all()", [["sdk-bins", "Completed"], ["sdk-stopped", "Stopped"]]],
        ["LabelingJob.get_all('Completed')", ["sdk-bins"]],
    ]
    assert told[-1][0] == "LabelingJob.get('nothing')"
    assert "(ResourceNotFound)" in told[-1][1]
    assert labels(gtlabel_aws.s3, "sdk-bins") == TRUTH
