"""The owner's tables at one node: registered, materialised as versions, described, removed.

A table is a snapshot, whose versions are made when its owner asks for one, or live: then each job reads its own
version when this node decides on it, and that version is erased some time after the job's end.

What comes from a database is read by a worker process, with a budget of memory and time: drivers parse what another
machine sends. Passwords stay here and in that worker.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
from sqlalchemy import func, select

from atoll.data.quality import Result, Rules, parse_rules
from atoll.data.rowtree import check_key
from atoll.data.schema import Declaration, Schema
from atoll.data.snapshot import Snapshot, check_asset, load, sweep
from atoll.data.sources import Mode, open_source
from atoll.errors import AtollError
from atoll.node.clock import Clock, stamp
from atoll.node.config import Config
from atoll.node.databases import Databases
from atoll.node.live import erase_overdue
from atoll.node.logs import logger
from atoll.node.quality.results import Results, Trigger, live_rules, refusal
from atoll.node.state.models import Agreement, Asset, AssetVersion
from atoll.node.state.store import Store
from atoll.node.uploads import received
from atoll.node.vault import Vault
from atoll.node.worker import tables as reading
from atoll.node.worker.nursery import Nursery
from atoll.node.worker.supervise import run_to_end

_ERASE_SECONDS = 600.0
# How a version is made, unless said otherwise; see `reading.materialise`.
_KEEPING: dict[str, Any] = {
    "only_known": False, "profile": True, "tree": True, "judge": False, "rules": None, "previous": None,
}  # fmt: skip
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
        self,
        home: Path,
        config: Config,
        store: Store,
        vault: Vault,
        nursery: Nursery,
        clock: Clock,
        results: Results,
    ) -> None:
        self._home, self._config, self._store, self._clock = home, config, store, clock
        self._nursery, self._results = nursery, results
        self._root = home / "data"
        self._work = home / "work"
        self._live = home / "live"
        for folder in (self._root, self._work, self._live):
            folder.mkdir(mode=0o700, exist_ok=True)
        self._databases = Databases(config, vault, self._path)
        self._readers = threading.BoundedSemaphore(config["jobs.concurrent"])
        self._stopping = threading.Event()
        self.on_changed: Callable[[str], None] = lambda table: None
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
            **_KEEPING | spec,
        )

    def _judging(self, name: str, rules: Any = None) -> dict[str, Any]:
        """What `materialise` needs to judge the next version of a table."""
        with self._store.read() as session:
            row = session.get(Asset, name)
            before = session.get(AssetVersion, row.version) if row and row.version else None
        return {
            "rules": rules if row is None else self._results.rules(name),
            "previous": str(self._home / before.path) if before else None,
            "judge": True,
        }

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
        rules: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Registers a table and reads all its rows; nothing is kept if any row is refused, or a rule stops it.

        A snapshot's rows become its first version; of a live table only the columns are kept.
        """
        self._check_new(name)
        source = self._given(source)
        self._described(name, source)
        how = {"source": source, "declaration": declaration, "bad_rows": bad_rows, "keys": keys}
        if mode == "live":
            found = self._read(name, source, what="check", mode=mode, declaration=declaration)
            reading.refuse_bad(name, found, bad_rows)
            schema = Schema.from_json(found["columns"])
            if keys:
                check_key(schema, keys[0])
            checked = None if rules is None else live_rules(name, parse_rules(rules, schema))
            self._register(name, self._stored(name, how), mode, found["columns"], None, person, checked)
            if checked is not None:
                self._judge_live(name, checked)
            return self.describe(name)
        made = self._make(name, how, self._root, None, mode=mode, **self._judging(name, rules))
        return self._first(name, self._stored(name, how), made, person, rules)

    def _accepted(self, name: str, made: dict[str, Any]) -> tuple[Snapshot, Result]:
        """The new version and its quality; `E_QUALITY` if a rule stopped it. Its alerts stay, if the table is known."""
        result = Result.parse(made["quality"])
        if made["path"] is not None:
            return load(Path(made["path"])), result
        with self._store.write() as session:
            if session.get(Asset, name) is not None:
                self._results.take(session, name, result, "refresh", used=False)
        raise refusal(name, result)

    def _first(
        self, name: str, how: dict[str, Any], made: dict[str, Any], person: str, rules: dict[str, Any] | None
    ) -> dict[str, Any]:
        snapshot, result = self._accepted(name, made)
        checked = None if rules is None else parse_rules(rules, snapshot.schema)
        columns = reading.columns_of(snapshot.schema)
        self._register(name, how, "snapshot", columns, snapshot.digest, person, checked)
        return self._keep(snapshot, made["profile"], result, "add")

    def _stored(self, name: str, how: dict[str, Any]) -> dict[str, Any]:
        if self._databases.describes(how["source"]):
            return {**how, "source": self._databases.stored(name, how["source"])}
        return how

    def add_table(
        self,
        name: str,
        table: pa.Table,
        declaration: dict[str, Any] | None,
        keys: list[list[str]],
        person: str,
        rules: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Registers a table that was sent as Arrow data."""
        self._check_new(name)
        how = {"source": {"uploaded": True}, "declaration": declaration, "bad_rows": "refuse", "keys": keys}
        made = self._materialise(table, name, how, None, rules)
        return self._first(name, how, made, person, rules)

    def _materialise(
        self, table: pa.Table, name: str, how: dict[str, Any], known: Any, rules: Any = None
    ) -> dict[str, Any]:
        spec = {
            "store": str(self._root),
            "asset": name,
            "now": self._clock().timestamp(),
            "bad_rows": how["bad_rows"],
            "keys": how["keys"],
            "known": known,
            **_KEEPING,
            **self._judging(name, rules),
        }
        words = Declaration.from_json(how["declaration"] or {})
        with open_source(table, declaration=words, work=self._work, name=name) as source:
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
        self,
        name: str,
        how: dict[str, Any],
        mode: Mode,
        columns: Any,
        version: str | None,
        person: str,
        rules: Rules | None,
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
            if rules is not None:
                self._results.set_rules(session, name, rules, person)

    def _keep(
        self, snapshot: Snapshot, found: dict[str, Any], result: Result, trigger: Trigger
    ) -> dict[str, Any]:
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
            self._results.take(session, snapshot.asset, result, trigger)
        self._log.info("table version", table=snapshot.asset, version=snapshot.version, rows=snapshot.rows)
        return self.describe(snapshot.asset)

    def refresh(self, name: str, table: pa.Table | None = None) -> dict[str, Any]:
        """Reads the source again as the next version; the columns must stay what agreements say they are.

        Raises:
            AtollError: `E_QUALITY` if a rule stops the new version: it is not kept, and the one before stays in use.
        """
        row = self._row(name)
        how = row.source
        if table is not None:
            return self._keep_next(name, self._materialise(table, name, how, row.schema))
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
        made = self._make(name, how, self._root, row.schema, mode=row.mode, **self._judging(name))
        return self._keep_next(name, made)

    def _keep_next(self, name: str, made: dict[str, Any]) -> dict[str, Any]:
        snapshot, result = self._accepted(name, made)
        kept = self._keep(snapshot, made["profile"], result, "refresh")
        self.on_changed(name)
        return kept

    # Quality.

    def check_rules(self, name: str, document: Any) -> Rules:
        """The rules if this table can have them; `E_FORMAT`, `E_COLUMN`, `E_TYPE`, `E_STATE`."""
        row = self._row(name)
        rules = parse_rules(document, Schema.from_json(row.schema))
        return live_rules(name, rules) if row.mode == "live" else rules

    def key(self, name: str) -> list[str] | None:
        """The columns that identify a row, if the owner named any."""
        keys: list[list[str]] = self._row(name).source["keys"]
        return keys[0] if keys else None

    @contextmanager
    def reading(self) -> Iterator[Path]:
        """Room for one that reads a whole table; gives the folder for its temporary files."""
        with self._readers:
            yield self._work

    def in_use(self, name: str) -> tuple[Snapshot, Snapshot | None]:
        """The version that jobs use, and the one before it, None if there is none."""
        current = load(self.version(name).data.parent)
        with self._store.read() as session:
            before = session.scalars(
                select(AssetVersion)
                .where(
                    AssetVersion.asset == name,
                    AssetVersion.job.is_(None),
                    AssetVersion.number < current.version,
                )
                .order_by(AssetVersion.number.desc())
                .limit(1)
            ).first()
        return current, load(self._home / before.path) if before else None

    def measure_live(self, name: str, rules: Rules) -> Result:
        """Reads a live table as a job would, measures it, and keeps nothing of it."""
        row = self._row(name)
        store = Path(tempfile.mkdtemp(prefix="quality-", dir=self._work))
        try:
            made = self._make(
                name, row.source, store, row.schema, mode="live", only_known=True, profile=False, tree=False,
                rules=rules.document(), judge=True,
            )  # fmt: skip
            return Result.parse(made["quality"])
        finally:
            shutil.rmtree(store, ignore_errors=True)

    # Live tables.

    def _judge_live(self, name: str, rules: Rules) -> None:
        """The first measures of a live table; that they fail is an alert, as the table is there already."""
        try:
            result = self.measure_live(name, rules)
        except AtollError as error:
            self._results.failed(name, error)
            return
        with self._store.write() as session:
            self._results.take(session, name, result, "add")

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
        """Erases the rows of live versions whose job ended `data.live_keep_days` ago."""
        erase_overdue(self._home, self._store, self._clock(), self._config["data.live_keep_days"])

    @contextmanager
    def upload(self, pieces: Iterator[bytes]) -> Iterator[pa.Table]:
        """A table from an Arrow IPC stream; `E_FORMAT` if it is not one, `E_TOO_LARGE` over 4 GiB."""
        with received(self._work, pieces) as table:
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

    def folder(self, version: AssetVersion) -> Path:
        """Where a version's files are."""
        return self._home / version.path

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
            self._results.forget(session, name)
        shutil.rmtree(self._root / name, ignore_errors=True)
        for folder in self._live.glob(f"*/{name}"):
            shutil.rmtree(folder, ignore_errors=True)

    def verify(self, name: str) -> None:
        """Recomputes the commitment of the newest version; `E_DATA` names the first bad chunk."""
        from atoll.data.snapshot import verify_snapshot

        with self.reading() as work:
            verify_snapshot(self.version(name).data.parent, work=work)


def _names(agreement: Agreement, table: str) -> bool:
    from atoll.agreements import open_envelope

    return any(a.name == table for a in open_envelope(agreement.envelope)[0].assets)
