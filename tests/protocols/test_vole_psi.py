"""PSI from VOLE against the ideal functionality, in buckets, after restarts, against a peer that breaks the rules."""

from __future__ import annotations

import hashlib
import stat
import struct
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.crypto.files import FileBytes
from atoll.crypto.psi import Side, VolePsi, partition
from atoll.errors import AtollError
from atoll.protocols import buckets, memory, vole_psi

MODES = [("rows", "rows"), ("rows", "nothing"), ("nothing", "rows")]
HOW = [("malicious", "fast"), ("semi-honest", "fast"), ("semi-honest", "low-communication")]
SEEDS = (b"a" * 32, b"b" * 32)


def words(data: bytes) -> list[int]:
    return list(struct.unpack(f"<{len(data) // 4}I", data))


def digests(items) -> bytes:
    return b"".join(hashlib.sha256(repr(i).encode()).digest() for i in items)


def sides(mine, peers, modes=("rows", "rows"), multiplicity=False):
    counts = [struct.pack(f"<{len(x)}I", *x.values()) if multiplicity else None for x in (mine, peers)]
    return [
        Side(digests(mine), counts[0], len(peers), *modes, b"job"),
        Side(digests(peers), counts[1], len(mine), *reversed(modes), b"job"),
    ]


def ones(*numbers):
    return dict.fromkeys(range(*numbers), 1)


def call(i, pair, channel, how=HOW[0], **more):
    security, variant = how
    settings = {
        "seed": SEEDS[i],
        "attempt": 0,
        "name": "c",
        "security": security,
        "variant": variant,
        "before_open": lambda: None,
    }
    return vole_psi.run(pair[i], channel, **(settings | more))


def run(pair, how=HOW[0], capacity=2, change=lambda i: {}, **more):
    """Runs both sides in threads; returns (results, channels, calls of before_open)."""
    channels, opened = memory.pair(capacity), [0, 0]

    def party(i):
        def before_open():
            opened[i] += 1
            assert not any("/tags/" in step or "/matches/" in step for step, _ in channels[i].sent)

        try:
            return call(i, pair, channels[i], how, before_open=before_open, **(more | change(i)))
        except BaseException:
            channels[i].close()
            raise

    with ThreadPoolExecutor(2) as workers:
        return list(workers.map(party, (0, 1))), channels, opened


items = st.dictionaries(st.integers(0, 30), st.integers(1, 5), max_size=24)


@settings(max_examples=30, deadline=None)
@given(
    items,
    items,
    st.sampled_from(MODES),
    st.sampled_from(HOW),
    st.booleans(),
    st.sampled_from([4, 9, 1 << 20]),
)
def test_equals_the_ideal_functionality(mine, peers, modes, how, multiplicity, bucket_items):
    (left, right), channels, opened = run(
        sides(mine, peers, modes, multiplicity), how, bucket_items=bucket_items
    )
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
    some = int(bool(mine) and bool(peers))
    assert opened == [some * (modes[1] == "rows"), some * (modes[0] == "rows")]
    for channel in channels:
        steps = [step for step, _ in channel.sent]
        assert len(set(steps)) == len(steps)


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize(("mine", "peers"), [(0, 0), (0, 5), (5, 0), (1, 1), (9, 9), (1, 2000), (3000, 2)])
def test_edges_of_size(mine, peers, how):
    for modes in MODES:
        results, _, _ = run(sides(ones(mine), ones(peers), modes), how)
        for result, mode in zip(results, modes, strict=True):
            assert result.size == (None if mode == "nothing" else min(mine, peers))
    results, _, _ = run(sides(ones(mine), ones(mine, mine + peers)), how)
    assert [r.matched for r in results] == [b"", b""]


def test_the_side_with_fewer_keys_is_the_receiver_and_the_coin_decides_ties():
    for mine, peers, want in ((3, 4, "receiver"), (4, 3, "sender"), (4, 4, None)):
        pair = sides(ones(mine), ones(peers))
        assert vole_psi.role_of(pair[0]) == want
    assert vole_psi.role_of(sides(ones(3), ones(9), ("nothing", "rows"))[0]) == "sender"
    # Of two sides of one size, exactly one sends tags, and which one it is differs between attempts.
    first = set()
    for attempt in range(12):
        _, channels, _ = run(sides(ones(4), ones(4)), attempt=attempt)
        senders = [i for i in (0, 1) if any("/tags/" in step for step, _ in channels[i].sent)]
        assert len(senders) == 1
        first.add(senders[0])
    assert first == {0, 1}


def test_bytes_follow_from_seed_and_attempt_alone():
    pair = sides(dict.fromkeys(range(600), 2), dict.fromkeys(range(300, 1000), 3), multiplicity=True)
    sent = []
    for threads, attempt, capacity in ((1, 0, 1), (2, 0, 64), (1, 1, 4)):
        _, channels, _ = run(pair, capacity=capacity, threads=threads, attempt=attempt, bucket_items=200)
        sent.append([c.sent for c in channels])
    assert sent[0] == sent[1]
    for side in (0, 1):
        first, other = ({p for step, p in s[side] if len(p) > 40} for s in (sent[0], sent[2]))
        assert not first & other


# Buckets.


def test_every_bucket_is_padded_to_the_same_size():
    _, channels, _ = run(sides(ones(300), ones(100, 500)), bucket_items=50)
    for channel in channels:
        sizes = {}
        for step, payload in channel.sent:
            if "/" in step.removeprefix("vole-psi/"):
                _, number, kind, part = step.split("/")
                if kind in ("masked", "tags"):
                    sizes.setdefault((kind, part), set()).add(len(payload))
                    assert int(number) < 8
        assert sizes
        assert all(len(lengths) == 1 for lengths in sizes.values())


@pytest.mark.parametrize("how", HOW)
def test_keys_chosen_against_buckets_and_stores(how):
    """Whoever chooses ids can choose them by their digests, which no secret enters, and by where earlier runs put them.

    Both kinds fill no bucket over its bound and make no store fail: places follow from a coin that falls afterwards.
    """
    each = [(i, digests([i])) for i in range(60_000)]
    # Digests that begin and end alike, as a table that looks at a part of them would place them together.
    alike = [i for i, told in each if told[0] < 8 and told[-1] & 7 == 0]
    # Keys that a known coin puts into the first of ten buckets.
    order, loads = partition(b"".join(told for _, told in each), b"k" * 32, 10, threads=1)
    crowded = words(order)[: loads[0]][: len(alike) * 5]
    for chosen in (alike, crowded):
        keys = dict.fromkeys(chosen, 1)
        others = dict.fromkeys([*chosen[::2], *range(100_000, 100_000 + len(chosen))], 1)
        results, channels, _ = run(sides(keys, others), how, bucket_items=100)
        assert [len(r.matched) // 4 for r in results] == [len(chosen[::2])] * 2
        random = ones(200_000, 200_000 + len(keys)), ones(300_000, 300_000 + len(others))
        _, usual, _ = run(sides(*random), how, bucket_items=100)
        for mine, theirs in zip(channels, usual, strict=True):
            lengths = [
                sorted(len(payload) for step, payload in c.sent if "/masked/" in step or "/tags/" in step)
                for c in (mine, theirs)
            ]
            assert lengths[0] == lengths[1] != []


# Restart.


class Tape:
    """A channel whose peer's messages are known; what is sent is kept."""

    def __init__(self, messages):
        self.left = deque(messages)
        self.sent = []

    def send(self, payload, step):
        self.sent.append((step, payload))

    def recv(self):
        return self.left.popleft()

    def readable(self):
        return bool(self.left)

    def writable(self):
        return True

    def wait(self, read, write):
        assert self.left or write, "the tape is at its end"


@pytest.mark.parametrize("modes", MODES)
def test_a_killed_party_goes_on_at_the_last_finished_bucket(modes):
    mine, peers = dict.fromkeys(range(90), 2), dict.fromkeys(range(40, 170), 3)
    pair = sides(mine, peers, modes, multiplicity=True)
    channels = memory.pair(4)
    kept, taken = ([], []), [0, 0]

    def party(i):
        receive = channels[i].recv

        def count():
            taken[i] += 1
            return receive()

        channels[i].recv = count
        return call(
            i,
            pair,
            channels[i],
            bucket_items=30,
            save=lambda state: kept[i].append((state(), len(channels[i].sent), taken[i])),
        )

    with ThreadPoolExecutor(2) as workers:
        results = list(workers.map(party, (0, 1)))
    sent = [channel.sent for channel in channels]
    for i in (0, 1):
        assert len(kept[i]) == 5
        # From the beginning, and from every checkpoint: the rest of the peer's messages comes again.
        for state, mine_sent, received in [(None, 0, 0), *kept[i]]:
            tape = Tape([payload for _, payload in sent[1 - i][received:]])
            opened = []
            found = call(
                i,
                pair,
                tape,
                bucket_items=30,
                checkpoint=state,
                before_open=lambda seen=opened: seen.append(1),
            )
            assert found == results[i]
            assert tape.sent == sent[i][mine_sent:]
            assert not tape.left
            assert len(opened) == any("/tags/" in s or "/matches/" in s for s, _ in tape.sent)


def in_files(side, folder):
    """The same side, its keys in files."""
    parts = []
    for name, data in (("digests", side.digests), ("counts", side.multiplicity)):
        (folder / name).write_bytes(data or b"")
        parts.append(None if data is None else FileBytes.open(folder / name))
    return replace(side, digests=parts[0], multiplicity=parts[1])


@pytest.fixture
def filed(tmp_path, monkeypatch):
    """Two sides of five buckets, the first one's keys in files; and what both in memory gave and sent."""
    monkeypatch.setattr(buckets, "_CHUNK", 17)
    pair = sides(dict.fromkeys(range(90), 2), dict.fromkeys(range(40, 170), 3), multiplicity=True)
    results, channels, _ = run(pair, bucket_items=30)
    return in_files(pair[0], tmp_path), pair[0], results[0], [channel.sent for channel in channels]


def plainly(found):
    """A result, what is in files read."""
    return replace(found, matched=found.matched[:], peer_multiplicity=found.peer_multiplicity[:])


def resumed(side, sent, received=0, **more):
    tape = Tape([payload for _, payload in sent[1][received:]])
    found = call(0, [side], tape, bucket_items=30, **more)
    assert not tape.left
    return plainly(found), tape.sent


def test_keys_in_files_send_the_same_and_find_the_same(filed, tmp_path):
    side, held, result, sent = filed
    assert resumed(held, sent) == resumed(side, sent) == (result, sent[0])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["counts", "digests"]
    one = replace(side, multiplicity=None), replace(held, multiplicity=None)
    other = replace(sides(ones(90), ones(40, 170))[1], multiplicity=None)
    results, channels, _ = run([one[1], other], bucket_items=30)
    tape = Tape([payload for _, payload in channels[1].sent])
    found = call(0, [one[0]], tape, bucket_items=30)
    assert (found.matched[:], found.peer_multiplicity) == (results[0].matched, None)
    assert tape.sent == channels[0].sent


def checkpoints(side, sent, path):
    """Every state that a run with keys in files gives, and what was sent and received by then."""
    kept = []
    tape = Tape([payload for _, payload in sent[1]])

    def save(state):
        kept.append((state(), len(tape.sent), len(sent[1]) - len(tape.left)))

    found = call(0, [side], tape, bucket_items=30, results=path, save=save)
    return plainly(found), kept


def test_a_run_in_files_goes_on_at_the_last_finished_bucket(filed, tmp_path):
    side, _, result, sent = filed
    path = tmp_path / "matches-0"
    found, kept = checkpoints(side, sent, path)
    assert found == result
    assert len(kept) == 5
    # Matches of later buckets stand in the files when a run goes on from an earlier one.
    for state, mine_sent, received in reversed(kept):
        again = resumed(side, sent, received, checkpoint=state, results=path)
        assert again == (result, sent[0][mine_sent:])
    assert {len(state) for state, _, _ in kept} == {len(kept[0][0])}
    assert all(stat.S_IMODE(p.stat().st_mode) == 0o600 for p in tmp_path.glob("matches-0.*"))
    # From the beginning: what an attempt that kept no state left behind does not count.
    assert resumed(side, sent, results=path) == (result, sent[0])


def test_a_checkpoint_without_its_files_is_foreign(filed, tmp_path):
    side, held, _, sent = filed
    path = tmp_path / "matches-0"
    _, kept = checkpoints(side, sent, path)
    state, _, received = kept[2]
    keys = tmp_path / "matches-0.keys"
    good = keys.read_bytes()
    for bad in (b"", good[: len(good) // 4], bytes([good[0] ^ 1]) + good[1:]):
        keys.write_bytes(bad)
        with pytest.raises(AtollError, match="E_FORMAT"):
            resumed(side, sent, received, checkpoint=state, results=path)
    keys.write_bytes(good)
    for other, where in ((side, None), (side, tmp_path / "elsewhere"), (held, path)):
        with pytest.raises(AtollError, match="E_FORMAT"):
            resumed(other, sent, received, checkpoint=state, results=where)
    for cut in range(len(state)):
        with pytest.raises(AtollError, match="E_FORMAT"):
            resumed(side, sent, received, checkpoint=state[:cut], results=path)


class Early(Tape):
    """A tape that takes nothing until all that the peer ever sent was laid aside, as after a restart."""

    def writable(self):
        return not self.left

    def wait(self, read, write):
        assert read
        assert write


def test_no_checkpoint_is_taken_while_messages_are_laid_aside():
    pair = sides(ones(90), ones(40, 170))
    results, channels, _ = run(pair, bucket_items=30)
    for i in (0, 1):
        kept = []
        tape = Early([payload for _, payload in channels[1 - i].sent])
        keep = lambda state, kept=kept, tape=tape: kept.append((state(), len(tape.sent)))  # noqa: E731
        assert call(i, pair, tape, bucket_items=30, save=keep) == results[i]
        # The messages of all buckets were laid aside in the first: they would not come a second time.
        ((state, sent),) = kept
        again = Tape([])
        assert call(i, pair, again, bucket_items=30, checkpoint=state) == results[i]
        assert tape.sent[sent:] == again.sent


def test_a_checkpoint_fits_its_own_run_only():
    pair = sides(ones(40), ones(20, 70), multiplicity=True)
    kept = []
    run(
        pair, bucket_items=20, change=lambda i: {"save": lambda state: kept.append(state())} if i == 0 else {}
    )
    state = kept[1]
    other = replace(pair[0], context=b"other")
    keys = replace(pair[0], digests=digests(range(1, 41)))
    rows = replace(pair[0], multiplicity=struct.pack("<40I", *range(1, 41)))
    peers = replace(pair[0], peer_items=51)
    changes = [
        (pair[0], {"seed": SEEDS[1]}),
        (pair[0], {"attempt": 1}),
        (pair[0], {"name": "d"}),
        (pair[0], {"bucket_items": 10}),
        (pair[0], {"security": "semi-honest"}),
        *((side, {}) for side in (other, keys, rows, peers)),
        *(
            (pair[0], {"checkpoint": bad})
            for bad in (b"", state[:-1], state + b"\0", state[:60] + b"\xff" * 50)
        ),
    ]
    for side, change in changes:
        with pytest.raises(AtollError) as caught:
            call(0, [side], Tape([]), **({"bucket_items": 20, "checkpoint": state} | change))
        assert caught.value.code == "E_FORMAT", change


# A peer that breaks the rules.


@pytest.mark.parametrize(
    "change",
    [
        {"bucket_items": 7},
        {"security": "semi-honest"},
    ],
)
def test_sides_that_differ_in_parameters_stop_before_anything_is_sent(change):
    channels = memory.pair(8)
    with ThreadPoolExecutor(2) as workers:
        pair = sides(ones(4), ones(5))
        both = [
            workers.submit(call, i, pair, channels[i], **(change if i else {"bucket_items": 9}))
            for i in (0, 1)
        ]
        for one in both:
            with pytest.raises(AtollError, match="E_PROTOCOL"):
                one.result()
    assert [[step for step, _ in c.sent] for c in channels] == [["vole-psi/hello"]] * 2


def test_a_peer_with_another_number_of_keys_is_refused():
    pair = sides(ones(4), ones(5))
    pair[1] = replace(pair[1], digests=digests(range(6)))
    with pytest.raises(AtollError, match="E_PROTOCOL"):
        run(pair)


def test_flipped_bits_never_make_a_match():
    """Malicious security: an error, or results in which every match is one."""
    mine, peers = ones(30), ones(15, 45)
    pair = sides(mine, peers)
    _, channels, _ = run(pair, capacity=64)
    sent = [[p for _, p in c.sent] for c in channels]
    codes = []
    for i in (0, 1):
        for number, message in enumerate(sent[1 - i]):
            for at in {0, 1, len(message) // 2, len(message) - 1}:
                changed = list(sent[1 - i])
                changed[number] = message[:at] + bytes([message[at] ^ 4]) + message[at + 1 :]
                try:
                    found = call(i, pair, Tape(changed))
                except AtollError as error:
                    codes.append(error.code)
                    continue
                except IndexError:  # It waits for a message that a peer that is changed so never sends.
                    continue
                own, other = (mine, peers) if i == 0 else (peers, mine)
                assert {list(own)[k] for k in words(found.matched)} <= set(other)
    assert set(codes) == {"E_PROTOCOL"}
    assert len(codes) > 20


def test_before_open_can_stop_the_run_with_nothing_opened():
    pair = sides(ones(5), ones(9), ("nothing", "rows"))

    def stop():
        raise AtollError("E_QUOTA", "The quota is used up.")

    channels = memory.pair(8)

    def party(i):
        try:
            return call(i, pair, channels[i], before_open=stop)
        except AtollError:
            channels[i].close()
            raise

    with ThreadPoolExecutor(2) as workers:
        both = [workers.submit(party, i) for i in (0, 1)]
        with pytest.raises(AtollError, match="E_QUOTA"):
            both[0].result()
        with pytest.raises(AtollError, match="E_PEER_SILENT"):
            both[1].result()
    assert not any("/tags/" in step for step, _ in channels[0].sent)


@pytest.mark.parametrize(
    ("change", "how", "more"),
    [
        ({"i_learn": "size"}, HOW[0], {}),
        ({"peer_learns": "size"}, HOW[0], {}),
        ({"i_learn": "nothing", "peer_learns": "nothing"}, HOW[0], {}),
        ({"digests": b"x" * 31}, HOW[0], {}),
        ({"multiplicity": b"\1\0\0"}, HOW[0], {}),
        ({}, ("malicious", "low-communication"), {}),
        ({}, ("none", "fast"), {}),
        ({}, ("semi-honest", "other"), {}),
        ({}, HOW[0], {"threads": 0}),
        ({}, HOW[0], {"attempt": -1}),
        ({}, HOW[0], {"seed": b"x"}),
        ({}, HOW[0], {"bucket_items": 0}),
        ({}, HOW[0], {"bucket_items": 1 << 21}),
    ],
)
def test_bad_arguments_are_refused(change, how, more):
    pair = sides(ones(4), ones(5))
    pair = [replace(pair[0], **change), pair[1]]
    with pytest.raises(AtollError) as caught:
        run(pair, how, change=lambda i: more if i == 0 else {})
    assert caught.value.code == "E_FORMAT"


def test_progress_reaches_its_total():
    seen = ([], [])
    run(
        sides(ones(40), ones(20, 90)),
        bucket_items=20,
        change=lambda i: {"progress": lambda done, total: seen[i].append((done, total))},
    )
    for steps in seen:
        assert steps == sorted(steps)
        assert steps[-1][0] == steps[-1][1]


def test_the_receivers_bound_is_disclosed():
    machine = VolePsi(
        SEEDS[0],
        0,
        "c",
        context=b"x",
        digests=digests(range(100)),
        multiplicity=None,
        peer_items=5,
        role="receiver",
        both=False,
    )
    assert machine.presented_at_most() == vole_psi.presented_at_most(100, 5, "malicious")
    assert 100 < vole_psi.presented_at_most(100, 5, "malicious") < 1000
    assert vole_psi.presented_at_most(100, 5, "semi-honest") == 100
    assert vole_psi.presented_at_most(0, 5, "malicious") == vole_psi.presented_at_most(5, 0, "malicious") == 0
    many = vole_psi.presented_at_most(1 << 22, 1 << 22, "malicious")
    assert 1 << 22 < many < 2 << 22


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize(("mine", "peers"), [(1, 1), (9, 20), (20_000, 30_000), (40_000, 300)])
def test_the_size_estimate_bounds_what_is_sent_within_five_percent(mine, peers, how):
    # The smaller set is in the larger one, so that there are as many matches as can be.
    for modes in MODES:
        for bucket_items in (1 << 20, max(mine, peers) // 2 + 1):
            pair = sides(ones(mine), ones(peers), modes, multiplicity=True)
            _, channels, _ = run(pair, how, bucket_items=bucket_items)
            for i, (own, other) in enumerate(((mine, peers), (peers, mine))):
                tags = any("/tags/" in step for step, _ in channels[i].sent)
                bound = vole_psi.wire_bytes(
                    own,
                    other,
                    role="sender" if tags else "receiver",
                    both=modes == ("rows", "rows"),
                    security=how[0],
                    variant=how[1],
                    multiplicities=True,
                    bucket_items=bucket_items,
                )
                used = sum(len(payload) for _, payload in channels[i].sent)
                assert used <= bound <= 1.05 * used
