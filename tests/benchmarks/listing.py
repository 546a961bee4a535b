"""What finding and checking pictures costs, beside the obvious scripts, all in one run.

    python tests/benchmarks/listing.py [--objects 20000] [--runs 5]

Starts an emulator of its own and fills a bucket. Figures are medians of `--runs` runs. A machine that
does something else now and then is no ruler, so each run is compared with a run of the bare loop right
before it and one right after. The manifests that ours and the
obvious script write are compared byte for byte. For the replay, the pages that boto3 parsed are kept and
listed again from memory, which leaves what is ours: objects, names, manifest lines, one stream of bytes.
For the header checks, every answer's Content-Length is counted.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from gtlabel.aws import Aws
from gtlabel.emulator.api import Context
from gtlabel.emulator.child import running
from gtlabel.emulator.environment import environ, session
from gtlabel.images.listing import list_images
from gtlabel.images.selection import select_images
from gtlabel.labeling.inputs import MAX_IMAGES, manifest_lines, write_inputs
from gtlabel.storage import read, write_lines
from gtlabel.uris import S3Uri

BUCKET = "many-pictures"
PREFIX = S3Uri.of(BUCKET, "cameras/")
CLASSES = ("Compost", "Landfill", "Recycle")
PHOTOGRAPH = Path(__file__).resolve().parents[1] / "recorded" / "litter" / "turned.jpg"
REPLAYED = MAX_IMAGES


@dataclass(frozen=True, slots=True)
class Taken:
    """Medians of some runs: seconds, CPU seconds of this process, and wall time as a multiple of a base's."""

    seconds: float
    cpu: float
    ratio: float


def once(program: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU seconds of one run."""
    start, cpu = time.perf_counter(), time.process_time()
    program()
    return time.perf_counter() - start, time.process_time() - cpu


def beside(
    runs: int, base: Callable[[], object], programs: Mapping[str, Callable[[], object]]
) -> list[Taken]:
    """What the base takes, and each program, every run compared with the base just before and after."""
    bases = [once(base)]
    taken: dict[str, list[tuple[float, float, float]]] = {name: [] for name in programs}
    for _ in range(runs):
        for name, program in programs.items():
            seconds, cpu = once(program)
            bases.append(once(base))
            taken[name].append((seconds, cpu, seconds / (bases[-2][0] + bases[-1][0]) * 2))
    rows = [[(seconds, cpu, 1.0) for seconds, cpu in bases], *taken.values()]
    return [Taken(*(statistics.median(column) for column in zip(*row, strict=True))) for row in rows]


def fill(aws: Aws, objects: int) -> None:
    aws.s3.create_bucket(Bucket=BUCKET)

    def put(number: int) -> None:
        key = f"cameras/cam-{number % 7}/IMG_{number:06}.jpg"
        aws.s3.put_object(Bucket=BUCKET, Key=key, Body=number.to_bytes(4))

    with ThreadPoolExecutor(8) as pool:
        for _ in pool.map(put, range(objects)):
            pass


def bare_loop(aws: Aws) -> int:
    pages = aws.s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=PREFIX.key)
    return sum(len(page["Contents"]) for page in pages)


def ours(aws: Aws) -> int:
    images = (image.uri for image in list_images(aws.s3, PREFIX))
    return write_inputs(aws.s3, images, CLASSES, "page", S3Uri.of(BUCKET, "ours/")).images


def obvious_script(aws: Aws) -> int:
    """What one writes in a notebook."""
    lines = []
    for page in aws.s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=PREFIX.key):
        for item in page["Contents"]:
            if item["Key"].lower().endswith((".jpg", ".jpeg", ".png")):
                line = json.dumps({"source-ref": f"s3://{BUCKET}/{item['Key']}"}, separators=(",", ":"))
                lines.append(line + "\n")
    labels = {"document-version": "2018-11-28", "labels": [{"label": name} for name in CLASSES]}
    aws.s3.put_object(Bucket=BUCKET, Key="theirs/classes.json", Body=json.dumps(labels))
    aws.s3.put_object(Bucket=BUCKET, Key="theirs/template.liquid", Body="page")
    aws.s3.put_object(Bucket=BUCKET, Key="theirs/input.manifest", Body="".join(lines))
    return len(lines)


def aws_s3_ls(url: str) -> None:
    command = [
        str(Path(sys.executable).parent / "aws"),
        "--endpoint-url",
        url,
        "s3",
        "ls",
        "--recursive",
        PREFIX,
    ]
    subprocess.run(
        command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, **environ(url, Context())}
    )


class Replay:
    """A client that lists pages it has seen before, and swallows what is uploaded."""

    def __init__(self, pages: list[Any]) -> None:
        self.pages = pages
        self.received = 0

    def get_paginator(self, _operation: str) -> Replay:
        return self

    def paginate(self, **_parameters: str) -> Iterator[Any]:
        return iter(self.pages)

    def upload_fileobj(self, body: io.BufferedIOBase, *_place: str, **_options: Any) -> None:
        while part := body.read(1 << 20):
            self.received += len(part)


def replay(client: Any, into: S3Uri) -> int:
    return write_lines(client, into, manifest_lines(image.uri for image in list_images(client, PREFIX)))


def photographs() -> dict[str, bytes]:
    """Photographs of 113 kB to 2 MB as cameras write them: with a thumbnail and a profile, or without."""
    picture = Image.open(PHOTOGRAPH).convert("RGB")
    exif = Image.Exif()
    exif[0x0112], exif[0x927C] = 6, bytes(range(256)) * 50
    plain: dict[str, Any] = {}
    camera: dict[str, Any] = {"exif": exif, "icc_profile": bytes(3_144)}
    bodies = {"real, 1280x722": PHOTOGRAPH.read_bytes()}
    for size, quality in (((960, 540), 85), ((1280, 722), 92), ((1920, 1080), 92), ((4000, 2250), 88)):
        for kind, options in (("plain", plain), ("camera", camera)):
            body = io.BytesIO()
            picture.resize(size).save(body, "JPEG", quality=quality, **options)
            bodies[f"{kind}, {size[0]}x{size[1]}"] = body.getvalue()
    return bodies


def count_answers(aws: Aws) -> dict[str, int]:
    """Requests and bytes of what is read from S3 from now on."""
    counted = {"requests": 0, "bytes": 0}

    def note(parsed: Mapping[str, Any], **_: Any) -> None:
        counted["requests"] += 1
        counted["bytes"] += int(parsed["ContentLength"])

    aws.s3.meta.events.register("after-call.s3.GetObject", note)
    return counted


def listing(aws: Aws, url: str, objects: int, runs: int) -> None:
    programs = {
        "gtlabel: list, write manifest": lambda: ours(aws),
        "obvious boto3 script: the same": lambda: obvious_script(aws),
        "aws s3 ls --recursive": lambda: aws_s3_ls(url),
    }
    rows = beside(runs, lambda: bare_loop(aws), programs)
    manifests = [read(aws.s3, S3Uri.of(BUCKET, f"{who}/input.manifest")) for who in ("ours", "theirs")]
    if manifests[0] != manifests[1] or manifests[0].count(b"\n") != objects:
        raise SystemExit("the manifests differ")
    print(
        f"{'':<40}{'seconds':>9}{'own CPU s':>11}{'objects/s':>12}{'a CPU s':>12}{'to bare':>9}{'limit':>13}"
    )
    for name, taken in zip(["bare list_objects_v2 loop", *programs], rows, strict=True):
        in_this_process = not name.startswith("aws")
        cpu = f"{taken.cpu:>11.2f}" if in_this_process else " " * 11
        per_cpu = f"{objects / taken.cpu:>12,.0f}" if in_this_process else " " * 12
        limit = "<= 1.30" if name.startswith("gtlabel") else ""
        speed = f"{objects / taken.seconds:,.0f}"
        print(
            f"{name:<40}{taken.seconds:>9.2f}{cpu}{speed:>12}{per_cpu}{taken.ratio:>9.2f}{limit:>13}",
            flush=True,
        )


def replaying(aws: Aws, objects: int, runs: int) -> None:
    pages = list(aws.s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=PREFIX.key))
    again = max(1, REPLAYED // objects)
    client = Replay(pages * again)
    if replay(client, PREFIX) != objects * again:
        raise SystemExit("the replay lost objects")
    seconds, cpu = (
        statistics.median(column)
        for column in zip(*(once(lambda: replay(client, PREFIX)) for _ in range(runs)), strict=True)
    )
    name, count = f"gtlabel: {objects * again:,} from memory", objects * again
    speeds = f"{count / seconds:>12,.0f}{count / cpu:>12,.0f}"
    print(f"{name:<40}{seconds:>9.2f}{cpu:>11.2f}{speeds}{'':>9}{'>= 300,000/s':>13}", flush=True)


def headers(aws: Aws) -> None:
    bodies = photographs()
    print(f"\n{'photograph':<24}{'bytes':>12}{'read':>9}{'requests':>10}{'fewer':>9}{'limit':>9}")
    counted = count_answers(aws)
    for number, (name, body) in enumerate(bodies.items()):
        place = S3Uri.of(BUCKET, f"photographs/{number}.jpg")
        aws.s3.put_object(Bucket=BUCKET, Key=place.key, Body=body)
        counted.update(requests=0, bytes=0)
        select_images(aws.s3, place)
        print(
            f"{name:<24}{len(body):>12,}{counted['bytes']:>9,}{counted['requests']:>10}"
            f"{len(body) / counted['bytes']:>8.0f}x{'>= 10x':>9}"
        )
    counted.update(requests=0, bytes=0)
    usable = select_images(aws.s3, S3Uri.of(BUCKET, "photographs/"))
    total = sum(image.size for image in usable.images)
    print(
        f"{'all of them':<24}{total:>12,}{counted['bytes']:>9,}{counted['requests']:>10}"
        f"{total / counted['bytes']:>8.0f}x{'>= 10x':>9}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--objects", type=int, default=20_000)
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        os.environ.pop(name, None)
    with running() as address:
        aws = Aws(session(Context().region), address.url)
        fill(aws, arguments.objects)
        listing(aws, address.url, arguments.objects, arguments.runs)
        replaying(aws, arguments.objects, arguments.runs)
        headers(aws)
    print(f"\nload of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
