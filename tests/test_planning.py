"""Ways to label, tried out on people that nobody paid: draws, prices, and what old answers tell."""

from __future__ import annotations

import sys
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from answers_parts import job
from emulator_parts import run
from hypothesis import given, settings
from hypothesis import strategies as st

from gtlabel.aws import Aws
from gtlabel.crowd.methods import aggregate
from gtlabel.crowd.population import Population, assumed, fitted
from gtlabel.errors import LearningError, SettingsError
from gtlabel.labeling.answered import Answered, read_answered
from gtlabel.labeling.cost import Prices
from gtlabel.labeling.offers import Terms, cheapest, make_plan, pace_in, priced
from gtlabel.labeling.pace import Pace
from gtlabel.labeling.planning import Span, Trial, Tries, Way, try_out, ways
from gtlabel.labeling.tasks import TeamKind
from gtlabel.learning.clouds import Means, clouds, distance

PACE = Pace((100, 200), "as told")
PRICES = Prices.load()
FEW = Tries(runs=3)


def terms(images: int = 300, price: str | None = "0.02", team: TeamKind = TeamKind.PRIVATE) -> Terms:
    cost = None if price is None else Decimal(price)
    return Terms(images, PACE, people=5, team=team, price_per_answer=cost, prices=PRICES)


def sharp(value: float) -> Span:
    return Span(value, value, value)


def tried(population: Population, *some: Way, images: int = 300, tries: Tries = FEW) -> list[Trial]:
    return try_out(population, images, some, tries)


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=4),
    st.lists(st.sampled_from(["majority", "aws", "auto"]), min_size=1, max_size=3),
    st.booleans(),
    st.booleans(),
)
def test_all_ways_differ_and_each_can_be_had(
    votes: list[int], methods: list[str], adaptive: bool, automated: bool
) -> None:
    found = ways(votes, methods, adaptive=adaptive, automated=automated)
    assert len({str(way) for way in found}) == len(found)
    assert {way.votes for way in found} == set(votes)
    for way in found:
        assert way.method in methods
        # Our engine refuses a job that does both.
        assert not (way.adaptive and way.automated)
        assert way.adaptive <= adaptive
        assert way.automated <= automated
        assert way.budget is None or (way.adaptive and 2 < way.budget < way.votes)


def test_more_answers_are_right_more_often_and_doubt_is_where_they_are_best_spent() -> None:
    crowd = assumed(3, accuracy=0.75, hard=0.0)
    one, five, budget = tried(crowd, Way(1), Way(5), Way(5, adaptive=True, budget=3), images=400)
    three = tried(crowd, Way(3, "majority"), images=400)[0]
    assert one.accuracy.mean < three.accuracy.mean < five.accuracy.mean
    assert budget.accuracy.mean > three.accuracy.mean
    assert budget.answers.high <= 3
    assert (one.answers, five.answers) == (sharp(1.0), sharp(5.0))


def test_the_same_seed_draws_the_same_and_another_one_others() -> None:
    again = [tried(assumed(2), Way(3, "majority"), tries=Tries(runs=2, seed=seed)) for seed in (4, 4, 5)]
    assert again[0] == again[1] != again[2]


def test_ways_are_tried_on_the_same_draws_whatever_else_is_tried() -> None:
    alone = tried(assumed(2), Way(3, "majority"), tries=Tries(runs=2))
    among = tried(assumed(2), Way(3, "aws"), Way(3, "majority"), Way(3, automated=True), tries=Tries(runs=2))
    assert among[1] == alone[0]


def test_too_few_people_are_told_before_anything_is_tried() -> None:
    with pytest.raises(SettingsError, match="4 people are too few for 5 answers by different ones"):
        tried(assumed(2, people=4), Way(5))
    with pytest.raises(SettingsError, match="1 person is too few for 3 answers"):
        tried(assumed(2, people=1), Way(3))


def test_a_machine_labels_where_it_is_good_and_costs_nothing_where_it_is_not() -> None:
    crowd = assumed(2, accuracy=0.98, hard=0.0)
    good = Tries(runs=2, model_accuracy=0.97)
    people, machine = tried(crowd, Way(3), Way(3, automated=True), images=2000, tries=good)
    assert machine.by_machine.low > 0.3
    assert machine.answers.mean == pytest.approx(3 * (1 - machine.by_machine.mean))
    assert machine.accuracy.low > 0.95
    bad = Tries(runs=2, model_accuracy=0.6)
    people, machine = tried(crowd, Way(3), Way(3, automated=True), images=2000, tries=bad)
    assert machine.by_machine == sharp(0.0)
    assert (machine.accuracy, machine.answers) == (people.accuracy, people.answers)


def test_a_machine_no_better_than_chance_is_no_assumption() -> None:
    with pytest.raises(LearningError, match=r"give an accuracy above 0\.50"):
        tried(assumed(2), Way(1, automated=True), tries=Tries(model_accuracy=0.5))


@pytest.mark.parametrize(("classes", "accuracy"), [(2, 0.7), (3, 0.9), (10, 0.8)])
def test_clouds_are_told_apart_as_often_as_was_stated(classes: int, accuracy: float) -> None:
    rng = np.random.default_rng(1)
    truth = rng.integers(classes, size=6000)
    features = clouds(truth, classes, distance(classes, accuracy, seed=2), rng)
    folds = np.arange(len(truth)) % 5
    scores = Means(features, classes).out_of_fold(np.arange(len(truth)), truth, folds)
    assert (scores.argmax(axis=1) == truth).mean() == pytest.approx(accuracy, abs=0.03)


def test_a_machine_says_how_often_people_call_it_something_else() -> None:
    rng = np.random.default_rng(3)
    truth = rng.integers(3, size=4000)
    said = np.where(rng.random(4000) < 0.85, truth, (truth + 1) % 3)
    features = clouds(truth, 3, distance(3, 0.95, seed=2), rng)
    scores = Means(features, 3).out_of_fold(np.arange(4000), said, np.arange(4000) % 5)
    agrees = (scores.argmax(axis=1) == said).mean()
    assert scores.max(axis=1).mean() == pytest.approx(agrees, abs=0.03)


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.floats(0.5, 1), st.integers(1, 9)), min_size=1, max_size=8),
    st.floats(0.5, 1),
)
def test_of_the_good_ways_none_costs_less_than_the_cheapest(
    some: list[tuple[float, int]], target: float
) -> None:
    trials = [Trial(Way(votes), sharp(right), sharp(float(votes)), sharp(0.0)) for right, votes in some]
    offers = priced(trials, terms())
    best = cheapest(offers, target)
    good = [votes for right, votes in some if right >= target]
    assert (best is None) == (not good)
    assert best is None or best.trial.answers.mean == min(good)
    for offer in offers:
        beaten = any(
            other.trial.answers.mean <= offer.trial.answers.mean
            and other.trial.accuracy.mean > offer.trial.accuracy.mean
            for other in offers
        )
        assert not (offer.on_frontier and beaten)
    assert any(offer.on_frontier for offer in offers)


def test_answers_are_paid_and_waited_for_and_the_fee_is_aws_own() -> None:
    fixed = Trial(Way(3), sharp(0.9), sharp(3.0), sharp(0.0))
    sparing = Trial(Way(5, adaptive=True), sharp(0.9), Span(2.5, 2.0, 3.5), sharp(0.0))
    first, second = priced([fixed, sparing], terms(images=1000))
    assert first.trial is sparing
    assert (first.dollars.mean, first.dollars.low, first.dollars.high) == pytest.approx((50, 40, 70))
    assert first.by_aws is None
    assert second.by_aws is not None
    assert second.by_aws.mean == pytest.approx(60 + 80)
    # 3,000 answers by five people who give 100 to 200 an hour, six hours a day.
    assert (float(second.days.low), float(second.days.high)) == pytest.approx((0.5, 1.0))


def test_a_price_that_is_missing_is_told_before_anything_is_tried() -> None:
    done: list[int] = []
    with pytest.raises(SettingsError, match="no price of a vendor team's answer"):
        make_plan(
            assumed(2),
            terms(price=None, team=TeamKind.VENDOR),
            [Way(1)],
            on_progress=lambda run, _total: done.append(run),
        )
    assert done == []


def test_a_plan_says_what_it_rests_on_and_how_far_it_is() -> None:
    done: list[tuple[int, int]] = []
    some = ways([1, 3], ["majority", "auto"])
    plan = make_plan(
        assumed(2, accuracy=0.9),
        terms(price=None),
        some,
        target=0.9,
        tries=Tries(runs=2, model_accuracy=0.7),
        on_progress=lambda *numbers: done.append(numbers),
    )
    assert done == [(1, 2), (2, 2)]
    assert len(plan.offers) == len(some)
    told = " ".join(plan.assumptions())
    for part in ("people are 10, right 90%", "300 pictures", "100 to 200 answers", "what people earn is not"):
        assert part in told
    assert plan.best is not None
    assert plan.to_json()["best"] == str(plan.best.trial.way)
    assert plan.best_by_aws is not None
    assert plan.best_by_aws.by_aws is not None


def drawn_answers(people: Population, answers: int, objects: int, seed: int) -> tuple[float, Population]:
    """The majority's accuracy in answers drawn from some people, and the people told from these answers."""
    drawn = people.draw(objects, answers, np.random.default_rng(seed))
    votes, classes = drawn.votes(answers), len(people.prior)
    right = (aggregate(votes, objects, classes, "majority").labels == drawn.truth).mean()
    return float(right), fitted(votes, aggregate(votes, objects, classes).posterior, source="told")


@pytest.mark.parametrize(("classes", "accuracy"), [(2, 0.65), (3, 0.9), (10, 0.8)])
@pytest.mark.parametrize("hard", [None, 0.05])
def test_assumed_people_are_right_as_often_as_was_stated(
    classes: int, accuracy: float, hard: float | None
) -> None:
    crowd = assumed(classes, accuracy=accuracy, hard=hard, people=40)
    drawn = [crowd.draw(300, 3, np.random.default_rng(seed)) for seed in range(10)]
    right = np.mean([each.classes == each.truth[:, None] for each in drawn])
    assert right == pytest.approx(accuracy, abs=0.02)


def test_nobody_is_right_nearly_always_about_pictures_that_are_often_hard() -> None:
    with pytest.raises(
        ValueError, match="where 30% of the pictures are hard, answers cannot be right in 95%"
    ):
        assumed(2, accuracy=0.95, hard=0.3)


@pytest.mark.parametrize(("accuracy", "hard"), [(0.9, 0.0), (0.75, 0.2)])
def test_people_told_from_answers_answer_as_those_did(accuracy: float, hard: float) -> None:
    right, told = drawn_answers(assumed(3, accuracy=accuracy, hard=hard), 5, 1200, seed=8)
    found = tried(told, Way(5, "majority"), images=500, tries=Tries(runs=20))[0].accuracy
    assert found.low <= right <= found.high
    # Not because anything would be possible.
    assert found.high - found.low < 0.2


def test_as_many_people_like_those_may_be_asked_as_are_wanted() -> None:
    drawn = assumed(2, people=4).draw(200, 3, np.random.default_rng(0))
    posterior = aggregate(drawn.votes(3), 200, 2).posterior
    told = fitted(drawn.votes(3), posterior, source="told", people=9)
    assert told.people == 9
    later = told.draw(50, 9, np.random.default_rng(1))
    assert all(len(set(row)) == 9 for row in later.workers.tolist())


def test_an_old_job_tells_how_fast_its_people_were(tmp_path: Path) -> None:
    said = {n: [("ann", "Cat"), ("bob", "Dog")] for n in range(5)}
    found = read(job(tmp_path / "pets", said, ["Cat"] * 5, ["Cat", "Dog"]))
    pace = pace_in(found)
    assert pace is not None
    # Each of them took 4.5 seconds.
    assert pace.answers_per_hour == pytest.approx((800, 800))
    assert "measured in pets" in pace.source


def read(folder: Path) -> Answered:
    def no_account() -> Aws:
        raise AssertionError("a folder needs no account")

    return read_answered(no_account, [str(folder)])


def test_the_benchmark_runs_and_says_which_bars_are_met() -> None:
    program = Path(__file__).parent / "benchmarks" / "planning.py"
    words = ["--seeds", "1", "--runs", "3", "--kinds", "1", "--objects", "80", "--crowds", "/nowhere"]
    made = run([sys.executable, str(program), *words])
    assert made.returncode == (1 if "MISSED" in made.stdout else 0), made.stderr
    assert made.stdout.splitlines()[-1].startswith("simulated: ")
