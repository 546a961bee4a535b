"""Lists in pages, as AWS gives them."""

from __future__ import annotations

import base64
import binascii
import hmac
import json
from collections.abc import Callable, Iterable, Mapping
from hashlib import sha256
from typing import Any, TypeVar

from gtlabel.emulator.api import ApiError

_T = TypeVar("_T")
_PAGE = 100
# No secret: it lets a token that was cut, or of another list, be told from one that was given out.
_SEAL = b"gtlabel"


def page(
    items: Iterable[_T], key: Callable[[_T], tuple[Any, str]], params: Mapping[str, Any], of: str = ""
) -> tuple[list[_T], dict[str, str]]:
    """One page of a list, and the `NextToken` to answer with if more follows.

    A token says after which item to go on, so items that come or go between two pages shift nothing. It
    goes with the list, the order and the filters that it was given out for, and outlives the process.

    Args:
        items: what the filters left.
        key: the value to sort by, and a name that no other item has.
        params: the request; `SortBy`, `SortOrder`, `MaxResults` and `NextToken` count.
        of: what is listed, so that a token of one list is not taken for one of another.

    Raises:
        ApiError: `ValidationException` for a token that was not given out for this list.
    """
    descending = params.get("SortOrder") == "Descending"
    asked = {name: value for name, value in params.items() if name not in ("NextToken", "MaxResults")}
    purpose = json.dumps([of, asked], sort_keys=True, default=str).encode()
    ordered = sorted(items, key=key, reverse=descending)
    if "NextToken" in params:
        last = _read_token(params["NextToken"], purpose)
        ordered = [item for item in ordered if (key(item) < last if descending else key(item) > last)]
    size = params.get("MaxResults", _PAGE)
    shown = ordered[:size]
    if len(ordered) <= size:
        return shown, {}
    return shown, {"NextToken": _write_token(key(shown[-1]), purpose)}


def _write_token(last: tuple[Any, str], purpose: bytes) -> str:
    content = json.dumps(last).encode()
    return base64.urlsafe_b64encode(_sealed(content, purpose) + content).decode()


def _read_token(token: str, purpose: bytes) -> tuple[Any, str]:
    refused = ApiError(
        "ValidationException",
        "NextToken was not given out by this list with these filters and this order; start without it.",
    )
    try:
        # Strictly, because what is no letter of base64 would be passed over otherwise.
        read = base64.b64decode(token, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise refused from error
    seal, content = read[: sha256().digest_size], read[sha256().digest_size :]
    if not hmac.compare_digest(seal, _sealed(content, purpose)) or _write_back(read) != token:
        raise refused
    value, name = json.loads(content)
    return value, name


def _write_back(read: bytes) -> str:
    # Two texts of base64 may mean the same bytes, in the bits of the last letter.
    return base64.urlsafe_b64encode(read).decode()


def _sealed(content: bytes, purpose: bytes) -> bytes:
    return hmac.digest(_SEAL, purpose + b"\n" + content, sha256)
