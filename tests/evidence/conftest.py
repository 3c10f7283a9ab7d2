"""A partner that is a script: real keys of a stopped node, real links, and logs of its own making."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from atoll import AtollError
from atoll.ledger.entry import Entry, Record
from atoll.ledger.log import Log, OwnLog
from atoll.ledger.storage import MemoryStorage
from atoll.net.dial import dial
from atoll.net.identity import NodeKeys
from atoll.net.link import Link, Local, open_link
from atoll.node.state.log_storage import LogStorage
from atoll.node.state.store import Store
from atoll.testing import NodeProcess


@dataclass
class Script:
    """A hostile partner."""

    name: str
    keys: NodeKeys
    entries: list[Entry]
    agreement: str
    pins: dict[str, str]
    _links: dict[str, Link] = field(default_factory=dict)

    @property
    def me(self) -> str:
        return self.keys.identity

    def link(self, to: NodeProcess) -> Link:
        link = self._links.get(to.name)
        if link is None or not link.alive:
            local = Local(
                keys=self.keys, name=self.name, address=None,
                handlers={"ledger.standing": lambda *_: {"logs": {}}, "ledger.extend": lambda *_: {},
                          "ledger.gossip": lambda *_: {}, "ledger.fork": lambda *_: {}},
                admit=lambda *_: None, log=lambda *_: None, clock=lambda: datetime.now(UTC),
            )  # fmt: skip
            assert to.address is not None
            link = self._links[to.name] = open_link(dial(to.address), local, self.pins[to.name])
        return link

    def say(self, to: NodeProcess, verb: str, body: Any) -> Any:
        return self.link(to).request(verb, body)

    def history(self, *records: str, time: datetime | None = None) -> OwnLog:
        """A log that begins as the honest one and goes on with other records."""
        log = OwnLog(MemoryStorage(), self.agreement, self.keys.signing)
        storage = log.storage
        root, nodes = log._extend(self.entries)
        storage.append(self.entries, nodes)
        storage.put_head(log.sign(len(self.entries)))
        assert root == log.root()
        for text in records:
            log.append([Record("note/v1", {"text": text})], time or datetime.now(UTC))
        return log

    def push(self, to: NodeProcess, log: Log, old: int | None = None, **changed: Any) -> Any:
        """Sends what a log has beyond the honest entries, as the owner of a log does."""
        old = len(self.entries) if old is None else old
        size = log.size
        head = log.storage.head()
        body = {
            "agreement": self.agreement, "old": old, "proof": log.consistency_proof(old, size), "checkpoint": head,
            "entries": [
                {"leaf": e.leaf, "body": e.opened.body if e.opened else b"",
                 "opening": e.opened.opening if e.opened else b""}
                for e in log.entries(old, size)
            ],
        }  # fmt: skip
        return self.say(to, "ledger.extend", body | changed)

    def close(self) -> None:
        for link in self._links.values():
            with suppress(AtollError, OSError):
                link.close(None)


@pytest.fixture
def take_over() -> Iterator[Callable[..., Script]]:
    """Stops a node and gives its keys and log to a script that speaks to the others in its place."""
    made: list[Script] = []

    def take(node: NodeProcess, agreement: str, others: list[NodeProcess]) -> Script:
        pins = {other.name: other.administrator.info()["tls"] for other in others}
        node.stop()
        keys = NodeKeys.load(node.folder / "keys", node.passphrase)
        store = Store.sqlite(node.folder / "state.sqlite")
        try:
            with store.read() as session:
                log = Log(MemoryStorage(), agreement, keys.signing.public)
                log.storage = LogStorage(session, log.origin, "now")
                entries = log.entries(0, log.size)
        finally:
            store.close()
        made.append(Script(node.name, keys, entries, agreement, pins))
        return made[-1]

    yield take
    for script in made:
        script.close()
