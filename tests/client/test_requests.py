"""Short arguments become the documents that the compilers read; drafts are agreements."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from atoll import AtollError
from atoll.agreements import JoinBounds, parse
from atoll.client import drafts, requests
from atoll.crypto.suite import SigningKey
from atoll.functions.echo.compile import Request as EchoRequest
from atoll.functions.join.compile import Request as JoinRequest
from atoll.functions.totals.compile import Request as TotalsRequest

AGREEMENT = "agr-0123456789abcdef"


def without_function(request):
    return {k: v for k, v in request.items() if k != "function"}


@pytest.mark.parametrize(
    "how",
    [
        {"on": "id"},
        {"left_on": "id", "right_on": ["key"]},
        {"on": ["a", "b"], "receivers": "both", "normalise": {"a": ["trim"]}},
        {"on": "id", "receivers": "bob"},
        {"on": "id", "receivers": ["alice", "bob"], "reveal": "size", "duplicates": "refuse"},
        {"on": "id", "protocol": "vole-psi/v1", "security": "semi-honest", "variant": "low-communication"},
        {"on": "id", "protocol": "kept-oprf-psi/v1"},
        {"on": "id", "left_select": [], "left_rows": 10, "seconds": 60, "shape": "scheduled"},
    ],
)
def test_join_requests_are_what_the_compiler_reads(how) -> None:
    found = requests.join(AGREEMENT, "loans", "taxes@tax office", purpose="p", **how)
    JoinRequest.parse(without_function(found), what="request")
    assert found["right"]["party"] == "tax office"
    assert "party" not in found["left"]


def test_a_party_stands_after_the_last_sign() -> None:
    assert requests.split_party("a@b@c") == ("a@b", "c")
    assert requests.split_party("a") == ("a", None)


def test_a_join_needs_keys() -> None:
    with pytest.raises(AtollError) as caught:
        requests.join(AGREEMENT, "loans", "taxes", purpose="p")
    assert caught.value.code == "E_FORMAT"


@pytest.mark.parametrize(
    ("assets", "how"),
    [
        ("book", {}),
        (
            ["book@a", "book@b", {"asset": "ledger", "party": "c", "rename": {"debt": "sum"}}],
            {"values": ["debt"]},
        ),
        (
            "book",
            {"group": "segment", "segments": ["A"], "values": "debt", "subject": "id", "minimum_group": 3},
        ),
        (
            "book",
            {"count": False, "values": ["x"], "receiver": "c", "maximum_rows": 10, "memory_bytes": 1 << 27},
        ),
    ],
)
def test_totals_requests_are_what_the_compiler_reads(assets, how) -> None:
    found = requests.totals(AGREEMENT, assets, purpose="p", **how)
    TotalsRequest.parse(without_function(found), what="request")


def test_echo_requests_are_what_the_compiler_reads() -> None:
    found = requests.echo({"id": AGREEMENT}, "echo@bank", purpose="p", maximum_bytes=10, block_calls=2)
    EchoRequest.parse(without_function(found), what="request")
    assert found["agreement"] == AGREEMENT


def key() -> str:
    return str(SigningKey.generate().public)


def test_a_draft_is_an_agreement_once_it_has_an_identifier() -> None:
    alice, bob = key(), key()
    columns = [
        {"name": "id", "type": "string"},
        {"name": "debt", "type": "decimal", "precision": 18, "scale": 2},
    ]
    grant = drafts.grant(
        [bob], purposes=["p"], functions=["join"], columns={"id": "join_key", "debt": "aggregate reveal"}
    )
    service = drafts.asset(
        "echo", bob, type="service", grants=[drafts.grant([alice], purposes=["p"], functions=["echo"])]
    )
    loans = drafts.asset("loans", alice, columns=columns, grants=[grant])
    now = datetime(2026, 11, 23, tzinfo=UTC)
    draft = drafts.agreement({alice: "alice", bob: "bob"}, [loans, service], title="T", now=now, days=1)
    found = parse({"id": AGREEMENT, **draft})
    assert found.validity.not_after == "2026-11-24T00:00:00Z"
    # What a draft grants unless told otherwise is what the function needs, under a steward and safe bounds.
    made = found.assets[0].grants[0]
    assert made.approval == "steward"
    assert made.join is not None
    assert made.join.minimum_rows == 1000
    assert made.columns == {"id": ("join_key",), "debt": ("aggregate", "reveal")}
    assert found.assets[1].grants[0].join is None
    assert made.join.variants is None


def test_a_draft_may_let_weaker_variants_of_the_fast_join_be_chosen() -> None:
    def bounds(**join):
        return drafts.grant(
            [key()], purposes=["p"], functions=["join"], columns={"id": "join_key"}, join=join
        )["join"]

    assert bounds(variants=["low-communication"])["variants"] == ["low-communication"]
    assert "variants" not in bounds()
    assert JoinBounds.parse(bounds(variants=["semi-honest"])).variants == ("semi-honest",)


def test_a_draft_that_lets_a_join_be_kept_lets_its_disclosure_be_known() -> None:
    def kinds(**how):
        return drafts.grant([key()], purposes=["p"], functions=["join"], columns={"id": "join_key"}, **how)[
            "disclose"
        ]

    assert {"linkable", "changes"} <= set(kinds(join={"variants": ["kept"]}))
    assert not {"linkable", "changes"} & set(kinds(join={"variants": ["semi-honest"]}))
    assert kinds(join={"variants": ["kept"]}, disclose=["size"]) == ["size"]


def test_one_language_stands_for_both_and_codes_for_their_texts() -> None:
    found = drafts.column(
        {"name": "s", "type": "string", "label": {"zh": "段"}, "codes": {"A": None, "B": {"en": "bee"}}}
    )
    assert found["label"] == {"zh": "段", "en": "段"}
    assert found["codes"] == {"A": {"zh": "A", "en": "A"}, "B": {"zh": "bee", "en": "bee"}}


def test_an_amendment_names_what_it_replaces() -> None:
    shown = {"digest": "sha256:ab", "document": {"id": AGREEMENT, "version": 3, "supersedes": None}}
    assert drafts.amend(shown) == {"id": AGREEMENT, "version": 4, "supersedes": "sha256:ab"}
    with pytest.raises(AtollError):
        drafts.amend({"digest": "sha256:ab"})


def test_uses_in_words() -> None:
    assert drafts.uses("join_key, group_key+aggregate") == ["join_key", "group_key", "aggregate"]
    assert drafts.uses(("reveal",)) == ["reveal"]
