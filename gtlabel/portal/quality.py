"""How good the answers of a job are, as its owner's page gets it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gtlabel.engine.counted import withdrawn
from gtlabel.engine.jobs import Job, Kind, Status
from gtlabel.engine.store import Store
from gtlabel.engine.voices import Voices, voices

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from gtlabel.crowd.agreement import Agreement, ClassAgreement
    from gtlabel.crowd.beliefs import Beliefs
    from gtlabel.crowd.confusions import Confusion, Mixup
    from gtlabel.crowd.workers import Flag, Profile

# Heat maps of more classes are too small to read: the worst mix-ups are named instead. Of more workers there
# are too many to look at.
_WIDEST_MAP = 12
_MOST_MAPS = 60
_RESAMPLES = 400


def told_of_quality(
    store: Store,
    job: Job,
    names: Mapping[str, str],
    show: Callable[[Sequence[int]], Mapping[int, str | None]],
) -> dict[str, Any]:
    """Agreement, workers and the certainty of labels of a job.

    Args:
        store: the engine's database.
        job: the job.
        names: what to call workers, by their ids.
        show: gives the addresses of pictures by their numbers.
    """
    heard = voices(store, job) if job.classes else None
    facts: dict[str, Any] = {
        "name": job.key.name,
        "number": job.number,
        "running": job.status is Status.IN_PROGRESS,
        "several": heard is not None and heard.several,
        "comparable": job.spec.kind is not Kind.CUSTOM,
        "withdrawn": sorted(names.get(worker, worker) for worker in withdrawn(store, job)),
    }
    if heard is None or not heard.answers:
        return {
            **facts,
            "answers": 0,
            "cut": False,
            "classes": [],
            "agreement": None,
            "workers": [],
            "everybody": None,
            "certainty": None,
        }
    from gtlabel.crowd.beliefs import believe
    from gtlabel.portal.certainty import told_of_certainty

    beliefs = believe(heard.votes, heard.objects, len(heard.classes), heard.gold)
    workers, everybody = _workers(heard, beliefs, len(job.classes), names)
    return {
        **facts,
        "answers": heard.answers,
        "cut": heard.cut,
        "classes": list(heard.classes),
        "agreement": _agreement(heard, job.classes),
        "workers": workers,
        "everybody": everybody,
        "certainty": told_of_certainty(job, heard, show),
    }


def _agreement(heard: Voices, classes: tuple[str, ...]) -> dict[str, Any]:
    """How far people agree; of several classes of a picture, about each by itself as well."""
    from gtlabel.crowd.agreement import agreement
    from gtlabel.portal.certainty import told

    agreed = agreement(heard.votes, heard.objects, len(heard.classes), resamples=_RESAMPLES)
    rows: list[tuple[str, int, Agreement | ClassAgreement]]
    if heard.several:
        about = [
            agreement(votes, heard.objects // len(classes), len(heard.classes), resamples=_RESAMPLES)
            for votes in heard.questions()
        ]
        rows = [(name, one.classes[1].answers, one) for name, one in zip(classes, about, strict=True)]
    else:
        rows = [(heard.classes[one.index], one.answers, one) for one in agreed.classes]
    return {
        "objects": agreed.objects,
        "single": agreed.single,
        "observed": told(agreed.observed),
        "alpha": told(agreed.alpha),
        "kappa": told(agreed.kappa),
        "classes": [
            {"name": name, "answers": answers, "alpha": told(one.alpha), "kappa": told(one.kappa)}
            for name, answers, one in rows
        ],
    }


def _workers(
    heard: Voices, beliefs: Beliefs, questions: int, names: Mapping[str, str]
) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
    """Each worker, who is flagged first; and what everybody together mixes up, where that can be told."""
    from gtlabel.crowd.confusions import Confusions
    from gtlabel.crowd.workers import profiles

    called = [names.get(worker, worker) for worker in heard.workers]
    found = profiles(
        heard.votes,
        heard.objects,
        len(heard.classes),
        seconds=heard.seconds,
        moments=heard.moments,
        beliefs=beliefs,
    )
    # Of several classes, one answer says as many things as there are classes, and they hang together: what
    # the flags count is not what people did.
    if heard.several:
        found = [replace(one, answers=one.answers // questions, flags=()) for one in found]
    found.sort(key=lambda one: (not one.flags, -one.answers, called[one.worker]))
    drawn = [one.worker for one in found if one.backed][:_MOST_MAPS]
    people = Confusions(beliefs)
    asked: list[int | None] = [None, *drawn]
    said: list[dict[str, Any]]
    if len(heard.classes) <= _WIDEST_MAP:
        said = [{"confusion": _shares(each), "mixups": None} for each in people.of(asked)]
    else:
        said = [{"confusion": None, "mixups": _mixups(heard, each)} for each in people.mixups(asked)]
    of_worker = dict(zip(drawn, said[1:], strict=True))
    nothing = {"confusion": None, "mixups": None}
    return [{**_worker(one, called), **of_worker.get(one.worker, nothing)} for one in found], said[
        0
    ] if drawn else None


def _worker(profile: Profile, called: list[str]) -> dict[str, Any]:
    from gtlabel.portal.certainty import told

    return {
        "name": called[profile.worker],
        "answers": profile.answers,
        "backed": profile.backed,
        "accuracy": told(profile.accuracy) if profile.backed else None,
        "informed": told(profile.informed) if profile.backed else None,
        "gold": None if profile.gold is None else told(profile.gold),
        "gold_answers": profile.gold_answers,
        "seconds": profile.seconds,
        "flags": [_flag(flag, called) for flag in profile.flags],
    }


def _flag(flag: Flag, called: list[str]) -> dict[str, Any]:
    # As all shares are written on these pages.
    why = flag.why.replace("%", "\N{NO-BREAK SPACE}%")
    return {"kind": flag.kind, "why": why, "others": [called[other] for other in flag.others]}


def _shares(found: Confusion) -> dict[str, Any]:
    return {
        "counts": _rounded(found.counts, 1),
        "share": _rounded(found.share, 3),
        "low": _rounded(found.low, 3),
        "high": _rounded(found.high, 3),
    }


def _mixups(heard: Voices, found: list[Mixup]) -> list[dict[str, Any]]:
    from gtlabel.portal.certainty import told

    return [
        {
            "truth": heard.classes[one.truth],
            "said": heard.classes[one.said],
            "count": round(one.count, 1),
            "share": told(one.share),
        }
        for one in found
    ]


def _rounded(table: NDArray[np.float64], digits: int) -> list[list[float]]:
    rows: list[list[float]] = table.round(digits).tolist()
    return rows
