"""What names mean at a place in a feature query."""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlglot import exp

from atoll.scripts.feature_terms import Kind, Term
from atoll.scripts.sources import Source


@dataclass(frozen=True)
class Column:
    """A column of a relation; `kind` is None where features may not see it (a float64)."""

    kind: Kind | None
    sources: frozenset[Source]
    growth: int = 1


@dataclass(frozen=True)
class Relation:
    """A table or subquery: generated SQL in parentheses, whose columns are named c0, c1, ...

    Attributes:
        columns: by the author's name in lower case, in order.
        rows: what the choice and the number of rows depend on.
        values: generated SQL of the columns, if the relation is one row that is computed from nothing but them.
    """

    sql: str
    columns: dict[str, Column]
    rows: frozenset[Source]
    values: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Common:
    """A named subquery of WITH, with the names that it can see."""

    query: exp.Expression
    before: dict[str, Common]


@dataclass
class Scope:
    """One SELECT: its relations by the author's alias, and the SELECT around it.

    Attributes:
        aliases: our alias of each relation.
        grouped: generated SQL of the keys if rows are grouped here.
        aggregates, windows: whether they may stand at the place that is being read.
        inside: whether that place is the argument of an aggregate.
        own, around: whether the argument of an aggregate has read a column of this SELECT, or something else.
        rows: what the choice of rows depends on.
    """

    parent: Scope | None
    commons: dict[str, Common]
    relations: dict[str, Relation] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    grouped: frozenset[str] | None = None
    aggregates: bool = False
    windows: bool = False
    inside: bool = False
    own: bool = False
    around: bool = False
    rows: frozenset[Source] = frozenset()

    def matches(self, name: str, table: str | None) -> list[tuple[Column, str]]:
        """Columns of that name here, each with its generated SQL."""
        found = []
        for alias, relation in self.relations.items():
            if table in (None, alias):
                for position, (column, facts) in enumerate(relation.columns.items()):
                    if column == name:
                        found.append((facts, f'"{self.aliases[alias]}"."c{position}"'))
        return found

    def all_columns(self) -> list[Term]:
        """Every column here that features may see."""
        return [
            Term(f'"{self.aliases[alias]}"."c{position}"', facts.kind, facts.sources)
            for alias, relation in self.relations.items()
            for position, facts in enumerate(relation.columns.values())
            if facts.kind is not None
        ]
