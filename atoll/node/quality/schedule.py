"""Evaluates the rules of own tables: when they are set, and at their interval."""

from __future__ import annotations

import threading
from typing import Any

from atoll.data.measure import evaluate
from atoll.data.quality import Result, Rules, parse_rules
from atoll.data.schema import Schema
from atoll.errors import AtollError
from atoll.node.clock import Clock
from atoll.node.logs import logger
from atoll.node.quality.results import Results, Trigger
from atoll.node.state.models import Asset
from atoll.node.state.store import Store
from atoll.node.tables import Tables

_PAUSE = 0.5


class Quality:
    """Rules of own tables, as their owner works with them."""

    def __init__(self, store: Store, tables: Tables, results: Results, clock: Clock) -> None:
        self._store, self._tables, self._results, self._clock = store, tables, results, clock
        self._log = logger("quality")
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="quality", daemon=True)

    def start(self) -> None:
        """Starts the evaluations at intervals."""
        self._results.start()
        self._thread.start()

    def stop(self) -> None:
        """Ends them; one that runs is left to end by itself."""
        self._stopping.set()

    # Rules.

    def set_rules(self, name: str, document: Any, person: str) -> dict[str, Any]:
        """Replaces the rules of a table, and evaluates them now.

        Raises:
            AtollError: `E_NOT_FOUND`, `E_FORMAT`, `E_COLUMN`, `E_TYPE`; `E_STATE` for rules that a live table cannot
                have; what reading a live table's source raises. Nothing is kept on any error.
        """
        rules = self._tables.check_rules(name, document)
        result = self._measure(name, rules)
        with self._store.write() as session:
            if session.get(Asset, name) is None:
                raise AtollError("E_NOT_FOUND", f"there is no table {name!r}")
            self._results.set_rules(session, name, rules, person)
            self._results.take(session, name, result, "rules")
        self._log.info("quality rules", table=name, rules=len(rules.rules), person=person)
        return self.describe(name)

    def clear_rules(self, name: str, person: str) -> dict[str, Any]:
        """Forgets the rules of a table; `E_NOT_FOUND` without any."""
        self._tables.schema(name)
        with self._store.write() as session:
            self._results.clear_rules(session, name)
        self._log.info("quality rules cleared", table=name, person=person)
        return self.describe(name)

    def describe(self, name: str) -> dict[str, Any]:
        """Rules and results of a table; `E_NOT_FOUND`."""
        self._tables.schema(name)
        return self._results.describe(name)

    # Evaluating.

    def _measure(self, name: str, rules: Rules) -> Result:
        if self._tables.is_live(name):
            return self._tables.measure_live(name, rules)
        with self._tables.reading() as work:
            snapshot, previous = self._tables.in_use(name)
            key = self._tables.key(name)
            return evaluate(rules, snapshot, previous, now=self._clock(), key=key, work=work)

    def run(self, name: str, trigger: Trigger = "schedule") -> None:
        """Evaluates the rules of a table, and keeps what comes of it unless the table changed meanwhile."""
        document = self._results.rules(name)
        if document is None:
            return
        try:
            schema = Schema.from_json(self._tables.schema(name))
            result = self._measure(name, parse_rules(document, schema))
        except AtollError as error:
            self._results.failed(name, error)
            return
        with self._store.write() as session:
            row = session.get(Asset, name)
            if row is not None and (row.version is None or row.version == result.version):
                self._results.take(session, name, result, trigger)

    def _loop(self) -> None:
        while not self._stopping.wait(_PAUSE):
            try:
                for name in self._results.due():
                    if self._stopping.is_set():
                        return
                    self.run(name)
            except Exception:
                self._log.exception("evaluating quality failed")
