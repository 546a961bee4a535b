"""The journey of the demo, step by step, with the calls that AWS would get."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from gtlabel import journey
from gtlabel.aws import Aws
from gtlabel.datasets.places import Place
from gtlabel.datasets.report import Report, write_report
from gtlabel.datasets.report import Step as ReportStep
from gtlabel.datasets.survey import survey
from gtlabel.emulator.child import Address, reopen, running
from gtlabel.emulator.device import read_results
from gtlabel.emulator.deviceprocess import device_process
from gtlabel.emulator.simulate import answer, read_truth
from gtlabel.errors import EdgeError, SettingsError
from gtlabel.images.upload import upload_folder
from gtlabel.labeling.jobs import describe_labeling_job, wait_for_labeling_job
from gtlabel.labeling.preflight import let_browsers_in
from gtlabel.networks.evaluation import Evaluation, ScoredImage
from gtlabel.storage import read, write
from gtlabel.templates import shipped
from gtlabel.training.jobs import create_training_job, wait_for_training_job
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from gtlabel.datasets.channels import Dataset

Bar = Callable[[str], AbstractContextManager[Callable[[int, int], None]]]

BUCKET = "trash-sorter"
JOB = "trash-bins"
THING = "kitchen-camera"
WORKERS, WORKERS_PER_IMAGE, ACCURACY = 5, 3, 0.85
# Small pictures, so that the network learns and answers in seconds without a GPU.
HYPERPARAMETERS = {"image_shape": "3,64,64", "epochs": 1}
_MARK = ".gtlabel-demo"
_POLL = 0.2


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the journey: what it is called, what came of it, how long it took."""

    name: str
    outcome: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Summary:
    """What the demo prints."""

    accuracy: float
    baseline: float
    scored: int
    steps: tuple[Step, ...]
    report: str
    hint: str
    files: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        return asdict(self)


def prepare(folder: Path) -> Path:
    """Make the demo's folder, in place of the one that an earlier demo left.

    Raises:
        SettingsError: if the folder holds something else.
    """
    folder = folder.absolute()
    if folder.exists() and any(folder.iterdir()):
        if not (folder / _MARK).exists():
            raise SettingsError(f"{folder} holds something that no demo left there; name another with --into")
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _MARK).write_text("written by `gtlabel demo`, which replaces this folder the next time\n")
    return folder


class Walk:
    """One demo: an account of its own, and the steps that happen in it."""

    def __init__(self, folder: Path, *, seed: int, bar: Bar, tell: Callable[[str], None]) -> None:
        self.folder = folder
        self.seed = seed
        self.bar = bar
        self.tell = tell
        self.samples = Path(str(shipped("samples") / "trash"))
        self.steps: list[Step] = []
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        import boto3

        with self._step("start") as outcome:
            self.address: Address = self._stack.enter_context(running(self.folder / "state"))
            environ = self.address.environ
            session = boto3.Session(
                aws_access_key_id=environ["AWS_ACCESS_KEY_ID"],
                aws_secret_access_key=environ["AWS_SECRET_ACCESS_KEY"],
                region_name=environ["AWS_DEFAULT_REGION"],
            )
            self.aws = Aws(session, self.address.url)
            outcome(f"an account of its own at {self.address.url}")
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def go(self) -> Summary:
        """Walk the whole way.

        Raises:
            GtlabelError: as the step that could not be taken.
        """
        images = self._upload()
        self._label(images)
        self._answer()
        dataset = self._consolidate()
        training_job = self._train(dataset)
        model = journey.fetch_model(self.aws, training_job)
        evaluation = self._deploy(model)
        files = self._keep(model)
        report = Report(
            title="Trash sorter",
            survey=survey(Place(dataset.uri, lambda: self.aws.s3), thumbnails=True),
            evaluation=evaluation,
            steps=[ReportStep(step.name, step.seconds, step.outcome) for step in self.steps],
        )
        path = write_report(report, self.folder / "report.html")
        return Summary(
            accuracy=evaluation.accuracy,
            baseline=evaluation.majority[1],
            scored=len(evaluation.images),
            steps=tuple(self.steps),
            report=str(path),
            hint=f"look around in what it left: {reopen(self.folder / 'state')}",
            files=files,
        )

    def _upload(self) -> S3Uri:
        """Create the bucket with the CORS rule that workers' browsers need, and fill it."""
        images = S3Uri.of(BUCKET, "trash/")
        with self._step("upload") as outcome, self.bar("uploading") as show:
            self.aws.s3.create_bucket(Bucket=BUCKET)
            let_browsers_in(self.aws.s3, BUCKET)
            sent = upload_folder(self.aws.s3, self.samples / "images", images, on_progress=show)
            # A transfer that broke off is the usual way a bucket gets a picture that nobody can see.
            whole = read(self.aws.s3, sent[0])
            write(self.aws.s3, images / "broken-off.jpg", whole[: len(whole) // 2], "image/jpeg")
            outcome(f"{len(sent)} photographs and one that broke off")
        return images

    def _label(self, images: S3Uri) -> None:
        with self._step("label") as outcome:
            plan = journey.plan_labeling(
                self.aws,
                images,
                (self.samples / "classes.txt").read_text(encoding="utf-8").split(),
                team=self.address.environ["GTLABEL_TEAM"],
                role=self.address.environ["GTLABEL_ROLE"],
                name=JOB,
                workers_per_image=WORKERS_PER_IMAGE,
            )
            journey.start_labeling(self.aws, plan)
            refused = "; ".join(f"{refusal.uri.name} {refusal.reason}" for refusal in plan.usable.refused)
            outcome(f"{len(plan.usable.images)} photographs in a labeling job; left out: {refused}")

    def _answer(self) -> None:
        """Let simulated people answer, and follow the job as its owner would."""
        truth = read_truth(self.samples / "truth.jsonl")
        with self._step("answer") as outcome, self.bar("people answering") as show:
            with ThreadPoolExecutor(1) as people:
                answering = people.submit(answer, self.address.url, JOB, WORKERS, ACCURACY, truth, self.seed)
                job = wait_for_labeling_job(
                    self.aws.sagemaker,
                    JOB,
                    poll=_POLL,
                    on_change=lambda now: show(now.counters.done, now.counters.total),
                )
                summary = answering.result()
            outcome(
                f"{summary.answers} answers of {WORKERS} people; "
                f"{job.counters.labeled} photographs labeled, {job.counters.failed} failed"
            )

    def _consolidate(self) -> Dataset:
        with self._step("consolidate") as outcome, self.bar("copying") as show:
            dataset = journey.consolidate_jobs(self.aws, [JOB], S3Uri.of(BUCKET, "bins/"), on_progress=show)
            sizes = ", ".join(f"{item.name} {item.train + item.validation}" for item in dataset.classes)
            outcome(f"class folders and two channels: {sizes}")
        return dataset

    def _train(self, dataset: Dataset) -> str:
        with self._step("train") as outcome:
            request = journey.plan_training(
                self.aws,
                dataset,
                role=self.address.environ["GTLABEL_ROLE"],
                name=JOB,
                hyperparameters=HYPERPARAMETERS,
            )
            create_training_job(self.aws.sagemaker, request)
            job = wait_for_training_job(self.aws.sagemaker, request.name, poll=_POLL)
            samples = request.hyperparameters.num_training_samples
            kept = dataset.channels["validation"].images
            right = round(job.metrics["validation:accuracy"] * kept)
            outcome(f"a network from {samples} photographs; right on {right} of {kept} kept for validation")
        return job.name

    def _deploy(self, model: journey.TrainedModel) -> Evaluation:
        """Convert, deploy, and let the device classify the pictures that were held out."""
        device = self.folder / "device"
        with self._step("deploy") as outcome:
            with device_process(self.address, THING, device) as ended:
                deployed = journey.deploy(
                    self.aws,
                    model,
                    THING,
                    configuration={
                        "folder": str(self.samples / "held-out"),
                        "watch": "no",
                        "top": str(len(model.classes)),
                    },
                    timeout=60,
                    poll=_POLL,
                )
                ended()
            results = read_results(device, deployed.component.name)
            component = f"{deployed.component.name} {deployed.component.version}"
            evaluation = self._score(list(model.classes), results)
            outcome(f"{component} on {THING}, which classified {len(evaluation.images)} photographs")
        return evaluation

    def _score(self, classes: list[str], results: list[dict[str, Any]]) -> Evaluation:
        """Set what the device said beside the truth, which nobody else has seen."""
        lines = (self.samples / "held-out.jsonl").read_text(encoding="utf-8").splitlines()
        truth = {Path(line["image"]).name: line["class"] for line in map(json.loads, lines)}
        said = {Path(result["image"]).name: result["top"] for result in results if "image" in result}
        if missing := sorted(truth.keys() - said.keys()):
            raise EdgeError(f"{THING} did not classify {len(missing)} pictures, {missing[0]} among them")
        images = []
        for name, label in truth.items():
            share = {item["label"]: item["confidence"] for item in said[name]}
            picture = (self.samples / "held-out" / name).read_bytes()
            images.append(ScoredImage(name, label, [share[each] for each in classes], picture))
        return Evaluation(classes, images)

    def _keep(self, model: journey.TrainedModel) -> dict[str, str]:
        """Bring here what the numbers can be computed from again."""
        kept = {"model.onnx": model.onnx}
        addresses = {
            "model.tar.gz": S3Uri(model.address),
            "output.manifest": describe_labeling_job(self.aws.sagemaker, JOB).output_manifest,
        }
        for name, uri in addresses.items():
            if uri is not None:
                kept[name] = read(self.aws.s3, uri)
        for name, body in kept.items():
            (self.folder / name).write_bytes(body)
        return {name: str(self.folder / name) for name in kept}

    @contextmanager
    def _step(self, name: str) -> Iterator[Callable[[str], None]]:
        """Time a step; the function it yields takes what came of it."""
        start = time.perf_counter()
        outcomes: list[str] = []
        yield outcomes.append
        step = Step(name, outcomes[-1], time.perf_counter() - start)
        self.steps.append(step)
        self.tell(f"  {step.name:<12} {step.outcome}")
