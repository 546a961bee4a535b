"""A program that is watched from below: the kernel ends it when anything in it reaches for the internet."""

from __future__ import annotations

import ctypes
import platform
import signal
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

# How `subprocess` tells that a program was ended for what it asked the kernel.
CAUGHT = -signal.SIGSYS
# `socket` has another number on each kind of machine (linux/arch/*/include/uapi/asm/unistd.h).
_SOCKET = {"x86_64": 41, "aarch64": 198}
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _FILTER = 38, 22, 2
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _END_PROCESS = 0x7FFF0000, 0x80000000
_INET, _INET6 = 2, 10
_CANNOT = 77


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def forbid_the_internet() -> None:
    """From here on, end this program as soon as it, or native code in it, makes a socket of the internet.

    A filter of the kernel's (https://www.kernel.org/doc/html/latest/userspace-api/seccomp_filter.html), which
    no library can go around, and which needs no rights.

    Where the kernel does not let a program watch itself, it ends at once with a code that says so.
    """
    program = (
        (_LOAD, 0, 0, 0),  # the number of the call
        (_JUMP_IF_EQUAL, 0, 4, _SOCKET[platform.machine()]),
        (_LOAD, 0, 0, 16),  # its first argument, the family
        (_JUMP_IF_EQUAL, 1, 0, _INET),
        (_JUMP_IF_EQUAL, 0, 1, _INET6),
        (_RETURN, 0, 0, _END_PROCESS),
        (_RETURN, 0, 0, _ALLOW),
    )
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in program))
    rules = _Program(len(program), ctypes.cast(code, ctypes.c_void_p))
    libc = ctypes.CDLL(None, use_errno=True)
    for call in ((_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (_PR_SET_SECCOMP, _FILTER, ctypes.byref(rules), 0, 0)):
        if libc.prctl(*call) != 0:
            raise SystemExit(_CANNOT)


def watched(program: str, home: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a program in Python, watched from its first line on, with a home folder of its own.

    Args:
        program: its text.
        home: the folder that it may take for the user's.
        environment: of this test, without what would point elsewhere.
    """
    # The watched program reads this file too, and is quick without.
    import pytest

    if sys.platform != "linux" or platform.machine() not in _SOCKET:
        pytest.skip("only Linux lets a program watch itself so")
    start = f"import sys; sys.path.append({str(Path(__file__).parent)!r}); import watching_parts\n"
    guard = "watching_parts.forbid_the_internet()\n"
    run = subprocess.run(
        [sys.executable, "-c", start + guard + program],
        env={**environment, "HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")},
        capture_output=True,
        text=True,
        timeout=120,
    )
    if run.returncode == _CANNOT:
        pytest.skip("this kernel does not let a program watch itself")
    return run


def left_in(home: Path) -> Sequence[str]:
    """The files that a program left behind, by their path in its home folder."""
    return sorted(path.relative_to(home).as_posix() for path in home.rglob("*") if path.is_file())
