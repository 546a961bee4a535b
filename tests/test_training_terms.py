"""The terms that a training job is rented on: what AWS would refuse, and what an emulator takes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plan_parts import made

from gtlabel.emulator.api import Context
from gtlabel.emulator.jobrules import check_job
from gtlabel.errors import RequestError
from gtlabel.training.instances import gpus, instance_types, sizes, unfit_for_builtin


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"max_wait": 9000}, "max_wait is about spare machines"),
        ({"spot": True, "max_wait": 60}, "is at least the max_runtime of 3600"),
        ({"spot": True, "keep_alive": 60}, "spare machines cannot be kept"),
        ({"volume_key": "alias/disks"}, "keeps its data on a disk of its own, which encrypts itself"),
        ({"subnets": ("subnet-1",)}, "give security_groups as well"),
        ({"security_groups": ("sg-1",)}, "give subnets as well"),
        ({"encrypt_traffic": True}, "encrypt_traffic is about several machines"),
        ({"max_runtime": 29 * 86_400}, "max_runtime: Input should be less than or equal to 2419200"),
        ({"keep_alive": 30_000}, "keepAlivePeriodInSeconds"),
        (
            {"instance_type": "ml.g5.48xlarge", "validation_lines": 4},
            "leaves some of the 8 GPUs",
        ),
        (
            {"hyperparameters": {"num_layers": 18, "kv_store": "dist_sync"}},
            "kv_store dist_sync is about several machines",
        ),
        ({"tags": {"aws:team": "x"}}, "the tag 'aws:team' begins with 'aws:'"),
        ({"tags": {str(number): "" for number in range(51)}}, "51 tags are more than the 50"),
        ({"environment": {"not-a-name": "x"}}, "environment"),
    ],
)
def test_terms_that_the_service_would_refuse_one_by_one_are_refused_at_once(
    asked: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(RequestError) as refused:
        made(**{"hyperparameters": {"num_layers": 18}, **asked}).to_boto()
    assert sentence in str(refused.value)


def test_a_spot_job_without_checkpoints_waits_an_hour_at_most() -> None:
    layers = {"num_layers": 18}
    with pytest.raises(RequestError, match="give checkpoints, an s3:// prefix"):
        made(spot=True, hyperparameters=layers)
    assert made(spot=True, max_runtime=1800, hyperparameters=layers).to_boto()["StoppingCondition"] == {
        "MaxRuntimeInSeconds": 1800,
        "MaxWaitTimeInSeconds": 3600,
    }


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(RequestError) as refused:
        made(max_wait=60, subnets=("subnet-1",), instance_type="ml.m5.large", label_attribute="x-ref")
    told = str(refused.value)
    for sentence in (
        "'ml.m5.large' has none",
        "leave it out, or set spot",
        "security_groups",
        "'x-ref' is not",
    ):
        assert sentence in told


def test_every_machine_is_fit_for_the_builtin_or_refused_with_one_that_is() -> None:
    fit = [name for name in instance_types() if unfit_for_builtin(name) is None]
    assert {name.split(".")[1] for name in fit} == {"g4dn", "g5"}
    assert len(fit) == len(sizes("g4dn")) + len(sizes("g5"))
    assert all((gpus(name) or 0) >= 1 for name in fit)
    refused = [unfit_for_builtin(name) for name in instance_types() if name not in fit]
    assert all("take ml.g4dn.xlarge" in str(sentence) for sentence in refused)


@settings(max_examples=60, deadline=None)
@given(
    st.fixed_dictionaries(
        {"max_runtime": st.integers(1, 10_000)},
        optional={
            "spot": st.booleans(),
            "max_wait": st.integers(1, 20_000),
            "checkpoints": st.just("s3://trash/checkpoints/"),
            "keep_alive": st.integers(0, 4000),
            "model": st.just("s3://trash/models/old/output/model.tar.gz"),
            "isolated": st.booleans(),
            "instance_type": st.sampled_from(["ml.g4dn.xlarge", "ml.g5.2xlarge", "ml.g4dn.12xlarge"]),
        },
    ),
    st.fixed_dictionaries(
        {"num_layers": st.just(18)},
        optional={
            "multi_label": st.booleans(),
            "mini_batch_size": st.integers(1, 40),
            "epochs": st.integers(1, 40),
            "checkpoint_frequency": st.integers(1, 40),
            "early_stopping": st.booleans(),
            "optimizer": st.sampled_from(["sgd", "adam", "rmsprop", "nag"]),
        },
    ),
)
def test_what_is_not_refused_is_taken_by_the_emulator(terms: dict[str, Any], told: dict[str, Any]) -> None:
    try:
        request = made(**terms, hyperparameters=told).to_boto()
    except RequestError:
        return
    trainers = {"image-classification": ["train"]}
    assert check_job(Context(), dict(request), trainers) == "image-classification"
