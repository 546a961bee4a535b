"""Every way from many answers to one label, by its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import signature
from types import MappingProxyType
from typing import Any, Final

from gtlabel.crowd.auto import auto
from gtlabel.crowd.aws import aws
from gtlabel.crowd.bayes import bayes
from gtlabel.crowd.dawidskene import dawid_skene, one_coin
from gtlabel.crowd.glad import glad
from gtlabel.crowd.mace import mace
from gtlabel.crowd.majority import majority, wawa
from gtlabel.crowd.sums import Sums
from gtlabel.crowd.votes import Consensus, Votes
from gtlabel.errors import ConsensusError

METHODS: Final[Mapping[str, Callable[..., Consensus]]] = MappingProxyType(
    {
        "auto": auto,
        "aws": aws,
        "bayes": bayes,
        "dawid_skene": dawid_skene,
        "glad": glad,
        "mace": mace,
        "majority": majority,
        "one_coin": one_coin,
        "wawa": wawa,
    }
)


def aggregate(
    votes: Votes | Sums,
    objects: int | None = None,
    classes: int | None = None,
    method: str = "auto",
    **options: Any,
) -> Consensus:
    """One distribution over the classes for each object, by the method of that name.

    Args:
        votes: the answers, or `Sums` of them.
        objects: how many objects there are, also those without answers; None for as many as answers name,
            and as the sums know.
        classes: how many classes there are, also those that nobody chose; None as for objects.
        method: one of `METHODS`; a dash is as good as an underscore.
        options: what that method takes beyond these, such as `known` for objects whose class is known.

    Raises:
        ConsensusError: there is no method of that name, or it takes no such option, or the answers name an
            object or class that is not there.
    """
    try:
        found = METHODS[method.replace("-", "_")]
    except KeyError:
        raise ConsensusError(
            f"there is no method {method!r} to make labels of answers; take one of {', '.join(METHODS)}"
        ) from None
    taken = list(signature(found).parameters)[3:]
    for name in options:
        if name not in taken:
            raise ConsensusError(
                f"the method {method} takes no option {name!r}; "
                + (f"it takes {', '.join(taken)}" if taken else "leave it out")
            )
    if isinstance(votes, Sums):
        objects = votes.objects if objects is None else objects
        return found(votes, objects, votes.classes if classes is None else classes, **options)
    objects = int(votes.objects.max(initial=-1)) + 1 if objects is None else objects
    classes = max(int(votes.classes.max(initial=-1)) + 1, 1) if classes is None else classes
    return found(votes, objects, classes, **options)
