"""The vectors of comparisons by digits, against the reference that makes them and the product's kernels."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from atoll.crypto.arrays import planes
from atoll.crypto.digits import BLOCK, Digits
from atoll.crypto.stream import stream_bytes
from reference import vectors

FILE = Path(__file__).resolve().parents[2] / "vectors" / "digits.json"
CASES = json.loads(FILE.read_text(encoding="utf-8"))["cases"]


def test_the_reference_makes_exactly_this_file():
    assert vectors.render(FILE.name) == FILE.read_text(encoding="utf-8")


def read(words):
    return np.array([int(word, 16) for word in words], np.uint64)


def shown(words):
    data = words.tobytes()
    return {"length": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def drawn(case, digits):
    """Words of zeros, words of ones, choices, masks."""
    blocks = -(-len(case["sender"]) // BLOCK)
    sizes = [BLOCK * blocks * case["bits"]] * 2 + [blocks * case["bits"], blocks * digits.planes]
    data = stream_bytes(b"\x03" * 32, 0, "vectors", case["stream"], 8 * sum(sizes))
    *parts, masks = np.split(np.frombuffer(data, np.uint64), np.cumsum(sizes)[:-1])
    return *parts, masks.reshape(digits.planes, blocks)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["stream"])
def test_the_kernels_send_and_open_what_the_vectors_say(case):
    digits = Digits(case["bits"], equal=case["equal"])
    zeros, ones, choices, masks = drawn(case, digits)
    own, other = (planes(read(case[name]), case["bits"]) for name in ("sender", "receiver"))
    turned = digits.turned(other, choices)
    assert shown(turned) == case["turned"]
    tables = digits.tables(digits.fold_sent(zeros, ones), turned, own, masks)
    assert shown(tables) == case["tables"]
    chosen = np.unpackbits(choices.view(np.uint8), bitorder="little").astype(np.bool_)
    found = digits.opened(digits.fold_chosen(np.where(chosen, ones, zeros)), tables, other)
    for shares, expected in zip((masks, found), case["shares"], strict=True):
        assert [[f"{word:016x}" for word in plane] for plane in shares.tolist()] == expected


def test_the_vectors_compare():
    for case in CASES:
        sides = [[read(plane) for plane in side] for side in case["shares"]]
        told = [x ^ y for x, y in zip(*sides, strict=True)]
        count = -(-case["bits"] // 4)
        lowest = case["bits"] - 4 * (count - 1)
        for number, (s, r) in enumerate(
            zip(read(case["sender"]).tolist(), read(case["receiver"]).tolist(), strict=True)
        ):
            bits = [int(plane[number // 64]) >> number % 64 & 1 for plane in told]
            for at in range(count):
                first, width = (0, lowest) if at == 0 else (lowest + 4 * (at - 1), 4)
                mine, theirs = (n >> first & (1 << width) - 1 for n in (s, r))
                if case["equal"]:
                    assert bits[at] == (theirs == mine)
                    continue
                assert bits[at] == (theirs < mine)
                assert at == 0 or bits[count + at - 1] == (theirs == mine)
