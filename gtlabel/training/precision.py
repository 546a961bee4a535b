"""Whether a model may compute in 8 bits, by pictures whose class is known."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING, overload

import numpy as np
from numpy.typing import NDArray

from gtlabel.errors import QuantizationError
from gtlabel.networks.preprocess import UnreadablePictureError
from gtlabel.networks.quantize import MOST_DROP, Choice, choose_int8
from gtlabel.training.answering import FETCHERS
from gtlabel.training.evaluate import Known
from gtlabel.training.model import Model

if TYPE_CHECKING:
    from gtlabel.networks.runtime import Network

# At 224 x 224 they take 300 MB, and the answers of a ResNet-50 some minutes.
MOST_PICTURES = 2000


def choose_precision(
    model: Model, images: Iterable[Known], *, most_drop: float = MOST_DROP, most: int = MOST_PICTURES
) -> Choice:
    """Make a network of 8 bits, and keep it where it is about as often right; see `choose_int8`.

    Pictures that nothing can decode are left out. Of more than `most` pictures, some at even distances are
    taken: class folders come one class after another.

    Args:
        model: what `open_model` returns.
        images: pictures whose class is known, such as those of the validation channel; `open_truth` finds
            them.
        most_drop: the share of the pictures that may be lost, 0 to 1.
        most: how many pictures to look at.

    Raises:
        QuantizationError: if there is no picture that can be read, or one is of a class that the network does
            not know, or of several where it gives one.
    """
    pictures = _Pictures()
    labels: list[int | Sequence[int]] = []
    step = 1
    first = iter(images)
    # Those after the first are thinned, and to fetch what is then passed over would be in vain.
    for number, image in enumerate(chain(_ahead(islice(first, most)), first)):
        if number % step:
            continue
        label = _label(model, image)
        try:
            pictures.add(model.network, image.read())
        except UnreadablePictureError:
            continue
        labels.append(label)
        if len(labels) > most:
            pictures.thin()
            del labels[1::2]
            step *= 2
    return choose_int8(model.onnx, pictures, labels, most_drop=most_drop)


@dataclass(frozen=True, slots=True)
class _Coming:
    """A picture that is being fetched."""

    name: str
    classes: tuple[str, ...]
    read: Callable[[], bytes]


def _ahead(images: Iterable[Known]) -> Iterator[Known]:
    """The same pictures in the same order, some of them fetched before they are asked for."""
    fetchers = ThreadPoolExecutor(FETCHERS)
    coming: deque[Known] = deque()
    try:
        for image in images:
            coming.append(_Coming(image.name, image.classes, fetchers.submit(image.read).result))
            if len(coming) > FETCHERS:
                yield coming.popleft()
        yield from coming
    finally:
        fetchers.shutdown(cancel_futures=True)


def _label(model: Model, image: Known) -> int | Sequence[int]:
    """The class of a picture by its index; those of a multi-label network's, by theirs."""
    for name in image.classes:
        if name not in model.classes:
            raise QuantizationError(
                f"{image.name} is {name!r}, and {model.name} knows {', '.join(model.classes)} only"
            )
    indices = [model.classes.index(name) for name in image.classes]
    if model.network.multi_label:
        return indices
    if len(indices) != 1:
        raise QuantizationError(
            f"{image.name} has {len(indices)} classes, and {model.name} gives each picture one"
        )
    return indices[0]


class _Pictures(Sequence[NDArray[np.float32]]):
    """A network's inputs, held in a byte for each value: decoded pictures have whole ones."""

    def __init__(self) -> None:
        self._held: list[NDArray[np.uint8]] = []

    def add(self, network: Network, picture: bytes) -> None:
        self._held.append(network.load(picture).astype(np.uint8))

    def thin(self) -> None:
        """Forget every second one."""
        del self._held[1::2]

    def __len__(self) -> int:
        return len(self._held)

    @overload
    def __getitem__(self, index: int) -> NDArray[np.float32]: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[NDArray[np.float32]]: ...
    def __getitem__(self, index: int | slice) -> NDArray[np.float32] | Sequence[NDArray[np.float32]]:
        if isinstance(index, slice):
            return [each.astype(np.float32) for each in self._held[index]]
        return self._held[index].astype(np.float32)
