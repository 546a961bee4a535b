"""`gtlabel local pipe`: a training program of one's own under the conditions of a job, and what it shows."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from moto import mock_aws
from programs import ending, need
from training_parts import clients

from gtlabel.datasets.channels import ChannelFile, ClassFolder, Dataset, publish
from gtlabel.emulator.trial import TrialOptions, try_program
from gtlabel.emulator.trialdata import Wishes, open_data
from gtlabel.emulator.trialreport import TrialReport
from gtlabel.errors import EmulatorError, GtlabelError, SettingsError
from gtlabel.uris import S3Uri

SAMPLES = Path(__file__).parent.parent / "samples"
TRASH = SAMPLES / "trash"
COMMAND = (sys.executable, "-m", "gtlabel", "local", "pipe")

# What it read is what it leaves.
READS = """
import json
from gtlabel.training import reader
seen = {"train": [], "validation": [], "classes": reader.class_names()}
for epoch in range(reader.hyperparameters().integer("epochs", 2)):
    for name in ("train", "validation"):
        seen[name].append([(picture.decode(), label) for picture, label in reader.read_channel(name, epoch)])
(reader.model_directory() / "seen.json").write_text(json.dumps(seen))
"""
Attempt = Callable[..., TrialReport]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Ten pictures in two class folders, which nobody has divided."""
    for number in range(10):
        path = tmp_path / "pictures" / ("Glass", "Paper")[number % 2] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"%d" % number)
    return tmp_path / "pictures"


@pytest.fixture
def attempt(tmp_path: Path, pictures: Path) -> Iterator[Attempt]:
    """Tries programs; afterwards nothing is left of them but their models."""
    bases: list[bytes] = []

    def run(
        program: str, data: Path | str = pictures, *, wishes: Wishes | None = None, **options: Any
    ) -> TrialReport:
        connect = options.pop("connect", _nobody)
        says_where = "import os\nprint(os.environ['SAGEMAKER_BASE_DIR'], flush=True)\n"
        printed: list[bytes] = []
        report = try_program(
            lambda scratch: open_data(str(data), wishes or Wishes(), scratch, connect),
            [sys.executable, "-c", says_where + program],
            TrialOptions(**{"model": tmp_path / "model", **options}),
            on_output=printed.append,
        )
        bases.append(b"".join(printed).splitlines()[0])
        return report

    yield run
    assert not any(Path(os.fsdecode(base)).exists() for base in bases)


def _nobody() -> Any:
    raise AssertionError("no S3 is needed for files of this machine")


def seen(tmp_path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((tmp_path / "model" / "seen.json").read_text())
    return found


def gtlabel(*arguments: object, cwd: Path, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, cwd=cwd, timeout=120, **options
    )


def test_the_smallest_program_of_the_samples_runs_on_the_pictures_beside_it(tmp_path: Path) -> None:
    images = ("--pictures", TRASH / "images")
    run = gtlabel(
        TRASH / "truth.jsonl", *images, "--", sys.executable, SAMPLES / "pytorch/plain.py", cwd=tmp_path
    )
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    assert lines[0].startswith("Epoch[0] Train-accuracy=0.")
    assert lines[5].split()[:6] == ["channel", "images", "epochs", "read", "MB", "MB/s"]
    assert lines[6].split()[:4] == ["train", "95", "2", "190"]
    assert lines[7].split()[:4] == ["validation", "22", "2", "44"]
    assert lines[8].startswith("metrics  train:accuracy 0.")
    assert lines[-1].startswith("Completed after ")
    assert run.stderr == (
        "gtlabel: train has 95 images, validation has 22 images; the labels are "
        "0 Compost, 1 Landfill, 2 Recycle\n"
    )
    with tarfile.open(tmp_path / "model.tar.gz") as archive:
        assert archive.getnames() == ["model.json"]


@pytest.mark.slow
def test_the_pytorch_program_of_the_samples_trains(tmp_path: Path) -> None:
    python = os.environ.get("GTLABEL_TORCH_PYTHON")
    need(
        python,
        "the sample in PyTorch wants a Python that has it; name one in GTLABEL_TORCH_PYTHON "
        "(pip install torch -e '.[train,edge,local]')",
    )
    lines = (TRASH / "truth.jsonl").read_text().splitlines()[:24]
    (tmp_path / "few.jsonl").write_text("\n".join(lines))
    run = gtlabel(
        *("few.jsonl", "--pictures", TRASH / "images", "--output", "json", "--model-dir", "model"),
        *("--set", "epochs=1", "--set", "side=32", "--", python, SAMPLES / "pytorch/train.py"),
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert run.returncode == 0, run.stderr
    report = json.loads(run.stdout)
    assert set(report["metrics"]) == {"train:accuracy", "validation:accuracy"}
    assert report["warnings"] == []
    files = {path.name for path in (tmp_path / "model").iterdir()}
    assert files >= {"model.pt", "classes.json"}


def test_class_folders_are_divided_and_shuffled_and_come_with_their_labels(
    tmp_path: Path, attempt: Attempt
) -> None:
    report = attempt(READS, hyperparameters={"epochs": "3"}, seed=5)
    assert report.status == "Completed", report.reason
    found = seen(tmp_path)
    train, validation = found["train"], found["validation"]
    for epoch in (0, 1, 2):
        everything = sorted(train[epoch] + validation[epoch])
        assert everything == [[str(number), number % 2] for number in range(10)]
    assert validation[0] == validation[1] == validation[2]
    assert train[0] != train[1] != train[2]
    assert found["classes"] == ["Glass", "Paper"]
    (train_report, _) = report.channels
    assert (train_report.whole, train_report.read) == (3, 3 * len(train[0]))
    assert report.warnings() == []


@pytest.mark.parametrize("mode", ["File", "FastFile"])
def test_files_are_what_a_pipe_would_have_brought(tmp_path: Path, attempt: Attempt, mode: str) -> None:
    attempt(READS, seed=None)
    piped = seen(tmp_path)
    shutil.rmtree(tmp_path / "model")
    report = attempt(READS, mode=mode)
    assert report.status == "Completed", report.reason
    assert report.warnings() == []
    found = seen(tmp_path)
    assert {name: [sorted(epoch) for epoch in found[name]] for name in ("train", "validation")} == {
        name: [sorted(epoch) for epoch in piped[name]] for name in ("train", "validation")
    }
    assert found["classes"] == ["Glass", "Paper"]


def test_folders_for_training_and_validation_stay_what_they_are(tmp_path: Path, attempt: Attempt) -> None:
    for name in ("train/Glass/1.jpg", "train/Paper/2.jpg", "val/Paper/3.jpg", "test/Paper/4.jpg"):
        path = tmp_path / "divided" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(path.stem.encode())
    attempt(READS, tmp_path / "divided", seed=None)
    assert seen(tmp_path)["train"][0] == [["1", 0], ["2", 1]]
    assert seen(tmp_path)["validation"][0] == [["3", 1]]


def write_manifest(path: Path, *lines: tuple[str, Any], attribute: str = "bin") -> Path:
    made = [{"source-ref": name, attribute: label, f"{attribute}-metadata": {}} for name, label in lines]
    path.write_text("\n".join(map(json.dumps, made)))
    return path


@pytest.mark.parametrize("mode", ["Pipe", "FastFile"])
def test_two_manifests_are_used_where_they_are(
    tmp_path: Path, pictures: Path, attempt: Attempt, mode: str
) -> None:
    uri = "s3://bucket/photos/"
    write_manifest(pictures / "train.manifest", (f"{uri}Glass/2.jpg", 2), (f"{uri}Paper/1.jpg", [0, 1]))
    write_manifest(pictures / "validation.manifest", (f"{uri}Glass/0.jpg", 0))
    report = attempt(READS, pictures, mode=mode, seed=None)
    assert report.status == "Completed", report.reason
    assert seen(tmp_path)["train"][0] == [["2", 2], ["1", [0, 1]]]
    assert seen(tmp_path)["validation"][0] == [["0", 0]]
    assert seen(tmp_path)["classes"] == ["0", "1", "2"]


@pytest.mark.parametrize("mode", ["Pipe", "File"])
@pytest.mark.parametrize("here", [True, False])
def test_a_dataset_is_read_from_s3_or_from_a_copy_of_it(
    tmp_path: Path, attempt: Attempt, here: bool, mode: str
) -> None:
    uri = S3Uri("s3://trash/dataset/")
    lines = [(f"{uri}classes/Glass/{number}.jpg", number) for number in range(3)]
    with mock_aws():
        s3 = clients().s3
        s3.create_bucket(Bucket="trash")
        folder = tmp_path / "copy"
        (folder / "classes" / "Glass").mkdir(parents=True)
        write_manifest(folder / "train.manifest", *lines[:2])
        write_manifest(folder / "validation.manifest", lines[2])
        for number in range(3):
            (folder / "classes" / "Glass" / f"{number}.jpg").write_text(str(number))
        counts = {"train": 2, "validation": 1}
        channels = {
            name: ChannelFile(manifest=uri / f"{name}.manifest", images=images, sha256="")
            for name, images in counts.items()
        }
        glass = ClassFolder(name="Glass", folder=uri / "classes/Glass/", train=2, validation=1)
        publish(
            s3,
            Dataset(
                uri=uri,
                attribute="bin",
                classes=(glass,),
                channels=channels,
                sources=(),
                validation=0.2,
            ),
        )
        for path in folder.rglob("*.*"):
            s3.upload_file(str(path), "trash", f"dataset/{path.relative_to(folder)}")
        s3.download_file("trash", "dataset/dataset.json", str(folder / "dataset.json"))
        place = folder if here else uri
        report = attempt(READS, place, mode=mode, seed=None, connect=_nobody if here else lambda: s3)
    assert report.status == "Completed", report.reason
    assert seen(tmp_path)["train"][0] == [["0", 0], ["1", 1]]
    assert seen(tmp_path)["validation"][0] == [["2", 2]]


def test_a_program_is_told_what_a_container_and_a_script_are_told(
    tmp_path: Path, pictures: Path, attempt: Attempt
) -> None:
    program = """
import json, pathlib, sys
base = pathlib.Path(os.environ["SAGEMAKER_BASE_DIR"])
told = {path.name: json.loads(path.read_text()) for path in (base / "input/config").iterdir()}
told |= {"environment": dict(os.environ), "arguments": sys.argv[1:], "folder": os.getcwd()}
told["data"] = sorted(path.name for path in (base / "input/data").iterdir())
told["link"] = os.path.samefile(os.environ["LINK"], base)
pathlib.Path(os.environ["SM_MODEL_DIR"], "told.json").write_text(json.dumps(told))
"""
    link = tmp_path / "opt-ml"
    os.environ["LINK"] = str(link)
    try:
        report = attempt(program, hyperparameters={"epochs": "3"}, script=True, link=link)
    finally:
        del os.environ["LINK"]
    assert report.status == "Completed", report.reason
    told = json.loads((tmp_path / "model" / "told.json").read_text())
    channel = {
        "ContentType": "application/x-recordio",
        "TrainingInputMode": "Pipe",
        "S3DistributionType": "FullyReplicated",
        "RecordWrapperType": "RecordIO",
    }
    assert told["inputdataconfig.json"] == {"train": channel, "validation": channel}
    assert told["hyperparameters.json"] == {"epochs": "3"}
    assert told["resourceconfig.json"]["current_host"] == "algo-1"
    assert told["arguments"] == ["--epochs", "3"]
    assert told["data"] == ["train_0", "train_1", "validation_0", "validation_1"]
    # It starts where its user is, and finds what it always finds.
    assert told["folder"] == str(Path.cwd())
    environment = told["environment"]
    assert environment["PATH"] == os.environ["PATH"]
    assert environment["SM_CHANNEL_TRAIN"].endswith("/input/data/train")
    assert environment["SM_HP_EPOCHS"] == "3"
    assert environment["GTLABEL_NUM_CLASSES"] == "2"
    assert int(environment["GTLABEL_NUM_TRAINING_SAMPLES"]) == report.channels[0].images
    assert told["link"]
    assert not link.is_symlink()


def test_what_a_real_job_would_stumble_over_is_told(attempt: Attempt) -> None:
    report = attempt(
        """
from gtlabel.training import reader
for _ in reader.read_channel("train", 0):
    break
list(reader.read_channel("train", 1))
print("loss: 0.25")
(reader.output_directory().parent / "failure").write_text("it was not meant so")
""",
        hyperparameters={"epochs": "3", "num_training_samples": "99", "num_classes": "1"},
        metrics={"loss": r"loss: ([0-9.]+)", "f1": "F1: (.+)"},
    )
    images = report.channels[0].images
    assert report.metrics == {"loss": 0.25}
    assert report.warnings() == [
        # A small channel lies in the pipe at once, and in the reader's hands.
        "epochs is 3, and it read train 2 times",
        "it never opened validation",
        f"num_training_samples is 99, and train has {images} images",
        "num_classes is 1, and there are 2 classes: labels beyond it fail in no trainer of AWS, and teach it "
        "nonsense",
        "no line that was printed holds the metric f1; check its regular expression",
        "it wrote a failure file and ended with 0, which SageMaker calls Completed: it was not meant so",
        "it left no model; what is to be uploaded belongs into model/ below SAGEMAKER_BASE_DIR",
    ]


def test_a_reader_that_leaves_most_of_an_epoch_is_told_how_far_it_came(
    tmp_path: Path, attempt: Attempt
) -> None:
    report = attempt(
        """
with open(os.environ["SM_CHANNEL_TRAIN"] + "_0", "rb", buffering=0) as fifo:
    fifo.read(3 * 24 + 1)
"""
    )
    images = report.channels[0].images
    assert report.channels[0].read == 3
    assert (
        f"it closed train before the end in 1 of 1 epochs: epoch 0 after 3 of {images} images"
        in report.warnings()
    )


def test_a_program_that_fails_is_quoted_and_the_command_fails(tmp_path: Path, pictures: Path) -> None:
    program = "from gtlabel.training import reader; reader.report_failure('no cheese'); raise SystemExit(7)"
    run = gtlabel(pictures, "--output", "json", "--", sys.executable, "-c", program, cwd=tmp_path)
    assert run.returncode == 3
    report = json.loads(run.stdout)
    assert (report["status"], report["exit_code"]) == ("Failed", 7)
    assert report["reason"] == "no cheese, exit code: 7"
    assert report["model"] is None
    assert run.stderr.endswith(" ended as Failed: no cheese, exit code: 7\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pictures"]


def test_a_crash_without_a_word_is_told_by_its_last_line(attempt: Attempt) -> None:
    report = attempt("print('so far so good', flush=True)\nraise RuntimeError('out of cheese')")
    assert report.reason == "RuntimeError: out of cheese, exit code: 1"
    (warning,) = report.warnings()
    assert "left no failure file" in warning


def test_a_program_that_asks_for_what_is_known_of_its_data_is_answered(attempt: Attempt) -> None:
    asks = "raise SystemExit(\"No value(s) were specified for 'num_classes', 'num_training_samples'\")"
    report = attempt(asks)
    images = report.channels[0].images
    answer = "it asks for what is known of its data; try again with --set "
    assert f"{answer}num_classes=2 --set num_training_samples={images}" in report.warnings()
    report = attempt(asks, hyperparameters={"num_training_samples": str(images)})
    assert f"{answer}num_classes=2" in report.warnings()


@pytest.mark.parametrize("mode", ["Pipe", "File"])
def test_a_picture_that_is_missing_fails_the_trial_with_its_line(
    tmp_path: Path, pictures: Path, attempt: Attempt, mode: str
) -> None:
    manifest = write_manifest(
        tmp_path / "lines.manifest", ("s3://bucket/Glass/0.jpg", 0), ("s3://bucket/Glass/77.jpg", 0)
    )
    wishes = Wishes(pictures=pictures, validation=manifest)
    sentence = f"{manifest}, line 2: s3://bucket/Glass/77.jpg has no copy below {pictures}"
    if mode == "File":
        with pytest.raises(GtlabelError, match=sentence):
            attempt(READS, manifest, wishes=wishes, mode=mode)
        return
    report = attempt(READS, manifest, wishes=wishes, mode=mode, grace=0.2)
    assert (report.status, report.reason) == ("Failed", sentence)


HANGS = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
open(os.environ["PIDS"], "w").write(f"{os.getpid()} {child.pid}")
time.sleep(60)
"""


def test_a_program_that_hangs_is_killed_with_all_it_started(
    tmp_path: Path, attempt: Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIDS", str(tmp_path / "pids"))
    # On a slow machine it takes the program longer to come to where it hangs.
    for patience in (0.7, 4, 20):
        report = attempt(HANGS, timeout=patience, grace=0.1)
        if (tmp_path / "pids").exists():
            break
    assert (report.status, report.reason) == ("Stopped", f"{patience:g} s are over")
    assert report.code == 128 + signal.SIGKILL
    for pid in (tmp_path / "pids").read_text().split():
        assert not Path(f"/proc/{pid}/cmdline").exists() or not Path(f"/proc/{pid}/cmdline").read_bytes()


def test_ctrl_c_lets_the_program_save_what_it_has(tmp_path: Path, pictures: Path) -> None:
    program = """
import time
from gtlabel.training import reader
stop = reader.stop_requested()
print("ready", flush=True)
stop.wait(60)
(reader.model_directory() / "half").write_text("way")
"""
    words = [*COMMAND, str(pictures), "--model-dir", "saved", "--", sys.executable, "-c", program]
    child = subprocess.Popen(
        words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    with ending(child):
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        # As a terminal does: to the whole group, which the program is not in.
        os.killpg(child.pid, signal.SIGINT)
        _, errors = child.communicate(timeout=120)
    assert child.returncode == 4
    assert "it was to be stopped; the program got SIGTERM and has 120 s to end" in errors
    assert (tmp_path / "saved" / "half").read_text() == "way"


def test_nobody_who_looks_on_holds_the_program_up(tmp_path: Path, pictures: Path) -> None:
    program = "print('x' * 100 + chr(10)); print(('y' * 100 + chr(10)) * 20_000)"
    words = [*COMMAND, str(pictures), "--", sys.executable, "-c", program]
    child = subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with ending(child):
        assert child.stdout is not None
        assert child.stdout.readline() == b"x" * 100 + b"\n"
        child.stdout.close()
        child.wait(timeout=120)


def test_a_program_that_is_slower_than_its_pictures_is_told_so(tmp_path: Path, attempt: Attempt) -> None:
    for number in range(4):
        (tmp_path / "large" / "Glass").mkdir(parents=True, exist_ok=True)
        (tmp_path / "large" / "Glass" / f"{number}.jpg").write_bytes(bytes(2 << 20))
    report = attempt(
        """
import time
with open(os.environ["SM_CHANNEL_TRAIN"] + "_0", "rb") as fifo:
    time.sleep(1)
    fifo.read()
""",
        tmp_path / "large",
    )
    told = report.to_json()["channels"][0]
    assert told["pipe_full"] >= 0.1
    assert told["first_picture_after"] < told["pipe_full"]


def test_a_few_epochs_may_be_enough(tmp_path: Path, attempt: Attempt) -> None:
    report = attempt(READS, hyperparameters={"epochs": "100"}, epochs=2)
    assert (report.status, report.reason) == ("Completed", "")
    assert [channel.whole for channel in report.channels] == [2, 2]
    assert report.warnings() == []
    with pytest.raises(SettingsError, match="--epochs-limit has no effect but in Pipe mode"):
        attempt(READS, mode="File", epochs=2)


def test_without_a_program_it_tells_how(tmp_path: Path) -> None:
    run = gtlabel("pictures/", cwd=tmp_path)
    assert run.returncode == 2
    assert "gtlabel local pipe pictures/ -- python train.py" in run.stdout


def test_where_there_are_no_fifos_it_says_so(
    pictures: Path, attempt: Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "mkfifo")
    with pytest.raises(EmulatorError, match="which Windows does not have; use --mode fastfile"):
        attempt(READS)


def test_a_program_or_a_link_that_cannot_be_is_told(tmp_path: Path, pictures: Path, attempt: Attempt) -> None:
    with pytest.raises(SettingsError, match="is there already; take it away, or do without --link"):
        attempt(READS, link=pictures)
    for word, sentence in (
        ("no-such-program", "there is no program"),
        (str(pictures), "there is no program"),
    ):
        with pytest.raises(SettingsError, match=sentence):
            try_program(
                lambda scratch: open_data(str(pictures), Wishes(), scratch, _nobody),
                [word],
                TrialOptions(),
                on_output=lambda _: None,
            )
