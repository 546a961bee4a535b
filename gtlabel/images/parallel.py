"""Many requests at once, their answers in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

# Enough that one slow answer does not keep the other threads waiting.
_AHEAD = 8


def in_parallel(work: Callable[[T], R], items: Iterable[T], workers: int) -> Iterator[tuple[T, R]]:
    """Yield each item with what `work` made of it, in the order of the items.

    Items are taken as they are needed, so there may be any number of them. When something raises, or
    the reader stops reading (Ctrl-C), what waits is dropped and only what is under way is finished.
    """
    pool = ThreadPoolExecutor(workers)
    waiting: deque[tuple[T, Future[R]]] = deque()
    try:
        for item in items:
            waiting.append((item, pool.submit(work, item)))
            if len(waiting) >= workers * _AHEAD:
                done, future = waiting.popleft()
                yield done, future.result()
        while waiting:
            done, future = waiting.popleft()
            yield done, future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
