"""The program of a bundle, as it runs on a camera."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest
from broker_parts import Broker, mosquitto
from camera_parts import GRAY, GREEN, RED, WebCamera, answers, program, recording, run
from edge_parts import color_bundle, tiny_network

import gtlabel
from gtlabel.edge.archive import extract
from gtlabel.edge.device.arguments import parse
from gtlabel.edge.device.classifier import Classifier
from gtlabel.edge.device.ending import RunError, Stop
from gtlabel.edge.device.sources import watch
from gtlabel.networks.preprocess import load_image
from gtlabel.networks.runtime import Network

DEVICE = Path(gtlabel.__file__).parent / "edge" / "device"


@pytest.fixture(scope="module")
def colors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle as it lies on a device; nobody writes to it."""
    folder = tmp_path_factory.mktemp("colors")
    extract(color_bundle(folder / "bundle.zip").path, folder / "bundle")
    return folder / "bundle"


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with mosquitto(tmp_path_factory.mktemp("broker")) as running:
        yield running


@pytest.fixture
def own(colors: Path, tmp_path: Path) -> Path:
    """A bundle of one's own, to be damaged."""
    extract(colors.parent / "bundle.zip", tmp_path / "own")
    return tmp_path / "own"


def test_onnxruntime_is_told_to_keep_quiet_before_anything_else_happens(colors: Path) -> None:
    code = (colors / "run.py").read_text(encoding="utf-8").split('"""', 2)[2].strip().splitlines()
    assert [line for line in code if line and not line.startswith("#")][:2] == [
        "import os",
        'os.environ["ORT_DISABLE_TELEMETRY"] = "1"',
    ]


def test_the_program_imports_nothing_that_a_device_lacks() -> None:
    known = {*sys.stdlib_module_names, "numpy", "PIL", "onnxruntime"}
    doors = {"paho": "mqtt.py", "awsiot": "ipcsink.py", "onnxruntime": "classifier.py"}
    for path in DEVICE.glob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                room = name.partition(".")[0]
                if room == "gtlabel":
                    assert name == "gtlabel.networks.preprocess" or name.startswith("gtlabel.edge.device")
                elif room in doors:
                    assert (path.name, node in tree.body) == (doors[room], False), name
                else:
                    assert room in known, f"{path.name} imports {name}"


def test_a_device_computes_what_the_builder_computed(colors: Path) -> None:
    passed = run(colors, "--selftest")
    assert answers(passed.stdout) == [{"selftest": "passed", "images": 2, "models": ["fp32"]}]
    assert passed.returncode == 0
    image = colors / "selftest" / "red.jpg"
    (answer,) = answers(run(colors, "--image", image, "--thing", "camera").stdout)
    network = Network(colors / "model.onnx")
    expected = network.probabilities(load_image(image.read_bytes(), 8, 8)[None])[0]
    assert answer["label"] == "Red"
    assert answer["confidence"] == pytest.approx(float(expected[0]), abs=1e-5)
    assert [item["label"] for item in answer["top"]] == ["Red", "Green"]
    assert (answer["thing"], answer["image"]) == ("camera", str(image))
    assert set(answer) == {"label", "confidence", "top", "model", "thing", "image", "ts"}


def test_a_folder_with_a_broken_picture_is_classified_all_the_same(colors: Path, tmp_path: Path) -> None:
    (tmp_path / "deeper").mkdir()
    (tmp_path / "a.jpg").write_bytes(RED)
    (tmp_path / "b.jpg").write_bytes(b"not a picture")
    (tmp_path / "c.jpg").write_bytes(GRAY)
    (tmp_path / "deeper" / "d.JPG").write_bytes(GREEN)
    (tmp_path / "notes.txt").write_text("no picture either")
    done = run(colors, "--folder", tmp_path, "--top", "1.0", "--threshold", "0.9")
    said = answers(done.stdout)
    # A doubtful picture gets no label.
    assert [line["label"] for line in said] == ["Red", None, "Green"]
    assert [len(line["top"]) for line in said] == [1, 1, 1]
    assert said[1]["top"][0]["confidence"] == pytest.approx(0.5, abs=0.05)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert str(tmp_path / "b.jpg") in done.stderr


def test_a_watched_folder_is_classified_as_it_fills_until_sigterm(colors: Path, tmp_path: Path) -> None:
    folder = tmp_path / "camera"
    folder.mkdir()
    with program(colors, "--folder", folder, "--watch", "--poll", "0.05") as running:
        for name, data, label in (("1", RED, "Red"), ("2", GREEN, "Green"), ("1", GREEN, "Green")):
            (folder / f"{name}.jpg").write_bytes(data)
            assert running.answer()["label"] == label
        assert running.end() == 0


def test_both_models_of_a_bundle_prove_themselves_and_either_can_be_chosen(tmp_path: Path) -> None:
    # Any other network does: what is in it is of no interest here.
    eight = onnx.load_from_string(tiny_network())
    eight.doc_string = "with 8 bits"
    bundle = color_bundle(tmp_path / "bundle.zip", int8=eight.SerializeToString(), use="int8")
    extract(bundle.path, tmp_path / "bundle")
    models: dict[str, str] = {name: model.sha256 for name, model in bundle.manifest.models.items()}
    passed = run(tmp_path / "bundle", "--selftest")
    assert json.loads(passed.stdout)["models"] == ["fp32", "int8"]
    image = tmp_path / "bundle" / "selftest" / "red.jpg"
    for wanted, used in (("auto", "int8"), ("fp32", "fp32")):
        (answer,) = answers(run(tmp_path / "bundle", "--image", image, "--model", wanted).stdout)
        assert answer["model"] == models[used]


def test_a_recording_is_told_with_patience_and_what_is_doubtful_is_kept(colors: Path, tmp_path: Path) -> None:
    shown = [RED, RED, RED, RED[:300], GREEN, RED, GRAY, GREEN, GREEN, GREEN]
    # Broken where only a decoder sees it: the size is nothing.
    shown.append(RED.replace(b"\xff\xc0\x00\x11\x08\x00\x18", b"\xff\xc0\x00\x11\x08\x00\x00"))
    record = recording(tmp_path / "day.mjpeg", shown)
    options = ["--debounce", "2/3", "--announce", "changes", "--threshold", "0.9", "--top", "1"]
    done = run(colors, "--camera", record, *options, "--unsure", tmp_path / "unsure")
    said = answers(done.stdout)
    assert [(line["label"], line["frame"]) for line in said] == [("Red", 2), ("Green", 8)]
    assert said[0]["camera"] == str(record)
    assert done.returncode == 0
    broken, summary = done.stderr.splitlines()
    assert f"picture 10 of {record} is passed over: these 6" in broken
    assert summary == ("run.py: 10 pictures came, 9 were classified, 0 passed over for a newer one, 2 broken")
    (kept,) = (tmp_path / "unsure").glob("*/*.jpg")
    assert kept.read_bytes() == GRAY


def test_what_a_camera_of_the_web_sees_reaches_a_broker_to_the_last_answer(
    colors: Path, broker: Broker, tmp_path: Path
) -> None:
    web = WebCamera()
    (tmp_path / "login").write_text("owner:garden\n")
    options = ["--mqtt", broker.url, "--thing", "kitchen", "--ipc", "", "--camera-login", tmp_path / "login"]
    with (
        contextlib.closing(web),
        broker.listen("gtlabel/kitchen/infer") as listener,
        program(colors, "--camera", web.url, *options) as running,
    ):
        said = []
        for shown in (RED, GREEN):
            web.show(shown)
            said.append(running.answer())
        broker.stop()
        running.wait_for("results are kept until it takes them")
        for shown in (GREEN, RED):
            web.show(shown)
            said.append(running.answer())
        broker.start()
        running.wait_for("takes results again")
        web.show(GREEN)
        said.append(running.answer())
        assert running.end() == 0
        assert [line["label"] for line in said] == ["Red", "Green", "Green", "Red", "Green"]
        assert [line["frame"] for line in said] == [1, 2, 3, 4, 5]
        came = [message.json() for message in listener.wait_for(5)]
    assert [line for place, line in enumerate(came) if line not in came[:place]] == said
    assert all(line["camera"] == f"http://{web.origin}/video" for line in said)
    assert "garden" not in "".join(running.told)


def test_ctrl_c_ends_a_program_whose_camera_shows_nothing(colors: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "out.mjpeg")
    with program(colors, "--camera", f"{tmp_path}/missing,{tmp_path}/out.mjpeg") as running:
        # Opening for writing waits until the program reads.
        with (tmp_path / "out.mjpeg").open("wb", buffering=0) as vendor:
            vendor.write(RED)
            assert running.answer()["label"] == "Red"
            assert running.end(signal.SIGINT) == 0
        assert running.told == [
            "run.py: 1 pictures came, 1 were classified, 0 passed over for a newer one, 0 broken"
        ]


def test_pictures_on_stdin_are_classified_until_there_are_no_more(colors: Path, tmp_path: Path) -> None:
    with program(colors, "--camera", "-") as running:
        assert running.process.stdin
        for shown, label in ((RED, "Red"), (GREEN, "Green")):
            running.process.stdin.write(shown)
            running.process.stdin.flush()
            answer = running.answer()
            assert (answer["label"], answer["camera"]) == (label, "stdin")
        running.process.stdin.close()
        assert running.process.wait(60) == 0
    empty = run(colors, "--camera", "-", input="no picture\n")
    assert empty.returncode == 1
    assert "0 pictures came" in empty.stderr


def test_a_full_disk_ends_the_program_in_a_sentence(colors: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        done = run(colors, "--folder", colors / "selftest", stdout=full)
    assert (done.returncode, done.stderr) == (
        6,
        "run.py: stdout cannot be written: No space left on device\n",
    )


def test_a_full_disk_does_not_keep_results_from_a_broker(colors: Path, broker: Broker) -> None:
    with Path("/dev/full").open("wb") as full, broker.listen("bins/1") as listener:
        options = ["--mqtt", broker.url, "--topic", "bins/1"]
        done = run(colors, "--folder", colors / "selftest", *options, stdout=full)
        assert [message.json()["label"] for message in listener.wait_for(2)] == ["Green", "Red"]
    assert done.returncode == 0
    assert done.stderr == (
        "run.py: stdout cannot be written: No space left on device; results go on to the others\n"
        "run.py: 2 results were not written to stdout\n"
    )


def test_a_reader_that_does_not_read_keeps_results_from_nobody(colors: Path, broker: Broker) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while os.write(writer, bytes(4096)):
            pass
    options = ["--mqtt", broker.url, "--topic", "bins/2"]
    with (
        broker.listen("bins/2") as listener,
        program(colors, "--folder", colors / "selftest", *options, stdout=writer) as running,
    ):
        listener.wait_for(2)
        assert running.process.wait(60) == 0
        running.rest()
    assert running.told == [
        "run.py: stdout cannot be written: nobody reads it; results go on to the others",
        "run.py: 2 results were not written to stdout",
    ]
    # Nor does one who reads neither results nor sentences.
    with broker.listen("bins/2") as listener:
        done = run(colors, "--folder", colors / "selftest", *options, stdout=writer, stderr=writer)
        listener.wait_for(2)
    assert done.returncode == 0
    os.close(reader)
    os.close(writer)


def test_a_reader_that_has_seen_enough_is_no_fault(colors: Path, tmp_path: Path) -> None:
    record = recording(tmp_path / "day.mjpeg", [RED] * 2000)
    with program(colors, "--camera", record) as running:
        running.answer()
        assert running.process.stdout
        running.process.stdout.close()
        assert running.process.wait(60) == 0


@pytest.mark.parametrize(
    ("damage", "code", "sentence"),
    [
        ("model.onnx", 3, "model.onnx is not what the bundle was built with"),
        ("SHA256SUMS", 3, "does not list manifest.json"),
        (None, 1, "there is no folder nowhere"),
    ],
)
def test_the_program_says_in_one_sentence_what_is_wrong(
    own: Path, damage: str | None, code: int, sentence: str
) -> None:
    if damage:
        (own / damage).write_bytes(b"")
    done = run(own, "--folder", "nowhere")
    assert done.returncode == code
    assert sentence in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_device_that_computes_something_else_fails_its_self_test(own: Path) -> None:
    manifest = json.loads((own / "manifest.json").read_text())
    manifest["self_test"]["cases"][0]["probabilities"] = {"fp32": [0.5, 0.5]}
    before = hashlib.sha256((own / "manifest.json").read_bytes()).hexdigest()
    (own / "manifest.json").write_text(json.dumps(manifest))
    after = hashlib.sha256((own / "manifest.json").read_bytes()).hexdigest()
    (own / "SHA256SUMS").write_text((own / "SHA256SUMS").read_text().replace(before, after))
    done = run(own, "--selftest")
    assert done.returncode == 4
    assert "is off by" in done.stderr


def test_a_missing_package_is_named_with_the_way_to_get_it(colors: Path, tmp_path: Path) -> None:
    (tmp_path / "onnxruntime").mkdir()
    (tmp_path / "onnxruntime/__init__.py").write_text("raise ImportError(\"No module named 'onnxruntime'\")")
    done = run(colors, "--selftest", env={**os.environ, "PYTHONPATH": str(tmp_path)})
    assert done.returncode == 5
    assert "pip install -r requirements.txt" in done.stderr


def test_a_model_that_the_runtime_cannot_run_is_told_with_its_version(own: Path) -> None:
    before = hashlib.sha256((own / "model.onnx").read_bytes()).hexdigest()
    (own / "model.onnx").write_bytes(b"of a later time")
    after = hashlib.sha256(b"of a later time").hexdigest()
    (own / "SHA256SUMS").write_text((own / "SHA256SUMS").read_text().replace(before, after))
    with pytest.raises(RunError, match=r"onnxruntime \d+\.\d+\.\d+ cannot run model\.onnx") as ended:
        Classifier(own)
    assert ended.value.code == 5


def test_a_folder_that_cannot_be_made_is_told() -> None:
    with pytest.raises(RunError, match="the folder /dev/null/camera cannot be made: Not a directory"):
        next(watch(Path("/dev/null/camera"), 1, Stop()))


def test_a_model_that_the_bundle_lacks_is_refused(colors: Path) -> None:
    done = run(colors, "--folder", colors / "selftest", "--model", "int8")
    assert (done.returncode, done.stdout) == (2, "")
    assert "this bundle has no int8 model, only fp32; leave --model out" in done.stderr


def test_an_empty_argument_counts_as_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_IOT_THING_NAME", "kitchen")
    names = [
        *("--camera", "--camera-command", "--every", "--threshold", "--top", "--debounce", "--announce"),
        *("--model", "--thing", "--mqtt", "--ca", "--cert", "--key", "--topic", "--ipc", "--queue"),
        *("--unsure", "--unsure-below", "--unsure-budget", "--watch", "--poll", "--image"),
        *("--camera-login", "--mqtt-password-file"),
    ]
    empty = parse(["--folder", "images", *(word for name in names for word in (name, ""))])
    assert empty == parse(["--folder", "images"])
    assert (empty.thing, empty.topic, empty.camera) == ("kitchen", "gtlabel/kitchen/infer", False)
    # A camera goes before a folder, and whole numbers may come as they come from a device's configuration.
    given = parse(["--folder", "images", "--camera", "/dev/video0, -", "--top", "3.0", "--queue", "50.0"])
    assert (given.camera, given.cameras, given.top, given.keep) == (True, ("/dev/video0", "-"), 3, 50)
    # A minute of a camera that shows 60 pictures a second.
    assert empty.keep >= 60 * 60


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ("", "one of --selftest, --image, --folder and --camera is needed"),
        ("--selftest --camera -", "--selftest and --camera exclude each other"),
        ("--folder x --threshold 2", "2 is not between 0 and 1"),
        ("--folder x --threshold nan", "nan is not between 0 and 1"),
        ("--folder x --top 2.5", "2.5 is not a whole number above 0"),
        ("--folder x --top many", "many is not a number"),
        ("--folder x --debounce 3", "3 is not of the form N/M, such as 3/5"),
        ("--folder x --debounce 4/3", "4/3 asks for 4 of 3"),
        ("--folder x --every -1", "-1 is not a time"),
        ("--folder x --announce never", "never is none of every, changes"),
        ("--folder x --watch maybe", "maybe is none of yes, no"),
        ("--folder x --mqtt http://broker", "looks like mqtt://host:1883"),
        ("--folder x --mqtt mqtt://owner:hunter2@broker", "give the password in GTLABEL_MQTT_PASSWORD"),
        ("--folder x --mqtt mqtt://broker:hunter2", "this is no address of a broker"),
        ("--folder x --topic a/#", "'a/#' has a wildcard"),
        ("--folder x --mqtt mqtt://broker --ca nowhere.pem", "--ca needs a broker with TLS, --mqtt mqtts://"),
        ("--folder x --mqtt mqtts://broker --cert run.py", "--cert and --key need each other"),
        ("--folder x --mqtt mqtt://broker --mqtt-password-file x", "needs the user whose password it is"),
        ("--camera http://owner:hunter2@camera/1", "give user:password in GTLABEL_CAMERA_LOGIN or in a file"),
        ("--camera x,HTTPS://owner@camera?x", "is seen by everybody on the device"),
        ("--camera-command rtsp://owner:hunter2@camera/1", "a command with a password is seen by"),
        ("--camera /dev/video0 --camera-login x", "--camera-login needs a camera of the web"),
        ("--camera-command 'unclosed", "this is no command"),
        ("--camera /dev/video0,rtsp://owner:hunter2@camera/1", "rtsp:// is not read; have a program read it"),
    ],
)
def test_wrong_arguments_are_told_without_repeating_a_password(
    arguments: str, complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(arguments.split(" ") if arguments else [])
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert complaint in said
    assert "hunter2" not in said
