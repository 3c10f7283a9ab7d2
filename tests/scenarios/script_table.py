"""Scenarios of visiting scripts: Alice writes rules, Bob has the data and decides what may run and leave."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from atoll_scenario_script_actions import Actions, actions
from atoll_scenario_world import Json, Play, numbers, scenario

from atoll import AtollError
from atoll.client.template import new_folder
from atoll.testing import until

_SUBJECTS = 9


def _tables(p: Play) -> None:
    """Bob's claims and bills, once for all scenarios; every third claim is a dental one."""
    if any(table["name"] == "claims" for table in p.bob.steward.data.list()):
        return
    ids = [f"C-{i}" for i in range(_SUBJECTS)]
    claims = {"claim_id": ids, "diagnosis": [["flu", "burn", "dental"][i % 3] for i in range(_SUBJECTS)]}
    p.bob.steward.data.add("claims", pa.table(claims | {"person": [f"person {i}" for i in ids]}))
    lines = [(c, item) for c in ids for item in ("ward", "drug-a", "unlisted")]
    bills = {
        "claim_id": [c for c, _ in lines],
        "item": [item for _, item in lines],
        "quantity": pa.array([2] * len(lines), pa.int64()),
        "price": pa.array([Decimal("100.00")] * len(lines), pa.decimal128(12, 2)),
    }
    p.bob.steward.data.add("bills", pa.table(bills))


def _agreement(p: Play) -> str:
    """One agreement for all scenarios: Bob grants Alice what the packages read, `person` not among it."""
    _tables(p)
    for found in p.alice.steward.agreements.list():
        if found["title"] == "Visiting scripts" and found["state"] == "active":
            return str(found["id"])
    key = ["lookup_key", "script_input"]
    bills = {"claim_id": key, "item": "script_input", "quantity": "script_input", "price": "script_input"}
    return p.world.net.agreement(
        {"bob": {"claims": {"claim_id": key, "diagnosis": "script_input"}, "bills": bills}},
        parties=["alice"], title="Visiting scripts", purposes=["claim settlement"], functions=["script"],
        disclose=["outcome"],
    )  # fmt: skip


def _write(p: Play, name: str | None = None, version: str = "1.0.0", **edits: tuple[str, str]) -> Path:
    """A package's folder: the template under a name of its own. `edits`: in a file (its stem), old and new text."""
    name = name or f"rules{next(numbers)}"
    folder = p.world.folder / f"{name}-{next(numbers)}"
    new_folder(folder)
    manifest = folder / "package.toml"
    text = manifest.read_text()
    text = text.replace(f'name = "{folder.name}"', f'name = "{name}"').replace('"1.0.0"', f'"{version}"')
    manifest.write_text(text)
    for stem, (old, new) in edits.items():
        (file,) = folder.glob(f"{stem}.*")
        assert old in file.read_text()
        file.write_text(file.read_text().replace(old, new, 1))
    return folder


def _published(p: Play, folder: Path | None = None, partner: str = "bob") -> Json:
    do = actions(p.do)
    agreement = _agreement(p)
    packed = do.pack(p.alice, folder or _write(p))
    do.publish(p.alice, packed["digest"], partner, agreement)
    until("bob has the package", lambda: any(r["digest"] == packed["digest"] for r in do.packages(p.bob)))
    return packed


def _state(do: Actions, p: Play, digest: str) -> Json:
    return next(row for row in do.packages(p.alice, "application") if row["digest"] == digest)


def _deployed(p: Play, folder: Path | None = None, **bounds: Any) -> Json:
    do = actions(p.do)
    packed = _published(p, folder)
    do.deploy(p.bob, packed["digest"], bounds)
    until("alice knows", lambda: _state(do, p, packed["digest"])["state"] == "deployed")
    return packed


def _standing(p: Play) -> Json:
    """One that is deployed, for scenarios that leave it as it is."""
    if not hasattr(p.world, "standing"):
        p.world.standing = _deployed(p)
    return dict(p.world.standing)


@scenario("a package is written, signed, published, reviewed, tried, deployed, called and explained")
def _(p: Play) -> None:
    do = actions(p.do)
    packed = _published(p)
    name, digest = packed["name"], packed["digest"]
    page = do.review(p.bob, digest)
    assert (page["refused_because"], page["findings"], page["approved_before"]) == (None, [], None)
    depends = {output["name"]: output["depends"] for output in page["outputs"]}
    assert ["bills", "price"] in depends["pay"]
    assert ["arguments", "deductible"] in depends["pay"]
    assert any("bills.price" in line and "argument deductible" in line for line in page["lines"]["en"])
    assert any("bills.price" in line and "参数 deductible" in line for line in page["lines"]["zh"])
    found = do.trial(p.bob, digest, 3)
    assert [row["subject"] for row in found["results"]] == ["C-0", "C-1", "C-2"]
    assert found["results"][2]["answer"] == {"decision": "refuse", "pay": 0, "reasons": ["excluded"]}
    # Nothing can be called before the owner's consent.
    assert _state(do, p, digest)["state"] == "published"
    assert do.deploy(p.bob, digest)["state"] == "deployed"
    until("alice knows", lambda: _state(do, p, digest)["active"])
    # Ward: 2 * 100.00 * 90 %, drug-a: capped at 50.00: 2 * 50.00 * 70 %; in fen.
    first = do.call(p.alice, name, "C-0", key="first", deductible=1000)
    assert (first["state"], first["version"]) == ("decided", "1.0.0")
    assert first["answer"] == {"decision": "approve", "pay": 24000, "reasons": []}
    again = do.call(p.alice, name, "C-0", key="first", role="analyst", deductible=1000)
    assert again["answer"] == first["answer"]
    # The second one of these is the first call again.
    calls = [
        {"subject": "C-2", "key": "b-0", "arguments": {}},
        {"subject": "C-0", "key": "first", "arguments": {"deductible": 1000}},
        {"subject": "nobody", "key": "b-2", "arguments": {}},
        {"subject": "C-1", "key": "b-3", "arguments": {"deductible": 9000000}},
    ]
    answers = do.batch(p.alice, name, calls)
    assert [a["key"] for a in answers] == ["b-0", "first", "b-2", "b-3"]
    assert [a["answer"]["reasons"] for a in answers] == [["excluded"], [], ["no_claim"], ["deductible"]]
    assert {c["key"] for c in do.calls(p.alice, name)} == {"first", "b-0", "b-2", "b-3"}
    assert len(do.decisions(p.bob, name)) == 4
    asked = do.explained(p.alice, name, "b-3")
    assert asked["host"] == "bob"
    decided = do.decision(p.bob, name, "b-3")
    assert decided["subject"] == "C-1"
    for shown in (asked, decided):
        words = shown["explanation"]
        assert "  The covered amount does not exceed the deductible." in words["en"]
        assert "  可赔金额未超过免赔额。" in words["zh"]
        # What the person is told is the decision, not the data.
        assert "C-1" not in " ".join(words["en"])


@scenario("an answer above an amount waits for a steward, who lets it leave or not", heavy=True)
def _(p: Play) -> None:
    do = actions(p.do)
    name = _deployed(p, hold_above={"pay": 10000})["name"]
    for key, release in (("yes", True), ("no", False)):
        found = do.call(p.alice, name, "C-0", key=key)
        assert (found["state"], found["answer"]) == ("held", None)
        assert "no answer yet" in do.explained(p.alice, name, key)["explanation"]["en"][1]
        waits = do.decisions(p.bob, name, held=True)
        assert [(w["key"], w["answer"]["pay"]) for w in waits] == [(key, 25000)]
        do.settle(p.bob, name, key, release)
        settled = do.call(p.alice, name, "C-0", key=key)
        assert settled["state"] == "decided"
        assert (settled["answer"] or {}).get("pay") == (25000 if release else None)
    assert do.decisions(p.bob, name, held=True) == []
    denied = do.decision(p.bob, name, "no")
    assert (denied["state"], denied["person"]) == ("denied", p.bob.person("steward"))
    assert "not a refusal" in denied["explanation"]["en"][1]


@scenario("coarser outputs and no reasons leave where the owner says so", heavy=True)
def _(p: Play) -> None:
    do = actions(p.do)
    name = _deployed(p, steps={"pay": 10000}, reasons=False)["name"]
    assert do.call(p.alice, name, "C-0")["answer"] == {"decision": "approve", "pay": 20000, "reasons": []}
    assert do.call(p.alice, name, "C-2")["answer"] == {"decision": "refuse", "pay": 0, "reasons": []}


@scenario("a changed version needs a new consent, shows what changed, and is switched to", heavy=True)
def _(p: Play) -> None:
    do = actions(p.do)
    old = _deployed(p)
    name = old["name"]
    assert do.call(p.alice, name, "C-0", key="old")["version"] == "1.0.0"
    changed = _write(p, name, "1.1.0", rules=('("cosmetic", "dental")', '("cosmetic", "flu")'))
    new = _published(p, changed)
    page = do.review(p.bob, new["digest"])
    assert page["approved_before"] == "1.0.0"
    lines = [line for change in page["changes"] for line in change["lines"]]
    assert '-EXCLUDED = ("cosmetic", "dental")' in lines
    assert '+EXCLUDED = ("cosmetic", "flu")' in lines
    assert any("1.1.0" in line for line in page["lines"]["zh"])
    # Without consent it is not called, and cannot be switched to.
    assert do.call(p.alice, name, "C-3", key="between")["version"] == "1.0.0"
    with pytest.raises(AtollError, match="not deployed"):
        do.switch(p.alice, f"{name}@1.1.0")
    do.deploy(p.bob, new["digest"])
    until("alice knows", lambda: _state(do, p, new["digest"])["state"] == "deployed")
    assert do.switch(p.alice, f"{name}@1.1.0")["active"] is True
    after = do.call(p.alice, name, "C-0", key="new")
    assert (after["version"], after["answer"]["reasons"]) == ("1.1.0", ["excluded"])
    # What was answered stays answered.
    before = do.call(p.alice, name, "C-0", key="old")
    assert (before["version"], before["answer"]["decision"]) == ("1.0.0", "approve")


@scenario("what the owner's system announces is called about, once for each occasion", heavy=True)
def _(p: Play) -> None:
    do = actions(p.do)
    name = _deployed(p)["name"]
    assert do.watch(p.bob, name)["every_seconds"] is None
    assert name in {row["name"] for row in do.watches(p.bob)}
    assert do.announce(p.bob, name, "C-0", "C-2") == {"announced": 2, "known": 0}
    assert do.announce(p.bob, name, "C-0") == {"announced": 0, "known": 1}
    assert do.announce(p.bob, name, "C-0", event="corrected") == {"announced": 1, "known": 0}
    until("alice has called", lambda: [e["state"] for e in do.events(p.alice, name)] == ["done"] * 3, 60)
    found = sorted((c["subject"], c["answer"]["decision"]) for c in do.calls(p.alice, name))
    assert found == [("C-0", "approve"), ("C-0", "approve"), ("C-2", "refuse")]
    do.unwatch(p.bob, name)
    assert name not in {row["name"] for row in do.watches(p.bob)}


@scenario("an analyst watches nothing", error="E_ROLE")
def _(p: Play) -> None:
    actions(p.do).watch(p.bob, "nothing", role="analyst")


@scenario("a package that is not deployed here is not watched", error="E_NOT_FOUND")
def _(p: Play) -> None:
    actions(p.do).watch(p.bob, "nothing")


@scenario("about one subject no more leaves than was consented to", error="E_BUDGET", heavy=True)
def _(p: Play) -> None:
    do = actions(p.do)
    name = _deployed(p, subject_millibits=25000)["name"]
    do.call(p.alice, name, "C-0")
    do.call(p.alice, name, "C-1")
    do.call(p.alice, name, "C-0")


@scenario("no more calls a day than were consented to", error="E_QUOTA", heavy=True)
def _(p: Play) -> None:
    do = actions(p.do)
    name = _deployed(p, calls_per_day=2)["name"]
    calls = [{"subject": f"C-{i}", "key": f"k-{i}", "arguments": {}} for i in range(3)]
    answers = do.batch(p.alice, name, calls)
    assert [(a["error"] or {}).get("code") for a in answers] == [None, None, "E_QUOTA"]
    do.call(p.alice, name, "C-4")


@scenario("a key stands for one call", error="E_CONFLICT", text="another call", heavy=True)
def _(p: Play) -> None:
    do = actions(p.do)
    name = _deployed(p)["name"]
    do.call(p.alice, name, "C-0", key="k")
    do.call(p.alice, name, "C-1", key="k")


@scenario("a consent ends when it says", error="E_EXPIRED", heavy=True)
def _(p: Play) -> None:
    do = actions(p.do)
    do.call(p.alice, _deployed(p, not_after="2026-01-01T00:00:00Z")["name"], "C-0")


@scenario("a package that reads a column which nobody granted", error="E_SCRIPT", text="column person")
def _(p: Play) -> None:
    columns = ('{ diagnosis = "string" }', '{ diagnosis = "string", person = "string" }')
    actions(p.do).deploy(p.bob, _published(p, _write(p, package=columns))["digest"])


@scenario("a package that reads a column which is not there", error="E_SCRIPT", text="no such column")
def _(p: Play) -> None:
    do = actions(p.do)
    columns = ('{ diagnosis = "string" }', '{ diagnosis = "string", salary = "int64" }')
    digest = _published(p, _write(p, package=columns))["digest"]
    page = do.review(p.bob, digest)
    assert "column salary" in page["refused_because"]
    assert any("表中没有此列" in line for line in page["lines"]["zh"])
    do.deploy(p.bob, digest)


@scenario("rules that import are not signed", error="E_SCRIPT", text="rules.py:1:")
def _(p: Play) -> None:
    actions(p.do).pack(p.alice, _write(p, rules=("# Typed Python", "import os\n# Typed Python")))


@scenario("features that read a file are not signed", error="E_SCRIPT", text="features.sql")
def _(p: Play) -> None:
    actions(p.do).pack(p.alice, _write(p, features=("FROM bills", "FROM read_csv('/etc/passwd')")))


@scenario("a version is signed once", error="E_CONFLICT", text="another content")
def _(p: Play) -> None:
    do = actions(p.do)
    first = do.pack(p.alice, _write(p))
    same = do.pack(p.alice, _write(p, first["name"]))
    assert same["digest"] == first["digest"]
    do.pack(p.alice, _write(p, first["name"], rules=('"dental"', '"burn"')))


@scenario("an argument outside its range", error="E_FORMAT", text="deductible")
def _(p: Play) -> None:
    actions(p.do).call(p.alice, _standing(p)["name"], "C-0", deductible=-1)


@scenario("an argument that the package does not have", error="E_FORMAT", text="age")
def _(p: Play) -> None:
    actions(p.do).call(p.alice, _standing(p)["name"], "C-0", age=1)


@scenario("a package that was withdrawn answers nothing", error="E_NOT_FOUND", text="deployed")
def _(p: Play) -> None:
    do = actions(p.do)
    packed = _deployed(p)
    found = do.withdraw(p.bob, packed["digest"], "the contract ended")
    assert (found["state"], found["word"]["reason"]) == ("withdrawn", "the contract ended")
    until("alice knows", lambda: _state(do, p, packed["digest"])["state"] == "withdrawn")
    do.call(p.alice, packed["name"], "C-0")


@scenario("the author reads why a package was refused")
def _(p: Play) -> None:
    do = actions(p.do)
    packed = _published(p)
    assert do.refuse(p.bob, packed["digest"], "too many bits")["state"] == "refused"
    until("alice knows", lambda: _state(do, p, packed["digest"])["state"] == "refused")
    assert _state(do, p, packed["digest"])["word"]["reason"] == "too many bits"


@scenario("a package that runs is withdrawn, not refused", error="E_STATE", text="withdraw")
def _(p: Play) -> None:
    actions(p.do).refuse(p.bob, _standing(p)["digest"], "no")


@scenario("a package that does not run is not withdrawn", error="E_STATE")
def _(p: Play) -> None:
    actions(p.do).withdraw(p.bob, _published(p)["digest"])


@scenario("bounds that do not cover one call", error="E_SCRIPT", text="subject_millibits")
def _(p: Play) -> None:
    actions(p.do).deploy(p.bob, _published(p)["digest"], {"subject_millibits": 1000})


@scenario("bounds of an output that is not there", error="E_SCRIPT", text="steps.amount")
def _(p: Play) -> None:
    actions(p.do).deploy(p.bob, _published(p)["digest"], {"steps": {"amount": 100}})


@scenario("a step that is no multiple of the declared one", error="E_SCRIPT", text="150")
def _(p: Play) -> None:
    actions(p.do).review(p.bob, _published(p)["digest"], {"steps": {"pay": 150}})


@scenario("a package under an agreement of others", error="E_AGREEMENT")
def _(p: Play) -> None:
    packed = actions(p.do).pack(p.alice, _write(p))
    actions(p.do).publish(p.alice, packed["digest"], "carol", _agreement(p))


@scenario("a package that is not there", error="E_NOT_FOUND")
def _(p: Play) -> None:
    actions(p.do).review(p.bob, "nothing@1.0.0")


@scenario("a call of what is deployed nowhere", error="E_NOT_FOUND", text="deployed")
def _(p: Play) -> None:
    actions(p.do).call(p.alice, "nothing", "C-0")


@scenario("a call that was not made", error="E_NOT_FOUND")
def _(p: Play) -> None:
    actions(p.do).explained(p.alice, "nothing", "k")


@scenario("a held answer that is not there", error="E_NOT_FOUND")
def _(p: Play) -> None:
    actions(p.do).settle(p.bob, "nothing", "k", True)


@scenario("an analyst publishes no package", error="E_ROLE")
def _(p: Play) -> None:
    packed = actions(p.do).pack(p.alice, _write(p))
    actions(p.do).publish(p.alice, packed["digest"], "bob", _agreement(p), role="analyst")


@scenario("an analyst does not consent", error="E_ROLE")
def _(p: Play) -> None:
    actions(p.do).deploy(p.bob, "nothing", role="analyst")


@scenario("an application reads no review", error="E_ROLE")
def _(p: Play) -> None:
    actions(p.do).review(p.bob, "nothing", role="application")


@scenario("an auditor lets no held answer leave", error="E_ROLE")
def _(p: Play) -> None:
    actions(p.do).settle(p.bob, "nothing", "k", True, role="auditor")


@scenario("an auditor calls nothing", error="E_ROLE")
def _(p: Play) -> None:
    actions(p.do).call(p.alice, "nothing", "C-0", role="auditor")


@scenario("an analyst of the owner does not read decisions", error="E_ROLE")
def _(p: Play) -> None:
    actions(p.do).decisions(p.bob, "nothing", role="analyst")
