"""The place a training program runs in: the directory tree, the process group, the archives it leaves.

It is what SageMaker gives a container as `/opt/ml`, at another path (`SAGEMAKER_BASE_DIR`), without Docker:
contract/training.md §4.2.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import tarfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from time import sleep
from typing import IO, Any

from gtlabel.emulator.pipe import PipeChannel
from gtlabel.errors import EmulatorError, StorageError
from gtlabel.training.failurefile import read_failure
from gtlabel.uris import S3Uri

HOST = "algo-1"
BASE = "/opt/ml"  # where a real container has what is below `Container.base` here
_VARIABLE = "SAGEMAKER_BASE_DIR"
_CHUNK = 1 << 20
_GZIP = 16 + zlib.MAX_WBITS  # how zlib is asked for gzip's format
# Who forks faster than that is left to whoever looks at the machine.
_ROUNDS = 20
_BETWEEN_ROUNDS = 0.01  # seconds
# Of this process's environment, what a program needs to start at all. A container would see none of it,
# and credentials are not among it.
_INHERITED = (
    *("PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "LC_CTYPE", "TZ"),
    *("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"),
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"),
)

_log = logging.getLogger(__name__)


class Container:
    """The directories and the process of one job.

    Args:
        directory: the job's own; what was there before goes away.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.base = directory / "ml"
        self.config = self.base / "input" / "config"
        self.data = self.base / "input" / "data"
        self.model = self.base / "model"
        self.output = self.base / "output" / "data"
        self.checkpoints: Path | None = None
        self.scratch = directory / "scratch"
        self.log = directory / "log.txt"
        self._process: subprocess.Popen[bytes] | None = None

    def prepare(self, request: Mapping[str, Any], *, again: bool = False) -> None:
        """Make the directories and write what the program is told.

        Args:
            request: the parameters of CreateTrainingJob.
            again: keep the log, because the job goes on where another machine was taken away.
        """
        shutil.rmtree(self.base if again else self.directory, ignore_errors=True)
        shutil.rmtree(self.scratch, ignore_errors=True)
        checkpoints = request.get("CheckpointConfig")
        if checkpoints is not None:
            path = checkpoints.get("LocalPath") or f"{BASE}/checkpoints"
            self.checkpoints = self.base / path.removeprefix(BASE).strip("/")
            self.checkpoints.mkdir(parents=True)
        for directory in (self.config, self.data, self.model, self.output, self.scratch):
            directory.mkdir(parents=True)
        self._write("hyperparameters.json", dict(request.get("HyperParameters", {})))
        self._write("inputdataconfig.json", dict(_input_data_config(request)))
        self._write("resourceconfig.json", _resource_config(request["ResourceConfig"]))

    def start(
        self,
        program: Sequence[str],
        environment: Mapping[str, str],
        arguments: Sequence[str] = ("train",),
        folder: Path | None = None,
    ) -> IO[bytes]:
        """Start the program in a process group of its own and return what it prints.

        Args:
            program: its words.
            environment: what it is told besides where it is.
            arguments: further words, which an image would be given.
            folder: where it starts, in place of the base directory.

        Raises:
            OSError: if it cannot be started.
            EmulatorError: on Windows.
        """
        if os.name == "nt":
            raise EmulatorError(
                "a training program needs a process group that can be told to end, which Windows does not "
                "have; run the emulator on Linux, on macOS or in WSL"
            )
        inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        # boto3 in the program finds no credentials of the person whose machine this is.
        nobody = {
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        with (self.directory / "alive").open("wb") as alive:
            _lock(alive, wait=True)
            self._process = subprocess.Popen(
                [*program, *arguments],
                cwd=folder or self.base,
                env={
                    **inherited,
                    **nobody,
                    "PYTHONUNBUFFERED": "1",
                    _VARIABLE: str(self.base),
                    **environment,
                },
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                # The lock lives as long as the program holds this open: see `end_orphan`.
                pass_fds=(alive.fileno(),),
            )
        (self.directory / "pid").write_text(str(self._process.pid))
        assert self._process.stdout is not None
        return self._process.stdout

    def wait(self, seconds: float) -> int | None:
        """Wait a moment for the program; its exit code as a shell counts, or None while it runs."""
        assert self._process is not None
        try:
            code = self._process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            return None
        return 128 - code if code < 0 else code

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the program and all that it started."""
        if self._process is not None:
            _signal_group(self._process.pid, number)

    def end(self) -> None:
        """Kill what is left of the program and of all that it started, as a container takes all with it.

        Whatever left its process group is found by the environment it inherited, where the system shows
        one (`/proc`).
        """
        self.signal(signal.SIGKILL)
        _kill_fled(self.base)

    def failure(self) -> str:
        """What the program wrote down about its failure; empty when it wrote nothing."""
        return read_failure(self.base)

    def clean(self) -> None:
        """Take away what was only needed while the program ran; its log and its settings stay.

        What the program has made impossible to remove stays, too, with a warning.
        """
        inputs = self.config.parent
        marks = (self.directory / "alive", self.directory / "pid")
        for path in (self.scratch, *self.base.glob("*"), *inputs.glob("*"), *marks):
            try:
                if path in marks or path.is_symlink() or path.is_file():
                    path.unlink(missing_ok=True)
                elif path not in (inputs, self.config):
                    shutil.rmtree(path, ignore_errors=True)
            except OSError as error:
                _log.warning("%s stays: %s", path, error)

    def _write(self, name: str, value: object) -> None:
        (self.config / name).write_text(json.dumps(value, indent=2))


def end_orphan(directory: Path) -> bool:
    """End a program that outlived the emulator which started it; say whether there was one.

    The process id alone could belong to a stranger by now. But the program inherited a lock, and only
    while that is held does the id mean what it meant.
    """
    pid = directory / "pid"
    alive = directory / "alive"
    if not (pid.is_file() and alive.is_file()):
        return False
    with alive.open("rb") as stream:
        if _lock(stream, wait=False):
            return False
    _signal_group(int(pid.read_text()), signal.SIGKILL)
    _kill_fled(Container(directory).base)
    return True


def files_below(directory: Path) -> list[Path]:
    """The files of a tree, in an order that depends on their names alone."""
    return sorted(path for path in directory.rglob("*") if path.is_file())


def packed(directory: Path) -> Iterator[bytes]:
    """The files below a directory as a .tar.gz that holds them flat, as SageMaker's does, piece by piece.

    The same files make the same bytes. A megabyte of them is in memory, and nothing is written to disk,
    which may be what a training program has just filled.

    Raises:
        StorageError: if a file becomes shorter meanwhile.
    """
    packer = zlib.compressobj(6, zlib.DEFLATED, _GZIP)
    for piece in _tar(directory):
        yield packer.compress(piece)
    yield packer.flush()


def pack(directory: Path, archive: Path) -> None:
    """Write what `packed` yields into a file, which is there whole or not at all.

    Raises:
        StorageError: if a file becomes shorter meanwhile.
        OSError: if it cannot be written.
    """
    part = archive.with_name(f"{archive.name}.part")
    try:
        with part.open("wb") as stream:
            stream.writelines(packed(directory))
        part.replace(archive)
    finally:
        part.unlink(missing_ok=True)


def place_below(directory: Path, prefix: S3Uri, uri: S3Uri) -> Path | None:
    """Where an object of a prefix belongs, with the folders made; None for what only marks a folder.

    Raises:
        StorageError: if its key leads out of the directory.
    """
    whole = prefix.key == "" or prefix.key.endswith("/") or uri.key.startswith(f"{prefix.key}/")
    start = len(prefix.key) if whole else len(prefix.folder.key)
    name = uri.key[start:].lstrip("/")
    if not name or name.endswith("/"):
        return None
    path = directory / name
    if ".." in path.parts:
        raise StorageError(f"the key of {uri} leads out of its channel's directory")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def input_mode(request: Mapping[str, Any], channel: Mapping[str, Any]) -> str:
    """How a channel is read: `Pipe`, `File` or `FastFile`; its own word counts before the job's."""
    mode: str = channel.get("InputMode") or request["AlgorithmSpecification"]["TrainingInputMode"]
    return mode


def pipe_channel(channel: Mapping[str, Any]) -> PipeChannel:
    """A channel of a request, as the feeder knows it."""
    source = channel["DataSource"]["S3DataSource"]
    return PipeChannel(
        name=channel["ChannelName"],
        manifest=S3Uri(source["S3Uri"]),
        attributes=tuple(source.get("AttributeNames", ())),
        wrapper="RecordIO" if channel.get("RecordWrapperType") == "RecordIO" else "None",
        seed=channel.get("ShuffleConfig", {}).get("Seed"),
    )


def _input_data_config(request: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, str]]]:
    for channel in request.get("InputDataConfig", ()):
        source = channel["DataSource"]["S3DataSource"]
        described = {
            "ContentType": channel.get("ContentType"),
            "TrainingInputMode": input_mode(request, channel),
            "S3DistributionType": source.get("S3DataDistributionType", "FullyReplicated"),
            "RecordWrapperType": channel.get("RecordWrapperType", "None"),
        }
        yield channel["ChannelName"], {name: value for name, value in described.items() if value is not None}


def _resource_config(resources: Mapping[str, Any]) -> dict[str, Any]:
    instance = resources["InstanceType"]
    group = "homogeneousCluster"
    return {
        "current_host": HOST,
        "current_instance_type": instance,
        "current_group_name": group,
        "hosts": [HOST],
        "instance_groups": [{"instance_group_name": group, "instance_type": instance, "hosts": [HOST]}],
        "network_interface_name": "eth0",
    }


def _tar(directory: Path) -> Iterator[bytes]:
    for path in files_below(directory):
        member = tarfile.TarInfo(path.relative_to(directory).as_posix())
        member.mode = 0o644
        with path.open("rb") as content:
            left = member.size = os.fstat(content.fileno()).st_size
            yield member.tobuf(tarfile.PAX_FORMAT)
            while left:
                piece = content.read(min(left, _CHUNK))
                if not piece:
                    raise StorageError(f"{member.name} became shorter while it was packed")
                left -= len(piece)
                yield piece
        yield bytes(-member.size % tarfile.BLOCKSIZE)
    yield bytes(2 * tarfile.BLOCKSIZE)


def _kill_fled(base: Path) -> None:
    for _ in range(_ROUNDS):
        fled = list(_knowing(base))
        for pid in fled:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue  # it ended by itself
        if not fled:
            return
        sleep(_BETWEEN_ROUNDS)


def _knowing(base: Path) -> Iterator[int]:
    """The processes that were told that this is their base directory."""
    mark = f"{_VARIABLE}={base}".encode()
    if not Path("/proc/self/environ").exists():
        return
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        try:
            environment = Path(entry.path, "environ").read_bytes()
        except OSError:
            continue  # it has just ended, or is somebody else's
        if mark in environment.split(b"\0"):
            yield int(entry.name)


def _signal_group(leader: int, number: signal.Signals) -> None:
    try:
        os.killpg(leader, number)
    except ProcessLookupError:
        return  # it ended by itself
    except PermissionError:
        # macOS says so of a group that has nothing but a zombie left.
        return


def _lock(stream: IO[bytes], *, wait: bool) -> bool:
    """Lock a file for whoever holds it open; say whether that could be done."""
    import fcntl

    try:
        fcntl.flock(stream, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True
