"""The structure of a CSV file (RFC 4180), with the line numbers that an editor shows.

A streaming scan finds records, malformed records and line ends. It parses no values: DuckDB does that, on a
file whose structure this scan has found to be sound, and the two row counts are compared.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from operator import methodcaller
from pathlib import Path

from atoll.errors import AtollError

BLOCK = 1 << 20
MAX_RECORD = 1 << 20
DELIMITERS = (",", "\t", ";", "|")


@dataclass(frozen=True)
class Dialect:
    """Delimiter and quote of a file, one ASCII character each; a quote inside quotes is doubled."""

    delimiter: str = ","
    quote: str = '"'

    def __post_init__(self) -> None:
        for what, text in (("delimiter", self.delimiter), ("quote", self.quote)):
            if len(text) != 1 or not text.isascii() or text in " \r\n\0" or text.isalnum():
                raise AtollError(
                    "E_FORMAT", f"the {what} {text!r:.20} is not one ASCII punctuation character or tab"
                )
        if self.delimiter == self.quote:
            raise AtollError("E_FORMAT", "delimiter and quote are the same character")


@dataclass(frozen=True)
class Run:
    """`count` consecutive sound records, the first at line `line`; each on one line unless `lines` says
    more.
    """

    line: int
    count: int
    lines: int
    data: bytes


@dataclass(frozen=True)
class Malformed:
    """A record that is not sound."""

    line: int
    lines: int
    reason: str


class Scanner:
    """Splits a UTF-8 file into runs of sound records and malformed ones.

    Attributes (complete after iteration):
        crlf: number of records that end with CR LF.
        blank: blank lines, which are skipped.
    """

    def __init__(self, path: Path, name: str, dialect: Dialect, fields: int | None) -> None:
        self.path, self.name, self.fields = path, name, fields
        self._delimiter, self._quote = dialect.delimiter.encode(), dialect.quote.encode()
        q = re.escape(self._quote)
        # One space between a delimiter and an opening quote does not count, as in DuckDB.
        self._starts_quoted = re.compile(b" ?%b" % q)
        inside = b"[^%b]*+(?:%b%b[^%b]*+)*+%b" % (q, q, q, q, q)
        self._quoted = re.compile(b" ?%b%b" % (q, inside))
        self._rest = re.compile(inside)
        d = re.escape(self._delimiter)
        field = b"(?: ?%b%b|(?! *%b)[^%b\r]*+)" % (q, inside, q, d)
        self._record = re.compile(b"%b(?:%b%b){%d}\r?" % (field, d, field, (fields or 1) - 1))
        self.crlf = self.blank = 0

    def __iter__(self) -> Iterator[Run | Malformed]:
        line, pending = 1, b""
        self._open: list[bytes] = []
        with self.path.open("rb") as file:
            if file.read(3) != b"\xef\xbb\xbf":
                file.seek(0)
            while True:
                block = file.read(BLOCK)
                if not block:
                    break
                block = pending + block
                end = block.rfind(b"\n") + 1
                block, pending = block[:end], block[end:]
                if len(pending) > MAX_RECORD:
                    self._too_long(line + block.count(b"\n"))
                if block:
                    yield from self._block(block, line)
                    line += block.count(b"\n")
            if pending:
                yield from self._block(pending, line)
        if self._open:
            raise self._error(self._open_line, "a quoted field is opened in this row and never closed")

    def _error(self, line: int, text: str) -> AtollError:
        return AtollError(
            "E_DATA", f"{self.name}, line {line}: {text}", detail={"file": self.name, "line": line}
        )

    def _too_long(self, line: int) -> None:
        raise self._error(line, f"a row is longer than {MAX_RECORD} bytes; is the file a CSV with line ends?")

    def _block(self, block: bytes, line: int) -> Iterator[Run | Malformed]:
        lines = block.split(b"\n")
        if not lines[-1]:
            lines.pop()
        crlf = block.count(b"\r\n")
        if (
            not self._open
            and self.fields is not None
            and crlf == block.count(b"\r")
            and crlf in (0, len(lines))
            and b"" not in lines
            and b"\r" not in lines
            and max(map(len, lines)) <= MAX_RECORD
            and self._all_sound(lines, quoted=self._quote in block)
        ):
            self.crlf += crlf
            yield Run(line, len(lines), len(lines), block)
            return
        for i, text in enumerate(lines, line):
            yield from self._line(text + b"\n", i)

    def _all_sound(self, lines: list[bytes], *, quoted: bool) -> bool:
        if quoted:
            return all(map(self._record.fullmatch, lines))
        return set(map(methodcaller("count", self._delimiter), lines)) == {(self.fields or 1) - 1}

    def _line(self, text: bytes, line: int) -> Iterator[Run | Malformed]:
        if not self._open:
            if text in (b"\n", b"\r\n"):
                self.blank += 1
                return
            self._open_line, self._count, self._size = line, 0, 0
        self._open.append(text)
        self._size += len(text)
        if self._size > MAX_RECORD:
            self._too_long(self._open_line)
        ending = b"\r\n" if text.endswith(b"\r\n") else b"\n"
        verdict = self._parse(text[: -len(ending)], continued=len(self._open) > 1)
        if verdict is None:
            return
        data, spread, first = b"".join(self._open), len(self._open), self._open_line
        self._open = []
        if not verdict and self.fields is not None and self._count != self.fields:
            verdict = f"{self._count} fields instead of {self.fields}"
        if verdict:
            yield Malformed(first, spread, verdict)
            return
        if ending == b"\r\n":
            self.crlf += 1
        yield Run(first, 1, spread, data)

    def _parse(self, text: bytes, *, continued: bool) -> str | None:
        """Continues the open record: None if it is still open, "" if it ends soundly, else what is wrong."""
        at = 0
        if continued:
            closing = self._rest.match(text)
            if closing is None:
                return None
            at = closing.end()
            if at < len(text) and text[at : at + 1] != self._delimiter:
                return "text after a closing quote"
            self._count += 1
            if at == len(text):
                return ""
            at += 1
        while True:
            if self._starts_quoted.match(text, at):
                field = self._quoted.match(text, at)
                if field is None:
                    return None
                at = field.end()
                if at < len(text) and text[at : at + 1] != self._delimiter:
                    return "text after a closing quote"
            else:
                end = text.find(self._delimiter, at)
                end = len(text) if end < 0 else end
                if b"\r" in text[at:end]:
                    return "a carriage return outside quotes"
                if text[at:end].lstrip(b" ").startswith(self._quote):
                    return "spaces before a quote"
                at = end
            self._count += 1
            if at >= len(text):
                return ""
            at += 1

    def split(self, record: bytes) -> list[str]:
        """The fields of one sound record, unquoted."""
        text, out, at = record.rstrip(b"\r\n"), [], 0
        while True:
            opening = self._starts_quoted.match(text, at)
            if opening:
                field = self._quoted.match(text, at)
                end = field.end() if field else len(text)
                inner = text[opening.end() : end - 1]
                out.append(inner.replace(self._quote * 2, self._quote).decode("utf-8"))
            else:
                end = text.find(self._delimiter, at)
                end = len(text) if end < 0 else end
                out.append(text[at:end].decode("utf-8"))
            if end >= len(text):
                return out
            at = end + 1


def detect_delimiter(path: Path, name: str, quote: str) -> str:
    """The delimiter under which the first records have the same number of fields, and most of them; else a
    comma.
    """
    best, fields = ",", 1
    for delimiter in DELIMITERS:
        if delimiter == quote:
            continue
        counts: list[int] = []
        scanner = Scanner(path, name, Dialect(delimiter, quote), None)
        try:
            for item in itertools.islice(scanner, 50):
                counts.append(len(scanner.split(item.data)) if isinstance(item, Run) else 0)
        except AtollError:
            continue
        usual = counts.count(counts[0]) * 2 > len(counts) if counts else False
        if usual and counts[0] > fields:
            best, fields = delimiter, counts[0]
    return best
