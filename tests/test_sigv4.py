"""Signatures: what botocore signs passes, and nothing that was changed afterwards does."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given, settings
from hypothesis import strategies as st

from gtlabel.emulator.api import ApiError
from gtlabel.emulator.protocol import Request
from gtlabel.emulator.sigv4 import Key, SignatureCheck

KEYS = (Key("AKIAONE", "first-secret"), Key("ASIATWO", "second-secret", "session-token"))
BODY = b'{"LabelingJobName": "bins"}'
HEADERS = {
    "Host": "labels.example.com",
    "X-Amz-Target": "SageMaker.StopLabelingJob",
    "Content-Type": "application/x-amz-json-1.1",
}


def signed(
    key: Key = KEYS[0],
    body: bytes = BODY,
    headers: dict[str, str] | None = None,
    region: str = "us-east-1",
    service: str = "sagemaker",
) -> Request:
    """A request as boto3 would send it."""
    request = AWSRequest("POST", "https://labels.example.com/", {**HEADERS, **(headers or {})}, body)
    credentials = Credentials(key.access_key, key.secret_key, key.token or None)
    SigV4Auth(credentials, service, region).add_auth(request)
    return Request.of("POST", "/", dict(request.headers.items()), body)


def changed(request: Request, headers: dict[str, str | None] | None = None, **fields: Any) -> Request:
    """The request with some headers exchanged, or taken away, and other fields."""
    left = {**request.headers, **(headers or {})}
    kept = {name: value for name, value in left.items() if value is not None}
    return Request(**{"method": "POST", "url": "/", "headers": kept, "body": request.body, **fields})


def check(request: Request, after: timedelta = timedelta(0)) -> None:
    SignatureCheck(lambda: KEYS, "us-east-1", clock=lambda: datetime.now(UTC) + after).check(request)


def refusal(request: Request, after: timedelta = timedelta(0)) -> tuple[str, str]:
    with pytest.raises(ApiError) as error:
        check(request, after)
    assert error.value.status == 403
    return error.value.code, error.value.message


@pytest.mark.parametrize("key", KEYS, ids=["of a user", "of a session"])
def test_who_has_a_key_is_let_in(key: Key) -> None:
    check(signed(key))


@settings(max_examples=40, deadline=None)
@given(
    st.binary(max_size=200),
    st.dictionaries(
        st.from_regex(r"X-Amz-Meta-[A-Za-z0-9]{1,8}", fullmatch=True),
        st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20),
        max_size=3,
    ),
)
def test_any_body_and_headers_can_be_signed(body: bytes, headers: dict[str, str]) -> None:
    check(signed(body=body, headers=headers))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_whatever_is_changed_on_the_way_is_noticed(data: st.DataObject) -> None:
    request = signed(data.draw(st.sampled_from(KEYS)))
    kind = data.draw(st.sampled_from(["body", "url", "method", "host", "x-amz-target", "signature", "more"]))
    text = data.draw(st.from_regex(r"[a-z0-9]{1,20}", fullmatch=True))
    if kind == "body":
        request = changed(request, body=request.body + text.encode())
    elif kind == "url":
        request = changed(request, url=f"/{text}")
    elif kind == "method":
        request = changed(request, method="PUT")
    elif kind == "signature":
        authorization = request.headers["authorization"]
        last = "0" if authorization[-1] != "0" else "1"
        request = changed(request, {"authorization": authorization[:-1] + last})
    elif kind == "more":
        request = changed(request, {f"x-amz-{text}": text})
    else:
        request = changed(request, {kind: request.headers[kind] + text})
    assert refusal(request)[0] == "InvalidSignatureException"


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (signed(Key("AKIAONE", "guessed")), "InvalidSignatureException"),
        (signed(Key("AKIANOBODY", "x")), "UnrecognizedClientException"),
        (signed(Key("ASIATWO", "second-secret")), "UnrecognizedClientException"),
        (signed(Key("ASIATWO", "second-secret", "another-token")), "UnrecognizedClientException"),
        (signed(region="eu-west-1"), "InvalidSignatureException"),
        (signed(service="s3"), "InvalidSignatureException"),
        (signed(headers={"X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD"}), "InvalidSignatureException"),
        (changed(signed(), {"authorization": None}), "MissingAuthenticationToken"),
        (changed(signed(), {"authorization": "Bearer x"}), "MissingAuthenticationToken"),
        (changed(signed(), {"authorization": "AWS4-HMAC-SHA256 what"}), "IncompleteSignature"),
        (changed(signed(), {"x-amz-date": None}), "IncompleteSignature"),
        (changed(signed(), {"x-amz-date": "yesterday"}), "IncompleteSignature"),
    ],
)
def test_all_others_are_refused_as_aws_does(request_: Request, code: str) -> None:
    found, sentence = refusal(request_)
    assert found == code
    assert not any(key.secret_key in sentence or (key.token and key.token in sentence) for key in KEYS)


def test_what_decides_what_is_done_must_be_among_the_signed() -> None:
    request = signed()
    header = request.headers["authorization"]
    for name in ("host", "x-amz-target", "x-amz-date"):
        less = re.sub(rf"(;{name}|{name};)", "", header, count=1)
        assert less != header
        code, sentence = refusal(changed(request, {"authorization": less}))
        assert code == "InvalidSignatureException"
        assert f"must be signed, and are not: {name}." in sentence


@pytest.mark.parametrize("minutes", [-14, 14])
def test_clocks_may_differ_by_a_quarter_of_an_hour(minutes: int) -> None:
    check(signed(), timedelta(minutes=minutes))


@pytest.mark.parametrize(("minutes", "word"), [(-16, "not yet current"), (16, "expired")])
def test_an_old_signature_is_worth_nothing(minutes: int, word: str) -> None:
    code, sentence = refusal(signed(), timedelta(minutes=minutes))
    assert code == "InvalidSignatureException"
    assert sentence.startswith(f"Signature {word}: ")


def test_a_key_does_not_show_itself() -> None:
    assert "secret" not in repr(KEYS[0])
    assert "session-token" not in str(KEYS)
