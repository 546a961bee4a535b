"""AWS's wire formats JSON 1.1 and REST-JSON, spoken from botocore's service models.

A `Wire` turns an HTTP request into the parameters that boto3 was given, calls an operation, and turns what
comes back, a result or an `ApiError`, into an HTTP answer. It knows no server.

https://smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html and aws-restjson1-protocol.html.
"""

from __future__ import annotations

import json
import logging
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from gtlabel.awsmodel import check_request, check_result, refusal, service_model
from gtlabel.emulator.api import ApiError, Context, Operations
from gtlabel.emulator.codec import from_text, given, parse, render

_log = logging.getLogger(__name__)

# botocore's shapes are one class to a type checker and several at run time.
_Shape = Any


class PassOn(Exception):  # noqa: N818 - it reports no error
    """An operation's word that the request is not for it; whoever stands behind it may know better."""


class ResultError(Exception):
    """An operation returned what its model does not know. That is a mistake of ours, never the caller's."""


@dataclass(frozen=True, slots=True)
class Request:
    """An HTTP request.

    Attributes:
        url: with the path as it was sent, not yet percent-decoded.
        headers: by lower-case name.
    """

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes = b""

    @classmethod
    def of(cls, method: str, url: str, headers: Mapping[Any, Any], body: bytes) -> Request:
        """A request whose header names and values may be text or bytes, in any case."""
        return cls(method, url, {_text(name).lower(): _text(value) for name, value in headers.items()}, body)


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes


def context_of(request: Request) -> Context:
    """The account and region a request was signed for; the usual ones when it was not signed."""
    scope = re.search(r"Credential=[^/]+/\d+/([^/]+)/", request.headers.get("authorization", ""))
    return Context(region=scope[1]) if scope else Context()


class Wire:
    """One service on the wire.

    Args:
        service: the name of the boto3 client, such as `sagemaker` or `greengrassv2`.
        strict: whether a result that its model does not know raises `ResultError`, as it should in a test,
            or is logged and sent without the unknown part, as a server that people use should do.
    """

    def __init__(self, service: str, *, strict: bool = True) -> None:
        self.service = service
        self.strict = strict
        self._model = service_model(service)
        self._rest = self._model.metadata["protocol"] == "rest-json"

    def operation(self, request: Request) -> str | None:
        """The name of the operation that a request asks for, if it is one of this service's."""
        if self._rest:
            found = self._route(request)
            return found[0] if found else None
        name = request.headers.get("x-amz-target", "").rpartition(".")[2]
        return name if name in self._model.operation_names else None

    def answer(self, request: Request, operations: Operations) -> Reply | None:
        """Have an operation answer a request; None when it is not among them, or passes the request on."""
        name = self.operation(request)
        call = operations.get(name) if name else None
        if name is None or call is None:
            return None
        try:
            params = self.params(name, request)
            problems = check_request(self.service, name, params)
            if problems:
                raise ApiError("ValidationException", refusal(problems))
            result = call(context_of(request), params)
        except ApiError as error:
            return self.refuse(error)
        except PassOn:
            return None
        return self.reply(name, result)

    def params(self, operation: str, request: Request) -> dict[str, Any]:
        """The parameters of a request, spelled as boto3 spells them.

        Raises:
            ApiError: `SerializationException` when the body is not JSON or a value is of the wrong kind.
        """
        shape = self._model.operation_model(operation).input_shape
        if shape is None:
            return {}
        body = _json_of(request.body)
        if not self._rest:
            return dict(parse(shape, body, "epoch", ""))
        found = self._route(request)
        labels = found[1] if found else {}
        query = parse_qs(urlsplit(request.url).query, keep_blank_values=True)
        params = {}
        for name, member in shape.members.items():
            value = _located(member, name, labels, query, request.headers, body)
            if value is not None:
                params[name] = value
        return params

    def reply(self, operation: str, result: Mapping[str, Any] | None) -> Reply:
        """A result on the wire.

        Raises:
            ResultError: if the model does not know the result's members or types, and this wire is strict.
        """
        result = result or {}
        problems = check_result(self.service, operation, result)
        if problems:
            sentence = f"the result of {operation} does not fit its model: {'; '.join(problems)}"
            if self.strict:
                raise ResultError(sentence)
            _log.error(sentence)
        model = self._model.operation_model(operation)
        status = int(model.http.get("responseCode", 200)) if self._rest else 200
        if model.output_shape is None:
            return self._send(status, {}, None if self._rest else {})
        headers, body = _split(model.output_shape, result)
        return self._send(status, headers, body)

    def refuse(self, error: ApiError) -> Reply:
        """An error on the wire; the model's HTTP status counts where the error is in the model."""
        modelled = error.code in self._model.shape_names
        shape: _Shape = self._model.shape_for(error.code) if modelled else None
        known = shape.members if shape is not None else {}
        key = "Message" if "Message" in known else "message"
        body: dict[str, Any] = {"__type": error.code, key: error.message}
        headers = {"x-amzn-ErrorType": error.code}
        for name, value in error.details.items():
            member = known.get(name)
            if member is not None and member.serialization.get("location") == "header":
                headers[member.serialization["name"]] = str(value)
            else:
                body[name] = value if member is None else render(member, value, "epoch")
        status = shape.metadata.get("error", {}).get("httpStatusCode") if shape is not None else None
        return self._send(status or error.status, headers, body)

    def _send(self, status: int, headers: dict[str, str], body: Any) -> Reply:
        kind = "application/json" if self._rest else "application/x-amz-json-1.1"
        content = b"" if body is None or status == 204 else json.dumps(body).encode()
        return Reply(
            status, {"Content-Type": kind, "x-amzn-RequestId": str(uuid.uuid4()), **headers}, content
        )

    def _route(self, request: Request) -> tuple[str, dict[str, str]] | None:
        path = urlsplit(request.url).path
        for method, pattern, name in _routes(self.service):
            hit = pattern.fullmatch(path)
            if hit and method == request.method:
                return name, {label: unquote(value) for label, value in hit.groupdict().items()}
        return None


def paths(service: str) -> list[str]:
    """The URL patterns of a REST service, each once, the most particular first."""
    return list(dict.fromkeys(pattern.pattern for _, pattern, _ in _routes(service)))


@lru_cache
def _routes(service: str) -> list[tuple[str, re.Pattern[str], str]]:
    model = service_model(service)
    rows = []
    for name in model.operation_names:
        http = model.operation_model(name).http
        path = http["requestUri"].split("?")[0]
        parts = re.split(r"(\{\w+\+?\})", path)
        pattern = "".join(_label(part) if part.startswith("{") else re.escape(part) for part in parts)
        # Text weighs more than labels: /components/{arn}/metadata before /components/{arn}.
        weight = sum(len(part) for part in parts if not part.startswith("{"))
        rows.append((-weight, http["method"], re.compile(pattern + "/?"), name))
    return [row[1:] for row in sorted(rows, key=lambda row: (row[0], row[3]))]


def _label(part: str) -> str:
    name = part.strip("{}")
    return f"(?P<{name[:-1]}>.+)" if name.endswith("+") else f"(?P<{name}>[^/]+)"


def _json_of(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body or b"{}")
    except ValueError as error:
        raise ApiError("SerializationException", f"the body is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ApiError("SerializationException", "the body is not a JSON object")
    return value


def _located(
    member: _Shape,
    name: str,
    labels: Mapping[str, str],
    query: Mapping[str, list[str]],
    headers: Mapping[str, str],
    body: Mapping[str, Any],
) -> Any:
    """One member of a REST request, from wherever the model says it travels."""
    wire = member.serialization.get("name", name)
    match member.serialization.get("location"):
        case "uri":
            return from_text(member, labels[wire], "iso8601", name) if wire in labels else None
        case "querystring" if wire in query:
            if member.type_name == "list":
                return [from_text(member.member, text, "iso8601", name) for text in query[wire]]
            return from_text(member, query[wire][0], "iso8601", name)
        case "header" if wire.lower() in headers:
            return from_text(member, headers[wire.lower()], "rfc822", name)
        case None if body.get(wire) is not None:
            return parse(member, body[wire], "epoch", name)
    return None


def _split(shape: _Shape, result: Mapping[str, Any]) -> tuple[dict[str, str], Any]:
    """The headers and the JSON body of a result."""
    headers = {}
    body = {}
    for name, wire, member in given(shape, result):
        if member.serialization.get("location") == "header":
            value = render(member, result[name], "rfc822")
            headers[wire] = str(value).lower() if isinstance(value, bool) else str(value)
        else:
            body[wire] = render(member, result[name], "epoch")
    return headers, body


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)
