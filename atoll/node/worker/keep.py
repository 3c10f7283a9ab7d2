"""What a worker keeps for a replay: the messages it received, a chain over those it sent, and its own events.

The files stand in the job's folder: `received-<attempt>-<peer>-<channel>` holds messages, `sent-...` the 32-byte
chain after each message, `events-<attempt>` sealed records of what came from this side alone, such as the calls of
a service. All are erased at the date that the agreement sets.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import cbor2

from atoll.errors import AtollError
from atoll.net.channel import Channel
from atoll.node.vault import Vault

CHAIN_BYTES = 32
_HEAD = struct.Struct("!HI")
_LENGTH = struct.Struct("!I")
_MOST = (64 << 20) + 64


def received_file(folder: Path, attempt: int, peer: int, channel: str) -> Path:
    """Messages that came on a channel from the peer of that index."""
    return folder / f"received-{attempt}-{peer}-{channel}"


def sent_file(folder: Path, attempt: int, peer: int, channel: str) -> Path:
    """The chain after each message that was sent."""
    return folder / f"sent-{attempt}-{peer}-{channel}"


def events_file(folder: Path, attempt: int) -> Path:
    """Sealed events of this side."""
    return folder / f"events-{attempt}"


def kept_files(folder: Path) -> list[Path]:
    """Everything that was kept for replays of a job."""
    return sorted(p for kind in ("received", "sent", "events") for p in folder.glob(f"{kind}-*"))


def _open(path: Path, size: int = 0) -> BinaryIO:
    """A file to go on with after its first `size` bytes; what follows them is dropped."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    # A file that lost its end is never filled up with zeros: a replay then says that it is cut short.
    size = min(size, os.fstat(descriptor).st_size)
    os.ftruncate(descriptor, size)
    os.lseek(descriptor, size, os.SEEK_SET)
    return os.fdopen(descriptor, "wb")


def _length(path: Path, messages: int) -> int:
    """Bytes that the first `messages` kept messages take."""
    size = 0
    if messages:
        for (step, payload), _ in zip(read_received(path), range(messages), strict=False):
            size += _HEAD.size + len(step.encode()) + len(payload)
    return size


def _events_length(path: Path, events: int) -> int:
    """Bytes that the first `events` kept events take, as far as they are there."""
    size = 0
    if events and path.exists():
        with path.open("rb") as file:
            for _ in range(events):
                head = file.read(_LENGTH.size)
                if len(head) != _LENGTH.size:
                    break
                size += _LENGTH.size + _LENGTH.unpack(head)[0]
                file.seek(size)
    return size


class ChannelFile:
    """The two files of one channel.

    Args:
        received, sent: the files.
        start: messages received and sent up to the checkpoint from which a worker goes on.
    """

    def __init__(self, received: Path, sent: Path, start: tuple[int, int] = (0, 0)) -> None:
        self._received = _open(received, _length(received, start[0]))
        self._sent = _open(sent, start[1] * CHAIN_BYTES)

    def received(self, step: str, payload: bytes) -> None:
        """Keeps a message that came."""
        label = step.encode()
        self._received.write(_HEAD.pack(len(label), len(payload)) + label)
        self._received.write(payload)

    def sent(self, chain: bytes) -> None:
        """Keeps the chain after a message that went out."""
        self._sent.write(chain)

    def flush(self) -> None:
        """Makes everything durable: a restart goes on behind it."""
        for file in (self._received, self._sent):
            file.flush()
            os.fsync(file.fileno())

    def close(self) -> None:
        """Writes what is left."""
        self._received.close()
        self._sent.close()


def read_received(path: Path) -> Iterator[tuple[str, bytes]]:
    """Step and payload of each kept message, in order; `E_DATA` if the file is cut short."""
    with path.open("rb") as file:
        while head := file.read(_HEAD.size):
            if len(head) != _HEAD.size:
                raise AtollError("E_DATA", f"{path.name} ends within a message")
            label, size = _HEAD.unpack(head)
            if size > _MOST:
                raise AtollError("E_DATA", f"{path.name} holds a message that is too long")
            step, payload = file.read(label), file.read(size)
            if len(step) != label or len(payload) != size:
                raise AtollError("E_DATA", f"{path.name} ends within a message")
            try:
                yield step.decode(), payload
            except UnicodeDecodeError:
                raise AtollError("E_DATA", f"{path.name} holds a step that is no text") from None


class Keeper:
    """Keeps one job's record. One thread uses it at a time.

    Args:
        folder: the job's.
        attempt: number of the attempt.
        vault: seals events; they hold what the user asked.
        start: events up to the checkpoint from which a worker goes on.
    """

    def __init__(self, folder: Path, attempt: int, vault: Vault, start: int = 0) -> None:
        self._folder, self._attempt, self._vault = folder, attempt, vault
        self._events: BinaryIO | None = None
        self.count = start
        self._channels: list[ChannelFile] = []

    def channel(self, peer: int, name: str, start: tuple[int, int] = (0, 0)) -> ChannelFile:
        """Files for a channel; `start` as in `ChannelFile`."""
        made = ChannelFile(
            received_file(self._folder, self._attempt, peer, name),
            sent_file(self._folder, self._attempt, peer, name),
            start,
        )
        self._channels.append(made)
        return made

    def note(self, kind: str, value: Any) -> None:
        """Keeps an event."""
        if self._events is None:
            path = events_file(self._folder, self._attempt)
            self._events = _open(path, _events_length(path, self.count))
        sealed = self._vault.seal(f"event {self._attempt} {self.count}", cbor2.dumps([kind, value]))
        self._events.write(_LENGTH.pack(len(sealed)) + sealed)
        self._events.flush()
        self.count += 1

    def flush(self) -> None:
        """Called before a checkpoint: what it covers must not come again."""
        for channel in self._channels:
            channel.flush()
        if self._events is not None:
            os.fsync(self._events.fileno())

    def close(self) -> None:
        """Writes what is left."""
        for channel in self._channels:
            channel.close()
        if self._events is not None:
            self._events.close()


def read_events(path: Path, attempt: int, vault: Vault) -> Iterator[tuple[str, Any]]:
    """The events of an attempt, in order; `E_DATA` names the first that was changed or cut short."""
    if not path.exists():
        return
    count = 0
    with path.open("rb") as file:
        while head := file.read(_LENGTH.size):
            size = _LENGTH.unpack(head)[0] if len(head) == _LENGTH.size else _MOST + 1
            try:
                sealed = file.read(size) if size <= _MOST else b""
                kind, value = cbor2.loads(vault.open(f"event {attempt} {count}", sealed))
            except AtollError:
                raise AtollError(
                    "E_DATA", f"event {count + 1} of {path.name} was changed", detail={"event": count + 1}
                ) from None
            count += 1
            yield kind, value


def read_sent(path: Path) -> Iterator[bytes]:
    """The kept chains after each message that was sent, in order; a last one that is cut short is left out."""
    try:
        with path.open("rb") as file:
            while len(chain := file.read(CHAIN_BYTES)) == CHAIN_BYTES:
                yield chain
    except FileNotFoundError:
        return


class KeptChannel:
    """A channel that keeps what comes and notes what goes. `send` and `recv` as the channel's."""

    def __init__(self, channel: Channel, file: ChannelFile) -> None:
        self._channel, self._file = channel, file

    @property
    def name(self) -> str:
        """The channel's name."""
        return self._channel.name

    def send(self, payload: bytes, step: str) -> None:
        """Sends a message and notes the chain after it."""
        self._channel.send(payload, step)
        self._file.sent(self._channel.sent_chain())

    def receive(self, timeout: float | None = None) -> tuple[str, bytes]:
        """Step and payload of the next message, which is kept."""
        step, payload = self._channel.receive(timeout)
        self._file.received(step, payload)
        return step, payload

    def recv(self, timeout: float | None = None) -> bytes:
        """Payload of the next message, which is kept."""
        return self.receive(timeout)[1]

    def readable(self) -> bool:
        """See `Channel`."""
        return self._channel.readable()

    def writable(self) -> bool:
        """See `Channel`."""
        return self._channel.writable()

    def wait(self, read: bool, write: bool, timeout: float | None = None) -> None:
        """See `Channel`."""
        self._channel.wait(read, write, timeout)
