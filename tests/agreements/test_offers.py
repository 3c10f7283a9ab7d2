"""Offers: what an agreement made from them says, and that nothing else is signed without a steward."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from atoll.agreements import build, parse
from atoll.agreements.offer import (
    OFFER_KIND,
    OFFER_WITHDRAWAL_KIND,
    Offer,
    build_offer_withdrawal,
    check_successor,
    follows,
    from_offers,
    offer_changes,
    open_offer,
    open_offer_withdrawal,
)
from atoll.crypto import dsse
from atoll.crypto.document import format_time
from atoll.crypto.suite import SigningKey
from atoll.errors import AtollError

Json = dict[str, Any]
KEYS = sorted((SigningKey.generate() for _ in range(4)), key=lambda k: str(k.public))
ME, ASKER, OTHER, STRANGER = (str(k.public) for k in KEYS)
BY = {str(k.public): k for k in KEYS}
NAMES = {ME: "me", ASKER: "asker", OTHER: "other", STRANGER: "stranger"}
NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
MEMBERS = {"club": [ME, ASKER, OTHER]}


def offer(provider: str = ME, **change: Any) -> Json:
    """A document of an offer of `loans` to all, for joins."""
    columns = [build.column("id", "string"), build.column("debt", "int64", unit="fen")]
    asset = build.asset(change.pop("name", "loans"), provider, columns=columns)
    grant = build.grant(
        (), purposes=["credit"], functions=["join"], columns={"id": ["join_key"], "debt": ["reveal"]},
        disclose=["size", "membership"], join=build.join_bounds(), runs_per_day=9, users=["ann", "ben"],
        rate={"most": 5, "seconds": 60}, privacy={"epsilon": "1", "delta": "0", "days": 30},
        consent=build.consent("presented", [ME]), price=build.price("CNY", per_run=5, shares={provider: 3}),
        approval="automatic",
    )  # fmt: skip
    terms = {k: v for k, v in grant.items() if k != "to"}
    return {
        "format": "atoll.offer/v1",
        "id": "off-" + "1" * 16,
        "version": 1,
        "supersedes": None,
        "provider": provider,
        "title": {"zh": "贷款", "en": "Loans"},
        "to": {"kind": "all", "keys": [], "roster": None},
        "validity": {"not_before": format_time(NOW), "not_after": format_time(NOW + timedelta(days=100))},
        "agreement_days": 30,
        "asset": {k: v for k, v in asset.items() if k not in ("provider", "grants")},
        "terms": [terms],
        "jurisdiction": "CN",
        "silence_seconds": 10,
        "grace_seconds": 600,
        "witnesses": None,
        "replay": {"keep_days": 3, "hosts": []},
        **change,
    }


def made(*offers: Json, **how: Any) -> Json:
    return from_offers(
        [Offer.parse(o) for o in offers],
        **{"accepter": ASKER, "names": NAMES, "id": "agr-" + "2" * 16, "now": NOW, "members": MEMBERS} | how,
    )


def reasons(document: Json, *offers: Json, me: str = ME, **how: Any) -> list[str]:
    own = [Offer.parse(o) for o in offers]
    found = follows(
        parse(document), me, {o.digest: o for o in own},
        **{"members": MEMBERS, "partners": {ASKER, OTHER}, "now": NOW} | how,
    )  # fmt: skip
    assert all(reason.en and reason.zh for reason in found)
    return [reason.en for reason in found]


def refused(*offers: Json, **how: Any) -> str:
    with pytest.raises(AtollError) as caught:
        made(*offers, **how)
    assert caught.value.code == "E_OFFER"
    return caught.value.text


names = st.sampled_from(["credit", "audit", "research"])


@st.composite
def offers(draw: Any, provider: str = ME, asset: str = "loans") -> Json:
    document = offer(
        provider, name=asset, id="off-" + draw(st.text("0123456789abcdef", min_size=16, max_size=16))
    )
    document["agreement_days"] = draw(st.integers(1, 400))
    start = NOW - timedelta(days=draw(st.integers(0, 50)))
    document["validity"] = {
        "not_before": format_time(start), "not_after": format_time(NOW + timedelta(days=draw(st.integers(1, 400)))),
    }  # fmt: skip
    document["to"] = draw(
        st.sampled_from([
            {"kind": "all", "keys": [], "roster": None},
            {"kind": "named", "keys": sorted({ASKER, OTHER, ME} - {provider}), "roster": None},
            {"kind": "consortium", "keys": [], "roster": "club"},
        ])
    )  # fmt: skip
    terms = document["terms"][0]
    terms["purposes"] = draw(st.lists(names, min_size=1, max_size=3, unique=True))
    terms["price"] = draw(st.sampled_from([None, build.price("CNY", per_call=2)]))
    terms["rate"] = draw(st.none() | st.just({"most": 3, "seconds": 9}))
    document["terms"] = [terms] * draw(st.integers(1, 2))
    return document


@given(st.lists(st.sampled_from(["loans", "taxes"]), min_size=1, max_size=2, unique=True), st.data())
@settings(max_examples=60, deadline=None)
def test_what_follows_from_offers_is_signed_by_every_provider(assets: list[str], data: Any) -> None:
    mine = [data.draw(offers(ME, name)) for name in assets]
    theirs = [data.draw(offers(OTHER))] if data.draw(st.booleans()) else []
    document = made(*mine, *theirs)
    assert document == made(*mine, *theirs)
    assert reasons(document, *mine) == []
    if theirs:
        assert reasons(document, *theirs, me=OTHER, partners={ME, ASKER}) == []
    days = min(o["agreement_days"] for o in [*mine, *theirs])
    begins, ends = (datetime.fromisoformat(t) for t in document["validity"].values())
    assert timedelta(0) < ends - begins <= timedelta(days=days)


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, dict | list) and value:
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            yield from leaves(item, (*path, key))
            if isinstance(item, dict | list) and item:
                yield (*path, key)
    else:
        yield path


def other_than(value: Any) -> list[Any]:
    """Values that a hostile accepter might put in place of one."""
    common: list[Any] = [None, [], {}, "none", "*", "0", 0]
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value + 1, value - 1, 2**31, None]
    if isinstance(value, str):
        more = ["credit-risk", "automatic", "steward", "x" + value, STRANGER, OTHER, *common]
        if value.isdigit():
            more += [str(int(value) + 1)]
        if value[:2] == "20":
            at = datetime.fromisoformat(value)
            more += [format_time(at + timedelta(days=d)) for d in (-1, 1, 3000)]
        return more
    if isinstance(value, list):
        return [
            [*value, *value[-1:]],
            value[:-1],
            value[::-1],
            [*value, "reveal"],
            [*value, "audit"],
            *common,
        ]
    if isinstance(value, dict):
        return [{k: v for k, v in value.items() if k != key} for key in value] + common
    return ["x", 1, {"keep_days": 1, "hosts": []}, {"most": 1, "seconds": 1}]


def put(document: Json, path: tuple[Any, ...], value: Any) -> Json:
    out = copy.deepcopy(document)
    place = out
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return out


def test_no_single_change_of_the_agreement_is_signed_without_a_steward() -> None:
    """Of every place and many values; what may differ without harm is listed, and nothing else may."""
    mine, theirs = offer(), offer(OTHER)
    document = made(mine, theirs)
    tried = 0
    for path in leaves(document):
        if path[0] in ("id", "title") or (path[-1:] == ("name",) and path[0] == "signatories"):
            continue  # what it is called
        if path[0] == "assets" and (len(path) == 1 or path[1] == 1):
            continue  # what another provider gives is its own affair; see below for what it costs
        place: Any = document
        for key in path:
            place = place[key]
        for value in other_than(place):
            if value == place and type(value) is type(place):
                continue
            try:
                changed = parse(put(document, path, value)).document()
            except AtollError:
                continue  # no agreement at all
            narrower = (
                path[0] == "validity" and parse(changed).validity.not_before >= mine["validity"]["not_before"]
            )
            if path[0] == "offers" and Offer.parse(mine).digest in changed["offers"]:
                continue  # other offers are other providers' affair
            found = reasons(changed, mine)
            if not found and narrower:
                ends = datetime.fromisoformat(changed["validity"]["not_after"])
                assert ends <= NOW + timedelta(days=30)
                continue
            assert found, (path, value)
            tried += 1
    assert tried >= 150


def test_what_else_waits_for_a_steward() -> None:
    mine = offer()
    document = made(mine)
    assert reasons(document, mine) == []
    assert "amendment" in reasons(document | {"version": 2, "supersedes": Offer.parse(mine).digest}, mine)[0]
    assert reasons(document)  # an offer that does not stand is not among those given
    assert "does not stand for asker" in reasons(document, mine, partners={OTHER})[0]
    another = {**document["assets"][0], "name": "salaries"}
    assert "salaries" in reasons(document | {"assets": [*document["assets"], another]}, mine)[0]
    assert any("missing" in r for r in reasons(document | {"assets": []}, mine))
    named = offer(to={"kind": "named", "keys": [ASKER], "roster": None})
    signatories = [*made(named)["signatories"], {"key": OTHER, "name": "other"}]
    wider = made(named) | {"signatories": sorted(signatories, key=lambda s: s["key"])}
    assert "does not stand for other" in " ".join(reasons(wider, named))
    club = offer(to={"kind": "consortium", "keys": [], "roster": "club"})
    assert reasons(made(club), club, members={}) == [f"Offer {club['id']} does not stand for asker."]
    later = NOW + timedelta(days=200)
    assert any("does not stand now" in r for r in reasons(document, mine, now=later))


@pytest.mark.parametrize(
    ("price", "word"),
    [
        ({"per_month": 7}, "monthly"),
        ({"per_run": 7, "shares": {ME: 1, ASKER: 1}}, "payee"),
        ({"per_run": 7}, None),
    ],
)
def test_an_obligation_is_taken_on_by_a_steward_alone(price: Json, word: str | None) -> None:
    mine = offer()
    grant = build.grant(
        [ME], purposes=["credit"], functions=["join"], columns={}, price=build.price("CNY", **price)
    )
    document = made(mine, assets=[build.asset("own", ASKER, grants=[grant])])
    found = reasons(document, mine)
    assert found == [] if word is None else word in found[0]
    hosted = build.asset("hosted", ASKER, host=ME, type="rule")
    assert "host" in reasons(made(mine, assets=[hosted]), mine)[0]


def test_offers_that_do_not_go_together_are_refused() -> None:
    mine = offer()
    named = offer(OTHER, id="off-" + "3" * 16, to={"kind": "named", "keys": [ASKER], "roster": None})
    assert "does not stand for me" in refused(mine, named)
    assert "does not stand for asker" in refused(offer(to={"kind": "named", "keys": [OTHER], "roster": None}))
    assert "does not stand for asker" in refused(
        offer(to={"kind": "consortium", "keys": [], "roster": "nobody"})
    )
    assert "one asset" in refused(mine, offer(id="off-" + "4" * 16))
    assert "own" in refused(mine, accepter=ME)
    for field, value in (
        ("silence_seconds", 11),
        ("grace_seconds", 1),
        ("jurisdiction", None),
        ("replay", None),
    ):
        assert field in refused(mine, offer(OTHER, **{field: value}))
    assert "begins" in refused(mine, now=NOW - timedelta(days=1))
    assert "ended" in refused(mine, now=NOW + timedelta(days=100))
    assert "One to 64" in refused()
    shared = offer()
    shared["terms"][0]["price"] = build.price("CNY", per_run=1, shares={STRANGER: 1})
    assert STRANGER in refused(shared)


def test_versions_follow_each_other_and_say_what_they_change() -> None:
    first = Offer.parse(offer())
    second = offer(version=2, supersedes=first.digest)
    second["terms"][0]["quota"]["runs_per_day"] = 5
    check_successor(first, Offer.parse(second))
    (change,) = offer_changes(first, Offer.parse(second))
    assert change.path == "terms.0.quota.runs_per_day"
    assert change.text("en") == "terms.0.quota.runs_per_day: 9 becomes 5"
    assert "改为" in change.text("zh")
    for wrong in (
        {"id": "off-" + "9" * 16},
        {"provider": OTHER},
        {"version": 3},
        {"supersedes": "sha256:" + "0" * 64},
    ):
        changed = offer(OTHER) if "provider" in wrong else second
        changed = changed | {"version": 2, "supersedes": first.digest} | wrong
        with pytest.raises(AtollError) as caught:
            check_successor(first, Offer.parse(changed))
        assert (caught.value.code, next(iter(wrong)) in caught.value.text) == ("E_OFFER", True)


@pytest.mark.parametrize(
    "change",
    [
        {"to": {"kind": "named", "keys": [], "roster": None}},
        {"to": {"kind": "all", "keys": [ASKER], "roster": None}},
        {"to": {"kind": "consortium", "keys": [], "roster": None}},
        {"to": {"kind": "named", "keys": [ME], "roster": None}},
        {"to": {"kind": "named", "keys": [OTHER, ASKER], "roster": None}},
        {"version": 2},
        {"terms": []},
        {"title": {"zh": " ", "en": "Loans"}},
        {"agreement_days": 0},
        {"id": "agr-" + "1" * 16},
        {"more": 1},
        {"asset": offer()["asset"] | {"quality": ["nulls:nothing"]}},
        {"asset": offer()["asset"] | {"columns": []}},
    ],
)
def test_what_is_no_offer(change: Json) -> None:
    with pytest.raises(AtollError) as caught:
        Offer.parse(offer(**change))
    assert caught.value.code == "E_FORMAT"


def test_signatures_of_offers_and_withdrawals() -> None:
    document = offer()
    good = dsse.sign(OFFER_KIND, document, BY[ME])
    found = open_offer(good)
    assert found.document() == document
    assert dsse.identifier(good) == found.digest
    for bad in (
        dsse.sign(OFFER_KIND, document),
        dsse.sign(OFFER_KIND, document, BY[OTHER]),
        dsse.sign(OFFER_KIND, document, BY[ME], BY[OTHER]),
        dsse.sign("agreement/v1", document, BY[ME]),
    ):
        with pytest.raises(AtollError) as caught:
            open_offer(bad)
        assert caught.value.code == "E_SIGNATURE"
    end = build_offer_withdrawal(found, NOW)
    assert open_offer_withdrawal(dsse.sign(OFFER_WITHDRAWAL_KIND, end, BY[ME])).version == found.digest
    with pytest.raises(AtollError) as caught:
        open_offer_withdrawal(dsse.sign(OFFER_WITHDRAWAL_KIND, end, BY[OTHER]))
    assert caught.value.code == "E_SIGNATURE"


@given(st.data())
@settings(max_examples=80, deadline=None)
def test_a_hostile_offer_is_refused_or_reads_back(data: Any) -> None:
    document = offer()
    path = data.draw(st.sampled_from(list(leaves(document))))
    value = data.draw(
        st.sampled_from(other_than(None)) | st.text(max_size=5) | st.integers(-3, 3) | st.none()
    )
    changed = put(document, path, value)
    assume(changed != document)
    refused: str | None = None
    try:
        assert Offer.parse(changed).document() == changed
    except AtollError as error:
        refused = error.code
    assert refused in (None, "E_FORMAT")
