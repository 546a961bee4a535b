"""Every command against every action of the policy that gtlabel ships for it.

    python tests/permission_matrix.py [COMMAND...]

An emulator runs with IAM enforced. A user who holds nothing but the shipped policy runs each command; then
one action after the other is taken out of the policy, and the command must fail with a sentence that names
it. Exits with 1 if one does not.
"""

from __future__ import annotations

import io
import json
import re
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import boto3
from permission_acts import FAR, estimate, frames, members, notify, relabel, stack, stream, team, workers
from permission_deployments import role, rollback, status
from permission_quality import asked_again, judged, planned_from
from PIL import Image

import gtlabel
from gtlabel.aws import Aws
from gtlabel.cli.failures import explain
from gtlabel.datasets.certificate import verify
from gtlabel.datasets.collect.collect import collect as collect_pictures
from gtlabel.datasets.collect.planning import CollectionWishes, plan_collection
from gtlabel.datasets.places import Place
from gtlabel.datasets.survey import survey
from gtlabel.emulator.child import Address, running
from gtlabel.emulator.simulate import answer
from gtlabel.errors import PreflightError, TrainingDataError
from gtlabel.images.upload import upload_folder
from gtlabel.journey import TrainedModel
from gtlabel.labeling.groups import describe_labeling, stop_labeling
from gtlabel.labeling.jobs import list_labeling_jobs, wait_for_labeling_job
from gtlabel.labeling.preflight import Subject, check, let_browsers_in
from gtlabel.manifests.split import Shares
from gtlabel.policies import COMMANDS, actions, policy_for
from gtlabel.storage import write
from gtlabel.training.follow import follow_training_job
from gtlabel.training.jobs import (
    create_training_job,
    list_training_jobs,
    read_tags,
    stop_training_job,
    wait_for_training_job,
)
from gtlabel.training.plan import TrainingOptions
from gtlabel.training.predict import pictures
from gtlabel.uris import S3Uri

USER, BUCKET, THING, GROUP = "ann", "trash-photos", "kitchen-camera", "kitchen"
PHOTOS, BINS = S3Uri.of(BUCKET, "trash/"), S3Uri.of(BUCKET, "bins/")
CLASSES = ["Compost", "Landfill"]
VENDOR = "arn:aws:sagemaker:us-east-1:111111111111:workteam/vendor-crowd/them"
_OTHER_RIGHTS = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "s3:ListAllMyBuckets", "Resource": "*"}],
}
VALUES = {
    "account": "123456789012",
    "region": "us-east-1",
    "bucket": BUCKET,
    "prefix": "trash/",
    "dataset": "bins/",
    "team": "gtlabel",
    "role": "gtlabel",
    "thing": THING,
    "group": GROUP,
}


@dataclass(frozen=True)
class Cell:
    """What became of a command without one action.

    Attributes:
        sentence: what it said, as a person would read it; empty when it did not fail.
        named: whether that names the action.
    """

    command: str
    action: str
    sentence: str
    named: bool


@dataclass
class Stage:
    """An account with IAM enforced, and a user in it who may do what a policy says."""

    address: Address
    admin: Aws
    user: Aws
    folder: Path
    numbers: Iterator[int] = field(default_factory=lambda: count(1))
    model: TrainedModel | None = None
    key: str = ""

    def allow(self, document: dict[str, Any]) -> None:
        """Give the user this policy, and no other."""
        # A policy without a statement is none.
        named = {"UserName": USER, "PolicyName": "only"}
        if document["Statement"]:
            self.admin.iam.put_user_policy(**named, PolicyDocument=json.dumps(document))
        else:
            self.admin.iam.delete_user_policy(**named)

    def name(self, stem: str) -> str:
        """A name that no job had before."""
        return f"{stem}-{next(self.numbers)}"


Act = Callable[[Stage, Aws], object]


def label(stage: Stage, aws: Aws) -> str:
    """`gtlabel label --upload --max-images-per-job`, which makes several jobs."""
    picture = next((stage.folder / "more").iterdir())
    picture.rename(picture.with_name(f"{stage.name('more')}.jpg"))
    upload_folder(aws.s3, stage.folder / "more", PHOTOS)
    name = stage.name("trash")
    plan = gtlabel.plan_labeling(
        aws, PHOTOS, CLASSES, team="gtlabel", role="gtlabel", name=name, max_images_per_job=6
    )
    gtlabel.start_labeling(aws, plan)
    return name


def doctor(stage: Stage, aws: Aws) -> None:
    """`gtlabel doctor --fix`: what it may not look at, it says, and looks at the rest."""
    admin = stage.admin
    admin.s3.delete_bucket_cors(Bucket=BUCKET)
    let_browsers_in(aws.s3, BUCKET)
    # A role that lacks everything makes it ask why.
    rights = json.dumps(_OTHER_RIGHTS)
    admin.iam.put_role_policy(RoleName="gtlabel", PolicyName="everything", PolicyDocument=rights)
    job = Subject(
        images=(PHOTOS,),
        output=S3Uri.of(BUCKET, "gtlabel/"),
        name="a-new-one",
        team="gtlabel",
        role="gtlabel",
        kms_keys=(stage.key,),
        quotas=True,
    )
    sentences = [finding.sentence for finding in check(aws, job)]
    sentences += [finding.sentence for finding in check(aws, Subject(team=VENDOR))]
    unseen = [found[0] for text in sentences if (found := re.search(r"could not be .* lack .*", text))]
    if unseen:
        raise PreflightError(unseen)


def jobs(stage: Stage, aws: Aws) -> None:
    """`gtlabel jobs list`, `show`, `stop` and `wait`."""
    name = label(stage, stage.admin)
    assert list(list_labeling_jobs(aws.sagemaker))
    describe_labeling(aws.sagemaker, aws.s3, name)
    stop_labeling(aws.sagemaker, aws.s3, name)


def collect(stage: Stage, aws: Aws) -> None:
    """`gtlabel collect` of class folders in S3."""
    plan = plan_collection(BINS / "classes/", CollectionWishes(licence="unknown"), s3=aws.s3)
    collect_pictures(aws.s3, plan, BINS / f"{next(stage.numbers)}/")


def consolidate(stage: Stage, aws: Aws) -> None:
    """`gtlabel consolidate`."""
    gtlabel.consolidate_jobs(aws, ["labeled"], BINS / f"{next(stage.numbers)}/")


def move(stage: Stage, aws: Aws) -> None:
    """`gtlabel consolidate --mode move`."""
    try:
        gtlabel.consolidate_jobs(aws, ["labeled"], BINS / f"{next(stage.numbers)}/", mode="move")
    finally:
        _put_pictures(stage)


def look(stage: Stage, aws: Aws) -> None:
    """`gtlabel dataset show --pictures` and `verify`."""
    survey(Place(BINS, lambda: aws.s3), pictures=True)
    verify(aws.s3, BINS)


def train(stage: Stage, aws: Aws) -> None:
    """`gtlabel train`, `train list`, `logs`, `show` and `stop`; what starts a program comes last."""
    assert list(list_training_jobs(aws.sagemaker))
    unheard: list[Exception] = []
    done = follow_training_job(aws.sagemaker, aws.logs, "bins", poll=0.01, on_trouble=unheard.append)
    if unheard:
        raise unheard[0]
    assert read_tags(aws.sagemaker, done.arn)
    dataset = gtlabel.read_dataset(aws.s3, BINS)
    with suppress(TrainingDataError):
        # There are no class folders, which is known to somebody who may look for them.
        gtlabel.plan_training(aws, dataset, role="gtlabel", backend="tensorflow", **_TENSORFLOW)
    name = stage.name("bins")
    request = gtlabel.plan_training(aws, dataset, role="gtlabel", name=name, hyperparameters=_SMALL)
    create_training_job(aws.sagemaker, request)
    try:
        stop_training_job(aws.sagemaker, name)
    except Exception:
        stop_training_job(stage.admin.sagemaker, name)
        raise


def evaluate(_stage: Stage, aws: Aws) -> None:
    """`gtlabel evaluate` of a job, and `predict` on a prefix."""
    gtlabel.evaluate_model(aws, "bins")
    assert list(pictures([PHOTOS], lambda: aws.s3))


def fetch(_stage: Stage, aws: Aws) -> None:
    """The first half of `gtlabel deploy`."""
    gtlabel.fetch_model(aws, "bins")


def deploy(stage: Stage, aws: Aws) -> None:
    """The second half, to a device that has seen deployments before."""
    assert stage.model is not None
    with camera(stage.address.url, aws):
        gtlabel.deploy(aws, stage.model, THING, name="deeplens-bins", poll=0.01, timeout=120)


def deploy_new(stage: Stage, aws: Aws) -> None:
    """The second half, of a bundle that was never published."""
    assert stage.model is not None
    with camera(stage.address.url, aws):
        name = stage.name("deeplens-bins")
        gtlabel.deploy(aws, stage.model, THING, name=name, poll=0.01, timeout=120, beside=True)


def deploy_to_group(stage: Stage, aws: Aws) -> None:
    """The second half, to a group that the device is in."""
    assert stage.model is not None
    with camera(stage.address.url, aws):
        gtlabel.deploy(aws, stage.model, f"thinggroup/{GROUP}", name="deeplens-bins", poll=0.01, timeout=120)


ACTS: dict[str, Sequence[Act]] = {
    "doctor": [doctor],
    "label": [label],
    "jobs": [jobs],
    "relabel": [relabel],
    "quality": [judged],
    "quality-more": [asked_again],
    "plan": [planned_from],
    "stream": [stream],
    "team": [members, workers, team],
    "estimate": [estimate],
    "notify": [notify],
    "stack": [stack],
    "collect": [collect],
    "consolidate": [consolidate],
    "consolidate-move": [move],
    "dataset": [look],
    "train": [train],
    "evaluate": [evaluate],
    "deploy": [fetch, deploy, deploy_new, deploy_to_group],
    "deploy-status": [status],
    "deploy-rollback": [rollback],
    "deploy-role": [role],
    "edge": [frames],
}
# Actions that the command does without here: only AWS asks for them, or nothing but tidiness does.
ELSEWHERE = {
    ("consolidate", "s3:DeleteObject"): "without it a lock that nobody holds stays where it is, empty",
    ("team", "sagemaker:DescribeWorkforce"): "AWS takes a minute over a new workforce, the emulator none",
}
_SMALL = {"image_shape": "3,32,32", "epochs": 1}
_TENSORFLOW: TrainingOptions = {
    "image": "763104351884.dkr.ecr.us-east-1.amazonaws.com/tensorflow-training:2.8",
    "source": f"s3://{BUCKET}/tensorflow/sourcedir.tar.gz",
    "pretrained": f"s3://{BUCKET}/tensorflow/model.tar.gz",
}


@contextmanager
def stage() -> Iterator[Stage]:
    """An account in which every step of the journey has been gone once."""
    with running() as address, TemporaryDirectory(prefix="gtlabel-matrix-") as folder:
        admin = Aws(boto3.Session("gtlabel", "gtlabel", region_name="us-east-1"), address.url)
        admin.iam.create_user(UserName=USER)
        key = admin.iam.create_access_key(UserName=USER)["AccessKey"]
        session = boto3.Session(key["AccessKeyId"], key["SecretAccessKey"], region_name="us-east-1")
        found = Stage(address, admin, Aws(session, address.url), Path(folder))
        _fill(found)
        enforce(address)
        yield found


def enforce(address: Address) -> None:
    """Switch IAM on, as one does in moto."""
    request = urllib.request.Request(
        f"{address.url}/moto-api/reset-auth", b"0", {"Content-Type": "text/plain"}, method="POST"
    )
    with urllib.request.urlopen(request, timeout=120):
        pass


def _fill(stage: Stage) -> None:
    """Label, consolidate and train once, and set up a camera."""
    aws = stage.admin
    aws.s3.create_bucket(Bucket=BUCKET)
    let_browsers_in(aws.s3, BUCKET)
    kms = aws.session.client("kms", endpoint_url=aws.endpoint_url)
    stage.key = kms.create_key()["KeyMetadata"]["Arn"]
    (stage.folder / "more").mkdir()
    truth = {str(PHOTOS / f"{number}.jpg"): CLASSES[number % 2] for number in range(8)}
    _put_pictures(stage)
    (stage.folder / "more" / "more.jpg").write_bytes(_picture(9))
    plan = gtlabel.plan_labeling(
        aws, PHOTOS, CLASSES, team="gtlabel", role="gtlabel", name="labeled", workers_per_image=1
    )
    gtlabel.start_labeling(aws, plan)
    answer(stage.address.url, "labeled", 2, 1.0, truth, seed=1)
    wait_for_labeling_job(aws.sagemaker, "labeled", poll=0.1, timeout=120)
    gtlabel.consolidate_jobs(aws, ["labeled"], BINS, shares=Shares(validation=0.3))
    dataset = gtlabel.read_dataset(aws.s3, BINS)
    create_training_job(
        aws.sagemaker,
        gtlabel.plan_training(aws, dataset, role="gtlabel", name="bins", hyperparameters=_SMALL),
    )
    wait_for_training_job(aws.sagemaker, "bins", poll=0.1, timeout=120)
    stage.model = gtlabel.fetch_model(aws, "bins")

    aws.iot.create_thing(thingName=THING)
    aws.iot.create_thing_group(thingGroupName=GROUP)
    aws.iot.add_thing_to_thing_group(thingGroupName=GROUP, thingName=THING)


def _put_pictures(stage: Stage) -> None:
    for number in range(8):
        write(stage.admin.s3, PHOTOS / f"{number}.jpg", _picture(number))


def _picture(number: int) -> bytes:
    """A picture unlike the others; those of one class have one color."""
    body = io.BytesIO()
    picture = Image.new("RGB", (32, 32), ("green", "gray")[number % 2])
    picture.paste("white", (number * 3, number, number * 3 + 5, number + 9))
    picture.save(body, "JPEG")
    return body.getvalue()


@contextmanager
def camera(url: str, owner: Aws) -> Iterator[None]:
    """A device that takes every deployment, and says that all of it runs once its owner has asked for it.

    Before that nothing would be left to wait for, and what waiting needs would not be needed.
    """
    platform = {"os": "linux", "architecture": "amd64", "runtime": "aws_nucleus_lite"}
    _say(url, "register", platform=platform)
    over = threading.Event()
    asked = threading.Event()

    def ask(**_call: object) -> None:
        asked.set()

    def look() -> None:
        while not over.wait(0.02):
            deployment = _say(url, "next")["deployment"]
            if deployment is not None:
                while not asked.wait(0.01) and not over.is_set():
                    continue
                asked.clear()
                running = [
                    {"name": name, "version": spec["version"], "state": "RUNNING"}
                    for name, spec in deployment["components"].items()
                ]
                _say(url, "report", deployment=deployment["id"], status="SUCCEEDED", components=running)

    events = owner.greengrass.meta.events
    events.register("before-call.greengrassv2.GetCoreDevice", ask)
    thread = threading.Thread(target=look, name="camera")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        events.unregister("before-call.greengrassv2.GetCoreDevice", ask)


def _say(url: str, what: str, **more: Any) -> dict[str, Any]:
    body = json.dumps({"thing": THING, **more}).encode()
    request = urllib.request.Request(f"{url}/gtlabel/device/{what}", body, method="POST")
    with urllib.request.urlopen(request, timeout=120) as reply:
        said: dict[str, Any] = json.load(reply)
        return said


def cells(stage: Stage, command: str) -> Iterator[Cell]:
    """Run a command with the policy that it ships with, and without each of its actions."""
    document = policy_of(command)
    stage.allow(document)
    yield Cell(command, "", said := _run(stage, command), named=not said)
    for action in actions(document):
        stage.allow(without(document, action))
        said = _run(stage, command)
        elsewhere = ELSEWHERE.get((command, action))
        if elsewhere is not None and not said:
            yield Cell(command, action, f"(not needed here: {elsewhere})", named=True)
            continue
        yield Cell(command, action, said, named=action in said)


def policy_of(command: str) -> dict[str, Any]:
    """The policy of a command, for as many regions as the matrix runs it in."""
    document = policy_for(command, {**VALUES, "role": "cameras"} if command == "deploy-role" else VALUES)
    if command == "team":
        far = policy_for(command, {**VALUES, "region": FAR})
        document["Statement"] += [
            {**statement, "Sid": f"{statement['Sid']}Far"} for statement in far["Statement"]
        ]
    return document


def statement(effect: str = "Allow", **more: Any) -> dict[str, Any]:
    """A statement about the objects of a bucket named b, or about what is said instead."""
    return {"Effect": effect, "Action": "s3:GetObject", "Resource": "arn:aws:s3:::b/*", **more}


def without(document: dict[str, Any], action: str) -> dict[str, Any]:
    """A policy that lacks one action."""
    statements = []
    for statement in document["Statement"]:
        listed = statement["Action"]
        kept = [each for each in ([listed] if isinstance(listed, str) else listed) if each != action]
        if kept:
            statements.append({**statement, "Action": kept})
    return {**document, "Statement": statements}


def _run(stage: Stage, command: str) -> str:
    """Run a command as the user; return the sentence it fails with, if it does."""
    try:
        for act in ACTS[command]:
            act(stage, stage.user)
    except Exception as error:
        explained = explain(error)
        if explained is None:
            raise
        return explained[0]
    return ""


def main(wanted: Sequence[str]) -> int:
    """Print the matrix of these commands, or of all."""
    wrong = 0
    with stage() as found:
        for command in wanted or COMMANDS:
            for cell in cells(found, command):
                wrong += not cell.named
                print(
                    f"{'ok' if cell.named else 'WRONG':6}{cell.command:12} {cell.action:36} {cell.sentence}"
                )
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
