"""The document in a task's frame: a rendered template, our elements, and the walls around both.

The template may come from a stranger. Its document gets an opaque origin by the `sandbox` in its own header,
so that it is as inert when somebody opens its address directly (contract/worker-ui.md 4.3).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

_STATIC = Path(__file__).parent / "static"
# Pages may be long and anybody's, so no pattern here looks at one place again and again.
# AWS's own elements, which ours stand in for.
_AWS_SCRIPT = re.compile(
    r"<script\b[^<>]*\bsrc\s*+=\s*+[\"']?+\s*+(?:https?:)?//assets\.crowd\.aws/crowd-html-elements[\w.-]*+(?<=\.js)"
    r"[^<>]*+>\s*+(?:</script\s*+>)?",
    re.IGNORECASE,
)
# HTML knows no closed elements but its own: all that follows one would stand inside of it.
_CLOSED = re.compile(
    r"<(crowd-[a-z-]++)((?:\s++[^\s\"'<>/=]++(?:\s*+=\s*+(?:\"[^\"]*+\"|'[^']*+'"
    r"|(?:[^\s\"'=<>`/]|/(?!>))++))?+){0,64}+)\s*+/>",
    re.IGNORECASE,
)
_OPENED = r"<\1\2></\1>"
# A page that was given colors was made for white paper.
_OWN_COLORS = re.compile(
    r"(?<![\w-])(background|background-color|bgcolor|color)\s*+[:=]|rel\s*+=\s*+[\"']?stylesheet",
    re.IGNORECASE,
)
_PAPER = (
    "html{color-scheme:light}body{margin:0;font:16px/1.5 system-ui,sans-serif}"
    "short-instructions,full-instructions{display:block}"
    # Whatever a page says about its own fields counts for more.
    ":where(crowd-form) :where(button,select,textarea,"
    "input:not([type=checkbox],[type=radio],[type=range],[type=color]))"
    "{font:inherit;min-height:32px;max-width:100%}"
)
_PAPER_OF_BOTH_COLORS = (
    "html{color-scheme:light dark;background:light-dark(#fff,#16191f);color:light-dark(#16191f,#e9ebed)}"
)


@cache
def elements_script() -> bytes:
    """The crowd elements as one script: the files of static/crowd, in the order of their names."""
    files = sorted((_STATIC / "crowd").glob("*.js"))
    parts = [path.read_text() for path in files]
    return ("(() => {\n'use strict';\n" + "\n".join(parts) + "\n})();\n").encode()


@cache
def elements_version() -> str:
    """What changes when the script does, so that browsers may keep it for good."""
    return hashlib.sha256(elements_script()).hexdigest()[:16]


def frame_document(page: str, *, nonce: str, origin: str, title: str) -> str:
    """A whole document around a rendered template.

    Args:
        page: what the template gave.
        nonce: what tells the shell that a message is of this task.
        origin: where the shell is, which gets the messages.
        title: what the document is called.
    """
    settings = json.dumps({"portalOrigin": origin, "nonce": nonce}).replace("<", "\\u003c")
    paper = _PAPER if _OWN_COLORS.search(page) else _PAPER + _PAPER_OF_BOTH_COLORS
    named = title.replace("&", "&amp;").replace("<", "&lt;")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{named}</title><style>{paper}</style>"
        f"<script>window.__gtlabel = {settings};</script>"
        f'<script src="/static/crowd.js?v={elements_version()}"></script>\n'
        f"{_CLOSED.sub(_OPENED, _AWS_SCRIPT.sub('', page))}"
    )


def failed_document(sentence: str, *, nonce: str, origin: str) -> str:
    """What a worker sees in place of a page that cannot be rendered."""
    text = sentence.replace("&", "&amp;").replace("<", "&lt;")
    page = (
        '<main style="padding:24px;max-width:640px;margin:auto"><h1>This task cannot be shown</h1>'
        f"<p>{text}</p><p>Decline it; whoever made the job sees why.</p></main>"
    )
    return frame_document(page, nonce=nonce, origin=origin, title="Task")


def frame_headers(origin: str, asset_hosts: Sequence[str] = ()) -> dict[str, str]:
    """The headers of a frame's document.

    Args:
        origin: where the portal is.
        asset_hosts: hosts that templates may load scripts and styles from; none by default.
    """
    hosts = " ".join(asset_hosts)
    policy = [
        "sandbox allow-scripts allow-forms allow-modals",
        "default-src 'none'",
        f"script-src {origin}/static/crowd.js 'unsafe-inline' {hosts}".rstrip(),
        f"style-src 'unsafe-inline' {hosts}".rstrip(),
        f"img-src {origin}/o/ data: blob:",
        f"media-src {origin}/o/ data: blob:",
        "font-src data:",
        "connect-src 'none'",
        "form-action 'none'",
        "base-uri 'none'",
        f"frame-ancestors {origin}",
    ]
    reached = " ".join(["response-origin", *(f'"{host}/*"' for host in asset_hosts)])
    return {
        "Content-Security-Policy": "; ".join(policy),
        # No policy of content holds back a call to a peer (WebRTC), which needs no address but the caller's
        # own: https://wicg.github.io/connection-allowlists. Browsers without it let such calls through.
        "Connection-Allowlist": f"({reached});webrtc=block",
        "X-DNS-Prefetch-Control": "off",
        "Cache-Control": "no-store",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Permissions-Policy": "camera=(), geolocation=(), microphone=(), clipboard-read=()",
    }


PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; frame-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
}
