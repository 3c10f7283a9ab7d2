"""What a program is said to cost against what it does."""

from __future__ import annotations

import numpy as np
import pytest
from mpc_parties import run, share

from atoll import mpc
from atoll.errors import AtollError
from atoll.mpc import Cost, Rich, Thin, real

X, Y = np.arange(500) % 37, np.arange(500) % 11

PROGRAMS = {
    "products": lambda a, b, r: (a * b + a, (a * a).sum()),
    "reals": lambda a, b, r: (r * r, r @ r, r.mean(), np.where(a < b, r, 0)),
    "comparisons": lambda a, b, r: (a < b, (a == b).sum(), np.minimum(a, b), a.max()),
    "matrices": lambda a, b, r: (np.broadcast_to(a, (200, 500)) @ b,),
    "functions": lambda a, b, r: (r / (b + 1), np.sqrt(r), mpc.sigmoid(r)),
    "groups by public keys": lambda a, b, r: (mpc.public_group_sums(b, np.arange(11), a),),
    "wide": lambda a, b, r: (
        (a * 10**18).sum(),
        (a * 10**18) * b,
        (a * 10**30) < (b * 10**30),
        np.where(a < b, a * 10**30, 5),
        (a * 10**15) @ (b * 10**15),
        (a * 10**7) @ (b * 10**7),
        np.broadcast_to(a * 10**17, (3, 500)) @ b,
        (r * 2.0**30) * (r * 2.0**30),
        mpc.shuffled(a, b * 10**30)[1],
    ),
    "shuffles": lambda a, b, r: (*mpc.shuffled(a, b), mpc.compacted(a < b, a)[1]),
}
SORTS = {
    "sorts": lambda a, b, r: (np.sort(a),),
    "groups by secret keys": lambda a, b, r: mpc.group_sums(b, a),
}


def whole(program):
    def party(session):
        a = share(session, X, 0, 0, 40, name="a")
        b = share(session, Y, 1, 0, 12, name="b")
        r = share(session, X / 4, 2, 0, 16, kind=real(16), name="r")
        session.open(*program(a, b, r))
        return session

    return party


@pytest.mark.parametrize("parties", [2, 3])
@pytest.mark.parametrize("name", PROGRAMS)
def test_rounds_and_bytes_are_those_of_a_run(name, parties):
    cost = mpc.estimate(whole(PROGRAMS[name]), parties)
    sessions = run(whole(PROGRAMS[name]), parties=parties)
    begun = 1
    assert cost.rounds == sessions[0].links.rounds - begun
    sent = sum(s.links.sent for s in sessions)
    if parties == 3:
        # Digests of the occasion to each other party, and a key of each.
        assert cost.bytes == sent - 3 * (2 * 32 + 16)
    else:
        assert cost.bytes == pytest.approx(sent, rel=0.005)
        assert sessions[0].used == {
            "bits": cost.bits,
            "words": cost.words,
            "wide": cost.wide,
            "transfers": cost.transfers,
        }


@pytest.mark.parametrize("parties", [2, 3])
@pytest.mark.parametrize("name", SORTS)
def test_sorts_are_within_half_and_twice(name, parties):
    cost = mpc.estimate(whole(SORTS[name]), parties)
    sessions = run(whole(SORTS[name]), parties=parties)
    assert 0.5 < cost.rounds / sessions[0].links.rounds < 2
    assert 0.5 < cost.bytes / sum(s.links.sent for s in sessions) < 2


def test_slow_links_and_few_processors_take_longer():
    cost = mpc.estimate(whole(PROGRAMS["reals"]), 3)
    assert cost.seconds(delay=0.01) >= cost.seconds() + cost.rounds * 0.01
    assert cost.seconds(rate=1e6) > cost.seconds(rate=1e9)
    assert cost.seconds(cores=2) < cost.seconds(cores=1)


def test_estimates_refuse_what_the_run_would():
    def program(session):
        a = session.share(None, 0, 5, low=0, high=2**70, name="wide")
        return session.open(a * a)

    with pytest.raises(AtollError, match="wide"):
        mpc.estimate(program)
    with pytest.raises(AtollError, match="two or three"):
        mpc.estimate(program, 4)


@pytest.mark.parametrize("source", [Rich(2), Rich(8), Thin()], ids=["rich 2", "rich 8", "thin"])
def test_bytes_of_every_source_are_those_of_a_run(source):
    cost = mpc.estimate(whole(PROGRAMS["comparisons"]), 2, source)
    sessions = run(whole(PROGRAMS["comparisons"]), parties=2, source=source)
    assert sessions[0].used == {
        "bits": cost.bits,
        "words": cost.words,
        "wide": cost.wide,
        "transfers": cost.transfers,
    }
    assert sum(s.links.sent for s in sessions) == pytest.approx(cost.bytes, rel=0.02)


def test_the_source_of_a_link():
    cost = Cost(10, 10**9, 2.0, bits=25_000_000, words=0, transfers=63_000_000)
    picked = [mpc.pick_source(cost, rate=rate) for rate in (1e5, 1e6, 1e7, 1e8, 1e9, 1e10)]
    assert (picked[0], picked[-1]) == (Thin(), Rich(2))
    assert Rich(4) in picked
    # A faster link never asks for fewer bytes.
    order = [Thin(), Rich(8), Rich(4), Rich(2)]
    assert [order.index(p) for p in picked] == sorted(order.index(p) for p in picked)
    # Silent transfers wait for answers, others do not.
    rate = 1.2e7
    assert mpc.pick_source(cost, rate=rate) == Thin()
    assert mpc.pick_source(cost, rate=rate, delay=1.0) != Thin()
    # Slow processors ask for less work.
    assert mpc.pick_source(cost, rate=rate, cores=0.1) in (Rich(2), Rich(4))


def test_a_program_that_uses_nothing_up_has_a_source_too():
    assert mpc.pick_source(Cost(1, 8, 0.1), rate=1e6) == Rich(2)
