"""What may leave a call: the gate against anything at all, coarser outputs, and the bits that are counted."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.errors import AtollError
from atoll.scripts.manifest import Choice, Flag, Manifest, Number, parse, parse_toml
from atoll.scripts.outputs import (
    TIMING_MILLIBITS,
    bits_per_call,
    coarsen,
    gate,
    millibits,
    outcomes,
    reason_sets,
    size,
)

EXAMPLE = Path(__file__).parents[2] / "examples" / "scripts" / "claims" / "package.toml"
CLAIMS = parse_toml(EXAMPLE.read_text(encoding="utf-8"), "package.toml")
GOOD = {"decision": "approve", "pay": 1200, "reasons": ["capped", "deductible"]}


def manifest(outputs: dict[str, Any], reasons: int = 0, most: int = 0) -> Manifest:
    document = CLAIMS.document() | {
        "outputs": outputs,
        "reasons": {f"r{n}": {"en": f"Reason {n}.", "zh": f"理由{n}。"} for n in range(reasons)},
        "maximum_reasons": most,
    }
    return parse(document)


class Text(str):
    """Passes for a text by isinstance, and could hold more than it shows."""


class Whole(int):
    """Passes for a whole number by isinstance."""


class Bag(list[Any]):
    """Passes for a list."""


# --- the gate


def test_a_good_answer_leaves_with_its_reasons_in_the_order_of_the_manifest() -> None:
    found = gate(CLAIMS, CLAIMS, GOOD)
    order = [code for code in CLAIMS.reasons if code in ("capped", "deductible")]
    assert found == {"decision": "approve", "pay": 1200, "reasons": order}
    assert gate(CLAIMS, CLAIMS, {"decision": "check", "pay": 0}) == {
        "decision": "check",
        "pay": 0,
        "reasons": [],
    }


def test_the_answer_is_left_as_it_was() -> None:
    answer = {"decision": "approve", "pay": 1200, "reasons": ["capped"]}
    gate(CLAIMS, CLAIMS, answer)
    assert answer == {"decision": "approve", "pay": 1200, "reasons": ["capped"]}


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        "approve",
        0,
        {},
        [("decision", "approve"), ("pay", 0)],
        {"decision": "approve"},
        {"decision": "approve", "pay": None},
        GOOD | {"note": "x"},
        GOOD | {1: 2},
        GOOD | {"decision": "Approve"},
        GOOD | {"decision": "approve "},
        GOOD | {"decision": Text("approve")},
        GOOD | {"decision": b"approve"},
        GOOD | {"decision": 0},
        GOOD | {"decision": ["approve"]},
        GOOD | {"pay": 1201},
        GOOD | {"pay": -100},
        GOOD | {"pay": 5_000_100},
        GOOD | {"pay": 2**80 * 100},
        GOOD | {"pay": 1200.0},
        GOOD | {"pay": math.nan},
        GOOD | {"pay": "1200"},
        GOOD | {"pay": Whole(1200)},
        GOOD | {"pay": False},
        GOOD | {"reasons": None},
        GOOD | {"reasons": "capped"},
        GOOD | {"reasons": ("capped",)},
        GOOD | {"reasons": {"capped": 1}},
        GOOD | {"reasons": ["capped", "capped"]},
        GOOD | {"reasons": ["capped", "deductible", "insured"]},
        GOOD | {"reasons": ["because of row 7"]},
        GOOD | {"reasons": [Text("capped")]},
        GOOD | {"reasons": [["capped"]]},
        GOOD | {"reasons": [7]},
    ],
)
def test_whatever_is_not_declared_is_no_decision(answer: Any) -> None:
    assert gate(CLAIMS, CLAIMS, answer) is None


def test_a_flag_is_true_or_false_and_nothing_like_it() -> None:
    flags = manifest({"open": {"type": "bool"}})
    assert gate(flags, flags, {"open": True}) == {"open": True, "reasons": []}
    assert gate(flags, flags, {"open": False}) == {"open": False, "reasons": []}
    for value in (1, 0, "true", None, [], Whole(1)):
        assert gate(flags, flags, {"open": value}) is None


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.integers(-5, 5_000_300)
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=5)
    | st.sampled_from(["approve", "refuse", "check", Text("approve"), Whole(100)])
)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
REASONS = st.lists(st.sampled_from([*CLAIMS.reasons, "other", Text("capped")]), max_size=4) | ANYTHING
ANSWERS = ANYTHING | st.fixed_dictionaries(
    {"decision": SCALARS, "pay": SCALARS | st.integers(-3, 50_003).map(lambda n: n * 100)},
    optional={"reasons": REASONS, "more": ANYTHING},
)


def inside(allowed: Manifest, found: dict[str, Any]) -> bool:
    """Whether an answer stands in the domains, judged anew."""
    if list(found) != [*allowed.outputs, "reasons"]:
        return False
    for name, output in allowed.outputs.items():
        value = found[name]
        if isinstance(output, Choice):
            good = type(value) is str and value in output.values
        elif isinstance(output, Flag):
            good = type(value) is bool
        else:
            good = type(value) is int and value in range(output.range[0], output.range[1] + 1, output.step)
        if not good:
            return False
    reasons = found["reasons"]
    declared = list(allowed.reasons)
    return (
        type(reasons) is list
        and len(reasons) <= allowed.maximum_reasons
        and all(type(r) is str and r in declared for r in reasons)
        and reasons == sorted(set(reasons), key=declared.index)
    )


@given(ANSWERS, st.sampled_from([None, 100, 700, 50_000, 5_000_000, 9_000_000]), st.booleans())
def test_nothing_outside_the_domain_leaves(answer: Any, step: int | None, reasons: bool) -> None:
    allowed = coarsen(CLAIMS, {} if step is None else {"pay": step}, reasons)
    found = gate(CLAIMS, allowed, answer)
    assert found is None or inside(allowed, found)


@given(
    st.sampled_from(["approve", "refuse", "check"]),
    st.integers(0, 50_000),
    st.sets(st.sampled_from([*CLAIMS.reasons]), max_size=2),
)
def test_everything_declared_leaves_as_it_is(decision: str, hundreds: int, reasons: set[str]) -> None:
    answer = {"decision": decision, "pay": hundreds * 100, "reasons": sorted(reasons)}
    found = gate(CLAIMS, CLAIMS, answer)
    assert found is not None
    assert {**found, "reasons": sorted(found["reasons"])} == answer


# --- coarser outputs


@given(st.integers(0, 50_000), st.integers(1, 50_000))
def test_a_coarser_amount_is_the_next_lower_multiple(hundreds: int, multiple: int) -> None:
    allowed = coarsen(CLAIMS, {"pay": multiple * 100}, True)
    found = gate(CLAIMS, allowed, {"decision": "approve", "pay": hundreds * 100})
    assert found is not None
    assert found["pay"] == hundreds // multiple * multiple * 100


def test_coarse_steps_count_from_the_low_end() -> None:
    made = manifest({"n": {"type": "int64", "range": [-7, 5], "step": 3}})
    allowed = coarsen(made, {"n": 6}, False)
    assert allowed.outputs["n"] == Number(type="int64", range=(-7, 5), step=6)
    found = {value: gate(made, allowed, {"n": value}) for value in range(-8, 7)}
    assert {v: f["n"] for v, f in found.items() if f} == {-7: -7, -4: -7, -1: -1, 2: -1, 5: 5}


def test_without_reasons_none_leaves_and_a_wrong_one_is_still_no_decision() -> None:
    allowed = coarsen(CLAIMS, {}, False)
    assert allowed.maximum_reasons == 0
    assert gate(CLAIMS, allowed, GOOD) == {"decision": "approve", "pay": 1200, "reasons": []}
    assert gate(CLAIMS, allowed, GOOD | {"reasons": ["other"]}) is None


@pytest.mark.parametrize(
    ("steps", "told"),
    [
        ({"nothing": 100}, "limits.steps.nothing: claims has no such number"),
        ({"decision": 100}, "limits.steps.decision: claims has no such number"),
        ({"pay": 150}, "limits.steps.pay: 150 is no multiple of the declared step 100"),
        ({"pay": 50}, "limits.steps.pay: 50 is no multiple"),
        ({"pay": 0}, "limits.steps.pay: 0 is no multiple"),
        ({"pay": -100}, "limits.steps.pay: -100 is no multiple"),
    ],
)
def test_a_step_that_does_not_fit_is_named(steps: dict[str, int], told: str) -> None:
    with pytest.raises(AtollError) as caught:
        coarsen(CLAIMS, steps, True)
    assert caught.value.code == "E_SCRIPT"
    assert told in caught.value.text


def test_coarsening_leaves_the_declared_manifest() -> None:
    before = CLAIMS.document()
    allowed = coarsen(CLAIMS, {"pay": 5000}, False)
    assert CLAIMS.document() == before
    assert allowed.outputs["decision"] == CLAIMS.outputs["decision"]
    assert outcomes(allowed) == 3 * 1001 + 1


# --- bits

NUMBERS = st.builds(
    lambda low, step, count: {"type": "int64", "range": [low, low + step * count], "step": step},
    st.integers(-3, 3),
    st.integers(1, 3),
    st.integers(0, 4),
)
OUTPUTS = (
    NUMBERS
    | st.just({"type": "bool"})
    | st.integers(2, 4).map(lambda n: {"type": "choice", "values": [f"v{i}" for i in range(n)]})
)


@st.composite
def small(draw: st.DrawFn) -> Manifest:
    reasons = draw(st.integers(0, 3))
    return manifest(
        draw(st.dictionaries(st.sampled_from(["p", "q"]), OUTPUTS, min_size=1)),
        reasons,
        draw(st.integers(1, reasons)) if reasons else 0,
    )


def everything(made: Manifest) -> list[Any]:
    """Answers that cover all domains and reach beyond each."""
    values: list[list[Any]] = []
    for output in made.outputs.values():
        if isinstance(output, Choice):
            values.append([*output.values, "other"])
        elif isinstance(output, Flag):
            values.append([True, False, 1])
        else:
            values.append([*range(output.range[0] - 1, output.range[1] + 2)])
    codes = [*made.reasons, "other"]
    reasons = [list(each) for n in range(4) for each in itertools.permutations(codes, n)]
    return [
        dict(zip(made.outputs, chosen, strict=True)) | {"reasons": each}
        for chosen in itertools.product(*values)
        for each in reasons
    ]


def distinct(declared: Manifest, allowed: Manifest) -> int:
    return len({repr(gate(declared, allowed, answer)) for answer in everything(declared)})


@given(small())
def test_as_many_answers_leave_as_are_counted(made: Manifest) -> None:
    assert distinct(made, made) == outcomes(made)


@given(small(), st.integers(1, 4), st.booleans())
def test_as_many_coarser_answers_leave_as_are_counted(made: Manifest, multiple: int, reasons: bool) -> None:
    steps = {name: o.step * multiple for name, o in made.outputs.items() if isinstance(o, Number)}
    allowed = coarsen(made, steps, reasons)
    assert distinct(made, allowed) == outcomes(allowed)
    assert outcomes(allowed) <= outcomes(made)


def test_sizes() -> None:
    assert {name: size(output) for name, output in CLAIMS.outputs.items()} == {"decision": 3, "pay": 50_001}
    assert size(Flag(type="bool")) == 2
    # None, one, or two of five reasons.
    assert reason_sets(CLAIMS) == 1 + 5 + 10
    assert outcomes(CLAIMS) == 3 * 50_001 * 16 + 1
    assert bits_per_call(CLAIMS, False) == millibits(3 * 50_001 * 16 + 1) + TIMING_MILLIBITS


def test_what_is_held_and_denied_is_one_more_outcome() -> None:
    assert outcomes(CLAIMS, True) == outcomes(CLAIMS) + 1
    few = manifest({"p": {"type": "bool"}}, 0, 0)
    assert (bits_per_call(few, False), bits_per_call(few, True)) == (1585 + 3000, 2000 + 3000)


@given(st.integers(1, 2**200))
def test_millibits_are_the_least_that_hold_the_outcomes(count: int) -> None:
    bits = millibits(count)
    assert 2**bits >= count**1000
    assert bits == 0 or 2 ** (bits - 1) < count**1000


@pytest.mark.parametrize(
    ("count", "bits"), [(1, 0), (2, 1000), (3, 1585), (4, 2000), (1024, 10_000), (1025, 10_002)]
)
def test_known_millibits(count: int, bits: int) -> None:
    assert millibits(count) == bits
