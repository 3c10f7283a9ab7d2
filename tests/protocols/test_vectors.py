"""The product against the vectors, and the vectors against the slow reference that makes them."""

from __future__ import annotations

import datetime
import json
import struct
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest

from atoll.crypto import masks
from atoll.crypto.keys import NO_KEY, key_digests
from atoll.crypto.psi import EcdhPsi, Side, partition
from atoll.errors import AtollError

ROOT = Path(__file__).resolve().parents[2]
unhex = bytes.fromhex


def load(name: str):
    return json.loads((ROOT / "vectors" / name).read_text(encoding="utf-8"))


PSI, MASKS, KEYS = (load(name) for name in ("ecdh_psi.json", "pairwise_masks.json", "keys.json"))
VOLE = load("vole_psi.json")


@pytest.mark.parametrize("name", ["ecdh_psi.json", "vole_psi.json", "pairwise_masks.json", "keys.json"])
def test_the_reference_makes_exactly_these_files(name):
    from reference import vectors

    assert vectors.render(name) == (ROOT / "vectors" / name).read_text(encoding="utf-8")


def test_the_reference_group_has_the_vectors_of_rfc_9496():
    from reference import ristretto255 as group

    base = group.decode(unhex("e2f2ae0a6abc4e71a884a961c500515f58e30b6aa582dd8db6a65945e08d2d76"))
    multiples = {  # appendix A.1
        0: "0000000000000000000000000000000000000000000000000000000000000000",
        1: "e2f2ae0a6abc4e71a884a961c500515f58e30b6aa582dd8db6a65945e08d2d76",
        2: "6a493210f7499cd17fecb510ae0cea23a110e8d5b901f8acadd3095c73a3b919",
        group.ORDER: "0000000000000000000000000000000000000000000000000000000000000000",
    }
    for scalar, want in multiples.items():
        assert group.encode(group.multiply(base, scalar)).hex() == want
    maps = {  # appendix A.3
        "5d1be09e3d0c82fc538112490e35701979d99e06ca3e2b5b54bffe8b4dc772c1"
        "4d98b696a1bbfb5ca32c436cc61c16563790306c79eaca7705668b47dffe5bb6": (
            "3066f82a1a747d45120d1740f14358531a8f04bbffe6a819f86dfe50f44a0a46"
        ),
        "f116b34b8f17ceb56e8732a60d913dd10cce47a6d53bee9204be8b44f6678b27"
        "0102a56902e2488c46120e9276cfe54638286b9e4b3cdb470b542d46c2068d38": (
            "f26e5b6f7d362d2d2a94c5d0e7602cb4773c95a2e5c31a64f133189fa76ed61b"
        ),
        "8422e1bbdaab52938b81fd602effb6f89110e1e57208ad12d9ad767e2e25510c"
        "27140775f9337088b982d83d7fcf0b2fa1edffe51952cbe7365e95c86eaf325c": (
            "006ccd2a9e6867e6a2c5cea83d3302cc9de128dd2a9a57dd8ee7b9d7ffe02826"
        ),
    }
    for uniform, want in maps.items():
        assert group.encode(group.from_uniform_bytes(unhex(uniform))).hex() == want


def side(case, me: int) -> Side:
    own, peer = case["parties"][me], case["parties"][1 - me]
    counts = own["multiplicity"]
    return Side(
        unhex("".join(own["digests"])),
        None if counts is None else struct.pack(f"<{len(counts)}I", *counts),
        len(peer["digests"]),
        own["learns"],
        peer["learns"],
        unhex(case["context"]),
        case["chunk_items"],
    )


def machine(case, me: int) -> EcdhPsi:
    return EcdhPsi(unhex(case["parties"][me]["seed"]), case["attempt"], case["channel"], side(case, me))


def play(m: EcdhPsi, incoming: list[bytes]) -> list[bytes]:
    """Sends whatever can be sent before each message that is taken; the messages sent."""
    sent = []
    for message in [*incoming, None]:
        while out := m.next_message():
            sent.append(out[0])
        if message is not None:
            m.receive(message)
    return sent


@pytest.mark.parametrize("me", [0, 1])
@pytest.mark.parametrize("case", PSI["cases"], ids=lambda c: c["name"])
def test_ecdh_psi_sends_and_finds_what_the_reference_does(case, me):
    own, peer = case["parties"][me], case["parties"][1 - me]
    m = machine(case, me)
    assert [s.hex() for s in play(m, [unhex(x) for x in peer["messages"]])] == own["messages"]
    assert m.done
    assert m.size() == own["size"]
    if own["matched"] is not None:
        assert m.matched() == struct.pack(f"<{len(own['matched'])}I", *own["matched"])


@pytest.mark.parametrize("bad", PSI["malformed"], ids=lambda b: b["name"])
def test_ecdh_psi_refuses_the_malformed_messages(bad):
    case = PSI["cases"][0]
    good = [unhex(x) for x in case["parties"][1]["messages"][: bad["at"]]]
    m = machine(case, 0)
    play(m, good)
    # What is repeated shows only once all items or tags are in.
    rest = [unhex(x) for x in case["parties"][1]["messages"][bad["at"] + 1 :]]
    with pytest.raises(AtollError) as caught:
        play(m, [unhex(bad["message"]), *rest])
    assert caught.value.code == bad["code"]


@pytest.mark.parametrize("case", MASKS["cases"], ids=lambda c: f"{len(c['holders'])} holders")
def test_pairwise_masks_are_those_of_the_reference(case):
    public = {h["id"]: unhex(h["public"]) for h in case["holders"]}
    vectors = []
    for h in case["holders"]:
        seed, me = unhex(h["seed"]), h["id"]
        assert masks.public_key(seed, case["attempt"], case["channel"]) == public[me]
        vectors.append(
            masks.masked(
                masks.encode([int(v) for v in h["values"]]),
                seed,
                case["attempt"],
                case["channel"],
                me=me,
                peers={k: v for k, v in public.items() if k != me},
                context=unhex(case["context"]),
                label=case["label"],
            )
        )
        assert vectors[-1].hex() == h["masked"]
    assert [str(v) for v in masks.decode(masks.unmask_sum(vectors))] == case["sum"]


@pytest.mark.parametrize("bad", MASKS["malformed"], ids=lambda b: b["public"][:8])
def test_keys_of_small_order_are_refused(bad):
    peers = {"b": unhex(bad["public"])}
    with pytest.raises(AtollError) as caught:
        masks.masked(bytes(16), bytes(32), 0, "c", me="a", peers=peers, context=b"", label="l")
    assert caught.value.code == bad["code"]


TYPES = {
    "string": (pa.string(), str),
    "int64": (pa.int64(), int),
    "decimal": (pa.decimal128(20, 2), Decimal),
    "date": (pa.date32(), lambda v: datetime.date(1970, 1, 1) + datetime.timedelta(int(v))),
    "bool": (pa.bool_(), lambda v: v == "1"),
    "timestamp": (pa.timestamp("us"), int),
    "timestamp_utc": (pa.timestamp("us", "UTC"), int),
}


def table(types, rows) -> pa.Table:
    columns = {}
    for i, name in enumerate(types):
        kind, read = TYPES[name]
        columns[f"c{i}"] = pa.array([None if r[i] is None else read(r[i]) for r in rows], kind)
    return pa.table(columns)


@pytest.mark.parametrize("case", KEYS["cases"], ids=lambda c: "+".join(c["types"]))
def test_key_digests_are_those_of_the_reference(case):
    data = table(case["types"], case["rows"])
    steps = {f"c{i}": s for i, s in enumerate(case["steps"]) if s}
    keys = key_digests(data, data.column_names, steps)
    indices = struct.unpack(f"<{keys.n_rows}I", keys.rows)
    found = [None if i == NO_KEY else keys.digests[32 * i : 32 * i + 32].hex() for i in indices]
    assert found == case["digests"]


@pytest.mark.parametrize("bad", KEYS["malformed"], ids=lambda b: f"{b['step']} {b['value']}")
def test_malformed_keys_are_refused(bad):
    with pytest.raises(AtollError) as caught:
        key_digests(pa.table({"k": [bad["value"]]}), ["k"], {"k": [bad["step"]]})
    assert caught.value.code == bad["code"]


def test_keys_have_the_reference_places_in_buckets():
    digests, key = [unhex(d) for d in VOLE["digests"]], unhex(VOLE["bucket_key"])
    for case in VOLE["buckets"]:
        for digest, place in zip(digests, case["places"], strict=True):
            _, loads = partition(digest, key, case["buckets"])
            assert loads.index(1) == place


def test_the_reference_function_is_oblivious():
    """Both sides of the algebra, with a store solved by hand: equal outputs exactly for the receiver's keys."""
    from reference import vole_psi

    rows, values, delta, w = [[0, 1], [1, 2]], [77, 3**70], 5**50, 9
    store = [11, 77 ^ 11, 3**70 ^ 77 ^ 11]
    a, b = [3**60, 1, 2**127], [8, 9, 10]
    c = [vole_psi.multiply(x, delta) ^ y for x, y in zip(a, b, strict=True)]
    k = [y ^ vole_psi.multiply(delta, x ^ p) for x, y, p in zip(a, b, store, strict=True)]
    mine = vole_psi.outputs(rows, c, [0, 0], delta, w)
    assert mine == vole_psi.outputs(rows, k, values, delta, w)
    assert vole_psi.outputs([[0, 2]], c, [0], delta, w) != vole_psi.outputs([[0, 2]], k, [5], delta, w)
