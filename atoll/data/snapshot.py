"""Snapshots: a source's rows, checked, materialised and committed, as a version of an asset.

A version is a folder `<root>/<asset>/<version>/` with `data.parquet` (zstd; row group i is chunk i of the
commitment), `manifest.json`, `salts.bin` (16 bytes per chunk; never shown) and `leaves.bin` (the leaf
hashes). A table with a key further has `secret.bin`, the 32-byte secret of its row tree (`atoll.data.rowtree`). The
folder is written under a temporary name and renamed when complete; it never changes afterwards. Folders have mode
0700, files 0600.

The version digest is the digest of the canonical JSON of `version_document`: it binds the rows and their order, the
schema with its units and ranges, the row tree with the columns of its key, and the version before.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from atoll.crypto import canonical
from atoll.crypto.rows import SECRET_BYTES
from atoll.crypto.suite import DEFAULT, check_digest, digest, digest_bytes, hash_named, opening
from atoll.data.commitment import CHUNK_ROWS, SALT_BYTES, chunk_bytes, chunks, leaf, root
from atoll.data.rowtree import RowKey, RowRecords, check_key, new_secret
from atoll.data.schema import Schema
from atoll.data.sources.base import BadRow, BadRows, Source
from atoll.data.validate import Validator
from atoll.errors import AtollError

FORMAT = "atoll.snapshot/v1"
MAX_MANIFEST = 8 << 20
_ASSET = re.compile(r"[^\W_][\w.\-]{0,63}")
_VERSION = re.compile(r"[1-9][0-9]{0,8}")


@dataclass(frozen=True)
class Snapshot:
    """One version of an asset.

    Attributes:
        path: the version's folder.
        digest: the version digest, `algorithm:hex`; what receipts and approvals name.
        root: root of the commitment's tree over chunks, `algorithm:hex`.
        row_root, row_key: root of the row tree and what it is sorted by; None for a version without one.
        previous: digest of the version before, or None.
        skipped: bad rows that were left out; `examples` lists the first 20 (only on the snapshot just made).
    """

    path: Path
    asset: str
    version: int
    schema: Schema
    rows: int
    root: str
    previous: str | None
    digest: str
    created: str
    source: dict[str, Any]
    skipped: int = 0
    examples: tuple[BadRow, ...] = ()
    row_root: str | None = None
    row_key: RowKey | None = None

    def version_document(self) -> dict[str, Any]:
        """What the version digest is the digest of."""
        return version_document(self.schema, self.rows, self.root, self.row_root, self.row_key, self.previous)

    @property
    def data(self) -> Path:
        """The Parquet file."""
        return self.path / "data.parquet"

    def manifest(self) -> dict[str, Any]:
        """The JSON body of `manifest.json`."""
        return {
            "format": FORMAT,
            "asset": self.asset,
            "version": self.version,
            "created": self.created,
            "source": self.source,
            "skipped": self.skipped,
            "schema": self.schema.to_json(),
            "rows": self.rows,
            "chunk_rows": CHUNK_ROWS,
            "root": self.root,
            "row_root": self.row_root,
            "row_key": None if self.row_key is None else self.row_key.document(),
            "previous": self.previous,
            "digest": self.digest,
        }


def version_document(
    schema: Schema, rows: int, root: str, row_root: str | None, row_key: RowKey | None, previous: str | None
) -> dict[str, Any]:
    """{format, schema, rows, root, row_root, row_key, previous}; row_root and row_key stand together or not at all."""
    return {
        "format": FORMAT,
        "schema": schema.to_json(),
        "rows": rows,
        "root": root,
        "row_root": row_root,
        "row_key": None if row_key is None else row_key.document(),
        "previous": previous,
    }


def version_digest(document: dict[str, Any]) -> str:
    """Digest of a version document in canonical JSON."""
    return digest(canonical.dumps(document))


def check_asset(name: str) -> str:
    """`name` if it can name an asset: a letter or digit, then up to 63 letters, digits, `_`, `.` or `-`."""
    if not isinstance(name, str) or not _ASSET.fullmatch(name) or len(name.encode("utf-8")) > 200:
        raise AtollError(
            "E_FORMAT",
            f"{name!r:.80} cannot name an asset: use a letter or digit, then letters, digits, _ . -",
        )
    return name


def versions(store: Path, asset: str) -> list[int]:
    """Version numbers of an asset in ascending order; empty if there is none."""
    folder = store / check_asset(asset)
    if not folder.is_dir():
        return []
    return sorted(int(p.name) for p in folder.iterdir() if _VERSION.fullmatch(p.name) and p.is_dir())


def latest(store: Path, asset: str) -> Snapshot | None:
    """The newest version of an asset, or None."""
    have = versions(store, asset)
    return load(store / asset / str(have[-1])) if have else None


def create(
    source: Source,
    store: Path,
    asset: str,
    *,
    now: datetime,
    schema: Schema | None = None,
    bad_rows: BadRows = "refuse",
    key: Sequence[str] | None = None,
    accept: Callable[[Snapshot], None] | None = None,
) -> Snapshot:
    """Materialises a source as the next version of an asset, in bounded memory.

    Args:
        source: an open source.
        store: the node's folder of snapshots; made if missing.
        asset: name of the asset.
        now: time of creation, aware.
        schema: columns to take; those of `source.inspect()` if None.
        bad_rows: "refuse" stops at the end if any row is bad; "skip" leaves bad rows out and counts them.
        key: columns that identify a row: the version also gets a row tree, and can prove its rows. None makes none.
        accept: called with the whole version before it is one, in a temporary folder; what it raises is raised.

    Raises:
        AtollError: what the source and `Validator` raise; `E_CONFLICT` if the same version was just made by
            another process; `E_COLUMN`, `E_TYPE` for a key that is none. Nothing is left behind on any error.
    """
    schema = schema or source.inspect().schema
    key = None if key is None else check_key(schema, key)
    store.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder = store / check_asset(asset)
    folder.mkdir(exist_ok=True, mode=0o700)
    before = latest(store, asset)
    number = before.version + 1 if before else 1
    work = Path(tempfile.mkdtemp(prefix=".new-", dir=folder))  # mode 0700
    try:
        validator = Validator(source, schema, bad_rows)
        rows, tree_root, row_root, row_key = _write(work, validator, schema, key)
        previous = before.digest if before else None
        document = version_document(schema, rows, tree_root, row_root, row_key, previous)
        snapshot = Snapshot(
            path=folder / str(number),
            asset=asset,
            version=number,
            schema=schema,
            rows=rows,
            root=tree_root,
            previous=previous,
            digest=version_digest(document),
            created=now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            source=source.facts() | {"mode": source.mode},
            skipped=validator.skipped,
            examples=tuple(validator.examples),
            row_root=row_root,
            row_key=row_key,
        )
        _private(
            work / "manifest.json", json.dumps(snapshot.manifest(), ensure_ascii=False, indent=1).encode()
        )
        if accept is not None:
            accept(replace(snapshot, path=work))
        _sync(work)
        try:
            work.rename(snapshot.path)
        except OSError as error:
            raise AtollError(
                "E_CONFLICT", f"version {number} of {asset} cannot be stored: {error.strerror}"
            ) from None
        _sync(folder)
        return snapshot
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        with contextlib.suppress(OSError):  # not empty: it has other versions
            folder.rmdir()
        raise


def sweep(store: Path) -> None:
    """Removes what a killed process left half-made. Call it only while no snapshot is being made."""
    for folder in store.glob("*/.new-*"):
        shutil.rmtree(folder, ignore_errors=True)


def _write(
    work: Path, validator: Validator, schema: Schema, key: Sequence[str] | None
) -> tuple[int, str, str | None, RowKey | None]:
    """Writes all files but the manifest; gives the rows, and the roots and the key of the two trees."""
    rows, leaves, salts = 0, [], bytearray()
    row_root = row_key = None
    with contextlib.ExitStack() as stack:
        records = None
        if key is not None:
            secret = new_secret()
            _private(work / "secret.bin", secret)
            records = stack.enter_context(RowRecords(work, schema, key, secret))
        handle = os.open(work / "data.parquet", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        file = stack.enter_context(os.fdopen(handle, "wb"))
        with pq.ParquetWriter(file, schema.arrow, compression="zstd", compression_level=1) as writer:
            for index, chunk in enumerate(chunks(validator, schema)):
                salt = opening()
                leaves.append(leaf(salt, chunk_bytes(chunk, schema, index)))
                salts += salt
                writer.write_batch(chunk, row_group_size=CHUNK_ROWS)
                rows += chunk.num_rows
                if records is not None:
                    records.push(chunk)
        file.flush()
        os.fsync(file.fileno())
        if records is not None:
            row_root, row_key = records.root(), records.key
    _private(work / "salts.bin", bytes(salts))
    _private(work / "leaves.bin", b"".join(leaves))
    return rows, f"{DEFAULT.hash.name}:{root(leaves).hex()}", row_root, row_key


def _private(path: Path, data: bytes) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def load(path: str | Path) -> Snapshot:
    """The snapshot in a version's folder, its manifest checked against its digest but its rows not read.

    Raises:
        AtollError: `E_NOT_FOUND` if there is none; `E_DATA` if the manifest is damaged.
    """
    path = Path(path)
    file = path / "manifest.json"
    try:
        if file.stat().st_size > MAX_MANIFEST:
            raise AtollError("E_DATA", f"{file} is damaged: it is too large")
        body = json.loads(file.read_bytes())
    except FileNotFoundError:
        raise AtollError("E_NOT_FOUND", f"there is no snapshot in {path}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise AtollError("E_DATA", f"{file} is damaged: {error}") from None
    try:
        if body["format"] != FORMAT or body["chunk_rows"] != CHUNK_ROWS:
            raise AtollError("E_DATA", f"{file} has the unknown format {body['format']!r:.40}")
        snapshot = Snapshot(
            path=path,
            asset=check_asset(body["asset"]),
            version=int(body["version"]),
            schema=Schema.from_json(body["schema"]),
            rows=int(body["rows"]),
            root=str(body["root"]),
            previous=None if body["previous"] is None else str(body["previous"]),
            digest=str(body["digest"]),
            created=str(body["created"]),
            source=dict(body["source"]),
            skipped=int(body["skipped"]),
            row_root=None if body["row_root"] is None else str(body["row_root"]),
            row_key=None if body["row_key"] is None else RowKey.from_json(body["row_key"]),
        )
    except (KeyError, TypeError, ValueError):
        raise AtollError("E_DATA", f"{file} is damaged") from None
    if (snapshot.row_root is None) != (snapshot.row_key is None):
        raise AtollError("E_DATA", f"{file} is damaged: a row tree has a root and a key")
    if not check_digest(canonical.dumps(snapshot.version_document()), snapshot.digest):
        raise AtollError("E_DATA", f"{file} does not match its own digest {snapshot.digest}")
    return snapshot


def row_groups(snapshot: Snapshot) -> Iterator[pa.RecordBatch]:
    """The chunks of a snapshot, as stored; `E_DATA` names the chunk that cannot be read."""
    index = -1
    try:
        with pq.ParquetFile(snapshot.data) as file:
            if file.schema_arrow.remove_metadata() != snapshot.schema.arrow:
                raise AtollError("E_DATA", f"{snapshot.data} has other columns than its manifest")
            for index in range(file.num_row_groups):
                table = file.read_row_group(index, use_threads=False).combine_chunks()
                yield from chunks(table.to_batches(), snapshot.schema)
    except (OSError, pa.ArrowException) as error:
        where = f"chunk {index}" if index >= 0 else "its footer"
        raise AtollError("E_DATA", f"{snapshot.data} is damaged in {where}: {error}",
                         detail={"chunk": index}) from None  # fmt: skip


def row_secret(snapshot: Snapshot) -> bytes:
    """The secret of a version's row tree; `E_DATA` if it is gone or damaged."""
    return _side(snapshot, "secret.bin", 1, SECRET_BYTES)[0]


def verify_snapshot(path: str | Path, *, work: Path | None = None) -> Snapshot:
    """Recomputes both trees of a stored version from its rows and secrets.

    Args:
        work: a folder of the node for temporary files; the system's if None.

    Raises:
        AtollError: `E_DATA` names the first chunk that is damaged, as far as that can be told.
    """
    snapshot = load(path)
    algorithm = hash_named(snapshot.root.partition(":")[0])
    count = -(-snapshot.rows // CHUNK_ROWS)
    salts = _side(snapshot, "salts.bin", count, SALT_BYTES)
    leaves = _side(snapshot, "leaves.bin", count, algorithm.size)
    if root(leaves, algorithm) != digest_bytes(snapshot.root):
        raise AtollError(
            "E_DATA", f"{snapshot.path}/leaves.bin does not match the commitment {snapshot.root}"
        )
    with contextlib.ExitStack() as stack:
        records = None
        if snapshot.row_key is not None:
            secret = row_secret(snapshot)
            records = stack.enter_context(RowRecords(work, snapshot.schema, snapshot.row_key.columns, secret))
        _verify_rows(snapshot, salts, leaves, records)
    return snapshot


def _verify_rows(
    snapshot: Snapshot, salts: list[bytes], leaves: list[bytes], records: RowRecords | None
) -> None:
    algorithm, count = hash_named(snapshot.root.partition(":")[0]), len(leaves)
    index = -1
    for index, chunk in enumerate(row_groups(snapshot)):
        if (
            index >= count
            or leaf(salts[index], chunk_bytes(chunk, snapshot.schema, index), algorithm) != leaves[index]
        ):
            raise AtollError(
                "E_DATA",
                f"{snapshot.data} does not match its commitment in chunk {index}",
                detail={"chunk": index},
            )
        if records is not None:
            records.push(chunk)
    if index + 1 != count:
        raise AtollError(
            "E_DATA", f"{snapshot.data} ends before chunk {index + 1}", detail={"chunk": index + 1}
        )
    if records is not None and (records.root(), records.key) != (snapshot.row_root, snapshot.row_key):
        raise AtollError(
            "E_DATA", f"{snapshot.path}/secret.bin does not give the row tree {snapshot.row_root}"
        )


def _side(snapshot: Snapshot, name: str, count: int, width: int) -> list[bytes]:
    try:
        data = (snapshot.path / name).read_bytes()
    except OSError as error:
        raise AtollError("E_DATA", f"{snapshot.path}/{name} cannot be read: {error.strerror}") from None
    if len(data) != count * width:
        raise AtollError("E_DATA", f"{snapshot.path}/{name} has {len(data)} bytes instead of {count * width}")
    return [data[i : i + width] for i in range(0, len(data), width)]
