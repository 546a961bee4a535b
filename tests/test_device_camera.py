"""Cameras as the program of a bundle reads them: the newest picture, and patience."""

from __future__ import annotations

import contextlib
import io
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from camera_parts import GRAY, GREEN, PHOTOS, RED, Told, WebCamera, recording, without_tables
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gtlabel.edge.device.arguments import parse
from gtlabel.edge.device.camera import Camera, ways
from gtlabel.edge.device.ending import RunError, Stop
from gtlabel.edge.device.logins import Login, broker, camera_login
from gtlabel.edge.device.mjpeg import Splitter
from gtlabel.networks.preprocess import load_image

_SILENCE = 30.0
OWNER = Login("owner", "garden")


@contextlib.contextmanager
def camera(
    *addresses: object, command: tuple[str, ...] = (), silence: float = _SILENCE, login: Login | None = OWNER
) -> Iterator[tuple[Camera, Told]]:
    """A camera that is read, and what is told of it."""
    stop, told = Stop(), Told()
    found = ways([str(one) for one in addresses], command, stop, silence, login=login)
    reading = Camera(found, stop, told)
    try:
        yield reading, told
    finally:
        stop.ask()
        reading.close()


def with_thumbnail(jpeg: bytes) -> bytes:
    """A JPEG with another one in its EXIF part, as cameras write them."""
    body = b"Exif\0\0" + GRAY
    return jpeg[:2] + b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body + jpeg[2:]


def progressive() -> bytes:
    buffer = io.BytesIO()
    Image.open(PHOTOS[0]).save(buffer, "JPEG", progressive=True)
    return buffer.getvalue()


PICTURES = [PHOTOS[0].read_bytes(), RED, with_thumbnail(GREEN), without_tables(RED), progressive()]
# Whatever lies between two pictures, and does not look like the beginning of one.
between = st.binary(max_size=20).filter(lambda junk: b"\xff" not in junk)


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(PICTURES), between), max_size=6), st.lists(st.integers(1, 3000)))
def test_pictures_come_out_of_a_stream_as_they_went_in_however_it_is_cut(
    shown: list[tuple[bytes, bytes]], cuts: list[int]
) -> None:
    stream = io.BytesIO(b"".join(one + junk for one, junk in shown))
    splitter = Splitter()
    got = [one for cut in cuts for one in splitter.feed(stream.read(cut))] + splitter.feed(stream.read())
    assert got == [one for one, _ in shown]
    assert splitter.broken == 0


@settings(deadline=None)
@given(st.sampled_from(PICTURES), st.data(), between)
def test_after_a_picture_that_lost_its_end_the_stream_is_soon_in_step_again(
    broken: bytes, data: st.DataObject, junk: bytes
) -> None:
    cut = data.draw(st.integers(3, len(broken) - 2))
    splitter = Splitter()
    # A length that lost its part may reach over as much as 64 KiB of what follows.
    got = splitter.feed(GREEN + broken[:cut] + junk + RED * (65_536 // len(RED) + 10))
    assert got[0] == GREEN
    assert got[-5:] == [RED] * 5


def test_a_picture_without_an_end_does_not_fill_the_memory() -> None:
    splitter = Splitter(most_bytes=10_000)
    assert splitter.feed(RED[:-2] + bytes(20_000) + GREEN) == [GREEN]
    assert splitter.broken == 1


def test_pictures_of_cameras_that_leave_the_huffman_tables_out_are_read_alike() -> None:
    photo = io.BytesIO()
    Image.open(PHOTOS[0]).save(photo, "JPEG")
    whole = photo.getvalue()
    assert (load_image(without_tables(whole), 224, 224) == load_image(whole, 224, 224)).all()


def test_a_fifo_gives_its_newest_picture_and_the_older_ones_are_passed_over(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "out.mjpeg")
    with camera(tmp_path / "out.mjpeg") as (reading, told):
        with (tmp_path / "out.mjpeg").open("wb") as vendor:
            vendor.write(RED * 19 + GREEN)
        told.wait_for("is gone: it ended")
        newest = next(iter(reading))
        assert (newest.data, newest.origin["frame"], reading.passed) == (GREEN, 20, 19)
        with (tmp_path / "out.mjpeg").open("wb", buffering=0) as vendor:
            vendor.write(RED)
            assert next(iter(reading)).data == RED
        assert told.wait_for("gives pictures") == f"the camera {tmp_path}/out.mjpeg gives pictures"


def test_a_recording_gives_every_picture_and_ends(tmp_path: Path) -> None:
    shown = [path.read_bytes() for path in PHOTOS[:12]]
    with camera(recording(tmp_path / "day.mjpeg", shown)) as (reading, told):
        assert [one.data for one in reading] == shown
    assert (reading.pictures, reading.passed, told.sentences) == (12, 0, [])


def test_a_camera_of_the_web_that_goes_and_comes_back_is_told_once_each() -> None:
    web = WebCamera()
    with contextlib.closing(web), camera(web.url) as (reading, told):
        pictures = iter(reading)
        web.show(RED)
        assert next(pictures).data == RED
        web.hang_up()
        gone = told.wait_for("is gone")
        web.show(GREEN)
        assert next(pictures).data == GREEN
    name = f"http://{web.origin}/video"
    assert gone == f"the camera {name} is gone: it ended; it is looked for until it is back"
    assert told.sentences[1:] == [f"the camera {name} gives pictures"]


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("{origin}/page", "it answers text/html, which is neither MJPEG nor a JPEG"),
        ("{origin}/newest.jpg", "its picture is empty"),
        ("127.0.0.1:1/video", "Connection refused"),
        ("127.0.0.1:no/video", "this is no address"),
    ],
)
def test_why_a_camera_of_the_web_gives_nothing_is_told_without_its_password(path: str, problem: str) -> None:
    web = WebCamera()
    address = "http://owner:garden@" + path.format(origin=web.origin)
    with contextlib.closing(web), camera(address) as (_, told):
        sentence = told.wait_for("no camera gives pictures")
    assert problem in sentence
    assert "owner" not in sentence
    assert "garden" not in sentence


@pytest.mark.parametrize(
    ("asks", "login", "problem"),
    [
        ((), None, "it wants a login (401); give user:password in GTLABEL_CAMERA_LOGIN or in a file"),
        ((), Login("owner", "wrong"), "it refuses the login (401)"),
        (('Digest realm="c", nonce="n"',), Login("owner", "wrong"), "it refuses the login (401)"),
        (
            ("Negotiate", "NTLM"),
            OWNER,
            "it wants a login (401) of a kind that this does not know: Negotiate, NTLM",
        ),
    ],
)
def test_a_camera_that_lets_nobody_in_is_told_with_what_is_missing(
    asks: tuple[str, ...], login: Login | None, problem: str
) -> None:
    web = WebCamera(*asks)
    with contextlib.closing(web), camera(web.url, login=login) as (_, told):
        sentence = told.wait_for("no camera gives pictures")
    assert problem in sentence
    assert not {"owner", "wrong", "garden"} & set(sentence.split())


@pytest.mark.parametrize(
    "asks",
    [
        ('Digest realm="a \\"cam", qop="auth", nonce="abc", opaque="o,p", algorithm=MD5', 'Basic realm="a"'),
        ('Basic realm="cam", Digest realm="cam", nonce="abc"',),
        ('Digest realm="c", nonce="a", algorithm=MD5', 'Digest realm="c", qop="auth-int, auth", nonce="b", '
         "algorithm=SHA-256"),
    ],
    ids=["MD5", "without qop", "SHA-256"],
)  # fmt: skip
def test_a_camera_that_asks_for_a_digest_never_gets_the_password(asks: tuple[str, ...]) -> None:
    web = WebCamera(*asks)
    with contextlib.closing(web), camera(f"http://{web.origin}/old") as (reading, _):
        web.show(GREEN)
        assert next(iter(reading)).data == GREEN
    first, old, new = web.heard
    assert first == ""
    assert old.startswith("Digest ")
    assert new.startswith("Digest ")
    assert ("SHA-256" in new) == ("SHA-256" in asks[-1])


def test_a_login_is_never_sent_to_whom_a_camera_sends_us_on_to() -> None:
    other = WebCamera()
    web = WebCamera(moved=other.url)
    with (
        contextlib.closing(web),
        contextlib.closing(other),
        camera(f"http://{web.origin}/old") as (_, told),
    ):
        told.wait_for("it sends us on to another one, which gets no login from us and wants one (401)")
    assert len(web.heard) >= 2
    assert set(other.heard) == {""}


def test_a_camera_that_answers_one_picture_is_asked_again_and_again() -> None:
    web = WebCamera('Digest realm="camera", nonce="abc", qop="auth"')
    web.newest += [RED, GREEN]
    with contextlib.closing(web), camera(f"http://{web.origin}/newest.jpg") as (reading, told):
        pictures = iter(reading)
        assert [next(pictures).data, next(pictures).data] == [RED, GREEN]
        assert told.wait_for("is gone").endswith("its picture is empty; it is looked for until it is back")
    # Only the first time it had to ask who we are.
    assert [said[:6] for said in web.heard[:4]] == ["", "Digest", "Digest", "Digest"]
    assert "nc=00000002" in web.heard[2]


def test_logins_lie_in_files_or_in_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tmp_path / "secret"
    secret.write_text("owner:gar:den \n")
    web = ["--camera", "http://camera/"]
    assert camera_login(parse(web)) is None
    monkeypatch.setenv("GTLABEL_CAMERA_LOGIN", "guest:x")
    monkeypatch.setenv("GTLABEL_MQTT_PASSWORD", "y")
    assert camera_login(parse(web)) == Login("guest", "x")
    assert camera_login(parse(["--camera", "/dev/video0"])) is None
    found = camera_login(parse([*web, "--camera-login", str(secret)]))
    assert found == Login("owner", "gar:den ")
    assert "den" not in repr(found)
    mqtt = [*web, "--mqtt", "mqtt://kitchen@broker"]
    to = [broker(parse([*mqtt, *more])) for more in ([], ["--mqtt-password-file", str(secret)])]
    assert [one.password for one in to if one] == ["y", "owner:gar:den "]
    for text, complaint in (
        ("\n", "is empty"),
        ("den", "holds is not user:password"),
        (None, "No such file"),
    ):
        secret.unlink() if text is None else secret.write_text(text)
        with pytest.raises(RunError, match=complaint) as ended:
            camera_login(parse([*web, "--camera-login", str(secret)]))
        assert ended.value.code == 2
        assert "den" not in str(ended.value).replace(str(secret), "")


def test_a_camera_that_falls_silent_is_gone_and_the_next_one_is_taken(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "silent")
    record = recording(tmp_path / "other.mjpeg", [GREEN])
    with camera(tmp_path / "silent", record, silence=0.05) as (reading, told):
        assert [one.origin["camera"] for one in reading] == [str(record)]
    assert told.sentences == []


def test_a_video_device_is_read_by_ffmpeg_with_its_own_jpeg_or_else_with_ffmpegs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = recording(tmp_path / "day.mjpeg", [RED])
    ffmpeg = tmp_path / "ffmpeg"
    # A camera that makes no JPEG by itself.
    ffmpeg.write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\n'
        f'case "$*" in *input_format*) echo "no such format" >&2; exit 1;; esac\nexec cat {record}\n'
    )
    ffmpeg.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with camera("/dev/video7") as (reading, _):
        assert next(iter(reading)).origin == {"camera": "/dev/video7", "frame": 1}
    copied, encoded = (tmp_path / "calls").read_text().splitlines()[:2]
    assert "-f v4l2 -input_format mjpeg -i /dev/video7 -c:v copy" in copied
    assert "-f v4l2 -i /dev/video7 -c:v mjpeg" in encoded


def test_why_no_camera_gives_pictures_is_told_in_one_sentence(tmp_path: Path) -> None:
    missing, folder = tmp_path / "missing.mjpeg", tmp_path
    command = ("sh", "-c", "echo no camera at rtsp://owner:garden@camera >&2; exit 3")
    with camera(missing, folder, command=command) as (_, told):
        sentence = told.wait_for("no camera")
    assert sentence == (
        "no camera gives pictures (sh: it ended with code 3: no camera at rtsp://camera; "
        f"{missing}: No such file or directory; {folder}: Is a directory); it is tried until one does"
    )
    with camera(command=("no-such-program", "--password=secret")) as (_, told):
        assert "there is no program no-such-program on this device" in told.wait_for("no camera")


def test_no_program_is_left_when_the_camera_is_closed(tmp_path: Path) -> None:
    alive = tmp_path / "alive"
    os.mkfifo(alive)
    record = recording(tmp_path / "day.mjpeg", [RED])
    # The shell's child holds the FIFO open for as long as it lives.
    with camera(command=("sh", "-c", f"cat {record}; exec 3>{alive}; sleep 1000 & wait")) as (reading, _):
        holder = alive.open("rb")
        assert next(iter(reading)).data == RED
    with holder:
        assert stat.S_ISFIFO(alive.stat().st_mode)
        assert holder.read() == b""
