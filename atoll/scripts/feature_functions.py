"""The functions that features may call: what goes in, what comes out. Whatever is not here is refused.

All are deterministic and exact, and none makes a string longer than its arguments together, but `replace`, which is
bounded.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlglot import exp

from atoll.scripts.feature_terms import BOOL, DATE, INT, STRING, TIMESTAMP, Kind


@dataclass(frozen=True)
class Function:
    """A function with fixed arguments.

    Attributes:
        template: generated SQL with one `{}` for each argument.
        arguments: name of each part of the node, and the kinds that it can have.
        gives: the kind of the value.
        optional: how many of the last arguments may be missing.
    """

    template: str
    arguments: tuple[tuple[str, tuple[Kind, ...]], ...]
    gives: Kind
    optional: int = 0
    ignored: tuple[str, ...] = ()
    fallible: bool = False


_MOMENT = (DATE, TIMESTAMP)


def _part(unit: str, *kinds: Kind) -> Function:
    return Function(f"CAST({unit}({{}}) AS BIGINT)", (("this", kinds or _MOMENT),), INT)


def _string(name: str) -> Function:
    return Function(f"{name}({{}})", (("this", (STRING,)),), STRING)


def _search(template: str, second: str, gives: Kind) -> Function:
    return Function(template, (("this", (STRING,)), (second, (STRING,))), gives)


FUNCTIONS: dict[type[exp.Expression], Function] = {
    exp.Upper: _string("upper"),
    exp.Lower: _string("lower"),
    exp.Length: Function("CAST(length({}) AS BIGINT)", (("this", (STRING,)),), INT),
    exp.Left: Function("left({}, {})", (("this", (STRING,)), ("expression", (INT,))), STRING),
    exp.Right: Function("right({}, {})", (("this", (STRING,)), ("expression", (INT,))), STRING),
    exp.Substring: Function(
        "substring({}, {}, {})",
        (("this", (STRING,)), ("start", (INT,)), ("length", (INT,))),
        STRING,
        optional=1,
    ),
    exp.StartsWith: _search("starts_with({}, {})", "expression", BOOL),
    exp.EndsWith: _search("suffix({}, {})", "expression", BOOL),
    exp.Contains: _search("contains({}, {})", "expression", BOOL),
    exp.StrPosition: _search("CAST(strpos({}, {}) AS BIGINT)", "substr", INT),
    exp.Year: _part("year"),
    exp.Quarter: _part("quarter"),
    exp.Month: _part("month"),
    exp.Week: _part("week"),
    exp.Day: _part("day"),
    exp.DayOfYear: _part("dayofyear"),
    exp.DayOfWeek: _part("dayofweek"),
    exp.DayOfWeekIso: _part("isodow"),
    exp.Hour: _part("hour", TIMESTAMP),
    exp.Minute: _part("minute", TIMESTAMP),
    exp.Second: _part("second", TIMESTAMP),
    exp.LastDay: Function("last_day({})", (("this", _MOMENT),), DATE, fallible=True),
    exp.DateFromParts: Function(
        "make_date({}, {}, {})",
        (("year", (INT,)), ("month", (INT,)), ("day", (INT,))),
        DATE,
        fallible=True,
    ),
}

# Units of date_part() and extract(), each as the function of the same meaning.
PARTS: dict[str, type[exp.Expression]] = {
    "year": exp.Year,
    "quarter": exp.Quarter,
    "month": exp.Month,
    "week": exp.Week,
    "day": exp.Day,
    "doy": exp.DayOfYear,
    "dayofyear": exp.DayOfYear,
    "dow": exp.DayOfWeek,
    "dayofweek": exp.DayOfWeek,
    "isodow": exp.DayOfWeekIso,
    "hour": exp.Hour,
    "minute": exp.Minute,
    "second": exp.Second,
}
# Units of date_diff(), date_trunc() and intervals; those of a clock are for timestamps only.
DAYS = ("year", "quarter", "month", "week", "day")
CLOCK = ("hour", "minute", "second")

# Why a function that authors often want is not there, and what to write.
INSTEAD: dict[str, str] = {
    "avg": "its value is a float: write sum(x) // count(x)",
    "mean": "its value is a float: write sum(x) // count(x)",
    "median": "its value is a float: number the rows with row_number() and take the middle one",
    "quantile": "its value is a float: number the rows with row_number() and take one",
    "first": "it depends on the order of rows: write (SELECT x FROM ... ORDER BY ... LIMIT 1)",
    "last": "it depends on the order of rows: write (SELECT x FROM ... ORDER BY ... DESC LIMIT 1)",
    "any_value": "it depends on the order of rows: write min(x) or max(x)",
    "arg_min": "it depends on the order of rows: write (SELECT x FROM ... ORDER BY y LIMIT 1)",
    "arg_max": "it depends on the order of rows: write (SELECT x FROM ... ORDER BY y DESC LIMIT 1)",
    "min_by": "it depends on the order of rows: write (SELECT x FROM ... ORDER BY y LIMIT 1)",
    "max_by": "it depends on the order of rows: write (SELECT x FROM ... ORDER BY y DESC LIMIT 1)",
    "current_date": "the date of a call is `today`",
    "current_timestamp": "there is no clock; the date of a call is `today`",
    "now": "there is no clock; the date of a call is `today`",
    "date_add": "write a + INTERVAL 1 DAY",
    "date_sub": "count with date_diff('day', a, b), or write a - INTERVAL 1 DAY",
    "sqrt": "its value is a float",
    "power": "its value is a float: write a product",
    "strftime": "write date_part('year', a) and the like",
    "time_to_str": "write date_part('year', a) and the like",
}
