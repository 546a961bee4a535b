"""Runs training jobs one after the other with torch imported once: `PYTHON tests/torch_jobs.py BASE...`.

Each job is a process of its own, and does in it what `python -m gtlabel.training.torchtrainer` does. Its
arguments come from `arguments.json` in its folder; its lines and exit code go to `log.txt` and `code.txt`.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from gtlabel.training.torchdoor import load_torch
from gtlabel.training.torchtrainer import main


def run(base: Path) -> None:
    """Run one job and wait for its end."""
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        (base / "code.txt").write_text(str(os.waitstatus_to_exitcode(status)))
        return
    log = os.open(base / "log.txt", os.O_WRONLY | os.O_CREAT)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ["SAGEMAKER_BASE_DIR"] = str(base)
    code = 70
    try:
        code = main([*json.loads((base / "arguments.json").read_text()), "train"])
    finally:
        sys.stdout.flush()
        os._exit(code)


if __name__ == "__main__":
    load_torch(1)
    for argument in sys.argv[1:]:
        run(Path(argument))
