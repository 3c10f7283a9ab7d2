"""Every single mutation of a compiled plan is refused, or derives exactly what an independent reading gives.

The oracle below reads the mutated document in the plainest way, with none of the checker's code. A mutation
that widened a plan unnoticed would make the two differ.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator
from typing import Any

import atoll_test_world as w
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.crypto import canonical
from atoll.errors import AtollError

PLANS = {
    "one side": lambda: w.join_plan(),
    "both sides": lambda: w.join_plan(receivers="both"),
    "size": lambda: w.join_plan(reveal="size", receivers="peer"),
    "fast": lambda: w.fast_plan(receivers="both"),
    "little traffic": lambda: w.fast_plan(security="semi-honest", variant="low-communication"),
    "kept": lambda: w.kept_plan(),
    "kept at the peer": lambda: w.kept_plan(receivers="peer"),
    "several": lambda: w.intersect_plan(),
    "several, for everyone": lambda: w.intersect_plan(everyone=True),
    "several, the size": lambda: w.intersect_plan(reveal="size", leader="bob"),
    "hidden": lambda: w.hidden_plan(),
    "hidden, for both": lambda: w.hidden_plan(receivers="both", repeated="right", multiplicity=3),
    "statistics": lambda: w.statistics_plan(),
    "statistics, for both": lambda: w.statistics_plan(
        statistics=[{"statistic": "covariance", "columns": ["left.debt", "right.debt"]}],
        receivers="both",
        repeated="right",
        multiplicity=3,
    ),
    "totals": lambda: w.totals_plan(),
    "echo": lambda: w.echo_plan(),
    "visit": lambda: w.visit_plan(),
    "lookup": lambda: w.lookup_plan(),
    "lookup totals": lambda: w.lookup_totals_plan(),
    "lookup totals, presented": lambda: w.lookup_totals_plan(consent="presented", count_rows=True),
    "lookup that declares hits": lambda: w.lookup_plan(declare_hits=True),
}


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths of every node of a document, containers included."""
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from leaves(item, (*path, key))


def get(document: Any, path: tuple[Any, ...]) -> Any:
    for part in path:
        document = document[part]
    return document


def put(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    out = copy.deepcopy(document)
    get(out, path[:-1])[path[-1]] = value
    return out


def removed(document: Any, path: tuple[Any, ...]) -> Any:
    out = copy.deepcopy(document)
    del get(out, path[:-1])[path[-1]]
    return out


def expected(plan: Any) -> tuple[dict[str, dict[str, set[str]]], set[tuple[str, str | None, str]]]:
    """Uses and (what, owner, receiver) by a plain reading of the document, for plans with one joint
    operator, or with one chain of them.
    """
    owner = {i["id"]: i["party"] for i in plan["inputs"]}
    ops = {o["id"]: o for o in plan["operators"]}

    def source(name: str) -> str:
        while name in ops:
            (name,) = ops[name]["inputs"]
        return name

    uses: dict[str, dict[str, set[str]]] = {
        i["id"]: {c["name"]: set() for c in i["columns"]} for i in plan["inputs"]
    }
    told: set[tuple[str, str | None, str]] = set()
    for o in plan["operators"]:
        p = o["parameters"]
        strong = o["security"] == "malicious"
        told |= {("input_choice" if strong else "corruptible", None, k) for k in o["at"] if o["protocol"]}
        if o["kind"] == "psi/v1":
            ins = [source(name) for name in o["inputs"]]
            for i, columns in zip(ins, p["keys"], strict=True):
                for c in columns:
                    uses[i][c].add("join_key")
            for mine, theirs in (ins, ins[::-1]):
                me, them = owner[mine], owner[theirs]
                told.add(("size", them, me))
                if me in p["receivers"]:
                    told.add(("membership" if p["reveal"] == "rows" else "intersection_size", them, me))
                    told |= {("extra_keys", them, me)} if strong else set()
                if (p["reveal"], p["duplicates"], len(p["receivers"])) == ("rows", "sql", 2):
                    told.add(("multiplicity", them, me))
                if strong and len(p["receivers"]) == 2:
                    told.add(("omission", None, me))
        if o["kind"] == "kept_psi/v1":
            ins = [source(name) for name in o["inputs"]]
            for i, columns in zip(ins, p["keys"], strict=True):
                for c in columns:
                    uses[i][c].add("join_key")
            for mine, theirs in (ins, ins[::-1]):
                me, them = owner[mine], owner[theirs]
                told.add(("size", them, me))
                if me in p["receivers"]:
                    told |= {(what, them, me) for what in ("membership", "linkable", "changes")}
        if o["kind"] == "star_psi/v1":
            ins = [source(name) for name in o["inputs"]]
            for i, columns in zip(ins, p["keys"], strict=True):
                for c in columns:
                    uses[i][c].add("join_key")
            told |= {("common_collusion", None, p["leader"])}
            if p["reveal"] == "size":
                told |= {("size_collusion", None, k) for k in (p["leader"], p["second"])}
            for mine, theirs in itertools.permutations((owner[i] for i in ins), 2):
                told.add(("size", theirs, mine))
                if mine in p["receivers"]:
                    told.add(("membership" if p["reveal"] == "rows" else "intersection_size", theirs, mine))
        if o["kind"] == "hidden_totals/v1":
            ins = [source(name) for name in o["inputs"]]
            added = [[v["column"] for v in side] for side in p["values"]]
            for i, columns, sums in zip(ins, p["keys"], added, strict=True):
                for c in columns:
                    uses[i][c].add("join_key")
                for c in sums:
                    uses[i][c].add("aggregate")
            told |= {("guessing", None, k) for k in o["at"]}
            for mine, theirs in ((0, 1), (1, 0)):
                me, them = owner[ins[mine]], owner[ins[theirs]]
                told |= {(what, them, me) for what in ("size", "too_few_matched")}
                if me in p["receivers"]:
                    told.add(("matched_count", them, me))
                    told |= {("matched_sum", them, me)} if added[theirs] else set()
                    told |= {("own_matched_sum", them, me)} if added[mine] else set()
        if o["kind"] == "hidden_join/v1":
            sides = [source(name) for name in o["inputs"]]
            origins = {}
            for i, columns, brings in zip(sides, p["keys"], p["brings"], strict=True):
                for c in columns:
                    uses[i][c].add("join_key")
                for b in brings:
                    counts = b["form"] in ("range", "codes")
                    tells = {"value": "sum", "range": "histogram", "codes": "histogram"}.get(
                        b["form"], "moments"
                    )
                    origins[b["as"]] = {(i, c, f"matched_{tells}") for c in b["columns"]}
                    for c in b["columns"]:
                        uses[i][c].add("group_key" if counts else "aggregate")
            told |= {("size", owner[sides[1 - n]], owner[sides[n]]) for n in (0, 1)}
        if o["kind"] == "calculate/v1":
            for step in p["steps"]:
                found = set().union(*(origins[name] for name in step["of"]))
                if step["op"] == "multiply" or any(tells == "matched_moments" for *_, tells in found):
                    found = {(i, c, "matched_moments") for i, c, _ in found}
                origins[step["as"]] = found
        if o["kind"] == "total/v1":
            added = p["sums"]
        if o["kind"] == "open/v1":
            told |= {("guessing", None, k) for k in o["at"]}
            opens = set().union(*(origins[name] for name in added))
            for mine, theirs in ((0, 1), (1, 0)):
                me, them = owner[sides[mine]], owner[sides[theirs]]
                if me in p["receivers"]:
                    told |= {(what, them, me) for what in ("matched_count", "too_few_matched")}
                    for name in added:
                        inputs = {i for i, *_ in origins[name]}
                        crossed = len(inputs) > 1 and any(t == "matched_moments" for *_, t in origins[name])
                        told |= {
                            ("matched_product" if crossed else tells, them, me)
                            for i, _, tells in origins[name]
                            if i == sides[theirs]
                        }
                    told |= {("own_matched_sum", them, me) for i, *_ in opens if i == sides[mine]}
        if o["kind"] == "group_sum/v1":
            i = source(o["id"])
            for c in p["group"]:
                uses[i][c].add("group_key")
            for c in [v["column"] for v in p["values"]] + [p["subject"]] * (p["subject"] is not None):
                uses[i][c].add("aggregate")
        if o["kind"] == "masked_sum/v1":
            told |= {("collusion", None, k) for k in p["receivers"]}
            for name in o["inputs"]:
                part, me = ops[name]["parameters"], owner[source(name)]
                told |= {("sum", me, k) for k in p["receivers"] if part["values"]}
                told |= {("count", me, k) for k in p["receivers"] if part["count"]}
                told |= {("participation", me, k) for k in o["at"]}
                if part["minimum_group"] > 1:
                    told |= {("small_group_exists", me, k) for k in o["at"] if k != me}
        if o["kind"] == "echo/v1":
            kinds = {"call", "value"}
            kinds |= {"authorisation"} if p["consent"] == "presented" else set()
            kinds |= {"hits"} if p["declare_hits"] else set()
            told |= {(what, plan["asker"], o["at"][1]) for what in kinds}
        if o["kind"] == "visit/v1":
            for name in o["inputs"]:
                i = source(name)
                uses[i][p["keys"][i]].add("lookup_key")
                for c in uses[i].values():
                    c.add("script_input")
                if any(i in inputs for inputs in p["depends"].values()):
                    told.add(("outcome", owner[i], plan["asker"]))
            kinds = {"call", "value"} | ({"authorisation"} if p["consent"] == "presented" else set())
            told |= {(what, plan["asker"], o["at"][1]) for what in kinds}
        if o["kind"] == "lookup/v1":
            i = source(ops[o["inputs"][0]]["inputs"][0])
            for c in p["keys"]:
                uses[i][c].add("lookup_key")
            for c in p["values"]:
                uses[i][c].add("lookup_value")
            told |= {(what, owner[i], plan["asker"]) for what in ("record", "sealed_table")}
            kinds = {"call"} | ({"authorisation"} if p["consent"] == "presented" else set())
            kinds |= {"hits"} if p["declare_hits"] else set()
            told |= {(what, plan["asker"], o["at"][1]) for what in kinds}
        if o["kind"] == "lookup_totals/v1":
            told.add(("collusion", None, plan["asker"]))
            for name, columns, values in zip(o["inputs"], p["keys"], p["values"], strict=True):
                i = source(ops[name]["inputs"][0])
                for c in columns:
                    uses[i][c].add("lookup_key")
                for v in values:
                    uses[i][v["column"]].add("aggregate")
                told |= {(what, owner[i], plan["asker"]) for what in ("key_totals", "sealed_cells")}
            kinds = {"call"} | ({"authorisation"} if p["consent"] == "presented" else set())
            told |= {(what, plan["asker"], k) for what in kinds for k in p["holders"]}
    return uses, told


def accepted(plan: Any) -> bool:
    """Whether the checker takes a plan; if so, what it derives is what the plain reading gives."""
    try:
        derivation = w.derive(plan)
    except AtollError:
        return False
    uses, told = expected(plan)
    assert {i: {c: set(u) for c, u in cols.items()} for i, cols in derivation.uses.items()} == uses
    assert {(s.what, s.owner, k) for s in derivation.disclosures for k in s.to} == told
    learns = {k for _, _, k in told}
    for output in plan["outputs"]:
        assert output["receiver"] in derivation.receivers
        edge = next(o["edge"] for o in plan["operators"] if o["id"] == output["from"])
        assert output["receiver"] in edge["visibility"]["clear"]
        assert output["receiver"] in learns | {plan["asker"]}
    assert all(s.security == derivation.security for s in derivation.disclosures)
    return True


# Leaves whose change alters no meaning that the checker could derive: who asks by name, when, how long, how
# much.
FREE = {"id", "salt", "purpose", "person", "created", "expires", "limits", "estimate"}


@pytest.mark.parametrize("name", PLANS)
def test_every_replacement_by_another_value_of_the_plan_is_refused_or_derived_rightly(name: str) -> None:
    plan = PLANS[name]()
    assert accepted(plan)
    pool: dict[str, list[Any]] = {}
    paths = [p for p in leaves(plan) if p[0] not in FREE]
    for path in paths:
        value = get(plan, path)
        if isinstance(value, str):
            kind = "key" if value in w.KEYS.values() else "text"
            pool.setdefault(kind, [])
            if value not in pool[kind]:
                pool[kind].append(value)
    pool["key"] += [k for k in w.KEYS.values() if k not in pool["key"]]
    tried = passed = 0
    # Each place gets a sample of the plan's own values, spread so that all of them are used somewhere.
    spread = itertools.count()
    for path in paths:
        value = get(plan, path)
        if isinstance(value, str):
            others = pool["key"] if value in w.KEYS.values() else pool["text"]
            start = next(spread) * 3
            options: list[Any] = [o for o in (others * 2)[start % len(others) :][:4] if o != value]
            options.append(None)
        elif isinstance(value, bool) or value is None:
            options = [not value, "x"]
        elif isinstance(value, int):
            options = [0, value + 1, -value]
        else:
            options = [[] if isinstance(value, list) else {}, None]
            if isinstance(value, list) and value:
                options += [value[:-1], [*value, value[0]], value[::-1] if len(value) > 1 else []]
        for option in options:
            tried += 1
            passed += accepted(put(plan, path, option))
        if path[:-1]:
            tried += 1
            passed += accepted(removed(plan, path))
    # Most mutations must be caught; the few that pass are equal plans or differ as the oracle says.
    assert tried > 100
    assert passed < tried / 10


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_pairs_of_mutations_never_escape_either(data: st.DataObject) -> None:
    plan = PLANS[data.draw(st.sampled_from(sorted(PLANS)))]()
    for _ in range(2):
        paths = [p for p in leaves(plan) if p[0] not in FREE]
        path, other = data.draw(st.sampled_from(paths)), data.draw(st.sampled_from(paths))
        plan = put(plan, path, copy.deepcopy(get(plan, other)))
    accepted(plan)


@settings(max_examples=60, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
        max_leaves=20,
    ),
    st.data(),
)
def test_arbitrary_json_anywhere_gives_a_named_error_and_nothing_else(
    value: Any, data: st.DataObject
) -> None:
    plan = PLANS[data.draw(st.sampled_from(sorted(PLANS)))]()
    accepted(put(plan, data.draw(st.sampled_from(list(leaves(plan)))), value))
    with pytest.raises(AtollError):
        w.derive(value)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(["me", "peer", "both"]),
    st.sampled_from(["rows", "size"]),
    st.sampled_from(["sql", "refuse"]),
    st.lists(st.sampled_from(["id", "phone", "apps"]), min_size=1, max_size=3, unique=True),
)
def test_compiled_joins_round_trip_and_more_keys_or_receivers_never_shrink_what_is_derived(
    receivers: str, reveal: str, duplicates: str, keys: list[str]
) -> None:
    def made(receivers: str, keys: list[str]) -> Any:
        sides = {
            side: {"asset": "loans", "party": party, "keys": keys}
            for side, party in (("left", "alice"), ("right", "bob"))
        }
        return w.join_plan(receivers=receivers, reveal=reveal, duplicates=duplicates, normalise={}, **sides)

    plan = made(receivers, keys)
    assert canonical.loads(canonical.dumps(plan)) == plan
    assert accepted(plan)
    small, large = w.derive(made(receivers, keys[:1])), w.derive(made("both", keys))
    for name, columns in small.uses.items():
        assert all(set(uses) <= set(large.uses[name].get(c, ())) for c, uses in columns.items())
    told = [{(s.what, s.owner, k) for s in d.disclosures for k in s.to} for d in (small, large)]
    assert told[0] <= told[1]
