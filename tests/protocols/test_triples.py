"""Triples of two parties: over channels in memory and between two processes, honest peers and others."""

from __future__ import annotations

import multiprocessing
import queue
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection

import numpy as np
import pytest

from atoll.crypto.arrays import WIDE
from atoll.crypto.triples import (
    MAX_BITS,
    MAX_WIDE,
    MAX_WORDS,
    BitTriples,
    MatrixProduct,
    Rich,
    Role,
    Thin,
    Triples,
    WideTriples,
    WordTriples,
    matrix_bytes,
)
from atoll.errors import AtollError
from atoll.protocols import memory
from atoll.protocols.driver import drive

SEEDS = {"first": b"a" * 32, "second": b"b" * 32}
ROLES: tuple[Role, Role] = ("first", "second")
SOURCES = [Rich(2), Rich(), Rich(7), Thin()]


def bits(role: Role, count: int, **more) -> BitTriples:
    return BitTriples(role, SEEDS[role], more.pop("attempt", 0), "c", count, **more)


def words(role: Role, count: int, **more) -> WordTriples:
    return WordTriples(role, SEEDS[role], more.pop("attempt", 0), "c", count, **more)


def wide(role: Role, count: int, **more) -> WideTriples:
    return WideTriples(role, SEEDS[role], more.pop("attempt", 0), "c", count, **more)


def integers(words: np.ndarray) -> list[int]:
    """Wide words as integers."""
    return [low + (high << 64) for low, high in words.tolist()]


def wrong_wide(x: Triples, y: Triples) -> int:
    parts = [integers(part) for part in (x.a, y.a, x.b, y.b, x.c, y.c)]
    return sum(((a + d) * (b + e) - c - f) % 2**128 != 0 for a, d, b, e, c, f in zip(*parts, strict=True))


def wrong_words(x: Triples, y: Triples) -> int:
    return int(np.count_nonzero((x.a + y.a) * (x.b + y.b) - x.c - y.c))


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


def wrong_bits(x: Triples, y: Triples) -> int:
    return int(np.bitwise_count((x.a ^ y.a) & (x.b ^ y.b) ^ x.c ^ y.c).sum())


def even(words: np.ndarray) -> bool:
    """Whether ones are half of all bits within five standard deviations, in each place of a word too."""
    places = np.unpackbits(words.view(np.uint8).reshape(-1, 8), axis=1, bitorder="little").sum(0)
    half = len(words) / 2
    return (
        abs(places.sum() - 64 * half) < 2.5 * (64 * len(words)) ** 0.5
        and (abs(places - half) < 2.5 * len(words) ** 0.5).all()
    )


@pytest.mark.parametrize("source", SOURCES, ids=str)
@pytest.mark.parametrize("count", [1, 64, 1000, 70_001])
def test_bit_triples_are_products(source, count):
    pair = [bits(role, count, source=source) for role in ROLES]
    run(pair)
    x, y = (machine.finish() for machine in pair)
    assert wrong_bits(x, y) == 0
    for part in (x.a, x.b, x.c, y.a, y.b, y.c):
        assert part.dtype == np.uint64
        assert len(part) == -(-count // 64)
        assert not part.flags.writeable
        assert count % 64 == 0 or int(part[-1]) >> count % 64 == 0


@pytest.mark.parametrize("source", [Rich(), Thin()], ids=str)
def test_what_opens_when_bits_are_multiplied_is_uniform(source):
    count = 64 * 4000
    pair = [bits(role, count, source=source) for role in ROLES]
    run(pair)
    x, y = (machine.finish() for machine in pair)
    # Inputs of one value throughout: what opens of them, and every share, is as even as coins.
    for value in (np.uint64(0), np.uint64(2**64 - 1)):
        assert even(value ^ x.a ^ y.a)
        assert even(value ^ x.b ^ y.b)
    for part in (x.a, x.b, x.c, y.a, y.b, y.c, x.a ^ y.b, x.c ^ x.a, y.c ^ y.b):
        assert even(part)


@pytest.mark.parametrize("source", [Rich(), Thin()], ids=str)
def test_a_session_makes_batches_that_share_nothing(source):
    pair = [bits(role, 6400, source=source) for role in ROLES]
    seen: list[int] = []
    for count in (6400, 70_016, 640):
        run(pair)
        with pytest.raises(AtollError, match="has not ended") as caught:
            pair[0].again(5)
        assert caught.value.code == "E_STATE"
        x, y = (machine.finish() for machine in pair)
        assert wrong_bits(x, y) == 0
        with pytest.raises(AtollError) as caught:
            pair[0].finish()
        assert caught.value.code == "E_STATE"
        seen += [int(word) for part in (x.a, x.b, x.c, y.a, y.b, y.c) for word in part]
        for machine in pair:
            machine.again({6400: 70_016, 70_016: 640, 640: 0}[count])
    assert len(set(seen)) == len(seen)
    assert all(machine.done for machine in pair)


@pytest.mark.parametrize("source", [Rich(3), Thin()], ids=str)
def test_bytes_follow_from_seed_and_attempt_alone(source):
    sent = []
    for threads, attempt, capacity in ((1, 0, 1), (2, 0, 64), (1, 1, 4)):
        pair = [bits(role, 200_000, source=source, threads=threads, attempt=attempt) for role in ROLES]
        sent.append(run(pair, capacity))
        for steps in ([step for step, _ in side] for side in sent[-1]):
            assert len(set(steps)) == len(steps)
            assert all(step.startswith("triples/bits/") for step in steps)
    assert sent[0] == sent[1]
    for before, after in zip(sent[0], sent[2], strict=True):
        assert all(x != y for (_, x), (_, y) in zip(before, after, strict=True))


@pytest.mark.parametrize("source", [Rich(), Thin()], ids=str)
def test_a_flipped_bit_gives_wrong_triples_and_nobody_notices(source):
    def change(payload: bytes, step: str) -> bytes:
        # Corrections, or sums of trees.
        return bytes([payload[0], *(byte ^ 1 for byte in payload[1:])]) if payload[0] == 3 else payload

    pair = [bits(role, 5000, source=source) for role in ROLES]
    run([Spoiled(pair[0], change), pair[1]])
    assert wrong_bits(*(machine.finish() for machine in pair)) > 0


@pytest.mark.parametrize("source", [Rich(), Thin()], ids=str)
@pytest.mark.parametrize(
    "spoil", [lambda m: m[:-1], lambda m: m + b"\0", lambda m: b"\x09" + m[1:], lambda m: b""]
)
def test_a_malformed_message_of_any_kind_is_refused(source, spoil):
    names = [step for step, _ in run([bits(role, 500, source=source) for role in ROLES])[0]]
    for name in names:
        pair = [bits(role, 500, source=source) for role in ROLES]
        change = lambda payload, step, name=name: spoil(payload) if step == name else payload  # noqa: E731
        with pytest.raises(AtollError) as caught:
            run([Spoiled(pair[0], change), pair[1]])
        assert caught.value.code in {"E_PROTOCOL", "E_PEER_SILENT"}
        with pytest.raises(AtollError) as caught:
            pair[1].receive(b"")
        assert caught.value.code == "E_STATE"
        assert not pair[1].done


@pytest.mark.parametrize("count", [1, 8192, 20_000])
def test_word_triples_are_products(count):
    pair = [words(role, count) for role in ROLES]
    run(pair)
    x, y = (machine.finish() for machine in pair)
    assert wrong_words(x, y) == 0
    for part in (x.a, x.b, x.c, y.a, y.b, y.c):
        assert part.dtype == np.uint64
        assert len(part) == count
        assert not part.flags.writeable


@pytest.mark.parametrize("count", [1, 8192, 20_000])
def test_wide_triples_are_products(count):
    pair = [wide(role, count) for role in ROLES]
    sent = run(pair)
    assert all(step.startswith("triples/wide/") for side in sent for step, _ in side)
    x, y = (machine.finish() for machine in pair)
    assert wrong_wide(x, y) == 0
    for part in (x.a, x.b, x.c, y.a, y.b, y.c):
        assert part.dtype == WIDE
        assert len(part) == count
        assert not part.flags.writeable
        assert count < 1000 or (even(part["lo"].copy()) and even(part["hi"].copy()))
    # Another batch shares nothing with the first, and takes no keys.
    seen = {word for part in (x.a, x.b, x.c, y.a, y.b, y.c) for word in integers(part)}
    for machine in pair:
        machine.again(9000)
    assert sum(len(payload) for side in run(pair) for _, payload in side) < 10 * 530_000
    x, y = (machine.finish() for machine in pair)
    assert wrong_wide(x, y) == 0
    assert not seen & {word for part in (x.a, x.b, x.c, y.a, y.b, y.c) for word in integers(part)}


def test_machines_of_words_and_of_wide_words_refuse_each_other():
    hello = words("first", 5).next_message()
    assert hello is not None
    with pytest.raises(AtollError, match="other parameters") as caught:
        wide("second", 5).receive(hello[0])
    assert caught.value.code == "E_PROTOCOL"


def test_what_opens_when_words_are_multiplied_is_uniform():
    pair = [words(role, 60_000) for role in ROLES]
    run(pair)
    x, y = (machine.finish() for machine in pair)
    for value in (np.uint64(0), np.uint64(2**63), np.uint64(12345)):
        assert even(value - x.a - y.a)
        assert even(value - x.b - y.b)
    for part in (x.a, x.b, x.c, y.a, y.b, y.c, x.c - x.a, y.c - y.b, x.c - x.a * x.b, y.c - y.a * y.b):
        assert even(part)


def test_a_session_of_words_makes_batches_that_share_nothing():
    pair = [words(role, 100) for role in ROLES]
    seen: list[int] = []
    sent: list[bytes] = []
    for count, then in ((100, 9000), (9000, 100), (100, 0)):
        sent += [payload for side in run(pair) for step, payload in side if "hello" not in step]
        x, y = (machine.finish() for machine in pair)
        assert wrong_words(x, y) == 0
        seen += [int(word) for part in (x.a, x.b, x.c, y.a, y.b, y.c) for word in part]
        assert len(x.a) == count
        for machine in pair:
            machine.again(then)
    assert len(set(seen)) == len(seen)
    assert len(set(sent)) == len(sent)
    assert all(machine.done for machine in pair)


def test_bytes_of_words_follow_from_seed_and_attempt_alone():
    sent = []
    for threads, attempt, capacity in ((1, 0, 1), (2, 0, 64), (1, 1, 4)):
        pair = [words(role, 20_000, threads=threads, attempt=attempt) for role in ROLES]
        sent.append(run(pair, capacity))
        for steps in ([step for step, _ in side] for side in sent[-1]):
            assert len(set(steps)) == len(steps)
            assert all(step.startswith("triples/words/") for step in steps)
    assert sent[0] == sent[1]
    for before, after in zip(sent[0], sent[2], strict=True):
        assert all(x != y for (_, x), (_, y) in zip(before, after, strict=True))


@pytest.mark.parametrize(
    "spoil", [lambda m: m[:-1], lambda m: m + b"\0", lambda m: b"\x09" + m[1:], lambda m: b""]
)
@pytest.mark.parametrize("make", [words, wide])
@pytest.mark.parametrize("cheat", [0, 1])
def test_a_malformed_message_of_words_is_refused(cheat, make, spoil):
    names = [step for step, _ in run([make(role, 500) for role in ROLES])[cheat]]
    for name in names:
        pair = [make(role, 500) for role in ROLES]
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


def test_a_flipped_bit_of_an_answer_gives_wrong_products_and_nobody_notices():
    def change(payload: bytes, step: str) -> bytes:
        # The highest bits of one coefficient.
        return payload[:808] + bytes([payload[808] ^ 64]) + payload[809:] if payload[0] == 3 else payload

    pair = [words(role, 5000) for role in ROLES]
    run([pair[0], Spoiled(pair[1], change)])
    assert wrong_words(*(machine.finish() for machine in pair)) > 4900


def draw(*shape: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**64, shape, dtype=np.uint64)


def product(left, right, **more) -> tuple[list[MatrixProduct], tuple[int, int, int]]:
    sizes = (*left.shape, right.shape[1])
    sides: list[tuple[Role, np.ndarray]] = [("first", right), ("second", left)]
    return [MatrixProduct(role, SEEDS[role], 0, "c", sizes, own, **more) for role, own in sides], sizes


@pytest.mark.parametrize("sizes", [(1, 1, 1), (5000, 7, 1), (40, 50, 60), (1, 9000, 2)])
def test_shares_of_a_product_of_matrices(sizes):
    rows, inner, columns = sizes
    left, right = draw(rows, inner), draw(inner, columns, seed=2)
    pair, _ = product(left, right)
    sent = run(pair)
    shares = [machine.finish() for machine in pair]
    assert all(share.shape == (rows, columns) for share in shares)
    assert np.array_equal(shares[0] + shares[1], left @ right)
    bodies = sum(
        len(payload) - 1 for side in sent for step, payload in side if "block" in step or "answer" in step
    )
    assert bodies == matrix_bytes(*sizes)


def test_a_left_matrix_serves_again_and_shares_are_uniform():
    left, right = np.zeros((3000, 2), np.uint64), draw(2, 1)
    pair, _ = product(left, right, threads=2)
    for _ in range(2):
        run(pair)
        shares = [machine.finish() for machine in pair]
        assert not (shares[0] + shares[1]).any()
        assert all(even(share.ravel()) for share in shares)
        with pytest.raises(AtollError) as caught:
            pair[1].again(right)
        assert caught.value.code == "E_FORMAT"
        pair[0].again(right)
        pair[1].again()
    assert not pair[0].done


def test_matrices_of_other_sizes_are_refused():
    right = draw(2, 1)
    pair, sizes = product(draw(3, 2), right)
    calls = [
        lambda: MatrixProduct("second", SEEDS["second"], 0, "c", sizes, right),
        lambda: MatrixProduct("first", SEEDS["first"], 0, "c", (3, 0, 1), right),
        lambda: MatrixProduct("first", SEEDS["first"], 0, "c", sizes, right.astype(np.int64)),  # type: ignore[arg-type]
        lambda: matrix_bytes(0, 1, 1),
    ]
    for call in calls:
        with pytest.raises(AtollError) as caught:
            call()
        assert caught.value.code == "E_FORMAT"
    with pytest.raises(AtollError) as caught:
        matrix_bytes(1 << 20, 1 << 20, 1)
    assert caught.value.code == "E_TOO_LARGE"
    with pytest.raises(AtollError) as caught:
        pair[0].finish()
    assert caught.value.code == "E_STATE"
    hello = pair[0].next_message()
    other, _ = product(draw(2, 2), right)
    assert hello is not None
    with pytest.raises(AtollError, match="other parameters") as caught:
        other[1].receive(hello[0])
    assert caught.value.code == "E_PROTOCOL"


def test_peers_of_other_parameters_are_refused():
    pairs = [
        ({"source": Rich(2)}, {"source": Rich(3)}),
        ({"source": Rich(2)}, {"source": Thin()}),
        ({"context": b"x"}, {"context": b"y"}),
        ({"attempt": 1}, {"attempt": 2}),
    ]
    for left, right in pairs:
        message = bits("first", 5, **left).next_message()
        assert message is not None
        with pytest.raises(AtollError, match="other parameters") as caught:
            bits("second", 5, **right).receive(message[0])
        assert caught.value.code == "E_PROTOCOL"


def test_arguments_out_of_range_are_refused():
    calls = [
        lambda: BitTriples("first", b"short", 0, "c", 5),
        lambda: BitTriples("first", SEEDS["first"], -1, "c", 5),
        lambda: BitTriples("third", SEEDS["first"], 0, "c", 5),  # type: ignore[arg-type]
        lambda: bits("first", -1),
        lambda: bits("first", MAX_BITS + 1),
        lambda: words("first", MAX_WORDS + 1),
        lambda: wide("first", MAX_WIDE + 1),
        lambda: words("second", 5, threads=2000),
        lambda: bits("first", 5, threads=0),
        lambda: bits("first", 5, source=Rich(1)),
        lambda: bits("first", 5, source=Rich(9)),
    ]
    for call in calls:
        with pytest.raises(AtollError) as caught:
            call()
        assert caught.value.code == "E_FORMAT"


def machine_of(role: Role, source: Rich | Thin | None) -> BitTriples | WordTriples:
    return words(role, 100_000) if source is None else bits(role, 100_000, source=source)


def _party(peer: Connection, result: Connection, role: Role, source: Rich | Thin | None) -> None:
    machine = machine_of(role, source)
    arrived: queue.Queue[bytes] = queue.Queue()

    def listen() -> None:
        while message := peer.recv_bytes():
            arrived.put(message)

    # Both sides send more than a pipe holds.
    listener = threading.Thread(target=listen)
    listener.start()
    while not machine.done:
        while message := machine.next_message():
            peer.send_bytes(message[0])
        if not machine.done:
            machine.receive(arrived.get(timeout=30))
    peer.send_bytes(b"")
    listener.join(30)
    made = machine.finish()
    result.send((made.a, made.b, made.c))


@pytest.mark.parametrize("source", [Rich(), Thin(), None], ids=str)
def test_two_processes(source):
    spawn = multiprocessing.get_context("spawn")
    between = spawn.Pipe()
    results, processes = [], []
    for role, peer in zip(ROLES, between, strict=True):
        here, there = spawn.Pipe()
        process = spawn.Process(target=_party, args=(peer, there, role, source))
        process.start()
        there.close()
        results.append(here)
        processes.append(process)
    assert all(here.poll(30) for here in results)
    x, y = (Triples(*here.recv()) for here in results)
    for process in processes:
        process.join(30)
        assert process.exitcode == 0
    assert (wrong_words if source is None else wrong_bits)(x, y) == 0
