"""Lists in pages, as AWS gives them."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from gtlabel.emulator.api import ApiError

_T = TypeVar("_T")
_PAGE = 100


def page(
    items: Iterable[_T], key: Callable[[_T], tuple[Any, str]], params: Mapping[str, Any]
) -> tuple[list[_T], dict[str, str]]:
    """One page of a list, and the `NextToken` to answer with if more follows.

    A token says after which item to go on, so items that come or go between two pages shift nothing.

    Args:
        items: what the filters left.
        key: the value to sort by, and a name that no other item has.
        params: the request; `SortBy`, `SortOrder`, `MaxResults` and `NextToken` count.

    Raises:
        ApiError: `ValidationException` for a token that was not given out for this order.
    """
    descending = params.get("SortOrder") == "Descending"
    order = [params.get("SortBy"), descending]
    ordered = sorted(items, key=key, reverse=descending)
    if "NextToken" in params:
        last = _read_token(params["NextToken"], order)
        ordered = [item for item in ordered if (key(item) < last if descending else key(item) > last)]
    size = params.get("MaxResults", _PAGE)
    shown = ordered[:size]
    if len(ordered) <= size:
        return shown, {}
    return shown, {"NextToken": _write_token(key(shown[-1]), order)}


def _write_token(last: tuple[Any, str], order: list[Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps([order, last]).encode()).decode()


def _read_token(token: str, order: list[Any]) -> tuple[Any, str]:
    refused = ApiError("ValidationException", "NextToken was not given out by this list; start without it")
    try:
        made_for, (value, name) = json.loads(base64.urlsafe_b64decode(token))
    except (binascii.Error, ValueError, TypeError) as error:
        raise refused from error
    if made_for != order:
        raise refused
    return value, name
