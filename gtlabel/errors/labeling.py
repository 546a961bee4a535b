"""Errors about labeling jobs, teams, and being told of them."""

from __future__ import annotations

from gtlabel.errors.root import GtlabelError


class LabelingJobError(GtlabelError):
    """A labeling job that could not be created, found or finished."""


class PreflightError(LabelingJobError):
    """A labeling job that was not started because it would fail.

    Attributes:
        problems: one sentence for each thing that is wrong.
    """

    def __init__(self, problems: list[str]) -> None:
        super().__init__("the labeling job would fail: " + "; ".join(problems))
        self.problems = problems


class JobNameTakenError(LabelingJobError):
    """The account already has a labeling job of that name."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"a labeling job named {name!r} already exists; "
            "job names are never freed, so pick another with --name"
        )
        self.name = name


class JobNameClaimedError(JobNameTakenError):
    """The name is held for something else, of which no job was started yet.

    Attributes:
        record: where that is written down.
    """

    def __init__(self, name: str, record: str) -> None:
        LabelingJobError.__init__(
            self,
            f"the name {name!r} is held for other pictures or settings, of which no job was started yet; "
            f"run that command again, pick another --name, or give the name up by deleting {record}",
        )
        self.name = name
        self.record = record


class JobNotFoundError(LabelingJobError, LookupError):
    """The account has no labeling job of that name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no labeling job named {name!r}; see `gtlabel jobs list`")
        self.name = name


class JobEndedError(LabelingJobError):
    """A labeling job that ended, or kept running, other than was waited for.

    Attributes:
        status: `Failed`, `Stopped`, or the status at the time-out.
        timed_out: whether the job may still be running.
    """

    def __init__(self, name: str, status: str, reason: str = "", *, timed_out: bool = False) -> None:
        if timed_out:
            sentence = f"the labeling job {name!r} was still {status} when the time was up; it goes on"
        else:
            sentence = f"the labeling job {name!r} ended as {status}"
        super().__init__(f"{sentence}: {reason}" if reason else sentence)
        self.name = name
        self.status = status
        self.timed_out = timed_out


class RedundancyError(LabelingJobError, ValueError):
    """A number of answers for each object that cannot be had, or that nobody understands."""


class StreamError(LabelingJobError):
    """A streaming job that cannot be sent to, or a message that is none of its."""


class WorkforceError(GtlabelError):
    """A workforce, a team or a member that cannot be made, found or changed."""


class TeamNotFoundError(WorkforceError, LookupError):
    """The account has no private team of that name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no work team named {name!r}; see `gtlabel team list`")
        self.name = name


class NotificationError(GtlabelError, ValueError):
    """A topic, queue or address that cannot be told of a job's end."""
