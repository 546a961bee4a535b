"""The place a training program runs in: the directory tree, the process group, the archives it leaves.

It is what SageMaker gives a container as `/opt/ml`, at another path (`SAGEMAKER_BASE_DIR`), without Docker:
contract/training.md §4.2.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import signal
import subprocess
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from gtlabel.emulator.pipe import PipeChannel
from gtlabel.errors import StorageError
from gtlabel.uris import S3Uri

HOST = "algo-1"
_LONGEST_FAILURE = 1024
# Of this process's environment, what a program needs to start at all. A container would see none of it,
# and credentials are not among it.
_INHERITED = (
    *("PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "LC_CTYPE", "TZ"),
    *("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"),
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"),
)


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
        self.scratch = directory / "scratch"
        self.log = directory / "log.txt"
        self._process: subprocess.Popen[bytes] | None = None

    def prepare(self, request: Mapping[str, Any]) -> None:
        """Make the directories and write what the program is told."""
        shutil.rmtree(self.directory, ignore_errors=True)
        for directory in (self.config, self.data, self.model, self.output, self.scratch):
            directory.mkdir(parents=True)
        self._write("hyperparameters.json", dict(request.get("HyperParameters", {})))
        self._write("inputdataconfig.json", dict(_input_data_config(request)))
        self._write("resourceconfig.json", _resource_config(request["ResourceConfig"]))

    def start(self, program: Sequence[str], environment: Mapping[str, str]) -> IO[bytes]:
        """Start the program in a process group of its own and return what it prints."""
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
                [*program, "train"],
                cwd=self.base,
                env={
                    **inherited,
                    **nobody,
                    "PYTHONUNBUFFERED": "1",
                    "SAGEMAKER_BASE_DIR": str(self.base),
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

    def failure(self) -> str:
        """What the program wrote down about its failure; empty when it wrote nothing."""
        file = self.base / "output" / "failure"
        if not file.is_file():
            return ""
        with file.open("rb") as stream:
            return stream.read(4 * _LONGEST_FAILURE).decode(errors="replace")[:_LONGEST_FAILURE].strip()

    def clean(self) -> None:
        """Take away what was only needed while the program ran; its log and its settings stay."""
        for directory in (self.data, self.model, self.output, self.scratch):
            shutil.rmtree(directory, ignore_errors=True)
        for name in ("alive", "pid"):
            (self.directory / name).unlink(missing_ok=True)

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
    return True


def files_below(directory: Path) -> list[Path]:
    """The files of a tree, in an order that depends on their names alone."""
    return sorted(path for path in directory.rglob("*") if path.is_file())


def pack(directory: Path, archive: Path) -> None:
    """Write the files below a directory into a .tar.gz that holds them flat, as SageMaker does.

    The same files make the same bytes.
    """
    with (
        archive.open("wb") as raw,
        gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=6, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for path in files_below(directory):
            member = tarfile.TarInfo(path.relative_to(directory).as_posix())
            member.size = path.stat().st_size
            member.mode = 0o644
            with path.open("rb") as content:
                tar.addfile(member, content)


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
        attributes=tuple(source["AttributeNames"]),
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
