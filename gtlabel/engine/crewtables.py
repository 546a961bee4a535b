"""The tables of who may answer: people, their tokens, invites and sessions, and what was done to them.

Nothing in them lets anyone in: of tokens, invites and session ids there are only SHA-256 hashes. That is
right for these, which are 256 random bits; a slow hash protects what people can remember, and would cost its
time at every request (https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html).
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
)

metadata = MetaData()

# Times are whole microseconds since 1970, UTC, as in the engine's other tables.
workers = Table(
    "workers",
    metadata,
    Column("sub", String(36), primary_key=True),
    Column("name", String(64), nullable=False),
    # Names are unique in any letter case.
    Column("folded", String(64), nullable=False, unique=True),
    Column("email", String(254), nullable=False),
    Column("groups", Text, nullable=False),
    Column("role", String(8), nullable=False),
    Column("active", Boolean, nullable=False),
    Column("created", BigInteger, nullable=False),
)

tokens = Table(
    "worker_tokens",
    metadata,
    # The public part of the token.
    Column("id", String(16), primary_key=True),
    Column("worker", String(36), ForeignKey("workers.sub"), nullable=False, index=True),
    Column("digest", String(64), nullable=False),
    Column("label", String(64), nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("used", BigInteger),
    Column("revoked", BigInteger),
)

invites = Table(
    "worker_invites",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("worker", String(36), ForeignKey("workers.sub"), nullable=False, index=True),
    Column("expires", BigInteger, nullable=False),
    # `open`, then `redeemed` or `void`, once and for good.
    Column("state", String(8), nullable=False),
    # Who redeemed it, for whoever asks again without having heard that they did.
    Column("claim", String(64)),
)

sessions = Table(
    "worker_sessions",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("worker", String(36), ForeignKey("workers.sub"), nullable=False, index=True),
    Column("opened", BigInteger, nullable=False),
    Column("seen", BigInteger, nullable=False),
    Index("ix_worker_sessions_seen", "seen"),
)

# Append-only.
access = Table(
    "access_log",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("who", String(256), nullable=False),
    Column("what", String(32), nullable=False),
    Column("whom", String(64), nullable=False),
    Column("detail", Text, nullable=False),
)

# What the last change left, by which each process sees that it knows an older state.
changes = Table(
    "crew_changes",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("mark", String(64), nullable=False),
)
