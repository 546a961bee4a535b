"""What a source says about itself: which folders are its classes, and under which licence it is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gtlabel.datasets.collect.layout import Layout, Place, class_in, find_layout, split_of
from gtlabel.datasets.collect.licence import find_licence, recognize
from gtlabel.datasets.folders import folder_of
from gtlabel.errors import DatasetError


class TestLayout:
    @pytest.mark.parametrize(
        ("paths", "layout"),
        [
            (["cat", "dog"], Layout(0)),
            (["flowers-main/cat", "flowers-main/dog"], Layout(1)),
            (["a/b/c/cat", "a/b/c/dog"], Layout(3)),
            (["train/cat", "train/dog", "test/cat"], Layout(1, 0)),
            (["train/cat", "valid/cat", "test/dog"], Layout(1, 0)),
            (["data/Training/cat", "data/Testing/dog"], Layout(2, 1)),
            (["seg_train/seg_train/sea", "seg_test/seg_test/sea", "seg_train/seg_train/ice"], Layout(2, 0)),
            (["train/images/cat", "test/images/cat", "test/images/dog"], Layout(2, 0)),
            (["TrainSet/cat", "ValSet/cat"], Layout(1, 0)),
            (["cat/train", "cat/test", "dog/train"], Layout(0, 1)),
            (["data/cat/train", "data/dog/test"], Layout(1, 2)),
            (["train/cat", "test/cat", "docs/figures"], Layout(1, 0)),
            (["train", "bus", "car"], Layout(0)),
            (["train/red", "bus/red", "car/old"], Layout(0)),
            (["cat"], Layout(0)),
            (["data/cat"], Layout(1)),
            (["train/cat/kitten", "train/dog", "test/dog"], Layout(1, 0)),
            (["dataset/classes/cat", "dataset/classes/dog"], Layout(2)),
            (["cat", "dog/puppy"], Layout(0)),
            ([], Layout(0)),
        ],
    )
    def test_the_class_folders_are_found(self, paths: list[str], layout: Layout) -> None:
        assert find_layout([tuple(path.split("/")) for path in paths]) == layout

    @given(
        classes=st.lists(
            st.sampled_from(["cat", "dog", "Kühe & co", "0", "test tube", "n01440764"]),
            min_size=2,
            unique=True,
        ),
        wrappers=st.lists(st.sampled_from(["data", "flowers-main", "images", "v2"]), max_size=3, unique=True),
        splits=st.lists(st.sampled_from(["train", "Validation", "test_set"]), unique=True),
        inside=st.lists(st.sampled_from(["a", "b/c"]), max_size=2, unique=True),
    )
    def test_whatever_wraps_them_the_classes_are_right_by_name(
        self, classes: list[str], wrappers: list[str], splits: list[str], inside: list[str]
    ) -> None:
        folders = {
            (*wrappers, *([split] if split else []), name, *(below.split("/") if below else []))
            for split in splits or [""]
            for name in classes
            for below in ["", *inside]
        }
        layout = find_layout(folders)
        for folder in folders:
            level = len(wrappers) + bool(splits)
            expected = split_of(folder[level - 1]) if splits else None
            assert layout.place(folder) == Place(folder[level], expected)

    def test_a_person_may_say_which_folder_is_the_class(self) -> None:
        paths = [("2024", "cat", "a"), ("2025", "dog", "a"), ("2025", "cow")]
        assert find_layout(paths) == Layout(0)
        assert find_layout(paths, depth=2) == Layout(1)
        assert find_layout([("test", "x", "cat"), ("train", "x", "cat")], depth=3) == Layout(2, 0)
        with pytest.raises(
            DatasetError, match="no picture lies in 4 folders; the deepest lies in 3, see --depth"
        ):
            find_layout(paths, depth=4)

    def test_a_picture_without_a_class_says_so(self) -> None:
        layout = find_layout([("train", "cat"), ("test", "cat"), ("docs",)])
        assert layout.place(("train", "cat")) == Place("cat", "train")
        assert layout.place(("test",)) == "lies in no class folder"
        assert layout.place(()) == "lies in no class folder"
        assert layout.place(("docs", "x")) == "lies beside the folders of training and test pictures"

    @pytest.mark.parametrize(
        ("name", "split"),
        [
            ("train", "train"),
            ("Training Set", "train"),
            ("test-images", "test"),
            ("valData", "validation"),
            ("DEV", "validation"),
            ("trainspotting", None),
            ("test_tubes", None),
            ("train_test", None),
            ("cat", None),
            ("", None),
        ],
    )
    def test_only_a_plain_word_is_a_split(self, name: str, split: str | None) -> None:
        assert split_of(name) == split

    @pytest.mark.parametrize("name", ["Compost", "Plastic & co", "../../etc", "Straße", "100%", "~", "a%20b"])
    def test_the_folders_of_our_own_datasets_give_their_classes_back(self, name: str) -> None:
        assert class_in(folder_of(name)) == name

    @pytest.mark.parametrize("name", ["50%", "100% cotton", "%zz", "%E4", "a b%20c"])
    def test_a_folder_that_is_no_escape_stays_what_it_is(self, name: str) -> None:
        assert class_in(name) == name


class TestLicence:
    @pytest.mark.parametrize(
        ("text", "name"),
        [
            ("MIT License\n\nCopyright (c) 2026", "MIT"),
            ("License: MIT License", "MIT"),
            ("Apache License\n   Version 2.0, January 2004", "Apache-2.0"),
            ("see https://creativecommons.org/licenses/by-nc-sa/4.0/", "CC-BY-NC-SA-4.0"),
            ("Creative Commons Attribution-NonCommercial-ShareAlike 4.0 International", "CC-BY-NC-SA-4.0"),
            ("Creative Commons Attribution 2.0 Generic", "CC-BY-2.0"),
            ("licensed under CC BY-SA 3.0", "CC-BY-SA-3.0"),
            ("(CC-BY-4.0)", "CC-BY-4.0"),
            ("published as cc by-nc", "LicenseRef-CC-BY-NC"),
            ("CC0 1.0 Universal", "CC0-1.0"),
            ("Open Data Commons Open Database License (ODbL) v1.0", "ODbL-1.0"),
            ("GNU GENERAL PUBLIC LICENSE\n  Version 3, 29 June 2007", "GPL-3.0-only"),
            ("This is free and unencumbered software released into the public domain.", "Unlicense"),
            ("https://www.usa.gov/government-works", "LicenseRef-US-Government-Work"),
            ("All rights reserved.", None),
            ("A bypass of 4.0 inches, mitigated.", None),
            ("", None),
        ],
    )
    def test_a_licence_that_everybody_knows_is_recognized(self, text: str, name: str | None) -> None:
        assert recognize(text) == name

    def test_the_file_that_speaks_most_plainly_wins(self) -> None:
        readme = ("main/README.md", b"Pictures: CC BY 4.0")
        nested = ("main/code/LICENSE", b"Apache License Version 2.0")
        own = ("main/LICENSE.txt", b"You may look at them on Sundays.")
        described = ("main/datapackage.json", b'{"licenses": [{"name": "CC0-1.0"}]}')
        for files, name in (
            ([readme], "CC-BY-4.0"),
            ([readme, nested], "Apache-2.0"),
            ([readme, nested, own], "see main/LICENSE.txt"),
            ([described], "CC0-1.0"),
            ([("README", b"no word of it")], None),
            ([("metadata.json", b"[1")], None),
        ):
            found = find_licence(files)
            assert (found and found.name) == name
