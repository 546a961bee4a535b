"""What commands do in the matrix of permissions when that takes a stage of their own: streaming, teams."""

from __future__ import annotations

import io
import json
import time
import urllib.request
from contextlib import suppress
from functools import cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from PIL import Image

from gtlabel.aws import Aws
from gtlabel.edge.collect import bring_frames, plan_frames
from gtlabel.edge.device.frames import UnsureFrames
from gtlabel.errors import SettingsError
from gtlabel.labeling.jobs import describe_labeling_job, wait_for_labeling_job
from gtlabel.labeling.lifecycle import plan_chain, start_successor
from gtlabel.labeling.members import deactivate_member, invite, list_members, remove_member
from gtlabel.labeling.notify import notify as start_telling
from gtlabel.labeling.notify import plan_notification, remove_notification
from gtlabel.labeling.pace import read_pace
from gtlabel.labeling.receiving import receive, subscribe
from gtlabel.labeling.request import LabelingJobRequest
from gtlabel.labeling.sending import send
from gtlabel.labeling.stack import stack_settings
from gtlabel.labeling.streaming import (
    clean_up,
    plan_streaming,
    start_streaming,
    stop_streaming,
    wait_until_open,
)
from gtlabel.labeling.throughput import activity, people, read_responses
from gtlabel.labeling.workforce import TeamRequest, create_team, describe_team, list_teams, plan_team
from gtlabel.storage import list_objects
from gtlabel.templates import read_template
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from permission_matrix import Stage

ACCOUNT = "123456789012"
OUTPUT = S3Uri("s3://trash-photos/gtlabel/")
PICTURES = [S3Uri(f"s3://trash-photos/trash/{number}.jpg") for number in (0, 2)]
# An account has one workforce in a region; here there may be none, and one is made.
FAR = "eu-west-1"
TEAM, EVE = "sorters", "eve@example.com"


def relabel(stage: Stage, aws: Aws) -> None:
    """`gtlabel jobs chain --set tags`, as its kin do."""
    plan = plan_chain(aws, "labeled", to=stage.name("again"), tags={"project": "trash"})
    start_successor(aws, plan)


def estimate(_stage: Stage, aws: Aws) -> None:
    """`gtlabel estimate --like`."""
    read_pace(aws.sagemaker, aws.s3, ["labeled"])


def stream(stage: Stage, aws: Aws) -> None:
    """`gtlabel stream start`, `send`, `receive` and `stop --clean`."""
    name = stage.name("belt")
    folder = OUTPUT / name / "input"
    request = LabelingJobRequest(
        name=name,
        attribute="bin",
        classes=folder / "classes.json",
        template=folder / "template.liquid",
        output=OUTPUT,
        role=f"arn:aws:iam::{ACCOUNT}:role/gtlabel",
        team=f"arn:aws:sagemaker:us-east-1:{ACCOUNT}:workteam/private-crowd/gtlabel",
        region="us-east-1",
        workers_per_image=1,
    )
    page = read_template("tasks/image-classification.liquid")
    plan = plan_streaming(aws.sagemaker, request, ["Compost", "Landfill"], page, account=ACCOUNT)
    try:
        start_streaming(aws.sagemaker, aws.sns, aws.s3, plan)
        opened = wait_until_open(aws.sagemaker, name, poll=0.02, timeout=120)
        results = subscribe(aws.sns, aws.sqs, opened)
        send(aws.sagemaker, aws.sns, name, PICTURES)
        _label(stage.address.url, name, len(PICTURES))
        # What was fetched with the first and is not wanted goes back.
        records = receive(aws.sqs, results, limit=1, idle=5, poll=1)
        next(records)
        records.close()
        for _ in receive(aws.sqs, results, limit=len(PICTURES), idle=5, poll=1):
            pass
        stop_streaming(aws.sagemaker, name)
        wait_for_labeling_job(stage.admin.sagemaker, name, poll=0.02, timeout=120)
    except Exception as error:
        # Stopped is how it is to end; whatever went wrong before, nothing is left running.
        _end(stage.admin, name)
        if getattr(error, "status", "") != "Stopped":
            raise
    clean_up(aws.sagemaker, aws.sns, aws.sqs, name)


def _label(url: str, job: str, wanted: int) -> None:
    """Answer as many tasks."""
    until = time.monotonic() + 60
    while wanted:
        assert time.monotonic() < until, "the pictures that were sent never came"
        task = _say(url, "lease", job=job, worker="bob")
        if task["lease"] is None:
            time.sleep(0.02)
            continue
        answer = {"crowd-image-classifier": {"label": "Compost"}}
        _say(url, "submit", lease=task["lease"], answer=answer)
        wanted -= 1


def _say(url: str, what: str, **words: Any) -> dict[str, Any]:
    body = json.dumps(words).encode()
    request = urllib.request.Request(f"{url}/gtlabel/worker/{what}", body, method="POST")
    with urllib.request.urlopen(request, timeout=120) as reply:
        said: dict[str, Any] = json.load(reply)
        return said


def _end(admin: Aws, job: str) -> None:
    with suppress(admin.sagemaker.exceptions.ClientError):
        admin.sagemaker.stop_labeling_job(LabelingJobName=job)


def notify(stage: Stage, aws: Aws) -> None:
    """`gtlabel notify` of a topic and of a queue, and `--remove`."""
    topic = stage.admin.sns.create_topic(Name="ended")["TopicArn"]
    stage.admin.sqs.create_queue(QueueName="ended")
    describe_labeling_job(aws.sagemaker, "labeled")
    for target in (topic, topic.replace(":sns:", ":sqs:")):
        plan = plan_notification(aws, target, job="labeled")
        start_telling(aws, plan)
        remove_notification(aws, plan)


def stack(_stage: Stage, aws: Aws) -> None:
    """`gtlabel stack`."""
    # For whom may look, there is none.
    with suppress(SettingsError):
        stack_settings(aws, "gtlabel")


def team(stage: Stage, aws: Aws) -> None:
    """`gtlabel team create`, `list` and `show`, where there was no workforce."""
    admin, user = _far(stage.admin), _far(aws)
    _empty(admin)
    request = TeamRequest(name=TEAM, members=(EVE,))
    plan = plan_team(user.sagemaker, user.cognito_idp, request, account=ACCOUNT, region=FAR)
    create_team(user.sagemaker, user.cognito_idp, plan, poll=0.02)
    # Once more, as after a run that broke off when there were no workforce and no team yet.
    _take_workforce(admin)
    plan = plan_team(user.sagemaker, user.cognito_idp, request, account=ACCOUNT, region=FAR)
    made = create_team(user.sagemaker, user.cognito_idp, plan, poll=0.02)
    assert [found.name for found in list_teams(user.sagemaker)] == [TEAM]
    assert describe_team(user.sagemaker, TEAM) == made


def members(stage: Stage, aws: Aws) -> None:
    """`gtlabel team show`, `invite` and `deactivate`."""
    admin, user = _far(stage.admin), _far(aws)
    request = TeamRequest(name=TEAM, members=(EVE,))
    plan = plan_team(admin.sagemaker, admin.cognito_idp, request, account=ACCOUNT, region=FAR)
    made = create_team(admin.sagemaker, admin.cognito_idp, plan, poll=0.02)
    assert made.pool is not None
    assert [member.email for member in list_members(user.cognito_idp, made.pool, made.groups)] == [EVE]
    deactivate_member(user.cognito_idp, made.pool, made.groups, EVE)
    invite(user.cognito_idp, made.pool, TEAM, [EVE])
    remove_member(user.cognito_idp, made.pool, made.groups, EVE)


@cache
def _far(aws: Aws) -> Aws:
    """The same account and user, in a region of its own."""
    return Aws(aws.session, aws.endpoint_url, region=FAR)


def workers(_stage: Stage, aws: Aws) -> None:
    """`gtlabel team workers`."""
    job = describe_labeling_job(aws.sagemaker, "labeled")
    assert activity(read_responses(aws.s3, job.output, job.name), people(aws.cognito_idp))


def _empty(admin: Aws) -> None:
    """Leave neither team nor workforce nor user pool in the region."""
    _take_workforce(admin)
    for pool in admin.cognito_idp.list_user_pools(MaxResults=60)["UserPools"]:
        found = admin.cognito_idp.describe_user_pool(UserPoolId=pool["Id"])["UserPool"]
        if found.get("Domain"):
            admin.cognito_idp.delete_user_pool_domain(UserPoolId=pool["Id"], Domain=found["Domain"])
        admin.cognito_idp.delete_user_pool(UserPoolId=pool["Id"])


def _take_workforce(admin: Aws) -> None:
    for found in admin.sagemaker.list_workteams()["Workteams"]:
        admin.sagemaker.delete_workteam(WorkteamName=found["WorkteamName"])
    for force in admin.sagemaker.list_workforces()["Workforces"]:
        admin.sagemaker.delete_workforce(WorkforceName=force["WorkforceName"])


def frames(stage: Stage, aws: Aws) -> None:
    """`gtlabel edge collect` of a camera's folder, beside a dataset."""
    number = next(stage.numbers)
    into = S3Uri(f"s3://trash-photos/trash/unsure-{number}/")
    buffer = io.BytesIO()
    Image.frombytes("RGB", (4, 4), sha256(str(number).encode()).digest() + bytes(16)).save(buffer, "PNG")
    camera = UnsureFrames(stage.folder / f"camera-{number}")
    assert camera.consider(buffer.getvalue(), [0.5, 0.5], {"thing": "kitchen-camera"})
    try:
        plan = plan_frames(
            aws.s3, [stage.folder / f"camera-{number}"], into, known=[S3Uri("s3://trash-photos/bins/")]
        )
        assert len(bring_frames(aws.s3, plan).frames) == 1
    finally:
        # Other acts count what lies there.
        for stored in list_objects(stage.admin.s3, into):
            stage.admin.s3.delete_object(Bucket=into.bucket, Key=stored.uri.key)
