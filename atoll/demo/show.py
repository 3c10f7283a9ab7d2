"""Prints the demo for people, or collects it for machines; keeps the verdict of every check."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from atoll.client import Job
from atoll.demo.words import Language, say

Json = dict[str, Any]
_SENTENCES = 4


def plain(value: object) -> str:
    """Text for a terminal: names and reasons come from other nodes."""
    return "".join(c if c.isprintable() else "\ufffd" for c in str(value))


class Show:
    """What the audience sees."""

    def __init__(self, language: Language = "en", machine: bool = False) -> None:
        self.language, self.machine = language, machine
        self.acts: list[Json] = []
        self.started = time.monotonic()
        self._console = Console(
            highlight=False, quiet=machine, width=None if sys.stdout.isatty() else 110, soft_wrap=False
        )
        self._rows: list[tuple[str, object, object, bool]] = []

    # Telling.

    def text(self, key: str, **facts: object) -> str:
        """A sentence in the language of the demo."""
        return say(self.language, key, **facts)

    def say(self, key: str, style: str = "", **facts: object) -> None:
        """Prints a sentence."""
        self.line(self.text(key, **facts), style)

    def line(self, text: str, style: str = "", indent: str = "  ") -> None:
        """Prints a line, or several; what a terminal has no room for goes on below, as far in."""
        for part in text.splitlines() or [""]:
            whole = indent + plain(part)
            body = whole.lstrip(" ")
            room = Padding(
                Text(body, style, overflow="fold"), (0, 0, 0, len(whole) - len(body)), expand=False
            )
            self._console.print(room)

    def item(self, text: str) -> None:
        """One point of a list, its lines below each other in languages without spaces too."""
        grid = Table.grid(padding=(0, 1, 0, 0))
        grid.add_column(min_width=5, justify="right")
        grid.add_column(overflow="fold")
        grid.add_row("-", Text(plain(text), overflow="fold"))
        self._console.print(grid, style="dim")

    @contextmanager
    def busy(self, key: str, **facts: object) -> Iterator[None]:
        """Something that takes seconds."""
        with self._console.status(plain(self.text(key, **facts))):
            yield

    def title(self, key: str) -> None:
        """The first line."""
        self._console.print(Text(self.text(key), style="bold"))

    def act(self, letter: str, key: str) -> None:
        """Begins an act."""
        self.acts.append({"act": letter, "title": self.text(key), "checks": []})
        self._console.print()
        self._console.print(Text(f"{letter}  {self.text(key)}", style="bold cyan"))

    # Judging.

    def check(self, what: str, got: object, expected: object) -> bool:
        """One check: equal or wrong. It is printed with the next `table`."""
        right = got == expected
        self.acts[-1]["checks"].append(
            {"what": what, "got": str(got), "expected": str(expected), "ok": right}
        )
        self._rows.append((what, got, expected, right))
        return right

    def table(self, other: str = "expected") -> None:
        """Prints the checks since the last table; `other` heads the column of what they are compared with."""
        drawn = Table(box=SIMPLE_HEAD, pad_edge=False)
        drawn.add_column(self.text("answer"))
        drawn.add_column(self.text("atoll"), justify="right")
        drawn.add_column(self.text(other), justify="right")
        drawn.add_column("")
        for what, got, expected, right in self._rows:
            mark = Text("✓", style="green") if right else Text("✗", style="bold red")
            drawn.add_row(plain(what), self._cell(got), self._cell(expected), mark)
        self._console.print(drawn)
        self._rows.clear()

    def _cell(self, value: object) -> str:
        if isinstance(value, bool):
            return self.text("yes" if value else "no")
        return plain(f"{value:,}" if isinstance(value, int) else value)

    def statement(self, job: Job) -> None:
        """Who learns what by a job, in short."""
        statement = job.statement(self.language)
        self.acts[-1].setdefault("statements", []).append(statement)
        self.say("learns", "dim")
        short_of = len(statement) - _SENTENCES
        for sentence in statement if short_of <= 0 else [*statement[: _SENTENCES - 1], statement[-1]]:
            self.item(sentence)
        if short_of > 0:
            self.say("more", "dim", count=short_of)

    def evidence(self, job: Job) -> None:
        """Disclosure statement and receipt of a completed job, in short; checks that all signed."""
        receipt = job.receipt(timeout=10)
        document = receipt["document"] or {}
        parties = len(job.document["parties"])
        meters = job.document["meters"] or {}
        short = {
            "signed": parties - len(receipt["missing"]), "parties": parties,
            "plan": str(document.get("plan", "-"))[:23], "bytes": f"{meters.get('bytes_sent', 0):,}",
            "rows": job.result().rows,
        }  # fmt: skip
        self.acts[-1].setdefault("receipts", []).append(short)
        self.statement(job)
        self.say("receipt", "dim", **short)
        self.check(self.text("signed"), short["signed"], parties)
        self._rows.pop()

    def failed(self, text: str) -> None:
        """An act that did not finish is a wrong check."""
        if not self.acts:
            self.acts.append({"act": "-", "title": "", "checks": []})
        self.acts[-1]["checks"].append({"what": "finished", "got": text, "expected": "", "ok": False})
        self._rows.clear()
        self.say("failed", "bold red", text=text)

    def verdict(self) -> bool:
        """Prints the end; true if every check was right and there was one."""
        checks = [check for act in self.acts for check in act["checks"]]
        bad = sum(not check["ok"] for check in checks)
        seconds = round(time.monotonic() - self.started, 1)
        right = bad == 0 and bool(checks)
        if self.machine:
            found = {"ok": right, "seconds": seconds, "checks": len(checks), "bad": bad, "acts": self.acts}
            sys.stdout.write(json.dumps(found, ensure_ascii=False, indent=2) + "\n")
        self._console.print()
        facts = {"count": len(checks), "bad": bad, "seconds": seconds}
        self.say("good" if right else "bad", "bold green" if right else "bold red", **facts)
        return right
