"""Jobs to which things happen in any order, also while their files are written."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from random import Random
from typing import Any

import pytest
from engine_parts import CLASSES, KEY, Bucket, Shop, answer

from gtlabel.engine import labels
from gtlabel.engine.gold import Gold
from gtlabel.engine.jobs import Status
from gtlabel.engine.settlement import Settlement
from gtlabel.errors import LeaseError
from gtlabel.uris import S3Uri

GOLD = S3Uri("s3://trash/gold.manifest")
DAY = 86_400


class Restless(Bucket):
    """A bucket on which something may happen at every write."""

    happen: Callable[[], None] = staticmethod(lambda: None)

    def put_object(self, Bucket: str, Key: str, Body: bytes, **more: Any) -> None:  # noqa: N803
        super().put_object(Bucket, Key, Body, **more)
        self.happen()


def opened(fate: Random) -> Shop:
    """A job of any kind that asks for answers one by one, or all at once."""
    images, most = fate.randint(5, 20), fate.randint(1, 4)
    bucket = Restless()
    bucket.files[GOLD.key] = b"\n".join(
        b'{"source-ref":"s3://trash/images/%d.jpg","class":"%s"}' % (n, CLASSES[n % 3].encode())
        for n in range(0, images, 4)
    )
    return Shop(
        images,
        bucket=bucket,
        workers_per_object=most,
        consensus=fate.choice(("wawa", "majority")),
        redundancy=fate.choice((None, f"first={fate.randint(1, most)} error=0.02")),
        gold=fate.choice((None, GOLD)),
        max_concurrent=fate.choice((3, 1000)),
        availability_seconds=fate.choice((600, 30 * DAY)),
    )


def happen(shop: Shop, fate: Random) -> None:
    """Something that a worker, the owner, or the engine does."""
    worker, chance = f"worker-{fate.randrange(6)}", fate.random()
    try:
        if chance < 0.8:
            task = shop.board.lease(KEY, worker)
            if task is not None and fate.random() < 0.08:
                shop.board.decline(task.lease)
            elif task is not None and fate.random() < 0.95:
                wrong = fate.random() < 0.3
                shop.board.submit(task.lease, answer(CLASSES[(task.object + wrong) % 3]))
        elif chance < 0.815:
            shop.board.withdraw_worker(KEY, worker)
        elif chance < 0.83:
            shop.board.raise_need(KEY, [fate.randrange(5)], 5)
        elif chance < 0.835:
            shop.board.stop(KEY)
        elif chance < 0.85:
            shop.foreman.forget()
        elif chance < 0.86:
            shop.clock.pass_seconds(300)
        else:
            shop.turn()
    except LeaseError:
        # Not now: the job has ended, or the worker has no place in it.
        assert chance < 0.83


@pytest.mark.parametrize("seed", range(12))
def test_whatever_happens_the_files_tell_what_the_answers_that_count_say(seed: int) -> None:
    fate = Random(seed)
    shop = opened(fate)
    bucket = shop.bucket
    assert isinstance(bucket, Restless)
    shop.start()

    def meddle() -> None:
        if fate.random() < 0.02:
            # It may be too late, or nobody who had an image.
            with suppress(LeaseError):
                shop.board.withdraw_worker(KEY, f"worker-{fate.randrange(6)}")

    bucket.happen = meddle
    for _ in range(3000):
        if shop.job.status.ended:
            break
        happen(shop, fate)
    shop.clock.pass_seconds(40 * DAY)
    shop.turn()

    job = shop.job
    assert job.status in (Status.COMPLETED, Status.STOPPED)
    heard = Settlement(shop.store).heard(job, lambda said: labels.chosen(job, said))
    told = {number: record["bin"] for number, record in enumerate(shop.records()) if "bin" in record}
    made = labels.verdict(job, heard, Gold(shop.store).of(job)).labels if heard else {}
    assert told == {number: found.index for number, (found,) in made.items()}
    assert shop.board.counters(KEY).human_labeled == len(told)
    if shop.spec.redundancy is not None:
        saved = json.loads(shop.tree()["gtlabel/redundancy.json"])
        assert saved["answers"] == sum(map(len, heard.values()))
