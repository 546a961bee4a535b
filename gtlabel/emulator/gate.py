"""Who may do what, in front of everything, once `POST /moto-api/reset-auth` has switched it on.

moto then has each of its services ask by itself who signed, and whether a policy allows the action. Here
that is asked for all of them, our own operations included, and with what moto leaves out: the resource of
each right, the conditions of each statement, the roles that are passed, the source of a copy. What is
refused, is refused in AWS's words; about what is not, moto is not asked again. Switched on or not, a request
that only its signature could tell from one to S3 needs one.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qs

from gtlabel.emulator import identities
from gtlabel.emulator.api import ApiError, Context
from gtlabel.emulator.moto import fault
from gtlabel.emulator.needs import needs_of, s3_needs
from gtlabel.emulator.permissions import Need, refusal
from gtlabel.emulator.protocol import Reply, Request, Wire, context_of

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]

# Services whose operations show in the path: the name by which they sign, and those of their clients.
_REST = {"greengrass": ("greengrassv2", "greengrass"), "iot": ("iot",), "lambda": ("lambda",)}
# What people call who want to log in.
_ANYBODY = ("InitiateAuth", "RespondToAuthChallenge", "SignUp", "ConfirmSignUp", "ForgotPassword")
# Services that take requests nobody signed, by what their targets begin with.
_OPEN_SERVICES = ("AWSCognitoIdentityProviderService", "AWSCognitoIdentityService")
_GREENGRASS = re.compile("/greengrass/(v2/.+|servicerole/?)")
# https://docs.aws.amazon.com/IAM/latest/APIReference/CommonErrors.html
_UNSIGNED = (
    "Missing Authentication Token: nobody signed the request; any key will do here, "
    'and eval "$(gtlabel local env)" gives every client one'
)
# https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html and
# https://docs.aws.amazon.com/sns/latest/api/API_Publish.html
_ODD_CODES = {
    ("s3", "InvalidClientTokenId"): "InvalidAccessKeyId",
    ("sns", "AccessDenied"): "AuthorizationError",
}
# A refusal has one name in services whose protocol is JSON, and others elsewhere.
_XML_SERVICES = ("s3", "iam", "sts", "sns", "ec2", "cloudformation", "monitoring")
_XML_CODES = {
    "AccessDeniedException": "AccessDenied",
    "UnrecognizedClientException": "InvalidClientTokenId",
    "InvalidSignatureException": "SignatureDoesNotMatch",
}
# What reads JSON.
_JSON_CLIENT = {"content-type": "application/json"}
_JSON_CODES = {there: here for here, there in _XML_CODES.items()}


class Gate:
    """A WSGI application that lets through what the caller may do.

    Args:
        inside: moto's application, with our operations behind it.
    """

    def __init__(self, inside: Application) -> None:
        self._inside = inside
        self._wires: dict[str, Wire] = {}

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        path = environ["PATH_INFO"]
        if path == "/moto-api/reset":
            # An empty account is one in which nobody has been given rights yet.
            identities.stop_enforcing()
        if path.startswith("/moto-api/"):
            return self._inside(environ, start_response)
        if _lacks_a_signature(environ):
            # JSON 1.1 has one status for whatever is the caller's; REST tells them apart.
            status = 400 if "HTTP_X_AMZ_TARGET" in environ else 403
            reply = fault(_JSON_CLIENT, status, "MissingAuthenticationTokenException", _UNSIGNED)
            return _written(start_response, reply, reply.body)
        if not identities.enforcing():
            return self._inside(environ, start_response)
        identities.seat_administrator(Context())
        request = _request_of(environ)
        try:
            self._check(request)
        except ApiError as error:
            return _send(start_response, request, _refused(request, error))
        return self._passed_on(request, environ, start_response)

    def _check(self, request: Request) -> None:
        """Raise an `ApiError` unless the caller has every right that the request takes."""
        identities.hold()
        if _is_for_anybody(request):
            identities.let_pass()
            return
        context = context_of(request)
        identity = identities.identify(request.headers, context)
        service = _service(request)
        # moto looks at no signature in an address, so neither does this.
        presigned = "Signature=" in request.url.partition("?")[2]
        if not presigned:
            identities.verify(service, request.method, request.url, request.headers, request.body, context)
        needs = self._needs(service, request, context)
        sentence = refusal(identity, needs)
        if sentence is not None:
            raise ApiError("AccessDenied", sentence, 403)
        identities.let_pass()

    def _needs(self, service: str, request: Request, context: Context) -> list[Need]:
        if service == "s3":
            return s3_needs(request.method, request.url, request.headers, request.body)
        target = request.headers.get("x-amz-target", "").rpartition(".")[2]
        if target:
            return needs_of(service, target, _json(request.body), context)
        if service in _REST:
            for name in _REST[service]:
                wire = self._wire(name)
                operation = wire.operation(request)
                if operation:
                    return needs_of(service, operation, wire.params(operation, request), context)
            return []
        form = {name: values[0] for name, values in parse_qs(request.body.decode("utf-8", "replace")).items()}
        return needs_of(service, form["Action"], form, context) if "Action" in form else []

    def _wire(self, name: str) -> Wire:
        if name not in self._wires:
            self._wires[name] = Wire(name)
        return self._wires[name]

    def _passed_on(
        self, request: Request, environ: Environ, start_response: StartResponse
    ) -> Iterable[bytes]:
        """The answer of whoever stands behind, unless it tells too much."""
        said: list[Any] = []
        body = self._inside(environ, lambda *words: said.extend(words))
        status = int(said[0].split(" ", 1)[0])
        if status == 404 and request.method in ("GET", "HEAD") and _service(request) == "s3":
            try:
                self._may_know_what_is_missing(request)
            except ApiError as error:
                return _send(start_response, request, _refused(request, error))
        start_response(*said)
        return body

    def _may_know_what_is_missing(self, request: Request) -> None:
        """S3 tells who may not list a bucket nothing of what is not in it.

        https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html, Permissions
        """
        bucket, _, key = request.url.partition("?")[0].lstrip("/").partition("/")
        if key:
            identity = identities.identify(request.headers, context_of(request))
            sentence = refusal(identity, [Need("s3:ListBucket", f"arn:aws:s3:::{bucket}")])
            if sentence is not None:
                raise ApiError("AccessDenied", sentence, 403)


def _request_of(environ: Environ) -> Request:
    """The request, whose body stays to be read."""
    headers = {
        name[5:].replace("_", "-").lower(): value
        for name, value in environ.items()
        if name.startswith("HTTP_")
    }
    headers["content-type"] = environ.get("CONTENT_TYPE", "")
    url = environ.get("RAW_URI") or environ["PATH_INFO"]
    query = parse_qs(url.partition("?")[2])
    # Whoever makes an address for somebody else lends their own rights, in either form of S3's signatures.
    if "X-Amz-Signature" in query and "X-Amz-Credential" in query:
        headers["authorization"] = f"AWS4-HMAC-SHA256 Credential={query['X-Amz-Credential'][0]},"
    elif "Signature" in query and "AWSAccessKeyId" in query:
        scope = f"{query['AWSAccessKeyId'][0]}/0/{Context().region}/s3/aws4_request"
        headers["authorization"] = f"AWS4-HMAC-SHA256 Credential={scope},"
    if "X-Amz-Security-Token" in query:
        headers["x-amz-security-token"] = query["X-Amz-Security-Token"][0]
    request = Request(environ["REQUEST_METHOD"], url, headers)
    # Objects may be large, and nothing in them says who may write them.
    if _service(request) == "s3" and "delete" not in parse_qs(url.partition("?")[2], keep_blank_values=True):
        return request
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    environ["wsgi.input"] = io.BytesIO(body)
    return Request(request.method, url, headers, body)


def _service(request: Request) -> str:
    """The name by which a request was signed."""
    return request.headers.get("authorization", "").partition("/aws4_request")[0].rpartition("/")[2]


def _lacks_a_signature(environ: Environ) -> bool:
    """Whether nobody signed a request that is not S3's, for which moto would take it.

    S3 posts nothing in JSON but what has a query, as the other half of an address that somebody signed.
    """
    query = (environ.get("RAW_URI") or "").partition("?")[2] or environ.get("QUERY_STRING", "")
    if environ.get("HTTP_AUTHORIZATION") or "Signature=" in query:
        return False
    if target := environ.get("HTTP_X_AMZ_TARGET"):
        return target.partition(".")[0] not in _OPEN_SERVICES
    posts_json = environ["REQUEST_METHOD"] == "POST" and "json" in environ.get("CONTENT_TYPE", "")
    return bool(_GREENGRASS.fullmatch(environ["PATH_INFO"])) or (posts_json and not query)


def _is_for_anybody(request: Request) -> bool:
    """Whether a request needs no signature: logging in, and the keys that show who logged in."""
    return not request.headers.get("authorization") and (
        "/.well-known/" in request.url
        or request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded")
        or request.headers.get("x-amz-target", "").rpartition(".")[2] in _ANYBODY
    )


def _refused(request: Request, error: ApiError) -> Reply:
    service = _service(request)
    codes = _XML_CODES if service in _XML_SERVICES else _JSON_CODES
    code = codes.get(error.code, error.code)
    code = _ODD_CODES.get((service, code), code)
    # JSON 1.1 has one status for whatever is the caller's; REST tells them apart.
    status = 400 if "x-amz-target" in request.headers else error.status
    return fault(request.headers, status, code, error.message)


def _send(start_response: StartResponse, request: Request, reply: Reply) -> Iterable[bytes]:
    return _written(start_response, reply, b"" if request.method == "HEAD" else reply.body)


def _written(start_response: StartResponse, reply: Reply, body: bytes) -> Iterable[bytes]:
    from http import HTTPStatus

    headers = [*reply.headers.items(), ("Content-Length", str(len(body)))]
    start_response(f"{reply.status} {HTTPStatus(reply.status).phrase}", headers)
    return [body]


def _json(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body or b"{}")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
