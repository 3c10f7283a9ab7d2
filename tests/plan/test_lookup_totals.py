"""The operator of lookup totals: plans that it refuses, though a compiler that lies made them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import atoll_test_world as w
import pytest

from atoll.errors import AtollError

Json = dict[str, Any]
HOLDERS = [w.BOB, w.CAROL, w.DAVE]
DEBT = {"column": "debt", "as": "debt", "scale": 2, "range": ["0", "100000000"]}


def joint(plan: Json) -> Json:
    return op(plan, "n6")


def parameters(plan: Json) -> Json:
    found: Json = joint(plan)["parameters"]
    return found


def changed(change: Callable[[Json], Any], **request: Any) -> Json:
    plan = copy.deepcopy(w.lookup_totals_plan(**request))
    change(plan)
    return plan


def op(plan: Json, id: str) -> Json:
    found: Json = next(o for o in plan["operators"] if o["id"] == id)
    return found


def of_joint(**fields: Any) -> Callable[[Json], Any]:
    return lambda plan: joint(plan).update(fields)


def of_parameters(**fields: Any) -> Callable[[Json], Any]:
    return lambda plan: parameters(plan).update(fields)


def of_values(*several: Json) -> Callable[[Json], Any]:
    """The values of the holders in order, as changes of what is there."""
    return of_parameters(values=[[{**DEBT, **one}] for one in several])


def shorter_key(plan: Json) -> None:
    """Dave's key is one column, the others' are two."""
    op(plan, "n5")["parameters"]["columns"].pop()
    op(plan, "n5")["edge"]["columns"].pop()
    parameters(plan)["keys"] = [*parameters(plan)["keys"][:2], ["id"]]


def without_a_holder(plan: Json) -> None:
    for name in ("holders", "keys", "values"):
        parameters(plan)[name].pop()


LIES: dict[str, tuple[Callable[[], Json], str, str]] = {
    "a table for keys": (
        lambda: changed(of_joint(inputs=["n1", "n2", "n5"])),
        "E_PLAN",
        "takes edges of keys",
    ),
    "other order": (
        lambda: changed(of_joint(inputs=["n3", "n1", "n5"])),
        "E_PLAN",
        "of each holder, in order",
    ),
    "fewer keys": (lambda: changed(of_joint(inputs=["n1", "n3"])), "E_PLAN", "of each holder, in order"),
    "fewer holders": (lambda: changed(without_a_holder), "E_PLAN", "of each holder, in order"),
    "without the asker": (
        lambda: changed(of_joint(at=HOLDERS)),
        "E_PLAN",
        "stands at the asker and its holders",
    ),
    "without a holder": (
        lambda: changed(of_joint(at=[w.ALICE, w.BOB, w.CAROL])),
        "E_PLAN",
        "stands at the asker",
    ),
    "a holder asks": (
        lambda: changed(lambda p: (p.update(asker=w.BOB), of_joint(at=HOLDERS)(p))),
        "E_PLAN",
        "who are others",
    ),
    "other key columns": (
        lambda: changed(of_parameters(keys=[["id"], ["debt"], ["id"]])),
        "E_PLAN",
        "other key columns than its edges",
    ),
    "fewer key columns": (
        lambda: changed(shorter_key, keys=["id", "phone"]),
        "E_PLAN",
        "different numbers of key",
    ),
    "normalised unlike": (
        lambda: changed(lambda p: op(p, "n3")["parameters"]["columns"][0].update(steps=["trim"])),
        "E_PLAN",
        "normalised differently",
    ),
    "a column that is not read": (
        lambda: changed(of_values({}, {"column": "apps"}, {})),
        "E_PLAN",
        "'apps' that its",
    ),
    "a column that is text": (
        lambda: changed(of_values({}, {"column": "id"}, {})),
        "E_TYPE",
        "'id', which is string",
    ),
    "a scale of none": (lambda: changed(of_values(*[{"scale": 3}] * 3)), "E_UNIT", "at another scale"),
    "a scale of one": (lambda: changed(of_values({}, {"scale": 3}, {})), "E_PLAN", "at the same scales"),
    "a name of one": (lambda: changed(of_values({}, {"as": "x"}, {})), "E_PLAN", "add the same names"),
    "a range upside down": (
        lambda: changed(of_values({}, {"range": ["1", "0"]}, {})),
        "E_PLAN",
        "larger than max",
    ),
    "a count": (lambda: changed(of_values(*[{"as": "count"}] * 3)), "E_PLAN", "count is the name"),
    "holders": (lambda: changed(of_values(*[{"as": "holders"}] * 3)), "E_PLAN", "'holders' stands twice"),
    "values of two": (
        lambda: changed(of_parameters(values=[[DEBT]] * 2)),
        "E_PLAN",
        "one entry for each holder",
    ),
    "keys of two": (lambda: changed(of_parameters(keys=[["id"]] * 2)), "E_PLAN", "one entry for each holder"),
    "nothing to add": (
        lambda: changed(of_parameters(values=[[]] * 3, count_holders=False)),
        "E_PLAN",
        "1 to 16 numbers",
    ),
    "seventeen numbers": (
        lambda: changed(of_parameters(values=[[{**DEBT, "as": f"v{n}"} for n in range(16)]] * 3)),
        "E_PLAN",
        "1 to 16 numbers",
    ),
    "a holder twice": (
        lambda: changed(of_parameters(holders=[w.BOB, w.BOB, w.DAVE])),
        "E_PLAN",
        "stands twice",
    ),
    "holders in disorder": (
        lambda: changed(of_parameters(holders=HOLDERS[::-1])),
        "E_PLAN",
        "keys stand in order",
    ),
    "one holder": (
        lambda: changed(of_parameters(holders=[w.BOB], keys=[["id"]], values=[[DEBT]])),
        "E_PLAN",
        "holders",
    ),
    "a block below a request": (
        lambda: changed(of_parameters(block_calls=99)),
        "E_PLAN",
        "block_calls: one request's keys go into one block",
    ),
    "keys of one request": (lambda: changed(of_parameters(maximum_keys=1001)), "E_PLAN", "maximum_keys"),
    "bytes of one request": (
        lambda: changed(of_parameters(maximum_bytes=2**24 + 1)),
        "E_PLAN",
        "maximum_bytes",
    ),
    "no rows": (lambda: changed(of_parameters(rows=0)), "E_PLAN", "rows"),
    "a parameter more": (lambda: changed(of_parameters(declare_hits=True)), "E_PLAN", "declare_hits"),
    "another function": (
        lambda: changed(lambda p: p.update(function="query")),
        "E_PLAN",
        "belongs to query_totals",
    ),
    "one run": (lambda: changed(lambda p: p.update(shape="one-shot")), "E_PLAN", "shape"),
    "totals for a holder": (
        lambda: changed(lambda p: p["outputs"][0].update(receiver=w.BOB)),
        "E_PLAN",
        "a party that is no receiver",
    ),
    "clear to all": (
        lambda: changed(lambda p: joint(p)["edge"].update(visibility={"clear": [w.ALICE, *HOLDERS]})),
        "E_PLAN",
        "another edge",
    ),
    "no column of counts": (
        lambda: changed(lambda p: joint(p)["edge"].update(columns=["debt"])),
        "E_PLAN",
        "another edge",
    ),
    "stated as malicious": (lambda: changed(of_joint(security="malicious")), "E_PLAN", "claims security"),
}


@pytest.mark.parametrize("name", LIES)
def test_plans_that_lie_are_refused(name: str) -> None:
    make, code, words = LIES[name]
    with pytest.raises(AtollError) as caught:
        w.derive(make())
    assert caught.value.code == code, caught.value.text
    assert words in caught.value.text


def test_no_total_can_leave_64_bits() -> None:
    """The bound is on the rows of all holders together, at the largest magnitude of each one's range."""

    def plan(*ranges: tuple[int, int], rows: int = 1) -> Json:
        values = ({"range": [str(low), str(high)]} for low, high in ranges)
        return changed(lambda p: (of_values(*values)(p), of_parameters(rows=rows)(p)))

    half = 2**62
    for fits, leaves in (
        (((0, half), (0, half // 2), (0, half // 2 - 1)), ((0, half), (0, half // 2), (0, half // 2))),
        (((-half, 1), (0, half - 1), (0, 0)), ((-half, 1), (0, half - 1), (-1, 0))),
        (((0, 2**63 - 1), (0, 0), (0, 0)), ((-(2**63), 0), (0, 0), (0, 0))),
    ):
        assert w.derive(plan(*fits)).receivers == (w.ALICE,)
        with pytest.raises(AtollError) as caught:
            w.derive(plan(*leaves))
        assert (caught.value.code, caught.value.column, caught.value.step) == ("E_RANGE", "debt", "n6")
    million = 10**6
    edge = (2**63 - 1) // million
    assert w.derive(plan((0, edge), (0, 0), (0, 0), rows=million))
    with pytest.raises(AtollError):
        w.derive(plan((0, edge), (0, 1), (0, 0), rows=million))
