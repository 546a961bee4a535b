"""The built-in's ResNets without the cloud: `python -m gtlabel.training.torchtrainer train`.

It takes the built-in's place (contract/training.md §1 and §4): its channels, hyperparameters, log lines and
sentences, and an artifact of the same form. It needs the extra train-torch. What differs from the built-in:

- Without `resize` whole pictures are squeezed to `image_shape`, as prediction does, where the built-in cuts
  their middle out; the validation accuracy is always that of squeezed pictures, which is what a device sees.
- Before each validation the averages of batch normalization are computed anew; after a few hundred steps
  the moving ones still lag behind (§7.5).
- `precision_dtype` float16 computes in 32 bits; the weights are stored in 16, with the built-in's casts.
- `use_pretrained_model` needs `--pretrained`: the weights of ImageNet are not shipped.
"""

from __future__ import annotations

import argparse
import logging
import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gtlabel.errors import TrainingError
from gtlabel.networks.artifact import Artifact
from gtlabel.training.batches import Batch, Look, Pictures, fit_in_memory
from gtlabel.training.channelreading import ChannelReader
from gtlabel.training.hyperparameters import DEFAULT_EPOCHS, Hyperparameters
from gtlabel.training.keeping import Checkpoints, ModelFolder, Progress
from gtlabel.training.program import (
    StopRequestedError,
    log_hyperparameters,
    read_hyperparameters,
    run_program,
)
from gtlabel.training.starting import start, stored
from gtlabel.training.torchdoor import load_torch
from gtlabel.training.torchlearning import Learner
from gtlabel.training.torchnetwork import TorchNetwork

# The only one that means nothing to a single machine.
_IGNORED = ("kv_store",)
_LINES_EVERY = 20  # batches
_JUDGED_AT_ONCE = 32
# Batch normalization's averages are computed from as many training pictures.
_SAMPLE = 512
# A class weighs at most as much as this many times its absence.
_HEAVIEST = 100.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """What the owner of the trainer decides, not the job.

    Attributes:
        seed: of everything that is random.
        threads: of torch; None takes the cores there are.
        pretrained: an artifact to begin with where a job asks for a pretrained model.
        memory: bytes that decoded pictures may take; None takes a quarter of what is free.
    """

    seed: int = 0
    threads: int | None = None
    pretrained: Path | None = None
    memory: int | None = None


def main(arguments: list[str]) -> int:
    """Train once, as a container would; return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m gtlabel.training.torchtrainer",
        description="Train a ResNet as SageMaker's image classification does.",
    )
    parser.add_argument("--seed", type=int, default=0, help="of everything that is random")
    parser.add_argument("--threads", type=int, help="for torch; by default OMP_NUM_THREADS, or all cores")
    parser.add_argument("--pretrained", type=Path, help="a model.tar.gz, for use_pretrained_model=1")
    parser.add_argument("--memory", type=int, help="bytes for decoded pictures; by default a quarter of it")
    parser.add_argument("command", choices=["train"])
    given = parser.parse_args(arguments)
    options = Options(given.seed, given.threads, given.pretrained, given.memory)
    return run_program(lambda base: train(base, options))


def train(base: Path, options: Options | None = None) -> None:
    """Learn from both channels, epoch after epoch, and leave a model.

    Args:
        base: what SageMaker calls `/opt/ml`.
        options: what the job does not decide.

    Raises:
        GtlabelError: at input that the built-in would refuse, too.
        StopRequestedError: at SIGTERM, after the model so far was saved.
    """
    options = options or Options()
    told = read_hyperparameters(base)
    log_hyperparameters(told, set(Hyperparameters.model_fields) - set(_IGNORED))
    if told.precision_dtype == "float16":
        _log.info("precision_dtype float16: computed in 32 bits on this machine, stored in 16")
    artifact, source = start(base, told, options.seed, options.pretrained)
    torch = load_torch(options.threads)
    _log.info("Training ResNet-%d for %s from %s", told.layers, _shown(told.shape), source)
    _Training(torch, base, told, options, artifact).run()


class _Training:
    """One job from its start, or from where it was interrupted, to its end."""

    def __init__(
        self, torch: Any, base: Path, told: Hyperparameters, options: Options, artifact: Artifact
    ) -> None:
        self._torch = torch
        self._told = told
        self._seed = options.seed
        self._started_from = artifact
        self._network = TorchNetwork(torch, artifact.symbol, artifact.params)
        self._model = ModelFolder(base / "model", told.checkpoint_frequency)
        self._checkpoints = Checkpoints(base / "checkpoints", self._model)
        look = Look(told.shape, told.resize, told.augmentation_type)
        samples = told.num_training_samples
        keep = fit_in_memory(samples, look, options.memory)
        self._training = Pictures(
            ChannelReader(base, "train", told),
            look,
            told.num_classes,
            keep=keep,
            sample=_SAMPLE,
            expected=samples,
        )
        self._validation = Pictures(
            ChannelReader(base, "validation", told),
            Look(told.shape),
            told.num_classes,
            keep=keep,
            sample=_SAMPLE,
            expected=samples,
        )

    def run(self) -> None:
        told = self._told
        learner = Learner(self._torch, self._network, told, self._positives())
        progress = self._checkpoints.load(self._about())
        done, best, waited = 0, -math.inf, 0
        if progress is not None:
            self._network.load(progress.params)
            learner.recall(progress.memory)
            done, waited = progress.epoch, progress.waited
            best = -math.inf if progress.best is None else progress.best
            _log.info("Going on after epoch %d, where the training was interrupted", done)
        epochs = told.epochs or DEFAULT_EPOCHS
        patience = _Patience(told, best, waited)
        try:
            while done < epochs and not patience.exhausted(done):
                self._learn(learner, done)
                accuracy = self._judge(done)
                done += 1
                improved = patience.take(accuracy)
                if improved:
                    _log.info("Storing the best model with validation accuracy: %.6f", accuracy)
                last = done == epochs or patience.exhausted(done)
                if self._model.wants(done, best=improved, last=last):
                    self._model.keep(self._artifact(done))
                self._checkpoints.save(
                    Progress(
                        done,
                        patience.best,
                        patience.waited,
                        self._about(),
                        self._network.params(),
                        learner.memory(),
                    )
                )
        except StopRequestedError:
            if not self._model.weights():
                self._model.keep(self._artifact(max(done, 1)))
            _log.info("Stopped after %d epochs, as was asked for; the model so far is saved", done)
            raise
        if done < epochs:
            _log.info("Early stopping after epoch %d: no better for %d epochs", done - 1, patience.waited)

    def _learn(self, learner: Learner, epoch: int) -> None:
        told = self._told
        rate = learner.begin_epoch(epoch)
        if told.lr_scheduler_step and epoch in told.lr_scheduler_step:
            _log.info("Epoch[%d] Change learning rate to %.5e", epoch, rate)
        began = spoken = time.monotonic()
        score = _Score(told)
        number = 0
        # Every epoch has its own numbers, so that one that was interrupted goes on as it would have.
        random = np.random.default_rng([self._seed, epoch])
        self._torch.manual_seed(self._seed + epoch)
        for number, batch in enumerate(self._training.batches(told.batch, random), 1):
            scores, loss = learner.learn(*self._tensors(batch))
            if not math.isfinite(loss):
                raise TrainingError(
                    f"the loss is {loss} in epoch {epoch}, so nothing can be learned any more; "
                    f"set a learning_rate below {rate:g}"
                )
            score.add(scores.numpy(), batch.truth)
            if number % _LINES_EVERY == 0:
                now = time.monotonic()
                speed = _LINES_EVERY * told.batch / max(now - spoken, 1e-9)
                figures = "".join(f"\t{name}={value:.6f}" for name, value in score.figures())
                _log.info("Epoch[%d] Batch [%d]\tSpeed: %.2f samples/sec%s", epoch, number, speed, figures)
                spoken = now
        for name, value in score.figures():
            _log.info("Epoch[%d] Train-%s=%.6f", epoch, name, value)
        _log.info("Epoch[%d] Time cost=%.3f", epoch, time.monotonic() - began)
        expected = math.ceil(told.num_training_samples / told.batch)
        if self._training.count != told.num_training_samples:
            _log.warning(
                "Expected number of batches: %d, did not match the number of batches processed: %d "
                "(num_training_samples is %d, the train channel has %d)",
                *(expected, number, told.num_training_samples, self._training.count),
            )

    def _judge(self, epoch: int) -> float:
        with self._torch.no_grad():
            for number, batch in enumerate(self._training.sampled(_JUDGED_AT_ONCE), 1):
                # The mean of all batches so far.
                self._network.scores(self._tensors(batch)[0], 1 / number)
        score = _Score(self._told)
        for batch in self._validation.plain(_JUDGED_AT_ONCE):
            answers = self._network.probabilities(self._tensors(batch)[0]).numpy()
            # The decision between two classes of many is at one half.
            score.add(answers - 0.5 if self._network.multi_label else answers, batch.truth)
        for name, value in score.figures():
            _log.info("Epoch[%d] Validation-%s=%.6f", epoch, name, value)
        return score.accuracy

    def _artifact(self, epoch: int) -> Artifact:
        artifact = Artifact(
            self._started_from.symbol, self._network.params(), self._started_from.shape, epoch
        )
        return stored(artifact)

    def _positives(self) -> NDArray[np.float32] | None:
        """What `use_weighted_loss` asks for: how much rarer than its absence each class is."""
        if not self._told.use_weighted_loss:
            return None
        present = np.maximum(self._training.positives(), 1)
        absent = np.maximum(self._training.count - present, 1)
        weights: NDArray[np.float32] = np.minimum(absent / present, _HEAVIEST).astype(np.float32)
        return weights

    def _about(self) -> dict[str, Any]:
        told = self._told
        return {
            "num_layers": told.layers,
            "image_shape": list(told.shape),
            "num_classes": told.num_classes,
            "multi_label": bool(told.multi_label),
            "optimizer": told.optimizer or "sgd",
        }

    def _tensors(self, batch: Batch) -> tuple[Any, Any]:
        return self._torch.from_numpy(batch.pictures), self._torch.from_numpy(batch.truth)


class _Score:
    """How many of the answers so far were right.

    With several labels for a picture it counts decisions, one for each class: that is what accuracy means.
    """

    def __init__(self, told: Hyperparameters) -> None:
        self._many = bool(told.multi_label)
        self._top = None if self._many else told.top_k
        self._right = self._among = self._all = 0

    def add(self, scores: NDArray[np.float32], truth: NDArray[np.float32]) -> None:
        """Count a batch: scores of which the largest, or all above zero, are the answer."""
        if self._many:
            self._right += int(((scores >= 0) == (truth > 0)).sum())
            self._all += truth.size
            return
        classes = truth.argmax(axis=1)
        self._right += int((scores.argmax(axis=1) == classes).sum())
        self._all += len(classes)
        if self._top:
            best = np.argsort(-scores, axis=1, kind="stable")[:, : self._top]
            self._among += int((best == classes[:, None]).any(axis=1).sum())

    @property
    def accuracy(self) -> float:
        return self._right / self._all if self._all else 0.0

    def figures(self) -> list[tuple[str, float]]:
        """The built-in's names and values, accuracy first."""
        figures = [("accuracy", self.accuracy)]
        if self._top:
            figures.append((f"top_k_accuracy_{self._top}", self._among / max(self._all, 1)))
        return figures


class _Patience:
    """Remembers the best epoch, and when `early_stopping` has waited long enough for a better one."""

    def __init__(self, told: Hyperparameters, best: float, waited: int) -> None:
        self._stops = bool(told.early_stopping)
        self._least = told.early_stopping_min_epochs or 10
        self._most = told.early_stopping_patience or 5
        self._tolerance = told.early_stopping_tolerance or 0.0
        self._best = best
        self.waited = waited

    @property
    def best(self) -> float | None:
        return None if math.isinf(self._best) else self._best

    def take(self, accuracy: float) -> bool:
        """Take note of an epoch's validation accuracy; say whether it is the best so far."""
        gained = accuracy - self._best
        # The built-in's measure: the gain in relation to the best so far.
        enough = gained > self._tolerance * self._best if self._best > 0 else gained > 0
        self.waited = 0 if enough else self.waited + 1
        if gained <= 0:
            return False
        self._best = accuracy
        return True

    def exhausted(self, done: int) -> bool:
        return self._stops and done >= self._least and self.waited >= self._most


def _shown(shape: tuple[int, ...]) -> str:
    return ",".join(map(str, shape))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
