"""AWS's protocol on `POST /` of a server that answers for labeling alone, and what it says to all else."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable
from xml.sax.saxutils import escape

from sqlalchemy.exc import DBAPIError
from starlette.types import ASGIApp, Receive, Scope, Send

from gtlabel.emulator.api import ApiError, Context, Operations
from gtlabel.emulator.protocol import Reply, Request, Wire
from gtlabel.errors import StoreError
from gtlabel.portal.app import read_body

_log = logging.getLogger(__name__)

_HERE = "`gtlabel serve` answers SageMaker's labeling operations only"


class AwsFront:
    """An ASGI application that answers the labeling operations of SageMaker.

    Args:
        operations: the operations.
        context: the account and the region that it answers for.
        check: raises an ApiError for a request that may not pass.
    """

    def __init__(
        self, operations: Operations, context: Context, check: Callable[[Request], None] | None
    ) -> None:
        self._operations = {
            # Whatever region an unsigned request names, there is but one here.
            name: lambda _, params, call=call: call(context, params)
            for name, call in operations.items()
        }
        self._check = check
        self._wire = Wire("sagemaker", strict=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        body = await read_body(receive)
        if body is None:
            return
        path = scope.get("raw_path", scope["path"].encode()).decode("latin-1")
        query = scope["query_string"].decode("latin-1")
        url = f"{path}?{query}" if query else path
        request = Request.of(scope["method"], url, dict(scope["headers"]), body)
        # Operations wait for the database and for S3.
        reply = await asyncio.to_thread(self.answer, request)
        headers = {**reply.headers, "Content-Length": str(len(reply.body))}
        encoded = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": reply.status, "headers": encoded})
        await send({"type": "http.response.body", "body": reply.body})

    def answer(self, request: Request) -> Reply:
        """Answer one request."""
        name = request.headers.get("x-amz-target") or f"{request.method} {request.url.partition('?')[0]}"
        try:
            if self._check is not None:
                self._check(request)
            asked = request.method == "POST" and request.url == "/"
            return (self._wire.answer(request, self._operations) if asked else None) or stranger(request)
        except ApiError as error:
            return self._wire.refuse(error)
        except StoreError as error:
            _log.error("%s: %s", name, error)
            return self._wire.refuse(ApiError("ServiceUnavailable", str(error), 503))
        except DBAPIError as error:
            sentence = f"the database does not work ({error.orig}), so nothing was stored; try again"
            _log.error("%s: %s", name, sentence)
            return self._wire.refuse(ApiError("ServiceUnavailable", sentence, 503))
        except Exception as error:
            # The boundary of the server: whatever goes wrong inside is logged, and the client is told.
            logging.exception("%s", name)
            sentence = f"{name} failed inside: {type(error).__name__}: {error}"
            return self._wire.refuse(ApiError("InternalFailure", sentence, 500))


class AwsFirst:
    """Hands what an AWS client sends to one application, wherever it sends it, and the rest to another.

    Args:
        aws: for AWS clients.
        others: for people and their browsers.
    """

    def __init__(self, aws: ASGIApp, others: ASGIApp) -> None:
        self._aws = aws
        self._others = others

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request on."""
        app = self._aws if scope["type"] == "http" and _is_aws(scope) else self._others
        await app(scope, receive, send)


def stranger(request: Request) -> Reply:
    """What to say to a request for something else, in the protocol that its client understands."""
    target = request.headers.get("x-amz-target", "")
    service = _service(request)
    if service in (None, "sagemaker"):
        asked = target.rpartition(".")[2] or f"{request.method} {request.url.partition('?')[0]}"
        return Wire("sagemaker", strict=False).refuse(
            ApiError(
                "UnknownOperationException",
                f"{_HERE}, and {asked} is none of them or not for a labeling resource; for AWS itself unset "
                "AWS_ENDPOINT_URL_SAGEMAKER, for everything on this machine use `gtlabel local up`.",
                501,
            )
        )
    sentence = (
        f"{_HERE}, and this request is for {service}; point only AWS_ENDPOINT_URL_SAGEMAKER to it, "
        "not AWS_ENDPOINT_URL."
    )
    if target:
        return Wire("sagemaker", strict=False).refuse(ApiError("NotImplemented", sentence, 501))
    code = f"<Error><Code>NotImplemented</Code><Message>{escape(sentence)}</Message></Error>"
    body = code if service == "s3" else f"<ErrorResponse>{code}</ErrorResponse>"
    return Reply(501, {"Content-Type": "application/xml"}, f'<?xml version="1.0"?>{body}'.encode())


def _is_aws(scope: Scope) -> bool:
    for name, value in scope["headers"]:
        if name == b"x-amz-target" or (name == b"authorization" and value.startswith(b"AWS4-")):
            return True
    return b"X-Amz-Signature=" in scope["query_string"]


def _service(request: Request) -> str | None:
    scope = re.search(
        r"Credential=[^/]+/\d+/[^/]+/([^/]+)/aws4_request", request.headers.get("authorization", "")
    )
    return scope[1] if scope else None
