"""Parameters of index PIR without a hint: security of ring LWE, and failure of an answer.

`python scripts/hintless_parameters.py` prints what docs/protocols/sealed-lookup.md quotes of rust/hintless.

Security: for 128 bits with a ternary secret in degree 2048 and noise of deviation 3.2 the homomorphic encryption
standard (Albrecht et al., eprint 2019/939) takes a modulus of 54 bits, later guidelines (Bossuat et al., eprint
2024/463) one of 53. Here it has 44, and the noise is 6.4, so that the core-SVP model of `lwe_parameters`, which counts
less for an attack than they do, gives as much too.

Failure is proved as there: given all uniform polynomials, what an answer is off by is a sum of independent parts, each
a noise or a word of the ternary secret times a factor of which only the largest size is taken. Chernoff's bound holds
for that sum, since the moments grow with a factor's size; what is rounded once for a row comes off the limit.
"""

import math

from lwe_parameters import (
    LOG_Q,
    MOST_COLUMN_BYTES,
    MOST_COLUMNS,
    SIGMA,
    N,
    cumulative,
    dual,
    masses,
    primal,
)

DEGREE = 2048
BITS = 44
Q = 0xFFFFFFFC001
WIDTH = 512
LEVELS = 9
# Digits of a level's change of keys: how many, bits of each, bits that are rounded off.
FINE, COARSE = (2, 14, 16), (1, 21, 23)
FINE_LEVELS = 6
# Lowest bits of the hint's words that are rounded off.
HINT_DROPPED = 11
ROW_BITS, MASK_BITS = 16, 20


def parts(columns: int) -> tuple[list[tuple[int, float]], float, float]:
    """What a word modulo Q is off by: noises as (number, largest factor), the largest factor of the secret's words, and
    what is rounded once."""
    unit = Q / 2**LOG_Q
    noises = [(columns, 128 * unit)]  # cells times the query's noise
    chunks = -(-N // WIDTH)
    hint = 2.0 ** (LOG_Q - HINT_DROPPED - 1)
    noises.append((chunks * DEGREE, hint))  # words of the hint times the noise of the question
    # The query's secret has the noise's distribution: what is rounded off the hint, and off a unit of the secret.
    noises.append((N, 2.0 ** (HINT_DROPPED - 1) * unit + hint / 2))
    secret = 0.0
    for level in range(1, LEVELS + 1):
        count, bits, dropped = FINE if level <= FINE_LEVELS else COARSE
        doubled = 2 ** (LEVELS - level)
        noises.append((count * DEGREE, doubled * 2.0 ** (bits - 1)))
        secret += doubled * 2.0 ** (dropped - 1)
    secret += Q / 2 ** (MASK_BITS + 1)
    return noises, secret, Q / 2 ** (ROW_BITS + 1) + 1


def log_failure(columns: int, column_bytes: int) -> float:
    """log2 of the bound that any cell of a column is read wrongly."""
    chances = masses(cumulative(SIGMA))
    noises, secret, once = parts(columns)
    limit = Q / 2**9 - once
    deviation = math.sqrt(variance(columns))

    def log_moment(t: float) -> float:
        found = DEGREE * math.log(1 / 3 + 2 / 3 * math.cosh(t * secret))
        for count, factor in noises:
            found += count * math.log(
                sum(chance * math.cosh(t * factor * k) for k, chance in enumerate(chances))
            )
        return found

    optimum = limit / deviation**2
    best = min(log_moment(t) - t * limit for t in (optimum * step / 20 for step in range(1, 41)))
    return (best + math.log(2 * column_bytes)) / math.log(2)


def variance(columns: int) -> float:
    """Of what a word is off by if all factors are as large as they can be."""
    noises, secret, _ = parts(columns)
    found = sum(count * (factor * float(SIGMA)) ** 2 for count, factor in noises)
    return found + DEGREE * 2 / 3 * secret**2


def main() -> None:
    """Prints security, failure and sizes."""
    ratio = float(SIGMA) / math.sqrt(2 / 3)
    costs = [attack(DEGREE, 2.0**BITS, float(SIGMA), 2 * DEGREE, ratio) for attack in (primal, dual)]
    print(f"degree {DEGREE}, q 2^{BITS}, sigma {SIGMA}: primal 2^{costs[0]:.1f}, dual 2^{costs[1]:.1f}")
    for columns, column_bytes in ((11616, 7228), (MOST_COLUMNS, MOST_COLUMN_BYTES)):
        deviation = math.log2(variance(columns)) / 2 - BITS + LOG_Q
        print(f"{columns} columns of {column_bytes} bytes: ", end="")
        print(f"deviation 2^{deviation:.1f} at most, failure 2^{log_failure(columns, column_bytes):.0f}")
    poly = DEGREE * BITS // 8
    print(f"keys {32 + (LEVELS + FINE_LEVELS) * poly} bytes, secret {32 + -(-N // WIDTH) * poly}")


if __name__ == "__main__":
    main()
