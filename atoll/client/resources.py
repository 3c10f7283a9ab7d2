"""The groups of a node's API: data, peers, agreements, jobs, policy, services, schedules, ledger, persons."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atoll.client import drafts
from atoll.client.jobs import Job, Service
from atoll.client.transport import Transport, objects, segment
from atoll.errors import AtollError

if TYPE_CHECKING:
    import pyarrow as pa

    from atoll.ledger.report import Report

Json = dict[str, Any]
Key = str | Sequence[str]
# Where a class has a method `list`, the type needs another name.
Lines = list[dict[str, str]]
_PIECE_ROWS = 65_536


class Resource:
    """One group of calls."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._call = transport.call


def arrow_table(source: Any) -> pa.Table | None:
    """A pyarrow table of a pyarrow, pandas or polars table, or of a mapping of columns; None for anything
    else."""
    import pyarrow as pa

    if isinstance(source, pa.Table):
        return source
    if isinstance(source, pa.RecordBatch):
        return pa.Table.from_batches([source])
    if isinstance(source, pa.RecordBatchReader):
        return source.read_all()
    if isinstance(source, Mapping):
        return pa.table(dict(source))
    kind = f"{type(source).__module__.partition('.')[0]}.{type(source).__name__}"
    if kind == "pandas.DataFrame":
        return pa.Table.from_pandas(source, preserve_index=False)
    if kind == "polars.DataFrame":
        return source.to_arrow()
    return None


def _pieces(table: pa.Table) -> Iterator[bytes]:
    """A table as an Arrow IPC stream, batch by batch."""
    import pyarrow as pa

    sink = io.BytesIO()

    def taken() -> bytes:
        piece = sink.getvalue()
        sink.seek(0)
        sink.truncate()
        return piece

    # The node reads plain columns: a dictionary is only a way to send them.
    plain = pa.schema(
        [f.with_type(f.type.value_type) if pa.types.is_dictionary(f.type) else f for f in table.schema]
    )
    with pa.ipc.new_stream(sink, plain) as writer:
        for batch in table.cast(plain).to_batches(_PIECE_ROWS):
            writer.write_batch(batch)
            yield taken()
    yield taken()


def _source(source: str | Path, query: str | None, table: str | None) -> Json:
    """A source on the node's side: a path, or the URL of a database with what to read there."""
    text = str(source)
    if isinstance(source, str) and ("://" in text or text.startswith("${")):
        return {"url": text} | {k: v for k, v in (("query", query), ("table", table)) if v is not None}
    if query is not None or table is not None:
        raise AtollError("E_FORMAT", "a query or a table belongs to the URL of a database.")
    return {"path": str(Path(source).absolute())}


def _keys(keys: Iterable[Key]) -> list[list[str]]:
    return [[key] if isinstance(key, str) else list(key) for key in keys]


class Data(Resource):
    """This institution's tables."""

    def list(self) -> list[Json]:
        """All tables: name, newest version, column names."""
        return objects(self._call("GET", "/v1/data"))

    def show(self, name: str) -> Json:
        """One table: columns with types and units, versions, profile of the newest version."""
        return dict(self._call("GET", f"/v1/data/{segment(name)}"))

    def inspect(
        self,
        source: str | Path,
        declaration: Mapping[str, Any] | None = None,
        *,
        query: str | None = None,
        table: str | None = None,
    ) -> Json:
        """What a file on the node's machine, or a database's query or table, would be as a table.

        Every row is checked and nothing is kept: `rows` sound ones, `bad_rows`, and the first of these in `examples`.
        """
        body = {"source": _source(source, query, table), "declaration": declaration}
        return dict(self._transport.slow("POST", "/v1/data/inspect", body))

    def add(
        self,
        name: str,
        source: Any,
        *,
        declaration: Mapping[str, Any] | None = None,
        keys: Iterable[Key] = (),
        bad_rows: str = "refuse",
        query: str | None = None,
        table: str | None = None,
        mode: str = "snapshot",
        rules: Mapping[str, Any] | None = None,
    ) -> Json:
        """Adds a table; a snapshot's first version is materialised now.

        Args:
            name: the table's name at this node and in agreements.
            source: path of a file on the node's machine; or the URL of a database; or a pyarrow, pandas or polars
                table, or a mapping of columns, which is uploaded.
            query, table: one of the two for a database: a SELECT, or a name such as `schema.table`.
            mode: `snapshot`, or `live`: then each job reads the source anew.
            declaration: the owner's words: `source` (reading options) and `columns` (type, scale, unit, ...).
            keys: columns, or lists of columns, whose duplicates the profile counts. The first one identifies a row:
                each version commits to every row under it, and `prove` can show what is there and what is not.
            bad_rows: `refuse`, or `skip` to leave malformed rows out (files only).
            rules: a document of quality rules, as in `node.quality.set_rules`.

        Raises:
            AtollError: `E_CONFLICT` for a name that exists, `E_SOURCE`, `E_ENCODING`, `E_DATA`, `E_TYPE`,
                `E_COLUMN` with file, row and column; `E_QUALITY` if a rule with `stop` is broken.
        """
        if isinstance(source, str | Path):
            body = {
                "name": name, "source": _source(source, query, table), "declaration": declaration,
                "bad_rows": bad_rows, "keys": _keys(keys), "mode": mode,
                "rules": None if rules is None else dict(rules),
            }  # fmt: skip
            return dict(self._transport.slow("POST", "/v1/data", body))
        if mode != "snapshot" or query is not None or table is not None:
            raise AtollError("E_FORMAT", "a table that is uploaded is a snapshot, and has no query.")
        rows = self._table(source)
        words = json.dumps(declaration, ensure_ascii=False) if declaration else None
        return dict(
            self._transport.upload(
                "PUT",
                f"/v1/data/{segment(name)}",
                _pieces(rows),
                declaration=words,
                keys=json.dumps(_keys(keys)),
                rules=json.dumps(dict(rules), ensure_ascii=False) if rules is not None else None,
            )
        )

    @staticmethod
    def _table(source: Any) -> pa.Table:
        table = arrow_table(source)
        if table is None:
            text = f"a table is a path, or pyarrow, pandas, polars or a mapping, not {type(source).__name__}."
            raise AtollError("E_FORMAT", text)
        return table

    def refresh(self, name: str, source: Any = None) -> Json:
        """The next version: reads the source again, or takes the rows that are given here."""
        if source is None:
            return dict(self._transport.slow("POST", f"/v1/data/{segment(name)}/refresh"))
        return dict(
            self._transport.upload("PUT", f"/v1/data/{segment(name)}/rows", _pieces(self._table(source)))
        )

    def verify(self, name: str) -> Json:
        """Recomputes the commitment of the newest version; `E_DATA` if it does not fit."""
        return dict(self._transport.slow("POST", f"/v1/data/{segment(name)}/verify"))

    def prove(
        self, name: str, id: str | Sequence[str], path: str | Path, version: int | str | None = None
    ) -> Path:
        """Writes a proof that a version of a table has, or has not, rows of an id, for an auditor to check offline.

        Args:
            id: the text of the id as a CSV field would have it, or one for each column of the table's key.
            path: file to write; replaced only by a whole proof.
            version: number or digest; the version in use if None.

        Raises:
            AtollError: `E_STATE` for a table without key or erased rows; `E_FORMAT`, `E_TYPE` for an id that is none;
                `E_NOT_FOUND`; `E_TOO_LARGE`; `E_DATA` if the version is damaged.
        """
        body = {"id": [id] if isinstance(id, str) else list(id), "version": version}
        to = Path(path)
        self._transport.save("POST", f"/v1/data/{segment(name)}/prove", body, to)
        return to

    def remove(self, name: str) -> None:
        """Forgets a table; `E_STATE` while an agreement names it."""
        self._call("DELETE", f"/v1/data/{segment(name)}")


class Peers(Resource):
    """Partners, and how one becomes one."""

    def list(self) -> list[Json]:
        """All partners: name, identity, state, address, words to compare, whether a link is up."""
        return objects(self._call("GET", "/v1/peers"))

    def invite(self, hours: int = 24) -> str:
        """A new invite, one line for the partner."""
        return str(self._call("POST", "/v1/peers/invites", {"hours": hours})["invite"])

    def accept(self, invite: str) -> Json:
        """Takes up a partner's invite; gives the `words` to compare with those of the partner's side."""
        return dict(self._call("POST", "/v1/peers/accept", {"invite": invite}))

    def confirm(self, name: str, words: str) -> Json:
        """Confirms the words that the partner's side reads; `E_WORDS` if they differ."""
        return dict(self._call("POST", f"/v1/peers/{segment(name)}/confirm", {"words": words}))

    def remove(self, name: str, reason: str = "") -> None:
        """Ends a pairing at once."""
        self._call("DELETE", f"/v1/peers/{segment(name)}", reason=reason or None)


class Agreements(Resource):
    """Agreements; `atoll.client.drafts` helps to write one."""

    def list(self) -> list[Json]:
        """Every version of every agreement, newest first."""
        return objects(self._call("GET", "/v1/agreements"))

    def show(self, identifier: str, version: int | None = None) -> Json:
        """One version with its document and what changed since the version before."""
        return dict(self._call("GET", f"/v1/agreements/{segment(identifier)}", version=version))

    def propose(self, document: Mapping[str, Any]) -> Json:
        """Signs a document here and offers it to all signatories."""
        return dict(self._call("POST", "/v1/agreements", dict(document)))

    def accept(
        self, offers: str | Iterable[str], *, assets: Iterable[Json] = (), title: str | None = None
    ) -> Json:
        """Makes one agreement of partners' offers and proposes it; their nodes sign what they offered by themselves.

        Args:
            offers: identifiers or digests.
            assets: what this institution brings itself, from `drafts.asset`.
            title: what people call it; None for the offers' titles.

        Raises:
            AtollError: `E_OFFER` for an offer that does not stand, or that does not go with the others.
        """
        named = [offers] if isinstance(offers, str) else list(offers)
        body = {"offers": named, "assets": list(assets), "title": title}
        return dict(self._call("POST", "/v1/agreements/accept", body))

    def changes(self, document: Mapping[str, Any]) -> Lines:
        """What a draft of the next version would change, line by line; nothing is proposed."""
        return objects(self._call("POST", "/v1/agreements/changes", dict(document)))

    def amend(self, identifier: str, *, asset: str | None = None, **changes: Any) -> Json:
        """Proposes the next version of an agreement, with the usual changes to this institution's own grants.

        Args:
            asset: only the grants of this asset; None for all own ones.
            changes: as in `drafts.amended`: `title`, `days`, `add_purposes`, `price`, `runs_per_day`, ...
        """
        me = str(self._call("GET", "/v1/node")["identity"])
        return self.propose(drafts.amended(self.show(identifier), me, asset=asset, **changes))

    def sign(self, identifier: str, version: int | None = None) -> Json:
        """Signs an offered version for this institution."""
        return dict(self._call("POST", f"/v1/agreements/{segment(identifier)}/sign", version=version))

    def decline(self, identifier: str, version: int = 1) -> Json:
        """Declines an offered version."""
        return dict(self._call("POST", f"/v1/agreements/{segment(identifier)}/decline", version=version))

    def revoke(self, identifier: str, reason: str = "") -> Json:
        """Ends an agreement for all, at once here."""
        return dict(self._call("POST", f"/v1/agreements/{segment(identifier)}/revoke", {"reason": reason}))

    def wait(
        self, identifier: str, state: str = "active", version: int | None = None, timeout: float = 30
    ) -> Json:
        """Waits until a version is in a state; `E_TIME`, or the code with which a signatory's node refused it."""
        end = time.monotonic() + timeout
        seen = "unknown here"
        while True:
            try:
                found = self.show(identifier, version)
                seen = found["state"]
                if seen == state:
                    return found
                if seen == "declined" and "refused" in found:
                    by, code = found["refused"]["by"], found["refused"]["code"]
                    raise AtollError(code, f"{by} refused agreement {identifier}: {code}.", party=by)
            except AtollError as error:
                if error.code != "E_NOT_FOUND":
                    raise
            if time.monotonic() > end:
                raise AtollError("E_TIME", f"{identifier} is {seen} after {timeout:g} s, not {state}.")
            time.sleep(0.05)


class Jobs(Resource):
    """Jobs of this node, its own and those that partners asked for."""

    def ask(self, request: Mapping[str, Any]) -> Job:
        """Proposes a job from a request (see `atoll.client.requests`); an own refusal is raised."""
        return Job(self._transport, self._call("POST", "/v1/jobs", dict(request)))

    def estimate(self, request: Mapping[str, Any]) -> Json:
        """Plan, estimate, chosen protocol and disclosure statement of a request; nothing is proposed."""
        return dict(self._call("POST", "/v1/jobs/estimate", dict(request)))

    def list(
        self,
        state: str | None = None,
        function: str | None = None,
        limit: int = 100,
        before: str | None = None,
    ) -> list[Job]:
        """Jobs, newest first; page with `before`, the `created` of the last one."""
        found = self._call("GET", "/v1/jobs", state=state, function=function, limit=limit, before=before)
        return [Job(self._transport, document) for document in found]

    def get(self, job: str) -> Job:
        """One job; `E_NOT_FOUND`."""
        return Job(self._transport, self._call("GET", f"/v1/jobs/{segment(job)}"))


class Policy(Resource):
    """What this node would decide."""

    def explain(self, request: Mapping[str, Any]) -> Json:
        """What each own column would be used for, and the one grant that would let the plan pass."""
        return dict(self._call("POST", "/v1/policy/explain", dict(request)))


class Services(Resource):
    """Standing services that this node asks of partners."""

    def start(self, request: Mapping[str, Any], timeout: float = 60) -> Service:
        """Asks for a service and waits until it serves; a refusal is raised."""
        job = Jobs(self._transport).ask(request).wait(timeout=timeout, until="running")
        return self.get(job.id)

    def get(self, job: str) -> Service:
        """The service that a job serves."""
        return Service(self._transport, job)


class Schedules(Resource):
    """Requests that are asked again at an interval."""

    def list(self) -> list[Json]:
        """All schedules, ended ones too."""
        return objects(self._call("GET", "/v1/schedules"))

    def add(self, request: Mapping[str, Any], every_seconds: int) -> Json:
        """Asks the request now, and again every so many seconds."""
        body = {"request": dict(request), "every_seconds": every_seconds}
        return dict(self._call("POST", "/v1/schedules", body))

    def end(self, identifier: str) -> Json:
        """Ends a schedule; a job that it started goes on."""
        return dict(self._call("DELETE", f"/v1/schedules/{segment(identifier)}"))


class Ledger(Resource):
    """The logs of this node's agreements."""

    def entries(self, agreement: str, start: int = 0, count: int = 100) -> list[Json]:
        """Entries of this node's own log of an agreement, with bodies."""
        return objects(self._call("GET", f"/v1/ledgers/{segment(agreement)}", start=start, count=count))

    def forks(self, agreement: str) -> list[Json]:
        """Proofs that a log of an agreement has two histories."""
        return objects(self._call("GET", f"/v1/ledgers/{segment(agreement)}/forks"))

    def private(self, start: int = 0, count: int = 100) -> list[Json]:
        """Entries of the node's private log of its logs, for its own auditor."""
        return objects(self._call("GET", "/v1/ledgers/private", start=start, count=count))

    def list(self) -> list[Json]:
        """Every log held here: size, checkpoint, cosignatures and how far they are behind."""
        return objects(self._call("GET", "/v1/ledgers"))

    def standing(self) -> Json:
        """Whether the node may record, which partners it waits for, which own logs it fetches back."""
        return dict(self._call("GET", "/v1/ledgers/standing"))

    def go_on_without(self, partners: Iterable[str]) -> Json:
        """While the node recovers: does not wait for these partners, who may hold entries that it lost."""
        return dict(self._call("POST", "/v1/ledgers/standing/without", {"partners": list(partners)}))

    def export(self, agreement: str, path: str | Path, bodies: bool = True) -> Path:
        """Writes all logs of an agreement into one file that anyone can verify offline."""
        to = Path(path)
        self._transport.download(f"/v1/ledgers/{segment(agreement)}/export", to, bodies=bodies)
        return to


class Persons(Resource):
    """Persons and their tokens."""

    def list(self) -> list[Json]:
        """Every person with their tokens; never a token's secret."""
        return objects(self._call("GET", "/v1/persons"))

    def add(self, name: str) -> None:
        """Adds a person; `E_CONFLICT` if there is one of that name."""
        self._call("POST", "/v1/persons", {"name": name})

    def disable(self, name: str) -> None:
        """Ends all tokens of a person at once."""
        self._call("DELETE", f"/v1/persons/{segment(name)}")

    def issue(self, person: str, role: str, label: str = "", expires: str | None = None) -> str:
        """A new token; this is the only time it can be seen. `expires` is RFC 3339 UTC with seconds."""
        body = {"person": person, "role": role, "label": label, "expires": expires}
        return str(self._call("POST", "/v1/tokens", body)["token"])

    def revoke(self, token: str) -> None:
        """Ends a token, by its identifier."""
        self._call("DELETE", f"/v1/tokens/{segment(token)}")


def verify_ledger(
    path: str | Path, keys: Mapping[str, str] | None = None, witnesses: Mapping[str, str] | None = None
) -> Report:
    """Checks an exported ledger offline, with no node and no network.

    Args:
        path: a file that `ledger.export` wrote.
        keys: the signatories' identifiers by display name, from a source other than the file. Without them
            the file's own keys are used, and the report says so.
        witnesses: identifiers of independent witnesses whose cosignatures count, by any name.

    Returns:
        A report: `.ok`, `.lines("en")`, `.first_bad`, `.require()` to raise `E_LEDGER`.

    Raises:
        AtollError: `E_NOT_FOUND` if the file cannot be read, `E_FORMAT` for a key that is none.
    """
    from datetime import UTC, datetime

    from atoll.crypto.suite import PublicKey
    from atoll.ledger.export import verify_export

    trusted = {name: PublicKey.parse(key) for name, key in keys.items()} if keys else None
    outside = {name: PublicKey.parse(key) for name, key in (witnesses or {}).items()}
    return verify_export(Path(path), datetime.now(UTC), trusted, outside=outside)


def verify_fork(proof: Mapping[str, Any], key: str) -> tuple[int, int]:
    """Checks a proof that the owner of a key signed two histories of one log; needs nothing but the proof.

    Args:
        proof: as `ledger.forks` gives it, under `proof`.
        key: the owner's identifier, from a source other than the proof.

    Returns:
        The sizes of the two histories.

    Raises:
        AtollError: `E_LEDGER` or `E_SIGNATURE` if it proves nothing, or is about another key.
    """
    from atoll.ledger.fork import ForkProof

    found = ForkProof.from_json(dict(proof))
    if str(found.key) != key:
        raise AtollError("E_LEDGER", f"the proof is about {found.key}, not about {key}")
    first, second = found.verify()
    return first.size, second.size


__all__ = [
    "Agreements", "Data", "Jobs", "Ledger", "Peers", "Persons", "Policy", "Schedules", "Services", "drafts",
    "verify_fork", "verify_ledger",
]  # fmt: skip
