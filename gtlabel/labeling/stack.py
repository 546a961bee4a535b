"""What a deployed stack of `templates/cloudformation/gtlabel.yaml` holds, as the settings of a project."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gtlabel.errors import SettingsError

if TYPE_CHECKING:
    from gtlabel.aws import Aws

# The stack's outputs, and what gtlabel.toml calls them.
SETTINGS = {
    "Bucket": "bucket",
    "Team": "team",
    "Role": "role",
    "TrainingRole": "training_role",
    "Region": "region",
}


def stack_settings(aws: Aws, stack: str) -> dict[str, str]:
    """The settings that a stack's outputs give, by their names in `gtlabel.toml`.

    Raises:
        SettingsError: if there is no such stack, it is not ready, or it is another kind of stack.
    """
    from botocore.exceptions import ClientError

    try:
        (found,) = aws.cloudformation.describe_stacks(StackName=stack)["Stacks"]
    except ClientError as error:
        # CloudFormation has no error of its own for this.
        if error.response["Error"]["Code"] == "ValidationError":
            raise SettingsError(
                f"there is no stack named {stack!r} in {aws.region}; deploy one from the file that "
                "`gtlabel template cloudformation/gtlabel.yaml` prints"
            ) from error
        raise
    status = found["StackStatus"]
    if not status.endswith("_COMPLETE") or "ROLLBACK" in status or status.startswith("DELETE"):
        raise SettingsError(f"the stack {stack!r} is {status}; its outputs cannot be relied on")
    outputs = {output["OutputKey"]: output["OutputValue"] for output in found.get("Outputs", ())}
    settings = {name: outputs[key] for key, name in SETTINGS.items() if key in outputs}
    if "bucket" not in settings:
        raise SettingsError(f"the stack {stack!r} is not one of gtlabel: it has no output Bucket")
    return settings


def to_toml(settings: dict[str, str]) -> str:
    """The settings as lines of a `gtlabel.toml`; names and ARNs hold nothing that TOML would escape."""
    return "".join(f'{name} = "{value}"\n' for name, value in settings.items())
