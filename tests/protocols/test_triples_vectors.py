"""The vectors of triples: against the slow reference that makes them, and against the product's machines."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from atoll.crypto.triples import BitTriples, MatrixProduct, Rich, WideTriples, WordTriples
from reference import vectors

FILE = Path(__file__).resolve().parents[2] / "vectors" / "triples.json"
CASES = json.loads(FILE.read_text(encoding="utf-8"))
ROLES = ("first", "second")


@pytest.mark.timeout(600)
def test_the_reference_makes_exactly_this_file():
    assert vectors.render(FILE.name) == FILE.read_text(encoding="utf-8")


def shown(data: bytes) -> dict:
    if len(data) > 100:
        return {"length": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    return {"bytes": data.hex()}


def make(kind: str, case: dict, side: int) -> BitTriples | WordTriples | WideTriples:
    seed, context = bytes.fromhex(case["sides"][side]["seed"]), bytes.fromhex(case["context"])
    arguments = (ROLES[side], seed, case["attempt"], case["channel"], case["count"])
    if kind in ("words", "wide"):
        return (WordTriples if kind == "words" else WideTriples)(*arguments, context=context)
    return BitTriples(*arguments, context=context, source=Rich(case["field"]))


def conversation(pair) -> list[list[dict]]:
    sent: list[list[dict]] = [[], []]
    while not all(machine.done for machine in pair):
        for side, machine in enumerate(pair):
            if message := machine.next_message():
                sent[side].append(shown(message[0]))
                pair[1 - side].receive(message[0])
    return sent


def read(rows: list[list[str]]) -> np.ndarray:
    return np.array([[int(word, 16) for word in row] for row in rows], np.uint64)


def test_the_machines_multiply_matrices_as_the_vectors_say():
    for case in CASES["matrices"]:
        right, left = (read(side["own"]) for side in case["sides"])
        sizes = (*left.shape, right.shape[1])
        pair = [
            MatrixProduct(
                ROLES[i],  # type: ignore[arg-type]
                bytes.fromhex(side["seed"]),
                case["attempt"],
                case["channel"],
                sizes,
                (right, left)[i],
                context=bytes.fromhex(case["context"]),
            )
            for i, side in enumerate(case["sides"])
        ]
        sent = conversation(pair)
        shares = [machine.finish() for machine in pair]
        for i, side in enumerate(case["sides"]):
            assert sent[i] == side["messages"]
            assert np.array_equal(shares[i], read(side["share"]))
        assert np.array_equal(shares[0] + shares[1], left @ right)


@pytest.mark.parametrize("kind", ["bits", "words", "wide"])
def test_the_machines_send_and_make_what_the_vectors_say(kind):
    for case in CASES[kind]:
        pair = [make(kind, case, side) for side in range(2)]
        sent = conversation(pair)
        for side, machine in enumerate(pair):
            expected, made = case["sides"][side], machine.finish()
            assert sent[side] == expected["messages"]
            for name, part in zip("abc", (made.a, made.b, made.c), strict=True):
                words = part.tolist()
                if kind == "wide":
                    words = [low + (high << 64) for low, high in words]
                assert [f"{word:016x}" for word in words] == expected[name]


def test_the_vectors_are_triples():
    def words(kind: str, case: dict) -> list[np.ndarray]:
        sides = [
            [np.array([int(w, 16) for w in side[n]], np.uint64) for n in "abc"] for side in case["sides"]
        ]
        return [x ^ y if kind == "bits" else x + y for x, y in zip(*sides, strict=True)]

    for case in CASES["bits"]:
        a, b, c = words("bits", case)
        assert np.array_equal(a & b, c)
    for case in CASES["words"]:
        a, b, c = words("words", case)
        assert np.array_equal(a * b, c)
    for case in CASES["wide"]:
        x, y = ([[int(w, 16) for w in side[n]] for n in "abc"] for side in case["sides"])
        for triple in zip(*x, *y, strict=True):
            a0, b0, c0, a1, b1, c1 = triple
            assert (a0 + a1) * (b0 + b1) % 2**128 == (c0 + c1) % 2**128
