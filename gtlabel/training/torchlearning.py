"""How a network gets better: the built-in's optimizers, and what they remember between two steps.

The rules are MXNet's, with its places for the learning rate and for epsilon, behind the built-in's
hyperparameters and defaults (https://docs.aws.amazon.com/sagemaker/latest/dg/IC-Hyperparameter.html). As
there, only weights and the gammas of batch normalization decay, biases and betas do not. They are written
out here because torch's own bring its compiler along, which takes seconds to import and is not used.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gtlabel.training.hyperparameters import Hyperparameters
from gtlabel.training.torchnetwork import Tensor, TorchNetwork

# How much of its averages a batch replaces in batch normalization; MXNet's 0.9 is what is kept.
_MOMENTUM = 0.1
_DECAYING = ("_weight", "_gamma")
_STEPS = "steps"


class Learner:
    """Improves a network, one batch after the other.

    Args:
        torch: the module.
        network: what to improve.
        hyperparameters: name the optimizer, its settings and the schedule of the learning rate.
        positives: with several labels, how much more than its absence each class's presence weighs.
    """

    def __init__(
        self,
        torch: Any,
        network: TorchNetwork,
        hyperparameters: Hyperparameters,
        positives: NDArray[np.float32] | None = None,
    ) -> None:
        self._torch = torch
        self._network = network
        self._told = hyperparameters
        self._positives = None if positives is None else torch.from_numpy(positives)
        self._rate = 0.0
        self._steps = 0
        self._memory: dict[str, Tensor] = {}
        rules: dict[str, Callable[[str, Tensor, Tensor], None]] = {
            "sgd": self._sgd,
            "nag": self._nag,
            "adam": self._adam,
            "rmsprop": self._rmsprop,
        }
        self._rule = rules[hyperparameters.optimizer or "sgd"]

    def begin_epoch(self, epoch: int) -> float:
        """Set the learning rate of an epoch, counted from 0, and return it."""
        self._rate = _or(self._told.learning_rate, 0.1)
        for step in self._told.lr_scheduler_step or ():
            if epoch >= step:
                self._rate *= _or(self._told.lr_scheduler_factor, 0.1)
        return self._rate

    def learn(self, pictures: Tensor, truth: Tensor) -> tuple[Tensor, float]:
        """Take one step; return what the network said of the batch before it, and the loss."""
        scores = self._network.scores(pictures, _MOMENTUM)
        loss = self._network.loss(scores, truth, self._positives)
        names = [name for name in self._network.weights if name not in self._network.fixed]
        weights = [self._network.weights[name] for name in names]
        gradients = self._torch.autograd.grad(loss, weights)
        self._steps += 1
        with self._torch.no_grad():
            for name, weight, gradient in zip(names, weights, gradients, strict=True):
                self._rule(name, weight, gradient)
        return scores.detach(), float(loss.detach())

    def memory(self) -> dict[str, NDArray[np.float32]]:
        """What the optimizer remembers, by the names of the weights."""
        arrays = {name: np.array(value.numpy(), dtype=np.float32) for name, value in self._memory.items()}
        return {**arrays, _STEPS: np.array([self._steps], dtype=np.float32)}

    def recall(self, memory: Mapping[str, NDArray[Any]]) -> None:
        """Continue with what an optimizer of the same kind remembered."""
        self._memory = {
            name: self._torch.from_numpy(np.array(array, dtype=np.float32))
            for name, array in memory.items()
            if name != _STEPS
        }
        self._steps = int(memory[_STEPS][0])

    def _sgd(self, name: str, weight: Tensor, gradient: Tensor) -> None:
        momentum = self._remembered("momentum", name, weight)
        momentum.mul_(_or(self._told.momentum, 0.9)).sub_(self._decayed(name, weight, gradient) * self._rate)
        weight.add_(momentum)

    def _nag(self, name: str, weight: Tensor, gradient: Tensor) -> None:
        keep = _or(self._told.momentum, 0.9)
        step = self._decayed(name, weight, gradient) * self._rate
        momentum = self._remembered("momentum", name, weight)
        momentum.mul_(keep).sub_(step)
        weight.add_(momentum, alpha=keep).sub_(step)

    def _adam(self, name: str, weight: Tensor, gradient: Tensor) -> None:
        first, second = _or(self._told.beta_1, 0.9), _or(self._told.beta_2, 0.999)
        mean = self._remembered("mean", name, weight)
        square = self._remembered("square", name, weight)
        mean.mul_(first).add_(gradient, alpha=1 - first)
        square.mul_(second).addcmul_(gradient, gradient, value=1 - second)
        rate = self._rate * math.sqrt(1 - second**self._steps) / (1 - first**self._steps)
        weight.addcdiv_(mean, square.sqrt().add_(_or(self._told.eps, 1e-8)), value=-rate)

    def _rmsprop(self, name: str, weight: Tensor, gradient: Tensor) -> None:
        keep = _or(self._told.gamma, 0.9)
        square = self._remembered("square", name, weight)
        square.mul_(keep).addcmul_(gradient, gradient, value=1 - keep)
        weight.addcdiv_(gradient, square.add(_or(self._told.eps, 1e-8)).sqrt_(), value=-self._rate)

    def _decayed(self, name: str, weight: Tensor, gradient: Tensor) -> Tensor:
        decay = _or(self._told.weight_decay, 1e-4) if name.endswith(_DECAYING) else 0.0
        return gradient.add(weight, alpha=decay)

    def _remembered(self, what: str, name: str, weight: Tensor) -> Tensor:
        key = f"{what}:{name}"
        if key not in self._memory:
            self._memory[key] = self._torch.zeros_like(weight, requires_grad=False)
        return self._memory[key]


def _or(value: float | None, default: float) -> float:
    return default if value is None else value
