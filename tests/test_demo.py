"""`gtlabel demo` as a newcomer runs it, and its numbers computed again from what it leaves."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from readme_parts import blocks, section, without_numbers

from gtlabel.cli.demo import show
from gtlabel.cli.walk import Step, Summary
from gtlabel.networks.preprocess import load_image
from gtlabel.networks.runtime import Network

DEMO = [sys.executable, "-m", "gtlabel", "demo"]
TRASH = Path(__file__).parent.parent / "samples" / "trash"

pytestmark = pytest.mark.slow

Interrupted = tuple[int, list[int], str]


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Interrupted]:
    """The folder of a demo that was interrupted late, and how it ended."""
    folder = tmp_path_factory.mktemp("demo") / "out"
    return folder, interrupt(folder, "consolidate")


@pytest.fixture(scope="module")
def walked(interrupted: tuple[Path, Interrupted]) -> tuple[Path, dict[str, Any], str]:
    """The folder of a demo, what it printed as JSON, and what it said.

    An earlier demo was interrupted in the same folder; nothing of it may be taken for whole.
    """
    folder, _ = interrupted
    run = subprocess.run(
        [*DEMO, "--into", str(folder), "--output", "json"], capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 0, run.stderr
    return folder, json.loads(run.stdout), run.stderr


def truth() -> dict[str, str]:
    lines = (TRASH / "held-out.jsonl").read_text().splitlines()
    return {Path(line["image"]).name: line["class"] for line in map(json.loads, lines)}


def test_the_demo_beats_the_majority_baseline_by_fifteen_points(
    walked: tuple[Path, dict[str, Any], str],
) -> None:
    _, printed, _ = walked
    assert printed["accuracy"] >= printed["baseline"] + 0.15
    majority = Counter(truth().values()).most_common(1)[0][1]
    assert printed["baseline"] == pytest.approx(majority / len(truth()))
    assert printed["scored"] == len(truth())


def test_every_step_is_told_with_what_came_of_it(walked: tuple[Path, dict[str, Any], str]) -> None:
    _, printed, said = walked
    steps = {step["name"]: step for step in printed["steps"]}
    assert list(steps) == ["start", "upload", "label", "answer", "consolidate", "train", "deploy"]
    assert all(step["seconds"] > 0 for step in printed["steps"])
    assert "broken-off.jpg is a JPEG that is cut off" in steps["label"]["outcome"]
    assert all(step["outcome"] in said for step in printed["steps"])


def test_the_demo_ends_as_the_readme_shows(
    walked: tuple[Path, dict[str, Any], str], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, printed, _ = walked
    show(Summary(**{**printed, "steps": tuple(Step(**step) for step in printed["steps"])}))
    (shown,) = blocks(section("Two commands"), "text")
    ended = capsys.readouterr().out.replace(str(folder), "/home/you/gtlabel-demo")
    assert without_numbers(ended) == without_numbers(shown)


def test_the_accuracy_can_be_computed_again_from_the_model_and_the_pictures(
    walked: tuple[Path, dict[str, Any], str],
) -> None:
    folder, printed, _ = walked
    network = Network(folder / "model.onnx")
    names = sorted(truth())
    batch = np.stack(
        [
            load_image((TRASH / "held-out" / name).read_bytes(), network.height, network.width)
            for name in names
        ]
    )
    best = network.probabilities(batch).argmax(axis=1)
    right = sum(network.classes[index] == truth()[name] for index, name in zip(best, names, strict=True))
    assert right / len(names) == pytest.approx(printed["accuracy"])


def test_the_report_carries_the_numbers_that_it_shows(walked: tuple[Path, dict[str, Any], str]) -> None:
    _, printed, _ = walked
    page = Path(printed["report"]).read_text()
    embedded = re.search(r'<script type="application/json" id="gtlabel-data">(.*?)</script>', page, re.DOTALL)
    assert embedded is not None
    evaluation = json.loads(embedded[1])["evaluation"]
    right = sum(image["predicted"] == truth()[image["name"]] for image in evaluation["images"])
    assert right / len(evaluation["images"]) == pytest.approx(printed["accuracy"])
    assert not re.search(r"""(src|href|url)\s*[=(]\s*["']?https?:""", page)


def test_nobody_labeled_or_trained_on_the_pictures_that_were_held_out(
    walked: tuple[Path, dict[str, Any], str],
) -> None:
    folder, _, _ = walked
    labeled = {
        Path(json.loads(line)["source-ref"]).name
        for line in (folder / "output.manifest").read_text().splitlines()
    }
    assert labeled
    assert labeled.isdisjoint(truth())
    pictures = {path.read_bytes() for path in (TRASH / "images").iterdir()}
    assert pictures.isdisjoint(path.read_bytes() for path in (TRASH / "held-out").iterdir())


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    run = subprocess.run([*DEMO, "--into", str(tmp_path)], capture_output=True, text=True)
    assert run.returncode == 1
    assert "holds something that no demo left there" in run.stderr
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def children(pid: int) -> Iterator[int]:
    """All descendants of a process, and those of its own that have left its session."""
    for line in subprocess.run(["ps", "-eo", "pid,ppid"], capture_output=True, text=True).stdout.splitlines()[
        1:
    ]:
        child, parent = map(int, line.split())
        if parent == pid:
            yield child
            yield from children(child)


@pytest.mark.parametrize("step", ["start", "upload", "label", "answer", "consolidate", "train"])
def test_ctrl_c_after_any_step_leaves_no_process_and_no_traceback(
    step: str, tmp_path: Path, interrupted: tuple[Path, Interrupted]
) -> None:
    # One has been interrupted for the demo that comes after it.
    code, left, said = interrupted[1] if step == "consolidate" else interrupt(tmp_path / "demo", step)
    assert code == 130, said
    assert "Traceback" not in said
    assert "gtlabel: interrupted" in said
    assert left == []


def interrupt(folder: Path, step: str) -> Interrupted:
    """Press Ctrl-C soon after a step: the exit code, the processes that did not end, and what was said."""
    demo = subprocess.Popen([*DEMO, "--into", str(folder)], stderr=subprocess.PIPE, text=True)
    assert demo.stderr is not None
    said = ""
    for line in demo.stderr:
        said += line
        if line.split()[:1] == [step]:
            break
    # Into the middle of the next step.
    time.sleep(0.3)
    end = time.monotonic() + 60
    while not (started := list(children(demo.pid))):
        assert time.monotonic() < end, said
        assert demo.poll() is None, said
    demo.send_signal(signal.SIGINT)
    _, rest = demo.communicate(timeout=120)
    return demo.returncode, [pid for pid in started if alive(pid)], said + rest


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().split()[2]


def test_the_aws_cli_finds_the_jobs_of_the_demo_when_its_state_is_opened_again(
    walked: tuple[Path, dict[str, Any], str],
) -> None:
    from gtlabel.emulator.child import running

    folder, printed, _ = walked
    assert f"gtlabel local up --state {folder / 'state'}" in printed["hint"]
    with running(folder / "state") as address:

        def aws(*arguments: str) -> Any:
            command = [str(Path(sys.executable).with_name("aws")), "--endpoint-url", address.url, "sagemaker"]
            run = subprocess.run(
                [*command, *arguments, "--output", "json"],
                env={**os.environ, **address.environ},
                capture_output=True,
                text=True,
            )
            assert run.returncode == 0, run.stderr
            return json.loads(run.stdout)

        (listed,) = aws("list-labeling-jobs")["LabelingJobSummaryList"]
        described = aws("describe-labeling-job", "--labeling-job-name", listed["LabelingJobName"])
        assert described["LabelingJobStatus"] == listed["LabelingJobStatus"] == "Completed"
        pictures = len(list((TRASH / "images").iterdir()))
        assert described["LabelCounters"]["HumanLabeled"] == pictures
        training = aws("describe-training-job", "--training-job-name", "trash-bins")
        assert training["TrainingJobStatus"] == "Completed"
        assert [step["Status"] for step in training["SecondaryStatusTransitions"]][-1] == "Completed"
        metrics = {each["MetricName"]: each["Value"] for each in training["FinalMetricDataList"]}

        # What the trainer said of its own pictures, the command says of the very same.
        judging = subprocess.run(
            [*DEMO[:-1], "evaluate", "trash-bins", "--output", "json"],
            env={**os.environ, **address.environ, "XDG_CACHE_HOME": str(folder / "cache")},
            capture_output=True,
            text=True,
        )
        assert judging.returncode == 0, judging.stderr
        judged = json.loads(judging.stdout)
        assert judged["pictures"].endswith("/validation.manifest")
        assert judged["accuracy"] == pytest.approx(metrics["validation:accuracy"], abs=1e-6)
