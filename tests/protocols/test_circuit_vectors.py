"""Circuit-PSI against its vectors, and the vectors against the slow reference that makes them."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

import pytest

from atoll.crypto.circuit import CircuitPsi, HiddenSide
from atoll.errors import AtollError

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "vectors" / "circuit_psi.json"
VECTORS = json.loads(FILE.read_text(encoding="utf-8"))
CHANGED = VECTORS["cases"][VECTORS["changed_case"]]
ROLES = ("placer", "mapper")
Sent = list[tuple[int, str, bytes]]
unhex = bytes.fromhex


def machines(case: dict[str, Any]) -> list[CircuitPsi]:
    items, words = ([len(p["digests"]), p["words"]] for p in case["parties"]), []
    counts, words = zip(*items, strict=True)
    return [
        CircuitPsi(
            unhex(p["seed"]),
            case["attempt"],
            case["channel"],
            HiddenSide(
                p["role"],
                unhex("".join(p["digests"])),
                b"".join(struct.pack("<Q", int(word)) for row in p["payload"] for word in row),
                *counts,
                case["multiplicity"],
                *words,
                unhex(case["context"]),
            ),
        )
        for p in case["parties"]
    ]


def spliced(change: dict[str, Any], message: bytes) -> bytes:
    return message[: change["start"]] + unhex(change["put"]) + message[change["end"] :]


def run(pair: list[CircuitPsi], change: dict[str, Any] | None = None) -> Sent:
    """Runs both to their end; one message comes as it is changed."""
    sent: Sent = []
    while not all(machine.done for machine in pair):
        before = len(sent)
        for i, machine in enumerate(pair):
            while out := machine.next_message():
                message, step, opens = out
                assert not opens
                altered = change is not None and change["message"] == len(sent)
                sent.append((i, step, message))
                pair[1 - i].receive(spliced(change, message) if altered else message)
        assert len(sent) > before
    return sent


def shown(sent: Sent) -> list[dict[str, Any]]:
    """Messages as the vectors show them."""
    out = []
    for who, step, message in sent:
        body = {"bytes": message.hex()}
        if "/turn/" in step:
            body = {"length": len(message), "sha256": hashlib.sha256(message).hexdigest()}
        out.append({"from": ROLES[who], "step": step} | body)
    return out


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda c: c["name"])
def test_every_message_and_share_is_that_of_the_reference(case):
    pair = machines(case)
    assert shown(run(pair)) == case["messages"]
    found = [machine.shares() for machine in pair]
    assert [{"matched": s.matched.hex(), "words": s.words.hex()} for s in found] == case["shares"]
    assert [s.bins for s in found] == [case["bins"]] * 2
    rows = [2**32 - 1 if row is None else row for row in case["rows"]]
    assert (found[0].rows, found[1].rows) == (struct.pack(f"<{len(rows)}I", *rows), None)


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda c: c["name"])
def test_the_shares_open_to_the_join_and_its_sums(case):
    sides = [{k: unhex(v) for k, v in side.items()} for side in case["shares"]]
    count = sum(p["words"] for p in case["parties"])
    words = [struct.unpack(f"<{case['bins'] * count}Q", side["words"]) for side in sides]
    opened = [(a + b) % 2**64 for a, b in zip(*words, strict=True)]
    found = [
        [case["rows"][at], [str(word) for word in opened[at * count : (at + 1) * count]]]
        for at in range(case["bins"])
        if (sides[0]["matched"][at // 8] ^ sides[1]["matched"][at // 8]) >> at % 8 & 1
    ]
    assert sorted(found) == case["opened"]
    assert [str(sum(opened[k::count]) % 2**64) for k in range(count)] == case["sums"]


def test_a_message_with_one_other_bit_is_not_that_of_the_reference():
    sent = run(machines(CHANGED))
    for number, (who, step, message) in enumerate(sent):
        at = number * 7919 % len(message)
        other = message[:at] + bytes([message[at] ^ 1 << number % 8]) + message[at + 1 :]
        assert shown([(who, step, message)]) == [CHANGED["messages"][number]]
        assert shown([(who, step, other)]) != [CHANGED["messages"][number]]


@pytest.mark.parametrize("change", VECTORS["altered"], ids=lambda c: f"{c['message']} at {c['start']}")
def test_altered_messages_give_the_shares_of_the_reference(change):
    pair = machines(CHANGED)
    run(pair, change)
    found = [machine.shares() for machine in pair]
    assert [
        {"matched": s.matched.hex(), "words_sha256": hashlib.sha256(s.words).hexdigest()} for s in found
    ] == change["shares"]
    assert [{"matched": s.matched.hex(), "words": s.words.hex()} for s in found] != CHANGED["shares"]


@pytest.mark.parametrize("change", VECTORS["malformed"], ids=lambda c: c["name"])
def test_malformed_messages_are_refused(change):
    with pytest.raises(AtollError) as caught:
        run(machines(CHANGED), change)
    assert caught.value.code == change["code"]


def test_the_reference_makes_the_first_case():
    from reference import circuit_cases

    assert circuit_cases.case(0) == VECTORS["cases"][0]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_reference_makes_exactly_this_file():
    from reference import vectors

    assert vectors.render(FILE.name) == FILE.read_text(encoding="utf-8")
