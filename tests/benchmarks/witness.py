"""The witness: compares what workers remember with what the database holds and what lies in S3."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bucket import Bucket
from clients import ELEMENT, Book
from sqlalchemy import create_engine, func, select
from sqlalchemy.pool import NullPool

from gtlabel.engine.jobs import JobKey, from_micros
from gtlabel.engine.output import worker_id
from gtlabel.engine.schema import answers, jobs, leases, tasks


@dataclass(frozen=True, slots=True)
class Stored:
    """An answer as the database has it."""

    lease: str
    key: JobKey
    object: int
    worker: str
    content: str
    submitted: int


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check counted; anything but nothing is a fault."""

    check: str
    faults: int
    example: str = ""

    @classmethod
    def of(cls, check: str, faults: Sequence[object]) -> Finding:
        """Count faults and keep the first."""
        return cls(check, len(faults), str(faults[0]) if faults else "")


class Witness:
    """Reads a database beside the servers that write it."""

    def __init__(self, url: str) -> None:
        # The database may crash between two looks.
        self._engine = create_engine(url, poolclass=NullPool)

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()

    def stored(self) -> list[Stored]:
        """All answers."""
        query = select(
            answers.c.lease,
            answers.c.object,
            answers.c.worker,
            answers.c.content,
            answers.c.submitted,
            jobs.c.account,
            jobs.c.region,
            jobs.c.name,
        ).join(jobs, jobs.c.id == answers.c.job)
        with self._engine.connect() as connection:
            return [
                Stored(
                    row.lease,
                    JobKey(row.account, row.region, row.name),
                    row.object,
                    row.worker,
                    row.content,
                    row.submitted,
                )
                for row in connection.execute(query)
            ]

    def lost_and_doubled(self, acknowledged: Iterable[str]) -> tuple[int, int]:
        """How many acknowledged answers are missing, and how many are there more than once."""
        query = select(answers.c.lease, answers.c.job, answers.c.object, answers.c.worker)
        with self._engine.connect() as connection:
            rows = connection.execute(query).all()
        there = {row.lease for row in rows}
        places = Counter((row.job, row.object, row.worker) for row in rows)
        return len(set(acknowledged) - there), sum(count - 1 for count in places.values())

    def leaks(self) -> list[Finding]:
        """Leases and places that were left behind by jobs that have ended."""
        with self._engine.connect() as connection:
            held = connection.execute(
                select(func.count()).select_from(leases).where(leases.c.state == "leased")
            ).scalar_one()
            open_ = connection.execute(
                select(func.count())
                .select_from(tasks)
                .where((tasks.c.open_slots > 0) | (tasks.c.state != "labeled"))
            ).scalar_one()
        return [
            Finding("leases still held after the end", held),
            Finding("images not labeled, or still offered", open_),
        ]


def check_answers(book: Book, stored: Sequence[Stored], per_image: int) -> list[Finding]:
    """Whether the database holds what workers remember, once each."""
    by_lease = Counter(answer.lease for answer in stored)
    there = {answer.lease: answer for answer in stored}
    acknowledged = [lease for lease, said in book.said.items() if said.acknowledged]
    lost = [lease for lease in acknowledged if lease not in there]
    places = Counter((a.key.name, a.object, a.worker) for a in stored)
    doubled = [place for place, count in places.items() if count > 1]
    wrong = [
        lease
        for lease, said in book.said.items()
        if lease in there and _label(there[lease].content) != said.label
    ]
    refused = [lease for lease, said in book.said.items() if said.refused and lease in there]
    unknown = [lease for lease in there if lease not in book.said]
    images = Counter((a.key.name, a.object) for a in stored)
    odd = [image for image, count in images.items() if count != per_image]
    return [
        Finding.of("acknowledged answers lost", lost),
        Finding.of("answers of one worker to one image, bought twice", doubled),
        Finding.of("leases with two answers", [lease for lease, count in by_lease.items() if count > 1]),
        Finding.of("answers stored with another label", wrong),
        Finding.of("answers refused and stored all the same", refused),
        Finding.of("answers stored that nobody sent", unknown),
        Finding.of("images with more or fewer answers than asked for", odd),
    ]


def check_tree(bucket: Bucket, prefix: str, stored: Sequence[Stored]) -> list[Finding]:
    """Whether the tree in S3 holds every answer of the database exactly once."""
    expected: dict[tuple[str, int], list[Any]] = {}
    for answer in stored:
        said = (worker_id(answer.key, answer.worker), json.loads(answer.content), _moment(answer.submitted))
        expected.setdefault((answer.key.name, answer.object), []).append(said)
    found: dict[tuple[str, int], list[Any]] = {}
    batched: Counter[tuple[str, str, str]] = Counter()
    files: Counter[tuple[str, int]] = Counter()
    for name, body in bucket.tree(prefix).items():
        job = name.split("/", 1)[0]
        if image := re.search(r"/worker-response/iteration-\d+/(\d+)/", name):
            place = (job, int(image[1]))
            files[place] += 1
            found.setdefault(place, []).extend(
                (said["workerId"], said["answerContent"], said["submissionTime"])
                for said in json.loads(body)["answers"]
            )
        elif part := re.search(r"/consolidation-(request|response)/", name):
            batched.update((job, part[1], entry["datasetObjectId"]) for entry in json.loads(body))
    missing = [place for place in expected if place not in found]
    differing = [
        place
        for place, said in found.items()
        if sorted(map(str, said)) != sorted(map(str, expected.get(place, [])))
    ]
    again = [place for place, count in batched.items() if count != 1]
    never = [place for place in expected if (place[0], "response", str(place[1])) not in batched]
    return [
        Finding.of("images whose answers are not in the tree", missing),
        Finding.of("images whose answers differ between tree and database", differing),
        Finding.of("images with two files of answers", [p for p, count in files.items() if count != 1]),
        Finding.of("images in two batches", again),
        Finding.of("images in no batch", never),
        Finding.of("files written twice with other bytes", rewritten(bucket, prefix)),
    ]


def rewritten(bucket: Bucket, prefix: str) -> list[str]:
    """Files that are written once and for all, and were written again with other bytes."""
    seen: dict[str, set[str]] = {}
    for name, digest in bucket.writes:
        if name.startswith(prefix) and "/annotations/" in name:
            seen.setdefault(name, set()).add(digest)
    return [name for name, digests in seen.items() if len(digests) > 1]


def check_manifests(bucket: Bucket, undisturbed: Bucket, prefix: str) -> list[Finding]:
    """Whether the output manifests are those of an undisturbed run, but for the moments in them.

    `creation-date` is blanked in all. `confidence` is compared where the same images were consolidated
    together in both runs; it depends on them, and in jobs of many batches, they on who was faster.
    """
    here, there = bucket.tree(prefix), undisturbed.tree(prefix)
    ours, peer = _manifests(here), _manifests(there)
    our_batches, their_batches = _batches(here), _batches(there)
    alike = {name for name, batches in our_batches.items() if batches == their_batches.get(name)}
    differing = [
        name
        for name in sorted(ours.keys() | peer.keys())
        if _blank(ours.get(name, b""), name not in alike) != _blank(peer.get(name, b""), name not in alike)
    ]
    sentence = "output manifests that differ from an undisturbed run's"
    return [Finding(f"{sentence}, of {len(ours)}", len(differing), differing[0] if differing else "")]


def same_batches(bucket: Bucket, undisturbed: Bucket, prefix: str) -> int:
    """How many jobs consolidated the same images together in both runs."""
    ours, theirs = _batches(bucket.tree(prefix)), _batches(undisturbed.tree(prefix))
    return sum(batches == theirs.get(name) for name, batches in ours.items())


def _batches(tree: Mapping[str, bytes]) -> dict[str, set[frozenset[str]]]:
    """The images of each batch, by job."""
    batches: dict[str, set[frozenset[str]]] = {}
    for name, body in tree.items():
        if "/consolidation-request/" in name:
            images = frozenset(entry["datasetObjectId"] for entry in json.loads(body))
            batches.setdefault(name.split("/", 1)[0], set()).add(images)
    return batches


def _manifests(tree: Mapping[str, bytes]) -> dict[str, bytes]:
    ending = "/manifests/output/output.manifest"
    return {name.removesuffix(ending): body for name, body in tree.items() if name.endswith(ending)}


def _blank(manifest: bytes, confidence: bool) -> bytes:
    text = re.sub(rb'"creation-date":"[^"]*"', b'"creation-date":""', manifest)
    return re.sub(rb'"confidence":[0-9.]+', b'"confidence":0', text) if confidence else text


def _label(content: str) -> str:
    label: str = json.loads(content)[ELEMENT]["label"]
    return label


def _moment(micros: int) -> str:
    moment = from_micros(micros)
    return f"{moment.strftime('%Y-%m-%dT%H:%M:%S')}.{moment.microsecond // 1000:03d}Z"
