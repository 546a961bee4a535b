"""The table of attacks: what each hostile template tried, what it met, and what it does without walls."""

from __future__ import annotations

from collections import Counter

from attack_parts import Outcome

# A template may answer its own task: it is as trusted as whoever made the job (contract/worker-ui.md 4.3).
BY_DESIGN = ("own-answer",)
_TRIED = {
    "alerts": "rows of dialogs, printing, keeping people on the page",
    "api": "the portal's API by fetch, with and without the portal's header",
    "base": "another base address for all links, pictures and forms",
    "beacons": "sendBeacon to another origin and to the API, ping of a link",
    "cookie": "reading and setting the session's cookie",
    "devices": "camera, screen, place, clipboard, passwords, payment, files",
    "download": "files on the worker's disk",
    "fetch": "fetch, XMLHttpRequest, keepalive and later fetches",
    "flood": "thousands of messages to the shell, some of them malformed",
    "focus": "the keyboard, fifty times a second",
    "forged-submit": "submissions to shell and other frame with guessed nonces",
    "forms": "form posts elsewhere, to the portal, in new tabs",
    "history": "filling, rewriting and going back in the history",
    "huge-answer": "an answer of five million letters",
    "images": "pictures from elsewhere in every way that HTML has",
    "javascript-links": "links that are scripts, for the shell to follow",
    "link-message": "links to follow, without anybody having clicked",
    "links": "a link across the whole page",
    "media": "sound, film, objects and plug-ins from elsewhere",
    "meta": "refresh to another page, reports, cookies by meta",
    "nested-frames": "frames within: from elsewhere, of data, of the portal",
    "next-task": "reading and answering the task loaded beside it",
    "odd-answers": "answers that no JSON can hold",
    "other-pictures": "pictures of others by guessed and changed addresses",
    "overlay": "covering the shell, full screen, the pointer, the window",
    "own-answer": "answering its own task",
    "own-pages": "going to the owner's page in its own frame",
    "parent-page": "reading and changing the page around it",
    "popups": "windows and tabs",
    "portal-images": "GET of the portal's addresses as pictures",
    "preconnect": "connections and look-ups ahead of time",
    "prefetch": "prefetch, preload, icons, manifests",
    "scripts": "scripts from elsewhere, import, eval",
    "self-navigation": "going elsewhere with its own frame",
    "self-navigation-blob": "going to a page of its own making (blob)",
    "self-navigation-data": "going to a page of its own making (data)",
    "sibling-frame": "sending the frame beside it elsewhere",
    "sockets": "WebSocket, EventSource, WebTransport",
    "speculation": "speculation rules: prefetch and prerender",
    "storage": "local and session storage, databases, caches, files",
    "styles": "style sheets, fonts, backgrounds, cursors from elsewhere",
    "top-navigation": "sending the whole tab elsewhere",
    "webrtc": "a call to a peer (STUN and TURN over UDP)",
    "webrtc-within": "the same from a frame within its own",
    "workers": "workers, shared and service workers, worklets",
}


def told(walled: dict[str, Outcome], plain: dict[str, Outcome]) -> tuple[list[str], bool]:
    """The table, and whether all walls held against attacks that can succeed.

    Args:
        walled: what came of the attacks behind our walls.
        plain: what came of them without.
    """
    lines = [
        "| attack | what it tried | what happened | reached? | without walls |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, outcome in walled.items():
        cells = (name, _TRIED[name], _happened(outcome), _verdict(outcome), _control(plain, name))
        lines.append(f"| {' | '.join(cells)} |")
    reached = [name for name in walled if walled[name].reached and name not in BY_DESIGN]
    lines += ["", f"{len(walled)} attacks; reached another origin or the API: {', '.join(reached) or 'none'}"]
    could = all(plain[name].reached for name in plain)
    return lines, could and all(map(_held, walled.values()))


def _held(outcome: Outcome) -> bool:
    ran = bool(outcome.said or outcome.crashed)
    return ran and (not outcome.reached or outcome.name in BY_DESIGN)


def _happened(outcome: Outcome) -> str:
    """What an attack met, in a few words."""
    met = Counter(said.rpartition(": ")[2] for said in outcome.said if said.startswith("refused"))
    words = [f"{count} x {name}" for name, count in met.most_common(3)]
    quiet = sum(said.startswith("tried") for said in outcome.said)
    words += [f"{quiet} without effect"] if quiet and not outcome.reached else []
    words += ["the browser ended its tab"] if outcome.crashed else []
    words += [f"{len(outcome.reached)} x {outcome.reached[0].split(' {')[0]}"] if outcome.reached else []
    return "; ".join(words) or "it did not run"


def _verdict(outcome: Outcome) -> str:
    if outcome.name in BY_DESIGN and outcome.reached:
        return "its own task alone (by design)"
    return "YES" if outcome.reached else "no"


def _control(plain: dict[str, Outcome], name: str) -> str:
    return f"{len(plain[name].reached)} things reached" if name in plain else "-"
