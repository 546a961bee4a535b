"""Where the model of a trial is left, and that none which was there before is lost."""

from __future__ import annotations

import shutil
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gtlabel.emulator.trial import TrialOptions, try_program
from gtlabel.emulator.trialdata import Wishes, open_data
from gtlabel.emulator.trialreport import TrialReport
from gtlabel.errors import SettingsError, StorageError

Attempt = Callable[..., TrialReport]


@pytest.fixture
def attempt(tmp_path: Path) -> Attempt:
    """Tries programs on two pictures."""
    for number in range(2):
        path = tmp_path / "pictures" / "Glass" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"%d" % number)

    def run(program: str, **options: Any) -> TrialReport:
        return try_program(
            lambda scratch: open_data(str(tmp_path / "pictures"), Wishes(), scratch, _nobody),
            [sys.executable, "-c", f"import os\n{program}"],
            TrialOptions(**{"model": tmp_path / "model", **options}),
            on_output=lambda _: None,
        )

    return run


def _nobody() -> Any:
    raise AssertionError("no S3 is needed for files of this machine")


def test_a_model_that_has_no_place_is_told(tmp_path: Path, attempt: Attempt) -> None:
    (tmp_path / "file").write_text("")
    saves = "open(os.environ['SM_MODEL_DIR'] + '/model', 'w').write('1')"
    for place in (
        {"model": tmp_path / "file"},
        {"model": None, "archive": tmp_path / "file" / "model.tar.gz"},
    ):
        with pytest.raises(StorageError, match="the model cannot be written to .*file.*: Not a directory"):
            attempt("raise SystemExit('it must not even be started')", **place)
    going = tmp_path / "going"
    going.mkdir()
    with pytest.raises(StorageError, match=r"its files are in .*/gtlabel-model-\w+/model$") as told:
        attempt(f"{saves}\nos.rmdir({str(going)!r})", model=None, archive=going / "model.tar.gz")
    kept = Path(str(told.value).split()[-1])
    assert (kept / "model").read_text() == "1"
    shutil.rmtree(kept.parent)


def test_a_model_is_replaced_by_a_whole_one_only(tmp_path: Path, attempt: Attempt) -> None:
    archive = tmp_path / "model.tar.gz"
    saves = "open(os.environ['SM_MODEL_DIR'] + '/{}', 'w').write('1')\n"

    def names(path: Path) -> list[str]:
        with tarfile.open(path) as packed:
            return packed.getnames()

    attempt(saves.format("first"), model=None, archive=archive)
    report = attempt(saves.format("half") + "raise SystemExit(1)", model=None, archive=archive)
    assert (report.model, names(archive)) == (None, ["first"])
    assert "SageMaker keeps no model of a job that failed, so these 1 files are not kept" in report.warnings()
    sleeps = saves.format("half") + "import time; time.sleep(60)"
    # On a slow machine it takes the program longer to come to where it sleeps.
    for patience in (0.8, 4, 20):
        report = attempt(sleeps, model=None, archive=archive, timeout=patience)
        if report.model is not None:
            break
    beside = tmp_path / "stopped-model.tar.gz"
    assert (report.model, names(beside), names(archive)) == (beside, ["half"], ["first"])
    attempt(saves.format("second"), model=None, archive=archive)
    assert names(archive) == ["second"]


def test_the_files_of_two_models_do_not_mix(tmp_path: Path, attempt: Attempt) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model-0009.params").write_text("older")
    with pytest.raises(SettingsError, match="/model is not empty, and the files of two models would mix"):
        attempt("raise SystemExit('it must not even be started')")
