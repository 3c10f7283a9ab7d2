"""Sessions between workers over real sockets: order, drops, silence, ends, and who is let in."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from atoll.errors import AtollError
from atoll.net import lane as lane_module
from atoll.net.identity import ephemeral_tls
from atoll.net.session import Session


def ends_with(session: Session, code: str, seconds: float = 10) -> AtollError:
    with pytest.raises(AtollError) as ended:
        session.channel("psi").recv(seconds)
    assert ended.value.code == code, ended.value
    return ended.value


def waited(channel: Any, seconds: float) -> bool:
    try:
        channel.wait(read=False, write=True, timeout=seconds)
    except AtollError as error:
        if error.code != "E_PEER_SILENT":
            raise
        return False
    return True


def close_both(one: Session, two: Session) -> None:
    with ThreadPoolExecutor(2) as pool:
        for work in (pool.submit(one.close), pool.submit(two.close)):
            work.result(20)


def agree(one: Session, two: Session) -> None:
    a, b = one.transcripts(), two.transcripts()
    assert set(a) == set(b)
    for name in a:
        assert (a[name]["sent"], a[name]["received"]) == (b[name]["received"], b[name]["sent"])
        assert a[name]["messages"] == b[name]["messages"][::-1]
        assert a[name]["bytes"] == b[name]["bytes"][::-1]


def test_messages_arrive_in_order_on_several_channels(workers: Any) -> None:
    alice, bob = workers.both()
    names = ["psi", "masks", "third"]
    for i in range(50):
        for name in names:
            alice.channel(name).send(f"{name} {i}".encode(), f"step/{i}")
    for name in reversed(names):
        assert [bob.channel(name).receive(5) for _ in range(50)] == [
            (f"step/{i}", f"{name} {i}".encode()) for i in range(50)
        ]
    bob.channel("psi").send(b"", "empty")
    assert alice.channel("psi").receive(5) == ("empty", b"")
    agree(alice, bob)
    close_both(alice, bob)
    assert alice.error is None
    assert bob.error is None
    with pytest.raises(AtollError):
        alice.channel("psi").send(b"late", "late")


def test_large_messages_in_both_directions_do_not_block_each_other(workers: Any) -> None:
    alice, bob = workers.both()
    payload = os.urandom(20 << 20)

    def talk(session: Session) -> None:
        channel = session.channel("psi")
        for _ in range(2):
            channel.send(payload, "bulk")
            assert channel.recv(60) == payload

    with ThreadPoolExecutor(2) as pool:
        for work in [pool.submit(talk, s) for s in (alice, bob)]:
            work.result(60)
    agree(alice, bob)


def test_a_slow_peer_holds_the_sender_back(workers: Any) -> None:
    alice, bob = workers.both()
    channel = alice.channel("psi")
    channel.send(b"", "first")
    assert bob.channel("psi").recv(5) == b""
    sent = 0
    while sent < 100 and waited(channel, 0.5):
        channel.send(bytes(1 << 20), "bulk")
        sent += 1
    assert sent == lane_module.WINDOW // (1 << 20)
    # Another channel has its own window.
    alice.channel("other").send(b"x", "s")
    assert bob.channel("other").recv(5) == b"x"
    for _ in range(sent):
        bob.channel("psi").recv(5)
    channel.wait(read=False, write=True, timeout=5)
    assert not channel.readable()


def test_too_large_a_message_is_refused_here(workers: Any) -> None:
    alice, _ = workers.both()
    with pytest.raises(AtollError, match="E_TOO_LARGE"):
        alice.channel("psi").send(bytes(lane_module.MAX_MESSAGE + 1), "bulk")
    for name in ("", "UPPER", "a/b", "x" * 65):
        with pytest.raises(AtollError, match="E_WIRE"):
            alice.channel(name)


def test_a_transfer_cut_three_times_arrives_whole(workers: Any) -> None:
    # Cut in the middle of messages, at points that fit no boundary.
    workers.proxy.limits = [3_000_017, 11_111_111, 20_000_003]
    alice, bob = workers.both()
    parts = [os.urandom(5 << 20) for _ in range(10)]

    def send() -> None:
        for i, part in enumerate(parts):
            alice.channel("psi").send(part, f"part/{i}")

    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(send)
        for i, part in enumerate(parts):
            assert bob.channel("psi").receive(60) == (f"part/{i}", part)
        sending.result(10)
    assert workers.proxy.connections == 4
    agree(alice, bob)
    # The chain depends on the messages alone: an uncut session of the same messages has the same.
    bob.channel("psi").send(b"done", "end")
    assert alice.channel("psi").recv(10) == b"done"
    close_both(alice, bob)


def test_a_silent_peer_ends_the_session(workers: Any) -> None:
    alice = workers.make("alice", silence_seconds=0.6)
    begun = time.monotonic()
    error = ends_with(alice, "E_PEER_SILENT")
    assert error.party == "bob"
    assert time.monotonic() - begun < 4


def test_a_peer_that_stops_answering_gets_the_reason_when_it_comes_back(workers: Any) -> None:
    alice, bob = workers.make("alice", silence_seconds=1.0), workers.make("bob", silence_seconds=30)
    alice.channel("psi").send(b"x", "s")
    assert bob.channel("psi").recv(5) == b"x"
    # Bob hangs: it neither beats nor answers, but its connection stays open.
    with bob._sending:
        ends_with(alice, "E_PEER_SILENT")
    error = ends_with(bob, "E_PEER_ABORT")
    assert error.detail["reason"]["code"] == "E_PEER_SILENT"


def test_a_busy_caller_does_not_make_the_session_silent(workers: Any) -> None:
    alice, bob = workers.both(silence_seconds=1.0)
    alice.channel("psi").send(b"x", "s")
    time.sleep(2.5)
    assert bob.channel("psi").recv(1) == b"x"
    assert alice.error is None


def test_a_long_job_waits_for_the_grace_period(workers: Any, tmp_path: Any) -> None:
    alice = workers.make("alice", silence_seconds=0.5, grace_seconds=20, journal=tmp_path / "a")
    time.sleep(1.5)
    bob = workers.make("bob", silence_seconds=0.5, grace_seconds=20, journal=tmp_path / "b")
    alice.channel("psi").send(b"x", "s")
    assert bob.channel("psi").recv(10) == b"x"


def test_an_abort_arrives_at_once_with_code_and_step_only(workers: Any) -> None:
    alice, bob = workers.both()
    alice.channel("psi").send(b"x", "s")
    bob.channel("psi").recv(5)
    begun = time.monotonic()
    alice.abort(AtollError("E_RANGE", "row 17 holds 4711", step="group_sum", column="debt"))
    error = ends_with(bob, "E_PEER_ABORT", 5)
    assert time.monotonic() - begun < 2
    assert (error.step, error.detail["reason"]) == (
        "group_sum",
        {"code": "E_RANGE", "step": "group_sum", "party": "alice"},
    )
    assert "4711" not in str(error)
    assert "debt" not in str(error)
    ends_with(alice, "E_RANGE")


def test_an_abort_while_the_line_is_down_arrives_later(workers: Any) -> None:
    alice, bob = workers.both()
    alice.channel("psi").send(b"x", "s")
    bob.channel("psi").recv(5)
    workers.proxy.cut()
    bob.abort(AtollError("E_CANCELLED", "stop"))
    assert ends_with(alice, "E_PEER_ABORT", 8).detail["reason"]["code"] == "E_CANCELLED"


def test_a_goodbye_before_the_expected_message_is_an_error(workers: Any) -> None:
    alice, bob = workers.both(silence_seconds=2.0)
    alice.channel("psi").send(b"last", "s")
    closing = threading.Thread(target=alice.close)
    closing.start()
    assert bob.channel("psi").recv(5) == b"last"
    ends_with(bob, "E_PEER_ABORT")
    closing.join(10)


@pytest.mark.parametrize("who", ["alice", "bob"])
def test_another_key_is_refused_on_both_sides(workers: Any, who: str) -> None:
    thief = ephemeral_tls(workers.tls["alice"].not_before + timedelta(hours=1))
    other = "bob" if who == "alice" else "alice"
    honest = workers.make(other, silence_seconds=1.5)
    forged = workers.make(who, tls=thief, silence_seconds=1.5)
    ends_with(honest, "E_PEER_KEY")
    assert forged.channel("psi") is not None
    with pytest.raises(AtollError) as ended:
        forged.channel("psi").recv(8)
    assert ended.value.code in ("E_PEER_KEY", "E_PEER_SILENT")


def test_an_intruder_on_the_route_does_not_end_the_job(workers: Any, helpers: Any) -> None:
    bob = workers.make("bob")
    thief = ephemeral_tls(helpers.now())
    intruder = workers.make("alice", tls=thief)
    ends_with(intruder, "E_PEER_KEY")
    alice = workers.make("alice")
    alice.channel("psi").send(b"x", "s")
    assert bob.channel("psi").recv(5) == b"x"


def test_expired_certificates_end_the_session(workers: Any, helpers: Any) -> None:
    alice = workers.make("alice", clock=lambda: helpers.now() + timedelta(days=60))
    workers.make("bob")
    ends_with(alice, "E_PEER_EXPIRED")


@pytest.mark.parametrize("difference", [{"job": "job-2"}, {"attempt": 2}, {"me": "mallory"}])
def test_sessions_of_different_jobs_do_not_meet(workers: Any, difference: dict[str, Any]) -> None:
    honest = workers.make("bob", silence_seconds=3)
    stranger = workers.make("alice", silence_seconds=3, **difference)
    codes = {_code(honest), _code(stranger)}
    assert "E_WIRE" in codes
    assert codes <= {"E_WIRE", "E_PEER_ABORT"}


def _code(session: Session) -> str:
    with pytest.raises(AtollError) as ended:
        session.channel("psi").recv(8)
    return ended.value.code


def test_a_peer_that_starts_again_without_memory_is_refused(workers: Any) -> None:
    alice, bob = workers.both()
    alice.channel("psi").send(b"first", "s")
    assert bob.channel("psi").recv(5) == b"first"
    # Alice's process is gone without a word, and comes back with other bytes for the same step.
    alice._finished.set()
    alice._stream.interrupt()
    again = workers.make("alice")
    # The two sides may have found out before this message is sent.
    with contextlib.suppress(AtollError):
        again.channel("psi").send(b"changed", "s")
    codes = {_code(bob), _code(again)}
    assert "E_REWIND" in codes
    assert codes <= {"E_REWIND", "E_PEER_ABORT"}


def test_the_tap_sees_every_message(workers: Any) -> None:
    seen: list[tuple[str, str, str, bytes]] = []
    alice = workers.make("alice", tap=lambda *facts: seen.append(facts))
    bob = workers.make("bob")
    alice.channel("psi").send(b"out", "s1")
    bob.channel("psi").recv(5)
    bob.channel("psi").send(b"in", "s2")
    alice.channel("psi").recv(5)
    assert seen == [("sent", "psi", "s1", b"out"), ("received", "psi", "s2", b"in")]
