"""The foreman in trouble: an S3 that fails, power cuts, long lives, and images that are asked about again."""

from __future__ import annotations

import io
import itertools
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from typing import Any

import moto
import pytest
from botocore.awsrequest import AWSResponse, HeadersDict
from botocore.config import Config
from botocore.exceptions import ConnectTimeoutError, EndpointConnectionError, ReadTimeoutError
from databases import new_database
from engine_parts import CLASS_LIST, CLASSES, KEY, MANIFEST, Clock, PowerCut, Shop, answer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gtlabel.emulator.environment import session
from gtlabel.engine.board import Board
from gtlabel.engine.foreman import Foreman
from gtlabel.engine.functions import Functions
from gtlabel.engine.jobs import Counters, Job, JobKey, JobSpec, Kind, Status
from gtlabel.engine.store import Store
from gtlabel.engine.stream import Arrival
from gtlabel.errors import AnswerError
from gtlabel.uris import S3Uri

ROOT = "out/Bins-1/"
OTHER = JobKey(KEY.account, KEY.region, "Other")
OUTPUT = f"{ROOT}manifests/output/output.manifest"
INTERMEDIATE = f"{ROOT}manifests/intermediate/1/output.manifest"


def refusal(status: int, code: str) -> Callable[[Any], Any]:
    def answered(request: Any) -> Any:
        body = f"<Error><Code>{code}</Code><Message>Not now.</Message></Error>".encode()
        headers: Any = HeadersDict()
        return AWSResponse(request.url, status, headers, _Raw(body))

    return answered


class _Raw(io.BytesIO):
    def stream(self, **_: Any) -> Iterator[bytes]:
        yield self.read()


def unreachable(request: Any) -> Any:
    raise EndpointConnectionError(endpoint_url=request.url)


def too_slow(request: Any) -> Any:
    raise ConnectTimeoutError(endpoint_url=request.url)


def cut_off(request: Any) -> Any:
    raise ReadTimeoutError(endpoint_url=request.url)


def power_cut(_request: Any) -> Any:
    raise PowerCut


PASSING = {
    "throttled": refusal(503, "SlowDown"),
    "in trouble": refusal(500, "InternalError"),
    "expired": refusal(400, "ExpiredToken"),
    "another key": refusal(403, "InvalidAccessKeyId"),
    "unreachable": unreachable,
    "too slow": too_slow,
    "cut off": cut_off,
}


class Weather:
    """What happens to each request to S3, by its number."""

    def __init__(self, trouble: Mapping[int, Callable[[Any], Any]] | None = None) -> None:
        self.trouble = dict(trouble or {})
        self.always: Callable[[Any], Any] | None = None
        self.seen: list[str] = []
        self._numbers = itertools.count()

    def __call__(self, request: Any, event_name: str, **_: Any) -> Any:
        number = next(self._numbers)
        self.seen.append(f"{event_name.rpartition('.')[2]} {request.url.partition('/trash/')[2]}")
        spoil = self.trouble.get(number, self.always)
        return None if spoil is None else spoil(request)


class Site:
    """An engine on a real client, whose S3 is moto's, in weather that the test makes."""

    def __init__(self, weather: Weather, lines: int = 5, **spec: Any) -> None:
        config = Config(
            retries={"total_max_attempts": 1, "mode": "standard"}, s3={"addressing_style": "path"}
        )
        self.s3: Any = session("us-east-1").client("s3", config=config)
        self.s3.create_bucket(Bucket="trash")
        manifest = "".join(f'{{"source-ref":"s3://trash/images/{number}.jpg"}}\n' for number in range(lines))
        self.put(MANIFEST.key, manifest)
        self.put(CLASS_LIST.key, json.dumps({"labels": [{"label": name} for name in CLASSES]}))
        self.weather = weather
        self.s3.meta.events.register("before-send.s3", weather)
        self.clock = Clock()
        self.board = Board(Store(), clock=self.clock)
        self.time = itertools.count(0, 100)
        usual = {"attribute": "bin", "manifest": MANIFEST, "class_list": CLASS_LIST, "key": KEY}
        self.spec = JobSpec(**{**usual, "output": S3Uri("s3://trash/out/"), **spec})
        self.restart()

    def restart(self) -> None:
        """Have another process take over."""
        functions = Functions({"post": self._consolidate})
        self.foreman = Foreman(
            self.board, lambda _: self.s3, functions=functions, timer=lambda: float(next(self.time))
        )

    def put(self, key: str, body: str) -> None:
        self.s3.put_object(Bucket="trash", Key=key, Body=body.encode())

    def turn(self) -> None:
        for _ in range(20):
            try:
                self.board.news.clear()
                while self.foreman.turn():
                    pass
                if not self.board.news.wait(0.02 if self.spec.post else 0):
                    return
            except PowerCut:
                self.restart()

    def run(self) -> dict[str, bytes]:
        """Have the job done, by three people or fewer, and return what it wrote."""
        self.board.create_job(self.spec)
        arrived = not self.spec.streaming
        for _ in range(300):
            self.turn()
            job = self.board.job(KEY)
            if job.status.ended:
                break
            if not arrived and job.status is Status.IN_PROGRESS:
                lines = [f'{{"source-ref":"s3://trash/more/{number}.jpg"}}' for number in range(3)]
                self.board.add_objects(KEY, [Arrival(line, line) for line in lines])
                arrived = True
            for worker in ("ann", "bob", "eve"):
                while task := self.board.lease(KEY, worker):
                    self.board.submit(task.lease, said(self.spec.kind, worker, task.object))
            count = self.board.counters(KEY)
            if self.spec.streaming and arrived and count.human_labeled == 8 and not count.unlabeled:
                self.board.stop(KEY)
        assert self.board.job(KEY).status is (Status.STOPPED if self.spec.streaming else Status.COMPLETED)
        self.weather.trouble.clear()
        self.weather.always = None
        return self.tree()

    def tree(self) -> dict[str, bytes]:
        found = self.s3.list_objects_v2(Bucket="trash", Prefix=ROOT).get("Contents", [])
        return {item["Key"]: self.get(item["Key"]) for item in found}

    def get(self, key: str) -> bytes:
        body: bytes = self.s3.get_object(Bucket="trash", Key=key)["Body"].read()
        return body

    def _consolidate(self, event: Any, _context: Any) -> Any:
        # Not through S3, which is the foreman's to read and write here.
        return [
            {"datasetObjectId": str(n), "consolidatedAnnotation": {"content": {"bin": event["payload"]}}}
            for n in range(20)
        ]


def said(kind: Kind, worker: str, number: int) -> dict[str, Any]:
    name = CLASSES[(number + (worker == "eve")) % 3]
    if kind is Kind.MULTI:
        return {kind.value: {"labels": [name, CLASSES[number % 3]]}}
    return {"crowd-image-classifier": {"label": name}}


@contextmanager
def site(weather: Weather | None = None, **spec: Any) -> Iterator[Site]:
    with moto.mock_aws():
        yield Site(weather or Weather(), **spec)


KINDS: dict[str, dict[str, Any]] = {
    "single": {"max_concurrent": 3},
    "multi": {"kind": Kind.MULTI, "workers_per_object": 2},
    "custom": {"kind": Kind.CUSTOM, "workers_per_object": 1},
    "function": {"kind": Kind.CUSTOM, "workers_per_object": 1, "post": "post"},
    "streaming": {"streaming": True, "workers_per_object": 1},
}


@cache
def undisturbed(kind: str) -> dict[str, bytes]:
    with site(**KINDS[kind]) as calm:
        return calm.run()


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "gtlabel")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "gtlabel")
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)


# ---- trouble that passes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@given(
    trouble=st.dictionaries(
        st.integers(0, 45), st.sampled_from([*PASSING.values(), power_cut]), min_size=1, max_size=12
    )
)
@settings(
    max_examples=6,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_an_s3_that_fails_now_and_then_and_power_cuts_change_no_byte(
    kind: str, trouble: dict[int, Callable[[Any], Any]]
) -> None:
    expected = undisturbed(kind)
    with site(Weather(trouble), **KINDS[kind]) as stormy:
        found = stormy.run()
    assert found.keys() >= {OUTPUT}
    assert found == expected


@pytest.mark.parametrize("name", PASSING)
def test_an_s3_that_is_away_for_long_fails_no_job_at_any_step(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    weather = Weather()
    with site(weather) as place, caplog.at_level(logging.WARNING):
        place.board.create_job(place.spec)
        for step in ("begin", "consolidate"):
            weather.always = PASSING[name]
            for _ in range(5):
                place.turn()
            assert not place.board.job(KEY).status.ended, step
            weather.always = None
            place.turn()
            for worker in ("ann", "bob", "eve"):
                while task := place.board.lease(KEY, worker):
                    place.board.submit(task.lease, answer("Compost"))
        place.turn()
        assert place.board.job(KEY).status is Status.COMPLETED
    assert "the labeling job Bins-1 cannot be moved on now and is tried again in 1 seconds: " in caplog.text
    assert "Traceback" not in caplog.text


def test_pauses_grow_to_a_minute_and_start_over_after_a_success(caplog: pytest.LogCaptureFixture) -> None:
    weather = Weather()
    with site(weather) as place, caplog.at_level(logging.WARNING):
        now = [0.0]
        place.foreman = Foreman(place.board, lambda _: place.s3, timer=lambda: now[0])
        place.board.create_job(place.spec)
        weather.always = PASSING["throttled"]
        asked = []
        for second in range(200):
            now[0] = float(second)
            before = len(weather.seen)
            place.foreman.turn()
            if len(weather.seen) > before:
                asked.append(second)
        assert asked == [0, 1, 3, 7, 15, 31, 63, 123, 183]
        weather.always = None
        now[0] = 300.0
        assert place.foreman.turn()
        assert place.board.job(KEY).status is Status.IN_PROGRESS


def test_a_job_in_trouble_holds_up_no_other() -> None:
    weather = Weather()
    with site(weather) as place:
        other = JobSpec(
            key=OTHER,
            attribute="bin",
            manifest=MANIFEST,
            class_list=CLASS_LIST,
            output=S3Uri("s3://trash/elsewhere/"),
            workers_per_object=1,
        )
        place.board.create_job(place.spec)
        place.turn()
        while task := place.board.lease(KEY, "ann"):
            place.board.submit(task.lease, answer("Compost"))
        place.board.create_job(other)
        throttled = PASSING["throttled"]
        weather.always = lambda request: throttled(request) if "/out/" in request.url else None
        for _ in range(4):
            place.turn()
            while task := place.board.lease(other.key, "ann"):
                place.board.submit(task.lease, answer("Compost"))
        assert place.board.job(other.key).status is Status.COMPLETED
        assert place.board.job(KEY).status is Status.IN_PROGRESS


def test_a_mistake_of_ours_in_one_job_holds_up_no_other(caplog: pytest.LogCaptureFixture) -> None:
    def identify(job: Job, _worker: str) -> None:
        if job.key == KEY:
            raise ZeroDivisionError("a mistake")

    shop = Shop(2, workers_per_object=1)
    shop.foreman = Foreman(shop.board, lambda _: shop.bucket.client, identify=identify)
    other = Shop(2, workers_per_object=1, store=shop.store, bucket=shop.bucket, key=OTHER)
    shop.start()
    shop.board.create_job(other.spec)
    shop.turn()
    for key in (KEY, other.spec.key):
        while task := shop.board.lease(key, "ann"):
            shop.say(task)
    with caplog.at_level(logging.WARNING):
        shop.turn()
    assert shop.board.job(other.spec.key).status is Status.COMPLETED
    assert shop.job.status is Status.IN_PROGRESS
    assert "ZeroDivisionError: a mistake" in caplog.text


# ---- trouble that does not ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        (
            refusal(403, "AccessDenied"),
            "ClientError: these credentials lack s3:PutObject on s3://trash/out/Bins-1/",
        ),
        (refusal(404, "NoSuchBucket"), "ClientError: the bucket 'trash' does not exist"),
        (refusal(400, "KMS.DisabledException"), "ClientError: s3://trash/out/Bins-1/"),
    ],
)
def test_what_does_not_pass_fails_the_job_by_its_reason(trouble: Any, reason: str) -> None:
    weather = Weather()
    with site(weather, workers_per_object=1) as place:
        place.board.create_job(place.spec)
        place.turn()
        weather.always = trouble
        while task := place.board.lease(KEY, "ann"):
            place.board.submit(task.lease, answer("Compost"))
        place.turn()
        job = place.board.job(KEY)
        assert (job.status, job.reason[: len(reason)]) == (Status.FAILED, reason)


@pytest.mark.parametrize("missing", ["manifest", "class_list", "template"])
def test_an_input_that_is_not_there_fails_the_job_by_its_address(missing: str) -> None:
    gone: dict[str, Any] = {missing: S3Uri("s3://trash/gone")}
    with site(**gone) as place:
        place.board.create_job(place.spec)
        place.turn()
        job = place.board.job(KEY)
        assert (job.status, job.reason) == (Status.FAILED, "ClientError: there is nothing at s3://trash/gone")
        assert place.board.counters(KEY) == Counters()


# ---- what is written, and how often ------------------------------------------------------------------------


def test_the_manifest_of_a_job_with_many_iterations_is_written_a_few_times() -> None:
    weather = Weather()
    with site(weather, lines=60, max_concurrent=5, workers_per_object=1) as place:
        place.run()
        written = Counter(name.removeprefix("PutObject ") for name in weather.seen if name.startswith("Put"))
    assert place.board.job(KEY).iteration == 12
    assert (written[INTERMEDIATE], written[OUTPUT]) == (2, 1)
    assert len([name for name in written if "worker-response" in name]) == 60


def test_a_job_that_is_not_done_within_thirty_days_stops_with_what_it_has() -> None:
    shop = Shop(20, workers_per_object=1).start()
    for _ in range(4):
        shop.say(shop.lease())
    shop.clock.pass_seconds(timedelta(days=30).total_seconds() - 1)
    assert shop.turn().job.status is Status.IN_PROGRESS
    shop.clock.pass_seconds(1)
    assert shop.turn().job.status is Status.STOPPED
    assert shop.job.reason == "The labeling job was not finished within 30 days; chain another to it."
    assert Counter("bin" in record for record in shop.records()) == {True: 4, False: 16}


def test_a_streaming_job_lives_as_long_as_it_is_sent_something() -> None:
    shop = Shop(0, streaming=True, manifest=None, workers_per_object=1).start()
    for day in range(0, 63, 9):
        line = f'{{"source-ref":"s3://trash/{day}.jpg"}}'
        shop.board.add_objects(KEY, [Arrival(line, line)])
        shop.turn()
        shop.say(shop.lease())
        shop.turn().clock.pass_seconds(timedelta(days=9).total_seconds())
    assert shop.turn().job.status is Status.IN_PROGRESS
    assert shop.board.counters(KEY) == Counters(human_labeled=7)


def test_of_two_processes_on_one_database_one_moves_the_jobs_on() -> None:
    database = new_database()
    first, second = Store(database), Store(database)
    shop = Shop(3, store=first, workers_per_object=1)
    other = Shop(store=second, bucket=shop.bucket)
    assert (first.leading(), second.leading()) == (True, False)
    shop.board.create_job(shop.spec)
    assert not other.foreman.turn()
    assert other.job.status is Status.INITIALIZING
    shop.turn()
    while task := other.board.lease(KEY, "ann"):
        other.say(task)
    first.close()
    # Whoever is left takes over, and finishes what the other began.
    assert other.finish().job.status is Status.COMPLETED
    assert len(other.records()) == 3
    second.close()


# ---- asked again -------------------------------------------------------------------------------------------


def test_a_disputed_image_gets_a_new_label_from_all_its_answers() -> None:
    shop = Shop(12, workers_per_object=1).start()
    first = shop.lease("ann")
    shop.say(first, "Compost")
    for _ in range(9):
        shop.say(shop.lease("ann"), "Landfill")
    shop.turn()
    assert shop.board.counters(KEY) == Counters(human_labeled=10, unlabeled=2)
    assert shop.board.raise_need(KEY, [first.object], 3) == [first.object]
    for _ in range(2):
        shop.say(shop.lease("ann"), "Landfill")
    for worker in ("bob", "eve"):
        asked = shop.lease(worker)
        assert asked.object == first.object
        shop.clock.pass_seconds(1)
        shop.say(asked, "Recycle")
    shop.turn()
    assert shop.job.status is Status.COMPLETED
    record = shop.records()[first.object]
    assert record["bin-metadata"]["class-name"] == "Recycle"
    # Three people were asked, so that it says how sure it is; the others had one.
    assert record["bin-metadata"]["confidence"] > 0
    assert [each["bin-metadata"]["confidence"] for each in shop.records()].count(0.0) == 11
    files = [name for name in shop.tree() if f"/{first.object}/" in name and "worker-response" in name]
    assert sorted(len(json.loads(shop.tree()[name])["answers"]) for name in files) == [1, 3]


def test_an_image_that_is_asked_about_again_keeps_its_label_until_it_has_another() -> None:
    shop = Shop(12, workers_per_object=1, max_concurrent=10).start()
    for _ in range(10):
        shop.say(shop.lease("ann"), "Compost")
    shop.turn()
    labeled = next(number for number in range(12) if number not in _unlabeled(shop))
    shop.board.raise_need(KEY, [labeled], 2)
    while task := shop.board.lease(KEY, "ann"):
        shop.say(task, "Compost")
    assert not shop.turn().job.status.ended
    shop.board.stop(KEY)
    assert shop.turn().job.status is Status.STOPPED
    assert all(record["bin-metadata"]["class-name"] == "Compost" for record in shop.records())


def _unlabeled(shop: Shop) -> set[int]:
    body = shop.tree()["annotations/intermediate/2/annotations.json"]
    return {int(json.loads(line)["datasetObjectId"]) for line in body.splitlines()}


# ---- texts, and answers that are too long ------------------------------------------------------------------


def test_a_custom_job_shows_texts_as_well_as_images() -> None:
    lines = ['{"source":"Is this a bin?","n":1}', '{"source-ref":"s3://trash/1.jpg"}']
    shop = Shop(lines, kind=Kind.CUSTOM, workers_per_object=1).start()
    while task := shop.board.lease(KEY, "ann"):
        shop.board.submit(task.lease, {"said": task.source_ref or json.loads(task.line)["source"]})
    shop.turn()
    (request,) = [body for name, body in shop.tree().items() if "consolidation-request" in name]
    assert {each["datasetObjectId"]: each["dataObject"] for each in json.loads(request)} == {
        "0": {"content": "Is this a bin?"},
        "1": {"s3Uri": "s3://trash/1.jpg"},
    }
    assert [list(record) for record in shop.records()] == [
        ["source", "n", "bin", "bin-metadata"],
        ["source-ref", "bin", "bin-metadata"],
    ]


@pytest.mark.parametrize(
    ("kind", "line", "reason"),
    [
        (Kind.SINGLE, '{"source":"text"}', 'it has no "source-ref" with the address of an image'),
        (
            Kind.CUSTOM,
            '{"source":7}',
            'no "source-ref" with the address of an image and no "source" with a text',
        ),
        (
            Kind.CUSTOM,
            '{"source":"text","source-ref":7}',
            'no "source-ref" with the address of an image and no',
        ),
        (Kind.CUSTOM, '{"source-ref":"7"}', "'7' is not an S3 address"),
    ],
)
def test_a_line_that_shows_nothing_to_workers_fails_the_job(kind: Kind, line: str, reason: str) -> None:
    shop = Shop([line], kind=kind).start()
    assert shop.job.status is Status.FAILED
    assert "line 1: " in shop.job.reason
    assert reason in shop.job.reason


def test_an_answer_that_nobody_could_have_written_is_refused_and_the_task_stays() -> None:
    shop = Shop(1, kind=Kind.CUSTOM, workers_per_object=1).start()
    task = shop.lease()
    with pytest.raises(AnswerError, match="has 1000012 characters as JSON; at most 1000000 are taken"):
        shop.board.submit(task.lease, {"said": "x" * 1_000_001})
    shop.board.submit(task.lease, {"said": "x" * 999_000})
    assert shop.turn().job.status is Status.COMPLETED
