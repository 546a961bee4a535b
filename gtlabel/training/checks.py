"""What can be known of a training job before it is sent, read from the dataset itself.

A GPU that meets a line without a label stops after minutes that are paid; one that meets a label outside of
the classes does not stop at all, and learns worse (contract/training.md §2). So every line of both manifests
is read once, one at a time, and some of the pictures are looked at.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import msgspec

from gtlabel.manifests.chunks import CHUNK_BYTES, read_chunks
from gtlabel.manifests.records import ManifestRecord
from gtlabel.storage import explained
from gtlabel.training.data import ChannelData, TrainingData
from gtlabel.training.findings import Finding, refuse_errors
from gtlabel.training.pictures import Picture, Shape, look_at
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

# How many pictures of a channel are looked at.
LOOKED_AT = 16
_NAMED = 5
_MOST_BUCKETS = 100

__all__ = ["LOOKED_AT", "Finding", "check_channels", "check_regions", "refuse_errors"]


def check_channels(
    s3: S3Client,
    data: TrainingData,
    *,
    multi_label: bool | None = False,
    shape: Shape | None = None,
    resize: int | None = None,
    region: str | None = None,
    looked_at: int = LOOKED_AT,
) -> list[Finding]:
    """Read both manifests, and look at some of their pictures.

    Args:
        s3: the client.
        data: what is to be trained with.
        multi_label: whether labels are arrays of class numbers; None if the first one may tell.
        shape: height and width in pixels that the network takes; None if pictures of any shape do.
        resize: the pixels that the shorter side of a picture is brought to.
        region: where the job would run; None if it does not matter where the pictures are.
        looked_at: how many pictures of each channel to look at.

    Raises:
        ObjectNotFoundError: if a manifest is gone.
    """
    findings: list[Finding] = []
    pictures: list[Picture] = []
    buckets: dict[str, S3Uri] = {}
    for name in ("train", "validation"):
        scan = _Scan(name, data.channels[name], data, multi_label, looked_at)
        scan.read(s3)
        multi_label = scan.multi_label
        findings += scan.findings()
        pictures += scan.pictures
        buckets |= scan.buckets
    buckets.pop(data.uri.bucket, None)
    if region is not None:
        findings += check_regions(s3, region, buckets.values())
    return findings + look_at(s3, pictures, data, shape, resize)


def check_regions(s3: S3Client, region: str, places: Iterable[S3Uri]) -> Iterator[Finding]:
    """Whether the buckets are in the region of the job, which reads and writes nowhere else."""
    for bucket in dict.fromkeys(place.bucket for place in places):
        found = _region_of(s3, bucket)
        if found is not None and found != region:
            yield Finding(
                "region",
                "error",
                f"the bucket {bucket!r} is in {found} and the job would run in {region}, where it cannot "
                "read it",
                f"train with --region {found}",
            )


@dataclass(slots=True)
class _Kind:
    """Lines that are wrong in the same way: the first one, and how many there are."""

    sentence: str
    lines: int = 0


@dataclass(slots=True)
class _Scan:
    """Reads one channel."""

    name: str
    channel: ChannelData
    data: TrainingData
    multi_label: bool | None
    looked_at: int
    lines: int = 0
    counts: list[int] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    buckets: dict[str, S3Uri] = field(default_factory=dict)
    wrong: dict[str, _Kind] = field(default_factory=dict)
    sha256: str = ""

    def read(self, s3: S3Client) -> None:
        """Read all lines, one at a time."""
        self.counts = [0] * len(self.data.classes)
        manifest = self.channel.manifest
        decode = _decoder(self.data.attribute)
        judge = self._judge_first if self.multi_label is None else self._judge()
        # Every so many lines a picture is kept to be looked at.
        stride = max(1, self.channel.images // max(1, self.looked_at))
        digest = sha256()
        # Most pictures lie where the one before did, and need no other look at their address. No text starts
        # with one of none.
        bucket: str | tuple[()] = ()
        with explained("s3:GetObject", manifest):
            body = s3.get_object(Bucket=manifest.bucket, Key=manifest.key)["Body"]
            chunks = _digested(body.iter_chunks(CHUNK_BYTES), digest.update)
            for number, line in enumerate(read_chunks(chunks, manifest), start=1):
                if not line.strip():
                    continue
                try:
                    read = decode(line)
                except (ValueError, RecursionError):
                    self._refuse_line(number, line)
                    continue
                image = read.image
                if not image.startswith(bucket) or len(image) == len(bucket):
                    try:
                        bucket = self._bucket_of(line)
                    except ValueError:
                        self._refuse_line(number, line)
                        continue
                if self.lines % stride == 0 and len(self.pictures) < self.looked_at:
                    self.pictures.append(Picture(S3Uri.checked(image), number, manifest))
                self.lines += 1
                judge(read.label, number, image, line)
        self.sha256 = digest.hexdigest()

    def findings(self) -> Iterator[Finding]:
        """What is to be said of the channel."""
        manifest, said = self.channel.manifest, self.channel.images
        again = f"run gtlabel consolidate ... --into {self.data.uri} again"
        for check, kind in self.wrong.items():
            more = f" ({kind.lines:,} lines in all)" if kind.lines > 1 else ""
            yield Finding(check, "error", kind.sentence + more, again)
        if not self.lines and not self.wrong:
            yield Finding(
                "empty", "error", f"{manifest} is empty", f"{again} with a larger share for {self.name}"
            )
        elif self.lines != said and not self.wrong:
            yield Finding(
                "count",
                "error",
                f"{manifest} has {self.lines:,} lines and dataset.json tells of {said:,}, on which the "
                "schedule would be built",
                again,
            )
        elif self.channel.sha256 not in ("", self.sha256) and not self.wrong:
            yield Finding(
                "digest",
                "warning",
                f"{manifest} was changed after it was consolidated: its digest is not the one of "
                "dataset.json",
                again,
            )
        yield from self._empty_classes()

    def _empty_classes(self) -> Iterator[Finding]:
        empty = [name for name, count in zip(self.data.classes, self.counts, strict=True) if not count]
        if not empty or len(empty) == len(self.counts):
            return
        named = ", ".join(repr(name) for name in empty[:_NAMED])
        more = f" and {len(empty) - _NAMED} more" if len(empty) > _NAMED else ""
        follows = (
            "the network will never answer them"
            if self.name == "train"
            else "how well they are told is not seen"
        )
        yield Finding(
            "classes",
            "warning",
            f"there is no {self.name} picture of {named}{more}: {follows}",
            "label more of them, or remove them with gtlabel consolidate --vocabulary",
        )

    def _judge(self) -> Callable[[Any, int, str, bytes], None]:
        return self._judge_several if self.multi_label else self._judge_one

    def _judge_first(self, label: Any, number: int, image: str, line: bytes) -> None:
        """Take the form of the first label for that of all; a line without one tells nothing."""
        if self.multi_label is None and label is not msgspec.UNSET and label is not None:
            self.multi_label = type(_unquoted(label) if type(label) is str else label) is list
        self._judge()(label, number, image, line)

    def _judge_one(self, label: Any, number: int, image: str, line: bytes) -> None:
        if type(label) is str and label.isascii() and label.isdecimal():
            # AWS's manual also shows numbers in quotes.
            label = int(label)
        if type(label) is not int:
            self._refuse_label(label, number, image, line)
        elif 0 <= label < len(self.counts):
            self.counts[label] += 1
        else:
            self._out_of_range(label, number, image)

    def _judge_several(self, label: Any, number: int, image: str, line: bytes) -> None:
        if type(label) is str:
            label = _unquoted(label)
        if type(label) is not list or any(type(each) is not int for each in label):
            self._refuse_label(label, number, image, line)
            return
        for each in label:
            if 0 <= each < len(self.counts):
                self.counts[each] += 1
            else:
                self._out_of_range(each, number, image)
                return

    def _bucket_of(self, line: bytes) -> str:
        """The bucket of a picture, as `s3://bucket/`; it is kept, up to a number that nobody means."""
        image = ManifestRecord.from_line(line.decode()).source_ref
        if len(self.buckets) < _MOST_BUCKETS:
            self.buckets[image.bucket] = image
        return f"s3://{image.bucket}/"

    def _refuse_line(self, number: int, line: bytes) -> None:
        try:
            ManifestRecord.from_line(line.decode())
            reason = f"its {self.data.attribute!r} cannot be read"
        except (ValueError, RecursionError) as error:
            reason = str(error)
        self._note("line", f"{self.channel.manifest}, line {number}: {reason}")

    def _refuse_label(self, label: Any, number: int, image: str, line: bytes) -> None:
        where = f"{self.channel.manifest}, line {number}: {image}"
        attribute = self.data.attribute
        if label is msgspec.UNSET or label is None:
            others = [key for key in _keys(line) if key.lower() == attribute.lower()]
            spelled = f"; it has {others[0]!r}, and case matters" if others and others[0] != attribute else ""
            self._note("label", f"{where} has no label {attribute!r}{spelled}")
            return
        wanted = "an array of class numbers" if self.multi_label else "the number of one class"
        self._note("number", f"{where} has the label {json.dumps(label)[:60]}, which is not {wanted}")

    def _out_of_range(self, label: int, number: int, image: str) -> None:
        highest = len(self.counts) - 1
        self._note(
            "range",
            f"{self.channel.manifest}, line {number}: {image} has the label {label}, and classes are 0 to "
            f"{highest}; the job would not fail of it and only learn worse",
        )

    def _note(self, check: str, sentence: str) -> None:
        kind = self.wrong.setdefault(check, _Kind(sentence))
        kind.lines += 1


def _decoder(attribute: str) -> Callable[[bytes], Any]:
    """Reads the two keys of a line that the job will, and passes over the rest."""
    structure = msgspec.defstruct(
        "_Line",
        [
            ("image", str, msgspec.field(name="source-ref")),
            ("label", Any, msgspec.field(name=attribute, default=msgspec.UNSET)),
        ],
        gc=False,
    )
    decode: Callable[[bytes], Any] = msgspec.json.Decoder(structure).decode
    return decode


def _digested(chunks: Iterable[bytes], update: Callable[[bytes], object]) -> Iterator[bytes]:
    for chunk in chunks:
        update(chunk)
        yield chunk


def _keys(line: bytes) -> Sequence[str]:
    return list(msgspec.json.decode(line, type=dict[str, msgspec.Raw]))


def _unquoted(label: str) -> Any:
    try:
        return json.loads(label)
    except ValueError:
        return label


def _region_of(s3: S3Client, bucket: str) -> str | None:
    """The region of a bucket; None where nobody says, or there is no such bucket.

    S3 says it even to somebody who may not look into the bucket:
    https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadBucket.html
    """
    from botocore.exceptions import ClientError

    try:
        answer: Any = s3.head_bucket(Bucket=bucket)
    except ClientError as error:
        answer = error.response
    headers = answer["ResponseMetadata"].get("HTTPHeaders", {})
    region: str | None = answer.get("BucketRegion") or headers.get("x-amz-bucket-region")
    return region
