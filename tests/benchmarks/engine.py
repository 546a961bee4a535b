"""What a step costs the engine: an answer taken and the next image handed out, without HTTP.

    python tests/benchmarks/engine.py [--objects 1000 100000] [--steps 20000] [--depth 64] [--database URL]

Fills a job, lets workers step with `--depth` requests waiting at any time, and prints steps a second, CPU
milliseconds a step, and the times that requests took. Every commit is flushed to disk.

Two more cases for each size: `seen` is a worker who has answered the first half of the images, all of which
still wait for others; `done` is the last tenth of a job whose other images are labeled. What a step costs
must not depend on either, nor on the number of images.
"""

from __future__ import annotations

import argparse
import gc
import resource
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, insert, update

from gtlabel.engine.board import Board, JobKey, JobSpec, Task
from gtlabel.engine.jobs import to_micros
from gtlabel.engine.ledger import Ledger
from gtlabel.engine.schema import leases, tasks
from gtlabel.engine.store import Store
from gtlabel.uris import S3Uri

CLASSES = ("Compost", "Landfill", "Recycle")
ANSWER = {"crowd-image-classifier": {"label": "Compost"}}
# As a simulated or real page sends it.
ACTIVE_SECONDS = 1.25
NEED = 3


@dataclass(frozen=True, slots=True)
class Cost:
    """What steps took: how many a second, CPU each, and how long the middle and slow ones; milliseconds."""

    steps: int
    per_second: float
    cpu: float
    p50: float
    p99: float

    def __str__(self) -> str:
        return (
            f"{self.steps:7} steps  {self.per_second:7.0f}/s  {self.cpu:.3f} ms CPU each  "
            f"p50 {self.p50:.0f} ms  p99 {self.p99:.0f} ms"
        )


class Bench:
    """A job with all its images sent out."""

    def __init__(self, store: Store, name: str, objects: int) -> None:
        self.store = store
        self.board = Board(store)
        self.key = JobKey("123456789012", "us-east-1", name)
        # Only who leads may move jobs on.
        store.leading()
        ledger = Ledger(store, lambda: datetime.now(UTC))
        spec = JobSpec(
            key=self.key,
            attribute="bin",
            manifest=S3Uri("s3://trash/in.manifest"),
            class_list=S3Uri("s3://trash/classes.json"),
            output=S3Uri("s3://trash/out/"),
            workers_per_object=NEED,
            # What CreateLabelingJob keeps of its request is of about that size.
            request={"Tags": [{"Key": f"tag-{n}", "Value": "x" * 60} for n in range(20)]},
        )
        self.job = self.board.create_job(spec)
        ledger.replace_tasks(self.job, _rows(objects))
        ledger.begin(self.job, CLASSES)
        ledger.choose(self.job, objects)
        ledger.send(self.board.job(self.key))

    def steps(self, workers: Sequence[str], steps: int) -> Cost:
        """Let workers step, each waiting for the answer to their last request, and see what it costs."""
        held = [self.board.lease(self.key, worker) for worker in workers]
        left, over = steps, threading.Event()
        waiting = sum(task is not None for task in held)
        taken: list[float] = []
        gate = threading.Lock()

        def ask(task: Task) -> None:
            asked = time.perf_counter()

            def answered(future: Future[Task | None]) -> None:
                nonlocal left, waiting
                taken.append(time.perf_counter() - asked)
                following = future.result()
                with gate:
                    left -= 1
                    if left >= waiting and following is not None:
                        again = True
                    else:
                        waiting -= 1
                        again = False
                        if waiting == 0:
                            over.set()
                if again and following is not None:
                    ask(following)

            self.board.step_soon(task.lease, ANSWER, ACTIVE_SECONDS).add_done_callback(answered)

        gc.collect()
        start, cpu = time.perf_counter(), time.process_time()
        given = [task for task in held if task is not None]
        assert given, "there is nothing left to do for these workers"
        for task in given:
            ask(task)
        over.wait()
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        taken.sort()
        count = len(taken)
        return Cost(
            count,
            count / seconds,
            cpu / count * 1000,
            taken[count // 2] * 1000,
            taken[int(count * 0.99)] * 1000,
        )

    def let_see(self, worker: str, objects: int) -> None:
        """Write that a worker answered the images that stand first in line."""
        now = to_micros(datetime.now(UTC))
        rows = [
            {
                "id": f"{self.key.name}-{worker}-{number}",
                "job": self.job.number,
                "object": number,
                "worker": worker,
                "seat": worker,
                "state": "done",
                "accepted": now,
                "expires": now,
            }
            for number in range(objects)
        ]
        here = (tasks.c.job == self.job.number, tasks.c.object < objects)

        def see(connection: Connection) -> None:
            connection.execute(insert(leases), rows)
            connection.execute(update(tasks).where(*here).values(open_slots=NEED - 1))

        self.store.write(see)

    def let_be_done(self, objects: int) -> None:
        """Write that all but the last tenth of the images have their labels."""
        here = (tasks.c.job == self.job.number, tasks.c.object < objects * 9 // 10)

        def finish(connection: Connection) -> None:
            connection.execute(update(tasks).where(*here).values(state="labeled", open_slots=0))

        self.store.write(finish)


def _rows(objects: int) -> Iterator[dict[str, Any]]:
    for number in range(objects):
        source = f"s3://trash/images/camera-7/2026-11-22/{number:08}.jpg"
        yield {
            "object": number,
            "line": f'{{"source-ref":"{source}","weight":1.5}}',
            "source_ref": source,
            "rank": number,
            "state": "waiting",
        }


@contextmanager
def database(url: str | None) -> Iterator[str]:
    """The URL of a database to use; by default a new file."""
    if url is not None:
        yield url
        return
    with tempfile.TemporaryDirectory(prefix="gtlabel-engine-") as folder:
        yield f"sqlite:///{Path(folder) / 'engine.sqlite'}"


def measure(store: Store, objects: int, steps: int, depth: int) -> dict[str, Cost]:
    """The three cases for a number of images."""
    crowd = [f"worker-{n}" for n in range(depth)]
    possible = objects * NEED - depth * NEED
    costs = {"fresh": Bench(store, f"fresh-{objects}", objects).steps(crowd, min(steps, possible))}
    seen = Bench(store, f"seen-{objects}", objects)
    for worker in crowd[:2]:
        seen.let_see(worker, objects // 2)
    costs["seen"] = seen.steps(crowd[:2], min(steps, objects) // 10)
    done = Bench(store, f"done-{objects}", objects)
    done.let_be_done(objects)
    costs["done"] = done.steps(crowd, min(steps, possible // 10) // 2)
    return costs


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--objects", type=int, nargs="+", default=[1_000, 100_000])
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--depth", type=int, default=64)
    parser.add_argument("--database", help="an SQLAlchemy URL; by default a new SQLite file")
    parser.add_argument("--answers", type=int, default=0, help="at last, so many steps for the memory's sake")
    options = parser.parse_args(arguments)
    with database(options.database) as url:
        store = Store(url)
        for objects in options.objects:
            for name, cost in measure(store, objects, options.steps, options.depth).items():
                print(f"{objects:7} images, {name:5} {cost}")
        if options.answers:
            _watch_memory(store, options.answers, options.depth)
        store.close()


def _watch_memory(store: Store, answers: int, depth: int) -> None:
    bench = Bench(store, "memory", answers // 2 + 2 * depth)
    crowd = [f"worker-{n}" for n in range(depth)]
    for part in range(10):
        cost = bench.steps([f"{worker}-{part % NEED}" for worker in crowd], answers // 10)
        # Linux counts in kilobytes: https://man7.org/linux/man-pages/man2/getrusage.2.html
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(f"{(part + 1) * answers // 10:7} answers: {used} MB at most, {cost}")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
