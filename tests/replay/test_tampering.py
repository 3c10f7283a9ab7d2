"""Whatever is changed afterwards is named: input, seed, messages, chains, events, receipt."""

from __future__ import annotations

import base64
import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cbor2
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from atoll import AtollError
from atoll.net.identity import NodeKeys
from atoll.node.vault import Vault
from atoll.testing import Net, NodeProcess

Json = dict[str, Any]


def _table_file(node: NodeProcess, table: str) -> Path:
    return node.folder / "data" / table / "1" / "data.parquet"


def _change(path: Path, column: str, old: str, new: str) -> bytes:
    """Changes one value of a version's rows; gives the file as it was."""
    before = path.read_bytes()
    table = pq.read_table(path)
    place = table.schema.get_field_index(column)
    kind = table.schema.field(place).type
    cell = pa.scalar(old, pa.string()).cast(kind)
    assert pc.sum(pc.equal(table.column(place), cell)).as_py() == 1
    changed = pc.if_else(pc.equal(table.column(place), cell), pa.scalar(new).cast(kind), table.column(place))
    table = table.set_column(place, table.schema.field(place), changed)
    pq.write_table(table, path, compression="zstd")
    return before


def _flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(bytes(data))


def _in_store(node: NodeProcess, statement: str, *values: Any) -> None:
    connection = sqlite3.connect(node.folder / "state.sqlite", timeout=30)
    try:
        with connection:
            assert connection.execute(statement, values).rowcount == 1
    finally:
        connection.close()


def _from_store(node: NodeProcess, query: str, *values: Any) -> Any:
    connection = sqlite3.connect(node.folder / "state.sqlite", timeout=30)
    try:
        return connection.execute(query, values).fetchone()[0]
    finally:
        connection.close()


@pytest.fixture(scope="module")
def joined(net: Net, look: Any) -> str:
    """A join of tables of this module's own, whose rows both sides receive."""
    ids = [f"s{i}" for i in range(120)]
    net.alice.steward.data.add("mine", {"id": ids, "debt": [str(i) for i in range(120)]})
    net.bob.steward.data.add("theirs", {"id": ids[60:], "paid": [str(i) for i in range(60)]})
    agreement = net.agreement({"alice": {"mine": "*"}, "bob": {"theirs": "*"}}, replay={"keep_days": 9})
    asked = net.alice.analyst.join(
        agreement, "mine", "theirs", on="id", purpose="test", receivers="both", normalise={"id": ["trim"]},
        protocol="ecdh-psi/v1",
    )  # fmt: skip
    return str(look.completed(asked, net.alice, net.bob))


@pytest.fixture
def restored(joined: str, net: Net) -> Any:
    """Puts back what a test changes in the files that were kept, and shows that all is well again."""
    folders = [node.folder / "jobs" / joined for node in (net.alice, net.bob)]
    before = {path: path.read_bytes() for folder in folders for path in folder.iterdir() if path.is_file()}
    yield
    for path, data in before.items():
        path.write_bytes(data)
    for node in (net.alice, net.bob):
        assert node.auditor.audit.replay(joined, timeout=60)["ok"]


def test_a_changed_key_is_named_and_the_first_message_that_differs(net: Net, joined: str, look: Any) -> None:
    path = _table_file(net.alice, "mine")
    before = _change(path, "id", "s77", "s777")
    try:
        found = net.alice.auditor.audit.replay(joined)
        assert not found["ok"]
        assert look.codes(found, "bad") == ["input-changed", "not-run"]
        assert look.facts(found, "input-changed")["asset"] == "mine"
        assert "s777" not in json.dumps(found)
        found = net.alice.auditor.audit.replay(joined, anyway=True)
        assert look.codes(found, "bad")[:2] == ["input-changed", "sent-differs"]
        differs = look.facts(found, "sent-differs")
        assert (differs["number"], differs["step"], differs["peer"]) == (1, "ecdh-psi/blinded/0", "bob")
        words = ("audit", "replay", joined, "-d", str(net.alice.folder), "--as", "auditor")
        shown = subprocess.run(
            [sys.executable, "-m", "atoll.cli", *words],
            env=net.alice.environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert shown.returncode == 1
        assert shown.stderr.splitlines()[-2].startswith("E_REPLAY: Input")
        assert "no longer fits its commitment" in shown.stdout
        # Nobody else's side is touched by it.
        assert net.bob.auditor.audit.replay(joined)["ok"]
    finally:
        path.write_bytes(before)
    assert net.alice.auditor.audit.replay(joined)["ok"]


def test_prepared_keys_are_not_trusted(net: Net, joined: str, look: Any) -> None:
    path = _table_file(net.alice, "mine")
    caches = list((path.parent / "cache").glob("keys-*/digests.bin"))
    assert caches
    before = [cache.read_bytes() for cache in caches]
    try:
        for cache in caches:
            _flip(cache, 0)
        assert net.alice.auditor.audit.replay(joined)["ok"]
    finally:
        for cache, data in zip(caches, before, strict=True):
            cache.write_bytes(data)


def test_a_changed_value_that_no_message_holds_changes_the_result(net: Net, joined: str, look: Any) -> None:
    path = _table_file(net.alice, "mine")
    before = _change(path, "debt", "77", "78000")
    try:
        found = net.alice.auditor.audit.replay(joined, anyway=True)
        assert look.codes(found, "bad") == ["input-changed", "output-differs"]
        assert "sent" in look.codes(found, "ok")
    finally:
        path.write_bytes(before)


def test_a_changed_sum_is_named(net: Net, totals_agreement: str, look: Any) -> None:
    asked = net.alice.analyst.totals(
        totals_agreement,
        ["book@alice", "book@bob", "book@carol"],
        group="segment",
        values=["debt"],
        purpose="test",
    )
    job = look.completed(asked, *net)
    path = _table_file(net.bob, "book")
    before = _change(path, "debt", "58", "59")
    try:
        found = net.bob.auditor.audit.replay(job, anyway=True)
        assert look.codes(found, "bad") == ["input-changed", "sent-differs"]
        assert look.facts(found, "sent-differs")["step"] == "pairwise-masks/masked/0"
    finally:
        path.write_bytes(before)
    events = look.kept(net.bob, job, "events")
    _flip(events, -1)
    found = net.bob.auditor.audit.replay(job, anyway=True)
    assert look.codes(found, "bad")[0] == "events-changed"
    assert look.facts(found, "events-changed")["number"] == 1


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("changed", "received-changed"),
        ("cut", "received-gone"),
        ("gone", "received-gone"),
        ("added", "received-changed"),
    ],
)
def test_changed_messages_are_named(
    net: Net, joined: str, look: Any, restored: None, what: str, expected: str
) -> None:
    path = look.kept(net.bob, joined, "received")
    data = path.read_bytes()
    if what == "changed":
        _flip(path, 200)
    elif what == "cut":
        path.write_bytes(data[:-3])
    elif what == "added":
        path.write_bytes(data + data)
    else:
        path.unlink()
    found = net.bob.auditor.audit.replay(joined)
    assert look.codes(found, "bad") == [expected, "not-run"]
    assert look.facts(found, expected)["peer"] == "alice"
    found = net.bob.auditor.audit.replay(joined, anyway=True)
    assert not found["ok"]
    assert look.codes(found, "bad")[0] == expected


@pytest.mark.parametrize("place", [0, -1])
def test_a_changed_chain_of_sent_messages_is_named(
    net: Net, joined: str, look: Any, restored: None, place: int
) -> None:
    _flip(look.kept(net.bob, joined, "sent"), place)
    found = net.bob.auditor.audit.replay(joined)
    assert look.codes(found, "bad") == ["sent-notes"]
    assert "sent" in look.codes(found, "ok")


def _reseal(node: NodeProcess, job: str, change: Callable[[Json], None]) -> bytes:
    """Changes what the node sealed of a job; gives what was there."""
    vault = Vault(NodeKeys.load(node.folder / "keys", node.passphrase).signing.seed)
    sealed: bytes = _from_store(node, "select secret from jobs where id = ?", job)
    kept = cbor2.loads(vault.open(f"job {job}", sealed))
    change(kept)
    _in_store(
        node, "update jobs set secret = ? where id = ?", vault.seal(f"job {job}", cbor2.dumps(kept)), job
    )
    return sealed


def test_another_seed_is_named(net: Net, joined: str, look: Any) -> None:
    sealed = _reseal(net.bob, joined, lambda kept: kept.update(secret=bytes(32)))
    try:
        found = net.bob.auditor.audit.replay(joined)
        assert look.codes(found, "bad")[0] == "seed-changed"
        assert "not-run" in look.codes(found, "bad")
        found = net.bob.auditor.audit.replay(joined, anyway=True)
        assert {"seed-changed", "sent-differs"} <= set(look.codes(found, "bad"))
        for gone in (None, b"\x01" + bytes(64)):
            _in_store(net.bob, "update jobs set secret = ? where id = ?", gone, joined)
            assert look.codes(net.bob.auditor.audit.replay(joined, anyway=True), "bad") == [
                "seed-gone",
                "not-run",
            ]
    finally:
        _in_store(net.bob, "update jobs set secret = ? where id = ?", sealed, joined)
    assert net.bob.auditor.audit.replay(joined)["ok"]


def test_another_nonce_gives_other_messages(net: Net, joined: str, look: Any) -> None:
    before = _from_store(net.bob, "select start from jobs where id = ?", joined)
    start = {**json.loads(before), "nonce": "0" * 32}
    _in_store(net.bob, "update jobs set start = ? where id = ?", json.dumps(start), joined)
    try:
        found = net.bob.auditor.audit.replay(joined, anyway=True)
        assert "sent-differs" in look.codes(found, "bad")
    finally:
        _in_store(net.bob, "update jobs set start = ? where id = ?", before, joined)


@pytest.mark.parametrize("what", ["changed", "unsigned"])
def test_a_changed_receipt_is_named(net: Net, joined: str, look: Any, what: str) -> None:
    query = "select envelope from receipts where job = ? and kind = 'final'"
    before = _from_store(net.bob, query, joined)
    envelope = json.loads(before)
    if what == "changed":
        payload = base64.b64decode(envelope["payload"])
        text = payload.replace(b'"attempt":1', b'"attempt":2')
        assert text != payload
        envelope["payload"] = base64.b64encode(text).decode()
    else:
        envelope["signatures"] = envelope["signatures"][:1]
    update = "update receipts set envelope = ? where job = ? and kind = 'final'"
    _in_store(net.bob, update, json.dumps(envelope), joined)
    try:
        found = net.bob.auditor.audit.replay(joined)
        assert found["report"]["receipt"] is None
        assert look.codes(found, "bad") == ["receipt-changed", "not-run"]
        # What this node keeps of its own part is still there to compare with.
        found = net.bob.auditor.audit.replay(joined, anyway=True)
        assert look.codes(found, "bad") == ["receipt-changed"]
        _in_store(net.bob, "update jobs set evidence = 'provisional' where id = ?", joined)
        found = net.bob.auditor.audit.replay(joined)
        assert found["ok"] == (what == "unsigned")
        assert ("receipt-own" in look.codes(found, "note")) == (what == "unsigned")
    finally:
        _in_store(net.bob, update, before, joined)
        _in_store(net.bob, "update jobs set evidence = 'final' where id = ?", joined)


def test_an_approval_that_was_changed_is_refused(net: Net, joined: str) -> None:
    query = "select envelope from approvals where job = ? and party = ?"
    before = _from_store(net.bob, query, joined, net.bob.identity)
    envelope = json.loads(before)
    payload = base64.b64decode(envelope["payload"])
    envelope["payload"] = base64.b64encode(payload.replace(b'"keys":60', b'"keys":61')).decode()
    assert envelope["payload"] != json.loads(before)["payload"]
    update = "update approvals set envelope = ? where job = ? and party = ?"
    _in_store(net.bob, update, json.dumps(envelope), joined, net.bob.identity)
    try:
        with pytest.raises(AtollError) as refused:
            net.bob.auditor.audit.replay(joined)
        assert refused.value.code == "E_SIGNATURE"
    finally:
        _in_store(net.bob, update, before, joined, net.bob.identity)
