"""Archives: hostile ones are refused whole and by name, odd ones are read, and nothing is written to disk."""

from __future__ import annotations

import tarfile
import zipfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from archive_parts import (
    DEVICE,
    HONEST,
    JPEG,
    LINK,
    PACK,
    PIPE,
    encrypted,
    folders,
    long_name_bomb,
    negative_size,
    overlapping,
    picture,
    sparse,
    tar_bomb,
    tar_member,
    tarred,
    with_tar,
    with_zip,
    zip_bomb,
    zip_member,
    zipped,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from gtlabel.datasets.collect.archives import Limits
from gtlabel.datasets.collect.files import ArchiveFile
from gtlabel.datasets.collect.planning import CollectionPlan, CollectionWishes, plan_collection
from gtlabel.datasets.collect.sources import open_archive
from gtlabel.errors import ArchiveError, DatasetError, GtlabelError

# What an archive is made of, and what the refusal must say.
ATTACKS: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "climbs": (
        "zip",
        lambda: with_zip("../../evil.png"),
        r"'\.\./\.\./evil\.png' has a name that leads outside",
    ),
    "climbs within": ("zip", lambda: with_zip("cat/../../evil.png"), "leads outside"),
    "climbs as Windows does": ("zip", lambda: with_zip("..\\evil.png"), "leads outside"),
    "is absolute": ("zip", lambda: with_zip("/etc/evil.png"), "absolute name"),
    "names a drive": ("zip", lambda: with_zip("C:\\evil.png"), "absolute name"),
    "names a server": ("zip", lambda: with_zip("\\\\server\\share\\evil.png"), "absolute name"),
    "hides a byte": (
        "zip",
        lambda: with_zip("cat/evil.pngX.txt").replace(b"evil.pngX", b"evil.png\0"),
        "zero byte",
    ),
    "link up": (
        "zip",
        lambda: with_zip(zip_member("cat/l.png", LINK), b"../../x"),
        "link that leads outside",
    ),
    "link to root": ("zip", lambda: with_zip(zip_member("l.png", LINK), b"/etc/passwd"), "leads outside, to"),
    "long link": ("zip", lambda: with_zip(zip_member("l.png", LINK), b"a/" * 9999), "target of 19,998 bytes"),
    "device": ("zip", lambda: with_zip(zip_member("cat/d.png", DEVICE)), "'cat/d.png' is a device"),
    "pipe": ("zip", lambda: with_zip(zip_member("cat/p.png", PIPE)), "'cat/p.png' is a device"),
    "twice": ("zip", lambda: with_zip("cat/0.png"), "'cat/0.png' is in it twice"),
    "twice, otherwise": ("zip", lambda: with_zip("./cat//0.png"), "'cat/0.png' is in it twice"),
    "password": ("zip", encrypted, "'cat/secret.png' is encrypted; unpack it with its password"),
    "overlaps": ("zip", overlapping, "overlaps another member"),
    "bomb": ("zip", zip_bomb, "more than 100 times its .* bytes, which pictures never do"),
    "breaks off": ("zip", lambda: with_zip("cat/9.png")[:-40], "cannot be read .*; download it again"),
    "has no start": ("zip", lambda: with_zip("cat/9.png")[:40], "cannot be read"),
    "bad directory": (
        "zip",
        lambda: with_zip("9.png").replace(b"PK\x01\x02", b"PK\x01\x09"),
        "cannot be read",
    ),
    "tar climbs": ("tar.gz", lambda: with_tar("../evil.png"), "leads outside"),
    "tar climbs by pax": ("tar", lambda: with_tar("a" * 120 + "/../../e.png", pack="tar"), "leads outside"),
    "tar is absolute": ("tar.xz", lambda: with_tar("/evil.png", pack="tar.xz"), "absolute name"),
    "tar link up": (
        "tar.bz2",
        lambda: with_tar(tar_member("cat/l.png", tarfile.SYMTYPE, "../../x"), pack="tar.bz2"),
        r"'cat/l\.png' is a link that leads outside, to '\.\./\.\./x'",
    ),
    "tar link to root": (
        "tar",
        lambda: with_tar(tar_member("l", tarfile.SYMTYPE, "/etc"), pack="tar"),
        "to '/etc'",
    ),
    "hard link up": (
        "tar",
        lambda: with_tar(tar_member("a/b/h.png", tarfile.LNKTYPE, "../x"), pack="tar"),
        "to '../x'",
    ),
    "tar device": (
        "tar",
        lambda: with_tar(tar_member("d.png", tarfile.CHRTYPE), pack="tar"),
        "'d.png' is a device",
    ),
    "tar block device": (
        "tar",
        lambda: with_tar(tar_member("d", tarfile.BLKTYPE), pack="tar"),
        "is a device",
    ),
    "tar pipe": ("tar", lambda: with_tar(tar_member("p.png", tarfile.FIFOTYPE), pack="tar"), "is a device"),
    "tar twice": ("tar.gz", lambda: with_tar("cat/0.png"), "'cat/0.png' is in it twice"),
    "gzip bomb": ("tar.gz", lambda: tar_bomb("tar.gz"), "more than 100 times"),
    "xz bomb": ("tar.xz", lambda: tar_bomb("tar.xz"), "more than 100 times"),
    "name bomb": ("tar.gz", long_name_bomb, "more than 100 times"),
    "negative size": ("tar", negative_size, "damaged or breaks off"),
    "tar breaks off": ("tar.gz", lambda: with_tar("cat/9.png")[:-100], "damaged or breaks off"),
    "plain tar breaks off": ("tar", lambda: tarred(folders("cat"))[:700], "damaged or breaks off"),
    "tar without an end": ("tar", lambda: tarred(HONEST).rstrip(b"\0"), "damaged or breaks off"),
    "bad header": (
        "tar",
        lambda: tarred(HONEST).replace(b"dog/0.png", b"dog/0.pnX"),
        "where a member or the end",
    ),
    "bad checksum": ("tar.gz", lambda: with_tar("9.png")[:-8] + b"12345678", "damaged or breaks off"),
    "joined": ("tar", lambda: tarred(HONEST) + tarred(folders("cow")), "goes on after its end"),
    "no tar in it": ("tar.gz", lambda: PACK["tar.gz"](JPEG), "damaged or breaks off"),
    "7z": ("7z", lambda: b"7z\xbc\xaf\x27\x1c" + bytes(99), r"is a 7z archive, .* unpack it \(7z x\)"),
    "RAR": ("rar", lambda: b"Rar!\x1a\x07\x01\0" + bytes(99), "is a RAR archive"),
    "zstd": ("tar.zst", lambda: b"\x28\xb5\x2f\xfd" + bytes(99), "is packed by zstd"),
    "a picture": ("zip", lambda: JPEG, "is no zip and no tar, it begins with"),
    "nothing": ("zip", lambda: b"", "is no zip and no tar"),
}


def tree(folder: Path) -> dict[str, int]:
    return {path.relative_to(folder).as_posix(): path.lstat().st_size for path in folder.rglob("*")}


def written(tmp_path: Path, kind: str, body: bytes) -> Path:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True, exist_ok=True)
    path = inner / f"archive.{kind}"
    path.write_bytes(body)
    return path


def looked_at(path: Path, **wishes: object) -> CollectionPlan:
    return plan_collection(path, CollectionWishes(**{"licence": "MIT", **wishes}))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ATTACKS)
def test_a_hostile_archive_is_refused_whole_and_by_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, make, sentence = ATTACKS[name]
    path = written(tmp_path, kind, make())
    monkeypatch.chdir(path.parent)
    before = tree(tmp_path)
    with pytest.raises(ArchiveError, match=sentence) as refused:
        # What is harmless is small here, so that a bomb need not be large.
        looked_at(path, limits=Limits(free_bytes=1 << 20))
    assert str(refused.value).startswith(f"archive.{kind}: ")
    assert "\n" not in str(refused.value)
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    ("limits", "sentence"),
    [
        (Limits(max_bytes=500), r"holds more than the 0 GB .* --max-gigabytes"),
        (Limits(max_members=5), "has more than 5 members"),
    ],
)
@pytest.mark.parametrize("kind", ["zip", *PACK])
def test_an_archive_may_hold_only_so_much(kind: str, limits: Limits, sentence: str, tmp_path: Path) -> None:
    body = zipped(HONEST) if kind == "zip" else tarred(HONEST, kind)
    with pytest.raises(ArchiveError, match=sentence):
        looked_at(written(tmp_path, kind, body), limits=limits)


@pytest.mark.parametrize("kind", ["zip", *PACK])
def test_every_kind_of_archive_gives_the_same_pictures(kind: str, tmp_path: Path) -> None:
    body = zipped(HONEST) if kind == "zip" else tarred(HONEST, kind)
    # What it is, its bytes say; the name may be wrong.
    plan = looked_at(written(tmp_path, "download", body))
    assert [(item.picture.path, item.class_name) for item in plan.chosen.labeled] == [
        (path, path.partition("/")[0]) for path in HONEST if path.endswith(".png")
    ]
    assert [item.picture.size for item in plan.chosen.labeled] == [
        len(picture(number)) for number in range(6)
    ]


ODD: list[tuple[str, Callable[[], bytes], str, str]] = [
    (
        "zip",
        lambda: with_zip(zip_member("cat/l.png", LINK), b"../dog/0.png"),
        "cat/l.png",
        "is a link to '../dog/0.png'; only files are collected",
    ),
    (
        "tar",
        lambda: with_tar(tar_member("cat/l.png", tarfile.SYMTYPE, "0.png"), pack="tar"),
        "cat/l.png",
        "is a link to '0.png'",
    ),
    (
        "tar",
        lambda: with_tar(tar_member("cat/h.png", tarfile.LNKTYPE, "dog/0.png"), pack="tar"),
        "cat/h.png",
        "is a link to 'dog/0.png'",
    ),
    ("tar", sparse, "cat/sparse.png", "is a sparse file"),
    (
        "zip",
        lambda: zipped({**HONEST, "cat/9.jpg": JPEG}, zipfile.ZIP_STORED).replace(JPEG, JPEG[:-9] + bytes(9)),
        "cat/9.jpg",
        "is damaged in the archive: Bad CRC-32",
    ),
    (
        "zip",
        lambda: with_zip("cat/large.jpg", bytes(41 << 20)),
        "cat/large.jpg",
        "is 41.0 MB long; the limit is 40 MB",
    ),
    ("zip", lambda: with_zip("cat/cut.jpg", JPEG[:999]), "cat/cut.jpg", "is a JPEG that is cut off"),
    ("zip", lambda: with_zip("cat/1.gif"), "cat/1.gif", "is named .gif; save it as JPEG or PNG"),
    ("zip", lambda: with_zip("9.png"), "9.png", "lies in no class folder"),
]


@pytest.mark.parametrize(("kind", "make", "path", "reason"), ODD)
def test_one_odd_member_is_set_aside(
    kind: str, make: Callable[[], bytes], path: str, reason: str, tmp_path: Path
) -> None:
    chosen = looked_at(written(tmp_path, kind, make())).chosen
    (aside,) = chosen.aside
    assert aside.path == path
    assert aside.reason.startswith(reason)
    assert len(chosen.labeled) == 6


def test_compression_that_nobody_here_knows_is_told(tmp_path: Path) -> None:
    body = bytearray(zipped(HONEST))
    at = -1
    while (at := body.find(b"PK\x01\x02", at + 1)) >= 0:
        body[at + 10] = 9
    with pytest.raises(DatasetError, match="none of the 6 pictures .* cat/0.png is damaged in the archive"):
        looked_at(written(tmp_path, "zip", bytes(body)))


@pytest.mark.parametrize(
    ("stored", "encoding", "folder"),
    [
        ("Katzen ü".encode(), None, "Katzen ü"),
        ("猫".encode("cp932"), "cp932", "猫"),
        ("naïve".encode("cp437"), None, "naïve"),
    ],
)
def test_names_in_a_zip_are_read_as_they_were_meant(
    stored: bytes, encoding: str | None, folder: str, tmp_path: Path
) -> None:
    placeholder = b"x" * len(stored)
    members = {**HONEST, **folders(placeholder.decode(), first=50)}
    body = zipped(members).replace(placeholder + b"/", stored + b"/")
    plan = looked_at(written(tmp_path, "zip", body), encoding=encoding)
    assert set(plan.chosen.classes) == {"cat", "dog", folder}


def test_names_in_a_tar_that_are_no_utf8_become_escapes(tmp_path: Path) -> None:
    members = {**HONEST, **folders("br\xe4t", first=50)}
    body = tarred(members, format=tarfile.GNU_FORMAT, encoding="latin-1")
    path = written(tmp_path, "tar", body)
    assert set(looked_at(path).chosen.classes) == {"cat", "dog", "br%E4t"}
    assert set(looked_at(path, encoding="latin-1").chosen.classes) == {"cat", "dog", "brät"}


def test_folders_that_windows_wrote_are_folders(tmp_path: Path) -> None:
    body = zipped(folders("cat", "dog", above="data/"))
    body = body.replace(b"data/cat/", b"data\\cat\\").replace(b"data/dog/", b"data\\dog\\")
    assert list(looked_at(written(tmp_path, "zip", body)).chosen.classes) == ["cat", "dog"]


def test_what_systems_leave_beside_pictures_is_passed_over(tmp_path: Path) -> None:
    litter = {"__MACOSX/cat/._0.png": b"x", "cat/.DS_Store": b"x", ".git/HEAD": b"x", "cat/Thumbs.db": b"x"}
    plan = looked_at(written(tmp_path, "zip", zipped({**HONEST, **litter})))
    assert len(plan.chosen.labeled) == 6
    assert plan.chosen.aside == ()
    assert plan.others == {".db": 1}


def test_archives_inside_stay_closed_and_are_told(tmp_path: Path) -> None:
    inner = {"train.zip": zip_bomb(1), "test.tar.gz": b"x"}
    plan = looked_at(written(tmp_path, "zip", zipped({**HONEST, **inner})))
    assert len(plan.chosen.labeled) == 6
    assert plan.notes[0].startswith("2 archives inside were left closed")
    with pytest.raises(DatasetError, match=r"archive\.zip holds 2 archives and no pictures; take them out"):
        looked_at(written(tmp_path, "zip", zipped(inner)))


def test_only_what_is_wanted_is_unpacked(tmp_path: Path) -> None:
    path = written(tmp_path, "zip", zipped(HONEST))
    source = open_archive(ArchiveFile.on_disk(path))
    found = {item.path: item.body for item in source.scan(lambda path, _size: path == "dog/1.png")}
    assert {path for path, body in found.items() if body is not None} == {"dog/1.png"}
    assert found["dog/1.png"] == HONEST["dog/1.png"]


@settings(max_examples=80)
@given(
    kind=st.sampled_from(["zip", *PACK]),
    damage=st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), min_size=1, max_size=6
    ),
    cut=st.floats(0.5, 1),
)
def test_a_damaged_archive_ends_in_pictures_or_in_a_sentence(
    kind: str, damage: list[tuple[float, int]], cut: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    body = bytearray(zipped(HONEST) if kind == "zip" else tarred(HONEST, kind))
    for place, change in damage:
        body[int(place * len(body))] ^= change
    path = tmp_path_factory.getbasetemp() / f"damaged.{kind}"
    path.write_bytes(body[: int(cut * len(body)) + 1])
    try:
        plan = looked_at(path)
    except GtlabelError as error:
        told = str(error)
    else:
        told = ""
        sound = {sha256(body).hexdigest() for body in HONEST.values()}
        # A tar that is not packed has no checksums; in all others a changed picture is noticed.
        assert kind == "tar" or {item.picture.sha256 for item in plan.chosen.labeled} <= sound
    assert "\n" not in told
