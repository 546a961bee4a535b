"""A job for people in a browser: pictures in an emulator's S3, and a server of one's own beside it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from emulator_parts import run
from programs import free_port
from serve_parts import Server, environ, serving, wait_until

from gtlabel.emulator.child import running

ROOT = Path(__file__).parent.parent
CLASSES = ("Compost", "Landfill", "Recycle")
TEAM = "arn:aws:sagemaker:us-east-1:123456789012:workteam/private-crowd/gtlabel"
ROLE = "arn:aws:iam::123456789012:role/gtlabel"
FUNCTIONS = "arn:aws:lambda:us-east-1:432418664414:function"
TEMPLATE = """<script src="https://assets.crowd.aws/crowd-html-elements.js"></script>
<crowd-form>
  <{element}
    name="{element}"
    src="{{{{ task.input.taskObject | grant_read_access }}}}"
    header="What is in the picture?"
    categories="{{{{ task.input.labels | to_json | escape }}}}"
    exclusion-category="{{ text: 'None of these' }}"
  >
    <full-instructions header="Sorting pictures">
      <h3>What goes where</h3>
      <ul>
        <li><strong>Compost</strong>: what rots.</li>
        <li><strong>Landfill</strong>: what nothing else takes.</li>
        <li><strong>Recycle</strong>: paper, glass and metal.</li>
      </ul>
    </full-instructions>
    <short-instructions><p>Look at the largest thing.</p></short-instructions>
  </{element}>
</crowd-form>
"""


class Work:
    """A bucket of real pictures and a server beside it, which can be killed and started again.

    Args:
        state: the server's folder.
        pictures: how many pictures there are.
    """

    def __init__(self, state: Path, pictures: int) -> None:
        self._state = state
        self._stack = ExitStack()
        self._serving = ExitStack()
        address = self._stack.enter_context(running())
        self.environ = environ(address.url)
        self.truth: dict[str, list[str]] = {}
        self.s3 = _client("s3", address.url)
        self.s3.create_bucket(Bucket="trash")
        sample = ROOT / "samples/trash"
        for line in (sample / "truth.jsonl").read_text().splitlines():
            record = json.loads(line)
            name = Path(urlsplit(record["source-ref"]).path).name
            path = sample / "images" / name
            if len(self.truth) < pictures and path.is_file():
                self.s3.upload_file(str(path), "trash", f"pictures/{name}")
                self.truth[f"s3://trash/pictures/{name}"] = [record["class"]]
        self.server: Server = self.serve(free_port())

    def serve(self, port: int) -> Server:
        """Start a server."""
        self.server = self._serving.enter_context(
            serving("--state", str(self._state), env=self.environ, port=port)
        )
        return self.server

    def restart(self) -> None:
        """Kill the server without a word, and start it again on the same port."""
        port = urlsplit(self.server.url).port or 0
        self.server.end(signal.SIGKILL)
        self._serving.close()
        self.serve(port)

    def owner_link(self) -> str:
        """Take in somebody who may let others in, and return the link that lets them in once."""
        command = [sys.executable, "-m", "gtlabel", "serve", "worker", "add", "olga", "--role", "owner"]
        options = ["--invite", "--url", self.server.url, "--output", "json", "--state", str(self._state)]
        done = run([*command, *options])
        assert done.returncode == 0, done.stderr
        link: str = json.loads(done.stdout)["link"]
        return link

    def create(
        self,
        job: str,
        pictures: Sequence[str] = (),
        *,
        several: bool = False,
        title: str = "",
        **human: Any,
    ) -> None:
        """Create a job for one person; see `customer` for one that a customer creates.

        Args:
            job: its name, and the attribute that it writes.
            pictures: what it is about; all there are if none are named.
            several: whether a picture may be of several classes, or of none.
            title: what workers call it; its name if nothing is said.
            human: more for its `HumanTaskConfig`.
        """
        lines = "".join(json.dumps({"source-ref": each}) + "\n" for each in pictures or self.truth)
        labels = {"labels": [{"label": name} for name in CLASSES]}
        template = TEMPLATE.format(element="crowd-image-classifier" + "-multi-select" * several)
        inputs = {"input.manifest": lines, "classes.json": json.dumps(labels), "template.liquid": template}
        for name, text in inputs.items():
            self.s3.put_object(Bucket="trash", Key=f"jobs/{job}/{name}", Body=text.encode())
        kind = "ImageMultiClass" + "MultiLabel" * several
        self.sagemaker().create_labeling_job(
            LabelingJobName=job,
            LabelAttributeName=job,
            InputConfig={
                "DataSource": {
                    "S3DataSource": {"ManifestS3Uri": f"s3://trash/jobs/{job}/input.manifest"},
                }
            },
            OutputConfig={"S3OutputPath": "s3://trash/labeled/"},
            RoleArn=ROLE,
            LabelCategoryConfigS3Uri=f"s3://trash/jobs/{job}/classes.json",
            HumanTaskConfig={
                "WorkteamArn": TEAM,
                "UiConfig": {"UiTemplateS3Uri": f"s3://trash/jobs/{job}/template.liquid"},
                "PreHumanTaskLambdaArn": f"{FUNCTIONS}:PRE-{kind}",
                "AnnotationConsolidationConfig": {
                    "AnnotationConsolidationLambdaArn": f"{FUNCTIONS}:ACS-{kind}"
                },
                "TaskTitle": title or job,
                "TaskDescription": "Look at the picture and say what is in it.",
                "NumberOfHumanWorkersPerDataObject": 1,
                "TaskTimeLimitInSeconds": 300,
                **human,
            },
        )

    def sagemaker(self) -> Any:
        """A client of the server."""
        return _client("sagemaker", self.server.url)

    def ended(self, job: str, status: str = "Completed") -> list[dict[str, Any]]:
        """The output manifest of a job, once it has ended so."""
        sagemaker = self.sagemaker()

        def described() -> bool:
            self._described = sagemaker.describe_labeling_job(LabelingJobName=job)
            return self._described["LabelingJobStatus"] not in ("Initializing", "InProgress", "Stopping")

        wait_until(described, 60)
        assert self._described["LabelingJobStatus"] == status, self._described
        key = f"labeled/{job}/manifests/output/output.manifest"
        text = self.s3.get_object(Bucket="trash", Key=key)["Body"].read().decode()
        return [json.loads(line) for line in text.splitlines()]

    def answers(self, job: str) -> dict[str, list[dict[str, Any]]]:
        """What was answered about each picture, as the job wrote it down."""
        lines = self.s3.get_object(Bucket="trash", Key=f"jobs/{job}/input.manifest")["Body"].read()
        pictures = [json.loads(line)["source-ref"] for line in lines.splitlines()]
        found: dict[str, list[dict[str, Any]]] = {}
        root = f"labeled/{job}/annotations/worker-response/"
        for page in self.s3.get_paginator("list_objects_v2").paginate(Bucket="trash", Prefix=root):
            for item in page.get("Contents", []):
                said = json.loads(self.s3.get_object(Bucket="trash", Key=item["Key"])["Body"].read())
                number = int(item["Key"].split("/")[-2])
                found.setdefault(pictures[number], []).extend(said["answers"])
        return found

    @contextmanager
    def customer(self, job: str, workers: int = 3) -> Iterator[subprocess.Popen[str]]:
        """Run the customer's own script, which creates the job and waits for its end."""
        command = [sys.executable, str(ROOT / "samples/customer.py"), job, "--bucket", "trash"]
        options = ["--prefix", "pictures/", "--classes", ",".join(CLASSES), "--team", TEAM, "--role", ROLE]
        process = subprocess.Popen(
            [*command, *options, "--workers", str(workers), "--poll", "0.5"],
            # The server is away for seconds while it starts again, which boto3 waits out if it is told to.
            env={**self.environ, "AWS_ENDPOINT_URL_SAGEMAKER": self.server.url, "AWS_MAX_ATTEMPTS": "12"},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait(60)

    def close(self) -> None:
        """End everything."""
        self._serving.close()
        self._stack.close()


def _client(service: str, url: str) -> Any:
    import boto3

    make: Any = boto3.client
    keys = {"aws_access_key_id": "AKIASERVER", "aws_secret_access_key": os.urandom(8).hex()}
    return make(service, endpoint_url=url, region_name="us-east-1", **keys)


def labels_of(process: subprocess.Popen[str]) -> dict[str, str]:
    """What the customer's script printed at its end: the class of each picture."""
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    records: Sequence[list[Any]] = [json.loads(line) for line in out.splitlines()]
    return {str(source): str(name) for source, name, _ in records}
