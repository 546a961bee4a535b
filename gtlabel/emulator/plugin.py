"""pytest fixtures: AWS accounts that cost nothing.

    def test_it(gtlabel_mock):        in this process, the fastest; its calls move labeling jobs on
    def test_it(gtlabel_aws):         over HTTP, from a process of its own, where jobs move on by themselves

Both give the clients (`gtlabel.Aws`) of an account that has one team and one role, named by the variables
`GTLABEL_TEAM` and `GTLABEL_ROLE`, and nothing else. Nothing is imported before it is used.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from gtlabel.aws import Aws
    from gtlabel.emulator.child import Address

_PROFILE = ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3")


@pytest.fixture
def gtlabel_mock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Aws]:
    """An account in this process: moto with gtlabel's operations behind it.

    Labeling jobs move on with each SageMaker call; no thread outlives the fixture.
    """
    import moto

    from gtlabel.aws import Aws
    from gtlabel.emulator import moto as seam
    from gtlabel.emulator.api import Context
    from gtlabel.emulator.emulator import Emulator
    from gtlabel.emulator.environment import ROLE, role_policy, role_trust, session

    _point_to(monkeypatch, None)
    with moto.mock_aws():
        emulator = Emulator(driven=True)
        seam.install(emulator.operations, emulator.reset)
        try:
            aws = Aws(session(Context().region))
            aws.iam.create_role(RoleName=ROLE, AssumeRolePolicyDocument=role_trust())
            aws.iam.put_role_policy(RoleName=ROLE, PolicyName="everything", PolicyDocument=role_policy())
            yield aws
        finally:
            # Before the mock ends: what still ran then would call the real AWS.
            seam.uninstall()
            emulator.close()


@pytest.fixture(scope="session")
def gtlabel_server() -> Iterator[Address]:
    """The address of an emulator in a process of its own, one for the whole session."""
    from gtlabel.emulator.child import running

    with running() as address:
        yield address


@pytest.fixture
def gtlabel_aws(gtlabel_server: Address, monkeypatch: pytest.MonkeyPatch) -> Aws:
    """An account behind `gtlabel_server`, empty again for every test."""
    import urllib.request

    from gtlabel.aws import Aws
    from gtlabel.emulator.api import Context
    from gtlabel.emulator.environment import session

    _point_to(monkeypatch, gtlabel_server.url)
    request = urllib.request.Request(  # noqa: S310 - our own server
        f"{gtlabel_server.url}/moto-api/reset", method="POST"
    )
    with urllib.request.urlopen(request, timeout=30):  # noqa: S310
        pass
    return Aws(session(Context().region))


def _point_to(monkeypatch: pytest.MonkeyPatch, url: str | None) -> None:
    from gtlabel.emulator.api import Context
    from gtlabel.emulator.environment import environ

    for name in _PROFILE:
        monkeypatch.delenv(name, raising=False)
    for name, value in environ(url or "", Context()).items():
        if value:
            monkeypatch.setenv(name, value)
