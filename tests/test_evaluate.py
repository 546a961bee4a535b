"""`gtlabel evaluate`: a network judged by pictures whose class is known, wherever they are listed."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from browser import DESKTOP, PHONE, flaws
from judging_parts import CLASSES, COLORS, class_folders, color_network, gtlabel, here, nobody, picture
from looking_parts import Row, make_dataset
from playwright.sync_api import Browser, ViewportSize
from test_report import Page

from gtlabel import journey
from gtlabel.aws import Aws
from gtlabel.datasets.places import Place
from gtlabel.datasets.truth import Truth, open_truth
from gtlabel.errors import DatasetError, EvaluationError, ManifestError
from gtlabel.manifests.split import Channel
from gtlabel.networks.evaluation import Evaluation, ScoredImage, Scores
from gtlabel.networks.multilabel import ManyScores, MultiLabelEvaluation
from gtlabel.networks.runtime import Network
from gtlabel.pages.evaluation import EvaluationPage, render_evaluation, write_evaluation
from gtlabel.training.evaluate import Judgement, judge
from gtlabel.training.jobs import TrainingJob
from gtlabel.training.model import Model
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

BUCKET = "trash-photos"
# Another order than the network's: only names can be compared.
LISTED = ("Blue", "Red", "Green")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "colors.onnx"
    path.write_bytes(color_network())
    return path


def truth_of(path: Path | str, **options: Any) -> Truth:
    return open_truth(Place.of(str(path), nobody), **options)


def single(judgement: Judgement) -> Evaluation:
    assert isinstance(judgement.evaluation, Evaluation)
    return judgement.evaluation


def several(judgement: Judgement) -> MultiLabelEvaluation:
    assert isinstance(judgement.evaluation, MultiLabelEvaluation)
    return judgement.evaluation


def line(name: str, class_name: str, **changes: Any) -> dict[str, Any]:
    """A line of a job whose class list has another order."""
    return {
        "source-ref": f"s3://{BUCKET}/{name}",
        "bin": LISTED.index(class_name),
        "bin-metadata": {"class-name": class_name, "job-name": "labeling-job/bins", "confidence": 0.9},
        **changes,
    }


def put(s3: S3Client, lines: list[dict[str, Any]], key: str = "labels/output.manifest") -> str:
    body = "".join(json.dumps(each) + "\n" for each in lines)
    s3.put_object(Bucket=BUCKET, Key=key, Body=body.encode())
    return f"s3://{BUCKET}/{key}"


@pytest.fixture
def stored(s3: S3Client) -> S3Client:
    """A picture of each color in S3, and one that looks red and is said to be blue."""
    for name, color in COLORS.items():
        s3.put_object(Bucket=BUCKET, Key=f"{name}.png", Body=picture(color))
    s3.put_object(Bucket=BUCKET, Key="wrong.png", Body=picture("red"))
    return s3


# --- where the truth is


def test_classes_of_a_manifest_are_compared_by_name_whatever_their_numbers(stored: S3Client) -> None:
    lines = [line(f"{name}.png", name) for name in CLASSES] + [line("wrong.png", "Blue")]
    unlabeled = {"source-ref": f"s3://{BUCKET}/Red.png"}
    manifest = put(stored, [unlabeled, *lines, unlabeled])
    truth = open_truth(Place.of(manifest, lambda: stored))
    found = single(judge(Network(color_network()), CLASSES, truth.images))
    assert found.confusion == [[1, 0, 0], [0, 1, 0], [1, 0, 1]]
    assert [image.name for image in found.mistakes] == [f"s3://{BUCKET}/wrong.png"]
    assert truth.unlabeled == 2


def test_numbers_without_names_mean_the_class_list_beside_the_manifest(stored: S3Client) -> None:
    manifest = put(stored, [{"source-ref": f"s3://{BUCKET}/Green.png", "label": 2}])
    network = Network(color_network())
    with pytest.raises(ManifestError, match="'label' is 2 without a class name, and no classes.json lies"):
        judge(network, CLASSES, open_truth(Place.of(manifest, lambda: stored)).images)
    stored.put_object(Bucket=BUCKET, Key="labels/classes.json", Body=json.dumps(LISTED).encode())
    found = judge(network, CLASSES, open_truth(Place.of(manifest, lambda: stored)).images)
    assert single(found).accuracy == 1
    put(stored, [{"source-ref": f"s3://{BUCKET}/Green.png", "label": 3}])
    with pytest.raises(ManifestError, match="'label' is 3 without a class name, and there are 3 classes"):
        judge(network, CLASSES, open_truth(Place.of(manifest, lambda: stored)).images)


def test_of_two_jobs_in_one_manifest_the_attribute_says_which(stored: S3Client) -> None:
    other = line("Red.png", "Red")
    both = {**line("Red.png", "Blue"), "color": other["bin"], "color-metadata": other["bin-metadata"]}
    manifest = Place.of(put(stored, [both]), lambda: stored)
    network = Network(color_network())
    with pytest.raises(DatasetError, match="has the labels of bin, color; pick one with --attribute"):
        judge(network, CLASSES, open_truth(manifest).images)
    for attribute, accuracy in (("bin", 0), ("color", 1)):
        truth = open_truth(manifest, attribute=attribute)
        assert single(judge(network, CLASSES, truth.images)).accuracy == accuracy
    with pytest.raises(EvaluationError, match="no line has a label"):
        judge(network, CLASSES, open_truth(manifest, attribute="other").images)


def test_a_dataset_in_a_folder_has_channels(model: Path, tmp_path: Path) -> None:
    rows = [Row(f"{name}.png", name, "validation", data=picture(color)) for name, color in COLORS.items()]
    rows.append(Row("wrong.png", "Blue", "train", data=picture("red")))
    make_dataset(tmp_path / "bins", rows, LISTED)
    network = Network(model)
    for channel, total, right in (("validation", 3, 3), ("train", 1, 0)):
        truth = truth_of(tmp_path / "bins", channel=channel)
        assert truth.total == total
        assert single(judge(network, CLASSES, truth.images, far=truth.far)).correct == right
    with pytest.raises(DatasetError, match="has no test channel; it has train, validation"):
        truth_of(tmp_path / "bins", channel="test")


def test_folders_are_classes_on_disk_and_in_s3(model: Path, tmp_path: Path, s3: S3Client) -> None:
    class_folders(tmp_path / "held out")
    for path in (tmp_path / "held out").rglob("*"):
        if path.is_file():
            key = path.relative_to(tmp_path).as_posix()
            s3.put_object(Bucket=BUCKET, Key=key, Body=path.read_bytes())
    for place in (str(tmp_path / "held out"), f"s3://{BUCKET}/held out", f"s3://{BUCKET}/held out/"):
        truth = open_truth(Place.of(place, lambda: s3), names=CLASSES)
        found = judge(Network(model), CLASSES, truth.images)
        assert (single(found).correct, len(single(found).images), found.broken_images) == (12, 12, 1)
    (tmp_path / "empty" / "Red").mkdir(parents=True)
    with pytest.raises(DatasetError, match="is no dataset, and holds no folders of classes with pictures"):
        truth_of(tmp_path / "empty")


def test_a_network_of_no_known_job_wants_its_pictures_named(stored: S3Client, tmp_path: Path) -> None:
    aws = Aws(region="us-east-1")
    path = tmp_path / "colors.onnx"
    path.write_bytes(color_network())
    with pytest.raises(EvaluationError, match="nothing says what .* was trained on; name pictures"):
        journey.evaluate_model(aws, str(path))
    found = journey.evaluate_model(aws, str(path), put(stored, [line("Red.png", "Red")]))
    assert single(found).accuracy == 1


def test_a_job_is_judged_by_the_channel_that_was_asked_for_and_by_no_other(stored: S3Client) -> None:
    seen = put(stored, [line("Red.png", "Red")], "bins/train.manifest")
    kept = put(stored, [line("wrong.png", "Blue")], "bins/validation.manifest")
    aws = Aws(region="us-east-1")

    def judged(channel: Channel, **channels: str) -> float:
        read = {name: S3Uri(where) for name, where in channels.items()}
        now = datetime(2026, 11, 22, tzinfo=UTC)
        job = TrainingJob("bins", "arn", "Completed", "Completed", "", None, {}, {}, read, now, now)
        model = Model("bins", "s3://here", Network(color_network()), CLASSES, job)
        truth = journey.known_pictures(model, None, lambda: aws, channel=channel)
        return single(judge(model.network, CLASSES, truth.images)).accuracy

    assert judged("validation", train=seen, validation=kept) == 0
    assert judged("train", train=seen) == 1
    asked: tuple[Channel, ...] = ("validation", "test")
    for channel in asked:
        with pytest.raises(
            EvaluationError, match=f"'bins' has no {channel} channel; it has train, model; name pictures"
        ):
            judged(channel, train=seen, model="s3://trash-photos/model.tar.gz")


# --- what is refused


def test_a_class_that_the_network_does_not_know_is_refused(tmp_path: Path) -> None:
    (tmp_path / "red").mkdir()
    (tmp_path / "red" / "1.png").write_bytes(b"never read")
    with pytest.raises(
        EvaluationError,
        match=r"1\.png is of the class 'red', which the network does not know; it knows Red, Green, Blue; "
        r"it calls one 'Red'",
    ):
        judge(Network(color_network()), CLASSES, truth_of(tmp_path).images)


def test_a_broken_picture_is_left_out_and_named_or_an_error(tmp_path: Path) -> None:
    folder, network = class_folders(tmp_path / "held", each=1), Network(color_network())
    found = judge(network, CLASSES, truth_of(folder).images, far=False)
    (broken,) = found.broken
    assert broken.name == str(folder / "Blue" / "cut.png")
    assert "not a readable picture" in broken.problem
    assert found.to_json()["broken_images"] == 1
    with pytest.raises(EvaluationError, match=r"cut\.png cannot be used for evaluation: these 40 bytes"):
        judge(network, CLASSES, truth_of(folder).images, strict=True)
    for path in folder.rglob("[0-9].png"):
        path.write_bytes(b"")
    with pytest.raises(EvaluationError, match="none of 4 pictures can be used; .*: these 0 bytes are not"):
        judge(network, CLASSES, truth_of(folder).images)


# --- several classes


def test_several_classes_are_judged_class_by_class(s3: S3Client) -> None:
    pictures = {"yellow": ["Red", "Green"], "red": ["Red"], "black": [], "white": ["Red", "Green"]}
    lines = []
    for color, names in pictures.items():
        s3.put_object(Bucket=BUCKET, Key=f"{color}.png", Body=picture(color))
        ids = [LISTED.index(name) for name in names]
        metadata = {"class-map": {str(index): LISTED[index] for index in ids}}
        # AWS's manual shows the list as a text, too.
        value = json.dumps(ids) if color == "red" else ids
        lines.append({"source-ref": f"s3://{BUCKET}/{color}.png", "bin": value, "bin-metadata": metadata})
    manifest = Place.of(put(s3, lines), lambda: s3)
    network = Network(color_network(several=True, sharp=0.1))
    found = several(judge(network, CLASSES, open_truth(manifest).images))
    assert found.exact_match == 0.75
    assert [(each.images, each.said, each.right) for each in found.per_class] == [
        (3, 3, 3),
        (2, 2, 2),
        (0, 1, 0),
    ]
    assert found.average_precisions == [1, 1, None]
    assert found.micro_f1 == pytest.approx(10 / 11)
    (mistake,) = found.mistakes
    assert (mistake.name, mistake.truth) == (f"s3://{BUCKET}/white.png", ("Red", "Green"))
    strictest = several(judge(network, CLASSES, open_truth(manifest).images, threshold=1.0))
    assert {each.said for each in strictest.per_class} == {0}
    with pytest.raises(
        EvaluationError, match="labeled with Red, Green, and the network gives every picture one"
    ):
        judge(Network(color_network()), CLASSES, open_truth(manifest).images)


# --- the command


def test_the_command_prints_tables_and_leaves_a_page_and_every_answer(model: Path, tmp_path: Path) -> None:
    folder = class_folders(tmp_path / "held")
    (folder / "Red" / "9.png").write_bytes(picture("blue"))
    report, predictions = tmp_path / "new" / "page.html", tmp_path / "answers.jsonl"
    run = gtlabel("evaluate", model, folder, "--report", report, "--predictions", predictions)
    assert run.returncode == 0, run.stderr
    assert "accuracy     92.3% (66.7% to 98.6%)\n" in run.stdout
    assert re.search(r"^baseline     38\.5% for always saying Red$", run.stdout, re.MULTILINE)
    assert re.search(r"^Red +4 +0 +1 *$", run.stdout, re.MULTILINE)
    assert "expected error" in run.stdout
    # All that are sure are as sure: they cannot be taken apart.
    assert "in 1 bin of equal mass" in run.stdout
    assert f"left out: {folder}/Blue/cut.png: these 40 bytes are not a readable picture" in run.stderr
    page = Page(report.read_text())
    assert (page.numbers["correct"], page.numbers["total"], page.numbers["model"]) == (12, 13, str(model))
    assert [image["alt"] for image in page.all("img")] == [
        f"Held-out image {folder}/Red/9.png: Red, taken for Blue"
    ]
    lines = [json.loads(text) for text in predictions.read_text().splitlines()]
    assert len(lines) == 13
    assert lines[0]["truth"] == ["Blue"]
    assert lines[0]["probabilities"]["Blue"] > 0.99
    assert sorted(path.name for path in tmp_path.iterdir()) == ["answers.jsonl", "held", "new"]


def test_the_command_prints_json_with_the_surest_mistakes(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = class_folders(tmp_path / "held", each=1)
    _, out, _ = here(capsys, "evaluate", model, folder, "--bins", "3", "--output", "json")
    told = json.loads(out)
    assert told["accuracy"] == 1
    assert told["pictures"] == str(folder)
    assert [each["name"] for each in told["per_class"]] == list(CLASSES)
    assert told["broken_images"] == 1
    assert told["mistakes"] == []
    assert {step["threshold"] for step in told["thresholds"]} >= {0.0, 0.5, 0.9}
    code, out, err = here(
        capsys, "evaluate", model, folder, "--strict", "--predictions", tmp_path / "all.jsonl"
    )
    assert (code, out) == (1, "")
    assert err.startswith(f"gtlabel: {folder}/Blue/cut.png cannot be used for evaluation")
    assert [path.name for path in tmp_path.iterdir()] == ["held"]


# --- the page


def a_page(classes: tuple[str, ...] = CLASSES, images: int = 240) -> EvaluationPage:
    random = np.random.default_rng(7)
    scores = Scores(classes)
    for number in range(images):
        row = random.dirichlet([0.5] * len(classes))
        scores.add(f"s3://b/held out/{number}.jpg", classes[random.choice(len(classes), p=row)], row.tolist())
    broken = [("s3://b/cut.jpg", "these 3 bytes are not a readable picture")]
    return EvaluationPage(
        "trash-bins", "s3://b/model.tar.gz", "s3://b/v.manifest", Evaluation(classes, scores), broken, 1, 2
    )


def a_page_of_several() -> EvaluationPage:
    random = np.random.default_rng(7)
    scores = ManyScores(CLASSES)
    for number in range(200):
        row = random.random(3)
        scores.add(
            f"{number}.jpg",
            [n for n, p in zip(CLASSES, row, strict=True) if random.random() < p],
            row.tolist(),
        )
    return EvaluationPage("labels", "m.onnx", "held", MultiLabelEvaluation(CLASSES, scores))


def test_the_page_carries_the_numbers_that_it_shows_and_loads_nothing() -> None:
    given = a_page()
    assert isinstance(given.evaluation, Evaluation)
    page = Page(render_evaluation(given, lambda _name: picture("red")))
    assert page.numbers["accuracy"] == given.evaluation.accuracy
    assert len(page.numbers["images"]) == 240
    for share in (
        given.evaluation.accuracy,
        given.evaluation.balanced_accuracy,
        *given.evaluation.top_k.values(),
    ):
        assert f"{100 * share:.1f}%" in page.text
    assert [element.get("type") for element in page.all("script")] == ["application/json"]
    assert len(page.all("svg")) == 2
    assert all(chart["aria-label"] for chart in page.all("svg"))
    assert len(page.all("img")) == 24
    assert all((image["src"] or "").startswith("data:image/webp;base64,") for image in page.all("img"))
    assert page.all("a") == []
    (policy,) = [each["content"] or "" for each in page.all("meta") if "http-equiv" in each]
    assert "script-src" not in policy
    assert policy.startswith("default-src 'none'; img-src data:;")


def test_a_page_of_many_pictures_tells_figures_and_mistakes_only() -> None:
    numbers = Page(render_evaluation(a_page(images=5_001))).numbers
    assert "images" not in numbers
    assert len(numbers["mistakes"]) == 24


def test_many_classes_are_shown_as_the_pairs_that_are_confused_most() -> None:
    given = a_page(tuple(f"class {number}" for number in range(30)), 400)
    assert isinstance(given.evaluation, Evaluation)
    page = Page(render_evaluation(given))
    truth, said, count = given.evaluation.confused[0]
    assert count == max(
        c for i, row in enumerate(given.evaluation.confusion) for j, c in enumerate(row) if i != j
    )
    assert re.search(rf"{truth}\s+{said}|{truth}{said}", page.text)
    assert not any(table.get("class", "").startswith("matrix") for table in page.all("table"))  # type: ignore[union-attr]


def test_hostile_names_are_shown_as_text() -> None:
    evil = "</script><img src=x onerror=alert(1)>\"'"
    scores = Scores((evil, "b"))
    scores.add(evil, evil, [0.1, 0.9])
    given = EvaluationPage(evil, evil, evil, Evaluation((evil, "b"), scores), [(evil, evil)], 1)
    page = Page(render_evaluation(given))
    assert page.all("img") == []
    assert len(page.all("script")) == 1
    assert page.text.count(evil) >= 6
    assert page.numbers["classes"] == [evil, "b"]


@pytest.mark.parametrize(
    ("make", "scheme", "viewport"), [(a_page, "dark", PHONE), (a_page_of_several, "light", DESKTOP)]
)
def test_the_page_has_no_flaws(
    browser: Browser, tmp_path: Path, make: Any, scheme: Any, viewport: ViewportSize
) -> None:
    path = write_evaluation(make(), tmp_path / "page.html")
    context = browser.new_context(viewport=viewport, color_scheme=scheme)
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.goto(path.as_uri())
    page.set_viewport_size({"width": viewport["width"], "height": 6000})
    page.locator("summary").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    assert flaws(page) == []
    assert said == []
    context.close()


def test_figures_of_one_picture_can_be_told() -> None:
    for right in (True, False):
        evaluation = Evaluation(("a", "b"), [ScoredImage("1.jpg", "a" if right else "b", (0.75, 0.25))])
        told = evaluation.to_json()
        assert told["accuracy"] == told["balanced_accuracy"] == float(right)
        assert told["calibration"]["equal_mass"]["bins"][0]["images"] == 1
        assert Page(render_evaluation(EvaluationPage("t", "m", "p", evaluation))).numbers["total"] == 1
