"""Rule code: what is refused by name, what a hostile author gets out, and that the stated dependencies are all."""

from __future__ import annotations

import copy
import datetime
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydantic_monty as monty
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from atoll.sandbox.typecheck import annotated, type_check
from atoll.scripts import vocabulary as words
from atoll.scripts.dataflow import DECISION_MADE, every_source
from atoll.scripts.manifest import Manifest, parse, parse_toml
from atoll.scripts.outputs import gate, outcomes
from atoll.scripts.rules import Rules, check_rules
from atoll.scripts.stubs import stubs

from . import programs
from .hostile_rules import CASES, Case
from .run_rules import FailedError, inputs, run, wrapped

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "scripts" / "claims"
CLAIMS = parse_toml((EXAMPLE / "package.toml").read_text(encoding="utf-8"), "package.toml")
SOURCE = (EXAMPLE / "rules.py").read_text(encoding="utf-8")
TARIFF = {
    "ward": {"item": "ward", "cap": 60000, "rate_bp": 9000},
    "surgery": {"item": "surgery", "cap": 3000000, "rate_bp": 8000},
}
# Calls whose claims differ in age only.
CALLS = [
    {
        "claim": {
            "admitted": datetime.date(2026, 1, 1),
            "discharged": datetime.date(2026, 1, 9),
            "diagnosis": "fracture",
            "age": age,
        },
        "bills": [
            {"item": "ward", "quantity": 8, "price": 50000},
            {"item": "surgery", "quantity": 1, "price": 9},
        ],
        "tariff": TARIFF,
        "arguments": {"deductible": 0, "insured": 5000000},
        "features": {"billed": 400009, "items": 2, "days": 8},
        "today": datetime.date(2026, 1, 2),
    }
    for age in (0, 1, 2, 3, 5, 6, 8, 13)
]


@pytest.fixture(scope="module")
def pool() -> Iterator[monty.Monty]:
    with monty.Monty(max_processes=1) as pool:
        yield pool


def answer(pool: monty.Monty, rules: Rules, manifest: Manifest, visible: dict[str, Any]) -> Any:
    """What the rules answer; None where they fail."""
    code = wrapped(rules.code, manifest, rules.parameters)
    try:
        return run(pool, code, inputs(copy.deepcopy(visible), manifest))
    except FailedError:
        return None


# The corpus.


def test_the_corpus_is_large_enough_and_has_no_name_twice() -> None:
    assert len(CASES) >= 100
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", [c for c in CASES if c.code], ids=str)
def test_a_hostile_source_is_refused_by_name(case: Case) -> None:
    rules = check_rules(case.source, CLAIMS)
    assert case.code in {f.code for f in rules.findings}
    assert (rules.parameters, rules.dependencies, rules.stubs, rules.code) == ((), {}, "", "")
    for finding in rules.findings:
        assert finding.place.startswith("rules.py")
        assert finding.text


@pytest.mark.parametrize("case", [c for c in CASES if not c.code], ids=str)
def test_what_a_hostile_source_gets_out_is_stated(case: Case, pool: monty.Monty) -> None:
    rules = check_rules(case.source, CLAIMS)
    assert rules.findings == ()
    # What is stopped needs no eight runs of its time limit.
    calls = CALLS if case.leaves > 1 or case.decides else CALLS[:2]
    left = [gate(CLAIMS, CLAIMS, answer(pool, rules, CLAIMS, call)) for call in calls]
    different = {repr(sorted(a.items())) if a else None for a in left}
    assert len(different) == case.leaves <= outcomes(CLAIMS)
    assert any(a is not None for a in left) == case.decides
    if case.shown:
        name, source = case.shown
        assert source in rules.dependencies[name]


@pytest.mark.parametrize(
    "case",
    [
        c
        for c in CASES
        if not c.code
        and c.decides
        # A limit ends the session.
        and c.name not in ("a column by an endless loop", "a column by memory")
    ],
    ids=str,
)
def test_a_call_leaves_nothing_for_the_next_one(case: Case, pool: monty.Monty) -> None:
    """Two calls in one interpreter answer as each does alone."""
    rules = check_rules(case.source, CLAIMS)
    code = wrapped(rules.code, CLAIMS, rules.parameters)
    body, _, last = code.rstrip("\n").rpartition("\n")
    for first, second in ((CALLS[1], CALLS[2]), (CALLS[2], CALLS[1])):
        alone = answer(pool, rules, CLAIMS, second)
        with pool.checkout() as session:
            session.feed_run(body)
            for call in (first, second):
                session.feed_run("import random as _random\n_random.seed(7)")
                try:
                    together = session.feed_run(last, inputs=inputs(copy.deepcopy(call), CLAIMS))
                except monty.MontyError:
                    together = None
        assert gate(CLAIMS, CLAIMS, together) == gate(CLAIMS, CLAIMS, alone)


# The subset.


def test_the_example_passes_and_answers(pool: monty.Monty) -> None:
    rules = check_rules(SOURCE, CLAIMS)
    assert rules.findings == ()
    assert rules.parameters == ("claim", "bills", "tariff", "arguments", "features")
    assert answer(pool, rules, CLAIMS, CALLS[0]) == {
        "decision": "approve",
        "pay": 360000,
        "reasons": [],
    }


def test_dependencies_of_the_example() -> None:
    found = check_rules(SOURCE, CLAIMS).dependencies
    assert set(found) == {"decision", "pay", "reasons", DECISION_MADE}
    common = {
        *(("bills", c) for c in ("", "item", "quantity", "price")),
        *(("tariff", c) for c in ("item", "cap", "rate_bp")),
        *(("claim", ""), ("claim", "diagnosis"), ("arguments", "deductible")),
        *(("features", "billed"), ("features", "days")),
    }
    assert found["decision"] == common
    assert found["pay"] == common | {("arguments", "insured")}
    unread = {("claim", "age"), ("claim", "admitted"), ("claim", "discharged"), ("today", "")}
    assert not unread & set().union(*found.values())


ALLOWED = {
    "constants": 'LIMITS = (("a", 1), ("b", 2))\nNAMES = frozenset(("a", "b"))\nRATE = 5 * 100\nLOW: int = -5\n',
    "imports": "import math\nfrom datetime import date, timedelta\nimport random\n",
    "helper": "def f(line: Bills, cap: int = 3, *, rate: int = 1) -> int:\n    return line['price'] * cap * rate\n",
    "table": "def f(table, key):\n    row = table(key)\n    return 0 if row is None else row['cap']\n",
}


@pytest.mark.parametrize(
    ("top", "lines"),
    [
        ("constants", ["x = sum(v for k, v in LIMITS if k in NAMES) + RATE + LOW"]),
        ("imports", ["x = math.floor(1.5) + date(2026, 1, 1).year + (today - timedelta(days=3)).day"]),
        ("imports", ['d = date.fromisoformat("2026-01-01")', "x = random.randint(1, 6) + d.weekday()"]),
        ("helper", ["x = sum([f(line, rate=2) for line in bills])"]),
        ("helper", ["rows = sorted(bills, key=lambda r: r['price'], reverse=True)", "x = len(rows)"]),
        ("table", ['x = f(tariff, "ward") + f(key="surgery", table=tariff)']),
        ("", ["x = f\"{claim['age']:05d} {1.5:.2f} {1000:,}\"", "a, (b, c) = 1, (2, 3)"]),
        ("", ["d = {}", "for k, v in claim.items():", "    d[k] = v", "x = list(d.keys())"]),
        ("", ["x = [y for y in bills if y['price'] > 3][:2]", "assert x", "x += [1]"]),
        ("", ["for i, line in enumerate(bills):", "    if i > 2:", "        break", "    continue"]),
        ("", ["x = 10 ** 4 * (1 << 8) % 7 | 3", "n = 5", "while n > 0:", "    n -= 1"]),
        ("", ["x = 'a' in {'a': 1}.keys() and 1 < 2 < 3 or not claim is None"]),
    ],
)
def test_what_authors_need_is_allowed_and_runs(top: str, lines: list[str], pool: monty.Monty) -> None:
    head = "def decide(claim, bills, tariff, arguments, features, today):\n"
    body = "".join(f"    {line}\n" for line in lines)
    source = ALLOWED.get(top, "") + head + body + '    return {"decision": "approve", "pay": 0}\n'
    rules = check_rules(source, CLAIMS)
    assert rules.findings == ()
    assert answer(pool, rules, CLAIMS, CALLS[0]) == {"decision": "approve", "pay": 0}


def test_a_finding_names_the_line_and_the_column_in_characters() -> None:
    source = 'def decide(claim):\n    赔 = "赔付"\n    return {"decision": "拒绝", "pay": open("x")}\n'
    places = {f.code: f.place for f in check_rules(source, CLAIMS).findings}
    assert places["rules-name"] == "rules.py:2:5"
    assert places["rules-call"] == "rules.py:3:38"


@given(st.text(max_size=60) | st.binary(max_size=60).map(lambda b: b.decode("latin-1")))
def test_any_text_gets_findings_and_never_an_exception(text: str) -> None:
    assert check_rules(text, CLAIMS).findings


@given(st.lists(st.sampled_from(SOURCE.split()), max_size=40), st.sampled_from([" ", "\n", "\n    ", ""]))
def test_parts_of_rules_never_raise(parts: list[str], between: str) -> None:
    check_rules(between.join(parts), CLAIMS)


def test_what_runs_is_what_was_checked() -> None:
    rules = check_rules("# a comment\n" + SOURCE, CLAIMS)
    assert "#" not in rules.code
    assert check_rules(rules.code, CLAIMS).code == rules.code


def test_the_page_for_authors_lists_every_word_and_every_finding() -> None:
    page = (ROOT / "docs" / "reference" / "script-rules.md").read_text(encoding="utf-8")
    lists = {
        "builtins": words.BUILTINS,
        "`math`": words.MATH,
        "`random`": words.RANDOM,
        "methods of text": words.STRING_METHODS,
        "methods of lists": words.LIST_METHODS,
        "methods of dicts": words.DICT_METHODS,
        "methods of sets": words.SET_METHODS,
        "methods of dates": words.DATE_METHODS,
        "methods of numbers": words.NUMBER_METHODS,
        "attributes": words.ATTRIBUTES,
    }
    for name, known in lists.items():
        row = next(line for line in page.splitlines() if line.startswith(f"| {name} |"))
        assert set(row.split("`")[3 if name.startswith("`") else 1].split()) == known
    code = "".join(
        (ROOT / "atoll" / "scripts" / f"{n}.py").read_text() for n in ("subset", "expressions", "rules")
    )
    for finding in set(re.findall(r'"(rules-[a-z]+)"', code)):
        assert f"`{finding}`" in page


@pytest.mark.parametrize("module", ["ast", "statistics", "difflib", "heapq", "shlex", "calendar", "bisect"])
def test_ordinary_python_never_raises(module: str) -> None:
    source = Path(str(importlib.import_module(module).__file__)).read_text(encoding="utf-8")
    assert check_rules(source, CLAIMS).findings
    for function in source.split("\ndef ")[1:]:
        check_rules(f"def {function}\n{SOURCE}", CLAIMS)


# Dependencies.


def depends(*lines: str, top: str = "", out: str = "x") -> set[tuple[str, str]]:
    """What `pay` depends on, when it is `out` after these lines."""
    source = (
        top
        + "def decide(claim, bills, tariff, arguments, features, today):\n"
        + "".join(f"    {line}\n" for line in lines)
        + f'    return {{"decision": "approve", "pay": {out}}}\n'
    )
    rules = check_rules(source, CLAIMS)
    assert rules.findings == ()
    assert rules.dependencies["decision"] <= rules.dependencies[DECISION_MADE]
    return set(rules.dependencies["pay"])


CLAIM = ("claim", "")
BILLS = ("bills", "")
AGE = ("claim", "age")
PRICE = ("bills", "price")


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["x = 3"], set()),
        (["x = claim['age']"], {CLAIM, AGE}),
        (["x = claim is None"], {CLAIM}),
        (["x = len(bills)"], {BILLS}),
        (["x = 0", "for line in bills:", "    x += line['price']"], {BILLS, PRICE}),
        (["x = 0", "for line in bills:", "    x += 1"], {BILLS}),
        (["x = sum([line['quantity'] for line in bills])"], {BILLS, ("bills", "quantity")}),
        (["x = len([1 for line in bills if line['price'] > 3])"], {BILLS, PRICE}),
        (["x = max(bills, key=lambda line: line['price'])['quantity']"], {BILLS, PRICE, ("bills", "quantity")}),
        (["x = features['days'] + arguments['insured']"], {("features", "days"), ("arguments", "insured")}),
        (["x = today.year"], {("today", "")}),
        (["x = tariff('ward')['cap']"], {("tariff", "item"), ("tariff", "cap")}),
        (["x = tariff(claim['diagnosis']) is None"], {CLAIM, ("claim", "diagnosis"), ("tariff", "item")}),
        (["x = sum(arguments.values())"], {("arguments", "insured"), ("arguments", "deductible")}),
        (["x = arguments[claim['diagnosis']]"],
         {CLAIM, ("claim", "diagnosis"), ("arguments", "insured"), ("arguments", "deductible")}),
        (["d = {'a': claim['age'], 'b': 1}", "x = d['b']"], set()),
        (["a, x = claim['age'], 1"], set()),
        (["x = claim['age']", "x = 1"], set()),
        (["x = 1", "if claim['age'] > 3:", "    x = 1"], {CLAIM, AGE}),
        (["if claim['age'] > 3:", "    y = 1", "x = 2"], set()),
        (["if claim['age'] > 3:", "    return {'decision': 'approve', 'pay': 1}", "x = 2"], {CLAIM, AGE}),
        (["y = []", "z = y", "z.append(claim['age'])", "x = y[0]"], {CLAIM, AGE}),
        (["x = 0", "for line in bills:", "    if line['price'] > 3:", "        break", "    x += 1"], {BILLS, PRICE}),
        (["for line in bills:", "    x = line['price']", "for line in bills:", "    x = line['quantity']"],
         {BILLS, PRICE, ("bills", "quantity")}),
    ],
)  # fmt: skip
def test_dependencies_are_exact_where_the_code_is_plain(
    lines: list[str], expected: set[tuple[str, str]]
) -> None:
    assert depends(*lines) == expected


POP = "def pop(rows, n):\n    if n > 3:\n        return 0\n    rows.append(1)\n    return 0\n"
FILL = "def fill(rows, n):\n    for i in range(n):\n        rows.append(i)\n    return 'abc'\n"
PUT = "def put(rows):\n    rows.append(1)\n    return 0\n"
OLD = "claim['age'] > 3"


@pytest.mark.parametrize(
    ("lines", "top"),
    [
        # What a jump skips.
        (["rows = []", "pop(rows, claim['age'])", "x = len(rows)"], POP),
        (["x = 0", "for i in range(3):", f"    if {OLD}:", "        break", "    x = i"], ""),
        (["x = 0", "for i in range(3):", f"    if {OLD}:", "        continue", "    x = i"], ""),
        (["for i in (1, 2):", "    x = claim['age']", "    if features['days'] > i:", "        break", "    x = 0"],
         ""),
        (["for i in (1, 2):", "    x = claim['age']", "    if features['days'] > i:", "        continue", "    x = 0"],
         ""),
        (["x = 0", "while x < claim['age']:", "    x += 1"], ""),
        (["a, b, x = 0, 0, 0", "for i in range(4):", "    x = b", "    b = a", "    a = claim['age']"], ""),
        (["rows = []", f"if {OLD}:", "    put(rows)", "x = len(rows)"], PUT),
        (["rows = []", "for i in range(claim['age']):", "    put(rows)", "x = len(rows)"], PUT),
        # What is not evaluated.
        (["rows = [1]", f"y = {OLD} and rows.pop()", "x = len(rows)"], ""),
        (["rows = []", f"if {OLD}:", "    rows.append(1)", "x = (rows or None) is None"], ""),
        (["y = random.random() if claim['age'] > 3 else 0", "x = random.random()"], "import random\n"),
        (["rows = [1]", f"y = {OLD} or rows.pop()", "x = len(rows)"], ""),
        (["rows = [1]", f"y = rows.pop() if {OLD} else 0", "x = len(rows)"], ""),
        (["rows = [1, 2, 3]", "y = sorted(range(claim['age']), key=lambda v: rows.pop())", "x = len(rows)"], ""),
        (["rows = []", f"y = [rows.append(i) for i in range(3) if {OLD}]", "x = len(rows)"], ""),
        (["rows = []", "y = [rows.append(1) for i in range(claim['age'])]", "x = len(rows)"], ""),
        # What has two names.
        (["rows = []", "other = rows", "other += [claim['age']]", "x = sum(rows)"], ""),
        (["rows = []", "other = (rows, 1)", "other[0].append(claim['age'])", "x = sum(rows)"], ""),
        (["rows = []", "other = {'a': rows}", "other['a'].append(claim['age'])", "x = sum(rows)"], ""),
        (["rows = []", "other = sum([], rows)", "other.append(claim['age'])", "x = rows[0]"], ""),
        (["rows = []", "other = {}.setdefault('a', rows)", "other.append(claim['age'])", "x = rows[0]"], ""),
        (["rows = []", "other = {}.get('a', rows)", "other.append(claim['age'])", "x = rows[0]"], ""),
        (["rows = []", "other = min([], default=rows)", "other.append(claim['age'])", "x = rows[0]"], ""),
        (["rows = []", "other = [] or rows", "other.append(claim['age'])", "x = rows[0]"], ""),
        (["rows = []", "other = [rows].copy()[:][0]", "other.append(claim['age'])", "x = rows[0]"], ""),
        (["rows = []", "for i, other in enumerate([rows]):", "    other.append(claim['age'])", "x = rows[0]"], ""),
        (["rows = []", "for other, i in zip([rows], [1]):", "    other.append(claim['age'])", "x = rows[0]"], ""),
        (["rows = []", "for k, other in {'a': rows}.items():", "    other.append(claim['age'])", "x = rows[0]"], ""),
        (["a, b = {'n': 1}, {'n': 1}", f"(a if {OLD} else b)['n'] = 2", "x = a['n']"], ""),
        (["a, b = [], []", f"(a if {OLD} else b).append(2)", "x = len(a)"], ""),
        (["for line in bills:", "    line['quantity'] = claim['age']", "x = bills[0]['quantity']"], ""),
        (["features['days'] = claim['age']", "x = features['days']"], ""),
        # What is taken away, and where it stood.
        (["rows = [1, 2]", f"if {OLD}:", "    rows.pop()", "x = rows[0]"], ""),
        (["rows = [1, 2]", f"if {OLD}:", "    rows.clear()", "x = len(rows)"], ""),
        (["rows = [1, 2]", f"if {OLD}:", "    rows.reverse()", "x = rows[0]"], ""),
        (["rows = [1, 2]", "rows.remove(claim['age'])", "x = len(rows)"], ""),
        (["rows = [1, 2]", "rows.insert(claim['age'], 3)", "x = rows[0]"], ""),
        (["rows = [1, 2]", "x = rows.pop(claim['age'])"], ""),
        (["rows = [1, 2]", "rows.sort(key=lambda v: v * claim['age'])", "x = rows[0]"], ""),
        (["x = sorted([1, 2], key=lambda v: v * claim['age'])[0]"], ""),
        (["x = min([1, 2], key=lambda v: v * claim['age'])"], ""),
        (["rows = [1, 2]", "rows[claim['age'] % 2] = 5", "x = rows[0]"], ""),
        (["rows = [1, 2]", "x = rows[claim['age'] % 2]"], ""),
        (["x = len([1, 2, 3][claim['age']:])"], ""),
        (["d = {'a': 1, 'b': 2}", f"y = d.pop('a' if {OLD} else 'b')", "x = d.get('a', 0)"], ""),
        (["d = {}", f"if {OLD}:", "    d['a'] = 1", "d['b'] = 2", "d['a'] = 3", "x = list(d.values())[0]"], ""),
        (["d = {}", f"if {OLD}:", "    d['a'] = 1", "x = len(d)"], ""),
        (["d = {}", f"if {OLD}:", "    d['a'] = 1", "x = 'a' in d"], ""),
        (["d = {}", "d[claim['age']] = 1", "x = 3 in d"], ""),
        (["d = {}", "d[claim['age']] = 1", "x = d.get(3, 0)"], ""),
        (["d = {}", "d.setdefault('a', claim['age'])", "x = d['a']"], ""),
        (["x = {1: 5}.get(claim['age'], 0)"], ""),
        (["d = {'a': 1} | {'b': 2}", "d.update({'c': claim['age']})", "x = d['c']"], ""),
        (["d = {'a': 1} | {'b': 2}", "d |= {'c': claim['age']}", "x = d['c']"], ""),
        (["d = dict([('a', claim['age'])])", "x = d['a']"], ""),
        (["d = dict(a=claim['age'])", "x = d['a']"], ""),
        (["d = dict(key=claim['age'])", "x = d['key']"], ""),
        (["x = same(key=claim['age'])"], "def same(key):\n    return key\n"),
        (["d = {'a': 1}", "d.update([('a', claim['age'])])", "x = d['a']"], ""),
        (["d = {k: claim['age'] for k in ('a', 'b')}", "x = d['b']"], ""),
        # What counts, compares and writes values.
        (["x = len({1, claim['age']})"], ""),
        (["s = {1}", "s.add(claim['age'])", "x = len(s)"], ""),
        (["s = {1, 2}.difference([claim['age']])", "x = len(s)"], ""),
        (["x = [claim['age']] == [3]"], ""),
        (["x = 3 in [claim['age']]"], ""),
        (["x = claim == {}"], ""),
        (["x = len(str(claim))"], ""),
        (['x = len(f"{[claim]}")'], ""),
        (["x = len('%s' % [claim])"], ""),
        (["x = len(','.join([str(v) for v in claim.values()]))"], ""),
        (["x = sum([[claim['age']], [1]], [])[0]"], ""),
        (["x = divmod(claim['age'], 3)[1]"], ""),
        (["x = any([False, claim['age'] > 3])"], ""),
        (["a, (b, x) = 1, (2, claim['age'])"], ""),
        (["for k in claim:", "    x = claim[k]"], ""),
        (["x = 0", "for i in range(claim['age']):", "    x += 1"], ""),
        (["x = max(1, claim['age'])"], ""),
        (["x = -claim['age']"], ""),
        (["x = not claim['age']"], ""),
        (["x = 1 if claim['age'] else 1"], ""),
        # The order of the run.
        (["rows = []", "x = fill(rows, claim['age']).find('c' if len(rows) > 3 else 'a')"], FILL),
        (["rows = []", "x = [fill(rows, claim['age']), len(rows)][1]"], FILL),
        (["rows = []", "d = {fill(rows, claim['age']): len(rows)}", "x = d['abc']"], FILL),
    ],
)  # fmt: skip
def test_no_way_around_the_analysis(lines: list[str], top: str) -> None:
    assert AGE in depends(*lines, top=top)


@pytest.mark.parametrize(
    "lines",
    [
        [f"if {OLD}:", "    return None"],
        [f"if {OLD}:", "    y = 'x' * 10 ** 10"],
        [f"if {OLD}:", "    while True:", "        pass"],
        [f"while {OLD}:", "    pass"],
        [f"assert {OLD}"],
        ["y = 1 // claim['age']"],
        ["y = [1][claim['age']]"],
        ["y = 'x' * claim['age']"],
        ["y = list(range(claim['age']))"],
        ["y = [0 for i in range(claim['age'])]"],
        ["d = {}", f"if {OLD}:", "    d['a'] = 1", "y = d['a']"],
        [f"if {OLD}:", "    y = 1", "z = y"],
        ["a, b = [1] * claim['age']"],
        ["y = sorted([claim['age'], 'a'])"],
        ["rows = [claim['age'], 'a']", "rows.sort()"],
        ["rows = [1]", "rows.remove(claim['age'])"],
        ["y = tariff(claim['age'])['cap']"],
        ["y = int(str(claim['age']))"],
    ],
)
def test_whatever_can_fail_counts_for_the_decision(lines: list[str]) -> None:
    body = "".join(f"    {line}\n" for line in lines)
    source = f'def decide(claim, tariff):\n{body}    return {{"decision": "approve", "pay": 0}}\n'
    found = check_rules(source, CLAIMS).dependencies
    assert AGE in found[DECISION_MADE]
    assert AGE not in found["pay"] or "return" in body
    # Too many rows, and features that cannot be computed, give no decision whatever the rules say.
    assert {CLAIM, BILLS, ("features", "billed")} <= found[DECISION_MADE]


def test_a_call_is_followed_with_its_arguments() -> None:
    top = "def f(a, b):\n    if b > 1:\n        return a\n    return 0\n"
    assert depends("x = f(features['days'], 3)", "y = f(claim['age'], 3)", top=top) == {("features", "days")}
    assert depends("x = f(1, features['days'])", top=top) == {("features", "days")}


def test_code_that_is_too_much_to_follow_depends_on_everything() -> None:
    top = "def f0(a):\n    return a\n"
    for n in range(1, 11):
        top += f"def f{n}(a):\n    return sum([{', '.join([f'f{n - 1}(a)'] * 4)}])\n"
    assert depends("x = f10(1)", top=top) == set(every_source(CLAIMS))


def _differs(first: Any, second: Any, name: str) -> bool:
    """Whether an output is there in both answers, and not the same."""
    return isinstance(first, dict) and isinstance(second, dict) and first.get(name) != second.get(name)


def _check_program(pool: monty.Monty, draw: programs.Choose, rounds: int) -> None:
    manifest = programs.MANIFEST
    source = programs.Programs(draw).program()
    rules = check_rules(source, manifest)
    assert rules.findings == (), source
    for _ in range(rounds):
        before = programs.data(draw)
        first = answer(pool, rules, manifest, before)
        for changed, after in programs.changes(before, draw):
            if all(changed in sources for sources in rules.dependencies.values()):
                continue
            second = answer(pool, rules, manifest, after)
            for name in (*manifest.outputs, "reasons"):
                if changed not in rules.dependencies[name]:
                    assert not _differs(first, second, name), (name, changed, before, after, source)
            if changed not in rules.dependencies[DECISION_MADE]:
                made = [gate(manifest, manifest, a) is not None for a in (first, second)]
                assert made[0] == made[1], (changed, before, after, source)


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.data())
def test_a_source_that_is_not_listed_changes_nothing(pool: monty.Monty, data: st.DataObject) -> None:
    """Non-interference: the most important property of the review."""
    _check_program(pool, lambda n: data.draw(st.integers(0, n - 1)), rounds=2)


@settings(max_examples=100)
@given(st.randoms(use_true_random=False))
def test_a_source_that_is_not_listed_changes_nothing_in_longer_programs(
    pool: monty.Monty, random: Any
) -> None:
    _check_program(pool, random.randrange, rounds=2)


# Types.


def test_the_example_has_no_wrong_types() -> None:
    assert type_check(SOURCE, CLAIMS) == []


@pytest.mark.parametrize(
    ("old", "new", "line", "text"),
    [
        ('line["price"] > entry', 'line["prize"] > entry', 23, '"prize"'),
        ("        if entry is None:\n            continue\n", "", 21, "None"),
        ('features["days"] > 180', 'features["days"] > "180"', 33, ">"),
        (" -> dict:\n    if claim is None", ":\n    if claim is None", 0, ""),
        ('"decision": "check"', '"decision": "later"', 34, '"later"'),
        ('covered(line, entry["cap"]', "covered(line, line['item']", 25, "covered"),
        ('claim["diagnosis"] in', 'claim["diagnose"] in', 15, '"diagnose"'),
    ],
)
def test_a_wrong_type_is_reported_with_its_line(old: str, new: str, line: int, text: str) -> None:
    assert old in SOURCE
    found = type_check(SOURCE.replace(old, new).replace(") -> dict:", "):"), CLAIMS)
    assert (found != []) == (line > 0)
    if line:
        assert any(f.place.startswith(f"rules.py:{line}:") and text in f.text for f in found), found
        assert {f.code for f in found} == {"rules-type"}


def test_annotations_of_the_author_stay_and_lines_do_too() -> None:
    source = "def decide(\n    claim: Claim | None,  # (a remark)\n    today,\n) :\n    return None\n"
    found = annotated(source, CLAIMS)
    assert found == source.replace("today,", "today: Date,").replace(") :", ") -> Answer | None :")


def test_stubs_name_all_that_rules_see() -> None:
    found = stubs(CLAIMS)
    for name in ("Bills", "Claim", "Tariff", "TariffRow", "Arguments", "Features", "Answer", "Date"):
        assert f"\n{name} = " in found
    assert check_rules(SOURCE, CLAIMS).stubs == found
    compile(found, "stubs", "exec")


def test_stubs_of_strange_names(pool: monty.Monty) -> None:
    """Names that meet in CamelCase, and columns that are no identifiers."""
    document = CLAIMS.model_dump(mode="json", exclude_none=True)
    bills = document["inputs"]["bills"]
    document["inputs"] |= {"a_b": bills | {"columns": {'单价 "\\': "int64?"}}, "a__b": bills, "answer": bills}
    manifest = parse(document)
    source = (
        "def decide(a_b, a__b, answer):\n"
        "    for line in a_b:\n"
        "        x = line['单价 \"\\\\']\n"
        "        if x is not None and x > a__b[0]['price'] + answer[0]['price']:\n"
        '            return {"decision": "approve", "pay": x}\n'
        "    return None\n"
    )
    assert check_rules(source, manifest).findings == ()
    assert type_check(source, manifest, pool) == []
    assert type_check(source.replace("['price'] +", "['prize'] +"), manifest, pool) != []
