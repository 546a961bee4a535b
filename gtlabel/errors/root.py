"""The error that all others are."""

from __future__ import annotations


class GtlabelError(Exception):
    """Something that gtlabel foresaw; its message can be shown to a person as it is."""
