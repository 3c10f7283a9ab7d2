"""The answering side of C2SP tlog-witness: what it cosigns, and each refusal with the status of the specification."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.crypto import tlog_witness
from atoll.crypto.suite import PublicKey, SigningKey
from atoll.errors import AtollError
from atoll.ledger import checkpoint, cosignature, merkle, note
from atoll.ledger.checkpoint import Checkpoint
from atoll.ledger.entry import Record
from atoll.ledger.log import OwnLog
from atoll.ledger.replica import Forked
from atoll.ledger.storage import MemoryStorage
from atoll.ledger.witness import MemorySeen, Witness
from atoll.ledger.witness_http import Answer, respond

NOW = datetime(2026, 11, 23, 16, 30, tzinfo=UTC)
OWNER = SigningKey(b"\x01" * 32)
KEY = SigningKey(b"\x05" * 32)
NAME = "witness.example/w1"
WHO = cosignature.verifier(KEY.public, NAME)


def log_of(count: int) -> OwnLog:
    log = OwnLog(MemoryStorage(), "agr-1", OWNER)
    if count:
        grow(log, count)
    return log


def grow(log: OwnLog, count: int) -> None:
    log.append([Record("receipt/v1", {"n": i}) for i in range(count)], NOW)


def signed_of(log: OwnLog) -> bytes:
    signed = log.checkpoint()
    assert signed is not None
    return signed.encode()


class Desk:
    """A witness that knows one log."""

    def __init__(self) -> None:
        self.witness = Witness(KEY, MemorySeen(), NAME)

    def owner_of(self, origin: str) -> PublicKey | None:
        return OWNER.public if origin == checkpoint.origin("agr-1", OWNER.public) else None

    def raw(self, body: bytes, now: datetime = NOW) -> Answer:
        return respond(body, self.witness, self.owner_of, now)

    def ask(self, log: OwnLog, old: int, proof: list[bytes] | None = None) -> Answer:
        proof = log.consistency_proof(old) if proof is None else proof
        return self.raw(tlog_witness.encode_request(old, proof, signed_of(log)))


def test_a_log_that_grows_is_cosigned() -> None:
    desk, log = Desk(), log_of(3)
    for old, more in ((0, 0), (3, 254), (257, 0), (257, 44)):
        if more:
            grow(log, more)
        answer = desk.ask(log, old)
        assert (answer.status, answer.media, answer.error) == (200, "text/plain; charset=utf-8", None)
        (line,) = tlog_witness.parse_lines(answer.body)
        seen = cosignature.verify(note.parse(signed_of(log)).text, note.parse_signature(line), WHO)
        assert seen.at == NOW
        # As the specification says: the body joined to the checkpoint is a note.
        joined = note.parse(signed_of(log) + answer.body)
        assert len(cosignature.cosigners(joined, [WHO])) == 1


def test_a_wrong_old_size_is_told_the_right_one() -> None:
    desk, log = Desk(), log_of(3)
    assert desk.ask(log, 0).status == 200
    grow(log, 5)
    for old in (0, 2, 8):
        answer = desk.ask(log, old)
        assert (answer.status, answer.media, answer.body) == (409, "text/x.tlog.size", b"3\n")
    assert desk.ask(log, 3).status == 200
    # A log that was never seen has size 0.
    assert Desk().ask(log, 3).body == b"0\n"


def test_an_older_checkpoint_does_not_roll_the_witness_back() -> None:
    desk, log = Desk(), log_of(3)
    early = signed_of(log)
    grow(log, 5)
    assert desk.ask(log, 0).status == 200
    for old in (0, 3):
        answer = desk.raw(tlog_witness.encode_request(old, [], early))
        assert (answer.status, answer.body) == (409, b"8\n")
    # An old size beyond the checkpoint's own is malformed, whatever was seen.
    assert desk.raw(tlog_witness.encode_request(8, [], early)).status == 400
    assert desk.witness.size(log.origin) == 8


def test_wrong_proofs_are_refused() -> None:
    desk, log = Desk(), log_of(3)
    assert desk.ask(log, 0, []).status == 200
    grow(log, 5)
    good = log.consistency_proof(3)
    for wrong in ([], good[1:], [*good, good[0]], [bytes(32), *good[1:]]):
        answer = desk.ask(log, 3, wrong)
        assert (answer.status, answer.body) == (422, b"E_LEDGER\n")
    # The empty tree needs no proof, and may not have one.
    fresh = Desk()
    line = b"old 0\n" + b"A" * 43 + b"=\n\n"
    assert fresh.raw(line + signed_of(log)).status == 422
    assert fresh.witness.size(log.origin) == 0


def test_a_fork_is_refused_and_its_proof_kept() -> None:
    desk, one, two = Desk(), log_of(3), log_of(3)
    assert desk.ask(one, 0).status == 200
    answer = desk.ask(two, 3, [])
    assert (answer.status, answer.body) == (422, b"E_LEDGER\n")
    assert isinstance(answer.error, Forked)
    answer.error.proof.verify()
    # With a wrong old size the specification asks for the size; the proof is kept all the same.
    answer = desk.ask(two, 2)
    assert (answer.status, answer.body) == (409, b"3\n")
    assert isinstance(answer.error, Forked)
    # A fork that shows only in a later size.
    grow(two, 2)
    assert desk.ask(two, 3).status == 422
    assert desk.ask(one, 3).status == 200


def test_strangers_are_refused() -> None:
    desk, log = Desk(), log_of(3)
    signed = note.parse(signed_of(log))
    other = OwnLog(MemoryStorage(), "agr-2", OWNER)
    grow(other, 1)
    assert desk.ask(other, 0).status == 404
    point = checkpoint.parse_text(signed.text)
    forged = checkpoint.sign(point, KEY).encode()
    unsigned = note.Note(signed.text, (cosignature.cosign(signed.text, KEY, NOW),)).encode()
    broken = note.Signature(signed.signatures[0].name, signed.signatures[0].key_id, bytes(64))
    both = note.Note(signed.text, (signed.signatures[0], broken)).encode()
    for data in (forged, unsigned, both, note.Note(signed.text, (broken,)).encode()):
        answer = desk.raw(tlog_witness.encode_request(0, [], data))
        assert (answer.status, answer.body) == (403, b"E_SIGNATURE\n")
    # Lines by unknown keys do not hinder.
    more = signed.with_signatures(cosignature.cosign(signed.text, SigningKey(b"\x09" * 32), NOW))
    assert desk.raw(tlog_witness.encode_request(0, [], more.encode())).status == 200


def test_what_is_no_checkpoint_is_refused() -> None:
    desk = Desk()
    origin = checkpoint.origin("agr-1", OWNER.public)

    def ask(text: str) -> int:
        return desk.raw(tlog_witness.encode_request(0, [], note.sign(text, origin, OWNER).encode())).status

    root = "A" * 43 + "="
    assert ask(f"{origin}\n0\n{root}\n") == 422
    assert ask(f"{origin}\n03\n{root}\n") == 400
    assert ask(f"{origin}\n3\n{root}\nextension\n") == 400
    assert ask(f"{origin}\n") == 400
    assert desk.raw(b"").status == 400
    assert desk.raw(b"old 0\n\nnot a note\n").status == 400
    assert desk.raw(b"x" * (tlog_witness.MAX_REQUEST + 1)).status == 413
    empty = checkpoint.sign(Checkpoint(origin, 0, merkle.empty_root()), OWNER).encode()
    assert desk.raw(tlog_witness.encode_request(0, [], empty)).status == 200


def test_a_fault_of_the_witness_is_not_blamed_on_the_asker() -> None:
    desk, log = Desk(), log_of(3)
    with pytest.raises(AtollError, match="E_FORMAT"):
        desk.raw(tlog_witness.encode_request(0, [], signed_of(log)), datetime(1970, 1, 1, tzinfo=UTC))


@given(st.binary(min_size=1, max_size=60), st.integers(0, 10**6), st.integers(1, 255))
def test_no_bytes_make_it_fail(junk: bytes, position: int, change: int) -> None:
    good = tlog_witness.encode_request(0, [], signed_of(log_of(3)))
    position %= len(good)
    changed = good[:position] + bytes([good[position] ^ change]) + good[position + 1 :]
    for body in (junk, good + junk, good[:position], changed):
        answer = Desk().raw(body)
        assert answer.status in (400, 403, 404, 409, 422)
        assert answer.body == b"0\n" if answer.status == 409 else answer.body.startswith(b"E_")


def test_time_is_this_nodes_own() -> None:
    desk, log = Desk(), log_of(1)
    body = tlog_witness.encode_request(0, [], signed_of(log))
    later = NOW + timedelta(hours=5)
    (line,) = tlog_witness.parse_lines(desk.raw(body, later).body)
    seen = cosignature.verify(note.parse(signed_of(log)).text, note.parse_signature(line), WHO)
    assert seen.at == later
