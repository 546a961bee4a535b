"""Models judged by pictures whose class is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from gtlabel.errors import EvaluationError, MissingExtraError
from gtlabel.manifests.split import Channel
from gtlabel.storage import exists

if TYPE_CHECKING:
    from gtlabel.aws import Aws
    from gtlabel.datasets.truth import Truth
    from gtlabel.training.evaluate import Judgement
    from gtlabel.training.model import Model


def known_pictures(
    model: Model,
    dataset: str | None,
    connect: Callable[[], Aws],
    *,
    channel: Channel = "validation",
    attribute: str | None = None,
) -> Truth:
    """The pictures that a model can be judged by.

    Args:
        model: what `open_model` returns.
        dataset: a dataset, a manifest or class folders, in S3 or on disk; by default what the model's
            training job read.
        connect: gives the clients; it is not asked for where everything is on disk.
        channel: of a dataset, or of the job.
        attribute: the attribute with the labels, where a manifest has several.

    Raises:
        EvaluationError: if no pictures are named, and no training job says which there are, or it read no
            such channel.
        DatasetError: if there are none.
    """
    from gtlabel.datasets.places import Place
    from gtlabel.datasets.truth import open_truth

    place: Place | None = None
    if dataset is not None:
        place = Place.of(dataset, lambda: connect().s3)
    elif model.job is not None:
        read_by_it = model.job.channels
        manifest = read_by_it.get(channel) or read_by_it.get("train")
        if manifest is not None and exists(connect().s3, manifest.folder / "dataset.json"):
            # A dataset may have channels that no job reads.
            place = Place(manifest.folder, lambda: connect().s3)
        elif channel in read_by_it:
            place = Place(read_by_it[channel], lambda: connect().s3)
        elif read_by_it:
            raise EvaluationError(
                f"the training job {model.job.name!r} has no {channel} channel; it has "
                f"{', '.join(read_by_it)}; name pictures whose class is known, or another --channel"
            )
    if place is None:
        raise EvaluationError(
            f"nothing says what {model.name} was trained on; name pictures whose class is known: a dataset, "
            "a manifest, or a folder with a folder for each class"
        )
    return open_truth(place, channel=channel, attribute=attribute, names=model.classes)


def evaluate_model(
    aws: Aws,
    name: str,
    dataset: str | None = None,
    *,
    channel: Channel = "validation",
    attribute: str | None = None,
    classes: Sequence[str] | None = None,
    strict: bool = False,
) -> Judgement:
    """Judge a model by pictures whose class is known.

    Args:
        aws: the clients.
        name: a training job, or the path or s3:// address of a `model.tar.gz` or an `.onnx` file.
        dataset: as `known_pictures` has it.
        channel: of a dataset.
        attribute: the attribute with the labels, where a manifest has several.
        classes: the names of the network's outputs, where nothing else says them.
        strict: whether a picture that cannot be used is an error.

    Raises:
        ArtifactError: if there is no such model.
        EvaluationError: if there is nothing to judge it by, or a picture is of a class it does not know.
        MissingExtraError: if numpy, Pillow or onnxruntime is not installed.
    """
    try:
        from gtlabel.training.evaluate import judge
        from gtlabel.training.model import open_model
    except ModuleNotFoundError as error:
        raise MissingExtraError("judging a model", "edge") from error

    model = open_model(name, lambda: aws, classes=classes)
    truth = known_pictures(model, dataset, lambda: aws, channel=channel, attribute=attribute)
    return judge(model.network, model.classes, truth.images, far=truth.far, strict=strict)
