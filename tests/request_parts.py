"""What the tests of requests share: one that is right, and what other kinds of it need."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from gtlabel.labeling.request import LabelingJobRequest

REGION = "us-east-1"
ACCOUNT = "123456789012"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/gtlabel"
TEAM = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:workteam/private-crowd/gtlabel"
VENDOR = f"arn:aws:sagemaker:{REGION}:999999999999:workteam/vendor-crowd/labelers-inc"
PUBLIC = f"arn:aws:sagemaker:{REGION}:394669845002:workteam/public-crowd/default"
TOPIC = f"arn:aws:sns:{REGION}:{ACCOUNT}:GroundTruth-in"
OUT_TOPIC = f"arn:aws:sns:{REGION}:{ACCOUNT}:GroundTruth-out"
MODEL = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:model/earlier"
KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/1234abcd-12ab-34cd-56ef-1234567890ab"
LAMBDA = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:SageMaker-mine"
FIELDS: dict[str, Any] = {
    "name": "trash-1",
    "manifest": "s3://trash/in.manifest",
    "classes": "s3://trash/classes.json",
    "template": "s3://trash/template.liquid",
    "output": "s3://trash/out/",
    "role": ROLE,
    "team": TEAM,
    "region": REGION,
}
AUTOMATED = {"automated": True}
VPC = {**AUTOMATED, "subnets": ("subnet-1",), "security_groups": ("sg-1",)}
VERIFICATION = {"task": "verification", "audited": "bin"}
STREAMING = {"input_topic": TOPIC, "output_topic": OUT_TOPIC, "manifest": None}
FORCED = {"force": True, "team": PUBLIC, "price": Decimal("0.012"), "availability": 21_600}


def request(**fields: Any) -> LabelingJobRequest:
    return LabelingJobRequest(**{**FIELDS, **fields})
