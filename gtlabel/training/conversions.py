"""Converted networks, kept for the next time: unpacking and converting one takes seconds.

They lie in the user's own cache folder (`$XDG_CACHE_HOME`, else `~/.cache`), below `gtlabel/networks`, and
may be deleted at any time. A name is the digest of all that the conversion depends on, its own code too; each
file begins with the digest of the rest, so that what is damaged is made again.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

# Networks of the built-in have 45 to 230 MB.
_KEPT = 8
_DIGEST = 32


def converted(parts: Iterable[str], convert: Callable[[], bytes]) -> bytes:
    """The converted network that belongs to `parts`, from the cache where it is there.

    Where nothing can be kept, on a full or read-only disk, it is converted every time.

    Args:
        parts: what the outcome depends on: the digest of the artifact, the class names, ...
        convert: makes it.
    """
    digest = sha256(_code().encode())
    for part in parts:
        digest.update(len(part).to_bytes(8) + part.encode("utf-8", "surrogatepass"))
    path = _folder() / f"{digest.hexdigest()}.onnx"
    kept = _read(path)
    if kept is None:
        kept = convert()
        # A cache that cannot be written is no reason to fail: the network is here.
        with suppress(OSError):
            _write(path, kept)
    return kept


def _folder() -> Path:
    home = os.environ.get("XDG_CACHE_HOME", "")
    # The specification says to ignore a relative one (https://specifications.freedesktop.org/basedir-spec/).
    base = Path(home) if Path(home).is_absolute() else Path("~/.cache").expanduser()
    return base / "gtlabel" / "networks"


def _read(path: Path) -> bytes | None:
    try:
        content = path.read_bytes()
    except OSError:
        return None
    if sha256(memoryview(content)[_DIGEST:]).digest() != content[:_DIGEST]:
        return None
    with suppress(OSError):
        os.utime(path)
    return content[_DIGEST:]


def _write(path: Path, network: bytes) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".partial")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(sha256(network).digest())
            file.write(network)
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)
    oldest_last = sorted(path.parent.glob("*.onnx"), key=lambda each: each.stat().st_mtime, reverse=True)
    for each in oldest_last[_KEPT:]:
        each.unlink(missing_ok=True)


@cache
def _code() -> str:
    """The digest of the code that converts, and its version, which the network tells."""
    package = files("gtlabel.networks")
    code = b"".join((package / name).read_bytes() for name in ("artifact.py", "onnx.py", "symbol.py"))
    return f"{version('gtlabel')} {sha256(code).hexdigest()}"
