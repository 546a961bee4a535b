"""Pictures: found, looked into, uploaded."""

from __future__ import annotations

import io
import os
import signal
import struct
import subprocess
import sys
import tracemalloc
import zlib
from base64 import b64encode
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gtlabel.aws import Aws
from gtlabel.errors import BucketNotFoundError, ClassListError, ManifestError, NoImagesError
from gtlabel.images.checks import AUTOMATED, MAX_BYTES, Facts, UnsoundPictureError, examine, find_problem
from gtlabel.images.listing import list_images, look_into
from gtlabel.images.parallel import in_parallel
from gtlabel.images.selection import select_images
from gtlabel.images.upload import upload_folder
from gtlabel.labeling.inputs import MAX_IMAGES, manifest_lines, read_classes, write_inputs
from gtlabel.manifests.lines import MAX_LINE_CHARACTERS, write_image, write_record
from gtlabel.manifests.records import ManifestRecord
from gtlabel.storage import list_objects, read
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

TRASH = Path(__file__).parent.parent / "samples" / "trash" / "images"
# A photograph of 218 kB that a phone held upright stored lying: Exif orientation 6.
TURNED = Path(__file__).parent / "recorded" / "litter" / "turned.jpg"


def jpeg(width: int = 40, height: int = 30, **options: object) -> bytes:
    """A JPEG of a colour ramp: no two rows alike, so that it does not compress to nothing."""
    image = Image.linear_gradient("L").resize((width, height)).convert("RGB")
    body = io.BytesIO()
    image.save(body, "JPEG", **options)
    return body.getvalue()


def png(width: int = 40, height: int = 30) -> bytes:
    body = io.BytesIO()
    Image.new("RGB", (width, height), "teal").save(body, "PNG")
    return body.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def empty_png(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds no pixels worth speaking of."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"x") + chunk(b"IEND", b"")


class Counted:
    """A picture that is fetched in parts, and how much of it was."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.bytes = self.requests = 0

    def __call__(self, start: int, length: int) -> bytes:
        assert 0 <= start < len(self.data), "S3 answers 416 to this"
        assert length > 0
        part = self.data[start : start + length]
        self.bytes += len(part)
        self.requests += 1
        return part

    def facts(self) -> Facts:
        return examine(len(self.data), self)


def facts(data: bytes) -> Facts:
    return Counted(data).facts()


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"quality": 100}, {"restart_marker_rows": 1}])
def test_a_sound_jpeg_tells_its_size(options: dict[str, object]) -> None:
    data = jpeg(123, 45, **options)
    found = facts(data)
    assert (found.format, found.width, found.height) == ("JPEG", 123, 45)


def test_a_sound_png_tells_its_size() -> None:
    data = png(17, 99)
    found = facts(data)
    assert (found.format, found.width, found.height) == ("PNG", 17, 99)


@given(cut=st.floats(0.02, 0.99), progressive=st.booleans())
def test_a_jpeg_that_was_cut_anywhere_is_noticed(cut: float, progressive: bool) -> None:
    whole = jpeg(200, 150, progressive=progressive)
    assert find_problem(whole) is None
    assert find_problem(whole[: int(len(whole) * cut)]) is not None


@given(cut=st.floats(0.02, 0.99))
def test_a_png_that_was_cut_anywhere_is_noticed(cut: float) -> None:
    whole = png(60, 60)
    assert find_problem(whole[: int(len(whole) * cut)]) is not None


@given(data=st.binary(max_size=400), start=st.sampled_from([b"", b"\xff\xd8", b"\x89PNG\r\n\x1a\n"]))
def test_arbitrary_bytes_are_refused_with_a_sentence_and_never_crash(data: bytes, start: bytes) -> None:
    found = find_problem(start + data)
    assert found is None or found.startswith(("is ", "has "))


def test_every_cut_of_a_real_photograph_is_noticed() -> None:
    whole = next(iter(sorted(TRASH.glob("*.jpg")))).read_bytes()
    assert find_problem(whole) is None
    missed = [length for length in range(2, len(whole) - 1, 7) if find_problem(whole[:length]) is None]
    assert missed == []


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "is empty"),
        (b"hello, I am a text file", "is neither JPEG nor PNG, it begins with b'hello, I am '"),
        (b"GIF89a" + bytes(100), "is a GIF picture; save it as JPEG or PNG"),
        (b"\0\0\0\x18ftypheic" + bytes(100), "is a HEIC picture; save it as JPEG or PNG"),
        (b"RIFF\x24\0\0\0WEBPVP8 ", "is a WebP picture; save it as JPEG or PNG"),
        (b"\xff\xd8\xff\xd9", "is a JPEG without a frame"),
    ],
)
def test_what_is_no_picture_is_called_by_its_name(data: bytes, sentence: str) -> None:
    found = find_problem(data)
    assert found is not None
    assert found.startswith(sentence)


@pytest.mark.parametrize("length", [30, 300, 3_000, 30_000])
@pytest.mark.parametrize("order", ["II", "MM"])
def test_the_orientation_is_read_from_among_whatever_cameras_write(length: int, order: str) -> None:
    exif = Image.Exif()
    exif.endian = {"II": "<", "MM": ">"}[order]
    exif[0x0112], exif[0x010F], exif[0x927C] = 8, "Camera", bytes(length)
    data = jpeg(640, 480, quality=95, exif=exif)
    assert facts(data) == Facts("JPEG", 640, 480, orientation=8)
    assert facts(data).is_turned
    turned_png = io.BytesIO()
    Image.new("RGB", (40, 30)).save(turned_png, "PNG", exif=exif)
    assert facts(turned_png.getvalue()) == Facts("PNG", 40, 30, orientation=8)


def test_a_photograph_of_a_phone_is_turned_as_its_exif_says() -> None:
    assert facts(TURNED.read_bytes()) == Facts("JPEG", 1280, 722, orientation=6)


def test_a_look_at_a_photograph_takes_two_requests_and_a_hundredth_of_its_bytes() -> None:
    look = Counted(TURNED.read_bytes())
    look.facts()
    assert look.requests == 2
    assert look.bytes * 100 <= len(look.data)


def test_thumbnails_and_profiles_are_jumped_over() -> None:
    exif = Image.Exif()
    exif[0x927C] = bytes(20_000)
    look = Counted(jpeg(1600, 1200, quality=95, exif=exif, icc_profile=bytes(100_000)))
    assert look.facts() == Facts("JPEG", 1600, 1200)
    assert look.requests <= 6
    assert look.bytes * 10 <= len(look.data)


def test_notes_that_cameras_write_behind_the_picture_cost_a_longer_look_at_its_end() -> None:
    look = Counted(TURNED.read_bytes() + b"SEFT" + bytes(8_000))
    assert look.facts().orientation == 6
    assert look.bytes < 20_000


@given(cut=st.floats(0.001, 0.999), trailer=st.sampled_from([0, 50, 5_000]), fill=st.integers(0, 3))
def test_a_look_at_parts_finds_what_a_look_at_all_of_it_finds(cut: float, trailer: int, fill: int) -> None:
    sound = TURNED.read_bytes()
    whole = sound[:2] + b"\xff" * fill + sound[2:] + bytes(trailer)
    for data in (whole, whole[: int(len(sound) * cut)]):
        parts = Counted(data)
        try:
            seen: Facts | str = parts.facts()
        except UnsoundPictureError as problem:
            seen = str(problem)
        everything = find_problem(data + bytes(0))
        assert (seen if isinstance(seen, str) else None) == everything
        assert isinstance(seen, Facts) == (data is whole)


@given(data=st.binary(max_size=30_000), start=st.sampled_from([b"\xff\xd8", b"\x89PNG\r\n\x1a\n"]))
def test_headers_of_any_bytes_end_in_a_verdict_after_few_requests(data: bytes, start: bytes) -> None:
    look = Counted(start + data)
    with suppress(UnsoundPictureError):
        look.facts()
    assert look.requests <= 12


@pytest.mark.parametrize("marker", [0xC3, 0xC9])
def test_codings_that_browsers_do_not_show_are_refused(marker: int) -> None:
    data = jpeg().replace(b"\xff\xc0", bytes([0xFF, marker]), 1)
    assert find_problem(data) == (
        f"is a JPEG that browsers do not show (frame {marker:#04x}, 8 bits a color); save it as a plain one"
    )


def test_a_png_with_a_wrong_checksum_is_damaged() -> None:
    data = bytearray(png(400, 400))
    data[len(data) // 2] ^= 0xFF
    assert find_problem(bytes(data)) == "is a damaged PNG, a checksum is wrong at byte 33"


def test_limits_of_the_service_are_checked_before_a_worker_meets_them() -> None:
    with pytest.raises(UnsoundPictureError, match="is 40.0 MB long; the limit is 40 MB"):
        examine(MAX_BYTES + 1, lambda _start, _length: b"")
    assert (
        find_problem(empty_png(20_000, 20_000)) == "has 20000x20000 pixels; the limit is 100,000,000 in all"
    )


@pytest.mark.parametrize(
    ("width", "height", "fits"),
    [(3840, 2160, True), (2160, 3840, True), (3841, 8, False), (2161, 2161, False)],
)
def test_automated_labeling_has_a_limit_of_its_own(width: int, height: int, fits: bool) -> None:
    data = empty_png(width, height)
    assert find_problem(data) is None
    sentence = f"has {width}x{height} pixels; automated labeling takes at most 3840x2160"
    assert find_problem(data, AUTOMATED) == (None if fits else sentence)


@pytest.fixture
def bucket(gtlabel_aws: Aws) -> S3Uri:
    gtlabel_aws.s3.create_bucket(Bucket="pictures")
    return S3Uri("s3://pictures/")


def test_unusable_pictures_are_set_aside_with_their_reason(gtlabel_aws: Aws, bucket: S3Uri) -> None:
    large = jpeg(1600, 1200, quality=95)
    assert len(large) > 50_000
    objects = {
        "a/sound.jpg": jpeg(),
        "a/large.jpg": large,
        "a/with-trailer.jpg": large + bytes(10_000),
        "a/cut.jpg": jpeg()[:-40],
        "a/large-cut.jpg": large[:-5_000],
        "a/text.jpg": b"not a picture",
        "a/empty.png": b"",
        "a/notes.txt": b"ignored",
        "b/elsewhere.jpg": jpeg(),
    }
    for key, body in objects.items():
        gtlabel_aws.s3.put_object(Bucket="pictures", Key=key, Body=body)
    usable = select_images(gtlabel_aws.s3, bucket / "a/")
    assert [image.uri.name for image in usable.images] == ["large.jpg", "sound.jpg", "with-trailer.jpg"]
    assert {refusal.uri.name: refusal.reason for refusal in usable.refused} == {
        "cut.jpg": "is a JPEG that is cut off",
        "empty.png": "is empty",
        "large-cut.jpg": "is a JPEG that is cut off",
        "text.jpg": "is neither JPEG nor PNG, it begins with b'not a pictur'",
    }


def test_a_picture_that_was_replaced_by_a_shorter_one_is_seen_as_it_is_now(
    gtlabel_aws: Aws, bucket: S3Uri
) -> None:
    gtlabel_aws.s3.put_object(Bucket="pictures", Key="a.jpg", Body=jpeg(1600, 1200, quality=95))
    gtlabel_aws.s3.put_object(Bucket="pictures", Key="b.jpg", Body=jpeg())
    listed = list(list_images(gtlabel_aws.s3, bucket))
    gtlabel_aws.s3.put_object(Bucket="pictures", Key="a.jpg", Body=jpeg()[:300])
    gtlabel_aws.s3.delete_object(Bucket="pictures", Key="b.jpg")
    assert [look_into(gtlabel_aws.s3, image) for image in listed] == [
        "is a JPEG that is cut off",
        "was deleted since it was listed",
    ]
    with pytest.raises(NoImagesError, match="none of the 1 pictures can be used; .*is a JPEG .* cut off"):
        select_images(gtlabel_aws.s3, bucket)


def test_a_prefix_without_pictures_says_what_is_there_instead(gtlabel_aws: Aws, bucket: S3Uri) -> None:
    gtlabel_aws.s3.put_object(Bucket="pictures", Key="a/notes.txt", Body=b"x")
    with pytest.raises(
        NoImagesError, match="no .jpg, .jpeg, .png pictures under s3://pictures/a/, only 1 other"
    ):
        list(list_images(gtlabel_aws.s3, bucket / "a/"))


def test_a_bucket_that_does_not_exist_is_named(gtlabel_aws: Aws) -> None:
    with pytest.raises(BucketNotFoundError, match="the bucket 'no-such-bucket' does not exist"):
        list(list_images(gtlabel_aws.s3, S3Uri("s3://no-such-bucket/a/")))


def test_an_upload_sends_only_what_is_not_there_yet(gtlabel_aws: Aws, bucket: S3Uri, tmp_path: Path) -> None:
    (tmp_path / "shelf two").mkdir()
    (tmp_path / "one.jpg").write_bytes(jpeg())
    (tmp_path / "shelf two" / "ü+%.PNG").write_bytes(png())
    (tmp_path / "notes.txt").write_text("not a picture")
    seen: list[tuple[int, int]] = []
    uris = upload_folder(
        gtlabel_aws.s3, tmp_path, bucket / "in", on_progress=lambda done, total: seen.append((done, total))
    )
    assert uris == ["s3://pictures/in/one.jpg", "s3://pictures/in/shelf two/ü+%.PNG"]
    assert seen == [(1, 2), (2, 2)]

    first = gtlabel_aws.s3.head_object(Bucket="pictures", Key="in/one.jpg")["LastModified"]
    (tmp_path / "shelf two" / "ü+%.PNG").write_bytes(png(50, 50))
    upload_folder(gtlabel_aws.s3, tmp_path, bucket / "in")
    assert gtlabel_aws.s3.head_object(Bucket="pictures", Key="in/one.jpg")["LastModified"] == first
    changed = gtlabel_aws.s3.get_object(Bucket="pictures", Key="in/shelf two/ü+%.PNG")["Body"].read()
    assert changed == png(50, 50)


def upload_in_parts(s3: S3Client, uri: S3Uri, body: bytes, metadata: dict[str, str]) -> None:
    """Give an object the kind of ETag that is not the MD5 of its content."""
    upload = s3.create_multipart_upload(Bucket=uri.bucket, Key=uri.key, Metadata=metadata)["UploadId"]
    part = s3.upload_part(Bucket=uri.bucket, Key=uri.key, UploadId=upload, PartNumber=1, Body=body)
    s3.complete_multipart_upload(
        Bucket=uri.bucket,
        Key=uri.key,
        UploadId=upload,
        MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]},
    )


def test_an_upload_is_compared_by_content_where_the_etag_says_nothing(
    gtlabel_aws: Aws, bucket: S3Uri, tmp_path: Path
) -> None:
    body = jpeg(200, 100)
    (tmp_path / "one.jpg").write_bytes(body)
    (tmp_path / "._one.jpg").write_bytes(b"a resource fork")
    s3 = gtlabel_aws.s3
    upload_folder(s3, tmp_path, bucket / "in")
    left = s3.head_object(Bucket="pictures", Key="in/one.jpg", ChecksumMode="ENABLED")
    assert left["ChecksumSHA256"] == b64encode(sha256(body).digest()).decode()
    assert left["ContentType"] == "image/jpeg"
    for metadata, sent_again in (({"sha256": sha256(body).hexdigest()}, False), ({}, True)):
        upload_in_parts(s3, bucket / "in/one.jpg", body, metadata)
        upload_folder(s3, tmp_path, bucket / "in")
        etag = s3.head_object(Bucket="pictures", Key="in/one.jpg")["ETag"]
        assert ("-1" not in etag) is sent_again
    assert [item.uri.key for item in list_objects(s3, bucket)] == ["in/one.jpg"]


def test_an_interrupted_upload_leaves_whole_pictures_and_is_simply_started_once_more(
    gtlabel_aws: Aws, bucket: S3Uri, tmp_path: Path
) -> None:
    for number in range(600):
        (tmp_path / f"{number:03}.jpg").write_bytes(jpeg() + number.to_bytes(2))
    program = (
        "import sys, boto3\nfrom pathlib import Path\nfrom gtlabel.images.upload import upload_folder\n"
        "from gtlabel.uris import S3Uri\n"
        "show = lambda done, total: print(done, flush=True)\n"
        "upload_folder(boto3.client('s3'), Path(sys.argv[1]), S3Uri(sys.argv[2]), on_progress=show)\n"
    )
    upload = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path), bucket],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ,
    )
    assert upload.stdout is not None
    while upload.stdout.readline() != b"20\n":
        assert upload.poll() is None
    upload.send_signal(signal.SIGINT)
    _, complaint = upload.communicate(timeout=120)
    assert b"KeyboardInterrupt" in complaint
    there = {item.uri: item for item in list_objects(gtlabel_aws.s3, bucket)}
    assert 20 <= len(there) < 600
    for uri in there:
        assert read(gtlabel_aws.s3, uri) == (tmp_path / uri.name).read_bytes()

    sent: list[str] = []
    gtlabel_aws.s3.meta.events.register(
        "before-call.s3.PutObject", lambda params, **_: sent.append(params["url_path"])
    )
    assert len(upload_folder(gtlabel_aws.s3, tmp_path, bucket)) == 600
    assert len(sent) == 600 - len(there)
    assert len(list(list_objects(gtlabel_aws.s3, bucket))) == 600


def test_work_in_parallel_comes_in_order_and_stops_with_its_reader() -> None:
    begun: list[int] = []

    def work(number: int) -> int:
        begun.append(number)
        return -number

    assert list(in_parallel(work, range(500), 4)) == [(number, -number) for number in range(500)]
    begun.clear()
    for number, _ in in_parallel(work, iter(range(10**9)), 4):
        if number == 10:
            break
    assert len(begun) < 100


@given(key=st.text(min_size=1, max_size=40).filter(lambda text: text.isprintable() or "\u2028" in text))
def test_the_short_way_to_a_line_makes_the_same_bytes_as_the_long_one(key: str) -> None:
    uri = S3Uri.of("pictures", key)
    assert S3Uri("s3://pictures/x").at(key) == uri
    assert S3Uri("s3://pictures/x").at(key).key == key
    assert write_image(uri) == write_record(ManifestRecord.of(uri))


def test_a_line_longer_than_the_service_reads_is_refused() -> None:
    fits = S3Uri.of("pictures", "k" * (MAX_LINE_CHARACTERS - len('{"source-ref":"s3://pictures/"}')))
    assert len(write_image(fits)) == MAX_LINE_CHARACTERS
    with pytest.raises(ManifestError, match="it has 100,001 characters; Ground Truth reads at most 100,000"):
        write_image(S3Uri(f"{fits}k"))
    with pytest.raises(ManifestError, match="it names a bucket and no image in it"):
        write_image(S3Uri("s3://pictures/"))


def test_a_manifest_is_written_in_memory_that_does_not_grow_with_it(gtlabel_aws: Aws, bucket: S3Uri) -> None:
    folder = "k" * 400
    peaks = {}
    for count in (20_000, 80_000):
        images = (bucket.at(f"{folder}/{number}.jpg") for number in range(count))
        tracemalloc.start()
        inputs = write_inputs(gtlabel_aws.s3, images, ["a", "b"], "page", bucket / "job/")
        peaks[count] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        size = gtlabel_aws.s3.head_object(Bucket="pictures", Key=inputs.manifest.key)["ContentLength"]
        assert inputs.images == count
        assert size > count * 400
    assert peaks[80_000] < peaks[20_000] * 1.25


def test_a_manifest_takes_records_with_what_is_known_of_them_and_no_more_lines_than_a_job(
    bucket: S3Uri,
) -> None:
    line = b'{"source-ref":"s3://pictures/a.jpg","pile":0}'
    record = ManifestRecord.from_line(line.decode())
    assert list(manifest_lines([record, bucket / "b.jpg"])) == [line, b'{"source-ref":"s3://pictures/b.jpg"}']
    with pytest.raises(ManifestError, match="more than 100,000 images"):
        sum(1 for _ in manifest_lines(bucket.at(f"{number}") for number in range(MAX_IMAGES + 1)))


def test_classes_are_read_from_a_text_or_from_the_file_of_an_earlier_job(tmp_path: Path) -> None:
    file = tmp_path / "classes"
    for text in ("\ufeffCompost\r\nLandfill\n\n", '{"labels":[{"label":"Compost"},{"label":"Landfill"}]}'):
        file.write_text(text, encoding="utf-8")
        assert list(read_classes(file)) == ["Compost", "Landfill"]
    file.write_bytes(b"Compost\n\xff")
    with pytest.raises(ClassListError, match="classes is not UTF-8: byte 9"):
        read_classes(file)
