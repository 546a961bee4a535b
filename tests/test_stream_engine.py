"""Streaming jobs on an engine that knows no topics: when they end, and what stays to be told."""

from __future__ import annotations

from typing import Any

import pytest
from engine_parts import KEY, Shop
from streaming_parts import line_of

from gtlabel.engine.jobs import Status
from gtlabel.engine.stream import Arrival, Outbox
from gtlabel.errors import StreamError


class Belt(Shop):
    """A streaming job on an engine that knows no topics."""

    def __init__(self, **spec: Any) -> None:
        super().__init__(1, manifest=None, streaming=True, announced=True, workers_per_object=1, **spec)
        self.outbox = Outbox(self.store, self.clock)
        self.start()

    def arrive(self, *lines: str) -> list[str]:
        refused = self.board.add_objects(KEY, [Arrival(line, line) for line in lines])
        self.turn()
        return refused


def test_a_job_that_is_idle_for_ten_days_is_stopped() -> None:
    belt = Belt()
    belt.arrive(line_of(1))
    belt.say(belt.lease())
    belt.turn().clock.pass_seconds(10 * 24 * 3600 - 1)
    assert belt.turn().job.status is Status.IN_PROGRESS
    belt.arrive(line_of(1))
    belt.clock.pass_seconds(10 * 24 * 3600 - 1)
    assert belt.turn().job.status is Status.IN_PROGRESS
    belt.clock.pass_seconds(1)
    assert belt.turn().job.status is Status.STOPPED
    assert [line["bin-metadata"]["class-name"] for line in belt.records()] == ["Compost"]
    with pytest.raises(StreamError, match="is Stopped and takes no images"):
        belt.arrive(line_of(2))


def test_a_job_that_somebody_still_looks_at_is_not_idle() -> None:
    belt = Belt(task_seconds=28_800)
    belt.arrive(line_of(1))
    belt.clock.pass_seconds(11 * 24 * 3600)
    assert belt.turn().job.status is Status.IN_PROGRESS


def test_a_label_stays_to_be_told_until_somebody_was() -> None:
    belt = Belt()
    belt.arrive(line_of(1), line_of(2))
    for _ in range(2):
        belt.say(belt.lease())
    belt.turn()
    told = belt.outbox.pending(10)
    assert [each.object for each in told] == [0, 1]
    assert told == Outbox(belt.store, belt.clock).pending(10)
    assert [each.line for each in told] == belt.output()
    belt.outbox.told(told[:1])
    assert belt.outbox.pending(10) == told[1:]


def test_what_no_manifest_could_hold_is_left_out_with_a_reason() -> None:
    belt = Belt()
    refused = belt.arrive("hello", "[1]", '{"source-ref":NaN}', "[" * 100_000, line_of(1), '{"Event":"test"}')
    assert [sentence.partition(": ")[2] for sentence in refused] == [
        "Expecting value: line 1 column 1 (char 0)",
        "it is not a JSON object",
        "it is not JSON: NaN is no number there",
        "it is nested too deeply",
    ]
    counters = belt.board.counters(KEY)
    assert (counters.unlabeled, counters.failed) == (1, 1)
