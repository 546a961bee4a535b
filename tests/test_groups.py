"""Near-duplicates: grouped for the split, generously and always the same."""

from __future__ import annotations

import io
import random
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from gtlabel.aws import Aws
from gtlabel.images.duplicates import close_matches
from gtlabel.images.fingerprints import Fingerprint, fingerprint
from gtlabel.images.groups import Forest, find_groups, groups, same_picture, united
from gtlabel.images.views import WINDOWS, Album, view_codes
from gtlabel.storage import write
from gtlabel.uris import S3Uri

TRASH = sorted((Path(__file__).parent.parent / "samples" / "trash" / "images").glob("*.jpg"))
PHOTOS = S3Uri("s3://grouped-pictures/photos/")


def saved(picture: Image.Image, quality: int = 88) -> bytes:
    body = io.BytesIO()
    picture.save(body, "JPEG", quality=quality)
    return body.getvalue()


def trimmed(picture: Image.Image, left: float, top: float, part: float = 0.95) -> bytes:
    width, height = picture.size
    x, y = round(width * left), round(height * top)
    return saved(picture.crop((x, y, x + round(width * part), y + round(height * part))))


CHANGES: dict[str, Callable[[Image.Image], bytes]] = {
    "saved again": lambda p: saved(p, 40),
    "resized": lambda p: saved(p.resize((p.width * 2 // 3, p.height * 2 // 3))),
    "trimmed at the left and top": lambda p: trimmed(p, 0.05, 0.05),
    "trimmed all around": lambda p: trimmed(p, 0.05, 0.05, 0.9),
    "brightened": lambda p: saved(ImageEnhance.Brightness(p).enhance(1.2)),
}


@cache
def seen(data: bytes) -> Fingerprint:
    print_ = fingerprint(data)
    assert isinstance(print_, Fingerprint)
    return print_


def photos(count: int = 40) -> list[tuple[S3Uri, Fingerprint]]:
    return [(PHOTOS / path.name, seen(path.read_bytes())) for path in TRASH[:count]]


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_picture_is_in_the_group_of_its_original(change: str) -> None:
    originals = photos()
    changed = [
        (PHOTOS / "changed" / address.name, seen(CHANGES[change](Image.open(path))))
        for (address, _), path in zip(originals, TRASH, strict=False)
    ]
    found = groups([*originals, *changed])
    together = sum(found[PHOTOS / "changed" / image.name] == found[image] for image, _ in originals)
    assert together >= len(originals) - 1


def test_photographs_of_different_things_on_one_table_stay_apart() -> None:
    found = groups(photos(len(TRASH)))
    assert len(set(found.values())) >= len(TRASH) - 3


def test_a_group_is_named_by_its_first_member_in_whatever_order_pictures_come() -> None:
    pictures = photos(20)
    pictures += [(PHOTOS / f"again-{n}.jpg", print_) for n, (_, print_) in enumerate(pictures)]
    found = groups(pictures)
    assert all(str(min(a for a, g in found.items() if g == group)) == group for group in found.values())
    for seed in range(3):
        shuffled = random.Random(seed).sample(pictures, len(pictures))
        assert groups(shuffled) == found


def test_what_was_grouped_keeps_its_group_and_newcomers_join_it() -> None:
    (first, one), (second, other) = photos(2)
    earlier = united([(first, one), (second, other)]).groups
    newcomer = PHOTOS / "0.jpg"
    assert newcomer < first
    grown = united([(newcomer, one), (first, one), (second, other)], earlier)
    assert grown.groups == {**earlier, newcomer: earlier[first]}
    assert grown.bridges == ()


def test_a_bridge_between_two_groups_moves_no_picture_and_is_told() -> None:
    (_, one), *_ = photos(1)
    a, b, between = PHOTOS / "a.jpg", PHOTOS / "b.jpg", PHOTOS / "c.jpg"
    grown = united([(a, one), (b, one), (between, one)], {a: str(a), b: str(b)})
    assert grown.groups == {a: str(a), b: str(b), between: str(a)}
    assert [(bridge.group, bridge.others) for bridge in grown.bridges] == [(str(a), (str(b),))]


def test_flat_pictures_are_told_apart_by_color_and_brightness() -> None:
    colors = ("black", "white", "red", "blue", "green")
    pictures = [(PHOTOS / color, seen(saved(Image.new("RGB", (90, 60), color)))) for color in colors]
    assert len(set(groups(pictures).values())) == len(colors)


def test_no_pictures_make_no_groups() -> None:
    assert groups([]) == {}


def test_a_group_says_nothing_of_what_is_the_same_picture() -> None:
    whole = Image.open(TRASH[0])
    marked = whole.copy()
    marked.paste("red", (100, 80, 140, 120))
    assert same_picture(seen(saved(whole)), seen(saved(whole, 60)))
    assert not same_picture(seen(saved(whole)), seen(saved(marked)))
    assert not same_picture(seen(saved(whole)), seen(trimmed(whole, 0.05, 0.05)))


def test_pictures_are_read_from_s3_and_those_that_cannot_be_are_groups_of_their_own(
    gtlabel_mock: Aws,
) -> None:
    gtlabel_mock.s3.create_bucket(Bucket=PHOTOS.bucket)
    whole = Image.open(TRASH[0])
    write(gtlabel_mock.s3, PHOTOS / "a.jpg", saved(whole))
    write(gtlabel_mock.s3, PHOTOS / "b.jpg", trimmed(whole, 0, 0))
    write(gtlabel_mock.s3, PHOTOS / "c.jpg", TRASH[1].read_bytes())
    write(gtlabel_mock.s3, PHOTOS / "d.jpg", b"no picture")
    images = [PHOTOS / f"{letter}.jpg" for letter in "edcbaa"]
    counts: list[int] = []
    found = find_groups(gtlabel_mock.s3, images, on_progress=counts.append)
    assert {image.name[0]: S3Uri(group).name[0] for image, group in found.groups.items()} == {
        "a": "a",
        "b": "a",
        "c": "c",
        "d": "d",
        "e": "e",
    }
    assert [(r.uri.name, r.reason.partition(":")[0]) for r in found.unread] == [
        ("d.jpg", "cannot be decoded"),
        ("e.jpg", "does not exist"),
    ]
    assert counts == [1, 2, 3, 4, 5]


@settings(deadline=None)
@given(
    codes=st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=12),
    flips=st.lists(st.sets(st.integers(0, 63), max_size=9), min_size=1, max_size=12),
    bits=st.integers(0, 7),
)
def test_matches_are_those_that_comparing_everything_finds(
    codes: list[int], flips: list[set[int]], bits: int
) -> None:
    wanted = [codes[n % len(codes)] ^ sum(1 << bit for bit in flip) for n, flip in enumerate(flips)]
    expected = {
        (left, right)
        for left, one in enumerate(wanted)
        for right, other in enumerate(codes)
        if (one ^ other).bit_count() <= bits
    }
    found = close_matches(np.array(wanted, np.uint64), np.array(codes, np.uint64), bits)
    assert {
        pair for left, right in found for pair in zip(left.tolist(), right.tolist(), strict=True)
    } == expected


@settings(deadline=None)
@given(size=st.integers(1, 30), pairs=st.lists(st.tuples(st.integers(0, 29), st.integers(0, 29))))
def test_a_forest_knows_who_belongs_together(size: int, pairs: list[tuple[int, int]]) -> None:
    inside = [(one, other) for one, other in pairs if max(one, other) < size]
    label = list(range(size))
    for one, other in inside:
        low, high = sorted((label[one], label[other]))
        label = [low if now == high else now for now in label]
    forest = Forest(size)
    forest.join([one for one, _ in inside], [other for _, other in inside])
    assert forest.roots().tolist() == label


@settings(deadline=None)
@given(st.binary(min_size=1024, max_size=1024), st.integers(0, len(WINDOWS) - 1))
def test_codes_and_comparisons_do_not_depend_on_their_neighbors(data: bytes, window: int) -> None:
    grey = np.frombuffer(data, np.uint8).reshape(1, 32, 32)
    many = np.concatenate([grey[:, ::-1], grey, grey[:, :, ::-1]])
    assert (view_codes(many)[:, 1:2] == view_codes(grey)).all()
    colors = np.zeros((3, 128), np.uint8)
    pair, beside = np.array([1]), np.array([1, 0, 2])
    alone = Album(many, colors).alike(window, pair, pair)
    assert alone[0] == Album(many, colors).alike(window, beside, beside)[0]


def test_the_benchmark_runs() -> None:
    program = Path(__file__).parent / "benchmarks" / "near_duplicates.py"
    command = [sys.executable, str(program), "--pictures", "60", "--pairs", "16", "--runs", "1"]
    done = subprocess.run(
        [*command, "--data", str(TRASH[0].parent)], capture_output=True, text=True, check=False
    )
    assert "brightened" in done.stdout, done.stderr
