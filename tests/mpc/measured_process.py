"""One party of a program of `benchmarks/harness/arrays_party.py`, which says what it took. Started by the tests.

    {"me": 0, "parties": 2, "operation": "multiply", "size": 1000000, "addresses": {...}}

Prints a line with processor seconds, bytes and rounds of the program, and the peak of resident memory in bytes.
"""

import json
import os
import sys
import time
from pathlib import Path

if __name__ == "__main__":
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import numpy as np
from harness.arrays_party import OPERATIONS
from harness.blocking import connected

from atoll import mpc


def program(session, operation: str, size: int, plain=None):
    """Inputs of the parties in turn, the operation, one element opened; without values where there are none."""
    wanted = OPERATIONS[operation]
    shaped = plain or wanted.inputs(np.random.default_rng(7), size)
    parties = len(session.protocol.everybody)
    shared = [
        session.share(
            values if session.me == owner % parties else None,
            owner % parties,
            values.shape,
            low=low,
            high=high,
            kind=kind,
        )
        for owner, (values, low, high, kind) in enumerate(shaped)
    ]
    return session.open(wanted.work(*shared).ravel()[:1])


def main() -> None:
    task = json.loads(sys.argv[1])
    me, parties, size = task["me"], task["parties"], task["size"]
    channels = connected(me, task["addresses"], parties)
    plain = OPERATIONS[task["operation"]].inputs(np.random.default_rng(7), size)
    # A party has its own inputs alone: of the others' it knows shapes and bounds.
    plain = [
        (v if owner % parties == me else np.broadcast_to(v.reshape(-1)[0], v.shape), *rest)
        for owner, (v, *rest) in enumerate(plain)
    ]
    session = mpc.Session(me, channels, context=b"measured", names=["alice", "bob", "carol"][:parties])
    begun, cpu = time.perf_counter(), time.process_time()
    program(session, task["operation"], size, plain)
    status = Path("/proc/self/status").read_text()
    (peak,) = [int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmHWM:")]
    found = {
        "cpu": time.process_time() - cpu,
        "wall": time.perf_counter() - begun,
        "rounds": session.links.rounds,
        "sent": session.links.sent,
        "peak": peak,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
