"""kill -9 at any point of an append: nothing acknowledged is lost, nothing is half there, the log never forks."""

from __future__ import annotations

import os
import signal
import struct
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event

from atoll.crypto.suite import SigningKey
from atoll.ledger import checkpoint, note
from atoll.ledger.entry import Record
from atoll.ledger.fork import prove
from atoll.ledger.log import Log, OwnLog
from atoll.ledger.replica import Replica
from atoll.ledger.storage import MemoryStorage
from atoll.node.state.log_storage import LogStorage
from atoll.node.state.models import Charge, LogName
from atoll.node.state.store import Store

AGREEMENT = "agr-0123456789abcdef"
KEY = SigningKey(b"\x07" * 32)
ORIGIN = checkpoint.origin(AGREEMENT, KEY.public)
NOW = datetime(2026, 11, 23, 16, 30, tzinfo=UTC)
_ACK = struct.Struct("!IH")


def append(store: Store, count: int, number: int) -> bytes:
    """One transaction as a release makes it: entries, and the charge that they are evidence of."""
    with store.write() as session:
        if session.get(LogName, ORIGIN) is None:
            session.add(LogName(origin=ORIGIN, agreement=AGREEMENT, owner=str(KEY.public), size=0))
            session.flush()
        session.add(
            Charge(
                job=f"job-{number}", block=0, kind="run", agreement=AGREEMENT, asset="loans", provider="p",
                partner="q", amount=1, at="2026-11-23T16:30:00.000Z",
            )
        )  # fmt: skip
        log = OwnLog(LogStorage(session, ORIGIN, "now"), AGREEMENT, KEY)
        done = log.append([Record("release/v1", {"number": number, "of": i}) for i in range(count)], NOW)
    return done.checkpoint


def work(path: Path, plan: list[int], first: int, die_at: int, acknowledge: int) -> None:
    """In a process of its own: appends, and dies before the `die_at`-th statement of the database."""
    store = Store.sqlite(path)
    seen = 0

    def count(*_: Any) -> None:
        nonlocal seen
        seen += 1
        if seen == die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    event.listen(store.engine, "before_cursor_execute", count)
    event.listen(store.engine, "commit", count)
    event.listen(store.engine, "rollback", count)
    for i, entries in enumerate(plan):
        signed = append(store, entries, first + i)
        os.write(acknowledge, _ACK.pack(first + i, len(signed)) + signed)
    os._exit(0)


def run(path: Path, plan: list[int], first: int, die_at: int) -> list[tuple[int, bytes]]:
    """What a child acknowledged before it died, or finished."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            work(path, plan, first, die_at, writer)
        finally:
            os._exit(1)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        data = file.read()
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    found, at = [], 0
    while at < len(data):
        number, size = _ACK.unpack_from(data, at)
        at += _ACK.size
        found.append((number, data[at : at + size]))
        at += size
    return found


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.integers(1, 45)),
        min_size=1,
        max_size=4,
    )
)
def test_a_kill_at_any_statement_loses_nothing_acknowledged_and_forks_nothing(
    tmp_path_factory: pytest.TempPathFactory, lives: list[tuple[list[int], int]]
) -> None:
    path = tmp_path_factory.mktemp("log") / "state.sqlite"
    first = Store.sqlite(path)
    first.migrate()
    first.close()
    # What a partner would hold: every checkpoint that was acknowledged, in order.
    copy = Replica(MemoryStorage(), AGREEMENT, KEY.public)
    number, acknowledged = 0, set()
    for plan, die_at in lives:
        seen = run(path, plan, number, die_at)
        number += len(plan)
        acknowledged |= {n for n, _ in seen}
        store = Store.sqlite(path)
        with store.read() as session:
            log = Log(LogStorage(session, ORIGIN, "now"), AGREEMENT, KEY.public)
            size, head = log.size, log.storage.head()
            charged = {c.job for c in session.query(Charge)}
            bodies = [log.body(i) for i in range(size)]
            for _, signed in seen:
                point = checkpoint.open_note(note.parse(signed), ORIGIN, KEY.public)
                assert point.size <= size
                assert log.root(point.size) == point.root, "what was acknowledged is there, and is the same"
            if head is not None:
                newest = checkpoint.open_note(note.parse(head), ORIGIN, KEY.public)
                assert (newest.size, newest.root) == (size, log.root())
                copy.extend(copy.size, log.entries(copy.size, size), head)
        written: dict[int, int] = {}
        for body in bodies:
            assert body is not None
            written[body.document["number"]] = written.get(body.document["number"], 0) + 1
        assert {f"job-{n}" for n in written} == charged, "an entry and its charge are both there, or neither"
        assert acknowledged <= set(written)
        store.close()
    assert copy.size == sum(written.values())


def test_two_histories_by_one_owner_make_a_proof() -> None:
    """The control: the check above would notice a fork."""
    one, two = (OwnLog(MemoryStorage(), AGREEMENT, KEY) for _ in range(2))
    heads = [log.append([Record("release/v1", {"number": 1})], NOW).checkpoint for log in (one, two)]
    copy = Replica(MemoryStorage(), AGREEMENT, KEY.public)
    copy.extend(0, one.entries(0, 1), heads[0])
    with pytest.raises(Exception, match="two histories"):
        copy.extend(0, two.entries(0, 1), heads[1])
    readers = (one.storage.hashes, two.storage.hashes)
    assert prove(one.origin, KEY.public, heads, (1, 1), readers) is not None
