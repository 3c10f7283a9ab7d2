"""Rule code that means harm, and what becomes of it.

A case is refused by name at review, or runs to `leaves` different outcomes over the test's calls: what leaves the gate,
no decision included. An attacker's code carries at most log2 of that per call, and never more than the review states.
"""

from __future__ import annotations

from dataclasses import dataclass

from atoll.scripts.sources import Source


@dataclass(frozen=True)
class Case:
    """One attempt.

    Attributes:
        code: the finding that refuses it; empty if it passes the static check.
        leaves: outcomes over the calls of the test, whose claims differ in age only; 1 carries nothing.
        decides: whether any of the outcomes is a decision.
        shown: what the review shows of it: an output, and a source that must be listed.
    """

    name: str
    source: str
    code: str = ""
    leaves: int = 1
    decides: bool = False
    shown: tuple[str, Source] | None = None

    def __str__(self) -> str:
        return self.name


_HEAD = "def decide(claim, bills, tariff, arguments, features, today):\n"
_END = '    return {"decision": "approve", "pay": 0, "reasons": []}\n'
AGE: Source = ("claim", "age")


def _entry(*lines: str, top: str = "") -> str:
    return top + _HEAD + "".join(f"    {line}\n" for line in lines) + _END


def _refused(name: str, code: str, *lines: str, top: str = "") -> Case:
    return Case(name, _entry(*lines, top=top), code)


def _stopped(name: str, *lines: str, top: str = "") -> Case:
    """No decision, whatever the call."""
    return Case(name, _entry(*lines, top=top))


_REFUSED = (
    # The world outside.
    _refused("the file system", "rules-import", top="import os\n"),
    _refused("files by pathlib", "rules-import", top="from pathlib import Path\n"),
    _refused("a file", "rules-call", 'text = open("/etc/passwd").read()'),
    _refused("the network", "rules-import", top="import socket\n"),
    _refused("the network by urllib", "rules-import", top="import urllib.request\n"),
    _refused("another program", "rules-import", top="from subprocess import run\n"),
    _refused("the environment", "rules-name", 'secret = os.environ["HOME"]'),
    _refused("the interpreter", "rules-import", top="import sys\n"),
    _refused("memory by ctypes", "rules-import", top="import ctypes\n"),
    _refused("the clock", "rules-import", top="import time\n"),
    _refused(
        "the clock by datetime", "rules-attribute", "now = datetime.datetime.now()", top="import datetime\n"
    ),
    _refused("the clock by date", "rules-attribute", "now = date.today()", top="from datetime import date\n"),
    _refused("sleep", "rules-import", top="from time import sleep\n"),
    _refused("all names of a module", "rules-import", top="from math import *\n"),
    _refused("a neighbouring package", "rules-import", top="from . import other\n"),
    _refused("import in a function", "rules-statement", "import math"),
    _refused("__import__", "rules-call", '__import__("os")'),
    _refused("print", "rules-call", 'print(claim["age"])'),
    _refused("input", "rules-call", "answer = input()"),
    _refused("a debugger", "rules-call", "breakpoint()"),
    # Reflection.
    _refused("eval", "rules-call", 'eval("1")'),
    _refused("exec", "rules-call", 'exec("x = 1")'),
    _refused("compile", "rules-call", 'compile("1", "", "eval")'),
    _refused("eval in fullwidth letters", "rules-text", 'ｅｖａｌ("1")'),  # the parser reads them as eval
    _refused("a name in other letters", "rules-name", "сlaim = 1"),
    _refused("getattr", "rules-call", 'getattr(claim, "__class__")'),
    _refused("setattr", "rules-call", 'setattr(claim, "x", 1)'),
    _refused("globals", "rules-call", "names = globals()"),
    _refused("vars", "rules-call", "names = vars()"),
    _refused("type", "rules-call", "kind = type(claim)"),
    _refused("super", "rules-call", "kind = super()"),
    _refused("a dunder attribute", "rules-attribute", "kind = claim.__class__"),
    _refused("all classes", "rules-attribute", "kinds = ().__class__.__bases__[0].__subclasses__()"),
    _refused("a dunder name", "rules-name", "name = __name__"),
    _refused("code of a function", "rules-attribute", "code = decide.__code__"),
    _refused("attributes by format", "rules-attribute", 'text = "{0.__class__}".format(claim)'),
    _refused("attributes by format_map", "rules-attribute", 'text = "{claim}".format_map({"claim": claim})'),
    _refused("repr in a text", "rules-format", 'text = f"{claim!r}"'),
    _refused("a width from data", "rules-format", "text = f\"{1:{claim['age']}}\""),
    _refused("a width of millions", "rules-format", 'text = f"{1:9999999d}"'),
    # What no review can follow.
    _refused("identity", "rules-expression", 'same = claim["diagnosis"] is arguments'),
    _refused("identity of numbers", "rules-expression", 'same = claim["age"] is 1'),
    _refused("a loop that is none", "rules-syntax", "break"),
    _refused("a parameter twice", "rules-syntax", top="def f(a, a):\n    return a\n"),
    _refused("an argument twice", "rules-syntax", "x = dict(a=1, a=2)"),
    _refused("an address by id", "rules-call", "place = id(claim)"),
    _refused("hash", "rules-call", "place = hash(3)"),
    _refused("an address by a table", "rules-table", "place = str(tariff)"),
    _refused("an address by a function", "rules-call", 'place = f"{decide}"'),
    _refused("an address by a method", "rules-attribute", "place = str([].append)"),
    _refused("an address by an iterator", "rules-iterator", "place = str(zip([1], [2]))"),
    _refused("a default by name", "rules-call", 'x = {}.get("a", default=bills)'),
    _refused("a key that no sort takes", "rules-call", 'x = {}.get(key="a")'),
    _refused("a function in a list", "rules-call", "for f in [abs, decide]:", "    pass"),
    _refused("a function as a value", "rules-call", "f = abs", "f(1)"),
    _refused("a table in a list", "rules-table", "tables = [tariff]"),
    _refused(
        "a table or a list", "rules-table", "f(tariff, 1)", "f(bills, 1)", top="def f(t, k):\n    return 1\n"
    ),
    _refused("a lambda kept", "rules-expression", "f = lambda: 1"),
    _refused("a live view kept", "rules-iterator", "keys = claim.keys()", 'claim["z"] = 1'),
    _refused("a generator kept", "rules-iterator", "rows = (r for r in bills)"),
    _refused("a generator function", "rules-expression", "yield 1"),
    _refused("a coroutine", "rules-module", top="async def f():\n    return 1\n"),
    _refused("a context manager", "rules-statement", "with claim:", "    pass"),
    _refused("match", "rules-statement", "match claim:", "    case {'age': 1}:", "        pass"),
    _refused("assignment in an expression", "rules-expression", "if (n := 3) > 2:", "    pass"),
    _refused("arguments by **", "rules-call", "f(**claim)", top="def f(age):\n    return 1\n"),
    # State between two calls.
    _refused("global", "rules-state", "global seen", "seen = 1", top="seen = 0\n"),
    _refused("a list of the module", "rules-constant", 'SEEN.append(claim["age"])', top="SEEN = []\n"),
    _refused("a dict of the module", "rules-constant", 'SEEN[1] = claim["age"]', top="SEEN = {}\n"),
    _refused("a list in a tuple of the module", "rules-constant", "SEEN[0].append(1)", top="SEEN = ([],)\n"),
    _refused(
        "a default that remembers", "rules-default", "f(1)", top="def f(x, seen=[]):\n    seen.append(x)\n"
    ),
    _refused("an attribute of a function", "rules-state", 'decide.seen = claim["age"]'),
    _refused("a closure", "rules-statement", "def inner():", "    return claim"),
    _refused("nonlocal", "rules-state", "nonlocal claim"),
    _refused("a class", "rules-module", top="class Seen:\n    ages = []\n"),
    _refused("a decorator", "rules-statement", "f()", top="@abs\ndef f():\n    return 1\n"),
    _refused("a module value computed", "rules-constant", top="SEEN = list((1, 2))\n"),
    _refused("a loop in the module", "rules-module", top="for i in (1, 2):\n    pass\n"),
    _refused("an attribute of a module", "rules-state", 'math.seen = claim["age"]', top="import math\n"),
    _refused("the random state", "rules-attribute", 'random.seed(claim["age"])', top="import random\n"),
    _refused("a name in two meanings", "rules-state", top="def f():\n    return 1\nf = 2\n"),
    _refused("a builtin replaced", "rules-name", top="def len(x):\n    return 1\n"),
    _refused("a builtin hidden", "rules-name", "sum = 1"),
    _refused("del", "rules-statement", "del claim"),
    # Exceptions.
    _refused("an exception hidden", "rules-statement", "try:", "    x = 1", "except Exception:", "    x = 2"),
    _refused(
        "an exception as a channel",
        "rules-statement",
        "try:",
        "    x = bills[3]",
        "except IndexError:",
        "    x = 1",
    ),
    _refused("an exception with a message", "rules-statement", 'raise ValueError(claim["diagnosis"])'),
    _refused("an assertion with a message", "rules-statement", 'assert False, claim["diagnosis"]'),
    # Bombs that are seen beforehand.
    _refused("recursion", "rules-recursion", "f(1)", top="def f(n):\n    return f(n + 1)\n"),
    _refused(
        "recursion in a circle", "rules-recursion", top="def f():\n    return g()\ndef g():\n    return f()\n"
    ),
    _refused("recursion by a key", "rules-recursion", top="def f(x):\n    return sorted([x], key=f)\n"),
    _refused("a power from data", "rules-power", 'x = 2 ** claim["age"]'),
    _refused("a power of data", "rules-power", 'x = claim["age"] ** 2'),
    _refused("a tower of powers", "rules-power", "x = 9 ** 9 ** 9"),
    _refused("a shift from data", "rules-power", 'x = 1 << claim["age"]'),
    _refused("a huge shift", "rules-power", "x = 1 << 10000000000"),
    _refused("a huge number", "rules-number", f"x = {'9' * 500}"),
    _refused("infinity", "rules-number", "x = 1e999"),
    _refused("regular expressions", "rules-import", top="import re\n"),
    _refused("digits of the C library", "rules-attribute", "x = math.exp(1)", top="import math\n"),
    _refused("big factorials", "rules-attribute", "x = math.factorial(100000)", top="import math\n"),
    _refused("deep nesting", "rules-depth", f"x = {'(1, ' * 60}1{')' * 60}"),
    _refused("a long chain of sums", "rules-depth", f"x = {'1 + ' * 3000}1"),
    _refused("nesting that breaks parsers", "rules-depth", f"x = {'-' * 20000}1"),
    _refused("brackets that break parsers", "rules-syntax", f"x = {'[' * 5000}{']' * 5000}"),
    Case("a source of megabytes", "# " + "x" * 200_000 + "\n" + _entry(), "rules-size"),
    # Text that a reviewer reads otherwise.
    _refused("text that runs backwards", "rules-text", 'x = "\u202e"'),
    _refused("an invisible character", "rules-text", "x = 1 # \u200b"),
    _refused("a tab", "rules-text", "x = 1\t"),
    _refused("a form feed", "rules-text", "x = 1\f"),
    Case("a zero byte", _entry() + "\0", "rules-text"),
    Case("half a surrogate", _entry() + "# \ud800\n", "rules-text"),
    # Values that do not leave anyway.
    _refused("bytes", "rules-expression", 'x = b"1"'),
    _refused("bytearray", "rules-call", "x = bytearray(1000000000)"),
    _refused("memoryview", "rules-call", "x = memoryview(claim)"),
    _refused("complex numbers", "rules-expression", "x = 1j"),
    Case("another subject's rows", "def decide(claims):\n    return None\n", "rules-entry"),
    Case("no entry", "def other():\n    return None\n", "rules-entry"),
    Case("an entry that takes all", "def decide(*everything):\n    return None\n", "rules-statement"),
    Case("an entry with defaults", "def decide(claim, age=3):\n    return None\n", "rules-entry"),
    Case("no Python", "if if if\n", "rules-syntax"),
)

# Stopped at run: no decision for every call, so nothing leaves.
_STOPPED = (
    _stopped("an endless loop", "while True:", "    pass"),
    _stopped(
        "loops in loops", "for i in range(1000000):", "    for j in range(1000000):", "        x = i * j"
    ),
    _stopped("a huge text", 'x = "x" * 10000000000'),
    _stopped("a huge list", "x = [0] * 10000000000"),
    _stopped("a list that doubles", "x = [1]", "while True:", "    x = x + x"),
    _stopped("a list that eats itself", "x = [1]", "while True:", "    x.extend(x.copy())"),
    _stopped("a dict without end", "x, i = {}, 0", "while True:", "    x[i] = [i]", "    i += 1"),
    _stopped("a text that doubles", 'x = "x"', "while True:", "    x += x"),
    _stopped("lists in lists", "x = []", "while True:", "    x = [x, x]"),
    _stopped("a number that squares itself", "x = 3", "while True:", "    x = x * x"),
    _stopped("a comprehension bomb", "x = [[j for j in range(10000)] for i in range(100000)]"),
    _stopped("a sum over billions", "x = sum(range(1000000000000))"),
    _stopped("a width by percent", 'x = "%2000000000d" % 1'),
    _stopped("replacements that grow", 'x = "aa"', "while True:", '    x = x.replace("a", "aa")'),
    _stopped("zeros filled in", 'x = "1".zfill(10000000000)'),
    _stopped("a text joined from itself", 'x = "ab"', "while True:", "    x = x.join([x, x, x])"),
    _stopped("a number of too many digits", 'x = int("9" * 100000)'),
    _stopped("sorting what has no order", 'x = sorted([1, "a", None])'),
    _stopped("a name without a value", "x = y", "y = 1"),
    _stopped(
        "a list in itself compared", "x, y = [], []", "x.append(y)", "y.append(x)", "if x == y:", "    pass"
    ),
)


def _answer(
    decision: str = '"approve"', pay: str = "0", reasons: str = "[]", before: tuple[str, ...] = ()
) -> str:
    lines = "".join(f"    {line}\n" for line in before)
    return f'{_HEAD}{lines}    return {{"decision": {decision}, "pay": {pay}, "reasons": {reasons}}}\n'


# Passes the check: the gate stops it, or the review states it.
_GATED = (
    Case("a value outside the range", _answer(pay="99999999")),
    Case("a negative amount", _answer(pay="-100")),
    Case("low digits of an amount", _answer(pay='claim["age"] * 100 + claim["age"] + 1')),
    Case("an amount as a float", _answer(pay="100.0")),
    Case("an amount as a truth value", _answer(pay="True")),
    Case("an amount as a text", _answer(pay='str(claim["age"])')),
    Case("an amount as a row", _answer(pay="claim")),
    Case("an undeclared decision", _answer(decision='claim["diagnosis"]')),
    Case("an undeclared reason", _answer(reasons='[claim["diagnosis"]]')),
    Case("a reason twice", _answer(reasons='["capped", "capped"]')),
    Case("too many reasons", _answer(reasons='["capped", "insured", "excluded"]')),
    Case("reasons as a tuple", _answer(reasons='("capped",)')),
    Case("reasons as a list of lists", _answer(reasons='[["capped"]]')),
    Case(
        "another output",
        f'{_HEAD}    return {{"decision": "approve", "pay": 0, "diagnosis": claim["diagnosis"]}}\n',
    ),
    Case("an output missing", f'{_HEAD}    return {{"decision": "approve"}}\n'),
    Case("the rows themselves", f"{_HEAD}    return bills\n"),
    Case("a text for an answer", f'{_HEAD}    return str(claim["age"])\n'),
    Case(
        "an amount changed by the order of reasons",
        _answer(reasons='["capped", "insured"] if claim["age"] % 2 else ["insured", "capped"]'),
        decides=True,
    ),
    Case(
        "the order of the outputs",
        f"""{_HEAD}    if claim["age"] % 2:
        return {{"pay": 0, "decision": "approve"}}
    return {{"decision": "approve", "pay": 0}}
""",
        decides=True,
    ),
    Case(
        "a row of a parameter table kept",
        _answer(
            pay='tariff("ward")["cap"] // 100 * 100',
            before=('row = tariff("ward")', 'row["cap"] = claim["age"] * 100'),
        ),
        decides=True,
    ),
    Case("an argument kept", _answer(before=('arguments["insured"] = claim["age"]',)), decides=True),
    # What does leave, within the declared outputs. The review shows the column, and counts the bits.
    Case(
        "an amount that is a column",
        _answer(pay='claim["age"] * 100'),
        leaves=8,
        decides=True,
        shown=("pay", AGE),
    ),
    Case(
        "a column by the choice of a decision",
        _answer(decision='"approve" if claim["age"] % 2 else "refuse"'),
        leaves=2,
        decides=True,
        shown=("decision", AGE),
    ),
    Case(
        "a column by the choice of reasons",
        _answer(
            reasons="picked",
            before=(
                'age = claim["age"]',
                "picked = []",
                'for code in ("capped", "insured"):',
                "    if age % 2:",
                "        picked.append(code)",
                "    age = age // 2",
            ),
        ),
        leaves=4,
        decides=True,
        shown=("reasons", AGE),
    ),
    Case(
        "a column by no decision",
        _answer(before=('if claim["age"] % 2:', "    return None")),
        leaves=2,
        decides=True,
        shown=("decision made", AGE),
    ),
    Case(
        "a column by a failure",
        _answer(before=('x = 1 // (claim["age"] % 2)',)),
        leaves=2,
        decides=True,
        shown=("decision made", AGE),
    ),
    Case(
        "a column by a missing key",
        _answer(before=('x = {1: 1}[claim["age"] % 2]',)),
        leaves=2,
        decides=True,
        shown=("decision made", AGE),
    ),
    Case(
        "a column by an endless loop",
        _answer(before=('while claim["age"] % 2:', "    pass")),
        leaves=2,
        decides=True,
        shown=("decision made", AGE),
    ),
    Case(
        "a column by memory",
        _answer(before=('x = "x" * (claim["age"] % 2 * 10000000000)',)),
        leaves=2,
        decides=True,
        shown=("decision made", AGE),
    ),
    Case(
        "a column by an assertion",
        _answer(before=('assert claim["age"] % 2',)),
        leaves=2,
        decides=True,
        shown=("decision made", AGE),
    ),
    Case(
        "a column by a value out of range",
        _answer(pay='claim["age"] % 2 * 99999999'),
        leaves=2,
        decides=True,
        shown=("decision made", AGE),
    ),
    Case(
        "a column by the length of a list",
        _answer(
            pay="len(rows) * 100", before=("rows = []", 'for i in range(claim["age"]):', "    rows.append(0)")
        ),
        leaves=8,
        decides=True,
        shown=("pay", AGE),
    ),
    Case(
        "a column by an order",
        _answer(
            pay='rows[0]["n"] * 100',
            before=(
                'rows = [{"n": 0, "by": 3}, {"n": 1, "by": claim["age"]}]',
                'rows.sort(key=lambda row: row["by"])',
            ),
        ),
        leaves=2,
        decides=True,
        shown=("pay", AGE),
    ),
    Case(
        "a column by another name of a list",
        _answer(
            pay="len(one) * 100",
            before=("one = []", "two = [one]", 'if claim["age"] % 2:', "    two[0].append(1)"),
        ),
        leaves=2,
        decides=True,
        shown=("pay", AGE),
    ),
    Case(
        "a column by the random state",
        "import random\n"
        + _answer(
            pay="random.randint(0, 1000000) * 0 + random.randint(0, 40000) * 100",
            before=('if claim["age"] % 2:', "    x = random.random()"),
        ),
        leaves=2,
        decides=True,
        shown=("pay", AGE),
    ),
    Case(
        "a column by a loop left early",
        _answer(
            pay="n * 100",
            before=("n = 0", "while True:", '    if n >= claim["age"]:', "        break", "    n += 1"),
        ),
        leaves=8,
        decides=True,
        shown=("pay", AGE),
    ),
    Case(
        "a column by a function that returns early",
        "def f(row):\n    if row['age'] % 2:\n        return 1\n    return 0\n"
        + _answer(pay="f(claim) * 100"),
        leaves=2,
        decides=True,
        shown=("pay", AGE),
    ),
    Case(
        "a column by the keys of a dict",
        _answer(pay="len(seen) * 100", before=("seen = {}", 'seen[claim["age"] % 2] = 1', "seen[0] = 2")),
        leaves=2,
        decides=True,
        shown=("pay", AGE),
    ),
    Case(
        "a column by a set",
        _answer(pay='len({0, claim["age"] % 2}) * 100'),
        leaves=2,
        decides=True,
        shown=("pay", AGE),
    ),
    Case(
        "a column by a look-up that finds nothing",
        _answer(pay='0 if tariff("ward" if claim["age"] % 2 else "none") is None else 100'),
        leaves=2,
        decides=True,
        shown=("pay", AGE),
    ),
)

CASES = (*_REFUSED, *_STOPPED, *_GATED)
