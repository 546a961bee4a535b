"""A trained model on its way to a device: by whatever it is called, with pictures to prove itself on."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest
from backend_parts import ROLE, SMALL, put_labels
from dataset_parts import BINS, BUCKET
from edge_parts import account
from judging_parts import CLASSES, class_folders, color_artifact, color_network, here
from moto import mock_aws
from test_earlier import put_artifact

import gtlabel
from gtlabel.aws import Aws
from gtlabel.cli.bundles import check_core
from gtlabel.datasets.channels import Dataset
from gtlabel.datasets.consolidate import consolidate
from gtlabel.delivery import TrainedModel, component_name, fetch_model, pack
from gtlabel.edge.bundle import read_bundle
from gtlabel.emulator.environment import session
from gtlabel.errors import DeviceNotFoundError, EdgeError
from gtlabel.networks.artifact import read_artifact
from gtlabel.networks.onnx import to_onnx
from gtlabel.networks.runtime import Network
from gtlabel.training.jobs import create_training_job
from gtlabel.uris import S3Uri

JOB = "bins-1"
INTO = S3Uri(f"s3://{BUCKET}/delivered/")
RESNET = Path(__file__).parent / "recorded" / "mxnet-resnet20"


@pytest.fixture(scope="module")
def aws() -> Iterator[Aws]:
    """An account with a dataset and a job that was trained on it."""
    with mock_aws():
        clients = Aws(session("us-east-1"))
        clients.s3.create_bucket(Bucket=BUCKET)
        yield clients


@pytest.fixture(scope="module")
def dataset(aws: Aws, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    made = consolidate(aws.s3, [put_labels(aws.s3)], INTO)
    request = gtlabel.plan_training(aws, made, role=ROLE, name=JOB, hyperparameters=SMALL)
    create_training_job(aws.sagemaker, request)
    folder = color_artifact(tmp_path_factory.mktemp("artifact"))
    files = {file.name: file.read_bytes() for file in folder.iterdir()}
    put_artifact(aws.s3, "model", INTO / f"models/{JOB}/output/model.tar.gz", **files)
    return made


@pytest.fixture(scope="module")
def trained(aws: Aws, dataset: Dataset) -> TrainedModel:
    return fetch_model(aws, JOB, most_drop=0.01)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return class_folders(tmp_path_factory.mktemp("known") / "colors")


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A network in a file, in the folder that commands run in."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "colors.onnx").write_bytes(color_network())
    return tmp_path / "colors.onnx"


def test_a_model_knows_its_jobs_and_the_data_it_was_made_of(trained: TrainedModel, dataset: Dataset) -> None:
    assert (trained.classes, trained.address) == (BINS, INTO / f"models/{JOB}/output/model.tar.gz")
    lineage = trained.lineage
    assert (lineage["training-job"], lineage["dataset"]) == (JOB, INTO)
    assert lineage["dataset-sha256"] == dataset.certificate
    assert lineage["train-sha256"] == dataset.channels["train"].sha256
    assert lineage["validation-sha256"] == dataset.channels["validation"].sha256
    assert lineage["labeling-jobs"]
    assert len(lineage["params-sha256"]) == 64
    # Who has nothing but the network's file can still tell.
    written = {each.key: each.value for each in onnx.load_from_string(trained.onnx).metadata_props}
    assert (written["training-job"], written["dataset-sha256"]) == (JOB, dataset.certificate)
    assert written["labeling-jobs"].split() == lineage["labeling-jobs"]


def test_a_device_proves_itself_on_pictures_that_were_kept_from_training(
    trained: TrainedModel, aws: Aws, dataset: Dataset, tmp_path: Path
) -> None:
    lines = aws.s3.get_object(Bucket=BUCKET, Key=dataset.channels["validation"].manifest.key)["Body"].read()
    kept = {S3Uri(json.loads(line)["source-ref"]).name for line in lines.splitlines()}
    assert trained.self_test
    assert set(trained.self_test) <= kept
    bundle = pack(trained, tmp_path / "bins.zip")
    assert bundle.manifest.name == "delivered"
    assert bundle.manifest.lineage["training-job"] == JOB
    accuracy = bundle.manifest.accuracy
    assert accuracy.pictures == dataset.channels["validation"].images
    assert accuracy.decision == "fp32 is used: it has no convolutions, which is what 8 bits speed up"
    assert pack(trained, tmp_path / "again.zip").sha256 == bundle.sha256


def test_names_are_made_of_the_dataset_and_begin_as_a_deeplens_wants_them(trained: TrainedModel) -> None:
    assert component_name(trained) == "deeplens-delivered"
    assert component_name(S3Uri("s3://photos/deeplens-trash/")) == "deeplens-trash"


def test_a_file_becomes_a_bundle_without_an_account(
    model: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, told, said = here(capsys, "deploy", model, "--pictures", pictures, "--set", "threshold=0.8")
    assert code == 0, said
    bundle = read_bundle(Path("colors.zip"))
    manifest = bundle.manifest
    assert (manifest.name, manifest.labels, manifest.threshold) == ("colors", CLASSES, 0.8)
    assert [case.label for case in manifest.self_test.cases] == ["Blue", "Green", "Red"]
    assert (manifest.accuracy.pictures, manifest.accuracy.fp32) == (12, 1.0)
    assert f"bundle     colors.zip, {bundle.path.stat().st_size / 1e6:.1f} MB" in told
    assert "sudo python3 colors/install.py --to /opt/gtlabel/colors; colors/README has the rest" in said


def test_a_dry_run_tells_everything_and_writes_nothing(
    model: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--pictures", pictures, "--no-int8", "--name", "kitchen", "--dry-run", "--output", "json")
    code, told, said = here(capsys, "deploy", model, *options)
    assert code == 0, said
    line = json.loads(told)
    assert (line["bundle"], line["written"], line["manifest"]["name"]) == ("kitchen.zip", False, "kitchen")
    assert line["manifest"]["accuracy"]["fp32"] is None
    assert [path.name for path in model.parent.iterdir()] == [model.name]


def test_a_bundle_is_unpacked_to_a_folder_that_is_not_there(
    model: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("deploy", model, "--pictures", pictures, "--no-int8", "--out", "unpacked")
    assert here(capsys, *options)[0] == 0
    assert json.loads(Path("unpacked/manifest.json").read_bytes())["name"] == "colors"
    code, _, said = here(capsys, *options)
    assert (code, said) == (
        1,
        "gtlabel: unpacked is there already; name another with --out, or a file that ends in .zip\n",
    )


def test_eight_bits_are_used_where_they_are_good_enough(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from PIL import Image

    network = Network(to_onnx(read_artifact(RESNET), BINS))
    for number in range(24):
        corners = (-2.0 + number / 12, -1.0, 0.5 + number / 12, 1.0)
        image = Image.effect_mandelbrot((28, 28), corners, 20 + number)
        image.convert("RGB").save(tmp_path / "one.png")
        row = network.probabilities(network.load((tmp_path / "one.png").read_bytes())[None])[0]
        folder = tmp_path / "known" / BINS[int(row.argmax())]
        folder.mkdir(parents=True, exist_ok=True)
        (tmp_path / "one.png").rename(folder / f"{number}.png")
    options = ("--classes", ",".join(BINS), "--pictures", tmp_path / "known", "--out", tmp_path / "b.zip")
    code, told, said = here(capsys, "deploy", RESNET, *options, "--most-drop", "0.2")
    assert code == 0, said
    manifest = read_bundle(tmp_path / "b.zip").manifest
    assert (manifest.model, set(manifest.models)) == ("int8", {"fp32", "int8"})
    assert (manifest.accuracy.fp32, manifest.accuracy.most_drop) == (1.0, 0.2)
    assert manifest.accuracy.int8 is not None
    assert manifest.accuracy.int8 >= 0.8
    assert "decision   int8 is used: int8 has " in told


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ([], "a device proves itself on such; name a dataset, a manifest or class folders with --pictures"),
        (["--pictures", "nowhere"], "there is nothing at nowhere"),
        (["--set", "color=red"], "'color' is no setting of the program"),
        (["--set", "threshold=high"], "would not take its settings: --threshold: high is not a number"),
        (["--set", "topic=a/#"], "would not take its settings: --topic: 'a/#' has a wildcard"),
        (["--wheels", "windows"], "there are no wheels for 'windows' in the default set"),
        (["--name", "a/b", "--pictures", "{pictures}"], "'a/b' cannot be a bundle's name"),
    ],
)
def test_what_cannot_be_bundled_is_said_in_a_sentence(
    model: Path, pictures: Path, capsys: pytest.CaptureFixture[str], options: list[str], sentence: str
) -> None:
    filled = [option.format(pictures=pictures) for option in options]
    code, told, said = here(capsys, "deploy", model, "--no-int8", *filled)
    assert (code, told, len(said.splitlines())) == (1, "", 1)
    assert sentence in said
    assert [path.name for path in model.parent.iterdir()] == [model.name]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--to", "camera", "--timeout", "-1"], "Invalid value for '--timeout'"),
        (["--to", "camera", "--poll", "-1"], "Invalid value for '--poll'"),
        (["--most-drop", "2"], "Invalid value for '--most-drop'"),
        (["--most-drop", "0.1", "--no-int8"], "the network that --no-int8 leaves out"),
        (["--int8", "0.1"], "No such option: --int8"),
        (["--to", "camera", "--out", "x.zip"], "--out: says nothing of the target greengrass"),
        (["--no-rollback"], "--no-rollback: says nothing of the target bundle"),
        (["--target", "deeplens", "--abort-after", "5"], "--abort-after: says nothing of"),
    ],
)
def test_options_that_cannot_be_meant_are_refused_before_anything_else(
    capsys: pytest.CaptureFixture[str], options: list[str], sentence: str
) -> None:
    code, told, said = here(capsys, "deploy", "nothing.onnx", *options)
    assert (code, told) == (2, "")
    # A frame is drawn around it, and lines break at its width.
    assert sentence in " ".join(said.replace("│", " ").split())


def test_whoever_deploys_to_a_deeplens_is_told_what_that_is_before_anything_is_fetched(
    model: Path, pictures: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    # Nobody listens at the port of `discard`.
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    code, _, said = here(capsys, "deploy", model, "--target", "deeplens", "--pictures", pictures, "--no-int8")
    note, refusal = said.splitlines()
    assert "service ended on 2024-01-31" in note
    assert "was not verified on a physical unit" in note
    # Its wheels come along unasked: it has no newer ones, and may have no internet.
    assert code == 1
    assert refusal == (
        "gtlabel: the wheels for linux-x86_64:3.11 cannot be fetched: the package index does not answer; "
        "go online and run this again"
    )
    assert [path.name for path in model.parent.iterdir()] == [model.name]


def test_a_deeplens_that_was_reflashed_is_one_only_when_its_core_has_reported(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with account() as cloud:
        cloud.register("kitchen-camera")
        check_core(lambda: cloud.aws, "kitchen-camera")
        said = capsys.readouterr().err
        assert "kitchen-camera runs aws_nucleus_lite on linux amd64" in said
        assert "was not verified on a physical unit" in said
        with pytest.raises(DeviceNotFoundError, match="no Greengrass core device 'attic'"):
            check_core(lambda: cloud.aws, "attic")
        assert "the system that a DeepLens was sold with cannot be one" in capsys.readouterr().err


def test_a_model_on_this_machine_is_nothing_that_a_core_device_can_fetch(
    model: Path, pictures: Path, aws: Aws
) -> None:
    fetched = fetch_model(aws, str(model), pictures=str(pictures))
    assert fetched.folder is None
    with pytest.raises(EdgeError, match=r"aws s3 cp .*colors\.onnx s3://BUCKET/models/"):
        gtlabel.deploy(aws, fetched, "camera")
