"""The tables of the engine: jobs, tasks, leases, answers and labels."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Sequence,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

# Goes up when tables change, so that a database made before says so and is not misread.
VERSION = 3

metadata = MetaData()

schema_version = Table(
    "schema_version", metadata, Column("number", Integer, primary_key=True, autoincrement=False)
)

# Times are whole microseconds since 1970, UTC: every database keeps them exactly.
jobs = Table(
    "jobs",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("account", String(12), nullable=False),
    Column("region", String(32), nullable=False),
    Column("name", String(63), nullable=False),
    # Job names are unique in any letter case (contract/ground-truth.md 2.1).
    Column("folded", String(63), nullable=False),
    Column("spec", Text, nullable=False),
    Column("status", String(16), nullable=False),
    Column("reason", Text, nullable=False, default=""),
    Column("created", BigInteger, nullable=False),
    Column("modified", BigInteger, nullable=False),
    Column("classes", Text, nullable=False, default="[]"),
    Column("iteration", Integer, nullable=False, default=0),
    UniqueConstraint("account", "region", "folded"),
)


def _where(condition: str) -> dict[str, Any]:
    """The rows that an index knows, on every database."""
    return {"sqlite_where": text(condition), "postgresql_where": text(condition)}


# Long texts stand last, where whoever wants only the rest need not read past them.
tasks = Table(
    "tasks",
    metadata,
    Column("job", Integer, ForeignKey("jobs.id"), primary_key=True),
    Column("object", Integer, primary_key=True, autoincrement=False),
    # Where it stands in the order of asking; a hash, so that the first ones are a fair sample.
    Column("rank", BigInteger, nullable=False),
    Column("state", String(10), nullable=False),
    Column("iteration", Integer, nullable=False, default=0),
    # How many answers it gets; null for as many as the job asks for.
    Column("need", Integer),
    # How many more workers may take it now; zero unless it is open.
    Column("open_slots", Integer, nullable=False, default=0),
    # The tick at which it got into the line, last with a place more than before: see gtlabel.engine.line.
    Column("queued", BigInteger),
    Column("declines", Integer, nullable=False, default=0),
    # When it stops being offered, once it was sent out.
    Column("deadline", BigInteger),
    Column("answered", BigInteger),
    Column("batch", Integer),
    # When it was sent to a streaming job.
    Column("arrived", BigInteger),
    Column("source_ref", Text, nullable=False),
    # What the worker page gets, as JSON; null where it gets the image itself.
    Column("input", Text),
    Column("line", Text, nullable=False),
    Index("ix_tasks_order", "job", "state", "rank"),
    Index("ix_tasks_line", "job", "queued", "rank", "object", **_where("open_slots > 0")),
    Index("ix_tasks_deadline", "deadline", **_where("state = 'open'")),
    Index("ix_tasks_batch", "job", "batch", **_where("batch is not null")),
    Index("ix_tasks_arrived", "arrived", **_where("state = 'waiting' and arrived is not null")),
)

leases = Table(
    "leases",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("job", Integer, ForeignKey("jobs.id"), nullable=False),
    Column("object", Integer, nullable=False),
    Column("worker", String(256), nullable=False),
    # The worker while the lease counts against seeing the object again, else null. Nulls never collide,
    # so the constraint below lets a released object come back, and nothing else.
    Column("seat", String(256)),
    Column("state", String(10), nullable=False),
    Column("accepted", BigInteger, nullable=False),
    Column("expires", BigInteger, nullable=False),
    # When the worker put it aside to go on later; its time runs all the same.
    Column("paused", BigInteger),
    # When it was answered, declined, released or taken back.
    Column("ended", BigInteger),
    UniqueConstraint("job", "object", "seat"),
    Index("ix_leases_expires", "expires", **_where("state = 'leased'")),
    Index("ix_leases_worker", "worker", **_where("state = 'leased'")),
    sqlite_with_rowid=False,
)


def _what_was_said() -> list[Column[Any]]:
    """The columns of an answer, whether it counts, came too late, or can still be changed."""
    return [
        Column("job", Integer, nullable=False),
        Column("object", Integer, nullable=False),
        Column("worker", String(256), nullable=False),
        Column("content", Text, nullable=False),
        Column("accepted", BigInteger, nullable=False),
        Column("submitted", BigInteger, nullable=False),
        Column("active_seconds", Float, nullable=False),
    ]


# Append-only: an answer is paid work.
answers = Table(
    "answers",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("lease", String(64), ForeignKey("leases.id"), nullable=False, unique=True),
    *_what_was_said(),
    # The lease that was handed out together with taking this, for who asks again.
    Column("next", String(64)),
    Index("ix_answers_object", "job", "object"),
)

# Answers that came when nobody waited for them any more. They are paid work too, and take the next place
# that gets free.
surplus = Table(
    "surplus",
    metadata,
    Column("lease", String(64), ForeignKey("leases.id"), primary_key=True),
    *_what_was_said(),
    Column("next", String(64)),
    Index("ix_surplus_object", "job", "object"),
)

# Answers that can still be changed: see gtlabel.engine.drafts.
drafts = Table(
    "drafts",
    metadata,
    Column("lease", String(64), ForeignKey("leases.id"), primary_key=True),
    *_what_was_said(),
    # When it becomes final by itself.
    Column("until", BigInteger, nullable=False),
    Index("ix_drafts_until", "until"),
    Index("ix_drafts_worker", "worker", "submitted"),
    Index("ix_drafts_job", "job"),
)

# What drafts said before they were changed. Append-only, as answers are.
revisions = Table(
    "revisions",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("lease", String(64), ForeignKey("leases.id"), nullable=False),
    Column("content", Text, nullable=False),
    Column("submitted", BigInteger, nullable=False),
    Column("active_seconds", Float, nullable=False),
)

# The workers whose answers in a job count no more: see gtlabel.engine.withdrawal.
withdrawals = Table(
    "withdrawals",
    metadata,
    Column("job", Integer, ForeignKey("jobs.id"), primary_key=True),
    Column("worker", String(256), primary_key=True),
    Column("moment", BigInteger, nullable=False),
)

# Pictures whose classes are known, as a JSON list of indices: see gtlabel.engine.gold.
gold = Table(
    "gold",
    metadata,
    Column("job", Integer, ForeignKey("jobs.id"), primary_key=True),
    Column("object", Integer, primary_key=True, autoincrement=False),
    Column("classes", Text, nullable=False),
)

# The rounds in which more people were asked about images in doubt: see gtlabel.engine.adaptive.
asks = Table(
    "asks",
    metadata,
    Column("job", Integer, ForeignKey("jobs.id"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("moment", BigInteger, nullable=False),
    Column("images", Integer, nullable=False),
    Column("expected_error", Float, nullable=False),
)

# A batch is decided before its files are written, so that writing them again gives the same files.
batches = Table(
    "batches",
    metadata,
    Column("job", Integer, ForeignKey("jobs.id"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("iteration", Integer, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("stamp", BigInteger, nullable=False),
    Column("done", Integer, nullable=False, default=0),
    Index("ix_batches_begun", "job", **_where("done = 0")),
)

results = Table(
    "results",
    metadata,
    Column("job", Integer, ForeignKey("jobs.id"), primary_key=True),
    Column("object", Integer, primary_key=True, autoincrement=False),
    Column("batch", Integer, nullable=False),
    Column("label", Text, nullable=False),
    Column("metadata", Text, nullable=False),
)

# The rounds of automated labeling, each decided before its files are written: see gtlabel.engine.rounds.
rounds = Table(
    "rounds",
    metadata,
    Column("job", Integer, ForeignKey("jobs.id"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("iteration", Integer, nullable=False),
    Column("created", BigInteger, nullable=False),
    # What is told of it, apart from which images it is about: those may be many.
    Column("summary", Text, nullable=False),
    Column("body", Text, nullable=False),
)

# The objects that were sent to streaming jobs, by the ids that keep them from being labeled twice.
arrivals = Table(
    "arrivals",
    metadata,
    Column("job", Integer, ForeignKey("jobs.id"), primary_key=True),
    # A hash of the id: ids are longer than some databases let a key be.
    Column("digest", String(64), primary_key=True),
    Column("object", Integer, nullable=False),
)

# Labels that somebody is still to be told of.
announcements = Table(
    "announcements",
    metadata,
    Column("job", Integer, ForeignKey("jobs.id"), primary_key=True),
    Column("object", Integer, primary_key=True, autoincrement=False),
)

# The worker page of each job that has one, as it was when the job began.
pages = Table(
    "pages",
    metadata,
    Column("job", Integer, ForeignKey("jobs.id"), primary_key=True),
    Column("page", Text, nullable=False),
)

# The last tick, where the database has no sequences.
ticks = Table(
    "ticks",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("last", BigInteger, nullable=False),
)
tick_sequence = Sequence("tick_sequence", metadata=metadata)
