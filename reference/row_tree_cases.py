"""The cases of `vectors/row_tree.json`: trees, proofs about ids that are there or are not, proofs that do not hold."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable
from typing import Any

from reference.row_tree import Column, Row, Tree, cell, commitment, salt, tag_key

Json = dict[str, Any]


def canonical(document: Any) -> str:
    """RFC 8785 for what occurs here: no floats, and keys of ASCII."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest(version: Json) -> str:
    return f"sha256:{hashlib.sha256(canonical(version).encode()).hexdigest()}"


def column(name: str, kind: str, precision: int | None = None, scale: int | None = None) -> Column:
    return {"name": name, "type": kind} | ({"precision": precision, "scale": scale} if precision else {})


def version(tree: Tree) -> Json:
    plain = {
        "unit": None, "label": None, "definition": None, "codes": None, "range": None, "as_of": None, "nullable": True,
    }  # fmt: skip
    return {
        "format": "atoll.snapshot/v1",
        "schema": [c | plain for c in tree.columns],
        "rows": len(tree.rows),
        "root": "sha256:" + "00" * 32,
        "row_root": f"sha256:{tree.root().hex()}",
        "row_key": {
            "columns": tree.key,
            "commitment": commitment(tree.secret),
            "without_id": tree.without_id,
        },
        "previous": None,
    }


ALL = [
    column("id", "string"),
    column("n", "int64"),
    column("debt", "decimal", 20, 2),
    column("rate", "float64"),
    column("open", "bool"),
    column("day", "date"),
    column("seen", "timestamp"),
]
ROWS: list[Row] = [
    ["a", "5", "1.25", "0.1", "true", "2026-01-31", "2026-01-31T23:59:59.000001"],
    ["b", "-1", "-0.01", "-0.0", "false", "1969-12-31", "1969-12-31T00:00:00.000000"],
    [None, "0", "0.00", "1e+300", "true", "0001-01-01", "0001-01-01T00:00:00.000000"],
    [
        "a",
        str(2**63 - 1),
        "999999999999999999.99",
        "5e-324",
        None,
        "9999-12-31",
        "9999-12-31T23:59:59.999999",
    ],
    ["", str(-(2**63)), "-999999999999999999.99", "1.0", "false", "2932897", str(2**63 - 1)],
    [None, None, None, None, None, None, None],
    ["身份 é", "7", "7.00", "7.0", "true", "1970-01-01", "1970-01-01T00:00:00.000000"],
    ["a", None, None, None, None, "-719163", str(-(2**63))],
    ["long" * 40, "1", None, None, "true", None, None],
]
PAIR = [column("day", "date"), column("amount", "decimal", 9, 3), column("note", "string")]
PAIRS: list[Row] = [
    ["2026-01-01", "1.000", "x"],
    ["2026-01-01", "1.001", None],
    ["2026-01-02", "1.000", ""],
    ["2026-01-02", None, "no id"],
    [None, "1.000", "no id"],
]
MIXED = [column("n", "int64"), column("open", "bool"), column("seen", "timestamp")]
MIX: list[Row] = [[str(i % 4), ["true", "false"][i % 2], "2026-01-01T00:00:00.000000"] for i in range(7)]

# name, columns, key, rows, ids to ask for
TREES: list[tuple[str, list[Column], list[str], list[Row], list[list[str]]]] = [
    ("every type, ids that repeat, rows without id", ALL, ["id"], ROWS,
     [["a"], ["b"], [""], ["身份 é"], ["long" * 40], ["nobody"], ["A"], ["c"], ["d"]]),
    ("an id of two columns", PAIR, ["amount", "day"], PAIRS,
     [["1.000", "2026-01-01"], ["1.001", "2026-01-02"], ["0.000", "2026-01-01"]]),
    ("an id of numbers, truths and times", MIXED, ["n", "open", "seen"], MIX,
     [["0", "true", "2026-01-01T00:00:00.000000"], ["0", "false", "2026-01-01T00:00:00.000000"]]),
    ("one row", PAIR, ["note"], PAIRS[:1], [["x"], ["y"]]),
    ("no row", PAIR, ["note"], [], [["x"]]),
    ("one id only", PAIR, ["day"], [["2026-01-01", f"{i}.000", None] for i in range(6)],
     [["2026-01-01"], ["2026-01-02"]]),
]  # fmt: skip


def case(number: int) -> Json:
    name, columns, key, rows, ids = TREES[number]
    secret = bytes([number + 1]) * 32
    tree = Tree(secret, columns, key, rows)
    of = version(tree)
    return {
        "name": name,
        "secret": secret.hex(),
        "columns": columns,
        "key": key,
        "rows": rows,
        "cells": [
            [None if text is None else cell(c, text)[1].hex() for c, text in zip(columns, row, strict=True)]
            for row in rows
        ],
        "tag_key": tag_key(secret).hex(),
        "salts": [salt(secret, n).hex() for n in range(len(rows))],
        "records": [(t + i).hex() for t, i in zip(tree.tags, tree.inners, strict=True)],
        "order": tree.order,
        "row_root": tree.root().hex(),
        "version": of,
        "digest": digest(of),
        "proofs": [tree.proof(of, texts) for texts in ids],
    }


def _two(tree: Tree, of: Json) -> Json:
    """A proof about an id of several rows, with both neighbours."""
    names = {row[0] for row in tree.rows if row[0] is not None}
    found = [tree.proof(of, [name]) for name in sorted(names)]
    return next(p for p in found if p["before"] and p["after"] and len(p["path"]) > 1)


def malformed() -> list[Json]:
    """Proofs that do not hold for the version with `digest`, and the code of the refusal."""
    rows: list[Row] = [[f"s{i}", str(i)] for i in range(20)] + [[f"s{i}", str(100 + i)] for i in range(20)]
    columns = [column("id", "string"), column("n", "int64")]
    tree = Tree(bytes([99]) * 32, columns, ["id"], rows)
    of = version(tree)
    good, whose = _two(tree, of), digest(of)
    absent = next(p for p in (tree.proof(of, [f"x{i}"]) for i in range(99)) if p["before"] and p["after"])
    other = Tree(bytes([98]) * 32, columns, ["id"], rows)
    bare = version(tree) | {"row_root": None, "row_key": None}
    few = [
        p for p in (tree.proof(of, [f"s{i}"]) for i in range(20)) if p["before"] is None or p["after"] is None
    ]
    out: list[Json] = []

    def bad(
        name: str, document: Json, change: Callable[[Json], Any], code: str = "E_PROOF", of: str = whose
    ) -> None:
        changed = copy.deepcopy(document)
        change(changed)
        out.append({"name": name, "proof": canonical(changed), "digest": of, "code": code})

    def put(*path: Any, value: Any) -> Callable[[Json], Any]:
        def change(document: Any) -> None:
            for step in path[:-1]:
                document = document[step]
            document[path[-1]] = value

        return change

    zero = "00" * 32
    bad("another value in a row", good, put("rows", 0, "row", 1, value="21"))
    bad("a null in place of a value", good, put("rows", 0, "row", 1, value=None))
    bad("another salt", good, put("rows", 0, "salt", value="00" * 16))
    bad("a row of another id", good, put("rows", 0, "row", 0, value="s99"))
    bad("a row without id", good, put("rows", 0, "row", 0, value=None))
    bad("another id", good, put("id", value=["nobody"]))
    bad("a row is left out", good, lambda d: d["rows"].pop())
    bad("the first row is left out", good, lambda d: d["rows"].pop(0))
    bad("rows in another order", good, lambda d: d["rows"].reverse())
    bad("a row stands twice", good, lambda d: d["rows"].append(d["rows"][0]))
    bad("all rows are left out: absence of an id that is there", good, put("rows", value=[]))
    bad("the neighbour before is left out", good, put("before", value=None))
    bad("the neighbour after is left out", good, put("after", value=None))
    bad("the neighbour before is not before", good, put("before", "tag", value="ff" * 32))
    bad("the neighbour after is not after", good, put("after", "tag", value=zero))
    bad(
        "the neighbour before has the tag of the id",
        good,
        put("before", "tag", value=tree.tags[tree.order[good["first"] + 1]].hex()),
    )
    bad("another inner commitment", good, put("before", "inner", value=zero))
    bad("another place", good, put("first", value=good["first"] + 1))
    bad("a place beyond the tree", good, put("first", value=len(rows)))
    bad("a hash too many", good, lambda d: d["path"].append(zero))
    bad("a hash too few", good, lambda d: d["path"].pop())
    bad("hashes in another order", good, lambda d: d["path"].reverse())
    bad("the key of another version's tags", good, put("tag_key", value=tag_key(other.secret).hex()))
    bad("another number of rows", good, put("version", "rows", value=len(rows) - 1))
    bad("another version", good, lambda d: None, of=digest(version(other)))
    bad("a version without row tree", good, put("version", value=bare), of=digest(bare))
    bad("an edge that is none", absent, lambda d: d.update(after=None, path=[]))
    bad("a neighbour at the edge", few[0], put("before", value=good["before"]) if few[0]["before"] is None
        else put("after", value=good["after"]))  # fmt: skip
    bad("neighbours that are none", absent, lambda d: d.update(after=good["after"], before=good["before"]))
    bad("an id of two values", good, put("id", value=["s1", "s1"]))
    bad("a row of three values", good, lambda d: d["rows"][0]["row"].append("x"))
    bad("a number that is not written as one", good, put("rows", 0, "row", 1, value="+5"), "E_FORMAT")
    bad("a field too many", good, put("more", value=1), "E_FORMAT")
    bad("a field too few", good, lambda d: d.pop("after"), "E_FORMAT")
    bad("another format", good, put("format", value="atoll.row-proof/v2"), "E_FORMAT")
    bad("hex in capitals", good, put("tag_key", value="A" * 64), "E_FORMAT")
    bad("a tag cut short", good, put("before", "tag", value="00" * 31), "E_FORMAT")
    bad("a place below zero", good, put("first", value=-1), "E_FORMAT")
    bad("a place that is a truth", good, put("first", value=True), "E_FORMAT")
    bad("a row that is a text", good, put("rows", 0, "row", value="s1"), "E_FORMAT")
    bad("a value that is a number", good, put("rows", 0, "row", 1, value=5), "E_FORMAT")
    out.append({"name": "spaces", "proof": canonical(good) + " ", "digest": whose, "code": "E_FORMAT"})
    out.append({"name": "no document", "proof": "", "digest": whose, "code": "E_FORMAT"})
    out.append({"name": "no digest", "proof": canonical(good), "digest": "sha256:00", "code": "E_FORMAT"})
    return out


def row_tree() -> Json:
    return {"cases": [case(i) for i in range(len(TREES))], "malformed": malformed()}
