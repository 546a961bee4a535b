"""What the devices' role must allow for our artifacts to arrive, and whether it does.

A device fetches artifacts with the role behind its token-exchange alias, and the role that AWS's installer
makes may read nothing in S3 (https://docs.aws.amazon.com/greengrass/v2/developerguide/device-service-role.html).
Roles are only looked at: whoever may edit them is given the statement.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from gtlabel.errors import EdgeError
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_iam import IAMClient

_TRUSTED = "credentials.iot.amazonaws.com"
# In the words of both nuclei, of S3, and of the emulator.
_DENIED = re.compile(
    r"access.?denied|forbidden|\b403\b|not authorized|ARTIFACT_DOWNLOAD|S3_\w+_(ACCESS_DENIED|FORBIDDEN)",
    re.IGNORECASE,
)


def artifact_statement(folder: S3Uri, partition: str = "aws") -> dict[str, Any]:
    """The statement that lets devices fetch what lies in a folder, and nothing else."""
    return {
        "Sid": "FetchOurArtifactsAndNoOthers",
        "Effect": "Allow",
        "Action": "s3:GetObject",
        "Resource": f"arn:{partition}:s3:::{folder.bucket}/{folder.key.rstrip('/')}/*",
    }


def speaks_of_access(reason: str) -> bool:
    """Whether a device's words for its failure mean that it may not fetch something."""
    return _DENIED.search(reason) is not None


def missing_grants(iam: IAMClient, role: str, artifact: S3Uri, statement: dict[str, Any]) -> list[str]:
    """What keeps a role from letting devices fetch an artifact, one sentence each; empty if nothing does.

    Args:
        iam: asked whom the role trusts, and what its policies decide.
        role: the name of the role behind the devices' token-exchange alias.
        artifact: what devices fetch.
        statement: what would allow it.

    Raises:
        EdgeError: if there is no such role.
    """
    name = role.rpartition("/")[2]
    try:
        found = iam.get_role(RoleName=name)["Role"]
    except iam.exceptions.NoSuchEntityException:
        raise EdgeError(f"there is no role {name!r}; name the one behind the devices' role alias") from None
    problems = []
    if not _trusts(found.get("AssumeRolePolicyDocument")):
        problems.append(
            f"{name} does not trust {_TRUSTED}, so no device can take it on; "
            "see: gtlabel policy device-role-trust"
        )
    partition = str(statement["Resource"]).split(":")[1]
    outcome = iam.simulate_principal_policy(
        PolicySourceArn=found["Arn"],
        ActionNames=["s3:GetObject"],
        ResourceArns=[f"arn:{partition}:s3:::{artifact.bucket}/{artifact.key}"],
    )["EvaluationResults"][0]
    decision = outcome["EvalDecision"]
    if decision == "explicitDeny":
        matched = outcome.get("MatchedStatements", [])
        by = ", ".join(sorted({match["SourcePolicyId"] for match in matched if "SourcePolicyId" in match}))
        problems.append(
            f"a policy of {name} denies s3:GetObject on {artifact}{f' ({by})' if by else ''}; "
            "no other statement can allow it"
        )
    elif decision != "allowed":
        problems.append(f"{name} lacks s3:GetObject on {artifact.folder}; add the statement to it")
    return problems


def _trusts(document: Any) -> bool:
    """Whether a trust policy lets AWS IoT's credentials provider take the role on."""
    statements = document.get("Statement", []) if isinstance(document, dict) else []
    for statement in [statements] if isinstance(statements, dict) else statements:
        principal = statement.get("Principal")
        services = principal.get("Service", []) if isinstance(principal, dict) else []
        if statement.get("Effect") == "Allow" and _TRUSTED in (
            [services] if isinstance(services, str) else services
        ):
            return True
    return False
