"""All checks at once, none of which can hide another."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from gtlabel.errors import GtlabelError, PreflightError
from gtlabel.labeling.preflight.account import (
    check_credentials,
    check_keys,
    check_name,
    check_permissions,
    check_quotas,
    check_region,
)
from gtlabel.labeling.preflight.buckets import check_buckets, check_images
from gtlabel.labeling.preflight.cors import check_cors
from gtlabel.labeling.preflight.findings import Finding, UncheckedError, unchecked
from gtlabel.labeling.preflight.pages import check_class_list, check_template
from gtlabel.labeling.preflight.roles import check_role, check_role_permissions
from gtlabel.labeling.preflight.teams import check_team

if TYPE_CHECKING:
    from gtlabel.aws import Aws
    from gtlabel.labeling.preflight.subject import Subject

_Check = Callable[["Aws", "Subject"], Iterator[Finding]]

# In the order they are shown; what each looks at, as a person would call it.
_CHECKS: tuple[tuple[str, str, _Check], ...] = (
    ("region", "the region", check_region),
    ("bucket", "the buckets", check_buckets),
    ("images", "the pictures", check_images),
    ("cors", "the CORS rules", check_cors),
    ("role", "the role", check_role),
    ("role-permissions", "what the role may do", check_role_permissions),
    ("team", "the team", check_team),
    ("classes", "the class list", check_class_list),
    ("template", "the worker template", check_template),
    ("kms", "the KMS keys", check_keys),
    ("name", "the name", check_name),
    ("permissions", "what you may do", check_permissions),
    ("quotas", "the account's quotas", check_quotas),
)
# What can be told without AWS.
_ON_PAPER = ("region", "classes", "template")
_THREADS = 8


def check(aws: Aws, subject: Subject) -> list[Finding]:
    """Look at everything that a labeling job would lean on; nothing is written.

    The checks run side by side and do not depend on each other. One that these credentials do not allow
    becomes a warning that names the action they lack.

    Args:
        aws: the clients.
        subject: what the job would use.
    """
    who = list(check_credentials(aws, subject))
    if any(finding.level == "error" for finding in who):
        on_paper = (entry for entry in _CHECKS if entry[0] in _ON_PAPER)
        return [*who, *(finding for entry in on_paper for finding in _asked(aws, subject, *entry))]
    # Made here, because a session may not make two clients at once.
    _ = aws.s3, aws.sagemaker, aws.iam, aws.account
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="preflight") as pool:
        results = pool.map(lambda entry: _asked(aws, subject, *entry), _CHECKS)
        return [*who, *(finding for findings in results for finding in findings)]


def refuse(findings: Sequence[Finding]) -> None:
    """Stop when there is an error among the findings.

    Raises:
        PreflightError: with the sentence of every error.
    """
    errors = [finding for finding in findings if finding.level == "error"]
    if errors:
        raise PreflightError([finding.sentence for finding in errors])


def _asked(aws: Aws, subject: Subject, name: str, what: str, check: _Check) -> list[Finding]:
    from botocore.exceptions import BotoCoreError, ClientError

    findings: list[Finding] = []
    try:
        findings.extend(check(aws, subject))
    except UncheckedError as why:
        findings.append(unchecked(name, f"{what} could not be checked because {why}"))
    except (BotoCoreError, ClientError, GtlabelError) as why:
        findings.append(unchecked(name, f"{what} could not be checked: {str(why).rstrip('.')}"))
    return findings
