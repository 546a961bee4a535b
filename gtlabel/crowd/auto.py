"""The method to use when nothing is known about a crowd: three models that fail differently, averaged.

No single method wins on all crowds. Wawa counts hands and trusts no model; the hierarchical model of
`crowd.bayes` is Dawid-Skene where workers gave enough answers to be told apart and one-coin where they did not;
drawn to the share of answers it also withstands classes that its own belief would starve. Their posteriors are
multiplied and the cube root taken (a logarithmic opinion pool: Genest & Zidek 1986,
https://doi.org/10.1214/ss/1177013825), so that a model that is not sure gives way to one that is.
"""

from __future__ import annotations

import numpy as np

from gtlabel.crowd.bayes import bayes
from gtlabel.crowd.majority import wawa
from gtlabel.crowd.sums import Sums, sums_of
from gtlabel.crowd.votes import Consensus, Votes

# Each model may be entirely wrong about one object in fifty.
_DOUBT = 0.02


def auto(votes: Votes | Sums, objects: int, classes: int) -> Consensus:
    """The classes of objects, without a choice of method and without gold.

    Args:
        votes: the answers, or `Sums` of them.
        objects: how many objects there are, also those without answers.
        classes: how many classes there are, also those that nobody chose.
    """
    sums = sums_of(votes, objects, classes)
    counted = wawa(sums, objects, classes)
    free = bayes(sums, objects, classes, start=counted.posterior)
    held = bayes(sums, objects, classes, start=counted.posterior, share=1.0)
    pooled = np.zeros((objects, classes))
    for found in (counted, free, held):
        pooled += np.log((1 - _DOUBT) * found.posterior + _DOUBT / classes) / 3
    pooled = np.exp(pooled)
    pooled /= pooled.sum(axis=1, keepdims=True)
    return Consensus(
        pooled, held.confusion, held.skill, "auto", counted.rounds + free.rounds + held.rounds, None
    )
