"""The smallest training program: no framework, no picture decoded, Python's own library and gtlabel's reader.

    gtlabel local pipe pictures/ -- python samples/pytorch/plain.py

It guesses the class of a picture from the size of its file, which is worth a little more than nothing, and
shows the whole contract: hyperparameters, epochs, log lines, the model, and the way to fail.
"""

from __future__ import annotations

import json
from math import log

from gtlabel.training import reader

settings = reader.hyperparameters()
names = reader.class_names()
means = [0.0] * len(names)


def guess(picture: bytes) -> int:
    """The class whose pictures are about as large."""
    return min(range(len(means)), key=lambda label: abs(means[label] - log(len(picture))))


try:
    for epoch in range(settings.integer("epochs", 2)):
        counts, right = [0] * len(names), 0
        for picture, label in reader.read_channel("train", epoch):
            assert isinstance(label, int)
            right += guess(picture) == label
            counts[label] += 1
            means[label] += (log(len(picture)) - means[label]) / counts[label]
        print(f"Epoch[{epoch}] Train-accuracy={right / sum(counts):.6f}")
        answers = [guess(picture) == label for picture, label in reader.read_channel("validation", epoch)]
        print(f"Epoch[{epoch}] Validation-accuracy={sum(answers) / len(answers):.6f}", flush=True)
    (reader.model_directory() / "model.json").write_text(json.dumps(dict(zip(names, means, strict=True))))
except Exception as error:
    reader.report_failure(error)
    raise
