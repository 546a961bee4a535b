"""What the tests of devices share: one that runs beside the test, and what the control plane tells of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edge_parts import Account, to_json

from gtlabel.aws import Aws
from gtlabel.emulator.devices import run_device

THING = "camera"


def take(cloud: Account, root: Path, **options: Any) -> Any:
    """Let a device take the deployment that waits for it."""
    values = {"once": True, "poll": 0.02, "settle": 0.3, **options}
    return run_device(cloud.aws, THING, root, api=cloud.device, **values)


@contextmanager
def device(cloud: Account, root: Path, **options: Any) -> Iterator[None]:
    """A device that runs while this is entered."""
    with beside(lambda **signals: take(cloud, root, once=False, **{**options, **signals})):
        yield


@contextmanager
def beside(work: Callable[..., object]) -> Iterator[None]:
    """Let something work beside the test while this is entered.

    Args:
        work: ends once its `stop` is set, and calls its `on_ready` when it has begun. What it raises is
            raised here.
    """
    stop, ready = threading.Event(), threading.Event()
    pool = ThreadPoolExecutor(1)
    working = pool.submit(work, stop=stop, on_ready=ready.set)
    working.add_done_callback(lambda _: ready.set())
    try:
        # A device waits for the one before it on its disk.
        assert ready.wait(60)
        if working.done():
            working.result()
        yield
    finally:
        stop.set()
        pool.shutdown(wait=False)
        working.result(60)


def deployed(
    cloud: Account,
    *recipes: dict[str, Any],
    policies: Any = None,
    run_with: dict[str, Any] | None = None,
    **update: Any,
) -> None:
    """Create components and deploy them all to the device."""
    target = cloud.register(THING)
    components: Any = {}
    for recipe in recipes:
        cloud.aws.greengrass.create_component_version(inlineRecipe=to_json(recipe))
        spec: dict[str, Any] = {"componentVersion": recipe["ComponentVersion"]}
        if update:
            spec["configurationUpdate"] = update
        if run_with:
            spec["runWith"] = run_with
        components[recipe["ComponentName"]] = spec
    cloud.clock.sleep(1)
    policies = policies or {}
    cloud.aws.greengrass.create_deployment(
        targetArn=target, components=components, deploymentPolicies=policies
    )


def execution(cloud: Account) -> dict[str, Any]:
    """How the newest deployment went, as the control plane tells it."""
    listed = cloud.aws.greengrass.list_effective_deployments(coreDeviceThingName=THING)
    return dict(listed["effectiveDeployments"][0])


def states(cloud: Account) -> dict[str, str]:
    """What the components do, as the control plane tells it."""
    listed = cloud.aws.greengrass.list_installed_components(coreDeviceThingName=THING)
    return {item["componentName"]: item["lifecycleState"] for item in listed["installedComponents"]}


def log(root: Path, component: str) -> str:
    """What a component printed since it was deployed; nothing where it is just being deployed."""
    try:
        return (root / "work" / component / "stdout.log").read_text()
    except FileNotFoundError:
        return ""


def printed_pid(root: Path, component: str = "app") -> int:
    """The process that a component told last with `echo $$`, once it has told one.

    A component is RUNNING once its script has been started, which may be before the script prints anything.
    """
    eventually(lambda: log(root, component).endswith("\n"))
    return int(log(root, component).split()[-1])


def deploy_to(aws: Aws, target: str, recipe: dict[str, Any]) -> None:
    """Deploy one component on a server whose clock is everybody's.

    Args:
        aws: the server's.
        target: `thing/T` or `thinggroup/G`.
        recipe: of the component.
    """
    arn = aws.greengrass.create_component_version(inlineRecipe=to_json(recipe))["arn"]
    eventually(lambda: aws.greengrass.describe_component(arn=arn)["status"]["componentState"] == "DEPLOYABLE")
    name_only(aws, target, recipe)


def name_only(aws: Aws, target: str, recipe: dict[str, Any]) -> None:
    """Deploy one component that is there."""
    aws.greengrass.create_deployment(
        targetArn=f"arn:aws:iot:us-east-1:123456789012:{target}",
        components={recipe["ComponentName"]: {"componentVersion": recipe["ComponentVersion"]}},
    )


def eventually(condition: Callable[[], bool]) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + 240
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.04)


def gone(process: int) -> bool:
    """Whether a process runs no more; one that only waits to be collected does not run."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state in "ZX"
