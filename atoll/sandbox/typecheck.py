"""The type checker of Monty over rule code: what an author gets wrong before any call does.

The types come from the manifest. An entry function without annotations is checked as if it had them.
"""

from __future__ import annotations

import ast
import json
from typing import Any

import pydantic_monty as monty

from atoll.scripts.finding import Finding
from atoll.scripts.manifest import Manifest
from atoll.scripts.stubs import types

# A checker that takes longer is stopped; real rules take a few milliseconds.
SECONDS = 10.0
MAX_FINDINGS = 50
_LIMITS: monty.ResourceLimits = {
    "max_memory": 16 << 20,
    "max_recursion_depth": 50,
    "max_feed_duration_secs": 1.0,
}


def annotated(source: str, manifest: Manifest) -> str:
    """The source with the types of the entry function's parameters and answer, line for line the same.

    What the author annotated stays.
    """
    known = types(manifest)
    tree = ast.parse(source)
    entry = next(
        (n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == manifest.rules.entry), None
    )
    if entry is None:
        return source
    lines = source.encode().splitlines(keepends=True)
    insertions: list[tuple[int, int, str]] = []
    for argument in entry.args.args:
        assert argument.end_lineno is not None  # a tree from text has places
        assert argument.end_col_offset is not None
        if argument.annotation is None and argument.arg in known.parameters:
            text = f": {known.parameters[argument.arg]}"
            insertions.append((argument.end_lineno - 1, argument.end_col_offset, text))
    if entry.returns is None:
        place = _before_colon(lines, entry)
        if place is not None:
            insertions.append((*place, f" -> {known.answer}"))
    for line, column, text in sorted(insertions, reverse=True):
        lines[line] = lines[line][:column] + text.encode() + lines[line][column:]
    return b"".join(lines).decode()


def _before_colon(lines: list[bytes], entry: ast.FunctionDef) -> tuple[int, int] | None:
    """Behind the `)` that ends the parameters: the last one before the body, as no annotation follows it."""
    last = entry.args.args[-1] if entry.args.args else None
    line, column = entry.lineno - 1, entry.col_offset
    if last is not None and last.end_lineno is not None and last.end_col_offset is not None:
        line, column = last.end_lineno - 1, last.end_col_offset
    while line < len(lines):
        text = lines[line].partition(b"#")[0]
        found = text.find(b")", column)
        if found >= 0:
            return line, found + 1
        line, column = line + 1, 0
    return None


def type_check(source: str, manifest: Manifest, pool: monty.Monty | None = None) -> list[Finding]:
    """What the type checker finds in rule code that `check_rules` found nothing wrong with.

    Args:
        pool: an interpreter pool to use; without it one is started and ended, some milliseconds.

    Returns:
        Findings with the code `rules-type`, with the line of the source.
    """
    file = manifest.rules.file
    if pool is None:
        with monty.Monty(max_processes=1, request_timeout=SECONDS) as own:
            return type_check(source, manifest, own)
    try:
        text = annotated(source, manifest)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return [Finding("rules-syntax", file, "the code cannot be read")]
    try:
        with pool.checkout(
            type_check=True,
            type_check_stubs=types(manifest).declarations,
            type_check_format="json",
            limits=_LIMITS,
        ) as session:
            session.feed_run(text, print_callback=lambda stream, line: None)
    except monty.MontyTypingError as error:
        return _findings(error.display(), file)
    except monty.MontyCrashedError:
        return [Finding("rules-type", file, "the type checker did not come to an end; write simpler code")]
    except monty.MontyError as error:
        return [Finding("rules-type", file, f"the module does not load: {str(error)[:200]}")]
    return []


def _findings(display: str, file: str) -> list[Finding]:
    try:
        found: list[dict[str, Any]] = json.loads(display)
    except ValueError:
        found = []
    return [
        Finding(
            "rules-type",
            f"{file}:{item['location']['row']}:{item['location']['column']}",
            f"{item['message'][:500]} ({item['code']})",
        )
        for item in found[:MAX_FINDINGS]
    ] or [Finding("rules-type", file, "the type checker refuses this code")]
