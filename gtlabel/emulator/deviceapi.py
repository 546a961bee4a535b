"""How an emulated device reaches its emulator."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from gtlabel.errors import EdgeError, EmulatorNotReadyError

if TYPE_CHECKING:
    from gtlabel.aws import Aws

DeviceApi = Callable[[str, dict[str, Any]], dict[str, Any]]  # a question of the device API to its answer


def http_api(aws: Aws) -> DeviceApi:
    """The device API of the emulator that `aws` points to."""
    import urllib.error
    import urllib.request
    from http.client import HTTPException

    address = aws.greengrass.meta.endpoint_url.rstrip("/")
    if address.endswith(".amazonaws.com"):
        raise EmulatorNotReadyError(
            "an emulated device needs an emulator; start one with `gtlabel local up`, "
            'then run eval "$(gtlabel local env)"'
        )

    def call(path: str, body: dict[str, Any]) -> dict[str, Any]:
        request = urllib.request.Request(  # noqa: S310 - the address is the user's own
            f"{address}/gtlabel/device/{path}",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
                answer: dict[str, Any] = json.load(response)
                return answer
        except urllib.error.HTTPError as error:
            text = error.read().decode("utf-8", "replace")
            if error.code >= HTTPStatus.INTERNAL_SERVER_ERROR:
                # It is going down, or coming up.
                raise EmulatorNotReadyError(
                    f"the emulator at {address} answers {error.code}: {text}"
                ) from error
            raise EdgeError(f"the emulator at {address} refuses to {path}: {_sentence(text)}") from error
        except (OSError, HTTPException, ValueError) as error:
            raise EmulatorNotReadyError(f"no emulator answers at {address}: {error}") from error

    return call


def _sentence(answer: str) -> str:
    """What an error says; all of it, if it is none of the device API's."""
    with suppress(ValueError, KeyError, TypeError):
        return str(json.loads(answer)["message"])
    return answer
