"""Crowds that were recorded, as /work/shared/data/crowd has them: for the benchmarks beside this."""

from __future__ import annotations

import csv
import gzip
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gtlabel.crowd.votes import Votes


@dataclass(frozen=True)
class Recorded:
    """Answers with the truth, as far as it is known; -1 elsewhere."""

    votes: Votes
    objects: int
    classes: int
    truth: NDArray[np.intp]


def read(folder: Path) -> tuple[dict[tuple[str, str], str], dict[str, str]]:
    """The label by task and worker, of whom the last answer about a task counts, and the gold by task.

    Args:
        folder: has labels.csv.gz (task, worker, label) and gold.csv.gz (task, label).
    """
    with gzip.open(folder / "labels.csv.gz", "rt", encoding="utf-8") as file:
        said = {(row["task"], row["worker"]): row["label"] for row in csv.DictReader(file)}
    with gzip.open(folder / "gold.csv.gz", "rt", encoding="utf-8") as file:
        gold = {row["task"]: row["label"] for row in csv.DictReader(file)}
    return said, gold
