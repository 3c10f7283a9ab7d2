"""The words of rule code: which statements, functions, methods and modules it may use. All lists are closed.

What is missing is missing for a reason: it reads something that is not the subject's (files, clock, environment), keeps
something between two calls, gives other digits on another machine, or hides from review what a value depends on.
"""

from __future__ import annotations

import ast


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


STATEMENTS = (
    *(ast.Return, ast.Assign, ast.AugAssign, ast.AnnAssign, ast.For, ast.While, ast.If, ast.Assert),
    *(ast.Expr, ast.Pass, ast.Break, ast.Continue),
)

# Why a statement is not among them, for those that an author may try.
REFUSED_STATEMENTS: dict[type[ast.stmt], str] = {
    ast.Try: "no try: what fails gives no decision; test for None and for membership beforehand",
    ast.Raise: "no raise: return None for no decision, or assert",
    ast.With: "no with",
    ast.Global: "no global: nothing outlives a call",
    ast.Nonlocal: "no nonlocal: nothing outlives a call",
    ast.ClassDef: "no classes: use dicts and tuples",
    ast.FunctionDef: "no function in a function: define it at the top and pass what it needs",
    ast.AsyncFunctionDef: "no async",
    ast.Import: "import at the top of the file",
    ast.ImportFrom: "import at the top of the file",
    ast.Delete: "no del",
    ast.Match: "no match: write if and elif",
}

REFUSED_EXPRESSIONS: dict[type[ast.expr], str] = {
    ast.NamedExpr: "no := : assign in a statement of its own",
    ast.Lambda: "a lambda stands only as key= of sorted, min, max or sort",
    ast.Starred: "no * before a value: write + for two lists",
    ast.Yield: "no yield",
    ast.YieldFrom: "no yield",
    ast.Await: "no await",
}

BUILTINS = _words(
    "abs all any bool chr dict divmod enumerate float frozenset int len list max min ord range reversed round set "
    "sorted str sum tuple zip"
)
# What these give is good for one pass only, so it stands where something takes that pass.
ONE_PASS = frozenset({"enumerate", "reversed", "zip"})
VIEWS = frozenset({"items", "keys", "values"})
TAKES_A_PASS = _words(
    "all any dict enumerate frozenset len list max min set sorted sum tuple zip join extend update"
)

# Functions whose result IEEE 754 or whole numbers fix to the last digit; no sin, exp, log, pow.
MATH = _words("ceil copysign fabs floor fmod gcd isfinite isinf isnan isqrt lcm sqrt trunc")
DATETIME = frozenset({"date", "datetime", "timedelta"})
RANDOM = _words("choice randint random randrange sample shuffle uniform")
MODULES: dict[str, frozenset[str]] = {"math": MATH, "datetime": DATETIME, "random": RANDOM}
# Methods of the classes themselves, such as date.fromisoformat.
CLASS_METHODS = frozenset({"fromisoformat"})

STRING_METHODS = _words(
    "capitalize endswith find isalnum isalpha isdigit islower isspace isupper join ljust lower lstrip partition "
    "removeprefix removesuffix replace rjust rsplit rstrip split startswith strip upper zfill"
)
LIST_METHODS = _words("append clear copy count extend index insert pop remove reverse sort")
DICT_METHODS = _words("clear copy get items keys pop setdefault update values")
SET_METHODS = _words("add difference discard intersection isdisjoint issubset issuperset union")
DATE_METHODS = _words("date isoformat isoweekday replace toordinal total_seconds weekday")
NUMBER_METHODS = frozenset({"is_integer"})
METHODS = STRING_METHODS | LIST_METHODS | DICT_METHODS | SET_METHODS | DATE_METHODS | NUMBER_METHODS
ATTRIBUTES = _words("day days hour microsecond minute month second seconds year")

# Keyword arguments of builtins, methods and module functions; own functions have their own, and dict takes any.
_DAY, _TIME = _words("year month day"), _words("hour minute second microsecond")
KEYWORDS: dict[str, frozenset[str]] = {
    "sorted": _words("key reverse"),
    "sort": _words("key reverse"),
    "max": _words("key default"),
    "min": _words("key default"),
    "sum": _words("start"),
    "enumerate": _words("start"),
    "zip": _words("strict"),
    "round": _words("ndigits"),
    "split": _words("sep maxsplit"),
    "rsplit": _words("sep maxsplit"),
    "replace": _DAY | _TIME,
    "date": _DAY,
    "datetime": _DAY | _TIME,
    "timedelta": _words("days seconds microseconds milliseconds minutes hours weeks"),
    "sample": _words("k"),
}
TAKES_A_KEY = frozenset({"max", "min", "sort", "sorted"})

EXPRESSIONS = (
    *(
        ast.BoolOp,
        ast.BinOp,
        ast.UnaryOp,
        ast.IfExp,
        ast.Dict,
        ast.Set,
        ast.ListComp,
        ast.SetComp,
        ast.DictComp,
    ),
    *(
        ast.GeneratorExp,
        ast.Compare,
        ast.Call,
        ast.JoinedStr,
        ast.Constant,
        ast.Attribute,
        ast.Subscript,
        ast.Name,
    ),
    *(ast.List, ast.Tuple, ast.Slice),
)
