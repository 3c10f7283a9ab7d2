"""The roster of a consortium: its members by name, key, TLS pin and address, each in the member's own words.

Kind `roster/v1`. Version 1 holds once all its members have signed. A later version holds once it was signed by as
many members of the version before as that version asks for (`quorum`), and by each member that joins or whose
entry changes: nobody is put into a roster, renamed, re-keyed or re-addressed without its own signature. Whoever
leaves need not sign. A changed identity key is one member who leaves and one who joins under the same name.

An entry is the member's signed key statement, taken apart: name, TLS pin and address are never another's claim.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from atoll.crypto import canonical, dsse
from atoll.crypto.document import (
    Digest,
    Document,
    Key,
    Name,
    Time,
    document_digest,
    format_time,
    parse_time,
    require_unique,
)
from atoll.disclosure import Language
from atoll.errors import AtollError

KIND, FORMAT = "roster/v1", "atoll.roster/v1"
# A key statement as `atoll.net.identity` writes it; a test keeps the two alike.
STATEMENT_KIND, STATEMENT_FORMAT = "key/v1", "atoll.key/v1"
MAX_MEMBERS = 64


def _printable(text: str) -> str:
    if not text.isprintable() or text != text.strip():
        raise ValueError("a name has printable characters, and no space at its ends")
    return text


RosterId = Annotated[str, StringConstraints(pattern=r"^ros-[0-9a-f]{16}$")]
MemberName = Annotated[str, StringConstraints(min_length=1, max_length=64), AfterValidator(_printable)]
Address = Annotated[
    str, StringConstraints(pattern=r"^(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253}):[0-9]{1,5}$")
]
Signature = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9+/]{4,400}={0,2}$")]


class Member(Document):
    """One member: its key statement, and the signature under it.

    `tls` is the fingerprint that the others pin, good until `not_after`; `address` is null for a node that only
    dials out.
    """

    key: Key
    name: MemberName
    tls: Digest
    address: Address | None
    issued: Time
    not_after: Time
    signature: Signature

    @cached_property
    def statement(self) -> dsse.Envelope:
        """The key statement that this entry was made of, as its member signed it."""
        document = {
            "format": STATEMENT_FORMAT,
            "name": self.name,
            "identity": self.key,
            "tls": self.tls,
            "address": self.address,
            "issued": self.issued,
            "not_after": self.not_after,
        }
        signature = {"keyid": self.key, "sig": self.signature}
        return {**dsse.sign(STATEMENT_KIND, document), "signatures": [signature]}

    def check_statement(self) -> None:
        """`E_SIGNATURE` unless the member itself signed what its entry says."""
        if dsse.signers(self.statement) != {self.key}:
            raise AtollError(
                "E_SIGNATURE", f"the entry of {self.name} is not what {self.key} signed", party=self.name
            )


class Roster(Document):
    """One version of a roster. `quorum` is how many of its members must sign the next version."""

    format: Literal["atoll.roster/v1"]
    id: RosterId
    version: Annotated[int, Field(ge=1, le=1_000_000)]
    supersedes: Digest | None
    name: Name
    quorum: Annotated[int, Field(ge=1, le=MAX_MEMBERS)]
    members: Annotated[tuple[Member, ...], Field(min_length=2, max_length=MAX_MEMBERS)]
    created: Time

    @model_validator(mode="after")
    def _validate(self) -> Roster:
        keys = [m.key for m in self.members]
        for what, values in {
            "key": keys,
            "name": [m.name for m in self.members],
            "TLS key": [m.tls for m in self.members],
        }.items():
            require_unique(values, f"members: {what}")
        if keys != sorted(keys):
            raise ValueError("members: keys stand in order")
        if self.quorum > len(keys):
            raise ValueError("quorum: is at most the number of members")
        if (self.version == 1) != (self.supersedes is None):
            raise ValueError("supersedes: stands on every version but the first")
        return self

    @cached_property
    def entries(self) -> dict[str, Member]:
        """Members by key."""
        return {m.key: m for m in self.members}

    @property
    def names(self) -> dict[str, str]:
        """Name of each member's key."""
        return {m.key: m.name for m in self.members}

    def named(self, name: str) -> Member:
        """The member of that name; `E_NOT_FOUND` lists the names that there are."""
        for member in self.members:
            if member.name == name:
                return member
        known = ", ".join(m.name for m in self.members)
        raise AtollError("E_NOT_FOUND", f"the roster has no member {name!r}; it has {known}")

    @cached_property
    def digest(self) -> str:
        """The digest that the next version and the words to compare are made from."""
        return document_digest(KIND, self.document())


def parse(document: Any) -> Roster:
    """The checked roster: `E_FORMAT` names the wrong field, `E_SIGNATURE` an entry that is not its member's word."""
    roster = Roster.parse(document, what="roster")
    for member in roster.members:
        member.check_statement()
    return roster


def open_envelope(envelope: Any) -> tuple[Roster, frozenset[str]]:
    """The roster in an envelope, and the keys that signed it. Whether these are enough says `standing`.

    Raises:
        AtollError: `E_FORMAT`; `E_SIGNATURE` for another kind, a signature that does not verify, or an entry that
            is not its member's word.
    """
    roster = parse(dsse.verify(KIND, envelope, ()))
    if canonical.dumps(roster.document()) != dsse.payload_bytes(envelope):
        raise AtollError("E_FORMAT", "roster: the document does not read back to the same bytes.")
    stated = [s["keyid"] for s in envelope["signatures"]]
    signed = frozenset(dsse.signers(envelope))
    for key in stated:
        if key not in signed or stated.count(key) > 1:
            name = roster.names.get(key, key)
            raise AtollError(
                "E_SIGNATURE", f"the signature by {name[:80]} on the roster is not one", party=name[:80]
            )
    return roster, signed


def read_card(card: Any, now: datetime) -> Member:
    """The entry that a card (a node's signed key statement) makes.

    Raises:
        AtollError: `E_FORMAT`, `E_SIGNATURE`, or `E_PEER_EXPIRED` for a TLS key whose time is over.
    """
    statement = dsse.verify(STATEMENT_KIND, card, ())
    fields = {"format", "name", "identity", "tls", "address", "issued", "not_after"}
    if not isinstance(statement, dict) or set(statement) != fields or len(card["signatures"]) != 1:
        raise AtollError("E_FORMAT", "this is no card: `atoll roster card` prints one.")
    member = Member.parse(
        {
            "key": statement["identity"],
            "signature": card["signatures"][0]["sig"],
            **{k: statement[k] for k in ("name", "tls", "address", "issued", "not_after")},
        },
        what="card",
    )
    if member.statement != card:
        raise AtollError("E_FORMAT", "this is no card of a known version.")
    member.check_statement()
    if now >= parse_time(member.not_after):
        raise AtollError(
            "E_PEER_EXPIRED", f"the TLS key on the card of {member.name} ended at {member.not_after}",
            party=member.name,
        )  # fmt: skip
    return member


# Succession.


def check_succession(old: Roster, new: Roster) -> None:
    """`E_ROSTER` names the field by which `new` does not follow directly from `old`."""
    for field, wrong in {
        "id": new.id != old.id,
        "version": new.version != old.version + 1,
        "supersedes": new.supersedes != old.digest,
    }.items():
        if wrong:
            raise AtollError(
                "E_ROSTER",
                f"version {new.version} of {new.id} does not follow from version {old.version} of {old.id}: {field}",
            )


def must_sign(new: Roster, old: Roster | None) -> tuple[str, ...]:
    """Keys whose own signature `new` needs: all of a first version, else those that join or whose entry changed."""
    before = old.entries if old is not None else {}
    return tuple(m.key for m in new.members if before.get(m.key) != m)


@dataclass(frozen=True)
class Standing:
    """How far the signing of a version has come.

    Args:
        needed: how many members of the version before must sign; 0 for a first version.
        agreed: keys of the members of the version before that have signed.
        missing: keys whose own signature is missing.
        names: names of all keys of both versions.
    """

    needed: int
    agreed: tuple[str, ...]
    missing: tuple[str, ...]
    names: dict[str, str]

    @property
    def short(self) -> int:
        """How many signatures of members of the version before are missing."""
        return max(0, self.needed - len(self.agreed))

    @property
    def complete(self) -> bool:
        """Whether the version may take effect."""
        return not self.missing and not self.short

    def require(self, new: Roster) -> None:
        """`E_SIGNATURE` names who has not signed, unless the version is complete."""
        said = []
        if self.missing:
            said.append("without the signature of " + ", ".join(self.names[k] for k in self.missing))
        if self.short:
            agreed = ", ".join(self.names[k] for k in self.agreed) or "nobody"
            said.append(
                f"{self.needed} members of version {new.version - 1} must sign it, and {agreed} has signed"
            )
        if said:
            raise AtollError(
                "E_SIGNATURE",
                f"version {new.version} of the roster {new.name} is not complete: {'; '.join(said)}",
                cure="Wait until they have signed it: atoll roster sign.",
            )


def standing(new: Roster, signed: Iterable[str], old: Roster | None) -> Standing:
    """Who has signed `new`, and who has yet to.

    Args:
        signed: keys whose signatures on `new` verified.
        old: the version before, None for version 1.

    Raises:
        AtollError: `E_ROSTER` if `new` does not follow from `old`; `E_SIGNATURE` for a signature by a stranger.
    """
    if old is not None:
        check_succession(old, new)
    elif new.version != 1:
        raise AtollError(
            "E_ROSTER",
            f"version {new.version - 1} of {new.id} is not known here, so version {new.version} cannot be judged",
        )
    signed = frozenset(signed)
    names = {**(old.names if old is not None else {}), **new.names}
    for key in sorted(signed - names.keys()):
        raise AtollError("E_SIGNATURE", f"{key} signed the roster {new.name} but is no member of it")
    return Standing(
        old.quorum if old is not None else 0,
        tuple(m.key for m in old.members if m.key in signed) if old is not None else (),
        tuple(key for key in must_sign(new, old) if key not in signed),
        names,
    )


# Drafts.


def _document(**fields: Any) -> dict[str, Any]:
    members = sorted(fields.pop("members"), key=lambda m: str(m.key))
    return parse({"format": FORMAT, **fields, "members": [m.document() for m in members]}).document()


def found(
    id: str, name: str, members: Sequence[Member], created: datetime, quorum: int | None = None
) -> dict[str, Any]:
    """The document of a first version; all its members must sign the next one unless `quorum` says how many."""
    return _document(
        id=id,
        version=1,
        supersedes=None,
        name=name,
        quorum=len(members) if quorum is None else quorum,
        members=members,
        created=format_time(created),
    )


def follow(
    old: Roster,
    created: datetime,
    *,
    add: Iterable[Member] = (),
    remove: Iterable[str] = (),
    renew: Iterable[Member] = (),
    quorum: int | None = None,
    name: str | None = None,
) -> dict[str, Any]:
    """The document of the version after `old`.

    Args:
        add: entries of those who join.
        remove: names of those who leave.
        renew: new entries of members, found by their keys.
        quorum: None for the same as before: all members if it was all, else the same number while it fits.
        name: None for the same as before.

    Raises:
        AtollError: `E_NOT_FOUND` for a name or key that is no member's, `E_CONFLICT` for one who joins and is a
            member, `E_FORMAT` if nothing would change or the roster would not be one.
    """
    entries = dict(old.entries)
    for leaving in remove:
        entries.pop(old.named(leaving).key, None)
    for member in renew:
        if member.key not in entries:
            raise AtollError("E_NOT_FOUND", f"{member.name} ({member.key}) is no member: add it")
        entries[member.key] = member
    for member in add:
        if member.key in entries:
            raise AtollError("E_CONFLICT", f"{member.name} ({member.key}) is a member already: renew it")
        entries[member.key] = member
    if quorum is None:
        quorum = len(entries) if old.quorum == len(old.members) else min(old.quorum, len(entries))
    made = _document(
        id=old.id,
        version=old.version + 1,
        supersedes=old.digest,
        name=old.name if name is None else name,
        quorum=quorum,
        members=list(entries.values()),
        created=format_time(created),
    )
    if not changes(old, parse(made)):
        raise AtollError("E_FORMAT", "the next version would change nothing: say who joins, leaves or renews")
    return made


# What changes, for the people who sign.

Kind = Literal["joined", "left", "rekeyed", "tls", "address", "renamed", "statement", "quorum", "title"]
_TEXTS: dict[Kind, tuple[str, str]] = {
    "joined": ("{who} joins, with key {new}", "{who} 加入，密钥 {new}"),
    "left": ("{who} leaves", "{who} 退出"),
    "rekeyed": (
        "{who} has another identity key: {old} becomes {new}",
        "{who} 更换身份密钥：由 {old} 改为 {new}",
    ),
    "tls": ("{who} renews its TLS key: {old} becomes {new}", "{who} 更新 TLS 密钥：由 {old} 改为 {new}"),
    "address": ("{who} moves: {old} becomes {new}", "{who} 更换地址：由 {old} 改为 {new}"),
    "renamed": ("{old} is now called {new}", "{old} 更名为 {new}"),
    "statement": ("{who} renews its key statement, with the same key", "{who} 更新密钥声明，密钥不变"),
    "quorum": (
        "members that must sign the next version: {old} becomes {new}",
        "下一版本所需签名数：由 {old} 改为 {new}",
    ),
    "title": ("the roster is now called {new}, not {old}", "名册更名：由 {old} 改为 {new}"),
}


@dataclass(frozen=True)
class Change:
    """One difference between two versions. `member` is the name in the newer version, or of whoever left."""

    kind: Kind
    member: str | None
    old: str | None
    new: str | None

    def text(self, language: Language) -> str:
        """One line."""
        nowhere = "none (dials out)" if language == "en" else "无（仅主动连接）"
        old, new = (nowhere if value is None else value for value in (self.old, self.new))
        return _TEXTS[self.kind][0 if language == "en" else 1].format(who=self.member, old=old, new=new)


def _entry_changes(old: Member, new: Member) -> list[Change]:
    found = []
    if old.name != new.name:
        found.append(Change("renamed", new.name, old.name, new.name))
    if old.tls != new.tls:
        found.append(Change("tls", new.name, old.tls, new.tls))
    if old.address != new.address:
        found.append(Change("address", new.name, old.address, new.address))
    return found or ([Change("statement", new.name, old.issued, new.issued)] if old != new else [])


def changes(old: Roster, new: Roster) -> list[Change]:
    """Every difference between two versions of a roster, whole-roster changes first; versions may lie between."""
    out = []
    if old.name != new.name:
        out.append(Change("title", None, old.name, new.name))
    if old.quorum != new.quorum:
        out.append(Change("quorum", None, str(old.quorum), str(new.quorum)))
    gone = {m.name: m for m in old.members if m.key not in new.entries}
    for member in new.members:
        before = old.entries.get(member.key)
        if before is not None:
            out += _entry_changes(before, member)
        elif member.name in gone:
            out.append(Change("rekeyed", member.name, gone.pop(member.name).key, member.key))
        else:
            out.append(Change("joined", member.name, None, member.key))
    return out + [Change("left", name, m.key, None) for name, m in gone.items()]
