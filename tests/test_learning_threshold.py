"""What a random sample says of the objects that were not drawn."""

from __future__ import annotations

from math import comb

from hypothesis import given, settings
from hypothesis import strategies as st

from gtlabel.learning.threshold import Region, chance_of_at_most, chance_of_few, most_wrong


def exactly(sample: int, seen: int, population: int, bad: int) -> float:
    """The probability that a sample shows just so many bad ones, by counting."""
    return comb(bad, seen) * comb(population - bad, sample - seen) / comb(population, sample)


@given(st.data())
def test_the_chance_of_few_is_what_counting_gives(data: st.DataObject) -> None:
    population = data.draw(st.integers(1, 60))
    sample = data.draw(st.integers(0, population))
    bad = data.draw(st.integers(0, population))
    wrong = data.draw(st.integers(0, population))
    counted = sum(exactly(sample, seen, population, bad) for seen in range(min(wrong, sample, bad) + 1))
    assert abs(chance_of_few(sample, wrong, population, bad) - counted) < 1e-9


@settings(max_examples=30)
@given(st.integers(1, 20), st.integers(1, 20), st.sampled_from([0.01, 0.05, 0.2]))
def test_the_bound_on_hidden_wrong_ones_fails_no_more_often_than_it_says(
    sample: int, rest: int, alpha: float
) -> None:
    population = sample + rest
    for bad in range(population + 1):
        failing = sum(
            exactly(sample, seen, population, bad)
            for seen in range(max(0, sample - population + bad), min(sample, bad) + 1)
            if bad - seen > most_wrong(sample, seen, rest, alpha)
        )
        assert failing <= alpha + 1e-9


@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(0, 5),
    st.sampled_from([0.01, 0.05, 0.2]),
    st.sampled_from([0.8, 0.9, 0.95]),
)
def test_a_region_that_must_not_pass_does_so_no_more_often_than_it_says(
    sample: int, rest: int, found: int, alpha: float, target: float
) -> None:
    found = min(found, rest)
    region = Region(sample, rest, found, rest - found)
    tolerable = region.tolerable(target, alpha)
    population = sample + rest
    for bad in range(found, population + 1):
        passing = sum(
            exactly(sample, seen, population, bad)
            for seen in range(max(0, sample - population + bad), min(sample, bad) + 1)
            if seen <= tolerable and bad - seen - found > (1 - target) * region.open + 1e-9
        )
        assert passing <= alpha + 1e-9


@given(st.integers(60, 400), st.integers(50, 2000), st.integers(0, 8))
def test_wrong_ones_found_outside_of_the_sample_let_the_sample_show_more(
    sample: int, rest: int, found: int
) -> None:
    none = Region(sample, rest + found, 0, rest).tolerable(0.95, 0.05)
    some = Region(sample, rest + found, found, rest).tolerable(0.95, 0.05)
    assert some >= none


def test_59_right_ones_of_very_many_are_just_enough_for_95_percent() -> None:
    def tolerable(sample: int) -> int:
        return Region(sample, 100_000, 0, 100_000).tolerable(0.95, 0.05)

    assert [tolerable(58), tolerable(59), tolerable(100)] == [-1, 0, 1]


def test_rare_events_add_up_to_certainty() -> None:
    assert chance_of_at_most(-1, 0.5) == 0
    assert abs(chance_of_at_most(0, 0.5) - 0.6065306597) < 1e-9
    assert abs(chance_of_at_most(60, 5.0) - 1) < 1e-12


def test_of_hundreds_of_expected_mistakes_a_few_more_are_as_likely_as_they_are() -> None:
    # By scipy.stats.poisson.cdf; the chance of none at all, exp(-800), is too small for a number.
    assert abs(chance_of_at_most(820, 800.0) - 0.7665677351) < 1e-9
    assert chance_of_at_most(1000, 800.0) > 0.999
