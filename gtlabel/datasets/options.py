"""What can be asked of a consolidation, for those who hand it on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, TypedDict

from gtlabel.datasets.batchoperations import Principal
from gtlabel.datasets.channels import Identity, Mode
from gtlabel.datasets.copying import Progress
from gtlabel.datasets.gather import OnBad
from gtlabel.datasets.resize import Shape
from gtlabel.manifests.choose import Choice
from gtlabel.manifests.merge import Policy
from gtlabel.manifests.split import Shares
from gtlabel.manifests.vocabulary import Vocabulary

if TYPE_CHECKING:
    from gtlabel.datasets.scale import Cluster

# Where the work is done: in this process, or on a Ray cluster; see `gtlabel.datasets.scale`.
Engine = Literal["process", "ray"]


class Options(TypedDict, total=False):
    """What can be asked of `consolidate`, which tells what each means; for those who hand it on."""

    policy: Policy
    identity: Identity
    choice: Choice
    vocabulary: Vocabulary
    shares: Shares
    groups: str | None
    mode: Mode
    formats: Sequence[str]
    resize: Shape | None
    on_bad: OnBad | None
    workers: int
    engine: Engine | Cluster
    batch: Principal | None
    break_lock: bool
    dry_run: bool
    on_progress: Progress | None
