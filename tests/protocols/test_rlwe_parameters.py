"""The numbers of products under RLWE encryption are those that the derivation is about, and keep its bounds."""

import re
import runpy
from pathlib import Path

ROOT = Path(__file__).parents[2]
SCRIPT = runpy.run_path(str(ROOT / "scripts" / "rlwe_parameters.py"))
SOURCE = (ROOT / "rust" / "triples" / "src" / "rlwe" / "mod.rs").read_text()


def is_prime(n: int) -> bool:
    d, s = n - 1, 0
    while d % 2 == 0:
        d, s = d // 2, s + 1

    def passes(base: int) -> bool:
        x = pow(base, d, n)
        return x in (1, n - 1) or any(pow(x, 2**i, n) == n - 1 for i in range(1, s))

    return all(passes(base) for base in (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37))


def test_rust_has_the_numbers_of_the_derivation() -> None:
    below = re.findall(r"Modulus::new\(\(1 << 62\) - ([0-9_]+)\)", SOURCE)
    assert tuple(int(text.replace("_", "")) for text in below) == SCRIPT["BELOW"]
    assert f"FLOOD_BITS: u32 = {SCRIPT['FLOOD_BITS']};" in SOURCE
    assert f"DROPPED: [u32; 2] = {list(SCRIPT['DROPPED'])};" in SOURCE
    matrix = (ROOT / "rust" / "triples" / "src" / "rlwe" / "matrix.rs").read_text()
    assert f"MATRIX_DROPPED: [u32; 2] = {list(SCRIPT['MATRIX_DROPPED'])};" in matrix
    below = re.findall(r"Short::new\(\(1 << 47\) - ([0-9_]+)\)", matrix)
    assert tuple(int(text.replace("_", "")) for text in below) == SCRIPT["MATRIX_BELOW"]
    sample = (ROOT / "rust" / "triples" / "src" / "rlwe" / "sample.rs").read_text()
    assert f"(1 << {SCRIPT['COINS']}) - 1" in sample


def test_primes_are_primes_with_roots_of_one() -> None:
    primes = SCRIPT["PRIMES"] + SCRIPT["MATRIX_PRIMES"]
    assert all(is_prime(prime) and prime % (2 * SCRIPT["N"]) == 1 for prime in primes)


def test_the_bounds_hold() -> None:
    for bits in (SCRIPT["modulus_bits"](), SCRIPT["matrix_modulus_bits"]()):
        assert bits <= SCRIPT["STANDARD"]
        # 16.4 bits of a sieve, as the standard has them, are not in the model.
        assert SCRIPT["core_svp"](bits) + 16.4 >= 128
    distance = SCRIPT["flood_distance"]
    assert distance(SCRIPT["hidden_noise"](1 << 20)) <= -40
    assert distance(SCRIPT["hidden_noise"](1 << 19, SCRIPT["WIDE_PLAIN"])) <= -40
    for sizes in ((100_000, 100, 1, 2048), (1000, 1000, 1000, 8)):
        assert distance(SCRIPT["matrix_noise"](*sizes)) <= -38
        assert distance(SCRIPT["matrix_noise"](*sizes, 61)) <= -40
    assert SCRIPT["wrong_word"]() <= -100
    assert SCRIPT["wrong_product"]() + 20 <= -40
    # Of any of 2^16 wide products.
    assert SCRIPT["wrong_product"](SCRIPT["WIDE_PLAIN"]) + 16 <= -40
    assert SCRIPT["wrong_reading"]() <= -60
