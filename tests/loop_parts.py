"""The loop from a camera back to its next model, for a test and for a benchmark.

A model learns from clear photographs and is deployed; then the evenings get longer: half of what the camera
sees is dark, warm and blurred. It keeps what it is unsure of, people label that, and the next model learns
from both.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageFilter

from gtlabel.delivery import TrainedModel, deploy, fetch_model
from gtlabel.edge.collect import FramesPlan, bring_frames, plan_frames
from gtlabel.emulator.devices import device_process, read_results
from gtlabel.images.upload import upload_folder
from gtlabel.journey import consolidate_jobs, plan_labeling, plan_training, start_labeling
from gtlabel.manifests.split import Shares
from gtlabel.networks.runtime import Network
from gtlabel.storage import write
from gtlabel.training.jobs import create_training_job, wait_for_training_job
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from gtlabel.aws import Aws
    from gtlabel.emulator.actors import Workers
    from gtlabel.emulator.child import Address

SAMPLES = Path(__file__).parent.parent / "samples" / "trash"
CLASSES = ("Compost", "Landfill", "Recycle")
BUCKET = S3Uri("s3://loop/")
THING = "kitchen"


def known(truth: str) -> dict[Path, str]:
    """The photographs of the sample and their classes."""
    rows = [json.loads(line) for line in (SAMPLES / truth).read_text().splitlines()]
    return {SAMPLES / row["image"]: row["class"] for row in rows}


def in_the_evening(photo: Path) -> bytes:
    """What the camera sees of the same thing when the lamp is on: dark, warm, and out of focus."""
    with Image.open(photo) as picture:
        blurred = picture.convert("RGB").filter(ImageFilter.GaussianBlur(1.5))
    pixels = np.asarray(blurred, np.float32) * (0.55, 0.38, 0.2)
    buffer = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


@dataclass(frozen=True)
class Scores:
    """How often a model is right about held-out photographs, by day and in the evening."""

    day: float
    evening: float


class Loop:
    """One camera, its owner and the people who label.

    Args:
        aws: the account; a bucket is made in it.
        address: where the account is.
        workers: who labels.
        folder: the camera's disk and what it sees.
        clear: how many photographs there are to begin with, all of them taken by day.
        side: of the network's input, in pixels.
        seed: chooses which these are; the camera sees the others, by day and in the evening.
    """

    def __init__(
        self,
        aws: Aws,
        address: Address,
        workers: Workers,
        folder: Path,
        *,
        clear: int,
        side: int,
        seed: int = 0,
    ) -> None:
        self._aws, self._address, self._workers = aws, address, workers
        self._folder, self._side = folder, side
        self.disk = folder / "disk"
        photos = known("truth.jsonl")
        names = sorted(photos)
        Random(seed).shuffle(names)
        self._truth: dict[str, str] = {}
        for name, chosen in (("first", names[:clear]), ("later", names[clear:])):
            (folder / name).mkdir(parents=True)
            for photo in chosen:
                for data in (photo.read_bytes(), *([in_the_evening(photo)] if name == "later" else [])):
                    # Frames that come back are named after their bytes.
                    file = f"{sha256(data).hexdigest()[:20]}.jpg"
                    (folder / name / file).write_bytes(data)
                    self._truth[file] = photos[photo]
        held_out = known("held-out.jsonl")
        (folder / "held-out").mkdir()
        for photo in held_out:
            (folder / "held-out" / photo.name).write_bytes(in_the_evening(photo))
        self.held_out = {photo.name: name for photo, name in held_out.items()}
        aws.s3.create_bucket(Bucket=BUCKET.bucket)

    def label(self, job: str, pictures: S3Uri) -> None:
        """Have people label what lies under a prefix."""
        plan = plan_labeling(
            self._aws,
            pictures,
            CLASSES,
            team="gtlabel",
            role="gtlabel",
            name=job,
            workers_per_image=1,
        )
        start_labeling(self._aws, plan)
        self._workers.answer(job, truth=self._truth, workers=1)

    def label_day(self) -> None:
        """The first labeling job: photographs of the day."""
        upload_folder(self._aws.s3, self._folder / "first", BUCKET / "day/")
        self.label("day", BUCKET / "day/")

    def train(self, name: str, *jobs: str) -> TrainedModel:
        """A model of what these jobs labeled."""
        dataset = consolidate_jobs(self._aws, jobs, BUCKET / f"{name}/", shares=Shares(validation=0.1))
        request = plan_training(
            self._aws,
            dataset,
            role="gtlabel",
            name=name,
            hyperparameters={"image_shape": f"3,{self._side},{self._side}", "epochs": 1},
        )
        create_training_job(self._aws.sagemaker, request)
        wait_for_training_job(self._aws.sagemaker, name, poll=0.05, timeout=120)
        return fetch_model(self._aws, name)

    def see(self, model: TrainedModel, what: str, **settings: str) -> dict[str, str | None]:
        """Deploy a model to the camera; return what it says of each picture, and then there are no more.

        Args:
            model: replaces the one before.
            what: `later`, or `held-out` for the held-out photographs in the evening.
            settings: of the component.
        """
        with device_process(self._address, THING, self.disk) as ended:
            deploy(
                self._aws,
                model,
                THING,
                name="loop",
                configuration={
                    "folder": str(self._folder / what),
                    "watch": "no",
                    "threshold": "0",
                    **settings,
                },
                poll=0.05,
                timeout=120,
            )
            ended()
        results = read_results(self.disk, "loop")
        return {Path(line["image"]).name: line["label"] for line in results if "image" in line}

    def collect(self, most: int | None = None) -> FramesPlan:
        """Bring what the camera was unsure of to S3."""
        plan = plan_frames(self._aws.s3, [self.disk], self.unsure, known=[BUCKET / "day/"], most=most)
        bring_frames(self._aws.s3, plan)
        return plan

    @property
    def unsure(self) -> S3Uri:
        """Where the unsure frames come to."""
        return BUCKET / "unsure/"

    def drawn(self, count: int, seed: int) -> S3Uri:
        """Bring as many of the camera's frames, whatever the model said, and tell where they are."""
        files = sorted((self._folder / "later").iterdir())
        for file in Random(seed).sample(files, count):
            write(self._aws.s3, BUCKET / "random/" / file.name, file.read_bytes(), "image/jpeg")
        return BUCKET / "random/"

    def scores(self, model: TrainedModel) -> Scores:
        """How good a model is."""
        network = Network(model.onnx)

        def share(folder: Path) -> float:
            pixels = np.stack([network.load((folder / name).read_bytes()) for name in self.held_out])
            guesses = [model.classes[index] for index in network.probabilities(pixels).argmax(axis=1)]
            return self.right(dict(zip(self.held_out, guesses, strict=True)))

        return Scores(share(SAMPLES / "held-out"), share(self._folder / "held-out"))

    def right(self, said: Mapping[str, str | None]) -> float:
        """The share of the held-out photographs that were told right."""
        assert said.keys() == self.held_out.keys()
        return sum(said[name] == right for name, right in self.held_out.items()) / len(said)
