"""The same dataset, byte for byte, from one process and from a Ray cluster of two."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gtlabel.aws import Aws
from gtlabel.datasets.consolidate import JobOutput, consolidate
from gtlabel.datasets.gather import Gathered, Part, gather, read_part
from gtlabel.datasets.options import Engine
from gtlabel.datasets.scale import Cluster, Connection, lines_between
from gtlabel.errors import ManifestLineError, PictureChangedError
from gtlabel.manifests.choose import Choice
from gtlabel.manifests.chunks import read_chunks
from gtlabel.manifests.vocabulary import Vocabulary
from gtlabel.storage import StoredObject, list_objects, read, stat, write
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

TRASH = sorted((Path(__file__).parent.parent / "samples" / "trash" / "images").glob("*.jpg"))
HOME = S3Uri("s3://scaled-pictures/")
MANIFEST = HOME / "jobs/bins/manifests/output/output.manifest"
BINS = ("Compost", "Landfill", "Recycle")
OUTPUT = JobOutput(MANIFEST, "bin", BINS, "bins")


def line(name: str, class_name: str, *, confidence: float = 0.9, named: bool = True) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "confidence": confidence,
        "job-name": "labeling-job/bins",
        "human-annotated": "yes",
        "creation-date": "2026-11-22T10:11:12.345678",
        "type": "groundtruth/image-classification",
    }
    if named:
        metadata["class-name"] = class_name
    return {"source-ref": HOME / "images" / name, "bin": BINS.index(class_name), "bin-metadata": metadata}


def packed(lines: Iterable[object]) -> bytes:
    return b"".join(json.dumps(item).encode() + b"\n" for item in lines)


class Spans:
    """Reads a manifest in parts without a cluster, as its tasks do."""

    def __init__(self, body: bytes, size: int) -> None:
        self._body = body
        self._size = size

    def get_object(self, **request: str) -> dict[str, Any]:
        from io import BytesIO

        from botocore.exceptions import ClientError
        from botocore.response import StreamingBody

        span = request.get("Range")
        first, _, last = (span or "bytes=0-").removeprefix("bytes=").partition("-")
        if span and int(first) >= len(self._body):
            raise ClientError({"Error": {"Code": "InvalidRange"}}, "GetObject")
        part = self._body[int(first) : int(last) + 1 if last else None]
        return {"Body": StreamingBody(BytesIO(part), len(part))}

    def lines(self, step: int) -> list[bytes]:
        size = len(self._body)
        spans = [(start, min(start + self._size, size)) for start in range(0, size, self._size)]
        bodies = [lines_between(self, MANIFEST, start, end, step) for start, end in spans]  # type: ignore[arg-type]
        return [item for body in bodies for item in read_chunks((body,), "")]

    def parts(
        self, output: JobOutput, words: Vocabulary, choice: Choice, chains: bool
    ) -> Iterator[Part | None]:
        lines = list(read_chunks((self._body,), ""))
        for start in range(0, len(lines), self._size):
            yield read_part(lines[start : start + self._size], output, words, choice, chains)


@settings(deadline=None)
@given(
    # No line that begins as a packed file does; such a manifest is not read in parts.
    lines=st.lists(st.text("ab é☂\x00\x85", max_size=5).map(str.encode)),
    ended=st.booleans(),
    size=st.integers(1, 40),
    step=st.integers(1, 5),
)
def test_every_line_is_in_just_one_span(lines: list[bytes], ended: bool, size: int, step: int) -> None:
    body = b"\n".join(lines) + (b"\n" if ended else b"")
    whole = list(read_chunks((body,), ""))
    assert Spans(body, size).lines(step) == whole


def facts(gathered: Gathered) -> object:
    table = gathered.table
    labels = {image: list(table.labels(image)) for image in table.images()}
    return labels, table.repeated, gathered.lists, gathered.sources, gathered.adjustments


names = st.sampled_from([f"{n}.jpg" for n in range(6)])
written = st.builds(
    line, names, st.sampled_from(BINS), confidence=st.sampled_from([0.5, 0.9]), named=st.booleans()
)
failed = st.builds(lambda n: {"source-ref": HOME / n, "bin-metadata": {"failure-reason": "expired"}}, names)
other = st.builds(lambda n: {"source-ref": HOME / n, "cat": 1, "cat-metadata": {"class-name": "x"}}, names)
wrong = st.builds(lambda n: {**line(n, "Landfill"), "bin": 0}, names)
broken = st.just({"source": "text"})


@settings(deadline=None)
@given(
    lines=st.lists(st.one_of(written, written, written, failed, other), max_size=14),
    spoiled=st.lists(st.one_of(wrong, broken), max_size=1),
    size=st.integers(1, 5),
    known=st.booleans(),
    human=st.sampled_from([None, 0.7]),
)
def test_a_manifest_read_in_parts_says_what_it_says_as_a_whole(
    lines: list[object], spoiled: list[object], size: int, known: bool, human: float | None
) -> None:
    body = packed([*lines[:7], *spoiled, *lines[7:]])
    spans = Spans(body, size)
    output = JobOutput(MANIFEST, "bin", BINS if known else None, "bins")
    words, choice = Vocabulary(), Choice(min_confidence=human)
    s3: Any = spans
    told: list[object] = []
    for parts in (None, spans.parts):
        bad: list[object] = []

        def on_bad(number: int, data: bytes, reason: str, bad: list[object] = bad) -> None:
            bad.append((number, data, reason))

        try:
            found: object = facts(
                gather(s3, [output], vocabulary=words, choice=choice, on_bad=on_bad, parts=parts)
            )
        except Exception as error:  # noqa: BLE001 - whatever one raises, the other has to raise
            found = repr(error)
        told.append((found, bad))
    assert told[0] == told[1]


@pytest.fixture(scope="module")
def two_processes() -> Iterator[None]:
    """Two processes of Ray, started once: that takes longer than all the tests."""
    import ray

    from gtlabel.emulator.api import Context
    from gtlabel.emulator.environment import environ

    # What tasks find in their environment; where S3 is, each is told.
    given_here = {name: value for name, value in environ("", Context()).items() if value}
    before = {name: os.environ.get(name) for name in given_here}
    os.environ.update(given_here, RAY_USAGE_STATS_ENABLED="0")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()
    for name, value in before.items():
        if value is None:
            del os.environ[name]
        else:
            os.environ[name] = value


def small(s3: S3Client) -> Cluster:
    """A cluster with so little for each task that a few pictures make many."""
    return Cluster(s3, shard=5, span=700)


def put_pictures(s3: S3Client, count: int = 24) -> None:
    s3.create_bucket(Bucket=HOME.bucket)
    for number, path in enumerate(TRASH[:count]):
        write(s3, HOME / "images" / f"{number}.jpg", path.read_bytes())
        # A copy under another name: near-duplicates have something to find.
        write(s3, HOME / "images" / f"again/{number}.jpg", path.read_bytes())
    lines = [line(f"{n}.jpg", BINS[n % 3]) for n in range(count)]
    lines += [line(f"again/{n}.jpg", BINS[n % 3]) for n in range(count)]
    for number, item in enumerate(lines[::2]):
        item["gtlabel-licence"] = ("MIT", "CC0-1.0")[number % 2]
    write(s3, MANIFEST, packed(lines))


def tree(s3: S3Client, prefix: S3Uri) -> dict[str, bytes]:
    return {item.uri.removeprefix(prefix): read(s3, item.uri) for item in list_objects(s3, prefix)}


@pytest.mark.slow
@pytest.mark.usefixtures("two_processes")
class TestOnRay:
    def test_the_dataset_is_that_of_one_process_byte_for_byte(self, gtlabel_aws: Aws) -> None:
        s3 = gtlabel_aws.s3
        put_pictures(s3)
        into = HOME / "dataset/"
        trees = []
        engines: tuple[Engine | Cluster, ...] = ("process", "ray", small(s3))
        for engine in engines:
            consolidate(s3, [OUTPUT], into, groups="near-duplicates", engine=engine)
            trees.append(tree(s3, into))
            for item in list(list_objects(s3, into)):
                s3.delete_object(Bucket=item.uri.bucket, Key=item.uri.key)
        assert trees[0] == trees[1] == trees[2]
        assert len(trees[0]) > 50
        assert trees[0]["train.manifest"].count(b'"gtlabel-licence":"MIT"') > 5

    def test_the_command_finds_the_cluster_by_its_address(self, gtlabel_aws: Aws) -> None:
        import ray

        s3 = gtlabel_aws.s3
        put_pictures(s3, 6)
        cluster = {"RAY_ADDRESS": ray.get_runtime_context().gcs_address}
        trees = []
        for engine in ("process", "ray"):
            into = HOME / f"{engine}/"
            run = subprocess.run(
                [
                    sys.executable,
                    "-m",
                    "gtlabel",
                    "consolidate",
                    MANIFEST,
                    "--into",
                    into,
                    "--engine",
                    engine,
                ],
                env={**os.environ, **cluster},
                capture_output=True,
                text=True,
                timeout=120,
            )
            assert (run.returncode, run.stdout.splitlines()[-1]) == (0, into), run.stderr
            made = tree(s3, into)
            trees.append({name: body.replace(into.encode(), b"") for name, body in made.items()})
        assert trees[0].keys() == trees[1].keys()
        assert trees[0]["train.manifest"] == trees[1]["train.manifest"]

    def test_a_cluster_does_the_work_in_other_processes(self, gtlabel_aws: Aws) -> None:
        with small(gtlabel_aws.s3) as cluster:
            ids = set(cluster.map(lambda _, number: os.getpid() + 0 * number, range(8)))
            assert os.getpid() not in ids
            doubled = list(cluster.map(lambda _, number: 2 * number, range(30)))
            assert doubled == [2 * number for number in range(30)]

    def test_a_broken_line_is_told_with_its_number_in_the_whole_manifest(self, gtlabel_aws: Aws) -> None:
        s3 = gtlabel_aws.s3
        put_pictures(s3, 6)
        write(s3, MANIFEST, read(s3, MANIFEST) + b'{"source": "text"}\n')
        with pytest.raises(ManifestLineError, match=r"output\.manifest, line 13: it holds text") as raised:
            consolidate(s3, [OUTPUT], HOME / "dataset/", engine=small(s3))
        assert raised.value.line == 13

    def test_errors_of_tasks_arrive_as_they_were_raised(self, gtlabel_aws: Aws) -> None:
        from gtlabel.datasets.folders import place

        s3 = gtlabel_aws.s3
        put_pictures(s3, 6)
        listed = stat(s3, HOME / "images/0.jpg")
        changed = StoredObject(listed.uri, listed.size, "0" * 32, listed.modified)
        placements = list(place([(changed, "Landfill")], HOME / "dataset").values())
        with small(s3) as cluster, pytest.raises(PictureChangedError, match=r"0\.jpg") as raised:
            cluster.copy_missing(placements, {})
        assert str(raised.value).count(str(listed.uri)) == 1


def test_a_connection_tells_where_and_never_as_whom() -> None:
    import boto3

    session = boto3.Session("key", "secret", region_name="eu-west-1")
    there = session.client("s3", endpoint_url="http://127.0.0.1:9")
    assert Connection.of(there) == Connection("eu-west-1", "http://127.0.0.1:9")
    assert Connection.of(session.client("s3")) == Connection("eu-west-1", None)
