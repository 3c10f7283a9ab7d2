"""Numbers in a feature query: whole numbers of 64 bits and decimals, and what can be cast to what."""

from __future__ import annotations

import re
from dataclasses import replace

from sqlglot import exp

from atoll.scripts.feature_dates import Dates
from atoll.scripts.feature_scope import Scope
from atoll.scripts.feature_terms import (
    BOOL,
    DATE,
    INT,
    MAX_SCALE,
    NULL,
    STRING,
    TIMESTAMP,
    UNKNOWN,
    Kind,
    Term,
)

_ROUNDINGS: dict[type[exp.Expression], str] = {
    exp.Round: "round",
    exp.Floor: "floor",
    exp.Ceil: "ceil",
    exp.Trunc: "trunc",
}
_FLOATS = {"FLOAT", "DOUBLE", "REAL", "BFLOAT16"}
_CASTS_TO = {
    "int": {"decimal", "string"},
    "decimal": {"int", "decimal", "string"},
    "string": {"int", "decimal", "bool", "date", "timestamp"},
    "bool": {"int", "string"},
    "date": {"timestamp", "string"},
    "timestamp": {"date", "string"},
}


class Numbers(Dates):
    """Reads what counts, and casts."""

    def _negative(self, node: exp.Expression, scope: Scope) -> Term:
        term = self._number(node.this, scope)
        zero = f"CAST(0 AS {term.kind.sql})"
        return self._wrap(f"({zero} - {{}})", term, fallible=not isinstance(node.this, exp.Literal))

    def _sum(self, node: exp.Expression, scope: Scope) -> Term:
        self.findings.only(node, "this", "expression")
        sign = "+" if isinstance(node, exp.Add) else "-"
        if isinstance(node.expression, exp.Interval):
            return self._moved(node, sign, scope)
        a, b = self.read(node.this, scope), self.read(node.expression, scope)
        if DATE in (a.kind, b.kind):
            return self._days(node, sign, a, b)
        if TIMESTAMP in (a.kind, b.kind):
            text = "count with date_diff('hour', a, b), or add an interval such as INTERVAL 1 DAY."
            return self.findings.add("features-type", node, text)
        a, b = self._numeric(a, node.this), self._numeric(b, node.expression)
        a, b = self.findings.unified([a, b], node)
        return self._wrap(f"CAST(({{}} {sign} {{}}) AS {a.kind.sql})", a, b, fallible=True)

    def _product(self, node: exp.Expression, scope: Scope) -> Term:
        self.findings.only(node, "this", "expression")
        a, b = self._number(node.this, scope), self._number(node.expression, scope)
        if a.kind == b.kind == INT:
            return self._wrap("({} * {})", a, b, fallible=True)
        kind = Kind("decimal", a.kind.scale + b.kind.scale)
        if kind.scale > MAX_SCALE:
            text = f"a product with {kind.scale} digits behind the point; round(...) first."
            return self.findings.add("features-type", node, text)
        sides = [
            self.findings.converted(t, Kind("decimal"), node) if t.kind in (INT, UNKNOWN) else t
            for t in (a, b)
        ]
        return self._wrap(f"CAST(({{}} * {{}}) AS {kind.sql})", *sides, kind=kind, fallible=True)

    def _division(self, node: exp.Expression, scope: Scope) -> Term:
        self.findings.only(node, "this", "expression")
        a, b = self._number(node.this, scope), self._number(node.expression, scope)
        a, b = self.findings.unified([a, b], node)
        if isinstance(node, exp.IntDiv) and a.kind.name == "decimal":
            text = "// divides whole numbers: cast(round(x * 100) AS BIGINT) // n."
            return self.findings.add("features-type", node, text)
        sign = "//" if isinstance(node, exp.IntDiv) else "%"
        return self._wrap(f"({{}} {sign} {{}})", a, b, fallible=True)

    def _slash(self, node: exp.Expression, scope: Scope) -> Term:
        return self.findings.add("features-float", node, "/ gives a float: divide whole numbers with //.")

    def _absolute(self, node: exp.Expression, scope: Scope) -> Term:
        self.findings.only(node, "this")
        return self._wrap("abs({})", self._number(node.this, scope), fallible=True)

    def _sign(self, node: exp.Expression, scope: Scope) -> Term:
        self.findings.only(node, "this")
        return self._wrap("CAST(sign({}) AS BIGINT)", self._number(node.this, scope), kind=INT)

    def _round(self, node: exp.Expression, scope: Scope) -> Term:
        self.findings.only(node, "this", "decimals")
        term, digits = self._number(node.this, scope), node.args.get("decimals")
        if term.kind.name != "decimal":
            return term
        name = _ROUNDINGS[type(node)]
        places = self._constant(digits, 0, MAX_SCALE) if digits is not None and name == "round" else 0
        if places is None or (digits is not None and name != "round"):
            return self.findings.add(
                "features-type", node, f"{name}(x), or round(x, 2) with a number from 0."
            )
        if places >= term.kind.scale:
            return term
        call = f"{name}({{}}, {places})" if name == "round" else f"{name}({{}})"
        kind = Kind("decimal", places)
        return self._wrap(f"CAST({call} AS {kind.sql})", term, kind=kind, fallible=True)

    def _target(self, node: exp.DataType) -> tuple[Kind | None, str]:
        """The kind that a cast names and the engine's type for it, or None and why not."""
        name = node.this.value if isinstance(node.this, exp.DataType.Type) else str(node.this)
        parameters = [str(p.this.this) for p in node.expressions if isinstance(p, exp.DataTypeParam)]
        self.findings.only(node, "this", "expressions", "nested")
        if name in _FLOATS:
            return None, "features are exact: cast to BIGINT or DECIMAL(p, s)."
        if name in ("BIGINT", "INT"):
            return INT, "BIGINT"
        if name in ("TEXT", "VARCHAR"):
            return STRING, "VARCHAR"
        if name == "BOOLEAN":
            return BOOL, "BOOLEAN"
        if name == "DATE":
            return DATE, "DATE"
        if name in ("TIMESTAMP", "TIMESTAMPNTZ"):
            return TIMESTAMP, "TIMESTAMP"
        if name == "DECIMAL" and parameters and all(re.fullmatch(r"[0-9]{1,2}", p) for p in parameters):
            precision, scale = int(parameters[0]), int(parameters[1]) if len(parameters) > 1 else 0
            if 1 <= precision <= 38 and scale <= min(precision, MAX_SCALE):
                return Kind("decimal", scale), f"DECIMAL({precision}, {scale})"
        return None, "a cast is to BIGINT, DECIMAL(p, s), VARCHAR, BOOLEAN, DATE or TIMESTAMP."

    def _cast(self, node: exp.Expression, scope: Scope) -> Term:
        self.findings.only(node, "this", "to", "safe")
        kind, type_ = self._target(node.args["to"])
        if kind is None:
            return self.findings.add("features-float" if "exact" in type_ else "features-type", node, type_)
        term = self.read(node.this, scope)
        if term.literal is not None and kind in (DATE, TIMESTAMP):
            return self.findings.moment(term.literal, kind, node)
        if term.kind == UNKNOWN:
            return replace(term, kind=kind)
        if term.kind != NULL and term.kind != kind and kind.name not in _CASTS_TO[term.kind.name]:
            return self.findings.add("features-type", node, f"{term.kind.text} is never {kind.text}.")
        word = "TRY_CAST" if isinstance(node, exp.TryCast) else "CAST"
        sql = f"{word}({{}} AS {type_})"
        if kind.name == "decimal":
            sql = f"CAST({sql} AS {kind.sql})"
        fails = word == "CAST" and kind not in (STRING, term.kind)
        return self._wrap(sql, term, kind=kind, fallible=fails or kind.name == "decimal")
