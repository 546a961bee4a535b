"""What every emulated account has from the start, and how a program finds it where it would find AWS."""

from __future__ import annotations

import json

from gtlabel.emulator.api import Context

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


def role_trust() -> str:
    """The policy document that lets SageMaker take on the role."""
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "sagemaker.amazonaws.com"},
        "Action": "sts:AssumeRole",
    }
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
