"""Whatever workers do: images get their answers, nobody sees one twice, and no place is lost."""

from __future__ import annotations

from collections import Counter
from typing import Any

from databases import new_database
from engine_parts import CLASSES, KEY, Shop, answer
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule
from sqlalchemy import select

from gtlabel.engine.board import Board
from gtlabel.engine.jobs import Status, Task
from gtlabel.engine.schema import answers, leases, surplus, tasks
from gtlabel.engine.store import Store
from gtlabel.errors import LeaseError

WORKERS = ("ann", "bob", "eve", "kim", "lee")
TASK_SECONDS = 100
_workers = st.sampled_from(WORKERS)
_opinions = st.sampled_from(CLASSES)


class Places(RuleBasedStateMachine):
    """Workers at two boards of one database, as at two servers, with a clock that jumps."""

    url = "sqlite://"
    held = Bundle("held")

    @initialize(images=st.integers(1, 4), need=st.integers(1, 3))
    def open(self, images: int, need: int) -> None:
        self.stores = _stores(self.url)
        self.stores[0].clear()
        self.shop = Shop(
            images,
            store=self.stores[0],
            workers_per_object=need,
            task_seconds=TASK_SECONDS,
            availability_seconds=5_000,
        ).start()
        self.boards = [Board(store, clock=self.shop.clock) for store in self.stores]
        self.acknowledged: dict[str, str] = {}
        self.at = 0

    @property
    def board(self) -> Board:
        """The board that is asked next; each in turn, so that one does not know what the other saw."""
        self.at += 1
        return self.boards[self.at % len(self.boards)]

    @rule(target=held, worker=_workers, times=st.integers(1, 3))
    def lease(self, worker: str, times: int) -> Any:
        return multiple(*(task for _ in range(times) if (task := self._lease(worker)) is not None))

    @rule(target=held, task=held, opinion=_opinions, stepping=st.booleans())
    def answer(self, task: Task, opinion: str, stepping: bool) -> Any:
        try:
            if stepping:
                following = self.board.step(task.lease, answer(opinion))
            else:
                following = None
                self.board.submit(task.lease, answer(opinion))
        except LeaseError:
            return multiple()
        assert self.acknowledged.setdefault(task.lease, opinion) == opinion
        return multiple() if following is None else following

    @rule(task=held, act=st.sampled_from(["release", "decline", "release", "heartbeat", "pause", "resume"]))
    def act(self, task: Task, act: str) -> None:
        self._try(getattr(self.board, act), task.lease)

    @rule(numbers=st.lists(st.integers(0, 4), min_size=1, max_size=2), need=st.integers(2, 4))
    def ask_more(self, numbers: list[int], need: int) -> None:
        if there := [number for number in numbers if number in self._tasks()]:
            self._try(self.board.raise_need, KEY, there, need)

    @rule(
        seconds=st.sampled_from([1, TASK_SECONDS - 1, TASK_SECONDS, TASK_SECONDS, 2_000]), swept=st.booleans()
    )
    def time_passes(self, seconds: int, swept: bool) -> None:
        self.shop.clock.pass_seconds(seconds)
        if swept:
            self.board.expire()

    @rule(crashed=st.booleans())
    def the_foreman_looks(self, crashed: bool) -> None:
        if crashed:
            self.boards = [Board(store, clock=self.shop.clock) for store in self.stores]
        self.shop.turn()

    @invariant()
    def nobody_sees_an_image_twice_and_no_more_than_wanted_see_it(self) -> None:
        if not hasattr(self, "stores"):
            return
        with self.stores[0].read() as connection:
            rows = connection.execute(select(leases)).all()
            said = connection.execute(select(answers)).all()
            late = connection.execute(select(surplus)).all()
        seated = Counter(
            (row.object, row.worker) for row in rows if row.state in ("leased", "done", "declined")
        )
        assert set(seated.values()) <= {1}
        given = Counter((row.object, row.worker) for row in said)
        assert set(given.values()) <= {1}
        assert {row.lease for row in said} == {row.id for row in rows if row.state == "done"}
        assert {row.lease for row in late} == {row.id for row in rows if row.state == "surplus"}
        for number, task in self._tasks().items():
            need = task.need or self.shop.spec.workers_per_object
            here = Counter(row.state for row in rows if row.object == number)
            assert here["done"] <= need
            assert here["done"] + here["leased"] <= need
            closing = task.declines >= need or (task.deadline or 0) <= self._now()
            assert task.declines == here["declined"]
            if task.state != "open":
                assert task.open_slots == 0
            elif not closing:
                assert task.open_slots == need - here["done"] - here["leased"]
                assert task.open_slots > 0 or here["leased"] > 0
                # Nobody is asked for what somebody has said already.
                spare = {row.worker for row in late if row.object == number}
                seen = {worker for place, worker in seated if place == number}
                assert task.open_slots == 0 or spare <= seen

    @invariant()
    def whatever_was_acknowledged_is_kept_as_it_was_said(self) -> None:
        if not hasattr(self, "stores"):
            return
        with self.stores[0].read() as connection:
            kept = dict(connection.execute(select(answers.c.lease, answers.c.content)).all())
            kept |= dict(connection.execute(select(surplus.c.lease, surplus.c.content)).all())
        assert {lease: kept.get(lease) for lease in self.acknowledged} == {
            lease: f'{{"crowd-image-classifier":{{"label":"{opinion}"}}}}'
            for lease, opinion in self.acknowledged.items()
        }

    def teardown(self) -> None:
        """With enough people and time every job ends, and every image has its answers or was given up."""
        if not hasattr(self, "stores"):
            return
        for lease in [row.id for row in self._leased()]:
            self._try(self.board.release, lease)
        for turn in range(60):
            if self.shop.turn().job.status.ended:
                break
            self.shop.clock.pass_seconds(2)
            for worker in [*WORKERS, *(f"fresh-{number}" for number in range(5))]:
                while task := self.board.lease(KEY, worker):
                    self.board.submit(task.lease, answer("Compost"))
            assert turn < 59
        assert self.shop.job.status is Status.COMPLETED
        self.nobody_sees_an_image_twice_and_no_more_than_wanted_see_it()
        self.whatever_was_acknowledged_is_kept_as_it_was_said()
        assert self._leased() == []
        for number, record in enumerate(self.shop.records()):
            assert ("bin" in record) == (self._tasks()[number].state == "labeled")

    def _lease(self, worker: str) -> Task | None:
        free = self._free_for(worker)
        task = self.board.lease(KEY, worker)
        # What another process puts back is looked for when a second has passed.
        if len(set(self.stores)) == 1:
            assert task is not None or not free
        assert task is None or task.object in free or self._is_anything_overdue()
        return task

    def _try(self, act: Any, *arguments: Any) -> None:
        try:
            act(*arguments)
        except LeaseError:
            # Gone, given back or answered before: whatever it is, nothing may have changed.
            return

    def _tasks(self) -> dict[int, Any]:
        with self.stores[0].read() as connection:
            return {row.object: row for row in connection.execute(select(tasks)).all()}

    def _leased(self) -> list[Any]:
        with self.stores[0].read() as connection:
            return list(connection.execute(select(leases).where(leases.c.state == "leased")).all())

    def _now(self) -> int:
        return int(self.shop.clock().timestamp() * 1_000_000)

    def _is_anything_overdue(self) -> bool:
        return any(row.accepted + TASK_SECONDS * 1_000_000 <= self._now() for row in self._every_lease())

    def _every_lease(self) -> list[Any]:
        with self.stores[0].read() as connection:
            return list(connection.execute(select(leases)).all())

    def _free_for(self, worker: str) -> set[int]:
        """The images that a worker could be given, found by looking at everything."""
        seen = {row.object for row in self._every_lease() if row.seat == worker}
        now = self._now()
        return {
            number
            for number, task in self._tasks().items()
            if task.open_slots > 0 and (task.deadline or 0) > now and number not in seen
        }


class PlacesOnAServer(Places):
    """The same with two connections to a server."""

    url = ""


_open_stores: dict[str, list[Store]] = {}


def _stores(url: str) -> list[Store]:
    if url not in _open_stores:
        if url:
            _open_stores[url] = [Store(url)] * 2
        else:
            # One of their own: they stay open, and whoever leads keeps others from it.
            shared = new_database()
            _open_stores[url] = [Store(shared), Store(shared)]
    return _open_stores[url]


TestPlaces = Places.TestCase
TestPlaces.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
TestPlacesOnAServer = PlacesOnAServer.TestCase
TestPlacesOnAServer.settings = settings(max_examples=3, stateful_step_count=15, deadline=None)
