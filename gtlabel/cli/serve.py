"""`gtlabel serve`: a Ground Truth of one's own, for a team and its own bucket."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gtlabel.cli import crew
from gtlabel.cli.options import LONGEST_FUNCTION, FunctionNames, FunctionSeconds
from gtlabel.cli.output import put, say

if TYPE_CHECKING:
    from gtlabel.emulator.service import Ready

app = typer.Typer(help="Run a Ground Truth of your own: the same labeling jobs, your team, your bucket.")
app.add_typer(crew.app, name="worker")

_HELP = (
    "Run a Ground Truth of your own: the same labeling jobs, your team, your bucket.\n\n"
    "It answers SageMaker's labeling operations and the workers, moves the jobs on, and reads and writes S3 "
    "with the credentials that boto3 finds. It ends at Ctrl-C; every answer survives. Programs find it by "
    "AWS_ENDPOINT_URL_SAGEMAKER (not by AWS_ENDPOINT_URL: S3 stays where it is).\n\n"
    "Others on the network need TLS, or a proxy that ends it and hands on the Host header. Their requests "
    "must be signed by the server's own key, or by that of a --client-profile, which need not be a key of "
    "AWS. Workers label in a browser at the same address, after the link of an invite, or in programs by "
    "a token: see `gtlabel serve worker --help`.\n\n"
    "Example: gtlabel serve --state ~/labels\n\n"
    "Example: gtlabel serve --database postgresql://gtlabel@db/labels --behind-proxy "
    "--hostname labels.example.com"
)


@app.callback(invoke_without_command=True, help=_HELP)
def serve(
    context: typer.Context,
    state: Annotated[
        Path | None,
        typer.Option(
            "--state", file_okay=False, envvar="GTLABEL_STATE", help="The folder that everything survives in."
        ),
    ] = None,
    database: Annotated[
        str | None,
        typer.Option(
            envvar="GTLABEL_DATABASE",
            help="The database instead of a file in that folder, as an SQLAlchemy URL; several servers may "
            "share one on PostgreSQL.",
        ),
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 takes a free one.")] = 5001,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    hostname: Annotated[
        list[str] | None,
        typer.Option("--hostname", help="What the server is called by others; may be given several times."),
    ] = None,
    behind_proxy: Annotated[
        bool, typer.Option("--behind-proxy", help="A proxy that ends TLS stands before it.")
    ] = False,
    tls_cert: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="The certificate to speak TLS with.")
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="The key of that certificate.")
    ] = None,
    allow_asset_host: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-asset-host",
            metavar="HOST",
            help="A host that worker templates may load scripts and styles from; none by default.",
        ),
    ] = None,
    function: FunctionNames = None,
    function_seconds: FunctionSeconds = LONGEST_FUNCTION,
    region: Annotated[
        str | None, typer.Option("--region", help="The region to answer for.", rich_help_panel="AWS")
    ] = None,
    account: Annotated[
        str,
        typer.Option(
            help="The account that its ARNs name. AWS is not asked, and it need not be yours; keep it once "
            "there are jobs.",
            rich_help_panel="AWS",
        ),
    ] = "123456789012",
    profile: Annotated[
        str | None,
        typer.Option("--profile", help="The AWS profile to use S3 with.", rich_help_panel="AWS"),
    ] = None,
    client_profile: Annotated[
        list[str] | None,
        typer.Option(
            "--client-profile",
            help="A profile whose key may sign requests, besides the server's own.",
            rich_help_panel="AWS",
        ),
    ] = None,
) -> None:
    """Run a server until Ctrl-C; `_HELP` is what people read."""
    if context.invoked_subcommand is not None:
        return
    import logging

    from gtlabel.emulator.service import Service
    from gtlabel.emulator.service import serve as run
    from gtlabel.engine.functions import read_functions

    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    service = Service(
        state=state,
        database=database,
        host=host,
        port=port,
        region=region,
        account=account,
        profile=profile,
        client_profiles=tuple(client_profile or ()),
        hostnames=tuple(hostname or ()),
        behind_proxy=behind_proxy,
        tls_cert=tls_cert,
        tls_key=tls_key,
        asset_hosts=tuple(allow_asset_host or ()),
        functions=read_functions(function or ()),
        function_seconds=function_seconds,
    )

    def ready(started: Ready) -> None:
        put(started.url)
        say("labeling jobs are answered there; use it, from another terminal, with:")
        for name, value in started.environ.items():
            say(f"  export {name}={value}")
        _tell_way_in(started, state)

    run(service, on_ready=ready)


def _tell_way_in(started: Ready, state: Path | None) -> None:
    where = f" --state {shlex.quote(str(state))}" if state else ""
    say(f"people label in a browser at {started.portal}")
    if started.owner is None:
        say(
            "nobody is owner there yet; take one in with: gtlabel serve worker add NAME --role owner --invite"
        )
    elif started.invite and sys.stderr.isatty():
        say(f"open this to come in as its owner; it works once, within three days: {started.invite}")
    else:
        # What lets somebody in belongs into no log, and whatever is no terminal may be one.
        say(f"to come in as its owner, make an invite: gtlabel serve worker invite {started.owner}{where}")
