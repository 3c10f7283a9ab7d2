"""Failure bounds of the key-value stores in rust/okvs, from the table of shapes in rust/okvs/src/layout.rs.

`python scripts/okvs_parameters.py` prints, for item counts from 1 to 2^22, logarithms (base 2) of the failure bound.
An encoding fails with probability at most E[2^D] * 2^-64, where D is the rank that the sparse rows lack: each of the at
most 2^D - 1 dependencies among them survives 64 uniform dense bits with probability 2^-64.

One window: E[2^D] is computed exactly, as the expected number of sets of rows whose sum is zero.
Several windows: D beyond `TOLERATED` needs an interval of windows with more rows than its columns bear at the threshold
where random rows of that weight lose full rank; the binomial tail of that, over all intervals, is a Chernoff bound.
That no other structure matters is an assumption; `missing_rank` in rust/okvs/src/peel.rs measures.
"""

import math
import re
import sys
from collections.abc import Iterable
from pathlib import Path

DENSE = 64
GOAL = -40.0
TOLERATED = DENSE - 41
MOST_ITEMS = 1 << 22
THRESHOLD = {3: 0.9179, 4: 0.9767}
SOURCE = Path(__file__).parent.parent / "rust" / "okvs" / "src" / "layout.rs"

Bracket = tuple[int, int, int, int]


def table(name: str, source: str) -> list[Bracket]:
    """Brackets (items below this, weight, windows, sparse slots in thousandths) of the constant `name`."""
    body = re.search(rf"const {name}: [^=]*= \[(.*?)\];", source, re.DOTALL)
    if body is None:
        raise ValueError(f"no table {name}")
    rows = re.findall(r"\(1 << (\d+), (\d+), (\d+), (\d+)\)", body[1])
    return [(1 << int(a), int(b), int(c), int(d)) for a, b, c, d in rows]


def shape(brackets: list[Bracket], items: int) -> tuple[int, int, int]:
    """Weight, windows, slots of a segment of a store of `items` keys; as `shape` in layout.rs."""
    _, weight, windows, thousandths = next(row for row in brackets if items < row[0])
    sparse = -(-items * thousandths // 1000) + 8
    return weight, windows, -(-sparse // (windows + weight - 1))


def log_sum(terms: Iterable[float]) -> float:
    """Logarithm of a sum of numbers given by their logarithms; -inf for none."""
    known = list(terms)
    top = max(known, default=-math.inf)
    if top == -math.inf:
        return top
    return top + math.log(sum(math.exp(term - top) for term in known))


def log_choose(n: int, k: int) -> float:
    """Logarithm of a binomial coefficient."""
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def one_window(items: int, weight: int, length: int) -> float:
    """log2 of the failure bound of one window: `items` rows with a slot in each of `weight` segments."""
    even = []
    for j in range(length + 1):
        if length != 2 * j:
            even.append((log_choose(length, j), math.log(abs(length - 2 * j) / length)))
    terms = []
    for size in range(2, items + 1, 2):
        # That `size` slots of one segment cancel: the mean of (1 - 2j/L)^size over subsets of the segment.
        cancel = log_sum(c + size * x for c, x in even) - length * math.log(2)
        terms.append(log_choose(items, size) + weight * cancel)
    sets = log_sum(terms) / math.log(2)
    return sets - DENSE


def many_windows(items: int, weight: int, windows: int, length: int) -> float:
    """log2 of the failure bound of a coupled store: a part of the windows with too many rows, or unlucky dense bits."""
    limit = THRESHOLD[weight]
    terms = []
    for wide in range(1, windows + 1):
        share = wide / windows
        most = (limit * (wide + (weight - 1) / 2) * length + TOLERATED) / items
        if most <= share:
            return 0.0
        if most >= 1:
            continue
        divergence = most * math.log(most / share) + (1 - most) * math.log((1 - most) / (1 - share))
        terms.append(math.log(windows - wide + 1) - items * divergence)
    tail = log_sum(terms)
    return log_sum([tail, (TOLERATED - DENSE) * math.log(2)]) / math.log(2)


def bound(brackets: list[Bracket], items: int) -> float:
    """log2 of the failure bound of a store of `items` keys."""
    weight, windows, length = shape(brackets, items)
    if windows == 1:
        return one_window(items, weight, length)
    return many_windows(items, weight, windows, length)


def counts(brackets: list[Bracket]) -> list[int]:
    """Item counts to look at: small ones, both ends of every bracket, and powers of two between."""
    found = {1, 2, 3, 5, 10, 30, 100, 1000}
    for most, *_ in brackets:
        found |= {most - 1, most}
    found |= {1 << e for e in range(13, 23)}
    return sorted(n for n in found if n <= MOST_ITEMS)


def main() -> int:
    """Prints the bounds; 1 if one misses the goal."""
    source = SOURCE.read_text()
    missed = 0
    for name in ("FAST", "DENSER"):
        brackets = table(name, source)
        print(f"{name}: items, slots an item, log2 of the failure bound")
        for items in counts(brackets):
            weight, windows, length = shape(brackets, items)
            slots = (windows + weight - 1) * length + DENSE
            log = bound(brackets, items)
            missed |= log > GOAL
            print(f"{items:>8} {slots / items:>9.4f} {log:>9.1f}{'  MISSED' if log > GOAL else ''}")
    return missed


if __name__ == "__main__":
    sys.exit(main())
