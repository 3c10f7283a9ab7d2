"""Two parties without a third: what crosses, what is used up, and what happens if it is not what belongs there."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from mpc_parties import channels, mine, mixed, run, share, uneven

from atoll import mpc
from atoll.errors import AtollError
from atoll.mpc import Rich, Session, Thin, real
from atoll.mpc.supply import Supply

ROOT = Path(__file__).resolve().parents[2]


def test_a_custom_index_of_two_parties():
    """The script of the how-to page, as it stands there."""
    page = (ROOT / "docs" / "how-to" / "shared-arrays.md").read_text(encoding="utf-8")
    script = re.search(r"```python\n(.*?)```", page, re.S)
    names: dict = {}
    exec(script[1], names)
    rng = np.random.default_rng(8)
    inputs = [rng.integers(0, 10**6, 1000), rng.integers(0, 10**5, 1000)]
    links = channels(parties=2)
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda me: names["index"](me, links[me][1 - me], inputs[me]), range(2)))
    debt, spent = inputs
    risky = (debt > 50_000) & (spent > 900)
    score = np.where(risky, debt - spent * 12, 0)
    for total, count, highest in found:
        assert total == score.sum()
        assert count == risky.sum()
        assert highest.tolist() == np.sort(score)[-10:].tolist()


def program(session):
    a = share(session, np.full(1500, 7.0), 0, 0, 10, kind=real(16), name="a")
    b = share(session, np.full(1500, 7.0), 1, 0, 10, kind=real(16), name="b")
    total = np.where(a < b, a, a * b) / b + mpc.shuffled(a)[0]
    return session.open(total[:1], to=0)


@pytest.mark.parametrize("source", [Rich(), Rich(2), Thin()], ids=["rich", "rich 2", "thin"])
def test_sources_give_the_same_results(source):
    x = np.arange(-40, 40)

    def party(session):
        a = mixed(session, x, -50, 50)
        b = share(session, x[::-1], 1, -50, 50)
        return session.open(a * b, a < b, np.where(a < b, a, b), np.sort(b))

    for product, less, chosen, ascending in run(party, parties=2, source=source):
        assert (product == x * x[::-1]).all()
        assert (less == (x < x[::-1])).all()
        assert (chosen == np.minimum(x, x[::-1])).all()
        assert (ascending == x).all()


def _captured(steps="shared-arrays/"):
    """Bytes of all rounds, without those of what is made ahead of need and the beginning."""
    links = channels(parties=2, capacity=64)
    run(program, links=links)
    return [
        b"".join(p for step, p in links[i][1 - i].sent if step.startswith(steps) and not step.endswith("/0"))
        for i in range(2)
    ]


def test_whatever_crosses_is_uniform():
    for body in _captured():
        assert len(body) > 50_000
        assert uneven([body]) < 6
        assert np.full(4, 7 << 16, np.uint64).tobytes() not in body


def test_the_control_without_masks_is_caught(monkeypatch):
    """The same look finds what is wrong when triples and transfers are zeros."""

    for name in ("bits", "words", "sent", "chosen"):
        original = getattr(Supply, name)

        def bare(self, count, original=original):
            return tuple(np.zeros_like(words) for words in original(self, count))

        monkeypatch.setattr(Supply, name, bare)
    assert max(uneven([body]) for body in _captured()) > 1000


def test_nothing_that_is_made_ahead_serves_twice():
    taken: list[dict[str, list]] = [{}, {}]

    def party(session):
        supply = session.protocol.supply
        for name in ("bits", "words", "sent", "chosen"):
            original = getattr(supply, name)

            def spy(count, original=original, name=name):
                found = original(count)
                taken[session.me].setdefault(name, []).append(np.concatenate([f.ravel() for f in found]))
                return found

            setattr(supply, name, spy)
        a = mixed(session, np.arange(200), 0, 300)
        for _ in range(3):
            session.open(a * a, a < 100, mpc.shuffled(a)[0])

    run(party, parties=2)
    for side in taken:
        assert set(side) == {"bits", "words", "sent", "chosen"}
        for name, pieces in side.items():
            words = np.concatenate(pieces)
            # Uniform words of 64 bits: none comes twice.
            assert len(np.unique(words)) == len(words), name


def test_what_was_prepared_is_used_and_nothing_more_is_made():
    def party(session):
        a = mixed(session, np.arange(100), 0, 300)
        session.prepare(bits=1 << 16, words=200, transfers=2000)
        sent, rounds = session.links.sent, session.links.rounds
        product, choice = session.open(a * a, np.where(a < 50, a, 0))
        assert (product == np.arange(100) ** 2).all()
        assert choice.sum() == np.arange(50).sum()
        return session.links.sent - sent, session.links.rounds - rounds, session.used

    for sent, _rounds, used in run(party, parties=2):
        assert used["words"] == 100
        # The choice takes one in each direction for each of 128, the comparison of 11 bits one for each of 10.
        assert used["transfers"] == 2 * 128 + 10 * 128
        assert sent < 20_000
    plain = run(lambda s: (s.prepare(words=5), s.used))
    assert plain == [(None, {})] * 3


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


@pytest.mark.parametrize("at", range(0, 30, 2))
@pytest.mark.parametrize("change", ["longer", "shorter", "empty"])
def test_a_message_of_another_length_is_refused(at, change):
    alter = {"longer": lambda p: p + bytes(8), "shorter": lambda p: p[:-1], "empty": lambda p: b""}[change]
    links = channels(seconds=20, parties=2)
    links[1][0] = changed = Changed(links[1][0], at, alter)
    with pytest.raises(AtollError) as caught:
        run(program, links=links, names=["alice", "bob"])
    assert caught.value.code == "E_PROTOCOL"
    assert changed.count > at


def test_a_flipped_bit_corrupts_and_is_not_detected():
    x = np.arange(100)

    def party(session):
        a = mixed(session, x, 0, 100)
        session.prepare(words=100)
        flip.armed = True
        return session.open(a * a)

    class Flip(Changed):
        armed = False

        def send(self, payload, step):
            if self.armed and len(payload) == 1600:
                payload, self.armed = bytes([payload[0] ^ 1]) + bytes(payload[1:]), False
                self.count = -1
            self.channel.send(payload, step)

    links = channels(parties=2)
    links[1][0] = flip = Flip(links[1][0], 0, None)
    wrong = run(party, links=links)
    assert flip.count == -1
    assert (wrong[0] != x * x).any()


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"context": b"a"}, {"context": b"b"}),
        ({"source": Rich(2)}, {"source": Rich(4)}),
        ({}, {"source": Thin()}),
    ],
)
def test_another_occasion_or_source_is_refused(first, second):
    links = channels(seconds=10, parties=2)

    def one(me):
        options = {"context": b"test", **(first, second)[me]}
        return Session(me, links[me], seed=bytes([me]) * 32, **options)

    with ThreadPoolExecutor(2) as pool:
        errors = [f.exception() for f in [pool.submit(one, me) for me in range(2)]]
    assert {e.code for e in errors} == {"E_PROTOCOL"}
    assert "means another computation" in str(errors[0])


def test_parties_and_sources_that_do_not_belong():
    links = channels()
    for me, wanted, options in [(0, links[1], {}), (3, links[0], {}), (0, links[0], {"source": Rich()})]:
        with pytest.raises(AtollError) as caught:
            Session(me, wanted, context=b"", **options)
        assert caught.value.code == "E_FORMAT"


def test_only_the_one_who_is_named_learns():
    def party(session):
        a = session.share(mine(session, 0, np.array([7])), 0, 1, low=0, high=9)
        return session.open(a * a, to=1)

    assert run(party, parties=2)[0] is None
    assert run(party, parties=2)[1] == [49]


def test_progress_is_told():
    told = []

    def party(session):
        a = mixed(session, np.arange(10), 0, 10)
        session.open(np.sort(a * a))

    run(party, parties=2, progress=lambda done, total: told.append((done, total)))
    assert len(told) > 10
    assert all(0 <= done <= total for done, total in told)
