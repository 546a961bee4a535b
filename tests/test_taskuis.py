"""Worker pages in the API: rendered for who asks, kept as resources, looked at before a job shows them."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import urllib.request
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError
from emulator_parts import BUCKET, create_job, put_inputs
from engine_parts import KEY, Bucket, Clock

from gtlabel.emulator.api import ApiError, Context
from gtlabel.emulator.groundtruth import operations
from gtlabel.emulator.server import Address
from gtlabel.emulator.shelf import Shelf
from gtlabel.emulator.taskuis import TaskUis
from gtlabel.engine.board import Board, JobSpec
from gtlabel.engine.foreman import Foreman
from gtlabel.engine.jobs import Kind, Status
from gtlabel.engine.pages import Pages
from gtlabel.engine.store import Store
from gtlabel.templates import list_templates, read_template
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_sagemaker.type_defs import RenderUiTemplateResponseTypeDef

    from gtlabel.aws import Aws

ROLE = "arn:aws:iam::123456789012:role/gtlabel"
ARN = "arn:aws:sagemaker:us-east-1:123456789012:human-task-ui/"
PAGE = read_template("tasks/image-classification.liquid")
TASKS = Path(__file__).parent.parent / "templates" / "tasks"


def rendered(aws: Aws, content: str, task: Any) -> RenderUiTemplateResponseTypeDef:
    text = task if isinstance(task, str) else json.dumps(task)
    return aws.sagemaker.render_ui_template(
        UiTemplate={"Content": content}, Task={"Input": text}, RoleArn=ROLE
    )


def refusal(call: Any, **params: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as refused:
        call(**params)
    error = refused.value.response["Error"]
    return error["Code"], error["Message"]


# ---- RenderUiTemplate --------------------------------------------------------------------------------------


def test_a_page_is_rendered_with_an_address_that_shows_the_picture(gtlabel_aws: Aws) -> None:
    put_inputs(gtlabel_aws.s3)
    gtlabel_aws.s3.put_object(Bucket=BUCKET, Key="images/a b&c.jpg", Body=b"picture")
    task = {"taskObject": f"s3://{BUCKET}/images/a b&c.jpg", "labels": ["Paper & card", "<b>"]}
    answer = rendered(gtlabel_aws, "{{ task.input.taskObject | grant_read_access | skip_autoescape }}", task)
    assert answer["Errors"] == []
    with urllib.request.urlopen(answer["RenderedContent"]) as picture:
        assert picture.read() == b"picture"
    page = rendered(gtlabel_aws, PAGE, task)["RenderedContent"]
    assert 'categories="[&quot;Paper &amp; card&quot;,&quot;&lt;b&gt;&quot;]"' in page


@pytest.mark.parametrize(
    ("content", "task", "code", "message"),
    [
        ("\n{{ a | sparkle }}", {}, "UnknownFilter", "line 2: there is no Liquid filter 'sparkle'"),
        ("{% if a %}", {}, "ParseError", "line 1: the tag 'if' is never closed"),
        ("{% for a in (1..999999) %}a{% endfor %}", {}, "Limit", "line 1: loop iteration limit reached"),
        ("{{ 's3://-/k' | grant_read_access }}", {}, "Grant", "'s3://-/k' is not an S3 address"),
        ("a", "{a}", "Input", "Task.Input is not JSON: "),
        ("a", "[NaN]", "Input", "Task.Input is not JSON: NaN is no number there"),
        ("a", "[" * 100_000, "Input", "Task.Input is not JSON: "),
    ],
)
def test_what_is_wrong_with_a_page_is_part_of_the_answer(
    gtlabel_aws: Aws, content: str, task: Any, code: str, message: str
) -> None:
    answer = rendered(gtlabel_aws, content, task)
    assert answer["RenderedContent"] == ""
    (error,) = answer["Errors"]
    assert (error["Code"], error["Message"][: len(message)]) == (code, message)


def test_a_page_is_given_or_named_and_not_both(gtlabel_aws: Aws) -> None:
    render = gtlabel_aws.sagemaker.render_ui_template
    asked: dict[str, Any] = {"Task": {"Input": "{}"}, "RoleArn": ROLE}
    only_one = ("ValidationException", "Give exactly one of UiTemplate and HumanTaskUiArn.")
    assert refusal(render, **asked) == only_one
    assert refusal(render, **asked, UiTemplate={"Content": "a"}, HumanTaskUiArn=f"{ARN}a") == only_one
    unknown = ("ResourceNotFound", f"The human task UI '{ARN}a' does not exist.")
    assert refusal(render, **asked, HumanTaskUiArn=f"{ARN}a") == unknown
    gtlabel_aws.sagemaker.create_human_task_ui(HumanTaskUiName="a", UiTemplate={"Content": "{{ 1 }}"})
    assert render(**asked, HumanTaskUiArn=f"{ARN}a")["RenderedContent"] == "1"


# ---- human task UIs ----------------------------------------------------------------------------------------


def test_a_ui_is_kept_described_listed_tagged_and_deleted(gtlabel_aws: Aws, gtlabel_server: Address) -> None:
    sagemaker = gtlabel_aws.sagemaker
    for name in ("bins-1", "bins-2", "bins-3"):
        made = sagemaker.create_human_task_ui(
            HumanTaskUiName=name, UiTemplate={"Content": f"{PAGE}é"}, Tags=[{"Key": "a", "Value": name}]
        )
        assert made["HumanTaskUiArn"] == f"{ARN}{name}"
    taken = refusal(sagemaker.create_human_task_ui, HumanTaskUiName="bins-1", UiTemplate={"Content": "a"})
    assert taken == ("ResourceInUse", "A human task UI named 'bins-1' exists; choose another name.")

    described = sagemaker.describe_human_task_ui(HumanTaskUiName="bins-1")
    assert (described["HumanTaskUiStatus"], described["HumanTaskUiArn"]) == ("Active", f"{ARN}bins-1")
    assert described["UiTemplate"]["ContentSha256"] == hashlib.sha256(f"{PAGE}é".encode()).hexdigest()
    with urllib.request.urlopen(described["UiTemplate"]["Url"]) as kept:
        assert json.load(kept)["Content"] == f"{PAGE}é"

    first = sagemaker.list_human_task_uis(MaxResults=2)
    rest = sagemaker.list_human_task_uis(MaxResults=2, NextToken=first["NextToken"])
    listed = [*first["HumanTaskUiSummaries"], *rest["HumanTaskUiSummaries"]]
    assert [one["HumanTaskUiName"] for one in listed] == ["bins-1", "bins-2", "bins-3"]
    assert "NextToken" not in rest
    newest = sagemaker.list_human_task_uis(SortOrder="Descending")["HumanTaskUiSummaries"]
    assert [one["HumanTaskUiName"] for one in newest] == ["bins-3", "bins-2", "bins-1"]
    hour_ago = listed[0]["CreationTime"] - timedelta(hours=1)
    assert sagemaker.list_human_task_uis(CreationTimeAfter=hour_ago)["HumanTaskUiSummaries"] == listed
    assert sagemaker.list_human_task_uis(CreationTimeBefore=hour_ago)["HumanTaskUiSummaries"] == []

    arn = f"{ARN}bins-1"
    assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "a", "Value": "bins-1"}]
    sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": "b", "Value": "c"}])
    sagemaker.delete_tags(ResourceArn=arn, TagKeys=["a"])
    assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "b", "Value": "c"}]

    sagemaker.delete_human_task_ui(HumanTaskUiName="bins-1")
    gone = ("ResourceNotFound", "There is no human task UI named 'bins-1'.")
    assert refusal(sagemaker.describe_human_task_ui, HumanTaskUiName="bins-1") == gone
    assert refusal(sagemaker.delete_human_task_ui, HumanTaskUiName="bins-1") == gone
    sagemaker.create_human_task_ui(HumanTaskUiName="bins-1", UiTemplate={"Content": "a"})
    assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == []


# ---- jobs --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("page", "message"),
    [
        (
            PAGE.replace("<short-instructions>", "<crowd-line></crowd-line><short-instructions>"),
            "line 19: there is no element <crowd-line> here; nobody could answer with it.",
        ),
        (PAGE + "{% if a %}", "line 24: the tag 'if' is never closed."),
        (PAGE + "{{ a | sparkle }}", "line 24: there is no Liquid filter 'sparkle'."),
        (PAGE + "<" * 128_000, "the template has 128,876 characters; 1 to 128,000 are allowed."),
    ],
)
def test_a_job_whose_page_nobody_could_answer_is_not_created(
    gtlabel_aws: Aws, page: str, message: str
) -> None:
    put_inputs(gtlabel_aws.s3)
    gtlabel_aws.s3.put_object(Bucket=BUCKET, Key="template.liquid", Body=page.encode())
    with pytest.raises(ClientError) as refused:
        create_job(gtlabel_aws, "bins")
    error = refused.value.response["Error"]
    place = "HumanTaskConfig.UiConfig.UiTemplateS3Uri: s3://trash/template.liquid"
    assert error["Code"] == "ValidationException"
    assert error["Message"] == f"{place}, {message}"
    assert gtlabel_aws.sagemaker.list_labeling_jobs()["LabelingJobSummaryList"] == []
    gtlabel_aws.s3.put_object(Bucket=BUCKET, Key="template.liquid", Body=PAGE.encode())
    create_job(gtlabel_aws, "bins")


class Desk:
    """An engine whose pages are looked at, with S3 in memory."""

    def __init__(self, page: str | None) -> None:
        self.bucket = Bucket()
        self.clock = Clock()
        self.board = Board(Store(), clock=self.clock)
        uis = TaskUis(Shelf(), lambda _: self.bucket.client, self.clock)
        self.foreman = Foreman(self.board, lambda _: self.bucket.client, inspect=uis.inspect)
        self.operations = operations(self.board, Shelf(), None, uis)
        self.bucket.files["in.manifest"] = b'{"source-ref":"s3://trash/1.jpg"}\n'
        if page is not None:
            self.bucket.files["page.liquid"] = page.encode()

    def create(self) -> None:
        human = {
            "WorkteamArn": "arn:aws:sagemaker:us-east-1:123456789012:workteam/private-crowd/gtlabel",
            "UiConfig": {"UiTemplateS3Uri": "s3://trash/page.liquid"},
            "TaskTitle": "Which bin?",
            "TaskDescription": "Choose a bin.",
            "NumberOfHumanWorkersPerDataObject": 1,
            "TaskTimeLimitInSeconds": 300,
        }
        request = {
            "LabelingJobName": KEY.name,
            "LabelAttributeName": "bin",
            "InputConfig": {"DataSource": {"S3DataSource": {"ManifestS3Uri": "s3://trash/in.manifest"}}},
            "OutputConfig": {"S3OutputPath": "s3://trash/out/"},
            "RoleArn": ROLE,
            "HumanTaskConfig": human,
        }
        self.operations["CreateLabelingJob"](Context(KEY.account, KEY.region), request)

    def turn(self) -> None:
        while self.foreman.turn():
            pass


GOOD = '<crowd-form><crowd-input name="a"></crowd-input></crowd-form>'
BAD = "<crowd-form>\n<crowd-polyline></crowd-polyline></crowd-form>"


def test_a_page_that_is_exchanged_before_the_job_begins_is_looked_at_too() -> None:
    desk = Desk(GOOD)
    desk.create()
    desk.bucket.files["page.liquid"] = BAD.encode()
    desk.turn()
    job = desk.board.job(KEY)
    assert job.status is Status.FAILED
    assert job.reason == (
        "ClientError: s3://trash/page.liquid, line 2: there is no element <crowd-polyline> here; "
        "nobody could answer with it"
    )
    assert Pages(desk.board.store).of(job) is None


def test_workers_get_the_page_that_the_job_began_with() -> None:
    desk = Desk(GOOD)
    desk.create()
    assert Pages(desk.board.store).of(desk.board.job(KEY)) is None
    desk.turn()
    desk.bucket.files["page.liquid"] = BAD.encode()
    desk.turn()
    assert Pages(desk.board.store).of(desk.board.job(KEY)) == GOOD
    assert desk.board.lease(KEY, "ann") is not None


def test_a_page_that_cannot_be_read_fails_the_job_later_as_on_aws() -> None:
    desk = Desk(None)
    desk.create()
    desk.turn()
    job = desk.board.job(KEY)
    assert (job.status, job.reason) == (
        Status.FAILED,
        "ClientError: there is nothing at s3://trash/page.liquid",
    )


def test_a_bomb_is_no_page_for_a_job() -> None:
    desk = Desk("<crowd-form>" + "{{" * 60_000)
    with pytest.raises(ApiError, match="the template was stopped after 2 s"):
        desk.create()


def test_a_page_of_a_streaming_or_custom_job_need_not_hold_a_classifier() -> None:
    uis = TaskUis(Shelf())
    spec = JobSpec(
        key=KEY,
        attribute="bin",
        manifest=None,
        class_list=None,
        output=S3Uri("s3://trash/out/"),
        kind=Kind.CUSTOM,
        template=S3Uri("s3://trash/page.liquid"),
    )
    uis.check(Context(), spec)  # without an S3 there is nothing to look at


# ---- the command line --------------------------------------------------------------------------------------


def command(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gtlabel", "template", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=120,
    )


def test_a_page_is_looked_at_from_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "page.liquid").write_text(BAD.replace("polyline", "inptu") + "{{ task.input.lable }}")
    (tmp_path / "in.manifest").write_text('{"source-ref":"s3://trash/1.jpg"}\n{"source":"é"}\n')
    run = command("lint", "page.liquid", "--manifest", "in.manifest", cwd=tmp_path)
    assert (run.returncode, run.stderr) == (1, "")
    assert run.stdout.splitlines() == [
        "page.liquid, line 2: there is no element <crowd-inptu> here; nobody could answer with it "
        "(error: element)",
        "page.liquid, line 2: task.input.lable is empty: task.input has no 'lable', only 'taskObject', "
        "'labels', 'manifestLine', 'source-ref' (warning: variable)",
    ]
    (tmp_path / "page.liquid").write_text("<crowd-form>{{ task.input.source }}\u200b</crowd-form>")
    told = command(
        "lint", "page.liquid", "--manifest", "in.manifest", "--line", "2", "--output", "json", cwd=tmp_path
    )
    assert told.returncode == 0
    assert [one["code"] for one in json.loads(told.stdout)] == ["invisible"]


def test_a_page_is_rendered_from_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "in.manifest").write_text('{"source-ref":"s3://trash/a+b.jpg"}\n')
    page = str(TASKS / "image-classification.liquid")
    run = command("render", page, "--manifest", "in.manifest", "--classes", "Paper & card,Rest", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert 'src="https://s3.amazonaws.com/trash/a%2Bb.jpg"' in run.stdout
    assert 'categories="[&quot;Paper &amp; card&quot;,&quot;Rest&quot;]"' in run.stdout
    (tmp_path / "page.liquid").write_text("{{ task.input.a | upcase }}\n{{ b | sparkle }}")
    wrong = command("render", "page.liquid", "--input", '{"a": "x"}', cwd=tmp_path)
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert wrong.stderr == "page.liquid, line 2: there is no Liquid filter 'sparkle'\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--input", "{a}"), "it is not JSON"),
        (("--input", "{}", "--manifest", "in.manifest"), "and not both"),
        (("--manifest", "in.manifest", "--line", "2"), "is no JSON object"),
    ],
)
def test_a_task_that_is_none_is_refused(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    (tmp_path / "page.liquid").write_text("a")
    (tmp_path / "in.manifest").write_text("{}\n[]\n")
    run = command("render", "page.liquid", *arguments, cwd=tmp_path)
    assert run.returncode == 2
    assert said in " ".join(run.stderr.replace("│", " ").split())


def test_shipped_files_are_still_shown_by_their_names() -> None:
    assert command("tasks/image-classification.liquid").stdout == PAGE
    listed = json.loads(command("--output", "json").stdout)
    assert [one["name"] for one in listed] == [one.name for one in list_templates()]
    assert "gtlabel template`" in command("nothing").stderr
