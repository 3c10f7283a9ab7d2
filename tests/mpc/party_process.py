"""One party of a computation of three processes, as a new user would write it. Started by test_replicated.py."""

import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from harness.blocking import connected

from atoll import mpc


def main() -> None:
    task = json.loads(sys.argv[1])
    me = task["me"]
    session = mpc.Session(me, connected(me, task["addresses"], 3), context=b"custom index")
    a, b, c = (
        session.share(
            np.array(task["values"]) if owner == me else None,
            owner,
            5,
            low=0,
            high=100,
            name=f"input {owner}",
        )
        for owner in range(3)
    )
    index = np.clip(a * b, 0, 20).sum()
    top = np.maximum(np.maximum(a, b), c)
    found, highest = session.open(index, top)
    print(json.dumps({"index": int(found), "top": highest.tolist()}))


if __name__ == "__main__":
    main()
