"""Type stubs of what rules see, for the type checker."""

from __future__ import annotations

from atoll.scripts.manifest import Manifest


def stubs(manifest: Manifest) -> str:
    """Declarations of the inputs, parameter tables, arguments and features of the manifest."""
    return ""
