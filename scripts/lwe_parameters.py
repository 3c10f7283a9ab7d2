"""Parameters of index PIR: security of the LWE instance, failure of decryption, the table of the noise.

`python scripts/lwe_parameters.py` prints what rust/pir/src/parameters.rs and rust/pir/src/noise.rs quote.

Security is this project's own core-SVP model, not the lattice estimator: one SVP call of 2^(0.292 b) in block size b,
for the primal uSVP attack (Alkim et al., eprint 2015/1092, section 6.3) and the dual attack (the same, 6.4), over all
numbers of samples. Later dual attacks with modulus switching are not modelled. Kyber's published core-SVP values are
the check. A uniform secret is as hard as one drawn like the noise (normal form), at the price of n samples.

Failure is proved, not estimated: cells d have |d| <= 128, noise is independent, and E[e^(tdX)] grows with |d| for a
symmetric X; so Chernoff with the exact moments of the tabulated noise bounds each cell, and a union bound the column.
"""

import math
from decimal import Decimal, getcontext
from itertools import pairwise

getcontext().prec = 60

LOG_Q = 32
LOG_P = 8
N = 1408
SIGMA = Decimal("6.4")
MOST_COLUMNS = 1 << 18
MOST_COLUMN_BYTES = 1 << 18
SCALE = 1 << 63


def cumulative(sigma: Decimal) -> list[int]:
    """floor(2^63 P(|X| <= k)) for k = 0, 1, ... of the discrete Gaussian, up to where the rest is below 2^-63."""
    weights = [(-Decimal(x * x) / (2 * sigma * sigma)).exp() for x in range(200)]
    total = weights[0] + 2 * sum(weights[1:])
    table: list[int] = []
    reached = Decimal(0)
    for x, weight in enumerate(weights):
        reached += weight if x == 0 else 2 * weight
        threshold = int(reached / total * SCALE)
        if threshold >= SCALE - 1:
            return table
        table.append(threshold)
    raise ValueError("sigma is too large for the table")


def masses(table: list[int]) -> list[float]:
    """P(|X| = k) of the sampler that counts the thresholds not above a uniform 63-bit number."""
    edges = [0, *table, SCALE]
    return [(above - below) / SCALE for below, above in pairwise(edges)]


def log_failure(table: list[int], columns: int, column_bytes: int) -> float:
    """log2 of the bound that any cell of a column is read wrongly."""
    chances = masses(table)
    limit = 1 << (LOG_Q - LOG_P - 1)
    largest = 1 << (LOG_P - 1)
    variance = sum(chance * k * k for k, chance in enumerate(chances))

    def chernoff(t: float) -> float:
        moment = sum(chance * math.cosh(t * largest * k) for k, chance in enumerate(chances))
        return columns * math.log(moment) - t * limit

    # Any t > 0 gives a bound; near the Gaussian optimum, a few are tried.
    optimum = limit / (columns * largest**2 * variance)
    most = 40 / (largest * len(chances))
    best = min(chernoff(min(optimum * step / 20, most)) for step in range(1, 41))
    return (best + math.log(2 * column_bytes)) / math.log(2)


def root_hermite(block: int) -> float:
    """Chen's estimate of the root Hermite factor of BKZ with this block size (above 50)."""
    inner = (math.pi * block) ** (1 / block) * block / (2 * math.pi * math.e)
    return float(inner ** (1 / (2 * (block - 1))))


def primal(n: int, q: float, sigma: float, samples: int, ratio: float = 1.0) -> float:
    """log2 of the cost of the cheapest primal attack; `ratio`: deviation of the noise by that of the secret."""
    for block in range(60, 2000):
        delta = math.log(root_hermite(block))
        left = math.log(sigma) + math.log(block) / 2
        for m in range(max(1, n // 4), min(samples, 4 * n), 8):
            dim = m + n + 1
            if left <= (2 * block - dim - 1) * delta + (m * math.log(q) + n * math.log(ratio)) / dim:
                return 0.292 * block
    raise ValueError("beyond the model")


def dual(n: int, q: float, sigma: float, samples: int, ratio: float = 1.0) -> float:
    """log2 of the cost of the cheapest dual attack; `ratio` as for `primal`."""
    best = math.inf
    for block in range(60, 1200, 2):
        delta = math.log(root_hermite(block))
        for m in range(max(1, n // 4), min(samples, 4 * n), 16):
            dim = m + n
            tau = math.exp(dim * delta + n / dim * math.log(q / ratio)) * sigma / q
            log_advantage = 2 - 2 * math.pi**2 * tau**2 / math.log(2)
            repeats = max(0.0, -2 * log_advantage - 0.2075 * block)
            best = min(best, 0.292 * block + repeats)
    return best


def main() -> None:
    """Prints the checks, then the parameters, then the table."""
    for name, n, variance, published in (("Kyber512", 512, 1.5, 118), ("Kyber768", 768, 1.0, 182)):
        found = primal(n, 3329, math.sqrt(variance), n + 256)
        print(
            f"{name}: primal 2^{found:.0f}, dual 2^{dual(n, 3329, math.sqrt(variance), n + 256):.0f}", end=""
        )
        print(f", published 2^{published}")
    table = cumulative(SIGMA)
    for n in (1024, 1280, 1344, N):
        costs = [attack(n, 2.0**LOG_Q, float(SIGMA), MOST_COLUMNS) for attack in (primal, dual)]
        print(f"n {n}, q 2^{LOG_Q}, sigma {SIGMA}: primal 2^{costs[0]:.1f}, dual 2^{costs[1]:.1f}")
    for columns in (1 << 12, 1 << 16, MOST_COLUMNS):
        print(f"columns {columns}: failure 2^{log_failure(table, columns, MOST_COLUMN_BYTES):.1f}")
    print(f"thresholds ({len(table)}):")
    for start in range(0, len(table), 4):
        print("    " + " ".join(f"0x{entry:016x}," for entry in table[start : start + 4]))


if __name__ == "__main__":
    main()
