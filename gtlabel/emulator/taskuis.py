"""Worker pages: human task UIs as resources, RenderUiTemplate, and what a page must be for a job to start.

contract/ground-truth.md 3.4 and 3.5, contract/worker-ui.md 2.3. The codes of rendering errors are ours:
AWS documents none.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from gtlabel import storage
from gtlabel.emulator.api import ApiError, Context, Operations
from gtlabel.emulator.paging import page
from gtlabel.emulator.shelf import Shelf
from gtlabel.engine.jobs import Job, JobSpec, Kind
from gtlabel.errors import StorageError, TemplateError
from gtlabel.portal.problems import Problem
from gtlabel.portal.renderer import Renderer, shared_renderer
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

_KIND = "human-task-ui"
_URL_SECONDS = 3600
_SHOWN = 5

# Problems that no page survives. A page without a form, or under a wrong name, starts a job on AWS as well.
_FATAL = frozenset({"size", "parse-error", "unknown-tag", "unknown-filter", "element", "time", "memory"})


class TaskUis:
    """The operations on human task UIs, and the check of the pages that jobs are given.

    Args:
        shelf: where they are kept.
        s3_of: gives the S3 client for a context; without it, no page is read and no access granted.
        clock: what time it is.
        renderer: renders and checks templates; by default the one that the whole process shares.
        address: where this server answers, for the URLs of templates; empty if it is none.
    """

    def __init__(
        self,
        shelf: Shelf,
        s3_of: Callable[[Context], S3Client] | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        renderer: Renderer | None = None,
        address: str = "",
    ) -> None:
        self._shelf = shelf
        self._s3_of = s3_of
        self._clock = clock
        self._own_renderer = renderer
        self._address = address

    def operations(self) -> Operations:
        """By their names in the service model."""
        return {
            "CreateHumanTaskUi": self.create,
            "DescribeHumanTaskUi": self.describe,
            "ListHumanTaskUis": self.list,
            "DeleteHumanTaskUi": self.delete,
            "RenderUiTemplate": self.render,
        }

    def first_tags(self, context: Context, arn: str) -> Sequence[dict[str, str]] | None:
        """The tags a UI was created with, or None if there is no such UI here."""
        found = self._by_arn(context, arn)
        return None if found is None else found["Tags"]

    def create(self, context: Context, params: dict[str, Any]) -> dict[str, Any]:
        """CreateHumanTaskUi; any text is taken, as AWS looks at it only when it is rendered."""
        name, content = params["HumanTaskUiName"], params["UiTemplate"]["Content"]
        document = {
            "HumanTaskUiName": name,
            "HumanTaskUiArn": _arn(context, name),
            "CreationTime": self._clock().isoformat(),
            "Content": content,
            "Tags": params.get("Tags", []),
        }
        if not self._shelf.add(context, _KIND, name, document):
            raise ApiError("ResourceInUse", f"A human task UI named '{name}' exists; choose another name.")
        return {"HumanTaskUiArn": _arn(context, name)}

    def describe(self, context: Context, params: dict[str, Any]) -> dict[str, Any]:
        """DescribeHumanTaskUi."""
        found = self._find(context, params["HumanTaskUiName"])
        template = {"ContentSha256": sha256(found["Content"].encode()).hexdigest()}
        if self._address:
            place = f"{context.region}/{found['HumanTaskUiName']}"
            template["Url"] = f"{self._address}/gtlabel/{_KIND}/{place}"
        return {**_summary(found), "HumanTaskUiStatus": "Active", "UiTemplate": template}

    def list(self, context: Context, params: dict[str, Any]) -> dict[str, Any]:
        """ListHumanTaskUis; both ends of a span of time belong to it."""
        found = [_summary(document) for document in self._shelf.all(context, _KIND)]
        left = [
            one
            for one in found
            if params.get("CreationTimeAfter", one["CreationTime"]) <= one["CreationTime"]
            and one["CreationTime"] <= params.get("CreationTimeBefore", one["CreationTime"])
        ]
        shown, token = page(
            left, lambda one: (one["CreationTime"].isoformat(), one["HumanTaskUiName"]), params
        )
        return {"HumanTaskUiSummaries": shown, **token}

    def delete(self, context: Context, params: dict[str, Any]) -> dict[str, Any]:
        """DeleteHumanTaskUi."""
        found = self._find(context, params["HumanTaskUiName"])
        self._shelf.delete(context, _KIND, found["HumanTaskUiName"])
        self._shelf.delete(context, "tags", found["HumanTaskUiArn"])
        return {}

    def render(self, context: Context, params: dict[str, Any]) -> dict[str, Any]:
        """RenderUiTemplate; what is wrong with the template is part of the answer."""
        if ("UiTemplate" in params) == ("HumanTaskUiArn" in params):
            raise ApiError("ValidationException", "Give exactly one of UiTemplate and HumanTaskUiArn.")
        if "UiTemplate" in params:
            template = params["UiTemplate"]["Content"]
        else:
            found = self._by_arn(context, params["HumanTaskUiArn"])
            if found is None:
                raise ApiError(
                    "ResourceNotFound", f"The human task UI '{params['HumanTaskUiArn']}' does not exist."
                )
            template = found["Content"]
        try:
            task_input = json.loads(params["Task"]["Input"], parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            return _rendered("", [Problem("error", "input", None, f"Task.Input is not JSON: {error}")])
        done = self._renderer.render(template, task_input, grant=lambda uri: self._granted(context, uri))
        return _rendered(done.content, done.errors)

    def content(self, context: Context, name: str) -> str:
        """The template of a UI.

        Raises:
            ApiError: `ResourceNotFound`.
        """
        text: str = self._find(context, name)["Content"]
        return text

    def check(self, context: Context, spec: JobSpec) -> None:
        """Look at the page that a new job names, if it can be read; the job fails later if it cannot.

        Raises:
            ApiError: `ValidationException` if no worker could ever answer with it.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        if self._s3_of is None or spec.template is None:
            return
        try:
            text = storage.read(self._s3_of(context), spec.template).decode(errors="replace")
        except (StorageError, BotoCoreError, ClientError):
            return
        try:
            self._inspect(spec, text)
        except TemplateError as error:
            raise ApiError(
                "ValidationException", f"HumanTaskConfig.UiConfig.UiTemplateS3Uri: {error}."
            ) from error

    def inspect(self, job: Job, text: str) -> None:
        """Look at the page that a job begins with: it may be another one than when it was created.

        Raises:
            TemplateError: if no worker could ever answer with it.
        """
        self._inspect(job.spec, text)

    def _inspect(self, spec: JobSpec, text: str) -> None:
        element = "" if spec.kind is Kind.CUSTOM else spec.kind.value
        fatal = [one for one in self._renderer.lint(text, element=element) if one.code in _FATAL]
        if fatal:
            more = f"; and {len(fatal) - _SHOWN} more" if len(fatal) > _SHOWN else ""
            raise TemplateError(f"{spec.template}, {'; '.join(map(str, fatal[:_SHOWN]))}{more}")

    @property
    def _renderer(self) -> Renderer:
        return self._own_renderer or shared_renderer()

    def _granted(self, context: Context, uri: str) -> str:
        from botocore.exceptions import BotoCoreError

        if self._s3_of is None:
            raise TemplateError(f"there is no S3 here to grant access to {uri}")
        place = S3Uri(uri)
        try:
            url: str = self._s3_of(context).generate_presigned_url(
                "get_object", Params={"Bucket": place.bucket, "Key": place.key}, ExpiresIn=_URL_SECONDS
            )
        except BotoCoreError as error:
            raise StorageError(f"access to {uri} cannot be granted: {error}") from error
        return url

    def _by_arn(self, context: Context, arn: str) -> dict[str, Any] | None:
        name = arn.rpartition("/")[2]
        return self._shelf.get(context, _KIND, name) if arn == _arn(context, name) else None

    def _find(self, context: Context, name: str) -> dict[str, Any]:
        found = self._shelf.get(context, _KIND, name)
        if found is None:
            raise ApiError("ResourceNotFound", f"There is no human task UI named '{name}'.")
        return found


def handle(uis: TaskUis, place: str) -> tuple[int, dict[str, Any]]:
    """Answer who follows the `Url` of a template: the HTTP status and the JSON.

    Args:
        uis: the human task UIs.
        place: the region and the name, as in the URL.
    """
    region, _, name = place.partition("/")
    try:
        return 200, {"Content": uis.content(Context(region=region), name)}
    except ApiError as error:
        return 404, {"error": error.message}


def _summary(document: dict[str, Any]) -> dict[str, Any]:
    return {
        "HumanTaskUiName": document["HumanTaskUiName"],
        "HumanTaskUiArn": document["HumanTaskUiArn"],
        "CreationTime": datetime.fromisoformat(document["CreationTime"]),
    }


def _rendered(content: str, problems: list[Problem]) -> dict[str, Any]:
    errors = [{"Code": one.code.title().replace("-", ""), "Message": str(one)} for one in problems]
    return {"RenderedContent": content, "Errors": errors}


def _arn(context: Context, name: str) -> str:
    return context.arn("sagemaker", f"{_KIND}/{name}")


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number there")
