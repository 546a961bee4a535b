"""Install this bundle on a device; this lies in a bundle as `install.py`.

It runs on any Python, if only to say that another one is needed.
"""

import sys

# Who copies a bundle may well have an older Python, whose own complaint would be a syntax error elsewhere.
if sys.version_info < (3, 11):  # noqa: UP036
    sys.exit("install.py: Python 3.11 or newer is needed, and this is " + sys.version.split()[0])

from pathlib import Path

if __name__ == "__main__":
    folder = Path(__file__).resolve().parent
    # Python may have been told not to look beside the script, and an installed gtlabel is another version.
    sys.path.insert(0, str(folder))
    from gtlabel.edge.device.install import main

    sys.exit(main(folder))
