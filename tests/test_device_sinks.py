"""Where a camera's results go: settled, in order, and kept while nobody takes them."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from broker_parts import Broker, mosquitto
from camera_parts import Told
from hypothesis import given, settings
from hypothesis import strategies as st

from gtlabel.edge.device import arguments
from gtlabel.edge.device.arguments import parse
from gtlabel.edge.device.decide import Debounce, Decider
from gtlabel.edge.device.ipcsink import IpcCarrier
from gtlabel.edge.device.mqtt import MqttCarrier
from gtlabel.edge.device.outbox import Outbox
from gtlabel.emulator.ipc import serve

TOPIC = "gtlabel/camera/infer"
PASSWORD = "correct horse"


@settings(deadline=None)
@given(st.integers(1, 9), st.integers(0, 5), st.lists(st.sampled_from("abc"), min_size=1))
def test_a_settled_value_was_frequent_enough_and_stays_until_another_one_is(
    needed: int, more: int, seen: list[str]
) -> None:
    debounce = Debounce(needed, needed + more, "")
    before = ""
    for place, value in enumerate(seen, start=1):
        settled = debounce.see(value)
        recent = seen[max(0, place - needed - more) : place]
        assert settled == (value if recent.count(value) >= needed else before)
        before = settled


@settings(deadline=None)
@given(st.integers(1, 5), st.lists(st.sampled_from("abc")), st.sampled_from("abc"))
def test_what_is_seen_without_a_break_settles_after_so_many_pictures(
    needed: int, before: list[str], value: str
) -> None:
    debounce = Debounce(needed, needed + 2, "")
    for each in before + [value] * needed:
        debounce.see(each)
    assert debounce.settled == value


def test_one_doubtful_picture_changes_nothing_of_what_is_said() -> None:
    decider = Decider(["Compost", "Landfill"], threshold=0.6, top=1, debounce=(2, 3))
    shown = [(0.9, 0.1), (0.8, 0.2), (0.3, 0.7), (0.55, 0.45), (0.5, 0.5), (0.1, 0.9), (0.2, 0.8)]
    said = [decider.decide(values) for values in shown]
    labels = [None, "Compost", "Compost", "Compost", None, None, "Landfill"]
    assert [each.said["label"] for each in said] == labels
    assert [each.changed for each in said] == [False, True, False, False, True, False, True]
    # The confidence is that of the label that is said; `top` is about the picture.
    assert said[2].said == {
        "label": "Compost",
        "confidence": 0.3,
        "top": [{"label": "Landfill", "confidence": 0.7}],
    }


def test_all_labels_of_a_picture_that_may_have_several_are_said() -> None:
    decider = Decider(["cup", "lid", "straw"], threshold=0.5, several=True)
    both, none = decider.decide([0.7, 0.1, 0.9]).said, decider.decide([0.4, 0.1, 0.2]).said
    assert (both["label"], both["confidence"], both["labels"]) == ("straw", 0.9, ["straw", "cup"])
    assert (none["label"], none["confidence"], none["labels"]) == (None, 0.4, [])


def wait_until(true: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 60
    while not true() and time.monotonic() < deadline:
        time.sleep(0.01)
    return true()


class Door:
    """Carries to a list while it is open."""

    def __init__(self) -> None:
        self.came: list[bytes] = []
        self.open = threading.Event()
        self.busy = threading.Event()
        self._abandoned = False

    def deliver(self, payload: bytes) -> bool:
        self.busy.set()
        self.open.wait()
        if not self._abandoned:
            self.came.append(payload)
        return not self._abandoned

    def abandon(self) -> None:
        self._abandoned = True
        self.open.set()

    def close(self) -> None:
        """Nothing is left open."""


def test_the_oldest_results_give_way_while_nobody_takes_them_and_are_counted() -> None:
    door, told = Door(), Told()
    outbox = Outbox("the hub", door, 3, told)
    outbox.send(b"0")
    # That one is under way and waits no longer.
    assert door.busy.wait(60)
    for number in range(1, 8):
        outbox.send(b"%d" % number)
    door.open.set()
    assert outbox.close(30) == 4
    assert door.came == [b"0", b"5", b"6", b"7"]
    assert told.sentences == ["more than 3 results wait for the hub; the oldest are dropped"]


def test_at_the_end_nobody_waits_for_ever_and_what_did_not_arrive_is_counted() -> None:
    door = Door()
    outbox = Outbox("the hub", door, 9, Told())
    for number in range(5):
        outbox.send(b"%d" % number)
    assert outbox.close(0.01) == 5
    assert door.came == []


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with mosquitto(tmp_path_factory.mktemp("broker")) as running:
        yield running


def outbox_to(broker: Broker, told: Told, **options: Any) -> Outbox:
    carrier = MqttCarrier(arguments.Broker(broker.host, broker.port, False), TOPIC, tell=told, **options)
    return Outbox("the broker", carrier, 100, told)


def test_results_wait_for_a_broker_that_is_away_and_come_in_order(broker: Broker) -> None:
    told = Told()
    with broker.listen(TOPIC) as listener:
        outbox = outbox_to(broker, told)
        outbox.send(b"0")
        listener.wait_for(1)
        broker.stop()
        told.wait_for("ended the connection")
        for number in range(1, 50):
            outbox.send(b"%d" % number)
        broker.start()
        told.wait_for("takes results again")
        assert outbox.close(30) == 0
        came = [message.payload for message in listener.wait_for(50)]
    # At least once, says the quality of service; a repetition is none of a later result.
    assert list(dict.fromkeys(came)) == [b"%d" % number for number in range(50)]
    assert len(told.sentences) == 2


def test_a_broker_with_tls_gets_a_certificate_and_has_to_show_one(tmp_path: Path) -> None:
    with mosquitto(tmp_path, tls=True) as secured, secured.listen(TOPIC) as listener:
        files = secured.certificates
        assert files
        to = arguments.Broker(secured.host, secured.port, True)
        known: dict[str, Any] = {"ca": files.ca, "cert": files.cert, "key": files.key}
        outbox = Outbox("it", MqttCarrier(to, TOPIC, tell=Told(), **known), 9, Told())
        outbox.send(b"sealed")
        assert outbox.close(30) == 0
        assert listener.wait_for(1)[0].payload == b"sealed"
        # Nobody whom this system trusts vouches for that broker.
        told = Told()
        outbox = Outbox("it", MqttCarrier(to, TOPIC, tell=told), 9, told)
        outbox.send(b"stolen")
        assert "CERTIFICATE_VERIFY_FAILED" in told.wait_for("cannot be reached")
        assert outbox.close(0.01) == 1
        assert [message.payload for message in listener.messages] == [b"sealed"]


def test_a_user_gives_a_password_that_nobody_gets_to_see(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    salt = b"12 bytes big"
    digest = hashlib.pbkdf2_hmac("sha512", PASSWORD.encode(), salt, 101)
    line = f"owner:$7$101${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}\n"
    (tmp_path / "users").write_text(line)
    (tmp_path / "users").chmod(0o600)
    extra = [f"password_file {tmp_path / 'users'}", "allow_anonymous false"]
    with mosquitto(tmp_path, extra=extra) as guarded:
        for password, sentence in ((PASSWORD, None), ("incorrect horse", "refuses this device")):
            monkeypatch.setenv("GTLABEL_MQTT_PASSWORD", password)
            to = parse(["--folder", "x", "--mqtt", f"mqtt://owner@{guarded.host}:{guarded.port}"]).mqtt
            assert to
            told = Told()
            outbox = Outbox("it", MqttCarrier(to, TOPIC, tell=told), 9, told)
            outbox.send(b"x")
            if sentence:
                told.wait_for(sentence)
            assert outbox.close(0.01 if sentence else 30) == bool(sentence)
            assert "horse" not in f"{told.sentences} {to} {to!r}"


class Cloud:
    """What plays AWS IoT Core for a device's IPC."""

    def __init__(self) -> None:
        self.came: list[tuple[str, bytes, int]] = []

    def publish(self, topic: str, payload: bytes, *, qos: int, retain: bool = False) -> bool:
        assert not retain
        self.came.append((topic, payload, qos))
        return True

    def subscribe(self, *_: Any) -> Any:
        raise AssertionError("the program on the camera listens to nobody")


def policy(topic: str) -> dict[str, Any]:
    allowed = {"operations": ["aws.greengrass#PublishToIoTCore"], "resources": [topic]}
    return {"accessControl": {"aws.greengrass.ipc.mqttproxy": {"c:mqttproxy:1": allowed}}}


def test_a_nucleus_takes_results_again_after_it_was_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud, told = Cloud(), Told()
    with contextlib.ExitStack() as life:

        def start() -> None:
            nucleus = life.enter_context(serve(tmp_path / "socket", "camera", cloud))
            for name, value in nucleus.environ_for("c", policy(TOPIC)).items():
                monkeypatch.setenv(name, value)

        start()
        outbox = Outbox("the nucleus", IpcCarrier(TOPIC, told), 9, told)
        outbox.send(b"0")
        assert wait_until(lambda: len(cloud.came) == 1)
        life.close()
        outbox.send(b"1")
        outbox.send(b"2")
        told.wait_for("the nucleus does not take results")
        start()
        told.wait_for("takes results again")
        assert outbox.close(30) == 0
    assert cloud.came == [(TOPIC, b"%d" % number, 1) for number in range(3)]


def test_a_topic_that_the_component_may_not_use_is_told_with_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud, told = Cloud(), Told()
    with serve(tmp_path / "socket", "camera", cloud) as nucleus:
        for name, value in nucleus.environ_for("c", policy("another/topic")).items():
            monkeypatch.setenv(name, value)
        outbox = Outbox("the nucleus", IpcCarrier(TOPIC, told), 9, told)
        for payload in (b"0", b"1"):
            outbox.send(payload)
        assert outbox.close(30) == 2
    (sentence,) = told.sentences
    assert sentence.startswith("the nucleus refuses results: ")
    assert f"accessControl must allow aws.greengrass#PublishToIoTCore for {TOPIC}" in sentence
    assert cloud.came == []
