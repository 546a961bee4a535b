"""Crowds that were recorded, as /work/shared/data/crowd has them: for the benchmarks beside this."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path


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
