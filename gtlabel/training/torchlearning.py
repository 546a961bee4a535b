"""How a network gets better: the optimizers of the built-in, and what they remember between two steps.

The rules and their defaults are those of MXNet behind the built-in's hyperparameters
(https://docs.aws.amazon.com/sagemaker/latest/dg/IC-Hyperparameter.html). As there, only weights and the
gammas of batch normalization decay, biases and betas do not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gtlabel.training.hyperparameters import Hyperparameters
from gtlabel.training.torchnetwork import Tensor, TorchNetwork

# How much of its averages a batch replaces in batch normalization; MXNet's 0.9 is what is kept.
_MOMENTUM = 0.1
_DECAYING = ("_weight", "_gamma")


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
        decay = _or(hyperparameters.weight_decay, 1e-4)
        names: dict[float, list[str]] = {decay: [], 0.0: []}
        for name in network.weights:
            names[decay if name.endswith(_DECAYING) else 0.0].append(name)
        self._names = [name for group in names.values() for name in group]
        groups = [
            {"params": [network.weights[name] for name in group], "weight_decay": decays}
            for decays, group in names.items()
            if group
        ]
        self._optimizer = _optimizer(torch, groups, hyperparameters)

    def begin_epoch(self, epoch: int) -> float:
        """Set the learning rate of an epoch, counted from 0, and return it."""
        rate = _or(self._told.learning_rate, 0.1)
        for step in self._told.lr_scheduler_step or ():
            if epoch >= step:
                rate *= _or(self._told.lr_scheduler_factor, 0.1)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        return rate

    def learn(self, pictures: Tensor, truth: Tensor) -> tuple[Tensor, float]:
        """Take one step; return what the network said of the batch before it, and the loss."""
        scores = self._network.scores(pictures, _MOMENTUM)
        loss = self._network.loss(scores, truth, self._positives)
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        return scores.detach(), float(loss.detach())

    def memory(self) -> dict[str, NDArray[np.float32]]:
        """What the optimizer remembers, by its own names and those of the weights."""
        state = self._optimizer.state
        return {
            f"{key}:{name}": np.array(value.detach().numpy(), dtype=np.float32, ndmin=1)
            for name in self._names
            for key, value in state.get(self._network.weights[name], {}).items()
            if value is not None
        }

    def recall(self, memory: Mapping[str, NDArray[Any]]) -> None:
        """Continue with what another optimizer of the same kind remembered."""
        for full, array in memory.items():
            key, _, name = full.partition(":")
            if name in self._network.weights:
                weight = self._network.weights[name]
                value = self._torch.from_numpy(np.array(array, dtype=np.float32))
                # A count of steps is one number, which torch wants without a dimension.
                shape = () if key == "step" else tuple(weight.shape)
                self._optimizer.state[weight][key] = value.reshape(shape)


def _optimizer(torch: Any, groups: list[dict[str, Any]], told: Hyperparameters) -> Any:
    kind = told.optimizer or "sgd"
    if kind in ("sgd", "nag"):
        momentum = _or(told.momentum, 0.9)
        # Without momentum there is nothing to look ahead along.
        return torch.optim.SGD(groups, momentum=momentum, nesterov=kind == "nag" and momentum > 0)
    for group in groups:
        # The built-in knows decay for the other two only.
        group["weight_decay"] = 0.0
    eps = _or(told.eps, 1e-8)
    if kind == "adam":
        return torch.optim.Adam(groups, betas=(_or(told.beta_1, 0.9), _or(told.beta_2, 0.999)), eps=eps)
    return torch.optim.RMSprop(groups, alpha=_or(told.gamma, 0.9), eps=eps)


def _or(value: float | None, default: float) -> float:
    return default if value is None else value
