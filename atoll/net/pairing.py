"""Pairing: an invite, then short authentication words that both persons compare.

The dialer commits to its nonce before it sees the inviter's (Vaudenay, CRYPTO 2005; as ZRTP does, RFC 6189,
section 4.4.1.1), so that whoever stands in between has one guess at 44 bits:

1. dialer  -> inviter: commitment to its nonce, and a MAC under the invite's secret over both key
statements, the
   commitment and the channel binding
2. inviter -> dialer: its nonce
3. dialer  -> inviter: its nonce and the opening
4. both: four words of the BIP-39 list from a hash over both statements, both nonces and the binding; each
person
   confirms; the pair is active once both did.

All functions here are pure, apart from fresh nonces: no socket, no store.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal

from atoll.crypto.suite import PublicKey, check_commitment, digest_bytes
from atoll.crypto.suite import commit as suite_commit
from atoll.crypto.wire import decode_body, encode_body
from atoll.crypto.words import WORD_BITS, Language, same_words, write_words
from atoll.errors import AtollError
from atoll.net.identity import (
    KeyStatement,
    check_name,
    parse_address,
    read_key_statement,
    read_time,
    write_time,
)

PREFIX = "atoll-invite-v1:"
SECRET_BYTES, IDENTIFIER_BYTES, NONCE_BYTES = 16, 8, 16
MAX_FAILURES = 5
WORDS = 4
BINDING_LABEL = b"EXPORTER-atoll-pair-v1"


def _bytes(value: Any, size: int, what: str, code: str = "E_WIRE") -> bytes:
    if not isinstance(value, bytes) or len(value) != size:
        raise AtollError(code, f"{what} has {size} bytes")
    return value


def _fields(message: Any, *names: str) -> dict[str, Any]:
    if not isinstance(message, dict) or set(message) != set(names):
        raise AtollError("E_WIRE", f"a pairing message has the fields {', '.join(names)}")
    return message


@dataclass(frozen=True)
class Invite:
    """What the inviter gives to the other person: one line of text. The secret lets its holder try to
    pair."""

    name: str
    address: str
    identity: str
    tls: str
    id: bytes
    secret: bytes
    expires: datetime

    @classmethod
    def create(
        cls, name: str, address: str, identity: str, tls: str, now: datetime, hours: float = 24
    ) -> Invite:
        """A new invite with a fresh secret, good for `hours`."""
        parse_address(address)
        expires = read_time(write_time(now + timedelta(hours=hours)))
        fresh = os.urandom(IDENTIFIER_BYTES), os.urandom(SECRET_BYTES)
        return cls(check_name(name), address, identity, tls, *fresh, expires)

    def to_line(self) -> str:
        """`atoll-invite-v1:` and base64url of CBOR."""
        body = {
            "name": self.name,
            "address": self.address,
            "identity": self.identity,
            "tls": self.tls,
            "id": self.id,
            "secret": self.secret,
            "expires": write_time(self.expires),
        }
        return PREFIX + base64.urlsafe_b64encode(encode_body(body)).decode().rstrip("=")

    @classmethod
    def parse(cls, line: str) -> Invite:
        """Reads an invite; `E_INVITE` for anything else."""
        text = line.strip()
        try:
            if not text.startswith(PREFIX) or len(text) > 2000:
                raise AtollError("E_INVITE", "an invite begins with " + PREFIX)
            code = text.removeprefix(PREFIX)
            body = decode_body(base64.b64decode(code + "=" * (-len(code) % 4), b"-_", validate=True))
            fields = _fields(body, "name", "address", "identity", "tls", "id", "secret", "expires")
            parse_address(fields["address"])
            PublicKey.parse(fields["identity"])
            digest_bytes(fields["tls"])
            return cls(
                check_name(fields["name"]),
                fields["address"],
                fields["identity"],
                fields["tls"],
                _bytes(fields["id"], IDENTIFIER_BYTES, "an invite's identifier"),
                _bytes(fields["secret"], SECRET_BYTES, "an invite's secret"),
                read_time(fields["expires"]),
            )
        except (AtollError, binascii.Error, AttributeError, ValueError) as error:
            why = error.text if isinstance(error, AtollError) else "it is damaged"
            raise AtollError("E_INVITE", f"this is not an invite: {why}.") from None

    def __repr__(self) -> str:
        return f"Invite({self.id.hex()}, {self.name}, {self.address})"


@dataclass(frozen=True)
class OpenInvite:
    """The inviter's record of an invite. `answer` returns errors; the node stores what `used` or `failed`
    give."""

    invite: Invite
    failures: int = 0
    state: Literal["open", "used", "disabled"] = "open"

    def failed(self) -> OpenInvite:
        """After a wrong secret; the fifth disables the invite."""
        failures = self.failures + 1
        return replace(self, failures=failures, state="disabled" if failures >= MAX_FAILURES else self.state)

    def used(self) -> OpenInvite:
        """After the right secret: an invite works once."""
        return replace(self, state="used")

    def to_json(self) -> dict[str, Any]:
        """For the node's store; holds the secret."""
        return {"line": self.invite.to_line(), "failures": self.failures, "state": self.state}

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> OpenInvite:
        """Reads what `to_json` gave."""
        return cls(Invite.parse(body["line"]), int(body["failures"]), body["state"])


def invite_id(message: Any) -> bytes:
    """The invite that a first message names, so that the inviter finds its record; `E_WIRE` if malformed."""
    return _bytes(
        _fields(message, "invite", "commitment", "mac")["invite"], IDENTIFIER_BYTES, "an identifier"
    )


def _statement_bytes(statement: KeyStatement) -> bytes:
    return encode_body(statement.envelope)


def _join(*parts: bytes) -> bytes:
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def _mac(
    secret: bytes, commitment: str, dialer: KeyStatement, inviter: KeyStatement, binding: bytes
) -> bytes:
    message = _join(
        b"atoll pair mac v1",
        commitment.encode(),
        _statement_bytes(dialer),
        _statement_bytes(inviter),
        binding,
    )
    return hmac.new(secret, message, "sha256").digest()


@dataclass(frozen=True)
class Committed:
    """The dialer after its first message."""

    mine: KeyStatement
    theirs: KeyStatement
    binding: bytes
    nonce: bytes
    opening: bytes


@dataclass(frozen=True)
class Answered:
    """The inviter after its answer."""

    mine: KeyStatement
    theirs: KeyStatement
    binding: bytes
    commitment: str
    nonce: bytes


def commit(
    invite: Invite, mine: KeyStatement, theirs: KeyStatement, binding: bytes, now: datetime
) -> tuple[Committed, dict[str, Any]]:
    """The dialer's first message.

    Args:
        invite: what the person was given.
        mine: the own statement, as sent on this link (`link.peer.mine`).
        theirs: the peer's statement, as received on this link (`link.peer.statement`).
        binding: `link.peer.binding`.
        now: `E_INVITE` if the invite has expired.

    Raises:
        AtollError: `E_INVITE`; `E_PEER_KEY` if the peer is not the one in the invite.
    """
    if now >= invite.expires:
        raise AtollError("E_INVITE", f"the invite ended at {write_time(invite.expires)}.")
    if (theirs.identity, theirs.tls) != (invite.identity, invite.tls):
        raise AtollError("E_PEER_KEY", "the node that answered is not the one in the invite")
    nonce, opening = os.urandom(NONCE_BYTES), os.urandom(16)
    commitment = suite_commit(nonce, opening)
    mac = _mac(invite.secret, commitment, mine, theirs, binding)
    message = {"invite": invite.id, "commitment": commitment, "mac": mac}
    return Committed(mine, theirs, binding, nonce, opening), message


def answer(
    record: OpenInvite, mine: KeyStatement, theirs: KeyStatement, binding: bytes, message: Any, now: datetime
) -> tuple[Answered, dict[str, Any]]:
    """The inviter's answer. Store `record.used()` after it, `record.failed()` after `E_INVITE` with that
    reason.

    Raises:
        AtollError: `E_WIRE` for a malformed message; `E_INVITE` for an invite that is used, expired,
        disabled or
            another (no cost), or for a wrong secret (`detail["wrong_secret"]` is true: count it).
    """
    fields = _fields(message, "invite", "commitment", "mac")
    mac = _bytes(fields["mac"], 32, "a MAC")
    if not isinstance(fields["commitment"], str):
        raise AtollError("E_WIRE", "a commitment is a text")
    try:
        digest_bytes(fields["commitment"])
    except AtollError:
        raise AtollError("E_WIRE", "a commitment is written as algorithm:hex") from None
    if record.invite.id != invite_id(message) or record.state != "open":
        raise AtollError("E_INVITE", f"the invite is {record.state}.")
    if now >= record.invite.expires:
        raise AtollError("E_INVITE", f"the invite ended at {write_time(record.invite.expires)}.")
    if not hmac.compare_digest(mac, _mac(record.invite.secret, fields["commitment"], theirs, mine, binding)):
        raise AtollError("E_INVITE", "the secret is wrong.", detail={"wrong_secret": True})
    nonce = os.urandom(NONCE_BYTES)
    return Answered(mine, theirs, binding, fields["commitment"], nonce), {"nonce": nonce}


def open_commitment(state: Committed, reply: Any) -> tuple[PendingPair, dict[str, Any]]:
    """The dialer's second message, and its pending pair; `E_WIRE` for a malformed reply."""
    theirs = _bytes(_fields(reply, "nonce")["nonce"], NONCE_BYTES, "a nonce")
    pair = _pending(state.mine, state.theirs, state.mine, state.theirs, state.nonce, theirs, state.binding)
    return pair, {"nonce": state.nonce, "opening": state.opening}


def finish(state: Answered, message: Any) -> PendingPair:
    """The inviter's pending pair; `E_WORDS` if the dialer opens another nonce than it committed to."""
    fields = _fields(message, "nonce", "opening")
    nonce = _bytes(fields["nonce"], NONCE_BYTES, "a nonce")
    if not check_commitment(nonce, _bytes(fields["opening"], 16, "an opening"), state.commitment):
        raise AtollError("E_WORDS", "the peer opened another nonce than it had committed to.")
    return _pending(state.mine, state.theirs, state.theirs, state.mine, nonce, state.nonce, state.binding)


def _pending(
    mine: KeyStatement,
    theirs: KeyStatement,
    dialer: KeyStatement,
    inviter: KeyStatement,
    dialer_nonce: bytes,
    inviter_nonce: bytes,
    binding: bytes,
) -> PendingPair:
    transcript = _join(
        _statement_bytes(dialer), _statement_bytes(inviter), dialer_nonce, inviter_nonce, binding
    )
    words = hashlib.sha256(b"atoll pair words v1" + transcript).digest()
    identifier = hashlib.sha256(b"atoll pair id v1" + transcript).hexdigest()[:32]
    return PendingPair(
        identifier, mine.identity, theirs, int.from_bytes(words, "big") >> (256 - WORDS * WORD_BITS)
    )


@dataclass(frozen=True)
class PendingPair:
    """A pair that waits for both persons. Every change gives a new value for the node to store."""

    id: str
    me: str
    peer: KeyStatement
    number: int
    mine_confirmed: bool = False
    theirs_confirmed: bool = False

    @property
    def active(self) -> bool:
        """True once both sides have confirmed."""
        return self.mine_confirmed and self.theirs_confirmed

    def words(self, language: Language = "en") -> str:
        """Four words, separated by spaces, that must be the same on both sides."""
        return write_words(self.number, WORDS, language)

    def check(self, words: str) -> None:
        """`E_WORDS` unless `words`, in either language, are those of this side. Constant time in the
        words."""
        if not same_words(words, self.number, WORDS):
            raise AtollError("E_WORDS", "these are not the words that this side computed.")

    def confirm(self, words: str) -> PendingPair:
        """After this side's person has compared; `E_WORDS` if the words differ."""
        self.check(words)
        return replace(self, mine_confirmed=True)

    def confirm_message(self) -> dict[str, Any]:
        """For the peer, over a link in its name (verb `pair.confirm`); only once this side confirmed."""
        if not self.mine_confirmed:
            raise AtollError("E_STATE", "this side has not confirmed the words")
        return {"pair": self.id}

    def receive_confirm(self, message: Any) -> PendingPair:
        """After the peer's confirmation; `E_WORDS` if it confirms another pair than this one."""
        said = _fields(message, "pair")["pair"]
        if not isinstance(said, str) or not hmac.compare_digest(said.encode(), self.id.encode()):
            raise AtollError("E_WORDS", "the peer confirmed another pairing.")
        return replace(self, theirs_confirmed=True)

    def to_json(self) -> dict[str, Any]:
        """For the node's store."""
        return {
            "id": self.id,
            "me": self.me,
            "peer": self.peer.envelope,
            "number": self.number,
            "mine_confirmed": self.mine_confirmed,
            "theirs_confirmed": self.theirs_confirmed,
        }

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> PendingPair:
        """Reads what `to_json` gave; the statement is verified again."""
        peer = read_key_statement(body["peer"], None)
        return cls(
            body["id"], body["me"], peer, body["number"], body["mine_confirmed"], body["theirs_confirmed"]
        )
