"""Helpers that every test may use."""

from __future__ import annotations

import glob
import os
import shutil

import pytest
from hypothesis import settings

# A shared or slow machine must not turn a property into a timing test.
settings.register_profile("atoll", deadline=None)
settings.load_profile("atoll")

# The programs of each server, as PATH names and as places where distributions keep them outside of PATH.
SERVERS: dict[str, tuple[str, ...]] = {
    "postgresql": ("postgres", "/usr/lib/postgresql/*/bin/postgres", "/usr/pgsql-*/bin/postgres"),
    "mysql": ("mysqld", "mariadbd", "/usr/sbin/mysqld", "/usr/sbin/mariadbd", "/usr/libexec/mysqld"),
    "nginx": ("nginx", "/usr/sbin/nginx"),
    "ip": ("ip", "/usr/sbin/ip", "/sbin/ip"),
}


def find_server(name: str) -> str | None:
    """Path of the program of a server (a key of `SERVERS`), or None where it is not installed."""
    for candidate in SERVERS[name]:
        places = sorted(glob.glob(candidate)) if "/" in candidate else [shutil.which(candidate)]
        # The highest version comes last in name order; an older one serves the tests as well.
        for place in reversed(places):
            if place and os.access(place, os.X_OK):
                return place
    return None


def require_server(name: str, found: str | None = None) -> str:
    """Path of a server's program; skips the test where it is absent.

    With `ATOLL_REQUIRE_SERVERS=1`, which continuous integration sets, an absent server fails the test:
    a test that never runs there would prove nothing.

    Args:
        name: a key of `SERVERS`, or any name when `found` is given.
        found: the program, where the caller looked for it itself; empty if absent.
    """
    place = find_server(name) if found is None else found
    if place:
        return place
    if os.environ.get("ATOLL_REQUIRE_SERVERS") == "1":
        pytest.fail(f"{name} is not installed, and ATOLL_REQUIRE_SERVERS=1 asks for it")
    pytest.skip(f"{name} is not installed")


@pytest.fixture(name="require_server")
def _require_server():
    """`require_server` as a fixture, since test modules do not import this file."""
    return require_server
