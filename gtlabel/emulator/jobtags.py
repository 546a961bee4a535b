"""What the tags of a labeling job say about its answers; AWS keeps such tags and reads nothing in them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gtlabel.emulator.api import ApiError
from gtlabel.engine.jobs import Kind
from gtlabel.errors import RedundancyError, UriError
from gtlabel.labeling.tasks import CONSENSUS_TAG, GOLD_TAG, REDUNDANCY_TAG
from gtlabel.uris import S3Uri


def wishes_of(params: Mapping[str, Any], kind: Kind) -> dict[str, Any]:
    """The members of `gtlabel.engine.jobs.JobSpec` that tags decide; none that no tag names.

    Args:
        params: of CreateLabelingJob.
        kind: what workers are asked.

    Raises:
        ApiError: `ValidationException` for a tag that cannot be followed.
    """
    said = {tag["Key"]: tag["Value"] for tag in params.get("Tags", ())}
    wishes: dict[str, Any] = {}
    for tag in (CONSENSUS_TAG, REDUNDANCY_TAG, GOLD_TAG):
        if tag in said and kind is Kind.CUSTOM:
            raise _refusal(tag, "the answers of a custom job are its own, and nothing is made of them here")
    if CONSENSUS_TAG in said:
        wishes["consensus"] = _method(said[CONSENSUS_TAG])
    if REDUNDANCY_TAG in said:
        wishes["redundancy"] = _redundancy(params, said[REDUNDANCY_TAG])
    if GOLD_TAG in said:
        if "SnsDataSource" in params["InputConfig"]["DataSource"]:
            raise _refusal(GOLD_TAG, "a streaming job is sent its pictures one by one; leave the tag out")
        try:
            wishes["gold"] = S3Uri(said[GOLD_TAG])
        except UriError as error:
            raise _refusal(GOLD_TAG, str(error)) from error
    return wishes


def _method(name: str) -> str:
    # Its numbers take a sixth of the start of a server that has no jobs yet.
    from gtlabel.crowd.methods import METHODS

    if name.replace("-", "_") not in METHODS:
        raise _refusal(CONSENSUS_TAG, f"there is no method '{name}'; take one of {', '.join(METHODS)}")
    return name.replace("-", "_")


def _redundancy(params: Mapping[str, Any], said: str) -> str:
    from gtlabel.crowd.redundancy import Redundancy

    if "SnsDataSource" in params["InputConfig"]["DataSource"]:
        raise _refusal(
            REDUNDANCY_TAG, "a streaming job labels each picture as it comes, and asks as many about each"
        )
    if "LabelingJobAlgorithmsConfig" in params:
        raise _refusal(
            REDUNDANCY_TAG, "a machine learns from labels that stay; leave out this or automated labeling"
        )
    try:
        policy = Redundancy.parse(said, params["HumanTaskConfig"]["NumberOfHumanWorkersPerDataObject"])
    except RedundancyError as error:
        raise _refusal(REDUNDANCY_TAG, str(error)) from error
    return str(policy)


def _refusal(tag: str, sentence: str) -> ApiError:
    return ApiError("ValidationException", f"Tags, {tag}: {sentence}.")
