"""What the tests of the engine share: a bucket, a clock, and people with opinions."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

from botocore.exceptions import ClientError

from gtlabel.engine.board import Board, Job, JobKey, JobSpec, Task
from gtlabel.engine.foreman import Foreman
from gtlabel.engine.store import Store
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

CLASSES = ("Compost", "Landfill", "Recycle")
KEY = JobKey("123456789012", "us-east-1", "Bins-1")
MANIFEST = S3Uri("s3://trash/in.manifest")
CLASS_LIST = S3Uri("s3://trash/classes.json")
START = datetime(2026, 11, 22, 10, 11, 12, 345678, tzinfo=UTC)


class PowerCut(BaseException):
    """The process is gone; nothing may catch this."""


class Bucket:
    """As much of S3 as the engine uses, and a power cut where one is wanted.

    Attributes:
        cut_before: the number of the write that never happens.
        cut_after: the number of the write that is the last thing to happen.
        cut_lines: how many lines of a manifest can be read.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.writes = 0
        self.cut_before = self.cut_after = -1
        self.cut_lines: int | None = None

    @property
    def client(self) -> S3Client:
        return cast("S3Client", self)

    def get_object(self, Bucket: str, Key: str) -> dict[str, Any]:  # noqa: N803
        if Bucket != "trash":
            raise ClientError({"Error": {"Code": "NoSuchBucket"}}, "GetObject")
        if Key not in self.files:
            raise ClientError({"Error": {"Code": "NoSuchKey"}}, "GetObject")
        return {"Body": _Body(self.files[Key], self.cut_lines)}

    def put_object(self, Bucket: str, Key: str, Body: bytes, **_: Any) -> None:  # noqa: N803
        if Bucket != "trash":
            raise ClientError({"Error": {"Code": "NoSuchBucket"}}, "PutObject")
        self.writes += 1
        if self.writes == self.cut_before:
            raise PowerCut
        self.files[Key] = Body
        if self.writes == self.cut_after:
            raise PowerCut

    def upload_fileobj(self, file: io.BufferedReader, bucket: str, key: str, **_: Any) -> None:
        self.put_object(bucket, key, file.read())


class _Body(io.BytesIO):
    def __init__(self, body: bytes, cut_lines: int | None) -> None:
        super().__init__(body)
        self._cut_lines = cut_lines

    def iter_chunks(self, chunk_size: int) -> Iterator[bytes]:
        assert chunk_size > 0
        for number, line in enumerate(self):
            if number == self._cut_lines:
                raise PowerCut
            yield line


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def pass_seconds(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class Shop:
    """An engine on a bucket with one job.

    Args:
        lines: the lines of the manifest, or how many to make.
        store: the engine's database; by default a new one in memory.
        bucket: the bucket; what it holds stays.
        spec: what differs from the usual job.
    """

    def __init__(
        self,
        lines: Sequence[str] | int = 20,
        *,
        store: Store | None = None,
        bucket: Bucket | None = None,
        classes: Sequence[str] = CLASSES,
        **spec: Any,
    ) -> None:
        self.bucket = bucket or Bucket()
        self.clock = Clock()
        self.store = store or Store()
        self.board = Board(self.store, clock=self.clock)
        self.foreman = Foreman(self.board, lambda _: self.bucket.client)
        if isinstance(lines, int):
            lines = [f'{{"source-ref":"s3://trash/images/{number}.jpg"}}' for number in range(lines)]
        self.bucket.files.setdefault(MANIFEST.key, "\n".join(lines).encode())
        names = [{"label": name} for name in classes]
        self.bucket.files.setdefault(CLASS_LIST.key, json.dumps({"labels": names}).encode())
        usual = {"attribute": "bin", "manifest": MANIFEST, "class_list": CLASS_LIST, "key": KEY}
        self.spec = JobSpec(**{**usual, "output": S3Uri("s3://trash/out/"), **spec})

    @property
    def job(self) -> Job:
        return self.board.job(KEY)

    def start(self) -> Shop:
        """Create the job and send out its first images."""
        self.board.create_job(self.spec)
        return self.turn()

    def turn(self) -> Shop:
        while self.foreman.turn():
            pass
        return self

    def lease(self, worker: str = "ann") -> Task:
        task = self.board.lease(KEY, worker)
        assert task is not None
        return task

    def say(self, task: Task, name: str = "Compost") -> None:
        self.board.submit(task.lease, answer(name))

    def finish(
        self,
        opinion: Callable[[str, int], str] = lambda _worker, number: CLASSES[number % 3],
        workers: Sequence[str] = ("ann", "bob", "eve"),
    ) -> Shop:
        """Have people answer until the job has ended."""
        while not self.job.status.ended:
            self.turn()
            for worker in workers:
                while task := self.board.lease(KEY, worker):
                    self.say(task, opinion(worker, task.object))
        return self

    def tree(self) -> Mapping[str, bytes]:
        """What the job wrote, by names below its folder."""
        root = "out/Bins-1/"
        return {
            name.removeprefix(root): body for name, body in self.bucket.files.items() if name.startswith(root)
        }

    def output(self) -> list[bytes]:
        return self.tree()["manifests/output/output.manifest"].splitlines()

    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.output()]


def answer(*names: str) -> dict[str, Any]:
    """What the page of a single-label job gives."""
    return {"crowd-image-classifier": {"label": names[0]}}
