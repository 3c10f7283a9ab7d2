"""The reference's key-value store and vector correlation against the fingerprints that the Rust crates are held to."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from reference.okvs import Store
from reference.stream import Stream
from reference.vole import Receiver, Sender
from reference.vole_psi import multiply

ROOT = Path(__file__).resolve().parents[2]
STORES = json.loads((ROOT / "vectors/okvs.json").read_text(encoding="utf-8"))["cases"]
VOLES = json.loads((ROOT / "rust/ot/tests/vectors.json").read_text(encoding="utf-8"))


def data(values: list[int]) -> bytes:
    return b"".join(value.to_bytes(16, "little") for value in values)


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(c, marks=pytest.mark.slow) if c["items"] > 1000 else c
        for c in STORES
        if c["items"] <= 20000
    ],
    ids=lambda c: f"{c['kind']} {c['items']}",
)
def test_stores_have_the_slots_of_the_vectors(case):
    def draws(label: bytes) -> list[int]:
        stream = Stream(b"okvs vectors", [label])
        return [int.from_bytes(stream.take(16), "little") for _ in range(case["items"])]

    keys, values = draws(b"keys"), draws(b"values")
    store = Store(case["items"], case["kind"], bytes([5]) * 16)
    slots = store.encode(keys, values, Stream(b"okvs vectors", [b"fill"]))
    assert (len(slots), hashlib.sha256(data(slots)).hexdigest()) == (case["slots"], case["sha256"])
    assert [store.decode(key, slots) for key in keys[:100]] == values[:100]


@pytest.mark.slow
@pytest.mark.parametrize(
    "case",
    [c for c in VOLES if c["security"] == "semi-honest"],
    ids=lambda c: f"{c['size']} of {c['bits']} bits",
)
def test_correlations_have_the_messages_and_values_of_the_vectors(case):
    context = bytes([6]) * 16
    sender = Sender(case["size"], case["bits"], context, Stream(b"attacks", [b"sender"]))
    receiver = Receiver(case["size"], case["bits"], context, Stream(b"attacks", [b"receiver"]))
    found = hashlib.sha256()
    while not (sender.done and receiver.done):
        for half, peer in ((sender, receiver), (receiver, sender)):
            for message in half.messages():
                found.update(message)
                peer.receive(message)
    (delta, b), (a, c) = sender.output(), receiver.output()
    for values in ([delta], b, a, c):
        found.update(data(values))
    assert found.hexdigest() == case["sha256"]
    assert all(c[i] == multiply(a[i], delta) ^ b[i] for i in range(0, case["size"], 97))
