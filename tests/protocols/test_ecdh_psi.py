"""ECDH-PSI against the ideal functionality, under every mode, and against a peer that breaks the rules."""

from __future__ import annotations

import hashlib
import struct
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.crypto.keys import key_digests
from atoll.crypto.psi import EcdhPsi, Side
from atoll.errors import AtollError
from atoll.protocols import ecdh_psi, memory
from atoll.protocols.driver import drive

MODES = [
    ("rows", "rows"),
    ("rows", "nothing"),
    ("nothing", "rows"),
    ("size", "nothing"),
    ("size", "size"),
    ("rows", "size"),
]
SEEDS = (b"a" * 32, b"b" * 32)


def words(data: bytes) -> list[int]:
    return list(struct.unpack(f"<{len(data) // 4}I", data))


def digests(items) -> bytes:
    return b"".join(hashlib.sha256(repr(i).encode()).digest() for i in items)


def sides(mine, peers, modes=("rows", "rows"), multiplicity=False, chunk=3):
    counts = [struct.pack(f"<{len(x)}I", *x.values()) if multiplicity else None for x in (mine, peers)]
    return [
        Side(digests(mine), counts[0], len(peers), *modes, b"job", chunk),
        Side(digests(peers), counts[1], len(mine), *reversed(modes), b"job", chunk),
    ]


def run(pair, threads=1, attempt=0, capacity=2):
    """Runs both sides in threads; returns (results, channels, calls of before_open)."""
    channels, opened = memory.pair(capacity), [0, 0]

    def party(i):
        def before_open():
            opened[i] += 1
            assert all(step.startswith("ecdh-psi/blinded/") for step, _ in channels[i].sent)

        try:
            return ecdh_psi.run(
                pair[i],
                channels[i],
                seed=SEEDS[i],
                attempt=attempt,
                name="c",
                threads=threads,
                before_open=before_open,
            )
        except BaseException:
            channels[i].close()
            raise

    with ThreadPoolExecutor(2) as workers:
        return list(workers.map(party, (0, 1))), channels, opened


items = st.dictionaries(st.integers(0, 14), st.integers(1, 5), max_size=12)


@settings(max_examples=60, deadline=None)
@given(items, items, st.sampled_from(MODES), st.booleans(), st.integers(1, 5))
def test_equals_the_ideal_functionality(mine, peers, modes, multiplicity, chunk):
    (left, right), _, opened = run(sides(mine, peers, modes, multiplicity, chunk))
    common = set(mine) & set(peers)
    for result, own, other, mode in ((left, mine, peers, modes[0]), (right, peers, mine, modes[1])):
        assert result.size == (None if mode == "nothing" else len(common))
        if mode != "rows":
            assert result.matched is None
            continue
        matched = [list(own)[i] for i in words(result.matched)]
        assert set(matched) == common
        assert len(matched) == len(common)
        if multiplicity and modes == ("rows", "rows"):
            assert words(result.peer_multiplicity) == [other[key] for key in matched]
        else:
            assert result.peer_multiplicity is None
    if modes == ("rows", "rows"):
        order = [[list(x)[i] for i in words(r.matched)] for x, r in ((mine, left), (peers, right))]
        assert order[0] == order[1]
    assert opened == [int(modes[1] != "nothing" and bool(peers)), int(modes[0] != "nothing" and bool(mine))]


@pytest.mark.parametrize("modes", MODES)
@pytest.mark.parametrize(("mine", "peers"), [(0, 0), (0, 5), (5, 0), (1, 1), (9, 9)])
def test_edges_of_size(mine, peers, modes):
    results, _, _ = run(sides(dict.fromkeys(range(mine), 1), dict.fromkeys(range(peers), 1), modes))
    for result, mode in zip(results, modes, strict=True):
        assert result.size == (None if mode == "nothing" else min(mine, peers))


def test_disjoint_sets():
    results, _, _ = run(sides(dict.fromkeys(range(5), 1), dict.fromkeys(range(5, 9), 1), multiplicity=True))
    assert [r.matched for r in results] == [b"", b""]
    assert [r.peer_multiplicity for r in results] == [b"", b""]


@pytest.mark.parametrize("modes", MODES)
def test_bytes_follow_from_seed_and_attempt_alone(modes):
    mine, peers = dict.fromkeys(range(600), 2), dict.fromkeys(range(300, 1000), 3)
    pair = sides(mine, peers, modes, multiplicity=True, chunk=256)
    sent = []
    for threads, attempt, capacity in ((1, 0, 1), (2, 0, 64), (1, 1, 4)):
        _, channels, _ = run(pair, threads, attempt, capacity)
        sent.append([c.sent for c in channels])
        for channel in channels:
            steps = [step for step, _ in channel.sent]
            assert len(set(steps)) == len(steps)
    assert sent[0] == sent[1]
    for side in (0, 1):
        first, other = ({p for step, p in s[side] if "multi" not in step} for s in (sent[0], sent[2]))
        assert not first & other


def test_a_restored_machine_sends_identical_bytes():
    mine, peers = dict.fromkeys(range(40), 2), dict.fromkeys(range(20, 70), 3)
    for modes in MODES:
        pair = sides(mine, peers, modes, multiplicity=True, chunk=8)
        results, channels, _ = run(pair)
        sent = [[p for _, p in c.sent] for c in channels]
        machine, out, incoming = EcdhPsi(SEEDS[0], 0, "c", pair[0]), [], list(sent[1])
        while not machine.done:
            machine = EcdhPsi.restore(SEEDS[0], 0, "c", pair[0], machine.checkpoint())
            message = machine.next_message()
            if message:
                out.append(message[0])
            # The peer's items may come at any time, its tags only after all of ours were sent.
            if incoming and (message is None or incoming[0][0] == 1):
                machine.receive(incoming.pop(0))
        assert out == sent[0]
        assert ecdh_psi.result(machine, modes[0]) == results[0]


class Replayed:
    """A channel after a restart: all that the peer ever sent is there at once."""

    def __init__(self, messages: list[bytes]) -> None:
        self.left, self.sent = list(messages), []

    def readable(self) -> bool:
        return bool(self.left)

    def writable(self) -> bool:
        return True

    def recv(self) -> bytes:
        return self.left.pop(0)

    def send(self, payload: bytes, step: str) -> None:
        self.sent.append(payload)

    def wait(self, read: bool, write: bool) -> None:
        raise AssertionError("both sides wait")


@pytest.mark.parametrize("modes", MODES)
def test_a_restart_goes_on_however_old_its_checkpoint(modes):
    pair = sides(
        dict.fromkeys(range(40), 2), dict.fromkeys(range(20, 70), 3), modes, multiplicity=True, chunk=8
    )
    results, channels, _ = run(pair)
    mine, theirs = ([payload for _, payload in channel.sent] for channel in channels)
    machine = EcdhPsi(SEEDS[0], 0, "c", pair[0])
    for number in range(len(mine)):
        kept = machine.checkpoint()
        replayed = Replayed(theirs)
        restored = EcdhPsi.restore(SEEDS[0], 0, "c", pair[0], kept)
        drive(restored, replayed, before_open=lambda: None)
        assert replayed.sent == mine[number:]
        assert ecdh_psi.result(restored, modes[0]) == results[0]
        if machine.next_message() is None:
            break


def test_a_checkpoint_fits_its_own_run_only():
    pair = sides({1: 1, 2: 1}, {2: 1}, multiplicity=True)
    machine = EcdhPsi(SEEDS[0], 0, "c", pair[0])
    machine.next_message()
    kept = machine.checkpoint()
    EcdhPsi.restore(SEEDS[0], 0, "c", pair[0], kept)
    others = [
        (SEEDS[1], 0, "c", pair[0], kept),
        (SEEDS[0], 1, "c", pair[0], kept),
        (SEEDS[0], 0, "d", pair[0], kept),
        (SEEDS[0], 0, "c", replace(pair[0], context=b"other"), kept),
        (SEEDS[0], 0, "c", replace(pair[0], digests=digests([1, 3])), kept),
        (SEEDS[0], 0, "c", replace(pair[0], multiplicity=struct.pack("<2I", 1, 9)), kept),
        (SEEDS[0], 0, "c", pair[0], kept + b"\0"),
        (SEEDS[0], 0, "c", pair[0], kept[:-1]),
        (SEEDS[0], 0, "c", pair[0], b""),
        (SEEDS[0], 0, "c", pair[0], kept[:60] + b"\xff" * (len(kept) - 60)),
    ]
    for arguments in others:
        with pytest.raises(AtollError) as caught:
            EcdhPsi.restore(*arguments)
        assert caught.value.code == "E_FORMAT"


def transcript(modes=("rows", "rows"), n=6, multiplicity=True, chunk=4):
    """A machine of the left side, its messages so far none, and the right side's messages."""
    pair = sides(dict.fromkeys(range(n), 1), dict.fromkeys(range(n), 2), modes, multiplicity, chunk)
    results, channels, _ = run(pair)
    return pair[0], [p for _, p in channels[1].sent], results


def feed(side, messages):
    """Sends all that can be sent, then takes the peer's messages one by one."""
    machine = EcdhPsi(SEEDS[0], 0, "c", side)
    for message in messages:
        while machine.next_message():
            pass
        machine.receive(message)
    while machine.next_message():
        pass
    return machine


def edit(message: bytes, at: int, new: bytes) -> bytes:
    return message[:at] + new + message[at + len(new) :]


NON_CANONICAL = (2**255 - 19 + 2).to_bytes(32, "little")


@pytest.mark.parametrize(
    ("name", "cheat"),
    [
        ("empty message", lambda m: [b""]),
        ("short header", lambda m: [m[0][:4]]),
        ("unknown type", lambda m: [b"\x09" + m[0][1:]]),
        ("count of zero", lambda m: [b"\x01\0\0\0\0"]),
        ("huge count", lambda m: [b"\x01\xff\xff\xff\xff"]),
        ("count beyond body", lambda m: [edit(m[0], 1, b"\x05")]),
        ("trailing byte", lambda m: [m[0] + b"\0"]),
        ("truncated", lambda m: [m[0][:-1]]),
        ("identity point", lambda m: [edit(m[0], 5, bytes(32))]),
        ("non-canonical point", lambda m: [edit(m[0], 5, NON_CANONICAL)]),
        ("negative point", lambda m: [edit(m[0], 5, b"\x01" + bytes(31))]),
        ("repeated point in a message", lambda m: [edit(m[0], 37, m[0][5:37]), m[1]]),
        ("repeated point across messages", lambda m: [m[0], edit(m[1], 5, m[0][5:37])]),
        ("more items than declared", lambda m: [m[0], m[0]]),
        ("fewer items than declared", lambda m: [m[0], m[2]]),
        ("repeated tag", lambda m: [*m[:2], edit(m[2], 5, m[2][15:25]), m[3]]),
        ("more tags than items", lambda m: [*m[:4], m[2]]),
        ("tags cut short", lambda m: [*m[:2], m[2][:-10]]),
        ("multiplicity of zero", lambda m: [*m[:4], edit(m[4], 5, bytes(4))]),
        ("more multiplicities than matches", lambda m: [*m[:6], m[4]]),
        ("multiplicities before tags", lambda m: [*m[:2], m[4]]),
        ("items after the end", lambda m: [*m, m[0]]),
    ],
)
def test_each_broken_message_has_its_error(name, cheat):
    side, messages, _ = transcript()
    assert [m[0] for m in messages] == [1, 1, 2, 2, 3, 3]
    with pytest.raises(AtollError) as caught:
        feed(side, cheat(messages))
    assert caught.value.code == "E_PROTOCOL", name
    assert "row" not in caught.value.to_wire()


def test_tags_to_one_who_learns_nothing_and_tags_out_of_order():
    side, messages, _ = transcript(("nothing", "rows"), multiplicity=False)
    with pytest.raises(AtollError, match="learns nothing"):
        feed(side, [*messages, b"\x02\x01\0\0\0" + bytes(10)])
    side, messages, _ = transcript(("size", "nothing"), multiplicity=False)
    swapped = edit(edit(messages[2], 5, messages[2][15:25]), 15, messages[2][5:15])
    with pytest.raises(AtollError, match="not in order"):
        feed(side, [*messages[:2], swapped])


def test_a_refused_message_ends_the_machine():
    side, messages, _ = transcript()
    machine = EcdhPsi(SEEDS[0], 0, "c", side)
    with pytest.raises(AtollError, match="E_PROTOCOL"):
        machine.receive(b"")
    for call in (
        machine.next_message,
        machine.checkpoint,
        machine.matched,
        lambda: machine.receive(messages[0]),
    ):
        with pytest.raises(AtollError) as caught:
            call()
        assert caught.value.code == "E_STATE"
    assert not machine.done


def test_a_flipped_bit_in_a_tag_only_loses_that_match():
    """Semi-honest: no detection is promised, and none happens."""
    side, messages, results = transcript(("rows", "nothing"), multiplicity=False)
    messages[2] = edit(messages[2], 5, bytes([messages[2][5] ^ 1]))
    machine = feed(side, messages)
    assert machine.done
    assert machine.size() == results[0].size - 1
    assert set(words(machine.matched())) < set(words(results[0].matched))


def test_nothing_opens_before_the_peers_set_is_whole_and_sound():
    side, messages, _ = transcript()
    machine = EcdhPsi(SEEDS[0], 0, "c", side)
    sent = [machine.next_message() for _ in range(2)]
    assert not any(opens for _, _, opens in sent)
    machine.receive(messages[0])
    assert machine.next_message() is None
    with pytest.raises(AtollError, match="E_PROTOCOL"):
        machine.receive(edit(messages[1], 5, messages[0][5:37]))


def test_before_open_can_stop_the_run_with_nothing_opened():
    pair = sides({1: 1, 2: 1}, {2: 1})
    channels = memory.pair(8)
    peer = EcdhPsi(SEEDS[1], 0, "c", pair[1])
    channels[1].send(peer.next_message()[0], "blinded")

    def stop():
        raise AtollError("E_QUOTA", "The quota is used up.")

    with pytest.raises(AtollError, match="E_QUOTA"):
        ecdh_psi.run(pair[0], channels[0], seed=SEEDS[0], attempt=0, name="c", before_open=stop)
    assert [step for step, _ in channels[0].sent] == ["ecdh-psi/blinded/0"]


def test_results_come_only_at_the_end_and_to_those_who_learn():
    machine = EcdhPsi(SEEDS[0], 0, "c", sides({1: 1}, {1: 1})[0])
    for call in (machine.matched, machine.size, machine.peer_multiplicity):
        with pytest.raises(AtollError) as caught:
            call()
        assert caught.value.code == "E_STATE"
    side, messages, _ = transcript(("size", "nothing"), multiplicity=False)
    with pytest.raises(AtollError, match="does not learn rows"):
        feed(side, messages).matched()


def test_size_tags_are_sorted_and_carry_no_order_of_the_items():
    peers = dict.fromkeys(range(50), 1)
    pair = sides(peers, peers, ("nothing", "size"), chunk=7)
    _, channels, _ = run(pair)
    tags = [
        p[5 + i : 15 + i] for step, p in channels[0].sent if "tags" in step for i in range(0, len(p) - 5, 10)
    ]
    assert len(tags) == 50
    assert tags == sorted(tags)


@pytest.mark.parametrize(
    "change",
    [
        {"digests": b"x" * 31},
        {"peer_items": -1},
        {"peer_items": 2**32},
        {"chunk_items": 0},
        {"chunk_items": 65537},
        {"multiplicity": b"\1\0\0"},
        {"multiplicity": bytes(8)},
        {"i_learn": "nothing", "peer_learns": "nothing"},
        {"i_learn": "all"},
    ],
)
def test_bad_arguments_are_refused(change):
    side = replace(sides({1: 1, 2: 1}, {1: 1})[0], **change)
    with pytest.raises(AtollError) as caught:
        EcdhPsi(SEEDS[0], 0, "c", side)
    assert caught.value.code in ("E_FORMAT", "E_TOO_LARGE")


def test_tables_join_as_sql_does():
    left = key_digests(pa.table({"id": ["a", "b", "b", None, "c"]}), ["id"])
    right = key_digests(pa.table({"id": ["b", "c", "c", "c", "d"]}), ["id"])
    with pytest.raises(AtollError, match="E_DUPLICATE"):
        Side.of(left, duplicates="refuse", peer_items=1, i_learn="rows", peer_learns="rows", context=b"")
    pair = [
        Side.of(a, duplicates="sql", peer_items=b.n_unique, i_learn="rows", peer_learns="rows", context=b"")
        for a, b in ((left, right), (right, left))
    ]
    results, _, _ = run(pair)
    pairs = 0
    for index, count in zip(words(results[0].matched), words(results[0].peer_multiplicity), strict=True):
        pairs += words(left.multiplicity)[index] * count
    assert pairs == 2 * 1 + 1 * 3


def test_both_sides_can_send_much_through_a_narrow_channel():
    many = dict.fromkeys(range(300), 1)
    results, channels, _ = run(sides(many, many, chunk=1), capacity=1)
    assert [r.size for r in results] == [300, 300]
    assert len(channels[0].sent) == 600


def test_a_silent_peer_ends_the_wait():
    channel, _ = memory.pair(seconds=0.05)
    with pytest.raises(AtollError, match="E_PEER_SILENT"):
        ecdh_psi.run(sides({1: 1}, {1: 1})[0], channel, seed=SEEDS[0], attempt=0, name="c", before_open=list)


def test_the_size_estimate_bounds_what_is_sent():
    for modes in MODES:
        _, channels, _ = run(
            sides(dict.fromkeys(range(90), 1), dict.fromkeys(range(70), 1), modes, True, 8192)
        )
        bound = ecdh_psi.wire_bytes(90, 70, peer_learns=modes[1], multiplicities=modes == ("rows", "rows"))
        assert sum(len(p) for _, p in channels[0].sent) <= bound
    assert ecdh_psi.tag_bytes(1 << 20, 1 << 20) == 11


def test_progress_reaches_its_total_and_is_readable_from_another_thread():
    seen = []
    machine = EcdhPsi(SEEDS[0], 0, "c", sides({1: 1, 2: 1}, {})[0])
    thread = threading.Thread(target=lambda: seen.append(machine.progress()))
    thread.start()
    thread.join()
    machine.next_message()
    assert [*seen, machine.progress()] == [(0, 2), (2, 2)]
