"""What our trainers leave, answered by real MXNet 1.9.1: the recipe of `tests/recorded/mxnet-trained`.

Each trainer learns a few painted pictures, as a program; MXNet is then asked about the ones of the validation
channel. The weights of the ResNet are rounded to 16 bits first (and stored in 32), so that they pack well.

Run: GTLABEL_TORCH_PYTHON=/opt/gt-torch/bin/python python tests/golden_trained.py /opt/mx/bin/python
     (the environment of MXNet is that of `golden_mxnet`)
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from test_torchtrainer import BY_ID, job, painted, striped

from gtlabel.networks.artifact import read_artifact, write_artifact
from gtlabel.networks.preprocess import load_image

RECORDED = Path(__file__).parent / "recorded" / "mxnet-trained"
MODULES = {"embedded": "gtlabel.training.embedded", "torch": "gtlabel.training.torchtrainer"}
SHAPES = {"embedded": "3,24,32", "torch": "3,28,28"}


def record(trainer: str, several: bool, mxnet: str, root: Path) -> None:
    """Train, ask MXNet, and pack both into the folder of the recorded."""
    name = f"{trainer}-{'several' if several else 'one'}"
    train, validation = (striped(48, 0), striped(8, 500)) if several else (painted(48, 0), painted(9, 500))
    if not several:
        # Two of five labels are wrong, so that no trainer can be sure of itself.
        train = [(picture, str((int(label) + (n % 5 < 2)) % 3)) for n, (picture, label) in enumerate(train)]
    told: dict[str, Any] = {"image_shape": SHAPES[trainer], "multi_label": int(several)}
    if trainer == "torch":
        told |= {"epochs": 3, "augmentation_type": "crop", "optimizer": "adam", "learning_rate": 0.003}
    base = job(root / name, train, validation, content=BY_ID, **told).base
    python = sys.executable if trainer == "embedded" else os.environ["GTLABEL_TORCH_PYTHON"]
    environment = {**os.environ, "SAGEMAKER_BASE_DIR": str(base), "OMP_NUM_THREADS": "1"}
    subprocess.run([python, "-m", MODULES[trainer], "train"], env=environment, check=True)
    model = base / "model"
    artifact = read_artifact(model)
    if trainer == "torch":
        rounded = {n: array.astype(np.float16).astype(np.float32) for n, array in artifact.params.items()}
        write_artifact(model, replace(artifact, params=rounded))
    _, _, height, width = artifact.shape
    batch = np.stack([load_image(picture, height, width) for picture, _ in validation])
    np.save(model / "x.npy", batch.astype(np.uint8))
    recipe = Path(__file__).with_name("golden_mxnet.py")
    subprocess.run([mxnet, str(recipe), "answers", str(model)], env=environment, check=True)
    target = RECORDED / name
    target.mkdir(parents=True, exist_ok=True)
    shutil.copy(model / "mxnet.npz", target)
    with tarfile.open(target / "model.tar.gz", "w:gz") as archive:
        for path in sorted(model.glob("*[ns]")):
            archive.add(path, path.name)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        for kind in MODULES:
            for several in (False, True):
                if (kind, several) != ("torch", False):
                    record(kind, several, sys.argv[1], Path(folder))
