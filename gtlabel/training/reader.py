"""The way a training program of one's own reads what SageMaker gives it: no framework, no settings.

    from gtlabel.training import reader

    settings = reader.hyperparameters()
    for epoch in range(settings.integer("epochs", 10)):
        for picture, label in reader.read_channel("train", epoch):
            ...
    (reader.model_directory() / "model.bin").write_bytes(...)

The same lines read Pipe mode (a FIFO of RecordIO for each epoch), manifests in a small channel beside a
channel of pictures (File or FastFile), and class folders. In a container everything lies below `/opt/ml`;
`SAGEMAKER_BASE_DIR` names another place, as AWS's own toolkits have it (contract/training.md §4.2).
"""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType

from gtlabel.errors import ChannelError, RecordIOError, TrainingError
from gtlabel.recordio import read_records
from gtlabel.training.channelfiles import class_names_of, read_files
from gtlabel.training.channelpipe import PATIENCE, open_pipe
from gtlabel.training.failurefile import write_failure
from gtlabel.training.labels import LONGEST_SHOWN, Label, as_label

__all__ = [
    "Label",
    "Settings",
    "channels",
    "class_names",
    "hyperparameters",
    "model_directory",
    "output_directory",
    "read_channel",
    "read_values",
    "report_failure",
    "stop_requested",
]

_TRUE, _FALSE = ("1", "true", "yes"), ("0", "false", "no")


def read_channel(
    name: str,
    epoch: int = 0,
    *,
    base: Path | None = None,
    shuffle: int | None = None,
    patience: float = PATIENCE,
) -> Iterator[tuple[bytes, Label]]:
    """Yield the pictures of one epoch, as the files that they are, each with its label.

    A label is the number of a class, or a tuple of numbers where a picture has several; of class folders it
    is the position of the folder's name among all. In Pipe mode an epoch can be read once, and whoever stops
    early finds the next one whole.

    Args:
        name: of the channel, such as `train`.
        epoch: counted from 0.
        base: what SageMaker calls `/opt/ml`.
        shuffle: a seed for the order of files, another order for each epoch; Pipe mode has shuffled already
            where the job says so, and passes over this.
        patience: how many seconds to wait for the channel, and for each piece of it.

    Raises:
        ChannelError: if there is no such channel or nothing in it, and at the first record that cannot be
            used.
    """
    if _is_pipe(name, base):
        for number, (picture, text) in enumerate(read_values(name, epoch, base=base, patience=patience)):
            yield picture, _label(name, number, text)
        return
    yield from read_files(_data(base), name, epoch, shuffle)


def read_values(
    name: str, epoch: int = 0, *, attributes: int = 2, base: Path | None = None, patience: float = PATIENCE
) -> Iterator[tuple[bytes, ...]]:
    """Yield what Pipe mode sends of each line: the values of so many attributes, as bytes.

    For channels with other attributes than a picture and its label.

    Args:
        name: of the channel.
        epoch: counted from 0.
        attributes: how many the channel has.
        base: what SageMaker calls `/opt/ml`.
        patience: how many seconds to wait for the channel, and for each piece of it.

    Raises:
        ChannelError: if the channel is none of Pipe mode, is empty, or breaks off.
    """
    if not _is_pipe(name, base):
        raise ChannelError(name, "it has files and no records; read_channel reads both")
    values: list[bytes] = []
    count = 0
    with open_pipe(_data(base), name, epoch, patience) as stream:
        try:
            for payload in read_records(stream):
                values.append(payload)
                if len(values) == attributes:
                    count += 1
                    yield tuple(values)
                    values.clear()
        except RecordIOError as error:
            raise ChannelError(
                name, f"{error}; its RecordWrapperType must be RecordIO, and one program reads it at a time"
            ) from error
    if values:
        raise ChannelError(
            name,
            f"it ends after {len(values)} of {attributes} values of line {count}; "
            "compare its AttributeNames with what is read",
        )
    if not count:
        raise ChannelError(
            name, "not one record came; compare its AttributeNames with the lines of its manifest"
        )


def channels(base: Path | None = None) -> dict[str, str]:
    """The names of the channels, each with its mode: `Pipe`, `File` or `FastFile`."""
    file = _base(base) / "input" / "config" / "inputdataconfig.json"
    document = _json(file)
    if not isinstance(document, dict):
        raise TrainingError(f"{file} does not describe channels")
    return {
        name: str(settings.get("TrainingInputMode", "File")) if isinstance(settings, dict) else "File"
        for name, settings in document.items()
    }


def class_names(name: str = "train", base: Path | None = None) -> tuple[str, ...]:
    """The names of the classes, by their labels; numbers where nothing tells the names.

    They are in `GTLABEL_CLASS_NAMES`, which gtlabel gives to the programs that it starts, in the class
    folders, or in the manifest. How many there are may also be said by `GTLABEL_NUM_CLASSES`, or by the
    hyperparameter `num_classes`.

    Raises:
        TrainingError: if nothing says how many classes there are.
    """
    listed = os.environ.get("GTLABEL_CLASS_NAMES")
    if listed:
        return tuple(json.loads(listed))
    told = os.environ.get("GTLABEL_NUM_CLASSES")
    count = int(told) if told else hyperparameters(base).integer("num_classes", 0)
    known = {} if _is_pipe(name, base) else class_names_of(_data(base), name)
    count = max(count, *(number + 1 for number in known), 0)
    if not count:
        raise TrainingError(
            "nothing says how many classes there are; give the hyperparameter num_classes, "
            "or the variable GTLABEL_NUM_CLASSES"
        )
    return tuple(known.get(number, str(number)) for number in range(count))


def hyperparameters(base: Path | None = None) -> Settings:
    """What the job was told.

    Raises:
        TrainingError: if the file cannot be read.
    """
    file = _base(base) / "input" / "config" / "hyperparameters.json"
    if not file.is_file():
        return Settings({})
    values = _json(file)
    if not isinstance(values, dict):
        raise TrainingError(f"{file} does not hold hyperparameters by name")
    return Settings({name: _text(value) for name, value in values.items()})


class Settings(Mapping[str, str]):
    """Hyperparameters, which travel as texts, with the types that a program wants."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = dict(values)

    def __getitem__(self, name: str) -> str:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Settings({self._values})"

    def text(self, name: str, default: str) -> str:
        """A hyperparameter as it is."""
        return self._values.get(name, default)

    def integer(self, name: str, default: int) -> int:
        """A hyperparameter that is a whole number.

        Raises:
            TrainingError: if it is not.
        """
        value = self.number(name, default)
        if value != int(value):
            raise self._wrong(name, "a whole number")
        return int(value)

    def number(self, name: str, default: float) -> float:
        """A hyperparameter that is a number.

        Raises:
            TrainingError: if it is not.
        """
        try:
            value = float(self._values.get(name, default))
        except ValueError:
            raise self._wrong(name, "a number") from None
        if not abs(value) < float("inf"):
            raise self._wrong(name, "a number")
        return value

    def flag(self, name: str, *, default: bool = False) -> bool:
        """A hyperparameter that is on or off: `True`, `true`, `1`, `yes`, or their opposites.

        Raises:
            TrainingError: if it is neither.
        """
        value = self._values.get(name, str(default)).lower()
        if value not in (*_TRUE, *_FALSE):
            raise self._wrong(name, "true or false")
        return value in _TRUE

    def _wrong(self, name: str, kind: str) -> TrainingError:
        return TrainingError(f"the hyperparameter {name} is {self._values[name]!r}, and should be {kind}")


def model_directory(base: Path | None = None) -> Path:
    """The folder whose files become model.tar.gz; it is there."""
    return _made(_base(base) / "model")


def output_directory(base: Path | None = None) -> Path:
    """The folder whose files become output.tar.gz, such as charts for people; it is there."""
    return _made(_base(base) / "output" / "data")


def report_failure(reason: object, base: Path | None = None) -> None:
    """Write down why the program fails: the job's FailureReason; then leave with an exit code other than 0.

    Args:
        reason: an error, or a sentence; the first 1,024 characters count.
        base: what SageMaker calls `/opt/ml`.
    """
    text = str(reason)
    if isinstance(reason, BaseException) and not isinstance(reason, TrainingError):
        text = f"{type(reason).__name__}: {text}" if text else type(reason).__name__
    write_failure(_base(base), text)


def stop_requested() -> threading.Event:
    """An event that is set when the platform wants the program to end.

    Two minutes are left then (contract/training.md §4.2): save what there is and return. To be called once,
    in the main thread.
    """
    stop = threading.Event()

    def note(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, note)
    return stop


def _base(base: Path | None) -> Path:
    return base or Path(os.environ.get("SAGEMAKER_BASE_DIR", "/opt/ml"))


def _data(base: Path | None) -> Path:
    return _base(base) / "input" / "data"


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _is_pipe(name: str, base: Path | None) -> bool:
    known = channels(base)
    if name not in known:
        listed = ", ".join(known) or "none at all"
        raise ChannelError(name, f"the job has no such channel; those it has: {listed}")
    return known[name] == "Pipe"


def _json(file: Path) -> object:
    try:
        return json.loads(file.read_bytes())
    except FileNotFoundError:
        raise TrainingError(
            f"there is no {file}; is this a training job? To be one on this machine, set SAGEMAKER_BASE_DIR"
        ) from None
    except (OSError, ValueError) as error:
        raise TrainingError(f"{file} cannot be read: {error}") from error


def _text(value: object) -> str:
    """A hyperparameter as a program means it: AWS's toolkits and SDK wrap texts in the quotes of JSON."""
    if not isinstance(value, str):
        return json.dumps(value)
    if value.startswith('"'):
        try:
            inner = json.loads(value)
        except ValueError:
            return value
        return inner if isinstance(inner, str) else value
    return value


def _label(channel: str, number: int, raw: bytes) -> Label:
    text = raw.decode("utf-8", "replace").strip()
    value = _value(text)
    # AWS's pages show numbers and lists, and both as texts.
    label = as_label(_value(value) if isinstance(value, str) else value)
    if label is None:
        raise ChannelError(channel, f"the label of picture {number} is no class but {text[:LONGEST_SHOWN]!r}")
    return label


def _value(text: str) -> object:
    """What a text says as JSON; where it is none, the text."""
    try:
        return json.loads(text)
    except ValueError:
        return text
