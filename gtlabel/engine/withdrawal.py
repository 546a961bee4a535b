"""Answers that count no more, because their worker's were withdrawn; they stay on record, being paid work."""

from __future__ import annotations

from sqlalchemy import ColumnElement, Table, exists

from gtlabel.engine.schema import withdrawals


def counts(said: Table) -> ColumnElement[bool]:
    """The condition that an answer of this table was not withdrawn."""
    return ~exists().where(withdrawals.c.job == said.c.job, withdrawals.c.worker == said.c.worker)
