"""Requests to S3, many at once, and as few as S3 can bear."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from queue import SimpleQueue
from random import Random
from typing import TYPE_CHECKING, Any, Self, TypeVar

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

S = TypeVar("S")
T = TypeVar("T")

# Answers that mean "later". botocore tries five times itself, but in a storm its budget of tries runs out.
_LATER = frozenset(
    (
        "SlowDown",
        "ServiceUnavailable",
        "InternalError",
        "RequestTimeout",
        "RequestLimitExceeded",
        "Throttling",
        "ThrottlingException",
        "OperationAborted",
        "500",
        "502",
        "503",
        "504",
    )
)
_TRIES = 8
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 20.0


class Flow:
    """How many requests are under way at once: half as many when S3 asks for that, then slowly more again.

    At the end of its `with`, pauses end and nothing is tried again.

    Args:
        most: the largest number.

    Attributes:
        refused: how often S3 was too busy or could not be reached.
    """

    def __init__(self, most: int) -> None:
        self._most = float(most)
        self._limit = float(most)
        self._busy = 0
        self._turn = threading.Condition()
        self._over = threading.Event()
        # Drawn by chance, that those who were refused together do not come back together.
        self._random = Random()  # noqa: S311 - pauses are no secret
        self.refused = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()

    def run(self, request: Callable[[], T]) -> T:
        """Do a request, and again after a pause while S3 is too busy or cannot be reached."""
        from botocore.exceptions import ClientError, HTTPClientError, IncompleteReadError
        from botocore.exceptions import ConnectionError as NoConnectionError

        for attempt in range(_TRIES):
            try:
                with self._one():
                    result = request()
            except (ClientError, HTTPClientError, IncompleteReadError, NoConnectionError) as error:
                later = not isinstance(error, ClientError) or error.response["Error"]["Code"] in _LATER
                if not later or attempt == _TRIES - 1 or self._over.is_set():
                    raise
            else:
                self._grow()
                return result
            self._shrink()
            self._over.wait(self._random.uniform(0, min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**attempt)))
        raise AssertionError("the last try either returns or raises")

    @contextmanager
    def _one(self) -> Iterator[None]:
        with self._turn:
            while self._busy >= max(1, int(self._limit)):
                self._turn.wait()
            self._busy += 1
        try:
            yield
        finally:
            with self._turn:
                self._busy -= 1
                self._turn.notify()

    def _grow(self) -> None:
        if self._limit < self._most:
            with self._turn:
                self._limit = min(self._most, self._limit + 1 / self._limit)
                self._turn.notify()

    def _shrink(self) -> None:
        with self._turn:
            self.refused += 1
            self._limit = max(1.0, self._limit / 2)


def at_once(work: Callable[[S], T], items: Sequence[S], workers: int) -> Iterator[T]:
    """Yield what `work` makes of each item, in the order in which it is done, by so many threads.

    After the first failure, or when the reader stops reading, nobody begins another item; what is under
    way is finished.
    """
    results: SimpleQueue[tuple[bool, Any]] = SimpleQueue()
    todo = iter(items)
    hand, stop = threading.Lock(), threading.Event()

    def take_turns() -> None:
        while not stop.is_set():
            with hand:
                item = next(todo, None)
            if item is None:
                return
            try:
                results.put((True, work(item)))
            # Handed to the reader, who raises it.
            except BaseException as error:  # noqa: BLE001
                stop.set()
                results.put((False, error))

    threads = min(workers, len(items))
    if not threads:
        return
    with ThreadPoolExecutor(threads, thread_name_prefix="copy") as pool:
        for _ in range(threads):
            pool.submit(take_turns)
        try:
            for _ in items:
                fine, result = results.get()
                if not fine:
                    raise result
                yield result
        finally:
            stop.set()


def connections(s3: S3Client) -> int:
    """How many requests the client can have under way at once."""
    config: Any = s3.meta.config
    return int(config.max_pool_connections)
