"""Where a dataset or a manifest lies: below an address in S3, or in a folder of this machine.

Looking at a dataset is the same either way. A folder is what `aws s3 sync` makes of a dataset, or what was
consolidated there; the addresses in its files are still those of S3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gtlabel.errors import DatasetError, ObjectNotFoundError
from gtlabel.storage import read, read_file_lines, read_lines
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client


@dataclass(frozen=True, slots=True)
class Place:
    """An address or a path, and the way to read there.

    Attributes:
        root: what was named: a dataset, or a manifest.
        connect: gives the client; it is not asked for where a folder has everything.
    """

    root: S3Uri | Path
    connect: Callable[[], S3Client]

    @classmethod
    def of(cls, text: str, connect: Callable[[], S3Client]) -> Place:
        """The place a person means by `s3://...` or by a path."""
        return cls(S3Uri(text) if text.startswith("s3://") else Path(text), connect)

    def __str__(self) -> str:
        return str(self.root)

    @property
    def is_manifest(self) -> bool:
        """Whether it names one file of lines and not a dataset."""
        if isinstance(self.root, Path):
            return not self.root.is_dir()
        return self.root.name.endswith((".manifest", ".jsonl", ".json", ".gz"))

    def at(self, name: str) -> Place:
        """The place of a file of the dataset, by its name below the root."""
        return Place(self.root / name, self.connect)

    def read(self) -> bytes:
        """The whole file.

        Raises:
            ObjectNotFoundError: if there is none.
            DatasetError: if the disk does not hand it out.
        """
        if isinstance(self.root, S3Uri):
            return read(self.connect(), self.root)
        try:
            return self.root.read_bytes()
        except FileNotFoundError:
            raise ObjectNotFoundError(str(self.root)) from None
        except OSError as error:
            raise DatasetError(f"{self.root} cannot be read: {error.strerror}") from error

    def lines(self, *, cut: bool = False) -> Iterator[bytes]:
        """The lines of the file, packed or not, without their ends, a chunk in memory at a time.

        Args:
            cut: hand on the beginning of a line that is too long, in place of the error.

        Raises:
            ObjectNotFoundError: if there is none.
            DatasetError: if the disk does not hand it out.
            ManifestLineError: at a line that is far longer than a record can be.
        """
        if isinstance(self.root, S3Uri):
            yield from read_lines(self.connect(), self.root, cut=cut)
            return
        try:
            yield from read_file_lines(self.root, cut=cut)
        except FileNotFoundError:
            raise ObjectNotFoundError(str(self.root)) from None
        except OSError as error:
            raise DatasetError(f"{self.root} cannot be read: {error.strerror}") from error

    def image(self, image: S3Uri, dataset: S3Uri) -> bytes:
        """A picture that a manifest of the dataset names.

        Args:
            image: its address.
            dataset: the address that the dataset was consolidated at; what lies below it is in the folder,
                if the dataset is.

        Raises:
            ObjectNotFoundError: if it is not there.
        """
        if isinstance(self.root, Path) and image.startswith(dataset):
            copy = self.root / image.removeprefix(dataset)
            # A key may hold "..", which is a name in S3 and a way out of a folder.
            if not (copy.resolve().is_relative_to(self.root.resolve()) and copy.is_file()):
                raise ObjectNotFoundError(str(copy))
            return copy.read_bytes()
        return read(self.connect(), image)
