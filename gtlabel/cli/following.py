"""What a person sees while a training job is followed: its lines, its curve, and what it costs."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from gtlabel.cli.output import Format, footer, height, is_fine, put_fields, put_json, say, visible, width

if TYPE_CHECKING:
    from gtlabel.aws import Aws
    from gtlabel.training.cost import TrainingCost
    from gtlabel.training.curve import Curve
    from gtlabel.training.failures import Failure
    from gtlabel.training.follow import LogLine
    from gtlabel.training.jobs import TrainingJob

_ROWS = 7
# What a line says somewhere that complains; all others need not be compared with all known failures.
_COMPLAINT = re.compile("error|warn|fail|exception|mismatch|expected|not ", re.IGNORECASE)


class Heard:
    """What the lines of a job's log say when they are taken together.

    Attributes:
        curve: how well it learned.
        meanings: what it is known to complain of, by the failures' numbers.
    """

    def __init__(self) -> None:
        from gtlabel.training.curve import Curve

        self.curve: Curve = Curve()
        self.meanings: dict[int, Failure] = {}

    def take(self, line: LogLine) -> None:
        """Take in one line."""
        from gtlabel.training.curve import read_metric
        from gtlabel.training.failures import explain

        if _COMPLAINT.search(line.text):
            found = explain(line.text)
            if found is not None:
                self.meanings.setdefault(found.number, found)
        metric = read_metric(line.text)
        # Of several machines each prints the same epochs; the first one speaks for all.
        if metric is not None and (line.host == "algo-1" or not line.host.startswith("algo-")):
            self.curve.add(metric)

    def explain(self, job: TrainingJob, *, reason: bool = True) -> list[str]:
        """What a job's complaints mean.

        Args:
            job: the job.
            reason: whether to begin with what it failed of, which the error on its end explains as well.
        """
        from gtlabel.training.failures import explain

        first = explain(job.failure_reason) if job.failure_reason else None
        found = {**({first.number: first} if first else {}), **self.meanings}
        if first and not reason:
            del found[first.number]
        return [failure.sentence for failure in found.values()]


class Watch:
    """Follows one training job and shows it on stderr.

    Args:
        aws: the clients.
        name: the job's name.
        hourly_price: what its machine costs, where somebody knows better than the table of prices.
        on_line: takes the lines of the log instead of stderr.
    """

    def __init__(
        self,
        aws: Aws,
        name: str,
        *,
        hourly_price: str | None = None,
        on_line: Callable[[LogLine], None] | None = None,
    ) -> None:
        self.heard = Heard()
        self.job: TrainingJob | None = None
        self._aws = aws
        self._name = name
        self._price = hourly_price
        self._on_line = on_line
        self._status = ""
        # Asked once: while lines stay at the bottom, stderr is not what it was.
        self._fine = is_fine()
        self._say: Callable[[str], None] = say

    def follow(self, *, timeout: float | None, poll: float) -> TrainingJob:
        """Follow the job until it is completed.

        Raises:
            TrainingEndedError: if it failed, was stopped, or was not done in time.
            TrainingGoesOnError: if the person wants to see no more, or nobody can.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        from gtlabel.errors import TrainingGoesOnError
        from gtlabel.training.follow import follow_training_job
        from gtlabel.training.jobs import describe_training_job

        try:
            self.job = describe_training_job(self._aws.sagemaker, self._name)
            with footer(self._footer) as tell:
                self._say = tell
                return follow_training_job(
                    self._aws.sagemaker,
                    self._aws.logs,
                    self._name,
                    on_line=self._hear,
                    on_change=self._change,
                    on_trouble=self._trouble,
                    timeout=timeout,
                    poll=poll,
                )
        except KeyboardInterrupt:
            raise TrainingGoesOnError(self._name) from None
        except (BotoCoreError, ClientError) as error:
            raise TrainingGoesOnError(self._name, _why(error)) from error
        finally:
            self._say = say
            for line in drawn(self.heard.curve, fine=self._fine):
                say(line)
            if self.job is not None:
                for sentence in self.heard.explain(self.job, reason=False):
                    say(f"what that means: {sentence}")

    def result(self) -> dict[str, Any]:
        """The job as it was last seen, with its curve and its cost, as plain JSON values."""
        assert self.job is not None
        return described(self.job, self.heard, cost(self.job, self._price))

    @property
    def cost(self) -> str:
        """What the job costs, as far as it was seen."""
        assert self.job is not None
        return cost_in_words(self.job, cost(self.job, self._price))

    def put(self, output: Format) -> None:
        """Print the job as it was last seen."""
        assert self.job is not None
        if output is Format.JSON:
            put_json(self.result())
            return
        put_fields(
            {
                "name": self.job.name,
                "status": self.job.status,
                "artifact": self.job.artifact or "none",
                **self.job.metrics,
                **best(self.heard.curve),
                "cost": self.cost,
            }
        )

    def _hear(self, line: LogLine) -> None:
        self.heard.take(line)
        if self._on_line is not None:
            self._on_line(line)
            return
        several = self.job is not None and self.job.instance_count > 1
        self._say(readable(line, with_host=several))

    def _change(self, job: TrainingJob) -> None:
        self.job = job
        if job.secondary_status != self._status:
            self._status = job.secondary_status
            self._say(f"{job.name}: {self._status}")

    def _trouble(self, error: Exception) -> None:
        self._say(f"the job is followed without its log: {_why(error)}")

    def _footer(self) -> list[str]:
        if self.job is None:
            return []
        status = _status_line(self.job, self.heard.curve, self._price)
        curve = drawn(self.heard.curve, fine=self._fine) if height() > 2 * _ROWS else []
        return [*curve, status[: width() - 1]]


def drawn(curve: Curve, *, fine: bool) -> list[str]:
    """The curve as it fits the terminal, if there is more than one point to see."""
    from gtlabel.training.curve import draw

    if len(curve.points) < 2:
        return []
    return draw(curve.points, width=min(width(), 100) - 1, height=_ROWS, fine=fine)


def best(curve: Curve) -> dict[str, str]:
    """The field on the best epoch, if there is one."""
    found = curve.best
    if found is None or found.validation is None:
        return {}
    return {"best validation": f"{found.validation:.1%}, in epoch {found.epoch}"}


def readable(line: LogLine, *, with_host: bool) -> str:
    """A line of a log as it may stand on a terminal: whatever would steer that is written out."""
    text = "\t".join(map(visible, line.text.split("\t"))).expandtabs()
    return f"{line.host}  {text}" if with_host else text


def cost(job: TrainingJob, given: str | None) -> TrainingCost:
    """What a job has cost until now, and what it can cost."""
    from gtlabel.training.cost import cost_of, hourly_price

    return cost_of(job, datetime.now(UTC), hourly_price(job.instance_type, job.region, given))


def cost_in_words(job: TrainingJob, found: TrainingCost) -> str:
    """One phrase on what a job costs."""
    from gtlabel.training.cost import in_words
    from gtlabel.training.jobs import ENDED

    if found.so_far is None:
        return found.assumptions[0]
    if job.status not in ENDED:
        # What spot capacity costs less is known at the end.
        so_far = f"{'up to ' if job.spot else ''}{in_words(found.so_far)} so far"
        return f"{so_far}, at most {in_words(found.at_most)}"
    saved = "" if found.saved is None else f", {found.saved:.0%} less than without spot"
    return f"{in_words(found.so_far)} for {found.seconds:,} seconds{saved}"


def described(job: TrainingJob, heard: Heard, found: TrainingCost) -> dict[str, Any]:
    """A job with its curve, its cost and what its complaints mean, as plain JSON values."""
    return {
        **job.to_json(),
        "curve": [point.to_json() for point in heard.curve.points],
        "cost": found.to_json(),
        "explained": heard.explain(job),
    }


def _why(error: Exception) -> str:
    """Why something could not be read."""
    from gtlabel.cli.failures import explain

    explained = explain(error, "train", again=False)
    return explained[0] if explained else str(error)


def _status_line(job: TrainingJob, curve: Curve, given: str | None) -> str:
    """How far the job is, in one line."""
    from gtlabel.training.jobs import ENDED

    words = [f"{job.name}: {job.secondary_status}"]
    begun = job.started or job.created
    passed = max(0, int(((job.ended or datetime.now(UTC)) - begun).total_seconds()))
    words.append(f"{passed // 3600}:{passed // 60 % 60:02}:{passed % 60:02}")
    if curve.points:
        epochs = job.hyperparameters.get("epochs")
        words.append(f"epoch {curve.points[-1].epoch + 1}{f' of {epochs}' if epochs else ''}")
    if curve.speed is not None and job.status not in ENDED:
        words.append(f"{curve.speed:,.0f} pictures/s")
    found = cost(job, given)
    if found.so_far is not None:
        words.append(cost_in_words(job, found))
    return "   ".join(words)
