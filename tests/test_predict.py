"""`gtlabel predict`: what a network says of pictures, wherever either lies, and that all see them alike."""

from __future__ import annotations

import io
import json
import math
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from judging_parts import (
    CLASSES,
    GTLABEL,
    color_artifact,
    color_network,
    gtlabel,
    here,
    no_aws,
    nobody,
    picture,
    pixel_network,
)
from PIL import Image
from programs import ending

from gtlabel import open_model, predict
from gtlabel.aws import Aws
from gtlabel.edge.archive import extract
from gtlabel.edge.bundle import build_bundle
from gtlabel.errors import ArtifactError, ClassListError, PredictionError
from gtlabel.networks.preprocess import load_image
from gtlabel.networks.runtime import Network
from gtlabel.training.batches import Look
from gtlabel.training.evaluate import judge
from gtlabel.training.image import image_uri
from gtlabel.training.jobs import create_training_job
from gtlabel.training.lineage import CLASSES as LISTED
from gtlabel.training.lineage import CLASSES_DIGEST, classes_digest
from gtlabel.training.model import Model, read_classes
from gtlabel.training.predict import Prediction, pictures
from gtlabel.training.request import request_for_dataset
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

BUCKET = "trash-photos"
BENCHMARK = Path(__file__).parent / "benchmarks" / "predicting.py"
PACKAGE = Path(sys.modules["gtlabel"].__file__ or "").parent


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "colors.onnx"
    path.write_bytes(color_network())
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two pictures in a folder, one in a folder below, one that is cut off, and a text."""
    folder = tmp_path / "photos"
    (folder / "below").mkdir(parents=True)
    (folder / "a.png").write_bytes(picture("red"))
    (folder / "b.JPG").write_bytes(picture("lime", "JPEG"))
    (folder / "below" / "c.png").write_bytes(picture("blue"))
    (folder / "cut.png").write_bytes(picture("red")[:50])
    (folder / "notes.txt").write_text("no picture")
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "gtlabel" / "networks"


def opened(path: Path, **options: Any) -> Model:
    return open_model(str(path), no_aws, **options)


def said(path: Path, *images: Path, **options: Any) -> list[Prediction]:
    return list(predict(opened(path), images, s3=nobody, **options))


def archive(folder: Path, path: Path) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for file in sorted(folder.iterdir()):
            tar.add(file, file.name)
    return path


# --- the command


def test_every_picture_of_a_folder_gets_a_line_and_the_broken_one_a_sentence(
    model: Path, photos: Path
) -> None:
    run = gtlabel("predict", model, photos)
    assert run.returncode == 1
    assert [line.split() for line in run.stdout.splitlines()] == [
        ["Red", "99.9%", f"{photos}/a.png"],
        ["Green", "99.9%", f"{photos}/b.JPG"],
        ["Blue", "99.9%", f"{photos}/below/c.png"],
    ]
    assert re.fullmatch(
        rf"{photos}/cut\.png: these 50 bytes are not a readable picture: .+\n"
        r"gtlabel: 1 of 4 pictures could not be read\n",
        run.stderr,
    )


def test_json_is_a_line_for_each_picture_with_the_keys_that_a_device_prints(
    model: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--output", "json", "--top-k", "2", "--threshold", "0.9995")
    code, out, _ = here(capsys, "predict", model, f"{photos}/*.png", *options)
    assert code == 1
    good, broken = map(json.loads, out.splitlines())
    assert list(good) == ["image", "label", "confidence", "top"]
    assert good["label"] is None
    sure = 1 / (1 + 2 * math.exp(-0.03 * 255))
    assert good["confidence"] == good["top"][0]["confidence"] == pytest.approx(sure, abs=1e-6)
    assert [guess["label"] for guess in good["top"]] == ["Red", "Green"]
    assert broken["image"] == f"{photos}/cut.png"
    assert "not a readable picture" in broken["error"]


def test_a_name_on_stdin_is_answered_before_the_next_one_comes(model: Path, photos: Path) -> None:
    command = [*GTLABEL, "predict", str(model), "-", "--output", "json"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with ending(process):
        assert process.stdin is not None
        assert process.stdout is not None
        for name, label in (("a.png", "Red"), ("b.JPG", "Green")):
            process.stdin.write(f"{photos / name}\n\n")
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["label"] == label
        process.stdin.close()
        assert process.stdout.read() == ""
        assert process.wait(60) == 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nothing.onnx", "x.png"], "there is no file nothing.onnx"),
        (["MODEL", "nowhere/*.png"], "no file is called like nowhere/*.png"),
        (["MODEL", "EMPTY"], "there is no picture in EMPTY"),
        (["MODEL", "x.png", "--classes", "a,b"], "tells 3 classes apart, but 2 names were given: a, b"),
        (
            ["MODEL", "x.png", "--classes", "Blue,Green,Red"],
            "the names given are in another order: Blue, Green",
        ),
        (
            ["MODEL", "x.png", "--classes", "a,b,c"],
            "are Red, Green, Blue, in this order, and the names given",
        ),
    ],
)
def test_what_is_not_there_is_said_in_one_sentence(
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "EMPTY").mkdir()
    monkeypatch.chdir(tmp_path)
    code, out, err = here(capsys, "predict", *(each.replace("MODEL", str(model)) for each in arguments))
    assert (code, out) == (1, "")
    assert sentence in err
    assert err.count("\n") == 1


# --- the pictures


def test_pictures_keep_their_order_however_many_there_are(model: Path, tmp_path: Path) -> None:
    kinds = ("red", "lime", "blue")
    files = []
    for number in range(100):
        path = tmp_path / f"{number}.png"
        path.write_bytes(picture(kinds[number * 7 % 3]))
        files.append(path)
    found = said(model, *files, batch=7)
    assert [Path(each.image) for each in found] == files
    assert [each.labels for each in found] == [(CLASSES[number * 7 % 3],) for number in range(100)]


def test_addresses_prefixes_and_patterns_name_pictures_in_s3(s3: S3Client, model: Path) -> None:
    for key in ("new/1.jpg", "new/2.png", "new/notes.txt", "new/more/3.jpg", "odd"):
        s3.put_object(Bucket=BUCKET, Key=key, Body=picture("lime"))
    for names, keys in {
        ("new/",): ["new/1.jpg", "new/2.png", "new/more/3.jpg"],
        ("new/*.jpg",): ["new/1.jpg", "new/more/3.jpg"],
        ("new/?.png", "odd"): ["new/2.png", "odd"],
    }.items():
        found = list(pictures([f"s3://{BUCKET}/{name}" for name in names], lambda: s3))
        assert found == [f"s3://{BUCKET}/{key}" for key in keys]
    answers = list(predict(opened(model), [*found, S3Uri.of(BUCKET, "gone.jpg")], s3=lambda: s3))
    assert [each.labels for each in answers] == [("Green",), ("Green",), ()]
    assert answers[2].problem == f"there is nothing at s3://{BUCKET}/gone.jpg"
    with pytest.raises(PredictionError, match="there is no picture at s3://trash-photos/old/"):
        list(pictures([f"s3://{BUCKET}/old/"], lambda: s3))


def test_a_network_of_several_classes_says_all_that_are_sure_enough(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "several.onnx"
    path.write_bytes(color_network(several=True, sharp=0.1))
    yellow, gray = tmp_path / "yellow.png", tmp_path / "black.png"
    yellow.write_bytes(picture("yellow"))
    gray.write_bytes(picture("black"))
    both, none = said(path, yellow, gray)
    assert both.labels == ("Red", "Green")
    assert none.labels == ()
    assert list(both.to_json(multi_label=True)) == ["image", "labels", "confidence", "top"]
    (sure,) = said(path, yellow, threshold=0.99999999)
    assert sure.labels == ()
    _, out, _ = here(capsys, "predict", path, yellow, gray)
    assert [line.split("  ")[0] for line in out.splitlines()] == ["Red, Green", "-"]


# --- the networks


def test_an_artifact_is_converted_once_and_again_when_the_kept_one_is_damaged(
    tmp_path: Path, cache: Path
) -> None:
    path = archive(color_artifact(tmp_path / "model"), tmp_path / "model.tar.gz")
    red = tmp_path / "red.png"
    red.write_bytes(picture("red"))

    def answer() -> tuple[str, ...]:
        (found,) = predict(opened(path, classes=CLASSES), [red], s3=nobody)
        return found.labels

    assert answer() == ("Red",)
    (kept,) = cache.iterdir()
    content, moment = kept.read_bytes(), kept.stat().st_ino
    assert answer() == ("Red",)
    assert kept.stat().st_ino == moment
    kept.write_bytes(content[:-7])
    assert answer() == ("Red",)
    assert kept.read_bytes() == content
    # Other names make another network.
    opened(path, classes=("a", "b", "c"))
    assert len(list(cache.iterdir())) == 2


def test_where_nothing_can_be_kept_networks_are_converted_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = archive(color_artifact(tmp_path / "model"), tmp_path / "model.tar.gz")
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert opened(path, classes=CLASSES).classes == CLASSES


def test_only_the_latest_networks_are_kept(tmp_path: Path, cache: Path) -> None:
    path = archive(color_artifact(tmp_path / "model"), tmp_path / "model.tar.gz")
    for number in range(11):
        opened(path, classes=("a", "b", f"c{number}"))
    assert len(list(cache.iterdir())) == 8


def test_the_class_names_lie_beside_the_network_unless_they_are_given(tmp_path: Path) -> None:
    path = archive(color_artifact(tmp_path / "model"), tmp_path / "model.tar.gz")
    with pytest.raises(ArtifactError, match="nothing says what the classes of .* are called; give --classes"):
        opened(path)
    (tmp_path / "classes.json").write_text('["r", "g", "b"]')
    assert opened(path).classes == ("r", "g", "b")
    assert opened(path, classes=CLASSES).classes == CLASSES
    assert opened(tmp_path / "model", classes=CLASSES).classes == CLASSES
    unnamed = tmp_path / "unnamed.onnx"
    unnamed.write_bytes(color_network(classes=()))
    assert opened(unnamed).classes == ("r", "g", "b")


def test_a_training_job_is_found_with_its_network_and_its_classes(s3: S3Client, tmp_path: Path) -> None:
    aws = Aws(region="us-east-1")
    request = request_for_dataset(
        classes=3,
        train_lines=50,
        validation_lines=50,
        name="colors",
        role="arn:aws:iam::123456789012:role/gtlabel",
        image=image_uri("us-east-1"),
        train=S3Uri.of(BUCKET, "bins/train.manifest"),
        validation=S3Uri.of(BUCKET, "bins/validation.manifest"),
        label_attribute="label",
        output=S3Uri.of(BUCKET, "bins/models/"),
        hyperparameters={"num_layers": 18, "image_shape": "3,48,64"},
    )
    arn = create_training_job(aws.sagemaker, request)
    path = archive(color_artifact(tmp_path / "model", several=True), tmp_path / "model.tar.gz")
    key = "bins/models/colors/output/model.tar.gz"
    s3.put_object(Bucket=BUCKET, Key=key, Body=path.read_bytes())
    s3.put_object(Bucket=BUCKET, Key="bins/classes.json", Body=json.dumps(CLASSES).encode())
    model = open_model("colors", lambda: aws)
    assert (model.address, model.classes) == (f"s3://{BUCKET}/{key}", CLASSES)
    assert model.network.multi_label
    told = {name: model.network.metadata[name] for name in ("training-job", "artifact", "dataset")}
    assert told == {
        "training-job": "colors",
        "artifact": f"s3://{BUCKET}/{key}",
        "dataset": f"s3://{BUCKET}/bins/",
    }
    # Its dataset is found from the artifact alone, too.
    assert open_model(f"s3://{BUCKET}/{key}", lambda: aws).classes == CLASSES
    # Another object at the same address is another network.
    changed = archive(color_artifact(tmp_path / "other"), tmp_path / "other.tar.gz")
    s3.put_object(Bucket=BUCKET, Key=key, Body=changed.read_bytes())
    assert not open_model("colors", lambda: aws).network.multi_label
    s3.put_object(Bucket=BUCKET, Key=key, Body=b"no archive")
    with pytest.raises(ArtifactError, match=f"^s3://{BUCKET}/{key} is not a readable model.tar.gz"):
        open_model("colors", lambda: aws)
    # Names that would be those of another dataset are refused; those in the job's tags are its own.
    s3.put_object(Bucket=BUCKET, Key=key, Body=path.read_bytes())
    s3.put_object(Bucket=BUCKET, Key="bins/classes.json", Body=json.dumps(CLASSES[::-1]).encode())
    aws.sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": CLASSES_DIGEST, "Value": classes_digest(CLASSES)}])
    with pytest.raises(ArtifactError, match=r"bins/classes\.json is not the class list that 'colors' was"):
        open_model("colors", lambda: aws)
    assert open_model("colors", lambda: aws, classes=CLASSES).classes == CLASSES
    with pytest.raises(ArtifactError, match="made anew since: the names given are not those of then, either"):
        open_model("colors", lambda: aws, classes=CLASSES[::-1])
    spelled = "0=Red 1=Green 2=Blue"
    aws.sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": LISTED, "Value": spelled}])
    assert open_model("colors", lambda: aws).classes == CLASSES
    whose = r"the classes of 'colors' are Red, Green, Blue, in this order, and the names given are "
    with pytest.raises(ArtifactError, match=f"{whose}in another order: Blue, Green, Red; leave"):
        open_model("colors", lambda: aws, classes=CLASSES[::-1])
    with pytest.raises(ArtifactError, match=f"{whose}not those: a, b, c"):
        open_model("colors", lambda: aws, classes="abc")


def test_classes_are_read_from_names_or_from_files(tmp_path: Path) -> None:
    assert read_classes(" a, b c ,d") == ("a", "b c", "d")
    for name, text in {
        "list.json": '["a", "b"]',
        "category.json": '{"labels": [{"label": "a"}, {"label": "b"}]}',
        "lines.txt": "a\n\nb\n",
    }.items():
        (tmp_path / name).write_text(text)
        assert read_classes(str(tmp_path / name)) == ("a", "b")
    for text in ("{}", "[1]", "no JSON"):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(ClassListError, match=r"bad\.json is no"):
            read_classes(str(tmp_path / "bad.json"))


# --- one way to look at a picture


def odd_pictures() -> Iterator[tuple[str, bytes]]:
    """Pictures of kinds that decoders treat in ways of their own."""
    random = np.random.default_rng(7)
    noise = Image.fromarray(random.integers(0, 256, (19, 31, 3), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6  # Orientation: the camera was turned by a quarter
    yield "turned.jpg", _saved(noise, "JPEG", exif=exif)
    yield "cmyk.jpg", _saved(noise.convert("CMYK"), "JPEG")
    yield "gray16.png", _saved(Image.fromarray(random.integers(0, 1 << 16, (17, 23), np.uint16)), "PNG")
    palette = noise.quantize(16)
    yield "palette.png", _saved(palette, "PNG", transparency=3)
    alpha = noise.convert("RGBA")
    alpha.putalpha(noise.convert("L"))
    yield "alpha.png", _saved(alpha, "PNG")
    yield "bits.png", _saved(noise.convert("1"), "PNG")
    frames = [noise.rotate(90 * turn) for turn in (1, 2)]
    yield "moving.gif", _saved(noise, "GIF", save_all=True, append_images=frames)


def _saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    body = io.BytesIO()
    image.save(body, kind, **options)
    return body.getvalue()


@pytest.mark.parametrize("channels", [3, 1])
def test_training_evaluation_prediction_and_the_device_see_the_same_bytes(
    tmp_path: Path, channels: int
) -> None:
    height, width = 9, 13
    network = pixel_network(channels, height, width)
    names = Network(network).classes
    onnx, folder = tmp_path / "pixels.onnx", tmp_path / "photos"
    onnx.write_bytes(network)
    folder.mkdir()
    files = dict(odd_pictures())
    for name, data in files.items():
        (folder / name).write_bytes(data)
    expected = {
        name: load_image(data, height, width, channels).ravel().tolist() for name, data in files.items()
    }
    assert len({tuple(values) for values in expected.values()}) == len(files)

    look = Look((channels, height, width))
    random = np.random.default_rng(0)
    trained = {
        name: look.show(look.decode(data), random).transpose(2, 0, 1).ravel().tolist()
        for name, data in files.items()
    }
    assert trained == expected

    evaluated: dict[str, list[float]] = {}
    judge(
        Network(network),
        names,
        [_Known(name, (names[0],), data) for name, data in files.items()],
        on_answer=lambda name, _classes, row: evaluated.update({name: list(row)}),
    )
    assert evaluated == expected

    found = said(onnx, *(folder / name for name in files), top_k=len(names))
    assert {Path(each.image).name: _in_order(each.to_json()["top"]) for each in found} == expected

    bundle = build_bundle(network, names, tmp_path / "bundle.zip", self_test={"cmyk.jpg": files["cmyk.jpg"]})
    extract(bundle.path, tmp_path / "device")
    run = subprocess.run(
        [sys.executable, "run.py", "--folder", str(folder), "--top", str(len(names))],
        cwd=tmp_path / "device",
        capture_output=True,
        text=True,
    )
    lines = [json.loads(line) for line in run.stdout.splitlines()]
    assert {Path(line["image"]).name: _in_order(line["top"]) for line in lines} == expected, run.stderr


class _Known:
    def __init__(self, name: str, classes: tuple[str, ...], data: bytes) -> None:
        self.name, self.classes = name, classes
        self.read = lambda: data


def _in_order(top: list[dict[str, Any]]) -> list[float]:
    return [guess["confidence"] for guess in sorted(top, key=lambda guess: guess["label"])]


def test_no_other_module_opens_a_picture_for_a_network() -> None:
    opening = {
        path.relative_to(PACKAGE).as_posix()
        for room in ("networks", "training", "edge")
        for path in (PACKAGE / room).rglob("*.py")
        if "Image.open(" in path.read_text()
    }
    # How alike two frames are, and which file of one is kept, is no network's affair.
    beside = {"edge/device/looks.py", "edge/device/frames.py"}
    assert opening - beside == {"networks/preprocess.py"}


def test_the_benchmark_runs() -> None:
    command = [
        sys.executable,
        str(BENCHMARK),
        "--pictures",
        "6",
        "--runs",
        "1",
        "--layers",
        "20",
        "--side",
        "28",
    ]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120)
    # So few pictures measure nothing; a bar may be missed.
    assert run.stderr == ""
    assert [line.split()[0] for line in run.stdout.splitlines()] == ["6", "ours", "bare", "ours", "memory,"]
