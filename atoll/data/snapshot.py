"""Snapshots: a source's rows, checked, materialised and committed, as a version of an asset.

A version is a folder `<root>/<asset>/<version>/` with `data.parquet` (zstd; row group i is chunk i of the
commitment), `manifest.json`, `salts.bin` (16 bytes per chunk; never shown) and `leaves.bin` (the leaf
hashes). It is written under a temporary name and renamed when complete; it never changes afterwards. Folders
have mode 0700, files 0600.

The version digest is the digest of the canonical JSON {"format", "schema", "rows", "root", "previous"}: it
binds the rows and their order, the schema with its units and ranges, and the version before.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from atoll.crypto import canonical
from atoll.crypto.suite import DEFAULT, check_digest, digest, digest_bytes, hash_named, opening
from atoll.data.commitment import CHUNK_ROWS, SALT_BYTES, chunk_bytes, chunks, leaf, root
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
        root: root of the commitment's tree, `algorithm:hex`.
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
            "previous": self.previous,
            "digest": self.digest,
        }


def version_digest(schema: Schema, rows: int, root: str, previous: str | None) -> str:
    """Digest of {format, schema, rows, root, previous} in canonical JSON."""
    return digest(_version_bytes(schema, rows, root, previous))


def _version_bytes(schema: Schema, rows: int, root: str, previous: str | None) -> bytes:
    body = {"format": FORMAT, "schema": schema.to_json(), "rows": rows, "root": root, "previous": previous}
    return canonical.dumps(body)


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
) -> Snapshot:
    """Materialises a source as the next version of an asset, in bounded memory.

    Args:
        source: an open source.
        store: the node's folder of snapshots; made if missing.
        asset: name of the asset.
        now: time of creation, aware.
        schema: columns to take; those of `source.inspect()` if None.
        bad_rows: "refuse" stops at the end if any row is bad; "skip" leaves bad rows out and counts them.

    Raises:
        AtollError: what the source and `Validator` raise; `E_CONFLICT` if the same version was just made by
            another process. Nothing is left behind on any error.
    """
    schema = schema or source.inspect().schema
    store.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder = store / check_asset(asset)
    folder.mkdir(exist_ok=True, mode=0o700)
    before = latest(store, asset)
    number = before.version + 1 if before else 1
    work = Path(tempfile.mkdtemp(prefix=".new-", dir=folder))  # mode 0700
    try:
        validator = Validator(source, schema, bad_rows)
        rows, tree = _write(work, validator, schema)
        tree_root = f"{DEFAULT.hash.name}:{tree.hex()}"
        previous = before.digest if before else None
        snapshot = Snapshot(
            path=folder / str(number),
            asset=asset,
            version=number,
            schema=schema,
            rows=rows,
            root=tree_root,
            previous=previous,
            digest=version_digest(schema, rows, tree_root, previous),
            created=now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            source=source.facts() | {"mode": source.mode},
            skipped=validator.skipped,
            examples=tuple(validator.examples),
        )
        _private(
            work / "manifest.json", json.dumps(snapshot.manifest(), ensure_ascii=False, indent=1).encode()
        )
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


def _write(work: Path, validator: Validator, schema: Schema) -> tuple[int, bytes]:
    rows, leaves, salts = 0, [], bytearray()
    handle = os.open(work / "data.parquet", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        with pq.ParquetWriter(file, schema.arrow, compression="zstd", compression_level=1) as writer:
            for index, chunk in enumerate(chunks(validator, schema)):
                salt = opening()
                leaves.append(leaf(salt, chunk_bytes(chunk, schema, index)))
                salts += salt
                writer.write_batch(chunk, row_group_size=CHUNK_ROWS)
                rows += chunk.num_rows
        file.flush()
        os.fsync(file.fileno())
    _private(work / "salts.bin", bytes(salts))
    _private(work / "leaves.bin", b"".join(leaves))
    return rows, root(leaves)


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
        )
    except (KeyError, TypeError, ValueError):
        raise AtollError("E_DATA", f"{file} is damaged") from None
    body_bytes = _version_bytes(snapshot.schema, snapshot.rows, snapshot.root, snapshot.previous)
    if not check_digest(body_bytes, snapshot.digest):
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


def verify_snapshot(path: str | Path) -> Snapshot:
    """Recomputes the commitment of a stored version from its rows and salts.

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
    if index + 1 != count:
        raise AtollError(
            "E_DATA", f"{snapshot.data} ends before chunk {index + 1}", detail={"chunk": index + 1}
        )
    return snapshot


def _side(snapshot: Snapshot, name: str, count: int, width: int) -> list[bytes]:
    try:
        data = (snapshot.path / name).read_bytes()
    except OSError as error:
        raise AtollError("E_DATA", f"{snapshot.path}/{name} cannot be read: {error.strerror}") from None
    if len(data) != count * width:
        raise AtollError("E_DATA", f"{snapshot.path}/{name} has {len(data)} bytes instead of {count * width}")
    return [data[i : i + width] for i in range(0, len(data), width)]
