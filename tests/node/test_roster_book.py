"""Rosters at one node in this process, whose other members are keys that the test holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from atoll.agreements import roster as rules
from atoll.crypto import dsse
from atoll.crypto.suite import SigningKey
from atoll.errors import AtollError
from atoll.net.identity import NodeKeys, key_statement, make_tls
from atoll.node.home import init
from atoll.node.node import Node, open_node

Json = dict[str, Any]


def now() -> datetime:
    return datetime.now(UTC)


class Other:
    """A member that has keys and no node."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.keys = NodeKeys(SigningKey.generate(), make_tls(now(), 30))

    @property
    def key(self) -> str:
        return self.keys.identity

    def card(self) -> Any:
        return key_statement(self.keys, self.name, None, now())

    def sign(self, file: Json) -> Json:
        """The file with this member's signature on its last version."""
        *before, last = file["versions"]
        return {**file, "versions": [*before, dsse.add_signature(last, self.keys.signing)]}


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    place = tmp_path_factory.mktemp("roster") / "alice"
    init(
        place,
        "alice",
        "a passphrase for a test",
        {"partners.listen": "127.0.0.1:0", "api.listen": "127.0.0.1:0"},
    )
    made = open_node(place, "a passphrase for a test")
    made.start()
    yield made
    made.stop()


def refused(code: str, function: Callable[..., Any], *args: Any, **how: Any) -> AtollError:
    with pytest.raises(AtollError) as caught:
        function(*args, **how)
    assert caught.value.code == code, str(caught.value)
    return caught.value


def follow(node: Node, identifier: str, *signers: Other, **how: Any) -> Json:
    """The next version, signed by this node and those others, and kept; its file."""
    file = node.rosters.next(identifier, **how)["file"]
    for other in signers:
        file = other.sign(file)
    kept = node.rosters.take(file)
    file = node.rosters.sign(identifier, None, kept["digest"], "ann")["file"]
    return dict(file)


def founded(node: Node, *others: Other, quorum: int | None = None) -> str:
    file = node.rosters.new("Lenders", [o.card() for o in others], quorum, "ann")["file"]
    for other in others:
        file = other.sign(file)
    kept = node.rosters.take(file)
    words = node.rosters.accept(kept["id"], None, None, (), "ann")["words"]["en"]
    node.rosters.confirm(kept["id"], words, (), "ann")
    return str(kept["id"])


def peers(node: Node) -> dict[str, tuple[str, str]]:
    """Name and state of each partner by key."""
    return {p["identity"]: (p["name"], p["state"]) for p in node.partners.describe()}


def test_members_are_those_of_the_version_in_force_and_changes_are_told(node: Node) -> None:
    bob, carol = Other("bob 1"), Other("carol 1")
    heard: list[str] = []
    node.rosters.on_changed = heard.append
    identifier = founded(node, bob, quorum=2)
    assert heard == [identifier]
    me = node.keys.identity
    assert node.rosters.members(identifier) == {me: "alice", bob.key: "bob 1"}
    follow(node, identifier, bob, carol, add=[carol.card()])
    assert carol.key not in node.rosters.members(identifier), "complete, and not accepted here"
    node.rosters.accept(identifier, 2, None, (), "ann")
    assert node.rosters.members(identifier) == {me: "alice", bob.key: "bob 1", carol.key: "carol 1"}
    follow(node, identifier, bob, carol, remove=["alice"])
    node.rosters.accept(identifier, 3, None, (), "ann")
    assert heard == [identifier] * 3
    refused("E_NOT_FOUND", node.rosters.members, identifier)
    refused("E_NOT_FOUND", node.rosters.members, "ros-" + "0" * 16)
    assert peers(node)[bob.key][1] == peers(node)[carol.key][1] == "removed"


def test_a_new_identity_key_comes_under_the_old_name_and_the_old_key_is_out(node: Node) -> None:
    bob, lost, found = Other("bob 2"), Other("carol 2"), Other("carol 2")
    identifier = founded(node, bob, lost, quorum=2)
    file = follow(node, identifier, bob, remove=["carol 2"], add=[found.card()])
    error = refused("E_SIGNATURE", node.rosters.accept, identifier, 2, None, (), "ann")
    assert "carol 2" in error.text
    # The lost key's signature is not the new one's.
    assert not node.rosters.take(lost.sign(file))["complete"]
    changes = node.rosters.take(found.sign(file))["changes"]
    assert [c["kind"] for c in changes] == ["rekeyed"]
    effects = node.rosters.accept(identifier, 2, None, (), "ann")["effects"]
    assert (effects["unpaired"], effects["paired"]) == (["carol 2"], ["carol 2"])
    assert peers(node)[found.key] == ("carol 2", "active")
    name, state = peers(node)[lost.key]
    assert name.startswith("carol 2 (")
    assert state == "removed"


def test_versions_are_followed_one_by_one_and_never_back(node: Node) -> None:
    bob, carol = Other("bob 3"), Other("carol 3")
    identifier = founded(node, bob, carol, quorum=2)
    second = node.rosters.next(identifier, name="Second", quorum=1)
    two = bob.sign(carol.sign(second["file"]))
    document = rules.parse(second["document"])
    third = dsse.sign(rules.KIND, rules.follow(document, now(), name="Third"), carol.keys.signing)
    # A file whose middle is missing cannot be judged; with it, both are taken over at once.
    refused(
        "E_ROSTER",
        node.rosters._offered,
        _remote(bob),
        {"envelope": third, "before": None},
    )
    kept = node.rosters.take({**two, "versions": [*two["versions"], third]})
    assert (kept["version"], kept["complete"]) == (3, True)
    assert node.rosters.accept(identifier, 3, None, (), "ann")["state"] == "active"
    states = {r["version"]: r["state"] for r in node.rosters.list() if r["id"] == identifier}
    assert states == {1: "superseded", 2: "superseded", 3: "active"}
    for version in (1, 2):
        refused("E_ROSTER", node.rosters.accept, identifier, version, None, (), "ann")
    rival = dsse.sign(rules.KIND, rules.follow(document, now(), name="Other"), carol.keys.signing)
    error = refused("E_ROSTER", node.rosters.take, rival)
    assert "other content" in error.text


def _remote(other: Other) -> Any:
    class Remote:
        identity, name = other.key, other.name

    return Remote()


def test_a_node_signs_only_what_is_true_of_itself(node: Node) -> None:
    bob = Other("bob 4")
    statement = node.partners.statement()
    mine = rules.read_card(statement, now())
    entry = rules.read_card(bob.card(), now())
    # A statement of this node's own key, as it might have stood before it moved, or in a copy of its folder.
    older = rules.read_card(key_statement(node.keys, "alice", "198.51.100.7:1", now()), now())
    copied = NodeKeys(node.keys.signing, make_tls(now(), 30))
    foreign = rules.read_card(key_statement(copied, "alice", mine.address, now()), now())
    for what, member in {"address": older, "TLS key": foreign}.items():
        document = rules.found("ros-" + what[0].lower().encode().hex() * 8, "Lenders", [member, entry], now())
        kept = node.rosters.take(dsse.sign(rules.KIND, document, bob.keys.signing))
        error = refused("E_ROSTER", node.rosters.sign, kept["id"], None, None, "ann")
        assert what in error.text


@pytest.mark.parametrize("left_out", ["tls", "address", "signatures"])
def test_what_was_spoiled_on_the_way_is_refused(node: Node, left_out: str) -> None:
    bob = Other(f"bob {left_out}")
    file = node.rosters.new("Lenders", [bob.card()], None, "ann")["file"]
    (envelope,) = bob.sign(file)["versions"]
    if left_out == "signatures":
        envelope["signatures"][0]["sig"] = envelope["signatures"][1]["sig"]
    else:
        document = dsse.verify(rules.KIND, envelope, ())
        document["members"][0][left_out] = {"tls": "sha256:" + "0" * 64, "address": "203.0.113.9:9"}[left_out]
        envelope = dsse.sign(rules.KIND, document, bob.keys.signing)
    refused("E_SIGNATURE", node.rosters.take, envelope)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=9,
)


@settings(
    max_examples=150,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.one_of(
        _JSON,
        st.fixed_dictionaries({"format": st.just("atoll.roster-file/v1"), "versions": _JSON}),
        st.fixed_dictionaries(
            {
                "payloadType": st.just("application/vnd.atoll.roster.v1+json") | _JSON,
                "payload": _JSON,
                "signatures": st.just([]) | _JSON,
            }
        ),
    )
)
def test_arbitrary_files_and_offers_are_named_errors(node: Node, value: Any) -> None:
    for function, argument in (
        (node.rosters.take, (value,)),
        (node.rosters.read, (value,)),
        (node.rosters._offered, (_STRANGER, {"envelope": value, "before": value})),
        (node.rosters._offered, (_STRANGER, value)),
    ):
        with pytest.raises(AtollError) as caught:
            function(*argument)
        assert caught.value.code in ("E_FORMAT", "E_SIGNATURE", "E_ROSTER", "E_WIRE")


_STRANGER = _remote(Other("stranger"))
