"""Every way from many answers to one label, by its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

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


def aggregate(votes: Votes | Sums, objects: int, classes: int, method: str = "auto") -> Consensus:
    """One distribution over the classes for each object, by the method of that name.

    Raises:
        ConsensusError: there is no method of that name, or the answers name an object or class that is not
        there.
    """
    try:
        found = METHODS[method.replace("-", "_")]
    except KeyError:
        raise ConsensusError(
            f"there is no method {method!r} to make labels of answers; take one of {', '.join(METHODS)}"
        ) from None
    return found(votes, objects, classes)
