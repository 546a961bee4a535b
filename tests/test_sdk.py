"""Programs with AWS's own SDK train on a dataset: its channels are the SDK's, and so is the rest."""

from __future__ import annotations

import json
import os
import pickle
import re
import subprocess
import sys
import urllib.request
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from dataset_parts import BINS, said
from programs import need

from gtlabel import plan_training
from gtlabel.aws import Aws
from gtlabel.datasets.channels import Channels, Dataset, read_dataset
from gtlabel.datasets.consolidate import consolidate
from gtlabel.emulator.child import Address
from gtlabel.emulator.environment import ROLE, session
from gtlabel.errors import DatasetError, MissingExtraError, TrainingRegionError
from gtlabel.journey import fetch_model
from gtlabel.networks.runtime import Network
from gtlabel.storage import write, write_lines
from gtlabel.training.image import image_uri, regions
from gtlabel.uris import S3Uri

HERE = Path(__file__).parent
SDK_SAMPLES = HERE.parent / "samples" / "sdk"
TRASH = HERE.parent / "samples" / "trash"
DATASET = S3Uri("s3://trash/bins/")
ROLE_ARN = f"arn:aws:iam::123456789012:role/{ROLE}"


def dataset(**changes: Any) -> Dataset:
    """A dataset of which only the words exist."""
    channel = {"manifest": f"{DATASET}train.manifest", "images": 8, "sha256": "0" * 64}
    fields: dict[str, Any] = {
        "uri": DATASET,
        "attribute": "label",
        "classes": [{"name": name, "folder": DATASET / name, "train": 3, "validation": 1} for name in BINS],
        "channels": {
            "train": channel,
            "validation": {**channel, "manifest": f"{DATASET}validation.manifest", "images": 4},
        },
        "sources": [],
        "validation": 0.2,
        **changes,
    }
    return Dataset.model_validate(fields)


def test_channels_are_a_mapping_in_python_in_json_and_in_another_process() -> None:
    made = dataset()
    channels = dict(made.channels)
    assert list(channels) == ["train", "validation"]
    assert made.channels == channels
    assert made.channels["train"].images == 8
    assert json.loads(made.model_dump_json())["channels"]["train"]["images"] == 8
    assert made.model_dump()["channels"]["validation"]["images"] == 4
    for copy in (Dataset.model_validate_json(made.model_dump_json()), pickle.loads(pickle.dumps(made))):
        assert copy == made
        assert isinstance(copy.channels, Channels)
        assert copy.channels.attribute == "label"


def test_without_the_sdk_a_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sagemaker", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'gtlabel\[sagemaker\]'"):
        dataset().channels()


def test_a_channel_that_would_stay_empty_is_not_given_away() -> None:
    made = dataset()
    empty = made.channels["validation"].model_copy(update={"images": 0})
    with pytest.raises(DatasetError, match=r"bins/validation\.manifest names no image; .* for validation"):
        dataset(channels={"train": made.channels["train"], "validation": empty}).channels()
    with pytest.raises(DatasetError, match="no channel 'test'; it has train, validation"):
        made.channels("train", "test")


@dataclass(frozen=True)
class Told:
    """A session with the SDK.

    Attributes:
        aws: the account it went on in.
        printed: what the samples printed.
        answers: what calls beside them gave.
    """

    aws: Aws
    printed: list[str]
    answers: dict[str, Any]

    @property
    def trained(self) -> list[str]:
        """The names of the jobs that came to their end, the first one first."""
        jobs = self.aws.sagemaker.list_training_jobs(StatusEquals="Completed")["TrainingJobSummaries"]
        return [job["TrainingJobName"] for job in jobs]


@pytest.fixture(scope="module")
def python() -> str:
    """A Python with the SDK and gtlabel."""
    found = os.environ.get("GTLABEL_SDK_PYTHON") or (sys.executable if find_spec("sagemaker") else "")
    need(
        found,
        "trains with AWS's SDK, which is 1 GB; get it in an environment of its own and name its Python: "
        "python3 -m venv sdk && sdk/bin/pip install -e '.[test-sdk]' && "
        "export GTLABEL_SDK_PYTHON=$PWD/sdk/bin/python",
    )
    return found


@pytest.fixture(scope="module")
def told(python: str, gtlabel_server: Address) -> Told:
    """What came of a session with the SDK: the samples, and `sdk_training.py` around them."""
    with urllib.request.urlopen(
        urllib.request.Request(f"{gtlabel_server.url}/moto-api/reset", method="POST"), timeout=120
    ):
        pass
    aws = Aws(session("us-east-1"), gtlabel_server.url)
    put_dataset(aws)
    run = subprocess.run(
        [python, str(HERE / "sdk_training.py"), str(SDK_SAMPLES), DATASET, ROLE_ARN],
        env={
            **os.environ,
            **gtlabel_server.environ,
            "OMP_NUM_THREADS": "1",
            "SAGEMAKER_USER_CONFIG_OVERRIDE": str(SDK_SAMPLES / "no-telemetry.yaml"),
        },
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    print(run.stdout, run.stderr)
    # Between the lines stands what the SDK prints for people.
    lines = run.stdout.splitlines()
    printed = [line for line in lines if line.startswith(("bins-", "s3://"))]
    return Told(aws, printed, dict(json.loads(line) for line in lines if line.startswith('["')))


def put_dataset(aws: Aws) -> None:
    """Six photographs of each bin, labeled and consolidated where they lie."""
    aws.s3.create_bucket(Bucket=DATASET.bucket)
    lines = []
    for name in BINS:
        labeled = (json.loads(line) for line in (TRASH / "truth.jsonl").read_text().splitlines())
        for record in [each for each in labeled if each["class"] == name][:6]:
            image = S3Uri.of(DATASET.bucket, record["image"])
            write(aws.s3, image, (TRASH / record["image"]).read_bytes())
            lines.append(json.dumps({"source-ref": image, **said(name)}).encode())
    output = S3Uri("s3://trash/jobs/output.manifest")
    write_lines(aws.s3, output, lines)
    consolidate(aws.s3, [output], DATASET, mode="none")


@pytest.mark.slow
def test_the_images_are_those_of_the_sdk_in_every_region_and_missing_where_they_are(told: Told) -> None:
    def ours(region: str) -> str | None:
        try:
            return image_uri(region)
        except TrainingRegionError:
            return None

    theirs = told.answers["images"]
    assert {region: ours(region) for region in theirs} == theirs
    assert set(regions()) < set(theirs)


@pytest.mark.slow
def test_the_channels_of_the_sdk_are_those_of_our_own_training(told: Told) -> None:
    aws = told.aws
    planned = plan_training(aws, read_dataset(aws.s3, DATASET), role=ROLE_ARN).to_boto()["InputDataConfig"]
    for name in told.trained:
        assert aws.sagemaker.describe_training_job(TrainingJobName=name)["InputDataConfig"] == planned


@pytest.mark.slow
def test_what_the_samples_trained_has_landed_where_they_say_and_knows_the_bins(told: Told) -> None:
    by_trainer, by_core = told.trained
    models = DATASET / "models"
    assert told.printed == [
        f"{by_trainer} {models}/{by_trainer}/output/model.tar.gz",
        f"{models}/{by_core}/output/model.tar.gz",
    ]
    for name in told.trained:
        assert Network(fetch_model(told.aws, name).onnx).classes == BINS


@pytest.mark.slow
def test_jobs_are_created_looked_at_listed_stopped_and_waited_for(told: Told) -> None:
    answers = told.answers
    arn = "arn:aws:sagemaker:us-east-1:123456789012:training-job"
    assert answers["get"] == ["Completed", "3", f"{arn}/by-core"]
    assert answers["stop, refresh"] is True
    assert answers["wait"] == "Stopped"
    by_trainer, *others = answers["get_all"]
    assert re.fullmatch(r"bins-\d{14}", by_trainer[0])
    assert others == [["by-core", "Completed"], ["again", "Stopped"]]
    assert answers["get_all 'core'"] == ["by-core"]
    assert "(ResourceNotFound)" in answers["get 'nothing'"]
