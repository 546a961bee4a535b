"""Typical places of the training pictures, learned by k-means, for `FeatureNetwork.add_words`.

Dictionaries of places and how often each word occurs: Csurka et al., Visual Categorization with Bags of
Keypoints, 2004. The first centers are spread as in k-means++ (Arthur and Vassilvitskii, SODA 2007).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Floats64 = NDArray[np.float64]

# More places change no word by much, and cost time.
_MOST_PLACES = 6_000
_ROUNDS = 6
# Two places nearer than this, of colors from 0 to 1, are the same.
_SAME = 1e-3


def sample_places(places: Floats, random: np.random.Generator) -> Floats64:
    """Some places of pictures (n, places, values), as rows."""
    rows = places.reshape(-1, places.shape[-1])
    if len(rows) > _MOST_PLACES:
        rows = rows[np.sort(random.choice(len(rows), _MOST_PLACES, replace=False))]
    return rows.astype(np.float64)


def learn_words(places: Floats64, count: int, random: np.random.Generator) -> tuple[Floats64, float]:
    """Words for places, and how fast likeness to one should fall with the squared distance.

    Args:
        places: shape (n, values).
        count: how many words at most; there are fewer where the places do not differ more.
        random: chooses where to begin.

    Returns:
        the words, shape (words, values), and a sharpness at which a place is like its two nearest words.
    """
    words = _spread(places, count, random)
    for _ in range(_ROUNDS):
        nearest = _squared_distances(places, words).argmin(axis=1)
        members = np.bincount(nearest, minlength=len(words))
        sums = np.stack([np.bincount(nearest, column, len(words)) for column in places.T], axis=1)
        # A word that lost all its places stays where it is.
        words = np.where(members[:, None] > 0, sums / np.maximum(members, 1)[:, None], words)
    nearest = np.partition(_squared_distances(places, words), min(1, len(words) - 1), axis=1)[:, :2]
    second = nearest.max(axis=1)
    return words, float(1 / max(float(np.median(second)), _SAME**2))


def _spread(places: Floats64, count: int, random: np.random.Generator) -> Floats64:
    chosen = [places[int(random.integers(len(places)))]]
    nearest = ((places - chosen[0]) ** 2).sum(axis=1)
    while len(chosen) < count and nearest.max() > _SAME**2:
        place = places[int(random.choice(len(places), p=nearest / nearest.sum()))]
        chosen.append(place)
        nearest = np.minimum(nearest, ((places - place) ** 2).sum(axis=1))
    return np.array(chosen)


def _squared_distances(rows: Floats64, centers: Floats64) -> Floats64:
    distances: Floats64 = (rows**2).sum(axis=1)[:, None] - 2 * rows @ centers.T + (centers**2).sum(axis=1)
    return distances.clip(min=0)
