"""The only door to torch, which is large, comes with the extra train-torch, and is imported when asked for.

Whoever needs torch is handed the module from here. It counts as `Any`, so that this package is checked
alike with and without torch being installed.
"""

from __future__ import annotations

import importlib
import os
from typing import Any

from gtlabel.errors import MissingExtraError


def load_torch(threads: int | None = None) -> Any:
    """Import torch and tell it how many threads to use.

    Left alone, torch takes every core it sees, and where those are shared it then needs several times the
    processor seconds (contract/training.md §7.5).

    Args:
        threads: how many; by default what OMP_NUM_THREADS says, and else the cores this process may use.

    Raises:
        MissingExtraError: if torch is not installed.
    """
    try:
        torch = importlib.import_module("torch")
    except ImportError as error:
        raise MissingExtraError("training a ResNet", "train-torch") from error
    torch.set_num_threads(threads or _usual_threads())
    return torch


def _usual_threads() -> int:
    told = os.environ.get("OMP_NUM_THREADS", "")
    if told.isascii() and told.isdigit() and int(told):
        return int(told)
    # macOS does not say which cores a process may use.
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1
