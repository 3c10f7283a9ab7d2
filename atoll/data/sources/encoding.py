"""Bytes of a text file to UTF-8: detection, strict decoding, streaming transcoding.

Detection, in this order: byte order mark; strict UTF-8 over the whole file; GB18030 (which contains GBK and
GB2312) over the whole file; refusal. Nothing is ever replaced or dropped.
"""

from __future__ import annotations

import codecs
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from atoll.errors import AtollError

BLOCK = 1 << 20
# declared name -> Python codec
ENCODINGS = {
    "utf-8": "utf-8",
    "utf8": "utf-8",
    "utf-8-sig": "utf-8",
    "utf-16": "utf-16",
    "gb18030": "gb18030",
    "gbk": "gbk",
    "gb2312": "gb18030",
}
_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


@dataclass(frozen=True)
class Utf8:
    """A file in UTF-8: the source itself, or a private temporary copy that its user removes."""

    path: Path
    encoding: str
    temporary: bool


@dataclass(frozen=True)
class _Undecodable:
    offset: int
    line: int
    byte: int
    encoding: str


def private_file(work: Path | None, suffix: str) -> tuple[IO[bytes], Path]:
    """A new temporary file with mode 0600 in `work` (the system's folder if None), open for writing."""
    handle, name = tempfile.mkstemp(prefix="atoll-", suffix=suffix, dir=work)
    return os.fdopen(handle, "wb"), Path(name)


def to_utf8(path: Path, declared: str | None, work: Path | None) -> Utf8:
    """`path` as a UTF-8 file without NUL characters; other encodings are transcoded into `work`.

    Raises:
        AtollError: `E_SOURCE` if the file cannot be read; `E_ENCODING` for an unknown encoding or an
            undecodable byte, naming file, line, byte offset and the encodings tried; `E_DATA` for an empty
            file or a NUL.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(4)
        if not path.is_file():
            raise AtollError("E_SOURCE", f"{path} is not a file")
    except OSError as error:
        raise AtollError("E_SOURCE", f"cannot read {path}: {error.strerror}") from None
    if size == 0:
        raise AtollError("E_DATA", f"{path} is empty", detail={"file": str(path)})
    if head in (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE):
        raise AtollError("E_ENCODING", f"{path} has a UTF-32 byte order mark, which is not supported")
    marked = next((name for bom, name in _BOMS if head.startswith(bom)), None)
    if declared is not None:
        codec = ENCODINGS.get(declared.lower().replace("_", "-"))
        if codec is None:
            known = ", ".join(sorted(ENCODINGS))
            raise AtollError("E_ENCODING", f"{path}: unknown encoding {declared!r:.40}; known: {known}")
        if codec == "utf-16" and marked != "utf-16":
            raise AtollError(
                "E_ENCODING", f"{path}: UTF-16 is read only with a byte order mark, and there is none"
            )
        if marked is not None and marked != codec:
            raise AtollError(
                "E_ENCODING", f"{path} was declared {declared}, but its byte order mark says {marked}"
            )
        tries = [codec]
    else:
        tries = [marked] if marked else ["utf-8", "gb18030"]
    failures = []
    for codec in tries:
        outcome = _attempt(path, codec, work)
        if isinstance(outcome, Utf8):
            return outcome
        failures.append(outcome)
    first = failures[0]
    tried = "; ".join(
        f"as {f.encoding}: byte 0x{f.byte:02x} at offset {f.offset}, line {f.line}" for f in failures
    )
    raise AtollError(
        "E_ENCODING",
        f"{path} cannot be decoded ({tried})",
        detail={"file": str(path), "line": first.line, "offset": first.offset, "tried": tries},
    )


def _attempt(path: Path, codec: str, work: Path | None) -> Utf8 | _Undecodable:
    if codec == "utf-8":
        failure = _decode(path, codec, None)
        return failure or Utf8(path, "utf-8", temporary=False)
    target, copy = private_file(work, ".csv")
    done = False
    try:
        with target:
            failure = _decode(path, codec, target)
        done = failure is None
        return failure or Utf8(copy, codec, temporary=True)
    finally:
        if not done:
            copy.unlink(missing_ok=True)


def _decode(path: Path, codec: str, target: IO[bytes] | None) -> _Undecodable | None:
    decoder = codecs.getincrementaldecoder(codec)("strict")
    offset, line = 0, 1
    with path.open("rb") as file:
        while True:
            block = file.read(BLOCK)
            offset += len(block)
            try:
                text = decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                before = error.object[: error.start].decode(codec, "ignore")
                where = offset - len(error.object) + error.start
                return _Undecodable(where, line + before.count("\n"), error.object[error.start], codec)
            if "\0" in text:
                at = line + text[: text.index("\0")].count("\n")
                raise AtollError(
                    "E_DATA",
                    f"{path}, line {at}: a NUL character; this is not a text file",
                    detail={"file": str(path), "line": at},
                )
            line += text.count("\n")
            if target is not None:
                target.write(text.encode("utf-8"))
            if not block:
                return None
