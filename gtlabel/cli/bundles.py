"""The targets of `gtlabel deploy` that need no service: a bundle to copy to any device, or to a DeepLens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gtlabel.cli.output import Format, put_fields, put_json, say

if TYPE_CHECKING:
    from gtlabel.aws import Aws
    from gtlabel.delivery import Packing
    from gtlabel.edge.manifest import BundleManifest
    from gtlabel.edge.presets import TargetName

# What the network of 8 bits may lose: one picture of a hundred.
MOST_DROP = 0.01


def write_bundle(
    model: str,
    target: TargetName,
    connect: Callable[[], Aws],
    *,
    out: Path | None = None,
    name: str | None = None,
    wheels: str | None = None,
    most_drop: float | None = MOST_DROP,
    pictures: str | None = None,
    classes: str | None = None,
    settings: Mapping[str, str] | None = None,
    dry_run: bool = False,
    output: Format = Format.TEXT,
) -> None:
    """Write a bundle and print what is in it and what to do with it.

    Args:
        model: a training job, or the s3:// address or path of a `model.tar.gz` or an `.onnx` file.
        target: which device it is for.
        connect: gives the clients.
        out: the ZIP to write, or the folder to unpack it to where it does not end in `.zip`; by default
            `NAME.zip` here.
        name: what unit and folders are called; by default made of the model's name.
        wheels: platforms whose wheels come along, such as `linux-x86_64:3.11,linux-aarch64`.
        most_drop: what the network of 8 bits may lose of the accuracy to be used; None makes none.
        pictures: pictures whose class is known (a dataset, a manifest, or class folders), for the self-test
            and for int8; by default those that the training job kept from its network.
        classes: the names of the classes, where nothing else tells them.
        settings: arguments of the program for the unit, by the names of the component's configuration;
            `threshold` is also what the manifest says.
        dry_run: whether to print what would be written, and write nothing.
        output: how to print.

    Raises:
        GtlabelError: if there is no such model, or its bundle cannot be made.
    """
    import tempfile

    from gtlabel.delivery import bundle_name, fetch_model, pack
    from gtlabel.edge.archive import extract
    from gtlabel.edge.presets import PRESETS
    from gtlabel.training.model import read_classes

    packing = asked_packing(target, wheels, settings or {})
    if PRESETS[target].note:
        say(f"note: {PRESETS[target].note}")
    fetched = fetch_model(
        connect(),
        model,
        pictures=pictures,
        classes=read_classes(classes) if classes else None,
        most_drop=most_drop,
    )
    for warning in fetched.warnings:
        say(warning)
    called = name or bundle_name(fetched, target)
    path = out or Path(f"{called}.zip")
    unpacked = path.suffix != ".zip"
    if unpacked:
        _refuse_taken(path)
    with tempfile.TemporaryDirectory(prefix="gtlabel-") as folder:
        # What cannot be bundled shows in a dry run, too.
        aside = dry_run or unpacked
        bundle = pack(fetched, Path(folder) / "bundle.zip" if aside else path, called, packing)
        size = bundle.path.stat().st_size
        if unpacked and not dry_run:
            extract(bundle.path, path)
    told = {
        "bundle": str(path),
        "written": not dry_run,
        "bytes": size,
        "sha256": bundle.sha256,
        "manifest": bundle.manifest.model_dump(mode="json", by_alias=True),
    }
    if output is Format.JSON:
        put_json(told)
        return
    put_fields(_lines(path, size, bundle.manifest))
    if not dry_run:
        say(_next_step(path, bundle.manifest, unpacked=unpacked))


def check_core(connect: Callable[[], Aws], thing: str) -> None:
    """Make sure that a Greengrass core device of that name has reported, as a reflashed DeepLens may.

    Raises:
        DeviceNotFoundError: if there is none.
    """
    from gtlabel.edge.presets import PRESETS
    from gtlabel.errors import DeviceNotFoundError

    greengrass = connect().greengrass
    try:
        found = greengrass.get_core_device(coreDeviceThingName=thing)
    except greengrass.exceptions.ResourceNotFoundException:
        say("the system that a DeepLens was sold with cannot be one; leave --core out for a bundle to copy")
        raise DeviceNotFoundError(thing) from None
    say(f"{thing} runs {found['runtime']} on {found['platform']} {found['architecture']}")
    say(f"note: {PRESETS['deeplens'].note}")


def asked_packing(target: TargetName, wheels: str | None, settings: Mapping[str, str]) -> Packing:
    """What goes into a bundle beside the model, where that can be had.

    Raises:
        BundleError: if a setting or a platform is none.
    """
    from gtlabel.delivery import Packing
    from gtlabel.edge.presets import PRESETS, unit_settings
    from gtlabel.edge.requirements import read_lock
    from gtlabel.edge.settings import check_settings

    preset = PRESETS[target]
    # Before minutes go into the model.
    check_settings(unit_settings(preset, settings))
    platforms = read_lock(preset.lock).chosen(wheels or preset.platform) if wheels or preset.platform else ()
    threshold = float(settings.get("threshold", "").strip() or 0.5)
    return Packing(target=target, wheels=platforms, threshold=threshold, settings=settings)


def _refuse_taken(folder: Path) -> None:
    from gtlabel.errors import BundleError

    if folder.exists():
        raise BundleError(f"{folder} is there already; name another with --out, or a file that ends in .zip")


def _lines(path: Path, size: int, manifest: BundleManifest) -> dict[str, Any]:
    """What a person wants to know of a bundle."""
    accuracy, lines = manifest.accuracy, {}
    lines["bundle"] = f"{path}, {size / 1e6:.1f} MB"
    lines["classes"] = ", ".join(manifest.labels)
    lines["model"] = ", ".join(f"{each.file} {each.bytes / 1e6:.1f} MB" for each in manifest.models.values())
    if accuracy.decision:
        lines["decision"] = accuracy.decision
    lines["runtime"] = f"{manifest.runtime.name} {manifest.runtime.version}"
    lines["wheels"] = ", ".join(manifest.runtime.wheels) or "none; the device fetches its packages"
    lines["self-test"] = f"{len(manifest.self_test.cases)} pictures"
    return lines


def _next_step(path: Path, manifest: BundleManifest, *, unpacked: bool) -> str:
    folder = str(path) if unpacked else manifest.name
    if manifest.target == "deeplens":
        return (
            f"copy it to the camera; README in {path} says what that needs first, and every step from there"
        )
    unpack = "" if unpacked else f"python3 -m zipfile -e {path.name} {folder} && "
    return (
        f"copy it to the device, and there: {unpack}sudo python3 {folder}/install.py "
        f"--to /opt/gtlabel/{manifest.name}; {folder}/README has the rest"
    )
