"""Scenarios of lookups: Alice reads records of Bob's tables by their keys."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from atoll_scenario_query_actions import Actions, actions
from atoll_scenario_world import Json, Play, ids, numbers, scenario

from atoll import AtollError
from atoll.client import requests
from atoll.testing import until


def _request(agreement: str, table: str = "taxes", **how: Any) -> Json:
    name = f"look{next(numbers)}"
    return requests.lookup(agreement, name, table, **{"purpose": "test", "on": ["id"]} | how)


def _agree(p: Play, **given: Any) -> str:
    return p.agree(**{"functions": ["query"]} | given)


def _look(*columns: str, **grant: Any) -> Json:
    """A table whose columns may be looked up by, and read."""
    return {"columns": {column: ["lookup_key", "lookup_value"] for column in columns}, "grant": grant}


def _both(p: Play, **terms: Any) -> str:
    """Alice's loans and Bob's taxes, for lookups."""
    return _agree(p, alice={"loans": "*"}, bob={"taxes": _look("id", "income")}, **terms)


@contextmanager
def _standing(p: Play, agreement: str, table: str = "taxes", **how: Any) -> Iterator[tuple[Actions, str]]:
    """A lookup that answers, and ends in order."""
    do, request = actions(p.do), _request(agreement, table, **how)
    found = do.start(p.alice, request)
    assert (found["name"], found["ready"]) == (request["name"], True)
    p.kept["job"] = found["job"]
    yield do, request["name"]
    do.stop(p.alice, request["name"])


def _answers(p: Play, *keys: Any, **how: Any) -> list[Json]:
    with _standing(p, _both(p), **how) as (do, name):
        return do.query(p.alice, name, *keys)


def _hit(**row: Any) -> Json:
    return {"found": True, "rows": [row], "error": None}


MISS = {"found": False, "rows": [], "error": None}


@scenario("a lookup gives the records of keys, and says which are not there")
def _(p: Play) -> None:
    assert _answers(p, "s60", "s1", "s199", "s60") == [
        _hit(income=0), MISS, _hit(income=139), _hit(income=0),
    ]  # fmt: skip


@scenario("a lookup stands in the list of its asker, and its receipt counts its calls")
def _(p: Play) -> None:
    agreement = _both(p)
    with _standing(p, agreement) as (do, name):
        (listed,) = [one for one in do.list(p.alice) if one["name"] == name]
        assert (listed["partner"], listed["asset"], listed["state"]) == ("bob", "taxes", "running")
        assert [one["name"] for one in listed["values"]] == ["income"]
        assert not [one for one in do.list(p.bob) if one["name"] == name]
        do.query(p.alice, name, "s60", "s61")
        do.query(p.alice, name, "none")
    assert not [one for one in do.list(p.alice) if one["name"] == name]
    receipt = p.do.receipt(p.alice, p.kept["job"])
    assert not receipt["missing"]
    assert {part["meters"]["calls"] for part in receipt["document"]["parties"].values()} == {3}
    statement = p.do.job(p.alice, p.kept["job"])["statement"]
    assert any("sealed" in line for line in statement["en"])


@scenario("a lookup without a hint gives the same, is listed as such, and states what it rests on")
def _(p: Play) -> None:
    with _standing(p, _both(p), hint=False) as (do, name):
        assert do.query(p.alice, name, "s60", "s1", "s199") == [_hit(income=0), MISS, _hit(income=139)]
        (listed,) = [one for one in do.list(p.alice) if one["name"] == name]
        assert (listed["hint"], listed["maximum_keys"]) == (False, 16)
        assert do.query(p.alice, name, "s1") == [MISS]
    receipt = p.do.receipt(p.alice, p.kept["job"])
    assert {part["meters"]["calls"] for part in receipt["document"]["parties"].values()} == {4}
    statement = p.do.job(p.alice, p.kept["job"])["statement"]
    assert any("also over rings" in line for line in statement["en"])
    assert any("RLWE" in line for line in statement["zh"])


@scenario("a lookup without a hint for many keys in a request", error="E_RANGE", text="64 keys")
def _(p: Play) -> None:
    actions(p.do).start(p.alice, _request(_both(p), hint=False, maximum_keys=65))


@scenario("a lookup by normalised keys of several columns, with several rows of a key", heavy=True)
def _(p: Play) -> None:
    table = p.fresh(
        p.bob,
        {"id": ["S1", "s1 ", "s2"], "year": ["2024", "2024", "2025"], "visit": ["a", "b", "c"]},
    )
    agreement = _agree(p, alice={"loans": "*"}, bob={table: _look("id", "year", "visit")})
    how: Json = {"on": ["id", "year"], "rows": 2, "normalise": {"id": ["trim", "lower"]}}
    with _standing(p, agreement, table, **how) as (do, name):
        first, second, third = do.query(p.alice, name, ["s1", 2024], [" S2", 2025], ["s1", 2025])
    assert sorted(row["visit"] for row in first["rows"]) == ["a", "b"]
    assert (second, third) == (_hit(visit="c"), MISS)


@scenario("many keys from a file are answered into a file")
def _(p: Play) -> None:
    agreement = _both(p)
    with _standing(p, agreement, maximum_keys=20) as (do, name):
        found = do.query_file(p.alice, name, {"id": ids(50, 100)})
    assert found == [
        {"found": "True", "income": str(i - 60)} if i >= 60 else {"found": "False"} for i in range(50, 100)
    ]


@scenario("the keys of an own table are asked row by row, each key once, and nobody sees them")
def _(p: Play) -> None:
    table = p.fresh(p.alice, {"who": ["s60", "s1", "", "s60", "s61", "s1", "s62"], "no": [*"abcdefg"]})
    with _standing(p, _both(p), maximum_keys=2) as (do, name):
        answers, error = do.query_table(p.alice, name, table, columns=["who"])
        later, _ = do.query_table(p.alice, name, table, columns=["who"], start=6)
    assert error is None
    assert [answer["row"] for answer in answers] == [*range(1, 8)]
    assert len({answer["version"] for answer in answers if answer["row"] != 3}) == 1
    short = [{key: answer[key] for key in ("found", "rows", "error")} for answer in answers]
    (missing,) = [answer["error"] for answer in short if answer["error"]]
    assert short == [
        _hit(income=0), MISS, {"found": None, "rows": [], "error": missing}, _hit(income=0), _hit(income=1), MISS,
        _hit(income=2),
    ]  # fmt: skip
    assert (missing["code"], "row 3" in missing["detail"]) == ("E_FORMAT", True)
    assert "s6" not in str(answers)
    assert [(answer["row"], answer["rows"]) for answer in later] == [(6, []), (7, [{"income": 2}])]
    receipt = p.do.receipt(p.alice, p.kept["job"])
    assert {part["meters"]["calls"] for part in receipt["document"]["parties"].values()} == {4 + 2}


@scenario("the keys of an own table with its data subjects' authorisations", heavy=True)
def _(p: Play) -> None:
    agreement = _both(p, consent={"mode": "presented", "issuers": [p.alice.identity]})
    word = p.alice.steward.consents.issue("subject 60", purposes=["test"], functions=["query"])["consent"]
    table = p.fresh(p.alice, {"id": ["s60", "s61"], "word": [word, ""]})
    with _standing(p, agreement) as (do, name):
        (first, second), _ = do.query_table(p.alice, name, table, consent="word")
    assert (first["rows"], first["error"]) == ([{"income": 0}], None)
    assert (second["rows"], second["error"]["code"]) == ([], "E_CONSENT")


def _of_table(p: Play, table: str, **how: Any) -> None:
    with _standing(p, _both(p)) as (do, name):
        try:
            do.query_table(p.alice, name, table, **how)
        finally:
            assert do.query(p.alice, name, "s60") == [_hit(income=0)]


@scenario("the keys of an own table that is not there", error="E_NOT_FOUND", text="'nowhere'")
def _(p: Play) -> None:
    _of_table(p, "nowhere")


@scenario("the keys of an own column that is not there", error="E_COLUMN", column="who")
def _(p: Play) -> None:
    _of_table(p, "loans", columns=["who"])


@scenario("the keys of an own column of another type", error="E_TYPE", column="no", text="int64")
def _(p: Play) -> None:
    _of_table(p, p.fresh(p.alice, {"no": ["1", "2"]}), columns=["no"])


@scenario("more own columns than a lookup has keys", error="E_FORMAT", text="one for each of id")
def _(p: Play) -> None:
    _of_table(p, "loans", columns=["id", "debt"])


@scenario("rows of an own table that are not there", error="E_RANGE", text="rows 1 to 2")
def _(p: Play) -> None:
    _of_table(p, p.fresh(p.alice, {"id": ["s1", "s2"]}), start=3)


@scenario("what the partner changes is answered after its refresh, by the same lookup", heavy=True)
def _(p: Play) -> None:
    table = p.fresh(p.bob, {"id": ids(0, 40), "income": [str(i) for i in range(40)]})
    agreement = _agree(p, alice={"loans": "*"}, bob={table: _look("id", "income")})
    with _standing(p, agreement, table) as (do, name):
        assert do.query(p.alice, name, "s1", "s40") == [_hit(income=1), MISS]
        p.world.write({"id": ids(1, 60), "income": [str(1000 + i) for i in range(59)]}, f"bob-{table}")
        p.do.refresh(p.bob, table)
        new = [MISS, _hit(income=1000), _hit(income=1039), _hit(income=1058)]
        until("the new version answers", lambda: do.query(p.alice, name, "s0", "s1", "s40", "s59") == new)


@scenario("a lookup that ended is not there", error="E_NOT_FOUND", text="no lookup")
def _(p: Play) -> None:
    with _standing(p, _both(p)) as (do, name):
        pass
    do.query(p.alice, name, "s60")


@scenario("a lookup that nobody started", error="E_NOT_FOUND", text="'elsewhere'")
def _(p: Play) -> None:
    actions(p.do).query(p.alice, "elsewhere", "s60")


@scenario("more keys than a request may have", error="E_TOO_LARGE", text="1 to 2 keys")
def _(p: Play) -> None:
    with _standing(p, _both(p), maximum_keys=2, block_calls=10) as (do, name):
        assert do.query(p.alice, name, "s60", "s61") == [_hit(income=0), _hit(income=1)]
        try:
            if p.do.name == "cli":  # which sends as many as fit, one request after the other
                assert len(do.query(p.alice, name, "s60", "s61", "s62")) == 3
                raise AtollError("E_TOO_LARGE", "a request has 1 to 2 keys, not 3")
            do.query(p.alice, name, "s60", "s61", "s62")
        finally:
            assert do.query(p.alice, name, "s60") == [_hit(income=0)]


@scenario("a lookup by a column that nobody granted for that", error="E_POLICY", column="income")
def _(p: Play) -> None:
    columns = {"id": "lookup_key", "income": "aggregate"}
    actions(p.do).start(
        p.alice, _request(_agree(p, alice={"loans": "*"}, bob={"taxes": {"columns": columns}}))
    )


@scenario("a lookup of a column that the table does not have", error="E_COLUMN", column="wage")
def _(p: Play) -> None:
    actions(p.do).start(p.alice, _request(_both(p), values=["wage"]))


@scenario("a lookup in one's own table", error="E_FORMAT", text="read it here")
def _(p: Play) -> None:
    actions(p.do).start(p.alice, _request(_both(p), "loans"))


def _only_the_owner_sees(p: Play, request: Json, code: str, column: str, text: str) -> None:
    """The owner's node says what is wrong with its table; the asker learns no more than the code."""
    before = {job.id for job in p.alice.analyst.jobs.list()}
    with pytest.raises(AtollError) as caught:
        actions(p.do).start(p.alice, request)
    # Which of the two comes first, the word of the partner's node or the end of its worker's channel, is open.
    assert caught.value.code in (code, "E_PEER_ABORT")
    assert code in caught.value.text
    assert text not in caught.value.text
    (job,) = {job.id for job in p.alice.analyst.jobs.list()} - before
    own = until("bob's side ended", lambda: p.do.job(p.bob, job)["error"])
    assert (own["code"], own.get("column")) == (code, column), own
    assert text in own["detail"]


@scenario("a table with a key on two rows, where the lookup allows one")
def _(p: Play) -> None:
    agreement = _agree(p, alice={"loans": "*"}, bob={"again": _look("id", "visit")})
    _only_the_owner_sees(p, _request(agreement, "again"), "E_DUPLICATE", "id", "row 2")


@scenario("a record that takes more room than the lookup has")
def _(p: Play) -> None:
    table = p.fresh(p.bob, {"id": ["s1", "s2"], "note": ["short", "much too long for sixteen bytes"]})
    request = _request(
        _agree(p, alice={"loans": "*"}, bob={table: _look("id", "note")}), table, record_bytes=16
    )
    _only_the_owner_sees(p, request, "E_RANGE", "note", "row 2")


@scenario("a lookup of a grant with a quota ends with the quota", error="E_QUOTA", heavy=True)
def _(p: Play) -> None:
    agreement = _agree(p, alice={"loans": "*"}, bob={"taxes": _look("id", "income", calls_per_day=4)})
    with _standing(p, agreement, block_calls=4, maximum_keys=4) as (do, name):
        assert do.query(p.alice, name, "s60", "s1", "s2", "s61") == [
            _hit(income=0), MISS, MISS, _hit(income=1),
        ]  # fmt: skip
    actions(p.do).start(p.alice, _request(agreement, block_calls=4, maximum_keys=4))


@scenario("each key is shown with its data subject's authorisation, as long as it stands", error="E_CONSENT",
          text="withdrawn", heavy=True)  # fmt: skip
def _(p: Play) -> None:
    agreement = _both(p, consent={"mode": "presented", "issuers": [p.alice.identity]})
    word = p.alice.steward.consents.issue("subject 60", purposes=["test"], functions=["query"])["consent"]
    with _standing(p, agreement) as (do, name):
        assert do.query(p.alice, name, "s60", consent=word) == [_hit(income=0)]
    p.alice.steward.consents.withdraw(word)
    with _standing(p, agreement) as (do, name):
        do.query(p.alice, name, "s60", consent=word)


@scenario("a key without an authorisation where one is needed", error="E_CONSENT")
def _(p: Play) -> None:
    agreement = _both(p, consent={"mode": "attested"})
    with _standing(p, agreement) as (do, name):
        (answer,) = do.query(p.alice, name, "s60")
    raise AtollError.from_problem(answer["error"])


def _hits(p: Play) -> list[int | None]:
    receipt = p.do.receipt(p.alice, p.kept["job"])
    assert not receipt["missing"]
    return [part["meters"]["hits"] for part in receipt["document"]["parties"].values()]


@scenario("hits are declared where the grant asks a price for them, and not else", heavy=True)
def _(p: Play) -> None:
    price = {"per_hit": 300, "currency": "CNY"}
    agreement = _agree(p, alice={"loans": "*"}, bob={"taxes": _look("id", "income", price=price)})
    with _standing(p, agreement) as (do, name):
        do.query(p.alice, name, "s60", "s1", "s61", "s2")
    assert sorted(map(str, _hits(p))) == ["2", "None"]
    statement = p.do.job(p.alice, p.kept["job"])["statement"]
    assert any("declares as hits" in line for line in statement["en"])
    with _standing(p, agreement, declare_hits=False) as (do, name):
        do.query(p.alice, name, "s60")
    assert _hits(p) == [None, None]


@scenario(
    "declared hits of blocks so short that they tell of single keys", error="E_FORMAT", text="86400 seconds"
)
def _(p: Play) -> None:
    actions(p.do).start(p.alice, _request(_both(p), declare_hits=True, block_seconds=3600))
