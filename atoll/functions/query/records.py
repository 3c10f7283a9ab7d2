"""Rows of a table as records of one length, and back: what stands in a sealed cell."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cbor2
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from atoll.crypto.keys import key_digests
from atoll.data.read import read
from atoll.errors import AtollError
from atoll.functions.query.columns import encode_batch, plain

_LENGTH = struct.Struct("<H")
_NO_KEY = 2**32 - 1
_DIGEST = "V32"
Places = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Records:
    """Distinct keys of a table, and a record for each: `digests` 32 bytes, `records` all of one length."""

    digests: bytes
    records: bytes


@dataclass(frozen=True)
class Changes:
    """From one table to the next: keys that go, and keys that come or have another record."""

    removed: bytes
    digests: bytes
    records: bytes


def encode_rows(rows: Sequence[Sequence[Any]], length: int) -> bytes | None:
    """The rows of one key as a record of `length` bytes; None if they take more."""
    body = cbor2.dumps([[plain(value) for value in row] for row in rows])
    if len(body) + _LENGTH.size > length:
        return None
    return (_LENGTH.pack(len(body)) + body).ljust(length, b"\0")


def _holds(value: Any) -> bool:
    """Whether a column can hold the value: a plain one, a number within 64 bits."""
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, int):
        return -(2**63) <= value < 2**63
    return value is None or isinstance(value, str)


def decode_rows(record: bytes, columns: int) -> list[list[Any]] | None:
    """The rows of a record; None for what no holder writes."""
    if len(record) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack_from(record)
    body, rest = record[_LENGTH.size : _LENGTH.size + length], record[_LENGTH.size + length :]
    if len(body) != length or rest.strip(b"\0"):
        return None
    try:
        rows = cbor2.loads(body)
        fits = (
            isinstance(rows, list)
            and rows != []
            and all(isinstance(row, list) and len(row) == columns for row in rows)
            and all(_holds(value) for row in rows for value in row)
            # A record has one form: nothing follows its rows, and no tag stands for a value.
            and cbor2.dumps(rows) == body
        )
    except (cbor2.CBORError, ValueError, RecursionError, OverflowError):
        return None
    return rows if fits else None


_PLAIN: dict[str, type] = {"int64": int, "bool": bool, "float64": float}


def fits(record: bytes, types: Sequence[str], rows: int) -> bool:
    """Whether a record holds 1 to `rows` rows of columns of these types, as `encode_rows` writes them."""

    def is_of(value: Any, kind: str) -> bool:
        if value is None or type(value) is _PLAIN.get(kind, str):
            return True
        return kind == "float64" and value in ("inf", "-inf")

    found = decode_rows(record, len(types))
    return (
        found is not None
        and len(found) <= rows
        and all(is_of(value, kind) for row in found for value, kind in zip(row, types, strict=True))
    )


def read_records(
    data: Path,
    keys: list[str],
    steps: dict[str, list[str]],
    values: list[str],
    *,
    rows: int,
    length: int,
    threads: int,
) -> Records:
    """The records of a table.

    Args:
        rows: most rows of a key.
        length: bytes of a record.

    Raises:
        AtollError: `E_DUPLICATE` if a key has more rows, `E_RANGE` if its values take more bytes; the text names the
            row. What `key_digests` raises.
    """
    found = key_digests(read(data, keys), keys, steps, threads)
    of_rows = np.frombuffer(found.rows, "<u4")
    count = len(found.digests) // 32
    multiplicity = np.frombuffer(found.multiplicity, "<u4")
    if count and int(multiplicity.max()) > rows:
        first = int(np.flatnonzero(multiplicity > rows)[0])
        row = int(np.flatnonzero(of_rows == first)[rows])
        raise AtollError(
            "E_DUPLICATE",
            f"row {row + 1} has a key that stands on {int(multiplicity[first])} rows; the lookup allows {rows}",
            column=keys[0],
        )
    if not count or int(multiplicity.max()) == 1:
        return Records(found.digests, _single(read(data, values), values, of_rows, count, length))
    out = np.zeros((count, length), np.uint8)
    waiting: dict[int, list[list[Any]]] = {}
    at = 0
    for batch in read(data, values):
        columns = [batch.column(name).to_pylist() for name in values]
        numbers = of_rows[at : at + batch.num_rows].tolist()
        for given, key in zip(zip(*columns, strict=True), numbers, strict=True):
            at += 1
            if key == _NO_KEY:
                continue
            together: list[list[Any]] = [list(given)]
            if rows > 1 and multiplicity[key] > 1:
                together = waiting.setdefault(key, [])
                together.append(list(given))
                if len(together) < multiplicity[key]:
                    continue
                del waiting[key]
            record = encode_rows(together, length)
            if record is None:
                raise _too_long(at, length, values)
            out[key] = np.frombuffer(record, np.uint8)
    return Records(found.digests, out.tobytes())


def _single(
    batches: Iterable[pa.RecordBatch],
    values: list[str],
    of_rows: npt.NDArray[np.uint32],
    count: int,
    length: int,
) -> bytes:
    """Records of keys on one row each."""
    out = np.zeros((count, length), np.uint8)
    at = 0
    for batch in batches:
        keys = of_rows[at : at + batch.num_rows]
        used = keys != _NO_KEY
        places = np.flatnonzero(used)
        records, misfit = encode_batch(
            batch.take(pa.array(places)) if len(places) < len(keys) else batch, values, length
        )
        if misfit is not None:
            raise _too_long(at + int(places[misfit]) + 1, length, values)
        out[keys[used]] = records
        at += batch.num_rows
    return out.tobytes()


def _too_long(row: int, length: int, values: list[str]) -> AtollError:
    return AtollError(
        "E_RANGE",
        f"row {row}: the values of its key take more than the {length} bytes of a record",
        column=values[0],
        cure="Ask for the lookup with larger record_bytes, or fewer columns.",
    )


def _rows_of(records: Records) -> tuple[npt.NDArray[Any], npt.NDArray[np.uint8]]:
    digests = np.frombuffer(records.digests, _DIGEST)
    return digests, np.frombuffer(records.records, np.uint8).reshape(len(digests), -1)


def differences(old: Records, new: Records) -> Changes:
    """What changed; equal keys with equal records are left alone."""
    if not old.digests or not new.digests:
        return Changes(old.digests, new.digests, new.records)
    before, their = _rows_of(old)
    after, mine = _rows_of(new)
    stays, came = _pairs(before, after)
    gone = np.ones(len(before), bool)
    gone[stays] = False
    changed = np.ones(len(after), bool)
    changed[came] = (their[stays] != mine[came]).any(axis=1)
    return Changes(before[gone].tobytes(), after[changed].tobytes(), mine[changed].tobytes())


def _pairs(before: npt.NDArray[Any], after: npt.NDArray[Any]) -> tuple[Places, Places]:
    """Places of the digests that both have, in the one and in the other; each has a digest once."""
    count = min(len(before), len(after))
    one, other = (digests.view("<u8").reshape(-1, 4) for digests in (before, after))
    # Most keys of the next version stand where they stood; only the others have to be looked for.
    moved = (one[:count] != other[:count]).any(axis=1)
    left = np.flatnonzero(np.pad(moved, (0, len(before) - count), constant_values=True))
    right = np.flatnonzero(np.pad(moved, (0, len(after) - count), constant_values=True))
    stays, came = _sorted_pairs(before[left], after[right])
    still = np.flatnonzero(~moved)
    return np.concatenate((still, left[stays])), np.concatenate((still, right[came]))


def _sorted_pairs(before: npt.NDArray[Any], after: npt.NDArray[Any]) -> tuple[Places, Places]:
    """The same by sorting all of them."""
    both = np.concatenate((before, after))
    # Digests are spread evenly: their first bytes tell them apart, but for a chance that is looked for.
    parts = both.view("<u8").reshape(-1, 4)
    starts = np.ascontiguousarray(parts[:, 0])
    order = np.argsort(starts, kind="stable")
    alike = np.flatnonzero(starts[order][1:] == starts[order][:-1])
    if (parts[order[alike]] != parts[order[alike + 1]]).any():
        order = np.argsort(both, kind="stable")
        alike = np.flatnonzero(both[order][1:] == both[order][:-1])
    return order[alike], order[alike + 1] - len(before)
