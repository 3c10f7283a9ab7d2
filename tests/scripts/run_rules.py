"""Run rule code in Monty the way that the contract with rules says, for tests: values by name, tables as functions."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

import pydantic_monty as monty

from atoll.scripts.manifest import Manifest

LIMITS: monty.ResourceLimits = {
    "max_memory": 64 << 20,
    "max_recursion_depth": 100,
    "max_feed_duration_secs": 0.2,
}
POLICY: monty.OSPolicy = {
    "datetime": datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC),
    "timezone": "utc",
    "sleep": "zero",
    "process_time": "zero",
    "random_start": {"seed": 7},
}
Visible = Mapping[str, Any]


class FailedError(Exception):
    """The call ended without an answer."""


def wrapped(code: str, manifest: Manifest, parameters: tuple[str, ...]) -> str:
    """The code, with a last line that calls the entry function."""
    lines = [code]
    for name in manifest.parameters:
        lines += [
            f"def _look_up_{name}(key):",
            f"    row = _table_{name}.get(key)",
            "    return None if row is None else row.copy()",
        ]
    given = [f"{p}=_look_up_{p}" if p in manifest.parameters else f"{p}=_given[{p!r}]" for p in parameters]
    return "\n".join([*lines, f"{manifest.rules.entry}({', '.join(given)})", ""])


def inputs(visible: Visible, manifest: Manifest) -> dict[str, Any]:
    """What the wrapped code reads. `visible`: each name that rules see; a table as a dict of its rows by key."""
    tables = {f"_table_{name}": visible[name] for name in manifest.parameters}
    return {"_given": {n: v for n, v in visible.items() if n not in manifest.parameters}, **tables}


def run(pool: monty.Monty, code: str, given: Mapping[str, Any], policy: monty.OSPolicy = POLICY) -> Any:
    """What the wrapped code answers, in a session of its own; `FailedError` names the exception."""
    try:
        with pool.checkout(limits=LIMITS, os_policy=policy) as session:
            return session.feed_run(code, inputs=dict(given), print_callback=lambda stream, text: None)
    except monty.MontyError as error:
        raise FailedError(f"{type(error).__name__}: {error}") from None
