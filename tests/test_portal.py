"""The portal's pages over plain HTTP: every address, and everybody who is refused there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy import text
from visitor_parts import ANSWER, JPEG, Premises, Visitor, address_in, until

from gtlabel.engine.crew import Role
from gtlabel.engine.membership import call_back
from gtlabel.engine.store import Store
from gtlabel.portal.grid import is_for_grid, suggestion

# ---- ways in -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/work/1", "/owner", "/owner/jobs/1", "/owner/people"])
def test_whoever_is_not_signed_in_is_told_how_to_come_in(here: Premises, path: str) -> None:
    said = Visitor(here.url).get(path)
    assert said.status == 401
    assert "open the link of an invite" in said.text
    assert "default-src 'none'" in said.headers["content-security-policy"]


@pytest.mark.parametrize("path", ["/api/me", "/api/held/1", "/api/owner/people", "/api/owner/events"])
def test_a_script_that_is_not_signed_in_gets_one_sentence(here: Premises, path: str) -> None:
    said = Visitor(here.url, {"gtlabel": "made-up"}).get(path)
    assert said.status == 401
    assert said.json["error"].startswith("you are not signed in")


def test_an_invite_works_once_and_only_by_a_click(here: Premises) -> None:
    here.add("eva")
    path = f"/join/{here.crew.invite('eva')}"
    eva = Visitor(here.url)
    for _ in range(2):
        assert "button" in eva.get(path).text
    said = eva.post(path, X_Gtlabel=None)
    assert (said.status, said.headers["location"]) == (303, "/")
    name, *traits = said.headers["set-cookie"].split("; ")
    assert name.startswith(f"gtlabel-{here.url.rpartition(':')[2]}=")
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(traits)
    assert eva.get("/").status == 200
    again = Visitor(here.url).post(path, X_Gtlabel=None)
    assert again.status == 403
    assert "was used before" in again.text


def test_a_session_that_somebody_chose_is_not_taken_over(here: Premises) -> None:
    here.add("fay")
    cookie = f"gtlabel-{here.url.rpartition(':')[2]}"
    fay = Visitor(here.url, {cookie: "chosen-by-somebody-else"})
    fay.post(f"/join/{here.crew.invite('fay')}", X_Gtlabel=None)
    assert fay.cookies[cookie] != "chosen-by-somebody-else"
    assert Visitor(here.url, {cookie: "chosen-by-somebody-else"}).get("/").status == 401


@pytest.mark.parametrize(
    "changed",
    [
        {"Origin": "http://evil.example"},
        {"Origin": None},
        {"Origin": "null"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
    ],
)
def test_no_page_from_elsewhere_uses_up_an_invite(here: Premises, changed: dict[str, str | None]) -> None:
    name = f"guest{abs(hash(str(changed))) % 10**6}"
    here.add(name)
    path = f"/join/{here.crew.invite(name)}"
    assert Visitor(here.url).post(path, X_Gtlabel=None, **changed).status == 403
    assert Visitor(here.url).post(path, X_Gtlabel=None).status == 303


def test_whoever_signs_out_is_out(here: Premises) -> None:
    gus = here.somebody("gus")
    kept = dict(gus.cookies)
    assert gus.post("/leave", X_Gtlabel=None, Origin="http://evil.example").status == 403
    assert gus.post("/leave", X_Gtlabel=None).status == 200
    assert Visitor(here.url, kept).get("/").status == 401


def test_whoever_guesses_invites_has_to_wait() -> None:
    there = Premises(behind_proxy=True)
    try:
        guesser = Visitor(there.url)
        said = [guesser.post(f"/join/{n}", X_Gtlabel=None, X_Forwarded_For="1, 2") for n in range(6)]
        assert said[0].status == 403
        assert "this is no invite of ours" in said[0].text
        assert said[-1].status == 429
        assert "try again in" in said[-1].text
        # Somebody else, whom the same proxy brings, does not.
        assert guesser.post("/join/x", X_Gtlabel=None, X_Forwarded_For="2, 1").status == 403
    finally:
        there.close()


# ---- work --------------------------------------------------------------------------------------------------


def test_a_worker_finds_the_jobs_that_are_theirs(ana: Visitor, here: Premises) -> None:
    said = ana.get("/api/me").json
    assert (said["name"], said["role"]) == ("ana", "worker")
    (job,) = said["jobs"]
    assert (job["number"], job["name"], job["grid"]) == (here.number, "Bins-1", True)
    assert job["left"] > 0


def test_somebody_of_another_team_neither_sees_nor_gets_its_jobs(here: Premises) -> None:
    stranger = here.somebody("ida", groups=["others"])
    assert stranger.get("/api/me").json["jobs"] == []
    assert stranger.get(f"/work/{here.number}").status == 403
    refused = stranger.post("/api/lease", {"job": here.number})
    assert refused.status == 403
    assert "the job is for gtlabel" in refused.json["error"]


def test_a_task_is_shown_answered_and_followed_by_the_next(here: Premises, ana: Visitor) -> None:
    assert ana.get(f"/work/{here.number}").status == 200
    task = ana.lease(here.number)
    frame = ana.get(f"/frame/{task['lease']}")
    assert frame.status == 200
    assert "crowd-image-classifier" in frame.text
    assert task["nonce"] in frame.text
    policy = frame.headers["content-security-policy"]
    assert policy.startswith("sandbox allow-scripts allow-forms allow-modals; default-src 'none'")
    assert "allow-same-origin" not in policy
    assert f"img-src {here.url}/o/" in policy
    picture = Visitor(here.url).get(address_in(frame.text))
    assert (picture.status, picture.body) == (200, JPEG)
    assert picture.headers["content-type"] == "image/jpeg"
    held = ana.get(f"/api/held/{here.number}").json["tasks"]
    assert [one["lease"] for one in held] == [task["lease"]]
    said = ana.post(
        "/api/submit", {"lease": task["lease"], "answer": ANSWER, "active_seconds": 2, "next": True}
    ).json
    assert said["accepted"]
    assert said["next"]["nonce"] != task["nonce"]
    assert ana.get(f"/frame/{task['lease']}").status == 404
    assert ana.post("/api/heartbeat", {"lease": said["next"]["lease"]}).status == 200
    assert ana.post("/api/release", {"lease": said["next"]["lease"]}).json == {"released": True}


def test_a_task_in_the_hands_of_one_is_nothing_to_another(here: Premises, ana: Visitor) -> None:
    jim = here.somebody("jim")
    task = ana.lease(here.number)
    guessed = jim.get(f"/frame/{task['lease']}")
    assert guessed.status == 404
    assert task["nonce"] not in guessed.text
    assert address_free(guessed.text)
    for action in ("submit", "release", "decline", "heartbeat", "stop"):
        refused = jim.post(f"/api/{action}", {"lease": task["lease"], "answer": ANSWER})
        assert refused.status == 409, action
    assert jim.get("/frame/0123").status == 404
    assert ana.post("/api/release", {"lease": task["lease"]}).status == 200


def address_free(page: str) -> bool:
    return "/o/" not in page.partition("</head>")[2]


def test_a_task_that_was_put_aside_is_there_again(here: Premises, ana: Visitor) -> None:
    task = ana.lease(here.number)
    assert ana.post("/api/stop", {"lease": task["lease"]}).json["stopped"]
    assert ana.get("/api/me").json["jobs"][0]["stopped"] == 1
    (held,) = ana.get(f"/api/held/{here.number}").json["tasks"]
    assert held["lease"] == task["lease"]
    assert ana.get("/api/me").json["jobs"][0]["stopped"] == 0
    ana.post("/api/decline", {"lease": task["lease"]})


def test_a_job_that_is_not_there_is_no_page(here: Premises, ana: Visitor, boss: Visitor) -> None:
    for visitor, path in ((ana, "/work/999"), (boss, "/owner/jobs/999"), (boss, "/api/owner/jobs/999")):
        said = visitor.get(path)
        assert said.status == 404, path
        assert "There is no such job" in said.text
    assert ana.post("/api/lease", {"job": 999}).status == 404
    for path in ("/work/x", "/work/-1", "/work/", "/frame/", "/nothing"):
        assert ana.get(path).status == 404, path


@pytest.mark.parametrize(
    "changed",
    [
        {"X_Gtlabel": None},
        {"X_Gtlabel": "2"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": None},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "none"},
    ],
)
def test_only_pages_of_the_portal_may_act(
    here: Premises, ana: Visitor, boss: Visitor, changed: dict[str, str | None]
) -> None:
    for visitor, path in (
        (ana, "/api/lease"),
        (boss, "/api/owner/people"),
        (boss, f"/api/owner/jobs/{here.number}/stop"),
        (boss, "/api/owner/people/ana/deactivate"),
    ):
        said = visitor.post(path, {"job": here.number}, **changed)
        assert said.status == 403, path
        assert "does not come from a page of this portal" in said.json["error"]
    assert ana.get(f"/api/held/{here.number}").json["tasks"] == []


def test_what_cannot_be_understood_is_refused(here: Premises, ana: Visitor) -> None:
    for body in (b"", b"no json", b"[]", b"[" * 100_000, b'{"job": "1"}', b'{"job": null}', b'{"job": true}'):
        assert ana.post("/api/lease", body).status == 400, body[:20]
    for action in ("fly", "held", "resume", "..%2flease"):
        assert ana.post(f"/api/{action}", {"lease": "x"}).status in (400, 404), action
    task = ana.lease(here.number)
    wrong = ana.post("/api/submit", {"lease": task["lease"], "answer": {"x": 1}})
    assert wrong.status == 400
    assert "the answer holds no 'crowd-image-classifier'" in wrong.json["error"]
    assert ana.post("/api/release", {"lease": task["lease"]}).status == 200
    assert ana.get("/api/lease").status == 405


def test_a_strange_name_for_the_portal_is_not_answered(ana: Visitor) -> None:
    assert ana.get("/", Host="evil.example").status == 421
    assert ana.post("/api/lease", b"", Content_Length=str(2 << 20)).status == 413


# ---- pictures and files ------------------------------------------------------------------------------------


def test_an_address_is_good_for_one_object_alone(here: Premises, ana: Visitor) -> None:
    task = ana.lease(here.number)
    address = address_in(ana.get(f"/frame/{task['lease']}").text)
    ana.post("/api/release", {"lease": task["lease"]})
    _, _, expiry, signature, place = address.split("/", 4)
    visitor = Visitor(here.url)
    assert visitor.get(address).status == 200
    changed = [
        f"/o/{expiry}/{'0' * 64}/{place}",
        f"/o/{int(expiry) + 3600}/{signature}/{place}",
        f"/o/1/{signature}/{place}",
        f"/o/{expiry}/{signature}/{place.replace('images', 'secrets')}",
        f"/o/{expiry}/{signature}/{place}/../../in.manifest",
        f"/o/{expiry}/{signature}/{place}%2f..%2f..%2fclasses.json",
        f"/o/{expiry}/{signature}/",
        f"/o/{expiry}/%c3%bc/{place}",
    ]
    for path in changed:
        assert visitor.get(path).status in (403, 404), path


def test_a_picture_that_is_gone_is_one_sentence(here: Premises, ana: Visitor) -> None:
    task = ana.lease(here.number, view="grid")
    address = task["picture"]
    name = f"images/{task['object']}.jpg"
    kept = here.shop.bucket.files.pop(name)
    missing = Visitor(here.url).get(address)
    here.shop.bucket.files[name] = kept
    ana.post("/api/release", {"lease": task["lease"]})
    assert missing.status == 404 or missing.body == JPEG
    assert b"Traceback" not in missing.body


def test_our_own_files_are_there_and_no_others(here: Premises) -> None:
    visitor = Visitor(here.url)
    script = visitor.get("/static/crowd.js")
    assert script.status == 200
    assert script.headers["content-type"].startswith("text/javascript")
    assert b"crowd-image-classifier" in script.body
    for name in ("portal.css", "grid.css", "api.js", "work/main.js", "work/grid.js", "icon.svg"):
        assert visitor.get(f"/static/{name}").status == 200, name
    for name in (
        "../site.py",
        "..%2fsite.py",
        "%2e%2e/site.py",
        "pages/jobs.html",
        "work",
        "",
        "/etc/passwd",
    ):
        assert visitor.get(f"/static/{name}").status == 404, name


# ---- the grid ----------------------------------------------------------------------------------------------


def test_the_grid_gets_pictures_and_what_a_model_took_them_for(here: Premises, ana: Visitor) -> None:
    assert "Grid" in ana.get(f"/work/{here.number}?view=grid").text
    task = ana.lease(here.number, view="grid")
    assert task["suggestion"] == {"class": "Landfill", "confidence": 0.8, "attribute": "model"}
    assert Visitor(here.url).get(task["picture"]).body == JPEG
    held = ana.get(f"/api/held/{here.number}?view=grid").json["tasks"]
    assert held[0]["picture"] == task["picture"]
    ana.post("/api/release", {"lease": task["lease"]})


@pytest.mark.parametrize(
    ("inside", "plain"),
    [
        ("", True),
        ('<script src="https://assets.crowd.aws/crowd-html-elements.js"></script>', True),
        ("<script>document.title = 'x'</script>", False),
        ('<script src="https://cdn.example/x.js"></script>', False),
        ('<crowd-input name="why"></crowd-input>', False),
        ('<input type="text" name="why">', False),
        ('<crowd-image-classifier name="two"></crowd-image-classifier>', False),
    ],
)
def test_only_a_page_of_one_classifier_becomes_a_grid(here: Premises, inside: str, plain: bool) -> None:
    page = f'<crowd-form><crowd-image-classifier name="x"></crowd-image-classifier>{inside}</crowd-form>'
    assert is_for_grid(here.job, page) is plain


def test_the_latest_label_that_is_a_class_is_the_suggestion() -> None:
    def made(name: str, day: int) -> dict[str, object]:
        return {"class-name": name, "creation-date": f"2026-01-{day:02}"}

    line = {
        "source-ref": "s3://b/k",
        "a-metadata": made("Compost", 2),
        "b-metadata": made("Landfill", 3),
        "c-metadata": made("Glass", 4),
        "d-metadata": "odd",
    }
    found = suggestion(json.dumps(line), ("Compost", "Landfill"))
    assert found == {"class": "Landfill", "confidence": None, "attribute": "b"}
    assert suggestion('{"source-ref": "s3://b/k"}', ("Compost",)) is None


# ---- the owner ---------------------------------------------------------------------------------------------


def test_a_worker_is_kept_off_the_owners_pages(here: Premises, ana: Visitor) -> None:
    for path in ("/owner", f"/owner/jobs/{here.number}", "/owner/people", "/api/owner/people"):
        assert ana.get(path).status == 403, path
    assert ana.get(f"/api/owner/jobs/{here.number}").status == 403
    assert ana.get("/api/owner/events").status == 403
    for path in ("people", f"jobs/{here.number}/stop", "people/ana/invite", "people/boss/deactivate"):
        assert ana.post(f"/api/owner/{path}", {"name": "mallory"}).status == 403, path
    assert [one.name for one in here.crew.workers() if one.name == "mallory"] == []


def test_the_owner_sees_how_the_job_goes(here: Premises, boss: Visitor) -> None:
    for path in ("/owner", f"/owner/jobs/{here.number}", "/owner/people"):
        assert boss.get(path).status == 200, path
    view = boss.get(f"/api/owner/jobs/{here.number}").json
    assert (view["name"], view["total"], view["status"]) == ("Bins-1", 12, "InProgress")
    assert set(view["classes"]) == {"Compost", "Landfill", "Recycle"}
    event = boss.first_event("/api/owner/events")
    assert event.startswith("event: jobs\ndata: ")
    assert json.loads(event.partition("data: ")[2])["jobs"][0]["number"] == here.number


def test_the_owner_takes_people_in_and_out(here: Premises, boss: Visitor) -> None:
    said = boss.post("/api/owner/people", {"name": "kim", "email": "", "groups": "gtlabel, glass"}).json
    assert said["link"].startswith(f"{here.url}/join/")
    kim = Visitor(here.url)
    assert kim.post(said["link"].removeprefix(here.url), X_Gtlabel=None).status == 303
    task = kim.lease(here.number)
    assert boss.post("/api/owner/people/kim/deactivate").json["active"] is False
    until(lambda: kim.get("/api/me").status == 401)
    late = kim.post("/api/submit", {"lease": task["lease"], "answer": ANSWER})
    assert late.status == 401
    until(lambda: call_back(here.shop.board) == 1)
    assert boss.post("/api/owner/people/kim/invite").status == 403
    assert boss.post("/api/owner/people/kim/activate").json["active"] is True
    assert boss.post("/api/owner/people/kim/sign-out").status == 200
    people = {one["name"]: one for one in boss.get("/api/owner/people").json["people"]}
    assert (people["kim"]["groups"], people["kim"]["role"]) == (["glass", "gtlabel"], "worker")


def test_the_owner_is_told_what_cannot_be_done(boss: Visitor) -> None:
    taken = boss.post("/api/owner/people", {"name": "Boss"})
    assert (taken.status, "boss" in taken.json["error"].lower()) == (409, True)
    assert boss.post("/api/owner/people", {"name": "<b>"}).status == 400
    assert boss.post("/api/owner/people", b"[]").status == 400
    assert boss.post("/api/owner/people/nobody/invite").status == 404
    assert boss.post("/api/owner/people/ana/promote").status == 400
    own = boss.post("/api/owner/people/boss/deactivate")
    assert (own.status, own.json["error"]) == (400, "you cannot shut yourself out; another owner can")


def test_no_answer_may_be_kept_by_a_browser_or_a_proxy(here: Premises, ana: Visitor, boss: Visitor) -> None:
    for visitor, path in ((ana, "/"), (ana, "/api/me"), (boss, "/owner"), (boss, "/api/owner/people")):
        said = visitor.get(path)
        assert said.headers["cache-control"] == "no-store", path
        assert said.headers["x-content-type-options"] == "nosniff", path


# ---- when the server cannot --------------------------------------------------------------------------------


def test_a_full_database_takes_nothing_and_says_so(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'engine.sqlite'}")
    there = Premises(store)
    try:
        ana = there.somebody("ana")
        task = ana.lease(there.number)
        large = {**ANSWER, "note": "x" * 200_000}
        store.write(lambda connection: connection.execute(text("pragma max_page_count=1")))
        refused = ana.post("/api/submit", {"lease": task["lease"], "answer": large})
        assert refused.status == 507
        assert "nothing was taken" in refused.json["error"]
        assert "engine.sqlite" not in refused.text
        assert ana.post("/api/submit", {"lease": task["lease"], "answer": ANSWER}).json == {"accepted": True}
    finally:
        there.close()


def test_a_database_that_is_gone_is_a_clear_page(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'engine.sqlite'}")
    there = Premises(store)
    try:
        ana = there.somebody("ana")
        assert ana.get("/api/me").status == 200
        for file in tmp_path.glob("engine.sqlite*"):
            file.rename(file.with_name(f"moved-{file.name}"))
        refused = ana.post("/api/lease", {"job": there.number})
        assert refused.status == 503
        assert "engine.sqlite" not in refused.text
        there_now = Visitor(there.url).post("/join/anything", X_Gtlabel=None)
        assert there_now.status == 503
        assert "Nothing can be stored now" in there_now.text
    finally:
        there.close()


def test_a_job_can_be_stopped_by_its_owner_and_gives_out_nothing_more(tmp_path: Path) -> None:
    there = Premises()
    try:
        boss, ana = there.somebody("boss", role=Role.OWNER), there.somebody("ana")
        assert boss.post(f"/api/owner/jobs/{there.number}/stop").json == {"stopping": True}
        there.shop.turn()
        said = ana.lease(there.number)
        assert (said["lease"], said["job_status"]) == (None, "Stopped")
        assert ana.get(f"/work/{there.number}").status == 200
        assert ana.get("/api/me").json["jobs"] == []
        assert boss.post(f"/api/owner/jobs/{there.number}/stop").json == {"stopping": False}
    finally:
        there.close()
