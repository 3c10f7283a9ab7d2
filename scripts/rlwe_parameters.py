"""Parameters of products under RLWE encryption: what docs/protocols/products.md and rust/triples/src/rlwe quote.

`python scripts/rlwe_parameters.py` prints all checks. Everything but the security of the instance is a bound, not an
estimate; log2 of probabilities and of distances throughout.
"""

import math
import runpy
from pathlib import Path

N = 1 << 13
#: 2^62 less these: three plaintext primes, Q and R, and two more plaintext primes of wide words.
BELOW = (65_535, 98_303, 933_887, 1_130_495, 1_572_863, 2_506_751, 2_654_207)
PRIMES = tuple((1 << 62) - below for below in BELOW)
PLAIN, WIDE_PLAIN = 3, 5
#: The plaintext primes, and Q and R.
PLAINS, PARTS = (*PRIMES[:PLAIN], *PRIMES[PLAIN + 2 :]), PRIMES[PLAIN : PLAIN + 2]
#: Coins of each of the two sums whose difference an error is.
COINS = 21
#: Range of each of the three uniform numbers of the flood, and the bits that an answer drops.
FLOOD_BITS = 120
DROPPED = (60, 52)
#: Of products of matrices: 2^47 less these are the primes of q, of which the last two are dropped on the way back; and
#: the bits that an answer drops of the numbers that are left.
MATRIX_BELOW = (81_919, 229_375, 311_295, 1_048_575)
MATRIX_PRIMES = tuple((1 << 47) - below for below in MATRIX_BELOW)
MATRIX_DROPPED = (22, 20)
#: The homomorphic encryption standard (Albrecht et al., eprint 2019/939): N = 8192, ternary secret, 128 bits.
STANDARD = 218
_LWE = runpy.run_path(str(Path(__file__).with_name("lwe_parameters.py")))


def modulus_bits() -> float:
    """log2 of the modulus of a ciphertext of words."""
    return max(sum(map(math.log2, (prime, *PARTS))) for prime in PLAINS)


def matrix_modulus_bits() -> float:
    """log2 of the modulus of a ciphertext of a matrix."""
    return sum(map(math.log2, MATRIX_PRIMES))


def error_variance() -> float:
    """Of one error."""
    return 2 * COINS * 0.25


def core_svp(bits: float) -> float:
    """The primal attack in the model of lwe_parameters.py, secret and error scaled to one width.

    The model counts one call of a sieve and none of its overhead, so it says less than the standard, whose 128 bits
    count 16.4 bits and the calls of BKZ too.
    """
    width = math.sqrt(math.sqrt(2 / 3 * error_variance()))
    return float(_LWE["primal"](N, 2.0**bits, width, N))


def wrong_product(plain: int = PLAIN) -> float:
    """That a uniform mask and one sum of two products leave the range of the plaintext primes together.

    It is the sum's size among their product; factors are uniform below 2^63, so that it is 2^125 on average. Those of
    wide words are below 2^127, so that it is 2^253.
    """
    return (125 if plain == PLAIN else 253) - sum(map(math.log2, PLAINS[:plain]))


def hidden_noise(products: int, plain: int = PLAIN) -> float:
    """Length of all that the flood must hide, in one session: a vector of a coefficient for each product and prime.

    Each is the sum of 2 N products of an error with a coefficient of a plaintext, uniform below the prime, and of what
    covers it (less than a millionth). Six standard deviations of its length's square are below one part in a hundred.
    """
    coefficients = plain * max(products, N)
    variance = 2 * N * error_variance() * float(PRIMES[0]) ** 2 / 12
    return 1.01 * math.sqrt(coefficients * variance)


def fisher() -> float:
    """Fisher information of the location of a sum of three numbers that are uniform in an interval of length 1."""
    # 2 over each outer third: integral of x^2 / (x^2 / 2). The middle one in closed form.
    root = math.sqrt(0.75)
    middle = 8 * (-0.5 + 0.75 / (2 * root) * math.log((root + 0.5) / (root - 0.5)))
    return 4 + middle


def matrix_noise(rows: int, inner: int, columns: int, row_block: int, entry_bits: int = 63) -> float:
    """The same for a product of matrices: an error for each entry of a block of rows, times the largest entry."""
    one = error_variance() * min(row_block, rows) * inner * 4.0**entry_bits
    return 1.01 * math.sqrt(one * rows * columns)


def flood_distance(noise: float) -> float:
    """Statistical distance of all answers' noise, a vector of this length at most, from the flood alone.

    For a family of shifts the squared Hellinger distance of one coordinate is at most shift^2 I / 8; it adds up over
    coordinates, and the statistical distance is at most sqrt 2 times its root.
    """
    squared = noise**2 * fisher() / 8 / 2.0 ** (2 * FLOOD_BITS)
    return math.log2(math.sqrt(2 * squared))


def wrong_reading() -> float:
    """That one coefficient of an answer is read wrongly: noise beyond Q / 2.

    Flood and rounding of the first part are bounded; a sum of independent rounding errors times the secret (of up to N
    coefficients) is below a Gaussian's tail of its variance, as uniform numbers are strictly sub-Gaussian.
    """
    most = PRIMES[PLAIN] / 2
    bounded = 1.5 * 2.0**FLOOD_BITS / PRIMES[PLAIN + 1] + 2.0 ** (DROPPED[0] - 1) + 2.0 ** (2 + 13)
    deviation = math.sqrt(N / 12) * 2.0 ** DROPPED[1]
    ratio = (most - bounded) / deviation
    return 1 - ratio**2 / 2 * math.log2(math.e)


def wrong_word(dropped: tuple[int, int] = MATRIX_DROPPED) -> float:
    """That one word of a product of matrices is read wrongly: noise beyond p q / 2^65, p and q the first two primes.

    As above; two primes are dropped one after the other, and each leaves half a unit and a rounding times the secret.
    """
    first, second, third, fourth = MATRIX_PRIMES
    most = first * second / 2.0**65
    bounded = 1.5 * 2.0**FLOOD_BITS / third / fourth + 2.0 ** (dropped[0] - 1) + 2.0 ** (3 + 13)
    ratio = (most - bounded) / (math.sqrt(N / 12) * 2.0 ** dropped[1])
    return 1 - ratio**2 / 2 * math.log2(math.e) if ratio > 0 else 0.0


def matrix_flood_bits(sizes: tuple[int, int, int, int], entry_bits: int, distance: float = -40.0) -> float:
    """Bits of the flood that entries below a bound would need for a distance, whole."""
    return FLOOD_BITS + flood_distance(matrix_noise(*sizes, entry_bits)) - distance


def main() -> None:
    """Prints the checks."""
    bits = modulus_bits()
    print(
        f"log2 q {bits:.2f}, at most {STANDARD} for 128 bits; primal attack (core-SVP) 2^{core_svp(bits):.0f}"
    )
    bits = matrix_modulus_bits()
    print(f"of matrices: log2 q {bits:.2f}, primal attack 2^{core_svp(bits):.0f}")
    print(f"errors: variance {error_variance()}")
    print(
        f"wrong product 2^{wrong_product():.1f} each, wrong reading 2^{wrong_reading():.0f} each coefficient"
    )
    for log in (13, 20, 24, 28, 32):
        print(
            f"2^{log} products: distance of the noise 2^{flood_distance(hidden_noise(1 << log)):.1f}, ",
            end="",
        )
        print(f"any product wrong 2^{log + wrong_product():.1f}")
    for log in (13, 19, 20, 28):
        distance = flood_distance(hidden_noise(1 << log, WIDE_PLAIN))
        print(f"2^{log} wide products: distance 2^{distance:.1f}, ", end="")
        print(f"any product wrong 2^{log + wrong_product(WIDE_PLAIN):.1f}")
    for dropped in (MATRIX_DROPPED, (22, 21), (22, 22)):
        print(
            f"matrices, {dropped} bits dropped: wrong reading below 2^{max(wrong_word(dropped), -1000):.0f} each word"
        )
    for sizes in ((100_000, 100, 1, 2048), (1000, 1000, 1000, 8)):
        found = [flood_distance(matrix_noise(*sizes, bits)) for bits in (63, 61, 53)]
        print(
            f"{sizes}: distance 2^{found[0]:.1f}, entries below 2^61 2^{found[1]:.1f}, below 2^53 2^{found[2]:.1f}"
        )
        needed = [(bits, matrix_flood_bits(sizes, bits)) for bits in (40, 24)]
        print("  flood for 2^-40: " + ", ".join(f"entries below 2^{b}: {f:.1f} bits" for b, f in needed))


if __name__ == "__main__":
    main()
