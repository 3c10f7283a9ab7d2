"""Scenarios of replays: here, at a host, and refused."""

from __future__ import annotations

from atoll_scenario_world import Json, Play, scenario


def _codes(found: Json) -> set[str]:
    return {f["code"] for f in found["report"]["findings"]}


@scenario("a job comes out again where its agreement asks for replays")
def _(p: Play) -> None:
    job = p.run(p.join(p.both(replay={"keep_days": 1})))
    p.do.receipt(p.alice, job)
    for node, role in ((p.alice, "auditor"), (p.bob, "steward")):
        found = p.do.replay(node, job, role, threads=2)
        assert (found["state"], found["ok"], found["report"]["ok"]) == ("done", True, True)
        assert {"seed", "input", "received", "sent", "build", "proved"} <= _codes(found)


@scenario("a job of which nothing was kept cannot be run again", error="E_STATE", text="nothing was kept")
def _(p: Play) -> None:
    p.do.replay(p.alice, p.run(p.join(p.both())))


@scenario("a job that is not there cannot be run again", error="E_NOT_FOUND")
def _(p: Play) -> None:
    p.do.replay(p.alice, "job-" + "0" * 32)


@scenario("an analyst has no job run again", error="E_ROLE")
def _(p: Play) -> None:
    p.do.replay(p.alice, "job-" + "0" * 32, "analyst")


def _hosted(p: Play, *hosts: str) -> str:
    keys = [p.world.net[name].identity for name in hosts]
    job = p.run(p.join(p.both(replay={"keep_days": 1, "hosts": keys})))
    p.do.receipt(p.alice, job)
    return job


@scenario("an agreed host runs the job again and signs")
def _(p: Play) -> None:
    found = p.do.replay(p.alice, _hosted(p, "carol"), "steward", at="carol")
    assert (found["ok"], found["host"]) == (True, p.carol.identity)
    assert found["report"]["host"] == p.carol.identity
    assert "proved" in _codes(found)


@scenario("a host that was not agreed on is sent nothing", error="E_AGREEMENT", text="bob")
def _(p: Play) -> None:
    p.do.replay(p.alice, _hosted(p, "carol"), "steward", at="bob")


@scenario("an auditor sends nothing to a host", error="E_ROLE")
def _(p: Play) -> None:
    p.do.replay(p.alice, _hosted(p, "carol"), "auditor", at="carol")
