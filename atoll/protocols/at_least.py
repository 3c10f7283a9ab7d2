"""Whether a shared number is at least a public one, as two sets that meet or not (docs/protocols/hidden-totals.md)."""

from __future__ import annotations

import struct

from atoll.crypto.circuit import Role


def width(most: int, minimum: int) -> int:
    """Bits of which all but the highest are compared, for a number from 0 to `most`: one more than either takes."""
    return max(most, minimum).bit_length() + 1


def halves(role: Role, share: int, minimum: int, bits: int) -> tuple[int, list[bytes]]:
    """One side's part of "the number is at least `minimum`", as a bit and a set.

    With x the share, at the placer minus the minimum, modulo 2^bits, the difference has the sign bit u0 + u1 + carry,
    where u are the highest bits of both and the carry comes out of the others. There is a carry exactly if a > b for a
    the placer's lower bits and b the complement of the mapper's. And that is so exactly if, at one position, a prefix
    of a that ends in 1 is the prefix of b of that length with its last 0 made a 1; there is at most one such position
    (H.-Y. Lin, W.-G. Tzeng, eprint 2005/043).

    Args:
        share: this side's share modulo 2^64 of a number below 2^(bits - 1).
        minimum: below 2^(bits - 1).
        bits: as `width` gives, at most 64.

    Returns:
        A bit, and at most `bits - 1` different strings. Both sides' bits and "a string is in both sets", added
        modulo 2, say whether the number is at least the minimum.
    """
    low = bits - 1
    x = (share - minimum * (role == "placer")) % (1 << bits)
    upper, lower = x >> low, x % (1 << low)
    ones = [at for at in range(low) if lower >> at & 1]
    if role == "placer":
        return 1 ^ upper, [_prefix(low - at, lower >> at) for at in ones]
    # Where the mapper has a 1, its complement has a 0.
    other = lower ^ ((1 << low) - 1)
    return upper, [_prefix(low - at, other >> at | 1) for at in ones]


def _prefix(length: int, value: int) -> bytes:
    return struct.pack("<BQ", length, value)
