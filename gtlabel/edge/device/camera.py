"""A camera: its newest picture, and patience with it when it goes away."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from gtlabel.edge.device.arguments import is_web
from gtlabel.edge.device.ending import Stop
from gtlabel.edge.device.logins import Login
from gtlabel.edge.device.mjpeg import Splitter
from gtlabel.edge.device.sources import Picture
from gtlabel.edge.device.streams import FileStream, ProgramStream, Stream
from gtlabel.edge.device.webstream import WebStream, display

_FIRST_RETRY, _LONGEST_RETRY = 0.5, 30.0
# A camera that was there for so long had its trouble behind it.
_STEADY_SECONDS = 10.0
_END_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Way:
    """A way to pictures.

    Attributes:
        name: what to call it; holds no password.
        open: opens it, or raises OSError.
    """

    name: str
    open: Callable[[], Stream]


def ways(
    cameras: Sequence[str],
    command: Sequence[str],
    stop: Stop,
    silence: float,
    *,
    every: float = 0.0,
    login: Login | None = None,
) -> list[Way]:
    """The ways to the pictures of cameras, in the order in which they are tried.

    Args:
        cameras: as in `--camera`.
        command: a program that writes MJPEG, or nothing.
        stop: ends the waiting for pictures.
        silence: seconds without a byte after which a camera counts as gone.
        every: seconds between two pictures of a camera that gives one when it is asked.
        login: who logs in to those of the web.
    """

    def program(name: str, *command: str) -> Way:
        return Way(name, partial(ProgramStream, command, stop, silence))

    # Of a program only its name is told: its arguments may hold passwords.
    found = [program(command[0], *command)] if command else []
    for camera in cameras:
        if is_web(camera):
            stream = partial(WebStream, camera, stop, silence, every=every, login=login)
            found.append(Way(display(camera), stream))
        elif camera.startswith("/dev/video"):
            call = ("ffmpeg", "-nostdin", "-loglevel", "error", "-f", "v4l2")
            # The camera's own JPEG where it makes some, or else ffmpeg's best.
            found.append(
                program(
                    camera, *call, "-input_format", "mjpeg", "-i", camera, "-c:v", "copy", "-f", "mjpeg", "-"
                )
            )
            found.append(
                program(camera, *call, "-i", camera, "-c:v", "mjpeg", "-q:v", "2", "-f", "mjpeg", "-")
            )
        else:
            name = "stdin" if camera == "-" else camera
            found.append(Way(name, partial(FileStream, camera, stop, silence)))
    return found


class Newest:
    """Room for one picture, between a thread that reads a camera and the one that classifies.

    Attributes:
        passed: pictures that a newer one replaced before anybody took them.
    """

    def __init__(self, stop: Stop) -> None:
        self._stop = stop
        self._changed = threading.Condition()
        self._picture: Picture | None = None
        self._ended = False
        # The bell has a byte exactly while there is something to take.
        self._bell, self._ringer = os.pipe()
        self.passed = 0

    def put(self, picture: Picture, *, patient: bool) -> None:
        """Leave a picture; patience waits until the one before was taken."""
        with self._changed:
            if patient:
                self._changed.wait_for(lambda: self._picture is None or self._ended)
            if self._picture is None:
                os.write(self._ringer, b".")
            else:
                self.passed += 1
            self._picture = picture

    def end(self) -> None:
        """No picture comes any more."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
            if self._picture is None:
                os.write(self._ringer, b".")

    def take(self) -> Picture | None:
        """The newest picture, once there is one; None at the end and at the wish to stop."""
        if not self._stop.ready((self._bell,)):
            return None
        with self._changed:
            picture, self._picture = self._picture, None
            if picture is not None and not self._ended:
                os.read(self._bell, 1)
            self._changed.notify_all()
            return picture


class Camera:
    """Reads cameras in a thread of its own and gives the newest picture to whoever asks.

    The first way that gives pictures is taken. When it ends, all are tried again, with growing pauses; that
    pictures no longer come, and that they come again, is told once each. A recording gives all its pictures.

    Attributes:
        pictures: how many whole pictures came.
        broken: how many began and did not end.

    Args:
        found: the ways to pictures.
        stop: the wish to end.
        tell: takes sentences for people.
    """

    def __init__(self, found: Sequence[Way], stop: Stop, tell: Callable[[str], None]) -> None:
        self._ways = found
        self._stop = stop
        self._tell = tell
        self._newest = Newest(stop)
        self._stream: Stream | None = None
        self._away = False
        self._closing = threading.Lock()
        self.pictures = 0
        self.broken = 0
        self._thread = threading.Thread(target=self._read, name="camera", daemon=True)
        self._thread.start()

    @property
    def passed(self) -> int:
        """How many pictures were passed over for a newer one."""
        return self._newest.passed

    def __iter__(self) -> Iterator[Picture]:
        """The newest picture each time, until the end of a recording or the wish to stop."""
        while (picture := self._newest.take()) is not None:
            yield picture

    def close(self) -> None:
        """End the thread and what it reads from; the wish to stop was uttered, or the recording ended."""
        with self._closing:
            stream = self._stream
            if stream is not None:
                stream.interrupt()
        self._newest.end()
        self._thread.join(_END_SECONDS)

    def _read(self) -> None:
        try:
            pause = _FIRST_RETRY
            while not self._stop.asked:
                began = time.monotonic()
                ended = self._try_all()
                if ended:
                    break
                if time.monotonic() - began > _STEADY_SECONDS:
                    pause = _FIRST_RETRY
                self._stop.wait(pause)
                pause = min(2 * pause, _LONGEST_RETRY)
        finally:
            self._newest.end()

    def _try_all(self) -> bool:
        """Read from the first way that gives pictures, until it ends; say whether that was for good."""
        problems = []
        for way in self._ways:
            before = self.pictures
            again, problem = True, "it ended"
            try:
                stream = way.open()
                again = stream.again
                self._pump(way, stream)
            except OSError as error:
                problem = error.strerror or str(error)
            if not again or self._stop.asked:
                return True
            if self.pictures > before:
                self._away = True
                self._tell(f"the camera {way.name} is gone: {problem}; it is looked for until it is back")
                return False
            problems.append(f"{way.name}: {problem}")
        if not self._away:
            self._away = True
            # A device of /dev is tried in two ways, which may fail alike.
            reasons = "; ".join(dict.fromkeys(problems))
            self._tell(f"no camera gives pictures ({reasons}); it is tried until one does")
        return False

    def _pump(self, way: Way, stream: Stream) -> None:
        splitter = Splitter()
        broken = self.broken
        with self._closing:
            self._stream = stream
        try:
            while not self._stop.asked and (data := stream.read()):
                for picture in splitter.feed(data):
                    self._note(way)
                    origin = {"camera": way.name, "frame": self.pictures}
                    name = f"picture {self.pictures} of {way.name}"
                    self._newest.put(Picture(name, picture, origin), patient=not stream.live)
                self.broken = broken + splitter.broken
        finally:
            with self._closing:
                self._stream = None
            stream.close()

    def _note(self, way: Way) -> None:
        self.pictures += 1
        if self._away:
            self._away = False
            self._tell(f"the camera {way.name} gives pictures")
