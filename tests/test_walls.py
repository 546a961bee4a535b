"""What a portal gives away: signed pictures, files of its own, and what every answer says of itself."""

from __future__ import annotations

import json
import re
import ssl
import time
from collections.abc import Callable
from http.client import HTTPSConnection
from pathlib import Path
from urllib.parse import quote, urljoin, urlsplit

import pytest
from engine_parts import KEY
from hypothesis import given, settings
from hypothesis import strategies as st
from serve_parts import certify, environ, serving
from visitor_parts import JPEG, NOWHERE, PAGES, SECRET, Premises, Said, Visitor, address_in

from gtlabel.engine.crew import Crew, Role
from gtlabel.engine.store import Store
from gtlabel.portal.documents import frame_document
from gtlabel.portal.pictures import Pictures, media_type
from gtlabel.uris import S3Uri

# ---- pictures ----------------------------------------------------------------------------------------------


def test_every_letter_of_an_address_counts(here: Premises) -> None:
    address = Pictures(SECRET, lambda *_: b"").address(here.job.key, "s3://trash/images/1.jpg")
    visitor = Visitor(here.url)
    assert visitor.get(address).status == 200
    place = address.index("/", 4)
    for at in range(4, len(address), 7):
        changed = "0" if address[at] != "0" else "1"
        said = visitor.get(address[:at] + changed + address[at + 1 :])
        assert said.status in (403, 404), address[:at] + changed
    for end in (
        address[:-1],
        address + "/",
        address + "%00",
        address.replace("/o/", "/o//"),
        address.upper(),
    ):
        assert visitor.get(end).status in (403, 404), end
    assert place > 4


def test_an_address_ends(here: Premises) -> None:
    for age, status in ((0, 200), (3600, 200), (7200, 403), (10**6, 403), (-7200, 200)):
        then = Pictures(SECRET, lambda *_: b"", now=_moment(age))
        assert (
            Visitor(here.url).get(then.address(here.job.key, "s3://trash/images/1.jpg")).status == status
        ), age


def _moment(age: float) -> Callable[[], float]:
    return lambda: time.time() - age


def test_an_address_by_another_secret_is_none(here: Premises) -> None:
    for secret in (b"", b"secret", SECRET[:-1]):
        address = Pictures(secret, lambda *_: b"").address(here.job.key, "s3://trash/images/1.jpg")
        assert Visitor(here.url).get(address).status == 403


_KEYS = st.lists(
    st.one_of(
        st.sampled_from(
            ["..", ".", "", "a b", "<img src=x>", '"', "'", "#", "?a=b", "%2e%2e", "%", "ü", "字", "+"]
        ),
        st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=8),
    ),
    min_size=1,
    max_size=5,
).map("/".join)


@settings(max_examples=150, deadline=None)
@given(key=_KEYS.filter(bool))
def test_any_key_is_shown_as_itself_and_leads_nowhere_else(here: Premises, key: str) -> None:
    address = Pictures(SECRET, lambda *_: b"").address(here.job.key, S3Uri.of("trash", key))
    # As a browser does before it asks.
    assert urljoin(here.url, address) == here.url + address
    assert not set(address) & set("\"'<> \\`#?")
    body = b"\xff\xd8\xff" + key.encode()
    here.shop.bucket.files[key] = body
    said = Visitor(here.url).get(address)
    assert (said.status, said.body) == (200, body)


_SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>fetch("/api/me")</script></svg>'


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"<!doctype html><script>1</script>", "application/octet-stream"),
        (b"<html><svg></svg></html>", "application/octet-stream"),
        (b"alert(1)", "application/octet-stream"),
        (b"%PDF-1.7", "application/octet-stream"),
        (b"", "application/octet-stream"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "image/webp"),
        (JPEG, "image/jpeg"),
        (_SVG, "image/svg+xml"),
        (b"<?xml version='1.0'?>" + _SVG, "image/svg+xml"),
        (b"<?xml version='1.0'?><html xmlns='http://www.w3.org/1999/xhtml'><svg/></html>", "image/svg+xml"),
        (b"GIF89a/*<svg*/=1;alert(1)", "image/gif"),
    ],
)
def test_an_object_is_a_picture_or_nothing_that_runs(here: Premises, body: bytes, kind: str) -> None:
    assert media_type(body) == kind
    key = f"strange/{hash(body)}.html"
    here.shop.bucket.files[key] = body
    address = Pictures(SECRET, lambda *_: b"").address(here.job.key, S3Uri.of("trash", key))
    said = Visitor(here.url).get(address)
    assert said.headers["content-type"] == kind
    assert said.headers["x-content-type-options"] == "nosniff"
    assert said.headers["content-security-policy"].startswith("sandbox; default-src 'none'")
    assert said.headers["cache-control"].startswith("private, ")
    assert "set-cookie" not in said.headers


@pytest.mark.parametrize(
    "name",
    [
        "..%2f..%2f..%2f..%2fetc%2fpasswd",
        "%2e%2e/site.py",
        "....//site.py",
        "..%5csite.py",
        "%2fetc%2fpasswd",
        "crowd.js%00.css",
        "%00",
        "x" * 5000 + ".js",
        "a/" * 200 + "b.js",
        "pages/work.html",
        "crowd",
        ".",
        "../static/api.js",
        "work/../../site.py",
        "%c0%ae%c0%ae/site.py",
        "\u202eapi.js",
    ],
)
def test_no_name_leads_out_of_our_own_files(here: Premises, name: str) -> None:
    said = Visitor(here.url).get(f"/static/{quote(name, safe='%/.')}")
    assert said.status == 404
    assert b"import" not in said.body
    assert b"root:" not in said.body


# ---- what every answer says --------------------------------------------------------------------------------


def test_every_answer_is_walled_and_kept_by_nobody(here: Premises, ana: Visitor, boss: Visitor) -> None:
    task = ana.lease(here.number)
    answers: list[tuple[str, Said]] = []
    for visitor in (Visitor(here.url), ana, boss):
        for path in (*PAGES, *NOWHERE, f"/frame/{task['lease']}", f"/work/{here.number}?view=grid"):
            answers += [(path, visitor.get(path)), (path, visitor.ask("DELETE", path))]
    answers += [
        ("421", ana.get("/", Host="evil.example")),
        ("413", ana.post("/api/me", b"", Content_Length="9999999")),
    ]
    answers += [("403", ana.post("/api/lease", Origin="null")), ("leave", Visitor(here.url).post("/leave"))]
    for path, said in answers:
        policy = said.headers["content-security-policy"]
        assert "default-src 'none'" in policy, path
        assert "frame-ancestors" in policy, path
        assert "unsafe-eval" not in policy, path
        assert "unsafe-inline" not in policy or path.startswith("/frame/"), path
        assert said.headers["x-content-type-options"] == "nosniff", path
        assert said.headers["cache-control"] == "no-store", path
        assert "server" not in said.headers, path
    ana.post("/api/release", {"lease": task["lease"]})


def test_the_page_of_a_task_is_behind_every_wall(here: Premises, ana: Visitor) -> None:
    task = ana.lease(here.number)
    said = ana.get(f"/frame/{task['lease']}")
    policy = dict(part.split(" ", 1) for part in said.headers["content-security-policy"].split("; "))
    assert policy["sandbox"] == "allow-scripts allow-forms allow-modals"
    assert (
        policy["default-src"]
        == policy["connect-src"]
        == policy["form-action"]
        == policy["base-uri"]
        == "'none'"
    )
    assert policy["script-src"] == f"{here.url}/static/crowd.js 'unsafe-inline'"
    assert policy["img-src"] == f"{here.url}/o/ data: blob:"
    assert policy["frame-ancestors"] == here.url
    assert said.headers["connection-allowlist"] == "(response-origin);webrtc=block"
    assert said.headers["referrer-policy"] == "no-referrer"
    assert address_in(said.text)
    shell = ana.get(f"/work/{here.number}").headers["content-security-policy"]
    assert "frame-src 'self'" in shell
    assert "frame-ancestors 'none'" in shell
    assert "unsafe" not in shell
    ana.post("/api/release", {"lease": task["lease"]})


@pytest.mark.parametrize(
    "piece",
    [
        "<script ",
        '<script src="https://assets.crowd.aws/crowd-html-elements',
        "a.js",
        "<crowd-a ",
        '<crowd-a v=" <crowd-a w=" ',
        " a=/",
        "color ",
        " ",
    ],
)
def test_no_template_takes_long_to_put_into_its_frame(piece: str) -> None:
    """It is done where all who work are answered, so that none of them waits for a hostile page."""
    head = '<script src="https://assets.crowd.aws/crowd-html-elements' if piece == "a.js" else "<crowd-a x=1"
    page = head + piece * (128_000 // len(piece))
    began = time.thread_time()
    frame_document(page, nonce="0", origin="http://localhost", title=page)
    assert time.thread_time() - began < 0.5


def test_what_stands_in_for_the_elements_of_aws_is_found_in_any_spelling() -> None:
    for source in (
        '<script src="https://assets.crowd.aws/crowd-html-elements.js"></script>',
        "<SCRIPT async src = 'https://assets.crowd.aws/crowd-html-elements-v2.min.js?x=1' defer ></script >",
    ):
        made = frame_document(f"{source}<p>", nonce="0", origin="http://localhost", title="x")
        assert "assets.crowd.aws" not in made
        assert made.endswith("\n<p>")


# ---- a server as a process ---------------------------------------------------------------------------------


def test_over_tls_the_cookie_needs_it_and_belongs_to_the_host_alone(tmp_path: Path) -> None:
    certificate, key = certify("localhost", tmp_path)
    state = tmp_path / "state"
    options = ("--tls-cert", str(certificate), "--tls-key", str(key), "--hostname", "localhost")
    with serving("--state", str(state), *options) as server:
        invite = _invite(state, "eva")
        port = urlsplit(server.url).port
        trusted = ssl.create_default_context(cafile=str(certificate))
        connection = HTTPSConnection("localhost", port, context=trusted, timeout=120)
        origin = f"https://localhost:{port}"
        for asked, status in ((f"http://localhost:{port}", 403), (origin, 303)):
            connection.request("POST", f"/join/{invite}", headers={"Origin": asked})
            answer = connection.getresponse()
            answer.read()
            assert answer.status == status
        cookie = answer.headers["Set-Cookie"].lower()
        assert cookie.startswith("__host-gtlabel=")
        assert {"secure", "httponly", "samesite=strict", "path=/"} <= set(cookie.split("; "))


def test_behind_a_proxy_the_cookie_needs_tls(tmp_path: Path) -> None:
    state = tmp_path / "state"
    options = ("--behind-proxy", "--hostname", "labels.example.com")
    with serving("--state", str(state), *options) as server:
        headers = {"Host": "labels.example.com", "Origin": "http://labels.example.com"}
        invite = _invite(state, "eva")
        assert server.send("POST", f"/join/{invite}", b"", headers)[0] == 403
        headers["Origin"] = "https://labels.example.com"
        status, said, _ = server.send("POST", f"/join/{invite}", b"", headers)
        assert (status, said["location"]) == (303, "/")
        assert said["set-cookie"].startswith("__Host-gtlabel=")
        assert "; secure" in said["set-cookie"].lower()


def test_no_page_of_a_browser_starts_a_job(tmp_path: Path) -> None:
    """On a loopback address AWS requests need no signature, but a form or a plain fetch cannot send one."""
    with serving("--state", str(tmp_path / "state")) as server:
        body = json.dumps({"LabelingJobName": "x"}).encode()
        plain = {
            "Content-Type": "text/plain",
            "Origin": "http://evil.example",
            "Sec-Fetch-Site": "cross-site",
        }
        form = {**plain, "Content-Type": "application/x-www-form-urlencoded"}
        target = "SageMaker.ListLabelingJobs"
        for headers, path in (
            (plain, "/"),
            (form, "/"),
            (form, "/?Action=ListLabelingJobs"),
            (form, "/?X-Amz-Signature=x"),
            (plain, f"/?X-Amz-Target={target}"),
        ):
            status, _, said = server.send("POST", path, body, headers)
            assert status >= 400, (path, said)
            assert b"LabelingJob" not in said.replace(b"labeling jobs", b"")
        asked = {"Origin": "http://evil.example", "Access-Control-Request-Headers": "x-amz-target"}
        status, named, _ = server.send(
            "OPTIONS", "/", None, {**asked, "Access-Control-Request-Method": "POST"}
        )
        assert status >= 400
        assert not [name for name in named if name.startswith("access-control")]


def test_nothing_secret_is_ever_logged(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with serving("--state", str(state), env=environ(PYTHONWARNINGS="default")) as server:
        url, secrets = server.url, []
        store = Store(f"sqlite:///{state / 'engine.sqlite'}", guest=True)
        crew = Crew(store)
        crew.add("eva", role=Role.OWNER)
        token = crew.give_token("eva")
        eva = Visitor(url)
        for _ in range(3):
            secrets.append(crew.invite("eva"))
            assert eva.post(f"/join/{secrets[-1]}", X_Gtlabel=None).status == 303
            secrets += eva.cookies.values()
        secrets += [token, token.split("_", 2)[2], "guessed-token", "guessed-invite", "guessed-session"]
        address = Pictures(b"x", lambda *_: b"").address(KEY, "s3://trash/1.jpg")
        secrets.append(address.split("/")[3])
        for path in (address, "/owner", "/api/me", "/join/guessed-invite", "/frame/guessed-lease", "/work/9"):
            eva.get(path)
        for number in range(6):
            Visitor(url).post("/join/guessed-invite", X_Gtlabel=None)
            Visitor(url, {"gtlabel": "guessed-session"}).get("/api/me")
            server.ask("held", "gtl_000000000000_guessed-token")
            eva.post("/api/submit", {"lease": f"guessed-lease-{number}", "answer": {}})
        linked = eva.post("/api/owner/people", {"name": "kim"}).json["link"]
        secrets.append(linked.rpartition("/")[2])
        server.ask("held", token)
        # What fails inside is logged, with all that it knows of itself.
        store.write(
            lambda connection: connection.exec_driver_sql("alter table worker_sessions rename to gone")
        )
        time.sleep(0.6)
        assert eva.get("/").status == 503 or eva.get("/").status == 500
        assert Visitor(url).post(f"/join/{crew.invite('kim')}", X_Gtlabel=None).status >= 400
        store.close()
        assert server.end() == 0
    log = "".join(server.log)
    assert "a token that is none" in log
    for secret in secrets:
        assert secret not in log, log
    assert not re.search(r"/join/(?!\.\.\.)", log), log


def _invite(state: Path, name: str) -> str:
    store = Store(f"sqlite:///{state / 'engine.sqlite'}", guest=True)
    crew = Crew(store)
    crew.add(name)
    invite = crew.invite(name)
    store.close()
    return invite
