"""Dates in a feature query: differences, shifts, parts. There is no clock; a call's date is `today`."""

from __future__ import annotations

from sqlglot import exp

from atoll.scripts.feature_functions import CLOCK, DAYS, PARTS
from atoll.scripts.feature_reader import Reader
from atoll.scripts.feature_scope import Scope
from atoll.scripts.feature_terms import (
    DATE,
    INT,
    NULL,
    STRING,
    TIMESTAMP,
    UNKNOWN,
    Term,
)


class Dates(Reader):
    """Reads what counts with dates and timestamps."""

    def _days(self, node: exp.Expression, sign: str, a: Term, b: Term) -> Term:
        if a.kind == DATE and b.kind == INT:
            return self._wrap(f"({{}} {sign} CAST({{}} AS INTEGER))", a, b, fallible=True)
        if sign == "-" and a.kind == DATE and (b.kind == DATE or b.literal is not None):
            b = self.findings.converted(b, DATE, node.expression)
            return self._wrap("date_diff('day', {}, {})", b, a, kind=INT, fallible=True)
        text = "of a date, days can be added or taken: d + 30, d - 30, d - e, d + INTERVAL 1 MONTH."
        return self.findings.add("features-type", node, text)

    def _moved(self, node: exp.Expression, sign: str, scope: Scope) -> Term:
        term = self._as(node.this, scope, DATE, TIMESTAMP)
        interval = node.expression
        self.findings.only(interval, "this", "unit")
        unit = str(interval.args["unit"].this).lower().removesuffix("s") if interval.args.get("unit") else ""
        number = self._constant(interval.this, 0, 99_999)
        if unit not in DAYS and not (unit in CLOCK and term.kind == TIMESTAMP):
            allowed = ", ".join(DAYS + (CLOCK if term.kind == TIMESTAMP else ()))
            return self.findings.add("features-construct", interval, f"an interval counts one of: {allowed}.")
        if number is None:
            text = "an interval has a number that is written there, such as INTERVAL 3 MONTH."
            return self.findings.add("features-construct", interval, text)
        number, unit = (number * 3, "month") if unit == "quarter" else (number, unit)
        moved = f"({{}} {sign} INTERVAL ({number}) {unit.upper()})"
        return self._wrap(f"CAST({moved} AS {term.kind.sql})", term, fallible=True)

    def _date_diff(self, node: exp.Expression, scope: Scope) -> Term:
        self.findings.only(node, "this", "expression", "unit", "date_part_boundary")
        unit = str(node.args["unit"].this).lower() if node.args.get("unit") else "day"
        start, end = self.read(node.expression, scope), self.read(node.this, scope)
        start, end = self.findings.unified([start, end], node)
        if start.kind in (STRING, NULL):
            start = self.findings.converted(start, DATE, node)
            end = self.findings.converted(end, DATE, node)
        if start.kind not in (DATE, TIMESTAMP, UNKNOWN):
            return self.findings.add("features-type", node, "date_diff('day', a, b) takes two dates.")
        allowed = DAYS + (CLOCK if start.kind == TIMESTAMP else ())
        if unit not in allowed:
            return self.findings.add(
                "features-construct", node, f"date_diff counts one of: {', '.join(allowed)}."
            )
        return self._wrap(f"date_diff('{unit}', {{}}, {{}})", start, end, kind=INT, fallible=True)

    def _truncated(self, node: exp.Expression, scope: Scope) -> Term:
        self.findings.only(node, "this", "unit")
        unit = str(node.args["unit"].this).lower() if node.args.get("unit") else ""
        term = self._as(node.this, scope, DATE, TIMESTAMP)
        allowed = DAYS + (CLOCK if term.kind == TIMESTAMP else ())
        if unit not in allowed:
            return self.findings.add(
                "features-construct", node, f"date_trunc cuts to one of: {', '.join(allowed)}."
            )
        return self._wrap(f"CAST(date_trunc('{unit}', {{}}) AS {term.kind.sql})", term, fallible=True)

    def _part(self, node: exp.Expression, scope: Scope) -> Term:
        self.findings.only(node, "this", "expression")
        return self._named_part(node, str(node.this.this).lower(), node.expression, scope)

    def _named_part(self, node: exp.Expression, unit: str, of: exp.Expression, scope: Scope) -> Term:
        if unit not in PARTS:
            return self.findings.add("features-function", node, f"a date has the parts {', '.join(PARTS)}.")
        return self.function(PARTS[unit](this=of), scope)
