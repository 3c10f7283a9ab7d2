"""What workers do with packages beside serving them: static analysis, and a trial run on the owner's own rows."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from atoll.data.read import table as read_table
from atoll.errors import AtollError
from atoll.sandbox.asked import Asked, call_seed
from atoll.sandbox.host import Cell, CellPackage, spawn_local
from atoll.sandbox.subjects import SubjectRows, needed
from atoll.scripts.deployment import Bounds, allowed
from atoll.scripts.examine import examine as examine_package
from atoll.scripts.outputs import gate
from atoll.scripts.package import open_package

_TRIAL_SECONDS = 30.0


def examine(spec: dict[str, Any]) -> dict[str, Any]:
    """The worker's task "examine": what static analysis says about a package."""
    return {"examined": examine_package(open_package(spec["package"])).document()}


def trial(spec: dict[str, Any]) -> dict[str, Any]:
    """The worker's task "trial": a package on the first subjects of its table of subjects, arguments at their defaults.

    Returns:
        `results`: subject and what would leave, for each; `skipped`: why nothing ran, or None.
    """
    package = open_package(spec["package"])
    manifest = package.manifest
    arguments = {name: argument.default for name, argument in manifest.arguments.items()}
    missing = sorted(name for name, value in arguments.items() if value is None)
    if missing:
        return {"results": [], "skipped": f"argument {missing[0]} has no default"}
    left = allowed(manifest, Bounds.parse(spec["bounds"], what="bounds"))
    rows = {
        name: SubjectRows(read_table(Path(path), needed(manifest.inputs[name])), manifest.inputs[name])
        for name, path in sorted(spec["inputs"].items())
    }
    subjects = rows[next(n for n, i in manifest.inputs.items() if i is manifest.main)].subjects(spec["rows"])
    if not subjects:
        return {"results": [], "skipped": "the table has no rows"}
    today = date.fromisoformat(spec["today"])
    tables, may = {}, [True] * len(subjects)
    for name, source in rows.items():
        tables[name], ok = source.take(subjects)
        may = [a and b for a, b in zip(may, ok, strict=True)]
    asked = [Asked(call_seed(package.content, f"trial-{n}"), today, arguments) for n in range(len(subjects))]
    cell = Cell(spawn_local, CellPackage(manifest.document(), package.contents))
    try:
        answers = cell.run(asked, tables, seconds=_TRIAL_SECONDS)
        if cell.failed:
            raise AtollError("E_TIME", "the package did not end on these rows in time", fault="caller")
    finally:
        cell.close()
    return {
        "results": [
            {"subject": subject, "answer": gate(manifest, left, answer) if ok else None}
            for subject, answer, ok in zip(subjects, answers, may, strict=True)
        ],
        "skipped": None,
    }


def new_subjects(spec: dict[str, Any]) -> dict[str, Any]:
    """The worker's task "new_subjects": keys of version `after` that `before` does not have; all if that is None."""
    key = spec["key"]
    after = pc.unique(read_table(Path(spec["after"]), [key]).column(key).drop_null())
    if spec["before"] is not None:
        before = read_table(Path(spec["before"]), [key]).column(key)
        after = after.filter(pc.invert(pc.is_in(after, value_set=pc.unique(before))))
    return {"subjects": after.to_pylist()}
