"""Who asks, where, and what the account has room for."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING

from gtlabel.errors import SettingsError
from gtlabel.labeling.jobs import job_exists
from gtlabel.labeling.preflight.clients import client
from gtlabel.labeling.preflight.findings import (
    Finding,
    UncheckedError,
    asking,
    error,
    ok,
    unchecked,
    warning,
)
from gtlabel.labeling.preflight.needs import caller_needs
from gtlabel.labeling.preflight.simulate import divided, lacking, listed
from gtlabel.labeling.preflight.subject import Subject
from gtlabel.labeling.tasks import TASKS, pre_function

if TYPE_CHECKING:
    from gtlabel.aws import Aws


def check_credentials(aws: Aws, _subject: Subject) -> Iterator[Finding]:
    """Whose credentials these are. Nothing else can be asked when AWS does not take them."""
    from botocore import exceptions

    profile = aws.session.profile_name
    named = () if profile == "default" else ("--profile", profile)
    try:
        arn = aws.sts.get_caller_identity()["Arn"]
    except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError):
        fix = shlex.join(["aws", "configure", *named])
        yield error("credentials", "there are no AWS credentials; give some to the profile", fix)
    except (exceptions.SSOError, exceptions.TokenRetrievalError) as why:
        fix = shlex.join(["aws", "sso", "login", *named])
        yield error("credentials", f"the session has ended: {str(why).rstrip('.')}", fix)
    except exceptions.ClientError as refusal:
        answer = refusal.response["Error"]
        yield error(
            "credentials", f"AWS does not take these credentials: {answer.get('Message') or answer['Code']}"
        )
    except exceptions.BotoCoreError as why:
        yield error("credentials", f"nobody could be asked who you are: {str(why).rstrip('.')}")
    else:
        yield ok("credentials", f"you are {arn}, in {aws.region}")


def check_region(aws: Aws, subject: Subject) -> Iterator[Finding]:
    """Whether the region has the functions that the task is made of."""
    task = TASKS[subject.task]
    if subject.functions or not task.built_in:
        yield ok("region", f"the task {subject.task.value!r} does not need the functions of a region")
        return
    try:
        pre_function(aws.region, task.function)
    except SettingsError as why:
        yield error("region", str(why))
    else:
        yield ok("region", f"{aws.region} has the functions of the task {subject.task.value!r}")


def check_name(aws: Aws, subject: Subject) -> Iterator[Finding]:
    """Whether the job's name is free."""
    if subject.name is None:
        return
    arn = f"arn:aws:sagemaker:{aws.region}:{aws.account}:labeling-job/{subject.name.lower()}"
    with asking("sagemaker:DescribeLabelingJob", arn):
        taken = job_exists(aws.sagemaker, subject.name)
    if taken:
        yield error(
            "name",
            f"a labeling job named {subject.name!r} already exists; "
            "job names are never freed, so pick another with --name",
        )
    else:
        yield ok("name", f"no labeling job was ever named {subject.name!r}")


def check_permissions(aws: Aws, subject: Subject) -> Iterator[Finding]:
    """Whether the caller may do what `gtlabel label` is about to do."""
    if not subject.buckets or subject.team is None or subject.role is None or subject.topics:
        return
    check = "permissions"
    caller = aws.sts.get_caller_identity()["Arn"]
    if caller.endswith(":root"):
        yield ok(check, "the root of an account may do everything")
        return
    try:
        principal = _principal(aws, caller)
        lacks = list(lacking(aws.iam, principal, caller_needs(aws, subject)))
    except UncheckedError as why:
        yield unchecked(check, f"what you may do could not be checked because {why}")
        return
    except (aws.iam.exceptions.NoSuchEntityException, aws.iam.exceptions.InvalidInputException):
        yield unchecked(check, f"what you may do could not be checked because IAM does not know {caller}")
        return
    unsure, fatal = divided(aws.s3, lacks)
    if fatal:
        yield error(check, f"you lack {listed(fatal)}, which `gtlabel label` needs")
    for unless, some in unsure.items():
        yield warning(check, f"you lack {listed(some)}, {unless}")
    if not lacks:
        yield ok(check, "you may do what `gtlabel label` does")


def check_keys(aws: Aws, subject: Subject) -> Iterator[Finding]:
    """Whether each KMS key that is named can encrypt."""
    if not subject.kms_keys:
        return
    kms = client(aws, "kms")
    for key in subject.kms_keys:
        try:
            with asking("kms:DescribeKey", key):
                found = kms.describe_key(KeyId=key)["KeyMetadata"]
        except kms.exceptions.NotFoundException:
            yield error("kms", f"there is no KMS key {key} in {aws.region}")
            continue
        state, usage = found["KeyState"], found.get("KeyUsage", "ENCRYPT_DECRYPT")
        if state != "Enabled":
            yield error("kms", f"the KMS key {key} is {state}, so the job could not write its output")
        elif usage != "ENCRYPT_DECRYPT":
            yield error("kms", f"the KMS key {key} is for {usage} and cannot encrypt the job's output")
        else:
            yield ok("kms", f"the KMS key {key} is enabled")


def check_quotas(aws: Aws, subject: Subject) -> Iterator[Finding]:
    """Whether there is room for one more labeling job."""
    if not subject.quotas:
        return
    with asking("sagemaker:ListLabelingJobs", "*"):
        jobs = aws.sagemaker.get_paginator("list_labeling_jobs").paginate(StatusEquals="InProgress")
        running = sum(len(page["LabelingJobSummaryList"]) for page in jobs)
    quotas = client(aws, "service-quotas")
    with asking("servicequotas:ListServiceQuotas", "*"):
        pages = quotas.get_paginator("list_service_quotas").paginate(ServiceCode="sagemaker")
        found = [quota for page in pages for quota in page["Quotas"]]
    # No page of AWS's names this quota's code; its name has to do (contract/ground-truth.md 10).
    about = [
        quota
        for quota in found
        if "labeling job" in quota["QuotaName"].lower() and quota.get("Value") is not None
    ]
    if not about:
        yield unchecked("quotas", "how many labeling jobs may run at once is not among the account's quotas")
        return
    for quota in about:
        sentence = f"{running} labeling jobs are running; {quota['QuotaName']}: {quota['Value']:g}"
        full = running >= quota["Value"]
        yield warning("quotas", sentence) if full else ok("quotas", sentence)


def _principal(aws: Aws, caller: str) -> str:
    """The user or role that policies are attached to, of which a session is only the latest form."""
    service, account, resource = caller.split(":")[2], caller.split(":")[4], caller.split(":", 5)[5]
    kind, _, rest = resource.partition("/")
    if service == "sts" and kind == "assumed-role":
        # A session's ARN leaves out the role's path.
        name = rest.partition("/")[0]
        with asking("iam:GetRole", f"arn:aws:iam::{account}:role/{name}"):
            return aws.iam.get_role(RoleName=name)["Role"]["Arn"]
    if service == "iam" and kind in ("user", "role"):
        return caller
    raise UncheckedError(f"{caller} is neither a user nor a role")
