"""What the tests of the doctor share: pictures that a job could label, and ways to look and to cure."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gtlabel.aws import Aws
from gtlabel.labeling.preflight import Finding, Subject, check, let_browsers_in
from gtlabel.uris import S3Uri

ACCOUNT = "123456789012"


def typed(command: str) -> subprocess.CompletedProcess[str]:
    """Run a printed command as it stands, as somebody does who copies it into a shell."""
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    environ = {**os.environ, "PATH": path}
    return subprocess.run(command, shell=True, capture_output=True, text=True, timeout=120, env=environ)


def put_photos(aws: Aws) -> S3Uri:
    """Pictures that a job could label."""
    aws.s3.create_bucket(Bucket="photos")
    aws.s3.put_object(Bucket="photos", Key="trash/a.jpg", Body=b"a picture")
    let_browsers_in(aws.s3, "photos")
    return S3Uri("s3://photos/trash/")


def look(aws: Aws, **subject: Any) -> list[Finding]:
    return check(aws, Subject(**subject))


def about(findings: Sequence[Finding], name: str) -> Finding:
    """The one finding of a check."""
    (found,) = [finding for finding in findings if finding.check == name]
    return found


def faults(findings: Sequence[Finding]) -> dict[str, str]:
    """The sentences of the errors, by check."""
    return {finding.check: finding.sentence for finding in findings if finding.level == "error"}


def statement(service: str, **more: Any) -> str:
    said = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole", **more}
    return json.dumps({"Version": "2012-10-17", "Statement": said})


def without(document: dict[str, Any], action: str) -> dict[str, Any]:
    """A policy that lacks one action."""
    statements = []
    for said in document["Statement"]:
        listed = [said["Action"]] if isinstance(said["Action"], str) else said["Action"]
        if kept := [each for each in listed if each != action]:
            statements.append({**said, "Action": kept})
    return {**document, "Statement": statements}
