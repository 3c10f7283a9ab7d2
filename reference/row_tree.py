"""The row tree of a table in plain Python: every hash is computed from the rows, and nothing is kept.

A column is {"name", "type"} and, for decimals, "precision" and "scale"; a row is a list of texts, None for null.
"""

from __future__ import annotations

import datetime
import hashlib
import hmac
import struct
from decimal import Decimal
from typing import Any

from reference import keys

Column = dict[str, Any]
Row = list[str | None]


def h(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def prf(key: bytes, data: bytes) -> bytes:
    return hmac.new(key, data, hashlib.sha256).digest()


def hkdf_expand(secret: bytes, info: bytes, length: int) -> bytes:
    """RFC 5869, section 2.3."""
    out, block, number = b"", b"", 0
    while len(out) < length:
        number += 1
        block = prf(secret, block + info + bytes([number]))
        out += block
    return out[:length]


def tag_key(secret: bytes) -> bytes:
    return hkdf_expand(secret, b"atoll row tag key v1", 32)


def commitment(secret: bytes) -> str:
    return "sha256:" + h(b"atoll row tag key commitment v1\0" + tag_key(secret)).hex()


def salt(secret: bytes, number: int) -> bytes:
    salt_key = hkdf_expand(secret, b"atoll row salt key v1", 32)
    return prf(salt_key, struct.pack("<Q", number))[:16]


def whole(column: Column, text: str) -> int:
    """The whole number that a date (days since 1970) or a timestamp (microseconds) stands for."""
    if "-" not in text[1:]:
        return int(text)
    if column["type"] == "date":
        return datetime.date.fromisoformat(text).toordinal() - datetime.date(1970, 1, 1).toordinal()
    passed = datetime.datetime.fromisoformat(text) - datetime.datetime(1970, 1, 1)
    return (passed.days * 86400 + passed.seconds) * 1_000_000 + passed.microseconds


def cell(column: Column, text: str) -> tuple[int, bytes]:
    """Type tag and bytes of one value."""
    match column["type"]:
        case "int64":
            return 1, struct.pack("<q", int(text))
        case "decimal":
            unscaled = int(Decimal(text) * 10 ** column["scale"])
            return 2, (unscaled % 2**128).to_bytes(16, "little")
        case "float64":
            return 3, struct.pack("<d", float(text))
        case "bool":
            return 4, b"\1" if text == "true" else b"\0"
        case "date":
            return 5, struct.pack("<i", whole(column, text))
        case "timestamp":
            return 6, struct.pack("<q", whole(column, text))
        case "string":
            return 7, text.encode()
    raise ValueError(column["type"])


def row_bytes(columns: list[Column], row: Row) -> bytes:
    out = struct.pack("<I", len(columns))
    for column, text in zip(columns, row, strict=True):
        kind, data = cell(column, "0" if text is None else text)
        out += bytes([kind])
        out += b"\0" if text is None else b"\1" + struct.pack("<I", len(data)) + data
    return out


def id_digest(columns: list[Column], texts: Row) -> bytes | None:
    """The key digest of an id; None if it has a null."""
    plain: Row = []
    for column, text in zip(columns, texts, strict=True):
        if text is not None and column["type"] in ("date", "timestamp"):
            text = str(whole(column, text))
        if text is not None and column["type"] == "bool":
            text = "1" if text == "true" else "0"
        plain.append(text)
    return keys.digest([c["type"] for c in columns], [[] for _ in columns], plain)


class Tree:
    """All leaves of a table, in the tree's order.

    `order` has the number of the row of each leaf; `tags` and `inners` are by number of the row.
    """

    def __init__(self, secret: bytes, columns: list[Column], key: list[str], rows: list[Row]) -> None:
        self.secret, self.columns, self.key, self.rows = secret, columns, key, rows
        names = [c["name"] for c in columns]
        self.places = [names.index(name) for name in key]
        self.key_columns = [columns[i] for i in self.places]
        self.tags = [self.tag([row[i] for i in self.places], n) for n, row in enumerate(rows)]
        self.inners = [
            h(b"atoll row v1\0" + salt(secret, n) + row_bytes(columns, row)) for n, row in enumerate(rows)
        ]
        self.order = sorted(range(len(rows)), key=lambda n: (self.tags[n], n))
        self.leaves = [h(b"\0atoll row leaf v1\0" + self.tags[n] + self.inners[n]) for n in self.order]

    def tag(self, texts: Row, number: int) -> bytes:
        digest = id_digest(self.key_columns, texts)
        if digest is None:
            return prf(tag_key(self.secret), b"\2" + struct.pack("<Q", number))
        return prf(tag_key(self.secret), b"\1" + digest)

    @property
    def without_id(self) -> int:
        return sum(any(row[i] is None for i in self.places) for row in self.rows)

    def root(self) -> bytes:
        return subtree(self.leaves)

    def proof(self, version: dict[str, Any], texts: list[str]) -> dict[str, Any]:
        """The proof about an id."""
        tag = self.tag(list(texts), 0)
        found = [i for i, n in enumerate(self.order) if self.tags[n] == tag]
        less = sum(self.tags[n] < tag for n in self.order)
        first, end = max(0, less - 1), min(len(self.order), less + len(found) + 1)

        def neighbour(place: int) -> dict[str, str]:
            n = self.order[place]
            return {"tag": self.tags[n].hex(), "inner": self.inners[n].hex()}

        return {
            "format": "atoll.row-proof/v1",
            "version": version,
            "tag_key": tag_key(self.secret).hex(),
            "id": texts,
            "first": first,
            "before": neighbour(first) if less else None,
            "rows": [
                {"salt": salt(self.secret, self.order[i]).hex(), "row": self.rows[self.order[i]]}
                for i in found
            ],
            "after": neighbour(end - 1) if end > less + len(found) else None,
            "path": [x.hex() for x in beside(self.leaves, 0, first, end)],
        }


def split(n: int) -> int:
    """The largest power of two smaller than n (RFC 6962, section 2.1)."""
    k = 1
    while k * 2 < n:
        k *= 2
    return k


def subtree(leaves: list[bytes]) -> bytes:
    if not leaves:
        return h(b"")
    if len(leaves) == 1:
        return leaves[0]
    k = split(len(leaves))
    return h(b"\1" + subtree(leaves[:k]) + subtree(leaves[k:]))


def beside(leaves: list[bytes], at: int, first: int, end: int) -> list[bytes]:
    """Hashes of the largest subtrees that have none of the leaves [first, end); `leaves` begin at place `at`."""
    if not leaves:
        return []
    if at + len(leaves) <= first or at >= end:
        return [subtree(leaves)]
    if len(leaves) == 1:
        return []
    k = split(len(leaves))
    return beside(leaves[:k], at, first, end) + beside(leaves[k:], at + k, first, end)
