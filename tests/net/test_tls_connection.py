"""TLS between pinned keys, without a socket: every way in which the two may not fit."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.crypto.tls import Connection, server_name
from atoll.errors import AtollError
from atoll.net.identity import TlsIdentity, ephemeral_tls

NOW = datetime(2026, 11, 23, 16, 30, tzinfo=UTC)
A, B, C = (ephemeral_tls(NOW) for _ in range(3))


def client(
    own: TlsIdentity = A, pin: TlsIdentity = B, now: datetime = NOW, limit: int = 1 << 20
) -> Connection:
    return Connection.client(own.certificate, own.private_key, [pin.fingerprint], "node.atoll", now, limit)


def server(own: TlsIdentity = B, pin: TlsIdentity | None = A, now: datetime = NOW) -> Connection:
    pins = None if pin is None else [pin.fingerprint]
    return Connection.server(own.certificate, own.private_key, pins, now, 1 << 20)


def shake(one: Connection, two: Connection) -> dict[str, str]:
    """Runs both sides to the end; gives the code with which each side failed."""
    failed: dict[str, str] = {}
    for _ in range(4):
        for name, source, sink in (("server", one, two), ("client", two, one)):
            data = source.outgoing()
            try:
                if data and name not in failed:
                    sink.receive(data)
            except AtollError as error:
                failed[name] = error.code
    return failed


def test_two_pinned_sides_agree() -> None:
    one, two = client(), server()
    assert shake(one, two) == {}
    assert not one.handshaking
    assert not two.handshaking
    assert (one.peer_fingerprint, two.peer_fingerprint) == (B.fingerprint, A.fingerprint)
    assert one.exporter(b"label", b"x") == two.exporter(b"label", b"x") != one.exporter(b"label", b"y")
    one.write_frame(9, "psi", 7, b"-lagoon-", piece=2, step="points", start=1, end=7)
    two.receive(one.outgoing())
    assert [tuple(frame) for frame in two.frames()] == [(9, "psi", 7, 2, True, "points", b"lagoon")]
    one.close_notify()
    two.receive(one.outgoing())
    assert two.peer_closed


def test_the_client_refuses_another_key_and_the_server_learns_it() -> None:
    assert shake(client(pin=C), server()) == {"client": "E_PEER_KEY", "server": "E_PEER_KEY"}


def test_the_server_refuses_another_key_and_the_client_learns_it() -> None:
    assert shake(client(own=C), server()) == {"server": "E_PEER_KEY", "client": "E_PEER_KEY"}


def test_a_server_without_pins_takes_any_key_with_proof_of_possession() -> None:
    two = server(pin=None)
    assert shake(client(own=C), two) == {}
    assert two.peer_fingerprint == C.fingerprint


def test_a_certificate_without_its_key_proves_nothing() -> None:
    thief = TlsIdentity(A.certificate, C.private_key, A.not_before, A.not_after)
    with pytest.raises(AtollError, match="E_CONFIG"):
        client(own=thief)


@pytest.mark.parametrize("shift", [timedelta(days=31), timedelta(days=-3)])
def test_dates_are_checked_on_both_sides(shift: timedelta) -> None:
    assert shake(client(now=NOW + shift), server()) == {
        "client": "E_PEER_EXPIRED",
        "server": "E_PEER_EXPIRED",
    }
    assert shake(client(), server(now=NOW + shift))["server"] == "E_PEER_EXPIRED"
    assert shake(client(), server(pin=None, now=NOW + shift))["server"] == "E_PEER_EXPIRED"


def test_nothing_is_written_before_the_handshake_is_over() -> None:
    with pytest.raises(AtollError, match="E_WIRE"):
        client().write(b"early")


@given(st.binary(max_size=300))
@settings(max_examples=60)
def test_garbage_is_refused_or_awaits_more(data: bytes) -> None:
    two = server()
    try:
        two.receive(data)
    except AtollError as error:
        if error.code != "E_WIRE":
            raise
    assert two.handshaking
    assert two.frames() == []
    assert server_name(data)[0] in ("incomplete", "invalid")


@given(st.data())
@settings(max_examples=60)
def test_a_flipped_bit_is_caught(data: st.DataObject) -> None:
    one, two = client(), server()
    shake(one, two)
    one.write_frame(9, "psi", 0, b"payload")
    record = bytearray(one.outgoing())
    at = data.draw(st.integers(5, len(record) - 1))
    record[at] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(AtollError, match="E_WIRE"):
        two.receive(bytes(record))
    assert two.frames() == []


def test_a_replayed_record_is_caught() -> None:
    one, two = client(), server()
    shake(one, two)
    one.write_frame(9, "psi", 0, b"payload")
    record = one.outgoing()
    two.receive(record)
    with pytest.raises(AtollError, match="E_WIRE"):
        two.receive(record)


def test_a_frame_over_the_limit_is_not_read() -> None:
    one, two = client(limit=4 << 20), server()
    shake(one, two)
    one.write_frame(9, "psi", 0, bytes(2 << 20))
    with pytest.raises(AtollError, match="E_TOO_LARGE"):
        two.receive(one.outgoing())


def test_the_server_name_is_read_from_any_first_part() -> None:
    hello = client().outgoing()
    assert server_name(hello) == ("name", "node.atoll")
    for cut in range(len(hello)):
        assert server_name(hello[:cut]) == ("incomplete", None)
    assert server_name(hello + b"more")[1] == "node.atoll"


@given(st.integers(0, 250), st.integers(0, 255))
@settings(max_examples=100)
def test_a_damaged_hello_never_breaks_the_parser(at: int, value: int) -> None:
    hello = bytearray(client().outgoing())
    hello[at % len(hello)] = value
    assert server_name(bytes(hello))[0] in ("name", "absent", "incomplete", "invalid")
