"""What a program may be tried on, and what is told of data that cannot be trained on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from moto import mock_aws
from training_parts import clients

from gtlabel.emulator.pictures import Bucket, Copies, Folder
from gtlabel.emulator.trialdata import TrialChannel, TrialData, Wishes, open_data
from gtlabel.emulator.trialfiles import lay_out
from gtlabel.errors import GtlabelError, ManifestLineError


def _nobody() -> Any:
    raise AssertionError("no S3 is needed for files of this machine")


@pytest.mark.parametrize(
    ("name", "content", "wishes", "sentence"),
    [
        (
            "nowhere",
            None,
            Wishes(),
            "there is no .*nowhere; give s3://BUCKET/DATASET/, a folder or a manifest",
        ),
        ("empty", {}, Wishes(), "empty is no dataset: it has neither dataset.json, nor train.manifest, nor"),
        ("flat", {"1.jpg": ""}, Wishes(), "flat is no dataset"),
        ("few", {"Glass/1.jpg": ""}, Wishes(), "1 groups of pictures are too few for the channels"),
        ("torn", {"dataset.json": "{}"}, Wishes(), "dataset.json is of no finished dataset"),
        ("bare", {"train.manifest": ""}, Wishes(), "train.manifest has no line"),
        ("odd", {"train.manifest": "[1]"}, Wishes(), "train.manifest, line 1: it is not a record"),
        (
            "many",
            {"train.manifest": '{"source-ref": "a", "x": 1, "x-metadata": {}, "y": 1, "y-metadata": {}}'},
            Wishes(),
            "line 1: which attribute is the label.*--attribute; those it has: source-ref, x,",
        ),
        (
            "lacks",
            {"train.manifest": '{"source-ref": "a", "label": 1}\n\n{"source-ref": "b"}'},
            Wishes(),
            "line 3: it has no attribute 'label'; those it has: source-ref",
        ),
        (
            "other",
            {"train.manifest": '{"source-ref": "a", "label": 1}'},
            Wishes(attribute="bin"),
            "line 1: it has no attribute 'bin'",
        ),
        (
            "share",
            {"A/1.jpg": "", "A/2.jpg": ""},
            Wishes(validation=1.5),
            "between 0 and 1, and 1.5 does not",
        ),
    ],
)
def test_data_that_cannot_be_trained_on_is_told_before_the_program_starts(
    tmp_path: Path, name: str, content: dict[str, str] | None, wishes: Wishes, sentence: str
) -> None:
    for file, text in (content or {}).items():
        (tmp_path / name / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name / file).write_text(text)
    if content == {}:
        (tmp_path / name).mkdir()
    with pytest.raises(GtlabelError, match=sentence):
        open_data(str(tmp_path / name), wishes, tmp_path, _nobody)


@pytest.mark.parametrize(
    ("files", "wishes", "sentence"),
    [
        (
            (),
            Wishes(attribute="bin"),
            "one label attribute, so --attribute has no effect on s3://",
        ),
        ((), Wishes(validation=0.0), "a dataset is divided already, so --validation has no effect on s3://"),
        ((), Wishes(pictures=Path()), "names its images itself, so --pictures has no effect on s3://"),
        (
            ["dataset.json"],
            Wishes(attribute="bin"),
            "so --attribute has no effect on .*/it",
        ),
        (["dataset.json"], Wishes(validation=0.5), "divided already, so --validation has no effect on .*/it"),
        (["A/1.jpg"], Wishes(attribute="bin"), "their names, so --attribute has no effect on .*/it"),
        (
            ["A/1.jpg"],
            Wishes(pictures=Path()),
            "so --pictures has no effect on .*/it; leave it out",
        ),
        (
            ["train/A/1.jpg", "val/A/2.jpg"],
            Wishes(validation=0.3),
            "already, so --validation has no",
        ),
        # Not to be taken for a share that was left out.
        (
            ["train.manifest", "validation.manifest"],
            Wishes(validation=0.0),
            "between 0 and 1, and 0.0",
        ),
    ],
)
def test_an_option_that_has_no_effect_is_refused(
    tmp_path: Path, files: list[str], wishes: Wishes, sentence: str
) -> None:
    for file in files:
        (tmp_path / "it" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "it" / file).write_text('{"source-ref": "a", "label": 1}')
    with pytest.raises(GtlabelError, match=sentence):
        open_data(str(tmp_path / "it") if files else "s3://trash/dataset/", wishes, tmp_path, _nobody)


def test_names_of_classes_become_numbers_and_a_manifest_of_one_channel_is_divided(tmp_path: Path) -> None:
    lines = [f'{{"source-ref": "{number}.jpg", "class": "{"BA"[number % 2]}"}}' for number in range(40)]
    (tmp_path / "all.jsonl").write_text("\n".join(lines))
    data = open_data(str(tmp_path / "all.jsonl"), Wishes(validation=0.25), tmp_path, _nobody)
    train, validation = data.channels
    assert data.classes == ("A", "B")
    assert train.images + validation.images == 40
    assert 2 <= validation.images <= 20
    made = Path(train.manifest).read_text() + Path(validation.manifest).read_text()
    assert made.count('"label": 0') == made.count('"label": 1') == 20
    assert '{"source-ref": "7.jpg", "label": 0}' in made
    again = open_data(str(tmp_path / "all.jsonl"), Wishes(validation=0.25), tmp_path, _nobody)
    assert again.channels == data.channels


def test_another_folder_may_be_the_validation_channel(tmp_path: Path) -> None:
    for name in ("a/Glass/1.jpg", "a/Paper/2.jpg", "b/Paper/3.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    data = open_data(str(tmp_path / "a"), Wishes(validation=tmp_path / "b"), tmp_path, _nobody)
    assert [(channel.name, channel.images) for channel in data.channels] == [("train", 2), ("validation", 1)]
    assert '"label": 1' in Path(data.channels[1].manifest).read_text()


def test_labels_of_several_classes_count_and_have_names(tmp_path: Path) -> None:
    said = '{"class-map": {"%d": "Glass", "4": "Metal"}, "confidence-map": {}}'
    lines = [
        f'{{"source-ref": "{number}.jpg", "bin": [{number % 3}, 4], "bin-metadata": {said % (number % 3)}}}'
        for number in range(30)
    ]
    (tmp_path / "all.manifest").write_text("\n".join(lines))
    data = open_data(str(tmp_path / "all.manifest"), Wishes(), tmp_path, _nobody)
    assert [channel.name for channel in data.channels] == ["train", "validation"]
    assert sum(channel.images for channel in data.channels) == 30
    assert data.classes == ("Glass", "Glass", "Glass", "3", "Metal")
    made = Path(data.channels[0].manifest).read_text() + Path(data.channels[1].manifest).read_text()
    assert made.count('"label": [2, 4]') == 10


@pytest.mark.parametrize(
    ("label", "classes"), [('"%d"', ("0", "1", "2")), ('"[%d, 3]"', ("0", "1", "2", "3"))]
)
def test_numbers_that_are_spelled_as_texts_are_numbers(
    tmp_path: Path, label: str, classes: tuple[str, ...]
) -> None:
    lines = [f'{{"source-ref": "{number}.jpg", "label": {label % (number % 3)}}}' for number in range(30)]
    (tmp_path / "all.manifest").write_text("\n".join(lines))
    for wishes in (Wishes(), Wishes(validation=tmp_path / "all.manifest")):
        assert open_data(str(tmp_path / "all.manifest"), wishes, tmp_path, _nobody).classes == classes


LEADS_OUT = r", line 4: .*/out.jpg leads out of the folder of the pictures"


def _one_channel(manifest: str, pictures: Callable[[], Bucket | Folder]) -> TrialData:
    return TrialData(
        (TrialChannel("train", manifest, ("source-ref", "label"), 2),), ("A",), lambda _: pictures()
    )


def test_what_comes_from_s3_is_put_nowhere_but_below_its_channel(tmp_path: Path) -> None:
    mine = tmp_path / "out.jpg"
    mine.write_text("mine")
    channels = tmp_path / "channels"
    channels.mkdir()
    # As many steps up as there could be, and then down to a file of the user's.
    key = f"data/{'../' * 40}{str(mine)[1:]}"
    with mock_aws():
        s3 = clients().s3
        s3.create_bucket(Bucket="trash")
        lines = "".join(
            f'{{"source-ref": "s3://trash/{name}", "label": 0}}\n\n\n' for name in ("data/a.jpg", key)
        )
        for name, body in (("data/a.jpg", "a"), (key, "theirs"), ("lines", lines)):
            s3.put_object(Bucket="trash", Key=name, Body=body.encode())
        with pytest.raises(ManifestLineError, match=LEADS_OUT):
            lay_out(_one_channel("s3://trash/lines", lambda: Bucket(s3, "train")), channels)
    assert mine.read_text() == "mine"


def test_what_is_on_this_machine_is_linked_nowhere_but_below_its_channel(tmp_path: Path) -> None:
    for name in ("photos/a.jpg", "out.jpg"):
        (tmp_path / "given" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "given" / name).write_text("")
    (tmp_path / "job" / "channels").mkdir(parents=True)
    manifest = tmp_path / "lines"
    line = '{"source-ref": "%s", "label": 0}\n\n\n'
    given = Folder(tmp_path / "given", Copies(tmp_path / "given"))
    manifest.write_text(line % "photos/a.jpg" + line % "photos/../../given/out.jpg")
    with pytest.raises(ManifestLineError, match=LEADS_OUT):
        lay_out(_one_channel(str(manifest), lambda: given), tmp_path / "job" / "channels")
    # A folder that were linked would be filled with what the next line names below it.
    manifest.write_text(line % "photos" + line % "photos/b.jpg")
    with pytest.raises(ManifestLineError, match=", line 1: there is no file .*/given/photos$"):
        lay_out(_one_channel(str(manifest), lambda: given), tmp_path / "job")
    assert [path.name for path in (tmp_path / "given" / "photos").iterdir()] == ["a.jpg"]
