"""One party of a computation of processes, as a new user would write it. Started by test_replicated, test_outside."""

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
    computing, outside = task.get("computing", 3), task.get("outside", 0)
    channels = connected(me, task["addresses"], computing, outside)
    session = mpc.Session(me, channels, context=b"custom index", computing=computing)
    a, b, c = (
        session.share(
            np.array(task["values"]) if owner == me else None,
            owner,
            5,
            low=0,
            high=100,
            name=f"input {owner}",
        )
        for owner in task.get("owners", range(3))
    )
    index = np.clip(a * b, 0, 20).sum()
    top = np.maximum(np.maximum(a, b), c)
    found, highest = session.open(index, top)
    for channel in channels.values():
        channel.close()
    print(json.dumps({"index": int(found), "top": highest.tolist()}))


if __name__ == "__main__":
    main()
