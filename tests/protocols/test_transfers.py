"""Random transfers of words: over channels in memory and between two processes, honest peers and others."""

from __future__ import annotations

import multiprocessing
import queue
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection

import numpy as np
import pytest

from atoll.crypto.triples import MAX_TRANSFERS, BitTriples, Chosen, Rich, Sent, Side, Thin, WordTransfers
from atoll.errors import AtollError
from atoll.protocols import memory
from atoll.protocols.driver import drive

SEEDS = {"sender": b"a" * 32, "receiver": b"b" * 32}
SIDES: tuple[Side, Side] = ("sender", "receiver")
SOURCES = [Rich(2), Rich(), Rich(7), Thin()]


def one(side: Side, count: int, **more) -> WordTransfers:
    return WordTransfers(side, SEEDS[side], more.pop("attempt", 0), "c", count, **more)


def both(count: int, **more) -> list[WordTransfers]:
    return [one(side, count, **more) for side in SIDES]


class Spoiled:
    """A machine of which some messages leave with other bits."""

    def __init__(self, machine, change):
        self._machine, self._change = machine, change

    def next_message(self):
        message = self._machine.next_message()
        return message and (self._change(message[0], message[1]), *message[1:])

    def __getattr__(self, name):
        return getattr(self._machine, name)


def run(pair, capacity=4):
    """Drives both machines to the end of their batch; the channels' records of what was sent."""
    channels = memory.pair(capacity)

    def party(i):
        try:
            drive(pair[i], channels[i], before_open=lambda: pytest.fail("nothing opens"))
        finally:
            if sys.exc_info()[0]:
                channels[i].close()

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(party, range(2)))
    return [channel.sent for channel in channels]


def finish(pair) -> tuple[Sent, Chosen]:
    sent, chosen = (machine.finish() for machine in pair)
    assert isinstance(sent, Sent)
    assert isinstance(chosen, Chosen)
    return sent, chosen


def choices(chosen: Chosen) -> np.ndarray:
    return np.unpackbits(chosen.choices.view(np.uint8), bitorder="little")[: len(chosen.words)].astype(bool)


def wrong(sent: Sent, chosen: Chosen) -> int:
    return int(np.count_nonzero(np.where(choices(chosen), sent.one, sent.zero) != chosen.words))


def even(words: np.ndarray) -> bool:
    """Whether ones are half of all bits within five standard deviations, in each place of a word too."""
    places = np.unpackbits(words.view(np.uint8).reshape(-1, 8), axis=1, bitorder="little").sum(0)
    half = len(words) / 2
    return (
        abs(places.sum() - 64 * half) < 2.5 * (64 * len(words)) ** 0.5
        and (abs(places - half) < 2.5 * len(words) ** 0.5).all()
    )


@pytest.mark.parametrize("source", SOURCES, ids=str)
@pytest.mark.parametrize("count", [0, 1, 64, 1000, 70_001])
def test_the_receiver_gets_what_it_chose(source, count):
    pair = both(count, source=source)
    run(pair)
    sent, chosen = finish(pair)
    assert wrong(sent, chosen) == 0
    for part in (sent.zero, sent.one, chosen.words):
        assert part.dtype == np.uint64
        assert part.shape == (count,)
        assert not part.flags.writeable
    assert chosen.choices.shape == (-(-count // 64),)
    assert not chosen.choices.flags.writeable
    assert count % 64 == 0 or int(chosen.choices[-1]) >> count % 64 == 0


@pytest.mark.parametrize("source", [Rich(), Thin()], ids=str)
def test_words_and_choices_are_uniform_and_the_other_word_is_independent(source):
    pair = both(64 * 4000, source=source)
    run(pair)
    sent, chosen = finish(pair)
    other = np.where(choices(chosen), sent.zero, sent.one)
    for part in (
        sent.zero,
        sent.one,
        sent.zero ^ sent.one,
        chosen.words,
        chosen.choices,
        other,
        other ^ chosen.words,
    ):
        assert even(part)
    # Masked by the words, two messages look the same to who did not choose them.
    for value in (np.uint64(0), np.uint64(2**64 - 1)):
        assert even(other + value)
    assert len(np.unique(np.concatenate([sent.zero, sent.one]))) == 2 * len(sent.zero)


def test_ten_million_of_a_rich_link():
    pair = both(10_000_000, source=Rich(2))
    sizes = [sum(len(payload) for _, payload in side) for side in run(pair)]
    assert wrong(*finish(pair)) == 0
    assert sizes[0] < 10_000
    assert 7.8e7 < sizes[1] < 7.9e7


@pytest.mark.parametrize("source", [Rich(), Thin()], ids=str)
def test_a_session_makes_batches_that_share_nothing(source):
    pair = both(6400, source=source)
    seen: list[int] = []
    for count, then in ((6400, 70_016), (70_016, 640), (640, 0)):
        run(pair)
        with pytest.raises(AtollError, match="has not ended") as caught:
            pair[0].again(5)
        assert caught.value.code == "E_STATE"
        sent, chosen = finish(pair)
        assert len(sent.zero) == count
        assert wrong(sent, chosen) == 0
        for machine in pair:
            with pytest.raises(AtollError) as caught:
                machine.finish()
            assert caught.value.code == "E_STATE"
        seen += [int(word) for part in (sent.zero, sent.one, chosen.choices) for word in part]
        for machine in pair:
            machine.again(then)
    assert len(set(seen)) == len(seen)
    assert all(machine.done for machine in pair)
    assert len(finish(pair)[0].zero) == 0
    with pytest.raises(AtollError) as caught:
        pair[0].again(MAX_TRANSFERS + 1)
    assert caught.value.code == "E_FORMAT"


@pytest.mark.parametrize("source", [Rich(3), Thin()], ids=str)
def test_bytes_follow_from_seed_and_attempt_alone(source):
    sent = []
    for threads, attempt, capacity in ((1, 0, 1), (2, 0, 64), (1, 1, 4)):
        sent.append(run(both(200_000, source=source, threads=threads, attempt=attempt), capacity))
        for steps in ([step for step, _ in side] for side in sent[-1]):
            assert len(set(steps)) == len(steps)
            assert all(step.startswith("triples/transfers/") for step in steps)
    assert sent[0] == sent[1]
    for before, after in zip(sent[0], sent[2], strict=True):
        assert all(x != y for (_, x), (_, y) in zip(before, after, strict=True))


def test_transfers_and_triples_of_one_channel_share_no_message():
    triples = [
        BitTriples(role, seed, 0, "c", 5000) for role, seed in (("first", b"a" * 32), ("second", b"b" * 32))
    ]
    known = {payload for side in run(triples) for _, payload in side}
    assert not known & {payload for side in run(both(5000)) for _, payload in side}


@pytest.mark.parametrize("source", [Rich(), Thin()], ids=str)
def test_flipped_bits_give_other_words_and_nobody_notices(source):
    def change(payload: bytes, step: str) -> bytes:
        # Corrections of the receiver, or the sender's sums of trees.
        return bytes([payload[0], *(byte ^ 1 for byte in payload[1:])]) if payload[0] == 3 else payload

    pair = both(5000, source=source)
    run([Spoiled(machine, change) for machine in pair])
    assert wrong(*finish(pair)) > 0


@pytest.mark.parametrize("source", [Rich(), Thin()], ids=str)
@pytest.mark.parametrize("cheat", [0, 1])
@pytest.mark.parametrize(
    "spoil", [lambda m: m[:-1], lambda m: m + b"\0", lambda m: b"\x09" + m[1:], lambda m: b""]
)
def test_a_malformed_message_of_any_kind_is_refused(source, cheat, spoil):
    names = [step for step, _ in run(both(500, source=source))[cheat]]
    assert len(names) > 1
    for name in names:
        pair = both(500, source=source)
        change = lambda payload, step, name=name: spoil(payload) if step == name else payload  # noqa: E731
        driven: list = list(pair)
        driven[cheat] = Spoiled(pair[cheat], change)
        with pytest.raises(AtollError) as caught:
            run(driven)
        assert caught.value.code in {"E_PROTOCOL", "E_PEER_SILENT"}
        with pytest.raises(AtollError) as caught:
            pair[1 - cheat].receive(b"")
        assert caught.value.code == "E_STATE"
        assert not pair[1 - cheat].done


def test_peers_of_other_parameters_or_of_the_same_side_are_refused():
    pairs: list[tuple[Side, Side, dict, dict]] = [
        ("sender", "receiver", {"source": Rich(2)}, {"source": Rich(3)}),
        ("receiver", "sender", {"source": Rich(2)}, {"source": Thin()}),
        ("sender", "receiver", {"context": b"x"}, {"context": b"y"}),
        ("receiver", "sender", {"attempt": 1}, {"attempt": 2}),
        ("sender", "sender", {}, {}),
        ("receiver", "receiver", {}, {}),
    ]
    for left, right, these, those in pairs:
        message = one(left, 5, **these).next_message()
        assert message is not None
        with pytest.raises(AtollError) as caught:
            one(right, 5, **those).receive(message[0])
        assert caught.value.code == "E_PROTOCOL"


def test_arguments_out_of_range_are_refused():
    calls = [
        lambda: WordTransfers("sender", b"short", 0, "c", 5),
        lambda: WordTransfers("sender", SEEDS["sender"], -1, "c", 5),
        lambda: WordTransfers("first", SEEDS["sender"], 0, "c", 5),  # type: ignore[arg-type]
        lambda: one("sender", -1),
        lambda: one("receiver", MAX_TRANSFERS + 1),
        lambda: one("sender", 5, threads=0),
        lambda: one("receiver", 5, threads=2000),
        lambda: one("sender", 5, source=Rich(1)),
        lambda: one("receiver", 5, source=Rich(9)),
    ]
    for call in calls:
        with pytest.raises(AtollError) as caught:
            call()
        assert caught.value.code == "E_FORMAT"


def _party(peer: Connection, result: Connection, side: Side, source: Rich | Thin) -> None:
    machine = one(side, 100_000, source=source)
    arrived: queue.Queue[bytes] = queue.Queue()

    def listen() -> None:
        while message := peer.recv_bytes():
            arrived.put(message)

    listener = threading.Thread(target=listen)
    listener.start()
    while not machine.done:
        while message := machine.next_message():
            peer.send_bytes(message[0])
        if not machine.done:
            machine.receive(arrived.get(timeout=30))
    peer.send_bytes(b"")
    listener.join(30)
    result.send(machine.finish())


@pytest.mark.parametrize("source", [Rich(), Thin()], ids=str)
def test_two_processes(source):
    spawn = multiprocessing.get_context("spawn")
    results, processes = [], []
    for side, peer in zip(SIDES, spawn.Pipe(), strict=True):
        here, there = spawn.Pipe()
        process = spawn.Process(target=_party, args=(peer, there, side, source))
        process.start()
        there.close()
        results.append(here)
        processes.append(process)
    assert all(here.poll(60) for here in results)
    sent, chosen = (here.recv() for here in results)
    for process in processes:
        process.join(30)
        assert process.exitcode == 0
    assert len(sent.zero) == 100_000
    assert wrong(sent, chosen) == 0
