"""Train on a dataset of gtlabel with the ModelTrainer of the SageMaker Python SDK.

    pip install 'gtlabel[sagemaker]'
    python model_trainer.py s3://trash-sorter/bins/ --role arn:aws:iam::123456789012:role/gtlabel

It runs wherever the environment points to: AWS, or the address in AWS_ENDPOINT_URL. What it trains is the
built-in image classification, so the model goes on its way with gtlabel: `gtlabel deploy JOB --to THING`.
"""

import argparse

from sagemaker.core.helper.session_helper import Session
from sagemaker.train import ModelTrainer
from sagemaker.train.configs import Compute, OutputDataConfig, StoppingCondition

import gtlabel


def main() -> None:
    """Train, and print the job's name and where the model is."""
    parser = argparse.ArgumentParser(description="Train on a dataset with ModelTrainer.")
    parser.add_argument("dataset", help="what gtlabel consolidate made: s3://BUCKET/PREFIX/")
    parser.add_argument("--role", required=True, help="the role that the job reads and writes with")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a hyperparameter")
    options = parser.parse_args()
    given = dict(setting.split("=", 1) for setting in options.set)

    aws = gtlabel.Aws()
    dataset = gtlabel.read_dataset(aws.s3, gtlabel.S3Uri(options.dataset))
    # Knows what follows from the dataset: the number of classes and of samples, a mini batch that both
    # channels can fill. All of it travels as text, as the algorithm wants it.
    plan = gtlabel.plan_training(aws, dataset, role=options.role, hyperparameters=given)
    trainer = ModelTrainer(
        # Without a bucket of yours, the SDK makes one.
        sagemaker_session=Session(boto_session=aws.session, default_bucket=dataset.uri.bucket),
        training_image=plan.image,
        training_input_mode="Pipe",
        role=options.role,
        base_job_name="bins",
        hyperparameters=plan.hyperparameters.to_boto(),
        compute=Compute(instance_type=plan.instance_type, instance_count=1, volume_size_in_gb=plan.volume_gb),
        output_data_config=OutputDataConfig(s3_output_path=plan.output),
        stopping_condition=StoppingCondition(max_runtime_in_seconds=plan.max_runtime),
    )
    trainer.train(input_data_config=dataset.channels(), wait=True, logs=True)

    job = trainer._latest_training_job  # the SDK has no public name for it
    print(job.training_job_name, job.model_artifacts.s3_model_artifacts)


if __name__ == "__main__":
    main()
