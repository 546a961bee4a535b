"""Class folders by copies inside an S3 that is 50 ms away: ours, one after the other, and `aws s3 cp`.

Run: python tests/benchmarks/copies.py [--latency 50] [--images 2000] [--most 10000] [--rounds 5]

Example: python tests/benchmarks/copies.py --images 400 --most 800 --rounds 1

The S3 is `distant.py` in a process of its own. One after the other 200 pictures are copied, by a loop over
boto3's `copy_object`; `aws s3 cp --recursive` copies as many as we do, with its start-up. What is timed of
ours is all of it: listing, placing, copying. Rounds are taken in turn, and of each the middle is shown. CPU
seconds are of this process, without the S3's.

Ends with 1 if ours is not 25 times the loop and as fast as `aws s3 cp`, or if a picture of the largest run
costs more than 1.25 times what one of the smallest does.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from distant import ask, elsewhere

from gtlabel.aws import Aws
from gtlabel.datasets.copying import copy_missing, present_copies
from gtlabel.datasets.folders import find, place
from gtlabel.storage import list_objects
from gtlabel.uris import S3Uri

BARS = {"loop": 25.0, "aws": 1.0, "flat": 1.25}
_CLASSES = ("Compost", "Landfill", "Recycle")
_IN_A_ROW = 200


@dataclass(frozen=True)
class Taken:
    """How long so many copies took."""

    images: int
    wall: float
    cpu: float

    @property
    def rate(self) -> float:
        """Copies a second."""
        return self.images / self.wall


def timed(images: int, work: Callable[[], object]) -> Taken:
    """How long it takes, in seconds of the clock and of this process."""
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return Taken(images, time.perf_counter() - wall, time.process_time() - cpu)


def middle(rounds: list[Taken]) -> Taken:
    """The middle of each figure."""
    return Taken(rounds[0].images, median(item.wall for item in rounds), median(item.cpu for item in rounds))


class Course:
    """The ways to copy, over one S3."""

    def __init__(self, url: str) -> None:
        self._url = url
        os.environ.update(AWS_ACCESS_KEY_ID="AKIDEXAMPLE", AWS_SECRET_ACCESS_KEY="none")
        os.environ.pop("AWS_PROFILE", None)
        self._s3 = Aws(endpoint_url=url, region="us-east-1").s3

    def fill(self, images: int) -> None:
        """Put so many pictures into a folder of their own."""
        ask(self._url, "fill", prefix=f"photos/{images}/", count=images)

    def forget(self) -> None:
        """Delete all copies."""
        ask(self._url, "forget", prefix="photos/dataset")

    def ours(self, images: int) -> Taken:
        """As consolidation does."""
        into = S3Uri("s3://photos/dataset/")

        def work() -> None:
            addresses = [S3Uri(f"s3://photos/{images}/{number:06d}.jpg") for number in range(images)]
            objects = find(self._s3, addresses)
            labeled = [(objects[image], _CLASSES[n % 3]) for n, image in enumerate(addresses)]
            placements = list(place(labeled, into).values())
            copied = copy_missing(self._s3, placements, present_copies(self._s3, into, placements))
            assert copied == images

        return timed(images, work)

    def again(self, images: int) -> Taken:
        """Once more, where all is there."""
        into = S3Uri("s3://photos/dataset/")

        def work() -> None:
            objects = list(list_objects(self._s3, S3Uri(f"s3://photos/{images}/")))
            placements = list(
                place(((item, _CLASSES[n % 3]) for n, item in enumerate(objects)), into).values()
            )
            assert copy_missing(self._s3, placements, present_copies(self._s3, into, placements)) == 0

        return timed(images, work)

    def in_a_row(self, source: int, images: int) -> Taken:
        """One after the other, as a script does."""

        def work() -> None:
            for number in range(images):
                self._s3.copy_object(
                    CopySource={"Bucket": "photos", "Key": f"{source}/{number:06d}.jpg"},
                    Bucket="photos",
                    Key=f"dataset/classes/{_CLASSES[number % 3]}/{number:06d}.jpg",
                )

        return timed(images, work)

    def by_aws(self, images: int) -> Taken:
        """`aws s3 cp --recursive`, as it comes."""
        program = str(Path(sys.executable).parent / "aws")
        command = [program, "--endpoint-url", self._url, "s3", "cp", "--recursive", "--only-show-errors"]
        copied = [*command, f"s3://photos/{images}/", "s3://photos/dataset/all/"]

        def work() -> None:
            subprocess.run(copied, check=True, env={**os.environ, "AWS_REGION": "us-east-1"})

        return timed(images, work)


def measure(latency: float, images: int, most: int, rounds: int) -> dict[str, Taken]:
    """Every way, in turn, so many times."""
    taken: dict[str, list[Taken]] = {}
    with elsewhere(latency) as url:
        course = Course(url)
        few = max(most // 10, 1)
        for size in {images, most, few}:
            course.fill(size)
        course.in_a_row(images, 5)
        ways: dict[str, Callable[[], Taken]] = {
            "loop": lambda: course.in_a_row(images, min(_IN_A_ROW, images)),
            "ours": lambda: course.ours(images),
            "aws": lambda: course.by_aws(images),
            "few": lambda: course.ours(few),
            "most": lambda: course.ours(most),
        }
        for _ in range(rounds):
            for name, way in ways.items():
                course.forget()
                taken.setdefault(name, []).append(way())
            taken.setdefault("again", []).append(course.again(most))
    return {name: middle(items) for name, items in taken.items()}


def judge(taken: dict[str, Taken]) -> dict[str, float]:
    """The ratios that the bars are about."""
    ours = taken["ours"].rate
    few, most = taken["few"], taken["most"]
    return {
        "loop": ours / taken["loop"].rate,
        "aws": ours / taken["aws"].rate,
        "flat": (most.cpu / most.images) / (few.cpu / few.images),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--latency", type=float, default=50.0, help="milliseconds of every answer")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--most", type=int, default=10000, help="the largest of ours, 10 times the smallest")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    taken = measure(given.latency / 1000, given.images, given.most, given.rounds)
    names = {
        "loop": "boto3, one after the other",
        "aws": "aws s3 cp --recursive",
        "ours": "ours",
        "few": "ours, few",
        "most": "ours, many",
        "again": "ours, many, all there",
    }
    print(f"{'':<28}{'copies':>8}{'copies/s':>11}{'wall ms each':>14}{'CPU ms each':>13}")
    for key, name in names.items():
        item = taken[key]
        wall, cpu = 1000 * item.wall / item.images, 1000 * item.cpu / item.images
        # The CPU of another program is not ours to tell.
        shown = "" if key == "aws" else f"{cpu:.3f}"
        print(f"{name:<28}{item.images:>8}{item.rate:>11.0f}{wall:>14.3f}{shown:>13}")
    ratios = judge(taken)
    met = ratios["loop"] >= BARS["loop"], ratios["aws"] >= BARS["aws"], ratios["flat"] <= BARS["flat"]
    print(f"\nours / loop     {ratios['loop']:6.1f}   at least {BARS['loop']:.0f}")
    print(f"ours / aws      {ratios['aws']:6.1f}   at least {BARS['aws']:.0f}")
    print(f"CPU many / few  {ratios['flat']:6.2f}   at most {BARS['flat']}")
    sys.exit(0 if all(met) else 1)


if __name__ == "__main__":
    main()
