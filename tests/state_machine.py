"""A small Step Functions: it walks a definition, and does each task against the emulator as AWS would.

JSONPath, intrinsic functions and result shaping follow the Amazon States Language,
https://states-language.net/spec.html, as far as the shipped definition uses them; anything else is an error.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from gtlabel.aws import Aws
from gtlabel.awsmodel import check_request

State = dict[str, Any]


class ExecutionError(Exception):
    """The execution ended in a Fail state, or a task failed."""


class Execution:
    """One execution of a state machine.

    Args:
        aws: the account.
        work: a folder for builds.
        environ: what the CodeBuild project sets in every build.
        while_waiting: called with the name of each labeling job once it runs; people answer there.
    """

    def __init__(
        self, aws: Aws, work: Path, environ: Mapping[str, str], while_waiting: Callable[[str], None]
    ) -> None:
        self._aws = aws
        self._work = work
        self._environ = environ
        self._while_waiting = while_waiting
        self._context = {"Execution": {"Name": "first-run"}}
        self.visited: list[str] = []
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self._tasks: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "arn:aws:states:::codebuild:startBuild.sync": self._build,
            "arn:aws:states:::aws-sdk:s3:getObject": self._get_object,
            "arn:aws:states:::sagemaker:createLabelingJob.sync": self._label,
            "arn:aws:states:::sagemaker:createTrainingJob.sync": self._train,
        }

    def run(self, machine: Mapping[str, Any], data: Any) -> Any:
        """Walk from the start to the end, and return the output."""
        name: str | None = machine["StartAt"]
        while name is not None:
            state = machine["States"][name]
            self.visited.append(name)
            kind = state["Type"]
            if kind == "Fail":
                raise ExecutionError(f"{state['Error']}: {state['Cause']}")
            if kind == "Choice":
                name = self._choose(state, data)
                continue
            if kind == "Succeed":
                return data
            if kind == "Map":
                items = self._look_up(state["ItemsPath"], data)
                result: Any = [self.run(state["ItemProcessor"], item) for item in items]
            elif kind == "Task":
                result = self._task(state, data)
            else:
                raise NotImplementedError(kind)
            data = _placed(data, state.get("ResultPath", "$"), result)
            name = None if state.get("End") else state["Next"]
        return data

    def _task(self, state: State, data: Any) -> Any:
        result = self._tasks[state["Resource"]](self._filled(state["Parameters"], data))
        selector = state.get("ResultSelector")
        return result if selector is None else self._filled(selector, result)

    def _choose(self, state: State, data: Any) -> str:
        for rule in state["Choices"]:
            if self._holds(rule, data):
                return str(rule["Next"])
        return str(state["Default"])

    def _holds(self, rule: State, data: Any) -> bool:
        if "Or" in rule:
            return any(self._holds(part, data) for part in rule["Or"])
        try:
            self._look_up(rule["Variable"], data)
        except KeyError:
            return not rule["IsPresent"]
        return bool(rule["IsPresent"])

    def _filled(self, template: Any, data: Any) -> Any:
        if isinstance(template, dict):
            return {
                name.removesuffix(".$"): self._value(value, data)
                if name.endswith(".$")
                else self._filled(value, data)
                for name, value in template.items()
            }
        if isinstance(template, list):
            return [self._filled(item, data) for item in template]
        return template

    def _value(self, expression: str, data: Any) -> Any:
        call = re.fullmatch(r"States\.(\w+)\((.*)\)", expression)
        if call is None:
            return self._look_up(expression, data)
        arguments = [
            part[1:-1] if part.startswith("'") else self._value(part, data)
            for part in re.findall(r"'[^']*'|\$[^,\s]+", call[2])
        ]
        if call[1] == "Format":
            return arguments[0].format(*arguments[1:])
        if call[1] == "StringToJson":
            return json.loads(arguments[0])
        raise NotImplementedError(expression)

    def _look_up(self, path: str, data: Any) -> Any:
        if path.startswith("$$."):
            path, data = path[1:], self._context
        for part in path.split(".")[1:]:
            data = data[part]
        return data

    def _checked(self, service: str, operation: str, params: dict[str, Any]) -> None:
        """No member that the API does not know, and every value within its limits."""
        self.requests.append((operation, params))
        assert check_request(service, operation, params) == []

    def _build(self, params: dict[str, Any]) -> dict[str, Any]:
        spelled = {f"{name[0].lower()}{name[1:]}": value for name, value in params.items()}
        variables = spelled["environmentVariablesOverride"]
        spelled["environmentVariablesOverride"] = [
            {name.lower(): value for name, value in variable.items()} for variable in variables
        ]
        self._checked("codebuild", "StartBuild", spelled)
        phases = yaml.safe_load(params["BuildspecOverride"])["phases"]
        given = {variable["Name"]: variable["Value"] for variable in variables}
        run = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", "\n".join(phases["build"]["commands"])],
            cwd=self._work,
            env={**os.environ, **self._environ, **given},
            capture_output=True,
            text=True,
            timeout=120,
        )
        if run.returncode:
            raise ExecutionError(run.stderr)
        return {"Build": {"BuildStatus": "SUCCEEDED"}}

    def _get_object(self, params: dict[str, Any]) -> dict[str, Any]:
        self._checked("s3", "GetObject", params)
        return {"Body": self._aws.s3.get_object(**params)["Body"].read().decode()}

    def _label(self, params: dict[str, Any]) -> dict[str, Any]:
        self._checked("sagemaker", "CreateLabelingJob", params)
        name = params["LabelingJobName"]
        self._aws.sagemaker.create_labeling_job(**params)
        self._while_waiting(name)
        return _ended(
            lambda: self._aws.sagemaker.describe_labeling_job(LabelingJobName=name), "LabelingJobStatus"
        )

    def _train(self, params: dict[str, Any]) -> dict[str, Any]:
        self._checked("sagemaker", "CreateTrainingJob", params)
        self._aws.sagemaker.create_training_job(**params)
        name = params["TrainingJobName"]
        return _ended(
            lambda: self._aws.sagemaker.describe_training_job(TrainingJobName=name), "TrainingJobStatus"
        )


def _ended(describe: Callable[[], Mapping[str, Any]], status: str) -> dict[str, Any]:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        found = dict(describe())
        if found[status] == "Completed":
            return found
        if found[status] in ("Failed", "Stopped"):
            raise ExecutionError(f"{found[status]}: {found.get('FailureReason')}")
        time.sleep(0.1)
    raise ExecutionError("States.Timeout")


def _placed(data: Any, path: str | None, result: Any) -> Any:
    if path is None:
        return data
    if path == "$":
        return result
    return {**data, path.removeprefix("$."): result}
