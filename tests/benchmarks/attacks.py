"""What hostile worker templates try, one after another in a real browser, and what came of it.

Run: python tests/benchmarks/attacks.py [--only NAME]

Example: python tests/benchmarks/attacks.py --only webrtc --only popups

Every template of `tests/attacks` stands before a worker who is signed in, in a task of a job of its own of
`gtlabel serve`. An attacker's servers on other ports of this machine count what they are asked for, by TCP
and by UDP, and the portal's requests are counted by an ear before it. The last column is the proof that an
attack can succeed at all: the same page in a plain frame of a plain page, in the same browser.

Ends with 1 if anything was reached that is not a template's own, or if an attack did not run.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

# The suite runs this with tests/ on its path; by itself it finds that here.
sys.path.append(str(Path(__file__).resolve().parents[1]))

from attack_parts import ATTACKS, strike
from attack_table import told
from browser import chromium
from emulator_parts import clients
from portal_parts import premises

from gtlabel.emulator.child import running


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the attacks, print the table, and say whether all walls held."""
    parser = argparse.ArgumentParser(description="Let hostile worker templates loose in a browser.")
    parser.add_argument("--only", action="append", choices=ATTACKS, help="an attack; all by default")
    names = parser.parse_args(arguments).only or ATTACKS
    with (
        running() as address,
        tempfile.TemporaryDirectory() as folder,
        premises(address.url, clients(address), Path(folder)) as there,
        chromium() as browser,
    ):
        print(f"Chromium {browser.version}")
        walled, plain = strike(browser, there, names, together=False)
    lines, well = told(walled, plain)
    print("", *lines, sep="\n")
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
