"""How good the answers of a job are, as its owner's page gets it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gtlabel.engine.jobs import Job, Kind
from gtlabel.engine.store import Store
from gtlabel.engine.voices import voices

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from gtlabel.crowd.confusions import Confusion
    from gtlabel.crowd.intervals import Estimate
    from gtlabel.crowd.workers import Flag, Profile

# Heat maps of more classes are too small to read, and of more workers too many to look at.
_WIDEST_MAP = 12
_MOST_MAPS = 60
_RESAMPLES = 400


def told_of_quality(store: Store, job: Job, names: Mapping[str, str]) -> dict[str, Any]:
    """Agreement and workers of a job.

    Args:
        store: the engine's database.
        job: the job.
        names: what to call workers, by their ids.
    """
    heard = voices(store, job) if job.classes else None
    several = job.spec.kind is Kind.MULTI
    facts: dict[str, Any] = {"name": job.key.name, "number": job.number, "several": several}
    if heard is None or not heard.answers:
        return {**facts, "answers": 0, "agreement": None, "workers": [], "cut": False, "classes": []}
    from gtlabel.crowd.agreement import agreement
    from gtlabel.crowd.beliefs import believe
    from gtlabel.crowd.confusions import Confusions
    from gtlabel.crowd.workers import profiles

    votes, classes = heard.votes, len(heard.classes)
    agreed = agreement(votes, heard.objects, classes, resamples=_RESAMPLES)
    beliefs = believe(votes, heard.objects, classes, heard.gold)
    called = [names.get(worker, worker) for worker in heard.workers]
    found = profiles(
        votes, heard.objects, classes, seconds=heard.seconds, moments=heard.moments, beliefs=beliefs
    )
    found = sorted(found, key=lambda one: (not one.flags, -one.answers, called[one.worker]))
    drawn = classes <= _WIDEST_MAP
    maps = Confusions(beliefs)
    # Of several classes, one answer says as many things as there are classes, and they hang together: what
    # the flags count is not what people did.
    return {
        **facts,
        "answers": heard.answers,
        "cut": heard.cut,
        "classes": list(heard.classes),
        "agreement": {
            "objects": agreed.objects,
            "single": agreed.single,
            "observed": _told(agreed.observed),
            "alpha": _told(agreed.alpha),
            "kappa": _told(agreed.kappa),
            "classes": [
                {
                    "name": heard.classes[one.index],
                    "answers": one.answers,
                    "alpha": _told(one.alpha),
                    "kappa": _told(one.kappa),
                }
                for one in agreed.classes
            ],
        },
        "workers": [
            {
                **_worker(one, called),
                "answers": one.answers // len(job.classes) if several else one.answers,
                "flags": [] if several else [_flag(flag, called) for flag in one.flags],
                "confusion": _shares(maps.of([one.worker])[0]) if drawn and place < _MOST_MAPS else None,
            }
            for place, one in enumerate(found)
        ],
    }


def _worker(profile: Profile, called: list[str]) -> dict[str, Any]:
    return {
        "name": called[profile.worker],
        "backed": profile.backed,
        "accuracy": _told(profile.accuracy) if profile.backed else None,
        "informed": _told(profile.informed) if profile.backed else None,
        "gold": None if profile.gold is None else _told(profile.gold),
        "gold_answers": profile.gold_answers,
        "seconds": profile.seconds,
    }


def _flag(flag: Flag, called: list[str]) -> dict[str, Any]:
    return {"kind": flag.kind, "why": flag.why, "others": [called[other] for other in flag.others]}


def _shares(found: Confusion) -> dict[str, Any]:
    return {
        "counts": _rounded(found.counts, 1),
        "share": _rounded(found.share, 3),
        "low": _rounded(found.low, 3),
        "high": _rounded(found.high, 3),
    }


def _rounded(table: NDArray[np.float64], digits: int) -> list[list[float]]:
    rows: list[list[float]] = table.round(digits).tolist()
    return rows


def _told(estimate: Estimate) -> dict[str, float] | None:
    if math.isnan(estimate.value):
        return None
    return {
        "value": round(estimate.value, 4),
        "low": round(estimate.low, 4),
        "high": round(estimate.high, 4),
    }
