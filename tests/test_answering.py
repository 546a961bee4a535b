"""The workers' API, and simulated workers that speak it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from engine_parts import CLASSES
from groundtruth_parts import TRUTH, Account, request
from sqlalchemy import func, select

from gtlabel.emulator.api import Context
from gtlabel.emulator.jobspec import job_spec
from gtlabel.emulator.simulate import answer, read_truth
from gtlabel.engine.schema import surplus
from gtlabel.errors import EmulatorError, EmulatorNotReadyError, ManifestError, ManifestLineError
from gtlabel.portal import workers


@pytest.fixture
def account() -> Account:
    return Account()


# ---- the workers' API --------------------------------------------------------------------------------------


def test_a_worker_gets_an_image_answers_and_is_told_when_there_is_no_more(account: Account) -> None:
    account.put("in.manifest", '{"source-ref":"s3://trash/1.jpg"}')
    account.create(human={"NumberOfHumanWorkersPerDataObject": 1})
    ask = {"job": "Bins-1", "worker": "ann"}
    nothing = {"lease": None, "job_status": "Initializing", "workers_per_object": 1}
    assert workers.handle(account.board, "lease", ask) == (200, nothing)
    account.turn()
    status, task = workers.handle(account.board, "lease", ask)
    assert status == 200
    assert task["source_ref"] == "s3://trash/1.jpg"
    assert task["classes"] == list(CLASSES)
    lease = {"lease": task["lease"]}
    assert workers.handle(account.board, "heartbeat", lease) == (200, {"expires": task["expires"]})
    wrong = {**lease, "answer": {"crowd-image-classifier": {"label": "Paper"}}}
    status, refusal = workers.handle(account.board, "submit", wrong)
    assert (status, refusal["error"][:30]) == (400, "'Paper' is no class of this jo")
    said = {**lease, "answer": {"crowd-image-classifier": {"label": "Compost"}}, "active_seconds": 2.5}
    assert workers.handle(account.board, "submit", said) == (200, {"accepted": True})
    account.turn()
    assert workers.handle(account.board, "lease", ask) == (200, {**nothing, "job_status": "Completed"})


@pytest.mark.parametrize(
    ("path", "body", "status", "sentence"),
    [
        ("sleep", {}, 404, "workers cannot 'sleep'"),
        ("lease", {"job": "Bins-1"}, 400, '"worker" must be a text of 1 to 256 printable'),
        ("lease", {"job": "Other", "worker": "ann"}, 404, "there is no labeling job named 'Other'"),
        ("submit", {"lease": "x", "answer": "Compost"}, 400, '"answer" must be the JSON object'),
        ("submit", {"lease": "x", "answer": {}, "active_seconds": "2"}, 400, '"active_seconds" must be a'),
        ("submit", {"lease": "x", "answer": {}}, 409, "there is no lease 'x'; ask for a new task"),
        ("decline", {"lease": "x"}, 409, "there is no lease 'x'"),
        ("release", {"lease": 7}, 400, '"lease" must be a text'),
        ("lease", {"job": "Bins-1", "worker": "\ud800"}, 400, '"worker" must be a text'),
    ],
)
def test_what_a_worker_cannot_do_is_said_in_a_sentence(
    account: Account, path: str, body: dict[str, Any], status: int, sentence: str
) -> None:
    account.create()
    account.turn()
    answered, said = workers.handle(account.board, path, body)
    assert answered == status
    assert sentence in said["error"]


# ---- simulated workers -------------------------------------------------------------------------------------


def test_simulated_workers_finish_a_job_and_are_as_good_as_asked(account: Account) -> None:
    account.create()
    progress: list[int] = []
    with account.served() as url:
        summary = answer(url, "Bins-1", 5, 0.8, TRUTH, seed=7, on_progress=progress.append)
    assert summary.answers == 72
    assert progress == list(range(1, 73))
    lines = account.tree()["manifests/output/output.manifest"].splitlines()
    right = sum(
        TRUTH[record["source-ref"]] == record["bin-metadata"]["class-name"]
        for record in map(json.loads, lines)
    )
    assert right >= 20
    answers = _answers(account)
    share = sum(TRUTH[image] == name for (image, _), name in answers.items()) / len(answers)
    assert 0.65 <= share <= 0.95


def test_what_a_simulated_worker_says_depends_on_the_seed_alone(account: Account) -> None:
    said = []
    for name, seed, people in (("One", 3, 3), ("Two", 3, 5), ("Three", 4, 3)):
        account.create(name)
        with account.served() as url:
            answer(url, name, people, 0.6, TRUTH, seed=seed)
        said.append(_answers(account, name))
    one, two, three = said
    both = one.keys() & two.keys()
    assert len(both) > 20
    assert {key: one[key] for key in both} == {key: two[key] for key in both}
    assert one != three


def test_simulated_workers_decline_release_and_forget_like_people(account: Account) -> None:
    # Who is asked first is a matter of threads; among so many images each habit shows in any case.
    images = [f"s3://trash/images/{number}.jpg" for number in range(100)]
    account.put("in.manifest", "".join(f'{{"source-ref":"{image}"}}\n' for image in images))
    # Ground Truth gives half a minute at least; the engine would give less, and that is waited for.
    human = {"TaskTimeLimitInSeconds": 2, "NumberOfHumanWorkersPerDataObject": 4}
    account.board.create_job(job_spec(Context(), request(human=human)))
    truth = {f"{number}.jpg": "Compost" for number in range(100)}
    with account.served(hurry=1) as url:
        summary = answer(url, "Bins-1", 7, 0.9, truth, seed=1)
    assert min(summary.total.declined, summary.total.released, summary.total.forgotten) > 0
    assert len(_answers(account)) == 400
    # Two seconds pass on a busy machine: what comes after another has answered is kept, and counts nowhere.
    assert summary.answers == 400 + _surplus(account)
    assert account.describe()["LabelCounters"]["FailedNonRetryableError"] == 0


def test_simulated_workers_go_home_when_the_job_is_stopped(account: Account) -> None:
    account.create()

    def stop_at(answers: int) -> None:
        if answers == 20:
            account.call("StopLabelingJob", LabelingJobName="Bins-1")

    with account.served() as url:
        summary = answer(url, "Bins-1", 5, 0.9, TRUTH, on_progress=stop_at)
    assert summary.answers >= 20
    # Who was at it when the job was stopped may still say what they think; it is kept, and counts nowhere.
    assert len(_answers(account)) + _surplus(account) == summary.answers
    assert account.describe()["LabelingJobStatus"] == "Stopped"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"job": "Other"}, "there is no labeling job named 'Other'"),
        ({"workers": 2}, "'Bins-1' wants 3 different workers for each image; 2 can never finish it"),
        ({"workers": 0}, "0 workers cannot answer; at least one is needed"),
        ({"accuracy": 85}, "an accuracy of 85 cannot be; give a share from 0 to 1"),
        ({"truth": {"x": "Compost"}}, "the truth says nothing about s3://trash/images/"),
        ({"truth": dict.fromkeys(TRUTH, "Paper")}, "'Paper'; the classes of the job are Compost, Landfill"),
    ],
)
def test_a_simulation_that_cannot_end_well_does_not_begin(
    account: Account, change: dict[str, Any], sentence: str
) -> None:
    account.create()
    account.turn()
    usual = {"job": "Bins-1", "workers": 3, "accuracy": 0.9, "truth": TRUTH}
    with account.served() as url, pytest.raises(EmulatorError, match=re.escape(sentence)):
        answer(url, **{**usual, **change})


def test_a_simulation_without_an_emulator_says_how_to_get_one() -> None:
    with pytest.raises(EmulatorNotReadyError, match="start one with `gtlabel local up`"):
        answer("http://127.0.0.1:9", "Bins-1", 3, 0.9, TRUTH)


def test_the_truth_is_read_by_whole_addresses_or_their_ends(tmp_path: Path) -> None:
    file = tmp_path / "truth.jsonl"
    file.write_text('{"source-ref":"s3://b/1.jpg","class":"a"}\n\n{"image":"x/2.jpg","class":"b","n":1}\n')
    assert read_truth(file) == {"s3://b/1.jpg": "a", "x/2.jpg": "b"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"source-ref":"s3://b/1.jpg"}', 'it needs "source-ref" and "class", both texts'),
        ("[]", 'it needs "source-ref" and "class", both texts'),
        ("{", "it is not JSON"),
        ('{"source-ref":"s3://b/0.jpg","class":"b"}', "s3://b/0.jpg was 'a' before and is 'b'"),
    ],
)
def test_a_line_of_truth_that_is_none_is_named(tmp_path: Path, text: str, reason: str) -> None:
    file = tmp_path / "truth.jsonl"
    file.write_text('{"source-ref":"s3://b/0.jpg","class":"a"}\n' + text)
    with pytest.raises(ManifestLineError, match=re.escape(f"{file}, line 2: {reason}")):
        read_truth(file)


def test_a_truth_that_is_missing_or_empty_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="cannot be read: No such file"):
        read_truth(tmp_path / "gone")
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(ManifestError, match="holds no line with the class of an image"):
        read_truth(tmp_path / "empty")


def _answers(account: Account, name: str = "Bins-1") -> dict[tuple[str, str], str]:
    """What each worker said about each image."""
    found = {}
    for key, body in account.tree(name).items():
        if "worker-response" in key:
            image = f"s3://trash/images/{key.split('/')[-2]}.jpg"
            for said in json.loads(body)["answers"]:
                found[image, said["workerId"]] = said["answerContent"]["crowd-image-classifier"]["label"]
    return found


def _surplus(account: Account) -> int:
    """How many answers came when the job no longer asked."""
    with account.board.store.read() as connection:
        return int(connection.execute(select(func.count()).select_from(surplus)).scalar_one())
