"""Pictures through a network: fetched and decoded beside each other, answered in batches, kept in order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from gtlabel.errors import ObjectArchivedError, ObjectNotFoundError, StorageDeniedError
from gtlabel.networks.preprocess import UnreadablePictureError

if TYPE_CHECKING:
    from gtlabel.networks.runtime import Network

T = TypeVar("T")

BATCH = 32
# Decoding keeps a core busy, fetching waits for the network.
DECODERS = min(4, os.cpu_count() or 1)
FETCHERS = 16

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """What a network makes of a picture.

    Attributes:
        item: the picture, as it was asked for.
        probabilities: one for each class; None if the picture cannot be used.
        problem: why it cannot be used; empty if it can.
    """

    item: T
    probabilities: Floats | None
    problem: str = ""


def answers(
    network: Network,
    items: Iterable[T | None],
    read: Callable[[T], bytes],
    *,
    workers: int = DECODERS,
    batch: int = BATCH,
) -> Iterator[Answer[T]]:
    """Yield what a network makes of each picture, in their order, two batches of them in memory.

    A picture that is not there, that may not be read or that nothing can decode is answered with its
    problem; whatever else goes wrong is raised.

    Args:
        network: the network.
        items: the pictures; None among them says that no other comes soon, so that nobody waits for a batch
            to be full.
        read: fetches the file of one; it is called from several threads.
        workers: how many pictures are fetched and decoded at once.
        batch: how many pictures the network gets at once.
    """
    waiting: deque[tuple[T, Future[Floats | str]]] = deque()

    def prepare(item: T) -> Floats | str:
        try:
            return network.load(read(item))
        except UnreadablePictureError as error:
            return str(error)
        except (ObjectNotFoundError, ObjectArchivedError, StorageDeniedError) as error:
            return str(error)
        except OSError as error:
            if error.filename is None:
                raise
            return (error.strerror or str(error)).lower()

    def answered(most: int) -> Iterator[Answer[T]]:
        taken = [waiting.popleft() for _ in range(min(most, len(waiting)))]
        prepared = [(item, future.result()) for item, future in taken]
        pixels = [each for _, each in prepared if not isinstance(each, str)]
        rows = iter(network.probabilities(np.stack(pixels)) if pixels else ())
        for item, each in prepared:
            yield Answer(item, None, each) if isinstance(each, str) else Answer(item, next(rows))

    with_threads = ThreadPoolExecutor(workers, thread_name_prefix="pictures")
    try:
        for item in items:
            if item is None:
                while waiting:
                    yield from answered(batch)
                continue
            waiting.append((item, with_threads.submit(prepare, item)))
            if len(waiting) >= 2 * batch:
                yield from answered(batch)
        while waiting:
            yield from answered(batch)
    finally:
        with_threads.shutdown(wait=True, cancel_futures=True)
