"""Fixtures that several rooms share; what they need is imported when one is asked for."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from engine_parts import Shop
    from playwright.sync_api import Browser
    from types_boto3_s3 import S3Client
    from visitor_parts import Premises, Visitor

    from gtlabel.engine.store import Store

# Hundreds of programs of ours are started here. Where the environment forbids to keep what was compiled, as
# images of containers do, each of them would compile gtlabel anew.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# A shell that runs the tests in the background has them ignore Ctrl-C, and all programs that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples each time, however long one takes on a busy machine: what is found is found for everybody.
settings.register_profile("here", deadline=None, derandomize=True, database=None)
settings.load_profile("here")

# The modules that take longest, which few of them show by the number of their tests. They come first: a long
# one at the end has one process work and the others wait.
_LONGEST = (
    "test_demo.py",
    "test_edge_road.py",
    "test_permissions.py",
    "test_readme.py",
    "test_cli.py",
    "test_faults.py",
    "test_journeys.py",
    "test_ledger.py",
    "test_edge_loop.py",
    "test_attacks.py",
    "test_simulate_jobs.py",
    "test_journey.py",
    "test_sharding.py",
    "test_serve.py",
    "test_restart.py",
    "test_sdk.py",
    "test_streaming.py",
    "test_datasets.py",
    "test_trainer.py",
    "test_plugin.py",
    "test_infrastructure.py",
    "test_executor.py",
    "test_leases.py",
    "test_elements.py",
    "test_doctor.py",
    "test_dataset_cli.py",
    "test_workforce.py",
    "test_moving.py",
    "test_lifecycle.py",
    "test_workteams.py",
    "test_scale.py",
    "test_foreman.py",
    "test_notify.py",
    "test_server.py",
    "test_people.py",
    "test_witnesses.py",
    "test_state.py",
    "test_functions.py",
    "test_storage.py",
    "test_collect_command.py",
    "test_portal_speed.py",
    "test_ways_in.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have the longest modules begin first; xdist keeps this order (see the options in pyproject.toml)."""
    places = {name: place for place, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))


@pytest.fixture(scope="session")
def gtlabel_trainers() -> dict[str, list[str]]:
    """A training image of one's own for the accounts of the tests, in place of the plugin's none."""
    return {"team/my-trainer": [sys.executable, str(Path(__file__).parent / "own_trainer.py")]}


@pytest.fixture(params=["memory", "file", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database, on each kind in turn."""
    if request.param != "postgres":
        yield "sqlite://" if request.param == "memory" else f"sqlite:///{tmp_path / 'engine.sqlite'}"
        return
    from databases import usual_database

    from gtlabel.engine.store import Store

    # Making a database takes longer than emptying one; not everybody who uses it cleans up.
    used = usual_database()
    left = Store(used)
    left.clear()
    left.close()
    yield used


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    """An empty store, on each kind of database in turn."""
    from gtlabel.engine.store import Store

    opened = Store(url)
    yield opened
    opened.close()


@pytest.fixture
def a_shop(store: Store) -> Callable[..., Shop]:
    """Makes shops on the store."""
    from engine_parts import Shop

    def make(*arguments: Any, **options: Any) -> Shop:
        return Shop(*arguments, store=store, **options)

    return make


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Client]:
    """An S3 in this process, with an empty bucket for photos and datasets."""
    from moto import mock_aws

    from gtlabel.aws import Aws
    from gtlabel.emulator.environment import session

    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    with mock_aws():
        client = Aws(session("us-east-1")).s3
        client.create_bucket(Bucket="trash-photos")
        yield client


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A headless Chromium."""
    from browser import chromium

    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def here() -> Iterator[Premises]:
    """A portal with one job."""
    from visitor_parts import Premises

    premises = Premises(max_concurrent=12)
    yield premises
    premises.close()


@pytest.fixture(scope="module")
def ana(here: Premises) -> Visitor:
    """A worker who has come in there."""
    return here.somebody("ana")


@pytest.fixture(scope="module")
def boss(here: Premises) -> Visitor:
    """Its owner, who has come in as well."""
    from gtlabel.engine.crew import Role

    return here.somebody("boss", role=Role.OWNER)
