"""Names of classes and of pictures that nobody would choose, and that come all the same."""

from __future__ import annotations

import json
import re
import string
import sys
import unicodedata
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import boto3
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gtlabel.aws import Aws
from gtlabel.datasets.channels import read_channel
from gtlabel.datasets.consolidate import JobOutput, consolidate
from gtlabel.datasets.copying import copy_missing, delete_sources, present_copies
from gtlabel.datasets.folders import Namer, class_of, file_of, find, folder_of, name_of, place
from gtlabel.storage import StoredObject, read
from gtlabel.uris import S3Uri

sys.path.append(str(Path(__file__).parent / "benchmarks"))

from distant import Distant

INTO = S3Uri("s3://photos/dataset/")
CLASSES = ("Compost", 'Papier & Pappe / "B"', "Glas 100 %\u2028🗑️", "con", "x" * 230 + "é")
# S3 takes every one of these for the name of an object.
HOSTILE = (
    "a b.jpg",
    "  two  spaces  ",
    'it\'s "quoted".jpg',
    "+plus+.jpg",
    "100%25.jpg",
    "%2e%2e.jpg",
    "new\nline\r.jpg",
    "tab\t.jpg",
    "bell\x07.jpg",
    "Tonne ü ☂ 🗑️.jpg",
    "e\u0301.jpg",
    "\u00e9.jpg",
    "what?x=1&y#z;a=b.jpg",
    "a\u2028b\u0085c.jpg",
    "\u202egpj.exe",
    "back\\slash.jpg",
    "star*|<pipe>:.jpg",
    ".hidden",
    "..",
    ".",
    "CON",
    "nul.jpg",
    "ends.",
    "~tilde~.jpg",
    "Photo.JPG",
    "photo.jpg",
    "PHOTO.jpg",
    "no-suffix",
    "[0-9]{1}.jpg",
    "$(rm -rf).jpg",
    "-rf.jpg",
    "n" * 300 + ".jpg",
    "ü" * 400 + ".jpg",
)
LONGEST = "images/" + "k" * (1024 - 7)
KEYS = (
    *(f"images/{name}" for name in HOSTILE),
    LONGEST,
    "images//",
    "images/../../etc/passwd",
    "images/a/../1",
)


def texts(most: int = 80) -> st.SearchStrategy[str]:
    """Texts that people, and those who mean harm, write: every character, and the worst ones often."""
    worst = st.sampled_from([".", "..", "/", "~", "%", "%2", "%41", " ", "\n", "con", "AUX.", "🗑️", "\u202e"])
    return st.lists(worst | st.text(max_size=12), min_size=1, max_size=most // 8).map("".join).filter(bool)


class TestNames:
    @given(name=texts())
    def test_a_folder_gives_the_class_back_and_troubles_no_system(self, name: str) -> None:
        folder = folder_of(name)
        assert class_of(folder, [name]) == name
        assert set(folder) <= set(string.ascii_letters + string.digits + "%-_.~")
        assert is_harmless(folder)
        assert len(folder) <= 200

    @given(name=texts().filter(lambda name: "/" not in name))
    def test_a_file_gives_the_name_back_and_troubles_no_system(self, name: str) -> None:
        file = file_of(name)
        assert name_of(file) == name
        assert is_harmless(file)
        assert file_of(name) == file

    @given(name=st.from_regex(r"[A-Za-z0-9_ü🗑️-][A-Za-z0-9_ ü+'&=.-]*[a-z]", fullmatch=True))
    def test_ordinary_names_stay_as_they_are(self, name: str) -> None:
        stem = name.partition(".")[0].casefold()
        assert file_of(name) == name or stem in ("con", "prn", "aux", "nul") or stem[:3] in ("com", "lpt")

    @settings(max_examples=40)
    @given(names=st.lists(texts(), unique=True, min_size=2, max_size=8))
    def test_no_two_classes_share_a_folder(self, names: list[str]) -> None:
        assert len({folder_of(name) for name in names}) == len(names)

    @settings(max_examples=40)
    @given(keys=st.lists(texts(), unique=True, min_size=1, max_size=12), data=st.data())
    def test_no_two_pictures_share_a_copy_on_any_system(self, keys: list[str], data: st.DataObject) -> None:
        images = [S3Uri.of("photos", key) for key in keys]
        namer = Namer(INTO)
        targets = [namer.target(image, data.draw(st.sampled_from(CLASSES))) for image in sorted(images)]
        spelled = [unicodedata.normalize("NFC", target.key).casefold() for target in targets]
        assert len(set(spelled)) == len(targets)
        for target in targets:
            assert len(target.key.encode()) <= 1024
            assert all(is_harmless(part) for part in target.key.split("/"))

    @settings(max_examples=40)
    @given(keys=st.lists(texts(), unique=True, min_size=1, max_size=8), random=st.randoms())
    def test_names_do_not_depend_on_the_order_in_which_pictures_come(
        self, keys: list[str], random: object
    ) -> None:
        objects = [StoredObject(S3Uri.of("photos", key), 1, "0", datetime.now(UTC)) for key in keys]
        labeled = [(item, CLASSES[item.size]) for item in objects]
        shuffled = labeled.copy()
        random.shuffle(shuffled)  # type: ignore[attr-defined]
        assert place(labeled, INTO) == place(shuffled, INTO)

    def test_the_class_of_a_name_too_long_for_a_folder_is_found_among_those_of_the_dataset(self) -> None:
        name = "🗑" * 200
        folder = folder_of(name)
        assert class_of(folder) is None
        assert class_of(folder, ["Compost", "🗑" * 199, name]) == name
        assert class_of(folder, ["Compost"]) is None


def is_harmless(name: str) -> bool:
    """Whether Linux, a Mac and Windows can have a file of this name, and a line of a list hold it."""
    if name in ("", ".", "..") or name.startswith(".") or name.endswith((".", " ")):
        return False
    if re.match(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\.|$)", name) or len(name.encode()) > 4 * 255:
        return False
    return not any(unicodedata.category(character) == "Cc" or character in '<>:"/\\|?*' for character in name)


class TestPictures:
    @pytest.fixture
    def far(self) -> Iterator[Distant]:
        place = Distant()
        for number, key in enumerate(KEYS):
            place.put(f"photos/{key}", f"picture {number}".encode(), None)
        yield place
        place.close()

    @pytest.fixture
    def aws(self, far: Distant) -> Aws:
        session = boto3.Session("AKIDEXAMPLE", "none", region_name="us-east-1")
        return Aws(session, far.url)

    def test_every_key_is_listed_copied_recognized_and_moved(self, far: Distant, aws: Aws) -> None:
        images = [S3Uri.of("photos", key) for key in KEYS]
        found = find(aws.s3, images)
        assert set(found) == set(images)
        placements = list(
            place(((found[image], CLASSES[n % 5]) for n, image in enumerate(images)), INTO).values()
        )
        assert copy_missing(aws.s3, placements, present_copies(aws.s3, INTO, placements)) == len(KEYS)
        for item in placements:
            assert far.objects[item.target[5:]].body == far.objects[item.source.uri[5:]].body
        assert copy_missing(aws.s3, placements, present_copies(aws.s3, INTO, placements)) == 0
        delete_sources(aws.s3, placements)
        assert far.tree("photos/images/") == {}
        assert len(far.tree("photos/dataset/")) == len(KEYS)

    def test_a_dataset_of_them_names_every_picture_and_class(self, far: Distant, aws: Aws) -> None:
        lines = []
        for number, key in enumerate(KEYS):
            name = CLASSES[number % 5]
            said = {"class-name": name, "human-annotated": "yes", "type": "groundtruth/image-classification"}
            uri = S3Uri.of("photos", key)
            lines.append(json.dumps({"source-ref": uri, "bin": number % 5, "bin-metadata": said}))
        far.put("photos/jobs/output.manifest", "\n".join(lines).encode(), None)
        dataset = consolidate(aws.s3, [JobOutput(S3Uri("s3://photos/jobs/output.manifest"))], INTO)
        seen = {}
        for channel in dataset.channels:
            for example in read_channel(aws.s3, dataset, channel):
                seen[example.original.key] = example.class_name
                assert read(aws.s3, example.image) == far.objects[f"photos/{example.original.key}"].body
        assert seen == {key: CLASSES[number % 5] for number, key in enumerate(KEYS)}
        for item in dataset.classes:
            assert class_of(item.folder.rstrip("/").rpartition("/")[2], dataset.names) == item.name
