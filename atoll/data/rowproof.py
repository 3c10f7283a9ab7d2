"""Proofs that a version of a table has, or has not, a row of an id; made by the owner, checked by anyone.

A proof is canonical JSON::

    {"format": "atoll.row-proof/v1",
     "version": {...},                    the version document, whose digest approvals and receipts name
     "tag_key": hex,                      key of the tags; the version commits to it
     "id": [text, ...],                   the id asked for, one text for each column of the key
     "first": int,                        place of the first leaf that is shown, from 0
     "before": {"tag", "inner"} | null,   the leaf before those of the id; null at the left edge of the tree
     "rows": [{"salt", "row"}, ...],      every row of the id, in full; none if the id is absent
     "after": {"tag", "inner"} | null,    the leaf after them; null at the right edge
     "path": [hex, ...]}                  hashes of the subtrees beside these leaves, from left to right

Leaves stand in order of their tags, and the tag follows from the id alone. So two neighbours with a smaller and a
larger tag leave no place for the id between them, and around rows of the id they show that these are all.

What it does not show: that what was committed to is true, or that the owner gave each row its tag and sorted the tree
as it had to. The first is beyond any commitment; the second is seen by whoever recomputes the tree at the owner
(`atoll data verify`).

What it gives away: the rows of the id and their salts, the number of rows of the version, its schema, and the key of
the tags. Of other rows only the two neighbours' tags and inner commitments are shown. Whoever has the key can test
guessed ids against the two tags, so a proof tells of two ids more that they are in the version, if they are guessed.
A neighbour's inner commitment has its own salt, which never leaves: its values cannot be tested. Each version has its
own key, so that tags of two versions tell nothing together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field, StringConstraints

from atoll.crypto import canonical, rows
from atoll.crypto.document import Document
from atoll.crypto.rows import RECORD_BYTES, TAG_BYTES, RowTree
from atoll.crypto.suite import Hash, check_digest, digest_bytes, hash_named
from atoll.data.rowtree import THREADS, RowKey, RowRecords, check_key
from atoll.data.rowvalues import Value, id_digest, read_id, row_bytes, text, value, values
from atoll.data.schema import Schema
from atoll.data.snapshot import FORMAT as VERSION_FORMAT
from atoll.data.snapshot import Snapshot, load, row_groups, row_secret, version_document
from atoll.errors import AtollError

FORMAT = "atoll.row-proof/v1"
MAX_ROWS = 10_000  # of one id in one proof
_MAX_TREE = 2**53 - 1

_Hex = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
_Salt = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
_Cell = Annotated[str, StringConstraints(max_length=canonical.MAX_BYTES)]


class _Neighbour(Document):
    """A leaf of another id: nothing of its row."""

    tag: _Hex
    inner: _Hex


class _Shown(Document):
    """A row of the id."""

    salt: _Salt
    row: Annotated[tuple[_Cell | None, ...], Field(min_length=1, max_length=4096)]


class _Proof(Document):
    """The form of a proof; `version` is read apart."""

    format: Literal["atoll.row-proof/v1"]
    version: dict[str, Any]
    tag_key: _Hex
    id: Annotated[tuple[_Cell, ...], Field(min_length=1, max_length=4096)]
    first: Annotated[int, Field(ge=0, le=_MAX_TREE)]
    before: _Neighbour | None
    rows: Annotated[tuple[_Shown, ...], Field(max_length=MAX_ROWS)]
    after: _Neighbour | None
    path: Annotated[tuple[_Hex, ...], Field(max_length=128)]


@dataclass(frozen=True)
class RowProof:
    """What a proof that verifies says.

    Attributes:
        version: digest of the version, the one that it was checked against.
        total: rows of the version; `without_id` of them cannot be asked for.
        id: the id by column.
        rows: all rows of the id, each by column, values as the one text of `atoll.data.rowvalues`; empty if absent.
    """

    version: str
    total: int
    without_id: int
    id: dict[str, str]
    rows: tuple[dict[str, str | None], ...]

    @property
    def outcome(self) -> Literal["present", "absent"]:
        """Whether the version has a row of the id."""
        return "present" if self.rows else "absent"

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        return {
            "outcome": self.outcome,
            "version": self.version,
            "total": self.total,
            "without_id": self.without_id,
            "id": self.id,
            "rows": list(self.rows),
        }

    def lines(self, language: Literal["zh", "en"] = "en") -> list[str]:
        """What is proved and what is not, a sentence a line."""
        named = ", ".join(f"{k}={v}" for k, v in self.id.items())
        if language == "zh":
            found = (
                f"存在：版本 {self.version} 恰有 {len(self.rows)} 行的标识为 {named}，全部列出。"
                if self.rows
                else f"不存在：版本 {self.version} 没有标识为 {named} 的行。"
            )
            return [
                found,
                f"该版本共 {self.total} 行，其中 {self.without_id} 行没有标识，无法查询。",
                "证明的是当时承诺的内容，不证明内容属实；“不存在”以所有者按标签顺序建树为前提。",
            ]
        found = (
            f"Present: version {self.version} has exactly {len(self.rows)} rows with the id {named}; all are shown."
            if self.rows
            else f"Absent: version {self.version} has no row with the id {named}."
        )
        return [
            found,
            f"The version has {self.total} rows; {self.without_id} of them have no id and cannot be asked for.",
            "This proves what was committed to, not that it is true; absence assumes that the owner sorted the tree.",
        ]


# Making.


def make_proof(path: str | Path | Snapshot, id: Sequence[Any], *, work: Path | None = None) -> bytes:
    """The proof that a version has, or has not, rows of an id. Reads the whole version; memory stays bounded.

    Args:
        path: a version's folder, or its Snapshot.
        id: one text for each column of the version's key, as a CSV field would have it.
        work: a folder of the node for temporary files (64 bytes a row); the system's if None.

    Raises:
        AtollError: `E_STATE` for a version without a row tree; `E_FORMAT`, `E_TYPE` for an id that is none;
            `E_TOO_LARGE` if too many rows have the id; `E_DATA` if what is stored is not what was committed to.
    """
    snapshot = path if isinstance(path, Snapshot) else load(path)
    if snapshot.row_key is None:
        raise AtollError(
            "E_STATE",
            f"version {snapshot.version} of {snapshot.asset} has no row tree, so that no row can be proved",
            fault="owner",
            cure="Add the table with a key (`atoll data add --key COLUMN`); its versions from then on have one.",
        )
    columns = list(snapshot.schema.select(snapshot.row_key.columns))
    asked = read_id(id, columns)
    names = snapshot.row_key.columns
    with RowRecords(work, snapshot.schema, names, row_secret(snapshot)) as records:
        tag = rows.tag(records.tag_key(), id_digest(asked, columns))
        less, found = _gather(snapshot, records, tag)
        first, end = max(less - 1, 0), min(less + len(found) + 1, records.rows)
        shown, proof_path = _open(records, first, end)
        document = {
            "format": FORMAT,
            "version": snapshot.version_document(),
            "tag_key": records.tag_key().hex(),
            "id": [text(v, c) for v, c in zip(asked, columns, strict=True)],
            "first": first,
            "before": _neighbour(shown[0]) if less else None,
            "rows": [{"salt": records.salt(number).hex(), "row": row} for number, row in found],
            "after": _neighbour(shown[-1]) if less + len(found) < records.rows else None,
            "path": [h.hex() for h in proof_path],
        }
    data = canonical.dumps(document)
    _check_size(len(data), len(found))
    try:
        verify_proof(data, snapshot.digest)
    except AtollError as error:
        raise AtollError(
            "E_DATA",
            f"{snapshot.path} is not what version {snapshot.version} committed to: {error.text}",
            fault="owner",
            cure="Run `atoll data verify`; restore the version's folder from a backup.",
        ) from None
    return data


def _gather(
    snapshot: Snapshot, records: RowRecords, tag: bytes
) -> tuple[int, list[tuple[int, list[str | None]]]]:
    """Adds all rows; how many leaves come before the tag, and number and texts of the rows that have it."""
    wanted = np.frombuffer(tag, np.uint8)
    high = np.frombuffer(tag[:8], ">u8")[0]
    less = size = 0
    found: list[tuple[int, list[str | None]]] = []
    for batch in row_groups(snapshot):
        first = records.rows
        tags = np.frombuffer(records.push(batch), np.uint8).reshape(-1, RECORD_BYTES)[:, :TAG_BYTES]
        heads = np.ascontiguousarray(tags[:, :8]).view(">u8").ravel()
        close = np.flatnonzero(heads == high)
        less += int((heads < high).sum()) + sum(tags[i].tobytes() < tag for i in close)
        equal = [int(i) for i in close if (tags[i] == wanted).all()]
        if len(found) + len(equal) > MAX_ROWS:
            raise AtollError(
                "E_TOO_LARGE", f"over {MAX_ROWS} rows have this id; a proof shows them all", fault="caller"
            )
        if equal:
            texts = _texts(batch.take(pa.array(equal)), snapshot.schema)
            found += [(first + i, row) for i, row in zip(equal, texts, strict=True)]
            size += sum(len(words) for row in texts for words in row if words is not None)
            _check_size(size, len(found))
    return less, found


def _check_size(size: int, count: int) -> None:
    if size > canonical.MAX_BYTES:
        raise AtollError(
            "E_TOO_LARGE",
            f"{count} rows of this id take more than the {canonical.MAX_BYTES >> 20} MiB of a proof",
            fault="caller",
        )


def _texts(batch: pa.RecordBatch, schema: Schema) -> list[list[str | None]]:
    columns = [
        [None if v is None else text(v, c) for v in values(batch.column(i), c)] for i, c in enumerate(schema)
    ]
    return [list(row) for row in zip(*columns, strict=True)]


def _neighbour(record: bytes) -> dict[str, str]:
    return {"tag": record[:TAG_BYTES].hex(), "inner": record[TAG_BYTES:].hex()}


def _ranges(lo: int, hi: int, first: int, end: int) -> Iterator[tuple[int, int]]:
    """The subtrees of the leaves [lo, hi) that have none of the leaves [first, end), from left to right."""
    if lo == hi:
        return
    if hi <= first or lo >= end:
        yield lo, hi
    elif hi - lo > 1:
        middle = lo + _split(hi - lo)
        yield from _ranges(lo, middle, first, end)
        yield from _ranges(middle, hi, first, end)


def _split(length: int) -> int:
    """The largest power of two smaller than `length` (RFC 6962, 2.1)."""
    return 1 << ((length - 1).bit_length() - 1)


def _open(records: RowRecords, first: int, end: int) -> tuple[list[bytes], list[bytes]]:
    """The records of the leaves [first, end), and the hashes of the subtrees beside them."""
    beside = list(_ranges(0, records.rows, first, end))
    parts = sorted([*beside, (first, end)] if first < end else beside)
    shown, path, at = bytearray(), [], 0
    waiting = iter(parts)
    tree: RowTree | None = None
    low, high = 0, 0
    for piece in records.sorted():
        start = 0
        while start < len(piece):
            if at == high:
                low, high = next(waiting)
                tree = None if (low, high) == (first, end) else RowTree(THREADS)
            cut = piece[start : start + (high - at) * RECORD_BYTES]
            start, at = start + len(cut), at + len(cut) // RECORD_BYTES
            if tree is None:
                shown += cut
            else:
                tree.push(cut)
                if at == high:
                    path.append(tree.root())
    return [bytes(shown[i : i + RECORD_BYTES]) for i in range(0, len(shown), RECORD_BYTES)], path


# Checking.


def verify_proof(data: bytes, version: str) -> RowProof:
    """Checks a proof against the digest of a version, which approvals and receipts name. Needs nothing else.

    Raises:
        AtollError: `E_FORMAT`, `E_TOO_LARGE` for what is no proof; `E_PROOF` for one that does not hold, with
            what is wrong.
    """
    document = canonical.loads(data)
    proof = _Proof.parse(document, what="row proof")
    schema, total, row_root, key = _version(proof.version, version)
    using = hash_named(row_root.partition(":")[0])
    if using.name != rows.HASH.name:
        raise _wrong(f"the row tree is one over {using.name}, which this version cannot check")
    tag_key = bytes.fromhex(proof.tag_key)
    if rows.tag_key_commitment(tag_key) != key.commitment:
        raise _wrong("the key of the tags is not the one that the version committed to")
    columns = list(schema.select(key.columns))
    if len(proof.id) != len(columns):
        raise _wrong("the id has another number of values than the key has columns")
    asked = [value(words, c) for words, c in zip(proof.id, columns, strict=True)]
    tag = rows.tag(tag_key, id_digest(asked, columns), using)
    found = [_row(shown, schema) for shown in proof.rows]
    places = [schema.names.index(c.name) for c in columns]
    for row in found:
        own = [row[place] for place in places]
        if (
            None in own
            or rows.tag(tag_key, id_digest([v for v in own if v is not None], columns), using) != tag
        ):
            raise _wrong("a row that is shown has another id")
    _check_tree(proof, tag, found, schema, total, digest_bytes(row_root), using)
    return RowProof(
        version,
        total,
        key.without_id,
        dict(zip(key.columns, proof.id, strict=True)),
        tuple(dict(zip(schema.names, shown.row, strict=True)) for shown in proof.rows),
    )


def _wrong(reason: str) -> AtollError:
    return AtollError("E_PROOF", f"the proof does not hold: {reason}")


def _version(document: dict[str, Any], digest: str) -> tuple[Schema, int, str, RowKey]:
    """Schema, rows, root and key of the row tree of a version document with this digest."""
    digest_bytes(digest)
    if not check_digest(canonical.dumps(document), digest):
        raise _wrong(f"it is about another version than {digest}")
    if set(document) != {"format", "schema", "rows", "root", "row_root", "row_key", "previous"}:
        raise AtollError("E_FORMAT", "row proof: version: other fields than those of a version document")
    total, row_root, previous = document["rows"], document["row_root"], document["previous"]
    if document["format"] != VERSION_FORMAT or type(total) is not int or not 0 <= total <= _MAX_TREE:
        raise AtollError("E_FORMAT", "row proof: version: an unknown format, or rows that are no number")
    if row_root is None or document["row_key"] is None:
        raise _wrong("the version has no row tree")
    for name in ("root", "row_root", "previous"):
        if isinstance(document[name], str):
            digest_bytes(document[name])
        elif name != "previous" or previous is not None:
            raise AtollError("E_FORMAT", f"row proof: version: {name} is no digest")
    schema, key = Schema.from_json(document["schema"]), RowKey.from_json(document["row_key"])
    check_key(schema, key.columns)
    if version_document(schema, total, document["root"], row_root, key, previous) != document:
        raise AtollError("E_FORMAT", "row proof: version: the schema does not read back to the same document")
    return schema, total, row_root, key


def _row(shown: _Shown, schema: Schema) -> list[Value | None]:
    if len(shown.row) != len(schema):
        raise _wrong("a row has another number of values than the version has columns")
    return [None if words is None else value(words, c) for words, c in zip(shown.row, schema, strict=True)]


def _check_tree(
    proof: _Proof, tag: bytes, found: list[list[Value | None]], schema: Schema, total: int, root: bytes, using: Hash
) -> None:  # fmt: skip
    """That the leaves shown are neighbours, in order, and lie under the root."""
    leaves = [
        rows.leaf(tag, rows.inner(bytes.fromhex(shown.salt), row_bytes(row, schema), using), using)
        for shown, row in zip(proof.rows, found, strict=True)
    ]
    before, after = proof.before, proof.after
    if before is not None:
        if bytes.fromhex(before.tag) >= tag:
            raise _wrong("the leaf before is not before the id")
        leaves.insert(0, rows.leaf(bytes.fromhex(before.tag), bytes.fromhex(before.inner), using))
    elif proof.first != 0:
        raise _wrong("the leaf before the id is missing")
    if after is not None:
        if bytes.fromhex(after.tag) <= tag:
            raise _wrong("the leaf after is not after the id")
        leaves.append(rows.leaf(bytes.fromhex(after.tag), bytes.fromhex(after.inner), using))
    elif proof.first + len(leaves) != total:
        raise _wrong("the leaf after the id is missing")
    if proof.first + len(leaves) > total or (total and not leaves):
        raise _wrong("its leaves lie outside the tree")
    path = iter(bytes.fromhex(h) for h in proof.path)
    if _root(0, total, proof.first, leaves, path, using) != root or next(path, None) is not None:
        raise _wrong("its leaves are not those of the version's row tree")


def _root(
    lo: int, hi: int, first: int, leaves: list[bytes], path: Iterator[bytes], using: Hash
) -> bytes | None:
    """The hash of the subtree over the leaves [lo, hi); None if the path has too few hashes."""
    if lo == hi:
        return using.run(b"")
    if hi <= first or lo >= first + len(leaves):
        return next(path, None)
    if hi - lo == 1:
        return leaves[lo - first]
    middle = lo + _split(hi - lo)
    left = _root(lo, middle, first, leaves, path, using)
    right = _root(middle, hi, first, leaves, path, using)
    return None if left is None or right is None else rows.node(left, right, using)
