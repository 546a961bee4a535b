"""Lines that could not be read, set aside so that the others can be used."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from types import TracebackType
from typing import IO, Self


class SetAside:
    """A file of the lines that are no records, byte for byte, so that it is a manifest once they are mended.

    It is what `read_records` takes as `on_bad`. The file appears when the `with` block ends, whole or not at
    all, in place of one that was there; a run without a bad line leaves an empty one, so that the file never
    speaks about another run. `gtlabel dataset lint FILE` says again what is wrong with each line.

        with SetAside(path) as aside:
            for record in read_records(lines, manifest, on_bad=aside):
                ...
        print(aside.count, aside.first)

    Attributes:
        path: the file.
        count: how many lines there are.
        first: the number of the first one and what is wrong with it; None while there is none.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0
        self.first: tuple[int, str] | None = None
        self._file: IO[bytes] | None = None

    def __enter__(self) -> Self:
        self._file = tempfile.NamedTemporaryFile(
            dir=self.path.parent, prefix=f".{self.path.name}.", delete=False
        )
        return self

    def __call__(self, number: int, line: bytes, reason: str) -> None:
        """Take a line."""
        if self._file is None:
            raise ValueError("lines can be set aside only inside the with block")
        self._file.write(line + b"\n")
        self.count += 1
        if self.first is None:
            self.first = (number, reason)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        file, self._file = self._file, None
        if file is None:
            return
        try:
            if kind is None:
                file.flush()
                os.fsync(file.fileno())
        finally:
            file.close()
            if kind is None:
                Path(file.name).replace(self.path)
            else:
                Path(file.name).unlink(missing_ok=True)
