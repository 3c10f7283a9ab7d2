"""TLS 1.3 between two known keys, as a state machine without sockets (`rust/tls`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime

from atoll import _core
from atoll.crypto.suite import digest, digest_bytes
from atoll.crypto.wire import Frame
from atoll.errors import AtollError


class Connection:
    """One connection. Threads may call it at the same time; what is sent stays in order of the calls.

    Every method raises `AtollError`: `E_PEER_KEY` for a certificate that is not pinned, `E_PEER_EXPIRED` for
    one outside its dates, `E_WIRE` or `E_TOO_LARGE` for bytes that do not follow the format. After an error
    `outgoing` may still hold the alert that tells the peer.
    """

    def __init__(self, core: _core.TlsConnection) -> None:
        self._core = core

    @classmethod
    def client(
        cls,
        certificate: bytes,
        private_key: bytes,
        pinned: Iterable[str],
        server_name: str,
        now: datetime,
        frame_limit: int = 0,
    ) -> Connection:
        """The dialing side: DER certificate, PKCS#8 DER key, accepted fingerprints `sha256:…`, SNI."""
        pins = [digest_bytes(pin) for pin in pinned]
        return cls._open(
            lambda: _core.TlsConnection.client(
                certificate, private_key, pins, server_name, int(now.timestamp()), frame_limit
            )
        )

    @classmethod
    def server(
        cls,
        certificate: bytes,
        private_key: bytes,
        pinned: Iterable[str] | None,
        now: datetime,
        frame_limit: int = 0,
    ) -> Connection:
        """The accepting side. With `pinned=None` any key with proof of possession: identify the peer next."""
        pins = None if pinned is None else [digest_bytes(pin) for pin in pinned]
        return cls._open(
            lambda: _core.TlsConnection.server(
                certificate, private_key, pins, int(now.timestamp()), frame_limit
            )
        )

    @classmethod
    def _open(cls, make: Callable[[], _core.TlsConnection]) -> Connection:
        try:
            return cls(make())
        except _core.CoreError as error:
            raise AtollError(*error.args) from None

    def receive(self, data: bytes) -> None:
        """Takes bytes that came from the peer."""
        try:
            self._core.receive(data)
        except _core.CoreError as error:
            raise AtollError(*error.args) from None

    def frames(self) -> list[Frame]:
        """The frames that are whole, once each."""
        return [Frame(*fields) for fields in self._core.frames()]

    def plaintext(self) -> bytes:
        """What arrived, on a connection without frames."""
        return self._core.plaintext()

    def write(self, data: bytes) -> None:
        """Encrypts bytes."""
        try:
            self._core.write(data)
        except _core.CoreError as error:
            raise AtollError(*error.args) from None

    def write_frame(
        self,
        kind: int,
        name: str = "",
        sequence: int = 0,
        payload: bytes = b"",
        *,
        piece: int = 0,
        last: bool = True,
        step: str = "",
        start: int = 0,
        end: int | None = None,
    ) -> None:
        """Encrypts a frame around `payload[start:end]`."""
        stop = len(payload) if end is None else end
        try:
            self._core.write_frame(kind, name, sequence, piece, last, step, payload, start, stop)
        except _core.CoreError as error:
            raise AtollError(*error.args) from None

    def outgoing(self) -> bytes:
        """The bytes that must be sent to the peer now."""
        return self._core.outgoing()

    def exporter(self, label: bytes, context: bytes = b"", length: int = 32) -> bytes:
        """A value that only the two ends of this connection can compute (RFC 8446, section 7.5)."""
        try:
            return self._core.exporter(label, context, length)
        except _core.CoreError as error:
            raise AtollError(*error.args) from None

    def close_notify(self) -> None:
        """Says to the peer that nothing follows."""
        self._core.close_notify()

    @property
    def handshaking(self) -> bool:
        """True until both sides have finished the handshake."""
        return self._core.handshaking

    @property
    def peer_closed(self) -> bool:
        """True once the peer has closed in good order."""
        return self._core.peer_closed

    @property
    def in_frame(self) -> bool:
        """True while a frame has begun and not ended."""
        return self._core.in_frame

    @property
    def peer_certificate(self) -> bytes | None:
        """The peer's certificate (DER), once verified."""
        return self._core.peer_certificate

    @property
    def peer_fingerprint(self) -> str | None:
        """`sha256:…` of the peer's certificate, once verified."""
        certificate = self._core.peer_certificate
        return None if certificate is None else digest(certificate)


def server_name(first_bytes: bytes) -> tuple[str, str | None]:
    """`(state, name)` of a ClientHello: state is "name", "absent", "incomplete" or "invalid"."""
    return _core.sni_of_client_hello(first_bytes)
