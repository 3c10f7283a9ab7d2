"""Totals over a hidden join against their vectors, and the vectors against the slow reference that makes them."""

from __future__ import annotations

import hashlib
import json
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from atoll.errors import AtollError
from atoll.protocols import at_least, memory
from atoll.protocols.hidden_totals import HiddenTotals, Terms, run

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "vectors" / "hidden_totals.json"
VECTORS = json.loads(FILE.read_text(encoding="utf-8"))
CHANGED = VECTORS["cases"][VECTORS["changed_case"]]
ROLES = ("placer", "mapper")
unhex = bytes.fromhex


def played(case: dict[str, Any], change: dict[str, Any] | None = None) -> tuple[list[Any], list[Any]]:
    """Results of both sides, an error in place of one, and the channels; one message comes as it is changed."""
    parties = case["parties"]
    terms = Terms(
        *(p["declared"] for p in parties),
        case["multiplicity"],
        *(p["words"] for p in parties),
        case["minimum"],
        case["receivers"],
        unhex(case["context"]),
    )
    ends = memory.pair(4, 30)
    if change is not None:
        end = ends[ROLES.index(change["from"])]
        send = end.send

        def changed(payload: bytes, step: str) -> None:
            at = len(end.sent) == change["message"]
            send(unhex(change["bytes"]) if at else payload, step)

        end.send = changed  # type: ignore[method-assign]

    def side(i: int) -> Any:
        values = [int(value) for row in parties[i]["payload"] for value in row]
        try:
            return run(
                parties[i]["role"],
                unhex("".join(parties[i]["digests"])),
                struct.pack(f"<{len(values)}q", *values),
                terms,
                ends[i],
                seed=unhex(parties[i]["seed"]),
                attempt=case["attempt"],
                name=case["channel"],
                before_open=lambda: None,
                bucket_items=case["bucket_items"],
            )
        except AtollError as error:
            ends[i].close()
            return error

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(side, range(2))), list(ends)


def shown(message: bytes, step: str) -> dict[str, Any]:
    """A message as the vectors show it."""
    if len(message) <= 100:
        return {"step": step, "bytes": message.hex()}
    return {"step": step, "length": len(message), "sha256": hashlib.sha256(message).hexdigest()}


def result(found: dict[str, Any]) -> HiddenTotals:
    sums = [None if name not in found else tuple(found[name]) for name in ROLES]
    return HiddenTotals(found["enough"], found.get("subjects"), found.get("rows"), *sums)


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda c: c["name"])
def test_every_message_and_total_is_that_of_the_reference(case):
    found, ends = played(case)
    for party, end, totals in zip(case["parties"], ends, found, strict=True):
        assert [shown(message, step) for step, message in end.sent] == party["messages"]
        assert totals == result(party["result"])


def test_a_message_with_one_other_bit_is_not_that_of_the_reference():
    _, ends = played(CHANGED)
    for party, end in zip(CHANGED["parties"], ends, strict=True):
        for number, (step, message) in enumerate(end.sent):
            at = number * 7919 % len(message)
            other = message[:at] + bytes([message[at] ^ 1 << number % 8]) + message[at + 1 :]
            assert shown(other, step) != party["messages"][number]


@pytest.mark.parametrize("change", VECTORS["malformed"], ids=lambda c: c["name"])
def test_malformed_messages_are_refused(change):
    found, _ = played(CHANGED, change)
    error = found[1 - ROLES.index(change["from"])]
    assert isinstance(error, AtollError)
    assert error.code == change["code"]


@pytest.mark.parametrize("case", VECTORS["comparisons"], ids=lambda c: f"{c['minimum']} in {c['bits']} bits")
def test_comparisons_have_the_bits_and_prefixes_of_the_reference(case):
    shares = [int(share) for share in case["shares"]]
    most = sum(shares) % 2**64
    assert at_least.width(most, case["minimum"]) == case["bits"]
    for role, share, half in zip(ROLES, shares, case["halves"], strict=True):
        bit, strings = at_least.halves(role, share, case["minimum"], case["bits"])
        prefixes = [struct.pack("<BQ", len(prefix), int(prefix, 2)) for prefix in half["prefixes"]]
        assert (bit, strings) == (half["bit"], prefixes)
    common = set.intersection(*(set(half["prefixes"]) for half in case["halves"]))
    assert (sum(half["bit"] for half in case["halves"]) + len(common)) % 2 == case["enough"]


def test_the_reference_makes_the_comparisons():
    from reference import hidden_totals_cases

    assert hidden_totals_cases.comparisons() == VECTORS["comparisons"]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_reference_makes_exactly_this_file():
    from reference import vectors

    assert vectors.render(FILE.name) == FILE.read_text(encoding="utf-8")
