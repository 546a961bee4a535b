"""The labels of all jobs, one row each, held in columns: a million pictures fit into memory."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from gtlabel.manifests.merge import Adjustments, Decision, Label, Policy, decide

_EPOCH = datetime(1970, 1, 1)
_MICROSECOND = timedelta(microseconds=1)
# No date that `datetime` knows is as early, and no confidence is below 0.
_UNDATED = -(1 << 63)
_UNSURE = -1.0
_NOBODY = -1


@dataclass(frozen=True, slots=True)
class Settled:
    """How many pictures had several labels, and what came of it.

    Attributes:
        repeated: labels that only repeated what holds.
        disputed: pictures whose labels name several classes, sorted.
    """

    repeated: int = 0
    disputed: tuple[str, ...] = ()


class LabelTable:
    """Labels by picture.

    A label takes 29 bytes in columns. A picture takes its address and a place in a dictionary, about
    twice the length of the address and 100 bytes: some 250 in all for addresses of 70 characters.
    The first row of a picture is in the dictionary; a column leads from each to the next.
    """

    def __init__(self) -> None:
        self._first: dict[str, int] = {}
        self._next = array("i")
        self._class = array("i")
        self._job = array("i")
        self._confidence = array("d")
        self._by_human = array("b")
        self._created = array("q")
        self._classes: list[tuple[str, str | None]] = []
        self._class_ids: dict[tuple[str, str | None], int] = {}
        self._jobs: list[str] = []
        self._job_ids: dict[str, int] = {}
        self._decisions: dict[str, tuple[Policy, Mapping[str, int] | None]] = {}
        self._several: set[str] = set()
        self._policy: Policy = "newest"
        self.repeated = 0

    def __len__(self) -> int:
        """How many pictures there are."""
        return len(self._first)

    def __contains__(self, image: object) -> bool:
        """Whether any job labeled a picture."""
        return image in self._first

    def class_id(self, class_name: str, named: str | None = None) -> int:
        """The number by which `add` knows a class.

        Args:
            class_name: its name in the dataset.
            named: what the job called it, if that is something else.
        """
        key = (class_name, None if named == class_name else named)
        if key not in self._class_ids:
            self._class_ids[key] = len(self._classes)
            self._classes.append(key)
        return self._class_ids[key]

    def job_id(self, job: str | None) -> int:
        """The number by which `add` knows a job."""
        if job is None:
            return _NOBODY
        if job not in self._job_ids:
            self._job_ids[job] = len(self._jobs)
            self._jobs.append(job)
        return self._job_ids[job]

    def add(
        self,
        image: str,
        class_id: int,
        job_id: int,
        confidence: float | None,
        by_human: bool,
        created: datetime | None,
    ) -> None:
        """Take a label. One that another manifest of the same job told already is counted and left."""
        moment = _UNDATED if created is None else (created - _EPOCH) // _MICROSECOND
        sure = _UNSURE if confidence is None else confidence
        self._take(image, class_id, job_id, sure, by_human, moment)

    def extend(self, other: LabelTable) -> None:
        """Take the labels of another table, as if each had been added here, in the order they were there."""
        images = [""] * len(other._class)
        for image, first in other._first.items():
            row = first
            while row >= 0:
                images[row] = image
                row = other._next[row]
        classes = [self.class_id(name, named) for name, named in other._classes]
        jobs = [self.job_id(job) for job in other._jobs]
        # The last one answers for `_NOBODY`, which is -1.
        jobs.append(_NOBODY)
        columns = (other._class, other._job, other._confidence, other._by_human, other._created)
        for image, class_id, job_id, sure, by_human, moment in zip(images, *columns, strict=True):
            self._take(image, classes[class_id], jobs[job_id], sure, bool(by_human), moment)
        self.repeated += other.repeated

    def _take(self, image: str, class_id: int, job_id: int, sure: float, by_human: bool, moment: int) -> None:
        row = len(self._class)
        first = self._first.setdefault(image, row)
        if first != row:
            said = (class_id, job_id, moment, sure, by_human)
            last = first
            while self._facts(last) != said:
                if self._next[last] < 0:
                    break
                last = self._next[last]
            else:
                self.repeated += 1
                return
            self._next[last] = row
            self._several.add(image)
        self._next.append(-1)
        self._class.append(class_id)
        self._job.append(job_id)
        self._confidence.append(sure)
        self._by_human.append(by_human)
        self._created.append(moment)

    def add_label(self, label: Label) -> None:
        """Take a label that is an object already."""
        class_id = self.class_id(label.class_name, label.named)
        job_id = self.job_id(label.job)
        self.add(str(label.image), class_id, job_id, label.confidence, label.by_human, label.created)

    def images(self) -> list[str]:
        """The addresses of all pictures, sorted."""
        return sorted(self._first)

    @property
    def several(self) -> frozenset[str]:
        """The pictures with more than one label."""
        return frozenset(self._several)

    def labels(self, image: str) -> Iterator[Label]:
        """The labels of a picture; the first is the one that holds, once they are settled."""
        row = self._first[image]
        while row >= 0:
            yield self._label(image, row)
            row = self._next[row]

    def label(self, image: str) -> Label:
        """The label of a picture that holds, once they are settled."""
        return self._label(image, self._first[image])

    def class_of(self, image: str) -> str:
        """The class of a picture that holds, once they are settled."""
        return self._classes[self._class[self._first[image]]][0]

    def decision(self, image: str) -> Decision:
        """How the label of a picture was settled."""
        kept, *others = self.labels(image)
        policy, votes = self._decisions.get(image, (self._policy, None))
        return Decision(
            kept,
            tuple(label for label in others if label.class_name == kept.class_name),
            tuple(label for label in others if label.class_name != kept.class_name),
            policy,
            votes,
        )

    def settle(
        self,
        policy: Policy = "newest",
        *,
        adjustments: Adjustments = (),
        votes: Mapping[str, Mapping[str, int]] | None = None,
    ) -> Settled:
        """Let one label of every picture hold; see `gtlabel.manifests.merge.decide`.

        Args:
            policy: by what to decide.
            adjustments: which job looked again at which other one's labels.
            votes: the answers about pictures with several labels, by picture and class.
        """
        self._policy = policy
        repeated = self.repeated
        disputed: list[str] = []
        for image in sorted(self._several):
            labels = list(self.labels(image))
            counted = (votes or {}).get(image)
            decision = decide(labels, policy, adjustments=adjustments, votes=counted)
            repeated += len(decision.agreed)
            if decision.dropped or len({label.class_name for label in labels}) > 1:
                disputed.append(image)
            if decision.votes or decision.policy != policy:
                self._decisions[image] = (decision.policy, decision.votes)
            self._order(image, [decision.kept, *sorted_newest(decision)])
        return Settled(repeated, tuple(disputed))

    def keep(self, holds: Callable[[str], bool]) -> None:
        """Forget the pictures of which `holds` is not true."""
        gone = [image for image in self._first if not holds(image)]
        for image in gone:
            del self._first[image]
        self._several.difference_update(gone)

    def _order(self, image: str, labels: list[Label]) -> None:
        """Write the labels of a picture into its rows again, in this order; a voted one needs one more."""
        rows = list(self._rows(image))
        for label, row in zip(labels, rows, strict=False):
            self._write(row, label)
        for label in labels[len(rows) :]:
            row = len(self._class)
            for column in (self._next, self._class, self._job, self._by_human, self._created):
                column.append(-1)
            self._confidence.append(_UNSURE)
            self._next[rows[-1]] = row
            rows.append(row)
            self._write(row, label)

    def _facts(self, row: int) -> tuple[int, int, int, float, int]:
        return (
            self._class[row],
            self._job[row],
            self._created[row],
            self._confidence[row],
            self._by_human[row],
        )

    def _rows(self, image: str) -> Iterator[int]:
        row = self._first[image]
        while row >= 0:
            yield row
            row = self._next[row]

    def _write(self, row: int, label: Label) -> None:
        self._class[row] = self.class_id(label.class_name, label.named)
        self._job[row] = self.job_id(label.job)
        self._confidence[row] = _UNSURE if label.confidence is None else label.confidence
        self._by_human[row] = label.by_human
        created = label.created
        self._created[row] = _UNDATED if created is None else (created - _EPOCH) // _MICROSECOND

    def _label(self, image: str, row: int) -> Label:
        class_name, named = self._classes[self._class[row]]
        job = self._job[row]
        confidence = self._confidence[row]
        created = self._created[row]
        return Label(
            image,
            class_name,
            None if job < 0 else self._jobs[job],
            None if confidence < 0 else confidence,
            bool(self._by_human[row]),
            None if created == _UNDATED else _EPOCH + timedelta(microseconds=created),
            named,
        )


def sorted_newest(decision: Decision) -> Iterable[Label]:
    """The labels of a decision that do not hold: who agreed, then who did not."""
    return (*decision.agreed, *decision.dropped)
