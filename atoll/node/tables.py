"""The owner's tables at one node: registered, materialised as versions, described, removed."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
from sqlalchemy import func, select

from atoll.agreements import column
from atoll.data.profile import profile
from atoll.data.schema import Declaration, Schema
from atoll.data.snapshot import Snapshot, check_asset, create, load
from atoll.data.sources import Source, inspect, open_source
from atoll.errors import AtollError
from atoll.node.clock import Clock, stamp
from atoll.node.config import Config
from atoll.node.logs import logger
from atoll.node.state.models import Agreement, Asset, AssetVersion
from atoll.node.state.store import Store

MAX_UPLOAD = 4 << 30


@dataclass(frozen=True)
class Version:
    """One version of an own table, ready to be read."""

    digest: str
    mode: Literal["snapshot", "live"]
    data: Path
    cache: Path
    rows: int


class Tables:
    """All tables that this node's owner registered."""

    def __init__(self, home: Path, config: Config, store: Store, clock: Clock) -> None:
        self._home, self._config, self._store, self._clock = home, config, store, clock
        self._root = home / "data"
        self._work = home / "work"
        for folder in (self._root, self._work):
            folder.mkdir(mode=0o700, exist_ok=True)
        self._log = logger("tables")

    # Sources.

    def _path(self, text: str) -> Path:
        path = Path(text).expanduser()
        if not path.is_absolute():
            raise AtollError(
                "E_SOURCE",
                f"{text!r} is not an absolute path",
                fault="caller",
                cure="Give the full path of the file on the node's machine.",
            )
        allowed = [Path(f).resolve() for f in self._config["data.folders"]]
        real = path.resolve()
        if allowed and not any(real.is_relative_to(folder) for folder in allowed):
            raise AtollError(
                "E_SOURCE", f"{text} is outside the folders that data.folders allows", fault="caller"
            )
        if real.is_relative_to(self._home.resolve()):
            raise AtollError("E_SOURCE", f"{text} is inside the node's own folder", fault="caller")
        return path

    def open(self, source: dict[str, Any], declaration: dict[str, Any] | None) -> Source:
        """A source from its description: `{"path": ...}` for a file on the node's machine."""
        words = Declaration.from_json(declaration or {})
        if set(source) == {"path"} and isinstance(source["path"], str):
            return open_source(self._path(source["path"]), declaration=words, work=self._work)
        raise AtollError("E_FORMAT", 'a source is {"path": "/full/path"}')

    def inspect(self, source: dict[str, Any], declaration: dict[str, Any] | None) -> dict[str, Any]:
        """What a source would be as a table, before it is added."""
        with self.open(source, declaration) as opened:
            found = inspect(opened)
        return {
            "columns": _columns(found.schema),
            "rows": found.rows,
            "encoding": found.encoding,
            "delimiter": found.delimiter,
            "warnings": list(found.warnings),
            "malformed": found.malformed,
            "examples": [b.to_json() for b in found.examples],
            "sample": [list(row) for row in found.sample[:5]],
        }

    # Adding.

    def add(
        self,
        name: str,
        source: dict[str, Any],
        declaration: dict[str, Any] | None,
        *,
        bad_rows: Literal["refuse", "skip"],
        keys: list[list[str]],
        person: str,
    ) -> dict[str, Any]:
        """Registers a table and materialises its first version; nothing is kept if any row is refused."""
        with self.open(source, declaration) as opened:
            return self._add(
                name, opened, {"source": source, "declaration": declaration}, bad_rows, keys, person
            )

    def add_table(
        self,
        name: str,
        table: pa.Table,
        declaration: dict[str, Any] | None,
        keys: list[list[str]],
        person: str,
    ) -> dict[str, Any]:
        """Registers a table that was sent as Arrow data."""
        words = Declaration.from_json(declaration or {})
        with open_source(table, declaration=words, work=self._work, name=name) as opened:
            return self._add(
                name,
                opened,
                {"source": {"uploaded": True}, "declaration": declaration},
                "refuse",
                keys,
                person,
            )

    def _add(
        self,
        name: str,
        source: Source,
        how: dict[str, Any],
        bad_rows: Any,
        keys: list[list[str]],
        person: str,
    ) -> dict[str, Any]:
        check_asset(name)
        with self._store.read() as session:
            if session.get(Asset, name) is not None:
                raise AtollError(
                    "E_CONFLICT",
                    f"there is already a table {name!r}",
                    cure="Refresh it, or use another name.",
                )
        snapshot = create(source, self._root, name, now=self._clock(), bad_rows=bad_rows)
        how = {**how, "bad_rows": bad_rows, "keys": keys}
        with self._store.write() as session:
            if session.get(Asset, name) is not None:
                raise AtollError("E_CONFLICT", f"there is already a table {name!r}")
            session.add(
                Asset(
                    name=name,
                    source=how,
                    mode=source.mode,
                    schema=_columns(snapshot.schema),
                    version=snapshot.digest,
                    created=stamp(self._clock()),
                    by=person,
                )
            )
        return self._keep(snapshot, keys)

    def _keep(self, snapshot: Snapshot, keys: list[list[str]]) -> dict[str, Any]:
        found = profile(snapshot, keys, work=self._work).to_json()
        with self._store.write() as session:
            row = session.get_one(Asset, snapshot.asset)
            row.version, row.schema = snapshot.digest, _columns(snapshot.schema)
            session.merge(
                AssetVersion(
                    digest=snapshot.digest,
                    asset=snapshot.asset,
                    number=snapshot.version,
                    path=str(snapshot.path.relative_to(self._home)),
                    rows=snapshot.rows,
                    profile={**found, "examples": [b.to_json() for b in snapshot.examples]},
                    created=stamp(self._clock()),
                )
            )
        self._log.info("table version", table=snapshot.asset, version=snapshot.version, rows=snapshot.rows)
        return self.describe(snapshot.asset)

    def refresh(self, name: str, table: pa.Table | None = None) -> dict[str, Any]:
        """Reads the source again as the next version; the columns must stay what agreements say they are."""
        row = self._row(name)
        how = row.source
        if table is not None:
            opened: Source = open_source(
                table, declaration=Declaration.from_json(how["declaration"] or {}), work=self._work, name=name
            )
        else:
            if how["source"] == {"uploaded": True}:
                raise AtollError(
                    "E_SOURCE", f"{name} was uploaded; send the new rows with the call", fault="caller"
                )
            opened = self.open(how["source"], how["declaration"])
        with opened as source:
            have = {c["name"]: c for c in _columns(inspect(source).schema)}
            for known in row.schema:
                now = have.get(known["name"])
                if now is None or any(now.get(f) != known.get(f) for f in ("type", "scale", "unit")):
                    raise AtollError(
                        "E_TYPE",
                        f"{name}.{known['name']} was {known['type']} and is now {now['type'] if now else 'missing'}",
                        column=known["name"],
                        fault="owner",
                        cure="Declare the column's type, or add the table under another name.",
                    )
            snapshot = create(source, self._root, name, now=self._clock(), bad_rows=how["bad_rows"])
        return self._keep(snapshot, how["keys"])

    @contextmanager
    def upload(self, pieces: Iterator[bytes]) -> Iterator[pa.Table]:
        """A table from an Arrow IPC stream; `E_FORMAT` if it is not one, `E_TOO_LARGE` over 4 GiB."""
        with tempfile.NamedTemporaryFile(dir=self._work, suffix=".arrow") as file:
            size = 0
            for piece in pieces:
                size += len(piece)
                if size > MAX_UPLOAD:
                    raise AtollError(
                        "E_TOO_LARGE", f"an upload has at most {MAX_UPLOAD >> 30} GiB", fault="caller"
                    )
                file.write(piece)
            file.flush()
            try:
                with pa.memory_map(file.name) as source, pa.ipc.open_stream(source) as reader:
                    table = reader.read_all()
                    table.validate(full=True)
            except (pa.ArrowException, OSError, ValueError) as error:
                raise AtollError("E_FORMAT", f"the body is not an Arrow IPC stream: {error}") from None
            yield table

    # Reading.

    def _row(self, name: str) -> Asset:
        with self._store.read() as session:
            row = session.get(Asset, name)
        if row is None:
            raise AtollError("E_NOT_FOUND", f"there is no table {name!r}")
        return row

    def version(self, name: str, digest: str | None = None) -> Version:
        """A version of a table, the newest if none is named; `E_NOT_FOUND`."""
        row = self._row(name)
        wanted = digest or row.version
        with self._store.read() as session:
            found = session.get(AssetVersion, wanted) if wanted else None
        if found is None or found.asset != name:
            raise AtollError("E_NOT_FOUND", f"{name} has no version {wanted}", fault="owner")
        folder = self._home / found.path
        return Version(found.digest, "snapshot", folder / "data.parquet", folder / "cache", found.rows)

    def cache(self, digest: str) -> Path:
        """Folder of what is derived from a version."""
        with self._store.read() as session:
            found = session.get(AssetVersion, digest)
        return self._home / (found.path if found else "data/none") / "cache"

    def schema(self, name: str) -> list[dict[str, Any]]:
        """Columns of a table, as in an agreement."""
        columns: list[dict[str, Any]] = self._row(name).schema
        return columns

    def describe(self, name: str) -> dict[str, Any]:
        """One table with its newest profile, for the owner."""
        row = self._row(name)
        with self._store.read() as session:
            versions = session.scalars(
                select(AssetVersion).where(AssetVersion.asset == name).order_by(AssetVersion.number)
            ).all()
        newest = next((v for v in versions if v.digest == row.version), None)
        return {
            "name": row.name,
            "mode": row.mode,
            "columns": row.schema,
            "created": row.created,
            "by": row.by,
            "source": row.source,
            "version": row.version,
            "rows": newest.rows if newest else None,
            "profile": newest.profile if newest else None,
            "versions": [
                {"number": v.number, "digest": v.digest, "rows": v.rows, "created": v.created}
                for v in versions
            ],
        }

    def list(self) -> list[dict[str, Any]]:
        """All tables, without profiles."""
        with self._store.read() as session:
            rows = session.scalars(select(Asset).order_by(Asset.name)).all()
            counts = dict(
                session.execute(select(AssetVersion.asset, func.count()).group_by(AssetVersion.asset))
                .tuples()
                .all()
            )
        return [
            {
                "name": r.name,
                "mode": r.mode,
                "version": r.version,
                "versions": counts.get(r.name, 0),
                "columns": [c["name"] for c in r.schema],
                "created": r.created,
            }
            for r in rows
        ]

    def remove(self, name: str) -> None:
        """Forgets a table and deletes its versions; refused while an agreement in force names it."""
        row = self._row(name)
        with self._store.read() as session:
            for agreement in session.scalars(
                select(Agreement).where(Agreement.state.in_(("active", "offered")))
            ):
                if _names(agreement, name):
                    raise AtollError(
                        "E_STATE",
                        f"agreement {agreement.id} names the table {name!r}",
                        cure="Revoke or amend the agreement first.",
                    )
        with self._store.write() as session:
            session.query(AssetVersion).filter(AssetVersion.asset == name).delete()
            session.delete(session.get_one(Asset, row.name))
        shutil.rmtree(self._root / name, ignore_errors=True)

    def verify(self, name: str) -> None:
        """Recomputes the commitment of the newest version; `E_DATA` names the first bad chunk."""
        from atoll.data.snapshot import verify_snapshot

        version = self.version(name)
        verify_snapshot(version.data.parent)
        load(version.data.parent)


def _columns(schema: Schema) -> list[dict[str, Any]]:
    """Columns in the form of agreements, every fact present."""
    return [column(**facts) for facts in schema.to_json()]


def _names(agreement: Agreement, table: str) -> bool:
    from atoll.agreements import open_envelope

    return any(a.name == table for a in open_envelope(agreement.envelope)[0].assets)
