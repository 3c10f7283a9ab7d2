"""Scenarios of rosters: what is refused on the way to a version that takes effect."""

from __future__ import annotations

import base64
from typing import Any

from atoll_scenario_world import Json, Play, scenario

from atoll import AtollError


def _drafted(p: Play, **how: Any) -> Json:
    """A roster of Alice's and Bob's that Alice alone has signed."""
    return p.do.roster(p.alice, "new", "The two", [p.do.roster(p.bob, "card")], **how)


def _whole(p: Play, **how: Any) -> Json:
    return p.do.roster(p.bob, "sign", _drafted(p, **how))


def _founded(p: Play, **how: Any) -> str:
    """In force at Alice's."""
    whole = _whole(p, **how)
    words = p.do.roster(p.alice, "accept", whole)["words"]["en"]
    assert p.do.roster(p.alice, "confirm", whole["id"], words)["state"] == "active"
    return str(whole["id"])


def _names_bob(p: Play, error: AtollError) -> None:
    assert "bob" in error.text


@scenario("a roster that not all have signed", error="E_SIGNATURE", then=_names_bob)
def _(p: Play) -> None:
    p.do.roster(p.alice, "accept", _drafted(p)["id"])


@scenario("a roster with other words", error="E_WORDS", text="The two")
def _(p: Play) -> None:
    other, whole = _whole(p), _whole(p)
    wrong = p.do.roster(p.bob, "accept", other)["words"]["en"]
    p.do.roster(p.alice, "accept", whole)
    p.do.roster(p.alice, "confirm", whole["id"], wrong)


@scenario("a roster of partners leaves their pairing as the words made it")
def _(p: Play) -> None:
    identifier = _founded(p)
    (bob,) = [x for x in p.alice.administrator.peers.list() if x["name"] == "bob"]
    assert (bob["state"], bob["roster"]) == ("active", None)
    shown = p.do.roster(p.alice, "show", identifier)
    assert (shown["complete"], shown["signed"]) == (True, ["alice", "bob"])


@scenario("a next version is drafted, proposed, and put aside")
def _(p: Play) -> None:
    identifier = _founded(p, quorum=2)
    draft = p.do.roster(p.alice, "next", identifier, name="The pair", quorum=1)
    assert {c["kind"] for c in draft["changes"]} == {"title", "quorum"}
    assert p.do.roster(p.alice, "propose", draft)["more_needed"] == 1
    assert p.do.roster(p.alice, "withdraw", identifier)["state"] == "withdrawn"
    states = {r["version"]: r["state"] for r in p.do.roster(p.alice, "list") if r["id"] == identifier}
    assert states == {1: "active", 2: "withdrawn"}


@scenario("a next version that changes nothing", error="E_FORMAT")
def _(p: Play) -> None:
    p.do.roster(p.alice, "next", _founded(p))


@scenario("a next version without somebody who is no member", error="E_NOT_FOUND", text="mallory")
def _(p: Play) -> None:
    p.do.roster(p.alice, "next", _founded(p), remove=["mallory"])


@scenario("a roster of other nodes is not signed", error="E_ROSTER", text="no member")
def _(p: Play) -> None:
    p.do.roster(p.carol, "sign", _whole(p))


@scenario("a roster without a first version here has no next one", error="E_STATE")
def _(p: Play) -> None:
    p.do.roster(p.alice, "next", "ros-" + "0" * 16, name="Nothing")


@scenario("a roster that is not here", error="E_NOT_FOUND")
def _(p: Play) -> None:
    p.do.roster(p.alice, "show", "ros-" + "0" * 16)


@scenario("a card that is none", error="E_SIGNATURE")
def _(p: Play) -> None:
    p.do.roster(p.alice, "new", "The two", [_drafted(p)["file"]["versions"][0]])


@scenario("a card that somebody changed", error="E_SIGNATURE")
def _(p: Play) -> None:
    card = p.do.roster(p.bob, "card")
    card = card.get("card", card)
    changed = base64.b64decode(card["payload"]).replace(b'"name":"bob"', b'"name":"eve"')
    p.do.roster(p.alice, "new", "The two", [card | {"payload": base64.b64encode(changed).decode()}])


@scenario("a file that is no roster", error="E_FORMAT")
def _(p: Play) -> None:
    p.do.roster(p.alice, "read", {"file": {"format": "something else", "versions": []}})


@scenario("a steward does not sign for the institution", error="E_ROLE")
def _(p: Play) -> None:
    p.do.roster(p.alice, "sign", _drafted(p)["id"], role="steward")
