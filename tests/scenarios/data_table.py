"""Scenarios of data authenticity and quality."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from atoll_scenario_data_actions import actions
from atoll_scenario_world import Play, ids, numbers, scenario

from atoll import AtollError
from atoll.client import verify_row_proof

STOP = {"rules": [{"kind": "nulls", "column": "n", "at_most": "10", "stop": True}]}


def _table(p: Play, rows: dict[str, list[str]] | None = None, **how: Any) -> str:
    name = f"q{next(numbers)}"
    file = p.world.write(rows or {"id": ids(0, 20), "n": [str(i) for i in range(20)]}, f"bob-{name}")
    actions(p.do).add(p.bob, name, file, "id", **how)
    return name


def _proof(p: Play) -> Path:
    return p.world.folder / f"proof{next(numbers)}.json"


@scenario("a row of a version is proved, and one that is not there")
def _(p: Play) -> None:
    name, to = _table(p), _proof(p)
    version = p.bob.steward.data.show(name)["version"]
    actions(p.do).prove(p.bob, name, "s7", to)
    assert verify_row_proof(to, version).rows == ({"id": "s7", "n": "7"},)
    actions(p.do).prove(p.bob, name, "s77", to, 1)
    assert verify_row_proof(to, version).outcome == "absent"


@scenario("a proof with another value does not hold", error="E_PROOF")
def _(p: Play) -> None:
    name, to = _table(p), _proof(p)
    actions(p.do).prove(p.bob, name, "s7", to)
    to.write_bytes(to.read_bytes().replace(b'"row":["s7","7"]', b'"row":["s7","8"]'))
    verify_row_proof(to, p.bob.steward.data.show(name)["version"])


@scenario("a table without key proves nothing", error="E_STATE")
def _(p: Play) -> None:
    actions(p.do).prove(p.bob, "taxes", "s70", _proof(p))


@scenario("an id of another type", error="E_TYPE", column="n")
def _(p: Play) -> None:
    name = f"q{next(numbers)}"
    file = p.world.write({"n": ["1", "2"]}, f"bob-{name}")
    actions(p.do).add(p.bob, name, file, "n")
    actions(p.do).prove(p.bob, name, "one", _proof(p))


@scenario("a version that never was", error="E_NOT_FOUND")
def _(p: Play) -> None:
    actions(p.do).prove(p.bob, _table(p), "s7", _proof(p), 9)


def _old_version_stays(p: Play, error: AtollError) -> None:
    name = p.kept["table"]
    assert [v["number"] for v in p.bob.steward.data.show(name)["versions"]] == [1]
    (alert,) = actions(p.do).alerts(p.bob, name)
    assert (alert["rule"], alert["stop"]) == ("nulls:n", True)
    assert actions(p.do).acknowledge(p.bob, alert["id"])["by"] is not None
    assert actions(p.do).alerts(p.bob, name) == []


@scenario("a refresh that breaks a rule with stop", error="E_QUALITY", column="n", then=_old_version_stays)
def _(p: Play) -> None:
    name = p.kept["table"] = _table(p)
    found = actions(p.do).set_rules(p.bob, name, STOP)
    assert [o["state"] for o in found["result"]["outcomes"]] == ["holds"]
    p.world.write({"id": ids(0, 20), "n": [""] * 5 + ["1"] * 15}, f"bob-{name}")
    p.do.refresh(p.bob, name)


@scenario("a new table that breaks its rules is not added", error="E_QUALITY", column="n")
def _(p: Play) -> None:
    _table(p, {"id": ids(0, 9), "n": ["", "", *["1"] * 7]}, rules=STOP)


@scenario("rules are shown and cleared", error="E_NOT_FOUND")
def _(p: Play) -> None:
    name = _table(p, rules=STOP)
    assert actions(p.do).rules(p.bob, name)["rules"]["rules"][0]["at_most"] == "10"
    assert actions(p.do).clear_rules(p.bob, name)["rules"] is None
    actions(p.do).clear_rules(p.bob, name)


@scenario("rules about a column that is not there", error="E_COLUMN", column="nobody")
def _(p: Play) -> None:
    actions(p.do).set_rules(p.bob, _table(p), {"rules": [{"kind": "nulls", "column": "nobody"}]})


@scenario("an alert that never was", error="E_NOT_FOUND")
def _(p: Play) -> None:
    actions(p.do).acknowledge(p.bob, 10**9)


@scenario("quality figures that no agreement names", error="E_POLICY")
def _(p: Play) -> None:
    actions(p.do).figures(p.alice, "bob/taxes", p.both())


@scenario("a finding in a category that no agreement names", error="E_POLICY")
def _(p: Play) -> None:
    actions(p.do).report(p.alice, "bob/taxes", p.both(), "stale", "few")


@scenario("a finding in words of one's own", error="E_FORMAT")
def _(p: Play) -> None:
    actions(p.do).report(p.alice, "bob/taxes", p.both(), "rubbish", "few")
