"""The whole journey as a program, on the pictures of samples/trash.

    gtlabel local up --bucket trash-sorter --detach
    eval "$(gtlabel local env)"
    python samples/journey.py

It speaks to whatever the environment points to. Where real people label and a real camera looks, leave
out what comes from `gtlabel.emulator`, and name a bucket of yours.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import gtlabel
from gtlabel.emulator.child import Address
from gtlabel.emulator.device import read_results
from gtlabel.emulator.deviceprocess import device_process
from gtlabel.emulator.simulate import answer, read_truth
from gtlabel.images.upload import upload_folder

TRASH = Path(__file__).resolve().parent / "trash"


def main(bucket: str, device: Path) -> None:
    """Label, consolidate, train, deploy."""
    aws = gtlabel.Aws()
    project = gtlabel.Project.load(TRASH / "gtlabel.toml")
    role, team = project.need("role", "--role"), project.need("team", "--team")

    # Label.
    images = gtlabel.S3Uri.of(bucket, "trash/")
    upload_folder(aws.s3, TRASH / "images", images)
    plan = gtlabel.plan_labeling(aws, images, project.classes, team=team, role=role, name="trash-bins")
    for refusal in plan.usable.refused:
        print(f"left out: {refusal.uri} {refusal.reason}")
    gtlabel.start_labeling(aws, plan)
    endpoint = os.environ["AWS_ENDPOINT_URL"]
    answer(endpoint, "trash-bins", 5, 0.85, read_truth(TRASH / "truth.jsonl"), seed=7)
    job = gtlabel.wait_for_labeling_job(aws.sagemaker, "trash-bins", poll=0.2, timeout=60)
    print(f"{job.counters.labeled} pictures labeled, {job.counters.failed} failed")

    # Consolidate.
    dataset = gtlabel.consolidate_jobs(aws, ["trash-bins"], gtlabel.S3Uri.of(bucket, "bins/"))
    for folder in dataset.classes:
        print(f"{folder.name}: {folder.train} to learn from, {folder.validation} to validate with")

    # Train.
    request = gtlabel.plan_training(
        aws, dataset, role=role, name="trash-bins", hyperparameters={"image_shape": "3,64,64", "epochs": 1}
    )
    gtlabel.create_training_job(aws.sagemaker, request)
    trained = gtlabel.wait_for_training_job(aws.sagemaker, "trash-bins", poll=0.2)
    print(f"validation accuracy {trained.metrics['validation:accuracy']:.1%}, model at {trained.artifact}")

    # Deploy.
    model = gtlabel.fetch_model(aws, "trash-bins")
    configuration = {"folder": str(TRASH / "held-out"), "watch": "no"}
    with device_process(Address(endpoint, dict(os.environ)), "kitchen-camera", device) as ended:
        deployed = gtlabel.deploy(aws, model, "kitchen-camera", configuration=configuration, poll=0.2)
        ended()
    results = read_results(device, deployed.component.name)
    print(f"{sum('image' in result for result in results)} pictures classified by {deployed.component.name}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--bucket", default="trash-sorter")
    parser.add_argument("--device", type=Path, default=Path("kitchen-camera.device"))
    options = parser.parse_args()
    main(options.bucket, options.device)
