"""Greengrass IPC on an emulated device, spoken to by AWS's own client in processes of its own."""

from __future__ import annotations

import json
import os
import queue
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from botocore.eventstream import EventStreamBuffer
from broker_parts import Broker, mosquitto
from edge_parts import color_bundle, picture
from hypothesis import given, settings
from hypothesis import strategies as st
from ipc_parts import configuration

from gtlabel.emulator.ipc import SOCKET_VARIABLE, TOKEN_VARIABLE, Ipc, serve
from gtlabel.emulator.ipcframes import Frame, FrameError, HeaderValue, decode, encode
from gtlabel.emulator.ipcoperations import OPERATIONS
from gtlabel.emulator.uplink import Uplink
from gtlabel.errors import EdgeError

COMPONENT = Path(__file__).parent / "ipc_component.py"
TOPIC = "gtlabel/camera-1/infer"
RESULT = {"label": "Compost", "confidence": 0.93, "thing": "camera-1"}


CLASSIFIER = configuration("gtlabel/{iot:thingName}/infer", operations=("aws.greengrass#PublishToIoTCore",))


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with mosquitto(tmp_path_factory.mktemp("broker")) as running:
        yield running


@pytest.fixture(scope="module")
def ipc(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ipc]:
    """The IPC of the device `camera-1`, whose AWS IoT Core is the broker."""
    uplink = Uplink(broker.url, "camera-1")
    with closing(uplink), serve(tmp_path_factory.mktemp("ipc") / "socket", "camera-1", uplink) as running:
        yield running


def test_a_result_within_the_policy_reaches_a_subscriber_of_the_broker(ipc: Ipc, broker: Broker) -> None:
    environ = ipc.environ_for("classifier", CLASSIFIER)
    with broker.listen(TOPIC) as listener:
        assert act(environ, publish(json.dumps(RESULT))) == [{"done": None}]
        assert listener.wait_for(1)[0].json() == RESULT


def test_the_program_of_a_bundle_publishes_through_it_and_says_what_is_refused(
    ipc: Ipc, broker: Broker, tmp_path: Path
) -> None:
    bundle = color_bundle(tmp_path / "bundle.zip")
    with zipfile.ZipFile(bundle.path) as archive:
        archive.extractall(tmp_path)
    (tmp_path / "trash.jpg").write_bytes(picture("red"))
    environ = {**os.environ, **ipc.environ_for("bundle", CLASSIFIER)}
    run = [
        sys.executable,
        str(tmp_path / "run.py"),
        "--image",
        str(tmp_path / "trash.jpg"),
        "--thing",
        "camera-1",
    ]
    with broker.listen(TOPIC) as listener:
        ended = subprocess.run(run, env=environ, capture_output=True, text=True, timeout=120)
        assert ended.returncode == 0, ended.stderr
        assert listener.wait_for(1)[0].json() == json.loads(ended.stdout)
    reserved = [*run, "--topic", "$aws/things/camera-1/infer"]
    refused = subprocess.run(reserved, env=environ, capture_output=True, text=True, timeout=120)
    assert "run.py: the nucleus refuses results: '$aws/things/camera-1/infer' is AWS's own" in refused.stderr
    assert refused.returncode == 6


def test_what_a_policy_does_not_allow_is_an_unauthorized_error(ipc: Ipc, broker: Broker) -> None:
    classifier = ipc.environ_for("classifier", CLASSIFIER)
    no_policy = ipc.environ_for("without", {})
    with broker.listen() as listener:
        other_thing, subscribed, allowed = act(
            classifier,
            publish("stolen", "gtlabel/camera-2/infer"),
            ["subscribe_to_iot_core", {"topic_name": TOPIC, "qos": "1"}],
            publish("ours"),
        )
        refused = act(no_policy, publish("nobody's"))
        assert [message.payload for message in listener.wait_for(1)] == [b"ours"]
    assert allowed == {"done": None}
    assert other_thing["error"] == subscribed["error"] == refused[0]["error"] == "UnauthorizedError"
    assert "PublishToIoTCore at 'gtlabel/camera-2/infer'" in other_thing["message"]


def test_what_no_broker_of_aws_would_take_is_refused_although_a_policy_allows_all(ipc: Ipc) -> None:
    environ = ipc.environ_for("bold", configuration("*"))
    said = act(
        environ,
        publish("x", "$aws/things/camera-1/infer"),
        publish("x", "a/+"),
        publish("x", "a/b/c/d/e/f/g/h/i"),
        publish("x", "a" * 257),
        publish("x", qos="2"),
        publish(size=128 * 1024 + 1),
        ["subscribe_to_iot_core", {"topic_name": "a/#/b", "qos": "1"}],
    )
    assert [line["error"] for line in said] == 7 * ["InvalidArgumentsError"]
    assert "topics that begin with $ are reserved" in said[0]["message"]


def test_a_message_of_the_largest_size_arrives_whole(ipc: Ipc, broker: Broker) -> None:
    environ = ipc.environ_for("large", configuration("large"))
    with broker.listen("large") as listener:
        assert act(environ, publish(topic="large", size=128 * 1024)) == [{"done": None}]
        assert listener.wait_for(1)[0].payload == bytes(128 * 1024)


def test_what_the_device_does_not_offer_is_a_service_error_that_names_what_it_does(ipc: Ipc) -> None:
    environ = ipc.environ_for("curious", configuration("*"))
    (line,) = act(environ, ["get_secret_value", {"secret_id": "x"}])
    assert line["error"] == "ServiceError"
    assert "does not know aws.greengrass#GetSecretValue, only GetConfiguration, Publish" in line["message"]


def test_a_wrong_token_or_that_of_a_removed_component_is_not_let_in(ipc: Ipc) -> None:
    environ = ipc.environ_for("gone", configuration("*"))
    ipc.forget("gone")
    assert act(environ) == [{"error": "AccessDeniedError"}]
    assert act({**environ, TOKEN_VARIABLE: "guessed"}) == [{"error": "AccessDeniedError"}]
    assert ipc.environ_for("gone", {})[TOKEN_VARIABLE] != environ[TOKEN_VARIABLE]


def test_a_component_hears_what_is_published_at_the_broker(ipc: Ipc, broker: Broker) -> None:
    environ = ipc.environ_for("bin", configuration("gtlabel/+/infer"))
    subscription = ["subscribe_to_iot_core", {"topic_name": "gtlabel/+/infer", "qos": "1"}]
    with component(environ, subscription, ["wait", {}]) as say:
        assert say() == {"done": "SubscribeToIoTCoreResponse"}
        # That answer may come before the broker's own; a message that is retained is not too early.
        broker.publish("gtlabel/camera-9/infer", "Recycle", retain=True)
        assert say() == {"event": ["gtlabel/camera-9/infer", "Recycle"]}
    broker.publish("gtlabel/camera-9/infer", "", retain=True)


def test_components_of_one_device_hear_each_other(ipc: Ipc) -> None:
    listens = configuration("bins/+", service="pubsub", operations=("aws.greengrass#SubscribeToTopic",))
    speaks = configuration("bins/*", service="pubsub", operations=("aws.greengrass#PublishToTopic",))
    hearing = ipc.environ_for("hearing", listens)
    speaking = ipc.environ_for("speaking", speaks)
    with component(hearing, ["subscribe_to_topic", {"topic": "bins/+"}], *2 * [["wait", {}]]) as say:
        assert say() == {"done": "SubscribeToTopicResponse"}
        said = act(
            speaking,
            ["publish_to_topic", {"topic": "bins/left", "binary": "Landfill"}],
            ["publish_to_topic", {"topic": "bins/left/deep", "binary": "outside the filter"}],
            ["publish_to_topic", {"topic": "bins/right", "json": {"label": None}}],
            ["publish_to_topic", {"topic": "other", "binary": "not allowed"}],
            ["subscribe_to_topic", {"topic": "bins/left"}],
        )
        assert [say(), say()] == [
            {"event": ["bins/left", "Landfill"]},
            {"event": ["bins/right", {"label": None}]},
        ]
    assert [line.get("error") for line in said] == 3 * [None] + 2 * ["UnauthorizedError"]


def test_a_component_hears_itself_only_when_it_asks_for_all_messages(ipc: Ipc) -> None:
    environ = ipc.environ_for("talker", configuration("*", service="pubsub"))
    said = act(
        environ,
        ["subscribe_to_topic", {"topic": "a", "receive_mode": "RECEIVE_MESSAGES_FROM_OTHERS"}],
        ["subscribe_to_topic", {"topic": "b", "receive_mode": "RECEIVE_ALL_MESSAGES"}],
        ["publish_to_topic", {"topic": "a", "binary": "to others"}],
        ["publish_to_topic", {"topic": "b", "binary": "to all"}],
        ["wait", {}],
    )
    assert said[-1] == {"event": ["b", "to all"]}


def test_a_component_reads_configurations_and_says_how_it_is(ipc: Ipc) -> None:
    environ = ipc.environ_for("reader", {"threshold": "0.6", "camera": {"every": "1"}})
    ipc.environ_for("neighbor", {"top": "3"})
    said = act(
        environ,
        ["get_configuration", {}],
        ["get_configuration", {"key_path": ["camera"]}],
        ["get_configuration", {"key_path": ["camera", "every"]}],
        ["get_configuration", {"component_name": "neighbor", "key_path": ["top"]}],
        ["get_configuration", {"key_path": ["camera", "never"]}],
        ["get_configuration", {"component_name": "nobody"}],
        ["update_state", {"state": "ERRORED"}],
        ["update_state", {"state": "TIRED"}],
    )
    assert [line.get("done", line.get("error")) for line in said] == [
        {"threshold": "0.6", "camera": {"every": "1"}},
        {"every": "1"},
        {"every": "1"},
        {"top": "3"},
        "ResourceNotFoundError",
        "ResourceNotFoundError",
        None,
        "InvalidArgumentsError",
    ]
    assert ipc.state_of("reader") == "ERRORED"
    assert ipc.environ_for("reader", {}) == environ
    assert ipc.state_of("reader") is None


def test_a_deployment_that_changes_a_policy_counts_for_a_component_that_runs(ipc: Ipc) -> None:
    environ = ipc.environ_for("changing", {})
    with connected(environ) as caller:
        assert ask(caller, 1, "PublishToIoTCore", topicName="a", qos="1") == "UnauthorizedError"
        ipc.environ_for("changing", configuration("a"))
        assert ask(caller, 2, "PublishToIoTCore", topicName="a", qos="1") == "PublishToIoTCoreResponse"
        ipc.forget("changing")
        assert ask(caller, 3, "PublishToIoTCore", topicName="a", qos="1") == "UnauthorizedError"


def test_a_device_without_a_broker_takes_messages_as_a_core_that_is_offline(tmp_path: Path) -> None:
    with serve(tmp_path / "socket", "camera-1") as ipc:
        assert act(ipc.environ_for("classifier", CLASSIFIER), publish("nowhere")) == [{"done": None}]


def test_a_device_that_ends_while_components_are_connected_does_so_without_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        ExitStack() as stack,
        serve(tmp_path / "socket", "camera-1") as ipc,
    ):
        caller = stack.enter_context(connected(ipc.environ_for("steady", {"a": "b"})))
        assert ask(caller, 1, "GetConfiguration") == "GetConfigurationResponse"
    assert [record.getMessage() for record in caplog.records] == []


def test_messages_wait_for_a_broker_that_is_away_as_far_as_there_is_room(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as broker, broker.listen(TOPIC) as listener:
        broker.stop()
        uplink = Uplink(broker.url, "camera-1", spool=2000)
        with closing(uplink), serve(tmp_path / "socket", "camera-1", uplink) as ipc:
            environ = ipc.environ_for("classifier", CLASSIFIER)
            said = act(environ, *(publish(f"{number}{'.' * 870}") for number in range(3)))
            assert [line.get("error") for line in said] == [None, None, "ServiceError"]
            assert "no more messages can wait" in said[2]["message"]
            broker.start()
            assert [message.payload[:1] for message in listener.wait_for(2)] == [b"0", b"1"]
            # What the broker has confirmed has made room again.
            deadline = time.monotonic() + 60
            while act(environ, publish(f"3{'.' * 870}")) != [{"done": None}]:
                assert time.monotonic() < deadline
            assert listener.wait_for(3)[2].payload[:1] == b"3"


def test_a_subscription_made_while_the_broker_is_away_counts_when_it_is_back(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as broker:
        broker.stop()
        heard: queue.Queue[tuple[str, bytes]] = queue.Queue()
        with closing(Uplink(broker.url, "camera-1")) as uplink:
            end = uplink.subscribe("bins/+", 1, lambda *message: heard.put(message))
            uplink.subscribe("marks", 1, lambda *message: heard.put(message))
            broker.start()
            # Retained, since the broker may have it before the uplink is back.
            broker.publish("bins/left", "Compost", retain=True)
            assert heard.get(timeout=120) == ("bins/left", b"Compost")
            end()
            uplink.publish("bins/left", b"nobody hears this", qos=1)
            uplink.publish("marks", b"the end", qos=1)
            assert heard.get(timeout=120) == ("marks", b"the end")


def test_a_broker_with_tls_takes_a_device_with_a_certificate(tmp_path: Path) -> None:
    with mosquitto(tmp_path, tls=True) as broker, broker.listen("a") as listener:
        ours = broker.certificates
        assert ours is not None
        ca, cert, key = str(ours.ca), str(ours.cert), str(ours.key)
        with closing(Uplink(broker.url, "camera-1", ca=ca, cert=cert, key=key)) as uplink:
            assert uplink.publish("a", b"sealed", qos=1)
            assert listener.wait_for(1)[0].payload == b"sealed"
        assert "as camera-1 (p2, c0, k30, u'camera')" in broker.log


def test_a_device_that_ends_at_once_has_sent_what_it_had_and_does_not_wait_for_a_broker_that_is_away(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with mosquitto(tmp_path) as broker, broker.listen("a") as listener:
        with closing(Uplink(broker.url, "camera-1")) as uplink:
            for number in range(100):
                uplink.publish("a", str(number).encode(), qos=1)
        assert len(listener.wait_for(100)) == 100
        broker.stop()
        uplink = Uplink(broker.url, "camera-1")
        uplink.publish("a", b"too late", qos=1)
        begun = time.monotonic()
        uplink.close(patience=600)
        assert time.monotonic() - begun < 60
    assert f"127.0.0.1:{broker.port} is away; messages wait for it" in caplog.text
    assert f"127.0.0.1:{broker.port} never got 1 messages" in caplog.text


@pytest.mark.parametrize("url", ["tcp://here:1", "mqtt://", "mqtt://here:port", "here"])
def test_an_address_that_is_no_brokers_is_refused(url: str) -> None:
    with pytest.raises(EdgeError, match=r"such as mqtt://192\.168"):
        Uplink(url, "camera-1")


def test_a_socket_whose_path_would_be_too_long_lies_elsewhere_and_is_gone_afterwards(tmp_path: Path) -> None:
    with serve(tmp_path / ("deep" * 30) / "socket", "camera-1") as ipc:
        environ = ipc.environ_for("reader", {"a": "b"})
        assert len(environ[SOCKET_VARIABLE]) < 100
        assert act(environ, ["get_configuration", {}]) == [{"done": {"a": "b"}}]
    assert not ipc.socket.parent.exists()


def test_two_devices_cannot_have_one_socket_but_that_of_a_killed_one_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(path))
    with serve(path, "camera-1") as ipc:
        with pytest.raises(EdgeError, match="another device listens"), serve(path, "camera-2"):
            pass
        assert act(ipc.environ_for("reader", {"a": "b"}), ["get_configuration", {}])
    assert not path.exists()


def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("mine")
    with pytest.raises(EdgeError, match="no socket can be made"), serve(path, "camera-1"):
        pass
    assert path.read_text() == "mine"


numbers = st.integers(-(2**31), 2**31 - 1)
values = st.booleans() | numbers | st.text(max_size=20) | st.binary(max_size=20)
names = st.text(min_size=1, max_size=20)
frames = st.builds(Frame, st.dictionaries(names, values, max_size=5), st.binary(max_size=200))


@given(frames)
def test_a_frame_is_read_as_it_was_written_and_so_botocore_reads_it(frame: Frame) -> None:
    assert decode(encode(frame)) == frame
    buffer = EventStreamBuffer()
    buffer.add_data(encode(frame))
    event: Any = next(buffer)
    assert event.headers == frame.headers
    assert event.payload == frame.payload


@given(frames, st.data())
def test_a_frame_with_a_bit_that_has_turned_is_refused(frame: Frame, data: st.DataObject) -> None:
    message = bytearray(encode(frame))
    bit = data.draw(st.integers(0, 8 * len(message) - 1))
    message[bit // 8] ^= 1 << bit % 8
    with pytest.raises(FrameError):
        decode(bytes(message))


@given(st.binary(max_size=80))
def test_bytes_are_a_frame_or_refused(message: bytes) -> None:
    try:
        frame = decode(message)
    except FrameError:
        return
    assert decode(encode(frame)) == frame


@given(st.binary(max_size=80))
def test_garbage_on_the_socket_ends_its_own_connection_and_nothing_else(ipc: Ipc, garbage: bytes) -> None:
    environ = ipc.environ_for("steady", {"a": "b"})
    with connected(environ) as steady:
        with raw(environ) as intruder:
            intruder.sendall(garbage)
            intruder.shutdown(socket.SHUT_WR)
            while intruder.recv(4096):
                continue
        assert ask(steady, 1, "GetConfiguration") == "GetConfigurationResponse"


plain = st.sampled_from([None, True, 1, 0.5, "", "\ud800", "a/b", "+", "#/a", "$aws", "0", "1"])
json_values = plain | st.lists(plain, max_size=2) | st.dictionaries(st.sampled_from(["a", "message"]), plain)
keys = [
    "topicName",
    "topic",
    "payload",
    "qos",
    "publishMessage",
    "keyPath",
    "componentName",
    "state",
    "retain",
]


@settings(max_examples=60)
@given(st.sampled_from(sorted(OPERATIONS)), st.dictionaries(st.sampled_from(keys), json_values), json_values)
def test_every_request_is_answered_whatever_it_and_the_policies_say(
    ipc: Ipc, operation: str, request_: dict[str, Any], policy: Any
) -> None:
    environ = ipc.environ_for("odd", {"accessControl": {"aws.greengrass.ipc.mqttproxy": policy}})
    with connected(environ) as caller:
        answer = ask(caller, 1, operation.partition("#")[2], **request_)
        assert answer.endswith(("Response", "Error"))
        assert ask(caller, 2, "UpdateState", state="RUNNING") == "UpdateStateResponse"


def publish(payload: str | None = None, topic: str = TOPIC, qos: str = "1", **more: Any) -> list[Any]:
    """A publication to AWS IoT Core, as the component takes it."""
    return ["publish_to_iot_core", {"topic_name": topic, "qos": qos, "payload": payload, **more}]


def act(environ: Mapping[str, str], *acts: list[Any]) -> list[dict[str, Any]]:
    """Run a component to its end; what it said of each act."""
    ended = subprocess.run(
        [sys.executable, str(COMPONENT), json.dumps(acts)],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stderr
    return [json.loads(line) for line in ended.stdout.splitlines()]


@contextmanager
def component(environ: Mapping[str, str], *acts: list[Any]) -> Iterator[Callable[[], Any]]:
    """A component that runs; yields what waits for its next line."""
    process = subprocess.Popen(
        [sys.executable, str(COMPONENT), json.dumps(acts)],
        env={**os.environ, **environ},
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    # Who waits for a line that never comes gets the end of the file.
    overdue = threading.Timer(240, process.kill)
    overdue.start()
    try:
        yield lambda: json.loads(process.stdout.readline())  # type: ignore[union-attr]
        assert process.wait(60) == 0
    finally:
        overdue.cancel()
        process.kill()
        process.wait()
        process.stdout.close()


@contextmanager
def raw(environ: Mapping[str, str]) -> Iterator[socket.socket]:
    """A connection without AWS's client."""
    with socket.socket(socket.AF_UNIX) as caller:
        caller.settimeout(60)
        caller.connect(environ[SOCKET_VARIABLE])
        yield caller


@contextmanager
def connected(environ: Mapping[str, str]) -> Iterator[socket.socket]:
    """A connection without AWS's client that was let in."""
    with raw(environ) as caller:
        hello: dict[str, HeaderValue] = {
            ":version": "0.1.0",
            ":message-type": 4,
            ":message-flags": 0,
            ":stream-id": 0,
        }
        caller.sendall(encode(Frame(hello, json.dumps({"authToken": environ[TOKEN_VARIABLE]}).encode())))
        assert receive(caller).headers[":message-flags"] == 1
        yield caller


def ask(caller: socket.socket, stream: int, operation: str, **request: Any) -> str:
    """The type of the answer to a request."""
    headers: dict[str, HeaderValue] = {
        ":message-type": 0,
        ":message-flags": 0,
        ":stream-id": stream,
        "operation": f"aws.greengrass#{operation}",
        "service-model-type": f"aws.greengrass#{operation}Request",
    }
    caller.sendall(encode(Frame(headers, json.dumps(request).encode())))
    answer = receive(caller)
    assert answer.headers[":stream-id"] == stream
    return str(answer.headers["service-model-type"]).removeprefix("aws.greengrass#")


def receive(caller: socket.socket) -> Frame:
    """The next frame."""
    message = caller.recv(12, socket.MSG_WAITALL)
    return decode(message + caller.recv(int.from_bytes(message[:4]) - 12, socket.MSG_WAITALL))
