"""`gtlabel dataset` as a process: what it prints, in which form, and with which exit code."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from looking_parts import BINS, Row, line, make_dataset, upload

from gtlabel.aws import Aws
from gtlabel.datasets.comparison import _cell, compare, markdown
from gtlabel.datasets.consolidate import JobOutput, consolidate
from gtlabel.datasets.places import Place
from gtlabel.uris import S3Uri

CHECKOUT = Path(__file__).parent.parent
ROWS = [Row(f"{n}.jpg", BINS[n % 3], "validation" if n % 4 == 0 else "train") for n in range(8)]


def gtlabel(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gtlabel", "dataset", *arguments]
    run = subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=120)
    assert "Traceback" not in run.stderr, run.stderr
    return run


def manifest(path: Path, rows: Sequence[Row]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({**line(row), "source-ref": line(row)["original-ref"]}) for row in rows]
    path.write_text("".join(f"{text}\n" for text in lines), encoding="utf-8")
    return path


def test_show_prints_tables_and_what_to_look_at_first(tmp_path: Path) -> None:
    rows = [*ROWS, Row("disputed \x1b[31m.jpg", "Compost", dropped=("Landfill",))]
    make_dataset(tmp_path, rows)
    run = gtlabel("show", str(tmp_path))
    assert run.returncode == 0, run.stderr
    assert [text.split() for text in run.stdout.splitlines()[1:4]] == [
        ["Compost", "3", "1", "4", "0.95"],
        ["Landfill", "2", "1", "3", "0.95"],
        ["Recycle", "2", "0", "2", "0.95"],
    ]
    assert "was called 'Landfill' too" in run.stdout
    # A terminal does not obey a name.
    assert "\x1b" not in run.stdout
    assert "disputed \\x1b[31m.jpg" in run.stdout
    assert "--pictures" in run.stderr


def test_show_report_and_diff_read_a_dataset_in_s3(gtlabel_aws: Aws, tmp_path: Path) -> None:
    make_dataset(tmp_path / "dataset", [*ROWS, Row("gone.jpg", "Compost", data=b"")])
    home = upload(gtlabel_aws.s3, tmp_path / "dataset")
    run = gtlabel("show", home, "--pictures", "--output", "json")
    assert run.returncode == 0, run.stderr
    told = json.loads(run.stdout)
    assert (told["labels"]["images"], told["pictures"]["looked_at"], told["pictures"]["unreadable"]) == (
        9,
        9,
        1,
    )
    assert [image["reasons"][0]["sentence"] for image in told["suspicious"]] == ["is not there any more"]
    page = tmp_path / "new" / "page.html"
    run = gtlabel("report", home, "--into", str(page), "--output", "json")
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout) == {
        "report": str(page),
        "images": 9,
        "suspicious": 1,
        "bytes": page.stat().st_size,
    }
    assert "<h1>dataset</h1>" in page.read_text(encoding="utf-8")
    run = gtlabel("diff", home, str(tmp_path / "dataset"), "--exit-code")
    assert (run.returncode, run.stdout) == (0, "nothing changed\n")


def test_what_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    for arguments in (
        ("show", str(tmp_path)),
        ("lint", "gone.manifest"),
        ("diff", "gone.manifest", "b.manifest"),
    ):
        run = gtlabel(*arguments, cwd=tmp_path)
        assert run.returncode == 1
        assert run.stdout == ""
        assert run.stderr.startswith("gtlabel: there is no")
        assert run.stderr.count("\n") == 1


def test_lint_ends_with_1_where_there_is_an_error(tmp_path: Path) -> None:
    good = manifest(tmp_path / "good.manifest", ROWS)
    bad = manifest(tmp_path / "bad.manifest", ROWS)
    with bad.open("a") as file:
        file.write('{"source-ref":"s3://trash-photos/a.jpg"\n')
    assert gtlabel("lint", str(good)).returncode == 0
    run = gtlabel("lint", str(good), str(bad))
    assert run.returncode == 1
    assert f"{bad}:9: error: not JSON" in run.stdout
    assert "1 error" in run.stderr
    run = gtlabel("lint", str(bad), "--output", "json")
    assert run.returncode == 1
    (finding,) = (each for each in json.loads(run.stdout) if each["severity"] == "error")
    assert (finding["manifest"], finding["line"]) == (str(bad), 9)
    run = gtlabel("lint", "bad.manifest", "--output", "github", cwd=tmp_path)
    assert run.returncode == 1
    assert run.stdout.splitlines()[-1].startswith("::error file=bad.manifest,line=9,title=")


def test_lint_knows_the_classes_of_a_dataset(tmp_path: Path) -> None:
    make_dataset(tmp_path, ROWS)
    assert gtlabel("lint", str(tmp_path)).returncode == 0
    train = tmp_path / "train.manifest"
    train.write_text(train.read_text().replace('"class-name": "Landfill"', '"class-name": "Recycle"'))
    run = gtlabel("lint", str(tmp_path))
    assert run.returncode == 1, run.stdout
    assert f"{train}:1: error: " in run.stdout


def test_diff_tells_images_classes_and_channels(tmp_path: Path) -> None:
    make_dataset(tmp_path / "before", ROWS)
    after = [replace(ROWS[0], class_name="Landfill"), replace(ROWS[1], channel="validation"), *ROWS[3:]]
    make_dataset(tmp_path / "after", [*after, Row("new.jpg", "Recycle")])
    before, now = str(tmp_path / "before"), str(tmp_path / "after")
    run = gtlabel("diff", before, now, "--exit-code", "--output", "json")
    assert run.returncode == 1, run.stderr
    told = json.loads(run.stdout)
    assert told["counts"] == {"added": 1, "removed": 1, "relabeled": 1}
    assert {"from": "Compost", "to": "Landfill", "images": 1} in told["moves"]
    assert told["channels"] == [{"from": "train", "to": "validation", "images": 1}]
    assert [(each["name"], each["before"], each["after"]) for each in told["classes"]] == [
        ("Compost", 3, 2),
        ("Landfill", 3, 4),
        ("Recycle", 2, 2),
    ]
    run = gtlabel("diff", before, now)
    assert run.returncode == 0
    assert run.stdout.splitlines()[-1] == "1 added, 1 removed, 1 of another class, 1 in another channel"


HOSTILE = "| `a` <img src=x> @somebody [x](javascript:1) #1 **b**"


def test_markdown_holds_names_as_text(tmp_path: Path) -> None:
    before = manifest(tmp_path / "before.manifest", ROWS[:1])
    row = Row("1.jpg", HOSTILE)
    now = {**line(row, [HOSTILE]), "source-ref": "s3://trash-photos/a|b\nc.jpg"}
    after = tmp_path / "after.manifest"
    after.write_text(json.dumps(now) + "\n")
    text = markdown(compare(Place(before, _nobody), Place(after, _nobody)), title=HOSTILE)
    rows = [each for each in text.splitlines() if each.startswith("|")]
    assert {each.count("|") for each in rows} <= {4, 5}
    assert not any(mark in text for mark in ("<img", "@", "`", "[", "**"))
    assert "<details>" in text


@given(st.text(max_size=60))
def test_any_name_stays_in_its_cell(name: str) -> None:
    cell = _cell(name)
    assert not set("|`*_~[]@<>\n\r") & set(cell)


def test_verify_finds_what_was_changed_behind_its_back(gtlabel_aws: Aws, tmp_path: Path) -> None:
    make_dataset(tmp_path, ROWS)
    s3 = gtlabel_aws.s3
    s3.create_bucket(Bucket="trash-photos")
    for row in ROWS:
        s3.put_object(Bucket="trash-photos", Key=f"images/{row.name}", Body=row.name.encode())
    job = manifest(tmp_path / "job.manifest", ROWS).read_bytes()
    s3.put_object(Bucket="trash-photos", Key="job.manifest", Body=job)
    home = S3Uri("s3://trash-photos/dataset/")
    consolidate(s3, [JobOutput(S3Uri("s3://trash-photos/job.manifest"), "label", BINS)], home)
    assert gtlabel("verify", home).returncode == 0
    train = s3.get_object(Bucket="trash-photos", Key="dataset/train.manifest")["Body"].read()
    s3.put_object(
        Bucket="trash-photos", Key="dataset/train.manifest", Body=train.replace(b"0.95", b"0.96", 1)
    )
    run = gtlabel("verify", home, "--output", "json")
    assert run.returncode == 1
    assert "line" in {finding["kind"] for finding in json.loads(run.stdout)}


def _nobody() -> Any:
    raise AssertionError("files were compared, and S3 was asked")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A git repository: one commit on a base, and one that changes a manifest, adds one and drops one."""
    home = tmp_path / "repository"
    manifest(home / "labels" / "a b.manifest", ROWS)
    manifest(home / "labels" / "old.manifest", ROWS[:2])
    (home / "notes.txt").write_text("not a manifest\n")
    git(home, "init", "--quiet", "--initial-branch=main")
    commit(home, "base")
    manifest(home / "labels" / "a b.manifest", [replace(ROWS[0], class_name="Recycle"), *ROWS[1:]])
    manifest(home / "-x$(touch owned).manifest", ROWS[:3])
    (home / "labels" / "old.manifest").unlink()
    (home / "notes.txt").write_text("still none\n")
    commit(home, "change")
    return home


def git(home: Path, *arguments: str) -> str:
    run = subprocess.run(["git", *arguments], cwd=home, capture_output=True, text=True, check=True)
    return run.stdout


def commit(home: Path, message: str) -> None:
    who = ("-c", "user.name=Ana", "-c", "user.email=ana@example.com")
    git(home, "add", "--all")
    git(home, *who, "commit", "--quiet", f"--message={message}")


def test_the_hook_lints_the_manifests_of_a_commit(repository: Path) -> None:
    (hook,) = yaml.safe_load((CHECKOUT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
    names = git(repository, "diff", "--name-only", "--diff-filter=d", "-z", "HEAD~1", "HEAD").split("\0")
    changed = [name for name in names if re.search(hook["files"], name)]
    assert sorted(changed) == ["-x$(touch owned).manifest", "labels/a b.manifest"]
    # pre-commit appends the names to the entry, after the hook's own arguments.
    command = [*shlex.split(hook["entry"]), *hook.get("args", ()), *changed]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=repository, capture_output=True, text=True, env={**os.environ, "PATH": path}
        )

    assert run().returncode == 0, run().stderr
    with (repository / "labels" / "a b.manifest").open("a") as file:
        file.write("{}\n")
    assert run().returncode == 1


GH = """#!/bin/sh
printf '%s\\n' "$@" >> "$GH_LOG"
case "$*" in
  *--paginate*) cat "$GH_COMMENTS" ;;
  *) for argument; do case "$argument" in body=@*) cp "${argument#body=@}" "$GH_BODY" ;; esac; done ;;
esac
"""


def test_the_action_lints_and_comments(repository: Path, tmp_path: Path) -> None:
    action = yaml.safe_load((CHECKOUT / "samples" / "ci" / "action.yml").read_text(encoding="utf-8"))
    assert action["runs"]["using"] == "composite"
    steps = {step["name"]: step for step in action["runs"]["steps"]}
    assert list(steps) == ["Install", "Lint", "Comment"]
    # Nothing that somebody else may choose gets into a command by substitution.
    assert all("${{" not in step["run"] and step["shell"] == "bash" for step in steps.values())
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "gh").write_text(GH)
    (programs / "gh").chmod(0o755)
    (tmp_path / "comments").write_text("")
    values = {
        "BASE": git(repository, "rev-parse", "HEAD~1").strip(),
        "FILES": action["inputs"]["files"]["default"],
        "NUMBER": "7",
        "GH_TOKEN": "secret",
    }
    runner = {
        "PATH": os.pathsep.join([str(programs), str(Path(sys.executable).parent), os.environ["PATH"]]),
        "GITHUB_REPOSITORY": "ana/trash",
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"),
        "GH_LOG": str(tmp_path / "log"),
        "GH_BODY": str(tmp_path / "body.md"),
        "GH_COMMENTS": str(tmp_path / "comments"),
        "HOME": str(tmp_path),
    }

    def run(name: str) -> subprocess.CompletedProcess[str]:
        step = steps[name]
        environ = {**runner, **{key: values[key] for key in step["env"]}}
        # As the runner starts `shell: bash`.
        bash = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
        return subprocess.run(bash, cwd=repository, capture_output=True, text=True, env=environ, timeout=120)

    linted = run("Lint")
    assert linted.returncode == 0, linted.stdout + linted.stderr
    commented = run("Comment")
    assert commented.returncode == 0, commented.stderr
    body = (tmp_path / "body.md").read_text(encoding="utf-8")
    assert body.startswith("<!-- gtlabel dataset diff -->\n")
    assert body == (tmp_path / "summary.md").read_text(encoding="utf-8")
    for told in ("### labels/a b.manifest", "| Compost | Recycle | 1 |", "3 added", "2 removed"):
        assert told in body
    assert asked(tmp_path / "log") == ["POST", "repos/ana/trash/issues/7/comments"]
    assert not (repository / "owned").exists()

    # A later push changes the comment that is there.
    (tmp_path / "comments").write_text("4711\n")
    with (repository / "labels" / "a b.manifest").open("a") as file:
        file.write("{}\n")
    commit(repository, "break it")
    broken = run("Lint")
    assert broken.returncode == 1
    assert "::error file=labels/a b.manifest,line=9," in broken.stdout
    assert run("Comment").returncode == 0
    assert "cannot be compared" in (tmp_path / "body.md").read_text(encoding="utf-8")
    assert asked(tmp_path / "log") == ["PATCH", "repos/ana/trash/issues/comments/4711"]


def asked(log: Path) -> list[str]:
    """The method and the address of the one request that wrote something; the log is emptied."""
    words = log.read_text().split("\n")
    log.unlink()
    assert words.count("--method") == 1
    return words[words.index("--method") + 1 :][:2]
