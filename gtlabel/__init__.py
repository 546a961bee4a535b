"""gtlabel: from unlabeled pictures to a classifier on a camera.

The steps, each as one call: `plan_labeling`, `start_labeling`, `wait_for_labeling_job`,
`plan_collection`, `collect` (what somebody else has sorted already), `consolidate_jobs`, `plan_training`,
`create_training_job`, `wait_for_training_job`, `evaluate_model`, `fetch_model`, `deploy`. What was started
under one name, be it several jobs, is found by `describe_labeling`, and `plan_clone`, `plan_chain`,
`plan_resume`, `plan_relabel` and `plan_verify` make new jobs of it, which `start_successor` starts. What a
training job prints, a `LogReader` reads, and `read_curve` how well it learned; what a model that `open_model`
opens says of pictures, `predict` tells. They take an `Aws`, the clients of one account or of anything that
speaks AWS's protocol, or one of its clients.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gtlabel.aws import Aws
    from gtlabel.datasets.channels import Dataset, read_dataset
    from gtlabel.datasets.collect.collect import collect
    from gtlabel.datasets.collect.collection import Collection
    from gtlabel.datasets.collect.planning import CollectionPlan, CollectionWishes, plan_collection
    from gtlabel.errors import GtlabelError
    from gtlabel.images.selection import Selection, select_images
    from gtlabel.images.upload import upload_folder
    from gtlabel.journey import (
        LabelingPlan,
        TrainedModel,
        consolidate_jobs,
        deploy,
        evaluate_model,
        fetch_model,
        plan_labeling,
        plan_training,
        prepare_labeling,
        start_labeling,
    )
    from gtlabel.labeling.cost import estimate
    from gtlabel.labeling.groups import JobGroup, describe_labeling, stop_labeling, wait_for_labeling
    from gtlabel.labeling.jobs import (
        LabelingJob,
        describe_labeling_job,
        list_labeling_jobs,
        stop_labeling_job,
        wait_for_labeling_job,
    )
    from gtlabel.labeling.lifecycle import (
        SuccessorPlan,
        plan_chain,
        plan_clone,
        plan_relabel,
        plan_resume,
        plan_verify,
        start_successor,
    )
    from gtlabel.labeling.notify import notify, plan_notification, remove_notification
    from gtlabel.labeling.request import LabelingJobRequest
    from gtlabel.labeling.stack import stack_settings
    from gtlabel.labeling.webhook import post_webhook
    from gtlabel.settings import Project
    from gtlabel.training.curve import read_curve
    from gtlabel.training.follow import LogReader, follow_training_job
    from gtlabel.training.jobs import (
        TrainingJob,
        create_training_job,
        describe_training_job,
        list_training_jobs,
        stop_training_job,
        wait_for_training_job,
    )
    from gtlabel.training.model import open_model
    from gtlabel.training.predict import predict
    from gtlabel.uris import S3Uri

# Found on first use: `import gtlabel` must not cost what boto3 and pydantic cost.
_HOMES = {
    "Aws": "gtlabel.aws",
    "Collection": "gtlabel.datasets.collect.collection",
    "CollectionPlan": "gtlabel.datasets.collect.planning",
    "CollectionWishes": "gtlabel.datasets.collect.planning",
    "Dataset": "gtlabel.datasets.channels",
    "GtlabelError": "gtlabel.errors",
    "JobGroup": "gtlabel.labeling.groups",
    "LabelingJob": "gtlabel.labeling.jobs",
    "LabelingJobRequest": "gtlabel.labeling.request",
    "LabelingPlan": "gtlabel.journey",
    "LogReader": "gtlabel.training.follow",
    "Project": "gtlabel.settings",
    "S3Uri": "gtlabel.uris",
    "Selection": "gtlabel.images.selection",
    "SuccessorPlan": "gtlabel.labeling.lifecycle",
    "TrainedModel": "gtlabel.delivery",
    "TrainingJob": "gtlabel.training.jobs",
    "collect": "gtlabel.datasets.collect.collect",
    "consolidate_jobs": "gtlabel.journey",
    "create_training_job": "gtlabel.training.jobs",
    "deploy": "gtlabel.delivery",
    "describe_labeling": "gtlabel.labeling.groups",
    "describe_labeling_job": "gtlabel.labeling.jobs",
    "describe_training_job": "gtlabel.training.jobs",
    "estimate": "gtlabel.labeling.cost",
    "evaluate_model": "gtlabel.judging",
    "fetch_model": "gtlabel.delivery",
    "follow_training_job": "gtlabel.training.follow",
    "list_labeling_jobs": "gtlabel.labeling.jobs",
    "list_training_jobs": "gtlabel.training.jobs",
    "notify": "gtlabel.labeling.notify",
    "open_model": "gtlabel.training.model",
    "plan_chain": "gtlabel.labeling.lifecycle",
    "plan_clone": "gtlabel.labeling.lifecycle",
    "plan_collection": "gtlabel.datasets.collect.planning",
    "plan_labeling": "gtlabel.journey",
    "plan_notification": "gtlabel.labeling.notify",
    "plan_relabel": "gtlabel.labeling.lifecycle",
    "plan_resume": "gtlabel.labeling.lifecycle",
    "plan_training": "gtlabel.journey",
    "plan_verify": "gtlabel.labeling.lifecycle",
    "post_webhook": "gtlabel.labeling.webhook",
    "predict": "gtlabel.training.predict",
    "prepare_labeling": "gtlabel.journey",
    "read_curve": "gtlabel.training.curve",
    "read_dataset": "gtlabel.datasets.channels",
    "remove_notification": "gtlabel.labeling.notify",
    "select_images": "gtlabel.images.selection",
    "stack_settings": "gtlabel.labeling.stack",
    "start_labeling": "gtlabel.journey",
    "start_successor": "gtlabel.labeling.lifecycle",
    "stop_labeling": "gtlabel.labeling.groups",
    "stop_labeling_job": "gtlabel.labeling.jobs",
    "stop_training_job": "gtlabel.training.jobs",
    "upload_folder": "gtlabel.images.upload",
    "wait_for_labeling": "gtlabel.labeling.groups",
    "wait_for_labeling_job": "gtlabel.labeling.jobs",
    "wait_for_training_job": "gtlabel.training.jobs",
}

__all__ = [
    "Aws",
    "Collection",
    "CollectionPlan",
    "CollectionWishes",
    "Dataset",
    "GtlabelError",
    "JobGroup",
    "LabelingJob",
    "LabelingJobRequest",
    "LabelingPlan",
    "LogReader",
    "Project",
    "S3Uri",
    "Selection",
    "SuccessorPlan",
    "TrainedModel",
    "TrainingJob",
    "collect",
    "consolidate_jobs",
    "create_training_job",
    "deploy",
    "describe_labeling",
    "describe_labeling_job",
    "describe_training_job",
    "estimate",
    "evaluate_model",
    "fetch_model",
    "follow_training_job",
    "list_labeling_jobs",
    "list_training_jobs",
    "notify",
    "open_model",
    "plan_chain",
    "plan_clone",
    "plan_collection",
    "plan_labeling",
    "plan_notification",
    "plan_relabel",
    "plan_resume",
    "plan_training",
    "plan_verify",
    "post_webhook",
    "predict",
    "prepare_labeling",
    "read_curve",
    "read_dataset",
    "remove_notification",
    "select_images",
    "stack_settings",
    "start_labeling",
    "start_successor",
    "stop_labeling",
    "stop_labeling_job",
    "stop_training_job",
    "upload_folder",
    "wait_for_labeling",
    "wait_for_labeling_job",
    "wait_for_training_job",
]


def __getattr__(name: str) -> Any:
    try:
        home = _HOMES[name]
    except KeyError:
        raise AttributeError(f"module 'gtlabel' has no attribute {name!r}") from None
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return sorted(__all__)
