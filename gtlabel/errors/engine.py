"""Errors of our own Ground Truth and of the people who work there."""

from __future__ import annotations

from gtlabel.errors.root import GtlabelError


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


class LeadLostError(StoreError):
    """Another process moves the jobs on now; it does what this one was about to do."""

    def __init__(self, database: str) -> None:
        super().__init__(database, "is led by another process, so nothing was stored")


class GoldError(EngineError):
    """A manifest of known pictures that does not say what they are."""


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
