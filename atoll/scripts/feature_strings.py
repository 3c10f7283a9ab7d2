"""Strings in a feature query: patterns are written there and bounded, and no string grows without bound."""

from __future__ import annotations

import re
from dataclasses import replace

from sqlglot import exp

from atoll.scripts.feature_reader import Reader, braced
from atoll.scripts.feature_scope import Scope
from atoll.scripts.feature_terms import (
    BOOL,
    MAX_GROWTH,
    STRING,
    Term,
    text_literal,
)

MAX_PATTERN = 200
MAX_REPEATS = 1000
MAX_WILDCARDS = 8
MAX_REPLACEMENT = 16
_COUNTED = re.compile(r"\{([0-9]+)(?:,([0-9]*))?\}")


class Strings(Reader):
    """Reads what makes and searches strings."""

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
        return self._wrap(f"({{}} {word} {braced(text_literal(pattern))}{braced(escape)})", term, kind=BOOL)

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
        sql = braced(text_literal(pattern))
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
        old, new = braced(text_literal(old)), braced(text_literal(new))
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
        return self._wrap(f"{name}({{}}, {braced(text_literal(signs))})", term)
