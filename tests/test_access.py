"""Who gets what from a portal over HTTP: what is forged, replayed, guessed, large, slow or old."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from contextlib import suppress
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from sqlalchemy import select, update
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from visitor_parts import ANSWER, Premises, Visitor, until

from gtlabel.emulator.hosts import LOOPBACK_NAMES, Guard
from gtlabel.emulator.webserver import WebServer, listen
from gtlabel.engine.crew import Role
from gtlabel.engine.crewtables import sessions
from gtlabel.engine.entry import IDLE_SECONDS, SESSION_SECONDS, digest


def raw(url: str, content: bytes, seconds: float = 60) -> bytes:
    """What comes back for bytes that no library would send."""
    there = urlsplit(url)
    with socket.create_connection((there.hostname or "", there.port or 0), timeout=seconds) as line:
        line.sendall(content)
        read = b""
        with suppress(TimeoutError, ConnectionResetError):
            while part := line.recv(65536):
                read += part
        return read


# ---- sessions ----------------------------------------------------------------------------------------------


def test_the_cookie_is_for_this_portal_and_for_no_script(here: Premises) -> None:
    here.add("cleo")
    said = Visitor(here.url).post(f"/join/{here.crew.invite('cleo')}", X_Gtlabel=None)
    cookie = said.headers["set-cookie"].lower().split("; ")
    assert {"httponly", "samesite=strict", "path=/", f"max-age={SESSION_SECONDS}"} <= set(cookie)
    assert not [part for part in cookie if part.startswith("domain")]
    assert len(cookie[0].partition("=")[2]) >= 43


@pytest.mark.parametrize(("seen", "opened"), [(IDLE_SECONDS, IDLE_SECONDS), (0, SESSION_SECONDS)])
def test_a_session_ends_by_rest_and_by_age(here: Premises, seen: int, opened: int) -> None:
    name = f"old{opened}"
    visitor = here.somebody(name)
    assert visitor.get("/api/me").json["name"] == name
    (session,) = visitor.cookies.values()
    mine = sessions.c.digest == digest(session)

    def age(seen: int, opened: int) -> None:
        moved = {"seen": sessions.c.seen - seen * 10**6, "opened": sessions.c.opened - opened * 10**6}
        here.shop.store.write(
            lambda connection: connection.execute(update(sessions).where(mine).values(moved))
        )

    age(max(0, seen - 60), opened - 60)
    time.sleep(0.55)
    assert visitor.get("/api/me").status == 200
    # Asking kept it from growing idle, so that it has to rest all over again.
    age(seen + 60 if seen else 0, 120)
    # A session is believed for half a second.
    until(lambda: visitor.get("/api/me").status == 401)
    assert visitor.get(f"/work/{here.number}").status == 401
    assert visitor.post("/api/lease", {"job": here.number}).status == 401


def test_what_is_kept_of_a_session_lets_nobody_in(here: Premises, ana: Visitor) -> None:
    ((name, session),) = ana.cookies.items()
    with here.shop.store.read() as connection:
        kept = [row.digest for row in connection.execute(select(sessions))]
    assert digest(session) in kept
    for guess in (*kept, "", "null", session[:-1], session.swapcase(), "x" * 10_000):
        assert Visitor(here.url, {name: guess}).get("/api/me").status == 401, guess[:50]


def test_two_cookies_of_one_name_are_no_more_than_one(here: Premises, ana: Visitor) -> None:
    ((name, session),) = ana.cookies.items()
    said = Visitor(here.url).get("/api/me", Cookie=f"{name}={session}; {name}=chosen")
    assert said.status in (200, 401)
    assert "set-cookie" not in said.headers


def test_whoever_comes_in_anew_leaves_the_old_session_behind(here: Premises) -> None:
    visitor = here.somebody("fay")
    old = dict(visitor.cookies)
    assert visitor.post(f"/join/{here.crew.invite('fay')}", X_Gtlabel=None).status == 303
    assert visitor.cookies != old
    assert visitor.get("/api/me").status == 200
    assert Visitor(here.url, old).get("/api/me").status == 401


def test_an_invite_that_was_taken_back_or_is_void_lets_nobody_in(here: Premises) -> None:
    here.add("ivy")
    first = here.crew.invite("ivy")
    second = here.crew.invite("ivy")
    void = Visitor(here.url).post(f"/join/{first}", X_Gtlabel=None)
    assert (void.status, "was taken back" in void.text) == (403, True)
    here.crew.deactivate("ivy")
    assert Visitor(here.url).post(f"/join/{second}", X_Gtlabel=None).status == 403


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND"])
def test_nothing_but_a_click_uses_an_invite_up(here: Premises, method: str) -> None:
    name = f"via-{method.lower()}"
    here.add(name)
    path = f"/join/{here.crew.invite(name)}"
    own = {"Origin": here.url, "Sec_Fetch_Site": "same-origin", "X_HTTP_Method_Override": "POST"}
    assert "set-cookie" not in Visitor(here.url).ask(method, path, **own).headers
    assert Visitor(here.url).post(path, X_Gtlabel=None).status == 303


# ---- other people's work -----------------------------------------------------------------------------------


@pytest.mark.parametrize("action", ["submit", "revise", "decline", "release", "stop", "heartbeat"])
def test_nobody_touches_a_task_in_the_hands_of_another(here: Premises, ana: Visitor, action: str) -> None:
    task = ana.lease(here.number)
    name = f"thief-{action}"
    thief = here.somebody(name)
    owner = here.somebody(f"owner-{action}", role=Role.OWNER)
    for visitor in (thief, owner):
        said = visitor.post(f"/api/{action}", {"lease": task["lease"], "answer": ANSWER})
        assert said.status == 409, said.text
        assert task["nonce"] not in visitor.get(f"/frame/{task['lease']}").text
    unknown = thief.post(f"/api/{action}", {"lease": "0" * 38, "answer": ANSWER})
    # Whether there is such a task is nobody's business.
    assert unknown.json["error"].replace("0" * 38, task["lease"]) == said.json["error"]
    assert ana.post("/api/release", {"lease": task["lease"]}).status == 200


def test_a_lease_lets_nobody_in_without_a_session(here: Premises, ana: Visitor) -> None:
    task = ana.lease(here.number)
    shown = Visitor(here.url).get(f"/frame/{task['lease']}")
    assert shown.status == 401
    assert task["nonce"] not in shown.text
    assert "sandbox allow-scripts" in shown.headers["content-security-policy"]
    assert "/o/" not in shown.text
    ana.post("/api/release", {"lease": task["lease"]})


def test_somebody_of_another_team_gets_no_page_task_or_picture(here: Premises) -> None:
    zoe = here.somebody("zoe", groups=["glass"])
    assert zoe.get(f"/work/{here.number}").status == 403
    assert zoe.get(f"/work/{here.number}?view=grid").status == 403
    assert zoe.post("/api/lease", {"job": here.number}).status == 403
    assert zoe.get(f"/api/held/{here.number}").json == {"tasks": []}
    assert zoe.get("/api/me").json["jobs"] == []
    assert zoe.get(f"/api/owner/jobs/{here.number}").status == 403


def test_whoever_names_somebody_else_is_not_believed(here: Premises, ana: Visitor) -> None:
    task = ana.post("/api/lease", {"job": here.number, "worker": "boss", "account": "1", "region": "x"}).json
    held = here.shop.board.held(here.crew.worker("ana").sub)
    assert task["lease"] in [each.lease for each in held]
    ana.post("/api/release", {"lease": task["lease"]})


@pytest.mark.parametrize("site", ["same-site", "cross-site", "anything"])
def test_nothing_elsewhere_takes_up_a_task_that_was_put_aside(
    here: Premises, ana: Visitor, site: str
) -> None:
    task = ana.lease(here.number)
    assert ana.post("/api/stop", {"lease": task["lease"]}).status == 200
    assert ana.get(f"/api/held/{here.number}", Sec_Fetch_Site=site).status == 403
    assert [each.paused for each in here.shop.board.held(here.crew.worker("ana").sub)] == [True]
    assert len(ana.get(f"/api/held/{here.number}", Sec_Fetch_Site="same-origin").json["tasks"]) == 1
    assert ana.post("/api/release", {"lease": task["lease"]}).status == 200


def test_a_nonce_says_nothing_about_another(here: Premises, ana: Visitor) -> None:
    first, second = ana.lease(here.number), ana.lease(here.number)
    assert len(first["nonce"]) == 32
    assert first["nonce"] != second["nonce"]
    for task, other in ((first, second), (second, first)):
        shown = ana.get(f"/frame/{task['lease']}").text
        assert task["nonce"] in shown
        assert other["nonce"] not in shown
        ana.post("/api/release", {"lease": task["lease"]})


@pytest.mark.parametrize("number", ["0", "-1", "9" * 19, "9" * 400, "9" * 5000, "1.5", "%31%00", "1e9", "٣"])
def test_a_job_of_a_strange_number_is_none(here: Premises, ana: Visitor, boss: Visitor, number: str) -> None:
    there = quote(number, safe="%")
    for visitor, path in (
        (ana, f"/work/{there}"),
        (ana, f"/api/held/{there}"),
        (boss, f"/owner/jobs/{there}"),
    ):
        assert visitor.get(path).status in (200, 400, 404), path
    assert boss.get(f"/api/owner/jobs/{there}").status in (400, 404)
    assert boss.post(f"/api/owner/jobs/{there}/stop").status in (400, 404)
    with suppress(ValueError):
        assert ana.post("/api/lease", {"job": int(number)}).status in (400, 404)


# ---- names and addresses -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "evil.example:80@127.0.0.1",
        "127.0.0.1:80; script-src *",
        "127.0.0.1:1 evil",
        "127.0.0.1:x",
        "127.0.0.1:123456",
        "localhost:80/..",
        "[::1]evil.example",
        "[127.0.0.1]x:80",
        "",
        "127.0.0.1, evil.example",
    ],
)
def test_a_strange_name_is_answered_by_nothing(here: Premises, ana: Visitor, host: str) -> None:
    for path in ("/", "/frame/x", "/join/x", "/static/api.js"):
        said = ana.get(path, Host=host)
        assert said.status == 421, said.text
        assert "evil" not in json.dumps({**said.headers})
    assert ana.post("/api/lease", {"job": here.number}, Host=host, Origin=f"http://{host}").status == 421


def test_a_name_that_the_portal_has_is_answered_in_any_spelling(here: Premises) -> None:
    for host in ("LOCALHOST", "localhost.:5001", "127.0.0.1", "[::1]:5001"):
        assert Visitor(here.url).get("/join/x", Host=host).status == 200, host


def test_two_names_at_once_and_names_of_proxies_change_nothing(here: Premises) -> None:
    asked = b"GET /join/x HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
    twice = raw(here.url, asked)
    assert twice.startswith((b"HTTP/1.1 421", b"HTTP/1.1 400"))
    said = Visitor(here.url).get(
        "/frame/x", X_Forwarded_Host="evil.example", X_Forwarded_Proto="https", Forwarded="host=evil.example"
    )
    assert "evil" not in said.text + json.dumps(said.headers)


@pytest.mark.parametrize(
    "invite", ["x%0d%0aSet-Cookie:%20a=b", "x%0aLocation:%20http://evil", "%00", "%ff%fe", "<b>", "a" * 5000]
)
def test_nothing_in_an_address_becomes_a_header_or_markup(here: Premises, invite: str) -> None:
    visitor = Visitor(here.url)
    path = f"/join/{quote(invite, safe='%')}"
    for said in (visitor.get(path), visitor.post(path, X_Gtlabel=None, X_Forwarded_For="9.9.9.9")):
        assert said.status in (200, 403, 404, 429)
        assert "set-cookie" not in said.headers
        assert "evil" not in json.dumps(said.headers)
        assert b"<b>" not in said.body


def test_a_page_elsewhere_may_not_ask_before_it_asks(here: Premises, boss: Visitor) -> None:
    """A browser asks by OPTIONS whether a foreign page may send our header; nobody ever tells it so."""
    for path in ("/api/lease", "/api/owner/people", "/", f"/api/owner/jobs/{here.number}", "/frame/x"):
        said = boss.ask("OPTIONS", path, Origin="http://127.0.0.1:1", Access_Control_Request_Method="POST")
        assert said.status == 405
        assert not [name for name in said.headers if name.startswith("access-control")]
        assert "access-control-allow-origin" not in boss.get(path, Origin="http://127.0.0.1:1").headers


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "TRACE", "PROPFIND", "BREW"])
def test_what_is_no_method_of_ours_does_nothing(here: Premises, boss: Visitor, method: str) -> None:
    own = {"Origin": here.url, "Sec_Fetch_Site": "same-origin", "X_Gtlabel": "1"}
    for path in (
        "/",
        "/leave",
        "/api/lease",
        "/api/owner/people",
        f"/api/owner/jobs/{here.number}/stop",
        "/owner",
    ):
        said = boss.ask(method, path, **own)
        assert said.status in (400, 405), path
        assert boss.cookies[next(iter(boss.cookies))] not in said.text
    assert boss.get("/api/me").status == 200
    for path in (
        "/leave",
        "/api/release",
        f"/api/owner/jobs/{here.number}/stop",
        "/api/owner/people/ana/sign-out",
    ):
        assert boss.get(path).status in (404, 405), path


# ---- bodies ------------------------------------------------------------------------------------------------


def test_a_body_of_any_size_costs_no_memory(here: Premises, ana: Visitor) -> None:
    assert ana.post("/api/lease", b"", Content_Length=str((1 << 20) + 1)).status == 413
    ((name, session),) = ana.cookies.items()
    head = (
        f"POST /api/lease HTTP/1.1\r\nHost: {urlsplit(here.url).netloc}\r\nOrigin: {here.url}\r\n"
        f"Cookie: {name}={session}\r\nX-Gtlabel: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
    ).encode()
    # What announces no length is counted as it comes.
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    there = urlsplit(here.url)
    with socket.create_connection((there.hostname or "", there.port or 0), timeout=120) as line:
        with suppress(BrokenPipeError, ConnectionResetError):
            line.sendall(head)
            for _ in range(40):
                line.sendall(chunk)
        with suppress(ConnectionResetError):
            assert line.recv(12) == b"HTTP/1.1 413"
    assert ana.get("/api/me").status == 200


def test_a_body_that_never_comes_is_not_waited_for() -> None:
    async def echo(request: Request) -> Response:
        return Response(await request.body())

    async def stream(_: Request) -> Response:
        async def slowly() -> Any:
            for number in range(3):
                yield f"{number}"
                await asyncio.sleep(0.4)

        return StreamingResponse(slowly())

    app = Starlette(routes=[Route("/echo", echo, methods=["POST"]), Route("/stream", stream)])
    listener = listen("127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    server = WebServer(Guard(app, LOOPBACK_NAMES, 1000, patience=0.5), listener)
    ready = threading.Event()
    thread = threading.Thread(target=server.run, args=(ready.set,), daemon=True)
    thread.start()
    assert ready.wait(60)
    began = time.monotonic()
    said = raw(url, b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n12345")
    assert said.startswith(b"HTTP/1.1 408"), said
    assert b"connection: close" in said
    # A test that waits longer for an answer than that would have none.
    assert 0.4 < time.monotonic() - began < 60
    # An answer may take its time, and a body that is in time is read.
    assert Visitor(url).get("/stream").text == "012"
    assert Visitor(url).post("/echo", b"whole").text == "whole"
    server.end()
    thread.join(60)


@pytest.mark.parametrize(
    "body",
    [
        b"\xff\xfe",
        b'{"lease": "\\ud800", "answer": {}}',
        b'{"lease": {"$ne": ""}, "answer": {}}',
        b'{"lease": "x", "answer": []}',
        b'{"lease": "x", "answer": {"a": NaN}, "active_seconds": Infinity}',
        b'{"lease": "x", "answer": {}, "active_seconds": ' + b"9" * 400 + b"}",
        b'{"lease": "' + b"x" * 5000 + b'", "answer": {}}',
        b"{" + b'"a":{' * 50_000,
        b"null",
    ],
)
def test_no_body_makes_the_portal_stumble(here: Premises, ana: Visitor, body: bytes) -> None:
    for action in ("lease", "submit", "revise", "release"):
        said = ana.post(f"/api/{action}", body)
        assert said.status in (400, 404, 409), said.text
        assert "error" in said.json


def test_answers_that_no_file_can_hold_are_refused(here: Premises, ana: Visitor) -> None:
    task = ana.lease(here.number)
    for said in (
        '"\\ud800"',
        "NaN",
        '"' + "x" * 1_000_001 + '"',
        '"Toxic"',
        "[]",
        "{}",
        "null",
        '"Compost\\u0000"',
    ):
        text = f'{{"lease": "{task["lease"]}", "answer": {{"crowd-image-classifier": {{"label": {said}}}}}}}'
        assert ana.post("/api/submit", text.encode()).status in (400, 413), said[:20]
    deep = "[" * 3000 + "]" * 3000
    answer = f'{{"crowd-image-classifier": {{"label": "Compost"}}, "x": {deep}}}'
    text = f'{{"lease": "{task["lease"]}", "answer": {answer}}}'
    assert ana.post("/api/submit", text.encode()).status in (200, 400)
    ana.post("/api/release", {"lease": task["lease"]})
