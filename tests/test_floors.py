"""The house of architecture.md, drawn from the code's own imports."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import gtlabel

PACKAGE = Path(gtlabel.__file__).parent

# A room may import rooms on lower floors only; rooms on one floor are strangers to each other.
FLOORS = {
    "errors": 0,
    "uris": 0,
    "crowd": 1,
    "learning": 1,
    "manifests": 1,
    "networks": 1,
    "recordio": 1,
    "settings": 1,
    "aws": 2,
    "awsmodel": 2,
    "storage": 2,
    "templates": 2,
    "policies": 2,
    "sdk": 2,
    "images": 2,
    "pages": 2,
    "labeling": 3,
    "datasets": 3,
    "training": 3,
    "edge": 3,
    "engine": 3,
    "portal": 4,
    "delivery": 5,
    "judging": 5,
    "journey": 5,
    "emulator": 5,
    "cli": 6,
    "__init__": 7,
    "__main__": 7,
}
# Within floors 0, 2 and 5 a few rooms lean on each other.
NEIGHBORS = {
    ("uris", "errors"),
    ("images", "storage"),
    ("pages", "images"),
    ("policies", "templates"),
    ("storage", "policies"),
    ("networks", "recordio"),
    ("delivery", "judging"),
    ("journey", "delivery"),
    ("journey", "judging"),
}


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """The gtlabel modules that a file imports anywhere in it, with their line."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "gtlabel":
            if node.module == "gtlabel":
                yield from ((node.lineno, f"gtlabel.{alias.name}") for alias in node.names)
            else:
                yield node.lineno, node.module
        elif isinstance(node, ast.Import):
            yield from ((node.lineno, a.name) for a in node.names if a.name.split(".")[0] == "gtlabel")


def room_of(path: Path) -> str:
    """The room a file stands in: the first part of its path below the package."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def test_every_room_has_a_floor() -> None:
    rooms = {room_of(path) for path in PACKAGE.rglob("*.py")}
    assert rooms - set(FLOORS) == set()


def test_imports_only_fall() -> None:
    rising = []
    for path in sorted(PACKAGE.rglob("*.py")):
        room = room_of(path)
        for line, module in imports(path):
            parts = module.split(".")
            other = parts[1] if len(parts) > 1 else "__init__"
            if other == room or (room, other) in NEIGHBORS:
                continue
            if FLOORS.get(other, 7) >= FLOORS[room]:
                rising.append(f"{path.relative_to(PACKAGE)}:{line} imports {module}")
    assert rising == []


def test_only_the_emulator_and_its_commands_speak_of_it() -> None:
    spoken = []
    for path in sorted(PACKAGE.rglob("*.py")):
        inside = path.relative_to(PACKAGE).as_posix()
        if inside.startswith("emulator/") or inside == "cli/local.py":
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            # The list of commands names its module; an error of the emulator may name its command.
            allowed = {
                "cli/main.py": ("    local,", "cli import", "local.app"),
                "cli/pipe.py": ("gtlabel local pipe",),
                "errors/emulator.py": ("`gtlabel local ",),
                # A command that has a module of its own names itself there.
                "cli/answer.py": ("gtlabel local answer",),
            }
            if re.search(r"\b(local|moto)\b", line) and not any(
                phrase in line for phrase in allowed.get(inside, ())
            ):
                spoken.append(f"{inside}:{number} {line.strip()}")
    assert spoken == []


def test_no_file_grows_past_what_one_can_hold_in_mind() -> None:
    long = {
        path.relative_to(PACKAGE).as_posix(): lines
        for path in PACKAGE.rglob("*.py")
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > 450
    }
    assert long == {}
