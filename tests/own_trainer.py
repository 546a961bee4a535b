"""A training program for an image of one's own: it does what the hyperparameter `program` says.

That is Python, as a JSON text: a hyperparameter has one line.
"""

import json
import os
import pathlib
import signal
import sys
import time

base = pathlib.Path(os.environ["SAGEMAKER_BASE_DIR"])
data, model, output = base / "input/data", base / "model", base / "output"
hyperparameters = json.loads((base / "input/config/hyperparameters.json").read_text())
exec(
    json.loads(hyperparameters["program"]),
    {
        "json": json,
        "os": os,
        "signal": signal,
        "sys": sys,
        "time": time,
        "base": base,
        "data": data,
        "model": model,
        "output": output,
    },
)
