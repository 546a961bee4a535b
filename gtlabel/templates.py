"""The templates that gtlabel ships, found wherever it is installed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Template

from gtlabel.errors import TemplateError


@dataclass(frozen=True, slots=True)
class ShippedTemplate:
    """A template by the name that `read_template` takes, and its size in bytes."""

    name: str
    size: int


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
        if ".." in name.split("/"):
            raise FileNotFoundError(name)
        return (shipped("templates") / name).read_text(encoding="utf-8")
    except (FileNotFoundError, IsADirectoryError):
        raise TemplateError(f"gtlabel ships no template named {name!r}; see `gtlabel template`") from None


def fill_template(name: str, values: Mapping[str, str]) -> str:
    """The text of a shipped template with a value for each `${...}` in it.

    Values are put in as they are: whoever gives them escapes them for the place they go to.

    Raises:
        TemplateError: if there is none of that name, or a value is missing.
    """
    try:
        return Template(read_template(name)).substitute(values)
    except (KeyError, ValueError) as error:
        raise TemplateError(f"the template {name!r} cannot be filled: {error}") from error


def list_templates() -> list[ShippedTemplate]:
    """All shipped templates, by name."""
    return sorted(_below(shipped("templates"), ""), key=lambda template: template.name)


def _below(folder: Traversable, prefix: str) -> Iterator[ShippedTemplate]:
    for item in folder.iterdir():
        if item.is_dir():
            yield from _below(item, f"{prefix}{item.name}/")
        else:
            yield ShippedTemplate(f"{prefix}{item.name}", len(item.read_bytes()))
