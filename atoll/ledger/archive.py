"""A container with exactly one encoding: a zip file of stored members, dates and attributes zero.

Any zip tool opens it. The reader here accepts only what the writer writes, byte for byte, so that no bit of
a file can change unseen; nothing is compressed, so that no small file grows large. Layout: PKWARE APPNOTE
4.3.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import BinaryIO

from atoll.errors import AtollError

MAX_BYTES = 2**31 - 1
MAX_MEMBERS = 0xFFFE
MAX_NAME = 100
_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_VERSION = 20
_DATE = 0x21  # 1 January 1980, the first that the format has


def _local(name: bytes, crc: int, size: int) -> bytes:
    return _LOCAL.pack(b"PK\3\4", _VERSION, 0, 0, 0, _DATE, crc, size, size, len(name), 0) + name


def _central(name: bytes, crc: int, size: int, offset: int) -> bytes:
    return (
        _CENTRAL.pack(
            b"PK\1\2", _VERSION, _VERSION, 0, 0, 0, _DATE, crc, size, size, len(name), 0, 0, 0, 0, 0, offset
        )
        + name
    )


def _end(count: int, length: int, offset: int) -> bytes:
    return _END.pack(b"PK\5\6", 0, 0, count, count, length, offset, 0)


def write(out: BinaryIO, members: Iterable[tuple[str, bytes]]) -> None:
    """Writes members in the order given.

    Raises:
        AtollError: `E_TOO_LARGE` beyond 2 GiB or 65,534 members.
    """
    directory = []
    offset = 0
    for name, data in members:
        encoded = name.encode("ascii")
        crc = zlib.crc32(data)
        head = _local(encoded, crc, len(data))
        directory.append(_central(encoded, crc, len(data), offset))
        offset += len(head) + len(data)
        if offset > MAX_BYTES or len(directory) > MAX_MEMBERS:
            raise AtollError("E_TOO_LARGE", "an export holds at most 2 GiB; export fewer logs at once")
        out.write(head)
        out.write(data)
    tail = b"".join(directory)
    out.write(tail + _end(len(directory), len(tail), offset))


@dataclass(frozen=True)
class Archive:
    """Members in file order. `damaged` names those whose checksum does not fit their bytes."""

    members: dict[str, bytes]
    damaged: tuple[str, ...]


def _broken(position: int) -> AtollError:
    return AtollError("E_LEDGER", f"the file is damaged at byte {position}, or is not a ledger export")


def read(data: bytes) -> Archive:
    """Reads what `write` wrote, and nothing else.

    A member whose checksum is wrong is returned and named, so that its content can say which entry is bad.

    Raises:
        AtollError: `E_LEDGER` at the first byte that `write` would not have written.
    """
    if len(data) > MAX_BYTES + (MAX_MEMBERS << 8):
        raise AtollError("E_TOO_LARGE", "a ledger export holds at most 2 GiB")
    members: dict[str, bytes] = {}
    damaged = []
    directory = []
    position = 0
    while data[position : position + 4] != b"PK\1\2":
        if position + _LOCAL.size > len(data) or len(members) >= MAX_MEMBERS:
            raise _broken(position)
        fields = _LOCAL.unpack_from(data, position)
        crc, size, name_length = fields[6], fields[7], fields[9]
        start = position + _LOCAL.size + name_length
        if name_length > MAX_NAME or start + size > len(data):
            raise _broken(position)
        name = data[position + _LOCAL.size : start]
        if data[position:start] != _local(name, crc, size) or not name.isascii() or name.decode() in members:
            raise _broken(position)
        content = data[start : start + size]
        if zlib.crc32(content) != crc:
            damaged.append(name.decode())
        members[name.decode()] = content
        directory.append(_central(name, crc, size, position))
        position = start + size
    tail = b"".join(directory)
    expected = tail + _end(len(directory), len(tail), position)
    if data[position:] != expected:
        given = data[position:]
        wrong = next((i for i, (a, b) in enumerate(zip(given, expected, strict=False)) if a != b), None)
        raise _broken(position + (min(len(given), len(expected)) if wrong is None else wrong))
    return Archive(members, tuple(damaged))
