"""Rosters: their form, who must sign which version, drafts, differences. Random successions find every gap."""

from __future__ import annotations

import copy
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from atoll.agreements import roster as r
from atoll.crypto import canonical, dsse
from atoll.crypto.suite import SigningKey, digest
from atoll.errors import AtollError
from atoll.net import identity

NOW = datetime(2026, 11, 23, 16, 30, tzinfo=UTC)
LATER = NOW + timedelta(days=1)
ID = "ros-0123456789abcdef"
NAMES = ("alice", "bob", "carol", "dave", "erin", "frank")
SIGNERS = {name: SigningKey(bytes([i + 1]) * 32) for i, name in enumerate(NAMES)}
KEYS = {name: str(key.public) for name, key in SIGNERS.items()}


def card(
    name: str, *, key: SigningKey | None = None, tls: str | None = None, address: str | None = "a.example:1",
    at: datetime = NOW, called: str | None = None, days: int = 800,
) -> Any:  # fmt: skip
    """A card as a node writes it, with a TLS pin that depends on name and `tls` alone."""
    key = key or SIGNERS[name]
    document = {
        "format": identity.STATEMENT_FORMAT,
        "name": called or name,
        "identity": str(key.public),
        "tls": digest(f"{name} {tls}".encode()),
        "address": address,
        "issued": identity.write_time(at),
        "not_after": identity.write_time(at + timedelta(days=days)),
    }
    return dsse.sign(identity.STATEMENT_KIND, document, key)


def entry(name: str, **how: Any) -> r.Member:
    return r.read_card(card(name, **how), NOW)


def founded(*names: str, quorum: int | None = None) -> r.Roster:
    return r.parse(r.found(ID, "Lenders", [entry(n) for n in names or NAMES[:3]], NOW, quorum))


def followed(old: r.Roster, **how: Any) -> r.Roster:
    return r.parse(r.follow(old, LATER, **how))


def signed(roster: r.Roster, *names: str) -> Any:
    return dsse.sign(r.KIND, roster.document(), *(SIGNERS[n] for n in names))


def keys(*names: str) -> frozenset[str]:
    return frozenset(KEYS[n] for n in names)


def refused(code: str, function: Any, *args: Any, **how: Any) -> AtollError:
    with pytest.raises(AtollError) as caught:
        function(*args, **how)
    assert caught.value.code == code, str(caught.value)
    return caught.value


# Form.


def test_a_roster_reads_back_to_itself_and_its_digest_is_the_envelopes() -> None:
    roster = founded()
    envelope = signed(roster, "alice", "bob")
    assert r.parse(roster.document()) == roster
    assert r.open_envelope(envelope) == (roster, keys("alice", "bob"))
    assert roster.digest == dsse.identifier(envelope) == dsse.identifier(signed(roster))


def test_an_entry_is_the_nodes_own_statement_to_the_byte() -> None:
    """The form that `agreements` takes apart is the one that `net` writes and reads."""
    keys_ = identity.NodeKeys(SIGNERS["alice"], identity.make_tls(NOW, 30))
    written = identity.key_statement(keys_, "甲银行", "[::1]:8760", NOW)
    member = r.read_card(written, NOW)
    assert member.statement == written
    said = identity.read_key_statement(member.statement, NOW)
    assert (said.name, said.identity, said.tls, said.address) == (
        member.name,
        member.key,
        member.tls,
        member.address,
    )
    assert (r.STATEMENT_KIND, r.STATEMENT_FORMAT) == (identity.STATEMENT_KIND, identity.STATEMENT_FORMAT)
    assert identity.write_time(said.not_after) == member.not_after


BAD: dict[str, tuple[tuple[Any, ...], Any, str]] = {
    "format": (("format",), "atoll.roster/v2", "format"),
    "id": (("id",), "agr-0123456789abcdef", "id"),
    "unknown field": (("comment",), "x", "comment"),
    "version 0": (("version",), 0, "version"),
    "version as text": (("version",), "1", "version"),
    "version as truth": (("version",), True, "version"),
    "a second version without a first": (("version",), 2, "supersedes"),
    "a first version after another": (("supersedes",), digest(b"x"), "supersedes"),
    "no quorum": (("quorum",), 0, "quorum"),
    "a quorum of more than all": (("quorum",), 4, "quorum"),
    "bidirectional override": (("name",), "pay \u202eecila", "name"),
    "a name over two lines": (("members", 0, "name"), "a\nb", "members.0.name"),
    "a name of 65 characters": (("members", 0, "name"), "x" * 65, "members.0.name"),
    "an invisible name": (("members", 0, "name"), "\u200b", "members.0.name"),
    "an address without a port": (("members", 0, "address"), "a.example", "members.0.address"),
    "an address with a line": (("members", 0, "address"), "a.example:1\n", "members.0.address"),
    "a key that is none": (("members", 0, "key"), "ed25519:00", "members.0.key"),
    "a pin that is none": (("members", 0, "tls"), "sha256:00", "members.0.tls"),
    "no such day": (("members", 0, "not_after"), "2027-02-30T00:00:00Z", "not_after"),
    "no signature": (("members", 0, "signature"), "", "signature"),
    "an unknown field of an entry": (("members", 0, "role"), "chair", "role"),
    "nobody": (("members",), [], "members"),
}


@pytest.mark.parametrize("name", BAD)
def test_wrong_documents_are_refused_with_the_field(name: str) -> None:
    path, value, words = BAD[name]
    document = copy.deepcopy(founded().document())
    at: Any = document
    for part in path[:-1]:
        at = at[part]
    at[path[-1]] = value
    assert words in refused("E_FORMAT", r.parse, document).text


def test_members_stand_once_and_in_order() -> None:
    document = founded().document()
    turned = {**document, "members": document["members"][::-1]}
    assert "order" in refused("E_FORMAT", r.parse, turned).text
    for twice, what in (
        (entry("dave", called="bob"), "name 'bob'"),
        (entry("bob", tls="other"), "key"),
    ):
        members = [entry("alice"), entry("bob"), twice]
        assert what in refused("E_FORMAT", r.found, ID, "Lenders", members, NOW).text
    alone = [entry("alice")]
    assert "members" in refused("E_FORMAT", r.found, ID, "Lenders", alone, NOW).text
    copied = dsse.sign(
        "key/v1",
        {**canonical.loads(dsse.payload_bytes(card("bob"))), "tls": entry("alice").tls},
        SIGNERS["bob"],
    )
    same_pin = [entry("alice"), r.read_card(copied, NOW)]
    assert "TLS key" in refused("E_FORMAT", r.found, ID, "Lenders", same_pin, NOW).text


@pytest.mark.parametrize("field", ["name", "tls", "address", "issued", "not_after", "key"])
def test_an_entry_that_is_not_its_members_word_is_refused(field: str) -> None:
    """Whoever drafts a roster cannot rename, re-pin or move another, nor give its statement another key."""
    document = copy.deepcopy(founded().document())
    other = entry("frank", address="elsewhere.example:2", at=LATER, called="somebody", days=1)
    victim = next(m for m in document["members"] if m["name"] == "bob")
    victim[field] = getattr(other, field)
    document["members"].sort(key=lambda m: m["key"])
    assert refused("E_SIGNATURE", r.parse, document).party in ("bob", "somebody")


def test_signatures_that_are_none_are_refused_by_name() -> None:
    envelope = signed(founded(), "alice", "bob")
    swapped = copy.deepcopy(envelope)
    swapped["signatures"][0]["sig"] = envelope["signatures"][1]["sig"]
    error = refused("E_SIGNATURE", r.open_envelope, swapped)
    assert error.party in ("alice", "bob")
    twice = {**envelope, "signatures": [envelope["signatures"][0]] * 2}
    refused("E_SIGNATURE", r.open_envelope, twice)
    refused("E_SIGNATURE", r.open_envelope, dsse.sign("agreement/v1", founded().document(), SIGNERS["alice"]))
    for junk in (None, [], {}, "x", 7, {"payloadType": "", "payload": "", "signatures": []}):
        refused("E_FORMAT" if junk != {"payloadType": "", "payload": "", "signatures": []} else "E_SIGNATURE",
                r.open_envelope, junk)  # fmt: skip


def test_cards() -> None:
    refused("E_PEER_EXPIRED", r.read_card, card("alice", days=1), LATER + timedelta(days=1))
    document = canonical.loads(dsse.payload_bytes(card("alice")))
    thief = dsse.sign("key/v1", document, SIGNERS["bob"])
    refused("E_FORMAT", r.read_card, thief, NOW)
    forged = {**card("alice"), "signatures": [{**thief["signatures"][0], "keyid": KEYS["alice"]}]}
    assert refused("E_SIGNATURE", r.read_card, forged, NOW).party == "alice"
    both = dsse.sign("key/v1", document, SIGNERS["alice"], SIGNERS["bob"])
    refused("E_FORMAT", r.read_card, both, NOW)
    newer = dsse.sign("key/v1", {**document, "format": "atoll.key/v2"}, SIGNERS["alice"])
    refused("E_FORMAT", r.read_card, newer, NOW)
    for junk in (
        None,
        {},
        [],
        "atoll-card",
        dsse.sign("key/v1", [], SIGNERS["alice"]),
        signed(founded(), "alice"),
    ):
        assert refused_any(r.read_card, junk, NOW) in ("E_FORMAT", "E_SIGNATURE")


def refused_any(function: Any, *args: Any) -> str:
    with pytest.raises(AtollError) as caught:
        function(*args)
    return caught.value.code


# Who must sign.


def test_a_first_version_needs_everybody() -> None:
    roster = founded()
    for missing in NAMES[:3]:
        there = [n for n in NAMES[:3] if n != missing]
        stand = r.standing(roster, keys(*there), None)
        assert (stand.complete, stand.missing) == (False, (KEYS[missing],))
        assert missing in refused("E_SIGNATURE", stand.require, roster).text
    stand = r.standing(roster, keys(*NAMES[:3]), None)
    assert stand.complete
    stand.require(roster)


def test_who_joins_and_who_changes_must_sign_and_who_leaves_need_not() -> None:
    old = founded(*NAMES[:4], quorum=2)
    new = followed(old, add=[entry("erin")], remove=["dave"], renew=[entry("carol", tls="new")])
    assert set(r.must_sign(new, old)) == {KEYS["carol"], KEYS["erin"]}
    assert r.standing(new, keys("alice", "carol", "erin"), old).complete
    # The leaver is a member of the old version and may help to reach the quorum.
    assert r.standing(new, keys("dave", "carol", "erin"), old).complete
    assert r.standing(new, keys("carol", "erin"), old).short == 1
    error = refused("E_SIGNATURE", r.standing(new, keys("alice", "bob"), old).require, new)
    assert "carol" in error.text
    assert "erin" in error.text
    error = refused("E_SIGNATURE", r.standing(new, keys("carol", "erin"), old).require, new)
    assert "2 members of version 1" in error.text
    assert "carol has signed" in error.text


def test_a_quorum_cannot_bring_in_re_key_rename_or_move_anybody() -> None:
    old = founded(*NAMES[:4], quorum=1)
    for how, whom in (
        ({"add": [entry("erin")]}, "erin"),
        ({"renew": [entry("dave", tls="theirs")]}, "dave"),
        ({"renew": [entry("dave", address="evil.example:1")]}, "dave"),
        ({"renew": [entry("dave", called="bob2")]}, "bob2"),
        # An older statement of dave's own is a change too: nobody is moved back.
        ({"renew": [entry("dave", at=NOW - timedelta(days=1))]}, "dave"),
        # A new identity key under the old name.
        ({"remove": ["dave"], "add": [entry("dave", key=SIGNERS["frank"])]}, "dave"),
    ):
        new = followed(old, **how)
        stand = r.standing(new, keys("alice", "bob", "carol"), old)
        assert not stand.complete
        assert stand.short == 0
        assert whom in refused("E_SIGNATURE", stand.require, new).text


def test_strangers_do_not_count() -> None:
    old = founded(quorum=1)
    new = followed(old, add=[entry("dave")])
    for roster, before in ((old, None), (new, old)):
        assert KEYS["frank"] in refused("E_SIGNATURE", r.standing, roster, keys("frank"), before).text


def test_a_version_follows_by_id_number_and_digest() -> None:
    old = founded(quorum=1)
    good = followed(old, quorum=2)
    for field, value in (("id", "ros-" + "0" * 16), ("version", 3), ("supersedes", digest(b"another"))):
        bad = r.parse({**good.document(), field: value})
        assert field in refused("E_ROSTER", r.standing, bad, keys("alice"), old).text
    refused("E_ROSTER", r.standing, old, keys("alice"), good)
    refused("E_ROSTER", r.standing, good, keys("alice"), None)


NAME = st.sampled_from(NAMES)


@st.composite
def successions(draw: st.DrawFn) -> tuple[r.Roster, r.Roster, set[str]]:
    """A version, one that follows it by any mixture of changes, and the names whose own signature that needs."""
    start = draw(st.lists(NAME, min_size=2, max_size=5, unique=True))
    old = founded(*start, quorum=draw(st.integers(1, len(start))))
    away = draw(st.lists(st.sampled_from(start), unique=True, max_size=len(start) - 1))
    stay = [n for n in start if n not in away]
    out = [n for n in NAMES if n not in start]
    new = draw(st.lists(st.sampled_from(out), unique=True)) if out else []
    if len(stay) + len(new) < 2:
        away = away[1:]
        stay = [n for n in start if n not in away]
    touched = draw(st.lists(st.sampled_from(stay), unique=True)) if stay else []
    ways = [{"tls": "new"}, {"address": None}, {"called": "Ω"}, {"at": LATER}]
    renew = [entry(n, **(draw(st.sampled_from(ways[:2] + ways[3:])) if i else draw(st.sampled_from(ways))))
             for i, n in enumerate(touched)]  # fmt: skip
    size = len(stay) + len(new)
    how: dict[str, Any] = {
        "add": [entry(n) for n in new], "remove": away, "renew": renew, "quorum": draw(st.integers(1, size)),
    }  # fmt: skip
    if not (new or away or touched):
        how["name"] = "Another name"
    return old, followed(old, **how), {*new, *touched}


@settings(max_examples=150, deadline=None)
@given(successions(), st.sets(NAME))
def test_every_missing_signature_is_found(drawn: tuple[r.Roster, r.Roster, set[str]], who: set[str]) -> None:
    """The rule told once more in other words: complete means own consent of all concerned, and the old quorum."""
    old, new, concerned = drawn
    members = {KEYS[n] for n in NAMES} & {*old.entries, *new.entries}
    who = {n for n in who if KEYS[n] in members}
    opened, found = r.open_envelope(signed(new, *who))
    assert (opened, found) == (new, keys(*who))
    stand = r.standing(new, found, old)
    agreed = [n for n in who if KEYS[n] in old.entries]
    assert stand.complete == (concerned <= who and len(agreed) >= old.quorum)
    assert set(stand.missing) == {KEYS[n] for n in concerned - who}
    assert stand.short == max(0, old.quorum - len(agreed))
    if stand.complete:
        # Each signature that it takes is needed: without any one of a least set it is not complete.
        least = concerned | set(agreed[: max(0, old.quorum - len(concerned & set(agreed)))])
        for one in concerned:
            assert not r.standing(new, keys(*(least - {one})), old).complete
    else:
        assert refused("E_SIGNATURE", stand.require, new)


@settings(max_examples=100, deadline=None)
@given(successions(), st.data())
def test_a_byte_of_a_complete_version_changed_is_not_that_version(
    drawn: tuple[r.Roster, r.Roster, set[str]], data: st.DataObject
) -> None:
    _, new, _ = drawn
    envelope = signed(new, *(n for n in NAMES if KEYS[n] in new.entries))
    document = copy.deepcopy(new.document())
    victim = data.draw(st.sampled_from(document["members"]))
    donor = data.draw(st.sampled_from(NAMES))
    field = data.draw(st.sampled_from(["key", "tls", "name", "address", "not_after", "signature"]))
    victim[field] = getattr(
        entry(donor, tls="other", address="x.example:9", called="other name", at=LATER), field
    )
    document["members"].sort(key=lambda m: m["key"])
    assume(document != new.document())
    forged = {**dsse.sign(r.KIND, document), "signatures": envelope["signatures"]}
    assert refused_any(r.open_envelope, forged) in ("E_SIGNATURE", "E_FORMAT")


# Drafts and differences.


def test_drafts_say_what_is_wrong() -> None:
    old = founded()
    assert "carol" in refused("E_NOT_FOUND", r.follow, old, LATER, remove=["zoe"]).text
    refused("E_NOT_FOUND", r.follow, old, LATER, renew=[entry("dave")])
    refused("E_CONFLICT", r.follow, old, LATER, add=[entry("bob")])
    refused("E_FORMAT", r.follow, old, LATER)
    refused("E_FORMAT", r.follow, old, LATER, renew=[entry("bob")])
    refused("E_FORMAT", r.follow, old, LATER, remove=["alice", "bob"])
    refused("E_FORMAT", r.follow, old, LATER, quorum=4)


def test_the_quorum_goes_on_as_it_was() -> None:
    assert founded().quorum == 3
    assert followed(founded(), add=[entry("dave")]).quorum == 4
    assert followed(founded(), remove=["carol"]).quorum == 2
    assert followed(founded(quorum=2), add=[entry("dave")]).quorum == 2
    assert followed(founded(*NAMES[:4], quorum=3), remove=["carol", "dave"]).quorum == 2


def test_the_difference_names_each_change_and_nothing_else() -> None:
    old = founded(*NAMES[:5])
    moved = entry("alice", address=None, at=LATER)
    new = followed(
        old, add=[entry("frank"), entry("erin", key=SigningKey(bytes(32)))], remove=["dave", "erin"],
        renew=[moved, entry("bob", tls="2"), entry("carol", at=LATER)], quorum=2, name="Banks",
    )  # fmt: skip
    found = {(c.kind, c.member): c for c in r.changes(old, new)}
    assert set(found) == {
        ("title", None), ("quorum", None), ("address", "alice"), ("tls", "bob"), ("statement", "carol"),
        ("joined", "frank"), ("rekeyed", "erin"), ("left", "dave"),
    }  # fmt: skip
    assert found["left", "dave"].text("en") == "dave leaves"
    assert found["left", "dave"].text("zh") == "dave 退出"
    assert found["address", "alice"].text("en") == "alice moves: a.example:1 becomes none (dials out)"
    assert KEYS["frank"] in found["joined", "frank"].text("zh")
    assert r.changes(old, old) == []
    renamed = followed(founded(), renew=[entry("bob", called="Bob & Sons")])
    assert [c.text("en") for c in r.changes(founded(), renamed)] == ["bob is now called Bob & Sons"]
    for change in r.changes(old, new):
        assert change.text("en") != change.text("zh")


@settings(max_examples=60, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=10),
        lambda i: st.lists(i) | st.dictionaries(st.text(), i),
        max_leaves=10,
    )
)
def test_arbitrary_json_is_a_named_error(value: Any) -> None:
    assert refused_any(r.parse, value) == "E_FORMAT"
    assert refused_any(r.open_envelope, value) == "E_FORMAT"
    assert refused_any(r.read_card, value, NOW) == "E_FORMAT"
