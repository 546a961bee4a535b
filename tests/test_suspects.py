"""Labels that are likely wrong."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gtlabel.learning.classifier import cross_fitted
from gtlabel.learning.suspects import find_suspects


def test_the_label_that_another_class_beats_by_most_comes_first() -> None:
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.45, 0.55], [0.05, 0.95], [0.8, 0.2]])
    labels = np.array([0, 0, 0, 1, 1])
    found = find_suspects(probabilities, labels)
    assert found.ranked.tolist() == [1, 4, 2, 0, 3]
    assert found.doubt[1] == pytest.approx(np.log(4))
    assert found.better.tolist() == [1, 1, 1, 0, 0]
    # Class 0 has 0.52 where it is the label, class 1 has 0.58: only 1 and 4 exceed the other's.
    assert found.wrong == 2


def test_a_class_of_which_a_classifier_is_seldom_sure_needs_less_to_be_counted() -> None:
    shy = np.array([[0.6, 0.4]] * 4 + [[0.99, 0.01]] * 4 + [[0.55, 0.45]])
    labels = np.array([1] * 4 + [0] * 5)
    # Everything is likelier to be of class 0, and yet 0.45 is more than class 1 has where it is the label.
    assert find_suspects(shy, labels).wrong == 1


def test_a_class_without_labels_is_no_reason_to_count_a_label_as_wrong() -> None:
    probabilities = np.array([[0.2, 0.1, 0.7], [0.1, 0.2, 0.7]])
    found = find_suspects(probabilities, np.array([0, 1]))
    assert (found.wrong, found.better.tolist()) == (0, [2, 2])


@given(st.integers(0, 2**32 - 1), st.integers(2, 5))
def test_the_names_of_classes_and_the_order_of_objects_do_not_matter(seed: int, classes: int) -> None:
    random = np.random.default_rng(seed)
    probabilities = random.dirichlet(np.ones(classes), size=20)
    labels = random.integers(classes, size=20)
    found = find_suspects(probabilities, labels)
    order, named = random.permutation(20), random.permutation(classes)
    other = np.empty_like(probabilities)
    other[:, named] = probabilities[order]
    again = find_suspects(other, named[labels[order]])
    assert order[again.ranked].tolist() == found.ranked.tolist()
    assert again.wrong == found.wrong
    assert again.better.tolist() == named[found.better[order]].tolist()


def test_labels_that_were_changed_are_found_among_the_suspects_and_counted() -> None:
    random = np.random.default_rng(0)
    truth = np.arange(300) % 3
    features = random.normal(size=(300, 8)) + 4 * np.eye(8)[truth]
    changed = random.choice(300, size=24, replace=False)
    labels = truth.copy()
    labels[changed] = (labels[changed] + 1) % 3
    found = find_suspects(cross_fitted(features, labels, 3), labels)
    assert 18 <= found.wrong <= 34
    suspects = found.ranked[:24]
    assert np.isin(suspects, changed).mean() >= 0.9
    assert (found.better[suspects] == truth[suspects]).mean() >= 0.9
