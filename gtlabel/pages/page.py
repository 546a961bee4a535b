"""What all pages have in common: they load nothing, run nothing but their own script, and look alike.

A page carries its numbers as JSON, so that everything it claims can be computed again from them.
"""

from __future__ import annotations

import json
import os
import tempfile
from base64 import b64encode
from collections.abc import Iterable, Mapping
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any

from gtlabel.errors import MissingExtraError
from gtlabel.images.thumbnails import thumbnail

MISTAKE_PIXELS = 192


def style(package: str = "", *names: str) -> str:
    """The style sheet of every page, and behind it those of a package's folder `pages`."""
    own = (files("gtlabel.pages") / "page.css").read_text(encoding="utf-8")
    return own + "".join((files(package) / "pages" / name).read_text(encoding="utf-8") for name in names)


def rendered(template: str, values: Mapping[str, Any], *, package: str = "") -> str:
    """A page of a template of this room, or of the folder `pages` of a package.

    Raises:
        MissingExtraError: if jinja2 is not installed.
    """
    try:
        from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
    except ImportError as error:
        raise MissingExtraError("the report", "train") from error
    loaders = [PackageLoader("gtlabel.pages", "")]
    if package:
        loaders.insert(0, PackageLoader(package, "pages"))
    environment = Environment(
        loader=ChoiceLoader(loaders),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=percent, duration=duration, picture=picture_source, range_of=range_of)
    return environment.get_template(template).render(values)


def write_whole(path: Path, parts: Iterable[str]) -> Path:
    """Write a page to a file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.writelines(parts)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)
    return path


def policy(sheet: str, script: str = "") -> str:
    """What a page may load: nothing; and run: its own script, known by its digest."""
    return "; ".join(
        (
            "default-src 'none'",
            "img-src data:",
            f"style-src {_digest(sheet)}",
            # The lengths of bars; a name never gets into a style.
            "style-src-attr 'unsafe-inline'",
            *([f"script-src {_digest(script)}"] if script else []),
            "base-uri 'none'",
            "form-action 'none'",
        )
    )


def embedded(value: object) -> str:
    """JSON that can stand inside a script element whatever its texts hold."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def picture_source(data: bytes | None) -> str | None:
    """A small picture as the address that an `img` shows; None if it cannot be shown."""
    small = thumbnail(data, MISTAKE_PIXELS) if data else None
    return f"data:image/webp;base64,{b64encode(small).decode()}" if small else None


def percent(share: float | None, digits: int = 1) -> str:
    """A share as per cent; a dash where there is none."""
    return "\u2013" if share is None else f"{100 * share:.{digits}f}%"


def range_of(interval: tuple[float, float] | None) -> str:
    """An interval of shares as whole per cents; empty where there is none."""
    return "" if interval is None else f"{100 * interval[0]:.0f}\u2013{100 * interval[1]:.0f}"


def duration(seconds: float) -> str:
    """Seconds, or minutes and seconds."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s"


def _digest(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"
