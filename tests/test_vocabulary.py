"""Classes that are renamed, merged and removed by a file, and spellings that are suggested."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gtlabel.errors import ClassListError, VocabularyError
from gtlabel.manifests.classes import reconcile
from gtlabel.manifests.vocabulary import Vocabulary, suggestions

FILE = """
[rename]
"Tin can" = "Recycle"
"recycle" = "Recycle"

[remove]
classes = ["Not sure"]
"""


def test_classes_are_renamed_merged_and_removed(tmp_path: Path) -> None:
    path = tmp_path / "classes.toml"
    path.write_text(FILE)
    vocabulary = Vocabulary.read(path)
    assert vocabulary.name("Tin can") == vocabulary.name("recycle") == vocabulary.name("Recycle") == "Recycle"
    assert vocabulary.name("Not sure") is None
    assert vocabulary.names(["Compost", "recycle", "Not sure", "Tin can"]) == ["Compost", "Recycle"]
    assert vocabulary.unused(["recycle", "Not sure"]) == ["Tin can"]


def test_without_a_file_every_class_keeps_its_name() -> None:
    assert Vocabulary().names(["b", "a"]) == ["b", "a"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[rename", "is not TOML: expected"),
        ("[renames]\n", "'renames' is none of its tables, [rename] and [remove]"),
        ("rename = 1", "'rename' is no table"),
        ("remove = ['a']", "'remove' is no table"),
        ("[rename]\na = 1", "'a' has no text for its new name"),
        ("[rename]\ntin.can = 'b'", "a name with dots wants quotes"),
        ("[remove]\nclass = ['a']", "'class' is not known"),
        ("[remove]\nclasses = 'a'", "'classes' is no list of names"),
        ("[remove]\nclasses = [1]", "'classes' is no list of names"),
        ("[rename]\na = 'a'", "'a' is renamed to itself"),
        ("[rename]\na = 'b'\nb = 'c'", 'which is itself renamed to \'c\'; write "a" = "c"'),
        ("[rename]\na = 'b'\nb = 'a'", "which is itself renamed"),
        ("[rename]\na = 'b'\n[remove]\nclasses = ['a']", "'a' is both renamed and removed"),
        ("[rename]\na = 'b'\n[remove]\nclasses = ['b']", "which is removed; remove 'a' too"),
        ("[rename]\na = ' b'", "the name ' b' begins or ends with a space"),
        ("[rename]\na = ''", "one name is empty"),
        ("[rename]\na = 'b'\na = 'c'", "is not TOML: cannot overwrite a value"),
    ],
)
def test_a_file_that_contradicts_itself_is_refused_with_a_sentence(text: str, why: str) -> None:
    with pytest.raises(VocabularyError, match=r"^classes\.toml ") as caught:
        Vocabulary.parse(text, "classes.toml")
    assert why in str(caught.value)


def test_everything_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(VocabularyError, match="'a' is renamed to itself; 'b' is renamed to itself"):
        Vocabulary.parse("[rename]\na = 'a'\nb = 'b'", "f")


def test_a_vocabulary_made_by_a_program_is_checked_too() -> None:
    with pytest.raises(VocabularyError, match="'a' is both renamed and removed"):
        Vocabulary({"a": "b"}, frozenset("a"))


def test_a_file_that_is_not_there_or_no_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(VocabularyError, match="cannot be read"):
        Vocabulary.read(tmp_path / "missing.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(VocabularyError, match="cannot be read"):
        Vocabulary.read(tmp_path / "binary.toml")


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ({"Paper": 9, "paper": 2}, [("Paper", ("paper",), "letter case")]),
        ({"paper": 2, "Paper": 9, "PAPER": 1}, [("Paper", ("paper", "PAPER"), "letter case")]),
        (["caf\u00e9", "cafe\u0301"], [("caf\u00e9", ("cafe\u0301",), "encoding")]),
        (["caf\u00e9", "cafe"], [("caf\u00e9", ("cafe",), "punctuation or accents")]),
        (["paper cup", "paper_cup", "paper-cup"], [("paper cup", ("paper_cup", "paper-cup"), "punctuation")]),
        (["bottle", "Bottles"], [("bottle", ("Bottles",), "plural")]),
        (["battery", "batteries"], [("battery", ("batteries",), "plural")]),
        (["glass", "glasses"], [("glass", ("glasses",), "plural")]),
        (["Landfill", "Landfil"], [("Landfill", ("Landfil",), "slip")]),
        (["Landfill", "Lanfdill"], [("Landfill", ("Lanfdill",), "slip")]),
        (["Landfill", "Lendfill"], [("Landfill", ("Lendfill",), "slip")]),
        (["Compost", "Landfill", "Recycle", "cat", "car", "cup 01", "cup 02", "glass", "grass!"], []),
        (["grade A", "grade B", "grade AB"], []),
        (["+", "-", "?"], []),
        ([], []),
    ],
)
def test_spellings_are_suggested(
    names: dict[str, int] | list[str], found: list[tuple[str, tuple[str, ...], str]]
) -> None:
    suggested = suggestions(names)
    assert [(each.keep, each.variants) for each in suggested] == [(keep, rest) for keep, rest, _ in found]
    for each, (_, _, reason) in zip(suggested, found, strict=True):
        assert reason in each.reason
        assert each.to_toml() in str(each)


def test_a_suggestion_is_never_applied_by_itself() -> None:
    assert suggestions(["paper", "Paper"])
    assert Vocabulary().name("paper") == "paper"
    with pytest.raises(ClassListError, match="differ only in spelling; settle on one"):
        reconcile([["paper", "glass"], ["Paper", "glass"]])


@given(st.sets(st.text(min_size=1, max_size=12), max_size=8))
def test_what_is_suggested_can_be_pasted_into_the_file(names: set[str]) -> None:
    ordered = sorted(names)
    for suggestion in suggestions(ordered):
        text = f"[rename]\n{suggestion.to_toml()}"
        assert tomllib.loads(text) == {"rename": dict.fromkeys(suggestion.variants, suggestion.keep)}
        assert {suggestion.keep, *suggestion.variants} <= names


@given(
    st.dictionaries(st.sampled_from("abcd"), st.sampled_from("wxyz"), max_size=4),
    st.sets(st.sampled_from("efg")),
    st.lists(st.sampled_from("abcdefghwx")),
)
def test_what_is_named_is_named_once_and_for_all(
    renames: dict[str, str], removed: set[str], names: list[str]
) -> None:
    vocabulary = Vocabulary(renames, frozenset(removed))
    once = vocabulary.names(names)
    assert vocabulary.names(once) == once
    assert len(set(once)) == len(once)
    assert not removed & set(once)
