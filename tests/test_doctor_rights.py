"""The doctor: what a job's role and its caller may do, and what becomes of a look that is not allowed."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest
from doctor_parts import ACCOUNT, about, faults, look, put_photos, statement, typed, without
from emulator_parts import clients

from gtlabel.aws import Aws
from gtlabel.emulator.child import Address, running
from gtlabel.labeling.preflight import Finding
from gtlabel.policies import policy_for
from gtlabel.uris import S3Uri


@pytest.fixture
def photos(gtlabel_aws: Aws) -> S3Uri:
    return put_photos(gtlabel_aws)


def only(aws: Aws, role: str, document: dict[str, Any]) -> None:
    """A role that SageMaker may take on, and its one policy."""
    aws.iam.create_role(RoleName=role, AssumeRolePolicyDocument=statement("sagemaker.amazonaws.com"))
    aws.iam.put_role_policy(RoleName=role, PolicyName="only", PolicyDocument=json.dumps(document))


def job_of(photos: S3Uri, **changes: Any) -> dict[str, Any]:
    subject = {"images": (photos,), "output": S3Uri("s3://photos/gtlabel/"), "role": "sorter"}
    return {**subject, "team": "gtlabel", **changes}


VALUES = {
    "account": ACCOUNT,
    "region": "us-east-1",
    "bucket": "photos",
    "prefix": "trash/",
    "team": "gtlabel",
    "role": "sorter",
}


def test_the_shipped_policy_is_all_that_a_role_needs(gtlabel_aws: Aws, photos: S3Uri) -> None:
    only(gtlabel_aws, "sorter", policy_for("labeling-role", VALUES))
    assert about(look(gtlabel_aws, **job_of(photos)), "role-permissions").level == "ok"


@pytest.mark.parametrize(
    ("action", "level"),
    [("s3:PutObject", "error"), ("s3:GetObject", "error"), ("logs:PutLogEvents", "warning")],
)
def test_a_right_that_a_role_lacks_is_named_and_the_printed_command_gives_it(
    gtlabel_aws: Aws, photos: S3Uri, action: str, level: str
) -> None:
    only(gtlabel_aws, "sorter", without(policy_for("labeling-role", VALUES), action))
    found = about(look(gtlabel_aws, **job_of(photos)), "role-permissions")
    assert (found.level, f"the role 'sorter' lacks {action} on arn:" in found.sentence) == (level, True), (
        found
    )
    if action == "s3:PutObject":
        assert found.fix is not None
        given = typed(found.fix)
        assert given.returncode == 0, given.stderr
        assert about(look(gtlabel_aws, **job_of(photos)), "role-permissions").level == "ok"
        names = gtlabel_aws.iam.list_role_policies(RoleName="sorter")["PolicyNames"]
        assert sorted(names) == ["gtlabel-photos", "only"]


def test_a_policy_of_the_bucket_may_make_good_what_the_role_lacks(gtlabel_aws: Aws, photos: S3Uri) -> None:
    document = policy_for("labeling-role", VALUES)
    only(gtlabel_aws, "sorter", without(document, "s3:PutObject"))
    said = {
        "Effect": "Allow",
        "Principal": "*",
        "Action": "s3:PutObject",
        "Resource": "arn:aws:s3:::photos/*",
    }
    gtlabel_aws.s3.put_bucket_policy(
        Bucket="photos", Policy=json.dumps({"Version": "2012-10-17", "Statement": said})
    )
    found = about(look(gtlabel_aws, **job_of(photos)), "role-permissions")
    assert (found.level, found.sentence.endswith("unless the bucket's own policy allows it")) == (
        "warning",
        True,
    )

    denied = {"Effect": "Deny", "Action": "s3:PutObject", "Resource": "*"}
    only_more = {**document, "Statement": [*document["Statement"], denied]}
    gtlabel_aws.iam.put_role_policy(
        RoleName="sorter", PolicyName="only", PolicyDocument=json.dumps(only_more)
    )
    found = about(look(gtlabel_aws, **job_of(photos)), "role-permissions")
    assert (found.level, "s3:PutObject (denied)" in found.sentence) == ("error", True)


def test_an_image_stands_for_its_folder_in_what_the_role_is_given(gtlabel_aws: Aws, photos: S3Uri) -> None:
    only(gtlabel_aws, "sorter", without(policy_for("labeling-role", VALUES), "s3:GetObject"))
    subject = job_of(photos, images=(photos / "a.jpg",))
    found = about(look(gtlabel_aws, **subject), "role-permissions")
    assert "s3:GetObject on arn:aws:s3:::photos/trash/* and" in found.sentence


def test_automated_and_streaming_jobs_need_more_of_their_role(gtlabel_aws: Aws, photos: S3Uri) -> None:
    only(gtlabel_aws, "sorter", policy_for("labeling-role", VALUES))
    trained = about(look(gtlabel_aws, **job_of(photos, automated=True)), "role-permissions")
    assert trained.sentence == (f"the role 'sorter' lacks iam:PassRole on arn:aws:iam::{ACCOUNT}:role/sorter")
    topics = tuple(f"arn:aws:sns:us-east-1:{ACCOUNT}:GroundTruth-belt-{way}" for way in ("input", "output"))
    fed = about(
        look(gtlabel_aws, **job_of(photos, images=(), name="Belt", topics=topics)), "role-permissions"
    )
    assert f"sqs:SetQueueAttributes on arn:aws:sqs:us-east-1:{ACCOUNT}:GroundTruth-belt" in fed.sentence
    assert f"sns:Subscribe on {topics[0]} and sns:Publish on {topics[1]}" in fed.sentence
    assert fed.fix is not None
    assert typed(fed.fix).returncode == 0
    cured = look(gtlabel_aws, **job_of(photos, images=(), name="Belt", topics=topics))
    assert about(cured, "role-permissions").level == "ok"


def test_an_output_in_another_bucket_is_asked_for_there(gtlabel_aws: Aws, photos: S3Uri) -> None:
    gtlabel_aws.s3.create_bucket(Bucket="labels")
    only(gtlabel_aws, "sorter", policy_for("labeling-role", VALUES))
    subject = job_of(photos, output=S3Uri("s3://labels/out/"))
    sentence = about(look(gtlabel_aws, **subject), "role-permissions").sentence
    assert "s3:PutObject, s3:AbortMultipartUpload on arn:aws:s3:::labels/out/*" in sentence
    assert "s3:ListBucket, s3:GetBucketLocation on arn:aws:s3:::labels" in sentence
    assert "arn:aws:s3:::photos" not in sentence


def test_the_managed_policy_reaches_only_addresses_of_a_certain_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """The classic: the role looks right, and cannot read (contract/ground-truth.md 4.3)."""
    managed = "AmazonSageMakerGroundTruthExecution"
    # An emulator of its own, with AWS's own policies in it as AWS wrote them.
    monkeypatch.setenv("MOTO_IAM_LOAD_MANAGED_POLICIES", "true")
    with running() as address:
        for name, value in address.environ.items():
            monkeypatch.setenv(name, value)
        aws = clients(address)
        trust = statement("sagemaker.amazonaws.com")
        aws.iam.create_role(RoleName="sorter", AssumeRolePolicyDocument=trust)
        aws.iam.attach_role_policy(RoleName="sorter", PolicyArn=f"arn:aws:iam::aws:policy/{managed}")
        found = {}
        for bucket in ("photos", "my-groundtruth-photos"):
            aws.s3.create_bucket(Bucket=bucket)
            places = {"images": (S3Uri.of(bucket, "trash/"),), "output": S3Uri.of(bucket, "gtlabel/")}
            found[bucket] = about(look(aws, role="sorter", **places), "role-permissions")
    assert found["my-groundtruth-photos"].level == "ok"
    assert found["photos"].level == "error"
    assert "s3:GetObject on arn:aws:s3:::photos/trash/*" in found["photos"].sentence
    assert "s3:ListBucket" not in found["photos"].sentence
    assert found["photos"].sentence.endswith(
        f"; {managed} reaches only addresses that hold GroundTruth or Groundtruth or SageMaker or Sagemaker"
    )


# Somebody who may not look.


@pytest.fixture
def ann(gtlabel_aws: Aws, gtlabel_server: Address, photos: S3Uri) -> tuple[Aws, Callable[..., None]]:
    """A user under IAM's enforcement, and a way to say what she may do."""
    gtlabel_aws.iam.create_user(UserName="ann")
    key = gtlabel_aws.iam.create_access_key(UserName="ann")["AccessKey"]
    only(gtlabel_aws, "sorter", policy_for("labeling-role", VALUES))
    enforce = urllib.request.Request(
        f"{gtlabel_server.url}/moto-api/reset-auth", b"0", {"Content-Type": "text/plain"}, method="POST"
    )
    with urllib.request.urlopen(enforce, timeout=120):
        pass

    def allow(document: dict[str, Any]) -> None:
        gtlabel_aws.iam.put_user_policy(
            UserName="ann", PolicyName="only", PolicyDocument=json.dumps(document)
        )

    import boto3

    session = boto3.Session(key["AccessKeyId"], key["SecretAccessKey"], region_name="us-east-1")
    return Aws(session), allow


def test_somebody_who_may_look_at_nothing_is_told_each_action_and_nothing_is_called_wrong(
    ann: tuple[Aws, Callable[..., None]], photos: S3Uri
) -> None:
    aws, _ = ann
    findings = look(aws, **job_of(photos, name="trash-1", classes=["a", "b"], kms_keys=("alias/x",)))
    assert faults(findings) == {}
    unknown = {finding.check: finding.sentence for finding in findings if not finding.checked}
    lacked = {
        "bucket": "s3:ListBucket on arn:aws:s3:::photos",
        "images": "s3:ListBucket on arn:aws:s3:::photos",
        "cors": "s3:GetBucketCORS on arn:aws:s3:::photos",
        "role": f"iam:GetRole on arn:aws:iam::{ACCOUNT}:role/sorter",
        "role-permissions": "iam:SimulatePrincipalPolicy on ",
        "team": "sagemaker:DescribeWorkteam on ",
        "kms": "kms:DescribeKey on alias/x",
        "name": "sagemaker:DescribeLabelingJob on ",
        "permissions": "iam:SimulatePrincipalPolicy on ",
    }
    assert set(lacked) <= set(unknown)
    for name, action in lacked.items():
        assert f"could not be checked because these credentials lack {action}" in unknown[name], unknown[name]


def test_what_the_caller_lacks_for_a_job_is_named_before_it_is_asked_for(
    ann: tuple[Aws, Callable[..., None]], photos: S3Uri
) -> None:
    aws, allow = ann
    rights = ["iam:SimulatePrincipalPolicy", "s3:GetBucketPolicy"]
    looking = {"Effect": "Allow", "Action": rights, "Resource": "*"}

    def may(document: dict[str, Any]) -> Finding:
        allow({**document, "Statement": [*document["Statement"], looking]})
        return about(look(aws, **job_of(photos, name="trash-1")), "permissions")

    label = policy_for("label", VALUES)
    assert may(label).level == "ok"
    for action in ("iam:PassRole", "sagemaker:CreateLabelingJob", "s3:PutObject"):
        found = may(without(label, action))
        assert (found.level, f"you lack {action} on arn:aws:" in found.sentence) == ("error", True), found
    other_team = policy_for("label", {**VALUES, "team": "others"})
    assert "sagemaker:CreateLabelingJob" in may(other_team).sentence
