"""Whether the program on a device would take the settings that it is to be given.

A device that cannot bear its settings says so after minutes, in a log; here its own program is asked before
anything is sent.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping
from contextlib import redirect_stderr

from gtlabel.edge.device.arguments import parse
from gtlabel.edge.presets import arguments, option
from gtlabel.errors import BundleError


def problem_in(settings: Mapping[str, str], models: Collection[str] | None = None) -> str:
    """What the program would say to its settings; nothing where it takes them.

    Args:
        settings: values by the names of a component's configuration; an empty one is not given.
        models: the precisions of the networks in the bundle; None where they are not known yet.
    """
    said = io.StringIO()
    words = [word for name, value in settings.items() if value for word in (option(name), value)]
    try:
        with redirect_stderr(said):
            options = parse(words)
    except SystemExit:
        complaint = said.getvalue().strip().rpartition("error: ")[2].removeprefix("argument ")
    else:
        if models is None or options.model == "auto" or options.model in models:
            return ""
        complaint = f"--model: there is no {options.model} network in the bundle, only {' and '.join(models)}"
    return f"the program on the device would not take its settings: {complaint}"


def check_settings(settings: Mapping[str, str], models: Collection[str] | None = None) -> None:
    """Refuse settings that the program of a bundle would not take.

    Args:
        settings: those of its unit, by the names of a component's configuration.
        models: the precisions of the networks in it; None where they are not known yet.

    Raises:
        BundleError: if there is no such setting, or a value cannot work.
    """
    arguments(settings)
    problem = problem_in(settings, models)
    if problem:
        raise BundleError(problem)
