"""The owner's page of how good answers are, over plain HTTP and in a browser."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
from browser import DESKTOP, PHONE, colors, flaws
from engine_parts import Bucket
from playwright.sync_api import Browser, expect
from visitor_parts import Premises, Visitor

from gtlabel.engine.crew import Role
from gtlabel.uris import S3Uri

SINGLE = "crowd-image-classifier"
MULTI = "crowd-image-classifier-multi-select"
GOLD = S3Uri("s3://trash/gold.manifest")


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


def known(classes: Mapping[int, str]) -> dict[str, Any]:
    """A bucket in which some pictures are known, as options of `Premises`."""
    bucket = Bucket()
    lines = [
        json.dumps({"source-ref": f"s3://trash/images/{number}.jpg", "class": name})
        for number, name in classes.items()
    ]
    bucket.files[GOLD.key] = "\n".join(lines).encode()
    return {"bucket": bucket, "gold": GOLD}


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
    assert (said["comparable"], said["certainty"]) == (True, None)


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
    there = Premises(
        max_concurrent=12, workers_per_object=2, kind=Kind.MULTI, template=template, **known({4: "Recycle"})
    )
    try:
        owner = there.somebody("boss", role=Role.OWNER)
        both, one = (dict.fromkeys(range(12), said) for said in (["Compost", "Recycle"], ["Compost"]))
        work(there, {"ana": both, "ben": one}, MULTI)
        said = look(there, owner)
    finally:
        there.close()
    assert (said["several"], said["answers"], said["classes"]) == (True, 24, ["no", "yes"])
    agreed = said["agreement"]
    assert agreed["observed"]["value"] == pytest.approx(2 / 3, abs=1e-4)
    # Both chose the first for all, nobody the second, and one of two the third.
    assert [(one["name"], one["answers"]) for one in agreed["classes"]] == [
        ("Compost", 24),
        ("Landfill", 0),
        ("Recycle", 12),
    ]
    assert agreed["classes"][2]["alpha"]["value"] < 0
    # All three decisions about the known picture count; both chose the first class, which it is not.
    of_it = said["certainty"]["known"]
    assert (said["certainty"]["labels"], of_it["labels"], of_it["pictures"]) == (36, 3, 1)
    surest = of_it["shown"][0]
    assert (surest["object"], surest["question"], surest["known"], surest["label"]) == (
        4,
        "Compost",
        "no",
        "yes",
    )
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


def test_known_pictures_tell_whether_labels_are_as_sure_as_they_say() -> None:
    # Of five known pictures, the last is not what everybody sees in it.
    there = Premises(
        max_concurrent=12, workers_per_object=3, **known({**{n: truth()[n] for n in range(4)}, 4: "Recycle"})
    )
    try:
        owner = there.somebody("boss", role=Role.OWNER)
        work(there, {"ana": truth(), "ben": truth(), "cleo": truth(changed=(0, 3))})
        said = look(there, owner)
        of_it = said["certainty"]["known"]
        shown = of_it["shown"][0]
        assert owner.get(shown["picture"]).status == 200
    finally:
        there.close()
    assert (of_it["pictures"], of_it["labels"], of_it["wrong"]) == (5, 5, 1)
    least, most = said["certainty"]["wrong_range"]
    assert least < 1 - said["certainty"]["expected_right"] < most
    assert of_it["right"]["value"] == pytest.approx(4 / 5)
    assert of_it["right"]["low"] < 4 / 5 < of_it["right"]["high"]
    assert sum(one["labels"] for one in of_it["bins"]) == 5
    assert of_it["error"]["low"] <= of_it["error"]["value"] <= of_it["error"]["high"]
    assert (shown["object"], shown["known"], shown["label"]) == (4, "Recycle", "Landfill")
    assert shown["votes"] == {"Landfill": 3}
    on_gold = {one["name"]: (one["gold"]["value"], one["gold_answers"]) for one in said["workers"]}
    assert on_gold == {"ana": (0.8, 5), "ben": (0.8, 5), "cleo": (0.4, 5)}


def test_single_answers_are_told_and_judge_nobody() -> None:
    there = Premises(max_concurrent=12, workers_per_object=1)
    try:
        owner = there.somebody("boss", role=Role.OWNER)
        work(there, {"ana": truth()})
        said = look(there, owner)
    finally:
        there.close()
    sure = said["certainty"]
    assert (sure["labels"], sure["single"], sure["one_asked"], sure["known"]) == (12, 12, True, None)
    assert sure["wrong_range"] is None
    assert (said["running"], said["everybody"]) == (False, None)
    (ana,) = said["workers"]
    assert (ana["accuracy"], ana["confusion"], ana["gold"]) == (None, None, None)


def test_ties_are_told_and_beside_known_pictures_how_they_fare() -> None:
    there = Premises(
        max_concurrent=12, workers_per_object=2, consensus="majority", **known({0: "Compost", 3: "Landfill"})
    )
    try:
        owner = there.somebody("boss", role=Role.OWNER)
        work(there, {"ana": truth(), "ben": truth(changed=(0, 3, 6))})
        sure = look(there, owner)["certainty"]
    finally:
        there.close()
    assert (sure["method"], sure["tied"], sure["single"], sure["wrong_range"]) == ("majority", 3, 0, None)
    tied = sure["known"]["tied"]
    # The first class of the list is taken.
    assert (tied["labels"], tied["confidence"], tied["right"]["value"]) == (2, 0.5, 0.5)


def test_of_many_classes_the_worst_mixups_are_named() -> None:
    classes = tuple(f"Breed {number}" for number in range(14))
    right = {number: classes[number] for number in range(12)}
    swapped = {**right, 3: classes[13], 4: classes[13]}
    there = Premises(max_concurrent=12, workers_per_object=3, classes=classes)
    try:
        owner = there.somebody("boss", role=Role.OWNER)
        work(there, {"ana": right, "ben": right, "cleo": swapped})
        said = look(there, owner)
    finally:
        there.close()
    cleo = next(one for one in said["workers"] if one["name"] == "cleo")
    assert cleo["confusion"] is None
    assert {(one["truth"], one["said"]) for one in cleo["mixups"]} == {
        ("Breed 3", "Breed 13"),
        ("Breed 4", "Breed 13"),
    }
    assert all(one["share"]["low"] < one["share"]["value"] for one in cleo["mixups"])
    assert [one["said"] for one in said["everybody"]["mixups"]] == ["Breed 13", "Breed 13"]


@pytest.fixture
def crowded() -> Iterator[Premises]:
    """A job of 60 pictures, eight of them known, that five people answered all but one time; so it runs."""
    lines = [json.dumps({"source-ref": f"s3://trash/images/{number}.jpg"}) for number in range(60)]
    classes = ("Compost", "Landfill", "Recycle")
    there = Premises(
        lines=lines, workers_per_object=5, **known({n: classes[(n + (n == 7)) % 3] for n in range(8)})
    )
    seats = {there.add(name).sub: place for place, name in enumerate(("ana", "ben", "cleo", "dan", "eva"))}
    given = 0
    while given < 299:
        board = there.shop.turn().board
        for seat, place in seats.items():
            while given < 299 and (task := board.lease(there.job.key, seat)) is not None:
                there.shop.clock.pass_seconds(5)
                # Eva, the last, says the same of all pictures; the others err now and then.
                index = 0 if place == 4 else task.object + ((task.object * 7 + place) % 11 == 0)
                board.submit(task.lease, {SINGLE: {"label": classes[index % 3]}}, 2.0 + place)
                given += 1
    yield there
    there.close()


@pytest.mark.slow
def test_owners_read_the_page_and_withdraw_what_a_flagged_worker_said(
    crowded: Premises, browser: Browser
) -> None:
    boss = crowded.somebody("boss", role=Role.OWNER)
    path = f"{crowded.url}/owner/jobs/{crowded.number}/quality"
    for size, scheme in ((PHONE, "dark"), (DESKTOP, "light")):
        context = browser.new_context(viewport=size, **colors(scheme))
        context.add_cookies([{"name": k, "value": v, "url": crowded.url} for k, v in boss.cookies.items()])
        page = context.new_page()
        page.goto(path)
        row = page.locator("#workers tbody tr[data-key=eva]")
        expect(row).to_contain_text("of 8")
        expect(page.locator("#known-state")).to_contain_text("8 known pictures")
        expect(page.locator("svg.calibration circle").first).to_be_visible()
        expect(page.locator("#wrong li")).to_have_count(1)
        expect(page.locator("#map tbody tr")).to_have_count(3)
        assert flaws(page) == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    expect(page.locator("#workers .flags")).to_contain_text("guesses")
    button = page.get_by_role("button", name="Withdraw the answers of eva")
    button.click()
    expect(page.locator("#withdraw-what")).to_contain_text("9 answers of eva stay on record")
    page.get_by_role("button", name="Keep them").click()
    expect(page.locator("#withdraw")).to_be_hidden()
    button.click()
    page.get_by_role("button", name="Withdraw them").click()
    expect(page.locator("#facts")).to_contain_text("What eva answered was withdrawn")
    expect(row).to_have_count(0)
    # What is refused meanwhile is told with what can be done instead, and stays in sight.
    page.get_by_role("button", name="Withdraw the answers of dan").click()
    crowded.shop.board.stop(crowded.job.key)
    crowded.shop.turn()
    page.get_by_role("button", name="Withdraw them").click()
    expect(page.locator("#refused")).to_contain_text("gtlabel quality reconsolidate Bins-1 --without")
    expect(page.locator("#anew")).to_contain_text("The job takes no more answers", timeout=60_000)
    expect(page.locator("#refused")).to_be_visible()
