"""The command `atoll`. Thin: it parses, calls the SDK, prints."""

from __future__ import annotations


def main() -> int:
    """Entry point of the command."""
    from atoll.cli.app import main as run

    return run()
