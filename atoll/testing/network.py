"""Several nodes that are paired, and agreements among them from a few words."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

from atoll.client import Client, drafts
from atoll.errors import AtollError
from atoll.testing.node import ROLES, NodeProcess

Json = dict[str, Any]
Pairing = Literal["all", "star"]
# A use that fits each type; what a table may be used for where nothing else is said.
GENEROUS = ("join_key", "group_key", "aggregate")
_WAIT = 30.0


def until(what: str, condition: Callable[[], Any], timeout: float = _WAIT) -> Any:
    """Waits until a condition gives something true, and gives that; `E_TIME` names what did not come."""
    end = time.monotonic() + timeout
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > end:
            raise AtollError("E_TIME", f"{what}: not within {timeout:g} s.")
        time.sleep(0.03)


def pair(one: NodeProcess, other: NodeProcess) -> str:
    """Pairs two nodes over the APIs of both sides, as two administrators on the telephone do; gives the words.

    The one that can be dialed invites.
    """
    inviter, accepter = (one, other) if one.address else (other, one)
    invite = inviter.administrator.peers.invite()
    words = str(accepter.administrator.peers.accept(invite)["words"])

    def shown() -> str | None:
        mine = _peer(inviter.administrator, accepter.identity)
        return mine["words"] if mine else None

    read = until(f"{inviter.name} shows words", shown)
    if read != words:
        raise AtollError("E_WORDS", f"{inviter.name} shows {read!r}, {accepter.name} shows {words!r}.")
    sides = ((inviter, accepter), (accepter, inviter))
    for side, peer in sides:
        side.administrator.peers.confirm(_name(side, peer), words)
    for side, peer in sides:
        until(f"{side.name} is paired with {peer.name}", lambda s=side, p=peer: is_paired(s, p))  # type: ignore[misc]
    return words


def _peer(client: Client, identity: str) -> Json | None:
    return next((p for p in client.peers.list() if p["identity"] == identity), None)


def _name(node: NodeProcess, peer: NodeProcess) -> str:
    found = _peer(node.administrator, peer.identity)
    if found is None:
        raise AtollError("E_NOT_FOUND", f"{peer.name} is no partner of {node.name}.")
    return str(found["name"])


def is_paired(node: NodeProcess, peer: NodeProcess) -> bool:
    """Whether both sides confirmed the words and a link is up, as this node sees it."""
    found = _peer(node.administrator, peer.identity)
    return found is not None and found["state"] == "active" and bool(found["connected"])


class Net:
    """Nodes by name: `net.alice`, `net["alice"]`, `for node in net`."""

    def __init__(self, nodes: Sequence[NodeProcess]) -> None:
        self.nodes = {node.name: node for node in nodes}

    def __getitem__(self, name: str) -> NodeProcess:
        return self.nodes[name]

    def __getattr__(self, name: str) -> NodeProcess:
        try:
            return self.__dict__["nodes"][name]  # type: ignore[no-any-return]
        except KeyError:
            raise AttributeError(f"there is no node {name!r}") from None

    def __iter__(self) -> Iterator[NodeProcess]:
        return iter(self.nodes.values())

    def __len__(self) -> int:
        return len(self.nodes)

    def pair(self, how: Pairing) -> None:
        """Pairs all with all, or the first with each other one."""
        nodes = list(self)
        wanted = itertools.combinations(nodes, 2) if how == "all" else ((nodes[0], n) for n in nodes[1:])
        for one, other in wanted:
            pair(one, other)

    def roster(self, name: str = "Consortium", nodes: Sequence[str] = (), quorum: int | None = None) -> str:
        """Founds a consortium among nodes, as administrators do by files and telephone; gives its identifier.

        Waits until all are paired, but for two of which neither has an address.

        Args:
            name: of the consortium.
            nodes: names of its members; all nodes of the net if none are named.
            quorum: how many members must sign the next version; None for all.
        """
        members = [self[n] for n in nodes] or list(self)
        first, others = members[0], members[1:]
        cards = [node.administrator.rosters.card() for node in others]
        drafted = first.administrator.rosters.new(name, cards, quorum)
        for node in others:
            drafted = node.administrator.rosters.sign(drafted)
        identifier = str(drafted["id"])
        read = {node.name: node.administrator.rosters.accept(drafted)["words"]["en"] for node in members}
        if len(set(read.values())) != 1:
            raise AtollError("E_WORDS", f"the nodes show different words: {read}.")
        for node in members:
            node.administrator.rosters.confirm(identifier, read[first.name])
        for one, other in itertools.combinations(members, 2):
            if one.address or other.address:
                self.await_pairing(one, other)
        return identifier

    @staticmethod
    def await_pairing(one: NodeProcess, other: NodeProcess) -> None:
        """Waits until two nodes are paired and linked, as both of them see it."""
        for side, peer in ((one, other), (other, one)):
            # A side that dials a partner that had not accepted yet waits longer and longer: up to a minute and a half.
            until(f"{side.name} is paired with {peer.name}", lambda s=side, p=peer: is_paired(s, p), 100)  # type: ignore[misc]

    def logs(self) -> str:
        """The end of each node's log, for a failed test's report."""
        return "\n".join(f"--- {node.name}\n{node.log()[-3000:]}" for node in self)

    # Agreements.

    def draft(
        self,
        tables: Mapping[str, Mapping[str, Any]],
        *,
        title: str = "Test",
        days: int = 30,
        silence_seconds: int = 10,
        grace_seconds: int = 600,
        parties: Sequence[str] = (),
        witnesses: Json | None = None,
        replay: Json | None = None,
        **grant: Any,
    ) -> Json:
        """A draft of an agreement; arguments as `agreement`."""
        names = list(dict.fromkeys([*tables, *parties]))
        keys = {name: self[name].identity for name in names}
        assets = []
        for name, brought in tables.items():
            others = [key for other, key in keys.items() if other != name]
            for asset, terms in brought.items():
                assets.append(self._asset(self[name], asset, terms, others, grant))
        return drafts.agreement(
            {key: name for name, key in keys.items()}, assets, title=title, days=days,
            silence_seconds=silence_seconds, grace_seconds=grace_seconds, witnesses=witnesses, replay=replay,
        )  # fmt: skip

    @staticmethod
    def _asset(
        node: NodeProcess, name: str, terms: Any, others: list[str], shared: Mapping[str, Any]
    ) -> Json:
        if terms == "service":
            given = {"purposes": ["test"], "functions": ["echo"], "approval": "automatic"} | dict(shared)
            given.pop("join", None)
            given["functions"] = ["echo"]
            return drafts.asset(name, node.identity, grants=[drafts.grant(others, **given)], type="service")
        columns = node.steward.data.show(name)["columns"]
        own = dict(terms) if isinstance(terms, Mapping) else {"columns": terms}
        if not set(own) & {"columns", "grant", "grants", "quality", "findings"} and own:
            own = {"columns": own}
        wanted = own.get("columns")
        if wanted is None or wanted == "*":
            wanted = {c["name"]: GENEROUS for c in columns}
        given = {"purposes": ["test"], "functions": ["join", "totals"], "approval": "automatic"}
        given |= {"columns": wanted, **shared, **own.get("grant", {})}
        bounds = {"minimum_rows": 1, "maximum_ratio": 1_000_000, "keys": 10**9, "minimum_change": 1}
        given["join"] = bounds | dict(given.get("join") or {})
        if not any("join_key" in drafts.uses(value) for value in given["columns"].values()):
            del given["join"]
        grants = own.get("grants") or [drafts.grant(given.pop("to", others), **given)]
        told = {"quality": own.get("quality", ()), "findings": own.get("findings", ())}
        return drafts.asset(name, node.identity, columns=columns, grants=grants, **told)

    def agreement(self, tables: Mapping[str, Mapping[str, Any]], **terms: Any) -> str:
        """Makes an agreement, signs it at all nodes, waits until it is in force everywhere; gives its identifier.

            net.agreement({"alice": {"loans": "*"}, "bob": {"taxes": {"id": "join_key", "debt": "aggregate"}}})

        Args:
            tables: for each node, its tables (names of tables that it has) with what partners may use them
                for: `"*"` (each column as join key, group key and to add), a mapping of column to uses, a
                mapping with `columns` and `grant` (arguments of `drafts.grant` for this table) or with
                `grants` (whole grants), `quality` (figures) and `findings` (categories); `"service"` for an
                echo service.
            terms: `title`, `days`, `parties` (nodes that bring nothing), `silence_seconds`, `grace_seconds`,
                `witnesses`, `replay`; anything else goes to `drafts.grant` for every table. Unless said otherwise:
                purpose `test`, functions `join` and `totals`, automatic approval, bounds that refuse nothing.
        """
        document = self.draft(tables, **terms)
        return self.sign(document)

    def sign(self, document: Mapping[str, Any]) -> str:
        """Proposes a document at its first signatory, signs it at all, waits until it is in force everywhere."""
        by_key = {node.identity: node for node in self}
        signers = [by_key[s["key"]] for s in document["signatories"]]
        version = document["version"]
        # The one that is paired with all proposes; in a star that is the first node of the net.
        first = next(node for node in self if node in signers)
        identifier = str(first.steward.agreements.propose(document)["id"])
        for node in signers:
            if node is not first:
                until(f"{node.name} has the offer", lambda n=node: _has(n, identifier, version))  # type: ignore[misc]
                node.steward.agreements.sign(identifier, version)
        for node in signers:
            node.steward.agreements.wait(identifier, "active", version)
        return identifier

    def start(self) -> None:
        """Makes and starts all nodes, several at a time."""
        # One after the other: migrations keep their context in module globals.
        for node in self:
            node.create()
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(NodeProcess.start, self))
            # Roles' tokens up front: a test that counts the access log is not disturbed later.
            list(pool.map(_people, self))

    def close(self) -> None:
        """Stops all nodes in order."""
        with ThreadPoolExecutor(len(self) or 1) as pool:
            list(pool.map(NodeProcess.close, self))


def _people(node: NodeProcess) -> None:
    for role in ROLES[1:]:
        node.token(role)


def _has(node: NodeProcess, identifier: str, version: int) -> bool:
    try:
        return bool(node.steward.agreements.show(identifier, version))
    except AtollError as error:
        if error.code != "E_NOT_FOUND":
            raise
        return False
