"""The seam between gtlabel's operations and moto; nothing else leans on how moto is built inside.

moto finds the code for a request in dictionaries of its modules, `url_paths`, which its in-process mock and
its server read alike. `install` puts a handler of ours in front of one entry and adds a few more; what our
operations do not know goes on to the handler that was there. No function of moto is replaced
(contract/moto.md section 1, "thin") but one that is slow, in `identities`. What the two servers need beyond
that stands here as well, because `broken_assumptions` has to name everything in moto that a new release
could take away.
"""

from __future__ import annotations

import inspect
import json
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from xml.sax.saxutils import escape

import moto.backend_index
import moto.greengrass.urls
import moto.iam.urls
import moto.logs.models
import moto.logs.urls
import moto.s3.models
import moto.s3.responses
import moto.s3.utils
import moto.sagemaker.urls
from moto import __version__ as moto_version
from moto.backends import get_backend
from moto.core.base_backend import BackendDict, BaseBackend

from gtlabel.emulator import identities, simulation, things
from gtlabel.emulator.api import Operations
from gtlabel.emulator.protocol import Reply, Request, Wire, context_of
from gtlabel.errors import MotoContractError

# status, headers, body: what moto expects of a handler, in process and served.
Triple = tuple[int, dict[str, str], Any]
Handler = Callable[[Any, str, Any], Triple]

_SAGEMAKER_PATH = "{0}/$"
_IAM_PATH = "{0}/$"
_LOGS_PATH = "{0}/$"
# Greengrass V2 shares host and signing name with V1, which moto has; these are V2's paths alone, and tags.
_GREENGRASS_PATHS = (
    "{0}/greengrass/v2/(?P<rest>.+)$",
    "{0}/greengrass/servicerole$",
    "{0}/greengrass/things/(?P<thing_name>[^/]+)/connectivityInfo$",
    "{0}/tags/(?P<resource_arn>.+)$",
)

# Services whose protocol does not show in a request without a body; a request that nobody signed is S3's.
_REST_XML = ("s3", "route53", "cloudfront")


class _Seam:
    """What stands behind moto's tables at the moment; nothing before `install`."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.plugged = False
        self.operations_of: Callable[[str], Operations] | None = None
        self.on_reset: Callable[[], None] | None = None
        self.wires: dict[str, Wire] = {}


_seam = _Seam()


def version() -> str:
    """The release of moto that is installed."""
    return moto_version


def install(
    operations_of: Callable[[str], Operations],
    on_reset: Callable[[], None],
    *,
    strict: bool = True,
) -> None:
    """Put operations behind moto, in place of those that were there before.

    A server must do this before its first request, because moto builds an application per service then.

    Args:
        operations_of: the operations of a service, by the name of its boto3 client; asked at each request.
        on_reset: called when moto is reset, through its API or by `mock_aws`.
        strict: whether a result of ours that does not fit its model raises, or is logged.

    Raises:
        MotoContractError: if this moto lacks something that we lean on.
    """
    broken = broken_assumptions()
    if broken:
        raise MotoContractError(
            f"moto {moto_version} is not the moto that this gtlabel knows ({'; '.join(broken)}); "
            "install one that fits with: pip install 'moto>=5.2,<5.3'"
        )
    with _seam.lock:
        _seam.operations_of = operations_of
        _seam.on_reset = on_reset
        _seam.wires = {name: Wire(name, strict=strict) for name in ("sagemaker", "greengrassv2", "logs")}
        if not _seam.plugged:
            sagemaker = moto.sagemaker.urls.url_paths
            sagemaker[_SAGEMAKER_PATH] = _in_front_of(sagemaker[_SAGEMAKER_PATH], "sagemaker")
            logs = moto.logs.urls.url_paths
            logs[_LOGS_PATH] = _in_front_of(logs[_LOGS_PATH], "logs")
            for path in _GREENGRASS_PATHS:
                moto.greengrass.urls.url_paths[path] = _in_front_of(_not_implemented, "greengrassv2")
            iam = moto.iam.urls.url_paths
            iam[_IAM_PATH] = _simulating(iam[_IAM_PATH])
            identities.read_the_key_of_pools_once()
            _seam.plugged = True


def uninstall() -> None:
    """Let everything go on to moto again."""
    with _seam.lock:
        _seam.operations_of = None
        _seam.on_reset = None


def backends(service: str) -> Iterator[tuple[str, str, Any]]:
    """The account, the region and the backend of everything that a service of moto holds now.

    Args:
        service: the name of moto's module.
    """
    # What was never imported holds nothing, and importing the one that makes stacks takes a second.
    if f"moto.{service}" not in sys.modules:
        return
    for account, regions in list(_backends(service).items()):
        for region, backend in list(dict.items(regions)):
            yield account, region, backend


def backend(service: str, account: str, region: str) -> Any:
    """What a service of moto holds in one account and region."""
    return _backends(service)[account][region]


def address_of(thing: Any) -> tuple[str, ...] | None:
    """Where `at` finds a backend, or all those of a service; None for anything else."""
    if isinstance(thing, BaseBackend):
        return _service_of(thing), thing.account_id, thing.region_name
    return (_service_of(thing.backend),) if isinstance(thing, BackendDict) else None


def at(address: tuple[str, ...]) -> Any:
    """What `address_of` gave the address of."""
    return backend(*address) if len(address) > 1 else _backends(address[0])


def _backends(service: str) -> Any:
    # moto's own types know each service by a literal.
    find: Callable[[str], Any] = get_backend  # type: ignore[assignment]
    return find(service)


def _service_of(thing: Any) -> str:
    module: str = (thing if isinstance(thing, type) else type(thing)).__module__
    return module.split(".")[1]


def not_implemented(headers: Mapping[str, str], what: str) -> Reply:
    """The answer to an operation that nobody here has: an error that clients show at once.

    Clients repeat a 500 several times before they give up; none of them repeats a 501.
    """
    sentence = f"{what}: neither gtlabel's emulator nor moto implements this operation"
    return fault(headers, 501, "NotImplementedException", sentence)


def fault(headers: Mapping[str, str], status: int, code: str, sentence: str) -> Reply:
    """An error of the server itself, in the format that a request's client reads.

    Args:
        headers: the request's, by lower-case name.
        status: the HTTP status.
        code: the error's name.
        sentence: what went wrong.
    """
    kind = headers.get("content-type", "")
    form = kind.startswith("application/x-www-form-urlencoded")
    service = headers.get("authorization", "").partition("/aws4_request")[0].rpartition("/")[2]
    if form or service in _REST_XML or not (service or "json" in kind):
        body = f"<Error><Code>{code}</Code><Message>{escape(sentence)}</Message></Error>"
        if form:
            body = f"<ErrorResponse>{body}</ErrorResponse>"
        return Reply(status, {"Content-Type": "application/xml"}, body.encode())
    content = json.dumps({"__type": code, "message": sentence}).encode()
    return Reply(status, {"Content-Type": "application/json", "x-amzn-ErrorType": code}, content)


def broken_assumptions() -> list[str]:
    """What gtlabel leans on in moto and does not find there, each as it should be."""
    return [assumption for assumption, holds in _assumptions() if not holds]


def assumptions() -> list[str]:
    """Everything gtlabel leans on in moto, whether it holds or not."""
    return [assumption for assumption, _ in _assumptions()]


def _assumptions() -> Iterator[tuple[str, bool]]:
    sagemaker, greengrass = moto.sagemaker.urls, moto.greengrass.urls
    yield "moto.sagemaker.urls.url_paths['{0}/$'] is a handler", _handles(sagemaker, _SAGEMAKER_PATH)
    yield "moto.greengrass.urls.url_paths is a dict", isinstance(getattr(greengrass, "url_paths", 0), dict)
    yield (
        "moto.backend_index.backend_url_patterns lists (service, pattern) pairs",
        any(row[0] == "greengrass" for row in getattr(moto.backend_index, "backend_url_patterns", ())),
    )
    yield (
        "BackendDict(backend, service_name, use_boto3_regions, additional_regions)",
        _takes(BackendDict, "backend", "service_name", "use_boto3_regions", "additional_regions"),
    )
    yield (
        "BaseBackend(region_name, account_id) with reset()",
        _takes(BaseBackend, "region_name", "account_id") and hasattr(BaseBackend, "reset"),
    )
    yield (
        "moto.backends.get_backend(service) gives accounts, these give regions",
        all(isinstance(_backends(name), BackendDict) for name in ("iam", "sqs")),
    )
    yield "BackendDict.reset() empties every service", inspect.ismethod(getattr(BackendDict, "reset", None))
    yield from _storage_assumptions()
    yield from _event_assumptions()
    yield from _people_assumptions()
    yield from _stack_assumptions()
    yield from _server_assumptions()
    yield "moto.iam.urls.url_paths['{0}/$'] is a handler", _handles(moto.iam.urls, _IAM_PATH)
    yield "moto.logs.urls.url_paths['{0}/$'] is a handler", _handles(moto.logs.urls, _LOGS_PATH)
    filtering = getattr(moto.logs.models.LogsBackend, "filter_log_events", None)
    yield (
        "moto.logs.models.LogsBackend has groups of streams, and filter_log_events(log_stream_names, ...)",
        _takes(filtering, "log_group_name", "log_stream_names", "next_token", "interleaved")
        and "groups" in vars(_backends("logs")["123456789012"]["us-east-1"]),
    )
    yield from identities.assumptions()
    yield from things.assumptions()


def _storage_assumptions() -> Iterator[tuple[str, bool]]:
    models = moto.s3.models
    key = getattr(models, "FakeKey", None)
    yield (
        "moto.s3.models.FakeKey(name, value, account_id, region_name, storage, etag, ...)",
        _takes(key, "name", "value", "account_id", "region_name", "storage", "etag", "is_versioned")
        and _takes(key, "version_id", "bucket_name", "encryption", "kms_key_id"),
    )
    yield (
        "FakeKey keeps its bytes behind the properties value and etag, and lets go in dispose()",
        all(isinstance(getattr(key, name, None), property) for name in ("value", "etag"))
        and _takes(getattr(key, "dispose", None), "garbage"),
    )
    yield (
        "moto.s3.models has FakeDeleteMarker(key), FakeAcl(grants), FakeGrant, FakeGrantee",
        _takes(getattr(models, "FakeDeleteMarker", None), "key")
        and _takes(getattr(models, "FakeAcl", None), "grants")
        and _takes(getattr(models, "FakeGrant", None), "grantees", "permissions")
        and _takes(getattr(models, "FakeGrantee", None), "grantee_id", "uri", "display_name"),
    )
    yield (
        "moto.s3.models.s3_backends[account]['aws'] holds buckets and a tagger",
        isinstance(getattr(models, "s3_backends", None), BackendDict)
        and _takes(getattr(models, "S3Backend", None), "region_name", "account_id"),
    )
    yield (
        "S3Backend.put_object(bucket_name, key_name, value, storage, checksum_value), put_object_tagging()",
        _takes(getattr(models.S3Backend, "put_object", None), "bucket_name", "key_name", "value", "storage")
        and _takes(models.S3Backend.put_object, "checksum_value")
        and _takes(getattr(models.S3Backend, "put_object_tagging", None), "key", "tags"),
    )
    yield (
        "FakeBucket has policy, notification_configuration, logging, object_lock_enabled and acl",
        {"policy", "notification_configuration", "logging", "object_lock_enabled", "acl"}
        <= set(models.FakeBucket.__init__.__code__.co_names),
    )
    yield (
        "moto.s3.utils._VersionedKeyStore has getlist() and setlist()",
        all(hasattr(getattr(moto.s3.utils, "_VersionedKeyStore", None), n) for n in ("getlist", "setlist")),
    )
    yield (
        "moto.s3.responses.S3Response.subdomain_based_buckets(request)",
        _takes(getattr(moto.s3.responses.S3Response, "subdomain_based_buckets", None), "request"),
    )
    yield (
        "moto.s3.utils.bucket_name_from_url(url)",
        _takes(getattr(moto.s3.utils, "bucket_name_from_url", None), "url"),
    )


def _event_assumptions() -> Iterator[tuple[str, bool]]:
    import moto.events.models as events
    import moto.sns.models as sns
    import moto.sqs.models as sqs

    pattern, rule = getattr(events, "EventPattern", None), getattr(events, "Rule", None)
    yield (
        "moto.events.models.events_backends holds buses, their Rule(name, ...) an EventPattern",
        isinstance(getattr(events, "events_backends", None), BackendDict)
        and _takes(rule, "name", "event_pattern", "state", "targets")
        and _takes(getattr(pattern, "matches_event", None), "event"),
    )
    yield (
        "moto.sqs.models.SQSBackend.send_message(queue_name, message_body, group_id)",
        _takes(getattr(sqs.SQSBackend, "send_message", None), "queue_name", "message_body", "group_id"),
    )
    yield (
        "moto.sns.models.SNSBackend.publish(message, arn)",
        _takes(getattr(sns.SNSBackend, "publish", None), "message", "arn"),
    )


def _people_assumptions() -> Iterator[tuple[str, bool]]:
    import moto.cognitoidp.models as models

    user = models.CognitoIdpUser("pool", "name", None, "CONFIRMED", [{"Name": "email", "Value": "n@e.x"}])
    group = models.CognitoIdpGroup("pool", "group", "", "", 0)
    yield (
        "moto.cognitoidp.models.CognitoIdpUser has id, enabled, groups and attribute_lookup, and group_name",
        all(hasattr(user, name) for name in ("id", "enabled", "groups"))
        and getattr(user, "attribute_lookup", {}).get("email") == "n@e.x"
        and hasattr(group, "group_name"),
    )
    yield (
        "CognitoIdpBackend.user_pools holds pools, and these hold users",
        "user_pools" in vars(_backends("cognito-idp")["123456789012"]["us-east-1"]),
    )


def _stack_assumptions() -> Iterator[tuple[str, bool]]:
    from moto.core.common_models import CloudFormationModel as Model

    given = ("cloudformation_json", "account_id", "region_name")
    yield (
        "CloudFormationModel with create_from_cloudformation_json(resource_name, ...) and update_from_...",
        _takes(getattr(Model, "create_from_cloudformation_json", None), "resource_name", *given)
        and _takes(getattr(Model, "update_from_cloudformation_json", None), "original_resource", *given),
    )
    bucket = getattr(moto.s3.models, "FakeBucket", None)
    yield (
        "moto.s3.models.FakeBucket.get_permission(action, resource)",
        _takes(getattr(bucket, "get_permission", None), "action", "resource"),
    )


def _server_assumptions() -> Iterator[tuple[str, bool]]:
    import moto.core.request as requests
    from moto.moto_server import werkzeug_app as served

    dispatcher = getattr(served, "DomainDispatcherApplication", None)
    yield (
        "DomainDispatcherApplication(create_app) with get_backend_for_host(host)",
        _takes(dispatcher, "create_app")
        and _takes(getattr(dispatcher, "get_backend_for_host", None), "host"),
    )
    yield (
        "create_backend_app(service) builds a Flask app",
        _takes(getattr(served, "create_backend_app", None), "service"),
    )
    yield "moto's flask request has raw_url", hasattr(getattr(served, "BackendRequest", None), "raw_url")
    yield (
        "moto.core.request keeps the spelling of header names for WSGI",
        all(
            hasattr(requests, name)
            for name in (
                "PRESERVED_HEADER_NAMES_ENVIRON_KEY",
                "environ_key_for_header",
                "should_preserve_original_header_name",
            )
        ),
    )


def _handles(urls: Any, path: str) -> bool:
    return callable(getattr(urls, "url_paths", {}).get(path))


def _takes(function: Any, *names: str) -> bool:
    return callable(function) and set(names) <= set(inspect.signature(function).parameters)


class _ResetTeller(BaseBackend):
    """Here only to hear of resets; it holds nothing."""

    def reset(self) -> None:
        if _seam.on_reset is not None:
            _seam.on_reset()


_reset_tellers = BackendDict(_ResetTeller, "gtlabel", use_boto3_regions=False, additional_regions=["aws"])


def _be_told_of_resets() -> None:
    # moto forgets at each reset whom it has to tell, and learns it again when a backend is asked for.
    _ = _reset_tellers["123456789012"]["aws"]


def _in_front_of(moto_handler: Handler, service: str) -> Handler:
    def handler(request: Any, url: str, headers: Any) -> Triple:
        operations_of = _seam.operations_of
        if operations_of is None:
            return moto_handler(request, url, headers)
        _be_told_of_resets()
        wire = _seam.wires[service]
        ours = Request.of(request.method, url, headers, request.data)
        reply = wire.answer(ours, operations_of(service))
        if reply is None:
            try:
                return moto_handler(request, url, headers)
            except NotImplementedError:
                reply = not_implemented(ours.headers, wire.operation(ours) or f"{request.method} {url}")
        return reply.status, reply.headers, reply.body

    # moto names the routes of its server after the functions.
    handler.__name__ = f"gtlabel_{service}"
    return handler


def _simulating(moto_handler: Handler) -> Handler:
    def handler(request: Any, url: str, headers: Any) -> Triple:
        if _seam.operations_of is not None:
            context = context_of(Request.of(request.method, url, headers, b""))
            reply = simulation.answer(request.get_data(), context, identities.policies_of)
            if reply is not None:
                return reply.status, reply.headers, reply.body
        return moto_handler(request, url, headers)

    handler.__name__ = "gtlabel_iam"
    return handler


def _not_implemented(_request: Any, _url: str, _headers: Any) -> Triple:
    raise NotImplementedError
