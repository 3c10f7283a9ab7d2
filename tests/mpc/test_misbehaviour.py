"""Parties that go away, fall silent, or send what they should not: what is noticed, and what is not."""

from __future__ import annotations

import contextlib
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from harness.blocking import BlockingChannel
from harness.tcp import TcpChannel
from mpc_parties import channels, ends, mine, run

from atoll.errors import AtollError
from atoll.mpc import Session, real

NAMES = ["alice", "bob", "carol", "dora"]
X = np.arange(1, 41)


def program(session):
    """Inputs, products, comparisons, an opening; of two parties also what is made ahead of need."""
    a = session.share(mine(session, 0, X), 0, X.shape, low=0, high=99, kind=real(16), name="a")
    owner = session.parties - 1
    b = session.share(mine(session, owner, X[::-1]), owner, X.shape, low=0, high=99, kind=real(16), name="b")
    return session.open(np.where(a < b, a * b, a).sum(), np.sort(b)[:3])


class Bad:
    """A channel that does something else from its message `at` on, or with that one message."""

    def __init__(self, channel, at, what):
        self.channel, self.at, self.what, self.count = channel, at, what, 0

    def send(self, payload, step):
        here, self.count = self.count, self.count + 1
        if here == self.at:
            if self.what == "closes":
                self.channel.close()
            if self.what == "sends too much":
                payload = bytes(payload) + bytes(800)
            if self.what == "turns a bit":
                payload = bytes([payload[0] ^ 1]) + bytes(payload[1:])
        if self.what == "falls silent" and here >= self.at:
            return
        self.channel.send(payload, step)

    def __getattr__(self, name):
        return getattr(self.channel, name)


SETTINGS = [(2, 0, 1, 0), (3, 0, 1, 0), (2, 1, 2, 1), (3, 1, 3, 2), (2, 1, 1, 2), (3, 1, 0, 3)]
"""Parties that compute, those outside, who misbehaves, and towards whom."""


def _length(parties, outside, bad, other):
    links = channels(20, parties=parties, outside=outside)
    run(program, links=links, parties=parties, outside=outside)
    return len(links[bad][other].sent)


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize(
    ("what", "part"),
    [*((w, p) for w in ("closes", "sends too much") for p in (0.0, 0.1, 0.5, 0.9)), ("falls silent", 0.5)],
)
def test_it_ends_everywhere_with_an_error_that_names_a_party(setting, what, part):
    parties, outside, bad, other = setting
    at = int(part * _length(*setting))
    # Nobody can tell silence from slowness: those who wait for it wait longer than work takes here.
    links = channels(3 if what == "falls silent" else 60, parties=parties, outside=outside)
    links[bad][other] = changed = Bad(links[bad][other], at, what)
    names = [*NAMES[:parties], *NAMES[3:]][: parties + outside]
    begun = time.monotonic()
    found = ends(program, links=links, parties=parties, outside=outside, names=names)
    assert time.monotonic() - begun < 40
    assert changed.count > at
    # Who misbehaves last is not missed by those who have all that they need.
    assert isinstance(found[other], AtollError)
    assert found[other].code == ("E_PROTOCOL" if what == "sends too much" else "E_PEER_SILENT")
    errors = [error for error in found if isinstance(error, BaseException)]
    assert all(isinstance(error, AtollError) and error.party in names for error in errors)
    # The first to notice names who misbehaved; others may notice first that it closed its channels.
    assert any(error.party == names[bad] and names[bad] in str(error) for error in errors)
    if what == "sends too much" or len(names) == 2:
        assert found[other].party == names[bad]


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_turned_bit_changes_results_and_nobody_notices(setting):
    """Semi-honest: of each setting there are messages of which one bit makes the result wrong, without an error."""
    parties, outside, bad, other = setting
    expected = run(simple, parties=parties, outside=outside)
    unnoticed = 0
    links = channels(20, parties=parties, outside=outside)
    run(simple, links=links, parties=parties, outside=outside)
    for at, (step, _) in enumerate(links[bad][other].sent):
        # Greetings, digests of the program and what is made ahead of need are looked at elsewhere.
        if not step.startswith("shared-arrays/") or step in ("shared-arrays/0", "shared-arrays/1"):
            continue
        turned = channels(20, parties=parties, outside=outside)
        turned[bad][other] = Bad(turned[bad][other], at, "turns a bit")
        found = ends(simple, links=turned, parties=parties, outside=outside)
        if any(isinstance(f, BaseException) for f in found):
            # The digest of the program, where that comes later.
            assert at <= 2
            continue
        unnoticed += any((f != e).any() for f, e in zip(found, expected, strict=True))
    assert unnoticed


def simple(session):
    owner = session.parties - 1
    a = session.share(mine(session, owner, X), owner, X.shape, low=0, high=99)
    return session.open(a * a)


@pytest.mark.parametrize("parties", [2, 3])
def test_broken_sockets_are_errors_that_name_the_party(parties):
    """Channels raise what they like: whoever reads the error learns which party went away."""
    wrap = TcpChannel if parties == 2 else BlockingChannel
    links = [{} for _ in range(parties)]
    for i in range(parties):
        for j in range(i + 1, parties):
            one, other = socket.socketpair()
            links[i][j], links[j][i] = wrap(one), wrap(other)

    def party(me):
        session = Session(me, links[me], context=b"test", names=NAMES[:parties])
        a = session.share(mine(session, 0, X), 0, X.shape, low=0, high=99)
        try:
            if me == 1:
                return None
            return session.open(a * a)
        finally:
            for channel in links[me].values():
                with contextlib.suppress(OSError):
                    channel.close()

    with ThreadPoolExecutor(parties) as pool:
        futures = [pool.submit(party, me) for me in range(parties)]
    error = futures[0].exception()
    assert isinstance(error, AtollError)
    assert (error.code, error.party) == ("E_PEER_SILENT", "bob")
    assert "bob: The channel broke" in str(error)
    assert futures[1].exception() is None
