"""What somebody sees when the portal cannot store anything or goes away, and what that costs them.

Run: python tests/benchmarks/portal_faults.py [--only NAME] [--screenshots FOLDER]

Example: python tests/benchmarks/portal_faults.py --only "kill -9" --screenshots /tmp/seen

Somebody labels pictures by keyboard in a browser. In the middle a fault strikes: they answer once more, a
banner tells them what is in the way, and after a while the fault ends. They touch nothing but the keys that
answer, and label what is left. Then the database must hold each answer that was acknowledged exactly once,
and each picture must have been shown to them once, but for at most one.

Ends with 1 if that is not so, or if the banner did not come, or did not go.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

# The suite runs this with tests/ on its path; by itself it finds that here.
sys.path.append(str(Path(__file__).resolve().parents[1]))

import faults
from browser import chromium, until
from clients import CLASSES, Server, end_politely, row_text
from latency import portal
from load import BUCKET
from people_parts import Typist
from playwright.sync_api import Response
from portal_load import picture

_TRIAL = 10
_IMAGES = 22
_BEFORE = 4
_STAY_SECONDS = 1.5
_RETURN_SECONDS = 40.0
_COLUMNS = (
    ("fault", 26),
    ("pictures", 10),
    ("answers", 9),
    ("acked", 7),
    ("during", 8),
    ("stored", 8),
    ("lost", 6),
    ("doubled", 9),
    ("rework", 8),
    ("up again s", 12),
    ("all well", 10),
)
Mend = Callable[[], object]


def killed(server: Server) -> Mend:
    """The power goes, and comes back."""
    server.kill()
    return server.start


def restarted(server: Server) -> Mend:
    """Its owner ends it, and starts it again a while later."""
    server.stop()
    return server.start


def disk_full(server: Server) -> Mend:
    """Something else fills the disk."""
    return faults.disk_full(_trial(server))


def read_only(server: Server) -> Mend:
    """The files of the database cannot be written any more."""
    return faults.read_only(_trial(server))


def _trial(server: Server) -> Any:
    return SimpleNamespace(state=server.state)


@dataclass(frozen=True)
class Fault:
    """A fault.

    Attributes:
        strike: makes it happen and returns what mends it.
        told: what the banner says then.
        mounted: whether the server's folder must be a small file system of its own.
        again: another fault of the program for servers that asks for the same rights.
    """

    name: str
    strike: Callable[[Server], Mend]
    told: str
    mounted: bool = False
    again: faults.Fault | None = None


def _of_servers(name: str) -> faults.Fault:
    return next(fault for fault in faults.FAULTS if fault.name == name)


FAULTS = (
    Fault("kill -9", killed, "cannot be reached"),
    Fault("restart", restarted, "cannot be reached"),
    Fault("disk full", disk_full, "no room", mounted=True, again=_of_servers("disk full")),
    Fault("read-only", read_only, "cannot be written", again=_of_servers("database files immutable")),
)


def run(fault: Fault, folder: Path, shown: bytes, images: int, screenshots: Path | None) -> bool:
    """One fault, from the first picture to the books; say whether all is well."""
    with ExitStack() as stack:
        state = stack.enter_context(faults.small_disk(folder / "disk")) if fault.mounted else None
        place = stack.enter_context(portal(folder / "site", shown, 1, images, state))
        browser = stack.enter_context(chromium())
        truth = {
            f"s3://{BUCKET}/images/{number}.jpg": [CLASSES[number % len(CLASSES)]] for number in range(images)
        }
        person = Typist(browser, truth, CLASSES)
        acknowledged: list[str] = []

        def note(response: Response) -> None:
            if response.url.endswith("/api/submit") and response.status == 200:
                acknowledged.append(json.loads(response.request.post_data or "{}")["lease"])

        person.page.on("response", note)
        person.join(f"{place.server.url}/join/{place.invites[0]}")
        person.start("Which bin?")
        banner = person.page.locator("#banner")
        for _ in range(_BEFORE):
            person.step()
        person.next_task()
        # The next picture does not wait for word of the last one.
        until(lambda: len(acknowledged) == _BEFORE, "word that the first answers are stored")
        before = len(acknowledged)
        mend = fault.strike(place.server)
        person.step()
        until(banner.is_visible, "the banner", 15)
        said = banner.inner_text()
        person.screenshot(screenshots, fault.name.replace(" ", "-"))
        time.sleep(_STAY_SECONDS)
        during = len(acknowledged) - before
        mend()
        mended = time.perf_counter()
        until(banner.is_hidden, "the end of the banner", _RETURN_SECONDS)
        recovered = time.perf_counter() - mended
        while person.step():
            pass
        until(lambda: len(acknowledged) >= len(set(person.answered)), "the last acknowledgment")
        person.context.close()
        place.server.stop()
        stored = Counter(_stored(place.server.state / "engine.sqlite"))
    pictures = len(set(person.answered))
    lost = len(set(acknowledged) - set(stored))
    doubled = sum(stored.values()) - len(stored)
    rework = len(person.answered) - pictures
    well = not lost and not doubled and not during and rework <= 1 and not person.errors
    well = well and fault.told in said and len(stored) == pictures == images - _TRIAL
    row = [fault.name, pictures, len(person.answered), len(set(acknowledged)), during, len(stored), lost]
    print(row_text(_COLUMNS, [*row, doubled, rework, recovered, "yes" if well else "NO"]), flush=True)
    print(f"{'':>28}{said}", *person.errors, flush=True)
    return well


def _stored(database: Path) -> list[str]:
    """The leases of the answers in the database, but for those of whoever did the trial."""
    with sqlite3.connect(database) as connection:
        mine = "select sub from workers where name = 'worker-1'"
        found = connection.execute(f"select lease from answers where worker = ({mine})")
        return [lease for (lease,) in found]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    names = [fault.name for fault in FAULTS]
    parser.add_argument("--only", action="append", choices=names, help="this fault; may be given again")
    parser.add_argument("--images", type=int, default=_IMAGES, help="how many the job has; ten are its trial")
    parser.add_argument("--screenshots", type=Path, help="a folder for what the worker saw")
    given = parser.parse_args()
    end_politely()
    shown = picture(113_000)
    well = True
    print("".join(f"{name:>{width}}" for name, width in _COLUMNS), flush=True)
    with tempfile.TemporaryDirectory(prefix="gtlabel-portal-faults-") as name:
        for number, fault in enumerate(FAULTS):
            if given.only and fault.name not in given.only:
                continue
            if fault.again is not None and not faults.possible(fault.again):
                print(f"{fault.name:>26}  (only root can do this)", flush=True)
                continue
            folder = Path(name) / str(number)
            folder.mkdir()
            well = run(fault, folder, shown, given.images, given.screenshots) and well
    sys.exit(0 if well else 1)


if __name__ == "__main__":
    main()
