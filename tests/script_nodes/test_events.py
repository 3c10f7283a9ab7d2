"""Events: a new claim, or the hospital's own system, causes one call whose outcome is recorded once."""

from __future__ import annotations

import pyarrow as pa
import pytest

from atoll.errors import AtollError
from atoll.testing import until

from .conftest import World, claims, lines, plain


def done(world: World, name: str, count: int) -> list[dict]:  # type: ignore[type-arg]
    def found() -> list[dict] | None:  # type: ignore[type-arg]
        calls = world.caller.calls(name=name, limit=1000)
        return calls if len(calls) >= count else None

    return until(f"{count} calls of {name}", found, 60)


def with_claims(extra: list[str]) -> tuple[pa.Table, pa.Table]:
    more = claims().slice(20, 1)
    rows = [more.set_column(0, "claim_id", pa.array([name])) for name in extra]
    costs = pa.table({"claim_id": extra, "cost": [250] * len(extra)}, lines().schema)
    return pa.concat_tables([claims(), *rows]), pa.concat_tables([lines(), costs])


def refresh(world: World, extra: list[str]) -> None:
    table, costs = with_claims(extra)
    world.net.hospital.steward.data.refresh("lines", costs)
    world.net.hospital.steward.data.refresh("claims", table)


def test_a_new_claim_in_the_table_causes_one_call(world: World) -> None:
    name = world.fresh()
    world.deploy(name)
    refresh(world, [])
    world.host.watch(name, 1)
    assert [w["name"] for w in world.host.watches() if w["name"] == name] == [name]
    refresh(world, ["N-1", "N-2"])
    found = done(world, name, 2)
    assert {c["subject"] for c in found} == {"N-1", "N-2"}
    assert {c["answer"]["pay"] for c in found} == {250}
    refresh(world, ["N-1", "N-2", "N-3"])
    found = done(world, name, 3)
    assert sorted(c["subject"] for c in found) == ["N-1", "N-2", "N-3"]
    assert {e["state"] for e in world.caller.events(name=name)} == {"done"}
    world.host.unwatch(name)
    refresh(world, ["N-1", "N-2", "N-3", "N-4"])
    assert len(world.caller.calls(name=name)) == 3


def test_the_owners_own_system_announces_and_nothing_is_called_twice(world: World) -> None:
    name = world.fresh()
    world.deploy(name)
    system = world.net.hospital.application.scripts
    assert system.announce(name, ["C-20", "C-21"]) == {"announced": 2, "known": 0}
    assert system.announce(name, ["C-21", "C-20"]) == {"announced": 0, "known": 2}
    found = done(world, name, 2)
    assert {c["subject"]: c["answer"] for c in found} == {"C-20": plain(20), "C-21": plain(21)}
    assert system.announce(name, ["C-20"], event="bill-2") == {"announced": 1, "known": 0}
    done(world, name, 3)
    assert len(world.host.decisions(name=name)) == 3


def test_events_wait_for_a_partner_that_is_away(world: World) -> None:
    name = world.fresh()
    world.deploy(name)
    world.net.insurer.stop()
    try:
        world.net.hospital.application.scripts.announce(name, [f"C-{n}" for n in range(30, 36)])
    finally:
        world.net.insurer.start()
    found = done(world, name, 6)
    assert {c["subject"]: c["answer"] for c in found} == {f"C-{n}": plain(n) for n in range(30, 36)}
    # The asker dies while it works on them: what was answered is not asked anew, what was not is.
    world.net.hospital.application.scripts.announce(name, [f"C-{n}" for n in range(36, 50)])
    world.net.insurer.restart(kill=True)
    found = done(world, name, 20)
    assert len(found) == len({c["subject"] for c in found}) == 20
    assert len(world.host.decisions(name=name, limit=1000)) == 20


@pytest.mark.parametrize(
    ("subjects", "event", "field"),
    [([], None, "subjects"), ([7], None, "subjects.0"), (["C-1"], "two words", "event"), ([""], None, "subjects.0")],
)  # fmt: skip
def test_what_cannot_be_announced_is_refused(
    world: World, subjects: list[object], event: str | None, field: str
) -> None:
    name = world.fresh()
    world.deploy(name)
    with pytest.raises(AtollError) as caught:
        world.host.announce(name, subjects, event=event)
    assert caught.value.code == "E_FORMAT"
    assert field in caught.value.text


def test_events_need_arguments_with_defaults_and_a_deployed_package(world: World) -> None:
    name = world.fresh()
    with pytest.raises(AtollError) as caught:
        world.host.watch(name, 60)
    assert caught.value.code == "E_NOT_FOUND"
    world.deploy(name, change=lambda text: text.replace("default = 10000\n", ""))
    with pytest.raises(AtollError) as caught:
        world.host.announce(name, ["C-3"])
    assert caught.value.code == "E_STATE"
    assert "share_bp" in caught.value.text
    with pytest.raises(AtollError) as caught:
        world.host.watch(name, 0)
    assert caught.value.code == "E_FORMAT"
