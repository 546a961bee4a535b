"""Where the model of a trial is left, so that no model that was there before is lost."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from gtlabel.emulator.container import pack
from gtlabel.errors import SettingsError, StorageError

ARCHIVE = "model.tar.gz"


@dataclass(frozen=True, slots=True)
class ModelPlace:
    """The place of a model.

    Attributes:
        folder: where its files are left as they are; without it, they are packed into `archive`.
        archive: the model as SageMaker would upload it.
    """

    folder: Path | None = None
    archive: Path = Path(ARCHIVE)

    def check(self) -> None:
        """See whether a model could be left there; nothing is made.

        Raises:
            SettingsError: if the folder has files, among which those of the model could not be told apart.
            StorageError: if nothing can be written there.
        """
        place = self.folder or self.archive
        try:
            if self.folder is None:
                if self.archive.is_dir():
                    raise StorageError(f"the model cannot be written to {place}: it is a folder")
                near = self.archive.parent
            else:
                if self.folder.is_dir() and any(self.folder.iterdir()):
                    raise SettingsError(
                        f"{self.folder} is not empty, and the files of two models would mix there; empty it, "
                        "or name another folder with --model-dir"
                    )
                near = next(path for path in (self.folder, *self.folder.parents) if path.exists())
            with tempfile.TemporaryFile(dir=near):
                pass
        except OSError as error:
            raise StorageError(
                f"the model cannot be written to {place}: {error.strerror}; "
                "name another place with --model-dir"
            ) from error

    def keep(self, model: Path, *, whole: bool) -> Path:
        """Leave a model there; return where that was.

        Args:
            model: the folder with its files.
            whole: whether its program came to its end. What one left that was stopped takes the place of no
                other archive, but lies beside it.

        Raises:
            StorageError: if it cannot be written; it says where the files are then.
        """
        place = self.folder or self.archive
        try:
            if self.folder is not None:
                shutil.copytree(model, self.folder, dirs_exist_ok=True)
            else:
                if not whole and self.archive.exists():
                    place = self.archive.with_name(f"stopped-{self.archive.name}")
                pack(model, place)
        except OSError as error:
            # It may have taken hours, and what lies around it goes away.
            saved = Path(tempfile.mkdtemp(prefix="gtlabel-model-")) / "model"
            shutil.move(model, saved)
            reason = error.strerror or str(error)
            raise StorageError(
                f"the model cannot be written to {place}: {reason}; its files are in {saved}"
            ) from error
        return place
