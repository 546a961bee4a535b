"""Who may come in: people, tokens, invites, sessions, and what is remembered of all that."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from engine_parts import START, Clock
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule
from postgres import cluster, programs
from programs import need
from sqlalchemy import MetaData, select

from gtlabel.engine.crew import Crew, Role
from gtlabel.engine.doorkeeper import Doorkeeper, Patience
from gtlabel.engine.store import Store
from gtlabel.errors import (
    InviteError,
    NotSignedInError,
    TooManyTriesError,
    WorkerDeactivatedError,
    WorkerError,
    WorkerNameTakenError,
    WorkerNotFoundError,
)

HOUR = 3600.0
DAY = 24 * HOUR


class Ticks:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def seeded(seed: int = 7) -> Callable[[], str]:
    """Secrets that are the same in every run."""
    source = random.Random(seed)
    return lambda: source.randbytes(32).hex()


@dataclass
class Gate:
    """A crew with clocks that a test moves."""

    store: Store
    clock: Clock = field(default_factory=Clock)
    ticks: Ticks = field(default_factory=Ticks)

    def __post_init__(self) -> None:
        self.crew = Crew(self.store, self.clock, seeded(), ticks=self.ticks)

    def wait(self, seconds: float) -> None:
        """Let time pass, after all that was to be written is."""
        self.store.write(lambda _: None)
        self.clock.pass_seconds(seconds)


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    need(programs(), "PostgreSQL is the other database of a crew: apt-get install postgresql")
    with cluster() as made:
        yield made.url


@pytest.fixture(params=["memory", "file", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgres":
        return str(request.getfixturevalue("postgres"))
    return "sqlite://" if request.param == "memory" else f"sqlite:///{tmp_path / 'engine.sqlite'}"


@pytest.fixture
def gate(url: str) -> Iterator[Gate]:
    store = Store(url)
    try:
        gate = Gate(store)
        yield gate
    finally:
        _empty(store)
        store.close()


@pytest.fixture
def crew() -> Iterator[Crew]:
    store = Store()
    yield Crew(store, Clock(), seeded())
    store.close()


def _empty(store: Store) -> None:
    from gtlabel.engine.crewtables import metadata

    def empty(connection: object) -> None:
        for table in reversed(metadata.sorted_tables):
            connection.execute(table.delete())  # type: ignore[attr-defined]

    store.write(empty)


def everything(store: Store) -> str:
    """All that a database holds, as text."""
    with store.read() as connection:
        tables = MetaData()
        tables.reflect(connection)
        rows = [row for table in tables.sorted_tables for row in connection.execute(select(table))]
    return repr(rows)


def test_people_get_in_with_tokens_until_these_are_revoked(gate: Gate) -> None:
    crew = gate.crew
    ana = crew.add("ana", email="ana@example.com", groups=["trash", "glass"])
    assert (ana.groups, ana.role, ana.active, ana.created) == (("glass", "trash"), Role.WORKER, True, START)
    laptop = crew.give_token("ana", label="laptop")
    gate.wait(60)
    phone = crew.give_token("ana", label="phone")
    assert crew.holder(laptop) == crew.holder(phone) == crew.worker("Ana") == ana
    assert crew.revoke("ana", "laptop") == 1
    now = gate.clock.now
    assert [(token.label, token.created, token.used, token.revoked) for token in crew.tokens("ana")] == [
        ("laptop", START, now, now),
        ("phone", now, now, None),
    ]
    assert (crew.holder(laptop), crew.holder(phone)) == (None, ana)
    assert crew.revoke("ana", phone.split("_")[1]) == 1
    assert crew.holder(phone) is None
    assert crew.revoke("ana") == 0


def test_deactivated_people_stay_out_until_they_are_activated(gate: Gate) -> None:
    crew = gate.crew
    ana = crew.add("ana", groups=["trash"])
    token, session, invite = crew.give_token("ana"), crew.open_session("ana"), crew.invite("ana")
    assert crew.refusal(ana.sub, ["trash"]) is None
    assert crew.deactivate("ANA").active is False
    held = crew.holder(token)
    assert held is not None
    assert not held.active
    assert crew.session(session) is None
    assert crew.refusal(ana.sub, ["trash"]) == "ana is deactivated; ask the owner"
    with pytest.raises(WorkerDeactivatedError, match="the worker ana is deactivated"):
        crew.open_session("ana")
    with pytest.raises(WorkerDeactivatedError):
        crew.invite("ana")
    crew.activate("ana")
    assert crew.holder(token) == ana
    assert crew.session(session) is None
    with pytest.raises(InviteError, match="was taken back"):
        crew.redeem(invite)


def test_an_invite_works_once_and_for_three_days(gate: Gate) -> None:
    crew = gate.crew
    ana = crew.add("ana")
    first = crew.invite("ana")
    assert crew.redeem(first) == ana
    with pytest.raises(InviteError, match="was used before"):
        crew.redeem(first)
    older, newer = crew.invite("ana"), crew.invite("ana")
    with pytest.raises(InviteError, match="was taken back; use the newest one"):
        crew.redeem(older)
    gate.wait(3 * DAY - 0.001)
    assert crew.redeem(newer) == ana
    late = crew.invite("ana")
    gate.wait(3 * DAY)
    with pytest.raises(InviteError, match="older than three days"):
        crew.redeem(late)
    with pytest.raises(InviteError, match="no invite of ours"):
        crew.redeem(late + "x")


def test_of_those_who_redeem_an_invite_at_once_one_succeeds(gate: Gate, url: str) -> None:
    gate.crew.add("ana")
    with ExitStack() as stack:
        crews = [gate.crew]
        if url != "sqlite://":
            other = Store(url, guest=True)
            stack.callback(other.close)
            crews.append(Crew(other, gate.clock))
        for _ in range(5):
            invite = gate.crew.invite("ana")

            def redeem(number: int, invite: str = invite) -> bool:
                try:
                    crews[number % len(crews)].redeem(invite)
                except InviteError:
                    return False
                return True

            with ThreadPoolExecutor(8) as pool:
                assert sum(pool.map(redeem, range(8))) == 1


def test_a_session_ends_after_eight_idle_hours_or_a_week(gate: Gate) -> None:
    crew = gate.crew
    ana = crew.add("ana")
    idle = crew.open_session("ana")
    gate.wait(8 * HOUR - 1)
    assert crew.session(idle) == ana
    gate.wait(8 * HOUR - 1)
    assert crew.session(idle) == ana
    gate.wait(8 * HOUR)
    assert crew.session(idle) is None
    busy = crew.open_session("ana")
    for _ in range(7 * 24 - 1):
        gate.wait(HOUR)
        assert crew.session(busy) == ana
    gate.wait(HOUR)
    assert crew.session(busy) is None


def test_signing_out_ends_one_session_and_signing_out_everywhere_ends_all(gate: Gate) -> None:
    crew = gate.crew
    ana, bob = crew.add("ana"), crew.add("bob")
    one, two, others = crew.open_session("ana"), crew.open_session("ana"), crew.open_session("bob")
    token, invite = crew.give_token("ana"), crew.invite("ana")
    crew.close_session(one)
    crew.close_session(one)
    assert (crew.session(one), crew.session(two), crew.session(others)) == (None, ana, bob)
    crew.sign_out("ana")
    assert (crew.session(two), crew.session(others), crew.holder(token)) == (None, bob, None)
    with pytest.raises(InviteError):
        crew.redeem(invite)


def test_nothing_that_is_stored_lets_anybody_in(gate: Gate) -> None:
    crew = gate.crew
    crew.add("ana")
    given = [crew.give_token("ana"), crew.invite("ana"), crew.open_session("ana")]
    crew.redeem(given[1])
    stored = everything(gate.store)
    for secret in (given[0].split("_", 2)[2], *given[1:]):
        assert secret not in stored
    public = given[0].split("_")[1]
    assert public in stored
    for guess in ("", "gtl", f"gtl_{public}", f"gtl_{public}_", "gtl__", given[0][:-1], given[0].upper()):
        assert crew.holder(guess) is None
    assert crew.holder(given[0].replace("gtl", "abc", 1)) is None
    assert crew.session(given[1]) is None


def test_what_another_process_changes_is_known_a_second_later(tmp_path: Path) -> None:
    url, ticks = f"sqlite:///{tmp_path / 'engine.sqlite'}", Ticks()
    server, beside = Store(url), Store(url, guest=True)
    try:
        crew, owner = Crew(server, ticks=ticks), Crew(beside)
        ana = owner.add("ana", groups=["trash"])
        token = owner.give_token("ana")
        ticks.now += 1
        assert crew.holder(token) == ana
        owner.deactivate("ana")
        assert crew.refusal(ana.sub, ["trash"]) is None
        ticks.now += 1
        assert crew.refusal(ana.sub, ["trash"]) == "ana is deactivated; ask the owner"
        owner.activate("ana")
        owner.revoke("ana")
        ticks.now += 1
        assert crew.holder(token) is None
    finally:
        beside.close()
        server.close()


def test_the_log_tells_who_did_what_and_no_secret(crew: Crew) -> None:
    crew.add("ana", groups=["trash"], by="root@host")
    token, invite = crew.give_token("ana", label="laptop", by="root@host"), crew.invite("ana", by="eve")
    crew.redeem(invite)
    with pytest.raises(InviteError):
        crew.redeem(invite)
    crew.close_session(crew.open_session("ana"))
    crew.change("ana", groups=["glass"], email="ana@example.com")
    crew.deactivate("ana")
    log = crew.log()
    assert [(line.who, line.what, line.whom) for line in log] == [
        ("root@host", "add", "ana"),
        ("root@host", "give token", "ana"),
        ("eve", "invite", "ana"),
        ("ana", "redeem", "ana"),
        ("ana", "refuse invite", "ana"),
        ("ana", "sign in", "ana"),
        ("ana", "sign out", "ana"),
        ("owner", "change", "ana"),
        ("owner", "deactivate", "ana"),
    ]
    assert all(line.at == START for line in log)
    told = " ".join(line.detail for line in log)
    assert "laptop" in told
    assert 'groups: ["glass"]' in told
    assert "example.com" not in told
    assert token.split("_", 2)[2] not in told
    assert crew.log(last=1) == log[-1:]


@pytest.mark.parametrize("name", ["", " ana", "ana bell", "-ana", "a" * 65, "ana\n", "añã", "ana/bob"])
def test_a_name_is_letters_and_digits(crew: Crew, name: str) -> None:
    with pytest.raises(WorkerError, match="cannot be a worker's name; use 1 to 64 letters"):
        crew.add(name)
    assert crew.workers() == []


def test_a_name_belongs_to_one_person_for_good(crew: Crew) -> None:
    crew.add("Ana")
    crew.deactivate("ana")
    with pytest.raises(
        WorkerNameTakenError, match="there is a worker named 'ANA' already, perhaps a deactiv"
    ):
        crew.add("ANA")
    assert [worker.name for worker in crew.workers()] == ["Ana"]


def test_a_name_that_nobody_has_is_met_with_those_that_are_like_it(crew: Crew) -> None:
    for name in ("Hannah", "bob", "hanna"):
        crew.add(name)
    with pytest.raises(WorkerNotFoundError, match="no worker named 'hana'; did you mean hanna or Hannah?"):
        crew.worker("hana")
    with pytest.raises(WorkerNotFoundError, match="'zoe'; see `gtlabel serve worker list`"):
        crew.deactivate("zoe")


def test_groups_and_addresses_are_those_that_a_team_can_have(crew: Crew) -> None:
    crew.add("ana", groups=[f"g{number}" for number in range(10)])
    for groups in (["two words"], [""], ["g" * 64], ["line\n"]):
        with pytest.raises(WorkerError, match="cannot be a group"):
            crew.change("ana", groups=groups)
    with pytest.raises(WorkerError, match="in 10 groups at most; 11 were given"):
        crew.change("ana", groups=[f"g{number}" for number in range(11)])
    with pytest.raises(WorkerError, match="'ana' is not an e-mail address"):
        crew.change("ana", email="ana")
    with pytest.raises(WorkerError, match="one line of at most 64"):
        crew.give_token("ana", label="x" * 65)
    with pytest.raises(WorkerError, match="ana has no token 'phone'"):
        crew.revoke("ana", "phone")
    changed = crew.change("ana", groups=["ök", "ök"], role=Role.OWNER)
    assert (changed.groups, changed.role, changed.email) == (("ök",), Role.OWNER, "")


def test_who_may_work_is_told_by_groups(crew: Crew) -> None:
    ana = crew.add("ana", groups=["trash", "glass"])
    assert crew.refusal(ana.sub, ["paper", "glass"]) is None
    assert crew.refusal(ana.sub, ["paper", "bulky"]) == "the job is for bulky, paper, and ana is not in there"
    assert crew.refusal(ana.sub, []) == "the job is for nobody, and ana is not in there"
    assert crew.refusal("ana", ["trash"]) == "you are not among the workers here; ask the owner to add you"


def test_who_fails_waits_longer_each_time_and_nobody_else_does(crew: Crew) -> None:
    ticks = Ticks()
    door = Doorkeeper(crew, Patience(ticks))
    crew.add("ana")
    crew.add("bob")
    ana, bob = crew.give_token("ana"), crew.give_token("bob")
    guess = ana[:-1] + "?"
    for seconds in (0, 0, 0, 1, 2, 4, 8, 16, 32, 60, 60):
        with pytest.raises(NotSignedInError, match="not known, or was revoked"):
            door.worker(guess, "1.1.1.1")
        assert door.worker(bob, "1.1.1.1").name == "bob"
        assert door.worker(ana, "2.2.2.2").name == "ana"
        if seconds:
            with pytest.raises(TooManyTriesError, match=f"try again in {seconds} seconds"):
                door.worker(ana, "1.1.1.1")
        ticks.now += seconds
    assert door.worker(ana, "1.1.1.1").name == "ana"
    with pytest.raises(NotSignedInError):
        door.worker(guess, "1.1.1.1")


def test_guesses_of_tokens_that_never_were_share_one_wait(crew: Crew) -> None:
    ticks = Ticks()
    door = Doorkeeper(crew, Patience(ticks))
    crew.add("ana")
    ana = crew.give_token("ana")
    for number in range(4):
        with pytest.raises(NotSignedInError):
            door.worker(f"gtl_{number:012x}_secret", "1.1.1.1")
    with pytest.raises(TooManyTriesError):
        door.worker("something else", "1.1.1.1")
    assert door.worker(ana, "1.1.1.1").name == "ana"
    with pytest.raises(NotSignedInError, match="a token is needed"):
        door.worker("", "1.1.1.1")
    ticks.now += 900
    with pytest.raises(NotSignedInError):
        door.worker("something else", "1.1.1.1")


def test_the_door_says_who_is_deactivated(crew: Crew) -> None:
    crew.add("ana")
    ana = crew.give_token("ana")
    crew.deactivate("ana")
    with pytest.raises(WorkerDeactivatedError, match="the worker ana is deactivated; ask the owner"):
        Doorkeeper(crew).worker(ana, "1.1.1.1")


def test_failures_are_remembered_of_so_many_addresses_only() -> None:
    patience = Patience(Ticks())
    for number in range(20_000):
        for _ in range(4 if number == 0 else 1):
            patience.failed(str(number), "")
        if number == 0:
            assert patience.wait("0", "") == 1
    assert patience.wait("0", "") == 0
    assert patience.failed("19999", "") == 2


NAMES = ("ana", "bob")


class Access(RuleBasedStateMachine):
    """Invites and sessions against what they should be, told by the rules of contract/worker-ui.md 6.4."""

    invites = Bundle("invites")
    sessions = Bundle("sessions")

    @initialize()
    def begin(self) -> None:
        self.gate = Gate(Store())
        self.crew = self.gate.crew
        for name in NAMES:
            self.crew.add(name)
        self.active = set(NAMES)
        # Of each invite, whose it is and when it was made, while it is good.
        self.good: dict[str, tuple[str, float]] = {}
        # Of each session, whose it is, when it began and when it was last used, while it lasts.
        self.running: dict[str, tuple[str, float, float]] = {}

    def teardown(self) -> None:
        if hasattr(self, "gate"):
            self.gate.store.close()

    @property
    def now(self) -> float:
        return (self.gate.clock.now - START).total_seconds()

    @rule(hours=st.sampled_from([0.01, 1.0, 7.9, 8.0, 25.0, 71.9]))
    def wait(self, hours: float) -> None:
        self.gate.wait(hours * HOUR)

    @rule(target=invites, name=st.sampled_from(NAMES))
    def invite(self, name: str) -> str:
        if name not in self.active:
            with pytest.raises(WorkerDeactivatedError):
                self.crew.invite(name)
            return "none"
        made = self.crew.invite(name)
        self.good = {invite: whose for invite, whose in self.good.items() if whose[0] != name}
        self.good[made] = name, self.now
        return made

    @rule(invite=invites)
    def redeem(self, invite: str) -> None:
        name, made = self.good.pop(invite, ("", 0.0))
        if name and self.now - made < 3 * DAY:
            assert self.crew.redeem(invite).name == name
        else:
            with pytest.raises(InviteError):
                self.crew.redeem(invite)

    @rule(target=sessions, name=st.sampled_from(NAMES))
    def sign_in(self, name: str) -> str:
        if name not in self.active:
            with pytest.raises(WorkerDeactivatedError):
                self.crew.open_session(name)
            return "none"
        made = self.crew.open_session(name)
        assert made not in self.running
        self.running[made] = name, self.now, self.now
        return made

    @rule(session=sessions)
    def use(self, session: str) -> None:
        found = self.crew.session(session)
        name, began, used = self.running.get(session, ("", 0.0, 0.0))
        if name and self.now - began < 7 * DAY and self.now - used < 8 * HOUR:
            assert found is not None
            assert found.name == name
            # Written down once a minute.
            self.running[session] = name, began, self.now if self.now - used >= 60 else used
        else:
            self.running.pop(session, None)
            assert found is None

    @rule(session=consumes(sessions))
    def sign_out(self, session: str) -> None:
        self.crew.close_session(session)
        self.running.pop(session, None)
        assert self.crew.session(session) is None

    @rule(name=st.sampled_from(NAMES))
    def sign_out_everywhere(self, name: str) -> None:
        self.crew.sign_out(name)
        self._end(name)

    @rule(name=st.sampled_from(NAMES))
    def deactivate(self, name: str) -> None:
        self.crew.deactivate(name)
        self.active.discard(name)
        self._end(name)

    @rule(name=st.sampled_from(NAMES))
    def activate(self, name: str) -> None:
        self.crew.activate(name)
        self.active.add(name)

    @invariant()
    def who_is_active_is_known(self) -> None:
        assert {worker.name for worker in self.crew.workers() if worker.active} == self.active

    def _end(self, name: str) -> None:
        self.good = {invite: whose for invite, whose in self.good.items() if whose[0] != name}
        self.running = {session: whose for session, whose in self.running.items() if whose[0] != name}


Access.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
test_invites_and_sessions_let_in_whom_they_should = Access.TestCase
