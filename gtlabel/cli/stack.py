"""`gtlabel stack`: the settings that a deployed stack gives a project."""

from __future__ import annotations

from typing import Annotated

import typer

from gtlabel.cli.options import EndpointUrl, Output, Profile, Region, connect
from gtlabel.cli.output import Format, put, put_json


def stack(
    name: Annotated[str, typer.Argument(metavar="STACK", help="The CloudFormation stack.")] = "gtlabel",
    output: Output = Format.TEXT,
    profile: Profile = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Print the lines of a gtlabel.toml for the bucket, roles and team of a stack.

    The stack itself is deployed by AWS's own tools, from the file that gtlabel ships:

    gtlabel template cloudformation/gtlabel.yaml > gtlabel.yaml
    aws cloudformation deploy --template-file gtlabel.yaml --stack-name gtlabel --capabilities CAPABILITY_IAM

    Example: gtlabel stack gtlabel > gtlabel.toml
    """
    from gtlabel.labeling.stack import stack_settings, to_toml

    _, aws = connect(profile, region, endpoint_url)
    settings = stack_settings(aws, name)
    put_json(settings) if output is Format.JSON else put(to_toml(settings).rstrip("\n"))
