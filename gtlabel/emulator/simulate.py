"""Simulated people, who label over the same HTTP API as a worker page.

How they judge is in `gtlabel.emulator.opinions`, when they work in `gtlabel.emulator.shifts`, what they do
with a task in `gtlabel.emulator.person`; here many of them do it at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from gtlabel.emulator.habits import Habits
from gtlabel.emulator.opinions import Minds, Truth, read_confusion, read_truth
from gtlabel.emulator.person import Crowd, Person
from gtlabel.emulator.shifts import Hours
from gtlabel.emulator.summary import Summary, WorkerSummary
from gtlabel.emulator.workerclient import read_tokens
from gtlabel.errors import EmulatorError

__all__ = [
    "Habits",
    "Hours",
    "Summary",
    "Truth",
    "WorkerSummary",
    "answer",
    "read_confusion",
    "read_tokens",
    "read_truth",
]


def answer(
    url: str,
    job: str | Sequence[str],
    workers: int,
    accuracy: float,
    truth: Truth,
    seed: int = 0,
    on_progress: Callable[[int], None] | None = None,
    *,
    habits: Habits | None = None,
    tokens: Mapping[str, str] | None = None,
    on_notice: Callable[[str], None] = lambda _sentence: None,
) -> Summary:
    """Answer until the job is over, or all of several are, and say what was done.

    Args:
        url: the address of the emulator, or of another server with the workers' API.
        job: the job's name, or several, which are done one after the other as far as there are tasks.
        workers: how many people there are.
        accuracy: how often the average one is right, from 0 to 1; each is a little better or worse.
        truth: the class of every image of the job.
        seed: decides who the workers are.
        on_progress: called with the number of answers so far, by one thread at a time.
        habits: what else they are like.
        tokens: by the names of the workers, where the server asks for them; the first `workers` work.
        on_notice: told when the server is waited for.

    Raises:
        EmulatorError: if the job does not exist, wants more workers than there are, or shows an image
            that `truth` does not know.
        EmulatorNotReadyError: if nothing answers at `url`.
    """
    habits = habits or Habits()
    _check(workers, accuracy, habits, tokens)
    names = list(tokens)[:workers] if tokens else [f"worker-{number + 1}" for number in range(workers)]
    minds = Minds(
        seed=seed,
        accuracy=accuracy,
        fatigue=habits.fatigue,
        spammers=habits.spammers,
        prior=_prior(truth),
        confusion=habits.confusion,
    )
    crowd = Crowd(
        url,
        [job] if isinstance(job, str) else list(job),
        names,
        truth,
        minds,
        habits,
        on_progress,
        on_notice,
    )
    with ThreadPoolExecutor(workers, thread_name_prefix="worker") as pool:
        try:
            running = [
                pool.submit(Person(crowd, number, name, (tokens or {}).get(name)).work)
                for number, name in enumerate(names)
            ]
            for each in running:
                each.result()
        finally:
            # Also when somebody at the terminal has had enough: all give back what they hold.
            crowd.over.set()
    return Summary(tuple(crowd.summaries))


def _check(workers: int, accuracy: float, habits: Habits, tokens: Mapping[str, str] | None) -> None:
    if workers < 1:
        raise EmulatorError(f"{workers} workers cannot answer; at least one is needed")
    if tokens is not None and len(tokens) < workers:
        raise EmulatorError(f"{workers} workers need as many tokens, and there are {len(tokens)}")
    if not 0 <= accuracy <= 1:
        raise EmulatorError(f"an accuracy of {accuracy} cannot be; give a share from 0 to 1")
    habits.check(workers)


def _prior(truth: Truth) -> dict[str, float]:
    count: Counter[str] = Counter()
    for right in truth.values():
        count.update([right] if isinstance(right, str) else right)
    return dict(count)
