"""The search of what crosses a connection inside TLS for planted values in every form that a careless protocol
would send them in."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives import hashes

Value = str | int | Decimal

# A pattern this short occurs in random bytes now and then: 10^6 bytes hold a given 4-byte pattern with
# probability 2.3 * 10^-4. A leak shows many values in one form, so more are asked for than chance shows.
SHORT = 4
# That chance alone shows as many values in one form; a capture is searched for about a hundred forms.
CHANCE = 1e-8
# Below it a value has too few bytes to be told from headers and counters; tests plant none of these.
LEAST = 4


@dataclass(frozen=True)
class Found:
    """A planted value and the form in which it crossed."""

    value: Value
    form: str
    short: bool


def _base64(raw: bytes) -> Iterable[bytes]:
    """What of `raw` can be seen in the base64 of a text around it, at each of the three alignments."""
    for pad in range(3):
        text = base64.b64encode(b"\0" * pad + raw + b"\0" * ((3 - (pad + len(raw)) % 3) % 3))
        start = -(-pad * 8 // 6)
        inner = text[start + (1 if pad else 0) : (pad + len(raw)) * 8 // 6]
        if len(inner) >= LEAST:
            yield inner


def _digests(raw: bytes) -> Iterable[tuple[str, bytes]]:
    yield "MD5", hashlib.md5(raw, usedforsecurity=False).digest()
    yield "SHA-1", hashlib.sha1(raw, usedforsecurity=False).digest()
    yield "SHA-256", hashlib.sha256(raw).digest()
    sm3 = hashes.Hash(hashes.SM3())
    sm3.update(raw)
    yield "SM3", sm3.finalize()


def _integers(value: Value) -> set[int]:
    """The value as an integer: itself, the digits of a text, a decimal without its point."""
    found = set()
    if isinstance(value, Decimal):
        found |= {int(value.scaleb(scale)) for scale in (2, 4, 6, 18)}
        value = str(value)
    if isinstance(value, int) or (isinstance(value, str) and value.isascii() and value.isdigit()):
        found.add(int(value))
    return found


def forms(value: Value) -> dict[str, bytes]:
    """Every byte string that would show `value`."""
    found: dict[str, bytes] = {}
    text = str(value)
    texts = {
        "UTF-8": text.encode(),
        "UTF-16 LE": text.encode("utf-16-le"),
        "UTF-16 BE": text.encode("utf-16-be"),
    }
    if not text.isascii():
        texts["GB18030"] = text.encode("gb18030")
    for name, raw in texts.items():
        found[name] = raw
        found[f"{name} hex"] = raw.hex().encode()
        found[f"{name} HEX"] = raw.hex().upper().encode()
        for number, inner in enumerate(_base64(raw)):
            found[f"{name} base64 {number}"] = inner
        for algorithm, digest in _digests(raw):
            found[f"{algorithm} of {name}"] = digest
            found[f"{algorithm} of {name}, first 4 bytes"] = digest[:4]
            found[f"{algorithm} of {name}, first 8 bytes"] = digest[:8]
            found[f"{algorithm} of {name}, hex"] = digest.hex().encode()
            found[f"{algorithm} of {name}, hex of 4 bytes"] = digest[:4].hex().encode()
            for number, inner in enumerate(_base64(digest)):
                found[f"{algorithm} of {name}, base64 {number}"] = inner
    for number in _integers(value):
        for width in (4, 8, 16):
            if 1 << 24 <= abs(number) < 1 << (8 * width - 1):
                for order in ("little", "big"):
                    raw = number.to_bytes(width, order, signed=True)  # type: ignore[arg-type]
                    # Leading zeros are not what tells a value from others.
                    key = raw.rstrip(b"\0") if order == "little" else raw.lstrip(b"\0")
                    if len(key) >= LEAST:
                        found[f"integer {number}, {width} bytes {order}"] = key
    return {name: raw for name, raw in found.items() if len(raw) >= LEAST}


def _starts(capture: bytes, patterns: list[bytes]) -> set[bytes]:
    """Those of the patterns' first `LEAST` bytes that occur in the capture.

    Megabytes are looked through once for all patterns; few of the thousands of patterns are left to be looked for.
    """
    wanted = np.frombuffer(b"".join(raw[:LEAST] for raw in patterns), "<u4")
    windows = [
        np.frombuffer(capture, "<u4", (len(capture) - offset) // LEAST, offset)
        for offset in range(min(LEAST, len(capture)))
    ]
    occurs = np.isin(wanted, np.concatenate(windows)) if windows else np.zeros(len(wanted), bool)
    return {raw[:LEAST] for raw, found in zip(patterns, occurs, strict=True) if found}


def _beyond_chance(size: int, values: int) -> int:
    """How many of `values` must show in one short form of `size` bytes to be no chance: two, or more in megabytes."""
    expected = size * values / 2.0 ** (8 * SHORT)
    # The tail of a Poisson distribution is below twice its first term where the expectation is below half the count.
    count = 2
    while expected * 2 > count or 2 * math.exp(-expected) * expected**count / math.factorial(count) > CHANCE:
        count += 1
        if count > values:
            break
    return min(count, max(values, 2))


def search(haystacks: Iterable[bytes], values: Iterable[Value]) -> list[Found]:
    """What of the planted values crossed. A short pattern counts when more values show in that very form than chance
    explains: two in what a protocol of a hundred kilobytes sends."""
    values = list(values)
    capture = b"\n".join(haystacks)
    patterns = [(value, form, raw) for value in values for form, raw in forms(value).items()]
    starts = _starts(capture, [raw for _, _, raw in patterns])
    sure, short = [], {}
    for value, form, raw in patterns:
        if raw[:LEAST] in starts and raw in capture:
            if len(raw) > SHORT:
                sure.append(Found(value, form, False))
            else:
                kind = form if not form.startswith("integer") else form.partition(",")[2]
                short.setdefault(kind, []).append(Found(value, form, True))
    least = _beyond_chance(len(capture), len(values))
    return sure + [f for group in short.values() if len({x.value for x in group}) >= least for f in group]


@pytest.fixture
def leaks() -> Callable[[Iterable[bytes], Iterable[Value]], list[Found]]:
    return search


@pytest.fixture
def shown() -> Callable[[Value], dict[str, bytes]]:
    return forms


# The capture itself.

_CAPTURE = """
import os, threading
from pathlib import Path

FOLDER = Path({folder!r})

def install():
    from atoll.crypto.tls import Connection

    frame, plain, lock = Connection.write_frame, Connection.write, threading.Lock()

    def keep(name, data):
        with lock, (FOLDER / f"{{os.getpid()}}-{{name.replace('/', '_')}}").open("ab") as file:
            file.write(data)

    def write_frame(self, kind, name="", sequence=0, payload=b"", *, start=0, end=None, step="", **more):
        # One file a channel: a value that is cut into two messages is whole again in it.
        keep(f"{{kind}}-{{name}}", bytes(payload)[start : len(payload) if end is None else end])
        keep("labels", f"{{kind}} {{name}} {{sequence}} {{step}}\\n".encode())
        frame(self, kind, name, sequence, payload, start=start, end=end, step=step, **more)

    def write(self, data):
        keep("plain", bytes(data))
        plain(self, data)

    Connection.write_frame, Connection.write = write_frame, write

install()
"""


class Capture:
    """What all processes wrote; `site` holds what they run at their start."""

    def __init__(self, folder: Path, site: Path) -> None:
        self._folder, self.site = folder, site

    def take(self) -> dict[str, bytes]:
        """What was sent since the last call, by process and channel."""
        found = {}
        for file in sorted(self._folder.iterdir()):
            found[file.name] = file.read_bytes()
            file.unlink()
        return found


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Capture]:
    folder = tmp_path_factory.mktemp("captured")
    site = tmp_path_factory.mktemp("site")
    (site / "sitecustomize.py").write_text(_CAPTURE.format(folder=str(folder)), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(site), prepend=":")
        yield Capture(folder, site)
