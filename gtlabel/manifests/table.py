"""The labels of all jobs, one row each, held in columns: a million pictures fit into memory."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import compress
from typing import NamedTuple

import msgspec

from gtlabel.manifests.merge import Adjustments, Decision, Label, Policy, decide

_EPOCH = datetime(1970, 1, 1)
_MICROSECOND = timedelta(microseconds=1)
# No date that `datetime` knows is as early.
_UNDATED = -(1 << 63)
_SECOND = 1_000_000
_MINUTE = 60 * _SECOND
_SECONDS = [f":{second:02}." for second in range(60)]
# What would otherwise grow with the manifests.
_MINUTES_KEPT = 50_000
_FACTS_KEPT = 50_000
# Labels of a picture whose lineage is told without more ado.
_FEW = 50


class Saying(NamedTuple):
    """What a label says but for its picture and its date; a million labels say a few hundred things.

    Attributes:
        class_name: the class, by the name it has in the dataset.
        named: what the job called it, if that was something else.
        job: the job's bare name.
        confidence: what the job says.
        by_human: whether people gave it.
    """

    class_name: str
    named: str | None
    job: str | None
    confidence: float | None
    by_human: bool


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

    A label takes 16 bytes in columns. A picture takes its address and a place in a dictionary, about
    the length of the address and 160 bytes. The first row of a picture is in the dictionary; a column
    leads from each row to the next.
    """

    def __init__(self) -> None:
        self._first: dict[str, int] = {}
        self._next = array("i")
        self._saying = array("i")
        self._created = array("q")
        self._sayings: list[Saying] = []
        self._saying_ids: dict[Saying, int] = {}
        self._decisions: dict[str, tuple[Policy, Mapping[str, int] | None]] = {}
        self._several: set[str] = set()
        self._origins: dict[str, str] = {}
        self._contradicted: set[str] = set()
        # Where a label stood that is another picture's now, by its row; and what other addresses that has.
        self._elsewhere: dict[int, str] = {}
        self._also: dict[str, list[str]] = {}
        self._policy: Policy = "newest"
        # What many lines have in common is spelled once.
        self._minutes: dict[int, str] = {}
        self._facts: dict[int, str] = {}
        self.repeated = 0

    def __len__(self) -> int:
        """How many pictures there are."""
        return len(self._first)

    def __contains__(self, image: object) -> bool:
        """Whether any job labeled a picture."""
        return image in self._first

    @property
    def sayings(self) -> list[Saying]:
        """What labels say; the position of each is the number by which `add` knows it."""
        return self._sayings

    def saying_id(self, saying: Saying) -> int:
        """The number by which `add` knows what a label says."""
        if saying.named == saying.class_name:
            saying = saying._replace(named=None)
        known = self._saying_ids.setdefault(saying, len(self._sayings))
        if known == len(self._sayings):
            self._sayings.append(saying)
        return known

    def add(self, image: str, saying: int, created: datetime | None) -> None:
        """Take a label. One that another manifest of the same job told already is counted and left.

        Args:
            image: the address, as a plain text.
            saying: what `saying_id` returned.
            created: when the label was made.
        """
        moment = _UNDATED if created is None else (created - _EPOCH) // _MICROSECOND
        row = len(self._next)
        if self._first.setdefault(image, row) != row and not self._join(image, saying, moment):
            return
        self._next.append(-1)
        self._saying.append(saying)
        self._created.append(moment)

    def add_label(self, label: Label) -> None:
        """Take a label that is an object already."""
        self.add(str(label.image), self._id_of(label), label.created)

    def tell(self, image: str, origin: str) -> None:
        """Take what a line says about a picture's source and licence; what was said first holds.

        Args:
            image: the address, as a plain text.
            origin: what `gtlabel.manifests.provenance.provenance` returned.
        """
        if self._origins.setdefault(image, origin) != origin:
            self._contradicted.add(image)

    @property
    def origins(self) -> Mapping[str, str]:
        """What lines say about source and licence, by picture; about most of them nothing."""
        return self._origins

    @property
    def contradicted(self) -> list[str]:
        """The pictures of whose source or licence lines say different things, sorted."""
        return sorted(self._contradicted)

    def extend(self, other: LabelTable) -> None:
        """Take the labels of another table, as if each had been added here, in the order they were there."""
        for image, origin in other._origins.items():
            self.tell(image, origin)
        self._contradicted |= other._contradicted
        ids = [self.saying_id(saying) for saying in other._sayings]
        sayings = map(ids.__getitem__, other._saying)
        self.repeated += other.repeated
        if not other._several and self._first.keys().isdisjoint(other._first):
            # Nobody has said anything of these pictures yet, and each has one row: columns are taken whole.
            rows = range(len(self._next), len(self._next) + len(other._next))
            self._first.update(zip(other._first, rows, strict=True))
            self._next.extend(other._next)
            self._saying.extend(sayings)
            self._created.extend(other._created)
            return
        images = [""] * len(other._next)
        for image, first in other._first.items():
            row = first
            while row >= 0:
                images[row] = image
                row = other._next[row]
        for image, saying, moment in zip(images, sayings, other._created, strict=True):
            self.add(image, saying, _moment(moment))

    def _join(self, image: str, saying: int, moment: int) -> bool:
        """Let the next row be one more of a picture that has some; not if one of them says the same."""
        last = self._first[image]
        while self._saying[last] != saying or self._created[last] != moment:
            if self._next[last] < 0:
                self._next[last] = len(self._next)
                self._several.add(image)
                return True
            last = self._next[last]
        self.repeated += 1
        return False

    def unite(self, same: Mapping[str, str]) -> None:
        """Let pictures be one that have the same bytes; before labels are settled.

        Args:
            same: the addresses that are to go, and the one that stands for each.
        """
        ends: dict[str, int] = {}
        for image, stands in sorted(same.items()):
            end = ends.get(stands)
            *_, end = self._rows(stands) if end is None else (end,)
            rows = list(self._rows(image))
            self._next[end] = rows[0]
            ends[stands] = rows[-1]
            self._elsewhere.update(dict.fromkeys(rows, image))
            self._also.setdefault(stands, []).append(image)
            del self._first[image]
            self._several.discard(image)
            self._several.add(stands)
            origin = self._origins.pop(image, None)
            if origin is not None:
                self.tell(stands, origin)

    def images(self) -> list[str]:
        """The addresses of all pictures, sorted."""
        return sorted(self._first)

    @property
    def several(self) -> frozenset[str]:
        """The pictures with more than one label."""
        return frozenset(self._several)

    def labels(self, image: str) -> Iterator[Label]:
        """The labels of a picture; the first is the one that holds, once they are settled."""
        return (self._label(image, row) for row in self._rows(image))

    def label(self, image: str) -> Label:
        """The label of a picture that holds, once they are settled."""
        return self._label(image, self._first[image])

    def class_of(self, image: str) -> str:
        """The class of a picture that holds, once they are settled."""
        return self._sayings[self._saying[self._first[image]]].class_name

    def rows_of(self, images: Iterable[str]) -> array[int]:
        """Where the labels of pictures are that hold, once they are settled.

        Looking up an address takes as long as anything that is done with its row: it is done once.
        """
        return array("i", map(self._first.__getitem__, images))

    def classes_of(self, rows: Iterable[int]) -> Counter[str]:
        """How many of these labels name each class."""
        counts: Counter[str] = Counter()
        for saying, count in Counter(self.sayings_of(rows)).items():
            counts[self._sayings[saying].class_name] += count
        return counts

    def sayings_of(self, rows: Iterable[int]) -> Iterator[int]:
        """What labels say, by the numbers of `sayings`."""
        return map(self._saying.__getitem__, rows)

    def dates_of(self, rows: Iterable[int]) -> list[str]:
        """The ends of metadata about labels: when they were made, if that is known, as AWS writes it."""
        dates, minutes = [], self._minutes
        for created in map(self._created.__getitem__, rows):
            if created == _UNDATED:
                dates.append("")
                continue
            minute, rest = divmod(created, _MINUTE)
            second, rest = divmod(rest, _SECOND)
            # Jobs last days, and people label many pictures a minute.
            spelled = minutes.get(minute) or self._spell_minute(minute)
            dates.append(f'{spelled}{_SECONDS[second]}{rest:06}"')
        return dates

    def _spell_minute(self, minute: int) -> str:
        if len(self._minutes) >= _MINUTES_KEPT:
            self._minutes.clear()
        whole = (_EPOCH + timedelta(minutes=minute)).isoformat(timespec="minutes")
        spelled = self._minutes[minute] = f',"creation-date":"{whole}'
        return spelled

    def lineage(self, image: str) -> str | None:
        """What the channel line tells of how the label of a picture was settled, as JSON; mostly nothing.

        It is what `Decision.lineage` says, put together of what labels have in common.
        """
        rows = list(self._rows(image))
        if image in self._decisions or image in self._also or len(rows) > _FEW:
            lineage = self.decision(image).lineage()
            return None if lineage is None else msgspec.json.encode(lineage).decode()
        said = self.sayings_of(rows)
        told = [
            f"{self._facts.get(saying) or self._spell_facts(saying)}{date}}}"
            for saying, date in zip(said, self.dates_of(rows), strict=True)
        ]
        kept = self._sayings[self._saying[rows[0]]]
        if len(rows) == 1 and kept.named is None:
            return None
        text = f'{{"policy":"{self._policy}","kept":{told[0]}'
        same = [self._sayings[self._saying[row]].class_name == kept.class_name for row in rows]
        same[0] = False
        if any(same):
            text += f',"agreed":[{",".join(compress(told, same))}]'
        other = [not is_same for is_same in same]
        other[0] = False
        if any(other):
            text += f',"dropped":[{",".join(compress(told, other))}]'
        return text + "}"

    def _spell_facts(self, saying: int) -> str:
        """What a lineage tells of a label but for its date, without the end."""
        said = self._sayings[saying]
        label = Label("", said.class_name, said.job, said.confidence, said.by_human, None, said.named)
        if len(self._facts) >= _FACTS_KEPT:
            self._facts.clear()
        spelled = self._facts[saying] = msgspec.json.encode(label.to_json()).decode()[:-1]
        return spelled

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
            image if image in self._also else None,
            tuple(self._also.get(image, ())),
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
        by_date = policy in ("newest", "refuse") and not self._elsewhere
        for image in sorted(self._several):
            differ = self._settle_by_date(image) if by_date else None
            if differ is not None:
                if differ:
                    disputed.append(image)
                else:
                    repeated += 1
                continue
            labels = list(self.labels(image))
            counted = (votes or {}).get(image)
            decision = decide(labels, policy, adjustments=adjustments, votes=counted)
            repeated += len(decision.agreed)
            if decision.dropped:
                disputed.append(image)
            if decision.votes or decision.policy != policy:
                self._decisions[image] = (decision.policy, decision.votes)
            self._order(image, [decision.kept, *decision.agreed, *decision.dropped])
        return Settled(repeated, tuple(disputed))

    def _settle_by_date(self, image: str) -> bool | None:
        """Let the newer of two labels hold, and say whether they differ; None if that is not all there is."""
        first = self._first[image]
        second = self._next[first]
        dates, sayings = self._created, self._saying
        older, newer = dates[first], dates[second]
        if self._next[second] >= 0 or older == newer or _UNDATED in (older, newer):
            return None
        if newer > older:
            dates[first], dates[second] = newer, older
            sayings[first], sayings[second] = sayings[second], sayings[first]
        return self._sayings[sayings[first]].class_name != self._sayings[sayings[second]].class_name

    def _order(self, image: str, labels: list[Label]) -> None:
        """Write the labels of a picture into its rows again, in this order; a voted one needs one more."""
        rows = list(self._rows(image))
        for _ in labels[len(rows) :]:
            self._next[rows[-1]] = len(self._next)
            rows.append(len(self._next))
            for column in (self._next, self._saying, self._created):
                column.append(-1)
        for label, row in zip(labels, rows, strict=True):
            if label.image != image:
                self._elsewhere[row] = label.image
            elif self._elsewhere:
                self._elsewhere.pop(row, None)
            self._saying[row] = self._id_of(label)
            created = label.created
            self._created[row] = _UNDATED if created is None else (created - _EPOCH) // _MICROSECOND

    def _rows(self, image: str) -> Iterator[int]:
        row = self._first[image]
        while row >= 0:
            yield row
            row = self._next[row]

    def _id_of(self, label: Label) -> int:
        return self.saying_id(
            Saying(label.class_name, label.named, label.job, label.confidence, label.by_human)
        )

    def _label(self, image: str, row: int) -> Label:
        said = self._sayings[self._saying[row]]
        created = _moment(self._created[row])
        home = self._elsewhere.get(row, image) if self._elsewhere else image
        return Label(home, said.class_name, said.job, said.confidence, said.by_human, created, said.named)


def _moment(microseconds: int) -> datetime | None:
    return None if microseconds == _UNDATED else _EPOCH + timedelta(microseconds=microseconds)
