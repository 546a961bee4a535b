"""A session with sagemaker-core, run by a Python that has it: it prints what it did and what came back.

It knows nothing of gtlabel. The account is where the environment says, as for any program.
"""

import json
import logging
import sys

from botocore.exceptions import ClientError
from sagemaker.core.resources import LabelingJob
from sagemaker.core.shapes import (
    AnnotationConsolidationConfig,
    HumanTaskConfig,
    LabelingJobDataSource,
    LabelingJobInputConfig,
    LabelingJobOutputConfig,
    LabelingJobS3DataSource,
    UiConfig,
)

logging.disable(logging.WARNING)

TEAM, ROLE = sys.argv[1:3]
FUNCTION = "arn:aws:lambda:us-east-1:432418664414:function"


def tell(call: str, result: object) -> None:
    print(json.dumps([call, result], default=str), flush=True)


def create(name: str) -> LabelingJob:
    return LabelingJob.create(
        labeling_job_name=name,
        label_attribute_name="bin",
        input_config=LabelingJobInputConfig(
            data_source=LabelingJobDataSource(
                s3_data_source=LabelingJobS3DataSource(manifest_s3_uri="s3://trash/in.manifest")
            )
        ),
        output_config=LabelingJobOutputConfig(s3_output_path="s3://trash/out/"),
        role_arn=ROLE,
        label_category_config_s3_uri="s3://trash/classes.json",
        human_task_config=HumanTaskConfig(
            workteam_arn=TEAM,
            ui_config=UiConfig(ui_template_s3_uri="s3://trash/template.liquid"),
            pre_human_task_lambda_arn=f"{FUNCTION}:PRE-ImageMultiClass",
            annotation_consolidation_config=AnnotationConsolidationConfig(
                annotation_consolidation_lambda_arn=f"{FUNCTION}:ACS-ImageMultiClass"
            ),
            task_title="Sort the trash",
            task_description="Choose the bin.",
            number_of_human_workers_per_data_object=1,
            task_time_limit_in_seconds=300,
        ),
        region="us-east-1",
    )


job = create("sdk-bins")
tell("LabelingJob.create('sdk-bins')", job.labeling_job_arn)

job.wait(poll=1, timeout=120)
tell("job.wait()", [job.labeling_job_status, job.label_counters.total_labeled])

found = LabelingJob.get(labeling_job_name="sdk-bins", region="us-east-1")
tell("LabelingJob.get('sdk-bins')", found.labeling_job_output.output_dataset_s3_uri)

second = create("sdk-stopped")
second.stop()
second.wait(poll=1, timeout=120)
tell("second.stop(); second.wait()", second.labeling_job_status)

jobs = LabelingJob.get_all(sort_by="Name", region="us-east-1")
tell("LabelingJob.get_all()", [[each.labeling_job_name, each.labeling_job_status] for each in jobs])

completed = LabelingJob.get_all(status_equals="Completed", region="us-east-1")
tell("LabelingJob.get_all('Completed')", [each.labeling_job_name for each in completed])

try:
    LabelingJob.get(labeling_job_name="nothing", region="us-east-1")
except ClientError as error:
    tell("LabelingJob.get('nothing')", str(error))
