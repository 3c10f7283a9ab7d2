"""One party of `benchmarks/arrays.py`. Not run by hand."""

# ruff: noqa: E402, I001, the clock starts before anything is imported
import time

STARTED = time.perf_counter()

import gc
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from harness.blocking import connected

from atoll import mpc


@dataclass(frozen=True)
class Operation:
    """What is measured.

    Attributes:
        size: elements.
        inputs: makes plain inputs with their bounds and kinds.
        work: the operation, on shared arrays and on plain ones.
        error: largest difference from NumPy's result.
    """

    size: int
    inputs: Callable[[np.random.Generator, int], list[tuple[Any, Any, Any, mpc.Kind]]]
    work: Callable[..., Any]
    error: float = 0.0


def _reals(count: int, *shapes: Callable[[int], tuple[int, ...]]) -> Any:
    def make(rng: np.random.Generator, size: int) -> list[tuple[Any, Any, Any, mpc.Kind]]:
        return [(rng.uniform(-100, 100, shape(size)), -100, 100, mpc.real(18)) for shape in shapes] * count

    return make


def _integers(*spans: int) -> Any:
    def make(rng: np.random.Generator, size: int) -> list[tuple[Any, Any, Any, mpc.Kind]]:
        return [(rng.integers(0, span, size), 0, span - 1, mpc.decimal()) for span in spans]

    return make


def _signed(*_: int) -> Any:
    def make(rng: np.random.Generator, size: int) -> list[tuple[Any, Any, Any, mpc.Kind]]:
        most = 2**61
        return [(rng.integers(-most, most, size), -most, most, mpc.decimal()) for _ in range(2)]

    return make


def _plain_groups(keys: Any, values: Any) -> Any:
    place = np.unique(keys, return_inverse=True)[1]
    sums = np.zeros(len(keys), np.int64)
    np.add.at(sums, place, values)
    return sums


def _groups(keys: Any, values: Any) -> Any:
    return (
        mpc.group_sums(keys, values)[2] if isinstance(keys, mpc.SharedArray) else _plain_groups(keys, values)
    )


def _public_groups(keys: Any, values: Any) -> Any:
    if isinstance(keys, mpc.SharedArray):
        return mpc.public_group_sums(keys, np.arange(10), values)
    return np.array([values[keys == group].sum() for group in range(10)])


def _sigmoid(x: Any) -> Any:
    return mpc.sigmoid(x) if isinstance(x, mpc.SharedArray) else 1 / (1 + np.exp(-x))


def _exactly(x: Any) -> Any:
    """Plain arrays as integers of Python, which do not overflow."""
    return x if isinstance(x, mpc.SharedArray) else x.astype(object)


def _squares(x: Any) -> Any:
    return mpc.exact_moments(x).squares if isinstance(x, mpc.SharedArray) else (_exactly(x) ** 2).sum()


def _edge(size: int) -> int:
    return max(2, round(size ** (1 / 3)))


OPERATIONS = {
    "multiply": Operation(1_000_000, _reals(2, lambda n: (n,)), lambda x, y: x * y, 2e-3),
    "multiply integers": Operation(
        1_000_000, _integers(2**30, 2**30), lambda x, y: x * y
    ),
    "less": Operation(1_000_000, _signed(), lambda x, y: x < y),
    "less of 32 bits": Operation(1_000_000, _integers(2**31, 2**31), lambda x, y: x < y),
    "equal": Operation(1_000_000, _integers(2**31, 2**31), lambda x, y: x == y),
    "sum": Operation(1_000_000, _integers(2**30), lambda x: x.sum()),
    "matrix and vector": Operation(
        10_000_000, _reals(1, lambda n: (n // 100, 100), lambda n: (100,)), lambda x, y: x @ y, 0.1
    ),
    "matrices": Operation(
        10**9, _reals(2, lambda n: (_edge(n), _edge(n))), lambda x, y: x @ y, 0.2
    ),
    # Neither factor is known to one party.
    "shared matrix and vector": Operation(
        10_000_000,
        _reals(1, lambda n: (n // 100, 100), lambda n: (100,)),
        lambda x, y: (x + y) @ (y + x[0]),
        0.4,
    ),
    "shared matrices": Operation(
        10**9, _reals(2, lambda n: (_edge(n), _edge(n))), lambda x, y: (x + y) @ (x - y), 0.4
    ),
    # Zeros of another party: of two, none knows the sum.
    "sigmoid": Operation(
        100_000,
        lambda rng, n: [
            (rng.uniform(-100, 100, n), -100, 100, mpc.real(18)), (np.zeros(n), 0, 0, mpc.real(18))
        ],
        lambda x, y: _sigmoid(x + y),
        2e-5,
    ),
    "divide": Operation(
        100_000,
        lambda rng, n: [(rng.uniform(1, 100, n), 1, 100, mpc.real(18)) for _ in range(2)],
        lambda x, y: x / y,
        1e-2,
    ),
    "multiply to 120 bits": Operation(
        1_000_000, _integers(2**60, 2**60), lambda x, y: _exactly(x) * _exactly(y)
    ),
    "less of 121 bits": Operation(
        1_000_000, _integers(2**61, 2**61), lambda x, y: _exactly(x) * 2**60 < _exactly(y) * 2**60
    ),
    "sum of 81 bits": Operation(1_000_000, _integers(2**61), lambda x: _exactly(x).sum()),
    "exact sum of squares": Operation(1_000_000, _integers(10**9), _squares),
    "sort": Operation(100_000, _integers(2**31), np.sort),
    "sum by public groups": Operation(100_000, _integers(10, 2**20), _public_groups),
    "sum by secret keys": Operation(100_000, _integers(10_000, 2**20), _groups),
    "shuffle": Operation(
        100_000, _integers(2**31), lambda x: mpc.shuffled(x)[0].sum() if isinstance(x, mpc.SharedArray) else x.sum()
    ),
}  # fmt: skip


def main() -> None:
    task: dict[str, Any] = json.loads(sys.argv[1])
    operation, me = OPERATIONS[task["operation"]], task["me"]
    parties = task["parties"]
    channels = connected(me, task["addresses"], parties)
    plain = operation.inputs(np.random.default_rng(7), task["size"])
    source = {None: None, "rich": mpc.Rich(task["field"]), "thin": mpc.Thin()}[task["source"]]
    session = mpc.Session(me, channels, context=json.dumps(task["operation"]).encode(), source=source)
    runs = []
    for turn in range(task["repeats"] + 1):
        shared = [
            session.share(
                values if owner % parties == me else None,
                owner % parties,
                values.shape,
                low=low,
                high=high,
                kind=kind,
            )
            for owner, (values, low, high, kind) in enumerate(plain)
        ]
        # Sharing is not part of the operation: it is done once the first elements are open.
        session.open(*(array.ravel()[:1] for array in shared))
        gc.collect()
        begun, cpu = time.perf_counter(), time.process_time()
        rounds, sent = session.links.rounds, session.links.sent
        result = operation.work(*shared)
        session.open(result.ravel()[:1])
        run = {
            "wall": time.perf_counter() - begun,
            "cpu": time.process_time() - cpu,
            "rounds": session.links.rounds - rounds,
            "sent": session.links.sent - sent,
        }
        if turn:
            runs.append(run)
    found, expected = np.asarray(session.open(result)), np.asarray(operation.work(*(p[0] for p in plain)))
    difference = np.abs(found.astype(np.float64) - expected.astype(np.float64)).max()
    assert difference <= operation.error, f"off by {difference}"
    for channel in channels.values():
        channel.close()
    print("RESULT " + json.dumps({"started": STARTED, "closed": time.perf_counter(), "runs": runs}))


if __name__ == "__main__":
    main()
