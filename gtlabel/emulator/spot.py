"""Spot machines in a test: taken away when the test says so."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus

from gtlabel.emulator.actors import Account
from gtlabel.errors import EmulatorError


class Spot:
    """The spot machines of the test's account; the fixture `gtlabel_spot`.

    Args:
        account: gives the account of the test.
    """

    def __init__(self, account: Callable[[], Account]) -> None:
        self._account = account

    def interrupt(self, job: str, *, seconds: float = 0, region: str = "us-east-1") -> None:
        """Take away the machine of a training job with managed spot training.

        Its program gets SIGTERM. The job goes on from its checkpoints when there is another machine.

        Args:
            job: the job's name.
            seconds: how long there is none.
            region: where the job is.

        Raises:
            EmulatorError: if no such job runs on a spot machine.
        """
        body = {"interrupt": job, "seconds": seconds, "region": region}
        status, answer = self._account().ask("training", body)
        if status != HTTPStatus.OK:
            raise EmulatorError(str(answer.get("error")))
