"""One process beside a Ray cluster of two: reading labels, looking at pictures, copying them.

Run: python tests/benchmarks/scale.py [--lines 1000000] [--pictures 2000] [--copies 6000] [--latency 0.05]

Example: python tests/benchmarks/scale.py --data /work/shared/data/trash-images

S3 is a server of its own on this machine whose every answer takes `--latency`. Seconds are those on the
wall, so run it on a machine that has nothing else to do; Ray's start is not in them, and printed apart.
Exit code 1 when the two come to different results.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import boto3
from botocore.config import Config
from distant import elsewhere

from gtlabel.datasets.copying import copy_missing
from gtlabel.datasets.folders import place
from gtlabel.datasets.gather import JobOutput, gather
from gtlabel.datasets.scale import Cluster
from gtlabel.images.groups import find_groups
from gtlabel.images.parallel import in_parallel
from gtlabel.manifests.choose import Choice
from gtlabel.manifests.vocabulary import Vocabulary
from gtlabel.storage import list_objects, write, write_lines
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

T = TypeVar("T")
HOME = S3Uri("s3://scaled/")
MANIFEST = HOME / "output.manifest"
BINS = ("Compost", "Landfill", "Recycle")


def lines(count: int) -> Iterator[bytes]:
    for number in range(count):
        name = BINS[number % 3]
        metadata = {
            "confidence": 0.9,
            "job-name": "labeling-job/bins",
            "class-name": name,
            "human-annotated": "yes",
            "creation-date": "2026-11-22T10:11:12.345678",
            "type": "groundtruth/image-classification",
        }
        record = {
            "source-ref": f"s3://scaled/images/{number:08}.jpg",
            "bin": number % 3,
            "bin-metadata": metadata,
        }
        yield json.dumps(record, separators=(",", ":")).encode()


def timed(work: Callable[[], T]) -> tuple[float, T]:
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def told(what: str, count: int, process: float, ray: float) -> None:
    print(f"{what:34}{count / process:>14,.0f}{count / ray:>14,.0f}{process / ray:>9.2f}x")


def emptied(s3: S3Client, prefix: S3Uri) -> None:
    keys = [item.uri.key for item in list_objects(s3, prefix)]
    for _ in in_parallel(lambda key: s3.delete_object(Bucket=prefix.bucket, Key=key), keys, 64):
        pass


def compare(s3: S3Client, cluster: Cluster, options: argparse.Namespace) -> bool:
    print(f"{'a second, on the wall':34}{'one process':>14}{'Ray, two':>14}{'':>10}")
    same = True
    write_lines(s3, MANIFEST, lines(options.lines))
    output = [JobOutput(MANIFEST, "bin", BINS, "bins")]
    words, choice = Vocabulary(), Choice()
    alone, one = timed(lambda: gather(s3, output, vocabulary=words, choice=choice))
    spread, two = timed(lambda: gather(s3, output, vocabulary=words, choice=choice, parts=cluster.parts))
    same &= one.table.images() == two.table.images() and one.sources == two.sources
    told(f"{options.lines:,} labels read", options.lines, alone, spread)

    bodies = [path.read_bytes() for path in sorted(options.data.rglob("*.jpg"))]
    images = [HOME / f"images/{number:08}.jpg" for number in range(max(options.pictures, options.copies))]
    for _ in in_parallel(lambda n: write(s3, images[n], bodies[n % len(bodies)]), range(len(images)), 64):
        pass
    seen = images[: options.pictures]
    alone, found = timed(lambda: find_groups(s3, seen))
    spread, there = timed(lambda: find_groups(s3, seen, look=cluster.fingerprints))
    same &= found == there
    told(f"{len(seen):,} pictures grouped", len(seen), alone, spread)

    listed = list(list_objects(s3, HOME / "images/"))[: options.copies]
    placements = list(place([(item, "Landfill") for item in listed], HOME / "dataset").values())
    alone, _ = timed(lambda: copy_missing(s3, placements, {}))
    here = [item[:3] for item in list_objects(s3, HOME / "dataset/")]
    emptied(s3, HOME / "dataset/")
    spread, _ = timed(lambda: cluster.copy_missing(placements, {}))
    same &= here == [item[:3] for item in list_objects(s3, HOME / "dataset/")]
    told(f"{len(placements):,} pictures copied", len(placements), alone, spread)
    return same


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    samples = Path(__file__).resolve().parents[2] / "samples" / "trash" / "images"
    parser.add_argument(
        "--data", type=Path, default=samples, help="a folder of JPEG pictures, with subfolders"
    )
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--pictures", type=int, default=2_000)
    parser.add_argument("--copies", type=int, default=6_000)
    parser.add_argument("--latency", type=float, default=0.05, help="seconds that every answer of S3 takes")
    options = parser.parse_args()
    os.environ.update(
        AWS_ACCESS_KEY_ID="nobody", AWS_SECRET_ACCESS_KEY="nothing", AWS_DEFAULT_REGION="us-east-1"
    )
    with elsewhere(options.latency) as url:
        s3 = boto3.client("s3", endpoint_url=url, config=Config(max_pool_connections=64))
        cluster = Cluster(s3)
        seconds, _ = timed(cluster.__enter__)
        try:
            # Each process imports what its tasks need once.
            list(cluster.fingerprints([HOME / "nothing.jpg"] * 4_000))
            same = compare(s3, cluster, options)
        finally:
            cluster.__exit__(None, None, None)
    print(f"Ray took {seconds:.1f} s to start; the results are {'the same' if same else 'DIFFERENT'}")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
