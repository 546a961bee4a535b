"""What the emulator tells a device and takes from it, and what it refuses."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError
from edge_parts import Account, account

from gtlabel.aws import Aws
from gtlabel.emulator import devices
from gtlabel.emulator.api import Context
from gtlabel.emulator.child import Address
from gtlabel.emulator.deviceapi import http_api
from gtlabel.emulator.deviceprocess import DeviceOptions, detach
from gtlabel.emulator.devices import run_device
from gtlabel.emulator.moto import backend
from gtlabel.emulator.things import IotThings
from gtlabel.errors import EdgeError

PLATFORM = {"os": "linux", "architecture": "amd64", "runtime": "aws_nucleus_lite"}
RUNNING = {"name": "app", "version": "1.0.0", "state": "RUNNING"}


@pytest.fixture
def cloud() -> Iterator[Account]:
    with account() as empty:
        yield empty


@pytest.mark.parametrize(
    ("path", "wrong", "complaint"),
    [
        ("register", {"thing": "a/b"}, "'a/b' is no name of a thing"),
        ("register", {"thing": "../x y"}, "is no name of a thing"),
        ("register", {"thing": "x" * 129}, "is no name of a thing"),
        ("next", {"thing": None}, "None is no name of a thing"),
        ("next", {"region": 5}, "5 is no region"),
        ("next", {"account": {}}, "{} is no account"),
        ("register", {"platform": {**PLATFORM, "os": ""}}, "platform must tell os, architecture, runtime"),
        ("register", {"version": 2}, "2 is no version of a nucleus"),
        ("report", {"components": 5}, "components must be a list of objects"),
        ("report", {"components": None}, "components must be a list of objects"),
        ("report", {"components": ["app"]}, "components must be a list of objects"),
        ("report", {"components": [{**RUNNING, "name": 5}]}, "each component has a name and a version"),
        ("report", {"components": [{**RUNNING, "state": "SITTING"}]}, "'SITTING' is no lifecycle state"),
        ("report", {"components": [{**RUNNING, "state": []}]}, "[] is no lifecycle state"),
        ("report", {"components": [{**RUNNING, "details": 5}]}, "the details of a component are a text"),
        ("report", {"deployment": 5}, "deployment must be a text"),
        ("report", {"deployment": "x", "status": {}}, "{} is no status of a deployment"),
        ("report", {"deployment": "x", "status": "FAILED", "errors": 5}, "errors must be a list of texts"),
        ("report", {"detailed": "ODD"}, "'ODD' is no detailed status"),
    ],
)
def test_what_no_device_says_is_refused_for_good(
    cloud: Account, path: str, wrong: dict[str, Any], complaint: str
) -> None:
    cloud.register("camera")
    said = {"thing": "camera", "platform": PLATFORM, **wrong}
    status, answer = devices.handle(cloud.shelf, path, said, clock=cloud.clock.now)
    assert status == 400
    assert complaint in answer["message"]
    listed = cloud.aws.greengrass.list_core_devices()["coreDevices"]
    assert [item["coreDeviceThingName"] for item in listed] == ["camera"]


def test_a_device_with_a_name_that_no_thing_has_makes_nothing(cloud: Account, tmp_path: Path) -> None:
    with pytest.raises(EdgeError, match="'a/b' is no name of a thing"):
        run_device(cloud.aws, "a/b", tmp_path / "disk", api=lambda *_: {})
    with pytest.raises(EdgeError, match="'a/b' is no name of a thing"):
        detach({}, "a/b", tmp_path / "disk", DeviceOptions())
    assert not list(tmp_path.iterdir())


def test_a_retry_is_answered_though_what_it_names_was_deleted_since(cloud: Account) -> None:
    arn, target = cloud.component("app"), cloud.register("camera")
    wish: Any = {"targetArn": target, "components": {"app": {"componentVersion": "1.0.0"}}}
    client = cloud.aws.greengrass
    first = client.create_deployment(**wish, clientToken="once")
    client.delete_component(arn=arn)
    assert client.create_deployment(**wish, clientToken="once")["deploymentId"] == first["deploymentId"]
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.create_deployment(**wish, clientToken="twice")


def test_a_group_is_looked_at_while_somebody_joins_it(cloud: Account) -> None:
    iot = cloud.aws.iot
    iot.create_thing_group(thingGroupName="shelves")
    inside = (
        backend("iot", "123456789012", "us-east-1")
        .thing_groups["arn:aws:iot:us-east-1:123456789012:thinggroup/shelves"]
        .things
    )

    @dataclass
    class Popular:
        """A thing after which the next joins as soon as it is looked at."""

        number: int

        @property
        def thing_name(self) -> str:
            inside[f"next-{self.number}"] = Popular(self.number + 1)
            return f"camera-{self.number}"

    inside["first"] = Popular(0)
    assert IotThings().members(Context(), "shelves") == ["camera-0"]


def test_a_job_s_document_is_one_that_a_nucleus_reads(cloud: Account) -> None:
    """Its keys were tried out with a real one: contract/deployment.md section 5c."""
    cloud.component("app")
    cloud.component("other")
    target = cloud.register("camera")
    spec: Any = {
        "componentVersion": "1.0.0",
        "configurationUpdate": {"merge": '{"every": "2", "deep": {"er": 1}}', "reset": ["/topic"]},
        "runWith": {"posixUser": "camera"},
    }
    made = cloud.aws.greengrass.create_deployment(
        targetArn=target,
        deploymentName="bins",
        components={"app": spec, "other": {"componentVersion": "1.0.0"}},
        deploymentPolicies={"failureHandlingPolicy": "DO_NOTHING"},
    )
    document = json.loads(cloud.aws.iot.get_job_document(jobId=made["iotJobId"])["document"])
    assert document == {
        "deploymentId": made["deploymentId"],
        "deploymentName": "bins",
        "configurationArn": "arn:aws:greengrass:us-east-1:123456789012:configuration:thing/camera:1",
        "creationTimestamp": int(cloud.clock.seconds() * 1000),
        "components": {
            "app": {
                "version": "1.0.0",
                "runWith": {"posixUser": "camera"},
                "configurationUpdate": {"merge": {"every": "2", "deep": {"er": 1}}, "reset": ["/topic"]},
            },
            "other": {"version": "1.0.0"},
        },
        "failureHandlingPolicy": "DO_NOTHING",
        "componentUpdatePolicy": {"timeout": 60, "action": "NOTIFY_COMPONENTS"},
        "configurationValidationPolicy": {"timeout": 30},
    }
    # What our own device asks for says the same in the API's words.
    heard = cloud.device("next", {"thing": "camera"})["deployment"]
    assert heard["id"] == document["deploymentId"]
    assert heard["policies"]["failureHandlingPolicy"] == document["failureHandlingPolicy"]
    assert {name: spec["version"] for name, spec in heard["components"].items()} == {
        name: spec["version"] for name, spec in document["components"].items()
    }
    update, wire = (where["components"]["app"]["configurationUpdate"] for where in (heard, document))
    assert {**update, "merge": json.loads(update["merge"])} == wire


def ask(url: str, method: str, body: bytes = b"{}", **headers: str) -> tuple[int, dict[str, Any]]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(url, body, {"Content-Type": "application/json", **named}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=120) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_a_device_hears_why_it_is_refused(gtlabel_aws: Aws) -> None:
    for path, body, why in (
        ("next", {"thing": "a/b"}, "to next: 'a/b' is no name of a thing"),
        ("dance", {"thing": "camera"}, "to dance: the device API has no 'dance'"),
    ):
        with pytest.raises(EdgeError, match=f"the emulator at .* refuses {why}"):
            http_api(gtlabel_aws)(path, body)


def test_no_page_of_a_browser_is_a_device_or_resets_the_emulator(
    gtlabel_aws: Aws, gtlabel_server: Address
) -> None:
    url, evil = gtlabel_server.url, "http://evil.example"
    register = json.dumps({"thing": "camera", "platform": PLATFORM}).encode()
    for origin in (evil, "null", url):
        status, answer = ask(f"{url}/gtlabel/device/register", "POST", register, Origin=origin)
        assert (status, answer["error"]) == (403, "no page of a browser asks for device/register here")
    assert gtlabel_aws.greengrass.list_core_devices()["coreDevices"] == []
    assert ask(f"{url}/gtlabel/device/register", "POST", register) == (200, {"thing": "camera"})
    assert ask(f"{url}/moto-api/reset", "POST", Origin=evil)[0] == 403
    assert len(gtlabel_aws.greengrass.list_core_devices()["coreDevices"]) == 1


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/greengrass/v2/createComponentVersion"),
        ("GET", "/greengrass/v2/deployments?maxResults=1"),
        ("DELETE", "/greengrass/v2/deployments/x"),
        ("POST", "/things/x"),
        ("POST", "/2015-03-31/functions"),
    ],
)
def test_a_request_that_nobody_signed_is_told_so(gtlabel_server: Address, method: str, path: str) -> None:
    status, answer = ask(gtlabel_server.url + path, method)
    assert (status, answer["__type"]) == (403, "MissingAuthenticationTokenException")
    assert re.match(
        "Missing Authentication Token: nobody signed the request; .* gives every client one",
        answer["message"],
    )


def test_a_client_without_a_key_is_told_so_and_may_still_read_what_is_public(gtlabel_aws: Aws) -> None:
    unsigned = Config(signature_version=UNSIGNED)
    for service, call in (("greengrassv2", "list_deployments"), ("sagemaker", "list_labeling_jobs")):
        client = gtlabel_aws.session.client(
            service, endpoint_url=gtlabel_aws.s3.meta.endpoint_url, config=unsigned
        )  # type: ignore[call-overload]
        with pytest.raises(ClientError, match="nobody signed the request") as refused:
            getattr(client, call)()
        assert refused.value.response["Error"]["Code"] == "MissingAuthenticationTokenException"
    gtlabel_aws.s3.create_bucket(Bucket="trash")
    gtlabel_aws.s3.put_object(Bucket="trash", Key="k.json", Body=b"{}", ACL="public-read")
    s3 = gtlabel_aws.session.client("s3", endpoint_url=gtlabel_aws.s3.meta.endpoint_url, config=unsigned)
    assert s3.get_object(Bucket="trash", Key="k.json")["Body"].read() == b"{}"
