"""Rosters of consortia."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from atoll.node.access import Role
from atoll.node.api.guard import Here, Router, Who

router = Router(prefix="/v1/rosters", tags=["rosters"])
_READERS: tuple[Role, ...] = ("administrator", "steward", "auditor", "analyst")


class NewRoster(BaseModel):
    """A first version: cards of the other members, and how many must sign the next version; null for all."""

    model_config = ConfigDict(extra="forbid")
    name: str
    cards: list[dict[str, Any]]
    quorum: int | None = None


class RosterFile(BaseModel):
    """A roster file, or a lone envelope."""

    model_config = ConfigDict(extra="forbid")
    file: dict[str, Any]


class NextVersion(BaseModel):
    """What the next version changes: cards of who joins or renews, names of who leaves."""

    model_config = ConfigDict(extra="forbid")
    add: list[dict[str, Any]] = []
    remove: list[str] = []
    renew: list[dict[str, Any]] = []
    quorum: int | None = None
    name: str | None = None


class Choice(BaseModel):
    """Which version; by default the newest open one. A digest tells two contents of one number apart."""

    model_config = ConfigDict(extra="forbid")
    version: int | None = None
    digest: str | None = None


class Acceptance(Choice):
    """Which version, and the members to pair with again although this node's people had un-paired them."""

    include: list[str] = []


class Words(BaseModel):
    """The words that the other members read, and whom to include as in an acceptance."""

    model_config = ConfigDict(extra="forbid")
    words: str
    include: list[str] = []


@router.on("GET", "", *_READERS)
def rosters(node: Here) -> Sequence[dict[str, Any]]:
    """Every version of every roster, newest first."""
    return node.rosters.list()


@router.on("POST", "", "administrator", status_code=201)
def new(node: Here, who: Who, body: NewRoster) -> dict[str, Any]:
    """A first version of this node and those on the cards, signed here; its file goes to the others."""
    return node.rosters.new(body.name, body.cards, body.quorum, who.person)


@router.on("GET", "/card", *_READERS)
def card(node: Here) -> dict[str, Any]:
    """This node's card: its name, keys and address, signed by itself."""
    return node.rosters.card()


@router.on("POST", "/read", *_READERS)
def read(node: Here, body: RosterFile) -> dict[str, Any]:
    """What the last version in a file says: members, words, who has signed. Nothing is kept."""
    return node.rosters.read(body.file)


@router.on("POST", "/import", "administrator")
def take(node: Here, body: RosterFile) -> dict[str, Any]:
    """Keeps the versions of a file that are news here, and merges their signatures with those kept."""
    return node.rosters.take(body.file)


@router.on("GET", "/{identifier}", *_READERS)
def show(
    node: Here, identifier: str, version: int | None = None, digest: str | None = None
) -> dict[str, Any]:
    """One version with members, words, file and what changes; by default the one in force, else the newest."""
    return node.rosters.show(identifier, version, digest)


@router.on("POST", "/{identifier}/next", "administrator")
def next_version(node: Here, identifier: str, body: NextVersion) -> dict[str, Any]:
    """A draft of the version after the one in force; nothing is signed, kept or sent."""
    return node.rosters.next(
        identifier, add=body.add, remove=body.remove, renew=body.renew, quorum=body.quorum, name=body.name
    )


@router.on("POST", "/{identifier}/sign", "administrator")
def sign(node: Here, who: Who, identifier: str, body: Choice) -> dict[str, Any]:
    """Signs a version for this institution; members that are paired with this node get the signature."""
    return node.rosters.sign(identifier, body.version, body.digest, who.person)


@router.on("POST", "/{identifier}/propose", "administrator")
def propose(node: Here, who: Who, identifier: str, body: Choice) -> dict[str, Any]:
    """Signs a version, sends it to all paired members, and passes on the signatures that come back."""
    return node.rosters.sign(identifier, body.version, body.digest, who.person, propose=True)


@router.on("POST", "/{identifier}/withdraw", "administrator")
def withdraw(node: Here, who: Who, identifier: str, body: Choice) -> dict[str, Any]:
    """Puts an open version aside; a signature that was sent stays valid."""
    return node.rosters.withdraw(identifier, body.version, body.digest, who.person)


@router.on("POST", "/{identifier}/accept", "administrator")
def accept(node: Here, who: Who, identifier: str, body: Acceptance) -> dict[str, Any]:
    """Lets a complete version take effect at this node; a consortium's first one waits for the words."""
    return node.rosters.accept(identifier, body.version, body.digest, body.include, who.person)


@router.on("POST", "/{identifier}/confirm", "administrator")
def confirm(node: Here, who: Who, identifier: str, body: Words) -> dict[str, Any]:
    """Confirms the words that the other members read; the node pairs with all of them."""
    return node.rosters.confirm(identifier, body.words, body.include, who.person)
