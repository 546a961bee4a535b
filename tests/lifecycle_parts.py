"""What the tests of launching and of what follows share: a bucket of pictures, people, and bad luck."""

from __future__ import annotations

import io
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from botocore.awsrequest import AWSResponse, HeadersDict
from botocore.config import Config
from botocore.exceptions import ConnectTimeoutError, ReadTimeoutError
from botocore.httpsession import URLLib3Session
from emulator_parts import post
from PIL import Image

from gtlabel.aws import Aws
from gtlabel.emulator.simulate import Habits, answer
from gtlabel.labeling.preflight import let_browsers_in
from gtlabel.storage import list_objects
from gtlabel.uris import S3Uri

BUCKET = "photos"
PHOTOS = S3Uri(f"s3://{BUCKET}/trash/")
OUTPUT = S3Uri(f"s3://{BUCKET}/gtlabel/")
CLASSES = ["Compost", "Landfill", "Recycle"]
USUAL: dict[str, Any] = {"classes": CLASSES, "team": "gtlabel", "role": "gtlabel"}


def jpeg(color: str, number: int = 0) -> bytes:
    """A picture; those of other numbers have other bytes."""
    body = io.BytesIO()
    Image.new("RGB", (32, 24), color).save(body, "JPEG", comment=str(number))
    return body.getvalue()


def fill(aws: Aws, count: int) -> dict[str, str]:
    """Put pictures into a new bucket; return what they show."""
    aws.s3.create_bucket(Bucket=BUCKET)
    let_browsers_in(aws.s3, BUCKET)
    uris = [PHOTOS / f"{number:05}.jpg" for number in range(count)]

    def put(number: int) -> None:
        aws.s3.put_object(Bucket=BUCKET, Key=uris[number].key, Body=jpeg("green", number))

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(put, range(count)))
    return {str(uri): CLASSES[number % 3] for number, uri in enumerate(uris)}


def people_answer(
    job: str,
    truth: Mapping[str, str],
    *,
    workers: int = 3,
    accuracy: float = 1.0,
    habits: Habits | None = None,
) -> None:
    answer(os.environ["AWS_ENDPOINT_URL"], job, workers, accuracy, truth, seed=1, habits=habits)


def worker_says(job: str, answers: Mapping[str, dict[str, Any] | None]) -> None:
    """Let one person answer all of a job, in the words of its page; None declines the image."""
    url = os.environ["AWS_ENDPOINT_URL"]
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        task = post(f"{url}/gtlabel/worker/lease", {"job": job, "worker": "somebody"})
        if task["lease"] is None:
            if task["job_status"] not in ("Initializing", "InProgress"):
                return
            time.sleep(0.02)
            continue
        said = answers[task["source_ref"]]
        if said is None:
            post(f"{url}/gtlabel/worker/decline", {"lease": task["lease"]})
        else:
            post(f"{url}/gtlabel/worker/submit", {"lease": task["lease"], "answer": said})
    raise AssertionError(f"{job} did not end")


def jobs(aws: Aws) -> list[str]:
    """The names of all labeling jobs there ever were, in alphabetical order."""
    found = aws.sagemaker.list_labeling_jobs(MaxResults=100)["LabelingJobSummaryList"]
    return sorted(job["LabelingJobName"] for job in found)


def keys(aws: Aws, prefix: S3Uri) -> list[str]:
    return [stored.uri.key.removeprefix(prefix.key) for stored in list_objects(aws.s3, prefix)]


def lines(aws: Aws, uri: S3Uri) -> list[dict[str, Any]]:
    body = aws.s3.get_object(Bucket=uri.bucket, Key=uri.key)["Body"].read()
    return [json.loads(line) for line in body.splitlines()]


class Luck:
    """The clients of an account, one of whose requests goes wrong.

    They try once: what is tested is what is left when trying again did not help.

    Attributes:
        aws: the clients.
        operations: what was asked so far.
        spoil: what happens to the request of the number `at`, counted from 0: it takes the request and a
            function that sends it, and returns an answer or raises.
    """

    def __init__(self, aws: Aws, spoil: Callable[[Any, Callable[[], Any]], Any]) -> None:
        self.aws = Aws(aws.session, aws.endpoint_url)
        self.operations: list[str] = []
        self.spoil = spoil
        self.at = -1
        config = Config(retries={"total_max_attempts": 1, "mode": "standard"})
        for service in ("s3", "sagemaker", "sts"):
            client = self.aws.session.client(service, region_name=aws.region, config=config)
            client.meta.events.register("before-send", self._send)
            vars(self.aws)[service] = client

    def arm(self, at: int) -> None:
        """Let another request go wrong, counted from now."""
        self.at = at
        self.operations.clear()
        vars(self.aws).pop("account", None)

    def _send(self, request: Any, event_name: str, **_: Any) -> Any:
        self.operations.append(event_name.rpartition(".")[2])
        if len(self.operations) - 1 != self.at:
            return None
        return self.spoil(request, lambda: URLLib3Session().send(request))


def refusal(status: int, code: str, message: str) -> Callable[[Any, Callable[[], Any]], Any]:
    """An answer that says no, in the words of the service that was asked."""

    def spoil(request: Any, _send: Callable[[], Any]) -> Any:
        if "x-amz-target" in {name.lower() for name in request.headers}:
            body = json.dumps({"__type": code, "message": message})
        elif "Action=GetCallerIdentity" in str(request.body):
            error = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
            body = f"<ErrorResponse>{error}</ErrorResponse>"
        else:
            body = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
        headers: Any = HeadersDict()
        return AWSResponse(request.url, status, headers, _Raw(body.encode()))

    return spoil


def never_sent(request: Any, _send: Callable[[], Any]) -> Any:
    raise ConnectTimeoutError(endpoint_url=request.url)


def answer_lost(request: Any, send: Callable[[], Any]) -> Any:
    """The service does what it was asked, and nobody hears of it."""
    send()
    raise ReadTimeoutError(endpoint_url=request.url)


class _Raw(io.BytesIO):
    def stream(self, **_: Any) -> Iterator[bytes]:
        yield self.read()
