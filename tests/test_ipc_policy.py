"""What a component may do over Greengrass IPC, by its configuration."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ipc_parts import configuration
from paho.mqtt.client import topic_matches_sub

from gtlabel.emulator.ipcpolicy import MQTT, PUBSUB, allows, matches


@pytest.mark.parametrize(
    ("resource", "topic", "allowed"),
    [
        ("gtlabel/{iot:thingName}/infer", "gtlabel/camera-1/infer", True),
        ("gtlabel/{iot:thingName}/infer", "gtlabel/camera-1/infer/more", False),
        ("*", "a/b", True),
        ("a/*/c", "a/b/b/c", True),
        ("a/x*", "a/y", False),
        ("a/+/c", "a/b/c", True),
        ("a/+/c", "a/b/b/c", False),
        ("a/+/c", "a/+/c", True),
        ("a/+", "a/#", False),
        ("+", "#", False),
        ("a/#", "a/b/c", True),
        ("a/#", "a", True),
        ("a/#", "ab", False),
        ("a/#", "a/#", True),
        ("a.c", "abc", False),
        ("a${*}", "a*", True),
        ("a${*}", "ab", False),
        ("a?", "a?", True),
        ("a?", "ab", False),
        ("${$}{a}", "${a}", True),
        ("a\nb", "a\nb", True),
    ],
)
def test_a_policy_for_aws_iot_core_allows_what_the_manual_says(
    resource: str, topic: str, allowed: bool
) -> None:
    assert (
        allows(configuration(resource), MQTT, "aws.greengrass#PublishToIoTCore", topic, "camera-1") is allowed
    )


def test_a_policy_counts_for_its_own_service_and_operations_only() -> None:
    both = configuration("a/#", operations=("aws.greengrass#PublishToIoTCore",))
    assert not allows(both, PUBSUB, "aws.greengrass#PublishToTopic", "a/b", "camera-1")
    assert not allows(both, MQTT, "aws.greengrass#SubscribeToIoTCore", "a/b", "camera-1")
    # Between components the signs of MQTT stand for themselves.
    local = configuration("a/#", service="pubsub")
    assert not allows(local, PUBSUB, "aws.greengrass#SubscribeToTopic", "a/b", "camera-1")
    assert allows(local, PUBSUB, "aws.greengrass#SubscribeToTopic", "a/#", "camera-1")


levels = st.lists(st.sampled_from(["", "a", "b", "+", "$x"]), min_size=1, max_size=4).map("/".join)
topics = st.lists(st.sampled_from(["", "a", "b", "$x"]), min_size=1, max_size=4).map("/".join)


@given(levels, st.sampled_from(["", "#", "/#"]), topics)
def test_a_filter_means_what_it_means_to_paho(start: str, end: str, topic: str) -> None:
    topic_filter = end if end == "#" else start + end
    assert matches(topic_filter, topic) is topic_matches_sub(topic_filter, topic)
