"""The method to use when nothing is known about a crowd.

No single method wins on all crowds, and nobody can choose among them without gold. So `auto` does not choose.
Four opinions get a quarter of the probability each (a linear pool: Genest & Zidek 1986,
https://doi.org/10.1214/ss/1177013825). Where they differ the pool is in doubt, as it should be:

* the hierarchy of `crowd.bayes`. It contains Dawid-Skene, which it is where workers gave enough answers to be
  told apart, and one-coin, which it is where not, and chooses between by the evidence of the answers;
* the same with the frequencies of classes drawn to each other as if by some hundred objects more. Where
  objects are few, what is believed of the frequencies and what is believed of the workers can talk each other
  into a place that explains the answers a little better and the truth much worse: nearly everything is of one
  class, and who says otherwise errs;
* MACE (`crowd.mace`), to which a mistake is a worker's habit and has nothing to do with the object;
* Wawa's weighted vote, which trusts no model, with half an answer added that is drawn from the frequencies of
  the classes: a few hands that agree are no certainty.

The second and the third take frequencies at a third of their worth, in logarithms: truth is often known where
people disagreed, and there rare classes are less rare.

Each model does a few rounds. More of them explain the answers better, and the truth no better.

Answers about one object are less independent than any such model takes them for: what misleads one person
misleads another. So n answers count as n / (1 + r (n - 1)) (Kish's design effect, Survey Sampling, 1965).
The r under which left-out answers are foretold best by the others (see `_likeness`) is drawn half way to what
is usual. Mistakes that all workers share leave no trace in the answers, and no method can be honest about
those.

A tie between classes has a probability of about a half for both. A single answer is as good as its worker is
on objects that others answered too, and as good as a crowd is taken for before it answers where there are
none. An object without answers has the frequencies of the classes.
"""

from __future__ import annotations

import numpy as np

from gtlabel.crowd.bayes import Fit, fitted, frequencies
from gtlabel.crowd.mace import mace
from gtlabel.crowd.majority import wawa
from gtlabel.crowd.rounds import clamped
from gtlabel.crowd.sums import Indices, Sums, check_known, normalized, sums_of
from gtlabel.crowd.votes import Consensus, Votes

# How much alike answers about one object usually are, beyond being about the same class.
_USUAL = 0.2
_LIKENESS = (0.0, 0.02, 0.05, 0.1, 0.2, 0.5)
# So many answers are left out in turn; of a larger crowd, those of evenly spread objects.
_LEFT_OUT = 50_000
# So many rounds each model does, or fewer where no probability moves by more than that any more.
_ROUNDS, _STILL = 10, 1e-2
# By so many objects the frequencies of classes are drawn to each other in one opinion, and taken to that
# power in two; so many answers are added to hands.
_EVEN, _FLATTER, _ADDED = 300.0, 1 / 3, 0.5
_LEAST = 1e-12


def auto(votes: Votes | Sums, objects: int, classes: int, *, known: Indices | None = None) -> Consensus:
    """The classes of objects, without a choice of method, with probabilities that mean what they say.

    Args:
        votes: the answers, or `Sums` of them.
        objects: how many objects there are, also those without answers.
        classes: how many classes there are, also those that nobody chose.
        known: the class of each object whose class is known (gold), -1 for all others; None if none is.

    Raises:
        ConsensusError: the answers, or what is known, name an object or class that is not there.
    """
    sums = sums_of(votes, objects, classes)
    check_known(known, objects, classes)
    hands = wawa(sums, objects, classes).posterior
    learned, alike = (
        fitted(sums, hands, share=share, even=even, rounds=_ROUNDS, tolerance=_STILL, known=known)
        for share, even in ((0.25, 0.0), (0.0, _EVEN))
    )
    frequency = (frequencies(hands) + 1) ** _FLATTER
    habits = mace(sums, objects, classes, rounds=_ROUNDS, known=known, frequency=frequency)
    odds = np.log(frequency / frequency.sum())
    worth = 1 / (1 + (_likeness(sums, learned) + _USUAL) / 2 * np.maximum(sums.answers - 1, 0))
    believed = np.zeros((classes, objects))
    for spoken, power in ((learned.spoken, 1.0), (alike.spoken, _FLATTER)):
        believed += normalized(sums.to_objects(spoken.table) * worth + power * spoken.prior[:, None])[0]
    # To MACE a single answer is never a mistake, so that it is not asked about those. One hand weighs as much
    # as the frequencies: with two classes alike, that is what a crowd is taken for before it answers.
    shown = sums.answers > 1
    said = np.log(np.maximum(habits.posterior[shown].T, _LEAST)) - odds[:, None]
    believed[:, shown] += normalized(said * worth[shown] + odds[:, None])[0]
    common, added = np.exp(learned.spoken.prior)[:, None], np.where(shown, _ADDED, 1.0)
    believed += (sums.answers * hands.T + added * common) / (sums.answers + added)
    believed /= np.where(shown, 4, 3)
    believed[:, sums.answers == 0] = common
    if known is not None:
        clamped(believed, known)
    posterior = np.ascontiguousarray(believed.T)
    rounds = max(learned.rounds, alike.rounds, habits.rounds)
    return Consensus(posterior, learned.crowd.confusion(sums), learned.crowd.skill, "auto", rounds, None)


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
