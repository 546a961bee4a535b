"""A forest of randomized trees, grown on features and then written as layers of a network.

A tree asks of one feature after another whether it is above a threshold. In a network each question is
a unit that goes from 0 to 1 around its threshold, each leaf a unit that is 1 where all answers on the
way to it are the right ones, and the leaves' votes are the last, fully connected layer:

    questions   right = min(1, max(0, (feature - threshold) / softness + 1/2))
    leaves      member = max(0, sum of the answers on the path - (length of the path - 1))
    classes     score = temperature * mean over trees of the member leaves' class shares

Extremely randomized trees: Geurts, Ernst and Wehenkel, Machine Learning 63, 2006.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gtlabel.training.features import FeatureNetwork

Floats = NDArray[np.float32]
Floats64 = NDArray[np.float64]
Labels = NDArray[np.int64]

_TREES = 200
_TREES_TO_CHOOSE_BY = 100
_LEAVES = (8, 32)
_FOLDS = 4
_TEMPERATURES = (2.0, 3.0, 4.0, 6.0, 8.0, 12.0)
# A question is undecided within this share of its feature's spread. Wider softens the trees until they
# see less, narrower makes a rounding error count.
_SOFTNESS = 0.05
_LEAST_SOFTNESS = 2e-3


@dataclass(frozen=True)
class Growth:
    """How the forest is grown, and what cross-validation says about it."""

    leaves: int
    temperature: float
    accuracy: float | None


_UNCHECKED = Growth(leaves=16, temperature=4.0, accuracy=None)


def choose_growth(features: Floats, labels: Labels, classes: int, seed: int) -> Growth:
    """The number of leaves and the temperature with the best likelihood in cross-validation.

    With too few pictures to leave any out, values that usually do, and no accuracy.
    """
    from sklearn.model_selection import StratifiedKFold

    # A class needs as many pictures as there are folds to be represented in each.
    members = np.bincount(labels)
    folds = min(_FOLDS, int(members[members > 0].min()))
    if folds < 2 or (members > 0).sum() < 2:
        return _UNCHECKED
    splits = list(StratifiedKFold(folds, shuffle=True, random_state=seed).split(features, labels))
    best = (-np.inf, _UNCHECKED)
    for leaves in _LEAVES:
        votes = np.zeros((len(labels), classes))
        for kept, left_out in splits:
            forest = _grow(features[kept], labels[kept], leaves, seed, _TREES_TO_CHOOSE_BY)
            votes[left_out[:, None], forest.classes_] = forest.predict_proba(features[left_out])
        accuracy = float((votes.argmax(axis=1) == labels).mean())
        for temperature in _TEMPERATURES:
            scores = temperature * votes
            normal = np.log(np.exp(scores).sum(axis=1))
            likelihood = float((scores[np.arange(len(labels)), labels] - normal).mean())
            if likelihood > best[0]:
                best = likelihood, Growth(leaves, temperature, accuracy)
    return best[1]


def add_forest(
    network: FeatureNetwork, features: Floats, labels: Labels, classes: int, growth: Growth, seed: int
) -> int:
    """Grow the forest and put it behind the features as layers.

    Args:
        network: the layers and weights are added to it.
        features: of the pictures to learn from.
        labels: of the same pictures.
        classes: how many the network tells apart, including those without a picture.
        growth: see `choose_growth`.
        seed: of the trees' randomness.

    Returns:
        the network's output, a probability for each class.
    """
    forest = _grow(features, labels, growth.leaves, seed)
    softness = _SOFTNESS * features.std(axis=0) + _LEAST_SOFTNESS
    trees = [_layers(tree.tree_, growth.leaves, softness) for tree in forest.estimators_]
    questions = np.concatenate([tree.questions for tree in trees])
    bias = np.concatenate([tree.question_bias for tree in trees])
    asked = network.split_convolution("questions", questions, bias)
    # Two rectifiers make 1 - min(1, max(0, u)): the answer "not above".
    above = network.rectifier("above", asked)
    count = len(bias)
    rest = network.convolution("rest", above, np.full((count, 1, 1, 1), -1.0), np.ones(count), groups=count)
    below = network.rectifier("below", rest)
    paths = network.convolution(
        "paths",
        below,
        np.concatenate([tree.paths for tree in trees])[:, :, None, None],
        np.concatenate([tree.path_bias for tree in trees]),
        groups=len(trees),
    )
    votes = np.zeros((classes, len(trees) * growth.leaves))
    votes[forest.classes_] = np.hstack([tree.shares for tree in trees])
    return network.classifier(network.rectifier("leaves", paths), votes * growth.temperature / len(trees))


@dataclass(frozen=True)
class _TreeLayers:
    """One tree as weights: (questions, features), (leaves, questions) and (classes, leaves)."""

    questions: Floats64
    question_bias: Floats64
    paths: Floats64
    path_bias: Floats64
    shares: Floats64


def _grow(features: Floats, labels: Labels, leaves: int, seed: int, trees: int = _TREES) -> Any:
    from sklearn.ensemble import ExtraTreesClassifier

    forest = ExtraTreesClassifier(trees, max_leaf_nodes=leaves, random_state=seed)
    return forest.fit(features, labels)


def _layers(tree: Any, leaves: int, softness: Floats) -> _TreeLayers:
    """The weights of a tree. Trees with fewer leaves are filled up with ones that never count."""
    inner = [node for node in range(tree.node_count) if tree.children_left[node] >= 0]
    question_of = {node: index for index, node in enumerate(inner)}
    questions = np.zeros((leaves - 1, len(softness)))
    question_bias = np.zeros(leaves - 1)
    for node, index in question_of.items():
        feature = tree.feature[node]
        questions[index, feature] = 1 / softness[feature]
        question_bias[index] = 0.5 - tree.threshold[node] / softness[feature]
    paths = np.zeros((leaves, leaves - 1))
    path_bias = np.full(leaves, -1.0)
    shares = np.zeros((tree.value.shape[2], leaves))
    pending: list[tuple[int, list[tuple[int, bool]]]] = [(0, [])]
    leaf = 0
    while pending:
        node, path = pending.pop()
        if node in question_of:
            pending.append((tree.children_left[node], [*path, (question_of[node], True)]))
            pending.append((tree.children_right[node], [*path, (question_of[node], False)]))
            continue
        for index, below in path:
            paths[leaf, index] = 1 if below else -1
        path_bias[leaf] = 1 - sum(below for _, below in path)
        shares[:, leaf] = tree.value[node][0] / tree.value[node][0].sum()
        leaf += 1
    return _TreeLayers(questions, question_bias, paths, path_bias, shares)
