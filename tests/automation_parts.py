"""What the tests of automated labeling share: pictures that are easy to tell apart, and people who do."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from engine_parts import CLASSES, KEY, Bucket, PowerCut, Shop
from PIL import Image

from gtlabel.engine.jobs import Task

IMAGES = 240
# Nobody waits longer for a thread to think.
_SECONDS = 30
LOOKS = "gtlabel/features.npz"
_COLORS = ((200, 60, 60), (60, 200, 60), (60, 60, 200))

Opinion = Callable[[Task], str | None]


@cache
def picture(number: int) -> bytes:
    """A picture whose color tells its class."""
    noise = np.random.default_rng(number).normal(0, 25, (12, 16, 3))
    pixels = np.clip(np.array(_COLORS[number % 3]) + noise, 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).resize((32, 24)).save(file, "PNG")
    return file.getvalue()


class Cuttable(Bucket):
    """A bucket, and a power cut at the write of a file that holds a text.

    Attributes:
        cut: how the file's name ends, and what it holds; None for no power cut any more.
    """

    def __init__(self) -> None:
        super().__init__()
        self.cut: tuple[str, bytes] | None = None

    def put_object(self, Bucket: str, Key: str, Body: bytes, **how: Any) -> None:  # noqa: N803
        if self.cut is not None and Key.endswith(self.cut[0]) and self.cut[1] in Body:
            self.cut = None
            raise PowerCut
        super().put_object(Bucket, Key, Body, **how)


def right(task: Task) -> str:
    """What a picture shows."""
    return CLASSES[task.object % 3]


def shop(images: int = IMAGES, *, old: Shop | None = None, bucket: Bucket | None = None, **spec: Any) -> Shop:
    """An engine with an automated job; on the bucket and database of an old one, as after a power cut."""
    automation = {"target": 0.95, "risk": 0.05, "seed": 1, **spec.pop("automation", {})}
    fields = {"workers_per_object": 1, "automation": automation, **spec}
    if old is not None:
        return Shop(images, store=old.store, bucket=old.bucket, **fields)
    opened = Shop(images, bucket=bucket, **fields)
    for number in range(images):
        opened.bucket.files.setdefault(f"images/{number}.jpg", picture(number))
    return opened


def seen_before(opened: Shop, other: Shop) -> Shop:
    """Let a job go on from what another saw of the same pictures, which takes longest."""
    looks = f"{other.spec.root.key}/{LOOKS}"
    opened.bucket.files[looks] = other.bucket.files[looks]
    return opened


def work(
    opened: Shop,
    opinion: Opinion = right,
    until: Callable[[Shop], bool] = lambda _: False,
    worker: str = "ann",
) -> Shop:
    """Have one person answer whatever there is until the job is over; None declines."""
    while not (opened.turn().job.status.ended or until(opened)):
        task = opened.board.lease(KEY, worker)
        if task is None:
            assert opened.board.news.wait(_SECONDS), "nobody has anything to do, and nobody thinks"
            opened.board.news.clear()
            continue
        while task is not None:
            said = opinion(task)
            if said is None:
                opened.board.decline(task.lease)
            else:
                opened.say(task, said)
            task = opened.board.lease(KEY, worker)
    return opened


def report(opened: Shop) -> dict[str, Any]:
    """What a job tells of its automated labeling."""
    found: dict[str, Any] = json.loads(opened.tree()["gtlabel/automation.json"])
    return found


def by_machine(opened: Shop) -> dict[int, dict[str, Any]]:
    """The records of the output manifest that a machine labeled, by number."""
    return {
        number: record
        for number, record in enumerate(opened.records())
        if record.get("bin-metadata", {}).get("human-annotated") == "no"
    }
