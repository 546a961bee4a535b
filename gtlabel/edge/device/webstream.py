"""The bytes of a camera that is a web server, as IP cameras and most webcam programs are."""

from __future__ import annotations

import errno
import http.client
import re
import socket
import time
from contextlib import suppress
from urllib.parse import SplitResult, urljoin, urlsplit

from gtlabel.edge.device.arguments import CAMERA_LOGIN, is_web
from gtlabel.edge.device.ending import Stop
from gtlabel.edge.device.logins import Login
from gtlabel.edge.device.streams import silent
from gtlabel.edge.device.weblogin import Entrance

_CHUNK = 1 << 16
_CONNECT_SECONDS = 5.0
_REDIRECTS = 3
_SEVERAL_PICTURES = re.compile(r"(multipart|video)/|application/octet-stream")
_ONE_PICTURE = "image/jpeg"
# A camera that makes a picture when it is asked for one has other things to do as well.
_LEAST_PAUSE = 0.2


def display(address: str) -> str:
    """An address as it may be printed: without who logs in, and without a query, which may hold a key."""
    if not is_web(address):
        return address
    url = urlsplit(address)
    return f"{url.scheme}://{url.netloc.rpartition('@')[2]}{url.path}"


class WebStream:
    """An answer of a web server that does not end, or the one picture that it answers, again and again.

    Args:
        address: `http://` or `https://`.
        stop: ends the waiting between two pictures.
        silence: seconds without a byte after which it counts as gone.
        every: seconds between two pictures, where each has to be asked for.
        login: who logs in where the camera asks; it is told to nobody whom the camera sends us on to.
    """

    live = True
    again = True

    def __init__(
        self, address: str, stop: Stop, silence: float, *, every: float = 0.0, login: Login | None = None
    ) -> None:
        self._address = address
        self._stop = stop
        self._silence = silence
        self._pause = max(every, _LEAST_PAUSE)
        self._entrance = Entrance(login) if login else None
        self._due: float | None = None
        self._one = self._open() == _ONE_PICTURE

    def read(self) -> bytes:
        """The next bytes."""
        try:
            return self._picture() if self._one else self._response.read1(_CHUNK)
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

    def _picture(self) -> bytes:
        """The newest picture, asked for anew when it is time; the first one was asked for at the start."""
        if self._due is not None:
            if self._stop.wait(self._due - time.monotonic()):
                return b""
            self._open()
        self._due = time.monotonic() + self._pause
        data = self._response.read()
        self.close()
        if not data:
            raise OSError(errno.EIO, "its picture is empty")
        return data

    def _open(self) -> str:
        """Ask until an answer has pictures; return of which kind it is."""
        kind, problem = self._follow()
        if not problem and kind != _ONE_PICTURE and not _SEVERAL_PICTURES.match(kind):
            problem = f"it answers {kind}, which is neither MJPEG nor a JPEG"
        if problem:
            self.close()
            raise OSError(errno.EIO, problem)
        return kind

    def _follow(self) -> tuple[str, str]:
        """Go where the camera sends us; return the kind of the answer there, or what is wrong with it."""
        address, known = self._address, True
        for _ in range(_REDIRECTS):
            problem = self._ask(address, self._entrance if known else None)
            location = self._response.headers.get("Location")
            if problem or self._response.status not in (301, 302, 303, 307, 308) or not location:
                break
            self.close()
            onward = urljoin(address, location)
            if not is_web(onward):
                raise OSError(errno.EIO, "it sends us on to something else than a web server")
            known = known and _same_camera(urlsplit(address), urlsplit(onward))
            address = onward
        if self._response.status != http.client.OK:
            problem = problem or f"it answers {self._response.status} {self._response.reason}"
        return self._response.headers.get_content_type(), problem

    def _ask(self, address: str, entrance: Entrance | None) -> str:
        """Ask for an address, and once more as whom it wants; return why we are not let in, or nothing."""
        self._request(address, entrance)
        if self._response.status != http.client.UNAUTHORIZED:
            return ""
        asked = self._response.headers.get_all("WWW-Authenticate") or []
        if entrance is None:
            if self._entrance:
                return "it sends us on to another one, which gets no login from us and wants one (401)"
            return (
                f"it wants a login (401); give user:password in {CAMERA_LOGIN} or in a file, with "
                "--camera-login FILE"
            )
        if not entrance.learn(asked):
            kinds = ", ".join(dict.fromkeys(challenge.partition(" ")[0] for challenge in asked))
            return f"it wants a login (401) of a kind that this does not know: {kinds or 'it names none'}"
        self.close()
        self._request(address, entrance)
        return "it refuses the login (401)" if self._response.status == http.client.UNAUTHORIZED else ""

    def _request(self, address: str, entrance: Entrance | None) -> None:
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
            self._connection.request("GET", path, headers=entrance.headers(path) if entrance else {})
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


def _same_camera(old: SplitResult, new: SplitResult) -> bool:
    """Whether one address is at the other's door, or at the encrypted one of the same host."""
    if old.hostname != new.hostname:
        return False
    if old.scheme == new.scheme:
        return old.port == new.port
    return new.scheme == "https"
