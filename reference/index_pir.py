"""Index PIR (SimplePIR, Henzinger et al., eprint 2022/949, section 4) in plain Python, with cells of one byte."""

from __future__ import annotations

import math
from decimal import Decimal, getcontext
from functools import cache

from reference.stream import Stream

getcontext().prec = 60

Q = 2**32
N = 1408
SIGMA = Decimal("6.4")


def shape(rows: int, record_bytes: int) -> tuple[int, int]:
    """Records in a column, and columns (a multiple of 32)."""
    size = rows * record_bytes
    root = math.isqrt(size)
    height = max(min(root, 8192), min(root, size // 2**16))
    per_column = max(height // record_bytes, -(-rows // 2**18), 1)
    columns = -(-rows // per_column)
    return per_column, (columns + 31) // 32 * 32


def cells(records: list[bytes], per_column: int, columns: int) -> list[list[int]]:
    """Rows of signed cells; a record stands in one column."""
    parts = [b"".join(records[i * per_column : (i + 1) * per_column]) for i in range(columns)]
    height = per_column * len(records[0])
    parts = [part.ljust(height, b"\0") for part in parts]
    return [[(part[i] + 128) % 256 - 128 for part in parts] for i in range(height)]


def words(data: bytes) -> list[int]:
    """Little-endian words of 32 bits."""
    return [int.from_bytes(data[i : i + 4], "little") for i in range(0, len(data), 4)]


def message(version: bytes, values: list[int]) -> bytes:
    """Version, then little-endian words."""
    return version + b"".join((value % Q).to_bytes(4, "little") for value in values)


@cache
def matrix_row(seed: bytes, column: int) -> list[int]:
    """The words of the public matrix that belong to one column of the table."""
    return words(Stream(seed, [b"index-pir/v1/matrix", column.to_bytes(4, "big")]).take(4 * N))


def matrix(seed: bytes, columns: int) -> list[list[int]]:
    """The public matrix, a stream for each row."""
    return [matrix_row(seed, column) for column in range(columns)]


def thresholds() -> list[int]:
    """floor(2^63 P(|X| <= k)) of the discrete Gaussian, while below 2^63 - 1."""
    weights = [(-Decimal(k * k) / (2 * SIGMA * SIGMA)).exp() * (1 if k == 0 else 2) for k in range(200)]
    sums = [sum(weights[: k + 1]) / sum(weights) for k in range(100)]
    return [entry for entry in (int(total * 2**63) for total in sums) if entry < 2**63 - 1]


def noise(draw: int, table: list[int]) -> int:
    """How many thresholds are not above the lower 63 bits; the top bit is the sign."""
    size = sum(draw % 2**63 >= threshold for threshold in table)
    return -size if draw >> 63 else size


def hint(rows: list[list[int]], public: list[list[int]]) -> list[list[int]]:
    """Cells times matrix, modulo 2^32."""
    turned = list(zip(*public, strict=True))
    return [[sum(d * a for d, a in zip(row, line, strict=True)) % Q for line in turned] for row in rows]


def query(column: int, public: list[list[int]], stream: Stream) -> tuple[list[int], list[int]]:
    """The secret, and the words of the query."""
    secret = words(stream.take(4 * N))
    table = thresholds()
    errors = [noise(int.from_bytes(stream.take(8), "little"), table) for _ in public]
    sent = [
        (sum(a * s for a, s in zip(line, secret, strict=True)) + error + (j == column) * 2**24) % Q
        for j, (line, error) in enumerate(zip(public, errors, strict=True))
    ]
    return secret, sent


def answer(rows: list[list[int]], sent: list[int]) -> list[int]:
    """Cells times query."""
    return [sum(d * w for d, w in zip(row, sent, strict=True)) % Q for row in rows]


def recover(secret: list[int], known: list[list[int]], received: list[int]) -> bytes:
    """The bytes of the column."""
    noisy = [
        word - sum(h * s for h, s in zip(row, secret, strict=True))
        for word, row in zip(received, known, strict=True)
    ]
    return bytes((value + 2**23) % Q >> 24 for value in noisy)


def case(rows: int, record_bytes: int, column: int) -> dict[str, int | str]:
    """One vector: all inputs, and all messages as hexadecimal digits."""
    seed, start, version = bytes([rows % 256]) * 32, bytes(range(32)), bytes([record_bytes]) * 16
    data = Stream(start, [b"records"]).take(rows * record_bytes)
    records = [data[i : i + record_bytes] for i in range(0, len(data), record_bytes)]
    per_column, columns = shape(rows, record_bytes)
    table = cells(records, per_column, columns)
    public = matrix(seed, columns)
    known = hint(table, public)
    secret, sent = query(column, public, Stream(start, [b"index-pir/v1/query"]))
    received = answer(table, sent)
    return {
        "rows": rows,
        "record_bytes": record_bytes,
        "column": column,
        "version": version.hex(),
        "records": data.hex(),
        "matrix_seed": seed.hex(),
        "stream_seed": start.hex(),
        "hint_start": message(version, known[0]).hex(),
        "query": message(version, sent).hex(),
        "answer": message(version, received).hex(),
        "result": recover(secret, known, received).hex(),
    }


def vectors() -> dict[str, list[dict[str, int | str]]]:
    """Cases for tests of the kernel."""
    return {"cases": [case(1, 1, 0), case(40, 3, 2), case(100, 16, 31)]}
