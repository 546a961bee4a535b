"""Every error gtlabel raises on purpose.

    GtlabelError
    ├── UriError                      not an S3 address            (ValueError)
    ├── SettingsError                 gtlabel.toml, GTLABEL_*, flags (ValueError)
    ├── MissingExtraError             an optional part is not installed
    ├── StorageError                  S3 said no
    │   ├── BucketNotFoundError                                    (LookupError)
    │   ├── ObjectNotFoundError                                    (LookupError)
    │   ├── ObjectArchivedError       it sleeps in Glacier
    │   └── StorageDeniedError
    ├── PolicyError                   a policy that cannot be written (ValueError)
    ├── TemplateError                 a worker template
    ├── ImageError                    pictures that cannot be labeled
    │   └── NoImagesError                                          (LookupError)
    │       └── NothingNewError       all of them have been labeled before
    ├── ClassListError                the classes of a job or dataset (ValueError)
    ├── ManifestError                 a manifest
    │   ├── ManifestLineError         one line of it               (ValueError)
    │   └── MissingLabelError         a record without that label  (LookupError)
    ├── DatasetError                  consolidation
    ├── RequestError                  a request the service would refuse (ValueError)
    ├── LabelingJobError
    │   ├── PreflightError            a job that would fail, not started
    │   ├── JobNameTakenError
    │   │   └── JobNameClaimedError   by a launch that started no job yet
    │   ├── JobNotFoundError                                       (LookupError)
    │   ├── JobEndedError             failed, stopped, or not done in time
    │   └── StreamError               a streaming job, what is sent to it and what it answers
    ├── WorkforceError                teams and their members
    │   └── TeamNotFoundError                                      (LookupError)
    ├── NotificationError             nobody can be told that way  (ValueError)
    ├── TrainingError
    │   ├── TrainingRegionError       no built-in algorithm there  (LookupError)
    │   ├── TrainingJobNameTakenError
    │   ├── TrainingJobNotFoundError                               (LookupError)
    │   └── TrainingEndedError        failed, stopped, or not done in time
    ├── RecordIOError                 a channel's bytes            (ValueError)
    ├── ArtifactError                 a model.tar.gz and what is in it (ValueError)
    │   └── ConversionError           an operator we do not convert
    ├── EvaluationError               answers that cannot be judged (ValueError)
    ├── EdgeError
    │   ├── BundleError               a bundle that does not hold what it promises
    │   ├── RecipeError               a Greengrass recipe          (ValueError)
    │   ├── ComponentVersionTakenError
    │   ├── DeviceNotFoundError                                    (LookupError)
    │   └── DeploymentEndedError      failed, or not done in time
    ├── EngineError                   our own Ground Truth
    │   ├── StoreError                its database; nothing was written
    │   │   ├── DatabaseInUseError    by another process
    │   │   ├── DatabaseVersionError  made by another gtlabel
    │   │   ├── DatabaseFullError
    │   │   ├── DatabaseReadOnlyError
    │   │   └── DatabaseUnavailableError
    │   ├── LeaseError                an answer that cannot be taken
    │   │   ├── WorkerNotAdmittedError
    │   │   └── AnswerError           one that is no answer to the question (ValueError)
    │   ├── FunctionError             a custom workflow's function failed
    │   └── FunctionNotFoundError     nobody gave us that function (LookupError)
    ├── WorkerError                   the people of our own Ground Truth
    │   ├── WorkerNotFoundError                                    (LookupError)
    │   ├── WorkerNameTakenError
    │   └── EntryError                somebody who may not come in
    │       ├── ForeignRequestError   from a page that is not ours
    │       ├── NotSignedInError      nothing that lets anyone in
    │       ├── NotTheOwnerError      only owners see and do this
    │       ├── InviteError           an invite that lets nobody in any more
    │       ├── WorkerDeactivatedError
    │       └── TooManyTriesError     wait first
    └── EmulatorError
        ├── PortInUseError
        ├── StateInUseError
        ├── EmulatorNotReadyError
        └── MotoContractError         its foundation is not what it was built on

Facts are attributes for programs; the message is one sentence for people: what, where, and the next
step where there is one.
"""

from __future__ import annotations


class GtlabelError(Exception):
    """Something that gtlabel foresaw; its message can be shown to a person as it is."""


class UriError(GtlabelError, ValueError):
    """A text that is not an S3 address."""

    def __init__(self, text: str) -> None:
        super().__init__(f"{text!r} is not an S3 address; write it as s3://bucket/key")
        self.text = text


class SettingsError(GtlabelError, ValueError):
    """A setting that is missing, misspelled or impossible."""


class MissingExtraError(GtlabelError):
    """A part of gtlabel that was not installed."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs an optional part; install it with: pip install 'gtlabel[{extra}]'")
        self.extra = extra


class StorageError(GtlabelError):
    """S3 refused, or did not have, what was asked for."""


class BucketNotFoundError(StorageError, LookupError):
    """There is no such bucket, or not in this region and account."""

    def __init__(self, bucket: str) -> None:
        super().__init__(f"the bucket {bucket!r} does not exist; check its name, --region and --profile")
        self.bucket = bucket


class ObjectNotFoundError(StorageError, LookupError):
    """There is no such object."""

    def __init__(self, uri: str) -> None:
        super().__init__(f"there is nothing at {uri}")
        self.uri = uri


class ObjectArchivedError(StorageError):
    """The object is in an archive class, and cannot be read before it is restored."""

    def __init__(self, uri: str) -> None:
        super().__init__(f"{uri} is archived; restore it to S3 Standard first")
        self.uri = uri


class StorageDeniedError(StorageError):
    """The credentials may not do this to that object."""

    def __init__(self, action: str, uri: str) -> None:
        super().__init__(
            f"these credentials lack {action} on {uri}; "
            "`gtlabel policy COMMAND` prints the policy that a command needs"
        )
        self.action = action
        self.uri = uri


class PolicyError(GtlabelError, ValueError):
    """A policy that cannot be written, for want of a value or because of one."""


class TemplateError(GtlabelError):
    """A worker template that cannot be found or used."""


class ImageError(GtlabelError):
    """Pictures that cannot be labeled."""


class NoImagesError(ImageError, LookupError):
    """A place without a single usable picture."""


class NothingNewError(NoImagesError):
    """Every picture is in an earlier job already."""

    def __init__(self, known: int, source: str) -> None:
        super().__init__(f"nothing is new: earlier jobs have all of the {known} pictures of {source}")
        self.known = known


class ClassListError(GtlabelError, ValueError):
    """A list of classes that cannot be labeled with."""


class ManifestError(GtlabelError):
    """A manifest that cannot be used."""


class ManifestLineError(ManifestError, ValueError):
    """One line of a manifest that is not a record."""

    def __init__(self, manifest: str, line: int, reason: str) -> None:
        super().__init__(f"{manifest}, line {line}: {reason}")
        self.manifest = manifest
        self.line = line
        self.reason = reason


class MissingLabelError(ManifestError, LookupError):
    """A record that does not hold the label asked for."""


class DatasetError(GtlabelError):
    """Labels that do not make a dataset."""


class RequestError(GtlabelError, ValueError):
    """A request that the service would refuse, found before it was sent.

    Attributes:
        problems: one sentence for each field that is wrong.
    """

    def __init__(self, operation: str, problems: list[str]) -> None:
        super().__init__(f"{operation} would be refused: " + "; ".join(problems))
        self.operation = operation
        self.problems = problems


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


class TrainingJobNameTakenError(TrainingError):
    """The account already has a training job of that name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"a training job named {name!r} already exists; pick another with --name")
        self.name = name


class TrainingJobNotFoundError(TrainingError, LookupError):
    """The account has no training job of that name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no training job named {name!r}")
        self.name = name


class TrainingEndedError(TrainingError):
    """A training job that ended, or kept running, other than was waited for."""

    def __init__(self, name: str, status: str, reason: str = "", *, timed_out: bool = False) -> None:
        if timed_out:
            sentence = f"the training job {name!r} was still {status} when the time was up; it goes on"
        else:
            sentence = f"the training job {name!r} ended as {status}"
        super().__init__(f"{sentence}: {reason}" if reason else sentence)
        self.name = name
        self.status = status
        self.timed_out = timed_out


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


class EvaluationError(GtlabelError, ValueError):
    """A classifier's answers that cannot be judged."""


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
            f"version {version} of the component {name} exists with other content; use a higher --version"
        )
        self.name = name
        self.version = version


class DeviceNotFoundError(EdgeError, LookupError):
    """A target that no device is behind."""

    def __init__(self, target: str) -> None:
        super().__init__(
            f"there is no Greengrass core device {target!r}; start the nucleus on the device, "
            "and compare the name and the region"
        )
        self.target = target


class DeploymentEndedError(EdgeError):
    """A deployment that a device did not bring to a good end.

    Attributes:
        timed_out: whether it may still be going on.
    """

    def __init__(
        self, deployment: str, thing: str, status: str, reason: str, *, timed_out: bool = False
    ) -> None:
        verb = "is still" if timed_out else "ended as"
        super().__init__(f"the deployment {deployment} {verb} {status} on {thing}: {reason}")
        self.deployment = deployment
        self.thing = thing
        self.status = status
        self.timed_out = timed_out


class EngineError(GtlabelError):
    """Our own Ground Truth."""


class StoreError(EngineError):
    """The database of the engine does not do what it must; what was to be written was not."""

    def __init__(self, database: str, sentence: str) -> None:
        super().__init__(f"the database {database} {sentence}")
        self.database = database


class DatabaseInUseError(StoreError):
    """Another process has the file."""

    def __init__(self, database: str, holder: str) -> None:
        super().__init__(
            database,
            f"is used by {holder}; stop that first, or give several processes one PostgreSQL database",
        )
        self.holder = holder


class DatabaseVersionError(StoreError):
    """Its tables are not those that this version of gtlabel works with."""

    def __init__(self, database: str, found: int, wanted: int) -> None:
        whose = "an older" if found < wanted else "a newer"
        super().__init__(
            database,
            f"was made by {whose} gtlabel (its tables have version {found}, this one needs {wanted}); "
            "finish its jobs with that one, and start a new database with this one",
        )
        self.found, self.wanted = found, wanted


class DatabaseFullError(StoreError):
    """There is no room for another answer; there may be again at any time."""

    def __init__(self, database: str) -> None:
        super().__init__(
            database, "has no room on its disk, so nothing was stored; free some space and try again"
        )


class DatabaseReadOnlyError(StoreError):
    """It may be read and not written."""

    def __init__(self, database: str) -> None:
        super().__init__(
            database,
            "can only be read, so nothing was stored; make it and its folder writable and try again",
        )


class DatabaseUnavailableError(StoreError):
    """It cannot be reached, or does not work."""


class LeaseError(EngineError):
    """An answer, or another word about a task, that cannot be taken."""


class WorkerNotAdmittedError(LeaseError):
    """A worker who may not work on this job."""


class AnswerError(LeaseError, ValueError):
    """Something that is no answer to what the job asks; the task stays with the worker."""


class FunctionError(EngineError):
    """A function of a custom workflow that raised, took too long, or gave something else than it should."""

    def __init__(self, name: str, reason: str, *, timed_out: bool = False, ended: bool = False) -> None:
        super().__init__(f"the function {name!r} failed: {reason}")
        self.name = name
        self.reason = reason
        self.timed_out = timed_out
        self.ended = ended


class FunctionNotFoundError(EngineError, LookupError):
    """A job needs a function that nobody gave us."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"there is no function {name!r} here; "
            f"start this server with --function {name}=package.module:function"
        )
        self.name = name


class WorkerError(GtlabelError):
    """Somebody of our own Ground Truth's people who cannot be made, found or changed."""


class WorkerNotFoundError(WorkerError, LookupError):
    """There is no worker of that name."""

    def __init__(self, name: str, near: tuple[str, ...] = ()) -> None:
        hint = f"did you mean {' or '.join(near)}?" if near else "see `gtlabel serve worker list`"
        super().__init__(f"there is no worker named {name!r}; {hint}")
        self.name = name
        self.near = near


class WorkerNameTakenError(WorkerError):
    """Somebody has the name."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"there is a worker named {name!r} already, perhaps a deactivated one; "
            "pick another name, or see `gtlabel serve worker list`"
        )
        self.name = name


class EntryError(WorkerError):
    """Somebody who may not come in."""


class ForeignRequestError(EntryError):
    """A request that a page of somebody else sent, or that no page of ours can have sent."""

    def __init__(self) -> None:
        super().__init__("this request does not come from a page of this portal; open it in the browser")


class NotSignedInError(EntryError):
    """Nothing that lets anyone in was shown."""


class NotTheOwnerError(EntryError):
    """Something that only owners may see and do."""

    def __init__(self) -> None:
        super().__init__("this is for owners; ask one to do it, or to make you one")


class InviteError(EntryError):
    """An invite that lets nobody in, or nobody any more."""


class WorkerDeactivatedError(EntryError):
    """Somebody who may not come in at the moment."""

    def __init__(self, name: str) -> None:
        super().__init__(f"the worker {name} is deactivated; ask the owner")
        self.name = name


class TooManyTriesError(EntryError):
    """Too many failures from one address for one token.

    Attributes:
        seconds: how long to wait.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(f"too many failures; try again in {max(1, round(seconds))} seconds")
        self.seconds = seconds


class EmulatorError(GtlabelError):
    """AWS's protocol on this machine."""


class PortInUseError(EmulatorError):
    """Something else listens on the port."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(
            f"port {port} on {host} is in use; stop what listens there or pick another with --port"
        )
        self.host = host
        self.port = port


class StateInUseError(EmulatorError):
    """Another emulator has the state folder open."""

    def __init__(self, folder: str, holder: str) -> None:
        super().__init__(
            f"the state folder {folder} is in use by {holder}; "
            "stop that emulator with `gtlabel local down` or pick another folder with --state"
        )
        self.folder = folder


class EmulatorNotReadyError(EmulatorError):
    """The emulator did not come up, or went away."""


class MotoContractError(EmulatorError):
    """What the emulator stands on lacks something that it leans on."""
