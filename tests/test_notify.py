"""Who is told when a labeling job has ended: topics, queues and webhooks."""

from __future__ import annotations

import http.server
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from emulator_parts import IMAGES, TRUTH, create_job, gtlabel, put_inputs

from gtlabel.aws import Aws
from gtlabel.emulator.child import Address
from gtlabel.emulator.simulate import answer
from gtlabel.errors import NotificationError
from gtlabel.labeling.jobs import LabelingJob, describe_labeling_job
from gtlabel.labeling.notify import DETAIL_TYPE, notify, plan_notification, remove_notification
from gtlabel.labeling.webhook import check_webhook, message, post_webhook

ACCOUNT = "us-east-1:123456789012"
QUEUE = f"arn:aws:sqs:{ACCOUNT}:ended"
TOPIC = f"arn:aws:sns:{ACCOUNT}:ended"


@pytest.fixture
def queue(gtlabel_aws: Aws) -> str:
    return gtlabel_aws.sqs.create_queue(QueueName="ended")["QueueUrl"]


def received(aws: Aws, queue: str, *, wait: int = 5) -> list[dict[str, Any]]:
    """The messages of a queue, which are gone from it then."""
    found = aws.sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=wait, MaxNumberOfMessages=10)
    for item in found.get("Messages", ()):
        aws.sqs.delete_message(QueueUrl=queue, ReceiptHandle=item["ReceiptHandle"])
    return [json.loads(item["Body"]) for item in found.get("Messages", ())]


def policy_of_queue(aws: Aws, queue: str) -> list[dict[str, Any]]:
    attributes = aws.sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["Policy"]).get("Attributes", {})
    statements: list[dict[str, Any]] = json.loads(attributes.get("Policy") or "{}").get("Statement", [])
    return statements


def until_in_progress(aws: Aws, name: str) -> None:
    deadline = time.monotonic() + 60
    while describe_labeling_job(aws.sagemaker, name).status == "Initializing":
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_queue_receives_the_event_that_aws_sends_when_a_job_is_completed(
    gtlabel_aws: Aws, gtlabel_server: Address, queue: str
) -> None:
    put_inputs(gtlabel_aws.s3)
    arn = notify(gtlabel_aws, plan_notification(gtlabel_aws, QUEUE, job="Bins"))
    assert arn == f"arn:aws:events:{ACCOUNT}:rule/gtlabel-job-bins"
    create_job(gtlabel_aws, "Bins")
    answer(gtlabel_server.url, "Bins", workers=2, accuracy=1.0, truth=TRUTH, seed=7)
    (event,) = received(gtlabel_aws, queue)
    identity = event.pop("id")
    moment = event.pop("time")
    assert event == {
        "version": "0",
        "detail-type": "SageMaker Ground Truth Labeling Job State Change",
        "source": "aws.sagemaker",
        "account": "123456789012",
        "region": "us-east-1",
        "resources": [f"arn:aws:sagemaker:{ACCOUNT}:labeling-job/bins"],
        "detail": {"LabelingJobStatus": "Completed"},
    }
    assert len(identity) == 36
    assert time.strptime(moment, "%Y-%m-%dT%H:%M:%SZ")


def test_failed_and_stopped_jobs_are_told_of_as_such_and_other_ends_are_not(
    gtlabel_aws: Aws, queue: str
) -> None:
    put_inputs(gtlabel_aws.s3)
    notify(gtlabel_aws, plan_notification(gtlabel_aws, QUEUE, statuses=("Failed",)))
    create_job(gtlabel_aws, "stopped")
    until_in_progress(gtlabel_aws, "stopped")
    gtlabel_aws.sagemaker.stop_labeling_job(LabelingJobName="stopped")
    gtlabel_aws.s3.put_object(Bucket="trash", Key="in.manifest", Body=b"no json\n")
    create_job(gtlabel_aws, "failed")
    told = received(gtlabel_aws, queue) + received(gtlabel_aws, queue, wait=1)
    assert [(event["resources"], event["detail"]) for event in told] == [
        ([f"arn:aws:sagemaker:{ACCOUNT}:labeling-job/failed"], {"LabelingJobStatus": "Failed"})
    ]


def test_a_topic_passes_the_event_on_to_its_subscribers(gtlabel_aws: Aws, queue: str) -> None:
    gtlabel_aws.sns.create_topic(Name="ended")
    gtlabel_aws.sns.subscribe(TopicArn=TOPIC, Protocol="sqs", Endpoint=QUEUE)
    put_inputs(gtlabel_aws.s3)
    notify(gtlabel_aws, plan_notification(gtlabel_aws, TOPIC))
    create_job(gtlabel_aws, "bins")
    until_in_progress(gtlabel_aws, "bins")
    gtlabel_aws.sagemaker.stop_labeling_job(LabelingJobName="bins")
    (envelope,) = received(gtlabel_aws, queue)
    event = json.loads(envelope["Message"])
    assert (event["detail-type"], event["detail"]) == (DETAIL_TYPE, {"LabelingJobStatus": "Stopped"})


def test_a_slow_subscriber_keeps_no_job_waiting(gtlabel_aws: Aws, hook: Hook) -> None:
    hook.pause = 60.0
    gtlabel_aws.sns.create_topic(Name="ended")
    gtlabel_aws.sns.subscribe(TopicArn=TOPIC, Protocol="http", Endpoint=hook.url)
    put_inputs(gtlabel_aws.s3)
    notify(gtlabel_aws, plan_notification(gtlabel_aws, TOPIC))
    for name in ("first", "second"):
        create_job(gtlabel_aws, name)
        until_in_progress(gtlabel_aws, name)
        gtlabel_aws.sagemaker.stop_labeling_job(LabelingJobName=name)
        while describe_labeling_job(gtlabel_aws.sagemaker, name).status != "Stopped":
            time.sleep(0.05)
    # It was told of the first job, or is about to be, and has not answered yet.
    assert hook.answered == 0


def test_jobs_in_process_are_told_of_before_the_call_that_ends_them_returns(gtlabel_mock: Aws) -> None:
    url = gtlabel_mock.sqs.create_queue(QueueName="ended")["QueueUrl"]
    put_inputs(gtlabel_mock.s3)
    notify(gtlabel_mock, plan_notification(gtlabel_mock, QUEUE))
    create_job(gtlabel_mock, "bins")
    gtlabel_mock.sagemaker.stop_labeling_job(LabelingJobName="bins")
    (event,) = received(gtlabel_mock, url, wait=0)
    assert event["detail"] == {"LabelingJobStatus": "Stopped"}


def test_setting_up_again_changes_nothing_and_taking_away_leaves_nothing(
    gtlabel_aws: Aws, queue: str
) -> None:
    others = {
        "Sid": "mine",
        "Effect": "Allow",
        "Principal": "*",
        "Action": "sqs:SendMessage",
        "Resource": QUEUE,
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [others]})
    gtlabel_aws.sqs.set_queue_attributes(QueueUrl=queue, Attributes={"Policy": policy})
    plan = plan_notification(gtlabel_aws, QUEUE, job="bins")
    notify(gtlabel_aws, plan)
    notify(gtlabel_aws, plan)
    assert policy_of_queue(gtlabel_aws, queue) == [others, plan.statement]
    assert plan.statement["Condition"] == {"ArnEquals": {"aws:SourceArn": plan.rule_arn}}
    (target,) = gtlabel_aws.events.list_targets_by_rule(Rule=plan.rule)["Targets"]
    assert target["Arn"] == QUEUE

    assert remove_notification(gtlabel_aws, plan)
    assert not remove_notification(gtlabel_aws, plan)
    assert policy_of_queue(gtlabel_aws, queue) == [others]
    assert gtlabel_aws.events.list_rules()["Rules"] == []


def test_a_topic_is_allowed_without_a_condition_which_eventbridge_could_not_meet(gtlabel_aws: Aws) -> None:
    gtlabel_aws.sns.create_topic(Name="ended")
    plan = plan_notification(gtlabel_aws, TOPIC)
    notify(gtlabel_aws, plan)
    policy = json.loads(gtlabel_aws.sns.get_topic_attributes(TopicArn=TOPIC)["Attributes"]["Policy"])
    assert plan.statement in policy["Statement"]
    assert "Condition" not in plan.statement
    # The topic's owner keeps what it could do before.
    assert len(policy["Statement"]) == 2


@pytest.mark.parametrize(
    ("target", "settings", "sentence"),
    [
        ("ended", {}, "'ended' is not the ARN of an SNS topic or an SQS queue"),
        (f"arn:aws:lambda:{ACCOUNT}:function:f", {}, "is not the ARN of an SNS topic or an SQS queue"),
        ("arn:aws:sns:eu-west-1:123456789012:t", {}, "is in eu-west-1 and the jobs are in us-east-1"),
        (f"{TOPIC}.fifo", {}, "EventBridge sends to no FIFO topic"),
        (TOPIC, {"statuses": ("Done",)}, "Done is no end of a labeling job; it ends as Completed, Failed"),
        (TOPIC, {}, f"there is no topic {TOPIC}"),
        (QUEUE, {}, f"there is no queue {QUEUE}"),
    ],
)
def test_what_cannot_be_told_is_refused_before_there_is_a_rule(
    gtlabel_aws: Aws, target: str, settings: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(NotificationError) as caught:
        notify(gtlabel_aws, plan_notification(gtlabel_aws, target, **settings))
    assert sentence in str(caught.value)
    assert gtlabel_aws.events.list_rules()["Rules"] == []


def test_a_topic_under_a_key_that_eventbridge_may_not_use_is_refused(gtlabel_aws: Aws) -> None:
    gtlabel_aws.sns.create_topic(Name="ended", Attributes={"KmsMasterKeyId": "alias/aws/sns"})
    with pytest.raises(NotificationError, match="which EventBridge may not use"):
        notify(gtlabel_aws, plan_notification(gtlabel_aws, TOPIC))


def test_each_of_the_jobs_that_were_launched_under_one_name_is_told_of(gtlabel_aws: Aws, queue: str) -> None:
    put_inputs(gtlabel_aws.s3)
    notify(gtlabel_aws, plan_notification(gtlabel_aws, QUEUE, job="bins", parts=["bins-1", "bins-2"]))
    for name in ("bins-1", "bins-2", "bins-3"):
        create_job(gtlabel_aws, name)
        until_in_progress(gtlabel_aws, name)
        gtlabel_aws.sagemaker.stop_labeling_job(LabelingJobName=name)
    told = received(gtlabel_aws, queue)
    while len(told) < 2 and (more := received(gtlabel_aws, queue)):
        told += more
    assert sorted(event["resources"][0].rpartition("/")[2] for event in told) == ["bins-1", "bins-2"]
    assert received(gtlabel_aws, queue, wait=1) == []
    many = [f"bins-{number}" for number in range(100)]
    with pytest.raises(NotificationError, match="'bins' is 100 jobs, more than one rule can name"):
        plan_notification(gtlabel_aws, QUEUE, job="bins", parts=many)


def test_the_longest_job_names_still_have_rules_of_their_own(gtlabel_aws: Aws) -> None:
    first, second = (plan_notification(gtlabel_aws, QUEUE, job=f"{'x' * 62}{end}").rule for end in ("a", "b"))
    assert first != second
    assert len(first) == 64


class Hook(http.server.ThreadingHTTPServer):
    """A web server that is posted to, and answers as it is told."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/hook?secret=abc"
        self.statuses: list[int] = []
        self.bodies: list[dict[str, Any]] = []
        # How long it takes to answer, unless it is told that it has taken long enough.
        self.pause = 0.0
        self.enough = threading.Event()
        self.answered = 0


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Hook

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.bodies.append({"type": self.headers["Content-Type"], **json.loads(body)})
        self.server.enough.wait(self.server.pause)
        self.server.answered += 1
        status = self.server.statuses.pop(0) if self.server.statuses else 200
        self.send_response(status)
        if status in (301, 302, 307):
            self.send_header("Location", "http://127.0.0.1:9/")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def hook() -> Iterator[Hook]:
    with Hook() as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.enough.set()
        server.shutdown()


@pytest.fixture
def job(gtlabel_mock: Aws) -> LabelingJob:
    put_inputs(gtlabel_mock.s3)
    create_job(gtlabel_mock, "bins")
    gtlabel_mock.sagemaker.stop_labeling_job(LabelingJobName="bins")
    return describe_labeling_job(gtlabel_mock.sagemaker, "bins")


def test_a_webhook_gets_what_became_of_the_job(job: LabelingJob, hook: Hook) -> None:
    assert post_webhook(hook.url, job) is None
    assert hook.bodies == [
        {
            "type": "application/json",
            "text": "labeling job bins: Stopped, 0 labeled, 0 failed",
            "job": "bins",
            "arn": f"arn:aws:sagemaker:{ACCOUNT}:labeling-job/bins",
            "status": "Stopped",
            "labeled": 0,
            "failed": 0,
            "unlabeled": len(IMAGES),
            "output_manifest": "s3://trash/out/bins/manifests/output/output.manifest",
            "failure_reason": "",
        }
    ]
    assert json.loads(json.dumps(message(job))) == {k: v for k, v in hook.bodies[0].items() if k != "type"}


def test_a_busy_webhook_is_asked_again_after_pauses_that_double(job: LabelingJob, hook: Hook) -> None:
    hook.statuses = [503, 429, 500]
    slept: list[float] = []
    assert post_webhook(hook.url, job, sleep=slept.append) is None
    assert len(hook.bodies) == 4
    assert slept == [1.0, 2.0, 4.0]


@pytest.mark.parametrize(
    ("statuses", "sentence", "posts"),
    [
        ([403], "the webhook at 127.0.0.1 refused: 403 Forbidden", 1),
        ([302], "the webhook at 127.0.0.1 refused: 302 Found", 1),
        ([500] * 4, "could not be reached in 4 attempts: 500 Internal Server Error", 4),
    ],
)
def test_a_webhook_that_says_no_is_a_sentence_without_the_secret_in_its_address(
    job: LabelingJob, hook: Hook, statuses: list[int], sentence: str, posts: int
) -> None:
    hook.statuses = statuses
    said = post_webhook(hook.url, job, sleep=lambda _: None)
    assert said is not None
    assert sentence in said
    assert "secret" not in said
    assert len(hook.bodies) == posts


def test_a_webhook_that_is_away_or_silent_is_a_sentence_too(job: LabelingJob, hook: Hook) -> None:
    away = post_webhook("http://127.0.0.1:9/", job, attempts=2, sleep=lambda _: None)
    assert away is not None
    assert "could not be reached in 2 attempts: [Errno 111] Connection refused" in away
    hook.pause = 1.0
    silent = post_webhook(hook.url, job, attempts=1, timeout=0.2)
    assert silent is not None
    assert "timed out" in silent


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("http://example.org/hook", "the webhook at example.org is not encrypted; use https"),
        ("file:///etc/passwd", "is not an address; write it as https://host/path"),
        ("example.org/hook", "is not an address"),
    ],
)
def test_nothing_is_posted_to_an_unsafe_address(url: str, sentence: str) -> None:
    with pytest.raises(NotificationError) as caught:
        check_webhook(url)
    assert sentence in str(caught.value)


@pytest.mark.parametrize("url", ["https://example.org/x", "http://localhost:1/x", "http://[::1]:1/x"])
def test_https_and_this_machine_are_safe(url: str) -> None:
    check_webhook(url)


# The command line.


def test_a_queue_is_told_of_one_job_from_the_command_line_and_then_no_more(
    gtlabel_aws: Aws, queue: str
) -> None:
    planned = gtlabel("notify", "--to", QUEUE, "--status", "Failed", "--dry-run")
    request = json.loads(planned.stdout)
    assert json.loads(request["rule"]["EventPattern"])["detail"] == {"LabelingJobStatus": ["Failed"]}
    assert gtlabel_aws.events.list_rules()["Rules"] == []

    nobody = gtlabel("notify", "nothing", "--to", QUEUE)
    assert nobody.returncode == 1
    assert nobody.stderr.startswith("gtlabel: there is no labeling job named 'nothing'")
    assert gtlabel_aws.events.list_rules()["Rules"] == []

    put_inputs(gtlabel_aws.s3)
    create_job(gtlabel_aws, "bins")
    until_in_progress(gtlabel_aws, "bins")
    told = gtlabel("notify", "bins", "--to", QUEUE)
    assert told.stdout == f"arn:aws:events:{ACCOUNT}:rule/gtlabel-job-bins\n", told.stderr
    gtlabel_aws.sagemaker.stop_labeling_job(LabelingJobName="bins")
    assert [event["detail"] for event in received(gtlabel_aws, queue)] == [{"LabelingJobStatus": "Stopped"}]

    late = gtlabel("notify", "bins", "--to", QUEUE)
    assert "bins has ended already, as Stopped; no further event will come" in late.stderr
    removed = gtlabel("notify", "bins", "--to", QUEUE, "--remove", "--output", "json")
    assert json.loads(removed.stdout)["removed"] is True
    assert gtlabel_aws.events.list_rules()["Rules"] == []


def test_a_wait_posts_what_became_of_the_job_and_ends_as_it_would_without(
    gtlabel_aws: Aws, hook: Hook
) -> None:
    hook.statuses = [403]
    put_inputs(gtlabel_aws.s3)
    create_job(gtlabel_aws, "bins")
    until_in_progress(gtlabel_aws, "bins")
    gtlabel_aws.sagemaker.stop_labeling_job(LabelingJobName="bins")
    waited = gtlabel("jobs", "wait", "bins", "--webhook", hook.url, "--poll", "0.1")
    assert waited.returncode == 4
    assert "the webhook at 127.0.0.1 refused: 403 Forbidden" in waited.stderr
    assert [body["status"] for body in hook.bodies] == ["Stopped"]
    unsafe = gtlabel("jobs", "wait", "bins", "--webhook", "http://example.org/")
    assert (unsafe.returncode, unsafe.stdout) == (1, "")
    assert unsafe.stderr.startswith("gtlabel: the webhook at example.org is not encrypted")
