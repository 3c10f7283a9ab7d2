"""SELECTs of a feature query, each written anew: relations, joins, groups, windows, order.

The author's names are resolved here. A reference to an input becomes a subquery of the rows of one call,
`(SELECT ... FROM "__input_bills" WHERE "__call" = "__c"."__call")`, and there is no other way to name a table. So a
query sees no rows but those of its call, whatever it does with them.
"""

from __future__ import annotations

from dataclasses import replace

from sqlglot import exp

from atoll.scripts.feature_expressions import Expressions
from atoll.scripts.feature_scope import Column, Common, Relation, Scope
from atoll.scripts.feature_terms import (
    INT,
    NULL,
    STRING,
    UNKNOWN,
    Findings,
    Kind,
    Refusal,
    Term,
    describe,
    kind_of,
    merge,
    quoted,
    select,
    text_literal,
)
from atoll.scripts.manifest import ColumnText, Manifest, column_facts
from atoll.scripts.sources import Source

MAX_RELATIONS = 64
MAX_LIMIT = 10_000
MAX_SEPARATOR = 16
_RANKS: dict[type[exp.Expression], str] = {
    exp.RowNumber: "row_number",
    exp.Rank: "rank",
    exp.DenseRank: "dense_rank",
}
_SHIFTS: dict[type[exp.Expression], str] = {exp.Lag: "lag", exp.Lead: "lead"}
_ENDS = {"UNBOUNDED PRECEDING", "UNBOUNDED FOLLOWING", "CURRENT ROW"}


class Queries(Expressions):
    """Reads SELECTs over the tables of a manifest."""

    def __init__(self, manifest: Manifest, findings: Findings) -> None:
        super().__init__(findings)
        listed = [(name, of.columns) for name, of in manifest.inputs.items()]
        listed += [(name, table.columns) for name, table in manifest.parameters.items()]
        for name, columns in listed:
            if len({column.lower() for column in columns}) < len(columns):
                text = (
                    f"two columns of {name} differ in upper and lower case only; SQL cannot tell them apart."
                )
                findings.add("features-column", None, text)
        self._number_of_relations = 0
        self._aliases = 0
        self._tables: dict[str, tuple[str, dict[str, Column]]] = {}
        for name, of in manifest.inputs.items():
            self._tables[name] = ("input", _columns(name, of.columns))
        for name, table in manifest.parameters.items():
            self._tables[name] = ("table", _columns(name, table.columns))

    def query(self, node: exp.Expression, parent: Scope) -> Relation:
        """A SELECT, or several under UNION and the like, in parentheses or not."""
        while isinstance(node, (exp.Subquery, exp.Paren)):
            self.findings.only(node, "this")
            node = node.this
        if isinstance(node, exp.Select):
            return self._select(node, parent)
        if isinstance(node, exp.SetOperation):
            return self._set(node, parent)
        self.findings.add("features-statement", node, f"{describe(node)} stands where a SELECT is needed.")
        raise Refusal

    def _commons(self, node: exp.Expression, scope: Scope) -> dict[str, Common]:
        """The names that WITH adds; each query of WITH is checked whether it is used or not."""
        known = dict(scope.commons)
        with_ = node.args.get("with_")
        if with_ is None:
            return known
        if with_.args.get("recursive"):
            self.findings.add("features-construct", node, "WITH RECURSIVE is not allowed in features.")
            raise Refusal
        self.findings.only(with_, "expressions")
        for common in with_.expressions:
            self.findings.only(common, "this", "alias")
            self.findings.only(common.args["alias"], "this")
            name = common.alias.lower()
            if name in self._tables or name in known:
                self.findings.add("features-table", common, f"the name {name[:40]!r} is taken.")
            known[name] = Common(common.this, dict(known))
            self.query(common.this, Scope(None, known[name].before))
        return known

    def _count(self, node: exp.Expression) -> None:
        self._number_of_relations += 1
        if self._number_of_relations > MAX_RELATIONS:
            text = f"the statement reads tables more than {MAX_RELATIONS} times, each use of a WITH counted anew."
            self.findings.add("features-size", node, text)
            raise Refusal

    # relations

    def _table(self, node: exp.Table, scope: Scope) -> Relation:
        self.findings.only(node, "this", "alias")
        self._count(node)
        known = ", ".join(sorted({*self._tables, *scope.commons}))
        if not isinstance(node.this, exp.Identifier):
            text = f"{describe(node.this)} is no table; there is: {known}."
            self.findings.add("features-table", node, text)
            raise Refusal
        name = node.this.name.lower()
        if name in scope.commons:
            common = scope.commons[name]
            return self.query(common.query, Scope(None, common.before))
        if name not in self._tables:
            self.findings.add("features-table", node, f"there is no table {name[:40]!r}; there is: {known}.")
            raise Refusal
        place, columns = self._tables[name]
        listed = ", ".join(f'"c{n}"' for n, c in enumerate(columns.values()) if c.kind is not None)
        sql = select(listed or "1", quoted(f"__{place}_{name}"))
        if place == "input":
            sql += ' WHERE "__call" = "__c"."__call"'
        return Relation(f"({sql})", columns, frozenset({(name, "")}))

    def _add(self, node: exp.Expression, scope: Scope) -> str:
        """Adds a relation of FROM to the scope; gives its generated SQL."""
        self._aliases += 1
        ours = f"r{self._aliases}"
        if isinstance(node, exp.Table):
            relation = self._table(node, scope)
            alias = node.alias_or_name.lower()
        elif isinstance(node, exp.Subquery):
            self.findings.only(node, "this", "alias")
            # A subquery in FROM sees the SELECT around its own, and not its neighbours.
            around = Scope(scope.parent, scope.commons)
            relation = self.query(node.this, around)
            alias = node.alias.lower() or ours
        else:
            text = f"{describe(node)} is no table: FROM names inputs, parameter tables and SELECTs."
            self.findings.add("features-table", node, text)
            raise Refusal
        if node.args.get("alias") is not None:
            self.findings.only(node.args["alias"], "this")
        if alias in scope.relations:
            self.findings.add(
                "features-table", node, f"{alias[:40]!r} stands twice in FROM; give it another alias."
            )
        scope.relations[alias], scope.aliases[alias] = relation, ours
        scope.rows |= relation.rows
        return f"{relation.sql} AS {quoted(ours)}"

    def _from(self, node: exp.Select, scope: Scope) -> str:
        start = node.args.get("from_")
        if start is None:
            return ""
        sql = self._add(start.this, scope)
        joins = [*start.this.args.get("joins", ()), *node.args.get("joins", ())]
        for join in joins:
            self.findings.only(join, "this", "on", "side", "kind")
            side, kind = str(join.args.get("side") or "").upper(), str(join.args.get("kind") or "").upper()
            if side not in ("", "LEFT", "RIGHT", "FULL") or kind not in ("", "INNER", "OUTER", "CROSS"):
                text = f"{side or kind} JOIN is not allowed; write JOIN ... ON, or EXISTS."
                self.findings.add("features-construct", join, text)
                raise Refusal
            added = self._add(join.this, scope)
            on = join.args.get("on")
            if on is None:
                if side:
                    self.findings.add("features-construct", join, f"{side} JOIN needs ON.")
                sql += f" CROSS JOIN {added}"
                continue
            term = self.condition(on, scope)
            scope.rows |= term.sources
            sql += f" {side or 'INNER'} JOIN {added} ON {term.sql}"
        return f" FROM {sql}"

    # SELECT

    def _select(self, node: exp.Select, parent: Scope) -> Relation:
        self.findings.only(
            node, "expressions", "from_", "joins", "where", "group", "having", "order", "limit", "offset",
            "distinct", "with_",
        )  # fmt: skip
        scope = Scope(parent, self._commons(node, parent))
        body = self._from(node, scope)
        where = node.args.get("where")
        if where is not None:
            term = self.condition(where.this, scope)
            scope.rows |= term.sources
            body += f" WHERE {term.sql}"
        body += self._group(node, scope)
        scope.aggregates = scope.windows = True
        columns, terms = self._projections(node, scope)
        scope.windows = False
        having = node.args.get("having")
        if having is not None:
            term = self.condition(having.this, scope)
            scope.rows |= term.sources
            body += f" HAVING {term.sql}"
        distinct = node.args.get("distinct")
        if distinct is not None:
            self.findings.only(distinct)
            scope.rows |= merge(*terms)
        keys = self._keys(node, columns, terms, scope)
        if keys is None or (
            distinct is not None and any(k.sql not in {t.sql for t in terms} for k, _ in keys)
        ):
            if keys is not None:
                text = "ORDER BY names columns of the SELECT when it is DISTINCT."
                self.findings.add("features-order", node, text)
            keys = []
        listed = [f'{t.sql} AS "c{n}"' for n, t in enumerate(terms)]
        listed += _extra(keys, terms)
        inner = f"SELECT {'DISTINCT ' if distinct is not None else ''}{', '.join(listed)}{body}"
        relation = self._cut(node, inner, columns, terms, keys, scope.rows)
        # A window function counts as more: without a FROM around it, it would run over the calls.
        plain = not (
            body or distinct or scope.grouped is not None or node.args.get("limit") or node.args.get("offset")
        )
        if plain and not any(part.find(exp.Window) for part in node.expressions):
            return replace(relation, values=tuple(term.sql for term in terms))
        return relation

    def _projections(self, node: exp.Select, scope: Scope) -> tuple[list[str], list[Term]]:
        columns, terms = [], []
        for position, projection in enumerate(node.expressions):
            value = projection
            if isinstance(projection, exp.Alias):
                self.findings.only(projection, "this", "alias")
                value = projection.this
            if isinstance(value, exp.Star) or (
                isinstance(value, exp.Column) and isinstance(value.this, exp.Star)
            ):
                self.findings.add("features-construct", node, "name the columns instead of *.")
                raise Refusal
            columns.append((projection.alias_or_name or f"column{position}").lower())
            term = self.read(value, scope)
            # A column without a type would get one from the engine.
            terms.append(replace(term, sql="CAST(NULL AS VARCHAR)") if term.kind == NULL else term)
        if not terms:
            self.findings.add("features-construct", node, "a SELECT names its columns.")
            raise Refusal
        for name in {c for c in columns if columns.count(c) > 1}:
            self.findings.add(
                "features-column", node, f"two columns are named {name[:40]!r}; give one an alias."
            )
            raise Refusal
        return columns, terms

    def _group(self, node: exp.Select, scope: Scope) -> str:
        group = node.args.get("group")
        if group is None:
            if node.args.get("having") is not None or any(
                _own_aggregates(part) for part in (*node.expressions, *_order_parts(node))
            ):
                scope.grouped = frozenset()
            return ""
        self.findings.only(group, "expressions")
        keys = []
        for key in group.expressions:
            if isinstance(key, exp.Literal):
                self.findings.add("features-construct", key, "GROUP BY names expressions, and no positions.")
            keys.append(self.read(key, scope))
        scope.rows |= merge(*keys)
        scope.grouped = frozenset(key.sql for key in keys)
        return f" GROUP BY {', '.join(key.sql for key in keys)}"

    def _keys(
        self, node: exp.Expression, columns: list[str], terms: list[Term], scope: Scope | None
    ) -> list[tuple[Term, str]] | None:
        """The keys of ORDER BY with their direction; None if there is no ORDER BY."""
        order = node.args.get("order")
        if order is None:
            return None
        self.findings.only(order, "expressions")
        keys = []
        for ordered in order.expressions:
            key = ordered.this
            if isinstance(key, exp.Literal) and not key.args["is_string"]:
                at = self._constant(key, 1, len(terms))
                if at is None:
                    self.findings.add("features-order", key, f"there are columns 1 to {len(terms)}.")
                    continue
                term = terms[at - 1]
            elif isinstance(key, exp.Column) and not key.args.get("table") and key.name.lower() in columns:
                term = terms[columns.index(key.name.lower())]
            elif scope is None:
                text = "ORDER BY behind UNION and the like names columns of the result."
                self.findings.add("features-order", key, text)
                continue
            else:
                term = self.read(key, scope)
            keys.append((term, self._direction(ordered)))
        return keys

    def _direction(self, ordered: exp.Ordered) -> str:
        self.findings.only(ordered, "this", "desc", "nulls_first")
        direction = "DESC" if ordered.args.get("desc") else "ASC"
        return f"{direction} NULLS {'FIRST' if ordered.args.get('nulls_first') else 'LAST'}"

    def _cut(
        self,
        node: exp.Expression,
        inner: str,
        columns: list[str],
        terms: list[Term],
        keys: list[tuple[Term, str]],
        rows: frozenset[Source],
    ) -> Relation:
        """The relation, with LIMIT and OFFSET. Rows that are equal in the order are told apart by their columns, so
        that the rows that stay do not depend on the order of the owner's table."""
        limits = []
        for name in ("limit", "offset"):
            part = node.args.get(name)
            if part is None:
                continue
            self.findings.only(part, "expression")
            number = self._constant(part.expression, 0, MAX_LIMIT)
            if number is None:
                text = f"{name.upper()} is a number from 0 to {MAX_LIMIT:,} that is written there."
                self.findings.add("features-order", part, text)
            limits.append(f"{name.upper()} {number}")
        if limits and not keys:
            text = "LIMIT without ORDER BY keeps any rows; say which with ORDER BY."
            self.findings.add("features-order", node, text)
        sql = inner
        if limits:
            rows = rows | merge(*terms, *(key for key, _ in keys))
            mine = [term.sql for term in terms]
            order = [
                f'"c{mine.index(key.sql)}" {direction}' if key.sql in mine else f'"k{n}" {direction}'
                for n, (key, direction) in enumerate(keys)
            ]
            order += [f'"c{n}" ASC NULLS LAST' for n in range(len(terms))]
            listed = ", ".join(f'"c{n}"' for n in range(len(terms)))
            sql = select(listed, f'({inner}) AS "y"', f" ORDER BY {', '.join(order)} {' '.join(limits)}")
        elif keys:
            listed = ", ".join(f'"c{n}"' for n in range(len(terms)))
            sql = select(listed, f'({inner}) AS "y"')
        found = {
            name: Column(term.kind, term.sources | rows, term.growth)
            for name, term in zip(columns, terms, strict=True)
        }
        return Relation(self.findings.bounded(f"({sql})", node), found, rows)

    def _set(self, node: exp.SetOperation, parent: Scope) -> Relation:
        self.findings.only(node, "this", "expression", "distinct", "order", "limit", "offset", "with_")
        scope = Scope(parent, self._commons(node, parent))
        left, right = self.query(node.this, scope), self.query(node.expression, scope)
        columns = list(left.columns)
        if len(columns) != len(right.columns):
            self.findings.add("features-construct", node, "both sides have the same number of columns.")
            raise Refusal
        sides: tuple[list[str], list[str]] = ([], [])
        terms = []
        for n, (a, b) in enumerate(zip(left.columns.values(), right.columns.values(), strict=True)):
            pair = [Term(f'"x"."c{n}"', c.kind or UNKNOWN, c.sources, growth=c.growth) for c in (a, b)]
            pair = self.findings.unified(pair, node)
            for side, term in zip(sides, pair, strict=True):
                side.append(f'{term.sql} AS "c{n}"')
            terms.append(Term(f'"c{n}"', pair[0].kind, merge(*pair), growth=max(a.growth, b.growth)))
        word = {exp.Union: "UNION", exp.Except: "EXCEPT"}.get(type(node), "INTERSECT")
        word += "" if node.args.get("distinct") else " ALL"
        halves = [
            select(", ".join(side), relation.sql, ' AS "x"')
            for side, relation in zip(sides, (left, right), strict=True)
        ]
        rows = left.rows | right.rows | merge(*terms)
        keys = self._keys(node, columns, terms, None) or []
        listed = [f'"c{n}"' for n in range(len(terms))]
        inner = select(", ".join(listed), f'({halves[0]} {word} {halves[1]}) AS "z"')
        return self._cut(node, inner, columns, terms, keys, rows)

    # aggregates and windows

    def aggregate(self, node: exp.Expression, scope: Scope) -> Term | None:
        """The node as an aggregate or window function; None if it is none."""
        if isinstance(node, exp.Window):
            return self._window(node, scope)
        where, call = "", node
        if isinstance(node, exp.Filter):
            call = node.this
        if not isinstance(call, tuple(_AGGREGATES)):
            return None
        if not scope.aggregates or scope.inside:
            text = (
                f"{describe(call)} is an aggregate, and none can stand here; put it into a SELECT of its own."
            )
            return self.findings.add("features-group", node, text)
        scope.inside, scope.own, scope.around = True, False, False
        term = self._aggregated(call, scope)
        self._belongs(call, scope)
        sources = term.sources | scope.rows
        if isinstance(node, exp.Filter):
            self.findings.only(node, "this", "expression")
            condition = self.condition(node.expression.this, scope)
            self._belongs(node.expression, scope)
            where, sources = f" FILTER (WHERE {condition.sql})", sources | condition.sources
        scope.inside = False
        return self._finished(replace(term, sources=sources), where)

    def _belongs(self, node: exp.Expression, scope: Scope) -> None:
        """Refuses an aggregate that reads only what is outside of its SELECT: in SQL it would be one of the SELECT
        around it, and in the end one over all calls."""
        if scope.around and not scope.own:
            text = "an aggregate that reads `today` or a subquery reads a column of its own SELECT beside it."
            self.findings.add("features-group", node, text)
        scope.own = scope.around = False

    def _finished(self, call: Term, behind: str) -> Term:
        """A call of an aggregate with what stands behind it, as its exact type: the engine widens sums."""
        return replace(call, sql=self.findings.bounded(f"CAST({call.sql}{behind} AS {call.kind.sql})"))

    def _aggregated(self, node: exp.Expression, scope: Scope) -> Term:
        name, kinds = _AGGREGATES[type(node)]
        value, distinct = node.this, ""
        if isinstance(node, exp.GroupConcat):
            return self._string_agg(node, scope)
        self.findings.only(node, "this", "big_int")
        if isinstance(node, exp.Count) and isinstance(value, exp.Star):
            self.findings.only(value)
            return Term("count(*)", INT)
        if isinstance(value, exp.Distinct):
            self.findings.only(value, "expressions")
            if len(value.expressions) != 1 or name in ("bool_and", "bool_or", "count_if"):
                return self.findings.add("features-construct", node, "DISTINCT is for one column.")
            value, distinct = value.expressions[0], "DISTINCT "
        if not isinstance(value, exp.Expression):
            return self.findings.add("features-function", node, f"{describe(node)} needs a column.")
        term = self.read(value, scope)
        if term.kind == NULL and kinds:
            term = self.findings.converted(term, Kind(kinds[0]), node)
        if kinds and term.kind.name not in (*kinds, "unknown"):
            return self.findings.add(
                "features-type", node, f"{describe(node)} does not take {term.kind.text}."
            )
        gives = INT if name in ("count", "count_if") else term.kind
        return Term(f"{name}({distinct}{term.sql})", gives, term.sources, True, term.growth)

    def _string_agg(self, node: exp.GroupConcat, scope: Scope) -> Term:
        self.findings.only(node, "this", "separator")
        order, separator = node.this, self._text(node.args.get("separator"))
        if not isinstance(order, exp.Order):
            text = "string_agg depends on the order of rows: write string_agg(x, ',' ORDER BY x)."
            return self.findings.add("features-order", node, text)
        self.findings.only(order, "this", "expressions")
        if separator is None or len(separator) > MAX_SEPARATOR:
            text = f"the separator is a string of at most {MAX_SEPARATOR} characters."
            return self.findings.add("features-size", node, text)
        term = self._as(order.this, scope, STRING)
        keys = [(self.read(o.this, scope), self._direction(o)) for o in order.expressions]
        # Equal keys are told apart by the string itself: then the order of rows makes no difference.
        ordered = ", ".join(
            [f"{key.sql} {direction}" for key, direction in keys] + [f"{term.sql} ASC NULLS LAST"]
        )
        sql = f"string_agg({term.sql}, {text_literal(separator)} ORDER BY {ordered})"
        return Term(sql, STRING, merge(term, *(key for key, _ in keys)), True, term.growth)

    def _window(self, node: exp.Window, scope: Scope) -> Term:
        self.findings.only(node, "this", "partition_by", "order", "spec", "over")
        if not scope.windows or scope.grouped is not None or scope.inside:
            text = "a window function stands among the columns of a SELECT without GROUP BY; use a subquery."
            return self.findings.add("features-group", node, text)
        if str(node.args.get("over") or "OVER").upper() != "OVER":
            return self.findings.add("features-construct", node, "a window is written with OVER (...).")
        scope.windows, scope.inside = False, True
        call, total = self._windowed(node.this, scope)
        parts = [self.read(part, scope) for part in node.args.get("partition_by") or ()]
        order = node.args.get("order")
        if order is not None:
            self.findings.only(order, "expressions")
        ordered = order.expressions if order is not None else ()
        keys = [(self.read(o.this, scope), self._direction(o)) for o in ordered]
        scope.windows, scope.inside = True, False
        frame = self._frame(node, bool(keys))
        total = total or "ROWS" in frame
        sources = merge(call, *parts, *(key for key, _ in keys)) | scope.rows
        written = [f"{key.sql} {direction}" for key, direction in keys]
        if total:
            # Rows that are equal in the order are told apart by all their columns; what is left over is the same row.
            columns = scope.all_columns()
            written += [f"{column.sql} ASC NULLS LAST" for column in columns]
            sources |= merge(*columns)
        over = [f"PARTITION BY {', '.join(part.sql for part in parts)}"] if parts else []
        over += [f"ORDER BY {', '.join(written)}"] if written else []
        return self._finished(replace(call, sources=sources), f" OVER ({' '.join([*over, frame]).strip()})")

    def _windowed(self, node: exp.Expression, scope: Scope) -> tuple[Term, bool]:
        """The function of a window, and whether its value needs an order of all rows."""
        if isinstance(node, tuple(_RANKS)):
            self.findings.only(node)
            return Term(f"{_RANKS[type(node)]}()", INT), isinstance(node, exp.RowNumber)
        if isinstance(node, tuple(_SHIFTS)):
            self.findings.only(node, "this", "offset")
            offset = node.args.get("offset")
            by = self._constant(offset, 0, MAX_LIMIT) if offset is not None else 1
            if by is None:
                return self.findings.add(
                    "features-construct", node, "the offset is a number that is written there."
                ), True
            term = self.read(node.this, scope)
            return replace(term, sql=f"{_SHIFTS[type(node)]}({term.sql}, {by})"), True
        if isinstance(node, tuple(_AGGREGATES)) and not isinstance(node, exp.GroupConcat):
            return self._aggregated(node, scope), False
        text = f"{describe(node)} OVER is not allowed: row_number, rank, dense_rank, lag, lead, sum, count, min, max."
        return self.findings.add("features-function", node, text), False

    def _frame(self, node: exp.Window, ordered: bool) -> str:
        spec = node.args.get("spec")
        if spec is None:
            return ""
        self.findings.only(spec, "kind", "start", "start_side", "end", "end_side")
        kind = str(spec.args.get("kind") or "").upper()
        ends = [_edge(spec.args.get("start"), spec.args.get("start_side"))]
        ends.append(_edge(spec.args.get("end") or "CURRENT ROW", spec.args.get("end_side")))
        if kind not in ("ROWS", "RANGE") or None in ends or not ordered:
            text = (
                "a frame is ROWS or RANGE, with ORDER BY, between numbers of rows, UNBOUNDED or CURRENT ROW."
            )
            self.findings.add("features-construct", node, text)
            return ""
        if kind == "RANGE" and not {*ends} <= _ENDS:
            self.findings.add(
                "features-construct", node, "RANGE is between UNBOUNDED and CURRENT ROW; use ROWS."
            )
        return f"{kind} BETWEEN {ends[0]} AND {ends[1]}"


def _extra(keys: list[tuple[Term, str]], terms: list[Term]) -> list[str]:
    """Keys of ORDER BY that are no column of the SELECT, as columns beside them."""
    mine = {term.sql for term in terms}
    return [f'{key.sql} AS "k{n}"' for n, (key, _) in enumerate(keys) if key.sql not in mine]


def _edge(at: exp.Expression | str | None, side: str | None) -> str | None:
    """One end of a frame, or None."""
    text = at.upper() if isinstance(at, str) else ""
    if text == "CURRENT ROW":
        return text
    side = str(side or "").upper()
    if side not in ("PRECEDING", "FOLLOWING"):
        return None
    if text == "UNBOUNDED":
        return f"UNBOUNDED {side}"
    if isinstance(at, exp.Literal) and str(at.this).isdecimal() and int(str(at.this)[:9]) <= MAX_LIMIT:
        return f"{int(str(at.this)[:9])} {side}"
    return None


_AGGREGATES: dict[type[exp.Expression], tuple[str, tuple[str, ...]]] = {
    exp.Count: ("count", ()),
    exp.CountIf: ("count_if", ("bool",)),
    exp.Sum: ("sum", ("int", "decimal")),
    exp.Min: ("min", ("int", "decimal", "string", "date", "timestamp")),
    exp.Max: ("max", ("int", "decimal", "string", "date", "timestamp")),
    exp.LogicalAnd: ("bool_and", ("bool",)),
    exp.LogicalOr: ("bool_or", ("bool",)),
    exp.GroupConcat: ("string_agg", ("string",)),
}


def _own_aggregates(node: exp.Expression) -> bool:
    """Whether the expression holds an aggregate of its own SELECT: not of a subquery, and not of a window."""
    if isinstance(node, exp.Query):
        return False
    if isinstance(node, exp.Window):
        return False
    if isinstance(node, tuple(_AGGREGATES)):
        return True
    return any(_own_aggregates(child) for child in node.iter_expressions())


def _order_parts(node: exp.Expression) -> list[exp.Expression]:
    order = node.args.get("order")
    return list(order.expressions) if order is not None else []


def _columns(name: str, columns: dict[str, ColumnText]) -> dict[str, Column]:
    found: dict[str, Column] = {}
    for column in sorted(columns):
        facts = column_facts(columns[column])
        kind = None if facts.type == "float64" else kind_of(facts)
        found[column.lower()] = Column(kind, frozenset({(name, column)}))
    return found
