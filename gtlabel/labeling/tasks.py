"""What Ground Truth can ask about images: task types, their functions, answers and limits.

Functions: https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_HumanTaskConfig.html
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

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

# One account owns the algorithms of automated labeling in every region, another the public team.
ALGORITHM_ACCOUNT = "027400017018"
#: The tag by which a job says more of automated labeling than AWS's request can, to an engine that knows it.
AUTOMATED_TAG = "gtlabel:automated"
#: How such an engine makes labels of answers: `auto`, `aws` as AWS does, or another of `gtlabel.crowd`.
CONSENSUS_TAG = "gtlabel:consensus"
#: How many people it asks at first, and when there are enough: `first=2 error=0.02 budget=4000`.
REDUNDANCY_TAG = "gtlabel:redundancy"
#: The manifest of those of its pictures whose class is known.
GOLD_TAG = "gtlabel:gold"
PUBLIC_TEAM_ACCOUNT = "394669845002"

IMAGE_MULTI_CLASS = "ImageMultiClass"
IMAGE_MULTI_LABEL = "ImageMultiClassMultiLabel"
# Hands the manifest's line to the page and all answers to the output; the only functions of custom tasks
# that AWS offers.
PASS_THROUGH = "PassThrough"  # noqa: S105 - a function

# The element's name is the key of the answer, and the consolidation function reads it.
ANSWER_KEY = "crowd-image-classifier"
ANSWER_KEY_MULTI = "crowd-image-classifier-multi-select"


class Task(StrEnum):
    """What workers are asked about an image.

    AWS has verification and adjustment built in for boxes and masks only; for classes they are custom tasks
    with a page of ours (contract/ground-truth.md 2.4).
    """

    SINGLE = "single"
    MULTI = "multi"
    CUSTOM = "custom"
    VERIFICATION = "verification"
    ADJUSTMENT = "adjustment"


class TeamKind(StrEnum):
    """Who works: your own people, a company from the Marketplace, or, until 2026-09-30, anybody."""

    PRIVATE = "private-crowd"
    VENDOR = "vendor-crowd"
    PUBLIC = "public-crowd"


@dataclass(frozen=True, slots=True)
class TaskType:
    """What goes with a task.

    Attributes:
        function: how AWS's own functions for it are called, behind `PRE-` and `ACS-`.
        template: the shipped worker page; a custom task brings its own.
        answer_key: the name under which the page gives its answer.
        algorithm: what labels automatically, if anything does.
        max_classes: how many classes it may have; None for no limit.
        audits: whether it is about the labels of an earlier job.
    """

    function: str
    template: str | None
    answer_key: str | None
    algorithm: str | None = None
    max_classes: int | None = None
    audits: bool = False

    @property
    def built_in(self) -> bool:
        """Whether AWS makes the task and its label itself, so that its functions are needed."""
        return self.function != PASS_THROUGH


TASKS = {
    Task.SINGLE: TaskType(
        IMAGE_MULTI_CLASS, "tasks/image-classification.liquid", ANSWER_KEY, algorithm="image-classification"
    ),
    Task.MULTI: TaskType(
        IMAGE_MULTI_LABEL,
        "tasks/image-classification-multi-label.liquid",
        ANSWER_KEY_MULTI,
        max_classes=50,
    ),
    Task.CUSTOM: TaskType(PASS_THROUGH, None, None),
    Task.VERIFICATION: TaskType(PASS_THROUGH, "tasks/image-verification.liquid", "verification", audits=True),
    Task.ADJUSTMENT: TaskType(PASS_THROUGH, "tasks/image-adjustment.liquid", ANSWER_KEY, audits=True),
}


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


def algorithm_arn(region: str, algorithm: str = "image-classification") -> str:
    """The ARN of the algorithm that automated labeling trains.

    https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_LabelingJobAlgorithmsConfig.html
    """
    resource = f"labeling-job-algorithm-specification/{algorithm}"
    return f"arn:aws:sagemaker:{region}:{ALGORITHM_ACCOUNT}:{resource}"


def team_arn(team: str, region: str, account: str) -> str:
    """The ARN of a work team: one that was given as such, or that of a private team by its name."""
    if team.startswith("arn:"):
        return team
    return f"arn:aws:sagemaker:{region}:{account}:workteam/{TeamKind.PRIVATE}/{team}"


def public_team_arn(region: str) -> str:
    """The ARN of the public team, which closed with Mechanical Turk on 2026-09-30."""
    return f"arn:aws:sagemaker:{region}:{PUBLIC_TEAM_ACCOUNT}:workteam/{TeamKind.PUBLIC}/default"


def team_kind(arn: str) -> TeamKind | None:
    """The kind of team that an ARN names, or None if it names none."""
    _, _, resource = arn.partition(":workteam/")
    kind = resource.partition("/")[0]
    return next((known for known in TeamKind if known == kind), None)


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
