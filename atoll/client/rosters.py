"""Rosters of consortia: `node.rosters`."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from typing import Any

from atoll.client.resources import Resource
from atoll.client.transport import objects, segment
from atoll.errors import AtollError

Json = dict[str, Any]
Listed = list[Json]
What = str | Mapping[str, Any]
_IDENTIFIER = re.compile(r"ros-[0-9a-f]{16}")


def is_identifier(text: str) -> bool:
    """Whether a text is written as a roster's identifier."""
    return _IDENTIFIER.fullmatch(text) is not None


def _file(what: Mapping[str, Any]) -> Json:
    """The roster file in what an earlier call gave, or the file itself."""
    inner = what.get("file")
    return dict(inner) if isinstance(inner, Mapping) else dict(what)


def _card(card: Mapping[str, Any]) -> Json:
    """The card in what `card` gave, or the card itself."""
    inner = card.get("card")
    return dict(inner) if isinstance(inner, Mapping) else dict(card)


class Rosters(Resource):
    """Rosters of consortia. Where a method takes `what`, it is an identifier, or a roster file, or the answer of
    another method: a file is kept at the node first, and its last version is meant."""

    def list(self) -> Listed:
        """Every version of every roster, newest first."""
        return objects(self._call("GET", "/v1/rosters"))

    def card(self) -> Json:
        """This node's `card`, for the one who drafts a roster; and what stands on it."""
        return dict(self._call("GET", "/v1/rosters/card"))

    def show(self, identifier: str, version: int | None = None, digest: str | None = None) -> Json:
        """One version: `members`, `signed`, `missing`, `complete`, `words`, `changes`, `file`.

        By default the version in force here, else the newest.
        """
        path = f"/v1/rosters/{segment(identifier)}"
        return dict(self._call("GET", path, version=version, digest=digest))

    def read(self, file: Mapping[str, Any]) -> Json:
        """The same of the last version in a roster file; nothing is kept."""
        return dict(self._call("POST", "/v1/rosters/read", {"file": _file(file)}))

    def new(self, name: str, cards: Iterable[Mapping[str, Any]], quorum: int | None = None) -> Json:
        """A first version of this node and those on the cards, signed here; hand its `file` to the others.

        Args:
            quorum: how many members must sign the next version; None for all.
        """
        body = {"name": name, "cards": [_card(c) for c in cards], "quorum": quorum}
        return dict(self._call("POST", "/v1/rosters", body))

    def merge(self, *files: Mapping[str, Any]) -> Json:
        """Keeps what is news in the files and merges their signatures; gives the last one as it stands then."""
        found: Json = {}
        for file in files:
            found = dict(self._call("POST", "/v1/rosters/import", {"file": _file(file)}))
        if not found:
            raise AtollError("E_FORMAT", "name at least one roster file.")
        return found

    def next(
        self,
        identifier: str,
        *,
        add: Iterable[Mapping[str, Any]] = (),
        remove: Iterable[str] = (),
        renew: Iterable[Mapping[str, Any]] = (),
        quorum: int | None = None,
        name: str | None = None,
    ) -> Json:
        """A draft of the version after the one in force; propose it next. Nothing is signed, kept or sent.

        Args:
            add: cards of those who join.
            remove: names of those who leave.
            renew: new cards of members whose TLS key, address or name changed.
            quorum, name: None for as before.
        """
        body = {
            "add": [_card(c) for c in add], "remove": list(remove), "renew": [_card(c) for c in renew],
            "quorum": quorum, "name": name,
        }  # fmt: skip
        return dict(self._call("POST", f"/v1/rosters/{segment(identifier)}/next", body))

    def _act(self, act: str, what: What, version: int | None, digest: str | None, **more: Any) -> Json:
        if not isinstance(what, str):
            kept = self.merge(what)
            what, version, digest = str(kept["id"]), None, str(kept["digest"])
        body = {"version": version, "digest": digest, **more}
        return dict(self._call("POST", f"/v1/rosters/{segment(what)}/{act}", body))

    def sign(self, what: What, version: int | None = None, digest: str | None = None) -> Json:
        """Signs a version for this institution; paired members get the signature, others need the `file`."""
        return self._act("sign", what, version, digest)

    def propose(self, what: What, version: int | None = None, digest: str | None = None) -> Json:
        """Signs a version, sends it to all paired members, and passes on the signatures that come back."""
        return self._act("propose", what, version, digest)

    def withdraw(self, what: What, version: int | None = None, digest: str | None = None) -> Json:
        """Puts an open version aside here; a signature that was sent stays valid."""
        return self._act("withdraw", what, version, digest)

    def accept(
        self,
        what: What,
        version: int | None = None,
        digest: str | None = None,
        include: Iterable[str] = (),
    ) -> Json:
        """Lets a complete version take effect at this node; `effects` says what became of which pairing.

        A consortium's first version waits in the state `comparing`: compare `words` with all members, and confirm.

        Args:
            include: members to pair with again although this node's people had un-paired them.

        Raises:
            AtollError: `E_SIGNATURE` names who has not signed, `E_ROSTER` a version that does not follow,
                `E_PEER_KEY` a member with whom this node is paired under another TLS key.
        """
        return self._act("accept", what, version, digest, include=list(include))

    def confirm(self, identifier: str, words: str, include: Iterable[str] = ()) -> Json:
        """Confirms the words that the others read; the node pairs with all members. `E_WORDS` if they differ."""
        body = {"words": words, "include": list(include)}
        return dict(self._call("POST", f"/v1/rosters/{segment(identifier)}/confirm", body))

    def wait(self, identifier: str, version: int, complete: bool = True, timeout: float = 30) -> Json:
        """Waits until a version is known here and, unless told otherwise, signed by enough; `E_TIME`."""
        end = time.monotonic() + timeout
        while True:
            seen = "unknown here"
            try:
                found = self.show(identifier, version)
                if found["complete"] or not complete:
                    return found
                seen = f"not signed by {', '.join(found['missing']) or 'enough'}"
            except AtollError as error:
                if error.code != "E_NOT_FOUND":
                    raise
            if time.monotonic() > end:
                text = f"version {version} of {identifier} is {seen} after {timeout:g} s."
                raise AtollError("E_TIME", text)
            time.sleep(0.05)


__all__ = ["Rosters", "is_identifier"]
