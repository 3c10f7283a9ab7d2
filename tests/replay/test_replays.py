"""What a job sent comes out again at every party, whatever the function, its form and the number of threads."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from atoll import AtollError
from atoll.agreements.replay import open_replay
from atoll.client import requests
from atoll.testing import Net, NodeProcess, until


def _agrees(look: Any, node: NodeProcess, job: str, threads: tuple[int | None, ...] = (None, 2)) -> Any:
    for number in threads:
        found = node.auditor.audit.replay(job, threads=number, timeout=60)
        assert found["ok"], found["report"]["findings"]
        assert look.codes(found)[-1] == "proved"
        assert look.codes(found).count("sent") == look.codes(found).count("received") >= 1
        if number == 2:
            assert "threads" in look.codes(found, "note")
    return found


@pytest.mark.parametrize("receivers", ["me", "peer", "both"])
@pytest.mark.parametrize("reveal", ["rows", "size"])
def test_a_join_comes_out_again_at_both(
    net: Net, agreement: str, look: Any, receivers: str, reveal: str
) -> None:
    asked = net.alice.analyst.join(
        agreement, "loans", "taxes", on="id", purpose="test", receivers=receivers, reveal=reveal,
        protocol="ecdh-psi/v1",
    )  # fmt: skip
    job = look.completed(asked, net.alice, net.bob)
    for node in (net.alice, net.bob):
        found = _agrees(look, node, job)
        receives = receivers in ("both", "me" if node is net.alice else "peer")
        assert ("output" in look.codes(found)) == receives


@pytest.mark.parametrize("receivers", ["me", "peer", "both"])
@pytest.mark.parametrize(
    ("security", "variant"),
    [("malicious", "fast"), ("semi-honest", "fast"), ("semi-honest", "low-communication")],
)
def test_a_fast_join_comes_out_again_at_both(
    net: Net, agreement: str, look: Any, receivers: str, security: str, variant: str
) -> None:
    asked = net.alice.analyst.join(
        agreement, "loans", "taxes", on="id", purpose="test", receivers=receivers, protocol="vole-psi/v1",
        security=security, variant=variant,
    )  # fmt: skip
    job = look.completed(asked, net.alice, net.bob)
    for node in (net.alice, net.bob):
        found = _agrees(look, node, job)
        receives = receivers in ("both", "me" if node is net.alice else "peer")
        assert ("output" in look.codes(found)) == receives


@pytest.mark.parametrize("receivers", ["me", "peer"])
def test_a_kept_join_comes_out_again_at_both_whatever_is_kept_since(
    net: Net, agreement: str, look: Any, receivers: str
) -> None:
    def run() -> str:
        asked = net.alice.analyst.join(
            agreement,
            "loans",
            "taxes",
            on="id",
            purpose="test",
            receivers=receivers,
            protocol="kept-oprf-psi/v1",
        )
        return str(look.completed(asked, net.alice, net.bob))

    for job in (run(), run()):
        for node in (net.alice, net.bob):
            found = _agrees(look, node, job)
            receives = receivers == ("me" if node is net.alice else "peer")
            assert ("output" in look.codes(found)) == receives


def test_a_join_that_refuses_duplicates_comes_out_again(net: Net, look: Any) -> None:
    net.alice.steward.data.add("once", {"id": [f"s{i}" for i in range(50)]})
    net.bob.steward.data.add("single", {"id": [f"s{i}" for i in range(20, 90)]})
    agreement = net.agreement({"alice": {"once": "*"}, "bob": {"single": "*"}}, replay={"keep_days": 1})
    asked = net.alice.analyst.join(
        agreement, "once", "single", on="id", purpose="test", receivers="both", duplicates="refuse"
    )
    job = look.completed(asked, net.alice, net.bob)
    for node in (net.alice, net.bob):
        _agrees(look, node, job)


@pytest.mark.parametrize("receivers", ["me", "peer", "both"])
def test_totals_of_a_hidden_join_come_out_again_at_both(net: Net, look: Any, receivers: str) -> None:
    people = f"people_{receivers}"
    net.bob.steward.data.add(people, {"id": [f"s{i}" for i in range(20, 90)]})
    agreement = net.agreement(
        {"alice": {"loans": "*"}, "bob": {people: "*"}}, functions=["join_totals"], replay={"keep_days": 1}
    )
    how = {"on": "id", "purpose": "test", "repeated": "left", "multiplicity": 2, "maximum_rows": 1000}
    asked = net.alice.analyst.join_totals(agreement, "loans", people, receivers=receivers, **how)
    job = look.completed(asked, net.alice, net.bob)
    for node, word in ((net.alice, "me"), (net.bob, "peer")):
        found = _agrees(look, node, job)
        assert ("output" in look.codes(found)) == (receivers in (word, "both"))


@pytest.mark.parametrize("receivers", ["me", "both"])
def test_statistics_of_a_hidden_join_come_out_again_at_both(net: Net, look: Any, receivers: str) -> None:
    people = f"counted_{receivers}"
    numbers = {"id": [f"s{i}" for i in range(20, 90)], "n": list(range(70))}
    net.bob.steward.data.add(people, numbers, declaration={"columns": {"n": {"range": ["0", "70"]}}})
    agreement = net.agreement(
        {"alice": {"loans": "*"}, "bob": {people: "*"}},
        functions=["join_statistics"],
        also_disclose=["own_matched_sum"],
        replay={"keep_days": 1},
    )
    asked = net.alice.analyst.join_statistics(
        agreement, "loans", people, statistics=["variance(right.n)"], receivers=receivers, on="id",
        purpose="test", repeated="left", multiplicity=2, maximum_rows=1000,
    )  # fmt: skip
    job = look.completed(asked, net.alice, net.bob)
    for node, word in ((net.alice, "me"), (net.bob, "peer")):
        found = _agrees(look, node, job)
        assert ("output" in look.codes(found)) == (receivers in (word, "both"))


@pytest.mark.parametrize("how", [{"everyone": True}, {"leader": "bob"}, {"reveal": "size"}], ids=str)
def test_an_intersection_of_three_comes_out_again_at_all(net: Net, look: Any, how: dict[str, Any]) -> None:
    tables = {"alice": {"loans": "*"}, "bob": {"taxes": "*"}, "carol": {"cases": "*"}}
    agreement = net.agreement(tables, functions=["intersect"], replay={"keep_days": 30})
    asked = net.alice.analyst.intersect(
        agreement, ["loans@alice", "taxes@bob", "cases@carol"], on="id", purpose="test", **how
    )
    job = look.completed(asked, *net)
    for node in net:
        found = _agrees(look, node, job)
        receives = "everyone" in how or node.name == how.get("leader", "alice")
        assert ("output" in look.codes(found)) == receives
        assert "events" in look.codes(found)  # the signature of the ephemeral key


@pytest.mark.parametrize("receiver", ["me", "bob"])
def test_totals_come_out_again_at_holders_and_hub(
    net: Net, totals_agreement: str, look: Any, receiver: str
) -> None:
    asked = net.alice.analyst.totals(
        totals_agreement,
        ["book@alice", "book@bob", "book@carol"],
        group="segment",
        values=["debt"],
        purpose="test",
        receiver=receiver,
    )
    job = look.completed(asked, *net)
    for node in (net.alice, net.bob, net.carol):
        _agrees(look, node, job, (None,))
        found = node.auditor.audit.replay(job)
        assert "events" in look.codes(found)  # the signature of the ephemeral key


@pytest.mark.parametrize("mode", ["none", "attested", "presented"])
def test_a_service_comes_out_again_with_refused_calls_and_blocks_that_ran_out(
    net: Net, look: Any, mode: str
) -> None:
    issuers = [net.alice.identity] if mode == "presented" else []
    agreement = net.agreement(
        {"bob": {"echo": "service"}},
        parties=["alice"],
        replay={"keep_days": 1},
        consent={"mode": mode, "issuers": issuers},
        rate={"most": 3, "seconds": 8},
    )
    options: Any = {} if mode == "none" else {"consent": mode}
    service = net.alice.analyst.echo(
        agreement, "echo", purpose="test", block_calls=2, block_seconds=1, **options
    )
    shown = None
    if mode != "none":
        shown = net.alice.steward.consents.issue("wang", purposes=["test"], functions=["echo"])["consent"]
    for number in range(3):
        assert service.call(b"%d" % number, shown) == b"%d" % number
    with pytest.raises(AtollError) as refused:
        service.call(b"too often", shown)
    assert refused.value.code == "E_QUOTA"
    time.sleep(8.2)  # the second block runs out, and the rate allows calls again
    assert service.call(b"last", shown) == b"last"
    if mode == "presented":
        net.alice.steward.consents.withdraw(shown)
        time.sleep(0.5)
        with pytest.raises(AtollError):
            service.call(b"withdrawn", shown)
    service.stop()
    job = look.completed(net.alice.analyst.jobs.get(service.id), net.alice, net.bob)
    for node in (net.alice, net.bob):
        found = _agrees(look, node, job, (None,))
        assert look.facts(found, "calls") == {"blocks": 3, "count": 4}


def test_the_report_is_signed_by_the_node_and_stands_in_its_log(net: Net, agreement: str, look: Any) -> None:
    asked = net.alice.analyst.join(agreement, "loans", "taxes", on="id", purpose="test")
    job = look.completed(asked, net.alice, net.bob)
    found = net.bob.auditor.audit.replay(job)
    report = open_replay(found["envelope"])
    assert (report.host, report.party, report.job, report.ok) == (
        net.bob.identity,
        net.bob.identity,
        job,
        True,
    )
    assert report.receipt is not None
    recorded = [e for e in net.bob.auditor.ledger.entries(agreement, 0, 1000) if e["kind"] == "replay/v1"]
    assert found["envelope"] in [e["document"]["envelope"] for e in recorded]
    assert all(f["en"] != f["zh"] for f in found["report"]["findings"])
    listed = net.bob.auditor.audit.replays(job)
    assert [(r["id"], r["ok"]) for r in listed] == [(found["id"], True)]
    assert net.bob.steward.audit.show_replay(found["id"])["envelope"] == found["envelope"]


def _cli(node: NodeProcess, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "atoll.cli", *words, "-d", str(node.folder), "--as", "auditor"],
        env=node.environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_replay_from_the_command_line_and_over_http(net: Net, agreement: str, look: Any) -> None:
    asked = net.alice.analyst.join(agreement, "loans", "taxes", on="id", purpose="test")
    job = look.completed(asked, net.alice, net.bob)
    done = _cli(net.alice, "audit", "replay", job, "--threads", "2", "--json")
    assert done.returncode == 0, done.stderr
    identifier = json.loads(done.stdout)["id"]
    shown = _cli(net.alice, "audit", "show-replay", identifier, "--lang", "zh")
    assert shown.returncode == 0
    assert "逐字节重现" in shown.stdout
    assert identifier in _cli(net.alice, "audit", "replays", "--job", job).stdout
    assert _cli(net.alice, "audit", "cancel-replay", identifier).stderr.startswith("E_STATE")
    headers = {"Authorization": f"Bearer {net.alice.token('auditor')}"}
    begun = httpx.post(f"{net.alice.url}/v1/audit/replays", json={"job": job}, headers=headers)
    assert begun.status_code == 201
    while (
        now := httpx.get(f"{net.alice.url}/v1/audit/replays/{begun.json()['id']}", headers=headers).json()
    )["state"] == "running":
        time.sleep(0.05)
    assert now["ok"] is True


def test_what_cannot_be_run_again_is_refused_by_name(net: Net, agreement: str, look: Any) -> None:
    audit = net.alice.auditor.audit

    def code(job: str, **options: Any) -> str:
        with pytest.raises(AtollError) as refused:
            audit.replay(job, **options)
        return refused.value.code

    assert code("job-" + "0" * 32) == "E_NOT_FOUND"
    unkept = net.agreement({"alice": {"loans": "*"}, "bob": {"taxes": "*"}})
    asked = net.alice.analyst.join(unkept, "loans", "taxes", on="id", purpose="test")
    job = look.completed(asked, net.alice, net.bob)
    assert code(job) == "E_STATE"
    assert list((net.alice.folder / "jobs" / job).glob("received-*")) == []
    for threads in (0, 1025):
        assert code(job, threads=threads) == "E_FORMAT"
    waiting = net.agreement(
        {"alice": {"loans": "*"}, "bob": {"taxes": "*"}}, replay={"keep_days": 1}, approval="steward"
    )
    undecided = net.alice.analyst.join(waiting, "loans", "taxes", on="id", purpose="test")
    assert code(undecided.id) == "E_STATE"
    undecided.cancel()
    for role in ("analyst", "operator", "administrator", "application"):
        with pytest.raises(AtollError) as refused:
            net.alice.client(role).audit.replay(job)  # type: ignore[arg-type]
        assert refused.value.code == "E_ROLE"
    with pytest.raises(AtollError) as unknown:
        audit.show_replay("rpl-" + "0" * 16)
    assert unknown.value.code == "E_NOT_FOUND"


@pytest.mark.parametrize("hint", [None, False], ids=["with a hint", "without"])
@pytest.mark.parametrize("changes", [False, True])
def test_a_lookup_comes_out_again_at_both(
    net: Net, look: Any, tmp_path: Path, changes: bool, hint: bool | None
) -> None:
    """At its host as far as the table that it began with: later versions are not kept."""
    name = f"worths{changes}{hint}".lower()
    file = tmp_path / "worths.csv"
    file.write_text("id,worth\n" + "".join(f"k{i},{i}\n" for i in range(50)))
    net.bob.steward.data.add(name, file)
    uses = {"id": "lookup_key", "worth": "lookup_value"}
    agreement = net.agreement(
        {"bob": {name: uses}}, parties=["alice"], functions=["query"], replay={"keep_days": 1}
    )
    request = requests.lookup(
        agreement, name, name, purpose="test", on=["id"], block_calls=4, maximum_keys=4, hint=hint
    )
    service = net.alice.analyst.lookups.start(request)["job"]

    def found(*keys: str) -> list[bool]:
        return [a["found"] for a in net.alice.application.lookups.query(name, keys)["answers"]]

    assert found("k1", "k70", "k2") == [True, False, True]
    assert found("k3", "k71") == [True, False]
    if changes:
        file.write_text("id,worth\n" + "".join(f"k{i},{i}\n" for i in range(10, 60)))
        net.bob.steward.data.refresh(name)
        until("the new version answers", lambda: found("k55") == [True])
    net.alice.analyst.lookups.stop(name)
    job = look.completed(net.alice.analyst.jobs.get(service), net.alice, net.bob)
    _agrees(look, net.alice, job)
    if not changes:
        _agrees(look, net.bob, job)
        return
    report = net.bob.auditor.audit.replay(job, timeout=60)
    assert not report["ok"]
    (stopped,) = [f for f in report["report"]["findings"] if f["code"] == "stopped"]
    assert stopped["facts"]["code"] == "E_REPLAY"


def test_lookup_totals_come_out_again_at_all_parties(net: Net, look: Any) -> None:
    """What is asked at two holders at once, at each with the one other's masks."""
    uses = {"id": "lookup_key", "worth": "aggregate"}
    bounds = {"columns": {"worth": {"type": "int64", "range": ["0", "1000"]}}}
    for node, first in ((net.bob, 0), (net.carol, 20)):
        table = {"id": [f"k{i}" for i in range(first, first + 40)], "worth": [str(i) for i in range(40)]}
        node.steward.data.add("sums", table, declaration=bounds)
    agreement = net.agreement(
        {"bob": {"sums": uses}, "carol": {"sums": uses}}, parties=["alice"], functions=["query_totals"],
        replay={"keep_days": 1},
    )  # fmt: skip
    request = requests.lookup_totals(
        agreement, "sums", "sums", purpose="test", on=["id"], values=["worth"], rows=1, block_calls=4,
        maximum_keys=4,
    )  # fmt: skip
    service = net.alice.analyst.lookups.start(request)["job"]
    for keys, worths in ((["k1", "k30", "none"], [1, 40, 0]), (["k30", "k59"], [40, 39])):
        answers = net.alice.application.lookups.query("sums", keys)["answers"]
        assert [answer["rows"] for answer in answers] == [[{"worth": worth}] for worth in worths]
    net.alice.analyst.lookups.stop("sums")
    job = look.completed(net.alice.analyst.jobs.get(service), net.alice, net.bob, net.carol)
    for node in (net.alice, net.bob, net.carol):
        _agrees(look, node, job)
