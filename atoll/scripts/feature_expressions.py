"""Expressions of a feature query: each node is checked, typed, and written anew in the engine's SQL."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace

from sqlglot import exp

from atoll.scripts.feature_functions import CLOCK, DAYS, FUNCTIONS, INSTEAD, PARTS
from atoll.scripts.feature_scope import Column, Relation, Scope
from atoll.scripts.feature_terms import (
    BOOL,
    DATE,
    INT,
    MAX_GROWTH,
    MAX_SCALE,
    NULL,
    STRING,
    TIMESTAMP,
    UNKNOWN,
    Findings,
    Kind,
    Term,
    describe,
    merge,
    text_literal,
)

MAX_PATTERN = 200
MAX_REPEATS = 1000
MAX_WILDCARDS = 8
MAX_REPLACEMENT = 16
_WHOLE = re.compile(r"[0-9]{1,19}")
_DECIMAL = re.compile(r"[0-9]{0,19}\.[0-9]{1,18}")
_COUNTED = re.compile(r"\{([0-9]+)(?:,([0-9]*))?\}")
_COMPARISONS: dict[type[exp.Expression], str] = {
    exp.EQ: "=",
    exp.NEQ: "<>",
    exp.LT: "<",
    exp.LTE: "<=",
    exp.GT: ">",
    exp.GTE: ">=",
    exp.NullSafeEQ: "IS NOT DISTINCT FROM",
    exp.NullSafeNEQ: "IS DISTINCT FROM",
}
_FLOATS = {"FLOAT", "DOUBLE", "REAL", "BFLOAT16"}


class Expressions(ABC):
    """Reads expressions. Nothing that the author wrote reaches the generated SQL but literals, written by us."""

    def __init__(self, findings: Findings) -> None:
        self.findings = findings
        self.windowed = False
        readers: dict[type[exp.Expression], Callable[[exp.Expression, Scope], Term]] = {
            exp.Paren: lambda n, s: self.read(n.this, s),
            exp.Column: self._column,
            exp.Literal: self._literal,
            exp.Null: lambda n, s: Term("NULL", NULL),
            exp.Boolean: lambda n, s: Term("TRUE" if n.this else "FALSE", BOOL),
            exp.And: self._both,
            exp.Or: self._both,
            exp.Not: lambda n, s: self._wrap("(NOT {})", self._boolean(n.this, s)),
            exp.Neg: self._negative,
            exp.Add: self._sum,
            exp.Sub: self._sum,
            exp.Mul: self._product,
            exp.IntDiv: self._division,
            exp.Mod: self._division,
            exp.Div: self._slash,
            exp.Is: self._is,
            exp.Between: self._between,
            exp.In: self._in,
            exp.Like: self._like,
            exp.ILike: self._like,
            exp.Escape: self._like,
            exp.RegexpLike: self._pattern,
            exp.RegexpFullMatch: self._pattern,
            exp.RegexpExtract: self._pattern,
            exp.DPipe: self._join_strings,
            exp.Concat: self._join_strings,
            exp.Replace: self._replace,
            exp.Trim: self._trim,
            exp.Case: self._case,
            exp.If: self._if,
            exp.Coalesce: self._one_of,
            exp.Greatest: self._one_of,
            exp.Least: self._one_of,
            exp.Nullif: self._nullif,
            exp.Abs: self._absolute,
            exp.Sign: self._sign,
            exp.Round: self._round,
            exp.Floor: self._round,
            exp.Ceil: self._round,
            exp.Trunc: self._round,
            exp.Cast: self._cast,
            exp.TryCast: self._cast,
            exp.DateDiff: self._date_diff,
            exp.TimestampTrunc: self._truncated,
            exp.DateTrunc: self._truncated,
            exp.Extract: self._part,
            exp.Anonymous: self._anonymous,
            exp.Exists: self._exists,
            exp.Subquery: self._scalar,
            exp.Select: self._scalar,
        }
        self._readers = readers | dict.fromkeys(_COMPARISONS, self._comparison)

    @abstractmethod
    def query(self, node: exp.Expression, parent: Scope) -> Relation:
        """A subquery that sees the names of `parent`."""

    @abstractmethod
    def aggregate(self, node: exp.Expression, scope: Scope) -> Term | None:
        """The node as an aggregate or window function; None if it is none."""

    def read(self, node: exp.Expression, scope: Scope) -> Term:
        """The term of an expression; findings are noted."""
        key = self._group_key(node, scope)
        if key is not None:
            return key
        reader = self._readers.get(type(node))
        if reader is not None:
            return reader(node, scope)
        function = FUNCTIONS.get(type(node))
        if function is not None:
            return self._function(node, scope)
        term = self.aggregate(node, scope)
        return term if term is not None else self._unknown(node)

    def condition(self, node: exp.Expression, scope: Scope) -> Term:
        """A condition where NULL counts as false.

        The engine may try the parts of AND and OR in any order. Where a part can fail, the order is written down, so
        that the same rows always give the same answer.
        """
        while isinstance(node, exp.Paren):
            node = node.this
        if not isinstance(node, (exp.And, exp.Or)):
            return self._boolean(node, scope)
        a, b = self.condition(node.this, scope), self.condition(node.expression, scope)
        if not (a.fallible or b.fallible):
            word = "AND" if isinstance(node, exp.And) else "OR"
            return self._wrap(f"({{}} {word} {{}})", a, b)
        if isinstance(node, exp.Or):
            return self._wrap("CASE WHEN {} THEN TRUE ELSE {} END", a, b)
        guarded = self._wrap("CASE WHEN {} THEN {} ELSE FALSE END", a, b)
        # Said again outside, joins and filters can use the part that cannot fail.
        return guarded if a.fallible else replace(guarded, sql=f"({a.sql} AND {guarded.sql})")

    # names and literals

    def _group_key(self, node: exp.Expression, scope: Scope) -> Term | None:
        """The node as a key of GROUP BY, in a SELECT that groups."""
        if not scope.grouped or scope.inside or isinstance(node, (exp.Column, exp.Literal)):
            return None
        if node.find(exp.Query, exp.AggFunc, exp.Window):
            return None
        kept, keys = list(self.findings.found), scope.grouped
        scope.grouped = None
        term = self.read(node, scope)
        scope.grouped, self.findings.found = keys, kept
        return term if term.sql in keys else None

    def _column(self, node: exp.Expression, scope: Scope) -> Term:
        self.findings.only(node, "this", "table")
        name, table = node.name.lower(), node.args.get("table")
        alias = table.name.lower() if table is not None else None
        at: Scope | None = scope
        while at is not None:
            found = at.matches(name, alias)
            if len(found) > 1:
                text = f"{name[:40]!r} is a column of several relations; write which, such as b.{name[:40]}."
                return self.findings.add("features-column", node, text)
            if found:
                return self._reference(node, found[0], at, scope)
            if alias is not None and alias in at.relations:
                return self._no_column(node, name, list(at.relations[alias].columns))
            at = at.parent
        if name == "today" and alias is None:
            return Term('"__c"."today"', DATE, frozenset({("today", "")}))
        if alias is not None:
            known = ", ".join(scope.relations) or "none"
            text = f"there is no relation {alias[:40]!r} here; there is: {known}."
            return self.findings.add("features-table", node, text)
        return self._no_column(node, name, [c for r in scope.relations.values() for c in r.columns])

    def _no_column(self, node: exp.Expression, name: str, known: list[str]) -> Term:
        text = (
            f"there is no column {name[:40]!r}; there is: {', '.join(dict.fromkeys(known)) or 'none'}, today."
        )
        return self.findings.add("features-column", node, text)

    def _reference(self, node: exp.Expression, found: tuple[Column, str], at: Scope, scope: Scope) -> Term:
        facts, sql = found
        if facts.kind is None:
            text = f"{node.name[:40]!r} is a float64, and features are exact; rules can read it, SQL cannot."
            return self.findings.add("features-float", node, text)
        if scope.inside and at is not scope:
            text = (
                f"an aggregate reads columns of its own SELECT, and {node.name[:40]!r} is of one around it."
            )
            return self.findings.add("features-column", node, text)
        if at.grouped is not None and not at.inside and sql not in at.grouped:
            text = f"{node.name[:40]!r} stands beside aggregates: put it into GROUP BY, or into an aggregate."
            return self.findings.add("features-group", node, text)
        return Term(sql, facts.kind, facts.sources, growth=facts.growth)

    def _literal(self, node: exp.Expression, scope: Scope) -> Term:
        text = str(node.this)
        if node.args.get("is_string"):
            if "\x00" in text:
                return self.findings.add("features-construct", node, "a string holds no NUL character.")
            return Term(text_literal(text), STRING, literal=text)
        if _WHOLE.fullmatch(text) and int(text) < 2**63:
            return Term(f"CAST({int(text)} AS BIGINT)", INT)
        if _DECIMAL.fullmatch(text):
            kind = Kind("decimal", len(text.partition(".")[2]))
            return Term(f"CAST('{text}' AS {kind.sql})", kind)
        if "e" in text.lower():
            return self.findings.add("features-float", node, f"{text[:40]} is a float; write its digits.")
        text = f"{text[:40]} is no whole number of 64 bits and no decimal such as 12.50."
        return self.findings.add("features-type", node, text)

    # small parts

    def _wrap(self, template: str, *terms: Term, kind: Kind | None = None, fallible: bool = False) -> Term:
        """Generated SQL around terms, of the first one's kind if none is given."""
        return Term(
            template.format(*(t.sql for t in terms)),
            kind or terms[0].kind,
            merge(*terms),
            fallible or any(t.fallible for t in terms),
            max(t.growth for t in terms),
        )

    def _as(self, node: exp.Expression, scope: Scope, *kinds: Kind) -> Term:
        """The node as one of the kinds: as it is, or converted to the first that it fits without loss."""
        term = self.read(node, scope)
        if term.kind in kinds or term.kind == UNKNOWN:
            return term
        if term.kind == NULL or (term.literal is not None and len(kinds) == 1):
            return self.findings.converted(term, kinds[0], node)
        wanted = " or ".join(k.text for k in kinds)
        return self.findings.add("features-type", node, f"This is {term.kind.text}, and {wanted} is needed.")

    def _boolean(self, node: exp.Expression, scope: Scope) -> Term:
        return self._as(node, scope, BOOL)

    def _number(self, node: exp.Expression, scope: Scope) -> Term:
        return self._numeric(self.read(node, scope), node)

    def _numeric(self, term: Term, node: exp.Expression) -> Term:
        if term.kind.name in ("int", "decimal", "unknown"):
            return term
        if term.kind == NULL:
            return self.findings.converted(term, INT, node)
        return self.findings.add("features-type", node, f"This is {term.kind.text}, and a number is needed.")

    def _constant(self, node: exp.Expression | None, low: int, high: int) -> int | None:
        """The whole number that is written there, within bounds; None if there is no such."""
        while isinstance(node, exp.Paren):
            node = node.this
        if isinstance(node, exp.Literal) and re.fullmatch(r"[0-9]{1,9}", str(node.this)):
            value = int(node.this)
            return value if low <= value <= high else None
        return None

    def _both(self, node: exp.Expression, scope: Scope) -> Term:
        self.findings.only(node, "this", "expression")
        word = "AND" if isinstance(node, exp.And) else "OR"
        a, b = self._boolean(node.this, scope), self._boolean(node.expression, scope)
        return self._wrap(f"({{}} {word} {{}})", a, b)

    # arithmetic

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

    # comparisons

    def _comparison(self, node: exp.Expression, scope: Scope) -> Term:
        self.findings.only(node, "this", "expression")
        a, b = self.findings.unified([self.read(node.this, scope), self.read(node.expression, scope)], node)
        return self._wrap(f"({{}} {_COMPARISONS[type(node)]} {{}})", a, b, kind=BOOL)

    def _is(self, node: exp.Expression, scope: Scope) -> Term:
        self.findings.only(node, "this", "expression")
        if isinstance(node.expression, exp.Null):
            return self._wrap("({} IS NULL)", self.read(node.this, scope), kind=BOOL)
        if isinstance(node.expression, exp.Boolean):
            word = "TRUE" if node.expression.this else "FALSE"
            return self._wrap(f"({{}} IS NOT DISTINCT FROM {word})", self._boolean(node.this, scope))
        return self.findings.add("features-construct", node, "IS compares with NULL, TRUE or FALSE.")

    def _between(self, node: exp.Expression, scope: Scope) -> Term:
        self.findings.only(node, "this", "low", "high")
        terms = [self.read(node.args[n], scope) for n in ("this", "low", "high")]
        return self._wrap("({} BETWEEN {} AND {})", *self.findings.unified(terms, node), kind=BOOL)

    def _in(self, node: exp.Expression, scope: Scope) -> Term:
        query = node.args.get("query")
        if query is not None:
            self.findings.only(node, "this", "query")
            mine = self.read(node.this, scope)
            relation, theirs = self._single(query, scope)
            mine, theirs = self.findings.unified([mine, theirs], node)
            inner = f'(SELECT {theirs.sql} FROM {relation.sql} AS "x")'
            term = self._wrap(f"({{}} IN {_braced(inner)})", mine, kind=BOOL)
            return replace(term, sources=term.sources | theirs.sources)
        self.findings.only(node, "this", "expressions")
        values = [node.this, *node.args.get("expressions", ())]
        if len(values) < 2:
            return self.findings.add(
                "features-construct", node, "IN names values in parentheses, or a SELECT."
            )
        terms = self.findings.unified([self.read(v, scope) for v in values], node)
        return self._wrap(f"({{}} IN ({', '.join(['{}'] * (len(terms) - 1))}))", *terms, kind=BOOL)

    # strings

    def _like(self, node: exp.Expression, scope: Scope) -> Term:
        self.findings.only(node, "this", "expression")
        escape = ""
        if isinstance(node, exp.Escape):
            sign = node.expression
            if not (isinstance(sign, exp.Literal) and sign.args["is_string"] and len(sign.this) == 1):
                return self.findings.add("features-pattern", node, "ESCAPE names one character.")
            escape, node = f" ESCAPE {text_literal(sign.this)}", node.this
            if not isinstance(node, (exp.Like, exp.ILike)):
                return self.findings.add("features-pattern", node, "ESCAPE belongs to LIKE.")
            self.findings.only(node, "this", "expression")
        term, pattern = self._as(node.this, scope, STRING), self._text(node.expression)
        if pattern is None or len(pattern) > MAX_PATTERN or pattern.count("%") > MAX_WILDCARDS:
            text = f"LIKE has a pattern that is written there, of {MAX_PATTERN} characters, {MAX_WILDCARDS} of them %."
            return self.findings.add("features-pattern", node, text)
        word = "LIKE" if isinstance(node, exp.Like) else "ILIKE"
        return self._wrap(f"({{}} {word} {_braced(text_literal(pattern))}{_braced(escape)})", term, kind=BOOL)

    def _text(self, node: exp.Expression | None) -> str | None:
        """The string that is written there, or None."""
        if isinstance(node, exp.Literal) and node.args.get("is_string") and "\x00" not in str(node.this):
            return str(node.this)
        return None

    def _pattern(self, node: exp.Expression, scope: Scope) -> Term:
        self.findings.only(node, "this", "expression", "group", "null_if_pos_overflow")
        term, pattern = self._as(node.this, scope, STRING), self._text(node.expression)
        if pattern is None or not 0 < len(pattern) <= MAX_PATTERN:
            text = f"a regular expression is written there as a string of 1 to {MAX_PATTERN} characters."
            return self.findings.add("features-pattern", node, text)
        repeats = 1
        for low, high in _COUNTED.findall(pattern):
            repeats *= max(int(low[:6]), int(high[:6] or 0), 1)
        if repeats > MAX_REPEATS:
            text = f"counted repetitions multiply to {repeats}; at most {MAX_REPEATS} are allowed."
            return self.findings.add("features-pattern", node, text)
        sql = _braced(text_literal(pattern))
        if not isinstance(node, exp.RegexpExtract):
            name = "regexp_matches" if isinstance(node, exp.RegexpLike) else "regexp_full_match"
            return self._wrap(f"{name}({{}}, {sql})", term, kind=BOOL)
        group = self._constant(node.args.get("group"), 0, 9) if node.args.get("group") else 0
        if group is None:
            return self.findings.add("features-pattern", node, "the group is a number from 0 to 9.")
        return self._wrap(f"regexp_extract({{}}, {sql}, {group})", term)

    def _join_strings(self, node: exp.Expression, scope: Scope) -> Term:
        pieces = [node.this, node.expression] if isinstance(node, exp.DPipe) else node.expressions
        self.findings.only(node, "this", "expression", "expressions", "safe", "coalesce")
        terms = [self._as(piece, scope, STRING) for piece in pieces]
        if not terms:
            return self.findings.add("features-construct", node, "concat() joins at least one string.")
        growth = sum(t.growth for t in terms)
        if growth > MAX_GROWTH:
            return self.findings.add("features-size", node, f"joins more than {MAX_GROWTH} strings into one.")
        if isinstance(node, exp.DPipe):
            return replace(self._wrap("({} || {})", *terms), growth=growth)
        return replace(self._wrap(f"concat({', '.join(['{}'] * len(terms))})", *terms), growth=growth)

    def _replace(self, node: exp.Expression, scope: Scope) -> Term:
        self.findings.only(node, "this", "expression", "replacement")
        term = self._as(node.this, scope, STRING)
        old, new = self._text(node.expression), self._text(node.args.get("replacement"))
        if not old or new is None or len(new) > MAX_REPLACEMENT:
            text = f"replace() has both strings written there; the new one has at most {MAX_REPLACEMENT} characters."
            return self.findings.add("features-size", node, text)
        growth = term.growth * max(1, len(new))
        if growth > MAX_GROWTH:
            return self.findings.add(
                "features-size", node, f"makes a string more than {MAX_GROWTH} times longer."
            )
        old, new = _braced(text_literal(old)), _braced(text_literal(new))
        return replace(self._wrap(f"replace({{}}, {old}, {new})", term), growth=growth)

    def _trim(self, node: exp.Expression, scope: Scope) -> Term:
        self.findings.only(node, "this", "position", "expression")
        name = {"LEADING": "ltrim", "TRAILING": "rtrim"}.get(str(node.args.get("position") or ""), "trim")
        term = self._as(node.this, scope, STRING)
        if node.args.get("expression") is None:
            return self._wrap(f"{name}({{}})", term)
        signs = self._text(node.expression)
        if signs is None or len(signs) > MAX_PATTERN:
            return self.findings.add("features-pattern", node, "trim() names the characters in a string.")
        return self._wrap(f"{name}({{}}, {_braced(text_literal(signs))})", term)

    # choices

    def _case(self, node: exp.Expression, scope: Scope) -> Term:
        self.findings.only(node, "this", "ifs", "default")
        tests, values = [], []
        subject = self.read(node.this, scope) if node.this is not None else None
        for branch in node.args["ifs"]:
            if subject is None:
                tests.append(self.condition(branch.this, scope))
            else:
                pair = self.findings.unified([subject, self.read(branch.this, scope)], branch)
                tests.append(self._wrap("({} = {})", *pair, kind=BOOL))
            values.append(self.read(branch.args["true"], scope))
        default = node.args.get("default")
        values.append(self.read(default, scope) if default is not None else Term("NULL", NULL))
        return self._chosen(tests, values, node)

    def _if(self, node: exp.Expression, scope: Scope) -> Term:
        self.findings.only(node, "this", "true", "false")
        other = node.args.get("false")
        values = [self.read(node.args["true"], scope)]
        values.append(self.read(other, scope) if other is not None else Term("NULL", NULL))
        return self._chosen([self.condition(node.this, scope)], values, node)

    def _chosen(self, tests: list[Term], values: list[Term], node: exp.Expression) -> Term:
        values = self.findings.unified(values, node)
        parts = " ".join("WHEN {} THEN {}" for _ in tests)
        pairs = [t for pair in zip(tests, values, strict=False) for t in pair]
        term = self._wrap(f"CASE {parts} ELSE {{}} END", *pairs, values[-1], kind=values[-1].kind)
        return replace(term, growth=max(v.growth for v in values))

    def _one_of(self, node: exp.Expression, scope: Scope) -> Term:
        self.findings.only(node, "this", "expressions", "ignore_nulls", "is_nvl", "is_null")
        terms = [self.read(piece, scope) for piece in (node.this, *node.args.get("expressions", ()))]
        name = {exp.Coalesce: "coalesce", exp.Greatest: "greatest"}.get(type(node), "least")
        return self._wrap(f"{name}({', '.join(['{}'] * len(terms))})", *self.findings.unified(terms, node))

    def _nullif(self, node: exp.Expression, scope: Scope) -> Term:
        self.findings.only(node, "this", "expression")
        terms = [self.read(node.this, scope), self.read(node.expression, scope)]
        return self._wrap("nullif({}, {})", *self.findings.unified(terms, node))

    # numbers

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
        name = {exp.Round: "round", exp.Floor: "floor", exp.Ceil: "ceil"}.get(type(node), "trunc")
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

    # dates

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
        return self._function(PARTS[unit](this=of), scope)

    # functions

    def _function(self, node: exp.Expression, scope: Scope) -> Term:
        function = FUNCTIONS[type(node)]
        self.findings.only(node, *(name for name, _ in function.arguments), *function.ignored)
        terms, template = [], function.template
        for position, (name, kinds) in enumerate(function.arguments):
            piece = node.args.get(name)
            if not isinstance(piece, exp.Expression):
                if position >= len(function.arguments) - function.optional:
                    template = template.replace(", {})", ")")
                    continue
                return self.findings.add(
                    "features-function", node, f"{describe(node)}: an argument is missing."
                )
            terms.append(self._as(piece, scope, *kinds))
        return self._wrap(template, *terms, kind=function.gives, fallible=function.fallible)

    def _anonymous(self, node: exp.Expression, scope: Scope) -> Term:
        name = str(node.this).lower()
        if name in ("date_part", "datepart") and len(node.expressions) == 2:
            unit = self._text(node.expressions[0])
            return self._named_part(node, (unit or "").lower(), node.expressions[1], scope)
        if name in ("suffix", "prefix") and len(node.expressions) == 2:
            kind = exp.EndsWith if name == "suffix" else exp.StartsWith
            return self._function(kind(this=node.expressions[0], expression=node.expressions[1]), scope)
        return self._unknown(node)

    def _unknown(self, node: exp.Expression) -> Term:
        name = describe(node)
        plain = name.removesuffix("()")
        if plain in INSTEAD:
            return self.findings.add("features-function", node, f"{name} is not allowed: {INSTEAD[plain]}.")
        if isinstance(node, exp.Func):
            text = f"{name} is not a function that features may call."
            return self.findings.add("features-function", node, text)
        return self.findings.add("features-construct", node, f"{name} is not allowed in features.")

    # subqueries

    def _single(self, node: exp.Expression, scope: Scope) -> tuple[Relation, Term]:
        """A subquery and its one column, as a term inside it."""
        relation = self.query(node, scope)
        if len(relation.columns) != 1:
            text = f"a SELECT as a value has one column, and this one has {len(relation.columns)}."
            return relation, self.findings.add("features-construct", node, text)
        column = next(iter(relation.columns.values()))
        sources = column.sources | relation.rows
        return relation, Term('"x"."c0"', column.kind or UNKNOWN, sources, growth=column.growth)

    def _scalar(self, node: exp.Expression, scope: Scope) -> Term:
        relation, term = self._single(node, scope)
        return replace(term, sql=f'(SELECT "x"."c0" FROM {relation.sql} AS "x")')

    def _exists(self, node: exp.Expression, scope: Scope) -> Term:
        self.findings.only(node, "this")
        relation = self.query(node.this, scope)
        return Term(f'EXISTS (SELECT 1 FROM {relation.sql} AS "x")', BOOL, relation.rows)


_CASTS_TO = {
    "int": {"decimal", "string"},
    "decimal": {"int", "decimal", "string"},
    "string": {"int", "decimal", "bool", "date", "timestamp"},
    "bool": {"int", "string"},
    "date": {"timestamp", "string"},
    "timestamp": {"date", "string"},
}


def _braced(sql: str) -> str:
    """Literal text inside a template."""
    return sql.replace("{", "{{").replace("}", "}}")
