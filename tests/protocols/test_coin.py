"""The coin of two parties: alike on both sides, and a peer that breaks the rules cannot bend it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from atoll.errors import AtollError
from atoll.protocols import coin, memory

SEEDS = (b"a" * 32, b"b" * 32)


def toss(messages):
    """A toss with a peer whose messages are known."""
    mine, peers = memory.pair(len(messages) + 2)
    for message in messages:
        peers.send(message, "s")
    seeds = {"seed": SEEDS[0], "attempt": 0, "name": "c", "step": "s"}
    return mine, lambda: coin.toss(mine, b"agreed", b"A", b"B", **seeds)


def honest_toss():
    channels = memory.pair()
    with ThreadPoolExecutor(2) as workers:
        both = [
            workers.submit(
                coin.toss, channels[i], b"agreed", *names, seed=SEEDS[i], attempt=0, name="c", step="s"
            )
            for i, names in enumerate(((b"A", b"B"), (b"B", b"A")))
        ]
        return [one.result() for one in both], [[p for _, p in c.sent] for c in channels]


def test_a_coin_is_the_same_on_both_sides_and_cannot_be_bent():
    coins, (mine, theirs) = honest_toss()
    assert coins[0].value == coins[1].value
    assert {coins[0].first, coins[1].first} == {True, False}

    def flip(data, at):
        return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]

    cheats = [
        [theirs[0], flip(theirs[1], 1)],
        [theirs[0], flip(theirs[1], 48)],
        [theirs[0], flip(theirs[1], 0)],
        [theirs[0], theirs[1] + b"\0"],
        [theirs[0], b""],
        [flip(theirs[0], 1)],
        [flip(theirs[0], 5)],
        [flip(theirs[0], 60), theirs[1]],
        [theirs[0][:-1]],
        [b""],
        # The mirror: this side's own commitment and share, under the peer's name.
        [theirs[0][:34] + mine[0][34:], mine[1]],
    ]
    for messages in cheats:
        channel, begin = toss(messages)
        with pytest.raises(AtollError) as caught:
            begin()
        assert caught.value.code == "E_PROTOCOL"
        # The share is opened only to a peer that has committed itself.
        assert len(channel.sent) <= 1 + (len(messages) > 1)
    channel, begin = toss(theirs)
    assert begin() == coins[0]
