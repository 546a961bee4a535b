"""A look at a dataset: what is counted is there, and what is suspicious comes first."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from looking_parts import BINS, HOME, Row, make_dataset, original, photos
from PIL import Image, ImageEnhance

from gtlabel.datasets.statistics import Confidences, shapes
from gtlabel.datasets.survey import survey
from gtlabel.errors import DatasetError, ManifestLineError, ObjectNotFoundError
from gtlabel.uris import S3Uri


def saved_again(data: bytes, brightness: float = 1.0, size: tuple[int, int] | None = None) -> bytes:
    body = io.BytesIO()
    with Image.open(io.BytesIO(data)) as image:
        changed = ImageEnhance.Brightness(image).enhance(brightness)
        (changed.resize(size) if size else changed).save(body, "JPEG", quality=80)
    return body.getvalue()


def test_what_is_planted_is_found_and_nothing_else(tmp_path: Path) -> None:
    pictures = photos(40, side=192)
    rows = [
        Row(f"{n:02d}.jpg", BINS[n % 3], "validation" if n % 5 == 0 else "train", data=pictures[n])
        for n in range(30)
    ]
    rows += [
        Row("disputed.jpg", "Compost", dropped=("Landfill", "Recycle"), data=pictures[30]),
        Row("doubtful.jpg", "Landfill", confidence=0.51, data=pictures[31]),
        Row("one.jpg", "Landfill", confidence=0.0, data=pictures[32]),
        Row("twin.jpg", "Recycle", data=saved_again(pictures[3])),
        Row("leaked.jpg", "Recycle", data=saved_again(pictures[5], 1.1)),
        Row("cut.jpg", "Recycle", data=pictures[33][:900]),
        Row("gone.jpg", "Recycle", data=b""),
        Row("tiny.jpg", "Recycle", data=saved_again(pictures[34], size=(8, 6))),
    ]
    found = survey(make_dataset(tmp_path, rows), pictures=True)
    kinds = {image.original.name: {reason.kind for reason in image.reasons} for image in found.suspicious}
    assert kinds == {
        "disputed.jpg": {"disputed"},
        "doubtful.jpg": {"unsure"},
        "twin.jpg": {"twin"},
        "03.jpg": {"twin"},
        "leaked.jpg": {"leak"},
        "05.jpg": {"leak"},
        "cut.jpg": {"unreadable"},
        "gone.jpg": {"unreadable"},
        "tiny.jpg": {"odd"},
    }
    order = [image.original.name for image in found.suspicious]
    assert order[:3] == ["03.jpg", "twin.jpg", "disputed.jpg"]
    assert order[-1] == "tiny.jpg"
    assert found.pictures is not None
    told = found.pictures.to_json()
    assert (told["looked_at"], told["unreadable"], told["formats"]) == (38, 2, {"JPEG": 36})
    assert (told["duplicates"], told["twins_of_another_class"], told["leaks"]) == (2, 2, 1)
    assert sum(each["images"] for each in told["sides"]) == 36


def test_the_lines_are_counted(tmp_path: Path) -> None:
    rows = [
        Row("1.jpg", "Compost", confidence=0.95),
        Row("2.jpg", "Compost", "validation", confidence=0.6, dropped=("Landfill",)),
        Row("3.jpg", "Landfill", confidence=0.0, human=False, job="machine"),
        Row("4.jpg", "Landfill", confidence=None),
    ]
    told = survey(make_dataset(tmp_path, rows)).labels.to_json()
    assert told["images"] == 4
    assert told["channels"] == {"train": 3, "validation": 1}
    assert [(each["name"], each["images"], each["median_confidence"]) for each in told["classes"]] == [
        ("Compost", 2, 0.6),
        ("Landfill", 2, None),
        ("Recycle", 0, None),
    ]
    assert (told["human"], told["machine"], told["jobs"]) == (3, 1, {"bins": 3, "machine": 1})
    assert (told["confidence"]["one_answer"], told["confidence"]["unknown"]) == (1, 1)
    assert told["disputed"] == [{"kept": "Compost", "dropped": "Landfill", "images": 1}]
    assert (told["labeled_by_several_jobs"], told["agreement"]) == (1, 0.0)


def test_the_lineage_of_a_line_tells_who_disagreed(tmp_path: Path) -> None:
    place = make_dataset(tmp_path, [Row("1.jpg", "Compost"), Row("2.jpg", "Compost")])
    manifest = tmp_path / "train.manifest"
    first, second = (json.loads(line) for line in manifest.read_text().splitlines())
    first["gtlabel-lineage"] = {
        "policy": "newest",
        "kept": {"class-name": "Compost"},
        "dropped": [{"class-name": "Recycle", "job-name": "labeling-job/old"}],
    }
    second["gtlabel-lineage"] = {
        "policy": "newest",
        "kept": {"class-name": "Compost"},
        "agreed": [{"class-name": "Compost"}],
    }
    manifest.write_text(json.dumps(first) + "\n" + json.dumps(second) + "\n")
    found = survey(place)
    assert [image.others for image in found.images] == [("Recycle",), ()]
    assert (found.labels.repeated_images, found.labels.agreement) == (2, 0.5)


def test_of_many_images_the_most_suspicious_are_kept_and_the_same_others_every_time(tmp_path: Path) -> None:
    rows = [Row(f"{n}.jpg", BINS[n % 3], confidence=0.95, data=b"") for n in range(200)]
    rows[150] = Row("150.jpg", "Compost", confidence=0.4, data=b"")
    rows[180] = Row("180.jpg", "Compost", dropped=("Landfill",), data=b"")
    place = make_dataset(tmp_path, rows)
    first, again = survey(place, limit=10), survey(place, limit=10)
    assert [image.original for image in first.images] == [image.original for image in again.images]
    assert [image.original.name for image in first.suspicious] == ["180.jpg", "150.jpg"]
    assert (len(first.images), first.labels.images) == (10, 200)


def test_a_folder_is_left_by_no_name(tmp_path: Path) -> None:
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    place = make_dataset(tmp_path / "dataset", [Row("1.jpg", "Compost")])
    with pytest.raises(ObjectNotFoundError):
        place.image(S3Uri(f"{HOME}../secret.jpg"), HOME)
    assert place.image(S3Uri(f"{HOME}classes/0/1.jpg"), HOME).startswith(b"\xff\xd8")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [(None, r"there is no dataset at .*: it has no dataset\.json"), ("{}", r"cannot be used: 'uri'")],
)
def test_what_is_no_dataset_is_refused_in_a_sentence(tmp_path: Path, text: str | None, sentence: str) -> None:
    place = make_dataset(tmp_path, [Row("1.jpg", "Compost")])
    (tmp_path / "dataset.json").unlink()
    if text is not None:
        (tmp_path / "dataset.json").write_text(text)
    with pytest.raises(DatasetError, match=sentence):
        survey(place)


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    place = make_dataset(tmp_path, [Row("1.jpg", "Compost")])
    with (tmp_path / "train.manifest").open("a") as file:
        file.write('{"source-ref":\n')
    with pytest.raises(ManifestLineError, match=r"train\.manifest, line 2: not JSON"):
        survey(place)


@given(st.lists(st.integers(1, 100), min_size=1), st.floats(0, 1))
def test_a_quantile_is_what_its_definition_says(hundredths: list[int], share: float) -> None:
    confidences = Confidences()
    for value in hundredths:
        confidences.add(value / 100)
    found = confidences.quantile(share)
    assert found in {value / 100 for value in hundredths}
    assert sum(value / 100 <= found for value in hundredths) >= share * len(hundredths) - 1e-9
    assert confidences.histogram.total == len(hundredths)


@pytest.mark.parametrize(
    ("width", "height", "name"),
    [(400, 300, "4:3"), (300, 400, "3:4"), (1920, 1080, "16:9"), (500, 500, "1:1"), (90, 10, "wider")],
)
def test_a_shape_is_called_what_cameras_call_it(width: int, height: int, name: str) -> None:
    histogram = shapes()
    histogram.add(width / height)
    assert histogram.bars == [(name, 1)]


def test_the_address_people_looked_at_is_the_one_told(tmp_path: Path) -> None:
    (image,) = survey(make_dataset(tmp_path, [Row("1.jpg", "Compost")])).images
    assert image.original == original("1.jpg")
