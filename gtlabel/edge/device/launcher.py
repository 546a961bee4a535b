"""Classify pictures on a device; this lies in a bundle as `run.py`.

Exit codes: 0 done, 1 a picture or the camera could not be read, 2 wrong arguments, 3 the bundle is damaged,
4 the self-test failed, 5 a package is missing or too old, 6 results could not be delivered.
"""

import os

# onnxruntime reports to its maker by default; this is its full opt-out, and it is read at import.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import sys
from pathlib import Path

# Not everything that starts this has read what the bundle needs.
if sys.version_info < (3, 11):  # noqa: UP036
    sys.stderr.write("run.py: this needs Python 3.11 or newer, and here is " + sys.version.split()[0] + "\n")
    sys.exit(5)

if __name__ == "__main__":
    folder = Path(__file__).resolve().parent
    # Python may have been told not to look beside the script, and an installed gtlabel is another version.
    sys.path.insert(0, str(folder))
    from gtlabel.edge.device.program import main

    sys.exit(main(folder))
