"""Tries a training program on this machine, under the conditions that SageMaker runs it in.

The program gets the directories, the files and the FIFOs that a container gets (contract/training.md §4),
with `SAGEMAKER_BASE_DIR` in place of `/opt/ml`, and ends as it would there: SIGTERM, a time of grace,
SIGKILL. It starts where its user is and keeps their environment. No S3 is needed for pictures of this
machine, and no server ever.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any, Literal

from gtlabel.emulator.container import HOST, Container, files_below
from gtlabel.emulator.joblog import Patterns, built_in, patterns
from gtlabel.emulator.manifest import Manifest
from gtlabel.emulator.pipe import Feeder, PipeChannel
from gtlabel.emulator.trialdata import TRAIN, TrialChannel, TrialData
from gtlabel.emulator.trialfiles import lay_out
from gtlabel.emulator.trialmodel import ARCHIVE, ModelPlace
from gtlabel.emulator.trialprinted import Printed
from gtlabel.emulator.trialreport import ChannelReport, TrialReport
from gtlabel.errors import EmulatorError, SettingsError
from gtlabel.training.backends.container import (
    ATTRIBUTE_VARIABLE,
    CLASSES_VARIABLE,
    IMAGES_VARIABLE,
    SAMPLES_VARIABLE,
    told_names,
)

Mode = Literal["Pipe", "File", "FastFile"]

GRACE = 120.0  # seconds between SIGTERM and SIGKILL: what SageMaker gives

_POLL = 0.02  # seconds between two looks at the program
_CLASSES_TOLD = 10
_INSTANCE = "ml.m5.xlarge"  # what the program is told it runs on: a machine without GPU


@dataclass(frozen=True, slots=True)
class TrialOptions:
    """How a program is tried. Times are in seconds.

    Attributes:
        mode: how it gets its channels.
        hyperparameters: what it is told, as texts.
        script: whether it is told them as options, too, as AWS's images call a script: `--epochs 3`.
        seed: shuffles the images of train anew for each epoch; without it they keep their order.
        epochs: after so many epochs of a channel the program is asked to end.
        timeout: after so long it is asked to end, as after MaxRuntimeInSeconds.
        grace: how long it may take to end.
        metrics: what is read from its lines: a regular expression with one group by the metric's name, as a
            job's MetricDefinitions; without any, the lines of the built-in algorithm are known.
        link: an address that leads to the base directory meanwhile, such as `/opt/ml`.
        model: the folder that the model is left in, which must be empty; without it, it is packed into
            `archive`.
        archive: the model as SageMaker would upload it.
    """

    mode: Mode = "Pipe"
    hyperparameters: Mapping[str, str] = field(default_factory=dict)
    script: bool = False
    seed: int | None = 1
    epochs: int | None = None
    timeout: float | None = None
    grace: float = GRACE
    metrics: Mapping[str, str] = field(default_factory=dict)
    link: Path | None = None
    model: Path | None = None
    archive: Path = Path(ARCHIVE)


class Stop:
    """Asks a trial to end: the first time with SIGTERM, the second time at once.

    Attributes:
        running: whether there is a program to end.
    """

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.now = threading.Event()
        self.running = False

    def ask(self) -> None:
        """Ask for the end.

        Raises:
            KeyboardInterrupt: while the data are still made ready.
        """
        if not self.running:
            raise KeyboardInterrupt
        (self.now if self.asked.is_set() else self.asked).set()


def try_program(
    data: Callable[[Path], TrialData],
    command: Sequence[str],
    options: TrialOptions,
    *,
    stop: Stop | None = None,
    on_output: Callable[[bytes], object],
    on_notice: Callable[[str], object] = lambda _: None,
) -> TrialReport:
    """Run a training program as a job, and tell how it did.

    Nothing is left of it but the model: no process, no FIFO, no folder. A program that failed leaves no
    model either, as in SageMaker.

    Args:
        data: what it is tried on; is given a folder for what has to be made.
        command: the program and its words.
        options: how it is tried.
        stop: ends it early.
        on_output: is given what the program prints, as it comes.
        on_notice: is told what happens to it.

    Raises:
        GtlabelError: if it cannot even be started.
    """
    if options.mode == "Pipe" and not hasattr(os, "mkfifo"):
        raise EmulatorError(
            "Pipe mode needs named pipes, which Windows does not have; use --mode fastfile, or run this on "
            "Linux, on macOS or in WSL"
        )
    if options.epochs is not None and options.mode != "Pipe":
        raise SettingsError(
            "how files are read nobody sees, so --epochs-limit has no effect but in Pipe mode; leave it out, "
            "or give --timeout"
        )
    program = shutil.which(command[0])
    if program is None:
        raise SettingsError(f"there is no program {command[0]!r}; check its name and PATH")
    ModelPlace(options.model, options.archive).check()
    with tempfile.TemporaryDirectory(prefix="gtlabel-trial-") as name:
        container = Container(Path(name) / "job")
        made = Path(name) / "made"
        made.mkdir()
        found = data(made)
        on_notice(_summary(found))
        trial = _Trial(container, found, options, stop or Stop(), on_output, on_notice)
        return trial.run([program, *command[1:]])


class _Trial:
    """One program on one set of data, once."""

    def __init__(
        self,
        container: Container,
        data: TrialData,
        options: TrialOptions,
        stop: Stop,
        on_output: Callable[[bytes], object],
        on_notice: Callable[[str], object],
    ) -> None:
        self._container = container
        self._data = data
        self._options = options
        self._stop = stop
        self._on_output = on_output
        self._notice = on_notice
        self._feeders: list[Feeder] = []

    def run(self, program: Sequence[str]) -> TrialReport:
        """See the program through, from its directories to its model."""
        container, options = self._container, self._options
        container.prepare(self._request())
        words = [*program, *self._script_options()]
        with ExitStack() as cleanup:
            if options.link is not None:
                cleanup.enter_context(_linked(options.link, container.base))
            variables = self._variables(cleanup)
            printed = Printed(self._patterns(), self._on_output)
            started = monotonic()
            self._stop.running = True
            try:
                stream = container.start(words, variables, (), Path.cwd())
            except OSError as error:
                raise SettingsError(f"{program[0]} cannot be started: {error.strerror}") from error
            cleanup.callback(container.end)
            printed.follow(stream)
            cleanup.callback(printed.close)
            code, reason = self._follow()
            seconds = monotonic() - started
            # What it left behind may still hold its channels and its output.
            container.end()
            printed.close()
            fault = self._fault()
        report = TrialReport(
            piped=options.mode == "Pipe",
            ended=reason
            or (("failed", fault) if fault else ("completed", "") if code == 0 else ("failed", "")),
            code=code,
            seconds=seconds,
            failure=container.failure(),
            last_line=printed.last_line,
            channels=tuple(self._reports()),
            metrics=dict(printed.metrics),
            unmatched=tuple(sorted(set(options.metrics) - set(printed.metrics))),
            hyperparameters=dict(options.hyperparameters),
            classes=len(self._data.classes),
            files=len(files_below(container.model)),
            bytes=sum(path.stat().st_size for path in files_below(container.model)),
        )
        return self._keep(report)

    def _follow(self) -> tuple[int, tuple[str, str] | None]:
        """Wait for the program; its exit code, and why it was asked to end, if it was."""
        options, container = self._options, self._container
        deadline = monotonic() + options.timeout if options.timeout is not None else float("inf")
        reason: tuple[str, str] | None = None
        kill_at = float("inf")
        while (code := container.wait(_POLL)) is None:
            if reason is None:
                reason = self._reason(deadline)
                if reason is not None:
                    kill_at = monotonic() + options.grace
                    self._notice(f"{reason[1]}; the program got SIGTERM and has {options.grace:g} s to end")
                    container.signal(signal.SIGTERM)
            elif self._stop.now.is_set() or monotonic() >= kill_at:
                self._notice("the program is killed")
                container.signal(signal.SIGKILL)
                kill_at = float("inf")
                self._stop.now.clear()
        return code, reason

    def _reason(self, deadline: float) -> tuple[str, str] | None:
        """Why the program has to end now, and what that makes of the trial."""
        fault = self._fault()
        if fault:
            return "failed", fault
        if self._stop.asked.is_set():
            return "stopped", "it was to be stopped"
        if monotonic() >= deadline:
            return "out of time", f"{self._options.timeout:g} s are over"
        if any(feeder.exhausted.is_set() for feeder in self._feeders):
            return "enough", f"it read {self._options.epochs} epochs, which was to be enough"
        return None

    def _fault(self) -> str:
        """What went wrong with the data, if anything did."""
        return next((feeder.error for feeder in self._feeders if feeder.error), "")

    def _reports(self) -> Iterator[ChannelReport]:
        fed = {feeder.channel.name: feeder.epochs for feeder in self._feeders}
        for channel in self._data.channels:
            yield ChannelReport(channel.name, channel.images, tuple(fed.get(channel.name, ())))

    def _keep(self, report: TrialReport) -> TrialReport:
        """Leave the model where it was asked for, if it is one that SageMaker would keep."""
        if not report.files or report.status == "Failed":
            return report
        place = ModelPlace(self._options.model, self._options.archive)
        return report.with_model(place.keep(self._container.model, whole=report.status == "Completed"))

    def _request(self) -> dict[str, Any]:
        """The job as CreateTrainingJob would have it, as far as the program is told of it."""
        options = self._options
        piped = options.mode == "Pipe"
        channels = [_channel(channel.name, options.mode, piped=piped) for channel in self._data.channels]
        if not piped and self._data.folders is None:
            # Manifests are small files, and what they name is a channel of its own.
            channels = [_channel(channel.name, "File", piped=False) for channel in self._data.channels]
            channels.append(_channel("images", options.mode, piped=False))
        return {
            "HyperParameters": dict(options.hyperparameters),
            "AlgorithmSpecification": {"TrainingInputMode": options.mode},
            "InputDataConfig": channels,
            "ResourceConfig": {"InstanceType": _INSTANCE},
        }

    def _variables(self, cleanup: ExitStack) -> dict[str, str]:
        """Start the channels; return what the program is told in its environment."""
        container, data, options = self._container, self._data, self._options
        told = {
            CLASSES_VARIABLE: str(len(data.classes)),
            SAMPLES_VARIABLE: str(data.channels[0].images),
            ATTRIBUTE_VARIABLE: data.channels[0].attributes[-1],
            **told_names(data.classes),
        }
        if options.mode == "Pipe":
            for channel in data.channels:
                self._feed(channel, cleanup)
        else:
            prefix = lay_out(data, container.data)
            if prefix is not None:
                told[IMAGES_VARIABLE] = prefix
        told.update(_toolkit(container, options.hyperparameters, [channel.name for channel in data.channels]))
        # It is its user's own program, which finds what it always finds.
        return {
            "AWS_CONFIG_FILE": "~/.aws/config",
            "AWS_SHARED_CREDENTIALS_FILE": "~/.aws/credentials",
            **{name: value for name, value in os.environ.items() if name != "SAGEMAKER_BASE_DIR"},
            **told,
        }

    def _feed(self, channel: TrialChannel, cleanup: ExitStack) -> None:
        seed = self._options.seed if channel.name == TRAIN else None
        piped = PipeChannel(channel.name, channel.manifest, channel.attributes, seed=seed)
        copy = self._container.scratch / f"{channel.name}.manifest"
        source = Manifest(self._data.pictures(channel.name), piped, copy)
        feeder = Feeder(None, piped, self._container.data, copy, source=source, limit=self._options.epochs)
        cleanup.callback(feeder.close)
        self._feeders.append(feeder)
        feeder.start()

    def _script_options(self) -> list[str]:
        if not self._options.script:
            return []
        return [
            word for name, value in self._options.hyperparameters.items() for word in (f"--{name}", value)
        ]

    def _patterns(self) -> Patterns:
        metrics = self._options.metrics
        if not metrics:
            return built_in
        return patterns(
            {"MetricDefinitions": [{"Name": name, "Regex": regex} for name, regex in metrics.items()]}
        )


def _summary(data: TrialData) -> str:
    """What the program is about to be given, in a sentence."""
    images = ", ".join(f"{channel.name} has {channel.images} images" for channel in data.channels)
    classes = ", ".join(f"{number} {name}" for number, name in enumerate(data.classes[:_CLASSES_TOLD]))
    more = f" and {len(data.classes) - _CLASSES_TOLD} more" if len(data.classes) > _CLASSES_TOLD else ""
    return f"{images}; the labels are {classes}{more}"


def _channel(name: str, mode: str, *, piped: bool) -> dict[str, Any]:
    channel: dict[str, Any] = {
        "ChannelName": name,
        "InputMode": mode,
        "DataSource": {"S3DataSource": {"S3DataDistributionType": "FullyReplicated"}},
    }
    if piped:
        channel |= {"ContentType": "application/x-recordio", "RecordWrapperType": "RecordIO"}
    return channel


def _toolkit(
    container: Container, hyperparameters: Mapping[str, str], channels: Sequence[str]
) -> dict[str, str]:
    """What AWS's training toolkit tells a script in AWS's own images.

    https://github.com/aws/sagemaker-training-toolkit/blob/master/ENVIRONMENT_VARIABLES.md
    """
    import json

    told = {
        "SM_MODEL_DIR": str(container.model),
        "SM_OUTPUT_DATA_DIR": str(container.output),
        "SM_INPUT_DIR": str(container.base / "input"),
        "SM_INPUT_CONFIG_DIR": str(container.config),
        "SM_CHANNELS": json.dumps(list(channels)),
        "SM_HPS": json.dumps(dict(hyperparameters)),
        "SM_CURRENT_HOST": HOST,
        "SM_HOSTS": json.dumps([HOST]),
        "SM_NUM_GPUS": "0",
        "SM_NUM_CPUS": str(os.cpu_count() or 1),
    }
    told |= {f"SM_CHANNEL_{name.upper()}": str(container.data / name) for name in channels}
    return told | {f"SM_HP_{name.upper()}": value for name, value in hyperparameters.items()}


@contextmanager
def _linked(link: Path, base: Path) -> Iterator[None]:
    """Lead from an address to the base directory for a while."""
    try:
        link.symlink_to(base, target_is_directory=True)
    except FileExistsError:
        raise SettingsError(f"{link} is there already; take it away, or do without --link") from None
    except OSError as error:
        raise SettingsError(f"{link} cannot be made: {error.strerror}; do without --link") from error
    try:
        yield
    finally:
        link.unlink(missing_ok=True)
