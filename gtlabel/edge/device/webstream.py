"""The bytes of a camera that is a web server, as IP cameras and most webcam programs are."""

from __future__ import annotations

import base64
import errno
import http.client
import re
import socket
from contextlib import suppress
from urllib.parse import unquote, urljoin, urlsplit

from gtlabel.edge.device.streams import silent

_CHUNK = 1 << 16
_CONNECT_SECONDS = 5.0
_REDIRECTS = 3
_SEVERAL_PICTURES = re.compile(r"(multipart|video)/|application/octet-stream")


def is_web(address: str) -> bool:
    """Whether it is an address of the web."""
    return address.startswith(("http://", "https://"))


def display(address: str) -> str:
    """An address as it may be printed: without who logs in, and without a query, which may hold a key."""
    if not is_web(address):
        return address
    url = urlsplit(address)
    return f"{url.scheme}://{url.netloc.rpartition('@')[2]}{url.path}"


class WebStream:
    """An answer of a web server that does not end.

    Args:
        address: `http://` or `https://`, with user and password where the camera wants them.
        silence: seconds without a byte after which it counts as gone.
    """

    live = True
    again = True

    def __init__(self, address: str, silence: float) -> None:
        self._silence = silence
        for _ in range(_REDIRECTS):
            self._request(address)
            location = self._response.headers.get("Location")
            if self._response.status not in (301, 302, 303, 307, 308) or not location:
                break
            self.close()
            # A relative one drops the login, which then has to be in the address that is given to us.
            address = urljoin(address, location)
        kind = self._response.headers.get_content_type()
        if self._response.status != http.client.OK:
            problem = f"it answers {self._response.status} {self._response.reason}"
        elif not _SEVERAL_PICTURES.match(kind):
            problem = f"it answers {kind}, which is no stream of MJPEG"
        else:
            return
        self.close()
        raise OSError(errno.EIO, problem)

    def read(self) -> bytes:
        """The next bytes."""
        try:
            return self._response.read1(_CHUNK)
        except TimeoutError as error:
            raise silent(self._silence) from error
        # A TLS connection that `interrupt` broke raises ValueError.
        except (http.client.HTTPException, ValueError) as error:
            raise OSError(errno.EIO, f"its answer broke off ({error!r})") from error

    def interrupt(self) -> None:
        """Break the connection."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection."""
        self._response.close()
        self._connection.close()

    def _request(self, address: str) -> None:
        try:
            url = urlsplit(address)
            kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
            self._connection = kind(url.hostname or "", url.port, timeout=_CONNECT_SECONDS)
        except (http.client.HTTPException, ValueError) as error:
            raise OSError(errno.EINVAL, f"this is no address ({error})") from error
        try:
            self._connection.connect()
            # After the answer's head has come, the connection no longer knows its socket.
            self._socket: socket.socket = self._connection.sock
            self._socket.settimeout(self._silence)
            path = (url.path or "/") + (f"?{url.query}" if url.query else "")
            self._connection.request("GET", path, headers=_login(url.username, url.password))
            self._response = self._connection.getresponse()
        except TimeoutError as error:
            self._connection.close()
            raise OSError(errno.ETIMEDOUT, "it does not answer") from error
        except (http.client.HTTPException, ValueError) as error:
            self._connection.close()
            raise OSError(errno.EIO, f"it does not speak HTTP ({error!r})") from error
        except OSError:
            self._connection.close()
            raise


def _login(user: str | None, password: str | None) -> dict[str, str]:
    if user is None:
        return {}
    pair = f"{unquote(user)}:{unquote(password or '')}"
    return {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}
