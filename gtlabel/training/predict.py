"""Let a network say what is in pictures whose class nobody knows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from glob import glob, has_magic
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gtlabel.errors import PredictionError
from gtlabel.images.decoding import ENDINGS
from gtlabel.storage import list_objects, read
from gtlabel.training.answering import BATCH, DECODERS, FETCHERS, Answer, answers
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

    from gtlabel.training.model import Model

Picture = S3Uri | Path

THRESHOLD = 0.5


@dataclass(frozen=True, slots=True)
class Guess:
    """A class, and the probability that the network gives it."""

    label: str
    confidence: float


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a network says of one picture.

    Attributes:
        image: the address or the path, as it was given.
        labels: the class, or all classes of a multi-label network, that are sure enough; none, if none is.
        top: the most probable classes.
        problem: why there is no answer; empty if there is one.
    """

    image: str
    labels: tuple[str, ...] = ()
    top: tuple[Guess, ...] = ()
    problem: str = ""

    def to_json(self, *, multi_label: bool = False) -> dict[str, Any]:
        """What a device says of a picture, but for where and when; of a multi-label network, `labels`."""
        if self.problem:
            return {"image": self.image, "error": self.problem}
        label = {"labels": list(self.labels)} if multi_label else {"label": next(iter(self.labels), None)}
        return {
            "image": self.image,
            **label,
            "confidence": round(self.top[0].confidence, 6),
            "top": [{"label": guess.label, "confidence": round(guess.confidence, 6)} for guess in self.top],
        }


def predict(
    model: Model,
    images: Iterable[Picture | None],
    *,
    s3: Callable[[], S3Client],
    top_k: int = 1,
    threshold: float | None = None,
    batch: int = BATCH,
) -> Iterator[Prediction]:
    """Yield what a network says of each picture, in their order, a few batches in memory.

    Args:
        model: what `open_model` returns.
        images: files and addresses; None among them says that no other comes soon.
        s3: gives the client; it is not asked for where all pictures are files.
        top_k: how many classes to tell of each.
        threshold: the confidence below which there is no label; by default 0.5 for a network that may give
            several, and none for one that gives the most probable.
        batch: how many pictures the network gets at once.
    """
    least = threshold if threshold is not None else THRESHOLD if model.network.multi_label else 0.0

    def fetch(image: Picture) -> bytes:
        return read(s3(), image) if isinstance(image, S3Uri) else image.read_bytes()

    # Whether the pictures are far away shows in the first one; then there is time for more at once.
    rest = iter(images)
    first = next(rest, None)
    workers = FETCHERS if isinstance(first, S3Uri) else DECODERS
    found: Iterator[Answer[Picture]] = answers(
        model.network, chain((first,), rest), fetch, workers=workers, batch=batch
    )
    for answer in found:
        yield _prediction(answer, model, top_k, least)


def pictures(
    names: Iterable[str | None], s3: Callable[[], S3Client], *, listed: bool = True
) -> Iterator[Picture | None]:
    """Yield the pictures that names stand for, each in the order of the name, a listing as it comes.

    Args:
        names: files, folders (what is named like a picture in them and the folders in them), patterns such
            as `**/*.jpg`, s3:// addresses, and prefixes that end in a slash or hold a `*` or `?` after the
            last one. None is handed on.
        s3: gives the client; it is not asked for where no name begins with s3://.
        listed: whether names may stand for several pictures; otherwise each is one, whatever it holds.

    Raises:
        PredictionError: if a folder, a prefix or a pattern stands for nothing.
    """
    for name in names:
        if name is None:
            yield None
            continue
        if name.startswith("s3://"):
            uri = S3Uri(name)
            several = uri.key == "" or uri.key.endswith("/") or any(sign in uri.name for sign in "*?")
            yield from _below(uri, s3()) if listed and several else (uri,)
            continue
        path = Path(name)
        if listed and path.is_dir():
            yield from _found(
                sorted(each for each in path.rglob("*") if each.suffix.lower() in ENDINGS and each.is_file()),
                f"there is no picture in {name}",
            )
        elif listed and has_magic(name) and not path.exists():
            # `Path.glob` takes no pattern that begins at the root.
            found = (Path(each) for each in sorted(glob(name, recursive=True)))  # noqa: PTH207
            yield from _found([each for each in found if each.is_file()], f"no file is called like {name}")
        else:
            yield path


def _below(uri: S3Uri, s3: S3Client) -> Iterator[S3Uri]:
    pattern = uri.key if any(sign in uri.name for sign in "*?") else None
    prefix = uri.folder if pattern else uri
    some = False
    for item in list_objects(s3, prefix):
        fits = fnmatchcase(item.uri.key, pattern) if pattern else item.uri.key.lower().endswith(ENDINGS)
        if fits:
            some = True
            yield item.uri
    if not some:
        raise PredictionError(f"there is no picture at {uri}")


def _found(paths: Sequence[Path], otherwise: str) -> Sequence[Path]:
    if not paths:
        raise PredictionError(otherwise)
    return paths


def _prediction(answer: Answer[Picture], model: Model, top_k: int, least: float) -> Prediction:
    image = str(answer.item)
    if answer.probabilities is None:
        return Prediction(image, problem=answer.problem)
    # As Python's numbers: the threshold is one, and 0.9 in 32 bits is more than 0.9.
    values = [round(value, 6) for value in answer.probabilities.tolist()]
    order = sorted(range(len(values)), key=lambda place: -values[place])
    top = tuple(Guess(model.classes[place], values[place]) for place in order[:top_k])
    if model.network.multi_label:
        labels = tuple(model.classes[place] for place in order if values[place] >= least)
    else:
        labels = (model.classes[order[0]],) if values[order[0]] >= least else ()
    return Prediction(image, labels, top)
