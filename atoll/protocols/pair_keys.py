"""A key for every pair of a fixed set of parties, over a star: the hub passes on signed ephemeral keys.

Each party signs an X25519 key for this session by its identity key; the hub returns all of them; each party checks that
the list holds exactly the agreed parties, each key signed by its party for this very session.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from atoll.crypto import masks
from atoll.crypto.suite import PublicKey, SigningKey
from atoll.errors import AtollError

_HELLO, _ROSTER = 1, 2
_FIELDS: Final = 3
_LONGEST: Final = 1024


def prefixed(*fields: bytes) -> bytes:
    """The fields, each after its length (u32, little-endian)."""
    return b"".join(struct.pack("<I", len(field)) + field for field in fields)


@dataclass(frozen=True)
class Group:
    """The parties of a session and what stands under their signatures.

    Attributes:
        protocol: name of the protocol, without version; prefix of the steps' labels.
        domain: how every statement begins that a party signs in this protocol.
        context: bytes that name the session.
        parties: key identifiers (`str(PublicKey)`) in the order that all know.
    """

    protocol: str
    domain: bytes
    context: bytes
    parties: tuple[str, ...]

    def statement(self, party: str, ephemeral: bytes) -> bytes:
        """What a party signs about its ephemeral key."""
        return prefixed(self.domain, self.context, party.encode(), ephemeral)

    def hello(self, key: SigningKey, ephemeral: bytes) -> bytes:
        """A party's message to the hub: its name, its ephemeral key, its signature."""
        me = str(key.public)
        signature = key.sign(self.statement(me, ephemeral))
        return bytes([_HELLO]) + prefixed(me.encode(), ephemeral, signature)

    def read_hello(self, party: str, message: bytes) -> list[bytes]:
        """The checked fields of the message of `party`; `E_PROTOCOL`, `E_SIGNATURE`."""
        if message[:1] != bytes([_HELLO]):
            raise self.broken("a party did not begin with its key", party)
        fields = self._fields(message[1:], _FIELDS, party)
        if fields[0] != party.encode():
            raise self.broken("a party sent another one's name", party)
        self._check_key(party, fields[1], fields[2])
        return fields

    def roster(self, hellos: Sequence[list[bytes]]) -> bytes:
        """The hub's message to every party: the fields of all, in the order of `parties`."""
        return bytes([_ROSTER]) + prefixed(*(field for fields in hellos for field in fields))

    def read_roster(self, message: bytes) -> dict[str, bytes]:
        """Every party's ephemeral key, each checked under the party's identity key; `E_PROTOCOL`, `E_SIGNATURE`."""
        if message[:1] != bytes([_ROSTER]):
            raise self.broken("the hub did not send the roster", None)
        fields = self._fields(message[1:], _FIELDS * len(self.parties), None)
        keys = {}
        for party, i in zip(self.parties, range(0, len(fields), _FIELDS), strict=True):
            if fields[i] != party.encode():
                raise self.broken("the roster does not name the agreed parties", None)
            self._check_key(party, fields[i + 1], fields[i + 2])
            keys[party] = fields[i + 1]
        if len(set(keys.values())) != len(keys):
            raise self.broken("two parties have the same ephemeral key", None)
        return keys

    def broken(self, text: str, party: str | None) -> AtollError:
        """The error of a message that breaks the protocol."""
        return AtollError("E_PROTOCOL", f"{self.protocol}: {text}.", party=party, step=self.protocol)

    def _check_key(self, party: str, ephemeral: bytes, signature: bytes) -> None:
        if len(ephemeral) != masks.PUBLIC_BYTES:
            raise self.broken("an ephemeral key has a wrong length", party)
        if not PublicKey.parse(party).verify(self.statement(party, ephemeral), signature):
            raise AtollError(
                "E_SIGNATURE", "The party did not sign this ephemeral key.", party=party, step=self.protocol
            )

    def _fields(self, body: bytes, count: int, party: str | None) -> list[bytes]:
        """Exactly `count` length-prefixed fields and nothing after them."""
        fields, at = [], 0
        for _ in range(count):
            if at + 4 > len(body):
                raise self.broken("a message is cut short", party)
            (length,) = struct.unpack_from("<I", body, at)
            if length > _LONGEST or at + 4 + length > len(body):
                raise self.broken("a field is longer than its message", party)
            fields.append(body[at + 4 : at + 4 + length])
            at += 4 + length
        if at != len(body):
            raise self.broken("bytes follow the end of a message", party)
        return fields


def hello_bytes(parties: Sequence[str], count: int = 1) -> int:
    """Bytes of a message with the fields of `count` of the parties, whose identifiers are of one length."""
    longest = max(len(party.encode()) for party in parties)
    return 1 + count * (_FIELDS * 4 + longest + masks.PUBLIC_BYTES + 64)
