"""Our logs before a witness that is not ours: torchwood's litewitness, over HTTP on loopback."""

from __future__ import annotations

import base64
import hashlib
import shutil
import signal
import socket
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from atoll_interop_world import NOW, OUTSIDE, OUTSIDE_NAME, OWNER, PARTNER, Interop

from atoll.crypto import tlog_witness
from atoll.crypto.suite import PublicKey
from atoll.errors import AtollError
from atoll.ledger import checkpoint, cosignature, export, note
from atoll.ledger.cosignature import Cosigned
from atoll.ledger.entry import Record
from atoll.ledger.log import Log, OwnLog
from atoll.ledger.note import Verifier
from atoll.ledger.storage import MemoryStorage
from atoll.ledger.witness import MemorySeen, Witness
from atoll.ledger.witness_http import respond
from atoll.net.witness import OldSizeRefused, add_checkpoint
from atoll.testing import nodes, until

WHO = cosignature.verifier(OUTSIDE.public, OUTSIDE_NAME)


@dataclass(frozen=True)
class Litewitness:
    """A running witness: where it is asked, and where it keeps which logs it knows."""

    url: str
    database: Path

    def learn(self, log: Log) -> None:
        """What its operator does with the log's verifier key."""
        with closing(sqlite3.connect(self.database)) as connection, connection:
            empty = base64.b64encode(hashlib.sha256(b"").digest()).decode()
            connection.execute(
                "INSERT INTO log (origin, tree_size, tree_hash) VALUES (?, 0, ?)", (log.origin, empty)
            )
            vkey = Verifier.of(log.origin, log.owner).vkey
            connection.execute("INSERT INTO key (origin, key) VALUES (?, ?)", (log.origin, vkey))

    def ask(
        self, log: OwnLog, old: int, proof: list[bytes] | None = None, signed: bytes | None = None
    ) -> Cosigned:
        """Submits the log's newest checkpoint; the verified cosignature, which the log then keeps."""
        signed = signed or log.storage.head() or b""
        proof = log.consistency_proof(old) if proof is None else proof
        lines = add_checkpoint(self.url, old_size=old, proof=proof, checkpoint=signed)
        (line,) = [item for item in map(note.parse_signature, lines) if item.by(WHO)]
        seen = cosignature.verify(note.parse(signed).text, line, WHO)
        log.add_cosignature(signed, line.line, OUTSIDE.public, OUTSIDE_NAME)
        return seen


def wait_for(ready: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 30
    while not ready():
        assert process.poll() is None, log.read_text(errors="replace")
        assert time.monotonic() < end, log.read_text(errors="replace")
        time.sleep(0.05)


@contextmanager
def running(arguments: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as out:
        process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=out, stderr=out, cwd=log.parent)
    try:
        yield process
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.send_signal(signal.SIGINT)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 1):
            return True
    except OSError:
        return False


@pytest.fixture(scope="module")
def litewitness(interop: Interop) -> Iterator[Litewitness]:
    interop.build("filippo.io/torchwood/cmd/litewitness")
    # A socket's path is short.
    folder = Path(tempfile.mkdtemp(prefix="atoll-w-"))
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    keeper = [str(interop.program), "agent", str(folder / "agent"), OUTSIDE.seed.hex()]
    try:
        with running(keeper, folder / "agent.log") as agent:
            wait_for((folder / "agent").exists, agent, folder / "agent.log")
            wait_for(lambda: b"SHA256:" in (folder / "agent.log").read_bytes(), agent, folder / "agent.log")
            fingerprint = (folder / "agent.log").read_text().strip()
            arguments = [
                str(interop.folder / "litewitness"), "-name", OUTSIDE_NAME, "-key", fingerprint, "-db", "w.db",
                "-ssh-agent", str(folder / "agent"), "-listen", f"127.0.0.1:{port}", "-obscurity",
            ]  # fmt: skip
            with running(arguments, folder / "witness.log") as process:
                wait_for(lambda: answers(port), process, folder / "witness.log")
                yield Litewitness(f"http://127.0.0.1:{port}", folder / "w.db")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def log_of(agreement: str, count: int) -> OwnLog:
    log = OwnLog(MemoryStorage(), agreement, OWNER)
    return grow(log, count)


def grow(log: OwnLog, count: int) -> OwnLog:
    log.append([Record("receipt/v1", {"n": i}) for i in range(log.size, log.size + count)], NOW)
    return log


def status_of(error: AtollError) -> int:
    return int(error.detail["status"])


def test_a_log_that_grows_is_cosigned(litewitness: Litewitness, interop: Interop, tmp_path: Path) -> None:
    log = log_of("agr-grows", 3)
    litewitness.learn(log)
    old = 0
    for more in (0, 252, 1, 1, 1, 300):
        if more:
            grow(log, more)
        seen = litewitness.ask(log, old)
        assert seen.at is not None
        assert abs(seen.at - datetime.now(UTC)) < timedelta(minutes=10)
        old = log.size
    # The same checkpoint once more, for a newer time.
    assert litewitness.ask(log, old).time >= seen.time

    # What it signed is in the log's checkpoint, and in the export, for others and for us.
    file = tmp_path / "evidence.atoll-ledger"
    export.write_export(file, [log])
    keys = ["-log", Verifier.of(log.origin, OWNER.public).vkey, "-witness", WHO.vkey, "-quorum", "1"]
    (answer,) = interop.check("log", *keys, f"{file}:{checkpoint.short(OWNER.public)}")
    assert (answer["ok"], answer["entries"]) == (True, 558), answer
    now = datetime.now(UTC) + timedelta(minutes=10)
    found = export.verify_export(file, now, {"owner": OWNER.public}, outside={"w1": OUTSIDE.public})
    assert found.ok, found.lines()
    assert [f.facts["name"] for f in found.findings if f.code == "cosigned"] == ["w1"]


def test_a_wrong_old_size_is_told_and_the_next_try_works(litewitness: Litewitness) -> None:
    log = log_of("agr-size", 3)
    litewitness.learn(log)
    litewitness.ask(log, 0)
    grow(log, 297)
    for old in (0, 2, 299):
        with pytest.raises(OldSizeRefused) as caught:
            litewitness.ask(log, old)
        assert caught.value.size == 3
    litewitness.ask(log, caught.value.size)


def test_a_forked_log_is_refused(litewitness: Litewitness) -> None:
    log, fork = log_of("agr-fork", 5), log_of("agr-fork", 5)
    litewitness.learn(log)
    litewitness.ask(log, 0)
    with pytest.raises(AtollError, match="E_LEDGER") as caught:
        litewitness.ask(fork, 5)
    assert status_of(caught.value) == 422
    assert "consistency proof" in caught.value.detail["answer"]
    # The other history does not pass as a continuation either.
    grow(fork, 4)
    with pytest.raises(AtollError, match="E_LEDGER"):
        litewitness.ask(fork, 5)
    assert litewitness.ask(grow(log, 4), 5).key == OUTSIDE.public


def test_a_wrong_proof_is_refused(litewitness: Litewitness) -> None:
    log = log_of("agr-proof", 7)
    litewitness.learn(log)
    litewitness.ask(log, 0)
    grow(log, 20)
    good = log.consistency_proof(7)
    changed = [bytes([good[0][0] ^ 1]) + good[0][1:], *good[1:]]
    for wrong in ([], good[1:], [*good, good[0]], changed):
        with pytest.raises(AtollError, match="E_LEDGER") as caught:
            litewitness.ask(log, 7, wrong)
        assert status_of(caught.value) == 422
    litewitness.ask(log, 7, good)


def test_a_log_and_a_key_that_it_does_not_know(litewitness: Litewitness) -> None:
    log = log_of("agr-known", 3)
    with pytest.raises(AtollError, match="E_NOT_FOUND"):
        litewitness.ask(log, 0)
    litewitness.learn(log)
    signed = note.parse(log.storage.head() or b"")
    stranger = checkpoint.sign(checkpoint.parse_text(signed.text), PARTNER).encode()
    with pytest.raises(AtollError, match="E_SIGNATURE"):
        litewitness.ask(log, 0, signed=stranger)
    # A size beyond the checkpoint's own is no request.
    with pytest.raises(AtollError, match="E_WIRE"):
        litewitness.ask(log, 4, [])
    # Cosignatures that the checkpoint has already do not hinder.
    more = signed.with_signatures(cosignature.cosign(signed.text, PARTNER, NOW))
    litewitness.ask(log, 0, signed=more.encode())


def test_our_answers_are_those_of_the_other_witness(litewitness: Litewitness) -> None:
    """The same requests, in the same order, to litewitness and to this project's answering side."""
    log, fork = log_of("agr-same", 3), log_of("agr-same", 3)
    litewitness.learn(log)
    ours = Witness(PARTNER, MemorySeen())
    early = log.storage.head() or b""
    grow(log, 6)
    newest, other = log.storage.head() or b"", fork.storage.head() or b""
    unsigned = checkpoint.sign(checkpoint.parse_text(note.parse(newest).text), PARTNER).encode()
    proof = log.consistency_proof(3)
    requests: list[tuple[int, list[bytes], bytes]] = [
        (0, [], early),
        (3, [], early),
        (3, [], other),
        (0, [], newest),
        (3, proof[1:], newest),
        (3, proof, unsigned),
        (10, [], newest),
        (3, proof, newest),
        (3, [], early),
        (9, [], early),
        (9, [], newest),
    ]
    expected = [200, 200, 422, 409, 422, 403, 400, 200, 409, 400, 200]
    found = []
    for old, given, signed in requests:
        body = tlog_witness.encode_request(old, given, signed)
        found.append(respond(body, ours, lambda _: OWNER.public, datetime.now(UTC)).status)
        try:
            add_checkpoint(litewitness.url, old_size=old, proof=given, checkpoint=signed)
            theirs = 200
        except OldSizeRefused:
            theirs = 409
        except AtollError as error:
            theirs = status_of(error)
        assert theirs == expected[len(found) - 1], (old, theirs)
    assert found == expected


def test_our_cosignature_is_accepted_where_theirs_is(interop: Interop, tmp_path: Path) -> None:
    """A C2SP client joins the answer's lines to the checkpoint and opens the note."""
    log = log_of("agr-ours", 4)
    signed = log.storage.head() or b""
    request = tlog_witness.encode_request(0, [], signed)
    answer = respond(request, Witness(OUTSIDE, MemorySeen(), OUTSIDE_NAME), lambda _: OWNER.public, NOW)
    (tmp_path / "joined").write_bytes(signed + answer.body)
    keys = ["-log", Verifier.of(log.origin, OWNER.public).vkey, "-witness", WHO.vkey, "-quorum", "1"]
    (found,) = interop.check("checkpoint", *keys, tmp_path / "joined")
    assert found["ok"], found
    assert found["cosigned"] == {OUTSIDE_NAME: int(NOW.timestamp())}


def test_a_node_asks_it_where_an_agreement_names_it(litewitness: Litewitness) -> None:
    """Over HTTP, from a real node; the one of the two nodes whose log it knows is cosigned, at padded sizes."""
    member = {"name": OUTSIDE_NAME, "key": str(OUTSIDE.public), "address": litewitness.url}
    terms = {"quorum": 1, "pad": 4, "seconds": 1, "members": [member]}
    with nodes("alice", "bob") as net:
        net.alice.steward.data.add("loans", {"id": ["1", "2"]})
        agreement = net.agreement({"alice": {"loans": "*"}}, parties=["bob"], witnesses=terms)
        owner = PublicKey.parse(net.alice.identity)
        litewitness.learn(Log(MemoryStorage(), agreement, owner))

        def seen() -> list[dict[str, object]]:
            (log,) = [x for x in net.alice.auditor.ledger.list() if x["own"]]
            return [c for c in log["cosignatures"] if c["witness"] == str(OUTSIDE.public)]

        until("the witness cosigned", seen, 30)
        assert seen()[0]["name"] == OUTSIDE_NAME
        assert seen()[0]["size"] == 4
        until("bob was told that its log is unknown", lambda: '"code": "E_NOT_FOUND"' in net.bob.log(), 30)
