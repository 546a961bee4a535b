"""The emulator put together: one account whose labeling, training and devices are of this machine."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from gtlabel.emulator import greengrass, groundtruth, logs, stacks, training
from gtlabel.emulator.api import Context, Operation, Operations
from gtlabel.emulator.clock import Clock
from gtlabel.emulator.environment import session
from gtlabel.emulator.errands import Put, errands
from gtlabel.emulator.events import announce
from gtlabel.emulator.executor import Executor
from gtlabel.emulator.people import People
from gtlabel.emulator.protocol import PassOn
from gtlabel.emulator.shelf import Shelf
from gtlabel.emulator.streaming import Streams
from gtlabel.emulator.taskuis import TaskUis
from gtlabel.emulator.trainers import TRAINERS
from gtlabel.engine.board import Board
from gtlabel.engine.crew import Crew
from gtlabel.engine.foreman import Foreman
from gtlabel.engine.functions import Functions
from gtlabel.engine.membership import call_back
from gtlabel.engine.store import Store

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

    from gtlabel.aws import Aws
    from gtlabel.emulator.portal import Portal
    from gtlabel.engine.jobs import JobKey

_QUIET_SECONDS = 0.2
_TAG_OPERATIONS = ("AddTags", "ListTags", "DeleteTags")


class Emulator:
    """Ground Truth's engine, a trainer and Greengrass V2 as operations on one state.

    Args:
        state: the folder that everything survives in; without one, all of it is gone after `close`.
        endpoint_url: the address where S3 and the rest answer. Without one, whatever boto3 finds, which
            is moto in process.
        driven: whether each request first does what is due and does again what it made due, so that no
            thread is needed for labeling jobs.
        functions: the functions of custom workflows.
        trainers: the program for each training image, by its repository, besides and in place of the
            usual ones.

    Attributes:
        put: writes an object into S3 where that is this process, and labeling jobs need not ask for it.
        portal: the pages on which people label, where there are any.
    """

    def __init__(
        self,
        state: Path | None = None,
        *,
        endpoint_url: str | None = None,
        driven: bool = False,
        functions: Functions | None = None,
        trainers: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self.endpoint_url = endpoint_url
        self._driven = driven
        self._lock = threading.RLock()
        self._turning = threading.Lock()
        self._clients: dict[Context, Aws] = {}
        self.put: Put | None = None
        self.portal: Portal | None = None
        self.functions = functions or Functions()
        self._temporary = TemporaryDirectory(prefix="gtlabel-") if state is None else None
        self.root = Path(self._temporary.name) if self._temporary else Path(state or "")
        self.shelf = Shelf(None if state is None else self.root / "shelf.sqlite")
        self.store = Store("sqlite://" if state is None else f"sqlite:///{self.root / 'engine.sqlite'}")
        self.clock = Clock()
        self.people = People(self.shelf, lambda context: self.aws(context, "cognito_idp"))
        self.board = Board(self.store, clock=self.clock, admits=self.people.admits)
        self.streams = Streams(
            self.board,
            lambda context: self.aws(context, "sns", "sqs"),
            # With a thread that looks again by itself, every answer of a worker need not look too.
            pause=0 if driven else _QUIET_SECONDS,
        )
        self.uis = TaskUis(
            self.shelf, lambda context: self.aws(context).s3, self.clock, address=endpoint_url or ""
        )
        self.foreman = Foreman(
            self.board,
            self._files_of,
            lambda job: announce(job, aside=not driven),
            self.streams.prepare,
            self.people.identify,
            functions=self.functions,
            inspect=self.uis.inspect,
        )
        self.executor = Executor(
            self.aws,
            self.root / "training",
            self.shelf,
            clock=self.clock,
            trainers={**TRAINERS, **(trainers or {})},
        )
        self.executor.recover()
        stacks.install(self.aws)
        self._operations = self._assembled()

    @cached_property
    def crew(self) -> Crew:
        """Who was invited into the portal; until somebody asks, nobody pays for the tables."""
        crew = Crew(self.store)
        self.people.invited = crew
        return crew

    def _files_of(self, key: JobKey) -> S3Client:
        """The client that a labeling job reads and writes with."""
        context = Context(key.account, key.region)
        client = self.aws(context).s3
        return errands(client, context, self.put) if self.put else client

    def aws(self, context: Context, *needed: str) -> Aws:
        """The clients of an account and region, for the emulator's own errands.

        Args:
            context: the account and region.
            needed: which clients are asked for, besides those for S3 and logs.
        """
        from gtlabel.aws import Aws

        with self._lock:
            if context not in self._clients:
                clients = Aws(session(context.region), self.endpoint_url, region=context.region)
                # A session may not make two clients at once, so those that threads share are made here.
                _ = clients.s3, clients.logs
                self._clients[context] = clients
            for name in needed:
                getattr(self._clients[context], name)
            return self._clients[context]

    def operations(self, service: str) -> Operations:
        """The operations of a service, by the name of its boto3 client; empty when it has none here."""
        return self._operations.get(service, {})

    def turn(self, *, wait: bool = False) -> None:
        """Do all that is due in labeling jobs.

        Args:
            wait: whether to wait while another thread is at it, or to leave it to that one.
        """
        if self._turning.acquire(blocking=wait):
            try:
                call_back(self.board)
                while any([self.streams.turn(), self.foreman.turn()]):
                    pass
            finally:
                self._turning.release()

    def reset(self) -> None:
        """Empty the account."""
        with self._turning:
            self.executor.reset()
            self.streams.reset()
            self.foreman.forget()
            self.people.reset()
            self.shelf.clear()
            self.store.clear()
            self.crew.clear()
            if self.portal:
                self.portal.renew()
            self.clock.reset()

    def close(self) -> None:
        """End what runs and let go of the state."""
        with self._turning:
            self.executor.close()
            self.functions.close()
            self.foreman.close()
            self.shelf.close()
            self.store.close()
            if self._temporary:
                self._temporary.cleanup()

    def _assembled(self) -> dict[str, Operations]:
        labeling = groundtruth.operations(self.board, self.shelf, self.people, self.uis, self.functions)
        trainings = training.operations(self.executor, self.shelf)
        tags = {
            name: _by_resource(
                name,
                dict.fromkeys(groundtruth.TAGGED_RESOURCES, labeling)
                | dict.fromkeys(training.TAGGED_RESOURCES, trainings),
            )
            for name in _TAG_OPERATIONS
        }
        services = {
            "sagemaker": {**labeling, **trainings, **tags},
            "logs": logs.operations(),
            "greengrassv2": greengrass.operations(
                self.shelf, lambda context: self.aws(context).s3, clock=self.clock
            ),
        }
        return {
            service: {name: self._prepared(operation) for name, operation in operations.items()}
            for service, operations in services.items()
        }

    def _prepared(self, operation: Operation) -> Operation:
        if not self._driven:
            return operation

        def driven(context: Context, params: dict[str, Any]) -> dict[str, Any]:
            self.turn()
            result = operation(context, params)
            self.turn()
            return result

        return driven


def _by_resource(name: str, owners: Mapping[str, Operations]) -> Operation:
    """A tag operation that asks whose resource an ARN names; other resources are moto's."""

    def call(context: Context, params: dict[str, Any]) -> dict[str, Any]:
        kind = params["ResourceArn"].split(":", 5)[-1].partition("/")[0]
        operation: Callable[..., dict[str, Any]] | None = owners.get(kind, {}).get(name)
        if operation is None:
            raise PassOn
        return operation(context, params)

    return call
