"""Totals over a hidden intersection: against plain sight, with a peer that breaks the rules, and after a restart."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import struct
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.errors import AtollError
from atoll.protocols import hidden_totals_cost as cost
from atoll.protocols import memory
from atoll.protocols.hidden_totals import HiddenTotals, Terms, fit, run
from reference.hidden_totals import Row, totals

ROLES = ("placer", "mapper")
SEEDS = (b"a" * 32, b"b" * 32)
PLACER = [Row(f"k{i}", (i * 7 - 300,)) for i in range(60)]
MAPPER = [Row(f"k{i // 2 + 40}", (i * 11 - 500, -i)) for i in range(80)]


def terms_of(placer: list[Row], mapper: list[Row], **changes: Any) -> Terms:
    words = [len(rows[0].values) if rows else 1 for rows in (placer, mapper)]
    copies = max(Counter(row.key for row in mapper).values(), default=1)
    return replace(Terms(len(placer), len(mapper), copies, *words, 1, "both", b"job"), **changes)


def inputs(rows: list[Row]) -> tuple[bytes, bytes]:
    digests = b"".join(hashlib.sha256(row.key.encode()).digest() for row in rows)
    return digests, b"".join(struct.pack(f"<{len(row.values)}q", *row.values) for row in rows)


def opens_nothing() -> None:
    """Where the test does not ask who is told before something opens."""


def both(
    placer: list[Row],
    mapper: list[Row],
    terms: Terms,
    *,
    channels: Any = None,
    how: tuple[dict[str, Any], dict[str, Any]] = ({}, {}),
    **options: Any,
) -> tuple[list[Any], Any]:
    """Results of both sides, an error in place of one; and the channels."""
    ends = channels or memory.pair(4, 30)

    def side(i: int) -> Any:
        given = {"seed": SEEDS[i], "attempt": 0, "name": "t", "before_open": opens_nothing} | options | how[i]
        try:
            return run(ROLES[i], *inputs((placer, mapper)[i]), terms, ends[i], **given)
        except AtollError as error:
            ends[i].close()
            return error

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(side, range(2))), ends


def plain(placer: list[Row], mapper: list[Row], minimum: int) -> HiddenTotals:
    found: Any = totals(placer, mapper, minimum)
    if found is None:
        return HiddenTotals(False)
    return HiddenTotals(
        True, found["subjects"], found["rows"], tuple(found["placer"]), tuple(found["mapper"])
    )


values = st.one_of(st.integers(-(2**40), 2**40), st.sampled_from([0, 1, -1, 2**62 - 1, -(2**62)]))


@settings(max_examples=15, deadline=None)
@given(
    st.dictionaries(st.integers(0, 14), values, min_size=1, max_size=12),
    st.lists(st.tuples(st.integers(0, 14), values, values), min_size=1, max_size=12),
    st.integers(0, 3),
)
def test_totals_are_those_of_the_join_in_plain_sight(left, right, above):
    placer = [Row(str(key), (value // 12,)) for key, value in left.items()]
    mapper = [Row(str(key), (one // 12, other // 12)) for key, one, other in right]
    matched = len(left.keys() & {key for key, _, _ in right})
    minimum = max(matched - 1 + above, 1)
    found, _ = both(placer, mapper, terms_of(placer, mapper, minimum=minimum))
    assert found == [plain(placer, mapper, minimum)] * 2


@pytest.mark.parametrize("minimum", [19, 20, 21])
@pytest.mark.parametrize("bucket", [1 << 18, 50])
def test_the_minimum_is_of_subjects_whatever_the_buckets(minimum, bucket):
    terms = terms_of(PLACER, MAPPER, minimum=minimum)
    found, _ = both(PLACER, MAPPER, terms, bucket_items=bucket)
    assert found == [plain(PLACER, MAPPER, minimum)] * 2
    assert found[0].enough == (minimum <= 20)


@pytest.mark.parametrize(
    ("placer", "mapper"),
    [
        (PLACER, [Row(f"x{i}", (1,)) for i in range(30)]),
        (PLACER, [Row(row.key, (i,)) for i, row in enumerate(PLACER)]),
        (PLACER[:1], [Row(PLACER[0].key, (3,))] * 9),
    ],
    ids=["nothing-equal", "all-equal", "one-key-nine-rows"],
)
def test_edges(placer, mapper):
    found, _ = both(placer, mapper, terms_of(placer, mapper))
    assert found == [plain(placer, mapper, 1)] * 2


def test_sums_wrap_as_signed_numbers_of_64_bits():
    most = 2**63 - 1
    placer = [Row("a", (most,)), Row("b", (1,))]
    mapper = [Row("a", ()), Row("b", ())]
    found, _ = both(placer, mapper, terms_of(placer, mapper, mapper_words=0))
    assert found[0].placer_sums == (-(2**63),)


def test_an_empty_side_says_nothing_and_has_not_enough():
    for placer, mapper in ((PLACER, []), ([], MAPPER), ([], [])):
        found, ends = both(placer, mapper, terms_of(placer, mapper))
        assert found == [HiddenTotals(False)] * 2
        assert not ends[0].sent
        assert not ends[1].sent
        assert cost.estimate(terms_of(placer, mapper)).seconds == 0


@pytest.mark.parametrize("receiver", ROLES)
def test_one_side_alone_learns_the_totals_and_both_whether_there_are_enough(receiver):
    found, ends = both(PLACER, MAPPER, terms_of(PLACER, MAPPER, receivers=receiver))
    at = ROLES.index(receiver)
    assert found[at] == plain(PLACER, MAPPER, 1)
    assert found[1 - at] == HiddenTotals(True)
    assert [any(step.endswith("totals/totals") for step, _ in end.sent) for end in ends] == [at == 1, at == 0]
    found, ends = both(PLACER, MAPPER, terms_of(PLACER, MAPPER, receivers=receiver, minimum=50))
    assert found == [HiddenTotals(False)] * 2
    assert not any(step.endswith("totals/totals") for end in ends for step, _ in end.sent)


def test_bytes_and_rounds_follow_from_the_terms_alone():
    none = [Row(f"x{i}", row.values) for i, row in enumerate(MAPPER)]
    for bucket in (1 << 18, 50):
        sent = []
        for mapper, minimum in ((MAPPER, 1), (MAPPER, 30), (none, 1)):
            terms = terms_of(PLACER, mapper, multiplicity=2, minimum=minimum)
            found, ends = both(PLACER, mapper, terms, bucket_items=bucket)
            lengths = [[(step, len(payload)) for step, payload in end.sent] for end in ends]
            if found[0].enough:
                for role, end in zip(ROLES, lengths, strict=True):
                    assert sum(n for _, n in end) == cost.wire_bytes(role, terms, bucket_items=bucket)
                    assert len({step for step, _ in end}) == len(end)
                    end.pop()
            sent.append(lengths)
        assert sent[0] == sent[1] == sent[2]


def test_messages_follow_from_seed_and_attempt_alone():
    terms = terms_of(PLACER, MAPPER)
    runs = []
    for threads, capacity, attempt in ((1, 1, 0), (2, 64, 0), (1, 4, 1)):
        channels = memory.pair(capacity, 30)
        _, ends = both(
            PLACER, MAPPER, terms, channels=channels, threads=threads, attempt=attempt, bucket_items=50
        )
        runs.append([end.sent for end in ends])
    assert runs[0] == runs[1]
    for one, other in zip(runs[0], runs[2], strict=True):
        assert not {p for _, p in one if len(p) > 30} & {p for _, p in other if len(p) > 30}


def test_what_opens_is_noted_before_it_is_sent_and_a_refusal_opens_nothing():
    order: list[str] = []
    ends = memory.pair(4, 30)
    send = ends[0].send

    def noted(payload: bytes, step: str) -> None:
        order.append(step)
        send(payload, step)

    ends[0].send = noted
    both(
        PLACER,
        MAPPER,
        terms_of(PLACER, MAPPER),
        channels=ends,
        how=({"before_open": lambda: order.append("-")}, {}),
    )
    assert order.count("-") == 1
    assert order[order.index("-") + 1 :] == ["hidden-totals/enough", "hidden-totals/totals"]

    def refuse() -> None:
        raise AtollError("E_QUOTA", "No more.")

    found, ends = both(PLACER, MAPPER, terms_of(PLACER, MAPPER), how=({}, {"before_open": refuse}))
    assert found[1].code == "E_QUOTA"
    assert found[0].code == "E_PEER_SILENT"
    assert "hidden-totals/enough" not in [step for step, _ in ends[1].sent]


class CrashError(Exception):
    """The process is gone."""


class Journal:
    """A channel whose messages are kept: what was sent is not sent again, what was received is given again."""

    def __init__(self, end: memory.MemoryChannel, sent: list[bytes], received: list[bytes]) -> None:
        self._end, self._sent, self._received = end, sent, received
        self._outs = self._ins = 0
        self.left = -1

    def send(self, payload: bytes, step: str) -> None:
        if self.left == 0:
            raise CrashError
        self.left -= 1
        if self._outs < len(self._sent):
            assert self._sent[self._outs] == payload, f"{step} differs after the restart"
        else:
            self._sent.append(payload)
            self._end.send(payload, step)
        self._outs += 1

    def recv(self) -> bytes:
        if self._ins == len(self._received):
            self._received.append(self._end.recv())
        self._ins += 1
        return self._received[self._ins - 1]

    def readable(self) -> bool:
        return self._ins < len(self._received) or self._end.readable()

    def writable(self) -> bool:
        return self._outs < len(self._sent) or self._end.writable()

    def wait(self, read: bool, write: bool) -> None:
        if not (read and self.readable()) and not (write and self.writable()):
            self._end.wait(read, write)

    def mark(self) -> tuple[int, int]:
        return self._outs, self._ins

    def at(self, mark: tuple[int, int]) -> Journal:
        again = Journal(self._end, self._sent, self._received)
        again._outs, again._ins = mark
        return again


@pytest.mark.parametrize("percent", [4, 30, 55, 80, 99])
@pytest.mark.parametrize("role", [0, 1], ids=ROLES)
def test_a_side_that_crashed_goes_on_at_its_last_buckets_with_the_same_messages(role, percent):
    terms = terms_of(PLACER, MAPPER)
    wanted, plain_ends = both(PLACER, MAPPER, terms, bucket_items=20)
    assert len(plain_ends[role].sent) > 40
    ends = memory.pair(4, 30)
    options = {
        "seed": SEEDS[role],
        "attempt": 0,
        "name": "t",
        "before_open": opens_nothing,
        "bucket_items": 20,
    }
    saved: list[tuple[bytes | None, tuple[int, int]]] = [(None, (0, 0))]
    journal = Journal(ends[role], [], [])
    journal.left = len(plain_ends[role].sent) * percent // 100
    mine = (ROLES[role], *inputs((PLACER, MAPPER)[role]), terms)

    def keep(state: Callable[[], bytes]) -> None:
        saved.append((state(), journal.mark()))

    def crashing() -> HiddenTotals:
        nonlocal journal
        try:
            return run(*mine, journal, save=keep, **options)
        except CrashError:
            state, mark = saved[-1]
            journal = journal.at(mark)
            return run(*mine, journal, save=keep, checkpoint=state, **options)

    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(
            run,
            ROLES[1 - role],
            *inputs((MAPPER, PLACER)[role]),
            terms,
            ends[1 - role],
            **options | {"seed": SEEDS[1 - role]},
        )
        assert crashing() == wanted[role]
        assert other.result(30) == wanted[1 - role]
    assert [p for _, p in ends[role].sent] == [p for _, p in plain_ends[role].sent]


def test_a_checkpoint_of_another_run_is_refused():
    states: list[bytes] = []
    terms = terms_of(PLACER, MAPPER)
    both(PLACER, MAPPER, terms, bucket_items=50, how=({"save": lambda state: states.append(state())}, {}))
    ends = memory.pair(4, 1)
    options = {"attempt": 0, "name": "t", "before_open": opens_nothing, "bucket_items": 50}
    rows = inputs(PLACER)
    for own, seed, more in (
        (rows, SEEDS[1], {}),
        ((rows[0], bytes(len(rows[1]))), SEEDS[0], {}),
        (rows, SEEDS[0], {"attempt": 1}),
    ):
        with pytest.raises(AtollError) as caught:
            run("placer", *own, terms, ends[0], seed=seed, checkpoint=states[0], **options | more)
        assert caught.value.code == "E_FORMAT"
    for broken in (b"", states[0][:-1], states[0] + b"\0", states[0].replace(b"v1", b"v2", 1)):
        with pytest.raises(AtollError) as caught:
            run("placer", *rows, terms, ends[0], seed=SEEDS[0], checkpoint=broken, **options)
        assert caught.value.code == "E_FORMAT"


def cheat(change: Callable[[str, bytes], bytes]) -> list[Any]:
    """Results where the mapper's messages are changed on their way."""
    ends = memory.pair(4, 1)
    send = ends[1].send
    ends[1].send = lambda payload, step: send(change(step, payload), step)
    return both(PLACER, MAPPER, terms_of(PLACER, MAPPER), channels=ends)[0]


@pytest.mark.parametrize(
    ("step", "bad"),
    [
        ("hidden-totals/enough", lambda p: p[:1] + b"\x02"),
        ("hidden-totals/enough", lambda p: p + b"\0"),
        ("hidden-totals/enough", lambda p: b"\x02" + p[1:]),
        ("hidden-totals/totals", lambda p: p[:-1]),
        ("hidden-totals/totals", lambda p: b"\x01" + p[1:]),
        ("hidden-totals/enough/share/0/0", lambda p: p[:-1]),
        ("hidden-totals/0/store/0/0", lambda p: p + b"\0"),
        ("hidden-totals/hello", lambda p: p[:-1]),
    ],
    ids=[
        "no-bit",
        "long-bit",
        "totals-early",
        "short-totals",
        "bit-again",
        "short-coin",
        "long-store",
        "short-hello",
    ],
)
def test_a_message_of_another_form_is_refused(step, bad):
    found = cheat(lambda at, payload: bad(payload) if at == step else payload)
    assert found[0].code == "E_PROTOCOL"


def test_a_flipped_bit_changes_the_result_and_nothing_shows_it():
    """Semi-honest: this is what the statement warns of."""
    changed = cheat(lambda at, p: p[:1] + bytes([p[1] ^ 1]) + p[2:] if at == "hidden-totals/totals" else p)
    assert changed[0].enough
    assert changed[0] != plain(PLACER, MAPPER, 1)
    # The side that lied about its half believes the other.
    hidden = cheat(lambda at, p: bytes([p[0], p[1] ^ 1]) if at == "hidden-totals/enough" else p)
    assert hidden[0] == HiddenTotals(False)


@pytest.mark.parametrize(
    "other",
    [
        {"minimum": 2},
        {"multiplicity": 3},
        {"receivers": "mapper"},
        {"context": b"other"},
        {"placer_items": 61},
    ],
    ids=lambda change: next(iter(change)),
)
def test_other_terms_of_the_peer_are_refused(other):
    terms = terms_of(PLACER, MAPPER)
    ends = memory.pair(4, 5)
    rows = PLACER + [Row("more", (0,))] * (other.get("placer_items", 0) > 0)
    options = {"attempt": 0, "name": "t", "before_open": opens_nothing}
    with ThreadPoolExecutor(2) as pool:
        mine = pool.submit(run, "mapper", *inputs(MAPPER), terms, ends[1], seed=SEEDS[1], **options)
        theirs = pool.submit(
            run, "placer", *inputs(rows), replace(terms, **other), ends[0], seed=SEEDS[0], **options
        )
        for side in (mine, theirs):
            error = side.exception(30)
            assert isinstance(error, AtollError)
            assert error.code == "E_PROTOCOL"


def test_a_key_on_more_rows_than_declared_is_refused_at_home_before_anything_is_sent():
    for role, rows, terms, row in (
        ("placer", [*PLACER, PLACER[3]], terms_of([*PLACER, PLACER[3]], MAPPER), 60),
        ("mapper", MAPPER, terms_of(PLACER, MAPPER, multiplicity=1), 1),
    ):
        ends = memory.pair(4, 1)
        with pytest.raises(AtollError) as caught:
            run(
                role,
                *inputs(rows),
                terms,
                ends[0],
                seed=SEEDS[0],
                attempt=0,
                name="t",
                before_open=opens_nothing,
            )
        assert caught.value.code == "E_DUPLICATE"
        assert f"Row {row} " in caught.value.text
        assert "Row" not in caught.value.to_wire()
        assert not ends[0].sent


@pytest.mark.parametrize(
    "change",
    [
        {"minimum": 0},
        {"minimum": 2**32},
        {"mapper_items": 2**25 + 1},
        {"multiplicity": 0},
        {"placer_items": -1},
        {"mapper_words": 255},
        {"receivers": "nobody"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_terms_out_of_range_are_refused(change):
    with pytest.raises(AtollError) as caught:
        terms_of(PLACER, MAPPER, **change)
    assert caught.value.code == ("E_TOO_LARGE" if change.get("mapper_items") else "E_FORMAT")


def test_rows_of_other_sizes_and_buckets_that_no_run_takes_are_refused():
    terms = terms_of(PLACER, MAPPER)
    digests, payload = inputs(PLACER)
    options = {"seed": SEEDS[0], "attempt": 0, "name": "t", "before_open": opens_nothing}
    for role, one, other in (
        ("placer", digests[:-1], payload),
        ("placer", digests, payload[8:]),
        ("x", digests, payload),
    ):
        with pytest.raises(AtollError) as caught:
            run(role, one, other, terms, memory.pair()[0], **options)
        assert caught.value.code == "E_FORMAT"
    for bucket in (0, (1 << 20) + 1):
        with pytest.raises(AtollError) as caught:
            fit(terms, bucket)
        assert caught.value.code == "E_FORMAT"
    for copies, bucket in ((1000, 1 << 18), (100_000, 1 << 18), (10, 1)):
        with pytest.raises(AtollError) as caught:
            fit(replace(terms, placer_items=10**6, mapper_items=10**6, multiplicity=copies), bucket)
        assert caught.value.code == "E_TOO_LARGE"
        assert f"{copies} rows" in caught.value.text
    assert fit(replace(terms, placer_items=10**6, mapper_items=10**6, multiplicity=100)).buckets == 382


def test_each_sides_messages_that_open_are_uniform():
    """Shares of the totals over many runs of the same tables: every bit of every byte is as often 0 as 1."""
    placer, mapper = PLACER[:3], [Row("k0", (5, 6)), Row("k9", (7, 8))]
    bits: list[np.ndarray] = []
    enough = []
    terms = terms_of(placer, mapper)
    for attempt in range(40):
        _, ends = both(placer, mapper, terms, attempt=attempt)
        steps = dict(ends[1].sent)
        bits.append(np.unpackbits(np.frombuffer(steps["hidden-totals/totals"][1:], np.uint8)))
        enough.append(steps["hidden-totals/enough"][1])
    share = np.concatenate(bits).mean()
    count = len(bits) * len(bits[0])
    # Five standard deviations.
    assert abs(share - 0.5) < 5 * 0.5 / count**0.5
    assert abs(np.mean(enough) - 0.5) < 5 * 0.5 / len(enough) ** 0.5


class _Pipe:
    """A channel over a pipe between processes."""

    def __init__(self, end: Connection) -> None:
        self._end = end

    def send(self, payload: bytes, step: str) -> None:
        self._end.send_bytes(payload)

    def recv(self) -> bytes:
        return self._end.recv_bytes()

    def readable(self) -> bool:
        return self._end.poll()

    def writable(self) -> bool:
        return True

    def wait(self, read: bool, write: bool) -> None:
        if read:
            self._end.poll(30)


def _process(end: Connection, role: str, rows: list[Row], terms: Terms, seed: bytes) -> None:
    channel = _Pipe(end)
    found = run(
        role, *inputs(rows), terms, channel, seed=seed, attempt=0, name="t", before_open=opens_nothing
    )
    end.send(found)
    end.recv_bytes()
    os._exit(0)


def test_two_processes_that_hold_one_table_each():
    terms = terms_of(PLACER, MAPPER)
    spawn = multiprocessing.get_context("spawn")
    pipes = [spawn.Pipe() for _ in ROLES]
    processes = [
        spawn.Process(target=_process, args=(pipes[i][1], ROLES[i], (PLACER, MAPPER)[i], terms, SEEDS[i]))
        for i in range(2)
    ]
    for process in processes:
        process.start()
    results: dict[int, Any] = {}
    while len(results) < 2:
        for i, (here, _) in enumerate(pipes):
            if i not in results and here.poll(0.01):
                message = here.recv_bytes()
                if message.startswith(b"\x80"):
                    # What was learnt, of our own process; not a message of the protocol.
                    results[i] = multiprocessing.reduction.ForkingPickler.loads(message)
                else:
                    pipes[1 - i][0].send_bytes(message)
    for (here, _), process in zip(pipes, processes, strict=True):
        here.send_bytes(b"")
        process.join(30)
        assert process.exitcode == 0
    assert results == {0: plain(PLACER, MAPPER, 1), 1: plain(PLACER, MAPPER, 1)}
