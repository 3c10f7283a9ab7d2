"""What commands show to people, against two real nodes; the scenario table covers what they print for machines."""

from __future__ import annotations

import json

import pytest

from atoll.cli.app import main
from atoll.testing import fixture, until

net = fixture("alice", "bob")


@pytest.fixture(scope="module")
def done(net):
    """A completed join; its agreement."""
    net.alice.steward.data.add(
        "loans", {"id": [f"{i}" for i in range(20)], "debt": list(range(20))}, keys=["id"]
    )
    net.bob.steward.data.add("taxes", {"id": [f"{i}" for i in range(10, 40)]})
    agreement = net.agreement(
        {"alice": {"loans": "*"}, "bob": {"taxes": {"id": "join_key"}, "echo": "service"}}
    )
    job = net.alice.analyst.join(agreement, "loans", "taxes", on="id", purpose="test").wait(timeout=60)
    until("all have signed", lambda: not job.receipt()["missing"])
    return agreement, job.id


@pytest.fixture
def shown(net, capsys, monkeypatch):
    for name in ("ATOLL_DIR", "ATOLL_URL", "ATOLL_TOKEN"):
        monkeypatch.delenv(name, raising=False)

    def run(*words: str, node: str = "alice", expect: int = 0) -> str:
        capsys.readouterr()
        code = main([*words, "-d", str(net[node].folder)])
        found = capsys.readouterr()
        assert code == expect, found.err
        return found.err if expect else found.out

    return run


def test_looking(shown, done) -> None:
    agreement, job = done
    assert "alice" in shown("status")
    assert "alice steward" in shown("person", "list")
    assert "bob" in shown("peer", "list")
    assert "loans" in shown("data", "list")
    assert "id: 0 keys occur more than once" in shown("data", "show", "loans")
    assert agreement in shown("agreement", "list")
    assert "join_key" in shown("agreement", "show", agreement)
    assert job in shown("job", "list")
    assert "taxes" in shown("job", "show", job)
    assert "completed" in shown("job", "events", job)
    assert "signed by all" in shown("job", "receipt", job)
    assert "matched_keys" in shown("job", "result", job)
    assert agreement in shown("ledger", "list")
    assert "receipt/v1" in shown("ledger", "show", agreement)
    assert "no schedules" in shown("schedule", "list")


def test_the_statement_is_in_the_language_that_is_asked_for(shown, done) -> None:
    _, job = done
    assert "learns" in shown("job", "show", job)
    assert "偏离协议" in shown("job", "show", job, "--lang", "zh")


def test_asking(shown, done, tmp_path) -> None:
    agreement, _ = done
    words = ("join", agreement, "loans", "taxes", "--on", "id", "--purpose", "test")
    estimate = shown(*words, "--estimate")
    assert "Who learns what" in estimate
    assert "Estimate" in estimate
    assert "bytes of memory" in estimate
    assert "Protocol: ecdh-psi/v1, semi-honest." in estimate
    asked = shown(*words, "--estimate", "--security", "malicious")
    assert "Protocol: vole-psi/v1, malicious, fast. It was asked for." in asked
    rows = ("--left-rows", "1000000", "--right-rows", "1000000")
    assert "vole-psi/v1, malicious, fast. The default" in shown(*words, *rows, "--estimate")
    assert "默认方案" in shown(*words, *rows, "--estimate", "--lang", "zh")
    assert shown(*words, "--variant", "low-communication", "--security", "malicious", expect=1).startswith(
        "E_FORMAT"
    )
    assert "Decision: approve" in shown(*words, "--explain")
    assert shown(*words, expect=1).startswith("E_APPROVAL")
    assert shown(*words, "--yes", "--out", "x.xlsx", expect=1).startswith("E_FORMAT")
    out = tmp_path / "matched.csv"
    assert "completed" in shown(*words, "--yes", "--out", str(out))
    assert len(out.read_text().splitlines()) == 11


def test_a_refusal_for_people_names_column_and_grant(shown, net) -> None:
    agreement = net.agreement({"alice": {"loans": {"debt": "aggregate"}}, "bob": {"taxes": "*"}})
    words = ("join", agreement, "loans", "taxes", "--on", "id", "--purpose", "test", "--yes", "--no-wait")
    text = shown(*words, expect=1)
    assert text.startswith("E_POLICY")
    assert "column id" in text
    assert "join_key" in text


def test_a_schedule_and_a_service(shown, done, tmp_path) -> None:
    agreement, _ = done
    request = tmp_path / "request.json"
    sides = {name: {"asset": name, "keys": ["id"]} for name in ("loans", "taxes")}
    body = {"function": "join", "agreement": agreement, "purpose": "test", "reveal": "size", "shape": "scheduled",
            "left": sides["loans"], "right": sides["taxes"]}  # fmt: skip
    request.write_text(json.dumps(body))
    added = shown("schedule", "add", str(request), "--every", "86400")
    identifier = next(line.split()[1] for line in added.splitlines() if line.startswith("id "))
    assert identifier in shown("schedule", "list")
    assert "is ended" in shown("schedule", "end", identifier)
    started = shown("echo", "start", agreement, "echo", "--purpose", "test", "--yes")
    job = next(word.rstrip(":") for word in started.split() if word.startswith("job-"))
    assert shown("echo", "call", job, "hello").strip() == "hello"
    assert "completed" in shown("echo", "stop", job)


def test_people_and_tokens(shown, net) -> None:
    assert "Zhao Min.auditor" in shown("person", "add", "Zhao Min", "--role", "auditor").replace(
        "Zhao_Min", "Zhao Min"
    )
    assert "Zhao Min" in shown("status", "--as", "Zhao Min:auditor")
    token = shown("token", "issue", "Zhao Min", "operator", "--label", "pager", "--print").strip()
    assert token.startswith("atoll_")
    assert "is ended" in shown("token", "revoke", token.split("_")[1])
    shown("person", "disable", "Zhao Min")
    assert shown("status", "--as", "Zhao Min:auditor", expect=1).startswith("E_AUTH")
