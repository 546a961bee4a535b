"""The next deployment of a target, beside the one it has: what stays, what changes, and what goes.

A deployment replaces everything on its target, so what others put there is carried along
(`contract/deployment.md` section 3.1).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from gtlabel.edge.component import configured, settings_in
from gtlabel.edge.device.arguments import without_logins
from gtlabel.edge.ours import check_ours, recipe_of
from gtlabel.edge.revisions import Revision, deployments_of, merge_in, read_revision, revisions
from gtlabel.edge.rollout import Rollout, merged_settings
from gtlabel.errors import DeploymentChangedError, EdgeError

if TYPE_CHECKING:
    from types_boto3_greengrassv2 import GreengrassV2Client

    from gtlabel.edge.publish import Draft, Published

# The pace of a deployment, and when it stops by itself.
_JOB = "iotJobConfiguration"


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of a component, or of a value of its configuration.

    Attributes:
        name: the component, or the value by its path, such as `mqtt`.
        before: its version or value until now; None when there is none.
        after: its version or value then; None when it goes.
        settings: whether a component stays what it is and is set otherwise.
        beside: whether it stays and is a classifier of gtlabel, too.
    """

    name: str
    before: str | None
    after: str | None

    settings: bool = False
    beside: bool = False

    @property
    def kind(self) -> str:
        """`new`, `goes`, `changes`, `other settings`, `stays` or `stays beside it`."""
        if self.settings:
            return "other settings"
        if self.before == self.after:
            return "stays beside it" if self.beside else "stays"
        if self.before is None:
            return "new"
        return "goes" if self.after is None else "changes"


@dataclass(frozen=True, slots=True)
class DeploymentPlan:
    """The next deployment of a target, and what it changes.

    Attributes:
        target: the ARN of the target.
        components: everything the target will run; what is not in here is uninstalled.
        kept: components that stay as they are, with their versions.
        changed: the component that is meant, with the version it had and the one it gets, None for none.
        settings: name, policies, job settings and tags of the deployment before, which go on.
        base: what the plan builds on, if there was something.
        newest: the id of the target's newest deployment, even of one that was canceled; empty for none.
        configuration: the values that differ from those before.
        beside: the other classifiers of gtlabel on the same devices, and the target that each is of.
    """

    target: str
    components: dict[str, dict[str, Any]]
    kept: dict[str, str]
    changed: tuple[str, str | None, str | None]
    settings: dict[str, Any] = field(default_factory=dict)
    base: Revision | None = None
    newest: str = ""
    configuration: tuple[Change, ...] = ()
    beside: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        name, before, after = self.changed
        if after is None:
            change = f"{name} {before} goes"
        elif before is None:
            change = f"{name} {after} is new"
        elif before == after:
            change = f"{name} {after} with other settings"
        else:
            change = f"{name} {before} -> {after}"
        kept = ", ".join(f"{other} {version}" for other, version in sorted(self.kept.items()))
        return f"{change}; {kept} stays" if kept else change

    @property
    def changes(self) -> list[Change]:
        """What becomes of each component; ours first."""
        name, before, after = self.changed
        otherwise = before is not None and before == after and not self.unchanged
        return [
            Change(name, before, after, otherwise),
            *(
                Change(name, version, version, beside=name in self.beside)
                for name, version in sorted(self.kept.items())
            ),
        ]

    @property
    def unchanged(self) -> bool:
        """Whether the target is asked for exactly this already."""
        return (
            self.base is not None
            and self.base.deployment == self.newest
            and self.base.components == self.components
            and self.base.settings == self.settings
        )

    @property
    def token(self) -> str:
        """What makes the same wish, on top of the same deployment, the same deployment for Greengrass.

        A request whose answer got lost is so made once, however often it is sent.
        """
        wish = [self.target, self.newest, self.components, self.settings]
        return hashlib.sha256(json.dumps(wish, sort_keys=True).encode()).hexdigest()


def plan_deployment(
    greengrass: GreengrassV2Client,
    target: str,
    component: Published | Draft,
    configuration: Mapping[str, Any],
    *,
    keep_settings: bool = False,
    check: Callable[[Mapping[str, Any]], Mapping[str, Any]] = dict,
    rollout: Rollout | None = None,
    devices: int = 1,
) -> DeploymentPlan:
    """The deployment a target has now, with one component put in or exchanged.

    Our own configuration starts afresh each time: values merged earlier would otherwise outlive the version
    that they were meant for.

    Args:
        greengrass: Greengrass V2.
        target: the ARN of a thing or a thing group.
        component: what is deployed.
        configuration: what differs from its defaults on this target.
        keep_settings: whether what the deployment before set goes on where `configuration` does not set it.
        check: makes what is merged of all that is set, be it kept or new; raises for what cannot work.
        rollout: the pace; by default that of the deployment before.
        devices: how many devices are behind the target.
    """
    base, newest = current(greengrass, target)
    before = base.components.get(component.name) if base else None
    kept = settings_in(merge_in(before)) if before and keep_settings else {}
    spec = spec_of(component.version, check({**kept, **configuration}), before)
    return _planned(target, base, newest, component.name, spec, rollout, devices)


def plan_return(
    greengrass: GreengrassV2Client, target: str, component: str, revision: Revision
) -> DeploymentPlan:
    """The deployment a target has now, with one component as an earlier revision had it.

    Everybody's other components stay as they are now. The pace of an earlier rollout is not kept: what is
    undone is undone at once.

    Raises:
        ForeignComponentError: if somebody else published the component.
    """
    check_ours(greengrass, component, _specs(greengrass, target, component))
    base, newest = current(greengrass, target)
    earlier = revision.components[component]
    spec = spec_of(earlier["componentVersion"], merge_in(earlier), earlier)
    return _planned(target, _at_once(base), newest, component, spec)


def plan_removal(greengrass: GreengrassV2Client, target: str, component: str) -> DeploymentPlan:
    """The deployment a target has now, without one component.

    Raises:
        EdgeError: if the component is not deployed there.
        ForeignComponentError: if somebody else published it.
    """
    base, newest = current(greengrass, target)
    if base is None or component not in base.components:
        there = ", ".join(sorted(base.components)) if base else ""
        raise EdgeError(
            f"{component} is not deployed to {target.rpartition(':')[2]}; "
            + (f"what is: {there}" if there else "nothing is")
        )
    check_ours(greengrass, component, _specs(greengrass, target, component))
    return _planned(target, _at_once(base), newest, component, None)


def current(greengrass: GreengrassV2Client, target: str) -> tuple[Revision | None, str]:
    """The newest deployment of a target that was not canceled, and the id of the newest of all."""
    if not target:
        return None, ""
    listed = deployments_of(greengrass, target)
    newest = listed[0]["deploymentId"] if listed else ""
    for item in listed:
        if item["deploymentStatus"] != "CANCELED":
            return read_revision(greengrass, item["deploymentId"]), newest
    return None, newest


def still_current(greengrass: GreengrassV2Client, plan: DeploymentPlan) -> None:
    """Make sure that nobody deployed to the target since a plan was made.

    Greengrass knows no condition on a deployment, so between this look and the deployment a moment is left,
    which `start_deployment` looks back upon.

    Raises:
        DeploymentChangedError: if somebody did; what they deployed would be lost.
    """
    listed = deployments_of(greengrass, plan.target)
    newest = listed[0]["deploymentId"] if listed else ""
    if newest != plan.newest:
        raise DeploymentChangedError(plan.target.rpartition(":")[2], newest)


def create_deployment(greengrass: GreengrassV2Client, plan: DeploymentPlan, token: str | None = None) -> str:
    """Start a planned deployment and return its id. Devices that are connected begin at once.

    Args:
        greengrass: Greengrass V2.
        plan: what to deploy.
        token: the same token gives the same deployment; by default that of the plan.
    """
    return greengrass.create_deployment(
        targetArn=plan.target,
        components=plan.components,  # type: ignore[arg-type]
        clientToken=token or plan.token,
        **plan.settings,
    )["deploymentId"]


def start_deployment(
    greengrass: GreengrassV2Client,
    plan: DeploymentPlan,
    on_overtaken: Callable[[DeploymentPlan], None] | None = None,
) -> tuple[str, DeploymentPlan]:
    """Start a planned deployment, and bring back what it took off because it was made at the same moment.

    Where somebody's deployment lies between the one that was planned on and ours, ours replaced it unseen; so
    it is made once more, on top of theirs.

    Args:
        greengrass: Greengrass V2.
        plan: what to deploy.
        on_overtaken: called with the plan on top of theirs.

    Returns:
        The id of the deployment that is the last of ours, and what it was planned as.
    """
    while True:
        deployment = create_deployment(greengrass, plan)
        theirs = _replaced_unseen(greengrass, plan, deployment)
        if theirs is None:
            return deployment, plan
        plan = _on_top(plan, theirs, deployment)
        if on_overtaken is not None:
            on_overtaken(plan)


def with_configuration(
    greengrass: GreengrassV2Client, plan: DeploymentPlan, recipe: Mapping[str, Any] | None = None
) -> DeploymentPlan:
    """A plan that also tells which values of the configuration differ from those on the target now.

    Of a component that is new there it tells what is set. It tells nothing where the component goes, or where
    a version was deleted.

    Args:
        greengrass: Greengrass V2.
        plan: the plan.
        recipe: that of the version which is deployed; by default it is read.
    """
    name = plan.changed[0]
    before = plan.base.components.get(name) if plan.base else None
    after = plan.components.get(name)
    if after is None:
        return plan
    try:
        recipe = recipe or _recipe(greengrass, plan.target, name, after)
        is_ = configured(recipe, merge_in(after))
        if before is None:
            was = configured(recipe, {})
        else:
            was = configured(_recipe(greengrass, plan.target, name, before), merge_in(before))
    except greengrass.exceptions.ResourceNotFoundException:
        return plan
    return replace(plan, configuration=configuration_changes(was, is_))


def component_arn(target: str, name: str, version: str) -> str:
    """The ARN of a component version in the account and region of a target."""
    _, partition, _, region, account, _ = target.split(":", 5)
    return f"arn:{partition}:greengrass:{region}:{account}:components:{name}:versions:{version}"


def configuration_changes(
    before: Mapping[str, Any], after: Mapping[str, Any], path: str = ""
) -> tuple[Change, ...]:
    """The values in which two configurations differ, by their paths."""
    found: list[Change] = []
    for key in sorted({*before, *after}):
        here = f"{path}/{key}" if path else key
        old, new = before.get(key), after.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found += configuration_changes(old, new, here)
        elif old != new:
            found.append(Change(here, _shown(old), _shown(new)))
    return tuple(found)


def spec_of(version: str, merge: Mapping[str, Any], before: Mapping[str, Any] | None) -> dict[str, Any]:
    """A component of a deployment: all that was ever merged is reset, then everything is merged at once."""
    spec: dict[str, Any] = {
        "componentVersion": version,
        "configurationUpdate": {"reset": [""], "merge": json.dumps(dict(merge), sort_keys=True)},
    }
    if before and before.get("runWith"):
        spec["runWith"] = before["runWith"]
    return spec


def _planned(
    target: str,
    base: Revision | None,
    newest: str,
    name: str,
    spec: dict[str, Any] | None,
    rollout: Rollout | None = None,
    devices: int = 1,
) -> DeploymentPlan:
    components = dict(base.components) if base else {}
    before = components.pop(name, None)
    kept = {other: each["componentVersion"] for other, each in components.items()}
    return DeploymentPlan(
        target=target,
        components={**components, name: spec} if spec else components,
        kept=kept,
        changed=(
            name,
            before["componentVersion"] if before else None,
            spec["componentVersion"] if spec else None,
        ),
        settings=merged_settings(base.settings if base else {}, rollout, devices),
        base=base,
        newest=newest,
    )


def _replaced_unseen(
    greengrass: GreengrassV2Client, plan: DeploymentPlan, deployment: str
) -> Revision | None:
    """The deployment that ours replaced without knowing of it, if it had others' components otherwise."""
    listed = [item["deploymentId"] for item in deployments_of(greengrass, plan.target)]
    if deployment not in listed or (plan.newest and plan.newest not in listed):
        return None
    end = listed.index(plan.newest) if plan.newest else len(listed)
    between = listed[listed.index(deployment) + 1 : end]
    if not between:
        return None
    theirs = read_revision(greengrass, between[0])
    return None if _others(theirs.components, plan) == _others(plan.components, plan) else theirs


def _on_top(plan: DeploymentPlan, theirs: Revision, deployment: str) -> DeploymentPlan:
    """A plan again, on top of a deployment that its first go replaced."""
    name, before, after = plan.changed
    spec, others = plan.components.get(name), _others(theirs.components, plan)
    settings = {key: value for key, value in theirs.settings.items() if key != _JOB}
    if _JOB in plan.settings:
        settings[_JOB] = plan.settings[_JOB]
    return replace(
        plan,
        components={**others, name: spec} if spec else others,
        kept={other: each["componentVersion"] for other, each in others.items()},
        changed=(name, theirs.version_of(name) or before, after),
        settings=settings,
        base=theirs,
        newest=deployment,
    )


def _others(components: Mapping[str, dict[str, Any]], plan: DeploymentPlan) -> dict[str, dict[str, Any]]:
    return {name: spec for name, spec in components.items() if name != plan.changed[0]}


def _specs(greengrass: GreengrassV2Client, target: str, component: str) -> Iterator[Mapping[str, Any]]:
    """What the deployments of a target say of a component, the newest first."""
    return (revision.components.get(component, {}) for revision in revisions(greengrass, target))


def _at_once(base: Revision | None) -> Revision | None:
    if base is None or _JOB not in base.settings:
        return base
    return replace(base, settings={key: value for key, value in base.settings.items() if key != _JOB})


def _recipe(
    greengrass: GreengrassV2Client, target: str, name: str, spec: Mapping[str, Any]
) -> dict[str, Any]:
    return recipe_of(greengrass, component_arn(target, name, spec["componentVersion"]))


def _shown(value: Any) -> str | None:
    if value is None:
        return None
    return without_logins(value if isinstance(value, str) else json.dumps(value, sort_keys=True))
