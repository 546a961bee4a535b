"""The method to use when nothing is known about a crowd.

No single method wins on all crowds, and nobody can choose among them without gold. So `auto` does not choose.
Three opinions get a third of the probability each (a linear pool: Genest & Zidek 1986,
https://doi.org/10.1214/ss/1177013825):

* the hierarchy of `crowd.bayes`. It contains Dawid-Skene, which it is where workers gave enough answers to be
  told apart, and one-coin, which it is where not, and chooses between by the evidence of the answers;
* the same after three rounds. Where answers are few the rounds may wander far from what people said, to a
  place that explains the answers a little better and the truth much worse;
* Wawa's weighted vote, which trusts no model. Where the model is torn the hands decide.

Answers about one object are less independent than any such model takes them for: what misleads one person
misleads another. So n answers count as n / (1 + r (n - 1)) (Kish's design effect, Survey Sampling, 1965),
with the r under which left-out answers are foretold best by the others; see `_likeness`. Mistakes that all
workers share leave no trace in the answers, and no method can be honest about those; a little is always added
to r for them.

A tie between classes has a probability of about a half for both. A single answer is as good as its worker is
on objects that others answered too, and as good as a crowd is taken for before it answers where there are
none. An object without answers has the frequencies of the classes.
"""

from __future__ import annotations

import numpy as np

from gtlabel.crowd.bayes import Fit, fitted
from gtlabel.crowd.majority import wawa
from gtlabel.crowd.rounds import clamped
from gtlabel.crowd.sums import Indices, Sums, check_known, normalized, sums_of
from gtlabel.crowd.votes import Consensus, Votes

# How much alike answers about one object are taken to be beyond what left-out answers show.
_UNSEEN = 0.03
_LIKENESS = (0.0, 0.01, 0.02, 0.04, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5, 0.8)
# So many answers are left out in turn; of a larger crowd, those of evenly spread objects.
_LEFT_OUT = 50_000


def auto(votes: Votes | Sums, objects: int, classes: int, *, known: Indices | None = None) -> Consensus:
    """The classes of objects, without a choice of method, with probabilities that mean what they say.

    Args:
        votes: the answers, or `Sums` of them.
        objects: how many objects there are, also those without answers.
        classes: how many classes there are, also those that nobody chose.
        known: the class of each object whose class is known (gold), -1 for all others; None if none is.
    """
    sums = sums_of(votes, objects, classes)
    check_known(known, objects, classes)
    hands = wawa(sums, objects, classes).posterior
    fit = fitted(sums, hands, known=known)
    likeness = _UNSEEN + _likeness(sums, fit)
    worth = 1 / (1 + likeness * np.maximum(sums.answers - 1, 0))
    believed = np.zeros((classes, objects))
    for spoken in (fit.early, fit.spoken):
        scores = sums.to_objects(spoken.table) * worth + spoken.prior[:, None]
        believed += normalized(scores)[0]
    # One hand is no show of hands.
    shown = sums.answers > 1
    believed[:, shown] = (believed[:, shown] + hands[shown].T) / 3
    believed[:, ~shown] /= 2
    if known is not None:
        clamped(believed, known)
    posterior = np.ascontiguousarray(believed.T)
    return Consensus(posterior, fit.crowd.confusion(sums), fit.crowd.skill, "auto", fit.rounds, None)


def _likeness(sums: Sums, fit: Fit) -> float:
    """How much alike answers about one object are, beyond being about the same class: 0 not at all, 1 copies.

    Each answer is left out in turn and foretold from the others about its object: they give the classes, and
    the worker's matrix without this answer gives what he says of each. The likeness under which all answers
    together are foretold best is taken. Where objects have two or three answers that is next to nothing, and
    the result is often 0.
    """
    answers = np.arange(len(sums.votes.objects))
    if len(answers) > _LEFT_OUT:
        step = -(-len(answers) // _LEFT_OUT)
        answers = np.flatnonzero(sums.votes.objects % step == 0)
    places, pairs = sums.votes.objects[answers], sums.pair_of[answers]
    workers = sums.votes.workers[answers]
    others = sums.answers[places] - 1
    if not np.any(others > 1):
        return 0.0
    table, crowd = fit.spoken.table, fit.crowd
    own = fit.posterior[places].T
    says = crowd.strength * crowd.base[:, pairs] + np.maximum(crowd.counts[:, pairs] - own, 0)
    says /= crowd.strength + np.maximum(crowd.rows[:, workers] - own, 0)
    rest = sums.to_objects(table)[:, places] - table[:, pairs]
    found = []
    for likeness in _LIKENESS:
        scores = rest / (1 + likeness * np.maximum(others - 1, 0)) + fit.spoken.prior[:, None]
        found.append(float(np.log((normalized(scores)[0] * says).sum(axis=0)).sum()))
    return _LIKENESS[int(np.argmax(found))]
