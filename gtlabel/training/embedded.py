"""The trainer that needs no GPU: `python -m gtlabel.training.embedded train`.

It stands in for the built-in image classification: it finds its input where SageMaker puts it
(contract/training.md §4), takes the same hyperparameters, prints the same lines, fails with the same
sentences and leaves the same three files. `SAGEMAKER_BASE_DIR` takes the place of `/opt/ml`.

What it learns is not a ResNet, which a few hundred pictures are too few for, but likeness to the training
pictures (`kernel`) in color and roughness (`features`), written as a network. An epoch is a stage: each adds
features to those of the one before and learns anew. Which stage, which width and penalty, whether classes
weigh alike and whether varied copies of the pictures help is decided by the likelihood of pictures that were
left out, inside the train channel; the validation channel is only reported on.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gtlabel.errors import TrainingError
from gtlabel.networks.artifact import PREFIX, Artifact, write_artifact
from gtlabel.networks.preprocess import UnreadablePictureError, load_image
from gtlabel.training.batches import Look
from gtlabel.training.calibration import Calibration, Calibrator, ManyClasses, OneClass, errors
from gtlabel.training.channelreading import ChannelReader
from gtlabel.training.features import FeatureNetwork
from gtlabel.training.hyperparameters import Hyperparameters
from gtlabel.training.kernel import Regression, Solution, add_scores
from gtlabel.training.program import (
    log_hyperparameters,
    read_channels,
    read_hyperparameters,
    run_program,
)
from gtlabel.training.words import learn_words, sample_places

_HONORED = (
    "num_classes",
    "num_training_samples",
    "image_shape",
    "mini_batch_size",
    "augmentation_type",
    "multi_label",
    "use_weighted_loss",
    "top_k",
)
# Below this there is no middle and no border to tell apart.
_SMALLEST_SIDE = 8
_PICTURES_AT_ONCE = 16
_PICTURES_TO_LEARN_WORDS = 400
# Kinds of words and how many of them each stage adds; the first has histograms only.
_STAGES = ((None, 0), ("color", 128), ("texture", 200))
# Varied copies of each training picture, where augmentation is asked for.
_COPIES = 2
# Where one class has so many times the pictures of another, the balance matters.
_UNEVEN = 1.5

_log = logging.getLogger(__name__)

Floats = NDArray[np.float32]
Floats64 = NDArray[np.float64]


@dataclass
class _Channel:
    """What one epoch of a channel held, a row for each picture and for each of its copies after it.

    Attributes:
        small: the pictures, shrunk; shape (n * (1 + copies), 3, rows, columns).
        truth: the classes of each picture, shape (n, classes).
        copies: how many copies follow each picture.
        features: of all rows, so far.
    """

    small: Floats
    truth: Floats64
    copies: int
    features: Floats

    def add(self, network: FeatureNetwork, first: int) -> None:
        """Compute the features of the heads from one on."""
        self.features = np.hstack([self.features, network.features(self.small, first)])

    def own(self, rows: Floats) -> Floats:
        """The rows of the pictures themselves."""
        return rows[:: 1 + self.copies]


@dataclass(frozen=True)
class _Choice:
    """A way to learn, and how likely it makes pictures that were left out."""

    regression: Regression
    solution: Solution
    calibration: Calibration
    description: str


class _Kept(NamedTuple):
    """A stage's network and its accuracy in the validation channel."""

    artifact: Artifact
    accuracy: float
    choice: _Choice


def main(arguments: list[str]) -> int:
    """Train once, as a container would; return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m gtlabel.training.embedded",
        description="Train a small network in seconds, where SageMaker's image classification would train.",
    )
    parser.add_argument("--seed", type=int, default=0, help="of everything that is random")
    parser.add_argument("command", choices=["train"])
    given = parser.parse_args(arguments)
    return run_program(lambda base: train(base, given.seed))


def train(base: Path, seed: int = 0) -> None:
    """Read one epoch of both channels, learn, and leave a model.

    Args:
        base: what SageMaker calls `/opt/ml`.
        seed: of everything that is random.

    Raises:
        GtlabelError: at input that the built-in would refuse, too, and at what this trainer cannot do.
    """
    told = read_hyperparameters(base)
    log_hyperparameters(told, _HONORED)
    channels, height, width = told.shape
    if channels != 3 or min(height, width) < _SMALLEST_SIDE:
        raise TrainingError(
            f"image_shape {told.shape} is not 3 colors of at least {_SMALLEST_SIDE} pixels a side"
        )
    if "model" in (read_channels(base) or {}):
        raise TrainingError(
            "this trainer always begins anew and cannot go on from the model channel; leave the earlier "
            "model out, or train with gtlabel.training.torchtrainer"
        )
    _Training(base, told, seed).run()


class _Training:
    """One job from its first picture to its model."""

    def __init__(self, base: Path, told: Hyperparameters, seed: int) -> None:
        self._base = base
        self._told = told
        self._seed = seed
        self._random = np.random.default_rng(seed)
        _, self._height, self._width = told.shape
        self._network = FeatureNetwork(self._height, self._width)
        self._calibrator: Calibrator = (
            ManyClasses(weighted=bool(told.use_weighted_loss)) if told.multi_label else OneClass()
        )

    def run(self) -> None:
        """Learn stage after stage and keep the likeliest."""
        training = self._read("train", _COPIES if self._told.augmentation_type else 0)
        validation = self._read("validation", 0)
        expected = self._told.num_training_samples
        if len(training.truth) != expected:
            _log.warning(
                "Expected number of samples: %d, did not match the number of samples processed: %d",
                expected,
                len(training.truth),
            )
        kept: list[_Kept] = []
        stages = [stage for stage in _STAGES if stage[0] is None or stage[0] in self._network.places]
        for epoch, (kind, count) in enumerate(stages):
            started = time.monotonic()
            self._look(training, validation, kind, count)
            choice = self._choose(epoch, training)
            likelihood = choice.calibration.likelihood
            unseen = self._calibrator.probabilities(choice.solution.left_out, choice.calibration)
            _log.info(
                "Epoch[%d] Cross-validation: accuracy=%.6f, likelihood=%.6f, %s",
                *(epoch, self._accuracy(unseen, training.truth), likelihood, choice.description),
            )
            self._log_training(epoch, choice, training)
            _log.info("Epoch[%d] Time cost=%.3f", epoch, time.monotonic() - started)
            artifact, accuracy = self._write(epoch, choice, validation)
            kept.append(_Kept(artifact, accuracy, choice))
        artifact, accuracy, choice = _best(kept)
        before, after = errors(self._calibrator, choice.solution.left_out, training.truth)
        _log.info(
            "Calibration: expected calibration error %.4f before, %.4f after, factors %s",
            *(before, after, np.unique(choice.calibration.gain.round(4)).tolist()),
        )
        if artifact is not kept[-1].artifact:
            # The last figures of a job are taken for those of its model.
            self._log_training(artifact.epoch - 1, choice, training)
            _log.info("Epoch[%d] Validation-accuracy=%.6f", artifact.epoch - 1, accuracy)
        _log.info("Storing the best model with validation accuracy: %.6f", accuracy)
        write_artifact(self._base / "model", artifact)
        _log.info('Saved checkpoint to "%s"', self._base / "model" / f"{PREFIX}-{artifact.epoch:04}.params")

    def _read(self, name: str, copies: int) -> _Channel:
        reader = ChannelReader(self._base, name, self._told)
        look = Look(self._told.shape, kind=self._told.augmentation_type)
        small: list[Floats] = []
        waiting: list[Floats] = []
        truth: list[Floats64] = []
        for example in reader.epoch(0):
            try:
                waiting.append(load_image(example.picture, self._height, self._width))
                # Each varied anew: the copies are pictures that might have been taken.
                waiting += [
                    np.ascontiguousarray(
                        look.show(look.decode(example.picture), self._random).transpose(2, 0, 1), np.float32
                    )
                    for _ in range(copies)
                ]
            except UnreadablePictureError as error:
                raise reader.broken(example, error) from error
            row = np.zeros(self._told.num_classes)
            row[list(example.classes)] = 1
            truth.append(row)
            if len(waiting) >= _PICTURES_AT_ONCE:
                small.append(self._network.shrink(np.stack(waiting)))
                waiting.clear()
        if waiting:
            small.append(self._network.shrink(np.stack(waiting)))
        _log.info("Read %d images of the %s channel", len(truth), name)
        pictures = np.concatenate(small)
        nothing = np.empty((len(pictures), 0), dtype=np.float32)
        return _Channel(pictures, np.stack(truth), copies, nothing)

    def _look(self, training: _Channel, validation: _Channel, kind: str | None, count: int) -> None:
        first = 0
        if kind is not None:
            first = len(self._network.heads)
            own = training.own(training.small)
            # A few hundred pictures show all kinds of places.
            if len(own) > _PICTURES_TO_LEARN_WORDS:
                own = own[np.sort(self._random.choice(len(own), _PICTURES_TO_LEARN_WORDS, replace=False))]
            places = sample_places(self._network.places_of(kind, own), self._random)
            self._network.add_words(kind, *learn_words(places, count, self._random))
        for channel in (training, validation):
            channel.add(self._network, first)

    def _choose(self, epoch: int, training: _Channel) -> _Choice:
        tried = {0: self._learn(training, 0)}
        if training.copies:
            tried[training.copies] = self._learn(training, training.copies)
            without, varied = (way.calibration.likelihood for way in tried.values())
            _log.info("Epoch[%d] Augmentation: likelihood %.6f without, %.6f with", epoch, without, varied)
        return max(tried.values(), key=lambda way: way.calibration.likelihood)

    def _learn(self, training: _Channel, copies: int) -> _Choice:
        """The likeliest way to learn with so many varied copies of each picture."""
        features = training.features if copies else training.own(training.features)
        best: _Choice | None = None
        for weights, balance in self._weightings(training.truth):
            regression = Regression(features, training.truth, weights, copies=copies, seed=self._seed)
            for solution in regression.solutions():
                found = self._calibrator.fit(solution.left_out, training.truth)
                if best is None or found.likelihood > best.calibration.likelihood:
                    description = f"width {solution.width:.3g}, penalty {solution.penalty:g}, {balance}" + (
                        f", {copies} varied copies of each picture" if copies else ""
                    )
                    best = _Choice(regression, solution, found, description)
        if best is None:
            raise ValueError("there is always a way to learn")
        return best

    def _weightings(self, truth: Floats64) -> list[tuple[Floats64, str]]:
        alike = (np.ones(len(truth)), "pictures weigh alike")
        members = truth.sum(axis=0)
        present = members[members > 0]
        if self._told.multi_label or len(present) < 2 or present.max() < _UNEVEN * present.min():
            return [alike]
        weights = 1 / members[truth.argmax(axis=1)]
        return [alike, (weights / weights.mean(), "classes weigh alike")]

    def _write(self, epoch: int, choice: _Choice, validation: _Channel) -> tuple[Artifact, float]:
        calibration = choice.calibration
        network = self._network
        scores = add_scores(network, choice.regression, choice.solution, calibration.gain, calibration.bias)
        kind = "LogisticRegressionOutput" if self._told.multi_label else "SoftmaxOutput"
        head = network.writer.operator(kind, "softmax", [scores], ["label"])
        answers = network.answers(head, validation.features).astype(np.float64)
        self._log_figures(epoch, "Validation", answers, validation.truth)
        symbol = network.writer.finish(head)
        names = {f"arg:{node['name']}" for node in symbol["nodes"] if node["op"] == "null"}
        params = {name: array for name, array in network.params.items() if name in names}
        shape = (self._told.batch, 3, self._height, self._width)
        return Artifact(symbol, params, shape, epoch + 1), self._accuracy(answers, validation.truth)

    def _log_training(self, epoch: int, choice: _Choice, training: _Channel) -> None:
        seen = self._calibrator.probabilities(choice.solution.fitted, choice.calibration)
        self._log_figures(epoch, "Train", seen, training.truth)

    def _log_figures(self, epoch: int, channel: str, answers: Floats64, truth: Floats64) -> None:
        _log.info("Epoch[%d] %s-accuracy=%.6f", epoch, channel, self._accuracy(answers, truth))
        top = self._told.top_k
        if top and not self._told.multi_label:
            among = np.argsort(-answers, axis=1, kind="stable")[:, :top]
            share = np.take_along_axis(truth, among, axis=1).any(axis=1).mean()
            _log.info("Epoch[%d] %s-top_k_accuracy_%d=%.6f", epoch, channel, top, share)

    def _accuracy(self, answers: Floats64, truth: Floats64) -> float:
        """The share of right answers; with many classes for a picture, of right decisions on each."""
        if self._told.multi_label:
            return float(((answers >= 0.5) == (truth > 0)).mean())
        return float((answers.argmax(axis=1) == truth.argmax(axis=1)).mean())


def _best(kept: Sequence[_Kept]) -> _Kept:
    """The last stage that left-out pictures do not speak against.

    More features were better on all sets of pictures that were tried, so a later stage goes before an
    earlier one unless it is less likely by more than the standard error of the difference (Breiman et al.,
    Classification and Regression Trees, 1984, §3.4.3).
    """
    likeliest = max(kept, key=lambda stage: stage.choice.calibration.likelihood)
    for stage in reversed(kept):
        behind = likeliest.choice.calibration.likelihoods - stage.choice.calibration.likelihoods
        if behind.mean() <= behind.std() / np.sqrt(len(behind)):
            return stage
    return likeliest


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
