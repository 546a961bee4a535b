"""What the load and fault programs share: servers that can be killed, people who answer, and the books."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from http.client import HTTPException
from pathlib import Path
from typing import Any

from gtlabel.emulator.state import prepare

CLASSES = ("Compost", "Landfill", "Recycle")
REGION = "us-east-1"
ACCOUNT = "123456789012"
ELEMENT = "crowd-image-classifier"
FUNCTION = f"arn:aws:lambda:{REGION}:432418664414:function:{{}}-ImageMultiClass"
TEMPLATE = (
    '<script src="https://assets.crowd.aws/crowd-html-elements.js"></script><crowd-form>'
    f'<{ELEMENT} name="{ELEMENT}" src="{{{{ task.input.taskObject | grant_read_access }}}}"'
    ' header="Which bin?" categories="{{ task.input.labels | to_json | escape }}">'
    "<full-instructions header='How to'>Look.</full-instructions>"
    f"<short-instructions>Look.</short-instructions></{ELEMENT}></crowd-form>"
)
PROGRAM = [sys.executable, "-m", "gtlabel", "serve"]
_READY_SECONDS = 60.0
_TICKS = os.sysconf("SC_CLK_TCK")
# boto3's signature is not checked on this machine; the region is read from it.
_SIGNED = (
    f"AWS4-HMAC-SHA256 Credential=gtlabel/20261122/{REGION}/sagemaker/aws4_request, "
    "SignedHeaders=host, Signature=0"
)


class NotReadyError(Exception):
    """A server did not come up."""


def end_politely() -> None:
    """Have SIGTERM end this program as Ctrl-C does, with whatever it started."""
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))


def free_port() -> int:
    """A port that nobody has at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Server:
    """`gtlabel serve` as a process of its own that is started again and again at one address.

    Args:
        state: its folder; what it says goes to `server.log` beside it.
        s3: the endpoint of S3.
        database: an SQLAlchemy URL; by default the one in its folder.
    """

    def __init__(self, state: Path, s3: str, database: str | None = None) -> None:
        self.port = free_port()
        self.state = state
        prepare(state)
        self.database = database or f"sqlite:///{state / 'engine.sqlite'}"
        self.log = state.with_name(f"{state.name}.log")
        self.options = ["--database", self.database, "--state", str(state)]
        self.environ = {
            **os.environ,
            "AWS_ENDPOINT_URL_S3": s3,
            "AWS_ACCESS_KEY_ID": "gtlabel",
            "AWS_SECRET_ACCESS_KEY": "gtlabel",
            "AWS_DEFAULT_REGION": REGION,
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The process that runs now."""
        assert self._process is not None
        return self._process.pid

    @property
    def ended(self) -> int | None:
        """The code that it ended with by itself; None while it runs, or after it was told to end."""
        return None if self._process is None else self._process.poll()

    def start(self) -> float:
        """Start it and return how many seconds it took until it answered.

        Raises:
            NotReadyError: with the last words of its log, if it does not come up.
        """
        begun = time.perf_counter()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*PROGRAM, "--port", str(self.port), *self.options],
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        while time.perf_counter() - begun < _READY_SECONDS and self._process.poll() is None:
            if self._answers():
                return time.perf_counter() - begun
            time.sleep(0.02)
        self.kill()
        raise NotReadyError(f"{self.url} does not answer; it said: {self.log.read_text()[-2000:]}")

    def kill(self) -> None:
        """`kill -9`, as the power does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def signal_kill(self) -> None:
        """`kill -9`, without waiting for the end."""
        if self._process is not None and self._process.poll() is None:
            os.kill(self._process.pid, signal.SIGKILL)

    def stop(self) -> None:
        """End it as its owner does."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()
            self._process = None

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/gtlabel/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except (OSError, HTTPException):
            return False


def cpu_seconds(pid: int) -> float:
    """CPU seconds a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def memory(pid: int) -> tuple[int, int]:
    """Bytes that a process holds, and those of its children; shared pages count in parts (PSS)."""
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        own = next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")) * 1024
        below = set()
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            below.update(children.read_text().split())
    except (OSError, StopIteration):  # it ended between two looks
        return 0, 0
    return own, sum(sum(memory(int(child))) for child in below)


class Line:
    """One kept-alive connection, opened again where it broke.

    Attributes:
        waiting: how many requests of all lines were sent and not answered yet.
    """

    waiting = 0

    def __init__(self, port: int, token: str = "") -> None:
        self.port = port
        self.token = token
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(
        self, path: str, body: Mapping[str, Any], headers: Mapping[str, str] | None = None
    ) -> tuple[int, dict[str, Any]]:
        """Ask once and return status and JSON.

        Raises:
            ConnectionError: when the answer did not come; what was asked for may have happened or not.
        """
        content = json.dumps(body).encode()
        lines = [f"POST {path} HTTP/1.1", f"Host: 127.0.0.1:{self.port}", f"Content-Length: {len(content)}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        if headers is None:
            lines += ["Content-Type: application/json", f"Authorization: Bearer {self.token}"]
        try:
            if self._streams is None:
                self._streams = await asyncio.open_connection("127.0.0.1", self.port)
            reader, writer = self._streams
            Line.waiting += 1
            try:
                writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + content)
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
                length = int(head.split("content-length:")[1].split("\r\n", 1)[0])
                said = json.loads(await reader.readexactly(length) or b"{}")
                return int(head.split(" ", 2)[1]), said
            finally:
                Line.waiting -= 1
        except (OSError, EOFError, IndexError) as error:
            self.close()
            raise ConnectionError(str(error)) from error

    async def aws(self, operation: str, **params: Any) -> tuple[int, dict[str, Any]]:
        """Call an operation as boto3 does on the wire."""
        headers = {
            "Content-Type": "application/x-amz-json-1.1",
            "X-Amz-Target": f"SageMaker.{operation}",
            "Authorization": _SIGNED,
        }
        return await self.post("/", params, headers)

    def close(self) -> None:
        """Hang up."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


def recruit(database: str, crews: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Let people in, by the names of their groups, before a server has the database; return their tokens."""
    from gtlabel.engine.crew import Crew
    from gtlabel.engine.store import Store

    store = Store(database)
    crew = Crew(store)
    tokens = {}
    for group, names in crews.items():
        for name in names:
            crew.add(name, groups=[group])
            tokens[name] = crew.give_token(name)
    store.close()
    return tokens


async def make_team(line: Line, group: str) -> str:
    """Make a work team of a group, named as the group is, and return its ARN."""
    members = [{"OidcMemberDefinition": {"Groups": [group]}}]
    status, said = await line.aws(
        "CreateWorkteam", WorkteamName=group, MemberDefinitions=members, Description="A crew."
    )
    if status != 200:
        raise NotReadyError(f"the team {group} could not be made: {said}")
    arn: str = said["WorkteamArn"]
    return arn


def put_inputs(put: Callable[[str, bytes], None], bucket: str, images: int, job: str = "in") -> None:
    """Write a manifest, a class list and a worker page; `put` takes `bucket/key` and the bytes."""
    lines = (f'{{"source-ref":"s3://{bucket}/images/{number}.jpg"}}\n' for number in range(images))
    put(f"{bucket}/{job}.manifest", "".join(lines).encode())
    put(f"{bucket}/classes.json", json.dumps({"labels": [{"label": name} for name in CLASSES]}).encode())
    put(f"{bucket}/template.liquid", TEMPLATE.encode())


def job_request(
    name: str, bucket: str, team: str, *, manifest: str = "in", workers: int = 3, **human: Any
) -> dict[str, Any]:
    """The parameters of CreateLabelingJob for a job on `put_inputs`."""
    return {
        "LabelingJobName": name,
        "LabelAttributeName": "bin",
        "InputConfig": {
            "DataSource": {"S3DataSource": {"ManifestS3Uri": f"s3://{bucket}/{manifest}.manifest"}}
        },
        "OutputConfig": {"S3OutputPath": f"s3://{bucket}/out/"},
        "RoleArn": f"arn:aws:iam::{ACCOUNT}:role/gtlabel",
        "LabelCategoryConfigS3Uri": f"s3://{bucket}/classes.json",
        "HumanTaskConfig": {
            "WorkteamArn": team,
            "UiConfig": {"UiTemplateS3Uri": f"s3://{bucket}/template.liquid"},
            "PreHumanTaskLambdaArn": FUNCTION.format("PRE"),
            "TaskTitle": "Which bin?",
            "TaskDescription": "Choose a bin.",
            "NumberOfHumanWorkersPerDataObject": workers,
            "TaskTimeLimitInSeconds": 30,
            "AnnotationConsolidationConfig": {"AnnotationConsolidationLambdaArn": FUNCTION.format("ACS")},
            **human,
        },
    }


def opinion(worker: str, job: str, number: int) -> str:
    """What a worker says about an image, whenever they are asked: right four times of five."""
    dice = sha256(f"{worker}/{job}/{number}".encode()).digest()
    return CLASSES[(number + (1 + dice[1] % 2 if dice[0] < 51 else 0)) % len(CLASSES)]


@dataclass(slots=True)
class Said:
    """An answer as its worker remembers it.

    Attributes:
        tries: how often it was sent.
        acknowledged: whether the server ever said that it has it.
        refused: the sentence with which the server would not take it.
    """

    worker: str
    job: str
    object: int
    label: str
    tries: int = 0
    acknowledged: bool = False
    refused: str = ""


@dataclass(slots=True)
class Book:
    """What workers remember, by lease: written before an answer is sent, and when it is acknowledged."""

    said: dict[str, Said] = field(default_factory=dict)
    acknowledged: int = 0
    lost_replies: int = 0
    complaints: dict[str, int] = field(default_factory=dict)

    def complain(self, status: int, said: Mapping[str, Any]) -> None:
        """Note an answer of the server that is neither what was asked for nor silence."""
        sentence = f"{status} {said.get('error', said.get('message', ''))}"
        self.complaints[sentence] = self.complaints.get(sentence, 0) + 1


def table(columns: Sequence[tuple[str, int]], rows: Iterable[Sequence[object]]) -> None:
    """Print a table, each row as soon as it is there."""
    print("".join(f"{name:>{width}}" for name, width in columns), flush=True)
    for row in rows:
        print(row_text(columns, row), flush=True)


def row_text(columns: Sequence[tuple[str, int]], row: Sequence[object]) -> str:
    """One row of a table."""
    cells = (f"{value:.2f}" if isinstance(value, float) else str(value) for value in row)
    return "".join(f"{cell:>{width}}" for cell, (_, width) in zip(cells, columns, strict=True))
