"""What is found in a dataset before a training job is sent."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from plan_parts import HERE, line, picture, put_data

from gtlabel.aws import Aws
from gtlabel.emulator.environment import session
from gtlabel.errors import ObjectNotFoundError, TrainingDataError
from gtlabel.training.checks import Finding, check_channels, check_regions, refuse_errors
from gtlabel.training.data import TrainingData
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

SQUARE = (24, 24)

Put = Callable[..., TrainingData]


@pytest.fixture
def data(s3: S3Client) -> Put:
    """Puts a dataset into S3: the lines given for a channel, six good ones for the other."""
    s3.put_object(Bucket=HERE.bucket, Key="dataset/classes/0.jpg", Body=picture())
    return partial(put_data, s3)


def found(s3: S3Client, data: TrainingData, **asked: Any) -> list[tuple[str, str, str]]:
    findings = check_channels(s3, data, **{"shape": SQUARE, **asked})
    return [(finding.check, finding.level, str(finding)) for finding in findings]


def test_of_a_sound_dataset_there_is_nothing_to_say(s3: S3Client, data: Put) -> None:
    assert found(s3, data()) == []
    # AWS's manual shows labels in quotes too.
    assert found(s3, data([line(0, str(number)) for number in range(3)])) == []


@pytest.mark.parametrize(
    ("wrong", "check", "sentence"),
    [
        (
            {"source-ref": f"{HERE}classes/0.jpg"},
            "label",
            "line 2: s3://trash-photos/dataset/classes/0.jpg has no label 'label'",
        ),
        (line(0, label=0) | {"label": None}, "label", "classes/0.jpg has no label 'label'"),
        ({"source-ref": f"{HERE}classes/0.jpg", "Label": 1}, "label", "it has 'Label', and case matters"),
        (line(0, 3), "range", "line 2: s3://trash-photos/dataset/classes/0.jpg has the label 3"),
        (line(0, -1), "range", "has the label -1, and classes are 0 to 2; the job would not fail of it"),
        (line(0, "7"), "range", "has the label 7"),
        (line(0, 1.0), "number", "has the label 1.0, which is not the number of one class"),
        (line(0, True), "number", "has the label true"),
        (line(0, "Compost"), "number", 'has the label "Compost"'),
        (line(0, [0, 2]), "number", "has the label [0, 2], which is not the number of one class"),
        ("{", "line", "train.manifest, line 2: not JSON"),
        ('["s3://trash-photos/0.jpg"]', "line", "line 2: it is not a JSON object"),
        (
            {"source-ref": "photos/1.jpg", "label": 1},
            "line",
            "'photos/1.jpg' is not an S3 address",
        ),
        ({"source-ref": "s3://trash-photos/", "label": 1}, "line", "names a bucket and no image in it"),
        ({"label": 1}, "line", "line 2: it lacks 'source-ref'"),
    ],
)
def test_a_line_that_spoils_a_job_is_named_with_its_number_and_picture(
    s3: S3Client, data: Put, wrong: dict[str, Any] | str, check: str, sentence: str
) -> None:
    good = [line(0, label=number) for number in range(3)]
    findings = [each for each in found(s3, data([good[0], wrong, *good[1:]])) if each[1] == "error"]
    assert [each[0] for each in findings] == [check]
    assert sentence in findings[0][2]
    assert findings[0][2].endswith("run gtlabel consolidate ... --into s3://trash-photos/dataset/ again")


def test_of_many_lines_with_the_same_fault_the_first_is_named_and_all_are_counted(
    s3: S3Client, data: Put
) -> None:
    lines = [line(0, label=number) for number in range(9)]
    ((check, level, sentence),) = found(s3, data(lines))
    assert (check, level) == ("range", "error")
    assert "line 4: " in sentence
    assert "(6 lines in all)" in sentence


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    labels=st.lists(st.integers(0, 2), min_size=1, max_size=40),
    place=st.integers(0, 40),
    wrong=st.one_of(st.integers().filter(lambda n: not 0 <= n < 3), st.floats(), st.booleans(), st.none()),
)
def test_whatever_and_wherever_a_wrong_label_is_it_is_found(
    s3: S3Client, data: Put, labels: list[int], place: int, wrong: Any
) -> None:
    place = min(place, len(labels))
    lines = [line(0, label=label) for label in labels]
    lines.insert(place, {**line(0), "label": wrong})
    errors = [each[2] for each in found(s3, data(lines), looked_at=0) if each[1] == "error"]
    assert len(errors) == 1
    assert f"train.manifest, line {place + 1}: " in errors[0]


def test_empty_lines_count_in_line_numbers_and_not_as_pictures(s3: S3Client, data: Put) -> None:
    lines = [line(0, 0), "", line(0, 1), "", line(0, 2)]
    asked = data(lines)
    assert [each[0] for each in found(s3, asked)] == ["count"]
    assert "line 5: " in found(s3, data([*lines[:4], line(0, 9)]))[0][2]


def test_a_manifest_that_was_changed_since_is_told_by_its_count_or_its_digest(
    s3: S3Client, data: Put
) -> None:
    asked = data()
    manifest = asked.train.manifest
    body = s3.get_object(Bucket=manifest.bucket, Key=manifest.key)["Body"].read()
    s3.put_object(Bucket=manifest.bucket, Key=manifest.key, Body=body + body)
    ((check, level, sentence),) = found(s3, asked)
    assert (check, level) == ("count", "error")
    assert "train.manifest has 12 lines and dataset.json tells of 6" in sentence
    s3.put_object(Bucket=manifest.bucket, Key=manifest.key, Body=body.replace(b"}", b" }"))
    ((check, level, sentence),) = found(s3, asked)
    assert (check, level) == ("digest", "warning")
    s3.delete_object(Bucket=manifest.bucket, Key=manifest.key)
    with pytest.raises(ObjectNotFoundError, match=r"train\.manifest"):
        found(s3, asked)


def test_a_channel_without_a_line_is_refused(s3: S3Client, data: Put) -> None:
    findings = found(s3, data(validation=[]))
    assert [(each[0], each[1]) for each in findings] == [("empty", "error")]
    assert "with a larger share for validation" in findings[0][2]


def test_a_class_that_a_channel_has_no_picture_of_is_told(s3: S3Client, data: Put) -> None:
    some = [line(0, label=0), line(0, label=2)]
    (train,) = found(s3, data(some))
    assert train[:2] == ("classes", "warning")
    assert "no train picture of 'Landfill': the network will never answer them" in train[2]
    (validation,) = found(s3, data(validation=some[:1]))
    assert "no validation picture of 'Landfill', 'Recycle'" in validation[2]


def test_arrays_of_classes_are_read_where_there_are_several(s3: S3Client, data: Put) -> None:
    several = [line(0, label=[0, 2]), line(0, label=[1]), line(0, label="[1, 2]"), line(0, label=[])]
    assert found(s3, data(several, several), multi_label=True) == []
    ((check, _, sentence),) = found(s3, data([*several, line(0, [0, 3])], several), multi_label=True)
    assert check == "range"
    assert "line 5: " in sentence
    ((check, _, sentence),) = found(s3, data([*several, line(0, 1)], several), multi_label=True)
    assert check == "number"
    assert "is not an array of class numbers" in sentence


def test_the_first_label_tells_the_form_of_all_where_the_program_is_not_known(
    s3: S3Client, data: Put
) -> None:
    one, several = [line(0, number) for number in (0, 1, 2)], [line(0, [0, 2]), line(0, "[1]"), line(0, [])]
    for lines in (one, several):
        assert found(s3, data(lines, lines), multi_label=None) == []
    unlabeled = {"source-ref": f"{HERE}classes/0.jpg"}
    for lines, wanted in (
        ([*one, line(0, [1])], "the number of one"),
        ([*several, line(0, 1)], "an array of"),
    ):
        checks = found(s3, data([unlabeled, *lines], lines[:3]), multi_label=None)
        assert [check for check, _, _ in checks] == ["label", "number"]
        assert "line 5: " in checks[1][2]
        assert f"which is not {wanted} class" in checks[1][2]
    # The channels are of one form, too.
    ((check, _, sentence),) = found(s3, data(one, several), multi_label=None)
    assert check == "number"
    assert "validation.manifest, line 1: " in sentence


@pytest.mark.parametrize(
    ("body", "asked", "expected"),
    [
        (picture(24, 24), {}, None),
        (picture(24, 24, "PNG"), {}, None),
        (picture(48, 48), {"resize": 24}, None),
        (picture(5, 5), {"shape": None}, None),
        (picture(20, 24), {}, ("size", "error", "is 20x24, smaller than the 24x24 of the network")),
        (picture(20, 24), {"resize": 24}, ("crop", "warning", "training cuts the middle out of them")),
        (picture(48, 48), {}, ("crop", "warning", "(48x48)")),
        (
            picture(64, 48),
            {"resize": 24},
            ("crop", "warning", "--into s3://trash-photos/dataset/ --resize 24"),
        ),
        (
            picture(64, 48),
            {"shape": (24, 32)},
            ("crop", "warning", "--into s3://trash-photos/dataset/ --resize 24x32"),
        ),
        (
            picture()[:200],
            {},
            (
                "picture",
                "error",
                "line 1: s3://trash-photos/dataset/classes/0.jpg is a JPEG that is cut off (12 of 12",
            ),
        ),
        (b"", {}, ("picture", "error", "cannot be used); consolidate again without it")),
    ],
)
def test_pictures_are_looked_at(
    s3: S3Client, data: Put, body: bytes, asked: dict[str, Any], expected: tuple[str, str, str] | None
) -> None:
    dataset = data()
    s3.put_object(Bucket=HERE.bucket, Key="dataset/classes/0.jpg", Body=body)
    findings = {each[:2]: each[2] for each in found(s3, dataset, **asked)}
    if expected is None:
        assert findings == {}
        return
    assert list(findings) == [expected[:2]]
    assert expected[2] in findings[expected[:2]]


def test_a_picture_that_is_gone_is_named_with_its_line(s3: S3Client, data: Put) -> None:
    lines = [line(0, label=0), line(5, label=1), line(0, label=2)]
    ((check, level, sentence),) = found(s3, data(lines))
    assert (check, level) == ("picture", "error")
    assert "train.manifest, line 2: s3://trash-photos/dataset/classes/5.jpg is not there" in sentence


def test_only_some_pictures_of_a_large_channel_are_looked_at_and_from_all_of_it(
    s3: S3Client, data: Put
) -> None:
    lines = [line(number) for number in range(300)]
    ((_, _, sentence),) = found(s3, data(lines), looked_at=10)
    # Those at 0, 30, 60 ... 270, of which only the first is there.
    assert "line 31: " in sentence
    assert "(9 of 16 pictures looked at" in sentence


def test_a_bucket_elsewhere_is_told_and_the_region_to_go_to(s3: S3Client) -> None:
    s3.create_bucket(Bucket="far-away", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    places = [HERE, S3Uri("s3://far-away/models/"), S3Uri("s3://nobody-has-this-one/")]
    (finding,) = check_regions(s3, "us-east-1", places)
    assert "'far-away' is in eu-west-1 and the job would run in us-east-1" in str(finding)
    assert str(finding).endswith("train with --region eu-west-1")
    assert list(check_regions(s3, "us-east-1", places[:1])) == []


def test_pictures_in_another_region_are_told_wherever_the_manifest_is(s3: S3Client, data: Put) -> None:
    s3.create_bucket(Bucket="far-away", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    s3.put_object(Bucket="far-away", Key="9.jpg", Body=picture())
    far = {"source-ref": "s3://far-away/9.jpg", "label": 1}
    asked = data([line(0, label=0), far, line(0, label=2)])
    assert found(s3, asked) == []
    ((check, level, sentence),) = found(s3, asked, region="us-east-1")
    assert (check, level) == ("region", "error")
    assert "'far-away' is in eu-west-1" in sentence


def test_errors_are_refused_together_and_warnings_handed_on() -> None:
    warning = Finding("classes", "warning", "a class is empty", "label more")
    wrong = [Finding("range", "error", "one", "again"), Finding("count", "error", "two")]
    assert refuse_errors([warning]) == ("a class is empty; label more",)
    with pytest.raises(TrainingDataError, match="nonsense: one; again; two") as refused:
        refuse_errors([wrong[0], warning, wrong[1]])
    assert refused.value.problems == ["one; again", "two"]


def test_pictures_that_may_not_be_read_are_not_held_against_the_dataset(data: Put) -> None:
    dataset = data()
    stranger = Aws(session("us-east-1")).s3

    class NoBody:
        def stream(self) -> list[bytes]:
            return []

    def deny(request: Any, **_: Any) -> Any:
        if "classes" not in request.url:
            return None
        return AWSResponse(request.url, 403, HTTPHeaders(), NoBody())

    stranger.meta.events.register_first("before-send.s3", deny)
    ((check, level, sentence),) = found(stranger, dataset)
    assert (check, level) == ("pictures", "warning")
    assert "could not be looked at: these credentials lack s3:GetObject" in sentence


def test_what_the_checks_cost_is_measured_beside_their_peers() -> None:
    program = Path(__file__).parent / "benchmarks" / "checking.py"
    run = subprocess.run(
        [sys.executable, program, "--lines", "2000", "--runs", "1"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "| gtlabel's checks |" in run.stdout
    assert "peak memory of the checks: " in run.stdout
