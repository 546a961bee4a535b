"""What a request says about automated labeling, and what a description says of its outcome."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any

from gtlabel.emulator.api import ApiError, Context
from gtlabel.engine.jobs import Job, Kind
from gtlabel.errors import UriError
from gtlabel.labeling.tasks import AUTOMATED_TAG, algorithm_arn
from gtlabel.uris import S3Uri

_MEMBER = "LabelingJobAlgorithmsConfig"
_LARGEST_SEED = 2**32


def automation_of(context: Context, params: Mapping[str, Any], kind: Kind) -> dict[str, Any] | None:
    """What the engine is asked to have a machine label; None where people label everything.

    The precision is AWS's own, 95 %, unless the tag names another: `precision=0.95 risk=0.05 seed=0
    network=s3://…` (contract/ground-truth.md 7).

    Args:
        context: the account and region.
        params: of CreateLabelingJob.
        kind: what workers are asked.

    Raises:
        ApiError: `ValidationException` for what the service, or this emulator, cannot do.
    """
    said = next((tag["Value"] for tag in params.get("Tags", ()) if tag["Key"] == AUTOMATED_TAG), None)
    if _MEMBER not in params:
        if said is not None:
            raise _refusal(f"Tags, {AUTOMATED_TAG}: it belongs to {_MEMBER}; give both or neither")
        return None
    if "SnsDataSource" in params["InputConfig"]["DataSource"]:
        raise _refusal(f"{_MEMBER}: a streaming job cannot label automatically; leave it out")
    if kind is not Kind.SINGLE:
        raise _refusal(f"{_MEMBER}: only images of one class each are labeled automatically; leave it out")
    given, fits = params[_MEMBER]["LabelingJobAlgorithmSpecificationArn"], algorithm_arn(context.region)
    if given != fits:
        raise _refusal(
            f"{_MEMBER}.LabelingJobAlgorithmSpecificationArn: '{given}' does not fit this task in "
            f"{context.region}; give {fits}"
        )
    settings = _settings(said or "")
    earlier = params[_MEMBER].get("InitialActiveLearningModelArn")
    return {**settings, "initial_model": earlier} if earlier else settings


def model_arn(context: Context, job: Job) -> dict[str, str]:
    """The member that names what a finished job has learned; none where nothing was to be learned."""
    if job.spec.automation is None:
        return {}
    name = job.key.name.lower()
    mark = sha256(f"{job.key}/{job.created}".encode()).hexdigest()[:8]
    return {"FinalActiveLearningModelArn": context.arn("sagemaker", f"model/{name[:54]}-{mark}")}


def _settings(said: str) -> dict[str, Any]:
    known: dict[str, tuple[str, Callable[[str], Any]]] = {
        "precision": ("target", _share),
        "risk": ("risk", _share),
        "seed": ("seed", _seed),
        "network": ("network", _network),
    }
    found: dict[str, Any] = {"target": 0.95, "risk": 0.05, "seed": 0}
    for part in said.split():
        name, equals, value = part.partition("=")
        if not equals or name not in known:
            raise _refusal(
                f"Tags, {AUTOMATED_TAG}: '{part}' is none of {', '.join(f'{each}=…' for each in known)}"
            )
        place, read = known[name]
        try:
            found[place] = read(value)
        except (ValueError, UriError) as error:
            raise _refusal(f"Tags, {AUTOMATED_TAG}: '{part}' cannot be: {error}") from error
    return found


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1:
        raise ValueError("give a share between 0 and 1")
    return value


def _seed(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = -1
    if not 0 <= value < _LARGEST_SEED:
        raise ValueError(f"give a number from 0 to {_LARGEST_SEED - 1}")
    return value


def _network(text: str) -> str:
    return str(S3Uri(text))


def _refusal(sentence: str) -> ApiError:
    return ApiError("ValidationException", f"{sentence}.")
