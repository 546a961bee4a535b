"""A clock that jumps: Python reads this file at its start, where its folder is on the path (see faults.py).

`GTLABEL_TEST_CLOCK` names a file with the seconds by which this process's wall clock is wrong.
"""

from __future__ import annotations

import datetime
import os
from pathlib import Path
from typing import Any

_FILE = Path(os.environ["GTLABEL_TEST_CLOCK"])
_true = datetime.datetime


class _Jumping(datetime.datetime):
    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> Any:
        return _true.now(tz) + datetime.timedelta(seconds=float(_FILE.read_text() or 0))


datetime.datetime = _Jumping  # type: ignore[misc]
