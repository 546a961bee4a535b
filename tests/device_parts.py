"""What the tests of devices share: one that runs beside the test, and what the control plane tells of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edge_parts import Account, to_json

from gtlabel.emulator.devices import run_device

THING = "camera"


def take(cloud: Account, root: Path, **options: Any) -> Any:
    """Let a device take the deployment that waits for it."""
    values = {"once": True, "poll": 0.02, "settle": 0.3, **options}
    return run_device(cloud.aws, THING, root, api=cloud.device, **values)


@contextmanager
def device(cloud: Account, root: Path, **options: Any) -> Iterator[None]:
    """A device that runs while this is entered."""
    stop, ready = threading.Event(), threading.Event()
    values = {"once": False, "stop": stop, "on_ready": ready.set, **options}
    thread = threading.Thread(target=take, args=(cloud, root), kwargs=values)
    thread.start()
    try:
        assert ready.wait(10)
        yield
    finally:
        stop.set()
        thread.join(30)
        assert not thread.is_alive()


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


def eventually(condition: Callable[[], bool]) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + 60
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
