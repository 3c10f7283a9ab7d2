"""A record of what crosses between the demo's nodes, before TLS encrypts it, and a search in it.

The recorder stands in every process of every node of a story, at the one place where bytes enter TLS.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

# All forms are at least so long: values have eight bytes or more.
_HEAD = 8
# Loaded by Python itself when a process starts; no program of the nodes knows of it.
_SITE = """
import os, threading
from pathlib import Path

FOLDER = Path({folder!r})

def install():
    from atoll.crypto.tls import Connection

    frame, plain, lock = Connection.write_frame, Connection.write, threading.Lock()

    def keep(name, data):
        with lock, (FOLDER / f"{{os.getpid()}}-{{name.replace('/', '_')}}").open("ab") as file:
            file.write(data)

    def write_frame(self, kind, name="", sequence=0, payload=b"", *, start=0, end=None, **more):
        # One file a channel: a value that is cut into two messages is whole again in it.
        keep(f"{{kind}}-{{name}}", bytes(payload)[start : len(payload) if end is None else end])
        frame(self, kind, name, sequence, payload, start=start, end=end, **more)

    def write(self, data):
        keep("plain", bytes(data))
        plain(self, data)

    Connection.write_frame, Connection.write = write_frame, write

install()
"""


class Tap:
    """What the processes that are started within `recording` send."""

    def __init__(self, folder: Path) -> None:
        self._kept, self._site = folder / "crossed", folder / "site"
        self._kept.mkdir(parents=True)
        self._site.mkdir()
        text = _SITE.format(folder=str(self._kept))
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
