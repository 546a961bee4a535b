"""What a manifest says of a picture, as a training program takes it."""

from __future__ import annotations

# The class of a picture, all its classes, or a text where the attribute holds one.
Label = int | tuple[int, ...] | str

LONGEST_SHOWN = 40  # characters that an error shows of what is no label


def as_label(value: object) -> Label | None:
    """A value of a manifest as a label; None for one that is none."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int) or (isinstance(value, str) and value):
        return value
    if isinstance(value, list) and all(type(entry) is int for entry in value):
        return tuple(value)
    return None
