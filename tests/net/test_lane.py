"""The state of a channel alone: order, credit, replay with other bytes, the journal."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.crypto.wire import Frame, Kind
from atoll.errors import AtollError
from atoll.net import lane as lane_module
from atoll.net.journal import Journal
from atoll.net.lane import Lane
from atoll.net.messages import Scope, read_abort, read_credit, read_resume, write_resume

A, B = bytes(32), bytes([1]) * 32


def two(one: Journal | None = None, other: Journal | None = None) -> tuple[Lane, Lane]:
    return Lane("psi", A, B, one), Lane("psi", B, A, other)


def send(lane: Lane, payload: bytes, step: str = "s") -> None:
    chain = lane.chain_after(step, payload)
    lane.push(step, payload, chain, lane.keep(step, payload, chain))


def frames(lane: Lane) -> list[Frame]:
    out = []
    while lane.sendable:
        p = lane.next_piece()
        out.append(Frame(Kind.DATA, "psi", p.sequence, p.piece, p.last, p.step, p.payload[p.start : p.end]))
    return out


def receive(lane: Lane, some: list[Frame]) -> None:
    for frame in some:
        if (message := lane.take(frame)) is not None:
            lane.deliver(message)


def drain(lane: Lane) -> list[bytes]:
    out = []
    while lane.readable:
        out.append(lane.pop().payload)
    return out


def reconnect(one: Lane, other: Lane) -> None:
    one.disconnected()
    other.disconnected()
    first, second = one.standing(), other.standing()
    one.resume(second)
    other.resume(first)


@given(st.lists(st.binary(max_size=40), max_size=12), st.data())
@settings(max_examples=80)
def test_any_drops_give_the_same_messages_and_chains(payloads: list[bytes], data: st.DataObject) -> None:
    sender, receiver = two()
    for payload in payloads:
        send(sender, payload)
    got: list[bytes] = []
    whole = lane_module.PIECE
    lane_module.PIECE = 7
    try:
        for _ in range(data.draw(st.integers(0, 4))):
            waiting = frames(sender)
            receive(receiver, waiting[: data.draw(st.integers(0, len(waiting)))])
            if data.draw(st.booleans()):
                got += drain(receiver)
            if data.draw(st.booleans()):
                sender.credit(*receiver.announce())
            reconnect(sender, receiver)
        receive(receiver, frames(sender))
    finally:
        lane_module.PIECE = whole
    got += drain(receiver)
    assert got == payloads
    assert sender.sent.chain == receiver.consumed.chain
    assert sender.sent.size == receiver.consumed.size


def frame(sequence: int, payload: bytes = b"x", piece: int = 0, last: bool = True) -> Frame:
    return Frame(Kind.DATA, "psi", sequence, piece, last, "s", payload)


@pytest.mark.parametrize(
    "bad",
    [
        [frame(1)],
        [frame(0, piece=1)],
        [frame(0, last=False), frame(1)],
        [frame(0, last=False), frame(0, piece=2)],
        [frame(0, last=False), frame(0, piece=0)],
        [frame(0, b"", last=False)],
        [frame(0, last=False), frame(0, b"", piece=1)],
    ],
)
def test_pieces_out_of_order_are_refused(bad: list[Frame]) -> None:
    with pytest.raises(AtollError, match="E_WIRE"):
        receive(two()[1], bad)


def test_a_sender_over_its_credit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane_module, "MOST_HELD", 300)
    lane = two()[1]
    with pytest.raises(AtollError, match="E_WIRE"):
        receive(lane, [frame(i, bytes(50)) for i in range(5)])
    monkeypatch.setattr(lane_module, "MAX_MESSAGE", 20)
    with pytest.raises(AtollError, match="E_TOO_LARGE"):
        receive(two()[1], [frame(0, bytes(21), last=False)])


def test_credit_for_what_was_not_sent_is_refused() -> None:
    sender, _ = two()
    send(sender, b"x")
    for consumed, stored in ((1, 0), (0, 1)):
        with pytest.raises(AtollError, match="E_WIRE"):
            sender.credit(consumed, stored)
    frames(sender)
    sender.credit(65, 1)
    with pytest.raises(AtollError, match="E_WIRE"):
        sender.credit(64, 1)


def test_a_message_again_with_the_same_bytes_is_ignored_and_with_others_refused() -> None:
    lane = two()[1]
    receive(lane, [frame(0, b"first"), frame(1, b"second"), frame(0, b"first")])
    assert drain(lane) == [b"first", b"second"]
    with pytest.raises(AtollError, match="E_REWIND"):
        receive(lane, [frame(0, b"changed")])


def test_a_message_cut_in_the_middle_must_begin_alike() -> None:
    lane = two()[1]
    receive(lane, [frame(0, b"fir", last=False)])
    lane.disconnected()
    with pytest.raises(AtollError, match="E_REWIND"):
        receive(lane, [frame(0, b"fis"), frame(0, b"h", piece=1)])


def test_sides_that_remember_different_things_do_not_go_on() -> None:
    sender, receiver = two()
    send(sender, b"first")
    receive(receiver, frames(sender))
    forgetful, _ = two()
    with pytest.raises(AtollError, match="E_REWIND"):
        receiver.resume(forgetful.standing())
    with pytest.raises(AtollError, match="E_REWIND"):
        forgetful.resume(receiver.standing())
    other, _ = two()
    send(other, b"changed")
    with pytest.raises(AtollError, match="E_REWIND"):
        other.resume(receiver.standing())
    sender.credit(0, 1)
    with pytest.raises(AtollError, match="E_REWIND"):
        sender.resume(None)


def test_a_journal_continues_from_a_checkpoint(tmp_path: Path) -> None:
    sender, receiver = two(Journal(tmp_path / "a"), Journal(tmp_path / "b"))
    for i in range(6):
        send(sender, b"%d" % i)
    receive(receiver, frames(sender))
    for _ in range(4):
        receiver.pop()
    at = {"received": 2, "received_bytes": 2, "sent": 0, "sent_bytes": 0}
    receiver.stored(2)
    sender.credit(*receiver.announce())
    assert len(list((tmp_path / "a").glob("*.message"))) == 4

    # Both processes are killed. The receiver goes on from message 2, the sender from its beginning.
    again = Lane("psi", B, A, Journal(tmp_path / "b"))
    again.restore(at)
    resent = Lane("psi", A, B, Journal(tmp_path / "a"))
    resent.restore(dict.fromkeys(at, 0))
    reconnect(resent, again)
    receive(again, frames(resent))
    assert drain(again) == [b"2", b"3", b"4", b"5"]
    for i in range(7):
        send(resent, b"%d" % i)
    receive(again, frames(resent))
    assert drain(again) == [b"6"]
    assert resent.sent.chain == again.consumed.chain

    # A third start that computes something else for the same step is stopped on its own side.
    third = Lane("psi", A, B, Journal(tmp_path / "a"))
    third.restore(dict.fromkeys(at, 0))
    send(third, b"0")
    with pytest.raises(AtollError, match="E_REWIND"):
        send(third, b"changed")


def test_a_journal_catches_a_peer_that_sends_something_else(tmp_path: Path) -> None:
    sender, receiver = two(None, Journal(tmp_path / "b"))
    send(sender, b"first")
    receive(receiver, frames(sender))
    again = Lane("psi", B, A, Journal(tmp_path / "b"))
    again.restore(dict.fromkeys(("received", "received_bytes", "sent", "sent_bytes"), 0))
    changed, _ = two()
    send(changed, b"other")
    with pytest.raises(AtollError, match="E_REWIND"):
        receive(again, frames(changed))


def test_a_torn_or_changed_journal(tmp_path: Path) -> None:
    sender, _ = two(Journal(tmp_path))
    send(sender, b"first")
    with (tmp_path / "psi.sent").open("ab") as file:
        file.write(b"half a record")
    zero = dict.fromkeys(("received", "received_bytes", "sent", "sent_bytes"), 0)
    again = Lane("psi", A, B, Journal(tmp_path))
    again.restore(zero)
    send(again, b"first")
    send(again, b"second")
    (tmp_path / "psi.1.message").write_bytes(b"\x00\x01sforged")
    with pytest.raises(AtollError, match="E_REWIND"):
        Lane("psi", A, B, Journal(tmp_path)).restore(zero)
    with pytest.raises(AtollError, match="E_REWIND"):
        Lane("psi", A, B, Journal(tmp_path)).restore(zero | {"sent": 9})


@given(st.binary(max_size=60))
@settings(max_examples=80)
def test_control_messages_refuse_garbage(data: bytes) -> None:
    scope = Scope("job-1", 1, "alice", "bob")
    for reader in (
        lambda: read_resume(scope, data),
        lambda: read_credit(data),
        lambda: read_abort(scope, data),
    ):
        try:
            reader()
        except AtollError as error:
            if error.code != "E_WIRE":
                raise


def test_a_standing_is_read_as_it_was_written() -> None:
    alice, bob = Scope("job-1", 1, "alice", "bob"), Scope("job-1", 1, "bob", "alice")
    standings = {"psi": two()[0].standing()}
    assert read_resume(bob, write_resume(alice, standings)) == standings
    for bad in (
        {"psi": [1, 2]},
        {"psi": [0, bytes(31), 0, 0, 0]},
        {"psi": [-1, A, 0, 0, 0]},
        {"P/": standings["psi"]},
    ):
        with pytest.raises(AtollError, match="E_WIRE"):
            read_resume(bob, write_resume(alice, bad))
