"""Lookups that this node asks of partners: found by their name, asked by keys, answered in rows."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

import pyarrow as pa
from sqlalchemy import select

from atoll.crypto.keys import key_digests
from atoll.crypto.wire import decode_body, encode_body
from atoll.data.schema import Column
from atoll.errors import AtollError
from atoll.functions.query.messages import SEALING
from atoll.functions.query.records import decode_rows
from atoll.functions.query_totals.words import plain_total
from atoll.node.jobs.desk import ENDED
from atoll.node.jobs.manager import Jobs
from atoll.node.memo import Memo
from atoll.node.publishing.consents import Consents
from atoll.node.state.models import Job
from atoll.plan.operators import lookup, lookup_totals

Json = dict[str, Any]
FUNCTIONS = ("query", "query_totals")
_CALL_SECONDS = 60.0
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,18})", re.ASCII)


class LookupFacts:
    """What the plan of a lookup says."""

    def __init__(self, job: str, plan: Json, consent: Json | None) -> None:
        self.job, self.consent = job, consent
        op = next(op for op in plan["operators"] if op["kind"] in (lookup.RULE.kind, lookup_totals.RULE.kind))
        normal = next(o for o in plan["operators"] if o["id"] == op["inputs"][0])
        read = next(o for o in plan["operators"] if o["id"] == normal["inputs"][0])
        item = next(item for item in plan["inputs"] if item["id"] == read["inputs"][0])
        self.parameters: Json = op["parameters"]
        self.name: str = self.parameters["name"]
        self.totals = op["kind"] == lookup_totals.RULE.kind
        """Whether it gives totals over several partners, in place of one's records."""
        self.hint = op["protocol"] == lookup.PROTOCOL.id
        """Whether the asker keeps a hint of the table."""
        self.asset = item["asset"]
        self.hosts: list[str] = self.parameters["holders"] if self.totals else [item["party"]]
        facts = {column["name"]: column for column in item["columns"]}
        keys = self.parameters["keys"]
        self.keys = [_column(facts[name]) for name in (keys[0] if self.totals else keys)]
        self.values = (
            self._totals() if self.totals else [_column(facts[n]) for n in self.parameters["values"]]
        )
        self.steps = {column["name"]: column["steps"] for column in normal["parameters"]["columns"]}

    def _totals(self) -> list[Column]:
        """The columns of a total: sums at the scales of what is added, then counts."""
        p = self.parameters
        sums = [
            Column(v["as"], "decimal", precision=38, scale=v["scale"])
            if v["scale"]
            else Column(v["as"], "int64")
            for v in p["values"][0]
        ]
        counts = [(lookup_totals.ROWS, p["count_rows"]), (lookup_totals.HOLDERS, p["count_holders"])]
        return sums + [Column(name, "int64") for name, wanted in counts if wanted]


def _column(facts: Json) -> Column:
    return Column(facts["name"], facts["type"], precision=facts["precision"], scale=facts["scale"])


def _value(column: Column, raw: Any, where: str) -> Any:
    """A key's value as JSON gives it, as its column's type has it; `E_FORMAT` says where it is none."""
    # Many readers of JSON round integers above 2^53: such keys come as text.
    number = (str, int)
    wanted = {"string": str, "int64": number, "bool": bool, "date": str, "timestamp": str, "decimal": number}
    try:
        kind: Any = wanted[column.type]
        if not isinstance(raw, kind) or (isinstance(raw, bool) and column.type != "bool"):
            raise ValueError
        if column.type == "decimal":
            return Decimal(raw)
        if column.type == "int64" and isinstance(raw, str):
            if not _INTEGER.fullmatch(raw):
                raise ValueError
            return int(raw)
        if column.type == "date":
            return dt.date.fromisoformat(raw)
        if column.type == "timestamp":
            return dt.datetime.fromisoformat(raw)
    except (ValueError, InvalidOperation):
        text = f"{where}: {column.name} has values of type {column.type}"
        raise AtollError("E_FORMAT", text, column=column.name, fault="caller") from None
    return raw


def _unknown(name: str) -> AtollError:
    cure = "Start it: atoll lookup start."
    return AtollError("E_NOT_FOUND", f"there is no lookup {name!r}", cure=cure, fault="caller")


class Lookups:
    """Lookups by their names. Where several services have one name, the newest answers."""

    def __init__(self, jobs: Jobs, consents: Consents) -> None:
        self._jobs, self._consents = jobs, consents
        self._known: Memo[LookupFacts] = Memo(256)

    def _lookup(self, row: Job) -> LookupFacts:
        desk = self._jobs.desk
        return self._known.get(
            row.id, lambda: LookupFacts(row.id, desk.plan(row), self._jobs.consent_of(row.id))
        )

    def _standing(self) -> list[tuple[Job, LookupFacts]]:
        """Lookups that have not ended, newest first."""
        desk = self._jobs.desk
        with desk.store.read() as session:
            rows = session.scalars(
                select(Job)
                .where(Job.function.in_(FUNCTIONS), Job.asker == desk.me, Job.state.not_in(ENDED))
                .order_by(Job.created.desc())
            ).all()
        return [(row, self._lookup(row)) for row in rows]

    def listed(self) -> list[Json]:
        """All lookups that have not ended."""
        return [self._described(row, found) for row, found in self._standing()]

    def show(self, name: str) -> Json:
        """One lookup; `E_NOT_FOUND`."""
        for row, found in self._standing():
            if found.name == name:
                return self._described(row, found)
        raise _unknown(name)

    def _described(self, row: Job, found: LookupFacts) -> Json:
        desk = self._jobs.desk
        return {
            "name": found.name,
            "job": row.id,
            "state": row.state,
            "ready": self._ready(row.id),
            "kind": "totals" if found.totals else "records",
            "hint": found.hint,
            "partner": ", ".join(desk.names(desk.plan(row))[host] for host in found.hosts),
            "asset": found.asset,
            "keys": [{"name": column.name, "type": column.type} for column in found.keys],
            "values": [{"name": column.name, "type": column.type} for column in found.values],
            "rows": found.parameters["rows"],
            "maximum_keys": found.parameters["maximum_keys"],
            "consent": found.parameters["consent"],
            "expires": desk.plan(row)["expires"],
        }

    def _ready(self, job: str) -> bool:
        """Whether the partner has sealed its table, and the service answers."""
        progress = self._jobs.runs.progress(job) or {}
        sealed = progress.get("step") == SEALING and progress["done"] == progress["total"]
        return self._jobs.runs.serving(job) is not None and sealed

    def query(self, name: str, keys: Sequence[Any], consents: Sequence[str | None] | None) -> Json:
        """Reads the records of some keys, each one call.

        Args:
            keys: a value for each; a list of values where the lookup has several key columns.
            consents: for each key the digest of its data subject's authorisation, where the plan asks for one.

        Returns:
            `answers`, in the order of the keys: `found`, `rows` and `error`; and the `version` of the table, by an
            opaque name that changes with it. Of totals there is one row; `found` is null unless they count holders.

        Raises:
            AtollError: `E_NOT_FOUND`, `E_FORMAT` for keys that are none, `E_TOO_LARGE` for too many; `E_CONSENT`;
                `E_BUSY` while the table is being sealed; `E_STATE` if the service does not run.
        """
        found = self.serving(name)
        digests = self._digests(found, keys)
        shown = self.shown(found, consents, len(keys))
        return self.ask(found, digests, shown)

    def ask(self, found: LookupFacts, digests: bytes, shown: list[Json | None]) -> Json:
        """Reads the records of keys by their digests, 32 bytes each; gives what `query` gives."""
        payload = encode_body({"digests": digests, "shown": shown})
        body = decode_body(self._jobs.runs.call(found.job, payload, timeout=_CALL_SECONDS))
        answers = [
            self._answer(found, record, error)
            for record, error in zip(
                body["totals" if found.totals else "records"], body["errors"], strict=True
            )
        ]
        return {"answers": answers, "version": body["version"].hex()}

    def serving(self, name: str) -> LookupFacts:
        """The lookup of that name that answers; `E_NOT_FOUND`, `E_BUSY` while it is sealed, `E_STATE`."""
        standing = [(row, found) for row, found in self._standing() if found.name == name]
        serving = [found for row, found in standing if self._jobs.runs.serving(row.id) is not None]
        for found in serving:
            if self._ready(found.job):
                return found
        if serving:
            text = f"the partner is still sealing the table of {name!r}"
            raise AtollError(
                "E_BUSY", text, cure="Ask again when it is ready: atoll lookup list.", fault="peer"
            )
        if standing:
            state = standing[0][0].state
            raise AtollError("E_STATE", f"the lookup {name!r} is {state} and answers no calls yet")
        raise _unknown(name)

    def _digests(self, found: LookupFacts, keys: Sequence[Any]) -> bytes:
        most = found.parameters["maximum_keys"]
        if not 1 <= len(keys) <= most:
            raise AtollError(
                "E_TOO_LARGE", f"a request has 1 to {most} keys, not {len(keys)}", fault="caller"
            )
        columns: list[list[Any]] = [[] for _ in found.keys]
        for number, key in enumerate(keys, 1):
            parts = key if isinstance(key, list) else [key]
            if len(parts) != len(columns):
                names = ", ".join(column.name for column in found.keys)
                raise AtollError(
                    "E_FORMAT", f"key {number}: its values are {names}, in order", fault="caller"
                )
            for column, values, part in zip(found.keys, columns, parts, strict=True):
                values.append(_value(column, part, f"key {number}"))
        try:
            arrays = [
                pa.array(values, column.arrow) for column, values in zip(found.keys, columns, strict=True)
            ]
        except (pa.ArrowException, OverflowError) as error:
            raise AtollError(
                "E_FORMAT", f"a key does not fit its column's type: {error}", fault="caller"
            ) from None
        table = pa.table(arrays, names=[column.name for column in found.keys])
        return _each(table, {name: steps for name, steps in found.steps.items() if steps})

    def shown(
        self, found: LookupFacts, consents: Sequence[str | None] | None, count: int
    ) -> list[Json | None]:
        """What each of so many keys shows of its data subject's authorisation, given by its digest."""
        given = list(consents) if consents is not None else [None] * count
        if len(given) != count:
            raise AtollError("E_FORMAT", f"consents: one for each of {count} keys", fault="caller")
        if found.consent is None:
            return [None] * count
        return [self._consents.shown(digest, **found.consent) for digest in given]

    @staticmethod
    def _answer(found: LookupFacts, record: Any, error: Json | None) -> Json:
        if found.totals:
            return _totals_answer(found, record, error)
        rows = None if record is None else decode_rows(record, len(found.values))
        names = [column.name for column in found.values]
        return {
            "found": None if error is not None else rows is not None,
            "rows": [dict(zip(names, row, strict=True)) for row in rows or []],
            "error": error,
        }


def _totals_answer(found: LookupFacts, totals: list[int] | None, error: Json | None) -> Json:
    if totals is None:
        return {"found": None, "rows": [], "error": error}
    row = {
        column.name: plain_total(total, column.scale)
        for column, total in zip(found.values, totals, strict=True)
    }
    known = totals[-1] > 0 if found.parameters["count_holders"] else None
    return {"found": known, "rows": [row], "error": error}


def _each(table: pa.Table, steps: dict[str, list[str]]) -> bytes:
    """The digest of each row's key, in order; keys may repeat."""
    found = key_digests(table, table.column_names, steps, on_invalid="refuse")
    at = memoryview(found.rows).cast("I")
    if found.n_null:
        raise AtollError("E_FORMAT", "a key has no value", fault="caller")
    return b"".join(found.digests[32 * row : 32 * row + 32] for row in at)
