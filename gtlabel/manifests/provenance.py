"""Where a picture comes from and on what terms it may be used: columns that go with it wherever it goes.

`gtlabel collect` writes both. Labeling jobs hand on columns that they do not know, so a picture that was
collected, labeled by people and consolidated still tells whose it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gtlabel.manifests.records import ManifestRecord

SOURCE = "gtlabel-source"
LICENCE = "gtlabel-licence"

# Looking for this takes a twentieth of the time of taking a line apart, and most lines lack it.
MARK = '"gtlabel-'


def provenance(record: ManifestRecord) -> str | None:
    """Source and licence of a picture as the end of a line tells them, each as it was spelled.

    Returns:
        `,"gtlabel-source":...,"gtlabel-licence":...`, or one of the two; None if the line has neither.
    """
    if not record.mentions(MARK):
        return None
    told = [(key, record.spelled(key)) for key in (SOURCE, LICENCE)]
    return "".join(f',"{key}":{value}' for key, value in told if value is not None) or None


def contradictions(images: Sequence[str]) -> Iterator[str]:
    """Say of pictures that manifests do not agree on where they come from or what may be done with them."""
    if images:
        yield (
            f"manifests tell different sources or licences of {len(images)} images, first of {images[0]}; "
            "what the first manifest tells is kept"
        )
