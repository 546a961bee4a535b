"""The people of `gtlabel serve`, as Ground Truth looks at them: a workforce with a provider of one's own.

Work teams ask for groups by `OidcMemberDefinition`, as they do on AWS for workforces that are not Cognito's,
and whoever is in one of them may answer (contract/ground-truth.md 3.5). The provider is the server itself.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from gtlabel.emulator.api import ApiError, Context
from gtlabel.emulator.people import SEEDED_TEAM
from gtlabel.emulator.shelf import Shelf
from gtlabel.emulator.teambook import TeamBook, arn_of
from gtlabel.engine.crew import Crew
from gtlabel.engine.jobs import Job
from gtlabel.engine.output import Identity

_log = logging.getLogger(__name__)

_CLIENT = "gtlabel"
_ISSUER_SECONDS = 1.0


class Staff:
    """Who may answer which job, and under which name.

    Args:
        crew: who there is.
        shelf: where the teams are kept.
        issuer: what the server is called in worker responses. The first one is kept in the workforce.
        ticks: seconds that only go forward.
    """

    def __init__(
        self, crew: Crew, shelf: Shelf, issuer: str, *, ticks: Callable[[], float] = time.monotonic
    ) -> None:
        self._crew = crew
        self._shelf = shelf
        self._issuer = issuer
        self._teams = TeamBook(shelf, ticks)
        self._ticks = ticks
        # The issuer that each account's workforce has, and when that was read.
        self._issuers: dict[Context, tuple[float, str]] = {}

    def admits(self, job: Job, worker: str) -> str | None:
        """Why a worker may not answer a job, or None if they may; it costs microseconds.

        What changed is known within about a second.

        Args:
            job: the job.
            worker: the `sub` of somebody.
        """
        team = self._teams.of(job)
        if team is None:
            return f"the work team {arn_of(job)!r} that the job asks is not there any more"
        members = (member.get("OidcMemberDefinition", {}) for member in team["MemberDefinitions"])
        return self._crew.refusal(worker, [group for member in members for group in member.get("Groups", ())])

    def identify(self, job: Job, worker: str) -> Identity:
        """What worker responses say of whom the board knows by their `sub`."""
        context = Context(job.key.account, job.key.region)
        read, issuer = self._issuers.get(context, (-_ISSUER_SECONDS, ""))
        # It is asked for every answer of a batch.
        if self._ticks() - read >= _ISSUER_SECONDS:
            workforces = self._shelf.all(context, "workforce")
            kept = workforces[0].get("OidcConfig", {}).get("Issuer") if workforces else None
            issuer = str(kept or self._issuer)
            self._issuers[context] = self._ticks(), issuer
        return Identity(worker, issuer, "Oidc")

    def first(self, context: Context) -> tuple[dict[str, Any], dict[str, Any]]:
        """How people sign in to the workforce that an account starts with, and who is in its team."""
        del context
        return (
            {"OidcConfig": {"ClientId": _CLIENT, "Issuer": self._issuer}},
            {"OidcMemberDefinition": {"Groups": [SEEDED_TEAM]}},
        )

    def check_client(self, context: Context, pool: str, client: str) -> None:
        """Refuse a user pool, whatever it is.

        Raises:
            ApiError: always; it says what to give in its place.
        """
        del context, client
        raise ApiError(
            "ValidationException",
            f"This server has no Cognito, and so no user pool '{pool}'. Make the team of groups of workers: "
            '"MemberDefinitions": [{"OidcMemberDefinition": {"Groups": ["GROUP"]}}], and put people into '
            "them with `gtlabel serve worker add NAME --group GROUP`.",
        )

    def check_member(self, context: Context, member: dict[str, Any]) -> None:
        """Look who a team names, and say in the log which groups nobody is in yet.

        Raises:
            ApiError: if it names a user pool.
        """
        cognito = member.get("CognitoMemberDefinition")
        if cognito:
            self.check_client(context, cognito["UserPool"], cognito["ClientId"])
        known = {group for worker in self._crew.workers() for group in worker.groups}
        for group in member.get("OidcMemberDefinition", {}).get("Groups", ()):
            if group not in known:
                _log.warning(
                    "nobody is in the group %r yet; `gtlabel serve worker add NAME --group %s`", group, group
                )
