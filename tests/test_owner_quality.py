"""The owner's page of how good answers are, over plain HTTP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from visitor_parts import Premises, Visitor

from gtlabel.engine.crew import Role

SINGLE = "crowd-image-classifier"
MULTI = "crowd-image-classifier-multi-select"


def work(here: Premises, said: Mapping[str, Mapping[int, Any]], kind: str = SINGLE) -> None:
    """New people, by their names, answer every picture until the job has ended."""
    seats = {here.add(name).sub: answers for name, answers in said.items()}
    key = "label" if kind == SINGLE else "labels"
    while not here.shop.turn().job.status.ended:
        for seat, answers in seats.items():
            while (task := here.shop.board.lease(here.job.key, seat)) is not None:
                here.shop.clock.pass_seconds(3)
                here.shop.board.submit(task.lease, {kind: {key: answers[task.object]}}, 2.0)


def look(here: Premises, boss: Visitor) -> dict[str, Any]:
    found = boss.get(f"/api/owner/jobs/{here.number}/quality")
    assert found.status == 200, found.text
    return found.json


def truth(changed: Sequence[int] = ()) -> dict[int, str]:
    """Every third picture of each class, and some taken for the next one."""
    classes = ("Compost", "Landfill", "Recycle")
    return {number: classes[(number + (number in changed)) % 3] for number in range(12)}


@pytest.mark.parametrize("path", ["/owner/jobs/{}/quality", "/api/owner/jobs/{}/quality"])
def test_only_owners_see_how_good_others_are(here: Premises, ana: Visitor, boss: Visitor, path: str) -> None:
    assert Visitor(here.url).get(path.format(here.number)).status == 401
    assert ana.get(path.format(here.number)).status == 403
    assert boss.get(path.format(here.number)).status == 200
    assert boss.get(path.format(999)).status == 404


def test_a_job_without_answers_says_so(here: Premises, boss: Visitor) -> None:
    said = look(here, boss)
    assert (said["answers"], said["agreement"], said["workers"]) == (0, None, [])


def test_the_owner_sees_agreement_and_what_each_worker_mixes_up() -> None:
    there = Premises(max_concurrent=12, workers_per_object=3)
    try:
        owner = there.somebody("boss", role=Role.OWNER)
        work(there, {"ana": truth(), "ben": truth(), "cleo": truth(changed=(0, 3))})
        said = look(there, owner)
    finally:
        there.close()
    assert (said["answers"], said["classes"], said["cut"]) == (36, ["Compost", "Landfill", "Recycle"], False)
    agreed = said["agreement"]
    # Of 36 pairs of answers, two pictures have two that differ each.
    assert (agreed["objects"], agreed["single"]) == (12, 0)
    assert agreed["observed"]["value"] == pytest.approx(32 / 36, abs=1e-4)
    assert agreed["alpha"]["low"] <= agreed["alpha"]["value"] <= agreed["alpha"]["high"]
    assert [one["name"] for one in agreed["classes"]] == ["Compost", "Landfill", "Recycle"]
    assert agreed["classes"][2]["alpha"]["value"] == 1.0
    workers = {one["name"]: one for one in said["workers"]}
    assert set(workers) == {"ana", "ben", "cleo"}
    cleo = workers["cleo"]
    assert (cleo["answers"], cleo["seconds"], cleo["flags"]) == (12, 2.0, [])
    assert cleo["accuracy"]["value"] < workers["ana"]["accuracy"]["value"]
    assert cleo["confusion"]["counts"][0][1] == pytest.approx(2, abs=0.3)
    assert workers["ana"]["confusion"]["counts"][0][1] < 0.7


def test_of_several_classes_each_is_a_question_of_its_own() -> None:
    from gtlabel.engine.jobs import Kind
    from gtlabel.templates import read_template

    template = read_template("tasks/image-classification-multi-label.liquid")
    there = Premises(max_concurrent=12, workers_per_object=2, kind=Kind.MULTI, template=template)
    try:
        owner = there.somebody("boss", role=Role.OWNER)
        both, one = (dict.fromkeys(range(12), said) for said in (["Compost", "Recycle"], ["Compost"]))
        work(there, {"ana": both, "ben": one}, MULTI)
        said = look(there, owner)
    finally:
        there.close()
    assert (said["several"], said["answers"], said["classes"]) == (True, 24, ["no", "yes"])
    assert said["agreement"]["observed"]["value"] == pytest.approx(2 / 3, abs=1e-4)
    assert [(one["name"], one["answers"], one["flags"]) for one in said["workers"]] == [
        ("ana", 12, []),
        ("ben", 12, []),
    ]


def test_the_owner_sees_how_many_answers_an_adaptive_job_saved() -> None:
    there = Premises(max_concurrent=12, workers_per_object=5, redundancy="first=2 error=0.05")
    try:
        owner = there.somebody("boss", role=Role.OWNER)
        work(there, {name: truth() for name in ("ana", "ben", "cleo", "dan", "eva")})
        said = owner.get(f"/api/owner/jobs/{there.number}").json["saving"]
    finally:
        there.close()
    assert (said["most"], said["images"], said["fixed"]) == (5, 12, 60)
    assert 24 <= said["answers"] < 60
    assert said["saved"] == 60 - said["answers"]


def test_a_job_that_asks_as_many_for_all_has_nothing_to_tell_of_saving(here: Premises, boss: Visitor) -> None:
    assert boss.get(f"/api/owner/jobs/{here.number}").json["saving"] is None
