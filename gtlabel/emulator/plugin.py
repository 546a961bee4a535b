"""pytest fixtures: AWS accounts that cost nothing, people who answer, and a clock that can be moved.

    gtlabel_mock       an account in this process, the fastest; its calls move labeling jobs on
    gtlabel_aws        an account behind a port, empty again for every test; jobs move on by themselves
    gtlabel_server     the address of that port, one process for the session (and for each of xdist's)
    gtlabel_workers    people who answer the jobs of either account
    gtlabel_clock      freezes and moves the time of either account

Both accounts are clients (`gtlabel.Aws`) of an account that has one team and one role, named by the variables
`GTLABEL_TEAM` and `GTLABEL_ROLE`, and nothing else. The environment of the test points to them, so that code
which makes boto3 clients of its own finds them as well. Nothing is imported before it is used.

A test of one's own pipeline, `label_pictures` and `read_labels`, in ten lines:

    from pipeline import label_pictures, read_labels  # yours: they use boto3, and know nothing of tests

    def test_my_pictures_get_their_labels(gtlabel_aws, gtlabel_workers, gtlabel_clock):
        gtlabel_clock.freeze("2026-11-22T09:00:00+00:00")
        gtlabel_aws.s3.create_bucket(Bucket="photos")
        for name in ("1.jpg", "2.jpg"):
            gtlabel_aws.s3.put_object(Bucket="photos", Key=f"in/{name}", Body=b"...")
        label_pictures("photos", job="bins")
        gtlabel_workers.answer("bins", truth={"1.jpg": "Compost", "2.jpg": "Recycle"}, workers=3)
        assert read_labels("photos", job="bins") == {"1.jpg": "Compost", "2.jpg": "Recycle"}

`gtlabel_workers.answer` takes what is right as a mapping or as a function of the task, and `accuracy` and
`seed` for people who err: see `gtlabel.emulator.actors.Workers`. `gtlabel_clock.advance(hours=1)` lets leases
and tasks run out: see `gtlabel.emulator.actors.Hands`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from gtlabel.aws import Aws
    from gtlabel.emulator.actors import Account, Hands, Workers
    from gtlabel.emulator.child import Address
    from gtlabel.emulator.spot import Spot

__all__ = [
    "gtlabel_account",
    "gtlabel_aws",
    "gtlabel_clock",
    "gtlabel_mock",
    "gtlabel_server",
    "gtlabel_spot",
    "gtlabel_trainers",
    "gtlabel_workers",
]

_PROFILE = ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3")


class _Seat:
    """Which account the test uses; known once one of the two fixtures has made it."""

    account: Account | None = None

    def __call__(self) -> Account:
        if self.account is None:
            raise pytest.UsageError(
                "the test uses no account; let it ask for gtlabel_aws or gtlabel_mock too"
            )
        return self.account


@pytest.fixture
def gtlabel_account() -> _Seat:
    """The account of the test, for the other fixtures; it is called to get it."""
    return _Seat()


@pytest.fixture(scope="session")
def gtlabel_trainers() -> Mapping[str, Sequence[str]]:
    """The program that is run for each training image, by its repository, besides the usual ones.

    A `conftest.py` that trains with an image of its own has a fixture of this name and scope:
    `return {"my-trainer": [sys.executable, "/work/train.py"]}`
    """
    return {}


@pytest.fixture
def gtlabel_mock(
    monkeypatch: pytest.MonkeyPatch, gtlabel_account: _Seat, gtlabel_trainers: Mapping[str, Sequence[str]]
) -> Iterator[Aws]:
    """An account in this process: moto with gtlabel's operations behind it.

    Labeling jobs move on with each SageMaker call; no thread outlives the fixture.
    """
    import moto

    from gtlabel.aws import Aws
    from gtlabel.emulator import moto as seam
    from gtlabel.emulator.actors import InProcess
    from gtlabel.emulator.api import Context
    from gtlabel.emulator.emulator import Emulator
    from gtlabel.emulator.environment import ROLE, role_policy, role_trust, session

    _point_to(monkeypatch, None)
    with moto.mock_aws():
        emulator = Emulator(driven=True, trainers=gtlabel_trainers)
        seam.install(emulator.operations, emulator.reset)
        gtlabel_account.account = InProcess(emulator)
        try:
            aws = Aws(session(Context().region))
            aws.iam.create_role(RoleName=ROLE, AssumeRolePolicyDocument=role_trust())
            aws.iam.put_role_policy(RoleName=ROLE, PolicyName="everything", PolicyDocument=role_policy())
            yield aws
        finally:
            gtlabel_account.account = None
            # Before the mock ends: what still ran then would call the real AWS.
            seam.uninstall()
            emulator.close()


@pytest.fixture(scope="session")
def gtlabel_server(gtlabel_trainers: Mapping[str, Sequence[str]]) -> Iterator[Address]:
    """The address of an emulator in a process of its own, one for the whole session."""
    from gtlabel.emulator.child import running

    with running(trainers=gtlabel_trainers) as address:
        yield address


@pytest.fixture
def gtlabel_aws(gtlabel_server: Address, monkeypatch: pytest.MonkeyPatch, gtlabel_account: _Seat) -> Aws:
    """An account behind `gtlabel_server`, empty again for every test."""
    import urllib.request

    from gtlabel.aws import Aws
    from gtlabel.emulator.actors import Served
    from gtlabel.emulator.api import Context
    from gtlabel.emulator.environment import session

    _point_to(monkeypatch, gtlabel_server.url)
    request = urllib.request.Request(  # noqa: S310 - our own server
        f"{gtlabel_server.url}/moto-api/reset", method="POST"
    )
    with urllib.request.urlopen(request, timeout=30):  # noqa: S310
        pass
    gtlabel_account.account = Served(gtlabel_server.url)
    return Aws(session(Context().region))


@pytest.fixture
def gtlabel_workers(gtlabel_account: Callable[[], Account]) -> Workers:
    """People who answer the labeling jobs of the test's account.

    `gtlabel_workers.answer("job", truth={"1.jpg": "Compost"}, workers=3, accuracy=0.9, seed=7)`
    """
    from gtlabel.emulator.actors import Workers

    return Workers(gtlabel_account)


@pytest.fixture
def gtlabel_clock(gtlabel_account: Callable[[], Account]) -> Hands:
    """Hands on the clock of the test's account, which goes with the machine's until they are used.

    `gtlabel_clock.freeze("2026-11-22T09:00:00+00:00")`, `gtlabel_clock.advance(hours=1)`
    """
    from gtlabel.emulator.actors import Hands

    return Hands(gtlabel_account)


@pytest.fixture
def gtlabel_spot(gtlabel_account: Callable[[], Account]) -> Spot:
    """The spot machines of the test's account, which stay until the test takes one away.

    `gtlabel_spot.interrupt("job", seconds=2)`
    """
    from gtlabel.emulator.spot import Spot

    return Spot(gtlabel_account)


def _point_to(monkeypatch: pytest.MonkeyPatch, url: str | None) -> None:
    from gtlabel.emulator.api import Context
    from gtlabel.emulator.environment import environ

    for name in _PROFILE:
        monkeypatch.delenv(name, raising=False)
    for name, value in environ(url or "", Context()).items():
        if value:
            monkeypatch.setenv(name, value)
