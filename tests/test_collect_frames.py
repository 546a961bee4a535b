"""Frames that a camera is unsure of are kept on the device, within bounds, and come back to be labeled."""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance
from typer.testing import CliRunner

from gtlabel.cli.main import app
from gtlabel.edge.collect import Brought, FramesPlan, bring_frames, plan_frames
from gtlabel.edge.device.frames import UnsureFrames
from gtlabel.edge.device.looks import Look
from gtlabel.edge.kept import Place
from gtlabel.errors import EdgeError, FramesNotFoundError, ManifestLineError, NoImagesError
from gtlabel.storage import list_objects, read, read_lines, write
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

KEYS = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "none", "AWS_REGION": "us-east-1"}
LABELS = ("Compost", "Landfill", "Recycle")
MORNING = datetime(2026, 11, 23, 6, tzinfo=UTC)
UNSURE = S3Uri("s3://trash-photos/unsure/")


@cache
def scene(number: int) -> Image.Image:
    """What a camera may look at; no two numbers look alike."""
    blocks = np.random.default_rng(number).integers(0, 255, (6, 8, 3), np.uint8)
    return Image.fromarray(blocks).resize((64, 48), Image.Resampling.NEAREST)


def jpeg(picture: Image.Image, kind: str = "JPEG") -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind)
    return buffer.getvalue()


def answer(lead: float) -> list[float]:
    """A model's values for the three classes, the first leading by so much."""
    return [0.4 + lead / 2, 0.4 - lead / 2, 0.2]


class Camera:
    """A device that keeps what it is unsure of."""

    def __init__(self, folder: Path, thing: str = "kitchen", **options: Any) -> None:
        self.folder = folder
        self.thing = thing
        self.time = MORNING
        self.said: list[str] = []
        self.options = {"below": 0.6, "labels": LABELS, **options}
        self.start()

    def start(self) -> None:
        self.store = UnsureFrames(self.folder, now=lambda: self.time, say=self.said.append, **self.options)

    def sees(self, picture: bytes | int, lead: float = 0.1, **more: Any) -> bool:
        data = picture if isinstance(picture, bytes) else jpeg(scene(picture))
        values = answer(lead)
        line = {"label": "Compost", "confidence": max(values), "model": "f00d", "thing": self.thing, **more}
        return self.store.consider(data, values, {**line, "ts": self.time.isoformat()})

    def kept(self) -> dict[str, float]:
        """The sidecars' pictures with the lead of their first class."""
        sidecars = [json.loads(file.read_bytes()) for file in sorted(self.folder.rglob("*.json"))]
        assert {side["image"] for side in sidecars} == {
            file.name for file in self.folder.rglob("*") if file.is_file() and file.suffix != ".json"
        }
        return {side["image"]: round(side["values"][0] - side["values"][1], 6) for side in sidecars}

    def leads(self) -> list[float]:
        return sorted(self.kept().values())


@pytest.fixture
def camera(tmp_path: Path) -> Camera:
    return Camera(tmp_path / "unsure")


class TestOnTheDevice:
    def test_a_sure_answer_leaves_nothing_behind(self, camera: Camera) -> None:
        assert not camera.sees(1, lead=0.5)
        assert not camera.folder.exists()

    def test_an_unsure_frame_is_kept_as_the_camera_took_it_beside_what_the_model_said(
        self, camera: Camera
    ) -> None:
        assert camera.sees(1, lead=0.125, password="secret", broker="mqtt://me:secret@host")
        (sidecar,) = camera.folder.glob("2026-11-23/*.json")
        said = json.loads(sidecar.read_bytes())
        assert (sidecar.parent / said["image"]).read_bytes() == jpeg(scene(1))
        assert said["values"] == [0.4625, 0.3375, 0.2]
        assert {key: said[key] for key in ("labels", "label", "model", "thing", "ts")} == {
            "labels": list(LABELS),
            "label": "Compost",
            "model": "f00d",
            "thing": "kitchen",
            "ts": "2026-11-23T06:00:00+00:00",
        }
        assert "secret" not in sidecar.read_text()

    @pytest.mark.parametrize(("kind", "ending"), [("PNG", "png"), ("BMP", "jpg")])
    def test_what_workers_could_not_look_at_is_kept_as_jpeg(
        self, camera: Camera, kind: str, ending: str
    ) -> None:
        assert camera.sees(jpeg(scene(1), kind))
        assert [Path(name).suffix for name in camera.kept()] == [f".{ending}"]

    def test_what_is_no_picture_is_not_kept(self, camera: Camera) -> None:
        assert not camera.sees(b"no picture at all")
        assert not camera.folder.exists()

    @settings(max_examples=25, deadline=None)
    @given(
        leads=st.lists(st.integers(0, 10), max_size=12),
        per_day=st.integers(0, 5),
        restarts=st.sets(st.integers(0, 11)),
    )
    def test_a_days_budget_holds_the_least_sure_frames_whenever_they_came(
        self, leads: list[int], per_day: int, restarts: set[int]
    ) -> None:
        with tempfile.TemporaryDirectory() as folder:
            camera = Camera(Path(folder), per_day=per_day)
            for number, lead in enumerate(leads):
                if number in restarts:
                    camera.start()
                camera.sees(number, lead=lead / 100)
            assert camera.leads() == [lead / 100 for lead in sorted(leads)[:per_day]]

    def test_every_day_has_a_budget_of_its_own(self, tmp_path: Path) -> None:
        camera = Camera(tmp_path, per_day=2)
        for number in range(8):
            camera.time = MORNING + timedelta(days=number // 4)
            camera.sees(number, lead=number / 100)
        assert camera.leads() == [0.0, 0.01, 0.04, 0.05]

    def test_all_days_together_stay_within_the_bytes_that_were_given(self, tmp_path: Path) -> None:
        camera = Camera(tmp_path, max_bytes=8_000)
        for number in range(10):
            camera.time = MORNING + timedelta(days=number)
            assert camera.sees(number, lead=(10 - number) / 100)
            assert sum(file.stat().st_size for file in tmp_path.rglob("*") if file.is_file()) <= 8_000
        kept = camera.leads()
        assert len(kept) > 1
        assert kept == [number / 100 for number in range(1, len(kept) + 1)]
        assert not camera.sees(99, lead=0.2)

    @pytest.mark.parametrize(
        ("change", "again"),
        [
            (lambda picture: ImageEnhance.Brightness(picture).enhance(0.9), False),
            (lambda picture: picture.resize((80, 60)), False),
            (lambda picture: Image.merge("RGB", picture.split()[::-1]), True),
            (lambda picture: picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT), True),
        ],
        ids=["another light", "another size", "other colors", "mirrored"],
    )
    def test_a_scene_is_kept_once_however_long_the_camera_looks_at_it(
        self, camera: Camera, change: Callable[[Image.Image], Image.Image], again: bool
    ) -> None:
        assert camera.sees(1)
        camera.start()
        camera.time += timedelta(days=1)
        assert camera.sees(jpeg(change(scene(1)))) is again

    def test_a_scene_that_gave_way_does_not_come_back(self, tmp_path: Path) -> None:
        camera = Camera(tmp_path, per_day=1)
        assert camera.sees(1, lead=0.2)
        assert camera.sees(2, lead=0.1)
        assert not camera.sees(1, lead=0.05)

    def test_a_full_disk_is_told_once_and_the_camera_goes_on(self, camera: Camera) -> None:
        day = camera.folder / "2026-11-23"
        day.mkdir(parents=True)
        # The disk is full for the first two pictures: what is written to them goes to /dev/full.
        names = [_name(jpeg(scene(number))) for number in (1, 2)]
        for name in names:
            (day / f"{name}.jpg.part").symlink_to("/dev/full")
        assert not camera.sees(1)
        assert not camera.sees(2)
        assert camera.said == [f"unsure frames cannot be kept in {camera.folder}: No space left on device"]
        assert list(day.iterdir()) == []
        assert camera.sees(3)
        assert camera.said[1:] == [f"unsure frames are kept in {camera.folder} again"]

    def test_a_folder_that_cannot_be_one_stops_nothing(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        camera = Camera(tmp_path / "file" / "unsure")
        assert not camera.sees(1)
        assert len(camera.said) == 1

    def test_what_a_power_cut_left_half_written_is_cleared_away(self, camera: Camera) -> None:
        camera.sees(1)
        day = camera.folder / "2026-11-23"
        (day / f"{'0' * 20}.jpg").write_bytes(b"its sidecar was never written")
        (day / f"{'1' * 20}.json.part").write_bytes(b"{")
        (day / "holiday.jpg").write_bytes(b"the owner's own")
        camera.start()
        names = {file.name for file in day.iterdir()}
        assert len(names) == 3
        assert "holiday.jpg" in names

    def test_a_damaged_sidecar_is_named_and_costs_no_other_frame(self, camera: Camera) -> None:
        camera.sees(1)
        (sidecar,) = camera.folder.rglob("*.json")
        sidecar.write_text('{"values": "none"}')
        camera.start()
        assert [line for line in camera.said if sidecar.name in line and "damaged" in line] == camera.said
        assert camera.sees(2)


def _name(picture: bytes) -> str:
    from hashlib import sha256

    return sha256(picture).hexdigest()[:20]


def test_the_look_of_a_picture_survives_being_written() -> None:
    look = Look.of(jpeg(scene(1)))
    assert look is not None
    assert Look.read(str(look)) == look
    for text in ("", str(look)[:-2], "x" * len(str(look))):
        with pytest.raises(ValueError, match="not the look|non-hexadecimal"):
            Look.read(text)


def collect(
    s3: S3Client, *sources: Place, into: S3Uri = UNSURE, move: bool = False, **options: Any
) -> tuple[FramesPlan, Brought]:
    plan = plan_frames(s3, sources, into, **options)
    return plan, bring_frames(s3, plan, move=move)


def names(s3: S3Client, prefix: S3Uri = UNSURE) -> set[str]:
    return {stored.uri.name for stored in list_objects(s3, prefix)}


def files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


def two_cameras(folder: Path) -> list[Path]:
    """The disks of two cameras; the second is less sure of each frame, and frame 0 is the same on both."""
    for thing, first, lead in (("kitchen", 0, 0.02), ("garage", 10, 0.01)):
        camera = Camera(folder / thing / "work" / "unsure", thing)
        camera.sees(0, lead=lead)
        for number in range(1, 4):
            camera.sees(first + number, lead=number / 20 + lead)
    return [folder / "kitchen", folder / "garage"]


class TestComingBack:
    def test_the_least_sure_frames_of_all_cameras_become_pictures_to_label(
        self, s3: S3Client, tmp_path: Path
    ) -> None:
        words = ["edge", "collect", *map(str, two_cameras(tmp_path)), "--into", "s3://trash-photos/unsure"]
        result = CliRunner().invoke(app, [*words, "--most", "3", "--output", "json"], env=KEYS)
        printed = json.loads(result.stdout)
        frames = printed["frames"]
        assert [(frame["thing"], frame["margin"]) for frame in frames] == [
            ("garage", 0.99),
            ("garage", 0.94),
            ("kitchen", 0.93),
        ]
        label = "gtlabel label s3://trash-photos/unsure/ --classes Compost,Landfill,Recycle --new"
        assert printed["next"] == label
        assert label in result.stderr
        assert read(s3, S3Uri(frames[1]["uri"])) == jpeg(scene(11))
        lines = [json.loads(line) for line in read_lines(s3, UNSURE / "frames.manifest")]
        assert {line["source-ref"] for line in lines} == {frame["uri"] for frame in frames}
        said = {line["source-ref"]: line["gtlabel-frame"] for line in lines}[frames[0]["uri"]]
        assert (said["thing"], said["model"], said["ts"]) == ("garage", "f00d", "2026-11-23T06:00:00+00:00")
        assert said["labels"] == list(LABELS)

    def test_a_rehearsal_writes_nothing(self, s3: S3Client, tmp_path: Path) -> None:
        words = ["edge", "collect", *map(str, two_cameras(tmp_path)), "--into", UNSURE, "--most", "2"]
        result = CliRunner().invoke(app, [*words, "--move", "--dry-run"], env=KEYS)
        assert [line.split()[:6] for line in result.stdout.splitlines()] == [
            ["thing", "frames", "the", "least", "sure", "at"],
            ["garage", "2", "Compost", "40%", "or", "Landfill"],
        ]
        assert names(s3) == set()
        assert len(files(tmp_path)) == 16

    def test_the_same_command_again_brings_nothing_and_changes_nothing(
        self, s3: S3Client, tmp_path: Path
    ) -> None:
        disks = two_cameras(tmp_path)
        collect(s3, *disks, most=3)
        before = list(list_objects(s3, UNSURE))
        plan, brought = collect(s3, *disks, most=3)
        assert brought.frames == ()
        # The scene that both saw is one frame.
        assert len({plan.address(frame) for frame in plan.there}) == 3
        assert list(list_objects(s3, UNSURE)) == before

    def test_a_run_that_broke_off_ends_as_one_that_did_not(self, s3: S3Client, tmp_path: Path) -> None:
        disks = two_cameras(tmp_path)
        collect(s3, *disks)
        whole = {stored.uri: stored.etag for stored in list_objects(s3, UNSURE)}
        for lost in (UNSURE / "frames.manifest", min(whole)):
            s3.delete_object(Bucket=lost.bucket, Key=lost.key)
        collect(s3, *disks)
        assert {stored.uri: stored.etag for stored in list_objects(s3, UNSURE)} == whole

    def test_later_frames_join_those_of_an_earlier_run(self, s3: S3Client, tmp_path: Path) -> None:
        kitchen, garage = two_cameras(tmp_path)
        collect(s3, kitchen)
        collect(s3, garage)
        assert len(list(read_lines(s3, UNSURE / "frames.manifest"))) == 7

    @pytest.mark.parametrize("earlier", [0, 1], ids=["the first", "a later"])
    def test_of_two_runs_at_once_none_loses_what_the_other_brought(
        self, s3: S3Client, tmp_path: Path, earlier: int
    ) -> None:
        disks = two_cameras(tmp_path)
        camera = Camera(tmp_path / "yard")
        camera.sees(99)
        if earlier:
            collect(s3, tmp_path / "yard")
        one, other = (plan_frames(s3, [disk], UNSURE) for disk in disks)
        waiting = [other]

        def between(params: dict[str, Any], **_: Any) -> None:
            if params["url_path"].endswith("frames.manifest") and waiting:
                bring_frames(s3, waiting.pop())

        # The other run lists its frames after this one has read the list and before it writes it.
        s3.meta.events.register("before-call.s3.PutObject", between)
        bring_frames(s3, one)
        assert waiting == []
        assert len(list(read_lines(s3, UNSURE / "frames.manifest"))) == 7 + earlier

    def test_what_the_dataset_shows_already_is_passed_over(self, s3: S3Client, tmp_path: Path) -> None:
        bins = S3Uri("s3://trash-photos/bins/")
        brighter = ImageEnhance.Brightness(scene(1)).enhance(1.1)
        write(s3, bins / "classes/compost/brighter.jpg", jpeg(brighter))
        write(s3, S3Uri("s3://trash-photos/elsewhere/2.png"), jpeg(scene(2), "PNG"))
        named = b'{"source-ref": "s3://trash-photos/%s"}\n'
        write(s3, bins / "train.manifest", named % b"elsewhere/2.png" + named % b"gone.jpg")
        write(s3, bins / "certificate.jsonl", b'{"sha256": "not a manifest"}\n')
        kitchen, _ = two_cameras(tmp_path)
        listed = S3Uri("s3://trash-photos/list.jsonl")
        write(s3, listed, named % b"elsewhere/2.png")
        assert len(plan_frames(s3, [kitchen], UNSURE, known=[listed]).copies) == 1
        plan, brought = collect(s3, kitchen, known=[bins])
        assert len(brought.frames) == 2
        assert {copy.of for copy in plan.copies} == {
            "s3://trash-photos/bins/classes/compost/brighter.jpg",
            "s3://trash-photos/elsewhere/2.png",
        }
        # Frames that were collected before are known as well.
        assert len(plan_frames(s3, [kitchen], S3Uri("s3://trash-photos/more/"), known=[UNSURE]).chosen) == 2

    def test_only_moving_takes_frames_from_a_device(self, s3: S3Client, tmp_path: Path) -> None:
        disks = two_cameras(tmp_path)
        frames = files(tmp_path)
        collect(s3, *disks, most=3)
        assert files(tmp_path) == frames
        # The scene that both saw leaves both; what was not brought stays.
        assert collect(s3, *disks, most=3, move=True)[1].removed == 4
        assert len(files(tmp_path)) == len(frames) - 8
        assert len(collect(s3, *disks, move=True)[1].frames) == 4
        assert files(tmp_path) == set()
        assert collect(s3, *disks, move=True)[1].frames == ()

    def test_a_damaged_frame_is_left_where_it_is_and_named(self, s3: S3Client, tmp_path: Path) -> None:
        kitchen, _ = two_cameras(tmp_path)
        first, second, third, fourth = sorted(kitchen.rglob("*.json"))
        first.write_text("{")
        second.with_suffix(".jpg").write_bytes(jpeg(scene(77)))
        third.with_suffix(".jpg").unlink()
        _, brought = collect(s3, kitchen, move=True)
        reasons = {Path(each.place).stem: each.reason for each in brought.unusable}
        assert reasons[first.stem].startswith("is not what a device writes beside a frame")
        assert reasons[second.stem] == "is not the picture that the device kept; its disk may be damaged"
        assert reasons[third.stem].startswith("cannot be read: ")
        assert names(s3) == {f"{fourth.stem}.jpg", "frames.manifest"}
        assert first.exists()
        assert second.with_suffix(".jpg").exists()

    def test_frames_come_from_a_prefix_that_a_camera_was_copied_to(
        self, s3: S3Client, tmp_path: Path
    ) -> None:
        kitchen, _ = two_cameras(tmp_path)
        synced = S3Uri("s3://trash-photos/synced/kitchen/")
        for file in files(kitchen):
            write(s3, synced / file.relative_to(kitchen).as_posix(), file.read_bytes())
        assert len(collect(s3, synced)[1].frames) == 4
        with pytest.raises(EdgeError, match="leave out --move"):
            collect(s3, synced, move=True)
        with pytest.raises(EdgeError, match="overlap"):
            collect(s3, synced, into=S3Uri("s3://trash-photos/synced/"))

    def test_entropy_may_decide_what_is_unsure(self, s3: S3Client, tmp_path: Path) -> None:
        camera = Camera(tmp_path / "unsure")
        for number, values in enumerate(([0.49, 0.48, 0.03], [0.4, 0.3, 0.3])):
            camera.store.consider(jpeg(scene(number)), values, {"thing": "kitchen"})
        first = plan_frames(s3, [tmp_path], UNSURE, most=1)
        assert [round(frame.margin, 6) for frame in first.chosen] == [0.99]
        first = plan_frames(s3, [tmp_path], UNSURE, most=1, by="entropy")
        assert [round(frame.margin, 6) for frame in first.chosen] == [0.9]

    def test_who_looks_in_the_wrong_place_is_told(self, s3: S3Client, tmp_path: Path) -> None:
        with pytest.raises(FramesNotFoundError, match="there is no folder .*/none;"):
            collect(s3, tmp_path / "none")
        with pytest.raises(FramesNotFoundError, match="--set unsure=FOLDER"):
            collect(s3, tmp_path)
        kitchen, _ = two_cameras(tmp_path)
        with pytest.raises(NoImagesError, match="check --known"):
            collect(s3, kitchen, known=[S3Uri("s3://trash-photos/none/")])
        write(s3, UNSURE / "frames.manifest", b'{"source-ref": "s3://trash-photos/unsure/a.jpg"}\n')
        with pytest.raises(ManifestLineError, match=r"frames\.manifest, line 1"):
            collect(s3, kitchen)
