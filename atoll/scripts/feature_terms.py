"""Terms of a feature query: generated SQL with its type and what it depends on.

Every type is exact. A whole number is always BIGINT, a decimal always DECIMAL(38, scale), and nothing is converted
unless the generated SQL says so: the engine chooses no type by itself, so it never comes to a float.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from sqlglot import exp

from atoll.scripts.finding import Finding
from atoll.scripts.manifest import ColumnFacts
from atoll.scripts.sources import Source

MAX_SCALE = 30
MAX_GROWTH = 64
MAX_GENERATED = 1 << 20
MAX_FINDINGS = 50
_NOTHING: frozenset[Source] = frozenset()
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIMESTAMP = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?")


@dataclass(frozen=True)
class Kind:
    """A type of a term: int, decimal (with its scale), string, bool, date, timestamp, null, or unknown after a
    finding."""

    name: str
    scale: int = 0

    @property
    def sql(self) -> str:
        """The engine's type."""
        return f"DECIMAL(38, {self.scale})" if self.name == "decimal" else _SQL[self.name]

    @property
    def text(self) -> str:
        """The type as an author knows it."""
        return _TEXTS.get(self.name, self.name)


_SQL = {
    "int": "BIGINT",
    "string": "VARCHAR",
    "bool": "BOOLEAN",
    "date": "DATE",
    "timestamp": "TIMESTAMP",
    "null": "VARCHAR",  # NULL of this type can be cast to any other
    "unknown": "VARCHAR",
}
_TEXTS = {"int": "a whole number", "decimal": "a decimal", "string": "a string", "bool": "true or false"}
_TEXTS |= {"date": "a date", "timestamp": "a timestamp", "null": "NULL"}

INT, STRING, BOOL = Kind("int"), Kind("string"), Kind("bool")
DATE, TIMESTAMP, NULL, UNKNOWN = Kind("date"), Kind("timestamp"), Kind("null"), Kind("unknown")


@dataclass(frozen=True)
class Term:
    """An expression in generated SQL.

    Attributes:
        sources: what its value depends on, the choice of rows included.
        fallible: whether a value can make the engine fail, as an overflow does.
        growth: at most so many times the length of the longest string that it is made of.
        literal: its value if it is a string literal.
    """

    sql: str
    kind: Kind
    sources: frozenset[Source] = _NOTHING
    fallible: bool = False
    growth: int = 1
    literal: str | None = None


def quoted(name: str) -> str:
    """A name of ours as an identifier."""
    assert re.fullmatch(r"[a-z0-9_]+", name)  # nothing that an author wrote comes here
    return f'"{name}"'


def text_literal(text: str) -> str:
    """A string literal: inside quotes only the quote itself has a meaning."""
    return "'" + text.replace("'", "''") + "'"


def select(listed: str, source: str, behind: str = "") -> str:
    """A SELECT of generated SQL."""
    return f"SELECT {listed} FROM {source}{behind}"  # noqa: S608, no text of an author is in it but quoted literals


def kind_of(facts: ColumnFacts) -> Kind:
    """The kind of a column; a float64 has none."""
    if facts.type == "decimal":
        return Kind("decimal", facts.scale or 0)
    return {"int64": INT, "string": STRING, "bool": BOOL, "date": DATE, "timestamp": TIMESTAMP}[facts.type]


def merge(*terms: Term) -> frozenset[Source]:
    """What all of the terms depend on."""
    return frozenset().union(*(term.sources for term in terms))


class Refusal(Exception):  # noqa: N818  # it ends a walk, and is no error of this program
    """The statement cannot be read any further; the findings say why."""


class Findings:
    """Gathers findings of one file, at most one for a place."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.found: list[Finding] = []
        self._at: tuple[int, int] | None = None

    def place(self, node: exp.Expression | None) -> str:
        """File, line and column of a node, by the first name or literal in it."""
        first: tuple[int, tuple[int, int]] | None = None
        for inner in node.walk() if node is not None else ():
            meta = inner.meta
            if "line" in meta and "start" in meta and (first is None or meta["start"] < first[0]):
                width = meta["end"] - meta["start"]
                first = (meta["start"], (meta["line"], max(1, meta["col"] - width)))
        line, column = first[1] if first else (1, 1)
        return f"{self.file}:{line}:{column}"

    def add(self, code: str, node: exp.Expression | None, text: str) -> Term:
        """Notes a finding and gives a term that fits everywhere, so that one mistake is one finding."""
        finding = Finding(code, self.place(node), text)
        if finding not in self.found:
            self.found.append(finding)
        if len(self.found) >= MAX_FINDINGS:
            raise Refusal
        return Term("NULL", UNKNOWN)

    def bounded(self, sql: str, node: exp.Expression | None = None) -> str:
        """The generated SQL; ends the walk where it has grown too large."""
        if len(sql) > MAX_GENERATED:
            self.add(
                "features-size", node, "the statement is too large once written out; say less of it twice."
            )
            raise Refusal
        return sql

    def only(self, node: exp.Expression, *names: str) -> None:
        """Refuses a node that says more than these parts: whatever is not read here must not be there."""
        for name, value in node.args.items():
            if name in names or value is None or value is False or value == []:
                continue
            what = name.rstrip("_").replace("_", " ")
            self.add(
                "features-construct", node, f"{describe(node)} with {what!r} is not allowed in features."
            )

    def converted(self, term: Term, kind: Kind, node: exp.Expression) -> Term:
        """The term as that kind, where no value can change: NULL, whole number to decimal, date to timestamp."""
        have = term.kind
        if have == kind or UNKNOWN in (have, kind):
            return term
        exact = have == NULL or (have, kind) == (DATE, TIMESTAMP)
        exact = exact or (
            kind.name == "decimal" and have.name in ("int", "decimal") and have.scale <= kind.scale
        )
        if exact:
            fallible = term.fallible or kind.name == "decimal"
            return replace(term, sql=f"CAST({term.sql} AS {kind.sql})", kind=kind, fallible=fallible)
        if term.literal is not None and kind in (DATE, TIMESTAMP):
            return self.moment(term.literal, kind, node)
        return self.add(
            "features-type", node, f"This is {have.text}, and {kind.text} is needed; write a cast."
        )

    def moment(self, text: str, kind: Kind, node: exp.Expression) -> Term:
        """A date or timestamp that the author wrote as text."""
        try:
            if kind == DATE and _DATE.fullmatch(text):
                datetime.date.fromisoformat(text)
                return Term(f"CAST({text_literal(text)} AS DATE)", DATE)
            if kind == TIMESTAMP and (_TIMESTAMP.fullmatch(text) or _DATE.fullmatch(text)):
                datetime.datetime.fromisoformat(text)
                return Term(f"CAST({text_literal(text)} AS TIMESTAMP)", TIMESTAMP)
        except ValueError:
            pass
        shape = "'2026-01-31'" if kind == DATE else "'2026-01-31 23:59:59'"
        return self.add("features-type", node, f"{text[:40]!r} is not {kind.text}; write it as {shape}.")

    def unified(self, terms: Iterable[Term], node: exp.Expression) -> list[Term]:
        """The terms as one kind; a finding if they have none in common."""
        terms = list(terms)
        kinds = {t.kind for t in terms if t.kind not in (NULL, UNKNOWN)}
        dated = {k for k in kinds if k in (DATE, TIMESTAMP)}
        if dated and all(t.literal is not None for t in terms if t.kind == STRING):
            kinds -= {STRING}
        if kinds <= {INT} | {k for k in kinds if k.name == "decimal"} and kinds - {INT}:
            kinds = {Kind("decimal", max(k.scale for k in kinds))}
        elif kinds == {DATE, TIMESTAMP}:
            kinds = {TIMESTAMP}
        if len(kinds) > 1:
            names = " and ".join(sorted(k.text for k in kinds))
            return [
                self.add("features-type", node, f"{names} do not go together; write a cast.") for _ in terms
            ]
        kind = kinds.pop() if kinds else NULL
        return [self.converted(term, kind, node) for term in terms]


def describe(node: exp.Expression) -> str:
    """A short name of a node for a finding."""
    if isinstance(node, exp.Anonymous):
        return f"{str(node.this)[:40]}()"
    if isinstance(node, exp.Func):
        return f"{node.sql_name().lower()}()"
    return type(node).__name__
