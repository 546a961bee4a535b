"""`gtlabel serve worker`: who may come in to a server of one's own.

The commands write into the server's database, beside the server when it runs, which sees it about a second
later. So whoever may read the state folder, or knows the database's password, is the owner.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gtlabel.cli.options import Output
from gtlabel.cli.output import Format, put, put_fields, put_json, put_table, say
from gtlabel.cli.premises import address_of, opened

if TYPE_CHECKING:
    from gtlabel.engine.crew import Token, Worker

app = typer.Typer(no_args_is_help=True, help="Say who may come in, and give them what lets them in.")

# The group of the team that a server starts with.
_USUAL_GROUP = "gtlabel"

Name = Annotated[str, typer.Argument(metavar="NAME", help="The name of the worker.")]
State = Annotated[
    Path | None,
    typer.Option("--state", file_okay=False, envvar="GTLABEL_STATE", help="The folder of the server."),
]
Database = Annotated[
    str | None, typer.Option("--database", envvar="GTLABEL_DATABASE", help="The database of the server.")
]
Groups = Annotated[
    list[str] | None,
    typer.Option("--group", help="A group that work teams ask for; may be given several times."),
]
Email = Annotated[str | None, typer.Option("--email", help="Their e-mail address; nobody is written to.")]


class RoleName(StrEnum):
    """What somebody may do, as the command line spells it."""

    WORKER = "worker"
    OWNER = "owner"


TheirRole = Annotated[
    RoleName | None,
    typer.Option("--role", help="worker answers; owner sees all jobs and people in the portal, too."),
]
Url = Annotated[
    str | None,
    typer.Option("--url", help="Where people find the portal, if not where the server says it is."),
]
Label = Annotated[str, typer.Option("--label", help="What the token is for, to tell it from others.")]
TokenFile = Annotated[
    Path | None,
    typer.Option(dir_okay=False, help="Write the token there, for the owner of the file alone to read."),
]


@app.command()
def add(
    context: typer.Context,
    name: Name,
    group: Groups = None,
    email: Email = None,
    role: TheirRole = None,
    label: Label = "",
    token_file: TokenFile = None,
    invited: Annotated[
        bool, typer.Option("--invite", help="Print a link to the portal in place of a token.")
    ] = False,
    url: Url = None,
    state: State = None,
    database: Database = None,
    output: Output = Format.TEXT,
) -> None:
    """Take somebody in, and print a token for their programs, or a link for their browser, shown this once.

    Without --group they are in the group of the team that the server started with.

    Example: gtlabel serve worker add ana --group trash --invite --state ~/labels
    """
    from gtlabel.engine.crew import Role

    if invited and (token_file is not None or label):
        raise typer.BadParameter("a link has no label and no file", param_hint="--invite")
    with opened(context, state, database, new=True) as (crew, by), _kept(token_file) as keep:
        address = address_of(context, url, state, database) if invited else ""
        as_role = Role((role or RoleName.WORKER).value)
        worker = crew.add(name, email=email or "", groups=group or [_USUAL_GROUP], role=as_role, by=by)
        if invited:
            _tell_link(worker.name, address, crew.invite(name, by=by), output)
            return
        _hand_out(keep, crew.give_token(name, label=label, by=by), worker, output)


@app.command()
def invite(
    context: typer.Context,
    name: Name,
    url: Url = None,
    state: State = None,
    database: Database = None,
    output: Output = Format.TEXT,
) -> None:
    """Print a link that lets somebody into the portal once, within three days; their earlier links are void.

    Example: gtlabel serve worker invite ana --state ~/labels
    """
    with opened(context, state, database) as (crew, by):
        address = address_of(context, url, state, database)
        _tell_link(crew.worker(name).name, address, crew.invite(name, by=by), output)


@app.command("list")
def list_workers(
    context: typer.Context, state: State = None, database: Database = None, output: Output = Format.TEXT
) -> None:
    """List everybody.

    Example: gtlabel serve worker list --state ~/labels
    """
    with opened(context, state, database) as (crew, _):
        found = [_told(worker, crew.tokens(worker.name)) for worker in crew.workers()]
    if output is Format.JSON:
        put_json(found)
    elif found:
        rows = [
            [
                one["name"],
                ", ".join(one["groups"]),
                one["role"],
                "yes" if one["active"] else "no",
                sum(token["revoked"] is None for token in one["tokens"]),
                one["last_used"] or "never",
            ]
            for one in found
        ]
        put_table(["name", "groups", "role", "active", "tokens", "last used"], rows, right=["tokens"])
    else:
        say("there is nobody yet; take somebody in with: gtlabel serve worker add NAME")


@app.command()
def show(
    context: typer.Context,
    name: Name,
    state: State = None,
    database: Database = None,
    output: Output = Format.TEXT,
) -> None:
    """Show somebody and their tokens, without what is secret in them.

    Example: gtlabel serve worker show ana --state ~/labels
    """
    with opened(context, state, database) as (crew, _):
        worker = crew.worker(name)
        found = _told(worker, crew.tokens(name))
    if output is Format.JSON:
        put_json(found)
        return
    tokens = found.pop("tokens")
    shown = {
        "groups": ", ".join(found["groups"]) or "none",
        "email": worker.email or "none",
        "active": "yes" if worker.active else "no",
        "last_used": found["last_used"] or "never",
    }
    put_fields({**found, **shown})
    if tokens:
        rows = [
            [one["id"], one["label"], one["created"], one["used"] or "never", one["revoked"] or "no"]
            for one in tokens
        ]
        put_table(["token", "label", "created", "used", "revoked"], rows)


@app.command()
def change(
    context: typer.Context,
    name: Name,
    group: Groups = None,
    email: Email = None,
    role: TheirRole = None,
    state: State = None,
    database: Database = None,
    output: Output = Format.TEXT,
) -> None:
    """Change somebody's groups, address or role; what is not given stays.

    Example: gtlabel serve worker change ana --group trash --group glass --state ~/labels
    """
    from gtlabel.engine.crew import Role

    with opened(context, state, database) as (crew, by):
        worker = crew.change(
            name, email=email, groups=group, role=None if role is None else Role(role.value), by=by
        )
    _tell(worker, output, f"{worker.name} is in {', '.join(worker.groups) or 'no group'}, as {worker.role}")


@app.command()
def deactivate(
    context: typer.Context,
    name: Name,
    state: State = None,
    database: Database = None,
    output: Output = Format.TEXT,
) -> None:
    """Keep somebody out: their answers stay, and the tasks in their hands go to others.

    Example: gtlabel serve worker deactivate ana --state ~/labels
    """
    with opened(context, state, database) as (crew, by):
        worker = crew.deactivate(name, by=by)
    _tell(worker, output, f"{worker.name} may not come in any more")


@app.command()
def activate(
    context: typer.Context,
    name: Name,
    state: State = None,
    database: Database = None,
    output: Output = Format.TEXT,
) -> None:
    """Let somebody in again who was deactivated; their tokens work again.

    Example: gtlabel serve worker activate ana --state ~/labels
    """
    with opened(context, state, database) as (crew, by):
        worker = crew.activate(name, by=by)
    _tell(worker, output, f"{worker.name} may come in again")


@app.command()
def token(
    context: typer.Context,
    name: Name,
    label: Label = "",
    token_file: TokenFile = None,
    state: State = None,
    database: Database = None,
    output: Output = Format.TEXT,
) -> None:
    """Print one more token for somebody, which is shown this once; those they have stay good.

    Example: gtlabel serve worker token ana --label laptop --state ~/labels
    """
    with opened(context, state, database) as (crew, by), _kept(token_file) as keep:
        worker = crew.worker(name)
        _hand_out(keep, crew.give_token(name, label=label, by=by), worker, output)


@app.command()
def revoke(
    context: typer.Context,
    name: Name,
    which: Annotated[
        str | None, typer.Argument(metavar="TOKEN", help="Its label or its id, as `show` has them.")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="All that lets them in: tokens, invites and sessions.")
    ] = False,
    state: State = None,
    database: Database = None,
    output: Output = Format.TEXT,
) -> None:
    """Make one of somebody's tokens worthless, or all that lets them in.

    Example: gtlabel serve worker revoke ana laptop --state ~/labels
    """
    if (which is None) != everything:
        raise typer.BadParameter("name a token, or give --all", param_hint="TOKEN")
    with opened(context, state, database) as (crew, by):
        worker = crew.worker(name)
        good = crew.revoke(name, which, by=by)
        if everything:
            crew.sign_out(name, by=by)
    if output is Format.JSON:
        put_json({"name": worker.name, "revoked": good})
        return
    if everything:
        say(f"nothing lets {worker.name} in any more")
    else:
        say("1 token is worthless now" if good == 1 else f"{good} tokens are worthless now")


@app.command()
def log(
    context: typer.Context,
    last: Annotated[int, typer.Option(min=1, help="How many lines.")] = 100,
    state: State = None,
    database: Database = None,
    output: Output = Format.TEXT,
) -> None:
    """Print who did what to whose access, and when.

    Example: gtlabel serve worker log --last 20 --state ~/labels
    """
    with opened(context, state, database) as (crew, _):
        lines = [asdict(line) for line in crew.log(last)]
    if output is Format.JSON:
        put_json([{**line, "at": line["at"].isoformat()} for line in lines])
        return
    rows = [
        [line["at"].isoformat(timespec="seconds"), line["who"], line["what"], line["whom"], line["detail"]]
        for line in lines
    ]
    put_table(["at", "who", "what", "whom", "detail"], rows)


@contextmanager
def _kept(file: Path | None) -> Iterator[Any]:
    """Where a token goes: a file that nobody else may read, open before there is a token to lose."""
    if file is None:
        yield None
        return
    import os
    import tempfile

    descriptor, fresh = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.absolute().parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        Path(fresh).replace(file)
    finally:
        Path(fresh).unlink(missing_ok=True)


def _hand_out(keep: Any, made: str, worker: Worker, output: Format) -> None:
    found = {**_told(worker), "token": made}
    if keep is not None:
        keep.write(made + "\n")
        found.pop("token")
    if output is Format.JSON:
        put_json(found)
        return
    groups = ", ".join(worker.groups) or "no group"
    say(f"{worker.name} is in {groups}; they answer with the token, which is not shown again")
    if keep is None:
        put(made)


def _tell_link(name: str, address: str, secret: str, output: Format) -> None:
    from gtlabel.emulator.doorway import link

    if output is Format.JSON:
        put_json({"name": name, "link": link(address, secret)})
        return
    say(f"this lets {name} into the portal, once, within three days; it is not shown again")
    put(link(address, secret))


def _tell(worker: Worker, output: Format, sentence: str) -> None:
    if output is Format.JSON:
        put_json(_told(worker))
        return
    say(sentence)


def _told(worker: Worker, tokens: list[Token] | None = None) -> dict[str, Any]:
    found = {**asdict(worker), "role": str(worker.role), "created": _moment(worker.created)}
    if tokens is None:
        return found
    moments = ("created", "used", "revoked")
    rows = [asdict(one) for one in tokens]
    return {
        **found,
        "last_used": _moment(max((one.used for one in tokens if one.used), default=None)),
        "tokens": [{**row, **{name: _moment(row[name]) for name in moments}} for row in rows],
    }


def _moment(moment: Any) -> str | None:
    return None if moment is None else moment.isoformat(timespec="seconds")
