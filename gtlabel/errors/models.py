"""Errors about training, what it leaves, and devices."""

from __future__ import annotations

from collections.abc import Sequence

from gtlabel.errors.root import GtlabelError


class TrainingError(GtlabelError):
    """A training job that could not be created, found or finished."""


class TrainingRegionError(TrainingError, LookupError):
    """A region where AWS does not offer the built-in algorithm."""

    def __init__(self, region: str, supported: tuple[str, ...]) -> None:
        super().__init__(
            f"the built-in image classification is not offered in {region!r}; "
            f"pick another --region: {', '.join(supported)}"
        )
        self.region = region
        self.supported = supported


class TrainingDataError(TrainingError, ValueError):
    """A dataset, or an earlier model, that a training job would fail of or learn nonsense from.

    Attributes:
        problems: a sentence for each thing that is wrong.
    """

    def __init__(self, problems: list[str]) -> None:
        super().__init__("the job would fail, or learn nonsense: " + "; ".join(problems))
        self.problems = problems


class TrainingJobNameTakenError(TrainingError):
    """The account already has a training job of that name."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"a training job named {name!r} already exists; pick another with --name, "
            f"or see what became of it: gtlabel train show {name}"
        )
        self.name = name


class TrainingJobNotFoundError(TrainingError, LookupError):
    """The account has no training job of that name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no training job named {name!r}")
        self.name = name


class TrainingEndedError(TrainingError):
    """A training job that ended, or kept running, other than was waited for.

    Attributes:
        explanation: what its reason means and what to do about it; empty where nobody knows.
    """

    def __init__(
        self, name: str, status: str, reason: str = "", *, timed_out: bool = False, explanation: str = ""
    ) -> None:
        if timed_out:
            sentence = (
                f"the training job {name!r} was still {status} when the time was up; it goes on, and is paid "
                f"for until it ends; stop it: gtlabel train stop {name}"
            )
        else:
            sentence = f"the training job {name!r} ended as {status}"
        super().__init__(f"{sentence}: {reason}" if reason else sentence)
        self.name = name
        self.status = status
        self.timed_out = timed_out
        self.explanation = explanation


class TrainingGoesOnError(TrainingError):
    """A training job is not followed any more; it runs on, and is paid for.

    Attributes:
        reason: why it cannot be followed; empty where somebody did not want to.
    """

    def __init__(self, name: str, reason: str = "") -> None:
        sentence = (
            f"the training job {name!r} goes on, and is paid for until it ends; follow it again: "
            f"gtlabel train logs {name} --follow; stop it: gtlabel train stop {name}"
        )
        super().__init__(f"{reason}; {sentence}" if reason else sentence)
        self.name = name
        self.reason = reason


class TrialEndedError(TrainingEndedError):
    """A training program that was tried on this machine and did not complete."""

    def __init__(self, command: str, status: str, reason: str, *, timed_out: bool = False) -> None:
        super().__init__(command, status, reason, timed_out=timed_out)
        self.args = (f"{command} ended as {status}: {reason}",)


class ChannelError(TrainingError):
    """A channel that a training program cannot read."""

    def __init__(self, channel: str, reason: str) -> None:
        super().__init__(f"the channel {channel!r} cannot be used: {reason}")
        self.channel = channel


class RecordIOError(GtlabelError, ValueError):
    """Bytes that are not RecordIO.

    Attributes:
        record: which one, counted from 0.
    """

    def __init__(self, record: int, reason: str) -> None:
        super().__init__(f"RecordIO record {record} cannot be used: {reason}")
        self.record = record


class ArtifactError(GtlabelError, ValueError):
    """A model artifact that does not hold what it should."""


class ConversionError(ArtifactError):
    """A network that cannot be converted."""


class QuantizationError(ArtifactError):
    """A network that cannot be made to compute in 8 bits."""


class EvaluationError(GtlabelError, ValueError):
    """A classifier's answers that cannot be judged."""


class PredictionError(GtlabelError, LookupError):
    """Pictures that were named and are not there."""


class EdgeError(GtlabelError):
    """The road to a device."""


class BundleError(EdgeError):
    """A bundle that does not hold what it promises."""


class RecipeError(EdgeError, ValueError):
    """A component recipe that Greengrass, or one of its nuclei, would refuse."""


class ComponentVersionTakenError(EdgeError):
    """The component version exists and holds something else."""

    def __init__(self, name: str, version: str) -> None:
        super().__init__(
            f"version {version} of the component {name} exists with other content; "
            "use a higher --version, or none, which takes the next"
        )
        self.name = name
        self.version = version


class ComponentVersionFailedError(EdgeError):
    """The component version exists with this very content, and Greengrass could not make it one to deploy."""

    def __init__(self, name: str, version: str, reason: str) -> None:
        super().__init__(
            f"Greengrass could not make version {version} of the component {name}: "
            f"{reason or 'it says no more'}; a version is made once, so use a higher --version, or none, "
            "which takes the next"
        )
        self.name = name
        self.version = version
        self.reason = reason


class ForeignComponentError(EdgeError):
    """A component that somebody else published, which gtlabel neither replaces nor takes off."""

    def __init__(self, name: str, publisher: str = "") -> None:
        super().__init__(
            f"the component {name} was published by {publisher or 'somebody else'}, and gtlabel changes only "
            "what it published itself; give another --name"
        )
        self.name = name
        self.publisher = publisher


class DeploymentConflictError(EdgeError):
    """A device would have to run two versions of a component, one of them for another target."""

    def __init__(self, name: str, version: str, target: str, there: str, other: str) -> None:
        super().__init__(
            f"{other} has {name} {there} run on a device of {target}, and a device runs one version of a "
            f"component, so {version} would fail there; deploy to {other}, or take it off there first: "
            f"gtlabel deploy remove --to {other} --name {name}"
        )
        self.name = name
        self.target = target
        self.other = other


class SecondClassifierError(EdgeError):
    """Another classifier of gtlabel is on the same devices, and nobody said that both shall be."""

    def __init__(self, name: str, target: str, other: str, where: str) -> None:
        replacing = f"--name {other}" if where == target else f"--to {where} --name {other}"
        super().__init__(
            f"{where} has another classifier of gtlabel already, {other}, and {name} would look at the same "
            f"camera and publish to the same topic; replace it with {replacing}, or keep both with --beside"
        )
        self.name = name
        self.target = target
        self.other = other


class DeviceNotFoundError(EdgeError, LookupError):
    """A target that no device is behind."""

    def __init__(self, target: str) -> None:
        super().__init__(
            f"there is no Greengrass core device {target!r}; start the nucleus on the device, "
            "and compare the name and the region"
        )
        self.target = target


class FramesNotFoundError(EdgeError, LookupError):
    """A place where no device kept a frame for people to label."""


class RevisionNotFoundError(EdgeError, LookupError):
    """A target that has no earlier revision to go back to, or not the one that was named."""

    def __init__(self, component: str, target: str, version: str | None, known: list[str]) -> None:
        sentence = f"{target} never had version {version} of {component}"
        if version is None:
            sentence = f"{target} has no earlier version of {component} that went well to go back to"
        super().__init__(
            sentence
            + (f"; it had {', '.join(known)}" if known else "")
            + f"; see gtlabel deploy list --to {target}"
        )
        self.component = component
        self.target = target
        self.version = version


class DeploymentChangedError(EdgeError):
    """Somebody else deployed to the target after it was looked at; nothing was deployed."""

    def __init__(self, target: str, deployment: str) -> None:
        super().__init__(
            f"somebody deployed to {target} in the meantime ({deployment}), and that would be lost; "
            "run the same command again to see what it changes now"
        )
        self.target = target
        self.deployment = deployment


class DeploymentEndedError(EdgeError):
    """A deployment that a device did not bring to a good end.

    Attributes:
        timed_out: whether it may still be going on.
        devices: how far each device came, where there are several.
        undone: what became of the last good version, where it was deployed again.
    """

    def __init__(
        self,
        deployment: str,
        thing: str,
        status: str,
        reason: str,
        *,
        timed_out: bool = False,
        devices: Sequence[object] = (),
        undone: str = "",
    ) -> None:
        verb = "is still" if timed_out else "ended as"
        sentence = f"the deployment {deployment} {verb} {status} on {thing}: {reason}"
        super().__init__(f"{sentence}; {undone}" if undone else sentence)
        self.deployment = deployment
        self.thing = thing
        self.status = status
        self.reason = reason
        self.timed_out = timed_out
        self.devices = tuple(devices)
        self.undone = undone
