"""Many calls from a CSV file, and their answers into one."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from atoll.errors import AtollError

Json = dict[str, Any]
_OWN = ("subject", "key", "consent")
_WHOLE = re.compile(r"-?[0-9]{1,19}")


def typed(text: str, kind: str, where: str) -> Any:
    """What a text stands for; `kind` is `string`, `int64` or `bool`.

    Raises:
        AtollError: `E_FORMAT` with `where` in front.
    """
    if kind == "int64":
        if not _WHOLE.fullmatch(text.strip()):
            raise AtollError("E_FORMAT", f"{where}: {text[:40]!r} is no whole number.")
        return int(text)
    if kind == "bool":
        if text.strip().lower() not in ("true", "false"):
            raise AtollError("E_FORMAT", f"{where}: {text[:40]!r} is neither true nor false.")
        return text.strip().lower() == "true"
    return text


def call(package: Mapping[str, Any], row: Mapping[str, str | None], where: str) -> Json:
    """A call from texts: `subject`, and optionally `key`, `consent` and arguments; an empty text is not given.

    Args:
        package: as `node.scripts.packages` lists it.
        where: what an error names in front of the column, such as `calls.csv, row 3`.
    """
    arguments = package["arguments"]
    found: Json = {"arguments": {}}
    for name, text in row.items():
        if not text and name != "subject":
            continue
        place = f"{where}, {name}"
        if name == "subject":
            if not text:
                raise AtollError("E_FORMAT", f"{place}: it is empty.")
            found["subject"] = typed(text, package["subject"]["type"], place)
        elif name in _OWN:
            found[name] = text
        elif name in arguments:
            found["arguments"][name] = typed(str(text), arguments[name]["type"], place)
        else:
            known = ", ".join(arguments) or "none"
            raise AtollError("E_FORMAT", f"{place}: there is no such argument; there are {known}.")
    return found


def read_calls(path: Path, package: Mapping[str, Any]) -> list[Json]:
    """The calls of a CSV file with a header: `subject`, optionally `key` and `consent`, and one column per argument.

    Raises:
        AtollError: `E_SOURCE`, `E_ENCODING`; `E_FORMAT` names row and column, counted as an editor shows the lines.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file, strict=True)
            header = next(rows, [])
            if "subject" not in header:
                raise AtollError("E_FORMAT", f"{path}: the first row names the columns; subject is missing.")
            if len(set(header)) != len(header):
                raise AtollError("E_FORMAT", f"{path}: a column stands twice in the first row.")
            unclear = [name for name in header if name in _OWN and name in package["arguments"]]
            if unclear:
                text = (
                    f"{path}, {unclear[0]}: an argument has the name of a call's field; use the SDK or REST."
                )
                raise AtollError("E_FORMAT", text)
            found = []
            for cells in rows:
                where = f"{path}, line {rows.line_num}"
                if not cells:
                    continue
                if len(cells) != len(header):
                    text = f"{where}: {len(cells)} cells, and {len(header)} columns."
                    raise AtollError("E_FORMAT", text)
                found.append(call(package, dict(zip(header, cells, strict=True)), where))
    except UnicodeDecodeError as error:
        raise AtollError(
            "E_ENCODING", f"{path} is not UTF-8 at byte {error.start}.", fault="caller"
        ) from None
    except csv.Error as error:
        raise AtollError("E_FORMAT", f"{path}, line {rows.line_num}: {error}.") from None
    except OSError as error:
        raise AtollError("E_SOURCE", f"cannot read {path}: {error.strerror}.", fault="caller") from None
    if not found:
        raise AtollError("E_FORMAT", f"{path} has no call.")
    return found


def flat(answer: Mapping[str, Any], outputs: Iterable[str]) -> Json:
    """An answer of `batch` as one row: key, subject, state, each output, reasons, error."""
    given = answer.get("answer") or {}
    error = answer.get("error") or {}
    return {
        "key": answer["key"],
        "subject": answer["subject"],
        "state": "refused" if error else answer["state"],
        **{name: given.get(name) for name in outputs},
        "reasons": " ".join(given.get("reasons", [])),
        "error": error.get("code"),
        "text": error.get("detail"),
    }


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def write_answers(path: Path, answers: Sequence[Mapping[str, Any]], outputs: Sequence[str]) -> None:
    """Writes answers as CSV, one row each, in order; `E_SOURCE`."""
    columns = ["key", "subject", "state", *outputs, "reasons", "error", "text"]
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file, lineterminator="\n")
            rows.writerow(columns)
            for answer in answers:
                row = flat(answer, outputs)
                rows.writerow([_cell(row[name]) for name in columns])
    except OSError as error:
        raise AtollError("E_SOURCE", f"cannot write {path}: {error.strerror}.", fault="caller") from None
