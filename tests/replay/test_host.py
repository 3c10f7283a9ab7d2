"""A host that all agreed on runs a partner's side: it checks who may, takes what was announced, erases all."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from atoll import AtollError
from atoll.agreements.replay import open_replay
from atoll.crypto.suite import digest
from atoll.net.dial import dial
from atoll.net.identity import NodeKeys
from atoll.net.link import Link, Local, open_link
from atoll.testing import Net, NodeProcess, nodes, until

Json = dict[str, Any]
BYTES = 4 << 20


@pytest.fixture(scope="module")
def trio() -> Iterator[Net]:
    settings = {"host": {"audit.replay_for": ["alice", "bob"], "audit.replay_bytes": BYTES}}
    with nodes("alice", "bob", "host", settings=settings) as made:
        ids = [f"s{i}" for i in range(200)]
        made.alice.steward.data.add("loans", {"id": ids, "debt": [str(i) for i in range(200)]})
        made.bob.steward.data.add("taxes", {"id": ids[100:]})
        yield made


@pytest.fixture(scope="module")
def agreement(trio: Net) -> str:
    return trio.agreement(
        {"alice": {"loans": "*"}, "bob": {"taxes": "*", "echo": "service"}},
        replay={"keep_days": 1, "hosts": [trio.host.identity]},
    )


@pytest.fixture(scope="module")
def joined(trio: Net, agreement: str, look: Any) -> str:
    asked = trio.alice.analyst.join(agreement, "loans", "taxes", on="id", purpose="test", receivers="both")
    return str(look.completed(asked, trio.alice, trio.bob))


def _nothing_is_left(trio: Net) -> None:
    for node in trio:
        until(f"{node.name} has erased it", lambda n=node: list((n.folder / "work").iterdir()) == [])


def test_a_host_gives_the_same_findings_under_its_own_signature(trio: Net, joined: str, look: Any) -> None:
    for node in (trio.alice, trio.bob):
        here = node.auditor.audit.replay(joined)
        there = node.steward.audit.replay(joined, at="host", threads=2, timeout=60)
        assert there["ok"], there["report"]["findings"]
        report = open_replay(there["envelope"])
        assert (report.host, report.party) == (trio.host.identity, node.identity)
        assert [c for c in look.codes(there) if c != "threads"] == look.codes(here)
        recorded = [
            e["document"] for e in node.auditor.ledger.entries(here["agreement"], 0, 1000) if e["kind"]
        ]
        assert there["envelope"] in [d.get("envelope") for d in recorded if d]
    _nothing_is_left(trio)


def test_a_service_and_signatures_of_that_time_come_out_at_a_host(
    trio: Net, agreement: str, look: Any
) -> None:
    service = trio.alice.analyst.echo(agreement, "echo", purpose="test", block_calls=2)
    for number in range(5):
        service.call(b"%d" % number)
    service.stop()
    job = look.completed(trio.alice.analyst.jobs.get(service.id), trio.alice, trio.bob)
    for node in (trio.alice, trio.bob):
        found = node.steward.audit.replay(job, at="host", timeout=60)
        assert found["ok"], found["report"]["findings"]
        assert look.facts(found, "calls") == {"blocks": 3, "count": 5}
    for node in trio:
        codes = {"columns": {"segment": {"type": "string", "codes": ["A", "B"]}, "debt": {"type": "int64"}}}
        rows = {"id": ["1", "2"], "segment": ["A", "B"], "debt": ["1", "2"]}
        node.steward.data.add("book", rows, declaration=codes)
    three = trio.agreement(
        {node.name: {"book": "*"} for node in trio},
        replay={"keep_days": 1, "hosts": [trio.host.identity]},
    )
    asked = trio.alice.analyst.totals(
        three,
        ["book@alice", "book@bob", "book@host"],
        group="segment",
        values=["debt"],
        purpose="test",
    )
    summed = look.completed(asked, *trio)
    for node in (trio.alice, trio.bob):
        assert node.steward.audit.replay(summed, at=trio.host.identity, timeout=60)["ok"]


def test_a_changed_input_is_found_at_the_host(trio: Net, joined: str, look: Any) -> None:
    path = trio.alice.folder / "data" / "loans" / "1" / "data.parquet"
    before = path.read_bytes()
    table = pq.read_table(path)
    rows = table.to_pylist()
    rows[7]["id"] = "s7000"
    pq.write_table(type(table).from_pylist(rows, schema=table.schema), path)
    try:
        found = trio.alice.steward.audit.replay(joined, at="host")
        assert look.codes(found, "bad") == ["input-changed", "not-run"]
        found = trio.alice.steward.audit.replay(joined, at="host", anyway=True)
        assert look.codes(found, "bad")[:2] == ["input-changed", "sent-differs"]
        # The first message that depends on the keys: coin and correlations go before it.
        assert look.facts(found, "sent-differs")["number"] == 8
    finally:
        path.write_bytes(before)
    _nothing_is_left(trio)


def test_what_was_not_agreed_on_is_refused(trio: Net, joined: str, look: Any) -> None:
    audit = trio.alice.steward.audit

    def code(job: str, at: str) -> str:
        with pytest.raises(AtollError) as refused:
            audit.replay(job, at=at, timeout=60)
        return refused.value.code

    with pytest.raises(AtollError) as refused:
        trio.alice.auditor.audit.replay(joined, at="host")
    assert refused.value.code == "E_ROLE"
    assert code(joined, "bob") == "E_AGREEMENT"
    assert code(joined, "nobody") == "E_NOT_FOUND"
    hostless = trio.agreement({"alice": {"loans": "*"}, "bob": {"taxes": "*"}}, replay={"keep_days": 1})
    asked = trio.alice.analyst.join(hostless, "loans", "taxes", on="id", purpose="test")
    other = look.completed(asked, trio.alice, trio.bob)
    assert code(other, "host") == "E_AGREEMENT"
    # Agreed on, but the host's operator named no such partner.
    unwilling = trio.agreement(
        {"alice": {"loans": "*"}, "bob": {"taxes": "*"}},
        replay={"keep_days": 1, "hosts": [trio.bob.identity]},
    )
    asked = trio.alice.analyst.join(unwilling, "loans", "taxes", on="id", purpose="test")
    assert code(look.completed(asked, trio.alice, trio.bob), "bob") == "E_REFUSED"


def test_the_agreement_says_that_hosts_see_the_inputs(trio: Net, agreement: str) -> None:
    shown = trio.bob.steward.agreements.show(agreement)
    assert any("can see the inputs" in line for line in shown["notes"]["en"])
    assert any("可以看到输入" in line for line in shown["notes"]["zh"])
    assert len(shown["notes"]["en"]) == len(shown["notes"]["zh"]) == 2


def test_a_bundle_that_is_too_large_is_refused(trio: Net, look: Any) -> None:
    rows = {"id": [f"{digest(str(i).encode())}" for i in range(200_000)]}
    trio.alice.steward.data.add("large", rows)
    agreement = trio.agreement(
        {"alice": {"large": "*"}, "bob": {"taxes": "*"}},
        replay={"keep_days": 1, "hosts": [trio.host.identity]},
    )
    asked = trio.alice.analyst.join(agreement, "large", "taxes", on="id", purpose="test")
    job = look.completed(asked, trio.alice, trio.bob)
    with pytest.raises(AtollError) as refused:
        trio.alice.steward.audit.replay(job, at="host", timeout=60)
    assert refused.value.code == "E_TOO_LARGE"
    _nothing_is_left(trio)


def test_a_replay_at_a_host_can_be_cancelled_and_leaves_its_place(trio: Net, joined: str) -> None:
    audit = trio.alice.steward.audit
    begun = audit.start_replay(joined, at="host")
    with suppress(AtollError):  # it may have ended already
        audit.cancel_replay(begun["id"])
    ended = until("the end", lambda: (r := audit.show_replay(begun["id"]))["state"] != "running" and r)
    assert ended["state"] in ("cancelled", "done")
    assert (ended["report"] is None) == (ended["state"] == "cancelled")
    _nothing_is_left(trio)
    assert audit.replay(joined, at="host", timeout=60)["ok"]
    # One whose host is away says so, and nothing stays behind.
    trio.host.stop()
    try:
        with pytest.raises(AtollError) as away:
            audit.replay(joined, at="host", timeout=90)
        assert away.value.code == "E_UNREACHABLE"
    finally:
        trio.host.start()
    until("the host is back", lambda: _code_or_ok(trio, joined))
    assert list((trio.alice.folder / "work").iterdir()) == []


def _code_or_ok(trio: Net, joined: str) -> bool:
    try:
        return bool(trio.alice.steward.audit.replay(joined, at="host", timeout=60)["ok"])
    except AtollError as error:
        if error.code != "E_UNREACHABLE":
            raise
        return False


# A partner that does not keep to the order.


@pytest.fixture
def script(trio: Net) -> Iterator[Callable[[], Link]]:
    """Links to the host under the keys of bob, who is stopped meanwhile."""
    trio.bob.stop()
    keys = NodeKeys.load(trio.bob.folder / "keys", trio.bob.passphrase)
    opened: list[Link] = []

    def link() -> Link:
        local = Local(
            keys=keys, name="bob", address=trio.bob.address, handlers={},
            admit=lambda *_: None, log=lambda *_: None, clock=lambda: datetime.now(UTC),
        )  # fmt: skip
        found = open_link(dial(trio.host.address or ""), local, _tls(trio.host))
        opened.append(found)
        return found

    yield link
    for one in opened:
        one.close()
    trio.bob.start()


def _tls(node: NodeProcess) -> str:
    return str(node.administrator.info()["tls"])


def _offer(trio: Net, job: str, agreement: str, files: Any) -> Json:
    plan = json.loads(_row(trio.alice, "select plan from jobs where id = ?", job))
    envelope = json.loads(_row(trio.alice, "select envelope from agreements where id = ?", agreement))
    return {"plan": plan, "agreements": {agreement: envelope}, "files": files}


def _row(node: NodeProcess, query: str, value: str) -> str:
    import sqlite3

    with closing(sqlite3.connect(f"file:{node.folder / 'state.sqlite'}?mode=ro", uri=True)) as store:
        return str(store.execute(query, (value,)).fetchone()[0])


def _file(name: str = "papers.json", data: bytes = b"{}", **fields: Any) -> Json:
    return {"name": name, "size": len(data), "digest": digest(data), **fields}


def _code(link: Link, verb: str, body: Any) -> str:
    with pytest.raises(AtollError) as refused:
        link.request(verb, body, timeout=20)
    return refused.value.code


@pytest.mark.parametrize(
    "files",
    [
        [],
        "papers.json",
        [_file("../papers.json")],
        [_file(), _file("input/../x/data.parquet")],
        [_file(), _file("kept/received-1-0-../../x")],
        [_file(), _file("/etc/passwd")],
        [_file(), _file("work")],
        [_file(), _file()],
        [_file("kept/sent-1-0-psi")],
        [_file(size=-1)],
        [_file(digest="sha256:00")],
        [_file(mode=7)],
    ],
)
def test_lists_of_files_that_are_none_are_refused(
    trio: Net, joined: str, agreement: str, script: Callable[[], Link], files: Any
) -> None:
    assert _code(script(), "replay.offer", _offer(trio, joined, agreement, files)) == "E_WIRE"
    _nothing_is_left_at(trio.host)


def _nothing_is_left_at(node: NodeProcess) -> None:
    until("it is erased", lambda: list((node.folder / "work").iterdir()) == [])


def test_pieces_out_of_order_changed_or_unannounced_are_refused(
    trio: Net, joined: str, agreement: str, script: Callable[[], Link]
) -> None:
    link = script()
    data = b"0123456789"
    offer = _offer(trio, joined, agreement, [_file(data=data), _file("kept/sent-1-0-psi", b"")])
    found = link.request("replay.offer", offer, timeout=20)
    identifier = found["id"]

    def piece(**changed: Any) -> Json:
        return {"id": identifier, "file": 0, "offset": 0, "data": data[:4], **changed}

    for wrong in (
        piece(offset=1), piece(offset=-1), piece(offset=10), piece(offset=7), piece(file=2), piece(file=1),
        piece(file=True), piece(data=b""), piece(data="0123"), piece(data=data + b"x"),
    ):  # fmt: skip
        assert _code(link, "replay.piece", wrong) == "E_WIRE"
    assert _code(link, "replay.piece", piece(id="0" * 32)) == "E_NOT_FOUND"
    run = {"id": identifier, "threads": None, "any_build": False, "anyway": True}
    assert _code(link, "replay.run", run) == "E_STATE"
    assert link.request("replay.piece", piece(), timeout=20) == {}
    assert link.request("replay.piece", piece(), timeout=20) == {}
    assert _code(link, "replay.piece", piece(data=b"0x23")) == "E_REWIND"
    assert link.request("replay.piece", piece(offset=4, data=data[4:]), timeout=20) == {}
    for wrong in ({"threads": 0}, {"threads": "2"}, {"any_build": 1}, {"anyway": None}):
        assert _code(link, "replay.run", run | wrong) == "E_WIRE"
    assert link.request("replay.run", run, timeout=20) == {}
    assert link.request("replay.run", run, timeout=20) == {}
    assert _code(link, "replay.run", run | {"threads": 3}) == "E_REWIND"
    ended = until(
        "the end",
        lambda: (
            (r := link.request("replay.report", {"id": identifier}, timeout=20))["state"] == "failed" and r
        ),
    )
    assert ended["envelope"] is None
    assert ended["error"]["code"] == "E_FORMAT"
    _nothing_is_left_at(trio.host)


def test_an_offer_of_another_partners_job_or_under_a_changed_agreement_is_refused(
    trio: Net, joined: str, agreement: str, script: Callable[[], Link]
) -> None:
    link = script()
    good = _offer(trio, joined, agreement, [_file()])
    assert _code(link, "replay.offer", {**good, "plan": {}}) in ("E_FORMAT", "E_SIGNATURE")
    assert _code(link, "replay.offer", {**good, "agreements": {}}) == "E_AGREEMENT"
    assert _code(link, "replay.offer", {**good, "agreements": []}) == "E_WIRE"
    assert _code(link, "replay.offer", good | {"more": 1}) == "E_WIRE"
    envelope = good["agreements"][agreement]
    unsigned = {**envelope, "signatures": envelope["signatures"][:1]}
    assert _code(link, "replay.offer", {**good, "agreements": {agreement: unsigned}}) == "E_AGREEMENT"
    forged = {**good["plan"], "signatures": []}
    assert _code(link, "replay.offer", {**good, "plan": forged}) == "E_SIGNATURE"
    # A bundle whose papers are those of another party than the one that sends it.
    found = link.request("replay.offer", good, timeout=20)
    assert link.request("replay.cancel", {"id": found["id"]}, timeout=20) == {}
    assert _code(link, "replay.report", {"id": found["id"]}) == "E_NOT_FOUND"
    _nothing_is_left_at(trio.host)


def test_files_other_than_announced_are_named(
    trio: Net, joined: str, agreement: str, script: Callable[[], Link], tmp_path: Path
) -> None:
    link = script()
    found = link.request("replay.offer", _offer(trio, joined, agreement, [_file(data=b"{}")]), timeout=20)
    link.request("replay.piece", {"id": found["id"], "file": 0, "offset": 0, "data": b"[]"}, timeout=20)
    options = {"threads": None, "any_build": True, "anyway": True}
    link.request("replay.run", {"id": found["id"], **options}, timeout=20)
    ended = until(
        "the end",
        lambda: (
            (r := link.request("replay.report", {"id": found["id"]}, timeout=20))["state"] == "failed" and r
        ),
    )
    assert ended["error"]["code"] == "E_DATA"
    _nothing_is_left_at(trio.host)
