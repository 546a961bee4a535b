"""Who may answer which job: on a server of one's own by groups and tokens, in the emulator by user pools."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from emulator_parts import BUCKET, IMAGES, create_job, gtlabel, put_inputs
from serve_parts import KEYS, Server, environ, serving

from gtlabel.aws import Aws
from gtlabel.cli.crew import app
from gtlabel.emulator.child import Address
from gtlabel.engine.crew import Crew
from gtlabel.engine.store import Store
from gtlabel.labeling.members import deactivate_member, find_member, invite, remove_member
from gtlabel.labeling.throughput import read_responses
from gtlabel.labeling.workforce import Team, TeamRequest, create_team, plan_team
from gtlabel.uris import S3Uri

ACCOUNT = "123456789012"
ANN, BOB, EVE = "ann@example.com", "bob@example.com", "eve@example.com"
COMPOST = {"crowd-image-classifier": {"label": "Compost"}}


def eventually(found: Callable[[], Any], seconds: float = 60) -> Any:
    """What is found, once it is anything; within the time that the manual promises and some more."""
    deadline = time.monotonic() + seconds
    while True:
        result = found()
        if result or time.monotonic() > deadline:
            return result
        time.sleep(0.05)


# ---- a server of one's own ---------------------------------------------------------------------------------


class Office:
    """A running server, its folder, and the account that is behind it."""

    def __init__(self, server: Server, state: Path) -> None:
        self.server = server
        self.state = state
        session = boto3.Session(
            KEYS["AWS_ACCESS_KEY_ID"], KEYS["AWS_SECRET_ACCESS_KEY"], region_name="us-east-1"
        )
        self.aws = Aws(session, server.url)

        # What `gtlabel serve worker` opens, without a process for each word.
        self.store = Store(f"sqlite:///{state / 'engine.sqlite'}", guest=True)
        self.crew = Crew(self.store)

    def hire(self, name: str, *groups: str, email: str = "") -> str:
        """Take somebody in and return their token, once the server knows them."""
        self.crew.add(name, groups=groups, email=email)
        token = self.crew.give_token(name)
        assert eventually(lambda: self.server.ask("held", token)[0] == 200)
        return token

    def team(self, name: str, *groups: str) -> str:
        """Make a team of groups and return its ARN."""
        made = self.aws.sagemaker.create_workteam(
            WorkteamName=name,
            Description="Sorts",
            MemberDefinitions=[{"OidcMemberDefinition": {"Groups": list(groups)}}],
        )
        return made["WorkteamArn"]

    def job(self, name: str, team: str) -> None:
        """Start a job of four images, and wait until there are tasks."""
        create_job(self.aws, name, team=team)

        def runs() -> bool:
            described = self.aws.sagemaker.describe_labeling_job(LabelingJobName=name)
            return described["LabelingJobStatus"] == "InProgress"

        assert eventually(runs)

    def lease(self, name: str, token: str) -> tuple[int, dict[str, Any]]:
        """Ask for a task, until there is one or a refusal."""

        def asked() -> Any:
            status, task = self.server.ask("lease", token, job=name)
            return (status, task) if status != 200 or task["lease"] else None

        found = eventually(asked)
        assert found, "there was no task"
        answer: tuple[int, dict[str, Any]] = found
        return answer


@pytest.fixture(scope="module")
def office(gtlabel_server: Address, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    state = tmp_path_factory.mktemp("office") / "state"
    with serving("--state", str(state), env=environ(gtlabel_server.url)) as server:
        office = Office(server, state)
        yield office
        office.store.close()


@pytest.fixture
def pictures(gtlabel_aws: Aws) -> Aws:
    put_inputs(gtlabel_aws.s3)
    return gtlabel_aws


def test_nobody_answers_without_a_token_of_theirs(office: Office) -> None:
    token = office.hire("ann-1")
    for wrong in ("", "gtl_000000000000_secret", token[:-1] + ("a" if token[-1] != "a" else "b")):
        status, said = office.server.ask("held", wrong)
        assert (status, list(said)) == (401, ["error"])
    status, headers, _ = office.server.send("POST", "/gtlabel/worker/held", b"{}")
    assert (status, headers["www-authenticate"]) == (401, "Bearer")
    assert office.server.ask("held", token) == (200, {"tasks": []})


def test_whoever_guesses_a_token_waits_and_its_owner_works_on(office: Office) -> None:
    token, other = office.hire("ann-2"), office.hire("bob-2")
    guess = token[:-3] + "???"
    statuses = [office.server.ask("held", guess)[0] for _ in range(5)]
    assert statuses == [401, 401, 401, 401, 429]
    status, headers, body = office.server.send(
        "POST", "/gtlabel/worker/held", b"{}", {"Authorization": f"Bearer {guess}"}
    )
    assert (status, headers["retry-after"]) == (429, "1")
    assert json.loads(body)["error"] == "too many failures; try again in 1 seconds"
    assert office.server.ask("held", other)[0] == 200
    assert eventually(lambda: office.server.ask("held", token)[0] == 200)


def test_a_deactivated_worker_is_out_and_others_get_their_task(office: Office, pictures: Aws) -> None:
    ann, bob = office.hire("ann-3", "three"), office.hire("bob-3", "three")
    office.job("Bins-3", office.team("three", "three"))
    _, given = office.lease("Bins-3", ann)
    status, _ = office.server.ask("submit", ann, lease=given["lease"], answer=COMPOST)
    assert status == 200
    _, task = office.lease("Bins-3", ann)
    assert not office.crew.deactivate("ANN-3").active
    out = eventually(lambda: (answer := office.server.ask("held", ann))[0] == 403 and answer[1])
    assert out == {"error": "the worker ann-3 is deactivated; ask the owner"}
    status, _ = office.server.ask("submit", ann, lease=task["lease"], answer=COMPOST)
    assert status == 403
    seen = set()
    for _ in range(3):
        _, mine = office.lease("Bins-3", bob)
        seen.add(mine["source_ref"])
        assert office.server.ask("submit", bob, lease=mine["lease"], answer=COMPOST)[0] == 200
    assert task["source_ref"] in seen
    assert seen == {*IMAGES} - {given["source_ref"]}
    office.crew.activate("ann-3")
    assert eventually(lambda: office.server.ask("held", ann) == (200, {"tasks": []}))


def test_a_job_is_for_the_groups_of_its_team(office: Office, pictures: Aws) -> None:
    ann, bob = office.hire("ann-4", "glass"), office.hire("bob-4", "paper", "four")
    office.job("Bins-4", office.team("four", "four", "cans"))
    assert office.lease("Bins-4", bob)[0] == 200
    status, said = office.lease("Bins-4", ann)
    assert (status, said) == (403, {"error": "the job is for cans, four, and ann-4 is not in there"})
    office.crew.change("ann-4", groups=["cans"])
    assert eventually(lambda: office.server.ask("lease", ann, job="Bins-4")[0] == 200)
    office.aws.sagemaker.update_workteam(
        WorkteamName="four", MemberDefinitions=[{"OidcMemberDefinition": {"Groups": ["four"]}}]
    )
    assert eventually(lambda: office.server.ask("lease", ann, job="Bins-4")[0] == 403)
    assert eventually(lambda: office.server.ask("held", ann) == (200, {"tasks": []}))


def test_a_lease_is_its_worker_s_and_unknown_to_everybody_else(office: Office, pictures: Aws) -> None:
    ann, bob = office.hire("ann-5", "five"), office.hire("bob-5", "five")
    office.job("Bins-5", office.team("five", "five"))
    _, task = office.lease("Bins-5", ann)
    for action in ("submit", "decline", "release", "heartbeat", "stop", "resume"):
        said = [
            office.server.ask(action, bob, lease=lease, answer=COMPOST)
            for lease in (task["lease"], task["lease"][::-1])
        ]
        assert [status for status, _ in said] == [409, 409]
        sentences = {
            body["error"].replace(task["lease"], "").replace(task["lease"][::-1], "") for _, body in said
        }
        assert sentences == {"there is no lease ''; ask for a new task"}
    [held] = office.server.ask("held", ann)[1]["tasks"]
    assert (held["lease"], held["stopped"]) == (task["lease"], False)
    assert office.server.ask("submit", ann, lease=task["lease"], answer=COMPOST)[0] == 200


def test_responses_name_workers_by_what_says_nothing(office: Office, pictures: Aws) -> None:
    token = office.hire("ann-6", "six", email="ann@example.com")
    office.job("Bins-6", office.team("six", "six"))
    for _ in IMAGES:
        _, task = office.lease("Bins-6", token)
        office.server.ask("submit", token, lease=task["lease"], answer=COMPOST)
    output = S3Uri(f"s3://{BUCKET}/out/")
    found = eventually(
        lambda: len(all_of := list(read_responses(pictures.s3, output, "Bins-6"))) == 4 and all_of
    )
    workforce = office.aws.sagemaker.describe_workforce(WorkforceName="default")["Workforce"]
    sub = office.crew.worker("ann-6").sub
    assert {(one.sub, one.issuer) for one in found} == {(sub, workforce["OidcConfig"]["Issuer"])}
    assert {one.worker.rpartition(".")[0] for one in found} == {"private.us-east-1"}
    keys = [
        item["Key"] for item in pictures.s3.list_objects_v2(Bucket=BUCKET, Prefix="out/Bins-6/")["Contents"]
    ]
    written = b"".join(pictures.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in keys)
    assert sub.encode() in written
    assert b"ann-6" not in written
    assert b"ann@example.com" not in written


def test_a_server_of_one_s_own_takes_groups_and_no_user_pools(office: Office) -> None:
    pool: Any = {"UserPool": "us-east-1_abc", "ClientId": "client", "UserGroup": "sorters"}
    with pytest.raises(ClientError) as refused:
        office.aws.sagemaker.create_workteam(
            WorkteamName="pool", Description="Sorts", MemberDefinitions=[{"CognitoMemberDefinition": pool}]
        )
    error = refused.value.response["Error"]
    assert error["Code"] == "ValidationException"
    assert error["Message"].startswith("This server has no Cognito, and so no user pool 'us-east-1_abc'.")
    assert "gtlabel serve worker add NAME --group GROUP" in error["Message"]
    office.team("seven", "seven")
    assert eventually(lambda: any("nobody is in the group 'seven' yet" in line for line in office.server.log))
    first = office.aws.sagemaker.describe_workteam(WorkteamName="gtlabel")["Workteam"]
    assert first["MemberDefinitions"] == [{"OidcMemberDefinition": {"Groups": ["gtlabel"]}}]


def test_workers_are_managed_from_the_command_line_beside_the_server(office: Office, tmp_path: Path) -> None:
    def worker(*command: str) -> Any:
        return gtlabel("serve", "worker", *command, "--state", str(office.state), "--output", "json")

    file = tmp_path / "token"
    made = json.loads(worker("add", "dorothea", "--token-file", str(file)).stdout)
    assert (made["groups"], made["active"], "token" in made) == (["gtlabel"], True, False)
    assert file.stat().st_mode & 0o777 == 0o600
    token = file.read_text().strip()
    assert eventually(lambda: office.server.ask("held", token)[0] == 200)
    gone = worker("deactivate", "dorotea")
    assert (gone.returncode, gone.stdout) == (1, "")
    assert gone.stderr == "gtlabel: there is no worker named 'dorotea'; did you mean dorothea?\n"
    assert json.loads(worker("deactivate", "dorothea").stdout)["active"] is False
    assert eventually(lambda: office.server.ask("held", token)[0] == 403)
    shown = json.loads(worker("show", "dorothea").stdout)
    assert (shown["active"], len(shown["tokens"])) == (False, 1)
    logged = json.loads(worker("log").stdout)
    assert [line["what"] for line in logged if line["whom"] == "dorothea"] == [
        "add",
        "give token",
        "deactivate",
    ]
    assert token.split("_", 2)[2] not in "".join(office.server.log) + json.dumps([logged, shown])


def test_every_command_about_workers_shows_an_example() -> None:
    for command in app.registered_commands:
        assert command.callback is not None
        assert "Example: gtlabel serve worker" in (command.callback.__doc__ or ""), command.callback


def test_a_folder_that_is_mistyped_is_not_made(tmp_path: Path) -> None:
    done = gtlabel("serve", "worker", "list", "--state", str(tmp_path / "stat"))
    assert (done.returncode, done.stdout) == (1, "")
    assert (
        done.stderr
        == f"gtlabel: there is no folder {tmp_path / 'stat'}; give the --state of `gtlabel serve`\n"
    )
    assert not (tmp_path / "stat").exists()


# ---- the emulator ------------------------------------------------------------------------------------------


def make_team(aws: Aws, name: str, *members: str) -> Team:
    request = TeamRequest(name=name, members=members)
    plan = plan_team(aws.sagemaker, aws.cognito_idp, request, account=ACCOUNT, region="us-east-1")
    return create_team(aws.sagemaker, aws.cognito_idp, plan, poll=0.01)


def ask(url: str, action: str, **body: Any) -> tuple[int, dict[str, Any]]:
    from http.client import HTTPConnection
    from urllib.parse import urlsplit

    connection = HTTPConnection(urlsplit(url).netloc, timeout=120)
    try:
        connection.request("POST", f"/gtlabel/worker/{action}", json.dumps(body).encode())
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def take(url: str, job: str, worker: str) -> dict[str, Any]:
    """A task, as soon as there is one."""

    def leased() -> Any:
        status, task = ask(url, "lease", job=job, worker=worker)
        assert status == 200, task
        return task["lease"] and task

    found: dict[str, Any] = eventually(leased)
    assert found
    return found


def test_people_who_were_disabled_get_no_tasks_and_lose_theirs(
    pictures: Aws, gtlabel_server: Address
) -> None:
    url = gtlabel_server.url
    team = make_team(pictures, "sorters", ANN, BOB)
    create_job(pictures, "Bins-1", team=team.arn)
    kept = take(url, "Bins-1", BOB)
    assert ask(url, "submit", lease=kept["lease"], answer=COMPOST)[0] == 200
    lost = take(url, "Bins-1", BOB)
    deactivate_member(pictures.cognito_idp, team.pool or "", team.groups, BOB)
    status, said = ask(url, "lease", job="Bins-1", worker=BOB)
    assert status == 403
    assert said["error"].startswith(f"{BOB} is disabled in the user pool {team.pool}")
    assert eventually(lambda: ask(url, "held", worker=BOB) == (200, {"tasks": []}))
    status, said = ask(url, "submit", lease=lost["lease"], answer=COMPOST)
    assert (status, said) == (409, {"error": "the task was released before; ask for a new one"})
    rest = {take(url, "Bins-1", ANN)["source_ref"] for _ in range(3)}
    assert rest == {*IMAGES} - {kept["source_ref"]}
    invite(pictures.cognito_idp, team.pool or "", "sorters", [BOB])
    assert ask(url, "lease", job="Bins-1", worker=BOB)[0] == 200


def test_people_of_the_pool_who_are_not_in_the_team_get_no_tasks(
    pictures: Aws, gtlabel_server: Address
) -> None:
    url = gtlabel_server.url
    team = make_team(pictures, "sorters", ANN, BOB)
    others = make_team(pictures, "others", EVE)
    create_job(pictures, "Bins-1", team=team.arn)
    take(url, "Bins-1", BOB)
    assert ask(url, "lease", job="Bins-1", worker=EVE) == (
        403,
        {"error": f"{EVE} is not in the team sorters that the job asks"},
    )
    eve = find_member(pictures.cognito_idp, others.pool or "", EVE)
    assert eve is not None
    assert ask(url, "lease", job="Bins-1", worker=eve.sub)[0] == 403
    remove_member(pictures.cognito_idp, team.pool or "", team.groups, BOB)
    assert ask(url, "lease", job="Bins-1", worker=BOB)[0] == 403
    assert take(url, "Bins-1", "somebody whom no pool knows")


def test_anybody_joins_the_first_team_unless_they_were_disabled(
    pictures: Aws, gtlabel_server: Address
) -> None:
    url = gtlabel_server.url
    create_job(pictures, "Bins-1")
    team = pictures.sagemaker.describe_workteam(WorkteamName="gtlabel")["Workteam"]
    pool = team["MemberDefinitions"][0]["CognitoMemberDefinition"]["UserPool"]
    assert take(url, "Bins-1", "worker-1")
    assert take(url, "Bins-1", "anybody")
    pictures.cognito_idp.admin_disable_user(UserPoolId=pool, Username="worker-1")
    assert ask(url, "lease", job="Bins-1", worker="worker-1")[0] == 403
    pictures.cognito_idp.admin_enable_user(UserPoolId=pool, Username="worker-1")
    assert ask(url, "lease", job="Bins-1", worker="worker-1")[0] == 200
