"""The program of a bundle: it classifies pictures on a device that has only Python and three packages."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from gtlabel.edge.device import sources
from gtlabel.edge.device.arguments import Options, parse
from gtlabel.edge.device.classifier import Classifier, self_test
from gtlabel.edge.device.ending import UNREADABLE, RunError, Stop


def main(folder: Path, argv: Sequence[str] | None = None) -> int:
    """Run the program; SIGTERM and Ctrl-C end it after the picture at hand.

    Args:
        folder: the unpacked bundle.
        argv: the arguments; by default those of the command line.

    Returns:
        The exit code.
    """
    options = parse(argv)
    stop = Stop()
    stop.at_signals()
    try:
        return _run(folder, options, stop)
    except RunError as error:
        tell(f"run.py: {error}")
        return error.code
    except BrokenPipeError:
        # The reader went away; without this, closing stdout would complain once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def tell(sentence: str) -> None:
    """Say something to people."""
    # Where stderr cannot be written there is nobody left to tell.
    with contextlib.suppress(OSError):
        sys.stderr.write(f"{sentence}\n")
        sys.stderr.flush()


def _run(folder: Path, options: Options, stop: Stop) -> int:
    if options.selftest:
        _print(self_test(folder))
        return 0
    classifier = Classifier(folder, options.model)
    threshold = float(classifier.manifest["threshold"]) if options.threshold is None else options.threshold
    all_readable = True
    for picture in _pictures(options, stop):
        if stop.asked:
            break
        problem = picture.problem
        if not problem:
            try:
                values = classifier.probabilities(picture.data)
            except ValueError as error:
                problem = str(error)
        if problem:
            tell(f"{picture.name}: {problem}")
            all_readable = False
            continue
        ranked = sorted(zip(classifier.labels, values, strict=True), key=lambda pair: -pair[1])
        label, confidence = ranked[0]
        _print(
            {
                "label": label if confidence >= threshold else None,
                "confidence": round(confidence, 6),
                "top": [
                    {"label": name, "confidence": round(value, 6)} for name, value in ranked[: options.top]
                ],
                "model": classifier.digest,
                "thing": options.thing,
                **picture.origin,
                "ts": picture.taken.isoformat(timespec="milliseconds"),
            }
        )
    # Who watches has seen every complaint; an old broken picture is no reason to restart the program.
    return 0 if all_readable or options.watch else UNREADABLE


def _pictures(options: Options, stop: Stop) -> Iterator[sources.Picture]:
    if options.images:
        return map(sources.read, options.images)
    assert options.folder is not None
    return (
        sources.watch(options.folder, options.poll, stop) if options.watch else sources.within(options.folder)
    )


def _print(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()
