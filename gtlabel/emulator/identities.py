"""Who asks, by what moto keeps of IAM: whose an access key is, and which policies go with it.

moto's enforcement is off until `POST /moto-api/reset-auth` with the number of requests that are still free
turns it on. The credentials of `gtlabel local env` stay in charge: they become those of a user with all
rights. What is asked of everybody else is for `gtlabel.emulator.gate`.

The key that user pools sign with is here as well; it is the one thing of moto that is replaced.
"""

from __future__ import annotations

import inspect
import json
import threading
from collections.abc import Iterator, Mapping
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

import moto.iam.access_control as access
from moto import settings
from moto.core.authorization import ActionAuthenticatorMixin
from moto.core.exceptions import SignatureDoesNotMatchError
from moto.iam.models import IAMBackend, iam_backends
from moto.s3.exceptions import S3SignatureDoesNotMatchError

from gtlabel.emulator.api import ApiError, Context
from gtlabel.emulator.environment import ACCESS_KEY, SECRET_KEY
from gtlabel.emulator.permissions import Identity

ADMINISTRATOR = "gtlabel"
_ALL_RIGHTS = {
    "Version": "2012-10-17",
    "Statement": [{"Sid": "EverythingInThisAccount", "Effect": "Allow", "Action": "*", "Resource": "*"}],
}
_PARTITION = "aws"
_passing = threading.local()


def enforcing() -> bool:
    """Whether rights count at the moment."""
    return int(ActionAuthenticatorMixin.request_count) >= settings.INITIAL_NO_AUTH_ACTION_COUNT


def stop_enforcing() -> None:
    """Let everybody do everything again, as in a new account."""
    settings.INITIAL_NO_AUTH_ACTION_COUNT = float("inf")


class _Count(int):
    """moto's count of requests, in which those of a thread that was let pass are still free."""

    def __ge__(self, other: float) -> bool:
        return not getattr(_passing, "on", False) and int(self) >= other

    def __add__(self, _more: int) -> _Count:
        # moto counts what was free; a number of its own in this place would hold up other threads.
        return self


def let_pass() -> None:
    """Spare the request that this thread hands on a second look.

    moto knows the resource of few requests outside of S3 and takes `*` for it, which no statement about one
    resource allows; it has names of its own for some actions; and it takes signatures for wrong where
    parameters stand in the path.
    """
    if not isinstance(ActionAuthenticatorMixin.request_count, _Count):
        ActionAuthenticatorMixin.request_count = _Count(ActionAuthenticatorMixin.request_count)
    _passing.on = True


def hold() -> None:
    """Let the next request of this thread pass only when it is said."""
    _passing.on = False


def seat_administrator(context: Context) -> None:
    """Make the credentials that everybody has those of a user who may do everything."""
    backend = iam_backends[context.account][_PARTITION]
    if any(user.name == ADMINISTRATOR for user in backend.list_users("/", None, None)):
        return
    backend.create_user(context.region, ADMINISTRATOR)
    backend.put_user_policy(ADMINISTRATOR, "everything", json.dumps(_ALL_RIGHTS))
    key = backend.create_access_key(ADMINISTRATOR)
    key.access_key_id, key.secret_access_key = ACCESS_KEY, SECRET_KEY


def identify(headers: Mapping[str, str], context: Context) -> Identity:
    """Who signed a request.

    Args:
        headers: by lower-case name.
        context: where the request is for.

    Raises:
        ApiError: if nobody has that access key.
    """
    scope = headers.get("authorization", "").partition("Credential=")[2].partition(",")[0]
    if not scope:
        raise ApiError("AccessDenied", "the request is signed by nobody, and rights are enforced", 403)
    named = {name.title(): value for name, value in headers.items()}
    try:
        key = access.create_access_key(context.account, _PARTITION, scope.partition("/")[0], named)
    except access.CreateAccessKeyFailure:
        raise ApiError(
            "UnrecognizedClientException", "The security token included in the request is invalid.", 403
        ) from None
    keys = {
        "aws:principalarn": [key.arn],
        "aws:principalaccount": [context.account],
        "aws:requestedregion": [context.region],
    }
    if ":user/" in key.arn:
        keys["aws:username"] = [key.arn.rpartition("/")[2]]
    return Identity(key.arn, tuple(_document(policy) for policy in key.collect_policies()), keys)


def policies_of(arn: str, context: Context) -> tuple[Mapping[str, Any], ...]:
    """The documents attached to a user, with those of its groups, or to a role.

    Raises:
        ApiError: `NoSuchEntity` if there is none of that ARN.
    """
    backend = iam_backends[context.account][_PARTITION]
    kind, _, name = arn.split(":", 5)[-1].partition("/")
    owner: Any = None
    if kind == "user":
        owner = next((user for user in backend.list_users("/", None, None) if user.arn == arn), None)
    elif kind == "role":
        owner = next((role for role in backend.get_roles() if role.arn == arn), None)
    if owner is None:
        raise ApiError("NoSuchEntity", f"The entity {name or arn} cannot be found.", 404)
    owners: list[Any] = [owner, *(backend.get_groups_for_user(owner.name) if kind == "user" else [])]
    return tuple(
        _document(policy)
        for each in owners
        for policy in (*each.policies.values(), *each.managed_policies.values())
    )


def verify(
    service: str, method: str, target: str, headers: Mapping[str, str], body: bytes, context: Context
) -> None:
    """Check the signature of a request.

    Args:
        service: the name by which it was signed.
        method: of the request.
        target: its path and query as they were sent.
        headers: by lower-case name.
        body: of the request; S3's may be left out.
        context: where the request is for.

    Raises:
        ApiError: if it was signed with another secret, or changed since.
    """
    named = {name.title(): value for name, value in headers.items()}
    kind = access.S3IAMRequest if service == "s3" else access.IAMRequest
    try:
        kind(context.account, method, target, {}, body, named, "").check_signature()
    except (SignatureDoesNotMatchError, S3SignatureDoesNotMatchError):
        raise ApiError(
            "InvalidSignatureException",
            "The request signature we calculated does not match the signature you provided. "
            "Check your AWS Secret Access Key and signing method.",
            403,
        ) from None


def read_the_key_of_pools_once() -> None:
    """Have moto's user pools share their key, which is the same for all of them.

    Each pool would read it anew, and finding the primes that its file leaves out takes a tenth of a second.
    """
    import moto.cognitoidp.models as pools

    vars(pools)["jwk"] = SimpleNamespace(RSAKey=SimpleNamespace(import_key=_key_of_pools))


def _key_of_pools(document: Any) -> Any:
    return _read_key(json.dumps(document))


@lru_cache
def _read_key(document: str) -> Any:
    from joserfc.jwk import RSAKey

    return RSAKey.import_key(json.loads(document))


def assumptions() -> Iterator[tuple[str, bool]]:
    """What is leaned on here in moto, and whether it is there."""
    import moto.cognitoidp.models as pools

    yield (
        "moto.cognitoidp.models.jwk.RSAKey.import_key(document) reads the key of a pool",
        callable(getattr(getattr(getattr(pools, "jwk", None), "RSAKey", None), "import_key", None)),
    )
    yield (
        "moto.settings.INITIAL_NO_AUTH_ACTION_COUNT and request_count switch rights on",
        hasattr(settings, "INITIAL_NO_AUTH_ACTION_COUNT")
        and isinstance(getattr(ActionAuthenticatorMixin, "request_count", None), int),
    )
    yield (
        "moto.iam.access_control has create_access_key(...) with arn and collect_policies()",
        _takes(getattr(access, "create_access_key", None), "account_id", "partition", "access_key_id")
        and hasattr(access, "CreateAccessKeyFailure")
        and all(
            hasattr(getattr(access, kind, None), name)
            for kind in ("IAMUserAccessKey", "AssumedRoleAccessKey")
            for name in ("arn", "collect_policies")
        ),
    )
    yield (
        "moto.iam.access_control.IAMRequest(...).check_signature()",
        _takes(getattr(access, "IAMRequest", None), "account_id", "method", "path", "data", "body", "headers")
        and hasattr(access.IAMRequest, "check_signature")
        and hasattr(access, "S3IAMRequest"),
    )
    yield (
        "moto.iam.models.IAMBackend holds users, roles and groups with their policies",
        _takes(getattr(IAMBackend, "create_user", None), "region_name", "user_name")
        and _takes(getattr(IAMBackend, "list_users", None), "path_prefix", "marker", "max_items")
        and all(
            hasattr(IAMBackend, name)
            for name in ("put_user_policy", "create_access_key", "get_roles", "get_groups_for_user")
        ),
    )


def _document(policy: Any) -> Mapping[str, Any]:
    """The document of a policy, in whichever of its forms moto keeps it."""
    if isinstance(policy, dict):
        policy = policy["policy_document"]
    if not isinstance(policy, str):
        policy = next(version.document for version in policy.versions if version.is_default)
    document: Mapping[str, Any] = json.loads(policy)
    return document


def _takes(function: Any, *names: str) -> bool:
    return callable(function) and set(names) <= set(inspect.signature(function).parameters)
