"""What every emulated account has from the start, and how a program finds it where it would find AWS."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from gtlabel.awsmodel import loader
from gtlabel.emulator.api import Context

if TYPE_CHECKING:
    import boto3

# moto takes any credentials, so there is nothing to keep secret.
ACCESS_KEY = SECRET_KEY = "gtlabel"  # noqa: S105
TEAM = "gtlabel"
ROLE = "gtlabel"


def team_arn(context: Context) -> str:
    """The team of workers that every region has."""
    return context.arn("sagemaker", f"workteam/private-crowd/{TEAM}")


def role_arn(context: Context) -> str:
    """The execution role that the account has."""
    return f"arn:aws:iam::{context.account}:role/{ROLE}"


def session(region: str) -> boto3.Session:
    """A session with the account's credentials, whatever the user's are.

    A thread that outlived its mock would reach the real AWS with the user's. Sessions made here share what
    they read of botocore's models: each costs 12 ms, where one that reads for itself costs 70.
    """
    import boto3
    import botocore.session

    base = botocore.session.get_session()
    base.register_component("data_loader", loader())
    return boto3.Session(ACCESS_KEY, SECRET_KEY, region_name=region, botocore_session=base)


def role_trust() -> str:
    """The policy document that lets SageMaker take on the role."""
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "sagemaker.amazonaws.com"},
        "Action": "sts:AssumeRole",
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def role_policy() -> str:
    """The policy document that lets the role reach everything in the account."""
    statement = {"Effect": "Allow", "Action": "*", "Resource": "*"}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def environ(url: str, context: Context) -> dict[str, str]:
    """The variables that point boto3, the aws CLI and gtlabel to an emulator."""
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_DEFAULT_REGION": context.region,
        "GTLABEL_TEAM": team_arn(context),
        "GTLABEL_ROLE": role_arn(context),
    }
