"""What a machine may label, what it is promised to get right, and what people are asked."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from gtlabel.errors import LearningError
from gtlabel.learning.classifier import Learner, cross_fitted
from gtlabel.learning.decisions import Decision
from gtlabel.learning.faithful import Faithful
from gtlabel.learning.policies import Automation
from gtlabel.learning.suspects import find_suspects

Indices = NDArray[np.intp]
Floats = NDArray[np.float64]

PIXELS, DIGITS = load_digits(return_X_y=True)
# Each writer's digits stand together.
_MIXED = np.random.default_rng(0).permutation(len(DIGITS))[:900]
PIXELS, DIGITS = PIXELS[_MIXED], DIGITS[_MIXED]


@dataclass
class Guesser:
    """A machine that is as sure as it is told to be, of labels that were made up before anybody was asked."""

    labels: Indices
    confidence: Floats
    classes: int = 2

    def out_of_fold(self, objects: Indices, labels: Indices, folds: Indices) -> Floats:  # noqa: ARG002
        others = (1 - self.confidence[:, None]) / (self.classes - 1)
        scores = np.repeat(others, self.classes, axis=1)
        scores[np.arange(len(self.labels)), self.labels] = self.confidence
        return scores


def finish(policy: Automation | Faithful, truth: Indices, batch: int = 40) -> tuple[Decision, Indices]:
    """Have perfect people answer until nobody is asked any more; what is decided, and who was asked."""
    asked: list[int] = []
    while len(objects := policy.ask(batch)):
        policy.learn(objects, truth[objects])
        asked += objects.tolist()
        decision = policy.decide()
    return decision, np.array(asked)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_machine_labels_most_digits_and_is_right_as_promised(seed: int) -> None:
    decision, asked = finish(Automation(PIXELS, 10, seed=seed), DIGITS)
    assert (decision.labels == DIGITS[decision.objects]).mean() >= 0.95
    assert len(decision.objects) > 0.6 * len(DIGITS)
    assert sorted([*decision.objects.tolist(), *asked.tolist()]) == list(range(len(DIGITS)))
    assert decision.promise is not None
    assert (decision.promise.precision, decision.promise.risk) == (0.95, 0.05)
    assert decision.threshold == decision.confidence.min()
    assert f"{decision.promise.wrong} wrong, so at least 95.0%" in decision.why


def test_where_labels_have_nothing_to_do_with_the_features_a_machine_labels_nothing() -> None:
    truth = np.random.default_rng(0).integers(3, size=300)
    decision, asked = finish(Automation(np.random.default_rng(1).normal(size=(300, 5)), 3), truth)
    assert len(decision.objects) == 0
    assert len(np.unique(asked)) == 300
    assert decision.promise is None
    assert decision.why.startswith("not enough: ")


def test_of_50_pictures_none_is_left_to_a_machine_and_of_250_easy_ones_many_are() -> None:
    random = np.random.default_rng(0)
    truth = random.integers(2, size=250)
    features = truth[:, None] + 0.05 * random.normal(size=(250, 3))
    few, asked = finish(Automation(features[:50], 2), truth[:50], batch=10)
    assert (len(few.objects), len(asked)) == (0, 50)
    assert few.why == "not enough: people labeled all 50 objects before anything could be promised"
    none = Automation(features[:0], 2)
    assert (len(none.ask(5)), len(none.decide().objects)) == (0, 0)
    many, _ = finish(Automation(features, 2), truth[:250], batch=10)
    assert len(many.objects) > 100


def test_people_are_asked_at_random_first_and_then_where_the_machine_is_unsure() -> None:
    count = 400
    confidence = np.linspace(0.5, 1.0, count)
    policy = Automation(np.zeros((count, 1)), 2, learner=Guesser(np.zeros(count, dtype=int), confidence))
    first = policy.ask(60)
    assert 150 < first.mean() < 250
    policy.learn(first, np.random.default_rng(0).integers(2, size=60))
    second = policy.ask(40)
    assert len(second) == 40
    assert np.isin(second[-4:], np.setdiff1d(np.arange(count), first)[:30]).all()
    assert not np.isin(first, second).any()
    assert policy.ask(40).tolist() == second.tolist()


def test_machine_labels_that_are_sure_and_wrong_cost_the_risk_and_are_not_used() -> None:
    count = 1000
    truth = np.where(np.arange(count) % 4, 0, 1)
    policy = Automation(
        np.zeros((count, 1)), 2, learner=Guesser(np.zeros(count, dtype=int), np.full(count, 0.999))
    )
    reasons = []
    while len(objects := policy.ask(100)):
        policy.learn(objects, truth[objects])
        decision = policy.decide()
        reasons.append(decision.why)
        assert len(decision.objects) == 0
    assert any("surest about it had" in why and "would have done" in why for why in reasons)
    assert 0 < policy.spent < 0.05


def test_a_machine_that_is_too_sure_of_itself_breaks_its_promise_no_more_often_than_it_says() -> None:
    count, runs, risk, broken, used = 300, 100, 0.3, 0, 0
    for seed in range(runs):
        random = np.random.default_rng(seed)
        # Wrong about six of a hundred, and as often about those that it is surest of.
        truth = (random.random(count) < 0.06).astype(int)
        guesser = Guesser(np.zeros(count, dtype=int), 0.999 - 0.001 * random.random(count))
        policy = Automation(np.zeros((count, 1)), 2, alpha=risk, seed=seed, learner=guesser)
        decision, _ = finish(policy, truth, batch=100)
        used += len(decision.objects) > 0
        broken += len(decision.objects) > 0 and truth[decision.objects].mean() > 0.05
    assert used > 0
    # 42 or more of 100 would happen to an honest risk of 30 % in less than one of a hundred tests.
    assert broken < 42


def test_a_program_that_starts_again_goes_on_where_it_was() -> None:
    policy = Automation(PIXELS, 10, seed=3)
    told = np.empty(0, dtype=np.intp)
    for _ in range(8):
        objects = policy.ask(50)
        policy.learn(objects, DIGITS[objects])
        told = np.concatenate([told, objects])
        decision = policy.decide()
    again = Automation(PIXELS, 10, seed=3, spent=policy.spent, standing=decision)
    again.learn(told[::-1], DIGITS[told[::-1]])
    assert again.ask(30).tolist() == policy.ask(30).tolist()
    assert again.decide().objects.tolist() == policy.decide().objects.tolist()


def test_classes_by_other_numbers_are_labeled_alike() -> None:
    other = np.random.default_rng(0).permutation(10)
    one, _ = finish(Automation(PIXELS[:300], 10, seed=1), DIGITS[:300])
    two, _ = finish(Automation(PIXELS[:300], 10, seed=1), other[DIGITS[:300]])
    assert one.objects.tolist() == two.objects.tolist()
    assert other[one.labels].tolist() == two.labels.tolist()


def test_an_audit_lets_a_kept_promise_stand_and_refutes_a_broken_one() -> None:
    policy = Automation(PIXELS, 10, seed=0)
    decision, _ = finish(policy, DIGITS)
    shown = policy.audit(decision, 60)
    assert np.isin(shown, decision.objects).all()
    assert policy.audit(decision, 90)[:60].tolist() == shown.tolist()
    kept = policy.audited(decision, shown, DIGITS[shown])
    assert kept.holds
    assert kept.precision >= 0.95
    assert 0.9 < kept.at_least <= kept.precision
    truth = DIGITS.copy()
    truth[shown[:10]] = (truth[shown[:10]] + 1) % 10
    broken = policy.audited(decision, shown, truth[shown])
    assert not broken.holds
    assert broken.wrong - kept.wrong == 10
    assert "the promise is refuted" in broken.why
    unseen = policy.audited(decision, shown[:0], truth[:0])
    assert (unseen.holds, unseen.sample, unseen.at_least) == (True, 0, 0)


def test_ground_truths_rules_ask_for_a_fifth_of_all_to_judge_by_and_then_for_the_least_sure() -> None:
    policy = Faithful(PIXELS, 10, seed=0)
    validation = policy.ask(10_000)
    assert len(validation) == 180
    policy.learn(validation, DIGITS[validation])
    assert len(policy.decide().objects) == 0
    decision, asked = finish(policy, DIGITS, batch=72)
    assert decision.promise is None
    assert sorted([*decision.objects, *asked, *validation]) == list(range(len(DIGITS)))
    assert 0.9 < (decision.labels == DIGITS[decision.objects]).mean() < 1


def test_the_classifier_is_right_more_often_than_logistic_regression_and_as_often_as_it_says() -> None:
    learned, asked = np.arange(300), np.arange(300, 900)
    folds = np.where(np.arange(900) < 300, 1, 0)
    scores = Learner(PIXELS, 10).out_of_fold(learned, DIGITS[:300], folds)[asked]
    right = scores.argmax(axis=1) == DIGITS[asked]
    peer = LogisticRegression(max_iter=100).fit(PIXELS[:300] / 16, DIGITS[:300])
    assert right.mean() > peer.score(PIXELS[300:] / 16, DIGITS[300:])
    assert abs(right.mean() - scores.max(axis=1).mean()) < 0.03


def test_views_are_learned_from_one_by_one() -> None:
    random = np.random.default_rng(0)
    labels = random.integers(3, size=300)
    useful = np.eye(3)[labels] + 0.5 * random.normal(size=(300, 3))
    features = np.hstack([useful, random.normal(size=(300, 60))])
    together = cross_fitted(features, labels, 3)
    apart = cross_fitted(features, labels, 3, views=(3, 60))
    assert (apart.argmax(axis=1) == labels).mean() > (together.argmax(axis=1) == labels).mean() + 0.05


@settings(max_examples=25)
@given(st.integers(6, 30), st.integers(2, 4), st.integers(0, 1000))
def test_scores_do_not_depend_on_an_objects_own_label_nor_on_the_order_of_labels(
    count: int, classes: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    features = random.normal(size=(count, 3))
    labels = random.integers(classes, size=count)
    folds = np.arange(count) % 3
    learner = Learner(features, classes)
    scores = learner.out_of_fold(np.arange(count), labels, folds)
    assert np.allclose(scores.sum(axis=1), 1)
    order = random.permutation(count)
    assert np.allclose(learner.out_of_fold(order, labels[order], folds), scores, atol=1e-6)
    changed = labels.copy()
    changed[folds == 0] = random.integers(classes, size=(folds == 0).sum())
    again = learner.out_of_fold(np.arange(count), changed, folds)
    assert np.allclose(again[folds == 0], scores[folds == 0])


def test_leaving_out_a_fold_is_the_same_as_never_having_seen_it() -> None:
    folds = np.arange(200) % 4
    learner = Learner(PIXELS[:200], 10)
    scores = learner.out_of_fold(np.arange(200), DIGITS[:200], folds)
    without = np.flatnonzero(folds != 2)
    asked = np.where(folds == 2, 0, 1)
    alone = learner.out_of_fold(without, DIGITS[without], asked)
    assert np.allclose(alone[folds == 2], scores[folds == 2], atol=1e-6)


def test_arrays_that_nobody_can_learn_from_are_refused_in_a_sentence() -> None:
    with pytest.raises(LearningError, match="not a row of finite numbers"):
        Automation(np.array([[1.0, np.nan]]), 2)
    with pytest.raises(LearningError, match="do not make up 64 features"):
        Automation(PIXELS, 10, views=(60, 5))
    with pytest.raises(LearningError, match="must both lie between 0 and 1"):
        Automation(PIXELS, 10, target=95)
    with pytest.raises(LearningError, match="label 10 at place 1 is none of 10 classes"):
        Automation(PIXELS, 10).learn(np.array([3, 4]), np.array([9, 10]))
    with pytest.raises(LearningError, match="2 objects have 1 labels"):
        Automation(PIXELS, 10).learn(np.array([3, 4]), np.array([9]))
    with pytest.raises(LearningError, match="900 rows of features have 2 labels"):
        cross_fitted(PIXELS, np.array([0, 1]), 10)
    with pytest.raises(LearningError, match="leaves nothing to learn from"):
        cross_fitted(PIXELS, DIGITS, 10, folds=1)
    with pytest.raises(LearningError, match="views of .-4, 68. columns do not make up 64 features"):
        Learner(PIXELS, 10, views=(-4, 68))
    for policy in (Automation(PIXELS, 10), Faithful(PIXELS, 10)):
        with pytest.raises(LearningError, match="there is no object -1; there are 900"):
            policy.learn(np.array([-1]), np.array([0]))
    with pytest.raises(LearningError, match="object 3 was not labeled by the machine"):
        (policy := Automation(PIXELS, 10)).audited(policy.decide(), np.array([3]), np.array([1]))
    with pytest.raises(LearningError, match="label -1 at place 1 is none of 2 classes"):
        find_suspects(np.full((2, 2), 0.5), np.array([0, -1]))
    with pytest.raises(LearningError, match="give each object a row of two classes or more"):
        find_suspects(np.ones((2, 1)), np.array([0, 0]))
    with pytest.raises(LearningError, match="leave out the objects that have none"):
        find_suspects(np.full((1, 2), np.nan), np.array([0]))


def test_the_table_of_policies_is_printed() -> None:
    program = Path(__file__).parent / "benchmarks" / "autolabel.py"
    done = subprocess.run(
        [sys.executable, str(program), "--quick"], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| promise |" in done.stdout
    assert "| ground truth |" in done.stdout
