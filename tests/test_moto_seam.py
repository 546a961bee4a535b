"""What gtlabel leans on in moto, and that everything else in moto is still there."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import botocore.exceptions
import pytest
from emulator_parts import create_job, post, put_inputs

from gtlabel.aws import Aws
from gtlabel.errors import MotoContractError


@pytest.fixture(params=["in process", "served"])
def aws(request: pytest.FixtureRequest) -> Aws:
    fixture = "gtlabel_mock" if request.param == "in process" else "gtlabel_aws"
    found: Aws = request.getfixturevalue(fixture)
    return found


@pytest.mark.parametrize(
    "piece",
    [
        "moto.sagemaker.urls.url_paths['{0}/$']",
        "moto.greengrass.urls.url_paths",
        "moto.backend_index.backend_url_patterns",
        "BackendDict(",
        "BaseBackend(",
        "BackendDict.reset()",
        "moto.backends.get_backend(service)",
        "moto.s3.models.FakeKey(",
        "properties value and etag",
        "FakeDeleteMarker(key)",
        "moto.s3.models.s3_backends",
        "_VersionedKeyStore",
        "S3Response.subdomain_based_buckets(request)",
        "bucket_name_from_url(url)",
        "moto.events.models.events_backends",
        "SQSBackend.send_message(queue_name",
        "SNSBackend.publish(message",
        "moto.cognitoidp.models.CognitoIdpUser has",
        "CognitoIdpBackend.user_pools",
        "CloudFormationModel with",
        "FakeBucket.get_permission(",
        "DomainDispatcherApplication(create_app)",
        "create_backend_app(service)",
        "raw_url",
        "spelling of header names",
        "moto.iam.urls.url_paths['{0}/$']",
        "moto.logs.urls.url_paths['{0}/$']",
        "moto.logs.models.LogsBackend has groups",
        "moto.settings.INITIAL_NO_AUTH_ACTION_COUNT",
        "moto.iam.access_control has create_access_key(",
        "IAMRequest(...).check_signature()",
        "moto.cognitoidp.models.jwk.RSAKey.import_key(",
        "moto.iam.models.IAMBackend",
    ],
)
def test_each_piece_of_moto_that_is_leaned_on_is_named_and_there(piece: str) -> None:
    from gtlabel.emulator import moto

    assert [name for name in moto.assumptions() if piece in name]
    assert not [name for name in moto.broken_assumptions() if piece in name]


@pytest.mark.parametrize(
    ("module", "name", "sentence"),
    [
        ("moto.sagemaker.urls", "url_paths", r"moto.sagemaker.urls.url_paths\['\{0\}/\$'\] is a handler"),
        ("moto.backend_index", "backend_url_patterns", "backend_url_patterns lists"),
        ("moto.s3.models", "FakeKey", "FakeKey keeps its bytes behind the properties"),
        ("moto.moto_server.werkzeug_app", "create_backend_app", "create_backend_app"),
    ],
)
def test_a_moto_that_lacks_a_piece_is_refused_with_one_sentence(
    module: str, name: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib

    from gtlabel.emulator import moto

    # A moto of another day, as far as this piece goes; nothing of ours is patched.
    replacement: Any = {} if name == "url_paths" else [] if name.endswith("patterns") else None
    monkeypatch.setattr(importlib.import_module(module), name, replacement)
    with pytest.raises(MotoContractError, match=sentence) as error:
        moto.install(lambda _service: {}, lambda: None)
    assert "pip install 'moto>=5.2,<5.3'" in str(error.value)


def test_a_new_account_has_a_team_and_a_role_and_nothing_else(aws: Aws) -> None:
    teams = aws.sagemaker.list_workteams()["Workteams"]
    assert [team["WorkteamArn"] for team in teams] == [
        "arn:aws:sagemaker:us-east-1:123456789012:workteam/private-crowd/gtlabel"
    ]
    trust: Any = aws.iam.get_role(RoleName="gtlabel")["Role"]["AssumeRolePolicyDocument"]
    assert trust["Statement"][0]["Principal"] == {"Service": "sagemaker.amazonaws.com"}
    assert aws.s3.list_buckets()["Buckets"] == []
    assert aws.sagemaker.list_labeling_jobs()["LabelingJobSummaryList"] == []
    assert aws.greengrass.list_components()["components"] == []


def test_what_moto_has_of_sagemaker_is_still_there(aws: Aws) -> None:
    role = "arn:aws:iam::123456789012:role/gtlabel"
    made = aws.sagemaker.create_model(
        ModelName="m",
        ExecutionRoleArn=role,
        PrimaryContainer={"Image": "i"},
        Tags=[{"Key": "a", "Value": "b"}],
    )
    assert aws.sagemaker.describe_model(ModelName="m")["ModelName"] == "m"
    # Tags of moto's own resources are moto's, though the operation is ours for other resources.
    assert aws.sagemaker.list_tags(ResourceArn=made["ModelArn"])["Tags"] == [{"Key": "a", "Value": "b"}]


def test_tags_of_a_labeling_job_are_ours(aws: Aws) -> None:
    put_inputs(aws.s3)
    arn = create_job(aws, "bins")
    aws.sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": "team", "Value": "blue"}])
    assert aws.sagemaker.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "team", "Value": "blue"}]


def test_the_first_greengrass_stands_beside_the_second(aws: Aws) -> None:
    first = aws.session.client("greengrass", endpoint_url=aws.endpoint_url)
    first.create_core_definition(Name="core", InitialVersion={"Cores": []})
    assert [one["Name"] for one in first.list_core_definitions()["Definitions"]] == ["core"]
    recipe = {
        "RecipeFormatVersion": "2020-01-25",
        "ComponentName": "bins",
        "ComponentVersion": "1.0.0",
        "Manifests": [{"Platform": {"os": "linux"}, "Lifecycle": {"run": "true"}}],
    }
    made = aws.greengrass.create_component_version(inlineRecipe=json.dumps(recipe).encode())
    assert made["ResponseMetadata"]["HTTPStatusCode"] == 201
    assert aws.greengrass.describe_component(arn=made["arn"])["componentName"] == "bins"


OPERATIONS: dict[str, Callable[[Aws], Any]] = {
    "ListFlowDefinitions": lambda aws: aws.sagemaker.list_flow_definitions(),
    "GetComponentVersionArtifact": (
        lambda aws: aws.greengrass.get_component_version_artifact(
            arn="arn:aws:greengrass:us-east-1:aws:components:x:versions:1.0.0", artifactName="y"
        )
    ),
}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_operation_that_nobody_has_is_an_error_at_once(aws: Aws, operation: str) -> None:
    with pytest.raises(botocore.exceptions.ClientError) as error:
        OPERATIONS[operation](aws)
    assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 501
    # Clients repeat a 500 and wait in between; this they must not.
    assert error.value.response["ResponseMetadata"]["RetryAttempts"] == 0
    message = error.value.response["Error"]["Message"]
    assert message == f"{operation}: neither gtlabel's emulator nor moto implements this operation"


def test_a_request_that_breaks_the_model_is_refused_in_the_words_of_aws(aws: Aws) -> None:
    with pytest.raises(botocore.exceptions.ClientError) as error:
        aws.sagemaker.describe_labeling_job(LabelingJobName="bad name!!")
    assert error.value.response["Error"] == {
        "Code": "ValidationException",
        "Message": "1 validation error detected: Value 'bad name!!' at 'labelingJobName' failed to satisfy "
        "constraint: Member must satisfy regular expression pattern: [a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}",
    }


def test_a_region_does_not_see_the_jobs_of_another(aws: Aws) -> None:
    put_inputs(aws.s3)
    create_job(aws, "bins")
    elsewhere = Aws(aws.session, aws.endpoint_url, region="eu-west-1")
    assert elsewhere.sagemaker.list_labeling_jobs()["LabelingJobSummaryList"] == []
    assert len(aws.sagemaker.list_labeling_jobs()["LabelingJobSummaryList"]) == 1


def test_a_reset_empties_moto_and_us(aws: Aws) -> None:
    put_inputs(aws.s3)
    create_job(aws, "bins")
    if aws.endpoint_url or aws.s3.meta.endpoint_url.startswith("http://127"):
        post(f"{aws.s3.meta.endpoint_url}/moto-api/reset")
    else:
        from moto.moto_api._internal.models import moto_api_backend

        moto_api_backend.reset()
    assert aws.s3.list_buckets()["Buckets"] == []
    assert aws.sagemaker.list_labeling_jobs()["LabelingJobSummaryList"] == []
    put_inputs(aws.s3)
    create_job(aws, "bins")


def test_in_process_a_job_moves_on_with_each_call(gtlabel_mock: Aws) -> None:
    put_inputs(gtlabel_mock.s3)
    create_job(gtlabel_mock, "bins")
    described = gtlabel_mock.sagemaker.describe_labeling_job(LabelingJobName="bins")
    assert described["LabelingJobStatus"] == "InProgress"
    assert described["LabelCounters"]["Unlabeled"] == 4
    gtlabel_mock.sagemaker.stop_labeling_job(LabelingJobName="bins")
    ended = gtlabel_mock.sagemaker.describe_labeling_job(LabelingJobName="bins")
    assert ended["LabelingJobStatus"] == "Stopped"
    written = gtlabel_mock.s3.list_objects_v2(Bucket="trash", Prefix="out/bins/manifests/output/")
    assert written["KeyCount"] == 1


def test_in_process_a_job_whose_manifest_is_missing_fails_and_says_why(gtlabel_mock: Aws) -> None:
    put_inputs(gtlabel_mock.s3)
    gtlabel_mock.s3.delete_object(Bucket="trash", Key="in.manifest")
    create_job(gtlabel_mock, "bins")
    described = gtlabel_mock.sagemaker.describe_labeling_job(LabelingJobName="bins")
    assert described["LabelingJobStatus"] == "Failed"
    assert "s3://trash/in.manifest" in described["FailureReason"]
