"""The project: what `gtlabel.toml`, the environment and the flags say together."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from gtlabel.errors import SettingsError

FILE_NAME = "gtlabel.toml"


class Project(BaseModel):
    """What a project settles once, so that its commands stay short.

    Later sources win: `gtlabel.toml`, then `GTLABEL_*`, then flags.

    Attributes:
        bucket: where relative prefixes lie.
        classes: what a picture can be, in the order that workers see.
        team: the work team, by name or ARN.
        role: the role that jobs read and write with, by name or ARN.
        training_role: the role of training jobs, where it is another one.
        template: a file with a worker template of the project's own.
        workers: how many people look at each picture.
        max_images_per_job: more become several jobs.
        prices: a file with a table of prices, in place of the shipped one.
        region: the AWS region.
        profile: the AWS profile.
        endpoint_url: the address that answers instead of AWS.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    bucket: str | None = None
    classes: tuple[str, ...] = ()
    team: str | None = None
    role: str | None = None
    training_role: str | None = None
    template: Path | None = None
    workers: int = 3
    max_images_per_job: int = 100_000
    prices: Path | None = None
    region: str | None = None
    profile: str | None = None
    endpoint_url: str | None = None

    @classmethod
    def load(
        cls,
        file: Path | None = None,
        environ: Mapping[str, str] | None = None,
        **flags: Any,
    ) -> Project:
        """Read the project.

        Args:
            file: a `gtlabel.toml`; by default the one in the working directory, if there is one.
            environ: the environment; by default this process's.
            flags: what was given on the command line; None means not given.

        Raises:
            SettingsError: at a key that is unknown, a value of the wrong kind, or a file that is not TOML.
        """
        values = {**_from_file(file), **_from_environment(os.environ if environ is None else environ)}
        values.update({name: value for name, value in flags.items() if value is not None})
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(part) for part in first["loc"])
            known = ", ".join(sorted(cls.model_fields))
            raise SettingsError(f"setting {key!r}: {first['msg']}; known settings are {known}") from error

    def need(self, name: str, flag: str) -> str:
        """The value of a setting that this command cannot do without.

        Raises:
            SettingsError: if it is not set anywhere.
        """
        value = getattr(self, name)
        if not value:
            raise SettingsError(
                f"no {name} is set; give {flag}, set GTLABEL_{name.upper()}, "
                f"or write {name} = ... in {FILE_NAME}"
            )
        return str(value)


def _from_file(file: Path | None) -> dict[str, Any]:
    path = file or Path(FILE_NAME)
    if file is None and not path.exists():
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsError(f"there is no file {path}") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path} is not TOML: {error}") from error


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name in Project.model_fields:
        text = environ.get(f"GTLABEL_{name.upper()}")
        if text:
            values[name] = tuple(part.strip() for part in text.split(",")) if name == "classes" else text
    return values
