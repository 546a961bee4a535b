"""What a job makes of the functions of its custom workflow, and what worker pages get."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

import pytest
from engine_parts import KEY, Shop

from gtlabel.engine.custom import task_input
from gtlabel.engine.foreman import Foreman
from gtlabel.engine.functions import Functions
from gtlabel.engine.jobs import Counters, JobKey, Kind, Status
from gtlabel.engine.store import Store

ROLE = "arn:aws:iam::123456789012:role/gtlabel"
UNHANDLED = (
    "ClientError: Exception invoking the Lambda function arn:aws:lambda:us-east-1:123456789012:function:{}. "
    "LambdaErrorCode: Unhandled. Ensure the Lambda function exists, that the role "
    f"{ROLE} has permissions to invoke it and try your request again. "
)


# ---- before a task -----------------------------------------------------------------------------------------


class Watched(Functions):
    """Functions of which one knows when all that were called have answered."""

    def __init__(self, handlers: Mapping[str, Any] | None = None) -> None:
        super().__init__(handlers)
        self.asked: list[Future[Any]] = []

    def call(self, name: str, arn: str, event: Mapping[str, Any]) -> Future[Any]:
        self.asked.append(super().call(name, arn, event))
        return self.asked[-1]


class Workflow(Shop):
    """A custom job on a bucket, whose functions are of this process."""

    def __init__(self, lines: Any = 3, *, functions: Mapping[str, Any] | None = None, **spec: Any) -> None:
        usual = {"kind": Kind.CUSTOM, "workers_per_object": 1, "request": {"RoleArn": ROLE}}
        super().__init__(lines, **{**usual, **spec})
        self.functions = Watched(functions)
        self.foreman = Foreman(self.board, lambda _: self.bucket.client, functions=self.functions)

    def start(self) -> Workflow:
        super().start()
        return self

    def turn(self) -> Workflow:
        """Move on until nothing is asked of anybody but workers."""
        until = time.monotonic() + 60
        while True:
            self.board.news.clear()
            while self.foreman.turn():
                pass
            if not self.board.news.wait(0.05) and all(answer.done() for answer in self.functions.asked):
                return self
            assert time.monotonic() < until, "the functions never came to an end"

    def answer_all(self) -> Workflow:
        """Have one person answer whatever there is, until the job has ended."""
        while not self.turn().job.status.ended:
            while task := self.board.lease(KEY, "ann"):
                self.board.submit(task.lease, {"bin": "Paper"})
        return self


def test_what_the_function_makes_of_a_record_is_what_the_page_gets() -> None:
    seen: list[Any] = []

    def pre(event: Any, _context: Any) -> Any:
        seen.append(event)
        return {"taskInput": {"page": event["dataObject"].get("source-ref", "text"), "deep": {"n": [1]}}}

    lines = ['{"source-ref":"s3://trash/1.jpg","shop":7}', '{"source":"a text","$sequencer":"1"}']
    shop = Workflow(lines, functions={"pre": pre}, pre="pre").start()
    assert sorted(seen, key=lambda event: "source" in event["dataObject"]) == [
        {
            "version": "2018-10-16",
            "labelingJobArn": "arn:aws:sagemaker:us-east-1:123456789012:labeling-job/bins-1",
            "dataObject": json.loads(line),
        }
        for line in lines
    ]
    tasks = [shop.board.lease(KEY, worker) for worker in ("ann", "bob")]
    given = {task.object: task_input(task) for task in tasks if task}
    assert given == {
        0: {"page": "s3://trash/1.jpg", "deep": {"n": [1]}},
        1: {"page": "text", "deep": {"n": [1]}},
    }


@pytest.mark.parametrize("name", ["isHumanAnnotationRequired", "humanAnnotationRequired"])
@pytest.mark.parametrize(("flag", "asked"), [(True, True), ("TRUE", True), (False, False), ("false", False)])
def test_an_object_that_needs_no_people_passes_through_as_it_came(name: str, flag: Any, asked: bool) -> None:
    def pre(event: Any, _context: Any) -> Any:
        first = event["dataObject"]["source-ref"].endswith("/0.jpg")
        return {"taskInput": {}, name: flag} if first else {"taskInput": {}}

    shop = Workflow(2, functions={"pre": pre}, pre="pre").start().answer_all()
    assert shop.job.status is Status.COMPLETED
    assert ("bin" in shop.records()[0]) == asked
    assert "bin" in shop.records()[1]
    assert shop.board.counters(KEY) == Counters(human_labeled=1 + asked)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({}, 'its "taskInput" must be a JSON object'),
        ({"taskInput": "text"}, 'its "taskInput" must be a JSON object'),
        ([], 'it must return an object with "taskInput"'),
        (
            {"taskInput": {}, "isHumanAnnotationRequired": "no"},
            "\"isHumanAnnotationRequired\" is 'no'; it must be",
        ),
        ({"taskInput": {"a": "\ud800"}}, 'its "taskInput" holds half a character'),
        (ValueError("no such bin"), "ValueError: no such bin"),
    ],
)
def test_an_object_whose_function_fails_fails_alone_and_says_why(given: Any, reason: str) -> None:
    def pre(event: Any, _context: Any) -> Any:
        if not event["dataObject"]["source-ref"].endswith("/1.jpg"):
            return {"taskInput": {}}
        if isinstance(given, Exception):
            raise given
        return given

    shop = Workflow(3, functions={"pre": pre}, pre="pre").start()
    assert shop.board.counters(KEY) == Counters(failed=1, unlabeled=2)
    shop.answer_all()
    assert shop.job.status is Status.COMPLETED
    record = shop.records()[1]
    assert list(record) == ["source-ref", "bin-metadata"]
    assert list(record["bin-metadata"]) == ["retry-count", "failure-reason", "human-annotated"]
    words = UNHANDLED.format("pre") + f"the function 'pre' failed: {reason}"
    assert record["bin-metadata"]["failure-reason"].startswith(words)


def test_a_function_that_fails_for_every_object_of_an_iteration_fails_the_job() -> None:
    def pre(_event: Any, _context: Any) -> Any:
        raise KeyError("taskObject")

    shop = Workflow(12, functions={"pre": pre}, pre="pre").start()
    assert shop.job.status is Status.FAILED
    assert shop.job.reason == UNHANDLED.format("pre") + "the function 'pre' failed: KeyError: 'taskObject'"
    # The two that were not tried any more are as they came.
    manifest = shop.tree()["manifests/intermediate/1/output.manifest"].splitlines()
    assert sum(b"failure-reason" in line for line in manifest) == 10


def test_a_job_waits_for_a_function_that_its_server_was_started_without(
    caplog: pytest.LogCaptureFixture,
) -> None:
    shop = Workflow(1, pre="pre")
    with caplog.at_level(logging.WARNING):
        shop.start()
    assert shop.job.status is Status.IN_PROGRESS
    assert "start this server with --function pre=package.module:function" in caplog.text
    # The server is started again, with it.
    own = Functions({"pre": lambda _event, _context: {"taskInput": {"n": 1}}})
    shop.foreman = Foreman(shop.board, lambda _: shop.bucket.client, functions=own)
    task = shop.turn().lease()
    assert task_input(task) == {"n": 1}


def test_a_slow_function_holds_up_neither_other_jobs_nor_a_stop() -> None:
    over = threading.Event()

    def pre(_event: Any, _context: Any) -> Any:
        over.wait(60)
        return {"taskInput": {}}

    shop = Workflow(2, functions={"pre": pre}, pre="pre")
    try:
        shop.board.create_job(shop.spec)
        while shop.foreman.turn():
            pass
        other = Shop(2, store=shop.store, bucket=shop.bucket, key=JobKey(KEY.account, KEY.region, "Other"))
        other.foreman = shop.foreman
        other.board.create_job(other.spec)
        while shop.foreman.turn():
            pass
        assert other.board.lease(other.spec.key, "ann") is not None
        assert shop.board.lease(KEY, "ann") is None
        shop.board.stop(KEY)
        while shop.foreman.turn():
            pass
        assert shop.job.status is Status.STOPPED
    finally:
        over.set()


# ---- after a batch -----------------------------------------------------------------------------------------


def consolidated(number: str, content: Any) -> dict[str, Any]:
    return {"datasetObjectId": number, "consolidatedAnnotation": {"content": content}}


def test_the_function_gets_the_documented_event_and_its_labels_are_the_output() -> None:
    seen: list[Any] = []
    shop = Workflow(['{"source-ref":"s3://trash/1.jpg"}', '{"source":"a text"}'], post="post", pre=None)

    def after(event: Any, _context: Any) -> Any:
        seen.append(event)
        payload = event["payload"]["s3Uri"].removeprefix("s3://trash/")
        asked = json.loads(shop.bucket.files[payload])
        return [
            consolidated(
                each["datasetObjectId"],
                {
                    "bin": json.loads(each["annotations"][0]["annotationData"]["content"]),
                    **({"bin-metadata": {"own": 1}} if "content" in each["dataObject"] else {}),
                },
            )
            for each in reversed(asked)
        ]

    shop.functions = Watched({"post": after})
    shop.foreman = Foreman(shop.board, lambda _: shop.bucket.client, functions=shop.functions)
    shop.start()
    while task := shop.board.lease(KEY, "ann"):
        shop.board.submit(task.lease, {"bin": {"object": task.object}})
    shop.turn()
    (event,) = seen
    payload = event.pop("payload")["s3Uri"]
    assert event == {
        "version": "2018-10-16",
        "labelingJobArn": "arn:aws:sagemaker:us-east-1:123456789012:labeling-job/bins-1",
        "labelAttributeName": "bin",
        "labelCategories": ["Compost", "Landfill", "Recycle"],
        "roleArn": ROLE,
        "outputConfig": "s3://trash/out/Bins-1/annotations",
        "maxHumanWorkersPerDataObject": 1,
    }
    asked = json.loads(shop.bucket.files[payload.removeprefix("s3://trash/")])
    objects = {each["datasetObjectId"]: each["dataObject"] for each in asked}
    assert objects == {"0": {"s3Uri": "s3://trash/1.jpg"}, "1": {"content": "a text"}}
    image, text = shop.records()
    assert (image["bin"], text["bin"]) == ({"bin": {"object": 0}}, {"bin": {"object": 1}})
    assert list(image["bin-metadata"]) == ["type", "job-name", "human-annotated", "creation-date"]
    assert text["bin-metadata"] == {"own": 1}
    (name,) = [name for name in shop.tree() if "consolidation-response" in name]
    assert [each["datasetObjectId"] for each in json.loads(shop.tree()[name])] in (["1", "0"], ["0", "1"])


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ([], "the post-annotation function returned no entry for this object"),
        (
            [consolidated("1", {"bin": 1})] * 2,
            "the post-annotation function returned 2 entries for this object",
        ),
        ([consolidated("1", {"other": 1})], "returned no consolidatedAnnotation.content.bin"),
        ([consolidated("1", "text")], "returned no consolidatedAnnotation.content.bin"),
        ([{"datasetObjectId": "1"}], "returned no consolidatedAnnotation.content.bin"),
        ([consolidated("1", {"bin": 1, "bin-metadata": 2})], "returned bin-metadata that is no object"),
        ([consolidated("1", {"bin": "\ud800"})], "returned half a character, which no file can hold"),
        (["nonsense", {"datasetObjectId": ["1"]}], "returned no entry for this object"),
    ],
)
def test_an_entry_that_is_missing_or_wrong_fails_its_object_alone(entries: list[Any], reason: str) -> None:
    def after(_event: Any, _context: Any) -> Any:
        return [
            consolidated("0", {"bin": "a"}),
            *entries,
            consolidated("7", {"bin": "b"}),
            consolidated("2", {"bin": 0}),
        ]

    shop = Workflow(3, functions={"post": after}, post="post").start().answer_all()
    assert shop.job.status is Status.COMPLETED
    first, second, third = shop.records()
    assert (first["bin"], third["bin"]) == ("a", 0)
    assert list(second) == ["source-ref", "bin-metadata"]
    about = second["bin-metadata"]
    assert (about["retry-count"], about["human-annotated"]) == (1, "true")
    assert about["failure-reason"].startswith("ClientError: ")
    assert reason in about["failure-reason"]
    assert shop.board.counters(KEY) == Counters(human_labeled=2, failed=1)


@pytest.mark.parametrize("given", [None, {"0": 1}, "text", ValueError("broken")])
def test_a_function_that_makes_nothing_of_the_answers_fails_the_job_and_loses_none(given: Any) -> None:
    def after(_event: Any, _context: Any) -> Any:
        if isinstance(given, Exception):
            raise given
        return given

    shop = Workflow(2, functions={"post": after}, post="post").start().answer_all()
    assert shop.job.status is Status.FAILED
    assert shop.job.reason.startswith(UNHANDLED.format("post") + "the function 'post' failed: ")
    answers = [json.loads(body) for name, body in shop.tree().items() if "worker-response" in name]
    assert [each["answers"][0]["answerContent"] for each in answers] == [{"bin": "Paper"}] * 2


def test_a_crash_while_the_function_runs_has_it_called_again_for_the_same_batch() -> None:
    payloads: list[str] = []
    begun, over = threading.Event(), threading.Event()

    def slow(event: Any, _context: Any) -> Any:
        payloads.append(event["payload"]["s3Uri"])
        begun.set()
        over.wait(60)
        return []

    def quick(event: Any, _context: Any) -> Any:
        payloads.append(event["payload"]["s3Uri"])
        return [consolidated(str(number), {"bin": number}) for number in range(2)]

    shop = Workflow(2, functions={"post": slow}, post="post").start()
    try:
        while task := shop.board.lease(KEY, "ann"):
            shop.board.submit(task.lease, {"bin": "x"})
        while shop.foreman.turn():
            pass
        assert begun.wait(60)
        # The process that waited for it is gone; another begins.
        shop.functions = Watched({"post": quick})
        shop.foreman = Foreman(shop.board, lambda _: shop.bucket.client, functions=shop.functions)
        shop.turn()
    finally:
        over.set()
    assert shop.job.status is Status.COMPLETED
    assert payloads[0] == payloads[1]
    assert [record["bin"] for record in shop.records()] == [0, 1]


def test_batches_wait_for_the_function_beside_each_other() -> None:
    def after(event: Any, _context: Any) -> Any:
        asked = json.loads(shop.bucket.files[event["payload"]["s3Uri"].removeprefix("s3://trash/")])
        sizes.append(len(asked))
        return [consolidated(each["datasetObjectId"], {"bin": 1}) for each in asked]

    sizes: list[int] = []
    shop = Workflow(130, post="post")
    shop.functions = Watched({"post": after})
    shop.foreman = Foreman(shop.board, lambda _: shop.bucket.client, functions=shop.functions)
    shop.start().answer_all()
    assert shop.job.status is Status.COMPLETED
    assert sorted(sizes) == [10, 20, 50, 50]
    assert all(record["bin"] == 1 for record in shop.records())


def test_both_functions_work_on_every_database(store: Store) -> None:
    def pre(event: Any, _context: Any) -> Any:
        if event["dataObject"]["source-ref"].endswith("/3.jpg"):
            raise ValueError("no such bin")
        return {
            "taskInput": {"a": 1},
            "isHumanAnnotationRequired": "/4." not in event["dataObject"]["source-ref"],
        }

    def after(_event: Any, _context: Any) -> Any:
        return [consolidated(str(number), {"bin": number}) for number in range(6)]

    own = {"pre": pre, "post": after}
    shop = Workflow(7, functions=own, pre="pre", post="post", store=store).start()
    while task := shop.board.lease(KEY, "ann"):
        assert task_input(task) == {"a": 1}
        shop.board.submit(task.lease, {"bin": "Paper"})
        if task.object == 6:
            shop.board.raise_need(KEY, [6], 2)
    other = shop.lease("bob")
    assert other.object == 6
    shop.board.submit(other.lease, {"bin": "Paper"})
    assert shop.turn().job.status is Status.COMPLETED
    reasons = [record.get("bin-metadata", {}).get("failure-reason", "")[-30:] for record in shop.records()]
    assert [record.get("bin") for record in shop.records()] == [0, 1, 2, None, None, 5, None]
    assert [bool(reason) for reason in reasons] == [False] * 3 + [True] + [False] * 2 + [True]
    assert shop.board.counters(KEY) == Counters(human_labeled=4, failed=2)


# ---- what pages get without a function ---------------------------------------------------------------------


def test_a_page_of_a_built_in_task_gets_the_three_keys() -> None:
    shop = Shop(['{"source-ref":"s3://trash/1.jpg","shop":7}'], workers_per_object=1).start()
    assert task_input(shop.lease()) == {
        "taskObject": "s3://trash/1.jpg",
        "labels": ["Compost", "Landfill", "Recycle"],
        "manifestLine": {"source-ref": "s3://trash/1.jpg", "shop": 7},
    }


def test_a_custom_page_without_a_function_finds_the_record_itself_too() -> None:
    given = task_input(Workflow(['{"source":"a text","labels":"own"}']).start().lease())
    assert given["source"] == given["taskObject"] == "a text"
    assert given["labels"] == "own"
    assert given["manifestLine"] == {"source": "a text", "labels": "own"}
