"""The tree that a job leaves, beside what a real one left."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

import boto3
import moto
import pytest
from engine_parts import CLASSES
from groundtruth_parts import RECORDED, TRUTH, Account, finish


@pytest.fixture
def account() -> Account:
    return Account()


@pytest.fixture
def finished(account: Account) -> Account:
    """An account with one job that is completed."""
    return finish(account)


def test_an_output_line_has_the_keys_order_types_and_formats_of_the_recorded_ones(finished: Account) -> None:
    ours = finished.tree()["manifests/output/output.manifest"].splitlines()
    theirs = (RECORDED / "output.manifest.excerpt").read_bytes().splitlines()
    assert len(ours) == len(TRUTH)
    for our, their in zip(ours, theirs * 2, strict=True):
        our_shape, their_shape = _shape(our, "bin"), _shape(their, "birds-open-images-clone")
        assert our_shape == their_shape
        assert our == json.dumps(json.loads(our), separators=(",", ":")).encode()
    for line, (image, name) in zip(map(json.loads, ours), TRUTH.items(), strict=True):
        about = line["bin-metadata"]
        assert (line["source-ref"], line["bin"], about["class-name"]) == (image, CLASSES.index(name), name)
        assert about["job-name"] == "labeling-job/bins-1"


def _shape(line: bytes, attribute: str) -> list[tuple[str, Any]]:
    """A line with everything replaced that may differ between jobs."""
    record = json.loads(line)
    about = record.pop(f"{attribute}-metadata")
    text = json.loads(line, object_pairs_hook=list)
    assert [name for name, _ in text] == ["source-ref", attribute, f"{attribute}-metadata"]
    shape: list[tuple[str, Any]] = [("label", type(record[attribute]))]
    for name, value in about.items():
        pattern = re.sub(r"\d", "0", value) if name == "creation-date" else type(value)
        fixed = name in ("human-annotated", "type")
        shape.append((name, value if fixed else pattern))
    assert about["job-name"].startswith("labeling-job/")
    return shape


def test_a_worker_response_has_the_recorded_form_and_what_aws_added_since(finished: Account) -> None:
    (recorded,) = RECORDED.glob("worker-response/*/0/*.json")
    theirs = json.loads(recorded.read_bytes())
    name = next(name for name in finished.tree() if "worker-response" in name)
    body = finished.tree()[name]
    ours = json.loads(body)
    assert re.fullmatch(
        r"annotations/worker-response/iteration-1/\d+/\d{4}-\d\d-\d\d_\d\d:\d\d:\d\d\.json", name
    )
    # The recorded file lies at the same place, its colons replaced in this repository.
    assert re.fullmatch(r"iteration-\d/0/[\d-]{10}_[\d-]{8}\.json", "/".join(recorded.parts[-3:]))
    assert body == json.dumps(ours, separators=(",", ":")).encode()
    assert list(ours) == list(theirs) == ["answers"]
    added = {"acceptanceTime", "timeSpentInSeconds", "workerMetadata"}
    for our in ours["answers"]:
        assert set(our) - added == set(theirs["answers"][0])
        assert list(our) == sorted(our)
        assert list(our["answerContent"]["crowd-image-classifier"]) == ["label"]
        assert re.fullmatch(r"private\.us-east-1\.[0-9a-f]{16}", our["workerId"])
        for time in (our["acceptanceTime"], our["submissionTime"]):
            assert re.fullmatch(r"2026-11-22T\d\d:\d\d:\d\d\.\d{3}Z", time)
        identity = our["workerMetadata"]["identityData"]
        assert list(identity) == ["identityProviderType", "issuer", "sub"]
    assert len({our["workerId"] for our in ours["answers"]}) == 3
    submitted = [our["submissionTime"] for our in ours["answers"]]
    assert submitted == sorted(submitted)


def test_consolidation_files_hold_what_the_function_gets_and_gives(finished: Account) -> None:
    (asked, given) = (
        [name for name in finished.tree() if f"consolidation-{part}/iteration-2/" in name]
        for part in ("request", "response")
    )
    assert [name.replace("request", "response") for name in asked] == given
    requests = json.loads(finished.tree()[asked[0]])
    responses = json.loads(finished.tree()[given[0]])
    lines = finished.tree()["manifests/output/output.manifest"].splitlines()
    for request_, response in zip(requests, responses, strict=True):
        assert list(request_) == ["datasetObjectId", "dataObject", "annotations"]
        number = int(request_["datasetObjectId"])
        record = json.loads(lines[number])
        assert request_["dataObject"] == {"s3Uri": record.pop("source-ref")}
        for annotation in request_["annotations"]:
            assert list(annotation) == ["workerId", "annotationData"]
            content = json.loads(annotation["annotationData"]["content"])
            assert content["crowd-image-classifier"]["label"] in CLASSES
        assert response == {
            "datasetObjectId": str(number),
            "consolidatedAnnotation": {"content": record},
        }


def test_the_tree_holds_every_image_in_the_iteration_it_was_sent_in(finished: Account) -> None:
    sent = {}
    for iteration in (1, 2):
        body = finished.tree()[f"annotations/intermediate/{iteration}/annotations.json"]
        for line in map(json.loads, body.splitlines()):
            sent[line["datasetObjectId"]] = iteration
            assert json.loads(line["manifestLine"]) == {
                "source-ref": f"s3://trash/images/{line['datasetObjectId']}.jpg"
            }
    assert Counter(sent.values()) == {1: 10, 2: 14}
    answered = [name.split("/") for name in finished.tree() if "worker-response" in name]
    assert {parts[3]: int(parts[2][-1]) for parts in answered} == sent
    rest = [name for name in finished.tree() if "worker-response" not in name and "consolidat" not in name]
    assert sorted(rest) == [
        "annotations/intermediate/1/annotations.json",
        "annotations/intermediate/2/annotations.json",
        "manifests/intermediate/1/output.manifest",
        "manifests/output/output.manifest",
    ]


def test_the_same_tree_lies_in_a_bucket_of_moto(finished: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "gtlabel")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "gtlabel")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with moto.mock_aws():
        s3 = boto3.client("s3", region_name="us-east-1")
        s3.create_bucket(Bucket="trash")
        finish(Account(s3))
        listed = s3.list_objects_v2(Bucket="trash", Prefix="out/Bins-1/")["Contents"]
        stored = {
            item["Key"].removeprefix("out/Bins-1/"): s3.get_object(Bucket="trash", Key=item["Key"])[
                "Body"
            ].read()
            for item in listed
        }
    assert stored == finished.tree()
