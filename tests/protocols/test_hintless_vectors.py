"""Lookups without a hint against their vectors, and the vectors against the slow reference that makes them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from atoll.crypto.lookup import Holder, OneShotAsker, Products

FILE = Path(__file__).resolve().parents[2] / "vectors" / "hintless.json"
CASE = json.loads(FILE.read_text(encoding="utf-8"))["case"]
unhex = bytes.fromhex


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("kept_bytes", [0, 1 << 30], ids=["made each time", "kept"])
def test_every_message_of_both_sides_is_that_of_the_reference(kept_bytes: int) -> None:
    labels = CASE["attempt"], CASE["channel"]
    host = Holder(
        unhex(CASE["secret"]),
        unhex(CASE["seeds"][0]),
        *labels,
        version=unhex(CASE["version"]),
        matrix=unhex(CASE["matrix"]),
        digests=unhex("".join(CASE["digests"])),
        records=unhex("".join(CASE["records"])),
        record_bytes=CASE["record_bytes"],
    )
    products = Products(host, kept_bytes)
    asker = OneShotAsker(host.epoch, unhex(CASE["seeds"][1]), *labels)
    assert (len(asker.keys), asker.keys[:80].hex()) == (CASE["keys_bytes"], CASE["keys_start"])
    assert sha256(asker.keys) == CASE["keys_sha256"]
    products.take_keys(asker.keys)
    wanted = unhex("".join(step["digest"] for step in CASE["steps"]))
    state, blinded = asker.blind(wanted, 1)
    keys = asker.finish(state, host.evaluate(blinded, 3, 1), range(3))
    questions = asker.questions(keys)
    answers = products.answer(questions)
    for step, key, question, answer in zip(CASE["steps"], keys, questions, answers, strict=True):
        assert (len(question), sha256(question)) == (step["question_bytes"], step["question_sha256"])
        assert answer[-len(step["rows"]) // 2 :].hex() == step["rows"]
        assert (len(answer), sha256(answer)) == (step["answer_bytes"], step["answer_sha256"])
        record = asker.open(key, answer)
        assert (record and record.hex()) == step["record"]
    assert [step["record"] for step in CASE["steps"]].count(None) == 1


@pytest.mark.slow
def test_the_reference_makes_exactly_this_file() -> None:
    from reference import vectors

    assert vectors.render("hintless.json") == FILE.read_text(encoding="utf-8")


def test_transforms_of_the_reference_are_values_at_odd_powers_and_go_back() -> None:
    from reference import hintless as r

    poly = [0] * r.DEGREE
    poly[0], poly[1], poly[-1] = 5, 1, 7
    found = r.transform(poly)
    for place in (0, 1, 2, 1000, 2047):
        x = r.roots()[r.odd(place)]
        assert found[place] == (5 + x + 7 * pow(x, r.DEGREE - 1, r.Q)) % r.Q
    assert r.coefficients(found) == poly
    squared = r.transform(r.times(poly, poly))
    assert squared == [word * word % r.Q for word in found]
