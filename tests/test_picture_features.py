"""Pictures as numbers: alike pictures close together, each by itself, and fewer numbers that tell as much."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from gtlabel.images.features import VIEWS, Directions, picture_features
from gtlabel.networks.preprocess import UnreadablePictureError


def pixels(seed: int, color: tuple[int, int, int] = (90, 120, 150)) -> NDArray[np.uint8]:
    noise = np.random.default_rng(seed).normal(0, 30, (12, 16, 3))
    return np.clip(np.array(color) + noise, 0, 255).astype(np.uint8)


def saved(
    array: NDArray[np.uint8], form: str = "PNG", size: tuple[int, int] = (160, 120), **how: int
) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).resize(size).save(file, form, **how)
    return file.getvalue()


def apart(*pictures: bytes) -> NDArray[np.float64]:
    rows = picture_features(pictures).astype(np.float64)
    found: NDArray[np.float64] = np.linalg.norm(rows[1:] - rows[0], axis=1)
    return found


def test_a_row_has_a_number_for_each_of_its_views() -> None:
    rows = picture_features(saved(pixels(seed)) for seed in range(3))
    assert rows.shape == (3, sum(VIEWS))
    assert rows.dtype == np.float32
    assert np.isfinite(rows).all()


def test_a_row_depends_on_its_own_picture_alone() -> None:
    one, other = saved(pixels(1)), saved(pixels(2))
    assert np.array_equal(picture_features([one, other])[1], picture_features([other])[0])


def test_no_pictures_have_no_rows() -> None:
    assert len(picture_features([])) == 0


def test_a_picture_stays_close_to_itself_whatever_file_it_is_in() -> None:
    here = pixels(1)
    smaller, jpeg, another = apart(
        saved(here), saved(here, size=(320, 240)), saved(here, "JPEG", quality=90), saved(pixels(2))
    )
    assert max(smaller, jpeg) < another / 2


def test_pictures_of_one_color_are_closer_than_those_of_another() -> None:
    alike, other = apart(saved(pixels(1)), saved(pixels(2)), saved(pixels(3, (200, 60, 60))))
    assert alike < other


def test_a_picture_counts_the_way_people_see_it() -> None:
    turned = Image.fromarray(np.rot90(pixels(1), axes=(1, 0))).resize((120, 160))
    exif = Image.Exif()
    exif[0x0112] = 8  # its left side is the top: https://www.cipa.jp/std/documents/e/DC-008-2012_E.pdf
    file = io.BytesIO()
    turned.save(file, "PNG", exif=exif)
    upright, as_stored = apart(saved(pixels(1)), file.getvalue(), saved(np.rot90(pixels(1), axes=(1, 0))))
    assert upright < as_stored / 2


@pytest.mark.parametrize("flat", [0, 255])
def test_a_picture_without_anything_in_it_has_numbers_too(flat: int) -> None:
    assert np.isfinite(picture_features([saved(np.full((12, 16, 3), flat, np.uint8))])).all()


def test_half_a_picture_is_refused() -> None:
    with pytest.raises(UnreadablePictureError, match="cannot be decoded"):
        picture_features([saved(pixels(1))[:200]])


def rows_of(seed: int, count: int) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(size=(count, 10)) @ np.diag(np.arange(10, 0, -1))


@given(seed=st.integers(0, 10_000), count=st.integers(2, 30), order=st.randoms())
@settings(max_examples=25)
def test_directions_do_not_depend_on_the_order_of_pictures(seed: int, count: int, order: object) -> None:
    rows = rows_of(seed, count)
    shuffled = np.arange(count)
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    found = Directions.of(rows, (4, 6), 3)
    assert np.allclose(Directions.of(rows[shuffled], (4, 6), 3).apply(rows), found.apply(rows), atol=1e-4)


@given(seed=st.integers(0, 10_000), count=st.integers(12, 30))
@settings(max_examples=25)
def test_all_directions_together_keep_all_distances(seed: int, count: int) -> None:
    rows = rows_of(seed, count)
    found = Directions.of(rows, (4, 6), 10)
    fewer = found.apply(rows)
    assert found.views == (4, 6)
    before = np.linalg.norm(rows[:, None] - rows, axis=2)
    assert np.allclose(np.linalg.norm(fewer[:, None] - fewer, axis=2), before, atol=1e-3)


def test_pictures_that_are_all_the_same_still_have_a_direction() -> None:
    found = Directions.of(np.ones((5, 10)), (4, 6))
    assert found.views == (1, 1)
    assert np.array_equal(found.apply(np.ones((5, 10))), np.zeros((5, 2)))
