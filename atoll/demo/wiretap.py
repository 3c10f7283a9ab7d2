"""A record of what crosses between the demo's nodes, before TLS encrypts it, and a search in it.

`install` runs in every process of every node of a story, at the one place where bytes enter TLS. It is loaded by path
when Python starts, so this file needs nothing but the standard library.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

# All forms are at least so long: values have eight bytes or more.
_HEAD = 8
_SITE = "import runpy\nrunpy.run_path({file!r})['install']({folder!r})\n"


def install(folder: str) -> None:
    """Makes this process keep all that it sends to partners, a file a channel."""
    from atoll.crypto.tls import Connection

    frame, plain, lock = Connection.write_frame, Connection.write, threading.Lock()

    def keep(name: str, data: bytes) -> None:
        with lock, (Path(folder) / f"{os.getpid()}-{name.replace('/', '_')}").open("ab") as file:
            file.write(data)

    def write_frame(
        self: Any, kind: int, name: str = "", sequence: int = 0, payload: bytes = b"", **more: Any
    ) -> None:
        keep(f"{kind}-{name}", bytes(payload)[more.get("start", 0) : more.get("end")])
        frame(self, kind, name, sequence, payload, **more)

    def write(self: Any, data: bytes) -> None:
        keep("plain", bytes(data))
        plain(self, data)

    setattr(Connection, "write_frame", write_frame)  # noqa: B010
    setattr(Connection, "write", write)  # noqa: B010


class Tap:
    """What the processes that are started within `recording` send."""

    def __init__(self, folder: Path) -> None:
        self._kept, self._site = folder / "crossed", folder / "site"
        self._kept.mkdir(parents=True)
        self._site.mkdir()
        text = _SITE.format(file=__file__, folder=str(self._kept))
        (self._site / "sitecustomize.py").write_text(text, encoding="utf-8")

    @contextlib.contextmanager
    def recording(self) -> Iterator[None]:
        """Processes that are started meanwhile are recorded as long as they run."""
        before = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = os.pathsep.join([str(self._site), *([before] if before else [])])
        try:
            yield
        finally:
            if before is None:
                del os.environ["PYTHONPATH"]
            else:
                os.environ["PYTHONPATH"] = before

    def taken(self) -> bytes:
        """Everything so far, channel after channel."""
        return b"\n".join(file.read_bytes() for file in sorted(self._kept.iterdir()))


def _forms(value: str) -> Iterator[bytes]:
    """The byte strings in which a careless program would send a value."""
    for raw in {value.encode(code) for code in ("utf-8", "utf-16-le", "utf-16-be", "gb18030")}:
        digests = [hashlib.sha256(raw).digest(), hashlib.md5(raw, usedforsecurity=False).digest()]
        for found in (raw, *digests):
            yield found
            yield found.hex().encode()
            for pad in range(3):
                text = base64.b64encode(b"\0" * pad + found + b"\0" * (-(pad + len(found)) % 3))
                # The first and the last group of four hold bits of the neighbours.
                yield text[4 if pad else 0 : (pad + len(found)) // 3 * 4]
    if value.isdecimal() and int(value).bit_length() > 32:
        yield int(value).to_bytes(8, "little")
        yield int(value).to_bytes(8, "big")


def crossed(taken: bytes, values: Iterable[str]) -> list[str]:
    """The values that stand in a record in some form: as text, hexadecimal, base64, a whole number or a digest."""
    heads: dict[bytes, list[tuple[bytes, str]]] = {}
    for value in values:
        for form in _forms(value):
            heads.setdefault(form[:_HEAD], []).append((form, value))
    found: dict[str, None] = {}
    for at in range(len(taken) - _HEAD + 1):
        for form, value in heads.get(taken[at : at + _HEAD], ()):
            if taken.startswith(form, at):
                found[value] = None
    return list(found)
