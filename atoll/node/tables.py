"""The owner's tables at one node: registered, materialised as versions, described, removed.

A table is a snapshot, whose versions are made when its owner asks for one, or live: then each job reads its own
version when this node decides on it, and that version is erased some time after the job's end.

What comes from a database is read by a worker process, with a budget of memory and time: drivers parse what another
machine sends. Passwords stay here and in that worker.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
from sqlalchemy import func, select

from atoll.data.schema import Declaration
from atoll.data.snapshot import Snapshot, check_asset, load, sweep
from atoll.data.sources import Mode, Source, open_source
from atoll.errors import AtollError
from atoll.node.clock import Clock, stamp
from atoll.node.config import Config
from atoll.node.databases import Databases
from atoll.node.logs import logger
from atoll.node.state.models import Agreement, Asset, AssetVersion, InputUse, Job
from atoll.node.state.store import Store
from atoll.node.vault import Vault
from atoll.node.worker import tables as reading
from atoll.node.worker.nursery import Nursery
from atoll.node.worker.supervise import run_to_end

MAX_UPLOAD = 4 << 30
_ERASE_SECONDS = 600.0
_SPARE_SECONDS = 120.0  # for profile and disk, after the database has answered


@dataclass(frozen=True)
class Version:
    """One version of an own table, ready to be read."""

    digest: str
    mode: Mode
    data: Path
    cache: Path
    rows: int


class Tables:
    """All tables that this node's owner registered."""

    def __init__(
        self, home: Path, config: Config, store: Store, vault: Vault, nursery: Nursery, clock: Clock
    ) -> None:
        self._home, self._config, self._store, self._clock = home, config, store, clock
        self._nursery = nursery
        self._root = home / "data"
        self._work = home / "work"
        self._live = home / "live"
        for folder in (self._root, self._work, self._live):
            folder.mkdir(mode=0o700, exist_ok=True)
        self._databases = Databases(config, vault, self._path)
        self._readers = threading.BoundedSemaphore(config["jobs.concurrent"])
        self._stopping = threading.Event()
        self._log = logger("tables")

    def start(self) -> None:
        """Removes what a stopped node left half-made or overdue; call it before anything is read."""
        sweep(self._root)
        for left in self._work.iterdir():
            shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()
        with self._store.read() as session:
            known = set(session.scalars(select(AssetVersion.job).where(AssetVersion.job.is_not(None))))
        for left in self._live.iterdir():
            if left.name not in known:
                shutil.rmtree(left, ignore_errors=True)
        self.erase_overdue()
        threading.Thread(target=self._erase_loop, name="erase live versions", daemon=True).start()

    def stop(self) -> None:
        """Ends the erasing."""
        self._stopping.set()

    def _erase_loop(self) -> None:
        while not self._stopping.wait(_ERASE_SECONDS):
            try:
                self.erase_overdue()
            except Exception:
                self._log.exception("erasing live versions failed")

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

    def _described(self, name: str, source: dict[str, Any]) -> dict[str, Any]:
        """What `reading.open_described` takes, of a given or a stored source; holds the password of a database."""
        if self._databases.describes(source):
            return self._databases.opened(name, source)
        if set(source) == {"path"} and isinstance(source["path"], str):
            return {"path": str(self._path(source["path"]))}
        raise AtollError(
            "E_FORMAT",
            'a source is {"path": "/full/path"}, {"url": ..., "query": ...} or {"url": ..., "table": ...}',
        )

    def _given(self, source: dict[str, Any]) -> dict[str, Any]:
        return self._databases.given(source) if self._databases.describes(source) else source

    def _read(self, name: str, source: dict[str, Any], **spec: Any) -> dict[str, Any]:
        """Runs `reading.run`, for a database in a worker."""
        spec = {"task": "table", "source": self._described(name, source), "work": str(self._work), **spec}
        with self._readers:
            if not self._databases.describes(source):
                return reading.run(spec)
            return run_to_end(
                self._nursery,
                spec,
                memory_bytes=self._config["data.memory_bytes"],
                seconds=self._config["data.seconds"] + _SPARE_SECONDS,
            )

    def _make(
        self, row_name: str, how: dict[str, Any], store: Path, known: Any, **spec: Any
    ) -> dict[str, Any]:
        """Materialises a stored source; gives the snapshot's folder and its profile."""
        return self._read(
            row_name,
            how["source"],
            what="materialise",
            declaration=how["declaration"],
            bad_rows=how["bad_rows"],
            keys=how["keys"],
            store=str(store),
            asset=row_name,
            now=self._clock().timestamp(),
            known=known,
            **spec,
        )

    def inspect(self, source: dict[str, Any], declaration: dict[str, Any] | None) -> dict[str, Any]:
        """What a source would be as a table, before it is added: every row is checked, none is kept."""
        return self._read("", self._given(source), what="check", mode="snapshot", declaration=declaration)

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
        mode: Mode = "snapshot",
    ) -> dict[str, Any]:
        """Registers a table and reads all its rows; nothing is kept if any row is refused.

        A snapshot's rows become its first version; of a live table only the columns are kept.
        """
        self._check_new(name)
        source = self._given(source)
        self._described(name, source)
        how = {"source": source, "declaration": declaration, "bad_rows": bad_rows, "keys": keys}
        if mode == "live":
            found = self._read(name, source, what="check", mode=mode, declaration=declaration)
            self._refuse_bad(name, found, bad_rows)
            self._register(name, self._stored(name, how), mode, found["columns"], None, person)
            return self.describe(name)
        made = self._make(name, how, self._root, None, mode=mode, only_known=False, profile=True)
        snapshot = load(Path(made["path"]))
        columns = reading.columns_of(snapshot.schema)
        self._register(name, self._stored(name, how), mode, columns, snapshot.digest, person)
        return self._keep(snapshot, made["profile"])

    def _stored(self, name: str, how: dict[str, Any]) -> dict[str, Any]:
        if self._databases.describes(how["source"]):
            return {**how, "source": self._databases.stored(name, how["source"])}
        return how

    @staticmethod
    def _refuse_bad(name: str, found: dict[str, Any], bad_rows: str) -> None:
        if found["bad_rows"] and bad_rows == "refuse":
            first = found["examples"][0]
            raise AtollError(
                first["code"],
                f"{name} has {found['bad_rows']} bad rows; the first: {first['place']}: {first['reason']}",
                column=first["column"],
                cure="Correct these rows, declare the column otherwise, or let bad rows be skipped.",
                detail={"bad_rows": found["bad_rows"], "examples": found["examples"]},
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
        self._check_new(name)
        words = Declaration.from_json(declaration or {})
        how = {"source": {"uploaded": True}, "declaration": declaration, "bad_rows": "refuse", "keys": keys}
        with open_source(table, declaration=words, work=self._work, name=name) as source:
            snapshot, found = self._materialise(source, name, how, None)
        self._register(name, how, "snapshot", reading.columns_of(snapshot.schema), snapshot.digest, person)
        return self._keep(snapshot, found)

    def _materialise(
        self, source: Source, name: str, how: dict[str, Any], known: Any
    ) -> tuple[Snapshot, dict[str, Any]]:
        spec = {
            "store": str(self._root),
            "asset": name,
            "now": self._clock().timestamp(),
            "bad_rows": how["bad_rows"],
            "keys": how["keys"],
            "known": known,
            "only_known": False,
            "profile": True,
        }
        return reading.materialise(source, spec, self._work)

    def _check_new(self, name: str) -> None:
        check_asset(name)
        with self._store.read() as session:
            if session.get(Asset, name) is not None:
                raise AtollError(
                    "E_CONFLICT",
                    f"there is already a table {name!r}",
                    cure="Refresh it, or use another name.",
                )

    def _register(
        self, name: str, how: dict[str, Any], mode: Mode, columns: Any, version: str | None, person: str
    ) -> None:
        with self._store.write() as session:
            if session.get(Asset, name) is not None:
                raise AtollError("E_CONFLICT", f"there is already a table {name!r}")
            session.add(
                Asset(
                    name=name,
                    source=how,
                    mode=mode,
                    schema=columns,
                    version=version,
                    created=stamp(self._clock()),
                    by=person,
                )
            )

    def _keep(self, snapshot: Snapshot, found: dict[str, Any]) -> dict[str, Any]:
        with self._store.write() as session:
            row = session.get_one(Asset, snapshot.asset)
            row.version, row.schema = snapshot.digest, reading.columns_of(snapshot.schema)
            session.merge(
                AssetVersion(
                    digest=snapshot.digest,
                    asset=snapshot.asset,
                    number=snapshot.version,
                    path=str(snapshot.path.relative_to(self._home)),
                    rows=snapshot.rows,
                    profile=found,
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
            words = Declaration.from_json(how["declaration"] or {})
            with open_source(table, declaration=words, work=self._work, name=name) as source:
                return self._keep(*self._materialise(source, name, how, row.schema))
        if how["source"] == {"uploaded": True}:
            raise AtollError(
                "E_SOURCE", f"{name} was uploaded; send the new rows with the call", fault="caller"
            )
        if row.mode == "live":
            raise AtollError(
                "E_STATE",
                f"{name} is live and keeps no version: every job reads it anew",
                cure="Inspect its source to see what a job would read now.",
            )
        made = self._make(name, how, self._root, row.schema, mode=row.mode, only_known=False, profile=True)
        return self._keep(load(Path(made["path"])), made["profile"])

    # Live tables.

    def read_for(self, job: str, name: str) -> Version:
        """Reads a live table for one job, as it is now; a version that was read for the job before is erased.

        Raises:
            AtollError: `E_TYPE` if a column changed since the table was added, and what the source raises.
        """
        row = self._row(name)
        self._erase(job, name)
        store = self._live / job
        store.mkdir(mode=0o700, exist_ok=True)
        made = self._make(name, row.source, store, row.schema, mode="live", only_known=True, profile=False)
        snapshot = load(Path(made["path"]))
        with self._store.write() as session:
            session.add(
                AssetVersion(
                    digest=snapshot.digest,
                    asset=name,
                    number=snapshot.version,
                    path=str(snapshot.path.relative_to(self._home)),
                    rows=snapshot.rows,
                    profile={"skipped": snapshot.skipped},
                    created=stamp(self._clock()),
                    job=job,
                )
            )
        self._log.info("live table read", table=name, job=job, rows=snapshot.rows)
        return self.version(name, snapshot.digest)

    def _erase(self, job: str, name: str) -> None:
        with self._store.write() as session:
            session.query(AssetVersion).filter(AssetVersion.job == job, AssetVersion.asset == name).delete()
        shutil.rmtree(self._live / job / name, ignore_errors=True)

    def erase_overdue(self) -> None:
        """Erases the rows of live versions whose job ended `data.live_keep_days` ago.

        Where replay is agreed on for the job, they stay until what was kept of it is erased; see `retention`.
        Digests of keys that were joined under an agreement in force stay: from them this node tells how much a
        later table differs, without which a partner could learn about single keys from two runs.
        """
        before = stamp(self._clock() - timedelta(days=self._config["data.live_keep_days"]))
        with self._store.read() as session:
            due = session.scalars(
                select(AssetVersion)
                .join(Job, Job.id == AssetVersion.job)
                .where(Job.ended.is_not(None), Job.ended <= before, Job.replay_days.is_(None))
            ).all()
            in_force = set(session.scalars(select(Agreement.id).where(Agreement.state == "active")))
            joined = session.scalars(
                select(InputUse).where(
                    InputUse.version.in_([row.digest for row in due]), InputUse.keys.is_not(None)
                )
            ).all()
        for row in due:
            kept = {use.keys for use in joined if use.version == row.digest and use.agreement in in_force}
            if row.erased is None or not kept:
                self._erase_rows(row, kept)

    def _erase_rows(self, row: AssetVersion, kept: set[str | None]) -> None:
        """Erases files, then notes it: cut short in between, the next round does it again."""
        folder = self._home / row.path
        keep = {folder / "cache" / str(keys) / "digests.bin" for keys in kept}
        for path in sorted(folder.rglob("*"), reverse=True):
            if path.is_dir():
                with contextlib.suppress(OSError):  # not empty
                    path.rmdir()
            elif path not in keep:
                path.unlink()
        if not kept:
            for empty in (folder, folder.parent, folder.parent.parent):
                with contextlib.suppress(OSError):  # the job has other tables
                    empty.rmdir()
        with self._store.write() as session:
            stored = session.get_one(AssetVersion, row.digest)
            if kept:
                stored.erased = stamp(self._clock())
            else:
                session.delete(stored)

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
        """A version of a table, the newest if none is named; `E_NOT_FOUND`. A live table has none but jobs' own."""
        row = self._row(name)
        wanted = digest or row.version
        with self._store.read() as session:
            found = session.get(AssetVersion, wanted) if wanted else None
        if found is None or found.asset != name or found.erased is not None:
            raise AtollError("E_NOT_FOUND", f"{name} has no version {wanted}", fault="owner")
        folder = self._home / found.path
        mode: Mode = "live" if found.job else "snapshot"
        return Version(found.digest, mode, folder / "data.parquet", folder / "cache", found.rows)

    def is_live(self, name: str) -> bool:
        """Whether each job reads the table anew."""
        return self._row(name).mode == "live"

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
                select(AssetVersion)
                .where(AssetVersion.asset == name, AssetVersion.job.is_(None))
                .order_by(AssetVersion.number)
            ).all()
        newest = next((v for v in versions if v.digest == row.version), None)
        return {
            "name": row.name,
            "mode": row.mode,
            "columns": row.schema,
            "created": row.created,
            "by": row.by,
            "source": {**row.source, "source": self._databases.shown(row.source["source"])},
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
                session.execute(
                    select(AssetVersion.asset, func.count())
                    .where(AssetVersion.job.is_(None))
                    .group_by(AssetVersion.asset)
                )
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
        for folder in self._live.glob(f"*/{name}"):
            shutil.rmtree(folder, ignore_errors=True)

    def verify(self, name: str) -> None:
        """Recomputes the commitment of the newest version; `E_DATA` names the first bad chunk."""
        from atoll.data.snapshot import verify_snapshot

        version = self.version(name)
        verify_snapshot(version.data.parent)
        load(version.data.parent)


def _names(agreement: Agreement, table: str) -> bool:
    from atoll.agreements import open_envelope

    return any(a.name == table for a in open_envelope(agreement.envelope)[0].assets)
