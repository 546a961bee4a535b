"""`gtlabel policy`: what a command must be allowed to do."""

from __future__ import annotations

from typing import Annotated

import typer

from gtlabel.cli.options import EndpointUrl, Output, Profile, Region, connect
from gtlabel.cli.output import Format, put_json


def policy(
    command: Annotated[
        str,
        typer.Argument(
            metavar="COMMAND",
            help="A command of gtlabel, or labeling-role, streaming-role, training-role, "
            "training-network-role, training-key-role, sagemaker-trust, device-role, device-role-trust, "
            "device.",
        ),
    ],
    bucket: Annotated[str | None, typer.Option("--bucket", help="The bucket that everything is in.")] = None,
    prefix: Annotated[
        str | None, typer.Option("--prefix", help="Where the pictures lie in it. (default: anywhere)")
    ] = None,
    into: Annotated[
        str | None, typer.Option("--into", help="Where labeling jobs write. (default: gtlabel/)")
    ] = None,
    dataset: Annotated[
        str | None, typer.Option("--dataset", help="Where the dataset is. (default: dataset/)")
    ] = None,
    team: Annotated[str | None, typer.Option("--team", help="The work team, by name or ARN.")] = None,
    role: Annotated[str | None, typer.Option("--role", help="The jobs' role, by name or ARN.")] = None,
    component: Annotated[
        str | None, typer.Option("--component", help="The Greengrass component. (default: deeplens-*)")
    ] = None,
    thing: Annotated[str | None, typer.Option("--thing", help="The device. (default: any)")] = None,
    group: Annotated[str | None, typer.Option("--group", help="The thing group. (default: any)")] = None,
    stack: Annotated[
        str | None, typer.Option("--stack", help="The CloudFormation stack. (default: gtlabel)")
    ] = None,
    role_alias: Annotated[
        str | None, typer.Option("--role-alias", help="The alias through which devices take on their role.")
    ] = None,
    key: Annotated[str | None, typer.Option("--key", help="The KMS key of training jobs, by ARN.")] = None,
    account: Annotated[
        str | None, typer.Option("--account", help="The account. (default: that of the credentials)")
    ] = None,
    _output: Output = Format.TEXT,
    profile: Profile = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Print the least that a command, or a role, must be allowed to do, with your own names in it.

    Nothing is changed on AWS. Give the policy to whoever runs the command:

    aws iam put-user-policy --user-name me --policy-name gtlabel-label --policy-document file://label.json

    Example: gtlabel policy label --bucket my-bucket --prefix trash/ --team me --role labeler
    """
    from gtlabel.policies import policy_for

    project, aws = connect(profile, region, endpoint_url)
    # The devices' role is no role of jobs.
    own = {"train": project.training_role or project.role, "deploy-role": None}.get(command, project.role)
    given = {
        "bucket": bucket or project.bucket,
        "prefix": prefix,
        "output": into,
        "dataset": dataset,
        "team": team or project.team,
        "role": role or own,
        "component": component,
        "thing": thing,
        "group": group,
        "stack": stack,
        "role_alias": role_alias,
        "key": key,
        "account": account or aws.account,
        "region": aws.region,
    }
    document = policy_for(command, {name: value for name, value in given.items() if value})
    put_json(document)
