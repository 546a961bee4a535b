"""`gtlabel template`: the files that gtlabel ships for AWS."""

from __future__ import annotations

from typing import Annotated

import typer

from gtlabel.cli.options import Output
from gtlabel.cli.output import Format, put, put_json, put_table


def template(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Which one; all are listed when none is named.")
    ] = None,
    output: Output = Format.TEXT,
) -> None:
    """Print a file that gtlabel ships: the CloudFormation stack, the Step Functions journey, worker pages.

    gtlabel template cloudformation/gtlabel.yaml > gtlabel.yaml
    aws cloudformation deploy --template-file gtlabel.yaml --stack-name gtlabel --capabilities CAPABILITY_IAM

    Example: gtlabel template stepfunctions/journey.asl.json
    """
    from gtlabel.templates import list_templates, read_template

    if name is None:
        found = list_templates()
        if output is Format.JSON:
            put_json([{"name": item.name, "bytes": item.size} for item in found])
        else:
            put_table(("name", "bytes"), [(item.name, item.size) for item in found], right=("bytes",))
        return
    text = read_template(name)
    put_json({"name": name, "text": text}) if output is Format.JSON else put(text.rstrip("\n"))
