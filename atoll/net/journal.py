"""What a long job's channels remember on disk, so that a killed process goes on where it was.

For each channel, `<channel>.received` and `<channel>.sent` hold the chain after every message, 32 bytes
each, and `<channel>.<sequence>.message` holds a sent message until the peer has stored it. A message is in
the journal before it is handed over or sent. What is written survives the end of the process; `sync` makes
it survive the machine's.
"""

from __future__ import annotations

import os
from pathlib import Path

from atoll.errors import AtollError
from atoll.net.transcript import SIZE

_STEP_LENGTH = 2


class _ChainFile:
    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        # A record that a kill cut short was never acted upon.
        self.count = os.fstat(self._descriptor).st_size // SIZE
        os.ftruncate(self._descriptor, self.count * SIZE)

    def read(self, index: int) -> bytes | None:
        """The chain after message `index`; None if it is not recorded."""
        return os.pread(self._descriptor, SIZE, index * SIZE) if 0 <= index < self.count else None

    def append(self, chain: bytes) -> None:
        if os.pwrite(self._descriptor, chain, self.count * SIZE) != SIZE:
            raise AtollError("E_MEMORY", "the disk of the job's journal is full")
        self.count += 1

    def sync(self) -> None:
        os.fsync(self._descriptor)

    def close(self) -> None:
        os.close(self._descriptor)


class Journal:
    """The journal of one session. Calls for one channel and direction come from one thread at a time."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder = folder
        self._files: dict[tuple[str, str], _ChainFile] = {}

    def channels(self) -> set[str]:
        """The channels that the journal knows."""
        return {path.name.rpartition(".")[0] for path in self._folder.glob("*.sent")}

    def open(self, channel: str) -> None:
        """Makes a channel's files."""
        for kind in ("received", "sent"):
            if (channel, kind) not in self._files:
                self._files[channel, kind] = _ChainFile(self._folder / f"{channel}.{kind}")

    def count(self, channel: str, kind: str) -> int:
        """How many messages are recorded; `kind` is "sent" or "received"."""
        return self._files[channel, kind].count

    def chain(self, channel: str, kind: str, sequence: int) -> bytes | None:
        """The chain after a message, None if it is not recorded."""
        return self._files[channel, kind].read(sequence)

    def record_received(self, channel: str, chain: bytes) -> None:
        """Notes the next received message."""
        self._files[channel, "received"].append(chain)

    def _message(self, channel: str, sequence: int) -> Path:
        return self._folder / f"{channel}.{sequence}.message"

    def store_sent(self, channel: str, sequence: int, step: str, payload: bytes, chain: bytes) -> None:
        """Keeps the next message to send, whole, and then notes it."""
        label = step.encode()
        path = self._message(channel, sequence)
        beside = path.with_suffix(".new")
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(len(label).to_bytes(_STEP_LENGTH, "big") + label)
                file.write(payload)
        except OSError as error:
            raise AtollError("E_MEMORY", f"the job's journal cannot be written: {error.strerror}") from None
        beside.replace(path)
        self._files[channel, "sent"].append(chain)

    def load_sent(self, channel: str, sequence: int) -> tuple[str, bytes]:
        """Step and payload of a kept message; `E_REWIND` if it is gone."""
        try:
            data = self._message(channel, sequence).read_bytes()
        except OSError:
            raise AtollError("E_REWIND", f"message {sequence} of {channel} is no longer kept") from None
        split = _STEP_LENGTH + int.from_bytes(data[:_STEP_LENGTH], "big")
        return data[_STEP_LENGTH:split].decode(), data[split:]

    def first_kept(self, channel: str) -> int:
        """The first sequence from which on every recorded message is kept."""
        first = self.count(channel, "sent")
        while first > 0 and self._message(channel, first - 1).exists():
            first -= 1
        return first

    def drop_sent(self, channel: str, sequence: int) -> None:
        """Forgets a message that the peer has stored."""
        self._message(channel, sequence).unlink(missing_ok=True)

    def sync(self) -> None:
        """Makes the notes durable."""
        for file in self._files.values():
            file.sync()

    def close(self) -> None:
        """Closes the files."""
        for file in self._files.values():
            file.close()
        self._files.clear()
