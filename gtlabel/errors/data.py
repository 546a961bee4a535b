"""Errors about addresses, files in S3, pictures, manifests and requests."""

from __future__ import annotations

from gtlabel.errors.root import GtlabelError


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


class LearningError(GtlabelError, ValueError):
    """Numbers that a machine cannot learn from."""


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


class ObjectChangedError(StorageError):
    """The object is not the one that was asked for any more."""

    def __init__(self, uri: str) -> None:
        super().__init__(f"{uri} was changed by somebody else meanwhile")
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


class VocabularyError(ClassListError):
    """A file of renamed and removed classes that cannot be used."""


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


class AnswerFileError(ManifestError, ValueError):
    """A file of what workers said, or of what was settled on, that is none."""

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(f"{where}: {reason}")
        self.where = where
        self.reason = reason


class ConsensusError(GtlabelError, ValueError):
    """Answers that no label can be made of, or a way to make one that we do not know."""


class DatasetError(GtlabelError):
    """Labels that do not make a dataset."""


class PictureChangedError(DatasetError):
    """A picture that is not any more what it was when it was listed."""

    def __init__(self, uri: str, what: str = "changed") -> None:
        super().__init__(
            f"{uri} was {what} after it was listed; nothing was published, and running the same command "
            "again takes the pictures as they are now"
        )
        self.uri = uri


class DatasetInUseError(DatasetError):
    """Another run writes the same dataset."""

    def __init__(self, uri: str, owner: str, since: str) -> None:
        super().__init__(
            f"{uri} is being written by {owner}, since {since}; wait until it is done, and if that run is "
            "dead for certain, take over with --break-lock"
        )
        self.uri = uri
        self.owner = owner


class ArchiveError(DatasetError):
    """An archive that is hostile, damaged, or of a kind that is not read; nothing of it was used."""

    def __init__(self, archive: str, reason: str, member: str | None = None) -> None:
        super().__init__(f"{archive}: {f'the member {member!r} ' if member is not None else ''}{reason}")
        self.archive = archive
        self.reason = reason
        self.member = member


class RequestError(GtlabelError, ValueError):
    """A request that the service would refuse, found before it was sent.

    Attributes:
        problems: one sentence for each field that is wrong.
    """

    def __init__(self, operation: str, problems: list[str]) -> None:
        super().__init__(f"{operation} would be refused: " + "; ".join(problems))
        self.operation = operation
        self.problems = problems
