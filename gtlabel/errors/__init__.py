"""Every error gtlabel raises on purpose.

    GtlabelError
    ├── UriError                      not an S3 address            (ValueError)
    ├── SettingsError                 gtlabel.toml, GTLABEL_*, flags (ValueError)
    ├── MissingExtraError             an optional part is not installed
    ├── StorageError                  S3 said no
    │   ├── BucketNotFoundError                                    (LookupError)
    │   ├── ObjectNotFoundError                                    (LookupError)
    │   ├── ObjectArchivedError       it sleeps in Glacier
    │   ├── ObjectChangedError        by somebody else meanwhile
    │   └── StorageDeniedError
    ├── PolicyError                   a policy that cannot be written (ValueError)
    ├── TemplateError                 a worker template
    ├── ImageError                    pictures that cannot be labeled
    │   └── NoImagesError                                          (LookupError)
    │       └── NothingNewError       all of them have been labeled before
    ├── ClassListError                the classes of a job or dataset (ValueError)
    │   └── VocabularyError           a file of renamed and removed ones
    ├── ManifestError                 a manifest
    │   ├── ManifestLineError         one line of it               (ValueError)
    │   ├── MissingLabelError         a record without that label  (LookupError)
    │   └── AnswerFileError           what workers said            (ValueError)
    ├── ConsensusError                answers that no label can be made of (ValueError)
    ├── DatasetError                  consolidation
    │   ├── ArchiveError              a zip or tar that is not safe to read
    │   ├── DatasetInUseError         another run writes it
    │   └── PictureChangedError       changed or gone since it was listed
    ├── RequestError                  a request the service would refuse (ValueError)
    ├── LabelingJobError
    │   ├── PreflightError            a job that would fail, not started
    │   ├── JobNameTakenError
    │   │   └── JobNameClaimedError   by a launch that started no job yet
    │   ├── JobNotFoundError                                       (LookupError)
    │   ├── JobEndedError             failed, stopped, or not done in time
    │   ├── RedundancyError           how many answers an object gets (ValueError)
    │   └── StreamError               a streaming job, what is sent to it and what it answers
    ├── WorkforceError                teams and their members
    │   └── TeamNotFoundError                                      (LookupError)
    ├── NotificationError             nobody can be told that way  (ValueError)
    ├── TrainingError
    │   ├── ChannelError              what a program is given to read
    │   ├── TrainingRegionError       no built-in algorithm there  (LookupError)
    │   ├── TrainingDataError         a dataset would spoil the job (ValueError)
    │   ├── TrainingJobNameTakenError
    │   ├── TrainingJobNotFoundError                               (LookupError)
    │   ├── TrainingEndedError        failed, stopped, or not done in time
    │   └── TrainingGoesOnError       nobody follows it any more
    ├── RecordIOError                 a channel's bytes            (ValueError)
    ├── ArtifactError                 a model.tar.gz and what is in it (ValueError)
    │   ├── ConversionError           an operator we do not convert
    │   └── QuantizationError         8 bits that cannot be had
    ├── EvaluationError               answers that cannot be judged (ValueError)
    ├── LearningError                 numbers a machine cannot learn from (ValueError)
    ├── PredictionError               pictures that are not there  (LookupError)
    ├── EdgeError
    │   ├── BundleError               a bundle that does not hold what it promises
    │   ├── RecipeError               a Greengrass recipe          (ValueError)
    │   ├── ComponentVersionFailedError
    │   ├── ComponentVersionTakenError
    │   ├── ForeignComponentError     somebody else's
    │   ├── DeviceNotFoundError                                    (LookupError)
    │   ├── FramesNotFoundError       no device kept any there     (LookupError)
    │   ├── RevisionNotFoundError     nothing to go back to        (LookupError)
    │   ├── DeploymentChangedError    by somebody else meanwhile
    │   ├── DeploymentConflictError   two versions on one device
    │   ├── SecondClassifierError     beside one that is there
    │   └── DeploymentEndedError      failed, or not done in time
    ├── EngineError                   our own Ground Truth
    │   ├── StoreError                its database; nothing was written
    │   │   ├── DatabaseInUseError    by another process
    │   │   ├── DatabaseVersionError  made by another gtlabel
    │   │   ├── DatabaseFullError
    │   │   ├── DatabaseReadOnlyError
    │   │   ├── DatabaseUnavailableError
    │   │   └── LeadLostError         another process moves the jobs on
    │   ├── GoldError                 known pictures of unknown classes
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

from gtlabel.errors.data import (
    AnswerFileError,
    ArchiveError,
    BucketNotFoundError,
    ClassListError,
    ConsensusError,
    DatasetError,
    DatasetInUseError,
    ImageError,
    LearningError,
    ManifestError,
    ManifestLineError,
    MissingExtraError,
    MissingLabelError,
    NoImagesError,
    NothingNewError,
    ObjectArchivedError,
    ObjectChangedError,
    ObjectNotFoundError,
    PictureChangedError,
    PolicyError,
    RequestError,
    SettingsError,
    StorageDeniedError,
    StorageError,
    TemplateError,
    UriError,
    VocabularyError,
)
from gtlabel.errors.emulator import (
    EmulatorError,
    EmulatorNotReadyError,
    MotoContractError,
    PortInUseError,
    StateInUseError,
)
from gtlabel.errors.engine import (
    AnswerError,
    DatabaseFullError,
    DatabaseInUseError,
    DatabaseReadOnlyError,
    DatabaseUnavailableError,
    DatabaseVersionError,
    EngineError,
    EntryError,
    ForeignRequestError,
    FunctionError,
    FunctionNotFoundError,
    GoldError,
    InviteError,
    LeadLostError,
    LeaseError,
    NotSignedInError,
    NotTheOwnerError,
    StoreError,
    TooManyTriesError,
    WorkerDeactivatedError,
    WorkerError,
    WorkerNameTakenError,
    WorkerNotAdmittedError,
    WorkerNotFoundError,
)
from gtlabel.errors.labeling import (
    JobEndedError,
    JobNameClaimedError,
    JobNameTakenError,
    JobNotFoundError,
    LabelingJobError,
    NotificationError,
    PreflightError,
    RedundancyError,
    StreamError,
    TeamNotFoundError,
    WorkforceError,
)
from gtlabel.errors.models import (
    ArtifactError,
    BundleError,
    ChannelError,
    ComponentVersionFailedError,
    ComponentVersionTakenError,
    ConversionError,
    DeploymentChangedError,
    DeploymentConflictError,
    DeploymentEndedError,
    DeviceNotFoundError,
    EdgeError,
    EvaluationError,
    ForeignComponentError,
    FramesNotFoundError,
    PredictionError,
    QuantizationError,
    RecipeError,
    RecordIOError,
    RevisionNotFoundError,
    SecondClassifierError,
    TrainingDataError,
    TrainingEndedError,
    TrainingError,
    TrainingGoesOnError,
    TrainingJobNameTakenError,
    TrainingJobNotFoundError,
    TrainingRegionError,
    TrialEndedError,
)
from gtlabel.errors.root import (
    GtlabelError,
)

__all__ = [
    "AnswerError",
    "AnswerFileError",
    "ArchiveError",
    "ArtifactError",
    "BucketNotFoundError",
    "BundleError",
    "ChannelError",
    "ClassListError",
    "ComponentVersionFailedError",
    "ComponentVersionTakenError",
    "ConsensusError",
    "ConversionError",
    "DatabaseFullError",
    "DatabaseInUseError",
    "DatabaseReadOnlyError",
    "DatabaseUnavailableError",
    "DatabaseVersionError",
    "DatasetError",
    "DatasetInUseError",
    "DeploymentChangedError",
    "DeploymentConflictError",
    "DeploymentEndedError",
    "DeviceNotFoundError",
    "EdgeError",
    "EmulatorError",
    "EmulatorNotReadyError",
    "EngineError",
    "EntryError",
    "EvaluationError",
    "ForeignComponentError",
    "ForeignRequestError",
    "FramesNotFoundError",
    "FunctionError",
    "FunctionNotFoundError",
    "GoldError",
    "GtlabelError",
    "ImageError",
    "InviteError",
    "JobEndedError",
    "JobNameClaimedError",
    "JobNameTakenError",
    "JobNotFoundError",
    "LabelingJobError",
    "LeadLostError",
    "LearningError",
    "LeaseError",
    "ManifestError",
    "ManifestLineError",
    "MissingExtraError",
    "MissingLabelError",
    "MotoContractError",
    "NoImagesError",
    "NotSignedInError",
    "NotTheOwnerError",
    "NothingNewError",
    "NotificationError",
    "ObjectArchivedError",
    "ObjectChangedError",
    "ObjectNotFoundError",
    "PictureChangedError",
    "PolicyError",
    "PortInUseError",
    "PredictionError",
    "PreflightError",
    "QuantizationError",
    "RecipeError",
    "RecordIOError",
    "RedundancyError",
    "RequestError",
    "RevisionNotFoundError",
    "SecondClassifierError",
    "SettingsError",
    "StateInUseError",
    "StorageDeniedError",
    "StorageError",
    "StoreError",
    "StreamError",
    "TeamNotFoundError",
    "TemplateError",
    "TooManyTriesError",
    "TrainingDataError",
    "TrainingEndedError",
    "TrainingError",
    "TrainingGoesOnError",
    "TrainingJobNameTakenError",
    "TrainingJobNotFoundError",
    "TrainingRegionError",
    "TrialEndedError",
    "UriError",
    "VocabularyError",
    "WorkerDeactivatedError",
    "WorkerError",
    "WorkerNameTakenError",
    "WorkerNotAdmittedError",
    "WorkerNotFoundError",
    "WorkforceError",
]
