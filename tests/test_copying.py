"""Class folders by copies: as listed or not at all, never twice, and through whatever S3 answers."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config
from PIL import Image

from gtlabel.aws import Aws
from gtlabel.datasets.consolidate import consolidate
from gtlabel.datasets.copying import SOURCE_ETAG, copy_missing, delete_sources, present_copies
from gtlabel.datasets.folders import Placement, find, place
from gtlabel.datasets.resize import parse_shape, resize_missing, resized
from gtlabel.errors import DatasetError, PictureChangedError, StorageError
from gtlabel.networks.preprocess import load_image
from gtlabel.storage import exists, list_objects, read, write
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

sys.path.append(str(Path(__file__).parent / "benchmarks"))

from distant import Answer, Distant, busy

PHOTOS = S3Uri("s3://photos/images/")
INTO = S3Uri("s3://photos/dataset/")


@pytest.fixture
def far() -> Iterator[Distant]:
    place = Distant()
    yield place
    place.close()


def client(far: Distant, connections: int = 16, tries: int = 1) -> S3Client:
    """A client of the distant S3; one try of its own, so that what is tried again is tried by us."""
    return boto3.client(
        "s3",
        endpoint_url=far.url,
        region_name="us-east-1",
        aws_access_key_id="AKIDEXAMPLE",
        aws_secret_access_key="none",
        config=Config(max_pool_connections=connections, retries={"total_max_attempts": tries}),
    )


def fill(far: Distant, count: int = 30) -> None:
    for number in range(count):
        far.put(f"photos/images/{number}.jpg", f"picture {number}".encode(), None)


def placed(s3: S3Client) -> list[Placement]:
    labeled = ((item, "Compost" if item.size % 2 else "Land fill") for item in list_objects(s3, PHOTOS))
    return list(place(labeled, INTO).values())


def bring(s3: S3Client, placements: list[Placement] | None = None, **options: Any) -> int:
    placements = placed(s3) if placements is None else placements
    return copy_missing(s3, placements, present_copies(s3, INTO, placements), **options)


class TestOnTheEmulator:
    @pytest.fixture
    def s3(self, gtlabel_aws: Aws) -> S3Client:
        gtlabel_aws.s3.create_bucket(Bucket="photos")
        return gtlabel_aws.s3

    def test_every_picture_is_copied_once(self, s3: S3Client) -> None:
        for number in range(20):
            write(s3, PHOTOS / f"{number}.jpg", f"picture {number}".encode(), "image/jpeg")
        assert bring(s3) == 20
        for item in placed(s3):
            assert read(s3, item.target) == read(s3, item.source.uri)
        assert bring(s3) == 0
        write(s3, PHOTOS / "3.jpg", b"a better one!", "image/jpeg")
        assert bring(s3) == 1

    def test_what_was_sent_in_parts_is_copied_once_and_keeps_its_headers(self, s3: S3Client) -> None:
        key = (PHOTOS / "large.jpg").key
        upload = s3.create_multipart_upload(
            Bucket="photos",
            Key=key,
            ContentType="image/jpeg",
            CacheControl="max-age=9",
            Metadata={"site": "7"},
        )["UploadId"]
        part = s3.upload_part(Bucket="photos", Key=key, UploadId=upload, PartNumber=1, Body=b"large picture")
        s3.complete_multipart_upload(
            Bucket="photos",
            Key=key,
            UploadId=upload,
            MultipartUpload={"Parts": [{"ETag": part["ETag"], "PartNumber": 1}]},
        )
        (item,) = placed(s3)
        assert "-" in item.source.etag
        assert (bring(s3), bring(s3)) == (1, 0)
        head = s3.head_object(Bucket="photos", Key=item.target.key)
        assert (head["ContentType"], head["CacheControl"]) == ("image/jpeg", "max-age=9")
        assert head["Metadata"] == {"site": "7", SOURCE_ETAG: item.source.etag}
        assert read(s3, item.target) == b"large picture"

    def test_a_bucket_with_versions_holds_the_picture_as_it_was_listed(self, s3: S3Client) -> None:
        s3.put_bucket_versioning(Bucket="photos", VersioningConfiguration={"Status": "Enabled"})
        write(s3, PHOTOS / "1.jpg", b"first")
        write(s3, PHOTOS / "1.jpg", b"second")
        placements = placed(s3)
        assert bring(s3) == 1
        assert read(s3, placements[0].target) == b"second"
        assert bring(s3) == 0

    def test_a_picture_deleted_after_it_was_listed_is_named(self, s3: S3Client) -> None:
        write(s3, PHOTOS / "1.jpg", b"first")
        placements = placed(s3)
        s3.delete_object(Bucket="photos", Key=(PHOTOS / "1.jpg").key)
        with pytest.raises(PictureChangedError, match=r"images/1\.jpg was deleted after it was listed"):
            bring(s3, placements)
        assert not exists(s3, placements[0].target)

    def test_moving_deletes_what_was_copied(self, s3: S3Client) -> None:
        for name in ("a b.jpg", "<&>.jpg", "ü%2B+.jpg", "\"'.jpg"):
            write(s3, PHOTOS / name, name.encode())
        placements = placed(s3)
        bring(s3)
        assert delete_sources(s3, placements) == 4
        assert list(list_objects(s3, PHOTOS)) == []
        assert {read(s3, item.target) for item in placements} == {
            item.source.uri.name.encode() for item in placements
        }


class TestFaults:
    def test_a_picture_that_changed_after_it_was_listed_is_refused(self, far: Distant) -> None:
        fill(far, 3)
        s3 = client(far)
        placements = placed(s3)
        far.put("photos/images/1.jpg", b"pictura 1", None)
        with pytest.raises(
            PictureChangedError, match=r"images/1\.jpg was changed .* running the same command"
        ):
            bring(s3, placements)
        assert b"pictura 1" not in far.tree("photos/dataset/").values()
        assert bring(s3) >= 1
        assert far.tree("photos/dataset/")["classes/Compost/1.jpg"] == b"pictura 1"
        assert far.copies.total() == 3

    @pytest.mark.parametrize("size", [20, 100])
    def test_copies_that_get_an_etag_of_their_own_are_recognized(self, far: Distant, size: int) -> None:
        far.encrypting = "photos/dataset/"
        fill(far, size)
        s3 = client(far)
        assert bring(s3) == size
        # Until the first answer tells, those under way do not know.
        assert far.copies.total() <= size + 16
        first = far.copies.total()
        assert bring(s3) == 0
        assert far.copies.total() == first

    def test_what_is_too_large_for_one_request_goes_in_parts(self, far: Distant) -> None:
        body = bytes(range(200)) * 3
        far.put("photos/images/large.jpg", body, None, **{"content-type": "image/jpeg"})
        s3 = client(far)
        assert bring(s3, largest=250) == 1
        assert far.tree("photos/dataset/classes/") == {"Land%20fill/large.jpg": body}
        assert far.requests["part"] == 3
        assert s3.head_object(Bucket="photos", Key=placed(s3)[0].target.key)["ContentType"] == "image/jpeg"
        assert bring(s3, largest=250) == 0

    def test_of_a_large_one_that_changes_half_way_nothing_is_to_be_seen(self, far: Distant) -> None:
        far.put("photos/images/large.jpg", bytes(600), None)
        s3 = client(far)
        placements = placed(s3)

        def change(**_: object) -> None:
            far.put("photos/images/large.jpg", bytes(599) + b"1", None)

        s3.meta.events.register("before-parameter-build.s3.UploadPartCopy", change)
        with pytest.raises(PictureChangedError):
            bring(s3, placements, largest=250)
        assert far.tree("photos/dataset/") == {}
        assert far.requests["abort"] == 1

    def test_a_storm_of_slow_downs_is_sat_out(self, far: Distant) -> None:
        fill(far, 40)
        met: dict[str, int] = {}

        def refuse(_source: str, target: str) -> Answer | None:
            met[target] = met.get(target, 0) + 1
            return busy() if met[target] <= 2 else None

        far.on_copy = refuse
        assert bring(client(far)) == 40
        assert len(far.tree("photos/dataset/")) == 40
        assert far.copies.total() == 40

    def test_no_more_is_under_way_than_the_client_has_connections(self, far: Distant) -> None:
        far.latency = 0.01
        fill(far, 60)
        bring(client(far, connections=7), workers=500)
        assert far.busiest == 7

    def test_after_a_refusal_nobody_begins_another(self, far: Distant) -> None:
        fill(far, 200)
        far.on_copy = lambda *_: (403, {}, b"<Error><Code>AccessDenied</Code></Error>")
        with pytest.raises(StorageError, match="lack s3:PutObject on s3://photos/dataset/classes/"):
            bring(client(far))
        assert far.requests["copy"] <= 32

    def test_what_became_something_else_is_not_deleted(self, far: Distant) -> None:
        fill(far, 3)
        s3 = client(far)
        placements = placed(s3)
        bring(s3)
        far.put("photos/images/1.jpg", b"newer", None)
        with pytest.raises(DatasetError, match=r"images/1\.jpg was copied but could not be deleted"):
            delete_sources(s3, placements)
        assert far.tree("photos/images/") == {"1.jpg": b"newer"}

    def test_progress_counts_what_was_there(self, far: Distant) -> None:
        fill(far, 5)
        s3 = client(far)
        placements = placed(s3)
        bring(s3, placements[:2])
        seen: list[tuple[int, int]] = []
        present = present_copies(s3, INTO, placements)
        copy_missing(s3, placements, present, on_progress=lambda done, total: seen.append((done, total)))
        assert seen == [(2, 5), (3, 5), (4, 5), (5, 5)]

    def test_pictures_that_are_gone_are_not_found(self, far: Distant) -> None:
        fill(far, 3)
        found = find(client(far), [PHOTOS / "1.jpg", PHOTOS / "9.jpg", S3Uri("s3://photos/other/1.jpg")])
        assert set(found) == {PHOTOS / "1.jpg"}


def picture(kind: str, size: tuple[int, int] = (40, 20), orientation: int = 1) -> bytes:
    image = Image.linear_gradient("L").resize(size).convert("RGB")
    file = BytesIO()
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(file, kind, exif=exif)
    return file.getvalue()


class TestResizing:
    def test_a_picture_has_the_shape_and_what_training_would_see(self) -> None:
        for kind in ("PNG", "JPEG"):
            data = picture(kind, orientation=6)
            body, content_type = resized(data, (8, 16))
            assert content_type == f"image/{kind.lower()}"
            assert Image.open(BytesIO(body)).size == (16, 8)
            assert resized(data, (8, 16)) == (body, content_type)
            off = abs(load_image(body, 8, 16) - load_image(data, 8, 16)).max()
            assert off <= (0 if kind == "PNG" else 6)

    def test_pictures_are_brought_to_the_shape_once(self, far: Distant) -> None:
        for number in range(6):
            far.put(f"photos/images/{number}.jpg", picture("JPEG", (40 + number, 20)), None)
        s3 = client(far)
        placements = placed(s3)

        def again(shape: tuple[int, int]) -> int:
            return resize_missing(s3, placements, present_copies(s3, INTO, placements), shape)

        assert (again((8, 8)), again((8, 8)), again((8, 9)), again((8, 9))) == (6, 0, 6, 0)
        for body in far.tree("photos/dataset/").values():
            assert Image.open(BytesIO(body)).size == (9, 8)
        assert bring(s3, placements) == 6

    def test_a_picture_that_cannot_be_read_is_named(self, far: Distant) -> None:
        far.put("photos/images/1.jpg", picture("JPEG")[:100], None)
        s3 = client(far)
        with pytest.raises(DatasetError, match=r"images/1\.jpg: these 100 bytes are not a readable picture"):
            resize_missing(s3, placed(s3), {}, (8, 8))
        assert far.tree("photos/dataset/") == {}

    def test_shapes_are_read_as_people_write_them(self) -> None:
        assert parse_shape("224") == (224, 224)
        assert parse_shape(" 224x320 ") == (224, 320)
        for text in ("", "0", "224x", "3,224,224", "99999", "-5"):
            with pytest.raises(DatasetError, match="is no shape of a picture; write 224"):
                parse_shape(text)

    def test_a_dataset_can_be_made_of_resized_pictures(self, far: Distant) -> None:
        lines = []
        for number in range(6):
            far.put(f"photos/images/{number}.png", picture("PNG"), None)
            said = {"class-name": ("Compost", "Recycle")[number % 2], "human-annotated": "yes"}
            line = {"source-ref": f"s3://photos/images/{number}.png", "bin": number % 2, "bin-metadata": said}
            lines.append(json.dumps(line))
        far.put("photos/output.manifest", "\n".join(lines).encode(), None)
        s3, manifest = client(far), S3Uri("s3://photos/output.manifest")
        dataset = consolidate(s3, [manifest], INTO, resize=(8, 16))
        whole = far.tree("photos/dataset/")
        pictures = [body for name, body in whole.items() if name.startswith("classes/")]
        assert [Image.open(BytesIO(body)).size for body in pictures] == [(16, 8)] * 6
        assert consolidate(s3, [manifest], INTO, resize=(8, 16)) == dataset
        assert far.tree("photos/dataset/") == whole
        with pytest.raises(DatasetError, match="resized while they are copied; leave out mode 'move'"):
            consolidate(s3, [manifest], INTO, resize=(8, 16), mode="move")


class TestBenchmarks:
    def test_a_killed_consolidation_ends_in_the_same_bytes_and_copies_nothing_twice(self) -> None:
        run = benchmark("dataset_kill.py", "--kills", "1", "--images", "40", "--no-pair")
        assert run.returncode == 0, run.stdout + run.stderr
        assert "faults: 0" in run.stdout

    def test_the_ways_to_copy_are_compared(self) -> None:
        run = benchmark("copies.py", "--images", "20", "--most", "20", "--rounds", "1", "--latency", "1")
        # So few tell nothing of the bars.
        assert run.returncode in (0, 1), run.stderr
        assert "CPU many / few" in run.stdout


def benchmark(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    program = Path(__file__).parent / "benchmarks" / name
    return subprocess.run(
        [sys.executable, program, *arguments], capture_output=True, text=True, check=False, timeout=120
    )
