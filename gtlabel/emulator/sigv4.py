"""Whether a request was signed by somebody whose key is known: Signature Version 4, computed once more.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html. The signer is
botocore's own, so whatever boto3, the aws command line and the SDKs sign is what it computes.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from gtlabel.emulator.api import ApiError
from gtlabel.emulator.protocol import Request

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256\s+Credential=(?P<key>[^/,\s]+)/(?P<day>\d{8})/(?P<region>[\w-]+)/(?P<service>[\w-]+)"
    r"/aws4_request\s*,\s*SignedHeaders=(?P<headers>[\w;-]+)\s*,\s*Signature=(?P<signature>[0-9a-f]{64})\s*"
)
_STAMP = "%Y%m%dT%H%M%SZ"
# What AWS allows clocks to differ by.
_SKEW = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class Key:
    """An access key; nothing of it is shown when it is printed."""

    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    token: str = field(default="", repr=False)


class SignatureCheck:
    """Lets in what one of the known keys signed for this place.

    Args:
        keys: the keys that are good now; asked at every request, because keys are renewed.
        region: where this is; a request signed for another region is refused.
        service: the signing name of what is served.
        clock: what time it is.
    """

    def __init__(
        self,
        keys: Callable[[], Sequence[Key]],
        region: str,
        service: str = "sagemaker",
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._keys = keys
        self._region = region
        self._service = service
        self._clock = clock

    def check(self, request: Request) -> None:
        """Look whether the request may pass.

        Raises:
            ApiError: as AWS refuses it, if it is not signed, or not rightly.
        """
        authorization = request.headers.get("authorization", "")
        if not authorization.startswith("AWS4-"):
            raise ApiError(
                "MissingAuthenticationToken",
                "Missing Authentication Token: the request is not signed; give the client credentials "
                "that this server knows.",
                403,
            )
        parts = _AUTHORIZATION.fullmatch(authorization)
        if parts is None:
            raise ApiError(
                "IncompleteSignature", "The Authorization header is no AWS4-HMAC-SHA256 signature.", 403
            )
        self._check_scope(parts)
        stamp = self._stamp(request, parts["day"])
        signed = parts["headers"].split(";")
        _check_complete(request, signed)
        _check_body(request)
        found = [key for key in self._keys() if _same(key.access_key, parts["key"])]
        if not found or not _same(found[0].token, request.headers.get("x-amz-security-token", "")):
            raise ApiError(
                "UnrecognizedClientException",
                "The security token included in the request is invalid: this server does not know the key.",
                403,
            )
        expected = _signature(found[0], request, signed, stamp, parts["region"], parts["service"])
        if not _same(expected, parts["signature"]):
            raise _refusal(
                "The request signature we calculated does not match the signature you provided. Check your "
                "AWS Secret Access Key and signing method, and that a proxy hands on the Host header."
            )

    def _check_scope(self, parts: re.Match[str]) -> None:
        if parts["region"] != self._region:
            raise _refusal(
                f"Credential should be scoped to a valid region: this server is {self._region}, "
                f"not {parts['region']}."
            )
        if parts["service"] != self._service:
            raise _refusal(
                f"Credential should be scoped to correct service: '{self._service}', "
                f"not '{parts['service']}'."
            )

    def _stamp(self, request: Request, day: str) -> str:
        stamp = request.headers.get("x-amz-date", "")
        try:
            signed = datetime.strptime(stamp, _STAMP).replace(tzinfo=UTC)
        except ValueError:
            raise ApiError(
                "IncompleteSignature", "The request has no X-Amz-Date that is a time.", 403
            ) from None
        now = self._clock()
        if not stamp.startswith(day):
            raise _refusal(f"Date in Credential scope does not match X-Amz-Date: {day} is not {stamp[:8]}.")
        if abs(now - signed) > _SKEW:
            word = "expired" if signed < now else "not yet current"
            raise _refusal(
                f"Signature {word}: {stamp} is more than 15 minutes from {now.strftime(_STAMP)}; "
                "set the clocks right."
            )
        return stamp


def _check_complete(request: Request, signed: Sequence[str]) -> None:
    """Nothing that decides what a request does may be left unsigned, or anybody could exchange it."""
    needed = ["host", *(name for name in request.headers if name.startswith("x-amz-"))]
    missing = [name for name in needed if name not in signed]
    if missing:
        raise _refusal(f"These headers must be signed, and are not: {', '.join(sorted(missing))}.")


def _check_body(request: Request) -> None:
    given = request.headers.get("x-amz-content-sha256")
    if given is not None and not _same(given, sha256(request.body).hexdigest()):
        raise _refusal("X-Amz-Content-SHA256 is not the hash of the body; the payload must be signed.")


def _signature(
    key: Key, request: Request, signed: Sequence[str], stamp: str, region: str, service: str
) -> str:
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    headers = {name: request.headers[name] for name in signed if name in request.headers}
    # Over http, because only there the signer takes it for granted that the body is signed.
    url = f"http://{request.headers.get('host', '')}{request.url}"
    again = AWSRequest(request.method, url, headers, request.body)
    again.context["timestamp"] = stamp
    signer = SigV4Auth(Credentials(key.access_key, key.secret_key), service, region)
    text = signer.string_to_sign(again, signer.canonical_request(again))
    return str(signer.signature(text, again))


def _same(one: str, other: str) -> bool:
    """Whether two texts are equal, in a time that does not tell how much of them is."""
    return hmac.compare_digest(one.encode(), other.encode())


def _refusal(sentence: str) -> ApiError:
    return ApiError("InvalidSignatureException", sentence, 403)
