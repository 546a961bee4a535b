"""How people get into the portal: links from the command line, of a server and of the emulator."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from emulator_parts import BUCKET, clients, create_job, post, put_inputs, run
from serve_parts import environ, serving
from visitor_parts import JPEG, Visitor, until

from gtlabel.emulator import doors
from gtlabel.emulator.api import Context
from gtlabel.emulator.emulator import Emulator
from gtlabel.emulator.environment import environ as environ_of
from gtlabel.emulator.server import Address
from gtlabel.emulator.service import check_asset_hosts
from gtlabel.errors import EmulatorError

SERVE = [sys.executable, "-m", "gtlabel", "serve", "--port", "0"]


def on_a_terminal(command: list[str], wanted: str) -> str:
    """Run a program with a terminal until it has written something, and return all that it wrote."""
    ours, its = pty.openpty()
    process = subprocess.Popen(command, env=environ(), stdin=its, stdout=its, stderr=its)
    os.close(its)
    written = b""
    try:
        end = time.monotonic() + 60
        while wanted.encode() not in written and time.monotonic() < end:
            if select.select([ours], [], [], 0.2)[0]:
                written += os.read(ours, 4096)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        os.close(ours)
    return written.decode()


def worker(*arguments: str) -> dict[str, Any]:
    done = run([sys.executable, "-m", "gtlabel", "serve", "worker", *arguments, "--output", "json"])
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_the_first_start_lets_its_owner_in_and_links_lead_into_the_server(tmp_path: Path) -> None:
    state = ("--state", str(tmp_path / "labels"))
    first = on_a_terminal([*SERVE, *state], "/join/")
    assert "open this to come in as its owner; it works once, within three days: http://127.0.0.1:" in first
    with serving(*state) as server:
        until(lambda: any("invite owner" in line for line in server.log))
        links = {
            "owner": worker("invite", "owner", *state)["link"],
            "ana": worker("add", "ana", "--invite", *state)["link"],
        }
        for name, link in links.items():
            visitor = Visitor(server.url)
            assert visitor.post(link.removeprefix(server.url), X_Gtlabel=None).status == 303, name
            me = visitor.get("/api/me").json
            assert (me["name"], me["role"]) == (name, "worker" if name == "ana" else "owner")
        elsewhere = worker("invite", "ana", "--url", "https://labels.example.com/", *state)["link"]
        assert elsewhere.startswith("https://labels.example.com/join/")
        log = "".join(server.log)
    # Only a terminal gets to see what lets somebody in.
    assert f"gtlabel serve worker invite owner --state {tmp_path}/labels" in log
    assert "/join/" not in log


def test_a_server_that_never_ran_has_no_address_to_invite_to(tmp_path: Path) -> None:
    done = run([sys.executable, "-m", "gtlabel", "serve", "worker", "invite", "a", "--state", str(tmp_path)])
    assert done.stderr == (
        "gtlabel: the server was never started, so its address is not known; give it with --url\n"
    )


@pytest.mark.parametrize("host", ["https://cdn.example.com", "cdn", "cdn.example.com; script-src *", "*"])
def test_templates_may_load_from_hosts_and_from_nothing_else(host: str) -> None:
    with pytest.raises(EmulatorError, match="is no host that templates could load from"):
        check_asset_hosts(["cdn.example.com", "*.example.com", "cdn.example.com:8443", host])


@contextmanager
def emulator(state: Path) -> Iterator[Address]:
    command = [sys.executable, "-m", "gtlabel", "local", "up", "--port", "0", "--state", str(state)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        url = process.stdout.readline().strip()
        yield Address(url, environ_of(url, Context()))
    finally:
        process.send_signal(signal.SIGTERM)
        log = process.communicate(timeout=120)[1]
    assert "people label at http://127.0.0.1:" in log
    assert "/join/" not in log
    assert "Traceback" not in log


def test_whoever_is_invited_labels_in_the_emulator_through_a_restart(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with emulator(state) as address:
        aws = clients(address)
        put_inputs(aws.s3)
        for number in range(4):
            aws.s3.put_object(Bucket=BUCKET, Key=f"images/{number}.jpg", Body=JPEG)
        create_job(aws, "bins")
        page = Visitor(address.url).post("/gtlabel/invite", {"name": "mallory", "role": "owner"})
        assert (page.status, page.json["error"]) == (403, "no page of a browser asks for invite here")
        link = post(f"{address.url}/gtlabel/invite", {"name": "ana"})["link"]
        portal, _, invite = link.partition("/join/")
        ana = Visitor(portal)
        assert ana.post(f"/join/{invite}", X_Gtlabel=None).status == 303
        until(lambda: bool(ana.get("/api/me").json["jobs"]))
        (job,) = ana.get("/api/me").json["jobs"]
        task: dict[str, Any] = {}

        def leased() -> bool:
            task.update(ana.lease(job["number"], view="grid"))
            return bool(task["lease"])

        # A job is in the list a moment before its pictures are there.
        until(leased)
        assert ana.get(task["picture"]).body == JPEG
        said = {"crowd-image-classifier": {"label": "Recycle"}}
        assert ana.post("/api/submit", {"lease": task["lease"], "answer": said}).status == 200
    with emulator(state) as address:
        # On the port that it had, so that the browser is still signed in.
        until(lambda: ana.get("/api/me").status == 200)
        while lease := ana.lease(job["number"])["lease"]:
            ana.post("/api/submit", {"lease": lease, "answer": said})
        aws = clients(address)
        until(lambda: described(aws) == "Completed")
        listed = aws.s3.list_objects_v2(Bucket=BUCKET, Prefix="out/bins/annotations/worker-response/")
        responses = [
            json.loads(aws.s3.get_object(Bucket=BUCKET, Key=found["Key"])["Body"].read())
            for found in listed["Contents"]
        ]
        subs = {
            one["workerMetadata"]["identityData"]["sub"]
            for response in responses
            for one in response["answers"]
        }
        assert len(subs) == 1
        # Whoever answers as a program under that name is the same person.
        create_job(aws, "more")
        until(lambda: described(aws, "more") == "InProgress")
        taken: dict[str, Any] = {}

        def took() -> bool:
            taken.update(post(f"{address.url}/gtlabel/worker/lease", {"job": "more", "worker": "ana"}))
            return bool(taken["lease"])

        until(took)
        until(lambda: bool(ana.get("/api/me").json["jobs"]))
        number = max(one["number"] for one in ana.get("/api/me").json["jobs"])
        assert number > job["number"]
        assert ana.get(f"/api/held/{number}").json["tasks"][0]["lease"] == taken["lease"]
        post(f"{address.url}/moto-api/reset")
        until(lambda: ana.get("/api/me").status == 401)
        assert Visitor(portal).post(f"/join/{invite}", X_Gtlabel=None).status == 403


def described(aws: Any, name: str = "bins") -> str:
    status: str = aws.sagemaker.describe_labeling_job(LabelingJobName=name)["LabelingJobStatus"]
    return status


def test_an_emulator_without_a_portal_has_nowhere_to_invite_to() -> None:
    account = Emulator()
    try:
        status, said = doors.answer(account, "invite", {"name": "ana"})
    finally:
        account.close()
    assert (status, said["error"]) == (409, "this emulator has no portal; start it without --no-portal")
