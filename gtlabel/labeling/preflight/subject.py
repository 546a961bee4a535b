"""What is checked: everything that a labeling job would lean on, as far as it is known."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gtlabel.images.checks import EXTENSIONS
from gtlabel.labeling.tasks import Task, role_arn, team_arn
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from gtlabel.aws import Aws


@dataclass(frozen=True, slots=True)
class Subject:
    """What a labeling job would use. What is None or empty is not looked at.

    Attributes:
        images: where the pictures are: prefixes or single objects, one for each bucket at least.
        output: where the job's inputs and its output are written.
        name: the job's name.
        team: a private team's name, or the ARN of any team.
        role: the name or ARN of the role that the job reads and writes with.
        classes: the class names, or where a class list is.
        template: the worker template's text, or where it is.
        task: what workers are asked.
        functions: the job's own functions by ARN, in place of the built-in ones.
        kms_keys: the keys that the job writes with.
        topics: of a streaming job, the topic that brings images and the one that gets the labels.
        automated: whether a model is trained to label, which the job does with the same role.
        quotas: whether to ask for the account's quotas, which takes AWS several seconds.
    """

    images: tuple[S3Uri, ...] = ()
    output: S3Uri | None = None
    name: str | None = None
    team: str | None = None
    role: str | None = None
    classes: Sequence[str] | S3Uri | Path | None = None
    template: str | S3Uri | Path | None = None
    task: Task = Task.SINGLE
    functions: tuple[str, ...] = ()
    kms_keys: tuple[str, ...] = ()
    topics: tuple[str, ...] = ()
    automated: bool = False
    quotas: bool = False

    def team_arn(self, aws: Aws) -> str:
        """The team's ARN, whichever way it was named."""
        return team_arn(self.team or "", aws.region, aws.account)

    def role_arn(self, aws: Aws) -> str:
        """The role's ARN, whichever way it was named."""
        return role_arn(self.role or "", aws.account)

    @property
    def image_buckets(self) -> tuple[str, ...]:
        """The buckets that workers' browsers load pictures from."""
        return tuple(dict.fromkeys(uri.bucket for uri in self.images))

    @property
    def prefixes(self) -> tuple[S3Uri, ...]:
        """What policies should name: an image stands for the folder it lies in."""
        return tuple(
            dict.fromkeys(uri.folder if uri.lower().endswith(EXTENSIONS) else uri for uri in self.images)
        )

    @property
    def buckets(self) -> tuple[str, ...]:
        """Every bucket that the job touches, those with pictures first."""
        output = (self.output.bucket,) if self.output else ()
        return tuple(dict.fromkeys((*self.image_buckets, *output)))


def command(aws: Aws, *words: str, region: str | None = None) -> str:
    """A command line for `gtlabel` or `aws` that talks to the same account as `aws` does."""
    flags = ["--region", region or aws.region]
    if aws.session.profile_name != "default":
        flags += ["--profile", aws.session.profile_name]
    if aws.endpoint_url:
        flags += ["--endpoint-url", aws.endpoint_url]
    return shlex.join([*words, *flags])
