"""Many signatures at once are judged as each alone, by the rule of ZIP-215, which plain integers compute here too."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.crypto import dsse, suite
from atoll.crypto.suite import Hash, PublicKey, Signature, SigningKey, Suite, verify_many
from atoll.errors import AtollError
from reference.ristretto255 import IDENTITY, ORDER, D, P, Point, add, multiply, sqrt_ratio

Item = tuple[PublicKey, bytes, bytes]

# The rule in plain integers: A and R are points in any encoding, s < L, 8 s B = 8 R + 8 k A.


def decompress(data: bytes) -> Point | None:
    """RFC 8032, section 5.1.3, with y modulo p and a sign that zero may carry, as ZIP-215 has it."""
    number = int.from_bytes(data, "little")
    y, sign = number % 2**255 % P, number >> 255
    square, x = sqrt_ratio(y * y - 1, D * y * y + 1)
    if not square:
        return None
    if x % 2 != sign:
        x = -x % P
    return x, y, 1, x * y % P


def compress(point: Point) -> bytes:
    x, y, z, _ = point
    inverse = pow(z, -1, P)
    return (y * inverse % P | (x * inverse % P % 2) << 255).to_bytes(32, "little")


def neutral(point: Point) -> bool:
    x, y, z, _ = multiply(point, 8)
    return x % P == 0 and (y - z) % P == 0


def challenge(r: bytes, key: bytes, message: bytes) -> int:
    return int.from_bytes(hashlib.sha512(r + key + message).digest(), "little") % ORDER


def rule(key: bytes, message: bytes, signature: bytes) -> bool:
    if len(key) != 32 or len(signature) != 64:
        return False
    a, r, s = decompress(key), decompress(signature[:32]), int.from_bytes(signature[32:], "little")
    if a is None or r is None or s >= ORDER:
        return False
    right = add(r, multiply(a, challenge(signature[:32], key, message)))
    return neutral(add(multiply(BASE, s), multiply(right, 8 * ORDER - 1)))


BASE = decompress((4 * pow(5, -1, P) % P).to_bytes(32, "little"))
assert BASE is not None


def torsion() -> list[Point]:
    """The eight points of small order: multiples of one of order eight."""
    for y in range(2, 100):
        point = decompress(y.to_bytes(32, "little"))
        if point is not None:
            eighth = multiply(point, ORDER)
            if compress(multiply(eighth, 4)) != compress(IDENTITY):
                return [multiply(eighth, n) for n in range(8)]
    raise AssertionError


TORSION = torsion()


@cache
def small_order_encodings() -> list[bytes]:
    """Every 32 bytes that decode to a point of small order: y or y + p, either sign."""
    found = set()
    for point in TORSION:
        y = int.from_bytes(compress(point), "little") % 2**255
        for same in (y, y + P):
            for sign in (0, 1):
                data = (same | sign << 255).to_bytes(32, "little") if same < 2**255 else b""
                decoded = decompress(data) if data else None
                if decoded is not None and neutral(decoded):
                    found.add(data)
    return sorted(found)


def mixed(secret: int, nonce: int, of_key: Point, of_nonce: Point, message: bytes) -> tuple[bytes, bytes]:
    """A key and a signature whose points have a part of small order."""
    key = compress(add(multiply(BASE, secret), of_key))
    r = compress(add(multiply(BASE, nonce), of_nonce))
    s = (nonce + challenge(r, key, message) * secret) % ORDER
    return key, r + s.to_bytes(32, "little")


def ed25519(key: bytes, message: bytes, signature: bytes) -> Item:
    return PublicKey("ed25519", key), message, signature


@cache
def edges() -> list[Item]:
    """Signatures at the edges of the rule, good and bad."""
    found = [
        ed25519(key, b"edge", r + bytes(32))
        for key in small_order_encodings()[::3]
        for r in small_order_encodings()[::2]
    ]
    found += [
        ed25519(key, b"mixed", signature)
        for n in range(8)
        for key, signature in (mixed(77, 5 + n, TORSION[n], TORSION[3 * n % 8], b"mixed"),)
    ]
    for key, message, signature in found[-8:]:
        s = int.from_bytes(signature[32:], "little")
        # s + L gives the same sum but is not reduced; s + 1 gives another.
        found.append((key, message, signature[:32] + (s + ORDER).to_bytes(32, "little")))
        found.append((key, message, signature[:32] + ((s + 1) % ORDER).to_bytes(32, "little")))
    off_curve = next(data for n in range(2, 50) if decompress(data := n.to_bytes(32, "little")) is None)
    found += [ed25519(off_curve, b"edge", bytes(64)), ed25519(bytes(32), b"edge", off_curve + bytes(32))]
    return found


def test_there_are_fourteen_encodings_of_points_of_small_order() -> None:
    assert len({compress(point) for point in TORSION}) == 8
    assert len(small_order_encodings()) == 14


def test_every_pair_of_small_order_verifies_alone_and_together() -> None:
    items = [
        ed25519(key, b"any", r + bytes(32))
        for key in small_order_encodings()
        for r in small_order_encodings()
    ]
    assert all(key.verify(message, signature) for key, message, signature in items)
    assert verify_many(items) == []
    assert all(rule(key.raw, message, signature) for key, message, signature in items[::7])
    wrong = [(key, message, signature[:32] + b"\x01" + bytes(31)) for key, message, signature in items]
    assert verify_many([*items, *wrong], 2) == list(range(len(items), 2 * len(items)))


def test_the_edges_are_judged_by_the_rule() -> None:
    judged = [rule(key.raw, message, signature) for key, message, signature in edges()]
    assert 20 < sum(judged) < len(judged) - 15
    assert [key.verify(message, signature) for key, message, signature in edges()] == judged
    assert verify_many(edges()) == [at for at, good in enumerate(judged) if not good]


# Mixtures


SIGNERS = [SigningKey(bytes([n]) * 32) for n in range(1, 5)]
OTHER = Suite(
    "atoll-test-mac",
    Hash("sha256", 32, lambda data: hashlib.sha256(data).digest()),
    Signature(
        "mac",
        32,
        32,
        lambda seed: seed,
        lambda seed, message: hmac.digest(seed, message, "sha256"),
        lambda key, message, signature: hmac.compare_digest(hmac.digest(key, message, "sha256"), signature),
    ),
)


@pytest.fixture(scope="module", autouse=True)
def registered() -> Iterator[None]:
    """A second suite that verifies one by one, forgotten after this module."""
    kept = [dict(known) for known in (suite._HASHES, suite._SIGNATURES, suite._SUITES)]
    suite.register(OTHER)
    yield
    suite._HASHES, suite._SIGNATURES, suite._SUITES = kept  # type: ignore[assignment]


def flipped(data: bytes, bit: int) -> bytes:
    at = bit // 8 % len(data)
    return data[:at] + bytes([data[at] ^ 1 << bit % 8]) + data[at + 1 :]


def changed(item: Item, kind: str, bit: int) -> Item:
    key, message, signature = item
    match kind:
        case "signature":
            return key, message, flipped(signature, bit)
        case "key":
            return PublicKey(key.algorithm, flipped(key.raw, bit)), message, signature
        case "message":
            return key, message + b"!", signature
        case "short signature":
            return key, message, signature[: bit % len(signature)]
        case "long signature":
            return key, message, signature + b"\x00"
        case "short key":
            return PublicKey(key.algorithm, key.raw[: bit % len(key.raw)]), message, signature
        case "long key":
            return PublicKey(key.algorithm, key.raw + b"\x00"), message, signature
    return item


KINDS = ["signature", "key", "message", "short signature", "long signature", "short key", "long key"]
GOOD = st.builds(
    lambda key, message: (key.public, message, key.sign(message)),
    st.sampled_from([*SIGNERS, SigningKey(b"\x09" * 32, OTHER)]),
    st.binary(max_size=6),
)
BAD = st.builds(changed, GOOD, st.sampled_from(KINDS), st.integers(0, 511))
EDGE = st.deferred(lambda: st.sampled_from(edges()))


def one_by_one(items: list[Item]) -> list[int]:
    return [at for at, (key, message, signature) in enumerate(items) if not key.verify(message, signature)]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(GOOD | EDGE, max_size=40),
    st.lists(st.tuples(st.integers(0, 200), BAD | EDGE), max_size=12),
    st.integers(1, 3),
)
def test_many_are_judged_as_each_alone(
    items: list[Item], others: list[tuple[int, Item]], threads: int
) -> None:
    for at, item in others:
        items.insert(at, item)
    assert verify_many(items, threads) == one_by_one(items)


@settings(max_examples=15, deadline=None)
@given(st.sets(st.integers(0, 1199), max_size=20), st.integers(1, 3))
def test_failures_among_several_batches_are_all_found(bad: set[int], threads: int) -> None:
    items = list(many())
    for at in bad:
        items[at] = changed(items[at], KINDS[at % 7], at)
    assert verify_many(items, threads) == sorted(bad)


@cache
def many() -> tuple[Item, ...]:
    return tuple(
        (key.public, message, key.sign(message))
        for n in range(1200)
        for key, message in ((SIGNERS[n % 3], b"%d" % n),)
    )


def test_all_may_be_bad() -> None:
    items = [changed(item, "signature", 3 * at) for at, item in enumerate(many())]
    assert verify_many(items, 2) == list(range(1200))


def test_nothing_to_verify_and_a_wrong_number_of_threads() -> None:
    assert verify_many([]) == []
    for threads in (0, -1, 1025):
        with pytest.raises(AtollError, match="threads is 1 to 1024"):
            verify_many(many()[:1], threads)


# Envelopes


ENTRY = st.sampled_from(["good", "bad", "base64", "unknown", "case", "short", "other document", "mac"])


def envelope(number: int, entries: list[str]) -> Any:
    made = dsse.sign("plan/v1", {"n": number}, *SIGNERS, SigningKey(b"\x09" * 32, OTHER))
    by_key = {entry["keyid"]: entry for entry in made["signatures"]}
    chosen = []
    for at, kind in enumerate(entries):
        name = str(SIGNERS[at % 4].public)
        raw = base64.b64decode(by_key[name]["sig"])
        entry = {
            "good": by_key[name],
            "bad": {"keyid": name, "sig": base64.b64encode(flipped(raw, 7 * number + at)).decode()},
            "base64": {"keyid": name, "sig": "§"},
            "unknown": {"keyid": "ed9:" + name[8:], "sig": by_key[name]["sig"]},
            "case": {"keyid": name.upper(), "sig": by_key[name]["sig"]},
            "short": {"keyid": name, "sig": base64.b64encode(raw[:-1]).decode()},
            "other document": dsse.sign("plan/v1", {"n": -1}, SIGNERS[at % 4])["signatures"][0],
            "mac": by_key["mac:" + "09" * 32],
        }[kind]
        chosen.append(entry)
    return {**made, "signatures": chosen}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(ENTRY, max_size=6), max_size=12), st.integers(1, 3))
def test_the_signers_of_many_envelopes_are_those_of_each(kinds: list[list[str]], threads: int) -> None:
    envelopes = [envelope(number, entries) for number, entries in enumerate(kinds)]
    found = dsse.signers_many(envelopes, threads)
    assert found == [dsse.signers(one) for one in envelopes]
    for entries, signed in zip(kinds, found, strict=True):
        want = {str(SIGNERS[at % 4].public) for at, kind in enumerate(entries) if kind == "good"}
        assert signed == want | ({"mac:" + "09" * 32} if "mac" in entries else set())


def test_a_malformed_envelope_among_many_is_refused() -> None:
    good = dsse.sign("plan/v1", {}, SIGNERS[0])
    for bad in ({}, None, {**good, "payload": "§"}, {**good, "signatures": [{"keyid": 1, "sig": ""}]}):
        with pytest.raises(AtollError, match=r"E_FORMAT: envelope 1: \w"):
            dsse.signers_many([good, bad])
