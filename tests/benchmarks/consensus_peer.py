"""Labels by crowd-kit's methods, for the table of consensus.py; runs in an environment of its own.

Run: /opt/ck/bin/python tests/benchmarks/consensus_peer.py FOLDER

FOLDER holds one `NAME.npz` for each crowd: the arrays objects, workers and classes, the number count of all
objects, and the names of the methods asked. Beside each goes `NAME.peer.npz`: the names of methods, and for
each of them an array of labels, -1 for objects that nobody answered for. Needs crowd-kit 1.4.2 with
scikit-learn 1.5.2; with newer ones its Wawa raises an error.
"""

import sys
import warnings
from importlib import import_module
from pathlib import Path

import numpy as np

# Only the other environment has these two.
pandas = import_module("pandas")
crowdkit = import_module("crowdkit.aggregation")

METHODS = {
    "MajorityVote": crowdkit.MajorityVote,
    "Wawa": crowdkit.Wawa,
    "ZeroBasedSkill": crowdkit.ZeroBasedSkill,
    "DawidSkene": crowdkit.DawidSkene,
    "OneCoin": crowdkit.OneCoinDawidSkene,
    # Each of its ten restarts begins with the same random state, so that one finds the same labels.
    "MACE": lambda: crowdkit.MACE(n_restarts=1, random_state=0),
    "GLAD": crowdkit.GLAD,
}


def main() -> None:
    """Label the crowds of a folder."""
    warnings.simplefilter("ignore")
    for path in sorted(Path(sys.argv[1]).glob("*.npz")):
        crowd = np.load(path)
        methods = {name: METHODS[name] for name in crowd["methods"].tolist()}
        answers = pandas.DataFrame(
            {"task": crowd["objects"], "worker": crowd["workers"], "label": crowd["classes"]}
        )
        table = np.full((len(methods), int(crowd["count"])), -1)
        for labels, method in zip(table, methods.values(), strict=True):
            given = method().fit_predict(answers)
            labels[given.index.to_numpy()] = given.to_numpy()
        np.savez(path.with_suffix(".peer.npz"), methods=list(methods), labels=table)


if __name__ == "__main__":
    main()
