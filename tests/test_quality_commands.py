"""`gtlabel quality`: reports and new labels from the answers of old jobs."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import UTC, datetime
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from answers_parts import BIRDS, answer, job, response
from browser import PHONE, flaws
from lifecycle_parts import BUCKET, PHOTOS, USUAL, fill, lines, people_answer
from playwright.sync_api import Browser

from gtlabel.aws import Aws
from gtlabel.cli import quality as commands
from gtlabel.cli.qualityview import page_of
from gtlabel.errors import ConsensusError, LabelingJobError, SettingsError
from gtlabel.labeling.answered import Answered, read_answered
from gtlabel.labeling.groups import wait_for_labeling
from gtlabel.labeling.plan import plan_labeling, start_labeling
from gtlabel.labeling.quality import judge
from gtlabel.labeling.reconsolidation import reconsolidate
from gtlabel.labeling.relabeled import relabeled
from gtlabel.manifests.lines import write_record
from gtlabel.pages.quality import write_quality
from gtlabel.uris import S3Uri

BINS = ["Compost", "Landfill", "Recycle"]
NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)
# Ann, Bob and Cy are right; Dan and Eve say Recycle whatever they see.
CROWD = {
    n: [
        ("ann", BINS[n % 3]),
        ("bob", BINS[n % 3]),
        ("cy", BINS[n % 3]),
        ("dan", "Recycle"),
        ("eve", "Recycle"),
    ]
    for n in range(29)
} | {29: [("ann", "Compost"), ("dan", "Recycle"), ("eve", "Recycle")]}


def no_account() -> Aws:
    raise AssertionError("a folder needs no account")


def read(*places: Path, **options: Any) -> Answered:
    return read_answered(no_account, [str(place) for place in places], **options)


def gtlabel(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gtlabel", "quality", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def crowd(root: Path) -> Path:
    """A job whose last picture is Recycle by majority; the best worker says it is Compost."""
    labels = [BINS[number % 3] for number in range(29)]
    return job(root / "bins", CROWD, [*labels, "Recycle", None], BINS)


def test_aws_method_gives_the_recorded_job_the_labels_of_aws() -> None:
    found = read(BIRDS)
    made = reconsolidate(found, "aws")
    assert made.differences == []
    # Batches of which the excerpt has all that mattered are as sure as AWS was.
    same = [
        abs(made.confidence(picture, int(index)) - found.confidence[picture]) < 0.03
        for picture, index in enumerate(found.labels)
    ]
    assert sum(same) >= 10


def test_the_command_lists_what_other_methods_make_of_the_recorded_job(tmp_path: Path) -> None:
    run = gtlabel("reconsolidate", str(BIRDS), "--method", "dawid-skene", "--output", "json")
    assert run.returncode == 0, run.stderr
    told = json.loads(run.stdout)
    assert (told["images"], told["answers"], told["workers"]) == (12, 60, 40)
    assert told["differences"]
    for each in told["differences"]:
        assert each["before"] != each["after"]
        assert sum(each["answers"].values()) == 5
        assert each["why"]
    into = tmp_path / "better.manifest"
    text = gtlabel("reconsolidate", str(BIRDS), "--into", str(into))
    assert text.returncode == 0, text.stderr
    assert "other labels  0 of 12" in text.stdout
    assert text.stdout.splitlines()[-1] == str(into)
    assert "is an excerpt" in text.stderr
    before = [json.loads(line) for line in (BIRDS / "output.manifest.excerpt").read_bytes().splitlines()]
    after = [json.loads(line) for line in into.read_bytes().splitlines()]
    meta = "birds-open-images-clone-metadata"
    for old, new in zip(before, after, strict=True):
        assert list(new) == list(old)
        assert list(new[meta]) == list(old[meta])
        assert {**new[meta], "confidence": 0, "creation-date": ""} == {
            **old[meta],
            "confidence": 0,
            "creation-date": "",
        }
        assert new[meta]["creation-date"] > old[meta]["creation-date"]
    # What saturates at 0.95 with AWS tells pictures apart again.
    assert len({new[meta]["confidence"] for new in after}) > 4


def test_a_worker_who_is_always_right_outweighs_two_who_never_look(tmp_path: Path) -> None:
    made = reconsolidate(read(crowd(tmp_path)), "dawid_skene")
    (difference,) = made.differences
    assert (difference.before, difference.after) == (("Recycle",), ("Compost",))
    assert difference.said == (("Recycle", 2), ("Compost", 1))
    right, wrong = map(int, re.findall(r"(\d+)%", difference.why))
    assert right > 90
    assert wrong < 60
    assert difference.why.startswith("fewer say so, but they are right")


def test_a_withdrawn_worker_counts_no_more_and_a_picture_left_alone_has_no_label(tmp_path: Path) -> None:
    root = crowd(tmp_path)
    found = read(root).without(["dan", "eve"])
    (difference,) = reconsolidate(found).differences
    assert (difference.after, difference.why) == (("Compost",), "1 of 1 say so, and 0 said the other")
    (gone,) = reconsolidate(found.without(["ann"])).differences
    assert (gone.after, gone.sure, gone.why) == ((), None, "no answer is left")
    records = list(relabeled(reconsolidate(found.without(["ann"])), NOW))
    assert [record.state("bin") for record in records] == ["labeled"] * 29 + ["unlabeled", "failed"]


def test_labels_can_be_written_beside_the_old_ones(tmp_path: Path) -> None:
    made = reconsolidate(read(crowd(tmp_path)), "dawid_skene")
    records = list(relabeled(made, NOW, "better"))
    last = records[29]
    assert (last.class_index("bin"), last.class_index("better")) == (2, 0)
    told = last.label("better")
    assert (told.class_name, told.job, told.by_human) == ("Compost", "bins", True)
    assert told.creation_date == NOW.replace(tzinfo=None)
    # The picture that failed stays as it was.
    assert (
        records[30].line == (tmp_path / "bins/manifests/output/output.manifest").read_text().splitlines()[30]
    )


def test_several_classes_are_written_as_aws_writes_them(tmp_path: Path) -> None:
    given = {
        n: [("ann", ["Compost"]), ("bob", ["Compost", "Recycle"]), ("cy", ["Compost"])] for n in range(6)
    }
    root = job(tmp_path / "bins", given, ["Compost"] * 6, BINS)
    made = reconsolidate(read(root, classes=BINS), "majority")
    records = list(relabeled(made, NOW))
    values = records[0].to_json()
    # Whatever somebody chose stands there; how sure that is tells what to keep.
    assert values["bin"] == [0, 2]
    meta = values["bin-metadata"]
    assert meta["class-map"] == {"0": "Compost", "2": "Recycle"}
    assert meta["confidence-map"] == {"0": 1.0, "2": 0.33}
    assert meta["type"] == "groundtruth/image-classification-multilabel"
    quality = judge(read(root, classes=BINS), gold={"s3://trash/0.jpg": ["Compost"]})
    assert quality.report.gold == 3
    assert [row.now for row in quality.classes] == [6, 0, 0]
    # Read as a job's labels, what hardly anybody chose was not given, so that nothing differs.
    (root / "manifests/output/output.manifest").write_bytes(
        b"".join(write_record(record) + b"\n" for record in records)
    )
    again = read(root)
    assert again.given.tolist() == [[True, False]] * 6
    assert again.confidence.tolist() == pytest.approx([0.67] * 6)
    assert reconsolidate(again, "majority").differences == []


def test_what_cannot_be_written_is_told_in_one_sentence(tmp_path: Path) -> None:
    made = reconsolidate(read(job(tmp_path / "bins", CROWD)))
    for key in (None, "better"):
        with pytest.raises(LabelingJobError, match="download manifests/ along with annotations/"):
            list(relabeled(made, NOW, key))
    for nowhere in ("", ".", "s3://trash", "s3://trash/better/", str(tmp_path), "better/"):
        with pytest.raises(SettingsError, match="names no file; give one, such as better.manifest"):
            commands.reconsolidate([str(tmp_path / "bins")], into=nowhere)
    waiting = tmp_path / "bins/output.manifest"
    waiting.write_text("".join(f'{{"source-ref":"s3://trash/{number}.jpg"}}\n' for number in range(30)))
    with pytest.raises(LabelingJobError, match="bins has written no label yet, .* name it with --as"):
        list(relabeled(reconsolidate(read(tmp_path / "bins")), NOW))
    unknown = job(tmp_path / "cans", {0: [("ann", "Recycle"), ("bob", "Recycle")]}, ["Compost"], BINS)
    with pytest.raises(LabelingJobError, match="name the job's class list with --classes"):
        list(relabeled(reconsolidate(read(unknown), "majority"), NOW))
    # As it is said, so it is done, with a list that somebody wrote.
    listed, into = tmp_path / "classes.txt", tmp_path / "cans.manifest"
    listed.write_text("\n".join(BINS))
    run = gtlabel("reconsolidate", str(unknown), "--classes", str(listed), "--into", str(into))
    assert run.returncode == 0, run.stderr
    assert json.loads(into.read_text())["bin"] == BINS.index("Recycle")
    with pytest.raises(ConsensusError, match="there is no method 'best'"):
        reconsolidate(made.answered, "best")


def test_a_folder_of_a_private_team_is_read_without_an_account(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    issuer = "https://cognito-idp.us-west-2.amazonaws.com/us-west-2_abc"
    for number in range(3):
        said = [
            {**answer(name, "Compost"), "workerMetadata": {"identityData": {"sub": name, "issuer": issuer}}}
            for name in ("private.us-west-2.ann", "private.us-west-2.bob")
        ]
        response(tmp_path / "bins", number, said)
    commands.report([str(tmp_path / "bins")], region="us-west-2")
    printed = capsys.readouterr()
    assert "workers go by their ids, since their user pool cannot be asked: there are no AWS" in printed.err
    assert re.search(r"^ann +3 ", printed.out, re.MULTILINE)


def test_a_crowd_of_which_nothing_can_be_learned_is_reported_on_without_a_complaint(tmp_path: Path) -> None:
    one = job(tmp_path / "one", {n: [("ann", "Compost"), ("bob", "Compost")] for n in range(3)})
    alone = job(tmp_path / "alone", {0: [("ann", "Compost")]})
    for root, agreed in ((one, "unknown (all say one class)"), (alone, "unknown: no two people answered")):
        page = root / "page.html"
        run = gtlabel("report", str(root), "--report", str(page))
        assert run.returncode == 0
        assert agreed in run.stdout
        assert run.stderr.splitlines() == [
            f"{root}/ has no output manifest, so nothing tells what was settled on",
            f"report: {page}",
        ]
        assert "nan" not in run.stdout


def test_a_report_without_gold_says_what_is_expected_and_with_gold_what_is_so(tmp_path: Path) -> None:
    found = read(crowd(tmp_path))
    truth = {f"s3://trash/{number}.jpg": [BINS[number % 3]] for number in range(29)}
    plain, known = judge(found), judge(found, gold=truth | {"s3://trash/29.jpg": ["Compost"]})
    assert plain.report.accuracy is None
    assert plain.report.reliability is None
    assert known.report.gold == 30
    rows = {row.name: row for row in known.report.methods}
    assert [row.name for row in known.report.methods][:2] == ["auto", "as written"]
    assert rows["as written"].accuracy is not None
    assert rows["as written"].accuracy.value == pytest.approx(29 / 30)
    assert rows["dawid_skene"].accuracy is not None
    assert rows["dawid_skene"].accuracy.value == 1
    assert rows["majority"].changes == 0
    # The labels are not better because the answers are judged by gold.
    assert np.array_equal(plain.report.consensus.posterior, known.report.consensus.posterior)
    people = {each["worker"]: each for each in known.to_json()["people"]}
    assert people["ann"]["on_gold"]["value"] == 1
    assert people["dan"]["on_gold"]["value"] == pytest.approx(9 / 30)
    assert {flag["kind"] for flag in people["dan"]["flags"]} & {"spammer", "copies"}
    assert not people["ann"]["flags"]
    assert people["ann"]["mixups"] == []
    worst = people["dan"]["mixups"][0]
    assert worst["class"] != worst["said"]
    assert worst["share"]["low"] < worst["share"]["value"] < worst["share"]["high"]
    assert json.loads(json.dumps(known.to_json(), allow_nan=False))["gold"] == 30


def test_a_newcomer_reports_on_a_job_and_gives_its_better_labels_on(gtlabel_aws: Aws, tmp_path: Path) -> None:
    truth = fill(gtlabel_aws, 12)
    start_labeling(gtlabel_aws, plan_labeling(gtlabel_aws, PHOTOS, **USUAL, name="bins", workers_per_image=3))
    people_answer("bins", truth, workers=4, accuracy=0.8)
    wait_for_labeling(gtlabel_aws.sagemaker, gtlabel_aws.s3, "bins", poll=0.02, timeout=120)
    gold = tmp_path / "truth.jsonl"
    gold.write_text(
        "".join(json.dumps({"source-ref": uri, "class": name}) + "\n" for uri, name in truth.items())
    )
    page = tmp_path / "quality.html"
    run = gtlabel("report", "bins", "--gold", str(gold), "--report", str(page))
    assert run.returncode == 0, run.stderr
    assert run.stderr == f"report: {page}\n"
    assert "36 of 4 workers about 12 images" in run.stdout
    assert re.search(r"right by gold +\d+\.\d% \(\d+% to \d+%\) of 12", run.stdout)
    (busiest, answers) = re.findall(r"^worker +answers.*\n(\w+) +(\d+) ", run.stdout, re.MULTILINE)[0]
    html = page.read_text()
    numbers = json.loads(re.findall(r'id="gtlabel-data">(.*?)</script>', html, re.DOTALL)[0])
    assert (numbers["gold"], numbers["answers"]) == (12, 36)
    assert html.count('<td class="mixup">') == 4
    assert "Labels that say" in html
    # The pictures in doubt are in it.
    assert html.count("data:image/webp;base64,") == 12

    into = f"s3://{BUCKET}/better.manifest"
    # A worker may be named as the report does.
    run = gtlabel("reconsolidate", "bins", "--without", busiest, "--into", into)
    assert run.returncode == 0, run.stderr
    assert f"{36 - int(answers)} of 3 workers" in run.stdout
    assert run.stdout.splitlines()[-1] == into
    written = lines(gtlabel_aws, S3Uri(into))
    assert {line["source-ref"] for line in written} == set(truth)
    for run in (gtlabel("report", "cans"), gtlabel("reconsolidate", "bins", "--without", "zoe")):
        assert run.returncode != 0
        assert len(run.stderr.splitlines()) == 1


def test_the_page_has_no_flaws_in_the_dark_and_on_a_phone(browser: Browser, tmp_path: Path) -> None:
    found = read(crowd(tmp_path))
    truth = {f"s3://trash/{number}.jpg": [BINS[number % 3]] for number in range(30)}
    quality = judge(found, method="dawid_skene", gold=truth)
    path = write_quality(page_of(quality, found.workers), tmp_path / "page.html")
    assert "fewer say so, but they are right" in unescape(path.read_text())
    context = browser.new_context(viewport=PHONE, color_scheme="dark")
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.goto(path.as_uri())
    page.set_viewport_size({"width": PHONE["width"], "height": 6000})
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert flaws(page) == []
    assert said == []
    context.close()


def test_the_lines_written_can_be_read_by_a_job(tmp_path: Path) -> None:
    for record in relabeled(reconsolidate(read(crowd(tmp_path))), NOW):
        assert json.loads(write_record(record)) == record.to_json()


@pytest.mark.parametrize(
    "command", [("report", "answers.csv"), ("more", "answers.csv"), ("suspects", "labels.manifest")]
)
def test_without_the_optional_part_its_name_is_told(command: tuple[str, ...]) -> None:
    program = (
        "import sys\nsys.modules['numpy'] = None\nfrom gtlabel.cli.main import main\n"
        f"sys.argv = ['gtlabel', 'quality', {', '.join(map(repr, command))}]\nmain()"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert run.stderr == (
        "gtlabel: this command works with numpy, and needs an optional part; "
        "install it with: pip install 'gtlabel[quality]'\n"
    )
