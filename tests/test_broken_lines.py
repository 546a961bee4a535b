"""Lines that are broken, each with its sentence, and what is left of a manifest that has some."""

from __future__ import annotations

import json
import re
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gtlabel.errors import AnswerFileError, ManifestError, ManifestLineError, MissingLabelError
from gtlabel.manifests.answers import read_consolidated, read_request, read_response, response_place
from gtlabel.manifests.aside import SetAside
from gtlabel.manifests.lines import MAX_LINE_CHARACTERS, read_records, write_record
from gtlabel.manifests.records import ManifestRecord
from gtlabel.uris import S3Uri

RECORDED = Path(__file__).parent / "recorded" / "ground-truth-job"
REF = b'{"source-ref":"s3://photos/1.jpg"'
GOOD = REF + b"}"
NOT_AN_OBJECT = 'it is not a JSON object; every line is one, such as {"source-ref":"s3://bucket/image.jpg"}'
NO_ADDRESS = "is not an S3 address; write it as s3://bucket/key"
NO_IMAGE = "'source-ref': names a bucket and no image in it"
LACKS = "it lacks 'source-ref', the address of an image"

BROKEN: list[tuple[bytes, str]] = [
    # no JSON
    (b"{", "not JSON: EOF while parsing an object at character 1"),
    (b"}", "not JSON: expected value at character 1"),
    (b'{"source-ref":', "not JSON: EOF while parsing a value at character 14"),
    (b'{"source-ref":"s3://photos/1.jpg', "not JSON: EOF while parsing a string at character 32"),
    (REF, "not JSON: EOF while parsing an object at character 33"),
    (REF + b",", "not JSON: EOF while parsing a value at character 34"),
    (REF + b",}", "not JSON: trailing comma at character 35"),
    (GOOD + b",", "not JSON: trailing characters at character 35"),
    (GOOD + b"{}", "not JSON: trailing characters at character 35"),
    (GOOD + b" // seen", "not JSON: trailing characters at character 36"),
    (b"[" + GOOD, "not JSON: EOF while parsing a list at character 35"),
    (b"source-ref: s3://photos/1.jpg", "not JSON: expected value at character 1"),
    (b"s3://photos/1.jpg", "not JSON: expected value at character 1"),
    (b"{'source-ref':'s3://photos/1.jpg'}", "not JSON: key must be a string at character 2"),
    (b'{source-ref:"s3://photos/1.jpg"}', "not JSON: key must be a string at character 2"),
    (b'{"source-ref" "s3://photos/1.jpg"}', "not JSON: expected `:` at character 15"),
    (b'{"source-ref"="s3://photos/1.jpg"}', "not JSON: expected `:` at character 14"),
    (b'{"source-ref":s3://photos/1.jpg}', "not JSON: expected value at character 15"),
    (REF + b' "a":1}', "not JSON: expected `,` or `}` at character 35"),
    (REF + b',"a":01}', "not JSON: invalid number at character 40"),
    (REF + b',"a":1.}', "not JSON: invalid number at character 41"),
    (REF + b',"a":.5}', "not JSON: expected value at character 39"),
    (REF + b',"a":+1}', "not JSON: expected value at character 39"),
    (REF + b',"a":1e}', "not JSON: invalid number at character 41"),
    (REF + b',"a":0x1f}', "not JSON: expected `,` or `}` at character 40"),
    (REF + b',"a":NaN}', "not JSON: NaN is not a number that JSON knows"),
    (REF + b',"a":Infinity}', "not JSON: Infinity is not a number that JSON knows"),
    (REF + b',"a":-Infinity}', "not JSON: -Infinity is not a number that JSON knows"),
    (REF + b',"a":True}', "not JSON: expected value at character 39"),
    (REF + b',"a":None}', "not JSON: expected true, false or null at character 40"),
    (REF + b',"a":undefined}', "not JSON: expected value at character 39"),
    (REF + b',"a":tru}', "not JSON: expected true, false or null at character 42"),
    (REF + b',"a":"b}', "not JSON: EOF while parsing a string at character 41"),
    (REF + b',"a":"b\tc"}', "control character (\\u0000-\\u001F) found while parsing a string"),
    (REF + b',"a":"b\x00c"}', "control character (\\u0000-\\u001F) found while parsing a string"),
    (REF + rb',"a":"\x41"}', "not JSON: invalid escape at character 41"),
    (REF + rb',"a":"\u12"}', "not JSON: invalid escape at character 44"),
    (REF + rb',"a":"\ud800"}', "not JSON: "),
    (REF + rb',"a":"\udc00"}', "not JSON: "),
    (REF + b',"a":[1,2}', "not JSON: expected `,` or `]` at character 43"),
    (REF + b',"a":[1,]}', "not JSON: trailing comma at character 42"),
    (REF + b',"a":{"b"}}', "not JSON: expected `:` at character 43"),
    (REF + b',"a":' + b"[" * 5_000 + b"]" * 5_000 + b"}", "too deep to be read"),
    (REF + b',"a":' + b'{"b":' * 5_000 + b"1" + b"}" * 5_001, "too deep to be read"),
    # not UTF-8
    (b"\xff" + GOOD, "not UTF-8: byte 1 is 0xff"),
    (REF + b',"a":"\xe9"}', "not UTF-8: byte 40 is 0xe9"),
    (REF + b',"a":"\xed\xa0\x80"}', "not UTF-8: byte 40 is 0xed"),
    (GOOD.decode().encode("utf-16"), "not UTF-8: byte 1 is 0xff"),
    (b"\x1f\x8b\x08\x00", "not UTF-8: byte 2 is 0x8b"),
    # not an object
    (b"[]", NOT_AN_OBJECT),
    (b"null", NOT_AN_OBJECT),
    (b"true", NOT_AN_OBJECT),
    (b"7", NOT_AN_OBJECT),
    (b'"s3://photos/1.jpg"', NOT_AN_OBJECT),
    (b"[" + GOOD + b"]", NOT_AN_OBJECT),
    # no image
    (b"{}", LACKS),
    (b'{"image":"s3://photos/1.jpg"}', LACKS),
    (b'{"source_ref":"s3://photos/1.jpg"}', LACKS),
    (b'{"Source-Ref":"s3://photos/1.jpg"}', LACKS),
    (b'{"source-ref ":"s3://photos/1.jpg"}', LACKS),
    (b'{"a":' + GOOD + b"}", LACKS),
    (b'{"source":"a text"}', "it holds text ('source'); only images ('source-ref') can be classified here"),
    # an address that is none
    (b'{"source-ref":7}', "'source-ref': input should be a valid string, not 7"),
    (b'{"source-ref":null}', "'source-ref': input should be a valid string, not null"),
    (b'{"source-ref":["s3://photos/1.jpg"]}', "'source-ref': input should be a valid string, not [\"s3://"),
    (b'{"source-ref":{}}', "'source-ref': input should be a valid string, not {}"),
    (b'{"source-ref":""}', f"'source-ref': '' {NO_ADDRESS}"),
    (b'{"source-ref":"photos/1.jpg"}', f"'source-ref': 'photos/1.jpg' {NO_ADDRESS}"),
    (b'{"source-ref":"https://photos.s3.amazonaws.com/1.jpg"}', NO_ADDRESS),
    (b'{"source-ref":"s3:/photos/1.jpg"}', NO_ADDRESS),
    (b'{"source-ref":"S3://photos/1.jpg"}', NO_ADDRESS),
    (b'{"source-ref":" s3://photos/1.jpg"}', NO_ADDRESS),
    (b'{"source-ref":"s3://Photos/1.jpg"}', NO_ADDRESS),
    (b'{"source-ref":"s3://ph_otos/1.jpg"}', NO_ADDRESS),
    (b'{"source-ref":"s3://p/1.jpg"}', NO_ADDRESS),
    (b'{"source-ref":"s3:///1.jpg"}', NO_ADDRESS),
    (b'{"source-ref":"s3://"}', NO_ADDRESS),
    (b'{"source-ref":"s3://photos"}', NO_IMAGE),
    (b'{"source-ref":"s3://photos/"}', NO_IMAGE),
    # longer than Ground Truth reads
    (
        REF + b',"a":"' + b"x" * MAX_LINE_CHARACTERS + b'"}',
        "it has 100,041 characters; Ground Truth reads at",
    ),
]


def test_there_are_at_least_sixty_of_them() -> None:
    assert len({line for line, _ in BROKEN}) == len(BROKEN) >= 60


@pytest.mark.parametrize(("line", "sentence"), BROKEN, ids=range(len(BROKEN)))
@pytest.mark.parametrize("attribute", [None, "bin"])
def test_a_broken_line_is_named_with_its_sentence(line: bytes, sentence: str, attribute: str | None) -> None:
    with pytest.raises(ManifestLineError) as caught:
        list(read_records([GOOD, b"", line], "in.manifest", attribute=attribute))
    assert str(caught.value).startswith("in.manifest, line 3: ")
    assert sentence in caught.value.reason
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_a_broken_line_is_refused_wherever_it_stands() -> None:
    for line, sentence in [*BROKEN, (b'{"source-ref":"\\u0000s3://photos/1.jpg"}', NO_ADDRESS)]:
        with pytest.raises(ValueError, match=re.escape(sentence)):
            list(read_records([line], "m"))


METADATA: list[tuple[bytes, str]] = [
    (b"7", "it is 7, not an object"),
    (b"null", "it is null, not an object"),
    (b'"yes"', 'it is "yes", not an object'),
    (b'{"confidence":"high"}', "'confidence': input should be a number from 0 to 1, not \"high\""),
    (b'{"confidence":1.5}', "'confidence': input should be a number from 0 to 1, not 1.5"),
    (b'{"confidence":-0.1}', "'confidence': input should be a number from 0 to 1, not -0.1"),
    (b'{"confidence":[0.5]}', "'confidence': input should be a number from 0 to 1, not [0.5]"),
    (b'{"confidence":1e999}', "'confidence': input should be a number from 0 to 1, not Infinity"),
    (b'{"class-name":7}', "'class-name': input should be a text, not 7"),
    (b'{"class_name":["a"]}', "'class-name': input should be a text, not [\"a\"]"),
    (b'{"job-name":{}}', "'job-name': input should be a text, not {}"),
    (b'{"type":1}', "'type': input should be a text, not 1"),
    (b'{"failure-reason":false}', "'failure-reason': input should be a text, not false"),
    (b'{"class-map":["a"]}', "'class-map': input should be an object of texts, not [\"a\"]"),
    (b'{"class-map":{"0":1}}', "'class-map': input should be an object of texts, not {\"0\": 1}"),
    (b'{"confidence-map":{"0":"x"}}', "'confidence-map': input should be an object of numbers"),
    (b'{"human-annotated":3}', '\'human-annotated\': input should be "yes" or "no", not 3'),
    (b'{"creation-date":"yesterday"}', "'creation-date': input should be a moment such as 2026-11-22T10"),
    (b'{"creation-date":"2026-13-40T10:00:00"}', "'creation-date': input should be a moment such as"),
    (b'{"creation-date":1e300}', "'creation-date': input should be a moment such as"),
    (b'{"creation_date":[]}', "'creation-date': input should be a moment such as"),
    (b'{"retry-count":"often"}', "'retry-count': input should be a whole number, not \"often\""),
    (b'{"worker-feedback":"too wide"}', "'worker-feedback': input should be a list, not \"too wide\""),
]


@pytest.mark.parametrize(("metadata", "sentence"), METADATA, ids=range(len(METADATA)))
@pytest.mark.parametrize("attribute", [None, "bin"])
def test_a_label_that_cannot_be_read_names_image_and_field_when_it_is_asked_for(
    metadata: bytes, sentence: str, attribute: str | None
) -> None:
    line = REF + b',"bin":1,"bin-metadata":' + metadata + b"}"
    (record,) = read_records([line], "m", attribute=attribute)
    assert (record.state("bin"), record.class_index("bin")) == ("labeled", 1)
    with pytest.raises(ManifestError) as caught:
        record.label("bin")
    assert str(caught.value).startswith("s3://photos/1.jpg: in 'bin-metadata', ")
    assert sentence in str(caught.value)
    assert write_record(record) == line


@pytest.mark.parametrize(
    ("metadata", "created"),
    [
        (b'{"creation-date":"2026-11-22T12:00:00+02:00"}', datetime(2026, 11, 22, 10)),
        (b'{"creation-date":"2026-11-22 10:00:00"}', datetime(2026, 11, 22, 10)),
        (b'{"creation-date":"2026-11-22T10:00:00Z"}', datetime(2026, 11, 22, 10)),
        (b'{"creation-date":"2026-11-22"}', datetime(2026, 11, 22)),
        (b'{"creation_date":1795341600}', datetime(2026, 11, 22, 10)),
        (b'{"creation-date":null}', None),
    ],
)
def test_moments_are_read_however_they_are_spelled(metadata: bytes, created: datetime | None) -> None:
    for attribute in (None, "bin"):
        line = REF + b',"bin":1,"bin-metadata":' + metadata + b"}"
        (record,) = read_records([line], "m", attribute=attribute)
        assert record.label("bin").creation_date == created


def test_keys_that_nobody_knows_stay_with_the_metadata() -> None:
    (record,) = read_records(
        [REF + b',"a":1,"a-metadata":{"class-name":"x","camera":7,"job_name":"j"}}'], "m"
    )
    label = record.label("a")
    assert (label.class_name, label.job, label.others) == ("x", "j", {"camera": 7})
    assert label.to_json() == {"job-name": "j", "class-name": "x", "camera": 7}


def test_bad_lines_are_set_aside_byte_for_byte_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "bad.manifest"
    path.write_bytes(b"of an earlier run\n")
    lines = [GOOD, *(line for line, _ in BROKEN), GOOD + b"\r\n"]
    with SetAside(path) as aside:
        assert len(list(read_records(lines, "m", on_bad=aside))) == 2
        assert path.read_bytes() == b"of an earlier run\n"
    assert path.read_bytes() == b"".join(line + b"\n" for line, _ in BROKEN)
    assert (aside.count, aside.first) == (len(BROKEN), (2, BROKEN[0][1]))
    assert list(tmp_path.iterdir()) == [path]


def test_a_run_without_a_bad_line_leaves_an_empty_file(tmp_path: Path) -> None:
    with SetAside(tmp_path / "bad") as aside:
        list(read_records([GOOD], "m", on_bad=aside))
    assert ((tmp_path / "bad").read_bytes(), aside.count, aside.first) == (b"", 0, None)


def test_a_run_that_fails_leaves_no_file_and_takes_none_away(tmp_path: Path) -> None:
    path = tmp_path / "bad"
    path.write_bytes(b"of an earlier run\n")
    with pytest.raises(ManifestLineError), SetAside(path) as aside:
        list(read_records([b"{", GOOD], "m", on_bad=aside)) + list(read_records([b"{"], "m"))
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [
        ("bad", b"of an earlier run\n")
    ]


@given(
    lines=st.lists(
        st.binary(max_size=60).map(lambda line: line.replace(b"\n", b""))
        | st.sampled_from([GOOD, *(line for line, _ in BROKEN[:43])])
    )
)
def test_whatever_is_read_is_json_and_whatever_is_not_is_told(lines: list[bytes]) -> None:
    refused: list[int] = []
    records = list(read_records(lines, "m", on_bad=lambda number, *_: refused.append(number)))
    told = [line for number, line in enumerate(lines, start=1) if line.strip() and number not in refused]
    assert [S3Uri(json.loads(line.decode("utf-8-sig"))["source-ref"]) for line in told] == [
        record.source_ref for record in records
    ]


cuts = st.tuples(st.integers(0, 300), st.integers(0, 3), st.binary(max_size=2))


@given(cuts)
def test_a_line_of_aws_that_was_damaged_is_read_like_any_json_or_refused(
    damage: tuple[int, int, bytes],
) -> None:
    start, length, instead = damage
    line = (RECORDED / "output.manifest.excerpt").read_bytes().splitlines()[0]
    broken = (line[:start] + instead + line[start + length :]).replace(b"\n", b" ")
    attribute = "birds-open-images-clone"
    try:
        values = json.loads(broken)
    except ValueError:
        with pytest.raises(ManifestLineError):
            list(read_records([broken], "m", attribute=attribute))
        return
    try:
        (fast,) = read_records([broken], "m", attribute=attribute)
        (slow,) = read_records([broken], "m")
    except ManifestLineError as error:
        assert "source-ref" in str(error)  # noqa: PT017 - most damage is no error at all
        return
    assert fast.to_json() == slow.to_json() == values
    assert write_record(fast) == broken.strip()
    assert fast.state(attribute) == slow.state(attribute)
    assert outcome(fast, attribute) == outcome(slow, attribute)


def outcome(record: ManifestRecord, attribute: str) -> list[Any]:
    said: list[Any] = []
    for ask in (record.label, record.class_index):
        try:
            said.append(ask(attribute))
        except (ManifestError, MissingLabelError) as error:
            said.append(str(error))
    return said


numbers = st.from_regex(r"-?(0|[1-9][0-9]{0,24})(\.[0-9]{1,5})?([eE][-+]?[0-9]{1,2})?", fullmatch=True)
keys = st.text(st.characters(exclude_categories=["Cs"]), max_size=6).filter(lambda key: key != "source-ref")


@given(
    members=st.dictionaries(keys, numbers, max_size=6),
    gone=st.lists(keys, max_size=2),
    new=st.dictionaries(keys, st.integers() | st.text(max_size=3), max_size=2),
    place=st.integers(0, 6),
    spaced=st.booleans(),
    ascii_only=st.booleans(),
)
def test_what_is_not_changed_keeps_every_character(
    members: dict[str, str],
    gone: list[str],
    new: dict[str, Any],
    place: int,
    spaced: bool,
    ascii_only: bool,
) -> None:
    colon, comma = (": ", ", ") if spaced else (":", ",")

    def text(values: dict[str, str]) -> str:
        parts = (json.dumps(key, ensure_ascii=ascii_only) + colon + raw for key, raw in values.items())
        return "{" + comma.join(parts) + "}"

    pairs = list(members.items())
    pairs.insert(min(place, len(pairs)), ("source-ref", '"s3://photos/1.jpg"'))
    values = dict(pairs)
    (record,) = read_records([text(values).encode()], "m")
    assert record.line == text(values)
    left = {key: raw for key, raw in values.items() if key not in gone}
    assert record.without(*gone).line == text(left)
    changed = record.having(new)
    assert list(changed.to_json()) == list({**values, **new})
    for key, raw in values.items():
        if key not in new:
            assert json.dumps(key, ensure_ascii=ascii_only) + colon + raw in changed.line
    assert {key: changed.get(key) for key in new} == new


def test_numbers_keep_their_spelling_when_a_key_comes_or_goes() -> None:
    line = REF + b',"a":1.00,"b":1e5,"c":123456789012345678901234567890,"d":-0.0,"e":0.30000000000000004}'
    (record,) = read_records([line], "m")
    assert write_record(record) == line
    assert write_record(record.having({"z": 1})) == line[:-1] + b',"z":1}'
    assert write_record(record.without("d")) == line.replace(b',"d":-0.0', b"")
    assert record.get("c") == 123456789012345678901234567890


ANSWER = {
    "workerId": "w",
    "answerContent": {"x": {"label": "a"}},
    "submissionTime": "2026-11-22T10:00:58.321Z",
}
ASKED = {"datasetObjectId": "0", "dataObject": {"s3Uri": "s3://b3b/1.jpg"}, "annotations": []}


@pytest.mark.parametrize(
    ("read", "document", "sentence"),
    [
        (read_response, b"", "not JSON: input data was truncated"),
        (read_response, b"{}", "it lacks 'answers'"),
        (read_response, b"[]", "input should be an object, not a list"),
        (read_response, b"\xff", "not JSON: "),
        (read_response, b'{"answers":[{"workerId":"\xff"}]}', "it is not UTF-8"),
        (read_response, b'{"answers":' + b"[" * 5_000, "F: "),
        (
            read_response,
            {"answers": [{**ANSWER, "workerId": 7}]},
            "'answers[0].workerId': input should be a text",
        ),
        (read_response, {"answers": [{**ANSWER, "submissionTime": "noon"}]}, "should be a moment such as"),
        (read_response, {"answers": [{**ANSWER, "answerContent": "dog"}]}, "should be an object, not a text"),
        (read_response, {"answers": [ANSWER, {}]}, "'answers[1]' lacks 'workerId'"),
        (read_request, {}, "input should be a list, not an object"),
        (read_request, [{**ASKED, "datasetObjectId": "first"}], "is 'first', not the number of a line"),
        (read_request, [{**ASKED, "annotations": [{"workerId": "w"}]}], "lacks 'annotationData'"),
        (
            read_request,
            [{**ASKED, "annotations": [{"workerId": "w", "annotationData": {}}]}],
            "'[0].annotations[0].annotationData' has neither 'content' nor 's3Uri'",
        ),
        (
            read_request,
            [{**ASKED, "annotations": [{"workerId": "w", "annotationData": {"content": "dog"}}]}],
            "'[0].annotations[0].annotationData.content' is a text that holds no JSON object",
        ),
        (read_consolidated, [{"datasetObjectId": "0"}], "'[0]' lacks 'consolidatedAnnotation'"),
        (
            read_consolidated,
            [{"datasetObjectId": "0", "consolidatedAnnotation": {"content": []}}],
            "'[0].consolidatedAnnotation.content': input should be an object, not a list",
        ),
    ],
)
def test_a_file_of_answers_that_is_none_is_named_with_its_field(
    read: Any, document: object, sentence: str
) -> None:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    with pytest.raises(AnswerFileError) as caught:
        read(body, "F")
    assert str(caught.value).startswith("F: ")
    assert sentence in str(caught.value)


def test_answers_that_aws_wrote_are_understood() -> None:
    found = {}
    for path in sorted((RECORDED / "worker-response").rglob("*.json")):
        answers = read_response(path.read_bytes(), path.name)
        place = response_place(f"job/annotations/{path.relative_to(RECORDED).as_posix()}")
        assert place is not None
        found[place] = [answer.choice for answer in answers]
        assert [answer.submission_time for answer in answers] == sorted(a.submission_time for a in answers)
        assert {answer.acceptance_time for answer in answers} == {None}
    assert len(found) == 12
    assert found[2, 3] == [("Swan",), ("Goose",), ("Swan",), ("Goose",), ("Swan",)]


def test_answers_of_today_and_batches_are_understood() -> None:
    answer = {
        **ANSWER,
        "answerContent": {"crowd-image-classifier-multi-select": {"labels": ["dog", "cat"]}},
        "acceptanceTime": "2026-11-22T10:00:15.191Z",
        "timeSpentInSeconds": 40.543,
        "workerMetadata": {"identityData": {"identityProviderType": "Oidc"}},
    }
    (read,) = read_response(json.dumps({"answers": [answer]}).encode(), "F")
    assert (read.choice, read.time_spent_in_seconds) == (("cat", "dog"), 40.543)
    said = {"workerId": "w", "annotationData": {"content": json.dumps(ANSWER["answerContent"])}}
    large = {"workerId": "v", "annotationData": {"s3Uri": "s3://b3b/large.json"}}
    asked = {**ASKED, "datasetObjectId": "17", "annotations": [said, large]}
    (item,) = read_request(json.dumps([asked]).encode(), "F")
    assert (item.number, item.image) == (17, "s3://b3b/1.jpg")
    assert [(each.worker, each.choice, each.place) for each in item.annotations] == [
        ("w", ("a",), None),
        ("v", None, "s3://b3b/large.json"),
    ]
    settled = [{"datasetObjectId": "17", "consolidatedAnnotation": {"content": {"bin": 1}}}]
    assert read_consolidated(json.dumps(settled).encode(), "F") == ((17, {"bin": 1}),)
