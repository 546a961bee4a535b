"""Class folders: which file of which folder each labeled image becomes, `classes/<class>/<file name>`.

Names of classes and of images are people's, and may hold whatever S3 takes: slashes, line ends, `..`, emoji,
a thousand bytes. Here they become names that Linux, a Mac and Windows can hold and no program stumbles over,
and from which the old ones can be read back.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b, sha256
from itertools import count
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from gtlabel.storage import StoredObject, list_objects
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

# S3 allows 1,024 bytes a key, common file systems 255 a name.
_MAX_KEY_BYTES = 1024
_MAX_NAME_BYTES = 255
_MAX_FOLDER_CHARACTERS = 200

# What a file's name may not hold on one system or another, what would end a line of a list of files
# (U+0085, U+2028 and U+2029 do so for some), and what hides in a terminal. `~` marks names of our own.
_UNFIT = re.compile(
    r'[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069<>:"/\\|?*%~\ud800-\udfff]'
)
# https://learn.microsoft.com/en-us/windows/win32/fileio/naming-a-file
_DEVICE = re.compile(r"(?:con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(?:\.|$)", re.IGNORECASE)
_PLAIN = re.compile(r"(?!\.)[A-Za-z0-9_.-]+(?<!\.)")


@dataclass(frozen=True, slots=True)
class Placement:
    """Where an image comes from and where its copy goes."""

    source: StoredObject
    target: S3Uri


def folder_of(class_name: str) -> str:
    """The folder of a class: its name, everything but ASCII letters, digits, `-`, `_` and `.` as `%XX`.

    A name that gets too long for a folder ends in `~` and a digest instead; `class_of` finds it among the
    names of its dataset.
    """
    folder = _fit_ends(quote(class_name, safe="", errors="surrogatepass").replace("~", "%7E"))
    if len(folder) <= _MAX_FOLDER_CHARACTERS:
        return folder
    kept = folder[: _MAX_FOLDER_CHARACTERS - 17]
    # An escape cut in two would decode to something else.
    kept = kept[: kept.rfind("%")] if "%" in kept[-2:] else kept
    return f"{kept}~{_digest(class_name)}"


def class_of(folder: str, names: Iterable[str] = ()) -> str | None:
    """The class that `folder_of` made this folder for.

    Args:
        folder: the folder's name.
        names: the classes of the dataset, in which a name too long for a folder is looked up.

    Returns:
        The name; None where the folder holds only a part of it and it is not among `names`.
    """
    if "~" in folder:
        return next((name for name in names if folder_of(name) == folder), None)
    return unquote(folder, errors="surrogatepass")


def file_of(name: str) -> str:
    """The name of the file for an image of this name: the same, unless it would be trouble somewhere.

    What one system or another cannot hold becomes `%XX`, and so do `%` and `~` themselves, that the name
    can be read back; letters of every alphabet, spaces and emoji stay.
    """
    if _PLAIN.fullmatch(name) and not _DEVICE.match(name):
        return name
    return _fit_ends(_UNFIT.sub(_escaped, name))


def name_of(file: str) -> str | None:
    """The image's name that `file_of` was given; None for a name of our own, which holds a digest."""
    return None if "~" in file else unquote(file, errors="surrogatepass")


class Namer:
    """Gives out the addresses of copies, no two alike.

    Of several images of a class that would share a name, the first that asks keeps it; the others get a
    digest of their address, and so does a name that is too long or none at all. Names that differ only in
    letter case, or in how an accent is encoded, count as shared: a Mac or a Windows machine could not hold
    both. To make the same dataset again, ask in the same order (`place` sorts by address).

    It keeps eight bytes of each address, some 60 in all. Two that share those by chance, one pair in 10^11
    million pictures, are kept apart as if they shared the name.

    Args:
        into: the dataset.
    """

    def __init__(self, into: S3Uri) -> None:
        self._into = into.at(into.key.rstrip("/") + "/") if into.key else into
        self._folders: dict[str, str] = {}
        self._taken: set[int] = set()

    def target(self, image: S3Uri, class_name: str) -> S3Uri:
        """The address for the copy of an image."""
        folder = self._folders.get(class_name)
        if folder is None:
            folder = f"{self._into.key}classes/{folder_of(class_name)}/"
            self._folders[class_name] = folder
        for name in _names(image):
            if not _can_be_named(folder, name):
                continue
            key = folder + name
            mark = _mark(key)
            if mark not in self._taken:
                break
        self._taken.add(mark)
        return self._into.at(key)


def place(images: Iterable[tuple[StoredObject, str]], into: S3Uri) -> dict[S3Uri, Placement]:
    """Decide where the copy of each image goes, keyed by the image's address; see `Namer`.

    Args:
        images: each image with its class, in any order.
        into: the dataset.
    """
    namer = Namer(into)
    return {
        image.uri: Placement(image, namer.target(image.uri, class_name))
        for image, class_name in sorted(images, key=lambda pair: pair[0].uri)
    }


def find(s3: S3Client, images: Iterable[S3Uri]) -> dict[S3Uri, StoredObject]:
    """Those of the images that exist, with size and ETag.

    It lists the folders they lie in, a thousand objects a request, and not the images one by one.
    """
    wanted = set(images)
    found: dict[S3Uri, StoredObject] = {}
    listed: S3Uri | None = None
    for folder in sorted({image.folder for image in wanted}):
        if listed is not None and folder.startswith(listed):
            continue
        listed = folder
        found.update((item.uri, item) for item in list_objects(s3, folder) if item.uri in wanted)
    return found


def _mark(key: str) -> int:
    spelled = key if key.isascii() else unicodedata.normalize("NFC", key)
    return int.from_bytes(blake2b(spelled.casefold().encode(), digest_size=8).digest())


def _can_be_named(folder: str, name: str) -> bool:
    if not name:
        return False
    size = len(name.encode())
    return size <= _MAX_NAME_BYTES and len(folder.encode()) + size <= _MAX_KEY_BYTES


def _names(image: S3Uri) -> Iterator[str]:
    """Its own name, then names that nobody else can have meant, without end."""
    name = image.name
    yield file_of(name)
    stem, dot, suffix = name.rpartition(".")
    if not stem or not (suffix.isascii() and suffix.isalnum() and len(suffix) <= 5):
        stem, dot, suffix = name, "", ""
    short = file_of("".join(_within(stem, 60)))
    for attempt in count():
        yield f"{short}~{_digest(image + '~' * attempt)}{dot}{suffix}"


def _within(text: str, limit: int) -> Iterator[str]:
    for character in text:
        limit -= len(character.encode(errors="surrogatepass"))
        if limit < 0:
            return
        yield character


def _fit_ends(name: str) -> str:
    """Escape what only troubles at the beginning or the end of a name."""
    if name.startswith(".") or _DEVICE.match(name):
        name = f"%{ord(name[0]):02X}{name[1:]}"
    if name.endswith((".", " ")):
        name = f"{name[:-1]}%{ord(name[-1]):02X}"
    return name


def _escaped(match: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in match[0].encode(errors="surrogatepass"))


def _digest(text: str) -> str:
    return sha256(text.encode(errors="surrogatepass")).hexdigest()[:16]
