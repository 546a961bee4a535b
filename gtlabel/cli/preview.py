"""`gtlabel jobs preview`: a worker page in the browser, before anybody is asked to look at it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gtlabel.cli.options import EndpointUrl, Profile, Region, connect
from gtlabel.cli.output import put, say

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

    from gtlabel.uris import S3Uri

# Nobody looks at more, and a manifest may have millions.
_MOST_LINES = 10_000
# A bucket that is none: where pictures on this machine stand, to a template that grants access to them.
_HERE = "pictures.on-this-machine"
_LARGEST_BODY = 1 << 20


def preview(
    template: Annotated[str, typer.Argument(metavar="TEMPLATE", help="The worker page, a file or in S3.")],
    manifest: Annotated[str, typer.Argument(metavar="MANIFEST", help="The manifest, a file or in S3.")],
    classes: Annotated[
        str | None, typer.Option("--classes", help="The classes, separated by commas.")
    ] = None,
    class_list: Annotated[
        str | None, typer.Option("--class-list", help="The label category configuration, a file or in S3.")
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            "--images",
            exists=True,
            file_okay=False,
            help="A folder to look for pictures in before S3, by their key or its last part.",
        ),
    ] = None,
    allow_asset_host: Annotated[
        list[str] | None,
        typer.Option("--allow-asset-host", metavar="HOST", help="A host to load scripts and styles from."),
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 takes a free one.")] = 0,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Only print the address.")] = False,
    profile: Profile = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Open a worker page against real lines of a manifest, and say what is wrong with it.

    It shows what an answer would be and sends nothing. Only this machine can look at it, by the address
    that is printed; it ends at Ctrl-C. Nothing of AWS is asked unless something lies in S3.

    Example: gtlabel jobs preview page.liquid input.manifest --classes Compost,Landfill,Recycle
    """
    import signal
    import webbrowser

    from gtlabel.emulator.hosts import LOOPBACK_NAMES, Guard
    from gtlabel.emulator.service import check_asset_hosts
    from gtlabel.emulator.webserver import WebServer, listen
    from gtlabel.portal.preview import Preview

    check_asset_hosts(allow_asset_host or ())

    @cache
    def s3() -> S3Client:
        return connect(profile, region, endpoint_url)[1].s3

    lines = list(islice((line for line in _lines(manifest, s3) if line.strip()), _MOST_LINES))
    if not lines:
        raise typer.BadParameter(f"{manifest} has no lines", param_hint="MANIFEST")
    if len(lines) == _MOST_LINES:
        say(f"only the first {_MOST_LINES} lines of {manifest} are shown")
    folder = None if manifest.startswith("s3://") else Path(manifest).absolute().parent
    pages = Preview(
        lambda: _text(template, s3),
        template.rpartition("/")[2],
        lines,
        manifest.rpartition("/")[2],
        _classes(classes, class_list, s3),
        lambda uri: _picture(uri, images, s3),
        lambda text: _stand_in(text, folder),
        allow_asset_host or (),
    )
    try:
        _text(template, s3)
        with listen("127.0.0.1", port) as listener:
            address = f"http://127.0.0.1:{listener.getsockname()[1]}/{pages.token}/"

            def ready() -> None:
                put(address)
                say("look at it there; Ctrl-C ends it")
                if not no_browser:
                    webbrowser.open(address)

            # uvicorn raises the signal once more when it has ended, which would look like a failure.
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda _number, _frame: None)
            WebServer(Guard(pages.app(), LOOPBACK_NAMES, _LARGEST_BODY), listener).run(ready)
    finally:
        pages.close()


def _lines(place: str, s3: Callable[[], S3Client]) -> Iterable[bytes]:
    from gtlabel.storage import read_file_lines, read_lines
    from gtlabel.uris import S3Uri

    if place.startswith("s3://"):
        return read_lines(s3(), S3Uri(place))
    return read_file_lines(_file(place, "MANIFEST"))


def _bytes(place: str, hint: str, s3: Callable[[], S3Client]) -> bytes:
    from gtlabel.storage import read
    from gtlabel.uris import S3Uri

    return read(s3(), S3Uri(place)) if place.startswith("s3://") else _file(place, hint).read_bytes()


def _file(place: str, hint: str) -> Path:
    path = Path(place)
    if not path.is_file():
        raise typer.BadParameter(f"there is no file {place}", param_hint=hint)
    return path


def _text(place: str, s3: Callable[[], S3Client]) -> str:
    from gtlabel.errors import TemplateError

    try:
        return _bytes(place, "TEMPLATE", s3).decode()
    except UnicodeDecodeError as error:
        raise TemplateError(f"{place} is not UTF-8: {error.reason} at byte {error.start}") from error


def _classes(names: str | None, class_list: str | None, s3: Callable[[], S3Client]) -> list[str]:
    from gtlabel.manifests.classes import ClassList

    if names is not None and class_list is not None:
        raise typer.BadParameter("give the classes or a list of them, and not both", param_hint="--classes")
    if class_list is not None:
        return list(ClassList.from_json(_bytes(class_list, "--class-list", s3), class_list))
    return [name.strip() for name in names.split(",") if name.strip()] if names else []


def _picture(uri: S3Uri, images: Path | None, s3: Callable[[], S3Client]) -> bytes:
    """A picture: where a line says that it lies, or in the folder, or in S3."""
    from gtlabel.errors import ObjectNotFoundError
    from gtlabel.storage import read

    if uri.bucket == _HERE:
        try:
            return (Path("/") / uri.key).read_bytes()
        except OSError as error:
            raise ObjectNotFoundError(f"/{uri.key}") from error
    for part in (uri.key, uri.name) if images else ():
        path = ((images or Path()) / part).resolve()
        if path.is_relative_to((images or Path()).resolve()) and path.is_file():
            return path.read_bytes()
    return read(s3(), uri)


def _stand_in(text: str, folder: Path | None) -> str:
    """The address of a file that a line names, where it does."""
    if folder is None or not text or len(text) > 1024 or "://" in text or "\0" in text:
        return text
    path = folder / text
    return f"s3://{_HERE}/{str(path.resolve()).lstrip('/')}" if path.is_file() else text
