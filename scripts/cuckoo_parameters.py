"""Bins for cuckoo hashing with three positions and no stash, so that no placement exists with at most 2^-40.

There is no placement exactly if some k entries name fewer than k bins between them (Hall). Take such a set
with the fewest entries: it names k - 1 bins, and every one of these at least twice, since a bin named once could
be left out together with its entry. With m bins and three different positions, uniform, the expected number of
such sets bounds the probability. For n entries the sum over k = 4 .. n has the terms

    C(n, k) C(m, k - 1) min( (C(k - 1, 3) / C(m, 3))^k,
                             min over x > 0 of (3k)! (e^x - 1 - x)^(k - 1) / x^(3k) / (m (m - 1) (m - 2))^k )

The second counts the ways of naming k - 1 bins 3k times, each at least twice, by the saddle point of its generating
function, which is an upper bound. No step is an estimate: the bound holds for every n.

    python scripts/cuckoo_parameters.py          prints the table of rust/psi/src/circuit/parameters.rs
    python scripts/cuckoo_parameters.py check    checks all sizes to 3,000 and more on a grid to 2^24
"""

from __future__ import annotations

import sys
from math import exp, expm1, inf, lgamma, log

SECURITY = 40
LN2 = log(2)
# Numbers of entries at which rows of the table begin; from the last on the ratio is LAST.
STARTS = (
    1,
    3,
    4,
    6,
    8,
    12,
    16,
    24,
    32,
    48,
    64,
    96,
    128,
    192,
    256,
    384,
    512,
    768,
    1024,
    1536,
    2048,
    4096,
    8192,
    16384,
)
LAST = 1.30
LARGEST = 1 << 24


def log_choose(n: int, k: int) -> float:
    """Natural logarithm of a binomial coefficient, 0 <= k <= n."""
    return lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)


def covered_twice(balls: int, boxes: int) -> float:
    """Upper bound of log of the ways to throw `balls` into `boxes`, each at least two."""
    # The minimum over x is where x (e^x - 1) / (e^x - 1 - x) = balls / boxes; any x gives a bound.
    low, high = 1e-9, 60.0
    for _ in range(60):
        x = (low + high) / 2
        if x * expm1(x) / (expm1(x) - x) * boxes < balls:
            low = x
        else:
            high = x
    return lgamma(balls + 1) + boxes * log(exp(x) - 1 - x) - balls * log(x)


def failure(n: int, m: int) -> float:
    """Upper bound of log2 of the probability that n entries cannot be placed in m bins.

    The terms fall steeply from k = 4 and from the largest again, so sums over large n take every k up to 256
    and a grid beyond, of which each term stands for the whole interval up to the next.
    """
    total, k, step = 0.0, 4, 1
    while k <= n:
        if k > 256:
            step = max(1, k // 256)
        least = log_choose(k - 1, 3) - log_choose(m, 3)
        three = log(m) + log(m - 1) + log(m - 2)
        ways = min(k * least, covered_twice(3 * k, k - 1) - k * three)
        term = log_choose(n, k) + log_choose(m, k - 1) + ways
        if term > 0:
            return inf
        if term > -700:
            total += step * exp(term)
        k += step
    return log(total) / LN2 if total else -inf


def holds(n: int, m: int) -> bool:
    """True if the bound is at most 2^-40."""
    return failure(n, m) <= -SECURITY


def fewest(n: int) -> int:
    """The fewest bins for n entries, at least three."""
    low, high = 2, 4 * n + 64
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if middle >= max(3, n) and holds(n, middle) else (middle, high)
    return high


def table() -> list[tuple[int, int]]:
    """Rows (entries, bins): the ratio of a row holds from its number of entries to that of the next."""
    rows = [(n, fewest(n)) for n in STARTS]
    return [*rows[:-1], (STARTS[-1], -(-int(LAST * 1000) * STARTS[-1] // 1000))]


def bins(n: int, rows: list[tuple[int, int]]) -> int:
    """Bins for n entries, as the product computes them."""
    if n == 0:
        return 0
    entries, count = max(row for row in rows if row[0] <= n)
    return -(-n * count // entries)


def main() -> None:
    rows = table()
    for n, m in rows:
        print(f"    ({n}, {m}),")
    grid = list(range(1, 3000)) if "check" in sys.argv else [n + d for n in STARTS for d in (0, 1)]
    grid += [3000, *(n - 1 for n in STARTS if n > 3000), *(16384 * 2**i for i in range(11))]
    for n in grid:
        found = failure(n, bins(n, rows))
        if found > -SECURITY:
            raise SystemExit(f"{n} entries in {bins(n, rows)} bins fail with 2^{found:.1f}")
        if n in STARTS or n > 16384:
            print(f"{n} entries: {bins(n, rows) / n:.3f} bins each, 2^{found:.1f}")


if __name__ == "__main__":
    main()
