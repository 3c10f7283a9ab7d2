"""What readers of expressions share: terms built from terms, and parts that must have a type."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod

from sqlglot import exp

from atoll.scripts.feature_scope import Scope
from atoll.scripts.feature_terms import (
    INT,
    NULL,
    UNKNOWN,
    Findings,
    Kind,
    Term,
    merge,
)


class Reader(ABC):
    """Reads expressions of a feature query, and notes findings."""

    def __init__(self, findings: Findings) -> None:
        self.findings = findings

    @abstractmethod
    def read(self, node: exp.Expression, scope: Scope) -> Term:
        """The term of an expression; findings are noted."""

    @abstractmethod
    def function(self, node: exp.Expression, scope: Scope) -> Term:
        """A call of one of `FUNCTIONS`."""

    def _wrap(self, template: str, *terms: Term, kind: Kind | None = None, fallible: bool = False) -> Term:
        """Generated SQL around terms, of the first one's kind if none is given."""
        return Term(
            self.findings.bounded(template.format(*(t.sql for t in terms))),
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

    def _text(self, node: exp.Expression | None) -> str | None:
        """The string that is written there, or None."""
        if isinstance(node, exp.Literal) and node.args.get("is_string") and "\x00" not in str(node.this):
            return str(node.this)
        return None


def braced(sql: str) -> str:
    """Literal text inside a template."""
    return sql.replace("{", "{{").replace("}", "}}")
