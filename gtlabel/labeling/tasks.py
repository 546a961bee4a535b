"""What Ground Truth has built in for image classification: functions, teams, limits.

Functions: https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_HumanTaskConfig.html
"""

from __future__ import annotations

from gtlabel.errors import SettingsError

# The account that owns AWS's own labeling functions, by region. Strings: two begin with a zero.
FUNCTION_ACCOUNTS = {
    "ap-northeast-1": "477331159723",
    "ap-northeast-2": "845288260483",
    "ap-south-1": "565803892007",
    "ap-southeast-1": "377565633583",
    "ap-southeast-2": "454466003867",
    "ca-central-1": "918755190332",
    "eu-central-1": "203001061592",
    "eu-west-1": "568282634449",
    "eu-west-2": "487402164563",
    "us-east-1": "432418664414",
    "us-east-2": "266458841044",
    "us-west-2": "081040173940",
}

IMAGE_MULTI_CLASS = "ImageMultiClass"

# The element's name is the key of the answer, and the consolidation function reads it.
ANSWER_KEY = "crowd-image-classifier"


def pre_function(region: str, task: str = IMAGE_MULTI_CLASS) -> str:
    """The ARN of the function that makes a task of a manifest line.

    Raises:
        SettingsError: in a region without built-in functions.
    """
    return _function(region, f"PRE-{task}")


def consolidation_function(region: str, task: str = IMAGE_MULTI_CLASS) -> str:
    """The ARN of the function that makes one label of many answers (`ACS-...`).

    Raises:
        SettingsError: in a region without built-in functions.
    """
    return _function(region, f"ACS-{task}")


def team_arn(team: str, region: str, account: str) -> str:
    """The ARN of a work team: one that was given as such, or that of a private team by its name."""
    if team.startswith("arn:"):
        return team
    return f"arn:aws:sagemaker:{region}:{account}:workteam/private-crowd/{team}"


def role_arn(role: str, account: str) -> str:
    """The ARN of a role: one that was given as such, or that of a role of this account by its name."""
    return role if role.startswith("arn:") else f"arn:aws:iam::{account}:role/{role}"


def _function(region: str, name: str) -> str:
    try:
        account = FUNCTION_ACCOUNTS[region]
    except KeyError:
        raise SettingsError(
            f"Ground Truth has no built-in functions in {region}; "
            f"use --region with one of {', '.join(FUNCTION_ACCOUNTS)}"
        ) from None
    return f"arn:aws:lambda:{region}:{account}:function:{name}"
