"""All that `gtlabel serve` is made of, put together: board, operations, foreman and portal."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, cast

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from gtlabel.emulator import doorway, taskuis
from gtlabel.emulator.api import Context
from gtlabel.emulator.awsfront import AwsFirst, AwsFront
from gtlabel.emulator.clients import Clients
from gtlabel.emulator.environment import team_arn
from gtlabel.emulator.groundtruth import operations
from gtlabel.emulator.hosts import LOOPBACK_NAMES, Guard
from gtlabel.emulator.rounds import Rounds
from gtlabel.emulator.secret import portal_secret
from gtlabel.emulator.service import Ready
from gtlabel.emulator.shelf import Shelf
from gtlabel.emulator.sigv4 import SignatureCheck
from gtlabel.emulator.staff import Staff
from gtlabel.emulator.streaming import Streams
from gtlabel.emulator.taskuis import TaskUis
from gtlabel.emulator.uploads import Uploads
from gtlabel.engine.board import Board
from gtlabel.engine.crew import Crew
from gtlabel.engine.doorkeeper import Doorkeeper
from gtlabel.engine.foreman import Foreman
from gtlabel.engine.functions import Functions
from gtlabel.engine.membership import call_back
from gtlabel.engine.store import Store
from gtlabel.portal.app import pages, portal

if TYPE_CHECKING:
    from starlette.types import ASGIApp
    from types_boto3_s3 import S3Client

    from gtlabel.emulator.service import Service

# The largest answer of a worker is far below it, and so is the largest request to create a job.
_LARGEST_BODY = 4 << 20
# How long a queue without messages is left alone: each look is a request that AWS counts.
_QUIET_SECONDS = 1.0


class Workshop:
    """Everything behind one address.

    Args:
        service: how it is to be run.
        url: where it answers.
        database: the SQLAlchemy URL of where it keeps everything.
        closing: set when it is to end; what streams ends then.

    Attributes:
        environ: what points boto3, the aws command line and gtlabel to it.
        app: answers what is asked there.

    Raises:
        EmulatorError: if S3 would be the server itself, or nobody could ever sign a request.
        StoreError: if the database cannot be used.
    """

    def __init__(self, service: Service, url: str, database: str, closing: threading.Event) -> None:
        known_as = service.public_url or url
        clients = Clients(service.profile, service.region)
        clients.must_not_lead_to(url, service.hostnames)
        context = Context(service.account, clients.region)
        check = None
        if service.open_to_others:
            check = SignatureCheck(clients.keys(service.client_profiles), context.region).check
        self._functions = Functions(
            service.functions,
            seconds=service.function_seconds,
            environ={
                "AWS_DEFAULT_REGION": context.region,
                **({"AWS_PROFILE": service.profile} if service.profile else {}),
            },
        )
        self._functions.check()
        self._store = Store(database)
        self._shelf = Shelf(database)
        self._crew = crew = Crew(self._store)
        self._known_as = known_as
        # AWS's model wants an issuer to be https.
        staff = Staff(crew, self._shelf, known_as.replace("http:", "https:"))
        self._board = Board(self._store, admits=staff.admits)
        # AWS signs the URLs of templates; ours are not, so nobody elsewhere is given any.
        address = "" if service.open_to_others else known_as
        uis = TaskUis(self._shelf, lambda _: clients.aws().s3, self._board.clock, address=address)
        labeling = operations(self._board, self._shelf, staff, uis, self._functions)
        self._streams = Streams(
            self._board, lambda _: clients.aws("sns", "sqs"), pause=_QUIET_SECONDS, forgetful=False
        )
        self._uploads = Uploads(lambda: clients.aws().s3, service.profile, context.region)
        self._foreman = Foreman(
            self._board,
            lambda _: cast("S3Client", self._uploads),
            prepare=self._streams.prepare,
            identify=staff.identify,
            functions=self._functions,
            inspect=uis.inspect,
        )
        self._rounds = Rounds(self._board.news, self._store.leading, self._turn)

        async def human_task_ui(request: Request) -> JSONResponse:
            status, said = await asyncio.to_thread(taskuis.handle, uis, request.path_params["rest"])
            return JSONResponse(said, status)

        templates = Route("/gtlabel/human-task-ui/{rest:path}", human_task_ui, methods=["GET"])
        shown = pages(
            self._board,
            crew,
            portal_secret(self._shelf),
            lambda _: clients.aws().s3,
            staff.admits,
            secure=service.behind_proxy or service.tls_cert is not None,
            behind_proxy=service.behind_proxy,
            asset_hosts=service.asset_hosts,
            closing=closing,
        )
        others = portal(
            self._board,
            Doorkeeper(crew),
            (context.account, context.region),
            also=[*([templates] if address else []), *shown],
            behind_proxy=service.behind_proxy,
        )
        app = AwsFirst(AwsFront(labeling, context, check), others)
        self.app: ASGIApp = Guard(app, [*service.hostnames, service.host, *LOOPBACK_NAMES], _LARGEST_BODY)
        self.environ = {
            "AWS_ENDPOINT_URL_SAGEMAKER": known_as,
            "AWS_DEFAULT_REGION": context.region,
            "GTLABEL_TEAM": team_arn(context),
        }

    def open(self) -> None:
        """Begin to move jobs on."""
        doorway.remember(self._shelf, self._known_as)
        self._rounds.start()

    def ready(self, url: str) -> Ready:
        """What whoever started it must know; the first time of all, what lets them in."""
        invite = doorway.first_invite(self._crew)
        return Ready(
            url,
            self.environ,
            self._known_as,
            doorway.owner_of(self._crew),
            invite and doorway.link(self._known_as, invite),
        )

    def close(self) -> None:
        """Stop moving jobs on, and let go of the database."""
        self._rounds.end()
        self._functions.close()
        self._foreman.close()
        self._uploads.close()
        self._shelf.close()
        self._store.close()

    def _turn(self) -> None:
        call_back(self._board)
        while any([self._streams.turn(), self._foreman.turn()]):
            pass
