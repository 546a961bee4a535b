"""Tags of labeling jobs, work teams, workforces and human task UIs; all other tags are someone else's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gtlabel.emulator.api import ApiError, Context, Operations
from gtlabel.emulator.protocol import PassOn
from gtlabel.emulator.shelf import Shelf

TAGGED_RESOURCES = ("labeling-job", "workteam", "workforce", "human-task-ui")

_MOST_TAGS = 50

Tags = list[dict[str, str]]
# The tags a resource was created with, or None if there is no such resource.
FirstTags = Callable[[Context, str], Sequence[dict[str, str]] | None]


def owns(arn: str) -> bool:
    """Whether the tags of this resource are kept here."""
    return _type_of(arn) in TAGGED_RESOURCES


class Tagging:
    """The tag operations.

    Args:
        shelf: where tags are kept once they were changed.
        resources: for each taggable type, where to look a resource up.
    """

    def __init__(self, shelf: Shelf, resources: Mapping[str, FirstTags]) -> None:
        self._shelf = shelf
        self._resources = resources

    def operations(self) -> Operations:
        """By their names in the service model."""
        return {"AddTags": self.add, "ListTags": self.list, "DeleteTags": self.delete}

    def of(self, context: Context, arn: str) -> Tags:
        """The tags of a resource.

        Raises:
            PassOn: if its tags are not kept here.
            ApiError: `ValidationException` if it cannot have tags or does not exist.
        """
        return self._kept(context, arn, self._first(context, arn))

    def add(self, context: Context, params: dict[str, Any]) -> dict[str, Any]:
        """AddTags; a key that is there gets the new value."""
        arn, added = params["ResourceArn"], params["Tags"]
        first = self._first(context, arn)
        check_tags(added)
        with self._shelf.transaction():
            values = {tag["Key"]: tag["Value"] for tag in [*self._kept(context, arn, first), *added]}
            tags = [{"Key": key, "Value": value} for key, value in values.items()]
            if len(tags) > _MOST_TAGS:
                raise ApiError("ValidationException", f"A resource has at most {_MOST_TAGS} tags.")
            self._shelf.put(context, "tags", arn, {"Tags": tags})
        return {"Tags": tags}

    def list(self, context: Context, params: dict[str, Any]) -> dict[str, Any]:
        """ListTags; there are never more than fit on one page."""
        return {"Tags": self.of(context, params["ResourceArn"])}

    def delete(self, context: Context, params: dict[str, Any]) -> dict[str, Any]:
        """DeleteTags; keys that are not there do not matter."""
        arn = params["ResourceArn"]
        first = self._first(context, arn)
        with self._shelf.transaction():
            tags = self._kept(context, arn, first)
            left = [tag for tag in tags if tag["Key"] not in params["TagKeys"]]
            self._shelf.put(context, "tags", arn, {"Tags": left})
        return {}

    def _first(self, context: Context, arn: str) -> Sequence[dict[str, str]]:
        if not owns(arn):
            raise PassOn(arn)
        kind = _type_of(arn)
        if kind not in self._resources:
            raise ApiError("ValidationException", f"Invalid resource type: {kind}")
        first = self._resources[kind](context, arn)
        if first is None:
            raise ApiError("ValidationException", f"The resource '{arn}' does not exist.")
        return first

    def _kept(self, context: Context, arn: str, first: Sequence[dict[str, str]]) -> Tags:
        document = self._shelf.get(context, "tags", arn)
        return [*first] if document is None else document["Tags"]


def check_tags(tags: Sequence[dict[str, str]]) -> None:
    """Refuse a key that is given twice.

    Raises:
        ApiError: `ValidationException`.
    """
    keys = [tag["Key"] for tag in tags]
    for key in keys:
        if keys.count(key) > 1:
            raise ApiError("ValidationException", f"The tag key '{key}' is given more than once.")


def _type_of(arn: str) -> str:
    return arn.split(":", 5)[-1].partition("/")[0]
