"""Labels of a dataset that its own pictures contradict: those that a classifier of the others would not give.

Nothing is downloaded and nobody is asked: the pictures are looked at as in `gtlabel.images.features`, and
each label is judged by a classifier that learned from other pictures only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gtlabel.datasets.places import Place
from gtlabel.datasets.survey import open_dataset
from gtlabel.datasets.truth import Known, open_truth
from gtlabel.errors import DatasetError, ObjectNotFoundError
from gtlabel.images.parallel import in_parallel
from gtlabel.networks.preprocess import UnreadablePictureError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from gtlabel.manifests.split import Channel

# How many pictures are fetched at once.
_READERS = 8
_FOLDS = 5
# With fewer, a class that one fold leaves out has nearly nothing left to be learned from.
_LEAST_PICTURES = 10
# A classifier that would give fewer of the labels counts mostly its own mistakes. TrashNet's materials, one
# label in twenty changed, mean of 3 to 6 seeds: where it gave 82 to 91 % of them (2 and 3 classes, 119
# pictures and more), 0.8 to 1.8 times as many were counted as were changed; at 77 to 79 % 1.6 to 2.7 times;
# at 47 to 70 % (30 to 240 pictures) 2.6 to 7.8; below that up to 14 times.
_TELLING = 0.75


@dataclass(frozen=True, slots=True)
class Suspect:
    """A label, and the class that seems likelier.

    Attributes:
        image: the picture's address or path.
        label: its class.
        better: the likeliest other class.
        times: how many times likelier that is than the label.
        expected: whether it is among as many labels as are expected to be wrong.
    """

    image: str
    label: str
    better: str
    times: float
    expected: bool

    def to_json(self) -> dict[str, Any]:
        """As a line of a manifest, without a label that a job could take for one."""
        return {
            "source-ref": self.image,
            "suspect": {
                "label": self.label,
                "better": self.better,
                "times": float(f"{self.times:.3g}"),
                "expected": self.expected,
            },
        }


@dataclass(frozen=True, slots=True)
class Suspicious:
    """What a look at all labels found.

    Attributes:
        ranked: all labels, the most doubtful first.
        wrong: how many are expected to be wrong: the first so many are the suspects.
        unreadable: pictures that could not be looked at, those that are gone among them.
        agreeing: the share of the labels that the other pictures would have told.
    """

    ranked: tuple[Suspect, ...]
    wrong: int
    unreadable: tuple[str, ...]
    agreeing: float = 1.0

    @property
    def counted(self) -> bool:
        """Whether the other pictures tell enough of the labels for `wrong` to be about right.

        Where they do not, most suspects are right; the first of them are still the ones to look at.
        """
        return self.agreeing >= _TELLING

    @property
    def suspects(self) -> tuple[Suspect, ...]:
        """As many labels as are expected to be wrong, the most doubtful first."""
        return self.ranked[: self.wrong]


def suspicious_labels(
    place: Place,
    *,
    attribute: str | None = None,
    seed: int = 0,
    on_progress: Callable[[int, int], object] = lambda _done, _total: None,
) -> Suspicious:
    """Rank the labels of a dataset, a manifest or class folders by how likely they are wrong.

    It takes about 10 ms of CPU for each picture, 8 kB of memory, and the time to fetch it. The same labels
    always give the same.

    Args:
        place: where the labeled pictures are; of a dataset, all its channels.
        attribute: the attribute with the labels, where a manifest has several.
        seed: of the division into folds.
        on_progress: told how many pictures were looked at, of how many; 0 for unknown.

    Raises:
        DatasetError: if there are too few labels to learn from, or pictures with several classes.
    """
    import numpy as np

    from gtlabel.images.features import VIEWS, Directions
    from gtlabel.learning.classifier import cross_fitted
    from gtlabel.learning.suspects import find_suspects

    images: list[tuple[str, str]] = []
    rows: list[NDArray[np.float32]] = []
    unreadable: list[str] = []
    for done, (known, row) in enumerate(in_parallel(_look, _labeled(place, attribute), _READERS), start=1):
        on_progress(done, 0)
        if row is None:
            unreadable.append(known.name)
            continue
        images.append((known.name, known.classes[0]))
        rows.append(row)
    names = sorted({label for _, label in images})
    if len(names) < 2 or len(images) < _LEAST_PICTURES:
        gone = f" ({len(unreadable)} more are gone, or no pictures)" if unreadable else ""
        raise DatasetError(
            f"{place} has {len(images)} pictures in {len(names)} classes{gone}, which is not enough to tell "
            f"wrong labels from right ones; it takes {_LEAST_PICTURES} pictures and 2 classes"
        )
    labels = np.array([names.index(label) for _, label in images], dtype=np.intp)
    features = np.stack(rows)
    directions = Directions.of(features, VIEWS)
    probabilities = cross_fitted(
        directions.apply(features), labels, len(names), _FOLDS, seed, views=directions.views
    )
    found = find_suspects(probabilities, labels)
    ranked = tuple(
        Suspect(
            image=images[number][0],
            label=images[number][1],
            better=names[found.better[number]],
            times=math.exp(found.doubt[number]),
            expected=place_in_line < found.wrong,
        )
        for place_in_line, number in enumerate(found.ranked.tolist())
    )
    return Suspicious(ranked, found.wrong, tuple(unreadable), found.agreeing)


def _look(known: Known) -> NDArray[np.float32] | None:
    from gtlabel.images.features import one_picture

    try:
        return one_picture(known.read())
    except (UnreadablePictureError, ObjectNotFoundError):
        return None


def _labeled(place: Place, attribute: str | None) -> Iterator[Known]:
    try:
        channels: list[Channel] = [] if place.is_manifest else list(open_dataset(place).channels)
    except DatasetError:
        # Class folders; whatever else it is, `open_truth` says so.
        channels = []
    for channel in channels or ["train"]:
        truth = open_truth(place, channel=channel, attribute=attribute)
        for known in truth.images:
            if len(known.classes) != 1:
                raise DatasetError(
                    f"{known.name} has {len(known.classes)} classes in {truth.name}; labels can be doubted "
                    "where each picture has one"
                )
            yield known
