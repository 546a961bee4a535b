"""Which pictures go to workers: samples, copies, what is new, and all of it together."""

from __future__ import annotations

import io
import json
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from hashlib import md5
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageOps

from gtlabel.aws import Aws
from gtlabel.errors import (
    ManifestLineError,
    NoImagesError,
    NothingNewError,
    SettingsError,
)
from gtlabel.images.duplicates import close_pairs, exact_copies, is_same_picture, near_copies
from gtlabel.images.fingerprints import Fingerprint, features, fingerprint
from gtlabel.images.listing import Usable, known_images, list_images, read_list
from gtlabel.images.sampling import allocate, drawn, most_diverse, stratum_of
from gtlabel.images.selection import Selection, bucket_of, select_images
from gtlabel.labeling.inputs import write_inputs
from gtlabel.storage import StoredObject
from gtlabel.uris import S3Uri

TRASH = sorted((Path(__file__).parent.parent / "samples" / "trash" / "images").glob("*.jpg"))
TURNED = Path(__file__).parent / "recorded" / "litter" / "turned.jpg"
BUCKET = "sampled-pictures"
PHOTOS = S3Uri.of(BUCKET, "photos/")


def stored(name: str, size: int = 1, etag: str | None = None) -> StoredObject:
    return StoredObject(PHOTOS / name, size, md5(name.encode()).hexdigest() if etag is None else etag)


def saved(picture: Image.Image, file_format: str = "JPEG", **options: object) -> bytes:
    body = io.BytesIO()
    picture.save(body, file_format, **options)
    return body.getvalue()


def opened(path: Path) -> Image.Image:
    return ImageOps.exif_transpose(Image.open(path)).convert("RGB")


def seen(data: bytes) -> Fingerprint:
    print_ = fingerprint(data)
    assert isinstance(print_, Fingerprint)
    return print_


# `/-` and `-` are one address below a folder.
names = st.lists(st.text("abc/-_0123456789", min_size=1), unique_by=lambda name: PHOTOS / name, max_size=40)
sizes = st.dictionaries(st.text("abcdef", min_size=1), st.integers(0, 500), max_size=9)


@given(listed=names, n=st.integers(0, 40), seed=st.integers(-5, 5), other=st.randoms(use_true_random=False))
def test_a_draw_knows_neither_the_order_of_the_listing_nor_what_is_added(
    listed: list[str], n: int, seed: int, other: random.Random
) -> None:
    images = [stored(name) for name in listed]
    shuffled = other.sample(images, len(images))
    assert drawn(images, seed) == drawn(shuffled, seed)
    more = [*images, *(stored(f"later{number}") for number in range(10))]
    before, after = drawn(images, seed)[:n], drawn(more, seed)[:n]
    assert [image for image in after if image in images] == before[: sum(image in images for image in after)]


def test_every_picture_has_the_same_chance() -> None:
    images = [stored(f"{number}.jpg") for number in range(40)]
    times = Counter(image.uri for seed in range(2_000) for image in drawn(images, seed)[:10])
    # 500 expected, deviation 19: seven of them either way.
    assert min(times.values()) > 365
    assert max(times.values()) < 635


@given(sizes=sizes, n=st.integers(0, 3_000))
def test_proportional_shares_are_right_to_less_than_one_picture(sizes: dict[str, int], n: int) -> None:
    taken = allocate(sizes, n)
    total = sum(sizes.values())
    assert sum(taken.values()) == min(n, total)
    assert all(0 <= taken[name] <= size for name, size in sizes.items())
    if n < total:
        assert all(abs(taken[name] - n * size / total) < 1 for name, size in sizes.items())


@given(sizes=sizes, n=st.integers(0, 3_000))
def test_equal_shares_differ_only_where_a_stratum_has_no_more(sizes: dict[str, int], n: int) -> None:
    taken = allocate(sizes, n, "equal")
    assert sum(taken.values()) == min(n, sum(sizes.values()))
    assert all(0 <= taken[name] <= size for name, size in sizes.items())
    unfilled = [taken[name] for name, size in sizes.items() if taken[name] < size]
    if unfilled:
        assert max(taken.values()) - min(unfilled) <= 1


@pytest.mark.parametrize(
    ("pattern", "stratum"),
    [
        ("folder", "day-1/cam-7"),
        ("cam-[0-9]+", "cam-7"),
        ("day-([0-9])/", "1"),
        ("(x)|cam-(.)", "7"),
        ("zoo", ""),
    ],
)
def test_a_stratum_is_a_folder_or_what_a_pattern_finds(pattern: str, stratum: str) -> None:
    assert stratum_of(pattern)(S3Uri("s3://bin/day-1/cam-7/IMG_1.jpg")) == stratum


def test_a_pattern_that_is_none_is_refused_by_its_name() -> None:
    with pytest.raises(SettingsError, match=r"'cam-\(' is no regular expression to stratify by: missing \)"):
        stratum_of("cam-(")


@given(
    points=st.lists(st.tuples(st.integers(-99, 99), st.integers(-99, 99)), min_size=1, max_size=12),
    n=st.integers(1, 4),
)
def test_a_diverse_choice_is_at_most_twice_as_far_from_any_point_as_the_best_choice(
    points: list[tuple[int, int]], n: int
) -> None:
    from itertools import combinations

    rows = np.array(points, np.float32)
    distances = np.linalg.norm(rows[:, None] - rows[None], axis=2)
    chosen = most_diverse(rows, n)
    assert len(set(chosen)) == len(chosen) == min(n, len(points))
    reached = distances[:, chosen].min(axis=1).max()
    best = min(distances[:, list(c)].min(axis=1).max() for c in combinations(range(len(rows)), len(chosen)))
    assert reached <= 2 * best + 0.01


@given(
    codes=st.lists(st.integers(0, 2**64 - 1), max_size=20),
    flips=st.lists(st.tuples(st.integers(0, 19), st.sets(st.integers(0, 63), max_size=8)), max_size=20),
    bits=st.integers(0, 7),
)
def test_the_index_finds_just_the_pairs_that_comparing_all_of_them_finds(
    codes: list[int], flips: list[tuple[int, set[int]]], bits: int
) -> None:
    for position, changed in flips:
        if position < len(codes):
            codes.append(codes[position] ^ sum(1 << bit for bit in changed))
    close = [
        [one, other]
        for one in range(len(codes))
        for other in range(one + 1, len(codes))
        if (codes[one] ^ codes[other]).bit_count() <= bits
    ]
    assert close_pairs(np.array(codes, np.uint64), bits).tolist() == close


COPIES = {
    "saved again": lambda picture: saved(picture, quality=60),
    "as a png": lambda picture: saved(picture, "PNG"),
    "half as large": lambda picture: saved(picture.resize((picture.width // 2, picture.height // 2))),
    "less contrast": lambda picture: saved(ImageEnhance.Contrast(picture).enhance(0.85)),
}


@pytest.mark.parametrize("how", COPIES)
def test_a_picture_is_recognized_when_it_was(how: str) -> None:
    found = [
        is_same_picture(seen(path.read_bytes()), seen(COPIES[how](opened(path))))
        for path in [*TRASH[::6], TURNED]
    ]
    assert sum(found) >= 20


def test_no_two_of_the_sample_pictures_are_taken_for_one() -> None:
    pictures = [(stored(path.name), seen(path.read_bytes())) for path in TRASH]
    kept, copies = near_copies(pictures)
    assert len(kept) == len(TRASH)
    assert copies == []


def test_another_object_on_the_same_ground_is_another_picture() -> None:
    unlike = total = 0
    for path, other in zip(TRASH[::6], TRASH[3::6], strict=False):
        picture = opened(path)
        object_ = opened(other).resize((picture.width // 5, picture.height // 5))
        changed = picture.copy()
        changed.paste(object_, (picture.width // 3, picture.height // 3))
        unlike += not is_same_picture(seen(path.read_bytes()), seen(saved(changed)))
        total += 1
    # One of them is white paper, laid on white paper.
    assert unlike >= total - 1


def test_the_largest_of_several_copies_is_kept_and_named() -> None:
    picture = opened(TRASH[0])
    small = saved(picture.resize((128, 96)))
    pictures = [
        (stored("a-small.jpg"), seen(small)),
        (stored("b-large.jpg"), seen(TRASH[0].read_bytes())),
        (stored("c-other.jpg"), seen(TRASH[1].read_bytes())),
    ]
    kept, copies = near_copies(pictures)
    assert [image.uri.name for image in kept] == ["b-large.jpg", "c-other.jpg"]
    assert [(copy.image.uri.name, copy.reason) for copy in copies] == [
        ("a-small.jpg", f"is nearly the same picture as {PHOTOS}b-large.jpg")
    ]
    kept, copies = near_copies(pictures[1:], earlier=pictures[:1])
    assert [image.uri.name for image in kept] == ["c-other.jpg"]
    assert copies[0].of == PHOTOS / "a-small.jpg"


@given(kinds=st.lists(st.integers(0, 3), max_size=12), seed=st.integers(0, 3))
def test_each_content_is_kept_just_once_and_every_copy_names_a_picture_that_is_kept(
    kinds: list[int], seed: int
) -> None:
    prints = [seen(saved(Image.effect_noise((64, 64), 90).convert("RGB"))) for _ in range(4)]
    pictures = [(stored(f"{n}.jpg", etag=f"{n}"), prints[kind]) for n, kind in enumerate(kinds)]
    random.Random(seed).shuffle(pictures)
    kept, copies = near_copies(pictures)
    assert len(kept) == len(set(kinds))
    assert {copy.of for copy in copies} <= {image.uri for image in kept}
    assert len(kept) + len(copies) == len(kinds)


@given(contents=st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=12))
def test_copies_are_found_by_content_however_they_were_uploaded(contents: list[tuple[int, bool]]) -> None:
    bodies = {PHOTOS / f"{n}.jpg": bytes([kind]) * (kind // 2 + 1) for n, (kind, _) in enumerate(contents)}
    images = []
    for (uri, body), (_, in_parts) in zip(bodies.items(), contents, strict=True):
        # An upload in parts gives the same bytes another ETag each time here.
        etag = f"{md5(uri.encode()).hexdigest()}-2" if in_parts else md5(body).hexdigest()
        images.append(StoredObject(uri, len(body), etag))
    kept, copies = exact_copies(images, read=bodies.__getitem__)
    assert len(kept) == len({kind for kind, _ in contents})
    assert len(kept) + len(copies) == len(images)
    for copy in copies:
        assert copy.of in {image.uri for image in kept}
        assert bodies[copy.of] == bodies[copy.image.uri]


def test_alike_pictures_lie_close_together() -> None:
    again = seen(saved(opened(TRASH[0]), quality=50))
    points = features([again, *(seen(path.read_bytes()) for path in TRASH)])
    distances = np.linalg.norm(points[1:] - points[0], axis=1)
    assert int(distances.argmin()) == 0
    nearest, second = sorted(distances)[:2]
    assert nearest * 3 < second


@pytest.fixture
def photos(gtlabel_aws: Aws) -> Aws:
    """An account with an empty bucket."""
    gtlabel_aws.s3.create_bucket(Bucket=BUCKET)
    return gtlabel_aws


def put(aws: Aws, pictures: Mapping[str, bytes]) -> None:
    for name, body in pictures.items():
        aws.s3.put_object(Bucket=BUCKET, Key=(PHOTOS / name).key, Body=body)


def chosen(usable: Usable) -> list[str]:
    return [image.uri.removeprefix(PHOTOS) for image in usable.images]


def left_out(usable: Usable) -> dict[str, str]:
    return {refusal.uri.removeprefix(PHOTOS): refusal.reason for refusal in usable.refused}


def test_copies_are_left_out_and_say_what_they_copy(photos: Aws) -> None:
    picture = TRASH[0].read_bytes()
    put(photos, {"a.jpg": picture, "b.jpg": picture, "c.jpg": saved(opened(TRASH[0]), quality=60)})
    put(photos, {"turned.jpg": TURNED.read_bytes()})
    in_parts = photos.s3.create_multipart_upload(Bucket=BUCKET, Key="photos/d.jpg")["UploadId"]
    part = photos.s3.upload_part(
        Bucket=BUCKET, Key="photos/d.jpg", UploadId=in_parts, PartNumber=1, Body=picture
    )
    photos.s3.complete_multipart_upload(
        Bucket=BUCKET,
        Key="photos/d.jpg",
        UploadId=in_parts,
        MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]},
    )
    exact = select_images(photos.s3, PHOTOS)
    assert chosen(exact) == ["a.jpg", "c.jpg", "turned.jpg"]
    assert left_out(exact) == dict.fromkeys(("b.jpg", "d.jpg"), f"is a copy of {PHOTOS}a.jpg")
    assert exact.turned == (PHOTOS / "turned.jpg",)
    assert exact.notes[0].startswith("1 of the 3 pictures have an Exif orientation")
    near = select_images(photos.s3, PHOTOS, Selection(duplicates="near"))
    assert chosen(near) == ["a.jpg", "turned.jpg"]
    assert left_out(near)["c.jpg"] == f"is nearly the same picture as {PHOTOS}a.jpg"
    assert chosen(select_images(photos.s3, PHOTOS, Selection(duplicates="keep"))) == [
        f"{name}.jpg" for name in ("a", "b", "c", "d", "turned")
    ]


def test_only_what_no_job_has_is_chosen_the_next_time(photos: Aws) -> None:
    put(photos, {path.name: path.read_bytes() for path in TRASH[:3]})
    first = select_images(photos.s3, PHOTOS)
    inputs = write_inputs(
        photos.s3, (image.uri for image in first.images), ["a", "b"], "page", S3Uri.of(BUCKET, "job/")
    )
    known = known_images(photos.s3, [inputs.manifest])
    with pytest.raises(NothingNewError, match="nothing is new: earlier jobs have all of the 3 pictures"):
        select_images(photos.s3, PHOTOS, known=known)
    put(photos, {"copy.jpg": TRASH[0].read_bytes(), "new.jpg": TRASH[9].read_bytes()})
    second = select_images(photos.s3, PHOTOS, known=known)
    assert chosen(second) == ["new.jpg"]
    assert left_out(second) == {"copy.jpg": f"is a copy of {PHOTOS}{TRASH[0].name}"}
    assert second.known == 3


def test_pictures_written_before_a_moment_are_passed_over(photos: Aws) -> None:
    put(photos, {"a.jpg": TRASH[0].read_bytes()})
    written = photos.s3.head_object(Bucket=BUCKET, Key="photos/a.jpg")["LastModified"]
    assert [image.uri.name for image in list_images(photos.s3, PHOTOS, since=written)] == ["a.jpg"]
    later = written + timedelta(seconds=1)
    with pytest.raises(NoImagesError, match="none of the 1 pictures under .* was written since"):
        select_images(photos.s3, PHOTOS, Selection(since=later))
    assert chosen(select_images(photos.s3, PHOTOS, Selection(since=datetime(2000, 1, 1, tzinfo=UTC)))) == [
        "a.jpg"
    ]


def test_a_list_may_be_text_json_or_a_manifest_here_or_in_s3(photos: Aws, tmp_path: Path) -> None:
    put(photos, {path.name: path.read_bytes() for path in TRASH[:3]})
    first, second, third = (PHOTOS / path.name for path in TRASH[:3])
    text = f'\n{third}\r\n"{first}"\n{{"source-ref":"{second}","x":1}}\n{first}\n'.encode()
    (tmp_path / "list.txt").write_bytes(b"\xef\xbb\xbf" + text)
    photos.s3.put_object(Bucket=BUCKET, Key="lists/list.jsonl", Body=text)
    for source in (tmp_path / "list.txt", S3Uri.of(BUCKET, "lists/list.jsonl")):
        assert list(read_list(photos.s3, source)) == [third, first, second, first]
        assert bucket_of(photos.s3, source) == BUCKET
        assert [image.uri for image in select_images(photos.s3, source).images] == [first, second, third]


def test_a_list_names_what_is_wrong_with_it(photos: Aws, tmp_path: Path) -> None:
    put(photos, {"a.jpg": TRASH[0].read_bytes()})
    listed = tmp_path / "list.txt"
    listed.write_text(f"{PHOTOS}a.jpg\n{PHOTOS}gone.jpg\n{PHOTOS}notes.txt\n")
    usable = select_images(photos.s3, listed)
    assert left_out(usable) == {
        "gone.jpg": "does not exist",
        "notes.txt": "is not named like a picture (.jpg, .jpeg, .png)",
    }
    for line, reason in {
        "photos/a.jpg": "'photos/a.jpg' is not an S3 address; write it as s3://bucket/key",
        '"s3://x': "not JSON",
        '{"source": "text"}': "it holds text",
        f"s3://{BUCKET}": "names a bucket and no image in it",
    }.items():
        listed.write_text(f"{PHOTOS}a.jpg\n{line}\n")
        with pytest.raises(ManifestLineError, match="list.txt, line 2: ") as caught:
            select_images(photos.s3, listed)
        assert reason in caught.value.reason


def test_a_sample_is_filled_up_when_pictures_in_it_cannot_be_used(photos: Aws) -> None:
    bodies = {f"cam-{n % 3}/{n:02}.jpg": TRASH[n].read_bytes() for n in range(30)}
    broken = {name for n, name in enumerate(bodies) if n % 5 == 0}
    put(photos, {name: body[:-100] if name in broken else body for name, body in bodies.items()})
    at_random = select_images(photos.s3, PHOTOS, Selection(sample=12, seed=7))
    assert len(at_random.images) == 12
    assert chosen(at_random) == chosen(select_images(photos.s3, PHOTOS, Selection(sample=12, seed=7)))
    assert chosen(at_random) != chosen(select_images(photos.s3, PHOTOS, Selection(sample=12, seed=8)))
    everything = select_images(photos.s3, PHOTOS, Selection(sample=10_000))
    assert set(chosen(everything)) == bodies.keys() - broken
    even = select_images(photos.s3, PHOTOS, Selection(sample=12, by="stratified", shares="equal"))
    assert Counter(name.split("/")[0] for name in chosen(even)) == {"cam-0": 4, "cam-1": 4, "cam-2": 4}
    by_number = Selection(sample=12, by="stratified", stratify_by="cam-[01]", shares="equal")
    named = Counter(name[:5] for name in chosen(select_images(photos.s3, PHOTOS, by_number)))
    assert named == {"cam-0": 4, "cam-1": 4, "cam-2": 4}


def test_a_diverse_sample_has_one_of_each_scene(photos: Aws) -> None:
    scenes = [opened(path) for path in TRASH[:80:20]]
    put(
        photos,
        {
            f"{scene}-{quality}.jpg": saved(picture, quality=quality)
            for scene, picture in enumerate(scenes)
            for quality in range(50, 90, 5)
        },
    )
    diverse = chosen(select_images(photos.s3, PHOTOS, Selection(sample=4, by="diverse")))
    assert sorted(name[0] for name in diverse) == ["0", "1", "2", "3"]
    near = select_images(photos.s3, PHOTOS, Selection(sample=30, duplicates="near"))
    assert sorted(name[0] for name in chosen(near)) == ["0", "1", "2", "3"]
    assert len(near.refused) == 28


def test_decoding_finds_what_headers_do_not_show(photos: Aws) -> None:
    noise = saved(Image.effect_noise((200, 200), 90).convert("RGB"), "PNG")
    middle = len(noise) // 2
    damaged = noise[:middle] + bytes(64) + noise[middle + 64 :]
    put(photos, {"damaged.png": damaged, "sound.jpg": TRASH[0].read_bytes()})
    assert len(select_images(photos.s3, PHOTOS).images) == 2
    strict = select_images(photos.s3, PHOTOS, Selection(strict=True))
    assert chosen(strict) == ["sound.jpg"]
    assert list(left_out(strict)) == ["damaged.png"]


def test_a_damaged_jpeg_is_found_by_a_decoder_that_heeds_its_own_warnings(photos: Aws) -> None:
    pytest.importorskip("simplejpeg")
    whole = TURNED.read_bytes()
    # A marker that does not belong amid the pixels: a browser shows half a picture.
    middle = len(whole) // 2
    put(photos, {"damaged.jpg": whole[:middle] + b"\xff\xd9" + whole[middle + 2 :], "sound.jpg": whole})
    assert len(select_images(photos.s3, PHOTOS).images) == 2
    strict = select_images(photos.s3, PHOTOS, Selection(strict=True))
    assert chosen(strict) == ["sound.jpg"]
    assert left_out(strict)["damaged.jpg"].startswith("cannot be decoded: ")
    assert not any("Pillow" in note for note in strict.notes)


@pytest.mark.parametrize(
    ("selection", "sentence"),
    [
        (
            "duplicates='near'",
            "comparing what pictures show needs an optional part",
        ),
        ("strict=True", "decoding pictures (--strict) needs an optional part"),
    ],
)
def test_without_pillow_the_missing_part_is_named_before_anything_is_listed(
    selection: str, sentence: str
) -> None:
    program = (
        "import sys\nsys.modules['PIL'] = sys.modules['PIL.Image'] = None\n"
        "from gtlabel.images.selection import Selection, select_images\nfrom gtlabel.uris import S3Uri\n"
        f"select_images(None, S3Uri('s3://nowhere/'), Selection({selection}))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert f"MissingExtraError: {sentence}; install it with: pip install 'gtlabel[train]'" in run.stderr


def test_a_sample_of_a_list_is_drawn_on_the_command_line_as_in_the_library(
    photos: Aws, tmp_path: Path
) -> None:
    put(photos, {f"cam-{n % 2}/{n}.jpg": path.read_bytes() for n, path in enumerate(TRASH[:12])})
    put(
        photos,
        {"cam-0/again.jpg": saved(opened(TRASH[0]), quality=60), "cam-1/turned.jpg": TURNED.read_bytes()},
    )
    listed = tmp_path / "list.txt"
    listed.write_text("".join(f"{image.uri}\n" for image in list_images(photos.s3, PHOTOS)))
    (tmp_path / "classes.txt").write_text("Compost\nLandfill\nRecycle\n")
    options = ["--sample", "13", "--by", "stratified", "--stratify-by", "cam-[0-9]", "--duplicates", "near"]
    options += ["--strict", "--seed", "5", "--classes", "classes.txt", "--force", "--output", "json"]
    run = subprocess.run(
        [Path(sys.executable).parent / "gtlabel", "label", "list.txt", *options],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "GTLABEL_TEAM": "gtlabel", "GTLABEL_ROLE": "gtlabel"},
    )
    assert run.returncode == 0, run.stderr
    result = json.loads(run.stdout)
    assert result["images"] == 13
    assert [refused["uri"] for refused in result["refused"]] == [PHOTOS / "cam-0/again.jpg"]
    assert result["turned"] == [PHOTOS / "cam-1/turned.jpg"]
    job = photos.sagemaker.describe_labeling_job(LabelingJobName=result["name"])
    manifest = S3Uri(job["InputConfig"]["DataSource"]["S3DataSource"]["ManifestS3Uri"])
    wanted = Selection(
        sample=13, by="stratified", stratify_by="cam-[0-9]", duplicates="near", strict=True, seed=5
    )
    in_library = select_images(photos.s3, listed, wanted)
    assert list(read_list(photos.s3, manifest)) == [image.uri for image in in_library.images]
