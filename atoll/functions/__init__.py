"""What users ask for: each function compiles a request into a plan, and runs its side of one in a worker."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from atoll.functions.context import Context, Outcome


def runners() -> dict[str, Callable[[Context], Outcome]]:
    """The workers' side of each function, by its name in a plan."""
    from atoll.functions.echo.run import run as echo
    from atoll.functions.intersect.run import run as intersect
    from atoll.functions.join.run import run as join
    from atoll.functions.join_statistics.run import run as join_statistics
    from atoll.functions.join_totals.run import run as join_totals
    from atoll.functions.query.run import run as query
    from atoll.functions.query_totals.run import run as query_totals
    from atoll.functions.script.run import run as script
    from atoll.functions.totals.run import run as totals

    return {
        "join": join,
        "intersect": intersect,
        "join_totals": join_totals,
        "join_statistics": join_statistics,
        "totals": totals,
        "echo": echo,
        "script": script,
        "query": query,
        "query_totals": query_totals,
    }


def compilers() -> dict[str, Callable[..., dict[str, Any]]]:
    """From a user's request to a plan, by function."""
    from atoll.functions.echo.compile import compile as echo
    from atoll.functions.intersect.compile import compile as intersect
    from atoll.functions.join.compile import compile as join
    from atoll.functions.join_statistics.compile import compile as join_statistics
    from atoll.functions.join_totals.compile import compile as join_totals
    from atoll.functions.query.compile import compile as query
    from atoll.functions.query_totals.compile import compile as query_totals
    from atoll.functions.script.compile import compile as script
    from atoll.functions.totals.compile import compile as totals

    return {
        "join": join,
        "intersect": intersect,
        "join_totals": join_totals,
        "join_statistics": join_statistics,
        "totals": totals,
        "echo": echo,
        "script": script,
        "query": query,
        "query_totals": query_totals,
    }


def explainers() -> dict[str, Callable[..., dict[str, Any]]]:
    """From a user's request to what was chosen for it and why, for functions that choose."""
    from atoll.functions.join.compile import explain as join

    return {"join": join}
