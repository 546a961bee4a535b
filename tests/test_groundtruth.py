"""Ground Truth's operations, the workers' API, simulated workers, and the tree a job leaves."""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import moto
import pytest
from engine_parts import CLASSES, Bucket, Clock
from sqlalchemy import func, select

from gtlabel.awsmodel import check_request, check_result
from gtlabel.emulator.api import ApiError, Context
from gtlabel.emulator.groundtruth import TAGGED_RESOURCES, operations, owns
from gtlabel.emulator.jobspec import job_spec
from gtlabel.emulator.protocol import PassOn
from gtlabel.emulator.shelf import Shelf
from gtlabel.emulator.simulate import answer, read_truth
from gtlabel.engine.board import Board, JobKey
from gtlabel.engine.foreman import Foreman
from gtlabel.engine.schema import surplus
from gtlabel.engine.store import Store
from gtlabel.errors import EmulatorError, EmulatorNotReadyError, ManifestError, ManifestLineError
from gtlabel.portal import workers
from gtlabel.templates import read_template

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

RECORDED = Path(__file__).parent / "recorded" / "ground-truth-job"
TEAM = "arn:aws:sagemaker:us-east-1:123456789012:workteam/private-crowd/gtlabel"
PUBLIC_TEAM = "arn:aws:sagemaker:us-east-1:394669845002:workteam/public-crowd/default"
TOPIC = "arn:aws:sns:us-east-1:123456789012:images"
JOB_ARN = "arn:aws:sagemaker:us-east-1:123456789012:labeling-job/bins-1"
FUNCTION = "arn:aws:lambda:us-east-1:432418664414:function:{}-ImageMultiClass"
TRUTH = {f"s3://trash/images/{number}.jpg": CLASSES[number % 3] for number in range(24)}


class Account:
    """An account whose Ground Truth is the engine.

    Args:
        s3: a client of the S3 to use instead of a bucket in memory.
    """

    def __init__(self, s3: S3Client | None = None) -> None:
        self.bucket = Bucket()
        self.clock = Clock()
        self.board = Board(Store(), clock=self.clock)
        self.s3 = s3 or self.bucket.client
        self.foreman = Foreman(self.board, lambda _: self.s3)
        self._operations = operations(self.board, Shelf())
        self.put("in.manifest", "".join(f'{{"source-ref":"{image}"}}\n' for image in TRUTH))
        self.put("classes.json", json.dumps({"labels": [{"label": name} for name in CLASSES]}))
        self.put("template.liquid", read_template("tasks/image-classification.liquid"))

    def put(self, key: str, body: str) -> None:
        self.s3.put_object(Bucket="trash", Key=key, Body=body.encode())

    def tree(self, name: str = "Bins-1") -> dict[str, bytes]:
        """What a job wrote, by names below its folder."""
        root = f"out/{name}/"
        files = self.bucket.files.items()
        return {key.removeprefix(root): body for key, body in files if key.startswith(root)}

    def call(self, operation: str, region: str = "us-east-1", **params: Any) -> dict[str, Any]:
        """What boto3 would get, if both sides keep to the service model."""
        assert check_request("sagemaker", operation, params) == []
        result = self._operations[operation](Context(region=region), params)
        assert check_result("sagemaker", operation, result) == []
        return result

    def create(self, name: str = "Bins-1", **changes: Any) -> str:
        arn: str = self.call("CreateLabelingJob", **request(name, **changes))["LabelingJobArn"]
        return arn

    def describe(self, name: str = "Bins-1") -> dict[str, Any]:
        return self.call("DescribeLabelingJob", LabelingJobName=name)

    def turn(self) -> None:
        while self.foreman.turn():
            pass

    @contextmanager
    def served(self, hurry: float = 0) -> Iterator[str]:
        """The workers' API on a port, with the foreman at work and the clock going `hurry` a turn."""
        board, over = self.board, threading.Event()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status, said = workers.handle(board, self.path.removeprefix("/gtlabel/worker/"), body)
                content = json.dumps(said).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                pass

        def move_on() -> None:
            while not over.is_set():
                board.news.wait(0.05)
                board.news.clear()
                self.clock.pass_seconds(hurry)
                self.turn()

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            threads = [
                threading.Thread(target=server.serve_forever, args=(0.02,)),
                threading.Thread(target=move_on),
            ]
            for thread in threads:
                thread.start()
            try:
                yield f"http://127.0.0.1:{server.server_port}"
            finally:
                over.set()
                server.shutdown()
                for thread in threads:
                    thread.join()


def request(name: str = "Bins-1", human: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """A request for a job; `human` changes its HumanTaskConfig, and None takes a member out."""
    task = {
        "WorkteamArn": TEAM,
        "UiConfig": {"UiTemplateS3Uri": "s3://trash/template.liquid"},
        "PreHumanTaskLambdaArn": FUNCTION.format("PRE"),
        "TaskTitle": "Which bin?",
        "TaskDescription": "Choose a bin.",
        "NumberOfHumanWorkersPerDataObject": 3,
        "TaskTimeLimitInSeconds": 300,
        "AnnotationConsolidationConfig": {"AnnotationConsolidationLambdaArn": FUNCTION.format("ACS")},
        **(human or {}),
    }
    params = {
        "LabelingJobName": name,
        "LabelAttributeName": "bin",
        "InputConfig": {"DataSource": {"S3DataSource": {"ManifestS3Uri": "s3://trash/in.manifest"}}},
        "OutputConfig": {"S3OutputPath": "s3://trash/out/"},
        "RoleArn": "arn:aws:iam::123456789012:role/gtlabel",
        "LabelCategoryConfigS3Uri": "s3://trash/classes.json",
        "HumanTaskConfig": {name: value for name, value in task.items() if value is not None},
        **changes,
    }
    return {name: value for name, value in params.items() if value is not None}


@pytest.fixture
def account() -> Account:
    return Account()


@pytest.fixture
def finished(account: Account) -> Account:
    """An account with one job that is completed."""
    return finish(account)


def finish(account: Account) -> Account:
    """Have three good workers finish a job."""
    account.create()
    while account.describe()["LabelingJobStatus"] != "Completed":
        account.turn()
        for worker in ("ann", "bob", "eve"):
            while task := account.board.lease(JobKey("123456789012", "us-east-1", "Bins-1"), worker):
                account.clock.pass_seconds(1.5)
                label = TRUTH[task.source_ref]
                account.board.submit(task.lease, {"crowd-image-classifier": {"label": label}}, 1.25)
    return account


# ---- the tree ----------------------------------------------------------------------------------------------


def test_an_output_line_has_the_keys_order_types_and_formats_of_the_recorded_ones(finished: Account) -> None:
    ours = finished.tree()["manifests/output/output.manifest"].splitlines()
    theirs = (RECORDED / "output.manifest.excerpt").read_bytes().splitlines()
    assert len(ours) == len(TRUTH)
    for our, their in zip(ours, theirs * 2, strict=True):
        our_shape, their_shape = _shape(our, "bin"), _shape(their, "birds-open-images-clone")
        assert our_shape == their_shape
        assert our == json.dumps(json.loads(our), separators=(",", ":")).encode()
    for line, (image, name) in zip(map(json.loads, ours), TRUTH.items(), strict=True):
        about = line["bin-metadata"]
        assert (line["source-ref"], line["bin"], about["class-name"]) == (image, CLASSES.index(name), name)
        assert about["job-name"] == "labeling-job/bins-1"


def _shape(line: bytes, attribute: str) -> list[tuple[str, Any]]:
    """A line with everything replaced that may differ between jobs."""
    record = json.loads(line)
    about = record.pop(f"{attribute}-metadata")
    text = json.loads(line, object_pairs_hook=list)
    assert [name for name, _ in text] == ["source-ref", attribute, f"{attribute}-metadata"]
    shape: list[tuple[str, Any]] = [("label", type(record[attribute]))]
    for name, value in about.items():
        pattern = re.sub(r"\d", "0", value) if name == "creation-date" else type(value)
        fixed = name in ("human-annotated", "type")
        shape.append((name, value if fixed else pattern))
    assert about["job-name"].startswith("labeling-job/")
    return shape


def test_a_worker_response_has_the_recorded_form_and_what_aws_added_since(finished: Account) -> None:
    (recorded,) = RECORDED.glob("worker-response/*/0/*.json")
    theirs = json.loads(recorded.read_bytes())
    name = next(name for name in finished.tree() if "worker-response" in name)
    body = finished.tree()[name]
    ours = json.loads(body)
    assert re.fullmatch(
        r"annotations/worker-response/iteration-1/\d+/\d{4}-\d\d-\d\d_\d\d:\d\d:\d\d\.json", name
    )
    # The recorded file lies at the same place, its colons replaced in this repository.
    assert re.fullmatch(r"iteration-\d/0/[\d-]{10}_[\d-]{8}\.json", "/".join(recorded.parts[-3:]))
    assert body == json.dumps(ours, separators=(",", ":")).encode()
    assert list(ours) == list(theirs) == ["answers"]
    added = {"acceptanceTime", "timeSpentInSeconds", "workerMetadata"}
    for our in ours["answers"]:
        assert set(our) - added == set(theirs["answers"][0])
        assert list(our) == sorted(our)
        assert list(our["answerContent"]["crowd-image-classifier"]) == ["label"]
        assert re.fullmatch(r"private\.us-east-1\.[0-9a-f]{16}", our["workerId"])
        for time in (our["acceptanceTime"], our["submissionTime"]):
            assert re.fullmatch(r"2026-11-22T\d\d:\d\d:\d\d\.\d{3}Z", time)
        identity = our["workerMetadata"]["identityData"]
        assert list(identity) == ["identityProviderType", "issuer", "sub"]
    assert len({our["workerId"] for our in ours["answers"]}) == 3
    submitted = [our["submissionTime"] for our in ours["answers"]]
    assert submitted == sorted(submitted)


def test_consolidation_files_hold_what_the_function_gets_and_gives(finished: Account) -> None:
    (asked, given) = (
        [name for name in finished.tree() if f"consolidation-{part}/iteration-2/" in name]
        for part in ("request", "response")
    )
    assert [name.replace("request", "response") for name in asked] == given
    requests = json.loads(finished.tree()[asked[0]])
    responses = json.loads(finished.tree()[given[0]])
    lines = finished.tree()["manifests/output/output.manifest"].splitlines()
    for request_, response in zip(requests, responses, strict=True):
        assert list(request_) == ["datasetObjectId", "dataObject", "annotations"]
        number = int(request_["datasetObjectId"])
        record = json.loads(lines[number])
        assert request_["dataObject"] == {"s3Uri": record.pop("source-ref")}
        for annotation in request_["annotations"]:
            assert list(annotation) == ["workerId", "annotationData"]
            content = json.loads(annotation["annotationData"]["content"])
            assert content["crowd-image-classifier"]["label"] in CLASSES
        assert response == {
            "datasetObjectId": str(number),
            "consolidatedAnnotation": {"content": record},
        }


def test_the_tree_holds_every_image_in_the_iteration_it_was_sent_in(finished: Account) -> None:
    sent = {}
    for iteration in (1, 2):
        body = finished.tree()[f"annotations/intermediate/{iteration}/annotations.json"]
        for line in map(json.loads, body.splitlines()):
            sent[line["datasetObjectId"]] = iteration
            assert json.loads(line["manifestLine"]) == {
                "source-ref": f"s3://trash/images/{line['datasetObjectId']}.jpg"
            }
    assert Counter(sent.values()) == {1: 10, 2: 14}
    answered = [name.split("/") for name in finished.tree() if "worker-response" in name]
    assert {parts[3]: int(parts[2][-1]) for parts in answered} == sent
    rest = [name for name in finished.tree() if "worker-response" not in name and "consolidat" not in name]
    assert sorted(rest) == [
        "annotations/intermediate/1/annotations.json",
        "annotations/intermediate/2/annotations.json",
        "manifests/intermediate/1/output.manifest",
        "manifests/output/output.manifest",
    ]


def test_the_same_tree_lies_in_a_bucket_of_moto(finished: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "gtlabel")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "gtlabel")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with moto.mock_aws():
        s3 = boto3.client("s3", region_name="us-east-1")
        s3.create_bucket(Bucket="trash")
        finish(Account(s3))
        listed = s3.list_objects_v2(Bucket="trash", Prefix="out/Bins-1/")["Contents"]
        stored = {
            item["Key"].removeprefix("out/Bins-1/"): s3.get_object(Bucket="trash", Key=item["Key"])[
                "Body"
            ].read()
            for item in listed
        }
    assert stored == finished.tree()


# ---- labeling jobs -----------------------------------------------------------------------------------------


def test_a_job_is_described_as_it_was_asked_for_with_defaults_filled_in(account: Account) -> None:
    assert account.create(Tags=[{"Key": "team", "Value": "bins"}]) == JOB_ARN
    job = account.describe()
    assert job["LabelingJobStatus"] == "Initializing"
    assert set(job["LabelCounters"].values()) == {0}
    assert job["LabelingJobArn"] == JOB_ARN
    assert re.fullmatch(r"123456789012[0-9A-Za-z]{16}", job["JobReferenceCode"])
    asked = request(Tags=[{"Key": "team", "Value": "bins"}])
    defaults = {"TaskAvailabilityLifetimeInSeconds": 2_592_000, "MaxConcurrentTaskCount": 1000}
    assert job["HumanTaskConfig"] == {**asked.pop("HumanTaskConfig"), **defaults}
    assert job["OutputConfig"] == {**asked.pop("OutputConfig"), "KmsKeyId": ""}
    assert job["StoppingConditions"] == {"MaxPercentageOfInputDatasetLabeled": 100}
    assert {name: job[name] for name in asked} == asked
    assert "FailureReason" not in job
    assert "LabelingJobOutput" not in job


def test_counters_move_and_add_up(account: Account) -> None:
    account.create(human={"NumberOfHumanWorkersPerDataObject": 1})
    account.turn()
    for worker in ("ann", "ann", "bob"):
        _, task = workers.handle(account.board, "lease", {"job": "Bins-1", "worker": worker})
        if worker == "ann":
            said = {"crowd-image-classifier": {"label": "Compost"}}
            workers.handle(account.board, "submit", {"lease": task["lease"], "answer": said})
        else:
            workers.handle(account.board, "decline", {"lease": task["lease"]})
    assert account.describe()["LabelingJobStatus"] == "InProgress"
    assert account.describe()["LabelCounters"] == {
        "TotalLabeled": 2,
        "HumanLabeled": 2,
        "MachineLabeled": 0,
        "FailedNonRetryableError": 1,
        "Unlabeled": 21,
    }


def test_a_completed_job_says_where_its_labels_are(finished: Account) -> None:
    job = finished.describe()
    assert job["LabelingJobStatus"] == "Completed"
    uri = "s3://trash/out/Bins-1/manifests/output/output.manifest"
    assert job["LabelingJobOutput"] == {"OutputDatasetS3Uri": uri}


def test_a_job_that_cannot_start_says_why(account: Account) -> None:
    account.put("in.manifest", '{"source-ref":"s3://trash/1.jpg"}\nhello\n')
    account.create()
    account.turn()
    job = account.describe()
    assert job["LabelingJobStatus"] == "Failed"
    assert job["FailureReason"].startswith("ClientError: s3://trash/in.manifest, line 2: it is not JSON")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"LabelAttributeName": "source-ref"}, "LabelAttributeName: 'source-ref' is reserved."),
        ({"LabelAttributeName": "bin-metadata"}, "must not end in '-metadata'."),
        ({"LabelAttributeName": "bin-ref"}, "must not end in '-ref'."),
        ({"LabelCategoryConfigS3Uri": None}, "image classification needs its classes."),
        ({"OutputConfig": {"S3OutputPath": "https://trash/out"}}, "OutputConfig.S3OutputPath: 'https://"),
        ({"human": {"WorkteamArn": TEAM + "s"}}, f"The specified Workteam '{TEAM}s' does not exist or"),
        ({"human": {"WorkteamArn": TEAM.replace("us-east-1", "eu-west-1")}}, "the team is in eu-west-1"),
        (
            {"human": {"WorkteamArn": PUBLIC_TEAM}},
            "the public workforce closed with Mechanical Turk on 2026-09-30",
        ),
        ({"human": {"TaskTimeLimitInSeconds": 28_801}}, "at most 28800 seconds"),
        ({"human": {"TaskAvailabilityLifetimeInSeconds": 2_592_001}}, "at most 2592000 seconds"),
        ({"human": {"PreHumanTaskLambdaArn": None}}, "a built-in task needs both of its functions"),
        (
            {"human": {"PreHumanTaskLambdaArn": FUNCTION.format("PRE") + "MultiLabel"}},
            "the PRE and the ACS function are of different task types.",
        ),
        (
            {"human": {"PreHumanTaskLambdaArn": FUNCTION.format("PRE").replace("us-east-1", "us-east-2")}},
            "is not the function of us-east-1, which account 432418664414 owns.",
        ),
        ({"human": {"UiConfig": {}}}, "image classification needs UiTemplateS3Uri and nothing else."),
        ({"InputConfig": {"DataSource": {}}}, "one of S3DataSource and SnsDataSource is needed."),
        (
            {"InputConfig": {"DataSource": {"SnsDataSource": {"SnsTopicArn": f"{TOPIC}.fifo"}}}},
            "must be a standard topic in us-east-1.",
        ),
        ({"Tags": [{"Key": "a", "Value": "1"}, {"Key": "a", "Value": "2"}]}, "The tag key 'a' is given more"),
    ],
)  # fmt: skip
def test_what_the_model_lets_pass_and_the_service_would_not_is_refused(
    account: Account, changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ApiError, match=re.escape(sentence)) as refused:
        account.create(**changes)
    assert refused.value.code == "ValidationException"
    assert account.call("ListLabelingJobs")["LabelingJobSummaryList"] == []


def test_a_job_name_is_never_free_again_in_any_letter_case(finished: Account) -> None:
    with pytest.raises(ApiError, match="'BINS-1' exists") as refused:
        finished.create("BINS-1")
    assert refused.value.code == "ResourceInUse"


@pytest.mark.parametrize("operation", ["DescribeLabelingJob", "StopLabelingJob"])
def test_a_job_that_does_not_exist_is_not_found(account: Account, operation: str) -> None:
    account.create()
    with pytest.raises(ApiError, match="no labeling job named 'Other' in us-east-1") as refused:
        account.call(operation, LabelingJobName="Other")
    assert refused.value.code == "ResourceNotFound"
    with pytest.raises(ApiError, match="in eu-west-1"):
        account.call(operation, "eu-west-1", LabelingJobName="Bins-1")


def test_a_job_stops_for_good(account: Account) -> None:
    account.create()
    account.turn()
    account.call("StopLabelingJob", LabelingJobName="Bins-1")
    assert account.describe()["LabelingJobStatus"] == "Stopping"
    account.turn()
    assert account.describe()["LabelingJobStatus"] == "Stopped"
    assert account.call("StopLabelingJob", LabelingJobName="Bins-1") == {}


def test_a_completed_job_cannot_be_stopped(finished: Account) -> None:
    with pytest.raises(ApiError, match="'Bins-1' is Completed and cannot be stopped any more"):
        finished.call("StopLabelingJob", LabelingJobName="Bins-1")


@pytest.fixture
def five(account: Account) -> Account:
    """An account with five jobs, a minute apart; the third is stopped."""
    for name in ("delta", "Alpha", "echo-1", "bravo", "charlie"):
        account.create(name)
        account.clock.pass_seconds(60)
    account.call("StopLabelingJob", LabelingJobName="echo-1")
    return account


def test_jobs_are_listed_by_creation_name_or_status(five: Account) -> None:
    assert _names(five) == ["delta", "Alpha", "echo-1", "bravo", "charlie"]
    assert _names(five, SortOrder="Descending") == ["charlie", "bravo", "echo-1", "Alpha", "delta"]
    assert _names(five, SortBy="Name") == ["Alpha", "bravo", "charlie", "delta", "echo-1"]
    assert _names(five, SortBy="Status", SortOrder="Descending")[0] == "echo-1"


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        (lambda _: {"NameContains": "a"}, {"delta", "Alpha", "bravo", "charlie"}),
        (lambda _: {"StatusEquals": "Stopping"}, {"echo-1"}),
        (lambda start: {"CreationTimeAfter": start + timedelta(minutes=3)}, {"bravo", "charlie"}),
        (lambda start: {"CreationTimeBefore": start + timedelta(minutes=1)}, {"delta", "Alpha"}),
        (lambda start: {"LastModifiedTimeAfter": start + timedelta(minutes=5)}, {"echo-1"}),
        (lambda start: {"LastModifiedTimeBefore": start}, {"delta"}),
    ],
)
def test_filters_leave_the_jobs_they_name(
    five: Account, filters: Callable[[Any], dict[str, Any]], names: set[str]
) -> None:
    start = five.describe("delta")["CreationTime"]
    assert set(_names(five, **filters(start))) == names


@pytest.mark.parametrize("order", ["Ascending", "Descending"])
@pytest.mark.parametrize("by", ["Name", "CreationTime", "Status"])
def test_pages_show_every_job_once_in_the_same_order(five: Account, by: str, order: str) -> None:
    params: dict[str, Any] = {"SortBy": by, "SortOrder": order}
    token: dict[str, Any] = {}
    seen = []
    for _ in range(3):
        page = five.call("ListLabelingJobs", MaxResults=2, **params, **token)
        seen += [job["LabelingJobName"] for job in page["LabelingJobSummaryList"]]
        token = {"NextToken": page.get("NextToken", "")}
    assert token == {"NextToken": ""}
    assert seen == _names(five, **params)


@pytest.mark.parametrize("token", ["hello", "e30=", "W10="])
def test_a_token_that_no_list_gave_out_is_refused(five: Account, token: str) -> None:
    with pytest.raises(ApiError, match="NextToken was not given out by this list"):
        five.call("ListLabelingJobs", NextToken=token)
    made_for_names = five.call("ListLabelingJobs", SortBy="Name", MaxResults=1)["NextToken"]
    with pytest.raises(ApiError, match="NextToken was not given out by this list"):
        five.call("ListLabelingJobs", NextToken=made_for_names)


def test_a_team_sees_its_jobs(finished: Account) -> None:
    (job,) = finished.call("ListLabelingJobsForWorkteam", WorkteamArn=TEAM)["LabelingJobSummaryList"]
    assert job["LabelCounters"] == {"HumanLabeled": 24, "PendingHuman": 0, "Total": 24}
    assert job["JobReferenceCode"] == finished.describe()["JobReferenceCode"]
    assert job["NumberOfHumanWorkersPerDataObject"] == 3
    with pytest.raises(ApiError) as refused:
        finished.call("ListLabelingJobsForWorkteam", WorkteamArn=TEAM + "s")
    assert refused.value.code == "ResourceNotFound"


def _names(account: Account, **params: Any) -> list[str]:
    jobs = account.call("ListLabelingJobs", **params)["LabelingJobSummaryList"]
    return [job["LabelingJobName"] for job in jobs]


# ---- teams, workforces, tags -------------------------------------------------------------------------------

MEMBER = {"UserPool": "us-east-1_gtlabel01", "UserGroup": "sorters", "ClientId": "gtlabel"}
TEAM_REQUEST: dict[str, Any] = {
    "WorkteamName": "sorters",
    "Description": "People who sort",
    "MemberDefinitions": [{"CognitoMemberDefinition": MEMBER}],
}


def test_every_region_starts_with_a_workforce_and_a_team(account: Account) -> None:
    for region in ("us-east-1", "eu-west-1"):
        workforce = account.call("DescribeWorkforce", region, WorkforceName="default")["Workforce"]
        team = account.call("DescribeWorkteam", region, WorkteamName="gtlabel")["Workteam"]
        assert workforce["Status"] == "Active"
        assert team["WorkteamArn"] == TEAM.replace("us-east-1", region)
        assert team["WorkforceArn"] == workforce["WorkforceArn"]


def test_a_team_is_made_changed_and_deleted(account: Account) -> None:
    arn = account.call("CreateWorkteam", **TEAM_REQUEST)["WorkteamArn"]
    assert arn == TEAM.replace("gtlabel", "sorters")
    account.clock.pass_seconds(60)
    account.call("UpdateWorkteam", WorkteamName="sorters", Description="Sorters")
    team = account.call("DescribeWorkteam", WorkteamName="sorters")["Workteam"]
    assert team["Description"] == "Sorters"
    assert team["MemberDefinitions"] == TEAM_REQUEST["MemberDefinitions"]
    assert team["LastUpdatedDate"] - team["CreateDate"] == timedelta(seconds=60)
    names = [team["WorkteamName"] for team in account.call("ListWorkteams", SortBy="Name")["Workteams"]]
    assert names == ["gtlabel", "sorters"]
    with pytest.raises(ApiError, match="'sorters' exists") as refused:
        account.call("CreateWorkteam", **TEAM_REQUEST)
    assert refused.value.code == "ResourceInUse"
    assert account.call("DeleteWorkteam", WorkteamName="sorters") == {"Success": True}
    with pytest.raises(ApiError, match="^The work team"):
        account.call("DescribeWorkteam", WorkteamName="sorters")


def test_a_deleted_team_stays_away_and_can_be_given_no_job(account: Account) -> None:
    account.call("DeleteWorkteam", WorkteamName="gtlabel")
    assert account.call("ListWorkteams")["Workteams"] == []
    with pytest.raises(ApiError, match="does not exist or you do not have access to it"):
        account.create()


def test_a_team_has_members_of_one_kind(account: Account) -> None:
    mixed = [{"CognitoMemberDefinition": MEMBER}, {"OidcMemberDefinition": {"Groups": ["sorters"]}}]
    pools = [{"CognitoMemberDefinition": MEMBER}, {"CognitoMemberDefinition": {**MEMBER, "ClientId": "x"}}]
    for members in (mixed, pools):
        with pytest.raises(ApiError, match="Cognito"):
            account.call("CreateWorkteam", **{**TEAM_REQUEST, "MemberDefinitions": members})


def test_an_account_has_one_workforce_per_region(account: Account) -> None:
    asked: dict[str, Any] = {
        "WorkforceName": "other",
        "CognitoConfig": {"UserPool": "us-east-1_x", "ClientId": "x"},
    }
    with pytest.raises(ApiError, match="^Cannot create more than one workforce for account 123456789012"):
        account.call("CreateWorkforce", **asked)
    with pytest.raises(ApiError, match="delete them first") as refused:
        account.call("DeleteWorkforce", WorkforceName="default")
    assert refused.value.code == "ResourceInUse"
    account.call("DeleteWorkteam", WorkteamName="gtlabel")
    account.call("DeleteWorkforce", WorkforceName="default")
    account.call("CreateWorkforce", **asked)
    names = [force["WorkforceName"] for force in account.call("ListWorkforces")["Workforces"]]
    assert names == ["other"]
    with pytest.raises(ApiError, match="^No workforce"):
        account.call("DescribeWorkforce", WorkforceName="default")


@pytest.mark.parametrize("arn", [JOB_ARN, TEAM])
def test_tags_are_added_replaced_and_deleted(account: Account, arn: str) -> None:
    account.create()
    for tags in ([("a", "1"), ("b", "2")], [("a", "3")]):
        pairs = [{"Key": key, "Value": value} for key, value in tags]
        account.call("AddTags", ResourceArn=arn, Tags=pairs)
    account.call("DeleteTags", ResourceArn=arn, TagKeys=["b", "c"])
    tags = account.call("ListTags", ResourceArn=arn)["Tags"]
    assert tags == [{"Key": "a", "Value": "3"}]
    assert account.describe()["Tags"] == (tags if arn == JOB_ARN else [])


def test_tags_of_other_resources_are_left_to_others(account: Account) -> None:
    model = JOB_ARN.replace("labeling-job", "model")
    assert not owns(model)
    with pytest.raises(PassOn):
        account.call("ListTags", ResourceArn=model)
    assert owns(JOB_ARN)
    with pytest.raises(ApiError, match="does not exist"):
        account.call("ListTags", ResourceArn=JOB_ARN)
    assert "workforce" in TAGGED_RESOURCES
    with pytest.raises(ApiError, match="^Invalid resource type: workforce$"):
        account.call("ListTags", ResourceArn=JOB_ARN.replace("labeling-job", "workforce"))


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
    assert summary.answers == 400
    assert account.describe()["LabelCounters"]["FailedNonRetryableError"] == 0


def test_simulated_workers_go_home_when_the_job_is_stopped(account: Account) -> None:
    account.create()

    def stop_at(answers: int) -> None:
        if answers == 20:
            account.call("StopLabelingJob", LabelingJobName="Bins-1")

    with account.served() as url:
        summary = answer(url, "Bins-1", 5, 0.9, TRUTH, on_progress=stop_at)
    assert summary.answers >= 20
    with account.board.store.read() as connection:
        late = connection.execute(select(func.count()).select_from(surplus)).scalar_one()
    # Who was at it when the job was stopped may still say what they think; it is kept, and counts nowhere.
    assert len(_answers(account)) + late == summary.answers
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
