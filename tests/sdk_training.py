"""Programs with the SageMaker SDK, run by a Python that has it: the samples, and what they do not call.

The account is where the environment says, as for any program. Arguments: the samples, the dataset, the role.
"""

import json
import logging
import runpy
import sys

import boto3
from botocore.exceptions import ClientError
from sagemaker.core import image_uris
from sagemaker.core.resources import TrainingJob

logging.disable(logging.WARNING)

SAMPLES, DATASET, ROLE = sys.argv[1:4]
REGION = "us-east-1"
# A network that needs a second to learn.
QUICK = ("--role", ROLE, "--set", "image_shape=3,48,64", "--set", "epochs=1")


def tell(call: str, result: object) -> None:
    print(json.dumps([call, result], default=str), flush=True)


def run(name: str, *arguments: str) -> None:
    sys.argv = [name, *arguments]
    runpy.run_path(f"{SAMPLES}/{name}", run_name="__main__")


def image(region: str) -> str | None:
    try:
        found: str = image_uris.retrieve("image-classification", region)
    except ValueError:
        return None
    return found


# What the SDK knows of where the algorithm is, of all regions that either of us knows.
known = set(boto3.Session().get_available_regions("sagemaker"))
for partition in boto3.Session().get_available_partitions():
    known.update(boto3.Session().get_available_regions("sagemaker", partition_name=partition))
known.update(image_uris.config_for_framework("image-classification")["versions"]["1"]["registries"])
tell("images", {region: image(region) for region in sorted(known)})

run("model_trainer.py", DATASET, *QUICK)
run("training_job.py", "by-core", DATASET, *QUICK, "--poll", "1")

job = TrainingJob.get(training_job_name="by-core", region=REGION)
tell("get", [job.training_job_status, job.hyper_parameters["num_classes"], job.training_job_arn])
again = TrainingJob.create(
    training_job_name="again",
    algorithm_specification=job.algorithm_specification,
    role_arn=job.role_arn,
    input_data_config=job.input_data_config,
    hyper_parameters=job.hyper_parameters,
    output_data_config=job.output_data_config,
    resource_config=job.resource_config,
    stopping_condition=job.stopping_condition,
    region=REGION,
)
again.stop()
again.refresh()
tell("stop, refresh", again.training_job_status in ("Stopping", "Stopped"))
again.wait(poll=1)
tell("wait", again.training_job_status)

jobs = TrainingJob.get_all(sort_by="CreationTime", sort_order="Ascending", region=REGION)
tell("get_all", [[each.training_job_name, each.training_job_status] for each in jobs])
jobs = TrainingJob.get_all(name_contains="core", region=REGION)
tell("get_all 'core'", [each.training_job_name for each in jobs])
try:
    TrainingJob.get(training_job_name="nothing", region=REGION)
except ClientError as error:
    tell("get 'nothing'", str(error))
