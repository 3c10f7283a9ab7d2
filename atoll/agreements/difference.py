"""What an amendment changes, line by line, for the people who sign it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from atoll.agreements.model import Agreement
from atoll.disclosure import Language

_IGNORED = frozenset({"version", "supersedes"})


@dataclass(frozen=True)
class Change:
    """One changed place; `old` or `new` is None where nothing stood or stands."""

    path: str
    old: Any
    new: Any

    def text(self, language: Language) -> str:
        """One line: what was added, removed or replaced."""
        before = json.dumps(self.old, ensure_ascii=False, sort_keys=True)
        after = json.dumps(self.new, ensure_ascii=False, sort_keys=True)
        if self.old is None:
            return f"{self.path}: added {after}" if language == "en" else f"{self.path}：新增 {after}"
        if self.new is None:
            return f"{self.path}: removed {before}" if language == "en" else f"{self.path}：删除 {before}"
        if language == "en":
            return f"{self.path}: {before} becomes {after}"
        return f"{self.path}：由 {before} 改为 {after}"


def _named(document: dict[str, Any]) -> dict[str, Any]:
    """Lists whose items have names become mappings, so that an insertion does not shift what follows."""
    out = dict(document)
    out["signatories"] = {s["key"]: s["name"] for s in document["signatories"]}
    names = out["signatories"]
    out["assets"] = {
        f"{names[a['provider']]}/{a['name']}": {
            **a,
            "columns": {c["name"]: c for c in a["columns"]},
            "grants": dict(enumerate(a["grants"])),
        }
        for a in document["assets"]
    }
    return out


def walk(path: str, old: Any, new: Any) -> list[Change]:
    """Every difference below a path, by key; version numbers at the top are left out."""
    if isinstance(old, dict) and isinstance(new, dict):
        return [
            change
            for key in sorted(old.keys() | new.keys(), key=str)
            if path or key not in _IGNORED
            for change in walk(f"{path}.{key}" if path else str(key), old.get(key), new.get(key))
        ]
    return [] if old == new else [Change(path, old, new)]


def diff(old: Agreement, new: Agreement) -> list[Change]:
    """Every difference between two versions, in order of place; version numbers themselves are left out."""
    return walk("", _named(old.document()), _named(new.document()))
