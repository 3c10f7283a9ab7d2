"""What crosses between the parties, and what happens if it is not what belongs there."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from socket import create_server

import numpy as np
import pytest
from mpc_parties import channels, mine, run, uneven

from atoll import mpc
from atoll.crypto import arrays as kernel
from atoll.errors import AtollError
from atoll.mpc import Session, real

ROOT = Path(__file__).resolve().parents[2]


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


def everything(session, x):
    """A program that takes every step of the setting."""
    a = session.share(mine(session, 0, x), 0, x.shape, low=-1000, high=1000, kind=real(16), name="a")
    b = session.share(mine(session, 1, x[::-1]), 1, x.shape, low=-1000, high=1000, kind=real(16), name="b")
    chosen = np.where(a < b, a * b, a)
    return session.open(np.sort(chosen), (a == b).sum(), a @ b)


MESSAGES = 24


@pytest.mark.parametrize("at", range(0, MESSAGES, 2))
@pytest.mark.parametrize("change", ["longer", "shorter", "empty"])
def test_a_message_of_another_length_is_refused_by_name(at, change):
    alter = {"longer": lambda p: p + bytes(8), "shorter": lambda p: p[:-1], "empty": lambda p: b""}[change]
    links = channels(seconds=10)
    links[1][0] = changed = Changed(links[1][0], at, alter)
    with pytest.raises(AtollError) as caught:
        run(lambda s: everything(s, np.linspace(-9, 9, 20)), links=links, names=["alice", "bob", "carol"])
    assert caught.value.code == "E_PROTOCOL"
    assert "bob sent" in str(caught.value)
    assert caught.value.party == "bob"
    assert changed.count > at


@pytest.mark.parametrize("context", [b"another", b""])
def test_another_occasion_is_refused(context):
    links = channels(seconds=10)

    def other(me):
        return Session(me, links[me], context=context if me == 2 else b"test", seed=bytes([me]) * 32)

    with ThreadPoolExecutor(3) as pool:
        futures = [pool.submit(other, me) for me in range(3)]
    errors = [f.exception() for f in futures]
    assert {e.code for e in errors} == {"E_PROTOCOL"}
    assert "party 2 means another computation" in str(errors[0])


def test_a_party_that_goes_away_ends_the_others():
    def party(session):
        a = session.share(mine(session, 0, np.arange(5)), 0, 5, low=0, high=9)
        if session.me == 1:
            raise AtollError("E_CANCELLED", "gone")
        return session.open(a * a)

    with pytest.raises(AtollError, match="gone"):
        run(party)


def test_a_flipped_bit_corrupts_and_is_not_detected():
    """Semi-honest: whoever departs from the protocol can change results, and nobody notices."""
    x = np.arange(10.0)

    def party(session):
        a = session.share(mine(session, 0, x), 0, 10, low=0, high=10, kind=real(16))
        return session.open(a * a)

    honest = run(party)[0]
    links = channels()
    # After the beginning and the digest of the program come its parts of the product.
    flip = Changed(links[1][0], 3, lambda p: bytes([p[0] ^ 1]) + p[1:])
    links[1][0] = flip
    wrong = run(party, links=links)[0]
    assert flip.count > 3
    assert (wrong != honest).any()


def _captured(program):
    links = channels(capacity=64)
    run(program, links=links)
    return {(i, j): [p for _, p in links[i][j].sent] for i in range(3) for j in links[i]}


def _seven(session):
    """The same number everywhere, so that what is not masked shows."""
    a = session.share(mine(session, 0, np.full(3000, 7.0)), 0, 3000, low=0, high=10, kind=real(16))
    b = session.share(mine(session, 1, np.full(3000, 7.0)), 1, 3000, low=0, high=10, kind=real(16))
    total = np.where(a < b, a, a * b) / b + mpc.shuffled(a)[0]
    session.open(total[:1], to=0)


def test_whatever_crosses_is_uniform():
    captured = _captured(_seven)
    for pair, messages in captured.items():
        # The first message has the digest of the occasion, the last opens.
        body = [m for m in messages[1:] if len(m) > 64]
        assert len(b"".join(body)) > 40_000
        assert uneven(body) < 6, pair
        assert np.full(4, 7 << 16, np.uint64).tobytes() not in b"".join(body)


def test_the_control_without_masks_is_caught(monkeypatch):
    """The same look at messages finds what is wrong when parts of zero are none."""

    class Bare(kernel.Streams):
        def products(self, x, y):
            return x[0] * y[0] + x[0] * y[1] + x[1] * y[0]

        def before(self, shape):
            return np.zeros(shape, np.uint64)

        after = before

    monkeypatch.setattr("atoll.mpc.replicated.Streams", Bare)
    captured = _captured(_seven)
    worst = max(uneven([m for m in messages[1:] if len(m) > 64]) for messages in captured.values())
    assert worst > 1000
    assert any(np.full(4, 7 << 16, np.uint64).tobytes() in b"".join(m) for m in captured.values())


def test_two_runs_of_one_step_send_different_words():
    """Randomness is never used twice."""

    def party(session):
        a = session.share(mine(session, 0, np.arange(50)), 0, 50, low=0, high=50)
        session.open(a[:1])
        for _ in range(3):
            session.open((a * a)[:1])

    for messages in _captured(party).values():
        long = [m for m in messages if len(m) == 400]
        assert len(long) == len(set(long))


def test_a_seed_gives_the_same_messages_and_another_seed_others():
    def sent(seed):
        links = channels(capacity=64)

        def party(session):
            return everything(session, np.linspace(-5, 5, 30))

        def one(me):
            return party(Session(me, links[me], context=b"test", seed=bytes([seed + me]) * 32))

        with ThreadPoolExecutor(3) as pool:
            list(pool.map(one, range(3)))
        return {(i, j): [p for _, p in links[i][j].sent] for i in range(3) for j in links[i]}

    first, again, other = sent(1), sent(1), sent(7)
    assert first == again
    assert all(first[pair] != other[pair] for pair in first)


def test_messages_larger_than_a_piece_go_through_small_windows(monkeypatch):
    monkeypatch.setattr("atoll.mpc.rounds.PIECE_WORDS", 1 << 10)
    x = np.arange(100_000)

    def party(session):
        a = session.share(mine(session, 0, x), 0, x.shape, low=0, high=10**6)
        return session.open(a * a)

    for got in run(party, links=channels(capacity=1)):
        assert (got == x * x).all()


def test_a_program_of_three_processes():
    """Each process has the input of its party alone; they meet on sockets."""
    script = Path(__file__).with_name("party_process.py")
    servers = [create_server(("127.0.0.1", 0)) for _ in range(3)]
    ports = [s.getsockname()[1] for s in servers]
    for server in servers:
        server.close()
    addresses = {
        f"{i}-{j}": ["127.0.0.1", p] for (i, j), p in zip([(0, 1), (0, 2), (1, 2)], ports, strict=True)
    }
    inputs = [[3, 1, 4, 1, 5], [9, 2, 6, 5, 3], [5, 8, 9, 7, 9]]
    processes = [
        subprocess.Popen(
            [sys.executable, script, json.dumps({"me": me, "addresses": addresses, "values": inputs[me]})],
            cwd=ROOT,
            stdout=subprocess.PIPE,
        )
        for me in range(3)
    ]
    results = [json.loads(p.communicate(timeout=60)[0]) for p in processes]
    columns = np.array(inputs)
    assert (
        results
        == [{"index": (columns[0] * columns[1]).clip(0, 20).sum().item(), "top": columns.max(0).tolist()}] * 3
    )
