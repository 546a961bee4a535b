"""A shift: jobs put up one after another, and people who answer them whatever happens to the servers.

What a worker says depends on worker, job and image alone, and each job is answered by exactly as many workers
as it wants answers, so an undisturbed shift leaves the same labels as one with kills in it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from clients import ELEMENT, Book, Line, Said, job_request, opinion

# An iteration of fewer images than a batch holds is one batch, whoever was faster.
_FEWEST, _FEW, _MOST = 12, 16, 58
_LONG = 300
_LOOK_SECONDS = 0.1
_POLL_SECONDS = 0.02
# While a server is down its clients knock this often.
_KNOCK_SECONDS = 0.05


class Slot:
    """A place for one job at a time, with a crew of its own.

    Attributes:
        group: what its crew is called.
        job: the job that is up; empty between two.
        names: all jobs so far.
        done: how many of them have ended.
    """

    def __init__(self, number: int, workers: Sequence[str], images: Sequence[int]) -> None:
        self.number = number
        self.group = f"crew-{number}"
        self.workers = workers
        self.images = images
        self.job = ""
        self.names: list[str] = []
        self.done = 0


class Shift:
    """The people, what they remember, and the jobs.

    Args:
        ports: where servers answer; who gets no answer from one tries the next.
        tokens: the bearer token of each worker, by name.
        team_of: the work team of a slot's crew.
        bucket: the bucket with the inputs, manifests named by their number of images.
        limit: how many jobs each slot puts up; without one, until `end` is called.
        forgetful: the slots whose workers never ask what they still hold after a line broke.

    Attributes:
        statuses: how the jobs ended, by name.
    """

    def __init__(
        self,
        ports: Sequence[int],
        tokens: Mapping[str, str],
        team_of: Mapping[int, str],
        bucket: str,
        slots: Sequence[Slot],
        *,
        limit: Mapping[int, int] | None = None,
        forgetful: Sequence[int] = (),
    ) -> None:
        self.book = Book()
        self.statuses: dict[str, str] = {}
        self.slots = slots
        self._ports = ports
        self._tokens = tokens
        self._team_of = team_of
        self._bucket = bucket
        self._limit = limit
        self._forgetful = frozenset(forgetful)
        self._ending = False
        self._over = False

    def end(self) -> None:
        """Put up no more jobs; the shift is over when those that are up have ended."""
        self._ending = True

    async def run(self) -> None:
        """Work until the last job has ended."""
        people = [
            asyncio.create_task(self._work(slot, worker, place))
            for slot in self.slots
            for place, worker in enumerate(slot.workers)
        ]
        try:
            await asyncio.gather(*(self._put_up(slot) for slot in self.slots))
        finally:
            self._over = True
        await asyncio.gather(*people)

    async def _put_up(self, slot: Slot) -> None:
        line = _Patient(self._ports, slot.number)
        while not self._ending and (self._limit is None or len(slot.names) < self._limit[slot.number]):
            images = slot.images[len(slot.names) % len(slot.images)]
            name = f"shift-{slot.number}-{len(slot.names)}"
            request = job_request(name, self._bucket, self._team_of[slot.number], manifest=str(images))
            request["HumanTaskConfig"]["NumberOfHumanWorkersPerDataObject"] = len(slot.workers)
            slot.names.append(name)
            tries, created = 0, False
            while not created:
                tries += 1
                status, said = await line.aws("CreateLabelingJob", **request)
                # A request that was never answered may have made the job.
                created = status == 200 or (tries + line.breaks > 1 and "ResourceInUse" in str(said))
                if not created:
                    self.book.complain(status, said)
                    await asyncio.sleep(_KNOCK_SECONDS)
            slot.job = name
            while True:
                status, said = await line.aws("DescribeLabelingJob", LabelingJobName=name)
                if status != 200:
                    self.book.complain(status, said)
                elif said["LabelingJobStatus"] in ("Completed", "Failed", "Stopped"):
                    break
                await asyncio.sleep(_LOOK_SECONDS)
            self.statuses[name] = said["LabelingJobStatus"] + said.get("FailureReason", "")
            slot.job = ""
            slot.done += 1
        line.close()

    async def _work(self, slot: Slot, worker: str, place: int) -> None:
        line = _Patient(self._ports, place, self._tokens.get(worker, ""))
        tasks: list[dict[str, Any]] = []
        breaks = 0
        while not self._over:
            if line.breaks != breaks and slot.number not in self._forgetful:
                # Whatever was handed out in an answer that never came is still in this worker's hands.
                breaks = line.breaks
                known = {task["lease"] for task in tasks}
                status, said = await line.ask("held", {"worker": worker})
                if status == 200:
                    tasks += [task for task in said["tasks"] if task["lease"] not in known]
                else:
                    self.book.complain(status, said)
            if tasks:
                following = await self._answer(line, worker, tasks.pop(0), chain=place % 2 == 0)
                if following.get("lease") and all(task["lease"] != following["lease"] for task in tasks):
                    tasks.append(following)
            elif slot.job:
                job = slot.job
                status, said = await line.ask("lease", {"job": job, "worker": worker})
                if status == 200 and said["lease"]:
                    tasks.append({**said, "job": job})
                    continue
                if status != 200:
                    self.book.complain(status, said)
                await asyncio.sleep(_POLL_SECONDS)
            else:
                await asyncio.sleep(_POLL_SECONDS)
        line.close()

    async def _answer(
        self, line: _Patient, worker: str, task: Mapping[str, Any], *, chain: bool
    ) -> dict[str, Any]:
        """Answer one task for good; return the next one, if one came with it."""
        job, lease = str(task["job"]), str(task["lease"])
        label = opinion(worker, job, task["object"])
        said = self.book.said.setdefault(lease, Said(worker, job, task["object"], label))
        body = {"lease": lease, "answer": {ELEMENT: {"label": label}}, "next": chain, "worker": worker}
        while not self._over:
            breaks = line.breaks
            status, reply = await line.ask("submit", body)
            said.tries += 1 + line.breaks - breaks
            if status == 200:
                if not said.acknowledged:
                    said.acknowledged = True
                    self.book.acknowledged += 1
                return {**(reply.get("next") or {}), "job": job}
            if status == 409:
                said.refused = str(reply.get("error"))
                return {}
            self.book.complain(status, reply)
            await asyncio.sleep(_KNOCK_SECONDS)
        return {}


class _Patient:
    """A line that asks until it is answered, at the next port where one is silent.

    Attributes:
        breaks: how often an answer did not come.
    """

    def __init__(self, ports: Sequence[int], place: int, token: str = "") -> None:
        self._lines = [Line(port, token) for port in ports]
        self._at = place % len(ports)
        self.breaks = 0

    async def ask(self, action: str, body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        """Ask the workers' API."""
        return await self._insist(lambda line: line.post(f"/gtlabel/worker/{action}", body))

    async def aws(self, operation: str, **params: Any) -> tuple[int, dict[str, Any]]:
        """Ask AWS's API."""
        return await self._insist(lambda line: line.aws(operation, **params))

    def close(self) -> None:
        for line in self._lines:
            line.close()

    async def _insist(self, ask: Any) -> tuple[int, dict[str, Any]]:
        while True:
            try:
                answer: tuple[int, dict[str, Any]] = await ask(self._lines[self._at])
                return answer
            except ConnectionError:
                self.breaks += 1
                self._at = (self._at + 1) % len(self._lines)
                await asyncio.sleep(_KNOCK_SECONDS)


def crews(slots: int, per_image: int, seed: int, *, short: bool = False) -> list[Slot]:
    """Slots with jobs of seeded sizes; the last one's fill several batches, unless all are to be short."""
    random = Random(seed)
    made = []
    for number in range(slots):
        images = [random.randint(_FEWEST, _FEW if short else _MOST) for _ in range(50)]
        if number == slots - 1 and not short:
            images = [_LONG]
        made.append(Slot(number, [f"worker-{number}-{place}" for place in range(per_image)], images))
    return made
