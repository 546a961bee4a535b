"""What survives: a stop, a kill, and whatever else lies in the folder."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError
from emulator_parts import IMAGES, TRUTH, clients, create_job, labels, post, put_inputs

from gtlabel.emulator.server import Address, running
from gtlabel.emulator.simulate import answer
from gtlabel.emulator.state import StateFolder, find, running_emulators
from gtlabel.errors import EmulatorError, StateInUseError

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client


def fill(s3: S3Client) -> None:
    """Put into S3 what a restart could lose."""
    s3.create_bucket(Bucket="plain", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    for number in range(5):
        s3.put_object(Bucket="plain", Key=f"{number}.jpg", Body=bytes([number]) * 100)
    s3.put_object(
        Bucket="plain",
        Key="odd/ü %2F+.jpg",
        Body=b"odd",
        ContentType="image/jpeg",
        Metadata={"my_key": "v"},
        Tagging="bin=recycle",
        StorageClass="STANDARD_IA",
        CacheControl="no-store",
        ACL="public-read",
    )
    s3.copy_object(Bucket="plain", Key="copy.jpg", CopySource="plain/4.jpg")
    s3.delete_object(Bucket="plain", Key="0.jpg")
    s3.delete_objects(Bucket="plain", Delete={"Objects": [{"Key": "1.jpg"}, {"Key": "2.jpg"}]})
    s3.put_bucket_cors(
        Bucket="plain",
        CORSConfiguration={
            "CORSRules": [{"AllowedMethods": ["GET"], "AllowedOrigins": ["*"], "MaxAgeSeconds": 60}]
        },
    )
    s3.put_bucket_tagging(Bucket="plain", Tagging={"TagSet": [{"Key": "a", "Value": "b"}]})
    s3.put_bucket_policy(Bucket="plain", Policy='{"Version": "2012-10-17", "Statement": []}')
    s3.delete_bucket_policy(Bucket="plain")
    s3.create_bucket(Bucket="versioned")
    s3.put_bucket_versioning(Bucket="versioned", VersioningConfiguration={"Status": "Enabled"})
    for body in (b"one", b"two"):
        s3.put_object(Bucket="versioned", Key="k", Body=body)
    s3.delete_object(Bucket="versioned", Key="k")
    upload = s3.create_multipart_upload(Bucket="plain", Key="parts", ContentType="x/y")["UploadId"]
    part = s3.upload_part(Bucket="plain", Key="parts", UploadId=upload, PartNumber=1, Body=b"p" * 1000)
    s3.complete_multipart_upload(
        Bucket="plain",
        Key="parts",
        UploadId=upload,
        MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]},
    )
    s3.create_bucket(Bucket="gone")
    s3.delete_bucket(Bucket="gone")


def seen(s3: S3Client) -> dict[str, Any]:
    """Everything a client can tell about it."""
    found: dict[str, Any] = {"buckets": s3.list_buckets()["Buckets"]}
    for bucket in ("plain", "versioned"):
        listed = s3.list_objects_v2(Bucket=bucket).get("Contents", [])
        found[bucket] = listed
        for item in listed:
            key = item["Key"]
            got = s3.get_object(Bucket=bucket, Key=key)
            found[f"{bucket}/{key}"] = {
                "body": got["Body"].read(),
                "type": got["ContentType"],
                "metadata": got["Metadata"],
                "cache": got.get("CacheControl"),
                "modified": got["LastModified"],
                "tags": s3.get_object_tagging(Bucket=bucket, Key=key)["TagSet"],
            }
        versions = s3.list_object_versions(Bucket=bucket)
        found[f"{bucket} versions"] = (versions.get("Versions"), versions.get("DeleteMarkers"))
    found["acl"] = s3.get_object_acl(Bucket="plain", Key="odd/ü %2F+.jpg")["Grants"]
    found["cors"] = s3.get_bucket_cors(Bucket="plain")["CORSRules"]
    found["tags"] = s3.get_bucket_tagging(Bucket="plain")["TagSet"]
    found["region"] = s3.get_bucket_location(Bucket="plain")["LocationConstraint"]
    found["versioning"] = s3.get_bucket_versioning(Bucket="versioned")["Status"]
    with pytest.raises(ClientError, match="NoSuchBucketPolicy"):
        s3.get_bucket_policy(Bucket="plain")
    return found


def kill(address: Address) -> None:
    pid = next(one.pid for one in running_emulators() if one.url == address.url)
    os.kill(pid, signal.SIGKILL)


def test_jobs_answers_and_objects_survive_a_stop_and_a_kill(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with running(state) as address:
        aws = clients(address)
        fill(aws.s3)
        put_inputs(aws.s3)
        arn = create_job(aws, "bins")
        before = seen(aws.s3)
        assert {item["Key"] for item in before["plain"]} == {
            "3.jpg",
            "4.jpg",
            "copy.jpg",
            "odd/ü %2F+.jpg",
            "parts",
        }
    with running(state) as address:
        aws = clients(address)
        assert seen(aws.s3) == before
        assert find(state=state).url == address.url
        worker = {"job": "bins", "worker": "ann"}
        task: dict[str, Any] = {"lease": None}
        while not task["lease"]:
            task = post(f"{address.url}/gtlabel/worker/lease", worker)
        wrong = {"crowd-image-classifier": {"label": "Landfill"}}
        post(f"{address.url}/gtlabel/worker/submit", {"lease": task["lease"], "answer": wrong})
        aws.s3.put_object(Bucket="plain", Key="last.jpg", Body=b"last")
        kill(address)
    assert stat_of(state) == 0o700
    with running(state) as address:
        aws = clients(address)
        assert aws.s3.get_object(Bucket="plain", Key="last.jpg")["Body"].read() == b"last"
        aws.s3.delete_object(Bucket="plain", Key="last.jpg")
        assert seen(aws.s3) == before
        described = aws.sagemaker.describe_labeling_job(LabelingJobName="bins")
        assert described["LabelingJobArn"] == arn
        # Whoever answered before the kill need not answer again: one worker looks at each image.
        answer(address.url, "bins", workers=1, accuracy=1.0, truth=TRUTH, seed=7)
        assert labels(aws.s3, "bins") == {**TRUTH, task["source_ref"]: "Landfill"}
        assert set(labels(aws.s3, "bins")) == set(IMAGES)
        post(f"{address.url}/moto-api/reset")
    with running(state) as address:
        aws = clients(address)
        assert aws.s3.list_buckets()["Buckets"] == []
        assert aws.sagemaker.list_labeling_jobs()["LabelingJobSummaryList"] == []
    assert list((state / "objects").iterdir()) == []


def stat_of(folder: Path) -> int:
    return folder.stat().st_mode & 0o777


def test_one_folder_has_one_emulator(tmp_path: Path) -> None:
    with (
        StateFolder(tmp_path / "state"),
        pytest.raises(StateInUseError, match=f"is in use by process {os.getpid()}; stop that emulator"),
        StateFolder(tmp_path / "state"),
    ):
        pytest.fail("two had it")
    with StateFolder(tmp_path / "state"):
        pass


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("finished")
    with (
        pytest.raises(EmulatorError, match="holds something else than an emulator's state"),
        StateFolder(tmp_path),
    ):
        pytest.fail("it was taken")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(EmulatorError, match="is no folder; give another with --state"),
        StateFolder(tmp_path / "file"),
    ):
        pytest.fail("it was taken")
