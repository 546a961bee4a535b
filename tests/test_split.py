"""Splitting: every picture has one channel, and growth never moves it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gtlabel.datasets.plan import Plan, make_plan
from gtlabel.errors import DatasetError
from gtlabel.manifests.merge import Label
from gtlabel.manifests.split import CHANNELS, Channel, KeyPattern, Shares, channel_codes, channel_of, loans
from gtlabel.manifests.table import LabelTable


def photo(number: int, camera: int = 0) -> str:
    return f"s3://trash-photos/cam{camera}/{number}.jpg"


def planned(
    pictures: dict[str, str],
    shares: Shares | None = None,
    pattern: str | None = None,
    earlier: dict[str, Channel] | None = None,
) -> Plan:
    table = LabelTable()
    for image, class_name in pictures.items():
        table.add_label(Label(image, class_name))
    table.settle()
    group_of = KeyPattern(pattern) if pattern else str
    return make_plan(table, table.images(), group_of, shares or Shares(), earlier or {})


def channels(plan: Plan) -> dict[str, Channel]:
    return {image: channel for channel in plan.shares.channels for image in plan.members(channel)}


class TestTheChannelOfAGroup:
    def test_a_larger_share_keeps_the_images_already_in_it(self) -> None:
        photos = [photo(n) for n in range(500)]
        for channel in ("validation", "test"):
            small = Shares(validation=0.1, test=0.1)
            large = Shares(**{"validation": 0.1, "test": 0.1, channel: 0.4})
            before = {i for i in photos if channel_of(i, small) == channel}
            assert before < {i for i in photos if channel_of(i, large) == channel}

    @given(
        st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=30),
        st.floats(0.001, 0.999),
        st.just(0.0) | st.floats(1e-20, 0.999),
    )
    def test_many_are_told_as_each_is(self, groups: list[str], validation: float, test: float) -> None:
        test *= 1 - validation
        if validation + test > 0.9999:
            return
        shares = Shares(validation=validation, test=test)
        homes = [CHANNELS[code] for code in channel_codes(groups, shares)]
        assert homes == [channel_of(group, shares) for group in groups]

    def test_the_shares_are_met_on_average(self) -> None:
        shares = Shares(validation=0.2, test=0.1)
        found = [channel_of(photo(n), shares) for n in range(5000)]
        for channel, share in zip(CHANNELS, (0.7, 0.2, 0.1), strict=True):
            assert found.count(channel) / 5000 == pytest.approx(share, abs=0.02)

    @pytest.mark.parametrize(
        ("given", "sentence"),
        [
            ({"validation": 0.0}, "the share for validation must lie between 0 and 1, and 0.0 does not"),
            ({"validation": float("nan")}, "must lie between 0 and 1, and nan does not"),
            ({"test": 1.0}, "the share for test must lie between 0 and 1"),
            ({"test": -0.1}, "the share for test must lie between 0 and 1"),
            ({"validation": 0.5, "test": 0.5}, "leave 0 to train with"),
            ({"train": 0.5, "validation": 0.2}, "are 0.5, 0.2 and 0; together they have to be 1"),
        ],
    )
    def test_impossible_shares_are_refused(self, given: dict[str, float], sentence: str) -> None:
        with pytest.raises(DatasetError, match=sentence):
            Shares(**given)

    def test_shares_that_make_one_are_taken(self) -> None:
        assert Shares(0.7, 0.2, 0.1).channels == CHANNELS
        assert Shares().channels == ("train", "validation")
        assert Shares(validation=0.3).train == pytest.approx(0.7)


class TestGroupsByPattern:
    def test_what_its_groups_match_is_the_name(self) -> None:
        group = KeyPattern(r"(cam\d+)/(\d{4}-\d\d-\d\d)/")
        assert group("s3://b/x/cam3/2026-11-22/07.jpg") == "cam3/2026-11-22"
        assert group("s3://cam9/x.jpg") == "s3://cam9/x.jpg"

    def test_without_groups_the_whole_match_is_the_name(self) -> None:
        assert KeyPattern(r"cam\d+")("s3://b/cam3/1.jpg") == "cam3"

    def test_a_part_that_matched_nothing_is_empty(self) -> None:
        assert KeyPattern(r"(cam\d+)?/(\d+)")("s3://b/x/7.jpg") == "/7"

    def test_what_is_no_pattern_is_refused(self) -> None:
        with pytest.raises(DatasetError, match=r"'\(cam' is not a regular expression: missing \)"):
            KeyPattern("(cam")


pictures = st.dictionaries(
    st.builds(photo, st.integers(0, 300), st.integers(0, 9)), st.sampled_from("abc"), min_size=3, max_size=80
)
shares = st.builds(
    lambda validation, test: Shares(validation=validation, test=test),
    st.floats(0.05, 0.6),
    st.sampled_from((0.0, 0.1, 0.3)),
)
patterns = st.sampled_from((None, r"cam\d+", r"\d\.jpg"))


def enough(given: dict[str, str], pattern: str | None, wanted: Shares) -> bool:
    group_of = KeyPattern(pattern) if pattern else str
    return len({group_of(image) for image in given}) >= len(wanted.channels)


class TestAPlan:
    @given(given=pictures, wanted=shares, pattern=patterns, more=pictures)
    def test_growth_never_moves_a_picture(
        self, given: dict[str, str], wanted: Shares, pattern: str | None, more: dict[str, str]
    ) -> None:
        if not enough(given, pattern, wanted):
            return
        first = planned(given, wanted, pattern)
        grown = planned({**more, **given}, wanted, pattern, dict(first.lent))
        before, after = channels(first), channels(grown)
        assert {image: after[image] for image in before} == before
        if not first.lent:
            # Nothing has to be remembered then: from scratch it comes out the same, wherever it goes.
            scratch = channels(planned({**more, **given}, wanted, pattern))
            assert {image: scratch[image] for image in before} == before

    @given(given=pictures, wanted=shares, pattern=patterns)
    def test_a_group_is_in_one_channel_and_no_channel_is_empty(
        self, given: dict[str, str], wanted: Shares, pattern: str | None
    ) -> None:
        group_of = KeyPattern(pattern) if pattern else str
        if not enough(given, pattern, wanted):
            with pytest.raises(DatasetError, match="groups of pictures are too few for the channels"):
                planned(given, wanted, pattern)
            return
        found = channels(planned(given, wanted, pattern))
        assert found.keys() == given.keys()
        assert len({(group_of(image), channel) for image, channel in found.items()}) == len(
            {group_of(image) for image in given}
        )
        assert set(found.values()) == set(wanted.channels)

    @given(given=pictures, wanted=shares)
    def test_the_counts_are_those_of_the_members(self, given: dict[str, str], wanted: Shares) -> None:
        plan = planned(given, wanted)
        for channel in wanted.channels:
            members = [given[image] for image in plan.members(channel)]
            assert {name: count for name, count in plan.counts[channel].items() if count} == {
                name: members.count(name) for name in set(members)
            }

    def test_a_class_without_a_picture_in_validation_is_named_and_stays_out(self) -> None:
        given = {photo(n): "a" for n in range(100)}
        small = next(photo(n) for n in range(1000, 2000) if channel_of(photo(n), Shares()) == "train")
        plan = planned({**given, small: "rare"})
        assert channels(plan)[small] == "train"
        assert any("no image of 'rare' is in validation" in warning for warning in plan.warnings)

    def test_an_empty_channel_is_lent_a_group_and_that_is_told(self) -> None:
        alone = [photo(n) for n in range(100) if channel_of(photo(n), Shares()) == "train"][:4]
        plan = planned(dict(zip(alone, "aabb", strict=True)))
        (stands_in,) = plan.lent
        assert channels(plan)[stands_in] == "validation"
        assert plan.warnings[0].startswith(f"validation would be empty, so {stands_in} stands in for it")

    def test_a_loan_of_an_earlier_run_that_is_not_in_the_data_any_more_is_forgotten(self) -> None:
        plan = planned({photo(n): "ab"[n % 2] for n in range(40)}, earlier={photo(1000): "validation"})
        assert plan.lent == {}


def test_fewer_groups_than_channels_are_refused() -> None:
    with pytest.raises(DatasetError, match="1 groups of pictures are too few for the channels tr"):
        loans(["cam1"], Shares())


def test_the_table_of_stability_finds_nothing_of_ours_moved() -> None:
    program = Path(__file__).parent / "benchmarks" / "splitting.py"
    command = [sys.executable, str(program), "--images", "200", "--cameras", "20"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")
    rows = {line[:28].strip(): line[28:].split() for line in run.stdout.splitlines() if line[:28].strip()}
    assert rows["gtlabel"][:2] == ["0", "0"]
    assert rows["gtlabel --group-by burst"][:3] == ["0", "0", "0"]
    assert int(rows["shuffle and cut"][0].replace(",", "")) > 100
