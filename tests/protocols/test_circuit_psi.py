"""Circuit-PSI: shares of two processes open to the join, and a peer that breaks the rules is refused."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import re
import struct
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.crypto.circuit import MAX_ROWS, CircuitPsi, HiddenShares, HiddenSide
from atoll.errors import AtollError
from atoll.protocols import circuit_psi, memory

SEEDS = (b"a" * 32, b"b" * 32)
NO_ROW = 2**32 - 1
ROOT = Path(__file__).resolve().parents[2]
Table = list[tuple[int, tuple[int, ...]]]


def sides(placer: Table, mapper: Table, words: tuple[int, int] = (1, 1), copies: int = 1) -> list[HiddenSide]:
    def side(role, rows):
        return HiddenSide(
            role,
            b"".join(hashlib.sha256(repr(key).encode()).digest() for key, _ in rows),
            b"".join(struct.pack(f"<{len(values)}Q", *values) for _, values in rows),
            len(placer),
            len(mapper),
            copies,
            *words,
            b"job",
        )

    return [side("placer", placer), side("mapper", mapper)]


def run(pair, threads=1, attempt=0, capacity=2):
    channels = memory.pair(capacity)

    def party(i):
        try:
            return circuit_psi.run(
                pair[i], channels[i], seed=SEEDS[i], attempt=attempt, name="c", threads=threads
            )
        finally:
            if sys.exc_info()[0]:
                channels[i].close()

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(party, range(2))), channels


def opened(left: HiddenShares, right: HiddenShares) -> list[tuple[int, tuple[int, ...]]]:
    """(row of the placer, words) per matched bin; all other bins must hold zero."""
    assert left.bins == right.bins
    assert right.rows is None
    assert left.rows is not None
    rows = struct.unpack(f"<{left.bins}I", left.rows)
    count = len(left.words) // 8 // max(left.bins, 1)
    shares = [struct.unpack(f"<{left.bins * count}Q", side.words) for side in (left, right)]
    found = []
    for bin, row in enumerate(rows):
        at = slice(bin * count, (bin + 1) * count)
        values = tuple((a + b) % 2**64 for a, b in zip(shares[0][at], shares[1][at], strict=True))
        if (left.matched[bin // 8] ^ right.matched[bin // 8]) >> bin % 8 & 1:
            assert row != NO_ROW
            found.append((row, values))
        else:
            assert not any(values)
    return sorted(found)


def joined(placer: Table, mapper: Table) -> list[tuple[int, tuple[int, ...]]]:
    return sorted(
        (row, own + other)
        for row, (key, own) in enumerate(placer)
        for theirs, other in mapper
        if key == theirs
    )


word = st.integers(0, 2**64 - 1)


@settings(max_examples=25, deadline=None)
@given(
    st.dictionaries(st.integers(0, 14), word, max_size=12),
    st.lists(st.tuples(st.integers(0, 14), st.tuples(word, word)), max_size=12),
)
def test_shares_open_to_the_join(placer, mapper):
    copies = max(Counter(key for key, _ in mapper).values(), default=1)
    left: Table = [(key, (value,)) for key, value in placer.items()]
    (one, other), _ = run(sides(left, mapper, (1, 2), copies))
    assert opened(one, other) == joined(left, mapper)


def test_sums_of_matched_words_need_no_opened_row():
    placer = [(key, (key * 7,)) for key in range(300)]
    mapper = [(key, (key * 11,)) for key in range(200, 600)]
    (left, right), _ = run(sides(placer, mapper), threads=2)
    sums = [0, 0]
    for side in (left, right):
        for at, value in enumerate(struct.unpack(f"<{2 * left.bins}Q", side.words)):
            sums[at % 2] = (sums[at % 2] + value) % 2**64
    assert sums == [sum(k * 7 for k in range(200, 300)), sum(k * 11 for k in range(200, 300))]


def _party(end: Connection, side: HiddenSide, seed: bytes) -> None:
    machine = CircuitPsi(seed, 0, "c", side)
    while not machine.done:
        while message := machine.next_message():
            end.send_bytes(message[0])
        if not machine.done:
            machine.receive(end.recv_bytes())
    end.send_bytes(b"")
    shares = machine.shares()
    end.recv_bytes()
    end.send((shares.bins, shares.matched, shares.words, shares.rows))
    os._exit(0)


def _relay(ends: list[Connection]) -> list[HiddenShares]:
    """Hands messages on until both sides have ended, then asks for what they have."""
    ended = set()
    while len(ended) < 2:
        for ready in multiprocessing.connection.wait([e for i, e in enumerate(ends) if i not in ended]):
            i = ends.index(ready)
            message = ends[i].recv_bytes()
            if message:
                ends[1 - i].send_bytes(message)
            else:
                ended.add(i)
    for end in ends:
        end.send_bytes(b"")
    return [HiddenShares(*end.recv()) for end in ends]


def test_two_processes_that_hold_one_table_each():
    placer = [(key, (key,)) for key in range(2000)]
    mapper = [(key // 2, (key, key + 1)) for key in range(3000)]
    spawn = multiprocessing.get_context("spawn")
    ends, processes = [], []
    for side, seed in zip(sides(placer, mapper, (1, 2), 2), SEEDS, strict=True):
        here, there = spawn.Pipe()
        process = spawn.Process(target=_party, args=(there, side, seed))
        process.start()
        there.close()
        ends.append(here)
        processes.append(process)
    left, right = _relay(ends)
    for process in processes:
        process.join(30)
        assert process.exitcode == 0
    assert opened(left, right) == joined(placer, mapper)


def test_bytes_follow_from_seed_and_attempt_alone():
    pair = sides([(k, (k,)) for k in range(400)], [(k, (k,)) for k in range(300, 900)])
    sent = []
    for threads, attempt, capacity in ((1, 0, 1), (2, 0, 64), (1, 1, 4)):
        _, channels = run(pair, threads, attempt, capacity)
        sent.append([c.sent for c in channels])
        for channel in channels:
            steps = [step for step, _ in channel.sent]
            assert len(set(steps)) == len(steps)
    assert sent[0] == sent[1]
    for side in (0, 1):
        first, other = ({p for _, p in s[side] if len(p) > 2} for s in (sent[0], sent[2]))
        assert not first & other


def test_keys_on_more_rows_than_declared_are_refused_at_their_owner():
    twice = [(1, (0,)), (2, (0,)), (1, (0,))]
    for pair, which in ((sides(twice, []), 0), (sides([], twice), 1)):
        with pytest.raises(AtollError) as caught:
            CircuitPsi(SEEDS[0], 0, "c", pair[which])
        assert caught.value.code == "E_DUPLICATE"
        assert "row 2" in str(caught.value)
        assert "row" not in caught.value.to_wire()
    CircuitPsi(SEEDS[0], 0, "c", sides([], twice, copies=2)[1])


@pytest.mark.parametrize(
    "change",
    [
        {"digests": b"x" * 31},
        {"payload": b"x" * 9},
        {"placer_items": 3},
        {"placer_items": -1},
        {"mapper_items": 2**32},
        {"mapper_items": MAX_ROWS + 1},
        {"multiplicity": 0},
        {"multiplicity": 2**31},
        {"placer_words": 2},
        {"mapper_words": 257},
        {"role": "both"},
    ],
)
def test_bad_arguments_are_refused(change):
    side = replace(sides([(1, (0,)), (2, (0,))], [(1, (0,))])[0], **change)
    with pytest.raises(AtollError) as caught:
        CircuitPsi(SEEDS[0], 0, "c", side)
    assert caught.value.code in ("E_FORMAT", "E_TOO_LARGE")


def test_a_broken_message_ends_the_machine():
    pair = sides([(1, (0,))], [(1, (0,))])
    machine = CircuitPsi(SEEDS[1], 0, "c", pair[1])
    with pytest.raises(AtollError) as caught:
        machine.receive(b"nonsense")
    assert caught.value.code == "E_PROTOCOL"
    for call in (machine.next_message, machine.shares, lambda: machine.receive(b"")):
        with pytest.raises(AtollError) as caught:
            call()
        assert caught.value.code == "E_STATE"


def test_other_parameters_of_the_peer_are_refused():
    pair = sides([(1, (0,))], [(1, (0,))])
    with pytest.raises(AtollError) as caught:
        run([pair[0], replace(pair[1], context=b"other")])
    assert caught.value.code in ("E_PROTOCOL", "E_PEER_SILENT")


def test_the_table_of_bins_is_what_its_script_proves():
    script = ROOT / "scripts" / "cuckoo_parameters.py"
    printed = subprocess.run([sys.executable, script], check=True, capture_output=True, text=True).stdout
    row = re.compile(r"^ {4}\((\d+), (\d+)\),$", re.MULTILINE)
    source = (ROOT / "rust/psi/src/circuit/parameters.rs").read_text(encoding="utf-8")
    table = source.split("const BINS", 1)[1].split("];", 1)[0]
    assert row.findall(printed) == row.findall(table) != []
