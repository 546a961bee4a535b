"""Which program is run for a training image: by the repository in its address.

There is no Docker here. What an image would do is done by a program that follows the same contract: it is
called with the argument `train` and finds everything below SAGEMAKER_BASE_DIR (contract/training.md §4.2).
"""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from gtlabel.errors import SettingsError
from gtlabel.training.image import REPOSITORY

# The program behind each image that can be trained with and without any setting.
TRAINERS: Mapping[str, Sequence[str]] = {REPOSITORY: (sys.executable, "-m", "gtlabel.training.embedded")}

# https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_CreateRepository.html
_PART = r"[a-z0-9]+(?:[._-][a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_PART}(?:/{_PART})*")


def read_trainers(options: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Programs as a command line names them, `REPOSITORY=COMMAND`.

    A command is taken apart as a shell would. Its words that name a file here become absolute, because the
    program starts in a folder of its own.

    Raises:
        SettingsError: if one is written in another way, or its program is not there.
    """
    found: dict[str, tuple[str, ...]] = {}
    for option in options:
        repository, _, command = option.partition("=")
        if not _REPOSITORY.fullmatch(repository) or not command.strip():
            raise SettingsError(
                f"--trainer {option}: write it as REPOSITORY=COMMAND, such as "
                f"my-trainer='python train.py'; the repository is the part of the image's address "
                "between the first slash and the tag"
            )
        if repository in found:
            raise SettingsError(
                f"--trainer {option}: {repository} is {shlex.join(found[repository])} already"
            )
        found[repository] = _words(option, command)
    return found


def written(trainers: Mapping[str, Sequence[str]]) -> list[str]:
    """Programs as options of a command line that `read_trainers` reads."""
    return [f"--trainer={repository}={shlex.join(words)}" for repository, words in trainers.items()]


def _words(option: str, command: str) -> tuple[str, ...]:
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise SettingsError(f"--trainer {option}: the command cannot be taken apart: {error}") from error
    program = shutil.which(words[0])
    if program is None:
        raise SettingsError(f"--trainer {option}: there is no program {words[0]!r}; give its path")
    # Not resolved: a Python of a virtual environment knows its packages by the link it was called through.
    rest = (str(Path(word).absolute()) if Path(word).is_file() else word for word in words[1:])
    return str(Path(program).absolute()), *rest
