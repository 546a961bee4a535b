"""The program of a bundle: it classifies pictures on a device that has only Python and a few packages."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gtlabel.edge.device import sources
from gtlabel.edge.device.arguments import Options, parse
from gtlabel.edge.device.camera import Camera, ways
from gtlabel.edge.device.classifier import Classifier, self_test
from gtlabel.edge.device.decide import Decider
from gtlabel.edge.device.ending import UNDELIVERED, UNREADABLE, RunError, Stop
from gtlabel.edge.device.logins import camera_login
from gtlabel.edge.device.sinks import Sinks, Stdout, takes_bytes
from gtlabel.edge.device.sources import Picture

if TYPE_CHECKING:
    from gtlabel.edge.device.frames import UnsureFrames

# A camera that sends nothing for so long is taken for gone; one that is asked rarely may be slow itself.
_SILENCE_SECONDS = 10.0
_STDERR = 2
# Who has read nothing for so long will miss a sentence, and the camera goes on.
_LISTEN_SECONDS = 0.5


def main(folder: Path, argv: Sequence[str] | None = None) -> int:
    """Run the program; SIGTERM and Ctrl-C end it after the picture at hand.

    Args:
        folder: the unpacked bundle.
        argv: the arguments; by default those of the command line.

    Returns:
        The exit code, as listed in `launcher.py`.
    """
    options = parse(argv)
    stop = Stop()
    stop.at_signals()
    try:
        return _run(folder, options, stop)
    except RunError as error:
        tell(str(error))
        return error.code
    except BrokenPipeError:
        # Whoever read stdout has seen enough, as with `| head -1`.
        return 0


def tell(sentence: str) -> None:
    """Say something to people, unless they do not listen."""
    # Where stderr cannot be written there is nobody left to tell; it may be the same pipe as stdout.
    with contextlib.suppress(OSError):
        if takes_bytes(_STDERR, _LISTEN_SECONDS):
            os.write(_STDERR, f"run.py: {sentence}\n".encode(errors="replace"))


def _run(folder: Path, options: Options, stop: Stop) -> int:
    if options.selftest:
        line = json.dumps(self_test(folder)).encode()
        Stdout(alone=True, stop=stop, tell=tell).send(line)
        return 0
    classifier = Classifier(folder, options.model)
    sinks = Sinks(options, stop, tell)
    try:
        judge = _Judge(classifier, sinks, options)
        code = _watch_camera(judge, options, stop) if options.camera else _go_through(judge, options, stop)
    finally:
        missing = sinks.close()
    return code or (UNDELIVERED if missing else 0)


class _Judge:
    """Tells the sinks what the model says of one picture after another.

    Attributes:
        told: how many pictures were classified.
        broken: how many were no whole pictures.
    """

    def __init__(self, classifier: Classifier, sinks: Sinks, options: Options) -> None:
        self._classifier = classifier
        self._sinks = sinks
        self._always = options.announce == "every"
        self._common = {"model": classifier.digest, "thing": options.thing}
        threshold = classifier.manifest["threshold"] if options.threshold is None else options.threshold
        self._decider = Decider(
            classifier.labels,
            threshold=float(threshold),
            top=options.top,
            debounce=options.debounce,
            several=classifier.several,
        )
        self._unsure = _unsure_frames(classifier, options)
        self.told = 0
        self.broken = 0

    def take(self, picture: Picture) -> str:
        """Classify a picture and tell it; return why that was not possible, or nothing."""
        problem = picture.problem
        if not problem:
            try:
                values = self._classifier.probabilities(picture.data)
            except ValueError as error:
                problem = str(error)
        if problem:
            self.broken += 1
            return problem
        self.told += 1
        decision = self._decider.decide(values)
        taken = picture.taken.isoformat(timespec="milliseconds")
        line = {**decision.said, **self._common, **picture.origin, "ts": taken}
        if self._always or decision.changed:
            self._sinks.send(line)
        if self._unsure:
            self._unsure.consider(picture.data, values, line)
        return ""


def _unsure_frames(classifier: Classifier, options: Options) -> UnsureFrames | None:
    if not options.unsure:
        return None
    from gtlabel.edge.device.frames import UnsureFrames

    return UnsureFrames(
        options.unsure,
        below=options.unsure_below,
        per_day=options.unsure_budget,
        several=classifier.several,
        labels=classifier.labels,
        say=tell,
    )


def _go_through(judge: _Judge, options: Options, stop: Stop) -> int:
    """Files and folders: every picture there is."""
    for picture in _pictures(options, stop):
        if stop.asked:
            break
        problem = judge.take(picture)
        if problem:
            tell(f"{picture.name}: {problem}")
    # Who watches has seen every complaint; an old broken picture is no reason to restart the program.
    return UNREADABLE if judge.broken and not options.watch else 0


def _pictures(options: Options, stop: Stop) -> Iterable[Picture]:
    if options.images:
        return map(sources.read, options.images)
    assert options.folder is not None
    if options.watch:
        return sources.watch(options.folder, options.poll, stop)
    return sources.within(options.folder)


def _watch_camera(judge: _Judge, options: Options, stop: Stop) -> int:
    """A camera: the newest picture each time."""
    silence = max(_SILENCE_SECONDS, 2 * options.every)
    # A login that cannot be read ends the program; a camera without one would be tried for ever.
    login = camera_login(options)
    found = ways(options.cameras, options.camera_command, stop, silence, every=options.every, login=login)
    camera = Camera(found, stop, tell)
    try:
        due = time.monotonic()
        for picture in camera:
            problem = judge.take(picture)
            if problem and judge.broken == 1:
                tell(f"{picture.name} is passed over: {problem}; further ones are only counted")
            due = max(due + options.every, time.monotonic())
            stop.wait(due - time.monotonic())
    finally:
        # A result that could not be told ends this as well, and then the camera's thread has to hear of it.
        asked = stop.asked
        stop.ask()
        camera.close()
        tell(
            f"{camera.pictures} pictures came, {judge.told} were classified, "
            f"{camera.passed} passed over for a newer one, {judge.broken + camera.broken} broken"
        )
    return 0 if judge.told or asked else UNREADABLE
