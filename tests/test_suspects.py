"""Labels that are likely wrong."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lifecycle_parts import BUCKET, CLASSES, OUTPUT, PHOTOS, USUAL, lines, people_answer
from PIL import Image

from gtlabel.aws import Aws
from gtlabel.datasets.places import Place
from gtlabel.datasets.suspects import suspicious_labels
from gtlabel.errors import DatasetError
from gtlabel.labeling.groups import wait_for_labeling
from gtlabel.labeling.plan import plan_labeling, start_labeling
from gtlabel.labeling.preflight import let_browsers_in
from gtlabel.learning.classifier import cross_fitted
from gtlabel.learning.suspects import find_suspects


def test_the_label_that_another_class_beats_by_most_comes_first() -> None:
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.45, 0.55], [0.05, 0.95], [0.8, 0.2]])
    labels = np.array([0, 0, 0, 1, 1])
    found = find_suspects(probabilities, labels)
    assert found.ranked.tolist() == [1, 4, 2, 0, 3]
    assert found.doubt[1] == pytest.approx(np.log(4))
    assert found.better.tolist() == [1, 1, 1, 0, 0]
    # Class 0 has 0.52 where it is the label, class 1 has 0.58: only 1 and 4 exceed the other's.
    assert found.wrong == 2


def test_a_class_of_which_a_classifier_is_seldom_sure_needs_less_to_be_counted() -> None:
    shy = np.array([[0.6, 0.4]] * 4 + [[0.99, 0.01]] * 4 + [[0.55, 0.45]])
    labels = np.array([1] * 4 + [0] * 5)
    # Everything is likelier to be of class 0, and yet 0.45 is more than class 1 has where it is the label.
    assert find_suspects(shy, labels).wrong == 1


def test_a_class_without_labels_is_no_reason_to_count_a_label_as_wrong() -> None:
    probabilities = np.array([[0.2, 0.1, 0.7], [0.1, 0.2, 0.7]])
    found = find_suspects(probabilities, np.array([0, 1]))
    assert (found.wrong, found.better.tolist()) == (0, [2, 2])


@given(st.integers(0, 2**32 - 1), st.integers(2, 5))
def test_the_names_of_classes_and_the_order_of_objects_do_not_matter(seed: int, classes: int) -> None:
    random = np.random.default_rng(seed)
    probabilities = random.dirichlet(np.ones(classes), size=20)
    labels = random.integers(classes, size=20)
    found = find_suspects(probabilities, labels)
    order, named = random.permutation(20), random.permutation(classes)
    other = np.empty_like(probabilities)
    other[:, named] = probabilities[order]
    again = find_suspects(other, named[labels[order]])
    assert order[again.ranked].tolist() == found.ranked.tolist()
    assert again.wrong == found.wrong
    assert again.better.tolist() == named[found.better[order]].tolist()


def test_labels_that_were_changed_are_found_among_the_suspects_and_counted() -> None:
    random = np.random.default_rng(0)
    truth = np.arange(300) % 3
    features = random.normal(size=(300, 8)) + 4 * np.eye(8)[truth]
    changed = random.choice(300, size=24, replace=False)
    labels = truth.copy()
    labels[changed] = (labels[changed] + 1) % 3
    found = find_suspects(cross_fitted(features, labels, 3), labels)
    assert 18 <= found.wrong <= 34
    suspects = found.ranked[:24]
    assert np.isin(suspects, changed).mean() >= 0.9
    assert (found.better[suspects] == truth[suspects]).mean() >= 0.9


def picture(kind: int, number: int) -> bytes:
    """A picture that shows what it is: one of three colors, with specks of its own."""
    random = np.random.default_rng(number)
    pixels = random.integers(0, 60, size=(24, 32, 3), dtype=np.uint8)
    pixels[..., kind] += np.uint8(150)
    body = io.BytesIO()
    Image.fromarray(pixels).save(body, "PNG")
    return body.getvalue()


def folders(root: Path, count: int) -> list[str]:
    """Class folders of so many pictures, two of which lie in a wrong one; return those two."""
    misplaced = {4: 0, 8: 1}
    found = []
    for number in range(count):
        folder = root / CLASSES[misplaced.get(number, number % 3)]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.png").write_bytes(picture(number % 3, number))
        if number in misplaced:
            found.append(str(folder / f"{number}.png"))
    return found


def no_account() -> object:
    raise AssertionError("nothing here is in S3")


def test_pictures_in_a_wrong_folder_are_found_without_an_account(tmp_path: Path) -> None:
    wrong = folders(tmp_path, 24)
    (tmp_path / CLASSES[0] / "torn.png").write_bytes(picture(0, 99)[:200])
    found = suspicious_labels(Place(tmp_path, no_account))  # type: ignore[arg-type]
    assert sorted(each.image for each in found.suspects) == wrong
    assert {(each.label, each.better) for each in found.suspects} == {
        (CLASSES[0], CLASSES[1]),
        (CLASSES[1], CLASSES[2]),
    }
    assert all(each.times > 1 and each.expected for each in found.suspects)
    assert (len(found.ranked), found.unreadable) == (24, (str(tmp_path / CLASSES[0] / "torn.png"),))


def test_a_picture_that_is_gone_is_left_out(gtlabel_aws: Aws) -> None:
    gtlabel_aws.s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    labeled = []
    for number in range(13):
        uri = f"s3://{BUCKET}/photos/{number}.png"
        if number != 7:
            gtlabel_aws.s3.put_object(
                Bucket=BUCKET, Key=f"photos/{number}.png", Body=picture(number % 2, number)
            )
        name = CLASSES[number % 2]
        labeled.append(
            json.dumps({"source-ref": uri, "bin": number % 2, "bin-metadata": {"class-name": name}})
        )
    gtlabel_aws.s3.put_object(Bucket=BUCKET, Key="known.manifest", Body="\n".join(labeled).encode())
    found = suspicious_labels(Place.of(f"s3://{BUCKET}/known.manifest", lambda: gtlabel_aws.s3))
    assert (len(found.ranked), found.unreadable) == (12, (f"s3://{BUCKET}/photos/7.png",))


def test_of_pictures_that_tell_little_it_is_said_that_most_suspects_are_right(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for number in range(20):
        folder = tmp_path / CLASSES[number % 2]
        folder.mkdir(exist_ok=True)
        pixels = random.integers(0, 255, size=(24, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    command = [sys.executable, "-m", "gtlabel", "quality", "suspects", str(tmp_path), "--relabel", "bins"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    found = re.search(r"but they tell only (\d+)% of all labels: there are too few of them", run.stderr)
    assert found is not None, run.stderr
    assert int(found[1]) < 75
    # What would cost answers does not start by itself.
    assert run.returncode == 1
    assert run.stderr.splitlines()[-1].endswith("say with --limit how many to ask about")


def test_too_few_pictures_are_not_judged(tmp_path: Path) -> None:
    folders(tmp_path, 9)
    with pytest.raises(DatasetError, match=r"has 9 pictures in 3 classes, .* takes 10 pictures"):
        suspicious_labels(Place(tmp_path, no_account))  # type: ignore[arg-type]


def test_one_command_sends_suspects_to_be_labeled_again(gtlabel_aws: Aws, tmp_path: Path) -> None:
    gtlabel_aws.s3.create_bucket(Bucket=BUCKET)
    let_browsers_in(gtlabel_aws.s3, BUCKET)
    said = {}
    for number in range(18):
        image = PHOTOS / f"{number:02}.png"
        gtlabel_aws.s3.put_object(Bucket=BUCKET, Key=image.key, Body=picture(number % 3, number))
        said[str(image)] = CLASSES[0 if number == 4 else number % 3]
    start_labeling(gtlabel_aws, plan_labeling(gtlabel_aws, PHOTOS, **USUAL, name="bins", workers_per_image=1))
    people_answer("bins", said, workers=1)
    wait_for_labeling(gtlabel_aws.sagemaker, gtlabel_aws.s3, "bins", poll=0.02, timeout=120)

    ranked = tmp_path / "new/ranked.jsonl"
    command = [sys.executable, "-m", "gtlabel", "quality", "suspects"]
    command += [str(OUTPUT / "bins/manifests/output/output.manifest"), "--out", str(ranked)]
    run = subprocess.run(
        [*command, "--relabel", "bins", "--workers", "3"], capture_output=True, text=True, timeout=120
    )
    assert (run.returncode, run.stdout) == (0, "bins-suspects\n"), run.stderr
    assert "1 of 18 labels seem to be wrong" in run.stderr
    doubted = [json.loads(line) for line in ranked.read_text().splitlines()]
    assert len(doubted) == 18
    assert doubted[0]["source-ref"] == str(PHOTOS / "04.png")
    assert (doubted[0]["suspect"]["label"], doubted[0]["suspect"]["better"]) == (CLASSES[0], CLASSES[1])
    asked = lines(gtlabel_aws, OUTPUT / "bins-suspects/input/input.manifest")
    assert [line["source-ref"] for line in asked] == [str(PHOTOS / "04.png")]
    sent = gtlabel_aws.sagemaker.describe_labeling_job(LabelingJobName="bins-suspects")
    assert sent["HumanTaskConfig"]["NumberOfHumanWorkersPerDataObject"] == 3
