"""What a job tells of its automated labeling: what was promised, and what people found who looked after.

Our own engine leaves it beside a job's other files; AWS tells nothing of the kind.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from gtlabel import storage
from gtlabel.errors import ManifestError, ObjectNotFoundError, StorageDeniedError

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

    from gtlabel.labeling.jobs import LabelingJob

_FILE = "gtlabel/automation.json"


def read_automation(s3: S3Client, job: LabelingJob) -> dict[str, Any] | None:
    """What a job tells of its automated labeling; None where it tells nothing.

    Raises:
        ManifestError: if the file is not what the engine writes.
    """
    return read_told(s3, job, _FILE)


def read_told(s3: S3Client, job: LabelingJob, file: str) -> dict[str, Any] | None:
    """What our own engine tells of a job in a file beside its others; None where there is no such file.

    Raises:
        ManifestError: if the file is not what the engine writes.
    """
    place = job.output / job.name / file
    try:
        told = json.loads(storage.read(s3, place))
    # Whoever may list jobs may not have been let into their files.
    except (ObjectNotFoundError, StorageDeniedError):
        return None
    except ValueError as error:
        raise ManifestError(f"{place} is not JSON: {error}; it is only told, so remove it there") from error
    if not isinstance(told, dict):
        raise ManifestError(f"{place} is not a JSON object; it is only told, so remove it there")
    return told


def sentences(told: Mapping[str, Any]) -> Iterator[str]:
    """The same for people: the promise, the baseline, and what the audit found."""
    yield from told.get("notes", ())
    promise, audit, baseline = told.get("promise"), told.get("audit"), told.get("baseline")
    if promise is None:
        yield f"no label was given by a machine; {told.get('why', '')}"
        return
    yield (
        f"promised of a machine's labels: at least {promise['precision']:.1%} are right, except with a risk "
        f"of {promise['risk']:.1%}; of {promise['sample']} like them that people labeled, chosen at random, "
        f"{promise['wrong']} were wrong"
    )
    if baseline is not None:
        yield (
            f"baseline: from the {baseline['people']} images chosen at random alone, a machine would have "
            f"labeled {baseline['promised']}, and not {baseline['instead_of']}"
        )
    if audit is None:
        yield "audit: nobody has looked at the machine's labels yet"
    elif told.get("withdrawn"):
        yield f"audit: {audit['why']}; the promise does not hold, so people label these images too"
    else:
        yield f"audit: {audit['why']}"
