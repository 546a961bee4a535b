"""The package as it is installed: its public names, and what importing it costs."""

from __future__ import annotations

import subprocess
import sys

import pytest

import gtlabel

HEAVY = (
    "boto3",
    "botocore",
    "moto",
    "flask",
    "sagemaker",
    "torch",
    "onnx",
    "onnxruntime",
    "sklearn",
    "numpy",
)


def loaded_after(statement: str) -> set[str]:
    """The heavy packages that a fresh interpreter has loaded after a statement."""
    program = f"import sys\n{statement}\nprint(*[name for name in {HEAVY!r} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(run.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("name", gtlabel.__all__)
def test_every_public_name_leads_to_something_that_is_documented(name: str) -> None:
    assert getattr(gtlabel, name).__doc__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'labl'"):
        _ = gtlabel.labl


@pytest.mark.parametrize(
    "statement",
    [
        "import gtlabel",
        "import gtlabel.emulator.plugin",
        "from gtlabel.cli.main import app\ntry:\n    app(['--help'])\nexcept SystemExit:\n    pass",
        "from gtlabel.cli.main import app\ntry:\n    app(['demo', '--help'])\nexcept SystemExit:\n    pass",
    ],
)
def test_nothing_heavy_is_loaded_to_say_hello(statement: str) -> None:
    assert loaded_after(statement) == set()
