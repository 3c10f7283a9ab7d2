"""Versions side by side: switched while calls run, none is lost and none is answered by two."""

from __future__ import annotations

import sqlite3
import threading
import time
from typing import Any

import pytest

from atoll.errors import AtollError
from atoll.testing import until

from .conftest import RULES, World, plain

# Version 2 pays ten fen more.
RULES_2 = RULES.replace('"pay": pay, "reasons": []', '"pay": min(pay + 10, 1000000), "reasons": []')
WIDE = {"subject_millibits": 10**9}


def raised(answer: dict[str, Any] | None) -> dict[str, Any] | None:
    return answer if answer is None or not answer["pay"] else {**answer, "pay": answer["pay"] + 10}


def test_a_changed_rule_needs_a_new_consent_and_shows_what_changed(world: World) -> None:
    name = world.fresh()
    world.deploy(name, "1.0.0")
    reference = world.publish(name, "1.1.0", rules=RULES_2)
    assert world.caller.call(name, "C-20")["version"] == "1.0.0"
    with pytest.raises(AtollError) as caught:
        world.author.switch(reference)
    assert caught.value.code == "E_STATE"
    page = world.host.review(reference)
    assert page["approved_before"] == "1.0.0"
    changed = {c["path"]: c for c in page["changes"]}
    assert changed["manifest.version"]["en"] == 'manifest.version: "1.0.0" becomes "1.1.0"'
    lines = changed["rules.py"]["lines"]
    assert any(line.startswith("-") and '"pay": pay,' in line for line in lines)
    assert any(line.startswith("+") and "pay + 10" in line for line in lines)
    world.host.deploy(reference)
    world.known(reference, "deployed")
    assert world.caller.call(name, "C-21")["version"] == "1.0.0", "nothing changes before the switch"
    world.author.switch(reference)
    found = world.caller.call(name, "C-22")
    assert (found["version"], found["answer"]) == ("1.1.0", raised(plain(22)))


def test_a_version_is_signed_once(world: World) -> None:
    name = world.fresh()
    world.author.pack(world.write(name))
    other = world.write(f"{name}x", rules=RULES_2, change=lambda t: t.replace(f"{name}x", name))
    with pytest.raises(AtollError) as caught:
        world.author.pack(other)
    assert caught.value.code == "E_CONFLICT"
    assert len([p for p in world.author.packages() if p["name"] == name]) == 1


def test_switched_while_calls_run_none_is_lost_or_mixed(world: World) -> None:
    name = world.fresh()
    world.deploy(name, "1.0.0", bounds=WIDE)
    world.deploy(name, "2.0.0", bounds=WIDE, rules=RULES_2)
    assert world.caller.call(name, "C-9")["version"] == "1.0.0"
    answers: list[dict[str, Any]] = []
    errors: list[AtollError] = []
    stop = threading.Event()

    def calls(worker: int) -> None:
        with world.net.insurer.client("application", f"worker {worker}") as client:
            number = 0
            while not stop.is_set():
                number += 1
                claim = 10 + number % 40
                try:
                    found = client.scripts.call(name, f"C-{claim}", key=f"{worker}-{number}")
                    answers.append({**found, "claim": claim})
                except AtollError as error:
                    errors.append(error)

    threads = [threading.Thread(target=calls, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    try:
        for version in ("2.0.0", "1.0.0", "2.0.0"):
            count = len(answers)
            until("calls go on", lambda c=count: len(answers) > c + 8, 60)  # type: ignore[misc]
            world.author.switch(f"{name}@{version}")
        time.sleep(0.5)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not errors
    assert {a["version"] for a in answers} == {"1.0.0", "2.0.0"}
    for found in answers:
        expected = plain(found["claim"])
        assert found["answer"] == (expected if found["version"] == "1.0.0" else raised(expected))
    # A key that one version answered is never answered by another one.
    last = answers[0]
    again = world.caller.call(name, f"C-{last['claim']}", key=last["key"])
    assert (again["version"], again["answer"]) == (last["version"], last["answer"])
    decisions = world.host.decisions(name=name, limit=1000)
    assert len({d["key"] for d in decisions}) == len(decisions) >= len(answers)


def test_new_bounds_while_calls_run_lose_no_call(world: World) -> None:
    name = world.fresh()
    world.deploy(name, bounds=WIDE)
    assert world.caller.call(name, "C-9")["answer"] == plain(9)
    answers: list[dict[str, Any]] = []
    errors: list[AtollError] = []
    stop = threading.Event()

    def calls() -> None:
        number = 0
        with world.net.insurer.client("application", "bounds") as client:
            while not stop.is_set():
                number += 1
                try:
                    answers.append(client.scripts.call(name, "C-33", key=f"b-{number}"))
                except AtollError as error:
                    errors.append(error)

    thread = threading.Thread(target=calls)
    thread.start()
    try:
        until("calls go on", lambda: len(answers) > 3, 60)
        world.host.deploy(name, bounds={**WIDE, "steps": {"pay": 100}})
        until("the new bounds hold", lambda: any(a["answer"]["pay"] == 900 for a in answers), 60)
    finally:
        stop.set()
        thread.join()
    assert not errors
    paid = [a["answer"]["pay"] for a in answers]
    assert set(paid) == {990, 900}
    assert paid == sorted(paid, reverse=True), "once the new bounds hold, the old ones are over"


def test_a_key_stays_with_the_version_that_answered_it(world: World) -> None:
    """Even where the asker lost its own record, as after a restored backup."""
    name = world.fresh()
    world.deploy(name, "1.0.0", bounds=WIDE)
    world.deploy(name, "2.0.0", bounds=WIDE, rules=RULES_2)
    first = world.caller.call(name, "C-25", key="kept")
    assert (first["version"], first["answer"]) == ("1.0.0", plain(25))
    world.author.switch(f"{name}@2.0.0")
    with sqlite3.connect(world.net.insurer.folder / "state.sqlite", timeout=30) as store:
        assert store.execute("delete from script_calls where key = 'kept'").rowcount == 1
    again = world.caller.call(name, "C-25", key="kept")
    assert (again["version"], again["answer"], again["as_of"]) == ("1.0.0", plain(25), first["as_of"])
    assert world.caller.call(name, "C-25", key="new")["answer"] == raised(plain(25))
    assert len(world.host.decisions(name=name)) == 2
