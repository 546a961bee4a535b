"""Chromium for tests, and what is asked of every page in it.

A test asks for the fixture `browser` (conftest.py). It lasts for one module: while it is open, Playwright's
loop counts as running in its thread, and `asyncio.run` in a later module of the same process would refuse.

Pages keep their own Content-Security-Policy here; `bypass_csp` would test other pages than people get. The
string form of `wait_for_function` needs `eval`, which the policy forbids: `until` asks again and again.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from playwright.sync_api import Browser, Frame, Page, ViewportSize, expect, sync_playwright
from programs import need

DESKTOP: ViewportSize = {"width": 1280, "height": 800}
PHONE: ViewportSize = {"width": 412, "height": 860}

# Each window brings a page of its own for what the address bar suggests, even where no window is shown: that
# page takes three times the CPU of ours.
NO_SUGGESTIONS = "WebUIOmniboxPopup,WebUIOmniboxAimPopup,WebUIOmniboxFullPopup"
# Of two such lists the last one counts, so this begins with what Playwright switches off.
_FEATURES = (
    "AvoidUnnecessaryBeforeUnloadCheckSync,DestroyProfileOnBrowserClose,HttpsUpgrades,"
    "HttpsFirstBalancedModeAutoEnable,LensOverlay,MediaRouter,PaintHolding,ThirdPartyStoragePartitioning,"
    "AvoidCorsURLLoaderRestartOnRedirect,OptimizationHints,NetworkTimeServiceQuerying,AimEnabled,"
    f"PreconnectToSearch,{NO_SUGGESTIONS}"
)
_ARGUMENTS = [
    f"--disable-features={_FEATURES}",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# WCAG 2.2 AA is what these tags mean together.
_AXE = """async (rules) => {
  const tags = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa'];
  // A frame is a part of a page, and the practice of pages is none of its concern.
  if (window.top === window) tags.push('best-practice');
  const runOnly = rules.length ? {type: 'rule', values: rules} : {type: 'tag', values: tags};
  const options = {runOnly, iframes: false, preload: false, resultTypes: ['violations']};
  const {violations} = await axe.run(document, options);
  const why = ({any, all, none}) => [...any, ...all, ...none][0]?.message;
  return violations.flatMap(({id, nodes}) => nodes.map(
    (node) => `${id}: ${node.target.flat().join(' ')}: ${why(node)}`));
}"""

_Seen = TypeVar("_Seen")

# Five seconds, as it is else, are soon over where several browsers share a processor.
expect.set_options(timeout=60_000)


@contextmanager
def chromium() -> Iterator[Browser]:
    """A headless Chromium; the test is skipped where there is none."""
    program = shutil.which("chromium")
    need(program, "worker pages are tried out in a browser; get it with: apt-get install chromium")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=program, args=_ARGUMENTS)
        yield opened
        opened.close()


def until(look: Callable[[], _Seen], what: str, seconds: float = 60.0) -> _Seen:
    """What `look` sees as soon as it sees anything.

    Args:
        look: asks the page, or whoever else knows.
        what: what is waited for, to be told when it does not come.
        seconds: how long to wait.
    """
    end = time.monotonic() + seconds
    while not (seen := look()):
        assert time.monotonic() < end, f"{what}: nothing in {seconds} seconds"
        time.sleep(0.01)
    return seen


def flaws(page: Page | Frame, *rules: str) -> list[str]:
    """What axe has against a document, by WCAG 2.2 AA and its own best practice, or by these rules alone.

    axe gets into a page from outside, as a debugger would: the page's policy stays as it is.
    """
    if not page.evaluate("() => 'axe' in window"):
        page.evaluate(_axe())
    found: list[str] = page.evaluate(_AXE, list(rules))
    return found


@cache
def _axe() -> str:
    package = find_spec("axe_core_python")
    need(package, "axe looks over worker pages; get it with: pip install axe-core-python")
    assert package is not None
    assert package.origin is not None
    return Path(package.origin).with_name("axe.min.js").read_text()


def colors(scheme: str) -> Mapping[str, Any]:
    """What `emulate_media` wants for `light` or `dark`; transitions would show axe colors on their way."""
    return {"color_scheme": scheme, "reduced_motion": "reduce"}
