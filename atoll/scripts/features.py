"""Feature SQL, checked and written anew: what runs is what was checked.

A statement is read with sqlglot, every node is checked against what is allowed and typed exactly, and the engine's SQL
is generated from that. It holds no name that the author wrote. One statement computes many calls: it is the author's
query as a lateral join to the calls, in which an input is the rows of the one call.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import sqlglot
from sqlglot import exp
from sqlglot.errors import ParseError, SqlglotError

from atoll.scripts.feature_queries import Queries
from atoll.scripts.feature_scope import Relation, Scope
from atoll.scripts.feature_terms import NULL, UNKNOWN, Findings, Refusal, kind_of, select
from atoll.scripts.finding import Finding
from atoll.scripts.manifest import Manifest, column_facts
from atoll.scripts.sources import Dependencies

MAX_BYTES = 32 << 10
MAX_DEPTH = 100


@dataclass(frozen=True)
class FeatureQuery:
    """What a check of feature SQL gives.

    Attributes:
        findings: what is wrong; a package with any is refused.
        sql: the engine's statement for a batch of calls, empty if there are findings. Its columns are `__call` and
            `f0`, `f1`, ..., the manifest's features sorted by name.
        dependencies: by feature, the columns that its value depends on; `("bills", "")` is which rows there are.
    """

    findings: tuple[Finding, ...]
    sql: str = ""
    dependencies: Dependencies = field(default_factory=dict)


def check_features(sql: str, manifest: Manifest) -> FeatureQuery:
    """Checks the SELECT that computes a package's features.

    Args:
        sql: the text of the file that the manifest names.
        manifest: of the package; it must have features.
    """
    assert manifest.features is not None  # the caller has no file to check otherwise
    findings = Findings(manifest.features.file)
    tree = _parse(sql, findings)
    if tree is None:
        return FeatureQuery(tuple(findings.found))
    try:
        queries = Queries(manifest, findings)
        relation = queries.query(tree, Scope(None, {}))
        text = _batch(relation, tree, manifest, findings)
    except Refusal:
        return FeatureQuery(tuple(findings.found))
    if findings.found:
        return FeatureQuery(tuple(findings.found))
    dependencies = {name: relation.columns[name.lower()].sources for name in manifest.features.columns}
    return FeatureQuery((), text, dependencies)


def _parse(sql: str, findings: Findings) -> exp.Expression | None:
    """The tree of the one statement, or None and a finding."""
    if len(sql.encode("utf-8", "replace")) > MAX_BYTES:
        findings.add("features-size", None, f"the file has more than {MAX_BYTES >> 10} KiB.")
        return None
    try:
        trees = [tree for tree in sqlglot.parse(sql, read="duckdb") if tree is not None]
    except ParseError as error:
        first = error.errors[0] if error.errors else {}
        place = f"{findings.file}:{first.get('line') or 1}:{first.get('col') or 1}"
        findings.found.append(Finding("features-syntax", place, "this is no SQL that features can have."))
        return None
    except SqlglotError:
        findings.add("features-syntax", None, "this is no SQL: a quote or a comment is not closed.")
        return None
    except RecursionError:
        findings.add("features-size", None, f"expressions are nested more than {MAX_DEPTH} deep.")
        return None
    if len(trees) != 1:
        text = f"the file holds one SELECT statement, and here are {len(trees)} statements."
        findings.add("features-statement", None, text)
        return None
    tree = trees[0]
    if not isinstance(tree, (exp.Select, exp.SetOperation, exp.Subquery)):
        findings.add("features-statement", None, "the file holds one SELECT statement and nothing else.")
        return None
    if _depth(tree) > MAX_DEPTH:
        findings.add("features-size", None, f"expressions are nested more than {MAX_DEPTH} deep.")
        return None
    return tree


def _depth(tree: exp.Expression) -> int:
    deepest, waiting = 0, [(tree, 1)]
    while waiting:
        node, depth = waiting.pop()
        deepest = max(deepest, depth)
        waiting += [(child, depth + 1) for child in node.iter_expressions()]
    return deepest


def _batch(relation: Relation, tree: exp.Expression, manifest: Manifest, findings: Findings) -> str:
    """The statement for many calls; findings where the columns are not those of the manifest."""
    assert manifest.features is not None
    declared = {name.lower(): name for name in manifest.features.columns}
    if len(declared) < len(manifest.features.columns):
        text = "two features differ in upper and lower case only; SQL cannot tell them apart."
        findings.add("features-output", tree, text)
    for name in relation.columns:
        if name not in declared:
            text = f"the column {name[:40]!r} is no feature of the manifest; there is: {', '.join(declared)}."
            findings.add("features-output", tree, text)
    listed, columns = [], list(relation.columns)
    for position, (name, text) in enumerate(sorted(manifest.features.columns.items())):
        column = relation.columns.get(name.lower())
        if column is None:
            findings.add(
                "features-output", tree, f"the feature {name[:40]!r} of the manifest is not computed."
            )
            continue
        facts = column_facts(text)
        wanted, have = kind_of(facts), column.kind or UNKNOWN
        exact = have in (wanted, NULL, UNKNOWN) or (
            wanted.name == "decimal" and have.name in ("int", "decimal") and have.scale <= wanted.scale
        )
        if not exact:
            digits = f" with {have.scale} digits behind the point" if have.name == "decimal" else ""
            message = (
                f"the feature {name[:40]!r} is {text} in the manifest and here {have.text}{digits}; cast it."
            )
            findings.add("features-output", tree, message)
        engine = f"DECIMAL({facts.precision}, {facts.scale})" if facts.type == "decimal" else wanted.sql
        at = columns.index(name.lower())
        value = relation.values[at] if relation.values is not None else f'"q"."c{at}"'
        listed.append(f'CAST({value} AS {engine}) AS "f{position}"')
    if relation.values is not None:
        return select(", ".join(['"__c"."__call"', *listed]), '"__calls" AS "__c"')
    return select(
        ", ".join(['"__c"."__call"', *listed]),
        '"__calls" AS "__c"',
        f' CROSS JOIN LATERAL {relation.sql} AS "q"',
    )
