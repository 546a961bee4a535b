"""Programs and packages that a newcomer may lack: their tests are skipped then, except where all must run."""

from __future__ import annotations

import os

import pytest


def need(found: object, sentence: str) -> None:
    """Skip the test unless what it needs is there; fail it where GTLABEL_REQUIRE_PROGRAMS=1 says so.

    Args:
        found: what was looked for; nothing counts as not there.
        sentence: what the test does with it, and how to get it.
    """
    if found:
        return
    if os.environ.get("GTLABEL_REQUIRE_PROGRAMS") == "1":
        pytest.fail(sentence)
    pytest.skip(sentence)
