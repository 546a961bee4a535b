"""Following training jobs: every line of the log once, what it measures, and what is waited out."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber
from hypothesis import given
from hypothesis import strategies as st

from gtlabel import LogReader, read_curve
from gtlabel.aws import Aws
from gtlabel.cli.failures import explain
from gtlabel.cli.following import Watch
from gtlabel.emulator.environment import session
from gtlabel.errors import TrainingEndedError, TrainingGoesOnError
from gtlabel.training.curve import Curve, Metric, Point, draw, read_metric
from gtlabel.training.follow import LOG_GROUP, LogLine, follow_training_job
from gtlabel.training.jobs import TrainingJob

if TYPE_CHECKING:
    from types_boto3_logs import CloudWatchLogsClient
    from types_boto3_sagemaker import SageMakerClient

ARN = "arn:aws:sagemaker:us-east-1:123456789012:training-job/sorter"
CREATED = datetime(2026, 11, 22, 17, 0, tzinfo=UTC)
NOON = 1_795_000_000_000  # milliseconds


class Service:
    """SageMaker and CloudWatch Logs that answer in a given order, and a clock that goes when one sleeps."""

    def __init__(self) -> None:
        self.sagemaker: SageMakerClient = session("us-east-1").client("sagemaker")
        self.logs: CloudWatchLogsClient = session("us-east-1").client("logs")
        self._jobs, self._lines = Stubber(self.sagemaker), Stubber(self.logs)
        self._jobs.activate()
        self._lines.activate()
        self.now = 0.0
        self.slept: list[float] = []

    def is_(self, *statuses: str, **more: Any) -> None:
        for status in statuses:
            secondary = status if status in ("Completed", "Failed", "Stopped") else "Training"
            answer = {
                "TrainingJobName": "sorter",
                "TrainingJobArn": ARN,
                "TrainingJobStatus": status,
                "SecondaryStatus": secondary,
                "ModelArtifacts": {"S3ModelArtifacts": "s3://trash/model.tar.gz"},
                "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
                "CreationTime": CREATED,
                **more,
            }
            self._jobs.add_response("describe_training_job", answer, {"TrainingJobName": "sorter"})

    def has(self, *streams: str) -> None:
        self._lines.add_response(
            "describe_log_streams",
            {"logStreams": [{"logStreamName": name} for name in streams]},
            {"logGroupName": LOG_GROUP, "logStreamNamePrefix": "sorter/"},
        )

    def says(self, *lines: str | tuple[int, str], token: str, asked: str | None = None, **place: Any) -> None:
        events = [(NOON + n, line) if isinstance(line, str) else line for n, line in enumerate(lines)]
        where = place.pop("stream", "sorter/algo-1-1795000000000")
        self._lines.add_response(
            "get_log_events",
            {
                "events": [{"timestamp": moment, "message": text} for moment, text in events],
                "nextForwardToken": token,
            },
            {
                "logGroupName": LOG_GROUP,
                "logStreamName": where,
                "startFromHead": True,
                **({"nextToken": asked} if asked else {"startTime": 0, **place}),
            },
        )

    def refuses(self, operation: str, code: str, message: str = "") -> None:
        stubber = self._jobs if operation == "describe_training_job" else self._lines
        stubber.add_client_error(operation, code, message)

    def follow(self, **callbacks: Any) -> TrainingJob:
        return follow_training_job(
            self.sagemaker,
            self.logs,
            "sorter",
            poll=5.0,
            sleep=self._sleep,
            clock=lambda: self.now,
            **callbacks,
        )

    def is_done(self) -> None:
        self._jobs.assert_no_pending_responses()
        self._lines.assert_no_pending_responses()

    def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


ALGO = "sorter/algo-1-1795000000000"


@pytest.fixture
def service() -> Service:
    return Service()


def texts(lines: Iterable[LogLine]) -> list[str]:
    return [line.text for line in lines]


class TestReadingALog:
    """`LogReader`."""

    def test_a_job_that_has_printed_nothing_yet_has_no_log_to_miss(self, service: Service) -> None:
        reader = LogReader(service.logs, "sorter")
        service.refuses("describe_log_streams", "ResourceNotFoundException")
        assert list(reader.read()) == []
        service.has()
        assert list(reader.read()) == []

    def test_each_line_is_told_once_however_the_pages_fall(self, service: Service) -> None:
        reader = LogReader(service.logs, "sorter")
        service.has(ALGO)
        service.says("one", "two", token="f/1")
        # A page without a line is not the end of a stream: only a token that stays is.
        service.says(token="f/2", asked="f/1")
        service.says("three", token="f/3", asked="f/2")
        service.says(token="f/3", asked="f/3")
        assert texts(reader.read()) == ["one", "two", "three"]
        service.has(ALGO)
        service.says("four", token="f/4", asked="f/3")
        service.says(token="f/4", asked="f/4")
        assert texts(reader.read()) == ["four"]
        service.is_done()

    def test_tabs_come_back_and_a_line_knows_its_machine_and_its_moment(self, service: Service) -> None:
        service.has(ALGO)
        service.says("Epoch[0] Batch [20]#011Speed: 155.4 samples/sec\n", token="f/1")
        service.says(token="f/1", asked="f/1")
        (line,) = LogReader(service.logs, "sorter").read()
        assert line.to_json() == {
            "time": "2026-11-18T11:06:40.000+00:00",
            "host": "algo-1",
            "text": "Epoch[0] Batch [20]\tSpeed: 155.4 samples/sec",
        }

    def test_lines_of_several_machines_stand_in_the_order_of_time(self, service: Service) -> None:
        other = "sorter/algo-2-1795000000001"
        service.has(ALGO, other)
        service.says((NOON, "a"), (NOON + 20, "c"), token="f/1")
        service.says((NOON + 10, "b"), (NOON + 30, "d"), token="f/9", stream=other)
        service.says(token="f/1", asked="f/1")
        service.says(token="f/9", asked="f/9", stream=other)
        lines = list(LogReader(service.logs, "sorter").read())
        assert [(line.host, line.text) for line in lines] == [
            ("algo-1", "a"),
            ("algo-2", "b"),
            ("algo-1", "c"),
            ("algo-2", "d"),
        ]

    def test_machines_that_come_later_are_read_from_their_first_line(self, service: Service) -> None:
        reader = LogReader(service.logs, "sorter")
        service.has(ALGO)
        service.says("taken away", token="f/1")
        service.says(token="f/1", asked="f/1")
        assert texts(reader.read()) == ["taken away"]
        again = "sorter/algo-1-1795000900000"
        service.has(ALGO, again)
        service.says(token="f/1", asked="f/1")
        service.says("back again", token="f/5", stream=again)
        service.says(token="f/5", asked="f/5", stream=again)
        assert texts(reader.read()) == ["back again"]

    def test_what_was_read_before_a_stream_failed_is_told_the_next_time(self, service: Service) -> None:
        other = "sorter/algo-2-1795000000001"
        reader = LogReader(service.logs, "sorter")
        service.has(ALGO, other)
        service.says("one", token="f/1")
        service.refuses("get_log_events", "ThrottlingException")
        with pytest.raises(ClientError):
            list(reader.read())
        service.has(ALGO, other)
        service.says(token="f/1", asked="f/1")
        service.says("two", token="f/9", stream=other)
        service.says(token="f/9", asked="f/9", stream=other)
        assert sorted(texts(reader.read())) == ["one", "two"]

    def test_after_a_day_asleep_reading_goes_on_where_it_was(self, service: Service) -> None:
        reader = LogReader(service.logs, "sorter")
        service.has(ALGO)
        service.says((NOON, "one"), (NOON + 1, "two"), (NOON + 1, "three"), token="f/1")
        service.says(token="f/1", asked="f/1")
        assert texts(reader.read()) == ["one", "two", "three"]
        service.has(ALGO)
        service.refuses("get_log_events", "InvalidParameterException", "The specified nextToken is expired")
        service.says(
            (NOON + 1, "two"), (NOON + 1, "three"), (NOON + 1, "four"), token="f/8", startTime=NOON + 1
        )
        service.says("five", token="f/9", asked="f/8")
        service.says(token="f/9", asked="f/9")
        assert texts(reader.read()) == ["four", "five"]


class TestFollowing:
    """`follow_training_job`."""

    def test_lines_statuses_and_numbers_come_as_they_happen(self, service: Service) -> None:
        told: list[str] = []
        service.is_("InProgress")
        service.has(ALGO)
        service.says("Epoch[0] Train-accuracy=0.25", "hello", token="f/1")
        service.says(token="f/1", asked="f/1")
        service.is_("Completed")
        for asked, token, line in (
            ("f/1", "f/2", "Epoch[0] Validation-accuracy=0.5"),
            ("f/2", "f/3", "late"),
        ):
            service.has(ALGO)
            service.says(line, token=token, asked=asked)
            service.says(token=token, asked=token)
        service.has(ALGO)
        service.says(token="f/3", asked="f/3")
        job = service.follow(
            on_line=lambda line: told.append(line.text),
            on_change=lambda job: told.append(job.secondary_status),
            on_metric=lambda metric, _: told.append(f"{metric.name} {metric.value}"),
        )
        assert job.status == "Completed"
        assert told == [
            "Epoch[0] Train-accuracy=0.25",
            "train:accuracy 0.25",
            "hello",
            "Training",
            "Epoch[0] Validation-accuracy=0.5",
            "validation:accuracy 0.5",
            "late",
            "Completed",
        ]
        # Between the looks the usual pause, and a short one for lines that are still on their way.
        assert service.slept == [5.0, 3.0, 3.0]
        service.is_done()

    def test_a_job_that_failed_is_heard_to_its_last_line(self, service: Service) -> None:
        told: list[str] = []
        service.is_("Failed", FailureReason="AlgorithmError: no")
        service.has(ALGO)
        service.says("no", token="f/1")
        service.says(token="f/1", asked="f/1")
        service.has(ALGO)
        service.says(token="f/1", asked="f/1")
        with pytest.raises(TrainingEndedError, match="ended as Failed: AlgorithmError: no"):
            service.follow(on_line=lambda line: told.append(line.text))
        assert told == ["no"]
        service.is_done()

    def test_who_may_not_read_the_log_is_told_once_and_follows_all_the_same(self, service: Service) -> None:
        told: list[str] = []
        service.is_("InProgress", "InProgress", "Completed")
        service.refuses("describe_log_streams", "AccessDeniedException", "not authorized")
        job = service.follow(on_trouble=lambda error: told.append(str(error)))
        assert job.status == "Completed"
        assert len(told) == 1
        assert "not authorized" in told[0]
        service.is_done()

    def test_throttled_calls_are_made_less_often_and_lose_nothing(self, service: Service) -> None:
        told: list[str] = []
        service.is_("InProgress")
        service.refuses("describe_log_streams", "ThrottlingException", "Rate exceeded")
        service.is_("InProgress")  # five seconds later the log is left alone
        service.refuses("describe_training_job", "ThrottlingException", "Rate exceeded")
        # Ten seconds after the first refusal it is asked again.
        service.refuses("describe_log_streams", "ThrottlingException", "Rate exceeded")
        service.is_("Completed")
        service.has(ALGO)
        service.says("all of it", token="f/1")
        service.says(token="f/1", asked="f/1")
        service.has(ALGO)
        service.says(token="f/1", asked="f/1")
        service.follow(on_line=lambda line: told.append(line.text))
        assert told == ["all of it"]
        assert service.slept == [5.0, 5.0, 10.0, 10.0, 3.0]
        service.is_done()

    def test_a_service_that_never_recovers_is_given_up_after_minutes(self, service: Service) -> None:
        service.is_("InProgress")
        service.has()
        for _ in range(20):
            service.refuses("describe_training_job", "InternalFailure")
            service.has()
        with pytest.raises(ClientError, match="InternalFailure"):
            service.follow()
        assert 300 <= service.now < 500
        assert max(service.slept) == 60

    def test_a_first_look_that_fails_is_not_waited_out(self, service: Service) -> None:
        service.refuses("describe_training_job", "ThrottlingException")
        with pytest.raises(ClientError, match="Throttling"):
            service.follow()
        assert service.slept == []


class TestNumbersInLines:
    """`read_metric`, on the lines of the built-in (contract/training.md §1.7)."""

    @pytest.mark.parametrize(
        ("line", "metric"),
        [
            (
                "Epoch[2] Batch [20]\tSpeed: 155.4 samples/sec\taccuracy=0.087\ttop_k_accuracy_2=0.134",
                Metric("speed", 155.4, 2, 20),
            ),
            ("Epoch[2] Train-accuracy=0.104427", Metric("train:accuracy", 0.104427, 2)),
            ("Epoch[2] Train-top_k_accuracy_2=0.134", Metric("train:top_k_accuracy_2", 0.134, 2)),
            ("Epoch[2] Time cost=97.0", Metric("seconds", 97.0, 2)),
            ("Epoch[12] Validation-accuracy=0.164062", Metric("validation:accuracy", 0.164062, 12)),
            ("[11/22/2026 17:00:00 INFO 1] Epoch[0] Train-accuracy=1", Metric("train:accuracy", 1.0, 0)),
            ("Epoch[2] Validation-cross-entropy=1e-05", Metric("validation:cross-entropy", 1e-05, 2)),
            ("Epoch[2] Train-accuracy=nan", None),
            ("Epoch[2] Train-accuracy=inf", None),
            ("Epoch[2] Train-accuracy=0.1.2", None),
            ("Epoch[2] Train-accuracy=", None),
            ("Storing the best model with validation accuracy: 0.164062", None),
            ('Saved checkpoint to "/opt/ml/model/image-classification-0003.params"', None),
            ("", None),
        ],
    )
    def test_a_line_tells_its_number_or_none(self, line: str, metric: Metric | None) -> None:
        assert read_metric(line) == metric

    @given(st.text())
    def test_no_line_breaks_the_reader(self, line: str) -> None:
        for text in (line, f"Epoch[{line}] Train-accuracy={line}", f"Epoch[1] Time cost={line}"):
            metric = read_metric(text)
            assert metric is None or metric.value == metric.value

    def test_an_epoch_that_a_resumed_job_prints_again_counts_as_it_came_last(self) -> None:
        lines = ["Epoch[1] Train-accuracy=0.5", "Epoch[0] Train-accuracy=0.1", "Epoch[1] Train-accuracy=0.6"]
        lines += [
            "Epoch[1] Validation-accuracy=0.4",
            "Epoch[0] Validation-accuracy=0.4",
            "Epoch[1] Time cost=3",
        ]
        curve = read_curve(lines)
        assert curve.points == (Point(0, 0.1, 0.4), Point(1, 0.6, 0.4, 3.0))
        assert curve.best == Point(0, 0.1, 0.4)
        assert Curve().best is None


class TestWatching:
    """`Watch`: the same with a person who looks on."""

    def watch(self, service: Service) -> tuple[str, int]:
        """What a person is told who follows a job at which nobody may look."""
        aws = Aws(session("us-east-1"))
        vars(aws).update(sagemaker=service.sagemaker, logs=service.logs)
        with pytest.raises(TrainingGoesOnError) as end:
            Watch(aws, "sorter").follow(timeout=None, poll=0.01)
        told = explain(end.value, "train")
        assert told is not None
        assert told[0].endswith("stop it: gtlabel train stop sorter")
        return told

    def test_whoever_cannot_see_a_job_is_not_told_to_start_another_one(self, service: Service) -> None:
        service.refuses("describe_training_job", "ThrottlingException", "Rate exceeded")
        sentence, code = self.watch(service)
        assert sentence.startswith("DescribeTrainingJob was refused: Rate exceeded (ThrottlingException); ")
        assert ("same command" in sentence, code) == (False, 1)

    def test_whoever_leaves_before_the_first_look_knows_how_to_stop_the_job(self, service: Service) -> None:
        def leave(**_: Any) -> None:
            raise KeyboardInterrupt

        service.sagemaker.meta.events.register_first(
            "provide-client-params.sagemaker.DescribeTrainingJob", leave
        )
        sentence, code = self.watch(service)
        assert sentence.startswith("the training job 'sorter' goes on")
        assert code == 130


class TestTheCurve:
    """`draw`."""

    def test_it_shows_where_training_and_validation_part(self) -> None:
        points = [Point(0, 0.4, 0.4), Point(1, 0.6, 0.5), Point(2, 0.8, 0.5), Point(3, 1.0, None)]
        assert draw(points, width=60, height=7, fine=False) == [
            "100% |       .",
            "     |",
            "     |     .",
            " 70% |",
            "     |   .",
            "     |   * *",
            " 40% | *",
            "     +--------",
            "      epochs 0 to 3   . train 100.0%",
        ]

    def test_there_is_nothing_to_draw_of_no_epoch(self) -> None:
        assert draw([], width=80) == []
        assert draw([Point(0, seconds=3.0)], width=80) == []

    @given(
        st.lists(st.tuples(st.floats(0, 1), st.none() | st.floats(0, 1)), min_size=1, max_size=300),
        st.integers(1, 200),
        st.integers(1, 20),
        st.booleans(),
    )
    def test_it_fits_whatever_room_there_is(
        self, accuracies: list[tuple[float, float | None]], width: int, height: int, fine: bool
    ) -> None:
        points = [Point(n, train, validation) for n, (train, validation) in enumerate(accuracies)]
        lines = draw(points, width=width, height=height, fine=fine)
        assert len(lines) == height + 2
        assert max(map(len, lines)) <= max(width, 24)
        assert fine or "".join(lines).isascii()
