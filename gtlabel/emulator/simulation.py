"""IAM's policy simulator, which moto lacks: whether a user or role may do something, without trying it.

https://docs.aws.amazon.com/IAM/latest/APIReference/API_SimulatePrincipalPolicy.html
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

from gtlabel.emulator.api import ApiError, Context
from gtlabel.emulator.permissions import Need, decide
from gtlabel.emulator.protocol import Reply

OPERATIONS = ("SimulatePrincipalPolicy", "SimulateCustomPolicy")
_NAMESPACE = "https://iam.amazonaws.com/doc/2010-05-08/"

Documents = Sequence[Mapping[str, Any]]


def answer(body: bytes, context: Context, policies_of: Callable[[str, Context], Documents]) -> Reply | None:
    """Answer a request to IAM, if it is one of these operations.

    Args:
        body: the request's form.
        context: the account.
        policies_of: the documents attached to the user or role of an ARN.
    """
    form = {name: values[0] for name, values in parse_qs(body.decode("utf-8", "replace")).items()}
    operation = form.get("Action", "")
    if operation not in OPERATIONS:
        return None
    try:
        inner = "".join(_results(operation, form, context, policies_of))
    except ApiError as error:
        return _reply(
            error.status,
            f'<ErrorResponse xmlns="{_NAMESPACE}"><Error><Type>Sender</Type><Code>{error.code}</Code>'
            f"<Message>{escape(error.message)}</Message></Error>{_request_id()}</ErrorResponse>",
        )
    return _reply(
        200,
        f'<{operation}Response xmlns="{_NAMESPACE}"><{operation}Result><IsTruncated>false</IsTruncated>'
        f"<EvaluationResults>{inner}</EvaluationResults></{operation}Result>"
        f"<ResponseMetadata>{_request_id()}</ResponseMetadata></{operation}Response>",
    )


def _results(
    operation: str,
    form: Mapping[str, str],
    context: Context,
    policies_of: Callable[[str, Context], Documents],
) -> Iterator[str]:
    documents = [_parsed(text) for text in _members(form, "PolicyInputList")]
    if operation == "SimulatePrincipalPolicy":
        documents += policies_of(form.get("PolicySourceArn", ""), context)
    keys = dict(_context_keys(form))
    resources = list(_members(form, "ResourceArns")) or ["*"]
    for action in _members(form, "ActionNames"):
        for resource in resources:
            decision = decide(documents, Need(action, resource, keys))
            found = "<member><SourcePolicyType>IAM Policy</SourcePolicyType></member>"
            yield (
                f"<member><EvalActionName>{escape(action)}</EvalActionName>"
                f"<EvalResourceName>{escape(resource)}</EvalResourceName>"
                f"<EvalDecision>{decision.outcome}</EvalDecision>"
                f"<MatchedStatements>{found if decision.statement else ''}</MatchedStatements>"
                "<MissingContextValues/></member>"
            )


def _context_keys(form: Mapping[str, str]) -> Iterator[tuple[str, list[str]]]:
    number = 1
    while (entry := f"ContextEntries.member.{number}") and f"{entry}.ContextKeyName" in form:
        yield form[f"{entry}.ContextKeyName"].lower(), list(_members(form, f"{entry}.ContextKeyValues"))
        number += 1


def _members(form: Mapping[str, str], name: str) -> Iterator[str]:
    number = 1
    while (key := f"{name}.member.{number}") in form:
        yield form[key]
        number += 1


def _parsed(text: str) -> Mapping[str, Any]:
    try:
        document: Mapping[str, Any] = json.loads(text)
    except ValueError:
        raise ApiError("InvalidInput", "a policy document is not JSON") from None
    return document


def _request_id() -> str:
    return f"<RequestId>{uuid.uuid4()}</RequestId>"


def _reply(status: int, body: str) -> Reply:
    return Reply(status, {"Content-Type": "text/xml"}, body.encode())
