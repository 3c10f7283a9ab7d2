"""Noise weights of the silent correlations: derives and prints the table of `rust/ot/src/lpn.rs`.

The code has rate one half, noise is regular (one noisy position in each of t blocks), a noise value is uniform and not
zero below 2^bits. Two attacks bound t; docs/protocols/vole.md has the reasoning.

- Linear test: a word of the code of relative weight d is blind to a block's noise with probability 1 - d. For values of
  one bit a hit flips the sum, and the bias is (1 - 2 d)^t; for wider ones it hides the sum, and the bias is (1 - d)^t.
- Information set and combination of columns: a set of half of the positions holds each block's noise with probability
  1/2. If at most bits - 1 are inside, some combination of the bit columns is free of noise there, and linear algebra
  finds it. A round is counted as one operation, which is far less than it takes.
"""

from math import comb, log2

SECURITY = 128
DISTANCE = 0.15
WIDTHS = (1, 128)


def linear_test(weight: int, bits: int) -> float:
    """Bits of security against the best linear test."""
    return -weight * log2(1 - (2 if bits == 1 else 1) * DISTANCE)


def information_set(weight: int, bits: int) -> float:
    """Bits of security against information sets with combined columns: -log2 P[Bin(weight, 1/2) < bits]."""
    return weight - log2(sum(comb(weight, inside) for inside in range(min(weight + 1, bits))))


def weight_for(bits: int) -> int:
    """The least weight that both attacks need 2^SECURITY for."""
    weight = 1
    while min(linear_test(weight, bits), information_set(weight, bits)) < SECURITY:
        weight += 1
    return weight


def table() -> list[tuple[int, int, float, float]]:
    """Width in bits, weight, and the security of both attacks in bits."""
    rows = []
    for bits in WIDTHS:
        weight = weight_for(bits)
        rows.append((bits, weight, linear_test(weight, bits), information_set(weight, bits)))
    return rows


if __name__ == "__main__":
    print(f"{'bits':>5} {'weight':>7} {'linear test':>12} {'information set':>16}")
    for width, least, linear, sets in table():
        print(f"{width:>5} {least:>7} {linear:>12.1f} {sets:>16.1f}")
