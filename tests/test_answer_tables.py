"""Answers that other programs kept as tables: read, reported on, and made into labels."""

from __future__ import annotations

import csv
import gzip
import io
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from answers_parts import job
from hypothesis import given, settings
from hypothesis import strategies as st

from gtlabel.aws import Aws
from gtlabel.errors import AnswerFileError, LabelingJobError
from gtlabel.labeling.answered import Answered, read_answered
from gtlabel.labeling.answertables import read_gold, read_table, written_table
from gtlabel.labeling.quality import judge

# Ann and Bob are right, and Cy says true whatever he sees.
BIRDS = "".join(
    f"{number},{worker},{said},{truth}\n"
    for number in range(12)
    for truth in (("true", "false")[number % 2],)
    for worker, said in (("ann", truth), ("bob", truth), ("cy", "true"))
)


def no_account() -> Aws:
    raise AssertionError("a table on this machine needs no account")


def read(*places: Path) -> Answered:
    return read_answered(no_account, [str(place) for place in places])


def gtlabel(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gtlabel", "quality", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    "header",
    [
        "object,worker,label,gold",
        "Image ID,Annotator_Name,Answer,Ground Truth",
        "\ufeffinput.image_url,WorkerId,Answer.category.label,truth",
        "item;rater;response;true_label",
        "task\tuser\tjudgement\tgold-label",
    ],
)
def test_columns_are_known_by_what_programs_call_them(header: str) -> None:
    delimiter = ";" if ";" in header else "\t" if "\t" in header else ","
    body = f"{header}\r\n{BIRDS.replace(',', delimiter)}".encode()
    table = read_table(body, "birds.csv")
    assert len(table.answers) == 36
    first = table.answers[0]
    assert (first.image, first.worker, first.label) == ("0", "ann", "true")
    assert np.isnan([first.seconds, first.moment]).all()
    assert table.gold == {str(number): ("true", "false")[number % 2] for number in range(12)}


def test_times_are_read_in_the_usual_ways() -> None:
    body = b"image,worker,label,seconds,time\na,ann,x,2.5,2026-11-23T09:00:00Z\na,bob,x,,1795424400\n"
    ann, bob = read_table(body, "t.csv").answers
    assert (ann.seconds, ann.moment) == (2.5, 1795424400)
    assert np.isnan(bob.seconds)
    assert bob.moment == ann.moment


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "t.csv: no column tells the picture; call it 'image' or .* the header, which has nothing"),
        (
            b"image,who,label\n",
            "no column tells the worker; call it 'worker' .* which has image, who, label$",
        ),
        (b"image,worker,says\n", "no column tells the label"),
        (b"image,task,worker,label\n", "two columns may be the picture, 'image' and 'task'; rename the one"),
        (b"image,worker,label\n\n", "t.csv: there is no answer below the header"),
        (b"image,worker,label\na,ann\n", "t.csv, line 2: there are 2 cells, and 3 in the header"),
        (b"image,worker,label\na,ann,x\n,ann,x\n", "t.csv, line 3: there is no picture"),
        (b"image,worker,label\na,,x\n", "t.csv, line 2: there is no worker"),
        (b'image,worker,label\na,ann,"x\n', "t.csv, line 2: unexpected end of data"),
        (b"image,worker,label\na,ann,\xff\n", "t.csv, line 2: this is not UTF-8"),
        (b"image,worker,label,seconds\na,ann,x,soon\n", "t.csv, line 2: 'soon' is no number of seconds"),
        (b"image,worker,label,seconds\na,ann,x,-1\n", "t.csv, line 2: '-1' is no number of seconds"),
        (b"image,worker,label,time\na,ann,x,noon\n", "t.csv, line 2: 'noon' is no time; write it as"),
        (b"image,worker,label,time\na,ann,x,1795424400000000\n", "is no time; write it as"),
        (
            b"image,worker,label,gold\na,ann,x,x\na,bob,x,y\n",
            "t.csv, line 3: a is 'y' here, and 'x' in a line before",
        ),
    ],
)
def test_a_table_that_cannot_be_read_is_told_in_one_sentence(body: bytes, sentence: str) -> None:
    with pytest.raises(AnswerFileError, match=sentence) as caught:
        read_table(body, "t.csv")
    assert "\n" not in str(caught.value)


def test_a_table_that_is_not_there_or_was_cut_short_is_told_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(LabelingJobError, match="there is no table"):
        read(tmp_path / "none.csv")
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"image,worker,label\n" * 99)[:-20])
    with pytest.raises(AnswerFileError, match=r"t.csv.gz: it is not compressed as its name says, or was cut"):
        read(tmp_path / "t.csv.gz")
    (tmp_path / "t.csv").write_text("image,worker,label\na,ann,\n")
    with pytest.raises(LabelingJobError, match="has answers that name no class"):
        read(tmp_path / "t.csv")


def test_a_table_and_a_job_about_the_same_pictures_are_read_as_one(tmp_path: Path) -> None:
    first = job(tmp_path / "bins", {0: [("ann", "Compost"), ("bob", "Recycle")]}, ["Compost"], ["Compost"])
    table = tmp_path / "more.csv"
    table.write_text("image,worker,label\ns3://trash/0.jpg,cy,Recycle\ns3://trash/1.jpg,cy,Recycle\n")
    found = read(first, table)
    assert found.sources == ("s3://trash/0.jpg", "s3://trash/1.jpg")
    assert found.workers == ("ann", "bob", "cy")
    assert [found.classes[index] for index in found.labels if index >= 0] == ["Compost"]
    assert found.notes == ()


def test_who_answered_twice_counts_with_the_last_line_and_blanks_count_not(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("image,worker,label\na,ann,x\na,ann,y\na,bob,\nb,bob,x\n")
    found = read(table)
    assert [found.classes[said] for said in found.votes.classes] == ["y", "x"]
    assert len(found.notes) == 2
    assert found.notes == (
        "of a worker who answered more than once about a picture, the newest answer counts: 1 are left out",
        "answers that name no class are left out: 1",
    )


def test_a_newcomer_reports_on_a_table_and_writes_its_labels_as_another(tmp_path: Path) -> None:
    answers, labels = tmp_path / "birds.csv", tmp_path / "labels.csv"
    answers.write_text(f"object,worker,label,gold\n{BIRDS}")
    page = tmp_path / "page.html"
    (tmp_path / "gold.csv").write_text("image,label\n0,true\n1,false\n2,true\n")
    run = gtlabel("report", str(answers), "--report", str(page), "--gold", str(tmp_path / "gold.csv"))
    assert run.returncode == 0, run.stderr
    assert "36 of 3 workers about 12 images" in run.stdout
    assert re.search(r"right by gold +100\.0% \(\d+% to 100%\) of 3\n", run.stdout)
    assert "other labels" not in run.stdout
    assert "Other labels than the job" not in page.read_text()
    run = gtlabel("reconsolidate", str(answers), "--into", str(labels), "--without", "cy")
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[-1] == str(labels)
    with labels.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["label"] for row in rows] == ["true", "false"] * 6
    assert all(0.5 < float(row["confidence"]) <= 1 for row in rows)
    # What was written is a table of gold for another crowd.
    assert set(read_gold(labels.read_bytes(), "labels.csv")) == {str(number) for number in range(12)}
    # Cy makes every second one doubtful; who asks again, and where, is not ours to know.
    run = gtlabel("more", str(answers), "--method", "majority")
    assert run.stdout.split() == [str(number) for number in range(1, 12, 2)], run.stderr
    run = gtlabel("reconsolidate", str(answers), "--into", str(tmp_path / "x.manifest"))
    assert run.returncode == 1
    (line,) = run.stderr.splitlines()
    assert line.startswith("gtlabel: ")
    assert "write a table, named .csv" in line


def test_a_picture_of_a_class_that_nobody_named_is_wrong_and_said_to_be(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text(
        "image,worker,label,gold\na,ann,x,x\na,bob,x,\nb,ann,y,y\nb,bob,y,\nc,ann,x,z\nc,bob,x,\n"
    )
    quality = judge(read(table), gold={"a": ["x"], "b": ["y"], "c": ["z"]})
    assert quality.report.gold == 3
    assert quality.report.accuracy is not None
    assert quality.report.accuracy.value == pytest.approx(2 / 3)
    run = gtlabel("report", str(table))
    assert "1 picture with gold is of a class that no answer names (z)" in run.stderr
    assert "66.7%" in run.stdout


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1).filter(
                lambda text: text == text.strip()
            ),
            st.sampled_from(["cat", "a, b", 'say "hi"']),
            st.floats(0, 1),
        ),
        min_size=1,
        unique_by=lambda row: row[0],
    )
)
def test_labels_that_were_written_are_read_again(rows: list[tuple[str, str, float]]) -> None:
    body = b"".join(line + b"\n" for line in written_table(rows))
    assert read_gold(body, "t.csv") == {image: label for image, label, _ in rows}
    assert next(csv.reader(io.StringIO(body.decode()))) == ["image", "label", "confidence"]
