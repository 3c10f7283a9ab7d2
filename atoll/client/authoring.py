"""What an author does with a folder before any node sees it: read, check, test."""

from __future__ import annotations

import datetime
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pc

from atoll.crypto.suite import SigningKey
from atoll.errors import AtollError
from atoll.sandbox.asked import Asked, call_seed
from atoll.sandbox.host import Cell, CellPackage, spawn_local
from atoll.sandbox.subjects import SubjectRows, arrow_type, needed
from atoll.scripts.examine import Examination, examine
from atoll.scripts.finding import Finding
from atoll.scripts.manifest import Manifest, parse_toml
from atoll.scripts.outputs import gate
from atoll.scripts.package import MAX_FILES, Package, build

MANIFEST = "package.toml"
CASES = "cases.toml"
SAMPLES = "samples"
_TEST_SECONDS = 60.0
NO_DECISION = "no decision"


@dataclass(frozen=True)
class Source:
    """A package's folder, read."""

    path: Path
    manifest: Manifest
    files: dict[str, bytes]

    @property
    def package(self) -> Package:
        """The package as it would be signed, by a key that nobody keeps: static analysis does not look at it."""
        return build(self.manifest, self.files, str(SigningKey.generate().public))


def read_folder(path: Path) -> Source:
    """Manifest and files of a folder; `E_SCRIPT` names the file that is missing or wrong."""
    try:
        text = (path / MANIFEST).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise AtollError("E_SCRIPT", f"{path / MANIFEST} cannot be read: {error}.") from None
    manifest = parse_toml(text, str(path / MANIFEST))
    files = {}
    root = path.resolve()
    for name in manifest.files:
        place = (path / name).resolve()
        if not place.is_relative_to(root):
            raise AtollError("E_SCRIPT", f"{name}: a package's files are inside its folder.")
        try:
            if place.stat().st_size > MAX_FILES:
                raise AtollError("E_SCRIPT", f"{place} is over {MAX_FILES >> 20} MiB.")
            files[name] = place.read_bytes()
        except OSError as error:
            raise AtollError("E_SCRIPT", f"{place} cannot be read: {error.strerror}.") from None
    return Source(path, manifest, files)


def check_folder(path: Path) -> tuple[Source, Examination, list[Finding]]:
    """Everything that speaks against a package: what a host would find, and types that do not fit."""
    source = read_folder(path)
    examined = examine(source.package)
    from atoll.sandbox.typecheck import type_check

    findings = list(examined.findings)
    if not findings:
        findings = type_check(source.files[source.manifest.rules.file].decode(), source.manifest)
    return source, examined, findings


# Tests.


@dataclass(frozen=True)
class Case:
    """One expected answer."""

    name: str
    subject: str | int
    expect: Any
    arguments: dict[str, Any]
    key: str
    today: datetime.date


@dataclass(frozen=True)
class Outcome:
    """What came of a case."""

    case: Case
    answer: dict[str, Any] | None
    differs: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether the answer is the expected one."""
        return not self.differs


def _cases(source: Source, path: Path) -> list[Case]:
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise AtollError("E_SCRIPT", f"{path}: {error}.") from None
    today = document.get("today", datetime.date(2026, 1, 1))
    found = []
    for at, case in enumerate(document.get("case", [])):
        where = f"{path}: case {at + 1}"
        unknown = sorted(case.keys() - {"name", "subject", "arguments", "expect", "key", "today"})
        if unknown or "subject" not in case or "expect" not in case:
            raise AtollError("E_SCRIPT", f"{where}: {unknown[0] if unknown else 'subject and expect'}: a case has "
                             "subject, expect, and optionally name, arguments, key, today.")  # fmt: skip
        arguments = {}
        for name, argument in source.manifest.arguments.items():
            value = case.get("arguments", {}).get(name, argument.default)
            try:
                arguments[name] = argument.check(value)
            except ValueError as error:
                raise AtollError("E_SCRIPT", f"{where}: arguments.{name}: {error}.") from None
        extra = sorted(case.get("arguments", {}).keys() - source.manifest.arguments.keys())
        if extra:
            raise AtollError("E_SCRIPT", f"{where}: arguments.{extra[0]}: the package has no such argument.")
        found.append(
            Case(
                str(case.get("name", f"case {at + 1}")),
                case["subject"],
                case["expect"],
                arguments,
                str(case.get("key", f"case-{at + 1}")),
                case.get("today", today),
            )
        )
    if not found:
        raise AtollError("E_SCRIPT", f"{path} has no case.")
    return found


def _sample(source: Source, name: str) -> pa.Table:
    """The sample of an input: a CSV file named as its asset, with the input's columns."""
    item = source.manifest.inputs[name]
    path = source.path / SAMPLES / f"{item.asset}.csv"
    key = source.manifest.subject.type
    types = {item.key: arrow_type(key), **{n: arrow_type(text) for n, text in item.columns.items()}}
    options = pc.ConvertOptions(
        column_types=types, include_columns=list(types), strings_can_be_null=True, null_values=[""],
        true_values=["true"], false_values=["false"],
    )  # fmt: skip
    try:
        return pc.read_csv(path, convert_options=options).select(needed(item))
    except FileNotFoundError:
        raise AtollError("E_SCRIPT", f"{path} is missing: samples of {item.asset} for the tests.") from None
    except (pa.ArrowException, OSError) as error:
        raise AtollError("E_SCRIPT", f"{path}: {error}.") from None


def _differs(expect: Any, answer: dict[str, Any] | None) -> list[str]:
    if answer is None:
        return [] if expect == NO_DECISION else [f"no decision instead of {expect}"]
    if not isinstance(expect, dict):
        return [f"{answer} instead of {expect}"]
    return [
        f"{name}: {answer.get(name)!r} instead of {value!r}"
        for name, value in expect.items()
        if answer.get(name) != value
    ]


def run_cases(path: Path, cases: Path | None = None) -> list[Outcome]:
    """Runs the cases of a folder on its samples, in the sandbox that hosts use: the answers are the same there.

    Raises:
        AtollError: `E_SCRIPT` for a package with findings, a wrong case or sample; `E_SANDBOX`.
    """
    source, _, findings = check_folder(path)
    if findings:
        first = findings[0]
        raise AtollError("E_SCRIPT", f"{first.place}: {first.text}")
    wanted = _cases(source, cases or path / CASES)
    rows = {
        name: SubjectRows(_sample(source, name), source.manifest.inputs[name])
        for name in source.manifest.inputs
    }
    tables, may = {}, [True] * len(wanted)
    for name, found in rows.items():
        tables[name], ok = found.take([case.subject for case in wanted])
        may = [a and b for a, b in zip(may, ok, strict=True)]
    content = source.package.content
    asked = [Asked(call_seed(content, case.key), case.today, case.arguments) for case in wanted]
    cell = Cell(spawn_local, CellPackage(source.manifest.document(), source.files))
    try:
        answers = cell.run(asked, tables, seconds=_TEST_SECONDS)
    finally:
        cell.close()
    out = []
    for case, answer, runs in zip(wanted, answers, may, strict=True):
        left = gate(source.manifest, source.manifest, answer) if runs else None
        out.append(Outcome(case, left, _differs(case.expect, left)))
    return out
