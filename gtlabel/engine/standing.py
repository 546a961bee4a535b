"""What a running job makes of answers: by the workers as they were at the last fit, and the newest answers.

The latest answers are fitted anew when the batches have grown by a half, and after a hundred further ones at
the latest. In between, an image's answers are weighed by what their workers were like then, which costs next
to nothing, so that a streaming job, whose batches are single images, can label each as it comes. Which batch
is weighed by which fit depends on its number alone, and what is fitted is what the database has; so a process
that takes over makes the same labels, as long as nobody was asked again about what was fitted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from gtlabel.engine import labels
from gtlabel.engine.jobs import Job

if TYPE_CHECKING:
    from gtlabel.crowd.online import Online
    from gtlabel.crowd.votes import Consensus
    from gtlabel.engine.consensus import Label

# As many of the latest answers are fitted: how people work changes, and a fit holds up other jobs.
LATEST = 2000
# So many batches are labeled by one fit at most; workers who came since then are taken for anybody.
_BATCHES = 100
# An `Online` that is never fitted by itself again.
_NEVER = 1e9


def fitted_at(batch: int) -> int:
    """The number of the batch after which the fit was made that labels a batch."""
    last = 1
    while (following := last + min(max(last // 2, 1), _BATCHES)) <= batch:
        last = following
    return last


class Standing:
    """What workers were like at a fit.

    Args:
        job: the job.
        heard: who said what about the images that are fitted.
        gold: the classes of images that are known, by their numbers.
    """

    def __init__(
        self, job: Job, heard: Mapping[int, labels.Said], gold: Mapping[int, frozenset[int]]
    ) -> None:
        self._job = job
        self._heard = heard
        self._gold = gold
        self._questions: dict[int, Online] = {}
        self._made = labels.weighed(job, heard, gold, self._learn).labels

    def labels(self, images: Sequence[tuple[int, labels.Said]]) -> list[list[Label]]:
        """The labels of images, by their numbers and who said what about each."""
        newer = {number: said for number, said in images if self._heard.get(number) != said}
        made = {**self._made}
        if newer:
            made.update(labels.weighed(self._job, newer, self._gold, self._weigh).labels)
        return [made[number] for number, _ in images]

    def _learn(
        self, question: int, answers: Sequence[tuple[int, str, int]], classes: int, truth: Sequence[int]
    ) -> Consensus:
        from gtlabel.crowd.online import Online

        online = Online(
            classes,
            len(truth),
            method=lambda votes, _objects, _classes: labels.fit(
                self._job.spec.consensus, votes, classes, truth
            ),
            growth=_NEVER,
        )
        for image, worker, index in answers:
            online.add(image, worker, index)
        found = online.settle()
        # Methods to which all workers are alike have nothing to remember, nor has a fit of no answers: all
        # that it was made of may have been withdrawn or be with people again.
        if answers and (found.confusion is not None or found.skill is not None):
            self._questions[question] = online
        return found

    def _weigh(
        self, question: int, answers: Sequence[tuple[int, str, int]], classes: int, truth: Sequence[int]
    ) -> Consensus:
        import numpy as np

        from gtlabel.crowd.votes import Consensus

        method, online = self._job.spec.consensus, self._questions.get(question)
        if online is None:
            return labels.fitted(method, answers, classes, truth)
        first = online.objects
        for image, worker, index in answers:
            online.add(first + image, worker, index)
        posterior = np.array([online.posterior(first + image) for image in range(len(truth))])
        known = np.array(truth, dtype=np.intp)
        return Consensus(labels.clamped(posterior, known), None, None, method, 0, None)
