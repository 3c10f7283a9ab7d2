"""The cases of `vectors/triples.json`: bit triples on a rich link, word triples, products of matrices."""

from __future__ import annotations

import hashlib
from typing import Any

from reference import bit_triples, matrix_products, word_triples
from reference.bit_triples import ROLES, Session

Json = dict[str, Any]
SEEDS = (b"\x01" * 32, b"\x02" * 32)


def sessions(attempt: int, channel: str, context: bytes) -> list[Session]:
    return [Session(role, seed, attempt, channel, context) for role, seed in zip(ROLES, SEEDS, strict=True)]


def message(data: bytes) -> Json:
    """Long ones are known by their hash."""
    if len(data) > 100:
        return {"length": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    return {"bytes": data.hex()}


def side(seed: bytes, sent: list[bytes], made: list[list[int]]) -> Json:
    words = dict(zip("abc", ([f"{word:016x}" for word in part] for part in made), strict=True))
    return {"seed": seed.hex(), "messages": [message(data) for data in sent], **words}


def matrix(rows: int, columns: int, factor: int) -> list[list[int]]:
    """Words of all sizes."""
    return [[(factor * (i * columns + j + 1)) ** 5 % 2**64 for j in range(columns)] for i in range(rows)]


def hexed(rows: list[list[int]]) -> list[list[str]]:
    return [[f"{word:016x}" for word in row] for row in rows]


def product(rows: int, inner: int, columns: int) -> Json:
    left, right = matrix(rows, inner, 0x1234567890ABCDEF), matrix(inner, columns, 0xFEDCBA0987654321)
    found = matrix_products.run(sessions(0, "vectors", b"job"), left, right)
    sides = [
        {
            "seed": seed.hex(),
            "own": hexed(own),
            "messages": [message(data) for data in sent],
            "share": hexed(share),
        }
        for seed, own, (sent, share) in zip(SEEDS, (right, left), found, strict=True)
    ]
    return {"attempt": 0, "channel": "vectors", "context": b"job".hex(), "sides": sides}


def products(width: word_triples.Width) -> Json:
    found = word_triples.run(sessions(0, "vectors", b"job"), 5, width)
    return {
        "attempt": 0,
        "channel": "vectors",
        "context": b"job".hex(),
        "count": 5,
        "sides": [side(seed, *made) for seed, made in zip(SEEDS, found, strict=True)],
    }


def triples() -> Json:
    bits = []
    for attempt, channel, context, k, count in (
        (0, "vectors", b"job", 2, 130),
        (3, "通道", b"c" * 300, 5, 64),
        (0, "vectors", b"", 8, 8200),
    ):
        parties = bit_triples.run(sessions(attempt, channel, context), k, count)
        bits.append(
            {
                "attempt": attempt,
                "channel": channel,
                "context": context.hex(),
                "field": k,
                "count": count,
                "sides": [
                    side(seed, party.sent, party.words()) for seed, party in zip(SEEDS, parties, strict=True)
                ],
            }
        )
    return {
        "bits": bits,
        "words": [products(word_triples.NARROW)],
        "wide": [products(word_triples.WIDE)],
        "matrices": [product(3, 4, 2)],
    }
