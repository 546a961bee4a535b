"""Manifests that tell the classes of pictures, for whoever measures people or labels by them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from gtlabel.errors import GoldError, ManifestError, MissingLabelError
from gtlabel.manifests.lines import read_records
from gtlabel.manifests.records import ManifestRecord


def read_gold(
    lines: Iterable[bytes], manifest: str, classes: Sequence[str], attribute: str, *, several: bool
) -> dict[str, frozenset[int]]:
    """The classes of pictures by their addresses, as indices of a job's classes.

    A line tells them in one of two ways: as a labeling job writes its label, under the job's own attribute
    where there are several; or as plain text, `"class": "Compost"`, or a list of it where there may be
    several.

    Args:
        lines: of the manifest.
        manifest: what to call it in an error.
        classes: of the job.
        attribute: of the job.
        several: whether a picture may have several classes, or none.

    Raises:
        GoldError: if a line tells no class, or one that the job does not have, or contradicts another.
        ManifestLineError: at a line that is no record of an image.
    """
    index = {name: place for place, name in enumerate(classes)}
    found: dict[str, frozenset[int]] = {}
    for record in read_records(lines, manifest):
        names = list(_names(record, attribute, manifest))
        for name in names:
            if name not in index:
                raise GoldError(
                    f"{manifest} says that {record.address} is {name!r}, which is no class of this job; its "
                    f"classes are {', '.join(classes)}"
                )
        if not several and len(names) != 1:
            raise GoldError(f"{manifest} gives {record.address} {len(names)} classes; this job asks for one")
        told = frozenset(index[name] for name in names)
        if found.setdefault(record.address, told) != told:
            raise GoldError(f"{manifest} gives {record.address} twice, and other classes; leave one line out")
    return found


def _names(record: ManifestRecord, attribute: str, manifest: str) -> Iterator[str]:
    plain = record.get("class")
    if isinstance(plain, str):
        yield plain
        return
    if isinstance(plain, list) and all(isinstance(name, str) for name in plain):
        yield from dict.fromkeys(plain)
        return
    there = [each for each in record.attributes if record.state(each) == "labeled"]
    chosen = attribute if attribute in there else there[0] if len(there) == 1 else None
    if chosen is None:
        what = f"has labels under {', '.join(there)}" if there else "has no label"
        raise GoldError(
            f'{record.address} in {manifest} {what}; give it one under {attribute!r}, or "class" with the '
            "name of its class"
        )
    try:
        label = record.label(chosen)
    except (MissingLabelError, ManifestError) as error:
        raise GoldError(f"{manifest}: {error}") from error
    names = [label.class_name] if label.class_name is not None else list((label.class_map or {}).values())
    if not names and record.get(chosen) != []:
        raise GoldError(f"{record.address} in {manifest} has a label without the name of its class")
    yield from names
