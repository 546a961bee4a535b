"""Prints the table of candidates for the embedded trainer that samples/README.md shows.

    OMP_NUM_THREADS=1 python tests/benchmarks/trainers.py

Every candidate learns from the same pictures and answers for the same held-out ones. A seed chooses
four fifths of the 117 pictures to label, as the train channel would hold them, which one in twenty of
their labels is wrong, as people err, and whatever is random in the candidate.
"""

from __future__ import annotations

import io
import json
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from PIL import Image
from sklearn.cluster import MiniBatchKMeans
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import LogisticRegressionCV
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from gtlabel.networks import interpreter
from gtlabel.networks.artifact import read_artifact
from gtlabel.networks.preprocess import load_image
from gtlabel.recordio import encode
from gtlabel.training.embedded import train
from gtlabel.training.features import FeatureNetwork

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]
Candidate = Callable[[Floats, Labels, Floats, int], Labels]

SAMPLES = Path(__file__).parents[2] / "samples" / "trash"
CLASSES = ("Compost", "Landfill", "Recycle")
SEEDS = range(5)
SIDE = 64
PATCH = 6
CENTROIDS = 200
COLORS = 84  # the channels of the first head: color histograms of the whole picture


def pictures(truth: str) -> tuple[Floats, Labels]:
    rows = [json.loads(line) for line in (SAMPLES / truth).read_text().splitlines()]
    data = [load_image((SAMPLES / row["image"]).read_bytes(), SIDE, SIDE) for row in rows]
    return np.stack(data), np.array([CLASSES.index(row["class"]) for row in rows])


def logistic(features: Floats, labels: Labels, unseen: Floats) -> Labels:
    penalties = np.logspace(-4, 1, 6)
    model = make_pipeline(
        StandardScaler(),
        LogisticRegressionCV(
            Cs=penalties,
            l1_ratios=(0.0,),
            cv=4,
            max_iter=1000,
            use_legacy_attributes=False,
            scoring="neg_log_loss",
        ),
    )
    answer: Labels = model.fit(features, labels).predict(unseen)
    return answer


def raw(images: Floats) -> Floats:
    """The pictures at 16 x 16."""
    count, colors, height, width = images.shape
    small: Floats = images.reshape(count, colors, height // 4, 4, width // 4, 4).mean((3, 5))
    return small.reshape(count, -1)


def histograms(images: Floats) -> Floats:
    return FeatureNetwork(SIDE, SIDE).features(images)


class Patches:
    """Features learned by k-means on whitened patches, rectified and averaged over quarters."""

    def __init__(self, images: Floats, seed: int) -> None:
        random = np.random.default_rng(seed)
        count = 20_000
        chosen = random.integers(0, len(images), count)
        rows, columns = random.integers(0, SIDE - PATCH + 1, (2, count))
        patches = np.stack(
            [
                images[i, :, r : r + PATCH, c : c + PATCH].ravel() / 255
                for i, r, c in zip(chosen, rows, columns, strict=True)
            ]
        )
        self._mean = patches.mean(0)
        values, vectors = np.linalg.eigh(np.cov(patches - self._mean, rowvar=False))
        whitening = (vectors / np.sqrt(values + 0.1 * values.mean())) @ vectors.T
        white = (patches - self._mean) @ whitening
        white /= np.linalg.norm(white, axis=1, keepdims=True) + 1e-9
        centers = MiniBatchKMeans(CENTROIDS, n_init=1, random_state=seed).fit(white).cluster_centers_
        centers /= np.linalg.norm(centers, axis=1, keepdims=True) + 1e-9
        self._filters = (whitening @ centers.T).astype(np.float32)
        self._thresholds = np.quantile((patches - self._mean) @ self._filters, 0.5, axis=0)

    def __call__(self, images: Floats) -> Floats:
        return np.stack([self._one(image) for image in images])

    def _one(self, image: Floats) -> Floats:
        windows = sliding_window_view(image / 255, (PATCH, PATCH), axis=(1, 2))[:, ::2, ::2]
        side = windows.shape[1] // 2 * 2
        flat = windows[:, :side, :side].transpose(1, 2, 0, 3, 4).reshape(side * side, -1)
        maps = np.maximum((flat - self._mean) @ self._filters - self._thresholds, 0)
        quarters = maps.reshape(2, side // 2, 2, side // 2, -1).mean((1, 3))
        result: Floats = quarters.ravel().astype(np.float32)
        return result


def raw_logistic(images: Floats, labels: Labels, unseen: Floats, _seed: int) -> Labels:
    return logistic(raw(images), labels, raw(unseen))


def raw_perceptron(images: Floats, labels: Labels, unseen: Floats, seed: int) -> Labels:
    model = make_pipeline(StandardScaler(), MLPClassifier(64, alpha=1.0, max_iter=300, random_state=seed))
    answer: Labels = model.fit(raw(images), labels).predict(raw(unseen))
    return answer


def color_logistic(images: Floats, labels: Labels, unseen: Floats, _seed: int) -> Labels:
    return logistic(histograms(images)[:, :COLORS], labels, histograms(unseen)[:, :COLORS])


def patch_logistic(images: Floats, labels: Labels, unseen: Floats, seed: int) -> Labels:
    patches = Patches(images, seed)
    return logistic(patches(images), labels, patches(unseen))


def patch_color_logistic(images: Floats, labels: Labels, unseen: Floats, seed: int) -> Labels:
    patches = Patches(images, seed)

    def both(some: Floats) -> Floats:
        return np.hstack([patches(some), histograms(some)[:, :COLORS]])

    return logistic(both(images), labels, both(unseen))


def patch_forest(images: Floats, labels: Labels, unseen: Floats, seed: int) -> Labels:
    patches = Patches(images, seed)
    return trees(patches(images), labels, patches(unseen), seed)


def all_logistic(images: Floats, labels: Labels, unseen: Floats, _seed: int) -> Labels:
    return logistic(histograms(images), labels, histograms(unseen))


def color_forest(images: Floats, labels: Labels, unseen: Floats, seed: int) -> Labels:
    return trees(histograms(images)[:, :COLORS], labels, histograms(unseen)[:, :COLORS], seed)


def trees(features: Floats, labels: Labels, unseen: Floats, seed: int) -> Labels:
    forest = ExtraTreesClassifier(200, max_leaf_nodes=32, random_state=seed).fit(features, labels)
    answer: Labels = forest.predict(unseen)
    return answer


def all_forest(images: Floats, labels: Labels, unseen: Floats, seed: int) -> Labels:
    return trees(histograms(images), labels, histograms(unseen), seed)


def shipped(images: Floats, labels: Labels, unseen: Floats, seed: int) -> Labels:
    """The trainer itself, which gets what a training program gets; nothing is chosen by its validation."""
    records = []
    for image, label in zip(images, labels, strict=True):
        file = io.BytesIO()
        Image.fromarray(image.astype(np.uint8).transpose(1, 2, 0)).save(file, "PNG")
        records += [encode(file.getvalue()), encode(str(label).encode())]
    told = {
        "num_classes": str(len(CLASSES)),
        "num_training_samples": str(len(labels)),
        "image_shape": f"3,{SIDE},{SIDE}",
        "mini_batch_size": "1",
    }
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        (base / "input" / "config").mkdir(parents=True)
        (base / "input" / "data").mkdir()
        (base / "model").mkdir()
        (base / "input" / "config" / "hyperparameters.json").write_text(json.dumps(told))
        (base / "input" / "data" / "train_0").write_bytes(b"".join(records))
        (base / "input" / "data" / "validation_0").write_bytes(b"".join(records[:2]))
        train(base, seed)
        artifact = read_artifact(base / "model")
    answer: Labels = interpreter.run(artifact.symbol, artifact.params, unseen).argmax(axis=1)
    return answer


CANDIDATES: Sequence[tuple[str, Candidate]] = (
    ("raw pixels (16 x 16), logistic regression", raw_logistic),
    ("raw pixels (16 x 16), perceptron with 64 hidden units", raw_perceptron),
    ("color histograms, logistic regression", color_logistic),
    (f"{CENTROIDS} k-means patches, logistic regression", patch_logistic),
    (f"{CENTROIDS} k-means patches + color histograms, logistic regression", patch_color_logistic),
    ("color + contrast histograms, whole + border, logistic regression", all_logistic),
    (f"{CENTROIDS} k-means patches, randomized trees", patch_forest),
    ("color histograms, randomized trees", color_forest),
    ("color + contrast histograms, whole + border, randomized trees", all_forest),
    ("**histograms + words of color and texture, kernel regression: the trainer as shipped**", shipped),
)


def main() -> None:
    warnings.simplefilter("ignore")
    images, truth = pictures("truth.jsonl")
    held_out, answers = pictures("held-out.jsonl")
    print("| candidate | accuracy on held-out pictures: mean | min | max | CPU seconds to train and answer |")
    print("| --- | --- | --- | --- | --- |")
    majority = np.bincount(answers).max() / len(answers)
    print(f"| always the same class | {majority:.1%} | | | |")
    for name, candidate in CANDIDATES:
        accuracies, started = [], time.process_time()
        for seed in SEEDS:
            random = np.random.default_rng(seed)
            chosen = random.permutation(len(images))[: len(images) * 4 // 5]
            labels = truth[chosen].copy()
            wrong = random.permutation(len(labels))[: len(labels) // 20]
            labels[wrong] = (labels[wrong] + random.integers(1, len(CLASSES), len(wrong))) % len(CLASSES)
            guesses = candidate(images[chosen], labels, held_out, seed)
            accuracies.append(float((guesses == answers).mean()))
        seconds = (time.process_time() - started) / len(SEEDS)
        mean = sum(accuracies) / len(accuracies)
        print(f"| {name} | {mean:.1%} | {min(accuracies):.1%} | {max(accuracies):.1%} | {seconds:.1f} |")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
