"""`gtlabel deploy MODEL --to TARGET`: a model through Greengrass to devices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gtlabel.cli.deployments import put_result
from gtlabel.cli.deploymentview import Screen, ask, described, put_statement, show_plan, somebody_is_there
from gtlabel.cli.output import Format, put_fields, put_json, say

if TYPE_CHECKING:
    from gtlabel.aws import Aws
    from gtlabel.delivery import Packing, TrainedModel
    from gtlabel.edge.deploy import DeploymentPlan, ModelPlan, Wishes
    from gtlabel.uris import S3Uri


def deliver(
    aws: Aws,
    model: TrainedModel,
    to: str,
    *,
    name: str,
    packing: Packing,
    configuration: Mapping[str, str],
    wishes: Wishes,
    device_role: str | None,
    timeout: float,
    poll: float,
    yes: bool,
    dry_run: bool,
    output: Format,
) -> None:
    """Deploy a model, and print what became of it; or, on a dry run, what would.

    Args:
        aws: the clients.
        model: what to deploy.
        to: a thing, or `thinggroup/NAME`, or the ARN of either.
        name: the component's name.
        packing: what goes into the bundle beside the model.
        configuration: what is set of the component's configuration.
        wishes: what else is asked for.
        device_role: the devices' role to look at.
        timeout: seconds to wait for the devices.
        poll: seconds between two looks.
        yes: whether nobody is asked.
        dry_run: whether nothing is made.
        output: how to print.
    """
    from gtlabel import delivery
    from gtlabel.edge.grants import artifact_statement, speaks_of_access
    from gtlabel.errors import DeploymentChangedError, DeploymentEndedError

    partition = aws.greengrass.meta.partition
    statement = artifact_statement(delivery.components_folder(model) / name, partition)
    if dry_run or device_role is not None:
        found = delivery.plan_delivery(
            aws, model, to, name=name, packing=packing, configuration=configuration, **wishes
        )
        if device_role is not None:
            _look_at_role(aws, device_role, found.draft.artifact, statement)
        if dry_run:
            _put_plan(model, found, statement, output)
            return
    topic = configuration.get("topic", "")
    if topic and not topic.startswith("gtlabel/"):
        say(f"note: the AWS IoT policy of the devices must allow iot:Publish to {topic}, too")
    screen = Screen()
    heard: Wishes = {
        **wishes,
        "on_progress": screen.take,
        "on_undo": screen.begin_again,
        "on_overtaken": screen.tell_overtaken,
    }
    hinted = device_role is not None

    def confirm(plan: DeploymentPlan) -> None:
        nonlocal hinted
        if plan.unchanged:
            say(f"{to} is asked for exactly this already; following deployment {plan.newest}")
            return
        show_plan(plan, to_stderr=True)
        if plan.changed[1] is None and not hinted:
            hinted = True
            put_statement(statement)
        ask(f"Deploy this to {to}?", yes=yes)

    while True:
        try:
            with screen.shown():
                deployed = delivery.deploy(
                    aws,
                    model,
                    to,
                    name=name,
                    packing=packing,
                    configuration=configuration,
                    timeout=timeout,
                    poll=poll,
                    on_plan=confirm,
                    **heard,
                )
            break
        except DeploymentChangedError as error:
            if yes or not somebody_is_there():
                raise
            say(f"somebody deployed to {error.target} in the meantime; this is what it changes now")
        except DeploymentEndedError as error:
            if speaks_of_access(error.reason) and not hinted:
                put_statement(statement)
            raise
        except KeyboardInterrupt:
            say(
                "a deployment that was made goes on, and is not rolled back if it fails; follow it with the "
                f"same command, or look: gtlabel deploy status --to {to}"
            )
            raise
    component = deployed.component
    put_result(
        {
            "deployment": deployed.deployment,
            "component": component.name,
            "version": component.version,
            "artifact": component.artifact,
        },
        deployed.states,
        output,
    )


def _look_at_role(aws: Aws, role: str, artifact: S3Uri, statement: dict[str, Any]) -> None:
    """Say what keeps the devices' role from letting them fetch the bundle."""
    from gtlabel.edge.grants import missing_grants

    problems = missing_grants(aws.iam, role, artifact, statement)
    for problem in problems:
        say(f"warning: {problem}")
    if any("lacks" in problem for problem in problems):
        put_statement(statement)
    if not problems:
        say(f"the role {role} lets devices fetch {artifact.folder}")


def _put_plan(model: TrainedModel, found: ModelPlan, statement: dict[str, Any], output: Format) -> None:
    """Print what would be made and changed."""
    draft = found.draft
    made = {
        "model": model.name,
        "classes": ", ".join(model.classes),
        "onnx bytes": len(model.onnx),
        "component": draft.name,
        "version": f"{draft.version}, {'which would be made' if draft.is_new else 'which is there'}",
        "artifact": draft.artifact,
        "devices": ", ".join(found.target.things),
    }
    if output is Format.JSON:
        put_json(
            {
                **made,
                "classes": list(model.classes),
                "version": draft.version,
                "new": draft.is_new,
                "devices": list(found.target.things),
                "device role statement": statement,
                "deployment": described(found.deployment),
            }
        )
        return
    put_fields(made)
    show_plan(found.deployment, to_stderr=False)
    say("nothing was uploaded or deployed")
