"""Train on a dataset of gtlabel with sagemaker-core alone, the lower half of the SageMaker Python SDK.

    pip install gtlabel 'sagemaker-core>=2.27,<3'
    python training_job.py bins-1 s3://trash-sorter/bins/ --role arn:aws:iam::123456789012:role/gtlabel

Half the size of the whole SDK, and nothing happens that is not written here: the job has the name you give
it, and nobody else is told of it.
"""

import argparse

from sagemaker.core.resources import TrainingJob
from sagemaker.core.shapes import (
    AlgorithmSpecification,
    OutputDataConfig,
    ResourceConfig,
    StoppingCondition,
)

import gtlabel


def main() -> None:
    """Train, and print where the model is."""
    parser = argparse.ArgumentParser(description="Train on a dataset with sagemaker-core.")
    parser.add_argument("job")
    parser.add_argument("dataset", help="what gtlabel consolidate made: s3://BUCKET/PREFIX/")
    parser.add_argument("--role", required=True, help="the role that the job reads and writes with")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a hyperparameter")
    parser.add_argument("--poll", type=int, default=30, help="seconds between two looks")
    options = parser.parse_args()
    given = dict(setting.split("=", 1) for setting in options.set)

    aws = gtlabel.Aws()
    dataset = gtlabel.read_dataset(aws.s3, gtlabel.S3Uri(options.dataset))
    plan = gtlabel.plan_training(aws, dataset, role=options.role, name=options.job, hyperparameters=given)
    job = TrainingJob.create(
        training_job_name=plan.name,
        algorithm_specification=AlgorithmSpecification(training_image=plan.image, training_input_mode="Pipe"),
        role_arn=plan.role,
        input_data_config=dataset.channels(),
        hyper_parameters=plan.hyperparameters.to_boto(),
        output_data_config=OutputDataConfig(s3_output_path=plan.output),
        resource_config=ResourceConfig(
            instance_type=plan.instance_type,
            instance_count=plan.instance_count,
            volume_size_in_gb=plan.volume_gb,
        ),
        stopping_condition=StoppingCondition(max_runtime_in_seconds=plan.max_runtime),
        region=aws.region,
    )
    job.wait(poll=options.poll)
    print(job.model_artifacts.s3_model_artifacts)


if __name__ == "__main__":
    main()
