"""What the tests of deploying share: an account with devices that take what is deployed as they are told."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from edge_parts import BUCKET, Account, account, color_bundle

from gtlabel.edge.bundle import Bundle, read_bundle
from gtlabel.edge.deploy import Deployed, DeploymentPlan, Wishes, deploy_model
from gtlabel.edge.targets import find_target
from gtlabel.uris import S3Uri

NAME, FOLDER = "deeplens-colors", S3Uri.of(BUCKET, "components/")
ARN = "arn:aws:iot:us-east-1:123456789012:"


@dataclass
class House:
    """An account with devices, which look for work whenever somebody waits for them.

    Attributes:
        folder: where bundles lie; several houses may share it.
        bad: versions of our component that fail on every device, and what the device says then.
        broken: versions that are deployed well and break afterwards.
        only_on: where it is not every device on which versions are bad or broken.
        off: devices that do nothing.
        waits: how often somebody waited.
    """

    cloud: Account
    folder: Path
    bad: dict[str, str] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    only_on: set[str] = field(default_factory=set)
    off: set[str] = field(default_factory=set)
    things: list[str] = field(default_factory=list)
    waits: int = 0
    while_waiting: Callable[[], None] = lambda: None

    def add(self, *things: str, group: str = "") -> str:
        """Devices that are there, in a group if that is named; returns the target."""
        iot = self.cloud.aws.iot
        if group:
            iot.create_thing_group(thingGroupName=group)
        for thing in things:
            if thing not in self.things:
                iot.create_thing(thingName=thing)
                self.cloud.register(thing)
                self.things.append(thing)
            if group:
                iot.add_thing_to_thing_group(thingGroupName=group, thingName=thing)
        return f"thinggroup/{group}" if group else things[0]

    def sleep(self, seconds: float) -> None:
        """Wait, while the devices work."""
        self.waits += 1
        self.cloud.clock.sleep(max(seconds, 1))
        self.while_waiting()
        for thing in self.things:
            if thing not in self.off:
                self._work(thing)

    def _work(self, thing: str) -> None:
        waiting = self.cloud.device("next", {"thing": thing})["deployment"]
        if waiting is None:
            return
        version = waiting["components"].get(NAME, {}).get("version", "")
        here = not self.only_on or thing in self.only_on
        if here and version in self.bad:
            self.cloud.take(thing, "BROKEN", status="FAILED", reason=self.bad[version])
        else:
            self.cloud.take(thing, "BROKEN" if here and version in self.broken else "RUNNING")

    def bundle(self, threshold: float = 0.5) -> Bundle:
        """A bundle; another threshold makes another content."""
        path = self.folder / f"{threshold}" / "bundle.zip"
        return read_bundle(path) if path.exists() else color_bundle(path, threshold=threshold)

    def deploy(
        self,
        to: str,
        threshold: float = 0.5,
        *,
        name: str = NAME,
        configuration: Mapping[str, Any] | None = None,
        timeout: float = 60,
        on_plan: Callable[[DeploymentPlan], None] | None = None,
        **wishes: Any,
    ) -> Deployed:
        """Deploy a bundle; each threshold is a version of its own, counted from 1.0.0."""
        aws, wanted = self.cloud.aws, cast(Wishes, wishes)
        return deploy_model(
            aws.greengrass,
            aws.s3,
            aws.iot,
            self.bundle(threshold),
            to=to,
            folder=FOLDER,
            name=name,
            configuration=configuration,
            timeout=timeout,
            sleep=self.sleep,
            clock=self.cloud.clock.seconds,
            on_plan=on_plan,
            wishes=wanted,
        )

    def deploy_theirs(self, to: str, **versions: str) -> str:
        """Somebody else's deployment, of exactly these components; returns its id."""
        self.cloud.clock.sleep(1)
        components: Any = {name: {"componentVersion": version} for name, version in versions.items()}
        arn = find_target(self.cloud.aws.greengrass, self.cloud.aws.iot, to).arn
        made = self.cloud.aws.greengrass.create_deployment(targetArn=arn, components=components)
        return made["deploymentId"]

    def deployments(self, to: str = "camera") -> list[dict[str, Any]]:
        """All deployments of a target, the oldest first, with what they name."""
        client = self.cloud.aws.greengrass
        arn = f"{ARN}{to if '/' in to else f'thing/{to}'}"
        listed = client.list_deployments(targetArn=arn, historyFilter="ALL")["deployments"]
        found = [dict(client.get_deployment(deploymentId=item["deploymentId"])) for item in listed]
        return sorted(found, key=lambda item: int(item["revisionId"]))

    def spec(self, to: str = "camera") -> dict[str, Any]:
        """What the newest deployment of a target says of our component; empty where it does not name it."""
        return dict(self.deployments(to)[-1].get("components", {}).get(NAME, {}))

    def uploaded(self) -> list[str]:
        """The keys of everything that was uploaded."""
        listed = self.cloud.aws.s3.list_objects_v2(Bucket=BUCKET)
        return [item["Key"] for item in listed.get("Contents", [])]


@contextmanager
def house(folder: Path) -> Iterator[House]:
    """An empty account without devices."""
    with account() as cloud:
        yield House(cloud, folder)


@contextmanager
def calls(client: Any, *operations: str) -> Iterator[list[str]]:
    """The paths of the calls of these operations that a client makes while this is entered."""
    made: list[str] = []

    def note(params: Mapping[str, Any], **_: Any) -> None:
        made.append(params["url_path"])

    events = [f"before-call.greengrassv2.{operation}" for operation in operations]
    for event in events:
        client.meta.events.register(event, note)
    try:
        yield made
    finally:
        for event in events:
            client.meta.events.unregister(event, note)
