"""What is done with deployments in the matrix of permissions: looking, going back, and looking at a role."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import gtlabel
from gtlabel.aws import Aws
from gtlabel.edge.follow import not_good
from gtlabel.edge.grants import artifact_statement, missing_grants
from gtlabel.edge.history import history, latest
from gtlabel.edge.ours import our_components
from gtlabel.edge.plan import plan_return, with_configuration
from gtlabel.edge.revisions import revisions
from gtlabel.edge.status import Verdict, read_status, worst
from gtlabel.edge.targets import find_target, target_arn
from gtlabel.edge.undo import carry_out, find_revision
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from permission_matrix import Stage

NAME = "deeplens-bins"


def status(stage: Stage, aws: Aws) -> None:
    """`gtlabel deploy status` of a device, of a group and of all, and `list`."""
    from permission_matrix import GROUP, THING

    _deploy_twice(stage)
    for to in (THING, f"thinggroup/{GROUP}", None):
        target = find_target(aws.greengrass, aws.iot, to) if to else None
        found = read_status(aws.greengrass, aws.iot, target, now=datetime.now(UTC))
        assert worst(each.verdict for each in found) is Verdict.GOOD
    target = find_target(aws.greengrass, aws.iot, THING)
    assert history(aws.greengrass, target, target_arn(aws.greengrass, target), NAME, 2)
    assert latest(aws.greengrass)


def rollback(stage: Stage, aws: Aws) -> None:
    """`gtlabel deploy rollback`, from one of two settings to the other; `remove` needs no more."""
    from permission_matrix import GROUP, THING, camera

    _deploy_twice(stage)
    find_target(aws.greengrass, aws.iot, f"thinggroup/{GROUP}")
    target = find_target(aws.greengrass, aws.iot, THING)
    arn = target_arn(aws.greengrass, target)
    assert NAME in our_components(aws.greengrass)
    chosen = find_revision(aws.greengrass, target, arn, NAME)
    plan = with_configuration(aws.greengrass, plan_return(aws.greengrass, arn, NAME, chosen.revision))
    assert [change.name for change in plan.configuration] == ["top"]
    with camera(stage.address.url, aws):
        made, devices = carry_out(
            aws.greengrass, target, plan, timeout=120, sleep=lambda _seconds: time.sleep(0.01)
        )
    if not all(device.good for device in devices):
        raise not_good(made, devices, 20)


def role(stage: Stage, aws: Aws) -> None:
    """`gtlabel deploy --device-role`."""
    allow_devices(stage, {"Version": "2012-10-17", "Statement": []})
    artifact = S3Uri("s3://trash-photos/bins/components/deeplens-bins/1.0.0/bundle.zip")
    (lacking,) = missing_grants(aws.iam, "cameras", artifact, artifact_statement(artifact.folder))
    assert "lacks s3:GetObject" in lacking


def allow_devices(stage: Stage, document: dict[str, object]) -> None:
    """Let the role of the devices do what a policy says, and nothing else."""
    iam = stage.admin.iam
    trust = gtlabel.policies.policy_for(
        "device-role-trust", {"account": "123456789012", "region": "us-east-1", "role_alias": "cameras"}
    )
    try:
        iam.create_role(RoleName="cameras", AssumeRolePolicyDocument=json.dumps(trust))
    except iam.exceptions.EntityAlreadyExistsException:
        iam.update_assume_role_policy(RoleName="cameras", PolicyDocument=json.dumps(trust))
    if document["Statement"]:
        iam.put_role_policy(RoleName="cameras", PolicyName="only", PolicyDocument=json.dumps(document))


def _deploy_twice(stage: Stage) -> None:
    """See to it that a device was well with two settings."""
    from permission_matrix import THING, camera

    admin = stage.admin
    target = find_target(admin.greengrass, admin.iot, THING)
    known = [revision.merge_of(NAME) for revision in revisions(admin.greengrass, target.arn)]
    assert stage.model is not None
    with camera(stage.address.url, admin):
        for top in ("1", "2"):
            if {"top": top} not in known:
                gtlabel.deploy(
                    admin, stage.model, THING, name=NAME, configuration={"top": top}, poll=0.01, timeout=120
                )
