"""Which program a worker is: a digest over the package's own files, named in every receipt."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from atoll.crypto import canonical
from atoll.crypto.suite import digest, digest_file

_KINDS = (".py", ".so")


@cache
def build_digest() -> str:
    """`algorithm:hex` over the paths and digests of the package's source files and its Rust core.

    Two nodes of the same release for the same platform have the same digest. It names the program that a replay
    must use; it proves nothing about what a dishonest node really ran.
    """
    root = Path(__file__).resolve().parents[2]
    files = sorted(p for p in root.rglob("*") if p.suffix in _KINDS and p.is_file())
    return digest(canonical.dumps([[p.relative_to(root).as_posix(), digest_file(p)] for p in files]))
