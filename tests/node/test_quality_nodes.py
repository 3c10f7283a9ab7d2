"""Quality of tables at real nodes: rules, refused versions, alerts, schedules; what partners see and report."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from atoll.crypto import dsse
from atoll.crypto.suite import check_commitment
from atoll.errors import AtollError
from atoll.testing import Net, NodeProcess, nodes, until


@pytest.fixture(scope="module")
def net() -> Iterator[Net]:
    with nodes("alice", "bob", "carol") as made:
        yield made


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("files")


@pytest.fixture
def table(net: Net, folder: Path, request) -> Callable[..., str]:
    """A table of Bob's from a file of its own, and how to write that file anew."""

    def write(rows: list[str], name: str | None = None, **how: Any) -> str:
        name = name or re.sub(r"\W", "", request.node.name)[-40:]
        file = folder / f"{name}.csv"
        fresh = not file.exists()
        file.write_text("id,debt,day\n" + "".join(f"{row}\n" for row in rows))
        if fresh:
            words = {
                "columns": {"id": {"type": "string"}, "debt": {"type": "int64"}, "day": {"type": "date"}}
            }
            net.bob.steward.data.add(name, file, declaration=words, keys=["id"], **how)
        return name

    return write


GOOD = [f"s{i},{4000 + i},2026-01-0{i % 9 + 1}" for i in range(40)]
BAD = [f"s{i},{4000 + i if i % 2 else ''},2026-01-0{i % 9 + 1}" for i in range(40)]
STOP = {"kind": "nulls", "column": "debt", "at_most": "10", "stop": True}


def code_of(call: Callable[[], Any]) -> AtollError:
    with pytest.raises(AtollError) as caught:
        call()
    return caught.value


# Rules.


def test_a_refresh_that_breaks_a_rule_keeps_the_version_that_jobs_use(net, table):
    name, steward = table(GOOD), net.bob.steward
    net.alice.steward.data.add(f"my-{name}", {"id": [f"s{i}" for i in range(40)]})
    agreement = net.agreement({"alice": {f"my-{name}": "*"}, "bob": {name: "*"}})
    first = steward.data.show(name)["version"]
    steward.quality.set_rules(name, [STOP, {"kind": "duplicates", "columns": ["id"]}])
    table(BAD, name)
    error = code_of(lambda: steward.data.refresh(name))
    assert (error.code, error.column, error.fault) == ("E_QUALITY", "debt", "owner")
    assert "50 %" in error.text
    shown = steward.data.show(name)
    assert (shown["version"], len(shown["versions"])) == (first, 1)
    assert [p.name for p in (net.bob.folder / "data" / name).iterdir()] == ["1"]
    job = net.alice.analyst.join(agreement, f"my-{name}", f"{name}@bob", on="id", purpose="test").wait()
    assert job.result().arrow().num_rows == 40
    used = {i["version"] for i in job.receipt(20)["document"]["inputs"].values()}
    assert first in used

    (alert,) = steward.quality.alerts(name)
    assert (alert["rule"], alert["stop"], alert["ended"]) == ("nulls:debt", True, None)
    assert alert["text"]["en"].startswith("refused: ")
    assert "已拒绝" in alert["text"]["zh"]
    assert [(r["trigger"], r["used"], r["failing"]) for r in steward.quality.rules(name)["results"]] == [
        ("refresh", False, 1),
        ("rules", True, 0),
        ("add", True, 0),
    ]

    table(GOOD, name)
    assert steward.data.refresh(name)["versions"][-1]["number"] == 2
    (alert,) = steward.quality.alerts(name)
    assert alert["ended"] is not None
    assert steward.quality.acknowledge(alert["id"])["by"] == "bob steward"
    assert steward.quality.alerts(name) == []
    assert len(steward.quality.alerts(name, every=True)) == 1


def test_a_rule_without_stop_lets_the_version_be_used(net, table):
    name, steward = table(GOOD), net.bob.steward
    steward.quality.set_rules(name, [STOP | {"stop": False}])
    table(BAD, name)
    assert steward.data.refresh(name)["versions"][-1]["number"] == 2
    found = steward.quality.rules(name)
    assert [o["state"] for o in found["result"]["outcomes"]] == ["broken"]
    (alert,) = steward.quality.alerts(name)
    # Seen again, it is the same alert; with the rules gone it ends, and stays until someone takes note.
    steward.data.refresh(name)
    (again,) = steward.quality.alerts(name)
    assert (again["id"], again["ended"]) == (alert["id"], None)
    assert again["seen"] > alert["seen"]
    assert steward.quality.clear_rules(name)["rules"] is None
    (ended,) = steward.quality.alerts(name)
    assert ended["ended"] is not None
    assert code_of(lambda: steward.quality.clear_rules(name)).code == "E_NOT_FOUND"


def test_rules_can_come_with_the_table(net, table):
    steward = net.bob.steward
    error = code_of(lambda: table(BAD, "stopped", rules={"rules": [STOP]}))
    assert error.code == "E_QUALITY"
    assert code_of(lambda: steward.data.show("stopped")).code == "E_NOT_FOUND"
    assert not (net.bob.folder / "data" / "stopped").exists()
    assert steward.quality.alerts("stopped") == []
    name = table(GOOD, "with-rules", rules={"rules": [STOP]})
    assert steward.quality.rules(name)["rules"]["rules"][0]["column"] == "debt"
    steward.data.remove(name)
    assert code_of(lambda: steward.quality.rules(name)).code == "E_NOT_FOUND"


def test_an_uploaded_table_has_rules_too(net):
    steward = net.bob.steward
    steward.data.add(
        "sent", {"id": ["a"], "n": [1]}, rules={"rules": [{"kind": "nulls", "column": "n", "stop": True}]}
    )
    error = code_of(lambda: steward.data.refresh("sent", {"id": ["a"], "n": [None]}))
    assert error.code in ("E_QUALITY", "E_TYPE")
    error = code_of(lambda: steward.data.refresh("sent", {"id": ["a", "b"], "n": [None, 2]}))
    assert error.code == "E_QUALITY"
    assert steward.data.refresh("sent", {"id": ["a"], "n": [2]})["versions"][-1]["number"] == 2
    error = code_of(
        lambda: steward.data.add("other", {"id": ["a"]}, rules={"rules": [{"kind": "nulls", "column": "n"}]})
    )
    assert (error.code, error.column) == ("E_COLUMN", "n")


def test_stability_is_against_the_version_before_the_one_in_use(net, table):
    name, steward = table(GOOD), net.bob.steward
    rule = {"kind": "stability", "column": "debt", "at_most": "0.1", "bins": 4}
    found = steward.quality.set_rules(name, [rule])
    assert [o["state"] for o in found["result"]["outcomes"]] == ["unknown"]
    table([f"s{i},{9000 + i},2026-01-01" for i in range(40)], name)
    steward.data.refresh(name)
    found = steward.quality.rules(name)["result"]
    assert found["outcomes"][0]["state"] == "broken"
    assert found["previous"] == steward.data.show(name)["versions"][0]["digest"]
    # The same version, measured again: still against the one before it.
    again = steward.quality.set_rules(name, [rule])["result"]
    assert again["stability"] == found["stability"]
    assert again["previous"] == found["previous"]


@pytest.mark.parametrize(("rules", "code", "column"), [
    ({"rules": [{"kind": "nulls", "column": "nobody"}]}, "E_COLUMN", "nobody"),
    ({"rules": [{"kind": "range", "column": "id", "least": 0}]}, "E_TYPE", "id"),
    ({"rules": [{"kind": "nulls", "column": "debt", "at_most": 0.5}]}, "E_FORMAT", None),
    ({"rules": []}, "E_FORMAT", None), ({}, "E_FORMAT", None),
])  # fmt: skip
def test_rules_that_are_none_change_nothing(net, table, rules, code, column):
    name = table(GOOD, "kept")
    before = net.bob.steward.quality.set_rules(name, [STOP])["rules"]
    error = code_of(lambda: net.bob.steward.quality.set_rules(name, rules))
    assert (error.code, error.column) == (code, column)
    assert net.bob.steward.quality.rules(name)["rules"] == before


def test_only_a_steward_sets_rules_and_takes_note(net, table):
    name = table(GOOD, "kept")
    for role in ("analyst", "auditor", "operator", "administrator"):
        client = net.bob.client(role)
        assert code_of(lambda c=client: c.quality.set_rules(name, [STOP])).code == "E_ROLE"
        assert code_of(lambda c=client: c.quality.acknowledge(1)).code == "E_ROLE"
    assert code_of(lambda: net.bob.analyst.quality.alerts()).code == "E_ROLE"
    for unknown in (0, 10**9, -1, 2**70):
        assert code_of(lambda n=unknown: net.bob.steward.quality.acknowledge(n)).code in (
            "E_NOT_FOUND",
            "E_FORMAT",
        )


# Schedules.


def test_rules_are_evaluated_at_their_interval(net, table):
    name, steward = table(GOOD), net.bob.steward
    mark = len(net.bob.log())
    fresh = {"kind": "freshness", "column": "day", "at_most_days": 3}
    steward.quality.set_rules(name, {"rules": [fresh], "every_seconds": 1})
    until(
        "two evaluations",
        lambda: [r["trigger"] for r in steward.quality.rules(name)["results"]].count("schedule") > 1,
    )
    (alert,) = steward.quality.alerts(name)
    assert alert["rule"] == "freshness:day"
    steward.quality.clear_rules(name)
    said = [line for line in net.bob.log()[mark:].splitlines() if "freshness:day" in line]
    assert said
    assert "2026-01-09" not in "".join(said)
    metrics = net.bob.operator.metrics()
    assert re.search(r'^atoll_quality_results_total\{outcome="broken"\} [1-9]', metrics, re.MULTILINE)
    assert re.search(r"^atoll_quality_alerts [1-9]", metrics, re.MULTILINE)
    done = len(steward.quality.rules(name)["results"])
    net.bob.restart()
    assert len(net.bob.steward.quality.rules(name)["results"]) == done


def test_a_live_table_is_read_for_its_rules_and_nothing_is_kept(net, table, folder):
    name, steward = table(GOOD, mode="live"), net.bob.steward
    for rule, what in ((STOP, "stop"), ({"kind": "stability", "column": "debt"}, "before")):
        error = code_of(lambda r=rule: steward.quality.set_rules(name, [r]))
        assert (error.code, error.column) == ("E_STATE", "debt")
        assert what in error.text
    rule = STOP | {"stop": False}
    found = steward.quality.set_rules(name, {"rules": [rule], "every_seconds": 1})
    assert [o["state"] for o in found["result"]["outcomes"]] == ["holds"]
    table(BAD, name)
    until("the change is seen", lambda: steward.quality.alerts(name))
    assert steward.data.show(name)["versions"] == []
    assert not list((net.bob.folder / "data").glob(f"{name}*"))
    (folder / f"{name}.csv").unlink()
    until("the failure is seen", lambda: "evaluation" in {a["rule"] for a in steward.quality.alerts(name)})
    (alert,) = [a for a in steward.quality.alerts(name) if a["rule"] == "evaluation"]
    assert "E_SOURCE" in alert["text"]["en"]
    assert name not in alert["text"]["en"]
    (folder / f"{name}.csv").write_text("id,debt,day\n" + "\n".join(GOOD) + "\n")
    until(
        "all is well again",
        lambda: {a["ended"] is None for a in steward.quality.alerts(name)} == {False},
    )
    steward.quality.clear_rules(name)
    until("no reading is left", lambda: not list((net.bob.folder / "work").glob("quality-*")))


# Between partners.

FIGURES = ["rows", "nulls:debt", "duplicates", "failing_rules", "freshness_days"]


@pytest.fixture(scope="module")
def shared(net, folder) -> str:
    """Bob's table `loans` for Alice, in an agreement of all three that does not name its column `day`."""
    rows = [*(f"s{i},{4000 + i if i % 3 else ''},2026-01-01" for i in range(119)), "s1,1,2026-01-02"]
    (folder / "loans.csv").write_text("id,debt,day\n" + "\n".join(rows) + "\n")
    words = {"columns": {"id": {"type": "string"}, "debt": {"type": "int64"}, "day": {"type": "date"}}}
    net.bob.steward.data.add("loans", folder / "loans.csv", declaration=words, keys=["id"])
    net.bob.steward.quality.set_rules("loans", [{"kind": "nulls", "column": "debt"}])
    terms = {
        "columns": {"id": "join_key"}, "grant": {"to": [net.alice.identity]},
        "quality": FIGURES, "findings": ["stale", "duplicate"],
    }  # fmt: skip
    document = net.draft({"bob": {"loans": terms}}, parties=["alice", "carol"])
    (asset,) = document["assets"]
    asset["columns"] = [c for c in asset["columns"] if c["name"] != "day"]
    return net.sign(document)


def entries(node: NodeProcess, agreement: str, kind: str) -> list[dict[str, Any]]:
    found = node.auditor.ledger.entries(agreement, 0, 1000)
    return [e["document"] for e in found if e["kind"] == f"{kind}/v1"]


def test_without_a_word_in_the_agreement_nothing_is_shown_or_taken(net, shared):
    alice = net.alice.analyst
    shared = net.agreement({"bob": {"loans": {"id": "join_key"}}}, parties=["alice"])
    assert code_of(lambda: alice.quality.figures("bob/loans", shared)).code == "E_POLICY"
    assert code_of(lambda: alice.quality.figures("bob/loans", shared, ["rows"])).code == "E_POLICY"
    error = code_of(lambda: alice.quality.report("bob/loans", shared, category="stale", extent="few"))
    assert error.code == "E_POLICY"
    assert entries(net.bob, shared, "quality-figures") == entries(net.bob, shared, "finding") == []
    assert net.bob.steward.quality.shown() == net.bob.steward.quality.findings() == []


def test_a_signatory_to_whom_the_table_is_not_granted_sees_and_reports_nothing(net, shared):
    carol = net.carol.analyst
    assert code_of(lambda: carol.quality.figures("bob/loans", shared)).code == "E_POLICY"
    error = code_of(lambda: carol.quality.report("bob/loans", shared, category="stale", extent="few"))
    assert error.code == "E_POLICY"


def test_agreed_figures_are_shown_signed_and_recorded(net, shared, records):
    found = net.alice.analyst.quality.figures("bob/loans", shared)
    want = {
        "rows": "120",
        "nulls:debt": "33.3",
        "duplicates": "0.8",
        "failing_rules": "1",
        "freshness_days": None,
    }
    assert found["figures"] == want
    assert net.alice.analyst.quality.figures("bob/loans", shared, ["rows"])["figures"] == {"rows": "120"}
    for node, direction in ((net.bob, "shown"), (net.alice, "seen")):
        shown = node.auditor.quality.shown()
        assert {s["direction"] for s in shown} == {direction}
        last = shown[0]
        assert last["figures"] == {"rows": "120"}
        # Signed by the owner, and what the logs hold is opened by what both sides keep.
        dsse.verify("quality-figures/v1", last["envelope"], [net.bob.identity])
        payload = dsse.payload_bytes(last["envelope"])
        recorded = entries(node, shared, "quality-figures")
        assert len(recorded) == 2
        assert recorded[-1] == {
            "asset": "loans", "provider": net.bob.identity, "partner": net.alice.identity,
            "commitment": last["commitment"],
        }  # fmt: skip
        assert check_commitment(payload, bytes.fromhex(last["opening"]), last["commitment"])


def test_a_third_signatory_learns_that_figures_were_shown_and_none_of_them(net, shared, records):
    net.alice.analyst.quality.figures("bob/loans", shared)
    until("bob's log is cosigned", lambda: all(
        c["behind"] == 0 for log in net.bob.auditor.ledger.list() if log["own"] for c in log["cosignatures"]
    ))  # fmt: skip
    seen = records(net.carol)
    bodies = b"".join(row["body"] or b"" for row in seen.rows("select body from log_entries"))
    assert b"quality-figures/v1" in bodies
    assert b"33.3" not in bodies
    assert b"nulls:debt" not in bodies
    assert net.carol.steward.quality.shown() == []


@pytest.mark.parametrize(("wanted", "code"), [
    (["stability:debt"], "E_POLICY"), (["rows", "nulls:id"], "E_POLICY"), (["rows "], "E_FORMAT"),
    (["everything"], "E_FORMAT"), (["nulls:"], "E_FORMAT"),
])  # fmt: skip
def test_other_figures_are_refused_whole(net, shared, wanted, code):
    before = len(net.bob.steward.quality.shown())
    assert code_of(lambda: net.alice.analyst.quality.figures("bob/loans", shared, wanted)).code == code
    assert len(net.bob.steward.quality.shown()) == before


def test_who_may_not_ask(net, shared):
    ask = net.alice.analyst.quality.figures
    assert code_of(lambda: ask("bob/kept", shared)).code == "E_NOT_FOUND"  # a table outside the agreement
    assert code_of(lambda: ask("carol/loans", shared)).code == "E_NOT_FOUND"
    assert code_of(lambda: ask("nobody/loans", shared)).code == "E_NOT_FOUND"
    assert code_of(lambda: ask("loans", shared)).code == "E_FORMAT"
    assert code_of(lambda: ask("bob/loans", "agr-" + "0" * 16)).code == "E_AGREEMENT"
    other = net.agreement({"bob": {"loans": {"id": "join_key"}}}, parties=["alice"])
    net.bob.steward.agreements.revoke(other)
    net.alice.steward.agreements.wait(other, "revoked")
    assert code_of(lambda: ask("bob/loans", other)).code == "E_REVOKED"
    report = net.alice.analyst.quality.report
    assert code_of(lambda: report("bob/loans", other, category="stale", extent="few")).code == "E_REVOKED"
    assert code_of(lambda: net.alice.auditor.quality.figures("bob/loans", shared)).code == "E_ROLE"


def test_findings_are_taken_signed_and_recorded_once(net, shared):
    report = net.alice.analyst.quality.report
    sent = report("bob/loans", shared, category="stale", extent="some", column="id")
    assert (sent["direction"], sent["partner"]) == ("sent", "bob")
    report("bob/loans", shared, category="stale", extent="some", column="id")
    (taken,) = net.bob.steward.quality.findings()
    facts = ("category", "column", "extent", "table", "partner", "direction")
    assert [taken[k] for k in facts] == ["stale", "id", "some", "loans", "alice", "received"]
    dsse.verify("finding/v1", taken["envelope"], [net.alice.identity])
    for node in (net.alice, net.bob):
        (found,) = node.steward.quality.findings()
        assert entries(node, shared, "finding") == [
            {
                "asset": "loans",
                "provider": net.bob.identity,
                "by": net.alice.identity,
                "commitment": found["commitment"],
            }
        ]
        payload = dsse.payload_bytes(found["envelope"])
        assert check_commitment(payload, bytes.fromhex(found["opening"]), found["commitment"])
    report("bob/loans", shared, category="duplicate", extent="few")
    assert len(net.bob.steward.quality.findings()) == 2


@pytest.mark.parametrize(("changed", "code", "column"), [
    ({"category": "rude"}, "E_FORMAT", None), ({"extent": "all"}, "E_FORMAT", None),
    ({"category": "missing"}, "E_POLICY", None), ({"column": "day"}, "E_COLUMN", "day"),
    ({"column": "nobody"}, "E_COLUMN", "nobody"), ({"column": ""}, "E_FORMAT", None),
    ({"column": "id\n"}, "E_FORMAT", None),
])  # fmt: skip
def test_other_words_are_refused(net, shared, changed, code, column):
    """`day` is a column of the table, but none that the agreement names."""
    before = len(net.bob.steward.quality.findings())
    how = {"category": "stale", "extent": "few"} | changed
    error = code_of(lambda: net.alice.analyst.quality.report("bob/loans", shared, **how))
    assert (error.code, error.column) == (code, column)
    assert len(net.bob.steward.quality.findings()) == before


def test_a_table_that_was_never_measured(net):
    """As one that is live and has no rules."""
    name = "unmeasured"
    file = net.bob.folder.parent / f"{name}.csv"
    file.write_text("id\na\n")
    net.bob.steward.data.add(name, file, declaration={"columns": {"id": {"type": "string"}}}, mode="live")
    terms = {"columns": {"id": "join_key"}, "quality": ["rows"]}
    agreement = net.agreement({"bob": {name: terms}}, parties=["alice"])
    assert code_of(lambda: net.alice.analyst.quality.figures(f"bob/{name}", agreement)).code == "E_STATE"
