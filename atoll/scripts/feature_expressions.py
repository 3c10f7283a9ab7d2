"""Expressions of a feature query: each node is checked, typed, and written anew in the engine's SQL."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import replace

from sqlglot import exp

from atoll.scripts.feature_functions import FUNCTIONS, INSTEAD
from atoll.scripts.feature_numbers import Numbers
from atoll.scripts.feature_reader import braced
from atoll.scripts.feature_scope import Column, Relation, Scope
from atoll.scripts.feature_strings import Strings
from atoll.scripts.feature_terms import (
    BOOL,
    DATE,
    INT,
    NULL,
    STRING,
    UNKNOWN,
    Findings,
    Kind,
    Term,
    describe,
    select,
    text_literal,
)

_WHOLE = re.compile(r"[0-9]{1,19}")
_DECIMAL = re.compile(r"[0-9]{0,19}\.[0-9]{1,18}")
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


class Expressions(Strings, Numbers):
    """Reads expressions. Nothing that the author wrote reaches the generated SQL but literals, written by us."""

    def __init__(self, findings: Findings) -> None:
        super().__init__(findings)
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
            return self.function(node, scope)
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
        # Said again outside, joins and filters can use a part that cannot fail and is short.
        return (
            guarded
            if a.fallible or node.this.find(exp.Query)
            else replace(guarded, sql=f"({a.sql} AND {guarded.sql})")
        )

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
            scope.around = True
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
        at.own = True
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

    def _boolean(self, node: exp.Expression, scope: Scope) -> Term:
        return self._as(node, scope, BOOL)

    def _both(self, node: exp.Expression, scope: Scope) -> Term:
        self.findings.only(node, "this", "expression")
        word = "AND" if isinstance(node, exp.And) else "OR"
        a, b = self._boolean(node.this, scope), self._boolean(node.expression, scope)
        return self._wrap(f"({{}} {word} {{}})", a, b)

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
            inner = _inner(theirs.sql, relation)
            term = self._wrap(f"({{}} IN {braced(inner)})", mine, kind=BOOL)
            return replace(term, sources=term.sources | theirs.sources)
        self.findings.only(node, "this", "expressions")
        values = [node.this, *node.args.get("expressions", ())]
        if len(values) < 2:
            return self.findings.add(
                "features-construct", node, "IN names values in parentheses, or a SELECT."
            )
        terms = self.findings.unified([self.read(v, scope) for v in values], node)
        return self._wrap(f"({{}} IN ({', '.join(['{}'] * (len(terms) - 1))}))", *terms, kind=BOOL)

    def _case(self, node: exp.Expression, scope: Scope) -> Term:
        self.findings.only(node, "this", "ifs", "default")
        branches, default = node.args["ifs"], node.args.get("default")
        values = [self.read(branch.args["true"], scope) for branch in branches]
        values.append(self.read(default, scope) if default is not None else Term("NULL", NULL))
        if node.this is None:
            return self._chosen([self.condition(branch.this, scope) for branch in branches], values, node)
        compared = [self.read(part, scope) for part in (node.this, *(branch.this for branch in branches))]
        subject, *tests = self.findings.unified(compared, node)
        return self._chosen(tests, values, node, subject)

    def _if(self, node: exp.Expression, scope: Scope) -> Term:
        self.findings.only(node, "this", "true", "false")
        other = node.args.get("false")
        values = [self.read(node.args["true"], scope)]
        values.append(self.read(other, scope) if other is not None else Term("NULL", NULL))
        return self._chosen([self.condition(node.this, scope)], values, node)

    def _chosen(
        self, tests: list[Term], values: list[Term], node: exp.Expression, subject: Term | None = None
    ) -> Term:
        values = self.findings.unified(values, node)
        first = [subject] if subject is not None else []
        parts = " ".join("WHEN {} THEN {}" for _ in tests)
        pairs = [t for pair in zip(tests, values, strict=False) for t in pair]
        template = f"CASE {'{} ' if first else ''}{parts} ELSE {{}} END"
        term = self._wrap(template, *first, *pairs, values[-1], kind=values[-1].kind)
        return replace(term, growth=max(v.growth for v in values))

    def _one_of(self, node: exp.Expression, scope: Scope) -> Term:
        self.findings.only(node, "this", "expressions", "ignore_nulls", "is_nvl", "is_null")
        terms = [self.read(piece, scope) for piece in (node.this, *node.args.get("expressions", ()))]
        name = (
            "coalesce"
            if isinstance(node, exp.Coalesce)
            else "greatest"
            if isinstance(node, exp.Greatest)
            else "least"
        )
        return self._wrap(f"{name}({', '.join(['{}'] * len(terms))})", *self.findings.unified(terms, node))

    def _nullif(self, node: exp.Expression, scope: Scope) -> Term:
        self.findings.only(node, "this", "expression")
        terms = [self.read(node.this, scope), self.read(node.expression, scope)]
        return self._wrap("nullif({}, {})", *self.findings.unified(terms, node))

    def function(self, node: exp.Expression, scope: Scope) -> Term:
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
            return self.function(kind(this=node.expressions[0], expression=node.expressions[1]), scope)
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

    def _single(self, node: exp.Expression, scope: Scope) -> tuple[Relation, Term]:
        """A subquery and its one column, as a term inside it."""
        scope.around = True
        relation = self.query(node, scope)
        if len(relation.columns) != 1:
            text = f"a SELECT as a value has one column, and this one has {len(relation.columns)}."
            return relation, self.findings.add("features-construct", node, text)
        column = next(iter(relation.columns.values()))
        sources = column.sources | relation.rows
        return relation, Term('"x"."c0"', column.kind or UNKNOWN, sources, growth=column.growth)

    def _scalar(self, node: exp.Expression, scope: Scope) -> Term:
        relation, term = self._single(node, scope)
        return replace(term, sql=_inner('"x"."c0"', relation))

    def _exists(self, node: exp.Expression, scope: Scope) -> Term:
        self.findings.only(node, "this")
        scope.around = True
        relation = self.query(node.this, scope)
        return Term(f"EXISTS {_inner('1', relation)}", BOOL, relation.rows)


def _inner(listed: str, relation: Relation) -> str:
    """A subquery of a relation, named x."""
    return "(" + select(listed, relation.sql, ' AS "x"') + ")"
