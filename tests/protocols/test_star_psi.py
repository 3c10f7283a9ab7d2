"""Intersection of several parties against that of sets, alone and told to all; peers that break the rules."""

from __future__ import annotations

import hashlib
import json
import struct
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.crypto import masks
from atoll.crypto import star_psi as kernel
from atoll.crypto.suite import SigningKey
from atoll.errors import AtollError
from atoll.protocols import memory, star_cost, star_psi

ROOT = Path(__file__).resolve().parents[2]
VECTORS = json.loads((ROOT / "vectors" / "star_psi.json").read_text(encoding="utf-8"))
KEYS = [SigningKey(bytes([i + 1]) * 32) for i in range(21)]
unhex = bytes.fromhex


def digests(items) -> bytes:
    return b"".join(hashlib.sha256(repr(i).encode()).digest() for i in items)


def words(data: bytes) -> list[int]:
    return list(struct.unpack(f"<{len(data) // 4}I", data))


def session(sets, **more) -> star_psi.Session:
    parties = tuple(str(key.public) for key in KEYS[: len(sets)])
    return star_psi.Session("job", 0, parties, tuple(len(s) for s in sets), "l", **more)


class Changing:
    """A channel of which `change` gives what is sent in place of a message."""

    def __init__(self, channel, change):
        self.channel, self.change = channel, change

    def __getattr__(self, name):
        return getattr(self.channel, name)

    def send(self, payload, step):
        for message in self.change(step, payload):
            self.channel.send(message, step)


def run(sets, change=lambda sender, receiver, step, payload: [payload], seconds=20.0, threads=1, **more):
    """Runs all parties in threads; returns (results or errors, channels by party, calls of before_open)."""
    s = session(sets, **more)
    ends = {i: memory.pair(4, seconds) for i in range(1, len(sets))}
    opened = [0] * len(sets)

    def channel(i, end):
        ways = (0, i) if end == 0 else (i, 0)
        return Changing(ends[i][end], lambda step, payload: change(*ways, step, payload))

    def party(i):
        def before_open():
            opened[i] += 1

        seed = bytes([100 + i]) * 32
        both = {"seed": seed, "threads": threads, "before_open": before_open}
        try:
            if i == 0:
                channels = {s.parties[j]: channel(j, 0) for j in ends}
                return star_psi.run_leader(s, KEYS[0], digests(sets[0]), channels, **both)
            return star_psi.run_party(s, KEYS[i], digests(sets[i]), channel(i, 1), **both)
        except AtollError as error:
            for end in ends.values() if i == 0 else [ends[i]]:
                end[0].close()
            return error

    with ThreadPoolExecutor(len(sets)) as workers:
        return list(workers.map(party, range(len(sets)))), ends, opened


def errors(results) -> list[AtollError]:
    return [result for result in results if isinstance(result, AtollError)]


party_sets = st.lists(st.lists(st.integers(0, 12), unique=True, max_size=12), min_size=3, max_size=5)


@settings(max_examples=30, deadline=None)
@given(party_sets, st.sampled_from(["rows", "size"]), st.booleans())
def test_equals_the_intersection_of_the_sets(sets, learns, everyone):
    results, ends, opened = run(sets, learns=learns, everyone=everyone)
    assert not errors(results), errors(results)
    common = set.intersection(*map(set, sets))
    for i, result in enumerate(results):
        told = i == 0 or everyone
        assert result.peer_multiplicity is None
        assert result.size == (len(common) if told else None)
        if told and learns == "rows":
            matched = [sets[i][k] for k in words(result.matched)]
            assert set(matched) == common
            assert matched == [sets[0][k] for k in words(results[0].matched)]
        else:
            assert result.matched is None
    if all(sets):
        assert opened == [int(everyone)] + [1] * (len(sets) - 1)
    else:
        assert opened == [0] * len(sets)
        assert not any(end.sent for pair in ends.values() for end in pair)


def test_twenty_parties_with_small_sets():
    sets = [list(range(i % 3, 8 + i % 5)) for i in range(20)]
    results, _, _ = run(sets, everyone=True)
    common = set.intersection(*map(set, sets))
    for own, result in zip(sets, results, strict=True):
        assert {own[k] for k in words(result.matched)} == common


@pytest.mark.parametrize("learns", ["rows", "size"])
def test_an_item_that_one_party_lacks_is_not_common(learns):
    for lacks in range(4):
        sets = [[7, 8] if i != lacks else [8] for i in range(4)]
        results, _, _ = run(sets, learns=learns)
        assert results[0].size == 1


def test_bytes_follow_from_seeds_whatever_the_threads():
    sets = [list(range(300)), list(range(100, 500)), list(range(50, 250))]
    sent = [
        [end.sent for pair in run(sets, threads=threads, everyone=True)[1].values() for end in pair]
        for threads in (1, 2)
    ]
    assert sent[0] == sent[1]
    for messages in sent[0]:
        steps = [step for step, _ in messages]
        assert len(set(steps)) == len(steps)


@pytest.mark.parametrize("learns", ["rows", "size"])
@pytest.mark.parametrize("everyone", [False, True])
def test_bytes_are_those_of_the_formula(learns, everyone):
    sets = [list(range(900)), list(range(2000)), list(range(40))]
    _, ends, _ = run(sets, learns=learns, everyone=everyone)
    sizes = [len(s) for s in sets]
    sent = [sum(len(p) for end in ends.values() for _, p in end[0].sent)]
    sent += [sum(len(p) for _, p in end[1].sent) for end in ends.values()]
    for party, found in enumerate(sent):
        bound = star_cost.wire_bytes(sizes, party, learns=learns, everyone=everyone)
        # Heads of the VOLE's messages are counted with a reserve.
        assert bound - 16 * len(sets) <= found <= bound


def test_estimates_grow_with_what_they_depend_on():
    cost, seconds = star_cost.estimate((1000, 2000, 3000))
    assert cost.leader_bytes == star_cost.wire_bytes((1000, 2000, 3000), 0)
    assert len(cost.party_bytes) == 2
    for sizes, more in (
        ((5000, 2000, 3000), {}),
        ((1000, 2000, 30_000), {}),
        ((1000, 2000, 3000, 1000), {}),
        ((1000, 2000, 3000), {"learns": "size"}),
        ((1000, 2000, 3000), {"bandwidth": 1e6}),
        ((1000, 2000, 3000), {"latency": 0.1}),
    ):
        assert star_cost.estimate(sizes, **more)[1] > seconds
    assert star_cost.estimate((0, 5, 5)) == (star_cost.Estimate(0, (0, 0), 0, 0.0, 0.0), 0.0)
    for sizes in ((1, 2), (1, 2, 1 << 23), (1,) * 21):
        with pytest.raises(AtollError, match="E_FORMAT"):
            star_cost.estimate(sizes)
    with pytest.raises(AtollError, match="E_FORMAT"):
        star_cost.wire_bytes((1, 2, 3), 3)


# Keys and shares.


@pytest.mark.parametrize("case", VECTORS["stars"])
def test_shares_blinds_and_names_are_those_of_the_reference(case):
    public = {p["id"]: unhex(p["public"]) for p in case["parties"]}
    where = (case["attempt"], case["channel"])

    def number(data: bytes, at: int) -> int:
        return int.from_bytes(data[16 * at : 16 * at + 16], "little")

    for party in case["parties"]:
        seed, own = unhex(party["seed"]), unhex("".join(party["digests"]))
        assert masks.public_key(seed, *where) == public[party["id"]]
        peers = {name: key for name, key in public.items() if name != party["id"]}
        shares = kernel.pairwise(
            "share", own, seed, *where, me=party["id"], peers=peers, context=unhex(case["context"])
        )
        assert [number(shares, k) for k in range(len(party["shares"]))] == [
            int(x, 16) for x in party["shares"]
        ]
    first, second = case["parties"][:2]
    own = unhex("".join(second["digests"]))
    found = kernel.blinds(own, unhex(second["seed"]), *where)
    assert [number(found, k) for k in range(len(case["blinds"]))] == [int(x, 16) for x in case["blinds"]]
    for me, other in ((first, second), (second, first)):
        names = kernel.pairwise(
            "common",
            own,
            unhex(me["seed"]),
            *where,
            me=me["id"],
            peers={other["id"]: public[other["id"]]},
            context=unhex(case["context"]),
        )
        want = [int(x, 16) for x in case["names_between_the_first_two"]]
        assert [number(names, k) for k in range(len(want))] == want


def test_shares_of_the_reference_cancel_at_the_items_of_all():
    from reference import star_psi as reference

    for case in VECTORS["stars"]:
        parties = [
            reference.Party(p["id"], unhex(p["seed"]), [unhex(d) for d in p["digests"]])
            for p in case["parties"]
        ]
        star = reference.Star(parties, case["attempt"], case["channel"], unhex(case["context"]))
        common = set.intersection(*(set(p.items) for p in parties))
        leader = parties[0].items
        assert {x for x, total in zip(leader, star.sums(False), strict=True) if total == 0} == common
        blinded = zip(leader, star.sums(True), strict=True)
        assert {x for x, total in blinded if total == star.blind(x)} == common


def test_the_reference_makes_exactly_this_file():
    from reference import vectors

    assert vectors.render("star_psi.json") == (ROOT / "vectors" / "star_psi.json").read_text(encoding="utf-8")


def test_what_a_leader_decodes_is_random_where_an_honest_party_lacks_the_item():
    """Two honest parties beside a leader that knows all its own keys: the sum without its zeros is uniform."""
    items = list(range(4000))
    sets = [items, items[:2000], items[2000:]]
    s = session(sets)
    parties = [
        star_psi._Party(s, KEYS[i], digests(own), bytes([100 + i]) * 32, 1) for i, own in enumerate(sets)
    ]
    roster = s.group.roster([s.group.read_hello(p.me, p.hello) for p in parties])
    for party in parties:
        party.agree(roster)
    # What the leader has at the items of one party: this party's share and its own, which hold the third's key.
    for i, rows in ((1, slice(0, 2000)), (2, slice(2000, 4000))):
        found = (parties[0].shares()[rows] ^ parties[i].shares()).tobytes()
        expected = len(found) / 256
        chi = sum((found.count(byte) - expected) ** 2 / expected for byte in range(256))
        # 255 degrees of freedom: 377 is passed by chance once in a million.
        assert chi < 377


def test_the_size_alone_shows_the_leader_no_row(monkeypatch):
    seen = {}
    compare = star_psi._Party.compare

    def keep(self, sums, *more):
        seen[self.index] = star_psi._cut(sums, star_psi.output_bits(self.session.items, "size"))
        return compare(self, sums, *more)

    monkeypatch.setattr(star_psi._Party, "compare", keep)
    results, _, _ = run([list(range(2000))] * 3, learns="size")
    assert results[0].size == 2000
    # All are common, so a sum without what the second party adds would be zero; with it, it is that party's entry.
    assert (seen[0] != 0).any(axis=1).all()
    assert (seen[0] == seen[1]).all()
    assert len({bytes(word) for word in seen[0]}) == 2000


def test_stores_look_uniform_whatever_the_sets():
    for sets in ([range(3000)] * 3, [range(3000), range(3000, 6000), range(5000)]):
        _, ends, _ = run([list(own) for own in sets])
        for pair in ends.values():
            for end, kind in ((pair[0], "masked"), (pair[1], "programmed")):
                data = b"".join(p[1:] for step, p in end.sent if f"/{kind}/" in step)
                expected = len(data) / 256
                assert expected > 100
                chi = sum((data.count(byte) - expected) ** 2 / expected for byte in range(256))
                assert chi < 377, kind


def test_every_attempt_label_and_size_shares_anew():
    sets = [[1, 2], [2, 3], [2]]
    base = session(sets)

    def hello(s):
        return star_psi._Party(s, KEYS[0], digests([1, 2]), b"s" * 32, 1).hello

    changes = (
        {"attempt": 1},
        {"label": "m"},
        {"job": "k"},
        {"items": (2, 3, 1)},
        {"learns": "size"},
        {"everyone": True},
    )
    for change in changes:
        assert replace(base, **change).context != base.context
        assert hello(replace(base, **change)) != hello(base)


# Bad input, and peers that break the rules.


def test_a_digest_that_stands_twice_is_refused():
    for at in range(3):
        sets = [[1, 2, 3], [1, 2, 3], [1, 2, 3]]
        sets[at] = [1, 2, 1]
        results, ends, _ = run(sets, seconds=3)
        assert isinstance(results[at], AtollError)
        assert results[at].code == "E_FORMAT"
        assert isinstance(results[0], AtollError)
        if at:
            assert not any("programmed" in step for step, _ in ends[at][1].sent)


def test_bad_sessions_are_refused():
    good = session([[1], [2], [3]])
    parties = tuple(str(key.public) for key in KEYS)
    for change in (
        {"parties": parties[:2], "items": (1, 1)},
        {"parties": parties[:21], "items": (1,) * 21},
        {"parties": (parties[0], *parties[:2])},
        {"parties": ("x", *parties[1:3])},
        {"items": (1, 1)},
        {"items": (1, 1, -1)},
        {"attempt": -1},
        {"learns": "nothing"},
    ):
        with pytest.raises(AtollError) as caught:
            replace(good, **change)
        assert caught.value.code in ("E_FORMAT", "E_SIGNATURE"), change
    with pytest.raises(AtollError, match="E_TOO_LARGE"):
        replace(good, items=(1, 1, (1 << 22) + 1))


def test_bad_arguments_are_refused():
    s = session([[1], [2], [3]])
    both = {"seed": b"s" * 32, "before_open": lambda: None}
    channels = {party: memory.pair()[0] for party in s.parties[1:]}
    one = channels[s.parties[1]]

    def refused(call, *arguments, **more):
        with pytest.raises(AtollError, match="E_FORMAT"):
            call(*arguments, **(both | more))

    refused(star_psi.run_leader, s, KEYS[0], digests([1, 2]), channels)
    refused(star_psi.run_leader, s, KEYS[0], b"x", channels)
    refused(star_psi.run_leader, s, KEYS[1], digests([1]), channels)
    refused(star_psi.run_leader, s, KEYS[0], digests([1]), {})
    refused(star_psi.run_leader, s, KEYS[0], digests([1]), channels, at_once=0)
    refused(star_psi.run_leader, s, KEYS[0], digests([1]), channels, seed=b"short")
    refused(star_psi.run_party, s, KEYS[0], digests([1]), one)
    refused(star_psi.run_party, s, KEYS[7], digests([1]), one)


def swap(step_has, with_):
    """A change of the messages whose step holds a word, by the party that sends them."""
    return lambda sender, receiver, step, payload: with_(payload) if step_has in step else [payload]


BROKEN = [
    lambda m: [m[:-1]],
    lambda m: [m + b"\0"],
    lambda m: [b""],
    lambda m: [bytes([m[0] ^ 64]) + m[1:]],
]


@pytest.mark.parametrize(
    "step", ["key", "roster", "hello", "coin", "masked", "programmed", "count", "common", "size"]
)
@pytest.mark.parametrize("broken", BROKEN)
def test_messages_of_another_form_are_refused(step, broken):
    sets = [[1, 2, 3], [2, 3, 4], [3, 2]]
    learns = "size" if step == "size" else "rows"
    results, _, _ = run(sets, swap(f"/{step}", broken), seconds=3, learns=learns, everyone=True)
    codes = {error.code for error in errors(results)}
    assert "E_PROTOCOL" in codes
    assert codes <= {"E_PROTOCOL", "E_PEER_SILENT"}


def test_a_leader_that_changes_a_key_is_refused():
    def change(sender, receiver, step, payload):
        if step == "star-psi/roster" and receiver == 1:
            at = payload.index(str(KEYS[2].public).encode()) + 72 + 4
            return [payload[:at] + bytes([payload[at] ^ 1]) + payload[at + 1 :]]
        return [payload]

    results, ends, _ = run([[1], [1], [1]], change, seconds=3)
    assert results[1].code == "E_SIGNATURE"
    assert [step for step, _ in ends[1][1].sent] == ["star-psi/key"]


def test_a_leader_that_leaves_a_party_out_or_has_another_number_of_keys_is_refused():
    def other(sender, receiver, step, payload):
        if step == "star-psi/hello" and receiver == 2:
            return [payload[:1] + struct.pack("<Q", 9) + payload[9:]]
        return [payload]

    results, _, _ = run([[1], [1], [1]], other, seconds=3)
    assert results[2].code == "E_PROTOCOL"

    def shorter(sender, receiver, step, payload):
        # The fields of two parties in place of three.
        return [payload[: 1 + 2 * (len(payload) - 1) // 3]] if step == "star-psi/roster" else [payload]

    results, _, _ = run([[1], [1], [1]], shorter, seconds=3)
    assert [error.code for error in results[1:]] == ["E_PROTOCOL"] * 2


def test_a_key_of_small_order_is_refused():
    s = session([[1], [1], [1]])
    hellos = []
    for i, key in enumerate(KEYS[:3]):
        ephemeral = bytes(32) if i == 2 else masks.public_key(bytes([100 + i]) * 32, 0, s.channel)
        hellos.append(s.group.read_hello(s.parties[i], s.group.hello(key, ephemeral)))
    party = star_psi._Party(s, KEYS[1], digests([1]), bytes([101]) * 32, 1)
    party.agree(s.group.roster(hellos))
    with pytest.raises(AtollError, match="E_PROTOCOL"):
        party.shares()


def test_a_leader_that_tells_what_is_not_there_is_refused():
    sets = [[1, 2, 3], [2, 3, 4], [3, 2]]
    twice = swap("/common", lambda m: [m[:17] + m[1:17]])
    foreign = swap("/common", lambda m: [m[:17] + bytes(16)])
    many = swap("/count", lambda m: [m[:1] + struct.pack("<I", 3)])
    for change in (twice, foreign, many):
        results, _, _ = run(sets, change, seconds=3, everyone=True)
        assert [error.code for error in results[1:]] == ["E_PROTOCOL"] * 2
    big = swap("star-psi/size", lambda m: [m[:1] + struct.pack("<Q", 4)])
    results, _, _ = run(sets, big, seconds=3, learns="size", everyone=True)
    assert [error.code for error in results[1:]] == ["E_PROTOCOL"] * 2


def test_the_leader_names_the_party_at_fault():
    sets = [[1, 2, 3], [2, 3, 4], [3, 2]]

    def change(sender, receiver, step, payload):
        return [payload[:-1]] if sender == 2 and "/programmed" in step else [payload]

    results, _, _ = run(sets, change, seconds=3)
    assert results[0].code == "E_PROTOCOL"
    assert results[0].party == str(KEYS[2].public)


def test_a_party_that_changes_its_store_spoils_the_result_and_is_not_noticed():
    # Stated, not prevented: the protocol is semi-honest.
    sets = [list(range(9))] * 3

    def change(sender, receiver, step, payload):
        if sender == 2 and "/programmed" in step:
            return [payload[:1] + bytes(byte ^ 1 for byte in payload[1:])]
        return [payload]

    results, _, _ = run(sets, change)
    assert not errors(results)
    assert results[0].size < 9
