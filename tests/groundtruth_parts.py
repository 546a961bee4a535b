"""What the tests of Ground Truth share: an account whose Ground Truth is the engine, and its requests."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine_parts import CLASSES, Bucket, Clock

from gtlabel.awsmodel import check_request, check_result
from gtlabel.emulator.api import Context
from gtlabel.emulator.groundtruth import operations
from gtlabel.emulator.shelf import Shelf
from gtlabel.engine.board import Board, JobKey
from gtlabel.engine.foreman import Foreman
from gtlabel.engine.store import Store
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
