"""A Ground Truth customer's own program: starts a labeling job, waits for it, and reads what it wrote.

It uses boto3 alone and knows no address: it runs against AWS as it is, and against another Ground Truth where
`AWS_ENDPOINT_URL_SAGEMAKER` names one.

    python customer.py trash-bins --bucket trash-sorter --prefix trash/
        --classes Compost,Landfill,Recycle
        --team arn:aws:sagemaker:us-east-1:123456789012:workteam/private-crowd/sorters
        --role arn:aws:iam::123456789012:role/labeling
"""

import argparse
import json
import sys
import time

import boto3

# https://docs.aws.amazon.com/sagemaker/latest/dg/sms-create-labeling-job-api.html
FUNCTION_OWNERS = {"us-east-1": "432418664414", "us-west-2": "081040173940", "eu-west-1": "568282634449"}

TEMPLATE = """<script src="https://assets.crowd.aws/crowd-html-elements.js"></script>
<crowd-form>
  <crowd-image-classifier
    name="crowd-image-classifier"
    src="{{ task.input.taskObject | grant_read_access }}"
    header="Which bin does this belong in?"
    categories="{{ task.input.labels | to_json | escape }}"
  >
    <full-instructions header="Sorting pictures">
      <p>Choose the bin of the largest thing in the picture.</p>
    </full-instructions>
    <short-instructions><p>Choose the bin that fits best.</p></short-instructions>
  </crowd-image-classifier>
</crowd-form>
"""


def main() -> None:
    """Label the pictures below a prefix, and print the class of each."""
    parser = argparse.ArgumentParser(description="Label the pictures below a prefix.")
    parser.add_argument("job")
    parser.add_argument("--bucket", required=True)
    parser.add_argument("--prefix", required=True)
    parser.add_argument("--classes", required=True)
    parser.add_argument("--team", required=True)
    parser.add_argument("--role", required=True)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--poll", type=float, default=30, help="seconds between two looks")
    options = parser.parse_args()

    s3 = boto3.client("s3")
    sagemaker = boto3.client("sagemaker")
    bucket, inputs = options.bucket, f"jobs/{options.job}"

    # What the job reads.
    images = []
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=options.prefix):
        images += [f"s3://{bucket}/{item['Key']}" for item in page.get("Contents", [])]
    manifest = "".join(json.dumps({"source-ref": image}) + "\n" for image in images)
    labels = [{"label": name} for name in options.classes.split(",")]
    classes = {"document-version": "2018-11-28", "labels": labels}
    s3.put_object(Bucket=bucket, Key=f"{inputs}/input.manifest", Body=manifest.encode())
    s3.put_object(Bucket=bucket, Key=f"{inputs}/classes.json", Body=json.dumps(classes).encode())
    s3.put_object(Bucket=bucket, Key=f"{inputs}/template.liquid", Body=TEMPLATE.encode())

    # The job.
    region = sagemaker.meta.region_name
    functions = f"arn:aws:lambda:{region}:{FUNCTION_OWNERS[region]}:function"
    created = sagemaker.create_labeling_job(
        LabelingJobName=options.job,
        LabelAttributeName="bin",
        InputConfig={
            "DataSource": {"S3DataSource": {"ManifestS3Uri": f"s3://{bucket}/{inputs}/input.manifest"}}
        },
        OutputConfig={"S3OutputPath": f"s3://{bucket}/labeled/"},
        RoleArn=options.role,
        LabelCategoryConfigS3Uri=f"s3://{bucket}/{inputs}/classes.json",
        HumanTaskConfig={
            "WorkteamArn": options.team,
            "UiConfig": {"UiTemplateS3Uri": f"s3://{bucket}/{inputs}/template.liquid"},
            "PreHumanTaskLambdaArn": f"{functions}:PRE-ImageMultiClass",
            "AnnotationConsolidationConfig": {
                "AnnotationConsolidationLambdaArn": f"{functions}:ACS-ImageMultiClass"
            },
            "TaskTitle": "Which bin does this belong in?",
            "TaskDescription": "Choose the bin that fits the picture best.",
            "TaskKeywords": ["images", "trash"],
            "NumberOfHumanWorkersPerDataObject": options.workers,
            "TaskTimeLimitInSeconds": 300,
        },
    )
    print(created["LabelingJobArn"], file=sys.stderr)

    # Wait until people have answered.
    while True:
        job = sagemaker.describe_labeling_job(LabelingJobName=options.job)
        if job["LabelingJobStatus"] not in ("Initializing", "InProgress"):
            break
        counters = job["LabelCounters"]
        print(f"{counters['TotalLabeled']} labeled, {counters['Unlabeled']} to go", file=sys.stderr)
        time.sleep(options.poll)
    if job["LabelingJobStatus"] != "Completed":
        sys.exit(f"{options.job}: {job['LabelingJobStatus']}: {job.get('FailureReason', 'no reason given')}")

    # Read what it wrote.
    output = job["LabelingJobOutput"]["OutputDatasetS3Uri"]
    key = output.removeprefix(f"s3://{bucket}/")
    for line in s3.get_object(Bucket=bucket, Key=key)["Body"].iter_lines():
        record = json.loads(line)
        said = record.get("bin-metadata", {})
        print(json.dumps([record["source-ref"], said.get("class-name"), said.get("confidence")]))


if __name__ == "__main__":
    main()
