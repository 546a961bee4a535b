"""The failures that others paid a GPU for: each is prevented here, or explained."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import pytest
from plan_parts import HERE, line, made, picture, put_data

from gtlabel.aws import Aws
from gtlabel.emulator.environment import session
from gtlabel.errors import RequestError, TrainingDataError
from gtlabel.training.checks import Finding, check_channels, check_regions, refuse_errors
from gtlabel.training.failures import explain, failures, table
from gtlabel.training.image import image_uri
from gtlabel.training.plan import plan_job
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

SMALL = {"num_layers": 20, "image_shape": "3,24,24"}
NAMES = tuple(f"class {number}" for number in range(3000))

Act = Callable[["S3Client"], object]


def asks(**changes: Any) -> Act:
    """Ask for a job of the built-in."""
    return lambda _: made(**{"hyperparameters": SMALL, **changes}).to_boto()


def reads(*lines: dict[str, Any], **asked: Any) -> Act:
    """Check a dataset whose training channel has these lines."""
    return lambda s3: refuse_errors(check_channels(s3, put_data(s3, lines or None), **asked))


def plans(**asked: Any) -> Act:
    """Plan a job on a dataset of six good lines."""

    def plan(s3: S3Client) -> object:
        values: dict[str, Any] = {
            "backend": "builtin",
            "name": "sorter",
            "role": "arn:aws:iam::123456789012:role/gtlabel",
            "hyperparameters": SMALL,
            "instance_type": "ml.g4dn.xlarge",
            "options": {},
            **asked,
        }
        return plan_job(Aws(session("us-east-1")), put_data(s3), **values).to_boto()

    return plan


def finds(findings: Callable[[S3Client], Iterable[Finding]]) -> Act:
    return lambda s3: refuse_errors(findings(s3))


def channels(request: Any, key: str) -> set[Any]:
    return {channel[key] for channel in request["InputDataConfig"]}


FRAMED = (asks(), lambda asked: channels(asked, "RecordWrapperType") == {"RecordIO"})
PIPED = (asks(), lambda asked: channels(asked, "InputMode") == {"Pipe"})
TYPED = (asks(), lambda asked: channels(asked, "ContentType") == {"application/x-recordio"})
CLASSES = (
    asks(hyperparameters={**SMALL, "multi_label": True}),
    lambda asked: channels(asked, "ContentType") == {"application/x-recordio; label-format=class-id"},
)
OWN_IMAGE = (asks(), lambda asked: asked["AlgorithmSpecification"]["TrainingImage"] == image_uri("us-east-1"))
DERIVED = (
    asks(),
    lambda asked: {"num_classes", "num_training_samples"} <= asked["HyperParameters"].keys(),
)
FAR = S3Uri("s3://far-away/pictures/")


def far_away(s3: S3Client) -> Iterable[Finding]:
    s3.create_bucket(Bucket=FAR.bucket, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    return check_regions(s3, "us-east-1", [FAR])


def warned(s3: S3Client) -> object:
    aws = Aws(session("us-east-1"))
    told = {**SMALL, "multi_label": True, "use_weighted_loss": True}
    several = [line(0, label=[0, 1, 2])] * 6
    request = plan_job(
        aws,
        put_data(s3, several, several),
        backend="builtin",
        name="sorter",
        role="arn:aws:iam::123456789012:role/gtlabel",
        hyperparameters=told,
        instance_type="ml.g4dn.xlarge",
        options={},
    )
    return request.warnings


# The number in contract/training.md 1.8; the message as it was met, with what stood around it; and how it is
# kept from coming: a sentence of refusal, a property of what is sent, or nothing, where only AWS can know.
Prevention = tuple[Act, str | Callable[[Any], bool]] | None
MET: list[tuple[int, str, Prevention]] = [
    (
        1,
        "AlgorithmError: Customer Error: (Input Error) Unable to parse record: The Record IO header does "
        "not\n"
        "start with the magic number. (caused by RuntimeError), exit code: 2",
        FRAMED,
    ),
    (
        2,
        "ClientError: Unable to parse record. Please make sure input data is in correct recordio format., "
        "exit code: 2",
        FRAMED,
    ),
    (
        3,
        "ClientError: Got empty batch from pipe. Please check if the manifest file contains valid "
        "batches and "
        "the value of the parameter AttributeNames matches the attributes in the manifest file., exit "
        "code: 2",
        (
            reads({"source-ref": f"{HERE}classes/0.jpg"}),
            "line 1: s3://trash-photos/dataset/classes/0.jpg has no",
        ),
    ),
    (
        4,
        "Algorithm Error: pos_cls_weights (caused by KeyError)\n\nCaused by: Traceback (most recent call "
        "last)",
        (warned, lambda warnings: "'pos_cls_weights'" in warnings[0]),
    ),
    (5, "[31mPlatform Error: SageMaker pipe channel timed out.[0m", (finds(far_away), "is in eu-west-1")),
    (
        6,
        "[11/22/2026 10:11:12 WARNING 140234] Expected number of batches: 28, did not match the number of "
        "batches processed: 27. This may happen when some images or labels are invalid",
        (asks(hyperparameters={**SMALL, "num_training_samples": 95}), "95 is not the 96 training lines"),
    ),
    (
        7,
        "ClientError: Mismatch between number of labels in the multi-label data (5) and the num_classes "
        "parameter (5)., exit code: 2",
        CLASSES,
    ),
    (
        8,
        "ClientError: The number of input images must be bigger or equal to the mini_batch_size., exit "
        "code: 2",
        (asks(hyperparameters={**SMALL, "mini_batch_size": 25}), "take at most 24"),
    ),
    (
        9,
        "ClientError: Customer Error: Invalid lst file in the train channel. (caused by IndexError)",
        (
            asks(),
            lambda asked: (
                {each["ChannelName"] for each in asked["InputDataConfig"]} == {"train", "validation"}
            ),
        ),
    ),
    (
        10,
        "Customer Error: The value '3,416,416' is not valid for the 'image_shape' hyperparameter which "
        "expects "
        "one of the following: (caused by ValidationError)",
        OWN_IMAGE,
    ),
    (
        11,
        "An error occurred (ValidationException) when calling the CreateTrainingJob operation: Instance "
        "type "
        "ml.c4.2xlarge is not supported by algorithm image-classification; only GPU instances are "
        "supported.",
        (
            asks(instance_type="ml.c4.2xlarge"),
            "needs a GPU, and 'ml.c4.2xlarge' has none; take ml.g4dn.xlarge",
        ),
    ),
    (
        12,
        "An error occurred (ResourceLimitExceeded) when calling the CreateTrainingJob operation: The "
        "account-level service limit 'ml.p2.xlarge for training job usage' is 0 Instances, with current "
        "utilization of 0 Instances and a request delta of 1 Instances.",
        None,
    ),
    (
        13,
        "The requested resource training-job/ml.p2.xlarge is not available in this region",
        (asks(instance_type="ml.p2.xlarge"), "P2 machines left EC2 in 2024"),
    ),
    (14, "ClientError: Invalid parameter value 'label_width': 350 (caused by ValueError)", OWN_IMAGE),
    (15, r"InvalidArgumentError: Could not parse example input, value: '\xff\xd8\xff\xe0'", None),
    (16, "ValueError: PipeModeDataset must be used with SageMaker Pipe Mode, not File Mode.", PIPED),
    (
        17,
        "[10:11:12] src/io/image_aug_default.cc:465: Check failed: res.rows >= 24 && res.cols >= 24 "
        "input image "
        "size smaller than input shape",
        (reads(shape=(48, 48)), "is 24x24, smaller than the 48x48 of the network"),
    ),
    (18, "ClientError: No iterator has been registered for ContentType (u'csv', u'1.0')", TYPED),
    (
        19,
        "ClientError: No value(s) were specified for 'num_training_samples', 'num_classes' which are "
        "required "
        "hyperparameter(s) (caused by ValidationError), exit code: 2",
        DERIVED,
    ),
    (
        20,
        "An error occurred (ValidationException): 1 validation error detected: Value '{classes=...}' at "
        "'hyperParameters' failed to satisfy constraint: Map value must satisfy constraint: [Member must "
        "have "
        "length less than or equal to 2500, Member must satisfy regular expression pattern: .*]",
        (
            plans(
                backend="container", options={"image": "r/i:1"}, hyperparameters={"classes": ",".join(NAMES)}
            ),
            "at 'hyperParameters' failed to satisfy constraint",
        ),
    ),
    (
        21,
        "OSError: no file found in path /opt/ml/input/data/train",
        (reads(line(7, label=0), line(0, label=1), line(0, label=2)), "classes/7.jpg is not there"),
    ),
    (
        22,
        "Customer Error: Do not need to setup parameter 'num_class' for learning task",
        (asks(classes=1), "two classes"),
    ),
    (
        23,
        "FileNotFoundError: No files found in the training directory: /opt/ml/input/data/training",
        (
            plans(
                backend="tensorflow",
                hyperparameters={},
                options={"image": "r/i:1", "source": f"{HERE}s.tar.gz", "pretrained": f"{HERE}m.tar.gz"},
            ),
            "there are no class folders at s3://trash-photos/dataset/imagefolder/train/",
        ),
    ),
]


@pytest.mark.parametrize(("number", "message", "prevention"), MET, ids=[str(row[0]) for row in MET])
def test_a_failure_that_others_paid_for_is_prevented_or_explained(
    s3: S3Client, number: int, message: str, prevention: Prevention
) -> None:
    s3.put_object(Bucket=HERE.bucket, Key="dataset/classes/0.jpg", Body=picture())
    failure = explain(message)
    assert failure is not None
    assert failure.number == number
    assert failure.cause
    assert failure.remedy
    if prevention is None:
        assert not failure.prevented or number == 13
        return
    assert failure.prevented
    act, outcome = prevention
    if callable(outcome):
        assert outcome(act(s3))
        return
    with pytest.raises((RequestError, TrainingDataError)) as refused:
        act(s3)
    assert outcome in str(refused.value)


def test_every_failure_of_the_contract_is_in_the_table_once() -> None:
    assert [row["number"] for row in table()] == list(range(1, 24)) == [row[0] for row in MET]
    assert all(explain(failure.message) == failure for failure in failures())
    assert all(row["source"].startswith("https://github.com/") for row in table())


@pytest.mark.parametrize(
    "message",
    [
        "",
        "AlgorithmError: ExecuteUserScriptError: ExitCode 1",
        "Please use an instance type with more memory, or reduce the size of training data",
        "Epoch[2] Validation-accuracy=0.164062",
        "InternalServerError: We encountered an internal error. Please try again.",
    ],
)
def test_what_nobody_knows_is_not_explained(message: str) -> None:
    assert explain(message) is None
