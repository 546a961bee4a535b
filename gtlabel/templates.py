"""The templates that gtlabel ships, found wherever it is installed."""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from gtlabel.errors import TemplateError


def shipped(folder: str) -> Traversable:
    """A folder that the wheel carries as `gtlabel/_<folder>` and a checkout holds beside the package.

    Raises:
        TemplateError: if this installation has neither.
    """
    packaged = files("gtlabel") / f"_{folder}"
    if packaged.is_dir():
        return packaged
    beside = Path(__file__).resolve().parent.parent / folder
    if beside.is_dir():
        return beside
    raise TemplateError(f"this installation of gtlabel lacks its {folder}; install it again")


def read_template(name: str) -> str:
    """The text of a shipped template, such as `tasks/image-classification.liquid`.

    Raises:
        TemplateError: if there is none of that name.
    """
    try:
        return (shipped("templates") / name).read_text(encoding="utf-8")
    except (FileNotFoundError, IsADirectoryError):
        raise TemplateError(f"gtlabel ships no template named {name!r}") from None
