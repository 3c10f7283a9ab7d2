"""A small consortium for the tests of plans, policy, agreements and functions.

Each test folder's conftest loads this file as the module `atoll_test_world`.
"""

from __future__ import annotations

import copy
from datetime import UTC, datetime, timedelta
from typing import Any

from atoll.agreements import AgreementState, agreement, asset, column, grant, join_bounds, parse
from atoll.crypto.suite import SigningKey, digest
from atoll.functions.echo.compile import compile as compile_echo
from atoll.functions.intersect.compile import compile as compile_intersect
from atoll.functions.join.compile import compile as compile_join
from atoll.functions.join_statistics.compile import compile as compile_statistics
from atoll.functions.join_totals.compile import compile as compile_hidden
from atoll.functions.query.compile import compile as compile_query
from atoll.functions.query_totals.compile import compile as compile_lookup_totals
from atoll.functions.script.compile import compile as compile_script
from atoll.functions.totals.compile import compile as compile_totals
from atoll.plan import check
from atoll.policy import Counters, Declared, Facts, accounts

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
ID = "agr-0123456789abcdef"
SALT = "5a" * 16
JOB = "job-" + "ab" * 16
NAMES = ("alice", "bob", "carol", "dave")
SIGNERS = dict(
    zip(
        NAMES,
        sorted((SigningKey(bytes([i]) * 32) for i in range(1, 5)), key=lambda k: str(k.public)),
        strict=True,
    )
)
KEYS = {name: str(key.public) for name, key in SIGNERS.items()}
ALICE, BOB, CAROL, DAVE = (KEYS[name] for name in NAMES)

COLUMNS = [
    column("id", "string"),
    column("phone", "string"),
    column("segment", "string", codes={c: {"zh": c, "en": c} for c in "ABC"}),
    column("debt", "decimal", precision=18, scale=2, unit="fen", range=["0", "1000000.00"]),
    column("apps", "int64"),
    column("score", "float64"),
]
JOIN_KINDS = ("size", "membership", "intersection_size", "multiplicity")
KEPT_KINDS = (*JOIN_KINDS, "linkable", "changes")
INTERSECTED = [
    {"asset": "loans", "party": name, "keys": ["id"], "select": ["id"]} for name in ("carol", "alice", "bob")
]
TOTAL_KINDS = ("sum", "count", "participation", "small_group_exists")


def join_grant(owner: str, **changes: Any) -> dict[str, Any]:
    return grant(
        [key for key in KEYS.values() if key != owner],
        **{
            "purposes": ["credit-risk"],
            "functions": ["join"],
            "columns": {"id": ["join_key"], "phone": ["join_key"]},
            "disclose": JOIN_KINDS,
            "approval": "automatic",
            "join": join_bounds(minimum_rows=100, maximum_ratio=10, keys_per_period=5000, minimum_change=50),
            **changes,
        },
    )


def totals_grant(owner: str, **changes: Any) -> dict[str, Any]:
    return grant(
        [key for key in KEYS.values() if key != owner],
        **{
            "purposes": ["credit-risk"],
            "functions": ["totals"],
            "columns": {
                "id": ["aggregate"],
                "segment": ["group_key"],
                "debt": ["aggregate"],
                "apps": ["aggregate"],
            },
            "disclose": TOTAL_KINDS,
            "minimum_group": 10,
            "approval": "automatic",
            **changes,
        },
    )


def echo_grant(owner: str, **changes: Any) -> dict[str, Any]:
    return grant(
        [key for key in KEYS.values() if key != owner],
        **{
            "purposes": ["credit-risk"],
            "functions": ["echo"],
            "columns": {},
            "approval": "automatic",
            **changes,
        },
    )


def terms(**changes: Any) -> dict[str, Any]:
    """The agreement: four lenders with a table `loans` each, an echo service at bob, all grants given."""
    assets = [
        asset("loans", key, columns=COLUMNS, grants=[join_grant(key), totals_grant(key)])
        for key in KEYS.values()
    ]
    assets.append(asset("echo", BOB, type="service", grants=[echo_grant(BOB)]))
    return agreement(
        ID,
        **{
            "title": "Joint credit risk",
            "signatories": {key: name for name, key in KEYS.items()},
            "assets": assets,
            "not_before": NOW - timedelta(days=1),
            "not_after": NOW + timedelta(days=365),
            **changes,
        },
    )


def with_grants(party: str, grants: list[dict[str, Any]], name: str = "loans") -> dict[str, Any]:
    """The agreement with other grants on one asset."""
    document = terms()
    for item in document["assets"]:
        if (item["provider"], item["name"]) == (party, name):
            item["grants"] = grants
    return parse(document).document()


def state(document: dict[str, Any], **changes: Any) -> dict[str, AgreementState]:
    opened = parse(document)
    return {opened.id: AgreementState(opened, frozenset(opened.keys), **changes)}


def _request(request: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    return {"agreement": ID, "purpose": "credit-risk", **copy.deepcopy(request), **changes}


def join_plan(document: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    request = _request(
        {
            "left": {"asset": "loans", "party": "alice", "keys": ["id"], "select": ["id", "apps"]},
            "right": {"asset": "loans", "party": "bob", "keys": ["id"], "select": ["id", "apps"]},
            "normalise": {"id": ["trim", "upper"]},
            "protocol": "ecdh-psi/v1",
        },
        changes,
    )
    return compile_join(request, document or terms(), me=ALICE, person="Li Wei", now=NOW, job=JOB, salt=SALT)


def fast_plan(document: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """The same join by `vole-psi/v1`, secure against parties that cheat unless said otherwise."""
    return join_plan(document, **{"protocol": "vole-psi/v1", **changes})


def kept_plan(document: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """The same join by `kept-oprf-psi/v1`."""
    return join_plan(document, **{"protocol": "kept-oprf-psi/v1", **changes})


def intersect_plan(document: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """The intersection of three parties' tables, for alice alone."""
    request = _request({"tables": INTERSECTED}, changes)
    return compile_intersect(
        request, document or terms(), me=ALICE, person="Li Wei", now=NOW, job=JOB, salt=SALT
    )


def hidden_plan(document: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """Totals over a hidden join of alice's and bob's tables, for alice alone."""
    request = _request(
        {
            "left": {"asset": "loans", "party": "alice", "keys": ["id"], "values": ["debt"]},
            "right": {"asset": "loans", "party": "bob", "keys": ["id"], "values": ["debt"]},
            "minimum_group": 20,
        },
        changes,
    )
    return compile_hidden(
        request, document or terms(), me=ALICE, person="Li Wei", now=NOW, job=JOB, salt=SALT
    )


def statistics_plan(document: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """Statistics over a hidden join of alice's and bob's tables, for alice alone."""
    request = _request(
        {
            "left": {"asset": "loans", "party": "alice", "keys": ["id"]},
            "right": {"asset": "loans", "party": "bob", "keys": ["id"]},
            "statistics": [
                {"statistic": "variance", "columns": ["right.debt"]},
                {"statistic": "correlation", "columns": ["left.debt", "right.debt"]},
                {"statistic": "histogram", "columns": ["right.segment"]},
            ],
            "minimum_group": 20,
            "maximum_rows": 100,
        },
        changes,
    )
    return compile_statistics(
        request, document or terms(), me=ALICE, person="Li Wei", now=NOW, job=JOB, salt=SALT
    )


def totals_plan(document: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    request = _request(
        {"assets": "loans", "group": "segment", "values": ["debt", "apps"], "subject": "id"}, changes
    )
    return compile_totals(
        request, document or terms(), me=ALICE, person="Li Wei", now=NOW, job=JOB, salt=SALT
    )


def echo_plan(document: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    request = _request({"asset": "echo"}, changes)
    return compile_echo(request, document or terms(), me=ALICE, person="Li Wei", now=NOW, job=JOB, salt=SALT)


def lookup_plan(document: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """A lookup of alice's in bob's table."""
    request = _request(
        {"name": "debts", "asset": "loans", "party": "bob", "keys": ["id"], "values": ["debt", "apps"]},
        changes,
    )
    return compile_query(request, document or terms(), me=ALICE, person="Li Wei", now=NOW, job=JOB, salt=SALT)


def lookup_totals_plan(document: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """Totals of one key over the tables of all others than alice."""
    request = _request(
        {"name": "elsewhere", "assets": "loans", "keys": ["id"], "values": ["debt"], "count_holders": True},
        changes,
    )
    return compile_lookup_totals(
        request, document or terms(), me=ALICE, person="Li Wei", now=NOW, job=JOB, salt=SALT
    )


def visit_plan(document: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """A package of Alice's that decides about an `id` on Bob's rows."""
    request = _request(
        {
            "host": BOB,
            "package": digest(b"package"),
            "deployment": digest(b"deployment"),
            "name": "limits",
            "version": "1.0.0",
            "inputs": {"rows": {"asset": "loans", "key": "id", "columns": ["apps", "debt"]}},
            "outputs": {
                "decision": {"type": "choice", "values": ["approve", "refuse", "check"]},
                "pay": {"type": "int64", "range": [0, 10000], "step": 100, "unit": "fen"},
            },
            "reasons": ["many", "high"],
            "maximum_reasons": 1,
            "depends": {name: ["rows"] for name in ("decision", "pay", "reasons")},
            "holds": False,
            "arguments": ["insured"],
        },
        changes,
    )
    return compile_script(
        request, document or terms(), me=ALICE, person="Li Wei", now=NOW, job=JOB, salt=SALT
    )


_DEFAULT = parse(terms())


def derive(plan: dict[str, Any], document: dict[str, Any] | None = None) -> Any:
    return check(plan, {ID: document or _DEFAULT})


def version(text: str) -> str:
    return digest(text.encode())


def facts(
    derivation: Any,
    me: str,
    *,
    mine: int | None = 1000,
    theirs: int | None = 1000,
    change: int | None = None,
    table: str = "v1",
    counters: Counters | None = None,
    declared: bool = True,
) -> Facts:
    """Facts in which every input has so many keys and nothing was charged before, unless said otherwise."""
    needed = accounts(derivation, me)
    days = {d: 0 for windows in needed.values() for d in windows.days}
    runs = {s: 0 for windows in needed.values() for s in windows.seconds}
    stated = {
        i.id: Declared(
            version(table), "snapshot", mine if i.party == me else theirs, None if i.party == me else change
        )
        for i in derivation.plan.inputs
        if declared or i.party == me
    }
    return Facts(
        stated,
        {account: counters or Counters(keys_in_period=days, runs_in_window=runs) for account in needed},
    )
