"""The page that an owner reads before it consents: what is read, what may leave, what changed."""

from __future__ import annotations

import difflib
from typing import Any

from atoll.agreements.difference import walk
from atoll.disclosure import Language
from atoll.errors import AtollError
from atoll.scripts.deployment import Bounds, allowed, default_bounds
from atoll.scripts.examine import MADE, Examination
from atoll.scripts.manifest import Choice, Flag, Manifest, Output, column_facts
from atoll.scripts.outputs import bits_per_call, millibits, outcomes, reason_sets, size
from atoll.scripts.package import Package

Json = dict[str, Any]
# Table -> column -> uses, of the columns that may go into scripts or be looked up by.
Granted = dict[str, dict[str, tuple[str, ...]]]


def _output(name: str, output: Output, depends: Any) -> Json:
    facts = output.document()
    body = {
        "name": name,
        "type": facts["type"],
        "outcomes": size(output),
        "millibits": millibits(size(output)),
    }
    if isinstance(output, Choice):
        body["values"] = list(output.values)
    elif not isinstance(output, Flag):
        body |= {"range": list(output.range), "step": output.step, "unit": output.unit}
    return {**body, "depends": depends}


def _reads(
    manifest: Manifest, tables: dict[str, dict[str, Json] | None], granted: Granted | None
) -> list[Json]:
    """Each input with its columns, held against the owner's own tables and what the agreement grants of them."""
    found = []
    for name, item in manifest.inputs.items():
        own = tables.get(item.asset)
        columns = []
        for column, text in item.columns.items():
            problem = None if own is None else column_problem(text, own.get(column))
            if problem is None and granted is not None and column not in granted.get(item.asset, {}):
                problem = _both("the agreement grants no use of it in scripts", "协议未授权在脚本中使用此列")
            columns.append({"name": column, "type": text, "problem": problem})
        problem = None
        if own is None:
            problem = _both("there is no such table here", "本节点没有这个表")
        elif item.key not in own:
            problem = _both(f"the table has no column {item.key!r}", f"表中没有列 {item.key!r}")
        elif own[item.key]["type"] != manifest.subject.type:
            have, want = own[item.key]["type"], manifest.subject.type
            problem = _both(
                f"the key {item.key!r} is {have}, and the subject {want}",
                f"键 {item.key!r} 的类型为 {have}，而主体为 {want}",
            )
        elif granted is not None and "lookup_key" not in granted.get(item.asset, {}).get(item.key, ()):
            problem = _both(
                f"the agreement grants no look-up by {item.key!r}", f"协议未授权按 {item.key!r} 查找"
            )
        found.append(
            {
                "input": name, "asset": item.asset, "key": item.key, "rows": item.rows,
                "maximum_rows": item.maximum_rows, "columns": columns, "problem": problem,
            }
        )  # fmt: skip
    return found


def _both(en: str, zh: str) -> dict[str, str]:
    return {"en": en, "zh": zh}


def column_problem(text: str, own: Json | None) -> dict[str, str] | None:
    """What stands between a column of a manifest and the owner's own, in both languages; None if it fits."""
    if own is None:
        return _both("the table has no such column", "表中没有此列")
    wanted = column_facts(text)
    have = (own["type"], own["precision"] if own["type"] == "decimal" else None, own["scale"])
    need = (wanted.type, wanted.precision, wanted.scale)
    if have[0] != need[0] or have[2] != need[2] or (need[1] is not None and (have[1] or 0) > need[1]):
        scale = f"({own['precision']},{own['scale']})" if own["type"] == "decimal" else ""
        found = f"{own['type']}{scale}"
        return _both(f"it is {found} in the table", f"表中为 {found}")
    return None


def _lines(data: bytes) -> list[str]:
    return data.decode("utf-8", errors="replace").splitlines()


def _changes(old: Package, new: Package) -> list[Json]:
    """What changed since the version that was approved before: manifest fields, and lines of files."""
    before, after = old.manifest.document(), new.manifest.document()
    found: list[Json] = [
        {"path": c.path, "en": c.text("en"), "zh": c.text("zh"), "lines": []}
        for c in walk("manifest", before, after)
    ]
    old_files, new_files = old.contents, new.contents
    for name in sorted(old_files.keys() | new_files.keys()):
        a, b = old_files.get(name, b""), new_files.get(name, b"")
        if a == b:
            continue
        binary = b"\0" in a or b"\0" in b
        lines = (
            [] if binary else list(difflib.unified_diff(_lines(a), _lines(b), name, name, lineterm="", n=2))
        )
        found.append(
            {
                "path": name,
                "en": f"{name}: {len(a)} bytes become {len(b)}",
                "zh": f"{name}：由 {len(a)} 字节变为 {len(b)} 字节",
                "lines": lines,
            }
        )
    return found


def _bits(manifest: Manifest, bounds: Bounds) -> Json:
    """How much can leave, in thousandths of a bit."""
    call = bits_per_call(manifest, bounds.holds)
    return {
        "outcomes": outcomes(manifest, bounds.holds),
        "per_call": call,
        "per_subject": bounds.subject_millibits,
        "subject_days": bounds.subject_days,
        "calls_per_subject": bounds.subject_millibits // call,
        "per_day": bounds.day_millibits,
        "calls_per_day": min(
            bounds.day_millibits // call,
            bounds.calls_per_day if bounds.calls_per_day is not None else bounds.day_millibits // call,
        ),
    }


def review(
    package: Package,
    examined: Examination,
    *,
    tables: dict[str, dict[str, Json] | None],
    granted: Granted | None,
    before: Package | None,
    bounds: Json | None = None,
) -> Json:
    """The page as a document; `review_lines` renders it.

    Args:
        package: what is to be reviewed.
        examined: what static analysis says about it.
        tables: columns of the owner's own tables by name; None for one that does not exist.
        granted: for each table the columns that its grants let scripts use, and the uses of each; None where no
            agreement is looked at.
        before: the version that was approved before, if there is one.
        bounds: fields of the owner's bounds that differ from the defaults.

    Raises:
        AtollError: `E_SCRIPT` names a bound that does not fit.
    """
    manifest = package.manifest
    within = Bounds.parse(default_bounds(**(bounds or {})), code="E_SCRIPT", what="bounds")
    try:
        left = allowed(manifest, within)
    except AtollError:
        if bounds:
            raise
        # The defaults do not cover one call: the page shows the package as it is, and why.
        left = manifest
    depends = {name: [list(s) for s in sorted(found)] for name, found in examined.depends.items()}
    outputs = [_output(name, output, depends.get(name, [])) for name, output in left.outputs.items()]
    if left.reasons:
        sets = reason_sets(left)
        outputs.append(
            {
                "name": "reasons", "type": "reasons", "outcomes": sets, "millibits": millibits(sets),
                "values": list(left.reasons), "depends": depends.get("reasons", []),
            }
        )  # fmt: skip
    return {
        "package": package.digest,
        "author": package.author,
        "name": manifest.name,
        "version": manifest.version,
        "title": manifest.title.document(),
        "purpose": manifest.purpose,
        "subject": manifest.subject.document(),
        "findings": examined.document()["findings"],
        "reads": _reads(manifest, tables, granted),
        "parameters": {name: len(package.contents[t.file]) for name, t in manifest.parameters.items()},
        "arguments": {name: a.document() for name, a in manifest.arguments.items()},
        "models": examined.models,
        "outputs": outputs,
        "made": depends.get(MADE, []),
        "reasons": {code: text.document() for code, text in manifest.reasons.items()},
        "bits": _bits(left, within),
        "bounds": within.document(),
        "limits": manifest.limits.document(),
        "changes": _changes(before, package) if before is not None else None,
        "approved_before": before.manifest.version if before is not None else None,
        "files": {
            name: data.decode("utf-8", errors="replace")
            for name, data in package.contents.items()
            if b"\0" not in data
        },
    }


def over_reach(page: Json, language: Language = "en") -> str | None:
    """Why a page's package cannot be deployed at all; None if it can. Findings are in English."""
    if page["findings"]:
        first = page["findings"][0]
        return f"{first['place']}: {first['text']}"
    for item in page["reads"]:
        if item["problem"]:
            name, text = f"{item['input']} ({item['asset']})", item["problem"][language]
            return f"input {name}: {text}" if language == "en" else f"输入 {name}：{text}"
        for column in item["columns"]:
            if column["problem"]:
                text = column["problem"][language]
                if language == "en":
                    return f"input {item['input']}, column {column['name']}: {text}"
                return f"输入 {item['input']} 的列 {column['name']}：{text}"
    return None
