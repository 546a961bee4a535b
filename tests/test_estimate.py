"""What labeling will cost and how long it will take: the parts, the interval, and what they rest on."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from emulator_parts import gtlabel
from hypothesis import given
from hypothesis import strategies as st
from request_parts import request

from gtlabel.aws import Aws
from gtlabel.errors import JobNotFoundError, SettingsError
from gtlabel.labeling.cost import Prices, Range, estimate
from gtlabel.labeling.jobs import create_labeling_job
from gtlabel.labeling.pace import Pace, pace_of, read_pace
from gtlabel.labeling.tasks import TeamKind
from gtlabel.labeling.throughput import Response

PRICES = Prices.load()


def test_the_published_example_comes_out() -> None:
    """Three workers of the public team and the fee: $0.116 an image (contract/ground-truth.md 7)."""
    found = estimate(1, workers=3, team=TeamKind.PUBLIC)
    assert found.dollars.low == found.dollars.high == Decimal("0.116")
    assert [part.what for part in found.parts] == ["Ground Truth", "public team"]


@pytest.mark.parametrize(
    ("images", "already", "dollars"),
    [
        (1, 0, "0.08"),
        (50_000, 0, "4000"),
        (50_001, 0, "4000.04"),
        (1_000_000, 0, "42000"),
        (1_000_001, 0, "42000.02"),
        (10, 49_995, "0.60"),
        (10, 2_000_000, "0.20"),
    ],
)
def test_the_fee_falls_with_the_images_of_a_month(images: int, already: int, dollars: str) -> None:
    assert PRICES.fees(images, already=already) == Decimal(dollars)


def test_the_free_tier_is_500_images_a_month() -> None:
    assert PRICES.fees(500, free=True) == 0
    assert PRICES.fees(501, free=True) == Decimal("0.08")
    assert PRICES.fees(100, already=450, free=True) == Decimal("4.00")
    assert estimate(501, free_tier=True).dollars.high == Decimal("0.08")


@given(st.integers(1, 3_000_000), st.integers(0, 3_000_000), st.integers(0, 3_000_000))
def test_fees_do_not_depend_on_how_a_month_is_divided(images: int, more: int, already: int) -> None:
    together = PRICES.fees(images + more, already=already)
    assert together == PRICES.fees(images, already=already) + PRICES.fees(more, already=already + images)


@given(st.integers(1, 200_000), st.integers(1, 9), st.booleans(), st.integers(0, 2_000_000))
def test_the_least_is_never_more_than_the_most(images: int, workers: int, free: bool, already: int) -> None:
    automated = images >= 1_250
    found = estimate(
        images, workers=workers, automated=automated, free_tier=free, already=already, team=TeamKind.PUBLIC
    )
    for span in (found.dollars, found.answers, found.person_hours, found.hours):
        assert 0 <= span.low <= span.high
    assert found.answers.high == images * workers
    assert found.dollars.high == sum(part.dollars.high for part in found.parts)
    assert found.jobs == -(-images // 100_000)


def test_what_a_model_labels_needs_no_answers_and_still_a_fee() -> None:
    found = estimate(10_000, workers=3, team=TeamKind.VENDOR, price_per_answer=Decimal("0.1"), automated=True)
    assert found.answers == Range(Decimal(9_000), Decimal(30_000))
    fee, team = found.parts
    assert fee.dollars.low == fee.dollars.high == Decimal("800.00")
    assert (team.dollars.low, team.dollars.high) == (Decimal("900.0"), Decimal("3000.0"))
    known = estimate(10_000, automated=True, automated_share=(Decimal("0.5"), Decimal("0.5")))
    assert known.answers.low == known.answers.high == 15_000
    assert any("0% to 70%" in sentence for sentence in found.assumptions)


def test_the_time_follows_from_the_pace_and_the_people() -> None:
    found = estimate(1_200, workers=3, people=6, pace=Pace((100, 200), "as told"))
    assert found.person_hours == Range(Decimal(18), Decimal(36))
    assert found.hours == Range(Decimal(3), Decimal(6))
    assert "a person gives 100 to 200 answers an hour: as told" in found.assumptions


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"images": 0}, "0 images, after 0, cannot be labeled"),
        ({"images": 10, "already": -1}, "cannot be labeled"),
        ({"images": 10, "workers": 10}, "10 people cannot look at each image; Ground Truth asks 1 to 9"),
        ({"images": 10, "workers": 3, "people": 2}, "2 people are too few: 3 different ones look at each"),
        ({"images": 1_249, "automated": True}, "1,249 images are fewer than the 1,250"),
        ({"images": 10, "team": TeamKind.VENDOR}, "the table has no price of a vendor team's answer"),
        ({"images": 10, "price_per_answer": Decimal(-1)}, "an answer cannot cost -1"),
        (
            {"images": 2_000, "automated": True, "automated_share": (Decimal("0.8"), Decimal("0.2"))},
            "an automated share of 0.8 to 0.2 cannot be",
        ),
    ],
)
def test_what_cannot_be_asked_for_is_not_estimated(fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        estimate(**fields)
    assert sentence in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("fee = [", "are not TOML"),
        ('as_of = 2026-01-01\nsource = "x"\nfee = []', "'fee': "),
        ('as_of = 2026-01-01\nsource = "x"\nfee = [{each = -1}]', "'fee.0.each': "),
        ('as_of = 2026-01-01\nsource = "x"\nfee = [{each = 1, up_to = 5}]', "the last one has none"),
        ('as_of = 2026-01-01\nsource = "x"\nfe = [{each = 1}]', "'fee': "),
        (
            'as_of = 2026-01-01\nsource = "x"\nautomated_share = [0.9, 0.1]\nfee = [{each = 1}]',
            "the least and the most, in this order",
        ),
    ],
)
def test_a_table_of_prices_that_is_none_is_named(tmp_path: Path, text: str, sentence: str) -> None:
    table = tmp_path / "mine.toml"
    table.write_text(text)
    with pytest.raises(SettingsError) as refusal:
        Prices.load(table)
    assert sentence in str(refusal.value)
    assert "mine.toml" in str(refusal.value)


def answers(worker: str, *seconds: float | None) -> list[Response]:
    now = datetime(2026, 11, 22, tzinfo=UTC)
    return [Response("trash-1", "0", worker, "", "", now, each) for each in seconds]


def test_the_pace_is_that_of_the_middle_half_of_the_people() -> None:
    said = [*answers("a", 10, 10), *answers("b", 5), *answers("c", 4), *answers("d", 2), *answers("e", 60)]
    assert pace_of(said, "measured") == Pace((360, 900), "measured, answers: 6, people: 5")
    few = pace_of([*answers("a", 10, 2), *answers("b", 4)], "measured")
    assert few.answers_per_hour == (600, 900)


def test_the_oldest_answers_do_not_tell_how_long_they_took() -> None:
    assert pace_of(answers("a", None, 4), "measured") == Pace((900, 900), "measured, answers: 1, people: 1")
    with pytest.raises(SettingsError, match="no answer tells how long it took"):
        pace_of(answers("a", None), "measured")


def test_an_earlier_job_tells_how_fast_its_people_were(gtlabel_aws: Aws) -> None:
    gtlabel_aws.s3.create_bucket(Bucket="trash")
    create_labeling_job(gtlabel_aws.sagemaker, request())
    for number in range(3):
        key = f"out/trash-1/annotations/worker-response/iteration-1/{number}/2026-11-22_10:00:00.json"
        said = [
            {"workerId": worker, "timeSpentInSeconds": seconds, "submissionTime": "2026-11-22T10:00:00.000Z"}
            for worker, seconds in (("a", 4.0), ("b", 6.0))
        ]
        body = json.dumps({"answers": said})
        gtlabel_aws.s3.put_object(Bucket="trash", Key=key, Body=body.encode())
    pace = read_pace(gtlabel_aws.sagemaker, gtlabel_aws.s3, ["trash-1"])
    assert pace == Pace((600, 900), "measured in trash-1, answers: 6, people: 2")
    with pytest.raises(JobNotFoundError):
        read_pace(gtlabel_aws.sagemaker, gtlabel_aws.s3, ["nothing"])
    run = gtlabel("estimate", "--images", "900", "--workers", "1", "--like", "trash-1", "--output", "json")
    assert run.returncode == 0, run.stderr
    printed = json.loads(run.stdout)
    assert printed["person_hours"] == {"low": 1.0, "high": 1.5}
    assert printed == estimate(900, workers=1, pace=pace).to_json()


def test_the_command_shows_the_parts_the_interval_and_what_it_rests_on(tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text(
        'as_of = 2027-01-01\nsource = "our contract"\nfee = [{each = 0.5}]\nvendor_answer = 0.25\n'
    )
    (tmp_path / "gtlabel.toml").write_text('prices = "mine.toml"\nworkers = 2\n')
    run = gtlabel("estimate", "--images", "1000", "--team-kind", "vendor", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    lines = [line.split() for line in run.stdout.splitlines() if line]
    assert ["Ground", "Truth", "1,000", "images", "$500.00", "$500.00"] in lines
    assert ["vendor", "team", "2,000", "answers", "$500.00", "$500.00"] in lines
    assert ["together", "$1,000.00", "$1,000.00"] in lines
    assert "assuming prices as of 2027-01-01, from our contract" in run.stderr


def test_the_command_refuses_in_one_sentence() -> None:
    run = gtlabel("estimate", "--images", "100", "--automated")
    assert run.returncode == 1
    assert run.stdout == ""
    assert run.stderr == "gtlabel: 100 images are fewer than the 1,250 it takes to label automatically\n"
