"""Parties that compute nothing: owners of inputs, and receivers of what opens."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from socket import create_server

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mpc_parties import channels, ends, mine, run, uneven

from atoll import mpc
from atoll.errors import AtollError
from atoll.mpc import Session, real
from atoll.mpc.noted import described

NAMES = {2: ["alice", "bob", "dora", "emil"], 3: ["alice", "bob", "carol", "dora", "emil"]}
RNG = np.random.default_rng(12)


def inputs(session, tables, **options):
    """One array of each owner; the owners are the parties that do not compute."""
    first = len(session.protocol.everybody)
    return [
        session.share(
            mine(session, first + i, t),
            first + i,
            t.shape,
            low=-1000,
            high=1000,
            name=f"table {i}",
            **options,
        )
        for i, t in enumerate(tables)
    ]


@pytest.mark.parametrize("parties", [2, 3])
@pytest.mark.parametrize("outside", [1, 2, 3, 4])
def test_owners_outside_bring_numbers_and_bits(parties, outside):
    tables = [RNG.integers(-1000, 1000, 70) for _ in range(outside)]
    marks = RNG.integers(0, 2, 70).astype(bool)

    def party(session):
        shared = inputs(session, tables)
        last = session.parties - 1
        flags = session.share(mine(session, last, marks), last, 70, kind=mpc.BOOLEAN, name="marks")
        own = session.share(mine(session, 0, np.arange(70)), 0, 70, low=0, high=100, name="inside")
        total = sum(shared[1:], shared[0]) * own
        return session.open(total, flags, np.where(flags, total, 0).sum(), np.sort(shared[0]))

    total = sum(tables) * np.arange(70)
    for opened, flags, chosen, ascending in run(party, parties=parties, outside=outside):
        assert (opened == total).all()
        assert (flags == marks).all()
        assert chosen == total[marks].sum()
        assert (ascending == np.sort(tables[0])).all()


@pytest.mark.parametrize("parties", [2, 3])
def test_who_only_receives_and_who_only_brings(parties):
    """Owner 3 of 2, receiver the last; nobody else learns, the computing parties included."""
    x = RNG.integers(-1000, 1000, 33)

    def party(session):
        (a,) = inputs(session, [x])
        receiver = session.parties - 1
        return session.open(a * a, a < 0, (a * 2.5).sum(), to=receiver), session.open(a, to=(0, receiver))

    found = run(party, parties=parties, outside=2)
    for me, (first, second) in enumerate(found):
        if me == parties + 1:
            squares, below, scaled = first
            assert (squares == x * x).all()
            assert (below == (x < 0)).all()
            assert float(scaled) == x.sum() * 2.5
        else:
            assert first == (None, None, None)
        assert second is None if me not in (0, parties + 1) else (second == x).all()


@pytest.mark.parametrize("parties", [2, 3])
def test_several_openings_in_turn_and_inputs_that_come_late(parties):
    x, y = RNG.integers(-9, 9, 20), RNG.integers(-9, 9, 20)

    def party(session):
        a, b = inputs(session, [x, y])
        first = int(session.open(a.sum()))
        # What was sent once is not sent again, and b goes only now; control flow depends on what opened.
        for _ in range(3):
            b = b + first if first % 2 else b - first
        return first, session.open(b * a), session.open(a, b)

    expected = y + 3 * (x.sum() if x.sum() % 2 else -x.sum())
    for first, product, (a, b) in run(party, parties=parties, outside=2):
        assert first == x.sum()
        assert (product == expected * x).all()
        assert (a == x).all()
        assert (b == expected).all()


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(-(2**61), 2**61), max_size=80), st.sampled_from([2, 3]), st.sampled_from([1, 2, 63])
)
def test_any_numbers_and_sizes_come_through(values, parties, times):
    x = np.array(values, np.int64)
    bits = (np.arange(len(values)) * times) % 3 == 0

    def party(session):
        owner = session.parties - 1
        a = session.share(mine(session, owner, x), owner, x.shape, low=-(2**61), high=2**61)
        b = session.share(mine(session, owner, bits), owner, bits.shape, kind=mpc.BOOLEAN)
        return session.open(a, b, to=owner)

    found = run(party, parties=parties, outside=1)
    assert (found[-1][0] == x).all()
    assert (found[-1][1] == bits).all()
    assert found[:-1] == [(None, None)] * parties


@pytest.mark.parametrize("parties", [2, 3])
@pytest.mark.parametrize("capacity", [1, 8])
def test_large_inputs_go_in_pieces_through_small_windows(parties, capacity, monkeypatch):
    monkeypatch.setattr("atoll.mpc.rounds.PIECE_WORDS", 1 << 10)
    monkeypatch.setattr("atoll.mpc.rounds._AT_ONCE", 1 << 9)
    tables = [RNG.integers(-1000, 1000, 30_000) for _ in range(3)]

    def party(session):
        a, b, c = inputs(session, tables)
        return session.open(a * b + c)

    for found in run(
        party, parties=parties, outside=3, links=channels(60, capacity, parties=parties, outside=3)
    ):
        assert (found == tables[0] * tables[1] + tables[2]).all()


@pytest.mark.parametrize("parties", [2, 3])
def test_an_input_outside_its_bounds_ends_at_the_owner_and_nobody_hangs(parties):
    def party(session):
        (a,) = inputs(session, [np.array([1, 2, 5000])])
        return session.open(a.sum(), to=0)

    begun = time.monotonic()
    found = ends(party, parties=parties, outside=2)
    assert time.monotonic() - begun < 20
    assert all(isinstance(error, AtollError) for error in found[: parties + 1])
    # Another party outside that brings and receives nothing may have ended before.
    assert found[-1] is None or isinstance(found[-1], AtollError)
    assert found[parties].code == "E_RANGE"
    assert "table 0, place 2: 5000 is outside" in str(found[parties])
    assert {found[me].code for me in range(parties)} == {"E_PEER_SILENT"}
    # The first to notice names the owner; those who wait for the first name it.
    assert any(error.party == f"party {parties}" for error in found[:parties])
    assert all(error.party for error in found[:parties])


@pytest.mark.parametrize("parties", [2, 3])
@pytest.mark.parametrize("when", ["before the program", "before its input"])
@pytest.mark.parametrize("how", ["silent", "closed"])
def test_a_dead_owner_ends_the_others_by_its_name(parties, when, how):
    links = channels(2, parties=parties, outside=1)

    def party(session):
        (a,) = inputs(session, [np.arange(9)])
        if session.me == parties:
            if when == "before its input":
                session.noted.note("open", [a.number], (0,))
                session.links.run(session._agree())
            if how == "closed":
                raise AtollError("E_CANCELLED", "gone")
            gone.wait(20)
            return None
        try:
            return session.open(a, to=0)
        finally:
            gone.set()

    gone = threading.Event()
    found = ends(party, links=links, parties=parties, outside=1, names=NAMES[parties])
    assert all(isinstance(e, AtollError) and e.code == "E_PEER_SILENT" for e in found[:parties])
    assert any(e.party == "dora" and "dora" in str(e) for e in found[:parties])
    assert all(e.party for e in found[:parties])


class Changed:
    """A channel of which one message is changed before it is sent."""

    def __init__(self, channel, at, change):
        self.channel, self.at, self.change, self.count = channel, at, change, 0

    def send(self, payload, step):
        if self.count == self.at:
            payload = self.change(bytes(payload))
        self.count += 1
        self.channel.send(payload, step)

    def __getattr__(self, name):
        return getattr(self.channel, name)


@pytest.mark.parametrize("parties", [2, 3])
@pytest.mark.parametrize("change", ["longer", "shorter", "empty"])
@pytest.mark.parametrize(("sender", "receiver", "messages"), [(-1, 1, 3), (1, -1, 3)])
def test_a_message_of_another_length_is_refused_by_name(parties, change, sender, receiver, messages):
    """In either direction: greeting, digest of the program, input or opened share."""
    alter = {"longer": lambda p: p + bytes(8), "shorter": lambda p: p[:-1], "empty": lambda p: b""}[change]
    names = NAMES[parties]
    sender, receiver = sender % (parties + 1), receiver % (parties + 1)
    for at in range(messages):
        links = channels(10, parties=parties, outside=1)
        links[sender][receiver] = changed = Changed(links[sender][receiver], at, alter)

        def party(session):
            (a,) = inputs(session, [np.arange(9)])
            return session.open(a.sum(), to=session.parties - 1)

        found = ends(party, links=links, parties=parties, outside=1, names=names)
        assert found[receiver].code == "E_PROTOCOL"
        assert f"{names[sender]} sent" in str(found[receiver])
        assert found[receiver].party == names[sender]
        assert changed.count > at


def _captured(parties, program):
    links = channels(parties=parties, outside=2, capacity=64)
    run(program, links=links, parties=parties, outside=2)
    return {(i, j): links[i][j].sent for i in range(parties + 2) for j in links[i]}


@pytest.mark.parametrize("parties", [2, 3])
def test_whatever_crosses_is_uniform(parties):
    """Inputs of one number in every place, numbers and bits, and openings of them to a party outside."""
    size = 6000

    def party(session):
        owner, receiver = parties, parties + 1
        a = session.share(mine(session, owner, np.full(size, 7.0)), owner, size, low=0, high=9, kind=real(16))
        b = session.share(mine(session, owner, np.ones(size * 64, bool)), owner, size * 64, kind=mpc.BOOLEAN)
        session.open(a, b, to=receiver)

    captured = _captured(parties, party)
    seen = set()
    for pair, messages in captured.items():
        long = [p for _, p in messages if len(p) > 64]
        if long:
            seen.add(pair)
            assert len(b"".join(long)) == 16 * size
            assert uneven(long) < 6, pair
    last = {2: {(2, 1)}, 3: {(3, 1), (3, 2)}}[parties]
    assert seen == last | {(0, parties + 1), (1, parties + 1)}
    # The owner gets greetings and digests of the program, which say nothing of values.
    for me in range(parties):
        assert [len(p) for _, p in captured[me, parties]] == [40, 32]


@pytest.mark.parametrize("parties", [2, 3])
def test_the_words_that_open_are_fresh(parties):
    """An owner to whom its own input opens sees no share that it made: the words are masked anew."""
    x = np.arange(200)

    def party(session):
        a = session.share(mine(session, parties, x), parties, 200, low=0, high=200)
        return session.open(a, a, to=parties)

    links = channels(parties=parties, outside=1)
    found = run(party, links=links, parties=parties, outside=1)[parties]
    assert all((f == x).all() for f in found)
    first, second = (np.frombuffer(links[p][parties].sent[-1][1], np.uint64).reshape(2, 200) for p in (0, 1))
    given = np.frombuffer(links[parties][1].sent[-1][1], np.uint64)
    assert (first + second == x.astype(np.uint64)).all()
    known = [given, x.astype(np.uint64) - given, *first, *second]
    assert len(np.unique(np.concatenate(known))) == 6 * 200


@pytest.mark.parametrize("parties", [2, 3])
def test_the_control_without_masks_is_caught(parties, monkeypatch):
    """The same look finds what is wrong when the owner's streams are zeros."""
    monkeypatch.setattr(
        "atoll.mpc.outside._drawn", lambda streams, share, shape, wide: np.zeros(shape, np.uint64)
    )

    def party(session):
        a = session.share(mine(session, parties, np.full(6000, 7)), parties, 6000, low=0, high=9)
        session.open(a, to=0)

    captured = _captured(parties, party)
    assert uneven([p for _, p in captured[parties, 1] if len(p) > 64]) > 1000


@pytest.mark.parametrize("parties", [2, 3])
def test_no_two_inputs_and_no_two_openings_have_one_mask(parties):
    def party(session):
        a, b = (
            session.share(mine(session, parties, np.zeros(500, int)), parties, 500, low=0, high=9)
            for _ in range(2)
        )
        for _ in range(2):
            session.open(a, b, to=(parties, parties + 1))

    words = np.concatenate(
        [
            np.frombuffer(p, np.uint64)
            for (i, j), messages in _captured(parties, party).items()
            for _, p in messages
            if len(p) > 64 and (i, j) != (3, 2) and i != 1
        ]
    )
    assert len(np.unique(words)) == len(words) > 3000


def test_others_may_bring_columns_to_a_program_with_a_hidden_join_between_two():
    import pyarrow as pa

    keys = [pa.table({"id": list(range(40))}), pa.table({"id": list(range(20, 60))})]

    def party(session):
        columns = [mpc.Given(0, mine(session, 0, np.arange(40)), 0, 100, name="debt")]
        table = keys[session.me] if session.me < 2 else None
        joined = mpc.hidden_join(session, table, (40, 40), columns)
        (weight,) = inputs(session, [np.array([3])])
        return session.open(joined.columns[0].sum() * weight[0], joined.matched.sum(), to=2)

    assert run(party, parties=2, outside=1)[2] == (3 * sum(range(20, 40)), 20)


def test_parties_that_do_not_belong():
    def refused(me, numbers, computing):
        with pytest.raises(AtollError) as caught:
            Session(me, dict.fromkeys(numbers), context=b"", computing=computing)
        assert caught.value.code == "E_FORMAT"

    refused(3, [0, 1], 3)
    refused(3, [0, 1, 2, 4], 3)
    refused(0, [1, 3], 2)
    refused(0, [2], 2)
    refused(-1, [0, 1], 2)
    refused(0, range(1, 4), 4)
    refused(0, range(1, 23), 2)
    links = channels(10, parties=2, outside=1)

    def one(me):
        return Session(me, links[me], context=b"test", computing=2, seed=bytes([me]) * 32)

    with ThreadPoolExecutor(3) as pool:
        sessions = list(pool.map(one, range(3)))
    assert [s.parties for s in sessions] == [3, 3, 3]
    with pytest.raises(AtollError, match="no shape or owner"):
        sessions[0].share(None, 3, 4, low=0, high=1)


def test_another_occasion_is_refused():
    links = channels(5, parties=3, outside=1)

    def one(me):
        context = b"another" if me == 3 else b"test"
        return Session(me, links[me], context=context, computing=3, seed=bytes([me]) * 32)

    with ThreadPoolExecutor(4) as pool:
        errors = [f.exception() for f in [pool.submit(one, me) for me in range(4)]]
    assert {e.code for e in errors} == {"E_PROTOCOL"}
    assert all("party 3 means another computation" in str(e) for e in errors[:3])


@pytest.mark.parametrize("parties", [2, 3])
def test_a_program_of_processes_with_owners_outside(parties):
    """Each process has the input of its party alone; owners outside have sockets to those who compute."""
    owners = [parties, parties + 1, parties + 2]
    pairs = [f"{i}-{j}" for i in range(parties) for j in range(i + 1, parties + 3)]
    servers = [create_server(("127.0.0.1", 0)) for _ in pairs]
    addresses = {p: ["127.0.0.1", s.getsockname()[1]] for p, s in zip(pairs, servers, strict=True)}
    for server in servers:
        server.close()
    columns = np.array([[3, 1, 4, 1, 5], [9, 2, 6, 5, 3], [5, 8, 9, 7, 9]])
    processes = []
    for me in range(parties + 3):
        values = columns[me - parties].tolist() if me >= parties else None
        task = {"me": me, "computing": parties, "outside": 3, "owners": owners, "values": values}
        script = Path(__file__).with_name("party_process.py")
        command = [sys.executable, script, json.dumps({**task, "addresses": addresses})]
        processes.append(subprocess.Popen(command, stdout=subprocess.PIPE))
    results = [json.loads(p.communicate(timeout=60)[0]) for p in processes]
    index = (columns[0] * columns[1]).clip(0, 20).sum().item()
    assert results == [{"index": index, "top": columns.max(0).tolist()}] * (parties + 3)


# One program at all parties.


def _differing(at, parties, outside, ours, theirs):
    def party(session):
        a, b = (
            session.share(mine(session, o, np.arange(1, 9)), o, 8, low=0, high=50, name=f"x{o}")
            for o in (0, 1)
        )
        return (theirs if session.me == at else ours)(session, a, b)

    names = NAMES[parties]
    links = channels(5, parties=parties, outside=outside, capacity=64)
    return ends(party, links=links, parties=parties, outside=outside, names=names), names, links


DIFFERENT = {
    "a constant": (lambda s, a, b: s.open(a * 3), lambda s, a, b: s.open(a * 4)),
    "a constant array": (
        lambda s, a, b: s.open((a * np.arange(8)).sum()),
        lambda s, a, b: s.open((a * np.arange(8)[::-1]).sum()),
    ),
    "two constants of a choice": (
        lambda s, a, b: s.open(np.where(a < b, np.array([5, 1, 2, 9, 9, 9, 9, 0]), 0)),
        lambda s, a, b: s.open(np.where(a < b, np.array([5, 2, 1, 9, 9, 9, 9, 0]), 0)),
    ),
    "a comparison's constant": (lambda s, a, b: s.open(a < 3), lambda s, a, b: s.open(a < 4)),
    "a bound": (
        lambda s, a, b: s.open(s.share(mine(s, 0, np.array([1])), 0, 1, low=0, high=9) * 2),
        lambda s, a, b: s.open(s.share(mine(s, 0, np.array([1])), 0, 1, low=0, high=8) * 2),
    ),
    "an order of operations": (lambda s, a, b: s.open(a - b), lambda s, a, b: s.open(b - a)),
    "an order of statements": (
        lambda s, a, b: s.open(*[a * a, b * b]),
        lambda s, a, b: s.open(*[b * b, a * a][::-1]),
    ),
    "an operation": (lambda s, a, b: s.open(a * b), lambda s, a, b: s.open(a + b)),
    "places": (lambda s, a, b: s.open(a[:3]), lambda s, a, b: s.open(a[2:5])),
    "a receiver": (lambda s, a, b: s.open(a, to=0), lambda s, a, b: s.open(a, to=1)),
    "what opens": (lambda s, a, b: s.open(a), lambda s, a, b: s.open(b)),
    "which is larger": (lambda s, a, b: s.open(np.minimum(a, b)), lambda s, a, b: s.open(np.maximum(a, b))),
    "a matrix product": (
        lambda s, a, b: s.open(a.reshape(2, 4) @ b.reshape(4, 2)),
        lambda s, a, b: s.open(a.reshape(4, 2).T @ b.reshape(4, 2)),
    ),
}


@pytest.mark.parametrize("what", DIFFERENT)
@pytest.mark.parametrize(("parties", "outside", "at"), [(2, 0, 1), (3, 0, 2), (2, 1, 2), (3, 1, 0)])
def test_another_program_is_refused_by_name_before_anything_opens(what, parties, outside, at):
    found, names, links = _differing(at, parties, outside, *DIFFERENT[what])
    assert all(isinstance(e, AtollError) for e in found)
    seen = [e for me, e in enumerate(found) if me != at and (me < parties or at < parties)]
    assert seen
    assert all(e.code == "E_PROTOCOL" and f"{names[at]} runs another program" in str(e) for e in seen)
    assert all(e.party == names[at] for e in seen)
    assert found[at].code == "E_PROTOCOL"
    assert "runs another program" in str(found[at])
    # Digests have crossed, and nothing after them: greeting and digest are all that was sent.
    assert all(len(channel.sent) <= 2 for own in links for channel in own.values())


def test_one_program_passes_and_a_later_difference_is_found_at_the_next_opening():
    def ours(session, a, b):
        first = session.open(a * 3 + b)
        return first, session.open(a * (5 if session.me == 1 else 6))

    found, _, _ = _differing(1, 2, 0, ours, ours)
    assert [e.code for e in found] == ["E_PROTOCOL"] * 2
    assert "bob runs another program" in str(found[0])


def test_the_same_program_has_one_digest_in_every_setting():
    """Those who compute, in either setting, those outside and an estimate note the same."""

    def whole(session):
        a = session.share(mine(session, 0, np.arange(8)), 0, 8, low=0, high=50)
        r = session.share(mine(session, 1, np.ones(8)), 1, 8, low=1, high=2, kind=real(16))
        b = a < 3
        session.open(
            np.sort(a), a * r / (r + 1), r @ r, np.where(b, a, r), mpc.sigmoid(r), np.where(b, 1, 2), a.mean(),
            *mpc.group_sums(a, a), mpc.compacted(b, a)[1], np.argsort(a), mpc.shuffled(a)[0], b & (a == 2),
        )  # fmt: skip
        return session.noted.words().tobytes()

    for parties in (2, 3):
        assert len(set(run(whole, parties=parties, outside=1))) == 1


def test_what_is_noted_is_told_apart():
    words = np.arange(3)

    def closing(value):
        return lambda: value

    facts = [
        1, 1.0, "1", True, None, (1,), ((1,),), (1, 1), words, words[::-1], words.astype(np.int32), words[None],
        slice(1), slice(1, 2), closing(1), closing(2), closing(words), real(3), mpc.decimal(3),
        closing(closing(1)), lambda v=1: v, lambda v=2: v, {1: 2}, np.float64(2.0),
    ]  # fmt: skip
    assert len({described(f) for f in facts}) == len(facts)
    assert described(closing(words)) == described(closing(words.copy()))
    assert described(np.int64(4)) == described(4)

    def itself():
        return itself

    assert described(itself)


@pytest.mark.parametrize("parties", [2, 3])
def test_estimates_count_parties_outside(parties):
    def party(session):
        a, b = inputs(session, [np.arange(500), np.arange(500)])
        session.open((a * b).sum(), a, to=(0, parties))
        return session

    cost = mpc.estimate(party, parties, outside=2)
    sessions = run(party, parties=parties, outside=2)
    greeting = sum(8 * (4 + 2 * k) for k in {2: (1, 0), 3: (2, 1, 1)}[parties]) + parties * 8 * 5
    inside = {2: 2 * 32 + 16, 3: 3 * (2 * 32 + 16)}[parties]
    sent = sum(s.links.sent for s in sessions)
    if parties == 3:
        assert cost.bytes == sent - inside - 2 * greeting
    else:
        assert sent / 1.3 < cost.bytes < sent * 1.3
    assert cost.rounds == sessions[0].links.rounds - 2


def test_the_script_of_the_how_to_page():
    """As it stands there."""
    page = (Path(__file__).resolve().parents[2] / "docs" / "how-to" / "shared-arrays.md").read_text("utf-8")
    script = next(s for s in re.findall(r"```python\n(.*?)```", page, re.S) if "def average" in s)
    names: dict = {"np": np, "mpc": mpc}
    exec(script, names)
    debts = RNG.integers(0, 10**6, (3, 100))
    links = channels(parties=2, outside=4)
    given = {2: debts[0], 3: debts[1], 4: debts[2]}
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda me: names["average"](me, links[me], given.get(me)), range(6)))
    assert found[:5] == [None] * 5
    assert found[5] == pytest.approx(debts.mean(), abs=1e-3)
