"""Logs, their copies, witnesses, and what happens to an owner that rewrites or splits its history."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.crypto.suite import SigningKey
from atoll.errors import AtollError
from atoll.ledger import checkpoint, merkle, note
from atoll.ledger.entry import Entry, Opened, Record
from atoll.ledger.fork import Branch, ForkProof
from atoll.ledger.log import Appended, OwnLog
from atoll.ledger.replica import Forked, Replica
from atoll.ledger.storage import MemoryStorage
from atoll.ledger.witness import MemorySeen, Witness, WrongOldSize

NOW = datetime(2026, 11, 23, 16, 30, tzinfo=UTC)
AGREEMENT = "agr-0011223344556677"
ALICE = SigningKey(b"\x01" * 32)
BOB = SigningKey(b"\x02" * 32)


def records(count: int, tag: str = "") -> list[Record]:
    return [Record("receipt/v1", {"job": f"{tag}{i}"}) for i in range(count)]


def own(count: int = 0, storage: MemoryStorage | None = None) -> OwnLog:
    log = OwnLog(storage or MemoryStorage(), AGREEMENT, ALICE)
    if count:
        log.append(records(count), NOW)
    return log


def copy_of(log: OwnLog) -> Replica:
    return Replica(MemoryStorage(), log.agreement, log.owner, log.hash)


def newest(log: OwnLog) -> bytes:
    signed = log.checkpoint()
    assert signed is not None
    return signed.encode()


# the owner's appends


def test_an_append_signs_what_it_stored() -> None:
    log = own()
    assert log.checkpoint() is None
    first = log.append(records(3), NOW)
    second = log.append(records(2, "b"), NOW)
    assert (first.first, first.size, second.first, second.size) == (0, 3, 3, 5)
    point = checkpoint.open_note(note.parse(second.checkpoint), log.origin, ALICE.public)
    assert (point.size, point.root) == (5, log.root())
    assert log.root(3) == first.root
    body = log.body(4)
    assert body is not None
    assert (body.kind, body.time, body.document) == ("receipt/v1", "2026-11-23T16:30:00Z", {"job": "b1"})
    leaf = merkle.leaf_hash(log.entries(4, 5)[0].leaf)
    assert merkle.verify_inclusion(leaf, 4, 5, log.inclusion_proof(4), log.root())
    assert merkle.verify_consistency(3, 5, first.root, second.root, log.consistency_proof(3))


def test_nothing_is_appended_twice_by_two_writers() -> None:
    storage = MemoryStorage()
    log = own(3, storage)

    class Slow(MemoryStorage):
        """Reads before, and writes after, another writer's append."""

        def __getattribute__(self, name: str) -> Any:
            return getattr(storage, name) if name != "append" else object.__getattribute__(self, name)

        def append(self, entries: Any, nodes: Any) -> None:
            log.append(records(1, "faster"), NOW)
            storage.append(entries, nodes)

    before = newest(log)
    with pytest.raises(AtollError, match="E_CONFLICT"):
        OwnLog(Slow(), AGREEMENT, ALICE).append(records(1, "slower"), NOW)
    assert log.size == 4
    body = log.body(3)
    assert body is not None
    assert body.document == {"job": "faster0"}
    assert newest(log) != before


def test_a_restored_backup_signs_nothing() -> None:
    storage = MemoryStorage()
    log = own(3, storage)
    ahead = own(3)
    ahead.append(records(4), NOW)
    storage.put_head(newest(ahead))
    with pytest.raises(AtollError, match="recover"):
        log.append(records(1), NOW)
    assert log.size == 3


def test_ranges_are_checked() -> None:
    log = own(3)
    for work in (
        lambda: log.entries(0, 4),
        lambda: log.entries(-1, 2),
        lambda: log.body(3),
        lambda: log.root(4),
        lambda: log.inclusion_proof(3),
        lambda: log.consistency_proof(2, 4),
        lambda: log.erase(9),
    ):
        with pytest.raises(AtollError, match="E_LEDGER"):
            work()
    with pytest.raises(AtollError, match="E_FORMAT"):
        log.append([], NOW)


def test_erasing_a_body_leaves_the_log_verifiable() -> None:
    log = own(3)
    root = log.root()
    log.erase(1)
    assert log.body(1) is None
    assert log.root() == root
    assert log.append(records(1), NOW).size == 4


@given(st.lists(st.integers(1, 9), min_size=1, max_size=12))
def test_any_batches_give_the_same_tree(batches: list[int]) -> None:
    log = own()
    copy = copy_of(log)
    edge = merkle.Frontier()
    for count in batches:
        done = log.append(records(count), NOW)
        for item in done.entries:
            edge.append(merkle.leaf_hash(item.leaf))
        assert done.root == edge.root() == log.root()
        copy.extend(done.first, done.entries, done.checkpoint)
        assert copy.root() == log.root()


# copies


def test_a_copy_takes_what_was_signed_and_no_more() -> None:
    log = own()
    copy = copy_of(log)
    one, two = log.append(records(3), NOW), log.append(records(2, "b"), NOW)
    with pytest.raises(AtollError, match="do not follow"):
        copy.extend(two.first, two.entries, two.checkpoint)
    copy.extend(one.first, one.entries, one.checkpoint)
    copy.extend(one.first, one.entries, one.checkpoint)
    copy.extend(two.first, two.entries, two.checkpoint)
    assert copy.size == 5
    body = copy.body(4)
    assert body is not None
    assert body.document == {"job": "b1"}
    # All of it once more, as after a lost acknowledgement.
    copy.extend(0, log.entries(0, 5), two.checkpoint)
    assert copy.size == 5


def refused(copy: Replica, first: int, entries: Any, signed: bytes) -> AtollError:
    before = (copy.size, copy.root(), copy.storage.head())
    with pytest.raises(AtollError) as caught:
        copy.extend(first, entries, signed)
    assert (copy.size, copy.root(), copy.storage.head()) == before
    assert caught.value.code in ("E_LEDGER", "E_SIGNATURE")
    return caught.value


def test_a_copy_refuses_forged_replayed_and_truncated_entries() -> None:
    log = own()
    copy = copy_of(log)
    one = log.append(records(3), NOW)
    copy.extend(one.first, one.entries, one.checkpoint)
    two = log.append(records(3, "b"), NOW)
    forged = own(0).append(records(1, "forged"), NOW).entries[0]
    refused(copy, 3, (*two.entries[:2], forged), two.checkpoint)
    refused(copy, 3, (two.entries[1], two.entries[0], two.entries[2]), two.checkpoint)
    refused(copy, 3, (*two.entries[:2], one.entries[0]), two.checkpoint)
    refused(copy, 3, two.entries[:2], two.checkpoint)
    refused(copy, 0, (forged, *log.entries(1, 6)), two.checkpoint)
    refused(copy, 3, two.entries, one.checkpoint)
    error = refused(copy, 3, (two.entries[0], Entry(b"{}", None), two.entries[2]), two.checkpoint)
    assert "entry 4" in error.text
    opened = two.entries[1].opened
    assert opened is not None
    lie = replace(two.entries[1], opened=Opened(opened.body.replace(b"b1", b"b7"), opened.opening))
    assert "entry 4" in refused(copy, 3, (two.entries[0], lie, two.entries[2]), two.checkpoint).text
    stranger = OwnLog(MemoryStorage(), AGREEMENT, BOB)
    refused(copy, 3, two.entries, stranger.append(records(6), NOW).checkpoint)
    point = checkpoint.parse_text(note.parse(two.checkpoint).text)
    refused(copy, 3, two.entries, checkpoint.sign(point, BOB).encode())
    copy.extend(3, two.entries, two.checkpoint)


def test_a_copy_stores_no_lines_of_strangers() -> None:
    log = own(2)
    copy = copy_of(log)
    signed = note.parse(newest(log)).with_signatures(note.Signature("stranger", b"1234", b"x" * 64))
    copy.extend(0, log.entries(0, 2), signed.encode())
    assert copy.storage.head() == newest(log)


def test_bodies_may_come_later() -> None:
    log = own()
    copy = copy_of(log)
    done = log.append(records(2), NOW)
    copy.extend(0, [Entry(item.leaf, None) for item in done.entries], done.checkpoint)
    assert copy.body(1) is None
    copy.extend(0, done.entries, done.checkpoint)
    assert copy.body(1) is not None


# witnesses


def test_a_witness_follows_a_growing_log() -> None:
    log = own(3)
    witness = Witness(BOB, MemorySeen())
    line = witness.update(log.origin, log.owner, 0, [], newest(log), NOW)
    log.add_cosignature(newest(log), line.line, BOB.public)
    assert len(note.parse(newest(log)).signatures) == 2
    log.append(records(4), NOW)
    assert len(note.parse(newest(log)).signatures) == 1
    assert [checkpoint.parse_text(n.text).size for n in log.cosigned()] == [3]
    later = NOW + timedelta(hours=1)
    line = witness.update(log.origin, log.owner, 3, log.consistency_proof(3), newest(log), later)
    log.add_cosignature(newest(log), line.line, BOB.public)
    assert [checkpoint.parse_text(n.text).size for n in log.cosigned()] == [7]
    assert witness.size(log.origin) == 7
    # The same checkpoint again gets a newer time; an older one is answered with where the witness stands.
    again = witness.update(log.origin, log.owner, 7, [], newest(log), later)
    assert again.by(note.Verifier(line.name, BOB.public, b"\x04"))


def test_a_witness_answers_an_old_checkpoint_with_its_size() -> None:
    log = own(3)
    old = newest(log)
    log.append(records(4), NOW)
    witness = Witness(BOB, MemorySeen())
    witness.update(log.origin, log.owner, 0, [], newest(log), NOW)
    for old_size, signed in ((0, old), (3, newest(log)), (7, old)):
        with pytest.raises(WrongOldSize) as caught:
            witness.update(log.origin, log.owner, old_size, [], signed, NOW)
        assert caught.value.size == 7
    assert witness.size(log.origin) == 7


def split(common: int, left: int, right: int) -> tuple[OwnLog, OwnLog, list[Appended]]:
    """Two histories by one owner that share their first entries."""
    one, two = own(), own()
    done = []
    if common:
        first = one.append(records(common), NOW)
        two_storage = two.storage
        nodes = two._extend(first.entries)[1]
        two_storage.append(first.entries, nodes)
        two_storage.put_head(first.checkpoint)
    done.append(one.append(records(left, "left"), NOW))
    done.append(two.append(records(right, "right"), NOW))
    return one, two, done


def test_two_roots_for_one_size_are_caught_with_a_proof() -> None:
    one, two, _ = split(3, 2, 2)
    witness = Witness(BOB, MemorySeen())
    witness.update(one.origin, one.owner, 0, [], newest(one), NOW)
    with pytest.raises(Forked) as caught:
        witness.update(two.origin, two.owner, 5, [], newest(two), NOW)
    proof = ForkProof.from_json(caught.value.proof.to_json())
    assert proof.verify()[0].size == 5
    with pytest.raises(Forked):
        witness.compare(two.origin, two.owner, newest(two))
    assert caught.value.to_wire() == {"code": "E_LEDGER", "party": str(ALICE.public)}


@pytest.mark.parametrize(
    ("common", "left", "right"), [(0, 1, 2), (3, 2, 5), (8, 1, 9), (7, 9, 1), (260, 30, 1)]
)
def test_a_split_history_is_not_cosigned_and_can_be_proved(common: int, left: int, right: int) -> None:
    one, two, _ = split(common, left, right)
    small, large = (one, two) if one.size < two.size else (two, one)
    witness = Witness(BOB, MemorySeen())
    witness.update(small.origin, small.owner, 0, [], newest(small), NOW)
    proof = large.consistency_proof(small.size)
    with pytest.raises(AtollError, match="did not show") as caught:
        witness.update(large.origin, large.owner, small.size, proof, newest(large), NOW)
    assert set(caught.value.detail) == {"seen", "refused"}
    assert witness.size(small.origin) == small.size
    copy = copy_of(small)
    copy.extend(0, small.entries(0, small.size), newest(small))
    fork = copy.accuse([e.leaf for e in large.entries(0, large.size)], newest(large))
    assert fork is not None
    assert fork.index == common
    back = ForkProof.from_json(fork.to_json())
    assert {point.size for point in back.verify()} == {small.size, large.size}


def test_honest_growth_is_no_fork() -> None:
    log = own(5)
    copy = copy_of(log)
    copy.extend(0, log.entries(0, 5), newest(log))
    assert copy.accuse([e.leaf for e in log.entries(0, 5)], newest(log)) is None
    log.append(records(9), NOW)
    assert copy.accuse([e.leaf for e in log.entries(0, 14)], newest(log)) is None
    with pytest.raises(AtollError, match="not those"):
        copy.accuse([e.leaf for e in log.entries(0, 13)], newest(log))


def test_a_copy_catches_a_second_root_for_a_size_it_knows() -> None:
    one, two, _ = split(3, 2, 2)
    copy = copy_of(one)
    copy.extend(0, one.entries(0, 5), newest(one))
    with pytest.raises(Forked) as caught:
        copy.extend(0, two.entries(0, 5), newest(two))
    caught.value.proof.verify()


def test_a_false_accusation_proves_nothing() -> None:
    one, two, _ = split(3, 2, 5)
    copy = copy_of(one)
    copy.extend(0, one.entries(0, 5), newest(one))
    fork = copy.accuse([e.leaf for e in two.entries(0, 8)], newest(two))
    assert fork is not None
    honest = Branch(newest(one))
    for wrong in (
        ForkProof(one.origin, one.owner, honest, honest),
        replace(fork, second=fork.first),
        replace(fork, index=0),
        replace(fork, index=None),
        replace(fork, key=BOB.public),
        replace(fork, first=replace(fork.first, leaf=fork.second.leaf)),
        replace(fork, first=replace(fork.first, leaf=None)),
        replace(fork, second=replace(fork.second, proof=fork.second.proof[:-1])),
    ):
        with pytest.raises(AtollError):
            wrong.verify()
    for value in ({}, None, [], {**fork.to_json(), "x": 1}, {**fork.to_json(), "index": -1}):
        with pytest.raises(AtollError, match="E_LEDGER"):
            ForkProof.from_json(value)


def test_a_witness_needs_the_owner_and_the_right_log() -> None:
    log = own(3)
    witness = Witness(BOB, MemorySeen())
    with pytest.raises(AtollError, match="E_SIGNATURE"):
        witness.update(log.origin, BOB.public, 0, [], newest(log), NOW)
    with pytest.raises(AtollError, match="E_LEDGER"):
        witness.update(log.origin + "x", log.owner, 0, [], newest(log), NOW)
    for proof in ([b"\0" * 32], [b""], [7], ["x" * 32], [b"\0" * 32] * 64):
        with pytest.raises(AtollError, match="E_LEDGER"):
            witness.update(log.origin, log.owner, 0, proof, newest(log), NOW)  # type: ignore[arg-type]
    for signed in (b"", "text", None, 7, newest(log)[:-1]):
        with pytest.raises(AtollError, match="E_LEDGER"):
            witness.update(log.origin, log.owner, 0, [], signed, NOW)  # type: ignore[arg-type]
    assert witness.size(log.origin) == 0


def test_a_cosignature_is_kept_only_if_it_verifies() -> None:
    log = own(3)
    line = Witness(BOB, MemorySeen()).update(log.origin, log.owner, 0, [], newest(log), NOW)
    with pytest.raises(AtollError, match="E_SIGNATURE"):
        log.add_cosignature(newest(log), line.line, ALICE.public)
    with pytest.raises(AtollError, match="no checkpoint"):
        log.add_cosignature(newest(own(2)), line.line, BOB.public)
    log.add_cosignature(newest(log), line.line, BOB.public)
    assert len(log.storage.cosignatures()) == 1


def test_appends_and_proofs_stay_cheap_as_the_log_grows() -> None:
    log = own(1)
    storage = log.storage
    reads = 0

    class Counting:
        def __getattr__(self, name: str) -> Any:
            return getattr(storage, name)

        def hashes(self, places: Any) -> Any:
            nonlocal reads
            reads += len(places)
            return storage.hashes(places)

    log.append(records(20_000), NOW)
    log.storage = Counting()  # type: ignore[assignment]
    start = time.perf_counter()
    for _ in range(100):
        log.append(records(1), NOW)
        log.inclusion_proof(777)
        log.consistency_proof(1234)
    # A generous bound for a busy machine; hashing all entries each time would take minutes.
    assert time.perf_counter() - start < 10
    assert reads < 100 * 5 * 16
