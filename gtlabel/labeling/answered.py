"""The answers that jobs left, as arrays: who said what about which picture, when, and what was settled on.

They are read from the worker responses of a job, one file for each picture, or where those are missing from
the batches that were consolidated; or from a table that some other program wrote. Several jobs about the same
pictures are read as one: a picture is known by its address, a worker by their id, and who answered twice
counts with the newest answer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gtlabel.crowd.votes import Votes
from gtlabel.errors import LabelingJobError
from gtlabel.images.parallel import in_parallel
from gtlabel.labeling.answerfiles import AnswerFolder, find_folders
from gtlabel.labeling.answertables import read_table
from gtlabel.labeling.settled import Settled, read_settled
from gtlabel.manifests.answers import (
    AnsweredObject,
    read_request,
    read_response,
    read_withdrawn,
    response_place,
)
from gtlabel.manifests.classes import class_names

if TYPE_CHECKING:
    from gtlabel.aws import Aws
    from gtlabel.labeling.jobs import LabelingJob

# How many small files of answers are fetched at once.
_READERS = 16


@dataclass(frozen=True, slots=True)
class Answered:
    """What people said about the pictures of one or more jobs; all numbers count from zero.

    Attributes:
        sources: the address of each picture; where no manifest tells it, its number in its job.
        classes: the names of the classes, in the order of the (first) job's list as far as it is known.
        indices: what each class is in that list; None where nothing tells.
        workers: the ids of the workers.
        people: of each worker, what their provider names them by and who that is, as AWS writes them; empty
            texts for public workers and in jobs of before 2020.
        objects: of each answer, the picture, `(answers,)`; answers stand by picture, then by time.
        by: of each answer, the worker, `(answers,)`.
        chosen: of each answer, the classes it names, `(answers, classes)`.
        seconds: of each answer, how long it took; NaN where the job does not say, `(answers,)`.
        moments: of each answer, when it was sent, in seconds since 1970 UTC; NaN where unknown, `(answers,)`.
        given: the classes that the (first) job settled on for each picture, of several the likely ones,
            `(pictures, classes)`.
        confidence: how sure the job was of that, of several classes of the least sure decision; NaN where it
            settled on nothing or does not say, `(pictures,)`.
        batches: which pictures were consolidated together; -1 where nothing tells, `(pictures,)`.
        several: whether a picture may have several classes.
        folders: the jobs that were read.
        notes: what a reader of the results should know, as sentences.
    """

    sources: tuple[str, ...]
    classes: tuple[str, ...]
    indices: tuple[int | None, ...]
    workers: tuple[str, ...]
    people: tuple[tuple[str, str], ...]
    objects: NDArray[np.intp]
    by: NDArray[np.intp]
    chosen: NDArray[np.bool_]
    seconds: NDArray[np.float64]
    moments: NDArray[np.float64]
    given: NDArray[np.bool_]
    confidence: NDArray[np.float64]
    batches: NDArray[np.intp]
    several: bool
    folders: tuple[AnswerFolder, ...]
    notes: tuple[str, ...] = ()

    @property
    def votes(self) -> Votes:
        """The answers for the methods of consensus.

        Raises:
            LabelingJobError: if a picture may have several classes; each is a `question` of its own then.
        """
        self._refuse_several()
        return Votes(self.objects, self.by, self.chosen.argmax(axis=1).astype(np.intp))

    @property
    def labels(self) -> NDArray[np.intp]:
        """The class that the (first) job settled on for each picture; -1 for none, `(pictures,)`.

        Raises:
            LabelingJobError: if a picture may have several classes; they are in `given`.
        """
        self._refuse_several()
        return np.where(self.given.any(axis=1), self.given.argmax(axis=1), -1).astype(np.intp)

    def question(self, index: int) -> Votes:
        """Whether each picture has one class, as answers of two classes: no, 0, and yes, 1."""
        return Votes(self.objects, self.by, self.chosen[:, index].astype(np.intp))

    def without(self, workers: Collection[str]) -> Answered:
        """The same without the answers of some workers; all pictures stay, also those left without an answer.

        Raises:
            LabelingJobError: if one of them answered nothing here.
        """
        strangers = sorted(set(workers) - set(self.workers))
        if strangers:
            raise LabelingJobError(
                f"no worker {strangers[0]!r} answered; those who did are named by `gtlabel quality report`"
            )
        if not workers:
            return self
        if set(workers) >= set(self.workers):
            raise LabelingJobError(f"without {', '.join(sorted(workers))} no answer is left")
        staying = [number for number, name in enumerate(self.workers) if name not in workers]
        kept = np.isin(self.by, staying)
        renumbered = np.full(len(self.workers), -1, dtype=np.intp)
        renumbered[staying] = np.arange(len(staying))
        return replace(
            self,
            workers=tuple(self.workers[number] for number in staying),
            people=tuple(self.people[number] for number in staying),
            objects=self.objects[kept],
            by=renumbered[self.by[kept]],
            chosen=self.chosen[kept],
            seconds=self.seconds[kept],
            moments=self.moments[kept],
        )

    def _refuse_several(self) -> None:
        if self.several:
            names = ", ".join(folder.name for folder in self.folders)
            raise LabelingJobError(
                f"a picture of {names} may have several classes; ask about one class at a time"
            )


def read_answered(
    aws: Callable[[], Aws],
    places: Sequence[str | LabelingJob],
    *,
    attribute: str | None = None,
    classes: Sequence[str] | None = None,
    on_progress: Callable[[int, int], object] = lambda _done, _total: None,
) -> Answered:
    """Read the answers of jobs.

    Args:
        aws: gives the account; not called when all places are folders on this machine.
        places: names of jobs or of groups of jobs, S3 prefixes, or folders downloaded from there, jobs of
            2019 too; or tables of answers. What the first one settled on for a picture is what new labels are
            compared with.
        attribute: the key of the label, where a manifest has several and the job's own is not known.
        classes: the (first) job's class list, where it is not known.
        on_progress: told how many files of answers were read, of how many.

    Raises:
        JobNotFoundError: if a name is none of a job.
        LabelingJobError: if a place has no answers, or answers to other questions than which class it is.
        AnswerFileError: if a file or table of answers cannot be read.
        ManifestLineError: if a manifest cannot be read.
    """
    folders = find_folders(aws, places)
    total = sum(len(folder.responses) or len(folder.requests) or 1 for folder in folders)
    reader = _Reader(attribute, classes)
    for folder in folders:
        reader.take(folder, lambda done: on_progress(done, total))
    return reader.finish(tuple(folders))


@dataclass(frozen=True, slots=True)
class _Said:
    """One answer, while jobs are read."""

    moment: float
    place: int
    choice: tuple[str, ...]
    seconds: float


class _Reader:
    """Takes job after job, and numbers what it meets."""

    def __init__(self, attribute: str | None, classes: Sequence[str] | None) -> None:
        self._attribute = attribute
        self._index_of: dict[str, int] = {name: index for index, name in enumerate(classes or ())}
        self._complete = classes is not None
        self._jobs = 0
        self._numbers: dict[str, int] = {}
        self._answers: dict[tuple[int, str], _Said] = {}
        self._settled: dict[int, Settled] = {}
        self._batch_of: dict[int, tuple[int, str]] = {}
        self._people: dict[str, tuple[str, str]] = {}
        self._kinds: dict[bool, str] = {}
        self._notes: list[str] = []
        self._done = 0
        self._unread = 0
        self._withdrawn = 0
        self._repeated = 0

    def take(self, folder: AnswerFolder, on_progress: Callable[[int], object]) -> None:
        """Read one job."""
        if folder.going_on:
            self._notes.append(f"{folder.name} has not ended; these are its answers so far")
        answers, images, batches = self._answers_of(folder, on_progress)
        if folder.withdrawn is not None:
            gone = read_withdrawn(folder.fetch(folder.withdrawn), folder.withdrawn)
            kept = [said for said in answers if said[1] not in gone]
            if fewer := len(answers) - len(kept):
                self._withdrawn += fewer
                self._notes.append(f"{fewer:,} answers in {folder.name} were withdrawn, and are left out")
            answers = kept
        manifest = folder.manifests[0] if folder.manifests else None
        settled: dict[int, Settled] = {}
        if manifest is not None:
            folder.attribute, settled, notes = read_settled(
                folder.stream(manifest),
                manifest,
                folder,
                sorted({number for number, _, _ in answers}),
                self._attribute if self._jobs == 0 else None,
            )
            self._notes.extend(notes)
        elif folder.table is None:
            self._notes.append(f"{folder.place} has no output manifest, so nothing tells what was settled on")
        if folder.classes is not None and self._jobs == 0 and not self._complete:
            names = class_names(folder.fetch(folder.classes), folder.classes)
            self._index_of, self._complete = {name: index for index, name in enumerate(names)}, True
        several = any(each.several for each in settled.values()) or any(
            len(said.choice) != 1 for _, _, said in answers
        )
        self._kinds.setdefault(several, folder.name)
        for number, worker, said in sorted(answers, key=itemgetter(0)):
            line = settled.get(number)
            source = line.source if line else images.get(number) or f"{folder.name}, object {number}"
            place = self._numbers.setdefault(source, len(self._numbers))
            before = self._answers.get((place, worker))
            # Later batches of a job that asks again state the earlier answers once more.
            restated = before is not None and (before.moment, before.choice) == (said.moment, said.choice)
            self._repeated += before is not None and not restated
            if before is None or not said.moment < before.moment:
                self._answers[place, worker] = said
            earlier = self._settled.get(place)
            if line is not None and (earlier is None or not earlier.indices):
                self._settled[place] = line
            moment = batches.get(number) or (line.moment if line else None)
            if moment is not None:
                self._batch_of.setdefault(place, (self._jobs, moment))
        if self._jobs == 0 and not self._complete:
            for line in settled.values():
                self._index_of.update(line.indices)
        self._jobs += 1

    def finish(self, folders: tuple[AnswerFolder, ...]) -> Answered:
        """Everything as arrays."""
        if not self._answers and self._withdrawn:
            raise LabelingJobError(f"all answers in {folders[0].place} were withdrawn: {self._withdrawn:,}")
        if not self._answers:
            raise LabelingJobError(
                f"{folders[0].place} has answers that name no class; reports and new labels can be made "
                "of image classification alone, or of a table (.csv) with the columns image, worker and label"
            )
        if len(self._kinds) > 1:
            raise LabelingJobError(
                f"pictures of {self._kinds[True]} may have several classes and those of "
                f"{self._kinds[False]} have one; read them one after the other"
            )
        if self._repeated:
            self._notes.append(
                "of a worker who answered more than once about a picture, the newest answer counts: "
                f"{self._repeated:,} are left out"
            )
        if self._unread:
            self._notes.append(f"answers that name no class are left out: {self._unread:,}")
        (several,) = self._kinds
        met = {name for said in self._answers.values() for name in said.choice}
        met.update(name for line in self._settled.values() for name in line.names)
        known = sorted(self._index_of, key=self._index_of.__getitem__)
        classes = [*known, *sorted(met - set(known))]
        column = {name: place for place, name in enumerate(classes)}
        workers = sorted({worker for _, worker in self._answers})
        row = {name: place for place, name in enumerate(workers)}
        ordered = sorted(self._answers.items(), key=lambda item: (item[0][0], item[1].moment, item[1].place))
        chosen = np.zeros((len(ordered), len(classes)), dtype=np.bool_)
        for place, (_, said) in enumerate(ordered):
            chosen[place, [column[name] for name in said.choice]] = True
        pictures = len(self._numbers)
        given = np.zeros((pictures, len(classes)), dtype=np.bool_)
        confidence = np.full(pictures, np.nan)
        for place, line in self._settled.items():
            given[place, [column[name] for name in line.names]] = True
            confidence[place] = np.nan if line.confidence is None else line.confidence
        names_of_batches = {name: place for place, name in enumerate(sorted(set(self._batch_of.values())))}
        batches = np.full(pictures, -1, dtype=np.intp)
        for place, name in self._batch_of.items():
            batches[place] = names_of_batches[name]
        return Answered(
            sources=tuple(self._numbers),
            classes=tuple(classes),
            indices=tuple(self._index_of.get(name) for name in classes),
            workers=tuple(workers),
            people=tuple(self._people.get(name, ("", "")) for name in workers),
            objects=np.array([key[0] for key, _ in ordered], dtype=np.intp),
            by=np.array([row[key[1]] for key, _ in ordered], dtype=np.intp),
            chosen=chosen,
            seconds=np.array([said.seconds for _, said in ordered]),
            moments=np.array([said.moment for _, said in ordered]),
            given=given,
            confidence=confidence,
            batches=batches,
            several=several,
            folders=folders,
            notes=tuple(self._notes),
        )

    def _answers_of(
        self, folder: AnswerFolder, on_progress: Callable[[int], object]
    ) -> tuple[list[tuple[int, str, _Said]], dict[int, str], dict[int, str]]:
        """The answers by the numbers of their pictures, with the addresses and batches that files tell."""
        if folder.table is not None:
            return self._answers_in(folder, folder.table, on_progress)
        answers: list[tuple[int, str, _Said]] = []
        images: dict[int, str] = {}
        batches: dict[int, str] = {}
        for name, document in in_parallel(folder.fetch, folder.responses, _READERS):
            for answer in read_response(document, name):
                place = response_place(name)
                choice = answer.choice
                if place is None or choice is None:
                    self._unread += 1
                    continue
                seconds = answer.time_spent_in_seconds
                if seconds is None and answer.acceptance_time is not None:
                    seconds = (answer.submission_time - answer.acceptance_time).total_seconds()
                said = _Said(
                    answer.submission_time.timestamp(),
                    len(answers),
                    choice,
                    math.nan if seconds is None else seconds,
                )
                answers.append((place[1], answer.worker_id, said))
                if answer.worker_id not in self._people and answer.worker_metadata:
                    self._people[answer.worker_id] = _person(answer.worker_metadata)
            self._done += 1
            on_progress(self._done)
        for name, document in in_parallel(folder.fetch, sorted(folder.requests), _READERS):
            for item in read_request(document, name):
                batches[item.number] = name
                if item.image is not None:
                    images[item.number] = item.image
                if not folder.responses:
                    answers.extend(self._annotations(item, len(answers)))
            if not folder.responses:
                self._done += 1
                on_progress(self._done)
        return answers, images, batches

    def _answers_in(
        self, folder: AnswerFolder, name: str, on_progress: Callable[[int], object]
    ) -> tuple[list[tuple[int, str, _Said]], dict[int, str], dict[int, str]]:
        """The same of a table, whose pictures are numbered as they come."""
        table = read_table(folder.fetch(name), name)
        folder.gold = table.gold
        number_of: dict[str, int] = {}
        answers: list[tuple[int, str, _Said]] = []
        for line in table.answers:
            number = number_of.setdefault(line.image, len(number_of))
            if line.label:
                said = _Said(line.moment, len(answers), (line.label,), line.seconds)
                answers.append((number, line.worker, said))
            else:
                self._unread += 1
        self._done += 1
        on_progress(self._done)
        return answers, {number: image for image, number in number_of.items()}, {}

    def _annotations(self, item: AnsweredObject, place: int) -> Iterator[tuple[int, str, _Said]]:
        for annotation in item.annotations:
            if annotation.choice is None:
                self._unread += 1
                continue
            yield item.number, annotation.worker, _Said(math.nan, place, annotation.choice, math.nan)


def _person(metadata: Mapping[str, Any]) -> tuple[str, str]:
    """What a provider names a worker by, and which provider; empty where it does not say."""
    identity = metadata.get("identityData")
    if not isinstance(identity, Mapping):
        return "", ""
    return str(identity.get("sub", "")), str(identity.get("issuer", ""))
