"""The bundle: what is in it, and which ones are refused."""

from __future__ import annotations

import ast
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest
from edge_parts import CLASSES, color_bundle, picture, tiny_network
from hypothesis import given
from hypothesis import strategies as st

import gtlabel
from gtlabel.edge.archive import extract
from gtlabel.edge.bundle import Bundle, build_bundle, read_bundle
from gtlabel.edge.manifest import Accuracy
from gtlabel.edge.presets import PRESETS, SETTINGS, option
from gtlabel.errors import BundleError

PACKAGE = Path(gtlabel.__file__).parent


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return color_bundle(tmp_path_factory.mktemp("bundle") / "bundle.zip")


def read(bundle: Bundle, name: str) -> str:
    with zipfile.ZipFile(bundle.path) as archive:
        return archive.read(name).decode()


def unit(folder: Path, /, **settings: str) -> str:
    """The service of a bundle whose program is told that."""
    return read(color_bundle(folder / "b.zip", name="bins", settings=settings), "gtlabel-bins.service")


def test_the_same_contents_give_the_same_bundle(bundle: Bundle, tmp_path: Path) -> None:
    again = color_bundle(tmp_path / "again.zip")
    assert again.path.read_bytes() == bundle.path.read_bytes()
    other = color_bundle(tmp_path / "other.zip", threshold=0.7)
    assert other.sha256 != bundle.sha256


def test_a_bundle_says_where_its_model_comes_from_and_how_good_it_is(tmp_path: Path) -> None:
    accuracy = Accuracy(pictures=50, fp32=0.92, int8=0.9, most_drop=0.01, decision="fp32 is used: see there")
    bundle = color_bundle(
        tmp_path / "b.zip", name="bins", lineage={"training-job": "trash-1"}, accuracy=accuracy
    )
    manifest = json.loads(read(bundle, "manifest.json"))
    assert (manifest["schema"], manifest["name"]) == (2, "bins")
    assert manifest["lineage"] == {"training-job": "trash-1"}
    assert (manifest["accuracy"]["fp32"], manifest["accuracy"]["int8"]) == (0.92, 0.9)
    assert manifest["labels"] == CLASSES
    assert manifest["input"]["shape"] == [1, 3, 8, 8]
    assert read_bundle(bundle.path) == bundle
    readme = read(bundle, "README")
    assert "Right on 92.0% of 50 pictures that it did not learn from, with 8 bits on 90.0%" in readme
    assert "fp32 is used: see there" in readme


def test_both_networks_prove_themselves_and_one_is_used(tmp_path: Path) -> None:
    bundle = color_bundle(tmp_path / "b.zip", int8=tiny_network(), use="int8")
    manifest = bundle.manifest
    assert {kind: each.file for kind, each in manifest.models.items()} == {
        "fp32": "model.onnx",
        "int8": "model.int8.onnx",
    }
    assert manifest.model == "int8"
    assert [(case.image, case.label) for case in manifest.self_test.cases] == [
        ("selftest/green.jpg", "Green"),
        ("selftest/red.jpg", "Red"),
    ]
    assert all(set(case.probabilities) == {"fp32", "int8"} for case in manifest.self_test.cases)
    assert manifest.self_test.tolerance["int8"] > manifest.self_test.tolerance["fp32"]
    with pytest.raises(BundleError, match="no network of 8 bits"):
        color_bundle(tmp_path / "c.zip", use="int8")


def test_the_program_in_the_bundle_is_the_one_of_the_package(bundle: Bundle) -> None:
    inside = {"gtlabel/__init__.py", "gtlabel/edge/__init__.py", "gtlabel/networks/__init__.py"}
    with zipfile.ZipFile(bundle.path) as archive:
        for name in archive.namelist():
            if name in inside:
                assert archive.read(name) == b""
            elif name.startswith("gtlabel/"):
                path = PACKAGE / name.removeprefix("gtlabel/")
                assert archive.read(name) == path.read_bytes(), name
    for name, source in (("run.py", "launcher.py"), ("install.py", "installer.py")):
        assert read(bundle, name) == (PACKAGE / "edge/device" / source).read_text(encoding="utf-8")


def test_a_python_that_is_too_old_can_still_read_that_it_is(bundle: Bundle) -> None:
    tree = ast.parse(read(bundle, "install.py"), feature_version=(3, 7))
    first = next(node for node in tree.body if isinstance(node, ast.If))
    assert ast.unparse(first.test) == "sys.version_info < (3, 11)"
    # Python 3.5, which an AWS DeepLens has, knows no f-strings and no annotations of variables.
    assert not [node for node in ast.walk(tree) if isinstance(node, (ast.JoinedStr, ast.AnnAssign))]
    imported = [node for node in tree.body[: tree.body.index(first)] if isinstance(node, ast.ImportFrom)]
    assert imported == []


def test_a_bundle_that_only_looks_has_no_network_and_one_that_publishes_has(tmp_path: Path) -> None:
    looking = unit(tmp_path)
    assert "--camera /dev/video0 --thing %H $GTLABEL_ARGUMENTS" in looking
    assert "PrivateNetwork=yes\nRestrictAddressFamilies=AF_UNIX\n" in looking
    for settings in ({"mqtt": "mqtt://broker"}, {"camera": "/dev/video0,http://camera/stream"}):
        text = unit(tmp_path, **settings)
        assert "PrivateNetwork" not in text
        assert "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6\n" in text
        assert "After=network-online.target" in text


def test_a_person_reads_where_packages_come_from_and_what_a_file_of_arguments_can_do(tmp_path: Path) -> None:
    readme = read(color_bundle(tmp_path / "b.zip", name="bins"), "README")
    assert "The packages are those that Python has already, if none is missing that is needed" in readme
    assert "looks at a camera of the network with --set camera=http://" in readme
    # systemd respects the quotes when it splits a variable that is a word of its own, see systemd.service(5).
    assert '--debounce 3/5 --unsure "/var/lib/gtlabel-bins/not sure"\n' in readme


def test_a_service_tells_the_program_exactly_what_was_set(tmp_path: Path) -> None:
    command = 'rpicam-vid -t 0 --codec "mjpeg" -o - # 50%, $HOME \\\\'
    text = unit(tmp_path, cameraCommand=command, debounce="3/5", thing="kitchen")
    quoted = '"rpicam-vid -t 0 --codec \\"mjpeg\\" -o - # 50%%, $$HOME \\\\\\\\"'
    assert f"--camera-command {quoted} --debounce 3/5 --thing kitchen $GTLABEL_ARGUMENTS\n" in text
    for settings, complaint in (
        ({"color": "red"}, "'color' is no setting of the program; it knows camera,"),
        ({"thing": "a\nUser=root"}, "not one line of text"),
    ):
        with pytest.raises(BundleError, match=complaint):
            unit(tmp_path, **settings)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"debounce": "5/3"}, "--debounce: 5/3 asks for 5 of 3"),
        ({"every": "abc"}, "--every: abc is not a number"),
        ({"topic": "a/#"}, "--topic: 'a/#' has a wildcard"),
        ({"mqtt": "mqtt://user:s3cret@host"}, "with a password is seen by everybody"),
        ({"model": "int8"}, "--model: there is no int8 network in the bundle, only fp32"),
        ({"camera": ""}, "one of --selftest, --image, --folder and --camera is needed"),
    ],
)
def test_settings_that_the_program_would_not_take_are_not_written(
    tmp_path: Path, settings: dict[str, str], complaint: str
) -> None:
    with pytest.raises(BundleError, match=complaint) as refusal:
        unit(tmp_path, **settings)
    assert "s3cret" not in str(refusal.value)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_named_is_looked_into(tmp_path: Path) -> None:
    text = unit(tmp_path, folder="/srv/photos", watch="yes")
    assert "run.py --folder /srv/photos --watch yes --thing %H $GTLABEL_ARGUMENTS\n" in text


def test_the_program_knows_every_setting() -> None:
    from gtlabel.edge.device.arguments import parse

    values = {
        "watch": "yes",
        "announce": "changes",
        "debounce": "2/3",
        "camera": "http://camera/video",
        "mqtt": "mqtts://owner@broker",
        "model": "fp32",
    }
    words = [word for name in SETTINGS for word in (option(name), values.get(name, "1"))]
    options = parse(words)
    assert (options.debounce, options.unsure_below, options.topic) == ((2, 3), 1.0, "1")
    files = (options.camera_login, options.mqtt_password_file, options.ca, options.cert, options.key)
    assert set(files) == {Path("1")}
    assert (options.keep, options.poll) == (1, 1.0)


def test_classes_of_any_name_leave_the_service_in_one_piece(tmp_path: Path) -> None:
    bundle = build_bundle(
        tiny_network(), ["100% glass", "a\nb\\"], tmp_path / "b.zip", self_test={"r.jpg": picture("red")}
    )
    text = read(bundle, "gtlabel-classifier.service")
    assert "Description=gtlabel: tell apart 100%% glass, a b\n" in text


def test_a_bundle_for_a_deeplens_says_what_it_is(tmp_path: Path) -> None:
    bundle = color_bundle(tmp_path / "b.zip", name="deeplens-bins", preset=PRESETS["deeplens"])
    readme, service = read(bundle, "README"), read(bundle, "gtlabel-deeplens-bins.service")
    assert "Its service ended on 2024-01-31" in readme
    assert "NOBODY HAS VERIFIED THIS ON A PHYSICAL UNIT" in readme
    assert "sudo ufw allow 8883" in readme
    assert "cannot join AWS IoT Greengrass V2" in readme
    assert "--camera /opt/awscam/out/ch2_out.mjpeg,/dev/video0" in service
    # systemd 229, which that camera has, knows neither; unknown words are passed over, and root is left.
    assert "DynamicUser" not in service
    assert "User=gtlabel\n" in service
    requirements = read(bundle, "requirements.txt")
    assert "onnxruntime==1.16.3 " in requirements
    assert bundle.manifest.runtime.requirements == "deeplens"


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"self_test": {}}, "at least one picture"),
        ({"self_test": {"broken.jpg": picture("red")[:100]}}, r"selftest/broken\.jpg cannot be read"),
        ({"self_test": {"../r.jpg": picture("red")}}, r"needs a plain file name, not '\.\./r\.jpg'"),
        ({"name": "my bins"}, "'my bins' cannot be a bundle's name"),
        ({"name": ".."}, "cannot be a bundle's name"),
        (
            {"wheels": ["linux-riscv64"]},
            "no wheels for 'linux-riscv64' in the default set; it has linux-aarch64",
        ),
        ({"wheels": ["linux-x86_64:3.9"]}, "no wheels for 'linux-x86_64:3.9'"),
    ],
)
def test_what_cannot_be_bundled_leaves_nothing_behind(
    tmp_path: Path, changes: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(BundleError, match=complaint):
        color_bundle(tmp_path / "b.zip", **changes)
    assert list(tmp_path.iterdir()) == []


def test_a_network_with_another_number_of_classes_is_not_bundled(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="3 classes apart and 2 are named"):
        build_bundle(tiny_network(3), CLASSES, tmp_path / "b.zip", self_test={"r.jpg": picture("red")})


def rewritten(source: Path, target: Path, **changes: bytes | None) -> Path:
    """A copy of a ZIP with some files changed, added, or (None) left out."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        contents: dict[str, bytes | None] = {name: old.read(name) for name in old.namelist()}
        for name, data in {**contents, **changes}.items():
            if data is not None:
                new.writestr(name, data)
    return target


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"labels.txt": b"Green\nRed\n"}, "labels.txt in .* is not what its SHA256SUMS says"),
        ({"model.onnx": None}, "lacks model.onnx"),
        ({"extra.py": b"import os"}, "holds extra.py, which its SHA256SUMS does not list"),
        ({"SHA256SUMS": None}, "is not a bundle"),
        ({"../escaped.py": b"import os"}, "would be written outside"),
        ({"/etc/escaped": b"x"}, "would be written outside"),
        ({"a\\..\\escaped": b"x"}, "would be written outside"),
    ],
)
def test_a_tampered_bundle_is_refused(
    bundle: Bundle, tmp_path: Path, changes: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(BundleError, match=complaint):
        read_bundle(rewritten(bundle.path, tmp_path / "b.zip", **changes))


@pytest.mark.parametrize(
    ("manifest", "complaint"),
    [
        ({"schema": 1}, "has schema 1, and this gtlabel knows 2; build the bundle again"),
        ({"schema": 3}, "has schema 3, and this gtlabel knows 2; use a newer gtlabel"),
        ({"schema": 2, "name": "x"}, "gtlabel: Field required"),
        ([], "is not a JSON object"),
    ],
)
def test_a_bundle_of_another_form_is_refused(
    bundle: Bundle, tmp_path: Path, manifest: Any, complaint: str
) -> None:
    from hashlib import sha256

    data = json.dumps(manifest).encode()
    old = sha256(read(bundle, "manifest.json").encode()).hexdigest()
    sums = read(bundle, "SHA256SUMS").replace(old, sha256(data).hexdigest()).encode()
    changed = rewritten(bundle.path, tmp_path / "b.zip", **{"manifest.json": data, "SHA256SUMS": sums})
    with pytest.raises(BundleError, match=complaint):
        read_bundle(changed)


def test_an_archive_that_leads_outside_leaves_nothing_behind(bundle: Bundle, tmp_path: Path) -> None:
    archive = rewritten(bundle.path, tmp_path / "b.zip", **{"../escaped.py": b"import os"})
    with pytest.raises(BundleError, match=re.escape("'../escaped.py'")):
        extract(archive, tmp_path / "inside" / "bundle")
    assert list((tmp_path / "inside").iterdir()) == []
    assert not (tmp_path / "inside.py").exists()


def test_an_archive_with_a_link_is_refused(tmp_path: Path) -> None:
    entry = zipfile.ZipInfo("passwords")
    entry.create_system, entry.external_attr = 3, 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr(entry, "/etc/passwd")
    with pytest.raises(BundleError, match="may hold only files"):
        extract(tmp_path / "b.zip", tmp_path / "bundle")


def test_an_archive_that_swells_is_stopped(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "b.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(5 << 20))
    with pytest.raises(BundleError, match="unpacks to more than 1000000 bytes"):
        extract(tmp_path / "b.zip", tmp_path / "bundle", max_bytes=1_000_000)


@given(st.binary(max_size=200))
def test_bytes_that_are_no_bundle_give_one_clear_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    file = tmp_path_factory.mktemp("junk") / "junk.zip"
    file.write_bytes(data)
    with pytest.raises(BundleError, match=r"junk\.zip"):
        read_bundle(file)
