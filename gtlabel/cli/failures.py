"""Every failure as one sentence and an exit code.

0 done · 1 refused or wrong · 2 the command line is wrong · 3 the job failed · 4 the job was stopped ·
5 the time was up · 130 interrupted
"""

from __future__ import annotations

from gtlabel.errors import (
    DeploymentEndedError,
    GtlabelError,
    JobEndedError,
    MissingExtraError,
    TrainingEndedError,
    TrainingGoesOnError,
)
from gtlabel.policies import denial_in

# What services whose protocols differ call the same refusal.
_DENIED = ("AccessDenied", "AccessDeniedException", "AuthorizationError", "UnauthorizedOperation", "403")

_EXPIRED = ("ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired")
_PASSING = (
    "InternalError",
    "InternalFailure",
    "InternalServerError",
    "RequestLimitExceeded",
    "ServiceUnavailable",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
)
# What judging labels needs beyond the base install; every other extra is asked for at its own door.
_OPTIONAL = {"numpy": "numpy", "PIL": "Pillow", "jinja2": "jinja2"}
_LOST = ("ConnectTimeoutError", "ConnectionClosedError", "ReadTimeoutError")

FAILED, STOPPED, TIMED_OUT, INTERRUPTED = 3, 4, 5, 130


def explain(error: Exception, command: str = "COMMAND", *, again: bool = True) -> tuple[str, int] | None:
    """The sentence and the exit code for an error, or None for one that is a bug of ours.

    Args:
        error: what was raised.
        command: what was run, where a sentence can say what to run next.
        again: whether to say when it helps to run the same command again.
    """
    explained = _explained(error)
    if explained is None:
        return None
    sentence, code = explained
    hint = _hint(error) if again else ""
    return sentence.replace("`gtlabel policy COMMAND`", f"`gtlabel policy {command}`") + hint, code


def _explained(error: Exception) -> tuple[str, int] | None:
    if isinstance(error, (JobEndedError, TrainingEndedError)):
        meaning = error.explanation if isinstance(error, TrainingEndedError) else ""
        sentence = f"{error}; what that means: {meaning}" if meaning else str(error)
        if error.timed_out:
            return sentence, TIMED_OUT
        return sentence, STOPPED if error.status == "Stopped" else FAILED
    if isinstance(error, DeploymentEndedError):
        return str(error), TIMED_OUT if error.timed_out else FAILED
    if isinstance(error, TrainingGoesOnError):
        return str(error), 1 if error.reason else INTERRUPTED
    if isinstance(error, GtlabelError):
        return str(error), 1
    return _from_libraries(error)


def _hint(error: Exception) -> str:
    """What to do about a failure that is not the command's own."""
    if isinstance(error, TrainingGoesOnError):
        # The same command may be one that starts a job, and the next machine is paid for as well.
        return ""
    response = getattr(error if hasattr(error, "response") else error.__cause__, "response", None)
    code = str(response["Error"].get("Code", "")) if response else ""
    if code in _EXPIRED:
        return "; renew the credentials and run the same command again"
    if code in _PASSING or type(error).__name__ in _LOST:
        return "; run the same command again, it goes on where this one broke off"
    return ""


def _from_libraries(error: Exception) -> tuple[str, int] | None:
    # Asked by name, so that a command that never met these libraries does not load them to fail.
    library = type(error).__module__.partition(".")[0]
    if library == "pydantic_core":
        return _from_pydantic(error), 1
    if library in ("botocore", "boto3"):
        return _from_botocore(error), 1
    if isinstance(error, ModuleNotFoundError) and error.name in _OPTIONAL:
        return str(MissingExtraError(f"this command works with {_OPTIONAL[error.name]}, and", "quality")), 1
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}", 1
    return None


def _from_pydantic(error: Exception) -> str:
    from pydantic import ValidationError

    if not isinstance(error, ValidationError):
        return str(error)
    problems = []
    for problem in error.errors(include_url=False):
        field = ".".join(str(part) for part in problem["loc"])
        message = problem["msg"].removeprefix("Value error, ")
        problems.append(f"{field}: {message}" if field else message)
    return "; ".join(problems)


def _from_botocore(error: Exception) -> str:
    from botocore import exceptions

    if isinstance(error, (exceptions.NoCredentialsError, exceptions.PartialCredentialsError)):
        return (
            "there are no AWS credentials; set up a profile with `aws configure` and name it with --profile"
        )
    if isinstance(error, exceptions.EndpointConnectionError):
        return f"nothing answers: {str(error).rstrip('.')}; check --endpoint-url, --region and the network"
    if isinstance(error, exceptions.ClientError):
        answer = error.response["Error"]
        if answer.get("Code") in _DENIED:
            denial = denial_in(answer.get("Message", ""))
            said = denial or f"{error.operation_name} is not allowed: {answer.get('Message', '').rstrip('.')}"
            return f"{said}; `gtlabel policy COMMAND` prints the policy that a command needs"
        return f"{error.operation_name} was refused: {answer.get('Message', '')} ({answer.get('Code', '?')})"
    return str(error).rstrip(".")
