"""The foreman's rounds: a thread that does what is due in labeling jobs when nobody asks."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

_log = logging.getLogger(__name__)

_IDLE_SECONDS = 0.5
_END_SECONDS = 10.0
# News come with every few answers, and a turn for each would take half of a core from those who answer.
_REST = 3
_LONGEST_REST_SECONDS = 0.25


class Rounds(threading.Thread):
    """Goes round when there are news, and twice a second.

    Of several processes on one database each has one, and only the one whose process leads does anything.

    Args:
        news: set when there is something to do.
        leads: whether this process is the one to do it.
        turn: does what is due.
    """

    def __init__(self, news: threading.Event, leads: Callable[[], bool], turn: Callable[[], object]) -> None:
        super().__init__(name="foreman", daemon=True)
        self._news = news
        self._leads = leads
        self._turn = turn
        self._ended = False

    def run(self) -> None:
        """Go round until `end`."""
        led = False
        while not self._ended:
            self._news.wait(_IDLE_SECONDS)
            self._news.clear()
            if self._ended:
                return
            began = time.monotonic()
            try:
                leads = self._leads()
                if leads and not led:
                    _log.info("this process moves the labeling jobs on from now")
                led = leads
                if leads:
                    self._turn()
            except Exception:
                # The jobs of others must go on whatever is wrong with one, and so must this thread.
                logging.exception("a labeling job could not be moved on; it is tried again")
                time.sleep(_IDLE_SECONDS)
            time.sleep(min(_REST * (time.monotonic() - began), _LONGEST_REST_SECONDS))

    def end(self) -> None:
        """Stop after what is being done now."""
        self._ended = True
        self._news.set()
        if self.is_alive():
            self.join(timeout=_END_SECONDS)
